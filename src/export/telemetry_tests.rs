use std::time::Duration;

use super::*;
use crate::engine::tap::ledger::{Ledger, Outcome};
use crate::engine::task::{TaskView, Wait};
use crate::runtime::log::TopicPartition;
use crate::runtime::stats::Stats;

const START: WallTime = WallTime(1_000_000);
const NOW: WallTime = WallTime(11_000_000);

fn named<'m>(metrics: &'m [Metric], name: &str) -> &'m metric::Data {
    let metric = metrics.iter().find(|metric| metric.name == name);
    metric.and_then(|metric| metric.data.as_ref()).expect(name)
}

fn sums(data: &metric::Data) -> Vec<(Vec<String>, f64)> {
    let metric::Data::Sum(sum) = data else {
        panic!("{data:?} is no sum")
    };
    assert!(sum.is_monotonic);
    assert_eq!(sum.aggregation_temporality(), AggregationTemporality::Cumulative);
    let point = |point: &NumberDataPoint| {
        let labels = point.attributes.iter().map(|label| format!("{:?}", label.value));
        let value = match point.value {
            Some(number_data_point::Value::AsInt(value)) => value as f64,
            Some(number_data_point::Value::AsDouble(value)) => value,
            None => f64::NAN,
        };
        assert_eq!(
            (point.start_time_unix_nano, point.time_unix_nano),
            (1_000_000_000, 11_000_000_000)
        );
        (labels.collect(), value)
    };
    sum.data_points.iter().map(point).collect()
}

#[test]
fn transactions_of_every_worker_and_of_export_are_counted_by_their_end() {
    let stats = Stats::default();
    stats.of("tap-0", |numbers| (numbers.committed, numbers.aborted) = (7, 2));
    let export = ExportSnapshot {
        commits: 3,
        ..ExportSnapshot::default()
    };
    let traces = ExportSnapshot {
        aborts: 4,
        ..ExportSnapshot::default()
    };
    let metrics = metrics(
        &stats.lock(),
        &[("export", export), ("export-traces", traces)],
        None,
        START,
        NOW,
    );
    let transactions = sums(named(&metrics, "streamgauge_transactions_total"));
    let values: Vec<f64> = transactions.iter().map(|(_, value)| *value).collect();
    assert_eq!(values, [7.0, 2.0, 0.0, 3.0, 0.0, 0.0, 0.0, 4.0, 0.0]);
}

#[test]
fn a_duration_is_in_the_bucket_that_its_bound_closes() {
    let stats = Stats::default();
    for millis in [5, 20, 20, 60_000] {
        stats.of("gauge", |numbers| numbers.commit_took(Duration::from_millis(millis)));
    }
    let metrics = metrics(&stats.lock(), &[], None, START, NOW);
    let metric::Data::Histogram(histogram) = named(&metrics, "streamgauge_commit_duration_seconds") else {
        panic!("no histogram")
    };
    let point = &histogram.data_points[0];
    assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
    assert_eq!(point.bucket_counts, [1, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    assert!((point.sum.unwrap() - 60.045).abs() < 0.07, "{:?}", point.sum);
}

#[test]
fn partitions_that_wait_are_there_by_topic_and_reason_also_as_zeros() {
    let stats = Stats::default();
    let waiting = [("a", Wait::Ahead, 3), ("a", Wait::Full, 0)];
    stats.of("tap-0", |numbers| {
        numbers.waiting = waiting
            .map(|(topic, wait, count)| ((topic.to_owned(), wait), count))
            .into();
    });
    let metrics = metrics(&stats.lock(), &[], None, START, NOW);
    let metric::Data::Gauge(gauge) = named(&metrics, "streamgauge_waiting_partitions") else {
        panic!("no gauge")
    };
    let points = gauge.data_points.iter().map(|point| {
        let labels = point
            .attributes
            .iter()
            .filter_map(|label| label.value.as_ref()?.value.clone());
        (labels.collect::<Vec<_>>(), point.value)
    });
    let text = |values: [&str; 3]| {
        values
            .map(|value| any_value::Value::StringValue(value.to_owned()))
            .to_vec()
    };
    let whole = |value| Some(number_data_point::Value::AsInt(value));
    assert_eq!(
        points.collect::<Vec<_>>(),
        [
            (text(["tap-0", "a", "ahead"]), whole(3)),
            (text(["tap-0", "a", "full"]), whole(0))
        ]
    );
}

#[test]
fn a_process_without_the_export_stage_says_nothing_of_it() {
    let metrics = metrics(&Stats::default().lock(), &[], None, START, NOW);
    assert!(
        metrics
            .iter()
            .all(|metric| !metric.name.contains("export") && !metric.name.contains("outbox"))
    );
}

#[test]
fn cpu_and_memory_are_there_where_the_system_says_them() {
    let usage = Usage {
        user: 1.5,
        system: 0.25,
        resident: 4_096,
    };
    let metrics = metrics(&Stats::default().lock(), &[], Some(usage), START, NOW);
    let cpu = sums(named(&metrics, "streamgauge_process_cpu_seconds_total"));
    assert_eq!(cpu.iter().map(|(_, value)| *value).sum::<f64>(), 1.75);
}

#[test]
fn the_interval_is_the_standard_variable_and_nonsense_names_it() {
    let of = |value: Option<&str>| interval(&|_| value.map(str::to_owned));
    assert_eq!(of(None), Ok(EVERY));
    assert_eq!(of(Some("500")), Ok(Duration::from_millis(500)));
    let error = of(Some("soon")).unwrap_err().to_string();
    assert!(
        error.contains("OTEL_METRIC_EXPORT_INTERVAL") && error.contains("`soon`"),
        "{error}"
    );
}

#[test]
fn a_ledger_that_does_not_add_up_is_seen_by_its_topic() {
    let stats = Stats::default();
    let view = |next| {
        let mut ledger = Ledger::default();
        ledger.add(Outcome::Counted, 10);
        TaskView {
            ledger: Some(ledger),
            next,
            ..TaskView::default()
        }
    };
    let tasks = [
        ("good", 0, Some(10)),
        ("bad", 0, Some(10)),
        ("bad", 1, Some(7)),
        ("bad", 2, Some(12)),
        ("bad", 3, None),
    ];
    stats.of("tap-0", |numbers| {
        for (topic, partition, next) in tasks {
            let topic = topic.to_owned();
            numbers
                .tasks
                .insert(TopicPartition { topic, partition }, ("running", view(next)));
        }
    });
    let metrics = metrics(&stats.lock(), &[], None, START, NOW);
    let metric::Data::Gauge(gauge) = named(&metrics, "streamgauge_ledger_imbalance_records") else {
        panic!("no gauge")
    };
    let values: Vec<_> = gauge.data_points.iter().map(|point| point.value).collect();
    let of = |value| Some(number_data_point::Value::AsInt(value));
    assert_eq!(
        values,
        [of(5), of(0)],
        "three too few and two too many do not make up for each other"
    );
}
