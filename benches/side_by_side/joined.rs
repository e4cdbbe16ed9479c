//! What a joined record costs beside a counted one, in the whole process: requests and responses through `run` once with a
//! pipeline that counts both, once with one that joins them, shuffle and changelog included.
//!
//! Both pipelines read the same fields but for the key. The joined run is over when its joins have taken all.

use std::path::Path;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::common::kafka::{Kafka, Write};
use super::numbers::Numbers;
use super::{LIMIT, Measured, PARTITIONS, measure, show, start, until_committed};

const REQUESTS: &str = "bench.requests";
const RESPONSES: &str = "bench.responses";
const SOURCES: &str = "
pipeline: bench
sources:
  requests: { topic: bench.requests, time: /timestamp }
  responses: { topic: bench.responses, time: /timestamp }
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
const TRACED: &str = "
traces:
  talks: { of: response_time_seconds, sampling: 0.1 }
";
const BYTES: usize = 479;
/// Event time between two requests, and from a request to its response, microseconds.
const APART: i64 = 1_000;
const ANSWERED_AFTER: i64 = 20_000_000;

/// `pairs` requests and as many responses; `rounds` times each way.
pub fn compare(kafka: &Kafka, folder: &Path, otlp: &str, pairs: u64, rounds: u64) {
    fill(kafka, pairs);
    let ways = [
        ("counted", COUNTED.to_owned()),
        ("joined", JOINED.to_owned()),
        ("traced", format!("{JOINED}{TRACED}")),
    ];
    let mut ratios = [Vec::new(), Vec::new()];
    for round in 1..=rounds {
        let mut costs = Vec::new();
        for (name, metrics) in &ways {
            let pipeline = folder.join(format!("{name}.yaml"));
            std::fs::write(&pipeline, format!("{SOURCES}{metrics}")).expect("a file");
            let id = format!("{name}-{round}");
            let joins = *name != "counted";
            let measured = one(kafka, folder, otlp, &id, &pipeline, pairs, joins);
            show(&format!("round {round}, {name}"), &measured, pairs * 2);
            costs.push(measured.cpu);
        }
        if let [counted, joined, traced] = costs.as_slice() {
            ratios[0].push(joined / counted);
            ratios[1].push(traced / counted);
        }
    }
    for (name, ratios) in ["joined", "joined and traced"].iter().zip(&mut ratios) {
        ratios.sort_by(f64::total_cmp);
        let median = ratios[ratios.len() / 2];
        println!(
            "CPU of a {name} record to a counted one, median of {rounds}: {median:.2} (goal for joined: at most 3)"
        );
    }
}

fn one(kafka: &Kafka, folder: &Path, otlp: &str, id: &str, pipeline: &Path, pairs: u64, joins: bool) -> Measured {
    let began = Instant::now();
    let mut process = start(kafka, folder, otlp, id, pipeline, "off");
    for topic in [REQUESTS, RESPONSES] {
        until_committed(kafka, id, topic, pairs, &mut process);
    }
    if joins {
        let (group, topic) = (format!("{id}-correlate"), format!("{id}-correlate-repartition"));
        loop {
            let committed = kafka.committed(&group, &topic);
            let ends = log_ends(kafka, &topic);
            let near = |(committed, end): (&Option<(i64, String)>, &i64)| {
                // The last records of a log are the markers of transactions, and statements about time go on.
                committed.as_ref().is_some_and(|(offset, _)| end - offset < 20)
            };
            if committed.len() == ends.len() && committed.iter().zip(&ends).all(near) {
                break;
            }
            process.must_live();
            assert!(began.elapsed() < LIMIT, "the joins are not done:\n{}", process.tail());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let measured = measure(process.id(), began);
    process.terminate(Duration::from_secs(30));
    measured
}

fn log_ends(kafka: &Kafka, topic: &str) -> Vec<i64> {
    let consumer: BaseConsumer = kafka.client().create().expect("a client");
    let end = |partition| {
        let partition = i32::try_from(partition).expect("few");
        let found = consumer.fetch_watermarks(topic, partition, Duration::from_secs(10));
        found.expect("watermarks").1
    };
    (0..kafka.partitions(topic)).map(end).collect()
}

fn fill(kafka: &Kafka, pairs: u64) {
    for topic in [REQUESTS, RESPONSES] {
        kafka.create_topic(topic, PARTITIONS, &[]);
    }
    let writer = kafka.writer();
    let mut numbers = Numbers::new(7);
    let start = super::common::now_micros() - 40 * 60 * 1_000_000;
    for at in 0..pairs {
        let id = numbers.uuid();
        let channel = numbers.of(&["email", "whatsapp", "web_form"]).to_owned();
        let time = start + at as i64 * APART;
        let sides = [
            (
                REQUESTS,
                time,
                format!("\"normalized_content\": {{\"channel\": \"{channel}\"}}"),
            ),
            (
                RESPONSES,
                time + ANSWERED_AFTER,
                format!("\"response\": {{\"channel\": \"{channel}\"}}"),
            ),
        ];
        for (topic, time, body) in sides {
            let mut text = format!(
                "{{\"event_id\": \"{id}\", \"event_type\": \"bench\", \"producer_id\": \"writer-1\", \"timestamp\": {}.{:06}, \
                 \"data\": {{\"correlation_id\": \"{id}\", {body}, \"content\": \"",
                time / 1_000_000,
                time % 1_000_000
            );
            text.extend(std::iter::repeat_n('x', BYTES - 3 - text.len().min(BYTES - 3)));
            text.push_str("\"}}");
            writer.write(&Write {
                topic: topic.to_owned(),
                partition: (at % u64::from(PARTITIONS)) as u32,
                value: Some(text.into_bytes()),
                ..Write::default()
            });
        }
    }
    writer.flush();
    println!("{pairs} requests and as many responses of {BYTES} bytes in {PARTITIONS} partitions each");
}
