//! What a group consumed of one topic: records, bytes, and how old they were when it committed.
//!
//! Rule: a commit that goes on from the one before covers the offsets between them. On a tapped topic the offset index
//! tells what is in them, so that control records, aborted ones and gaps are none; until it does they wait. On other topics
//! offsets count as records, and bytes and ages are not known.
//!
//! Edges:
//! - what is older than the index counts as many records as offsets, without bytes and ages;
//! - at most [`MOST`] commits of a partition wait apart. Beyond it neighbours are taken together with the time of the later
//!   one, and where there are none the oldest is counted by its offsets.

use super::index::{Answer, PartitionIndex};
use crate::engine::gauge::{Counter, HEARTBEAT, Point, STEP};
use crate::engine::plan::Kind;
use crate::engine::sketch::{PROMETHEUS_BOUNDS, Partial};
use crate::engine::time::WallTime;

/// Commits of one partition that wait for the index, each with a time of its own.
pub const MOST: usize = 16;

/// What a group consumed of one topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Consumed {
    pub records: Counter,
    /// Of tapped topics.
    pub tapped: Option<Box<Tapped>>,
}

/// What only the index tells.
#[derive(Clone, Debug, PartialEq)]
pub struct Tapped {
    pub bytes: Counter,
    pub latency: Latency,
}

/// A histogram of seconds, kept in millionths.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency {
    pub start: WallTime,
    pub total: Partial,
    /// Time of the newest point.
    pub last: Option<WallTime>,
    /// How many the newest point had.
    pub shown: Option<u64>,
}

/// Offsets that commits covered and of which the index has not told yet, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting(pub Vec<Covered>);

/// Offsets that one commit covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    pub from: i64,
    pub to: i64,
    /// When it was committed.
    pub at: WallTime,
}

/// The histogram's kind.
pub fn latency_kind() -> Kind {
    Kind::Explicit {
        bounds: PROMETHEUS_BOUNDS.to_vec(),
    }
}

// === impl Consumed ===

impl Consumed {
    pub fn new(now: WallTime) -> Self {
        Self {
            records: Counter::new(0, now),
            tapped: None,
        }
    }

    /// Offsets of which nothing more will be known.
    pub fn count(&mut self, offsets: i64, now: WallTime) {
        self.records.set(self.records.value.saturating_add(offsets), now);
    }

    /// Counts what the index tells by now; `true` where it told anything. The rest waits on.
    pub fn resolve(
        &mut self,
        waiting: &mut Waiting,
        index: Option<&PartitionIndex>,
        kind: &Kind,
        now: WallTime,
    ) -> bool {
        let mut told = 0;
        let mut rest = Vec::new();
        for covered in &waiting.0 {
            let Some(index) = index else { break };
            // What of it is known already is counted already.
            let to = covered.to.min(index.end().unwrap_or(covered.from));
            if to <= covered.from {
                break;
            }
            let known = Covered { to, ..*covered };
            match index.covered(known.from, known.to) {
                Answer::Known(answer) => {
                    let records = i64::try_from(answer.records).unwrap_or(i64::MAX);
                    self.count(records, now);
                    let start = self.records.start;
                    let tapped = self.tapped.get_or_insert_with(|| Box::new(Tapped::new(start, kind)));
                    let bytes = i64::try_from(answer.bytes).unwrap_or(i64::MAX);
                    tapped.bytes.set(tapped.bytes.value.saturating_add(bytes), now);
                    answer.latencies(known.at, &mut |latency, records| {
                        tapped.latency.total.observe_many(latency.as_micros(), records, kind);
                    });
                }
                Answer::Below => self.count(known.to - known.from, now),
                Answer::Beyond => break,
            }
            told += 1;
            if to < covered.to {
                rest.push(Covered { from: to, ..*covered });
                break;
            }
        }
        waiting.0.splice(..told, rest);
        told > 0
    }
}

// === impl Tapped ===

impl Tapped {
    pub fn new(start: WallTime, kind: &Kind) -> Self {
        Self {
            bytes: Counter::new(0, start),
            latency: Latency {
                start,
                total: Partial::empty(kind),
                last: None,
                shown: None,
            },
        }
    }
}

// === impl Latency ===

impl Latency {
    fn count(&self) -> u64 {
        match &self.total {
            Partial::Histogram(histogram) => histogram.count(),
            Partial::Count(_) | Partial::Sum(_) => 0,
        }
    }

    /// The points to show now, if any are due.
    pub fn show(&mut self, now: WallTime, kind: &Kind, points: &mut Vec<Point>) -> bool {
        let changed = self.shown != Some(self.count());
        let quiet_for_long = self.last.is_some_and(|last| last.ahead(HEARTBEAT) <= now);
        let may_follow = |earlier: WallTime| earlier.ahead(STEP) <= now;
        if !(changed || quiet_for_long) || !self.last.is_none_or(may_follow) || !may_follow(self.start) {
            return false;
        }
        let mut point = |time: WallTime, value: Option<Partial>| {
            points.push(Point {
                start: self.start.as_event(),
                time: time.as_event(),
                value,
            });
        };
        if self.shown.is_none() {
            point(self.start, Some(Partial::empty(kind)));
        }
        point(now, Some(self.total.clone()));
        self.last = Some(now);
        self.shown = Some(self.count());
        true
    }

    /// The newest point again; `None` before the first. What was counted since is in it, too.
    pub fn newest(&self) -> Option<Point> {
        Some(Point {
            start: self.start.as_event(),
            time: self.last?.as_event(),
            value: Some(self.total.clone()),
        })
    }

    /// The point that says there is no more; none where there never was one.
    pub fn end(&self, now: WallTime) -> Option<Point> {
        let last = self.last.filter(|last| *last < now);
        last.map(|_| Point {
            start: self.start.as_event(),
            time: now.as_event(),
            value: None,
        })
    }
}

// === impl Waiting ===

impl Waiting {
    /// A commit covered these offsets; returns offsets that cannot wait any more.
    pub fn add(&mut self, covered: Covered) -> i64 {
        self.0.push(covered);
        if self.0.len() <= MOST {
            return 0;
        }
        let follows = |pair: &[Covered]| pair[0].to == pair[1].from;
        // The two that are the least in time apart, so that ages stay as exact as they can be.
        let apart = |at: &usize| self.0[*at + 1].at.since(self.0[*at].at);
        let pairs = self.0.windows(2).enumerate().filter(|(_, pair)| follows(pair));
        match pairs.map(|(at, _)| at).min_by_key(apart) {
            Some(at) => {
                let later = self.0.remove(at + 1);
                (self.0[at].to, self.0[at].at) = (later.to, later.at);
                0
            }
            None => {
                let oldest = self.0.remove(0);
                oldest.to - oldest.from
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covered(from: i64, to: i64, at: i64) -> Covered {
        Covered {
            from,
            to,
            at: WallTime(at),
        }
    }

    #[test]
    fn beyond_the_most_those_that_are_least_apart_become_one() {
        let mut waiting = Waiting::default();
        for number in 0..16 {
            assert_eq!(waiting.add(covered(number, number + 1, number * 100)), 0);
        }
        assert_eq!(waiting.add(covered(16, 17, 1_501)), 0);
        assert_eq!(waiting.0.len(), MOST);
        assert_eq!(waiting.0[15], covered(15, 17, 1_501));
        assert_eq!(waiting.0[0], covered(0, 1, 0));
    }

    #[test]
    fn what_cannot_be_taken_together_is_counted_by_its_offsets() {
        let mut waiting = Waiting::default();
        for number in 0..16 {
            waiting.add(covered(number * 10, number * 10 + 3, number));
        }
        assert_eq!(waiting.add(covered(500, 501, 99)), 3);
        assert_eq!(waiting.0[0], covered(10, 13, 1));
    }
}
