//! One series: its start, its cumulative value, the windows that are still open.
//!
//! Rule: closing a window adds it to the cumulative value and makes one point at the window's end. The first point of a
//! counter follows a zero point at its start, so that `rate()` sees the first increment.
//!
//! Edges:
//! - a window that ends too long ago for receivers to take is dated to the oldest end they take ([`Closing::oldest`]);
//!   several such windows become one point;
//! - a window that would make a point no later than the last one adds to the next point instead;
//! - what came late adds to the value at once and is shown by the next point, at the watermark if need be;
//! - a series without news repeats its value at least every [`HEARTBEAT`] of event time.

use std::collections::BTreeMap;

use crate::engine::sketch::Partial;
use crate::engine::time::{EventTime, Span, Watermark};
use crate::engine::window::{WindowEnd, WindowSize};

/// Prometheus forgets a series after five minutes without a sample.
pub const HEARTBEAT: Span = Span::seconds(60);

/// The owner's copy of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Fixed by the first window that closes; `None` until then.
    pub start: Option<EventTime>,
    /// Nothing, in the shape of this metric: the value of the point at the start.
    zero: Partial,
    /// Everything that closed windows and late partials added up to.
    pub total: Partial,
    /// Windows that are still open, with what they hold.
    pub open: BTreeMap<WindowEnd, Partial>,
    /// Time of the newest point; points after it are strictly later.
    pub last: Option<EventTime>,
    /// `total` holds something that no point has shown yet.
    pub unshown: bool,
}

/// One cumulative point of a series.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub start: EventTime,
    pub time: EventTime,
    /// `None`: the series ends here (OTLP's no-recorded-value flag).
    pub value: Option<Partial>,
}

/// The circumstances of one seal, the same for all series of a metric.
#[derive(Clone, Copy, Debug)]
pub struct Closing {
    pub watermark: Watermark,
    /// The oldest end that a point may carry, a multiple of the window.
    pub oldest: WindowEnd,
    pub size: WindowSize,
    /// Points of an earlier definition of this metric reach up to here; a new series starts after it.
    pub floor: Option<EventTime>,
}

/// Adds `more` to `to`. A series only ever meets partials of its own kind: `Partial::from_codec` refuses others.
pub fn merge(to: &mut Partial, more: &Partial) {
    let merged = to.merge(more);
    debug_assert!(merged.is_ok(), "a series holds one kind of value");
}

// === impl Series ===

impl Series {
    pub fn new(empty: Partial) -> Self {
        Self {
            start: None,
            zero: empty.clone(),
            total: empty,
            open: BTreeMap::new(),
            last: None,
            unshown: false,
        }
    }

    /// Adds a partial of an open window. Returns whether the window is new to this series.
    pub fn add(&mut self, end: WindowEnd, partial: Partial) -> bool {
        match self.open.get_mut(&end) {
            Some(held) => {
                merge(held, &partial);
                false
            }
            None => {
                self.open.insert(end, partial);
                true
            }
        }
    }

    /// Adds what came after its window had closed.
    pub fn add_late(&mut self, partial: &Partial) {
        merge(&mut self.total, partial);
        self.unshown = true;
    }

    /// Closes every window that the watermark has passed and appends the points that this makes to `points`. Returns
    /// whether the series changed.
    pub fn close(&mut self, closing: Closing, points: &mut Vec<Point>) -> bool {
        let before = points.len();
        let mut moved = false;
        while let Some(entry) = self.open.first_entry() {
            let end = *entry.key();
            if !end.is_closed_by(closing.watermark) {
                break;
            }
            let partial = entry.remove();
            moved = true;
            merge(&mut self.total, &partial);
            self.unshown = true;
            let shown_at = end.max(closing.oldest).0;
            let more_for_this_point =
                self.open.keys().next().is_some_and(|next| {
                    next.is_closed_by(closing.watermark) && next.max(&closing.oldest).0 == shown_at
                });
            if !more_for_this_point {
                self.show(shown_at, closing, points);
            }
        }
        if self.unshown
            || self
                .last
                .is_some_and(|last| last.ahead(HEARTBEAT) <= closing.watermark.0)
        {
            self.show(closing.watermark.0.max(closing.oldest.0), closing, points);
        }
        moved || points.len() > before
    }

    /// Ends the series: a point without a value, after everything that was shown. A series never shown just vanishes.
    pub fn end(&self, at: EventTime) -> Option<Point> {
        let (start, last) = (self.start?, self.last?);
        Some(Point {
            start,
            time: at.max(EventTime(last.0 + 1)),
            value: None,
        })
    }

    /// A point at `time`, unless the last one is not before it.
    fn show(&mut self, time: EventTime, closing: Closing, points: &mut Vec<Point>) {
        if self.last.is_some_and(|last| last >= time) {
            return;
        }
        let start = match self.start {
            Some(start) => start,
            None => {
                let start = time.back(closing.size.span());
                let start = closing.floor.map_or(start, |floor| start.max(EventTime(floor.0 + 1)));
                if start >= time {
                    return;
                }
                self.start = Some(start);
                points.push(Point {
                    start,
                    time: start,
                    value: Some(self.zero.clone()),
                });
                start
            }
        };
        points.push(Point {
            start,
            time,
            value: Some(self.total.clone()),
        });
        self.last = Some(time);
        self.unshown = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    fn size() -> WindowSize {
        WindowSize::DEFAULT
    }

    fn end(seconds: i64) -> WindowEnd {
        WindowEnd(EventTime(seconds * SECOND))
    }

    fn closing(watermark: i64) -> Closing {
        Closing {
            watermark: Watermark(EventTime(watermark * SECOND)),
            oldest: end(-1_000_000),
            size: size(),
            floor: None,
        }
    }

    fn counter() -> Series {
        Series::new(Partial::Count(0))
    }

    fn shown(points: &[Point]) -> Vec<(i64, u64)> {
        points
            .iter()
            .map(|point| match &point.value {
                Some(Partial::Count(count)) => (point.time.0 / SECOND, *count),
                other => panic!("a counter shows counts, not {other:?}"),
            })
            .collect()
    }

    #[test]
    fn the_first_point_follows_a_zero_at_the_start() {
        let mut series = counter();
        series.add(end(20), Partial::Count(3));
        let mut points = Vec::new();
        series.close(closing(20), &mut points);
        assert_eq!(shown(&points), [(10, 0), (20, 3)]);
        assert!(points.iter().all(|point| point.start == EventTime(10 * SECOND)));
    }

    #[test]
    fn each_closed_window_makes_one_cumulative_point_at_its_end() {
        let mut series = counter();
        for (at, count) in [(20, 3), (30, 1), (40, 2)] {
            series.add(end(at), Partial::Count(count));
        }
        let mut points = Vec::new();
        series.close(closing(35), &mut points);
        assert_eq!(shown(&points), [(10, 0), (20, 3), (30, 4)]);
        points.clear();
        series.close(closing(41), &mut points);
        assert_eq!(shown(&points), [(40, 6)]);
    }

    #[test]
    fn late_record_goes_into_the_next_point() {
        let mut series = counter();
        series.add(end(20), Partial::Count(3));
        let mut points = Vec::new();
        series.close(closing(25), &mut points);
        series.add_late(&Partial::Count(2));
        points.clear();
        series.close(closing(26), &mut points);
        assert_eq!(shown(&points), [(26, 5)]);
    }

    #[test]
    fn a_late_record_waits_for_a_time_that_is_later_than_the_last_point() {
        let mut series = counter();
        series.add(end(20), Partial::Count(3));
        let mut points = Vec::new();
        series.close(closing(20), &mut points);
        series.add_late(&Partial::Count(2));
        points.clear();
        series.close(closing(20), &mut points);
        assert!(points.is_empty() && series.unshown);
        series.close(closing(21), &mut points);
        assert_eq!(shown(&points), [(21, 5)]);
    }

    #[test]
    fn a_series_without_news_repeats_itself_every_minute_of_event_time() {
        let mut series = counter();
        series.add(end(20), Partial::Count(3));
        let mut points = Vec::new();
        series.close(closing(20), &mut points);
        points.clear();
        series.close(closing(79), &mut points);
        assert!(points.is_empty());
        series.close(closing(80), &mut points);
        assert_eq!(shown(&points), [(80, 3)]);
    }

    #[test]
    fn windows_too_old_for_receivers_become_one_point_at_the_oldest_end_they_take() {
        let mut series = counter();
        for at in [20, 30, 40] {
            series.add(end(at), Partial::Count(1));
        }
        let mut points = Vec::new();
        series.close(
            Closing {
                oldest: end(1_000),
                ..closing(40)
            },
            &mut points,
        );
        assert_eq!(shown(&points), [(990, 0), (1_000, 3)]);
    }

    #[test]
    fn a_window_that_closes_behind_the_last_point_adds_to_the_next_one() {
        let mut series = counter();
        series.add(end(20), Partial::Count(1));
        series.add(end(500), Partial::Count(1));
        let mut points = Vec::new();
        series.close(
            Closing {
                oldest: end(1_000),
                ..closing(40)
            },
            &mut points,
        );
        series.close(closing(600), &mut points);
        assert_eq!(shown(&points), [(990, 0), (1_000, 1)]);
        assert!(series.unshown);
        series.close(closing(1_001), &mut points);
        assert_eq!(shown(&points)[2..], [(1_001, 2)]);
    }

    #[test]
    fn a_new_definition_starts_after_the_points_of_the_old_one() {
        let mut series = counter();
        series.add(end(20), Partial::Count(1));
        let floor = Some(EventTime(15 * SECOND));
        let mut points = Vec::new();
        series.close(Closing { floor, ..closing(20) }, &mut points);
        assert_eq!(points[0].start, EventTime(15 * SECOND + 1));
        assert_eq!(points[0].time, points[0].start);
    }

    #[test]
    fn the_end_of_a_series_comes_after_its_last_point() {
        let mut series = counter();
        assert_eq!(series.end(EventTime(5)), None);
        series.add(end(20), Partial::Count(1));
        series.close(closing(20), &mut Vec::new());
        let last = series.end(EventTime(0)).expect("it was shown");
        assert_eq!((last.time.0, last.value), (20 * SECOND + 1, None));
    }
}
