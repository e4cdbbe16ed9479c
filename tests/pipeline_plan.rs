//! What a file says is what the plan does, and what makes a metric the one it is.

use std::collections::BTreeMap;

use streamgauge::engine::plan::{Kind, LabelFrom, Plan, Start, TimeFormat, TimeFrom, ValueFrom};
use streamgauge::engine::time::Span;
use streamgauge::pipeline;

fn no_env(_: &str) -> Option<String> {
    None
}

#[track_caller]
fn plan(text: &str) -> Plan {
    pipeline::parse(&[("p.yaml".to_owned(), text.to_owned())], &no_env).unwrap_or_else(|error| panic!("{error}"))
}

fn support() -> Plan {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/support.yaml");
    pipeline::load(&[file], &no_env).unwrap_or_else(|error| panic!("{error}"))
}

/// Sources by topic, each with the names of the metrics that it feeds.
fn feeds(plan: &Plan) -> BTreeMap<&str, Vec<(&str, Vec<&str>)>> {
    plan.topics
        .iter()
        .map(|topic| {
            let sources = topic.sources.iter().map(|source| {
                let fed = source
                    .recipes
                    .iter()
                    .map(|recipe| plan.metrics[recipe.metric.0].name.as_str())
                    .collect();
                (source.name.as_str(), fed)
            });
            (topic.topic.as_str(), sources.collect())
        })
        .collect()
}

#[test]
fn lag_is_everything_of_everyone_unless_it_says_less() {
    use streamgauge::engine::lag::status::Rules;
    use streamgauge::engine::plan::Lag;
    let lag = |text: &str| {
        plan(&format!("pipeline: p\nlag: {text}\n"))
            .lag
            .expect("it is asked for")
    };
    assert_eq!(lag("{}"), Lag::of_all(0));
    let said = lag(
        "{ groups: ['orders-*', '!orders-test'], topics: 'order?', every: 1m, status: burrow, max_series: 5, \
         horizon: 2h }",
    );
    assert!(said.groups.has("orders-1") && !said.groups.has("orders-test") && !said.groups.has("billing"));
    assert!(said.topics.has("orders") && !said.topics.has("order"));
    assert_eq!((said.every, said.horizon), (Span::seconds(60), Span::seconds(7_200)));
    assert_eq!((said.status, said.max_series), (Rules::Burrow { allowed_lag: 0 }, 5));
}

#[test]
fn the_pipeline_of_lag_alone_is_one() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/lag.yaml");
    let plan = pipeline::load(&[file], &no_env).unwrap_or_else(|error| panic!("{error}"));
    let lag = plan.lag.expect("it is asked for");
    assert!(lag.groups.has("any group") && lag.topics.has("any.topic"));
}

const ALL: &str = r#"
pipeline: all
defaults: { out_of_order: 1s, idle_after: 2s, max_hold: 3m, max_ahead: 4m, start: 7d, window: 20s, max_series: 9, max_record_bytes: 64KiB }
sources:
  plain: { topic: a }
  timed: { topic: b, time: { field: /t, format: millis }, start: latest, out_of_order: 500ms, max_record_bytes: 512KiB }
  some:  { topic: b, time: { format: millis, field: /t }, start: latest, out_of_order: 500ms, max_record_bytes: 512KiB, when: 'kind == "x"' }
metrics:
  records_total: { count: "*", window: 1m, max_series: 7 }
  both_total:
    help: Both.
    count: [plain, some]
    unit: "{thing}"
    labels:
      z: /z
      a: { const: 1.50 }
      m: { field: /m, else: none }
      t: { record: topic }
      p: { record: partition }
      c: { cel: 'size > 3', else: no }
  paid_total: { sum: { of: timed, value: /price } }
  wire_bytes_total: { sum: { of: "*", value: { record: bytes } } }
  wait_seconds: { observe: { of: timed, value: { record: append_latency } } }
  took_seconds: { observe: { of: [timed], value: { field: /took } }, histogram: { kind: explicit, buckets: [0.1, 1, 2.5e1] } }
  spread: { observe: { of: timed, value: /n }, histogram: { kind: exponential } }
  small: { observe: { of: timed, value: /n }, histogram: { kind: exponential, max_buckets: 20 } }
"#;

#[test]
fn every_setting_reaches_the_plan() {
    let plan = plan(ALL);
    assert_eq!(plan.pipelines, ["all"]);
    let [a, b] = plan.topics.as_slice() else {
        panic!("two topics")
    };
    assert_eq!((a.topic.as_str(), b.topic.as_str()), ("a", "b"));
    assert_eq!(a.timing.from, TimeFrom::Record);
    assert_eq!(
        (a.timing.out_of_order, a.timing.idle_after),
        (Span::seconds(1), Span::seconds(2))
    );
    assert_eq!(
        (a.timing.max_hold, a.timing.max_ahead),
        (Span::seconds(180), Span::seconds(240))
    );
    assert_eq!(
        (a.start, a.max_record_bytes),
        (Start::Ago(Span::seconds(7 * 86_400)), 64 << 10)
    );
    assert!(matches!(&b.timing.from, TimeFrom::Field { pointer, format: TimeFormat::Millis, .. } if pointer == "/t"));
    assert_eq!(
        (b.timing.out_of_order, b.start, b.max_record_bytes),
        (Span::millis(500), Start::Latest, 512 << 10)
    );

    let metric = |name: &str| plan.metrics.iter().find(|metric| metric.name == name).expect(name);
    let all = metric("records_total");
    assert_eq!(
        (all.window.span(), all.max_series, &all.topics),
        (Span::seconds(60), 7, &vec![0, 1])
    );
    let both = metric("both_total");
    assert_eq!(
        (both.help.as_str(), both.unit.as_str(), both.max_series),
        ("Both.", "{thing}", 9)
    );
    assert_eq!(
        (both.window.span(), &both.labels.join(" ")),
        (Span::seconds(20), &"a c m p t z".to_owned())
    );
    assert_eq!(
        metric("took_seconds").kind,
        Kind::Explicit {
            bounds: vec![100_000, 1_000_000, 25_000_000]
        }
    );
    assert_eq!(metric("spread").kind, Kind::Exponential { max_buckets: 160 });
    assert_eq!(metric("small").kind, Kind::Exponential { max_buckets: 20 });
    assert!(matches!(&metric("wait_seconds").kind, Kind::Explicit { bounds } if bounds.len() == 11));
    let units: Vec<(&str, &Kind)> = plan
        .metrics
        .iter()
        .map(|metric| (metric.unit.as_str(), &metric.kind))
        .take(4)
        .collect();
    assert_eq!(
        units,
        [
            ("{record}", &Kind::Count),
            ("{thing}", &Kind::Count),
            ("", &Kind::Sum),
            ("By", &Kind::Count)
        ]
    );
}

#[test]
fn recipes_hold_labels_in_the_order_of_their_names() {
    let plan = plan(ALL);
    let some = plan.topics[1]
        .sources
        .iter()
        .find(|source| source.name == "some")
        .expect("some");
    assert!(some.when.is_some());
    let [recipe] = some.recipes.as_slice() else {
        panic!("one recipe")
    };
    assert!(matches!(recipe.value, ValueFrom::One));
    let [a, c, m, p, t, z] = recipe.labels.as_slice() else {
        panic!("six labels")
    };
    assert!(
        matches!(a, LabelFrom::Const(text) if text == "1.50"),
        "as it is written"
    );
    assert!(matches!(c, LabelFrom::Expr { otherwise: Some(text), .. } if text == "no"));
    assert!(matches!(m, LabelFrom::Field { pointer, otherwise: Some(text), .. } if pointer == "/m" && text == "none"));
    assert!(matches!((p, t), (LabelFrom::Partition, LabelFrom::Topic)));
    assert!(matches!(z, LabelFrom::Field { pointer, otherwise: None, .. } if pointer == "/z"));
}

#[test]
fn a_star_takes_each_record_of_each_topic_once() {
    let plan = plan(ALL);
    let feeds = feeds(&plan);
    assert_eq!(
        feeds["a"],
        [
            ("plain", vec!["both_total"]),
            ("*", vec!["records_total", "wire_bytes_total"])
        ]
    );
    let star: Vec<_> = feeds["b"].iter().filter(|(name, _)| *name == "*").collect();
    assert_eq!(star, [&("*", vec!["records_total", "wire_bytes_total"])]);
}

#[test]
fn several_documents_and_files_are_one_plan() {
    let one = "pipeline: one\nsources: { a: { topic: t } }\nmetrics: { a_total: { count: a } }\n";
    let two = "pipeline: two\nsources: { a: { topic: t, when: 'x == 1' } }\nmetrics: { b_total: { count: \"*\" } }\n";
    let three = "pipeline: three\nsources: { a: { topic: s } }\nmetrics: { c_total: { count: a } }\n";
    let files = [
        ("1.yaml".to_owned(), format!("---\n{one}---\n{two}...\n")),
        ("2.yaml".to_owned(), three.to_owned()),
    ];
    let plan = pipeline::parse(&files, &no_env).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(plan.pipelines, ["one", "two", "three"]);
    assert_eq!(
        plan.metrics.iter().map(|metric| metric.pipeline).collect::<Vec<_>>(),
        [0, 1, 2]
    );
    let feeds = feeds(&plan);
    assert_eq!(feeds["t"], [("a", vec!["a_total"]), ("*", vec!["b_total"])]);
    assert_eq!(
        plan.topics[1]
            .sources
            .iter()
            .map(|source| source.pipeline)
            .collect::<Vec<_>>(),
        [0, 1]
    );
}

#[test]
fn values_from_outside_are_filled_in() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("channel"), "web form\n").expect("written");
    let file = folder.path().join("p.yaml");
    std::fs::write(
        &file,
        "pipeline: p\ndefaults: { max_series: '${env:SERIES}' }\nsources: { a: { topic: '${env:STAGE}.raw' } }\nmetrics:\n  a_total:\n    \
         count: a\n    labels: { c: { const: '${file:channel}' }, d: { const: '$${env:X} costs $5' } }\n",
    )
    .expect("written");
    let env = |name: &str| match name {
        "STAGE" => Some("live".to_owned()),
        "SERIES" => Some("12".to_owned()),
        _ => None,
    };
    let plan = pipeline::load(&[file], &env).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        (plan.topics[0].topic.as_str(), plan.metrics[0].max_series),
        ("live.raw", 12)
    );
    let [c, d] = plan.topics[0].sources[0].recipes[0].labels.as_slice() else {
        panic!("two labels")
    };
    assert!(matches!(c, LabelFrom::Const(text) if text == "web form"), "{c:?}");
    assert!(
        matches!(d, LabelFrom::Const(text) if text == "${env:X} costs $5"),
        "{d:?}"
    );
}

#[test]
fn the_users_system_has_the_metrics_of_the_contract() {
    let plan = support();
    let contract: BTreeMap<&str, (&str, Vec<&str>)> = [
        ("channel_messages_received_total", ("{message}", vec!["channel_type"])),
        (
            "customer_identity_resolutions_total",
            ("{resolution}", vec!["resolution_type", "success"]),
        ),
        ("tickets_created_total", ("{ticket}", vec!["channel_type", "priority"])),
        (
            "kafka_producer_messages_total",
            ("{message}", vec!["producer_id", "status", "topic"]),
        ),
        ("kafka_producer_bytes_total", ("By", vec!["producer_id", "topic"])),
        ("kafka_producer_latency_seconds", ("s", vec!["producer_id", "topic"])),
        ("response_time_seconds", ("s", vec!["channel_type"])),
        ("responses_unanswered_total", ("{message}", vec!["channel_type"])),
        ("responses_unmatched_total", ("{response}", vec!["channel_type"])),
        ("responses_second_total", ("{response}", vec![])),
        ("responses_negative_total", ("{message}", vec![])),
        ("responses_duplicate_total", ("{message}", vec![])),
        ("responses_open", ("{message}", vec![])),
        ("response_age_seconds", ("s", vec![])),
    ]
    .into();
    let has: BTreeMap<&str, (&str, Vec<&str>)> = plan
        .metrics
        .iter()
        .filter(|metric| !metric.name.starts_with("streamgauge_"))
        .map(|metric| {
            (
                metric.name.as_str(),
                (metric.unit.as_str(), metric.labels.iter().map(String::as_str).collect()),
            )
        })
        .collect();
    assert_eq!(has, contract);
    assert_eq!(plan.topics.len(), 10);
    assert!(
        plan.topics
            .iter()
            .all(|topic| topic.sources.iter().any(|source| source.name == "*"))
    );
}

// --- definitions ---

/// A file with everything that a definition can have.
const DEFINED: &str = r#"pipeline: p
sources:
  a: { topic: t, time: /time, when: 'kind == "x"' }
metrics:
  m_seconds:
    help: Old help.
    observe: { of: a, value: /v }
    histogram: { kind: explicit, buckets: [1, 2] }
    window: 10s
    max_series: 5
    labels: { l: { field: /l, else: none }, c: { cel: 'size(x) > 2 ? "a b" : "c"' } }
"#;

fn hash_of(text: &str) -> u64 {
    plan(text).metrics[0].definition.0
}

#[test]
fn a_definition_is_the_same_in_every_build() {
    // The number goes with every partial in the internal topics: another one would close every series of every user.
    assert_eq!(hash_of(DEFINED), 14_299_035_853_292_394_268);
}

#[test]
fn layout_order_help_caps_lateness_and_source_names_are_no_part_of_a_definition() {
    let other = r#"
# the same, otherwise
metrics:
    m_seconds:
        labels:
            c:
                cel: >-
                    size(x) >   2 // why
                    ? "a b"
                    : "c"
            "l":
                else: none
                field: "/l"
        max_series: 50
        help: New help.
        histogram: { "buckets": [1.0, 2e0], kind: explicit, unit: s }
        observe: { value: { field: /v }, of: [b] }
defaults: { window: 10000ms, out_of_order: 1m, start: latest }
sources:
    b:
        when: kind  ==  "x"
        time: { format: auto, field: /time }
        topic: t
pipeline: 'p'
"#;
    // A comment in CEL ends at the line's end, so the folded form needs it kept: the literal form has the lines.
    assert_eq!(hash_of(&other.replace(">-", "|-")), hash_of(DEFINED));
}

#[test]
fn whatever_makes_the_metric_changes_its_definition() {
    let mut seen = BTreeMap::from([(hash_of(DEFINED), String::new())]);
    for (old, new) in [
        ("pipeline: p", "pipeline: q"),
        ("topic: t", "topic: u"),
        ("time: /time", "time: /at"),
        ("time: /time", "time: { field: /time, format: millis }"),
        ("time: /time, ", ""),
        (r#"kind == "x""#, r#"kind == "y""#),
        (r#", when: 'kind == "x"'"#, ""),
        ("m_seconds", "n_seconds"),
        ("value: /v", "value: /w"),
        ("value: /v", "value: { record: append_latency }"),
        ("[1, 2]", "[1, 3]"),
        ("kind: explicit, buckets: [1, 2]", "kind: exponential"),
        ("kind: explicit, buckets: [1, 2]", "kind: exponential, max_buckets: 80"),
        ("window: 10s", "window: 20s"),
        ("{ l: {", "{ k: {"),
        ("field: /l", "field: /k"),
        ("else: none", "else: other"),
        (", else: none", ""),
        ("{ field: /l, else: none }", "{ const: none }"),
        ("{ field: /l, else: none }", "{ record: topic }"),
        ("{ field: /l, else: none }", "{ record: partition }"),
        (r#""a b""#, r#""a  b""#),
        ("size(x) > 2", "size(x) > 3"),
        ("    window", "    unit: '{x}'\n    window"),
    ] {
        let text = DEFINED.replacen(old, new, 1);
        assert_ne!(text, DEFINED, "{old}");
        let first = seen.insert(hash_of(&text), format!("{old} -> {new}"));
        assert_eq!(first, None, "{old} -> {new}");
    }
}
