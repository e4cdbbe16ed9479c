//! Trace context in a record's headers (W3C Trace Context), and what a record says of itself.
//!
//! Rule: the header that is written names the span of the send; the span of the handling is a child of what the header
//! names.
//!
//! Edges:
//! - a `traceparent` that the application has put there itself is replaced when the span is a valid one, else it stays;
//! - of several headers of one name the last counts, as in Kafka's own clients;
//! - a value that is no JSON object has the type `unknown` and no correlation id.

use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use rdkafka::message::{Header, Headers, OwnedHeaders};
use serde::{Deserialize, Deserializer};
use serde_json::Value as Json;

/// Headers that are to be written.
struct Written(Vec<(String, String)>);

/// Headers of a record.
struct Read<'a, H>(Option<&'a H>);

/// What the guide's span says of the message.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Said {
    #[serde(default, deserialize_with = "word")]
    pub message_type: Option<String>,
    #[serde(default, deserialize_with = "word")]
    pub correlation_id: Option<String>,
}

/// A string, a number or a truth value as text; nothing else is a word.
fn word<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Ok(match Json::deserialize(from)? {
        Json::String(word) => Some(word),
        word @ (Json::Number(_) | Json::Bool(_)) => Some(word.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    })
}

/// The headers, with the context's span.
pub(super) fn inject(context: &Context, headers: Option<OwnedHeaders>) -> Option<OwnedHeaders> {
    let mut written = Written(Vec::new());
    TraceContextPropagator::new().inject_context(context, &mut written);
    // Nothing to say: a span of no SDK has no id.
    if !written.0.iter().any(|(name, _)| name == "traceparent") {
        return headers;
    }
    let mut whole = OwnedHeaders::new_with_capacity(written.0.len() + headers.as_ref().map_or(0, Headers::count));
    for header in headers.iter().flat_map(Headers::iter) {
        if !written.0.iter().any(|(name, _)| name == header.key) {
            whole = whole.insert(header);
        }
    }
    for (key, value) in &written.0 {
        // An empty tracestate says nothing.
        let value = Some(value).filter(|value| !value.is_empty());
        if value.is_some() {
            whole = whole.insert(Header { key, value });
        }
    }
    Some(whole)
}

/// The context that the headers name; an empty one without.
pub(super) fn extract<H: Headers>(headers: Option<&H>) -> Context {
    TraceContextPropagator::new().extract_with_context(&Context::new(), &Read(headers))
}

// === impl Said ===

impl Said {
    pub fn of(value: Option<&[u8]>) -> Self {
        value
            .and_then(|value| serde_json::from_slice(value).ok())
            .unwrap_or_default()
    }
}

// === impl Written ===

impl Injector for Written {
    fn set(&mut self, key: &str, value: String) {
        self.0.push((key.to_owned(), value));
    }
}

// === impl Read ===

impl<H: Headers> Extractor for Read<'_, H> {
    fn get(&self, key: &str) -> Option<&str> {
        let mut headers = self.0?.iter().filter(|header| header.key == key);
        let last = std::iter::from_fn(|| headers.next()).last()?;
        std::str::from_utf8(last.value?).ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0
            .iter()
            .flat_map(|headers| headers.iter())
            .map(|header| header.key)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};

    fn span() -> SpanContext {
        let trace = TraceId::from_bytes([7; 16]);
        let span = SpanId::from_bytes([9; 8]);
        SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::default())
    }

    #[test]
    fn what_is_injected_is_extracted_and_other_headers_stay() {
        let old = ["other", "traceparent"]
            .into_iter()
            .fold(OwnedHeaders::new(), |headers, key| {
                headers.insert(Header {
                    key,
                    value: Some("old"),
                })
            });
        let context = Context::new().with_remote_span_context(span());
        let headers = inject(&context, Some(old)).expect("headers");
        let keys: Vec<&str> = headers.iter().map(|header| header.key).collect();
        assert_eq!(keys, ["other", "traceparent"]);
        assert_eq!(extract(Some(&headers)).span().span_context(), &span());
    }

    #[test]
    fn without_a_span_headers_stay_as_they_are() {
        assert!(inject(&Context::new(), None).is_none());
        let own = OwnedHeaders::new().insert(Header {
            key: "traceparent",
            value: Some("mine"),
        });
        let kept = inject(&Context::new(), Some(own)).expect("headers");
        assert_eq!(kept.get(0).value, Some("mine".as_bytes()));
    }

    #[test]
    fn a_header_that_is_no_trace_context_starts_a_trace_of_its_own() {
        let headers = OwnedHeaders::new().insert(Header {
            key: "traceparent",
            value: Some("nonsense"),
        });
        assert!(!extract(Some(&headers)).span().span_context().is_valid());
        assert!(!extract::<OwnedHeaders>(None).span().span_context().is_valid());
    }

    #[test]
    fn a_value_that_is_no_object_of_json_says_nothing() {
        let said = Said::of(Some(
            br#"{"message_type": "email", "correlation_id": "c1", "data": {}}"#,
        ));
        assert_eq!(said.message_type.as_deref(), Some("email"));
        assert_eq!(said.correlation_id.as_deref(), Some("c1"));
        let said = Said::of(Some(br#"{"message_type": 7, "correlation_id": "c1"}"#));
        assert_eq!(
            (said.message_type.as_deref(), said.correlation_id.as_deref()),
            (Some("7"), Some("c1"))
        );
        for value in [Some(&b"{"[..]), Some(b"7"), Some(b"\xff"), None] {
            assert_eq!(Said::of(value), Said::default());
        }
    }
}
