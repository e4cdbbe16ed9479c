//! The stages as pure state machines: records and times come in as arguments, outputs go out as values.
//!
//! Rule: nothing in this folder does I/O, reads a clock, awaits, or draws a random number. `.ci/purity` holds it.

pub mod alert;
pub mod codec;
pub mod correlate;
pub mod gauge;
pub mod index;
pub mod keyed;
pub mod lag;
pub mod names;
pub mod pace;
pub mod plan;
pub mod series;
pub mod sketch;
mod sources;
pub mod tap;
pub mod task;
pub mod time;
pub mod window;
