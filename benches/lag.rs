//! What the lag stage costs, without the clients: CPU for a commit and for a survey, memory for a group in a partition.
//!
//! One instance that owns all 50 partitions of the offsets topic, and 1,000 groups that commit in 1,000 partitions each: a
//! million rows, more than a broker on this machine could be made to hold. Every row commits once in a round, each round
//! asks for the ends of all logs, shows what has changed and seals. `STREAMGAUGE_BENCH_GROUPS` says how many groups.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use streamgauge::engine::lag::coordinator::partition_of;
use streamgauge::engine::lag::logs::{Partitions, Survey, Surveyed, SurveyedTopic};
use streamgauge::engine::lag::polled::{commit, commit_key};
use streamgauge::engine::lag::{LagOptions, LagStage, OFFSETS_TOPIC};
use streamgauge::engine::plan::Lag;
use streamgauge::engine::task::{Input, Open, OpenTask, Output, Record, Stamp, Task};
use streamgauge::engine::time::WallTime;

const TOPICS: u32 = 10;
const PARTITIONS: u32 = 100;
const TASKS: u32 = 50;
/// The ring of a row is full behind them.
const ROUNDS: i64 = 12;
/// Seconds since the epoch: 2026-11-22T14:00:00Z.
const T0: i64 = 1_795_356_000;

fn main() {
    let groups = std::env::var("STREAMGAUGE_BENCH_GROUPS").ok();
    let groups: u32 = groups.and_then(|groups| groups.parse().ok()).unwrap_or(1_000);
    // Criterion's flags and filters mean nothing here, and tests only ask whether it compiles.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    Cluster::new(groups).measure();
}

struct Cluster {
    stage: LagStage,
    tasks: Vec<(Box<dyn Task>, i64)>,
    /// Key and task of each row.
    rows: Vec<(Vec<u8>, usize)>,
    second: i64,
}

/// What one round took.
#[derive(Default)]
struct Cost {
    commits: Duration,
    survey: Duration,
    seal: Duration,
    outbox: usize,
    changelog: usize,
}

impl Cluster {
    fn new(groups: u32) -> Self {
        let stage = LagStage::new(LagOptions {
            application: "bench".to_owned(),
            pipeline: "lag".to_owned(),
            lag: Lag::of_all(0),
            alerts: Vec::new(),
            partitions: 1,
            tapped: BTreeSet::new(),
        });
        let task = |partition| {
            let at = Open::Fresh {
                start: 0,
                topic_id: [1; 16],
            };
            let mut task = stage.open(OFFSETS_TOPIC, partition, at).expect("opens");
            task.accept(Input::Restored).expect("taken");
            (task, 0)
        };
        let tasks = (0..TASKS).map(task).collect();
        let mut rows = Vec::new();
        for group in 0..groups {
            let group = format!("group-{group:04}");
            let task = partition_of(&group, std::num::NonZeroU32::new(TASKS).expect("some"));
            for topic in 0..TOPICS {
                for partition in 0..PARTITIONS {
                    rows.push((commit_key(&group, &format!("topic-{topic}"), partition), task as usize));
                }
            }
        }
        Self {
            stage,
            tasks,
            rows,
            second: T0,
        }
    }

    fn measure(mut self) {
        let rows = self.rows.len();
        println!("{rows} rows in {TASKS} tasks");
        let before = resident();
        let first = self.round(0);
        let with_one = resident().saturating_sub(before);
        let mut total = Cost::default();
        for round in 1..ROUNDS {
            let cost = self.round(round);
            total.commits += cost.commits;
            total.survey += cost.survey;
            total.seal += cost.seal;
            total.outbox += cost.outbox;
            total.changelog += cost.changelog;
        }
        let full = resident().saturating_sub(before);
        let rounds = (ROUNDS - 1) as u32;
        let each = |took: Duration| took.as_nanos() / (rows as u128 * u128::from(rounds));
        println!("a first commit: {} ns", first.commits.as_nanos() / rows as u128);
        let commit = each(total.commits);
        println!(
            "a commit: {commit} ns, {} million a second and core",
            1_000 / commit.max(1)
        );
        println!("a row that moved, survey and points: {} ns", each(total.survey));
        println!("a row that moved, seal: {} ns", each(total.seal));
        let bytes = |bytes: usize| bytes / rows / rounds as usize;
        println!(
            "a row that moved: {} bytes of points, {} of changelog",
            bytes(total.outbox),
            bytes(total.changelog)
        );
        println!(
            "memory of a row: {} bytes with one commit, {} with a full ring",
            with_one / rows,
            full / rows
        );
    }

    fn round(&mut self, round: i64) -> Cost {
        let mut cost = Cost::default();
        self.second += 10;
        let now = WallTime(self.second * 1_000_000);
        let value = commit(100 * round, now);
        let began = Instant::now();
        for (key, task) in &self.rows {
            let (task, next) = &mut self.tasks[*task];
            task.accept(Input::Time(now)).expect("time passes");
            let record = Record {
                offset: *next,
                key: Some(key),
                value: Some(&value),
                stamp: Stamp::Appended(now),
                headers: &(),
            };
            task.accept(Input::Record(record)).expect("taken");
            *next += 1;
        }
        cost.commits = began.elapsed();
        let began = Instant::now();
        let mut wanted = Partitions::new();
        for (task, _) in &mut self.tasks {
            task.accept(Input::Surveying).expect("a survey");
            task.wants(&mut wanted);
        }
        self.stage.survey(self.answer(&wanted, round, now));
        let mut spans = BTreeSet::new();
        let logs = self.stage.logs().expect("it has logs");
        for (task, _) in &mut self.tasks {
            task.tails(logs, &mut spans);
            task.accept(Input::Surveyed(logs)).expect("a survey");
        }
        cost.survey = began.elapsed();
        let began = Instant::now();
        for (task, _) in &mut self.tasks {
            // No group may be in it.
            let Some(Output { outbox, changelog, .. }) = task.seal() else {
                continue;
            };
            cost.outbox += outbox.iter().map(Vec::len).sum::<usize>();
            let size = |(key, value): &(Vec<u8>, Option<Vec<u8>>)| key.len() + value.as_ref().map_or(0, Vec::len);
            cost.changelog += changelog.iter().map(size).sum::<usize>();
        }
        cost.seal = began.elapsed();
        cost
    }

    /// Everybody is far behind: no tail is short enough to be read.
    fn answer(&self, wanted: &Partitions, round: i64, at: WallTime) -> Survey {
        let mut survey = Survey {
            at,
            topics: BTreeMap::new(),
        };
        for (topic, partitions) in wanted {
            let end = |partition: u32| match &**topic {
                OFFSETS_TOPIC => self.tasks[partition as usize].1,
                _ => 10_000 + 110 * round,
            };
            let described = |partition: &u32| {
                let end = end(*partition);
                let log = Surveyed::Log {
                    start: 0,
                    stable: end,
                    end,
                };
                (*partition, log)
            };
            let surveyed = SurveyedTopic {
                id: [1; 16],
                partitions: partitions.iter().map(described).collect(),
            };
            survey.topics.insert(topic.clone(), surveyed);
        }
        survey
    }
}

/// Bytes of memory that the process has.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or(0) * 4_096
}
