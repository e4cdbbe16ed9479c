//! Counters that one task elsewhere keeps (the ledger's outcomes) and that this partition publishes.
//!
//! Rule: the newest sample is the value; its points carry wall time and bypass windows. A value that falls (a new ledger
//! epoch) is a new life of the counter, with a new start.
//!
//! Edges: a counter is shown when it changed and at least every [`super::series::HEARTBEAT`], counted by the wall.

use super::series::{HEARTBEAT, Point};
use crate::engine::sketch::Partial;
use crate::engine::time::{Span, WallTime};

/// The newest value of one counter.
#[derive(Clone, Debug, PartialEq)]
pub struct Counter {
    pub start: WallTime,
    pub value: i64,
    /// Time of the newest point.
    pub last: Option<WallTime>,
    /// The value that the newest point had.
    pub shown: Option<i64>,
    /// The changelog does not have this state yet.
    pub unsaved: bool,
}

impl Counter {
    /// A counter first heard of at `at`.
    pub fn new(value: i64, at: WallTime) -> Self {
        Self {
            start: at,
            value,
            last: None,
            shown: None,
            unsaved: true,
        }
    }

    /// Takes a newer value.
    pub fn set(&mut self, value: i64, at: WallTime) {
        if value < self.value {
            let start = self.last.map_or(at, |last| at.max(last.ahead(Span::micros(1))));
            *self = Self {
                last: self.last,
                ..Self::new(value, start)
            };
        }
        self.unsaved |= value != self.value;
        self.value = value;
    }

    /// The points to show now, if any are due.
    pub fn show(&mut self, now: WallTime, points: &mut Vec<Point>) -> bool {
        let changed = self.shown != Some(self.value);
        let quiet_for_long = self.last.is_some_and(|last| last.ahead(HEARTBEAT) <= now);
        if !(changed || quiet_for_long) || self.last.is_some_and(|last| last >= now) || self.start >= now {
            return false;
        }
        if self.shown.is_none() {
            points.push(point(self.start, self.start, 0));
        }
        points.push(point(self.start, now, self.value));
        self.last = Some(now);
        self.shown = Some(self.value);
        true
    }
}

fn point(start: WallTime, time: WallTime, value: i64) -> Point {
    Point {
        start: start.as_event(),
        time: time.as_event(),
        value: Some(Partial::Count(u64::try_from(value).unwrap_or(0))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(points: &[Point]) -> Vec<(i64, i64, Option<Partial>)> {
        points
            .iter()
            .map(|point| (point.start.0, point.time.0, point.value.clone()))
            .collect()
    }

    #[test]
    fn a_counter_is_shown_when_it_changed_and_once_a_minute() {
        let mut counter = Counter::new(5, WallTime(10));
        let mut points = Vec::new();
        assert!(counter.show(WallTime(20), &mut points));
        assert_eq!(
            values(&points),
            [(10, 10, Some(Partial::Count(0))), (10, 20, Some(Partial::Count(5)))]
        );
        assert!(!counter.show(WallTime(30), &mut points));
        assert!(counter.show(WallTime(20 + 60_000_000), &mut points));
    }

    #[test]
    fn a_value_that_falls_starts_a_new_life_after_the_last_point() {
        let mut counter = Counter::new(5, WallTime(10));
        let mut points = Vec::new();
        counter.show(WallTime(20), &mut points);
        counter.set(2, WallTime(15));
        points.clear();
        assert!(counter.show(WallTime(40), &mut points));
        assert_eq!(
            values(&points),
            [(21, 21, Some(Partial::Count(0))), (21, 40, Some(Partial::Count(2)))]
        );
    }
}
