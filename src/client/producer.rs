//! A producer that measures what it sends.
//!
//! Rule: every record that is given to [`InstrumentedProducer::send_with_metrics`] is counted once, when its outcome is
//! known: acknowledged by the broker, or given up by librdkafka (`message.timeout.ms`) or refused at once.
//!
//! Edges:
//! - it is counted also when nobody waits for the [`Delivery`];
//! - a full queue is a failure (`QueueFull`) and not a pause: who sends without waiting decides how much may be open;
//! - the thread of librdkafka's answers measures: a slow exporter does not hold it, since instruments only add up;
//! - what is still open at [`InstrumentedProducer::flush`]'s limit stays open; dropped with the producer, it is not counted.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context as Task, Poll};
use std::time::{Duration, Instant};

use opentelemetry::global::BoxedTracer;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, KeyValue};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{DeliveryResult, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use rdkafka::{ClientConfig, ClientContext, Statistics};
use tokio::sync::oneshot;

use super::instruments::{Instrumentation, Produced};
use super::{TARGET, trace, with_statistics};

/// A record to send.
#[derive(Clone, Debug, Default)]
pub struct Outgoing<'a> {
    pub topic: &'a str,
    /// The partitioner's choice without it.
    pub partition: Option<i32>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    /// Milliseconds since the epoch; the client's clock without it.
    pub timestamp: Option<i64>,
    pub headers: Option<OwnedHeaders>,
}

/// Where a record lies now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acknowledged {
    pub partition: i32,
    pub offset: i64,
}

/// Why a record was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("the record was not sent: {0}")]
    Kafka(#[from] KafkaError),
    #[error("the producer was dropped before the record's outcome was known")]
    Dropped,
}

/// The outcome of a record, once it is known; to await, or to wait for in a thread.
#[must_use = "whether the record was sent is known only to who waits"]
pub struct Delivery(oneshot::Receiver<Result<Acknowledged, SendError>>);

/// A producer with metrics, spans and trace context.
pub struct InstrumentedProducer {
    producer: ThreadedProducer<Answers>,
    tracer: Arc<BoxedTracer>,
    answers: Arc<Measured>,
}

/// A record on its way.
struct Open {
    since: Instant,
    context: Context,
    answer: oneshot::Sender<Result<Acknowledged, SendError>>,
}

/// What the calling thread and librdkafka's have in common.
struct Measured {
    producer_id: String,
    produced: Produced,
    /// Of the newest statistics.
    queue: AtomicU64,
}

/// Takes librdkafka's answers.
struct Answers(Arc<Measured>);

// === impl InstrumentedProducer ===

impl InstrumentedProducer {
    /// A producer with the application's settings; `producer_id` is the label of its metrics.
    pub fn new(settings: &ClientConfig, producer_id: &str, to: &Instrumentation) -> KafkaResult<Self> {
        let answers = Arc::new(Measured {
            producer_id: producer_id.to_owned(),
            produced: Produced::new(&to.meter),
            queue: AtomicU64::new(0),
        });
        let producer = with_statistics(settings).create_with_context(Answers(answers.clone()))?;
        let watched: Weak<Measured> = Arc::downgrade(&answers);
        to.meter
            .u64_observable_gauge("kafka_producer_queue_size")
            .with_unit("{record}")
            .with_description("Records in the producer's queue")
            .with_callback(move |gauge| {
                if let Some(measured) = watched.upgrade() {
                    let labels = [KeyValue::new("producer_id", measured.producer_id.clone())];
                    gauge.observe(measured.queue.load(Ordering::Relaxed), &labels);
                }
            })
            .build();
        Ok(Self {
            producer,
            tracer: to.tracer.clone(),
            answers,
        })
    }

    /// Sends a record within the current trace context. It does not block; the outcome comes with the delivery.
    pub fn send_with_metrics(&self, record: Outgoing<'_>) -> Delivery {
        let span = self
            .tracer
            .span_builder(format!("send {}", record.topic))
            .with_kind(SpanKind::Producer)
            .with_attributes([
                KeyValue::new("messaging.system", "kafka"),
                KeyValue::new("messaging.destination", record.topic.to_owned()),
                KeyValue::new("messaging.operation", "send"),
            ])
            .start(self.tracer.as_ref());
        let context = Context::current_with_span(span);
        let headers = trace::inject(&context, record.headers);
        let (answer, delivery) = oneshot::channel();
        let open = Box::new(Open {
            since: Instant::now(),
            context,
            answer,
        });
        let mut given: BaseRecord<'_, [u8], [u8], Box<Open>> = BaseRecord::with_opaque_to(record.topic, open);
        given.partition = record.partition;
        given.key = record.key;
        given.payload = record.value;
        given.timestamp = record.timestamp;
        given.headers = headers;
        if let Err((error, given)) = self.producer.send(given) {
            let bytes = record.value.map_or(0, <[u8]>::len);
            self.answers
                .done(record.topic, bytes, *given.delivery_opaque, Err(error));
        }
        Delivery(delivery)
    }

    /// Waits until every record's outcome is known, at most so long.
    pub fn flush(&self, limit: Duration) -> KafkaResult<()> {
        self.producer.flush(limit)
    }
}

// === impl Delivery ===

impl Delivery {
    /// Blocks until the outcome is known; not for an asynchronous task, which awaits it.
    pub fn wait(self) -> Result<Acknowledged, SendError> {
        self.0.blocking_recv().unwrap_or(Err(SendError::Dropped))
    }
}

impl Future for Delivery {
    type Output = Result<Acknowledged, SendError>;

    fn poll(mut self: Pin<&mut Self>, task: &mut Task<'_>) -> Poll<Self::Output> {
        let polled = Pin::new(&mut self.0).poll(task);
        polled.map(|answer| answer.unwrap_or(Err(SendError::Dropped)))
    }
}

// === impl Measured ===

impl Measured {
    /// Counts a record whose outcome is known, and says so to who waits.
    fn done(&self, topic: &str, bytes: usize, open: Open, outcome: Result<Acknowledged, KafkaError>) {
        let took = open.since.elapsed();
        let duration_ms = took.as_secs_f64() * 1_000.0;
        let span = open.context.span();
        let within = open.context.clone().attach();
        match &outcome {
            Ok(acknowledged) => {
                self.produced.succeeded(topic, &self.producer_id, took, bytes);
                span.set_attribute(KeyValue::new("messaging.kafka.offset", acknowledged.offset));
                span.set_status(Status::Ok);
                tracing::info!(
                    target: TARGET,
                    event_type = "producer_event",
                    topic,
                    status = "success",
                    message_size_bytes = bytes,
                    duration_ms,
                    component = "producer"
                );
            }
            Err(error) => {
                let code = error.rdkafka_error_code();
                let name = code.map_or_else(|| "Unknown".to_owned(), |code| format!("{code:?}"));
                self.produced.failed(topic, &self.producer_id, took, name.clone());
                span.set_attribute(KeyValue::new("error.type", name));
                span.set_status(Status::error(error.to_string()));
                tracing::warn!(
                    target: TARGET,
                    event_type = "producer_event",
                    topic,
                    status = "error",
                    message_size_bytes = 0,
                    duration_ms,
                    component = "producer",
                    %error
                );
            }
        }
        drop(within);
        span.end();
        // Nobody waits: the outcome is counted all the same.
        let _ = open.answer.send(outcome.map_err(SendError::Kafka));
    }
}

// === impl Answers ===

impl ClientContext for Answers {
    fn stats(&self, statistics: Statistics) {
        self.0.queue.store(statistics.msg_cnt, Ordering::Relaxed);
    }
}

impl ProducerContext for Answers {
    type DeliveryOpaque = Box<Open>;

    fn delivery(&self, result: &DeliveryResult<'_>, open: Box<Open>) {
        let (message, outcome) = match result {
            Ok(message) => {
                let acknowledged = Acknowledged {
                    partition: message.partition(),
                    offset: message.offset(),
                };
                (message, Ok(acknowledged))
            }
            Err((error, message)) => (message, Err(error.clone())),
        };
        self.0.done(message.topic(), message.payload_len(), *open, outcome);
    }
}
