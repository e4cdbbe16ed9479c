//! Every conversation is one whole trace at a real collector, though the process is killed in between.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::collector::Collector;
use common::instance::Application;
use common::kafka::{Kafka, Write};
use common::random::Random;
use common::spans::{Span, Spans};
use common::traffic::stamp;
use common::{eventually, folder, my_turn, now_micros, seed};

const LIMIT: Duration = Duration::from_secs(90);
const PARTITIONS: u64 = 3;

const PIPELINE: &str = "
pipeline: support
defaults: { out_of_order: 1s, idle_after: 1s, window: 1s }
sources:
  normalized: { topic: normalized, time: /timestamp }
  tickets: { topic: tickets, time: /timestamp }
  responses: { topic: responses, time: /timestamp }
metrics:
  response_time_seconds:
    respond: { from: normalized, to: responses, on: /correlation_id, within: 3s }
traces:
  conversations:
    of: response_time_seconds
    spans: [{ source: tickets, key: /about }]
    attributes: { message.type: /type }
    failed: /error
";

/// What must come of one conversation.
struct Told {
    asked: i64,
    /// When, and whether it says that it failed.
    answered: Option<(i64, bool)>,
    ticket: Option<i64>,
    /// Trace and span of the request's writer.
    context: Option<(String, String)>,
}

fn pipeline(folder: &Path) -> PathBuf {
    let path = folder.join("support.yaml");
    std::fs::write(&path, PIPELINE).expect("a pipeline");
    path
}

/// Writes conversations that begin now.
fn talk(kafka: &Kafka, random: &mut Random, numbers: std::ops::Range<u64>) -> BTreeMap<String, Told> {
    let writer = kafka.writer();
    let write = |topic: &str, partition: u64, value: String, headers: Vec<(String, String)>| {
        writer.write(&Write {
            topic: topic.to_owned(),
            partition: partition as u32,
            value: Some(value.into_bytes()),
            headers,
            ..Write::default()
        });
    };
    let mut told = BTreeMap::new();
    for number in numbers {
        let id = format!("conversation {number}");
        let asked = now_micros();
        let context = (number % 3 == 0).then(|| (format!("{:032x}", number + 1), format!("{:016x}", number + 7)));
        let headers = context
            .iter()
            .map(|(trace, span)| ("traceparent".to_owned(), format!("00-{trace}-{span}-01")));
        let request = format!(
            r#"{{"timestamp": "{}", "correlation_id": "{id}", "type": "inquiry"}}"#,
            stamp(asked)
        );
        write("normalized", random.below(PARTITIONS), request, headers.collect());
        let took = 2 + random.below(400_000) as i64;
        let ticket = (number % 4 == 1).then_some(asked + took / 2);
        let answered = (number % 5 != 0).then_some((asked + took, number % 10 == 7));
        if let Some(at) = ticket {
            let ticket = format!(r#"{{"timestamp": "{}", "about": "{id}"}}"#, stamp(at));
            write("tickets", random.below(PARTITIONS), ticket, vec![]);
        }
        if let Some((at, failed)) = answered {
            let error = if failed { r#", "error": "mailbox full""# } else { "" };
            let response = format!(r#"{{"timestamp": "{}", "correlation_id": "{id}"{error}}}"#, stamp(at));
            write("responses", random.below(PARTITIONS), response, vec![]);
        }
        told.insert(
            id,
            Told {
                asked,
                answered,
                ticket,
                context,
            },
        );
    }
    writer.flush();
    told
}

fn roots(spans: &Spans) -> usize {
    let spans = spans.traces.values().flat_map(BTreeMap::values);
    spans.filter(|span| span.text("name") == "process-message").count()
}

#[test]
fn every_conversation_is_one_whole_trace_though_the_process_is_killed() {
    let _turn = my_turn();
    let folder = folder();
    let kafka = Kafka::start();
    for topic in ["normalized", "tickets", "responses"] {
        kafka.create_topic(topic, PARTITIONS as u32, &[]);
    }
    let mut random = Random::new(seed(4));
    let mut collector = Collector::start(folder.path());
    let application = Application::new(
        folder.path(),
        &pipeline(folder.path()),
        &kafka.bootstrap(),
        &collector.endpoint(),
    );
    let mut application = application.with(&["--own-traces", "1"]);
    application.environment = vec![("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned())];
    let mut instance = application.start("one");
    eventually("it is ready", LIMIT, || instance.is_ready());
    let mut told = BTreeMap::new();
    for round in 0..3 {
        told.extend(talk(&kafka, &mut random, round * 150..(round + 1) * 150));
        eventually("some traces are there", LIMIT, || match roots(collector.spans()) {
            found if found as u64 > round * 150 + 50 => Ok(()),
            found => Err(format!("{found} roots")),
        });
        instance.kill();
        instance.resume();
    }
    eventually("all traces are there", LIMIT, || match roots(collector.spans()) {
        found if found >= told.len() => Ok(()),
        found => Err(format!("{found} roots of {}", told.len())),
    });
    instance.stop();
    eventually("the process's own spans", LIMIT, || {
        did(&collector.spans().own, &told, &instance.process().output())
    });
    let spans = collector.spans();
    eprintln!(
        "{} conversations, {} traces, {} spans received",
        told.len(),
        spans.traces.len(),
        spans.received
    );
    assert_eq!(spans.traces.len(), told.len());
    for (trace, spans) in &spans.traces {
        whole(trace, spans, &told);
    }
    let traces = spans.traces.clone();
    let exemplars = collector.exemplars();
    eprintln!("{} exemplars", exemplars.len());
    assert!(exemplars.len() > 2, "a window of response times has one");
    for exemplar in exemplars {
        let text = |key: &str| exemplar[key].as_str().unwrap_or_default();
        let trace = traces.get(text("traceId")).expect("it is one of the traces");
        let (start, end) = trace.get(text("spanId")).expect("it is the root").times();
        let seconds = exemplar["asDouble"].as_f64().expect("a number");
        assert_eq!((seconds * 1e6).round() as i64, end - start);
        assert_eq!(text("timeUnixNano"), (end * 1_000).to_string());
    }
}

/// What the process did, as it says so itself.
fn did(own: &BTreeMap<String, Span>, told: &BTreeMap<String, Told>, log: &str) -> Result<(), String> {
    let named = |name: &'static str| own.values().filter(move |span| span.text("name") == name);
    let number = |span: &Span, name: &str| -> u64 {
        let number = span.attribute(name).and_then(|text| text.parse().ok());
        number.unwrap_or_else(|| panic!("{name} is no number in {span:?}"))
    };
    let writers: BTreeSet<(&str, &str)> = told
        .values()
        .filter_map(|told| told.context.as_ref())
        .map(|(trace, span)| (trace.as_str(), span.as_str()))
        .collect();
    let mut linked = 0;
    for commit in named("commit") {
        let links = commit.links();
        assert!(links.len() <= 1, "{commit:?}");
        assert!(links.iter().all(|link| writers.contains(link)), "{commit:?}");
        if !links.is_empty() {
            linked += 1;
            let worker = commit.attribute("streamgauge.worker").expect("a worker");
            assert!(
                worker.starts_with("tap-"),
                "only taps read what writers trace: {commit:?}"
            );
            assert!(number(commit, "streamgauge.records") > 0 && number(commit, "streamgauge.bytes") > 0);
            assert!(number(commit, "streamgauge.partitions") > 0);
        }
    }
    let back = |span: &&Span| {
        let topic = span.attribute("messaging.destination");
        topic == Some("support-correlate-changelog") && number(span, "streamgauge.records") > 0
    };
    let sent = |span: &&Span| span.status() == 1 && number(span, "streamgauge.bytes") > 0;
    // The log line of a rebalance names its span.
    let lines = log
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let of_spans = lines.filter(|line| {
        let details = &line["details"];
        let span = details["span_id"].as_str().and_then(|span| own.get(span));
        line["event_type"] == "partitions_assigned"
            && span.is_some_and(|span| {
                (span.text("name"), span.text("traceId")) == ("rebalance", details["trace_id"].as_str().unwrap_or("-"))
            })
    });
    let counts = [
        linked,
        named("restore").filter(back).count(),
        named("export").filter(sent).count(),
        of_spans.count(),
    ];
    match counts.contains(&0) {
        true => Err(format!("{counts:?} of {} spans", own.len())),
        false => {
            eprintln!("{} own spans: {counts:?}", own.len());
            Ok(())
        }
    }
}

/// One trace against what was written.
fn whole(trace: &str, spans: &BTreeMap<String, Span>, told: &BTreeMap<String, Told>) {
    let named = |name: &str| -> Vec<&Span> { spans.values().filter(|span| span.text("name") == name).collect() };
    let [root] = named("process-message")[..] else {
        panic!("one root in {spans:?}")
    };
    let id = root.attribute("correlation.id").expect("the key");
    let told = &told[id];
    for span in spans.values() {
        assert_eq!(span.attribute("messaging.system"), Some("kafka"));
        assert_eq!(span.attribute("correlation.id"), Some(id));
        if span != root {
            assert_eq!(span.text("parentSpanId"), root.text("spanId"), "no orphan");
            assert!(span.attribute("messaging.kafka.offset").is_some());
        }
    }
    match &told.context {
        Some((of_writer, span)) => assert_eq!((trace, root.text("parentSpanId")), (&of_writer[..], &span[..])),
        None => assert_eq!(root.text("parentSpanId"), ""),
    }
    assert_eq!(root.attribute("message.type"), Some("inquiry"));
    assert_eq!(root.text("traceState"), "ot=th:0");
    let (end, status, events) = match told.answered {
        Some((at, false)) => (at, 1, vec![]),
        Some((at, true)) => (at, 2, vec!["failed"]),
        None => (told.asked + 3_000_000, 2, vec!["unanswered"]),
    };
    assert_eq!(root.times(), (told.asked, end));
    assert_eq!((root.status(), root.events()), (status, events));
    let ends = |name: &str| -> Vec<i64> { named(name).iter().map(|span| span.times().1).collect() };
    assert_eq!(ends("process normalized"), [told.asked]);
    assert_eq!(ends("process tickets"), told.ticket.into_iter().collect::<Vec<_>>());
    let answers = told.answered.iter().map(|(at, _)| *at);
    assert_eq!(ends("process responses"), answers.collect::<Vec<_>>());
}
