//! One partition that the group gave to this worker, and how far it is on its way to running.
//!
//! Rule: `Opening` (offset not read yet) → `Restoring` (state comes back) → `Seeking` → `Running`; `Held` is a running
//! task that refused a record. Only a running task takes records; whatever arrives before is thrown away and read again,
//! since every way to `Running` goes through a seek.

use std::time::Instant;

use super::log::TopicPartition;
use crate::engine::task::{Halt, Input, Record, Task, Wait};
use crate::engine::time::{Span, WallTime, Watermark};

/// A partition of ours.
pub struct Owned {
    pub partition: TopicPartition,
    pub phase: Phase,
    pub task: Option<Box<dyn Task>>,
    /// The offset that the task expects next.
    pub next: i64,
    /// What the group had committed when the task was opened.
    pub committed: Option<i64>,
    /// The step in which the task was told the time last.
    pub told_in_step: u64,
    /// When the last record came. The log's end is asked for only where it is quiet, and where the watermark stands still.
    pub last_record: WallTime,
    /// The task's watermark when that was decided last.
    pub mark: Option<Watermark>,
    /// Records and bytes of the changelog that were read back.
    pub restored: (u64, u64),
    /// Running, and not read: it has to wait for others.
    pub waits: Option<Wait>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    Opening,
    /// Reading the changelog up to `target` (its high watermark when the restore began).
    Restoring {
        target: i64,
        since: Instant,
        /// How far it is, and since when (or when it was last said that it stands still).
        at: (i64, Instant),
    },
    /// State is there; the reader has to go to `next`.
    Seeking,
    Running,
    /// The task refused the record at `next`; offered again after `until`.
    Held {
        until: WallTime,
        reason: String,
    },
}

/// What a record led to.
pub enum Taken {
    Yes,
    /// Not running, or read before: nothing was done.
    Ignored,
    Refused(Halt),
}

impl Owned {
    pub fn new(partition: TopicPartition) -> Self {
        Self {
            partition,
            phase: Phase::Opening,
            task: None,
            next: 0,
            committed: None,
            told_in_step: 0,
            last_record: WallTime(0),
            mark: None,
            restored: (0, 0),
            waits: None,
        }
    }

    /// Back to the start: the task is dropped and its state read again.
    pub fn reopen(&mut self) {
        self.phase = Phase::Opening;
        self.task = None;
        self.restored = (0, 0);
        self.waits = None;
    }

    /// Its reader was stopped, or reads on.
    pub fn wait(&mut self, wait: Option<Wait>) -> Result<(), Halt> {
        let before = std::mem::replace(&mut self.waits, wait);
        match self.task.as_mut() {
            Some(task) if before.is_some() != wait.is_some() => task.accept(Input::Waiting(wait.is_some())),
            _ => Ok(()),
        }
    }

    /// Whether the log's end is to be asked for, `every` so often: no record came since, or none moved the watermark.
    pub fn is_quiet(&mut self, now: WallTime, every: Span) -> bool {
        let mark = self.task.as_ref().and_then(|task| task.watermark());
        let stands = std::mem::replace(&mut self.mark, mark) == mark;
        self.phase == Phase::Running && (stands || now >= self.last_record.ahead(every))
    }

    pub fn is(&self, topic: &str, partition: u32) -> bool {
        self.partition.partition == partition && self.partition.topic == topic
    }

    #[inline]
    pub fn take(&mut self, record: Record<'_>, now: WallTime, step: u64) -> Taken {
        let (Phase::Running, Some(task)) = (&self.phase, self.task.as_mut()) else {
            return Taken::Ignored;
        };
        if record.offset < self.next {
            return Taken::Ignored;
        }
        if self.told_in_step != step {
            self.told_in_step = step;
            self.last_record = now;
            if let Err(halt) = task.accept(Input::Time(now)) {
                return Taken::Refused(halt);
            }
        }
        match task.accept(Input::Record(record)) {
            Ok(()) => {
                self.next = record.offset + 1;
                Taken::Yes
            }
            Err(halt) => Taken::Refused(halt),
        }
    }
}
