//! How counters and histograms went in the last minutes.
//!
//! Rule: a rate is the growth between two points over the time between them, both of them the pipeline's: it is as true for
//! a backlog that is read in seconds as for what happens now. Memory is bounded: [`SERIES`] counters of [`POINTS`] points,
//! [`HISTOGRAMS`] histograms of [`SNAPSHOTS`].
//!
//! Edges:
//! - points that come closer than a trail's step take the place of the last one; the step grows until [`SPAN`] fits;
//! - a value that falls begins the trail anew: the series came here from elsewhere;
//! - a series that is not there any more takes its trail with it.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::spread::Spread;
use crate::http::metrics::family::{Families, Histogram, Kind, Series, Value};

/// What a trail goes back, in nanoseconds of the points' time.
pub const SPAN: u64 = Duration::from_secs(600).as_nanos() as u64;
const POINTS: usize = 120;
const FIRST_STEP: u64 = Duration::from_secs(1).as_nanos() as u64;

/// Counters that have trails, first come first served.
const SERIES: usize = 1_000;

const SNAPSHOTS: u64 = 20;
const HISTOGRAMS: usize = 200;

/// See the module.
#[derive(Default)]
pub struct Trails {
    counters: HashMap<String, Trail<f64>>,
    histograms: HashMap<String, Trail<Spread>>,
    looks: u64,
}

/// One series, oldest point first; times in nanoseconds since the epoch.
struct Trail<V> {
    points: VecDeque<(u64, V)>,
    step: u64,
    /// The look that found it last.
    seen: u64,
}

// === impl Trails ===

impl Trails {
    /// Takes in what is there now.
    pub fn look(&mut self, families: &Families) {
        self.looks += 1;
        for (name, family) in &families.0 {
            for series in &family.series {
                match (&series.value, family.kind) {
                    (Value::Number(value), Kind::Counter) => {
                        let trail = place(&mut self.counters, key(name, series), SERIES, FIRST_STEP);
                        if let Some(trail) = trail {
                            trail.take(series.time, *value, self.looks, |value, last| value < last);
                            trail.thin();
                        }
                    }
                    (Value::Histogram(histogram), _) => {
                        let step = SPAN / SNAPSHOTS;
                        if let Some(trail) = place(&mut self.histograms, key(name, series), HISTOGRAMS, step) {
                            let fell = |value: &Spread, last: &Spread| value.count < last.count;
                            trail.take(series.time, Spread::of(histogram), self.looks, fell);
                            trail.forget();
                        }
                    }
                    (Value::Number(_), _) => {}
                }
            }
        }
        let looks = self.looks;
        self.counters.retain(|_, trail| trail.seen == looks);
        self.histograms.retain(|_, trail| trail.seen == looks);
    }

    /// The series' growth a second at points in time (seconds since the epoch); none before its second point.
    pub fn rates(&self, name: &str, series: &Series) -> Vec<(f64, f64)> {
        let Some(trail) = self.counters.get(&key(name, series)) else {
            return Vec::new();
        };
        trail.rates()
    }

    /// What came into a histogram in the last minutes.
    pub fn recent(&self, name: &str, series: &Series, now: &Histogram) -> Spread {
        let now = Spread::of(now);
        let trail = self.histograms.get(&key(name, series));
        match trail.and_then(|trail| trail.points.front()) {
            Some((_, before)) => now.since(before),
            None => now,
        }
    }
}

/// The trail of `key`, a new one while there is room.
fn place<V>(trails: &mut HashMap<String, Trail<V>>, key: String, most: usize, step: u64) -> Option<&mut Trail<V>> {
    if trails.len() >= most && !trails.contains_key(&key) {
        return None;
    }
    let trail = trails.entry(key).or_insert_with(|| Trail {
        points: VecDeque::new(),
        step,
        seen: 0,
    });
    Some(trail)
}

/// `name` and what no label can hold between the labels.
fn key(name: &str, series: &Series) -> String {
    let mut key = name.to_owned();
    for (name, value) in &series.labels {
        key.extend(["\u{0}", name, "\u{1}", value]);
    }
    key
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

// === impl Trail ===

impl<V> Trail<V> {
    fn take(&mut self, time: u64, value: V, look: u64, fell: impl Fn(&V, &V) -> bool) {
        self.seen = look;
        match self.points.back() {
            Some((last, _)) if time <= *last => return,
            Some((_, last)) if fell(&value, last) => self.points.clear(),
            _ => {}
        }
        let before = self.points.len().checked_sub(2).and_then(|at| self.points.get(at));
        if before.is_some_and(|(before, _)| time - before < self.step) {
            self.points.pop_back();
        }
        self.points.push_back((time, value));
    }

    /// See [`Trails::rates`]. What came after less than a step goes into the last one: of a moment no rate can be told.
    fn rates(&self) -> Vec<(f64, f64)>
    where
        V: Copy + Into<f64>,
    {
        let mut points: Vec<(u64, V)> = self.points.iter().copied().collect();
        if let [_, .., (before, _), (last, _)] = points[..]
            && last - before < self.step
        {
            points.remove(points.len() - 2);
        }
        let steps = points.iter().zip(points.iter().skip(1));
        let rate = |low: V, high: V, took| (high.into() - low.into()) / seconds(took);
        steps
            .map(|((before, low), (after, high))| (seconds(*after), rate(*low, *high, after - before)))
            .collect()
    }

    /// Drops what is older than [`SPAN`].
    fn forget(&mut self) {
        let newest = self.points.back().map_or(0, |(time, _)| *time);
        while self.points.len() > 2 && self.points.front().is_some_and(|(time, _)| newest - time > SPAN) {
            self.points.pop_front();
        }
    }

    /// As [`forget`](Self::forget), and no more than [`POINTS`].
    fn thin(&mut self) {
        self.forget();
        if self.points.len() > POINTS {
            self.step = (self.step * 2).min(SPAN / POINTS as u64);
            let mut at = self.points.len();
            self.points.retain(|_| {
                at -= 1;
                usize::is_multiple_of(at, 2)
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trail() -> Trail<f64> {
        Trail {
            points: VecDeque::new(),
            step: FIRST_STEP,
            seen: 0,
        }
    }

    fn take(trail: &mut Trail<f64>, seconds: f64, value: f64) {
        trail.take((seconds * 1e9) as u64, value, 1, |value, last| value < last);
        trail.thin();
    }

    #[test]
    fn points_closer_than_a_step_take_the_place_of_the_last() {
        let mut trail = trail();
        for (time, value) in [(10.0, 1.0), (10.5, 2.0), (10.9, 3.0), (11.5, 4.0), (11.5, 5.0)] {
            take(&mut trail, time, value);
        }
        let values: Vec<f64> = trail.points.iter().map(|(_, value)| *value).collect();
        assert_eq!(values, [1.0, 3.0, 4.0], "and a point that is not newer is none");
    }

    #[test]
    fn of_a_moment_no_rate_is_told() {
        let mut trail = trail();
        for (time, value) in [(10.0, 0.0), (12.0, 20.0), (14.0, 40.0), (14.1, 40.0)] {
            take(&mut trail, time, value);
        }
        let rates: Vec<f64> = trail.rates().into_iter().map(|(_, rate)| rate.round()).collect();
        assert_eq!(rates, [10.0, 10.0]);
    }

    #[test]
    fn a_value_that_falls_begins_anew() {
        let mut trail = trail();
        for (time, value) in [(10.0, 100.0), (20.0, 200.0), (30.0, 50.0)] {
            take(&mut trail, time, value);
        }
        assert_eq!(trail.points, [(30_000_000_000, 50.0)]);
    }

    proptest! {
        #[test]
        fn a_trail_is_short_keeps_its_ends_and_goes_back_as_far_as_it_says(
            gaps in proptest::collection::vec(0.1_f64..30.0, 1..600),
        ) {
            let mut trail = trail();
            let mut time = 1_000.0;
            for (value, gap) in gaps.iter().enumerate() {
                time += gap;
                take(&mut trail, time, value as f64);
            }
            let points: Vec<(f64, f64)> = trail.points.iter().map(|(time, value)| (seconds(*time), *value)).collect();
            prop_assert!(points.len() <= POINTS);
            prop_assert!(points.is_sorted());
            let (newest, value) = points[points.len() - 1];
            prop_assert!((newest - time).abs() < 1e-3);
            prop_assert_eq!(value, (gaps.len() - 1) as f64);
            let length: f64 = gaps.iter().sum();
            let span = newest - points[0].0;
            prop_assert!(points.len() <= 2 || span <= seconds(SPAN) + 1e-3);
            prop_assert!(span >= length.min(seconds(SPAN)) - 2.0 * 30.0 - 10.0, "{} of {}", span, length);
        }
    }
}
