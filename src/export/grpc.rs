//! OTLP over gRPC: the bytes of a request as the message, no type in between.
//!
//! Rule: the message on the wire is the request byte for byte, gzipped by the settings' compression.
//!
//! Edges:
//! - an answer that says OK counts as OK, also where its message cannot be read;
//! - with a certificate authority in the settings only that one is trusted, else the system's.

use std::sync::Mutex;

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use tonic::client::Grpc;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Request, Status};

use super::sender::with_causes;
use super::settings::{Compression, Settings, SettingsError, Signal};
use super::verdict::{ExportResponse, Verdict};

/// The client of one endpoint.
pub(super) struct GrpcSender {
    endpoint: Endpoint,
    path: PathAndQuery,
    metadata: MetadataMap,
    /// Made with the first request, since that needs a runtime; reconnects by itself.
    channel: Mutex<Option<Channel>>,
}

/// Passes messages through as bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Verbatim;

// === impl GrpcSender ===

impl GrpcSender {
    pub fn new(settings: &Settings) -> Result<GrpcSender, SettingsError> {
        let wrong = |error: tonic::transport::Error| SettingsError {
            setting: settings.endpoint_from.clone(),
            problem: with_causes(&error),
        };
        let mut endpoint = Endpoint::from_shared(settings.endpoint.to_string())
            .map_err(wrong)?
            .connect_timeout(settings.timeout)
            .user_agent(super::USER_AGENT)
            .map_err(wrong)?;
        if settings.endpoint.scheme() == "https" {
            let mut tls = ClientTlsConfig::new();
            tls = match &settings.authority {
                Some(pem) => tls.ca_certificate(Certificate::from_pem(pem)),
                None => tls.with_native_roots(),
            };
            if let Some(client) = &settings.client {
                tls = tls.identity(Identity::from_pem(&client.certificate, &client.key));
            }
            endpoint = endpoint.tls_config(tls).map_err(|error| SettingsError {
                setting: "OTEL_EXPORTER_OTLP_CERTIFICATE, _CLIENT_CERTIFICATE or _CLIENT_KEY".into(),
                problem: with_causes(&error),
            })?;
        }
        let path = match settings.signal {
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        };
        let headers = settings.headers.iter().cloned().collect();
        Ok(GrpcSender {
            endpoint,
            path: PathAndQuery::from_static(path),
            metadata: MetadataMap::from_headers(headers),
            channel: Mutex::new(None),
        })
    }

    pub async fn send(&self, request: Bytes, settings: &Settings) -> Verdict {
        match self.call(request, settings.compression).await {
            Ok(answer) => Verdict::of_response(ExportResponse::decode(answer).unwrap_or_default()),
            Err(status) => {
                let text = match status.code() {
                    Code::Ok => "an error that says OK".to_owned(),
                    _ => with_causes_of(&status),
                };
                Verdict::of_grpc(&status, &settings.headers.scrub(&text))
            }
        }
    }

    /// The next request makes a new connection.
    pub fn disconnect(&self) {
        *self.channel.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = None;
    }

    async fn call(&self, request: Bytes, compression: Compression) -> Result<Bytes, Status> {
        let mut client = Grpc::new(self.channel()).accept_compressed(CompressionEncoding::Gzip);
        if compression == Compression::Gzip {
            client = client.send_compressed(CompressionEncoding::Gzip);
        }
        client.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let mut message = Request::new(request);
        *message.metadata_mut() = self.metadata.clone();
        client
            .unary(message, self.path.clone(), Verbatim)
            .await
            .map(tonic::Response::into_inner)
    }

    fn channel(&self) -> Channel {
        let mut channel = self.channel.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        channel.get_or_insert_with(|| self.endpoint.connect_lazy()).clone()
    }
}

/// A server's status is its message; one of our own making has causes that say more.
fn with_causes_of(status: &Status) -> String {
    match std::error::Error::source(status) {
        Some(source) => with_causes(source),
        None => status.message().to_owned(),
    }
}

// === impl Verbatim ===

impl Codec for Verbatim {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Verbatim {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Verbatim {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
