//! Finds partitions that belong to nobody, and makes their group deal them out.
//!
//! Rule: a cooperative rebalance takes a partition from one member first, and gives it to another in a second round, which the
//! first one asks for. Where that one has a name (static membership) and dies between the two, its successor is handed what
//! the first round left it, without any round; the partition then belongs to nobody until somebody joins or leaves. So the
//! groups are looked at, and where a partition has no owner twice in a row in a stable group, this process joins it for a
//! moment under no name and leaves again. Both make the group deal anew.
//!
//! Edges:
//! - a group that is not stable is left alone, and partitions of a member that is away are its own until its session is over;
//! - several processes may see the same and do the same: one more round, and nothing is read twice, since who only passes by
//!   commits nothing;
//! - a cluster that does not tell who owns what is asked again at the next look.

use std::collections::BTreeSet;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;

use super::context::Quiet;
use super::settings::{Connection, Member};
use super::{CALL, retire};
use crate::runtime::log::TopicPartition;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(10);

/// How long it may take to be dealt something when passing by: members hear of a round with their next heartbeat.
const PASSING: Duration = Duration::from_secs(10);

/// One group and what its members read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watched {
    pub group: String,
    pub topics: Vec<String>,
}

/// The thread that looks; it ends when this is dropped.
pub struct OrphanWatch {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// One group, and what had no owner at the last look.
struct Look {
    watched: Watched,
    orphans: BTreeSet<TopicPartition>,
}

// === impl OrphanWatch ===

impl OrphanWatch {
    pub fn start(connection: &Connection, groups: Vec<Watched>) -> std::io::Result<OrphanWatch> {
        let (stop, stopped) = channel::<()>();
        let connection = connection.clone();
        let thread = std::thread::Builder::new().name("orphans".to_owned()).spawn(move || {
            let mut looks: Vec<Look> = groups.into_iter().map(Look::new).collect();
            let client = connection.metadata_client().create_with_context(Quiet::default());
            let client: BaseConsumer<Quiet> = match client {
                Ok(client) => client,
                Err(error) => return tracing::warn!(event_type = "thread_missing", %error, "partitions without an owner are not looked for"),
            };
            while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(LOOK) {
                for look in &mut looks {
                    if let Err(error) = look.again(&client, &connection) {
                        tracing::debug!(event_type = "group_owners_unknown", %error, group = look.watched.group, "who owns which partition is not known");
                    }
                }
            }
        })?;
        Ok(OrphanWatch {
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for OrphanWatch {
    fn drop(&mut self) {
        drop(self.stop.take());
        // A look that is under way may wait for a broker; nothing depends on its end.
        drop(self.thread.take());
    }
}

// === impl Look ===

impl Look {
    fn new(watched: Watched) -> Self {
        Self {
            watched,
            orphans: BTreeSet::new(),
        }
    }

    fn again(&mut self, client: &BaseConsumer<Quiet>, connection: &Connection) -> Result<(), KafkaError> {
        let before = std::mem::take(&mut self.orphans);
        let Some(owned) = owned(client, &self.watched.group)? else {
            return Ok(());
        };
        for topic in &self.watched.topics {
            let metadata = client.fetch_metadata(Some(topic), CALL)?;
            let count = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
            let all = (0..u32::try_from(count).unwrap_or(0)).map(|partition| TopicPartition {
                topic: topic.clone(),
                partition,
            });
            self.orphans.extend(all.filter(|partition| !owned.contains(partition)));
        }
        let still: Vec<String> = before
            .intersection(&self.orphans)
            .map(|orphan| format!("{}/{}", orphan.topic, orphan.partition))
            .collect();
        if !still.is_empty() {
            tracing::warn!(
                event_type = "partitions_orphaned",
                group = self.watched.group,
                "no member owns {}, and the group is stable: an instance died in the middle of a rebalance. Making the group \
                 deal anew",
                still.join(" ")
            );
            self.orphans.clear();
            pass_by(connection, &self.watched)?;
        }
        Ok(())
    }
}

/// Who reads what in a stable group; `None` while it is not stable, or has no members.
fn owned(client: &BaseConsumer<Quiet>, group: &str) -> Result<Option<BTreeSet<TopicPartition>>, KafkaError> {
    let groups = client.fetch_group_list(Some(group), CALL)?;
    let Some(group) = groups.groups().iter().find(|found| found.name() == group) else {
        return Ok(None);
    };
    if group.state() != "Stable" || group.members().is_empty() {
        return Ok(None);
    }
    let mut owned = BTreeSet::new();
    for member in group.members() {
        match member.assignment().and_then(assignment) {
            Some(partitions) => owned.extend(partitions),
            None => return Ok(None),
        }
    }
    Ok(Some(owned))
}

/// Joins and leaves, which is a round each.
fn pass_by(connection: &Connection, watched: &Watched) -> Result<(), KafkaError> {
    let member = Member {
        group: &watched.group,
        instance: None,
        queue_kbytes: 1024,
    };
    let consumer: BaseConsumer<Quiet> = connection
        .group_consumer(member)
        .create_with_context(Quiet::default())?;
    let topics: Vec<&str> = watched.topics.iter().map(String::as_str).collect();
    consumer.subscribe(&topics)?;
    let until = Instant::now() + PASSING;
    while Instant::now() < until && consumer.assignment()?.count() == 0 {
        // What comes is not for us, and is not committed.
        let _ = consumer.poll(Duration::from_millis(100));
    }
    retire(consumer, CALL);
    Ok(())
}

/// The partitions of a member: version, topics with their partitions, and what the assignor adds. `None` where the bytes are
/// something else. Empty for a member that has none.
fn assignment(bytes: &[u8]) -> Option<Vec<TopicPartition>> {
    if bytes.is_empty() {
        return Some(Vec::new());
    }
    let mut rest = bytes;
    let mut take = |count: usize| {
        let (taken, left) = rest.split_at_checked(count)?;
        rest = left;
        Some(taken)
    };
    let _version = take(2)?;
    let mut partitions = Vec::new();
    for _ in 0..number(take(4)?)? {
        let length = u16::from_be_bytes(take(2)?.try_into().ok()?);
        let topic = std::str::from_utf8(take(usize::from(length))?).ok()?.to_owned();
        for _ in 0..number(take(4)?)? {
            partitions.push(TopicPartition {
                topic: topic.clone(),
                partition: number(take(4)?)?,
            });
        }
    }
    Some(partitions)
}

/// A number that is not negative.
fn number(bytes: &[u8]) -> Option<u32> {
    u32::try_from(i32::from_be_bytes(bytes.try_into().ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: &[u8] =
        b"\0\x01\0\0\0\x02\0\x01a\0\0\0\x02\0\0\0\0\0\0\0\x05\0\x02bc\0\0\0\x01\0\0\0\x03\xff\xff\xff\xff";

    #[test]
    fn an_assignment_is_topics_with_their_partitions() {
        let named = |partition: &TopicPartition| format!("{}/{}", partition.topic, partition.partition);
        let read: Vec<String> = assignment(BYTES).unwrap().iter().map(named).collect();
        assert_eq!(read, ["a/0", "a/5", "bc/3"]);
        assert_eq!(assignment(b""), Some(Vec::new()));
    }

    #[test]
    fn other_bytes_are_no_assignment() {
        // The assignor's own bytes behind the topics are not read.
        for length in 1..BYTES.len() - 4 {
            assert_eq!(assignment(&BYTES[..length]), None, "{length}");
        }
        assert_eq!(assignment(b"\0\x01\xff\xff\xff\xff"), None);
        assert_eq!(assignment(b"\0\x01\x7f\xff\xff\xff\0\x01a"), None);
    }
}
