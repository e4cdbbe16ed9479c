//! Log lines have one shape, and their types are those that the page lists.
//!
//! `STREAMGAUGE_UPDATE_DOCS=1` writes the list anew. That real instances log such lines is held wherever one is started
//! (`common::process`).

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::instance::BINARY;
use common::{folder, lines};
use serde_json::Value;
use streamgauge::logs::events::EVENTS;
use streamgauge::logs::{Format, Lines};

/// Tells this program to panic: a panic can only be seen from outside.
const PANICS: &str = "STREAMGAUGE_TEST_PANICS";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn listed() -> BTreeSet<String> {
    EVENTS.iter().map(|(name, _)| (*name).to_owned()).collect()
}

/// All Rust files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let found = paths.flat_map(|path| match path.is_dir() {
        true => sources(&path),
        false => vec![path],
    });
    found
        .filter(|path| path.extension().is_some_and(|kind| kind == "rs"))
        .collect()
}

/// What stands between the bracket of each call that logs and the bracket that ends it.
fn calls(source: &str) -> Vec<&str> {
    let begins = |rest: &str| {
        ["trace", "debug", "info", "warn", "error", "$level"]
            .iter()
            .find_map(|level| Some(rest.strip_prefix(level)?.strip_prefix("!(")?.len()))
    };
    let after = source.match_indices("tracing::").filter_map(|(at, found)| {
        let left = begins(&source[at + found.len()..])?;
        Some(&source[source.len() - left..])
    });
    after
        .map(|rest| {
            let mut depth = 1;
            let end = rest.find(|letter| {
                depth += i32::from(letter == '(') - i32::from(letter == ')');
                depth == 0
            });
            &rest[..end.unwrap_or(rest.len())]
        })
        .collect()
}

fn run(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(BINARY)
        .arg("run")
        .args(arguments)
        .env_remove("RUST_LOG")
        .envs(environment.iter().copied())
        .output()
        .expect("the binary starts")
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).expect("text")
}

#[test]
fn every_line_in_the_sources_names_a_listed_type_and_every_listed_type_is_used() {
    let mut used: BTreeSet<String> = BTreeSet::new();
    let mut count = 0;
    for file in sources(&path("src")) {
        let source = std::fs::read_to_string(&file).expect("readable");
        // A test may log what it likes.
        if file.ends_with("tests.rs") {
            continue;
        }
        for call in calls(&source) {
            count += 1;
            let named = call
                .split_once("event_type = \"")
                .and_then(|(_, rest)| rest.split('"').next());
            let named = named.unwrap_or_else(|| panic!("{}: a line without `event_type`: {call}", file.display()));
            assert!(listed().contains(named), "{}: `{named}` is not listed", file.display());
            used.insert(named.to_owned());
        }
    }
    assert!(count > 50, "{count} calls are seen");
    // These are written past the levels, or for others.
    let written = ["complaint", "pipeline_refused", "panic", "library_event"];
    used.extend(written.map(str::to_owned));
    let unused: Vec<_> = listed().difference(&used).cloned().collect();
    assert!(unused.is_empty(), "listed, and logged nowhere: {unused:?}");
}

#[test]
fn the_page_and_the_schema_list_the_types() {
    assert!(
        EVENTS.is_sorted_by_key(|(name, _)| *name) && listed().len() == EVENTS.len(),
        "by name, each once"
    );
    let page = path("docs/logs.md");
    let held = std::fs::read_to_string(&page).expect("the page");
    let (before, _) = held.split_once("| `event_type` | meaning |").expect("the table");
    let rows: String = EVENTS
        .iter()
        .map(|(name, meaning)| format!("| `{name}` | {meaning} |\n"))
        .collect();
    let wanted = format!("{before}| `event_type` | meaning |\n|---|---|\n{rows}");
    let schema = path("docs/log-line.schema.json");
    let text = std::fs::read_to_string(&schema).expect("the schema");
    let value: Value = serde_json::from_str(&text).expect("JSON");
    let names: BTreeSet<String> =
        serde_json::from_value(value["properties"]["event_type"]["enum"].clone()).expect("names");
    if std::env::var_os("STREAMGAUGE_UPDATE_DOCS").is_some() {
        std::fs::write(&page, &wanted).expect("the page can be written");
        let (before, rest) = text
            .split_once("\"event_type\": {\n      \"enum\": [\n")
            .expect("the list");
        let (_, behind) = rest.split_once("\n      ]").expect("its end");
        let names: Vec<String> = EVENTS.iter().map(|(name, _)| format!("        \"{name}\"")).collect();
        let list = names.join(",\n");
        let written = format!("{before}\"event_type\": {{\n      \"enum\": [\n{list}\n      ]{behind}");
        std::fs::write(&schema, written).expect("the schema can be written");
        return;
    }
    let again = "run STREAMGAUGE_UPDATE_DOCS=1 cargo test --test logs";
    assert!(held == wanted, "docs/logs.md is out of date: {again}");
    assert_eq!(names, listed(), "docs/log-line.schema.json is out of date: {again}");
}

#[test]
fn what_is_wrong_with_a_line_is_found() {
    let line = |level: &str, event_type: &str, details: &str| {
        format!(
            "{{\"timestamp\":\"2026-03-01T09:30:00.123456Z\",\"level\":\"{level}\",\"event_type\":\"{event_type}\",\
             \"details\":{details}}}\n"
        )
    };
    let produced = r#"{"topic":"t","status":"error","message_size_bytes":0,"duration_ms":1.5,"component":"producer"}"#;
    let consumed =
        r#"{"topic":"t","partition":0,"offset":7,"status":"failure","duration_ms":1,"component":"consumer"}"#;
    let right = line("INFO", "started", r#"{"message":"x"}"#);
    let rights = [
        right.clone(),
        line("WARNING", "producer_event", produced),
        line("ERROR", "consumer_event", consumed),
        format!("{}{right}", &right[..40]),
        format!("{right}{}", &right[..40]),
    ];
    for right in rights {
        assert_eq!(lines::faults(&right), [""; 0], "{right}");
    }
    let wrongs = [
        line("WARN", "started", "{}"),
        line("INFO", "unheard_of", "{}"),
        line("INFO", "started", r#"{"message":{"nested":1}}"#),
        line("INFO", "started", r#"{"trace_id":"00"}"#),
        line("INFO", "producer_event", r#"{"topic":"t"}"#),
        line("DEBUG", "consumer_event", consumed),
        right.replace('Z', "+00:00"),
        right.replace("\"details\"", "\"more\":1,\"details\""),
        "streamgauge: a text\n".to_owned(),
        format!("{}\n", &right[..40]),
    ];
    for wrong in wrongs {
        assert_eq!(lines::faults(&wrong).len(), 1, "{wrong}");
    }
}

#[test]
fn what_ends_a_process_is_a_line_and_text_only_where_text_is_asked_for() {
    let folder = folder();
    let wrong = folder.path().join("wrong.yaml");
    std::fs::write(&wrong, "pipeline: p\nsauces: {}\n").expect("a file");
    let wrong = wrong.to_str().expect("a path");
    let one = |output: &Output| -> Value {
        assert_eq!(output.status.code(), Some(2), "{}", said(output));
        assert_eq!(lines::faults(&said(output)), [""; 0]);
        assert_eq!(said(output).lines().count(), 1);
        serde_json::from_str(&said(output)).expect("JSON")
    };
    // No level silences it.
    let refused = one(&run(&[wrong], &[("RUST_LOG", "off")]));
    assert_eq!(refused["event_type"], "pipeline_refused");
    let message = refused["details"]["message"].as_str().expect("a message");
    assert!(
        message.contains("wrong.yaml:2") && message.contains("sauces"),
        "{message}"
    );

    let shipped = path("pipelines/support.yaml");
    let shipped = shipped.to_str().expect("a path");
    let complaint = one(&run(&[shipped, "--http-token", "secret"], &[]));
    assert_eq!(complaint["event_type"], "complaint");
    assert_eq!(complaint["level"], "ERROR");

    for (arguments, environment) in [
        (&[wrong, "--log-format", "text"][..], &[][..]),
        (&[wrong], &[("STREAMGAUGE_LOG_FORMAT", "text")]),
    ] {
        let text = said(&run(arguments, environment));
        assert!(text.contains("sauces") && !text.contains("event_type"), "{text}");
    }
    let text = said(&run(
        &[wrong, "--log-format", "text"],
        &[("RUST_LOG", "streamgauge=loud")],
    ));
    assert!(text.contains("WARNING log_filter_refused: RUST_LOG: "), "{text}");
}

#[test]
fn a_panic_is_a_line() {
    if std::env::var_os(PANICS).is_some() {
        Lines::new(Format::Json, 0, std::io::stderr()).take_panics();
        panic!("on\npurpose");
    }
    let myself = std::env::current_exe().expect("a path");
    let output = Command::new(myself)
        .args(["--exact", "a_panic_is_a_line", "--nocapture"])
        .env(PANICS, "1")
        .env_remove("RUST_BACKTRACE")
        .output()
        .expect("it starts");
    assert!(!output.status.success());
    let text = said(&output);
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with('{')).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert_eq!(lines::faults(&format!("{}\n", lines[0])), [""; 0]);
    let line: Value = serde_json::from_str(lines[0]).expect("JSON");
    assert_eq!(line["event_type"], "panic");
    assert_eq!(line["details"]["message"], "on\npurpose");
    assert!(
        line["details"]["location"]
            .as_str()
            .is_some_and(|place| place.contains("logs.rs")),
        "{line}"
    );
}
