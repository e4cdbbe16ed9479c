//! What Prometheus fetches from `/metrics`.
//!
//! Promise: the instances together show each series once, with the value that left over OTLP, also after one was killed;
//! in every format that Prometheus asks for, native histograms and exemplars included.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::chaos::{add_lag, create_topics, support_pipeline};
use common::collector::Collector;
use common::instance::{Application, Instance};
use common::joins;
use common::kafka::Kafka;
use common::points::{Points, Value};
use common::process::part;
use common::prometheus::{Labels, Prometheus};
use common::traffic::{Traffic, troubled};
use common::{eventually, folder, http, my_turn, seed};

const LIMIT: Duration = Duration::from_secs(90);

/// Values by name and labels.
type Samples = BTreeMap<(String, Labels), f64>;

/// Moves with every second, or with every commit of the application itself.
const RESTLESS: [&str; 4] = [
    "kafka_consumer_lag_seconds",
    "streamgauge_watermark_lag_seconds",
    "streamgauge_lag_stalled_seconds",
    joins::OLDEST,
];

#[test]
fn instances_together_show_each_series_once_with_the_value_that_left_over_otlp() {
    let _turn = my_turn();
    const RECORDS: usize = 4_000;
    let seed = seed(23);
    let folder = folder();
    let kafka = Kafka::start();
    create_topics(&kafka);
    let pipeline = support_pipeline(folder.path());
    add_lag(&pipeline, "billing");
    let mut collector = Collector::start(folder.path());
    let application = Application::new(folder.path(), &pipeline, &kafka.bootstrap(), &collector.endpoint());
    let mut instances = [application.start("one"), application.start("two")];
    let writer = kafka.writer();
    std::thread::scope(|scope| {
        scope.spawn(|| Traffic::new(seed, troubled(800, 8)).write(&writer, RECORDS));
        // While partitions move there is an answer, and it is whole.
        for _ in 0..20 {
            if let Ok((status, text)) = instances[0].get("/metrics") {
                assert_eq!(status, 200);
                parse(&text);
            }
        }
    });
    kafka.reset("billing", "processing.tickets.in", 2, 3);
    let shown = eventually("each series once, as it left", LIMIT, || {
        let shown = together(&instances)?;
        agree(&shown, collector.points())?;
        let (times, billing) = (total(&shown, &format!("{}_count", joins::TIME)), "kafka_consumer_lag");
        match (times, shown.keys().filter(|(name, _)| name == billing).count()) {
            (50.0.., 1) => Ok(shown),
            few => Err(format!("{few:?} response times, and groups with lag")),
        }
    });
    let times = format!("{}_bucket", joins::TIME);
    assert!(
        shown.keys().any(|(name, labels)| *name == times && labels["le"] == "1"),
        "classic buckets"
    );
    promtool_says(&instances);
    prometheus_fetches(folder.path(), &instances);

    instances[0].kill();
    let is_over = AtomicBool::new(false);
    let (survivor, over) = (instances[1].http(), &is_over);
    std::thread::scope(|scope| {
        // Somebody scrapes all through the rebalance, and gets all that there is each time.
        let scraped = scope.spawn(move || {
            let mut scrapes = 0;
            while !over.load(Ordering::Relaxed) {
                let (status, text) = http::get(survivor, "/metrics").expect("an answer");
                assert_eq!(status, 200);
                let shown = parse(&text);
                assert!(
                    shown
                        .keys()
                        .any(|(name, _)| name == "streamgauge_process_resident_memory_bytes"),
                    "{text}"
                );
                scrapes += 1;
            }
            scrapes
        });
        let shown = catch_unwind(AssertUnwindSafe(|| {
            eventually("the other one shows everything", LIMIT, || {
                let shown = together(&instances[1..])?;
                agree(&shown, collector.points())
            })
        }));
        is_over.store(true, Ordering::Relaxed);
        let scrapes = scraped.join().expect("each scrape is answered");
        println!("{scrapes} scrapes while partitions moved");
        assert!(scrapes >= 10, "{scrapes} scrapes");
        shown.unwrap_or_else(|failed| resume_unwind(failed));
    });
    instances[1].stop();
}

/// What the instances show, without what each says of its own process.
fn together(instances: &[Instance]) -> Result<Samples, String> {
    let mut all = Samples::new();
    for instance in instances {
        let (status, text) = instance.get("/metrics")?;
        if status != 200 {
            return Err(format!("{status}: {text}"));
        }
        for (key, value) in parse(&text) {
            let is_of_process = key.1.contains_key("worker") || key.0.starts_with("streamgauge_process_");
            if !is_of_process && all.insert(key.clone(), value).is_some() {
                return Err(format!("{key:?} is shown twice"));
            }
        }
    }
    Ok(all)
}

/// All series of this name.
fn total(shown: &Samples, name: &str) -> f64 {
    let of_name = shown.iter().filter(|((of, _), _)| of == name);
    of_name.map(|(_, value)| value).sum()
}

/// Every series that is alive at the collector is shown with its value, and no other.
fn agree(shown: &Samples, points: &Points) -> Result<(), String> {
    let mut wrong = Vec::new();
    let mut names = BTreeSet::new();
    for (id, series) in &points.series {
        let label = |(name, value): (&String, &String)| (name.replace('.', "_"), value.clone());
        let labels: Labels = id
            .attributes
            .iter()
            .map(label)
            .filter(|(_, value)| !value.is_empty())
            .collect();
        let expected: Vec<(String, f64)> = match series.last() {
            None => continue,
            Some(Value::Integer(value)) => vec![(id.name.clone(), value as f64)],
            Some(Value::Decimal(value)) => vec![(id.name.clone(), value)],
            Some(Value::Histogram { count, sum, .. } | Value::Exponential { count, sum, .. }) => vec![
                (format!("{}_count", id.name), count as f64),
                (format!("{}_sum", id.name), sum),
            ],
        };
        for (name, expected) in expected {
            names.insert(name.clone());
            let got = shown.get(&(name.clone(), labels.clone()));
            let is_restless =
                RESTLESS.contains(&&*id.name) || labels.get("topic").is_some_and(|of| of == "__consumer_offsets");
            match got {
                Some(got) if is_restless || *got == expected => {}
                got => wrong.push(format!("{name}{labels:?}: {expected} left, {got:?} is shown")),
            }
        }
    }
    if names.len() < 20 {
        wrong.push(format!("few metrics have left: {names:?}"));
    }
    for (name, labels) in shown.keys().filter(|(name, _)| !name.ends_with("_bucket")) {
        if !names.contains(name) {
            wrong.push(format!("{name}{labels:?} never left"));
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong.join("\n")),
    }
}

/// What Prometheus' own tool has to say, in the format that it reads.
fn promtool_says(instances: &[Instance]) {
    for instance in instances {
        let (_, text) = instance.get("/metrics").expect("an answer");
        let mut tool = Command::new(part("STREAMGAUGE_TEST_PROMTOOL"))
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool starts");
        std::io::Write::write_all(&mut tool.stdin.take().expect("piped"), text.as_bytes()).expect("it reads");
        let output = tool.wait_with_output().expect("it ends");
        let said = common::instance::said(&output);
        assert!(output.status.success(), "promtool check metrics: {said}");
        assert_eq!(said.trim(), "", "promtool check metrics");
    }
}

/// A real Prometheus fetches both instances, with native histograms.
fn prometheus_fetches(folder: &std::path::Path, instances: &[Instance]) {
    let ports: Vec<u16> = instances.iter().map(Instance::http).collect();
    let prometheus = Prometheus::fetching(folder, &ports);
    let counter = "channel_messages_received_total";
    let native = format!("sum(histogram_count({}))", joins::TIME);
    let latencies = "sum(kafka_producer_latency_seconds_count)";
    eventually("Prometheus has what is shown", LIMIT, || {
        let shown = together(instances)?;
        let total = |name: &str| total(&shown, name);
        for (query, expected) in [
            ("sum(up)".to_owned(), 2.0),
            (format!("sum({counter})"), total(counter)),
            (native.clone(), total(&format!("{}_count", joins::TIME))),
            (latencies.to_owned(), total("kafka_producer_latency_seconds_count")),
        ] {
            let got = prometheus.query(&query)?;
            if got.values().copied().collect::<Vec<f64>>() != [expected] {
                return Err(format!("{query}: expected {expected}, got {got:?}"));
            }
        }
        let exemplars = prometheus.exemplars(joins::TIME)?;
        match exemplars.iter().any(|(_, labels)| labels.contains_key("trace_id")) {
            true => Ok(()),
            false => Err(format!("exemplars: {exemplars:?}")),
        }
    });
}

/// Reads the text format: every line is a comment or a sample, and none comes twice.
fn parse(text: &str) -> Samples {
    let mut samples = Samples::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let sample = sample(line).unwrap_or_else(|| panic!("no sample: {line}"));
        assert!(samples.insert(sample.0, sample.1).is_none(), "twice: {line}");
    }
    samples
}

fn sample(line: &str) -> Option<((String, Labels), f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let mut labels = Labels::new();
    let name = match series.split_once('{') {
        None => series,
        Some((name, rest)) => {
            let mut rest = rest.strip_suffix('}')?;
            while !rest.is_empty() {
                let (label, quoted) = rest.split_once("=\"")?;
                let mut value = String::new();
                let mut letters = quoted.char_indices();
                let end = loop {
                    match letters.next()? {
                        (_, '\\') => value.push(match letters.next()?.1 {
                            'n' => '\n',
                            other => other,
                        }),
                        (at, '"') => break at,
                        (_, letter) => value.push(letter),
                    }
                };
                labels.insert(label.to_owned(), value);
                rest = quoted[end + 1..].trim_start_matches(',');
            }
            name
        }
    };
    Some(((name.to_owned(), labels), value.replace("+Inf", "inf").parse().ok()?))
}
