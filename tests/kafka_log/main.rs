//! The contract of `runtime::log::Log`, held against a real broker.

mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod group;
mod reading;
mod transactions;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use common::kafka::{Kafka, Write};
use streamgauge::engine::task::Stamp;
use streamgauge::engine::time::WallTime;
use streamgauge::kafka::{
    Cleanup, ClientOptions, Connection, EnsureError, KafkaCluster, KafkaLog, OrphanWatch, TopicSpec, Watched,
    cluster_info, describe, ensure_topics, fetch_group_offsets,
};
use streamgauge::runtime::log::{Change, CommitOffset, Log, LogError, Notice, Send, TopicPartition};

const LONG: Duration = Duration::from_secs(40);

// --- joining a group, sending as a worker does ---

/// A log with a worker's habits: answers every change, keeps what it read.
struct Member {
    log: KafkaLog,
    owned: BTreeSet<TopicPartition>,
    records: Vec<(TopicPartition, i64, String)>,
    changes: Vec<Change>,
    notices: Vec<Notice>,
}

impl Member {
    fn new(log: KafkaLog) -> Self {
        Self {
            log,
            owned: BTreeSet::new(),
            records: Vec::new(),
            changes: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// One turn of a worker's loop.
    fn turn(&mut self) -> Result<(), LogError> {
        let records = &mut self.records;
        let polled = self
            .log
            .poll(Duration::from_millis(20), 500, &mut |topic, partition, record| {
                let value = String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned();
                records.push((place(topic, partition), record.offset, value));
                true
            });
        self.notices.extend(self.log.notices());
        for change in self.log.changes() {
            match &change {
                Change::Assigned(partitions) => {
                    let committed = until_answered(|| self.log.committed(partitions));
                    let starts: Vec<_> = partitions
                        .iter()
                        .zip(committed)
                        .map(|(partition, committed)| (partition.clone(), committed.map_or(0, |c| c.offset)))
                        .collect();
                    self.log.assign(&starts, false)?;
                    self.owned.extend(partitions.iter().cloned());
                }
                Change::Revoked(partitions) | Change::Lost(partitions) => {
                    self.log.unassign(partitions)?;
                    self.owned.retain(|owned| !partitions.contains(owned));
                }
            }
            self.changes.push(change);
        }
        polled
    }

    /// Turns until `done`; fails after a long time.
    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + LONG;
        while !done(self) {
            self.turn().unwrap_or_else(|error| panic!("{what}: {error}"));
            assert!(
                Instant::now() < deadline,
                "{what} did not happen; owned {:?}, {} records, notices {:?}",
                self.owned,
                self.records.len(),
                self.notices
            );
        }
    }

    /// Turns until `done`; for members that may fail meanwhile.
    fn for_a_while(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.turn().expect("a turn");
        }
    }

    fn position(&mut self, partition: &TopicPartition) -> Option<i64> {
        self.log.positions(std::slice::from_ref(partition)).expect("a position")[0]
    }
}

fn place(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition {
        topic: topic.to_owned(),
        partition,
    }
}

fn record<'a>(topic: &'a str, partition: u32, value: &'a str) -> Send<'a> {
    Send {
        topic,
        partition,
        key: Some(b"key"),
        value: Some(value.as_bytes()),
        headers: &[],
    }
}

fn offset(partition: &TopicPartition, offset: i64, metadata: &str) -> CommitOffset {
    CommitOffset {
        partition: partition.clone(),
        offset,
        metadata: metadata.to_owned(),
    }
}

/// Asks again while the answer is `Retry`.
fn until_answered<T>(mut ask: impl FnMut() -> Result<T, LogError>) -> T {
    let deadline = Instant::now() + LONG;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(LogError::Retry(reason)) => assert!(Instant::now() < deadline, "still: {reason}"),
            Err(error) => panic!("{error}"),
        }
    }
}

// --- the broker ---

/// One broker for all tests that run at the same time; it ends with the last of them.
fn broker() -> Arc<Kafka> {
    static SHARED: Mutex<Weak<Kafka>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let server = Arc::new(Kafka::start());
        *shared = Arc::downgrade(&server);
        server
    })
}

fn connection(server: &Kafka, properties: &[(&str, &str)]) -> Connection {
    let properties = properties
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Connection::new(server.bootstrap(), properties).expect("settings")
}

fn cluster(server: &Kafka) -> Arc<KafkaCluster> {
    KafkaCluster::new(connection(server, &[])).expect("a cluster")
}

fn options(group: &str, instance: Option<&str>, id: &str) -> ClientOptions {
    ClientOptions {
        group: group.to_owned(),
        instance: instance.map(str::to_owned),
        transactional_id: id.to_owned(),
        queue_kbytes: 16 * 1024,
    }
}

fn client(cluster: &Arc<KafkaCluster>, group: &str, id: &str) -> KafkaLog {
    cluster.client(options(group, None, id)).expect("a log")
}

fn joined(cluster: &Arc<KafkaCluster>, group: &str, instance: Option<&str>, id: &str, topics: &[&str]) -> Member {
    let mut log = cluster.client(options(group, instance, id)).expect("a log");
    let topics: Vec<String> = topics.iter().map(|topic| (*topic).to_owned()).collect();
    log.subscribe(&topics).expect("a subscription");
    Member::new(log)
}

/// Writes outside of any transaction: values are "0", "1", ...
fn produce(server: &Kafka, topic: &str, partition: u32, count: usize) {
    let writer = server.writer();
    for number in 0..count {
        writer.write(&Write {
            topic: topic.to_owned(),
            partition,
            key: Some(b"key".to_vec()),
            value: Some(number.to_string().into_bytes()),
            ..Write::default()
        });
    }
    writer.flush();
}

/// Everything that a read_committed reader finds up to the high watermark, and where its position then is.
fn read_all(log: &mut KafkaLog, partition: &TopicPartition) -> (Vec<String>, i64) {
    let end = until_answered(|| log.log_end(partition));
    let mut values = Vec::new();
    until_answered(|| log.restore_start(partition));
    let deadline = Instant::now() + LONG;
    let position = loop {
        let position = log
            .restore_poll(partition, Duration::from_millis(100), &mut |_, value| {
                values.push(String::from_utf8_lossy(value.unwrap_or(b"(none)")).into_owned());
            })
            .expect("a position");
        if position >= end {
            break position;
        }
        assert!(Instant::now() < deadline, "stands at {position} of {end}");
    };
    log.restore_stop(partition);
    (values, position)
}
