use opentelemetry_proto::tonic::metrics::v1::{
    Histogram, HistogramDataPoint, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};

use super::*;

fn counter(start: u64, time: u64, value: i64) -> NumberDataPoint {
    NumberDataPoint {
        start_time_unix_nano: start,
        time_unix_nano: time,
        value: Some(Value::AsInt(value)),
        ..NumberDataPoint::default()
    }
}

fn end(time: u64) -> NumberDataPoint {
    NumberDataPoint {
        flags: 1,
        value: None,
        ..counter(1, time, 0)
    }
}

fn request(data: Data) -> ExportMetricsServiceRequest {
    let metric = Metric {
        name: "hits_total".into(),
        data: Some(data),
        ..Metric::default()
    };
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![metric],
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
}

fn sums(points: &[NumberDataPoint]) -> ExportMetricsServiceRequest {
    request(Data::Sum(Sum {
        data_points: points.to_vec(),
        aggregation_temporality: 2,
        is_monotonic: true,
    }))
}

/// Takes each list of points as one request.
fn receive(requests: &[&[NumberDataPoint]]) -> Snapshot {
    let mut received = Received::default();
    for points in requests {
        received.take(&sums(points));
    }
    received.snapshot()
}

#[test]
fn a_counter_that_keeps_its_promises_has_no_violations() {
    let snapshot = receive(&[&[counter(1, 2, 0)], &[counter(1, 3, 5), counter(1, 4, 5)]]);
    assert_eq!((snapshot.requests, snapshot.points, snapshot.violations), (2, 3, 0));
    let series = &snapshot.series[0];
    assert_eq!(
        (series.start, series.time, series.points, series.value),
        (1, 4, 3, ReceivedValue::Sum(5.0))
    );
}

#[test]
fn a_request_that_comes_again_is_all_duplicates() {
    let points = [counter(1, 2, 3), counter(1, 3, 4)];
    let snapshot = receive(&[&points, &points, &points[..1]]);
    assert_eq!((snapshot.points, snapshot.duplicates, snapshot.violations), (2, 3, 0));
}

#[test]
fn every_broken_promise_is_a_violation() {
    for (point, expected) in [
        (counter(2, 9, 9), "start time 2 was 1"),
        (counter(1, 9, 4), "value 4 after 5"),
        (counter(1, 5, 6), "a point at 5 after one at 5"),
        (counter(1, 4, 4), "a point at 4 after one at 5"),
    ] {
        let snapshot = receive(&[&[counter(1, 5, 5)], &[point]]);
        assert_eq!(snapshot.violations, 1, "{expected}");
        assert!(
            snapshot.violation_texts[0].ends_with(expected),
            "{:?}",
            snapshot.violation_texts
        );
    }
}

#[test]
fn a_histogram_whose_count_falls_is_a_violation() {
    let histogram = |time, count, sum| {
        request(Data::Histogram(Histogram {
            data_points: vec![HistogramDataPoint {
                time_unix_nano: time,
                count,
                sum: Some(sum),
                ..HistogramDataPoint::default()
            }],
            aggregation_temporality: 2,
        }))
    };
    let mut received = Received::default();
    received.take(&histogram(1, 3, 3.0));
    received.take(&histogram(2, 4, 3.0));
    assert_eq!(received.snapshot().violations, 0);
    received.take(&histogram(3, 3, 4.0));
    assert_eq!(received.snapshot().violations, 1);
}

#[test]
fn a_series_that_ended_may_start_anew_after_its_end() {
    let snapshot = receive(&[&[counter(1, 5, 5)], &[end(6)], &[counter(6, 7, 0)]]);
    assert_eq!(snapshot.violations, 0);
    let snapshot = receive(&[&[counter(1, 5, 5)], &[end(6)], &[counter(2, 7, 0)]]);
    assert_eq!(snapshot.violations, 1);
    assert!(receive(&[&[counter(1, 5, 5)], &[end(6)]]).series[0].ended);
}

#[test]
fn quantiles_are_within_the_bucket_of_their_rank() {
    // A hundred values from 0.01 to 1.00 at scale 4: buckets grow by 4.4 %.
    let index = |value: f64| (value.log2() * 16.0).ceil() as i32 - 1;
    let offset = index(0.01);
    let mut buckets = Buckets {
        scale: 4,
        zeros: 0,
        offset,
        counts: vec![0; (index(1.0) - offset + 1) as usize],
    };
    assert_eq!(buckets.quantile(0.5), None);
    for value in 1..=100 {
        buckets.counts[(index(f64::from(value) / 100.0) - offset) as usize] += 1;
    }
    for (part, value) in [(0.0, 0.01), (0.5, 0.5), (0.95, 0.95), (1.0, 1.0)] {
        let found = buckets.quantile(part).expect("there are values");
        assert!((found / value - 1.0).abs() < 0.03, "{part}: {found}");
    }
    buckets.zeros = 300;
    assert_eq!(buckets.quantile(0.5), Some(0.0));
}
