//! One entry as it is kept: with how much was before it.
//!
//! Rule: neighbours may become one, and runs may be forgotten; where entries meet, counts stay exact.

use crate::engine::index::{Entry, Run, Times};

#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub entry: Entry,
    pub records: u64,
    /// Before this entry.
    pub records_before: u64,
    pub bytes_before: u64,
    /// Its runs are forgotten.
    pub blurred: bool,
}

/// As [`super`] says.
const _: () = assert!(size_of::<Kept>() <= 104 && size_of::<Run>() <= 24);

/// How far into the index an offset is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rank {
    pub records: u64,
    pub bytes: u64,
    pub exact: bool,
}

// === impl Kept ===

impl Kept {
    /// Records up to its end.
    pub fn ends(&self) -> u64 {
        self.records_before.saturating_add(self.records)
    }

    pub fn rank(&self, offset: i64) -> Rank {
        let offsets = offset.min(self.entry.next).abs_diff(self.entry.first);
        let length = self.entry.length();
        let records = if self.blurred {
            share(self.records, offsets, length)
        } else {
            self.entry.runs.records_of(offsets).min(self.records)
        };
        let bytes = share(self.entry.bytes, records, self.records);
        Rank {
            records: self.records_before.saturating_add(records),
            bytes: self.bytes_before.saturating_add(bytes),
            exact: !self.blurred || self.records == 0 || offsets == 0 || offsets == length,
        }
    }

    /// When its record with so many before it in here was appended, in milliseconds.
    pub fn time_of(&self, times: Times, record: u64) -> i64 {
        let last = self.records.saturating_sub(1);
        times
            .earliest
            .saturating_add_unsigned(share(times.spread(), record.min(last), last))
    }

    pub fn joins(&self, next: &Kept, newest: i64, part: u64) -> bool {
        let times = match (self.entry.times, next.entry.times) {
            (Some(times), Some(next)) => times.and(next),
            _ => return self.entry.next == next.entry.first,
        };
        let age = newest.abs_diff(times.latest);
        self.entry.next == next.entry.first && times.spread() <= age / part
    }

    pub fn join(&mut self, next: Kept) {
        let times = [self.entry.times, next.entry.times];
        self.entry.times = times.into_iter().flatten().reduce(Times::and);
        self.blurred |= next.blurred;
        if self.blurred {
            self.entry.runs.clear();
        } else {
            let trailing = self.entry.length().saturating_sub(self.entry.runs.offsets());
            self.entry.runs.append(trailing, &next.entry.runs);
        }
        self.entry.next = next.entry.next;
        self.entry.bytes = self.entry.bytes.saturating_add(next.entry.bytes);
        self.records = self.records.saturating_add(next.records);
    }

    /// Forgets its runs; says how many those were.
    pub fn blur(&mut self) -> usize {
        let runs = self.entry.runs.len();
        self.blurred |= runs > 0;
        self.entry.runs.clear();
        runs
    }
}

/// `of * part / whole`, for a part that is no more than the whole.
fn share(of: u64, part: u64, whole: u64) -> u64 {
    let share = u128::from(of) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(share).unwrap_or(of)
}
