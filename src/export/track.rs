//! One partition of the outbox that this instance owns: what its lane still has to do, and what can be committed.
//!
//! Rule: `committed <= settled <= delivered`. A record counts as settled when its lane is done with it, and its offset is
//! committed together with what was quarantined of it.
//!
//! Edges:
//! - at most [`MOST_RECORDS`] records or [`MOST_BYTES`] wait in a lane; then the partition is paused until half of it is gone;
//! - offsets fall only when the log itself starts again (it was deleted and made anew);
//! - a closed track takes nothing any more and still has what its lane was done with.

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;

use super::bisect::Quarantined;
use super::lane::{Done, Lane, Outgoing};

/// The most records that wait in one lane.
pub(super) const MOST_RECORDS: usize = 16;

/// The most bytes that wait in one lane, give or take one record.
pub(super) const MOST_BYTES: usize = 8 * 1024 * 1024;

/// See the module's rule.
pub(super) struct Track {
    pub lane: u64,
    queue: Option<UnboundedSender<Outgoing>>,
    task: JoinHandle<()>,
    /// Handed to the lane and not done.
    records: usize,
    bytes: usize,
    pub paused: bool,
    /// The next offset that the lane has not been given.
    pub delivered: i64,
    /// The next offset that the lane is not done with.
    pub settled: i64,
    /// The group's committed offset, or where reading started.
    pub committed: i64,
    /// Waits for the next commit: the offset of its record, and the piece.
    pub dead: Vec<(i64, Quarantined)>,
    /// Waits for the next commit: records, by topic, with the offset of what they were made of.
    pub beside: Vec<(i64, String, Vec<u8>)>,
    /// The log's end when it was last asked for.
    pub end: Option<i64>,
}

// === impl Track ===

impl Track {
    /// Starts the lane; reading goes on at `offset`.
    pub fn start(runtime: &Handle, lane: Lane, done: UnboundedSender<Done>, offset: i64, paused: bool) -> Track {
        let (queue, outgoing) = unbounded_channel();
        Track {
            lane: lane.id,
            queue: Some(queue),
            task: runtime.spawn(lane.run(outgoing, done)),
            records: 0,
            bytes: 0,
            paused,
            delivered: offset,
            settled: offset,
            committed: offset,
            dead: Vec::new(),
            beside: Vec::new(),
            end: None,
        }
    }

    /// Hands a record to the lane. One that was handed over before is left out.
    pub fn push(&mut self, offset: i64, request: &[u8]) {
        let Some(queue) = self.queue.as_ref().filter(|_| offset >= self.delivered) else {
            return;
        };
        if queue
            .send(Outgoing {
                offset,
                request: Bytes::copy_from_slice(request),
            })
            .is_ok()
        {
            self.records += 1;
            self.bytes += request.len();
            self.delivered = offset + 1;
        }
    }

    /// Takes what the lane is done with.
    pub fn settle(&mut self, done: Done) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(done.bytes);
        self.settled = done.offset + 1;
        let records = done.outcome.records.into_iter();
        self.beside
            .extend(records.map(|(topic, value)| (done.offset, topic, value)));
        self.dead
            .extend(done.outcome.quarantined.into_iter().map(|piece| (done.offset, piece)));
    }

    pub fn is_full(&self) -> bool {
        self.records >= MOST_RECORDS || self.bytes >= MOST_BYTES
    }

    pub fn has_room(&self) -> bool {
        self.records <= MOST_RECORDS / 2 && self.bytes <= MOST_BYTES / 2
    }

    /// The lane has nothing to do.
    pub fn is_idle(&self) -> bool {
        self.records == 0 || self.queue.is_none()
    }

    /// The reader's position may be committed: everything before it is settled.
    pub fn is_caught_up(&self) -> bool {
        self.records == 0 && self.queue.is_some()
    }

    pub fn has_uncommitted(&self) -> bool {
        self.settled != self.committed || !self.dead.is_empty() || !self.beside.is_empty()
    }

    /// A lane ends only when it is told to; one that ended by itself has panicked.
    pub fn is_broken(&self) -> bool {
        self.queue.is_some() && self.task.is_finished()
    }

    /// Stops the lane, also within a request.
    pub fn close(&mut self) {
        self.queue = None;
        self.task.abort();
    }

    /// Records between what is settled and the log's end.
    pub fn lag(&self) -> i64 {
        self.end.map_or(0, |end| (end - self.settled).max(0))
    }
}

impl Drop for Track {
    fn drop(&mut self) {
        self.task.abort();
    }
}
