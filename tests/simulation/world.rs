//! A small world: services that write, workers that come and go, faults, and a clock that only this file moves.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use streamgauge::cli::application::{Application, WorkerSetup};
use streamgauge::engine::tap::ledger::Ledger;
use streamgauge::engine::time::{Span, WallTime};
use streamgauge::memory::{CallPoint, Cluster, ClusterClock, Fault, ManualClock, MarkerDelay, TopicOptions};
use streamgauge::pipeline;
use streamgauge::runtime::Worker;
use streamgauge::runtime::log::{LogError, TopicPartition};
use streamgauge::runtime::stats::Stats;

use crate::outbox::{self, SeriesName};

const PIPELINE: &str = r#"
pipeline: sim
defaults: { out_of_order: 500ms, idle_after: 500ms, window: 1s, max_ahead: 1m }
sources:
  orders: { topic: orders, time: /at }
  visits: { topic: visits, time: /at, when: 'kind == "page"' }
metrics:
  orders_total:
    count: orders
    labels: { shop: /shop }
  order_items_total:
    sum: { of: orders, value: /items }
    labels: { shop: /shop }
  order_items:
    observe: { of: orders, value: /items }
    histogram: { kind: explicit, buckets: [1, 2, 5] }
    labels: { shop: /shop }
  visits_total:
    count: visits
    labels: { page: { field: /page, else: none } }
"#;

const APPLICATION: &str = "sim";
const SHUFFLE: u32 = 3;
/// Some date: event times must be plausible, not current.
const BEGINNING: i64 = 1_700_000_000_000_000;

/// What is allowed to go wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hardship {
    pub kills: bool,
    pub faults: bool,
    pub slow_markers: bool,
    pub growth: bool,
}

/// What happened in one life.
#[derive(Default)]
pub struct Report {
    pub kills: u64,
    pub faults: u64,
    pub records: u64,
}

/// A worker's place: who runs there changes, its name may stay.
struct Place {
    make: Box<dyn Fn() -> WorkerSetup>,
    worker: Option<Worker>,
    /// Not scheduled until then: a process that hangs.
    asleep_until: i64,
}

pub struct World {
    random: Random,
    hardship: Hardship,
    clock: ManualClock,
    cluster: Cluster,
    places: Vec<Place>,
    stats: Stats,
    expected: BTreeMap<SeriesName, f64>,
    outcomes: BTreeMap<&'static str, u64>,
    report: Report,
    faulty: Arc<AtomicBool>,
    injected: Arc<AtomicU64>,
}

/// SplitMix64: a few lines that give the same numbers everywhere.
pub struct Random(u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

impl World {
    pub fn new(seed: u64, hardship: Hardship) -> Self {
        let mut random = Random(seed);
        let clock = ManualClock::new(WallTime(BEGINNING));
        let cluster = Cluster::new(ClusterClock::Manual(clock.clone()));
        for (topic, partitions) in [("orders", 3), ("visits", 2)] {
            cluster
                .create_topic(topic, partitions, TopicOptions::default())
                .expect("a new topic");
        }
        let plan =
            pipeline::parse(&[("sim.yaml".to_owned(), PIPELINE.to_owned())], &|_| None).expect("the pipeline is right");
        let plan = Arc::new(plan);
        let named = random.one_in(2);
        let application = |instance: Option<String>| Application {
            id: APPLICATION.to_owned(),
            plan: Arc::clone(&plan),
            shuffle_partitions: SHUFFLE,
            instance,
            accept_reset: false,
            seal_every: Span::millis(200),
            max_backdate: Span::seconds(1_800),
            queue_kbytes: 1,
            tap_workers: 1,
        };
        for topic in application(None).internal_topics() {
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
            let of = application(named.then(|| instance.to_owned()));
            let tap = of.clone();
            places.push(Place {
                make: Box::new(move || tap.tap_worker(0)),
                worker: None,
                asleep_until: 0,
            });
            places.push(Place {
                make: Box::new(move || of.gauge_worker()),
                worker: None,
                asleep_until: 0,
            });
        }
        Self {
            random,
            hardship,
            clock,
            cluster,
            places,
            stats: Stats::default(),
            expected: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            report: Report::default(),
            faulty: Arc::new(AtomicBool::new(true)),
            injected: Arc::new(AtomicU64::new(0)),
        }
    }

    /// A life: some hard time, then peace, then the reckoning.
    pub fn live(mut self) -> Report {
        if self.hardship.faults {
            self.inject();
        }
        let rounds = 200 + self.random.below(300);
        for _ in 0..rounds {
            self.something_happens();
        }
        self.peace();
        self.report.faults = self.injected.load(Ordering::Relaxed);
        self.report
    }

    fn now(&self) -> i64 {
        self.clock.now().0
    }

    fn advance(&mut self, micros: i64) {
        let now = WallTime(self.now() + micros);
        self.clock.advance_to(now);
        self.cluster.tick(now);
    }

    fn something_happens(&mut self) {
        match self.random.below(100) {
            0..=54 => self.step_someone(),
            55..=74 => self.produce(),
            75..=94 => {
                let micros = self.random.below(300_000) as i64;
                self.advance(micros);
            }
            95..=96 if self.hardship.kills => self.kill_someone(),
            97 if self.hardship.kills => {
                let (place, micros) = (
                    self.random.below(self.places.len() as u64) as usize,
                    self.random.below(20_000_000),
                );
                self.places[place].asleep_until = self.now() + micros as i64;
                self.expire(place);
            }
            98 if self.hardship.slow_markers => {
                let mut delay = || Span::millis(self.random.below(400) as i64);
                let delay = MarkerDelay {
                    partitions: delay(),
                    offsets: delay(),
                };
                self.cluster.delay_markers(delay);
            }
            99 if self.hardship.growth && self.random.one_in(4) => {
                let visits = self.cluster.topics().get("visits").copied().unwrap_or(0);
                if visits < 5 {
                    self.cluster
                        .add_partitions("visits", visits + 1)
                        .expect("more partitions");
                }
            }
            _ => self.step_someone(),
        }
    }

    fn step_someone(&mut self) {
        let place = self.random.below(self.places.len() as u64) as usize;
        if self.places[place].asleep_until <= self.now() {
            self.step(place);
        }
    }

    fn step(&mut self, index: usize) {
        let now = self.clock.now();
        let place = &mut self.places[index];
        if place.worker.is_none() {
            place.worker = (place.make)().start(&self.cluster, &self.stats).ok();
        }
        let Some(worker) = place.worker.as_mut() else { return };
        if let Err(stop) = worker.step(now, Duration::ZERO) {
            // Nothing in this world asks for a person: a fenced worker is one whose name was taken by its successor.
            assert!(
                matches!(stop, streamgauge::runtime::Stop::Fenced(_)),
                "a worker gave up: {stop}"
            );
            place.worker = None;
        }
    }

    /// The process dies; its successor starts at the next step.
    fn kill_someone(&mut self) {
        let index = self.random.below(self.places.len() as u64) as usize;
        if let Some(worker) = self.places[index].worker.take() {
            let expired = self.random.one_in(2);
            if expired {
                self.expire_all_of(index);
            }
            drop(worker.kill());
            self.report.kills += 1;
        }
    }

    /// The group gives up on one of the members of this stage, which may live on as a zombie.
    fn expire(&mut self, index: usize) {
        self.expire_all_of(index);
    }

    fn expire_all_of(&mut self, index: usize) {
        let group = (self.places[index].make)().client.group;
        let members = self.cluster.group(&group).map(|view| view.members).unwrap_or_default();
        if !members.is_empty() {
            let chosen = self.random.below(members.len() as u64) as usize;
            self.cluster.expire_member(&group, members[chosen].id);
        }
    }

    fn inject(&mut self) {
        let faulty = Arc::clone(&self.faulty);
        let injected = Arc::clone(&self.injected);
        let random = Mutex::new(Random(self.random.next()));
        self.cluster.inject(Some(Box::new(
            move |point: CallPoint, _: streamgauge::memory::Caller<'_>| {
                let mut random = random.lock().expect("one thread");
                if !faulty.load(Ordering::Relaxed) || !random.one_in(60) {
                    return None;
                }
                let error = |kind: &dyn Fn(String) -> LogError| kind(format!("injected at {point:?}"));
                let fault = match point {
                    CallPoint::Begin | CallPoint::Send | CallPoint::SendOffsets => match random.below(3) {
                        0 => Fault::lost(error(&LogError::Abort)),
                        1 => Fault::unanswered(error(&LogError::Abort)),
                        _ => Fault::lost(error(&LogError::Fatal)),
                    },
                    CallPoint::CommitBefore => match random.below(3) {
                        0 => Fault::lost(error(&LogError::Abort)),
                        1 => Fault::lost(error(&LogError::Retry)),
                        _ => Fault::lost(error(&LogError::Fatal)),
                    },
                    CallPoint::CommitAfter => Fault::unanswered(error(&LogError::Fatal)),
                    CallPoint::Abort => match random.below(2) {
                        0 => Fault::lost(error(&LogError::Retry)),
                        _ => Fault::unanswered(error(&LogError::Fatal)),
                    },
                    CallPoint::Subscribe | CallPoint::Assign | CallPoint::Unassign => return None,
                    _ => Fault::lost(error(&LogError::Retry)),
                };
                injected.fetch_add(1, Ordering::Relaxed);
                Some(fault)
            },
        )));
    }

    fn produce(&mut self) {
        for _ in 0..self.random.below(20) {
            let disorder = match self.random.below(20) {
                0 => self.random.below(3_000_000),
                _ => self.random.below(400_000),
            };
            let at = self.now() - disorder as i64;
            if self.random.one_in(2) {
                self.produce_order(at)
            } else {
                self.produce_visit(at)
            }
            self.report.records += 1;
        }
    }

    fn produce_order(&mut self, at: i64) {
        let shop = ["north", "south", "east"][self.random.below(3) as usize];
        let items = self.random.below(8);
        let value = match self.random.below(20) {
            0 => br#"{"at": "#.to_vec(),
            1 => {
                *self.outcomes.entry("future").or_default() += 1;
                format!(r#"{{"at": {}, "shop": "{shop}", "items": 1}}"#, at + 3_600_000_000).into_bytes()
            }
            _ => {
                for (name, value) in [
                    ("orders_total", 1.0),
                    ("order_items_total", items as f64),
                    ("order_items_count", 1.0),
                    ("order_items_sum", items as f64),
                ] {
                    *self
                        .expected
                        .entry((name.to_owned(), vec![shop.to_owned()]))
                        .or_default() += value;
                }
                *self.outcomes.entry("counted").or_default() += 1;
                format!(r#"{{"at": {at}, "shop": "{shop}", "items": {items}}}"#).into_bytes()
            }
        };
        if value.len() < 10 {
            *self.outcomes.entry("malformed").or_default() += 1;
        }
        self.append("orders", &value);
    }

    fn produce_visit(&mut self, at: i64) {
        let kind = if self.random.one_in(4) { "robot" } else { "page" };
        let page = ["home", "cart"][self.random.below(2) as usize];
        if kind == "page" {
            *self
                .expected
                .entry(("visits_total".to_owned(), vec![page.to_owned()]))
                .or_default() += 1.0;
        }
        *self
            .outcomes
            .entry(if kind == "page" { "counted" } else { "filtered" })
            .or_default() += 1;
        self.append(
            "visits",
            format!(r#"{{"kind": "{kind}", "page": "{page}", "at": {at}}}"#).as_bytes(),
        );
    }

    fn append(&mut self, topic: &str, value: &[u8]) {
        let partitions = self.cluster.topics().get(topic).copied().unwrap_or(1);
        let partition = self.random.below(u64::from(partitions)) as u32;
        self.cluster
            .produce(topic, partition, None, Some(value), self.clock.now())
            .expect("the topic takes records");
    }

    /// No more faults; everybody runs until every total is out.
    fn peace(&mut self) {
        self.faulty.store(false, Ordering::Relaxed);
        self.cluster.delay_markers(MarkerDelay::default());
        for place in &mut self.places {
            place.asleep_until = 0;
        }
        let mut expected = self.expected.clone();
        expected.retain(|_, value| *value > 0.0);
        let mut last = BTreeMap::new();
        for round in 0..900 {
            for index in 0..self.places.len() {
                self.step(index);
            }
            self.advance(100_000);
            if round % 5 > 0 {
                continue;
            }
            last = self.totals();
            if last == expected && self.outcomes_shown() == self.outcomes {
                self.reckon();
                return;
            }
        }
        panic!(
            "the outbox says\n{last:?} {:?}\nand what was produced is\n{expected:?} {:?}\n{}",
            self.outcomes_shown(),
            self.outcomes,
            self.state()
        );
    }

    /// Where everything stands, for a failure's message.
    fn state(&self) -> String {
        let mut state = String::new();
        for (name, numbers) in &self.stats.lock().workers {
            state.push_str(&format!("{name}: {:#?}\n", numbers.tasks));
        }
        for group in self.cluster.groups() {
            state.push_str(&format!(
                "{group}: {:?}\n",
                self.cluster.group(&group).map(|view| (view.generation, view.members))
            ));
        }
        for (name, value) in outbox::totals(&self.cluster, "sim-otlp-metrics", SHUFFLE) {
            state.push_str(&format!("{name:?} {value}\n"));
        }
        state
    }

    /// The pipeline's own totals; what never counted anything is left out on both sides.
    fn totals(&self) -> BTreeMap<SeriesName, f64> {
        let mut totals = outbox::totals(&self.cluster, "sim-otlp-metrics", SHUFFLE);
        totals.retain(|(name, _), value| !name.starts_with("streamgauge_") && *value > 0.0);
        totals
    }

    /// The ledger as the collector sees it, by outcome; control records and gaps are not the services' doing.
    fn outcomes_shown(&self) -> BTreeMap<&'static str, u64> {
        let totals = outbox::totals(&self.cluster, "sim-otlp-metrics", SHUFFLE);
        let mut shown = BTreeMap::new();
        for ((name, labels), value) in totals {
            let outcome = ["counted", "filtered", "future", "malformed"]
                .into_iter()
                .find(|outcome| labels.last().is_some_and(|last| last == outcome));
            if let (true, Some(outcome), true) = (name == "streamgauge_records_total", outcome, value > 0.0) {
                *shown.entry(outcome).or_default() += value as u64;
            }
        }
        shown
    }

    /// Every commit of the taps balances.
    fn reckon(&self) {
        for topic in ["orders", "visits"] {
            for partition in 0..self.cluster.topics().get(topic).copied().unwrap_or(0) {
                let partition = TopicPartition {
                    topic: topic.to_owned(),
                    partition,
                };
                let committed = self
                    .cluster
                    .committed(APPLICATION, &partition)
                    .expect("everything was read");
                let ledger = Ledger::decode(&committed.metadata).expect("the metadata is a ledger");
                assert_eq!(
                    ledger.balance(committed.offset),
                    0,
                    "{partition:?} does not balance: {ledger:?}"
                );
            }
        }
    }
}
