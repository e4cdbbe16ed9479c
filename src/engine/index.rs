//! The offset index: for each stretch of a partition's log when its records were appended, and how large they are.
//!
//! Rule: a tap writes down every offset that it passes, in exactly one [`Entry`]; entries of one seal that follow each
//! other without a hole are a [`Stretch`], which is one record of the index topic and leaves in the transaction that
//! commits the tap's position. What is in it agrees with the ledger, and is never written twice.
//!
//! Edges:
//! - a record is whatever a consumer is handed, also one that the tap could not read. Control records, aborted data and
//!   what compaction took are in the [`Runs`] of their entry;
//! - times are the record's timestamps, in milliseconds as brokers keep them: those of the broker (LogAppendTime) or of the
//!   writer (CreateTime), which may go back: an entry tells the earliest and the latest;
//! - an entry without records has no times; nor has one whose records have no timestamps (brokers before 0.10);
//! - offsets that retention removed before they were read are in no entry.
//!
//! Size: some 11 bytes an entry and 3 a run; a stretch names its partition in some 40 more.

use prost::Message;

use super::codec::{self, CodecError, FORMAT};
use super::task::TopicId;
use super::time::{Span, WallTime};

/// The records of one entry are no further apart than this, by their timestamps.
pub const STEP: Span = Span::seconds(1);

/// An encoded stretch of many entries is not larger than this by much: one entry with all its runs goes beyond it.
pub const MAX_BYTES: usize = 512 * 1024;

/// Some consecutive entries of one partition, none missing between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub topic: String,
    pub partition: u32,
    /// The epoch of the tap's ledger.
    pub epoch: u32,
    /// Zero where the broker did not say.
    pub topic_id: TopicId,
    /// Each begins where the one before ends.
    pub entries: Vec<Entry>,
}

/// Some consecutive offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub first: i64,
    /// The first offset behind it; always beyond `first`.
    pub next: i64,
    pub times: Option<Times>,
    /// Of the values, as on the wire.
    pub bytes: u64,
    /// Which of the offsets hold no record.
    pub runs: Runs,
}

/// When records were appended: milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    pub earliest: i64,
    pub latest: i64,
}

/// Which of some consecutive offsets hold no record: from the first one on, so many that do and so many that do not, again
/// and again. All behind the last run hold one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Runs(Vec<Run>);

/// So many offsets with records, and behind them so many without; this often in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    pub records: u64,
    pub absent: u64,
    pub times: u64,
}

/// A [`Stretch`] as it is written: a column each, an element an entry or a run.
#[derive(Clone, PartialEq, Message)]
struct Columns {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(string, tag = "2")]
    topic: String,
    #[prost(uint32, tag = "3")]
    partition: u32,
    #[prost(uint32, tag = "4")]
    epoch: u32,
    /// Empty for zero.
    #[prost(bytes = "vec", tag = "5")]
    topic_id: Vec<u8>,
    #[prost(sint64, tag = "6")]
    first: i64,
    /// Offsets of each entry.
    #[prost(uint64, repeated, tag = "7")]
    length: Vec<u64>,
    /// The earliest time, beyond the latest of the entry before.
    #[prost(sint64, repeated, tag = "8")]
    earliest: Vec<i64>,
    /// From the earliest to the latest time, plus one; zero without times.
    #[prost(uint64, repeated, tag = "9")]
    spread: Vec<u64>,
    #[prost(uint64, repeated, tag = "10")]
    bytes: Vec<u64>,
    /// How many runs each entry has.
    #[prost(uint32, repeated, tag = "11")]
    runs: Vec<u32>,
    #[prost(uint64, repeated, tag = "12")]
    run_records: Vec<u64>,
    #[prost(uint64, repeated, tag = "13")]
    run_absent: Vec<u64>,
    #[prost(uint64, repeated, tag = "14")]
    run_times: Vec<u64>,
}

// === impl Stretch ===

impl Stretch {
    pub fn encode(&self) -> Vec<u8> {
        let count = self.entries.len();
        let mut columns = Columns {
            format: FORMAT,
            topic: self.topic.clone(),
            partition: self.partition,
            epoch: self.epoch,
            topic_id: if self.topic_id == TopicId::default() {
                Vec::new()
            } else {
                self.topic_id.to_vec()
            },
            first: self.entries.first().map_or(0, |entry| entry.first),
            length: Vec::with_capacity(count),
            earliest: Vec::with_capacity(count),
            spread: Vec::with_capacity(count),
            bytes: Vec::with_capacity(count),
            runs: Vec::with_capacity(count),
            ..Columns::default()
        };
        let mut time = 0_i64;
        for entry in &self.entries {
            columns.length.push(entry.length());
            let (earliest, spread) = entry.times.map_or((0, 0), |times| {
                let delta = times.earliest.wrapping_sub(time);
                time = times.latest;
                (delta, times.spread().saturating_add(1))
            });
            columns.earliest.push(earliest);
            columns.spread.push(spread);
            columns.bytes.push(entry.bytes);
            columns.runs.push(entry.runs.0.len() as u32);
            columns.run_records.extend(entry.runs.0.iter().map(|run| run.records));
            columns.run_absent.extend(entry.runs.0.iter().map(|run| run.absent));
            columns.run_times.extend(entry.runs.0.iter().map(|run| run.times));
        }
        columns.encode_to_vec()
    }

    /// A stretch that was read holds what [`Entry`] and [`Runs`] promise, whoever wrote it.
    pub fn read(bytes: &[u8]) -> Result<Stretch, CodecError> {
        let columns = Columns::decode(bytes)?;
        codec::checked(columns.format)?;
        columns
            .stretch()
            .ok_or_else(|| CodecError::Corrupt("an index whose columns do not fit together".to_owned()))
    }
}

// === impl Columns ===

impl Columns {
    fn stretch(self) -> Option<Stretch> {
        let count = self.length.len();
        let columns = [
            self.earliest.len(),
            self.spread.len(),
            self.bytes.len(),
            self.runs.len(),
        ];
        let runs = self.run_records.len();
        if columns.iter().any(|column| *column != count) || [self.run_absent.len(), self.run_times.len()] != [runs; 2] {
            return None;
        }
        let run = |((records, absent), times): ((&u64, &u64), &u64)| Run {
            records: *records,
            absent: *absent,
            times: *times,
        };
        let mut runs = self
            .run_records
            .iter()
            .zip(&self.run_absent)
            .zip(&self.run_times)
            .map(run);
        let mut entries = Vec::with_capacity(count);
        let (mut first, mut time) = (self.first, 0_i64);
        if first < 0 {
            return None;
        }
        for at in 0..count {
            let next = first
                .checked_add_unsigned(self.length[at])
                .filter(|next| *next > first)?;
            let times = match self.spread[at].checked_sub(1) {
                None => None,
                Some(spread) => {
                    let earliest = time.wrapping_add(self.earliest[at]);
                    time = earliest.checked_add_unsigned(spread)?;
                    Some(Times { earliest, latest: time })
                }
            };
            let count = self.runs[at] as usize;
            let taken: Vec<Run> = runs.by_ref().take(count).collect();
            let entry = Entry {
                first,
                next,
                times,
                bytes: self.bytes[at],
                runs: Runs(taken),
            };
            if entry.runs.0.len() != count || !entry.runs.fit(entry.length()) {
                return None;
            }
            entries.push(entry);
            first = next;
        }
        runs.next().is_none().then_some(Stretch {
            topic: self.topic,
            partition: self.partition,
            epoch: self.epoch,
            topic_id: if self.topic_id.is_empty() {
                TopicId::default()
            } else {
                self.topic_id.try_into().ok()?
            },
            entries,
        })
    }
}

// === impl Entry ===

impl Entry {
    /// Offsets in it, with records or without.
    pub fn length(&self) -> u64 {
        self.next.abs_diff(self.first)
    }

    pub fn records(&self) -> u64 {
        self.length().saturating_sub(self.runs.absent())
    }

    /// What it takes encoded, roughly.
    pub(super) fn weight(&self) -> usize {
        16 + 6 * self.runs.len()
    }
}

// === impl Times ===

impl Times {
    pub fn of(time: i64) -> Self {
        Self {
            earliest: time,
            latest: time,
        }
    }

    /// Of the records of both.
    pub fn and(self, other: Self) -> Self {
        Self {
            earliest: self.earliest.min(other.earliest),
            latest: self.latest.max(other.latest),
        }
    }

    /// In milliseconds.
    pub fn spread(self) -> u64 {
        self.latest.abs_diff(self.earliest)
    }
}

/// Milliseconds of the index as a wall time; saturates.
pub fn wall(millis: i64) -> WallTime {
    WallTime(millis.saturating_mul(1_000))
}

// === impl Runs ===

impl Runs {
    /// So many with records and so many without follow, where all before ends without.
    pub fn push(&mut self, run: Run) {
        match self.0.last_mut() {
            Some(last) if (last.records, last.absent) == (run.records, run.absent) => last.times += run.times,
            Some(last) if last.times == 1 && run.times == 1 && run.records == 0 => last.absent += run.absent,
            _ => self.0.push(run),
        }
    }

    /// Those of the offsets behind follow; so many with records lie between.
    pub fn append(&mut self, records: u64, behind: &Runs) {
        for (at, run) in behind.0.iter().enumerate() {
            if at == 0 && records > 0 {
                self.push(Run {
                    records: run.records.saturating_add(records),
                    times: 1,
                    ..*run
                });
                if run.times > 1 {
                    self.push(Run {
                        times: run.times - 1,
                        ..*run
                    });
                }
            } else {
                self.push(*run);
            }
        }
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn clear(&mut self) {
        self.0 = Vec::new();
    }

    /// Offsets without a record.
    pub fn absent(&self) -> u64 {
        self.0.iter().map(|run| run.absent * run.times).sum()
    }

    /// Offsets that the runs tell of.
    pub fn offsets(&self) -> u64 {
        self.0.iter().map(|run| (run.records + run.absent) * run.times).sum()
    }

    /// Records among the first so many offsets.
    pub fn records_of(&self, offsets: u64) -> u64 {
        let (mut left, mut records) = (offsets, 0);
        for run in &self.0 {
            let one = run.records + run.absent;
            let whole = (left / one.max(1)).min(run.times);
            records += whole * run.records;
            left -= whole * one;
            if whole < run.times {
                return records + left.min(run.records);
            }
        }
        records + left
    }

    /// Whether they tell of no more offsets than there are, and each of some.
    fn fit(&self, offsets: u64) -> bool {
        let one = |run: &Run| run.records.checked_add(run.absent)?.checked_mul(run.times);
        let sum = self
            .0
            .iter()
            .try_fold(0_u64, |sum, run| one(run).and_then(|one| sum.checked_add(one)));
        let some = self.0.iter().all(|run| run.absent > 0 && run.times > 0);
        some && sum.is_some_and(|sum| sum <= offsets)
    }
}

#[cfg(test)]
mod tests;
