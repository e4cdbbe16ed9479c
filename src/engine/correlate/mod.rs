//! The correlate stage: what needs two records to know.
//!
//! Rule: a task owns the keys that hash to its partition. It keeps the records of a join until the watermarks of all of the
//! join's sources have passed them, and then takes them in the order of event time, one after another, through a small
//! state machine for each key. So the order of arrival cannot matter: every interleaving within `out_of_order` gives the
//! same totals. Everything that is decided is dated at or before the watermark, and nothing undecided is; so the watermark
//! that the task states for a join is just the lowest of its sources', and open requests do not hold it.
//!
//! Edges:
//! - a record at or before the watermark up to which its join was decided is late: counted, and it decides nothing. One
//!   that asks for a value is still counted in its metric, with no value found;
//! - records of one event time are taken side by side, requests before responses and values before those who ask; records
//!   equal in that too by what they carry: no tie is broken by arrival;
//! - state is bounded by a cap on entries. Whoever feeds the task sees how full it is in the commit's metadata
//!   ([`Pressure`]): from seven eighths of the cap on, the sources that are ahead of the others wait. What was under way by
//!   then is still taken, since the watermarks that make room come behind it: up to twice the cap, and [`OVERDRAFT`] more.
//!   There the task refuses its input and says so. Nothing is ever evicted.

mod carried;
mod changelog;
mod join;
mod journey;
mod latest;
mod pending;
mod pressure;
mod respond;
mod shown;
mod stage;
mod table;
mod trail;

pub use pressure::{JoinPressure, Pressure};
pub use stage::{CorrelateOptions, CorrelateStage, OVERDRAFT, RETIRED_TOTAL};

#[cfg(test)]
mod tests;
