//! Points of one task on their way into requests.
//!
//! Rule: a point is frozen as soon as it is known, so that what a survey holds beside its requests does not grow with the
//! number of rows. In a request metrics follow each other in the order of [`Metric::ALL`], each named once.

use super::groups;
use super::metrics::Metric;
use super::shown::{Shown, States, VALUES};
use super::stage::LagOptions;
use super::status::Status;
use super::table::{Gone, What};
use crate::engine::alert::Sampler;
use crate::engine::gauge::{Attributes, Data, Freezer, Named, Point};
use crate::engine::series::SeriesKey;
use crate::engine::sketch::Partial;
use crate::engine::time::WallTime;

/// See the module.
pub struct Points<'a> {
    pub freezer: Freezer<'a>,
    named: [Named; Metric::ALL.len()],
    time: WallTime,
    /// Of the series at hand.
    attributes: Attributes,
}

// === impl Points ===

impl<'a> Points<'a> {
    /// All points get this `time`, but those of counters, which have their own.
    pub fn new(options: &'a LagOptions, partition: u32, time: WallTime, sampler: Option<&'a mut Sampler>) -> Self {
        // What is polled is older than what brokers write down, and says so.
        let mark = options.lag.polls().then_some(("streamgauge.lag.from", "admin"));
        let mut freezer = Freezer::new(&options.application, partition).marked(mark).told(sampler);
        let named = Metric::ALL.map(|metric| freezer.metric(metric.definition(&options.pipeline), metric.shape()));
        Self {
            freezer,
            named,
            time,
            attributes: Attributes::default(),
        }
    }

    /// What follows is of another time.
    pub fn at(&mut self, time: WallTime) {
        self.time = time;
    }

    /// Points of a counter or a histogram.
    pub fn add(&mut self, metric: Metric, key: &[u8], points: &[Point]) {
        self.freezer.add(self.named[metric as usize], key, points);
    }

    /// The values of a row, of metrics with the same labels; those that are not known any more end.
    pub fn values(&mut self, of: &[Metric], labels: &[&str], values: &[Option<i64>], shown: &mut Shown) {
        let Some(first) = of.first() else { return };
        self.label(*first, labels.iter().copied());
        for (at, (metric, value)) in of.iter().zip(values).enumerate() {
            let bit = 1 << at;
            if value.is_none() && shown.alive & bit == 0 {
                continue;
            }
            self.gauge(*metric, *value);
            self.told(*metric, labels.iter().copied(), *value);
            if value.is_some() {
                shown.alive |= bit;
            } else {
                shown.alive &= !bit;
            }
        }
    }

    /// One for the state that it is in, zero for those that it has been in; where that is not known all of them end.
    pub fn states(&mut self, metric: Metric, labels: &[&str], state: Option<usize>, states: &mut States) {
        if let Some(state) = state {
            states.enter(state);
        }
        for each in states.iter() {
            let name = match metric {
                Metric::State => groups::State::ALL.get(each).map(|state| state.name()),
                _ => Status::ALL.get(each).map(|status| status.name()),
            };
            let Some(name) = name else { continue };
            self.label(metric, labels.iter().copied().chain([name]));
            let value = state.map(|state| i64::from(state == each));
            self.gauge(metric, value);
            self.told(metric, labels.iter().copied().chain([name]), value);
        }
        if state.is_none() {
            *states = States::default();
        }
    }

    /// The last points of what is gone.
    pub fn end(&mut self, what: &What, gone: &mut Gone) {
        match what {
            What::Partition(group, topic, partition) => {
                let partition = partition.to_string();
                let labels = [&**topic, &*partition, &**group];
                self.values(&Metric::OF_ROW, &labels, &[None; VALUES], &mut gone.shown);
                self.states(Metric::Status, &labels, None, &mut gone.states);
            }
            What::Topic(group, topic) => {
                let Some(consumed) = &gone.consumed else { return };
                if let Some(end) = consumed.records.end(self.time) {
                    self.add(Metric::Consumed, &consumed_key(group, topic), &[end]);
                }
                let Some(tapped) = &consumed.tapped else { return };
                let key = || SeriesKey::of([&**topic, &**group]).0;
                if let Some(end) = tapped.bytes.end(self.time) {
                    self.add(Metric::Bytes, &key(), &[end]);
                }
                if let Some(end) = tapped.latency.end(self.time) {
                    self.add(Metric::Latency, &key(), &[end]);
                }
            }
            What::Group(group) => {
                let labels = [&**group];
                self.values(&[Metric::Members], &labels, &[None], &mut gone.shown);
                self.states(Metric::State, &labels, None, &mut gone.states);
            }
        }
    }

    /// The series at hand has these labels.
    fn label<'l>(&mut self, metric: Metric, values: impl Iterator<Item = &'l str>) {
        self.attributes.clear(Data::Gauge);
        for (label, value) in metric.labels().iter().zip(values) {
            self.attributes.text(label, value);
        }
    }

    /// Tells rules of a point, where they look at such.
    fn told<'l>(&mut self, metric: Metric, labels: impl Iterator<Item = &'l str>, value: Option<i64>) {
        let time = self.time.as_event();
        let Some(sampler) = self.freezer.sampler().filter(|sampler| sampler.reads(metric.name())) else {
            return;
        };
        let key = SeriesKey::of(labels).0;
        let names = metric.labels().iter().copied();
        sampler.take(metric.name(), names, &key, time, partial(metric, value).as_ref());
    }

    /// A point of the series at hand.
    fn gauge(&mut self, metric: Metric, value: Option<i64>) {
        let value = partial(metric, value);
        let point = Point {
            start: self.time.as_event(),
            time: self.time.as_event(),
            value,
        };
        self.freezer
            .point(self.named[metric as usize], &self.attributes, &point);
    }
}

fn partial(metric: Metric, value: Option<i64>) -> Option<Partial> {
    value.map(|value| match metric {
        Metric::Seconds => Partial::Sum(value.into()),
        _ => Partial::Count(u64::try_from(value).unwrap_or(0)),
    })
}

pub fn consumed_key(group: &str, topic: &str) -> Vec<u8> {
    SeriesKey::of([topic, group, "success"]).0
}
