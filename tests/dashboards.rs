//! What Grafana is given works as it is.
//!
//! Promise: every query of every panel, and of every variable, returns data from a real Prometheus that a real run has
//! filled; the dashboards are whole: nothing overlaps, every panel has its source, and the guide's four panels are there.

mod common;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use common::chaos::{create_topics, hurried_pipeline};
use common::collector::Collector;
use common::instance::Application;
use common::kafka::Kafka;
use common::prometheus::Prometheus;
use common::sdk::Sdk;
use common::traffic::{Traffic, troubled};
use common::{eventually, folder, my_turn, seed};
use serde_json::Value as Json;
use streamgauge::client::{InstrumentedConsumer, InstrumentedProducer, OnFailure, Outgoing};

const LIMIT: Duration = Duration::from_secs(90);
const BOARDS: [&str; 2] = ["kafka-event-streaming", "streamgauge"];

/// Of an exponential histogram Prometheus has these where it fetched it as text; here it has native ones.
const CLASSIC: [&str; 3] = [
    "response_time_seconds_bucket",
    "response_time_seconds_sum",
    "response_time_seconds_count",
];

fn board(name: &str) -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("deploy/grafana/{name}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn list<'j>(json: &'j Json, pointer: &str) -> &'j [Json] {
    json.pointer(pointer)
        .and_then(Json::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Title and query of each target, as Grafana would ask it with everything chosen.
fn queries(board: &Json) -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for panel in list(board, "/panels") {
        for target in list(panel, "/targets") {
            let mut query = target["expr"].as_str().expect("a query").to_owned();
            for (name, value) in [
                ("$__rate_interval", "1m"),
                ("$topic", ".*"),
                ("$consumer_group", ".*"),
                ("$channel", ".*"),
            ] {
                query = query.replace(name, value);
            }
            assert!(!query.contains('$'), "nothing else is left to be replaced: {query}");
            queries.push((panel["title"].as_str().unwrap_or_default().to_owned(), query));
        }
    }
    queries
}

/// Metrics of a query.
fn names(query: &str) -> impl Iterator<Item = &str> {
    let words = query.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let families = [
        "kafka_",
        "streamgauge_",
        "channel_messages_",
        "tickets_",
        "customer_",
        "response_",
        "responses_",
    ];
    words.filter(move |word| families.iter().any(|family| word.starts_with(family)))
}

/// What the variables choose from, as a query: `label_values(metric, label)`.
fn choices(board: &Json) -> Vec<String> {
    let variables = list(board, "/templating/list").iter();
    let asked = variables.filter_map(|variable| variable["query"]["query"].as_str());
    let asked = asked.map(|query| {
        let inside = query
            .strip_prefix("label_values(")
            .and_then(|query| query.strip_suffix(')'));
        let (metric, label) = inside
            .and_then(|inside| inside.split_once(", "))
            .expect("metric and label");
        format!("count by ({label}) ({metric}{{{label}!=\"\"}})")
    });
    asked.collect()
}

#[test]
fn every_query_of_the_dashboards_returns_data() {
    let _turn = my_turn();
    let seed = seed(41);
    let folder = folder();
    let kafka = Kafka::start();
    create_topics(&kafka);
    let pipeline = hurried_pipeline(folder.path(), "[billing, helpers]");
    let collector = Collector::start(folder.path());
    // What applications say of themselves is fetched from the collector.
    let prometheus = Prometheus::fetching(folder.path(), &[collector.page()]);
    let mut application = Application::new(folder.path(), &pipeline, &kafka.bootstrap(), "");
    application.environment = vec![
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", prometheus.endpoint()),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf".to_owned()),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", collector.endpoint()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "2000".to_owned()),
    ];
    let mut instance = application.start("one");
    let sdk = Sdk::to(&collector);
    let writer = kafka.measured_writer("simulator", &sdk.instrumentation());
    let traffic = || Traffic::new(seed, troubled(150, 8)).write(&writer, 3_000);
    std::thread::scope(|scope| {
        let writing = scope.spawn(traffic);
        let mut settings = kafka.client();
        settings.set("statistics.interval.ms", "500");
        let producer = InstrumentedProducer::new(&settings, "helper-1", &sdk.instrumentation()).expect("a producer");
        settings.set("group.id", "helpers").set("auto.offset.reset", "earliest");
        let consumer =
            InstrumentedConsumer::new(&settings, OnFailure::Skip, &sdk.instrumentation()).expect("a consumer");
        consumer.subscribe(&["processing.tickets.in"]).expect("a topic");
        let stop = consumer.stopper();
        let handling = scope.spawn(move || {
            let mut handled = 0;
            consumer.consume_with_metrics(|_| {
                handled += 1;
                Ok::<_, std::convert::Infallible>(handled % 7 != 0)
            })
        });
        let mut offset = 0;
        while !writing.is_finished() {
            let outgoing = |partition| Outgoing {
                topic: "notifications.metrics",
                partition,
                value: Some(b"{}"),
                ..Outgoing::default()
            };
            let sent = producer.send_with_metrics(outgoing(None)).wait();
            sent.expect("it is sent");
            let sent = producer.send_with_metrics(outgoing(Some(99))).wait();
            sent.expect_err("there is no such partition");
            offset += 1;
            kafka.reset("billing", "processing.tickets.in", 2, offset);
            sdk.flush().expect("the collector takes it");
            std::thread::sleep(Duration::from_millis(500));
        }
        let asked: Vec<(String, String)> = BOARDS.iter().flat_map(|name| queries(&board(name))).collect();
        let choices: Vec<String> = BOARDS.iter().flat_map(|name| choices(&board(name))).collect();
        assert!(
            asked.len() > 50 && choices.len() >= 3,
            "{} and {}",
            asked.len(),
            choices.len()
        );
        let mut silent: BTreeSet<String> = asked.iter().map(|(_, query)| query.clone()).chain(choices).collect();
        eventually("data for every query", LIMIT, || {
            let mut told = Vec::new();
            for query in silent.clone() {
                match prometheus.values(&query) {
                    Ok(values) if values.iter().any(|value| value.is_finite()) => drop(silent.remove(&query)),
                    answer => told.push(format!("{query}: {answer:?}")),
                }
            }
            match told.is_empty() {
                true => Ok(()),
                false => Err(told.join("\n")),
            }
        });
        // What a query says where there is nothing must not hide a name that nobody has.
        let known = prometheus.names().expect("names");
        let named: BTreeSet<&str> = asked.iter().flat_map(|(_, query)| names(query)).collect();
        let unknown = named.into_iter().filter(|name| !known.iter().any(|of| of == name));
        let unknown: Vec<&str> = unknown.filter(|name| !CLASSIC.contains(name)).collect();
        assert!(unknown.is_empty(), "{unknown:?}");
        stop.stop();
        handling.join().expect("no panic").expect("a clean end");
    });
    let exemplars = prometheus.exemplars("response_time_seconds").expect("exemplars");
    assert!(!exemplars.is_empty(), "dots that lead to traces");
    instance.stop();
}

#[test]
fn dashboards_are_whole() {
    let mut uids = BTreeSet::new();
    for name in BOARDS {
        let board = board(name);
        assert!(uids.insert(board["uid"].as_str().expect("an id").to_owned()));
        assert!(board["schemaVersion"].as_u64().is_some_and(|version| version >= 41));
        assert!(board["id"].is_null(), "an id is Grafana's to give");
        let mut ids = BTreeSet::new();
        let mut taken = BTreeSet::new();
        let variables: Vec<&str> = list(&board, "/templating/list")
            .iter()
            .filter_map(|variable| variable["name"].as_str())
            .collect();
        assert_eq!(variables[0], "datasource");
        for panel in list(&board, "/panels") {
            assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{panel}");
            let at = |key: &str| panel["gridPos"][key].as_u64().expect("a place");
            assert!(at("x") + at("w") <= 24, "{panel}");
            for x in at("x")..at("x") + at("w") {
                for y in at("y")..at("y") + at("h") {
                    assert!(taken.insert((x, y)), "{} lies over another", panel["title"]);
                }
            }
            if panel["type"] == "row" {
                continue;
            }
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
            assert!(
                !panel["description"].as_str().unwrap_or_default().is_empty(),
                "{} says nothing",
                panel["title"]
            );
            assert!(
                panel["fieldConfig"]["defaults"]["unit"].is_string() || panel["type"] == "state-timeline",
                "{panel}"
            );
            for target in list(panel, "/targets") {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{panel}");
            }
        }
    }
}

#[test]
fn the_guides_dashboard_is_the_guides() {
    let board = board("kafka-event-streaming");
    assert_eq!(board["title"], "Kafka Event Streaming Dashboard");
    assert_eq!(board["tags"], serde_json::json!(["kafka", "streaming", "crm"]));
    assert_eq!(
        (&board["timezone"], &board["time"]["from"]),
        (&Json::from("utc"), &Json::from("now-1h"))
    );
    let asked = queries(&board);
    for (title, part) in [
        ("Message Throughput", "rate(kafka_consumer_messages_total{"),
        ("Consumer Lag", "(kafka_consumer_lag{"),
        (
            "Producer Success Rate",
            "sum(rate(kafka_producer_messages_total{status=\"success\",",
        ),
        (
            "Processing Latency",
            "histogram_quantile(0.95, sum by (topic, consumer_group, le) (rate(kafka_consumer_latency_seconds_bucket{",
        ),
    ] {
        assert!(
            asked.iter().any(|(of, query)| of == title && query.contains(part)),
            "{title}: {asked:?}"
        );
    }
}
