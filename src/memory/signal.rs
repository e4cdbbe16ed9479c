//! Wakes pollers that wait for something to happen.
//!
//! Rule: a waiter enlists before it looks and waits after, so what happens between the two is never missed. Nobody is
//! woken, and nothing is locked, while nobody waits: producing stays cheap.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

use super::lock;

#[derive(Debug, Default)]
pub(super) struct Signal {
    /// Counts what happened while somebody waited.
    happened: Mutex<u64>,
    changed: Condvar,
    waiting: AtomicUsize,
}

/// An enlisted waiter.
pub(super) struct Waiter<'s> {
    signal: &'s Signal,
    seen: u64,
}

// === impl Signal ===

impl Signal {
    pub fn enlist(&self) -> Waiter<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let seen = *lock(&self.happened);
        Waiter { signal: self, seen }
    }

    pub fn raise(&self) {
        if self.waiting.load(Ordering::SeqCst) > 0 {
            *lock(&self.happened) += 1;
            self.changed.notify_all();
        }
    }
}

// === impl Waiter ===

impl Waiter<'_> {
    /// Waits until something happened since enlisting; `false` when the deadline came first.
    pub fn wait_until(self, deadline: Instant) -> bool {
        let mut happened = lock(&self.signal.happened);
        while *happened == self.seen {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.signal.changed.wait_timeout(happened, left);
            happened = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.signal.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}
