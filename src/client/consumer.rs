//! A consumer that measures what is handled, and commits only what was handled with success.
//!
//! Rule: one record at a time goes to the handler, in the thread that runs the loop. `Ok(true)` is a success and commits the
//! offset behind the record; `Ok(false)` is a failure, `Err` and a panic are errors, and none of them commits anything.
//!
//! Edges:
//! - an offset is one number: after a failure the next success of the partition commits beyond the failed record too, which
//!   is then never handled again ([`OnFailure::Skip`], what the guide's loop does). [`OnFailure::Stop`] ends the loop
//!   instead, so that who starts anew gets the failed record first;
//! - a commit is sent after each success without waiting; when partitions are revoked and at the end it is waited for;
//! - a panic of the handler is counted and goes on its way: it is not swallowed;
//! - partitions change hands only between two records, since only the loop polls.

use std::error::Error;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry::global::BoxedTracer;
use opentelemetry::metrics::{AsyncInstrument, Meter};
use opentelemetry::trace::{SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext, Statistics};

use super::instruments::{Consumed, Instrumentation};
use super::owned::{Owned, Said};
use super::{TARGET, trace, with_statistics};

/// How long the loop may not look whether it is to stop.
const TURN: Duration = Duration::from_millis(100);

/// What follows a record that was not handled with success.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// The next record. A later success of the partition commits beyond the failed one.
    #[default]
    Skip,
    /// The end of the loop, with [`ConsumeError::Unhandled`]. The failed record is handled again by who starts next.
    Stop,
}

/// Why a consumer could not be made or its loop ended.
#[derive(Debug, thiserror::Error)]
pub enum ConsumeError {
    #[error("`group.id` is not set")]
    NoGroup,
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error("the record at offset {offset} of {topic}, partition {partition}, was not handled")]
    Unhandled { topic: String, partition: i32, offset: i64 },
}

/// Ends a consumer's loop from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

/// A consumer with metrics, spans and commits after success.
pub struct InstrumentedConsumer {
    consumer: BaseConsumer<Places>,
    group: String,
    on_failure: OnFailure,
    consumed: Consumed,
    tracer: Arc<BoxedTracer>,
    owned: Arc<Mutex<Owned>>,
    stop: Stop,
}

/// Takes what librdkafka says of partitions.
struct Places {
    owned: Arc<Mutex<Owned>>,
}

/// How a record was handled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Success,
    Failure,
    Error,
}

/// Numbers are whole after each step, so a panic elsewhere spoils none.
fn lock(owned: &Mutex<Owned>) -> MutexGuard<'_, Owned> {
    owned.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Stop ===

impl Stop {
    /// The record that is being handled is the last.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

// === impl Outcome ===

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failure => "failure",
            Self::Error => "error",
        }
    }
}

// === impl InstrumentedConsumer ===

impl InstrumentedConsumer {
    /// A consumer with the application's settings; `group.id` is the label of its metrics.
    pub fn new(settings: &ClientConfig, on_failure: OnFailure, to: &Instrumentation) -> Result<Self, ConsumeError> {
        let group = settings.get("group.id").filter(|group| !group.is_empty());
        let group = group.ok_or(ConsumeError::NoGroup)?.to_owned();
        let owned = Arc::new(Mutex::new(Owned::default()));
        let mut settings = with_statistics(settings);
        settings.set("enable.auto.commit", "false");
        let consumer = settings.create_with_context(Places { owned: owned.clone() })?;
        observe(&to.meter, &group, &owned);
        Ok(Self {
            consumer,
            group,
            on_failure,
            consumed: Consumed::new(&to.meter),
            tracer: to.tracer.clone(),
            owned,
            stop: Stop::default(),
        })
    }

    pub fn subscribe(&self, topics: &[&str]) -> KafkaResult<()> {
        self.consumer.subscribe(topics)
    }

    /// What ends the loop.
    pub fn stopper(&self) -> Stop {
        self.stop.clone()
    }

    /// Gives each record to the handler until the loop is stopped, a record is not handled where that is to stop it, or
    /// librdkafka gives up. Other errors of librdkafka are logged: it tries again by itself.
    ///
    /// The consumer ends with the loop: one that read on behind an unhandled record would commit beyond it.
    pub fn consume_with_metrics<E: Error>(
        self,
        mut handler: impl FnMut(&BorrowedMessage<'_>) -> Result<bool, E>,
    ) -> Result<(), ConsumeError> {
        let ended = self.turns(&mut handler);
        let last = settle(&self.consumer);
        ended.and(last.map_err(ConsumeError::Kafka))
    }

    fn turns<E: Error>(
        &self,
        handler: &mut impl FnMut(&BorrowedMessage<'_>) -> Result<bool, E>,
    ) -> Result<(), ConsumeError> {
        while !self.stop.is_asked() {
            match self.consumer.poll(TURN) {
                None => {}
                Some(Ok(message)) => {
                    let outcome = self.handle(&message, handler);
                    if outcome == Outcome::Success {
                        // What it says of this place the next commit says too.
                        if let Err(error) = self.commit(&message) {
                            tracing::warn!(target: TARGET, event_type = "commit_failed", %error, "a commit was not sent: records may be handled again");
                        }
                    } else if self.on_failure == OnFailure::Stop {
                        return Err(ConsumeError::Unhandled {
                            topic: message.topic().to_owned(),
                            partition: message.partition(),
                            offset: message.offset(),
                        });
                    }
                }
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return Err(error.into()),
                // No trouble: an application that asks for it wants to know, ours only reads on.
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => {
                    tracing::warn!(target: TARGET, event_type = "consumer_trouble", group = self.group, %error, "the consumer goes on after an error")
                }
            }
        }
        Ok(())
    }

    fn handle<E: Error>(
        &self,
        message: &BorrowedMessage<'_>,
        handler: &mut impl FnMut(&BorrowedMessage<'_>) -> Result<bool, E>,
    ) -> Outcome {
        let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
        lock(&self.owned).positioned(topic, partition, offset);
        let context = self.span(message);
        let since = Instant::now();
        let handled = {
            let _within = context.clone().attach();
            catch_unwind(AssertUnwindSafe(|| handler(message)))
        };
        let took = since.elapsed();
        let span = context.span();
        let exception = |kind: &'static str, what: String| {
            let attributes = vec![
                KeyValue::new("exception.type", kind),
                KeyValue::new("exception.message", what.clone()),
            ];
            span.add_event("exception", attributes);
            span.set_status(Status::error(what));
        };
        let outcome = match &handled {
            Ok(Ok(true)) => {
                span.set_status(Status::Ok);
                Outcome::Success
            }
            Ok(Ok(false)) => {
                span.set_status(Status::error("Business logic failed"));
                Outcome::Failure
            }
            Ok(Err(error)) => {
                exception(std::any::type_name::<E>(), error.to_string());
                Outcome::Error
            }
            Err(_) => {
                exception("panic", "the handler panicked".to_owned());
                Outcome::Error
            }
        };
        span.end();
        lock(&self.owned).positioned(topic, partition, offset.saturating_add(1));
        let status = outcome.name();
        self.consumed
            .handled(topic, &self.group, took, message.payload_len(), status);
        let duration_ms = took.as_secs_f64() * 1_000.0;
        macro_rules! say {
            ($level:ident) => {
                tracing::$level!(
                    target: TARGET,
                    event_type = "consumer_event",
                    topic,
                    partition,
                    offset,
                    status,
                    duration_ms,
                    processing_time_ms = duration_ms,
                    component = "consumer"
                )
            };
        }
        let within = context.clone().attach();
        match outcome {
            Outcome::Success => say!(info),
            Outcome::Failure | Outcome::Error => say!(error),
        }
        drop(within);
        match handled {
            Ok(_) => outcome,
            Err(panic) => resume_unwind(panic),
        }
    }

    /// The guide's span, below the one that the record names.
    fn span(&self, message: &BorrowedMessage<'_>) -> Context {
        let parent = trace::extract(message.headers());
        let span = self
            .tracer
            .span_builder("process-message")
            .with_kind(SpanKind::Consumer)
            .with_attributes([
                KeyValue::new("messaging.system", "kafka"),
                KeyValue::new("messaging.destination", message.topic().to_owned()),
                KeyValue::new("messaging.operation", "process"),
            ])
            .start_with_context(self.tracer.as_ref(), &parent);
        let context = parent.with_span(span);
        // A span that is not kept need not know what the value says.
        if context.span().is_recording() {
            let said = trace::Said::of(message.payload());
            let kind = said.message_type.unwrap_or_else(|| "unknown".to_owned());
            context.span().set_attribute(KeyValue::new("message.type", kind));
            if let Some(id) = said.correlation_id.filter(|id| !id.is_empty()) {
                context.span().set_attribute(KeyValue::new("correlation.id", id));
            }
        }
        context
    }

    /// Sends the commit of what is behind the record.
    fn commit(&self, message: &BorrowedMessage<'_>) -> KafkaResult<()> {
        let next = message.offset().saturating_add(1);
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(message.topic(), message.partition(), Offset::Offset(next))?;
        self.consumer.commit(&offsets, CommitMode::Async)?;
        lock(&self.owned).committed(message.topic(), message.partition(), next);
        Ok(())
    }
}

/// Commits once more what each owned partition has committed, and so waits for what is on its way.
fn settle(consumer: &BaseConsumer<Places>) -> KafkaResult<()> {
    let mut offsets = TopicPartitionList::new();
    for (topic, partition, next) in lock(&consumer.context().owned).offsets() {
        let next = Offset::Offset(i64::try_from(next).unwrap_or(i64::MAX));
        offsets.add_partition_offset(topic, partition, next)?;
    }
    match offsets.count() {
        0 => Ok(()),
        _ => consumer.commit(&offsets, CommitMode::Sync),
    }
}

/// The gauges of owned partitions; they end with the consumer.
fn observe(meter: &Meter, group: &str, owned: &Arc<Mutex<Owned>>) {
    fn say<'a>(to: &dyn AsyncInstrument<u64>, group: &str, numbers: impl Iterator<Item = Said<'a>>) {
        for (topic, partition, number) in numbers {
            let labels = [
                KeyValue::new("topic", topic.to_owned()),
                KeyValue::new("partition", partition.to_string()),
                KeyValue::new("consumer_group", group.to_owned()),
            ];
            to.observe(number, &labels);
        }
    }
    let (watched, name) = (Arc::downgrade(owned), group.to_owned());
    meter
        .u64_observable_gauge("kafka_consumer_lag")
        .with_unit("{record}")
        .with_description("High watermark minus position")
        .with_callback(move |gauge| {
            if let Some(owned) = watched.upgrade() {
                say(gauge, &name, lock(&owned).lags());
            }
        })
        .build();
    let (watched, name) = (Arc::downgrade(owned), group.to_owned());
    meter
        .u64_observable_gauge("kafka_consumer_offset")
        .with_unit("{offset}")
        .with_description("The committed offset")
        .with_callback(move |gauge| {
            if let Some(owned) = watched.upgrade() {
                say(gauge, &name, lock(&owned).offsets());
            }
        })
        .build();
}

// === impl Places ===

impl ClientContext for Places {
    fn stats(&self, statistics: Statistics) {
        lock(&self.owned).told(&statistics);
    }
}

impl ConsumerContext for Places {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Revoke(partitions) = rebalance {
            if let Err(error) = settle(consumer) {
                tracing::warn!(target: TARGET, event_type = "commit_failed", %error, "the last commit before partitions were revoked failed: records are handled again");
            }
            lock(&self.owned).revoked(partitions);
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            lock(&self.owned).assigned(partitions);
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _: &TopicPartitionList) {
        match result.as_ref().map_err(KafkaError::rdkafka_error_code) {
            Ok(()) | Err(Some(RDKafkaErrorCode::NoOffset)) => {}
            Err(_) => {
                if let Err(error) = result {
                    tracing::warn!(target: TARGET, event_type = "commit_failed", %error, "a commit failed: records may be handled again");
                }
            }
        }
    }
}
