//! What the workers of one process did, for status, self-metrics and the demo.
//!
//! Rule: numbers of this process only; they start at zero with it. What must survive a crash is state, and lives in tasks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

use super::log::TopicPartition;
use super::newest::Newest;
use crate::engine::task::{TaskView, Wait};
use crate::engine::time::Watermark;

/// The longest duration that is told apart, in microseconds: ten minutes.
const LONGEST: u64 = 600_000_000;

/// Shared by all workers of a process.
#[derive(Clone, Default)]
pub struct Stats {
    numbers: Arc<Mutex<Numbers>>,
    /// The values themselves.
    pub newest: Newest,
}

/// See [`Stats`].
#[derive(Default)]
pub struct Numbers {
    /// By worker name.
    pub workers: BTreeMap<String, WorkerNumbers>,
    /// How far the partitions are that were read here, for those who wait for them. A watermark never goes back, so one
    /// that was given back since says too little at worst.
    pub marks: BTreeMap<TopicPartition, Watermark>,
}

/// Numbers of one worker.
pub struct WorkerNumbers {
    pub records: u64,
    pub committed: u64,
    pub aborted: u64,
    pub fatal: u64,
    pub restores: u64,
    pub rebalances: u64,
    /// Dead letters in transactions that were committed.
    pub dead_letters: u64,
    /// Microseconds from the begin to the end of a transaction.
    pub commit_micros: Histogram<u64>,
    /// Microseconds from the opening of a changelog to its end.
    pub restore_micros: Histogram<u64>,
    /// Partitions that this worker owns: phase in one word, and what the task says.
    pub tasks: BTreeMap<TopicPartition, (&'static str, TaskView)>,
    /// Partitions that wait for others, by topic and reason; every topic that may wait is there.
    pub waiting: BTreeMap<(String, Wait), u64>,
    /// In the group, everything assigned is restored.
    pub ready: bool,
    /// When the last transaction was committed, or found to be unnecessary.
    pub last_commit: Option<std::time::Instant>,
}

// === impl Stats ===

impl Stats {
    pub fn lock(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn of<T>(&self, worker: &str, change: impl FnOnce(&mut WorkerNumbers) -> T) -> T {
        let mut numbers = self.lock();
        if !numbers.workers.contains_key(worker) {
            numbers.workers.insert(worker.to_owned(), WorkerNumbers::default());
        }
        change(numbers.workers.entry(worker.to_owned()).or_default())
    }

    /// A worker that is gone: its tasks go with it, its numbers stay.
    pub fn gone(&self, worker: &str) {
        self.newest.leave(worker);
        // An exporter has its numbers elsewhere.
        if let Some(numbers) = self.lock().workers.get_mut(worker) {
            numbers.tasks.clear();
            numbers.waiting.clear();
            numbers.ready = false;
        }
    }
}

// === impl WorkerNumbers ===

impl Default for WorkerNumbers {
    fn default() -> Self {
        let histogram = || Histogram::new_with_bounds(1, LONGEST, 3).expect("constant bounds");
        Self {
            records: 0,
            committed: 0,
            aborted: 0,
            fatal: 0,
            restores: 0,
            rebalances: 0,
            dead_letters: 0,
            commit_micros: histogram(),
            restore_micros: histogram(),
            tasks: BTreeMap::new(),
            waiting: BTreeMap::new(),
            ready: false,
            last_commit: None,
        }
    }
}

impl WorkerNumbers {
    /// Partitions on their way to running, with their phases.
    pub fn underway(&self) -> impl Iterator<Item = (&TopicPartition, &'static str)> {
        let phases = self.tasks.iter().map(|(partition, (phase, _))| (partition, *phase));
        phases.filter(|(_, phase)| *phase != "running")
    }

    pub fn commit_took(&mut self, duration: Duration) {
        self.commit_micros
            .saturating_record(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }
}
