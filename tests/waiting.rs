//! Sources of a join that are far ahead wait for the slowest: state stays small, time stays true, totals stay exact.
//! Real workers on the in-memory log, with an hour of records that are all there at the start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point};
use prost::Message;
use streamgauge::cli::application::{Application, WorkerSetup};
use streamgauge::engine::correlate::Pressure;
use streamgauge::engine::plan::Plan;
use streamgauge::engine::task::Wait;
use streamgauge::engine::time::{Span, WallTime};
use streamgauge::memory::{Cluster, ClusterClock, ManualClock, RecordBatch, TopicOptions};
use streamgauge::pipeline;
use streamgauge::runtime::Worker;
use streamgauge::runtime::log::TopicPartition;
use streamgauge::runtime::stats::Stats;

const SECOND: i64 = 1_000_000;
const HOUR: i64 = 3_600 * SECOND;
/// Some date: event times must be plausible, not current.
const NOW: i64 = 1_700_000_000 * SECOND;
const SHUFFLE: u32 = 3;
/// Of one second, of which every fourth is answered.
const A_SECOND: i64 = 80;
const REQUESTS: i64 = HOUR / SECOND * A_SECOND;
const ANSWERED: i64 = 4;
/// Records that a worker takes before it looks up, and the event time between two responses of one partition.
const AT_ONCE: i64 = 2_000;
const BETWEEN: i64 = SECOND / A_SECOND * ANSWERED * 2;
/// So far ahead anyone may be, and what was taken at once on top of it.
const MOST_AHEAD: i64 = 600 * SECOND + AT_ONCE * BETWEEN;

const PIPELINE: &str = "
pipeline: support
sources:
  requests: { topic: requests, time: { field: /at, format: micros } }
  responses: { topic: responses, time: { field: /at, format: micros } }
metrics:
  requests_total: { count: requests }
  response_time_seconds:
    respond: { from: requests, to: responses, on: /id, within: 30s, forget: 1m }
  responses_unanswered_total:
    respond: { from: requests, to: responses, on: /id, within: 30s, forget: 1m, measure: unanswered }
  responses_unmatched_total:
    respond: { from: requests, to: responses, on: /id, within: 30s, forget: 1m, measure: unmatched }
";

/// One process.
struct Process {
    workers: Vec<Worker>,
    stats: Stats,
}

struct World {
    clock: ManualClock,
    cluster: Cluster,
    plan: Arc<Plan>,
    max_open: u64,
    processes: Vec<Process>,
}

/// What was seen on the way.
#[derive(Debug, Default)]
struct Seen {
    waits: BTreeSet<Wait>,
    /// The most that one task of the join held.
    entries: u64,
    /// The largest distance between two sources.
    ahead: i64,
}

impl World {
    /// The first process runs all stages, the others taps.
    fn new(processes: u32, max_open: u64) -> Self {
        let clock = ManualClock::new(WallTime(NOW));
        let cluster = Cluster::new(ClusterClock::Manual(clock.clone()));
        for topic in ["requests", "responses"] {
            let created = cluster.create_topic(topic, 2, TopicOptions::default());
            created.expect("a new topic");
        }
        let files = [("waiting.yaml".to_owned(), PIPELINE.to_owned())];
        let plan = Arc::new(pipeline::parse(&files, &|_| None).expect("the pipeline is right"));
        let mut world = Self {
            clock,
            cluster,
            plan,
            max_open,
            processes: Vec::new(),
        };
        for topic in world.application().internal_topics() {
            let options = TopicOptions {
                compact: topic.compacted,
                ..TopicOptions::default()
            };
            let created = world.cluster.create_topic(&topic.name, topic.partitions, options);
            created.expect("a new topic");
        }
        for _ in 0..processes {
            world.start();
        }
        world
    }

    /// What the next process is.
    fn application(&self) -> Application {
        Application {
            id: "app".to_owned(),
            plan: Arc::clone(&self.plan),
            shuffle_partitions: SHUFFLE,
            instance: Some(self.processes.len().to_string()),
            accept_reset: false,
            seal_every: Span::millis(200),
            max_backdate: Span::seconds(1_800),
            queue_kbytes: 1,
            tap_workers: 1,
            max_open: self.max_open,
            offsets_partitions: 1,
        }
    }

    fn start(&mut self) {
        let application = self.application();
        let mut setups = vec![application.tap_worker(0)];
        if self.processes.is_empty() {
            setups.extend(application.correlate_worker());
            setups.push(application.gauge_worker());
        }
        let stats = Stats::default();
        let start = |setup: &WorkerSetup| setup.start(&self.cluster, &stats).expect("it starts");
        let workers = setups.iter().map(start).collect();
        self.processes.push(Process { workers, stats });
    }

    fn write(&self, topic: &str, partition: u32, records: impl Iterator<Item = (i64, i64)>) {
        let mut batch = RecordBatch::new();
        for (id, at) in records {
            let value = format!(r#"{{"at": {at}, "id": "{id}"}}"#);
            batch.push(None, Some(value.as_bytes()), self.clock.now());
        }
        let written = self.cluster.produce_batch(topic, partition, batch);
        written.expect("the topic takes records");
    }

    /// Conversations of the last hour.
    fn write_all(&self) {
        let asked = |id: i64| NOW - HOUR + id * SECOND / A_SECOND;
        for partition in 0..2 {
            let requests = (0..REQUESTS).filter(|id| id % 2 == i64::from(partition));
            self.write("requests", partition, requests.map(|id| (id, asked(id))));
            let answered = (0..REQUESTS)
                .step_by(ANSWERED as usize)
                .filter(|id| id / ANSWERED % 2 == i64::from(partition));
            self.write("responses", partition, answered.map(|id| (id, asked(id) + 3 * SECOND)));
        }
    }

    fn step(&mut self, process: usize) {
        let now = self.clock.now();
        for worker in &mut self.processes[process].workers {
            worker.step(now, Duration::ZERO).expect("it goes on");
        }
    }

    fn advance(&self) {
        self.clock.advance_to(WallTime(self.clock.now().0 + SECOND / 10));
    }

    /// The watermarks of a process's taps.
    fn marks(&self, process: usize) -> BTreeMap<TopicPartition, Option<i64>> {
        let numbers = self.processes[process].stats.lock();
        let tasks = numbers.workers["tap-0"].tasks.iter();
        tasks
            .map(|(partition, (_, view))| (partition.clone(), view.watermark.map(|mark| mark.0.0)))
            .collect()
    }

    fn look(&self, seen: &mut Seen) {
        for partition in 0..SHUFFLE {
            let at = TopicPartition {
                topic: "app-correlate-repartition".to_owned(),
                partition,
            };
            let committed = self.cluster.committed("app-correlate", &at);
            let pressure = committed.and_then(|committed| Pressure::decode(&committed.metadata));
            seen.entries = seen.entries.max(pressure.map_or(0, |pressure| pressure.entries()));
        }
        let mut marks = Vec::new();
        for (at, process) in self.processes.iter().enumerate() {
            marks.extend(self.marks(at).into_values().flatten());
            for worker in process.stats.lock().workers.values() {
                let waiting = worker.waiting.iter().filter(|(_, count)| **count > 0);
                seen.waits.extend(waiting.map(|((_, wait), _)| *wait));
                let held = worker.tasks.values().find(|(phase, _)| *phase == "held");
                assert_eq!(held, None, "a task refuses its input");
            }
        }
        if let (Some(slowest), Some(fastest)) = (marks.iter().min(), marks.iter().max()) {
            seen.ahead = seen.ahead.max(fastest - slowest);
        }
    }

    /// Everybody runs until the totals are those of all conversations.
    fn run(&mut self) -> Seen {
        let answered = REQUESTS / ANSWERED;
        let expected: BTreeMap<String, i64> = [
            ("requests_total", REQUESTS),
            ("response_time_seconds", answered),
            ("responses_unanswered_total", REQUESTS - answered),
        ]
        .map(|(name, count)| (name.to_owned(), count))
        .into();
        let mut seen = Seen::default();
        for _ in 0..60 {
            for _ in 0..100 {
                self.round(&mut seen);
            }
            if self.totals() == expected {
                return seen;
            }
        }
        panic!("{:?} and not {expected:?}; {seen:?}", self.totals());
    }

    /// Everybody steps once, and a tenth of a second goes by.
    fn round(&mut self, seen: &mut Seen) {
        for process in 0..self.processes.len() {
            self.step(process);
        }
        self.look(seen);
        self.advance();
        self.cluster.tick(self.clock.now());
    }

    /// The newest value of each metric that is not zero.
    fn totals(&self) -> BTreeMap<String, i64> {
        let mut totals = BTreeMap::new();
        let mut show = |name: &str, value: i64| {
            let held: &mut i64 = totals.entry(name.to_owned()).or_default();
            *held = value.max(*held);
        };
        for partition in 0..SHUFFLE {
            let (records, _) = self.cluster.read("app-otlp-metrics", partition, 0).expect("the outbox");
            for value in records.into_iter().filter_map(|record| record.value) {
                let request = ExportMetricsServiceRequest::decode(value.as_slice()).expect("a request");
                let scopes = request.resource_metrics.into_iter().flat_map(|of| of.scope_metrics);
                for metric in scopes.flat_map(|scope| scope.metrics) {
                    match metric.data {
                        Some(Data::Sum(sum)) if !metric.name.starts_with("streamgauge_") => {
                            for point in sum.data_points {
                                if let Some(number_data_point::Value::AsInt(value)) = point.value {
                                    show(&metric.name, value);
                                }
                            }
                        }
                        Some(Data::ExponentialHistogram(histogram)) => {
                            for point in histogram.data_points {
                                show(&metric.name, i64::try_from(point.count).expect("a count"));
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
        totals.retain(|_, total| *total > 0);
        totals
    }
}

#[test]
fn a_source_far_ahead_of_the_slowest_waits_and_every_total_is_exact() {
    let mut world = World::new(1, 1_000_000);
    world.write_all();
    let seen = world.run();
    println!("{seen:?}");
    assert_eq!(seen.waits, BTreeSet::from([Wait::Ahead]), "there is room");
    assert!(seen.ahead <= MOST_AHEAD, "{seen:?}");
}

#[test]
fn a_small_cap_is_passed_by_no_more_than_what_was_taken_at_once_and_nothing_is_lost() {
    let most = 2_000;
    let mut world = World::new(1, most);
    world.write_all();
    let seen = world.run();
    println!("{seen:?}");
    assert!(seen.waits.contains(&Wait::Full), "{seen:?}");
    assert!(seen.entries <= most + AT_ONCE as u64, "{seen:?}");
    let mut roomy = World::new(1, 1_000_000);
    roomy.write_all();
    let roomy = roomy.run();
    assert!(
        roomy.entries > seen.entries / 3 * 4,
        "{roomy:?} with room, {seen:?} without"
    );
}

#[test]
fn a_source_that_waits_for_another_process_is_neither_idle_nor_held() {
    let mut world = World::new(2, 1_000_000);
    // Everybody has its partitions, and all of them have spoken.
    let spoken = |world: &World| {
        let marks = |process| world.marks(process);
        (0..2).all(|process| !marks(process).is_empty() && marks(process).values().all(Option::is_some))
    };
    world.write_all();
    let mut rounds = 0;
    while !spoken(&world) {
        for process in 0..2 {
            world.step(process);
        }
        rounds += 1;
        assert!(rounds < 1_000, "everybody has partitions");
        world.advance();
    }
    // The other process does nothing for a quarter of an hour: nobody has expired it.
    let theirs = world.marks(1);
    for _ in 0..9_000 {
        world.step(0);
        world.advance();
    }
    let slowest = theirs.values().flatten().min().copied().expect("it has spoken");
    let ours = world.marks(0);
    println!("{theirs:?} and {ours:?}");
    for mark in ours.values().flatten() {
        assert!(
            *mark <= slowest + 2 * MOST_AHEAD,
            "time went on: {ours:?} and {theirs:?}"
        );
    }
    let notes = world.processes[0].stats.lock().workers["tap-0"]
        .tasks
        .values()
        .flat_map(|(_, view)| view.notes.clone())
        .collect::<Vec<_>>();
    assert_eq!(notes, Vec::<String>::new());
    let seen = world.run();
    assert!(seen.waits.contains(&Wait::Ahead), "{seen:?}");
}

#[test]
fn a_partition_that_waits_is_given_away_and_taken_over_like_any_other() {
    let mut world = World::new(1, 1_000_000);
    world.write_all();
    let until_waits = |world: &mut World, process: usize| {
        for _ in 0..1_000 {
            world.round(&mut Seen::default());
            let numbers = world.processes[process].stats.lock();
            if numbers.workers["tap-0"].waiting.values().any(|count| *count > 0) {
                return;
            }
        }
        panic!("nobody waits");
    };
    until_waits(&mut world, 0);
    // Another process gets a part of them, and dies while some of its own wait.
    world.start();
    until_waits(&mut world, 1);
    let dead = world.processes.pop().expect("it was started");
    for worker in dead.workers {
        drop(worker.kill());
    }
    for _ in 0..10 {
        world.round(&mut Seen::default());
    }
    world.start();
    world.run();
}

#[test]
fn a_source_whose_event_times_stand_still_keeps_nobody_waiting() {
    let mut world = World::new(2, 1_000_000);
    let mut seen = Seen::default();
    let minutes = 20;
    // Records all the time, to all partitions; those of one have no time worth the name.
    for id in 0..minutes * 60 * 2 {
        let at = world.clock.now().0;
        for (topic, partition) in [("requests", 0), ("requests", 1), ("responses", 0)] {
            world.write(topic, partition, std::iter::once((id, at)));
        }
        world.write("responses", 1, std::iter::once((id, 0)));
        for _ in 0..5 {
            world.round(&mut seen);
        }
    }
    let marks: BTreeMap<_, _> = (0..2).flat_map(|process| world.marks(process)).collect();
    assert_eq!(marks.len(), 4, "{marks:?}");
    let ago = world.clock.now().0 - 90 * SECOND;
    for (partition, mark) in &marks {
        assert!(*mark >= Some(ago), "{partition:?} stands still: {marks:?}, {seen:?}");
    }
    let numbers = |process: &Process| {
        let numbers = process.stats.lock();
        numbers.workers["tap-0"].waiting.values().sum::<u64>()
    };
    let waiting: u64 = world.processes.iter().map(numbers).sum();
    assert_eq!(waiting, 0, "{seen:?}");
}
