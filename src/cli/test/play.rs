//! Plays one case: the log, the clock and what lies between the stages.
//!
//! Rule: what the tasks are told is what a runtime would tell them, in its order: the time before records, a position, log
//! ends once a second, and a seal after each. What they leave for each other is packed and delivered at once, so everything
//! that follows from a record or a tick has happened before the next one.
//!
//! Edges:
//! - each record is a seal of its own: what could be late is late;
//! - stages stand in the order of the data path, and send only forwards;
//! - behind the last step time passes until each window must have closed by the rule for idle partitions; the bounds of
//!   joins take as long as they take, and a case waits for them itself.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::points::{self, Metrics};
use super::spans::{self, PlayedSpan};
use crate::engine::alert::{AlertOptions, AlertStage};
use crate::engine::codec::Pack;
use crate::engine::correlate::{CorrelateOptions, CorrelateStage};
use crate::engine::gauge::{GaugeOptions, GaugeStage};
use crate::engine::plan::{Operator, Plan, TimeFrom};
use crate::engine::tap::TapStage;
use crate::engine::tap::ledger::Outcome;
use crate::engine::task::{
    DeadLetter, Halt, Headers, Input, Open, OpenTask, PartitionCounts, Record, Stage, Stamp, Task,
};
use crate::engine::time::{EventTime, Span, WallTime};
use crate::pipeline::testing::{Case, Given, Step};

/// Partitions of the topics between the stages: what a series shows does not depend on it.
const PARTITIONS: u32 = 1;
const TICK: Span = Span::seconds(1);
/// A longer wait has longer ticks.
const MOST_TICKS: i64 = 3_600;
/// No delay of a record counts for more in the rule for idle partitions.
const MOST_DELAY: Span = Span::seconds(60);
const MAX_BACKDATE: Span = Span::seconds(30 * 60);
const MAX_ENTRIES: u64 = 2_000_000;

const LATE: &str = "streamgauge_late_records_total";

/// What came out of a case.
pub struct Played {
    /// The pipelines' metrics, without those that have no points.
    pub metrics: Metrics,
    /// Those that are not zero.
    pub outcomes: BTreeMap<String, u64>,
    pub dead: Vec<DeadLetter>,
    /// Late records by metric, where there are any.
    pub late: BTreeMap<String, u64>,
    pub spans: Vec<PlayedSpan>,
}

/// The stages behind the taps, in the order of the data path.
fn stages(plan: &Arc<Plan>) -> Vec<(Stage, Box<dyn OpenTask>)> {
    let gauge = GaugeOptions {
        application: "test".to_owned(),
        partitions: PARTITIONS,
        max_backdate: MAX_BACKDATE,
        retire_unknown: false,
    };
    let correlate = CorrelateOptions {
        application: "test".to_owned(),
        partitions: PARTITIONS,
        max_entries: MAX_ENTRIES,
    };
    let alert = AlertOptions {
        application: "test".to_owned(),
        partitions: PARTITIONS,
    };
    vec![
        (
            Stage::Correlate,
            Box::new(CorrelateStage::new(Arc::clone(plan), correlate)),
        ),
        (Stage::Gauge, Box::new(GaugeStage::new(Arc::clone(plan), gauge))),
        (Stage::Alert, Box::new(AlertStage::new(Arc::clone(plan), alert))),
    ]
}

/// Plays the case. The error is what a stage stopped with.
pub fn play(plan: &Arc<Plan>, case: &Case) -> Result<Played, String> {
    let mut world = World::new(plan, case)?;
    for step in &case.steps {
        match step {
            Step::Wait(span) => world.pass(world.now.ahead(*span))?,
            Step::Record(given) => {
                for _ in 0..given.times {
                    world.write(case, given)?;
                }
            }
        }
    }
    world.pass(world.end())?;
    world.played()
}

/// One task and the log in front of it.
struct Running {
    stage: Stage,
    topic: String,
    partition: u32,
    task: Box<dyn Task>,
    /// The log's end, which the task has always reached.
    end: i64,
}

/// The headers that a case says.
#[derive(Debug)]
struct Said<'a>(&'a [(String, Vec<u8>)]);

impl Headers for Said<'_> {
    fn last(&self, name: &str) -> Option<&[u8]> {
        let last = self.0.iter().rev().find(|(known, _)| known == name);
        last.map(|(_, value)| value.as_slice())
    }
}

struct World {
    plan: Arc<Plan>,
    now: WallTime,
    /// In the order of the data path.
    tasks: Vec<Running>,
    outboxes: BTreeMap<Stage, Vec<Vec<u8>>>,
    dead: Vec<DeadLetter>,
}

// === impl World ===

impl World {
    fn new(plan: &Arc<Plan>, case: &Case) -> Result<Self, String> {
        let taps = TapStage::new(Arc::clone(plan), PARTITIONS);
        let mut world = World {
            plan: Arc::clone(plan),
            now: WallTime(case.start.0),
            tasks: Vec::new(),
            outboxes: BTreeMap::new(),
            dead: Vec::new(),
        };
        let counts: PartitionCounts = case
            .topics
            .iter()
            .map(|topic| (topic.name.clone(), topic.partitions))
            .collect();
        for topic in &case.topics {
            for partition in 0..topic.partitions {
                world.open(Stage::Tap, &taps, &topic.name, partition, &counts)?;
            }
        }
        for (stage, opener) in stages(plan) {
            for partition in 0..PARTITIONS {
                world.open(stage, opener.as_ref(), "between", partition, &counts)?;
            }
        }
        Ok(world)
    }

    fn open(
        &mut self,
        stage: Stage,
        opener: &dyn OpenTask,
        topic: &str,
        partition: u32,
        counts: &PartitionCounts,
    ) -> Result<(), String> {
        let fresh = Open::Fresh {
            start: 0,
            topic_id: [0; 16],
        };
        let mut task = opener.open(topic, partition, fresh)?;
        for input in [Input::Time(self.now), Input::Partitions(counts), Input::Restored] {
            task.accept(input).map_err(said)?;
        }
        self.tasks.push(Running {
            stage,
            topic: topic.to_owned(),
            partition,
            task,
            end: 0,
        });
        Ok(())
    }

    /// Time passes until `then`, in ticks.
    fn pass(&mut self, then: WallTime) -> Result<(), String> {
        let tick = Span::micros((then.since(self.now).as_micros() / MOST_TICKS).max(TICK.as_micros()));
        while self.now < then {
            self.now = self.now.ahead(tick).min(then);
            let asks = |running: &&mut Running| matches!(running.stage, Stage::Tap | Stage::Alert);
            for running in self.tasks.iter_mut().filter(asks) {
                let end = Input::LogEnd {
                    end: running.end,
                    sampled_at: self.now,
                };
                for input in [Input::Time(self.now), Input::Position { next: running.end }, end] {
                    running.task.accept(input).map_err(said)?;
                }
            }
            self.seal()?;
        }
        Ok(())
    }

    /// One record reaches its log.
    fn write(&mut self, case: &Case, given: &Given) -> Result<(), String> {
        let wall = |time: EventTime| WallTime(time.0);
        let arrives = given.arrives.or(given.at).map_or(self.now, wall);
        self.pass(arrives)?;
        let event = given.at.unwrap_or(EventTime(self.now.0));
        let topic = &case.topics[given.topic];
        let by_field = matches!(self.plan.topics[given.topic].timing.from, TimeFrom::Field { .. });
        let created = given.created.or(given.at.filter(|_| !by_field));
        let stamp = if topic.appended {
            Stamp::Appended(self.now)
        } else {
            Stamp::Created(created.map_or(self.now, wall))
        };
        let value = given.value(&self.plan, event);
        let is_its = |running: &&mut Running| {
            running.stage == Stage::Tap && running.topic == topic.name && running.partition == given.partition
        };
        let Some(running) = self.tasks.iter_mut().find(is_its) else {
            return Err(format!("{} has no partition {}", topic.name, given.partition));
        };
        let record = Record {
            offset: running.end,
            key: given.key.as_deref(),
            value: value.as_deref(),
            stamp,
            headers: &Said(&given.headers),
        };
        for input in [Input::Time(self.now), Input::Record(record)] {
            running.task.accept(input).map_err(said)?;
        }
        running.end += 1;
        self.seal()
    }

    /// Seals all tasks in the order of the data path; what they send is there before the next stage seals.
    fn seal(&mut self) -> Result<(), String> {
        let mut sent: BTreeMap<(Stage, u32), Vec<Vec<u8>>> = BTreeMap::new();
        for running in &mut self.tasks {
            running.task.accept(Input::Time(self.now)).map_err(said)?;
            if let Some(batches) = sent.remove(&(running.stage, running.partition)) {
                let value = Pack::of_encoded(batches.iter().map(Vec::as_slice));
                let record = Record {
                    offset: running.end,
                    key: None,
                    value: Some(&value),
                    stamp: Stamp::Created(self.now),
                    headers: &(),
                };
                running.task.accept(Input::Record(record)).map_err(said)?;
                running.end += 1;
            }
            let Some(output) = running.task.seal() else { continue };
            for shuffled in output.shuffled {
                let to = (shuffled.to, shuffled.partition);
                sent.entry(to).or_default().push(shuffled.batch);
            }
            self.outboxes.entry(running.stage).or_default().extend(output.outbox);
            self.dead.extend(output.dead);
        }
        match sent.keys().next() {
            Some((stage, partition)) => Err(format!("nobody reads partition {partition} of {stage:?}")),
            None => Ok(()),
        }
    }

    /// When every window must have closed.
    fn end(&self) -> WallTime {
        let longest = |spans: &mut dyn Iterator<Item = Span>| spans.max().unwrap_or_default();
        let window = longest(&mut self.plan.metrics.iter().map(|metric| metric.window.span()));
        let timings = || self.plan.topics.iter().map(|topic| &topic.timing);
        let order = longest(&mut timings().map(|timing| timing.out_of_order));
        let idle = longest(&mut timings().map(|timing| timing.idle_after));
        // A response is unmatched only then.
        let skew = longest(&mut self.plan.joins.iter().map(|join| match &join.operator {
            Operator::Respond(respond) => respond.skew,
            Operator::Latest(_) => Span::ZERO,
        }));
        // What was too far ahead is in no ledger's time, and in no window.
        let newest = self
            .tasks
            .iter()
            .filter_map(|running| running.task.view().ledger?.max_time);
        let last = newest.map(|time| WallTime(time.0)).fold(self.now, WallTime::max);
        [window, order, idle, skew, MOST_DELAY, TICK, TICK]
            .into_iter()
            .fold(last, WallTime::ahead)
    }

    fn played(mut self) -> Result<Played, String> {
        let mut outcomes = BTreeMap::new();
        for ledger in self.tasks.iter().filter_map(|running| running.task.view().ledger) {
            for outcome in Outcome::ALL {
                *outcomes.entry(outcome.name().to_owned()).or_default() += ledger.count(outcome);
            }
        }
        outcomes.retain(|_, count| *count > 0);
        let spans = spans::read(&self.outboxes.remove(&Stage::Correlate).unwrap_or_default())?;
        let requests = self.outboxes.remove(&Stage::Gauge).unwrap_or_default();
        let mut metrics = points::read(&requests)?;
        let mut late: BTreeMap<String, u64> = BTreeMap::new();
        for (labels, points) in metrics.remove(LATE).unwrap_or_default() {
            let count = points.last().and_then(|point| point.shown.value).unwrap_or(0.0) as u64;
            if let Some(metric) = labels.get("metric").filter(|_| count > 0) {
                *late.entry(metric.clone()).or_default() += count;
            }
        }
        metrics.retain(|name, _| self.plan.metrics.iter().any(|metric| metric.name == *name));
        Ok(Played {
            metrics,
            outcomes,
            dead: self.dead,
            late,
            spans,
        })
    }
}

fn said(halt: Halt) -> String {
    match halt {
        Halt::Hold(reason) | Halt::Stop(reason) => reason,
    }
}
