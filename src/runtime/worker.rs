//! One worker: one member of one stage's group, with its tasks and its transactions.
//!
//! Rule: a [`step`](Worker::step) does a bounded amount of each, in this order: make the producer usable, read records,
//! answer the group, open and restore what was assigned, tell tasks where the log ends, and seal when it is time. All
//! decisions are here; the log only carries them out, so the simulation runs exactly this code.
//!
//! The steps lie in `opening` (from assigned to running) and `committing` (from outputs to a commit).
//!
//! Edges:
//! - the reader is asked for its position before every seal, so that control records are accounted for;
//! - what can never succeed stops the worker with the log's message.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::beside::{Beside, Guard};
use super::log::{Log, LogError, Notice, TopicPartition};
use super::newest::{Question, Requests};
use super::owned::{Owned, Phase, Taken};
use super::sealed::Sealed;
use super::stats::Stats;
use super::surveying::Surveying;
use super::traced::Commits;
use super::waiting::{Heed, Waiting};
use crate::engine::task::{Halt, Input, OpenTask, PartitionCounts, Stage, Wait};
use crate::engine::time::{Span, WallTime};

/// The topics that a stage's outputs go to.
#[derive(Clone, Debug)]
pub struct Topics {
    pub repartition: BTreeMap<Stage, String>,
    /// Same partitions as the input.
    pub changelog: Option<String>,
    /// Name and partitions.
    pub outbox: Option<(String, u32)>,
    /// Decisions for receivers, name and partitions: keyed by receiver.
    pub notifications: Option<(String, u32)>,
    /// The offset index, name and partitions: keyed by input partition.
    pub index: Option<(String, u32)>,
    pub dead_letters: (String, u32),
}

/// Everything that makes one worker another.
#[derive(Clone, Debug)]
pub struct WorkerOptions {
    /// For logs and status: `tap-0`.
    pub name: String,
    pub inputs: Vec<String>,
    pub topics: Topics,
    /// Topics whose partition counts the tasks must know.
    pub counted_topics: Vec<String>,
    /// Whose commits the stage must know to say who waits; none where nobody ever does.
    pub heeds: Vec<Heed>,
    pub seal_every: Span,
    /// Seal earlier when the tasks hold more than this.
    pub seal_bytes: usize,
    /// Ask for log ends of partitions that are quiet or whose watermark stands still (taps need them for idle watermarks).
    pub sample_ends: bool,
    /// Ask this often for the ends of the logs that tasks compare with; `None` where they compare with none.
    pub survey_every: Option<Span>,
    /// The offset index, which every lag worker reads whole.
    pub index: Option<String>,
    /// What one member of the group does beside its tasks.
    pub beside: Option<Beside>,
    /// The input is our own repartition topic, and is deleted behind the commits. Never for topics of others.
    pub trim_input: bool,
    /// Whether the input's topic ids are part of the tasks' state.
    pub topic_ids: bool,
    /// Partitions whose commit is missing or not ours start a new ledger epoch instead of stopping the stage.
    pub accept_reset: bool,
}

/// Why a worker ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// Another process took this instance's name.
    #[error("{0}")]
    Fenced(String),
    /// A person has to decide or repair something; the message says what.
    #[error("{0}")]
    Failed(String),
}

const POLL_BATCH: usize = 2_000;
const COUNTS_EVERY: Span = Span::seconds(5);
const ENDS_EVERY: Span = Span::seconds(1);
const HOLD_FOR: Span = Span::seconds(5);
/// What a task has to say to the operator is said again after so long.
const SAY_AGAIN: Span = Span::seconds(300);
/// Between two tries of a transaction that failed.
pub(super) const RETRY_AFTER: Span = Span::millis(100);

/// See the module's documentation.
pub struct Worker {
    pub(super) log: Box<dyn Log + std::marker::Send>,
    pub(super) stage: Box<dyn OpenTask>,
    pub(super) options: WorkerOptions,
    pub(super) stats: Stats,
    pub(super) owned: Vec<Owned>,
    /// Index of the partition that the last record came from: records come in runs.
    last: usize,
    pub(super) sealed: Option<Sealed>,
    /// A producer that must be initialised first: `Some(true)` also throws the old one away.
    pub(super) renew: Option<bool>,
    pub(super) counts: PartitionCounts,
    counts_at: Option<WallTime>,
    ends_at: WallTime,
    pub(super) next_seal: WallTime,
    pub(super) surveying: Surveying,
    pub(super) next_survey: WallTime,
    /// The offset index is being read.
    pub(super) reads_index: bool,
    /// See [`WorkerOptions::beside`].
    pub(super) beside: Option<Guard>,
    /// What the seal under way answers who asks for the newest points, once it is committed.
    pub(super) answering: Option<(Question, BTreeMap<TopicPartition, Requests>)>,
    pub(super) commit_began: Option<Instant>,
    pub(super) commits: Commits,
    pub(super) step: u64,
    pub(super) troubled_until: WallTime,
    pub(super) waiting: Waiting,
    /// When the notes of a task were told last.
    said: BTreeMap<TopicPartition, WallTime>,
}

impl Worker {
    /// Joins the group. Nothing is read before the first step.
    pub fn start(
        mut log: Box<dyn Log + std::marker::Send>,
        stage: Box<dyn OpenTask>,
        options: WorkerOptions,
        stats: Stats,
    ) -> Result<Self, Stop> {
        log.subscribe(&options.inputs).map_err(stop_of)?;
        stats.of(&options.name, |_| ());
        if stage.has_series() {
            stats.newest.join(&options.name);
        }
        Ok(Self {
            log,
            stage,
            options,
            stats,
            owned: Vec::new(),
            last: 0,
            sealed: None,
            renew: Some(false),
            counts: PartitionCounts::new(),
            counts_at: None,
            ends_at: WallTime(0),
            next_seal: WallTime(0),
            surveying: Surveying::Idle,
            next_survey: WallTime(0),
            reads_index: false,
            beside: None,
            answering: None,
            commit_began: None,
            commits: Commits::new(),
            step: 0,
            troubled_until: WallTime(0),
            waiting: Waiting::default(),
            said: BTreeMap::new(),
        })
    }

    /// One round. Waits for records at most `wait`. Returns how many records were taken.
    pub fn step(&mut self, now: WallTime, wait: Duration) -> Result<usize, Stop> {
        self.step += 1;
        self.make_producer(now)?;
        let taken = self.read(now, wait)?;
        self.heed_notices(now)?;
        self.answer_changes(now)?;
        self.open_assigned(now)?;
        self.restore(now)?;
        self.seek()?;
        self.release_held(now)?;
        self.tell_counts(now)?;
        self.tell_ends(now)?;
        self.read_index(now)?;
        self.run_beside();
        self.survey(now)?;
        self.let_wait(taken, now)?;
        if self.sealed.is_none() && (now >= self.next_seal || self.weight() > self.options.seal_bytes) {
            self.next_seal = now.ahead(self.options.seal_every);
            self.seal(now)?;
        }
        self.advance(now)?;
        if self.sealed.is_none() && self.options.survey_every.is_some() {
            // It seals once a survey: what it shows is committed, and nobody wants to wait for the next.
            self.read_newest();
            self.answer();
        }
        Ok(taken)
    }

    /// When the next seal is due.
    pub fn next_seal(&self) -> WallTime {
        self.next_seal
    }

    /// The last seal and its commit; then out of the group. `false`: the commit did not settle, the next start will.
    pub fn drain(mut self, now: WallTime) -> Result<bool, Stop> {
        self.answer_changes(now)?;
        self.settle(now)?;
        if self.sealed.is_none() {
            self.seal(now)?;
            self.settle(now)?;
        }
        let clean = self.sealed.is_none();
        self.log.close();
        self.stats.gone(&self.options.name);
        Ok(clean)
    }

    /// As a crash would: nothing is committed, nobody is told.
    pub fn kill(self) -> Box<dyn Log + std::marker::Send> {
        self.stats.gone(&self.options.name);
        self.log
    }

    fn make_producer(&mut self, now: WallTime) -> Result<(), Stop> {
        let Some(renew) = self.renew else { return Ok(()) };
        if now < self.troubled_until {
            return Ok(());
        }
        match self.log.init_transactions(renew) {
            Ok(()) => {
                self.renew = None;
                Ok(())
            }
            Err(error) => self.passing(error, now),
        }
    }

    fn read(&mut self, now: WallTime, wait: Duration) -> Result<usize, Stop> {
        let Self {
            log,
            owned,
            last,
            step,
            commits,
            ..
        } = self;
        let step = *step;
        let mut taken = 0;
        let mut refused = None;
        let result = log.poll(wait, POLL_BATCH, &mut |topic, partition, record| {
            let index = match owned.get(*last) {
                Some(candidate) if candidate.is(topic, partition) => *last,
                _ => match owned.iter().position(|candidate| candidate.is(topic, partition)) {
                    Some(index) => index,
                    None => return true,
                },
            };
            *last = index;
            match owned[index].take(record, now, step) {
                Taken::Yes => {
                    taken += 1;
                    commits.take(record.headers);
                }
                Taken::Ignored => {}
                Taken::Refused(halt) => {
                    refused = Some((index, halt));
                    return false;
                }
            }
            true
        });
        if let Some((index, halt)) = refused {
            self.refuse(index, halt, now)?;
        }
        if taken > 0 {
            self.stats
                .of(&self.options.name, |numbers| numbers.records += taken as u64);
        }
        match result {
            Ok(()) => Ok(taken),
            Err(error) => self.passing(error, now).map(|()| taken),
        }
    }

    fn refuse(&mut self, index: usize, halt: Halt, now: WallTime) -> Result<(), Stop> {
        match halt {
            Halt::Stop(reason) => Err(Stop::Failed(reason)),
            Halt::Hold(reason) => {
                let owned = &mut self.owned[index];
                tracing::warn!(
                    event_type = "partition_held",
                    worker = self.options.name,
                    partition = owned.partition.partition,
                    "held: {reason}"
                );
                owned.phase = Phase::Held {
                    until: now.ahead(HOLD_FOR),
                    reason,
                };
                let partition = owned.partition.clone();
                match self.log.pause(&[partition]) {
                    Ok(()) => Ok(()),
                    Err(error) => self.passing(error, now),
                }
            }
        }
    }

    fn release_held(&mut self, now: WallTime) -> Result<(), Stop> {
        for owned in &mut self.owned {
            if matches!(owned.phase, Phase::Held { until, .. } if until <= now) {
                owned.phase = Phase::Seeking;
            }
        }
        Ok(())
    }

    fn heed_notices(&mut self, now: WallTime) -> Result<(), Stop> {
        for notice in self.log.notices() {
            match notice {
                Notice::OutOfRange(partition) => self.out_of_range(&partition, now)?,
                Notice::UnknownTopic(topic) => {
                    tracing::warn!(
                        event_type = "input_topic_missing",
                        worker = self.options.name,
                        topic,
                        "topic does not exist yet; waiting for it"
                    );
                }
                Notice::Trouble(what) => {
                    tracing::warn!(event_type = "kafka_trouble", worker = self.options.name, "{what}")
                }
            }
        }
        Ok(())
    }

    fn tell_counts(&mut self, now: WallTime) -> Result<(), Stop> {
        if self.options.counted_topics.is_empty() || self.counts_at.is_some_and(|at| now < at.ahead(COUNTS_EVERY)) {
            return Ok(());
        }
        match self.log.partition_counts(&self.options.counted_topics) {
            Ok(counts) => {
                self.counts = counts;
                self.counts_at = Some(now);
                for owned in &mut self.owned {
                    if let Some(task) = owned.task.as_mut() {
                        task.accept(Input::Partitions(&self.counts)).map_err(halted)?;
                    }
                }
                Ok(())
            }
            Err(error) => {
                self.counts_at = Some(now);
                self.passing(error, now)
            }
        }
    }

    fn tell_ends(&mut self, now: WallTime) -> Result<(), Stop> {
        if !self.options.sample_ends {
            return Ok(());
        }
        let answers = self.log.log_ends();
        if !answers.is_empty() {
            self.tell_positions(now)?;
            for (partition, end, sampled_at) in answers {
                if let Some(owned) = self.owned.iter_mut().find(|owned| owned.partition == partition)
                    && let (Phase::Running, Some(task)) = (&owned.phase, owned.task.as_mut())
                {
                    task.accept(Input::LogEnd { end, sampled_at }).map_err(halted)?;
                }
            }
        }
        if now >= self.ends_at.ahead(ENDS_EVERY) {
            self.ends_at = now;
            let quiet = self
                .owned
                .iter_mut()
                .filter_map(|owned| owned.is_quiet(now, ENDS_EVERY).then(|| owned.partition.clone()));
            let quiet: Vec<TopicPartition> = quiet.collect();
            if !quiet.is_empty() {
                self.log.sample_log_ends(&quiet);
            }
        }
        Ok(())
    }

    /// Tells running tasks the time and the reader's position.
    pub(super) fn tell_positions(&mut self, now: WallTime) -> Result<(), Stop> {
        let running = |owned: &&mut Owned| owned.phase == Phase::Running;
        let partitions: Vec<TopicPartition> = self
            .owned
            .iter_mut()
            .filter(running)
            .map(|owned| owned.partition.clone())
            .collect();
        if partitions.is_empty() {
            return Ok(());
        }
        let positions = match self.log.positions(&partitions) {
            Ok(positions) => positions,
            Err(error) => {
                self.passing(error, now)?;
                vec![None; partitions.len()]
            }
        };
        for (owned, position) in self.owned.iter_mut().filter(running).zip(positions) {
            let Some(task) = owned.task.as_mut() else { continue };
            task.accept(Input::Time(now)).map_err(halted)?;
            if let Some(next) = position.filter(|next| *next > owned.next) {
                task.accept(Input::Position { next }).map_err(halted)?;
                owned.next = next;
            }
        }
        Ok(())
    }

    /// Trouble that may pass is said and waited for; the rest ends the worker or its tasks.
    pub(super) fn passing(&mut self, error: LogError, now: WallTime) -> Result<(), Stop> {
        match error {
            LogError::Retry(why) | LogError::Abort(why) => {
                if now >= self.troubled_until {
                    tracing::debug!(event_type = "kafka_trouble", worker = self.options.name, "{why}");
                }
                self.troubled_until = now.ahead(RETRY_AFTER);
                Ok(())
            }
            LogError::Fatal(why) => {
                self.start_over(&why);
                self.troubled_until = now.ahead(RETRY_AFTER);
                Ok(())
            }
            error => Err(stop_of(error)),
        }
    }

    /// Tells the stats what there is to see, and the operator what a task has to say.
    pub(super) fn publish(&mut self, now: WallTime) {
        let said = &mut self.said;
        said.retain(|_, at| now < at.ahead(SAY_AGAIN));
        let name = &self.options.name;
        let tasks = self.owned.iter().map(|owned| {
            let phase = match owned.phase {
                Phase::Opening => "opening",
                Phase::Restoring { .. } => "restoring",
                Phase::Seeking => "seeking",
                Phase::Running if owned.waits.is_some() => "waiting",
                Phase::Running => "running",
                Phase::Held { .. } => "held",
            };
            let mut view = owned.task.as_ref().map(|task| task.view()).unwrap_or_default();
            view.next = (owned.phase == Phase::Running).then_some(owned.next);
            if !view.notes.is_empty() && !said.contains_key(&owned.partition) {
                said.insert(owned.partition.clone(), now);
                for note in &view.notes {
                    tracing::warn!(event_type = "task_note", worker = name, "{note}");
                }
            }
            if let Phase::Held { reason, .. } = &owned.phase {
                view.notes.push(reason.clone());
            }
            (owned.partition.clone(), (phase, view))
        });
        let tasks: BTreeMap<_, _> = tasks.collect();
        self.stats
            .newest
            .retain(name, |partition| tasks.contains_key(partition));
        let mut waiting: BTreeMap<(String, Wait), u64> = BTreeMap::new();
        for heed in &self.options.heeds {
            if self.options.inputs.contains(&heed.topic) {
                waiting.extend(Wait::ALL.map(|wait| ((heed.topic.clone(), wait), 0)));
            }
        }
        for owned in &self.owned {
            if let Some(wait) = owned.waits {
                *waiting.entry((owned.partition.topic.clone(), wait)).or_default() += 1;
            }
        }
        let ready = self.renew.is_none()
            && self
                .owned
                .iter()
                .all(|owned| matches!(owned.phase, Phase::Running | Phase::Held { .. }));
        self.stats.of(&self.options.name, |numbers| {
            numbers.tasks = tasks;
            numbers.waiting = waiting;
            numbers.ready = ready;
        });
    }
}

pub(super) fn stop_of(error: LogError) -> Stop {
    match error {
        LogError::Fenced(why) => Stop::Fenced(why),
        error => Stop::Failed(error.to_string()),
    }
}

pub(super) fn halted(halt: Halt) -> Stop {
    match halt {
        Halt::Hold(reason) | Halt::Stop(reason) => Stop::Failed(reason),
    }
}
