//! What one document says: its sources, metrics and traces, with defaults filled in.

use super::{Alert, Receiver, Trace};
use crate::engine::plan::{self, Start, TimeFormat};
use crate::engine::time::Span;
use crate::pipeline::fault::Place;

/// A value and where it was said.
#[derive(Clone, Debug)]
pub struct Said<T> {
    pub value: T,
    pub place: Place,
}

/// One pipeline as its file says it.
#[derive(Debug)]
pub struct Document {
    pub name: Option<Said<String>>,
    /// Every name under `sources`, also of those that could not be read.
    pub source_names: Vec<Said<String>>,
    pub sources: Vec<Source>,
    /// Every name under `metrics`, also of those that could not be read.
    pub metric_names: Vec<Said<String>>,
    pub metrics: Vec<Metric>,
    /// Every name under `traces`, also of those that could not be read.
    pub trace_names: Vec<Said<String>>,
    pub traces: Vec<Trace>,
    /// Also one that could not be read.
    pub asks_lag: bool,
    /// Without the pipeline's number.
    pub lag: Option<Said<plan::Lag>>,
    /// Every name under `alerts` and `receivers`, also of those that could not be read.
    pub alert_names: Vec<Said<String>>,
    pub alerts: Vec<Alert>,
    pub receiver_names: Vec<Said<String>>,
    pub receivers: Vec<Receiver>,
}

#[derive(Debug)]
pub struct Source {
    pub name: Said<String>,
    pub topic: Said<String>,
    pub time: Said<Time>,
    pub when: Option<Said<Text>>,
    pub start: Said<Start>,
    pub out_of_order: Said<Span>,
    pub idle_after: Said<Span>,
    pub max_hold: Said<Span>,
    pub max_ahead: Said<Span>,
    pub max_record_bytes: Said<usize>,
}

/// Text that is compiled, and whether its messages may quote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    pub text: String,
    pub secret: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Time {
    Record,
    Field { pointer: String, format: TimeFormat },
}

#[derive(Debug)]
pub struct Metric {
    pub name: Said<String>,
    pub help: String,
    pub of: Of,
    pub what: Measure,
    pub labels: Vec<(Said<String>, Label)>,
    pub unit: Option<Said<String>>,
    /// A second place where a unit stands.
    pub other_unit: Option<Said<String>>,
    pub window: Said<Span>,
    pub max_series: u32,
    /// Nothing of it was left out for a fault of form.
    pub complete: bool,
}

/// Whose records.
#[derive(Debug)]
pub enum Of {
    All,
    Sources(Vec<Said<String>>),
}

#[derive(Debug)]
pub enum Measure {
    Count,
    Sum(Said<Measured>),
    Observe(Said<Measured>, Buckets),
    /// Buckets where the file says some.
    Respond(Respond, Option<Said<Buckets>>),
}

#[derive(Clone, Debug)]
pub struct Respond {
    /// The key, as the request and as the response have it.
    pub on: [Said<String>; 2],
    pub within: Span,
    pub forget: Span,
    pub skew: Span,
    pub measure: Said<plan::Measure>,
}

/// A value that another source brings.
#[derive(Clone, Debug)]
pub struct LookUp {
    pub of: Said<String>,
    pub take: Said<String>,
    pub on: Said<String>,
    pub equals: Said<String>,
    pub within: Span,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Measured {
    Field(String),
    Bytes,
    AppendLatency,
}

#[derive(Debug)]
pub enum Buckets {
    Explicit(Vec<Said<i64>>),
    Exponential(u16),
}

#[derive(Clone, Debug)]
pub enum Label {
    Const(String),
    Field {
        pointer: String,
        otherwise: Option<String>,
    },
    Topic,
    Partition,
    /// Of spans only; no file says it.
    Offset,
    Cel {
        source: Said<Text>,
        otherwise: Option<String>,
    },
    Header {
        name: String,
        otherwise: Option<String>,
    },
    /// A field of the request.
    From {
        pointer: String,
        otherwise: Option<String>,
    },
    /// A field of the response.
    To {
        pointer: String,
        otherwise: Option<String>,
    },
    Latest {
        of: Box<LookUp>,
        otherwise: Option<String>,
    },
}
