//! The small interface between the exactly-once state machine and a log: Kafka, or the one in memory.
//!
//! Rule: a [`Log`] is what one worker holds: one member of one consumer group, one transactional producer, one reader for
//! restores. It is used by one thread. Every call returns in bounded time; what takes longer is asked for again.
//!
//! Edges, the same on both implementations:
//! - partitions come and go only through [`Change`]s that the caller answers with `assign` and `unassign`;
//! - reads are read_committed; positions count control records;
//! - offsets sent in a transaction become the group's committed offsets with its commit, and are refused when the member's
//!   generation is no longer current;
//! - `init_transactions` fences every other producer of the same transactional id and settles its open transaction.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::engine::lag::logs::{Partitions, Survey, Tail, TailSpan};
use crate::engine::task::{PartitionCounts, Record, TopicId};
use crate::engine::time::WallTime;

/// One partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    pub topic: String,
    pub partition: u32,
}

/// What the group decided. The worker answers each: `Assigned` with `assign`, `Revoked` and `Lost` with `unassign`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Assigned(Vec<TopicPartition>),
    /// Taken away in good order: what is sealed may still be committed before `unassign`.
    Revoked(Vec<TopicPartition>),
    /// Taken away already: another member may own them; nothing of theirs can be committed.
    Lost(Vec<TopicPartition>),
}

/// Something the log has to say that is neither a record nor a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The position lies outside of the log. The worker asks for `log_start` and decides.
    OutOfRange(TopicPartition),
    /// The topic does not exist (yet).
    UnknownTopic(String),
    /// Passing trouble (a broker away): said once per kind of trouble, retried for ever.
    Trouble(String),
}

/// A committed offset and the metadata that went with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    pub offset: i64,
    pub metadata: String,
}

/// One record to send in the current transaction.
#[derive(Clone, Copy, Debug)]
pub struct Send<'a> {
    pub topic: &'a str,
    pub partition: u32,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: &'a [(&'a str, &'a str)],
}

/// An offset to commit with the current transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitOffset {
    pub partition: TopicPartition,
    pub offset: i64,
    pub metadata: String,
}

/// What can go wrong, by what the worker must do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Passing: ask again.
    #[error("{0}")]
    Retry(String),
    /// The transaction must be aborted; its outputs may be sent again in a new one.
    #[error("{0}")]
    Abort(String),
    /// The producer is spent or the outcome unknown: a new producer, and every task is closed and restored.
    #[error("{0}")]
    Fatal(String),
    /// Another process took this member's name (`group.instance.id` or transactional id): the older one ends.
    #[error("{0}")]
    Fenced(String),
    /// Sending the same again cannot succeed (too large, invalid, not authorised): the stage stops with this message,
    /// which names the record or the ACL.
    #[error("{0}")]
    Refused(String),
}

/// How the worker reads its group's partitions: gets the partition and the record; returns `false` to stop the batch.
pub type Sink<'s> = dyn FnMut(&str, u32, Record<'_>) -> bool + 's;

/// How the worker reads a changelog: key and value, `None` for a tombstone.
pub type RestoreSink<'s> = dyn FnMut(&[u8], Option<&[u8]>) + 's;

/// Who a worker is to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientOptions {
    /// The consumer group.
    pub group: String,
    /// Static membership under this name (`group.instance.id`); `None` is a dynamic member.
    pub instance: Option<String>,
    pub transactional_id: String,
    /// The most that the client buffers of what it fetched, in KiB.
    pub queue_kbytes: u32,
}

/// Makes connections: one a worker.
pub trait Connect: std::marker::Send + Sync {
    fn client(&self, options: &ClientOptions) -> Result<Box<dyn Log + std::marker::Send>, LogError>;
}

/// One worker's connection to a log.
pub trait Log {
    // --- the group consumer ---

    /// Joins the group for these topics. Topics that do not exist yet are waited for.
    fn subscribe(&mut self, topics: &[String]) -> Result<(), LogError>;

    /// Hands out records that are there, at most `max`, waiting up to `wait` for the first one. Also serves the group
    /// protocol: must be called all the time. `false` from the sink ends the batch; that record was taken.
    fn poll(&mut self, wait: Duration, max: usize, sink: &mut Sink<'_>) -> Result<(), LogError>;

    /// Changes since the last call, oldest first. The group waits until each is answered.
    fn changes(&mut self) -> Vec<Change>;

    /// Notices since the last call.
    fn notices(&mut self) -> Vec<Notice>;

    /// Answers `Assigned`: start delivering these, each from its offset; `paused` ones only after `resume`.
    fn assign(&mut self, partitions: &[(TopicPartition, i64)], paused: bool) -> Result<(), LogError>;

    /// Answers `Revoked` or `Lost`.
    fn unassign(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError>;

    /// Moves the reader of assigned partitions; records that were buffered are dropped.
    fn seek(&mut self, partitions: &[(TopicPartition, i64)]) -> Result<(), LogError>;

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError>;

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError>;

    /// The reader's positions of these assigned partitions (next offset), counting what was delivered to the sink and the
    /// control records behind it; `None` before the first fetch.
    fn positions(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError>;

    /// Whether the member has an id and a generation: without them nothing is committed.
    fn is_member(&mut self) -> bool;

    /// The group's committed offsets, stable (waits for open transactions: `Retry` when they do not settle in time).
    fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<Committed>>, LogError>;

    // --- what the broker knows ---

    /// First offset that the log still has.
    fn log_start(&mut self, partition: &TopicPartition) -> Result<i64, LogError>;

    /// High watermark, asked now.
    fn log_end(&mut self, partition: &TopicPartition) -> Result<i64, LogError>;

    /// First offset whose record timestamp is not before `time`; the log's end where there is none.
    fn offset_at(&mut self, partition: &TopicPartition, time: WallTime) -> Result<i64, LogError>;

    /// Asks for high watermarks in the background. Answers come from `log_ends`.
    fn sample_log_ends(&mut self, partitions: &[TopicPartition]);

    /// Answers that arrived since the last call: `(partition, high watermark, when it was asked)`.
    fn log_ends(&mut self) -> Vec<(TopicPartition, i64, WallTime)>;

    /// Asks in the background what `group` has committed for these partitions, whatever transactions are open. Answers come
    /// from `commits`; what cannot be answered is left out.
    fn sample_commits(&mut self, group: &str, partitions: &[TopicPartition]);

    /// Answers that arrived since the last call.
    fn commits(&mut self) -> Vec<(TopicPartition, Committed)>;

    /// Asks in the background where these logs begin and end. The answer comes from `survey`: one for each question, also
    /// where nobody knew anything. One question is under way at a time.
    fn ask_survey(&mut self, partitions: Partitions);

    /// The answer, once it is there.
    fn survey(&mut self) -> Option<Survey>;

    /// Counts in the background the records in these spans, as a read_committed reader sees them, for at most `wait`. What was
    /// counted comes from `tails`: one answer for each question, without the spans that were not read to their end.
    fn ask_tails(&mut self, spans: BTreeSet<TailSpan>, wait: Duration);

    /// The answer, once it is there.
    fn tails(&mut self) -> Option<Vec<(TailSpan, Tail)>>;

    /// Partition counts of these topics; topics that do not exist are absent.
    fn partition_counts(&mut self, topics: &[String]) -> Result<PartitionCounts, LogError>;

    /// The topic's id; zero where the broker does not tell.
    fn topic_id(&mut self, topic: &str) -> Result<TopicId, LogError>;

    // --- the restore reader (one partition at a time per call, read_committed from the log's start) ---

    /// Starts or restarts reading a changelog partition from its start.
    fn restore_start(&mut self, changelog: &TopicPartition) -> Result<(), LogError>;

    /// Hands out what is there (key, value) of this changelog partition, waiting up to `wait`; returns the position.
    fn restore_poll(
        &mut self,
        changelog: &TopicPartition,
        wait: Duration,
        sink: &mut RestoreSink<'_>,
    ) -> Result<i64, LogError>;

    fn restore_stop(&mut self, changelog: &TopicPartition);

    // --- the transactional producer ---

    /// Once per producer before the first transaction. `renew` throws the producer away first.
    fn init_transactions(&mut self, renew: bool) -> Result<(), LogError>;

    fn begin(&mut self) -> Result<(), LogError>;

    fn send(&mut self, record: Send<'_>) -> Result<(), LogError>;

    /// Adds the offsets with the member's current group metadata (KIP-447).
    fn send_offsets(&mut self, offsets: &[CommitOffset]) -> Result<(), LogError>;

    /// Flushes and commits. `Retry`: still under way, call `commit` again.
    fn commit(&mut self) -> Result<(), LogError>;

    fn abort(&mut self) -> Result<(), LogError>;

    // --- the end ---

    /// Deletes records below these offsets (trims a repartition topic behind the commits). Best effort, in the background.
    fn trim(&mut self, partitions: &[(TopicPartition, i64)]);

    /// Closes the consumer (leaves the group where membership is dynamic) and the producer.
    fn close(&mut self);
}
