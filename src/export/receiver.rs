//! A real OTLP/gRPC receiver of metrics and traces on a loopback port, for demonstrations, chaos runs and tests.
//!
//! Rule: it keeps the last point of every series and checks what a pipeline promises: the start time of a counter does not
//! change, its value never falls, and times strictly rise, but for points that are sent again exactly as they were. What
//! breaks a promise is a violation; what is sent again is a duplicate. Spans have rules of their own
//! ([`super::received_traces`]).
//!
//! Edges:
//! - a series is its resource, scope, metric and attributes; a point with the no-recorded-value flag ends it, and what comes
//!   later under its name is a new series with a start time of its own;
//! - gauges may fall; only their times are checked;
//! - the last [`REMEMBERED`] points of a series are remembered to tell a duplicate from a point that came too late;
//! - it can be told to refuse requests ([`Receiver::refuse_next`]); refused ones leave no trace but their count.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use tokio::sync::oneshot;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::received::Received;
pub use super::received::{Buckets, REMEMBERED, ReceivedSeries, ReceivedValue, Snapshot};
use super::received_traces::Traces;
pub use super::received_traces::{REMEMBERED_SPANS, ReceivedSpan, ReceivedTraces};

/// A running receiver; it ends when it is dropped.
pub struct Receiver {
    state: Arc<Mutex<State>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    received: Received,
    traces: Traces,
    refuse: u64,
}

#[derive(Clone)]
struct Service(Arc<Mutex<State>>);

// === impl Receiver ===

impl Receiver {
    /// Listens on a free loopback port; gives the endpoint to send to.
    pub fn start() -> io::Result<(Receiver, String)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let state = Arc::<Mutex<State>>::default();
        let service = Service(Arc::clone(&state));
        let metrics = MetricsServiceServer::new(service.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip);
        let traces = TraceServiceServer::new(service)
            .accept_compressed(CompressionEncoding::Gzip)
            .send_compressed(CompressionEncoding::Gzip);
        let (stop, stopped) = oneshot::channel();
        let serve = async move {
            let incoming = match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => TcpIncoming::from(listener),
                Err(error) => {
                    return tracing::error!(event_type = "receiver_failed", "the receiver cannot listen: {error}");
                }
            };
            let server = Server::builder().add_service(metrics).add_service(traces);
            let serve = server.serve_with_incoming(incoming);
            tokio::select! {
                result = serve => if let Err(error) = result {
                    tracing::error!(event_type = "receiver_failed", "the receiver ended: {error}");
                },
                // Also when the handle was dropped. Open connections are cut: senders must live with that.
                _ = stopped => {}
            }
        };
        let thread = std::thread::Builder::new()
            .name("otlp-receiver".into())
            .spawn(move || runtime.block_on(serve))?;
        Ok((
            Receiver {
                state,
                stop: Some(stop),
                thread: Some(thread),
            },
            endpoint,
        ))
    }

    /// What has been received so far.
    pub fn snapshot(&self) -> Snapshot {
        let state = lock(&self.state);
        Snapshot {
            traces: state.traces.received.clone(),
            ..state.received.snapshot()
        }
    }

    /// The next `count` requests are refused with UNAVAILABLE, on top of what is still to be refused.
    pub fn refuse_next(&self, count: u64) {
        lock(&self.state).refuse += count;
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

// === impl Service ===

impl Service {
    /// Unless this request is to be refused.
    fn open(&self) -> Result<MutexGuard<'_, State>, Status> {
        let mut state = lock(&self.0);
        if state.refuse > 0 {
            state.refuse -= 1;
            state.received.refused();
            return Err(Status::unavailable("told to refuse this request"));
        }
        Ok(state)
    }
}

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        self.open()?.received.take(&request.into_inner());
        Ok(Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.open()?.traces.take(&request.into_inner());
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
