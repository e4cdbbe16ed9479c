//! A small world: services that write, workers that come and go, faults, and a clock that only this file moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use streamgauge::engine::task::Stage;
use streamgauge::engine::time::{Span, WallTime};
use streamgauge::memory::{Cluster, ClusterClock, ManualClock, MarkerDelay, TopicOptions};

use crate::faults::inject;
use crate::outbox::Outbox;
use crate::pipelines::{Version, application};
use crate::place::Place;
use crate::random::Random;
use crate::services::Expected;

/// Some date: event times must be plausible, not current.
const BEGINNING: i64 = 1_700_000_000_000_000;

/// What is allowed to go wrong.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hardship {
    pub kills: bool,
    pub faults: bool,
    pub slow_markers: bool,
    pub growth: bool,
    /// Members are taken out of their group while their transaction is under way.
    pub expiries: bool,
    /// The whole application dies at once, and starts again.
    pub deaths: bool,
    pub upgrade: Upgrade,
}

/// Workers are replaced one by one, by ones with another version of the pipeline.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Upgrade {
    #[default]
    Never,
    Rolling,
    /// Before or after it is through, it is taken back.
    RolledBack,
}

/// What happened in one life.
#[derive(Default)]
pub struct Report {
    pub kills: u64,
    pub deaths: u64,
    pub replaced: u64,
    pub faults: u64,
    pub records: u64,
    /// Records of definitions that nothing took any more.
    pub retired: u64,
    /// Lives in which partials were left that no running instance knew.
    pub accepted: u64,
}

impl Report {
    pub fn add(&mut self, more: &Report) {
        self.kills += more.kills;
        self.deaths += more.deaths;
        self.replaced += more.replaced;
        self.faults += more.faults;
        self.records += more.records;
        self.retired += more.retired;
        self.accepted += more.accepted;
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            out,
            "{} records, {} kills, {} deaths of all, {} injected faults, {} workers replaced, {} retired, {} accepted",
            self.records, self.kills, self.deaths, self.faults, self.replaced, self.retired, self.accepted
        )
    }
}

/// When versions change, counted in rounds.
struct Schedule {
    upgrade_at: Option<u64>,
    back_at: Option<u64>,
    deaths_at: Vec<u64>,
}

pub struct World {
    pub random: Random,
    hardship: Hardship,
    schedule: Schedule,
    clock: ManualClock,
    pub cluster: Cluster,
    pub places: Vec<Place>,
    /// Where the roll goes to.
    pub version: Version,
    pub outbox: Outbox,
    pub expected: Expected,
    pub report: Report,
    injected: Arc<AtomicU64>,
}

// === impl World ===

impl World {
    pub fn new(seed: u64, hardship: Hardship) -> Self {
        let mut random = Random::new(seed);
        let clock = ManualClock::new(WallTime(BEGINNING));
        let cluster = Cluster::new(ClusterClock::Manual(clock.clone()));
        for (topic, partitions) in [("orders", 3), ("visits", 2)] {
            cluster
                .create_topic(topic, partitions, TopicOptions::default())
                .expect("a new topic");
        }
        let version = match hardship.upgrade {
            Upgrade::Never => Version::Stable,
            Upgrade::Rolling | Upgrade::RolledBack => Version::Old,
        };
        for topic in application(version, None).internal_topics() {
            let options = TopicOptions {
                compact: topic.compacted,
                ..TopicOptions::default()
            };
            cluster
                .create_topic(&topic.name, topic.partitions, options)
                .expect("a new topic");
        }
        let named = random.one_in(2);
        let mut places = Vec::new();
        for instance in ["a", "b"] {
            for stage in [Stage::Tap, Stage::Gauge] {
                let name = named.then(|| instance.to_owned());
                places.push(Place::new(stage, places.len(), name, version));
            }
        }
        Self {
            random,
            hardship,
            schedule: Schedule {
                upgrade_at: None,
                back_at: None,
                deaths_at: Vec::new(),
            },
            clock,
            cluster,
            places,
            version,
            outbox: Outbox::default(),
            expected: Expected::default(),
            report: Report::default(),
            injected: Arc::new(AtomicU64::new(0)),
        }
    }

    /// A life: some hard time, then peace, then the reckoning.
    pub fn live(mut self) -> Report {
        if self.hardship.faults || self.hardship.expiries {
            let random = Random::new(self.random.next());
            inject(&self.cluster, self.hardship, random, &self.injected);
        }
        let rounds = 200 + self.random.below(300);
        self.plan(rounds);
        for round in 0..rounds {
            self.keep_to_schedule(round);
            self.something_happens();
        }
        self.peace();
        self.report.faults = self.injected.load(Ordering::Relaxed);
        self.report.records = self.expected.records;
        self.report
    }

    fn plan(&mut self, rounds: u64) {
        if self.hardship.upgrade != Upgrade::Never {
            let at = rounds / 4 + self.random.below(rounds / 2);
            self.schedule.upgrade_at = Some(at);
            if self.hardship.upgrade == Upgrade::RolledBack {
                self.schedule.back_at = Some(at + 1 + self.random.below(rounds / 4));
            }
        }
        if self.hardship.deaths {
            let deaths = 1 + self.random.below(2);
            self.schedule.deaths_at = (0..deaths).map(|_| self.random.below(rounds)).collect();
        }
    }

    pub fn now(&self) -> WallTime {
        self.clock.now()
    }

    pub fn advance(&mut self, micros: i64) {
        let now = self.now().ahead(Span::micros(micros));
        self.clock.advance_to(now);
        self.cluster.tick(now);
    }

    fn keep_to_schedule(&mut self, round: u64) {
        if self.schedule.upgrade_at == Some(round) {
            self.version = Version::New;
        }
        if self.schedule.back_at == Some(round) {
            self.version = Version::Old;
        }
        if self.schedule.deaths_at.contains(&round) {
            self.everyone_dies();
        }
        if self.random.one_in(10) {
            self.replace_someone();
        }
    }

    fn something_happens(&mut self) {
        match self.random.below(100) {
            0..=54 => self.step_someone(),
            55..=74 => {
                let now = self.now();
                self.expected.produce(&self.cluster, &mut self.random, now);
            }
            75..=94 => {
                let micros = self.random.below(300_000) as i64;
                self.advance(micros);
            }
            95..=96 if self.hardship.kills => self.kill_someone(),
            97 if self.hardship.kills => {
                let place = self.someone();
                let micros = self.random.below(20_000_000) as i64;
                self.places[place].asleep_until = self.now().0 + micros;
                self.expire_one_of(place);
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

    fn someone(&mut self) -> usize {
        self.random.below(self.places.len() as u64) as usize
    }

    fn step_someone(&mut self) {
        let place = self.someone();
        if self.places[place].asleep_until <= self.now().0 {
            self.step(place);
        }
    }

    pub fn step(&mut self, place: usize) {
        let now = self.now();
        self.places[place].step(&self.cluster, now);
    }

    /// The process dies; its successor starts at the next step.
    fn kill_someone(&mut self) {
        let place = self.someone();
        if self.places[place].kill() {
            self.report.kills += 1;
            if self.random.one_in(2) {
                self.expire_one_of(place);
            }
        }
    }

    /// The group gives up on one of the members of this stage, which may live on as a zombie.
    fn expire_one_of(&mut self, place: usize) {
        let group = self.places[place].group();
        let members = self.cluster.group(&group).map(|view| view.members).unwrap_or_default();
        if !members.is_empty() {
            let chosen = self.random.below(members.len() as u64) as usize;
            self.cluster.expire_member(&group, members[chosen].id);
        }
    }

    /// As a power cut would; some time later all start again, perhaps with the next version at once.
    fn everyone_dies(&mut self) {
        for place in &mut self.places {
            place.kill();
            place.asleep_until = 0;
        }
        if self.random.one_in(2) {
            for place in &mut self.places {
                place.version = self.version;
            }
        }
        self.report.deaths += 1;
        let away = self.random.below(30_000_000) as i64;
        self.advance(away);
    }

    /// One place that has another version than the roll wants gets it.
    fn replace_someone(&mut self) {
        let late: Vec<usize> = (0..self.places.len())
            .filter(|place| self.places[*place].version != self.version)
            .collect();
        if !late.is_empty() {
            let place = late[self.random.below(late.len() as u64) as usize];
            self.replace(place);
        }
    }

    fn replace(&mut self, place: usize) {
        if self.random.one_in(2) {
            self.places[place].kill();
        } else {
            let now = self.now();
            self.places[place].drain(now);
        }
        self.places[place].version = self.version;
        self.report.replaced += 1;
    }

    /// The roll goes to its end before the reckoning.
    pub fn finish_roll(&mut self) {
        for place in 0..self.places.len() {
            if self.places[place].version != self.version {
                self.replace(place);
            }
        }
    }

    /// Partials that no instance knows, and none will: only the operator can say so.
    pub fn accept_what_nobody_knows(&mut self) {
        let is_accepted = self.places.iter().all(|place| place.accept);
        if is_accepted || self.places.iter().all(|place| place.in_phase("held").is_empty()) {
            return;
        }
        self.report.accepted += 1;
        let now = self.now();
        for place in &mut self.places {
            place.drain(now);
            place.accept = true;
        }
    }
}
