//! Reads one partition, read_committed, for one consumer.
//!
//! Rule: the position is the next offset to hand out; it passes markers, aborted data and gaps as soon as all in front of
//! them was handed out. Records are decoded and handed out without a lock.
//!
//! Edges: a reader whose position lies outside of the log says so once and stands still until it is moved.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::engine::task::Record;

use super::batch::Batch;
use super::partition::{FetchError, Partition};

/// See the module.
#[derive(Debug)]
pub(super) struct Reader {
    log: Arc<Partition>,
    position: i64,
    /// Fetched and not yet handed out.
    fetched: VecDeque<Batch>,
    /// Byte in the first of `fetched` where the next record starts.
    cursor: usize,
    /// Where the last fetch ended.
    reached: i64,
    /// Whether the first fetch was made: before it the position is not known to be one.
    started: bool,
    /// The position is outside of the log, or the log is gone.
    stuck: bool,
    pub paused: bool,
}

/// Why a reader came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Halted {
    /// Nothing more is there, or the limit was reached.
    Done,
    /// The sink had enough.
    Enough,
    OutOfRange,
    Gone,
}

// === impl Reader ===

impl Reader {
    pub fn new(log: Arc<Partition>, position: i64) -> Self {
        let fetched = VecDeque::new();
        Self {
            log,
            position,
            fetched,
            cursor: 0,
            reached: position,
            started: false,
            stuck: false,
            paused: false,
        }
    }

    /// Moves the reader; what was fetched is dropped.
    pub fn seek(&mut self, position: i64) {
        let paused = self.paused;
        *self = Self::new(Arc::clone(&self.log), position);
        self.paused = paused;
    }

    /// The topic was created again: goes on in the new log, where the position may well be out of range.
    pub fn reopen(&mut self, log: Arc<Partition>) {
        self.log = log;
        self.seek(self.position);
    }

    pub fn position(&self) -> Option<i64> {
        self.started.then_some(self.position)
    }

    pub fn may_read(&self) -> bool {
        !self.paused && !self.stuck
    }

    /// Hands out at most `limit` records; returns how many were taken, and why it stopped.
    pub fn read(&mut self, limit: usize, sink: &mut dyn FnMut(Record<'_>) -> bool) -> (usize, Halted) {
        let mut taken = 0;
        while taken < limit {
            if let Some(batch) = self.fetched.front() {
                if let Some((entry, next)) = batch.entry(self.cursor) {
                    self.cursor = next;
                    let offset = batch.offset_of(&entry);
                    if offset >= self.position {
                        self.position = offset + 1;
                        taken += 1;
                        let stamp = batch.stamp_of(&entry);
                        if !sink(Record {
                            offset,
                            key: entry.key,
                            value: entry.value,
                            stamp,
                            headers: &entry,
                        }) {
                            self.pass_finished();
                            return (taken, Halted::Enough);
                        }
                    }
                    continue;
                }
                self.pass_finished();
                continue;
            }
            match self.fetch() {
                Ok(true) => {}
                Ok(false) => break,
                Err(why) => {
                    self.stuck = true;
                    let gone = why == FetchError::Gone;
                    return (taken, if gone { Halted::Gone } else { Halted::OutOfRange });
                }
            }
        }
        self.pass_finished();
        (taken, Halted::Done)
    }

    /// Moves behind batches that were handed out whole, and behind what follows them and is nothing to read.
    fn pass_finished(&mut self) {
        while let Some(batch) = self.fetched.front() {
            if self.cursor < batch.bytes.len() {
                return;
            }
            self.position = self.position.max(batch.next);
            self.fetched.pop_front();
            self.cursor = 0;
        }
        self.position = self.position.max(self.reached);
    }

    /// `true` when there is more to look at: records, or offsets behind a run that has none.
    fn fetch(&mut self) -> Result<bool, FetchError> {
        let from = self.position;
        let fetched = self.log.fetch(from)?;
        self.started = true;
        self.fetched = fetched.batches;
        self.cursor = 0;
        self.reached = fetched.reached.max(from);
        if self.fetched.is_empty() {
            self.position = self.reached;
        }
        Ok(self.reached > from)
    }
}
