//! The points inside an encoded `ExportMetricsServiceRequest`.
//!
//! Rule: points are numbered series by series, in the order in which the series first appear; the points of one series keep
//! their order. Any of them can be encoded again as a request of its own, inside the same resource, scope and metric.
//!
//! Edges:
//! - a series is its resource, scope, metric name and attributes, wherever in the request it stands;
//! - a metric without points has no number and is left out of every piece.

use std::collections::HashMap;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use prost::Message;

/// A decoded request and the order of its points.
pub struct Points {
    request: ExportMetricsServiceRequest,
    order: Vec<Place>,
}

/// Where one point stands: indices into the decoded request.
#[derive(Clone, Copy)]
struct Place {
    series: usize,
    resource: usize,
    scope: usize,
    metric: usize,
    point: usize,
    time: u64,
}

/// What is worth knowing of every request, found without decoding it all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    pub points: u64,
    /// Time of the newest point, nanoseconds since the epoch; 0 without points.
    pub newest: u64,
}

/// Runs an expression with `$points` bound to the points of whatever kind of data it is.
macro_rules! with_points {
    ($data:expr, $points:ident => $body:expr) => {
        match $data {
            Data::Gauge(data) => {
                let $points = &data.data_points;
                $body
            }
            Data::Sum(data) => {
                let $points = &data.data_points;
                $body
            }
            Data::Histogram(data) => {
                let $points = &data.data_points;
                $body
            }
            Data::ExponentialHistogram(data) => {
                let $points = &data.data_points;
                $body
            }
            Data::Summary(data) => {
                let $points = &data.data_points;
                $body
            }
        }
    };
}

// === impl Points ===

impl Points {
    pub fn read(request: &[u8]) -> Result<Points, prost::DecodeError> {
        let request = ExportMetricsServiceRequest::decode(request)?;
        let mut series = HashMap::new();
        let mut order = Vec::new();
        for (resource, by_resource) in request.resource_metrics.iter().enumerate() {
            let resource_key = by_resource
                .resource
                .as_ref()
                .map(Message::encode_to_vec)
                .unwrap_or_default();
            for (scope, by_scope) in by_resource.scope_metrics.iter().enumerate() {
                let scope_key = by_scope.scope.as_ref().map(Message::encode_to_vec).unwrap_or_default();
                for (metric, of_metric) in by_scope.metrics.iter().enumerate() {
                    for (point, (attributes, time)) in points_of(of_metric).into_iter().enumerate() {
                        let key = (
                            resource_key.clone(),
                            scope_key.clone(),
                            &of_metric.name,
                            encoded_attributes(attributes),
                        );
                        let next = series.len();
                        let series = *series.entry(key).or_insert(next);
                        order.push(Place {
                            series,
                            resource,
                            scope,
                            metric,
                            point,
                            time,
                        });
                    }
                }
            }
        }
        // Stable: the points of one series keep their order.
        order.sort_by_key(|place| place.series);
        drop(series);
        Ok(Points { request, order })
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Where in a list of numbers each series begins.
    pub fn series_starts(&self, numbers: &[usize]) -> Vec<usize> {
        let series = |at: usize| self.order[numbers[at]].series;
        (0..numbers.len())
            .filter(|&at| at == 0 || series(at - 1) != series(at))
            .collect()
    }

    /// Time of the newest of these points, nanoseconds since the epoch.
    pub fn newest(&self, numbers: &[usize]) -> u64 {
        numbers.iter().map(|&number| self.order[number].time).max().unwrap_or(0)
    }

    /// These points as a request of their own.
    pub fn piece(&self, numbers: &[usize]) -> Bytes {
        let mut piece = ExportMetricsServiceRequest::default();
        let mut last: Option<Place> = None;
        for place in numbers.iter().map(|&number| &self.order[number]) {
            let by_resource = &self.request.resource_metrics[place.resource];
            let by_scope = &by_resource.scope_metrics[place.scope];
            let metric = &by_scope.metrics[place.metric];
            let same_resource = last.is_some_and(|last| last.resource == place.resource);
            let same_scope = same_resource && last.is_some_and(|last| last.scope == place.scope);
            let same_metric = same_scope && last.is_some_and(|last| last.metric == place.metric);
            if !same_resource {
                piece.resource_metrics.push(ResourceMetrics {
                    resource: by_resource.resource.clone(),
                    scope_metrics: Vec::new(),
                    schema_url: by_resource.schema_url.clone(),
                });
            }
            let scopes = &mut piece.resource_metrics.last_mut().expect("one was pushed").scope_metrics;
            if !same_scope {
                scopes.push(ScopeMetrics {
                    scope: by_scope.scope.clone(),
                    metrics: Vec::new(),
                    schema_url: by_scope.schema_url.clone(),
                });
            }
            let metrics = &mut scopes.last_mut().expect("one was pushed").metrics;
            if !same_metric {
                metrics.push(without_points(metric));
            }
            copy_point(metric, place.point, metrics.last_mut().expect("one was pushed"));
            last = Some(*place);
        }
        piece.encode_to_vec().into()
    }
}

fn points_of(metric: &Metric) -> Vec<(&[KeyValue], u64)> {
    match &metric.data {
        Some(data) => with_points!(data, points => {
            points.iter().map(|point| (point.attributes.as_slice(), point.time_unix_nano)).collect()
        }),
        None => Vec::new(),
    }
}

fn encoded_attributes(attributes: &[KeyValue]) -> Vec<u8> {
    let mut key = Vec::new();
    for attribute in attributes {
        attribute.encode_length_delimited(&mut key).expect("a vector grows");
    }
    key
}

/// The metric's envelope.
fn without_points(metric: &Metric) -> Metric {
    use opentelemetry_proto::tonic::metrics::v1::{ExponentialHistogram, Gauge, Histogram, Sum, Summary};
    let data = metric.data.as_ref().map(|data| match data {
        Data::Gauge(_) => Data::Gauge(Gauge::default()),
        Data::Sum(sum) => Data::Sum(Sum {
            data_points: Vec::new(),
            aggregation_temporality: sum.aggregation_temporality,
            is_monotonic: sum.is_monotonic,
        }),
        Data::Histogram(histogram) => Data::Histogram(Histogram {
            data_points: Vec::new(),
            aggregation_temporality: histogram.aggregation_temporality,
        }),
        Data::ExponentialHistogram(histogram) => Data::ExponentialHistogram(ExponentialHistogram {
            data_points: Vec::new(),
            aggregation_temporality: histogram.aggregation_temporality,
        }),
        Data::Summary(_) => Data::Summary(Summary::default()),
    });
    Metric {
        name: metric.name.clone(),
        description: metric.description.clone(),
        unit: metric.unit.clone(),
        metadata: metric.metadata.clone(),
        data,
    }
}

/// Appends one point of `from` to its envelope `to`.
fn copy_point(from: &Metric, point: usize, to: &mut Metric) {
    match (&from.data, &mut to.data) {
        (Some(Data::Gauge(from)), Some(Data::Gauge(to))) => to.data_points.push(from.data_points[point].clone()),
        (Some(Data::Sum(from)), Some(Data::Sum(to))) => to.data_points.push(from.data_points[point].clone()),
        (Some(Data::Histogram(from)), Some(Data::Histogram(to))) => {
            to.data_points.push(from.data_points[point].clone());
        }
        (Some(Data::ExponentialHistogram(from)), Some(Data::ExponentialHistogram(to))) => {
            to.data_points.push(from.data_points[point].clone());
        }
        (Some(Data::Summary(from)), Some(Data::Summary(to))) => to.data_points.push(from.data_points[point].clone()),
        _ => unreachable!("the envelope has the kind of its metric"),
    }
}

// === impl Outline ===

impl Outline {
    /// Counts the points of an encoded request. What cannot be read has none.
    pub fn of(request: &[u8]) -> Outline {
        let Ok(request) = outline::Request::decode(request) else {
            return Outline::default();
        };
        let mut outline = Outline::default();
        for metric in request
            .resources
            .iter()
            .flat_map(|resource| &resource.scopes)
            .flat_map(|scope| &scope.metrics)
        {
            let kinds = [
                &metric.gauge,
                &metric.sum,
                &metric.histogram,
                &metric.exponential_histogram,
                &metric.summary,
            ];
            for point in kinds.into_iter().flatten().flat_map(|data| &data.points) {
                outline.points += 1;
                outline.newest = outline.newest.max(point.time);
            }
        }
        outline
    }
}

/// The OTLP messages with nothing but the fields on the way to a point's time (opentelemetry/proto/metrics/v1).
mod outline {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Request {
        #[prost(message, repeated, tag = "1")]
        pub resources: Vec<Resource>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Resource {
        #[prost(message, repeated, tag = "2")]
        pub scopes: Vec<Scope>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Scope {
        #[prost(message, repeated, tag = "2")]
        pub metrics: Vec<Metric>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Metric {
        #[prost(message, optional, tag = "5")]
        pub gauge: Option<Data>,
        #[prost(message, optional, tag = "7")]
        pub sum: Option<Data>,
        #[prost(message, optional, tag = "9")]
        pub histogram: Option<Data>,
        #[prost(message, optional, tag = "10")]
        pub exponential_histogram: Option<Data>,
        #[prost(message, optional, tag = "11")]
        pub summary: Option<Data>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Data {
        #[prost(message, repeated, tag = "1")]
        pub points: Vec<Point>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Point {
        #[prost(fixed64, tag = "3")]
        pub time: u64,
    }
}

#[cfg(test)]
#[path = "points_tests.rs"]
pub(super) mod tests;
