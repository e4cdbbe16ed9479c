//! `respond` and `latest`: what a file says is what the joins of the plan do, and what is wrong is named.

use std::collections::BTreeSet;

use streamgauge::engine::plan::{
    JoinIx, JoinedLabel, Kind, LabelFrom, Latest, Measure, Merge, MetricIx, Operator, Plan, Respond, Side, ValueFrom,
};
use streamgauge::engine::time::Span;
use streamgauge::pipeline::{self, Diagnostics};

const SOURCES: &str = "\
sources:
  normalized: { topic: n, time: /timestamp }
  responses: { topic: r, time: /timestamp, when: 'kind == \"final\"' }
  tickets: { topic: t, time: /timestamp }
";

fn parse(metrics: &str) -> Result<Plan, Diagnostics> {
    let text = format!("pipeline: p\n{SOURCES}metrics:\n{metrics}");
    pipeline::parse(&[("p.yaml".to_owned(), text)], &|_| None)
}

#[track_caller]
fn plan(metrics: &str) -> Plan {
    parse(metrics).unwrap_or_else(|error| panic!("{error}"))
}

/// `message / help` of the only fault.
#[track_caller]
fn fault(metrics: &str) -> String {
    let diagnostics = parse(metrics).expect_err("this must be refused");
    let faults: Vec<String> = diagnostics
        .iter()
        .map(|fault| format!("{fault} / {}", fault.help_text().unwrap_or("-")))
        .collect();
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.concat()
}

const RESPOND: &str = "respond: { from: normalized, to: responses, on: /data/correlation_id";

fn responses() -> String {
    format!(
        "  response_time_seconds:
    {RESPOND} }}
    labels: {{ team: {{ to: /data/team, else: none }}, channel: {{ from: /data/channel }}, region: {{ const: eu }} }}
  responses_unanswered_total:
    {RESPOND}, measure: unanswered }}
    labels: {{ channel: {{ from: /data/channel }} }}
  responses_open: {{ {RESPOND}, measure: open }} }}
  response_age_seconds: {{ {RESPOND}, measure: oldest }} }}
"
    )
}

const LOOK_UP: &str = "{ of: normalized, take: /data/channel, on: /data/customer, equals: /data/ticket/customer }";

fn carried(side: Side, index: usize, otherwise: &str) -> JoinedLabel {
    JoinedLabel::Carried {
        side,
        index,
        otherwise: otherwise.into(),
    }
}

#[test]
fn metrics_of_one_respond_share_a_join_and_each_takes_its_measure() {
    let plan = plan(&responses());
    assert_eq!(plan.joins.len(), 1);
    let join = &plan.joins[0];
    assert_eq!(join.topics, [0, 1]);
    let Operator::Respond(Respond {
        within,
        forget,
        skew,
        measured,
        ..
    }) = &join.operator
    else {
        panic!("it is a respond");
    };
    assert_eq!(
        (*within, *forget, *skew),
        (Span::seconds(86_400), Span::seconds(3_600), Span::seconds(60))
    );
    let measures: Vec<(&str, Measure)> = measured
        .iter()
        .map(|measured| (plan.metrics[measured.metric.0].name.as_str(), measured.measure))
        .collect();
    assert_eq!(
        measures,
        [
            ("response_time_seconds", Measure::ResponseTime),
            ("responses_unanswered_total", Measure::Unanswered),
            ("responses_open", Measure::Open),
            ("response_age_seconds", Measure::OldestOpen),
        ]
    );
    assert_eq!(
        measured[0].labels,
        [
            carried(Side::REQUEST, 0, "unknown"),
            JoinedLabel::Const("eu".into()),
            carried(Side::RESPONSE, 0, "none"),
        ]
    );
    let kinds: Vec<(&Kind, &str)> = plan
        .metrics
        .iter()
        .take(4)
        .map(|metric| (&metric.kind, metric.unit.as_str()))
        .collect();
    assert_eq!(
        kinds,
        [
            (&Kind::Exponential { max_buckets: 160 }, "s"),
            (&Kind::Count, "{record}"),
            (&Kind::Level(Merge::Sum), ""),
            (&Kind::Level(Merge::Max), "s"),
        ]
    );
    for metric in 0..4 {
        assert_eq!(plan.joins_of(MetricIx(metric)), [JoinIx(0)]);
        assert_eq!(plan.metrics[metric].topics, [0, 1]);
    }
}

#[test]
fn each_side_emits_its_key_and_what_the_metrics_need_of_it_under_its_condition() {
    let plan = plan(&responses());
    let [normalized, responses, tickets] = &plan.topics[..] else {
        panic!("three topics");
    };
    let emit = &normalized.sources[0].emits[0];
    assert_eq!(
        (emit.join, emit.side, emit.key.pointer.as_str()),
        (JoinIx(0), Side::REQUEST, "/data/correlation_id")
    );
    assert_eq!(emit.carries.len(), 1, "the channel is carried once for two metrics");
    let source = &responses.sources[0];
    assert!(source.when.is_some() && source.recipes.is_empty());
    assert!(matches!(
        &source.emits[0].carries[..],
        [LabelFrom::Field { pointer, otherwise: Some(otherwise), .. }] if pointer == "/data/team" && otherwise == "none"
    ));
    assert!(tickets.sources.is_empty());
}

#[test]
fn a_look_up_completes_the_labels_of_a_counter() {
    let plan = plan(&format!(
        "  tickets_created_total:
    count: tickets
    labels: {{ priority: /data/priority, channel: {{ latest: {LOOK_UP} }} }}
"
    ));
    let join = &plan.joins[0];
    assert_eq!(join.topics, [0, 2]);
    let Operator::Latest(Latest { within, asks }) = &join.operator else {
        panic!("it is a look-up");
    };
    assert_eq!(*within, Span::seconds(86_400));
    assert_eq!(
        asks[0].labels,
        [carried(Side::VALUE, 0, "unknown"), carried(Side::ask(0), 0, "unknown")]
    );
    let (value, ask) = (&plan.topics[0].sources[0].emits[0], &plan.topics[2].sources[0].emits[0]);
    assert_eq!(
        (value.side, value.key.pointer.as_str()),
        (Side::VALUE, "/data/customer")
    );
    assert_eq!(
        (ask.side, ask.key.pointer.as_str()),
        (Side::ask(0), "/data/ticket/customer")
    );
    assert!(matches!(ask.value, ValueFrom::One));
    assert!(
        plan.topics[2].sources[0].recipes.is_empty(),
        "the join fills it, and nothing else"
    );
    assert_eq!(plan.metrics[0].topics, [0, 2]);
}

#[test]
fn each_metric_looks_up_for_itself_so_that_others_come_and_go_without_touching_its_state() {
    let metric = |name: &str, more: &str| {
        let labels = format!("labels: {{ channel: {{ latest: {LOOK_UP}, else: none }} }}");
        format!("  {name}: {{ {more}, {labels} }}\n")
    };
    let [count, sum] = [
        metric("a_total", "count: tickets"),
        metric("b_total", "sum: { of: tickets, value: /data/price }"),
    ];
    let definitions = |metrics: &[&String]| {
        let text: String = metrics.iter().map(|metric| metric.as_str()).collect();
        let joins = plan(&text).joins;
        let definitions: BTreeSet<u64> = joins.iter().map(|join| join.definition.0).collect();
        assert_eq!(definitions.len(), metrics.len());
        definitions
    };
    let both = definitions(&[&count, &sum]);
    assert_eq!(
        definitions(&[&sum, &count]),
        both,
        "the order of the file means nothing"
    );
    assert!(definitions(&[&count]).is_subset(&both));
    assert!(definitions(&[&sum]).is_subset(&both));
    let price = sum.replace("/data/price", "/data/cost");
    assert!(
        definitions(&[&price]).is_disjoint(&both),
        "what is added up is part of it"
    );
}

#[test]
fn the_order_of_metrics_means_nothing_to_a_join_that_they_share() {
    let metric = |name: &str, measure: &str, label: &str| {
        let respond = "{ from: normalized, to: responses, on: /data/id, measure: MEASURE }".replace("MEASURE", measure);
        format!("  {name}: {{ respond: {respond}, labels: {{ {label}: {{ from: /data/{label} }} }} }}\n")
    };
    let one = metric("time_seconds", "time", "team");
    let other = metric("unanswered_total", "unanswered", "channel");
    let join = |text: String| plan(&text).joins[0].definition;
    assert_eq!(join(format!("{one}{other}")), join(format!("{other}{one}")));
}

#[test]
fn what_joins_cannot_take_is_counted_and_the_ledger_of_a_plan_without_joins_has_no_such_counts() {
    let both = format!(
        "{}  tickets_total: {{ count: tickets, labels: {{ channel: {{ latest: {LOOK_UP} }} }} }}\n",
        responses()
    );
    let with_joins = plan(&both);
    let names: Vec<&str> = with_joins.metrics[5..]
        .iter()
        .map(|metric| metric.name.as_str())
        .collect();
    assert_eq!(
        names,
        [
            "streamgauge_join_unkeyed_records_total",
            "streamgauge_join_late_records_total"
        ]
    );
    assert_eq!(with_joins.joins_of(MetricIx(5)), [], "the taps count it");
    assert_eq!(with_joins.joins_of(MetricIx(6)), [JoinIx(0), JoinIx(1)]);
    let sources = with_joins.topics.iter().flat_map(|topic| &topic.sources);
    assert!(
        sources
            .flat_map(|source| &source.emits)
            .all(|emit| emit.unkeyed == Some(MetricIx(5)))
    );
    assert_eq!(plan("  a_total: { count: tickets }\n").metrics.len(), 1);
}

#[test]
fn a_join_is_another_one_when_its_bound_its_key_or_what_it_carries_changes() {
    let of = |text: &str| {
        let plan = plan(text);
        (plan.joins[0].definition, plan.metrics[0].definition)
    };
    let base = responses();
    let first = of(&base);
    assert_eq!(first, of(&base), "equal files, equal definitions");
    let bound = of(&base.replace("correlation_id", "correlation_id, within: 2h"));
    let key = of(&base.replace("correlation_id", "id"));
    assert!(bound.0 != first.0 && bound.1 != first.1 && key.0 != first.0 && key.1 != first.1);
    let more = of(&base.replacen(
        "measure: unanswered }\n    labels: { ",
        "measure: unanswered }\n    labels: { x: { from: /x }, ",
        1,
    ));
    assert_ne!(more.0, first.0, "it carries more");
    assert_eq!(more.1, first.1, "and the first metric means what it meant");
}

#[test]
fn buckets_can_be_explicit_and_keys_can_be_spelled_differently() {
    let plan = plan(
        "  response_time_seconds:
    respond: { from: normalized, to: responses, on: { from: /id, to: /in_reply_to }, within: 1h, forget: 1m, skew: 0s }
    histogram: { kind: explicit, buckets: [1, 60] }
",
    );
    assert_eq!(
        plan.metrics[0].kind,
        Kind::Explicit {
            bounds: vec![1_000_000, 60_000_000]
        }
    );
    let key = |topic: usize| plan.topics[topic].sources[0].emits[0].key.pointer.as_str();
    assert_eq!((key(0), key(1)), ("/id", "/in_reply_to"));
}

#[test]
fn what_cannot_be_meant_is_named_with_what_would_be_right() {
    let respond = |rest: &str, labels: &str| format!("  m_total:\n    {RESPOND}{rest} }}\n    labels: {labels}\n");
    for (metrics, expected) in [
        (
            respond(", measure: unanswered", "{ a: { to: /x } }"),
            "an unanswered request has no response to take this from / take it `from` the request, or leave it out",
        ),
        (
            respond(", measure: unmatched", "{ a: { from: /x } }"),
            "a response without a request has nothing to take this from / take it of the response with `to`, or leave it out",
        ),
        (
            respond(", measure: second", "{ a: /x }"),
            "this does not say whether the request or the response has it / write `a: { from: /field }` or `a: { to: /field }`",
        ),
        (
            respond(", measure: second", "{}").replace("responses", "normalized"),
            "requests and responses are two sources / where they are in one topic, make two sources of it, each with its own \
             `when`",
        ),
        (
            respond(", measure: second", "{}\n    histogram: { kind: exponential }"),
            "only the `time` of a respond has buckets / leave `histogram` out",
        ),
        (
            format!("  m: {{ {RESPOND}, measure: open }}, labels: {{ a: {{ from: /x }} }} }}\n"),
            "this gauge has no labels / leave them out: it is one number for all requests",
        ),
        (
            respond("", "{}"),
            "the values are seconds, and the unit is `` / end the metric's name in `_seconds` and leave `unit` out, or write `unit: \
             s` too",
        ),
        (
            "  m_total: { count: tickets, labels: { a: { from: /x } } }\n".to_owned(),
            "this metric has no `respond`, so it has no two sides / write the field alone, as in `/data/channel`",
        ),
        (
            format!("  m_total: {{ count: '*', labels: {{ a: {{ latest: {LOOK_UP} }} }} }}\n"),
            "a look-up needs records of sources that are named / name the sources instead of `\"*\"`",
        ),
        (
            format!(
                "  m_total: {{ count: tickets, labels: {{ a: {{ latest: {} }} }} }}\n",
                LOOK_UP.replace("normalized", "normalised")
            ),
            "this pipeline has no source of this name / did you mean `normalized`?",
        ),
        (
            format!(
                "  m_total: {{ count: tickets, labels: {{ a: {{ latest: {LOOK_UP} }}, b: {{ latest: {} }} }} }}\n",
                LOOK_UP.replace("ticket", "order")
            ),
            "a metric looks up by one key of one source / give both the same `of`, `on`, `equals` and `within`; only `take` may \
             differ",
        ),
    ] {
        assert_eq!(fault(&metrics), expected, "{metrics}");
    }
}
