//! Reads a topic from the side, for commands that show what lies in it: no group, no commit.
//!
//! Rule: a partition is read from where it is asked for; [`Polled::End`] says that for now there is nothing more of it.
//!
//! Edges:
//! - control records are never handed out by librdkafka, nor are records of aborted transactions to a committed reader: only
//!   the offsets in between are missing;
//! - librdkafka assigns nothing to a client without a group id; rights on that group are not needed.

use std::sync::PoisonError;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::Offset;

use super::context::Quiet;
use super::settings::Connection;
use super::trouble::{self, About};
use super::{CALL, admin, list, sampler};
use crate::runtime::log::{LogError, TopicPartition};

/// Whose records are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Those that count: of committed transactions and of none. Ends at the last stable offset.
    Committed,
    /// Also those of open and of aborted transactions. Ends at the high watermark.
    Uncommitted,
}

/// Where to begin in each partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    Earliest,
    Latest,
    At(i64),
}

/// A record as it lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lying {
    pub partition: u32,
    pub offset: i64,
    /// Milliseconds since the epoch.
    pub time: Option<i64>,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polled {
    Record(Lying),
    /// Nothing more in this partition for now.
    End(u32),
    Nothing,
}

/// Reads partitions of one topic.
pub struct TopicReader {
    consumer: BaseConsumer<Quiet>,
    /// Is told high watermarks.
    metadata: BaseConsumer<Quiet>,
    partitions: Vec<TopicPartition>,
    bootstrap: String,
}

// === impl TopicReader ===

impl TopicReader {
    pub fn open(
        connection: &Connection,
        topic: &str,
        partitions: &[u32],
        begin: Begin,
        isolation: Isolation,
    ) -> Result<Self, LogError> {
        let refused = |error: KafkaError| LogError::Refused(format!("topic `{topic}`: {error}"));
        let consumer: BaseConsumer<Quiet> = connection
            .side_reader(isolation)
            .create_with_context(Quiet::default())
            .map_err(refused)?;
        let metadata = admin::metadata_client(connection).map_err(|error| LogError::Refused(error.to_string()))?;
        let partitions: Vec<TopicPartition> = partitions
            .iter()
            .map(|partition| TopicPartition {
                topic: topic.to_owned(),
                partition: *partition,
            })
            .collect();
        let offset = match begin {
            Begin::Earliest => Offset::Beginning,
            Begin::Latest => Offset::End,
            Begin::At(offset) => Offset::Offset(offset),
        };
        let assignment = list(partitions.iter().map(|partition| (partition, offset)));
        consumer.assign(&assignment).map_err(refused)?;
        let bootstrap = connection.bootstrap().to_owned();
        Ok(Self {
            consumer,
            metadata,
            partitions,
            bootstrap,
        })
    }

    pub fn poll(&self, wait: Duration) -> Result<Polled, LogError> {
        let message = match self.consumer.poll(wait) {
            None => return Ok(Polled::Nothing),
            Some(Ok(message)) => message,
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                return Ok(u32::try_from(partition).map_or(Polled::Nothing, Polled::End));
            }
            Some(Err(error)) => return self.met(&error),
        };
        Ok(Polled::Record(Lying {
            partition: u32::try_from(message.partition()).unwrap_or_default(),
            offset: message.offset(),
            time: message.timestamp().to_millis(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
        }))
    }

    fn met(&self, error: &KafkaError) -> Result<Polled, LogError> {
        let topic = self.partitions.first().map_or("", |partition| &partition.topic);
        match error.rdkafka_error_code() {
            Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => Err(LogError::Fatal(format!(
                "topic `{topic}`: there is no such offset, or not any more: {error}"
            ))),
            Some(code @ Code::TopicAuthorizationFailed) => Err(trouble::asked(code, About::ReadTopic(topic))),
            // Trouble that passes; who waits too long asks for it.
            _ => {
                tracing::debug!(event_type = "reader_trouble", %error, topic, "reading from the side");
                Ok(Polled::Nothing)
            }
        }
    }

    /// What the brokers last had to say, for one who has waited long enough.
    pub fn silence(&self) -> LogError {
        let met = self
            .consumer
            .context()
            .met
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (code, reason) = met
            .last()
            .cloned()
            .unwrap_or((Code::OperationTimedOut, "no answer".to_owned()));
        LogError::Retry(trouble::passing(code, &reason, &self.bootstrap))
    }

    /// Where each partition ends for this reader. One call.
    pub fn ends(&self) -> Result<Vec<(u32, i64)>, LogError> {
        self.ends_by(&self.consumer)
    }

    /// The high watermark of each partition. One call.
    pub fn high_watermarks(&self) -> Result<Vec<(u32, i64)>, LogError> {
        self.ends_by(&self.metadata)
    }

    fn ends_by(&self, client: &BaseConsumer<Quiet>) -> Result<Vec<(u32, i64)>, LogError> {
        let partitions: Vec<&TopicPartition> = self.partitions.iter().collect();
        let ends = sampler::ask(client, &partitions, CALL).ok_or_else(|| self.silence())?;
        Ok(ends
            .into_iter()
            .map(|(partition, end, _)| (partition.partition, end))
            .collect())
    }
}
