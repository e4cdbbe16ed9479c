//! The hot path of the tap: JSON to partials, beside serde_json's typed parse of the same records in the same run.
//!
//! The records are what the Python services of the users' system write: 479 bytes, `json.dumps` with spaces after
//! separators, non-ASCII as `\uXXXX`, each producer with its own order of keys. Times are per [`RECORDS`] records.

mod numbers;

use std::borrow::Cow;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use streamgauge::engine::plan::{
    Kind, LabelFrom, Lag, Metric, MetricIx, Plan, Recipe, SourcePlan, Start, TimeFormat, TimeFrom, Timing, TopicPlan,
    ValueFrom,
};
use streamgauge::engine::series::DefinitionHash;
use streamgauge::engine::tap::expr::Expr;
use streamgauge::engine::tap::instant;
use streamgauge::engine::tap::projection::{Fields, Pointer, Projection, ProjectionBuilder, Slot, Value};
use streamgauge::engine::tap::{TapStage, TapTask};
use streamgauge::engine::task::{Input, Open, OpenTask, Record, Stamp, Task};
use streamgauge::engine::time::{Span, WallTime};
use streamgauge::engine::window::WindowSize;

use numbers::Numbers;

const RECORDS: usize = 1_000;
const BYTES: usize = 479;
const TOPIC: &str = "ingestion.normalized.messages";
/// 2026-11-22T14:00:00Z.
const T0: i64 = 1_795_356_000_000_000;
const POINTERS: [&str; 6] = [
    "/event_type",
    "/timestamp",
    "/producer_id",
    "/data/correlation_id",
    "/data/normalized_content/channel",
    "/data/normalized_content/priority",
];

/// One record; `extra` adds a key of its own, so that no two such records have one shape.
fn record(numbers: &mut Numbers, at: usize, extra: bool) -> String {
    let (event, correlation, customer) = (numbers.uuid(), numbers.uuid(), numbers.uuid());
    let time = format!(
        "2026-11-22T13:{:02}:{:02}.{:06}",
        at / 60 % 60,
        at % 60,
        numbers.next() % 1_000_000
    );
    let channel = numbers.of(&["email", "whatsapp", "web_form"]);
    let priority = numbers.of(&["low", "medium", "high"]);
    let kind = numbers.of(&["inquiry", "complaint", "feedback"]);
    let extra = if extra {
        format!("\"{}\": 1, ", numbers.uuid())
    } else {
        String::new()
    };
    let content = |text: &str| match at % 4 {
        0 => format!(
            "{{\"data\": {{{extra}\"normalized_content\": {{\"channel\": \"{channel}\", \"content\": \"{text}\", \"customer_id\": \
             \"{customer}\", \"message_type\": \"{kind}\", \"priority\": \"{priority}\"}}, \"correlation_id\": \"{correlation}\", \
             \"processed_at\": \"{time}\"}}, \"event_type\": \"normalized_message\", \"event_id\": \"{event}\", \
             \"producer_id\": \"normalizer-2\", \"timestamp\": \"{time}\"}}"
        ),
        _ => format!(
            "{{\"event_id\": \"{event}\", \"event_type\": \"normalized_message\", \"timestamp\": \"{time}\", \
             \"producer_id\": \"normalizer-1\", \"data\": {{{extra}\"correlation_id\": \"{correlation}\", \
             \"normalized_content\": {{\"customer_id\": \"{customer}\", \"message_type\": \"{kind}\", \"priority\": \
             \"{priority}\", \"content\": \"{text}\", \"channel\": \"{channel}\"}}, \"processed_at\": \"{time}\"}}}}"
        ),
    };
    // Text of whatever length makes it 479 bytes, now and then with escapes.
    let mut text = if at % 8 == 3 {
        "Gr\\u00fc\\u00dfe, ".to_owned()
    } else {
        "Hello, ".to_owned()
    };
    let missing = BYTES.saturating_sub(content(&text).len());
    text.extend("my parcel has not come yet and ".chars().cycle().take(missing));
    content(&text)
}

fn records(extra: bool) -> Vec<String> {
    let mut numbers = Numbers::new(42);
    (0..RECORDS).map(|at| record(&mut numbers, at, extra)).collect()
}

fn projection() -> (Projection, Vec<Slot>) {
    let mut builder = ProjectionBuilder::new();
    let slots = POINTERS
        .iter()
        .map(|pointer| builder.want(&Pointer::parse(pointer).expect("a pointer")))
        .collect();
    (builder.build(), slots)
}

/// What a hand-written consumer of the same six fields would declare.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    event_type: Cow<'a, str>,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    producer_id: Cow<'a, str>,
    #[serde(borrow)]
    data: Data<'a>,
}

#[derive(Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    correlation_id: Cow<'a, str>,
    #[serde(borrow)]
    normalized_content: Content<'a>,
}

#[derive(Deserialize)]
struct Content<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    priority: Cow<'a, str>,
}

fn read_fields(criterion: &mut Criterion) {
    let known = records(false);
    let new = records(true);
    let mean = known.iter().map(String::len).sum::<usize>() / known.len();
    assert_eq!(mean, BYTES, "the records have the size that is promised");
    let (projection, slots) = projection();
    let mut group = criterion.benchmark_group("read");
    group.throughput(Throughput::Elements(RECORDS as u64));
    for (name, documents) in [("projection", &known), ("projection, ever new shapes", &new)] {
        group.bench_function(name, |bencher| {
            let mut buffer = Fields::new();
            bencher.iter(|| {
                let mut fields = std::mem::take(&mut buffer).reuse();
                for json in documents {
                    projection.read(json.as_bytes(), &mut fields).expect("good JSON");
                    for slot in &slots {
                        black_box(fields.get(*slot));
                    }
                }
                buffer = fields.reuse();
            });
        });
    }
    group.bench_function("serde_json, typed", |bencher| {
        bencher.iter(|| {
            for json in &known {
                let envelope: Envelope = serde_json::from_slice(json.as_bytes()).expect("good JSON");
                black_box((&envelope.event_type, &envelope.timestamp, &envelope.producer_id));
                black_box((&envelope.data.correlation_id, &envelope.data.normalized_content.channel));
                black_box(&envelope.data.normalized_content.priority);
            }
        });
    });
    group.bench_function("serde_json, tree", |bencher| {
        bencher.iter(|| {
            for json in &known {
                black_box(serde_json::from_slice::<serde_json::Value>(json.as_bytes()).expect("good JSON"));
            }
        });
    });
    group.bench_function("std::str::from_utf8", |bencher| {
        bencher.iter(|| {
            for json in &known {
                black_box(std::str::from_utf8(json.as_bytes()).expect("UTF-8"));
            }
        });
    });
    group.finish();
}

fn read_times(criterion: &mut Criterion) {
    let known = records(false);
    let (projection, slots) = projection();
    let mut fields = Fields::new();
    let mut times = Vec::new();
    for json in &known {
        projection.read(json.as_bytes(), &mut fields).expect("good JSON");
        times.push(fields.get(slots[1]));
    }
    let mut group = criterion.benchmark_group("time");
    group.throughput(Throughput::Elements(RECORDS as u64));
    group.bench_function("instant", |bencher| {
        bencher.iter(|| {
            for time in &times {
                black_box(instant::read(*time, TimeFormat::Auto).expect("a time"));
            }
        });
    });
    group.bench_function("jiff", |bencher| {
        bencher.iter(|| {
            for time in &times {
                let Value::Text(text) = time else {
                    unreachable!("times are text")
                };
                let civil: jiff::civil::DateTime = text.raw().parse().expect("a time");
                black_box(
                    civil
                        .to_zoned(jiff::tz::TimeZone::UTC)
                        .expect("in range")
                        .timestamp()
                        .as_microsecond(),
                );
            }
        });
    });
    group.finish();
}

/// One source with a condition; a count by channel and priority, and a sum of bytes by producer. With the offset index where
/// `lag` wants it.
fn plan(lag: Option<Lag>) -> Arc<Plan> {
    let mut builder = ProjectionBuilder::new();
    let slots: Vec<Slot> = POINTERS
        .iter()
        .map(|pointer| builder.want(&Pointer::parse(pointer).expect("a pointer")))
        .collect();
    let field = |at: usize, otherwise: Option<&str>| LabelFrom::Field {
        slot: slots[at],
        pointer: POINTERS[at].to_owned(),
        otherwise: otherwise.map(str::to_owned),
    };
    let metric = |name: &str, labels: &[&str], definition| Metric {
        name: name.into(),
        pipeline: 0,
        definition: DefinitionHash(definition),
        help: String::new(),
        unit: String::new(),
        kind: Kind::Count,
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        window: WindowSize::DEFAULT,
        max_series: 2_000,
        topics: vec![0],
    };
    let when = Expr::compile("event_type == 'normalized_message'", &mut builder).expect("CEL");
    let recipes = vec![
        Recipe {
            metric: MetricIx(0),
            labels: vec![field(4, None), field(5, Some("none"))],
            value: ValueFrom::One,
        },
        Recipe {
            metric: MetricIx(1),
            labels: vec![LabelFrom::Topic, field(2, None)],
            value: ValueFrom::Bytes,
        },
    ];
    Arc::new(Plan {
        pipelines: vec!["support".into()],
        metrics: vec![
            metric("channel_messages_received_total", &["channel_type", "priority"], 1),
            metric("kafka_producer_bytes_total", &["topic", "producer_id"], 2),
        ],
        topics: vec![TopicPlan {
            topic: TOPIC.into(),
            timing: Timing {
                from: TimeFrom::Field {
                    slot: slots[1],
                    pointer: POINTERS[1].into(),
                    format: TimeFormat::Auto,
                },
                out_of_order: Span::seconds(5),
                idle_after: Span::seconds(5),
                max_hold: Span::seconds(60),
                max_ahead: Span::seconds(300),
            },
            start: Start::Earliest,
            max_record_bytes: 1 << 20,
            projection: builder.build(),
            sources: vec![SourcePlan {
                name: "normalized".into(),
                pipeline: 0,
                when: Some(when),
                recipes,
                emits: Vec::new(),
            }],
        }],
        lag,
        ..Plan::default()
    })
}

fn task(plan: &Arc<Plan>) -> TapTask {
    let at = Open::Fresh {
        start: 0,
        topic_id: [1; 16],
    };
    let mut task = TapTask::open(plan, 6, TOPIC, 0, at).expect("opens");
    task.accept(Input::Time(WallTime(T0))).expect("taken");
    task
}

fn take(task: &mut dyn Task, documents: &[String], offset: &mut i64) {
    for json in documents {
        let record = Record {
            offset: *offset,
            key: None,
            value: Some(json.as_bytes()),
            stamp: Stamp::Created(WallTime(T0)),
            headers: &(),
        };
        task.accept(Input::Record(record)).expect("taken");
        *offset += 1;
    }
}

fn run_task(criterion: &mut Criterion) {
    let known = records(false);
    // All within one minute, so that there are as many series as a second of real input has.
    let known: Vec<String> = known.iter().map(|json| one_minute(json)).collect();
    let plan = plan(None);
    let indexed = self::plan(Some(Lag::of_all(0)));
    let mut group = criterion.benchmark_group("tap");
    group.throughput(Throughput::Elements(RECORDS as u64));
    group.bench_function("accept", |bencher| {
        let stage = TapStage::new(Arc::clone(&plan), 6);
        let at = Open::Fresh {
            start: 0,
            topic_id: [1; 16],
        };
        let mut task = stage.open(TOPIC, 0, at).expect("opens");
        task.accept(Input::Time(WallTime(T0))).expect("taken");
        let mut offset = 0;
        bencher.iter(|| take(task.as_mut(), &known, &mut offset));
        let counted = task.view().ledger.map_or(0, |ledger| ledger.counts[0]);
        assert_eq!(counted, offset as u64, "every record is counted");
    });
    for (name, plan) in [("accept and seal", &plan), ("accept and seal, indexed", &indexed)] {
        group.bench_function(name, |bencher| {
            let mut task = task(plan);
            let mut offset = 0;
            bencher.iter(|| {
                take(&mut task, &known, &mut offset);
                black_box(task.seal());
            });
        });
    }
    group.bench_function("seal", |bencher| {
        let full = || {
            let mut task = task(&plan);
            take(&mut task, &known, &mut 0);
            task
        };
        bencher.iter_batched_ref(full, |task| black_box(task.seal()), BatchSize::SmallInput);
    });
    group.finish();
}

/// The same record with an event time in the minute from 13:59.
fn one_minute(json: &str) -> String {
    let mut text = json.to_owned();
    while let Some(at) = text.find("2026-11-22T13:") {
        text.replace_range(at..at + "2026-11-22T13:".len() + 2, "2026-11-22t13:59");
    }
    text
}

criterion_group!(benches, read_fields, read_times, run_task);
criterion_main!(benches);
