//! OTLP over HTTP: one POST of protobuf a request.
//!
//! Rule: the body is the request byte for byte, gzipped by the settings' compression; the same bytes give the same body.
//!
//! Edges:
//! - redirects are not followed: they would carry our headers to another host;
//! - of an answer at most [`ANSWER_BYTES`] are read; the body of an error is a `google.rpc.Status` or plain text;
//! - proxies come from the usual variables (`HTTPS_PROXY`, `NO_PROXY`);
//! - with a certificate authority in the settings only that one is trusted, else the system's.

use std::io::Write;
use std::sync::Once;

use bytes::Bytes;
use flate2::write::GzEncoder;
use prost::Message;
use reqwest::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Certificate, Client, Identity, Response, redirect};

use super::sender::with_causes;
use super::settings::{Compression, Settings, SettingsError};
use super::verdict::{ExportResponse, RpcStatus, Verdict};
use crate::runtime::clock::wall_time;

/// The most that is read of an answer.
const ANSWER_BYTES: usize = 64 * 1024;

const PROTOBUF: &str = "application/x-protobuf";

/// The client of one URL.
pub(super) struct HttpSender {
    client: Client,
}

// === impl HttpSender ===

impl HttpSender {
    pub fn new(settings: &Settings) -> Result<HttpSender, SettingsError> {
        install_crypto();
        let wrong = |setting: &str| {
            let setting = setting.to_owned();
            move |error: reqwest::Error| SettingsError {
                setting,
                problem: with_causes(&error),
            }
        };
        let mut headers: HeaderMap = settings.headers.iter().cloned().collect();
        headers.values_mut().for_each(|value| value.set_sensitive(true));
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROTOBUF));
        if settings.compression == Compression::Gzip {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        let mut client = Client::builder()
            .default_headers(headers)
            .user_agent(super::USER_AGENT)
            .redirect(redirect::Policy::none())
            .connect_timeout(settings.timeout)
            .http1_only();
        if let Some(pem) = &settings.authority {
            let authorities = Certificate::from_pem_bundle(pem).map_err(wrong("OTEL_EXPORTER_OTLP_CERTIFICATE"))?;
            client = client.tls_certs_only(authorities);
        }
        if let Some(identity) = &settings.client {
            let pem = [identity.certificate.as_slice(), b"\n", identity.key.as_slice()].concat();
            let identity = Identity::from_pem(&pem).map_err(wrong("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"))?;
            client = client.identity(identity);
        }
        Ok(HttpSender {
            client: client.build().map_err(wrong(&settings.endpoint_from))?,
        })
    }

    pub async fn send(&self, request: Bytes, settings: &Settings) -> Verdict {
        let body = match settings.compression {
            Compression::Gzip => gzip(&request, flate2::Compression::default()),
            Compression::None => request,
        };
        let answer = match self.client.post(settings.endpoint.clone()).body(body).send().await {
            Ok(answer) => answer,
            Err(error) => {
                // Its URL may hold a key.
                let message = settings.headers.scrub(&with_causes(&error.without_url()));
                return Verdict::Retry {
                    after: None,
                    message: super::verdict::shorten(&message),
                };
            }
        };
        let status = answer.status();
        let retry_after = answer
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let is_protobuf = answer
            .headers()
            .get(CONTENT_TYPE)
            .is_some_and(|kind| kind.as_bytes().starts_with(PROTOBUF.as_bytes()));
        let body = read(answer).await;
        if status.is_success() {
            let response = is_protobuf
                .then(|| ExportResponse::decode(body.as_slice()).ok())
                .flatten();
            return Verdict::of_response(response.unwrap_or_default());
        }
        let text = match RpcStatus::decode(body.as_slice()) {
            Ok(status) if is_protobuf => status.message,
            _ => String::from_utf8_lossy(&body).into_owned(),
        };
        Verdict::of_http(
            status.as_u16(),
            retry_after.as_deref(),
            &settings.headers.scrub(&text),
            wall_time(),
        )
    }
}

/// The status line has decided already: a body that breaks off is as good as what came of it.
async fn read(mut answer: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        let room = ANSWER_BYTES - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == ANSWER_BYTES {
            break;
        }
    }
    body
}

/// The same bytes give the same bytes.
pub fn gzip(bytes: &[u8], level: flate2::Compression) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), level);
    encoder
        .write_all(bytes)
        .and_then(|()| encoder.finish())
        .expect("a vector takes every write")
        .into()
}

/// reqwest asks the process for its cryptography. Another part may have installed one already, which is as good.
pub fn install_crypto() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}
