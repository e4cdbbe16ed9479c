//! Stages may run in processes of their own, several pipelines in one application, and none of it is large.

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::collector::Collector;
use common::instance::Application;
use common::kafka::{Kafka, Write};
use common::oracle::{RECORDS, labels};
use common::points::Value;
use common::process::status_kib;
use common::traffic::stamp;
use common::{eventually, folder, my_turn, now_micros};

const LIMIT: Duration = Duration::from_secs(90);
const TOPIC: &str = "events";
const PARTITIONS: u32 = 3;

fn pipeline(folder: &Path, name: &str, metric: &str) -> PathBuf {
    let path = folder.join(format!("{name}.yaml"));
    let text = format!(
        "pipeline: {name}
defaults: {{ out_of_order: 1s, idle_after: 1s, window: 1s }}
sources:
  events: {{ topic: {TOPIC}, time: /timestamp }}
metrics:
  {metric}: {{ count: events, labels: {{ kind: /kind }} }}
"
    );
    std::fs::write(&path, text).expect("a pipeline");
    path
}

fn write(kafka: &Kafka, values: impl Iterator<Item = Vec<u8>>) {
    let writer = kafka.writer();
    for (nth, value) in (0..).zip(values) {
        writer.write(&Write {
            topic: TOPIC.to_owned(),
            partition: nth % PARTITIONS,
            value: Some(value),
            ..Write::default()
        });
    }
    writer.flush();
}

fn event(nth: usize) -> Vec<u8> {
    let kind = ["red", "green"][nth % 2];
    format!(r#"{{"timestamp": "{}", "kind": "{kind}"}}"#, stamp(now_micros())).into_bytes()
}

#[test]
fn stages_in_processes_of_their_own_show_both_pipelines_exactly() {
    let _turn = my_turn();
    let folder = folder();
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, PARTITIONS, &[]);
    let mut collector = Collector::start(folder.path());
    let first = pipeline(folder.path(), "first", "first_total");
    let second = pipeline(folder.path(), "second", "second_total");
    let application = Application::new(folder.path(), &first, &kafka.bootstrap(), &collector.endpoint())
        .with(&[second.to_str().expect("a plain path")]);
    let mut tap = application.clone().with(&["--stages", "tap"]).start("tap");
    let mut gauge = application.clone().with(&["--stages", "gauge"]).start("gauge");
    let mut export = application.clone().with(&["--stages", "export"]).start("export");
    for instance in [&tap, &gauge] {
        eventually("each stage is ready alone", LIMIT, || instance.is_ready());
    }
    write(&kafka, (0..300).map(event));
    let are_there = |collector: &mut Collector, count: i64| {
        eventually("both pipelines' totals", LIMIT, || {
            for name in ["first_total", "second_total"] {
                let counts = collector.points().counts(name);
                for kind in ["red", "green"] {
                    if counts.get(&labels(&[("kind", kind)])) != Some(&count) {
                        return Err(format!("{name}: {counts:?}"));
                    }
                }
            }
            Ok(())
        });
    };
    are_there(&mut collector, 150);
    // Each of them may die for itself.
    for instance in [&mut tap, &mut gauge, &mut export] {
        instance.kill();
        instance.resume();
    }
    write(&kafka, (0..300).map(event));
    are_there(&mut collector, 300);
    let resources: std::collections::BTreeSet<String> = collector
        .points()
        .series
        .keys()
        .filter(|id| id.name.ends_with("t_total") || id.name.ends_with("d_total"))
        .filter_map(|id| id.resource.get("streamgauge.pipeline").cloned())
        .collect();
    assert_eq!(resources.into_iter().collect::<Vec<_>>(), ["first", "second"]);
    for instance in [&mut tap, &mut gauge, &mut export] {
        instance.stop();
    }
    assert_eq!(application.audit().0, Some(0));
    let faults = collector.points().faults();
    assert!(faults.is_empty(), "{faults:?}");
}

const JOINED: &str = "
pipeline: joined
defaults: { out_of_order: 1s, idle_after: 1h, window: 1s }
sources:
  requests: { topic: requests, time: { field: /at, format: micros } }
  responses: { topic: responses, time: { field: /at, format: micros } }
metrics:
  requests_total: { count: requests, labels: { kind: /kind } }
  response_time_seconds:
    respond: { from: requests, to: responses, on: /id, within: 20s, forget: 10s }
  responses_unanswered_total:
    respond: { from: requests, to: responses, on: /id, within: 20s, forget: 10s, measure: unanswered }
";

#[test]
fn sources_that_are_ahead_wait_where_a_join_is_nearly_full_and_every_total_is_right() {
    const REQUESTS: i64 = 10_000;
    /// Later than all of them.
    const END: i64 = 2_500_000_000;
    let _turn = my_turn();
    let folder = folder();
    let kafka = Kafka::start();
    for topic in ["requests", "responses"] {
        kafka.create_topic(topic, PARTITIONS, &[]);
    }
    let mut collector = Collector::start(folder.path());
    let path = folder.path().join("joined.yaml");
    std::fs::write(&path, JOINED).expect("a pipeline");
    let mut application =
        Application::new(folder.path(), &path, &kafka.bootstrap(), &collector.endpoint()).with(&["--max-open", "100"]);
    application
        .environment
        .push(("OTEL_METRIC_EXPORT_INTERVAL", "500".to_owned()));
    let begin = now_micros() - END - 60_000_000;
    let writer = kafka.writer();
    let write = |topic: &str, partition: i64, id: &str, at: i64, kind: &str| {
        let value = format!(r#"{{"at": {}, "id": "{id}", "kind": "{kind}"}}"#, begin + at);
        writer.write(&Write {
            topic: topic.to_owned(),
            partition: partition as u32,
            value: Some(value.into_bytes()),
            ..Write::default()
        });
    };
    let partitions = i64::from(PARTITIONS);
    let request = |id: i64| write("requests", id % partitions, &id.to_string(), id * 200_000, "asked");
    // Everything but most of one partition, which the others have to wait for.
    let is_missing = |id: &i64| id % partitions == 2 && *id > 50;
    (0..REQUESTS).filter(|id| !is_missing(id)).for_each(request);
    for id in (0..REQUESTS).step_by(2) {
        write(
            "responses",
            id / 2 % partitions,
            &id.to_string(),
            id * 200_000 + 3_000_000,
            "told",
        );
    }
    writer.flush();
    let mut instance = application.start("one");
    eventually("it says that sources wait", LIMIT, || {
        let output = instance.process().output();
        match output.contains("ahead of the slowest") && output.contains("--max-open") {
            true => Ok(()),
            false => Err(instance.process().tail()),
        }
    });
    instance.is_ready().expect("who waits is ready");
    let output = instance.process().output();
    assert!(!output.contains("is not known"), "commits cannot be seen: {output}");
    eventually("the metric of those who wait", LIMIT, || {
        let processes = &collector.points().processes;
        let waiting = processes
            .iter()
            .filter(|(id, _)| id.name == "streamgauge_waiting_partitions");
        let last = waiting
            .filter_map(|(_, series)| series.last())
            .map(|value| value.integer());
        match last.sum::<i64>() {
            0 => Err("nobody".to_owned()),
            _ => Ok(()),
        }
    });
    (0..REQUESTS).filter(is_missing).for_each(request);
    for partition in 0..partitions {
        write("requests", partition, &format!("last {partition}"), END, "last");
        write("responses", partition, &format!("end {partition}"), END, "last");
    }
    writer.flush();
    eventually("all totals", LIMIT, || {
        let points = collector.points();
        let asked = points
            .counts("requests_total")
            .get(&labels(&[("kind", "asked")]))
            .copied();
        let answered: f64 = points.last("response_time_seconds").values().map(Value::number).sum();
        let unanswered = points.sum("responses_unanswered_total");
        match (asked, answered as i64, unanswered) == (Some(REQUESTS), REQUESTS / 2, REQUESTS / 2) {
            true => Ok(()),
            false => Err(format!("{asked:?} asked, {answered} answered, {unanswered} not")),
        }
    });
    eventually("it says that nobody waits any more", LIMIT, || {
        match instance.process().output().contains("no partition waits") {
            true => Ok(()),
            false => Err(instance.process().tail()),
        }
    });
    instance.stop();
    assert_eq!(application.audit().0, Some(0));
    let faults = collector.points().faults();
    assert!(faults.is_empty(), "{faults:?}");
}

#[test]
fn records_of_ten_megabytes_and_deep_ones_and_ever_new_series_stay_small_in_memory() {
    let _turn = my_turn();
    const EACH: usize = 60;
    let folder = folder();
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, PARTITIONS, &[("max.message.bytes", "16000000")]);
    let mut collector = Collector::start(folder.path());
    let pipeline = pipeline(folder.path(), "first", "first_total");
    let application = Application::new(folder.path(), &pipeline, &kafka.bootstrap(), &collector.endpoint());
    let mut instance = application.start("one");
    eventually("it is ready", LIMIT, || instance.is_ready());
    let time = stamp(now_micros());
    let large = format!(r#"{{"timestamp": "{time}", "kind": "{}"}}"#, "x".repeat(10_000_000)).into_bytes();
    let deep = "[".repeat(1_000_000).into_bytes();
    write(&kafka, (0..EACH).flat_map(|_| [large.clone(), deep.clone()]));
    // A label that is never the same twice ends in the overflow series.
    const SERIES: usize = 100_000;
    let new = |nth: usize| format!(r#"{{"timestamp": "{time}", "kind": "kind-{nth:0100}"}}"#).into_bytes();
    write(&kafka, (0..SERIES).map(new));
    let expected = [("counted", SERIES), ("malformed", EACH), ("oversize", EACH)];
    eventually("every record has its outcome", LIMIT, || {
        let counts = collector.points().counts(RECORDS);
        let of = |outcome: &str| -> i64 {
            let of_it = counts.iter().filter(|(labels, _)| labels["outcome"] == outcome);
            of_it.map(|(_, count)| *count).sum()
        };
        match expected.iter().all(|(outcome, count)| of(outcome) == *count as i64) {
            true => Ok(()),
            false => Err(format!("{counts:?}")),
        }
    });
    let peak = status_kib(instance.process().id(), "VmHWM");
    eprintln!("peak of resident memory: {} MiB", peak / 1024);
    assert!(peak < 300 * 1024, "{} MiB at its peak", peak / 1024);
    instance.stop();
}
