//! Packs of batches through a whole gauge task.
//!
//! Rule: bytes that are no pack stop the task with a message; a pack is taken or holds the partition. What a seal leaves in
//! the changelog opens a task that has nothing new to say, and what it leaves in the outbox can be read.
//!
//! Edges: a definition's number below sixteen stands for a metric of the plan, since nobody guesses a hash.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;
use streamgauge::engine::codec::Pack;
use streamgauge::engine::task::{Input, Output, PartitionCounts, Record, Stamp};
use streamgauge::engine::time::WallTime;

use super::plans::{PLAN, TOPIC, gauge};

const NOW: WallTime = WallTime(1_700_000_000_000_000);

pub fn run(bytes: &[u8]) {
    let value = match Pack::read(bytes) {
        Ok(mut pack) => {
            for batch in &mut pack.batches {
                for metric in &mut batch.metrics {
                    if let Some(known) = PLAN.metrics.get(metric.definition as usize % 16) {
                        metric.definition = known.definition.0;
                    }
                }
            }
            pack.encode_to_vec()
        }
        Err(_) => bytes.to_vec(),
    };
    let mut task = gauge(None);
    let counts = PartitionCounts::from([(TOPIC.to_owned(), 1)]);
    task.accept(Input::Restored).expect("nothing to restore");
    task.accept(Input::Partitions(&counts)).expect("counts are taken");
    for (offset, seconds) in [(0, 0), (1, 2), (2, 100)] {
        let now = WallTime(NOW.0 + seconds * 1_000_000);
        task.accept(Input::Time(now)).expect("the time is taken");
        let record = Record {
            offset,
            key: None,
            value: Some(&value),
            stamp: Stamp::None,
            headers: &(),
        };
        if task.accept(Input::Record(record)).is_err() {
            return;
        }
        if let Some(output) = task.seal() {
            for request in &output.outbox {
                ExportMetricsServiceRequest::decode(request.as_slice()).expect("a request can be read");
            }
            if offset == 0 {
                restore(&output, now);
            }
        }
    }
    task.view();
}

/// The first seal holds the whole state.
fn restore(output: &Output, now: WallTime) {
    let mut task = gauge(Some(output.next));
    for (key, value) in &output.changelog {
        let input = Input::Restore {
            key,
            value: value.as_deref(),
        };
        task.accept(input).expect("a task reads its own changelog");
    }
    task.accept(Input::Restored).expect("a task believes its own changelog");
    task.accept(Input::Time(now)).expect("the time is taken");
    assert_eq!(task.seal(), None, "a restored task has nothing new to say");
}
