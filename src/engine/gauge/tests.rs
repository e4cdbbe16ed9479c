//! Metrics that a join fills.

use std::sync::Arc;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point};
use prost::Message;

use super::{GaugeOptions, GaugeStage};
use crate::engine::codec::{Batch, Level, MetricPartials, Pack, SeriesPartial};
use crate::engine::plan::{
    Join, Kind, Measure, Measured, Merge, Metric, MetricIx, Operator, Plan, Respond, Start, TimeFrom, Timing, TopicPlan,
};
use crate::engine::series::{DefinitionHash, SeriesKey};
use crate::engine::sketch::Partial;
use crate::engine::tap::projection::Projection;
use crate::engine::task::{Halt, Input, Open, OpenTask, Output, PartitionCounts, Record, Stamp, Task};
use crate::engine::time::{EventTime, Span, WallTime};
use crate::engine::window::{WindowEnd, WindowSize};

/// 2026-11-22T14:00:00Z.
const T0: i64 = 1_795_356_000_000_000;
const TASKS: u32 = 2;

/// What is unanswered, counted by a join over one topic of one partition; how many are open.
fn plan(join: u64) -> Plan {
    let metric = |name: &str, kind, definition| Metric {
        name: name.into(),
        pipeline: 0,
        definition: DefinitionHash(definition),
        help: String::new(),
        unit: String::new(),
        kind,
        labels: vec![],
        window: WindowSize::DEFAULT,
        max_series: 10,
        topics: vec![0],
    };
    let measured = |metric, measure| Measured {
        metric: MetricIx(metric),
        measure,
        labels: vec![],
    };
    Plan {
        alerts: Vec::new(),
        receivers: Vec::new(),
        pipelines: vec!["support".into()],
        lag: None,
        metrics: vec![
            metric("responses_unanswered_total", Kind::Count, 1),
            metric("responses_open", Kind::Level(Merge::Sum), 2),
        ],
        topics: vec![TopicPlan {
            topic: "normalized".into(),
            timing: Timing {
                from: TimeFrom::Record,
                out_of_order: Span::seconds(5),
                idle_after: Span::seconds(5),
                max_hold: Span::seconds(60),
                max_ahead: Span::seconds(300),
            },
            start: Start::Earliest,
            max_record_bytes: 1_000,
            projection: Projection::default(),
            sources: vec![],
        }],
        joins: vec![Join {
            name: "responses".into(),
            definition: DefinitionHash(join),
            topics: vec![0],
            late: None,
            operator: Operator::Respond(Respond {
                within: Span::seconds(60),
                forget: Span::seconds(60),
                skew: Span::seconds(1),
                measured: vec![measured(0, Measure::Unanswered), measured(1, Measure::Open)],
                journeys: None,
            }),
        }],
    }
}

fn open(join: u64, at: Open<'_>, changelog: &[(Vec<u8>, Option<Vec<u8>>)]) -> Box<dyn Task> {
    let options = GaugeOptions {
        application: "app".into(),
        partitions: TASKS,
        max_backdate: Span::seconds(1_800),
        retire_unknown: false,
    };
    let mut task = GaugeStage::new(Arc::new(plan(join)), options)
        .open("", 0, at)
        .expect("opens");
    for (key, value) in changelog {
        task.accept(Input::Restore {
            key,
            value: value.as_deref(),
        })
        .expect("we wrote it");
    }
    task.accept(Input::Restored).expect("state and offset agree");
    let counts = PartitionCounts::from([("normalized".to_owned(), 1)]);
    task.accept(Input::Partitions(&counts)).expect("taken");
    task
}

fn fresh() -> Box<dyn Task> {
    let at = Open::Fresh {
        start: 0,
        topic_id: [0; 16],
    };
    open(0xa, at, &[])
}

/// What one task of a join says: unanswered requests in the window that ends at `end` seconds, the level, its watermark.
fn said(edge: &str, partition: u32, unanswered: Option<(i64, u64)>, level: i64, watermark: i64) -> Batch {
    let WindowEnd(EventTime(end)) = WindowSize::DEFAULT.window_of(EventTime(T0));
    let partial = |(at, count)| SeriesPartial {
        key: SeriesKey::default().0,
        window_end: end + at * 1_000_000,
        records: count,
        value: Some(Partial::Count(count).to_codec()),
    };
    Batch {
        topic: edge.into(),
        partition,
        watermark: Some(T0 + watermark * 1_000_000),
        metrics: vec![MetricPartials {
            definition: 1,
            partials: unanswered.map(partial).into_iter().collect(),
        }],
        levels: vec![Level {
            definition: 2,
            key: vec![],
            value: level * 1_000_000,
        }],
        ..Batch::default()
    }
}

fn after(task: &mut dyn Task, offset: i64, seconds: i64, batches: &[Batch]) -> Result<Option<Output>, Halt> {
    task.accept(Input::Time(WallTime(T0 + seconds * 1_000_000)))?;
    let encoded: Vec<Vec<u8>> = batches.iter().map(Batch::encode_to_vec).collect();
    let value = Pack::of_encoded(encoded.iter().map(Vec::as_slice));
    task.accept(Input::Record(Record {
        offset,
        key: None,
        value: Some(&value),
        stamp: Stamp::None,
        headers: &(),
    }))?;
    Ok(task.seal())
}

/// The points of one metric: seconds since `T0`, and the value.
fn points(output: &Output, name: &str) -> Vec<(i64, f64)> {
    let mut points = Vec::new();
    for request in &output.outbox {
        let request = ExportMetricsServiceRequest::decode(request.as_slice()).expect("a request");
        let scopes = request
            .resource_metrics
            .into_iter()
            .flat_map(|resource| resource.scope_metrics);
        for metric in scopes
            .flat_map(|scope| scope.metrics)
            .filter(|metric| metric.name == name)
        {
            let found = match metric.data {
                Some(Data::Sum(sum)) => sum.data_points,
                Some(Data::Gauge(gauge)) => gauge.data_points,
                other => panic!("a counter or a gauge, not {other:?}"),
            };
            points.extend(found.into_iter().map(|point| {
                let value = match point.value {
                    Some(number_data_point::Value::AsInt(value)) => value as f64,
                    Some(number_data_point::Value::AsDouble(value)) => value,
                    None => f64::NAN,
                };
                ((point.time_unix_nano as i64 / 1_000 - T0) / 1_000_000, value)
            }));
        }
    }
    points
}

const UNANSWERED: &str = "responses_unanswered_total";
const OPEN: &str = "responses_open";

fn edge(join: u64) -> String {
    plan(join).joins[0].edge()
}

#[test]
fn a_joined_metric_waits_for_every_task_of_its_join_and_for_no_topic() {
    let mut task = fresh();
    let edge = edge(0xa);
    let one = said(&edge, 0, Some((0, 3)), 1, 40);
    let output = after(task.as_mut(), 0, 41, &[one]).expect("taken").expect("sealed");
    assert_eq!(points(&output, UNANSWERED), [], "the other task has not spoken");
    let other = said(&edge, 1, Some((0, 2)), 1, 15);
    let output = after(task.as_mut(), 1, 42, &[other]).expect("taken").expect("sealed");
    assert_eq!(points(&output, UNANSWERED), [(-10, 0.0), (0, 5.0)]);
}

#[test]
fn the_levels_of_all_tasks_are_one_gauge_at_wall_time() {
    let mut task = fresh();
    let edge = edge(0xa);
    let output = after(
        task.as_mut(),
        0,
        1,
        &[said(&edge, 0, None, 3, 0), said(&edge, 1, None, 4, 0)],
    );
    assert_eq!(points(&output.expect("taken").expect("sealed"), OPEN), [(1, 7.0)]);
    let output = after(task.as_mut(), 1, 2, &[said(&edge, 1, None, 0, 0)]);
    assert_eq!(points(&output.expect("taken").expect("sealed"), OPEN), [(2, 3.0)]);
    let output = after(task.as_mut(), 2, 3, &[said("join/000000000000000b", 1, None, 9, 0)]);
    assert_eq!(
        points(&output.expect("taken").expect("sealed"), OPEN),
        [],
        "another join has no say in it"
    );
}

#[test]
fn levels_and_watermarks_of_joins_survive_a_restore() {
    let mut task = fresh();
    let edge = edge(0xa);
    let both = [said(&edge, 0, Some((0, 3)), 3, 20), said(&edge, 1, None, 4, 30)];
    let output = after(task.as_mut(), 0, 31, &both).expect("taken").expect("sealed");
    let resumed = Open::Resumed {
        offset: 1,
        metadata: "",
        topic_id: [0; 16],
    };
    let mut task = open(0xa, resumed, &output.changelog);
    let more = said(&edge, 0, Some((30, 1)), 1, 40);
    let output = after(task.as_mut(), 1, 41, &[more]).expect("taken").expect("sealed");
    assert_eq!(points(&output, OPEN), [(41, 5.0)]);
    assert_eq!(points(&output, UNANSWERED), [(30, 4.0)]);
}

#[test]
fn a_join_that_was_defined_anew_starts_with_no_levels() {
    let mut task = fresh();
    let both = [said(&edge(0xa), 0, None, 3, 0), said(&edge(0xa), 1, None, 4, 0)];
    let output = after(task.as_mut(), 0, 1, &both).expect("taken").expect("sealed");
    let resumed = Open::Resumed {
        offset: 1,
        metadata: "",
        topic_id: [0; 16],
    };
    let mut task = open(0xb, resumed, &output.changelog);
    let output = after(task.as_mut(), 1, 2, &[said(&edge(0xb), 0, None, 1, 0)]).expect("taken");
    assert_eq!(points(&output.expect("sealed"), OPEN), [(2, 1.0)]);
}

#[test]
fn a_level_of_an_unknown_metric_holds_the_partition() {
    let mut task = fresh();
    let mut batch = said(&edge(0xa), 0, None, 1, 0);
    batch.levels[0].definition = 0xdead;
    let held = after(task.as_mut(), 0, 1, &[batch]);
    assert!(
        matches!(&held, Err(Halt::Hold(reason)) if reason.contains("000000000000dead")),
        "{held:?}"
    );
}
