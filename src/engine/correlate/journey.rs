//! Journeys become spans here, once: when they are final.
//!
//! Rule: equal conversations give equal bytes. The trace id is a hash over application, pipeline, key and the request's
//! time, seeded so that two applications never share one. Where the request has a `traceparent`, its trace id counts, and
//! its span is the root's parent. Span ids are hashes over both, since a writer may send several requests in one trace.
//!
//! Edges:
//! - a child starts where the event before it was and ends at its own; the request's child takes no time;
//! - a journey whose response came before its request (clocks that differ) runs from the earlier to the later;
//! - sampling is by the trace id's last 56 bits; a sampled root says the threshold in its trace state, a kept one does not,
//!   since nothing can be multiplied by it;
//! - what is not UTF-8 or no number where one is wanted is no attribute.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as OtlpSpan, Status, span, status};
use prost::Message;
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::carried::Carried;
use super::shown::nth;
use super::trail::Trail;
use crate::engine::gauge::{MAX_REQUEST_BYTES, resource, scope, text};
use crate::engine::keyed::KeyHash;
use crate::engine::plan::{AttributeFrom, Journeys, Plan, Side, SpanFrom};
use crate::engine::time::EventTime;

/// Spans of one join on their way to an outbox.
#[derive(Debug, Default)]
pub(super) struct Spans {
    seed: u64,
    spans: Vec<OtlpSpan>,
    weight: usize,
}

/// A conversation that is over.
pub(super) struct Journey<'a> {
    pub key: KeyHash,
    pub request: Event<'a>,
    /// `None`: it was not answered.
    pub response: Option<Event<'a>>,
    /// When it was over.
    pub end: EventTime,
    pub trail: &'a Trail,
}

/// One side of a conversation.
#[derive(Clone, Copy)]
pub(super) struct Event<'a> {
    pub time: EventTime,
    pub carried: &'a [u8],
}

/// How a journey ended and whether it leaves, as labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub outcome: &'static str,
    pub sampled: &'static str,
    /// Trace and root span of one that leaves.
    pub root: Option<(u128, u64)>,
}

/// Who a trace is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    trace: u128,
    /// The span of the writer that sent the request.
    parent: Option<u64>,
    /// A hash over the key and the request's time: a writer may send several requests within one trace.
    root: u128,
}

/// Where a span is in its trace.
#[derive(Clone, Copy)]
struct Place {
    parent: Option<u64>,
    /// Zero is the root.
    number: u32,
    start: EventTime,
    end: EventTime,
}

/// The last bits of a trace id are random, says W3C; so many of them.
const RANDOM_BITS: u32 = 56;

// === impl Spans ===

impl Spans {
    /// Of the trace `name`, of which a pipeline has only one.
    pub(super) fn new(application: &str, pipeline: &str, name: &str) -> Self {
        let seed = [application, pipeline, name]
            .iter()
            .fold(0, |seed, part| xxh3_64_with_seed(part.as_bytes(), seed));
        Self {
            seed,
            ..Self::default()
        }
    }

    /// Bytes, roughly.
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    /// Freezes a journey, if it is one that leaves.
    pub(super) fn add(&mut self, journeys: &Journeys, journey: &Journey<'_>, carried: &Carried) -> Verdict {
        let identity = self.identity(journeys, journey);
        let failure = failure(journeys, journey);
        let outcome = match (journey.response, failure) {
            (None, _) => "unanswered",
            (Some(_), Some(_)) => "failed",
            (Some(_), None) => "answered",
        };
        let took = journey.end.0.saturating_sub(journey.request.time.0);
        let slow = journeys.sampling.slow.is_some_and(|slow| took > slow.as_micros());
        let sampled = identity.trace as u64 & ((1 << RANDOM_BITS) - 1) >= journeys.sampling.threshold;
        let mut verdict = Verdict {
            outcome,
            root: None,
            sampled: match (sampled, slow || outcome != "answered") {
                (true, _) => "sampled",
                (false, true) => "kept",
                (false, false) => "dropped",
            },
        };
        if verdict.sampled == "dropped" {
            return verdict;
        }
        let root = self.spans.len();
        let start = journey.request.time.min(journey.end);
        let (end, left_out) = (journey.end.max(journey.request.time), journey.trail.left_out);
        let place = Place {
            parent: identity.parent,
            number: 0,
            start,
            end,
        };
        self.push(identity, place, &journeys.root, journey.request.carried);
        let root_id = span_id(identity, 0);
        verdict.root = Some((identity.trace, root_id));
        let trace_state = if sampled {
            threshold(journeys.sampling.threshold)
        } else {
            String::new()
        };
        for span in &mut self.spans[root..] {
            span.trace_state.clone_from(&trace_state);
            span.status = Some(
                match failure.or((outcome == "unanswered").then_some("no response within the bound")) {
                    None => Status {
                        message: String::new(),
                        code: status::StatusCode::Ok as i32,
                    },
                    Some(reason) => Status {
                        message: reason.to_owned(),
                        code: status::StatusCode::Error as i32,
                    },
                },
            );
            if outcome != "answered" {
                span.attributes.push(text("error.type", outcome));
                span.events.push(span::Event {
                    time_unix_nano: journey.end.unix_nanos(),
                    name: outcome.to_owned(),
                    attributes: failure.map(|reason| text("reason", reason)).into_iter().collect(),
                    ..span::Event::default()
                });
            }
            if left_out > 0 {
                let value = i64::try_from(left_out).unwrap_or(i64::MAX);
                span.attributes.push(number("streamgauge.steps_left_out", value));
            }
        }
        let request = (Side::REQUEST, journey.request);
        let steps = journey.trail.steps.iter().map(|step| {
            let event = Event {
                time: step.time,
                carried: carried.get(step.carried),
            };
            (step.side, event)
        });
        let response = journey.response.map(|response| (Side::RESPONSE, response));
        let mut before = start;
        for (number, (side, event)) in (1..).zip(std::iter::once(request).chain(steps).chain(response)) {
            if let Some(from) = journeys.children.get(usize::from(side.0)) {
                let began = if number == 1 { event.time } else { before };
                let place = Place {
                    parent: Some(root_id),
                    number,
                    start: began.min(event.time),
                    end: event.time,
                };
                self.push(identity, place, from, event.carried);
            }
            before = event.time;
        }
        verdict
    }

    /// Everything, as requests that receivers take; nothing is left.
    pub(super) fn freeze(&mut self, application: &str, plan: &Plan, journeys: &Journeys) -> Vec<Vec<u8>> {
        let pipeline = plan.pipelines.get(journeys.pipeline).map_or("", String::as_str);
        let envelope = |spans| ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                resource: Some(resource(application, pipeline)),
                scope_spans: vec![ScopeSpans {
                    scope: Some(scope()),
                    spans,
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        };
        let mut requests = Vec::new();
        let (mut together, mut size) = (Vec::new(), 1_024);
        for span in std::mem::take(&mut self.spans) {
            let more = span.encoded_len() + 8;
            if size + more > MAX_REQUEST_BYTES && !together.is_empty() {
                requests.push(envelope(std::mem::take(&mut together)).encode_to_vec());
                size = 1_024;
            }
            size += more;
            together.push(span);
        }
        if !together.is_empty() {
            requests.push(envelope(together).encode_to_vec());
        }
        self.weight = 0;
        requests
    }

    fn identity(&self, journeys: &Journeys, journey: &Journey<'_>) -> Identity {
        let mut bytes = [0; KeyHash::BYTES + 8];
        bytes[..KeyHash::BYTES].copy_from_slice(&journey.key.to_bytes());
        bytes[KeyHash::BYTES..].copy_from_slice(&journey.request.time.0.to_be_bytes());
        // All zero is no trace id.
        let root = xxh3_128_with_seed(&bytes, self.seed).max(1);
        let traceparent = journeys.traceparent.and_then(|at| nth(journey.request.carried, at));
        match traceparent.and_then(parent) {
            Some((trace, parent)) => Identity {
                trace,
                parent: Some(parent),
                root,
            },
            None => Identity {
                trace: root,
                parent: None,
                root,
            },
        }
    }

    fn push(&mut self, identity: Identity, place: Place, from: &SpanFrom, carried: &[u8]) {
        let Place {
            parent,
            number,
            start,
            end,
        } = place;
        let span = OtlpSpan {
            trace_id: identity.trace.to_be_bytes().to_vec(),
            span_id: span_id(identity, number).to_be_bytes().to_vec(),
            parent_span_id: parent.map_or(Vec::new(), |parent| parent.to_be_bytes().to_vec()),
            name: from.name.clone(),
            kind: span::SpanKind::Consumer as i32,
            start_time_unix_nano: start.unix_nanos(),
            end_time_unix_nano: end.unix_nanos(),
            attributes: attributes(from, carried),
            ..OtlpSpan::default()
        };
        self.weight += span.encoded_len();
        self.spans.push(span);
    }
}

fn attributes(from: &SpanFrom, carried: &[u8]) -> Vec<KeyValue> {
    let carried_text = |at: usize| {
        let value = nth(carried, at).and_then(|bytes| std::str::from_utf8(bytes).ok());
        value.filter(|value| !value.is_empty())
    };
    let known = from.attributes.iter().filter_map(|attribute| {
        Some(match &attribute.value {
            AttributeFrom::Const(value) => text(&attribute.name, value),
            AttributeFrom::Text(at) => text(&attribute.name, carried_text(*at)?),
            AttributeFrom::Number(at) => number(&attribute.name, carried_text(*at)?.parse().ok()?),
        })
    });
    known.collect()
}

fn number(key: &str, value: i64) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::IntValue(value)),
        }),
        ..KeyValue::default()
    }
}

/// Why the response says that it failed.
fn failure<'a>(journeys: &Journeys, journey: &Journey<'a>) -> Option<&'a str> {
    let reason = nth(journey.response?.carried, journeys.failure?)?;
    std::str::from_utf8(reason).ok().filter(|reason| !reason.is_empty())
}

fn span_id(Identity { trace, root, .. }: Identity, number: u32) -> u64 {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&trace.to_be_bytes());
    bytes[16..].copy_from_slice(&root.to_be_bytes());
    // All zero is no span id.
    xxh3_64_with_seed(&bytes, u64::from(number) + 1).max(1)
}

/// OpenTelemetry's trace state for a threshold: 14 hex digits, without the zeros at their end.
fn threshold(threshold: u64) -> String {
    let digits = format!("{threshold:014x}");
    let digits = digits.trim_end_matches('0');
    format!("ot=th:{}", if digits.is_empty() { "0" } else { digits })
}

/// W3C trace context: `00-<trace id>-<span id>-<flags>`; later versions may go on behind it.
fn parent(traceparent: &[u8]) -> Option<(u128, u64)> {
    let text = std::str::from_utf8(traceparent).ok()?;
    let mut parts = text.split('-');
    let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |part: &str, digits: usize| {
        part.len() == digits && part.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let whole = hex(version, 2) && version != "ff" && hex(trace, 32) && hex(span, 16) && hex(flags, 2);
    if !whole || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let trace = u128::from_str_radix(trace, 16).ok().filter(|trace| *trace != 0)?;
    let parent = u64::from_str_radix(span, 16).ok().filter(|span| *span != 0)?;
    Some((trace, parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_gives_the_trace_and_the_parent_and_a_wrong_one_gives_none() {
        let right = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let expected = (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0x00f0_67aa_0ba9_02b7);
        assert_eq!(parent(right), Some(expected));
        assert_eq!(
            parent(b"cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-comes"),
            Some(expected),
            "a later version"
        );
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(parent(wrong.as_bytes()), None, "{wrong}");
        }
    }

    #[test]
    fn thresholds_are_written_as_opentelemetry_has_them() {
        assert_eq!(threshold(0), "ot=th:0");
        assert_eq!(threshold(1 << 55), "ot=th:8");
        assert_eq!(threshold(0xc_0000_0000_0001), "ot=th:0c000000000001");
    }
}
