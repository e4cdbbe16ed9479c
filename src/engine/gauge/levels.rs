//! Levels that many tasks feed: how much there is now, at wall time.
//!
//! Rule: of each task the last value counts; what is shown is their sum or their maximum, as the metric says. A level is
//! shown when it changed and at least every [`HEARTBEAT`], counted by the wall, and bypasses windows.
//!
//! Edges:
//! - a metric that a join fills takes the levels of that join's tasks and of no others: a join that was defined anew has
//!   another name, and what the old one said last does not count on;
//! - a level of a metric that the plan no longer has is deleted and said no more.

use std::collections::BTreeMap;

use prost::Message;

use super::changelog::Key;
use super::definitions::Definition;
use super::otlp::Shape;
use super::request::Freezer;
use super::series::{HEARTBEAT, Point, is_after};
use crate::engine::codec::{CodecError, FORMAT};
use crate::engine::plan::{Kind, Merge, MetricIx, Plan};
use crate::engine::sketch::Partial;
use crate::engine::time::WallTime;

/// All levels of a gauge partition.
#[derive(Debug, Default)]
pub struct Levels(BTreeMap<(MetricIx, Vec<u8>), Level>);

/// One series.
#[derive(Debug, Default, PartialEq)]
struct Level {
    /// The last value of each task, in millionths, by the name and partition that it speaks as.
    by_task: BTreeMap<(String, u32), i64>,
    /// The value that the newest point had; not known after a restore.
    shown: Option<i128>,
    /// Time of the newest point.
    last: Option<WallTime>,
    /// The changelog does not have this state yet.
    unsaved: bool,
}

#[derive(Clone, PartialEq, Message)]
struct LevelRecord {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(message, repeated, tag = "2")]
    tasks: Vec<TaskRecord>,
    /// Wall time of the newest point.
    #[prost(sint64, optional, tag = "3")]
    last: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct TaskRecord {
    #[prost(string, tag = "1")]
    topic: String,
    #[prost(uint32, tag = "2")]
    partition: u32,
    #[prost(sint64, tag = "3")]
    value: i64,
}

// === impl Levels ===

impl Levels {
    /// Takes what the task that speaks as `topic` and `partition` says of one series.
    pub fn take(&mut self, metric: MetricIx, key: Vec<u8>, topic: &str, partition: u32, value: i64) {
        let level = self.0.entry((metric, key)).or_default();
        level.by_task.insert((topic.to_owned(), partition), value);
        level.unsaved = true;
    }

    /// A series as the changelog has it. `edges` are whose levels the metric takes; none for anyone's.
    pub fn restore(&mut self, metric: MetricIx, key: &[u8], bytes: &[u8], edges: &[String]) -> Result<(), CodecError> {
        let record = LevelRecord::decode(bytes).map_err(|error| CodecError::Corrupt(error.to_string()))?;
        if record.format != FORMAT {
            return Err(CodecError::Format(record.format));
        }
        let counts = |task: &TaskRecord| edges.is_empty() || edges.contains(&task.topic);
        let level = Level {
            by_task: record
                .tasks
                .into_iter()
                .filter(counts)
                .map(|task| ((task.topic, task.partition), task.value))
                .collect(),
            last: record.last.map(WallTime),
            ..Level::default()
        };
        self.0.insert((metric, key.to_vec()), level);
        Ok(())
    }

    /// The newest point of each again.
    pub fn newest(&self, plan: &Plan, freezer: &mut Freezer<'_>) {
        for ((MetricIx(index), key), level) in &self.0 {
            let metric = &plan.metrics[*index];
            if let (Kind::Level(merge), Some(last)) = (&metric.kind, level.last) {
                let value = level.shown.unwrap_or_else(|| level.merged(*merge));
                let named = freezer.metric(Definition::of(metric, plan), Shape::Gauge);
                freezer.add(named, key, &[level_point(last, value)]);
            }
        }
    }

    /// Freezes what is to be shown now.
    pub fn show(
        &mut self,
        plan: &Plan,
        now: WallTime,
        freezer: &mut Freezer<'_>,
        changelog: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>,
    ) {
        for ((MetricIx(index), key), level) in &mut self.0 {
            let metric = &plan.metrics[*index];
            let Kind::Level(merge) = metric.kind else { continue };
            if let Some(point) = level.show(merge, now) {
                let named = freezer.metric(Definition::of(metric, plan), Shape::Gauge);
                freezer.add(named, key, &[point]);
            }
            if std::mem::take(&mut level.unsaved) {
                changelog.push((Key::Level(metric.definition, key).write(), Some(level.write())));
            }
        }
    }
}

// === impl Level ===

impl Level {
    fn merged(&self, merge: Merge) -> i128 {
        let values = self.by_task.values().map(|value| i128::from(*value));
        match merge {
            Merge::Sum => values.sum(),
            Merge::Max => values.max().unwrap_or(0),
        }
    }

    fn show(&mut self, merge: Merge, now: WallTime) -> Option<Point> {
        let value = self.merged(merge);
        let quiet_for_long = self.last.is_some_and(|last| last.ahead(HEARTBEAT) <= now);
        let due = self.shown != Some(value) || quiet_for_long;
        let may_follow = |last: WallTime| is_after(now.as_event(), last.as_event());
        (due && self.last.is_none_or(may_follow)).then(|| {
            (self.shown, self.last) = (Some(value), Some(now));
            self.unsaved = true;
            level_point(now, value)
        })
    }

    fn write(&self) -> Vec<u8> {
        let tasks = self.by_task.iter().map(|((topic, partition), value)| TaskRecord {
            topic: topic.clone(),
            partition: *partition,
            value: *value,
        });
        let record = LevelRecord {
            format: FORMAT,
            tasks: tasks.collect(),
            last: self.last.map(|last| last.0),
        };
        record.encode_to_vec()
    }
}

fn level_point(at: WallTime, value: i128) -> Point {
    Point {
        start: at.as_event(),
        time: at.as_event(),
        value: Some(Partial::Sum(value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(level: &mut Level, merge: Merge, at: &[i64]) -> Vec<Option<i128>> {
        let values = at.iter().map(|millis| level.show(merge, WallTime(*millis * 1_000)));
        values
            .map(|point| match point?.value {
                Some(Partial::Sum(sum)) => Some(sum),
                other => panic!("a level is a sum of millionths, not {other:?}"),
            })
            .collect()
    }

    fn level(values: &[(&str, u32, i64)]) -> Level {
        let by_task = values
            .iter()
            .map(|(topic, partition, value)| (((*topic).to_owned(), *partition), *value));
        Level {
            by_task: by_task.collect(),
            ..Level::default()
        }
    }

    #[test]
    fn a_level_is_the_sum_or_the_maximum_of_the_last_value_of_each_task() {
        let mut levels = Levels::default();
        for (partition, value) in [(0, 5), (1, 7), (0, 3)] {
            levels.take(MetricIx(0), vec![], "join/a", partition, value);
        }
        let level = levels.0.values_mut().next().expect("one series");
        assert_eq!((level.merged(Merge::Sum), level.merged(Merge::Max)), (10, 7));
    }

    #[test]
    fn it_is_shown_when_it_changed_and_once_a_minute_at_times_that_rise() {
        let mut one = level(&[("join/a", 0, 5)]);
        assert_eq!(points(&mut one, Merge::Max, &[10, 10, 20]), [Some(5), None, None]);
        one.by_task.insert(("join/a".to_owned(), 0), 6);
        assert_eq!(
            points(&mut one, Merge::Max, &[10, 21, 21 + 60_000]),
            [None, Some(6), Some(6)]
        );
    }

    #[test]
    fn it_comes_back_without_what_an_older_join_said_and_later_than_it_was_shown() {
        let mut old = level(&[("join/a", 0, 5), ("join/b", 0, 2)]);
        assert_eq!(points(&mut old, Merge::Sum, &[10]), [Some(7)]);
        let mut levels = Levels::default();
        levels
            .restore(MetricIx(0), b"", &old.write(), &["join/b".to_owned()])
            .expect("we wrote it");
        let back = levels.0.values_mut().next().expect("one series");
        assert_eq!(points(back, Merge::Sum, &[10, 11]), [None, Some(2)]);
        let refused = levels.restore(MetricIx(0), b"", &[8, 9], &[]);
        assert_eq!(refused, Err(CodecError::Format(9)));
    }
}
