//! The records of `__consumer_offsets`, held against what Kafka's own code writes and against an encoder.

mod encode;
mod golden;
mod hostile;
mod round_trip;

/// Bytes from hex.
fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(digit).collect()
}
