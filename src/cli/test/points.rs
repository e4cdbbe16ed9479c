//! The points in frozen requests, as a test compares them.
//!
//! Rule: points are read from the bytes that would be sent. A point without a value (the end of a series) is left out.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, metric, number_data_point,
};
use prost::Message;

use crate::engine::time::EventTime;
use crate::pipeline::testing::Shown;

/// OTLP's flag for a point that says "no more".
const NO_RECORDED_VALUE: u32 = 1;

pub type Labels = BTreeMap<String, String>;
/// Points by metric and series, in the order of their times.
pub type Metrics = BTreeMap<String, BTreeMap<Labels, Vec<Point>>>;

#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    pub time: EventTime,
    /// The zero point at the start of a series.
    pub first: bool,
    pub shown: Shown,
}

/// The points of these requests, in their order.
pub fn read(requests: &[Vec<u8>]) -> Result<Metrics, String> {
    let mut metrics = Metrics::new();
    for request in requests {
        let request = ExportMetricsServiceRequest::decode(request.as_slice())
            .map_err(|error| format!("a frozen request cannot be read: {error}"))?;
        let scopes = request.resource_metrics.into_iter().flat_map(|of| of.scope_metrics);
        for metric in scopes.flat_map(|scope| scope.metrics) {
            let series = metrics.entry(metric.name.clone()).or_default();
            for (labels, point) in points_of(metric) {
                series.entry(labels).or_default().push(point);
            }
        }
    }
    metrics.retain(|_, series| !series.is_empty());
    Ok(metrics)
}

fn points_of(metric: Metric) -> Vec<(Labels, Point)> {
    match metric.data {
        Some(metric::Data::Sum(data)) => data.data_points.into_iter().filter_map(number).collect(),
        Some(metric::Data::Gauge(data)) => data.data_points.into_iter().filter_map(number).collect(),
        Some(metric::Data::Histogram(data)) => data.data_points.into_iter().filter_map(explicit).collect(),
        Some(metric::Data::ExponentialHistogram(data)) => {
            data.data_points.into_iter().filter_map(exponential).collect()
        }
        Some(metric::Data::Summary(_)) | None => Vec::new(),
    }
}

fn point(attributes: Vec<KeyValue>, start: u64, time: u64, flags: u32, shown: Shown) -> Option<(Labels, Point)> {
    let point = Point {
        time: EventTime(i64::try_from(time / 1_000).unwrap_or(i64::MAX)),
        first: start == time,
        shown,
    };
    (flags & NO_RECORDED_VALUE == 0).then(|| (attributes.into_iter().map(label).collect(), point))
}

fn label(pair: KeyValue) -> (String, String) {
    let value = match pair.value.and_then(|value| value.value) {
        Some(any_value::Value::StringValue(text)) => text,
        Some(any_value::Value::BoolValue(value)) => value.to_string(),
        Some(any_value::Value::IntValue(value)) => value.to_string(),
        _ => String::new(),
    };
    (pair.key, value)
}

fn number(data: NumberDataPoint) -> Option<(Labels, Point)> {
    let shown = Shown {
        value: data.value.map(|value| match value {
            number_data_point::Value::AsInt(value) => value as f64,
            number_data_point::Value::AsDouble(value) => value,
        }),
        ..Shown::default()
    };
    point(
        data.attributes,
        data.start_time_unix_nano,
        data.time_unix_nano,
        data.flags,
        shown,
    )
}

fn explicit(data: HistogramDataPoint) -> Option<(Labels, Point)> {
    let bounds = data.explicit_bounds.iter().copied().chain([f64::INFINITY]);
    let shown = Shown {
        value: None,
        count: Some(data.count),
        sum: data.sum,
        buckets: Some(filled(bounds.zip(data.bucket_counts.iter().copied()))),
    };
    point(
        data.attributes,
        data.start_time_unix_nano,
        data.time_unix_nano,
        data.flags,
        shown,
    )
}

fn exponential(data: ExponentialHistogramDataPoint) -> Option<(Labels, Point)> {
    let positive = data.positive.unwrap_or_default();
    let width = f64::from(-data.scale).exp2();
    let bound = |index: i32| (f64::from(index) * width).exp2();
    let above = (positive.offset.saturating_add(1)..).map(bound);
    let zero = (0.0, data.zero_count);
    let shown = Shown {
        value: None,
        count: Some(data.count),
        sum: data.sum,
        buckets: Some(filled([zero].into_iter().chain(above.zip(positive.bucket_counts)))),
    };
    point(
        data.attributes,
        data.start_time_unix_nano,
        data.time_unix_nano,
        data.flags,
        shown,
    )
}

fn filled(buckets: impl Iterator<Item = (f64, u64)>) -> Vec<(f64, u64)> {
    buckets.filter(|(_, count)| *count > 0).collect()
}
