//! One worker's connection to the cluster: [`Log`] in memory.
//!
//! Rule: each call asks the injected faults first, then does its work at once; only a poll may wait, and only in real time.
//!
//! Edges: a client that is dropped without [`Log::close`] has crashed. Its member keeps its partitions until it is expired,
//! its transaction stays open until it is fenced or timed out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crate::engine::lag::logs::{Partitions, Survey, Tail, TailSpan};
use crate::engine::lag::silent;
use crate::engine::task::{PartitionCounts, Record, TopicId};
use crate::engine::time::{Span, WallTime};
use crate::runtime::log::{Change, CommitOffset, Committed, Log, LogError, Notice, Send, Sink, TopicPartition};

use super::cluster::Cluster;
use super::consumer::Consumer;
use super::faults::{CallPoint, Caller, Effect};
use super::group::MemberId;
use super::lock;
use super::partition::Partition;
use super::producer::Producer;
use super::reader::{Halted, Reader};
use super::transactions::Verdict;

/// A restore hands out at most this many records a call.
const RESTORE_RECORDS: usize = 10_000;

/// How a worker presents itself.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    pub group: String,
    /// Static membership (`group.instance.id`).
    pub instance: Option<String>,
    pub transactional_id: String,
    /// An open transaction that is older is aborted by [`Cluster::tick`].
    pub transaction_timeout: Span,
    /// A member that has not polled for so long is expired by [`Cluster::tick`]; `None`: never.
    pub session_timeout: Option<Span>,
}

/// See the module.
#[derive(Debug)]
pub struct MemoryLog {
    cluster: Cluster,
    options: ClientOptions,
    consumer: Consumer,
    producer: Producer,
    restores: BTreeMap<TopicPartition, Reader>,
    /// Sampled and not yet told.
    ends: Vec<(TopicPartition, i64, WallTime)>,
    /// Looked up and not yet told.
    commits: Vec<(TopicPartition, Committed)>,
    /// Asked for and not yet told.
    survey: Option<Survey>,
    tails: Option<Vec<(TailSpan, Tail)>>,
}

// === impl ClientOptions ===

impl ClientOptions {
    /// A dynamic member with a transaction timeout of 10 s and no session timeout.
    pub fn new(group: impl Into<String>, transactional_id: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            instance: None,
            transactional_id: transactional_id.into(),
            transaction_timeout: Span::seconds(10),
            session_timeout: None,
        }
    }
}

// === impl MemoryLog ===

impl MemoryLog {
    pub(super) fn new(cluster: Cluster, options: ClientOptions) -> Self {
        Self {
            cluster,
            options,
            consumer: Consumer::default(),
            producer: Producer::new(),
            restores: BTreeMap::new(),
            ends: Vec::new(),
            commits: Vec::new(),
            survey: None,
            tails: None,
        }
    }

    /// The id that this client believes to have in its group.
    pub fn member_id(&self) -> Option<MemberId> {
        self.consumer.member()
    }

    /// Ends as a killed process does; returns the member that stays behind, for [`Cluster::expire_member`].
    pub fn crash(self) -> Option<MemberId> {
        self.member_id()
    }

    fn guarded<T>(
        &mut self,
        point: CallPoint,
        call: impl FnOnce(&mut Self) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let caller = Caller {
            group: &self.options.group,
            member: self.consumer.member(),
            instance: self.options.instance.as_deref(),
            transactional_id: &self.options.transactional_id,
        };
        let Some(fault) = self.cluster.fault(point, caller) else {
            return call(self);
        };
        if fault.effect == Effect::Done {
            call(self)?;
        }
        Err(fault.error)
    }

    /// Looks until there is something; waits in between, where time is real.
    fn wait_for(
        &mut self,
        wait: Duration,
        mut look: impl FnMut(&mut Self) -> Result<bool, LogError>,
    ) -> Result<(), LogError> {
        if look(self)? || wait.is_zero() || !self.cluster.0.clock.is_real() {
            return Ok(());
        }
        let cluster = self.cluster.clone();
        let deadline = Instant::now() + wait;
        loop {
            let waiter = cluster.0.signal.enlist();
            if look(self)? || !waiter.wait_until(deadline) {
                return Ok(());
            }
        }
    }

    fn of_partition<T>(&mut self, at: &TopicPartition, look: impl FnOnce(&Partition) -> T) -> Result<T, LogError> {
        self.guarded(CallPoint::Metadata, |me| {
            let log = me.cluster.partition(&at.topic, at.partition);
            log.map(|log| look(&log))
                .map_err(|error| LogError::Retry(error.to_string()))
        })
    }
}

// === impl Log ===

impl Log for MemoryLog {
    fn subscribe(&mut self, topics: &[String]) -> Result<(), LogError> {
        self.guarded(CallPoint::Subscribe, |me| {
            me.consumer.subscribe(topics);
            Ok(())
        })
    }

    fn poll(&mut self, wait: Duration, max: usize, sink: &mut Sink<'_>) -> Result<(), LogError> {
        self.guarded(CallPoint::Poll, |me| {
            let is_deaf = me.guarded(CallPoint::Heartbeat, |_| Ok(())).is_err();
            me.wait_for(wait, |me| {
                let has_news = !is_deaf && me.consumer.serve_group(&me.cluster, &me.options)?;
                Ok(has_news || me.consumer.deliver(&me.cluster, max, sink))
            })
        })
    }

    fn changes(&mut self) -> Vec<Change> {
        self.consumer.changes()
    }

    fn notices(&mut self) -> Vec<Notice> {
        self.consumer.notices()
    }

    fn assign(&mut self, partitions: &[(TopicPartition, i64)], paused: bool) -> Result<(), LogError> {
        self.guarded(CallPoint::Assign, |me| {
            me.consumer.assign(&me.cluster, partitions, paused)
        })
    }

    fn unassign(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.guarded(CallPoint::Unassign, |me| {
            me.consumer.unassign(&me.cluster, &me.options, partitions);
            Ok(())
        })
    }

    fn seek(&mut self, partitions: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        self.guarded(CallPoint::Seek, |me| {
            me.consumer.seek(partitions);
            Ok(())
        })
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.guarded(CallPoint::Pause, |me| {
            me.consumer.set_paused(partitions, true);
            Ok(())
        })
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.guarded(CallPoint::Resume, |me| {
            me.consumer.set_paused(partitions, false);
            Ok(())
        })
    }

    fn positions(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        Ok(self.consumer.positions(partitions))
    }

    fn is_member(&mut self) -> bool {
        self.consumer.metadata().is_some()
    }

    fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<Committed>>, LogError> {
        self.guarded(CallPoint::Committed, |me| {
            let group = &me.options.group;
            let stable = lock(&me.cluster.0.coordinator).stable(group, partitions);
            stable.ok_or_else(|| LogError::Retry(format!("a transaction with offsets of group {group} is open")))
        })
    }

    fn log_start(&mut self, partition: &TopicPartition) -> Result<i64, LogError> {
        self.of_partition(partition, Partition::start)
    }

    fn log_end(&mut self, partition: &TopicPartition) -> Result<i64, LogError> {
        self.of_partition(partition, Partition::end)
    }

    fn offset_at(&mut self, partition: &TopicPartition, time: WallTime) -> Result<i64, LogError> {
        self.of_partition(partition, |log| log.offset_at(time))
    }

    fn sample_log_ends(&mut self, partitions: &[TopicPartition]) {
        let now = self.cluster.now();
        for at in partitions {
            if let Some(log) = self.cluster.0.topics.find(at) {
                self.ends.push((at.clone(), log.end(), now));
            }
        }
    }

    fn log_ends(&mut self) -> Vec<(TopicPartition, i64, WallTime)> {
        self.guarded(CallPoint::LogEnds, |me| Ok(std::mem::take(&mut me.ends)))
            .unwrap_or_default()
    }

    fn sample_commits(&mut self, group: &str, partitions: &[TopicPartition]) {
        for at in partitions {
            self.commits.extend(
                self.cluster
                    .committed(group, at)
                    .map(|committed| (at.clone(), committed)),
            );
        }
    }

    fn commits(&mut self) -> Vec<(TopicPartition, Committed)> {
        std::mem::take(&mut self.commits)
    }

    fn ask_survey(&mut self, partitions: Partitions) {
        let answered = self.guarded(CallPoint::LogEnds, |me| Ok(me.cluster.survey(&partitions)));
        let at = self.cluster.now();
        self.survey = Some(answered.unwrap_or_else(|_| silent(&partitions, at)));
    }

    fn survey(&mut self) -> Option<Survey> {
        self.survey.take()
    }

    fn ask_tails(&mut self, spans: BTreeSet<TailSpan>, _wait: Duration) {
        let counted = self.guarded(CallPoint::LogEnds, |me| Ok(me.cluster.tails(spans)));
        self.tails = Some(counted.unwrap_or_default());
    }

    fn tails(&mut self) -> Option<Vec<(TailSpan, Tail)>> {
        self.tails.take()
    }

    fn partition_counts(&mut self, topics: &[String]) -> Result<PartitionCounts, LogError> {
        self.guarded(CallPoint::Metadata, |me| Ok(me.cluster.0.topics.counts(topics)))
    }

    fn topic_id(&mut self, topic: &str) -> Result<TopicId, LogError> {
        self.guarded(CallPoint::Metadata, |me| {
            let id = me.cluster.0.topics.id(topic);
            id.ok_or_else(|| LogError::Retry(format!("topic {topic} does not exist")))
        })
    }

    fn restore_start(&mut self, changelog: &TopicPartition) -> Result<(), LogError> {
        self.guarded(CallPoint::RestoreStart, |me| {
            let log = me.cluster.partition(&changelog.topic, changelog.partition);
            let log = log.map_err(|error| LogError::Retry(error.to_string()))?;
            let start = log.start();
            me.restores.insert(changelog.clone(), Reader::new(log, start));
            Ok(())
        })
    }

    fn restore_poll(
        &mut self,
        changelog: &TopicPartition,
        wait: Duration,
        sink: &mut crate::runtime::log::RestoreSink<'_>,
    ) -> Result<i64, LogError> {
        self.guarded(CallPoint::RestorePoll, |me| {
            let Some(mut reader) = me.restores.remove(changelog) else {
                return Err(LogError::Fatal(format!("no restore of {changelog:?} was started")));
            };
            let mut give = |record: Record<'_>| {
                if let Some(key) = record.key {
                    sink(key, record.value);
                }
                true
            };
            let before = reader.position();
            let mut halted = Halted::Done;
            let waited = me.wait_for(wait, |_| {
                let taken;
                (taken, halted) = reader.read(RESTORE_RECORDS, &mut give);
                Ok(taken > 0 || halted != Halted::Done || reader.position() != before)
            });
            if halted == Halted::OutOfRange
                && let Some(log) = me.cluster.0.topics.find(changelog)
            {
                // Deleted in front of the reader: what is left is all there is.
                reader.seek(log.start());
            }
            let position = reader.position().filter(|_| halted != Halted::Gone);
            me.restores.insert(changelog.clone(), reader);
            waited?;
            position.ok_or_else(|| LogError::Retry(format!("{changelog:?} cannot be read at its position")))
        })
    }

    fn restore_stop(&mut self, changelog: &TopicPartition) {
        self.restores.remove(changelog);
    }

    fn init_transactions(&mut self, renew: bool) -> Result<(), LogError> {
        if renew {
            self.producer = Producer::new();
        }
        let done = self.guarded(CallPoint::InitTransactions, |me| {
            me.producer.init(&me.cluster, &me.options)
        });
        self.producer.remember(done)
    }

    fn begin(&mut self) -> Result<(), LogError> {
        let done = self.guarded(CallPoint::Begin, |me| me.producer.begin());
        self.producer.remember(done)
    }

    fn send(&mut self, record: Send<'_>) -> Result<(), LogError> {
        let done = self.guarded(CallPoint::Send, |me| me.producer.send(&me.cluster, &me.options, record));
        self.producer.remember(done)
    }

    fn send_offsets(&mut self, offsets: &[CommitOffset]) -> Result<(), LogError> {
        let done = self.guarded(CallPoint::SendOffsets, |me| {
            let member = me.consumer.metadata();
            me.producer.send_offsets(&me.cluster, &me.options, member, offsets)
        });
        self.producer.remember(done)
    }

    fn commit(&mut self) -> Result<(), LogError> {
        let done = self.guarded(CallPoint::CommitBefore, |me| {
            me.producer.end(&me.cluster, &me.options, Verdict::Commit)?;
            me.guarded(CallPoint::CommitAfter, |_| Ok(()))
        });
        self.producer.remember(done)?;
        self.producer.told();
        Ok(())
    }

    fn abort(&mut self) -> Result<(), LogError> {
        let done = self.guarded(CallPoint::Abort, |me| {
            me.producer.end(&me.cluster, &me.options, Verdict::Abort)
        });
        self.producer.remember(done)?;
        self.producer.told();
        Ok(())
    }

    fn trim(&mut self, partitions: &[(TopicPartition, i64)]) {
        // Best effort: a fault here means that nothing is deleted this time.
        let _ = self.guarded(CallPoint::Trim, |me| {
            for (at, offset) in partitions {
                if let Some(log) = me.cluster.0.topics.find(at) {
                    log.delete_before(*offset);
                }
            }
            Ok(())
        });
    }

    fn close(&mut self) {
        self.consumer.close(&self.cluster, &self.options);
        self.producer = Producer::new();
        self.restores.clear();
    }
}
