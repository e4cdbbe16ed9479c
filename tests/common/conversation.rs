//! One conversation of the users' system, and the spans that it must become.
//!
//! Rule: trace id, sampling, times, parents and what each span says follow from the records, by the page on pipelines.
//!
//! Edges: where several requests, or responses, of one key carry the same time, any of them may be the one that has the span.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128, xxh3_128_with_seed};

use super::joins::{NORMALIZED, RESPONSES, TERMS};
use super::oracle::labels;
use super::points::Attributes;
use super::spans::Span;

/// What a record brings to the conversation of its key.
#[derive(Clone, Debug)]
pub struct Event {
    pub time: i64,
    pub is_response: bool,
    pub channel: Option<String>,
    pub kind: String,
    /// Partition and offset.
    pub place: (u32, i64),
    /// Trace and span of its writer, in hexadecimal.
    pub context: Option<(String, String)>,
}

/// One that is over. The first request and response count, the others carry the same time.
#[derive(Clone, Debug)]
pub struct Conversation {
    pub id: String,
    pub requests: Vec<Event>,
    /// None: it was not answered.
    pub responses: Vec<Event>,
    pub end: i64,
}

// === impl Conversation ===

impl Conversation {
    pub fn of(id: &str, request: Event) -> Self {
        Self {
            id: id.to_owned(),
            end: request.time,
            requests: vec![request],
            responses: Vec::new(),
        }
    }

    pub fn answered_by(mut self, responses: Vec<Event>) -> Self {
        self.responses = responses;
        self
    }

    pub fn requests_of_one_time(&mut self, request: Event) {
        if request.time == self.asked() {
            let first = &self.requests[0];
            assert_eq!(
                (&request.channel, &request.context),
                (&first.channel, &first.context),
                "a request that comes twice"
            );
            self.requests.push(request);
        }
    }

    pub fn asked(&self) -> i64 {
        self.requests[0].time
    }

    /// Microseconds from request to response, which is less than none where clocks differ.
    pub fn took(&self) -> i64 {
        self.end - self.asked()
    }

    pub fn channel(&self) -> Attributes {
        let channel = self.requests[0].channel.as_deref();
        labels(&[("channel_type", channel.unwrap_or("unknown"))])
    }

    pub fn is_answered(&self) -> bool {
        !self.responses.is_empty()
    }

    /// The writer's own; else, as the page says, by hashes over application, pipeline, key and the request's time.
    pub fn trace(&self) -> u128 {
        if let Some((trace, _)) = &self.requests[0].context {
            return u128::from_str_radix(trace, 16).expect("hexadecimal");
        }
        // The application, the pipeline and the trace.
        let names: [&[u8]; 3] = [b"support", b"support", b"conversations"];
        let seed = names.iter().fold(0, |seed, name| xxh3_64_with_seed(name, seed));
        let mut bytes = xxh3_128(self.id.as_bytes()).to_be_bytes().to_vec();
        bytes.extend(self.asked().to_be_bytes());
        xxh3_128_with_seed(&bytes, seed).max(1)
    }

    /// By the last 56 bits: the threshold is what of them does not leave.
    pub fn is_sampled(&self) -> bool {
        const ALL: u64 = 1 << 56;
        self.trace() as u64 % ALL >= ALL - ALL / TERMS.sampled_one_in
    }

    /// It leaves whatever its trace id is.
    pub fn is_kept(&self) -> bool {
        !self.is_answered() || self.took() > TERMS.slow
    }

    /// What is wrong with the spans of its trace.
    pub fn fault(&self, spans: &BTreeMap<String, Span>) -> Option<String> {
        let (start, end) = (self.asked().min(self.end), self.asked().max(self.end));
        let parent = self.requests[0].context.as_ref().map_or("", |(_, span)| span);
        let roots: Vec<&Span> = spans
            .values()
            .filter(|span| span.text("parentSpanId") == parent)
            .collect();
        let [root] = roots[..] else {
            return Some(format!("{} roots: {spans:?}", roots.len()));
        };
        let trace_state = if self.is_sampled() {
            format!("ot=th:{:x}", 16 - 16 / TERMS.sampled_one_in)
        } else {
            String::new()
        };
        let (status, events): (i64, &[&str]) = if self.is_answered() {
            (1, &[])
        } else {
            (2, &["unanswered"])
        };
        let request = &self.requests[0];
        let channel = request.channel.as_deref().filter(|channel| !channel.is_empty());
        let mut kinds = self.requests.iter().map(|request| request.kind.as_str());
        let mut right = root.text("name") == "process-message"
            && root.text("traceState") == trace_state
            && (root.status(), &root.events()[..]) == (status, events)
            && root.times() == (start, end)
            && root.attribute("channel_type") == channel
            && kinds.any(|kind| root.attribute("message.type") == Some(kind));
        for span in spans.values() {
            right &= span.attribute("correlation.id") == Some(&self.id)
                && (span == root || span.text("parentSpanId") == root.text("spanId"));
        }
        let is_child = |span: &&Span, topic: &str, times: (i64, i64), of: &[Event]| {
            let says = |name: &str, value: String| span.attribute(name) == Some(&value);
            span.text("name") == format!("process {topic}")
                && span.times() == times
                && of.iter().any(|event| {
                    says("messaging.destination.partition.id", event.place.0.to_string())
                        && says("messaging.kafka.offset", event.place.1.to_string())
                })
        };
        let children = |topic: &str, times: (i64, i64), of: &[Event]| {
            let found = spans.values().filter(|span| is_child(span, topic, times, of));
            found.count()
        };
        right &= children(NORMALIZED, (self.asked(), self.asked()), &self.requests) == 1;
        let mut count = 2;
        if let Some(response) = self.responses.first() {
            right &= children(
                RESPONSES,
                (self.asked().min(response.time), response.time),
                &self.responses,
            ) == 1;
            count += 1;
        }
        (!right || spans.len() != count).then(|| format!("expected {self:?}, got {spans:?}"))
    }
}
