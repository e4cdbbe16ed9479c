//! From outputs to a commit: what every task has to say goes into one transaction.
//!
//! Rule: outputs of one seal are frozen, and nothing is sealed again before it is known what became of them. Records are
//! still read meanwhile.
//!
//! Edges:
//! - an abort costs a re-send: outputs of lost tasks are left out, the rest is sent again as it is;
//! - a fatal error or an unknown outcome costs a restore: a new producer settles the old transaction, every task is closed,
//!   offsets are read again;
//! - while the group waits for an answer, the transaction under way is asked for [`SETTLE_TRIES`] times and then given up.

use std::collections::BTreeMap;
use std::time::Instant;

use super::log::{LogError, TopicPartition};
use super::owned::{Owned, Phase};
use super::sealed::{self, Sealed};
use super::worker::{RETRY_AFTER, Stop, Worker, stop_of};
use crate::engine::time::WallTime;

/// How often an unsettled transaction is asked for while the group waits for an answer.
const SETTLE_TRIES: u32 = 20;

impl Worker {
    pub(super) fn weight(&self) -> usize {
        self.owned
            .iter()
            .filter_map(|owned| owned.task.as_ref())
            .map(|task| task.weight())
            .sum()
    }

    /// Freezes what every running task has to say.
    pub(super) fn seal(&mut self, now: WallTime) -> Result<(), Stop> {
        self.tell_positions(now)?;
        let mut outputs = BTreeMap::new();
        for owned in &mut self.owned {
            if let (Phase::Running, Some(task)) = (&owned.phase, owned.task.as_mut())
                && let Some(output) = task.seal()
            {
                outputs.insert(owned.partition.clone(), output);
            }
        }
        self.publish(now);
        self.read_newest();
        if outputs.is_empty() {
            self.answer();
        } else {
            self.commits.seal();
            self.sealed = Some(Sealed::new(outputs));
        }
        Ok(())
    }

    /// The newest points of all tasks, where somebody asks for them.
    pub(super) fn read_newest(&mut self) {
        self.answering = self.stats.newest.question(&self.options.name).map(|question| {
            let running = |owned: &&Owned| matches!(owned.phase, Phase::Running | Phase::Held { .. });
            let running = self.owned.iter().filter(running);
            let newest =
                running.filter_map(|owned| Some((owned.partition.clone(), owned.task.as_ref()?.newest().into())));
            (question, newest.collect())
        });
    }

    /// What was sealed is committed: others may see it.
    pub(super) fn answer(&mut self) {
        if let Some((question, mut partitions)) = self.answering.take() {
            partitions.retain(|partition, _| self.owned.iter().any(|owned| owned.partition == *partition));
            self.stats.newest.answer(&self.options.name, question, partitions);
        }
    }

    /// Drives the sealed outputs one step further.
    pub(super) fn advance(&mut self, now: WallTime) -> Result<(), Stop> {
        if self.renew.is_some() {
            return Ok(());
        }
        let Some(sealed) = &mut self.sealed else {
            self.stats
                .of(&self.options.name, |numbers| numbers.last_commit = Some(Instant::now()));
            return Ok(());
        };
        if sealed.outputs.is_empty() && matches!(sealed.phase, sealed::Phase::Waiting { .. }) {
            self.sealed = None;
            self.answering = None;
            self.commits.end(Some("every partition of it was lost"));
            return Ok(());
        }
        let result = match sealed.phase {
            sealed::Phase::Waiting { until } if now < until || !self.log.is_member() => return Ok(()),
            sealed::Phase::Waiting { .. } => {
                sealed.attempts += 1;
                self.commit_began.get_or_insert_with(Instant::now);
                self.commits.begin(&self.options.name, &sealed.outputs);
                let sent = self
                    .log
                    .begin()
                    .and_then(|()| sealed.send(self.log.as_mut(), &self.options.topics));
                match sent {
                    Ok(()) => {
                        sealed.phase = sealed::Phase::Committing;
                        self.log.commit()
                    }
                    Err(LogError::Retry(why)) => Err(LogError::Abort(why)),
                    Err(error) => Err(error),
                }
            }
            sealed::Phase::Committing => self.log.commit(),
            sealed::Phase::Aborting => match self.log.abort() {
                Ok(()) => {
                    sealed.phase = sealed::Phase::Waiting {
                        until: now.ahead(RETRY_AFTER),
                    };
                    return Ok(());
                }
                Err(error) => Err(error),
            },
        };
        match result {
            Ok(()) => {
                if self.options.trim_input {
                    let offsets = sealed
                        .outputs
                        .iter()
                        .map(|(partition, output)| (partition.clone(), output.next));
                    self.log.trim(&offsets.collect::<Vec<_>>());
                }
                self.commits
                    .span()
                    .set("streamgauge.attempts", u64::from(sealed.attempts));
                self.commits.end(None);
                let dead_letters: usize = sealed.outputs.values().map(|output| output.dead.len()).sum();
                self.sealed = None;
                self.answer();
                let took = self.commit_began.take().map(|began| began.elapsed());
                self.stats.of(&self.options.name, |numbers| {
                    numbers.committed += 1;
                    numbers.dead_letters += dead_letters as u64;
                    numbers.last_commit = Some(Instant::now());
                    if let Some(took) = took {
                        numbers.commit_took(took);
                    }
                });
                Ok(())
            }
            Err(LogError::Retry(_)) => Ok(()),
            Err(LogError::Abort(why)) => {
                let _within = self.commits.span().within();
                self.commits.span().event("aborted", &why);
                tracing::info!(
                    event_type = "transaction_aborted",
                    worker = self.options.name,
                    attempts = sealed.attempts,
                    "transaction aborted: {why}"
                );
                sealed.phase = sealed::Phase::Aborting;
                self.stats.of(&self.options.name, |numbers| numbers.aborted += 1);
                Ok(())
            }
            Err(LogError::Fatal(why)) => {
                self.start_over(&why);
                Ok(())
            }
            Err(error) => {
                self.commits.end(Some(&error.to_string()));
                Err(stop_of(error))
            }
        }
    }

    /// Brings a transaction that is under way to its end, whatever that is; gives up into a fresh start.
    pub(super) fn settle(&mut self, now: WallTime) -> Result<(), Stop> {
        for attempt in 0..SETTLE_TRIES {
            match &mut self.sealed {
                None => return Ok(()),
                Some(Sealed {
                    phase: sealed::Phase::Waiting { until },
                    ..
                }) => {
                    if attempt > 0 || !self.log.is_member() {
                        return Ok(());
                    }
                    *until = now;
                }
                Some(_) => {}
            }
            self.advance(now)?;
        }
        if matches!(
            &self.sealed,
            Some(Sealed {
                phase: sealed::Phase::Committing | sealed::Phase::Aborting,
                ..
            })
        ) {
            self.start_over("the transaction did not settle while the group was waiting");
        }
        Ok(())
    }

    /// A new producer; every task is closed and read again from what is committed.
    pub(super) fn start_over(&mut self, why: &str) {
        let within = self.commits.span().within();
        tracing::warn!(
            event_type = "worker_restarted",
            worker = self.options.name,
            "closing all tasks and starting over: {why}"
        );
        drop(within);
        self.stats.of(&self.options.name, |numbers| numbers.fatal += 1);
        self.renew = Some(true);
        self.sealed = None;
        self.answering = None;
        self.commit_began = None;
        self.commits.start_over(why);
        for owned in &mut self.owned {
            if matches!(owned.phase, Phase::Restoring { .. }) {
                let changelog = self.options.topics.changelog.clone().unwrap_or_default();
                self.log.restore_stop(&TopicPartition {
                    topic: changelog,
                    partition: owned.partition.partition,
                });
            }
            owned.reopen();
        }
    }
}
