use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::*;

const START: EventTime = EventTime(1_795_356_000_000_000);

fn simulator(seed: u64) -> Simulator {
    Simulator::new(seed, SimulatorOptions::at(START))
}

/// A counted record as somebody else reads it.
fn parsed(record: &Simulated) -> Value {
    serde_json::from_slice(record.value.as_deref().expect("a counted record has a value")).expect("and it is JSON")
}

#[test]
fn the_same_seed_writes_the_same_bytes() {
    assert!(simulator(1).take(20_000).eq(simulator(1).take(20_000)));
    assert!(!simulator(1).take(100).eq(simulator(2).take(100)));
}

#[test]
fn records_are_written_in_order_and_over_all_topics_and_partitions() {
    let records: Vec<Simulated> = simulator(4).take(200_000).collect();
    assert!(records.windows(2).all(|pair| pair[0].at <= pair[1].at));
    let topics: BTreeSet<Topic> = records.iter().map(|record| record.topic).collect();
    assert_eq!(topics.len(), Topic::ALL.len());
    let partitions: BTreeSet<(Topic, u32)> = records.iter().map(|record| (record.topic, record.partition)).collect();
    assert!(partitions.iter().all(|(_, partition)| *partition < 6));
    assert!(partitions.iter().filter(|(topic, _)| *topic == Topic::Raw).count() == 6);
}

#[test]
fn a_key_has_one_partition() {
    let mut partitions: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
    for record in simulator(5).take(50_000) {
        if let Some(key) = record.key {
            assert_eq!(*partitions.entry(key).or_insert(record.partition), record.partition);
        }
    }
}

#[test]
fn counted_records_say_what_their_truth_says() {
    for record in simulator(6)
        .take(100_000)
        .filter(|record| record.truth.fate == Fate::Counted)
    {
        let json = parsed(&record);
        assert_eq!(json["producer_id"], record.truth.producer.name());
        let data = &json["data"];
        match record.truth.adds {
            Adds::Message(channel) => assert_eq!(data["channel"], channel.name()),
            Adds::Ticket { customer, priority } => {
                assert_eq!(json["event_type"], "ticket_created");
                assert_eq!(data["ticket_data"]["priority"], priority.name());
                assert_eq!(
                    data["ticket_data"]["customer_id"].as_str().is_some_and(is_full),
                    customer.is_some()
                );
            }
            Adds::Request {
                conversation,
                customer,
                channel,
            } => {
                let content = &data["normalized_content"];
                assert_eq!(record.topic, Topic::Normalized);
                assert_eq!(
                    data["correlation_id"].as_str().is_some_and(is_full),
                    conversation.is_some()
                );
                assert_eq!(content["customer_id"].as_str().is_some_and(is_full), customer.is_some());
                assert_eq!(content["channel"].as_str(), channel.map(Channel::name));
            }
            Adds::Response { conversation, channel } => {
                assert_eq!(record.topic, Topic::Responses);
                assert_eq!(
                    data["correlation_id"].as_str().is_some_and(is_full),
                    conversation.is_some()
                );
                assert_eq!(data["response"]["channel"].as_str(), channel.map(Channel::name));
            }
            Adds::Identity(resolution, success) => {
                let full = |field: &Value| field.as_str().is_some_and(|text| !text.is_empty());
                let found = match data.get("resolution_type").and_then(Value::as_str) {
                    Some(said) => said,
                    None if full(&data["identity_data"]["email"]) => "email",
                    None if full(&data["identity_data"]["phone"]) => "phone",
                    None => "none",
                };
                assert_eq!(found, resolution.name(), "{json}");
                assert_eq!(full(&data["customer_id"]), success, "{json}");
            }
            Adds::Nothing => assert_ne!(json["event_type"], "ticket_created"),
        }
    }
}

fn is_full(text: &str) -> bool {
    !text.is_empty()
}

/// What is joined of a long morning: requests by conversation, responses by conversation, tickets.
type Joined = (
    BTreeMap<u64, Vec<Simulated>>,
    BTreeMap<u64, Vec<Simulated>>,
    Vec<Simulated>,
);

fn joined() -> Joined {
    let mut joined = Joined::default();
    let options = SimulatorOptions {
        rate: 2_000,
        ..SimulatorOptions::at(START)
    };
    for record in Simulator::new(11, options).take(300_000) {
        match record.truth.adds {
            Adds::Request {
                conversation: Some(id), ..
            } => joined.0.entry(id).or_default().push(record),
            Adds::Response {
                conversation: Some(id), ..
            } => joined.1.entry(id).or_default().push(record),
            Adds::Ticket { .. } => joined.2.push(record),
            _ => {}
        }
    }
    joined
}

#[test]
fn conversations_go_every_way_that_a_join_must_tell_apart() {
    let (requests, responses, _) = joined();
    let percent = |part: usize| part * 100 / requests.len();
    // The last ones are still under way.
    let of = |is: &dyn Fn(i64, &[Simulated]) -> bool| {
        let all = requests.iter();
        let took = all.filter(|(id, asked)| {
            let answers = responses.get(id).map_or(&[][..], Vec::as_slice);
            is(asked[0].truth.time.0, answers)
        });
        took.count()
    };
    let first = |asked: i64, answers: &[Simulated]| answers.iter().map(|answer| answer.truth.time.0 - asked).min();
    let never = of(&|_, answers| answers.is_empty());
    let quick = of(&|asked, answers| first(asked, answers).is_some_and(|took| took < 20_000_000));
    let too_late = of(&|asked, answers| first(asked, answers).is_some_and(|took| took > 30_000_000));
    let backwards = of(&|asked, answers| first(asked, answers).is_some_and(|took| took < 0));
    let twice = of(&|_, answers| answers.len() > 1);
    let repeated = requests.values().filter(|asked| asked.len() > 1).count();
    let unasked = responses.keys().filter(|id| !requests.contains_key(id)).count();
    assert!((7..20).contains(&percent(never)), "{never} of {}", requests.len());
    assert!((75..95).contains(&percent(quick)), "{quick} of {}", requests.len());
    for (name, count) in [
        ("too late", too_late),
        ("backwards", backwards),
        ("twice", twice),
        ("repeated", repeated),
        ("unasked", unasked),
    ] {
        assert!((100..2_500).contains(&count), "{name}: {count} of {}", requests.len());
    }
}

#[test]
fn customers_change_their_channel_and_some_tickets_are_of_others() {
    let (requests, _, tickets) = joined();
    let mut channels: BTreeMap<u32, BTreeSet<Channel>> = BTreeMap::new();
    for record in requests.values().flatten() {
        if let Adds::Request {
            customer: Some(customer),
            channel: Some(channel),
            ..
        } = record.truth.adds
        {
            channels.entry(customer).or_default().insert(channel);
        }
    }
    assert!(channels.values().filter(|used| used.len() > 1).count() > 1_000);
    let strangers = tickets.iter().filter(|ticket| match ticket.truth.adds {
        Adds::Ticket { customer, .. } => customer.is_some_and(|customer| !channels.contains_key(&customer)),
        _ => false,
    });
    let strangers = strangers.count();
    assert!((200..2_000).contains(&strangers), "{strangers} of {}", tickets.len());
}

#[test]
fn some_messages_carry_their_writers_trace_context() {
    let (requests, responses, _) = joined();
    let contexts: Vec<&str> = requests
        .values()
        .flatten()
        .flat_map(|request| request.headers.iter().map(|(_, value)| value.as_str()))
        .collect();
    let right = contexts.iter().filter(|context| context.len() == 55).count();
    assert!(right * 100 / requests.len() >= 15, "{right} of {}", requests.len());
    assert!(right < contexts.len(), "some are not as they must be");
    assert!(responses.values().flatten().all(|response| response.headers.is_empty()));
}

/// What another reader makes of an envelope's time: seconds since the epoch.
fn instant(json: &Value) -> Option<f64> {
    match &json["timestamp"] {
        Value::String(text) => {
            let zoned = if text.contains('+') {
                text.clone()
            } else {
                format!("{text}Z")
            };
            let time: jiff::Timestamp = zoned.parse().ok()?;
            Some(time.as_microsecond() as f64 / 1e6)
        }
        Value::Number(number) if number.is_u64() => number.as_f64().map(|millis| millis / 1e3),
        Value::Number(number) => number.as_f64(),
        _ => None,
    }
}

#[test]
fn times_lie_where_the_options_say() {
    let (mut late, mut zones) = (0, BTreeSet::new());
    for record in simulator(7)
        .take(100_000)
        .filter(|record| record.truth.fate == Fate::Counted)
    {
        let json = parsed(&record);
        let time = instant(&json).expect("a counted record has a time");
        assert!(
            (time - record.truth.time.0 as f64 / 1e6).abs() < 1e-5,
            "{time} {:?}",
            record.truth
        );
        let delay = (record.at.0 - record.truth.time.0) as f64 / 1e6;
        let most = if record.topic.is_joined() { 3.0 } else { 31.0 };
        assert!((0.0..=most).contains(&delay), "{delay} {json}");
        late += u32::from(delay > 5.0);
        zones.insert(match &json["timestamp"] {
            Value::String(text) => text.len(),
            _ => 0,
        });
    }
    assert!((120..300).contains(&late), "{late}");
    assert_eq!(
        zones,
        BTreeSet::from([0, 19, 26, 32]),
        "epoch, naive without and with microseconds, zoned"
    );
}

#[test]
fn malformed_records_are_malformed_to_others_too() {
    let options = SimulatorOptions {
        malformed: Share::percent(50),
        ..SimulatorOptions::at(START)
    };
    let mut kinds = BTreeSet::new();
    for record in Simulator::new(8, options).take(50_000) {
        let Fate::Malformed(kind) = record.truth.fate else {
            continue;
        };
        kinds.insert(kind);
        let Some(value) = &record.value else { continue };
        let Ok(json) = serde_json::from_slice::<Value>(value) else {
            continue;
        };
        let has_channel = record.topic != Topic::Raw || json["data"]["channel"].is_string();
        assert!(instant(&json).is_none() || !has_channel, "{kind:?} {json}");
    }
    assert_eq!(kinds.len(), 17);
}

#[test]
fn future_records_are_days_ahead_and_oversize_ones_are_large() {
    let options = SimulatorOptions {
        future: Share::percent(10),
        oversize: Share::percent(1),
        ..SimulatorOptions::at(START)
    };
    let (mut future, mut oversize) = (0, 0);
    for record in Simulator::new(9, options).take(2_000) {
        match record.truth.fate {
            Fate::Future => {
                let ahead = instant(&parsed(&record)).expect("a time") - record.at.0 as f64 / 1e6;
                assert!(ahead > 300.0, "{ahead}");
                future += 1;
            }
            Fate::Oversize => {
                assert!(record.value.as_ref().is_some_and(|value| value.len() > 1 << 20));
                assert!(parsed(&record).is_object());
                oversize += 1;
            }
            _ => {}
        }
    }
    assert!(future > 100 && oversize > 5, "{future} {oversize}");
}

#[test]
fn the_rate_of_a_whole_day_is_the_rate_that_was_asked_for() {
    let options = SimulatorOptions {
        rate: 5_000,
        day: Span::seconds(24),
        ..SimulatorOptions::at(START)
    };
    let until = WallTime(START.0 + 24_000_000);
    let written = Simulator::new(10, options)
        .take_while(|record| record.at < until)
        .count();
    assert!((105_000..135_000).contains(&written), "{written}");
}
