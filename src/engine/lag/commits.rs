//! What one group lately committed in one partition.
//!
//! Rule: the last commits are kept, oldest first, as many as the ring has room for. A commit that follows within `apart`
//! of the beginning of the newest entry takes that entry's place and leaves its time, so that a group that commits ten
//! times a second is seen over more than one second.
//!
//! Edges:
//! - a commit below the newest entry always gets an entry of its own: no rewind is hidden;
//! - the time of the very last commit is kept beside the ring: silence is counted from there;
//! - clocks of brokers differ: a commit that is timed before its predecessor gets an entry of its own, with
//!   its time;
//! - times are whole milliseconds, as the broker writes them. Steps between entries beyond 24 days count as 24 days, and
//!   data records beyond four thousand million as that many.
//!
//! Memory: 24 bytes an entry and 48 for the ring itself, so 288 for a full ring of ten, plus what the allocator adds. A
//! ring with one commit has room for one entry, then for four, then for all.

use std::num::NonZeroU8;

use crate::engine::time::{Span, WallTime};

/// A committed offset, with what was known of the log at that time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The next offset to read.
    pub offset: i64,
    pub at: WallTime,
    /// The high watermark, read after the commit.
    pub log_end: Option<i64>,
    /// Data records from the offset to the last stable offset.
    pub lag_records: Option<i64>,
}

/// A ring of commits.
#[derive(Clone, Debug)]
pub struct Commits {
    /// Oldest first. So few that moving them up costs less than a ring's index would take.
    entries: Vec<Entry>,
    /// When the newest entry began, in milliseconds.
    newest: i64,
    /// When the last commit was made, in milliseconds; not before the newest entry unless clocks differ.
    last: i64,
    apart_ms: u32,
    capacity: NonZeroU8,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    offset: i64,
    /// [`NO_END`] where it is not known.
    log_end: i64,
    /// Milliseconds since the entry before; of the oldest without meaning.
    step: i32,
    /// [`NO_RECORDS`] where they are not known.
    records: u32,
}

const NO_END: i64 = i64::MIN;
const NO_RECORDS: u32 = u32::MAX;

// === impl Commits ===

impl Commits {
    /// As many as Burrow looks at.
    pub const TEN: NonZeroU8 = NonZeroU8::new(10).unwrap();

    /// `apart` beyond 49 days counts as that.
    pub fn new(capacity: NonZeroU8, apart: Span) -> Self {
        Self {
            entries: Vec::new(),
            newest: 0,
            last: 0,
            apart_ms: u32::try_from(apart.as_micros() / 1_000).unwrap_or(u32::MAX),
            capacity,
        }
    }

    /// A ring as [`iter`](Self::iter) and [`last`](Self::last) told it: each commit is an entry.
    pub fn restored(capacity: NonZeroU8, apart: Span, entries: impl Iterator<Item = Commit>, last: WallTime) -> Self {
        let mut commits = Self::new(capacity, apart);
        for commit in entries {
            commits.append(commit);
        }
        commits.last = last.0.div_euclid(1_000);
        commits
    }

    /// Commits in the order in which the topic has them.
    pub fn push(&mut self, commit: Commit) {
        let at = commit.at.0.div_euclid(1_000);
        let close = (0..i64::from(self.apart_ms)).contains(&at.saturating_sub(self.newest));
        let newest = self.newest;
        match self.entries.last_mut() {
            Some(before) if close && before.offset <= commit.offset => {
                *before = Entry {
                    step: before.step,
                    ..Entry::of(commit, newest)
                };
                self.last = at;
            }
            _ => self.append(commit),
        }
    }

    fn append(&mut self, commit: Commit) {
        let entry = Entry::of(commit, self.newest);
        self.make_room();
        self.entries.push(entry);
        self.newest = commit.at.0.div_euclid(1_000);
        self.last = self.newest;
    }

    fn make_room(&mut self) {
        let capacity = usize::from(self.capacity.get());
        let count = self.entries.len();
        if count == capacity {
            self.entries.remove(0);
        } else if count == self.entries.capacity() {
            let wanted = match count {
                0 => 1,
                1..4 => 4.min(capacity),
                _ => capacity,
            };
            self.entries.reserve_exact(wanted - count);
        }
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The last commit, at the time at which it was made.
    pub fn last(&self) -> Option<Commit> {
        let at = WallTime(self.last.saturating_mul(1_000));
        self.entries.last().map(|entry| entry.commit(at))
    }

    /// Oldest first, each at the time at which its entry began.
    pub fn iter(&self) -> impl Iterator<Item = Commit> + Clone + '_ {
        let steps = self.entries.iter().skip(1).map(|entry| i64::from(entry.step));
        let mut at = self.newest.saturating_sub(steps.sum());
        self.entries.iter().enumerate().map(move |(index, entry)| {
            if index > 0 {
                at = at.saturating_add(i64::from(entry.step));
            }
            entry.commit(WallTime(at.saturating_mul(1_000)))
        })
    }

    /// The times between entries, oldest first; never negative.
    pub fn steps(&self) -> impl Iterator<Item = Span> + Clone + '_ {
        let steps = self.entries.iter().skip(1);
        steps.map(|entry| Span::millis(i64::from(entry.step)))
    }

    /// Bytes that the entries take, with those for which there is room.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
    }

    /// How long there has been no commit.
    pub fn silence(&self, now: WallTime) -> Option<Span> {
        self.last().map(|last| now.since(last.at))
    }
}

fn saturated(millis: i64) -> i32 {
    i32::try_from(millis).unwrap_or(if millis < 0 { i32::MIN } else { i32::MAX })
}

// === impl Entry ===

impl Entry {
    /// `newest`: when the entry before it began, in milliseconds.
    fn of(commit: Commit, newest: i64) -> Self {
        Self {
            offset: commit.offset,
            log_end: commit.log_end.unwrap_or(NO_END),
            step: saturated(commit.at.0.div_euclid(1_000).saturating_sub(newest)),
            records: commit.lag_records.map_or(NO_RECORDS, |records| {
                u32::try_from(records.max(0)).map_or(NO_RECORDS - 1, |records| records.min(NO_RECORDS - 1))
            }),
        }
    }

    fn commit(&self, at: WallTime) -> Commit {
        Commit {
            offset: self.offset,
            at,
            log_end: (self.log_end != NO_END).then_some(self.log_end),
            lag_records: (self.records != NO_RECORDS).then_some(i64::from(self.records)),
        }
    }
}

// === impl Commit ===

impl Commit {
    /// Offsets from the commit to the high watermark of its time.
    pub fn lag(&self) -> Option<i64> {
        let end = self.log_end?;
        Some(end.saturating_sub(self.offset).max(0))
    }
}
