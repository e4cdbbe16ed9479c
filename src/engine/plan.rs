//! The checked plan: what the pipelines ask for, resolved so that nothing behind it has to validate again.
//!
//! Rule: only `pipeline` builds a plan, from files it has checked. Names are unique, indices are in range, every
//! expression is compiled, every topic has one time. Equal files give equal plans and equal definition hashes.
//!
//! Edges:
//! - all sources of one topic share its [`Timing`]: one partition has one watermark;
//! - a topic is tapped once, however many sources and pipelines read it;
//! - a metric over `"*"` counts each record of every topic of its pipeline once, whatever the sources' conditions.

use super::series::DefinitionHash;
use super::tap::expr::Expr;
use super::tap::projection::{Projection, Slot};
use super::time::Span;
use super::window::WindowSize;

mod alert;
mod join;
mod journey;
mod lag;

pub use alert::{
    Alert, Alertmanager, Bound, Condition, Login, Mail, MailSecurity, Piece, Receiver, Secret, Template, Via,
};
pub use join::{
    Ask, Emit, Join, JoinIx, JoinedLabel, KeyFrom, Latest, MAX_KEY_BYTES, Measure, Measured, Operator, Respond, Side,
};
pub use journey::{Attribute, AttributeFrom, Journeys, Sampling, SpanFrom};
pub use lag::{Lag, LagFrom};

/// Index into [`Plan::metrics`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MetricIx(pub usize);

/// Everything that one process runs.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Names of the pipelines, unique; a metric belongs to one.
    pub pipelines: Vec<String>,
    /// Every metric of every pipeline.
    pub metrics: Vec<Metric>,
    /// Every input topic, sorted by name.
    pub topics: Vec<TopicPlan>,
    /// What needs two records to know.
    pub joins: Vec<Join>,
    /// What is wanted to be known of consumer groups.
    pub lag: Option<Lag>,
    /// What is watched.
    pub alerts: Vec<Alert>,
    /// Who is told of alerts.
    pub receivers: Vec<Receiver>,
}

/// One metric: what it is, not how it is filled (that is in the [`Recipe`]s of the topics).
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    pub name: String,
    /// Index into [`Plan::pipelines`].
    pub pipeline: usize,
    pub definition: DefinitionHash,
    /// For people: the OTLP description.
    pub help: String,
    /// UCUM, as OTLP wants it: `s`, `By`, `{message}`.
    pub unit: String,
    pub kind: Kind,
    /// Names of the labels, in the order of the series key.
    pub labels: Vec<String>,
    pub window: WindowSize,
    /// Series per gauge partition; what comes beyond goes into the overflow series.
    pub max_series: u32,
    /// The topics that can add to it, as indices into [`Plan::topics`]: it waits for their watermarks and no others. A
    /// metric that a join fills waits for the join's tasks instead, which wait for these.
    pub topics: Vec<usize>,
}

/// What a metric's points are.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// Monotonic sum of integers (records, bytes).
    Count,
    /// Monotonic sum of decimals, kept in millionths.
    Sum,
    /// Explicit upper bounds, ascending, in the metric's unit; kept in millionths.
    Explicit { bounds: Vec<i64> },
    /// OTLP exponential histogram of at most this many buckets.
    Exponential { max_buckets: u16 },
    /// A level at wall time that many tasks feed: of each task the last one counts, in millionths.
    Level(Merge),
}

/// What the levels of many tasks are together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    Sum,
    Max,
}

/// One input topic: how to read its records and what to do with them.
#[derive(Clone, Debug)]
pub struct TopicPlan {
    pub topic: String,
    pub timing: Timing,
    pub start: Start,
    /// Values larger than this end as `oversize` without being parsed.
    pub max_record_bytes: usize,
    /// All fields that anything below needs, read in one pass.
    pub projection: Projection,
    pub sources: Vec<SourcePlan>,
}

/// One source on a topic: a condition and what it feeds.
#[derive(Clone, Debug)]
pub struct SourcePlan {
    /// As in the file, for messages; the implicit source of `"*"` is called `*`.
    pub name: String,
    pub pipeline: usize,
    /// Records that do not meet it are filtered for this source.
    pub when: Option<Expr>,
    pub recipes: Vec<Recipe>,
    pub emits: Vec<Emit>,
}

/// How a record of one source becomes part of one metric.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub metric: MetricIx,
    /// In the order of [`Metric::labels`].
    pub labels: Vec<LabelFrom>,
    pub value: ValueFrom,
}

/// Where a label's value comes from.
#[derive(Clone, Debug)]
pub enum LabelFrom {
    Const(String),
    /// A field: text, number or boolean. Missing or null becomes `otherwise`, or makes the record malformed without it;
    /// arrays and objects are malformed.
    Field {
        slot: Slot,
        pointer: String,
        otherwise: Option<String>,
    },
    /// The record's own topic.
    Topic,
    /// The record's own partition, in decimal.
    Partition,
    /// The record's own offset, in decimal: for spans, and for no metric.
    Offset,
    /// The last header of this name. A missing one, and one that is not UTF-8, is as a missing field.
    Header {
        name: String,
        otherwise: Option<String>,
    },
    /// A computed label; must give text, a number or a boolean. Null becomes `otherwise`, as with a field.
    Expr {
        expr: Expr,
        otherwise: Option<String>,
    },
}

/// What a record adds to a metric.
#[derive(Clone, Debug)]
pub enum ValueFrom {
    /// One.
    One,
    /// The bytes of the record's value, as on the wire.
    Bytes,
    /// Broker append time minus event time in seconds; only on topics with LogAppendTime, else nothing is added. Never
    /// negative: a writer's clock that is ahead counts as zero.
    AppendLatency,
    /// A number field; missing, null, negative or not a number is malformed.
    Field { slot: Slot, pointer: String },
}

/// The event time of a topic's records.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    pub from: TimeFrom,
    /// The watermark follows the highest event time at this distance.
    pub out_of_order: Span,
    /// A partition that has been quiet at its end for this long no longer holds windows open.
    pub idle_after: Span,
    /// A partition that cannot reach its end for this long no longer holds windows open, and is reported.
    pub max_hold: Span,
    /// Further ahead than this is `future`.
    pub max_ahead: Span,
}

#[derive(Clone, Debug, PartialEq)]
pub enum TimeFrom {
    /// The record's own timestamp.
    Record,
    Field {
        slot: Slot,
        pointer: String,
        format: TimeFormat,
    },
}

/// How a time field is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeFormat {
    /// Text is ISO 8601 (no zone = UTC); a number is epoch time whose unit its size tells (seconds, milli-, micro- or
    /// nanoseconds).
    Auto,
    Seconds,
    Millis,
    Micros,
    Nanos,
}

/// Where a topic that was never read before starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    Earliest,
    Latest,
    /// At the first record that is not older than this, by record timestamp.
    Ago(Span),
}
