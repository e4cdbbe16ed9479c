//! The contract between the runtime, which knows no stage, and the stages, which know no Kafka.
//!
//! Rule: a task owns one input partition. It is opened at a committed offset, accepts inputs one by one, and hands out
//! everything it wants to leave behind as one immutable [`Output`] at a seal. Between seals nothing of it is visible.
//!
//! Edges:
//! - `accept` of a record may refuse with [`Halt::Hold`]: the record is not taken, the runtime pauses the partition and
//!   offers it again later (nothing is lost, another instance may know better);
//! - after [`Halt::Stop`] the stage ends with that message; the task is dropped without a seal;
//! - `seal` returns `None` when there is nothing to write and the position has not moved.

use std::collections::BTreeSet;
use std::fmt;

use super::lag::logs::{Logs, Partitions, Survey, Tail, TailSpan};
use super::tap::ledger::Ledger;
use super::time::Watermark;
use super::time::{EventTime, WallTime};

/// One record of an input partition, borrowed from the client's buffer.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    pub offset: i64,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub stamp: Stamp,
    pub headers: &'a dyn Headers,
}

/// The headers of a record. Clients read them only when somebody asks.
pub trait Headers: fmt::Debug {
    /// The value of the last one of this name; `None` also where that one has none.
    fn last(&self, name: &str) -> Option<&[u8]>;
}

/// The timestamp that the log keeps with a record, and who set it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stamp {
    None,
    /// The writer's clock (CreateTime).
    Created(WallTime),
    /// The broker's clock as the record was appended (LogAppendTime).
    Appended(WallTime),
}

/// A record without headers.
impl Headers for () {
    fn last(&self, _name: &str) -> Option<&[u8]> {
        None
    }
}

/// Partition counts of input topics, as the broker said last: `(topic, partitions)`. A topic that does not exist is
/// absent.
pub type PartitionCounts = std::collections::BTreeMap<String, u32>;

/// What the runtime tells a task.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// The next record of the task's partition; offsets strictly rise, gaps are control records, aborted data or
    /// compaction.
    Record(Record<'a>),
    /// One record of the task's changelog partition, in order; `None` is a tombstone. Only between open and `Restored`.
    Restore { key: &'a [u8], value: Option<&'a [u8]> },
    /// The changelog was read to its end; records follow.
    Restored,
    /// The reader's position: every offset below `next` was delivered or will never be (control records, aborted data).
    Position { next: i64 },
    /// A fresh answer of the broker: the log ended (high watermark) at `end` when it was asked at `sampled_at`.
    LogEnd { end: i64, sampled_at: WallTime },
    /// Retention was faster: the log now starts at `start`, beyond the task's position.
    Expired { start: i64 },
    /// Partition counts of all input topics of the plan.
    Partitions(&'a PartitionCounts),
    /// The runtime has stopped reading this partition, or reads on: what lies ahead is there, and is not taken.
    Waiting(bool),
    /// The brokers are asked for the ends of the logs that the task wants ([`Task::wants`]), now.
    Surveying,
    /// They have answered.
    Surveyed(&'a Logs),
    /// The wall time. Comes before a batch of records and before each seal; never goes back within one task.
    Time(WallTime),
}

/// Where a task starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open<'a> {
    /// Nothing was ever committed for this partition; it starts at this offset, which the first seal commits.
    Fresh { start: i64, topic_id: TopicId },
    /// The group's committed offset and the metadata that came with it.
    Resumed {
        offset: i64,
        metadata: &'a str,
        topic_id: TopicId,
    },
    /// The operator accepted a reset (`--accept-reset`): a new ledger epoch starts at this offset.
    Reset {
        start: i64,
        metadata: &'a str,
        topic_id: TopicId,
    },
}

impl Open<'_> {
    /// The next offset to read, and the committed one that a changelog must agree with; none was ever committed for a
    /// fresh partition.
    pub fn offsets(self) -> (i64, Option<i64>) {
        match self {
            Self::Fresh { start, .. } => (start, None),
            Self::Resumed { offset, .. } => (offset, Some(offset)),
            Self::Reset { start, .. } => (start, Some(start)),
        }
    }
}

/// Kafka's topic id (a UUID); zero where the broker does not say.
pub type TopicId = [u8; 16];

/// A task refuses to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// Pause this partition; the record was not taken.
    Hold(String),
    /// Stop the stage, and say this.
    Stop(String),
}

// === impl Halt ===

impl Halt {
    /// A stage's changelog counts up to another offset than the group has committed.
    pub fn disagreement(stage: &str, partition: u32, committed: Option<i64>, changelog: Option<i64>) -> Self {
        let said = |offset: Option<i64>| offset.map_or("nothing".to_owned(), |offset| format!("offset {offset}"));
        Self::Stop(format!(
            "{stage} partition {partition}: the group has committed {}, but its changelog counts up to {}. Offsets were reset or \
             expired, or the changelog was deleted; set the group back to the changelog's offset, or start anew with another \
             --application-id",
            said(committed),
            said(changelog),
        ))
    }
}

/// The stages that other stages send to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    Tap,
    Correlate,
    Lag,
    Gauge,
    Alert,
    Export,
}

/// Everything one task leaves behind at one seal. Immutable from here on: sent again as it is until it is known to be
/// committed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// The offset to commit: the next one to read.
    pub next: i64,
    /// Goes into the offset commit, atomic with the offset.
    pub metadata: String,
    /// Encoded [`super::codec::Batch`]es by stage and partition of its repartition topic.
    pub shuffled: Vec<Shuffled>,
    /// Changelog records `(key, value)`; `None` deletes. They go to the task's own changelog partition.
    pub changelog: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Frozen export requests, in the order in which they must be sent.
    pub outbox: Vec<Vec<u8>>,
    /// Decisions of the alert stage on their way to receivers.
    pub notices: Vec<Notice>,
    /// Encoded [`super::index::Stretch`]es of the task's partition, for the offset index.
    pub index: Vec<Vec<u8>>,
    pub dead: Vec<DeadLetter>,
}

/// One encoded batch on its way to a partition of a later stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Shuffled {
    pub to: Stage,
    pub partition: u32,
    pub batch: Vec<u8>,
}

/// One decision for one receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    pub receiver: String,
    /// The receiver's number: those of different numbers have partitions of their own, as far as there are enough.
    pub lane: u32,
    /// An encoded [`super::alert::notification::Notification`].
    pub notification: Vec<u8>,
}

/// A record that no metric could take, kept for a person to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The ledger's outcome: `malformed`, `future` or `oversize`.
    pub outcome: &'static str,
    /// What was wrong, for a person. Holds no payload.
    pub reason: String,
    pub topic: String,
    pub partition: u32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    /// The first 64 KiB of the value.
    pub value: Option<Vec<u8>>,
}

/// What a person or a status page may know of a task at any time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TaskView {
    pub watermark: Option<Watermark>,
    /// Only a tap's task keeps one.
    pub ledger: Option<Ledger>,
    /// The next offset that the runtime knows of, where the ledger was looked at.
    pub next: Option<i64>,
    /// Series that live in this task.
    pub series: u64,
    /// Records counted into a window that had already closed.
    pub late: u64,
    /// The newest point's time.
    pub newest_point: Option<EventTime>,
    /// What is pending or fires, at most [`super::alert::SHOWN`].
    pub alerts: Vec<AlertView>,
    /// Partials waiting for a metric definition, a cap that was reached: whatever a person should be told.
    pub notes: Vec<String>,
}

impl TaskView {
    /// By how many offsets the ledger is wrong: zero, or something is lost or counted twice.
    pub fn imbalance(&self) -> u64 {
        match (&self.ledger, self.next) {
            (Some(ledger), Some(next)) => ledger.balance(next).unsigned_abs(),
            _ => 0,
        }
    }
}

/// One alert that is pending or fires.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertView {
    pub rule: String,
    pub severity: String,
    pub labels: Vec<(String, String)>,
    pub is_firing: bool,
    /// Since when the condition is met.
    pub since: EventTime,
    pub value: f64,
    pub description: String,
}

/// One stage's work on one input partition.
pub trait Task: Send {
    /// Takes one input. See [`Halt`] for refusals.
    fn accept(&mut self, input: Input<'_>) -> Result<(), Halt>;

    /// Bytes that the next seal would write, roughly: the runtime seals early when they grow large.
    fn weight(&self) -> usize;

    /// Everything since the last seal, as one immutable output; `None` when nothing changed and nothing moved.
    fn seal(&mut self) -> Option<Output>;

    fn view(&self) -> TaskView;

    /// The newest point that was sealed of each series that lives here, as requests like those of [`Output::outbox`].
    fn newest(&self) -> Vec<Vec<u8>> {
        Vec::new()
    }

    /// Adds the logs whose ends the task wants to know, where it compares with any.
    fn wants(&self, _partitions: &mut Partitions) {}

    /// Adds the spans of those logs whose records it wants counted.
    fn tails(&self, _logs: &Logs, _spans: &mut BTreeSet<TailSpan>) {}

    /// Whether the task has still to read what was there before it can say anything.
    fn is_behind(&self) -> bool {
        false
    }

    /// Whether something came that the logs are to be asked for before the next survey is due.
    fn is_due(&self) -> bool {
        false
    }

    /// How far the task's partition is, where the stage makes some wait for others.
    fn watermark(&self) -> Option<Watermark> {
        None
    }
}

/// A partition that runs, for those who decide which of them must wait.
#[derive(Clone, Copy, Debug)]
pub struct Runner<'a> {
    pub topic: &'a str,
    pub partition: u32,
    pub watermark: Option<Watermark>,
    /// It waits now.
    pub waits: bool,
}

/// Why a partition waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wait {
    /// It is far ahead of the slowest source of a join.
    Ahead,
    /// It is ahead of the slowest source of a join that is nearly full.
    Full,
}

impl Wait {
    pub const ALL: [Wait; 2] = [Wait::Ahead, Wait::Full];

    /// As in the `reason` label of `streamgauge_waiting_partitions`.
    pub const fn name(self) -> &'static str {
        match self {
            Wait::Ahead => "ahead",
            Wait::Full => "full",
        }
    }
}

/// Where a partition that has no commit starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    Earliest,
    Latest,
    /// At the first record that is not older than this, by record timestamp.
    Since(WallTime),
}

/// What the group has committed for another partition of the same topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sibling {
    pub partition: u32,
    pub offset: i64,
    pub metadata: String,
}

/// Opens the tasks of one stage.
pub trait OpenTask: Send {
    /// Where a partition without a commit starts. The error stops the stage: a commit that should be there is missing.
    fn start(&self, _topic: &str, _partition: u32, _siblings: &[Sibling], _now: WallTime) -> Result<StartAt, String> {
        Ok(StartAt::Earliest)
    }

    /// A task for `partition` of `topic`. The error is for a person and stops the stage.
    fn open(&self, topic: &str, partition: u32, at: Open<'_>) -> Result<Box<dyn Task>, String>;

    /// What the brokers said of the logs that the tasks want to know.
    fn survey(&mut self, _survey: Survey) {}

    /// What was counted in them.
    fn tails(&mut self, _tails: Vec<(TailSpan, Tail)>) {}

    /// A record of the offset index. The error is for a person and stops the stage.
    fn index(&mut self, _value: &[u8]) -> Result<(), String> {
        Ok(())
    }

    /// Everything that surveys have said so far; `None` for a stage that wants none.
    fn logs(&self) -> Option<&Logs> {
        None
    }

    /// Whether its tasks own series: see [`Task::newest`].
    fn has_series(&self) -> bool {
        false
    }

    /// What another task of the application has committed, here or elsewhere: the metadata of its commit.
    fn hear(&mut self, _topic: &str, _partition: u32, _metadata: &str) {}

    /// How far a partition is that another worker of this process reads.
    fn see(&mut self, _topic: &str, _partition: u32, _watermark: Option<Watermark>) {}

    /// Why each of these partitions must not be read on now; in their order.
    fn waits(&mut self, _counts: &PartitionCounts, runners: &[Runner<'_>]) -> Vec<Option<Wait>> {
        vec![None; runners.len()]
    }
}
