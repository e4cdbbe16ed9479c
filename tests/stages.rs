//! Stages may run in processes of their own, several pipelines in one application, and none of it is large.

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::collector::Collector;
use common::instance::Application;
use common::kafka::{Kafka, Write};
use common::oracle::{RECORDS, labels};
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
