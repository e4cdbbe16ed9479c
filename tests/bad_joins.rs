//! What joins cannot use has an outcome that is counted, at a real broker: keys that are none, keys that thousands share,
//! answers days later or before their questions, and channels that nobody says.

mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::collector::Collector;
use common::instance::Application;
use common::joins::{self, DUPLICATE, NEGATIVE, SECOND, UNANSWERED, UNKEYED, UNMATCHED};
use common::kafka::{Kafka, Write, Writer};
use common::oracle::{RECORDS, labels};
use common::points::{Attributes, Points};
use common::traffic::stamp;
use common::{eventually, folder, my_turn, now_micros};

const LIMIT: Duration = Duration::from_secs(90);
const PARTITIONS: u32 = 2;
const SECOND_MICROS: i64 = 1_000_000;
const HOT: i64 = 5_000;

const PIPELINE: &str = "
pipeline: support
defaults: { out_of_order: 1s, idle_after: 1s, window: 1s }
sources:
  requests: { topic: requests, time: /timestamp }
  responses: { topic: responses, time: /timestamp }
  profiles: { topic: profiles, time: /timestamp }
  tickets: { topic: tickets, time: /timestamp }
metrics:
  response_time_seconds:
    respond: { TERMS }
    labels: { channel_type: { from: /channel, else: unknown } }
  responses_unanswered_total:
    respond: { TERMS, measure: unanswered }
    labels: { channel_type: { from: /channel, else: unknown } }
  responses_second_total:
    respond: { TERMS, measure: second }
  responses_unmatched_total:
    respond: { TERMS, measure: unmatched }
    labels: { channel_type: { to: /channel, else: unknown } }
  responses_negative_total:
    respond: { TERMS, measure: negative }
  responses_duplicate_total:
    respond: { TERMS, measure: duplicate }
  responses_open:
    respond: { TERMS, measure: open }
  tickets_total:
    count: tickets
    labels:
      channel_type:
        latest: { of: profiles, take: /channel, on: /customer, equals: /customer, within: 1h }
        else: unknown
";
const TERMS: &str = "from: requests, to: responses, on: /id, within: 3s, forget: 1m, skew: 2s";
const RESPOND: &str = "requests to responses on /id";
const LATEST: &str = "latest profiles on /customer";

/// Writes a document with this behind its time.
fn write(writer: &Writer, topic: &str, partition: u32, at: i64, rest: &str) {
    writer.write(&Write {
        topic: topic.to_owned(),
        partition,
        value: Some(format!(r#"{{"timestamp": "{}", {rest}}}"#, stamp(at)).into_bytes()),
        ..Write::default()
    });
}

/// Everything that services get wrong. Gives how many records that makes.
fn write_all(writer: &Writer, base: i64) -> i64 {
    let mut count = 0;
    let mut say = |topic: &str, at: i64, rest: &str| {
        // The first of each partition is the oldest, or it would come too late.
        write(writer, topic, (count % i64::from(PARTITIONS)) as u32, at, rest);
        count += 1;
    };
    let both = |id: &str| format!(r#""id": {id}, "channel": "email""#);
    let text = |length: usize| format!("\"{}\"", "k".repeat(length));
    // Answered three days later, which is no answer.
    say("requests", base - 3 * 86_400 * SECOND_MICROS, &both("\"days\""));
    say("responses", base, &both("\"days\""));
    // No key.
    for topic in ["requests", "responses"] {
        say(topic, base, r#""channel": "email""#);
        for id in ["null", "\"\"", "[1]", r#"{"id": "x"}"#, &text(1_000_000), &text(1_025)] {
            say(topic, base, &both(id));
        }
    }
    // The longest key, and one that is a number.
    for (id, took) in [(text(1_024), 1_250_000), ("7".to_owned(), 750_000)] {
        say("requests", base, &both(&id));
        say("responses", base + took, &both(&id));
    }
    // One key on thousands of records.
    (0..HOT).for_each(|at| say("requests", base + at, &both("\"hot\"")));
    (0..HOT).for_each(|at| say("responses", base + SECOND_MICROS + at, &both("\"hot\"")));
    // Clocks that differ: a little, and more than `skew` allows.
    say("responses", base, &both("\"early\""));
    say("requests", base + 500_000, &both("\"early\""));
    say("responses", base + SECOND_MICROS, &both("\"early\""));
    say("responses", base - 2_500_000, &both("\"too early\""));
    say("requests", base, &both("\"too early\""));
    // Nobody says the channel; or it is no text.
    say("requests", base, r#""id": "mute", "channel": null"#);
    say("responses", base + 2 * SECOND_MICROS, &both("\"mute\""));
    say("requests", base, r#""id": "mute and unanswered""#);
    say("responses", base, r#""id": "ghost", "channel": null"#);
    say("requests", base, r#""id": "array", "channel": ["email"]"#);
    // Look-ups.
    say("profiles", base, r#""customer": "known", "channel": "whatsapp""#);
    say("profiles", base, r#""customer": "mute", "channel": null"#);
    say("profiles", base, r#""customer": "array", "channel": ["email"]"#);
    say(
        "profiles",
        base,
        &format!(r#""customer": {}, "channel": "email""#, text(1_000_000)),
    );
    say("profiles", base + 2, r#""customer": "later", "channel": "email""#);
    for customer in [
        "\"known\"",
        "\"mute\"",
        "\"array\"",
        "\"later\"",
        "\"nobody\"",
        "null",
        &text(1_000_000),
    ] {
        say("tickets", base + 1, &format!(r#""customer": {customer}"#));
    }
    writer.flush();
    count
}

/// What must come of it, when `pushes` records without a key have pushed time on in each partition.
fn expected(pushes: i64) -> BTreeMap<(&'static str, Attributes), i64> {
    let channel = |channel| labels(&[("channel_type", channel)]);
    let unkeyed = |join, reason| labels(&[("join", join), ("reason", reason)]);
    let pushed = pushes * i64::from(PARTITIONS);
    [
        ((UNANSWERED, channel("email")), 2),
        ((UNANSWERED, channel("unknown")), 1),
        ((SECOND, labels(&[])), HOT - 1 + 1),
        ((UNMATCHED, channel("email")), 2),
        ((UNMATCHED, channel("unknown")), 1),
        ((NEGATIVE, labels(&[])), 1),
        ((DUPLICATE, labels(&[])), HOT - 1),
        (("tickets_total", channel("whatsapp")), 1),
        (("tickets_total", channel("unknown")), 6 + pushed),
        ((UNKEYED, unkeyed(RESPOND, "missing")), 2 + 2 * pushed),
        ((UNKEYED, unkeyed(RESPOND, "null")), 2),
        ((UNKEYED, unkeyed(RESPOND, "empty")), 2),
        ((UNKEYED, unkeyed(RESPOND, "no scalar")), 4),
        ((UNKEYED, unkeyed(RESPOND, "too long")), 4),
        // As values and as tickets.
        ((UNKEYED, unkeyed(LATEST, "missing")), 2 * pushed),
        ((UNKEYED, unkeyed(LATEST, "null")), 1),
        ((UNKEYED, unkeyed(LATEST, "too long")), 2),
        ((UNKEYED, unkeyed(LATEST, "no value")), 2),
    ]
    .into()
}

fn counts(points: &Points) -> BTreeMap<(&'static str, Attributes), i64> {
    let names = [
        UNANSWERED,
        SECOND,
        UNMATCHED,
        NEGATIVE,
        DUPLICATE,
        "tickets_total",
        UNKEYED,
        joins::LATE,
    ];
    let of = |name: &'static str| {
        let counts = points.counts(name).into_iter().filter(|(_, count)| *count != 0);
        counts.map(move |(labels, count)| ((name, labels), count))
    };
    names.into_iter().flat_map(of).collect()
}

#[test]
fn whatever_joins_cannot_use_is_counted_as_what_it_is() {
    let _turn = my_turn();
    let folder = folder();
    let kafka = Kafka::start();
    for topic in ["requests", "responses", "profiles", "tickets"] {
        kafka.create_topic(topic, PARTITIONS, &[("max.message.bytes", "16000000")]);
    }
    let writer = kafka.writer();
    let base = now_micros() - 10 * SECOND_MICROS;
    let written = write_all(&writer, base);
    let mut collector = Collector::start(folder.path());
    let pipeline = folder.path().join("support.yaml");
    std::fs::write(&pipeline, PIPELINE.replace("TERMS", TERMS)).expect("a pipeline");
    let application = Application::new(folder.path(), &pipeline, &kafka.bootstrap(), &collector.endpoint());
    let mut instance = application.start("one");
    // What is days old makes its partition wait for more of that kind, unless something newer comes.
    let (mut pushes, mut pushed_at) = (0, Instant::now());
    let mut done_since = None;
    eventually("everything is counted", LIMIT, || {
        if done_since.is_none() && (pushes == 0 || pushed_at.elapsed() > Duration::from_secs(2)) {
            for partition in 0..PARTITIONS {
                for topic in ["requests", "responses", "profiles", "tickets"] {
                    write(&writer, topic, partition, now_micros(), r#""nothing": 0"#);
                }
            }
            writer.flush();
            (pushes, pushed_at) = (pushes + 1, Instant::now());
        }
        let (expected, got) = (expected(pushes), counts(collector.points()));
        // What only pushes is there a window later than what it pushed.
        let of_conversations = |counts: &BTreeMap<(&'static str, Attributes), i64>| -> Vec<i64> {
            let of = counts
                .iter()
                .filter(|((name, _), _)| ![UNKEYED, "tickets_total"].contains(name));
            of.map(|(_, count)| *count).collect()
        };
        if of_conversations(&expected) == of_conversations(&got) {
            done_since.get_or_insert_with(Instant::now);
        }
        if got == expected {
            Ok(())
        } else {
            Err(format!("expected {expected:#?}, got {got:#?}"))
        }
    });
    let points = collector.points();
    let times = points.last(joins::TIME);
    assert_eq!(times.len(), 2, "{times:?}");
    let channel = |channel| &times[&labels(&[("channel_type", channel)])];
    // None is negative, and none is of days.
    assert_eq!(joins::misread(&[750_000, 1_000_000, 1_250_000], channel("email")), None);
    assert_eq!(joins::misread(&[2_000_000], channel("unknown")), None);
    assert!(points.last(joins::OPEN).values().all(|open| open.number() == 0.0));
    let mut outcomes: BTreeMap<String, i64> = BTreeMap::new();
    for (labels, count) in points.counts(RECORDS).into_iter().filter(|(_, count)| *count != 0) {
        *outcomes.entry(labels["outcome"].clone()).or_default() += count;
    }
    let all = written + pushes * 4 * i64::from(PARTITIONS);
    let right = [("counted".to_owned(), all - 1), ("malformed".to_owned(), 1)];
    assert_eq!(outcomes, right.into());
    instance.stop();
    assert_eq!(application.audit().0, Some(0));
    let faults = collector.points().faults();
    assert!(faults.is_empty(), "{faults:?}");
}
