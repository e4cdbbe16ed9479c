//! Journeys: each conversation of a respond as one trace.
//!
//! Rule: a root span from the request to its first response, or to the bound, and a child for each record that carries the
//! key meanwhile. What the spans say comes from what the records carry.

use super::MetricIx;
use crate::engine::time::Span;

/// The traces of one [`super::Respond`].
#[derive(Clone, Debug, PartialEq)]
pub struct Journeys {
    /// Index into [`super::Plan::pipelines`].
    pub pipeline: usize,
    pub sampling: Sampling,
    /// The carried value of the request that holds a W3C `traceparent`, if any does.
    pub traceparent: Option<usize>,
    /// The root's name and attributes, from what the request carries.
    pub root: SpanFrom,
    /// The children's, by side: the request, the response, then the steps ([`super::Side::step`]).
    pub children: Vec<SpanFrom>,
    /// A carried value of the response that says, where it is not empty, why it failed.
    pub failure: Option<usize>,
    /// A count of journeys by `outcome` (answered, failed, unanswered) and `sampled` (sampled, kept, dropped).
    pub counted: Option<MetricIx>,
}

/// Which journeys leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// W3C and OpenTelemetry: the journeys whose last 56 bits of the trace id are not below it. Zero takes all.
    pub threshold: u64,
    /// Journeys that took longer leave whatever the threshold; so do failed and unanswered ones.
    pub slow: Option<Span>,
}

/// How a record becomes a span.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanFrom {
    pub name: String,
    pub attributes: Vec<Attribute>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    pub name: String,
    pub value: AttributeFrom,
}

#[derive(Clone, Debug, PartialEq)]
pub enum AttributeFrom {
    Const(String),
    /// Index into [`super::Emit::carries`]; an empty text is no attribute.
    Text(usize),
    /// The same, as a whole number; anything else is no attribute.
    Number(usize),
}
