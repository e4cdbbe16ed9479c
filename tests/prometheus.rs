//! What users see: the guide's metrics in a real Prometheus, fed by its OTLP receiver, also after kills.

mod common;

use std::time::Duration;

use common::chaos::{Event, System, support_pipeline};
use common::oracle::{self, COUNTERS, Expected};
use common::prometheus::{Labels, Prometheus};
use common::random::Random;
use common::traffic::{Traffic, troubled};
use common::{eventually, folder, my_turn, seed};

#[test]
fn prometheus_has_the_guides_metrics_with_exact_totals_also_after_kills() {
    let _turn = my_turn();
    const RECORDS: usize = 40_000;
    let seed = seed(11);
    let folder = folder();
    let mut system = System::new(folder.path(), &support_pipeline());
    let mut prometheus = Prometheus::start(folder.path());
    system.application.otlp = prometheus.endpoint();
    system.application.protocol = "http/protobuf";
    system.start(&["one", "two"]);
    let writer = system.kafka.writer();
    let mut random = Random::new(seed);
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| Traffic::new(seed, troubled(1_000, 10)).write(&writer, RECORDS));
        for _ in 0..4 {
            std::thread::sleep(Duration::from_millis(random.between(2_000, 6_000)));
            system.suffer(Event::Kill, &mut random);
        }
        prometheus.kill();
        std::thread::sleep(Duration::from_secs(2));
        prometheus.resume();
        writing.join().expect("everything is written");
    });
    let expected = Expected::of(&system.input());
    eventually("the totals", Duration::from_secs(150), || {
        let differences = differences(&expected, &prometheus)?;
        if differences.is_empty() {
            Ok(())
        } else {
            Err(differences.join("\n"))
        }
    });
    system.stop();
    assert_eq!(differences(&expected, &prometheus), Ok(Vec::new()));
    first_increments_are_seen(&expected, &prometheus);
    let names = prometheus.names().expect("names");
    for name in COUNTERS.into_iter().chain([oracle::RECORDS, oracle::LATE]) {
        assert!(
            names.iter().any(|known| known == name),
            "{name} is there under this very name: {names:?}"
        );
    }
    let doubled: Vec<&String> = names
        .iter()
        .filter(|name| name.contains("total_total") || name.contains("seconds_seconds"))
        .collect();
    assert!(doubled.is_empty(), "{doubled:?}");
}

fn differences(expected: &Expected, prometheus: &Prometheus) -> Result<Vec<String>, String> {
    let mut differences = Vec::new();
    let mut compare = |query: String, expected: Vec<(Labels, f64)>| -> Result<(), String> {
        let got = prometheus.query(&query)?;
        let expected: Labelled = expected.into_iter().collect();
        if got != expected {
            differences.push(format!("{query}: expected {expected:?}, got {got:?}"));
        }
        Ok(())
    };
    for name in COUNTERS {
        compare(
            name.to_owned(),
            expected
                .of_counter(name)
                .into_iter()
                .map(|(labels, count)| (labels, count as f64))
                .collect(),
        )?;
    }
    let ledger = expected
        .ledger
        .iter()
        .map(|(labels, count)| (labels.clone(), *count as f64));
    compare(format!("{} != 0", oracle::RECORDS), ledger.collect())?;
    let latencies = || expected.latencies.iter();
    compare(
        format!("{}_count", oracle::LATENCY),
        latencies()
            .map(|(labels, latency)| (labels.clone(), latency.count as f64))
            .collect(),
    )?;
    // The guide's queries read `_bucket`: a second, and everything.
    compare(
        format!(r#"{}_bucket{{le=~"1|1.0"}}"#, oracle::LATENCY),
        latencies()
            .map(|(labels, latency)| {
                let mut labels = labels.clone();
                labels.insert("le".to_owned(), "1".to_owned());
                (labels, latency.buckets[..8].iter().sum::<u64>() as f64)
            })
            .collect(),
    )?;
    Ok(differences)
}

type Labelled = std::collections::BTreeMap<Labels, f64>;

/// Every counter begins with a zero in Prometheus too, so `increase` over its life is its value.
fn first_increments_are_seen(expected: &Expected, prometheus: &Prometheus) {
    for name in COUNTERS {
        let samples = prometheus.samples(&format!("{name}[1h]")).expect("samples");
        let increases = prometheus.query(&format!("increase({name}[1h])")).expect("increases");
        for (labels, total) in expected.of_counter(name) {
            let samples = &samples[&labels];
            assert_eq!(
                samples.first().map(|(_, value)| *value),
                Some(0.0),
                "{name}{labels:?} begins with zero: {samples:?}"
            );
            assert!(
                samples.windows(2).all(|pair| pair[0].1 <= pair[1].1),
                "{name}{labels:?} never goes down: {samples:?}"
            );
            // Prometheus extrapolates by at most half the mean distance of two samples at each end of the range.
            let most = 1.0 + 1.0 / (samples.len() - 1) as f64;
            let increase = increases[&labels];
            let total = total as f64;
            assert!(
                (total * 0.999..=total * most * 1.001).contains(&increase),
                "{name}{labels:?}: {increase} of {total}"
            );
        }
    }
}
