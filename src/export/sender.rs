//! Sends one encoded OTLP request and says what became of it.
//!
//! Rule: the bytes go out as they came in; whatever happens ends as one [`Verdict`], and no attempt takes longer than the
//! timeout of the settings. Nothing is retried here.
//!
//! Edges:
//! - nothing is connected before the first request, and a lost connection is made again by the next one;
//! - a connection that let a request time out is not used again: its other end may be gone;
//! - what a receiver says is passed on without our header values.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use super::grpc::GrpcSender;
use super::http::HttpSender;
use super::settings::{Protocol, Settings, SettingsError};
use super::verdict::Verdict;

/// The future of a [`SendRequest::send`].
pub type Sending<'a> = Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>;

/// Whatever can take a request; the loop knows no more of it.
pub trait SendRequest: Send + Sync {
    /// Sends these bytes, one encoded `ExportMetricsServiceRequest` or `ExportTraceServiceRequest`.
    fn send(&self, request: Bytes) -> Sending<'_>;

    /// For messages: where it sends to and which setting says so.
    fn target(&self) -> String;

    /// The same for one request, where that makes a difference.
    fn target_of(&self, _request: &Bytes) -> String {
        self.target()
    }

    /// Records, by topic, that are to be written with the commit of this request, which was accepted.
    fn records(&self, _request: &Bytes) -> Vec<(String, Vec<u8>)> {
        Vec::new()
    }
}

/// Sends to the collector of its settings. Needs a tokio runtime only to send.
pub struct Sender {
    settings: Settings,
    wire: Wire,
}

enum Wire {
    Grpc(Box<GrpcSender>),
    Http(HttpSender),
}

// === impl Sender ===

impl Sender {
    /// Connects nothing yet. An error means that the certificates of the settings cannot be used.
    pub fn connect(settings: Settings) -> Result<Sender, SettingsError> {
        let wire = match settings.protocol {
            Protocol::Grpc => Wire::Grpc(Box::new(GrpcSender::new(&settings)?)),
            Protocol::HttpProtobuf => Wire::Http(HttpSender::new(&settings)?),
        };
        Ok(Sender { settings, wire })
    }

    pub async fn send(&self, request: Bytes) -> Verdict {
        let attempt = async {
            match &self.wire {
                Wire::Grpc(grpc) => grpc.send(request, &self.settings).await,
                Wire::Http(http) => http.send(request, &self.settings).await,
            }
        };
        match tokio::time::timeout(self.settings.timeout, attempt).await {
            Ok(verdict) => verdict,
            Err(_) => {
                if let Wire::Grpc(grpc) = &self.wire {
                    grpc.disconnect();
                }
                let message = format!("no answer within {}", said(self.settings.timeout));
                Verdict::Retry { after: None, message }
            }
        }
    }
}

impl SendRequest for Sender {
    fn send(&self, request: Bytes) -> Sending<'_> {
        Box::pin(Sender::send(self, request))
    }

    fn target(&self) -> String {
        self.settings.target()
    }
}

fn said(duration: Duration) -> String {
    format!("{} ms", duration.as_millis())
}

/// An error and what caused it, in one line.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
