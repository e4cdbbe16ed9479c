//! Holds the log in memory to Kafka's behaviour, through its public API: what readers see, who owns what, and what becomes
//! of a producer that is too old.

#[path = "memory_log/changelog.rs"]
mod changelog;
#[path = "memory_log/failures.rs"]
mod failures;
#[path = "memory_log/groups.rs"]
mod groups;
#[path = "memory_log/properties.rs"]
mod properties;
#[path = "memory_log/reading.rs"]
mod reading;
#[path = "memory_log/threads.rs"]
mod threads;
#[path = "memory_log/transactions.rs"]
mod transactions;

use std::collections::BTreeSet;
use std::time::Duration;

use streamgauge::engine::time::{Span, WallTime};
use streamgauge::memory::{ClientOptions, Cluster, ClusterClock, MemoryLog, TopicOptions};
use streamgauge::runtime::log::{Change, CommitOffset, Log, LogError, Send, TopicPartition};

const START: WallTime = WallTime(1_700_000_000_000_000);

fn cluster() -> Cluster {
    Cluster::new(ClusterClock::manual(START))
}

fn cluster_with(topic: &str, partitions: u32) -> Cluster {
    let cluster = cluster();
    cluster
        .create_topic(topic, partitions, TopicOptions::default())
        .expect("a new topic");
    cluster
}

fn at(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition {
        topic: topic.to_owned(),
        partition,
    }
}

fn seconds(count: i64) -> WallTime {
    START.ahead(Span::seconds(count))
}

fn produce(cluster: &Cluster, topic: &str, partition: u32, value: &str) -> i64 {
    cluster
        .produce(topic, partition, Some(b"k"), Some(value.as_bytes()), cluster.now())
        .expect("the partition exists")
}

/// A dynamic member of group `g`.
fn dynamic(cluster: &Cluster, id: &str) -> MemoryLog {
    cluster.client(ClientOptions::new("g", id))
}

/// A static member of group `g`; its name is its transactional id.
fn named(cluster: &Cluster, name: &str) -> MemoryLog {
    cluster.client(ClientOptions {
        instance: Some(name.to_owned()),
        ..ClientOptions::new("g", name)
    })
}

/// A producer that is ready for its first transaction.
fn producer(cluster: &Cluster, id: &str) -> MemoryLog {
    let mut log = dynamic(cluster, id);
    log.init_transactions(false).expect("nobody else has the id");
    log
}

fn send(log: &mut MemoryLog, topic: &str, partition: u32, value: &str) -> Result<(), LogError> {
    log.send(Send {
        topic,
        partition,
        key: Some(b"k"),
        value: Some(value.as_bytes()),
        headers: &[],
    })
}

fn offset(topic: &str, partition: u32, offset: i64, metadata: &str) -> CommitOffset {
    CommitOffset {
        partition: at(topic, partition),
        offset,
        metadata: metadata.to_owned(),
    }
}

/// Polls once; values by partition, in the order in which they came.
fn poll(log: &mut MemoryLog) -> Vec<(u32, String)> {
    let mut seen = Vec::new();
    log.poll(Duration::ZERO, 1_000, &mut |_, partition, record| {
        seen.push((
            partition,
            String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned(),
        ));
        true
    })
    .expect("a poll without faults");
    seen
}

/// Polls and answers everything at once, reading new partitions from offset 0. Returns what changed.
fn poll_and_answer(log: &mut MemoryLog) -> Vec<Change> {
    poll(log);
    let changes = log.changes();
    for change in &changes {
        match change {
            Change::Assigned(partitions) => {
                let from_start: Vec<_> = partitions.iter().map(|partition| (partition.clone(), 0)).collect();
                log.assign(&from_start, false).expect("they were assigned");
            }
            Change::Revoked(partitions) | Change::Lost(partitions) => log.unassign(partitions).expect("no faults"),
        }
    }
    changes
}

/// A member that has joined and answered.
fn joined(mut log: MemoryLog, topic: &str) -> MemoryLog {
    log.subscribe(&[topic.to_owned()]).expect("no faults");
    poll_and_answer(&mut log);
    log
}

/// Lets all members poll and answer until nothing changes.
fn settle(members: &mut [&mut MemoryLog]) {
    for _ in 0..20 {
        let changes: usize = members.iter_mut().map(|member| poll_and_answer(member).len()).sum();
        if changes == 0 {
            return;
        }
    }
    panic!("the group does not come to rest");
}

/// Partitions that the group says this member owns.
fn owned(cluster: &Cluster, log: &MemoryLog) -> BTreeSet<u32> {
    let group = cluster.group("g").expect("somebody joined");
    let member = group
        .members
        .into_iter()
        .find(|member| Some(member.id) == log.member_id());
    member
        .map(|member| member.owned.into_iter().map(|partition| partition.partition).collect())
        .unwrap_or_default()
}

/// All committed values of a partition.
fn committed_values(cluster: &Cluster, topic: &str, partition: u32) -> Vec<String> {
    let (records, _) = cluster.read(topic, partition, 0).expect("the partition exists");
    records
        .into_iter()
        .map(|record| String::from_utf8_lossy(&record.value.unwrap_or_default()).into_owned())
        .collect()
}
