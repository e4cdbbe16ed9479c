//! From assigned to running: answer the group, read the committed offset, bring the state back, go there.
//!
//! Rule: the group is answered at once, with the partition paused; then the stable committed offset is read, and only
//! then the changelog's HIGH watermark, up to which the changelog is read. Stopping at the last stable offset would lose
//! a commit whose markers are still being written (KAFKA-10167).
//!
//! Edges:
//! - a revoked partition is sealed and committed before it is given back, a lost one is just dropped;
//! - a partition without a commit starts where its stage says; a commit that is missing or not ours stops the stage,
//!   unless the operator accepts the reset;
//! - state that does not fit the committed offset stops the stage only if that offset is still the committed one: a member
//!   that lost the partition during its restore and has not heard of it reads what the next owner wrote;
//! - a committed offset below the log's start means that retention was faster: the task is told, and counts it.

use std::time::{Duration, Instant};

use opentelemetry::KeyValue;

use super::log::{Change, Committed, LogError, TopicPartition};
use super::owned::{Owned, Phase};
use super::traced::{Traced, number};
use super::worker::{Stop, Worker, halted};
use crate::engine::task::{Input, Open, Sibling, StartAt, TopicId};
use crate::engine::time::WallTime;

/// A restore that gets no record for this long is told to the operator.
const STANDS_STILL: Duration = Duration::from_secs(30);

impl Worker {
    pub(super) fn answer_changes(&mut self, now: WallTime) -> Result<(), Stop> {
        for change in self.log.changes() {
            self.stats.of(&self.options.name, |numbers| numbers.rebalances += 1);
            let span = rebalance(&self.options.name, &change);
            let _within = span.within();
            match change {
                Change::Assigned(partitions) => {
                    tracing::info!(
                        event_type = "partitions_assigned",
                        worker = self.options.name,
                        "assigned {}",
                        named(&partitions)
                    );
                    let at: Vec<(TopicPartition, i64)> =
                        partitions.iter().map(|partition| (partition.clone(), 0)).collect();
                    if let Err(error) = self.log.assign(&at, true) {
                        self.passing(error, now)?;
                    }
                    self.owned.retain(|owned| !partitions.contains(&owned.partition));
                    self.owned.extend(partitions.into_iter().map(Owned::new));
                }
                Change::Revoked(partitions) => {
                    tracing::info!(
                        event_type = "partitions_revoked",
                        worker = self.options.name,
                        "revoked {}",
                        named(&partitions)
                    );
                    self.settle(now)?;
                    if self.sealed.is_none() && self.renew.is_none() {
                        self.seal(now)?;
                        self.settle(now)?;
                    }
                    self.give_up(&partitions, now)?;
                }
                Change::Lost(partitions) => {
                    tracing::info!(
                        event_type = "partitions_lost",
                        worker = self.options.name,
                        "lost {}",
                        named(&partitions)
                    );
                    self.give_up(&partitions, now)?;
                }
            }
            span.end(None);
        }
        Ok(())
    }

    fn give_up(&mut self, partitions: &[TopicPartition], now: WallTime) -> Result<(), Stop> {
        if let Some(sealed) = &mut self.sealed {
            sealed.outputs.retain(|partition, _| !partitions.contains(partition));
        }
        for partition in partitions {
            if let Some(changelog) = self.changelog_of(partition) {
                self.log.restore_stop(&changelog);
            }
        }
        self.owned.retain(|owned| !partitions.contains(&owned.partition));
        let result = self.log.unassign(partitions);
        self.publish(now);
        match result {
            Ok(()) => Ok(()),
            Err(error) => self.passing(error, now),
        }
    }

    /// Opens every partition whose offset is not known yet.
    pub(super) fn open_assigned(&mut self, now: WallTime) -> Result<(), Stop> {
        if self.renew.is_some() || now < self.troubled_until {
            return Ok(());
        }
        let opening: Vec<TopicPartition> = self
            .owned
            .iter()
            .filter(|owned| owned.phase == Phase::Opening)
            .map(|owned| owned.partition.clone())
            .collect();
        if opening.is_empty() {
            return Ok(());
        }
        let committed = match self.log.committed(&opening) {
            Ok(committed) => committed,
            Err(error) => return self.passing(error, now),
        };
        for (partition, committed) in opening.into_iter().zip(committed) {
            match self.open(&partition, committed, now) {
                Ok(()) => {}
                Err(OpenError::Log(error)) => return self.passing(error, now),
                Err(OpenError::Stop(why)) => return Err(Stop::Failed(why)),
            }
        }
        self.publish(now);
        Ok(())
    }

    fn open(
        &mut self,
        partition: &TopicPartition,
        committed: Option<Committed>,
        now: WallTime,
    ) -> Result<(), OpenError> {
        let topic_id = if self.options.topic_ids {
            self.log.topic_id(&partition.topic)?
        } else {
            TopicId::default()
        };
        let known = committed.as_ref().map(|committed| committed.offset);
        let (mut task, next) = match committed {
            Some(Committed { offset, metadata }) => {
                let at = Open::Resumed {
                    offset,
                    metadata: &metadata,
                    topic_id,
                };
                match self.stage.open(&partition.topic, partition.partition, at) {
                    Ok(task) => (task, offset),
                    Err(why) if self.options.accept_reset => {
                        tracing::warn!(
                            event_type = "reset_accepted",
                            worker = self.options.name,
                            "reset accepted: {why}"
                        );
                        let start = self.within_log(partition, offset)?;
                        let at = Open::Reset {
                            start,
                            metadata: &metadata,
                            topic_id,
                        };
                        (self.opened(partition, at)?, start)
                    }
                    Err(why) => return Err(OpenError::Stop(why)),
                }
            }
            None => {
                let siblings = self.siblings_of(partition)?;
                let start_at = self.stage.start(&partition.topic, partition.partition, &siblings, now);
                let (start_at, reset) = match start_at {
                    Ok(start_at) => (start_at, false),
                    Err(why) if self.options.accept_reset => {
                        tracing::warn!(
                            event_type = "reset_accepted",
                            worker = self.options.name,
                            "reset accepted: {why}"
                        );
                        (StartAt::Earliest, true)
                    }
                    Err(why) => return Err(OpenError::Stop(why)),
                };
                let start = match start_at {
                    StartAt::Earliest => self.log.log_start(partition)?,
                    StartAt::Latest => self.log.log_end(partition)?,
                    StartAt::Since(time) => self.log.offset_at(partition, time)?,
                };
                let at = if reset {
                    Open::Reset {
                        start,
                        metadata: "",
                        topic_id,
                    }
                } else {
                    Open::Fresh { start, topic_id }
                };
                (self.opened(partition, at)?, start)
            }
        };
        task.accept(Input::Time(now))
            .map_err(|halt| OpenError::Stop(halted(halt).to_string()))?;
        if !self.counts.is_empty() {
            task.accept(Input::Partitions(&self.counts))
                .map_err(|halt| OpenError::Stop(halted(halt).to_string()))?;
        }
        let phase = match self.changelog_of(partition) {
            None => Phase::Seeking,
            Some(changelog) => {
                let target = self.log.log_end(&changelog)?;
                self.log.restore_start(&changelog)?;
                let since = Instant::now();
                Phase::Restoring {
                    target,
                    since,
                    at: (0, since),
                }
            }
        };
        tracing::debug!(
            event_type = "partition_opened",
            worker = self.options.name,
            "{}/{} is opened at offset {next}, {}",
            partition.topic,
            partition.partition,
            if known.is_some() {
                "where the group is"
            } else {
                "without a commit"
            }
        );
        if let Some(owned) = self.owned.iter_mut().find(|owned| owned.partition == *partition) {
            owned.task = Some(task);
            owned.next = next;
            owned.committed = known;
            owned.phase = phase;
            owned.last_record = now;
        }
        Ok(())
    }

    fn opened(
        &self,
        partition: &TopicPartition,
        at: Open<'_>,
    ) -> Result<Box<dyn crate::engine::task::Task>, OpenError> {
        self.stage
            .open(&partition.topic, partition.partition, at)
            .map_err(OpenError::Stop)
    }

    /// An offset that the log can deliver: the nearest one to `offset`.
    fn within_log(&mut self, partition: &TopicPartition, offset: i64) -> Result<i64, OpenError> {
        let (start, end) = (self.log.log_start(partition)?, self.log.log_end(partition)?);
        Ok(offset.clamp(start, end.max(start)))
    }

    /// What the group has committed for the other partitions of the topic.
    fn siblings_of(&mut self, partition: &TopicPartition) -> Result<Vec<Sibling>, OpenError> {
        let counts = self.log.partition_counts(std::slice::from_ref(&partition.topic))?;
        let count = counts.get(&partition.topic).copied().unwrap_or(0);
        let others: Vec<TopicPartition> = (0..count)
            .filter(|other| *other != partition.partition)
            .map(|other| TopicPartition {
                topic: partition.topic.clone(),
                partition: other,
            })
            .collect();
        if others.is_empty() {
            return Ok(Vec::new());
        }
        let committed = self.log.committed(&others)?;
        let known = others.into_iter().zip(committed).filter_map(|(other, committed)| {
            let Committed { offset, metadata } = committed?;
            Some(Sibling {
                partition: other.partition,
                offset,
                metadata,
            })
        });
        Ok(known.collect())
    }

    /// Reads a little of every changelog that is being restored.
    pub(super) fn restore(&mut self, now: WallTime) -> Result<(), Stop> {
        for index in 0..self.owned.len() {
            let Phase::Restoring { target, since, .. } = self.owned[index].phase else {
                continue;
            };
            let Some(changelog) = self.changelog_of(&self.owned[index].partition) else {
                continue;
            };
            let mut refused = None;
            let Owned { task, restored, .. } = &mut self.owned[index];
            let result = self
                .log
                .restore_poll(&changelog, Duration::from_millis(20), &mut |key, value| {
                    restored.0 += 1;
                    restored.1 += value.map_or(0, |value| value.len() as u64);
                    if let (Some(task), None) = (task.as_mut(), &refused) {
                        refused = task.accept(Input::Restore { key, value }).err();
                    }
                });
            if let Some(halt) = refused {
                return Err(halted(halt));
            }
            match result {
                Ok(position) if position >= target => {
                    self.log.restore_stop(&changelog);
                    let span = restore(&self.options.name, &changelog, since, self.owned[index].restored);
                    let task = self.owned[index].task.as_mut();
                    if let Some(Err(halt)) = task.map(|task| task.accept(Input::Restored)) {
                        let stop = halted(halt);
                        span.end(Some(&stop.to_string()));
                        if !self.has_moved(index, now)? {
                            return Err(stop);
                        }
                        self.owned[index].reopen();
                        continue;
                    }
                    span.end(None);
                    self.owned[index].phase = Phase::Seeking;
                    let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
                    self.stats.of(&self.options.name, |numbers| {
                        numbers.restores += 1;
                        numbers.restore_micros.saturating_record(micros.max(1));
                    });
                }
                Ok(position) => self.stands(index, position, &changelog),
                Err(error) => self.passing(error, now)?,
            }
        }
        Ok(())
    }

    /// A restore that does not get on is told: behind a transaction that nobody ends, it waits for ever.
    fn stands(&mut self, index: usize, position: i64, changelog: &TopicPartition) {
        let Phase::Restoring { target, at, .. } = &mut self.owned[index].phase else {
            return;
        };
        if position > at.0 {
            *at = (position, Instant::now());
        } else if at.1.elapsed() >= STANDS_STILL {
            at.1 = Instant::now();
            tracing::warn!(
                event_type = "restore_stalled",
                worker = self.options.name,
                "{}/{} is read up to offset {position} of {target}, and no more came for {} s: the brokers do not answer, or a \
                 transaction was left open there (kafka-transactions.sh find-hanging shows it, abort ends it)",
                changelog.topic,
                changelog.partition,
                STANDS_STILL.as_secs()
            );
        }
    }

    /// Whether the group has committed something else since this partition was opened, or is about to: somebody else owns
    /// it. While that cannot be told it may be so.
    fn has_moved(&mut self, index: usize, now: WallTime) -> Result<bool, Stop> {
        let owned = &self.owned[index];
        match self.log.committed(std::slice::from_ref(&owned.partition)) {
            Ok(committed) => {
                let offset = committed.into_iter().next().flatten().map(|committed| committed.offset);
                Ok(offset != owned.committed)
            }
            Err(error) => self.passing(error, now).map(|()| true),
        }
    }

    /// Sends the reader to where restored tasks go on.
    pub(super) fn seek(&mut self) -> Result<(), Stop> {
        let seeking = |owned: &&Owned| owned.phase == Phase::Seeking;
        let to: Vec<(TopicPartition, i64)> = self
            .owned
            .iter()
            .filter(seeking)
            .map(|owned| (owned.partition.clone(), owned.next))
            .collect();
        if to.is_empty() {
            return Ok(());
        }
        let partitions: Vec<TopicPartition> = to.iter().map(|(partition, _)| partition.clone()).collect();
        match self.log.seek(&to).and_then(|()| self.log.resume(&partitions)) {
            Ok(()) => {
                for owned in self.owned.iter_mut().filter(|owned| owned.phase == Phase::Seeking) {
                    owned.phase = Phase::Running;
                    owned.wait(None).map_err(halted)?;
                }
                Ok(())
            }
            Err(LogError::Retry(_)) => Ok(()),
            Err(error) => self.passing(error, WallTime(0)),
        }
    }

    /// The reader fell out of the log.
    pub(super) fn out_of_range(&mut self, partition: &TopicPartition, now: WallTime) -> Result<(), Stop> {
        let Some(index) = self.owned.iter().position(|owned| owned.partition == *partition) else {
            return Ok(());
        };
        if self.owned[index].phase != Phase::Running {
            return Ok(());
        }
        let bounds = self
            .log
            .log_start(partition)
            .and_then(|start| Ok((start, self.log.log_end(partition)?)));
        let (start, end) = match bounds {
            Ok(bounds) => bounds,
            Err(error) => {
                self.owned[index].phase = Phase::Seeking;
                return self.passing(error, now);
            }
        };
        // What lies between stages is deleted only when it is committed: somebody else has done both, and a member that was
        // away for long has not heard yet that the partition is not its own.
        if self.owned[index].next < start && self.options.trim_input && self.has_moved(index, now)? {
            self.owned[index].reopen();
            return Ok(());
        }
        let owned = &mut self.owned[index];
        if owned.next < start {
            if let Some(task) = owned.task.as_mut() {
                task.accept(Input::Expired { start }).map_err(halted)?;
            }
            tracing::warn!(
                event_type = "records_expired",
                worker = self.options.name,
                "{}/{} lost offsets {} to {}: retention was faster than this group; counted as expired",
                partition.topic,
                partition.partition,
                owned.next,
                start
            );
            owned.next = start;
        } else if owned.next > end {
            if !self.options.accept_reset {
                return Err(Stop::Failed(format!(
                    "{}/{}: the group is at offset {}, and the log ends at {end}: the topic was truncated or made anew, or \
                     offsets were set by hand. Set the group's offset back, or start once with --accept-reset to begin a new \
                     ledger epoch at offset {end}",
                    partition.topic, partition.partition, owned.next
                )));
            }
            let at = Open::Reset {
                start: end,
                metadata: "",
                topic_id: self.log.topic_id(&partition.topic).unwrap_or_default(),
            };
            let task = self
                .stage
                .open(&partition.topic, partition.partition, at)
                .map_err(Stop::Failed)?;
            owned.task = Some(task);
            owned.waits = None;
            owned.next = end;
        }
        self.owned[index].phase = Phase::Seeking;
        Ok(())
    }

    fn changelog_of(&self, partition: &TopicPartition) -> Option<TopicPartition> {
        let topic = self.options.topics.changelog.clone()?;
        Some(TopicPartition {
            topic,
            partition: partition.partition,
        })
    }
}

/// The span of a change until it is answered.
fn rebalance(worker: &str, change: &Change) -> Traced {
    let (kind, partitions) = match change {
        Change::Assigned(partitions) => ("assigned", partitions),
        Change::Revoked(partitions) => ("revoked", partitions),
        Change::Lost(partitions) => ("lost", partitions),
    };
    Traced::begin("rebalance", || {
        [
            KeyValue::new("messaging.system", "kafka"),
            KeyValue::new("streamgauge.worker", worker.to_owned()),
            KeyValue::new("streamgauge.change", kind),
            number("streamgauge.partitions", partitions.len() as u64),
        ]
    })
}

/// The span of a restore that has come to its end.
fn restore(worker: &str, changelog: &TopicPartition, since: Instant, (records, bytes): (u64, u64)) -> Traced {
    Traced::since("restore", since, || {
        [
            KeyValue::new("messaging.system", "kafka"),
            KeyValue::new("messaging.destination", changelog.topic.clone()),
            KeyValue::new("streamgauge.worker", worker.to_owned()),
            number("streamgauge.partition", u64::from(changelog.partition)),
            number("streamgauge.records", records),
            number("streamgauge.bytes", bytes),
        ]
    })
}

/// Opening failed for now, or for good.
enum OpenError {
    Log(LogError),
    Stop(String),
}

impl From<LogError> for OpenError {
    fn from(error: LogError) -> Self {
        Self::Log(error)
    }
}

/// `topic/0,1,2 other/3`, for people.
pub(super) fn named(partitions: &[TopicPartition]) -> String {
    let mut by_topic: std::collections::BTreeMap<&str, Vec<u32>> = std::collections::BTreeMap::new();
    for partition in partitions {
        by_topic.entry(&partition.topic).or_default().push(partition.partition);
    }
    let named = by_topic.into_iter().map(|(topic, mut numbers)| {
        numbers.sort_unstable();
        let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
        format!("{topic}/{}", numbers.join(","))
    });
    named.collect::<Vec<_>>().join(" ")
}
