//! Where the log of one partition ended, and when: lag in time, without reading the log.
//!
//! Rule: the lag in time is how long ago the high watermark was last at or below the first offset that the group has yet to
//! read. Between two samples it is taken to have risen evenly. It is zero only where nothing is left to read, and absent
//! where the samples do not go back far enough.
//!
//! Error: the truth lies between the same two samples as the answer. They are no further apart than one step of the sampler
//! or an eighth of the lag, whichever is more: samples that are old are thinned out to that.
//!
//! Edges:
//! - a group below the log start has yet to read from there on; behind an open transaction nothing is left to read;
//! - a transaction's marker right behind the commit has come when it came: the lag in time of who left only that one
//!   reaches back to it as soon as a record follows. Who knows the first record behind the commit asks with its offset;
//! - a high watermark that goes back, and another topic id, are another log: everything known so far is forgotten. A log
//!   that was truncated and has grown past its old end between two samples cannot be told from one that only grew;
//! - a sample that is not newer than the last one is dropped, and so is one without a high watermark (negative). One that
//!   is older by more than [`LATE`] is no late answer: the clock was set back, and what was known by it is forgotten;
//! - while the end stands still only the first and the last sample of it are kept, so an idle partition takes two.
//!
//! Memory: 16 bytes a sample. Over a horizon of 24 hours 100 of them are kept where one comes every ten seconds, 130 where
//! one comes every second; in any case no more than [`MOST`], beyond which the oldest goes. Of last stable offset and log
//! start only the newest is kept.

use super::lags::is_another;
use super::status::{Ends, MARKER};
use crate::engine::task::TopicId;
use crate::engine::time::{Span, WallTime};

/// What the broker said of one partition at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When the answer came, by the clock of this process.
    pub at: WallTime,
    pub high_watermark: i64,
    pub last_stable: Option<i64>,
    pub log_start: Option<i64>,
}

/// The samples of one partition.
#[derive(Clone, Debug)]
pub struct Samples {
    /// Oldest first; times rise, high watermarks do not fall.
    kept: Vec<Kept>,
    /// How far back the samples go.
    horizon: Span,
    last_stable: Option<i64>,
    log_start: Option<i64>,
    topic_id: Option<TopicId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    at: WallTime,
    high_watermark: i64,
}

/// The part of its age by which an old sample may be away from the next.
const THINNED: i64 = 8;

/// More samples than this are kept of no partition.
pub const MOST: usize = 256;

/// An answer is not older than this when it comes.
pub const LATE: Span = Span::seconds(60);

/// How far back Burrow's rules look for a group that had caught up: ten samples, ten seconds apart.
const LATELY: Span = Span::seconds(100);

// === impl Samples ===

impl Samples {
    pub fn new(horizon: Span) -> Self {
        Self {
            kept: Vec::new(),
            horizon,
            last_stable: None,
            log_start: None,
            topic_id: None,
        }
    }

    /// Takes what the broker said. `topic_id` is that of the topic, where it is known.
    pub fn observe(&mut self, sample: Sample, topic_id: Option<TopicId>) {
        if is_another(self.topic_id, topic_id) {
            self.kept.clear();
        }
        if sample.high_watermark < 0 {
            return;
        }
        if let Some(newest) = self.kept.last() {
            let is_set_back = newest.at.since(sample.at) > LATE;
            if sample.at <= newest.at && !is_set_back {
                return;
            }
            if is_set_back || sample.high_watermark < newest.high_watermark {
                self.kept.clear();
            }
        }
        self.topic_id = topic_id.or(self.topic_id);
        self.last_stable = sample.last_stable;
        self.log_start = sample.log_start;
        self.keep(Kept {
            at: sample.at,
            high_watermark: sample.high_watermark,
        });
    }

    fn keep(&mut self, sample: Kept) {
        if let [.., before, newest] = self.kept.as_mut_slice()
            && before.high_watermark == sample.high_watermark
        {
            // Between them it stands still.
            newest.at = sample.at;
        } else {
            self.kept.push(sample);
            self.thin();
        }
        // The one that is at the horizon or beyond it bounds what is inside.
        let horizon = WallTime(sample.at.0.saturating_sub(self.horizon.as_micros()));
        let beyond = self.kept.partition_point(|kept| kept.at <= horizon).saturating_sub(1);
        self.kept.drain(..beyond.max(self.kept.len().saturating_sub(MOST)));
    }

    /// Takes out each sample without which its neighbours are still close enough for their age.
    fn thin(&mut self) {
        let Some(newest) = self.kept.last().map(|newest| newest.at) else {
            return;
        };
        let mut count = 0_usize;
        for index in 0..self.kept.len() {
            let before = count.checked_sub(1).map(|before| self.kept[before].at);
            let next = self.kept.get(index + 1).map(|next| next.at);
            let needed = before
                .zip(next)
                .is_none_or(|(before, next)| next.since(before).as_micros() > newest.since(next).as_micros() / THINNED);
            if needed {
                self.kept[count] = self.kept[index];
                count += 1;
            }
        }
        self.kept.truncate(count);
    }

    pub fn len(&self) -> usize {
        self.kept.len()
    }

    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    pub fn latest(&self) -> Option<Sample> {
        self.kept.last().map(|newest| Sample {
            at: newest.at,
            high_watermark: newest.high_watermark,
            last_stable: self.last_stable,
            log_start: self.log_start,
        })
    }

    /// Lag in time at a committed offset. `records` are the data records that are left, where that is known.
    pub fn lag_time(&self, committed: i64, records: Option<i64>, now: WallTime) -> Option<Span> {
        let latest = self.latest()?;
        let from = self.first_to_read(committed);
        let records = latest.stable_for(committed).and(records);
        if latest.end_for(committed) <= from || records.is_some_and(|records| records <= 0) {
            return Some(Span::ZERO);
        }
        let after = self.kept.partition_point(|kept| kept.high_watermark <= from);
        let (before, after) = (self.kept.get(after.checked_sub(1)?)?, self.kept.get(after)?);
        let at = before.time_of(*after, from);
        // Something is left: it is not zero, even if a clock was set back.
        Some(now.since(at).max(Span::micros(1)))
    }

    /// For how long at least the first offset that is left to read has been there; zero where none was seen yet.
    pub fn waited(&self, committed: i64, now: WallTime) -> Option<Span> {
        self.latest()?;
        let from = self.first_to_read(committed);
        let after = self.kept.partition_point(|kept| kept.high_watermark <= from);
        Some(self.kept.get(after).map_or(Span::ZERO, |seen| now.since(seen.at)))
    }

    fn first_to_read(&self, committed: i64) -> i64 {
        self.log_start.map_or(committed, |start| start.max(committed))
    }

    /// What [`status`](super::status::status) asks for. `records` as in [`Self::lag_time`].
    pub fn ends(&self, committed: i64, records: Option<i64>, now: WallTime) -> Option<Ends> {
        let latest = self.latest()?;
        let lately = WallTime(now.0.saturating_sub(LATELY.as_micros()));
        let lowest = self.kept.iter().find(|kept| kept.at >= lately);
        // What comes first may be markers. The first record is behind no more of them than there are.
        let from = self.first_to_read(committed);
        let left = latest.end_for(committed).saturating_sub(from);
        let counted = latest.stable_for(committed).and(records);
        let markers = counted.map_or(MARKER, |records| left.saturating_sub(records).max(0));
        Some(Ends {
            high_watermark: latest.high_watermark,
            last_stable: latest.last_stable,
            log_start: latest.log_start,
            records,
            lowest_lately: lowest.map(|kept| kept.high_watermark),
            waited: self.waited(from.saturating_add(markers), now),
        })
    }

    /// Where the log ended at this time, between the oldest and the newest sample.
    pub(super) fn end_at(&self, time: WallTime) -> Option<i64> {
        let after = self.kept.partition_point(|kept| kept.at <= time);
        let before = self.kept.get(after.checked_sub(1)?)?;
        match self.kept.get(after) {
            Some(after) => Some(before.end_at(*after, time)),
            None => (before.at == time).then_some(before.high_watermark),
        }
    }

    pub(super) fn oldest(&self) -> Option<WallTime> {
        self.kept.first().map(|oldest| oldest.at)
    }
}

// === impl Sample ===

impl Sample {
    /// Where a group with this commit reads on.
    pub fn reads_on_at(&self, committed: i64) -> i64 {
        self.log_start.map_or(committed, |start| start.max(committed))
    }

    /// The last stable offset, for a group that heeds it: beyond it is who reads uncommitted records, and of those no count
    /// of data records says anything.
    fn stable_for(&self, committed: i64) -> Option<i64> {
        self.last_stable.filter(|stable| committed <= *stable)
    }

    /// How far a group that committed this offset can read.
    fn end_for(&self, committed: i64) -> i64 {
        let stable = self.stable_for(committed);
        stable.map_or(self.high_watermark, |stable| stable.min(self.high_watermark))
    }
}

// === impl Kept ===

impl Kept {
    /// When the log ended at `offset`, which is at or above here and below `after`.
    fn time_of(self, after: Self, offset: i64) -> WallTime {
        let rise = after.high_watermark.saturating_sub(self.high_watermark);
        let part = offset.saturating_sub(self.high_watermark);
        WallTime(
            self.at
                .0
                .saturating_add(share(after.at.since(self.at).as_micros(), part, rise)),
        )
    }

    /// Where the log ended at `time`, which is between here and `after`.
    fn end_at(self, after: Self, time: WallTime) -> i64 {
        let rise = after.high_watermark.saturating_sub(self.high_watermark);
        let (part, whole) = (time.since(self.at), after.at.since(self.at));
        self.high_watermark
            .saturating_add(share(rise, part.as_micros(), whole.as_micros()))
    }
}

/// `of * part / whole`, for a part that is no more than the whole.
fn share(of: i64, part: i64, whole: i64) -> i64 {
    let share = i128::from(of) * i128::from(part) / i128::from(whole.max(1));
    i64::try_from(share).unwrap_or(of)
}
