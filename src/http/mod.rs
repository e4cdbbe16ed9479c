//! What can be asked over HTTP: `/livez` and `/readyz` for orchestrators, `/health` and what is below it for people,
//! `/metrics` for Prometheus, `/api/v1/alerts` for who wants to see them, and at `/` a page that shows it all.
//!
//! Rule: no answer waits for a broker. Answers come from numbers that the workers leave behind, and from a check that goes
//! on in the background; a probe storm costs this process a thread and the cluster nothing.
//!
//! Edges:
//! - it listens on loopback unless told otherwise, and warns where others can get at it without a token;
//! - a client that is slow with its head, or sends a huge one, is let go; at most [`CONNECTIONS`] are served at once.

mod alerts;
mod guard;
pub mod health;
mod metrics;
mod page;
mod probes;

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router, middleware};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde_json::json;
use tokio::sync::{Semaphore, oneshot};

pub use guard::{Guard, Open};
use health::Checks;
use metrics::Exposition;
use page::Board;

use crate::export::stats::ExportSnapshot;
use crate::export::telemetry::Process;

/// What is made for those who watch costs at most this part of a core: what takes long is made less often.
const SHARE: u32 = 50;

/// `/health` is made anew after this long: who probes more often gets what is there.
const OVERALL: Duration = Duration::from_millis(100);

const CONNECTIONS: usize = 256;

/// A request's head takes no longer, and is no larger.
const HEAD: Duration = Duration::from_secs(5);
const HEAD_BYTES: usize = 16 * 1024;

/// A connection lives no longer, however slow its client reads.
const CONNECTION: Duration = Duration::from_secs(120);

/// What answers are made of.
#[derive(Clone)]
pub struct Sources {
    process: Process,
    /// The values of the series that live here.
    exposition: Exposition,
    /// What the status page shows.
    board: Board,
    /// What is known of the brokers; `None` where there are none (the demo).
    checks: Option<Arc<Checks>>,
    /// `/health`, as it was told last.
    overall: Arc<Mutex<Option<Told>>>,
    /// When the process began.
    since: Instant,
    /// How many workers there are: set when the broker was there and the stages have been started.
    pub workers: Arc<OnceLock<usize>>,
}

/// An answer that is told again for a while.
struct Told {
    at: Instant,
    code: u16,
    body: Bytes,
}

/// A listener that is told to stop when this is.
pub struct Http {
    /// Where it listens; `None` for nowhere.
    pub address: Option<SocketAddr>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    #[error("--http {0}: takes HOST:PORT, or `off`")]
    Address(String),
    #[error("--http {address}: cannot listen there: {error}")]
    Bind { address: String, error: std::io::Error },
}

/// Listens at `address` until stopped; `off` listens nowhere.
pub fn start(address: &str, guard: Guard, sources: Sources) -> Result<Http, HttpError> {
    if address == "off" {
        return Ok(Http {
            address: None,
            stop: None,
            thread: None,
        });
    }
    let resolved: SocketAddr = address
        .to_socket_addrs()
        .ok()
        .and_then(|mut found| found.next())
        .ok_or_else(|| HttpError::Address(address.to_owned()))?;
    let bind = |error| HttpError::Bind {
        address: address.to_owned(),
        error,
    };
    let listener = std::net::TcpListener::bind(resolved).map_err(bind)?;
    listener.set_nonblocking(true).map_err(bind)?;
    let bound = listener.local_addr().map_err(bind)?;
    let guard = guard.local(resolved.ip().is_loopback());
    if guard.is_open_to_others() {
        tracing::warn!(
            event_type = "http_without_token",
            "--http {address}: others can reach it, and --http-token is not set: who can connect can read what is told there"
        );
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(bind)?;
    let thread = std::thread::Builder::new().name("http".to_owned()).spawn(move || {
        runtime.block_on(async move {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    tokio::spawn(sources.board.clone().look(sources.clone()));
                    tokio::select! {
                        () = serve(listener, router(guard, sources)) => {}
                        _ = stopped => {}
                    }
                }
                Err(error) => tracing::error!(event_type = "http_failed", "the HTTP listener did not start: {error}"),
            }
        });
    });
    Ok(Http {
        address: Some(bound),
        stop: Some(stop),
        thread: Some(thread.map_err(bind)?),
    })
}

impl Sources {
    /// Of a process that begins now.
    pub fn new(process: Process, checks: Option<Arc<Checks>>) -> Self {
        Self {
            exposition: Exposition::new(process.clone()),
            process,
            board: Board::default(),
            checks,
            overall: Arc::default(),
            since: Instant::now(),
            workers: Arc::default(),
        }
    }

    /// How everything is.
    fn components(&self, export: &[(&'static str, ExportSnapshot)]) -> Vec<health::Component> {
        let up = self.since.elapsed();
        let pipeline = match self.has_started() {
            true => health::pipeline(&self.process.stats.lock().workers, up, Instant::now()),
            false => health::not_started(),
        };
        health::components(self.checks.as_deref(), pipeline, export, up)
    }

    /// `/health`: an HTTP status and JSON, at most [`OVERALL`] old.
    fn overall(&self) -> (u16, Bytes) {
        let mut told = self.overall.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(told) = told.as_ref().filter(|told| told.at.elapsed() < OVERALL) {
            return (told.code, told.body.clone());
        }
        let (code, body) = health::overall(&self.components(&self.process.exports()));
        let body = Bytes::from(body.to_string());
        *told = Some(Told {
            at: Instant::now(),
            code,
            body: body.clone(),
        });
        (code, body)
    }

    /// All workers have said something.
    fn has_started(&self) -> bool {
        let known = self.process.stats.lock().workers.len();
        self.workers.get().is_some_and(|workers| known >= *workers)
    }
}

fn router(guard: Guard, sources: Sources) -> Router {
    Router::new()
        .route("/", get(page::page))
        .route("/api/v1/status", get(page::status))
        .route("/api/v1/events", get(page::events))
        .route("/livez", get(probes::livez))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(metrics::scrape))
        .route("/api/v1/alerts", get(alerting))
        .route("/health", get(overall))
        .route("/health/kafka", get(kafka))
        .route("/health/topic/{*name}", get(topic))
        .fallback(nothing)
        .layer(middleware::from_fn_with_state(Arc::new(guard), guard::check))
        .with_state(sources)
}

/// Until the runtime ends.
async fn serve(listener: tokio::net::TcpListener, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES);
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: that passes.
                tracing::debug!(event_type = "http_connection", %error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        tokio::spawn(async move {
            if let Ok(Err(error)) = tokio::time::timeout(CONNECTION, connection).await {
                tracing::debug!(event_type = "http_connection", %error, "a connection ended");
            }
            drop(place);
        });
    }
}

impl Http {
    pub fn stop(mut self) {
        if let (Some(stop), Some(thread)) = (self.stop.take(), self.thread.take()) {
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}

fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn answered((code, body): (u16, serde_json::Value)) -> impl IntoResponse {
    (status(code), Json(body))
}

async fn overall(State(sources): State<Sources>) -> impl IntoResponse {
    let (code, body) = sources.overall();
    (status(code), [(CONTENT_TYPE, "application/json")], body)
}

async fn alerting(State(sources): State<Sources>) -> impl IntoResponse {
    answered((200, alerts::all(&sources.process.stats.lock())))
}

async fn kafka(State(sources): State<Sources>) -> impl IntoResponse {
    match &sources.checks {
        Some(checks) => answered(health::cluster(checks)),
        None => answered(no_brokers()),
    }
}

async fn topic(State(sources): State<Sources>, name: Result<Path<String>, PathRejection>) -> impl IntoResponse {
    match name {
        Ok(Path(name)) => match &sources.checks {
            Some(checks) => answered(health::topic(checks, &name).await).into_response(),
            None => answered(no_brokers()).into_response(),
        },
        Err(_) => answered((400, json!({ "error": "the name of the topic is not UTF-8" }))).into_response(),
    }
}

fn no_brokers() -> health::Answer {
    (
        404,
        json!({ "error": "there are no brokers here: the log is in memory" }),
    )
}

async fn nothing() -> impl IntoResponse {
    let paths = [
        "/",
        "/api/v1/status",
        "/api/v1/events",
        "/livez",
        "/readyz",
        "/metrics",
        "/api/v1/alerts",
        "/health",
        "/health/kafka",
        "/health/topic/NAME",
    ];
    answered((404, json!({ "error": "there is nothing here", "paths": paths })))
}
