//! What users see: the guide's metrics in a real Prometheus, fed by its OTLP receiver, also after kills.

mod common;

use std::time::Duration;

use common::chaos::{Event, System, support_pipeline};
use common::collector::Collector;
use common::joins;
use common::oracle::{self, COUNTERS, Expected};
use common::prometheus::{Labels, Prometheus};
use common::quantiles;
use common::random::Random;
use common::traffic::{Traffic, troubled};
use common::{eventually, folder, my_turn, seed};

#[test]
fn prometheus_has_the_guides_metrics_with_exact_totals_also_after_kills() {
    let _turn = my_turn();
    const RECORDS: usize = 40_000;
    let seed = seed(11);
    let folder = folder();
    let mut system = System::new(folder.path(), &support_pipeline(folder.path()));
    let mut prometheus = Prometheus::start(folder.path());
    // It takes no spans: they go to the collector, over gRPC.
    system.application.otlp.clear();
    system.application.environment = vec![
        ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", prometheus.endpoint()),
        ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "http/protobuf".to_owned()),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", system.collector.endpoint()),
    ];
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
    quantiles_are_within_a_bucket(&expected, &prometheus);
    exemplars_lead_to_traces(&prometheus, &mut system.collector);
    let differences = expected.joined.differences(system.collector.spans());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let names = prometheus.names().expect("names");
    for name in COUNTERS
        .into_iter()
        .chain([oracle::RECORDS, oracle::LATE, joins::TIME, joins::OPEN, joins::OLDEST])
    {
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
    let times = || expected.joined.times.iter();
    compare(
        format!("histogram_count({})", joins::TIME),
        times()
            .map(|(labels, times)| (labels.clone(), times.len() as f64))
            .collect(),
    )?;
    compare(
        format!("round(histogram_sum({}) * 1e6)", joins::TIME),
        times()
            .map(|(labels, times)| (labels.clone(), times.iter().sum::<i64>() as f64))
            .collect(),
    )?;
    Ok(differences)
}

type Labelled = std::collections::BTreeMap<Labels, f64>;

/// A native histogram's quantile is interpolated in the bucket that has the true one. Where the quantile falls between two
/// values, either is a true one: Prometheus comes from above for the median and higher ones.
fn quantiles_are_within_a_bucket(expected: &Expected, prometheus: &Prometheus) {
    for percent in [50, 95, 99] {
        let quantile = format!("histogram_quantile({}, {})", percent as f64 / 100.0, joins::TIME);
        let got = prometheus.query(&quantile).expect("quantiles");
        assert_eq!(got.len(), expected.joined.times.len(), "{quantile}: {got:?}");
        for (labels, times) in &expected.joined.times {
            let bucket = 2_f64.powf(2_f64.powi(-(quantiles::least_scale(times) as i32)));
            let (exact, got) = (quantiles::quantile(times, percent), got[labels]);
            let next = times[(times.len() * percent / 100).min(times.len() - 1)] as f64 / 1e6;
            eprintln!(
                "{quantile} of {labels:?}: {got:.3} s, exactly {exact:.3} s, a bucket is {:.1} %",
                (bucket - 1.0) * 100.0
            );
            assert!(
                (exact / bucket..=next * bucket).contains(&got),
                "{quantile} of {labels:?}: {got} s, exactly {exact} s to {next} s"
            );
        }
    }
}

/// From a point of response times to a trace that left: its root took as long as the exemplar says.
fn exemplars_lead_to_traces(prometheus: &Prometheus, collector: &mut Collector) {
    let exemplars = prometheus.exemplars(joins::TIME).expect("exemplars");
    eprintln!("{} exemplars", exemplars.len());
    assert!(exemplars.len() >= 5, "{exemplars:?}");
    let spans = collector.spans();
    for (seconds, labels) in exemplars {
        let trace = spans.traces.get(&labels["trace_id"]);
        let root = trace.and_then(|spans| spans.get(&labels["span_id"]));
        let (start, end) = root.unwrap_or_else(|| panic!("no span {labels:?}")).times();
        assert_eq!((seconds * 1e6).round() as i64, end - start, "{labels:?}");
    }
}

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
