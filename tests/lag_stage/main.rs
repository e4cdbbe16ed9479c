//! The lag of every group through `streamgauge run`, on a real Kafka 4.3 and a real collector.
//!
//! Promise: what the collector has is what Kafka's own tool says, for groups of every kind; under load it never lies beyond
//! what the tool said before and after; what cannot be known is absent, and what has ended is ended.

#[path = "../common/mod.rs"]
mod common;
#[path = "../offsets_topic/groups.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod groups;
mod load;
mod polled;
mod system;
mod tapped;
mod unreadable;

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
use common::points::{Attributes, Points, Series, Value};
use common::prometheus::Prometheus;
use common::{eventually, folder, my_turn, now_micros};
use groups::Place;
use load::{Load, quiet, round, three_rounds_held};
use system::{System, Told, commit_in, delete, is_own, number, place, told, write};
use unreadable::{commit_record, write_offsets};

const TOPIC: &str = "orders";
const PARTITIONS: u32 = 3;
const CALL: Duration = Duration::from_secs(15);
const SOON: Duration = Duration::from_secs(60);

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
    delete(&system.kafka, "deleted");
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
