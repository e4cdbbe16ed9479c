//! The group member of a [`super::MemoryLog`].
//!
//! Rule: the member knows what its polls told it. It hears of a revocation, a new generation or its own expiry at a poll
//! and not before, and goes on meanwhile; the group is what refuses it.
//!
//! Edges:
//! - a poll that brings changes hands out no records: the worker answers first;
//! - revoked partitions are read until `unassign`; lost ones are not, from the poll on that brought the loss;
//! - a member that lost its place joins again after it has answered the loss.

use std::collections::{BTreeMap, BTreeSet};

use crate::runtime::log::{Change, LogError, Notice, Sink, TopicPartition};

use super::client::ClientOptions;
use super::cluster::Cluster;
use super::group::{Generation, Joining, MemberId, Stale, Standing};
use super::lock;
use super::reader::{Halted, Reader};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Consumer {
    subscription: Option<BTreeSet<String>>,
    member: Option<MemberId>,
    /// As of the last poll.
    generation: Generation,
    /// What polls brought and `changes` has not handed out.
    news: Vec<Change>,
    notices: Vec<Notice>,
    /// Handed out as assigned and not given back.
    held: BTreeSet<TopicPartition>,
    /// Those of `held` that other members may own by now.
    lost: BTreeSet<TopicPartition>,
    readers: BTreeMap<TopicPartition, Reader>,
    /// The partition that was read last: the next poll starts behind it.
    turn: Option<TopicPartition>,
    /// Subscribed topics that do not exist and were reported.
    missing: BTreeSet<String>,
}

// === impl Consumer ===

impl Consumer {
    pub fn subscribe(&mut self, topics: &[String]) {
        self.subscription = Some(topics.iter().cloned().collect());
        self.missing.clear();
    }

    pub fn member(&self) -> Option<MemberId> {
        self.member
    }

    /// Joins or shows a sign of life. `true` when it brought changes or notices.
    pub fn serve_group(&mut self, cluster: &Cluster, options: &ClientOptions) -> Result<bool, LogError> {
        let Some(wanted) = &self.subscription else {
            return Ok(false);
        };
        let topics = &cluster.0.topics;
        let before = self.notices.len();
        for topic in wanted {
            if topics.exists(topic) {
                self.missing.remove(topic);
            } else if self.missing.insert(topic.clone()) {
                self.notices.push(Notice::UnknownTopic(topic.clone()));
            }
        }
        let has_notices = self.notices.len() > before;

        let mut coordinator = lock(&cluster.0.coordinator);
        let instance = options.instance.as_deref();
        let mut joining = Joining {
            id: MemberId(0),
            instance,
            wanted,
            session: options.session_timeout,
            now: cluster.now(),
        };
        joining.id = match self.member {
            Some(id) => id,
            None if !self.lost.is_empty() => return Ok(has_notices),
            None => *self
                .member
                .insert(coordinator.join(&options.group, joining.clone(), topics)),
        };
        let standing = coordinator.group(&options.group).heartbeat(&joining, topics);
        drop(coordinator);

        match standing {
            Standing::Fenced => Err(fenced(options)),
            Standing::Unknown => {
                self.lose_everything();
                Ok(true)
            }
            Standing::Member { generation, news } => {
                self.generation = generation;
                let has_news = !news.is_empty();
                self.news.extend(news);
                Ok(has_news || has_notices)
            }
        }
    }

    fn lose_everything(&mut self) {
        self.member = None;
        self.news.clear();
        self.readers.clear();
        self.lost = self.held.clone();
        if !self.lost.is_empty() {
            self.news.push(Change::Lost(self.lost.iter().cloned().collect()));
        }
    }

    /// Hands out at most `max` records; `true` when there were some, or notices.
    pub fn deliver(&mut self, cluster: &Cluster, max: usize, sink: &mut Sink<'_>) -> bool {
        let start = self
            .turn
            .as_ref()
            .map(|last| self.readers.range(..=last).count())
            .unwrap_or_default();
        let mut left = max;
        let mut has_notices = false;
        // First those behind the last turn, then the others.
        for is_behind in [true, false] {
            for (index, (at, reader)) in self.readers.iter_mut().enumerate() {
                if (index >= start) != is_behind || !reader.may_read() || left == 0 {
                    continue;
                }
                let (taken, halted) = reader.read(left, &mut |record| sink(&at.topic, at.partition, record));
                left -= taken;
                match halted {
                    Halted::Done => {}
                    Halted::Enough => left = 0,
                    Halted::OutOfRange => {
                        self.notices.push(Notice::OutOfRange(at.clone()));
                        has_notices = true;
                    }
                    Halted::Gone => {
                        if let Some(log) = cluster.0.topics.find(at) {
                            reader.reopen(log);
                        }
                    }
                }
                if taken > 0 {
                    self.turn = Some(at.clone());
                }
            }
        }
        left < max || has_notices
    }

    pub fn changes(&mut self) -> Vec<Change> {
        let news = std::mem::take(&mut self.news);
        for change in &news {
            if let Change::Assigned(partitions) = change {
                self.held.extend(partitions.iter().cloned());
            }
        }
        news
    }

    pub fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    pub fn assign(
        &mut self,
        cluster: &Cluster,
        partitions: &[(TopicPartition, i64)],
        paused: bool,
    ) -> Result<(), LogError> {
        for (at, offset) in partitions {
            if !self.held.contains(at) {
                return Err(LogError::Fatal(format!(
                    "partition {at:?} was not assigned to this member"
                )));
            }
            if self.lost.contains(at) {
                continue;
            }
            let Some(log) = cluster.0.topics.find(at) else { continue };
            let mut reader = Reader::new(log, *offset);
            reader.paused = paused;
            self.readers.insert(at.clone(), reader);
        }
        Ok(())
    }

    pub fn unassign(&mut self, cluster: &Cluster, options: &ClientOptions, partitions: &[TopicPartition]) {
        for at in partitions {
            self.readers.remove(at);
            self.held.remove(at);
            self.lost.remove(at);
        }
        if let Some(id) = self.member {
            let mut coordinator = lock(&cluster.0.coordinator);
            coordinator
                .group(&options.group)
                .release(id, partitions, &cluster.0.topics);
            drop(coordinator);
            cluster.0.signal.raise();
        }
    }

    pub fn seek(&mut self, partitions: &[(TopicPartition, i64)]) {
        for (at, offset) in partitions {
            if let Some(reader) = self.readers.get_mut(at) {
                reader.seek(*offset);
            }
        }
    }

    pub fn set_paused(&mut self, partitions: &[TopicPartition], paused: bool) {
        for at in partitions {
            if let Some(reader) = self.readers.get_mut(at) {
                reader.paused = paused;
            }
        }
    }

    pub fn positions(&self, partitions: &[TopicPartition]) -> Vec<Option<i64>> {
        partitions.iter().map(|at| self.readers.get(at)?.position()).collect()
    }

    /// The id and generation that go with offsets; `None` while it has none.
    pub fn metadata(&self) -> Option<(MemberId, Generation)> {
        Some((self.member?, self.generation))
    }

    /// Leaves the group, where a name does not keep its place for it.
    pub fn close(&mut self, cluster: &Cluster, options: &ClientOptions) {
        let member = self.member.take();
        if let Some(id) = member.filter(|_| options.instance.is_none()) {
            lock(&cluster.0.coordinator)
                .group(&options.group)
                .remove(id, &cluster.0.topics);
            cluster.0.signal.raise();
        }
        *self = Self::default();
    }
}

/// What a stale member's offsets are refused with.
pub(super) fn refusal(stale: Stale, options: &ClientOptions) -> LogError {
    match stale {
        Stale::Fenced => fenced(options),
        Stale::Unknown => LogError::Abort(format!("group {} does not know this member any more", options.group)),
        Stale::Generation => LogError::Abort(format!("group {} has a newer generation", options.group)),
    }
}

fn fenced(options: &ClientOptions) -> LogError {
    let name = options.instance.as_deref().unwrap_or_default();
    LogError::Fenced(format!(
        "another member joined group {} by the name {name}",
        options.group
    ))
}
