//! What the page shows, as JSON: `/api/v1/status`.
//!
//! Rule: it is what this instance knows: its own series, tasks and exports. Lists are cut, and say what was left out.
//!
//! Shapes are the structs below; times are seconds since the epoch, durations seconds, rates per second.

use std::collections::BTreeMap;
use std::time::Instant;

use serde::Serialize;
use serde_json::Value as Json;

use super::trails::Trails;
use crate::engine::tap::ledger::{Ledger, Outcome};
use crate::engine::task::TaskView;
use crate::engine::time::WallTime;
use crate::export::stats::ExportSnapshot;
use crate::http::Sources;
use crate::http::alerts;
use crate::http::health::{self, Health};
use crate::http::metrics::family::{Families, Family, Kind, Series, Value};
use crate::runtime::log::TopicPartition;
use crate::runtime::stats::{Numbers, WorkerNumbers};

/// Series of one metric that are shown, the busiest of them.
const SERIES: usize = 8;
/// Groups, topics and alerts that are shown, the worst of them.
const ROWS: usize = 100;
/// Partitions of one topic in one stage that are shown.
const TASKS: usize = 256;

/// All of it.
#[derive(Debug, Serialize)]
pub struct Status {
    pub application: String,
    pub instance: String,
    pub version: &'static str,
    pub now: f64,
    pub up: f64,
    pub status: Health,
    pub components: Vec<Component>,
    pub counters: Vec<Counter>,
    pub durations: Vec<Durations>,
    pub levels: Vec<Level>,
    pub lag: Cut<GroupLag>,
    pub alerts: Cut<Json>,
    pub ledger: Vec<TopicLedger>,
    pub stages: Vec<Worker>,
    pub exports: Vec<Export>,
}

/// The first of a list, and how many there are besides.
#[derive(Debug, Default, Serialize)]
pub struct Cut<T> {
    pub shown: Vec<T>,
    pub more: usize,
}

#[derive(Debug, Serialize)]
pub struct Component {
    pub name: &'static str,
    pub status: Health,
    pub why: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Counter {
    pub name: String,
    pub help: String,
    /// Up to when the pipeline has counted.
    pub until: f64,
    /// Of all its series together.
    pub rate: f64,
    pub total: f64,
    pub series: Cut<CounterSeries>,
}

#[derive(Debug, Serialize)]
pub struct CounterSeries {
    pub labels: Vec<(String, String)>,
    pub total: f64,
    pub rate: f64,
    /// Time and rate.
    pub trail: Vec<(f64, f64)>,
}

#[derive(Debug, Serialize)]
pub struct Durations {
    pub name: String,
    pub help: String,
    pub series: Cut<DurationSeries>,
}

/// What came in the last minutes; where nothing did, of all time.
#[derive(Debug, Serialize)]
pub struct DurationSeries {
    pub labels: Vec<(String, String)>,
    pub total: u64,
    pub count: u64,
    pub is_recent: bool,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
}

#[derive(Debug, Serialize)]
pub struct Level {
    pub name: String,
    pub help: String,
    pub series: Cut<LevelSeries>,
}

#[derive(Debug, Serialize)]
pub struct LevelSeries {
    pub labels: Vec<(String, String)>,
    pub value: f64,
}

/// One group on one topic; of its partitions those that live here.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct GroupLag {
    pub group: String,
    pub topic: String,
    pub partitions: usize,
    pub records: f64,
    /// Of the partition that is furthest behind; absent where it is not known.
    pub seconds: Option<f64>,
    /// The worst of its partitions.
    pub status: Option<String>,
    pub members: Option<f64>,
}

#[derive(Debug, Default, Serialize)]
pub struct TopicLedger {
    pub topic: String,
    pub partitions: usize,
    pub records: u64,
    pub outcomes: BTreeMap<&'static str, u64>,
    /// By how many records offsets and outcomes differ, over all partitions: zero, or something is wrong.
    pub imbalance: u64,
}

#[derive(Debug, Serialize)]
pub struct Worker {
    pub name: String,
    pub ready: bool,
    pub records: u64,
    pub committed: u64,
    pub aborted: u64,
    pub fatal: u64,
    pub restores: u64,
    pub rebalances: u64,
    pub dead_letters: u64,
    /// Of its transactions.
    pub p50: f64,
    pub p99: f64,
    pub last_commit: Option<f64>,
    pub topics: Vec<TopicTasks>,
}

#[derive(Debug, Serialize)]
pub struct TopicTasks {
    pub topic: String,
    pub tasks: Cut<Task>,
}

#[derive(Debug, Serialize)]
pub struct Task {
    pub partition: u32,
    pub phase: &'static str,
    pub watermark: Option<f64>,
    pub series: u64,
    pub late: u64,
    pub notes: Vec<String>,
}

#[derive(Debug, Serialize)]
pub struct Export {
    pub name: &'static str,
    pub requests: u64,
    pub accepted: u64,
    pub lost: u64,
    pub lag: i64,
    pub blocked: Vec<String>,
    pub last_success: Option<f64>,
    pub last_error: Option<(f64, String)>,
    pub p99: Option<f64>,
}

/// Everything as it is now.
pub fn status(sources: &Sources, families: &Families, trails: &Trails, now: WallTime) -> Status {
    let process = &sources.process;
    let export = process.exports();
    let (status, components) = components(sources, &export);
    let numbers = process.stats.lock();
    Status {
        application: process.application.clone(),
        instance: process.instance.clone(),
        version: env!("CARGO_PKG_VERSION"),
        now: seconds(now.0),
        up: sources.since.elapsed().as_secs_f64(),
        status,
        components,
        counters: counters(families, trails, now),
        durations: durations(families, trails),
        levels: levels(families),
        lag: lag(families),
        alerts: alerting(&numbers),
        ledger: ledgers(tasks(&numbers)),
        stages: numbers
            .workers
            .iter()
            .map(|(name, numbers)| worker(name, numbers))
            .collect(),
        exports: export.iter().map(|(name, snapshot)| exported(name, snapshot)).collect(),
    }
}

// === impl Cut ===

impl<T> Cut<T> {
    fn first(mut all: Vec<T>, most: usize) -> Self {
        let more = all.len().saturating_sub(most);
        all.truncate(most);
        Self { shown: all, more }
    }
}

fn components(sources: &Sources, export: &[(&'static str, ExportSnapshot)]) -> (Health, Vec<Component>) {
    let all = sources.components(export);
    let status = health::worst(&all);
    let components = all.into_iter().map(|(name, judged, _)| Component {
        name,
        status: judged.health,
        why: judged.why,
    });
    (status, components.collect())
}

/// The pipeline's own: what a process says of itself is in `stages`.
fn of_pipeline(families: &Families, kind: Kind) -> impl Iterator<Item = (&String, &Family)> {
    let own = |name: &str| name.starts_with("streamgauge_");
    families
        .0
        .iter()
        .filter(move |(name, family)| family.kind == kind && !own(name))
}

/// What the business counts first, then what is counted of Kafka's clients.
fn business_first<T>(mut all: Vec<T>, name: impl Fn(&T) -> &str) -> Vec<T> {
    all.sort_by_key(|of| name(of).starts_with("kafka_"));
    all
}

fn counters(families: &Families, trails: &Trails, now: WallTime) -> Vec<Counter> {
    let all = of_pipeline(families, Kind::Counter).map(|(name, family)| {
        let until = family.series.iter().map(|series| series.time).max().unwrap_or(0) as f64 / 1e9;
        let mut series: Vec<CounterSeries> = family
            .series
            .iter()
            .map(|series| counter(name, series, trails, until))
            .collect();
        series.sort_by(|a, b| b.rate.total_cmp(&a.rate).then(b.total.total_cmp(&a.total)));
        let is_quiet = seconds(now.0) - until > QUIET;
        Counter {
            name: name.clone(),
            help: family.help.clone(),
            until,
            rate: match is_quiet {
                true => 0.0,
                false => series.iter().map(|series| series.rate).sum(),
            },
            total: series.iter().map(|series| series.total).sum(),
            series: Cut::first(series, SERIES),
        }
    });
    business_first(all.collect(), |counter| &counter.name)
}

/// A metric without a new point for this long counts nothing now, whatever its last rate was.
const QUIET: f64 = 120.0;

/// A series is quiet where the others of its metric have gone on without it for several of its own steps.
fn counter(name: &str, series: &Series, trails: &Trails, until: f64) -> CounterSeries {
    let mut trail = trails.rates(name, series);
    if let [.., (before, _), (last, _)] = trail[..]
        && until - last > 3.0 * (last - before)
    {
        trail.extend([(last + (last - before), 0.0), (until, 0.0)]);
    }
    CounterSeries {
        labels: series.labels.clone(),
        total: number(&series.value),
        rate: trail.last().map_or(0.0, |(_, rate)| *rate),
        trail: trail
            .into_iter()
            .map(|(at, rate)| (rounded(at), rounded(rate)))
            .collect(),
    }
}

fn durations(families: &Families, trails: &Trails) -> Vec<Durations> {
    let all = of_pipeline(families, Kind::Histogram).map(|(name, family)| {
        let mut series: Vec<DurationSeries> = family
            .series
            .iter()
            .filter_map(|series| duration(name, series, trails))
            .collect();
        series.sort_by_key(|series| std::cmp::Reverse((series.count, series.total)));
        Durations {
            name: name.clone(),
            help: family.help.clone(),
            series: Cut::first(series, SERIES),
        }
    });
    business_first(all.collect(), |durations| &durations.name)
}

fn duration(name: &str, series: &Series, trails: &Trails) -> Option<DurationSeries> {
    let Value::Histogram(histogram) = &series.value else {
        return None;
    };
    let recent = trails.recent(name, series, histogram);
    let is_recent = recent.count > 0;
    let of = match is_recent {
        true => recent,
        false => super::spread::Spread::of(histogram),
    };
    Some(DurationSeries {
        labels: series.labels.clone(),
        total: histogram.count,
        count: of.count,
        is_recent,
        p50: of.quantile(0.5)?,
        p95: of.quantile(0.95)?,
        p99: of.quantile(0.99)?,
    })
}

/// Gauges but those on groups, which have a table of their own.
fn levels(families: &Families) -> Vec<Level> {
    let all = of_pipeline(families, Kind::Gauge).filter(|(name, _)| !name.starts_with("kafka_consumer_"));
    let all = all.map(|(name, family)| {
        let mut series: Vec<LevelSeries> = family
            .series
            .iter()
            .map(|series| LevelSeries {
                labels: series.labels.clone(),
                value: number(&series.value),
            })
            .collect();
        series.sort_by(|a, b| b.value.total_cmp(&a.value));
        Level {
            name: name.clone(),
            help: family.help.clone(),
            series: Cut::first(series, SERIES),
        }
    });
    all.collect()
}

/// Who hurts most comes first: by status, then by time, then by records.
fn lag(families: &Families) -> Cut<GroupLag> {
    let mut rows: BTreeMap<(&str, &str), GroupLag> = BTreeMap::new();
    let series = |name: &str| families.0.get(name).map_or(&[][..], |family| &family.series);
    for of in series("kafka_consumer_lag") {
        let place = place(of);
        let row = rows.entry(place).or_insert_with(|| GroupLag {
            group: place.0.to_owned(),
            topic: place.1.to_owned(),
            ..GroupLag::default()
        });
        row.partitions += 1;
        row.records += number(&of.value);
    }
    for of in series("kafka_consumer_lag_seconds") {
        if let Some(row) = rows.get_mut(&place(of)) {
            row.seconds = Some(row.seconds.unwrap_or(0.0).max(number(&of.value)));
        }
    }
    for of in series("kafka_consumer_status") {
        let status = label(of, "status");
        if let Some(row) = rows.get_mut(&place(of)).filter(|_| number(&of.value) == 1.0)
            && row.status.as_deref().is_none_or(|known| pain(known) < pain(status))
        {
            row.status = Some(status.to_owned());
        }
    }
    for of in series("kafka_consumer_group_members") {
        let group = label(of, "consumer_group");
        for (_, row) in rows.range_mut((group, "")..).take_while(|((of, _), _)| *of == group) {
            row.members = Some(number(&of.value));
        }
    }
    let mut rows: Vec<GroupLag> = rows.into_values().collect();
    rows.sort_by(|a, b| {
        let rank = |row: &GroupLag| pain(row.status.as_deref().unwrap_or(""));
        let behind = |row: &GroupLag| row.seconds.unwrap_or(-1.0);
        let by_time = behind(b).total_cmp(&behind(a));
        rank(b)
            .cmp(&rank(a))
            .then(by_time)
            .then(b.records.total_cmp(&a.records))
    });
    Cut::first(rows, ROWS)
}

fn place(series: &Series) -> (&str, &str) {
    (label(series, "consumer_group"), label(series, "topic"))
}

fn pain(status: &str) -> usize {
    let statuses = ["OK", "WARN", "REWIND", "STALL", "STOP"];
    statuses
        .iter()
        .position(|known| *known == status)
        .map_or(0, |at| at + 1)
}

fn label<'s>(series: &'s Series, name: &str) -> &'s str {
    let found = series.labels.iter().find(|(label, _)| label == name);
    found.map_or("", |(_, value)| value)
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Number(number) => *number,
        Value::Histogram(histogram) => histogram.count as f64,
    }
}

/// Firing ones first, those of highest severity before others, then the oldest.
fn alerting(numbers: &Numbers) -> Cut<Json> {
    let mut all = alerts::each(numbers);
    let rank = |alert: &Json| {
        let severity = alert["labels"]["severity"].as_str().unwrap_or("");
        let severities = ["critical", "error", "warning", "info"];
        let severity = severities.iter().position(|known| *known == severity);
        (
            alert["state"] != "firing",
            severity.unwrap_or(severities.len()),
            alert["activeAt"].as_str().unwrap_or("").to_owned(),
        )
    };
    all.sort_by_key(rank);
    Cut::first(all, ROWS)
}

fn tasks(numbers: &Numbers) -> impl Iterator<Item = (&TopicPartition, &TaskView)> {
    let workers = numbers.workers.values();
    workers.flat_map(|worker| worker.tasks.iter().map(|(partition, (_, view))| (partition, view)))
}

fn ledgers<'t>(tasks: impl Iterator<Item = (&'t TopicPartition, &'t TaskView)>) -> Vec<TopicLedger> {
    let mut topics: BTreeMap<&str, TopicLedger> = BTreeMap::new();
    for (partition, view) in tasks {
        let Some(ledger) = &view.ledger else { continue };
        let of = topics.entry(&partition.topic).or_insert_with(|| TopicLedger {
            topic: partition.topic.clone(),
            ..TopicLedger::default()
        });
        of.add(ledger, view);
    }
    topics.into_values().collect()
}

impl TopicLedger {
    fn add(&mut self, ledger: &Ledger, view: &TaskView) {
        self.partitions += 1;
        self.imbalance += view.imbalance();
        for outcome in Outcome::ALL {
            let count = ledger.count(outcome);
            self.records += count;
            if count > 0 {
                *self.outcomes.entry(outcome.name()).or_default() += count;
            }
        }
    }
}

fn worker(name: &str, numbers: &WorkerNumbers) -> Worker {
    let mut topics: BTreeMap<&str, Vec<Task>> = BTreeMap::new();
    for (partition, (phase, view)) in &numbers.tasks {
        topics.entry(&partition.topic).or_default().push(Task {
            partition: partition.partition,
            phase,
            watermark: view.watermark.map(|mark| seconds(mark.0.0)),
            series: view.series,
            late: view.late,
            notes: view.notes.clone(),
        });
    }
    let topics = topics.into_iter().map(|(topic, tasks)| TopicTasks {
        topic: topic.to_owned(),
        tasks: Cut::first(tasks, TASKS),
    });
    let took = |quantile| numbers.commit_micros.value_at_quantile(quantile) as f64 / 1e6;
    Worker {
        name: name.to_owned(),
        ready: numbers.ready,
        records: numbers.records,
        committed: numbers.committed,
        aborted: numbers.aborted,
        fatal: numbers.fatal,
        restores: numbers.restores,
        rebalances: numbers.rebalances,
        dead_letters: numbers.dead_letters,
        p50: took(0.5),
        p99: took(0.99),
        last_commit: numbers
            .last_commit
            .map(|at| Instant::now().saturating_duration_since(at).as_secs_f64()),
        topics: topics.collect(),
    }
}

fn exported(name: &'static str, of: &ExportSnapshot) -> Export {
    let points = &of.points;
    Export {
        name,
        requests: of.requests,
        accepted: points.accepted + points.already_there,
        lost: points.rejected + points.expired + points.quarantined,
        lag: of.lag_records,
        blocked: of
            .blocked
            .iter()
            .map(|(partition, blocked)| format!("partition {partition}: {}", blocked.message))
            .collect(),
        last_success: of.last_success.map(|at| seconds(at.0)),
        last_error: of
            .last_error
            .as_ref()
            .map(|error| (seconds(error.at.0), error.message.clone())),
        p99: of
            .latency
            .as_ref()
            .map(|latency| latency.value_at_quantile(0.99) as f64 / 1e3),
    }
}

fn seconds(micros: i64) -> f64 {
    micros as f64 / 1e6
}

/// To a thousandth.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}
