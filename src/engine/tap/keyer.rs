//! Keyed records of one seal, by the join, side and partition that they go to.
//!
//! Rule: records are packed as they come; what they carry is kept once for each destination. Everything is emptied at a
//! seal and keeps its memory, so that a record costs no allocation.
//!
//! Edges: an emission is known by its place among all emissions of the topic.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::engine::codec::KeyedRecords;
use crate::engine::keyed::{KeyHash, KeyedRecord, Packer};
use crate::engine::plan::{JoinIx, Plan, Side, TopicPlan};
use crate::engine::time::EventTime;

#[derive(Debug)]
pub(super) struct Keyer {
    partitions: u32,
    emits: Vec<(JoinIx, Side)>,
    /// By emission, then by partition.
    lots: Vec<Lot>,
    /// Indices into `carried`.
    table: HashTable<u32>,
    carried: Vec<Carried>,
    bytes: Vec<u8>,
    weight: usize,
}

/// What goes to one side of one join in one partition.
#[derive(Debug, Default)]
struct Lot {
    packer: Packer,
    /// Entries of its dictionary so far.
    carried: u32,
}

/// One entry of a lot's dictionary.
#[derive(Debug)]
struct Carried {
    hash: u64,
    lot: u32,
    index: u32,
    span: (u32, u32),
}

/// One record on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keyed<'a> {
    /// Place among all emissions of the topic.
    pub emit: usize,
    pub key: KeyHash,
    pub time: EventTime,
    pub carried: &'a [u8],
    /// Of an asking record.
    pub amount: Option<i64>,
}

// === impl Keyer ===

impl Keyer {
    pub(super) fn new(topic: &TopicPlan, partitions: u32) -> Self {
        let emits: Vec<(JoinIx, Side)> = topic
            .sources
            .iter()
            .flat_map(|source| &source.emits)
            .map(|emit| (emit.join, emit.side))
            .collect();
        let lots = (0..emits.len() * partitions as usize).map(|_| Lot::default());
        Self {
            partitions,
            lots: lots.collect(),
            emits,
            table: HashTable::new(),
            carried: Vec::new(),
            bytes: Vec::new(),
            weight: 0,
        }
    }

    /// Bytes that a seal would write, roughly.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    pub(super) fn is_empty(&self) -> bool {
        self.weight == 0
    }

    #[inline]
    pub(super) fn add(&mut self, keyed: Keyed<'_>) {
        let lot = keyed.emit * self.partitions as usize + keyed.key.partition(self.partitions) as usize;
        let carried = self.carried(lot as u32, keyed.carried);
        let record = KeyedRecord {
            key: keyed.key,
            time: keyed.time,
            carried,
            amount: keyed.amount.unwrap_or(0),
        };
        self.lots[lot].packer.push(record, keyed.amount.is_some());
        self.weight += 20;
    }

    /// The index of these bytes in the lot's dictionary.
    #[inline]
    fn carried(&mut self, lot: u32, payload: &[u8]) -> u32 {
        let hash = xxh3_64_with_seed(payload, u64::from(lot));
        let Self {
            table, carried, bytes, ..
        } = self;
        let known = table.find(hash, |index| {
            let known = &carried[*index as usize];
            known.lot == lot && bytes[known.span.0 as usize..known.span.1 as usize] == *payload
        });
        if let Some(index) = known {
            return carried[*index as usize].index;
        }
        let owner = &mut self.lots[lot as usize];
        let index = owner.carried;
        owner.carried += 1;
        let start = bytes.len() as u32;
        bytes.extend_from_slice(payload);
        let at = carried.len() as u32;
        carried.push(Carried {
            hash,
            lot,
            index,
            span: (start, bytes.len() as u32),
        });
        table.insert_unique(hash, at, |index| carried[*index as usize].hash);
        self.weight += payload.len() + 2;
        index
    }

    /// What goes to each partition; nothing is left.
    pub(super) fn drain(&mut self, plan: &Plan) -> Vec<Vec<KeyedRecords>> {
        let mut dictionaries: Vec<Vec<Vec<u8>>> = self.lots.iter().map(|_| Vec::new()).collect();
        // In the order of their indices: entries were made in it.
        for entry in &self.carried {
            dictionaries[entry.lot as usize].push(self.bytes[entry.span.0 as usize..entry.span.1 as usize].to_vec());
        }
        let mut out: Vec<Vec<KeyedRecords>> = (0..self.partitions).map(|_| Vec::new()).collect();
        for (at, (lot, carried)) in self.lots.iter_mut().zip(dictionaries).enumerate() {
            if lot.packer.is_empty() {
                continue;
            }
            let (join, side) = self.emits[at / self.partitions as usize];
            let join = &plan.joins[join.0];
            out[at % self.partitions as usize].push(KeyedRecords {
                join: join.definition.0,
                side: side.0.into(),
                count: lot.packer.count(),
                amounts: join.asked_by(side).is_some(),
                records: lot.packer.take(),
                carried,
            });
            lot.carried = 0;
        }
        self.table.clear();
        self.carried.clear();
        self.bytes.clear();
        self.weight = 0;
        out
    }
}
