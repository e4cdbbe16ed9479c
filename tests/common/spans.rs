//! What a receiver has of our spans.
//!
//! Rule: a span is known by its trace and its own id, and kept once. It may come again, and then must be the same in all
//! that it says.

use std::collections::BTreeMap;

use serde_json::Value as Json;

/// Spans by trace id, then by span id, both in hexadecimal.
#[derive(Debug, Default)]
pub struct Spans {
    pub traces: BTreeMap<String, BTreeMap<String, Span>>,
    /// How many came, those that came again included.
    pub received: usize,
    /// What processes did themselves (`--own-traces`), by span id. They are in no other number.
    pub own: BTreeMap<String, Span>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Span(Json);

// === impl Spans ===

impl Spans {
    /// Takes lines as the collector's file exporter writes them.
    pub fn read(&mut self, lines: &str) {
        for line in lines.lines().filter(|line| !line.is_empty()) {
            let request: Json = serde_json::from_str(line).expect("the collector writes JSON");
            for resource in list(&request, "resourceSpans") {
                for scope in list(resource, "scopeSpans") {
                    let spans = list(scope, "spans").iter();
                    match scope["scope"]["name"].as_str() {
                        Some("streamgauge.process") => self.own.extend(spans.map(|span| {
                            let span = Span(span.clone());
                            (id_of(&span), span)
                        })),
                        _ => spans.for_each(|span| self.take(span)),
                    }
                }
            }
        }
    }

    fn take(&mut self, span: &Json) {
        let id = |key: &str| span[key].as_str().expect("a span has ids").to_owned();
        self.received += 1;
        let trace = self.traces.entry(id("traceId")).or_default();
        let span = Span(span.clone());
        let known = trace.entry(id_of(&span)).or_insert_with(|| span.clone());
        assert_eq!(*known, span, "a span that comes again is the same");
    }
}

fn id_of(span: &Span) -> String {
    span.text("spanId").to_owned()
}

fn list<'j>(of: &'j Json, key: &str) -> &'j [Json] {
    of[key].as_array().map_or(&[], Vec::as_slice)
}

// === impl Span ===

impl Span {
    /// Empty where there is none.
    pub fn text(&self, key: &str) -> &str {
        self.0[key].as_str().unwrap_or_default()
    }

    /// The value of an attribute of text or of a whole number.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        let found = list(&self.0, "attributes").iter().find(|known| known["key"] == name)?;
        let value = &found["value"];
        value["stringValue"].as_str().or(value["intValue"].as_str())
    }

    /// Start and end, microseconds since the epoch.
    pub fn times(&self) -> (i64, i64) {
        let micros = |key: &str| self.text(key).parse::<i64>().expect("nanoseconds") / 1_000;
        (micros("startTimeUnixNano"), micros("endTimeUnixNano"))
    }

    /// 1 is OK, 2 is ERROR.
    pub fn status(&self) -> i64 {
        self.0["status"]["code"].as_i64().unwrap_or(0)
    }

    /// Trace and span of each link.
    pub fn links(&self) -> Vec<(&str, &str)> {
        let links = list(&self.0, "links").iter();
        links
            .filter_map(|link| Some((link["traceId"].as_str()?, link["spanId"].as_str()?)))
            .collect()
    }

    pub fn events(&self) -> Vec<&str> {
        let names = list(&self.0, "events").iter().map(|event| event["name"].as_str());
        names.map(Option::unwrap_or_default).collect()
    }
}
