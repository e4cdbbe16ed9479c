//! The right answers, from the bytes in the log and the documents of the language, without any of our code.
//!
//! Rule: each record has one outcome of the ledger; a counted one adds to the metrics of `pipelines/support.yaml` by the
//! rules of the monitoring guide, alone or with others ([`super::joins`]). JSON is read by serde_json, times by jiff.
//!
//! Edges: serde_json refuses numbers beyond a double and jiff takes a few more spellings of time than we do, so records
//! that differ only in these are for tests that know the answer.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::Value as Json;

use super::joins::{self, Answers, Joins};
use super::kafka::Stored;
use super::points::{Attributes, Points, Value};
use super::quantiles;

pub const RAW: &str = "ingestion.raw.messages";
const IDENTITIES: &str = "processing.customer.identities";
pub const TICKETS: &str = "processing.tickets.in";

const MAX_RECORD_BYTES: usize = 1 << 20;
const MAX_LABEL_BYTES: usize = 1024;
const MAX_AHEAD_MICROS: i64 = 300 * 1_000_000;
const LATENCY_BOUNDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

pub const MESSAGES: &str = "channel_messages_received_total";
pub const RESOLUTIONS: &str = "customer_identity_resolutions_total";
pub const CREATED: &str = "tickets_created_total";
pub const PRODUCED: &str = "kafka_producer_messages_total";
pub const BYTES: &str = "kafka_producer_bytes_total";
pub const LATENCY: &str = "kafka_producer_latency_seconds";
pub const RECORDS: &str = "streamgauge_records_total";
pub const LATE: &str = "streamgauge_late_records_total";

/// Counters that need one record to know.
const PLAIN: [&str; 4] = [MESSAGES, RESOLUTIONS, PRODUCED, BYTES];
/// Counters that need two, and what is counted about joins.
pub const JOINED: [&str; 8] = [
    CREATED,
    joins::UNANSWERED,
    joins::SECOND,
    joins::UNMATCHED,
    joins::NEGATIVE,
    joins::DUPLICATE,
    joins::JOURNEYS,
    joins::UNKEYED,
];
/// Every counter of the pipeline.
pub const COUNTERS: [&str; 10] = [
    MESSAGES,
    RESOLUTIONS,
    PRODUCED,
    BYTES,
    CREATED,
    joins::UNANSWERED,
    joins::SECOND,
    joins::UNMATCHED,
    joins::NEGATIVE,
    joins::DUPLICATE,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Counted,
    Future,
    Malformed,
    Oversize,
}

/// What all records that lie in the topics add up to.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    pub counts: BTreeMap<(&'static str, Attributes), i64>,
    pub latencies: BTreeMap<Attributes, Latency>,
    /// By topic, partition and outcome.
    pub ledger: BTreeMap<Attributes, i64>,
    pub records: i64,
    /// What records that need each other come to.
    pub joined: Answers,
    joins: Joins,
}

#[derive(Clone, Debug, Default)]
pub struct Latency {
    pub count: u64,
    pub sum_micros: i128,
    pub buckets: [u64; LATENCY_BOUNDS.len() + 1],
}

// === impl Outcome ===

impl Outcome {
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Counted => "counted",
            Outcome::Future => "future",
            Outcome::Malformed => "malformed",
            Outcome::Oversize => "oversize",
        }
    }
}

// === impl Expected ===

impl Expected {
    pub fn of(records: &[Stored]) -> Self {
        let mut expected = Self::default();
        for record in records {
            expected.add(record);
        }
        expected.joined = expected.joins.decide();
        let joined = expected.joined.counts.clone();
        expected.counts.extend(joined);
        expected
    }

    fn add(&mut self, record: &Stored) {
        let outcome = match self.judge(record) {
            Ok(()) => Outcome::Counted,
            Err(outcome) => outcome,
        };
        let partition = record.partition.to_string();
        let key = labels(&[
            ("topic", &record.topic),
            ("partition", &partition),
            ("outcome", outcome.name()),
        ]);
        *self.ledger.entry(key).or_default() += 1;
        self.records += 1;
    }

    fn judge(&mut self, record: &Stored) -> Result<(), Outcome> {
        let value = record.value.as_deref().ok_or(Outcome::Malformed)?;
        if value.len() > MAX_RECORD_BYTES {
            return Err(Outcome::Oversize);
        }
        let json: Json = serde_json::from_slice(value).map_err(|_| Outcome::Malformed)?;
        let time = event_time(&json["timestamp"]).ok_or(Outcome::Malformed)?;
        if time > record.timestamp * 1_000 + MAX_AHEAD_MICROS {
            return Err(Outcome::Future);
        }
        let data = &json["data"];
        let topic = record.topic.as_str();
        let producer = label(&json["producer_id"], Some("unknown"))?;
        let mut counts = vec![
            (
                PRODUCED,
                labels(&[("topic", topic), ("producer_id", &producer), ("status", "success")]),
                1,
            ),
            (
                BYTES,
                labels(&[("topic", topic), ("producer_id", &producer)]),
                value.len() as i64,
            ),
        ];
        match topic {
            RAW => counts.push((
                MESSAGES,
                labels(&[("channel_type", &label(&data["channel"], None)?)]),
                1,
            )),
            IDENTITIES => {
                let success = full(&data["customer_id"]).is_some().to_string();
                let resolution = resolution(data);
                counts.push((
                    RESOLUTIONS,
                    labels(&[("resolution_type", &resolution), ("success", &success)]),
                    1,
                ));
            }
            _ => {}
        }
        self.joins.take(record, &json, time)?;
        for (name, labels, count) in counts {
            *self.counts.entry((name, labels)).or_default() += count;
        }
        if record.appended {
            let latency = self
                .latencies
                .entry(labels(&[("topic", topic), ("producer_id", &producer)]))
                .or_default();
            latency.add((record.timestamp * 1_000 - time).max(0));
        }
        Ok(())
    }

    /// What a receiver should have of one counter in the end.
    pub fn of_counter(&self, name: &str) -> BTreeMap<Attributes, i64> {
        let of_name = self.counts.iter().filter(|((of, _), _)| *of == name);
        of_name
            .map(|((_, attributes), count)| (attributes.clone(), *count))
            .collect()
    }

    /// Records by outcome.
    pub fn outcomes(&self) -> BTreeMap<&str, i64> {
        let mut outcomes = BTreeMap::new();
        for (key, count) in &self.ledger {
            *outcomes.entry(key["outcome"].as_str()).or_default() += count;
        }
        outcomes
    }

    pub fn total(&self, name: &str) -> i64 {
        self.of_counter(name).values().sum()
    }

    /// Everything in which the points differ from what they should end at. Empty is right.
    pub fn differences(&self, points: &Points) -> Vec<String> {
        let mut differences = self.plain_differences(points);
        for name in JOINED {
            differ(name, &self.of_counter(name), &points.counts(name), &mut differences);
        }
        differences.extend(self.time_differences(points));
        for name in [joins::OPEN, joins::OLDEST, joins::LATE] {
            let of_name = points.last(name).into_values();
            let more = of_name.map(|value| value.number()).filter(|number| *number != 0.0);
            differences.extend(
                more.map(|number| format!("{name} is {number}, though everything is decided and nothing came late")),
            );
        }
        differences
    }

    /// The same of response times: their count and sum, and quantiles within what the page on pipelines promises.
    fn time_differences(&self, points: &Points) -> Vec<String> {
        let times = points.last(joins::TIME);
        let keys: BTreeSet<&Attributes> = self.joined.times.keys().chain(times.keys()).collect();
        let difference = |key: &&Attributes| match (self.joined.times.get(*key), times.get(*key)) {
            (Some(exact), Some(value)) => quantiles::misread(exact, value),
            (exact, value) => Some(format!("expected {} values, got {value:?}", exact.map_or(0, Vec::len))),
        };
        let told = |key: &Attributes| Some(format!("{}{key:?}: {}", joins::TIME, difference(&key)?));
        keys.into_iter().filter_map(told).collect()
    }

    /// The same, of what needs one record to know.
    pub fn plain_differences(&self, points: &Points) -> Vec<String> {
        let mut differences = Vec::new();
        for name in PLAIN {
            differ(name, &self.of_counter(name), &points.counts(name), &mut differences);
        }
        // Outcomes that never happened may be told as zero.
        let ledger = points
            .counts(RECORDS)
            .into_iter()
            .filter(|(_, count)| *count != 0)
            .collect();
        differ(RECORDS, &self.ledger, &ledger, &mut differences);
        let latencies = points.last(LATENCY);
        let keys: BTreeSet<&Attributes> = self.latencies.keys().chain(latencies.keys()).collect();
        for key in keys {
            let is_right = match (self.latencies.get(key), latencies.get(key)) {
                (Some(expected), Some(value)) => expected.is(value),
                _ => false,
            };
            if !is_right {
                let (expected, got) = (self.latencies.get(key), latencies.get(key));
                differences.push(format!("{LATENCY}{key:?}: expected {expected:?}, got {got:?}"));
            }
        }
        differences
    }
}

fn differ(
    name: &str,
    expected: &BTreeMap<Attributes, i64>,
    got: &BTreeMap<Attributes, i64>,
    differences: &mut Vec<String>,
) {
    let keys: BTreeSet<&Attributes> = expected.keys().chain(got.keys()).collect();
    for key in keys {
        let (expected, got) = (
            expected.get(key).copied().unwrap_or(0),
            got.get(key).copied().unwrap_or(0),
        );
        if expected != got {
            differences.push(format!(
                "{name}{key:?}: expected {expected}, got {got} ({:+})",
                got - expected
            ));
        }
    }
}

// === impl Latency ===

impl Latency {
    fn add(&mut self, micros: i64) {
        self.count += 1;
        self.sum_micros += i128::from(micros);
        let bucket = LATENCY_BOUNDS
            .iter()
            .position(|bound| micros <= (bound * 1e6) as i64)
            .unwrap_or(LATENCY_BOUNDS.len());
        self.buckets[bucket] += 1;
    }

    fn is(&self, value: &Value) -> bool {
        let Value::Histogram {
            count,
            sum,
            bounds,
            buckets,
        } = value
        else {
            return false;
        };
        let exact = self.sum_micros as f64 / 1e6;
        *count == self.count
            && bounds == &LATENCY_BOUNDS
            && buckets == &self.buckets
            && (sum - exact).abs() <= exact.abs() * 1e-12 + 1e-9
    }
}

pub fn labels(pairs: &[(&str, &str)]) -> Attributes {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// A label out of a field: text, number or boolean.
pub fn label(field: &Json, otherwise: Option<&str>) -> Result<String, Outcome> {
    let text = match field {
        Json::String(text) => text.clone(),
        Json::Bool(_) | Json::Number(_) => field.to_string(),
        Json::Null => otherwise.ok_or(Outcome::Malformed)?.to_owned(),
        Json::Array(_) | Json::Object(_) => return Err(Outcome::Malformed),
    };
    if text.len() > MAX_LABEL_BYTES {
        Err(Outcome::Malformed)
    } else {
        Ok(text)
    }
}

/// What a customer was resolved with: what the service says, else the first of email and phone that is there.
fn resolution(data: &Json) -> String {
    let identity = &data["identity_data"];
    let said = full(&data["resolution_type"]);
    let found = || {
        full(&identity["email"])
            .map(|_| "email")
            .or_else(|| full(&identity["phone"]).map(|_| "phone"))
    };
    said.or_else(found).unwrap_or("none").to_owned()
}

/// A text that is not empty.
fn full(field: &Json) -> Option<&str> {
    field.as_str().filter(|text| !text.is_empty())
}

/// Microseconds since the epoch.
fn event_time(field: &Json) -> Option<i64> {
    match field {
        Json::String(text) if text.len() >= "2026-11-22T14:00:00".len() => {
            let with_zone = text.parse::<Timestamp>().ok();
            let in_utc = || {
                text.parse::<DateTime>()
                    .ok()?
                    .to_zoned(TimeZone::UTC)
                    .ok()
                    .map(|zoned| zoned.timestamp())
            };
            Some(with_zone.or_else(in_utc)?.as_microsecond())
        }
        Json::Number(number) => {
            // As it is spelled, since a double of seconds may be a microsecond off.
            let text = number.to_string();
            let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
            let fraction: i64 = format!("{fraction:0<6.6}").parse().ok()?;
            match whole.parse::<i64>().ok()? {
                ..0 => None,
                seconds @ ..100_000_000_000 => Some(seconds * 1_000_000 + fraction),
                millis @ ..100_000_000_000_000 => Some(millis * 1_000 + fraction / 1_000),
                micros @ ..100_000_000_000_000_000 => Some(micros),
                nanos => Some(nanos / 1_000),
            }
        }
        _ => None,
    }
}
