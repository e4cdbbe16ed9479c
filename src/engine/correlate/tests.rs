mod always;
mod edges;
mod journeys;
mod life;
mod oracle;
mod world;

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;

use super::stage::CorrelateTask;
use super::{CorrelateOptions, CorrelateStage};
use crate::engine::codec::{Batch, KeyedRecords, Level, Pack};
use crate::engine::keyed::{KeyHash, KeyedRecord, Packer};
use crate::engine::plan::{
    Ask, Attribute, AttributeFrom, Join, JoinedLabel, Journeys, Kind, Latest, Measure, Measured, Merge, Metric,
    MetricIx, Operator, Plan, Respond, Sampling, Side, SpanFrom, Start, TimeFrom, Timing, TopicPlan,
};
use crate::engine::series::{DefinitionHash, SeriesKey};
use crate::engine::sketch::Partial;
use crate::engine::task::{Halt, Input, Open, Output, PartitionCounts, Record, Stage, Stamp, Task};
use crate::engine::time::{EventTime, Span, Watermark};
use crate::engine::window::{WindowEnd, WindowSize};

/// Input topics, by index.
const TOPICS: [&str; 3] = ["normalized", "responses", "tickets"];
const NORMALIZED: usize = 0;
const RESPONSES: usize = 1;
const TICKETS: usize = 2;
const OUT_OF_ORDER: Span = Span::seconds(5);
const WITHIN: Span = Span::seconds(20);
const FORGET: Span = Span::seconds(15);
const SKEW: Span = Span::seconds(3);
const VALUE_WITHIN: Span = Span::seconds(30);
const RESPOND: DefinitionHash = DefinitionHash(0xa);
const LATEST: DefinitionHash = DefinitionHash(0xb);
/// 2026-11-22T14:00:00Z.
const T0: i64 = 1_795_356_000_000_000;
const FRESH: Open<'_> = Open::Fresh {
    start: 0,
    topic_id: [0; 16],
};

/// Metrics by index.
const RESPONSE_TIME: usize = 0;
const UNANSWERED: usize = 1;
const SECOND: usize = 2;
const UNMATCHED: usize = 3;
const NEGATIVE: usize = 4;
const DUPLICATE: usize = 5;
const OPEN: usize = 6;
const OLDEST: usize = 7;
const LATE: usize = 8;
const TICKETS_CREATED: usize = 9;
const LATE_VALUES: usize = 10;
const JOURNEYS: usize = 11;

fn metric(index: usize, name: &str, kind: Kind, labels: &[&str]) -> Metric {
    Metric {
        name: name.into(),
        pipeline: 0,
        definition: DefinitionHash(100 + index as u64),
        help: String::new(),
        unit: String::new(),
        kind,
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        window: WindowSize::DEFAULT,
        max_series: 2_000,
        topics: vec![],
    }
}

fn carried(side: Side, otherwise: &str) -> JoinedLabel {
    JoinedLabel::Carried {
        side,
        index: 0,
        otherwise: otherwise.into(),
    }
}

/// Normalized messages are answered by responses, and say the channel of the tickets that follow.
fn plan() -> Plan {
    let channel = || carried(Side::REQUEST, "none");
    let team = || carried(Side::RESPONSE, "none");
    let measured = |metric, measure, labels: Vec<JoinedLabel>| Measured {
        metric: MetricIx(metric),
        measure,
        labels,
    };
    let respond = Respond {
        within: WITHIN,
        forget: FORGET,
        skew: SKEW,
        measured: vec![
            measured(RESPONSE_TIME, Measure::ResponseTime, vec![channel(), team()]),
            measured(UNANSWERED, Measure::Unanswered, vec![channel(), team()]),
            measured(SECOND, Measure::Second, vec![channel(), team()]),
            measured(UNMATCHED, Measure::Unmatched, vec![channel(), team()]),
            measured(NEGATIVE, Measure::Negative, vec![channel(), team()]),
            measured(DUPLICATE, Measure::Duplicate, vec![channel(), team()]),
            measured(OPEN, Measure::Open, vec![]),
            measured(OLDEST, Measure::OldestOpen, vec![]),
        ],
        journeys: Some(journeys()),
    };
    let latest = Latest {
        within: VALUE_WITHIN,
        asks: vec![Ask {
            metric: MetricIx(TICKETS_CREATED),
            labels: vec![
                carried(Side::ask(0), "none"),
                carried(Side::VALUE, "unknown"),
                JoinedLabel::Const("eu".into()),
            ],
        }],
    };
    let both = ["channel", "team"];
    let topic = |name: &str| TopicPlan {
        topic: name.into(),
        timing: Timing {
            from: TimeFrom::Record,
            out_of_order: OUT_OF_ORDER,
            idle_after: Span::seconds(5),
            max_hold: Span::seconds(60),
            max_ahead: Span::seconds(300),
        },
        start: Start::Earliest,
        max_record_bytes: 1_000,
        projection: crate::engine::tap::projection::Projection::default(),
        sources: vec![],
    };
    Plan {
        alerts: Vec::new(),
        receivers: Vec::new(),
        pipelines: vec!["support".into()],
        lag: None,
        metrics: vec![
            metric(RESPONSE_TIME, "time", Kind::Exponential { max_buckets: 160 }, &both),
            metric(UNANSWERED, "unanswered", Kind::Count, &both),
            metric(SECOND, "second", Kind::Count, &both),
            metric(UNMATCHED, "unmatched", Kind::Count, &both),
            metric(NEGATIVE, "negative", Kind::Count, &both),
            metric(DUPLICATE, "duplicate", Kind::Count, &both),
            metric(OPEN, "open", Kind::Level(Merge::Sum), &[]),
            metric(OLDEST, "oldest", Kind::Level(Merge::Max), &[]),
            metric(LATE, "late", Kind::Count, &["join", "side"]),
            metric(
                TICKETS_CREATED,
                "tickets",
                Kind::Count,
                &["priority", "channel", "region"],
            ),
            metric(LATE_VALUES, "late values", Kind::Count, &["join", "side"]),
            metric(JOURNEYS, "journeys", Kind::Count, &["trace", "outcome", "sampled"]),
        ],
        topics: TOPICS.iter().map(|name| topic(name)).collect(),
        joins: vec![
            Join {
                name: "normalized by responses".into(),
                definition: RESPOND,
                topics: vec![NORMALIZED, RESPONSES, TICKETS],
                late: Some(MetricIx(LATE)),
                operator: Operator::Respond(respond),
            },
            Join {
                name: "channel of tickets".into(),
                definition: LATEST,
                topics: vec![NORMALIZED, TICKETS],
                late: Some(MetricIx(LATE_VALUES)),
                operator: Operator::Latest(latest),
            },
        ],
    }
}

/// Requests may carry a traceparent, responses say why they failed, tickets are steps and carry their offset.
fn journeys() -> Journeys {
    let attribute = |name: &str, value| Attribute {
        name: name.into(),
        value,
    };
    let span = |name: &str, attributes| SpanFrom {
        name: name.into(),
        attributes,
    };
    Journeys {
        name: "conversations".into(),
        pipeline: 0,
        sampling: Sampling {
            threshold: 0,
            slow: None,
        },
        traceparent: Some(1),
        root: span(
            "process-message",
            vec![
                attribute("messaging.system", AttributeFrom::Const("kafka".into())),
                attribute("message.type", AttributeFrom::Text(0)),
            ],
        ),
        children: vec![
            span("process normalized", vec![]),
            span("process responses", vec![]),
            span(
                "process tickets",
                vec![attribute("messaging.kafka.offset", AttributeFrom::Number(0))],
            ),
        ],
        failure: Some(1),
        counted: Some(MetricIx(JOURNEYS)),
    }
}

/// One record of a topic, as far as joins care.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Said {
    topic: usize,
    /// Microseconds since `T0`.
    time: i64,
    key: u64,
    text: String,
}

impl Said {
    fn at(&self) -> EventTime {
        EventTime(T0 + self.time)
    }
}

fn key(n: u64) -> KeyHash {
    KeyHash::of(&n.to_le_bytes())
}

/// The records of one input partition for one correlate partition, as a tap packs them.
fn batch(topic: usize, partition: u32, said: &[&Said], watermark: Option<i64>) -> Batch {
    let mut keyed: BTreeMap<(u64, u32), Vec<&Said>> = BTreeMap::new();
    let parts: &[(DefinitionHash, u32)] = match topic {
        NORMALIZED => &[(RESPOND, 0), (LATEST, 0)],
        RESPONSES => &[(RESPOND, 1)],
        _ => &[(RESPOND, 2), (LATEST, 1)],
    };
    for (join, side) in parts {
        keyed.entry((join.0, *side)).or_default().extend(said);
    }
    let keyed = keyed.into_iter().filter(|(_, said)| !said.is_empty());
    Batch {
        topic: TOPICS[topic].into(),
        partition,
        watermark: watermark.map(|time| T0 + time),
        keyed: keyed.map(|((join, side), said)| packed(join, side, &said)).collect(),
        ..Batch::default()
    }
}

fn packed(join: u64, side: u32, said: &[&Said]) -> KeyedRecords {
    let amounts = join == LATEST.0 && side > 0;
    let mut packer = Packer::default();
    let mut carried: Vec<Vec<u8>> = Vec::new();
    for said in said {
        let SeriesKey(text) = SeriesKey::of([said.text.as_str()]);
        let index = carried.iter().position(|known| *known == text).unwrap_or_else(|| {
            carried.push(text);
            carried.len() - 1
        });
        let record = KeyedRecord {
            key: key(said.key),
            time: said.at(),
            carried: index as u32,
            amount: i64::from(amounts),
        };
        packer.push(record, amounts);
    }
    KeyedRecords {
        join,
        side,
        count: said.len() as u32,
        amounts,
        records: packer.take(),
        carried,
    }
}

fn counts(partitions: u32) -> PartitionCounts {
    TOPICS.iter().map(|topic| ((*topic).to_owned(), partitions)).collect()
}

fn give(task: &mut CorrelateTask, offset: i64, batches: Vec<Batch>) -> Result<(), Halt> {
    let encoded: Vec<Vec<u8>> = batches.iter().map(Batch::encode_to_vec).collect();
    let value = Pack::of_encoded(encoded.iter().map(Vec::as_slice));
    task.accept(Input::Record(Record {
        offset,
        key: None,
        value: Some(&value),
        stamp: Stamp::None,
        headers: &(),
    }))
}

/// Series of a metric: its index, label values and, in seconds since `T0`, the window's end.
type Series = (usize, Vec<String>, i64);

/// What an output tells gauges.
fn partials(output: &Output, into: &mut BTreeMap<Series, Partial>) {
    let plan = plan();
    for batch in told(output) {
        for metric in &batch.metrics {
            let index = (metric.definition - 100) as usize;
            for partial in &metric.partials {
                let labels = SeriesKey(partial.key.clone());
                let labels = labels.values().expect("a key").into_iter().map(str::to_owned).collect();
                let kind = &plan.metrics[index].kind;
                let value = Partial::from_codec(partial.value.as_ref().expect("a value"), kind).expect("of this kind");
                let series = (index, labels, (partial.window_end - T0) / 1_000_000);
                into.entry(series)
                    .or_insert_with(|| Partial::empty(kind))
                    .merge(&value)
                    .expect("of this kind");
            }
        }
    }
}

fn told(output: &Output) -> Vec<Batch> {
    let to_gauge = output.shuffled.iter().filter(|shuffled| shuffled.to == Stage::Gauge);
    to_gauge
        .map(|shuffled| Batch::decode(shuffled.batch.as_slice()).expect("a batch"))
        .collect()
}

/// Counts of one metric by labels, over all windows.
fn totals(output: &Output, metric: usize) -> BTreeMap<Vec<String>, u64> {
    let mut found = BTreeMap::new();
    partials(output, &mut found);
    let mut totals = BTreeMap::new();
    for ((index, labels, _), partial) in found {
        let count = match partial {
            Partial::Count(count) => count,
            Partial::Histogram(histogram) => histogram.count(),
            Partial::Sum(_) => panic!("no metric here is a sum"),
        };
        if index == metric {
            *totals.entry(labels).or_default() += count;
        }
    }
    totals
}

fn levels(output: &Output) -> BTreeMap<u64, i64> {
    let all = told(output).into_iter().flat_map(|batch| batch.levels);
    all.map(|Level { definition, value, .. }| (definition - 100, value))
        .collect()
}
