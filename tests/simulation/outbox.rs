//! What a collector would make of the outbox: each series with its points, held to the rules.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use prost::Message;
use streamgauge::memory::Cluster;

/// Metric name and label values, in the order of their names.
pub type SeriesName = (String, Vec<String>);

/// The newest value of each series. Panics when a series goes back in time or value, or changes its start.
pub fn totals(cluster: &Cluster, topic: &str, partitions: u32) -> BTreeMap<SeriesName, f64> {
    let mut series: BTreeMap<SeriesName, (u64, u64, f64)> = BTreeMap::new();
    for partition in 0..partitions {
        let (records, _) = cluster.read(topic, partition, 0).expect("the outbox is there");
        for record in records {
            let request = ExportMetricsServiceRequest::decode(record.value.unwrap_or_default().as_slice())
                .expect("the outbox holds requests");
            for (name, start, time, value) in points(&request) {
                let held = series.entry(name.clone()).or_insert((start, 0, -1.0));
                assert_eq!(held.0, start, "{name:?} changed its start time");
                assert!(time > held.1, "{name:?} has a point at {time} after one at {}", held.1);
                assert!(value >= held.2, "{name:?} fell from {} to {value}", held.2);
                *held = (start, time, value);
            }
        }
    }
    series.into_iter().map(|(name, (_, _, value))| (name, value)).collect()
}

fn points(request: &ExportMetricsServiceRequest) -> Vec<(SeriesName, u64, u64, f64)> {
    let mut found = Vec::new();
    let metrics = request
        .resource_metrics
        .iter()
        .flat_map(|resource| &resource.scope_metrics)
        .flat_map(|scope| &scope.metrics);
    for metric in metrics {
        match &metric.data {
            Some(metric::Data::Sum(sum)) => {
                for point in &sum.data_points {
                    let value = match point.value {
                        Some(number_data_point::Value::AsInt(value)) => value as f64,
                        Some(number_data_point::Value::AsDouble(value)) => value,
                        None => continue,
                    };
                    let name = (metric.name.clone(), labels(&point.attributes));
                    found.push((name, point.start_time_unix_nano, point.time_unix_nano, value));
                }
            }
            Some(metric::Data::Histogram(histogram)) => {
                for point in &histogram.data_points {
                    let (start, time) = (point.start_time_unix_nano, point.time_unix_nano);
                    let labels = labels(&point.attributes);
                    assert_eq!(
                        point.bucket_counts.iter().sum::<u64>(),
                        point.count,
                        "buckets add up to the count"
                    );
                    found.push((
                        (format!("{}_count", metric.name), labels.clone()),
                        start,
                        time,
                        point.count as f64,
                    ));
                    found.push((
                        (format!("{}_sum", metric.name), labels),
                        start,
                        time,
                        point.sum.unwrap_or(-1.0),
                    ));
                }
            }
            _ => {}
        }
    }
    found
}

fn labels(attributes: &[KeyValue]) -> Vec<String> {
    let text = |pair: &KeyValue| match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(value)) => value.clone(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(text).collect()
}
