//! The cluster's only source of time.
//!
//! Rule: real time for the demo, a cell that somebody moves for everything that must be repeatable. A call on a log whose
//! cluster has a manual clock never blocks, since nobody would move the clock meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::engine::time::WallTime;
use crate::runtime::clock::wall_time;

/// Where a cluster takes the time from.
#[derive(Clone, Debug)]
pub enum ClusterClock {
    Real,
    Manual(ManualClock),
}

/// A time that moves when it is told to. Clones share it.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicI64>);

// === impl ClusterClock ===

impl ClusterClock {
    /// A manual clock that starts at `now`.
    pub fn manual(now: WallTime) -> Self {
        Self::Manual(ManualClock::new(now))
    }

    pub fn now(&self) -> WallTime {
        match self {
            Self::Real => wall_time(),
            Self::Manual(clock) => clock.now(),
        }
    }

    pub(super) fn is_real(&self) -> bool {
        matches!(self, Self::Real)
    }
}

// === impl ManualClock ===

impl ManualClock {
    pub fn new(now: WallTime) -> Self {
        Self(Arc::new(AtomicI64::new(now.0)))
    }

    pub fn now(&self) -> WallTime {
        WallTime(self.0.load(Ordering::SeqCst))
    }

    /// Moves the clock to `now`; it never goes back.
    pub fn advance_to(&self, now: WallTime) {
        self.0.fetch_max(now.0, Ordering::SeqCst);
    }
}
