//! What a joined record costs beside a counted one: CPU of tap and correlate task, JSON to partials, without the clients.
//!
//! Rounds of one second: requests, and the responses to those of the round before; all watermarks follow; every task seals
//! once a round. The two plans take turns on the same records, so that the machine's drift hits both.

use std::sync::Arc;
use std::time::{Duration, Instant};

use streamgauge::engine::codec::Pack;
use streamgauge::engine::correlate::{CorrelateOptions, CorrelateStage};
use streamgauge::engine::plan::Plan;
use streamgauge::engine::tap::TapStage;
use streamgauge::engine::task::{Input, Open, OpenTask, Output, PartitionCounts, Record, Stage, Stamp, Task};
use streamgauge::engine::time::WallTime;
use streamgauge::pipeline;

const SOURCES: &str = "
pipeline: bench
sources:
  requests: { topic: requests, time: /timestamp }
  responses: { topic: responses, time: /timestamp }
metrics:
";
const COUNTED: &str = "
  requests_total: { count: requests, labels: { channel: /data/normalized_content/channel } }
  responses_total: { count: responses, labels: { channel: /data/response/channel } }
";
const JOINED: &str = "
  response_time_seconds:
    respond: { from: requests, to: responses, on: /data/correlation_id }
    labels: { channel: { from: /data/normalized_content/channel } }
";
const ROUNDS: u64 = 200;
const PAIRS: u64 = 1_000;
const PARTITIONS: u32 = 6;
/// Seconds since the epoch: 2026-11-22T14:00:00Z.
const T0: u64 = 1_795_356_000;

fn plan(metrics: &str) -> Arc<Plan> {
    let text = format!("{SOURCES}{metrics}");
    Arc::new(pipeline::parse(&[("bench.yaml".to_owned(), text)], &|_| None).expect("the pipeline is right"))
}

fn fresh(stage: &dyn OpenTask, topic: &str, partition: u32) -> Box<dyn Task> {
    let at = Open::Fresh {
        start: 0,
        topic_id: [1; 16],
    };
    let mut task = stage.open(topic, partition, at).expect("opens");
    let counts = PartitionCounts::from([("requests".to_owned(), 1), ("responses".to_owned(), 1)]);
    for input in [Input::Restored, Input::Time(WallTime(0)), Input::Partitions(&counts)] {
        task.accept(input).expect("taken");
    }
    task
}

/// 479 bytes each, as services write them.
fn records(round: u64, side: &str) -> Vec<String> {
    let channel = |pair: u64| ["email", "whatsapp", "web_form"][(pair % 3) as usize];
    (0..PAIRS)
        .map(|pair| {
            let id = format!("{:08x}-8a5c-4d2e-9a47-{pair:012x}", round.wrapping_mul(2_654_435_761) & 0xffff_ffff);
            let at = format!("{}.{:06}", T0 + round + u64::from(side == "response"), pair * 1_000);
            let channel = channel(pair);
            let body = match side {
                "request" => format!(
                    "\"normalized_content\": {{\"customer_id\": \"c-{pair}\", \"message_type\": \"inquiry\", \"priority\": \
                     \"low\", \"channel\": \"{channel}\"}}"
                ),
                _ => format!("\"response\": {{\"channel\": \"{channel}\", \"agent\": \"a-{}\"}}", pair % 7),
            };
            let mut text = format!(
                "{{\"event_id\": \"{id}\", \"event_type\": \"{side}\", \"producer_id\": \"writer-1\", \"timestamp\": {at}, \
                 \"data\": {{\"correlation_id\": \"{id}\", {body}, \"content\": \""
            );
            while text.len() < 475 {
                text.push('x');
            }
            text.push_str("\"}}");
            text
        })
        .collect()
}

/// One plan with its tasks.
struct Way {
    taps: [Box<dyn Task>; 2],
    correlate: Vec<Box<dyn Task>>,
    offsets: [i64; 2],
    tapping: Duration,
    correlating: Duration,
}

impl Way {
    fn new(metrics: &str) -> Self {
        let plan = plan(metrics);
        let tap = TapStage::new(Arc::clone(&plan), PARTITIONS);
        let options = CorrelateOptions {
            application: "bench".to_owned(),
            partitions: PARTITIONS,
            max_entries: 10_000_000,
        };
        let correlate = CorrelateStage::new(Arc::clone(&plan), options);
        let tasks = if plan.joins.is_empty() { 0 } else { PARTITIONS };
        Self {
            taps: ["requests", "responses"].map(|topic| fresh(&tap, topic, 0)),
            correlate: (0..tasks).map(|partition| fresh(&correlate, "", partition)).collect(),
            offsets: [0; 2],
            tapping: Duration::ZERO,
            correlating: Duration::ZERO,
        }
    }

    fn round(&mut self, round: u64, records: &[Vec<String>; 2]) {
        let began = Instant::now();
        let mut sealed: Vec<Output> = Vec::new();
        for ((tap, offset), records) in self.taps.iter_mut().zip(&mut self.offsets).zip(records) {
            tap.accept(Input::Time(WallTime((T0 + round) as i64 * 1_000_000 + 2_000_000)))
                .expect("taken");
            for text in records {
                give(tap.as_mut(), *offset, text.as_bytes());
                *offset += 1;
            }
            sealed.extend(tap.seal());
        }
        self.tapping += began.elapsed();
        let packs = (0..self.correlate.len() as u32).map(|partition| {
            let shuffled = sealed.iter().flat_map(|output| &output.shuffled);
            let mine = shuffled.filter(|shuffled| (shuffled.to, shuffled.partition) == (Stage::Correlate, partition));
            Pack::of_encoded(mine.map(|shuffled| shuffled.batch.as_slice()))
        });
        let packs: Vec<Vec<u8>> = packs.collect();
        let began = Instant::now();
        for (task, pack) in self.correlate.iter_mut().zip(&packs) {
            give(task.as_mut(), round as i64, pack);
            std::hint::black_box(task.seal());
        }
        self.correlating += began.elapsed();
    }
}

fn give(task: &mut dyn Task, offset: i64, value: &[u8]) {
    task.accept(Input::Record(Record {
        offset,
        key: None,
        value: Some(value),
        stamp: Stamp::None,
    }))
    .expect("taken");
}

fn main() {
    let (mut counted, mut joined) = (Way::new(COUNTED), Way::new(JOINED));
    for round in 0..ROUNDS {
        let before = round.saturating_sub(1);
        let records = [records(round, "request"), records(before, "response")];
        counted.round(round, &records);
        joined.round(round, &records);
    }
    let each = |took: Duration| took.as_nanos() as u64 / (ROUNDS * PAIRS * 2);
    let (base, tapped, correlated) = (each(counted.tapping), each(joined.tapping), each(joined.correlating));
    let open: u64 = joined.correlate.iter().map(|task| task.view().series).sum();
    println!("counted record: {base} ns");
    println!("joined record: {tapped} ns in the tap, {correlated} ns in the correlate task, {open} entries in the end");
    println!("joined to counted: {:.2}", (tapped + correlated) as f64 / base as f64);
}
