use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{Gauge, HistogramDataPoint, NumberDataPoint, Sum};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::*;

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue {
        value: Some(any_value::Value::StringValue(value.into())),
    });
    KeyValue {
        key: key.into(),
        value,
        ..KeyValue::default()
    }
}

fn number(series: &str, time: u64) -> NumberDataPoint {
    NumberDataPoint {
        attributes: vec![attribute("series", series)],
        start_time_unix_nano: 1,
        time_unix_nano: time,
        value: Some(Value::AsInt(time as i64)),
        ..NumberDataPoint::default()
    }
}

fn sum(name: &str, data_points: Vec<NumberDataPoint>) -> Metric {
    let data = Data::Sum(Sum {
        data_points,
        aggregation_temporality: 2,
        is_monotonic: true,
    });
    Metric {
        name: name.into(),
        unit: "1".into(),
        data: Some(data),
        ..Metric::default()
    }
}

fn request(metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(Resource {
                attributes: vec![attribute("service.name", "x")],
                ..Resource::default()
            }),
            scope_metrics: vec![ScopeMetrics {
                scope: None,
                metrics,
                schema_url: "s".into(),
            }],
            schema_url: "r".into(),
        }],
    }
}

/// A request of one counter: `(series, time in nanoseconds)` in this order.
pub(in crate::export) fn counter(points: &[(&str, u64)]) -> Bytes {
    let points = points.iter().map(|(series, time)| number(series, *time)).collect();
    request(vec![sum("hits_total", points)]).encode_to_vec().into()
}

/// The times of the numeric points of a piece, in order.
pub(in crate::export) fn times(piece: &[u8]) -> Vec<u64> {
    let piece = Points::read(piece).unwrap();
    piece.order.iter().map(|place| place.time).collect()
}

#[test]
fn the_whole_range_is_the_same_request() {
    let whole = counter(&[("a", 1), ("b", 1), ("c", 2)]);
    let points = Points::read(&whole).unwrap();
    assert_eq!(points.piece(&[0, 1, 2]), whole);
    assert_eq!(points.len(), 3);
}

#[test]
fn points_are_numbered_series_by_series_and_keep_their_order_within_one() {
    let points = Points::read(&counter(&[("a", 1), ("b", 1), ("a", 2), ("b", 2)])).unwrap();
    assert_eq!(points.series_starts(&[0, 1, 2, 3]), [0, 2]);
    assert_eq!(points.series_starts(&[1, 2, 3]), [0, 1]);
    assert_eq!(times(&points.piece(&[0, 1])), [1, 2]);
    assert_eq!(points.piece(&[0, 1]), counter(&[("a", 1), ("a", 2)]));
    assert_eq!(points.newest(&[2]), 1);
}

#[test]
fn a_piece_keeps_resource_scope_and_metric_and_leaves_empty_metrics_out() {
    let histogram = Metric {
        name: "seconds".into(),
        data: Some(Data::Histogram(opentelemetry_proto::tonic::metrics::v1::Histogram {
            data_points: vec![HistogramDataPoint {
                time_unix_nano: 9,
                count: 4,
                ..HistogramDataPoint::default()
            }],
            aggregation_temporality: 2,
        })),
        ..Metric::default()
    };
    let empty = Metric {
        name: "none".into(),
        data: Some(Data::Gauge(Gauge::default())),
        ..Metric::default()
    };
    let first = sum("a_total", vec![number("a", 1), number("b", 1)]);
    let whole = request(vec![first, empty, histogram.clone()]).encode_to_vec();
    let points = Points::read(&whole).unwrap();
    assert_eq!(points.len(), 3);
    let piece = ExportMetricsServiceRequest::decode(points.piece(&[1, 2])).unwrap();
    assert_eq!(piece, request(vec![sum("a_total", vec![number("b", 1)]), histogram]));
}

#[test]
fn one_series_in_two_metrics_of_a_name_is_one_series() {
    let whole = request(vec![
        sum("a_total", vec![number("a", 1)]),
        sum("a_total", vec![number("b", 1), number("a", 2)]),
    ]);
    let points = Points::read(&whole.encode_to_vec()).unwrap();
    assert_eq!(points.series_starts(&[0, 1, 2]), [0, 2]);
    let piece = ExportMetricsServiceRequest::decode(points.piece(&[0, 1])).unwrap();
    assert_eq!(piece.resource_metrics[0].scope_metrics[0].metrics.len(), 2);
}

#[test]
fn an_outline_counts_what_is_there() {
    let whole = counter(&[("a", 5), ("b", 7), ("a", 6)]);
    assert_eq!(Outline::of(&whole), Outline { points: 3, newest: 7 });
    assert_eq!(Outline::of(b""), Outline::default());
    assert_eq!(Outline::of(&[0xff]), Outline::default());
}
