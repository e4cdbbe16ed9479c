//! One gauge task: packs of batches in, OTLP requests and changelog records out.
//!
//! Rule: a pack is taken whole or not at all: every definition in it is looked up before anything changes. Within a batch
//! the partials count before its watermark does.
//!
//! Edges:
//! - partials behind the watermark of the last seal are late; what arrives between seals is on time as long as its window
//!   has not been shown;
//! - partials of an unknown definition hold the partition (see `definitions`), unless the operator has said that nobody
//!   will ever know it: then they are retired under the definition's number;
//! - a task that brings new definitions to state that is there seals at once: whoever comes next knows them, also when no
//!   record came in between. Fresh state waits for its first record, so that there is none before the taps have committed;
//! - a metric that a join fills waits for the join's tasks, one in each partition, and for nothing else;
//! - beyond `max_series` a new series is not made: its partials go to the overflow series of the metric.

mod own;

pub use own::{
    BUILT_IN_ALERTS, BUILT_IN_OVERFLOW, BUILT_IN_RECORDS, BUILT_IN_SERIES, BUILT_IN_STALLED, BUILT_IN_UNKNOWN, built_in,
};

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use prost::Message;

use super::changelog::{self, Key, PartitionRecord};
use super::definitions::{Definition, Definitions, Standing};
use super::levels::Levels;
use super::otlp::Shape;
use super::request::{Freezer, OVERFLOW_KEY};
use super::samples::Counter;
use super::series::{Closing, Series};
use crate::engine::alert::Sampler;
use crate::engine::codec::{Batch, Level, Pack, Sample};
use crate::engine::plan::{Metric, MetricIx, Plan};
use crate::engine::series::DefinitionHash;
use crate::engine::sketch::Partial;
use crate::engine::sources::Sources;
use crate::engine::task::{Halt, Input, Open, OpenTask, Output, Record, Task, TaskView};
use crate::engine::time::{EventTime, Span, WallTime, Watermark};
use crate::engine::window::WindowEnd;

/// What the operator can choose about the gauge stage.
#[derive(Clone, Debug)]
pub struct GaugeOptions {
    pub application: String,
    /// Partitions of every repartition topic: of the gauge's, and so of the tasks of each join.
    pub partitions: u32,
    /// Windows older than this are shown at the oldest time that receivers take.
    pub max_backdate: Span,
    /// Partials of a definition that was never known are counted as retired instead of being waited with.
    pub retire_unknown: bool,
}

/// Opens gauge tasks.
pub struct GaugeStage {
    plan: Arc<Plan>,
    options: GaugeOptions,
}

struct GaugeTask {
    plan: Arc<Plan>,
    options: GaugeOptions,
    partition: u32,
    /// The next input offset.
    next: i64,
    /// The committed offset that the changelog must agree with; `None` for a partition never committed.
    committed: Option<i64>,
    /// What the changelog said, until `Restored` checks it.
    restored: Option<PartitionRecord>,
    /// Series as the changelog has them, until `Restored` knows their definitions.
    waiting: BTreeMap<(DefinitionHash, Vec<u8>), Vec<u8>>,
    now: WallTime,
    sources: Sources,
    definitions: Definitions,
    /// By metric index.
    metrics: Vec<MetricState>,
    /// By metric index: what the tasks of the joins that fill it are called.
    edges: Vec<Vec<String>>,
    levels: Levels,
    /// Changelog keys of levels that the plan no longer has.
    ended_levels: Vec<Vec<u8>>,
    /// Series of definitions that are no longer live, to be ended at the next seal.
    ended: Vec<(DefinitionHash, Vec<u8>, Series)>,
    /// Counters that tasks elsewhere keep, and this task's own, by metric and key.
    counters: BTreeMap<(String, Vec<u8>), Counter>,
    retired: BTreeMap<String, u64>,
    floors: BTreeMap<String, i64>,
    /// Something happened since the last seal.
    touched: bool,
    newest_point: Option<EventTime>,
    weight: usize,
    /// Where there are rules.
    sampler: Option<Sampler>,
}

/// All series of one live metric.
struct MetricState {
    series: BTreeMap<Vec<u8>, Series>,
    /// Series with something to write to the changelog.
    changed: BTreeSet<Vec<u8>>,
    /// The watermark of the last seal: windows up to it have been shown.
    shown: Option<Watermark>,
    late: u64,
    overflowed: u64,
}

// === impl GaugeStage ===

impl GaugeStage {
    pub fn new(plan: Arc<Plan>, options: GaugeOptions) -> Self {
        Self { plan, options }
    }
}

impl OpenTask for GaugeStage {
    fn open(&self, _topic: &str, partition: u32, at: Open<'_>) -> Result<Box<dyn Task>, String> {
        let (next, committed) = at.offsets();
        let task = GaugeTask {
            plan: Arc::clone(&self.plan),
            options: self.options.clone(),
            partition,
            next,
            committed,
            restored: None,
            waiting: BTreeMap::new(),
            now: WallTime(0),
            sources: Sources::default(),
            definitions: Definitions::of_plan(&self.plan),
            metrics: self.plan.metrics.iter().map(|_| MetricState::new()).collect(),
            edges: (0..self.plan.metrics.len())
                .map(|index| self.plan.joins_of(MetricIx(index)))
                .map(|joins| joins.iter().map(|join| self.plan.joins[join.0].edge()).collect())
                .collect(),
            levels: Levels::default(),
            ended_levels: Vec::new(),
            ended: Vec::new(),
            counters: BTreeMap::new(),
            retired: BTreeMap::new(),
            floors: BTreeMap::new(),
            touched: false,
            newest_point: None,
            weight: 0,
            sampler: Sampler::new(&self.plan.alerts, self.options.partitions),
        };
        Ok(Box::new(task))
    }

    fn has_series(&self) -> bool {
        true
    }
}

// === impl MetricState ===

impl MetricState {
    fn new() -> Self {
        Self {
            series: BTreeMap::new(),
            changed: BTreeSet::new(),
            shown: None,
            late: 0,
            overflowed: 0,
        }
    }

    /// Adds one partial, on time or late.
    fn add(&mut self, metric: &Metric, key: &[u8], end: WindowEnd, records: u64, partial: Partial) {
        let key = if self.series.contains_key(key) || self.series.len() < metric.max_series as usize {
            key
        } else {
            self.overflowed = self.overflowed.saturating_add(records);
            OVERFLOW_KEY
        };
        if !self.series.contains_key(key) {
            self.series
                .insert(key.to_vec(), Series::new(Partial::empty(&metric.kind)));
        }
        let Some(series) = self.series.get_mut(key) else { return };
        if self.shown.is_some_and(|shown| end.is_closed_by(shown)) {
            self.late = self.late.saturating_add(records);
            series.add_late(&partial);
        } else {
            series.add(end, partial);
        }
        if !self.changed.contains(key) {
            self.changed.insert(key.to_vec());
        }
    }
}

// === impl GaugeTask ===

impl GaugeTask {
    fn take(&mut self, record: Record<'_>) -> Result<(), Halt> {
        let Some(value) = record.value else {
            return Err(Halt::Stop(format!(
                "offset {} of the gauge's input has no value: not written by streamgauge",
                record.offset
            )));
        };
        let pack = Pack::read(value)
            .map_err(|error| Halt::Stop(format!("offset {} of the gauge's input: {error}", record.offset)))?;
        for batch in &pack.batches {
            let of_partials = batch.metrics.iter().map(|metric| metric.definition);
            for definition in of_partials.chain(batch.levels.iter().map(|level| level.definition)) {
                let standing = self.definitions.standing(DefinitionHash(definition), &self.plan);
                if standing == Standing::Unknown && !self.options.retire_unknown {
                    return Err(Halt::Hold(format!(
                        "partials of metric definition {definition:016x} from {}/{}: this instance's pipelines have never had \
                         it; waiting for an instance that does (a rolling upgrade that is still under way?). If none will \
                         come (an upgrade that was taken back), start once with --accept-reset to count them as retired",
                        batch.topic, batch.partition
                    )));
                }
            }
        }
        for batch in pack.batches {
            self.take_batch(batch);
        }
        self.weight += value.len();
        self.next = record.offset + 1;
        self.touched = true;
        Ok(())
    }

    fn take_batch(&mut self, batch: Batch) {
        for partials in batch.metrics {
            let hash = DefinitionHash(partials.definition);
            let index = match self.definitions.standing(hash, &self.plan) {
                Standing::Live(index) | Standing::Succeeded(index) => Some(index),
                Standing::Retired | Standing::Unknown => None,
            };
            for partial in partials.partials {
                let target = index
                    .and_then(|MetricIx(index)| Some((self.plan.metrics.get(index)?, self.metrics.get_mut(index)?)));
                let value = target
                    .as_ref()
                    .and_then(|(metric, _)| Partial::from_codec(partial.value.as_ref()?, &metric.kind));
                match (target, value) {
                    (Some((metric, state)), Some(value)) => {
                        let end = metric.window.window_of(EventTime(partial.window_end));
                        state.add(metric, &partial.key, end, partial.records, value);
                    }
                    _ => {
                        let name = self
                            .definitions
                            .get(hash)
                            .map_or_else(|| format!("{:016x}", hash.0), |definition| definition.name.clone());
                        let retired = self.retired.entry(name).or_default();
                        *retired = retired.saturating_add(partial.records);
                    }
                }
            }
        }
        for level in batch.levels {
            self.take_level(level, &batch.topic, batch.partition);
        }
        for sample in batch.samples {
            self.take_sample(sample, WallTime(batch.sealed_at));
        }
        let watermark = batch.watermark.map(|micros| Watermark(EventTime(micros)));
        self.sources.hear(&batch.topic, batch.partition, batch.epoch, watermark);
    }

    /// Levels are of one moment: what another definition or another join says of it is of no use.
    fn take_level(&mut self, level: Level, topic: &str, partition: u32) {
        let standing = self.definitions.standing(DefinitionHash(level.definition), &self.plan);
        if let Standing::Live(metric) = standing
            && (self.edges[metric.0].is_empty() || self.edges[metric.0].iter().any(|edge| edge == topic))
        {
            self.levels.take(metric, level.key, topic, partition, level.value);
        }
    }

    fn take_sample(&mut self, sample: Sample, at: WallTime) {
        self.counters
            .entry((sample.metric, sample.key))
            .or_insert_with(|| Counter::new(sample.value, at))
            .set(sample.value, at);
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Halt> {
        let corrupt = |what: &str| {
            Halt::Stop(format!(
                "the changelog of gauge partition {} holds {what}",
                self.partition
            ))
        };
        let key = Key::read(key).ok_or_else(|| corrupt("a key that streamgauge never writes"))?;
        let Some(value) = value else {
            self.forget(key);
            return Ok(());
        };
        match key {
            Key::Partition => {
                let record = PartitionRecord::read(value).map_err(|error| corrupt(&error.to_string()))?;
                for (hash, definition) in record.definitions() {
                    self.definitions.remember(hash, definition);
                }
                self.restored = Some(record);
            }
            Key::Counter(metric, key) => {
                let counter = changelog::read_counter(value).map_err(|error| corrupt(&error.to_string()))?;
                self.counters.insert((metric.to_owned(), key.to_vec()), counter);
            }
            Key::Level(hash, series) => match self.definitions.standing(hash, &self.plan) {
                Standing::Live(metric) => {
                    let restored = self.levels.restore(metric, series, value, &self.edges[metric.0]);
                    restored.map_err(|error| corrupt(&error.to_string()))?;
                }
                _ => self.ended_levels.push(key.write()),
            },
            // Compaction leaves the newest partition record, which knows all definitions, behind older series.
            Key::Series(hash, key) => {
                self.waiting.insert((hash, key.to_vec()), value.to_vec());
            }
        }
        Ok(())
    }

    fn forget(&mut self, key: Key<'_>) {
        match key {
            Key::Partition => {}
            Key::Counter(metric, key) => {
                self.counters.remove(&(metric.to_owned(), key.to_vec()));
            }
            Key::Series(hash, key) => {
                self.waiting.remove(&(hash, key.to_vec()));
            }
            // Deleted only when the plan no longer has it: it may be on the list twice.
            Key::Level(..) => self.ended_levels.retain(|ended| *ended != key.write()),
        }
    }

    fn restored(&mut self) -> Result<(), Halt> {
        for ((hash, key), bytes) in std::mem::take(&mut self.waiting) {
            let corrupt = |what: String| {
                Halt::Stop(format!(
                    "the changelog of gauge partition {} holds {what}",
                    self.partition
                ))
            };
            let kind = self.definitions.get(hash).map(|definition| definition.kind.clone());
            let kind = kind.ok_or_else(|| corrupt(format!("a series of the unknown definition {:016x}", hash.0)))?;
            let series = changelog::read_series(&bytes, &kind).map_err(|error| corrupt(error.to_string()))?;
            match self.definitions.standing(hash, &self.plan) {
                Standing::Live(MetricIx(index)) => {
                    self.metrics[index].series.insert(key, series);
                }
                _ => self.ended.push((hash, key, series)),
            }
        }
        let record = self.restored.take();
        let new_here = |record: &PartitionRecord| {
            let known: BTreeSet<DefinitionHash> = record.definitions().map(|(hash, _)| hash).collect();
            self.definitions.known().any(|(hash, _)| !known.contains(&hash))
        };
        self.touched |=
            !self.ended.is_empty() || !self.ended_levels.is_empty() || record.as_ref().is_some_and(new_here);
        match (self.committed, record) {
            (None, None) => {}
            (Some(offset), Some(record)) if record.next == offset => {
                record.fill(&mut self.sources);
                self.retired = record.retired.clone();
                self.floors = record.floors.clone();
                for (metric, state) in self.plan.metrics.iter().zip(&mut self.metrics) {
                    state.late = record.late.get(&metric.name).copied().unwrap_or(0);
                    state.overflowed = record.overflowed.get(&metric.name).copied().unwrap_or(0);
                    let shown = record.shown.get(&metric.name).copied();
                    state.shown = shown.map(|micros| Watermark(EventTime(micros)));
                }
            }
            (committed, record) => {
                let counted = record.map(|record| record.next);
                return Err(Halt::disagreement("gauge", self.partition, committed, counted));
            }
        }
        Ok(())
    }

    /// Closes what the watermarks allow and freezes the points.
    fn show(&mut self, freezer: &mut Freezer<'_>, changelog: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>) {
        self.end_retired(freezer, changelog);
        for index in 0..self.plan.metrics.len() {
            self.show_metric(index, freezer, changelog);
        }
        self.show_counters(freezer, changelog);
        self.levels.show(&self.plan, self.now, freezer, changelog);
        changelog.extend(self.ended_levels.drain(..).map(|key| (key, None)));
    }

    fn show_metric(
        &mut self,
        index: usize,
        freezer: &mut Freezer<'_>,
        changelog: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>,
    ) {
        let plan = Arc::clone(&self.plan);
        let metric = &plan.metrics[index];
        let state = &mut self.metrics[index];
        let topics = metric
            .topics
            .iter()
            .filter_map(|topic| plan.topics.get(*topic))
            .map(|topic| topic.topic.as_str());
        let heard = match self.edges[index].as_slice() {
            [] => self.sources.watermark_of(topics),
            edges => self.sources.watermark_of_joins(edges, self.options.partitions),
        };
        let watermark = heard.max(state.shown);
        if let Some(watermark) = watermark {
            let oldest = metric
                .window
                .window_of(self.now.as_event().back(self.options.max_backdate));
            let floor = self.floors.get(&metric.name).map(|micros| EventTime(*micros));
            let closing = Closing {
                watermark,
                oldest,
                size: metric.window,
                floor,
            };
            let named = freezer.metric(Definition::of(metric, &plan), Shape::Cumulative);
            let mut points = Vec::new();
            for (key, series) in &mut state.series {
                points.clear();
                if series.close(closing, &mut points) {
                    self.newest_point = self.newest_point.max(points.last().map(|point| point.time));
                    freezer.add(named, key, &points);
                    state.changed.insert(key.clone());
                }
            }
            state.shown = Some(watermark);
        }
        for key in std::mem::take(&mut state.changed) {
            if let Some(series) = state.series.get(&key) {
                changelog.push((
                    Key::Series(metric.definition, &key).write(),
                    Some(changelog::write_series(series)),
                ));
            }
        }
    }

    /// Ends the series of definitions that are no longer live. What their open windows hold is shown first.
    fn end_retired(&mut self, freezer: &mut Freezer<'_>, changelog: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>) {
        let now = self.now.as_event();
        let oldest = now.back(self.options.max_backdate);
        for (hash, key, mut series) in std::mem::take(&mut self.ended) {
            changelog.push((Key::Series(hash, &key).write(), None));
            let Some(definition) = self.definitions.get(hash) else {
                continue;
            };
            let floor = self.floors.get(&definition.name).map(|micros| EventTime(*micros));
            let mut points = Vec::new();
            series.end(oldest, now, floor, &mut points);
            if let Some(end) = points.last() {
                let floor = self.floors.entry(definition.name.clone()).or_insert(end.time.0);
                *floor = (*floor).max(end.time.0);
            }
            let named = freezer.metric(definition.clone(), Shape::Cumulative);
            freezer.add(named, &key, &points);
        }
    }

    fn partition_record(&self) -> Vec<u8> {
        let mut record = changelog::partition_record(self.next, &self.sources, self.definitions.known());
        for (metric, state) in self.plan.metrics.iter().zip(&self.metrics) {
            record.late.insert(metric.name.clone(), state.late);
            record.overflowed.insert(metric.name.clone(), state.overflowed);
            if let Some(shown) = state.shown {
                record.shown.insert(metric.name.clone(), shown.0.0);
            }
        }
        record.retired = self.retired.clone();
        record.floors = self.floors.clone();
        record.encode_to_vec()
    }
}

impl Task for GaugeTask {
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
                "the input of gauge partition {} starts at offset {start}, and this task is at {}: records that were never \
                 counted are gone. The repartition topic must have no retention",
                self.partition, self.next
            ))),
            Input::LogEnd { .. } | Input::Waiting(_) | Input::Surveying | Input::Surveyed(_) => Ok(()),
        }
    }

    fn weight(&self) -> usize {
        self.weight
    }

    fn seal(&mut self) -> Option<Output> {
        if !self.touched {
            return None;
        }
        self.touched = false;
        self.weight = 0;
        // First in the changelog: it holds the definitions that the series below refer to.
        let mut changelog = vec![(Key::Partition.write(), None)];
        let application = self.options.application.clone();
        let mut sampler = self.sampler.take();
        let mut freezer = Freezer::new(&application, self.partition).told(sampler.as_mut());
        self.show(&mut freezer, &mut changelog);
        changelog[0].1 = Some(self.partition_record());
        let outbox = freezer.finish();
        let readings = sampler
            .as_mut()
            .map(|sampler| sampler.seal("gauge", self.partition, self.now));
        self.sampler = sampler;
        Some(Output {
            next: self.next,
            changelog,
            outbox,
            shuffled: readings.unwrap_or_default(),
            ..Output::default()
        })
    }

    fn newest(&self) -> Vec<Vec<u8>> {
        let mut freezer = Freezer::new(&self.options.application, self.partition);
        for (metric, state) in self.plan.metrics.iter().zip(&self.metrics) {
            let named = freezer.metric(Definition::of(metric, &self.plan), Shape::Cumulative);
            for (key, series) in &state.series {
                freezer.add(named, key, series.newest().as_slice());
            }
        }
        self.newest_counters(&mut freezer);
        self.levels.newest(&self.plan, &mut freezer);
        freezer.finish()
    }

    fn view(&self) -> TaskView {
        let low = self.metrics.iter().filter_map(|state| state.shown).min();
        let overflowing = self
            .plan
            .metrics
            .iter()
            .zip(&self.metrics)
            .filter(|(_, state)| state.overflowed > 0);
        TaskView {
            watermark: low,
            series: self.metrics.iter().map(|state| state.series.len() as u64).sum(),
            late: self.metrics.iter().fold(0, |sum, state| sum.saturating_add(state.late)),
            newest_point: self.newest_point,
            notes: overflowing
                .map(|(metric, state)| {
                    format!(
                        "{} has reached its {} series in partition {}: {} records went to its overflow series",
                        metric.name, metric.max_series, self.partition, state.overflowed
                    )
                })
                .collect(),
            ..TaskView::default()
        }
    }
}
