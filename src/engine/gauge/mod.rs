//! The gauge stage: closes windows, owns the one true cumulative value of each series, freezes OTLP requests.
//!
//! Rule: a window closes when the lowest watermark of the metric's own sources passes its end. What comes later is late:
//! counted, and added to the next cumulative point. The point times of one series strictly rise, its value never falls
//! and its start time never changes, because all three are state.

mod changelog;
mod definitions;
mod levels;
mod otlp;
mod request;
mod samples;
mod series;
mod stage;

pub(in crate::engine) use changelog::{read_counter, write_counter};
pub use definitions::Definition;
pub(crate) use otlp::{Attributes, Data, Shape};
pub(crate) use request::{Freezer, MAX_REQUEST_BYTES, Named, resource, scope, text};
pub(in crate::engine) use samples::Counter;
pub(crate) use series::{HEARTBEAT, Point, STEP};
pub(crate) use stage::{
    BUILT_IN_ALERTS, BUILT_IN_OVERFLOW, BUILT_IN_RECORDS, BUILT_IN_SERIES, BUILT_IN_STALLED, BUILT_IN_UNKNOWN, built_in,
};
pub use stage::{GaugeOptions, GaugeStage};

#[cfg(test)]
mod tests;
