//! The tap's work on one input partition.
//!
//! Rule: every offset ends as exactly one outcome of the [`Ledger`]; records that are counted are combined into partials,
//! which a seal hands to the gauge partitions together with how far this partition is in event time. The ledger goes into
//! the metadata of the commit, so offset, outcomes and partials are one.
//!
//! Edges:
//! - every gauge partition gets a batch at every seal that has anything to say, since each needs the watermark; so does
//!   every partition of the joins, where the topic takes part in one;
//! - the first seal always writes, so a fresh partition commits its start before any record;
//! - counted and filtered records move the watermark, quarantined ones do not;
//! - after a restart the watermark is that of the highest event time in the ledger, so lateness survives;
//! - where lag is wanted of the topic, every offset goes into the offset index too.

use std::sync::Arc;

use prost::Message;

use super::clock::Clock;
use super::combine::Combiner;
use super::indexer::Indexer;
use super::judge::Judge;
use super::keyer::Keyer;
use super::ledger::{Ledger, LedgerError, Outcome};
use crate::engine::codec;
use crate::engine::index::Stretch;
use crate::engine::pace::Pace;
use crate::engine::plan::{Plan, Start, TopicPlan};
use crate::engine::series::{SeriesKey, partition_of};
use crate::engine::task::{
    DeadLetter, Halt, Input, Open, OpenTask, Output, PartitionCounts, Record, Runner, Shuffled, Sibling, Stage, Stamp,
    StartAt, Task, TaskView, TopicId, Wait,
};
use crate::engine::time::{Span, WallTime, Watermark};

/// The ledger's counters as a metric, with the labels topic, partition and outcome.
pub const RECORDS_TOTAL: &str = "streamgauge_records_total";

/// Partitions of a new application get their first commits within this time, whoever owns them first.
const STARTING: Span = Span::seconds(600);

/// How much of a quarantined key or value is kept.
const DEAD_BYTES: usize = 64 * 1024;

/// Opens the tasks of the tap stage.
#[derive(Debug)]
pub struct TapStage {
    plan: Arc<Plan>,
    gauge_partitions: u32,
    pace: Pace,
}

/// See the module's rule.
#[derive(Debug)]
pub struct TapTask {
    plan: Arc<Plan>,
    /// Index into [`Plan::topics`].
    topic: usize,
    partition: u32,
    /// Of every repartition topic.
    gauge_partitions: u32,
    ledger: Ledger,
    /// The next offset to read; what the ledger's counts lead to.
    next: i64,
    clock: Clock,
    judge: Judge,
    combiner: Combiner,
    keyer: Keyer,
    /// `None` where nobody wants the topic in the offset index.
    indexer: Option<Indexer>,
    dead: Vec<DeadLetter>,
    dead_weight: usize,
    /// The series of the ledger's counters, by outcome.
    counters: Vec<Counter>,
    /// What the last seal said; `None` before the first.
    sealed: Option<Sealed>,
}

/// One of the ledger's counters on its way to the gauge.
#[derive(Debug)]
struct Counter {
    key: Vec<u8>,
    /// The gauge partition that owns the series.
    partition: u32,
    sent: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sealed {
    next: i64,
    watermark: Option<Watermark>,
    partitions: u32,
}

// === impl TapStage ===

impl TapStage {
    /// # Panics
    ///
    /// With no gauge partitions: a topic has at least one.
    pub fn new(plan: Arc<Plan>, gauge_partitions: u32) -> Self {
        assert!(gauge_partitions > 0, "the repartition topic has partitions");
        Self {
            pace: Pace::new(Arc::clone(&plan)),
            plan,
            gauge_partitions,
        }
    }
}

impl OpenTask for TapStage {
    fn start(&self, topic: &str, partition: u32, siblings: &[Sibling], now: WallTime) -> Result<StartAt, String> {
        let ledgers = || {
            let read = |sibling: &Sibling| {
                Some((
                    sibling.partition,
                    sibling.offset,
                    Ledger::decode(&sibling.metadata).ok()?,
                ))
            };
            siblings.iter().filter_map(read)
        };
        // The lowest: a partition that was added itself knows of more.
        let first_known = ledgers()
            .map(|(_, _, ledger)| ledger.partitions)
            .filter(|count| *count > 0)
            .min();
        if first_known.is_some_and(|known| partition >= known) {
            return Ok(StartAt::Earliest);
        }
        let settled = |ledger: &Ledger| ledger.partitions > partition && ledger.started.ahead(STARTING) < now;
        if let Some((other, offset, ledger)) = ledgers().find(|(_, _, ledger)| settled(ledger)) {
            return Err(format!(
                "{topic} partition {partition}: the group has no commit for it, while partition {other} has been counted from \
                 offset {} to {offset}: the commit expired or was deleted. Set it back, or start once with `--accept-reset` to \
                 begin a new ledger epoch at the log's start",
                ledger.start
            ));
        }
        let plan = self.plan.topics.iter().find(|known| known.topic == topic);
        Ok(match plan.map_or(Start::Earliest, |plan| plan.start) {
            Start::Earliest => StartAt::Earliest,
            Start::Latest => StartAt::Latest,
            Start::Ago(span) => StartAt::Since(WallTime(now.0.saturating_sub(span.as_micros()))),
        })
    }

    fn open(&self, topic: &str, partition: u32, at: Open<'_>) -> Result<Box<dyn Task>, String> {
        TapTask::open(&self.plan, self.gauge_partitions, topic, partition, at)
            .map(|task| Box::new(task) as Box<dyn Task>)
    }

    fn hear(&mut self, topic: &str, partition: u32, metadata: &str) {
        self.pace.hear(topic, partition, metadata);
    }

    fn see(&mut self, topic: &str, partition: u32, watermark: Option<Watermark>) {
        self.pace.see(topic, partition, watermark);
    }

    fn waits(&mut self, counts: &PartitionCounts, runners: &[Runner<'_>]) -> Vec<Option<Wait>> {
        self.pace.waits(counts, runners)
    }
}

// === impl TapTask ===

impl TapTask {
    /// A task for `partition` of `topic`; the error is for a person.
    pub fn open(
        plan: &Arc<Plan>,
        gauge_partitions: u32,
        topic: &str,
        partition: u32,
        at: Open<'_>,
    ) -> Result<TapTask, String> {
        let index = plan.topics.iter().position(|known| known.topic == topic);
        let index = index.ok_or_else(|| format!("topic {topic} is in no pipeline"))?;
        let ledger = open_ledger(at).map_err(|problem| {
            format!(
                "{topic} partition {partition}: {problem}. `--accept-reset` starts a new ledger epoch for it; what lies \
                 between is counted nowhere"
            )
        })?;
        let next = ledger.next();
        let counters = Outcome::ALL
            .map(|outcome| {
                let key = SeriesKey::of([topic, partition.to_string().as_str(), outcome.name()]).0;
                let partition = partition_of(RECORDS_TOTAL, &key, gauge_partitions);
                Counter {
                    key,
                    partition,
                    sent: 0,
                }
            })
            .into();
        let is_indexed = plan.lag.as_ref().is_some_and(|lag| lag.topics.has(topic));
        Ok(TapTask {
            clock: Clock::new(plan.topics[index].timing.clone(), next, ledger.max_time, ledger.delay),
            plan: Arc::clone(plan),
            topic: index,
            partition,
            gauge_partitions,
            ledger,
            next,
            judge: Judge::new(topic, partition),
            combiner: Combiner::default(),
            keyer: Keyer::new(&plan.topics[index], gauge_partitions),
            indexer: is_indexed.then(|| Indexer::new(next)),
            dead: Vec::new(),
            dead_weight: 0,
            counters,
            sealed: None,
        })
    }

    fn topic(&self) -> &TopicPlan {
        &self.plan.topics[self.topic]
    }

    #[inline]
    fn record(&mut self, record: &Record<'_>) -> Result<(), Halt> {
        if record.offset < self.next {
            return Err(Halt::Stop(format!(
                "{} partition {}: record {} came when {} was next",
                self.topic().topic,
                self.partition,
                record.offset,
                self.next
            )));
        }
        self.pass(Outcome::Absent, record.offset);
        if let Some(indexer) = &mut self.indexer {
            indexer.skip(record.offset);
            indexer.record(record.stamp, record.value.map_or(0, <[u8]>::len));
        }
        let topic = &self.plan.topics[self.topic];
        match self.judge.take(
            &self.plan,
            topic,
            record,
            self.clock.wall(),
            &mut self.combiner,
            &mut self.keyer,
        ) {
            Ok(taken) => {
                let arrival = match record.stamp {
                    Stamp::None => None,
                    Stamp::Created(stamp) | Stamp::Appended(stamp) => Some(stamp),
                };
                self.clock.record(taken.time, arrival);
                self.pass(taken.outcome, record.offset + 1);
            }
            Err(refusal) => {
                self.quarantine(record, refusal.outcome, refusal.reason);
                self.pass(refusal.outcome, record.offset + 1);
            }
        }
        Ok(())
    }

    /// Everything below `to` is no record, or none any more.
    fn jump(&mut self, outcome: Outcome, to: i64) {
        self.pass(outcome, to);
        if let Some(indexer) = &mut self.indexer {
            if outcome == Outcome::Expired {
                indexer.lose(to);
            } else {
                indexer.skip(to);
            }
        }
    }

    /// Everything below `to` has this outcome.
    #[inline]
    fn pass(&mut self, outcome: Outcome, to: i64) {
        if let Ok(offsets @ 1..) = u64::try_from(to.saturating_sub(self.next)) {
            self.ledger.add(outcome, offsets);
            self.next = to;
            self.clock.move_to(to);
        }
        debug_assert_eq!(self.ledger.next(), self.next, "the ledger is balanced");
    }

    #[cold]
    fn quarantine(&mut self, record: &Record<'_>, outcome: Outcome, reason: String) {
        let first = |bytes: &[u8]| bytes[..bytes.len().min(DEAD_BYTES)].to_vec();
        let letter = DeadLetter {
            outcome: outcome.name(),
            reason,
            topic: self.topic().topic.clone(),
            partition: self.partition,
            offset: record.offset,
            key: record.key.map(first),
            value: record.value.map(first),
        };
        let bytes = |part: &Option<Vec<u8>>| part.as_ref().map_or(0, Vec::len);
        self.dead_weight += 64 + letter.reason.len() + bytes(&letter.key) + bytes(&letter.value);
        self.dead.push(letter);
    }

    /// The ledger's counters that changed since they were sent, by gauge partition.
    fn take_samples(&mut self) -> Vec<Vec<codec::Sample>> {
        let mut samples: Vec<Vec<codec::Sample>> = (0..self.gauge_partitions).map(|_| Vec::new()).collect();
        for (counter, count) in self.counters.iter_mut().zip(self.ledger.counts) {
            if counter.sent != count {
                counter.sent = count;
                samples[counter.partition as usize].push(codec::Sample {
                    metric: RECORDS_TOTAL.to_owned(),
                    key: counter.key.clone(),
                    value: i64::try_from(count).unwrap_or(i64::MAX),
                });
            }
        }
        samples
    }
}

impl Task for TapTask {
    fn accept(&mut self, input: Input<'_>) -> Result<(), Halt> {
        match input {
            Input::Record(record) => self.record(&record)?,
            Input::Position { next } => self.jump(Outcome::Absent, next),
            Input::Expired { start } => self.jump(Outcome::Expired, start),
            Input::LogEnd { end, sampled_at } => self.clock.log_end(end, sampled_at),
            Input::Time(now) => self.clock.time(now),
            Input::Waiting(waiting) => self.clock.wait(waiting),
            Input::Partitions(counts) => {
                // Kept as it was first: a partition that is added later is told from one whose commit is missing by this.
                if let (0, Some(count)) = (self.ledger.partitions, counts.get(&self.topic().topic)) {
                    self.ledger.partitions = *count;
                }
            }
            // A tap keeps no changelog.
            Input::Restore { .. } | Input::Restored | Input::Surveying | Input::Surveyed(_) => {}
        }
        Ok(())
    }

    fn weight(&self) -> usize {
        let indexed = self.indexer.as_ref().map_or(0, Indexer::weight);
        self.combiner.weight() + self.keyer.weight() + self.dead_weight + indexed
    }

    fn seal(&mut self) -> Option<Output> {
        let watermark = self.clock.watermark();
        let now = Sealed {
            next: self.next,
            watermark,
            partitions: self.ledger.partitions,
        };
        if self.sealed == Some(now) {
            debug_assert!(
                self.combiner.is_empty() && self.keyer.is_empty() && self.dead.is_empty(),
                "records move the position"
            );
            return None;
        }
        self.sealed = Some(now);
        self.ledger.max_time = self.clock.max_time();
        self.ledger.delay = self.clock.delay();
        self.ledger.reach(watermark);
        if self.ledger.started == WallTime(0) {
            self.ledger.started = self.clock.wall().unwrap_or_default();
        }
        let samples = self.take_samples();
        let metrics = self.combiner.drain(&self.plan, self.gauge_partitions);
        let mut batch = codec::Batch {
            topic: self.topic().topic.clone(),
            partition: self.partition,
            epoch: self.ledger.epoch,
            watermark: watermark.map(|watermark| watermark.0.0),
            sealed_at: self.clock.wall().unwrap_or_default().0,
            ..codec::Batch::default()
        };
        let mut shuffled = Vec::with_capacity(samples.len());
        for (partition, (metrics, samples)) in (0..).zip(metrics.into_iter().zip(samples)) {
            (batch.metrics, batch.samples) = (metrics, samples);
            shuffled.push(Shuffled {
                to: Stage::Gauge,
                partition,
                batch: batch.encode_to_vec(),
            });
        }
        if self.plan.is_joined(self.topic) {
            (batch.metrics, batch.samples) = (Vec::new(), Vec::new());
            for (partition, keyed) in (0..).zip(self.keyer.drain(&self.plan)) {
                batch.keyed = keyed;
                shuffled.push(Shuffled {
                    to: Stage::Correlate,
                    partition,
                    batch: batch.encode_to_vec(),
                });
            }
        }
        let head = Stretch {
            topic: std::mem::take(&mut batch.topic),
            partition: self.partition,
            epoch: self.ledger.epoch,
            topic_id: self.ledger.topic_id,
            entries: Vec::new(),
        };
        let index = self.indexer.as_mut().map(|indexer| indexer.seal(head));
        self.dead_weight = 0;
        Some(Output {
            next: self.next,
            metadata: self.ledger.encode(),
            shuffled,
            index: index.unwrap_or_default(),
            dead: std::mem::take(&mut self.dead),
            ..Output::default()
        })
    }

    fn view(&self) -> TaskView {
        let mut ledger = self.ledger.clone();
        ledger.max_time = self.clock.max_time();
        ledger.delay = self.clock.delay();
        TaskView {
            watermark: self.clock.watermark(),
            ledger: Some(ledger),
            series: self.combiner.len() as u64,
            notes: self.clock.note().into_iter().collect(),
            ..TaskView::default()
        }
    }

    fn watermark(&self) -> Option<Watermark> {
        self.clock.watermark()
    }
}

/// The ledger to go on with. The error says what does not fit, without what to do about it.
/// The ledger of a partition that is opened; the error is for a person.
pub(in crate::engine) fn open_ledger(at: Open<'_>) -> Result<Ledger, String> {
    match at {
        Open::Fresh { start, topic_id } => Ok(Ledger {
            start,
            topic_id,
            ..Ledger::default()
        }),
        Open::Reset {
            start,
            metadata,
            topic_id,
        } => {
            // Of an older epoch only the number matters; where there is none to be read, this is the first reset.
            let epoch = Ledger::decode(metadata)
                .map_or(0, |ledger| ledger.epoch)
                .saturating_add(1);
            Ok(Ledger {
                epoch,
                start,
                topic_id,
                ..Ledger::default()
            })
        }
        Open::Resumed {
            offset,
            metadata,
            topic_id,
        } => {
            let mut ledger = Ledger::decode(metadata).map_err(|error| match error {
                LedgerError::Foreign => {
                    format!("the commit was not made by streamgauge: offset {offset} was committed without a ledger")
                }
                error => format!("offset {offset} was committed with {error}"),
            })?;
            if ledger.balance(offset) != 0 {
                return Err(format!(
                    "offset {offset} is committed, and the ledger in the same commit leads to {}",
                    ledger.next()
                ));
            }
            let unknown = TopicId::default();
            if topic_id != unknown && ledger.topic_id != unknown && topic_id != ledger.topic_id {
                return Err(format!(
                    "the topic was deleted and created again: its id was {} at offset {offset} and is {} now",
                    hex(&ledger.topic_id),
                    hex(&topic_id)
                ));
            }
            if topic_id != unknown {
                ledger.topic_id = topic_id;
            }
            Ok(ledger)
        }
    }
}

fn hex(id: &TopicId) -> uuid::Uuid {
    uuid::Uuid::from_bytes(*id)
}

#[cfg(test)]
mod tests;
