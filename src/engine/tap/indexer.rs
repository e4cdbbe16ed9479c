//! What a tap writes into the offset index.
//!
//! Rule: every offset that the task passes is in exactly one [`Entry`], which ends where its records would be further apart
//! than [`STEP`], at [`MOST_RECORDS`], and at each seal. Nothing is allocated for a record.
//!
//! Edges:
//! - offsets without a record belong to the entry that is open, whatever their number; they take no time;
//! - offsets that retention removed are in none: a new stretch begins behind them;
//! - timestamps that jump about (writers whose clocks disagree) would make an entry a record: beyond [`MOST_ENTRIES`]
//!   between two seals the distance in time no longer ends one, and it says how far apart its records are.

use crate::engine::index::{Entry, MAX_BYTES, Run, Runs, STEP, Stretch, Times};
use crate::engine::task::Stamp;

/// In one entry.
pub const MOST_RECORDS: u64 = 1 << 16;
/// Runs in one entry.
pub const MOST_RUNS: usize = 1_024;
/// Entries between two seals before their records may be further apart.
pub const MOST_ENTRIES: usize = 4_096;

/// See the module's rule.
#[derive(Debug)]
pub(super) struct Indexer {
    /// The next offset.
    next: i64,
    open: Open,
    /// What was completed since the last seal.
    closed: Vec<Entry>,
    /// Of `closed`, encoded, roughly.
    weight: usize,
}

/// The entry under way; empty where it begins at the next offset.
#[derive(Debug)]
struct Open {
    first: i64,
    records: u64,
    /// Microseconds; the latest lies before the earliest while there is none.
    earliest: i64,
    latest: i64,
    bytes: u64,
    runs: Runs,
    /// Records behind the last run.
    trailing: u64,
}

// === impl Indexer ===

impl Indexer {
    /// Begins at this offset.
    pub fn new(next: i64) -> Self {
        Self {
            next,
            open: Open::at(next),
            closed: Vec::new(),
            weight: 0,
        }
    }

    /// A record at the next offset, with a value of so many bytes.
    #[inline]
    pub fn record(&mut self, stamp: Stamp, bytes: usize) {
        let open = &self.open;
        let (earliest, latest) = match stamp {
            Stamp::Created(time) | Stamp::Appended(time) => (open.earliest.min(time.0), open.latest.max(time.0)),
            Stamp::None => (open.earliest, open.latest),
        };
        let apart = latest.saturating_sub(earliest);
        if open.records >= MOST_RECORDS || apart > STEP.as_micros() && self.closed.len() < MOST_ENTRIES {
            self.split(stamp);
        } else {
            (self.open.earliest, self.open.latest) = (earliest, latest);
        }
        self.open.records += 1;
        self.open.trailing += 1;
        self.open.bytes += bytes as u64;
        self.next += 1;
    }

    /// A new entry begins with a record of this timestamp.
    #[cold]
    fn split(&mut self, stamp: Stamp) {
        self.close();
        if let Stamp::Created(time) | Stamp::Appended(time) = stamp {
            (self.open.earliest, self.open.latest) = (time.0, time.0);
        }
    }

    /// No offset below `to` holds a record that was not told.
    #[inline]
    pub fn skip(&mut self, to: i64) {
        if to > self.next {
            self.absent(to);
        }
    }

    #[cold]
    fn absent(&mut self, to: i64) {
        if self.open.runs.len() >= MOST_RUNS {
            self.close();
        }
        self.open.runs.push(Run {
            records: self.open.trailing,
            absent: to.abs_diff(self.next),
            times: 1,
        });
        self.open.trailing = 0;
        self.next = to;
    }

    /// What lies below `to` was removed unread.
    #[cold]
    pub fn lose(&mut self, to: i64) {
        if to > self.next {
            self.close();
            self.next = to;
            self.open = Open::at(to);
        }
    }

    fn close(&mut self) {
        let open = std::mem::replace(&mut self.open, Open::at(self.next));
        if open.first < self.next {
            let entry = Entry {
                first: open.first,
                next: self.next,
                times: (open.earliest <= open.latest).then(|| Times {
                    earliest: open.earliest.div_euclid(1_000),
                    latest: open.latest.div_euclid(1_000),
                }),
                bytes: open.bytes,
                runs: open.runs,
            };
            self.weight += entry.weight();
            self.closed.push(entry);
        }
    }

    /// Bytes that a seal would write, roughly.
    pub fn weight(&self) -> usize {
        self.weight + 6 * self.open.runs.len()
    }

    /// Everything since the last seal, encoded: stretches of no more than [`MAX_BYTES`]. `head` has no entries.
    pub fn seal(&mut self, head: Stretch) -> Vec<Vec<u8>> {
        self.close();
        self.weight = 0;
        let mut messages = Vec::new();
        let mut stretch = head;
        let mut bytes = 0;
        for entry in self.closed.drain(..) {
            let follows = stretch.entries.last().is_none_or(|last| last.next == entry.first);
            if !stretch.entries.is_empty() && (!follows || bytes + entry.weight() > MAX_BYTES) {
                messages.push(stretch.encode());
                stretch.entries.clear();
                bytes = 0;
            }
            bytes += entry.weight();
            stretch.entries.push(entry);
        }
        if !stretch.entries.is_empty() {
            messages.push(stretch.encode());
        }
        messages
    }
}

// === impl Open ===

impl Open {
    fn at(first: i64) -> Self {
        Self {
            first,
            records: 0,
            earliest: i64::MAX,
            latest: i64::MIN,
            bytes: 0,
            runs: Runs::default(),
            trailing: 0,
        }
    }
}

#[cfg(test)]
mod tests;
