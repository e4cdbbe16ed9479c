//! The transactional producer of a [`super::MemoryLog`].
//!
//! Rule: after an error that aborts, nothing but `abort` helps; after a fatal one, nothing but a new producer. The producer
//! remembers both, as Kafka's clients do, so a caller that goes on regardless gets the same error again.
//!
//! Edges:
//! - `begin` is local: a producer that was replaced finds out when it writes or ends;
//! - records wait in the producer while its last transaction is not complete; `send_offsets` and `commit` are then asked
//!   again;
//! - a commit whose answer was lost is answered when it is asked again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::runtime::log::{CommitOffset, Committed, LogError, Send, TopicPartition};

use super::batch::RecordBatch;
use super::client::ClientOptions;
use super::cluster::Cluster;
use super::consumer::refusal;
use super::group::{Generation, MemberId};
use super::lock;
use super::partition::{AppendError, Partition, Writer};
use super::transactions::{Epoch, ProducerId, Rejected, Verdict};

/// `offset.metadata.max.bytes`, the broker's default.
const METADATA_BYTES: usize = 4_096;

/// See the module.
#[derive(Debug)]
pub(super) struct Producer {
    phase: Phase,
    id: ProducerId,
    epoch: Epoch,
    /// Why the transaction can only be aborted.
    tainted: Option<LogError>,
    /// Why the producer is spent.
    spent: Option<LogError>,
    /// Partitions of this transaction.
    registered: BTreeMap<String, BTreeMap<u32, Arc<Partition>>>,
    /// Records that wait for the last transaction to complete.
    waiting: VecDeque<(TopicPartition, RecordBatch)>,
    has_offsets: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Fresh,
    Ready,
    Open,
    /// The coordinator has decided; the caller does not know yet.
    Decided(Verdict),
}

// === impl Producer ===

impl Producer {
    pub fn new() -> Self {
        Self {
            phase: Phase::Fresh,
            id: ProducerId::default(),
            epoch: Epoch::default(),
            tainted: None,
            spent: None,
            registered: BTreeMap::new(),
            waiting: VecDeque::new(),
            has_offsets: false,
        }
    }

    /// Keeps what an error means for the calls that follow.
    pub fn remember<T>(&mut self, result: Result<T, LogError>) -> Result<T, LogError> {
        match &result {
            Err(error @ LogError::Abort(_)) => self.tainted = Some(error.clone()),
            Err(error @ (LogError::Fatal(_) | LogError::Fenced(_))) => self.spent = Some(error.clone()),
            Ok(_) | Err(LogError::Retry(_) | LogError::Refused(_)) => {}
        }
        result
    }

    pub fn init(&mut self, cluster: &Cluster, options: &ClientOptions) -> Result<(), LogError> {
        self.alive()?;
        if self.phase != Phase::Fresh {
            return Ok(());
        }
        let (name, timeout) = (&options.transactional_id, options.transaction_timeout);
        let mut coordinator = lock(&cluster.0.coordinator);
        let claimed = coordinator.init_producer(name, timeout, cluster.now(), &cluster.0.topics);
        drop(coordinator);
        cluster.0.signal.raise();
        (self.id, self.epoch) = claimed.map_err(|rejected| rejection(rejected, options))?;
        self.phase = Phase::Ready;
        Ok(())
    }

    pub fn begin(&mut self) -> Result<(), LogError> {
        self.alive()?;
        if self.phase != Phase::Ready {
            return Err(LogError::Fatal(format!(
                "a transaction cannot begin in phase {:?}",
                self.phase
            )));
        }
        self.phase = Phase::Open;
        Ok(())
    }

    pub fn send(&mut self, cluster: &Cluster, options: &ClientOptions, record: Send<'_>) -> Result<(), LogError> {
        self.writable()?;
        let Send {
            topic,
            partition,
            key,
            value,
            headers,
        } = record;
        let mut batch = RecordBatch::for_one(key, value, headers);
        batch.push_with_headers(key, value, cluster.now(), headers);
        if self.waiting.is_empty()
            && let Some(log) = self
                .registered
                .get(topic)
                .and_then(|partitions| partitions.get(&partition))
        {
            let log = Arc::clone(log);
            return self.append(cluster, options, topic, &log, batch);
        }
        self.waiting.push_back((
            TopicPartition {
                topic: topic.to_owned(),
                partition,
            },
            batch,
        ));
        self.flush(cluster, options)
    }

    /// Writes what waits, as far as the coordinator lets it.
    fn flush(&mut self, cluster: &Cluster, options: &ClientOptions) -> Result<(), LogError> {
        while let Some((at, _)) = self.waiting.front() {
            let log = match self.register(cluster, options, &at.clone()) {
                Ok(log) => log,
                Err(LogError::Retry(_)) => return Ok(()),
                Err(error) => {
                    self.waiting.pop_front();
                    return Err(error);
                }
            };
            if let Some((at, batch)) = self.waiting.pop_front() {
                self.append(cluster, options, &at.topic, &log, batch)?;
            }
        }
        Ok(())
    }

    fn flush_all(&mut self, cluster: &Cluster, options: &ClientOptions) -> Result<(), LogError> {
        self.flush(cluster, options)?;
        if self.waiting.is_empty() {
            Ok(())
        } else {
            Err(rejection(Rejected::Busy, options))
        }
    }

    fn register(
        &mut self,
        cluster: &Cluster,
        options: &ClientOptions,
        at: &TopicPartition,
    ) -> Result<Arc<Partition>, LogError> {
        let partitions = self.registered.get(&at.topic);
        if let Some(log) = partitions.and_then(|partitions| partitions.get(&at.partition)) {
            return Ok(Arc::clone(log));
        }
        let log = cluster
            .partition(&at.topic, at.partition)
            .map_err(|error| LogError::Refused(error.to_string()))?;
        let now = cluster.now();
        let mut coordinator = lock(&cluster.0.coordinator);
        let added = coordinator
            .producers
            .add_partition(&options.transactional_id, self.epoch, at.clone(), now);
        drop(coordinator);
        added.map_err(|rejected| rejection(rejected, options))?;
        self.registered
            .entry(at.topic.clone())
            .or_default()
            .insert(at.partition, Arc::clone(&log));
        Ok(log)
    }

    fn append(
        &self,
        cluster: &Cluster,
        options: &ClientOptions,
        topic: &str,
        log: &Partition,
        batch: RecordBatch,
    ) -> Result<(), LogError> {
        let appended = log.append(batch, Writer::Transactional(self.id, self.epoch), &cluster.0.clock);
        let error = match appended {
            Ok(_) => return Ok(()),
            Err(AppendError::OldEpoch) => {
                let mut coordinator = lock(&cluster.0.coordinator);
                let checked = coordinator.producers.check(&options.transactional_id, self.epoch);
                return Err(rejection(checked.err().unwrap_or(Rejected::Replaced), options));
            }
            Err(AppendError::TooLarge { size, limit }) => {
                format!("a record of {size} bytes is larger than the {limit} that topic {topic} allows")
            }
            Err(AppendError::Keyless) => format!("topic {topic} is compacted and takes no record without a key"),
            Err(AppendError::Gone) => format!("topic {topic} was deleted"),
        };
        Err(LogError::Refused(error))
    }

    pub fn send_offsets(
        &mut self,
        cluster: &Cluster,
        options: &ClientOptions,
        member: Option<(MemberId, Generation)>,
        offsets: &[CommitOffset],
    ) -> Result<(), LogError> {
        self.writable()?;
        self.flush_all(cluster, options)?;
        if offsets.is_empty() {
            return Ok(());
        }
        if let Some(large) = offsets.iter().find(|offset| offset.metadata.len() > METADATA_BYTES) {
            let (length, at) = (large.metadata.len(), &large.partition);
            return Err(LogError::Refused(format!(
                "offset metadata of {length} bytes for {} partition {} is larger than {METADATA_BYTES}",
                at.topic, at.partition
            )));
        }
        let Some((id, generation)) = member else {
            return Err(LogError::Abort(format!(
                "this client is not a member of group {}",
                options.group
            )));
        };

        let (name, group, now) = (&options.transactional_id, &options.group, cluster.now());
        let mut coordinator = lock(&cluster.0.coordinator);
        coordinator
            .producers
            .check(name, self.epoch)
            .map_err(|rejected| rejection(rejected, options))?;
        let checked = coordinator
            .group(group)
            .check(id, options.instance.as_deref(), generation);
        checked.map_err(|stale| refusal(stale, options))?;
        let added = offsets.iter().map(|offset| {
            let committed = Committed {
                offset: offset.offset,
                metadata: offset.metadata.clone(),
            };
            (offset.partition.clone(), committed)
        });
        let added = coordinator.producers.add_offsets(name, self.epoch, group, added, now);
        added.map_err(|rejected| rejection(rejected, options))?;
        self.has_offsets = true;
        Ok(())
    }

    /// Ends the transaction. The caller knows of it only after [`Producer::told`].
    pub fn end(&mut self, cluster: &Cluster, options: &ClientOptions, verdict: Verdict) -> Result<(), LogError> {
        self.alive()?;
        match self.phase {
            Phase::Decided(decided) if decided == verdict => return Ok(()),
            Phase::Open => {}
            phase => return Err(LogError::Fatal(format!("a transaction cannot end in phase {phase:?}"))),
        }
        match verdict {
            Verdict::Abort => self.waiting.clear(),
            Verdict::Commit => {
                self.writable()?;
                self.flush_all(cluster, options)?;
            }
        }
        // An empty transaction is nobody's business but the producer's.
        if self.has_offsets || !self.registered.is_empty() {
            let now = cluster.now();
            let mut coordinator = lock(&cluster.0.coordinator);
            let due = coordinator.due(now);
            let ended = coordinator
                .producers
                .end(&options.transactional_id, self.epoch, verdict, due);
            coordinator.complete(now, &cluster.0.topics);
            drop(coordinator);
            cluster.0.signal.raise();
            ended.map_err(|rejected| rejection(rejected, options))?;
        }
        self.phase = Phase::Decided(verdict);
        Ok(())
    }

    /// The caller knows that the transaction ended.
    pub fn told(&mut self) {
        self.phase = Phase::Ready;
        self.tainted = None;
        self.has_offsets = false;
        self.registered.clear();
        self.waiting.clear();
    }

    fn alive(&self) -> Result<(), LogError> {
        self.spent.clone().map_or(Ok(()), Err)
    }

    fn writable(&self) -> Result<(), LogError> {
        self.alive()?;
        if self.phase != Phase::Open {
            return Err(LogError::Fatal(format!(
                "no transaction is open in phase {:?}",
                self.phase
            )));
        }
        self.tainted.clone().map_or(Ok(()), Err)
    }
}

fn rejection(rejected: Rejected, options: &ClientOptions) -> LogError {
    let name = &options.transactional_id;
    match rejected {
        Rejected::Replaced if options.instance.is_some() => {
            LogError::Fenced(format!("another producer took the transactional id {name}"))
        }
        Rejected::Replaced => LogError::Fatal(format!("a newer producer fenced this one of transactional id {name}")),
        Rejected::TimedOut => LogError::Fatal(format!("the transaction of {name} took too long and was aborted")),
        Rejected::Busy => LogError::Retry(format!("the last transaction of {name} is not complete yet")),
    }
}
