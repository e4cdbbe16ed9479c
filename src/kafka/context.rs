//! What librdkafka calls back: log lines go to tracing, failed deliveries are kept for the commit.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::ProducerContext;
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

/// Errors that a client met, newest last, with librdkafka's reason. For clients that are asked once.
pub(super) type Met = Arc<Mutex<Vec<(RDKafkaErrorCode, String)>>>;

/// Of a client that keeps nothing but its errors.
#[derive(Clone, Default)]
pub(super) struct Quiet {
    pub met: Met,
}

/// Of the group's consumer. Its queue is polled by us, so rebalances reach this only while the client is dropped.
#[derive(Clone, Default)]
pub(super) struct Closing;

/// Of the transactional producer.
#[derive(Clone, Default)]
pub(super) struct Deliveries {
    pub failed: Arc<Mutex<Option<Undelivered>>>,
}

/// The first record of a transaction that the broker did not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Undelivered {
    pub code: RDKafkaErrorCode,
    pub topic: String,
    pub partition: i32,
    pub bytes: usize,
}

// === impl Quiet ===

impl Quiet {
    fn meet(&self, code: RDKafkaErrorCode, reason: &str) {
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        // A client that lives long meets the same trouble for ever.
        if met.len() < 64 {
            met.push((code, reason.to_owned()));
        }
    }
}

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        // Louder ones come as errors too.
        if facility == "FAIL" && level as i32 >= RDKafkaLogLevel::Notice as i32 {
            let reason = line.split_once("]: ").map_or(line, |(_, reason)| reason);
            self.meet(RDKafkaErrorCode::BrokerTransportFailure, reason);
        }
        log_line(level as i32, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if let Some(code) = error.rdkafka_error_code() {
            self.meet(code, reason);
        }
    }
}

impl ConsumerContext for Quiet {}

// === impl Closing ===

impl ClientContext for Closing {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level as i32, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", event_type = "librdkafka", %error, reason);
    }
}

impl ConsumerContext for Closing {
    /// While a consumer is closed every assignment is given back; librdkafka waits for the answer.
    fn rebalance(&self, consumer: &BaseConsumer<Self>, err: RDKafkaRespErr, partitions: &mut TopicPartitionList) {
        let given_back = match err {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS => consumer.incremental_unassign(partitions),
            _ => consumer.unassign(),
        };
        if given_back.is_err() {
            // Nothing is left to give back, or the client is of another mind about the protocol: both are fine with this.
            let _ = consumer.unassign();
        }
    }
}

// === impl Deliveries ===

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level as i32, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", event_type = "librdkafka", %error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, delivery: &DeliveryResult<'_>, (): ()) {
        let Err((error, message)) = delivery else {
            return;
        };
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        // An abort purges what was not sent.
        if matches!(code, RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight) {
            return;
        }
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.get_or_insert_with(|| Undelivered {
            code,
            topic: message.topic().to_owned(),
            partition: message.partition(),
            bytes: message.key_len() + message.payload_len(),
        });
    }
}

/// A line of librdkafka's own log. What a person must know also comes as an error, so lines stay one level quieter.
pub(super) fn log_line(level: i32, facility: &str, line: &str) {
    match level {
        ..=2 => tracing::error!(target: "librdkafka", event_type = "librdkafka", "{facility}: {line}"),
        // A failed connection is told as trouble, once; a setting that another kind of client uses is no news.
        3 | 4 if !matches!(facility, "FAIL" | "ERROR" | "CONFWARN") => {
            tracing::info!(target: "librdkafka", event_type = "librdkafka", "{facility}: {line}");
        }
        _ => tracing::debug!(target: "librdkafka", event_type = "librdkafka", "{facility}: {line}"),
    }
}
