//! What others may know of the export stage while it runs.
//!
//! Rule: the loop writes, anybody reads; counters only rise. Points are counted when their request is done with, which is
//! before its offset is committed: after a crash some are counted again by the next process.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

use hdrhistogram::Histogram;

use super::bisect::Tally;
use super::verdict::Verdict;
use crate::engine::time::WallTime;

/// The longest latency that is told apart, in milliseconds: an hour.
const LONGEST_LATENCY: u64 = 3_600_000;

/// Shared between the loop and whoever shows its state.
#[derive(Debug)]
pub struct ExportStats {
    accepted: AtomicU64,
    partial_success: AtomicU64,
    already_there: AtomicU64,
    expired: AtomicU64,
    too_large: AtomicU64,
    retried: AtomicU64,
    refused: AtomicU64,
    requests: AtomicU64,
    commits: AtomicU64,
    aborts: AtomicU64,
    fatal: AtomicU64,
    dead_letters: AtomicU64,
    gap_records: AtomicU64,
    lag_records: AtomicI64,
    newest_point: AtomicU64,
    last_success: AtomicI64,
    /// Since when something lies in the outbox; 0 while nothing does.
    waiting_since: AtomicI64,
    slow: Mutex<Slow>,
}

/// What does not fit into an atomic.
#[derive(Debug)]
struct Slow {
    points: Tally,
    last_error: Option<ExportError>,
    latency: Histogram<u64>,
    blocked: BTreeMap<u32, Blocked>,
}

/// A partition that waits for its receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// When it was put off first.
    pub since: WallTime,
    /// What the receiver said last.
    pub message: String,
}

/// The last thing that went wrong with the collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportError {
    pub at: WallTime,
    pub message: String,
    /// Where it was sent to and which setting says so.
    pub target: String,
}

/// A copy of all of it at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExportSnapshot {
    /// Verdicts on what was sent, probes of a bisection included.
    pub accepted: u64,
    pub partial_success: u64,
    pub already_there: u64,
    pub expired: u64,
    pub too_large: u64,
    pub retried: u64,
    pub refused: u64,
    /// Requests (records of the outbox) that are done with.
    pub requests: u64,
    /// Where their points ended.
    pub points: Tally,
    /// Transactions of this loop.
    pub commits: u64,
    pub aborts: u64,
    /// Producers that had to be replaced.
    pub fatal: u64,
    /// Pieces in committed transactions that the collector refused for good.
    pub dead_letters: u64,
    /// Records that the outbox no longer had when it was their turn.
    pub gap_records: u64,
    /// Records of the outbox between what is done and its end, over the partitions of this instance.
    pub lag_records: i64,
    /// Time of the newest point that a receiver took, nanoseconds since the epoch; 0 for none.
    pub newest_point: u64,
    /// When a receiver last took something.
    pub last_success: Option<WallTime>,
    /// Since when something lies in the outbox, if there is something.
    pub waiting_since: Option<WallTime>,
    pub last_error: Option<ExportError>,
    pub blocked: BTreeMap<u32, Blocked>,
    /// From the newest point of a request until the collector took it, milliseconds; `None` before the first.
    pub latency: Option<Histogram<u64>>,
}

// === impl ExportStats ===

impl Default for ExportStats {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        let latency = Histogram::new_with_bounds(1, LONGEST_LATENCY, 2).expect("constant bounds");
        ExportStats {
            accepted: zero(),
            partial_success: zero(),
            already_there: zero(),
            expired: zero(),
            too_large: zero(),
            retried: zero(),
            refused: zero(),
            requests: zero(),
            commits: zero(),
            aborts: zero(),
            fatal: zero(),
            dead_letters: zero(),
            gap_records: zero(),
            lag_records: AtomicI64::new(0),
            newest_point: zero(),
            last_success: AtomicI64::new(0),
            waiting_since: AtomicI64::new(0),
            slow: Mutex::new(Slow {
                points: Tally::default(),
                last_error: None,
                latency,
                blocked: BTreeMap::new(),
            }),
        }
    }
}

impl ExportStats {
    /// One answer of the receiver to one thing sent for this partition.
    pub(super) fn answered(&self, partition: u32, verdict: &Verdict, target: &str, now: WallTime) {
        let counter = match verdict {
            Verdict::Accepted => &self.accepted,
            Verdict::PartialSuccess { .. } => &self.partial_success,
            Verdict::AlreadyThere { .. } => &self.already_there,
            Verdict::Expired { .. } => &self.expired,
            Verdict::TooLarge { .. } => &self.too_large,
            Verdict::Retry { .. } => &self.retried,
            Verdict::Refused { .. } => &self.refused,
        };
        add(counter, 1);
        let taken = matches!(verdict, Verdict::Accepted | Verdict::PartialSuccess { .. });
        if taken {
            self.last_success.store(now.0, Ordering::Relaxed);
        }
        let mut slow = self.slow();
        match verdict {
            Verdict::Retry { message, .. } => {
                let blocked = slow.blocked.entry(partition).or_insert_with(|| Blocked {
                    since: now,
                    message: String::new(),
                });
                blocked.message.clone_from(message);
            }
            _ => drop(slow.blocked.remove(&partition)),
        }
        if !taken {
            let message = verdict.message().to_owned();
            slow.last_error = Some(ExportError {
                at: now,
                message,
                target: target.to_owned(),
            });
        }
    }

    /// One request is done with. `newest` is the time of its newest point in nanoseconds, 0 for none.
    pub(super) fn done(&self, tally: Tally, newest: u64, now: WallTime) {
        add(&self.requests, 1);
        let mut slow = self.slow();
        let points = &mut slow.points;
        points.accepted += tally.accepted;
        points.rejected += tally.rejected;
        points.already_there += tally.already_there;
        points.expired += tally.expired;
        points.quarantined += tally.quarantined;
        if newest > 0 && tally.accepted > 0 {
            self.newest_point.fetch_max(newest, Ordering::Relaxed);
            let millis = (now.as_event().unix_nanos().saturating_sub(newest) / 1_000_000).clamp(1, LONGEST_LATENCY);
            slow.latency.saturating_record(millis);
        }
    }

    pub(super) fn committed(&self, dead_letters: u64) {
        add(&self.commits, 1);
        add(&self.dead_letters, dead_letters);
    }

    pub(super) fn renewed(&self) {
        add(&self.fatal, 1);
    }

    pub(super) fn aborted(&self) {
        add(&self.aborts, 1);
    }

    pub(super) fn gap(&self, records: u64) {
        add(&self.gap_records, records);
    }

    pub(super) fn lag(&self, records: i64, now: WallTime) {
        self.lag_records.store(records, Ordering::Relaxed);
        let since = match (records > 0, self.waiting_since.load(Ordering::Relaxed)) {
            (true, 0) => now.0,
            (true, since) => since,
            (false, _) => 0,
        };
        self.waiting_since.store(since, Ordering::Relaxed);
    }

    /// The partition is another instance's business now.
    pub(super) fn unassigned(&self, partition: u32) {
        self.slow().blocked.remove(&partition);
    }

    pub fn snapshot(&self) -> ExportSnapshot {
        let slow = self.slow();
        ExportSnapshot {
            accepted: get(&self.accepted),
            partial_success: get(&self.partial_success),
            already_there: get(&self.already_there),
            expired: get(&self.expired),
            too_large: get(&self.too_large),
            retried: get(&self.retried),
            refused: get(&self.refused),
            requests: get(&self.requests),
            points: slow.points,
            commits: get(&self.commits),
            aborts: get(&self.aborts),
            fatal: get(&self.fatal),
            dead_letters: get(&self.dead_letters),
            gap_records: get(&self.gap_records),
            lag_records: self.lag_records.load(Ordering::Relaxed),
            newest_point: get(&self.newest_point),
            last_success: moment(&self.last_success),
            waiting_since: moment(&self.waiting_since),
            last_error: slow.last_error.clone(),
            blocked: slow.blocked.clone(),
            latency: (!slow.latency.is_empty()).then(|| slow.latency.clone()),
        }
    }

    fn slow(&self) -> MutexGuard<'_, Slow> {
        self.slow.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// 0 stands for none.
fn moment(at: &AtomicI64) -> Option<WallTime> {
    Some(at.load(Ordering::Relaxed)).filter(|at| *at != 0).map(WallTime)
}

fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}
