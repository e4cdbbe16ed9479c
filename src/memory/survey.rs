//! What lag is measured by: where logs begin and end, and what lies in their tails.
//!
//! Rule: as the brokers answer: a partition that does not exist is gone, and a tail is what a committed reader sees of it.

use std::collections::BTreeSet;

use super::cluster::Cluster;
use super::reader::Reader;
use crate::engine::lag::logs::{Partitions, Survey, Surveyed, SurveyedTopic, Tail, TailSpan};
use crate::engine::task::Stamp;

impl Cluster {
    pub(super) fn survey(&self, partitions: &Partitions) -> Survey {
        let topics = &self.0.topics;
        let of_topic = |topic: &str, wanted: &BTreeSet<u32>| SurveyedTopic {
            id: topics.id(topic).unwrap_or_default(),
            partitions: wanted
                .iter()
                .map(|partition| {
                    let log = topics.partition(topic, *partition);
                    let described = log.map_or(Surveyed::Gone, |log| Surveyed::Log {
                        start: log.start(),
                        stable: log.last_stable(),
                        end: log.end(),
                    });
                    (*partition, described)
                })
                .collect(),
        };
        Survey {
            at: self.now(),
            topics: partitions
                .iter()
                .map(|(topic, wanted)| (topic.clone(), of_topic(topic, wanted)))
                .collect(),
        }
    }

    pub(super) fn tails(&self, spans: BTreeSet<TailSpan>) -> Vec<(TailSpan, Tail)> {
        let count = |span: TailSpan| {
            let log = self.0.topics.partition(&span.topic, span.partition)?;
            let mut tail = Tail {
                records: 0,
                first: None,
            };
            Reader::new(log, span.start).read(usize::MAX, &mut |record| {
                if record.offset >= span.end {
                    return false;
                }
                if tail.records == 0 {
                    tail.first = match record.stamp {
                        Stamp::None => None,
                        Stamp::Created(time) | Stamp::Appended(time) => Some(time),
                    };
                }
                tail.records += 1;
                true
            });
            Some((span, tail))
        };
        spans.into_iter().filter_map(count).collect()
    }
}
