//! The topics of a cluster.
//!
//! Rule: a topic is found by its name under a read lock and shared from there; its partitions are added to, never removed.
//! A topic that is deleted and created again is another topic with another id.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError, RwLock};

use xxhash_rust::xxh3::xxh3_128;

use crate::engine::task::{PartitionCounts, TopicId};
use crate::runtime::log::TopicPartition;

use super::partition::Partition;

/// How a topic is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicOptions {
    /// Keep only the newest record of each key (`cleanup.policy=compact`).
    pub compact: bool,
    /// Timestamps are the broker's clock at append, not the writer's (`message.timestamp.type=LogAppendTime`).
    pub append_time: bool,
    /// The largest record: key, value and headers, bytes.
    pub max_message_bytes: usize,
    /// Each partition deletes its oldest batches as long as this many records remain; `None` keeps everything.
    pub retain_records: Option<u64>,
}

/// Topics by name.
#[derive(Debug, Default)]
pub(super) struct Topics {
    by_name: RwLock<Directory>,
}

#[derive(Debug, Default)]
struct Directory {
    topics: BTreeMap<String, Topic>,
    /// How many were ever created: ids come from it, so a simulation gets the same ones each time.
    created: u64,
}

#[derive(Debug)]
struct Topic {
    id: TopicId,
    options: TopicOptions,
    partitions: Vec<Arc<Partition>>,
}

// === impl TopicOptions ===

impl Default for TopicOptions {
    fn default() -> Self {
        Self {
            compact: false,
            append_time: false,
            max_message_bytes: 8 << 20,
            retain_records: None,
        }
    }
}

// === impl Topics ===

impl Topics {
    /// `false` when there is one of this name.
    pub fn create(&self, name: &str, partitions: u32, options: TopicOptions) -> bool {
        let mut directory = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        if directory.topics.contains_key(name) {
            return false;
        }
        directory.created += 1;
        let id = xxh3_128(&directory.created.to_le_bytes()).to_le_bytes();
        let partitions = (0..partitions).map(|_| Arc::new(Partition::new(options))).collect();
        directory.topics.insert(
            name.to_owned(),
            Topic {
                id,
                options,
                partitions,
            },
        );
        true
    }

    /// Grows a topic to `total` partitions; `false` when there is no such topic.
    pub fn grow(&self, name: &str, total: u32) -> bool {
        let mut directory = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        let Some(topic) = directory.topics.get_mut(name) else {
            return false;
        };
        while topic.partitions.len() < total as usize {
            topic.partitions.push(Arc::new(Partition::new(topic.options)));
        }
        true
    }

    /// `false` when there is no such topic.
    pub fn delete(&self, name: &str) -> bool {
        let mut directory = self.by_name.write().unwrap_or_else(PoisonError::into_inner);
        let Some(topic) = directory.topics.remove(name) else {
            return false;
        };
        topic.partitions.iter().for_each(|partition| partition.mark_gone());
        true
    }

    pub fn exists(&self, name: &str) -> bool {
        self.read(|topics| topics.contains_key(name))
    }

    pub fn id(&self, name: &str) -> Option<TopicId> {
        self.read(|topics| topics.get(name).map(|topic| topic.id))
    }

    pub fn partition(&self, name: &str, partition: u32) -> Option<Arc<Partition>> {
        self.read(|topics| topics.get(name)?.partitions.get(partition as usize).cloned())
    }

    pub fn find(&self, at: &TopicPartition) -> Option<Arc<Partition>> {
        self.partition(&at.topic, at.partition)
    }

    /// All partitions of a topic; none where there is no such topic.
    pub fn partitions(&self, name: &str) -> Vec<Arc<Partition>> {
        self.read(|topics| {
            topics
                .get(name)
                .map(|topic| topic.partitions.clone())
                .unwrap_or_default()
        })
    }

    pub fn names(&self) -> BTreeSet<String> {
        self.read(|topics| topics.keys().cloned().collect())
    }

    /// Topics that do not exist are absent.
    pub fn counts<'n>(&self, names: impl IntoIterator<Item = &'n String>) -> PartitionCounts {
        self.read(|topics| {
            let known = names.into_iter().filter_map(|name| Some((name, topics.get(name)?)));
            known
                .map(|(name, topic)| (name.clone(), topic.partitions.len() as u32))
                .collect()
        })
    }

    fn read<T>(&self, look: impl FnOnce(&BTreeMap<String, Topic>) -> T) -> T {
        look(&self.by_name.read().unwrap_or_else(PoisonError::into_inner).topics)
    }
}
