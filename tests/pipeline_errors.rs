//! Whatever is wrong with a pipeline is named with its place and what would be right, all of it at once.

use streamgauge::pipeline::{self, Diagnostics, Look};

/// A pipeline that is right, to put wrong things into.
const SOURCES: &str = "sources:\n  raw: { topic: raw, time: /timestamp }\n";
const METRICS: &str = "metrics:\n  received_total: { count: raw }\n";

fn parse(text: &str) -> Result<streamgauge::engine::plan::Plan, Diagnostics> {
    pipeline::parse(&[("p.yaml".to_owned(), text.to_owned())], &|_| None)
}

/// `line:column message / help` of every fault.
#[track_caller]
fn faults(text: &str) -> Vec<String> {
    let diagnostics = parse(text).expect_err("this must be refused");
    described(&diagnostics)
}

fn described(diagnostics: &Diagnostics) -> Vec<String> {
    let describe = |fault: &pipeline::Fault| {
        let (line, column) = fault.place().map_or((0, 0), |place| place.line_and_column());
        format!("{line}:{column} {fault} / {}", fault.help_text().unwrap_or("-"))
    };
    diagnostics.iter().map(describe).collect()
}

/// The faults of a metric in an otherwise right pipeline; the metric's keys stand on line 6.
#[track_caller]
fn faults_of_metric(name: &str, metric: &str) -> Vec<String> {
    faults(&format!("pipeline: p\n{SOURCES}metrics:\n  {name}:\n    {metric}\n"))
}

#[track_caller]
fn only(faults: Vec<String>, expected: &str) {
    assert_eq!(faults, [expected]);
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    only(
        faults(&format!("pipeline: p\nsources:\n  raw: {{ topik: raw }}\n{METRICS}")),
        "3:10 unknown key `topik` in a source / did you mean `topic`?",
    );
    let unlike = faults(&format!("pipeline: p\nwindmill: 3\n{SOURCES}{METRICS}"));
    only(
        unlike,
        "2:1 unknown key `windmill` in a pipeline / a pipeline has `pipeline`, `defaults`, `sources`, `metrics`, `traces`, `lag`, `alerts` and `receivers`",
    );
}

#[test]
fn all_faults_are_told_in_the_order_of_the_file() {
    let found = faults(
        "pipeline: p\ndefaults: { window: 10 }\nsources:\n  raw: { topic: 'a b' }\n  other: { time: timestamp }\nmetrics:\n  \
         x_total: { count: rau }\n  y: { count: raw }\n  z_total: {}\n",
    );
    let places: Vec<&str> = found
        .iter()
        .map(|fault| fault.split(' ').next().unwrap_or_default())
        .collect();
    assert_eq!(
        places,
        ["2:21", "4:19", "5:10", "5:18", "7:21", "8:3", "9:12"],
        "{found:#?}"
    );
}

#[test]
fn the_drawing_has_file_line_column_and_a_caret() {
    let diagnostics = parse(&format!(
        "pipeline: p\n{SOURCES}metrics:\n  a_total: {{ coumt: raw }}\n"
    ))
    .expect_err("refused");
    let drawn = diagnostics.to_string();
    for part in [
        "unknown key `coumt`",
        "p.yaml:5:14",
        "a_total: { coumt: raw }",
        "^^^^^",
        "did you mean `count`?",
    ] {
        assert!(drawn.contains(part), "no {part} in\n{drawn}");
    }
    assert!(
        !drawn.contains('\u{1b}') && drawn.is_ascii(),
        "plain means plain:\n{drawn}"
    );
    assert!(diagnostics.render(Look::Fancy { width: 80 }).contains('\u{1b}'));
}

/// The faults of an alert in an otherwise right pipeline; the alert's keys stand on line 7 from column 5 on.
#[track_caller]
fn faults_of_alert(alert: &str) -> Vec<String> {
    faults(&format!(
        "pipeline: p\n{SOURCES}metrics: {{ received_total: {{ count: raw, labels: {{ kind: /kind }} }} }}\nalerts:\n  Many:\n    \
         {alert}\n"
    ))
}

#[test]
fn an_alert_names_what_there_is_and_says_one_condition() {
    only(
        faults_of_alert("{ metric: received_totl, above: 1 }"),
        "7:15 there is no metric `received_totl` / did you mean `received_total`?",
    );
    only(
        faults_of_alert("{ metric: kafka_consumer_lag, above: 1 }"),
        "7:15 there is no metric `kafka_consumer_lag` / it is one of `lag`'s, which no pipeline asks for: add `lag: {}`",
    );
    only(
        faults_of_alert("{ metric: received_total, above: 1, where: { king: a } }"),
        "7:50 the metric has no label `king` / did you mean `kind`?",
    );
    only(
        faults_of_alert("{ metric: received_total, above: 1, to: [operator] }"),
        "7:46 there is no receiver `operator` / name one of `receivers`",
    );
    only(
        faults_of_alert("{ metric: streamgauge_series, above: 1, rate: 5m }"),
        "7:51 `streamgauge_series` is no counter: it has no rate / compare its value, without `rate`",
    );
    only(
        faults_of_alert("{ metric: received_total, above: 1, began_above: 1 }"),
        "7:54 `began_above` needs `rate` / say over which span, as in `rate: 5m`",
    );
    only(
        faults_of_alert("{ metric: received_total, above: 1, sum: all, group: [kind] }"),
        "7:59 alerts of this rule have no label `kind` / add it to `sum`, or to `where`",
    );
    let two = faults_of_alert("{ metric: received_total, above: 1, below: 2 }");
    assert!(two.len() == 1 && two[0].contains("`above`"), "{two:?}");
    let three = faults_of_alert("{ metric: received_total, absent: 5m, rate: 5m }");
    assert!(
        three.len() == 1 && three[0].contains("what is absent does not grow"),
        "{three:?}"
    );
}

#[test]
fn a_template_that_does_not_compile_is_refused_at_its_place() {
    let description = |text: &str| {
        faults_of_alert(&format!(
            "{{ metric: received_total, above: 1, description: '{text}' }}"
        ))
    };
    only(
        description("{{ king }} is many"),
        "7:55 alerts of this rule have no `king` / did you mean `{{ kind }}`?",
    );
    only(
        description("{{ $labels.topic }}"),
        "7:55 alerts of this rule have no `$labels.topic` / there is `kind`, `value`",
    );
    only(
        description("now {{ value"),
        "7:59 `{{` without its `}}` / write `{{ value }}` or `{{ NAME }}` with the name of a label",
    );
    let right = format!(
        "pipeline: p\n{SOURCES}{METRICS}alerts: {{ Many: {{ metric: received_total, above: 1, description: '{{{{ $value }}}}' }} }}\n"
    );
    assert!(parse(&right).is_ok());
}

#[test]
fn a_receiver_says_where_it_is_and_shows_no_secret() {
    let receiver = |receiver: &str| {
        faults(&format!(
            "pipeline: p\n{SOURCES}{METRICS}receivers:\n  ops: {receiver}\n"
        ))
    };
    let mail = |more: &str| {
        receiver(&format!(
            "{{ mail: {{ server: smtp, from: a@b.example, to: c@d.example{more} }} }}"
        ))
    };
    only(
        mail(", username: u, password: hush"),
        "7:91 a secret does not stand in a file that is shown / write `${env:NAME}` or `${file:PATH}`",
    );
    only(
        mail(", username: u"),
        "7:78 `username` needs `password` / write `password: ${file:PATH}` or `${env:NAME}`",
    );
    only(
        mail(", security: none"),
        "7:26 mail without TLS goes to a server on loopback only, and without a login / leave `security` out, or give 127.0.0.1 \
         and no `username`",
    );
    only(
        mail(", authority: none"),
        "7:79 there are no certificates in this / give PEM, as in `authority: ${file:ca.pem}`",
    );
    only(
        receiver("{ mail: { server: smtp, from: nobody, to: c@d.example } }"),
        "7:38 this is no address / write `ops@example.com`, or `\"The operators <ops@example.com>\"`",
    );
    only(
        receiver("{ alertmanager: { url: 'http://u:p@host:9093' } }"),
        "7:31 this is no URL of an Alertmanager / write `http://HOST:9093`; a login stands in `username` and `password`",
    );
    let nothing = receiver("{}");
    assert!(nothing.len() == 1 && nothing[0].contains("`mail`"), "{nothing:?}");
}

#[test]
fn lag_says_what_it_takes() {
    let lag = |lag: &str| faults(&format!("pipeline: p\nlag: {lag}\n"));
    only(
        lag("{ every: 10 }"),
        "2:15 a duration needs its unit / write `10s` for seconds; the units are ms, s, m, h and d",
    );
    only(lag("{ every: 10m }"), "2:15 10m is out of range / it may be 1s to 5m");
    only(
        lag("{ groups: ['a', '!'] }"),
        "2:22 this excludes nothing / write a pattern behind `!`, as in `\"!test-*\"`",
    );
    only(
        lag("{ group: a }"),
        "2:8 unknown key `group` in lag / did you mean `groups`?",
    );
    only(
        lag("{ status: kafka }"),
        "2:16 `status` cannot be `kafka` / it may be `corrected` or `burrow`",
    );
    only(
        lag("'*'"),
        "2:6 `lag` cannot be the text `*` / write a mapping, such as `lag: { groups: \"*\", every: 10s }`",
    );
}

#[test]
fn a_pipeline_has_sources_and_metrics_or_lag() {
    let missing = faults("pipeline: p\n");
    let needs = |key: &str| {
        missing
            .iter()
            .any(|fault| fault.starts_with(&format!("1:1 a pipeline needs `{key}` /")))
    };
    assert!(
        missing.len() == 2 && needs("sources") && needs("metrics"),
        "{missing:?}"
    );
    let plan = parse("pipeline: p\nlag: {}\n").expect("lag alone is enough");
    assert!(plan.lag.is_some() && plan.topics.is_empty() && plan.metrics.is_empty());
}

#[test]
fn lag_is_asked_for_once_and_its_metrics_are_no_others() {
    only(
        faults("pipeline: p\nlag: {}\n---\npipeline: q\nlag: { every: 5s }\n"),
        "5:6 another pipeline asks for `lag` already / a process measures each group once: keep one of the two, with the groups of \
         both",
    );
    only(
        faults(&format!(
            "pipeline: p\nlag: {{}}\n{SOURCES}metrics:\n  kafka_consumer_messages_total: {{ count: raw }}\n"
        )),
        "6:3 `kafka_consumer_messages_total` is a metric that `lag` has / choose another name, or leave `lag` out",
    );
}

#[test]
fn a_metric_is_exactly_one_of_count_sum_and_observe() {
    only(
        faults_of_metric("a_total", "{ count: raw, sum: { of: raw, value: /x } }"),
        "6:19 a metric cannot have both `count` and `sum` / it has exactly one of `count`, `sum`, `observe` or `respond`",
    );
    only(
        faults_of_metric("a_total", "help: Nothing at all."),
        "6:5 a metric needs one of `count`, `sum`, `observe` or `respond` / add for example `count: raw`",
    );
    only(
        faults_of_metric("a_total", "{ count: raw, histogram: { kind: explicit } }"),
        "6:19 `histogram` cannot stand beside `count` / a counter has no buckets: leave `histogram` out",
    );
}

#[test]
fn a_name_that_prometheus_would_change_is_refused_with_the_name_it_would_get() {
    only(
        faults_of_metric("received", "count: raw"),
        "5:3 in Prometheus this metric would be called `received_total` / a counter's name ends in its unit and `_total`: call it `received_total`",
    );
    only(
        faults_of_metric("sent_total", "{ sum: { of: raw, value: { record: bytes } }, unit: By }"),
        "5:3 in Prometheus this metric would be called `sent_bytes_total` / a counter's name ends in its unit and `_total`: call it `sent_bytes_total`",
    );
    only(
        faults_of_metric("latency", "{ observe: { of: raw, value: /seconds }, unit: s }"),
        "5:3 in Prometheus this metric would be called `latency_seconds` / a name ends in its unit: call it `latency_seconds`",
    );
    for name in [
        "a__b_total",
        "1a_total",
        "a-b_total",
        "_a_total",
        "a:b_total",
        "ä_total",
    ] {
        let found = faults_of_metric(&format!("'{name}'"), "count: raw");
        assert!(found[0].contains("cannot be the name of a metric"), "{found:?}");
    }
    for name in ["a_count", "a_sum", "a_bucket", "streamgauge_records_total"] {
        assert!(
            !faults_of_metric(name, "observe: { of: raw, value: /x }").is_empty(),
            "{name}"
        );
    }
}

#[test]
fn units_fit_what_is_measured() {
    let latency = |name: &str, more: &str| {
        faults_of_metric(
            name,
            &format!("{{ observe: {{ of: raw, value: {{ record: append_latency }} }}{more} }}"),
        )
    };
    only(
        latency("wait_milliseconds", ""),
        "5:3 the values are seconds, and the unit is `ms` / end the metric's name in `_seconds` and leave `unit` out, or write `unit: s` too",
    );
    assert_eq!(latency("wait", "").len(), 1);
    assert_eq!(
        latency("wait_seconds", ", unit: s, histogram: { kind: explicit, unit: s }").len(),
        1
    );
    assert_eq!(faults_of_metric("a_total", "{ count: raw, unit: bytes }").len(), 1);
}

#[test]
fn labels_have_names_and_values_that_prometheus_takes() {
    let label = |label: &str| faults_of_metric("a_total", &format!("{{ count: raw, labels: {{ {label} }} }}"));
    for name in [
        "le",
        "quantile",
        "job",
        "instance",
        "otel_scope_name",
        "__name__",
        "a-b",
        "'9'",
        "a.b",
    ] {
        assert_eq!(label(&format!("{name}: /x")).len(), 1, "{name}");
    }
    only(
        label("c: data"),
        "6:32 a field starts with `/`, as in `/data/channel` / fields are JSON pointers: `/data/channel` is `channel` inside of `data`",
    );
    only(
        label("c: { const: '' }"),
        "6:41 this text is empty / leave the key out, or write what is meant",
    );
    only(
        label("c: { field: /a, const: b }"),
        "6:45 a label cannot have both `field` and `const` / it has exactly one of `field`, `const`, `record`, `cel`, `header`, \
         `from`, `to` or `latest`",
    );
    only(
        label("c: { record: topik }"),
        "6:42 `record` cannot be `topik` / did you mean `topic`? It may be `topic` or `partition`",
    );
    only(
        label("c: /a, c: /b"),
        "6:36 `c` stands here a second time / keep one of the two",
    );
}

#[test]
fn an_expression_is_pointed_at_where_it_fails() {
    let source = "sources:\n  raw: { topic: raw, when: 'event_type = \"x\"' }\n";
    let found = faults(&format!("pipeline: p\n{source}{METRICS}"));
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].starts_with("3:40 "), "{found:?}");
}

#[test]
fn an_expression_of_an_unused_source_is_checked_too() {
    let found = faults(&format!(
        "pipeline: p\n{SOURCES}  idle: {{ topic: raw, time: /timestamp, when: '((' }}\n{METRICS}"
    ));
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_source_that_is_not_there_is_named_and_a_faulty_one_is_not_told_twice() {
    only(
        faults_of_metric("a_total", "count: rau"),
        "6:12 this pipeline has no source of this name / did you mean `raw`?",
    );
    only(
        faults("pipeline: p\nsources:\n  raw: { topic: 7 }\nmetrics:\n  a_total: { count: [raw] }\n"),
        "3:17 `7` is not the name of a topic / put it into quotes if it is meant: \"7\"",
    );
}

#[test]
fn names_are_unique_over_all_files_and_both_places_are_told() {
    let one = format!("pipeline: p\n{SOURCES}{METRICS}");
    let files = [
        ("a.yaml".to_owned(), one.clone()),
        ("b.yaml".to_owned(), format!("{one}---\n{one}")),
    ];
    let diagnostics = pipeline::parse(&files, &|_| None).expect_err("refused");
    let drawn = diagnostics.to_string();
    assert_eq!(diagnostics.iter().count(), 4, "{drawn}");
    assert!(drawn.contains("a pipeline of this name was there before"), "{drawn}");
    assert!(drawn.contains("first here: a.yaml:5:3"), "{drawn}");
    assert!(drawn.contains("b.yaml:11:3"), "{drawn}");
}

#[test]
fn sources_of_one_topic_must_agree_and_both_places_are_told() {
    let with = |settings: &str| {
        let other = format!(
            "pipeline: q\nsources:\n  other: {{ topic: raw{settings} }}\nmetrics:\n  b_total: {{ count: other }}\n"
        );
        let files = [
            ("a.yaml".to_owned(), format!("pipeline: p\n{SOURCES}{METRICS}")),
            ("b.yaml".to_owned(), other),
        ];
        pipeline::parse(&files, &|_| None)
    };
    assert!(with(", time: { field: /timestamp }").is_ok());
    for (settings, key) in [
        ("", "time"),
        (", time: /time", "time"),
        (", time: { field: /timestamp, format: millis }", "time"),
        (", time: /timestamp, start: latest", "start"),
        (", time: /timestamp, start: 24h", "start"),
        (", time: /timestamp, out_of_order: 6s", "out_of_order"),
        (", time: /timestamp, idle_after: 6s", "idle_after"),
        (", time: /timestamp, max_hold: 6s", "max_hold"),
        (", time: /timestamp, max_ahead: 6s", "max_ahead"),
        (", time: /timestamp, max_record_bytes: 2KiB", "max_record_bytes"),
    ] {
        let drawn = with(settings).expect_err(settings).to_string();
        assert!(
            drawn.contains(&format!("the sources of one topic disagree about `{key}`")),
            "{drawn}"
        );
        assert!(
            drawn.contains("b.yaml:3:") && drawn.contains("the source `raw` says otherwise here: a.yaml:3:"),
            "{drawn}"
        );
    }
}

#[test]
fn durations_sizes_and_numbers_want_their_units_and_ranges() {
    let defaults = |setting: &str| faults(&format!("pipeline: p\ndefaults: {{ {setting} }}\n{SOURCES}{METRICS}"));
    only(
        defaults("window: 10"),
        "2:21 a duration needs its unit / write `10s` for seconds; the units are ms, s, m, h and d",
    );
    only(
        defaults("window: 0s"),
        "2:21 0s is out of range / it may be 100ms to 1h",
    );
    only(
        defaults("window: 1.5s"),
        "2:21 this is not a duration such as `10s` / write a duration such as `10s`",
    );
    only(
        defaults("idle_after: 99999999999999999d"),
        "2:25 this is not a duration such as `10s` / write a duration such as `10s`",
    );
    only(
        defaults("max_record_bytes: 4096"),
        "2:31 a size needs its unit / write `4096B` for bytes; the units are B, KiB and MiB",
    );
    only(
        defaults("max_record_bytes: 1GiB"),
        "2:31 this is not a size such as `1MiB` / write a size such as `1MiB`",
    );
    only(
        defaults("max_series: 0"),
        "2:25 0 is out of range / it may be 1 to 1000000",
    );
    only(
        defaults("max_series: '5'"),
        "2:25 `5` is not a whole number / write it without quotes, as `2000`",
    );
    only(
        defaults("start: now"),
        "2:20 this is no place to start / `earliest`, `latest` or a duration such as `24h`",
    );
}

#[test]
fn buckets_ascend_and_belong_to_their_kind() {
    let buckets = |histogram: &str| {
        faults_of_metric(
            "a_seconds",
            &format!("{{ observe: {{ of: raw, value: /x }}, histogram: {{ {histogram} }} }}"),
        )
    };
    only(
        buckets("kind: explicit, buckets: [1, 2, 2.0]"),
        "6:85 this bound is not above the one before it / write the bounds in ascending order, each once",
    );
    only(
        buckets("kind: explicit, buckets: [0.0000001]"),
        "6:79 this bound cannot be kept / bounds lie between 0 and 1e12, to a millionth",
    );
    only(
        buckets("kind: explicit, buckets: []"),
        "6:78 `buckets` is empty / write at least one entry",
    );
    only(
        buckets("kind: exponential, buckets: [1]"),
        "6:72 `buckets` belongs to `kind: explicit` / write `kind: explicit`, or leave `buckets` out",
    );
    only(
        buckets("kind: explicit, max_buckets: 20"),
        "6:69 `max_buckets` belongs to `kind: exponential` / write `kind: exponential`, or leave `max_buckets` out",
    );
    only(
        buckets("buckets: [1]"),
        "6:51 a histogram needs `kind` / add `kind: explicit`",
    );
}

#[test]
fn what_is_no_pipeline_is_told_so() {
    only(
        faults(""),
        "0:0 p.yaml: there is no pipeline in this file / start with `pipeline: NAME`",
    );
    only(
        faults("# nothing\n---\n"),
        "0:0 p.yaml: there is no pipeline in this file / start with `pipeline: NAME`",
    );
    only(faults("[]"), "1:1 `a pipeline` cannot be a list / write a mapping");
    let broken = faults("pipeline: p\nsources: {\n");
    assert!(
        broken.len() == 1 && broken[0].contains("this is not YAML"),
        "{broken:?}"
    );
    only(
        faults(&format!("pipeline: p\nsources:\n{METRICS}")),
        "2:8 `sources` has no value / write a mapping, such as `sources: { raw: { topic: ingestion.raw.messages } }`",
    );
    assert!(pipeline::parse(&[], &|_| None).is_err());
    let missing = pipeline::load(&["/no/such/file.yaml".into()], &|_| None)
        .expect_err("refused")
        .to_string();
    assert!(missing.contains("/no/such/file.yaml"), "{missing}");
}

#[test]
fn secrets_that_cannot_be_had_are_faults_at_their_place() {
    let topic = |topic: &str| {
        faults(&format!(
            "pipeline: p\nsources:\n  raw: {{ topic: '{topic}' }}\n{METRICS}"
        ))
    };
    let found = topic("a.${env:STREAMGAUGE_NOT_SET}");
    assert!(
        found[0].starts_with("3:20 the environment variable `STREAMGAUGE_NOT_SET` is not set"),
        "{found:?}"
    );
    assert!(topic("${file:/no/such/secret}")[0].contains("cannot be read"));
    assert!(topic("${what:ever}")[0].contains("names no place to take a value from"));
    assert!(topic("${env:HALF")[0].contains("without its `}`"));
}

#[test]
fn a_secret_is_never_shown() {
    let env = |name: &str| (name == "TOKEN").then(|| "hunter2 (((".to_owned());
    let text = "pipeline: '${env:TOKEN}'\nsources:\n  raw: { topic: '${env:TOKEN}', when: 'a == \"x${env:TOKEN}' }\n  b: { topic: b, \
                time: '${env:TOKEN}', start: '${env:TOKEN}', max_record_bytes: '${env:TOKEN}' }\nmetrics:\n  a_total: { count: \
                '${env:TOKEN}', unit: '${env:TOKEN}', max_series: '${env:TOKEN}', labels: { c: { record: '${env:TOKEN}' }, d: { cel: \
                '${env:TOKEN}' } } }\n";
    let diagnostics = pipeline::parse(&[("p.yaml".to_owned(), text.to_owned())], &env).expect_err("refused");
    let drawn = format!(
        "{diagnostics}{diagnostics:?}{}",
        diagnostics.render(Look::Fancy { width: 200 })
    );
    assert!(!drawn.contains("hunter2"), "{drawn}");
    assert!(diagnostics.iter().count() >= 9, "{drawn}");
}
