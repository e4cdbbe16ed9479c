//! What a process says of itself: commits, restores, verdicts, CPU, memory.
//!
//! Rule: numbers of one process, from its start, under a resource of its own (`service.instance.id` is the instance, not
//! the pipeline's). They are cumulative and sent every [`Telemetry::every`] straight to the collector, not through Kafka:
//! what a process did is no state of the application, and must be seen most when the rest does not move.
//!
//! Edges:
//! - what could not be sent is not sent again: the next request holds it, since everything is cumulative;
//! - the export stage says what is wrong with the collector; here only a refusal is said, once;
//! - at the end one last request goes out, with what the drain did.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender as Stopper, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use hdrhistogram::Histogram as Recorded;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::process::{Usage, usage};
use super::sender::Sender;
use super::settings::SettingsError;
use super::stats::{ExportSnapshot, ExportStats};
use super::verdict::Verdict;
use crate::engine::sketch::PROMETHEUS_SECONDS as BOUNDS;
use crate::engine::time::WallTime;
use crate::runtime::clock::wall_time;
use crate::runtime::stats::{Numbers, Stats};

/// How long the last request may take.
const LAST: Duration = Duration::from_secs(2);

/// Where nothing else is said: a request is small, and a dashboard is looked at when something is wrong just now.
const EVERY: Duration = Duration::from_secs(10);

/// What there is to say of a process.
#[derive(Clone)]
pub struct Process {
    pub application: String,
    /// The name of the instance, or something that no other process is called.
    pub instance: String,
    /// When its numbers were zero.
    pub start: WallTime,
    pub stats: Stats,
    /// The export loops that run here, by what they are called.
    pub export: Vec<(&'static str, Arc<ExportStats>)>,
}

/// Everything that the thread needs.
pub struct Telemetry {
    pub process: Process,
    pub every: Duration,
    /// A sender of its own: one does not outlive the runtime that it sent on first.
    pub sender: Sender,
}

/// The thread; it ends when this is stopped or dropped.
pub struct Running {
    stop: Option<Stopper<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Attributes of a point.
type Labels = Vec<(&'static str, String)>;

/// Puts a request together.
struct Writer {
    start: u64,
    now: u64,
    metrics: Vec<Metric>,
}

/// How often requests are sent: the standard variable, in milliseconds.
pub fn interval(env: &dyn Fn(&str) -> Option<String>) -> Result<Duration, SettingsError> {
    const NAME: &str = "OTEL_METRIC_EXPORT_INTERVAL";
    let Some(text) = env(NAME).filter(|text| !text.is_empty()) else {
        return Ok(EVERY);
    };
    match text.parse() {
        Ok(millis @ 100..=3_600_000) => Ok(Duration::from_millis(millis)),
        _ => Err(SettingsError {
            setting: NAME.to_owned(),
            problem: format!("`{text}` is no number of milliseconds from 100 to 3600000"),
        }),
    }
}

// === impl Telemetry ===

impl Telemetry {
    pub fn start(self) -> std::io::Result<Running> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().name("telemetry".into()).spawn(move || {
            let mut said = false;
            loop {
                let last = !matches!(stopped.recv_timeout(self.every), Err(RecvTimeoutError::Timeout));
                let request = ExportMetricsServiceRequest {
                    resource_metrics: vec![self.process.metrics(wall_time())],
                };
                let sending = self.sender.send(request.encode_to_vec().into());
                let verdict = runtime.block_on(async {
                    match last {
                        true => tokio::time::timeout(LAST, sending).await.ok(),
                        false => Some(sending.await),
                    }
                });
                if let (Some(verdict @ (Verdict::Refused { .. } | Verdict::TooLarge { .. })), false) = (&verdict, said)
                {
                    said = true;
                    tracing::warn!(
                        event_type = "own_metrics_refused",
                        "the collector does not take the process's own metrics: {}",
                        verdict.message()
                    );
                }
                if last {
                    return;
                }
            }
        })?;
        Ok(Running {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

// === impl Process ===

impl Process {
    /// What the export loops did, by their names.
    pub fn exports(&self) -> Vec<(&'static str, ExportSnapshot)> {
        let each = self.export.iter().map(|(name, stats)| (*name, stats.snapshot()));
        each.collect()
    }

    /// Everything, as it is now.
    pub fn metrics(&self, now: WallTime) -> ResourceMetrics {
        let export = self.exports();
        let numbers = self.stats.lock();
        let metrics = metrics(&numbers, &export, usage(), self.start, now);
        drop(numbers);
        let attribute = |key: &'static str, value: &str| text(key, value.to_owned());
        ResourceMetrics {
            resource: Some(Resource {
                attributes: vec![
                    attribute("service.name", &self.application),
                    attribute("service.instance.id", &self.instance),
                    attribute("service.version", env!("CARGO_PKG_VERSION")),
                ],
                ..Resource::default()
            }),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(InstrumentationScope {
                    name: "streamgauge.process".to_owned(),
                    version: env!("CARGO_PKG_VERSION").to_owned(),
                    ..InstrumentationScope::default()
                }),
                metrics,
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }
    }
}

// === impl Running ===

impl Running {
    /// Sends what there is one last time.
    pub fn stop(self) {}
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// All metrics of one process. Names, units and labels: docs/metrics.md.
fn metrics(
    numbers: &Numbers,
    export: &[(&'static str, ExportSnapshot)],
    usage: Option<Usage>,
    start: WallTime,
    now: WallTime,
) -> Vec<Metric> {
    let mut writer = Writer {
        start: start.as_event().unix_nanos(),
        now: now.as_event().unix_nanos(),
        metrics: Vec::new(),
    };
    of_workers(&mut writer, numbers, export);
    if !export.is_empty() {
        of_export(&mut writer, export);
    }
    if let Some(usage) = usage {
        writer.sum_of_seconds(
            "streamgauge_process_cpu_seconds_total",
            "CPU time of the process.",
            vec![
                (vec![("mode", "user".to_owned())], usage.user),
                (vec![("mode", "system".to_owned())], usage.system),
            ],
        );
        writer.gauge(
            "streamgauge_process_resident_memory_bytes",
            "Resident memory of the process.",
            "By",
            vec![(Vec::new(), usage.resident)],
        );
    }
    writer.metrics
}

fn of_workers(writer: &mut Writer, numbers: &Numbers, export: &[(&'static str, ExportSnapshot)]) {
    let labels = |worker: &str| vec![("worker", worker.to_owned())];
    let results = |worker: &str, results: [(&'static str, u64); 3]| {
        let worker = worker.to_owned();
        results.map(move |(result, count)| (vec![("worker", worker.clone()), ("result", result.to_owned())], count))
    };
    let mut transactions = Vec::new();
    let mut dead_letters = Vec::new();
    for (worker, of) in &numbers.workers {
        let counts = [
            ("committed", of.committed),
            ("aborted", of.aborted),
            ("fatal", of.fatal),
        ];
        transactions.extend(results(worker, counts));
        dead_letters.push((labels(worker), of.dead_letters));
    }
    for (worker, export) in export {
        let counts = [
            ("committed", export.commits),
            ("aborted", export.aborts),
            ("fatal", export.fatal),
        ];
        transactions.extend(results(worker, counts));
        dead_letters.push((labels(worker), export.dead_letters));
    }
    let workers = &numbers.workers;
    writer.sum(
        "streamgauge_transactions_total",
        "Kafka transactions, by how they ended.",
        "{transaction}",
        transactions,
    );
    writer.sum(
        "streamgauge_dead_letters_total",
        "Records written to the dead letter topic.",
        "{record}",
        dead_letters,
    );
    let waiting = numbers.workers.iter().flat_map(|(worker, of)| {
        of.waiting.iter().map(move |((topic, wait), partitions)| {
            let labels = [("worker", worker.as_str()), ("topic", topic), ("reason", wait.name())];
            (labels.map(|(name, value)| (name, value.to_owned())).into(), *partitions)
        })
    });
    let waiting: Vec<(Labels, u64)> = waiting.collect();
    if !waiting.is_empty() {
        writer.gauge(
            "streamgauge_waiting_partitions",
            "Partitions of joined topics that are not read on because they are ahead of the slowest.",
            "{partition}",
            waiting,
        );
    }
    let mut imbalances: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for (worker, of) in workers {
        for (partition, (_, view)) in &of.tasks {
            if view.ledger.is_some() {
                *imbalances.entry((worker, &partition.topic)).or_default() += view.imbalance();
            }
        }
    }
    if !imbalances.is_empty() {
        let gauges = imbalances.into_iter().map(|((worker, topic), off)| {
            let labels = [("worker", worker), ("topic", topic)];
            (labels.map(|(name, value)| (name, value.to_owned())).into(), off)
        });
        writer.gauge(
            "streamgauge_ledger_imbalance_records",
            "Offsets of the partitions of this process whose outcomes the ledger does not have, or has twice.",
            "{record}",
            gauges.collect(),
        );
    }
    let of_each = |value: fn(&crate::runtime::stats::WorkerNumbers) -> u64| {
        workers.iter().map(|(worker, of)| (labels(worker), value(of))).collect()
    };
    writer.sum(
        "streamgauge_worker_records_total",
        "Records that a worker took from its topics, those read again after a restart included.",
        "{record}",
        of_each(|of| of.records),
    );
    writer.sum(
        "streamgauge_rebalances_total",
        "Changes of a worker's assignment.",
        "{change}",
        of_each(|of| of.rebalances),
    );
    writer.durations(
        "streamgauge_commit_duration_seconds",
        "From the begin of a transaction until it is committed, aborted tries included.",
        1e6,
        workers.iter().map(|(worker, of)| (labels(worker), &of.commit_micros)),
    );
    writer.durations(
        "streamgauge_restore_duration_seconds",
        "Reading one partition's state back from its changelog.",
        1e6,
        workers.iter().map(|(worker, of)| (labels(worker), &of.restore_micros)),
    );
}

fn of_export(writer: &mut Writer, export: &[(&'static str, ExportSnapshot)]) {
    let of = |worker: &str, more: &[(&'static str, &str)]| {
        let labels = [("worker", worker)].into_iter().chain(more.iter().copied());
        labels.map(|(name, value)| (name, value.to_owned())).collect::<Labels>()
    };
    let mut verdicts = Vec::new();
    let mut points = Vec::new();
    for (worker, export) in export {
        for (verdict, count) in [
            ("accepted", export.accepted),
            ("partial_success", export.partial_success),
            ("already_there", export.already_there),
            ("expired", export.expired),
            ("too_large", export.too_large),
            ("retried", export.retried),
            ("refused", export.refused),
        ] {
            verdicts.push((of(worker, &[("verdict", verdict)]), count));
        }
        for (outcome, count) in [
            ("accepted", export.points.accepted),
            ("rejected", export.points.rejected),
            ("already_there", export.points.already_there),
            ("expired", export.points.expired),
            ("quarantined", export.points.quarantined),
        ] {
            points.push((of(worker, &[("outcome", outcome)]), count));
        }
    }
    let of_each = |value: fn(&ExportSnapshot) -> u64| {
        let each = export.iter().map(|(worker, export)| (of(worker, &[]), value(export)));
        each.collect::<Vec<_>>()
    };
    writer.sum(
        "streamgauge_export_verdicts_total",
        "Answers of the collector, by what was made of them.",
        "{answer}",
        verdicts,
    );
    writer.sum(
        "streamgauge_export_points_total",
        "Points, or spans of `export-traces`, that are done with, by where they ended.",
        "{point}",
        points,
    );
    writer.sum(
        "streamgauge_outbox_gap_records_total",
        "Requests that retention deleted before they could be sent.",
        "{record}",
        of_each(|export| export.gap_records),
    );
    writer.gauge(
        "streamgauge_outbox_lag_records",
        "Requests in the outbox that are not done with, in the partitions of this process.",
        "{record}",
        of_each(|export| u64::try_from(export.lag_records).unwrap_or(0)),
    );
    writer.gauge(
        "streamgauge_outbox_blocked_partitions",
        "Partitions of the outbox that wait for the collector.",
        "{partition}",
        of_each(|export| export.blocked.len() as u64),
    );
    let latencies = export
        .iter()
        .filter_map(|(worker, export)| Some((of(worker, &[]), export.latency.as_ref()?)));
    writer.durations(
        "streamgauge_export_latency_seconds",
        "From the time of a request's newest point, or the end of its last span, until the collector took it.",
        1e3,
        latencies,
    );
}

// === impl Writer ===

impl Writer {
    fn add(&mut self, name: &str, help: &str, unit: &str, data: metric::Data) {
        self.metrics.push(Metric {
            name: name.to_owned(),
            description: help.to_owned(),
            unit: unit.to_owned(),
            data: Some(data),
            ..Metric::default()
        });
    }

    fn point(&self, labels: Labels, value: number_data_point::Value) -> NumberDataPoint {
        NumberDataPoint {
            attributes: attributes(labels),
            start_time_unix_nano: self.start,
            time_unix_nano: self.now,
            value: Some(value),
            ..NumberDataPoint::default()
        }
    }

    fn sum(&mut self, name: &str, help: &str, unit: &str, points: Vec<(Labels, u64)>) {
        let whole = |value| number_data_point::Value::AsInt(i64::try_from(value).unwrap_or(i64::MAX));
        let points = points
            .into_iter()
            .map(|(labels, value)| self.point(labels, whole(value)));
        let data = cumulative(points.collect());
        self.add(name, help, unit, data);
    }

    fn sum_of_seconds(&mut self, name: &str, help: &str, points: Vec<(Labels, f64)>) {
        let points = points
            .into_iter()
            .map(|(labels, value)| self.point(labels, number_data_point::Value::AsDouble(value)));
        let data = cumulative(points.collect());
        self.add(name, help, "s", data);
    }

    fn gauge(&mut self, name: &str, help: &str, unit: &str, points: Vec<(Labels, u64)>) {
        let whole = |value| number_data_point::Value::AsInt(i64::try_from(value).unwrap_or(i64::MAX));
        let points = points.into_iter().map(|(labels, value)| NumberDataPoint {
            start_time_unix_nano: 0,
            ..self.point(labels, whole(value))
        });
        let data_points = points.collect();
        self.add(name, help, unit, metric::Data::Gauge(Gauge { data_points }));
    }

    /// `per_second` recorded units are a second. Values are kept to three digits, and so is their sum.
    fn durations<'r>(
        &mut self,
        name: &str,
        help: &str,
        per_second: f64,
        of: impl Iterator<Item = (Labels, &'r Recorded<u64>)>,
    ) {
        let points = of.map(|(labels, recorded)| {
            let mut bucket_counts = vec![0; BOUNDS.len() + 1];
            let (mut count, mut sum) = (0, 0.0);
            for step in recorded.iter_recorded() {
                // A value on a bound is below it: the lowest of those that are kept as the same.
                let seconds = recorded.lowest_equivalent(step.value_iterated_to()) as f64 / per_second;
                let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
                bucket_counts[bucket] += step.count_since_last_iteration();
                count += step.count_since_last_iteration();
                sum += seconds * step.count_since_last_iteration() as f64;
            }
            HistogramDataPoint {
                attributes: attributes(labels),
                start_time_unix_nano: self.start,
                time_unix_nano: self.now,
                count,
                sum: Some(sum),
                bucket_counts,
                explicit_bounds: BOUNDS.to_vec(),
                ..HistogramDataPoint::default()
            }
        });
        let histogram = Histogram {
            data_points: points.collect(),
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
        };
        self.add(name, help, "s", metric::Data::Histogram(histogram));
    }
}

fn cumulative(data_points: Vec<NumberDataPoint>) -> metric::Data {
    metric::Data::Sum(Sum {
        data_points,
        aggregation_temporality: AggregationTemporality::Cumulative.into(),
        is_monotonic: true,
    })
}

fn attributes(labels: Labels) -> Vec<KeyValue> {
    labels.into_iter().map(|(key, value)| text(key, value)).collect()
}

fn text(key: &str, value: String) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value)),
        }),
        ..KeyValue::default()
    }
}

#[cfg(test)]
#[path = "telemetry_tests.rs"]
mod tests;
