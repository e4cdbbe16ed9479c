//! What orchestrators ask: `/livez` (the process answers) and `/readyz` (it does its work).
//!
//! Rule: ready is an instance of which every worker has restored what it was assigned (an empty assignment counts), and has
//! settled a transaction or found none to be needed within [`FRESH`].

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

use super::Sources;
use super::health::FRESH;

pub async fn livez() -> &'static str {
    "alive\n"
}

pub async fn readyz(State(sources): State<Sources>) -> (StatusCode, Json<serde_json::Value>) {
    let has_started = sources.has_started();
    let numbers = sources.process.stats.lock();
    let mut waiting = Vec::new();
    for (name, worker) in &numbers.workers {
        let fresh = worker.last_commit.is_some_and(|at| at.elapsed() < FRESH);
        if !(worker.ready && fresh) {
            let busy: Vec<String> = worker
                .underway()
                .map(|(partition, phase)| format!("{}/{} {phase}", partition.topic, partition.partition))
                .collect();
            waiting.push(json!({ "worker": name, "tasks": busy }));
        }
    }
    let status = if waiting.is_empty() && has_started {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(json!({ "ready": status == StatusCode::OK, "waiting": waiting })),
    )
}
