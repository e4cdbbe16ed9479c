//! What a range of offsets holds, and how old it was at some time.
//!
//! Rule: records are taken together while they are no further apart than an eighth of their latency, and given their mean;
//! so are, of one entry, what an eighth of it holds, and all that is left where there were [`MOST_CALLS`] but one.
//!
//! Edges:
//! - records without timestamps have no latency;
//! - a latency is never negative: clocks of writers and brokers differ.

use super::PartitionIndex;
use super::kept::Kept;
use crate::engine::index::{Times, wall};
use crate::engine::time::{Span, WallTime};

/// At most so often [`Covered::latencies`] calls. One entry takes up to eight, a day of records in one commit some hundred.
pub const MOST_CALLS: usize = 128;
/// The part of a latency that the records are apart which are taken together.
const TOGETHER: i64 = 8;
/// So many pieces are made of the records of one entry at most.
const SLICES: u64 = 8;

/// What a range of offsets holds.
#[derive(Clone, Copy, Debug)]
pub struct Covered<'i> {
    pub records: u64,
    /// Values, as on the wire.
    pub bytes: u64,
    /// The number of records is no estimate.
    pub exact: bool,
    pub(super) index: &'i PartitionIndex,
    /// The records, counted from the index's beginning.
    pub(super) first: u64,
}

/// Records that follow each other, and when they were appended.
#[derive(Clone, Copy, Debug)]
struct Piece {
    records: u64,
    times: Times,
    /// Sum of the times of all records, in milliseconds, taken to have come evenly.
    sum: i128,
}

// === impl Covered ===

impl Covered<'_> {
    /// How long before `until` the records were appended: so long, so many, for those that have a time. Never negative.
    pub fn latencies(&self, until: WallTime, add: &mut impl FnMut(Span, u64)) {
        let mut calls = 1;
        let mut together: Option<Piece> = None;
        self.pieces(|piece| {
            let joined = together.map_or(piece, |before| before.and(piece));
            if let Some(before) = together.filter(|_| calls < MOST_CALLS) {
                let [least, most] = [joined.times.latest, joined.times.earliest].map(|time| until.since(wall(time)));
                if most.as_micros() - least.as_micros() > least.as_micros() / TOGETHER {
                    calls += 1;
                    add(until.since(before.mean()), before.records);
                    together = Some(piece);
                    return;
                }
            }
            together = Some(joined);
        });
        if let Some(last) = together {
            add(until.since(last.mean()), last.records);
        }
    }

    /// The records, in order.
    fn pieces(&self, mut take: impl FnMut(Piece)) {
        let (mut record, end) = (self.first, self.first.saturating_add(self.records));
        let entries = &self.index.entries;
        let from = entries.partition_point(|kept: &Kept| kept.ends() <= record);
        for kept in entries.iter().skip(from).take_while(|kept| kept.records_before < end) {
            let to = kept.ends().min(end);
            let slice = (to.saturating_sub(record)).div_ceil(SLICES).max(1);
            while record < to {
                let records = slice.min(to - record);
                if let Some(times) = kept.entry.times {
                    let local = record - kept.records_before;
                    take(Piece::of(
                        records,
                        kept.time_of(times, local),
                        kept.time_of(times, local + records - 1),
                    ));
                }
                record += records;
            }
        }
    }
}

// === impl Piece ===

impl Piece {
    fn of(records: u64, earliest: i64, latest: i64) -> Self {
        let middle = i128::from(earliest) + i128::from(latest);
        Self {
            records,
            times: Times { earliest, latest },
            sum: middle * i128::from(records) / 2,
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            records: self.records.saturating_add(other.records),
            times: self.times.and(other.times),
            sum: self.sum.saturating_add(other.sum),
        }
    }

    /// When they were appended, on average.
    fn mean(self) -> WallTime {
        let mean = self.sum.saturating_mul(1_000) / i128::from(self.records.max(1));
        WallTime(i64::try_from(mean).unwrap_or(self.times.latest))
    }
}
