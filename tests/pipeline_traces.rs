//! `traces:` what a file says is what the journeys of the plan do, and what is wrong is named at its place.

use streamgauge::cli::check::{self, Request};
use streamgauge::engine::plan::{AttributeFrom, Emit, Join, Journeys, LabelFrom, Operator, Plan, Side, SpanFrom};
use streamgauge::engine::time::Span;
use streamgauge::pipeline::{self, Diagnostics};

const PIPELINE: &str = "\
pipeline: p
sources:
  normalized: { topic: n, time: /timestamp }
  responses: { topic: r, time: /timestamp }
  tickets: { topic: t, time: /timestamp }
metrics:
  tickets_total: { count: tickets }
  response_time_seconds:
    respond: { from: normalized, to: responses, on: /data/correlation_id }
    labels: { channel: { from: /data/channel }, team: { to: /data/team } }
  responses_unanswered_total:
    respond: { from: normalized, to: responses, on: /data/correlation_id, measure: unanswered }
  replies_seconds:
    respond: { from: normalized, to: responses, on: { from: /id, to: /reply_to } }
";

/// The traces stand from line 16 on, behind `traces:`.
fn text(traces: &str) -> String {
    format!("{PIPELINE}traces:\n{traces}")
}

fn parse(traces: &str) -> Result<Plan, Diagnostics> {
    pipeline::parse(&[("p.yaml".to_owned(), text(traces))], &|_| None)
}

#[track_caller]
fn plan(traces: &str) -> Plan {
    parse(traces).unwrap_or_else(|error| panic!("{error}"))
}

fn journeys(plan: &Plan) -> &Journeys {
    let mut found = plan.joins.iter().filter_map(|join| match &join.operator {
        Operator::Respond(respond) => respond.journeys.as_ref(),
        Operator::Latest(_) => None,
    });
    found.next().expect("a join is traced")
}

/// The place of the join that is traced.
fn traced(plan: &Plan) -> usize {
    let mut joins = plan.joins.iter();
    joins.position(Join::is_traced).expect("a join is traced")
}

/// What the records of one side of the traced join carry.
fn emit(plan: &Plan, side: Side) -> &Emit {
    let join = traced(plan);
    let sources = plan.topics.iter().flat_map(|topic| &topic.sources);
    let mut emits = sources.flat_map(|source| &source.emits);
    emits
        .find(|emit| emit.join.0 == join && emit.side == side)
        .expect("the side is there")
}

/// Name and value of each attribute; a value that is carried as it is told by `check`.
fn attributes(span: &SpanFrom, emit: &Emit) -> Vec<(String, String)> {
    let carried = |at: usize| match &emit.carries[at] {
        LabelFrom::Field { pointer, .. } => pointer.clone(),
        LabelFrom::Header { name, .. } => format!("header {name}"),
        other => format!("{other:?}"),
    };
    let told = span.attributes.iter().map(|attribute| {
        let value = match &attribute.value {
            AttributeFrom::Const(value) => format!("`{value}`"),
            AttributeFrom::Text(at) => carried(*at),
            AttributeFrom::Number(at) => format!("number {}", carried(*at)),
        };
        (attribute.name.clone(), value)
    });
    told.collect()
}

#[test]
fn a_trace_has_the_guides_spans_and_attributes_if_nothing_else_is_said() {
    let plan = plan("  conversations: { of: response_time_seconds }\n");
    let journeys = journeys(&plan);
    assert_eq!(journeys.name, "conversations");
    let names: Vec<&str> = journeys.children.iter().map(|child| child.name.as_str()).collect();
    assert_eq!(
        (journeys.root.name.as_str(), names),
        ("process-message", vec!["process n", "process r"])
    );
    let own = |topic: &str| {
        let topic = format!("`{topic}`");
        [
            ("messaging.system", "`kafka`"),
            ("messaging.destination", &topic),
            ("messaging.destination.name", &topic),
            ("messaging.operation", "`process`"),
            ("messaging.operation.name", "`process`"),
            ("messaging.operation.type", "`process`"),
            ("message.type", "/message_type"),
            ("correlation.id", "/data/correlation_id"),
            ("messaging.message.conversation_id", "/data/correlation_id"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    };
    let of_record = [
        ("messaging.destination.partition.id", "Partition"),
        ("messaging.kafka.offset", "number Offset"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(attributes(&journeys.root, emit(&plan, Side::REQUEST)), own("n"));
    for (side, topic) in [(Side::REQUEST, "n"), (Side::RESPONSE, "r")] {
        let child = &journeys.children[usize::from(side.0)];
        let expected = [own(topic), of_record.to_vec()].concat();
        assert_eq!(attributes(child, emit(&plan, side)), expected);
    }
    let traceparent = journeys.traceparent.expect("requests may have one");
    assert!(matches!(
        &emit(&plan, Side::REQUEST).carries[traceparent],
        LabelFrom::Header { name, otherwise: None } if name == "traceparent"
    ));
    assert_eq!(
        (journeys.sampling.threshold, journeys.sampling.slow, journeys.failure),
        (0, None, None)
    );
    let counted = &plan.metrics[journeys.counted.expect("traces are counted").0];
    assert_eq!(counted.name, "streamgauge_journeys_total");
    assert_eq!(counted.labels, ["trace", "outcome", "sampled"]);
}

#[test]
fn every_setting_of_a_trace_is_in_the_plan() {
    let plan = plan(
        "  conversations:
    of: responses_unanswered_total
    name: conversation
    spans:
      - { source: tickets, key: /about, name: create ticket, attributes: { message.type: { const: ticket } } }
      - { source: responses, attributes: { team: { header: team } } }
    attributes: { channel: /data/channel, region: { const: eu } }
    failed: /data/error
    traceparent: /trace
    sampling: 0.25
    slow: 30s
",
    );
    let journeys = journeys(&plan);
    assert_eq!(journeys.root.name, "conversation");
    let names: Vec<&str> = journeys.children.iter().map(|child| child.name.as_str()).collect();
    assert_eq!(names, ["process n", "process r", "create ticket"]);
    assert_eq!(
        (journeys.sampling.threshold, journeys.sampling.slow),
        (3 << 54, Some(Span::seconds(30)))
    );
    let (request, response, ticket) = (
        emit(&plan, Side::REQUEST),
        emit(&plan, Side::RESPONSE),
        emit(&plan, Side::step(0)),
    );
    assert_eq!(ticket.key.pointer, "/about");
    let has = |span: &SpanFrom, emit: &Emit, name: &str, value: &str| {
        let told = attributes(span, emit);
        let found: Vec<&str> = told
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .collect();
        assert_eq!(found, [value], "{name}");
    };
    has(&journeys.root, request, "channel", "/data/channel");
    has(&journeys.root, request, "region", "`eu`");
    has(&journeys.children[1], response, "team", "header team");
    has(&journeys.children[2], ticket, "message.type", "`ticket`");
    has(&journeys.children[2], ticket, "correlation.id", "/about");
    let pointer = |emit: &Emit, at: Option<usize>| match &emit.carries[at.expect("it is carried")] {
        LabelFrom::Field { pointer, .. } => pointer.clone(),
        other => panic!("{other:?} is no field"),
    };
    assert_eq!(pointer(request, journeys.traceparent), "/trace");
    assert_eq!(pointer(response, journeys.failure), "/data/error");
}

#[test]
fn a_trace_changes_no_metric_and_what_labels_are_made_of_comes_first() {
    let without = pipeline::parse(&[("p.yaml".to_owned(), PIPELINE.to_owned())], &|_| None).expect("it is right");
    let with = plan("  conversations: { of: response_time_seconds, spans: [{ source: tickets }] }\n");
    let definitions = |plan: &Plan| -> Vec<_> {
        let own = plan
            .metrics
            .iter()
            .filter(|metric| metric.name != "streamgauge_journeys_total");
        own.map(|metric| (metric.name.clone(), metric.definition)).collect()
    };
    assert_eq!(definitions(&without), definitions(&with));
    let (traced, other) = (traced(&with), 1 - traced(&with));
    assert_ne!(
        without.joins[traced].definition, with.joins[traced].definition,
        "its records carry more"
    );
    assert_eq!(without.joins[other].definition, with.joins[other].definition);
    for side in [Side::REQUEST, Side::RESPONSE] {
        assert_eq!(emit(&with, side).labels, 1);
        assert!(emit(&with, side).carries.len() > 1);
    }
    assert_eq!(emit(&with, Side::step(0)).labels, 0);
    assert_eq!(with.joins[traced].topics, [0, 1, 2], "steps are waited for");
    assert!(with.traces() && !without.traces());
}

#[test]
fn the_report_tells_what_is_traced() {
    let traces = "  conversations: { of: response_time_seconds, sampling: 0.1, slow: 30s }\n";
    let checked = pipeline::check(&[("p.yaml".to_owned(), text(traces))], &|_| None).expect("it is right");
    let request = Request {
        files: Vec::new(),
        application_id: "app".to_owned(),
        shuffle_partitions: 4,
    };
    let report = check::report(&checked, &request, None);
    for line in [
        "traces of p",
        "  conversations  normalized to responses on /data/correlation_id",
        "    spans     process-message, process n, process r",
        "    sampled   10 %, and all that failed, were not answered, or took longer than 30s",
        "  app-otlp-traces            4 partitions   frozen spans",
        "  export    one loop a partition of app-otlp-metrics and of app-otlp-traces",
    ] {
        assert!(
            report.lines().any(|other| other.trim_end() == line),
            "no line {line:?} in\n{report}"
        );
    }
}

/// `line:column message / help` of the only fault.
#[track_caller]
fn fault(traces: &str) -> String {
    let diagnostics = parse(traces).expect_err("this must be refused");
    let faults: Vec<String> = diagnostics
        .iter()
        .map(|fault| {
            let (line, column) = fault.place().map_or((0, 0), |place| place.line_and_column());
            format!("{line}:{column} {fault} / {}", fault.help_text().unwrap_or("-"))
        })
        .collect();
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.concat()
}

#[test]
fn what_is_wrong_with_a_trace_is_named_at_its_place() {
    for (traces, expected) in [
        (
            "  c: { of: response_time_second }\n",
            "16:12 this pipeline has no metric of this name / did you mean `response_time_seconds`?",
        ),
        (
            "  c: { of: tickets_total }\n",
            "16:12 this metric has no `respond`, so it has no conversations / name a metric with `respond`",
        ),
        (
            "  c: { of: response_time_seconds }\n  d: { of: responses_unanswered_total }\n",
            "17:12 these conversations are traced already / one trace is enough: metrics whose `respond` differs in nothing \
             but `measure` share their conversations",
        ),
        (
            "  c: { of: response_time_seconds, spans: [{ source: ticket }] }\n",
            "16:53 this pipeline has no source of this name / did you mean `tickets`?",
        ),
        (
            "  c: { of: response_time_seconds, spans: [{ source: tickets }, { source: tickets, key: /x }] }\n",
            "16:74 this source has a span already / keep one of the two; a source with another `when` has a span of its own",
        ),
        (
            "  c: { of: response_time_seconds, spans: [{ source: responses, key: /x }] }\n",
            "16:69 the key of this source is `/data/correlation_id` / leave `key` out",
        ),
        (
            "  c: { of: replies_seconds, spans: [{ source: tickets }] }\n",
            "16:47 this span needs `key` / request and response spell the key differently, so say where these records have \
             it: `key: /field`",
        ),
        (
            "  c: { of: response_time_seconds, sampling: 2 }\n",
            "16:45 this is no share / a share is a number from 0 to 1",
        ),
        (
            "  c: { of: response_time_seconds, sampling: 10% }\n",
            "16:45 `10%` is not a share such as `0.1` / write a number from 0 to 1 without quotes, as `0.1`",
        ),
        (
            "  c: { spans: [{ source: tickets }] }\n",
            "16:6 a trace needs `of` / add `of: response_time_seconds`",
        ),
        (
            "  c: { of: response_time_seconds, attributes: { a: { field: /x, from: /y } } }\n",
            "16:65 unknown key `from` in an attribute / an attribute has `field`, `const`, `record`, `cel`, `header` and `else`",
        ),
        (
            "  c: { of: response_time_seconds, attributes: { a: { cel: 'x +' } } }\n",
            "16:63",
        ),
    ] {
        let found = fault(traces);
        assert!(found.starts_with(expected), "{found}");
    }
    let twice = "pipeline: q\nsources: { a: { topic: a }, b: { topic: b } }\nmetrics: { m_seconds: { respond: { from: a, to: b, on: /id } } }\n\
                 traces: { c: { of: m_seconds } }\n";
    let first = text("  c: { of: response_time_seconds }\n");
    let files = [("p.yaml".to_owned(), first), ("q.yaml".to_owned(), twice.to_owned())];
    let faults = pipeline::parse(&files, &|_| None).expect_err("a name stands twice");
    assert_eq!(
        faults.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["the trace `c` was there before"]
    );
}
