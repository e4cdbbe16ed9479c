//! `streamgauge demo` keeps its promise: whatever is killed, every total is what was written.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use streamgauge::cli::demo::simulator::{Simulator, SimulatorOptions};
use streamgauge::engine::time::EventTime;
use xxhash_rust::xxh3::Xxh3;

/// Runs a demo to its end; gives its exit code and its one object.
fn demo(args: &[&str]) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_streamgauge"))
        .args(["demo", "--format", "json"])
        .args(args)
        .output()
        .expect("the binary starts");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    let object = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}{errors}"));
    (output.status.code(), object)
}

/// Everything that a good demo says of itself.
fn assert_good(code: Option<i32>, object: &Value) {
    assert_eq!(object["differences"], Value::Array(Vec::new()), "{object:#}");
    assert_eq!(code, Some(0));
    assert_eq!(object["ok"], true);
    assert_eq!(object["ledger"]["balance"], 0);
    assert_eq!(object["ledger"]["topics"], object["ledger"]["expected"]);
    assert_eq!(object["totals"], object["expected"]);
    assert_eq!(object["otlp"]["violations"], 0);
    assert_eq!(
        (&object["traces"]["orphans"], &object["traces"]["violations"]),
        (&Value::from(0), &Value::from(0))
    );
    let total = |series: &str| object["totals"][series].as_u64().unwrap_or(0);
    for channel in ["email", "whatsapp", "web_form"] {
        let of = |name: &str| total(&format!("{name}{{channel_type=\"{channel}\"}}"));
        assert!(
            of("response_time_seconds") > 0 && of("responses_unanswered_total") > 0,
            "{object:#}"
        );
        let mean = of("response_time_seconds_sum_micros") / of("response_time_seconds");
        assert!((50_000..5_000_000).contains(&mean), "{channel}: {mean} us");
    }
    let unanswered = total("streamgauge_journeys_total{outcome=\"unanswered\",trace=\"conversations\"}");
    assert_eq!(object["traces"]["unanswered"], unanswered);
    let totals = object["totals"].as_object().expect("totals by series");
    assert!(totals.len() > 40, "{} series", totals.len());
    assert!(
        object["written"].as_u64().is_some_and(|written| written > 500),
        "{}",
        object["written"]
    );
}

#[test]
fn totals_are_right_while_workers_are_killed() {
    for seed in ["1", "2", "3"] {
        let (code, object) = demo(&["--for", "4s", "--rate", "5000", "--seed", seed]);
        assert_good(code, &object);
        assert!(object["kills"].as_u64().is_some_and(|kills| kills >= 1), "{object:#}");
    }
}

#[test]
fn totals_are_right_in_peace() {
    let (code, object) = demo(&["--for", "2s", "--rate", "5000", "--no-chaos"]);
    assert_good(code, &object);
    assert_eq!(
        (&object["kills"], &object["chaos"]),
        (&Value::from(0), &Value::from(false))
    );
    assert_eq!(object["otlp"]["refused"], 0);
}

#[test]
fn a_demo_ends_by_itself_soon_after_its_time() {
    let began = Instant::now();
    let (code, object) = demo(&["--for", "2s", "--rate", "1000", "--chaos", "false", "--workers", "1"]);
    assert_good(code, &object);
    // The end takes what the pipeline's own rules need: its idle time, the largest delay, and a window.
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
}

#[test]
fn a_length_that_is_none_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_streamgauge"))
        .args(["demo", "--for", "soon"])
        .output();
    let output = output.expect("the binary starts");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("20s"));
}

/// A hash over everything that the first records say.
fn print_of(seed: u64) -> u64 {
    let mut print = Xxh3::new();
    for record in Simulator::new(seed, SimulatorOptions::at(EventTime(1_795_356_000_000_000))).take(50_000) {
        print.update(record.topic.name().as_bytes());
        print.update(&record.partition.to_le_bytes());
        print.update(&record.at.0.to_le_bytes());
        for part in [&record.key, &record.value] {
            print.update(&[u8::from(part.is_some())]);
            print.update(part.as_deref().unwrap_or_default());
        }
    }
    print.digest()
}

#[test]
fn a_seed_is_the_same_records_on_every_machine() {
    // Changes with the simulator, and with nothing else.
    assert_eq!(print_of(1), 4_590_298_469_186_551_924);
    assert_ne!(print_of(2), print_of(1));
}
