//! `/metrics`: the series that this instance owns, and its own, for Prometheus to fetch.
//!
//! Rule: what is shown are the newest committed points, the same that leave over OTLP; the answer is made at most once in
//! [`FRESH`], however many ask, and nobody waits longer than [`PATIENCE`]. One that takes long to make is made less often, so
//! that it costs no more than a [`SHARE`](super::SHARE)th of a core, until it would be older than [`OLDEST`].
//!
//! Edges:
//! - points have no timestamps: who fetches gives them, and what OTLP sends has its own;
//! - while a rebalance holds a worker up, what it said last is shown, without partitions that it gave up;
//! - each series is on one instance: all of them have to be fetched, and series move between them.

mod accept;
pub(super) mod family;
mod proto;
mod text;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use prost::Message;
use tokio::sync::Mutex;

use super::{SHARE, Sources};
use crate::export::gzip;
use crate::export::telemetry::Process;
use crate::runtime::clock::wall_time;
use crate::runtime::newest::Requests;
use accept::Format;
use family::Families;

/// Who fetches does so every few seconds; ten thousand series take a tenth of a second of CPU.
const FRESH: Duration = Duration::from_secs(2);

const OLDEST: Duration = Duration::from_secs(10);

/// While it is made anew, who asks meanwhile gets what is there up to this much older.
const STALE: Duration = Duration::from_secs(3);

/// Somewhat more than two seals take.
const PATIENCE: Duration = Duration::from_secs(3);

const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The newest points of this process, made when they are asked for.
#[derive(Clone)]
pub struct Exposition(Arc<Inner>);

struct Inner {
    process: Process,
    made: StdMutex<Option<Arc<Made>>>,
    /// Held by who makes it anew.
    making: Mutex<()>,
}

/// What was made of one answer of the workers.
pub struct Made {
    at: Instant,
    /// Microseconds that it took, its bodies included.
    took: AtomicU64,
    families: Families,
    bodies: Mutex<BTreeMap<(Format, bool), Bytes>>,
}

// === impl Exposition ===

impl Exposition {
    pub fn new(process: Process) -> Self {
        Self(Arc::new(Inner {
            process,
            made: StdMutex::default(),
            making: Mutex::default(),
        }))
    }

    /// The newest point of each series that lives here, and the process's own metrics.
    pub async fn newest(&self) -> Arc<Made> {
        self.0.fresh().await
    }

    /// `None` where it could not be written, which was said.
    async fn body(&self, format: Format, is_zipped: bool) -> Option<Bytes> {
        let made = self.newest().await;
        let mut bodies = made.bodies.lock().await;
        if let Some(body) = bodies.get(&(format, is_zipped)) {
            return Some(body.clone());
        }
        // Thousands of series take a while, in which others are answered.
        let of = Arc::clone(&made);
        let written = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let body = write(&of.families, format);
            let body = if is_zipped {
                gzip(&body, Compression::fast())
            } else {
                Bytes::from(body)
            };
            of.add(began);
            body
        });
        let body = written.await.ok()?;
        bodies.insert((format, is_zipped), body.clone());
        Some(body)
    }
}

// === impl Inner ===

impl Inner {
    /// What was made, if it is not older by more than this than it may be.
    fn made(&self, older: Duration) -> Option<Arc<Made>> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        made.as_ref()
            .filter(|made| made.at.elapsed() < made.fresh_for() + older)
            .cloned()
    }

    async fn fresh(&self) -> Arc<Made> {
        if let Some(made) = self.made(Duration::ZERO) {
            return made;
        }
        let _making = match self.making.try_lock() {
            Ok(making) => making,
            // Somebody waits for the workers already.
            Err(_) => match self.made(STALE) {
                Some(made) => return made,
                None => self.making.lock().await,
            },
        };
        if let Some(made) = self.made(Duration::ZERO) {
            return made;
        }
        let requests = self.ask().await;
        let process = self.process.clone();
        let read = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            let mut series = read(&requests);
            series.push(process.metrics(wall_time()));
            Made::new(Families::of(&series), began)
        });
        // It panicked, which was said: there is nothing to show.
        let made = read
            .await
            .unwrap_or_else(|_| Made::new(Families::of(&[]), Instant::now()));
        let made = Arc::new(made);
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&made));
        made
    }

    async fn ask(&self) -> Vec<Requests> {
        let newest = &self.process.stats.newest;
        let (question, since) = (newest.ask(), Instant::now());
        while !newest.is_answered(question) && since.elapsed() < PATIENCE {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        newest.all()
    }
}

// === impl Made ===

impl Made {
    fn new(families: Families, began: Instant) -> Self {
        let made = Self {
            at: Instant::now(),
            took: AtomicU64::new(0),
            families,
            bodies: Mutex::default(),
        };
        made.add(began);
        made
    }

    pub fn families(&self) -> &Families {
        &self.families
    }

    /// What it has cost so far.
    pub fn took(&self) -> Duration {
        Duration::from_micros(self.took.load(Ordering::Relaxed))
    }

    /// More that it has cost.
    fn add(&self, began: Instant) {
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.took.fetch_add(micros, Ordering::Relaxed);
    }

    /// How long it is shown.
    fn fresh_for(&self) -> Duration {
        (self.took() * SHARE).clamp(FRESH, OLDEST)
    }
}

fn read(requests: &[Requests]) -> Vec<ResourceMetrics> {
    let requests = requests.iter().flat_map(|requests| requests.iter());
    // They were written by this process.
    let read = requests.filter_map(|request| ExportMetricsServiceRequest::decode(&**request).ok());
    read.flat_map(|request| request.resource_metrics).collect()
}

fn write(families: &Families, format: Format) -> Vec<u8> {
    match format {
        Format::Text => text::classic(families),
        Format::OpenMetrics => text::open_metrics(families),
        Format::Protobuf => proto::write(families),
    }
}

pub async fn scrape(State(sources): State<Sources>, headers: HeaderMap) -> Response {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let format = Format::wanted(text(ACCEPT));
    let is_zipped = accept::takes_gzip(text(ACCEPT_ENCODING));
    let Some(body) = sources.exposition.body(format, is_zipped).await else {
        // An empty answer would be a target that is up and has lost all its series.
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = (StatusCode::OK, [(CONTENT_TYPE, format.content_type())], body).into_response();
    let headers = response.headers_mut();
    headers.insert(VARY, axum::http::HeaderValue::from_static("accept, accept-encoding"));
    if is_zipped {
        headers.insert(CONTENT_ENCODING, axum::http::HeaderValue::from_static("gzip"));
    }
    response
}
