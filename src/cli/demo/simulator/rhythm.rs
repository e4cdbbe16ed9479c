//! How busy the users' system is as its day goes by.
//!
//! Rule: a day has twenty-four hours of equal length, each with its own pace; within an hour, short bursts multiply it.
//! The pace is integers only, so a seed gives the same records on every machine.
//!
//! Edges: hour four is the slow one (nearly nothing comes, so partitions fall silent), hours ten and fifteen are the
//! busiest.

use crate::engine::time::Span;

/// Records in an hour as a share of the busiest ordinary hour, in percent.
const HOURS: [u64; 24] = [
    55, 40, 25, 12, 2, 12, 30, 55, 80, 95, 120, 110, 90, 85, 100, 120, 110, 100, 95, 90, 85, 80, 70, 60,
];

/// A burst comes at the start of each of this many parts of an hour, and lasts a twelfth of it.
const BURSTS_AN_HOUR: i64 = 2;
const BURST_PERCENT: u64 = 300;

/// The day of the simulated system.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm {
    day: Span,
    /// Records a second at a pace of 100 %.
    full: u64,
}

// === impl Rhythm ===

impl Rhythm {
    /// A day of this length with `rate` records a second on its average.
    pub fn new(day: Span, rate: u32) -> Self {
        let day = if day < Span::millis(24) { Span::millis(24) } else { day };
        let hours = HOURS.iter().sum::<u64>();
        // A burst lasts a twelfth of its part of the hour, whatever their number, at three times the pace.
        let bursts = hours * (BURST_PERCENT - 100) / 100 / 12;
        let full = u64::from(rate.max(1)) * 100 * HOURS.len() as u64 / (hours + bursts);
        Self { day, full: full.max(1) }
    }

    /// Records a second, `since` the start. The day begins at six in the morning.
    pub fn rate(&self, since: Span) -> u64 {
        let hour_length = self.day.as_micros() / 24;
        let hour = (since.as_micros() / hour_length + 6) % 24;
        let burst_length = hour_length / BURSTS_AN_HOUR;
        let in_burst = since.as_micros() % burst_length < burst_length / 12;
        let pace = HOURS[hour as usize] * if in_burst { BURST_PERCENT } else { 100 } / 100;
        (self.full * pace / 100).max(1)
    }

    /// The hour of the day, 0 to 23.
    pub fn hour(&self, since: Span) -> u32 {
        ((since.as_micros() / (self.day.as_micros() / 24) + 6) % 24) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_average_of_a_day_is_the_rate() {
        let rhythm = Rhythm::new(Span::seconds(48), 10_000);
        let sum: u64 = (0..48_000).map(|milli| rhythm.rate(Span::millis(milli))).sum();
        assert!((9_800..10_200).contains(&(sum / 48_000)), "{}", sum / 48_000);
    }

    #[test]
    fn there_is_a_slow_hour_and_there_are_bursts() {
        let rhythm = Rhythm::new(Span::seconds(48), 10_000);
        let rates: Vec<u64> = (0..48_000).map(|milli| rhythm.rate(Span::millis(milli))).collect();
        let (slowest, fastest) = (rates.iter().min(), rates.iter().max());
        assert!(slowest.is_some_and(|rate| *rate < 500), "{slowest:?}");
        assert!(fastest.is_some_and(|rate| *rate > 30_000), "{fastest:?}");
    }
}
