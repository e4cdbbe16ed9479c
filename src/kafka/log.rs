//! One worker's connection to Kafka: the contract of [`Log`], each call handed to the part that owns it.
//!
//! Rule: of two processes with one instance name the producer's coordinator knows which is the older: every process
//! initialises its transactional id when it starts, which fences the one before.
//!
//! Edges:
//! - the group's word alone is not believed. Where the coordinator is away for longer than the session, librdkafka (2.12)
//!   forgets its member id, and a heartbeat that it sends without one is answered with FENCED_INSTANCE_ID: the member has
//!   fenced itself. The producer is asked; where it is still the newest, the group is joined again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::topic_partition_list::Offset;

use super::group::GroupReader;
use super::restore::Restores;
use super::sampler::Asker;
use super::surveyor::Surveyor;
use super::transactions::Transactions;
use super::trouble::{self, About};
use super::{CALL, ClientOptions, KafkaCluster, list, lookout, sys};
use crate::engine::lag::logs::{Partitions, Survey, Tail, TailSpan};
use crate::engine::task::{PartitionCounts, TopicId};
use crate::engine::time::WallTime;
use crate::runtime::log::{Change, CommitOffset, Committed, Log, LogError, Notice, Send, Sink, TopicPartition};

/// How often the producer's reports and log lines are served while no transaction does it.
const IDLE: Duration = Duration::from_millis(200);

/// Between two questions to the producer's coordinator.
const ASK_AGAIN: Duration = Duration::from_millis(100);

/// One member of one group, one transactional producer, one reader for restores.
pub struct KafkaLog {
    cluster: Arc<KafkaCluster>,
    /// Gone once closed.
    reader: Option<GroupReader>,
    transactions: Transactions,
    restores: Restores,
    ends: Asker,
    commits: lookout::Asker,
    /// Started with the first question.
    surveyor: Option<Surveyor>,
    /// When the producer was served last.
    served: Instant,
    /// The group says that another process has this name; the producer was not asked yet.
    suspected: Option<String>,
}

// === impl KafkaLog ===

impl KafkaLog {
    pub(super) fn new(cluster: Arc<KafkaCluster>, options: ClientOptions) -> Result<Self, LogError> {
        let connection = cluster.connection();
        let reader = GroupReader::new(connection, &options)?;
        let named = options.instance.is_some();
        let transactions = Transactions::new(connection.clone(), options.transactional_id, named);
        let restores = Restores::new(connection.clone(), options.group);
        let ends = cluster.sampler.asker();
        let commits = cluster.lookout.asker();
        Ok(Self {
            reader: Some(reader),
            transactions,
            restores,
            ends,
            commits,
            surveyor: None,
            served: Instant::now(),
            suspected: None,
            cluster,
        })
    }

    /// Whether the process that has this name by now is this one or another.
    fn ask_the_producer(&mut self, wait: Duration) -> Result<(), LogError> {
        let reader = self.reader.as_mut().ok_or_else(closed)?;
        match self.transactions.prove(reader) {
            Ok(()) => {
                tracing::warn!(
                    event_type = "group_fenced",
                    "fenced in the group, but no other process has this name; joining again"
                );
                self.suspected = None;
                reader.rejoin()
            }
            Err(LogError::Retry(_) | LogError::Abort(_)) => {
                std::thread::sleep(wait.min(ASK_AGAIN));
                Ok(())
            }
            Err(LogError::Fenced(said)) => Err(LogError::Fenced(self.suspected.take().unwrap_or(said))),
            Err(error) => Err(error),
        }
    }

    fn reader(&mut self) -> Result<&mut GroupReader, LogError> {
        self.reader.as_mut().ok_or_else(closed)
    }

    /// `(log start, high watermark)`
    fn watermarks(&self, partition: &TopicPartition) -> Result<(i64, i64), LogError> {
        let about = About::ReadTopic(&partition.topic);
        let number = i32::try_from(partition.partition).map_err(|_| trouble::asked(Code::UnknownPartition, about))?;
        self.cluster
            .metadata
            .fetch_watermarks(&partition.topic, number, CALL)
            .map_err(|error| trouble::asked_by(&error, about))
    }
}

impl Log for KafkaLog {
    fn subscribe(&mut self, topics: &[String]) -> Result<(), LogError> {
        self.reader()?.subscribe(topics)
    }

    fn poll(&mut self, wait: Duration, max: usize, sink: &mut Sink<'_>) -> Result<(), LogError> {
        if self.served.elapsed() > IDLE {
            self.served = Instant::now();
            self.transactions.idle();
        }
        if self.suspected.is_some() {
            return self.ask_the_producer(wait);
        }
        match self.reader()?.poll(wait, max, sink) {
            Err(LogError::Fenced(why)) => {
                self.suspected = Some(why);
                Ok(())
            }
            polled => polled,
        }
    }

    fn changes(&mut self) -> Vec<Change> {
        self.reader.as_mut().map(GroupReader::changes).unwrap_or_default()
    }

    fn notices(&mut self) -> Vec<Notice> {
        self.reader.as_mut().map(GroupReader::notices).unwrap_or_default()
    }

    fn assign(&mut self, partitions: &[(TopicPartition, i64)], paused: bool) -> Result<(), LogError> {
        self.reader()?.assign(partitions, paused)
    }

    fn unassign(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.reader()?.unassign(partitions)
    }

    fn seek(&mut self, partitions: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        self.reader()?.seek(partitions)
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.reader()?.pause(partitions)
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.reader()?.resume(partitions)
    }

    fn positions(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        self.reader()?.positions(partitions)
    }

    fn is_member(&mut self) -> bool {
        self.suspected.is_none() && self.reader.as_ref().is_some_and(GroupReader::is_member)
    }

    fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<Committed>>, LogError> {
        self.reader()?.committed(partitions)
    }

    fn log_start(&mut self, partition: &TopicPartition) -> Result<i64, LogError> {
        Ok(self.watermarks(partition)?.0)
    }

    fn log_end(&mut self, partition: &TopicPartition) -> Result<i64, LogError> {
        Ok(self.watermarks(partition)?.1)
    }

    fn offset_at(&mut self, partition: &TopicPartition, time: WallTime) -> Result<i64, LogError> {
        let about = About::ReadTopic(&partition.topic);
        // Rounded up: a record of the same millisecond may still be before `time`. Below zero librdkafka sees other things.
        let millis = (time.0.max(0) + 999) / 1_000;
        let question = list([(partition, Offset::Offset(millis))]);
        let answer = self.cluster.metadata.offsets_for_times(question, CALL);
        let answer = answer.map_err(|error| trouble::asked_by(&error, about))?;
        match sys::entries(&answer).first().map(|entry| (entry.error, entry.offset)) {
            Some((None, offset)) if offset >= 0 => Ok(offset),
            Some((Some(code), _)) => Err(trouble::asked(code, about)),
            _ => self.log_end(partition),
        }
    }

    fn sample_log_ends(&mut self, partitions: &[TopicPartition]) {
        self.ends.ask(partitions);
    }

    fn log_ends(&mut self) -> Vec<(TopicPartition, i64, WallTime)> {
        self.ends.answers()
    }

    fn sample_commits(&mut self, group: &str, partitions: &[TopicPartition]) {
        self.commits.ask(group, partitions);
    }

    fn commits(&mut self) -> Vec<(TopicPartition, Committed)> {
        self.commits.answers()
    }

    fn ask_survey(&mut self, partitions: Partitions) {
        let cluster = &self.cluster;
        let start = || Surveyor::start(cluster.connection().clone(), Arc::clone(&cluster.metadata));
        self.surveyor.get_or_insert_with(start).ask_survey(partitions);
    }

    fn survey(&mut self) -> Option<Survey> {
        self.surveyor.as_mut()?.survey()
    }

    fn ask_tails(&mut self, spans: BTreeSet<TailSpan>, wait: Duration) {
        if let Some(surveyor) = &mut self.surveyor {
            surveyor.ask_tails(spans, wait);
        }
    }

    fn tails(&mut self) -> Option<Vec<(TailSpan, Tail)>> {
        self.surveyor.as_mut()?.tails()
    }

    fn partition_counts(&mut self, topics: &[String]) -> Result<PartitionCounts, LogError> {
        let mut counts = PartitionCounts::new();
        for topic in topics {
            let about = About::DescribeTopic(topic);
            let found = self.cluster.metadata.fetch_metadata(Some(topic), CALL);
            let found = found.map_err(|error| trouble::asked_by(&error, about))?;
            for described in found.topics().iter().filter(|described| described.name() == topic) {
                match described.error().map(Code::from) {
                    Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => {}
                    // Some partition has no leader at the moment; their number is known.
                    None | Some(Code::LeaderNotAvailable) if !described.partitions().is_empty() => {
                        let count = u32::try_from(described.partitions().len()).unwrap_or(u32::MAX);
                        counts.insert(topic.clone(), count);
                    }
                    None => {}
                    Some(code) => return Err(trouble::asked(code, about)),
                }
            }
        }
        Ok(counts)
    }

    fn topic_id(&mut self, topic: &str) -> Result<TopicId, LogError> {
        match sys::topic_id(self.cluster.metadata.client(), topic, CALL) {
            Ok(id) => Ok(id),
            // Brokers before 2.8 know no ids.
            Err(Code::UnsupportedFeature | Code::UnsupportedVersion) => Ok([0; 16]),
            Err(code) => Err(trouble::asked(code, About::ReadTopic(topic))),
        }
    }

    fn restore_start(&mut self, changelog: &TopicPartition) -> Result<(), LogError> {
        let (start, _) = self.watermarks(changelog)?;
        self.restores.start(changelog, start)
    }

    fn restore_poll(
        &mut self,
        changelog: &TopicPartition,
        wait: Duration,
        sink: &mut crate::runtime::log::RestoreSink<'_>,
    ) -> Result<i64, LogError> {
        self.restores.poll(changelog, wait, sink)
    }

    fn restore_stop(&mut self, changelog: &TopicPartition) {
        self.restores.stop(changelog);
    }

    fn init_transactions(&mut self, renew: bool) -> Result<(), LogError> {
        self.transactions.init(renew)
    }

    fn begin(&mut self) -> Result<(), LogError> {
        self.transactions.begin()
    }

    fn send(&mut self, record: Send<'_>) -> Result<(), LogError> {
        self.transactions.send(record)
    }

    fn send_offsets(&mut self, offsets: &[CommitOffset]) -> Result<(), LogError> {
        let reader = self.reader.as_ref().ok_or_else(closed)?;
        // Without an id the coordinator would take the offsets of anyone.
        let is_member = self.suspected.is_none() && reader.is_member();
        let member = is_member.then(|| reader.metadata()).flatten();
        let member = member.ok_or_else(|| LogError::Abort("not a member of the group at the moment".to_owned()))?;
        self.transactions.send_offsets(offsets, &member, reader.group())
    }

    fn commit(&mut self) -> Result<(), LogError> {
        self.transactions.commit()
    }

    fn abort(&mut self) -> Result<(), LogError> {
        self.transactions.abort()
    }

    fn trim(&mut self, partitions: &[(TopicPartition, i64)]) {
        self.cluster.trimmer.trim(partitions);
    }

    fn close(&mut self) {
        self.restores.close();
        self.transactions.close();
        if let Some(reader) = self.reader.take() {
            reader.close();
        }
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        self.close();
    }
}

fn closed() -> LogError {
    LogError::Fatal("the log is closed".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_can_be_handed_to_its_worker() {
        fn movable<T: std::marker::Send>() {}
        movable::<KafkaLog>();
    }
}
