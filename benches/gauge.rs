//! What the gauge task costs for a series that moved: taking its partial, closing the window, freezing the point.
//!
//! One task, a counter and a histogram of [`SERIES`] series each. Every round brings a partial for each of them and a
//! watermark behind its window, and seals.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prost::Message;
use streamgauge::engine::codec::{Batch, MetricPartials, Pack, SeriesPartial};
use streamgauge::engine::gauge::{GaugeOptions, GaugeStage};
use streamgauge::engine::plan::Plan;
use streamgauge::engine::series::SeriesKey;
use streamgauge::engine::sketch::Partial;
use streamgauge::engine::task::{Input, Open, OpenTask, PartitionCounts, Record, Stamp, Task};
use streamgauge::engine::time::{Span, WallTime};
use streamgauge::pipeline;

const PIPELINE: &str = "
pipeline: bench
sources:
  requests: { topic: requests, time: /timestamp }
metrics:
  requests_total: { count: requests, labels: { channel: /channel, customer: /customer } }
  request_seconds:
    observe: { of: requests, value: /seconds }
    labels: { channel: /channel, customer: /customer }
    histogram: { kind: exponential }
";
const SERIES: usize = 1_900;
const ROUNDS: i64 = 200;
/// Microseconds since the epoch: 2026-11-22T14:00:00Z.
const T0: i64 = 1_795_356_000_000_000;
const WINDOW: i64 = 10_000_000;

fn main() {
    let text = PIPELINE.to_owned();
    let plan = pipeline::parse(&[("bench.yaml".to_owned(), text)], &|_| None).expect("the pipeline is right");
    let plan = Arc::new(plan);
    let keys: Vec<SeriesKey> = (0..SERIES)
        .map(|series| SeriesKey::of([["email", "whatsapp"][series % 2], &format!("customer-{series:06}")]))
        .collect();
    let mut task = open(&plan);
    let (mut taking, mut sealing) = (Duration::ZERO, Duration::ZERO);
    let (mut outbox, mut changelog) = (0, 0);
    for round in 0..ROUNDS {
        let end = T0 + round * WINDOW;
        let pack = pack(&plan, &keys, end);
        let began = Instant::now();
        task.accept(Input::Time(WallTime(end + WINDOW))).expect("time passes");
        task.accept(Input::Record(Record {
            offset: round,
            key: None,
            value: Some(&pack),
            stamp: Stamp::None,
            headers: &(),
        }))
        .expect("taken");
        taking += began.elapsed();
        let began = Instant::now();
        let output = task.seal().expect("there is something to say");
        sealing += began.elapsed();
        outbox += output.outbox.iter().map(Vec::len).sum::<usize>();
        let size = |(key, value): &(Vec<u8>, Option<Vec<u8>>)| key.len() + value.as_ref().map_or(0, Vec::len);
        changelog += output.changelog.iter().map(size).sum::<usize>();
    }
    let count = SERIES * plan.metrics.len() * ROUNDS as usize;
    let each = |took: Duration| took.as_nanos() as usize / count;
    println!("a partial: {} ns", each(taking));
    println!(
        "its window closed, its point frozen, its state sealed: {} ns",
        each(sealing)
    );
    println!(
        "bytes: {} of points, {} of changelog",
        outbox / count,
        changelog / count
    );
}

fn open(plan: &Arc<Plan>) -> Box<dyn Task> {
    let options = GaugeOptions {
        application: "bench".to_owned(),
        partitions: 1,
        max_backdate: Span::seconds(1_800),
        retire_unknown: false,
    };
    let at = Open::Fresh {
        start: 0,
        topic_id: [1; 16],
    };
    let mut task = GaugeStage::new(Arc::clone(plan), options)
        .open("", 0, at)
        .expect("opens");
    let counts = PartitionCounts::from([("requests".to_owned(), 1)]);
    for input in [Input::Restored, Input::Partitions(&counts)] {
        task.accept(input).expect("taken");
    }
    task
}

/// What the tap would send of one record for each series.
fn pack(plan: &Plan, keys: &[SeriesKey], end: i64) -> Vec<u8> {
    let metrics = plan.metrics.iter().map(|metric| {
        let partials = keys.iter().zip(1_i64..).map(|(key, value)| {
            let mut partial = Partial::empty(&metric.kind);
            match &mut partial {
                Partial::Count(count) => *count = 1,
                _ => partial.observe(value * 1_000, &metric.kind),
            }
            SeriesPartial {
                key: key.0.clone(),
                window_end: end,
                records: 1,
                value: Some(partial.to_codec()),
            }
        });
        MetricPartials {
            definition: metric.definition.0,
            partials: partials.collect(),
        }
    });
    let batch = Batch {
        topic: "requests".to_owned(),
        watermark: Some(end),
        sealed_at: end + WINDOW,
        metrics: metrics.collect(),
        ..Batch::default()
    };
    Pack::of_encoded([batch.encode_to_vec().as_slice()])
}
