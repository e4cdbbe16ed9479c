//! The spans that the [`super::receiver`] has been sent.
//!
//! Rule: a span is known by its trace and its own id. It may come again, and then must be the same, byte for byte; anything
//! else is a violation. What has no parent among the spans of its trace is a root, whatever it says its parent is: a parent
//! comes before its children, so an orphan shows as a root that nobody expects.
//!
//! Edges: the last [`REMEMBERED_SPANS`] are remembered; one that comes again later than that counts as new.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

use super::received::{SAID, texts};

/// How many spans are remembered.
pub const REMEMBERED_SPANS: usize = 200_000;
/// How many of the last traces are kept whole.
const KEPT_WHOLE: usize = 32;

/// What a receiver knows of traces at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReceivedTraces {
    pub requests: u64,
    /// Spans that were taken, duplicates left out.
    pub spans: u64,
    /// Spans that came again exactly as they were.
    pub duplicates: u64,
    /// Spans that came again as something else.
    pub violations: u64,
    /// The first of them.
    pub violation_texts: Vec<String>,
    /// Roots by name and `error.type`, which is empty where there is none.
    pub roots: BTreeMap<(String, String), u64>,
    /// The last traces, oldest first, each from its root on.
    pub newest: VecDeque<Vec<ReceivedSpan>>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedSpan {
    pub trace: String,
    pub id: Vec<u8>,
    pub parent: Vec<u8>,
    pub name: String,
    /// Nanoseconds since the epoch.
    pub start: u64,
    pub end: u64,
    pub attributes: BTreeMap<String, String>,
}

/// All spans of a receiver.
#[derive(Default)]
pub(super) struct Traces {
    pub received: ReceivedTraces,
    /// A hash over each, by trace and span.
    remembered: HashMap<Id, u64>,
    order: VecDeque<Id>,
}

/// A trace's id and a span's.
type Id = (Vec<u8>, Vec<u8>);

// === impl Traces ===

impl Traces {
    pub fn take(&mut self, request: &ExportTraceServiceRequest) {
        self.received.requests += 1;
        let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        for span in scopes.flat_map(|scope| &scope.spans) {
            self.take_span(span);
        }
    }

    fn take_span(&mut self, span: &Span) {
        let mut hasher = DefaultHasher::new();
        span.encode_to_vec().hash(&mut hasher);
        let hash = hasher.finish();
        let id = (span.trace_id.clone(), span.span_id.clone());
        let received = &mut self.received;
        if let Some(known) = self.remembered.get(&id) {
            if *known == hash {
                received.duplicates += 1;
                return;
            }
            received.violations += 1;
            if received.violation_texts.len() < SAID {
                let text = format!("span {} of trace {} came as two", hex(&id.1), hex(&id.0));
                received.violation_texts.push(text);
            }
            return;
        }
        received.spans += 1;
        let parent = (span.trace_id.clone(), span.parent_span_id.clone());
        let is_root = !self.remembered.contains_key(&parent);
        self.remembered.insert(id.clone(), hash);
        self.order.push_back(id);
        if self.order.len() > REMEMBERED_SPANS
            && let Some(oldest) = self.order.pop_front()
        {
            self.remembered.remove(&oldest);
        }
        let span = ReceivedSpan {
            trace: hex(&span.trace_id),
            id: span.span_id.clone(),
            parent: span.parent_span_id.clone(),
            name: span.name.clone(),
            start: span.start_time_unix_nano,
            end: span.end_time_unix_nano,
            attributes: texts(&span.attributes),
        };
        if is_root {
            let error = span.attributes.get("error.type").cloned().unwrap_or_default();
            *received.roots.entry((span.name.clone(), error)).or_default() += 1;
            received.newest.push_back(vec![span]);
            if received.newest.len() > KEPT_WHOLE {
                received.newest.pop_front();
            }
        } else {
            let is_its = |spans: &&mut Vec<ReceivedSpan>| {
                spans
                    .first()
                    .is_some_and(|root| root.trace == span.trace && root.id == span.parent)
            };
            if let Some(spans) = received.newest.iter_mut().rev().find(is_its) {
                spans.push(span);
            }
        }
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};

    use super::*;

    fn span(id: u8, parent: &[u8], name: &str) -> Span {
        Span {
            trace_id: vec![7; 16],
            span_id: vec![id; 8],
            parent_span_id: parent.to_vec(),
            name: name.to_owned(),
            ..Span::default()
        }
    }

    fn taken(spans: &[Span]) -> ReceivedTraces {
        let mut traces = Traces::default();
        traces.take(&ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                scope_spans: vec![ScopeSpans {
                    spans: spans.to_vec(),
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        });
        traces.received
    }

    #[test]
    fn a_span_may_come_again_as_it_was_and_not_as_another_one() {
        let whole = [span(1, &[9; 8], "root"), span(2, &[1; 8], "child")];
        let again = taken(&[whole.clone(), whole.clone()].concat());
        assert_eq!((again.spans, again.duplicates, again.violations), (2, 2, 0));
        assert_eq!(again.newest.back().map(Vec::len), Some(2));
        let another = taken(&[&whole[..], &[span(2, &[1; 8], "other")]].concat());
        assert_eq!((another.spans, another.violations), (2, 1));
        assert!(another.violation_texts[0].contains("0202020202020202"));
    }

    #[test]
    fn an_orphan_shows_as_a_root_of_its_name() {
        let orphan = taken(&[span(1, &[9; 8], "root"), span(2, &[5; 8], "child")]);
        let names: Vec<&str> = orphan.roots.keys().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["child", "root"]);
    }
}
