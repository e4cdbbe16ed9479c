//! Failures that a simulation injects.
//!
//! Rule: each call on a [`super::MemoryLog`] asks once, before it does anything; a poll asks once more for its heartbeat, a
//! commit after its decision. The answer is the error that the caller gets, and whether the cluster did the work all the
//! same: the request was lost, or the response.

use crate::runtime::log::LogError;

use super::group::MemberId;

/// Where a call may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallPoint {
    Subscribe,
    Poll,
    /// Within `poll`: the member hears nothing of its group, and reads on. Its error is told to nobody.
    Heartbeat,
    Assign,
    Unassign,
    Seek,
    Pause,
    Resume,
    Committed,
    /// `log_start`, `log_end`, `offset_at`, `partition_counts` and `topic_id`.
    Metadata,
    /// Answers to `sample_log_ends` are held back until the next call.
    LogEnds,
    RestoreStart,
    RestorePoll,
    InitTransactions,
    Begin,
    Send,
    SendOffsets,
    /// Before the coordinator decides.
    CommitBefore,
    /// The coordinator has decided, and its answer is lost. Always [`Effect::Done`].
    CommitAfter,
    Abort,
    /// The records stay where they are.
    Trim,
}

/// Whose call it is.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    pub group: &'a str,
    /// The id that the member believes to have.
    pub member: Option<MemberId>,
    pub instance: Option<&'a str>,
    pub transactional_id: &'a str,
}

/// Whether the call did its work before it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    None,
    Done,
}

/// A call that fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub error: LogError,
    pub effect: Effect,
}

/// Decides which calls fail.
pub trait Faults: Send {
    fn at(&mut self, point: CallPoint, caller: Caller<'_>) -> Option<Fault>;
}

// === impl Fault ===

impl Fault {
    /// The request never arrived.
    pub fn lost(error: LogError) -> Self {
        Self {
            error,
            effect: Effect::None,
        }
    }

    /// The work was done, the answer never arrived.
    pub fn unanswered(error: LogError) -> Self {
        Self {
            error,
            effect: Effect::Done,
        }
    }
}

// === impl Faults ===

impl<F: FnMut(CallPoint, Caller<'_>) -> Option<Fault> + Send> Faults for F {
    fn at(&mut self, point: CallPoint, caller: Caller<'_>) -> Option<Fault> {
        self(point, caller)
    }
}
