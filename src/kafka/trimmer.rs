//! Deletes records that nobody needs any more, in the background.
//!
//! Rule: best effort. Offsets that come while a request is under way are merged; a failure is told once for each topic, and
//! the next offset tries again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::topic_partition_list::Offset;

use super::admin::wait_for;
use super::context::Quiet;
use super::settings::Connection;
use super::{CALL, list, sys};
use crate::runtime::log::TopicPartition;

/// Least time between two requests.
const ROUND: Duration = Duration::from_secs(1);

type Offsets = Vec<(TopicPartition, i64)>;

/// The process's trimmer; its thread starts with the first request and ends with it.
pub(super) struct Trimmer {
    connection: Connection,
    requests: OnceLock<Sender<Offsets>>,
}

// === impl Trimmer ===

impl Trimmer {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            requests: OnceLock::new(),
        }
    }

    pub(super) fn trim(&self, offsets: &[(TopicPartition, i64)]) {
        if offsets.is_empty() {
            return;
        }
        let requests = self.requests.get_or_init(|| {
            let (sender, receiver) = channel();
            let connection = self.connection.clone();
            let spawned = std::thread::Builder::new()
                .name("trim".to_owned())
                .spawn(move || serve(&connection, &receiver));
            if let Err(error) = spawned {
                tracing::warn!(event_type = "thread_missing", %error, "no thread for trimming: repartition topics grow to their retention");
            }
            sender
        });
        // A trimmer that has no thread trims nothing.
        let _ = requests.send(offsets.to_vec());
    }
}

fn serve(connection: &Connection, requests: &Receiver<Offsets>) {
    let admin: AdminClient<Quiet> = match connection.admin_client().create_with_context(Quiet::default()) {
        Ok(admin) => admin,
        Err(error) => {
            tracing::warn!(event_type = "trimming_failed", %error, "repartition topics are not trimmed and grow to their retention");
            return;
        }
    };
    let mut told = BTreeSet::new();
    while let Ok(first) = requests.recv() {
        let mut below: BTreeMap<TopicPartition, i64> = BTreeMap::new();
        for (partition, offset) in first.into_iter().chain(requests.try_iter().flatten()) {
            let known = below.entry(partition).or_insert(offset);
            *known = offset.max(*known);
        }
        delete(&admin, &below, &mut told);
        std::thread::sleep(ROUND);
    }
}

fn delete(admin: &AdminClient<Quiet>, below: &BTreeMap<TopicPartition, i64>, told: &mut BTreeSet<(String, i32)>) {
    let offsets = list(
        below
            .iter()
            .map(|(partition, offset)| (partition, Offset::Offset(*offset))),
    );
    let options = AdminOptions::new()
        .request_timeout(Some(CALL))
        .operation_timeout(Some(CALL));
    match wait_for(admin.delete_records(&offsets, &options)) {
        Ok(done) => {
            for entry in sys::entries(&done) {
                let Some(code) = entry.error else {
                    continue;
                };
                if told.insert((entry.partition.topic.clone(), code as i32)) {
                    let right = if code == Code::TopicAuthorizationFailed {
                        " (this principal needs DELETE)"
                    } else {
                        ""
                    };
                    tracing::warn!(event_type = "trimming_failed", topic = entry.partition.topic, %code, "a topic is not trimmed{right}");
                }
            }
        }
        Err(error) => {
            tracing::debug!(event_type = "trimming_failed", %error, "trimming failed, the next offsets try again")
        }
    }
}
