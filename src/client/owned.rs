//! The partitions that a consumer owns: where it is, where the log ends, what it has committed.
//!
//! Rule: lag and offset are said of owned partitions alone: when a partition is revoked its gauges end.
//!
//! Edges:
//! - the log's end is what librdkafka's statistics last said: no call to the broker for a record, and as old as the last
//!   poll while a handler runs;
//! - lag of a partition whose end or position is not known yet is not said, rather than said to be 0;
//! - an end that is older than the position is a lag of 0.

use std::collections::BTreeMap;

use rdkafka::Statistics;
use rdkafka::topic_partition_list::TopicPartitionList;

/// One owned partition.
#[derive(Debug, Default)]
struct Place {
    /// The next offset to be handled.
    position: Option<i64>,
    /// The high watermark.
    end: Option<i64>,
    /// The next offset after the last that was handled with success, for which a commit was sent.
    committed: Option<i64>,
}

/// All of them, by topic and partition.
#[derive(Debug, Default)]
pub(super) struct Owned(BTreeMap<(String, i32), Place>);

/// A partition's number that a gauge says.
pub(super) type Said<'a> = (&'a str, i32, u64);

// === impl Owned ===

impl Owned {
    pub fn assigned(&mut self, partitions: &TopicPartitionList) {
        for partition in partitions.elements() {
            let name = (partition.topic().to_owned(), partition.partition());
            self.0.entry(name).or_default();
        }
    }

    pub fn revoked(&mut self, partitions: &TopicPartitionList) {
        for partition in partitions.elements() {
            self.0.remove(&(partition.topic().to_owned(), partition.partition()));
        }
    }

    pub fn positioned(&mut self, topic: &str, partition: i32, next: i64) {
        if let Some(place) = self.0.get_mut(&(topic.to_owned(), partition)) {
            place.position = Some(next);
        }
    }

    pub fn committed(&mut self, topic: &str, partition: i32, next: i64) {
        if let Some(place) = self.0.get_mut(&(topic.to_owned(), partition)) {
            place.committed = Some(next);
        }
    }

    pub fn told(&mut self, statistics: &Statistics) {
        for ((topic, number), place) in &mut self.0 {
            let topic = statistics.topics.get(topic);
            let Some(partition) = topic.and_then(|topic| topic.partitions.get(number)) else {
                continue;
            };
            if partition.hi_offset >= 0 {
                place.end = Some(partition.hi_offset);
            }
            // Nothing was taken and nothing waits: the fetcher's position is the consumer's.
            if place.position.is_none() && partition.fetchq_cnt == 0 && partition.next_offset >= 0 {
                place.position = Some(partition.next_offset);
            }
        }
    }

    pub fn lags(&self) -> impl Iterator<Item = Said<'_>> {
        self.say(|place| Some(place.end?.saturating_sub(place.position?)))
    }

    pub fn offsets(&self) -> impl Iterator<Item = Said<'_>> {
        self.say(|place| place.committed)
    }

    fn say(&self, number: impl Fn(&Place) -> Option<i64>) -> impl Iterator<Item = Said<'_>> {
        self.0.iter().filter_map(move |((topic, partition), place)| {
            let number = u64::try_from(number(place)?).unwrap_or(0);
            Some((topic.as_str(), *partition, number))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(partitions: &[i32]) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition("t", *partition);
        }
        list
    }

    fn statistics(high: i64, next: i64, waiting: i64) -> Statistics {
        let partition = rdkafka::statistics::Partition {
            hi_offset: high,
            next_offset: next,
            fetchq_cnt: waiting,
            ..Default::default()
        };
        let topic = rdkafka::statistics::Topic {
            partitions: [(0, partition)].into(),
            ..Default::default()
        };
        Statistics {
            topics: [("t".to_owned(), topic)].into(),
            ..Default::default()
        }
    }

    fn lags(owned: &Owned) -> Vec<(i32, u64)> {
        owned.lags().map(|(_, partition, lag)| (partition, lag)).collect()
    }

    #[test]
    fn lag_is_not_said_before_end_and_position_are_known() {
        let mut owned = Owned::default();
        owned.assigned(&list(&[0, 1]));
        owned.told(&statistics(-1001, -1001, 0));
        assert_eq!(lags(&owned), []);
        owned.told(&statistics(10, 4, 3));
        assert_eq!(lags(&owned), [], "three records wait to be taken");
        owned.positioned("t", 0, 1);
        assert_eq!(lags(&owned), [(0, 9)]);
    }

    #[test]
    fn who_finds_nothing_to_read_has_no_lag() {
        let mut owned = Owned::default();
        owned.assigned(&list(&[0]));
        owned.told(&statistics(10, 10, 0));
        assert_eq!(lags(&owned), [(0, 0)]);
    }

    #[test]
    fn an_end_older_than_the_position_is_no_lag() {
        let mut owned = Owned::default();
        owned.assigned(&list(&[0]));
        owned.told(&statistics(10, 0, 1));
        owned.positioned("t", 0, 12);
        assert_eq!(lags(&owned), [(0, 0)]);
    }

    #[test]
    fn what_is_revoked_is_said_no_more_and_begins_anew() {
        let mut owned = Owned::default();
        owned.assigned(&list(&[0, 1]));
        owned.committed("t", 0, 5);
        owned.committed("t", 1, 6);
        owned.revoked(&list(&[0]));
        assert_eq!(owned.offsets().collect::<Vec<_>>(), [("t", 1, 6)]);
        owned.committed("t", 0, 7);
        assert_eq!(owned.offsets().count(), 1, "it is not owned");
        owned.assigned(&list(&[0]));
        assert_eq!(owned.offsets().count(), 1, "nothing is committed yet");
    }
}
