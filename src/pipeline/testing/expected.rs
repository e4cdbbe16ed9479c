//! What a case expects.
//!
//! Rule: an expectation that the pipelines cannot meet, whatever they are given, is a fault of the file: a metric or label
//! that they do not have, the value of a histogram, the count of a counter.

use std::collections::BTreeMap;

use super::spans::ExpectedSpan;
use super::{Reader, Spot, number, time};
use crate::engine::plan::{Kind, Metric};
use crate::engine::time::EventTime;
use crate::pipeline::fault::Place;
use crate::pipeline::keys;
use crate::pipeline::leaf;
use crate::pipeline::node::{Entry, Node};

#[derive(Debug)]
pub struct Expect {
    /// Of the key.
    pub place: Place,
    pub metrics: Vec<Expected<Vec<ExpectedPoint>>>,
    /// Records by outcome.
    pub outcomes: Option<Expected<BTreeMap<String, u64>>>,
    pub dead: Option<Expected<Vec<ExpectedDead>>>,
    /// Late records by metric.
    pub late: Option<Expected<BTreeMap<String, u64>>>,
    pub spans: Option<Expected<Vec<ExpectedSpan>>>,
}

/// What stands at one key.
#[derive(Debug)]
pub struct Expected<T> {
    /// The key: a metric's name, for one.
    pub name: String,
    pub place: Place,
    /// Where something else would go.
    pub spot: Spot,
    pub what: T,
}

#[derive(Debug)]
pub struct ExpectedPoint {
    pub labels: BTreeMap<String, String>,
    /// Of the point; the last one without it.
    pub time: Option<EventTime>,
    pub shown: Shown,
}

/// What a point shows, as far as it is named.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shown {
    pub value: Option<f64>,
    pub count: Option<u64>,
    pub sum: Option<f64>,
    /// Upper bounds, ascending, and counts of the buckets that are not empty.
    pub buckets: Option<Vec<(f64, u64)>>,
}

#[derive(Clone, Debug)]
pub struct ExpectedDead {
    pub outcome: String,
    /// Part of the reason.
    pub reason: Option<String>,
    pub topic: Option<String>,
    pub times: u32,
}

// === impl Reader ===

impl Reader<'_> {
    pub(super) fn expect(&mut self, entry: &Entry, start: EventTime, flow: bool) -> Expect {
        let node = &entry.node;
        let flow = flow || node.is_flow();
        let metrics = node.get("metrics");
        let in_metrics = flow || metrics.is_some_and(Node::is_flow);
        Expect {
            place: entry.key_place.clone(),
            metrics: metrics
                .map_or(&[][..], Node::entries)
                .iter()
                .filter_map(|metric| self.metric(metric, start, in_metrics))
                .collect(),
            outcomes: node
                .entry("outcomes")
                .map(|entry| expected(entry, flow, counts(&entry.node))),
            dead: node.entry("dead").map(|entry| {
                let letters = entry.node.items().iter().filter_map(dead).collect();
                expected(entry, flow, letters)
            }),
            late: node.entry("late").map(|entry| {
                for metric in entry.node.entries() {
                    self.known(metric);
                }
                expected(entry, flow, counts(&entry.node))
            }),
            spans: node
                .entry("spans")
                .map(|entry| expected(entry, flow, self.spans(entry, start))),
        }
    }

    fn known(&mut self, entry: &Entry) -> Option<Metric> {
        let found = self
            .plan
            .metrics
            .iter()
            .find(|metric| metric.name == entry.key)
            .cloned();
        if found.is_none() {
            let known = self.plan.metrics.iter().map(|metric| metric.name.as_str());
            self.unknown(&entry.key_place, "metric", &entry.key, known);
        }
        found
    }

    fn metric(&mut self, entry: &Entry, start: EventTime, flow: bool) -> Option<Expected<Vec<ExpectedPoint>>> {
        let metric = self.known(entry)?;
        let mut points: Vec<ExpectedPoint> = Vec::new();
        for node in entry.node.items() {
            let Some(point) = self.point(&metric, node, start) else {
                continue;
            };
            let same = |other: &ExpectedPoint| (&other.labels, other.time) == (&point.labels, point.time);
            if points.iter().any(same) {
                self.faults
                    .add(
                        &node.place,
                        format!("this series of {} stands here a second time", metric.name),
                    )
                    .help("keep one of the two, or give each point its `time`");
            }
            points.push(point);
        }
        Some(expected(entry, flow, points))
    }

    fn point(&mut self, metric: &Metric, node: &Node, start: EventTime) -> Option<ExpectedPoint> {
        let labels = node.get("labels").map_or(&[][..], Node::entries);
        for entry in labels.iter().filter(|entry| !metric.labels.contains(&entry.key)) {
            self.faults
                .add(
                    &entry.key_place,
                    format!("{} has no label `{}`", metric.name, entry.key),
                )
                .help(they_are(&metric.labels));
        }
        let missing = |label: &&String| !labels.iter().any(|entry| entry.key == **label);
        let missing: Vec<&str> = metric.labels.iter().filter(missing).map(String::as_str).collect();
        if !missing.is_empty() {
            let all = keys::one_of(&missing).replace(" or ", " and ");
            self.faults
                .add(
                    &node.place,
                    format!("this series of {} is not named without {all}", metric.name),
                )
                .help("name all labels of the series");
        }
        let histogram = matches!(metric.kind, Kind::Explicit { .. } | Kind::Exponential { .. });
        let of_histogram = ["count", "sum", "buckets"];
        let (wanted, others): (&[&str], &[&str]) = if histogram {
            (&of_histogram, &["value"])
        } else {
            (&["value"], &of_histogram)
        };
        let kind = if histogram { "a histogram" } else { "no histogram" };
        if let Some(other) = others.iter().find_map(|key| node.entry(key)) {
            self.faults
                .add(
                    &other.key_place,
                    format!("{} is {kind}: it has no `{}`", metric.name, other.key),
                )
                .help(format!("write {}", keys::one_of(wanted)));
        } else if !wanted.iter().any(|key| node.get(key).is_some()) {
            self.faults
                .add(
                    &node.place,
                    format!("nothing is expected of this series of {}", metric.name),
                )
                .help(format!("write {}", keys::one_of(wanted)));
        }
        Some(ExpectedPoint {
            labels: labels
                .iter()
                .filter_map(|entry| Some((entry.key.clone(), entry.node.text()?.to_owned())))
                .collect(),
            time: node.get("time").and_then(|said| time(said, start)),
            shown: Shown {
                value: node.get("value").and_then(number),
                count: node.get("count").and_then(number),
                sum: node.get("sum").and_then(number),
                buckets: node.get("buckets").map(buckets),
            },
        })
    }
}

fn they_are(labels: &[String]) -> String {
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    match labels.as_slice() {
        [] => "it has no labels".to_owned(),
        labels => format!("it has {}", keys::one_of(labels).replace(" or ", " and ")),
    }
}

fn expected<T>(entry: &Entry, flow: bool, what: T) -> Expected<T> {
    Expected {
        name: entry.key.clone(),
        place: entry.key_place.clone(),
        spot: Spot::of(entry, flow),
        what,
    }
}

fn counts(node: &Node) -> BTreeMap<String, u64> {
    let count = |entry: &Entry| Some((entry.key.clone(), number(&entry.node)?));
    node.entries().iter().filter_map(count).collect()
}

fn buckets(node: &Node) -> Vec<(f64, u64)> {
    let bucket = |entry: &Entry| Some((leaf::bucket(&entry.key)?, number(&entry.node)?));
    let mut buckets: Vec<(f64, u64)> = node.entries().iter().filter_map(bucket).collect();
    buckets.retain(|(_, count)| *count > 0);
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    buckets
}

fn dead(node: &Node) -> Option<ExpectedDead> {
    let text = |key| node.get(key).and_then(Node::text).map(str::to_owned);
    Some(ExpectedDead {
        outcome: text("outcome")?,
        reason: text("reason"),
        topic: text("topic"),
        times: node.get("times").and_then(number).unwrap_or(1),
    })
}
