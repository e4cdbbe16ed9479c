//! OTLP points as Prometheus calls them: families of series with labels.
//!
//! Rule: names stay as they are, since the contract has chosen them so that both worlds agree; a character that Prometheus
//! does not know becomes `_`. Series are sorted, so two scrapes of the same state are the same bytes.
//!
//! Edges:
//! - of two points of the same series (a partition that moves between two workers of one process) the later one counts;
//! - where two pipelines have a metric of the same name, `streamgauge_pipeline` tells their series apart;
//! - of an exponential histogram there are classic buckets too, at powers of two from [`LOWEST`] to [`HIGHEST`] as far as
//!   its scale has them: always the same ones, since a bucket that appears has no rate.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar as OtlpExemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, exemplar, metric, number_data_point,
};

/// Classic buckets of exponential histograms go from a thousandth to a million (of seconds: twelve days).
pub const LOWEST: i32 = -10;
pub const HIGHEST: i32 = 20;

/// All families, by name.
pub struct Families(pub BTreeMap<String, Family>);

pub struct Family {
    pub help: String,
    pub kind: Kind,
    pub series: Vec<Series>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

pub struct Series {
    /// Sorted by name.
    pub labels: Vec<(String, String)>,
    /// Nanoseconds since the epoch; zero where there is none.
    pub start: u64,
    /// Of its newest point, nanoseconds since the epoch.
    pub time: u64,
    pipeline: String,
    pub value: Value,
}

pub enum Value {
    Number(f64),
    Histogram(Histogram),
}

pub struct Histogram {
    pub count: u64,
    pub sum: f64,
    /// Upper bounds and how many are at or below each; without the one at infinity, which is `count`.
    pub buckets: Vec<(f64, u64)>,
    pub native: Option<Native>,
    pub exemplar: Option<Exemplar>,
}

/// An exponential histogram as OTLP has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Native {
    pub scale: i32,
    pub zero_count: u64,
    /// Bucket `offset + i` is `(base^(offset + i), base^(offset + i + 1)]`.
    pub offset: i32,
    pub counts: Vec<u64>,
}

pub struct Exemplar {
    pub labels: Vec<(String, String)>,
    pub value: f64,
    /// Nanoseconds since the epoch.
    pub time: u64,
}

// === impl Families ===

impl Families {
    pub fn of(all: &[ResourceMetrics]) -> Self {
        let mut families = Self(BTreeMap::new());
        for of_resource in all {
            let attributes = of_resource.resource.as_ref().map_or(&[][..], |of| &of.attributes);
            let pipeline = attributes
                .iter()
                .find(|attribute| attribute.key == "streamgauge.pipeline");
            let pipeline = pipeline.map_or(String::new(), |attribute| text(attribute.value.as_ref()));
            for scope in &of_resource.scope_metrics {
                for metric in &scope.metrics {
                    families.add(metric, &pipeline);
                }
            }
        }
        for family in families.0.values_mut() {
            family.settle();
        }
        families
    }

    fn add(&mut self, metric: &Metric, pipeline: &str) {
        let (kind, series): (Kind, Vec<Series>) = match &metric.data {
            Some(metric::Data::Gauge(gauge)) => (Kind::Gauge, gauge.data_points.iter().filter_map(number).collect()),
            Some(metric::Data::Sum(sum)) => (Kind::Counter, sum.data_points.iter().filter_map(number).collect()),
            Some(metric::Data::Histogram(histogram)) => {
                (Kind::Histogram, histogram.data_points.iter().map(explicit).collect())
            }
            Some(metric::Data::ExponentialHistogram(histogram)) => {
                (Kind::Histogram, histogram.data_points.iter().map(exponential).collect())
            }
            Some(metric::Data::Summary(_)) | None => return,
        };
        let family = self.0.entry(name_of(&metric.name)).or_insert_with(|| Family {
            help: metric.description.clone(),
            kind,
            series: Vec::new(),
        });
        // One name is one kind.
        if family.kind == kind {
            let of_pipeline = series.into_iter().map(|series| Series {
                pipeline: pipeline.to_owned(),
                ..series
            });
            family.series.extend(of_pipeline);
        }
    }
}

// === impl Family ===

impl Family {
    fn settle(&mut self) {
        let pipelines: BTreeSet<&str> = self.series.iter().map(|series| &*series.pipeline).collect();
        if pipelines.len() > 1 {
            for series in &mut self.series {
                let label = ("streamgauge_pipeline".to_owned(), std::mem::take(&mut series.pipeline));
                series.labels.push(label);
                series.labels.sort();
            }
        }
        // The later one first, and the other goes.
        self.series
            .sort_by(|a, b| a.labels.cmp(&b.labels).then(b.time.cmp(&a.time)));
        self.series.dedup_by(|later, kept| later.labels == kept.labels);
    }
}

fn number(point: &NumberDataPoint) -> Option<Series> {
    let value = match point.value? {
        number_data_point::Value::AsInt(value) => value as f64,
        number_data_point::Value::AsDouble(value) => value,
    };
    let times = [point.start_time_unix_nano, point.time_unix_nano];
    Some(series(&point.attributes, times, Value::Number(value)))
}

fn explicit(point: &HistogramDataPoint) -> Series {
    let mut below = 0;
    let counts = point.bucket_counts.iter().map(|count| {
        below += count;
        below
    });
    let histogram = Histogram {
        count: point.count,
        sum: point.sum.unwrap_or(0.0),
        buckets: point.explicit_bounds.iter().copied().zip(counts).collect(),
        native: None,
        exemplar: point.exemplars.last().map(exemplar_of),
    };
    let times = [point.start_time_unix_nano, point.time_unix_nano];
    series(&point.attributes, times, Value::Histogram(histogram))
}

fn exponential(point: &ExponentialHistogramDataPoint) -> Series {
    let positive = point.positive.as_ref();
    let native = Native {
        scale: point.scale,
        zero_count: point.zero_count,
        offset: positive.map_or(0, |buckets| buckets.offset),
        counts: positive.map_or(Vec::new(), |buckets| buckets.bucket_counts.clone()),
    };
    let histogram = Histogram {
        count: point.count,
        sum: point.sum.unwrap_or(0.0),
        buckets: native.at_powers_of_two(),
        exemplar: point.exemplars.last().map(exemplar_of),
        native: Some(native),
    };
    let times = [point.start_time_unix_nano, point.time_unix_nano];
    series(&point.attributes, times, Value::Histogram(histogram))
}

/// Of a pipeline that is still to be set.
fn series(attributes: &[KeyValue], [start, time]: [u64; 2], value: Value) -> Series {
    Series {
        labels: labels(attributes),
        start,
        time,
        pipeline: String::new(),
        value,
    }
}

// === impl Native ===

impl Native {
    /// Exact: every power of two that the scale has is a boundary of a bucket.
    fn at_powers_of_two(&self) -> Vec<(f64, u64)> {
        let mut buckets = Vec::new();
        let (mut below, mut at) = (self.zero_count, 0);
        for power in LOWEST..=HIGHEST {
            // The first bucket above the boundary.
            let above = match self.scale {
                scale @ 0..=20 => i64::from(power) << scale,
                scale @ -20..0 if power % (1 << -scale) == 0 => i64::from(power >> -scale),
                _ => continue,
            };
            while at < self.counts.len() && i64::from(self.offset) + (at as i64) < above {
                below += self.counts[at];
                at += 1;
            }
            buckets.push((f64::from(power).exp2(), below));
        }
        buckets
    }
}

fn exemplar_of(of: &OtlpExemplar) -> Exemplar {
    let value = match of.value {
        Some(exemplar::Value::AsInt(value)) => value as f64,
        Some(exemplar::Value::AsDouble(value)) => value,
        None => 0.0,
    };
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let ids = [("trace_id", &of.trace_id), ("span_id", &of.span_id)];
    let ids = ids.into_iter().filter(|(_, id)| !id.is_empty());
    Exemplar {
        labels: ids.map(|(name, id)| (name.to_owned(), hex(id))).collect(),
        value,
        time: of.time_unix_nano,
    }
}

fn labels(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let pairs = attributes
        .iter()
        .map(|pair| (label_of(&pair.key), text(pair.value.as_ref())));
    // Prometheus takes an empty label for none.
    let mut labels: Vec<_> = pairs.filter(|(_, value)| !value.is_empty()).collect();
    labels.sort();
    labels
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::BoolValue(truth)) => truth.to_string(),
        Some(any_value::Value::IntValue(number)) => number.to_string(),
        Some(any_value::Value::DoubleValue(number)) => number.to_string(),
        _ => String::new(),
    }
}

fn name_of(name: &str) -> String {
    legal(name, |letter| {
        letter.is_ascii_alphanumeric() || letter == '_' || letter == ':'
    })
}

fn label_of(name: &str) -> String {
    legal(name, |letter| letter.is_ascii_alphanumeric() || letter == '_')
}

fn legal(name: &str, is_legal: impl Fn(char) -> bool) -> String {
    let mut legal: String = name
        .chars()
        .map(|letter| if is_legal(letter) { letter } else { '_' })
        .collect();
    if legal.is_empty() || legal.starts_with(|letter: char| letter.is_ascii_digit()) {
        legal.insert(0, '_');
    }
    legal
}

#[cfg(test)]
mod tests;
