//! Where partitions begin and end, for many of them at once: log start, last stable offset and high watermark.
//!
//! Rule: three requests to each leader, whatever the number of partitions: log start and high watermark together, then the
//! last stable offset. What was asked is the moment of the question, so who compares ends with commits reads the commits
//! first: a lag is then never negative.
//!
//! Edges:
//! - were all three asked at once, a log that grows would seem to end in an open transaction: only a last stable offset that
//!   is below a high watermark of an earlier moment shows one;
//! - a partition that is gone, that may not be described, or whose leader is silent has its own [`Unknown`], and spoils
//!   nothing for the others;
//! - a last stable offset is mostly beyond the high watermark, which is older, and is cut to it;
//! - librdkafka merges answers by looking each partition up in a list, so a call has at most [`CHUNK`] of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::topic_partition_list::Offset;

use super::admin::serve;
use super::context::Quiet;
use super::reader::Isolation;
use super::sys::{Answer, Inquiry, ListEntry, Question, Refusal};
use super::trouble::{self, About};
use super::{CALL, list};
use crate::engine::time::WallTime;
use crate::runtime::clock::wall_time;
use crate::runtime::log::{LogError, TopicPartition};

/// Most partitions of one call.
const CHUNK: usize = 500;

/// Between the time-out of a call and the moment at which its answer is not waited for any more: leaders are looked for
/// first, within a time of their own.
const GRACE: Duration = Duration::from_millis(500);

/// The ends of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnds {
    /// The first offset that is still there.
    pub start: i64,
    /// What a committed reader reads up to: there is an open transaction from here on, or this is the end.
    pub stable: i64,
    /// The high watermark: what any reader reads up to.
    pub end: i64,
    /// When it was asked for.
    pub sampled_at: WallTime,
}

/// Why a partition's ends are not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// There is no such topic, or no such partition of it.
    Gone,
    /// Not allowed; names the right.
    Refused(String),
    /// Its leader did not answer, or there is none.
    Silent(String),
}

/// Asks for log ends; shared by everyone in the process.
#[derive(Clone)]
pub struct EndSampler {
    client: Arc<BaseConsumer<Quiet>>,
}

type Asked = (Offset, Isolation);

const START: Asked = (Offset::Beginning, Isolation::Uncommitted);
const STABLE: Asked = (Offset::End, Isolation::Committed);
const END: Asked = (Offset::End, Isolation::Uncommitted);

type Told = Result<i64, Unknown>;

// === impl EndSampler ===

impl EndSampler {
    pub(super) fn new(client: Arc<BaseConsumer<Quiet>>) -> Self {
        Self { client }
    }

    /// The ends of each of these partitions. Every partition has its answer, also where no broker gave one.
    pub fn sample(&self, partitions: &BTreeSet<TopicPartition>) -> BTreeMap<TopicPartition, Result<LogEnds, Unknown>> {
        serve(&self.client);
        let sampled_at = wall_time();
        let all: Vec<&TopicPartition> = partitions.iter().collect();
        let [starts, ends] = self.ask(&all, [START, END]);
        let is_led = |partition: &&TopicPartition| matches!(ends.get(*partition), Some(Ok(_)));
        let led: Vec<&TopicPartition> = all.iter().copied().filter(is_led).collect();
        let [stable] = self.ask(&led, [STABLE]);
        all.into_iter()
            .map(|partition| {
                let told = |told: &BTreeMap<TopicPartition, Told>| {
                    let silent = || Err(Unknown::Silent("no answer from its leader".to_owned()));
                    told.get(partition).cloned().unwrap_or_else(silent)
                };
                let known = ends_of(told(&starts), told(&ends), told(&stable), sampled_at);
                (partition.clone(), known)
            })
            .collect()
    }

    /// What was told of each question, all of which are under way together; who is missing got no answer.
    fn ask<const N: usize>(
        &self,
        partitions: &[&TopicPartition],
        questions: [Asked; N],
    ) -> [BTreeMap<TopicPartition, Told>; N] {
        let mut told = [const { BTreeMap::new() }; N];
        let inquiry = match Inquiry::new(self.client.client()) {
            Ok(inquiry) => inquiry,
            Err(code) => {
                tracing::debug!(event_type = "log_ends_unknown", %code, "log ends cannot be asked for");
                return told;
            }
        };
        let chunks: Vec<&[&TopicPartition]> = partitions.chunks(CHUNK).collect();
        let mut open = 0;
        for (at, chunk) in chunks.iter().enumerate() {
            for (which, (offset, isolation)) in questions.into_iter().enumerate() {
                let partitions = list(chunk.iter().map(|partition| (*partition, offset)));
                match inquiry.ask(at * N + which, Question::Ends(&partitions, isolation), CALL) {
                    Ok(()) => open += 1,
                    Err(code) => {
                        tracing::debug!(event_type = "log_ends_unknown", %code, "log ends cannot be asked for")
                    }
                }
            }
        }
        let deadline = Instant::now() + 2 * CALL + GRACE;
        while open > 0 {
            let Some((number, answer)) = inquiry.next(deadline.saturating_duration_since(Instant::now())) else {
                break;
            };
            open -= 1;
            let chunk = chunks.get(number / N).copied().unwrap_or_default();
            let told = &mut told[number % N];
            match answer {
                Ok(Answer::Offsets(entries)) => told.extend(entries.into_iter().map(told_by)),
                Ok(_) => {}
                Err(refusal) => told.extend(self.refused_whole(chunk, &refusal)),
            }
        }
        told
    }

    /// Where a whole call failed there is no word about single partitions.
    fn refused_whole(&self, chunk: &[&TopicPartition], refusal: &Refusal) -> Vec<(TopicPartition, Told)> {
        let (code, said) = refusal;
        tracing::debug!(event_type = "log_ends_unknown", %code, said, partitions = chunk.len(), "log ends were not answered");
        let silent = |partition: &&TopicPartition| ((*partition).clone(), Err(Unknown::Silent(said.clone())));
        if *code != Code::NoEnt {
            return chunk.iter().map(silent).collect();
        }
        // Not one of them has a leader: librdkafka keeps to itself why, so their topics are asked.
        let mut told = Vec::new();
        for of_topic in chunk.chunk_by(|a, b| a.topic == b.topic) {
            let found = self.client.fetch_metadata(Some(&of_topic[0].topic), CALL).ok();
            let found = found.as_ref().and_then(|found| found.topics().first());
            let count = found.map_or(0, |topic| topic.partitions().len());
            let code = found.and_then(|topic| topic.error()).map(Code::from);
            told.extend(of_topic.iter().map(|partition| {
                let why = match code {
                    Some(code) => unknown(code, &partition.topic),
                    None if found.is_some() && partition.partition as usize >= count => Unknown::Gone,
                    None => Unknown::Silent("it has no leader".to_owned()),
                };
                ((*partition).clone(), Err(why))
            }));
        }
        told
    }
}

fn told_by(entry: ListEntry) -> (TopicPartition, Told) {
    let told = match entry.error {
        Some(code) => Err(unknown(code, &entry.partition.topic)),
        None if entry.offset >= 0 => Ok(entry.offset),
        // What librdkafka leaves behind where a leader's answer never came.
        None => Err(Unknown::Silent("no answer from its leader".to_owned())),
    };
    (entry.partition, told)
}

fn unknown(code: Code, topic: &str) -> Unknown {
    match code {
        Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::UnknownPartition | Code::UnknownTopicId => {
            Unknown::Gone
        }
        code => match trouble::refusal(code, About::DescribeTopic(topic), None) {
            Some(LogError::Refused(said)) => Unknown::Refused(said),
            _ => Unknown::Silent(code.to_string()),
        },
    }
}

fn ends_of(start: Told, end: Told, stable: Told, sampled_at: WallTime) -> Result<LogEnds, Unknown> {
    let (start, end, stable) = (start?, end?, stable?);
    Ok(LogEnds {
        start,
        stable: stable.min(end),
        end,
        sampled_at,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallTime = WallTime(7);

    #[test]
    fn a_last_stable_offset_is_never_beyond_the_end() {
        let ends = ends_of(Ok(2), Ok(10), Ok(12), NOW).unwrap();
        assert_eq!((ends.start, ends.stable, ends.end), (2, 10, 10));
    }

    #[test]
    fn one_answer_that_is_missing_makes_the_ends_unknown() {
        let silent = Unknown::Silent("x".to_owned());
        assert_eq!(ends_of(Ok(2), Ok(10), Err(silent.clone()), NOW), Err(silent));
        assert_eq!(ends_of(Err(Unknown::Gone), Ok(10), Ok(1), NOW), Err(Unknown::Gone));
    }

    #[test]
    fn a_partition_that_may_not_be_described_names_the_right() {
        let Unknown::Refused(said) = unknown(Code::TopicAuthorizationFailed, "orders") else {
            panic!("it is refused");
        };
        assert!(said.contains("DESCRIBE on topic `orders`"), "{said}");
    }
}
