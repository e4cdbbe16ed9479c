//! The tap stage: reads just what the pipelines need out of each record and combines records into partials.

pub mod decimal;
pub mod expr;
pub mod instant;
pub mod ledger;
pub mod projection;

mod clock;
pub(in crate::engine) mod combine;
mod indexer;
mod judge;
mod keyer;
pub mod task;

pub(in crate::engine) use task::open_ledger;
pub use task::{TapStage, TapTask};
