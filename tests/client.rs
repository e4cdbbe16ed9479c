//! Applications that measure themselves.
//!
//! Promise: what they send and handle arrives at the collector, and in Prometheus, with the names and labels of the
//! monitoring guide; the trace goes on from the producer to the handler; only what was handled with success is committed.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::collector::Collector;
use common::instance::BINARY;
use common::kafka::Kafka;
use common::lines::{self, Page};
use common::points::Attributes;
use common::process::Process;
use common::sdk::Sdk;
use common::spans::Span;
use common::{eventually, folder, my_turn};
use rdkafka::message::Message;
use streamgauge::client::{ConsumeError, InstrumentedConsumer, InstrumentedProducer, OnFailure, Outgoing};
use streamgauge::logs::{Format, Lines};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

const LIMIT: Duration = Duration::from_secs(60);
const TOPIC: &str = "work";
const GROUP: &str = "workers";

const VALUES: [&str; 3] = [
    r#"{"message_type": "email", "correlation_id": "c1", "then": "success"}"#,
    r#"{"message_type": "email", "then": "failure"}"#,
    "error",
];

#[derive(Debug, thiserror::Error)]
#[error("the ticket system is away")]
struct Away;

fn consumer(kafka: &Kafka, sdk: &Sdk, on_failure: OnFailure) -> InstrumentedConsumer {
    let mut settings = kafka.client();
    settings
        .set("group.id", GROUP)
        .set("auto.offset.reset", "earliest")
        .set("statistics.interval.ms", "200")
        .set("enable.auto.commit", "true");
    let consumer = InstrumentedConsumer::new(&settings, on_failure, &sdk.instrumentation()).expect("a consumer");
    consumer.subscribe(&[TOPIC]).expect("a topic");
    consumer
}

fn committed(kafka: &Kafka) -> Option<i64> {
    kafka.committed(GROUP, TOPIC)[0].clone().map(|(offset, _)| offset)
}

fn labels<const N: usize>(pairs: [(&str, &str); N]) -> Attributes {
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// The names and types of the guide's metrics in a page for Prometheus.
fn families(page: &str) -> BTreeSet<(String, String)> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE kafka_"));
    let pairs = types.filter_map(|line| line.split_once(' '));
    pairs
        .map(|(name, kind)| (format!("kafka_{name}"), kind.to_owned()))
        .collect()
}

#[test]
fn what_an_application_sends_and_handles_is_measured_traced_and_committed_after_success() {
    let _turn = my_turn();
    let folder = folder();
    let kafka = Kafka::start();
    let mut collector = Collector::start(folder.path());
    let sdk = Sdk::to(&collector);
    kafka.create_topic(TOPIC, 1, &[]);
    let logs = Page::default();
    let logged = Lines::new(Format::Json, 0, logs.clone());
    tracing_subscriber::registry()
        .with(logged.with_filter(LevelFilter::INFO))
        .init();

    let mut settings = kafka.client();
    settings.set("statistics.interval.ms", "200");
    let producer = InstrumentedProducer::new(&settings, "shop-1", &sdk.instrumentation()).expect("a producer");
    let send = |partition: i32, value: &[u8]| {
        producer.send_with_metrics(Outgoing {
            topic: TOPIC,
            partition: Some(partition),
            value: Some(value),
            ..Outgoing::default()
        })
    };
    for (offset, value) in (0..).zip(VALUES) {
        // One way to wait is that of a thread, the other that of a task.
        let delivery = send(0, value.as_bytes());
        let outcome = match offset {
            0 => delivery.wait(),
            _ => sdk.runtime.block_on(delivery),
        };
        assert_eq!(outcome.expect("it is sent").offset, offset);
    }
    send(0, &vec![b'x'; 2_000_000]).wait().expect_err("it is too large");
    send(99, b"x").wait().expect_err("there is no such partition");

    // A failure and an error are not committed, and do not hold the loop.
    let skipping = consumer(&kafka, &sdk, OnFailure::Skip);
    std::thread::scope(|scope| {
        let stop = skipping.stopper();
        let looped = scope.spawn(move || {
            skipping.consume_with_metrics(|message| match message.offset() {
                0 => Ok(true),
                1 => Ok(false),
                _ => Err(Away),
            })
        });
        let gauges = eventually("lag and offset of the consumer", LIMIT, || {
            sdk.flush()?;
            let points = collector.points();
            let of = |name: &str| points.counts(name);
            let gauges = (of("kafka_consumer_lag"), of("kafka_consumer_offset"));
            let place = labels([("topic", TOPIC), ("partition", "0"), ("consumer_group", GROUP)]);
            let wanted = (BTreeMap::from([(place.clone(), 0)]), BTreeMap::from([(place, 1)]));
            let errors = of("kafka_consumer_messages_total").into_iter();
            let errors = errors.filter(|(labels, _)| labels["status"] == "error").count();
            match gauges == wanted && errors == 1 {
                true => Ok(gauges),
                false => Err(format!("{gauges:?}")),
            }
        });
        assert_eq!(gauges.0.len(), 1);
        stop.stop();
        looped.join().expect("no panic").expect("a clean end");
    });
    assert_eq!(committed(&kafka), Some(1));

    // Who stops at a failure gets it again.
    let stopping = consumer(&kafka, &sdk, OnFailure::Stop);
    let ended = stopping.consume_with_metrics(|_| Ok::<_, Away>(false));
    assert!(
        matches!(ended, Err(ConsumeError::Unhandled { offset: 1, .. })),
        "{ended:?}"
    );
    assert_eq!(committed(&kafka), Some(1));

    // A panic is an error, and stays a panic.
    let panicking = consumer(&kafka, &sdk, OnFailure::Skip);
    let handled = std::thread::scope(|scope| {
        let looped = scope.spawn(move || panicking.consume_with_metrics::<Away>(|_| panic!("a handler that panics")));
        looped.join()
    });
    assert!(handled.is_err());
    assert_eq!(committed(&kafka), Some(1));

    let healed = consumer(&kafka, &sdk, OnFailure::Skip);
    let stop = healed.stopper();
    let last = healed.consume_with_metrics(|message| {
        if message.offset() == 2 {
            stop.stop();
        }
        Ok::<_, Away>(true)
    });
    last.expect("a clean end");
    assert_eq!(committed(&kafka), Some(3), "the commit is waited for at the end");

    // The counts, with exactly these labels.
    sdk.flush().expect("the collector takes it");
    let sizes: i64 = VALUES.iter().map(|value| value.len() as i64).sum();
    let again: i64 = VALUES[1..].iter().map(|value| value.len() as i64).sum();
    let of = |status: &str| labels([("topic", TOPIC), ("producer_id", "shop-1"), ("status", status)]);
    let error = |kind: &str| labels([("error_type", kind), ("topic", TOPIC), ("producer_id", "shop-1")]);
    let handled = |status: &str| labels([("topic", TOPIC), ("consumer_group", GROUP), ("status", status)]);
    let ours = labels([("topic", TOPIC), ("producer_id", "shop-1")]);
    let theirs = labels([("topic", TOPIC), ("consumer_group", GROUP)]);
    let wanted = [
        (
            "kafka_producer_messages_total",
            BTreeMap::from([(of("success"), 3), (of("failure"), 2)]),
        ),
        ("kafka_producer_latency_seconds", BTreeMap::from([(ours.clone(), 5)])),
        ("kafka_producer_bytes_total", BTreeMap::from([(ours, sizes)])),
        (
            "kafka_producer_errors_total",
            BTreeMap::from([(error("MessageSizeTooLarge"), 1), (error("UnknownPartition"), 1)]),
        ),
        (
            "kafka_consumer_messages_total",
            BTreeMap::from([(handled("success"), 3), (handled("failure"), 2), (handled("error"), 2)]),
        ),
        ("kafka_consumer_latency_seconds", BTreeMap::from([(theirs.clone(), 7)])),
        // Three times: all, the second alone twice, and the last two.
        (
            "kafka_consumer_bytes_total",
            BTreeMap::from([(theirs, sizes + 2 * VALUES[1].len() as i64 + again)]),
        ),
        (
            "kafka_producer_queue_size",
            BTreeMap::from([(labels([("producer_id", "shop-1")]), 0)]),
        ),
    ];
    eventually("all counts", LIMIT, || {
        sdk.flush()?;
        let points = collector.points();
        for (name, wanted) in &wanted {
            let numbers = points.last(name).into_iter();
            let found: BTreeMap<_, _> = numbers.map(|(labels, value)| (labels, value.number() as i64)).collect();
            if found != *wanted {
                return Err(format!("{name}: {found:?}"));
            }
        }
        Ok(())
    });

    // The same in log lines, of the guide's shape.
    assert_eq!(lines::faults(&logs.text()), [""; 0]);
    let said = |event_type: &str, level: &str, status: &str| {
        let all = logs.of(event_type).into_iter();
        all.filter(|(of, details)| of == level && details["status"] == status && details["topic"] == TOPIC)
            .count()
    };
    let counts = [
        said("producer_event", "INFO", "success"),
        said("producer_event", "WARNING", "error"),
        said("consumer_event", "INFO", "success"),
        said("consumer_event", "ERROR", "failure"),
        said("consumer_event", "ERROR", "error"),
    ];
    assert_eq!(counts, [3, 2, 3, 2, 2], "{}", logs.text());
    assert!(!logs.text().contains("correlation_id"), "no value is logged");

    // The same in Prometheus, with no doubled suffix.
    let kind = |(name, kind): (&str, &str)| (name.to_owned(), kind.to_owned());
    let wanted: BTreeSet<_> = [
        ("kafka_producer_messages_total", "counter"),
        ("kafka_producer_latency_seconds", "histogram"),
        ("kafka_producer_queue_size", "gauge"),
        ("kafka_producer_bytes_total", "counter"),
        ("kafka_producer_errors_total", "counter"),
        ("kafka_consumer_messages_total", "counter"),
        ("kafka_consumer_latency_seconds", "histogram"),
        ("kafka_consumer_offset", "gauge"),
        ("kafka_consumer_lag", "gauge"),
        ("kafka_consumer_bytes_total", "counter"),
    ]
    .map(kind)
    .into();
    let page = collector.exposition().expect("a page");
    assert_eq!(families(&page), wanted);
    let bounds = |page: &str| {
        page.lines()
            .filter(|line| line.contains("kafka_consumer_latency_seconds_bucket"))
            .count()
    };
    assert_eq!(bounds(&page), 12, "eleven boundaries and infinity");

    // The trace goes on.
    let header = &kafka.read(TOPIC, false)[0].headers["traceparent"];
    let parts: Vec<&str> = header.split('-').collect();
    let spans = eventually("spans of the first record", LIMIT, || {
        let trace = collector.spans().traces.get(parts[1]).cloned().unwrap_or_default();
        match trace.len() {
            2 => Ok(trace),
            others => Err(format!("{others} spans")),
        }
    });
    assert_eq!(spans[parts[2]].text("name"), "send work");
    let child = spans
        .values()
        .find(|span| span.text("name") == "process-message")
        .expect("a handler's span");
    assert_eq!(child.text("parentSpanId"), parts[2]);
    for (event_type, span) in [("producer_event", parts[2]), ("consumer_event", child.text("spanId"))] {
        let (_, first) = &logs.of(event_type)[0];
        assert_eq!(
            (&first["trace_id"], &first["span_id"]),
            (&parts[1].into(), &span.into())
        );
    }
    let attributes = [
        ("messaging.system", "kafka"),
        ("messaging.destination", TOPIC),
        ("messaging.operation", "process"),
        ("message.type", "email"),
        ("correlation.id", "c1"),
    ];
    for (name, value) in attributes {
        assert_eq!(child.attribute(name), Some(value), "{name}");
    }
    assert_eq!(child.status(), 1);
    let all: Vec<Span> = collector
        .spans()
        .traces
        .values()
        .flat_map(BTreeMap::values)
        .cloned()
        .collect();
    let failed = |span: &&Span| span.text("name") == "process-message" && span.status() == 2;
    let exceptions = all
        .iter()
        .filter(failed)
        .filter(|span| span.events() == ["exception"])
        .count();
    assert_eq!((all.iter().filter(failed).count(), exceptions), (4, 2));
}

#[test]
fn the_examples_send_and_handle_what_they_say_and_a_rebalance_takes_nothing_away() {
    let _turn = my_turn();
    const RECORDS: i64 = 300;
    let folder = folder();
    let kafka = Kafka::start();
    let mut collector = Collector::start(folder.path());
    kafka.create_topic("tickets", 4, &[]);
    let bootstrap = kafka.bootstrap();
    let endpoint = collector.endpoint();
    let example = |name: &str, process: &str, arguments: &[&str]| {
        let path = Path::new(BINARY)
            .parent()
            .expect("a folder")
            .join("examples")
            .join(name);
        let mut command = Command::new(path);
        command
            .arg(&bootstrap)
            .args(arguments)
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)
            .env("OTEL_RESOURCE_ATTRIBUTES", format!("service.instance.id={process}"))
            .env("OTEL_METRIC_EXPORT_INTERVAL", "500");
        Process::start(process, folder.path(), &mut command)
    };
    let count = RECORDS.to_string();
    let send = |name: &str| {
        let mut producer = example("produce", name, &["tickets", &count]);
        assert!(producer.wait(LIMIT).success(), "{}", producer.output());
    };
    send("first");
    let mut one = example("consume", "one", &["tickets", "crew"]);
    let done = |sent: i64| {
        let committed = kafka.committed("crew", "tickets").into_iter().flatten();
        match committed.map(|(offset, _)| offset).sum::<i64>() {
            all if all == sent => Ok(()),
            some => Err(format!("{some} of {sent} are committed")),
        }
    };
    eventually("everything is handled", LIMIT, || done(RECORDS));
    // Another one takes some of the partitions, and then has all.
    let mut two = example("consume", "two", &["tickets", "crew"]);
    send("second");
    eventually("both handle what comes", LIMIT, || done(2 * RECORDS));
    assert!(one.terminate(LIMIT).success(), "{}", one.output());
    send("third");
    eventually("the other one handles all", LIMIT, || done(3 * RECORDS));
    assert!(two.terminate(LIMIT).success(), "{}", two.output());
    let handled = |of: &mut Process| {
        let told = of.output();
        let words = told
            .lines()
            .rev()
            .find_map(|line| line.strip_suffix(" records handled").map(str::to_owned));
        words
            .and_then(|count| count.parse::<i64>().ok())
            .unwrap_or_else(|| panic!("{told}"))
    };
    let (by_one, by_two) = (handled(&mut one), handled(&mut two));
    assert!(by_one >= RECORDS && by_two >= RECORDS, "{by_one} and {by_two}");
    // A record may be handled twice while partitions change hands, and none is left out.
    assert!(
        (3 * RECORDS..3 * RECORDS + RECORDS).contains(&(by_one + by_two)),
        "{by_one} and {by_two}"
    );
    let told = collector.points().of("kafka_consumer_messages_total");
    let told: i64 = told
        .filter_map(|(_, series)| series.last())
        .map(|value| value.integer())
        .sum();
    assert_eq!(told, by_one + by_two);
}
