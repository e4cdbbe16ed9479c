//! Reads changelog partitions from their start, beside the group's consumer.
//!
//! Rule: each partition has a queue of its own, so that reading one never hands out records of another. The position
//! counts control records: a reader waits for it to reach the high watermark.
//!
//! Edges:
//! - a log without a single record to read never moves librdkafka's position: it stays at the log's start;
//! - a changelog that is cut while it is read is read anew, by a worker that starts over;
//! - the consumer lives only while something is restored.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::topic_partition_list::Offset;

use super::context::{Closing, log_line};
use super::settings::Connection;
use super::sys::{self, EventConsumer, PartitionQueue, ReadError, Said};
use super::trouble::{self, About};
use super::{list, retire};
use crate::runtime::log::{LogError, TopicPartition};

/// Most records of one call, so that the group's consumer is polled between.
const BATCH: usize = 5_000;

/// Gets each record's key and value; `None` is a tombstone.
type RestoreSink<'s> = dyn FnMut(&[u8], Option<&[u8]>) + 's;

/// The readers of all changelog partitions that are being restored.
pub(super) struct Restores {
    connection: Connection,
    group: String,
    /// Declared before the consumer that they borrow from in librdkafka.
    reading: BTreeMap<TopicPartition, Reading>,
    consumer: Option<EventConsumer<Closing>>,
}

struct Reading {
    queue: PartitionQueue<Closing>,
    /// Where the log started when the reading did.
    start: i64,
}

// === impl Restores ===

impl Restores {
    pub(super) fn new(connection: Connection, group: String) -> Self {
        Self {
            connection,
            group,
            reading: BTreeMap::new(),
            consumer: None,
        }
    }

    /// Reads `changelog` from `start`, its log's start.
    pub(super) fn start(&mut self, changelog: &TopicPartition, start: i64) -> Result<(), LogError> {
        self.leave(changelog);
        let consumer = match self.consumer.take() {
            Some(consumer) => consumer,
            None => self.connect()?,
        };
        let consumer = self.consumer.insert(consumer);
        let queue = consumer
            .partition_queue(changelog)
            .ok_or_else(|| LogError::Refused(format!("`{}` is not a topic's name", changelog.topic)))?;
        consumer
            .client()
            .incremental_assign(&list([(changelog, Offset::Offset(start))]))
            .map_err(|error| LogError::Retry(format!("changelog `{}`: {error}", changelog.topic)))?;
        self.reading.insert(changelog.clone(), Reading { queue, start });
        Ok(())
    }

    fn connect(&self) -> Result<EventConsumer<Closing>, LogError> {
        let consumer: BaseConsumer<Closing> = self
            .connection
            .restore_consumer(&self.group)
            .create_with_context(Closing)
            .map_err(|error| LogError::Refused(format!("restore consumer: {error}")))?;
        EventConsumer::new(consumer)
            .ok_or_else(|| LogError::Refused("restore consumer: the group has no name".to_owned()))
    }

    pub(super) fn poll(
        &mut self,
        changelog: &TopicPartition,
        wait: Duration,
        sink: &mut RestoreSink<'_>,
    ) -> Result<i64, LogError> {
        let (Some(consumer), Some(reading)) = (&self.consumer, self.reading.get(changelog)) else {
            return Err(LogError::Fatal(format!(
                "changelog `{}` {} is not being read",
                changelog.topic, changelog.partition
            )));
        };
        while let Some(event) = consumer.poll(Duration::ZERO) {
            match event.said() {
                Said::Error(error) => met(&error, changelog, &self.group)?,
                Said::Log(level, facility, line) => log_line(level, &facility, &line),
                Said::Record { .. } | Said::Assigned(_) | Said::Revoked(_) | Said::Other => {}
            }
        }
        let deadline = Instant::now() + wait;
        let mut taken = 0;
        while taken < BATCH {
            let wait = if taken == 0 {
                deadline.saturating_duration_since(Instant::now())
            } else {
                Duration::ZERO
            };
            let Some(event) = reading.queue.poll(wait) else {
                break;
            };
            match event.said() {
                Said::Record { record, .. } => {
                    taken += 1;
                    // A changelog record without a key says nothing about any key.
                    if let Some(key) = record.key {
                        sink(key, record.value);
                    }
                }
                Said::Error(error) => met(&error, changelog, &self.group)?,
                Said::Log(level, facility, line) => log_line(level, &facility, &line),
                Said::Assigned(_) | Said::Revoked(_) | Said::Other => {}
            }
        }
        let mut place = list([(changelog, Offset::Invalid)]);
        consumer
            .positions(&mut place)
            .map_err(|code| trouble::asked(code, About::ReadTopic(&changelog.topic)))?;
        let position = sys::entries(&place).first().map_or(reading.start, |entry| entry.offset);
        Ok(position.max(reading.start))
    }

    pub(super) fn stop(&mut self, changelog: &TopicPartition) {
        self.leave(changelog);
        if self.reading.is_empty()
            && let Some(consumer) = self.consumer.take()
        {
            retire(consumer, Duration::ZERO);
        }
    }

    fn leave(&mut self, changelog: &TopicPartition) {
        if self.reading.remove(changelog).is_some()
            && let Some(consumer) = &self.consumer
            && let Err(error) = consumer
                .client()
                .incremental_unassign(&list([(changelog, Offset::Invalid)]))
        {
            tracing::debug!(event_type = "restore_trouble", %error, topic = changelog.topic, "a changelog was not let go");
        }
    }

    pub(super) fn close(&mut self) {
        self.reading.clear();
        if let Some(consumer) = self.consumer.take() {
            retire(consumer, Duration::ZERO);
        }
    }
}

fn met(error: &ReadError, changelog: &TopicPartition, group: &str) -> Result<(), LogError> {
    let about = match error.code {
        Code::GroupAuthorizationFailed => About::Group(group),
        _ => About::ReadTopic(&changelog.topic),
    };
    match error.code {
        Code::PartitionEOF => Ok(()),
        Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation => Err(LogError::Fatal(format!(
            "changelog `{}` {} was cut while it was read: {}",
            changelog.topic, changelog.partition, error.text
        ))),
        code if error.partition.as_ref().is_some_and(|partition| partition != changelog) => {
            tracing::debug!(event_type = "restore_trouble", %code, reason = error.text, "trouble with another changelog");
            Ok(())
        }
        code => Err(trouble::asked(code, about)),
    }
}
