//! The gauge's changelog, read as anything.
//!
//! Rule: a restore ends with a task or with a message that says what is wrong. The bytes are records: one byte with the
//! key's length, the key, two bytes (little endian) with the value's length, the value; a length of 0xffff is a tombstone.

use streamgauge::engine::task::{Input, PartitionCounts};
use streamgauge::engine::time::WallTime;

use super::plans::{PLAN, TOPIC, gauge};

pub fn run(mut bytes: &[u8]) {
    // The offset is part of the partition's record: small ones are tried.
    let Some((offset, rest)) = bytes.split_first() else {
        return;
    };
    bytes = rest;
    let mut task = gauge(Some(i64::from(*offset)));
    while let Some((key, value)) = record(&mut bytes) {
        let key = with_definition(key);
        if task.accept(Input::Restore { key: &key, value }).is_err() {
            return;
        }
    }
    if task.accept(Input::Restored).is_err() {
        return;
    }
    let counts = PartitionCounts::from([(TOPIC.to_owned(), 1)]);
    task.accept(Input::Partitions(&counts)).expect("counts are taken");
    for seconds in [0, 100] {
        let now = WallTime(1_700_000_000_000_000 + seconds * 1_000_000);
        task.accept(Input::Time(now)).expect("the time is taken");
        task.accept(Input::Position {
            next: i64::from(*offset) + 1 + seconds,
        })
        .expect("a position is taken");
        task.seal();
        task.view();
    }
}

/// `s` and a byte below sixteen name a series of a metric of the plan, since nobody guesses a hash.
fn with_definition(key: &[u8]) -> Vec<u8> {
    match key {
        [b's', number, rest @ ..] if usize::from(*number) < PLAN.metrics.len() => {
            let hash = PLAN.metrics[usize::from(*number)].definition.0.to_be_bytes();
            [&b"s"[..], &hash, rest].concat()
        }
        key => key.to_vec(),
    }
}

fn record<'a>(bytes: &mut &'a [u8]) -> Option<(&'a [u8], Option<&'a [u8]>)> {
    let (length, rest) = bytes.split_first()?;
    let (key, rest) = rest.split_at_checked(usize::from(*length))?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let length = u16::from_le_bytes(*length);
    if length == u16::MAX {
        *bytes = rest;
        return Some((key, None));
    }
    let (value, rest) = rest.split_at(usize::from(length).min(rest.len()));
    *bytes = rest;
    Some((key, Some(value)))
}
