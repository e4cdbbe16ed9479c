//! Counters that one task elsewhere keeps (the ledger's outcomes) and that this partition publishes.
//!
//! Rule: the newest sample is the value; its points carry wall time and bypass windows. A value that falls (a new ledger
//! epoch) is a new life of the counter, with a new start.
//!
//! Edges: a counter is shown when it changed and at least every [`super::series::HEARTBEAT`], counted by the wall.

use super::series::{HEARTBEAT, Point, STEP, is_after};
use crate::engine::sketch::Partial;
use crate::engine::time::WallTime;

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
            let start = self.last.map_or(at, |last| at.max(last.ahead(STEP)));
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
        let may_follow = |earlier: WallTime| is_after(now.as_event(), earlier.as_event());
        if !(changed || quiet_for_long) || !self.last.is_none_or(may_follow) || !may_follow(self.start) {
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

    /// The newest point again; `None` before the first.
    pub fn newest(&self) -> Option<Point> {
        Some(point(self.start, self.last?, self.shown.unwrap_or(self.value)))
    }

    /// The point that says there is no more; none where there never was one, or `now` is no later.
    pub fn end(&self, now: WallTime) -> Option<Point> {
        let last = self.last.filter(|last| is_after(now.as_event(), last.as_event()));
        last.map(|_| Point {
            value: None,
            ..point(self.start, now, 0)
        })
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
    use crate::engine::time::EventTime;

    const MILLI: i64 = 1_000;

    fn at(millis: i64) -> WallTime {
        WallTime(millis * MILLI)
    }

    /// Start and time in milliseconds, and the value.
    fn values(points: &[Point]) -> Vec<(i64, i64, Option<Partial>)> {
        let millis = |time: EventTime| time.0 / MILLI;
        points
            .iter()
            .map(|point| (millis(point.start), millis(point.time), point.value.clone()))
            .collect()
    }

    #[test]
    fn a_counter_is_shown_when_it_changed_and_once_a_minute() {
        let mut counter = Counter::new(5, at(10));
        let mut points = Vec::new();
        assert!(counter.show(at(20), &mut points));
        assert_eq!(
            values(&points),
            [(10, 10, Some(Partial::Count(0))), (10, 20, Some(Partial::Count(5)))]
        );
        assert!(!counter.show(at(30), &mut points));
        assert!(counter.show(at(20 + 60_000), &mut points));
    }

    #[test]
    fn points_are_at_least_a_millisecond_apart() {
        let mut counter = Counter::new(5, at(10));
        let mut points = Vec::new();
        assert!(!counter.show(WallTime(10 * MILLI + 999), &mut points));
        assert!(counter.show(at(11), &mut points));
        counter.set(6, at(11));
        assert!(!counter.show(WallTime(11 * MILLI + 999), &mut points));
        assert!(counter.show(at(12), &mut points));
    }

    #[test]
    fn a_value_that_falls_starts_a_new_life_after_the_last_point() {
        let mut counter = Counter::new(5, at(10));
        let mut points = Vec::new();
        counter.show(at(20), &mut points);
        counter.set(2, at(15));
        points.clear();
        assert!(counter.show(at(40), &mut points));
        assert_eq!(
            values(&points),
            [(21, 21, Some(Partial::Count(0))), (21, 40, Some(Partial::Count(2)))]
        );
    }

    #[test]
    fn the_end_says_so_after_the_last_point() {
        let mut counter = Counter::new(5, at(10));
        assert_eq!(counter.end(at(20)), None);
        counter.show(at(20), &mut Vec::new());
        assert_eq!(counter.end(at(20)), None);
        assert_eq!(values(counter.end(at(21)).as_slice()), [(10, 21, None)]);
    }
}
