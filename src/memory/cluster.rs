//! The cluster: what all clients share, and what operators and simulated services do to it.
//!
//! Rule: clones are the same cluster. Services write whole batches, without a transaction; everything transactional goes
//! through a [`MemoryLog`].
//!
//! Edges: locks are taken in the order coordinator, topics, partition; a fault is asked for under none of them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use crate::engine::time::WallTime;
use crate::runtime::log::{Committed, TopicPartition};

use super::batch::RecordBatch;
use super::client::{ClientOptions, MemoryLog};
use super::clock::ClusterClock;
use super::coordinator::{Coordinator, MarkerDelay};
use super::faults::{CallPoint, Caller, Fault, Faults};
use super::group::MemberId;
use super::lock;
use super::partition::{AppendError, Partition, Writer};
use super::signal::Signal;
use super::topics::{TopicOptions, Topics};

/// See the module.
#[derive(Clone)]
pub struct Cluster(pub(super) Arc<Shared>);

pub(super) struct Shared {
    pub clock: ClusterClock,
    pub topics: Topics,
    pub coordinator: Mutex<Coordinator>,
    /// Raised for records, markers and whatever else a poller may wait for.
    pub signal: Signal,
    faults: Mutex<Option<Box<dyn Faults>>>,
    /// Spares the lock of `faults` where there are none.
    has_faults: AtomicBool,
}

/// What a service or an operator did wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClusterError {
    #[error("topic {0} exists already")]
    TopicExists(String),
    #[error("topic {0} does not exist")]
    UnknownTopic(String),
    #[error("topic {0} has no partition {1}")]
    UnknownPartition(String, u32),
    #[error("a record of {size} bytes is larger than the {limit} that topic {topic} allows")]
    TooLarge { topic: String, size: usize, limit: usize },
    #[error("topic {0} is compacted and takes no record without a key")]
    Keyless(String),
}

// === impl Cluster ===

impl Cluster {
    pub fn new(clock: ClusterClock) -> Self {
        Self(Arc::new(Shared {
            clock,
            topics: Topics::default(),
            coordinator: Mutex::default(),
            signal: Signal::default(),
            faults: Mutex::default(),
            has_faults: AtomicBool::new(false),
        }))
    }

    pub fn now(&self) -> WallTime {
        self.0.clock.now()
    }

    /// A new member and producer; nothing happens before its first call.
    pub fn client(&self, options: ClientOptions) -> MemoryLog {
        MemoryLog::new(self.clone(), options)
    }

    // --- topics ---

    pub fn create_topic(&self, name: &str, partitions: u32, options: TopicOptions) -> Result<(), ClusterError> {
        if !self.0.topics.create(name, partitions, options) {
            return Err(ClusterError::TopicExists(name.to_owned()));
        }
        self.topic_changed(name);
        Ok(())
    }

    /// Grows a topic to `total` partitions; a topic never shrinks.
    pub fn add_partitions(&self, name: &str, total: u32) -> Result<(), ClusterError> {
        if !self.0.topics.grow(name, total) {
            return Err(ClusterError::UnknownTopic(name.to_owned()));
        }
        self.topic_changed(name);
        Ok(())
    }

    /// Deletes a topic. One that is created by the same name later has another id.
    pub fn delete_topic(&self, name: &str) -> Result<(), ClusterError> {
        if !self.0.topics.delete(name) {
            return Err(ClusterError::UnknownTopic(name.to_owned()));
        }
        self.topic_changed(name);
        Ok(())
    }

    fn topic_changed(&self, name: &str) {
        lock(&self.0.coordinator).topic_changed(name, &self.0.topics);
        self.0.signal.raise();
    }

    /// Trims each partition to its newest records: whole batches from the front, as long as `max_records` remain.
    pub fn retain(&self, topic: &str, max_records: u64) -> Result<(), ClusterError> {
        self.each_partition(topic, |partition| partition.retain(max_records))
    }

    /// Compacts a topic now; one with `compact` does it by itself when enough has changed.
    pub fn compact(&self, topic: &str) -> Result<(), ClusterError> {
        self.each_partition(topic, |partition| partition.compact(&self.0.clock))
    }

    /// Deletes what is below `offset`; returns the log's start.
    pub fn delete_records(&self, topic: &str, partition: u32, offset: i64) -> Result<i64, ClusterError> {
        Ok(self.partition(topic, partition)?.delete_before(offset))
    }

    // --- records of services that use no transactions ---

    /// Appends one record; returns its offset.
    pub fn produce(
        &self,
        topic: &str,
        partition: u32,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        stamp: WallTime,
    ) -> Result<i64, ClusterError> {
        let mut batch = RecordBatch::for_one(key, value, &[]);
        batch.push(key, value, stamp);
        self.produce_batch(topic, partition, batch)
    }

    /// Appends many records at once; returns the offset of the first.
    pub fn produce_batch(&self, topic: &str, partition: u32, batch: RecordBatch) -> Result<i64, ClusterError> {
        let log = self.partition(topic, partition)?;
        let base = log
            .append(batch, Writer::Plain, &self.0.clock)
            .map_err(|error| match error {
                AppendError::TooLarge { size, limit } => ClusterError::TooLarge {
                    topic: topic.to_owned(),
                    size,
                    limit,
                },
                AppendError::Keyless => ClusterError::Keyless(topic.to_owned()),
                AppendError::Gone | AppendError::OldEpoch => ClusterError::UnknownTopic(topic.to_owned()),
            })?;
        self.0.signal.raise();
        Ok(base)
    }

    // --- what time and operators do ---

    /// Lets time do its work: moves a manual clock to `now`, ends sessions and transactions that are over, and completes
    /// transactions whose delay is over.
    pub fn tick(&self, now: WallTime) {
        if let ClusterClock::Manual(clock) = &self.0.clock {
            clock.advance_to(now);
        }
        lock(&self.0.coordinator).tick(now, &self.0.topics);
        self.0.signal.raise();
    }

    /// Takes a member out of its group, as the end of its session does; `false` when it is not there. The member finds
    /// out at its next poll.
    pub fn expire_member(&self, group: &str, member: MemberId) -> bool {
        let was_there = lock(&self.0.coordinator).group(group).remove(member, &self.0.topics);
        self.0.signal.raise();
        was_there
    }

    /// Sets a group's offset, as an operator does.
    pub fn alter_offset(&self, group: &str, partition: TopicPartition, committed: Committed) {
        lock(&self.0.coordinator)
            .group(group)
            .offsets
            .insert(partition, committed);
    }

    /// Removes a group's offset, as an operator or a long silence does.
    pub fn delete_offset(&self, group: &str, partition: &TopicPartition) {
        lock(&self.0.coordinator).group(group).offsets.remove(partition);
    }

    /// Delays the work of transactions that are decided from now on. It is done by [`Cluster::tick`].
    pub fn delay_markers(&self, delay: MarkerDelay) {
        lock(&self.0.coordinator).delay = delay;
    }

    /// Asks `faults` at each call of each client from now on; `None` ends that.
    pub fn inject(&self, faults: Option<Box<dyn Faults>>) {
        self.0.has_faults.store(faults.is_some(), Ordering::SeqCst);
        *lock(&self.0.faults) = faults;
    }

    pub(super) fn fault(&self, point: CallPoint, caller: Caller<'_>) -> Option<Fault> {
        if !self.0.has_faults.load(Ordering::SeqCst) {
            return None;
        }
        lock(&self.0.faults).as_mut()?.at(point, caller)
    }

    // --- partitions ---

    pub(super) fn partition(&self, topic: &str, partition: u32) -> Result<Arc<Partition>, ClusterError> {
        self.0.topics.partition(topic, partition).ok_or_else(|| {
            if self.0.topics.exists(topic) {
                ClusterError::UnknownPartition(topic.to_owned(), partition)
            } else {
                ClusterError::UnknownTopic(topic.to_owned())
            }
        })
    }

    fn each_partition(&self, topic: &str, each: impl Fn(&Partition)) -> Result<(), ClusterError> {
        if !self.0.topics.exists(topic) {
            return Err(ClusterError::UnknownTopic(topic.to_owned()));
        }
        self.0
            .topics
            .partitions(topic)
            .iter()
            .for_each(|partition| each(partition));
        Ok(())
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Cluster")
            .field("clock", &self.0.clock)
            .field("topics", &self.0.topics)
            .finish_non_exhaustive()
    }
}
