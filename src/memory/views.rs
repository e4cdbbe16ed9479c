//! What a test, an oracle or a status page may see of a cluster without being a client.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::task::{PartitionCounts, Stamp, TopicId};
use crate::runtime::log::{Committed, TopicPartition};

use super::cluster::{Cluster, ClusterError};
use super::group::MemberId;
use super::lock;
use super::partition::FetchError;

/// A record that a read_committed reader sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub stamp: Stamp,
    pub headers: Vec<(String, String)>,
}

/// A group as its coordinator knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView {
    pub generation: i32,
    pub members: Vec<MemberView>,
    /// Committed offsets.
    pub offsets: BTreeMap<TopicPartition, Committed>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView {
    pub id: MemberId,
    pub instance: Option<String>,
    /// Its partitions, with those that it was asked to give back and has not yet.
    pub owned: BTreeSet<TopicPartition>,
}

// === impl Cluster ===

impl Cluster {
    /// Partition counts of all topics.
    pub fn topics(&self) -> PartitionCounts {
        self.0.topics.counts(&self.0.topics.names())
    }

    pub fn topic_id(&self, topic: &str) -> Option<TopicId> {
        self.0.topics.id(topic)
    }

    pub fn log_start(&self, topic: &str, partition: u32) -> Result<i64, ClusterError> {
        Ok(self.partition(topic, partition)?.start())
    }

    /// High watermark.
    pub fn log_end(&self, topic: &str, partition: u32) -> Result<i64, ClusterError> {
        Ok(self.partition(topic, partition)?.end())
    }

    /// Where read_committed readers stop.
    pub fn last_stable_offset(&self, topic: &str, partition: u32) -> Result<i64, ClusterError> {
        Ok(self.partition(topic, partition)?.last_stable())
    }

    /// Data records that the partition holds, seen or not.
    pub fn records_held(&self, topic: &str, partition: u32) -> Result<u64, ClusterError> {
        Ok(self.partition(topic, partition)?.records())
    }

    /// Everything that a read_committed reader sees from `from` (or the log's start) on, and where it ends.
    pub fn read(&self, topic: &str, partition: u32, from: i64) -> Result<(Vec<OwnedRecord>, i64), ClusterError> {
        let log = self.partition(topic, partition)?;
        let mut position = from.max(log.start());
        let mut records = Vec::new();
        loop {
            let fetched = match log.fetch(position) {
                Ok(fetched) => fetched,
                Err(FetchError::OutOfRange) => return Ok((records, position)),
                Err(FetchError::Gone) => return Err(ClusterError::UnknownTopic(topic.to_owned())),
            };
            for batch in &fetched.batches {
                let seen = batch.entries().filter(|entry| batch.offset_of(entry) >= position);
                records.extend(seen.map(|entry| OwnedRecord {
                    offset: batch.offset_of(&entry),
                    key: entry.key.map(<[u8]>::to_vec),
                    value: entry.value.map(<[u8]>::to_vec),
                    stamp: batch.stamp_of(&entry),
                    headers: entry.headers(),
                }));
            }
            if fetched.reached <= position {
                return Ok((records, position));
            }
            position = fetched.reached;
        }
    }

    /// Names of the groups that were ever asked for.
    pub fn groups(&self) -> Vec<String> {
        lock(&self.0.coordinator).groups().cloned().collect()
    }

    pub fn group(&self, name: &str) -> Option<GroupView> {
        let coordinator = lock(&self.0.coordinator);
        let group = coordinator.find_group(name)?;
        let members = group.members().map(|(id, instance, owned)| MemberView {
            id,
            instance: instance.map(str::to_owned),
            owned: owned.clone(),
        });
        Some(GroupView {
            generation: group.generation().0,
            members: members.collect(),
            offsets: group.offsets.clone(),
        })
    }

    /// A group's committed offset, whatever transactions are open.
    pub fn committed(&self, group: &str, partition: &TopicPartition) -> Option<Committed> {
        lock(&self.0.coordinator)
            .find_group(group)?
            .offsets
            .get(partition)
            .cloned()
    }
}
