//! Answers for the lag stage: where logs begin and end, and how many records lie in their tails.
//!
//! Rule: a thread of its own asks, so that the worker goes on reading. Each question gets one answer, also where no broker
//! gave any.
//!
//! Edges:
//! - ids of topics are asked for once a minute, and at once for new topics: a topic that was deleted and created again is
//!   known by its id for as long, before that by its log end;
//! - rights that are missing are told once, all of one round in one line; what they hide is silent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::context::Quiet;
use super::ends::{EndSampler, Unknown};
use super::settings::Connection;
use super::tails::{Span, TailReader};
use super::{CALL, sys};
use crate::engine::lag::logs::{Partitions, Survey, Surveyed, SurveyedTopic, Tail, TailSpan};
use crate::engine::lag::silent;
use crate::engine::task::TopicId;
use crate::runtime::clock::wall_time;
use crate::runtime::log::TopicPartition;

/// How long a topic's id is believed.
const IDS: Duration = Duration::from_secs(60);

/// Topics in one question for ids.
const TOPICS: usize = 500;

/// Hands questions to its thread; the thread ends with it.
pub(super) struct Surveyor {
    questions: Sender<Question>,
    surveys: Receiver<Survey>,
    tails: Receiver<Vec<(TailSpan, Tail)>>,
    /// Asked and not answered: kept for the case that the thread is gone.
    asked: Option<Partitions>,
}

enum Question {
    Ends(Partitions),
    Tails(BTreeSet<TailSpan>, Duration),
}

/// What the thread has.
struct Asker {
    connection: Connection,
    metadata: Arc<BaseConsumer<Quiet>>,
    ends: EndSampler,
    /// Opened with the first tail.
    tails: Option<TailReader>,
    ids: BTreeMap<Box<str>, (TopicId, Instant)>,
    refused: BTreeSet<String>,
}

// === impl Surveyor ===

impl Surveyor {
    pub(super) fn start(connection: Connection, metadata: Arc<BaseConsumer<Quiet>>) -> Self {
        let (questions, asked) = channel();
        let (surveyed, surveys) = channel();
        let (counted, tails) = channel();
        let mut asker = Asker {
            connection,
            ends: EndSampler::new(Arc::clone(&metadata)),
            metadata,
            tails: None,
            ids: BTreeMap::new(),
            refused: BTreeSet::new(),
        };
        let spawned = std::thread::Builder::new().name("survey".to_owned()).spawn(move || {
            for question in asked {
                // Nobody waits any more where sending fails: then no question follows.
                match question {
                    Question::Ends(partitions) => drop(surveyed.send(asker.survey(&partitions))),
                    Question::Tails(spans, wait) => drop(counted.send(asker.count(&spans, wait))),
                }
            }
        });
        if let Err(error) = spawned {
            tracing::error!(event_type = "thread_missing", %error, "no thread for log ends: there will be no lag");
        }
        Self {
            questions,
            surveys,
            tails,
            asked: None,
        }
    }

    pub(super) fn ask_survey(&mut self, partitions: Partitions) {
        self.asked = Some(partitions.clone());
        // A thread that is gone shows when the answer is asked for.
        drop(self.questions.send(Question::Ends(partitions)));
    }

    pub(super) fn survey(&mut self) -> Option<Survey> {
        match self.surveys.try_recv() {
            Ok(survey) => Some(survey),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => self.asked.take().map(|partitions| silent(&partitions, wall_time())),
        }
    }

    pub(super) fn ask_tails(&mut self, spans: BTreeSet<TailSpan>, wait: Duration) {
        drop(self.questions.send(Question::Tails(spans, wait)));
    }

    pub(super) fn tails(&mut self) -> Option<Vec<(TailSpan, Tail)>> {
        match self.tails.try_recv() {
            Ok(tails) => Some(tails),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Vec::new()),
        }
    }
}

// === impl Asker ===

impl Asker {
    fn survey(&mut self, partitions: &Partitions) -> Survey {
        let mut wanted = BTreeSet::new();
        for (topic, numbers) in partitions {
            wanted.extend(numbers.iter().map(|partition| TopicPartition {
                topic: topic.to_string(),
                partition: *partition,
            }));
        }
        self.learn_ids(partitions);
        let mut refused = BTreeSet::new();
        let mut survey = Survey {
            at: wall_time(),
            topics: BTreeMap::new(),
        };
        for (partition, known) in self.ends.sample(&wanted) {
            let surveyed = match known {
                Ok(ends) => Surveyed::Log {
                    start: ends.start,
                    stable: ends.stable,
                    end: ends.end,
                },
                Err(Unknown::Gone) => Surveyed::Gone,
                Err(Unknown::Silent(why)) => {
                    tracing::debug!(
                        event_type = "log_ends_unknown",
                        topic = partition.topic,
                        partition = partition.partition,
                        "{why}"
                    );
                    Surveyed::Silent
                }
                Err(Unknown::Refused(right)) => {
                    refused.insert(right);
                    Surveyed::Silent
                }
            };
            let topic = survey.topics.entry(partition.topic.as_str().into());
            let topic = topic.or_insert_with(|| SurveyedTopic {
                id: self
                    .ids
                    .get(partition.topic.as_str())
                    .map(|(id, _)| *id)
                    .unwrap_or_default(),
                partitions: BTreeMap::new(),
            });
            topic.partitions.insert(partition.partition, surveyed);
        }
        self.tell_once(refused);
        survey
    }

    /// Asks for the ids of these topics that are not known, or not any more.
    fn learn_ids(&mut self, partitions: &Partitions) {
        let is_known = |(_, at): &(TopicId, Instant)| at.elapsed() < IDS;
        self.ids
            .retain(|topic, id| partitions.contains_key(topic) && is_known(id));
        let missing: Vec<&str> = partitions
            .keys()
            .filter(|topic| !self.ids.contains_key(*topic))
            .map(|topic| &**topic)
            .collect();
        for topics in missing.chunks(TOPICS) {
            let described = match sys::describe_topics(self.metadata.client(), topics, CALL) {
                Ok(described) => described,
                Err(code) => {
                    tracing::debug!(event_type = "topic_ids_unknown", %code, "ids of topics are not told");
                    continue;
                }
            };
            for topic in described.into_iter().filter(|topic| topic.refused.is_none()) {
                self.ids.insert(topic.name.into(), (topic.id, Instant::now()));
            }
        }
    }

    fn count(&mut self, spans: &BTreeSet<TailSpan>, wait: Duration) -> Vec<(TailSpan, Tail)> {
        if self.tails.is_none() {
            match TailReader::open(&self.connection) {
                Ok(reader) => self.tails = Some(reader),
                Err(error) => self.tell_once(BTreeSet::from([error.to_string()])),
            }
        }
        let Some(reader) = &self.tails else { return Vec::new() };
        let wanted = spans.iter().map(|span| Span {
            partition: TopicPartition {
                topic: span.topic.to_string(),
                partition: span.partition,
            },
            start: span.start,
            end: span.end,
        });
        let tails = reader.read(&wanted.collect(), wait);
        self.tell_once(tails.refused);
        let counted = tails.found.into_iter().filter_map(|(span, tail)| {
            let found = TailSpan {
                topic: span.partition.topic.into(),
                partition: span.partition.partition,
                start: span.start,
                end: span.end,
            };
            let tail = Tail {
                records: i64::try_from(tail.records?).ok()?,
                first: tail.first,
            };
            Some((found, tail))
        });
        counted.collect()
    }

    /// Names what was not named before, the first of many.
    fn tell_once(&mut self, rights: BTreeSet<String>) {
        let new: Vec<String> = rights
            .into_iter()
            .filter(|right| !self.refused.contains(right))
            .collect();
        let Some(first) = new.first() else { return };
        match new.len() - 1 {
            0 => tracing::warn!(event_type = "right_missing", "{first}; lag is not known there"),
            others => tracing::warn!(
                event_type = "right_missing",
                "{first}, and {others} more such rights; lag is not known there"
            ),
        }
        self.refused.extend(new);
    }
}
