//! What the broker knows: log ends, ids, topics.

use super::*;

#[test]
fn the_log_end_is_the_high_watermark_also_behind_an_open_transaction() {
    let server = broker();
    server.create_topic("open.in", 1, &[]);
    produce(&server, "open.in", 0, 3);
    let cluster = cluster(&server);
    let input = place("open.in", 0);
    let mut writer = client(&cluster, "open-writer", "open-1");
    until_answered(|| writer.init_transactions(false));
    writer.begin().expect("a transaction");
    writer.send(record("open.in", 0, "hanging")).expect("room");
    let mut reader = client(&cluster, "open", "open-2");
    let deadline = Instant::now() + LONG;
    while until_answered(|| reader.log_end(&input)) != 4 {
        writer
            .poll(Duration::from_millis(50), 1, &mut |_, _, _| true)
            .expect("a poll");
        assert!(Instant::now() < deadline, "the record did not leave");
    }
    let asked_at = std::time::SystemTime::now();
    reader.sample_log_ends(std::slice::from_ref(&input));
    let mut answers = Vec::new();
    while answers.is_empty() {
        answers = reader.log_ends();
        assert!(Instant::now() < deadline, "no answer");
        std::thread::sleep(Duration::from_millis(20));
    }
    let (partition, end, sampled_at) = answers[0].clone();
    assert_eq!((partition, end), (input.clone(), 4));
    let asked_at = asked_at
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_micros();
    assert!(
        u128::try_from(sampled_at.0).expect("after 1970") >= asked_at,
        "older than the question"
    );

    until_answered(|| reader.restore_start(&input));
    let mut read = 0;
    let mut position = 0;
    for _ in 0..10 {
        position = reader
            .restore_poll(&input, Duration::from_millis(100), &mut |_, _| read += 1)
            .expect("a poll");
    }
    assert_eq!((read, position), (3, 3), "stops at the last stable offset");
    until_answered(|| writer.commit());
    while position < 5 {
        position = reader
            .restore_poll(&input, Duration::from_millis(100), &mut |_, _| read += 1)
            .expect("a poll");
        assert!(Instant::now() < deadline, "{position}");
    }
    assert_eq!(read, 4);
    assert_eq!(until_answered(|| reader.offset_at(&input, WallTime(0))), 0);
    assert_eq!(until_answered(|| reader.offset_at(&input, WallTime(i64::MAX / 4))), 5);
}

#[test]
fn a_topic_that_is_gone_does_not_hold_up_the_log_ends_of_others() {
    let server = broker();
    server.create_topic("ends.in", 2, &[]);
    produce(&server, "ends.in", 1, 7);
    let cluster = cluster(&server);
    let mut log = client(&cluster, "ends", "ends-1");
    let wanted = [place("ends.gone", 0), place("ends.in", 0), place("ends.in", 1)];
    let deadline = Instant::now() + LONG;
    let mut rounds = BTreeMap::new();
    while rounds.len() < 5 {
        log.sample_log_ends(&wanted);
        for (partition, end, sampled_at) in log.log_ends() {
            rounds
                .entry(sampled_at)
                .or_insert_with(BTreeMap::new)
                .insert(partition, end);
        }
        std::thread::sleep(Duration::from_millis(50));
        assert!(Instant::now() < deadline, "{rounds:?}");
    }
    for ends in rounds.values() {
        assert_eq!(
            ends,
            &BTreeMap::from([(place("ends.in", 0), 0), (place("ends.in", 1), 7)])
        );
    }
    // Asked anew each time, half a second apart, once the silent topic is known.
    let times: Vec<i64> = rounds.keys().map(|time| time.0).collect();
    assert!(times[4] - times[1] < 5_000_000, "{times:?}");
}

#[test]
fn a_topic_that_was_created_anew_has_another_id() {
    let server = broker();
    let cluster = cluster(&server);
    let mut log = client(&cluster, "ids", "ids-1");
    assert!(matches!(log.topic_id("ids.in"), Err(LogError::Retry(_))));
    server.create_topic("ids.in", 2, &[]);
    let first = until_answered(|| log.topic_id("ids.in"));
    assert_ne!(first, [0; 16]);
    assert_eq!(until_answered(|| log.topic_id("ids.in")), first);
    let counts = until_answered(|| log.partition_counts(&["ids.in".to_owned(), "ids.none".to_owned()]));
    assert_eq!(counts, BTreeMap::from([("ids.in".to_owned(), 2)]));
    server.tool(
        "org.apache.kafka.tools.TopicCommand",
        &["--delete", "--topic", "ids.in"],
    );
    server.create_topic("ids.in", 2, &[]);
    // A broker may answer from what it knew a moment before.
    common::eventually("the topic has another id", LONG, || {
        let now = until_answered(|| log.topic_id("ids.in"));
        (now != first).then_some(()).ok_or_else(|| format!("still {now:?}"))
    });
}

fn spec(name: &str, partitions: u32, cleanup: Cleanup) -> TopicSpec {
    TopicSpec {
        name: name.to_owned(),
        partitions,
        cleanup,
        retention_ms: Some(-1),
        max_message_bytes: 8 * 1024 * 1024,
        replication: None,
    }
}

#[test]
fn internal_topics_are_created_once_and_verified() {
    let server = broker();
    let connection = connection(&server, &[]);
    let specs = [
        spec("app-gauge-repartition", 6, Cleanup::Delete),
        spec("app-gauge-changelog", 6, Cleanup::Compact),
    ];
    // Two instances at once.
    let made: Vec<String> = std::thread::scope(|scope| {
        let starts = [(); 2].map(|()| scope.spawn(|| ensure_topics(&connection, &specs).expect("topics")));
        starts
            .into_iter()
            .flat_map(|start| start.join().expect("a start").created)
            .collect()
    });
    assert_eq!(made.iter().collect::<BTreeSet<_>>().len(), 2, "{made:?}");
    let again = ensure_topics(&connection, &specs).expect("topics");
    assert_eq!((again.created, again.notes), (vec![], vec![]));
    let told = server.tool(
        "org.apache.kafka.tools.TopicCommand",
        &["--describe", "--topic", "app-gauge-repartition"],
    );
    assert!(
        told.contains("max.message.bytes=8388608") && told.contains("retention.ms=-1"),
        "{told}"
    );

    let error = ensure_topics(&connection, &[spec("app-gauge-repartition", 12, Cleanup::Delete)]).unwrap_err();
    assert!(
        matches!(error, EnsureError::Partitions { has: 6, wants: 12, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("--shuffle-partitions 6"), "{error}");
    let error = ensure_topics(&connection, &[spec("app-gauge-changelog", 6, Cleanup::Delete)]).unwrap_err();
    assert!(matches!(error, EnsureError::Cleanup { .. }), "{error}");

    server.create_topic("app-otlp-metrics", 2, &[]);
    let noted = ensure_topics(&connection, &[spec("app-otlp-metrics", 2, Cleanup::Delete)]).expect("topics");
    assert!(
        noted.notes[0].contains("max.message.bytes=1048588"),
        "{:?}",
        noted.notes
    );
}

#[test]
fn the_cluster_says_who_it_is() {
    let server = broker();
    server.create_topic("who.in", 2, &[]);
    let connection = connection(&server, &[]);
    let info = cluster_info(&connection).expect("an answer");
    assert_eq!(info.brokers.len(), 1);
    assert_eq!(info.brokers[0].address, server.bootstrap());
    assert_eq!(info.id.len(), 22, "{}", info.id);
    let (same, topics) = describe(&connection, &["who.in".to_owned(), "who.else".to_owned()]).expect("an answer");
    assert_eq!(same.id, info.id);
    assert_eq!(
        topics.iter().map(|topic| topic.partitions).collect::<Vec<_>>(),
        vec![Some(2), None]
    );
}
