//! The schema, the reference and the report say the same as the parser.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use streamgauge::cli::check::{self, Request};
use streamgauge::engine::task::PartitionCounts;
use streamgauge::pipeline;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn support() -> PathBuf {
    root().join("pipelines/support.yaml")
}

/// Whether a document fits the schema, by a validator that is not ours.
fn fits_schema(document: &Json) -> bool {
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler
        .add_resource("pipeline.json", pipeline::schema())
        .expect("the schema is JSON");
    let schema = compiler
        .compile("pipeline.json", &mut schemas)
        .expect("the schema is a schema");
    schemas.validate(document, schema).is_ok()
}

/// A file's first document as JSON, by a reader of YAML that is not ours.
fn as_json(text: &str) -> Json {
    serde_saphyr::from_str(text).expect("the file is YAML")
}

fn is_taken(text: &str) -> bool {
    pipeline::parse(&[("p.yaml".to_owned(), text.to_owned())], &|_| Some("value".to_owned())).is_ok()
}

#[test]
fn the_reference_page_is_the_rendered_one() {
    let path = root().join("docs/pipelines.md");
    let rendered = pipeline::reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &rendered).expect("the page can be written");
    }
    let page = std::fs::read_to_string(&path).expect("the page is there");
    assert!(
        page == rendered,
        "docs/pipelines.md is old: UPDATE_DOCS=1 cargo test --test pipeline_reference"
    );
}

#[test]
fn the_page_on_tests_is_the_rendered_one() {
    let path = root().join("docs/testing-pipelines.md");
    let rendered = pipeline::test_reference();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &rendered).expect("the page can be written");
    }
    let page = std::fs::read_to_string(&path).expect("the page is there");
    assert!(
        page == rendered,
        "docs/testing-pipelines.md is old: UPDATE_DOCS=1 cargo test --test pipeline_reference"
    );
}

#[test]
fn the_pipeline_of_the_reference_page_is_right() {
    let page = pipeline::reference();
    let example = page
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("an example");
    assert!(is_taken(example), "{example}");
    assert!(fits_schema(&as_json(example)));
}

#[test]
fn the_shipped_pipelines_fit_the_schema() {
    for entry in std::fs::read_dir(root().join("pipelines")).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.ends_with(".yaml") && !name.ends_with(".test.yaml") {
            let text = std::fs::read_to_string(&path).expect("readable");
            assert!(fits_schema(&as_json(&text)), "{name}");
        }
    }
}

#[test]
fn schema_and_parser_take_and_refuse_the_same() {
    let metric = |metric: &str| {
        format!("pipeline: p\nsources: {{ a: {{ topic: t }} }}\nmetrics: {{ m_total: {{ {metric} }} }}\n")
    };
    let source = |source: &str| {
        format!("pipeline: p\nsources: {{ a: {{ {source} }} }}\nmetrics: {{ m_total: {{ count: a }} }}\n")
    };
    let respond = |traces: &str| {
        format!(
            "pipeline: p\nsources: {{ a: {{ topic: t }}, b: {{ topic: u }} }}\nmetrics: {{ m_seconds: {{ respond: {{ from: a, to: b, on: /k }} }} }}\n\
             {traces}\n"
        )
    };
    for right in [
        metric("count: a"),
        metric("count: [a]"),
        metric("count: '*', help: x, unit: '{x}', window: 500ms, max_series: 1, labels: {}"),
        metric(
            "count: a, labels: { a: /a, b: { const: 1 }, c: { field: /c, else: true }, d: { record: topic }, e: { cel: 'x', else: y } }",
        ),
        metric("sum: { of: a, value: /x }"),
        metric("sum: { of: [a], value: { field: /x } }"),
        metric("count: '${env:X}x' ").replace("a: {", "valuex: {"),
        respond("traces: { c: { of: m_seconds } }"),
        respond(
            "traces: { c: { of: m_seconds, name: x, spans: [{ source: a, key: /k, name: z, attributes: {} }], sampling: 0.5, slow: 1s, \
             failed: { cel: 'x' }, traceparent: { header: t }, attributes: { a.b: /a, c: { const: 1 }, d: { record: topic } } } }",
        ),
        respond("traces: {}"),
        metric("count: a, labels: { a: { header: x, else: y } }"),
        metric("count: a") + "lag: {}\n",
        "pipeline: p\nlag: { groups: ['a*', '!b'], topics: '*', every: 1s, status: burrow, max_series: 5, horizon: 1m }\n".to_owned(),
        source("topic: t, time: /t, start: 7d, max_record_bytes: 2KiB, out_of_order: 0s, when: 'a'"),
        source("topic: t, time: { field: /t, format: nanos }"),
        source("topic: '${env:X}.raw'"),
        metric("observe: { of: a, value: { record: append_latency } }").replace("m_total", "m_seconds"),
        metric("observe: { of: a, value: /x }, histogram: { kind: exponential, max_buckets: 8 }")
            .replace("m_total", "m"),
        metric("observe: { of: a, value: /x }, histogram: { kind: explicit, buckets: [0, 1.5], unit: s }")
            .replace("m_total", "m_seconds"),
    ] {
        assert!(is_taken(&right), "parser: {right}");
        assert!(fits_schema(&as_json(&right)), "schema: {right}");
    }
    for wrong in [
        "pipeline: p".to_owned(),
        "[]".to_owned(),
        metric("count: a").replace("pipeline: p", "pipeline: [p]"),
        metric("count: a").replace("pipeline: p", "pipeline: ' p'"),
        metric("count: a").replace("m_total", "streamgauge_m_total"),
        metric("count: a").replace("m_total", "m__total"),
        metric("observe: { of: a, value: /x }").replace("m_total", "m_sum"),
        metric("count: a") + "lag: '*'\n",
        "pipeline: p\nlag: { groups: [] }\n".to_owned(),
        "pipeline: p\nlag: { groups: '!' }\n".to_owned(),
        "pipeline: p\nlag: { status: kafka }\n".to_owned(),
        "pipeline: p\n".to_owned(),
        metric("count: a") + "defaults: { windows: 10s }\n",
        metric("count: a") + "defaults: { window: 10 }\n",
        metric("count: a") + "defaults: { max_series: '10' }\n",
        metric("count: a, sum: { of: a, value: /x }"),
        metric("help: x"),
        metric("count: []"),
        metric("count: [a, a]"),
        metric("count: ['*']"),
        metric("count: { of: a }"),
        metric("count: a, histogram: { kind: explicit }"),
        metric("count: a, unit: furlong"),
        metric("count: a, help: ''"),
        metric("count: a, labels: { le: /x }"),
        metric("count: a, labels: { otel_x: /x }"),
        metric("count: a, labels: { x: x }"),
        metric("count: a, labels: { x: 5 }"),
        metric("count: a, labels: { x: { else: y } }"),
        metric("count: a, labels: { x: { field: /x, const: y } }"),
        metric("count: a, labels: { x: { const: y, else: y } }"),
        metric("count: a, labels: { x: { record: topic, else: y } }"),
        metric("count: a, labels: { x: { record: offset } }"),
        metric("count: a, labels: { x: { latest: a } }"),
        metric("sum: { of: a }"),
        metric("sum: { of: a, value: { record: append_latency } }"),
        metric("sum: { of: a, value: { record: bytes, field: /x } }"),
        metric("observe: { of: a, value: /x }, histogram: { buckets: [1] }").replace("m_total", "m"),
        metric("observe: { of: a, value: /x }, histogram: { kind: exponential, buckets: [1] }").replace("m_total", "m"),
        metric("observe: { of: a, value: /x }, histogram: { kind: explicit, buckets: [] }").replace("m_total", "m"),
        metric("observe: { of: a, value: /x }, histogram: { kind: explicit, buckets: [-1] }").replace("m_total", "m"),
        metric("count: a, labels: { x: { header: '' } }"),
        respond("traces: { c: {} }"),
        respond("traces: { 'c d': { of: m_seconds } }"),
        respond("traces: { c: { of: m_seconds, sampling: 2 } }"),
        respond("traces: { c: { of: m_seconds, sampling: '0.5' } }"),
        respond("traces: { c: { of: m_seconds, slow: 5 } }"),
        respond("traces: { c: { of: m_seconds, spans: [] } }"),
        respond("traces: { c: { of: m_seconds, spans: [a] } }"),
        respond("traces: { c: { of: m_seconds, spans: [{ key: /k }] } }"),
        respond("traces: { c: { of: m_seconds, attributes: { 'a b': /a } } }"),
        respond("traces: { c: { of: m_seconds, attributes: { a: { to: /a } } } }"),
        respond("traces: { c: { of: m_seconds, attributes: { a: { const: x, else: y } } } }"),
        source("time: /t"),
        source("topic: t, time: t"),
        source("topic: t, time: { format: auto }"),
        source("topic: t, time: { field: /t, format: iso }"),
        source("topic: 't t'"),
        source("topic: __consumer_offsets"),
        source("topic: t, start: now"),
        source("topic: t, max_record_bytes: 1GiB"),
        source("topic: t, when: ''"),
        source("topic: t, when: true"),
    ] {
        assert!(!is_taken(&wrong), "parser: {wrong}");
        assert!(!fits_schema(&as_json(&wrong)), "schema: {wrong}");
    }
}

// --- check ---

fn report_of(text: &str, counts: Option<&PartitionCounts>) -> String {
    let env = |name: &str| (name == "STAGE").then(|| "hunter2".to_owned());
    let checked =
        pipeline::check(&[("p.yaml".to_owned(), text.to_owned())], &env).unwrap_or_else(|error| panic!("{error}"));
    let request = Request {
        files: Vec::new(),
        application_id: "app".to_owned(),
        shuffle_partitions: 4,
    };
    check::report(&checked, &request, counts)
}

#[track_caller]
fn has(report: &str, lines: &[&str]) {
    for line in lines {
        assert!(
            report.lines().any(|other| other.trim_end() == *line),
            "no line {line:?} in\n{report}"
        );
    }
}

#[test]
fn the_report_tells_topology_and_costs_of_the_users_system() {
    let text = std::fs::read_to_string(support()).expect("readable");
    let counts = PartitionCounts::from([
        ("ingestion.raw.messages".to_owned(), 6),
        ("processing.tickets.in".to_owned(), 3),
    ]);
    let report = report_of(&text, Some(&counts));
    has(
        &report,
        &[
            "support: 14 metrics from 10 topics",
            "  tap       9 tasks (one a partition of the input topics), group app",
            "  correlate 4 tasks (one a partition of app-correlate-repartition), group app-correlate",
            "  gauge     4 tasks (one a partition of app-gauge-repartition), group app-gauge",
            "  export    one loop a partition of app-otlp-metrics and of app-otlp-traces",
            "  ingestion.raw.messages  6 partitions, 6 tasks",
            "  notifications.audit  does not exist",
            "  app-gauge-repartition      4 partitions   partial aggregates on their way to the series' owner",
            "    feeds     responses: normalized to responses on /data/correlation_id",
            "  tickets_created_total  counter, unit {ticket}",
            "    joined    latest normalized on /data/normalized_content/customer_id",
            "    from      normalized (ingestion.normalized.messages)",
            "              tickets (processing.tickets.in) when event_type == \"ticket_created\"",
            "    window    10s, at most 8000 points each (2000 series in each of 4 gauge partitions)",
            "    costs     4 fields a record, 1 expression compiled",
            "    from      every record of 10 topics",
        ],
    );
    assert!(
        !report.contains("interpreted"),
        "the users' system pays for no interpreter:\n{report}"
    );
}

#[test]
fn without_brokers_partitions_are_not_guessed_at() {
    let report = report_of(
        "pipeline: p\nsources: { a: { topic: t } }\nmetrics: { m_total: { count: a } }\n",
        None,
    );
    has(
        &report,
        &["  tap       one task a partition of the input topics, group app", "  t"],
    );
}

#[test]
fn the_report_shows_no_value_from_outside() {
    let text = "pipeline: p\nsources:\n  a: { topic: 'x.${env:STAGE}', time: '/${env:STAGE}', when: 'x == \"${env:STAGE}\"' }\nmetrics:\n  \
                m_total: { count: a, labels: { l: { const: '${env:STAGE}' }, f: { field: '/${env:STAGE}', else: '${env:STAGE}' } } }\n";
    let report = report_of(text, None);
    assert!(!report.contains("hunter2"), "{report}");
    has(&report, &["  x.${env:STAGE}", "              l = \"${env:STAGE}\""]);
}

#[test]
fn a_source_that_feeds_nothing_is_noted() {
    let sources = "pipeline: p\nsources: { a: { topic: t }, b: { topic: u } }\n";
    let report = report_of(&format!("{sources}metrics: {{ m_total: {{ count: a }} }}\n"), None);
    has(&report, &["  the source `b` of `p` feeds no metric"]);
    let all = report_of(&format!("{sources}metrics: {{ m_total: {{ count: '*' }} }}\n"), None);
    assert!(!all.contains("feeds no metric"), "{all}");
}

#[test]
fn an_expression_for_the_interpreter_is_told_as_one() {
    let text = "pipeline: p\nsources: { a: { topic: t } }\nmetrics: { m_total: { count: a, labels: { l: { cel: 'string(size(x.map(y, y * 2)))' } } } }\n";
    assert!(
        report_of(text, None).contains("1 expression interpreted"),
        "{}",
        report_of(text, None)
    );
}
