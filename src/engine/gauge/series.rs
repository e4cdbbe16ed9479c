//! One series: its start, its cumulative value, the windows that are still open.
//!
//! Rule: closing a window adds it to the cumulative value and makes one point at the window's end. The first point of a
//! counter follows a zero point at its start, so that `rate()` sees the first increment.
//!
//! Edges:
//! - a window that ends too long ago for receivers to take is dated to the oldest end they take ([`Closing::oldest`]);
//!   several such windows become one point;
//! - a window that would make a point no later than the last one adds to the next point instead; Prometheus keeps
//!   milliseconds, so points of one series are at least one apart ([`is_after`]);
//! - what came late adds to the value at once and is shown by the next point, at the watermark if need be;
//! - a series without news repeats its value at least every [`HEARTBEAT`] of event time;
//! - an exemplar is shown once, by the first point that holds its value;
//! - a series that ends first shows what it still holds, also in windows that are open and if it was never shown before.

use std::collections::BTreeMap;

use crate::engine::sketch::{Exemplar, Partial};
use crate::engine::time::{EventTime, Span, Watermark};
use crate::engine::window::{WindowEnd, WindowSize};

/// Prometheus forgets a series after five minutes without a sample.
pub const HEARTBEAT: Span = Span::seconds(60);

/// The least distance between two points of one series.
pub const STEP: Span = Span::millis(1);

/// Whether receivers can tell a point at `time` from one at `last`, and it is the later one.
pub fn is_after(time: EventTime, last: EventTime) -> bool {
    time.0.div_euclid(STEP.as_micros()) > last.0.div_euclid(STEP.as_micros())
}

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
    /// The exemplar that was shown last; not kept over a restart.
    exemplar: Option<Box<Exemplar>>,
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
            exemplar: None,
        }
    }

    /// The newest point again, with the exemplar that was shown last; `None` before the first.
    ///
    /// What came late since then is in it, too: right after a seal there is no such thing, but where two points would be
    /// less than [`STEP`] apart.
    pub fn newest(&self) -> Option<Point> {
        let (start, time) = (self.start?, self.last?);
        let mut value = self.total.clone();
        if let Some(exemplar) = self.exemplar.as_deref() {
            value.exemplify(*exemplar);
        }
        Some(Point {
            start,
            time,
            value: Some(value),
        })
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

    /// Ends the series: shows what it still holds, no earlier than `oldest`, then a point without a value. A series that
    /// never held anything just vanishes.
    ///
    /// The points come right after the last one. Those of a series that was never shown come at the end of its first
    /// window, or `now` where that is still open: receivers refuse what lies in the future.
    pub fn end(&mut self, oldest: EventTime, now: EventTime, floor: Option<EventTime>, points: &mut Vec<Point>) {
        let first = self.open.keys().next().map(|end| end.0);
        for partial in std::mem::take(&mut self.open).values() {
            merge(&mut self.total, partial);
            self.unshown = true;
        }
        let (start, mut last) = match (self.start, self.last) {
            (Some(start), Some(last)) => (start, last),
            _ if self.unshown => {
                let start = first.unwrap_or(now).min(now).back(STEP).back(STEP).max(oldest);
                let start = floor.map_or(start, |floor| start.max(floor.ahead(STEP)));
                points.push(Point {
                    start,
                    time: start,
                    value: Some(self.zero.clone()),
                });
                (start, start)
            }
            _ => return,
        };
        if self.unshown {
            last = last.ahead(STEP).max(oldest);
            points.push(Point {
                start,
                time: last,
                value: Some(self.total.clone()),
            });
        }
        points.push(Point {
            start,
            time: last.ahead(STEP),
            value: None,
        });
    }

    /// A point at `time`, unless the last one is not before it.
    fn show(&mut self, time: EventTime, closing: Closing, points: &mut Vec<Point>) {
        if self.last.is_some_and(|last| !is_after(time, last)) {
            return;
        }
        let start = match self.start {
            Some(start) => start,
            None => {
                let start = time.back(closing.size.span());
                let start = closing.floor.map_or(start, |floor| start.max(floor.ahead(STEP)));
                if !is_after(time, start) {
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
        if let Some(exemplar) = self.total.take_exemplar() {
            self.exemplar = Some(exemplar);
        }
        self.last = Some(time);
        self.unshown = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::plan::Kind;
    use crate::engine::sketch::Exemplar;

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
    fn an_exemplar_is_shown_once() {
        let kind = Kind::Exponential { max_buckets: 160 };
        let mut series = Series::new(Partial::empty(&kind));
        let exemplar = |value| Exemplar {
            value,
            time: EventTime(15 * SECOND),
            trace: 1,
            span: 2,
        };
        for value in [3, 7, 5] {
            let mut partial = Partial::empty(&kind);
            partial.observe(value, &kind);
            partial.exemplify(exemplar(value));
            series.add(end(20), partial);
        }
        let mut points = Vec::new();
        series.close(closing(20), &mut points);
        series.close(closing(90), &mut points);
        let shown: Vec<Option<Exemplar>> = points
            .iter()
            .map(|point| match &point.value {
                Some(Partial::Histogram(histogram)) => histogram.exemplar(),
                other => panic!("a histogram, not {other:?}"),
            })
            .collect();
        assert_eq!(shown, [None, Some(exemplar(7)), None]);
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
        assert_eq!(points[0].start, EventTime(15 * SECOND + 1_000));
        assert_eq!(points[0].time, points[0].start);
    }

    #[test]
    fn points_are_at_least_a_millisecond_apart() {
        let mut series = counter();
        series.add(end(20), Partial::Count(3));
        let mut points = Vec::new();
        series.close(closing(20), &mut points);
        series.add_late(&Partial::Count(2));
        points.clear();
        let soon = |micros: i64| Closing {
            watermark: Watermark(EventTime(20 * SECOND + micros)),
            ..closing(20)
        };
        series.close(soon(999), &mut points);
        assert!(points.is_empty() && series.unshown);
        series.close(soon(1_000), &mut points);
        assert_eq!(points.len(), 1);
    }

    /// Times in milliseconds, and what the points say; `None` is the end.
    fn ended(mut series: Series, oldest: i64, now: i64, floor: Option<i64>) -> Vec<(i64, Option<Partial>)> {
        let at = |seconds: i64| EventTime(seconds * SECOND);
        let mut points = Vec::new();
        series.end(at(oldest), at(now), floor.map(at), &mut points);
        points
            .into_iter()
            .map(|point| (point.time.0 / 1_000, point.value))
            .collect()
    }

    #[test]
    fn the_end_of_a_series_comes_after_its_last_point() {
        let mut series = counter();
        assert_eq!(ended(series.clone(), 0, 20, None), []);
        series.add(end(20), Partial::Count(1));
        series.close(closing(20), &mut Vec::new());
        assert_eq!(ended(series, 0, 20, None), [(20_001, None)]);
    }

    #[test]
    fn a_series_that_ends_first_shows_what_its_open_windows_hold() {
        let mut series = counter();
        series.add(end(20), Partial::Count(1));
        series.close(closing(20), &mut Vec::new());
        series.add(end(30), Partial::Count(2));
        series.add(end(40), Partial::Count(4));
        let count = |count| Some(Partial::Count(count));
        assert_eq!(ended(series.clone(), 0, 50, None), [(20_001, count(7)), (20_002, None)]);
        assert_eq!(ended(series, 500, 900, None), [(500_000, count(7)), (500_001, None)]);
    }

    #[test]
    fn a_series_that_ends_before_it_was_ever_shown_is_shown_once() {
        let mut series = counter();
        series.add(end(30), Partial::Count(2));
        let count = |count| Some(Partial::Count(count));
        assert_eq!(
            ended(series.clone(), 0, 900, None),
            [(29_998, count(0)), (29_999, count(2)), (30_000, None)]
        );
        assert_eq!(
            ended(series.clone(), 0, 25, None),
            [(24_998, count(0)), (24_999, count(2)), (25_000, None)]
        );
        assert_eq!(
            ended(series, 0, 25, Some(26)),
            [(26_001, count(0)), (26_002, count(2)), (26_003, None)]
        );
    }
}
