//! Points of one survey, and what they leave in the changelog.
//!
//! Rule: all points of one survey have one time, that at which the logs were asked; it rises from survey to survey, also
//! where another process with another clock goes on. Metrics follow each other, so that a request says each name once.
//!
//! Edges:
//! - where a partition's leader was silent nothing is said of it, and what was said stays; so with a group that did not
//!   answer the last poll;
//! - what is not known is absent; if it was known before, its series is ended.

use std::collections::BTreeMap;

use super::changelog::{self, Key};
use super::ends::Sample;
use super::groups::{self, Group};
use super::index::{Answer, PartitionIndex};
use super::lags::{self, lags};
use super::logs::{Logs, PartitionLog};
use super::metrics::Metric;
use super::shown::{Shown, States, VALUES};
use super::stage::LagTask;
use super::status::{Status, status};
use super::table::{Gone, Position, What};
use crate::engine::gauge::{self, Counter, Freezer, Point, Shape};
use crate::engine::series::SeriesKey;
use crate::engine::sketch::Partial;
use crate::engine::tap::ledger::Outcome;
use crate::engine::task::TopicId;
use crate::engine::time::{Span, WallTime};

/// What the changelog gets.
type Changes = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// The points of one series, by its key.
type Series = (Vec<u8>, Vec<Point>);

/// Points by metric.
#[derive(Default)]
struct Points(BTreeMap<Metric, Vec<Series>>);

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
        let mut points = Points::default();
        if is_fresh {
            self.show_rows(logs, time, &mut points);
            self.show_groups(time, &mut points);
        }
        self.show_consumed(logs, time, &mut points);
        let application = self.options.application.clone();
        let mut freezer = Freezer::new(&application, self.partition).marked(self.mark());
        points.freeze(&self.options.pipeline, &mut freezer);
        self.show_own(logs.at(), time, &mut freezer);
        self.outbox = freezer.finish();
        self.last_point = time;
    }

    /// What is polled is older than what brokers write down, and says so.
    fn mark(&self) -> Option<(&'static str, &'static str)> {
        self.is_polled().then_some(("streamgauge.lag.from", "admin"))
    }

    fn show_rows(&mut self, logs: &Logs, time: WallTime, points: &mut Points) {
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
                        points.values(&Metric::OF_ROW, &labels, &known.values, &mut row.shown, time);
                        points.states(Metric::Status, &labels, known.status, &mut row.states, time, |state| {
                            Status::ALL[state].name()
                        });
                    }
                    row.is_dirty |= before != (row.shown.alive, row.states);
                }
            }
        }
    }

    /// What commits went over, as far as that is known by now.
    fn show_consumed(&mut self, logs: &Logs, time: WallTime, points: &mut Points) {
        let kind = &self.latency;
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
                let mut shown = Vec::new();
                if row.consumed.records.show(time, &mut shown) {
                    row.is_dirty = true;
                    points.add(Metric::Consumed, consumed_key(group, topic), shown);
                }
                let Some(tapped) = &mut row.consumed.tapped else {
                    continue;
                };
                let key = || SeriesKey::of([&**topic, &**group]).0;
                let (mut bytes, mut latency) = (Vec::new(), Vec::new());
                if tapped.bytes.show(time, &mut bytes) {
                    row.is_dirty = true;
                    points.add(Metric::Bytes, key(), bytes);
                }
                if tapped.latency.show(time, kind, &mut latency) {
                    row.is_dirty = true;
                    points.add(Metric::Latency, key(), latency);
                }
            }
        }
    }

    fn show_groups(&mut self, time: WallTime, points: &mut Points) {
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
                points.values(&[Metric::Members], &labels, &values[..1], &mut row.shown, time);
                points.states(Metric::State, &labels, state, &mut row.states, time, |state| {
                    groups::State::ALL[state].name()
                });
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
                freezer.add(&definition, shape, &key, &points);
            }
        }
    }

    /// Ends the series of what is gone.
    pub(super) fn end_series(&mut self, changelog: &mut Changes) -> Vec<Vec<u8>> {
        if self.table.ended.is_empty() {
            return Vec::new();
        }
        let time = self.point_time(self.now);
        let mut points = Points::default();
        for (what, mut gone) in std::mem::take(&mut self.table.ended) {
            points.end(&what, &mut gone, time);
            let key = match &what {
                What::Partition(group, topic, partition) => Key::Row(group, topic, *partition).write(),
                What::Topic(group, topic) => Key::Consumed(group, topic).write(),
                What::Group(group) => Key::Group(group).write(),
            };
            changelog.push((key, None));
        }
        if points.0.is_empty() {
            return Vec::new();
        }
        self.last_point = time;
        let mut freezer = Freezer::new(&self.options.application, self.partition).marked(self.mark());
        points.freeze(&self.options.pipeline, &mut freezer);
        freezer.finish()
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

fn consumed_key(group: &str, topic: &str) -> Vec<u8> {
    SeriesKey::of([topic, group, "success"]).0
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

// === impl Points ===

impl Points {
    fn add(&mut self, metric: Metric, key: Vec<u8>, points: Vec<Point>) {
        self.0.entry(metric).or_default().push((key, points));
    }

    /// The values of a row; those that are not known any more end.
    fn values(&mut self, of: &[Metric], labels: &[&str], values: &[Option<i64>], shown: &mut Shown, time: WallTime) {
        for (at, (metric, value)) in of.iter().zip(values).enumerate() {
            let bit = 1 << at;
            if value.is_none() && shown.alive & bit == 0 {
                continue;
            }
            let key = SeriesKey::of(labels.iter().copied()).0;
            self.add(*metric, key, vec![point(*metric, *value, time)]);
            if value.is_some() {
                shown.alive |= bit;
            } else {
                shown.alive &= !bit;
            }
        }
    }

    /// One for the state that it is in, zero for those that it has been in; where that is not known all of them end.
    fn states(
        &mut self,
        metric: Metric,
        labels: &[&str],
        state: Option<usize>,
        states: &mut States,
        time: WallTime,
        name: impl Fn(usize) -> &'static str,
    ) {
        if let Some(state) = state {
            states.enter(state);
        }
        for each in states.iter() {
            let key = SeriesKey::of(labels.iter().copied().chain([name(each)])).0;
            let value = state.map(|state| i64::from(state == each));
            self.add(metric, key, vec![point(metric, value, time)]);
        }
        if state.is_none() {
            *states = States::default();
        }
    }

    fn end(&mut self, what: &What, gone: &mut Gone, time: WallTime) {
        match what {
            What::Partition(group, topic, partition) => {
                let partition = partition.to_string();
                let labels = [&**topic, &*partition, &**group];
                self.values(&Metric::OF_ROW, &labels, &[None; VALUES], &mut gone.shown, time);
                self.states(Metric::Status, &labels, None, &mut gone.states, time, |state| {
                    Status::ALL[state].name()
                });
            }
            What::Topic(group, topic) => {
                let Some(consumed) = &gone.consumed else { return };
                if let Some(end) = consumed.records.end(time) {
                    self.add(Metric::Consumed, consumed_key(group, topic), vec![end]);
                }
                let Some(tapped) = &consumed.tapped else { return };
                let key = || SeriesKey::of([&**topic, &**group]).0;
                if let Some(end) = tapped.bytes.end(time) {
                    self.add(Metric::Bytes, key(), vec![end]);
                }
                if let Some(end) = tapped.latency.end(time) {
                    self.add(Metric::Latency, key(), vec![end]);
                }
            }
            What::Group(group) => {
                let labels = [&**group];
                self.values(&[Metric::Members], &labels, &[None], &mut gone.shown, time);
                self.states(Metric::State, &labels, None, &mut gone.states, time, |state| {
                    groups::State::ALL[state].name()
                });
            }
        }
    }

    fn freeze(self, pipeline: &str, freezer: &mut Freezer<'_>) {
        for (metric, series) in self.0 {
            let definition = metric.definition(pipeline);
            for (key, points) in series {
                freezer.add(&definition, metric.shape(), &key, &points);
            }
        }
    }
}

fn point(metric: Metric, value: Option<i64>, time: WallTime) -> Point {
    let value = value.map(|value| match metric {
        Metric::Seconds => Partial::Sum(value.into()),
        _ => Partial::Count(u64::try_from(value).unwrap_or(0)),
    });
    Point {
        start: time.as_event(),
        time: time.as_event(),
        value,
    }
}
