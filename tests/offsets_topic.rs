//! `__consumer_offsets` as a real Kafka 4.3 writes it, through `streamgauge decode`.
//!
//! Promise: every record of every kind of group is read, none is unknown, and what it says is what Kafka's own tools say.

#[path = "common/mod.rs"]
mod common;
#[path = "offsets_topic/groups.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod groups;
#[path = "offsets_topic/heartbeat.rs"]
mod heartbeat;
#[path = "offsets_topic/layouts.rs"]
mod layouts;

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;

use common::acls::{self, Acl};
use common::kafka::Kafka;
use common::process::Process;
use common::secured::Secured;
use common::{eventually, my_turn};

const TOPIC: &str = "orders";
const PARTITIONS: u32 = 3;

/// A broker with a topic that has twenty records in each partition.
fn kafka() -> Kafka {
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, PARTITIONS, &[]);
    groups::fill(&kafka, 20);
    kafka
}

fn decode(kafka: &Kafka, arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_streamgauge"))
        .args(["decode", "--bootstrap", &kafka.bootstrap()])
        .args(arguments)
        .output()
        .expect("the binary starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {} {said}", output.status);
    output
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn json(kafka: &Kafka, arguments: &[&str]) -> Vec<Value> {
    let output = decode(kafka, &[&["--format", "json"], arguments].concat());
    let line = |line: &str| serde_json::from_str(line).expect("a line of JSON");
    text(&output).lines().map(line).collect()
}

/// The newest value of each key: what the coordinator holds.
fn state(records: &[Value]) -> BTreeMap<String, Value> {
    let mut state = BTreeMap::new();
    for record in records {
        let key = record["key"].to_string();
        match &record["value"] {
            Value::Null => drop(state.remove(&key)),
            value => drop(state.insert(key, value["data"].clone())),
        }
    }
    state
}

/// The group's offsets in [`TOPIC`], by the records.
fn offsets(state: &BTreeMap<String, Value>, group: &str) -> BTreeMap<i64, i64> {
    let of_group = |(key, value): (&String, &Value)| {
        let key: Value = serde_json::from_str(key).expect("a key");
        let wanted = key["type"] == "OffsetCommit" && key["data"]["group"] == group && key["data"]["topic"] == TOPIC;
        wanted.then(|| {
            let partition = key["data"]["partition"].as_i64().expect("a number");
            (partition, value["offset"].as_i64().expect("a number"))
        })
    };
    state.iter().filter_map(of_group).collect()
}

/// The same by Kafka's own tool: `GROUP TOPIC PARTITION CURRENT-OFFSET ...`.
fn told_offsets(kafka: &Kafka, group: &str) -> BTreeMap<i64, i64> {
    let told = kafka.tool(
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        &["--describe", "--group", group, "--offsets"],
    );
    let row = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        match columns.as_slice() {
            [name, TOPIC, partition, offset, ..] if *name == group => {
                Some((partition.parse().ok()?, offset.parse().ok()?))
            }
            _ => None,
        }
    };
    told.lines().filter_map(row).collect()
}

fn place(record: &Value) -> (i64, i64) {
    let number = |name: &str| record[name].as_i64().expect("a number");
    (number("partition"), number("offset"))
}

/// Compares each record with what Kafka's dump tool prints of it; how many there were.
fn equal_to_the_dump(records: &[Value], dump: &str) -> usize {
    let records: BTreeMap<(i64, i64), &Value> = records.iter().map(|record| (place(record), record)).collect();
    let (mut partition, mut compared) = (0, 0);
    for line in dump.lines() {
        if let Some(file) = line.strip_prefix("Dumping ") {
            let (_, rest) = file.split_once("/__consumer_offsets-").expect("a partition's file");
            partition = rest
                .split('/')
                .next()
                .and_then(|number| number.parse().ok())
                .expect("a number");
        }
        let Some(row) = line.strip_prefix("| offset: ") else {
            continue;
        };
        let offset: i64 = row
            .split(' ')
            .next()
            .and_then(|number| number.parse().ok())
            .expect("an offset");
        let (Some(record), Some((_, row))) = (records.get(&(partition, offset)), row.split_once(" key: ")) else {
            continue;
        };
        let (key, payload) = row.split_once(" payload: ").expect("a payload");
        let data = |text: &str| serde_json::from_str::<Value>(text).map_or(Value::Null, |told| told["data"].clone());
        assert_eq!(record["key"]["data"], data(key), "{line}");
        match payload {
            "<DELETE>" => assert!(record["value"].is_null(), "{line}"),
            payload => assert_eq!(record["value"]["data"], data(payload), "{line}"),
        }
        compared += 1;
    }
    compared
}

#[test]
fn every_record_that_kafka_writes_is_read_and_says_what_kafkas_own_tools_say() {
    let _turn = my_turn();
    let kafka = kafka();
    let classic = groups::classic(&kafka, "classic", 7);
    groups::commit_by_hand(&kafka, "by-hand", 2, 11, "a note \u{1f600}\n");
    groups::commit_by_hand(&kafka, "a \"group\":1", 0, 4, "");
    groups::exactly_once(&kafka, "eos", 5, 19);
    let modern = groups::modern(&kafka, "modern", TOPIC, 9);
    let by_pattern = groups::modern(&kafka, "by-pattern", "^ord.*", 3);
    groups::commit_by_hand(&kafka, "deleted", 1, 8, "");
    groups::delete(&kafka, "deleted");
    groups::share(&kafka, "shared", TOPIC);
    heartbeat::streams_group(&kafka.bootstrap(), "streams", TOPIC);

    let lying = kafka.read("__consumer_offsets", true);
    let records = json(&kafka, &[]);
    let unread: Vec<&Value> = records
        .iter()
        .filter(|record| {
            [&record["key"], &record["value"]]
                .iter()
                .any(|part| part["type"] == "unknown" || part["type"] == "malformed")
        })
        .collect();
    assert!(unread.is_empty(), "{unread:#?}");
    let places: BTreeSet<(i64, i64)> = records.iter().map(place).collect();
    let missing = lying
        .iter()
        .filter(|record| !places.contains(&(record.partition.into(), record.offset)));
    assert_eq!(missing.count(), 0, "records that lie there are not shown");
    let compared = equal_to_the_dump(&records, &kafka.dump_offsets());
    assert!(compared >= lying.len(), "{compared} of {}", lying.len());

    let state_now = state(&records);
    for group in ["classic", "by-hand", "eos", "modern", "by-pattern"] {
        let read = offsets(&state_now, group);
        assert!(!read.is_empty(), "{group} has no offsets");
        assert_eq!(read, told_offsets(&kafka, group), "{group}");
    }
    assert_eq!(offsets(&state_now, "a \"group\":1"), BTreeMap::from([(0, 4)]));
    assert_eq!(
        offsets(&state_now, "eos"),
        BTreeMap::from([(0, 5)]),
        "the aborted commit never counts"
    );
    assert_eq!(offsets(&state_now, "deleted"), BTreeMap::new());
    let deleted = records
        .iter()
        .filter(|record| record["key"]["data"]["group"] == "deleted");
    assert!(
        deleted.filter(|record| record["value"].is_null()).count() >= 1,
        "a deleted group leaves tombstones"
    );
    let note = records
        .iter()
        .find(|record| record["key"]["data"]["group"] == "by-hand");
    assert_eq!(
        note.expect("a commit")["value"]["data"]["metadata"],
        "a note \u{1f600}\n"
    );

    groups::members_agree(&kafka, &state_now, "classic");
    let kinds: BTreeSet<&str> = records
        .iter()
        .filter_map(|record| record["key"]["type"].as_str())
        .collect();
    let wanted = BTreeSet::from([
        "OffsetCommit",
        "GroupMetadata",
        "ConsumerGroupMetadata",
        "ConsumerGroupMemberMetadata",
        "ConsumerGroupTargetAssignmentMetadata",
        "ConsumerGroupTargetAssignmentMember",
        "ConsumerGroupCurrentMemberAssignment",
        "ConsumerGroupRegularExpression",
        "ShareGroupMetadata",
        "ShareGroupMemberMetadata",
        "ShareGroupTargetAssignmentMetadata",
        "ShareGroupTargetAssignmentMember",
        "ShareGroupCurrentMemberAssignment",
        "ShareGroupStatePartitionMetadata",
        "StreamsGroupMetadata",
        "StreamsGroupMemberMetadata",
        "StreamsGroupTargetAssignmentMetadata",
        "StreamsGroupTargetAssignmentMember",
        "StreamsGroupCurrentMemberAssignment",
        "StreamsGroupTopology",
    ]);
    assert_eq!(
        wanted.difference(&kinds).collect::<Vec<_>>(),
        Vec::<&&str>::new(),
        "were not written"
    );
    drop((classic, modern, by_pattern));

    the_flags_select(&kafka);
    what_comes_later_is_followed(&kafka);
    an_open_transaction_is_said(&kafka);
}

fn the_flags_select(kafka: &Kafka) {
    let of_group = decode(kafka, &["--group", "by-hand"]);
    let lines = text(&of_group);
    let line = lines.lines().next().expect("a line");
    let end = "OffsetCommit group=\"by-hand\" topic=\"orders\" partition=2 -> v";
    assert!(line.contains(end) && line.contains(" offset=11 "), "{line}");
    assert!(lines.lines().all(|line| line.contains("\"by-hand\"")), "{lines}");
    let (place, _) = line.split_once(' ').expect("a place");
    let (partition, offset) = place.split_once('/').expect("partition and offset");

    let alone = json(kafka, &["--partition", partition, "--from", offset, "--limit", "1"]);
    assert_eq!(alone.len(), 1);
    assert_eq!(alone[0]["key"]["data"]["group"], "by-hand");
    assert_eq!(
        (&alone[0]["partition"], &alone[0]["offset"]),
        (&partition.parse().expect("a number"), &offset.parse().expect("one"))
    );
    assert!(json(kafka, &["--from", "latest"]).is_empty());
    let uncommitted = json(kafka, &["--group", "eos", "--uncommitted"]);
    assert_eq!(offsets(&state(&uncommitted), "eos"), BTreeMap::from([(0, 19)]));
}

fn what_comes_later_is_followed(kafka: &Kafka) {
    let folder = common::folder();
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamgauge"));
    command.args([
        "decode",
        "--follow",
        "--from",
        "latest",
        "--bootstrap",
        &kafka.bootstrap(),
    ]);
    let _follower = Process::start("decode", folder.path(), &mut command);
    // Where it begins is not said, so commits go on until one is seen.
    let mut offset = 30;
    eventually("a commit is printed as it comes", Duration::from_secs(60), || {
        offset += 1;
        groups::commit_by_hand(kafka, "followed", 1, offset, "");
        let printed = std::fs::read_to_string(folder.path().join("decode.log")).expect("text");
        let seen = printed
            .lines()
            .any(|line| line.contains(" OffsetCommit group=\"followed\" "));
        if seen {
            Ok(())
        } else {
            Err(format!("after offset {offset}: {printed}"))
        }
    });
}

fn an_open_transaction_is_said(kafka: &Kafka) {
    let open = groups::open_transaction(kafka, "stuck", 6);
    let output = decode(kafka, &["--group", "stuck"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text(&output).is_empty(), "{}", text(&output));
    assert!(said.contains("still open"), "{said}");
    assert_eq!(json(kafka, &["--group", "stuck", "--uncommitted"]).len(), 1);
    drop(open);
}

#[test]
fn reading_needs_read_on_the_topic_and_no_other_right() {
    let _turn = my_turn();
    let secured = Secured::start(&["reader"], &[]);
    let bootstrap = secured.kafka.bootstrap();
    secured.kafka.create_topic(TOPIC, PARTITIONS, &[]);
    groups::commit_by_hand(&secured.kafka, "by-hand", 2, 11, "");
    let settings = secured.login_as("reader", "PLAIN");
    let decode = || {
        let settings = settings.iter().flat_map(|setting| ["--kafka", setting]);
        Command::new(env!("CARGO_BIN_EXE_streamgauge"))
            .args(["decode", "--bootstrap", &secured.login, "--group", "by-hand"])
            .args(settings)
            .output()
            .expect("the binary starts")
    };
    let refused = |right: &str| {
        let output = decode();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(5), "{said}");
        assert!(
            said.contains(&format!("needs {right} on topic `__consumer_offsets`")),
            "{said}"
        );
    };
    let grant = |operation: &str| {
        let acl = Acl {
            user: "reader".to_owned(),
            resource: "topic".to_owned(),
            pattern: "literal".to_owned(),
            name: "__consumer_offsets".to_owned(),
            operation: operation.to_owned(),
        };
        acls::grant(&bootstrap, &[acl]);
    };
    refused("DESCRIBE");
    grant("DESCRIBE");
    refused("READ");
    grant("READ");
    let output = decode();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(
        text(&output).contains(" OffsetCommit group=\"by-hand\" "),
        "{}",
        text(&output)
    );
}
