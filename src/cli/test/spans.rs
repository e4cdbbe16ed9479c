//! The spans in frozen requests, as a test compares them.
//!
//! Rule: spans are read from the bytes that would be sent, in their order: a trace at a time, its root first.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{Span as OtlpSpan, status::StatusCode};
use prost::Message;

use crate::engine::time::EventTime;
use crate::pipeline::testing::{ExpectedSpan, Parent};

/// One span that would leave.
#[derive(Clone, Debug)]
pub struct PlayedSpan {
    pub name: String,
    pub trace: String,
    pub parent: Parent,
    pub start: EventTime,
    pub end: EventTime,
    /// `ok` or `error`.
    pub status: Option<&'static str>,
    pub attributes: BTreeMap<String, String>,
    pub events: Vec<String>,
}

// === impl PlayedSpan ===

impl PlayedSpan {
    /// Whether everything that is named is so.
    pub fn answers(&self, expected: &ExpectedSpan) -> bool {
        let has = |(name, value): (&String, &String)| self.attributes.get(name) == Some(value);
        expected.name == self.name
            && expected.trace.as_ref().is_none_or(|trace| *trace == self.trace)
            && expected.parent.as_ref().is_none_or(|parent| *parent == self.parent)
            && expected.start.is_none_or(|start| start == self.start)
            && expected.end.is_none_or(|end| end == self.end)
            && expected
                .status
                .as_deref()
                .is_none_or(|status| Some(status) == self.status)
            && expected.attributes.iter().all(has)
            && expected.events.as_ref().is_none_or(|events| *events == self.events)
    }
}

/// The spans of these requests, in their order.
pub fn read(requests: &[Vec<u8>]) -> Result<Vec<PlayedSpan>, String> {
    let mut spans = Vec::new();
    for request in requests {
        let request = ExportTraceServiceRequest::decode(request.as_slice())
            .map_err(|error| format!("frozen spans cannot be read: {error}"))?;
        let scopes = request.resource_spans.into_iter().flat_map(|of| of.scope_spans);
        spans.extend(scopes.flat_map(|scope| scope.spans));
    }
    let id = |span: &OtlpSpan| (span.trace_id.clone(), span.span_id.clone());
    let names: BTreeMap<_, String> = spans.iter().map(|span| (id(span), span.name.clone())).collect();
    let parent = |span: &OtlpSpan| match span.parent_span_id.as_slice() {
        [] => Parent::None,
        id => match names.get(&(span.trace_id.clone(), id.to_vec())) {
            Some(name) => Parent::Here(name.clone()),
            None => Parent::Elsewhere(hex(id)),
        },
    };
    let played = |span: &OtlpSpan| PlayedSpan {
        name: span.name.clone(),
        trace: hex(&span.trace_id),
        parent: parent(span),
        start: time(span.start_time_unix_nano),
        end: time(span.end_time_unix_nano),
        status: match span.status.as_ref().map(|status| status.code()) {
            Some(StatusCode::Ok) => Some("ok"),
            Some(StatusCode::Error) => Some("error"),
            Some(StatusCode::Unset) | None => None,
        },
        attributes: span.attributes.iter().map(attribute).collect(),
        events: span.events.iter().map(|event| event.name.clone()).collect(),
    };
    Ok(spans.iter().map(played).collect())
}

fn time(nanos: u64) -> EventTime {
    EventTime(i64::try_from(nanos / 1_000).unwrap_or(i64::MAX))
}

fn attribute(pair: &KeyValue) -> (String, String) {
    let value = match pair.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        Some(any_value::Value::IntValue(value)) => value.to_string(),
        _ => String::new(),
    };
    (pair.key.clone(), value)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
