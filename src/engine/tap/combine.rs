//! The combiner before the shuffle: records of one series and window become one partial.
//!
//! Rule: a partial is found by metric, window and series key; keys lie one after another in one arena. Everything is
//! emptied at a seal and keeps its memory, so that a known series costs no allocation.
//!
//! Edges:
//! - what comes out is ordered by gauge partition, metric, key and window, so equal records give equal batches.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::engine::codec;
use crate::engine::plan::{Kind, MetricIx, Plan};
use crate::engine::series::partition_of;
use crate::engine::sketch::Partial;
use crate::engine::time::EventTime;
use crate::engine::window::WindowEnd;

/// What one record adds to a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Amount {
    /// Records, bytes.
    Things(u64),
    /// Millionths of the metric's unit.
    Value(i64),
}

#[derive(Debug, Default)]
pub(in crate::engine) struct Combiner {
    /// Indices into `entries`.
    table: HashTable<u32>,
    entries: Vec<Entry>,
    keys: Vec<u8>,
    weight: usize,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    metric: MetricIx,
    window: WindowEnd,
    /// Span of the arena.
    key: (u32, u32),
    records: u64,
    partial: Partial,
}

/// Roughly what an entry is on the wire beside its key and value.
const ENTRY_BYTES: usize = 24;

/// Millionths in one.
pub(in crate::engine) const UNIT: i64 = 1_000_000;

// === impl Amount ===

impl Amount {
    /// As one number: things for a count, else millionths.
    pub(in crate::engine) fn of_kind(self, kind: &Kind) -> i64 {
        match (self, kind) {
            (Amount::Things(things), Kind::Count) => i64::try_from(things).unwrap_or(i64::MAX),
            (Amount::Things(things), _) => i64::try_from(things).unwrap_or(i64::MAX).saturating_mul(UNIT),
            (Amount::Value(value), Kind::Count) => value / UNIT,
            (Amount::Value(value), _) => value,
        }
    }

    /// What [`Amount::of_kind`] made a number of.
    pub(in crate::engine) fn from_number(number: i64, kind: &Kind) -> Self {
        match kind {
            Kind::Count => Amount::Things(u64::try_from(number).unwrap_or(0)),
            _ => Amount::Value(number),
        }
    }
}

// === impl Combiner ===

impl Combiner {
    /// Bytes that a seal would write, roughly.
    pub(in crate::engine) fn weight(&self) -> usize {
        self.weight
    }

    pub(in crate::engine) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    #[inline]
    pub(in crate::engine) fn add(
        &mut self,
        metric: MetricIx,
        kind: &Kind,
        window: WindowEnd,
        key: &[u8],
        amount: Amount,
    ) {
        let hash = hash_of(metric, window, key);
        let Self {
            table,
            entries,
            keys,
            weight,
        } = self;
        let known = table.find(hash, |index| {
            let entry = &entries[*index as usize];
            entry.hash == hash && entry.metric == metric && entry.window == window && key_of(keys, entry) == key
        });
        let index = match known {
            Some(index) => *index as usize,
            None => {
                let start = keys.len() as u32;
                keys.extend_from_slice(key);
                let partial = Partial::empty(kind);
                *weight += ENTRY_BYTES + key.len() + partial.weight();
                let index = entries.len();
                entries.push(Entry {
                    hash,
                    metric,
                    window,
                    key: (start, keys.len() as u32),
                    records: 0,
                    partial,
                });
                table.insert_unique(hash, index as u32, |index| entries[*index as usize].hash);
                index
            }
        };
        let entry = &mut entries[index];
        entry.records += 1;
        match (&mut entry.partial, amount) {
            (Partial::Count(_), Amount::Things(things)) => entry.partial.add_count(things),
            (Partial::Count(_), Amount::Value(value)) => entry.partial.add_count((value.max(0) / UNIT) as u64),
            (partial, Amount::Value(value)) => partial.observe(value, kind),
            (partial, Amount::Things(things)) => {
                partial.observe(i64::try_from(things).unwrap_or(i64::MAX).saturating_mul(UNIT), kind);
            }
        }
    }

    /// Everything that was combined, by gauge partition; nothing is left.
    pub(in crate::engine) fn drain(&mut self, plan: &Plan, partitions: u32) -> Vec<Vec<codec::MetricPartials>> {
        let mut order: Vec<(u32, u32)> = (0..)
            .zip(&self.entries)
            .map(|(index, entry)| {
                let name = plan.metrics[entry.metric.0].name.as_str();
                (partition_of(name, key_of(&self.keys, entry), partitions), index)
            })
            .collect();
        let rank = |(partition, index): &(u32, u32)| {
            let entry = &self.entries[*index as usize];
            (*partition, entry.metric, key_of(&self.keys, entry), entry.window)
        };
        order.sort_unstable_by(|one, other| rank(one).cmp(&rank(other)));
        let mut out: Vec<Vec<codec::MetricPartials>> = (0..partitions).map(|_| Vec::new()).collect();
        let mut last = None;
        for (partition, index) in order {
            let entry = &self.entries[index as usize];
            let metrics = &mut out[partition as usize];
            if last != Some((partition, entry.metric)) {
                let definition = plan.metrics[entry.metric.0].definition.0;
                metrics.push(codec::MetricPartials {
                    definition,
                    partials: Vec::new(),
                });
                last = Some((partition, entry.metric));
            }
            let WindowEnd(EventTime(window_end)) = entry.window;
            if let Some(metric) = metrics.last_mut() {
                metric.partials.push(codec::SeriesPartial {
                    key: key_of(&self.keys, entry).to_vec(),
                    window_end,
                    records: entry.records,
                    value: Some(entry.partial.to_codec()),
                });
            }
        }
        self.table.clear();
        self.entries.clear();
        self.keys.clear();
        self.weight = 0;
        out
    }
}

#[inline]
fn hash_of(metric: MetricIx, window: WindowEnd, key: &[u8]) -> u64 {
    // A window's end is a round number: spread it before the metric is mixed in.
    let seed = (window.0.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ metric.0 as u64;
    xxh3_64_with_seed(key, seed)
}

#[inline]
fn key_of<'k>(keys: &'k [u8], entry: &Entry) -> &'k [u8] {
    &keys[entry.key.0 as usize..entry.key.1 as usize]
}
