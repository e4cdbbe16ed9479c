//! The spans inside an encoded `ExportTraceServiceRequest`.
//!
//! Rule: spans are numbered as they stand. Any of them can be encoded again as a request of its own, inside the same
//! resource and scope.
//!
//! Edges: a resource or a scope without spans is left out of every piece.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;

use super::points::Outline;

/// A decoded request and where its spans are.
pub struct Spans {
    request: ExportTraceServiceRequest,
    places: Vec<Place>,
}

/// Where one span stands: indices into the decoded request.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    resource: usize,
    scope: usize,
    span: usize,
}

// === impl Spans ===

impl Spans {
    pub fn read(request: &[u8]) -> Result<Spans, prost::DecodeError> {
        let request = ExportTraceServiceRequest::decode(request)?;
        let mut places = Vec::new();
        for (resource, by_resource) in request.resource_spans.iter().enumerate() {
            for (scope, by_scope) in by_resource.scope_spans.iter().enumerate() {
                places.extend((0..by_scope.spans.len()).map(|span| Place { resource, scope, span }));
            }
        }
        Ok(Spans { request, places })
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// When the last of these ended, nanoseconds since the epoch.
    pub fn newest(&self, numbers: &[usize]) -> u64 {
        let ends = numbers
            .iter()
            .map(|&number| self.span(self.places[number]).end_time_unix_nano);
        ends.max().unwrap_or(0)
    }

    /// These spans as a request of their own.
    pub fn piece(&self, numbers: &[usize]) -> Bytes {
        let mut piece = ExportTraceServiceRequest::default();
        let mut last: Option<Place> = None;
        for place in numbers.iter().map(|&number| self.places[number]) {
            let by_resource = &self.request.resource_spans[place.resource];
            let by_scope = &by_resource.scope_spans[place.scope];
            let same_resource = last.is_some_and(|last| last.resource == place.resource);
            let same_scope = same_resource && last.is_some_and(|last| last.scope == place.scope);
            if !same_resource {
                piece.resource_spans.push(ResourceSpans {
                    resource: by_resource.resource.clone(),
                    scope_spans: Vec::new(),
                    schema_url: by_resource.schema_url.clone(),
                });
            }
            let scopes = &mut piece.resource_spans.last_mut().expect("one was pushed").scope_spans;
            if !same_scope {
                scopes.push(ScopeSpans {
                    scope: by_scope.scope.clone(),
                    spans: Vec::new(),
                    schema_url: by_scope.schema_url.clone(),
                });
            }
            let spans = &mut scopes.last_mut().expect("one was pushed").spans;
            spans.push(self.span(place).clone());
            last = Some(place);
        }
        piece.encode_to_vec().into()
    }

    fn span(&self, place: Place) -> &Span {
        &self.request.resource_spans[place.resource].scope_spans[place.scope].spans[place.span]
    }
}

/// Counts the spans of an encoded request, without decoding it all. What cannot be read has none.
pub fn outline(request: &[u8]) -> Outline {
    let Ok(request) = outline::Request::decode(request) else {
        return Outline::default();
    };
    let scopes = request.resources.iter().flat_map(|resource| &resource.scopes);
    let ends = scopes.flat_map(|scope| &scope.spans).map(|span| span.end);
    ends.fold(Outline::default(), |outline, end| Outline {
        points: outline.points + 1,
        newest: outline.newest.max(end),
    })
}

/// The OTLP messages with nothing but the fields on the way to a span's end (opentelemetry/proto/trace/v1).
mod outline {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Request {
        #[prost(message, repeated, tag = "1")]
        pub resources: Vec<Resource>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Resource {
        #[prost(message, repeated, tag = "2")]
        pub scopes: Vec<Scope>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Scope {
        #[prost(message, repeated, tag = "2")]
        pub spans: Vec<Span>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Span {
        #[prost(fixed64, tag = "8")]
        pub end: u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(end: u64) -> Span {
        Span {
            trace_id: vec![7; 16],
            span_id: end.to_be_bytes().to_vec(),
            name: format!("span {end}"),
            start_time_unix_nano: 1,
            end_time_unix_nano: end,
            ..Span::default()
        }
    }

    fn request(scopes: &[&[u64]]) -> ExportTraceServiceRequest {
        let scope_spans = scopes.iter().map(|ends| ScopeSpans {
            spans: ends.iter().map(|end| span(*end)).collect(),
            schema_url: "s".into(),
            ..ScopeSpans::default()
        });
        ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                scope_spans: scope_spans.collect(),
                schema_url: "r".into(),
                ..ResourceSpans::default()
            }],
        }
    }

    #[test]
    fn a_piece_keeps_resource_and_scope_and_leaves_empty_ones_out() {
        let whole = request(&[&[5, 9], &[], &[7]]).encode_to_vec();
        let spans = Spans::read(&whole).expect("a request");
        assert_eq!(spans.len(), 3);
        let piece = |numbers| ExportTraceServiceRequest::decode(spans.piece(numbers)).expect("a request");
        assert_eq!(piece(&[1, 2]), request(&[&[9], &[7]]));
        assert_eq!(piece(&[0]), request(&[&[5]]));
        assert_eq!((spans.newest(&[0, 2]), spans.newest(&[])), (7, 0));
    }

    #[test]
    fn the_outline_counts_what_is_there() {
        let whole = request(&[&[5, 9], &[7]]).encode_to_vec();
        assert_eq!(outline(&whole), Outline { points: 3, newest: 9 });
        assert_eq!([outline(b""), outline(&[0xff])], [Outline::default(); 2]);
    }
}
