//! Producer and consumer that measure themselves, for applications.
//!
//! Rule: what is measured goes through the OpenTelemetry API, with the names and labels of the monitoring guide; which SDK
//! and which exporter serve is the application's choice. Nothing here changes what is sent or handled, but for two things:
//! a record gets a `traceparent` header, and a consumer commits only what was handled with success.
//!
//! Edges:
//! - all settings go to librdkafka as they are; only `enable.auto.commit` is forced to `false`, and statistics are turned on
//!   where the application has set no interval;
//! - providers must be set before [`Instrumentation::global`] is asked for: the API binds instruments when they are made.

mod consumer;
mod instruments;
mod owned;
mod producer;
mod trace;

pub use consumer::{ConsumeError, InstrumentedConsumer, OnFailure, Stop};
pub use instruments::Instrumentation;
pub use producer::{Acknowledged, Delivery, InstrumentedProducer, Outgoing, SendError};

/// The client library that this one wraps, in the version that it takes.
pub use rdkafka;

/// The target of all log lines, whichever file they come from.
const TARGET: &str = "streamgauge::client";

/// What settings ask for statistics, and how often where the application does not say.
const STATISTICS: (&str, &str) = ("statistics.interval.ms", "1000");

/// The application's settings, with statistics.
fn with_statistics(settings: &rdkafka::ClientConfig) -> rdkafka::ClientConfig {
    let mut settings = settings.clone();
    if settings.get(STATISTICS.0).is_none() {
        settings.set(STATISTICS.0, STATISTICS.1);
    }
    settings
}
