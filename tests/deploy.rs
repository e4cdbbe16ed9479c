//! What is below `deploy/` works as it is.
//!
//! Promise: Prometheus takes the rules, each fires, stays quiet and is explained in the runbook; the guide's five are the
//! guide's.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use common::instance::said;
use common::process::part;

const RULES: [&str; 2] = ["kafka-alerts", "streamgauge-alerts"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn prometheus(name: &str) -> PathBuf {
    root().join("deploy/prometheus").join(name)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The values of this key, wherever it stands, in order.
fn values<'t>(text: &'t str, key: &str) -> Vec<&'t str> {
    let lines = text.lines().map(|line| line.trim().trim_start_matches("- "));
    let values = lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    values.map(|value| value.trim().trim_matches('"')).collect()
}

fn promtool(arguments: &[&str], files: &[PathBuf]) {
    let output = Command::new(part("STREAMGAUGE_TEST_PROMTOOL"))
        .args(arguments)
        .args(files)
        .output()
        .expect("promtool starts");
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn prometheus_takes_the_rules_and_each_fires_and_stays_quiet_when_it_should() {
    let files = RULES.map(|rules| prometheus(&format!("{rules}.yml")));
    promtool(&["check", "rules", "--lint=all", "--lint-fatal"], &files);
    promtool(
        &["test", "rules"],
        &RULES.map(|rules| prometheus(&format!("{rules}.test.yml"))),
    );
    for rules in RULES {
        let tests = read(&prometheus(&format!("{rules}.test.yml")));
        // By alert, whether it is expected to fire, to be quiet.
        let mut tried: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        let cases = tests.split("- eval_time:").skip(1);
        for case in cases {
            let name = values(case, "alertname")[0].to_owned();
            let tried = tried.entry(name).or_default();
            match case.contains("exp_alerts: []") {
                true => tried.1 += 1,
                false => tried.0 += 1,
            }
        }
        let text = read(&prometheus(&format!("{rules}.yml")));
        let fors: BTreeSet<&str> = text
            .split("- alert: ")
            .skip(1)
            .filter(|rule| rule.contains("\n    for: "))
            .filter_map(|rule| rule.lines().next())
            .collect();
        for alert in values(&text, "alert") {
            let (fires, quiet) = tried.get(alert).copied().unwrap_or_default();
            // One that waits is seen pending, too.
            let least = if fors.contains(alert) { 2 } else { 1 };
            assert!(
                fires >= 1 && quiet >= least,
                "{alert} fires {fires} times and is quiet {quiet} times"
            );
        }
    }
}

#[test]
fn every_alert_is_in_the_runbook_and_every_heading_is_an_alert() {
    let mut alerts = BTreeSet::new();
    for rules in RULES {
        let text = read(&prometheus(&format!("{rules}.yml")));
        let names = values(&text, "alert");
        let urls = values(&text, "runbook_url");
        for (name, url) in names.iter().zip(&urls) {
            assert_eq!(*url, format!("docs/runbook.md#{}", name.to_lowercase()));
        }
        assert_eq!(names.len(), urls.len());
        alerts.extend(names.into_iter().map(str::to_owned));
    }
    let pipelines = ["support", "lag"].map(|name| root().join(format!("pipelines/{name}.yaml")));
    let plan = streamgauge::pipeline::load(&pipelines, &|_| None).expect("our own pipelines, together");
    alerts.extend(plan.alerts.into_iter().map(|alert| alert.name));
    let runbook = read(&root().join("docs/runbook.md"));
    let headings = runbook.lines().filter_map(|line| line.strip_prefix("## "));
    assert_eq!(headings.map(str::to_owned).collect::<BTreeSet<_>>(), alerts);
}

#[test]
fn the_guides_rules_are_the_guides() {
    let text = read(&prometheus("kafka-alerts.yml"));
    assert_eq!(
        values(&text, "expr"),
        [
            "kafka_consumer_lag > 1000",
            "rate(kafka_producer_errors_total[5m]) > 0.1",
            "rate(kafka_consumer_messages_total{status=\"error\"}[5m]) > 0.05",
            "rate(kafka_consumer_messages_total[5m]) < 1 and kafka_consumer_messages_total offset 5m > 10",
            "kafka_producer_queue_size > 1000",
        ]
    );
    assert_eq!(values(&text, "for"), ["2m", "2m", "2m", "10m", "2m"]);
    assert_eq!(
        values(&text, "severity"),
        ["warning", "critical", "warning", "warning", "warning"]
    );
}
