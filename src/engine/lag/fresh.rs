//! Whether all of the own partition has been read that was there when the logs were asked.
//!
//! Rule: what is known of groups is as old as the last survey at which the partition ended no further than it has been read.
//!
//! Edges:
//! - an open transaction keeps what came behind it from being read, and a busy partition always has one. After [`SKIPS`]
//!   surveys that were not fresh it is enough if all has been read that was there at the survey before. Behind a
//!   transaction that stays open that never is so;
//! - a survey that nobody answered for the own partition makes nothing fresh;
//! - where groups are polled, what is known is as old as the last poll: it is fresh once.

use crate::engine::time::{Span, WallTime};

/// Surveys that pass before less is enough.
const SKIPS: u32 = 2;

/// After so long a task that cannot read its partition to the end is not asked for more often than others.
const HURRY: Span = Span::seconds(30);

/// Answers about the own partition that are kept while it is not read.
const MARKS: usize = 64;

/// How fresh one task is.
#[derive(Debug)]
pub struct Fresh {
    every: Span,
    /// Where the partition ended, and when; oldest first, those that are not read yet.
    marks: Vec<(WallTime, i64)>,
    /// All that was there at this time has been read.
    at: Option<WallTime>,
    /// The first survey, and the last.
    first: Option<WallTime>,
    last: Option<WallTime>,
    /// Surveys in a row that were not fresh.
    skipped: u32,
}

// === impl Fresh ===

impl Fresh {
    /// `every`: between two surveys.
    pub fn new(every: Span) -> Self {
        Self {
            every,
            marks: Vec::new(),
            at: None,
            first: None,
            last: None,
            skipped: 0,
        }
    }

    /// A survey was asked `at`, when the partition ended at `end`; it has been read up to `next`. Returns whether what is
    /// known is fresh enough to be compared with the survey.
    pub fn surveyed(&mut self, at: WallTime, end: Option<i64>, next: i64) -> bool {
        self.first.get_or_insert(at);
        if let Some(end) = end {
            if self.marks.len() == MARKS {
                self.marks.pop();
            }
            self.marks.push((at, end));
        }
        let read = self.marks.iter().take_while(|(_, end)| *end <= next).count();
        if let Some((at, _)) = self.marks.drain(..read).next_back() {
            self.at = Some(at);
        }
        let before = self.last.replace(at).filter(|_| self.skipped >= SKIPS);
        let is_fresh = self.at == Some(at) || before.is_some_and(|before| self.at >= Some(before));
        self.skipped = if is_fresh { 0 } else { self.skipped.saturating_add(1) };
        is_fresh
    }

    /// The same where groups are polled; `is_new`: a poll was read since the last survey that this said was fresh.
    pub fn polled(&mut self, at: WallTime, is_new: bool) -> bool {
        self.first.get_or_insert(at);
        if is_new {
            self.at = Some(at);
        }
        is_new
    }

    /// For how long the partition has not been read to where it ended; zero where that is usual.
    pub fn stalled(&self, now: WallTime) -> Span {
        let usual = Span::micros(self.every.as_micros().saturating_mul(3)).max(Span::seconds(5));
        let since = self.at.or(self.first).map_or(Span::ZERO, |since| now.since(since));
        if since > usual { since } else { Span::ZERO }
    }

    /// Whether there was nothing to show yet, and soon will be.
    pub fn is_behind(&self, now: WallTime) -> bool {
        let since = self.first.map_or(Span::ZERO, |first| now.since(first));
        self.at.is_none() && since < HURRY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> WallTime {
        WallTime(seconds * 1_000_000)
    }

    fn fresh() -> Fresh {
        Fresh::new(Span::seconds(10))
    }

    #[test]
    fn what_was_read_to_its_end_is_fresh() {
        let mut fresh = fresh();
        assert!(fresh.is_behind(at(0)));
        assert!(!fresh.surveyed(at(10), Some(5), 4));
        assert!(fresh.surveyed(at(20), Some(7), 7));
        assert!(!fresh.is_behind(at(20)));
    }

    #[test]
    fn behind_a_transaction_that_stays_open_nothing_is_fresh() {
        let mut fresh = fresh();
        assert!(fresh.surveyed(at(0), Some(5), 5));
        for round in 1..20 {
            assert!(!fresh.surveyed(at(10 * round), Some(5 + round), 5), "{round}");
        }
        assert_eq!(fresh.stalled(at(190)), Span::seconds(190));
        assert!(fresh.surveyed(at(200), Some(30), 30));
        assert_eq!(fresh.stalled(at(200)), Span::ZERO);
    }

    #[test]
    fn a_partition_with_short_transactions_is_fresh_every_third_time() {
        let mut fresh = fresh();
        let shown = (0..9).map(|round| fresh.surveyed(at(10 * round), Some(10 * round + 1), 10 * round));
        assert_eq!(
            shown.collect::<Vec<_>>(),
            [false, false, true, false, false, true, false, false, true]
        );
        assert_eq!(fresh.stalled(at(80)), Span::ZERO);
    }

    #[test]
    fn after_a_long_wait_what_was_asked_then_counts_as_read_at_once() {
        let mut fresh = fresh();
        for round in 0..500 {
            fresh.surveyed(at(10 * round), Some(round + 1), 0);
        }
        assert!(fresh.surveyed(at(5_000), Some(501), 501));
    }
}
