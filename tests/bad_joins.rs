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
use common::quantiles;
use common::traffic::stamp;
use common::{eventually, folder, my_turn, now_micros};

const LIMIT: Duration = Duration::from_secs(90);
const TOPICS: [&str; 4] = ["requests", "responses", "profiles", "tickets"];
const PARTITIONS: u32 = 2;
const SECOND_MICROS: i64 = 1_000_000;
const HOT: i64 = 5_000;

const PIPELINE: &str = r#"
pipeline: support
defaults: { out_of_order: 1s, idle_after: 1s, window: 1s }
sources:
  requests: { topic: requests, time: /timestamp, when: 'kind == "real"' }
  responses: { topic: responses, time: /timestamp, when: 'kind == "real"' }
  profiles: { topic: profiles, time: /timestamp, when: 'kind == "real"' }
  tickets: { topic: tickets, time: /timestamp, when: 'kind == "real"' }
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
"#;
const TERMS: &str = "from: requests, to: responses, on: /id, within: 3s, forget: 1m, skew: 2s";
const RESPOND: &str = "requests to responses on /id";
const LATEST: &str = "latest profiles on /customer";

/// Writes a document with this behind its time.
fn write(writer: &Writer, topic: &str, partition: u32, at: i64, kind: &str, rest: &str) {
    writer.write(&Write {
        topic: topic.to_owned(),
        partition,
        value: Some(format!(r#"{{"timestamp": "{}", "kind": "{kind}", {rest}}}"#, stamp(at)).into_bytes()),
        ..Write::default()
    });
}

/// Everything that services get wrong. Gives how many records that makes.
fn write_all(writer: &Writer, base: i64) -> i64 {
    let mut count = 0;
    let mut say = |topic: &str, at: i64, rest: &str| {
        // The first of each partition is the oldest, or it would come too late.
        write(writer, topic, (count % i64::from(PARTITIONS)) as u32, at, "real", rest);
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

/// What must come of it.
fn expected() -> BTreeMap<(&'static str, Attributes), i64> {
    let channel = |channel| labels(&[("channel_type", channel)]);
    let unkeyed = |join, reason| labels(&[("join", join), ("reason", reason)]);
    [
        ((UNANSWERED, channel("email")), 2),
        ((UNANSWERED, channel("unknown")), 1),
        ((SECOND, labels(&[])), HOT - 1 + 1),
        ((UNMATCHED, channel("email")), 2),
        ((UNMATCHED, channel("unknown")), 1),
        ((NEGATIVE, labels(&[])), 1),
        ((DUPLICATE, labels(&[])), HOT - 1),
        (("tickets_total", channel("whatsapp")), 1),
        (("tickets_total", channel("unknown")), 6),
        ((UNKEYED, unkeyed(RESPOND, "missing")), 2),
        ((UNKEYED, unkeyed(RESPOND, "null")), 2),
        ((UNKEYED, unkeyed(RESPOND, "empty")), 2),
        ((UNKEYED, unkeyed(RESPOND, "no scalar")), 4),
        ((UNKEYED, unkeyed(RESPOND, "too long")), 4),
        // As values and as tickets.
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
    for topic in TOPICS {
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
    let (mut pushes, mut pushed_at) = (0, None::<Instant>);
    eventually("everything is counted", LIMIT, || {
        instance.process().must_live();
        if pushed_at.is_none_or(|at| at.elapsed() > Duration::from_secs(1)) {
            for partition in 0..PARTITIONS {
                TOPICS
                    .iter()
                    .for_each(|topic| write(&writer, topic, partition, now_micros(), "push", "\"id\": 0"));
            }
            writer.flush();
            (pushes, pushed_at) = (pushes + 1, Some(Instant::now()));
        }
        let (expected, got) = (expected(), counts(collector.points()));
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
    assert_eq!(
        quantiles::misread(&[750_000, 1_000_000, 1_250_000], channel("email")),
        None
    );
    assert_eq!(quantiles::misread(&[2_000_000], channel("unknown")), None);
    assert!(points.last(joins::OPEN).values().all(|open| open.number() == 0.0));
    let mut outcomes: BTreeMap<String, i64> = BTreeMap::new();
    for (labels, count) in points.counts(RECORDS).into_iter().filter(|(_, count)| *count != 0) {
        *outcomes.entry(labels["outcome"].clone()).or_default() += count;
    }
    // What pushed last may still be on its way.
    let pushed = outcomes.remove("filtered").unwrap_or(0);
    assert!((1..=pushes * 4 * i64::from(PARTITIONS)).contains(&pushed), "{pushed}");
    let right = [("counted".to_owned(), written - 1), ("malformed".to_owned(), 1)];
    assert_eq!(outcomes, right.into());
    instance.stop();
    assert_eq!(application.audit().0, Some(0));
    let faults = collector.points().faults();
    assert!(faults.is_empty(), "{faults:?}");
}
