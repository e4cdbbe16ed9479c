//! What a transaction is worth: seen whole or never, fenced, refused, resumed.

use super::*;

#[test]
fn a_transaction_is_seen_only_when_committed_with_its_offsets_and_metadata() {
    let server = broker();
    server.create_topic("tx.in", 1, &[]);
    server.create_topic("tx.out", 1, &[]);
    produce(&server, "tx.in", 0, 5);
    let cluster = cluster(&server);
    let (input, output) = (place("tx.in", 0), place("tx.out", 0));
    let mut member = joined(&cluster, "tx", None, "tx-1", &["tx.in"]);
    member.until("all is read", |member| member.records.len() == 5);
    assert_eq!(member.position(&input), Some(5));

    until_answered(|| member.log.init_transactions(false));
    member.log.begin().expect("a transaction");
    for value in ["a", "b"] {
        let headers = [("reason", "malformed")];
        member
            .log
            .send(Send {
                headers: &headers,
                ..record("tx.out", 0, value)
            })
            .expect("room");
    }
    member
        .log
        .send(Send {
            value: None,
            ..record("tx.out", 0, "")
        })
        .expect("room");
    until_answered(|| member.log.send_offsets(&[offset(&input, 5, "états: 5")]));

    let mut onlooker = client(&cluster, "tx", "tx-2");
    assert!(
        matches!(
            onlooker.committed(std::slice::from_ref(&input)),
            Err(LogError::Retry(_))
        ),
        "unstable"
    );
    until_answered(|| onlooker.restore_start(&output));
    let mut seen = 0;
    let position = onlooker
        .restore_poll(&output, Duration::from_millis(500), &mut |_, _| seen += 1)
        .expect("a poll");
    assert_eq!((seen, position), (0, 0));
    onlooker.restore_stop(&output);

    until_answered(|| member.log.commit());
    let committed = until_answered(|| onlooker.committed(std::slice::from_ref(&input)));
    let committed = committed[0].as_ref().expect("an offset");
    assert_eq!((committed.offset, committed.metadata.as_str()), (5, "états: 5"));
    // Three records and the transaction's marker.
    assert_eq!(
        read_all(&mut onlooker, &output),
        (vec!["a".to_owned(), "b".to_owned(), "(none)".to_owned()], 4)
    );

    let offsets = fetch_group_offsets(
        cluster.connection(),
        "tx",
        Some(&["tx.in".to_owned(), "tx.out".to_owned()]),
    );
    assert_eq!(offsets.expect("offsets"), vec![(input.clone(), committed.clone())]);

    // Whoever only looks does not wait for the next transaction.
    member.log.begin().expect("a transaction");
    member.log.send(record("tx.out", 0, "c")).expect("room");
    until_answered(|| member.log.send_offsets(&[offset(&input, 4, "")]));
    let mut stranger = client(&cluster, "strangers", "tx-3");
    stranger.sample_commits("tx", &[input.clone(), place("tx.in", 9)]);
    let deadline = Instant::now() + LONG;
    let mut answers = Vec::new();
    while answers.is_empty() {
        assert!(Instant::now() < deadline, "no answer");
        std::thread::sleep(Duration::from_millis(20));
        answers = stranger.commits();
    }
    assert_eq!(answers, [(input, committed.clone())]);
    until_answered(|| member.log.abort());
}

#[test]
fn what_was_aborted_is_never_seen_and_is_sent_again() {
    let server = broker();
    server.create_topic("abort.out", 1, &[]);
    let cluster = cluster(&server);
    let mut log = client(&cluster, "abort", "abort-1");
    until_answered(|| log.init_transactions(false));
    log.begin().expect("a transaction");
    log.send(record("abort.out", 0, "first try")).expect("room");
    until_answered(|| log.abort());
    log.begin().expect("a transaction");
    log.send(record("abort.out", 0, "second try")).expect("room");
    until_answered(|| log.commit());
    // The abort may have purged the record before it left, so the position has no fixed value.
    assert_eq!(
        read_all(&mut log, &place("abort.out", 0)).0,
        vec!["second try".to_owned()]
    );
}

#[test]
fn a_second_producer_fences_the_first() {
    let server = broker();
    server.create_topic("fence.out", 1, &[]);
    let cluster = cluster(&server);
    for (instance, id) in [(Some("a"), "fence-named"), (None, "fence-random")] {
        let mut older = cluster.client(options("fence", instance, id)).expect("a log");
        until_answered(|| older.init_transactions(false));
        older.begin().expect("a transaction");
        older.send(record("fence.out", 0, "older")).expect("room");
        let mut newer = cluster.client(options("fence", instance, id)).expect("a log");
        until_answered(|| newer.init_transactions(false));
        newer.begin().expect("a transaction");
        newer.send(record("fence.out", 0, id)).expect("room");
        until_answered(|| newer.commit());
        let error = loop {
            match older.commit() {
                Err(LogError::Retry(_)) => {}
                other => break other,
            }
        };
        match instance {
            Some(_) => assert!(matches!(error, Err(LogError::Fenced(_))), "{error:?}"),
            None => assert!(matches!(error, Err(LogError::Fatal(_))), "{error:?}"),
        }
    }
    let mut log = client(&cluster, "fence", "fence-reader");
    let seen = read_all(&mut log, &place("fence.out", 0)).0;
    assert_eq!(seen, vec!["fence-named".to_owned(), "fence-random".to_owned()]);
}

#[test]
fn a_transaction_that_the_coordinator_gave_up_costs_a_producer_not_the_instance() {
    let server = Kafka::start_with(&[("transaction.abort.timed.out.transaction.cleanup.interval.ms", "500")]);
    server.create_topic("slow.out", 1, &[]);
    let cluster = KafkaCluster::new(connection(&server, &[("transaction.timeout.ms", "2000")])).expect("a cluster");
    let mut log = cluster.client(options("slow", Some("a"), "slow-a")).expect("a log");
    until_answered(|| log.init_transactions(false));
    log.begin().expect("a transaction");
    log.send(record("slow.out", 0, "too late")).expect("room");
    // Brings the record to the broker, so that the coordinator knows of the transaction.
    for _ in 0..20 {
        log.poll(Duration::from_millis(250), 1, &mut |_, _, _| true)
            .expect("a poll");
    }
    let error = loop {
        match log.commit() {
            Err(LogError::Retry(_)) => {}
            other => break other,
        }
    };
    assert!(
        matches!(error, Err(LogError::Fatal(_) | LogError::Abort(_))),
        "{error:?}"
    );
    until_answered(|| log.init_transactions(true));
    log.begin().expect("a transaction");
    log.send(record("slow.out", 0, "in time")).expect("room");
    until_answered(|| log.commit());
    assert_eq!(read_all(&mut log, &place("slow.out", 0)).0, vec!["in time".to_owned()]);
}

#[test]
fn a_member_that_was_put_out_of_its_group_cannot_commit() {
    let server = broker();
    server.create_topic("stale.in", 2, &[]);
    produce(&server, "stale.in", 0, 3);
    let slow = connection(
        &server,
        &[("max.poll.interval.ms", "6000"), ("session.timeout.ms", "6000")],
    );
    let slow = KafkaCluster::new(slow).expect("a cluster");
    let input = place("stale.in", 0);
    let mut member = joined(&slow, "stale", None, "stale-1", &["stale.in"]);
    member.until("all is read", |member| member.records.len() == 3);
    assert!(member.log.is_member());
    until_answered(|| member.log.init_transactions(false));
    member.log.begin().expect("a transaction");

    // Without a poll for longer than max.poll.interval.ms the group goes on without this member.
    std::thread::sleep(Duration::from_millis(7_500));
    let refused = member.log.send_offsets(&[offset(&input, 3, "stale")]);
    assert!(matches!(refused, Err(LogError::Abort(_))), "{refused:?}");
    assert!(!member.log.is_member());
    until_answered(|| member.log.abort());

    member.until("the loss is told", |m| {
        m.changes.iter().any(|change| matches!(change, Change::Lost(_)))
    });
    member.until("it is back", |member| member.owned.len() == 2);
    let committed = until_answered(|| member.log.committed(std::slice::from_ref(&input)));
    assert_eq!(committed, vec![None]);
}

#[test]
fn a_record_that_is_too_large_is_refused_with_its_topic_and_size() {
    let server = broker();
    server.create_topic("small.out", 1, &[("max.message.bytes", "2000")]);
    let cluster = cluster(&server);
    let mut log = client(&cluster, "small", "small-1");
    until_answered(|| log.init_transactions(false));
    log.begin().expect("a transaction");
    // Random enough that compression does not make it small.
    let value: String = (0..20_000_u32)
        .map(|n| char::from(b'!' + (n.wrapping_mul(2_654_435_761) >> 25) as u8 % 90))
        .collect();
    log.send(record("small.out", 0, &value)).expect("room");
    let error = loop {
        match log.commit() {
            Err(LogError::Retry(_)) => {}
            other => break other,
        }
    };
    let Err(LogError::Refused(said)) = error else {
        panic!("{error:?}")
    };
    assert!(said.contains("small.out") && said.contains("20003 bytes"), "{said}");

    until_answered(|| log.abort());
    log.begin().expect("a transaction");
    let refused = log.send(record("small.out", 7, "x"));
    assert!(matches!(refused, Ok(()) | Err(LogError::Refused(_))), "{refused:?}");
}

#[test]
fn a_commit_goes_on_when_the_broker_comes_back() {
    let mut server = Kafka::start();
    server.create_topic("away.in", 1, &[]);
    server.create_topic("away.out", 1, &[]);
    produce(&server, "away.in", 0, 1);
    // The broker needs some seconds to come back, and then the test's machine may be slow.
    let cluster = KafkaCluster::new(connection(&server, &[("transaction.timeout.ms", "60000")])).expect("a cluster");
    let mut member = joined(&cluster, "away", None, "away-1", &["away.in"]);
    member.until("it is read", |member| member.records.len() == 1);
    until_answered(|| member.log.init_transactions(false));
    member.log.begin().expect("a transaction");
    member.log.send(record("away.out", 0, "once")).expect("room");
    until_answered(|| member.log.send_offsets(&[offset(&place("away.in", 0), 1, "")]));
    server.kill();
    let waiting = member.log.commit();
    assert!(matches!(waiting, Err(LogError::Retry(_))), "{waiting:?}");
    member.until("the trouble is told", |m| !m.notices.is_empty());
    let Some(Notice::Trouble(said)) = member.notices.first() else {
        panic!("{:?}", member.notices)
    };
    assert!(
        said.contains("--bootstrap") && said.contains(&server.bootstrap()),
        "{said}"
    );
    server.resume();
    let deadline = Instant::now() + LONG;
    while let Err(error) = member.log.commit() {
        assert!(matches!(error, LogError::Retry(_)), "{error}");
        member.turn().expect("a turn");
        assert!(Instant::now() < deadline, "{error}");
    }
    let told = member
        .notices
        .iter()
        .filter(|notice| matches!(notice, Notice::Trouble(_)))
        .count();
    assert!(told <= 4, "{:?}", member.notices);
    assert_eq!(
        read_all(&mut member.log, &place("away.out", 0)).0,
        vec!["once".to_owned()]
    );
}

#[test]
fn a_commit_with_offsets_takes_milliseconds() {
    let server = broker();
    server.create_topic("speed.in", 1, &[]);
    server.create_topic("speed.out", 6, &[]);
    produce(&server, "speed.in", 0, 1);
    let cluster = cluster(&server);
    let mut member = joined(&cluster, "speed", None, "speed-1", &["speed.in"]);
    member.until("it is read", |member| member.records.len() == 1);
    until_answered(|| member.log.init_transactions(false));
    let value = "x".repeat(10_000);
    let mut took: Vec<Duration> = (0..40)
        .map(|number| {
            // As a worker does it: by the next seal the markers of the last transaction are written.
            std::thread::sleep(Duration::from_millis(100));
            let began = Instant::now();
            member.log.begin().expect("a transaction");
            for partition in 0..6 {
                member.log.send(record("speed.out", partition, &value)).expect("room");
            }
            let offsets = [offset(&place("speed.in", 0), 1, &format!("commit {number}"))];
            until_answered(|| member.log.send_offsets(&offsets));
            let offsets_sent = began.elapsed();
            until_answered(|| member.log.commit());
            if number == 20 {
                println!(
                    "offsets were sent after {offsets_sent:?}, committed after {:?}",
                    began.elapsed()
                );
            }
            began.elapsed()
        })
        .collect();
    took.sort();
    println!(
        "a transaction of 6 records and an offset: median {:?}, slowest {:?}",
        took[20], took[39]
    );
    assert!(took[20] < Duration::from_millis(500), "{took:?}");
}
