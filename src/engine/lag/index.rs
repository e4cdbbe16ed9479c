//! What the offset index tells of one tapped partition: when a record was appended, how many records and bytes a range of
//! offsets holds, and how old the records were that a commit covers.
//!
//! Rule: stretches are taken in the order of the index topic. What is asked is [`Answer::Known`] from them, or lies behind
//! them ([`Answer::Beyond`]: the tap will write it down), or will never be known from them ([`Answer::Below`]).
//!
//! Resolution: an entry as the tap wrote it spans at most one [`STEP`](crate::engine::index::STEP), and so far is
//! [`PartitionIndex::append_time`] from the truth at most; between the first and the last record of an entry they are taken
//! to have come evenly. Counts of records are exact at every offset, bytes are exact where entries meet and by share of
//! the records between.
//!
//! Memory: no more entries than said, 104 bytes each, and [`RUNS`] times as many runs of 24 bytes. Beyond it neighbours are
//! merged where the time that they then span is least beside their age, so that old answers are off by no more than a small
//! part of the lag: with 4,096 entries, one a second over 24 hours, to a step for the last quarter of an hour and beyond it to
//! a hundredth of the lag. Counts stay exact where entries meet.
//! Where there are too many runs the oldest are forgotten, and inside of such an entry counts are by share.
//!
//! Edges:
//! - an entry that is there already, whole or in part, changes nothing; what of it is new is not known;
//! - offsets that no entry covers are a hole: no range with offsets of a hole is known;
//! - another epoch of the tap's ledger and another topic id are another log: everything known so far is forgotten. Who
//!   reads the index topic from its start again ends with the same;
//! - records without timestamps count, and have no append time;
//! - with CreateTime, times are those of the writers' clocks. Where these jump about, an entry may span more than a step:
//!   [`At::within`] says so.

mod covered;
mod kept;

use std::collections::VecDeque;

pub use covered::{Covered, MOST_CALLS};
use kept::{Kept, Rank};

use super::lags::is_another;
use crate::engine::index::{Entry, Stretch, Times, wall};
use crate::engine::task::TopicId;
use crate::engine::time::{Span, WallTime};

/// Runs that are kept for each entry that may be.
pub const RUNS: usize = 4;
/// The fewest entries that an index can be bounded by.
pub const LEAST: usize = 16;
/// Holes that are remembered; what lies before them is forgotten beyond that.
const HOLES: usize = 64;
/// What a merged entry spans is first sought to be no more than this part of its age; each time it does not suffice, of
/// twice that part.
const FINEST: u64 = 4_096;

/// See the module's rule.
#[derive(Clone, Debug)]
pub struct PartitionIndex {
    entries: VecDeque<Kept>,
    /// Offsets `[from, to)` that no entry covers, between entries, ascending.
    holes: VecDeque<(i64, i64)>,
    /// The next offset; `None` before the first entry.
    end: Option<i64>,
    log: Option<(u32, TopicId)>,
    /// All records and bytes up to `end`.
    records: u64,
    bytes: u64,
    /// Of all entries.
    runs: usize,
    capacity: usize,
}

/// Whether the index knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<T> {
    Known(T),
    /// Not, and it never will: older than the index, in a hole, or without timestamps.
    Below,
    /// Not yet.
    Beyond,
}

/// When a record was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    pub time: WallTime,
    /// The truth is no further away than this.
    pub within: Span,
}

// === impl PartitionIndex ===

impl PartitionIndex {
    /// Of at most so many entries, [`LEAST`] or more.
    pub fn new(capacity: usize) -> Self {
        Self {
            entries: VecDeque::new(),
            holes: VecDeque::new(),
            end: None,
            log: None,
            records: 0,
            bytes: 0,
            runs: 0,
            capacity: capacity.max(LEAST),
        }
    }

    /// Takes what a tap wrote of this partition.
    pub fn observe(&mut self, stretch: Stretch) {
        let id = stretch.topic_id;
        let known = |id: TopicId| (id != TopicId::default()).then_some(id);
        let other = |(epoch, before)| epoch != stretch.epoch || is_another(known(before), known(id));
        if self.log.is_some_and(other) {
            *self = Self::new(self.capacity);
        }
        let id = known(id).or(self.log.map(|(_, id)| id)).unwrap_or_default();
        self.log = Some((stretch.epoch, id));
        for entry in stretch.entries {
            self.take(entry);
        }
        self.bound();
    }

    fn take(&mut self, entry: Entry) {
        let end = self.end.unwrap_or(entry.first);
        if entry.next <= end {
            return;
        }
        let first = if entry.first < end { entry.next } else { entry.first };
        if first > end {
            match self.holes.back_mut() {
                Some((_, to)) if *to == end => *to = first,
                _ => self.holes.push_back((end, first)),
            }
        }
        self.end = Some(entry.next);
        if first == entry.next {
            return;
        }
        let records = entry.records();
        let kept = Kept {
            records,
            records_before: self.records,
            bytes_before: self.bytes,
            blurred: false,
            entry,
        };
        self.records = self.records.saturating_add(records);
        self.bytes = self.bytes.saturating_add(kept.entry.bytes);
        self.runs += kept.entry.runs.len();
        self.entries.push_back(kept);
    }

    /// Forgets entries whose records are all older.
    pub fn forget(&mut self, older: WallTime) {
        let is_older = |times: Times| wall(times.latest) < older;
        let young = |kept: &Kept| kept.entry.times.is_some_and(|times| !is_older(times));
        let count = self.entries.iter().position(young).unwrap_or(self.entries.len());
        let old = |kept: &Kept| kept.entry.times.is_some_and(is_older);
        let last = self.entries.iter().take(count).rposition(old);
        self.drop_oldest(last.map_or(0, |last| last + 1));
    }

    fn drop_oldest(&mut self, count: usize) {
        for kept in self.entries.drain(..count) {
            self.runs -= kept.entry.runs.len();
        }
        let begin = self.begin();
        while self.holes.front().is_some_and(|(_, to)| *to <= begin) {
            self.holes.pop_front();
        }
    }

    /// The first offset that the index covers.
    pub fn begin(&self) -> i64 {
        let first = self.entries.front().map(|kept| kept.entry.first);
        first.or(self.end).unwrap_or_default()
    }

    /// The next offset to be covered; `None` before anything is.
    pub fn end(&self) -> Option<i64> {
        self.end
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Runs of all entries.
    pub fn runs(&self) -> usize {
        self.runs
    }

    // --- bounds ---

    fn bound(&mut self) {
        while self.holes.len() > HOLES {
            let to = self.holes.front().map_or(0, |(_, to)| *to);
            let count = self.entries.partition_point(|kept| kept.entry.first < to);
            self.drop_oldest(count);
        }
        if self.entries.len() > self.capacity {
            let mut part = FINEST;
            while self.entries.len() > self.capacity / 4 * 3 && part > 0 {
                self.merge(part);
                part /= 2;
            }
            let most = self.capacity / 4 * 3;
            self.drop_oldest(self.entries.len().saturating_sub(most));
        }
        let mut at = 0;
        while self.runs > RUNS * self.capacity {
            let Some(kept) = self.entries.get_mut(at) else { return };
            self.runs -= kept.blur();
            at += 1;
        }
    }

    /// Neighbours become one where it spans no more than this part of its age.
    fn merge(&mut self, part: u64) {
        let times = self.entries.iter().filter_map(|kept| kept.entry.times);
        let newest = times.map(|times| times.latest).max().unwrap_or_default();
        let mut merged: VecDeque<Kept> = VecDeque::with_capacity(self.entries.len());
        for kept in self.entries.drain(..) {
            match merged.back_mut() {
                Some(last) if last.joins(&kept, newest, part) => last.join(kept),
                _ => merged.push_back(kept),
            }
        }
        self.entries = merged;
        self.runs = self.entries.iter().map(|kept| kept.entry.runs.len()).sum();
    }

    // --- questions ---

    /// When the first record at or behind `offset` was appended.
    pub fn append_time(&self, offset: i64) -> Answer<At> {
        let Some(end) = self.end.filter(|end| offset < *end) else {
            return Answer::Beyond;
        };
        let rank = match self.rank(offset) {
            Some(rank) if !self.has_hole(offset, offset.saturating_add(1)) => rank,
            _ => return Answer::Below,
        };
        let Some(kept) = self.holding(rank.records) else {
            return if self.has_hole(offset, end) {
                Answer::Below
            } else {
                Answer::Beyond
            };
        };
        match kept.entry.times {
            Some(times) if !self.has_hole(offset, kept.entry.first) => Answer::Known(At {
                time: wall(kept.time_of(times, rank.records - kept.records_before)),
                within: Span::millis(i64::try_from(times.spread()).unwrap_or(i64::MAX)),
            }),
            _ => Answer::Below,
        }
    }

    /// How many records there are from one offset up to another, exactly.
    pub fn records(&self, from: i64, to: i64) -> Answer<u64> {
        match self.covered(from, to) {
            Answer::Known(covered) if covered.exact => Answer::Known(covered.records),
            Answer::Known(_) | Answer::Below => Answer::Below,
            Answer::Beyond => Answer::Beyond,
        }
    }

    /// What there is from one offset up to another. Nothing, where it is not ahead.
    pub fn covered(&self, from: i64, to: i64) -> Answer<Covered<'_>> {
        if self.end.is_none_or(|end| to.max(from) > end) {
            return Answer::Beyond;
        }
        let (Some(first), Some(last)) = (self.rank(from), self.rank(to.max(from))) else {
            return Answer::Below;
        };
        if self.has_hole(from, to) {
            return Answer::Below;
        }
        Answer::Known(Covered {
            records: last.records.saturating_sub(first.records),
            bytes: last.bytes.saturating_sub(first.bytes),
            exact: first.exact && last.exact,
            index: self,
            first: first.records,
        })
    }

    /// Of an offset that is not beyond the index; `None` below it. In a hole as at its end.
    fn rank(&self, offset: i64) -> Option<Rank> {
        if offset < self.begin() {
            return None;
        }
        let behind = self.entries.partition_point(|kept| kept.entry.first <= offset);
        let kept = behind.checked_sub(1).and_then(|at| self.entries.get(at));
        Some(kept.map_or(
            Rank {
                records: self.records,
                bytes: self.bytes,
                exact: true,
            },
            |kept| kept.rank(offset),
        ))
    }

    /// The entry that holds the record with so many before it.
    fn holding(&self, record: u64) -> Option<&Kept> {
        let at = self.entries.partition_point(|kept| kept.ends() <= record);
        self.entries.get(at)
    }

    /// Whether some offset of the range is in a hole.
    fn has_hole(&self, from: i64, to: i64) -> bool {
        let at = self.holes.partition_point(|(_, end)| *end <= from);
        self.holes.get(at).is_some_and(|(begin, _)| *begin < to)
    }
}
