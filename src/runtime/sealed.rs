//! What was sealed and is not known to be committed.
//!
//! Rule: sealed outputs never change; until the transaction that holds them is known to be committed they are sent again
//! as they are, without those of tasks that were lost meanwhile.

use std::collections::BTreeMap;

use super::log::{CommitOffset, Log, LogError, Send, TopicPartition};
use super::worker::Topics;
use crate::engine::codec::Pack;
use crate::engine::task::{Output, Stage};
use crate::engine::time::WallTime;

/// The most that one packed record holds, well under the topics' max.message.bytes.
const MAX_PACK_BYTES: usize = 2 * 1024 * 1024;

/// Outputs on their way into one transaction.
pub struct Sealed {
    pub outputs: BTreeMap<TopicPartition, Output>,
    pub phase: Phase,
    /// Transactions that were tried for these outputs.
    pub attempts: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is sent; try not before this time.
    Waiting { until: WallTime },
    /// Sent; the commit is under way.
    Committing,
    /// The transaction failed and has to be aborted first.
    Aborting,
}

impl Sealed {
    pub fn new(outputs: BTreeMap<TopicPartition, Output>) -> Self {
        Self {
            outputs,
            phase: Phase::Waiting { until: WallTime(0) },
            attempts: 0,
        }
    }

    /// Sends everything into the open transaction, offsets last.
    pub fn send(&self, log: &mut dyn Log, topics: &Topics) -> Result<(), LogError> {
        self.send_shuffled(log, topics)?;
        for (owner, output) in &self.outputs {
            if let Some(changelog) = &topics.changelog {
                for (key, value) in &output.changelog {
                    log.send(Send {
                        topic: changelog,
                        partition: owner.partition,
                        key: Some(key),
                        value: value.as_deref(),
                        headers: &[],
                    })?;
                }
            }
            if let Some((outbox, partitions)) = &topics.outbox {
                for request in &output.outbox {
                    log.send(Send {
                        topic: outbox,
                        partition: owner.partition % partitions,
                        key: None,
                        value: Some(request),
                        headers: &[],
                    })?;
                }
            }
            if let Some((topic, partitions)) = &topics.notifications {
                for notice in &output.notices {
                    log.send(Send {
                        topic,
                        partition: notice.lane % (*partitions).max(1),
                        key: Some(notice.receiver.as_bytes()),
                        value: Some(&notice.notification),
                        headers: &[],
                    })?;
                }
            }
            if let Some((index, partitions)) = &topics.index {
                let key = format!("{}/{}", owner.topic, owner.partition);
                for stretch in &output.index {
                    log.send(Send {
                        topic: index,
                        partition: owner.partition % partitions,
                        key: Some(key.as_bytes()),
                        value: Some(stretch),
                        headers: &[],
                    })?;
                }
            }
            self.send_dead_letters(output, log, topics)?;
        }
        let offsets: Vec<CommitOffset> = self
            .outputs
            .iter()
            .map(|(partition, output)| CommitOffset {
                partition: partition.clone(),
                offset: output.next,
                metadata: output.metadata.clone(),
            })
            .collect();
        log.send_offsets(&offsets)
    }

    /// The batches of all tasks for one destination travel in one record.
    fn send_shuffled(&self, log: &mut dyn Log, topics: &Topics) -> Result<(), LogError> {
        let mut by_destination: BTreeMap<(Stage, u32), Vec<&[u8]>> = BTreeMap::new();
        for output in self.outputs.values() {
            for shuffled in &output.shuffled {
                by_destination
                    .entry((shuffled.to, shuffled.partition))
                    .or_default()
                    .push(&shuffled.batch);
            }
        }
        for ((stage, partition), batches) in by_destination {
            let Some(topic) = topics.repartition.get(&stage) else {
                return Err(LogError::Refused(format!(
                    "no repartition topic for the {stage:?} stage"
                )));
            };
            let mut rest = batches.as_slice();
            while !rest.is_empty() {
                let mut size = 0;
                let fit = rest.iter().take_while(|batch| {
                    size += batch.len();
                    size <= MAX_PACK_BYTES
                });
                let (now, later) = rest.split_at(fit.count().max(1));
                rest = later;
                let pack = Pack::of_encoded(now.iter().copied());
                log.send(Send {
                    topic,
                    partition,
                    key: None,
                    value: Some(&pack),
                    headers: &[],
                })?;
            }
        }
        Ok(())
    }

    fn send_dead_letters(&self, output: &Output, log: &mut dyn Log, topics: &Topics) -> Result<(), LogError> {
        let (topic, partitions) = &topics.dead_letters;
        for letter in &output.dead {
            let (partition, offset) = (letter.partition.to_string(), letter.offset.to_string());
            log.send(Send {
                topic,
                partition: letter.partition % partitions,
                key: letter.key.as_deref(),
                value: letter.value.as_deref(),
                headers: &[
                    ("outcome", letter.outcome),
                    ("reason", &letter.reason),
                    ("topic", &letter.topic),
                    ("partition", &partition),
                    ("offset", &offset),
                ],
            })?;
        }
        Ok(())
    }
}
