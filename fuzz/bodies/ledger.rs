//! The ledger in the metadata of a commit.
//!
//! Rule: any text is judged; what is a ledger comes back as it was. A ledger made of the bytes does too, in under 200
//! bytes. A tap task that resumes with it opens or says why, and its first seal balances.

use std::sync::Arc;

use streamgauge::engine::tap::TapStage;
use streamgauge::engine::tap::ledger::Ledger;
use streamgauge::engine::task::{Input, Open, OpenTask, TopicId};
use streamgauge::engine::time::{EventTime, Span, WallTime};

use super::plans::{PARTITIONS, PLAN, TOPIC};

pub fn run(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        if let Ok(ledger) = Ledger::decode(text) {
            assert_eq!(Ledger::decode(&ledger.encode()), Ok(ledger));
        }
        resume(text, 0);
    }
    let ledger = of_bytes(bytes);
    let text = ledger.encode();
    assert!(text.is_ascii() && text.len() < 200, "{text}");
    assert_eq!(Ledger::decode(&text).as_ref(), Ok(&ledger));
    resume(&text, ledger.next());
}

fn resume(metadata: &str, offset: i64) {
    let stage = TapStage::new(Arc::clone(&PLAN), PARTITIONS);
    let at = Open::Resumed {
        offset,
        metadata,
        topic_id: TopicId::default(),
    };
    let Ok(mut task) = stage.open(TOPIC, 0, at) else { return };
    for input in [
        Input::Time(WallTime(1_700_000_000_000_000)),
        Input::LogEnd {
            end: offset,
            sampled_at: WallTime(1_700_000_000_000_000),
        },
        Input::Time(WallTime(1_700_000_100_000_000)),
    ] {
        task.accept(input).expect("a tap takes the time");
    }
    if let Some(output) = task.seal() {
        let ledger = Ledger::decode(&output.metadata).expect("a tap commits its ledger");
        assert_eq!(ledger.balance(output.next), 0);
    }
}

/// Eight bytes a number, as long as there are any.
fn of_bytes(bytes: &[u8]) -> Ledger {
    let mut numbers = bytes.chunks(8).map(|chunk| {
        let mut number = [0; 8];
        number[..chunk.len()].copy_from_slice(chunk);
        u64::from_le_bytes(number)
    });
    let mut next = || numbers.next().unwrap_or(0);
    let id = (u128::from(next()) << 64) | u128::from(next());
    let bits = next();
    Ledger {
        epoch: bits as u32,
        partitions: (bits >> 32) as u32,
        start: next() as i64,
        topic_id: id.to_be_bytes(),
        started: WallTime(next() as i64),
        max_time: (bits & 1 == 1).then_some(EventTime(next() as i64)),
        delay: Span::micros(next() as i64),
        // As many offsets as a log has.
        counts: std::array::from_fn(|_| next() >> 1),
        stated: next(),
    }
}
