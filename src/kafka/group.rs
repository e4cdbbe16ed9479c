//! The group's consumer: records, changes of the assignment, and what goes wrong with either.
//!
//! Rule: a change is only written down when it comes; the group waits until the worker answers it with `assign` or
//! `unassign`. Positions count control records, because librdkafka moves them past the markers it swallows.
//!
//! Edges:
//! - an empty change needs no worker and is answered here;
//! - records are fetched many at once and handed on one by one: the position that counts is that of the first one that
//!   waits here, not librdkafka's;
//! - an error that comes among the records moves librdkafka's position past a record that was never read (its issue 4844):
//!   until a record of that partition comes, the error's offset counts;
//! - pausing drops what was fetched ahead, and resuming fetches from the position;
//! - a partition whose offset is out of range is stopped by librdkafka and cannot be sought: it is taken out and put back;
//! - FENCED_INSTANCE_ID ends a consumer for good, and yet does not prove a duplicate of a named instance: see
//!   [`super::log`]; [`GroupReader::rejoin`] goes on with a new consumer.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerGroupMetadata};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::context::{Closing, log_line};
use super::settings::{Connection, Member};
use super::sys::{self, EventConsumer, ReadError, Said};
use super::trouble::{self, About};
use super::{CALL, ClientOptions, list, retire};
use crate::runtime::log::{Change, Committed, LogError, Notice, Sink, TopicPartition};

/// Trouble of one kind that was quiet for this long is told again.
const TROUBLE_OVER: Duration = Duration::from_secs(60);

/// How long records are waited for before the group is listened to again.
const SLICE: Duration = Duration::from_millis(20);

/// One member of one group.
pub(super) struct GroupReader {
    connection: Connection,
    options: ClientOptions,
    consumer: EventConsumer<Closing>,
    group: String,
    instance: Option<String>,
    bootstrap: String,
    topics: Vec<String>,
    /// Changes that the worker was not told yet.
    changes: VecDeque<Change>,
    /// What the group waits for: the change that was not answered yet.
    owed: Option<Change>,
    notices: Vec<Notice>,
    /// Paused by the worker. librdkafka keeps the mark when a partition leaves, so we take it off.
    paused: BTreeSet<TopicPartition>,
    /// Where a paused partition goes on, if records were dropped here that librdkafka believes to be read.
    rewind: BTreeMap<TopicPartition, i64>,
    /// Where a partition stands that had an error since its last record.
    erred: BTreeMap<TopicPartition, i64>,
    /// Assigned to the consumer by the worker.
    held: BTreeSet<TopicPartition>,
    /// When each kind of trouble was met last.
    troubles: HashMap<i32, Instant>,
}

// === impl GroupReader ===

impl GroupReader {
    pub(super) fn new(connection: &Connection, options: &ClientOptions) -> Result<Self, LogError> {
        Ok(Self {
            connection: connection.clone(),
            options: options.clone(),
            consumer: consumer(connection, options)?,
            group: options.group.clone(),
            instance: options.instance.clone(),
            bootstrap: connection.bootstrap().to_owned(),
            topics: Vec::new(),
            changes: VecDeque::new(),
            owed: None,
            notices: Vec::new(),
            paused: BTreeSet::new(),
            rewind: BTreeMap::new(),
            erred: BTreeMap::new(),
            held: BTreeSet::new(),
            troubles: HashMap::new(),
        })
    }

    /// Joins the group again with a new consumer, after the old one came to its end. What was held is lost.
    pub(super) fn rejoin(&mut self) -> Result<(), LogError> {
        let fresh = consumer(&self.connection, &self.options)?;
        retire(std::mem::replace(&mut self.consumer, fresh), CALL);
        self.changes.clear();
        self.owed = None;
        self.paused.clear();
        self.rewind.clear();
        self.erred.clear();
        let held: Vec<TopicPartition> = std::mem::take(&mut self.held).into_iter().collect();
        if !held.is_empty() {
            self.changes.push_back(Change::Lost(held));
        }
        let topics = std::mem::take(&mut self.topics);
        self.subscribe(&topics)
    }

    fn client(&self) -> &BaseConsumer<Closing> {
        self.consumer.client()
    }

    pub(super) fn subscribe(&mut self, topics: &[String]) -> Result<(), LogError> {
        if let Some(wrong) = topics
            .iter()
            .find(|topic| topic.is_empty() || topic.contains(['\0', '^']))
        {
            return Err(LogError::Refused(format!("`{wrong}` is not a topic's name")));
        }
        self.topics = topics.to_vec();
        let names: Vec<&str> = topics.iter().map(String::as_str).collect();
        self.client()
            .subscribe(&names)
            .map_err(|error| LogError::Retry(format!("group `{}`: {error}", self.group)))
    }

    pub(super) fn poll(&mut self, wait: Duration, max: usize, sink: &mut Sink<'_>) -> Result<(), LogError> {
        let deadline = Instant::now() + wait;
        let mut taken = 0;
        loop {
            while let Some(event) = self.consumer.poll(Duration::ZERO) {
                match event.said() {
                    // Only of a partition whose records could not be given a queue of their own.
                    Said::Record {
                        topic,
                        partition,
                        record,
                    } => {
                        taken += 1;
                        if !sink(topic, partition, record) || taken >= max {
                            return Ok(());
                        }
                    }
                    Said::Assigned(partitions) => {
                        self.changed(Change::Assigned(partitions));
                        return Ok(());
                    }
                    Said::Revoked(partitions) => {
                        self.changed(match self.client().assignment_lost() {
                            true => Change::Lost(partitions),
                            false => Change::Revoked(partitions),
                        });
                        return Ok(());
                    }
                    Said::Error(error) => self.met(&error)?,
                    Said::Log(level, facility, line) => log_line(level, &facility, &line),
                    Said::Other => {}
                }
            }
            while taken < max {
                let Some(message) = self.consumer.next_fetched() else {
                    // Only the first record is waited for.
                    let left = deadline.saturating_duration_since(Instant::now());
                    let wait = if taken == 0 { left.min(SLICE) } else { Duration::ZERO };
                    if self.consumer.fetch(wait, max - taken) {
                        continue;
                    }
                    break;
                };
                match message.said() {
                    Said::Record {
                        topic,
                        partition,
                        record,
                    } => {
                        taken += 1;
                        if !self.erred.is_empty() {
                            self.erred
                                .retain(|erred, _| !(erred.partition == partition && erred.topic == topic));
                        }
                        if !sink(topic, partition, record) {
                            return Ok(());
                        }
                    }
                    Said::Error(error) => {
                        if let (Some(partition), Some(offset)) = (&error.partition, error.offset) {
                            self.erred.entry(partition.clone()).or_insert(offset);
                        }
                        self.met(&error)?;
                    }
                    Said::Assigned(_) | Said::Revoked(_) | Said::Log(..) | Said::Other => {}
                }
            }
            if taken > 0 || Instant::now() >= deadline {
                return Ok(());
            }
        }
    }

    fn changed(&mut self, change: Change) {
        let empty = match &change {
            Change::Assigned(p) | Change::Revoked(p) | Change::Lost(p) => p.is_empty(),
        };
        if empty {
            let nothing = TopicPartitionList::new();
            let answered = match change {
                Change::Assigned(_) => self.client().incremental_assign(&nothing),
                Change::Revoked(_) | Change::Lost(_) => self.client().incremental_unassign(&nothing),
            };
            if let Err(error) = answered {
                tracing::debug!(event_type = "assignment_unanswered", %error, group = self.group, "an empty change of the assignment was not answered");
            }
            return;
        }
        self.owed = Some(change.clone());
        self.changes.push_back(change);
    }

    /// Sorts an error into a notice or what the worker must do.
    fn met(&mut self, error: &ReadError) -> Result<(), LogError> {
        if error.fatal || matches!(error.code, Code::Fatal | Code::FencedInstanceId) {
            return Err(self.spent(error));
        }
        match (error.code, &error.partition) {
            (Code::PartitionEOF, _) => {}
            (Code::AutoOffsetReset | Code::OffsetOutOfRange | Code::LogTruncation, Some(partition)) => {
                self.notices.push(Notice::OutOfRange(partition.clone()));
            }
            (Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition, _) => {
                let topic = self.topic_of(error).unwrap_or_else(|| error.text.clone());
                self.notices.push(Notice::UnknownTopic(topic));
            }
            (Code::TopicAuthorizationFailed, _) => {
                let topic = self.topic_of(error);
                let about = topic.as_deref().map_or(About::Cluster, About::ReadTopic);
                return Err(trouble::asked(error.code, about));
            }
            (Code::GroupAuthorizationFailed | Code::ClusterAuthorizationFailed, _) => {
                return Err(trouble::asked(error.code, About::Group(&self.group)));
            }
            (code, _) => {
                let again = self.troubles.insert(code as i32, Instant::now());
                if again.is_none_or(|last| last.elapsed() > TROUBLE_OVER) {
                    self.notices
                        .push(Notice::Trouble(trouble::passing(code, &error.text, &self.bootstrap)));
                }
            }
        }
        Ok(())
    }

    /// A consumer that met a fatal error does nothing any more.
    fn spent(&self, error: &ReadError) -> LogError {
        let (code, text) = match self.client().client().fatal_error() {
            Some((code, text)) => (code, text),
            None => (error.code, error.text.clone()),
        };
        match (code, &self.instance) {
            (Code::FencedInstanceId | Code::Fenced | Code::UnreleasedInstanceId, Some(instance)) => {
                LogError::Fenced(format!(
                    "another process joined group `{}` as instance `{instance}` (--instance): this one, the older, ends",
                    self.group
                ))
            }
            _ => LogError::Refused(format!("group `{}`: {code}: {text}", self.group)),
        }
    }

    fn topic_of(&self, error: &ReadError) -> Option<String> {
        let named = error.partition.as_ref().map(|partition| &partition.topic);
        // Errors about a subscription carry the topic in their text only: "Subscribed topic not available: NAME: REASON".
        let told = || {
            self.topics
                .iter()
                .find(|topic| error.text.contains(&format!(": {topic}: ")))
        };
        named.or_else(told).cloned()
    }

    pub(super) fn changes(&mut self) -> Vec<Change> {
        self.changes.drain(..).collect()
    }

    pub(super) fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    pub(super) fn assign(&mut self, partitions: &[(TopicPartition, i64)], paused: bool) -> Result<(), LogError> {
        for (partition, _) in partitions {
            self.consumer.gather(partition);
        }
        let wanted = at(partitions);
        if let Err(first) = self.client().incremental_assign(&wanted) {
            // Refused as a whole where some of them are there already, as after a call that was repeated.
            let there = self.assigned()?;
            let missing = partitions.iter().filter(|(partition, _)| !there.contains(partition));
            let missing = list(missing.map(|(partition, offset)| (partition, Offset::Offset(*offset))));
            self.client()
                .incremental_assign(&missing)
                .map_err(|_| self.failed("assign", &first))?;
        }
        self.answered(|change| matches!(change, Change::Assigned(_)));
        let names: Vec<TopicPartition> = partitions.iter().map(|(partition, _)| partition.clone()).collect();
        self.held.extend(names.iter().cloned());
        if paused { self.pause(&names) } else { Ok(()) }
    }

    pub(super) fn unassign(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        for partition in partitions {
            self.consumer.forget(partition);
            self.rewind.remove(partition);
            self.erred.remove(partition);
        }
        let paused: Vec<TopicPartition> = partitions.iter().filter(|p| self.paused.contains(p)).cloned().collect();
        self.resume(&paused)?;
        if let Err(first) = self.client().incremental_unassign(&anywhere(partitions)) {
            let there = self.assigned()?;
            let present: Vec<TopicPartition> = partitions.iter().filter(|p| there.contains(p)).cloned().collect();
            if self.owed.is_some() || !present.is_empty() {
                self.client()
                    .incremental_unassign(&anywhere(&present))
                    .map_err(|_| self.failed("unassign", &first))?;
            }
        }
        self.answered(|change| !matches!(change, Change::Assigned(_)));
        for partition in partitions {
            self.consumer.let_go(partition);
            self.held.remove(partition);
        }
        Ok(())
    }

    fn answered(&mut self, is_this: impl Fn(&Change) -> bool) {
        if self.owed.as_ref().is_some_and(is_this) {
            self.owed = None;
        }
    }

    fn assigned(&self) -> Result<BTreeSet<TopicPartition>, LogError> {
        let there = self
            .client()
            .assignment()
            .map_err(|error| self.failed("assignment", &error))?;
        Ok(sys::entries(&there).into_iter().map(|entry| entry.partition).collect())
    }

    fn failed(&self, call: &str, error: &rdkafka::error::KafkaError) -> LogError {
        LogError::Retry(format!("group `{}`: {call}: {error}", self.group))
    }

    pub(super) fn seek(&mut self, partitions: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        for (partition, _) in partitions {
            self.consumer.forget(partition);
        }
        let sought = self
            .client()
            .seek_partitions(at(partitions), CALL)
            .map_err(|error| self.failed("seek", &error))?;
        let mut stopped = Vec::new();
        for (entry, (partition, offset)) in sys::entries(&sought).iter().zip(partitions) {
            match entry.error {
                None => {}
                Some(Code::State) => stopped.push((partition.clone(), *offset)),
                Some(code) => return Err(trouble::asked(code, About::ReadTopic(&partition.topic))),
            }
        }
        if !stopped.is_empty() {
            self.put_back(&stopped)?;
        }
        for (partition, _) in partitions {
            self.rewind.remove(partition);
            self.erred.remove(partition);
        }
        Ok(())
    }

    /// Starts partitions that librdkafka stopped.
    fn put_back(&mut self, partitions: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        if self.owed.is_some() {
            // Taking a partition out now would be read as the answer to the change.
            return Err(LogError::Retry(format!(
                "group `{}`: seek: a change is not answered yet",
                self.group
            )));
        }
        let names: Vec<TopicPartition> = partitions.iter().map(|(partition, _)| partition.clone()).collect();
        self.client()
            .incremental_unassign(&anywhere(&names))
            .map_err(|error| self.failed("seek", &error))?;
        self.client()
            .incremental_assign(&at(partitions))
            .map_err(|error| self.failed("seek", &error))?;
        let paused: Vec<TopicPartition> = names.into_iter().filter(|name| self.paused.contains(name)).collect();
        self.pause(&paused)
    }

    pub(super) fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        if partitions.is_empty() {
            return Ok(());
        }
        self.client()
            .pause(&anywhere(partitions))
            .map_err(|error| self.failed("pause", &error))?;
        for partition in partitions {
            if let Some(offset) = self.unread(partition) {
                self.consumer.forget(partition);
                self.rewind.insert(partition.clone(), offset);
            }
        }
        self.paused.extend(partitions.iter().cloned());
        Ok(())
    }

    pub(super) fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        if partitions.is_empty() {
            return Ok(());
        }
        let rewind = partitions.iter().filter_map(|partition| {
            let offset = self.rewind.get(partition)?;
            Some((partition.clone(), *offset))
        });
        let rewind: Vec<(TopicPartition, i64)> = rewind.collect();
        if !rewind.is_empty() {
            self.seek(&rewind)?;
        }
        self.client()
            .resume(&anywhere(partitions))
            .map_err(|error| self.failed("resume", &error))?;
        for partition in partitions {
            self.paused.remove(partition);
        }
        Ok(())
    }

    /// Where the worker stands on a partition of which librdkafka believes that more was read.
    fn unread(&self, partition: &TopicPartition) -> Option<i64> {
        let erred = self.erred.get(partition).copied();
        erred.or_else(|| self.consumer.first_fetched(partition))
    }

    pub(super) fn positions(&self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        let mut places = anywhere(partitions);
        self.consumer
            .positions(&mut places)
            .map_err(|code| trouble::asked(code, About::Group(&self.group)))?;
        let position = |entry: &sys::ListEntry| {
            let waiting = self.rewind.get(&entry.partition).copied();
            let waiting = waiting.or_else(|| self.unread(&entry.partition));
            waiting.or((entry.offset >= 0).then_some(entry.offset))
        };
        Ok(sys::entries(&places).iter().map(position).collect())
    }

    pub(super) fn is_member(&self) -> bool {
        self.consumer.is_member()
    }

    pub(super) fn committed(&self, partitions: &[TopicPartition]) -> Result<Vec<Option<Committed>>, LogError> {
        committed(self.client(), About::Group(&self.group), partitions)
    }

    pub(super) fn group(&self) -> &str {
        &self.group
    }

    /// The member's current id and generation, for the transaction's offsets.
    pub(super) fn metadata(&self) -> Option<ConsumerGroupMetadata> {
        self.client().group_metadata()
    }

    /// Some partition of the topics that the group reads.
    pub(super) fn any_partition(&self) -> Option<TopicPartition> {
        let topic = self.topics.first()?.clone();
        Some(TopicPartition { topic, partition: 0 })
    }

    /// Leaves the group where membership is dynamic. Gives up waiting for the broker after [`CALL`].
    pub(super) fn close(mut self) {
        let answered = match self.owed.take() {
            Some(Change::Assigned(_)) => self.client().incremental_assign(&TopicPartitionList::new()),
            Some(Change::Revoked(gone) | Change::Lost(gone)) => self.client().incremental_unassign(&anywhere(&gone)),
            None => Ok(()),
        };
        if let Err(error) = answered {
            tracing::debug!(event_type = "assignment_unanswered", %error, group = self.group, "the last change was not answered");
        }
        retire(self.consumer, CALL);
    }
}

fn consumer(connection: &Connection, options: &ClientOptions) -> Result<EventConsumer<Closing>, LogError> {
    let member = Member {
        group: &options.group,
        instance: options.instance.as_deref(),
        queue_kbytes: options.queue_kbytes,
    };
    let consumer: BaseConsumer<Closing> = connection
        .group_consumer(member)
        .create_with_context(Closing)
        .map_err(|error| LogError::Refused(format!("group consumer: {error}")))?;
    EventConsumer::new(consumer).ok_or_else(|| LogError::Refused("group consumer: the group has no name".to_owned()))
}

/// Committed offsets of a group, stable; asked through a consumer that has the group's id.
pub(super) fn committed<C: rdkafka::consumer::ConsumerContext>(
    consumer: &BaseConsumer<C>,
    about: About<'_>,
    partitions: &[TopicPartition],
) -> Result<Vec<Option<Committed>>, LogError> {
    if partitions.is_empty() {
        return Ok(Vec::new());
    }
    let found = consumer
        .committed_offsets(anywhere(partitions), CALL)
        .map_err(|error| trouble::asked_by(&error, about))?;
    sys::entries(&found)
        .into_iter()
        .map(|entry| match entry.error {
            Some(code @ Code::TopicAuthorizationFailed) => {
                Err(trouble::asked(code, About::ReadTopic(&entry.partition.topic)))
            }
            Some(code) => Err(trouble::asked(code, about)),
            None if entry.offset >= 0 => Ok(Some(Committed {
                offset: entry.offset,
                metadata: entry.metadata,
            })),
            None => Ok(None),
        })
        .collect()
}

fn at(partitions: &[(TopicPartition, i64)]) -> TopicPartitionList {
    list(
        partitions
            .iter()
            .map(|(partition, offset)| (partition, Offset::Offset(*offset))),
    )
}

fn anywhere(partitions: &[TopicPartition]) -> TopicPartitionList {
    list(partitions.iter().map(|partition| (partition, Offset::Invalid)))
}
