//! Where and how to send: the standard `OTEL_EXPORTER_OTLP_*` variables.
//!
//! Rule: the first that is set wins: `--otlp` (endpoint only), `OTEL_EXPORTER_OTLP_METRICS_x` (or `_TRACES_x`),
//! `OTEL_EXPORTER_OTLP_x`, the default. An empty variable is an unset one. A variable that makes no sense is an error that
//! names it and says what would be right; nothing is guessed.
//!
//! Edges:
//! - the protocol is gRPC unless `PROTOCOL` says `http/protobuf`, whatever the port (the specification leaves the default
//!   to us); the default endpoint is `http://127.0.0.1:4317`, with HTTP `http://127.0.0.1:4318`;
//! - HTTP: `/v1/metrics` is added to `--otlp` and to the general endpoint; the signal's own endpoint is taken verbatim;
//! - gRPC: an endpoint without a scheme is TLS unless `INSECURE=true`; a path is an error, since gRPC has none;
//! - compression is gzip unless `COMPRESSION=none`;
//! - certificate files are read at once, so that a wrong one is known at the start;
//! - header values and keys are secrets: nothing here prints them, and credentials inside a URL are refused.

use std::time::Duration;

use reqwest::Url;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::headers::Headers;

/// What is exported, and so which variables and which path count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Metrics,
    Traces,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Grpc,
    HttpProtobuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    Gzip,
    None,
}

/// Everything a sender needs to know. `Debug` shows no secret.
#[derive(Clone)]
pub struct Settings {
    pub signal: Signal,
    pub protocol: Protocol,
    /// Where requests go: with HTTP the whole URL, with gRPC scheme, host and port.
    pub endpoint: Url,
    /// What named the endpoint, for messages: `--otlp`, a variable, or `default`.
    pub endpoint_from: String,
    pub headers: Headers,
    /// For one attempt, connecting included.
    pub timeout: Duration,
    pub compression: Compression,
    /// PEM of the only authorities to trust; the system's without it.
    pub authority: Option<Vec<u8>>,
    pub client: Option<ClientIdentity>,
}

/// A client certificate and its key, PEM.
#[derive(Clone)]
pub struct ClientIdentity {
    pub certificate: Vec<u8>,
    pub key: Vec<u8>,
}

/// A setting that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {problem}")]
pub struct SettingsError {
    /// The flag or variable to change.
    pub setting: String,
    /// What is wrong and what would be right; holds no secret.
    pub problem: String,
}

/// A value and the variable that it came from.
struct Found {
    setting: String,
    value: String,
}

/// The variables of one signal, by the end of their names.
struct Variables<'e> {
    signal: Signal,
    env: &'e dyn Fn(&str) -> Option<String>,
}

// === impl Signal ===

impl Signal {
    fn infix(self) -> &'static str {
        match self {
            Signal::Metrics => "METRICS_",
            Signal::Traces => "TRACES_",
        }
    }

    /// The path below an OTLP/HTTP base URL.
    fn http_path(self) -> [&'static str; 2] {
        match self {
            Signal::Metrics => ["v1", "metrics"],
            Signal::Traces => ["v1", "traces"],
        }
    }
}

// === impl Signal ===

impl Signal {
    /// What a request of this signal is made of, for people.
    pub fn parts(self) -> &'static str {
        match self {
            Signal::Metrics => "points",
            Signal::Traces => "spans",
        }
    }

    /// What the loop that exports it is called.
    pub fn worker(self) -> &'static str {
        match self {
            Signal::Metrics => "export",
            Signal::Traces => "export-traces",
        }
    }
}

// === impl Settings ===

impl Settings {
    /// `flag` is the value of `--otlp`; `env` looks a variable up.
    pub fn from_env(
        flag: Option<&str>,
        signal: Signal,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Settings, SettingsError> {
        let variables = Variables { signal, env };
        let protocol = variables.protocol()?;
        let (endpoint, endpoint_from) = variables.endpoint(flag, protocol)?;
        Ok(Settings {
            signal,
            protocol,
            endpoint,
            endpoint_from,
            headers: variables.headers()?,
            timeout: variables.timeout()?,
            compression: variables.compression()?,
            authority: variables.authority()?,
            client: variables.client()?,
        })
    }

    /// For messages: where, how, and which setting says so. Leaves out a query, which may hold a key.
    pub fn target(&self) -> String {
        let mut url = self.endpoint.clone();
        url.set_query(None);
        let protocol = match self.protocol {
            Protocol::Grpc => "grpc",
            Protocol::HttpProtobuf => "http/protobuf",
        };
        let hint = match (self.protocol, self.endpoint.port()) {
            (Protocol::Grpc, Some(4318)) => {
                "; port 4318 usually speaks http/protobuf: OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
            }
            (Protocol::HttpProtobuf, Some(4317)) => "; port 4317 usually speaks grpc: OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
            _ => "",
        };
        let url = url.as_str().trim_end_matches('/');
        format!("{url} ({protocol}, from {}{hint})", self.endpoint_from)
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("target", &self.target())
            .field("headers", &self.headers)
            .field("timeout", &self.timeout)
            .field("compression", &self.compression)
            .finish_non_exhaustive()
    }
}

// === impl ClientIdentity ===

impl std::fmt::Debug for ClientIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientIdentity(redacted)")
    }
}

// === impl Variables ===

impl Variables<'_> {
    fn lookup(&self, name: String) -> Option<Found> {
        let value = (self.env)(&name)?.trim().to_owned();
        (!value.is_empty()).then_some(Found { setting: name, value })
    }

    fn of_signal(&self, end: &str) -> Option<Found> {
        self.lookup(format!("OTEL_EXPORTER_OTLP_{}{end}", self.signal.infix()))
    }

    fn of_all(&self, end: &str) -> Option<Found> {
        self.lookup(format!("OTEL_EXPORTER_OTLP_{end}"))
    }

    fn find(&self, end: &str) -> Option<Found> {
        self.of_signal(end).or_else(|| self.of_all(end))
    }

    fn protocol(&self) -> Result<Protocol, SettingsError> {
        let Some(found) = self.find("PROTOCOL") else {
            return Ok(Protocol::Grpc);
        };
        match found.value.as_str() {
            "grpc" => Ok(Protocol::Grpc),
            "http/protobuf" => Ok(Protocol::HttpProtobuf),
            other => Err(found.wrong(format!("`{other}` is not spoken here; use `grpc` or `http/protobuf`"))),
        }
    }

    fn endpoint(&self, flag: Option<&str>, protocol: Protocol) -> Result<(Url, String), SettingsError> {
        let flag = flag.map(str::trim).filter(|value| !value.is_empty());
        let own = self.of_signal("ENDPOINT").filter(|_| flag.is_none());
        let verbatim = own.is_some();
        let found = match flag {
            Some(value) => Found {
                setting: "--otlp".into(),
                value: value.into(),
            },
            None => own.or_else(|| self.of_all("ENDPOINT")).unwrap_or_else(|| Found {
                setting: "default".into(),
                value: match protocol {
                    Protocol::Grpc => "http://127.0.0.1:4317".into(),
                    Protocol::HttpProtobuf => "http://127.0.0.1:4318".into(),
                },
            }),
        };
        let mut url = self.url(&found, protocol)?;
        if protocol == Protocol::HttpProtobuf && !verbatim {
            let [version, path] = self.signal.http_path();
            if url
                .path()
                .trim_end_matches('/')
                .ends_with(&format!("/{version}/{path}"))
            {
                return Err(found.wrong(format!("is a base URL; leave out /{version}/{path}, which is added")));
            }
            if let Ok(mut segments) = url.path_segments_mut() {
                segments.pop_if_empty().extend([version, path]);
            }
        }
        Ok((url, found.setting))
    }

    fn url(&self, found: &Found, protocol: Protocol) -> Result<Url, SettingsError> {
        let example = match protocol {
            Protocol::Grpc => "http://collector:4317",
            Protocol::HttpProtobuf => "http://collector:4318",
        };
        let has_scheme = found.value.contains("://");
        if !has_scheme && protocol == Protocol::HttpProtobuf {
            return Err(found.wrong(format!("needs a scheme, as in {example}")));
        }
        let text = match (has_scheme, self.insecure()?) {
            (true, _) => found.value.clone(),
            (false, true) => format!("http://{}", found.value),
            (false, false) => format!("https://{}", found.value),
        };
        let url = Url::parse(&text).map_err(|error| found.wrong(format!("{error}; it should be like {example}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(found.wrong(format!("the scheme must be http or https, as in {example}")));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(found.wrong(
                "credentials do not belong into a URL; put them into OTEL_EXPORTER_OTLP_HEADERS, as in \
                 authorization=Basic%20..."
                    .into(),
            ));
        }
        if protocol == Protocol::Grpc && (url.path() != "/" || url.query().is_some()) {
            return Err(found.wrong(format!(
                "gRPC has no path, so it should be like {example}; for OTLP over HTTP set \
                 OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"
            )));
        }
        Ok(url)
    }

    fn insecure(&self) -> Result<bool, SettingsError> {
        let Some(found) = self.find("INSECURE") else {
            return Ok(false);
        };
        match found.value.to_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(found.wrong("must be `true` or `false`".into())),
        }
    }

    fn headers(&self) -> Result<Headers, SettingsError> {
        match self.find("HEADERS") {
            Some(found) => Headers::parse(&found.value).map_err(|problem| found.wrong(problem)),
            None => Ok(Headers::default()),
        }
    }

    fn timeout(&self) -> Result<Duration, SettingsError> {
        let Some(found) = self.find("TIMEOUT") else {
            return Ok(Duration::from_secs(10));
        };
        match found.value.parse::<u64>() {
            Ok(millis) if millis > 0 => Ok(Duration::from_millis(millis)),
            _ => Err(found.wrong(format!(
                "`{}` is no number of milliseconds above 0, as in 10000",
                found.value
            ))),
        }
    }

    fn compression(&self) -> Result<Compression, SettingsError> {
        let Some(found) = self.find("COMPRESSION") else {
            return Ok(Compression::Gzip);
        };
        match found.value.as_str() {
            "gzip" => Ok(Compression::Gzip),
            "none" => Ok(Compression::None),
            other => Err(found.wrong(format!("`{other}` is unknown; use `gzip` or `none`"))),
        }
    }

    fn authority(&self) -> Result<Option<Vec<u8>>, SettingsError> {
        let Some(found) = self.find("CERTIFICATE") else {
            return Ok(None);
        };
        found.certificates().map(Some)
    }

    fn client(&self) -> Result<Option<ClientIdentity>, SettingsError> {
        match (self.find("CLIENT_CERTIFICATE"), self.find("CLIENT_KEY")) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some(ClientIdentity {
                certificate: certificate.certificates()?,
                key: key.private_key()?,
            })),
            (Some(alone), None) => Err(alone.wrong("needs the key too: set OTEL_EXPORTER_OTLP_CLIENT_KEY".into())),
            (None, Some(alone)) => {
                Err(alone.wrong("needs the certificate too: set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE".into()))
            }
        }
    }
}

// === impl Found ===

impl Found {
    fn wrong(&self, problem: String) -> SettingsError {
        SettingsError {
            setting: self.setting.clone(),
            problem,
        }
    }

    fn read(&self) -> Result<Vec<u8>, SettingsError> {
        std::fs::read(&self.value).map_err(|error| self.wrong(format!("cannot read the file {}: {error}", self.value)))
    }

    fn certificates(&self) -> Result<Vec<u8>, SettingsError> {
        let pem = self.read()?;
        let mut certificates = CertificateDer::pem_slice_iter(&pem);
        match certificates.next() {
            Some(Ok(_)) if certificates.all(|certificate| certificate.is_ok()) => Ok(pem),
            _ => Err(self.wrong(format!(
                "{} holds no certificates in PEM form (BEGIN CERTIFICATE)",
                self.value
            ))),
        }
    }

    fn private_key(&self) -> Result<Vec<u8>, SettingsError> {
        let pem = self.read()?;
        match PrivateKeyDer::from_pem_slice(&pem) {
            Ok(_) => Ok(pem),
            Err(_) => Err(self.wrong(format!(
                "{} holds no private key in PEM form (BEGIN PRIVATE KEY)",
                self.value
            ))),
        }
    }
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
