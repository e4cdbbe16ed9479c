//! What becomes of each kind of record that is not an ordinary request, response, value or ticket.

use super::world::open;
use super::*;

fn said(topic: usize, seconds: i64, text: &str) -> Said {
    Said {
        topic,
        time: seconds * 1_000_000,
        key: 1,
        text: text.into(),
    }
}

/// Gives the records in this order, moves all watermarks to `until` seconds and seals.
fn after(task: &mut CorrelateTask, records: &[Said], until: i64) -> Output {
    let mut batches: Vec<Batch> = records.iter().map(|said| batch(said.topic, 0, &[said], None)).collect();
    for topic in 0..TOPICS.len() {
        for partition in 0..2 {
            batches.push(batch(topic, partition, &[], Some(until * 1_000_000)));
        }
    }
    let offset = task.next();
    give(task, offset, batches).expect("taken");
    task.seal().expect("something was taken")
}

fn fresh() -> CorrelateTask {
    open(&Arc::new(plan()), 0, FRESH, &[])
}

fn one(labels: [&str; 2]) -> BTreeMap<Vec<String>, u64> {
    BTreeMap::from([(labels.map(str::to_owned).to_vec(), 1)])
}

const NOTHING: BTreeMap<Vec<String>, u64> = BTreeMap::new();

#[test]
fn a_response_that_arrives_before_its_request_answers_it_all_the_same() {
    let mut task = fresh();
    let output = after(
        &mut task,
        &[said(RESPONSES, 12, "red"), said(NORMALIZED, 10, "email")],
        30,
    );
    assert_eq!(totals(&output, RESPONSE_TIME), one(["email", "red"]));
    let mut found = BTreeMap::new();
    partials(&output, &mut found);
    let time = &found[&(RESPONSE_TIME, vec!["email".into(), "red".into()], 20)];
    assert!(matches!(time, Partial::Histogram(histogram) if histogram.sum() == 2_000_000));
}

#[test]
fn nothing_is_decided_before_both_watermarks_have_passed_the_response() {
    let mut task = fresh();
    let output = after(
        &mut task,
        &[said(RESPONSES, 12, "red"), said(NORMALIZED, 10, "email")],
        11,
    );
    assert_eq!(totals(&output, RESPONSE_TIME), NOTHING);
    let output = after(&mut task, &[], 12);
    assert_eq!(totals(&output, RESPONSE_TIME), one(["email", "red"]));
}

#[test]
fn the_bound_itself_still_answers_and_one_microsecond_later_does_not() {
    let request = said(NORMALIZED, 0, "email");
    let mut response = said(RESPONSES, 20, "red");
    let output = after(&mut fresh(), &[request.clone(), response.clone()], 100);
    assert_eq!(totals(&output, RESPONSE_TIME), one(["email", "red"]));
    response.time += 1;
    let output = after(&mut fresh(), &[request, response], 100);
    assert_eq!(totals(&output, RESPONSE_TIME), NOTHING);
    assert_eq!(totals(&output, UNANSWERED), one(["email", "none"]));
    assert_eq!(
        totals(&output, UNMATCHED),
        one(["none", "red"]),
        "days later it has no request"
    );
}

#[test]
fn a_second_response_is_told_from_one_without_a_request() {
    let mut task = fresh();
    let first = [
        said(NORMALIZED, 0, "email"),
        said(RESPONSES, 1, "red"),
        said(RESPONSES, 16, "blue"),
    ];
    assert_eq!(
        totals(&after(&mut task, &first, 17), SECOND),
        one(["email", "blue"]),
        "within `forget`"
    );
    let output = after(&mut task, &[said(RESPONSES, 18, "blue")], 30);
    assert_eq!(totals(&output, SECOND), NOTHING);
    assert_eq!(
        totals(&output, UNMATCHED),
        one(["none", "blue"]),
        "it is forgotten by then"
    );
}

#[test]
fn a_request_after_its_response_is_negative_and_no_response_time() {
    let output = after(
        &mut fresh(),
        &[said(RESPONSES, 10, "red"), said(NORMALIZED, 13, "email")],
        100,
    );
    assert_eq!(totals(&output, NEGATIVE), one(["email", "red"]));
    for metric in [RESPONSE_TIME, UNANSWERED, UNMATCHED] {
        assert_eq!(totals(&output, metric), NOTHING);
    }
    let output = after(
        &mut fresh(),
        &[said(RESPONSES, 10, "red"), said(NORMALIZED, 14, "email")],
        100,
    );
    assert_eq!(totals(&output, NEGATIVE), NOTHING, "clocks are not that wrong");
    assert_eq!(totals(&output, UNMATCHED), one(["none", "red"]));
    assert_eq!(totals(&output, UNANSWERED), one(["email", "none"]));
}

#[test]
fn of_thousands_of_requests_with_one_id_the_first_counts_and_the_others_are_duplicates() {
    let mut task = fresh();
    let requests: Vec<Said> = (0..5_000)
        .map(|n| Said {
            time: 1_000_000 + n,
            ..said(NORMALIZED, 0, if n == 0 { "email" } else { "web" })
        })
        .collect();
    let mut records = requests;
    records.reverse();
    records.push(said(RESPONSES, 3, "red"));
    let output = after(&mut task, &records, 5);
    assert_eq!(totals(&output, RESPONSE_TIME), one(["email", "red"]));
    assert_eq!(
        totals(&output, DUPLICATE),
        BTreeMap::from([(vec!["web".to_owned(), "none".to_owned()], 4_999)])
    );
    assert_eq!(task.join(0).entries(), 1);
}

#[test]
fn a_record_behind_what_was_decided_is_late_and_decides_nothing() {
    let mut task = fresh();
    after(&mut task, &[said(NORMALIZED, 10, "email")], 20);
    let output = after(
        &mut task,
        &[said(RESPONSES, 19, "red"), said(NORMALIZED, 20, "web")],
        25,
    );
    let late = |join: &str, side: &str| (vec![join.to_owned(), side.to_owned()], 1);
    let respond = "normalized by responses";
    assert_eq!(
        totals(&output, LATE),
        BTreeMap::from([late(respond, "request"), late(respond, "response")])
    );
    assert_eq!(totals(&output, RESPONSE_TIME), NOTHING);
    assert_eq!(
        totals(&output, LATE_VALUES),
        BTreeMap::from([late("channel of tickets", "value")])
    );
    assert_eq!(totals(&after(&mut task, &[], 100), UNANSWERED), one(["email", "none"]));
}

#[test]
fn a_late_ticket_is_counted_with_no_channel() {
    let mut task = fresh();
    after(&mut task, &[said(NORMALIZED, 10, "email")], 20);
    let output = after(&mut task, &[said(TICKETS, 15, "low"), said(TICKETS, 21, "low")], 25);
    let ticket = |channel: &str| (["low", channel, "eu"].map(str::to_owned).to_vec(), 1);
    assert_eq!(
        totals(&output, TICKETS_CREATED),
        BTreeMap::from([ticket("email"), ticket("unknown")])
    );
}

#[test]
fn a_later_channel_does_not_change_an_earlier_ticket() {
    let records = [
        said(NORMALIZED, 30, "web"),
        said(TICKETS, 29, "low"),
        said(TICKETS, 30, "high"),
        said(NORMALIZED, 10, "email"),
        said(TICKETS, 9, "mid"),
        said(TICKETS, 61, "old"),
    ];
    let output = after(&mut fresh(), &records, 100);
    let ticket = |priority: &str, channel: &str| ([priority, channel, "eu"].map(str::to_owned).to_vec(), 1);
    assert_eq!(
        totals(&output, TICKETS_CREATED),
        BTreeMap::from([
            ticket("low", "email"),
            ticket("high", "web"),
            ticket("mid", "unknown"),
            ticket("old", "unknown")
        ])
    );
}

#[test]
fn open_requests_and_the_age_of_the_oldest_are_told_when_they_change() {
    let mut task = fresh();
    let mut second = said(NORMALIZED, 8, "web");
    second.key = 2;
    let output = after(&mut task, &[said(NORMALIZED, 5, "email"), second], 10);
    let told = levels(&output);
    assert_eq!(
        (told[&(OPEN as u64)], told[&(OLDEST as u64)]),
        (2_000_000, 5_000_000),
        "in millionths"
    );
    let told = levels(&after(&mut task, &[said(RESPONSES, 11, "red")], 12));
    assert_eq!((told[&(OPEN as u64)], told[&(OLDEST as u64)]), (1_000_000, 4_000_000));
    let told = levels(&after(&mut task, &[], 13));
    assert_eq!((told.get(&(OPEN as u64)), told[&(OLDEST as u64)]), (None, 5_000_000));
    let told = levels(&after(&mut task, &[], 40));
    assert_eq!((told[&(OPEN as u64)], told[&(OLDEST as u64)]), (0, 0));
    assert_eq!(levels(&after(&mut task, &[], 50)), BTreeMap::new());
}

#[test]
fn open_requests_do_not_hold_the_watermark() {
    let output = after(&mut fresh(), &[said(NORMALIZED, 1, "email")], 15);
    let stated: Vec<Option<i64>> = told(&output).iter().map(|batch| batch.watermark).collect();
    assert_eq!(stated, [Some(T0 + 15_000_000); 6], "two joins, three gauge partitions");
}
