//! The guide's metrics as OpenTelemetry instruments.
//!
//! Rule: the name over OTLP is the name in Prometheus: counters end in `_total` and durations in `_seconds` already, and
//! units are such that a translation adds nothing.
//!
//! Edges:
//! - histograms advise Prometheus' default boundaries; a view of the application overrules them;
//! - `partition` is text, as in what the pipelines export.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::global::{BoxedTracer, ObjectSafeTracer};
use opentelemetry::metrics::{Counter, Histogram, Meter};
use opentelemetry::{KeyValue, global};

use crate::engine::sketch::PROMETHEUS_SECONDS;

/// The scope of everything that clients say.
const SCOPE: &str = "streamgauge.client";

/// Where measurements and spans go.
#[derive(Clone)]
pub struct Instrumentation {
    pub(super) meter: Meter,
    pub(super) tracer: Arc<BoxedTracer>,
}

/// What a producer counts.
pub(super) struct Produced {
    messages: Counter<u64>,
    latency: Histogram<f64>,
    bytes: Counter<u64>,
    errors: Counter<u64>,
}

/// What a consumer counts.
pub(super) struct Consumed {
    messages: Counter<u64>,
    latency: Histogram<f64>,
    bytes: Counter<u64>,
}

fn counter(meter: &Meter, name: &'static str, unit: &'static str, says: &'static str) -> Counter<u64> {
    meter.u64_counter(name).with_unit(unit).with_description(says).build()
}

fn seconds(meter: &Meter, name: &'static str, says: &'static str) -> Histogram<f64> {
    let histogram = meter.f64_histogram(name).with_unit("s").with_description(says);
    histogram.with_boundaries(PROMETHEUS_SECONDS.to_vec()).build()
}

fn label(name: &'static str, value: &str) -> KeyValue {
    KeyValue::new(name, value.to_owned())
}

// === impl Instrumentation ===

impl Instrumentation {
    /// The application's global providers, as they are now.
    pub fn global() -> Self {
        Self {
            meter: global::meter(SCOPE),
            tracer: Arc::new(global::tracer(SCOPE)),
        }
    }

    /// A meter and a tracer of the application's choice.
    pub fn of(meter: Meter, tracer: impl ObjectSafeTracer + Send + Sync + 'static) -> Self {
        Self {
            meter,
            tracer: Arc::new(BoxedTracer::new(Box::new(tracer))),
        }
    }
}

// === impl Produced ===

impl Produced {
    pub fn new(meter: &Meter) -> Self {
        Self {
            messages: counter(
                meter,
                "kafka_producer_messages_total",
                "{record}",
                "Records sent, by outcome",
            ),
            latency: seconds(meter, "kafka_producer_latency_seconds", "From send to acknowledgement"),
            bytes: counter(
                meter,
                "kafka_producer_bytes_total",
                "By",
                "Bytes of acknowledged values",
            ),
            errors: counter(
                meter,
                "kafka_producer_errors_total",
                "{error}",
                "Records not sent, by error code",
            ),
        }
    }

    pub fn succeeded(&self, topic: &str, producer: &str, took: Duration, bytes: usize) {
        self.sent(topic, producer, took, "success");
        let labels = [label("topic", topic), label("producer_id", producer)];
        self.bytes.add(bytes as u64, &labels);
    }

    pub fn failed(&self, topic: &str, producer: &str, took: Duration, error: String) {
        self.sent(topic, producer, took, "failure");
        let labels = [
            KeyValue::new("error_type", error),
            label("topic", topic),
            label("producer_id", producer),
        ];
        self.errors.add(1, &labels);
    }

    fn sent(&self, topic: &str, producer: &str, took: Duration, status: &'static str) {
        let labels = [
            label("topic", topic),
            label("producer_id", producer),
            KeyValue::new("status", status),
        ];
        self.messages.add(1, &labels);
        self.latency.record(took.as_secs_f64(), &labels[..2]);
    }
}

// === impl Consumed ===

impl Consumed {
    pub fn new(meter: &Meter) -> Self {
        Self {
            messages: counter(
                meter,
                "kafka_consumer_messages_total",
                "{record}",
                "Records handled, by outcome",
            ),
            latency: seconds(meter, "kafka_consumer_latency_seconds", "How long the handler took"),
            bytes: counter(meter, "kafka_consumer_bytes_total", "By", "Bytes of handled values"),
        }
    }

    pub fn handled(&self, topic: &str, group: &str, took: Duration, bytes: usize, status: &'static str) {
        let labels = [
            label("topic", topic),
            label("consumer_group", group),
            KeyValue::new("status", status),
        ];
        self.messages.add(1, &labels);
        self.latency.record(took.as_secs_f64(), &labels[..2]);
        self.bytes.add(bytes as u64, &labels[..2]);
    }
}
