//! The records of `__consumer_offsets`, held against what Kafka's own code writes and against an encoder; lag, rates and
//! status against models of what happened.

mod any_commits;
mod burrow;
mod commits;
mod encode;
mod ends;
mod golden;
mod groups;
mod hostile;
mod index;
mod lags;
mod polled;
mod rate;
mod round_trip;
mod stage;
mod status;

use crate::engine::time::WallTime;

/// Bytes from hex.
fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(digit).collect()
}

/// Seconds since some time.
fn second(seconds: i64) -> WallTime {
    WallTime(seconds * 1_000_000)
}
