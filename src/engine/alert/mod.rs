//! The alert stage: rules over samples of the true series.
//!
//! Rule: gauge and lag tasks send the points that a rule looks at, in the transaction that holds the points. One task owns
//! a rule; what it decides, what it knows and what it has told leave in one transaction, so that neither a crash nor a
//! rebalance loses a timer or decides twice.

mod changelog;
mod group;
pub mod notification;
mod rule;
mod sampler;
mod series;
mod stage;

pub use sampler::Sampler;
pub use stage::{AlertOptions, AlertStage};

/// Alerts that one task shows.
pub const SHOWN: usize = 100;

#[cfg(test)]
mod tests;
