//! What a gauge task publishes beside the pipelines' metrics: its own counts, and counters that tasks elsewhere keep.
//!
//! Rule: these are stamped by the wall and bypass windows. A counter stays for ever; a gauge lives as long as what it
//! measures, and then ends: a metric that the pipelines no longer have, a topic that they no longer read.

use std::collections::BTreeSet;

use super::super::changelog::{self, Key};
use super::super::definitions::Definition;
use super::super::otlp::Shape;
use super::super::request::Freezer;
use super::super::samples::Counter;
use super::GaugeTask;
use crate::engine::plan::Kind;
use crate::engine::series::{SeriesKey, partition_of};

const BUILT_IN_LATE: &str = "streamgauge_late_records_total";
pub const BUILT_IN_SERIES: &str = "streamgauge_series";
pub const BUILT_IN_OVERFLOW: &str = "streamgauge_overflow_records_total";
const BUILT_IN_RETIRED: &str = "streamgauge_retired_records_total";
const BUILT_IN_RETIRED_KEYED: &str = crate::engine::correlate::RETIRED_TOTAL;
const BUILT_IN_WATERMARK_LAG: &str = "streamgauge_watermark_lag_seconds";
/// Of the lag stage.
pub const BUILT_IN_UNKNOWN: &str = "streamgauge_lag_unknown_records_total";
pub const BUILT_IN_STALLED: &str = "streamgauge_lag_stalled_seconds";
/// Of the alert stage.
pub const BUILT_IN_ALERTS: &str = "streamgauge_alerts";
/// The ledger's outcomes, sampled by the taps.
pub const BUILT_IN_RECORDS: &str = "streamgauge_records_total";

impl GaugeTask {
    /// Counters kept elsewhere, and what this task counts of itself.
    pub(super) fn show_counters(&mut self, freezer: &mut Freezer<'_>, changelog: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>) {
        let partition = self.partition.to_string();
        let mut own = Vec::new();
        for (metric, state) in self.plan.metrics.iter().zip(&self.metrics) {
            own.push((BUILT_IN_LATE, &metric.name, state.late));
            own.push((BUILT_IN_SERIES, &metric.name, state.series.len() as u64));
            own.push((BUILT_IN_OVERFLOW, &metric.name, state.overflowed));
        }
        for (name, records) in &self.retired {
            own.push((BUILT_IN_RETIRED, name, *records));
        }
        let now = self.now;
        let mut measured = BTreeSet::new();
        for (built_in, metric, value) in own {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            let key = SeriesKey::of([metric.as_str(), &partition]).0;
            let counter = self
                .counters
                .entry((built_in.to_owned(), key.clone()))
                .or_insert_with(|| Counter::new(0, now));
            if built_in == BUILT_IN_SERIES {
                counter.value = value;
                measured.insert((built_in.to_owned(), key));
            } else {
                counter.set(value, now)
            }
        }
        for (topic, partition, source) in self.sources.all() {
            if !self.plan.topics.iter().any(|plan| plan.topic == topic) {
                continue;
            }
            let key = SeriesKey::of([topic, &partition.to_string()]).0;
            let Some(watermark) = source.watermark else { continue };
            if partition_of(BUILT_IN_WATERMARK_LAG, &key, self.options.partitions) != self.partition {
                continue;
            }
            let lag = now.0.saturating_sub(watermark.0.0).max(0) / 1_000_000;
            self.counters
                .entry((BUILT_IN_WATERMARK_LAG.to_owned(), key.clone()))
                .or_insert_with(|| Counter::new(lag, now))
                .value = lag;
            measured.insert((BUILT_IN_WATERMARK_LAG.to_owned(), key));
        }
        self.counters.retain(|name, counter| {
            let Some((definition, Shape::Gauge)) = built_in(&name.0) else {
                return true;
            };
            if measured.contains(name) {
                return true;
            }
            let end = counter.end(now);
            if end.is_none() && counter.last.is_some() {
                // Too soon after its last point: at a later seal.
                return true;
            }
            let named = freezer.metric(definition, Shape::Gauge);
            freezer.add(named, &name.1, end.as_slice());
            changelog.push((Key::Counter(&name.0, &name.1).write(), None));
            false
        });
        for ((metric, key), counter) in &mut self.counters {
            let Some((definition, shape)) = built_in(metric) else {
                continue;
            };
            let mut points = Vec::new();
            let shown = counter.show(now, &mut points);
            if shown {
                if shape == Shape::Gauge {
                    points.drain(..points.len() - 1);
                }
                let named = freezer.metric(definition, shape);
                freezer.add(named, key, &points);
            }
            // Also what could not be shown yet: its sample is never sent again.
            if shown || std::mem::take(&mut counter.unsaved) {
                counter.unsaved = false;
                changelog.push((
                    Key::Counter(metric, key).write(),
                    Some(changelog::write_counter(counter)),
                ));
            }
        }
    }

    /// The newest point of each again.
    pub(super) fn newest_counters(&self, freezer: &mut Freezer<'_>) {
        for ((metric, key), counter) in &self.counters {
            if let Some((definition, shape)) = built_in(metric) {
                let named = freezer.metric(definition, shape);
                freezer.add(named, key, counter.newest().as_slice());
            }
        }
    }
}

/// streamgauge's own metrics that leave through the pipeline.
pub fn built_in(name: &str) -> Option<(Definition, Shape)> {
    let (help, unit, shape, labels): (&str, &str, Shape, &[&str]) = match name {
        BUILT_IN_RECORDS => (
            "Input offsets by how they ended; see the loss ledger",
            "{record}",
            Shape::Cumulative,
            &["topic", "partition", "outcome"],
        ),
        BUILT_IN_LATE => (
            "Records whose window had closed; they are in the next point",
            "{record}",
            Shape::Cumulative,
            &["metric", "partition"],
        ),
        BUILT_IN_SERIES => (
            "Series that a gauge partition holds",
            "{series}",
            Shape::Gauge,
            &["metric", "partition"],
        ),
        BUILT_IN_OVERFLOW => (
            "Records that went to the overflow series",
            "{record}",
            Shape::Cumulative,
            &["metric", "partition"],
        ),
        BUILT_IN_RETIRED => (
            "Records of definitions that no metric takes any more",
            "{record}",
            Shape::Cumulative,
            &["metric", "partition"],
        ),
        BUILT_IN_RETIRED_KEYED => (
            "Records on their way to joins that the pipelines no longer have",
            "{record}",
            Shape::Cumulative,
            &["join", "partition"],
        ),
        BUILT_IN_UNKNOWN => (
            "Records of the offsets topic of a version that is not known",
            "{record}",
            Shape::Cumulative,
            &["partition"],
        ),
        BUILT_IN_STALLED => (
            "For how long a partition of the offsets topic has not been read to its end",
            "s",
            Shape::Gauge,
            &["partition"],
        ),
        BUILT_IN_ALERTS => (
            "Alerts of a rule, by whether they fire or are pending",
            "{alert}",
            Shape::Gauge,
            &["alert", "severity", "state"],
        ),
        BUILT_IN_WATERMARK_LAG => (
            "Wall time minus the watermark of an input partition",
            "s",
            Shape::Gauge,
            &["topic", "partition"],
        ),
        _ => return None,
    };
    let definition = Definition {
        name: name.to_owned(),
        pipeline: String::new(),
        help: help.to_owned(),
        unit: unit.to_owned(),
        kind: Kind::Count,
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
    };
    Some((definition, shape))
}
