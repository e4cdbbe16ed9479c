//! What leaves for joins.

use super::*;
use crate::engine::keyed::{KeyHash, KeyedRecord, Packed};
use crate::engine::plan::{
    Ask, Emit, Join, JoinIx, JoinedLabel, KeyFrom, Latest, MAX_KEY_BYTES, Operator, Respond, Side,
};
use crate::engine::task::Headers;

const RESPOND: u64 = 0xa;
const LATEST: u64 = 0xb;
const UNKEYED: u64 = 21;
const TICKETS: u64 = 22;

/// One topic that asks, answers and is asked: each record is a request by `id`, a value by `customer` (its channel), and
/// asks for the channel of `customer`. All are counted.
fn joined() -> Plan {
    let mut builder = ProjectionBuilder::new();
    let mut want = |pointer: &str| builder.want(&Pointer::parse(pointer).expect("a pointer"));
    let (time, id, customer, channel, priority) = (
        want("/timestamp"),
        want("/id"),
        want("/customer"),
        want("/channel"),
        want("/priority"),
    );
    let key = |slot, pointer: &str| KeyFrom {
        slot,
        pointer: pointer.into(),
    };
    let field = |slot, pointer: &str, otherwise: Option<&str>| LabelFrom::Field {
        slot,
        pointer: pointer.into(),
        otherwise: otherwise.map(str::to_owned),
    };
    let emit = |join, side, key, carries: Vec<LabelFrom>| Emit {
        join: JoinIx(join),
        side,
        key,
        labels: carries.len(),
        carries,
        value: ValueFrom::One,
        unkeyed: Some(MetricIx(0)),
    };
    let source = SourcePlan {
        name: "normalized".into(),
        pipeline: 0,
        when: Some(Expr::compile("event_type == 'ticket_created'", &mut builder).expect("CEL")),
        recipes: vec![],
        emits: vec![
            emit(
                0,
                Side::REQUEST,
                key(id, "/id"),
                vec![field(channel, "/channel", Some("none")), LabelFrom::Topic],
            ),
            emit(
                1,
                Side::VALUE,
                key(customer, "/customer"),
                vec![field(channel, "/channel", None)],
            ),
            emit(
                1,
                Side::ask(0),
                key(customer, "/customer"),
                vec![field(priority, "/priority", None)],
            ),
        ],
    };
    let join = |definition, operator| Join {
        name: format!("join {definition}"),
        definition: DefinitionHash(definition),
        topics: vec![0],
        late: None,
        operator,
    };
    let respond = Respond {
        within: Span::seconds(60),
        forget: Span::seconds(60),
        skew: Span::seconds(1),
        measured: vec![],
        journeys: None,
    };
    let latest = Latest {
        within: Span::seconds(60),
        asks: vec![Ask {
            metric: MetricIx(1),
            labels: vec![JoinedLabel::Const("all".into())],
        }],
    };
    let base = plan();
    Plan {
        alerts: Vec::new(),
        receivers: Vec::new(),
        pipelines: vec!["support".into()],
        lag: None,
        metrics: vec![
            metric("unkeyed_total", Kind::Count, &["join", "reason"], UNKEYED),
            metric("tickets_created_total", Kind::Count, &["all"], TICKETS),
        ],
        topics: vec![TopicPlan {
            topic: TOPIC.into(),
            timing: Timing {
                from: TimeFrom::Field {
                    slot: time,
                    pointer: "/timestamp".into(),
                    format: TimeFormat::Auto,
                },
                ..base.topics[0].timing.clone()
            },
            start: Start::Earliest,
            max_record_bytes: 4_000,
            projection: builder.build(),
            sources: vec![source],
        }],
        joins: vec![
            join(RESPOND, Operator::Respond(respond)),
            join(LATEST, Operator::Latest(latest)),
        ],
    }
}

fn task() -> TapTask {
    task_of(joined())
}

fn task_of(plan: Plan) -> TapTask {
    let at = Open::Fresh { start: 0, topic_id: ID };
    let mut task = TapTask::open(&Arc::new(plan), PARTITIONS, TOPIC, 4, at).expect("opens");
    task.accept(Input::Time(wall(0))).expect("time is taken");
    task
}

fn message(fields: &str) -> String {
    format!(r#"{{"event_type": "ticket_created", "timestamp": "{NOW}", "priority": "low", {fields}}}"#)
}

/// Partition, join and side.
type Lot = (u32, u64, u32);

/// Keyed records with what they carry.
fn keyed(output: &Output) -> BTreeMap<Lot, Vec<(KeyedRecord, Vec<String>)>> {
    let mut found = BTreeMap::new();
    for shuffled in output
        .shuffled
        .iter()
        .filter(|shuffled| shuffled.to == Stage::Correlate)
    {
        let batch = codec::Batch::decode(shuffled.batch.as_slice()).expect("a batch");
        for lot in batch.keyed {
            let records: Vec<(KeyedRecord, Vec<String>)> = Packed::new(&lot.records, lot.amounts)
                .map(|record| {
                    let record = record.expect("we packed it");
                    let carried = SeriesKey(lot.carried[record.carried as usize].clone());
                    (record, labels(&carried.values().expect("label values")))
                })
                .collect();
            assert_eq!(records.len(), lot.count as usize);
            found.insert((shuffled.partition, lot.join, lot.side), records);
        }
    }
    found
}

#[test]
fn a_record_goes_to_each_join_in_the_partition_of_its_key_and_is_counted_once() {
    let mut task = task();
    give(
        &mut task,
        0,
        &message(r#""id": "c0ffee", "customer": 7, "channel": "email""#),
    );
    let output = task.seal().expect("a record was read");
    assert_eq!(counts(&task), BTreeMap::from([("counted", 1)]));
    let (id, customer) = (KeyHash::of(b"c0ffee"), KeyHash::of(b"7"));
    let record = |key, amount| KeyedRecord {
        key,
        time: wall(0).as_event(),
        carried: 0,
        amount,
    };
    let owner = |key: KeyHash| key.partition(PARTITIONS);
    assert_eq!(
        keyed(&output),
        BTreeMap::from([
            (
                (owner(id), RESPOND, 0),
                vec![(record(id, 0), labels(&["email", TOPIC]))]
            ),
            (
                (owner(customer), LATEST, 0),
                vec![(record(customer, 0), labels(&["email"]))]
            ),
            (
                (owner(customer), LATEST, 1),
                vec![(record(customer, 1), labels(&["low"]))]
            ),
        ])
    );
}

#[test]
fn every_partition_of_the_joins_hears_the_watermark_after_the_records_and_gauges_hear_it_too() {
    let mut task = task();
    give(
        &mut task,
        0,
        &message(r#""id": "c0ffee", "customer": 7, "channel": "email""#),
    );
    let output = task.seal().expect("a record was read");
    for to in [Stage::Gauge, Stage::Correlate] {
        let of_stage = output.shuffled.iter().filter(|shuffled| shuffled.to == to);
        let partitions: Vec<u32> = of_stage.map(|shuffled| shuffled.partition).collect();
        assert_eq!(partitions, [0, 1, 2]);
    }
    let batches = batches(&output);
    assert!(batches.iter().all(|batch| batch.watermark == Some(T0 - 5_000_000)));
    assert!(
        batches
            .iter()
            .all(|batch| (batch.topic.as_str(), batch.partition) == (TOPIC, 4))
    );
    assert!(task.seal().is_none());
    task.accept(Input::Position { next: 5 }).expect("a control record");
    let output = task.seal().expect("the position moved");
    assert_eq!(keyed(&output), BTreeMap::new(), "records are sent once");
}

#[test]
fn what_records_carry_is_sent_once_for_each_partition() {
    let mut task = task();
    for n in 0..100 {
        let fields = format!(
            r#""id": "{n}", "customer": {n}, "channel": "{}""#,
            if n % 2 == 0 { "email" } else { "web" }
        );
        give(&mut task, n, &message(&fields));
    }
    let output = task.seal().expect("records were read");
    let mut ids = 0;
    for shuffled in output
        .shuffled
        .iter()
        .filter(|shuffled| shuffled.to == Stage::Correlate)
    {
        let batch = codec::Batch::decode(shuffled.batch.as_slice()).expect("a batch");
        assert!(batch.keyed.iter().all(|lot| lot.carried.len() <= 2));
        assert!(shuffled.batch.len() < batch.keyed.iter().map(|lot| lot.count as usize * 21).sum::<usize>() + 400);
        ids += batch
            .keyed
            .iter()
            .filter(|lot| lot.join == RESPOND)
            .map(|lot| lot.count)
            .sum::<u32>();
    }
    assert_eq!(ids, 100);
}

#[test]
fn a_record_without_a_usable_key_counts_for_all_the_rest_and_by_reason() {
    let mut task = task();
    let long = "x".repeat(MAX_KEY_BYTES + 1);
    for (offset, id) in (0..).zip([
        r#""other": 1"#.to_owned(),
        r#""id": null"#.to_owned(),
        r#""id": """#.to_owned(),
        r#""id": ["a"]"#.to_owned(),
        format!(r#""id": "{long}""#),
        format!(r#""id": "{}""#, &long[1..]),
    ]) {
        give(
            &mut task,
            offset,
            &message(&format!(r#"{id}, "customer": 7, "channel": null"#)),
        );
    }
    let output = task.seal().expect("records were read");
    assert_eq!(counts(&task), BTreeMap::from([("counted", 6)]));
    let reasons: BTreeMap<String, u64> = partials(&output, UNKEYED, &Kind::Count)
        .into_iter()
        .map(|((labels, _), (records, _))| (labels.join(": "), records))
        .collect();
    let expected =
        ["missing", "null", "empty", "no scalar", "too long"].map(|reason| (format!("join 10: {reason}"), 1));
    let no_channel = [("join 11: no value".to_owned(), 6)];
    assert_eq!(reasons, expected.into_iter().chain(no_channel).collect());
    let sent: usize = keyed(&output)
        .iter()
        .filter(|((_, join, side), _)| (*join, *side) != (LATEST, 1))
        .map(|(_, records)| records.len())
        .sum();
    assert_eq!(sent, 1, "the longest key that is taken");
}

#[test]
fn a_record_that_asks_and_has_no_key_is_sent_to_find_nothing() {
    let mut task = task();
    give(
        &mut task,
        0,
        &message(r#""id": "c0ffee", "customer": null, "channel": "email""#),
    );
    let output = task.seal().expect("a record was read");
    let asked: Vec<KeyHash> = keyed(&output)
        .into_iter()
        .filter(|((_, join, _), _)| *join == LATEST)
        .flat_map(|(_, records)| records)
        .map(|(record, _)| record.key)
        .collect();
    assert_eq!(asked, [KeyHash::NONE], "and it brings no value");
    let reasons = partials(&output, UNKEYED, &Kind::Count);
    assert_eq!(reasons.values().map(|(records, _)| records).sum::<u64>(), 2);
}

#[test]
fn keys_that_are_spelled_with_escapes_are_the_same_key() {
    let mut task = task();
    give(
        &mut task,
        0,
        &message(r#""id": "caf\u00e9", "customer": 7, "channel": "a""#),
    );
    give(
        &mut task,
        1,
        &message(r#""id": "café", "customer": "7", "channel": "a""#),
    );
    let found = keyed(&task.seal().expect("records were read"));
    for records in found.values() {
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].0.key, records[1].0.key);
    }
}

#[test]
fn a_record_that_lacks_what_a_join_needs_is_malformed_and_goes_nowhere() {
    let mut task = task();
    let text = message(r#""id": "c0ffee", "customer": 7, "channel": "email""#).replace(r#""priority": "low", "#, "");
    give(&mut task, 0, &text);
    let output = task.seal().expect("a record was read");
    assert_eq!(counts(&task), BTreeMap::from([("malformed", 1)]));
    assert_eq!(keyed(&output), BTreeMap::new());
    assert!(output.dead[0].reason.contains("join 11") && output.dead[0].reason.contains("/priority"));
}

/// Headers in their order.
#[derive(Debug)]
struct Listed(&'static [(&'static str, &'static [u8])]);

impl Headers for Listed {
    fn last(&self, name: &str) -> Option<&[u8]> {
        let found = self.0.iter().rev().find(|(known, _)| *known == name);
        found.map(|(_, value)| *value)
    }
}

/// What a request carries beside its labels.
fn carried_for_spans(headers: &Listed) -> Vec<String> {
    let mut plan = joined();
    let header = |name: &str| LabelFrom::Header {
        name: name.into(),
        otherwise: None,
    };
    let request = &mut plan.topics[0].sources[0].emits[0];
    let LabelFrom::Field { slot, .. } = request.carries[0] else {
        panic!("the channel is a field");
    };
    let channel = LabelFrom::Field {
        slot,
        pointer: "/channel".into(),
        otherwise: None,
    };
    request
        .carries
        .extend([header("traceparent"), channel, LabelFrom::Offset]);
    let mut task = task_of(plan);
    let value = message(r#""id": "c0ffee", "customer": 7"#);
    let record = Record {
        offset: 0,
        key: None,
        value: Some(value.as_bytes()),
        stamp: Stamp::Created(wall(0)),
        headers,
    };
    task.accept(Input::Record(record)).expect("the record is taken");
    let output = task.seal().expect("a record was read");
    assert_eq!(counts(&task), BTreeMap::from([("counted", 1)]));
    let id = KeyHash::of(b"c0ffee");
    let keyed = keyed(&output);
    keyed[&(id.partition(PARTITIONS), RESPOND, 0)][0].1.clone()
}

#[test]
fn the_last_header_of_a_name_is_carried() {
    let headers = Listed(&[("traceparent", b"old"), ("traceparent", b"new"), ("other", b"x")]);
    assert_eq!(carried_for_spans(&headers), ["none", TOPIC, "new", "", "0"]);
}

#[test]
fn what_only_spans_would_say_is_empty_where_it_cannot_be_had_and_the_record_counts() {
    const LONG: &[u8] = &[b'x'; 100_000];
    for headers in [
        Listed(&[]),
        Listed(&[("traceparent", b"\xff")]),
        Listed(&[("traceparent", LONG)]),
    ] {
        assert_eq!(carried_for_spans(&headers), ["none", TOPIC, "", "", "0"]);
    }
}
