//! One correlate task: packs of keyed records in, partials, levels, spans and changelog records out.
//!
//! Rule: a pack is taken whole or not at all: every join in it is looked up, and room is made for all of its records,
//! before anything changes. Within a batch the records count before its watermark does.
//!
//! Edges:
//! - records of a join that was never known hold the partition until an instance that knows it takes over; those of one
//!   that was known once are counted as retired, and its state is deleted, some at each seal;
//! - a join speaks to the gauge under a name of its own ([`crate::engine::plan::Join::edge`]), so that its metrics wait for
//!   nothing else; every gauge partition hears of it at every seal that has anything to say.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message;

use super::changelog::{self, ChunkKind, JoinRecord, Key, PartitionRecord, Written};
use super::join::JoinState;
use super::pressure::{JoinPressure, Pressure};
use crate::engine::codec::{Batch, Pack, Sample};
use crate::engine::plan::Plan;
use crate::engine::series::{DefinitionHash, SeriesKey, partition_of};
use crate::engine::sources::Sources;
use crate::engine::task::{Halt, Input, Open, OpenTask, Output, Record, Shuffled, Stage, Task, TaskView};
use crate::engine::time::{EventTime, WallTime, Watermark};

/// Records of joins that are no longer in the plan, by edge and correlate partition.
pub const RETIRED_TOTAL: &str = "streamgauge_retired_keyed_records_total";

/// What a task may hold beyond twice its cap, in entries: what taps read between two looks, however small the cap is.
pub const OVERDRAFT: u64 = 100_000;

/// So many records of a retired join are deleted at one seal.
const DELETIONS: usize = 50_000;

/// More than any worker lets its tasks hold.
const AT_ONCE: usize = 1 << 40;

/// What the operator can choose about the correlate stage.
#[derive(Clone, Debug)]
pub struct CorrelateOptions {
    pub application: String,
    /// Partitions of every repartition topic.
    pub partitions: u32,
    /// Keys, undecided records and steps of journeys that one task may hold, over all joins: some 50 bytes each, and what
    /// they carry. Sources that are ahead wait before it is reached; see [`OVERDRAFT`] for what comes still.
    pub max_entries: u64,
}

/// Opens correlate tasks.
pub struct CorrelateStage {
    plan: Arc<Plan>,
    options: CorrelateOptions,
}

pub(super) struct CorrelateTask {
    plan: Arc<Plan>,
    options: CorrelateOptions,
    partition: u32,
    /// The next input offset.
    next: i64,
    /// The committed offset that the changelog must agree with; `None` for a partition never committed.
    committed: Option<i64>,
    /// What the changelog said, until `Restored` checks it.
    restored: Option<PartitionRecord>,
    /// Chunks as the changelog has them, until the partition's record says what of them is over.
    chunks: BTreeMap<(DefinitionHash, ChunkKind, u64), Vec<u8>>,
    now: WallTime,
    sources: Sources,
    /// By join index.
    joins: Vec<JoinState>,
    /// Definitions that this partition has ever known, and up to where those that are no longer in the plan were decided:
    /// an instance that still has them may take over before all of their state is deleted.
    known: BTreeMap<DefinitionHash, Option<i64>>,
    retired: BTreeMap<String, u64>,
    /// Changelog keys of joins that are no longer in the plan, to be deleted.
    ended: BTreeSet<Vec<u8>>,
    /// The number of the next chunk.
    sequence: u64,
    /// Something happened since the last seal.
    touched: bool,
    /// More is to be decided than one seal can hold.
    more: bool,
}

// === impl CorrelateStage ===

impl CorrelateStage {
    pub fn new(plan: Arc<Plan>, options: CorrelateOptions) -> Self {
        Self { plan, options }
    }

    pub(super) fn task(&self, partition: u32, at: Open<'_>) -> CorrelateTask {
        let (next, committed) = at.offsets();
        CorrelateTask {
            plan: Arc::clone(&self.plan),
            options: self.options.clone(),
            partition,
            next,
            committed,
            restored: None,
            chunks: BTreeMap::new(),
            now: WallTime(0),
            sources: Sources::default(),
            joins: self
                .plan
                .joins
                .iter()
                .map(|join| JoinState::new(&self.options.application, &self.plan, join))
                .collect(),
            known: self.plan.joins.iter().map(|join| (join.definition, None)).collect(),
            retired: BTreeMap::new(),
            ended: BTreeSet::new(),
            sequence: 0,
            touched: false,
            more: false,
        }
    }
}

impl OpenTask for CorrelateStage {
    fn open(&self, _topic: &str, partition: u32, at: Open<'_>) -> Result<Box<dyn Task>, String> {
        Ok(Box::new(self.task(partition, at)))
    }
}

// === impl CorrelateTask ===

impl CorrelateTask {
    fn take(&mut self, record: Record<'_>) -> Result<(), Halt> {
        let stop = |what: String| Halt::Stop(format!("offset {} of the correlate input {what}", record.offset));
        let Some(value) = record.value else {
            return Err(stop("has no value: not written by streamgauge".to_owned()));
        };
        let pack = Pack::read(value).map_err(|error| stop(format!("cannot be read: {error}")))?;
        let mut coming = 0;
        for batch in &pack.batches {
            for records in &batch.keyed {
                let definition = DefinitionHash(records.join);
                if let Some(index) = self.live(definition) {
                    coming += JoinState::check(&self.plan.joins[index], records)
                        .map_err(|error| stop(format!("cannot be read: {error}")))?;
                } else if !self.known.contains_key(&definition) {
                    return Err(Halt::Hold(format!(
                        "records of join {:016x} from {}/{}: this instance's pipelines have never had it; waiting for an \
                         instance that does (a rolling upgrade that is still under way?)",
                        records.join, batch.topic, batch.partition
                    )));
                }
            }
        }
        if coming > 0 {
            self.make_room(coming)?;
        }
        for batch in pack.batches {
            self.take_batch(batch);
        }
        self.next = record.offset + 1;
        self.touched = true;
        Ok(())
    }

    /// Nothing is evicted: where there is no room, the input waits. What brings only time is always taken.
    fn make_room(&mut self, coming: usize) -> Result<(), Halt> {
        let most = self.options.max_entries;
        if self.entries() + coming as u64 <= most {
            return Ok(());
        }
        self.touched = true;
        self.advance();
        let at_most = most.saturating_mul(2).saturating_add(OVERDRAFT);
        // A held partition is not sealed: what can be decided is, step by step, until there is room.
        while self.more && self.entries() >= at_most {
            self.advance();
        }
        let entries = self.entries();
        if entries < at_most {
            return Ok(());
        }
        Err(Halt::Hold(format!(
            "correlate partition {} holds {entries} open keys and undecided records, {coming} more have come, and with a cap of \
             {most} (--max-open) it takes no more: nothing is thrown away, the input waits. Sources that were ahead of the \
             others wait already, so the joins need more than that: start with a larger --max-open, or shorten their bounds",
            self.partition
        )))
    }

    fn take_batch(&mut self, batch: Batch) {
        for records in batch.keyed {
            let definition = DefinitionHash(records.join);
            match self.live(definition) {
                Some(index) => self.joins[index].take(&self.plan, &self.plan.joins[index], records),
                None => {
                    *self.retired.entry(format!("join/{:016x}", definition.0)).or_default() += u64::from(records.count)
                }
            }
        }
        let watermark = batch.watermark.map(|micros| Watermark(EventTime(micros)));
        self.sources.hear(&batch.topic, batch.partition, batch.epoch, watermark);
    }

    fn live(&self, definition: DefinitionHash) -> Option<usize> {
        self.plan.joins.iter().position(|join| join.definition == definition)
    }

    fn entries(&self) -> u64 {
        self.joins.iter().map(|join| join.entries() as u64).sum()
    }

    /// Decides what the watermarks allow.
    fn advance(&mut self) {
        self.more = false;
        for (join, state) in self.plan.joins.iter().zip(&mut self.joins) {
            let topics = join.topics.iter().filter_map(|topic| self.plan.topics.get(*topic));
            let watermark = self.sources.watermark_of(topics.map(|topic| topic.topic.as_str()));
            self.more |= state.advance(&self.plan, join, watermark);
        }
    }

    fn corrupt(&self, what: &str) -> Halt {
        Halt::Stop(format!(
            "the changelog of correlate partition {} holds {what}",
            self.partition
        ))
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Halt> {
        let read = Key::read(key).ok_or_else(|| self.corrupt("a key that streamgauge never writes"))?;
        match read {
            Key::Partition => {
                let record = value.map(PartitionRecord::read).transpose();
                self.restored = record.map_err(|error| self.corrupt(&error.to_string()))?;
            }
            Key::Entry(definition, key_hash) => match self.live(definition) {
                Some(index) => {
                    let restored = self.joins[index].restore_entry(key_hash, value);
                    restored.map_err(|error| self.corrupt(&error.to_string()))?;
                }
                None => self.end(key, value.is_some()),
            },
            Key::Trail(definition, key_hash) => match self.live(definition) {
                Some(index) => {
                    let restored = self.joins[index].restore_trail(key_hash, value);
                    restored.map_err(|error| self.corrupt(&error.to_string()))?;
                }
                None => self.end(key, value.is_some()),
            },
            Key::Chunk(kind, definition, number) => match (self.live(definition), value) {
                (Some(_), Some(value)) => {
                    self.chunks.insert((definition, kind, number), value.to_vec());
                }
                (Some(_), None) => {
                    self.chunks.remove(&(definition, kind, number));
                }
                (None, value) => self.end(key, value.is_some()),
            },
        }
        Ok(())
    }

    /// A record of a join that is no longer in the plan.
    fn end(&mut self, key: &[u8], is_there: bool) {
        if is_there {
            self.ended.insert(key.to_vec());
        } else {
            self.ended.remove(key);
        }
    }

    fn restored(&mut self) -> Result<(), Halt> {
        let record = self.restored.take();
        match (self.committed, &record) {
            (None, None) => {}
            (Some(offset), Some(record)) if record.next == offset => {}
            (committed, record) => {
                let counted = record.as_ref().map(|record| record.next);
                return Err(Halt::disagreement("correlate", self.partition, committed, counted));
            }
        }
        let record = record.unwrap_or_default();
        record.fill(&mut self.sources);
        self.sequence = record.sequence;
        self.known.extend(
            record
                .joins
                .iter()
                .map(|join| (DefinitionHash(join.definition), join.decided)),
        );
        self.retired.clone_from(&record.retired);
        let mut chunks = std::mem::take(&mut self.chunks);
        for (join, state) in self.plan.joins.iter().zip(&mut self.joins) {
            let said = record.joins.iter().find(|said| said.definition == join.definition.0);
            let decided = said
                .and_then(|said| said.decided)
                .map(|micros| Watermark(EventTime(micros)));
            let of_join = |(definition, _, _): &(DefinitionHash, ChunkKind, u64)| *definition == join.definition;
            let (of_join, others): (BTreeMap<_, _>, _) = chunks.into_iter().partition(|(key, _)| of_join(key));
            chunks = others;
            let of_join = of_join
                .into_iter()
                .map(|((_, kind, number), value)| (kind, number, value));
            if let Err(error) = state.restored(join, decided, of_join) {
                return Err(self.corrupt(&error.to_string()));
            }
        }
        self.touched |= !self.ended.is_empty();
        Ok(())
    }

    /// What every gauge partition hears.
    fn tell(&mut self, shuffled: &mut Vec<Shuffled>) {
        let mut samples = self.samples();
        for (join, state) in self.plan.joins.iter().zip(&mut self.joins) {
            let mut batch = Batch {
                topic: join.edge(),
                partition: self.partition,
                watermark: state.decided().map(|decided| decided.0.0),
                sealed_at: self.now.0,
                ..Batch::default()
            };
            for (partition, (metrics, levels)) in (0..).zip(state.tell(&self.plan, join, self.options.partitions)) {
                (batch.metrics, batch.levels) = (metrics, levels);
                batch.samples = samples.remove(&partition).unwrap_or_default();
                shuffled.push(Shuffled {
                    to: Stage::Gauge,
                    partition,
                    batch: batch.encode_to_vec(),
                });
            }
        }
    }

    /// Self-counters, by the gauge partition that owns them.
    fn samples(&self) -> BTreeMap<u32, Vec<Sample>> {
        let mut samples: BTreeMap<u32, Vec<Sample>> = BTreeMap::new();
        for (edge, records) in &self.retired {
            let SeriesKey(key) = SeriesKey::of([edge.as_str(), &self.partition.to_string()]);
            let partition = partition_of(RETIRED_TOTAL, &key, self.options.partitions);
            samples.entry(partition).or_default().push(Sample {
                metric: RETIRED_TOTAL.to_owned(),
                key,
                value: i64::try_from(*records).unwrap_or(i64::MAX),
            });
        }
        samples
    }

    fn partition_record(&self) -> PartitionRecord {
        let live = self.plan.joins.iter().zip(&self.joins);
        let mut joins: Vec<JoinRecord> = live
            .map(|(join, state)| JoinRecord {
                definition: join.definition.0,
                decided: state.decided().map(|decided| decided.0.0),
            })
            .collect();
        let ended = self.known.iter().filter(|(known, _)| self.live(**known).is_none());
        joins.extend(ended.map(|(known, decided)| JoinRecord {
            definition: known.0,
            decided: *decided,
        }));
        let mut record = PartitionRecord::new(self.next, &self.sources);
        record.joins = joins;
        record.sequence = self.sequence;
        record.retired.clone_from(&self.retired);
        record
    }

    fn pressure(&self) -> Pressure {
        let joins = self.plan.joins.iter().zip(&self.joins);
        Pressure {
            most: self.options.max_entries,
            joins: joins
                .map(|(join, state)| JoinPressure {
                    join: join.definition,
                    entries: state.entries() as u64,
                    watermark: state.decided(),
                })
                .collect(),
        }
    }

    #[cfg(test)]
    pub(super) fn join(&self, index: usize) -> &JoinState {
        &self.joins[index]
    }

    #[cfg(test)]
    pub(super) fn next(&self) -> i64 {
        self.next
    }
}

impl Task for CorrelateTask {
    fn accept(&mut self, input: Input<'_>) -> Result<(), Halt> {
        match input {
            Input::Record(record) => self.take(record),
            Input::Restore { key, value } => self.restore(key, value),
            Input::Restored => self.restored(),
            Input::Position { next } => {
                self.touched |= next > self.next;
                self.next = self.next.max(next);
                Ok(())
            }
            Input::Partitions(counts) => {
                self.sources.set_counts(counts);
                Ok(())
            }
            Input::Time(now) => {
                self.now = self.now.max(now);
                Ok(())
            }
            Input::Expired { start } => Err(Halt::Stop(format!(
                "the input of correlate partition {} starts at offset {start}, and this task is at {}: records that were \
                 never joined are gone. The repartition topic must have no retention",
                self.partition, self.next
            ))),
            Input::LogEnd { .. } | Input::Waiting(_) | Input::Surveying | Input::Surveyed(_) => Ok(()),
        }
    }

    fn weight(&self) -> usize {
        // What is left to decide is worth a seal at once.
        if self.more {
            return AT_ONCE;
        }
        self.joins.iter().map(JoinState::weight).sum()
    }

    fn seal(&mut self) -> Option<Output> {
        if !self.touched {
            return None;
        }
        self.advance();
        let mut shuffled = Vec::new();
        self.tell(&mut shuffled);
        let mut changelog: Vec<Written> = Vec::new();
        let mut outbox = Vec::new();
        for (join, state) in self.plan.joins.iter().zip(&mut self.joins) {
            outbox.extend(state.freeze(&self.options.application, &self.plan, join));
            state.write(join, &mut self.sequence, &mut changelog);
        }
        for _ in 0..DELETIONS {
            // From the last one on: records that wait must not outlive what they wait for.
            let Some(key) = self.ended.pop_last() else { break };
            changelog.push((key, None));
        }
        self.touched = self.more || !self.ended.is_empty();
        changelog.push((
            changelog::partition_key(),
            Some(self.partition_record().encode_to_vec()),
        ));
        Some(Output {
            next: self.next,
            metadata: self.pressure().encode(),
            shuffled,
            changelog,
            outbox,
            ..Output::default()
        })
    }

    fn view(&self) -> TaskView {
        let pressure = self.pressure();
        let mut notes = Vec::new();
        if pressure.is_high() {
            notes.push(format!(
                "correlate partition {} holds {} open keys and undecided records of the {} that it may hold",
                self.partition,
                pressure.entries(),
                pressure.most
            ));
        }
        TaskView {
            watermark: self.joins.iter().filter_map(JoinState::decided).min(),
            series: pressure.entries(),
            notes,
            ..TaskView::default()
        }
    }
}
