//! Partitions that wait for others.
//!
//! Rule: the stage decides which of the running partitions must not be read on ([`OpenTask::waits`]), from how far all of
//! them are and from what the tasks that it heeds have committed, asked for every [`LOOK_EVERY`] in the background. The
//! reader of such a partition is paused; it stays assigned, is sealed, and is given back like any other.
//!
//! Edges:
//! - a task is told that it waits: what lies ahead of it keeps its time, so it is neither idle nor held;
//! - every way to `Running` goes through a seek, after which nothing waits until it is decided anew;
//! - commits that nobody answers for change nothing: what was known last counts;
//! - who waits, and that nobody does any more, is said at most every [`SAY_EVERY`]: in a long backlog sources wait for each
//!   other in turns.
//!
//! [`OpenTask::waits`]: crate::engine::task::OpenTask::waits

use std::collections::BTreeMap;

use super::log::TopicPartition;
use super::opening::named;
use super::owned::{Owned, Phase};
use super::worker::{Stop, Worker, halted};
use crate::engine::task::{Runner, Wait};
use crate::engine::time::{Span, WallTime};

/// Between two questions for commits. A seal is as often.
const LOOK_EVERY: Span = Span::seconds(1);
/// Between two decisions, where fewer than [`DECIDE_RECORDS`] came meanwhile.
const DECIDE_EVERY: Span = Span::millis(100);
const DECIDE_RECORDS: usize = 2_000;
/// Between two lines of one kind.
const SAY_EVERY: Span = Span::seconds(10);

/// A topic whose readers' commits a stage heeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heed {
    pub group: String,
    pub topic: String,
    /// `None`: as many as the broker says, one of [`WorkerOptions::counted_topics`].
    ///
    /// [`WorkerOptions::counted_topics`]: super::WorkerOptions::counted_topics
    pub partitions: Option<u32>,
}

/// What one worker remembers between two decisions.
#[derive(Default)]
pub(super) struct Waiting {
    looked_at: Option<WallTime>,
    decided_at: Option<WallTime>,
    /// Records since the last decision.
    records: usize,
    /// When waiting for this reason, and that nobody waits, was said last.
    said: BTreeMap<Option<Wait>, WallTime>,
    /// Somebody was said to wait, and it was not said that nobody does.
    open: bool,
}

impl Worker {
    /// Stops reading what is too far ahead, and reads on where it is not any more.
    pub(super) fn let_wait(&mut self, taken: usize, now: WallTime) -> Result<(), Stop> {
        if self.options.heeds.is_empty() {
            return Ok(());
        }
        self.waiting.records += taken;
        if self.waiting.looked_at.is_none_or(|at| now >= at.ahead(LOOK_EVERY)) {
            self.waiting.looked_at = Some(now);
            self.look();
        }
        for (partition, committed) in self.log.commits() {
            self.stage
                .hear(&partition.topic, partition.partition, &committed.metadata);
        }
        let is_due = self.waiting.decided_at.is_none_or(|at| now >= at.ahead(DECIDE_EVERY));
        if !is_due && self.waiting.records < DECIDE_RECORDS {
            return Ok(());
        }
        self.waiting.decided_at = Some(now);
        self.waiting.records = 0;
        self.decide(now)
    }

    fn look(&mut self) {
        for Heed {
            group,
            topic,
            partitions,
        } in &self.options.heeds
        {
            let count = partitions.or_else(|| self.counts.get(topic).copied()).unwrap_or(0);
            let partitions = (0..count).map(|partition| TopicPartition {
                topic: topic.clone(),
                partition,
            });
            self.log.sample_commits(group, &partitions.collect::<Vec<_>>());
        }
    }

    fn decide(&mut self, now: WallTime) -> Result<(), Stop> {
        let Self {
            stage, stats, owned, ..
        } = self;
        let running = |owned: &&Owned| owned.phase == Phase::Running;
        let runners: Vec<Runner<'_>> = owned
            .iter()
            .filter(running)
            .map(|owned| Runner {
                topic: &owned.partition.topic,
                partition: owned.partition.partition,
                watermark: owned.task.as_ref().and_then(|task| task.watermark()),
                waits: owned.waits.is_some(),
            })
            .collect();
        let mut numbers = stats.lock();
        for (owned, runner) in owned.iter().filter(running).zip(&runners) {
            let Some(mark) = runner.watermark else { continue };
            match numbers.marks.get_mut(&owned.partition) {
                Some(known) => *known = mark,
                None => drop(numbers.marks.insert(owned.partition.clone(), mark)),
            }
        }
        for (partition, mark) in &numbers.marks {
            stage.see(&partition.topic, partition.partition, Some(*mark));
        }
        drop(numbers);
        let waits = stage.waits(&self.counts, &runners);
        let mut stop: BTreeMap<Wait, Vec<TopicPartition>> = BTreeMap::new();
        let mut go_on = Vec::new();
        for (owned, wait) in self.owned.iter().filter(running).zip(waits) {
            match wait {
                _ if owned.waits == wait => {}
                // Also where it waits for another reason now: to stop again changes nothing.
                Some(wait) => stop.entry(wait).or_default().push(owned.partition.clone()),
                None => go_on.push(owned.partition.clone()),
            }
        }
        for (wait, partitions) in stop {
            match self.log.pause(&partitions) {
                Ok(()) => {
                    self.set_waits(&partitions, Some(wait))?;
                    self.say_waiting(wait, &partitions, now);
                }
                Err(error) => self.passing(error, now)?,
            }
        }
        if !go_on.is_empty() {
            match self.log.resume(&go_on) {
                Ok(()) => self.set_waits(&go_on, None)?,
                Err(error) => self.passing(error, now)?,
            }
        }
        self.say_over(now);
        Ok(())
    }

    fn set_waits(&mut self, partitions: &[TopicPartition], wait: Option<Wait>) -> Result<(), Stop> {
        for owned in self
            .owned
            .iter_mut()
            .filter(|owned| partitions.contains(&owned.partition))
        {
            owned.wait(wait).map_err(halted)?;
        }
        Ok(())
    }

    fn may_say(&mut self, what: Option<Wait>, now: WallTime) -> bool {
        let may = self.waiting.said.get(&what).is_none_or(|at| now >= at.ahead(SAY_EVERY));
        if may {
            self.waiting.said.insert(what, now);
        }
        may
    }

    fn say_waiting(&mut self, wait: Wait, partitions: &[TopicPartition], now: WallTime) {
        if !self.may_say(Some(wait), now) {
            return;
        }
        self.waiting.open = true;
        let partitions = named(partitions);
        match wait {
            Wait::Ahead => tracing::info!(
                event_type = "source_waiting",
                worker = self.options.name,
                "{partitions} waits: its event times are more than 10 minutes ahead of the slowest source that it is joined \
                 with"
            ),
            Wait::Full => tracing::warn!(
                event_type = "source_waiting",
                worker = self.options.name,
                "{partitions} waits: the joins that it feeds hold nearly as many open keys and undecided records as they may \
                 (--max-open), and it is ahead of the slowest source that it is joined with"
            ),
        }
    }

    fn say_over(&mut self, now: WallTime) {
        let waits = self.owned.iter().any(|owned| owned.waits.is_some());
        if self.waiting.open && !waits && self.may_say(None, now) {
            self.waiting.open = false;
            tracing::info!(
                event_type = "source_resumed",
                worker = self.options.name,
                "no partition waits for others any more"
            );
        }
    }
}
