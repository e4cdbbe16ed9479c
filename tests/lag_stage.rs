//! The lag of every group through `streamgauge run`, on a real Kafka 4.3 and a real collector.
//!
//! Promise: what the collector has is what Kafka's own tool says, for groups of every kind; under load it never lies beyond
//! what the tool said before and after; what cannot be known is absent, and what has ended is ended.

#[path = "common/mod.rs"]
mod common;
#[path = "offsets_topic/groups.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod groups;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use streamgauge::engine::lag::coordinator::partition_of;

use common::collector::Collector;
use common::instance::{Application, Instance};
use common::kafka::{Kafka, Write};
use common::points::{Attributes, Points, Value};
use common::prometheus::Prometheus;
use common::{eventually, folder, my_turn, now_micros};
use groups::Place;

const TOPIC: &str = "orders";
const PARTITIONS: u32 = 3;
const CALL: Duration = Duration::from_secs(15);
const SOON: Duration = Duration::from_secs(60);

struct System {
    kafka: Kafka,
    collector: Collector,
    application: Application,
    _folder: tempfile::TempDir,
}

impl System {
    fn of(kafka: Kafka, lag: &str) -> Self {
        let folder = folder();
        let collector = Collector::start(folder.path());
        let pipeline: PathBuf = folder.path().join("lag.yaml");
        std::fs::write(&pipeline, format!("pipeline: lag\nlag: {lag}")).expect("a pipeline");
        let mut application = Application::new(folder.path(), &pipeline, &kafka.bootstrap(), &collector.endpoint());
        application.id = "watcher".to_owned();
        Self {
            kafka,
            collector,
            application,
            _folder: folder,
        }
    }

    /// The newest values of a metric of groups other than our own.
    fn values(&mut self, metric: &str) -> BTreeMap<Place, f64> {
        let last = self.collector.points().last(metric);
        let of_others = last.iter().filter(|(attributes, _)| !is_own(attributes));
        of_others
            .map(|(attributes, value)| (place(attributes), number(value)))
            .collect()
    }

    /// The one state of each that is one.
    fn states(&mut self, metric: &str, label: &str) -> BTreeMap<Attributes, String> {
        let mut states = BTreeMap::new();
        for (mut attributes, value) in self.collector.points().last(metric) {
            let state = attributes.remove(label).expect("a state");
            if !is_own(&attributes) && number(&value) == 1.0 {
                let before = states.insert(attributes, state);
                assert_eq!(before, None, "one of them holds");
            }
        }
        states
    }

    /// Has points that were asked for from now on.
    fn after_now(&mut self, metric: &str) {
        let now = u64::try_from(now_micros()).expect("after 1970") * 1_000;
        let collector = &mut self.collector;
        eventually("newer points", SOON, || {
            let points = collector.points();
            let times = points.of(metric).flat_map(|(_, series)| &series.points);
            match times.map(|point| point.time).max() {
                Some(time) if time > now => Ok(()),
                other => Err(format!("{other:?}, and it is {now}")),
            }
        });
    }
}

fn is_own(attributes: &Attributes) -> bool {
    attributes
        .get("consumer_group")
        .is_some_and(|group| group.starts_with("watcher"))
}

fn place(attributes: &Attributes) -> Place {
    let partition = attributes.get("partition").map_or("0", String::as_str);
    (
        attributes["consumer_group"].clone(),
        attributes.get("topic").cloned().unwrap_or_default(),
        partition.parse().expect("a number"),
    )
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Integer(value) => *value as f64,
        Value::Decimal(value) => *value,
        other => panic!("{other:?}"),
    }
}

/// Committed offset, log end and lag by Kafka's own tool.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Told {
    committed: i64,
    end: i64,
    lag: i64,
}

/// Of groups other than our own, where it knows all three.
fn told(kafka: &Kafka) -> BTreeMap<Place, Told> {
    let told = groups::told(kafka)
        .into_iter()
        .filter_map(|(place, (committed, end, lag))| {
            let told = Told {
                committed: committed?,
                end: end?,
                lag: lag?,
            };
            Some((place, told))
        });
    told.filter(|((group, ..), _)| !group.starts_with("watcher")).collect()
}

#[test]
fn on_a_quiet_cluster_it_is_what_kafkas_own_tool_says() {
    let _turn = my_turn();
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, PARTITIONS, &[]);
    groups::fill(&kafka, 20);
    let _classic = groups::classic(&kafka, "classic", 7);
    let _modern = groups::modern(&kafka, "modern", TOPIC, 9);
    groups::commit_by_hand(&kafka, "by-hand", 2, 11, &"m".repeat(4096));
    let odd = "a \"quoted\", \n\u{1f600} name";
    groups::commit_by_hand(&kafka, odd, 1, 19, "");
    groups::exactly_once(&kafka, "eos", 5, 19);
    // A caught-up reader of transactions: behind it is a marker and nothing else.
    kafka.create_topic("payments", 1, &[]);
    let payments = groups::transactional(&kafka, "payer");
    write(&payments, "payments", 4);
    payments.commit_transaction(CALL).expect("a commit");
    commit_in(&kafka, "reader", "payments", 4);

    let mut system = System::of(kafka, "{ every: 1s }\n");
    let mut instance = system.application.start("one");
    let expected = told(&system.kafka);
    let groups: BTreeSet<&str> = expected.keys().map(|(group, ..)| group.as_str()).collect();
    assert!(groups.contains("eos") && groups.contains("modern"), "{groups:?}");
    let lags = |expected: &BTreeMap<Place, Told>| -> BTreeMap<Place, f64> {
        let lags = expected.iter().map(|(place, told)| (place.clone(), told.lag as f64));
        lags.collect()
    };
    eventually("lag as Kafka's tool has it", SOON, || {
        let mut shown = system.values("kafka_consumer_lag");
        // The tool prints a name of several lines as several lines.
        shown.retain(|(group, ..), _| group != odd);
        match lags(&expected) == shown {
            true => Ok(()),
            false => Err(format!("{shown:?} and not {expected:?}")),
        }
    });
    let offsets = system.values("kafka_consumer_offset");
    for (place, told) in &expected {
        assert_eq!(offsets[place], told.committed as f64, "{place:?}");
    }
    assert_eq!(
        system.values("kafka_consumer_lag")[&(odd.to_owned(), TOPIC.to_owned(), 1)],
        1.0
    );
    assert_eq!(told(&system.kafka), expected, "it was quiet");

    let reader = ("reader".to_owned(), "payments".to_owned(), 0);
    assert_eq!(expected[&reader].lag, 1);
    eventually("records without markers", SOON, || {
        let records = system.values("kafka_consumer_lag_records");
        let eos = ("eos".to_owned(), TOPIC.to_owned(), 0);
        match (records.get(&reader), records.get(&eos)) {
            (Some(0.0), Some(15.0)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    assert_eq!(system.values("kafka_consumer_lag_seconds")[&reader], 0.0);

    let members = system.values("kafka_consumer_group_members");
    let states = system.states("kafka_consumer_group_state", "state");
    let group = |name: &str| Attributes::from([("consumer_group".to_owned(), name.to_owned())]);
    for (name, count, state) in [
        ("classic", 1.0, "stable"),
        ("modern", 1.0, "stable"),
        ("eos", 0.0, "empty"),
    ] {
        assert_eq!(members[&(name.to_owned(), String::new(), 0)], count, "{name}");
        assert_eq!(states[&group(name)], state, "{name}");
    }
    let statuses = system.states("kafka_consumer_status", "status");
    let of_reader = statuses.iter().find(|(of, _)| of["consumer_group"] == "reader");
    assert_eq!(of_reader.map(|(_, status)| status.as_str()), Some("OK"));
    assert_eq!(system.collector.points().faults(), Vec::<String>::new());
    instance.stop();
    let (code, said) = system.application.audit();
    assert_eq!(code, Some(0), "{said}");
}

fn write(producer: &BaseProducer, topic: &str, records: u32) {
    for number in 0..records {
        let value = number.to_string();
        let record: BaseRecord<'_, [u8], str> = BaseRecord::to(topic).partition(0).payload(&value);
        assert!(producer.send(record).is_ok(), "{topic} is not written");
    }
    producer.flush(CALL).expect("the records are in the log");
}

fn commit_in(kafka: &Kafka, group: &str, topic: &str, offset: i64) {
    use rdkafka::consumer::CommitMode;
    use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
    let consumer: BaseConsumer = kafka.client().set("group.id", group).create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(offset))
        .expect("an offset");
    eventually(group, CALL, || {
        consumer
            .commit(&list, CommitMode::Sync)
            .map_err(|error| error.to_string())
    });
}

#[test]
fn behind_an_open_transaction_the_lags_part_and_aborted_commits_never_appear() {
    let _turn = my_turn();
    let kafka = Kafka::start_with(&[("offsets.topic.num.partitions", "4")]);
    kafka.create_topic(TOPIC, PARTITIONS, &[]);
    kafka.create_topic("payments", 1, &[]);
    let payments = groups::transactional(&kafka, "payer");
    write(&payments, "payments", 4);
    payments.commit_transaction(CALL).expect("a commit");
    payments.begin_transaction().expect("a transaction");
    write(&payments, "payments", 6);
    commit_in(&kafka, "stuck", "payments", 5);
    groups::exactly_once(&kafka, "eos", 5, 19);
    groups::fill(&kafka, 20);

    let mut system = System::of(kafka, "{ every: 1s }\n");
    let mut instance = system.application.start("one");
    let stuck = ("stuck".to_owned(), "payments".to_owned(), 0);
    eventually("lag of a group that is stuck", SOON, || {
        let lags = ["", "_stable", "_records"].map(|which| {
            let values = system.values(&format!("kafka_consumer_lag{which}"));
            values.get(&stuck).copied()
        });
        match lags {
            [Some(6.0), Some(0.0), Some(0.0)] => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let offsets = system.collector.points().clone();
    let of_eos = offsets
        .of("kafka_consumer_offset")
        .filter(|(id, _)| id.attributes["consumer_group"] == "eos");
    for (_, series) in of_eos {
        assert!(
            series.points.iter().all(|point| point.value == Some(Value::Integer(5))),
            "{series:?}"
        );
    }
    payments.commit_transaction(CALL).expect("a commit");
    eventually("the transaction's records are to be read", SOON, || {
        let stable = system.values("kafka_consumer_lag_stable").get(&stuck).copied();
        let records = system.values("kafka_consumer_lag_records").get(&stuck).copied();
        match (stable, records) {
            (Some(7.0), Some(6.0)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    instance.stop();
}

/// Writes, and groups that read, until it is dropped.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(kafka: &Kafka, groups: &[(&'static str, u64)]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        let of_writer = Arc::clone(&stop);
        let writer = kafka.writer();
        threads.push(std::thread::spawn(move || {
            let mut number = 0;
            while !of_writer.load(Ordering::Relaxed) {
                for _ in 0..50 {
                    writer.write(&Write {
                        topic: TOPIC.to_owned(),
                        partition: number % PARTITIONS,
                        value: Some(b"order".to_vec()),
                        ..Write::default()
                    });
                    number += 1;
                }
                writer.flush();
                std::thread::sleep(Duration::from_millis(20));
            }
        }));
        for (group, pause) in groups {
            let stop = Arc::clone(&stop);
            let consumer: BaseConsumer = kafka
                .client()
                .set("group.id", *group)
                .set("auto.offset.reset", "earliest")
                .set("auto.commit.interval.ms", "100")
                .create()
                .expect("a consumer");
            consumer.subscribe(&[TOPIC]).expect("a subscription");
            let pause = Duration::from_millis(*pause);
            threads.push(std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Some(Ok(record)) = consumer.poll(Duration::from_millis(50)) {
                        // A slow one falls behind.
                        if record.offset() % 10 == 0 {
                            std::thread::sleep(pause);
                        }
                    }
                }
            }));
        }
        Self { stop, threads }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a thread of the load failed");
        }
    }
}

/// Every point between two readings of Kafka's tool lies within what they allow.
fn within(before: &BTreeMap<Place, Told>, after: &BTreeMap<Place, Told>, points: &Points, span: (u64, u64)) -> usize {
    let mut compared = 0;
    for (id, series) in points
        .of("kafka_consumer_lag")
        .filter(|(id, _)| !is_own(&id.attributes))
    {
        let place = place(&id.attributes);
        let (Some(before), Some(after)) = (before.get(&place), after.get(&place)) else {
            continue;
        };
        for point in series
            .points
            .iter()
            .filter(|point| (span.0..span.1).contains(&point.time))
        {
            let lag = number(point.value.as_ref().expect("it lives")) as i64;
            let least = (before.end - after.committed).max(0);
            let most = after.end - before.committed;
            assert!(
                (least..=most).contains(&lag),
                "{place:?}: {lag} is not within {least} and {most}"
            );
            compared += 1;
        }
    }
    compared
}

#[test]
fn under_load_two_and_three_instances_share_the_work_and_no_value_lies_beyond_what_kafkas_tool_allows() {
    let _turn = my_turn();
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, PARTITIONS, &[]);
    groups::fill(&kafka, 20);
    let mut system = System::of(kafka, "{ every: 1s }\n");
    let mut first = system.application.start("one");
    let mut second = system.application.start("two");
    let load = Load::start(&system.kafka, &[("fast", 0), ("slow", 40), ("slower", 150)]);
    eventually("three groups", SOON, || {
        match system.values("kafka_consumer_lag").len() {
            9 => Ok(()),
            other => Err(format!("{other} partitions")),
        }
    });
    let nanos = || u64::try_from(now_micros()).expect("after 1970") * 1_000;
    let mut compared = 0;
    let mut round = |system: &mut System| {
        let before = told(&system.kafka);
        let began = nanos();
        for _ in 0..4 {
            system.after_now("kafka_consumer_lag");
        }
        let ended = nanos();
        let after = told(&system.kafka);
        // What the tool said before may be older than what the last point before it was compared with.
        compared += within(
            &before,
            &after,
            system.collector.points(),
            (began + 1_000_000_000, ended),
        );
    };
    round(&mut system);
    let split = shares(&system, &[&first, &second]);
    assert!(split.iter().all(|share| (20..=30).contains(share)), "{split:?}");
    let mut third = system.application.start("three");
    eventually("three of them share", SOON, || {
        let split = shares(&system, &[&first, &second, &third]);
        match split.iter().all(|share| (12..=22).contains(share)) {
            true => Ok(()),
            false => Err(format!("{split:?}")),
        }
    });
    round(&mut system);
    second.kill();
    eventually("two have the partitions of three", SOON, || {
        let split = shares(&system, &[&first, &third]);
        match split.iter().sum::<usize>() {
            50 => Ok(()),
            other => Err(format!("{other} partitions")),
        }
    });
    round(&mut system);
    drop(load);
    // Quiet: now they are equal.
    eventually("lag as Kafka's tool has it", SOON, || {
        let expected: BTreeMap<Place, f64> = told(&system.kafka)
            .into_iter()
            .map(|(place, told)| (place, told.lag as f64))
            .collect();
        match system.values("kafka_consumer_lag") {
            shown if shown == expected => Ok(()),
            other => Err(format!("{other:?} and not {expected:?}")),
        }
    });
    assert!(compared > 50, "{compared} points compared");
    println!("{compared} points lie within what two readings of Kafka's tool allow");
    consumed_is_committed(&mut system);
    let points = system.collector.points();
    assert_eq!(points.faults(), Vec::<String>::new());
    let series: BTreeSet<&Attributes> = points.of("kafka_consumer_lag").map(|(id, _)| &id.attributes).collect();
    assert_eq!(
        series.len(),
        points.of("kafka_consumer_lag").count(),
        "one resource for each"
    );
    first.stop();
    third.stop();
}

/// The counter is what the commits went over since the first one.
fn consumed_is_committed(system: &mut System) {
    let told = told(&system.kafka);
    let points = system.collector.points();
    let mut first: BTreeMap<Place, i64> = BTreeMap::new();
    for (id, series) in points
        .of("kafka_consumer_offset")
        .filter(|(id, _)| !is_own(&id.attributes))
    {
        let offset = series.points.iter().min_by_key(|point| point.time).expect("a point");
        let offset = number(offset.value.as_ref().expect("a value")) as i64;
        first.insert(place(&id.attributes), offset);
    }
    for (attributes, value) in points.last("kafka_consumer_messages_total") {
        if is_own(&attributes) {
            continue;
        }
        let group = &attributes["consumer_group"];
        let of_group = told.iter().filter(|((of, ..), _)| of == group);
        let committed: i64 = of_group.clone().map(|(_, told)| told.committed).sum();
        let seen: i64 = of_group.map(|(place, told)| told.committed - first[place]).sum();
        let counted = number(&value) as i64;
        // The first commit is earlier than the first point.
        assert!(
            (seen..=committed).contains(&counted),
            "{group}: {counted}, {seen}, {committed}"
        );
    }
}

/// How many partitions of the offsets topic each of them has.
fn shares(system: &System, instances: &[&Instance]) -> Vec<usize> {
    let told = system.kafka.tool(
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        &["--describe", "--group", "watcher-lag", "--members", "--verbose"],
    );
    let of = |name: &str| {
        let line = told.lines().find(|line| line.contains(&format!("{name}-0")));
        let count = line.map(|line| line.split_whitespace().nth(5).map(str::parse::<usize>));
        count.flatten().and_then(Result::ok).unwrap_or(0)
    };
    instances.iter().map(|instance| of(&instance.name)).collect()
}

#[test]
fn a_group_that_is_deleted_or_expires_has_its_series_ended() {
    let _turn = my_turn();
    let kafka = Kafka::start_with(&[
        ("offsets.topic.num.partitions", "4"),
        ("offsets.retention.minutes", "1"),
        ("offsets.retention.check.interval.ms", "1000"),
    ]);
    kafka.create_topic(TOPIC, PARTITIONS, &[]);
    groups::fill(&kafka, 20);
    groups::commit_by_hand(&kafka, "expires", 0, 11, "");
    let leaves = groups::classic(&kafka, "deleted", 7);
    let stays = groups::modern(&kafka, "stays", TOPIC, 7);
    let mut system = System::of(kafka, "{ every: 1s }\n");
    let mut instance = system.application.start("one");
    let alive = |system: &mut System| -> BTreeSet<String> {
        let points = system.collector.points();
        let of_groups = points.series.iter().filter(|(id, series)| {
            id.name.starts_with("kafka_consumer") && !is_own(&id.attributes) && series.last().is_some()
        });
        of_groups
            .map(|(id, _)| id.attributes["consumer_group"].clone())
            .collect()
    };
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    eventually("all are there", SOON, || match alive(&mut system) {
        all if all == names(&["deleted", "expires", "stays"]) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    drop(leaves);
    eventually("it is deleted", SOON, || {
        let said = system.kafka.tool(
            "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
            &["--delete", "--group", "deleted"],
        );
        match said.contains("successful") {
            true => Ok(()),
            false => Err(said),
        }
    });
    eventually("a group that was deleted has ended", SOON, || {
        match alive(&mut system) {
            all if !all.contains("deleted") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    eventually(
        "a group that expired has ended",
        Duration::from_secs(150),
        || match alive(&mut system) {
            all if all == names(&["stays"]) => Ok(()),
            other => Err(format!("{other:?}")),
        },
    );
    drop(stays);
    instance.stop();
}

#[test]
fn a_transaction_that_hangs_in_the_offsets_topic_makes_no_false_lag_and_is_told() {
    let _turn = my_turn();
    let kafka = Kafka::start_with(&[("offsets.topic.num.partitions", "1")]);
    kafka.create_topic(TOPIC, PARTITIONS, &[]);
    groups::fill(&kafka, 20);
    groups::commit_by_hand(&kafka, "hidden", 0, 20, "");
    let mut system = System::of(kafka, "{ every: 1s }\n");
    let mut instance = system.application.start("one");
    let hidden = ("hidden".to_owned(), TOPIC.to_owned(), 0);
    eventually("lag", SOON, || match system.values("kafka_consumer_lag").get(&hidden) {
        Some(0.0) => Ok(()),
        other => Err(format!("{other:?}")),
    });
    let hanging = groups::open_transaction(&system.kafka, "hanging", 3);
    groups::fill(&system.kafka, 20);
    groups::commit_by_hand(&system.kafka, "hidden", 0, 40, "");
    let stalled = |system: &mut System| -> f64 {
        let stalled = system.collector.points().last("streamgauge_lag_stalled_seconds");
        stalled.values().map(number).fold(0.0, f64::max)
    };
    eventually("the stall is told", SOON, || match stalled(&mut system) {
        seconds if seconds >= 10.0 => Ok(()),
        other => Err(format!("{other} s")),
    });
    let points = system.collector.points();
    let of_hidden = points
        .of("kafka_consumer_lag")
        .filter(|(id, _)| id.attributes["consumer_group"] == "hidden" && id.attributes["partition"] == "0");
    let values: Vec<i64> = of_hidden
        .flat_map(|(_, series)| &series.points)
        .filter_map(|point| point.value.as_ref().map(|value| number(value) as i64))
        .collect();
    assert!(values.iter().all(|lag| *lag == 0), "{values:?}");
    hanging.abort_transaction(CALL).expect("an abort");
    eventually("it is over", SOON, || {
        match (
            stalled(&mut system),
            system.values("kafka_consumer_offset").get(&hidden),
        ) {
            (0.0, Some(40.0)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    assert_eq!(system.values("kafka_consumer_lag")[&hidden], 0.0);
    instance.stop();
}

/// Pipelines that tap [`TOPIC`] too.
const TAPPED: &str = "{ every: 1s }
defaults: { out_of_order: 1s, idle_after: 1s, window: 1s }
sources: { orders: { topic: orders } }
metrics: { orders_total: { count: orders } }
";

#[test]
fn on_a_tapped_topic_lag_in_time_is_right_to_a_second_whatever_the_traffic_and_consumption_is_exact() {
    let _turn = my_turn();
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, PARTITIONS, &[("message.timestamp.type", "LogAppendTime")]);
    groups::commit_by_hand(&kafka, "reader", 0, 0, "");
    let mut system = System::of(kafka, TAPPED);
    let mut instance = system.application.start("one");
    eventually("it is ready", SOON, || instance.is_ready());
    let reader = ("reader".to_owned(), TOPIC.to_owned(), 0);
    let writer = system.kafka.writer();
    let write = |records: u32| {
        for _ in 0..records {
            writer.write(&Write {
                topic: TOPIC.to_owned(),
                partition: 0,
                value: Some(vec![b'x'; 100]),
                ..Write::default()
            });
        }
        writer.flush();
    };
    // Steady, then a burst, then nothing.
    for _ in 0..50 {
        write(10);
        std::thread::sleep(Duration::from_millis(100));
    }
    write(5_000);
    std::thread::sleep(Duration::from_secs(3));
    let records = system.kafka.read(TOPIC, true);
    let appended: BTreeMap<i64, i64> = records.iter().map(|record| (record.offset, record.timestamp)).collect();
    let total = i64::try_from(records.len()).expect("few");
    assert_eq!(total, 5_500);
    for committed in [0, 137, 400, 499, 500, 3_000, 5_499] {
        groups::commit_by_hand(&system.kafka, "reader", 0, committed, "");
        eventually(&format!("lag at {committed}"), SOON, || {
            match system.values("kafka_consumer_lag").get(&reader) {
                Some(lag) if *lag == (total - committed) as f64 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        assert_eq!(
            system.values("kafka_consumer_lag_records")[&reader],
            (total - committed) as f64
        );
        let points = system.collector.points();
        let of_reader = |name: &'static str| {
            let (_, series) = points
                .of(name)
                .find(|(id, _)| place(&id.attributes) == reader)
                .expect("a series");
            series
                .points
                .iter()
                .max_by_key(|point| point.time)
                .expect("a point")
                .clone()
        };
        let point = of_reader("kafka_consumer_lag_seconds");
        assert_eq!(
            point.time,
            of_reader("kafka_consumer_lag").time,
            "they are of one moment"
        );
        let shown = number(&point.value.expect("it is known"));
        let truth = point.time as f64 / 1e9 - appended[&committed] as f64 / 1e3;
        println!("at {committed}: {shown:.3} s and truly {truth:.3} s");
        assert!(
            (shown - truth).abs() <= 1.0,
            "at {committed}: {shown} s and not {truth} s"
        );
    }
    groups::commit_by_hand(&system.kafka, "reader", 0, total, "");
    eventually("all is read", SOON, || {
        match system.values("kafka_consumer_lag_seconds").get(&reader) {
            Some(0.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    // Killed and started again: what was told is not told twice.
    instance.kill();
    instance.resume();
    write(7);
    groups::commit_by_hand(&system.kafka, "reader", 0, total + 7, "");
    let labels =
        Attributes::from([("topic", TOPIC), ("consumer_group", "reader")].map(|(a, b)| (a.to_owned(), b.to_owned())));
    eventually("what the reader consumed", SOON, || {
        let points = system.collector.points();
        let mut of_messages = labels.clone();
        of_messages.insert("status".to_owned(), "success".to_owned());
        let messages = points
            .last("kafka_consumer_messages_total")
            .get(&of_messages)
            .map(number);
        let bytes = points.last("kafka_consumer_bytes_total").get(&labels).map(number);
        let latencies = match points.last("kafka_consumer_latency_seconds").get(&labels) {
            Some(Value::Histogram { count, .. }) => Some(*count),
            _ => None,
        };
        let expected = total + 7;
        match (messages, bytes, latencies) {
            (Some(messages), Some(bytes), Some(count))
                if messages == expected as f64 && bytes == (expected * 100) as f64 && count == expected as u64 =>
            {
                Ok(())
            }
            other => Err(format!("{other:?} and not {expected}")),
        }
    });
    assert_eq!(system.collector.points().faults(), Vec::<String>::new());
    instance.stop();
    let (code, said) = system.application.audit();
    assert!(code == Some(0) && said.contains("__consumer_offsets"), "{said}");
}

/// Writes into the brokers' own topic, as only this client may.
fn write_offsets(kafka: &Kafka, to: Option<i32>, records: impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)>) {
    let producer: BaseProducer = kafka
        .client()
        .set("client.id", "__admin_client")
        .set("linger.ms", "50")
        .create()
        .expect("a producer");
    for (key, value) in records {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to("__consumer_offsets").key(&key);
        record.payload = value.as_deref();
        record.partition = to;
        while let Err((_, back)) = producer.send(record) {
            producer.poll(Duration::from_millis(50));
            record = back;
        }
    }
    producer.flush(SOON).expect("the records are in the log");
}

/// A commit of offset 5 in partition 0 of [`TOPIC`], in the layout of Kafka 2.1.
fn commit_record(group: &str) -> (Vec<u8>, Option<Vec<u8>>) {
    let mut key = 1_i16.to_be_bytes().to_vec();
    for text in [group, TOPIC] {
        key.extend(i16::try_from(text.len()).expect("short").to_be_bytes());
        key.extend(text.bytes());
    }
    key.extend(0_i32.to_be_bytes());
    let mut value = 3_i16.to_be_bytes().to_vec();
    value.extend(5_i64.to_be_bytes());
    value.extend((-1_i32).to_be_bytes());
    value.extend(0_i16.to_be_bytes());
    value.extend((now_micros() / 1_000).to_be_bytes());
    (key, Some(value))
}

#[test]
fn records_that_cannot_be_read_are_dead_letters_and_unknown_ones_are_counted() {
    let _turn = my_turn();
    let kafka = Kafka::start_with(&[("offsets.topic.num.partitions", "8")]);
    kafka.create_topic(TOPIC, PARTITIONS, &[]);
    groups::fill(&kafka, 20);
    groups::commit_by_hand(&kafka, "plain", 0, 11, "");
    let mut system = System::of(kafka, "{ every: 1s }\n");
    let mut instance = system.application.start("one");
    // Where a group of this test is, its coordinator would break on them as a broker does.
    let partition = |group| partition_of(group, std::num::NonZeroU32::new(8).expect("some"));
    let used = [
        "plain",
        "watcher",
        "watcher-lag",
        "watcher-gauge",
        "watcher-otlp-metrics",
    ]
    .map(partition);
    let unused = (0..8).find(|partition| !used.contains(partition)).expect("one is free");
    let unused = i32::try_from(unused).expect("small");
    eventually("it is ready", SOON, || instance.is_ready());
    let (key, value) = commit_record("cut");
    let half = value.as_ref().map(|value| value[..9].to_vec());
    let of_a_newer_broker = [99_i16.to_be_bytes().as_slice(), b"whatever"].concat();
    let broken = [
        (key, half),
        (b"\x00".to_vec(), Some(b"x".to_vec())),
        (of_a_newer_broker, Some(b"y".to_vec())),
        commit_record("fine"),
    ];
    write_offsets(&system.kafka, Some(unused), broken.into_iter());
    eventually("the others have lag", SOON, || {
        let lags = system.values("kafka_consumer_lag");
        let of = |group: &str| lags.get(&(group.to_owned(), TOPIC.to_owned(), 0)).copied();
        match (of("plain"), of("fine")) {
            (Some(9.0), Some(15.0)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    eventually("what became of the records", SOON, || {
        let points = system.collector.points();
        let malformed: i64 = points
            .counts("streamgauge_records_total")
            .iter()
            .filter(|(of, _)| of["outcome"] == "malformed")
            .map(|(_, count)| count)
            .sum();
        match (malformed, points.sum("streamgauge_lag_unknown_records_total")) {
            (2, 1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let letters = system.kafka.read("watcher-dead-letters", true);
    assert_eq!(letters.len(), 2, "{letters:?}");
    for letter in letters {
        assert_eq!(letter.headers["outcome"], "malformed");
        assert_eq!(letter.headers["topic"], "__consumer_offsets");
    }
    instance.stop();
    let (code, said) = system.application.audit();
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn of_a_hundred_thousand_groups_as_many_are_kept_as_may_be_and_the_rest_is_said() {
    const GROUPS: usize = 100_000;
    const KEPT: usize = 500;
    let _turn = my_turn();
    let kafka = Kafka::start_with(&[("offsets.topic.num.partitions", "4")]);
    kafka.create_topic(TOPIC, PARTITIONS, &[]);
    groups::fill(&kafka, 20);
    groups::commit_by_hand(&kafka, "first", 0, 11, "");
    write_offsets(
        &kafka,
        None,
        (0..GROUPS).map(|number| commit_record(&format!("group-{number:06}"))),
    );
    let mut system = System::of(kafka, "{ every: 1s, groups: \"!watcher*\", max_series: 500 }\n");
    let mut instance = system.application.start("one");
    eventually("as many as may be", SOON, || {
        let points = system.collector.points();
        let overflowed = points.sum("streamgauge_overflow_records_total");
        let kept = points.last("kafka_consumer_lag").len();
        match (kept, overflowed) {
            (kept, overflowed) if kept == 4 * KEPT && overflowed as usize >= GROUPS + 1 - 4 * KEPT => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let said = instance.process().output();
    assert!(said.contains("beyond max_series (500)"), "{said}");
    instance.stop();
}

#[test]
fn prometheus_has_the_metrics_under_their_very_names() {
    let _turn = my_turn();
    let kafka = Kafka::start_with(&[("offsets.topic.num.partitions", "4")]);
    kafka.create_topic(TOPIC, PARTITIONS, &[]);
    groups::fill(&kafka, 20);
    groups::commit_by_hand(&kafka, "reader", 0, 5, "");
    let mut system = System::of(kafka, TAPPED);
    let folder = folder();
    let prometheus = Prometheus::start(folder.path());
    system.application.otlp.clear();
    system.application.environment = vec![
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", prometheus.endpoint()),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf".to_owned()),
    ];
    let mut instance = system.application.start("one");
    groups::commit_by_hand(&system.kafka, "reader", 0, 11, "");
    let names: BTreeSet<String> = [
        "lag",
        "lag_stable",
        "lag_records",
        "lag_seconds",
        "offset",
        "status",
        "messages_total",
        "bytes_total",
        "latency_seconds_bucket",
        "latency_seconds_sum",
        "latency_seconds_count",
        "group_members",
        "group_state",
    ]
    .map(|name| format!("kafka_consumer_{name}"))
    .into();
    eventually("all names and no others", SOON, || {
        let found = prometheus.names()?;
        let found: BTreeSet<String> = found.into_iter().filter(|name| name.starts_with("kafka_")).collect();
        match found == names {
            true => Ok(()),
            false => Err(format!("{found:?}")),
        }
    });
    eventually("lag, consumption and status", SOON, || {
        let value = |query: &str| {
            prometheus
                .query(query)
                .map(|found| found.into_values().collect::<Vec<f64>>())
        };
        let lag = value("kafka_consumer_lag{topic=\"orders\",partition=\"0\",consumer_group=\"reader\"}")?;
        let consumed =
            value("kafka_consumer_messages_total{topic=\"orders\",consumer_group=\"reader\",status=\"success\"}")?;
        let stuck = value("count(kafka_consumer_status{consumer_group=\"reader\"} == 1)")?;
        match (lag.as_slice(), consumed.as_slice(), stuck.as_slice()) {
            ([9.0], [6.0], [1.0]) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    instance.stop();
}
