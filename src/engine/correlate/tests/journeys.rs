//! Conversations as traces.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::{Span as OtlpSpan, status::StatusCode};

use super::world::compact;
use super::*;

/// The journeys of all conversations, and no other join.
fn traced(sampling: Sampling) -> Arc<Plan> {
    let mut plan = plan();
    plan.joins.truncate(1);
    let Operator::Respond(respond) = &mut plan.joins[0].operator else {
        panic!("it is a respond");
    };
    respond.journeys = Some(Journeys { sampling, ..journeys() });
    Arc::new(plan)
}

const A_SECOND: i64 = 1_000_000;
const ALL: Sampling = Sampling {
    threshold: 0,
    slow: None,
};

fn open(plan: &Arc<Plan>, at: Open<'_>, changelog: &[(Vec<u8>, Option<Vec<u8>>)]) -> CorrelateTask {
    let mut task = super::world::open(plan, 0, at, changelog);
    task.accept(Input::Partitions(&counts(1))).expect("taken");
    task
}

/// Topic, seconds, key and what is carried.
type Record<'a> = (usize, i64, u64, &'a [&'a str]);

fn after(task: &mut CorrelateTask, records: &[Record<'_>], until: i64) -> Output {
    let side = |topic: usize| match topic {
        NORMALIZED => 0,
        RESPONSES => 1,
        _ => 2,
    };
    let mut batches = Vec::new();
    for (topic, seconds, id, text) in records {
        let mut packer = Packer::default();
        let record = KeyedRecord {
            key: key(*id),
            time: EventTime(T0 + seconds * 1_000_000),
            carried: 0,
            amount: 0,
        };
        packer.push(record, false);
        batches.push(Batch {
            topic: TOPICS[*topic].into(),
            keyed: vec![KeyedRecords {
                join: RESPOND.0,
                side: side(*topic),
                count: 1,
                amounts: false,
                records: packer.take(),
                carried: vec![SeriesKey::of(text.iter().copied()).0],
            }],
            ..Batch::default()
        });
    }
    for topic in 0..TOPICS.len() {
        batches.push(batch(topic, 0, &[], Some(until * 1_000_000)));
    }
    let offset = task.next();
    give(task, offset, batches).expect("taken");
    task.seal().expect("something was taken")
}

fn spans(output: &Output) -> Vec<OtlpSpan> {
    spans_of(&output.outbox)
}

pub fn spans_of(outbox: &[Vec<u8>]) -> Vec<OtlpSpan> {
    let requests = outbox.iter().map(|request| {
        assert!(request.len() < 3_600 * 1_024);
        ExportTraceServiceRequest::decode(request.as_slice()).expect("a request")
    });
    let resources = requests.flat_map(|request| request.resource_spans);
    let scopes = resources.flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).collect()
}

/// Name, microseconds since `T0` of start and end, and whether it has a parent.
pub fn shape(spans: &[OtlpSpan]) -> Vec<(&str, i64, i64, bool)> {
    let micros = |nanos: u64| nanos as i64 / 1_000 - T0;
    spans
        .iter()
        .map(|span| {
            (
                span.name.as_str(),
                micros(span.start_time_unix_nano),
                micros(span.end_time_unix_nano),
                !span.parent_span_id.is_empty(),
            )
        })
        .collect()
}

fn attribute<'a>(span: &'a OtlpSpan, name: &str) -> Option<&'a Value> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    found.value.as_ref()?.value.as_ref()
}

fn fresh(sampling: Sampling) -> CorrelateTask {
    open(&traced(sampling), FRESH, &[])
}

const CONVERSATION: [Record<'static>; 5] = [
    (TICKETS, 3, 1, &["77"]),
    (RESPONSES, 9, 1, &["", ""]),
    (TICKETS, 12, 1, &["79"]),
    (TICKETS, 6, 1, &["78"]),
    (NORMALIZED, 1, 1, &["inquiry", ""]),
];

#[test]
fn a_conversation_is_a_root_with_a_child_for_each_record_up_to_the_response() {
    let output = after(&mut fresh(ALL), &CONVERSATION, 20);
    let spans = spans(&output);
    assert_eq!(
        shape(&spans),
        [
            ("process-message", A_SECOND, 9 * A_SECOND, false),
            ("process normalized", A_SECOND, A_SECOND, true),
            ("process tickets", A_SECOND, 3 * A_SECOND, true),
            ("process tickets", 3 * A_SECOND, 6 * A_SECOND, true),
            ("process responses", 6 * A_SECOND, 9 * A_SECOND, true),
        ]
    );
    let root = &spans[0];
    assert!(
        spans
            .iter()
            .all(|span| span.trace_id == root.trace_id && span.trace_id.len() == 16)
    );
    assert!(spans[1..].iter().all(|span| span.parent_span_id == root.span_id));
    let ids: std::collections::BTreeSet<_> = spans.iter().map(|span| &span.span_id).collect();
    assert_eq!(ids.len(), spans.len(), "every span has an id of its own");
    assert_eq!(
        attribute(root, "messaging.system"),
        Some(&Value::StringValue("kafka".into()))
    );
    assert_eq!(
        attribute(root, "message.type"),
        Some(&Value::StringValue("inquiry".into()))
    );
    assert_eq!(
        attribute(&spans[2], "messaging.kafka.offset"),
        Some(&Value::IntValue(77))
    );
    assert_eq!(
        root.status.as_ref().map(|status| status.code),
        Some(StatusCode::Ok as i32)
    );
    assert_eq!(root.trace_state, "ot=th:0");
    let ended = |outcome: &str, sampled: &str| {
        BTreeMap::from([(["conversations", outcome, sampled].map(str::to_owned).to_vec(), 1)])
    };
    assert_eq!(totals(&output, JOURNEYS), ended("answered", "sampled"));
}

#[test]
fn equal_conversations_give_equal_bytes_in_any_order_and_after_a_restore() {
    let expected = after(&mut fresh(ALL), &CONVERSATION, 20).outbox;
    let mut backwards = CONVERSATION;
    backwards.reverse();
    assert_eq!(after(&mut fresh(ALL), &backwards, 20).outbox, expected);

    let plan = traced(ALL);
    let mut task = open(&plan, FRESH, &[]);
    let mut changelog = Vec::new();
    let mut outbox = Vec::new();
    for (offset, until) in (1..).zip([2, 4, 5, 20, 60]) {
        // Each comes before its time is decided.
        let records = match offset {
            1 => vec![CONVERSATION[4], CONVERSATION[0]],
            3 => CONVERSATION[1..4].to_vec(),
            _ => Vec::new(),
        };
        let output = after(&mut task, &records, until);
        outbox.extend(output.outbox);
        changelog.extend(output.changelog);
        compact(&mut changelog);
        let at = Open::Resumed {
            offset,
            metadata: "",
            topic_id: [0; 16],
        };
        task = open(&plan, at, &changelog);
    }
    assert_eq!(outbox, expected);
    assert_eq!(task.join(0).entries(), 0);
    assert_eq!(changelog.len(), 1, "only the partition's record is left");
}

#[test]
fn what_is_unanswered_or_failed_is_an_error_with_its_reason() {
    let mut task = fresh(ALL);
    let records: [Record<'_>; 3] = [
        (NORMALIZED, 1, 1, &["inquiry", ""]),
        (NORMALIZED, 2, 2, &["inquiry", ""]),
        (RESPONSES, 3, 2, &["", "mailbox full"]),
    ];
    let spans = spans(&after(&mut task, &records, 100));
    let roots: Vec<&OtlpSpan> = spans.iter().filter(|span| span.parent_span_id.is_empty()).collect();
    let said = |root: &OtlpSpan| {
        let status = root.status.clone().expect("a root has a status");
        assert_eq!(status.code, StatusCode::Error as i32);
        (root.events[0].name.clone(), status.message)
    };
    assert_eq!(said(roots[0]), ("failed".into(), "mailbox full".into()));
    assert_eq!(
        said(roots[1]),
        ("unanswered".into(), "no response within the bound".into())
    );
    assert_eq!(
        shape(&spans)[3],
        ("process-message", A_SECOND, 21 * A_SECOND, false),
        "it ends at the bound"
    );
}

#[test]
fn a_traceparent_gives_the_trace_and_the_roots_parent() {
    let mut task = fresh(ALL);
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let records: [Record<'_>; 2] = [(NORMALIZED, 1, 1, &["inquiry", parent]), (RESPONSES, 3, 1, &["", ""])];
    let spans = spans(&after(&mut task, &records, 20));
    assert_eq!(
        spans[0].trace_id,
        0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes()
    );
    assert_eq!(spans[0].parent_span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
}

#[test]
fn conversations_that_one_writer_began_in_one_trace_have_spans_of_their_own() {
    let mut task = fresh(ALL);
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let records: [Record<'_>; 4] = [
        (NORMALIZED, 1, 1, &["inquiry", parent]),
        (NORMALIZED, 1, 2, &["inquiry", parent]),
        (RESPONSES, 3, 1, &["", ""]),
        (RESPONSES, 4, 2, &["", ""]),
    ];
    let spans = spans(&after(&mut task, &records, 20));
    let ids: std::collections::BTreeSet<_> = spans.iter().map(|span| &span.span_id).collect();
    assert_eq!((spans.len(), ids.len()), (6, 6));
    assert!(spans.iter().all(|span| span.trace_id == spans[0].trace_id));
}

#[test]
fn two_traces_of_one_key_never_have_a_span_of_the_same_id() {
    let named = |name: &str| {
        let mut plan = Arc::into_inner(traced(ALL)).expect("nobody else has it");
        if let Operator::Respond(respond) = &mut plan.joins[0].operator {
            let journeys = respond.journeys.as_mut().expect("it is traced");
            journeys.name = name.to_owned();
        }
        open(&Arc::new(plan), FRESH, &[])
    };
    for parent in ["", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"] {
        let records: [Record<'_>; 2] = [(NORMALIZED, 1, 1, &["inquiry", parent]), (RESPONSES, 3, 1, &["", ""])];
        let both = ["one", "other"].map(|name| spans(&after(&mut named(name), &records, 20)));
        let ids: std::collections::BTreeSet<_> = both.iter().flatten().map(|span| &span.span_id).collect();
        assert_eq!(ids.len(), 6, "with the parent {parent:?}");
        let same_trace = both[0][0].trace_id == both[1][0].trace_id;
        assert_eq!(same_trace, !parent.is_empty(), "with the parent {parent:?}");
    }
}

#[test]
fn sampling_is_by_the_trace_id_and_what_is_slow_failed_or_unanswered_leaves_anyway() {
    let sampling = Sampling {
        threshold: 1 << 55,
        slow: Some(Span::seconds(5)),
    };
    let mut task = fresh(sampling);
    let mut records: Vec<Record<'_>> = Vec::new();
    for id in 0..200 {
        records.push((NORMALIZED, 1, id, &["inquiry", ""]));
        match id % 4 {
            0 => {}
            1 => records.push((RESPONSES, 2, id, &["", "mailbox full"])),
            2 => records.push((RESPONSES, 7, id, &["", ""])),
            _ => records.push((RESPONSES, 6, id, &["", ""])),
        }
    }
    let output = after(&mut task, &records, 100);
    let totals = totals(&output, JOURNEYS);
    let count = |outcome: &str, sampled: &str| {
        let labels = ["conversations", outcome, sampled].map(str::to_owned).to_vec();
        totals.get(&labels).copied().unwrap_or(0)
    };
    for outcome in ["unanswered", "failed"] {
        assert_eq!(count(outcome, "sampled") + count(outcome, "kept"), 50);
    }
    let (sampled, kept, dropped) = (
        count("answered", "sampled"),
        count("answered", "kept"),
        count("answered", "dropped"),
    );
    assert_eq!(sampled + kept + dropped, 100);
    assert!(
        (30..70).contains(&sampled) && kept > 10 && dropped > 10,
        "{sampled} {kept} {dropped}"
    );
    let spans = spans(&output);
    let roots = spans.iter().filter(|span| span.parent_span_id.is_empty());
    let mut by_state: BTreeMap<&str, u64> = BTreeMap::new();
    for root in roots {
        let low = u64::from_be_bytes(root.trace_id[8..].try_into().expect("16 bytes")) << 8 >> 8;
        assert_eq!(root.trace_state.is_empty(), low < 1 << 55);
        *by_state.entry(&root.trace_state).or_default() += 1;
    }
    assert_eq!(by_state.values().sum::<u64>(), 200 - dropped);
    assert_eq!(by_state.keys().copied().collect::<Vec<_>>(), ["", "ot=th:8"]);
}

#[test]
fn a_hot_key_makes_no_endless_trace_and_says_what_is_left_out() {
    let mut task = fresh(ALL);
    let mut records: Vec<Record<'_>> = vec![(NORMALIZED, 1, 1, &["inquiry", ""]), (RESPONSES, 9, 1, &["", ""])];
    records.extend((0..130).map(|_| (TICKETS, 5, 1, &["1"] as &[&str])));
    let spans = spans(&after(&mut task, &records, 20));
    assert_eq!(spans.len(), 1 + 1 + 100 + 1);
    assert_eq!(
        attribute(&spans[0], "streamgauge.steps_left_out"),
        Some(&Value::IntValue(30))
    );
    assert_eq!(task.join(0).entries(), 1, "the answered key");
}

#[test]
fn many_spans_are_cut_into_requests_that_receivers_take_and_none_is_lost() {
    let mut task = fresh(ALL);
    let long = "x".repeat(1_000);
    let carried = [long.as_str(), ""];
    let mut records: Vec<Record<'_>> = Vec::new();
    for id in 0..5_000 {
        records.push((NORMALIZED, 1, id, &carried));
        records.push((RESPONSES, 2, id, &["", ""]));
    }
    let output = after(&mut task, &records, 20);
    assert!(output.outbox.len() > 1);
    assert_eq!(spans(&output).len(), 15_000);
}

#[test]
fn the_slowest_response_time_of_a_window_has_its_trace_as_exemplar() {
    let mut task = fresh(ALL);
    let records: [Record<'_>; 4] = [
        (NORMALIZED, 1, 1, &["inquiry", ""]),
        (NORMALIZED, 1, 2, &["inquiry", ""]),
        (RESPONSES, 3, 1, &["", ""]),
        (RESPONSES, 6, 2, &["", ""]),
    ];
    let output = after(&mut task, &records, 20);
    let slowest = spans(&output)
        .into_iter()
        .find(|span| span.parent_span_id.is_empty() && span.end_time_unix_nano == (T0 as u64 + 6 * 1_000_000) * 1_000)
        .expect("the slower conversation");
    let exemplars = exemplars(&output);
    assert_eq!(exemplars.len(), 1, "one series, one window");
    assert_eq!(exemplars[0].value, 5_000_000);
    assert_eq!(exemplars[0].trace, slowest.trace_id);
    assert_eq!(exemplars[0].span.to_be_bytes().to_vec(), slowest.span_id);
}

#[test]
fn what_is_not_sampled_is_no_exemplar() {
    let mut task = fresh(Sampling {
        threshold: 1 << 56,
        slow: None,
    });
    let records: [Record<'_>; 2] = [(NORMALIZED, 1, 1, &["inquiry", ""]), (RESPONSES, 3, 1, &["", ""])];
    let output = after(&mut task, &records, 20);
    assert!(spans(&output).is_empty() && exemplars(&output).is_empty());
}

fn exemplars(output: &Output) -> Vec<crate::engine::codec::Exemplar> {
    let batches = output.shuffled.iter().map(|shuffled| {
        let batch = Batch::decode(shuffled.batch.as_slice());
        batch.expect("a batch")
    });
    let partials = batches
        .flat_map(|batch| batch.metrics)
        .flat_map(|metric| metric.partials);
    let kinds = partials.filter_map(|partial| partial.value?.kind);
    kinds
        .filter_map(|kind| match kind {
            crate::engine::codec::value::Kind::Histogram(histogram) => histogram.exemplar,
            _ => None,
        })
        .collect()
}

#[test]
fn a_watermark_that_jumps_is_followed_in_seals_of_bounded_size_with_the_same_result() {
    const JUMP: i64 = 1_000_000;
    let request = |id: u64| -> Record<'_> { (NORMALIZED, 1 + id as i64 % 100, id, &["inquiry", ""]) };
    let records: Vec<Record<'_>> = (0..40_000).map(request).collect();
    let plan = traced(ALL);
    let sorted = |outbox: &[Vec<u8>]| {
        let mut spans: Vec<Vec<u8>> = spans_of(outbox).iter().map(Message::encode_to_vec).collect();
        spans.sort_unstable();
        spans
    };
    let mut calm = open(&plan, FRESH, &[]);
    let mut expected = after(&mut calm, &records, 0).outbox;
    for until in (1..400).chain([JUMP]) {
        expected.extend(after(&mut calm, &[], until).outbox);
    }
    assert_eq!(spans_of(&expected).len(), 2 * records.len(), "nobody answers");

    let mut task = open(&plan, FRESH, &[]);
    let (mut offset, mut changelog, mut outbox) = (1, Vec::new(), Vec::new());
    let mut output = after(&mut task, &records, JUMP);
    let mut seals = 1;
    loop {
        let bytes: usize = output.outbox.iter().map(Vec::len).sum();
        assert!(bytes < 6 << 20, "seal {seals} has {bytes} bytes");
        outbox.extend(output.outbox);
        changelog.extend(output.changelog);
        compact(&mut changelog);
        if task.weight() < 1 << 30 {
            break;
        }
        seals += 1;
        output = if seals % 2 == 0 {
            task.seal().expect("there is more")
        } else {
            // It dies between two of them, and goes on with the next pack.
            let at = Open::Resumed {
                offset,
                metadata: "",
                topic_id: [0; 16],
            };
            task = open(&plan, at, &changelog);
            offset += 1;
            after(&mut task, &[], JUMP)
        };
    }
    assert!(seals > 2, "{seals}");
    assert_eq!(sorted(&outbox), sorted(&expected));
    assert_eq!(task.join(0).entries(), 0);
}

#[test]
fn a_step_at_the_very_time_of_the_response_is_part_of_the_journey() {
    let mut task = fresh(ALL);
    let records: [Record<'_>; 4] = [
        (RESPONSES, 3, 1, &["", ""]),
        (TICKETS, 3, 1, &["77"]),
        (TICKETS, 1, 1, &["76"]),
        (NORMALIZED, 1, 1, &["inquiry", ""]),
    ];
    assert_eq!(
        spans(&after(&mut task, &records, 20)).len(),
        5,
        "a root and four children"
    );
}
