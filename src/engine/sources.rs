//! How far every input partition has been seen, and what that means for one metric or join.
//!
//! Rule: the watermark of a metric or a join is the lowest of its own sources: the partitions of its topics, and no others.
//! That of a metric which a join fills is the lowest of the join's tasks.
//!
//! Edges:
//! - a partition that the broker says exists but that has not spoken holds the metric's windows open;
//! - a topic that does not exist has no partitions and holds nothing;
//! - a partition first seen in a batch joins, also before the broker's partition counts show it;
//! - a watermark never goes back: a batch with an older one (a new ledger epoch) leaves it where it is.

use std::collections::BTreeMap;

use crate::engine::task::PartitionCounts;
use crate::engine::time::Watermark;

/// What is known of one input partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source {
    pub watermark: Option<Watermark>,
    /// Of the ledger that spoke last.
    pub epoch: u32,
}

/// All input partitions that have spoken, and those that should.
#[derive(Debug, Default)]
pub struct Sources {
    spoken: BTreeMap<String, BTreeMap<u32, Source>>,
    /// Partition counts by topic; `None` until the runtime has told them once: before that nothing closes.
    counts: Option<PartitionCounts>,
}

impl Sources {
    pub fn set_counts(&mut self, counts: &PartitionCounts) {
        self.counts = Some(counts.clone());
    }

    pub fn hear(&mut self, topic: &str, partition: u32, epoch: u32, watermark: Option<Watermark>) {
        if !self.spoken.contains_key(topic) {
            self.spoken.insert(topic.to_owned(), BTreeMap::new());
        }
        let source = self
            .spoken
            .get_mut(topic)
            .map(|partitions| partitions.entry(partition).or_default());
        if let Some(source) = source {
            source.epoch = source.epoch.max(epoch);
            source.watermark = source.watermark.max(watermark);
        }
    }

    pub fn all(&self) -> impl Iterator<Item = (&str, u32, Source)> {
        self.spoken.iter().flat_map(|(topic, partitions)| {
            partitions
                .iter()
                .map(move |(partition, source)| (topic.as_str(), *partition, *source))
        })
    }

    /// The lowest watermark over all partitions of `topics`; `None` while one of them has not spoken or nothing is known.
    pub fn watermark_of<'a>(&self, topics: impl IntoIterator<Item = &'a str>) -> Option<Watermark> {
        let counts = self.counts.as_ref()?;
        let mut lowest: Option<Watermark> = None;
        for topic in topics {
            let spoken = self.spoken.get(topic);
            let seen = spoken
                .and_then(|partitions| partitions.keys().next_back())
                .map_or(0, |last| last.saturating_add(1));
            let expected = counts.get(topic).copied().unwrap_or(0).max(seen);
            for partition in 0..expected {
                let watermark = spoken.and_then(|partitions| partitions.get(&partition))?.watermark?;
                lowest = Some(lowest.map_or(watermark, |low| low.min(watermark)));
            }
        }
        lowest
    }

    /// The lowest watermark over the `tasks` of each join; `None` while one of them has not spoken.
    pub fn watermark_of_joins(&self, edges: &[String], tasks: u32) -> Option<Watermark> {
        let of_edge = |edge: &String| {
            let spoken = self.spoken.get(edge);
            (0..tasks).map(move |task| spoken?.get(&task)?.watermark)
        };
        let marks = edges.iter().flat_map(of_edge);
        marks.collect::<Option<Vec<Watermark>>>()?.into_iter().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::time::EventTime;

    fn mark(micros: i64) -> Option<Watermark> {
        Some(Watermark(EventTime(micros)))
    }

    fn counts(pairs: &[(&str, u32)]) -> PartitionCounts {
        pairs
            .iter()
            .map(|(topic, count)| ((*topic).to_owned(), *count))
            .collect()
    }

    #[test]
    fn a_partition_that_has_not_spoken_holds_the_windows_open() {
        let mut sources = Sources::default();
        sources.set_counts(&counts(&[("a", 2)]));
        sources.hear("a", 0, 0, mark(50));
        assert_eq!(sources.watermark_of(["a"]), None);
        sources.hear("a", 1, 0, None);
        assert_eq!(sources.watermark_of(["a"]), None);
        sources.hear("a", 1, 0, mark(20));
        assert_eq!(sources.watermark_of(["a"]), mark(20));
    }

    #[test]
    fn a_metric_waits_for_its_own_topics_only() {
        let mut sources = Sources::default();
        sources.set_counts(&counts(&[("a", 1), ("b", 1)]));
        sources.hear("a", 0, 0, mark(50));
        assert_eq!(sources.watermark_of(["a"]), mark(50));
        assert_eq!(sources.watermark_of(["a", "b"]), None);
        assert_eq!(sources.watermark_of(["a", "not there"]), mark(50));
    }

    #[test]
    fn a_partition_first_seen_in_a_batch_joins() {
        let mut sources = Sources::default();
        sources.set_counts(&counts(&[("a", 1)]));
        sources.hear("a", 0, 0, mark(50));
        sources.hear("a", 1, 0, mark(10));
        assert_eq!(sources.watermark_of(["a"]), mark(10));
    }

    #[test]
    fn nothing_closes_before_partition_counts_are_known() {
        let mut sources = Sources::default();
        sources.hear("a", 0, 0, mark(50));
        assert_eq!(sources.watermark_of(["a"]), None);
    }

    #[test]
    fn a_join_waits_for_all_of_its_tasks_whatever_topics_there_are() {
        let mut sources = Sources::default();
        sources.hear("join/a", 0, 0, mark(50));
        sources.hear("join/a", 1, 0, None);
        let [a, b] = ["join/a", "join/b"].map(str::to_owned);
        assert_eq!(sources.watermark_of_joins(std::slice::from_ref(&a), 2), None);
        sources.hear("join/a", 1, 0, mark(20));
        assert_eq!(sources.watermark_of_joins(std::slice::from_ref(&a), 2), mark(20));
        assert_eq!(sources.watermark_of_joins(&[a.clone(), b.clone()], 1), None);
        sources.hear("join/b", 0, 0, mark(10));
        assert_eq!(sources.watermark_of_joins(&[a, b], 1), mark(10));
    }

    #[test]
    fn a_watermark_never_goes_back() {
        let mut sources = Sources::default();
        sources.set_counts(&counts(&[("a", 1)]));
        sources.hear("a", 0, 1, mark(50));
        sources.hear("a", 0, 2, mark(10));
        assert_eq!(sources.watermark_of(["a"]), mark(50));
    }
}
