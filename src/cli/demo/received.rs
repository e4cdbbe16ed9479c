//! Totals of what the OTLP receiver has.
//!
//! Rule: a total is what the last point of its series says, as any metrics store would show it; of a histogram it is the
//! count. The demo believes nothing that did not come over the wire.

use super::expected::{self, Totals};
use crate::export::receiver::{ReceivedSeries, ReceivedValue, Snapshot};

/// The totals of all series that are not zero.
pub fn totals(snapshot: &Snapshot) -> Totals {
    let mut totals = Totals::new();
    for series in &snapshot.series {
        let total = total_of(series);
        if total > 0 {
            let labels: Vec<(&str, &str)> = series
                .labels
                .iter()
                .map(|(label, value)| (label.as_str(), value.as_str()))
                .collect();
            // One series has one writer; were there two, their sum would give them away.
            *totals.entry(expected::series(&series.metric, &labels)).or_default() += total;
        }
    }
    totals
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

fn is_of(series: &str, name: &str) -> bool {
    series.strip_prefix(name).is_some_and(|rest| rest.starts_with('{'))
}

/// Whole numbers below 2^53, which a double holds exactly.
fn total_of(series: &ReceivedSeries) -> u64 {
    match series.value {
        ReceivedValue::Gauge(value) | ReceivedValue::Sum(value) => value.max(0.0) as u64,
        ReceivedValue::Histogram { count, .. } => count,
    }
}
