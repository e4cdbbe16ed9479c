//! What becomes of records.

use super::*;

#[test]
fn records_of_one_series_and_window_become_one_partial() {
    let mut task = fresh();
    give(&mut task, 100, &ticket(NOW, "high"));
    give(&mut task, 101, &ticket("2026-11-22T13:59:55.5", "high"));
    give(&mut task, 102, &ticket("2026-11-22T14:00:01", "high"));
    give(&mut task, 103, &ticket(NOW, "l\\u006fw"));
    let output = task.seal().expect("something to write");
    assert_eq!(output.next, 104);
    let tickets = partials(&output, 11, &Kind::Count);
    assert_eq!(
        tickets,
        BTreeMap::from([
            ((labels(&["high", "unknown", "HIGH"]), 0), (2, Partial::Count(2))),
            ((labels(&["high", "unknown", "HIGH"]), 10), (1, Partial::Count(1))),
            ((labels(&["low", "unknown", "LOW"]), 0), (1, Partial::Count(1))),
        ])
    );
    let cost = partials(&output, 12, &Kind::Sum);
    assert_eq!(cost[&(labels(&[TOPIC, "4", "eur"]), 0)], (3, Partial::Sum(4_500_000)));
    assert_eq!(counts(&task), BTreeMap::from([("counted", 4)]));
}

#[test]
fn every_gauge_partition_gets_a_batch_and_each_series_is_in_its_own() {
    let mut task = fresh();
    for offset in 0..50 {
        give(&mut task, 100 + offset, &ticket(NOW, &format!("p{offset}")));
    }
    let output = task.seal().expect("something to write");
    let to: Vec<_> = output
        .shuffled
        .iter()
        .map(|shuffled| (shuffled.to, shuffled.partition))
        .collect();
    assert_eq!(to, [(Stage::Gauge, 0), (Stage::Gauge, 1), (Stage::Gauge, 2)]);
    let plan = plan();
    for (partition, batch) in (0..).zip(batches(&output)) {
        assert_eq!((batch.topic.as_str(), batch.partition, batch.epoch), (TOPIC, 4, 0));
        assert_eq!(batch.watermark, Some(T0 - 5_000_000));
        assert_eq!(batch.sealed_at, T0);
        for metric in &batch.metrics {
            let name = &plan
                .metrics
                .iter()
                .find(|known| known.definition.0 == metric.definition)
                .expect("known")
                .name;
            let keys: Vec<_> = metric.partials.iter().map(|partial| &partial.key).collect();
            assert!(keys.is_sorted() && !keys.is_empty());
            assert!(keys.iter().all(|key| partition_of(name, key, PARTITIONS) == partition));
        }
        for sample in &batch.samples {
            assert_eq!(sample.metric, RECORDS_TOTAL);
            assert_eq!(partition_of(RECORDS_TOTAL, &sample.key, PARTITIONS), partition);
        }
    }
    assert_eq!(partials(&output, 11, &Kind::Count).len(), 50);
}

#[test]
fn what_cannot_be_understood_is_quarantined_with_a_reason_and_no_payload() {
    let long = "x".repeat(1_025);
    let cases = [
        ("", "malformed", "empty value"),
        ("{\"a\": secret}", "malformed", "malformed JSON at byte 6"),
        ("[1, 2", "malformed", "malformed JSON at byte 5"),
        (r#"{"data": {}}"#, "malformed", "time field `/timestamp` is missing"),
        (
            r#"{"timestamp": "yesterday"}"#,
            "malformed",
            "time field `/timestamp` is text, but no ISO 8601 time",
        ),
        (
            r#"{"timestamp": "2026-11-22T14:00:00", "event_type": "ticket_created"}"#,
            "malformed",
            "label `priority` of metric `tickets_created_total`: field `/data/priority` is missing",
        ),
        (
            r#"{"timestamp": "2026-11-22T14:00:00", "event_type": "ticket_created", "data": {"priority": ["secret"]}}"#,
            "malformed",
            "field `/data/priority` is an array",
        ),
        (
            r#"{"timestamp": "2026-11-22T14:00:00", "event_type": "ticket_created", "data": {"priority": 7}}"#,
            "malformed",
            "label `upper` of metric `tickets_created_total`: `data.priority.upperAscii()` fails",
        ),
        (
            r#"{"timestamp": "2026-11-22T14:00:00", "event_type": "ticket_created", "data": {"priority": "a", "cost": -1}}"#,
            "malformed",
            "value of metric `cost_total`: field `/data/cost` is negative",
        ),
        (
            r#"{"timestamp": "2026-11-22T14:00:00", "event_type": "ticket_created", "data": {"priority": "a", "cost": "secret"}}"#,
            "malformed",
            "field `/data/cost` is text and no number",
        ),
        (
            r#"{"timestamp": "2026-11-22T14:05:01", "event_type": "ticket_created", "data": {}}"#,
            "future",
            "more than 300 s ahead",
        ),
        (
            long.as_str(),
            "oversize",
            "value of 1025 bytes, and at most 1000 are read",
        ),
    ];
    let mut task = fresh();
    for (offset, (value, ..)) in (100..).zip(&cases) {
        give(&mut task, offset, value);
    }
    let null = Record {
        offset: 112,
        key: None,
        value: None,
        stamp: Stamp::None,
        headers: &(),
    };
    task.accept(Input::Record(null)).expect("the record is taken");
    assert!(task.weight() > 1_000);
    let output = task.seal().expect("something to write");
    for (offset, (letter, (value, outcome, reason))) in (100..).zip(output.dead.iter().zip(&cases)) {
        assert_eq!((letter.outcome, letter.offset), (*outcome, offset), "{value}");
        assert!(
            letter.reason.contains(reason) && !letter.reason.contains("secret"),
            "{}",
            letter.reason
        );
        assert_eq!(letter.value.as_deref(), Some(value.as_bytes()));
        assert_eq!((letter.topic.as_str(), letter.partition), (TOPIC, 4));
    }
    let last = output.dead.last().expect("the null value");
    assert_eq!(
        (last.reason.as_str(), last.key.as_ref(), last.value.as_ref()),
        ("null value", None, None)
    );
    assert_eq!(
        counts(&task),
        BTreeMap::from([("malformed", 11), ("future", 1), ("oversize", 1)])
    );
    assert!(
        batches(&output)
            .iter()
            .all(|batch| batch.metrics.is_empty() && batch.watermark.is_none())
    );
    assert_eq!(task.weight(), 0);
}

#[test]
fn a_record_of_which_one_label_is_missing_adds_nothing_at_all() {
    let mut task = fresh();
    // The tickets source can be computed up to its last recipe; the bytes source too.
    give(
        &mut task,
        100,
        &ticket(NOW, "high").replace("\"cost\": 1.5", "\"cost\": true"),
    );
    let output = task.seal().expect("something to write");
    assert!(batches(&output).iter().all(|batch| batch.metrics.is_empty()));
    assert_eq!(counts(&task), BTreeMap::from([("malformed", 1)]));
}

#[test]
fn a_record_that_no_source_wants_is_filtered_and_moves_the_watermark() {
    let mut task = fresh();
    give(
        &mut task,
        100,
        r#"{"timestamp": "2026-11-22T14:00:09", "event_type": "other"}"#,
    );
    assert_eq!(counts(&task), BTreeMap::from([("filtered", 1)]));
    let output = task.seal().expect("something to write");
    assert!(
        batches(&output)
            .iter()
            .all(|batch| batch.watermark == Some(T0 + 4_000_000) && batch.metrics.is_empty())
    );
}

#[test]
fn latency_is_measured_where_the_broker_sets_the_time_and_is_never_negative() {
    let mut task = fresh();
    let value = r#"{"timestamp": "2026-11-22T14:00:00", "data": {"priority": 1}}"#;
    for (offset, stamp) in [
        (100, Stamp::Appended(wall(2))),
        (101, Stamp::Appended(wall(-3))),
        (102, Stamp::Created(wall(9))),
    ] {
        let record = Record {
            offset,
            key: None,
            value: Some(value.as_bytes()),
            stamp,
            headers: &(),
        };
        task.accept(Input::Record(record)).expect("the record is taken");
    }
    let output = task.seal().expect("something to write");
    let kind = Kind::Exponential { max_buckets: 160 };
    let mut latency = Partial::empty(&kind);
    latency.observe(2_000_000, &kind);
    latency.observe(0, &kind);
    assert_eq!(partials(&output, 14, &kind)[&(vec![], 0)], (2, latency));
    let bytes = partials(&output, 13, &Kind::Count);
    assert_eq!(bytes[&(vec![], 0)], (3, Partial::Count(3 * value.len() as u64)));
    assert_eq!(counts(&task), BTreeMap::from([("counted", 3)]));
}
