//! Spans of what the process does itself: `commit`, `restore`, `rebalance` and `export`.
//!
//! Rule: nothing is measured, and nothing kept, before [`start`] has said where spans go. A span that is under way is the
//! current one while its work is done, so that log lines have its ids.
//!
//! Edges:
//! - a commit is linked to the trace of one record in it: the first whose `traceparent` header says that it is sampled,
//!   among the first few that are read for the transaction. It is no child of it: a transaction is no part of what
//!   one writer does;
//! - a span that is not ended ends when it is dropped.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime};

use opentelemetry::trace::{Link, SpanContext, Status, TraceContextExt, Tracer};
use opentelemetry::{Context, ContextGuard, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracer;

use super::log::TopicPartition;
use crate::engine::task::{Headers, Output};

/// How many records of a transaction are asked for a trace.
const LOOKS: u32 = 32;

static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// A span under way; none where nothing is traced.
#[derive(Default)]
pub struct Traced(Option<Context>);

/// What is known of a worker's transactions.
#[derive(Default)]
pub(super) struct Commits {
    on: bool,
    /// Since the last seal.
    read: Read,
    /// Of the transaction under way.
    sealed: Read,
    span: Traced,
}

/// Records that a transaction is about.
#[derive(Default)]
struct Read {
    records: u64,
    looked: u32,
    link: Option<SpanContext>,
}

/// Says where spans go; once, before there are workers.
pub fn start(tracer: SdkTracer) {
    let _ = TRACER.set(tracer);
}

/// Whether spans go anywhere.
pub fn is_on() -> bool {
    TRACER.get().is_some()
}

// === impl Traced ===

impl Traced {
    /// A span that begins now.
    pub fn begin<const N: usize>(name: &'static str, attributes: impl FnOnce() -> [KeyValue; N]) -> Self {
        Self::since(name, Instant::now(), attributes)
    }

    /// A span of what has begun before, below the current one.
    pub fn since<const N: usize>(
        name: &'static str,
        began: Instant,
        attributes: impl FnOnce() -> [KeyValue; N],
    ) -> Self {
        Self::linked(name, began, attributes, None)
    }

    fn linked<const N: usize>(
        name: &'static str,
        began: Instant,
        attributes: impl FnOnce() -> [KeyValue; N],
        link: Option<SpanContext>,
    ) -> Self {
        Self(TRACER.get().map(|tracer| {
            let links = link.into_iter().map(|span| Link::new(span, Vec::new(), 0));
            let now = SystemTime::now();
            let span = tracer
                .span_builder(name)
                .with_start_time(now.checked_sub(began.elapsed()).unwrap_or(now))
                .with_attributes(attributes())
                .with_links(links.collect())
                .start(tracer);
            Context::current_with_span(span)
        }))
    }

    /// Makes it the current one while the guard lives.
    pub fn within(&self) -> Option<ContextGuard> {
        self.0.as_ref().map(|context| context.clone().attach())
    }

    pub fn event(&self, name: &'static str, why: &str) {
        if let Some(context) = &self.0 {
            let attributes = vec![KeyValue::new("reason", why.to_owned())];
            context.span().add_event(name, attributes);
        }
    }

    pub fn set(&self, name: &'static str, value: u64) {
        if let Some(context) = &self.0 {
            context.span().set_attribute(number(name, value));
        }
    }

    /// Ends it, with what went wrong.
    pub fn end(self, error: Option<&str>) {
        if let Some(context) = self.0 {
            let status = match error {
                None => Status::Ok,
                Some(why) => Status::error(why.to_owned()),
            };
            context.span().set_status(status);
            context.span().end();
        }
    }
}

// === impl Commits ===

impl Commits {
    pub fn new() -> Self {
        Self {
            on: is_on(),
            ..Self::default()
        }
    }

    /// A record that is taken.
    #[inline]
    pub fn take(&mut self, headers: &dyn Headers) {
        if self.on {
            self.read.take(headers);
        }
    }

    /// What was read is about to be committed.
    pub fn seal(&mut self) {
        self.sealed = std::mem::take(&mut self.read);
    }

    /// The first try; later ones are part of it.
    pub fn begin(&mut self, worker: &str, outputs: &BTreeMap<TopicPartition, Output>) {
        if self.on && self.span.0.is_none() {
            let Read { records, link, .. } = std::mem::take(&mut self.sealed);
            let attributes = || {
                [
                    KeyValue::new("messaging.system", "kafka"),
                    KeyValue::new("streamgauge.worker", worker.to_owned()),
                    number("streamgauge.partitions", outputs.len() as u64),
                    number("streamgauge.records", records),
                    number("streamgauge.bytes", outputs.values().map(bytes).sum()),
                ]
            };
            self.span = Traced::linked("commit", Instant::now(), attributes, link);
        }
    }

    pub fn span(&self) -> &Traced {
        &self.span
    }

    pub fn end(&mut self, error: Option<&str>) {
        std::mem::take(&mut self.span).end(error);
    }

    /// Everything is read again.
    pub fn start_over(&mut self, why: &str) {
        self.end(Some(why));
        self.read = Read::default();
        self.sealed = Read::default();
    }
}

// === impl Read ===

impl Read {
    fn take(&mut self, headers: &dyn Headers) {
        self.records += 1;
        if self.link.is_none() && self.looked < LOOKS {
            self.looked += 1;
            self.link = sampled(headers);
        }
    }
}

/// The span that a record's writer names and keeps (W3C Trace Context).
fn sampled(headers: &dyn Headers) -> Option<SpanContext> {
    use opentelemetry::propagation::{Extractor, TextMapPropagator};

    struct Named<'a>(&'a dyn Headers);

    impl Extractor for Named<'_> {
        fn get(&self, key: &str) -> Option<&str> {
            std::str::from_utf8(self.0.last(key)?).ok()
        }

        fn keys(&self) -> Vec<&str> {
            vec!["traceparent"]
        }
    }

    headers.last("traceparent")?;
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Named(headers));
    let span = context.span().span_context().clone();
    (span.is_valid() && span.is_sampled()).then_some(span)
}

/// What a transaction writes for one task, without keys and headers.
fn bytes(output: &Output) -> u64 {
    let changelog = output.changelog.iter().filter_map(|(_, value)| value.as_ref());
    let written = output.outbox.iter().chain(&output.index).chain(changelog);
    let shuffled = output.shuffled.iter().map(|shuffled| &shuffled.batch);
    let notices = output.notices.iter().map(|notice| &notice.notification);
    written
        .chain(shuffled)
        .chain(notices)
        .map(|bytes| bytes.len() as u64)
        .sum()
}

/// A whole number that is an attribute.
pub fn number(name: &'static str, value: u64) -> KeyValue {
    KeyValue::new(name, i64::try_from(value).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Parent(&'static [u8]);

    impl Headers for Parent {
        fn last(&self, name: &str) -> Option<&[u8]> {
            (name == "traceparent").then_some(self.0)
        }
    }

    const SAMPLED: Parent = Parent(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    const NOT_SAMPLED: Parent = Parent(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00");

    #[test]
    fn only_a_trace_that_its_writer_keeps_is_followed() {
        let link = sampled(&SAMPLED).expect("a span");
        assert_eq!(link.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(link.span_id().to_string(), "00f067aa0ba902b7");
        for other in [NOT_SAMPLED, Parent(b"nonsense"), Parent(b"\xff"), Parent(b"")] {
            assert!(sampled(&other).is_none(), "{other:?}");
        }
        assert!(sampled(&()).is_none());
    }

    #[test]
    fn the_first_sampled_record_of_a_transaction_is_its_link_and_later_ones_are_not_asked() {
        let mut read = Read::default();
        read.take(&NOT_SAMPLED);
        read.take(&SAMPLED);
        read.take(&());
        assert_eq!((read.records, read.looked, read.link.is_some()), (3, 2, true));
        let mut late = Read::default();
        (0..LOOKS).for_each(|_| late.take(&()));
        late.take(&SAMPLED);
        assert!(late.link.is_none());
        assert_eq!(late.records, u64::from(LOOKS) + 1);
    }

    #[test]
    fn nothing_is_counted_and_no_header_is_read_where_nothing_is_traced() {
        #[derive(Debug)]
        struct Unread;
        impl Headers for Unread {
            fn last(&self, _: &str) -> Option<&[u8]> {
                panic!("a header is read")
            }
        }
        let mut commits = Commits::new();
        commits.take(&Unread);
        assert_eq!(commits.read.records, 0);
        commits.begin("tap-0", &BTreeMap::new());
        assert!(commits.span().within().is_none());
    }
}
