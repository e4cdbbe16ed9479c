//! The group coordinator and the transaction coordinator, which in memory are one.
//!
//! Rule: everything that must be decided in one order (memberships, offsets, transactions) happens under its one lock, and
//! no record is read or copied under it.

use std::collections::BTreeMap;

use crate::engine::time::{Span, WallTime};
use crate::runtime::log::{Committed, TopicPartition};

use super::group::{Group, Joining, MemberId};
use super::topics::Topics;
use super::transactions::{Due, DueTimes, Epoch, ProducerId, Producers, Rejected, Verdict};

/// How long after a transaction is decided its work is done: what a slow broker does to its readers (KAFKA-10167). Offsets
/// may become stable long before the records that belong to them can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MarkerDelay {
    /// Until the markers are written to the partitions.
    pub partitions: Span,
    /// Until the group's offsets are committed.
    pub offsets: Span,
}

#[derive(Debug, Default)]
pub(super) struct Coordinator {
    groups: BTreeMap<String, Group>,
    pub producers: Producers,
    pub delay: MarkerDelay,
    /// Members that ever joined.
    joined: u64,
}

// === impl Coordinator ===

impl Coordinator {
    pub fn group(&mut self, name: &str) -> &mut Group {
        if !self.groups.contains_key(name) {
            self.groups.insert(name.to_owned(), Group::default());
        }
        self.groups.entry(name.to_owned()).or_default()
    }

    pub fn find_group(&self, name: &str) -> Option<&Group> {
        self.groups.get(name)
    }

    pub fn groups(&self) -> impl Iterator<Item = &String> {
        self.groups.keys()
    }

    /// Joins; the news come with the first heartbeat.
    pub fn join(&mut self, group: &str, joining: Joining<'_>, topics: &Topics) -> MemberId {
        self.joined += 1;
        let id = MemberId(self.joined);
        self.group(group).join(Joining { id, ..joining }, topics);
        id
    }

    /// A topic came, grew or went: every group that wants it is balanced again.
    pub fn topic_changed(&mut self, topic: &str, topics: &Topics) {
        for group in self.groups.values_mut().filter(|group| group.topics().contains(topic)) {
            group.rebalance(topics);
        }
    }

    /// Claims a transactional id, and completes what its last holder left as far as that is due.
    pub fn init_producer(
        &mut self,
        name: &str,
        timeout: Span,
        now: WallTime,
        topics: &Topics,
    ) -> Result<(ProducerId, Epoch), Rejected> {
        let due = self.due(now);
        let first = self.producers.init(name, timeout, due);
        if first != Err(Rejected::Busy) {
            return first;
        }
        self.complete(now, topics);
        self.producers.init(name, timeout, due)
    }

    /// `None` while an open transaction holds one of them.
    pub fn stable(&self, group: &str, partitions: &[TopicPartition]) -> Option<Vec<Option<Committed>>> {
        if partitions
            .iter()
            .any(|partition| self.producers.is_unstable(group, partition))
        {
            return None;
        }
        let offsets = self.groups.get(group).map(|group| &group.offsets);
        Some(
            partitions
                .iter()
                .map(|partition| offsets?.get(partition).cloned())
                .collect(),
        )
    }

    /// When the work of a decision made now is due.
    pub fn due(&self, now: WallTime) -> DueTimes {
        DueTimes {
            partitions: now.ahead(self.delay.partitions),
            offsets: now.ahead(self.delay.offsets),
        }
    }

    /// Writes the markers and applies the offsets that are due.
    pub fn complete(&mut self, now: WallTime, topics: &Topics) {
        for work in self.producers.take_due(now) {
            match work {
                Due::Markers {
                    producer,
                    epoch,
                    verdict,
                    partitions,
                } => {
                    for partition in partitions.iter().filter_map(|partition| topics.find(partition)) {
                        partition.write_marker(producer, epoch, verdict, now);
                    }
                }
                Due::Offsets {
                    verdict: Verdict::Abort,
                    ..
                } => {}
                Due::Offsets {
                    verdict: Verdict::Commit,
                    offsets,
                } => {
                    for (group, offsets) in offsets {
                        self.group(&group).offsets.extend(offsets);
                    }
                }
            }
        }
    }

    /// Everything that time does: sessions and transactions end, delayed work is done.
    pub fn tick(&mut self, now: WallTime, topics: &Topics) {
        let due = self.due(now);
        self.producers.time_out(now, due);
        self.complete(now, topics);
        for group in self.groups.values_mut() {
            for member in group.expired(now) {
                group.remove(member, topics);
            }
        }
    }
}
