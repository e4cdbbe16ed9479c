//! The transactional producers of a cluster, as the transaction coordinator knows them.
//!
//! Rule: a transaction is open, then decided, then complete. A decision is final; what is left to do after it (markers,
//! offsets) may be delayed, and then readers still stop in front of it and its offsets are still unstable.
//!
//! Edges:
//! - a partition or a group is registered before anything is written to it, and registering checks the epoch: an old
//!   producer finds out there or at the partition's own check, never behind a marker;
//! - while a decided transaction is not complete, its producer can neither register nor start anew, and waits.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::time::{Span, WallTime};
use crate::runtime::log::{Committed, TopicPartition};

/// Identifies a producer to partitions; one for each transactional id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ProducerId(u64);

/// Counts the holders of a transactional id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Epoch(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Commit,
    Abort,
}

/// Offsets that go with a transaction, by group.
pub(super) type GroupOffsets = BTreeMap<String, BTreeMap<TopicPartition, Committed>>;

/// Producers by transactional id.
#[derive(Debug, Default)]
pub(super) struct Producers {
    by_name: BTreeMap<String, Producer>,
}

#[derive(Debug)]
struct Producer {
    id: ProducerId,
    epoch: Epoch,
    /// The epoch that the last `init_transactions` gave out or fenced with: whoever is older was replaced, not timed out.
    claimed: Epoch,
    timeout: Span,
    transaction: Transaction,
}

#[derive(Debug)]
enum Transaction {
    None,
    Open {
        since: WallTime,
        partitions: BTreeSet<TopicPartition>,
        offsets: GroupOffsets,
    },
    Decided(Decided),
}

/// What is left to do for a decided transaction.
#[derive(Debug)]
struct Decided {
    verdict: Verdict,
    /// Still without a marker.
    partitions: BTreeSet<TopicPartition>,
    /// Not yet applied or dropped.
    offsets: GroupOffsets,
    partitions_due: WallTime,
    offsets_due: WallTime,
}

/// One piece of work that a decision left.
#[derive(Debug)]
pub(super) enum Due {
    Markers {
        producer: ProducerId,
        epoch: Epoch,
        verdict: Verdict,
        partitions: BTreeSet<TopicPartition>,
    },
    Offsets {
        verdict: Verdict,
        offsets: GroupOffsets,
    },
}

/// A producer that may not do what it asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejected {
    /// Another producer has initialised this transactional id since.
    Replaced,
    /// The coordinator aborted the transaction because it took too long.
    TimedOut,
    /// The last transaction is not complete: ask again.
    Busy,
}

/// Until when the work of a decision is delayed.
#[derive(Clone, Copy, Debug)]
pub(super) struct DueTimes {
    pub partitions: WallTime,
    pub offsets: WallTime,
}

// === impl Epoch ===

impl Epoch {
    fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

// === impl Producers ===

impl Producers {
    /// Claims a transactional id: fences whoever had it and aborts its open transaction. `Busy` until the last transaction
    /// is complete.
    pub fn init(&mut self, name: &str, timeout: Span, due: DueTimes) -> Result<(ProducerId, Epoch), Rejected> {
        let fresh = ProducerId(self.by_name.len() as u64);
        let producer = self
            .by_name
            .entry(name.to_owned())
            .or_insert_with(|| Producer::new(fresh));
        if matches!(producer.transaction, Transaction::Open { .. }) {
            producer.epoch = producer.epoch.next();
            producer.claimed = producer.epoch;
            producer.decide(Verdict::Abort, due);
            return Err(Rejected::Busy);
        }
        if matches!(producer.transaction, Transaction::Decided(_)) {
            return Err(Rejected::Busy);
        }
        producer.epoch = producer.epoch.next();
        producer.claimed = producer.epoch;
        producer.timeout = timeout;
        Ok((producer.id, producer.epoch))
    }

    /// Whether this producer still holds the transactional id.
    pub fn check(&mut self, name: &str, epoch: Epoch) -> Result<(), Rejected> {
        self.holder(name, epoch).map(|_| ())
    }

    /// Makes a partition part of the producer's transaction, which opens with the first one.
    pub fn add_partition(
        &mut self,
        name: &str,
        epoch: Epoch,
        partition: TopicPartition,
        now: WallTime,
    ) -> Result<(), Rejected> {
        let (partitions, _) = self.holder(name, epoch)?.open(now)?;
        partitions.insert(partition);
        Ok(())
    }

    /// Adds offsets to the producer's transaction; a later one for a partition replaces an earlier one.
    pub fn add_offsets(
        &mut self,
        name: &str,
        epoch: Epoch,
        group: &str,
        added: impl IntoIterator<Item = (TopicPartition, Committed)>,
        now: WallTime,
    ) -> Result<(), Rejected> {
        let (_, offsets) = self.holder(name, epoch)?.open(now)?;
        offsets.entry(group.to_owned()).or_default().extend(added);
        Ok(())
    }

    /// Decides the producer's transaction.
    pub fn end(&mut self, name: &str, epoch: Epoch, verdict: Verdict, due: DueTimes) -> Result<(), Rejected> {
        let producer = self.holder(name, epoch)?;
        producer.decide(verdict, due);
        Ok(())
    }

    /// Aborts what has been open for too long. Its producers are too old from then on.
    pub fn time_out(&mut self, now: WallTime, due: DueTimes) {
        for producer in self.by_name.values_mut() {
            let Transaction::Open { since, .. } = &producer.transaction else {
                continue;
            };
            if since.ahead(producer.timeout) <= now {
                producer.epoch = producer.epoch.next();
                producer.decide(Verdict::Abort, due);
            }
        }
    }

    /// Takes the work that is due.
    pub fn take_due(&mut self, now: WallTime) -> Vec<Due> {
        let mut work = Vec::new();
        for producer in self.by_name.values_mut() {
            let Transaction::Decided(decided) = &mut producer.transaction else {
                continue;
            };
            let verdict = decided.verdict;
            if decided.partitions_due <= now && !decided.partitions.is_empty() {
                let partitions = std::mem::take(&mut decided.partitions);
                work.push(Due::Markers {
                    producer: producer.id,
                    epoch: producer.epoch,
                    verdict,
                    partitions,
                });
            }
            if decided.offsets_due <= now && !decided.offsets.is_empty() {
                work.push(Due::Offsets {
                    verdict,
                    offsets: std::mem::take(&mut decided.offsets),
                });
            }
            if decided.partitions.is_empty() && decided.offsets.is_empty() {
                producer.transaction = Transaction::None;
            }
        }
        work
    }

    /// Whether a transaction that is not complete holds an offset for this partition of the group.
    pub fn is_unstable(&self, group: &str, partition: &TopicPartition) -> bool {
        self.by_name.values().any(|producer| {
            let offsets = match &producer.transaction {
                Transaction::None => return false,
                Transaction::Open { offsets, .. } => offsets,
                Transaction::Decided(decided) => &decided.offsets,
            };
            offsets
                .get(group)
                .is_some_and(|offsets| offsets.contains_key(partition))
        })
    }

    fn holder(&mut self, name: &str, epoch: Epoch) -> Result<&mut Producer, Rejected> {
        let producer = self.by_name.get_mut(name).ok_or(Rejected::Replaced)?;
        match epoch {
            epoch if epoch < producer.claimed => Err(Rejected::Replaced),
            epoch if epoch < producer.epoch => Err(Rejected::TimedOut),
            _ => Ok(producer),
        }
    }
}

// === impl Producer ===

impl Producer {
    fn new(id: ProducerId) -> Self {
        let (epoch, claimed) = (Epoch::default(), Epoch::default());
        Self {
            id,
            epoch,
            claimed,
            timeout: Span::ZERO,
            transaction: Transaction::None,
        }
    }

    fn open(&mut self, now: WallTime) -> Result<(&mut BTreeSet<TopicPartition>, &mut GroupOffsets), Rejected> {
        if matches!(self.transaction, Transaction::None) {
            self.transaction = Transaction::Open {
                since: now,
                partitions: BTreeSet::new(),
                offsets: BTreeMap::new(),
            };
        }
        match &mut self.transaction {
            Transaction::Open {
                partitions, offsets, ..
            } => Ok((partitions, offsets)),
            Transaction::None | Transaction::Decided(_) => Err(Rejected::Busy),
        }
    }

    fn decide(&mut self, verdict: Verdict, due: DueTimes) {
        let Transaction::Open {
            partitions, offsets, ..
        } = &mut self.transaction
        else {
            return;
        };
        self.transaction = Transaction::Decided(Decided {
            verdict,
            partitions: std::mem::take(partitions),
            offsets: std::mem::take(offsets),
            partitions_due: due.partitions,
            offsets_due: due.offsets,
        });
    }
}
