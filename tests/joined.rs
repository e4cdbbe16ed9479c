//! Response times, look-ups and traces stay exact on the way through real workers on the in-memory log, however often
//! they are killed. `STREAMGAUGE_SIM_SEED` replays one schedule, `STREAMGAUGE_SIM_SEEDS` says how many to try.

#[path = "common/random.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod random;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::random::Random;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point};
use prost::Message;
use streamgauge::cli::application::{Application, WorkerSetup};
use streamgauge::engine::plan::Plan;
use streamgauge::engine::time::{Span, WallTime};
use streamgauge::memory::{Cluster, ClusterClock, ManualClock, RecordBatch, TopicOptions};
use streamgauge::pipeline;
use streamgauge::runtime::stats::Stats;
use streamgauge::runtime::{Stop, Worker};

const REQUESTS: &str = "requests";
const RESPONSES: &str = "responses";
const TICKETS: &str = "tickets";
const PARTITIONS: u32 = 2;
const SHUFFLE: u32 = 3;
const SECOND: i64 = 1_000_000;
const WITHIN: i64 = 10 * SECOND;
const CHANNEL_WITHIN: i64 = 20 * SECOND;
/// Some date: event times must be plausible, not current.
const BEGINNING: i64 = 1_700_000_000 * SECOND;

const PIPELINE: &str = r#"
pipeline: support
defaults: { out_of_order: 500ms, idle_after: 500ms, max_hold: 10m, max_ahead: 1m, window: 1s }
sources:
  requests: { topic: requests, time: { field: /at, format: micros } }
  responses: { topic: responses, time: { field: /at, format: micros } }
  tickets: { topic: tickets, time: { field: /at, format: micros } }
metrics:
  response_time_seconds:
    respond: { from: requests, to: responses, on: /id, within: 10s, forget: 1m, skew: 1s }
    labels: { channel: { from: /channel } }
  responses_unanswered_total:
    respond: { from: requests, to: responses, on: /id, within: 10s, forget: 1m, skew: 1s, measure: unanswered }
    labels: { channel: { from: /channel } }
  responses_second_total:
    respond: { from: requests, to: responses, on: /id, within: 10s, forget: 1m, skew: 1s, measure: second }
    labels: { channel: { from: /channel } }
  responses_unmatched_total:
    respond: { from: requests, to: responses, on: /id, within: 10s, forget: 1m, skew: 1s, measure: unmatched }
    labels: { channel: { const: unknown } }
  tickets_total:
    count: tickets
    labels: { channel: { latest: { of: requests, take: /channel, on: /customer, equals: /customer, within: 20s } } }
traces:
  conversations: { of: response_time_seconds, spans: [{ source: tickets, key: /about }] }
"#;

fn plan() -> Plan {
    pipeline::parse(&[("joined.yaml".to_owned(), PIPELINE.to_owned())], &|_| None).expect("the pipeline is right")
}

/// Parent and name of each span of a trace by its id.
type Spans = BTreeMap<Vec<u8>, (Vec<u8>, String)>;

/// Metric and label value.
type Totals = BTreeMap<(String, String), f64>;

struct World {
    random: Random,
    clock: ManualClock,
    cluster: Cluster,
    places: Vec<(WorkerSetup, Option<Worker>)>,
    stats: Stats,
    /// What will be written, and when.
    coming: BTreeMap<(i64, u64), (&'static str, String, Option<String>)>,
    written: u64,
    kills: u64,
    expected: Totals,
    /// Channels of each customer by time.
    channels: BTreeMap<u64, BTreeMap<i64, &'static str>>,
    tickets: Vec<(u64, i64)>,
    /// Conversations, with or without an answer.
    journeys: [usize; 2],
    /// Those whose request came with its writer's trace context.
    inherited: usize,
    /// Tickets about conversations that were open.
    steps: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let clock = ManualClock::new(WallTime(BEGINNING));
        let cluster = Cluster::new(ClusterClock::Manual(clock.clone()));
        for topic in [REQUESTS, RESPONSES, TICKETS] {
            cluster
                .create_topic(topic, PARTITIONS, TopicOptions::default())
                .expect("a new topic");
        }
        let plan = Arc::new(plan());
        let mut random = Random::new(seed);
        let named = random.one_in(2);
        let application = |instance: &str| Application {
            id: "app".to_owned(),
            plan: Arc::clone(&plan),
            shuffle_partitions: SHUFFLE,
            instance: named.then(|| instance.to_owned()),
            accept_reset: false,
            seal_every: Span::millis(200),
            max_backdate: Span::seconds(1_800),
            queue_kbytes: 1,
            tap_workers: 1,
            max_open: 1_000_000,
            offsets_partitions: 1,
        };
        for topic in application("a").internal_topics() {
            let options = TopicOptions {
                compact: topic.compacted,
                ..TopicOptions::default()
            };
            cluster
                .create_topic(&topic.name, topic.partitions, options)
                .expect("a new topic");
        }
        let mut places = Vec::new();
        for instance in ["a", "b"] {
            let of = application(instance);
            let correlate = of.correlate_worker().expect("the plan has joins");
            places.extend([of.tap_worker(0), correlate, of.gauge_worker()].map(|setup| (setup, None)));
        }
        Self {
            random,
            clock,
            cluster,
            places,
            stats: Stats::default(),
            coming: BTreeMap::new(),
            written: 0,
            kills: 0,
            expected: Totals::new(),
            channels: BTreeMap::new(),
            tickets: Vec::new(),
            journeys: [0; 2],
            inherited: 0,
            steps: 0,
        }
    }

    fn live(&mut self) {
        for _ in 0..600 {
            match self.random.below(100) {
                0..=49 => {
                    let place = self.random.below(self.places.len() as u64) as usize;
                    self.step(place);
                }
                50..=74 => self.something_happens(),
                75..=95 => {
                    let micros = self.random.below(300_000) as i64;
                    self.advance(micros);
                }
                96 => self
                    .cluster
                    .compact("app-correlate-changelog")
                    .expect("it can be compacted"),
                _ => self.kill(),
            }
        }
        self.look_up();
        self.peace();
    }

    fn step(&mut self, index: usize) {
        let now = self.clock.now();
        let (setup, worker) = &mut self.places[index];
        if worker.is_none() {
            *worker = setup.start(&self.cluster, &self.stats).ok();
        }
        if let Some(Err(stop)) = worker.as_mut().map(|worker| worker.step(now, Duration::ZERO)) {
            assert!(matches!(stop, Stop::Fenced(_)), "a worker gave up: {stop}");
            *worker = None;
        }
    }

    fn kill(&mut self) {
        let index = self.random.below(self.places.len() as u64) as usize;
        if let Some(worker) = self.places[index].1.take() {
            drop(worker.kill());
            self.kills += 1;
        }
    }

    /// Time passes, and what was to be written by then is.
    fn advance(&mut self, micros: i64) {
        let now = WallTime(self.clock.now().0 + micros);
        while let Some(((at, _), (topic, value, context))) =
            self.coming.first_key_value().map(|(when, what)| (*when, what.clone()))
        {
            if at > now.0 {
                break;
            }
            self.coming.pop_first();
            self.clock.advance_to(WallTime(at.max(self.clock.now().0)));
            let partition = self.random.below(PARTITIONS.into()) as u32;
            let headers: Vec<(&str, &str)> = context
                .iter()
                .map(|context| ("traceparent", context.as_str()))
                .collect();
            let mut batch = RecordBatch::new();
            batch.push_with_headers(None, Some(value.as_bytes()), self.clock.now(), &headers);
            self.cluster
                .produce_batch(topic, partition, batch)
                .expect("the topic takes records");
        }
        self.clock.advance_to(now);
        self.cluster.tick(now);
    }

    /// Writes a record of this event time a bit later, as services do.
    fn write(&mut self, topic: &'static str, at: i64, fields: String) {
        self.written += 1;
        let when = at + self.random.below(400_000) as i64;
        let value = format!(r#"{{"at": {at}, {fields}}}"#);
        self.coming.insert((when, self.written), (topic, value, None));
    }

    fn something_happens(&mut self) {
        let at = self.clock.now().0 + self.random.below(200_000) as i64;
        let customer = self.random.below(12);
        if self.random.one_in(3) {
            self.tickets.push((customer, at));
            return self.write(TICKETS, at, format!(r#""customer": {customer}, "priority": "low""#));
        }
        let channel = ["email", "web", "whatsapp"][self.random.below(3) as usize];
        let id = self.written;
        if self.random.one_in(10) {
            self.expect("responses_unmatched_total", "unknown", 1.0);
            return self.write(RESPONSES, at, format!(r#""id": "ghost {id}", "team": "red""#));
        }
        self.channels.entry(customer).or_default().insert(at, channel);
        self.write(
            REQUESTS,
            at,
            format!(r#""id": "{id}", "customer": {customer}, "channel": "{channel}""#),
        );
        if self.random.one_in(3) {
            self.inherited += 1;
            let request = self.coming.iter_mut().find(|((_, number), _)| *number == self.written);
            let (_, (_, _, context)) = request.expect("it was just written");
            *context = Some(format!("00-{id:031x}1-{id:015x}1-01"));
        }
        let response = format!(r#""id": "{id}", "team": "red""#);
        let took = self.random.below(8 * SECOND as u64) as i64;
        match self.random.below(6) {
            0 => self.unanswered(channel),
            1 => {
                self.unanswered(channel);
                self.expect("responses_unmatched_total", "unknown", 1.0);
                self.write(RESPONSES, at + WITHIN + 1 + took, response);
            }
            more => {
                self.journeys[1] += 1;
                self.expect("response_time_seconds_count", channel, 1.0);
                self.expect("response_time_seconds_sum", channel, took as f64 / 1e6);
                self.write(RESPONSES, at + took, response.clone());
                if took > 1 && self.random.one_in(3) {
                    self.steps += 1;
                    let at = at + took / 2;
                    self.tickets.push((customer, at));
                    let ticket = format!(r#""customer": {customer}, "priority": "low", "about": "{id}""#);
                    self.write(TICKETS, at, ticket);
                }
                if more == 2 {
                    self.expect("responses_second_total", channel, 1.0);
                    self.write(RESPONSES, at + took + 1 + took, response);
                }
            }
        }
    }

    fn unanswered(&mut self, channel: &str) {
        self.journeys[0] += 1;
        self.expect("responses_unanswered_total", channel, 1.0);
    }

    fn expect(&mut self, metric: &str, label: &str, more: f64) {
        *self.expected.entry((metric.to_owned(), label.to_owned())).or_default() += more;
    }

    /// The channel of each ticket, once all requests are known.
    fn look_up(&mut self) {
        for (customer, at) in std::mem::take(&mut self.tickets) {
            let newest = self
                .channels
                .get(&customer)
                .and_then(|channels| channels.range(at - CHANNEL_WITHIN..=at).next_back());
            let channel = newest.map_or("unknown", |(_, channel)| channel);
            self.expect("tickets_total", channel, 1.0);
        }
    }

    /// Everybody runs until every total is out.
    fn peace(&mut self) {
        let rounded = |totals: &Totals| -> BTreeMap<(String, String), i64> {
            let known = totals.iter().filter(|(_, value)| **value > 0.0);
            known
                .map(|(name, value)| (name.clone(), (value * 1e6).round() as i64))
                .collect()
        };
        let expected = rounded(&self.expected);
        let mut shown = BTreeMap::new();
        for round in 0..1_500 {
            for index in 0..self.places.len() {
                self.step(index);
            }
            self.advance(100_000);
            if round % 10 == 0 {
                shown = rounded(&self.totals());
                if shown == expected {
                    return self.check_traces();
                }
            }
        }
        assert_eq!(shown, expected, "the outbox and what was written");
    }

    /// The newest value of each series.
    fn totals(&self) -> Totals {
        let mut newest: BTreeMap<(String, String), (u64, f64)> = BTreeMap::new();
        for request in self.read("app-otlp-metrics") {
            let request = ExportMetricsServiceRequest::decode(request.as_slice()).expect("a request");
            let scopes = request
                .resource_metrics
                .into_iter()
                .flat_map(|resource| resource.scope_metrics);
            for metric in scopes.flat_map(|scope| scope.metrics) {
                if metric.name.starts_with("streamgauge_") {
                    continue;
                }
                let mut show = |name: String, attributes: &[KeyValue], time: u64, value: f64| {
                    let held = newest.entry((name, label(attributes))).or_default();
                    assert!(value >= held.1, "a total fell");
                    *held = (time, value);
                };
                match metric.data {
                    Some(Data::Sum(sum)) => {
                        for point in sum.data_points {
                            let Some(number_data_point::Value::AsInt(value)) = point.value else {
                                panic!("counts are whole");
                            };
                            show(
                                metric.name.clone(),
                                &point.attributes,
                                point.time_unix_nano,
                                value as f64,
                            );
                        }
                    }
                    Some(Data::ExponentialHistogram(histogram)) => {
                        for point in histogram.data_points {
                            let time = point.time_unix_nano;
                            let sum = point.sum.expect("a histogram has a sum");
                            show(
                                format!("{}_count", metric.name),
                                &point.attributes,
                                time,
                                point.count as f64,
                            );
                            show(format!("{}_sum", metric.name), &point.attributes, time, sum);
                        }
                    }
                    other => panic!("no metric here is {other:?}"),
                }
            }
        }
        newest.into_iter().map(|(name, (_, value))| (name, value)).collect()
    }

    /// Every conversation is one trace with one root, every span is there once, and no child is without its parent.
    fn check_traces(&self) {
        let mut traces: BTreeMap<Vec<u8>, Spans> = BTreeMap::new();
        for request in self.read("app-otlp-traces") {
            let request = ExportTraceServiceRequest::decode(request.as_slice()).expect("a request");
            let scopes = request
                .resource_spans
                .into_iter()
                .flat_map(|resource| resource.scope_spans);
            for span in scopes.flat_map(|scope| scope.spans) {
                let trace = traces.entry(span.trace_id).or_default();
                let twice = trace.insert(span.span_id, (span.parent_span_id, span.name));
                assert_eq!(twice, None, "a span came twice");
            }
        }
        let (mut ended, mut inherited, mut steps) = ([0, 0], 0, 0);
        for (trace_id, spans) in &traces {
            let roots: Vec<_> = spans
                .iter()
                .filter(|(_, (_, name))| name == "process-message")
                .collect();
            let [(root, (parent, _))] = roots[..] else {
                panic!("{} roots", roots.len())
            };
            if !parent.is_empty() {
                assert_eq!(parent[..], trace_id[8..], "the writer's own span");
                inherited += 1;
            }
            let named = |name: &str| spans.values().filter(|(_, known)| known == name).count();
            assert_eq!(named("process requests"), 1);
            ended[named("process responses")] += 1;
            steps += named("process tickets");
            let children = spans.iter().filter(|(id, _)| id != &root);
            assert!(children.into_iter().all(|(_, (parent, _))| parent == root), "an orphan");
        }
        assert_eq!(ended, self.journeys, "unanswered and answered conversations");
        assert_eq!(inherited, self.inherited);
        assert_eq!(steps, self.steps);
    }

    fn read(&self, topic: &str) -> Vec<Vec<u8>> {
        let partitions = (0..SHUFFLE).flat_map(|partition| {
            let (records, _) = self.cluster.read(topic, partition, 0).expect("the outbox is there");
            records
        });
        partitions.filter_map(|record| record.value).collect()
    }
}

fn label(attributes: &[KeyValue]) -> String {
    let value = attributes.first().and_then(|pair| pair.value.as_ref()?.value.as_ref());
    match value {
        Some(any_value::Value::StringValue(value)) => value.clone(),
        other => panic!("a label is text, not {other:?}"),
    }
}

#[test]
fn joined_totals_and_traces_are_exact_when_workers_are_killed() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("STREAMGAUGE_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("STREAMGAUGE_SIM_SEEDS").unwrap_or(100),
    };
    let (mut records, mut kills) = (0, 0);
    for seed in seeds.clone() {
        println!("seed {seed}: replay it with STREAMGAUGE_SIM_SEED={seed}");
        let mut world = World::new(seed);
        world.live();
        records += world.written;
        kills += world.kills;
    }
    println!("seeds {seeds:?}: {records} records, {kills} kills: every total and every trace exact");
}
