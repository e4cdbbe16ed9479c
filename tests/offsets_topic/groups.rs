//! Groups of each kind, with what they committed.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde_json::Value;

use super::common::eventually;
use super::common::kafka::{Kafka, Write};
use super::{PARTITIONS, TOPIC};

const CALL: Duration = Duration::from_secs(15);

/// Group, topic, partition.
pub type Place = (String, String, u32);

/// Committed offset, log end and lag; none where the tool has a dash.
pub type Numbers = (Option<i64>, Option<i64>, Option<i64>);

/// Writes so many records into each partition of [`TOPIC`].
pub fn fill(kafka: &Kafka, records: u32) {
    let writer = kafka.writer();
    for number in 0..records * PARTITIONS {
        writer.write(&Write {
            topic: TOPIC.to_owned(),
            partition: number % PARTITIONS,
            value: Some(format!("order {number}").into_bytes()),
            ..Write::default()
        });
    }
    writer.flush();
}

/// What Kafka's own tool says of all groups: `GROUP TOPIC PARTITION CURRENT-OFFSET LOG-END-OFFSET LAG ...`.
pub fn told(kafka: &Kafka) -> BTreeMap<Place, Numbers> {
    let told = kafka.tool(
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        &["--describe", "--all-groups", "--offsets"],
    );
    let row = |line: &str| {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [group, topic, partition, committed, end, lag, ..] = columns.as_slice() else {
            return None;
        };
        let number = |text: &str| text.parse().ok();
        let place = ((*group).to_owned(), (*topic).to_owned(), partition.parse().ok()?);
        Some((place, (number(committed), number(end), number(lag))))
    };
    told.lines().filter_map(row).collect()
}

fn offsets(partitions: &[i32], offset: i64) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for partition in partitions {
        list.add_partition_offset(TOPIC, *partition, Offset::Offset(offset))
            .expect("an offset");
    }
    list
}

/// Joins and waits for all partitions.
pub fn joined(kafka: &Kafka, group: &str, topics: &str, settings: &[(&str, &str)]) -> BaseConsumer {
    let mut config = kafka.client();
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("client.id", format!("client-of-{group}"));
    for (key, value) in settings {
        config.set(*key, *value);
    }
    let consumer: BaseConsumer = config.create().expect("a consumer");
    consumer.subscribe(&[topics]).expect("a subscription");
    eventually(&format!("{group} has its partitions"), Duration::from_secs(60), || {
        // What is read does not matter.
        let _ = consumer.poll(Duration::from_millis(100));
        match consumer.assignment().map_err(|error| error.to_string())?.count() {
            3 => Ok(()),
            other => Err(format!("{other} partitions")),
        }
    });
    consumer
}

pub fn commit(consumer: &BaseConsumer, partitions: &[i32], offset: i64) {
    eventually("a commit", CALL, || {
        consumer
            .commit(&offsets(partitions, offset), CommitMode::Sync)
            .map_err(|error| error.to_string())
    });
}

/// A group of the classic protocol with one member, which stays.
pub fn classic(kafka: &Kafka, group: &str, offset: i64) -> BaseConsumer {
    let consumer = joined(kafka, group, TOPIC, &[("partition.assignment.strategy", "range")]);
    commit(&consumer, &[0, 1, 2], offset);
    consumer
}

/// A group of KIP-848 with one member, which stays.
pub fn modern(kafka: &Kafka, group: &str, topics: &str, offset: i64) -> BaseConsumer {
    let consumer = joined(kafka, group, topics, &[("group.protocol", "consumer")]);
    commit(&consumer, &[0, 1, 2], offset);
    consumer
}

/// Commits without a member, as `assign` does.
pub fn commit_by_hand(kafka: &Kafka, group: &str, partition: i32, offset: i64, metadata: &str) {
    let consumer: BaseConsumer = kafka.client().set("group.id", group).create().expect("a consumer");
    let list = offsets(&[partition], offset);
    list.elements()[0].set_metadata(metadata);
    eventually(group, CALL, || {
        consumer
            .commit(&list, CommitMode::Sync)
            .map_err(|error| error.to_string())
    });
}

/// Sends an offset of partition 0 into the open transaction.
fn send(kafka: &Kafka, producer: &BaseProducer, group: &str, offset: i64) {
    let consumer: BaseConsumer = kafka.client().set("group.id", group).create().expect("a consumer");
    let metadata = consumer.group_metadata().expect("the group's metadata");
    eventually("offsets in a transaction", CALL, || {
        producer
            .send_offsets_to_transaction(&offsets(&[0], offset), &metadata, CALL)
            .map_err(|error| error.to_string())
    });
}

pub fn transactional(kafka: &Kafka, id: &str) -> BaseProducer {
    let producer: BaseProducer = kafka.client().set("transactional.id", id).create().expect("a producer");
    producer.init_transactions(CALL).expect("transactions");
    producer.begin_transaction().expect("a transaction");
    producer
}

/// Commits `committed` in a transaction, and aborts one with `aborted`.
pub fn exactly_once(kafka: &Kafka, group: &str, committed: i64, aborted: i64) {
    let producer = transactional(kafka, group);
    send(kafka, &producer, group, committed);
    producer.commit_transaction(CALL).expect("a commit");
    producer.begin_transaction().expect("a transaction");
    send(kafka, &producer, group, aborted);
    producer.abort_transaction(CALL).expect("an abort");
}

/// A transaction with an offset that stays open as long as the producer lives.
pub fn open_transaction(kafka: &Kafka, group: &str, offset: i64) -> BaseProducer {
    let producer = transactional(kafka, group);
    send(kafka, &producer, group, offset);
    producer
}

pub fn delete(kafka: &Kafka, group: &str) {
    kafka.tool(
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        &["--delete", "--group", group],
    );
}

/// A share group that a consumer came to, and left again.
pub fn share(kafka: &Kafka, group: &str, topic: &str) {
    kafka.tool(
        "org.apache.kafka.tools.consumer.ConsoleShareConsumer",
        &["--topic", topic, "--group", group, "--timeout-ms", "4000"],
    );
}

/// What the record says of the group's one member is what Kafka's own tool says.
pub fn members_agree(kafka: &Kafka, state: &BTreeMap<String, Value>, group: &str) {
    let key = |(key, _): &(&String, &Value)| key.contains("\"GroupMetadata\"") && key.contains(&format!("\"{group}\""));
    let (_, record) = state.iter().find(key).expect("the group's record");
    let told = kafka.tool(
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        &["--describe", "--group", group, "--members"],
    );
    let members = record["members"].as_array().expect("a list");
    let rows: Vec<Vec<&str>> = told
        .lines()
        .map(|line| line.split_whitespace().collect())
        .filter(|columns: &Vec<&str>| columns.first() == Some(&group))
        .collect();
    assert_eq!((members.len(), rows.len()), (1, 1), "{told}");
    for name in ["memberId", "clientHost", "clientId"] {
        let value = members[0][name].as_str().expect("a text");
        assert!(rows[0].contains(&value), "{name} {value}: {told}");
    }
    assert_eq!(record["protocolType"], "consumer");
    assert_eq!(record["protocol"], "range");
    assert_eq!(record["leader"], members[0]["memberId"]);
    let told = kafka.tool(
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        &["--describe", "--group", group, "--state"],
    );
    assert!(told.contains("range") && told.contains("Stable"), "{told}");
}
