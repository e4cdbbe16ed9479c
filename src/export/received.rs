//! What the [`super::receiver`] has been sent, series by series, and which promises were broken.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{DataPointFlags, ExponentialHistogramDataPoint, Metric};
use prost::Message;

use super::received_traces::ReceivedTraces;

/// How many points of a series are remembered.
pub const REMEMBERED: usize = 1_024;

/// How many violations are kept as text; all are counted.
pub(super) const SAID: usize = 20;

/// What a receiver knows at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    pub requests: u64,
    /// Requests that were refused because somebody asked for it.
    pub refused: u64,
    /// Points that were taken, duplicates left out.
    pub points: u64,
    /// Points that came again exactly as they were.
    pub duplicates: u64,
    /// Broken promises.
    pub violations: u64,
    /// The first of them.
    pub violation_texts: Vec<String>,
    /// Sorted by metric, then labels, then resource.
    pub series: Vec<ReceivedSeries>,
    pub traces: ReceivedTraces,
}

/// The last state of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedSeries {
    pub metric: String,
    /// Attributes of its points, sorted.
    pub labels: BTreeMap<String, String>,
    /// Attributes of its resource, sorted.
    pub resource: BTreeMap<String, String>,
    /// Nanoseconds since the epoch.
    pub start: u64,
    /// Time of the last point, nanoseconds since the epoch.
    pub time: u64,
    pub points: u64,
    pub value: ReceivedValue,
    /// Of an exponential histogram.
    pub buckets: Option<Buckets>,
    /// A no-recorded-value point came last.
    pub ended: bool,
}

/// The buckets of an exponential histogram of values that are not negative.
#[derive(Clone, Debug, PartialEq)]
pub struct Buckets {
    scale: i32,
    zeros: u64,
    offset: i32,
    counts: Vec<u64>,
}

/// The last value of a series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ReceivedValue {
    /// May fall.
    Gauge(f64),
    /// Never falls.
    Sum(f64),
    /// Neither falls.
    Histogram { count: u64, sum: f64 },
}

/// All series of a receiver.
#[derive(Default)]
pub(super) struct Received {
    snapshot: Snapshot,
    series: BTreeMap<Key, Kept>,
}

/// Metric, labels, resource, and the scope's name.
type Key = (String, BTreeMap<String, String>, BTreeMap<String, String>, String);

struct Kept {
    start: u64,
    time: u64,
    points: u64,
    value: ReceivedValue,
    buckets: Option<Buckets>,
    ended: bool,
    /// Times and hashes of the last points, oldest first.
    remembered: VecDeque<(u64, u64)>,
}

/// One point, whatever its kind.
struct Point<'r> {
    attributes: &'r [KeyValue],
    start: u64,
    time: u64,
    value: ReceivedValue,
    buckets: Option<Buckets>,
    ends: bool,
    hash: u64,
}

// === impl Received ===

impl Received {
    pub fn refused(&mut self) {
        self.snapshot.refused += 1;
    }

    pub fn take(&mut self, request: &ExportMetricsServiceRequest) {
        self.snapshot.requests += 1;
        for by_resource in &request.resource_metrics {
            let resource = by_resource
                .resource
                .as_ref()
                .map(|resource| texts(&resource.attributes));
            let resource = resource.unwrap_or_default();
            for by_scope in &by_resource.scope_metrics {
                let scope = by_scope
                    .scope
                    .as_ref()
                    .map(|scope| scope.name.clone())
                    .unwrap_or_default();
                for metric in &by_scope.metrics {
                    for point in points_of(metric) {
                        let labels = texts(point.attributes);
                        let key = (metric.name.clone(), labels, resource.clone(), scope.clone());
                        self.take_point(key, &point);
                    }
                }
            }
        }
    }

    fn take_point(&mut self, key: Key, point: &Point<'_>) {
        let snapshot = &mut self.snapshot;
        let Some(kept) = self.series.get_mut(&key) else {
            snapshot.points += 1;
            self.series.insert(key, Kept::new(point));
            return;
        };
        if kept.remembered.contains(&(point.time, point.hash)) {
            snapshot.duplicates += 1;
            return;
        }
        snapshot.points += 1;
        if let Some(broken) = kept.broken_by(point) {
            snapshot.violations += 1;
            if snapshot.violation_texts.len() < SAID {
                snapshot
                    .violation_texts
                    .push(format!("{} {:?}: {broken}", key.0, key.1));
            }
        }
        kept.take(point);
    }

    pub fn snapshot(&self) -> Snapshot {
        let series = self
            .series
            .iter()
            .map(|((metric, labels, resource, _), kept)| ReceivedSeries {
                metric: metric.clone(),
                labels: labels.clone(),
                resource: resource.clone(),
                start: kept.start,
                time: kept.time,
                points: kept.points,
                value: kept.value,
                buckets: kept.buckets.clone(),
                ended: kept.ended,
            });
        Snapshot {
            series: series.collect(),
            ..self.snapshot.clone()
        }
    }
}

// === impl Kept ===

impl Kept {
    fn new(point: &Point<'_>) -> Kept {
        Kept {
            start: point.start,
            time: point.time,
            points: 1,
            value: point.value,
            buckets: point.buckets.clone(),
            ended: point.ends,
            remembered: VecDeque::from([(point.time, point.hash)]),
        }
    }

    /// The promise that this point breaks.
    fn broken_by(&self, point: &Point<'_>) -> Option<String> {
        if point.time <= self.time {
            return Some(format!("a point at {} after one at {}", point.time, self.time));
        }
        if point.ends {
            return None;
        }
        if self.ended {
            return (point.start != 0 && point.start < self.time)
                .then(|| format!("starts anew at {}, before its end at {}", point.start, self.time));
        }
        let cumulative = !matches!(point.value, ReceivedValue::Gauge(_));
        if cumulative && point.start != self.start {
            return Some(format!("start time {} was {}", point.start, self.start));
        }
        match (self.value, point.value) {
            (ReceivedValue::Gauge(_), ReceivedValue::Gauge(_)) => None,
            (ReceivedValue::Sum(before), ReceivedValue::Sum(now)) => {
                (now < before).then(|| format!("value {now} after {before}"))
            }
            (
                ReceivedValue::Histogram {
                    count: before,
                    sum: sum_before,
                },
                ReceivedValue::Histogram {
                    count: now,
                    sum: sum_now,
                },
            ) => (now < before || sum_now < sum_before)
                .then(|| format!("count {now} and sum {sum_now} after {before} and {sum_before}")),
            (before, now) => Some(format!("{now:?} after {before:?}")),
        }
    }

    fn take(&mut self, point: &Point<'_>) {
        self.points += 1;
        self.remembered.push_back((point.time, point.hash));
        if self.remembered.len() > REMEMBERED {
            self.remembered.pop_front();
        }
        // A point that came too late must not make the next good one a violation too.
        if point.time > self.time {
            self.time = point.time;
            self.ended = point.ends;
            if !point.ends {
                self.start = point.start;
                self.value = point.value;
                self.buckets.clone_from(&point.buckets);
            }
        }
    }
}

// === impl Buckets ===

impl Buckets {
    fn of(point: &ExponentialHistogramDataPoint) -> Buckets {
        let positive = point.positive.as_ref();
        Buckets {
            scale: point.scale,
            zeros: point.zero_count,
            offset: positive.map_or(0, |buckets| buckets.offset),
            counts: positive
                .map(|buckets| buckets.bucket_counts.clone())
                .unwrap_or_default(),
        }
    }

    /// Where this part of the values is not above: the middle, by ratio, of the bucket with the value of that rank. `None`
    /// where there are no values.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let count = self.zeros + self.counts.iter().sum::<u64>();
        let rank = ((part * count as f64).ceil() as u64).clamp(1, count.max(1));
        let mut seen = self.zeros;
        if count == 0 || rank <= seen {
            return (count > 0).then_some(0.0);
        }
        let index = self.counts.iter().position(|of_bucket| {
            seen += of_bucket;
            seen >= rank
        })?;
        // OTLP: bucket i holds (base^i, base^(i+1)] with base 2^(2^-scale).
        let exponent = f64::from(self.offset) + index as f64 + 0.5;
        Some((exponent * (-f64::from(self.scale)).exp2()).exp2())
    }
}

fn points_of(metric: &Metric) -> Vec<Point<'_>> {
    fn hash(point: &impl Message) -> u64 {
        let mut hasher = DefaultHasher::new();
        point.encode_to_vec().hash(&mut hasher);
        hasher.finish()
    }
    fn ends(flags: u32) -> bool {
        flags & DataPointFlags::NoRecordedValueMask as u32 != 0
    }
    /// A number, a histogram and an exponential one have the same fields around their values.
    macro_rules! points {
        ($data:expr, $point:ident => $value:expr) => {
            points!($data, $point => $value, None)
        };
        ($data:expr, $point:ident => $value:expr, $buckets:expr) => {
            $data
                .data_points
                .iter()
                .map(|$point| Point {
                    attributes: &$point.attributes,
                    start: $point.start_time_unix_nano,
                    time: $point.time_unix_nano,
                    value: $value,
                    buckets: $buckets,
                    ends: ends($point.flags),
                    hash: hash($point),
                })
                .collect()
        };
    }
    match &metric.data {
        Some(Data::Gauge(gauge)) => points!(gauge, point => ReceivedValue::Gauge(number(point.value))),
        Some(Data::Sum(sum)) if !sum.is_monotonic => {
            points!(sum, point => ReceivedValue::Gauge(number(point.value)))
        }
        Some(Data::Sum(sum)) => points!(sum, point => ReceivedValue::Sum(number(point.value))),
        Some(Data::Histogram(histogram)) => points!(histogram, point => ReceivedValue::Histogram {
            count: point.count,
            sum: point.sum.unwrap_or(0.0),
        }),
        Some(Data::ExponentialHistogram(histogram)) => points!(histogram, point => ReceivedValue::Histogram {
            count: point.count,
            sum: point.sum.unwrap_or(0.0),
        }, Some(Buckets::of(point))),
        Some(Data::Summary(summary)) => points!(summary, point => ReceivedValue::Histogram {
            count: point.count,
            sum: point.sum,
        }),
        None => Vec::new(),
    }
}

fn number(value: Option<Value>) -> f64 {
    match value {
        Some(Value::AsInt(value)) => value as f64,
        Some(Value::AsDouble(value)) => value,
        None => 0.0,
    }
}

pub(super) fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    attributes
        .iter()
        .map(|attribute| (attribute.key.clone(), text(attribute.value.as_ref())))
        .collect()
}

fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(value)) => value.clone(),
        Some(any_value::Value::BoolValue(value)) => value.to_string(),
        Some(any_value::Value::IntValue(value)) => value.to_string(),
        Some(any_value::Value::DoubleValue(value)) => value.to_string(),
        Some(other) => format!("{other:?}"),
        None => String::new(),
    }
}

#[cfg(test)]
#[path = "received_tests.rs"]
mod tests;
