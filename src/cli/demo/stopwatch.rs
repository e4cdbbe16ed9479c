//! How long a total takes to the receiver, measured on the wire.
//!
//! Rule: from the end of a window to the receiver's word on the request with that window's points. Only points of the
//! pipeline's metrics count, and no levels: the application's own metrics are samples of now, too, and would flatter.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use hdrhistogram::Histogram;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message;

use crate::engine::time::EventTime;
use crate::export::sender::{SendRequest, Sender, Sending};
use crate::export::verdict::Verdict;
use crate::runtime::clock::wall_time;

/// The longest time that is told apart, in milliseconds.
const LONGEST: u64 = 600_000;

/// Shared by all lives of the exporter.
#[derive(Clone)]
pub struct Times(Arc<Mutex<Measured>>);

struct Measured {
    /// Names of the pipeline's metrics that have windows.
    metrics: BTreeSet<String>,
    /// Milliseconds.
    latency: Histogram<u64>,
    newest: Option<EventTime>,
}

/// A sender that looks at the clock.
pub struct Stopwatch {
    pub sender: Sender,
    pub times: Times,
}

// === impl Times ===

impl Times {
    pub fn of(metrics: &[String]) -> Self {
        let latency = Histogram::new_with_bounds(1, LONGEST, 3).expect("constant bounds");
        Self(Arc::new(Mutex::new(Measured {
            metrics: metrics.iter().cloned().collect(),
            latency,
            newest: None,
        })))
    }

    /// Milliseconds from the end of a window to its points' arrival.
    pub fn latency(&self) -> Histogram<u64> {
        self.measured().latency.clone()
    }

    /// The newest end of a window whose points have arrived.
    pub fn newest(&self) -> Option<EventTime> {
        self.measured().newest
    }

    fn arrived(&self, request: &[u8]) {
        // What cannot be read is the receiver's to refuse.
        let Ok(request) = ExportMetricsServiceRequest::decode(request) else {
            return;
        };
        let now = wall_time().as_event();
        let mut measured = self.measured();
        let scopes = request
            .resource_metrics
            .iter()
            .flat_map(|resource| &resource.scope_metrics);
        let metrics = scopes
            .flat_map(|scope| &scope.metrics)
            .filter(|metric| measured.metrics.contains(&metric.name));
        let Some(time) = metrics.filter_map(newest_point).max() else {
            return;
        };
        let micros = u64::try_from(now.0.saturating_sub(time.0)).unwrap_or(0);
        measured.latency.saturating_record((micros / 1_000).clamp(1, LONGEST));
        measured.newest = measured.newest.max(Some(time));
    }

    fn measured(&self) -> MutexGuard<'_, Measured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SendRequest for Stopwatch {
    fn send(&self, request: Bytes) -> Sending<'_> {
        Box::pin(async move {
            let verdict = self.sender.send(request.clone()).await;
            if verdict == Verdict::Accepted {
                self.times.arrived(&request);
            }
            verdict
        })
    }

    fn target(&self) -> String {
        self.sender.target()
    }
}

fn newest_point(metric: &Metric) -> Option<EventTime> {
    let nanos = match metric.data.as_ref()? {
        Data::Sum(sum) => sum.data_points.iter().map(|point| point.time_unix_nano).max(),
        Data::Gauge(gauge) => gauge.data_points.iter().map(|point| point.time_unix_nano).max(),
        Data::Histogram(histogram) => histogram.data_points.iter().map(|point| point.time_unix_nano).max(),
        Data::ExponentialHistogram(histogram) => histogram.data_points.iter().map(|point| point.time_unix_nano).max(),
        Data::Summary(_) => None,
    };
    nanos.and_then(|nanos| i64::try_from(nanos / 1_000).ok()).map(EventTime)
}
