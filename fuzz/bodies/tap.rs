//! Records through a whole tap task.
//!
//! Rule: whatever a record's value is, it ends as one outcome and never stops the task; the ledger balances, and the
//! batches that leave can be read. The bytes are values with a zero byte between them.

use std::sync::Arc;

use prost::Message;
use streamgauge::engine::codec::{Batch, Pack};
use streamgauge::engine::tap::TapStage;
use streamgauge::engine::tap::ledger::Ledger;
use streamgauge::engine::task::{Input, Open, OpenTask, Record, Stamp, TopicId};
use streamgauge::engine::time::WallTime;

use super::plans::{PARTITIONS, PLAN, TOPIC};

const NOW: WallTime = WallTime(1_700_000_000_000_000);

pub fn run(bytes: &[u8]) {
    let stage = TapStage::new(Arc::clone(&PLAN), PARTITIONS);
    let at = Open::Fresh {
        start: 0,
        topic_id: TopicId::default(),
    };
    let mut task = stage.open(TOPIC, 0, at).expect("a fresh task opens");
    task.accept(Input::Time(NOW)).expect("a tap takes the time");
    let values: Vec<&[u8]> = bytes.split(|byte| *byte == 0).take(8).collect();
    let mut offset = 0;
    for value in values.iter().chain(&values) {
        let record = Record {
            offset,
            key: None,
            value: Some(value),
            stamp: Stamp::Created(NOW),
            headers: &(),
        };
        task.accept(Input::Record(record)).expect("no record stops a tap");
        offset += 1;
    }
    let output = task.seal().expect("the first seal writes");
    assert_eq!(output.next, offset);
    let ledger = Ledger::decode(&output.metadata).expect("a tap commits its ledger");
    assert_eq!(ledger.balance(offset), 0);
    for shuffled in &output.shuffled {
        let batch = Batch::decode(shuffled.batch.as_slice()).expect("a batch can be read");
        let pack = Pack::read(&Pack::of_encoded([shuffled.batch.as_slice()])).expect("a pack can be read");
        assert_eq!(pack.batches, [batch]);
    }
}
