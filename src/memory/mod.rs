//! A Kafka in memory: what `demo`, `streamgauge test` and the simulation run the production state machine on.
//!
//! Rule: where [`crate::runtime::log::Log`] leaves room, this log answers as Kafka does, and where Kafka may do either of
//! two things, it does the one that is harder for the caller. So an offset is also taken by a commit marker, a reader
//! stops before an open transaction, a group's generation rises with every change of its members, and a zombie is told
//! late.
//!
//! Edges:
//! - there is one replica: the high watermark is the log's end;
//! - nothing happens by itself as time passes: sessions and transactions expire, and delayed markers are written, only in
//!   [`Cluster::tick`];
//! - a generation counts at once for the group, but a member learns it at its next poll; until then its offsets are refused;
//! - record timestamps have Kafka's precision, milliseconds.

mod assignment;
mod batch;
mod client;
mod clock;
mod cluster;
mod compaction;
mod connect;
mod consumer;
mod coordinator;
mod faults;
mod group;
mod partition;
mod partitioner;
mod producer;
mod reader;
mod signal;
mod survey;
mod topics;
mod transactions;
mod views;

pub use batch::RecordBatch;
pub use client::{ClientOptions, MemoryLog};
pub use clock::{ClusterClock, ManualClock};
pub use cluster::{Cluster, ClusterError};
pub use coordinator::MarkerDelay;
pub use faults::{CallPoint, Caller, Effect, Fault, Faults};
pub use group::MemberId;
pub use partitioner::partition_of;
pub use topics::TopicOptions;
pub use views::{GroupView, MemberView, OwnedRecord};

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks; a thread that panicked while it held the lock is reported by its own panic, not by a second one here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
