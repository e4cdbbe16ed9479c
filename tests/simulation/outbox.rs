//! What a collector would make of the outbox: each series with its lives, held to the rules.
//!
//! Rule: point times of a series strictly rise, in milliseconds as Prometheus keeps them, whatever it lives through. Within one life (one start time) nothing in it
//! falls; a life begins with a zero point at its start, after everything that was there before. A metric's life ends
//! with a point that says so before another one begins.
//!
//! Edges: nothing here comes twice, since the outbox holds each request once; so equal times are a fault.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, metric, number_data_point};
use prost::Message;
use streamgauge::memory::Cluster;

/// Metric name and label values, in the order of their names.
pub type SeriesName = (String, Vec<String>);

/// Everything that was emitted so far.
#[derive(Default)]
pub struct Outbox {
    /// Read up to here, by partition.
    next: BTreeMap<u32, i64>,
    series: BTreeMap<Identity, Series>,
}

/// As a receiver tells series apart: not by kind, since Prometheus does not either.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Identity {
    metric: String,
    labels: Vec<(String, String)>,
    resource: Vec<(String, String)>,
}

#[derive(Default)]
struct Series {
    /// Time of the newest point.
    time: u64,
    /// That point said that there is no more.
    ended: bool,
    lives: Vec<Life>,
}

/// All points with one start time.
struct Life {
    start: u64,
    value: Value,
    ended: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Value {
    /// Of a counter the value, of a histogram the count.
    count: f64,
    /// Only a histogram's.
    sum: Option<f64>,
    /// Only an explicit histogram's.
    buckets: Vec<u64>,
}

/// One point as it came.
struct Point {
    labels: Vec<(String, String)>,
    /// `None` for a gauge.
    start: Option<u64>,
    time: u64,
    value: Option<Value>,
}

// === impl Outbox ===

impl Outbox {
    /// Takes what is new.
    pub fn read(&mut self, cluster: &Cluster, topic: &str, partitions: u32) {
        for partition in 0..partitions {
            let next = self.next.entry(partition).or_default();
            let (records, reached) = cluster.read(topic, partition, *next).expect("the outbox is there");
            *next = reached;
            for record in records {
                let request = ExportMetricsServiceRequest::decode(record.value.unwrap_or_default().as_slice())
                    .expect("the outbox holds requests");
                for of_resource in &request.resource_metrics {
                    let resource = of_resource.resource.as_ref().map(|resource| &resource.attributes);
                    let resource = pairs(resource.map_or(&[], Vec::as_slice));
                    for metric in of_resource.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
                        self.take(metric, &resource);
                    }
                }
            }
        }
    }

    fn take(&mut self, metric: &Metric, resource: &[(String, String)]) {
        for point in points(metric) {
            let identity = Identity {
                metric: metric.name.clone(),
                labels: point.labels.clone(),
                resource: resource.to_vec(),
            };
            let series = self.series.entry(identity.clone()).or_default();
            if let Err(fault) = series.take(point, metric.name.starts_with("streamgauge_")) {
                panic!("{identity:?} {fault}");
            }
        }
    }

    /// The last values of every series. One that has had several lives is a fault, unless its metric may have them.
    pub fn totals(&self, may_live_again: impl Fn(&str) -> bool) -> BTreeMap<SeriesName, f64> {
        let mut totals = BTreeMap::new();
        for (identity, series) in &self.series {
            let name = &identity.metric;
            assert!(
                series.lives.len() <= 1 || may_live_again(name),
                "{identity:?} has had {} lives",
                series.lives.len()
            );
            let Some(life) = series.lives.last() else { continue };
            let labels: Vec<String> = identity.labels.iter().map(|(_, value)| value.clone()).collect();
            match life.value.sum {
                None => drop(totals.insert((name.clone(), labels), life.value.count)),
                Some(sum) => {
                    totals.insert((format!("{name}_count"), labels.clone()), life.value.count);
                    totals.insert((format!("{name}_sum"), labels), sum);
                }
            }
        }
        totals
    }

    /// Whether a series of this metric that `chosen` takes by its labels is shown and has not ended.
    pub fn lives(&self, metric: &str, chosen: impl Fn(&[(String, String)]) -> bool) -> bool {
        let of_metric = self
            .series
            .iter()
            .filter(|(identity, _)| identity.metric == metric && chosen(&identity.labels));
        of_metric.into_iter().any(|(_, series)| !series.ended)
    }

    /// Everything that a metric has ever counted, in all lives of all its series that `chosen` takes by their labels.
    pub fn counted(&self, metric: &str, chosen: impl Fn(&[(String, String)]) -> bool) -> u64 {
        let of_metric = self
            .series
            .iter()
            .filter(|(identity, _)| identity.metric == metric && chosen(&identity.labels));
        of_metric
            .flat_map(|(_, series)| &series.lives)
            .map(|life| life.value.count as u64)
            .sum()
    }
}

// === impl Series ===

impl Series {
    fn take(&mut self, point: Point, own: bool) -> Result<(), String> {
        if millis(point.time) <= millis(self.time) {
            return Err(format!("has a point at {} after one at {}", point.time, self.time));
        }
        let before = std::mem::replace(&mut self.time, point.time);
        self.ended = point.value.is_none();
        let Some(start) = point.start else { return Ok(()) };
        if let Some(life) = self.lives.last_mut().filter(|life| life.start == start) {
            return life.take(point.value, point.time);
        }
        if millis(start) <= millis(before) {
            return Err(format!("starts at {start}, and has a point at {before}"));
        }
        if self.lives.last().is_some_and(|life| !life.ended && !own) {
            return Err(format!("starts again at {start} without an end"));
        }
        if point.time != start || point.value.as_ref().is_none_or(|value| value.count != 0.0) {
            return Err(format!(
                "begins at {} with {:?}, and starts at {start}",
                point.time, point.value
            ));
        }
        self.lives.push(Life {
            start,
            value: point.value.unwrap_or_default(),
            ended: false,
        });
        Ok(())
    }
}

// === impl Life ===

impl Life {
    fn take(&mut self, value: Option<Value>, time: u64) -> Result<(), String> {
        if self.ended {
            return Err(format!("has a point at {time} after its end"));
        }
        let Some(value) = value else {
            self.ended = true;
            return Ok(());
        };
        let fell = self
            .value
            .buckets
            .iter()
            .zip(&value.buckets)
            .any(|(before, now)| now < before);
        if fell || value.count < self.value.count || value.sum < self.value.sum {
            return Err(format!("fell from {:?} to {value:?}", self.value));
        }
        self.value = value;
        Ok(())
    }
}

fn millis(nanos: u64) -> u64 {
    nanos / 1_000_000
}

fn points(metric: &Metric) -> Vec<Point> {
    match &metric.data {
        Some(metric::Data::Sum(sum)) => {
            assert!(sum.is_monotonic && sum.aggregation_temporality == 2, "{}", metric.name);
            sum.data_points
                .iter()
                .map(|point| number(point, Some(point.start_time_unix_nano)))
                .collect()
        }
        Some(metric::Data::Gauge(gauge)) => gauge.data_points.iter().map(|point| number(point, None)).collect(),
        Some(metric::Data::Histogram(histogram)) => {
            assert_eq!(histogram.aggregation_temporality, 2, "{}", metric.name);
            let points = histogram.data_points.iter().map(|point| {
                let buckets = point.bucket_counts.iter().sum::<u64>();
                assert_eq!(
                    buckets, point.count,
                    "the buckets of {} add up to the count",
                    metric.name
                );
                Point {
                    labels: pairs(&point.attributes),
                    start: Some(point.start_time_unix_nano),
                    time: point.time_unix_nano,
                    value: (point.flags & 1 == 0).then(|| Value {
                        count: point.count as f64,
                        sum: Some(point.sum.unwrap_or(-1.0)),
                        buckets: point.bucket_counts.clone(),
                    }),
                }
            });
            points.collect()
        }
        Some(metric::Data::ExponentialHistogram(histogram)) => {
            assert_eq!(histogram.aggregation_temporality, 2, "{}", metric.name);
            let points = histogram.data_points.iter().map(|point| {
                let positive = point.positive.iter().flat_map(|buckets| &buckets.bucket_counts);
                assert_eq!(
                    positive.sum::<u64>() + point.zero_count,
                    point.count,
                    "the buckets of {} add up to the count",
                    metric.name
                );
                Point {
                    labels: pairs(&point.attributes),
                    start: Some(point.start_time_unix_nano),
                    time: point.time_unix_nano,
                    value: (point.flags & 1 == 0).then(|| Value {
                        count: point.count as f64,
                        sum: Some(point.sum.unwrap_or(-1.0)),
                        buckets: Vec::new(),
                    }),
                }
            });
            points.collect()
        }
        other => panic!("{} has data of a kind that is never sent: {other:?}", metric.name),
    }
}

fn number(point: &NumberDataPoint, start: Option<u64>) -> Point {
    let value = match point.value {
        Some(number_data_point::Value::AsInt(value)) => Some(value as f64),
        Some(number_data_point::Value::AsDouble(value)) => Some(value),
        None => None,
    };
    assert_eq!(value.is_none(), point.flags & 1 == 1, "a point without a value says so");
    Point {
        labels: pairs(&point.attributes),
        start,
        time: point.time_unix_nano,
        value: value.map(|count| Value {
            count,
            ..Value::default()
        }),
    }
}

fn pairs(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let text = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(value)) => value.clone(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|pair| (pair.key.clone(), text(pair))).collect()
}
