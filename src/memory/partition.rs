//! One partition of a topic: an ordered list of batches, and who may write and read where.
//!
//! Rule: an append and a marker take the lock for as long as it takes to push one batch; a reader takes it to collect
//! shared buffers. What a read_committed reader may see ends at the last stable offset: the first offset of the oldest
//! open transaction, or the log's end.
//!
//! Edges:
//! - a writer whose epoch is older than one this partition has heard of is refused, so nothing can be written behind an
//!   abort marker and hang there;
//! - markers, aborted data and what was compacted away keep their offsets.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use crate::engine::time::WallTime;

use super::batch::{Batch, RecordBatch, State};
use super::clock::ClusterClock;
use super::compaction;
use super::lock;
use super::topics::TopicOptions;
use super::transactions::{Epoch, ProducerId, Verdict};

/// A fetch hands out about this much at once.
const FETCH_BYTES: usize = 1 << 20;
const FETCH_BATCHES: usize = 2_048;

/// A compacted partition compacts itself when this many records came since the last time, and more than it keeps.
const DIRTY: u64 = 20_000;

/// See the module.
#[derive(Debug)]
pub(super) struct Partition {
    options: TopicOptions,
    log: Mutex<PartitionLog>,
}

#[derive(Debug, Default)]
pub(super) struct PartitionLog {
    /// First offset that the log still has.
    start: i64,
    /// The next offset: the log's end, and the high watermark.
    end: i64,
    /// By offset, without overlap.
    pub(super) batches: VecDeque<Batch>,
    /// Where the open transaction of each producer begins.
    open: BTreeMap<ProducerId, i64>,
    /// The highest epoch heard of each transactional producer.
    epochs: BTreeMap<ProducerId, Epoch>,
    /// Data records in `batches`.
    records: u64,
    /// Records since the last compaction, and what it kept.
    dirty: u64,
    clean: u64,
    /// The topic was deleted: readers and writers must look for it again.
    gone: bool,
}

/// Who writes.
#[derive(Clone, Copy, Debug)]
pub(super) enum Writer {
    Plain,
    Transactional(ProducerId, Epoch),
}

/// Why a partition does not take a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AppendError {
    TooLarge { size: usize, limit: usize },
    Keyless,
    OldEpoch,
    Gone,
}

/// What a reader gets.
#[derive(Debug)]
pub(super) struct Fetched {
    /// Visible batches, in order.
    pub batches: VecDeque<Batch>,
    /// Every offset below is in `batches` or will never be seen.
    pub reached: i64,
}

/// Why a reader gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FetchError {
    OutOfRange,
    Gone,
}

// === impl Partition ===

impl Partition {
    pub fn new(options: TopicOptions) -> Self {
        Self {
            options,
            log: Mutex::default(),
        }
    }

    /// Takes a batch at the log's end and returns the offset of its first record.
    pub fn append(&self, batch: RecordBatch, writer: Writer, clock: &ClusterClock) -> Result<i64, AppendError> {
        let limit = self.options.max_message_bytes;
        if batch.largest() > limit {
            return Err(AppendError::TooLarge {
                size: batch.largest(),
                limit,
            });
        }
        if self.options.compact && batch.has_keyless() {
            return Err(AppendError::Keyless);
        }
        let appended = self.options.append_time.then(|| millis(clock.now()));
        let mut log = lock(&self.log);
        let base = log.append(batch, writer, appended)?;
        if self.options.compact {
            log.compact_when_dirty(clock);
        }
        if let Some(limit) = self.options.retain_records {
            log.retain(limit);
        }
        Ok(base)
    }

    /// Ends the producer's transaction here. Takes one offset.
    pub fn write_marker(&self, producer: ProducerId, epoch: Epoch, verdict: Verdict, now: WallTime) {
        let mut log = lock(&self.log);
        log.settle(producer, verdict);
        log.epochs.insert(producer, epoch);
        let marker = Batch::marker(log.end, millis(now));
        log.end = marker.next;
        log.batches.push_back(marker);
    }

    /// Visible batches from `from` on, as far as the last stable offset.
    pub fn fetch(&self, from: i64) -> Result<Fetched, FetchError> {
        lock(&self.log).fetch(from)
    }

    pub fn start(&self) -> i64 {
        lock(&self.log).start
    }

    pub fn end(&self) -> i64 {
        lock(&self.log).end
    }

    pub fn last_stable(&self) -> i64 {
        lock(&self.log).last_stable()
    }

    pub fn records(&self) -> u64 {
        lock(&self.log).records
    }

    /// First offset of a record that is not older than `time`; the log's end where there is none.
    pub fn offset_at(&self, time: WallTime) -> i64 {
        lock(&self.log).offset_at(time)
    }

    /// Deletes everything below `offset`, at most up to the log's end. Returns the log's start.
    pub fn delete_before(&self, offset: i64) -> i64 {
        lock(&self.log).delete_before(offset)
    }

    /// Deletes whole batches from the front as long as `max_records` remain.
    pub fn retain(&self, max_records: u64) {
        lock(&self.log).retain(max_records);
    }

    pub fn compact(&self, clock: &ClusterClock) {
        lock(&self.log).compact(clock);
    }

    pub fn mark_gone(&self) {
        let mut log = lock(&self.log);
        log.gone = true;
        log.batches = VecDeque::new();
    }
}

// === impl PartitionLog ===

impl PartitionLog {
    fn append(&mut self, batch: RecordBatch, writer: Writer, appended: Option<WallTime>) -> Result<i64, AppendError> {
        if self.gone {
            return Err(AppendError::Gone);
        }
        let base = self.end;
        let state = match writer {
            Writer::Plain => State::Visible,
            Writer::Transactional(producer, epoch) => {
                let known = self.epochs.entry(producer).or_insert(epoch);
                if epoch < *known {
                    return Err(AppendError::OldEpoch);
                }
                *known = epoch;
                State::Open(producer)
            }
        };
        if batch.is_empty() {
            return Ok(base);
        }
        if let State::Open(producer) = state {
            self.open.entry(producer).or_insert(base);
        }
        let records = batch.len();
        self.end = base + records as i64;
        self.records += records as u64;
        self.dirty += records as u64;
        self.batches.push_back(batch.at(base, self.end, state, appended));
        Ok(base)
    }

    fn settle(&mut self, producer: ProducerId, verdict: Verdict) {
        let Some(first) = self.open.remove(&producer) else {
            return;
        };
        let from = self.index_of(first);
        for batch in self
            .batches
            .range_mut(from..)
            .filter(|batch| batch.state == State::Open(producer))
        {
            match verdict {
                Verdict::Commit => batch.state = State::Visible,
                Verdict::Abort => {
                    self.records -= u64::from(batch.records);
                    batch.hide();
                }
            }
        }
    }

    fn last_stable(&self) -> i64 {
        self.open.values().copied().min().unwrap_or(self.end).max(self.start)
    }

    /// The first batch that has an offset at or behind `offset`.
    fn index_of(&self, offset: i64) -> usize {
        self.batches.partition_point(|batch| batch.next <= offset)
    }

    fn fetch(&self, from: i64) -> Result<Fetched, FetchError> {
        if self.gone {
            return Err(FetchError::Gone);
        }
        if from < self.start || from > self.end {
            return Err(FetchError::OutOfRange);
        }
        let stable = self.last_stable();
        let mut fetched = Fetched {
            batches: VecDeque::new(),
            reached: from,
        };
        let mut bytes = 0;
        let is_open = |batch: &Batch| matches!(batch.state, State::Open(_));
        let behind = self.batches.range(self.index_of(from)..);
        for batch in behind.take_while(|batch| batch.base < stable && !is_open(batch)) {
            if bytes >= FETCH_BYTES || fetched.batches.len() >= FETCH_BATCHES {
                return Ok(fetched);
            }
            if batch.state == State::Visible {
                bytes += batch.bytes.len();
                fetched.batches.push_back(batch.clone());
            }
            fetched.reached = batch.next;
        }
        fetched.reached = fetched.reached.max(stable);
        Ok(fetched)
    }

    fn offset_at(&self, time: WallTime) -> i64 {
        let candidates = self
            .batches
            .iter()
            .filter(|batch| batch.records > 0 && batch.newest >= time);
        for batch in candidates {
            let found = batch.entries().find(|entry| {
                let stamp = batch.appended.unwrap_or(entry.stamp);
                stamp >= time && batch.offset_of(entry) >= self.start
            });
            if let Some(entry) = found {
                return batch.offset_of(&entry);
            }
        }
        self.end
    }

    fn delete_before(&mut self, offset: i64) -> i64 {
        self.start = offset.min(self.end).max(self.start);
        while let Some(batch) = self.batches.front().filter(|batch| batch.next <= self.start) {
            self.records -= u64::from(batch.records);
            self.batches.pop_front();
        }
        self.start
    }

    fn retain(&mut self, max_records: u64) {
        let mut start = self.start;
        let mut left = self.records;
        for batch in &self.batches {
            left -= u64::from(batch.records);
            if left < max_records || matches!(batch.state, State::Open(_)) {
                break;
            }
            start = batch.next;
        }
        self.delete_before(start);
    }

    fn compact_when_dirty(&mut self, clock: &ClusterClock) {
        if self.dirty > DIRTY.max(self.clean) {
            self.compact(clock);
        }
    }

    /// Keeps the newest record of each key in front of the last stable offset.
    fn compact(&mut self, clock: &ClusterClock) {
        let open = self
            .batches
            .iter()
            .position(|batch| matches!(batch.state, State::Open(_)));
        let behind = self.batches.split_off(open.unwrap_or(self.batches.len()));
        let before = std::mem::take(&mut self.batches);
        self.batches = compaction::compact(&before, self.start, millis(clock.now()));
        self.clean = self.batches.iter().map(|batch| u64::from(batch.records)).sum();
        self.batches.extend(behind);
        self.records = self.batches.iter().map(|batch| u64::from(batch.records)).sum();
        self.dirty = 0;
    }
}

/// Kafka's timestamps are milliseconds.
fn millis(time: WallTime) -> WallTime {
    WallTime(time.0.div_euclid(1_000).saturating_mul(1_000))
}
