//! `streamgauge lag` on a real Kafka 4.3, and what `top` says without a terminal.
//!
//! Promise: on a quiet cluster every number is that of Kafka's own tool; what the tool gets wrong (records of transactions)
//! or does not tell (age, records) is right too, and what cannot be known is absent.

#[path = "common/mod.rs"]
mod common;
#[path = "offsets_topic/groups.rs"]
#[allow(dead_code, reason = "each test file uses a part of it")]
mod groups;
#[path = "offsets_topic/heartbeat.rs"]
mod heartbeat;

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Output};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use serde_json::Value;

use common::acls::{self, Acl};
use common::kafka::{Kafka, Write};
use common::process::Process;
use common::secured::Secured;
use common::{eventually, my_turn};
use groups::{Numbers, Place};

const TOPIC: &str = "orders";
const PARTITIONS: u32 = 3;

/// Records of each partition of [`TOPIC`].
const RECORDS: u32 = 20;

const CALL: Duration = Duration::from_secs(15);

/// A broker with [`RECORDS`] in each partition of [`TOPIC`].
fn kafka() -> Kafka {
    let kafka = Kafka::start();
    fill(&kafka);
    kafka
}

fn fill(kafka: &Kafka) {
    kafka.create_topic(TOPIC, PARTITIONS, &[]);
    groups::fill(kafka, RECORDS);
}

fn lag_of(bootstrap: &str, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_streamgauge"))
        .args(["lag", "--bootstrap", bootstrap])
        .args(arguments)
        .output()
        .expect("the binary starts")
}

fn lag(kafka: &Kafka, arguments: &[&str]) -> Output {
    let output = lag_of(&kafka.bootstrap(), arguments);
    assert!(
        output.status.success(),
        "{arguments:?}: {} {}",
        output.status,
        said(&output)
    );
    output
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("text")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json_in(output: &Output) -> Vec<Value> {
    serde_json::from_str(&text(output)).unwrap_or_else(|error| panic!("{error}: {} {}", text(output), said(output)))
}

fn json(kafka: &Kafka, arguments: &[&str]) -> Vec<Value> {
    json_in(&lag(kafka, &[&["--format", "json"], arguments].concat()))
}

/// `group`'s row of a partition.
fn row<'r>(rows: &'r [Value], group: &str, topic: &str, partition: u32) -> &'r Value {
    let wanted = |row: &&Value| row["group"] == group && row["topic"] == topic && row["partition"] == partition;
    rows.iter()
        .find(wanted)
        .unwrap_or_else(|| panic!("no row of {group} {topic}/{partition}: {rows:#?}"))
}

/// By group, topic and partition: committed, log end, lag.
fn numbers(rows: &[Value]) -> BTreeMap<Place, Numbers> {
    let place = |row: &Value| {
        let name = |key: &str| row[key].as_str().expect("a name").to_owned();
        (
            name("group"),
            name("topic"),
            row["partition"]
                .as_u64()
                .and_then(|n| u32::try_from(n).ok())
                .expect("a number"),
        )
    };
    rows.iter()
        .map(|row| {
            let number = |key: &str| row[key].as_i64();
            (place(row), (number("committed"), number("log_end"), number("lag")))
        })
        .collect()
}

/// A producer in a transaction that has written so many records.
fn in_transaction(kafka: &Kafka, id: &str, topic: &str, records: u32) -> BaseProducer {
    let producer = groups::transactional(kafka, id);
    write_in(&producer, topic, records);
    producer
}

fn write_in(producer: &BaseProducer, topic: &str, records: u32) {
    for number in 0..records {
        let value = format!("{number}");
        let record: BaseRecord<'_, [u8], str> = BaseRecord::to(topic).partition(0).payload(&value);
        assert!(producer.send(record).is_ok(), "{topic} is not written");
    }
    producer.flush(CALL).expect("the records are in the log");
}

#[test]
fn on_a_quiet_cluster_every_number_is_that_of_kafkas_own_tool() {
    let _turn = my_turn();
    let kafka = kafka();
    let classic = groups::classic(&kafka, "classic", 7);
    let modern = groups::modern(&kafka, "modern", TOPIC, 9);
    let partly = groups::joined(&kafka, "partly", TOPIC, &[("group.protocol", "consumer")]);
    groups::commit(&partly, &[0], 20);
    groups::commit_by_hand(&kafka, "by-hand", 2, 11, "");
    groups::exactly_once(&kafka, "eos", 5, 19);
    groups::share(&kafka, "shared", TOPIC);
    heartbeat::streams_group(&kafka.bootstrap(), "streams", TOPIC);
    groups::exactly_once(&kafka, "streams", 6, 19);

    let mut rows = json(&kafka, &[]);
    // Kafka's tool for groups of consumers leaves those of Kafka Streams to another one.
    let of_streams = row(&rows, "streams", TOPIC, 0);
    assert_eq!((&of_streams["committed"], &of_streams["lag"]), (&6.into(), &14.into()));
    assert!(of_streams["state"].is_null(), "{of_streams}");
    rows.retain(|row| row["group"] != "streams");
    let told = groups::told(&kafka);
    assert_eq!(numbers(&rows), told);
    let groups: BTreeSet<&str> = told.keys().map(|(group, ..)| group.as_str()).collect();
    assert_eq!(
        groups,
        BTreeSet::from(["by-hand", "classic", "eos", "modern", "partly"])
    );

    // A member owns all three and has committed in one.
    assert!(row(&rows, "partly", TOPIC, 1)["lag"].is_null());
    assert!(row(&rows, "partly", TOPIC, 1)["lag_seconds"].is_null());
    assert_eq!(row(&rows, "partly", TOPIC, 0)["lag_seconds"], 0.0);
    assert_eq!(row(&rows, "partly", TOPIC, 0)["status"], "OK");
    assert_eq!(
        row(&rows, "eos", TOPIC, 0)["committed"],
        5,
        "the aborted commit never counts"
    );
    for (group, state) in [("classic", "Stable"), ("modern", "Stable"), ("by-hand", "Empty")] {
        let row = rows.iter().find(|row| row["group"] == group).expect("a row");
        assert_eq!(row["state"], state, "{group}");
    }
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock")
        .as_millis();
    let written: BTreeMap<(u32, i64), i64> = kafka
        .read(TOPIC, true)
        .into_iter()
        .map(|record| ((record.partition, record.offset), record.timestamp))
        .collect();
    for row in rows.iter().filter(|row| row["lag"].as_i64().is_some_and(|lag| lag > 0)) {
        assert_eq!(
            (&row["lag_stable"], &row["lag_records"]),
            (&row["lag"], &row["lag"]),
            "{row}"
        );
        let place = (
            u32::try_from(row["partition"].as_u64().expect("a number")).expect("small"),
            row["committed"].as_i64().expect("a number"),
        );
        let at_most = (i64::try_from(now).expect("small") - written[&place]) as f64 / 1_000.0;
        let seconds = row["lag_seconds"].as_f64().expect("an age");
        assert!(
            seconds <= at_most && seconds > at_most - 60.0,
            "{row}: at most {at_most}"
        );
    }
    drop((classic, modern, partly));
    the_flags_select(&kafka);
    the_worst_comes_first(&rows);
}

fn the_flags_select(kafka: &Kafka) {
    let of_two = json(kafka, &["--group", "eos", "--group", "by-hand"]);
    assert_eq!(of_two.len(), 2);
    assert_eq!(row(&of_two, "by-hand", TOPIC, 2)["lag"], 9);
    assert!(json(kafka, &["--topic", "__consumer_offsets"]).is_empty());

    let table = lag(kafka, &["--group", "by-hand"]);
    let lines = text(&table);
    let cells: Vec<Vec<&str>> = lines.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(cells.len(), 2, "{lines}");
    assert_eq!(cells[0][0], "GROUP");
    assert_eq!(cells[1][..8], ["by-hand", "orders", "2", "11", "20", "9", "9", "9"]);
    assert!(
        said(&table).starts_with("1 group, 1 partition, 1 behind, 9 offsets in all"),
        "{}",
        said(&table)
    );

    let csv = text(&lag(kafka, &["--group", "by-hand", "--format", "csv"]));
    let mut lines = csv.lines();
    assert_eq!(
        lines.next(),
        Some("group,topic,partition,committed,log_end,lag,lag_stable,lag_records,lag_seconds,status,state")
    );
    assert!(
        lines
            .next()
            .is_some_and(|line| line.starts_with("by-hand,orders,2,11,20,9,9,9,")),
        "{csv}"
    );

    for (arguments, what) in [
        (["--group", "nobody"], "there is no group nobody"),
        (["--topic", "nothing"], "there is no topic nothing"),
        // It commits no offsets.
        (["--group", "shared"], "there is no group shared"),
    ] {
        let output = lag_of(&kafka.bootstrap(), &arguments);
        assert_eq!(output.status.code(), Some(2), "{}", said(&output));
        assert!(said(&output).contains(what), "{}", said(&output));
    }
}

fn the_worst_comes_first(rows: &[Value]) {
    let ages: Vec<f64> = rows.iter().filter_map(|row| row["lag_seconds"].as_f64()).collect();
    assert!(ages.is_sorted_by(|a, b| a >= b), "{ages:?}");
    assert_eq!(
        rows.last().map(|row| &row["status"]),
        Some(&Value::from("OK")),
        "{rows:#?}"
    );
}

#[test]
fn what_transactions_leave_in_the_log_is_told_apart() {
    let _turn = my_turn();
    let kafka = kafka();
    kafka.create_topic("paid", 1, &[]);
    // Offsets 0 to 2, and a marker at 3.
    let producer = in_transaction(&kafka, "done", "paid", 3);
    producer.commit_transaction(CALL).expect("a commit");
    let committed = |group: &str, offset: i64| kafka.reset(group, "paid", 0, offset);
    committed("next-record", 3);
    committed("behind", 1);
    let rows = json(&kafka, &[]);
    let caught_up = row(&rows, "next-record", "paid", 0);
    assert_eq!(
        (&caught_up["lag"], &caught_up["lag_stable"]),
        (&1.into(), &1.into()),
        "{caught_up}"
    );
    assert_eq!(
        (&caught_up["lag_records"], &caught_up["lag_seconds"]),
        (&0.into(), &0.0.into())
    );
    assert_eq!(caught_up["status"], "OK");
    assert_eq!(row(&rows, "behind", "paid", 0)["lag_records"], 2);

    // Aborted: offsets 4 to 7, and a marker at 8.
    producer.begin_transaction().expect("a transaction");
    write_in(&producer, "paid", 4);
    producer.abort_transaction(CALL).expect("an abort");
    let rows = json(&kafka, &[]);
    let caught_up = row(&rows, "next-record", "paid", 0);
    assert_eq!(
        (&caught_up["lag"], &caught_up["lag_records"]),
        (&6.into(), &0.into()),
        "{caught_up}"
    );
    assert_eq!(
        (&caught_up["lag_seconds"], &caught_up["status"]),
        (&0.0.into(), &"OK".into())
    );

    // Open: offsets 9 to 13. Its own offsets are not committed yet.
    let open = in_transaction(&kafka, "open", "paid", 5);
    let pending = groups::open_transaction(&kafka, "pending", 6);
    committed("at-the-end", 9);
    let rows = json(&kafka, &[]);
    let stuck = row(&rows, "at-the-end", "paid", 0);
    assert_eq!((&stuck["log_end"], &stuck["lag"]), (&14.into(), &5.into()), "{stuck}");
    assert_eq!((&stuck["lag_stable"], &stuck["lag_records"]), (&0.into(), &0.into()));
    assert!(
        stuck["lag_seconds"].is_null(),
        "whether there is something to read is not decided"
    );
    let behind = row(&rows, "behind", "paid", 0);
    assert_eq!(
        (&behind["lag"], &behind["lag_stable"], &behind["lag_records"]),
        (&13.into(), &8.into(), &2.into())
    );
    assert!(rows.iter().all(|row| row["group"] != "pending"), "{rows:#?}");
    let table = text(&lag(&kafka, &["--group", "at-the-end"]));
    assert!(table.contains("5 offsets wait for an open transaction"), "{table}");
    drop((open, pending));
}

#[test]
fn a_log_that_grows_does_not_look_like_an_open_transaction() {
    let _turn = my_turn();
    let kafka = kafka();
    for partition in 0..PARTITIONS {
        kafka.reset("behind", TOPIC, partition, 0);
    }
    std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let kafka = &kafka;
        scope.spawn(move || {
            let writer = kafka.writer();
            let mut number = 0;
            while stopped.recv_timeout(Duration::from_millis(1)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                for partition in 0..PARTITIONS {
                    number += 1;
                    writer.write(&Write {
                        topic: TOPIC.to_owned(),
                        partition,
                        value: Some(format!("order {number}").into_bytes()),
                        ..Write::default()
                    });
                }
            }
            writer.flush();
        });
        let mut ends = BTreeSet::new();
        for _ in 0..20 {
            for row in json(kafka, &[]) {
                assert_eq!(row["lag_stable"], row["lag"], "{row}");
                ends.insert(row["log_end"].as_i64());
            }
        }
        assert!(ends.len() > 10, "the log has grown meanwhile: {ends:?}");
        drop(stop);
    });
}

/// A group that is kept in partition 24 of the 50 of `__consumer_offsets`.
const OF_GONE: &str = "foo";

/// Kafka 4.3 deletes a topic's commits with it. Brokers that were away then, and older ones, may keep them: so the record of
/// a commit is put where the broker reads it as it starts. Only Kafka's own admin client may write there.
fn commit_in_a_topic_that_is_gone(kafka: &mut Kafka) {
    let text = |text: &str| {
        let length = u16::try_from(text.len()).expect("short").to_be_bytes();
        [&length, text.as_bytes()].concat()
    };
    let key = [&[0, 1][..], &text(OF_GONE), &text("gone"), &0_i32.to_be_bytes()].concat();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock")
        .as_millis();
    let now = i64::try_from(now).expect("small").to_be_bytes();
    let value = [
        &[0, 3][..],
        &0_i64.to_be_bytes(),
        &(-1_i32).to_be_bytes(),
        &text(""),
        &now,
    ]
    .concat();
    let producer: BaseProducer = kafka
        .client()
        .set("client.id", "__admin_client")
        .create()
        .expect("a producer");
    let record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to("__consumer_offsets");
    let record = record.partition(24).key(&key).payload(&value);
    assert!(producer.send(record).is_ok(), "the commit is not written");
    producer.flush(CALL).expect("the broker takes it");
    kafka.kill();
    kafka.resume();
    eventually("the commit is known", Duration::from_secs(60), || {
        let output = lag_of(&kafka.bootstrap(), &["--group", OF_GONE, "--format", "json"]);
        match output.status.success() && json_in(&output).iter().any(|row| row["topic"] == "gone") {
            true => Ok(()),
            false => Err(said(&output)),
        }
    });
}

#[test]
fn what_cannot_be_known_is_absent_and_the_rest_is_right() {
    let _turn = my_turn();
    let mut kafka = kafka();
    kafka.reset(OF_GONE, TOPIC, 0, 12);
    groups::commit_by_hand(&kafka, "left-behind", 1, 4, "");
    groups::commit_by_hand(&kafka, "too-far", 1, 400, "");
    // More than are counted, older than today.
    kafka.create_topic("long", 1, &[]);
    let writer = kafka.writer();
    for number in 0..1_500_i64 {
        writer.write(&Write {
            topic: "long".to_owned(),
            value: Some(b"x".to_vec()),
            timestamp: Some(1_500_000_000_000 + number),
            ..Write::default()
        });
    }
    writer.flush();
    for (group, offset) in [("far", 0), ("farther", 100), ("near", 1_490), ("nearer", 1_499)] {
        kafka.reset(group, "long", 0, offset);
    }

    commit_in_a_topic_that_is_gone(&mut kafka);
    // Only now: a broker that is killed may forget where a log starts.
    kafka.delete_records(TOPIC, 1, 15);

    let rows = json(&kafka, &[]);
    let gone = row(&rows, OF_GONE, "gone", 0);
    assert_eq!(gone["committed"], 0);
    for key in ["log_end", "lag", "lag_stable", "lag_records", "lag_seconds", "status"] {
        assert!(gone[key].is_null(), "{key}: {gone}");
    }
    assert_eq!(
        row(&rows, OF_GONE, TOPIC, 0)["lag"],
        8,
        "the others are told all the same"
    );
    let deleted = row(&rows, "left-behind", TOPIC, 1);
    assert_eq!(
        (&deleted["lag"], &deleted["lag_records"]),
        (&16.into(), &5.into()),
        "{deleted}"
    );
    assert_eq!(rows[0]["group"], "left-behind", "lost records come first");
    let beyond = row(&rows, "too-far", TOPIC, 1);
    assert_eq!(
        (&beyond["lag"], &beyond["lag_stable"]),
        (&0.into(), &0.into()),
        "{beyond}"
    );

    for (group, records) in [
        ("far", None),
        ("farther", None),
        ("near", Some(10)),
        ("nearer", Some(1)),
    ] {
        let row = row(&rows, group, "long", 0);
        assert_eq!(row["lag_records"].as_u64(), records, "{row}");
        let seconds = row["lag_seconds"].as_f64().expect("an age");
        assert!(seconds > 200_000_000.0, "{row}");
    }
    let age = |group: &str| row(&rows, group, "long", 0)["lag_seconds"].as_f64().expect("an age");
    let apart = age("far") - age("nearer");
    assert!(
        (apart - 1.499).abs() < 0.002,
        "each has the age of its own first record: {apart}"
    );

    let table = text(&lag(&kafka, &[]));
    for note in [
        "11 offsets were deleted before they were read",
        "the commit lies 380 beyond the log's end",
        "the topic or partition is gone",
    ] {
        assert!(table.contains(note), "{note}: {table}");
    }
    let alone = lag(&kafka, &["--group", OF_GONE, "--topic", "gone", "--format", "json"]);
    assert_eq!(
        json_in(&alone).len(),
        1,
        "a topic that is gone can be asked for by name"
    );
    assert!(json_in(&alone)[0]["log_end"].is_null());
}

#[test]
fn odd_names_are_one_line_in_a_table_and_themselves_in_json_and_csv() {
    let _turn = my_turn();
    let kafka = kafka();
    let odd = [
        "a \"b\"\n,c",
        "\u{1f600} caf\u{e9}",
        "\u{1b}[31mred",
        "a space at its end ",
    ];
    for group in odd {
        groups::commit_by_hand(&kafka, group, 0, 4, "");
    }
    let names = |rows: &[Value]| -> BTreeSet<String> {
        let name = |row: &Value| row["group"].as_str().expect("a name").to_owned();
        rows.iter().map(name).collect()
    };
    let all = BTreeSet::from(odd.map(str::to_owned));
    assert_eq!(names(&json(&kafka, &[])), all);
    for group in odd {
        assert_eq!(json(&kafka, &["--group", group]).len(), 1, "{group:?}");
    }
    let table = text(&lag(&kafka, &[]));
    assert_eq!(table.lines().count(), 1 + odd.len(), "{table}");
    assert!(!table.contains('\u{1b}'), "{table:?}");
    for shown in [
        r#""a \"b\"\n,c""#,
        "\"\u{1f600} caf\u{e9}\"",
        r#""\u{1b}[31mred""#,
        "\"a space at its end \"",
    ] {
        assert!(table.contains(shown), "{shown}: {table}");
    }
    let csv = text(&lag(&kafka, &["--format", "csv"]));
    assert!(csv.contains("\"a \"\"b\"\"\n,c\",orders,0,4,20,16,"), "{csv}");
}

#[test]
fn a_broker_that_is_away_takes_only_its_own_partitions_with_it() {
    let _turn = my_turn();
    let mut kafka = Kafka::start_pair();
    kafka.create_topic_on("spread", &[1, 2]);
    for partition in [0, 1] {
        kafka.reset("reader", "spread", partition, 0);
    }
    assert!(json(&kafka, &[]).iter().all(|row| row["log_end"] == 0));
    kafka.kill();
    let rows = eventually(
        "the other broker answers for what it has",
        Duration::from_secs(90),
        || {
            let output = lag_of(&kafka.bootstrap(), &["--group", "reader", "--format", "json"]);
            if !output.status.success() {
                return Err(said(&output));
            }
            let rows = json_in(&output);
            match rows.len() {
                2 => Ok(rows),
                _ => Err(format!("{rows:?}")),
            }
        },
    );
    assert_eq!(row(&rows, "reader", "spread", 0)["log_end"], 0);
    assert_eq!(row(&rows, "reader", "spread", 0)["lag"], 0);
    assert!(row(&rows, "reader", "spread", 1)["log_end"].is_null(), "{rows:#?}");
    assert_eq!(row(&rows, "reader", "spread", 1)["committed"], 0);
}

#[test]
fn a_missing_right_is_named_and_leaves_out_only_what_it_is_for() {
    let _turn = my_turn();
    let secured = Secured::start(&["looker"], &[]);
    let bootstrap = secured.kafka.bootstrap();
    fill(&secured.kafka);
    groups::commit_by_hand(&secured.kafka, "by-hand", 2, 11, "");
    let settings = secured.login_as("looker", "PLAIN");
    let lag = |arguments: &[&str]| {
        let settings: Vec<&str> = settings.iter().flat_map(|setting| ["--kafka", setting]).collect();
        lag_of(&secured.login, &[&settings, arguments].concat())
    };
    let grant = |resource: &str, name: &str, operation: &str| {
        let acl = Acl {
            user: "looker".to_owned(),
            resource: resource.to_owned(),
            pattern: "literal".to_owned(),
            name: name.to_owned(),
            operation: operation.to_owned(),
        };
        acls::grant(&bootstrap, &[acl]);
    };
    let nothing = lag(&[]);
    assert_eq!(nothing.status.code(), Some(0), "{}", said(&nothing));
    assert!(text(&nothing).is_empty());
    assert!(said(&nothing).contains("may DESCRIBE"), "{}", said(&nothing));
    let named = lag(&["--group", "by-hand"]);
    assert_eq!(named.status.code(), Some(5), "{}", said(&named));
    assert!(
        said(&named).contains("group `by-hand`, or DESCRIBE"),
        "{}",
        said(&named)
    );

    grant("group", "by-hand", "DESCRIBE");
    let blank = lag(&["--group", "by-hand"]);
    assert!(text(&blank).is_empty(), "{}", text(&blank));
    assert!(said(&blank).contains("DESCRIBE"), "{}", said(&blank));

    grant("topic", TOPIC, "DESCRIBE");
    let unread = lag(&["--format", "json"]);
    assert_eq!(unread.status.code(), Some(0), "{}", said(&unread));
    let rows = json_in(&unread);
    assert_eq!(
        (&rows[0]["lag"], &rows[0]["lag_stable"]),
        (&9.into(), &9.into()),
        "{rows:#?}"
    );
    assert!(
        rows[0]["lag_records"].is_null() && rows[0]["lag_seconds"].is_null(),
        "{rows:#?}"
    );
    assert!(said(&unread).contains("READ on topic `orders`"), "{}", said(&unread));

    grant("topic", TOPIC, "READ");
    let rows = json_in(&lag(&["--format", "json"]));
    assert_eq!(rows[0]["lag_records"], 9);
    assert!(rows[0]["lag_seconds"].is_number());
}

#[test]
fn a_cluster_that_is_not_there_ends_with_five() {
    let output = lag_of("127.0.0.1:1", &[]);
    assert_eq!(output.status.code(), Some(5), "{}", said(&output));
    assert!(said(&output).contains("--bootstrap"), "{}", said(&output));
}

#[test]
fn top_without_a_terminal_says_what_to_use_instead() {
    let mut top = Command::new(env!("CARGO_BIN_EXE_streamgauge"));
    let output = top.args(["top", "--bootstrap", "127.0.0.1:1"]).output();
    let output = output.expect("the binary starts");
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("lag --watch"), "{}", said(&output));
    assert!(output.stdout.is_empty(), "nothing is drawn");
}

#[test]
fn many_groups_are_looked_at_in_parallel_and_again() {
    let _turn = my_turn();
    let kafka = kafka();
    let number = 210;
    for group in 0..number {
        groups::commit_by_hand(&kafka, &format!("group-{group}"), group % 3, i64::from(group % 20), "");
    }
    let began = Instant::now();
    let rows = json(&kafka, &[]);
    let took = began.elapsed();
    eprintln!("{number} groups took {took:?}");
    assert!(took < Duration::from_secs(8), "Kafka's own tool takes as long");
    assert_eq!(rows.len(), usize::try_from(number).expect("few"));
    assert!(rows.iter().all(|row| row["lag_records"] == row["lag"]), "{rows:#?}");

    let folder = common::folder();
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamgauge"));
    command.args(["lag", "--watch=1", "--format", "csv", "--group", "group-7"]);
    command.args(["--bootstrap", &kafka.bootstrap()]);
    let _watching = Process::start("lag", folder.path(), &mut command);
    let mut offset = 7;
    eventually("a commit is seen by a later look", Duration::from_secs(60), || {
        offset = offset % 19 + 1;
        groups::commit_by_hand(&kafka, "group-7", 1, offset, "");
        let printed = std::fs::read_to_string(folder.path().join("lag.log")).expect("text");
        let committed: BTreeSet<&str> = printed.lines().filter_map(|line| line.split(',').nth(3)).collect();
        let headers = printed.lines().filter(|line| line.starts_with("group,")).count();
        // The header's word for it, and two offsets.
        match (committed.len(), headers) {
            (3.., 1) => Ok(()),
            _ => Err(printed),
        }
    });
}

/// The looks that a process with `--format json` has printed whole.
fn looks(watching: &Process) -> Vec<Vec<Value>> {
    let printed = watching.output();
    let looks = serde_json::Deserializer::from_str(&printed).into_iter();
    looks.map_while(Result::ok).collect()
}

#[test]
fn watching_tells_who_gets_on_and_who_goes_back() {
    let _turn = my_turn();
    let kafka = kafka();
    let member = groups::modern(&kafka, "member", TOPIC, 4);
    groups::commit_by_hand(&kafka, "alone", 0, 4, "");
    let first = json(&kafka, &[]);
    let status = |look: &[Value], group: &str| {
        let row = row(look, group, TOPIC, 0);
        (row["committed"].clone(), row["status"].clone())
    };
    assert_eq!(
        status(&first, "member"),
        (4.into(), Value::Null),
        "whether it works cannot be seen"
    );

    let folder = common::folder();
    let mut command = Command::new(env!("CARGO_BIN_EXE_streamgauge"));
    command.args([
        "lag",
        "--watch=1",
        "--format",
        "json",
        "--bootstrap",
        &kafka.bootstrap(),
    ]);
    let mut watching = Process::start("lag", folder.path(), &mut command);
    let shows = |watching: &Process, group: &str, committed: i64, word: &str| {
        let what = format!("{group} at {committed} is {word}");
        eventually(&what, Duration::from_secs(60), || {
            let looks = looks(watching);
            let seen = looks
                .iter()
                .any(|look| status(look, group) == (committed.into(), word.into()));
            seen.then_some(()).ok_or_else(|| watching.tail())
        });
    };
    eventually("a first look", Duration::from_secs(60), || {
        let first = looks(&watching).first().map(|look| status(look, "member"));
        (first == Some((4.into(), Value::Null)))
            .then_some(())
            .ok_or_else(|| watching.tail())
    });
    let alone = status(&first, "alone");
    groups::commit(&member, &[0], 10);
    shows(&watching, "member", 10, "OK");
    groups::commit(&member, &[0], 6);
    shows(&watching, "member", 6, "REWIND");
    groups::commit(&member, &[0], i64::from(RECORDS));
    shows(&watching, "member", RECORDS.into(), "OK");
    groups::commit_by_hand(&kafka, "alone", 0, 12, "");
    shows(&watching, "alone", 12, "OK");
    // A group that nobody ever joined may be read by somebody who is not seen.
    assert_eq!(alone, (4.into(), Value::Null));
    watching.must_live();
}

#[test]
fn one_shot_tells_the_rate_of_who_commits_often_and_when_it_has_caught_up() {
    let _turn = my_turn();
    let kafka = kafka();
    let writer = kafka.writer();
    for _ in 0..60_000 {
        writer.write(&Write {
            topic: TOPIC.to_owned(),
            value: Some(b"x".to_vec()),
            ..Write::default()
        });
    }
    writer.flush();
    let member = groups::joined(&kafka, "working", TOPIC, &[("group.protocol", "consumer")]);
    groups::commit_by_hand(&kafka, "still", 1, 4, "");
    let told = std::thread::scope(|scope| {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let member = &member;
        let working = scope.spawn(move || {
            let began = Instant::now();
            let mut offset = 0;
            // Ten offsets each time, as often as the broker takes it but for a breath.
            while stopped.recv_timeout(Duration::from_millis(20)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                offset += 10;
                groups::commit(member, &[0], offset);
            }
            offset as f64 / began.elapsed().as_secs_f64()
        });
        let table = eventually("a rate", Duration::from_secs(60), || {
            let table = text(&lag(&kafka, &["--topic", TOPIC]));
            let told = table
                .lines()
                .any(|line| line.starts_with("working") && line.contains("/s"));
            told.then_some(table.clone()).ok_or(table)
        });
        drop(stop);
        (table, working.join().expect("it commits"))
    });
    let (table, rate) = told;
    let cells = |group: &str| -> Vec<&str> {
        let line = table
            .lines()
            .find(|line| line.starts_with(group) && !line.contains("committed"))
            .expect("a row");
        line.split_whitespace().collect()
    };
    eprintln!("{rate}/s\n{table}");
    let working = cells("working");
    let [lag, told, eta, status] = [5, 9, 10, 11].map(|column| working[column]);
    let told: f64 = told.trim_end_matches("/s").parse().expect("a rate");
    assert!(told > rate / 3.0 && told < rate * 3.0, "{told} is told, {rate} is true");
    assert_eq!(status, "OK", "{table}");
    let lag: f64 = lag.parse().expect("a number");
    let minutes = (lag / told / 60.0) as u64;
    let near = [minutes.saturating_sub(1), minutes, minutes + 1].map(|minutes| format!("{minutes}m"));
    let in_seconds = lag / told < 120.0;
    assert!(
        in_seconds || near.iter().any(|near| eta.starts_with(near.as_str())),
        "{eta} for {lag} at {told}/s"
    );
    assert_eq!(cells("still")[9..12], ["-", "-", "-"], "{table}");
}
