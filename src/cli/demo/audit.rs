//! The loss ledger as it is committed, read from outside, as `streamgauge audit` does.
//!
//! Rule: only what the group has committed counts: an offset and the ledger that travels with it, for each partition. Their
//! difference is the balance, and it is zero or something is lost.

use std::collections::BTreeMap;

use super::simulator::Topic;
use crate::engine::tap::ledger::{Ledger, Outcome};
use crate::memory::Cluster;
use crate::runtime::log::TopicPartition;

/// Outcomes by topic and name; only what happened.
pub type Outcomes = BTreeMap<String, BTreeMap<String, u64>>;

/// One look at all partitions.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    pub outcomes: Outcomes,
    /// Committed offsets minus what the ledgers account for, over all partitions, each with its sign dropped.
    pub balance: u64,
    /// Records in the log that are not committed.
    pub behind: i64,
    /// Committed offsets added up.
    pub committed: i64,
    /// Partitions whose commit holds no ledger, and why.
    pub unreadable: Vec<String>,
}

// === impl Audit ===

impl Audit {
    pub fn of(cluster: &Cluster, group: &str, partitions: u32) -> Audit {
        let mut audit = Audit::default();
        let offsets = cluster.group(group).map(|group| group.offsets).unwrap_or_default();
        for topic in Topic::ALL {
            for partition in 0..partitions {
                let end = cluster.log_end(topic.name(), partition).unwrap_or(0);
                let at = TopicPartition {
                    topic: topic.name().to_owned(),
                    partition,
                };
                match offsets.get(&at) {
                    None => audit.behind += end,
                    Some(committed) => {
                        audit.behind += end - committed.offset;
                        audit.committed += committed.offset;
                        match Ledger::decode(&committed.metadata) {
                            Ok(ledger) => audit.add(topic, &ledger, committed.offset),
                            Err(error) => audit.unreadable.push(format!("{}/{partition}: {error}", topic.name())),
                        }
                    }
                }
            }
        }
        audit
    }

    fn add(&mut self, topic: Topic, ledger: &Ledger, committed: i64) {
        self.balance += ledger.balance(committed).unsigned_abs();
        for outcome in Outcome::ALL {
            let count = ledger.count(outcome);
            if count > 0 {
                let outcomes = self.outcomes.entry(topic.name().to_owned()).or_default();
                *outcomes.entry(outcome.name().to_owned()).or_default() += count;
            }
        }
    }

    /// Of all topics together.
    pub fn count(&self, outcome: &str) -> u64 {
        self.outcomes
            .values()
            .filter_map(|outcomes| outcomes.get(outcome))
            .sum()
    }

    /// Whether every offset is accounted for.
    pub fn balances(&self) -> bool {
        self.balance == 0 && self.unreadable.is_empty()
    }
}

/// Deletes what the group has committed, so that the demo can run for hours: input topics and the outbox.
pub fn trim(cluster: &Cluster, group: &str) {
    let offsets = cluster.group(group).map(|group| group.offsets).unwrap_or_default();
    for (at, committed) in offsets {
        // A partition of a topic that is not there has nothing to delete.
        let _ = cluster.delete_records(&at.topic, at.partition, committed.offset);
    }
}
