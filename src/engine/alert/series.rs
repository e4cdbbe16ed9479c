//! One series as a rule knows it: its newest value, and enough of its past for a rate.
//!
//! Rule: a rate is what the counter grew between the newest sample and the one a span before it, divided by the span. What
//! lies between two samples is taken to have grown evenly.
//!
//! Edges:
//! - a value that falls is a counter that began anew: what it has then, it grew;
//! - of a series that is younger than the span all its growth counts, over the whole span: so nothing fires because it is
//!   young. Whether it is below a bound is not known before;
//! - samples closer than a thirtieth of the span are one, the newest of them.

use crate::engine::time::{EventTime, Span};

/// Samples that are kept for one span, at the least apart.
const PARTS: i64 = 30;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Oldest first; values only rise where a rate is wanted.
    pub samples: Vec<(EventTime, f64)>,
    /// What was there before the counter began anew.
    pub before: f64,
}

/// What a series grew.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    pub per_second: f64,
    /// The value when the span began; `None` where the series is younger.
    pub began: Option<f64>,
}

// === impl Series ===

impl Series {
    /// The newest value, as it came.
    pub fn value(&self) -> Option<f64> {
        self.samples.last().map(|(_, value)| value - self.before)
    }

    /// Takes a newer sample; one that is not newer replaces the newest. Without a span only the newest is kept.
    pub fn take(&mut self, time: EventTime, value: f64, over: Option<Span>) {
        let Some(over) = over else {
            self.samples.clear();
            self.samples.push((time, value));
            return;
        };
        if let Some((_, last)) = self.samples.last()
            && value < last - self.before
        {
            self.before = *last;
        }
        let value = value + self.before;
        let apart = over.as_micros() / PARTS;
        match self.samples.as_slice() {
            [.., (last, _)] if time <= *last => {
                let newest = self.samples.len() - 1;
                self.samples[newest].1 = value;
            }
            [.., (earlier, _), _] if time.0 - earlier.0 < apart => {
                let newest = self.samples.len() - 1;
                self.samples[newest] = (time, value);
            }
            _ => self.samples.push((time, value)),
        }
        // One sample that is as old as the span, or older, is where the span begins.
        let begins = time.back(over);
        let old = self.samples.partition_point(|(at, _)| *at <= begins);
        self.samples.drain(..old.saturating_sub(1));
    }

    /// `None` without any sample.
    pub fn rate(&self, over: Span) -> Option<Rate> {
        let (time, newest) = *self.samples.last()?;
        let (first_at, first) = *self.samples.first()?;
        let begins = time.back(over);
        let began = (first_at <= begins).then(|| match self.samples.get(1) {
            Some((next_at, next)) if first_at < begins => {
                let share = (begins.0 - first_at.0) as f64 / (next_at.0 - first_at.0).max(1) as f64;
                first + (next - first) * share
            }
            _ => first,
        });
        let seconds = over.as_micros() as f64 / 1e6;
        Some(Rate {
            per_second: (newest - began.unwrap_or(first)) / seconds,
            began,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: i64 = 60_000_000;
    const OVER: Span = Span::seconds(300);

    fn of(samples: &[(i64, f64)]) -> Series {
        let mut series = Series::default();
        for (minutes, value) in samples {
            series.take(EventTime(minutes * MINUTE), *value, Some(OVER));
        }
        series
    }

    #[test]
    fn a_rate_is_what_grew_in_the_span() {
        let rate = of(&[(0, 0.0), (2, 600.0), (4, 600.0), (6, 900.0), (8, 900.0)])
            .rate(OVER)
            .expect("samples");
        // Minute 3 to minute 8: from 600 to 900.
        assert_eq!((rate.per_second, rate.began), (1.0, Some(600.0)));
    }

    #[test]
    fn between_two_samples_it_grew_evenly() {
        let rate = of(&[(0, 0.0), (4, 400.0), (6, 400.0)]).rate(OVER).expect("samples");
        assert_eq!((rate.per_second, rate.began), (1.0, Some(100.0)));
    }

    #[test]
    fn a_young_series_has_grown_over_the_whole_span_and_began_nowhere() {
        let rate = of(&[(0, 0.0), (1, 300.0)]).rate(OVER).expect("samples");
        assert_eq!((rate.per_second, rate.began), (1.0, None));
    }

    #[test]
    fn a_counter_that_begins_anew_goes_on_growing() {
        let mut series = of(&[(0, 0.0), (2, 1_000.0), (4, 100.0), (5, 200.0)]);
        assert_eq!(series.value(), Some(200.0));
        assert_eq!(series.rate(OVER).expect("samples").per_second, 1_200.0 / 300.0);
        series.take(EventTime(6 * MINUTE), 50.0, Some(OVER));
        assert_eq!(series.value(), Some(50.0));
    }

    proptest! {
        #[test]
        fn few_samples_are_kept_and_the_rate_is_within_a_thirtieth_of_the_span(
            steps in proptest::collection::vec((1..40_i64, 0..500_u32), 2..300),
        ) {
            let (mut series, mut time, mut value) = (Series::default(), 0, 0.0);
            let mut all = vec![];
            for (seconds, more) in steps {
                time += seconds * 1_000_000;
                value += f64::from(more);
                series.take(EventTime(time), value, Some(OVER));
                all.push((time, value));
            }
            prop_assert!(series.samples.len() <= 64, "{} samples", series.samples.len());
            let begins = time - OVER.as_micros();
            if all[0].0 <= begins {
                let rate = series.rate(OVER).expect("samples");
                // The value at the beginning of the span, as far as samples tell it.
                let slack = OVER.as_micros() / PARTS + 40_000_000;
                let below = all.iter().rfind(|(at, _)| *at <= begins - slack).map_or(all[0].1, |(_, value)| *value);
                let above = all.iter().find(|(at, _)| *at >= begins + slack).map_or(value, |(_, value)| *value);
                let began = rate.began.expect("it is old enough");
                prop_assert!((below..=above).contains(&began), "{began} of {below} to {above}");
                prop_assert!((rate.per_second - (value - began) / 300.0).abs() < 1e-6);
            }
        }
    }
}
