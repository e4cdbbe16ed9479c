//! What makes a metric the one it is, as one number.
//!
//! Rule: the hash is XXH3 over a JSON text of everything that gives the metric's points their meaning: pipeline, name,
//! kind and buckets, unit, window, value, labels and where they come from, and of each source topic, time and condition.
//! The number goes with every partial, so the text is part of the format of the internal topics.
//!
//! Edges:
//! - the order of keys, the layout of the file and of its expressions, the names of sources, `help` and `max_series` are
//!   no part of it;
//! - lateness settings are none either: they decide which point a record goes into, not what the point says;
//! - two sources with the same topic, time and condition still count twice.

use serde_json::{Value as Json, json};
use xxhash_rust::xxh3::xxh3_64;

use crate::engine::plan::{Kind, Merge, TimeFormat};
use crate::engine::series::DefinitionHash;
use crate::engine::time::Span;

use super::expression::layout;
use super::read::{Label, Measured, Source, Time};

/// One metric's meaning, resolved.
pub struct Definition<'a> {
    pub pipeline: &'a str,
    pub name: &'a str,
    pub kind: &'a Kind,
    pub unit: &'a str,
    pub window: Span,
    /// `None` counts records.
    pub value: Option<&'a Measured>,
    /// Sorted by name.
    pub labels: &'a [(&'a str, &'a Label)],
    /// For `"*"` the topics alone.
    pub sources: Vec<Json>,
    /// What of which join, for a metric that one fills.
    pub join: Option<Json>,
}

/// The part of a source in a definition; `"*"` takes no heed of conditions.
pub fn of_source(source: &Source, heed_condition: Condition) -> Json {
    let time = match &source.time.value {
        Time::Record => json!(["record"]),
        Time::Field { pointer, format } => json!(["field", pointer, format_name(*format)]),
    };
    let when = source
        .when
        .as_ref()
        .filter(|_| heed_condition == Condition::Counts)
        .map(|when| layout(&when.value.text));
    json!([source.topic.value, time, when])
}

/// Whether a source's condition matters to the metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    Counts,
    Ignored,
}

// === impl Definition ===

impl Definition<'_> {
    pub fn hash(&self) -> DefinitionHash {
        DefinitionHash(xxh3_64(self.text().as_bytes()))
    }

    /// Lists only, since the order of a JSON object's keys is nobody's promise.
    fn text(&self) -> String {
        let kind = match self.kind {
            Kind::Count => json!(["count"]),
            Kind::Sum => json!(["sum"]),
            Kind::Level(Merge::Sum) => json!(["level", "sum"]),
            Kind::Level(Merge::Max) => json!(["level", "max"]),
            Kind::Explicit { bounds } => json!(["explicit", bounds]),
            Kind::Exponential { max_buckets } => json!(["exponential", max_buckets]),
        };
        let value = match self.value {
            None => json!(["one"]),
            Some(Measured::Bytes) => json!(["bytes"]),
            Some(Measured::AppendLatency) => json!(["append_latency"]),
            Some(Measured::Field(pointer)) => json!(["field", pointer]),
        };
        let labels: Vec<Json> = self
            .labels
            .iter()
            .map(|(name, label)| json!([name, of_label(label)]))
            .collect();
        let mut sources: Vec<String> = self.sources.iter().map(Json::to_string).collect();
        sources.sort();
        let window = self.window.as_micros();
        let mut text = vec![
            json!(1),
            json!(self.pipeline),
            json!(self.name),
            kind,
            json!(self.unit),
            json!(window),
            value,
            json!(labels),
            json!(sources),
        ];
        text.extend(self.join.clone());
        Json::Array(text).to_string()
    }
}

/// The part of a label in a definition.
pub fn of_label(label: &Label) -> Json {
    match label {
        Label::Const(value) => json!(["const", value]),
        Label::Field { pointer, otherwise } => json!(["field", pointer, otherwise]),
        Label::Topic => json!(["topic"]),
        Label::Partition => json!(["partition"]),
        Label::Cel { source, otherwise } => json!(["cel", layout(&source.value.text), otherwise]),
        Label::From { pointer, otherwise } => json!(["from", pointer, otherwise]),
        Label::To { pointer, otherwise } => json!(["to", pointer, otherwise]),
        Label::Latest { of, otherwise } => json!(["latest", of.take.value, of.equals.value, otherwise]),
    }
}

fn format_name(format: TimeFormat) -> &'static str {
    match format {
        TimeFormat::Auto => "auto",
        TimeFormat::Seconds => "seconds",
        TimeFormat::Millis => "millis",
        TimeFormat::Micros => "micros",
        TimeFormat::Nanos => "nanos",
    }
}
