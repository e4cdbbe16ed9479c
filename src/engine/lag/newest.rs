//! The newest points of a task, once more.
//!
//! Rule: what was shown last is shown as it was, with its time; nothing is compared anew. Series that ended are gone.
//!
//! Edges:
//! - after a restart there is nothing before the first survey, seconds later.

use super::metrics::Metric;
use super::points::{Points, consumed_key};
use super::stage::LagTask;
use crate::engine::gauge;
use crate::engine::series::SeriesKey;

impl LagTask {
    pub(super) fn newest_points(&self) -> Vec<Vec<u8>> {
        let mut points = Points::new(&self.options, self.partition, self.last_point, None);
        for (group, of_group) in &self.table.groups {
            for (topic, of_topic) in &of_group.topics {
                for (partition, row) in &of_topic.partitions {
                    let Some((at, values, status)) = row.shown.newest() else {
                        continue;
                    };
                    let partition = partition.to_string();
                    let labels = [&**topic, &*partition, &**group];
                    points.at(at);
                    points.values(&Metric::OF_ROW, &labels, &values, &mut row.shown.clone());
                    points.states(Metric::Status, &labels, status, &mut row.states.clone());
                }
                let consumed = &of_topic.consumed;
                if let Some(newest) = consumed.records.newest() {
                    points.add(Metric::Consumed, &consumed_key(group, topic), &[newest]);
                }
                if let Some(tapped) = &consumed.tapped {
                    let key = SeriesKey::of([&**topic, &**group]).0;
                    points.add(Metric::Bytes, &key, tapped.bytes.newest().as_slice());
                    points.add(Metric::Latency, &key, tapped.latency.newest().as_slice());
                }
            }
            if let Some((at, values, state)) = of_group.shown.newest() {
                let labels = [&**group];
                points.at(at);
                points.values(&[Metric::Members], &labels, &values[..1], &mut of_group.shown.clone());
                points.states(Metric::State, &labels, state, &mut of_group.states.clone());
            }
        }
        for ((name, key), counter) in &self.own {
            if let (Some((definition, shape)), Some(newest)) = (gauge::built_in(name), counter.newest()) {
                let named = points.freezer.metric(definition, shape);
                points.freezer.add(named, key, &[newest]);
            }
        }
        points.freezer.finish()
    }
}
