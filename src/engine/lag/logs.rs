//! The logs that groups read, as brokers described them: where they begin and end now, and how the ends came to be there.
//!
//! Rule: what is here was asked of all brokers at one moment, [`Survey::at`], for everyone in the process, after the
//! commits that it is compared with.
//!
//! Edges:
//! - a partition whose leader was silent keeps what it had, and is not fresh: nothing is said of it in that round;
//! - one that is gone, or whose topic has another id, is forgotten;
//! - partitions that nobody asked for in a round are forgotten too;
//! - of tapped topics the offset index is kept apart: at most [`ENTRIES`] entries a partition, as far back as the horizon;
//! - counted tails are kept as long as their end is the log's last stable offset; beyond [`TAILS`] of a partition the
//!   oldest goes.

use std::collections::{BTreeMap, BTreeSet};

use super::ends::{Sample, Samples};
use super::index::{Answer, PartitionIndex};
use super::lags::is_another;
use crate::engine::index::Stretch;
use crate::engine::task::TopicId;
use crate::engine::time::{Span, WallTime};

/// Partitions by topic.
pub type Partitions = BTreeMap<Box<str>, BTreeSet<u32>>;

/// What brokers said when they were asked for some partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// When the question was sent.
    pub at: WallTime,
    pub topics: BTreeMap<Box<str>, SurveyedTopic>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SurveyedTopic {
    /// Zero where it is not known.
    pub id: TopicId,
    pub partitions: BTreeMap<u32, Surveyed>,
}

/// What was said of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surveyed {
    Log {
        /// The first offset that is there.
        start: i64,
        /// The last stable offset.
        stable: i64,
        /// The high watermark.
        end: i64,
    },
    /// There is no such partition.
    Gone,
    /// Nobody answered, or it may not be seen.
    Silent,
}

/// Offsets of one partition, the last one excluded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TailSpan {
    pub topic: Box<str>,
    pub partition: u32,
    pub start: i64,
    pub end: i64,
}

/// What was read in a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Data records.
    pub records: i64,
    /// When the first of them was written, by its timestamp.
    pub first: Option<WallTime>,
}

/// Entries of the offset index that are kept of one partition: some 430 KB at the most.
const ENTRIES: usize = 4_096;

/// Tails that are kept for one partition.
const TAILS: usize = 16;

/// All logs that somebody asked for.
#[derive(Debug, Default)]
pub struct Logs {
    at: WallTime,
    topics: BTreeMap<Box<str>, TopicLogs>,
    indexes: BTreeMap<Box<str>, BTreeMap<u32, PartitionIndex>>,
}

/// One topic's logs.
#[derive(Debug, Default)]
pub struct TopicLogs {
    pub id: Option<TopicId>,
    partitions: BTreeMap<u32, PartitionLog>,
}

/// One partition's log.
#[derive(Debug)]
pub struct PartitionLog {
    pub samples: Samples,
    /// It was described in the last survey.
    pub is_fresh: bool,
    /// Oldest first: where they begin, where they end, what is in them.
    tails: Vec<(i64, i64, Tail)>,
}

// === impl Logs ===

impl Logs {
    /// `horizon`: how far back the samples go.
    pub fn take(&mut self, survey: Survey, horizon: Span) {
        self.at = survey.at;
        let beyond = WallTime(survey.at.0.saturating_sub(horizon.as_micros()));
        for index in self.indexes.values_mut().flat_map(BTreeMap::values_mut) {
            index.forget(beyond);
        }
        self.topics.retain(|topic, _| survey.topics.contains_key(topic));
        for (topic, surveyed) in survey.topics {
            let id = Some(surveyed.id).filter(|id| *id != TopicId::default());
            let logs = self.topics.entry(topic).or_default();
            if is_another(logs.id, id) {
                logs.partitions.clear();
            }
            logs.id = id.or(logs.id);
            logs.partitions
                .retain(|partition, _| surveyed.partitions.contains_key(partition));
            for (partition, surveyed) in surveyed.partitions {
                logs.describe(partition, surveyed, survey.at, horizon);
            }
        }
    }

    pub fn take_tails(&mut self, tails: impl IntoIterator<Item = (TailSpan, Tail)>) {
        for (span, tail) in tails {
            let logs = self.topics.get_mut(&span.topic);
            let Some(log) = logs.and_then(|logs| logs.partitions.get_mut(&span.partition)) else {
                continue;
            };
            if log.tail(span.start, span.end).is_none() {
                if log.tails.len() == TAILS {
                    log.tails.remove(0);
                }
                log.tails.push((span.start, span.end, tail));
            }
        }
    }

    /// Takes a record of the offset index; the error is for a person.
    pub fn take_stretch(&mut self, value: &[u8]) -> Result<(), String> {
        let stretch = Stretch::read(value).map_err(|error| format!("a record of the offset index: {error}"))?;
        if !self.indexes.contains_key(stretch.topic.as_str()) {
            self.indexes.insert(stretch.topic.as_str().into(), BTreeMap::new());
        }
        if let Some(partitions) = self.indexes.get_mut(stretch.topic.as_str()) {
            let index = partitions.entry(stretch.partition);
            index.or_insert_with(|| PartitionIndex::new(ENTRIES)).observe(stretch);
        }
        Ok(())
    }

    /// The offset index of a topic's partitions, where it is tapped.
    pub fn indexes(&self, topic: &str) -> Option<&BTreeMap<u32, PartitionIndex>> {
        self.indexes.get(topic)
    }

    /// When the last survey was asked for.
    pub fn at(&self) -> WallTime {
        self.at
    }

    pub fn topic(&self, topic: &str) -> Option<&TopicLogs> {
        self.topics.get(topic)
    }

    pub fn partition(&self, topic: &str, partition: u32) -> Option<&PartitionLog> {
        self.topic(topic)?.partition(partition)
    }
}

// === impl TopicLogs ===

impl TopicLogs {
    pub fn partition(&self, partition: u32) -> Option<&PartitionLog> {
        self.partitions.get(&partition)
    }

    fn describe(&mut self, partition: u32, surveyed: Surveyed, at: WallTime, horizon: Span) {
        let (start, stable, end) = match surveyed {
            Surveyed::Log { start, stable, end } => (start, stable, end),
            Surveyed::Gone => {
                self.partitions.remove(&partition);
                return;
            }
            Surveyed::Silent => {
                if let Some(log) = self.partitions.get_mut(&partition) {
                    log.is_fresh = false;
                }
                return;
            }
        };
        let log = self.partitions.entry(partition).or_insert_with(|| PartitionLog {
            samples: Samples::new(horizon),
            is_fresh: true,
            tails: Vec::new(),
        });
        let sample = Sample {
            at,
            high_watermark: end,
            last_stable: Some(stable),
            log_start: Some(start),
        };
        log.samples.observe(sample, self.id);
        log.is_fresh = true;
        log.tails.retain(|(_, until, _)| *until == stable);
    }
}

// === impl PartitionLog ===

impl PartitionLog {
    /// What is left for a committed reader of this group: records that the index knows of, and behind them the offsets of
    /// which only the log itself can tell, the last one excluded.
    pub fn uncounted(&self, committed: i64, index: Option<&PartitionIndex>) -> Option<(i64, i64, i64)> {
        let sample = self.samples.latest()?;
        let start = sample.reads_on_at(committed);
        let end = sample.last_stable?.min(sample.high_watermark);
        let indexed = index.and_then(|index| {
            let to = index.end()?.min(end);
            match index.records(start, to) {
                Answer::Known(records) if to > start => Some((i64::try_from(records).ok()?, to, end)),
                _ => None,
            }
        });
        Some(indexed.unwrap_or((0, start, end)))
    }

    /// What lies between these offsets, where it was read.
    pub fn tail(&self, start: i64, end: i64) -> Option<Tail> {
        let found = self.tails.iter().find(|(from, to, _)| (*from, *to) == (start, end));
        found.map(|(.., tail)| *tail)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(at: i64, id: u8, partitions: &[(u32, Surveyed)]) -> Survey {
        let topic = SurveyedTopic {
            id: [id; 16],
            partitions: partitions.iter().copied().collect(),
        };
        Survey {
            at: WallTime(at),
            topics: BTreeMap::from([("t".into(), topic)]),
        }
    }

    fn log(stable: i64, end: i64) -> Surveyed {
        Surveyed::Log { start: 0, stable, end }
    }

    fn ends(logs: &Logs, partition: u32) -> Option<(i64, bool)> {
        let log = logs.partition("t", partition)?;
        Some((log.samples.latest()?.high_watermark, log.is_fresh))
    }

    #[test]
    fn who_is_silent_keeps_its_log_and_is_not_fresh() {
        let mut logs = Logs::default();
        logs.take(survey(10, 1, &[(0, log(5, 5)), (1, log(7, 7))]), Span::seconds(60));
        logs.take(
            survey(20, 1, &[(0, Surveyed::Silent), (1, log(8, 8))]),
            Span::seconds(60),
        );
        assert_eq!((ends(&logs, 0), ends(&logs, 1)), (Some((5, false)), Some((8, true))));
    }

    #[test]
    fn what_is_gone_or_not_asked_for_is_forgotten() {
        let mut logs = Logs::default();
        logs.take(survey(10, 1, &[(0, log(5, 5)), (1, log(7, 7))]), Span::seconds(60));
        logs.take(survey(20, 1, &[(0, Surveyed::Gone)]), Span::seconds(60));
        assert_eq!((ends(&logs, 0), ends(&logs, 1)), (None, None));
    }

    #[test]
    fn a_topic_with_another_id_is_another_log() {
        let mut logs = Logs::default();
        logs.take(survey(10, 1, &[(0, log(5, 5))]), Span::seconds(60));
        logs.take(survey(20, 2, &[(0, log(9, 9))]), Span::seconds(60));
        let samples = &logs.partition("t", 0).unwrap().samples;
        assert_eq!((samples.len(), ends(&logs, 0)), (1, Some((9, true))));
    }

    #[test]
    fn a_tail_is_known_until_the_log_grows() {
        let mut logs = Logs::default();
        logs.take(survey(10, 1, &[(0, log(5, 6))]), Span::seconds(60));
        let tail = Tail {
            records: 1,
            first: None,
        };
        let span = TailSpan {
            topic: "t".into(),
            partition: 0,
            start: 3,
            end: 5,
        };
        logs.take_tails([(span, tail)]);
        let known = |logs: &Logs| logs.partition("t", 0).unwrap().tail(3, 5);
        assert_eq!(known(&logs), Some(tail));
        logs.take(survey(20, 1, &[(0, log(5, 9))]), Span::seconds(60));
        assert_eq!(known(&logs), Some(tail));
        logs.take(survey(30, 1, &[(0, log(9, 9))]), Span::seconds(60));
        assert_eq!(known(&logs), None);
    }
}
