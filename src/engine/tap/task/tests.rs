mod always;
mod indexed;
mod keyed;
mod life;
mod records;
mod start;

use super::*;
use crate::engine::plan::{
    Kind, LabelFrom, Metric, MetricIx, Recipe, SourcePlan, Start, TimeFormat, TimeFrom, Timing, ValueFrom,
};
use crate::engine::series::DefinitionHash;
use crate::engine::sketch::Partial;
use crate::engine::tap::expr::Expr;
use crate::engine::tap::projection::{Pointer, ProjectionBuilder};
use crate::engine::time::{Span, WallTime};
use crate::engine::window::WindowSize;
use std::collections::BTreeMap;

const TOPIC: &str = "processing.tickets.in";
const PARTITIONS: u32 = 3;
/// 2026-11-22T14:00:00Z.
const T0: i64 = 1_795_356_000_000_000;
const ID: TopicId = [7; 16];

fn wall(seconds: i64) -> WallTime {
    WallTime(T0 + seconds * 1_000_000)
}

fn metric(name: &str, kind: Kind, labels: &[&str], definition: u64) -> Metric {
    Metric {
        name: name.into(),
        pipeline: 0,
        definition: DefinitionHash(definition),
        help: String::new(),
        unit: String::new(),
        kind,
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        window: WindowSize::DEFAULT,
        max_series: 2_000,
        topics: vec![0],
    }
}

/// Tickets by priority and where they come from; the cost of all tickets; bytes of everything.
fn plan() -> Arc<Plan> {
    let mut builder = ProjectionBuilder::new();
    let mut want = |pointer: &str| builder.want(&Pointer::parse(pointer).expect("a pointer"));
    let (time, priority, channel, cost) = (
        want("/timestamp"),
        want("/data/priority"),
        want("/data/channel"),
        want("/data/cost"),
    );
    let when = Expr::compile("event_type == 'ticket_created'", &mut builder).expect("CEL");
    let upper = Expr::compile("data.priority.upperAscii()", &mut builder).expect("CEL");
    let field = |slot, pointer: &str, otherwise: Option<&str>| LabelFrom::Field {
        slot,
        pointer: pointer.into(),
        otherwise: otherwise.map(str::to_owned),
    };
    let tickets = SourcePlan {
        name: "tickets".into(),
        pipeline: 0,
        when: Some(when),
        recipes: vec![
            Recipe {
                metric: MetricIx(0),
                labels: vec![
                    field(priority, "/data/priority", None),
                    field(channel, "/data/channel", Some("unknown")),
                    LabelFrom::Expr {
                        expr: upper,
                        otherwise: None,
                    },
                ],
                value: ValueFrom::One,
            },
            Recipe {
                metric: MetricIx(1),
                labels: vec![LabelFrom::Topic, LabelFrom::Partition, LabelFrom::Const("eur".into())],
                value: ValueFrom::Field {
                    slot: cost,
                    pointer: "/data/cost".into(),
                },
            },
        ],
        emits: vec![],
    };
    let all = SourcePlan {
        name: "bytes".into(),
        pipeline: 0,
        when: Some(Expr::compile("has(data.priority)", &mut builder).expect("CEL")),
        recipes: vec![
            Recipe {
                metric: MetricIx(2),
                labels: vec![],
                value: ValueFrom::Bytes,
            },
            Recipe {
                metric: MetricIx(3),
                labels: vec![],
                value: ValueFrom::AppendLatency,
            },
        ],
        emits: vec![],
    };
    let watched = SourcePlan {
        name: "joined later".into(),
        pipeline: 0,
        when: None,
        recipes: vec![],
        emits: vec![],
    };
    Arc::new(Plan {
        pipelines: vec!["support".into()],
        metrics: vec![
            metric(
                "tickets_created_total",
                Kind::Count,
                &["priority", "channel_type", "upper"],
                11,
            ),
            metric("cost_total", Kind::Sum, &["topic", "partition", "currency"], 12),
            metric("bytes_total", Kind::Count, &[], 13),
            metric("latency_seconds", Kind::Exponential { max_buckets: 160 }, &[], 14),
        ],
        topics: vec![TopicPlan {
            topic: TOPIC.into(),
            timing: Timing {
                from: TimeFrom::Field {
                    slot: time,
                    pointer: "/timestamp".into(),
                    format: TimeFormat::Auto,
                },
                out_of_order: Span::seconds(5),
                idle_after: Span::seconds(5),
                max_hold: Span::seconds(60),
                max_ahead: Span::seconds(300),
            },
            start: Start::Earliest,
            max_record_bytes: 1_000,
            projection: builder.build(),
            sources: vec![tickets, all, watched],
        }],
        ..Plan::default()
    })
}

fn open(at: Open<'_>) -> Result<TapTask, String> {
    let mut task = TapTask::open(&plan(), PARTITIONS, TOPIC, 4, at)?;
    task.accept(Input::Time(wall(0))).expect("time is taken");
    Ok(task)
}

fn fresh() -> TapTask {
    open(Open::Fresh {
        start: 100,
        topic_id: ID,
    })
    .expect("opens")
}

fn give(task: &mut TapTask, offset: i64, value: &str) {
    let record = Record {
        offset,
        key: Some(b"key"),
        value: Some(value.as_bytes()),
        stamp: Stamp::Created(wall(0)),
        headers: &(),
    };
    task.accept(Input::Record(record)).expect("the record is taken");
}

fn ticket(time: &str, priority: &str) -> String {
    format!(
        r#"{{"event_type": "ticket_created", "timestamp": "{time}", "data": {{"priority": "{priority}", "cost": 1.5}}}}"#
    )
}

const NOW: &str = "2026-11-22T14:00:00";

fn counts(task: &TapTask) -> BTreeMap<&'static str, u64> {
    let ledger = task.view().ledger.expect("a tap keeps a ledger");
    Outcome::ALL
        .into_iter()
        .map(|outcome| (outcome.name(), ledger.count(outcome)))
        .filter(|(_, n)| *n > 0)
        .collect()
}

fn batches(output: &Output) -> Vec<codec::Batch> {
    let batches = output
        .shuffled
        .iter()
        .map(|shuffled| codec::Batch::decode(shuffled.batch.as_slice()));
    batches.map(|batch| batch.expect("a batch")).collect()
}

/// The partials of one metric, by label values and window.
fn partials(output: &Output, definition: u64, kind: &Kind) -> BTreeMap<(Vec<String>, i64), (u64, Partial)> {
    let mut found = BTreeMap::new();
    for batch in batches(output) {
        for metric in batch.metrics.iter().filter(|metric| metric.definition == definition) {
            for partial in &metric.partials {
                let labels = SeriesKey(partial.key.clone());
                let labels = labels.values().expect("a key").into_iter().map(str::to_owned).collect();
                let value = Partial::from_codec(partial.value.as_ref().expect("a value"), kind).expect("of this kind");
                let window = (partial.window_end - T0) / 1_000_000;
                assert_eq!(
                    found.insert((labels, window), (partial.records, value)),
                    None,
                    "one partial a series"
                );
            }
        }
    }
    found
}

fn labels(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}
