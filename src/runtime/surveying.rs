//! Asks for the ends of the logs that tasks compare with, and hands the answers out.
//!
//! Rule: tasks are told before the question is sent, and again when it is answered, so that each can tell what it knew
//! when it was asked. What they then have to show is sealed at once.
//!
//! Edges:
//! - while a task has still to read what was there before it, questions follow each other closely: the first points are
//!   not to wait for the next full round;
//! - one question is under way at a time. Each is answered, late or with nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use super::log::{LogError, TopicPartition};
use super::owned::{Owned, Phase};
use super::worker::{Stop, Worker, halted};
use crate::engine::lag::logs::Partitions;
use crate::engine::task::{Input, Task};
use crate::engine::time::{Span, WallTime};

/// Between two questions while tasks are behind.
const SOON: Span = Span::seconds(1);

/// From what makes a survey due to the survey: what comes for one task comes for the others too.
const GATHER: Span = Span::millis(250);

/// How long records are counted in one survey.
const READING: Duration = Duration::from_secs(2);

/// How far the survey is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Surveying {
    #[default]
    Idle,
    /// The ends of logs are asked for.
    Ends,
    /// Their tails are read.
    Tails,
}

impl Worker {
    /// Reads on in the offset index. Trouble with it costs nothing but time: what it does not tell yet waits.
    pub(super) fn read_index(&mut self, now: WallTime) -> Result<(), Stop> {
        let Some(topic) = &self.options.index else {
            return Ok(());
        };
        // What is read of a tail begins where the index ended when it was asked for.
        if self.surveying != Surveying::Idle {
            return Ok(());
        }
        let partition = TopicPartition {
            topic: topic.clone(),
            partition: 0,
        };
        let Self { log, stage, .. } = self;
        if !self.reads_index {
            if now < self.troubled_until {
                return Ok(());
            }
            return match log.restore_start(&partition) {
                Ok(()) => {
                    self.reads_index = true;
                    Ok(())
                }
                Err(error) => self.passing(error, now),
            };
        }
        let mut refused = None;
        let result = log.restore_poll(&partition, Duration::ZERO, &mut |_, value| {
            if let (Some(value), None) = (value, &refused) {
                refused = stage.index(value).err();
            }
        });
        if let Some(why) = refused {
            return Err(Stop::Failed(why));
        }
        match result {
            Ok(_) => Ok(()),
            // It was trimmed faster than it was read: it begins later now.
            Err(LogError::Fatal(why)) => {
                tracing::warn!(
                    event_type = "index_reread",
                    worker = self.options.name,
                    "reading the offset index again: {why}"
                );
                self.log.restore_stop(&partition);
                self.reads_index = false;
                Ok(())
            }
            Err(error) => self.passing(error, now),
        }
    }

    pub(super) fn survey(&mut self, now: WallTime) -> Result<(), Stop> {
        let Some(every) = self.options.survey_every else {
            return Ok(());
        };
        let mut running = self.owned.iter().filter_map(Owned::running);
        if self.surveying == Surveying::Idle && running.any(|task| task.is_due()) {
            self.next_survey = self.next_survey.min(now.ahead(GATHER));
        }
        match self.surveying {
            Surveying::Idle if now >= self.next_survey => self.ask_ends(every, now),
            Surveying::Idle => Ok(()),
            Surveying::Ends => {
                let Some(survey) = self.log.survey() else { return Ok(()) };
                self.stage.survey(survey);
                let mut spans = BTreeSet::new();
                let Some(logs) = self.stage.logs() else { return Ok(()) };
                for task in self.owned.iter().filter_map(Owned::running) {
                    task.tails(logs, &mut spans);
                }
                if spans.is_empty() {
                    return self.tell_survey(now);
                }
                self.log.ask_tails(spans, READING);
                self.surveying = Surveying::Tails;
                Ok(())
            }
            Surveying::Tails => {
                let Some(tails) = self.log.tails() else { return Ok(()) };
                self.stage.tails(tails);
                self.tell_survey(now)
            }
        }
    }

    fn ask_ends(&mut self, every: Span, now: WallTime) -> Result<(), Stop> {
        self.tell_positions(now)?;
        let mut wanted = Partitions::new();
        let mut is_behind = false;
        for task in self.owned.iter_mut().filter_map(Owned::running_mut) {
            task.accept(Input::Surveying).map_err(halted)?;
            task.wants(&mut wanted);
            is_behind |= task.is_behind();
        }
        // Restores are not waited for: who is ready speaks.
        is_behind |= self.owned.iter().any(|owned| owned.phase != Phase::Running);
        self.next_survey = now.ahead(if is_behind { every.min(SOON) } else { every });
        if !wanted.is_empty() {
            self.log.ask_survey(wanted);
            self.surveying = Surveying::Ends;
        }
        Ok(())
    }

    fn tell_survey(&mut self, now: WallTime) -> Result<(), Stop> {
        self.surveying = Surveying::Idle;
        self.tell_positions(now)?;
        let Some(logs) = self.stage.logs() else { return Ok(()) };
        for task in self.owned.iter_mut().filter_map(Owned::running_mut) {
            task.accept(Input::Surveyed(logs)).map_err(halted)?;
        }
        self.next_seal = now;
        Ok(())
    }
}

impl Owned {
    pub(super) fn running(&self) -> Option<&dyn Task> {
        let task = self.task.as_deref()?;
        (self.phase == Phase::Running).then_some(task)
    }

    fn running_mut(&mut self) -> Option<&mut (dyn Task + 'static)> {
        match self.phase {
            Phase::Running => self.task.as_deref_mut(),
            _ => None,
        }
    }
}
