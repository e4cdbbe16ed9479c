//! Which input partitions must wait for others, so that joins stay small while taps catch up.
//!
//! Rule: a record of a join cannot be decided before the slowest of the join's sources has come as far. So a partition of a
//! joined topic waits while its watermark is more than [`FAR`] ahead of the slowest; where a task of the join is filling up
//! ([`Pressure`]), while it is more than [`NEAR`] ahead. It goes on at half of that. By [`FAR`] only that lead counts which
//! the settings of the other do not explain: by its own `out_of_order` and `idle_after` a source is behind for good, and
//! nobody waits for that alone. A join that is full has no room for it: there the whole lead counts.
//!
//! Why nothing can wait for ever: whoever waits is ahead of another source of the same join, and that one, if it waits too,
//! is ahead of a third; what settings explain only makes a lead smaller. The last of them waits for nobody. It is read and
//! its records move its watermark, or it is idle or held and its watermark follows the clock; either way it catches up. So a
//! source that fills a join with open requests is never stopped while it is the slowest: then only its own time can end
//! them.
//!
//! Edges:
//! - how far others are is known from what they committed and from what this process knows; the newer one counts, since a
//!   watermark never goes back;
//! - partitions that never spoke are waited for by nobody: they speak once they are idle;
//! - a topic that is gone, or that nobody has counted yet, is waited for by nobody either;
//! - where a task is full, those who wait feed the joins that hold at least an even share of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::correlate::Pressure;
use super::plan::{Join, Plan, Timing};
use super::tap::ledger::Ledger;
use super::task::{PartitionCounts, Runner, Wait};
use super::time::{Span, Watermark};

/// How far ahead a source may be.
pub const FAR: Span = Span::seconds(600);
/// How far where a join's task is nearly full.
pub const NEAR: Span = Span::seconds(60);

/// What is known of those who are to be waited for.
#[derive(Debug)]
pub struct Pace {
    plan: Arc<Plan>,
    /// By index into [`Plan::topics`] and partition.
    marks: BTreeMap<(usize, u32), Watermark>,
    /// What the tasks of the joins said last, by their partition.
    pressures: BTreeMap<u32, Pressure>,
    /// Tasks that were high and are not low again.
    pressed: BTreeSet<u32>,
}

// === impl Pace ===

impl Pace {
    pub fn new(plan: Arc<Plan>) -> Self {
        Self {
            plan,
            marks: BTreeMap::new(),
            pressures: BTreeMap::new(),
            pressed: BTreeSet::new(),
        }
    }

    /// The metadata of a commit: a tap's ledger, or how full a task of the joins is. Anything else says nothing.
    pub fn hear(&mut self, topic: &str, partition: u32, metadata: &str) {
        if let Some(index) = self.plan.topics.iter().position(|known| known.topic == topic) {
            let out_of_order = self.plan.topics[index].timing.out_of_order;
            let mark = Ledger::decode(metadata)
                .ok()
                .and_then(|ledger| ledger.watermark(out_of_order));
            self.reach(index, partition, mark);
        } else if let Some(pressure) = Pressure::decode(metadata) {
            if pressure.is_high() {
                self.pressed.insert(partition);
            } else if pressure.is_low() {
                self.pressed.remove(&partition);
            }
            self.pressures.insert(partition, pressure);
        }
    }

    /// How far partitions are, as this process knows by itself.
    pub fn see(&mut self, topic: &str, partition: u32, mark: Option<Watermark>) {
        if let Some(index) = self.plan.topics.iter().position(|known| known.topic == topic) {
            self.reach(index, partition, mark);
        }
    }

    fn reach(&mut self, topic: usize, partition: u32, mark: Option<Watermark>) {
        if let Some(mark) = mark {
            let known = self.marks.entry((topic, partition)).or_insert(mark);
            *known = mark.max(*known);
        }
    }

    /// Why each of these must wait now; in their order.
    pub fn waits(&mut self, counts: &PartitionCounts, runners: &[Runner<'_>]) -> Vec<Option<Wait>> {
        for runner in runners {
            self.see(runner.topic, runner.partition, runner.watermark);
        }
        let slowest = self.slowest(counts);
        let full = self.full();
        let wait = |runner: &Runner<'_>| {
            let index = self.plan.topics.iter().position(|known| known.topic == runner.topic)?;
            let mark = runner.watermark?;
            let of_join = |(at, join): (usize, &Join)| {
                let is_full = full.contains(&at);
                let most = if is_full { NEAR } else { FAR };
                let most = most.as_micros() / if runner.waits { 2 } else { 1 };
                let is_ahead = |other: &usize| {
                    let slowest = slowest.get(other)?;
                    let explained = if is_full { 0 } else { self.explained(index, *other) };
                    let lead = mark.0.0.saturating_sub(slowest.0.0).saturating_sub(explained);
                    Some(lead > most)
                };
                let joined = join.topics.contains(&index);
                let waits = joined && join.topics.iter().filter_map(is_ahead).any(|ahead| ahead);
                waits.then_some(if is_full { Wait::Full } else { Wait::Ahead })
            };
            self.plan.joins.iter().enumerate().filter_map(of_join).max()
        };
        runners.iter().map(wait).collect()
    }

    /// How far a topic's settings alone put its watermark behind that of another, which has read as far, in microseconds.
    fn explained(&self, ahead: usize, behind: usize) -> i64 {
        let timing = |topic: usize| &self.plan.topics[topic].timing;
        let Timing {
            out_of_order,
            idle_after,
            ..
        } = timing(behind);
        let behind = out_of_order.as_micros().saturating_add(idle_after.as_micros());
        behind.saturating_sub(timing(ahead).out_of_order.as_micros()).max(0)
    }

    /// The lowest watermark of each topic's partitions that have one, by index into [`Plan::topics`].
    fn slowest(&self, counts: &PartitionCounts) -> BTreeMap<usize, Watermark> {
        let mut slowest = BTreeMap::new();
        for ((topic, partition), mark) in &self.marks {
            let count = counts.get(&self.plan.topics[*topic].topic);
            if count.is_some_and(|count| partition < count) {
                let known = slowest.entry(*topic).or_insert(*mark);
                *known = (*known).min(*mark);
            }
        }
        slowest
    }

    /// Joins that fill a task, as indices into [`Plan::joins`].
    fn full(&self) -> BTreeSet<usize> {
        let mut full = BTreeSet::new();
        for pressure in self
            .pressed
            .iter()
            .filter_map(|partition| self.pressures.get(partition))
        {
            let even = pressure.entries() / pressure.joins.len().max(1) as u64;
            for said in pressure.joins.iter().filter(|said| said.entries >= even) {
                full.extend(self.plan.joins.iter().position(|join| join.definition == said.join));
            }
        }
        full
    }
}

#[cfg(test)]
mod tests;
