//! The one exactly-once state machine that runs any task, over a small interface to a log.
//!
//! Rule: the runtime knows no stage and no Kafka. It decides when to seal, send again, close, restore and give up; see
//! [`worker`] for the order of things.

mod beside;
pub mod clock;
mod committing;
pub mod log;
pub mod newest;
mod opening;
mod owned;
mod sealed;
pub mod stats;
mod surveying;
pub mod traced;
mod waiting;
pub mod worker;

pub use beside::{Beside, Guard};
pub use waiting::Heed;
pub use worker::{Stop, Worker, WorkerOptions};
