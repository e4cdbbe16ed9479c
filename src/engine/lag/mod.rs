//! Lag: what groups have committed, read from the broker's own topic `__consumer_offsets`.
//!
//! Rule: a record is read by the layout that the broker wrote it with, by the version in its first two bytes. What has an
//! unknown version is [`record::Unknown`], what breaks its layout is [`wire::Malformed`]: neither is guessed at.
//!
//! Edges:
//! - offset commits, nearly all of the topic, are read by hand and borrow from the record: no allocation;
//! - all other records are read by the tables of [`schema`], which a test holds against the broker's own description;
//! - commits of transactions are ordinary records inside transactional batches: only a reader with read_committed knows
//!   which of them ever counted.

mod changelog;
pub mod commits;
mod consumed;
pub mod coordinator;
pub mod ends;
mod fresh;
pub mod groups;
pub mod index;
pub mod lags;
pub mod logs;
mod metrics;
mod newest;
mod points;
pub mod polled;
pub mod protocol;
pub mod rate;
pub mod record;
mod restore;
pub mod schema;
mod show;
mod shown;
mod stage;
pub mod status;
mod table;
pub mod tree;
pub mod view;
pub mod wire;

pub use metrics::{definition_of, metric_names};
pub use stage::{LagOptions, LagStage, OFFSETS_TOPIC, TAIL, silent};

#[cfg(test)]
mod tests;
