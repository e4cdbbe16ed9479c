//! streamgauge: exactly-once metrics, spans and alerts from Kafka topics.
//!
//! Rule: imports point down this list, never up; `engine` is pure (no I/O, clock, async or randomness), so whatever it
//! computes can be replayed and simulated.

pub mod cli;
pub mod client;
pub mod export;
pub mod http;
pub mod kafka;
pub mod logs;
pub mod memory;
pub mod pipeline;
pub mod runtime;

pub mod engine;
