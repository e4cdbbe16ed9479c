//! What a task shows after a survey, and what that leaves in the changelog.
//!
//! Rule: all points of one survey have one time, that at which the logs were asked; it rises from survey to survey, also
//! where another process with another clock goes on.
//!
//! Edges:
//! - where a partition's leader was silent nothing is said of it, and what was said stays; so with a group that did not
//!   answer the last poll;
//! - what is not known is absent; if it was known before, its series is ended.

use std::sync::Arc;

use super::changelog::{self, Key};
use super::ends::Sample;
use super::groups::Group;
use super::index::{Answer, PartitionIndex};
use super::lags::{self, lags};
use super::logs::{Logs, PartitionLog};
use super::metrics::Metric;
use super::points::{Points, consumed_key};
use super::shown::VALUES;
use super::stage::LagTask;
use super::status::status;
use super::table::{Position, What};
use crate::engine::gauge::{self, Counter, Freezer, Shape};
use crate::engine::series::SeriesKey;
use crate::engine::tap::ledger::Outcome;
use crate::engine::task::TopicId;
use crate::engine::time::{Span, WallTime};

/// What the changelog gets.
type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// The log that a commit is compared with.
struct Compared<'l> {
    topic_id: Option<TopicId>,
    log: &'l PartitionLog,
    index: Option<&'l PartitionIndex>,
    sample: Sample,
}

/// What is known of one row.
struct Known {
    values: [Option<i64>; VALUES],
    status: Option<usize>,
}

impl LagTask {
    /// Points of rows only where what is known of them is fresh.
    pub(super) fn show(&mut self, logs: &Logs, is_fresh: bool) {
        let time = self.point_time(logs.at());
        let options = Arc::clone(&self.options);
        let mut sampler = self.sampler.take();
        let mut points = Points::new(&options, self.partition, time, sampler.as_mut());
        if is_fresh {
            self.show_rows(logs, time, &mut points);
            self.show_groups(time, &mut points);
        }
        self.show_consumed(logs, time, &mut points);
        self.show_own(logs.at(), time, &mut points.freezer);
        self.outbox = points.freezer.finish();
        self.sampler = sampler;
        self.last_point = time;
    }

    fn show_rows(&mut self, logs: &Logs, time: WallTime, points: &mut Points<'_>) {
        let (round, rules) = (self.round, self.options.lag.status);
        for (group, of_group) in &mut self.table.groups {
            if self.groups.get(group).is_some_and(Group::is_silent) {
                continue;
            }
            for (topic, of_topic) in &mut of_group.topics {
                let of_logs = logs.topic(topic);
                let topic_id = of_logs.and_then(|logs| logs.id);
                let indexes = logs.indexes(topic);
                for (partition, row) in &mut of_topic.partitions {
                    let log = of_logs.and_then(|logs| logs.partition(*partition));
                    let (Some(position), true) = (row.at_survey(round), log.is_none_or(|log| log.is_fresh)) else {
                        continue;
                    };
                    let mut known = Known::nothing(position);
                    if let Some((log, sample)) = log.and_then(|log| Some((log, log.samples.latest()?))) {
                        let index = indexes.and_then(|indexes| indexes.get(partition));
                        let with = Compared {
                            topic_id,
                            log,
                            index,
                            sample,
                        };
                        let records = known.compare(position, &with, logs.at());
                        row.compared(position, sample.high_watermark, records);
                        if known.values[0].is_some() {
                            let ends = log.samples.ends(position.offset, records, logs.at());
                            known.status = ends.map(|ends| status(&row.commits, rules, logs.at(), ends) as usize);
                        }
                    }
                    let before = (row.shown.alive, row.states);
                    if row.shown.is_due(&known.values, known.status, time) {
                        let partition = partition.to_string();
                        let labels = [&**topic, &*partition, &**group];
                        points.values(&Metric::OF_ROW, &labels, &known.values, &mut row.shown);
                        points.states(Metric::Status, &labels, known.status, &mut row.states);
                    }
                    row.is_dirty |= before != (row.shown.alive, row.states);
                }
            }
        }
    }

    /// What commits went over, as far as that is known by now.
    fn show_consumed(&mut self, logs: &Logs, time: WallTime, points: &mut Points<'_>) {
        let kind = &self.latency;
        let mut shown = Vec::new();
        for (group, row) in &mut self.table.groups {
            for (topic, row) in &mut row.topics {
                let is_tapped = self.options.tapped.contains(&**topic);
                let indexes = logs.indexes(topic);
                for (partition, of_partition) in &mut row.partitions {
                    let Some(mut waiting) = of_partition.waiting.take() else {
                        continue;
                    };
                    let index = indexes.and_then(|indexes| indexes.get(partition));
                    let is_told = if is_tapped {
                        row.consumed.resolve(&mut waiting, index, kind, self.now)
                    } else {
                        // Nobody taps it any more: nothing will be told.
                        let offsets = waiting.0.drain(..).map(|covered| covered.to - covered.from);
                        row.consumed.count(offsets.sum(), self.now);
                        true
                    };
                    row.is_dirty |= is_told;
                    of_partition.is_dirty |= is_told;
                    if !waiting.0.is_empty() {
                        of_partition.waiting = Some(waiting);
                    }
                }
                shown.clear();
                if row.consumed.records.show(time, &mut shown) {
                    row.is_dirty = true;
                    points.add(Metric::Consumed, &consumed_key(group, topic), &shown);
                }
                let Some(tapped) = &mut row.consumed.tapped else {
                    continue;
                };
                let key = || SeriesKey::of([&**topic, &**group]).0;
                shown.clear();
                if tapped.bytes.show(time, &mut shown) {
                    row.is_dirty = true;
                    points.add(Metric::Bytes, &key(), &shown);
                }
                shown.clear();
                if tapped.latency.show(time, kind, &mut shown) {
                    row.is_dirty = true;
                    points.add(Metric::Latency, &key(), &shown);
                }
            }
        }
    }

    fn show_groups(&mut self, time: WallTime, points: &mut Points<'_>) {
        for (name, row) in &mut self.table.groups {
            let group = self.groups.get(name);
            if group.is_some_and(Group::is_silent) {
                continue;
            }
            let members = group.and_then(Group::members).map(i64::from);
            let state = group.and_then(Group::state).map(|state| state as usize);
            let mut values = [None; VALUES];
            values[0] = members;
            let before = (row.shown.alive, row.states);
            if row.shown.is_due(&values, state, time) {
                let labels = [&**name];
                points.values(&[Metric::Members], &labels, &values[..1], &mut row.shown);
                points.states(Metric::State, &labels, state, &mut row.states);
            }
            row.is_dirty |= before != (row.shown.alive, row.states);
        }
    }

    /// What the task counts of itself.
    fn show_own(&mut self, at: WallTime, time: WallTime, freezer: &mut Freezer<'_>) {
        let (partition, start) = (self.partition.to_string(), self.opened.unwrap_or(at));
        let whole = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        let mut values = Vec::new();
        for outcome in Outcome::ALL {
            let key = SeriesKey::of([self.topic.as_str(), &partition, outcome.name()]);
            values.push((gauge::BUILT_IN_RECORDS, key, whole(self.ledger.count(outcome))));
        }
        let of_lag = || SeriesKey::of([Metric::Lag.name(), &*partition]);
        values.push((gauge::BUILT_IN_SERIES, of_lag(), i64::from(self.table.len())));
        values.push((gauge::BUILT_IN_OVERFLOW, of_lag(), whole(self.overflowed())));
        let of_partition = || SeriesKey::of([&*partition]);
        values.push((gauge::BUILT_IN_UNKNOWN, of_partition(), whole(self.unknown)));
        let stalled = self.fresh.stalled(at).as_micros() / 1_000_000;
        values.push((gauge::BUILT_IN_STALLED, of_partition(), stalled));
        for (name, SeriesKey(key), value) in values {
            let Some((definition, shape)) = gauge::built_in(name) else {
                continue;
            };
            let counter = self
                .own
                .entry((name, key.clone()))
                .or_insert_with(|| Counter::new(0, start));
            match shape {
                Shape::Cumulative => counter.set(value, at),
                Shape::Gauge => counter.value = value,
            }
            let mut points = Vec::new();
            if counter.show(time, &mut points) {
                if shape == Shape::Gauge {
                    points.drain(..points.len() - 1);
                }
                counter.unsaved = true;
                let named = freezer.metric(definition, shape);
                freezer.add(named, &key, &points);
            }
        }
    }

    /// Ends the series of what is gone.
    pub(super) fn end_series(&mut self, changelog: &mut Changes) -> Vec<Vec<u8>> {
        if self.table.ended.is_empty() {
            return Vec::new();
        }
        let time = self.point_time(self.now);
        let options = Arc::clone(&self.options);
        let mut sampler = self.sampler.take();
        let mut points = Points::new(&options, self.partition, time, sampler.as_mut());
        for (what, mut gone) in std::mem::take(&mut self.table.ended) {
            points.end(&what, &mut gone);
            let key = match &what {
                What::Partition(group, topic, partition) => Key::Row(group, topic, *partition).write(),
                What::Topic(group, topic) => Key::Consumed(group, topic).write(),
                What::Group(group) => Key::Group(group).write(),
            };
            changelog.push((key, None));
        }
        let ends = points.freezer.finish();
        self.sampler = sampler;
        if !ends.is_empty() {
            self.last_point = time;
        }
        ends
    }

    /// Everything that the changelog does not have yet.
    pub(super) fn save(&mut self, changelog: &mut Changes) {
        for (group, of_group) in &mut self.table.groups {
            if std::mem::take(&mut of_group.is_dirty) {
                let value = changelog::write_group(of_group.shown, of_group.states);
                changelog.push((Key::Group(group).write(), Some(value)));
            }
            for (topic, of_topic) in &mut of_group.topics {
                if std::mem::take(&mut of_topic.is_dirty) {
                    of_topic.is_kept = true;
                    let value = changelog::write_consumed(&of_topic.consumed);
                    changelog.push((Key::Consumed(group, topic).write(), Some(value)));
                }
                for (partition, row) in &mut of_topic.partitions {
                    if std::mem::take(&mut row.is_dirty) {
                        row.is_kept = true;
                        let key = Key::Row(group, topic, *partition).write();
                        changelog.push((key, Some(changelog::write_row(row))));
                    }
                }
            }
        }
        for ((metric, key), counter) in &mut self.own {
            if std::mem::take(&mut counter.unsaved) {
                changelog.push((Key::Own(metric, key).write(), Some(gauge::write_counter(counter))));
            }
        }
    }
}

// === impl Known ===

impl Known {
    fn nothing(position: Position) -> Self {
        let mut values = [None; VALUES];
        values[4] = Some(position.offset).filter(|offset| *offset >= 0);
        Self { values, status: None }
    }

    /// Returns the data records that are left, where they are known.
    fn compare(&mut self, position: Position, with: &Compared<'_>, now: WallTime) -> Option<i64> {
        let Compared { log, index, sample, .. } = with;
        let (counted, start, end) = log.uncounted(position.offset, *index)?;
        let tail = log.tail(start, end);
        let read = if start >= end {
            Some(0)
        } else {
            tail.map(|tail| tail.records)
        };
        let committed = lags::Position {
            offset: position.offset,
            topic_id: Some(position.topic_id),
        };
        let records = read.map(|records| records.saturating_add(counted));
        let lags = lags(Some(committed), sample, with.topic_id, records)?;
        let by_samples = log.samples.lag_time(position.offset, lags.records, now);
        let since = |time: WallTime| now.since(time).max(Span::micros(1));
        let by_index = || match index.map(|index| index.append_time(sample.reads_on_at(position.offset))) {
            Some(Answer::Known(at)) => Some(since(at.time)),
            Some(Answer::Below | Answer::Beyond) | None => None,
        };
        let by_record = || Some(since(tail?.first?));
        self.values[0] = Some(lags.high);
        self.values[1] = lags.stable;
        self.values[2] = lags.records;
        // Samples know for sure that nothing is left; how old something is the index and the record itself know better.
        let lag_time = match by_samples {
            Some(Span::ZERO) => by_samples,
            _ => by_index().or(by_samples).or_else(by_record),
        };
        self.values[3] = lag_time.map(|span| span.as_micros());
        lags.records
    }
}
