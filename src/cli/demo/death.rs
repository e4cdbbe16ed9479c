//! How a worker dies.
//!
//! Rule: it dies inside of a call on the log, at a point that is chosen beforehand, by unwinding: nothing that it would
//! still do is done. Its member stays in its group and its transaction stays open, as with a process that is killed.
//!
//! Edges: after a commit was decided and before the worker hears of it is a point like any other, and the hardest.

use std::sync::{Arc, Mutex, PoisonError};

use crate::memory::{CallPoint, Caller, Fault, Faults};

/// What a dying worker's thread unwinds with.
pub struct Killed;

/// The death that waits for somebody, if any.
#[derive(Clone, Default)]
pub struct Death(Arc<Mutex<Option<Sentence>>>);

struct Sentence {
    transactional_id: String,
    moment: Moment,
}

/// When it happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// While it waits for records.
    Polling,
    /// With a transaction begun and half of it sent.
    Sending,
    /// With everything sent but the offsets.
    BeforeOffsets,
    /// With everything sent and nothing committed.
    BeforeCommit,
    /// Committed, and never told.
    AfterCommit,
}

// === impl Moment ===

impl Moment {
    pub const ALL: [Moment; 5] = [
        Moment::Polling,
        Moment::Sending,
        Moment::BeforeOffsets,
        Moment::BeforeCommit,
        Moment::AfterCommit,
    ];

    /// For people: `tap-1 was killed ...`
    pub fn words(self) -> &'static str {
        match self {
            Moment::Polling => "while reading",
            Moment::Sending => "within a transaction",
            Moment::BeforeOffsets => "before its offsets",
            Moment::BeforeCommit => "before its commit",
            Moment::AfterCommit => "after its commit, untold",
        }
    }

    fn is_at(self, point: CallPoint) -> bool {
        let at = match self {
            Moment::Polling => CallPoint::Poll,
            Moment::Sending => CallPoint::Send,
            Moment::BeforeOffsets => CallPoint::SendOffsets,
            Moment::BeforeCommit => CallPoint::CommitBefore,
            Moment::AfterCommit => CallPoint::CommitAfter,
        };
        at == point
    }
}

// === impl Death ===

impl Death {
    /// The worker with this transactional id dies when it gets there.
    pub fn await_at(&self, transactional_id: &str, moment: Moment) {
        *self.sentence() = Some(Sentence {
            transactional_id: transactional_id.to_owned(),
            moment,
        });
    }

    /// Nobody dies any more, if it has not happened yet.
    pub fn call_off(&self) {
        *self.sentence() = None;
    }

    fn sentence(&self) -> std::sync::MutexGuard<'_, Option<Sentence>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Faults for Death {
    fn at(&mut self, point: CallPoint, caller: Caller<'_>) -> Option<Fault> {
        let mut sentence = self.sentence();
        let is_meant =
            |sentence: &Sentence| sentence.transactional_id == caller.transactional_id && sentence.moment.is_at(point);
        if sentence.as_ref().is_some_and(is_meant) {
            *sentence = None;
            drop(sentence);
            // Not a panic: no message, and the thread knows what it is.
            std::panic::resume_unwind(Box::new(Killed));
        }
        None
    }
}
