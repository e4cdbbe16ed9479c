//! Nothing that comes from outside stops the pipeline, or is passed over in silence.

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::collector::Collector;
use common::instance::{Application, BINARY, Instance, said};
use common::kafka::{Kafka, Stored, Write};
use common::oracle::{RECORDS, labels};
use common::points::Points;
use common::traffic::stamp;
use common::{eventually, folder, free_port, my_turn, now_micros};

const EVENTS: &str = "events";
const LIMIT: Duration = Duration::from_secs(60);

/// One topic, short windows, a counter and a sum.
const PIPELINE: &str = "
pipeline: events
defaults: { out_of_order: 1s, idle_after: 1s, window: 1s }
sources:
  events: { topic: events, time: /timestamp }
metrics:
  events_total: { count: events, labels: { kind: /kind } }
  amounts_total: { sum: { of: events, value: /amount } }
";

fn pipeline(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("events.yaml");
    std::fs::write(&path, text).expect("a pipeline");
    path
}

/// A broker with the topic, a collector, and an application that is not started.
fn parts(folder: &Path, partitions: u32) -> (Kafka, Collector, Application) {
    let kafka = Kafka::start();
    kafka.create_topic(EVENTS, partitions, &[("max.message.bytes", "16000000")]);
    let collector = Collector::start(folder);
    let application = Application::new(
        folder,
        &pipeline(folder, PIPELINE),
        &kafka.bootstrap(),
        &collector.endpoint(),
    );
    (kafka, collector, application)
}

fn event(kind: &str) -> Vec<u8> {
    format!(
        r#"{{"timestamp": "{}", "kind": "{kind}", "amount": 1}}"#,
        stamp(now_micros())
    )
    .into_bytes()
}

/// Writes one event of each kind to a partition.
fn write(kafka: &Kafka, partition: u32, kinds: &[&str]) {
    let writer = kafka.writer();
    for kind in kinds {
        writer.write(&Write {
            topic: EVENTS.to_owned(),
            partition,
            value: Some(event(kind)),
            ..Write::default()
        });
    }
    writer.flush();
}

/// Waits until a counter is exactly this.
fn counted(collector: &mut Collector, name: &str, labels: &common::points::Attributes, count: i64) {
    eventually(&format!("{name}{labels:?} is {count}"), LIMIT, || {
        let counts = collector.points().counts(name);
        if counts.get(labels) == Some(&count) {
            Ok(())
        } else {
            Err(format!("{counts:?}"))
        }
    });
}

fn kind_counted(collector: &mut Collector, kind: &str, count: i64) {
    counted(collector, "events_total", &labels(&[("kind", kind)]), count);
}

/// Waits until a process has said something.
fn says(instance: &mut Instance, what: &str) {
    eventually(&format!("{} says `{what}`", instance.name), LIMIT, || {
        let output = instance.process().output();
        if output.contains(what) { Ok(()) } else { Err(output) }
    });
}

fn outcomes(points: &Points) -> std::collections::BTreeMap<String, i64> {
    let mut outcomes = std::collections::BTreeMap::new();
    for (labels, count) in points.counts(RECORDS).into_iter().filter(|(_, count)| *count != 0) {
        *outcomes.entry(labels["outcome"].clone()).or_default() += count;
    }
    outcomes
}

/// A record, what becomes of it, and a part of the reason for that (or the kind that it is counted as).
type Case = (Option<Vec<u8>>, &'static str, &'static str);

fn cases() -> Vec<Case> {
    let now = stamp(now_micros());
    // A document with this behind its time.
    let rest = |rest: &str| format!(r#"{{"timestamp": "{now}", "amount": 1, {rest}}}"#).into_bytes();
    let time = |time: &str| format!(r#"{{"timestamp": {time}, "kind": "time", "amount": 1}}"#).into_bytes();
    let amount =
        |amount: &str| format!(r#"{{"timestamp": "{now}", "kind": "amount", "amount": {amount}}}"#).into_bytes();
    let padded = |size: usize| {
        let empty = rest(r#""kind": "padded", "padding": """#).len();
        rest(&format!(
            r#""kind": "padded", "padding": "{}""#,
            "x".repeat(size - empty)
        ))
    };
    let nested = |depth: usize| {
        rest(&format!(
            r#""kind": "nested", "deep": {}{}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        ))
    };
    let raw = |parts: &[&[u8]]| parts.concat();
    let mut cases: Vec<Case> = vec![
        (None, "malformed", "null value"),
        (Some(Vec::new()), "malformed", "empty value"),
        (Some(b" ".to_vec()), "malformed", "malformed JSON"),
        (Some(b"\0\0\0\0".to_vec()), "malformed", "malformed JSON"),
        (Some(b"not json".to_vec()), "malformed", "malformed JSON"),
        (Some(b"null".to_vec()), "malformed", "`/timestamp`"),
        (Some(b"[]".to_vec()), "malformed", "`/timestamp`"),
        (Some(b"\"text\"".to_vec()), "malformed", "`/timestamp`"),
        (Some(b"{}".to_vec()), "malformed", "`/timestamp`"),
        // Cut off, and with something behind it.
        (
            Some(rest(r#""kind": "cut""#)[..30].to_vec()),
            "malformed",
            "malformed JSON",
        ),
        (
            Some(raw(&[&rest(r#""kind": "twice""#), b"{}"])),
            "malformed",
            "malformed JSON",
        ),
        (
            Some(raw(&[b"\xef\xbb\xbf", &rest(r#""kind": "mark""#)])),
            "malformed",
            "malformed JSON",
        ),
        // Bytes that are no UTF-8: in a label, in a field nobody asked for, in a key.
        (Some(raw(&[&rest(r#""kind": ""#), b"\xff\"}"])), "malformed", ""),
        (
            Some(raw(&[b"{\"other\": \"\xc3\x28\", ", &rest(r#""kind": "other""#)[1..]])),
            "malformed",
            "",
        ),
        (
            Some(raw(&[b"{\"\xed\xa0\x80\": 1, ", &rest(r#""kind": "key""#)[1..]])),
            "malformed",
            "",
        ),
        (
            Some(raw(&[b"{\"control\": \"\x01\", ", &rest(r#""kind": "control""#)[1..]])),
            "malformed",
            "control character",
        ),
        // What Python and JavaScript write, and JSON does not have.
        (Some(rest(r#""kind": "nan", "x": NaN"#)), "malformed", "malformed JSON"),
        (Some(rest(r#""kind": "comma","#)), "malformed", "malformed JSON"),
        (Some(rest(r#""kind": 'single'"#)), "malformed", "malformed JSON"),
        (Some(rest(r#""kind": "bad escape \x""#)), "malformed", "malformed JSON"),
        (
            Some(rest(r#""kind": "zeros", "x": 007"#)),
            "malformed",
            "malformed JSON",
        ),
        // Fields that are missing or of another type.
        (Some(rest(r#""other": 1"#)), "malformed", "`kind`"),
        (Some(rest(r#""kind": null"#)), "malformed", "`kind`"),
        (Some(rest(r#""kind": ["a"]"#)), "malformed", "`kind`"),
        (Some(rest(r#""kind": {"a": 1}"#)), "malformed", "`kind`"),
        (
            Some(rest(&format!(r#""kind": "{}""#, "k".repeat(1_025)))),
            "malformed",
            "`kind`",
        ),
        (
            Some(rest(&format!(r#""kind": "{}""#, "k".repeat(1_024)))),
            "counted",
            "*",
        ),
        (Some(rest(r#""kind": 5"#)), "counted", "5"),
        (Some(rest(r#""kind": 1e400"#)), "counted", "1e400"),
        (Some(rest(r#""kind": true"#)), "counted", "true"),
        (Some(rest(r#""kind": """#)), "counted", ""),
        (Some(amount("null")), "malformed", "`/amount`"),
        (Some(amount(r#""1""#)), "malformed", "`/amount`"),
        (Some(amount("-1")), "malformed", "negative"),
        (Some(amount("1e13")), "malformed", "10^12"),
        (Some(amount("1e999999999")), "malformed", "10^12"),
        (Some(amount("1e-999999999")), "counted", "amount"),
        // Keys: twice, and spelled with escapes.
        (Some(rest(r#""kind": "first", "kind": "second""#)), "counted", "second"),
        (Some(rest(r#""\u006bind": "escaped""#)), "counted", "escaped"),
        (
            Some(rest(r#""kind": "caf\u00e9 \ud83d\ude00 \"x\"""#)),
            "counted",
            "café 😀 \"x\"",
        ),
        (Some(rest(r#""kind": "\ud800""#)), "counted", "*"),
        // Numbers that nobody asked for may be of any size.
        (
            Some(rest(&format!(
                r#""kind": "huge", "x": {}, "y": -1.5e+99999999"#,
                "9".repeat(5_000)
            ))),
            "counted",
            "huge",
        ),
        // Nesting: the document itself is one container of 128.
        (Some(nested(127)), "counted", "nested"),
        (Some(nested(128)), "malformed", "128 containers"),
        (Some(nested(400_000)), "malformed", "128 containers"),
        // Size.
        (Some(padded(1 << 20)), "counted", "padded"),
        (Some(padded((1 << 20) + 1)), "oversize", "1048577 bytes"),
        (Some(padded(10_000_000)), "oversize", "10000000 bytes"),
        (Some(vec![b'['; 10_000_000]), "oversize", "10000000 bytes"),
        // Times.
        (
            Some(rest(r#""kind": "late", "timestamp": "1970-01-01T00:00:00""#)),
            "counted",
            "late",
        ),
        (Some(time("0")), "counted", "time"),
        (Some(time("\"9999-12-31T23:59:59\"")), "future", "ahead"),
        (Some(time("99999999999")), "future", "ahead"),
        // A number of this size is taken for milliseconds.
        (Some(time("253402300799")), "counted", "time"),
    ];
    let no_times = [
        "null",
        "true",
        "[]",
        "{}",
        "\"\"",
        "\"yesterday\"",
        "\"2026-11-22\"",
        "\"2026-13-01T00:00:00\"",
        "\"2026-02-30T10:00:00\"",
        "\"2026-11-22T25:00:00\"",
        "\"2026-11-22T10:00:00 GMT\"",
        "\"1795356000\"",
        "-1",
        "1e400",
        "253402300800000000000",
        "99999999999999999999999",
    ];
    cases.extend(no_times.map(|text| (Some(time(text)), "malformed", "`/timestamp`")));
    cases
}

#[test]
fn every_bad_record_ends_as_one_outcome_and_none_stops_the_pipeline() {
    let _turn = my_turn();
    let folder = folder();
    let (kafka, mut collector, application) = parts(folder.path(), 3);
    let mut instance = application.start("one");
    let cases = cases();
    let writer = kafka.writer();
    let mut where_written: Vec<(u32, i64)> = Vec::new();
    for (nth, (value, ..)) in cases.iter().enumerate() {
        let (partition, offset) = (nth as u32 % 3, nth as i64 / 3);
        where_written.push((partition, offset));
        writer.write(&Write {
            topic: EVENTS.to_owned(),
            partition,
            value: value.clone(),
            ..Write::default()
        });
    }
    writer.flush();
    let mut expected = std::collections::BTreeMap::new();
    for (_, outcome, _) in &cases {
        *expected.entry((*outcome).to_owned()).or_insert(0) += 1;
    }
    eventually("every record has its outcome", LIMIT, || {
        let outcomes = outcomes(collector.points());
        if outcomes.values().sum::<i64>() == cases.len() as i64 {
            Ok(())
        } else {
            Err(format!("{outcomes:?}"))
        }
    });
    let letters = letters(&kafka);
    for ((value, outcome, reason), (partition, offset)) in cases.iter().zip(&where_written) {
        let at = |letter: &&Stored| {
            letter.headers["partition"] == partition.to_string() && letter.headers["offset"] == offset.to_string()
        };
        let found: Vec<&Stored> = letters.iter().filter(at).collect();
        let shown = String::from_utf8_lossy(
            &value.as_deref().unwrap_or_default()[..value.as_ref().map_or(0, |value| value.len().min(120))],
        )
        .into_owned();
        if *outcome == "counted" {
            assert!(
                found.is_empty(),
                "{shown} is counted, and there is a dead letter of it: {found:?}"
            );
            continue;
        }
        assert_eq!(found.len(), 1, "{shown} has one dead letter");
        let letter = found[0];
        assert_eq!(
            (letter.headers["outcome"].as_str(), letter.headers["topic"].as_str()),
            (*outcome, EVENTS),
            "{shown}"
        );
        assert!(
            letter.headers["reason"].contains(reason),
            "{shown}: `{}` says nothing of `{reason}`",
            letter.headers["reason"]
        );
        let first = value.as_ref().map(|value| &value[..value.len().min(64 * 1024)]);
        assert_eq!(letter.value.as_deref(), first, "{shown} is kept as it came");
    }
    assert_eq!(outcomes(collector.points()), expected);
    // A record from 1970 makes its partition wait for others like it, for a minute at most; newer ones push it on.
    (0..3).for_each(|partition| write(&kafka, partition, &["after"]));
    std::thread::sleep(Duration::from_secs(3));
    (0..3).for_each(|partition| write(&kafka, partition, &["last"]));
    kind_counted(&mut collector, "after", 3);
    for (_, outcome, kind) in &cases {
        if *outcome == "counted" && *kind != "*" {
            let of_kind = cases
                .iter()
                .filter(|(_, outcome, other)| *outcome == "counted" && other == kind)
                .count();
            kind_counted(&mut collector, kind, of_kind as i64);
        }
    }
    instance.stop();
    assert_eq!(application.audit().0, Some(0));
    let faults = collector.points().faults();
    assert!(faults.is_empty(), "{faults:?}");
}

fn letters(kafka: &Kafka) -> Vec<Stored> {
    kafka.read("support-dead-letters", true)
}

#[test]
fn a_broker_that_cannot_be_reached_is_named_and_waited_for() {
    let _turn = my_turn();
    let folder = folder();
    let nowhere = format!("127.0.0.1:{}", free_port());
    let pipeline = pipeline(folder.path(), PIPELINE);
    let application = Application::new(folder.path(), &pipeline, &nowhere, "http://127.0.0.1:1");
    let mut instance = application.start("one");
    says(&mut instance, "--bootstrap");
    assert!(instance.process().output().contains(&nowhere));
    std::thread::sleep(Duration::from_secs(3));
    instance.process().must_live();
    instance.stop();
    let began = std::time::Instant::now();
    let check = Command::new(BINARY)
        .arg("check")
        .arg(&pipeline)
        .args(["--connect", "--bootstrap", &nowhere])
        .output()
        .expect("it runs");
    assert_eq!(check.status.code(), Some(5), "{}", said(&check));
    assert!(said(&check).contains("--bootstrap"), "{}", said(&check));
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "check --connect took {:?}",
        began.elapsed()
    );
    let (code, said) = application.audit();
    assert_eq!(code, Some(5), "{said}");
}

#[test]
fn a_collector_that_cannot_be_reached_is_named_and_loses_nothing() {
    let _turn = my_turn();
    let folder = folder();
    let kafka = Kafka::start();
    kafka.create_topic(EVENTS, 3, &[]);
    let mut collector = Collector::stopped(folder.path());
    let pipeline = pipeline(folder.path(), PIPELINE);
    let application = Application::new(folder.path(), &pipeline, &kafka.bootstrap(), &collector.endpoint());
    let mut instance = application.start("one");
    write(&kafka, 0, &["early", "early"]);
    says(&mut instance, &collector.endpoint());
    says(&mut instance, "--otlp");
    std::thread::sleep(Duration::from_secs(3));
    instance.process().must_live();
    instance.kill();
    instance.resume();
    write(&kafka, 1, &["early"]);
    std::thread::sleep(Duration::from_secs(3));
    collector.resume();
    kind_counted(&mut collector, "early", 3);
    instance.stop();
    let faults = collector.points().faults();
    assert!(faults.is_empty(), "{faults:?}");
}

#[test]
fn a_topic_that_does_not_exist_is_named_and_picked_up_when_it_does() {
    let _turn = my_turn();
    let folder = folder();
    let kafka = Kafka::start();
    let mut collector = Collector::start(folder.path());
    let pipeline = pipeline(folder.path(), PIPELINE);
    let application = Application::new(folder.path(), &pipeline, &kafka.bootstrap(), &collector.endpoint());
    let mut instance = application.start("one");
    says(&mut instance, "events");
    says(&mut instance, "waiting for it");
    std::thread::sleep(Duration::from_secs(5));
    instance.process().must_live();
    // Nothing of this is a reason not to start again.
    instance.kill();
    instance.resume();
    std::thread::sleep(Duration::from_secs(5));
    instance.process().must_live();
    kafka.create_topic(EVENTS, 3, &[]);
    write(&kafka, 2, &["late", "late"]);
    kind_counted(&mut collector, "late", 2);
    instance.stop();
}

#[test]
fn partitions_that_are_added_are_picked_up_from_their_beginning() {
    let _turn = my_turn();
    let folder = folder();
    let (kafka, mut collector, mut application) = parts(folder.path(), 3);
    let latest = PIPELINE.replace("defaults: {", "defaults: { start: latest,");
    application.pipeline = pipeline(folder.path(), &latest);
    write(&kafka, 0, &["too early"]);
    let mut instance = application.start("one");
    eventually("it has committed where it starts", LIMIT, || {
        let committed = kafka.committed(&application.id, EVENTS);
        if committed.iter().all(Option::is_some) {
            Ok(())
        } else {
            Err(format!("{committed:?}"))
        }
    });
    write(&kafka, 0, &["first"]);
    kind_counted(&mut collector, "first", 1);
    kafka.add_partitions(EVENTS, 5);
    write(&kafka, 4, &["added", "added"]);
    write(&kafka, 3, &["added"]);
    kind_counted(&mut collector, "added", 3);
    write(&kafka, 1, &["first"]);
    kind_counted(&mut collector, "first", 2);
    instance.stop();
    assert!(
        !collector
            .points()
            .counts("events_total")
            .contains_key(&labels(&[("kind", "too early")]))
    );
    assert_eq!(application.audit().0, Some(0));
}

#[test]
fn a_changed_definition_starts_its_metric_anew() {
    let _turn = my_turn();
    let folder = folder();
    let (kafka, mut collector, application) = parts(folder.path(), 3);
    let mut instance = application.start("one");
    write(&kafka, 0, &["same", "same", "same"]);
    kind_counted(&mut collector, "same", 3);
    counted(&mut collector, "amounts_total", &labels(&[]), 3);
    instance.stop();
    // Another condition makes it another metric, under the same name and labels.
    let changed = PIPELINE
        .replace(
            "time: /timestamp }",
            "time: /timestamp }\n  some: { topic: events, time: /timestamp, when: 'amount > 0' }",
        )
        .replace("count: events", "count: some");
    pipeline(folder.path(), &changed);
    instance.resume();
    write(&kafka, 1, &["same", "same"]);
    kind_counted(&mut collector, "same", 2);
    instance.stop();
    let points = collector.points();
    let (_, series) = points.of("events_total").next().expect("the series");
    let starts: Vec<u64> = series.starts().into_iter().collect();
    assert_eq!(starts.len(), 2, "{series:?}");
    let (old, new): (Vec<_>, Vec<_>) = series.points.iter().partition(|point| point.start == starts[0]);
    let old_end = old.iter().map(|point| point.time).max().expect("points");
    assert!(
        old.iter().any(|point| point.time == old_end && point.value.is_none()),
        "the old life is ended: {old:?}"
    );
    assert!(
        new.iter().all(|point| point.time > old_end),
        "the new life comes after the old one: {series:?}"
    );
    // What did not change goes on.
    counted(&mut collector, "amounts_total", &labels(&[]), 5);
    let (_, amounts) = collector.points().of("amounts_total").next().expect("the series");
    assert_eq!(amounts.starts().len(), 1);
    assert_eq!(application.audit().0, Some(0));
}

#[test]
fn of_two_instances_with_one_name_the_older_one_ends() {
    let _turn = my_turn();
    let folder = folder();
    let (kafka, mut collector, application) = parts(folder.path(), 3);
    let mut older = application.start("one");
    write(&kafka, 0, &["a"]);
    kind_counted(&mut collector, "a", 1);
    let elsewhere = Application {
        folder: folder.path().join("elsewhere"),
        ..application.clone()
    };
    std::fs::create_dir(&elsewhere.folder).expect("a folder");
    let mut newer = elsewhere.start("one");
    let (status, said) = older.ends(LIMIT);
    assert_eq!(status.code(), Some(3), "{said}");
    assert!(said.contains("one"), "it names the instance: {said}");
    write(&kafka, 1, &["a", "a"]);
    kind_counted(&mut collector, "a", 3);
    newer.stop();
    let faults = collector.points().faults();
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(application.audit().0, Some(0));
}

#[test]
fn a_broker_that_is_away_for_longer_than_a_session_ends_no_instance() {
    let _turn = my_turn();
    let folder = folder();
    let (mut kafka, mut collector, application) = parts(folder.path(), 6);
    let mut instances = ["one", "two", "three"].map(|name| application.start(name));
    write(&kafka, 0, &["a"]);
    kind_counted(&mut collector, "a", 1);
    for round in 0..2 {
        kafka.kill();
        std::thread::sleep(Duration::from_millis(700 * (round + 1)));
        kafka.resume();
        eventually("the members share the partitions again", LIMIT, || {
            instances.iter_mut().for_each(|instance| instance.process().must_live());
            let told = kafka.tool(
                "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
                &["--describe", "--group", &application.id, "--members"],
            );
            let rows: Vec<Vec<&str>> = told.lines().map(|line| line.split_whitespace().collect()).collect();
            let of = |name: &str| rows.iter().any(|row| row.iter().any(|cell| cell.starts_with(name)));
            let shared: u32 = rows.iter().filter_map(|row| row.last()?.parse::<u32>().ok()).sum();
            match ["one-", "two-", "three-"].into_iter().all(of) && shared == 6 {
                true => Ok(()),
                false => Err(told),
            }
        });
    }
    // What these instances read now cannot be asked for: a broker that comes back alone loses the markers of transactions
    // that were open (see `Kafka::start_pair`), and what was never ended hangs. Others can read and write.
    instances.iter_mut().for_each(Instance::stop);
    let after = Application {
        id: "after".to_owned(),
        ..application.clone()
    };
    let mut after = after.start("one");
    write(&kafka, 1, &["b"]);
    kind_counted(&mut collector, "b", 1);
    after.stop();
}

#[test]
fn offsets_reset_by_hand_stop_the_stage_until_they_are_accepted() {
    let _turn = my_turn();
    let folder = folder();
    let (kafka, mut collector, application) = parts(folder.path(), 3);
    let mut instance = application.start("one");
    write(&kafka, 0, &["a", "a", "a", "a"]);
    kind_counted(&mut collector, "a", 4);
    instance.stop();
    kafka.reset(&application.id, EVENTS, 0, 1);
    instance.resume();
    let (status, said) = instance.ends(LIMIT);
    assert_eq!(status.code(), Some(4), "{said}");
    for part in ["--accept-reset", "events", "offset 1"] {
        assert!(said.contains(part), "`{part}` is in the message: {said}");
    }
    let mut accepting = application.clone().with(&["--accept-reset"]).start("one");
    // The three behind offset 1 are counted again, since that is what was asked for.
    kind_counted(&mut collector, "a", 7);
    write(&kafka, 2, &["a"]);
    kind_counted(&mut collector, "a", 8);
    accepting.stop();
    let (code, said) = application.audit();
    assert_eq!(code, Some(0), "{said}");
    // The flag is for once: without it the next start goes on.
    let mut after = application.start("one");
    write(&kafka, 0, &["a"]);
    kind_counted(&mut collector, "a", 9);
    after.stop();
}

#[test]
fn another_number_of_shuffle_partitions_is_refused_at_the_start() {
    let _turn = my_turn();
    let folder = folder();
    let (_kafka, _collector, application) = parts(folder.path(), 3);
    let mut instance = application.start("one");
    eventually("ready", LIMIT, || instance.is_ready());
    instance.stop();
    let other = Application {
        shuffle_partitions: 4,
        ..application.clone()
    };
    let (status, said) = other.start("two").ends(LIMIT);
    assert_eq!(status.code(), Some(2), "{said}");
    for part in ["--shuffle-partitions", "support-gauge-repartition", "6", "4"] {
        assert!(said.contains(part), "`{part}` is in the message: {said}");
    }
}

#[test]
fn an_internal_topic_is_refused_as_an_input_topic() {
    let folder = folder();
    for internal in ["gauge-repartition", "gauge-changelog", "otlp-metrics", "dead-letters"] {
        let topic = format!("support-{internal}");
        let pipeline = pipeline(
            folder.path(),
            &PIPELINE.replace("topic: events", &format!("topic: {topic}")),
        );
        let check = |id: &str| {
            let mut command = Command::new(BINARY);
            command.arg("check").arg(&pipeline).args(["--application-id", id]);
            command.output().expect("it runs")
        };
        let refused = check("support");
        assert_eq!(refused.status.code(), Some(2), "{}", said(&refused));
        for part in [topic.as_str(), "--application-id", "internal topic"] {
            assert!(said(&refused).contains(part), "`{part}`: {}", said(&refused));
        }
        // To another application it is a topic like any other.
        let taken = check("other");
        assert_eq!(taken.status.code(), Some(0), "{}", said(&taken));
        // Seen before any broker is asked.
        let application = Application::new(folder.path(), &pipeline, "127.0.0.1:1", "http://127.0.0.1:1");
        let (status, said) = application.start("one").ends(LIMIT);
        assert_eq!(status.code(), Some(2), "{said}");
        assert!(said.contains(&topic), "{said}");
    }
}

#[test]
fn a_record_that_an_internal_topic_does_not_take_stops_the_stage_and_is_not_sent_again() {
    let _turn = my_turn();
    let folder = folder();
    let (kafka, mut collector, application) = parts(folder.path(), 3);
    let repartition = "support-gauge-repartition";
    kafka.create_topic(
        repartition,
        6,
        &[("max.message.bytes", "1000"), ("cleanup.policy", "delete")],
    );
    // Nothing that compresses well: a batch of some hundred series is larger than the topic takes.
    let mut random = common::random::Random::new(1);
    let kinds: Vec<String> = (0..1_500).map(|_| format!("{:016x}", random.below(u64::MAX))).collect();
    write(&kafka, 0, &kinds.iter().map(String::as_str).collect::<Vec<_>>());
    let mut instance = application.start("one");
    let (status, said) = instance.ends(LIMIT);
    assert_eq!(status.code(), Some(4), "{said}");
    for part in [repartition, "a record of", "max.message.bytes must be 8388608"] {
        assert!(said.contains(part), "`{part}` is in the message: {said}");
    }
    assert!(!said.contains("transaction aborted"), "it is not tried again: {said}");
    assert_eq!(collector.points().sum("events_total"), 0, "nothing of it went on");
    kafka.tool(
        "kafka.admin.ConfigCommand",
        &[
            "--alter",
            "--entity-type",
            "topics",
            "--entity-name",
            repartition,
            "--add-config",
            "max.message.bytes=8388608",
        ],
    );
    instance.resume();
    eventually("every event is counted once", LIMIT, || {
        match collector.points().sum("events_total") {
            1_500 => Ok(()),
            other => Err(other.to_string()),
        }
    });
    instance.stop();
    assert_eq!(application.audit().0, Some(0));
}
