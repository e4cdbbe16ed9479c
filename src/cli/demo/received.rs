//! Totals of what the OTLP receiver has.
//!
//! Rule: a total is what the last point of its series says, as any metrics store would show it; of a histogram it is the
//! count, and of the response times also the sum. The demo believes nothing that did not come over the wire.

use super::expected::{self, JOURNEYS, RESPONSE_MICROS, RESPONSE_TIME, Totals, UNKEYED};
use super::joined::CHANNELS;
use crate::export::receiver::{ReceivedSeries, ReceivedValue, Snapshot};

/// Gauges: not sums of what was written, and zero in the end.
pub const LEVELS: [&str; 2] = ["responses_open", "response_age_seconds"];

/// First answers on one channel.
#[derive(Clone, Copy, Debug, Default)]
pub struct Answers {
    pub count: u64,
    /// Seconds.
    pub p50: f64,
    pub p95: f64,
}

/// The totals of all series that are not zero.
pub fn totals(snapshot: &Snapshot) -> Totals {
    let mut totals = Totals::new();
    for series in &snapshot.series {
        // Which conversations are sampled is the pipeline's to say; the oracle does not know in which way a key is none.
        let is_told = |label: &str| {
            !matches!(
                (series.metric.as_str(), label),
                (JOURNEYS, "sampled") | (UNKEYED, "reason")
            )
        };
        let labels = series.labels.iter().filter(|(label, _)| is_told(label));
        let labels: Vec<(&str, &str)> = labels.map(|(label, value)| (label.as_str(), value.as_str())).collect();
        let mut add = |name: &str, total: u64| {
            if total > 0 {
                // One series has one writer; were there two, their sum would give them away.
                *totals.entry(expected::series(name, &labels)).or_default() += total;
            }
        };
        add(&series.metric, total_of(series));
        if let (RESPONSE_TIME, ReceivedValue::Histogram { sum, .. }) = (series.metric.as_str(), series.value) {
            add(RESPONSE_MICROS, (sum * 1e6).round() as u64);
        }
    }
    totals
}

/// First answers by channel, in the order of [`CHANNELS`].
pub fn answers(snapshot: &Snapshot) -> [Answers; CHANNELS.len()] {
    CHANNELS.map(|channel| {
        let is_its = |series: &&ReceivedSeries| {
            series.metric == RESPONSE_TIME && series.labels.get("channel_type").is_some_and(|said| said == channel)
        };
        let series = snapshot.series.iter().find(is_its);
        let quantile = |part| {
            series
                .and_then(|series| series.buckets.as_ref()?.quantile(part))
                .unwrap_or(0.0)
        };
        Answers {
            count: series.map_or(0, total_of),
            p50: quantile(0.5),
            p95: quantile(0.95),
        }
    })
}

/// Of those, the series of these metrics.
pub fn of_metrics(totals: &Totals, names: &[String]) -> Totals {
    let is_wanted = |series: &str| names.iter().any(|name| is_of(series, name));
    totals
        .iter()
        .filter(|(series, _)| is_wanted(series))
        .map(|(series, total)| (series.clone(), *total))
        .collect()
}

/// The totals of a metric's series added up.
pub fn sum(totals: &Totals, name: &str) -> u64 {
    totals
        .iter()
        .filter(|(series, _)| is_of(series, name))
        .map(|(_, total)| total)
        .sum()
}

/// Records that came after their window had closed, and were counted all the same.
pub fn late(totals: &Totals) -> u64 {
    // Each metric that a record adds to says so; this one takes every record.
    let every_record = |series: &str| series.contains("metric=\"kafka_producer_messages_total\"");
    let of_late = totals
        .iter()
        .filter(|(series, _)| is_of(series, "streamgauge_late_records_total"));
    of_late
        .filter(|(series, _)| every_record(series))
        .map(|(_, total)| total)
        .sum()
}

pub fn is_of(series: &str, name: &str) -> bool {
    series.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'))
}

/// Whole numbers below 2^53, which a double holds exactly.
fn total_of(series: &ReceivedSeries) -> u64 {
    match series.value {
        ReceivedValue::Gauge(value) | ReceivedValue::Sum(value) => value.max(0.0) as u64,
        ReceivedValue::Histogram { count, .. } => count,
    }
}
