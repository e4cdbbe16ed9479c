//! What orchestrators ask: `/livez` (the process answers) and `/readyz` (it does its work).
//!
//! Rule: answers come from numbers that the workers leave behind, so a probe never touches the broker and a hung broker
//! cannot hang a probe. Ready: every worker has restored what it was assigned (an empty assignment counts), and has
//! settled a transaction or found none to be needed within [`FRESH`].

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::sync::oneshot;

use crate::runtime::stats::Stats;

/// A worker that has not been around its loop for this long is not ready.
const FRESH: Duration = Duration::from_secs(30);

/// A listener that is told to stop when this is.
pub struct Http {
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
pub fn start(address: &str, stats: Stats) -> Result<Http, HttpError> {
    if address == "off" {
        return Ok(Http {
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
    if !resolved.ip().is_loopback() {
        tracing::warn!("--http {address}: the probes can be reached from other machines");
    }
    let (stop, stopped) = oneshot::channel::<()>();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(bind)?;
    let thread = std::thread::Builder::new().name("http".to_owned()).spawn(move || {
        runtime.block_on(async move {
            let app = Router::new()
                .route("/livez", get(livez))
                .route("/readyz", get(readyz))
                .with_state(stats);
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    let until = async {
                        let _ = stopped.await;
                    };
                    if let Err(error) = axum::serve(listener, app).with_graceful_shutdown(until).await {
                        tracing::error!("the HTTP listener ended: {error}");
                    }
                }
                Err(error) => tracing::error!("the HTTP listener did not start: {error}"),
            }
        });
    });
    Ok(Http {
        stop: Some(stop),
        thread: Some(thread.map_err(bind)?),
    })
}

impl Http {
    pub fn stop(mut self) {
        if let (Some(stop), Some(thread)) = (self.stop.take(), self.thread.take()) {
            let _ = stop.send(());
            let _ = thread.join();
        }
    }
}

async fn livez() -> &'static str {
    "alive\n"
}

async fn readyz(State(stats): State<Stats>) -> (StatusCode, Json<serde_json::Value>) {
    let numbers = stats.lock();
    let mut waiting = Vec::new();
    for (name, worker) in &numbers.workers {
        let fresh = worker.last_commit.is_some_and(|at| at.elapsed() < FRESH);
        if !(worker.ready && fresh) {
            let busy: Vec<String> = worker
                .tasks
                .iter()
                .filter(|(_, (phase, _))| *phase != "running")
                .map(|(partition, (phase, _))| format!("{}/{} {phase}", partition.topic, partition.partition))
                .collect();
            waiting.push(json!({ "worker": name, "tasks": busy }));
        }
    }
    let status = if waiting.is_empty() && !numbers.workers.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(json!({ "ready": status == StatusCode::OK, "waiting": waiting })),
    )
}
