//! What a reader is handed, and what not.

use super::*;

#[test]
fn an_offset_out_of_range_is_told_with_its_partition_and_can_be_left() {
    let server = broker();
    server.create_topic("range.in", 3, &[]);
    for partition in 0..3 {
        produce(&server, "range.in", partition, 10);
    }
    let cluster = cluster(&server);
    let cut = place("range.in", 1);
    let mut member = joined(&cluster, "range", None, "range-1", &["range.in"]);
    member.log.trim(&[(cut.clone(), 6)]);
    let deadline = Instant::now() + LONG;
    while until_answered(|| member.log.log_start(&cut)) != 6 {
        assert!(Instant::now() < deadline, "not trimmed");
    }
    member.until("the others are read and it is told", |member| {
        member.records.len() == 20 && member.notices.contains(&Notice::OutOfRange(cut.clone()))
    });
    assert_eq!(member.notices, vec![Notice::OutOfRange(cut.clone())]);
    until_answered(|| member.log.seek(&[(cut.clone(), 6)]));
    member.until("the rest is read", |member| member.records.len() == 24);
    let offsets: Vec<i64> = member.records.iter().filter(|r| r.0 == cut).map(|r| r.1).collect();
    assert_eq!(offsets, vec![6, 7, 8, 9]);
    assert_eq!(member.position(&cut), Some(10));
}

#[test]
fn a_paused_partition_delivers_nothing_and_loses_nothing() {
    let server = broker();
    server.create_topic("pause.in", 2, &[]);
    produce(&server, "pause.in", 0, 1_000);
    produce(&server, "pause.in", 1, 1_000);
    let cluster = cluster(&server);
    let paused = place("pause.in", 0);
    let mut member = joined(&cluster, "pause", None, "pause-1", &["pause.in"]);
    member.until("it has its partitions", |member| member.owned.len() == 2);
    // Takes one record, so that many are buffered behind it.
    let deadline = Instant::now() + LONG;
    let mut taken = Vec::new();
    while taken.is_empty() {
        let mut sink = |topic: &str, partition: u32, record: streamgauge::engine::task::Record<'_>| {
            taken.push((place(topic, partition), record.offset));
            assert!(matches!(record.stamp, Stamp::Created(WallTime(micros)) if micros > 1_600_000_000_000_000));
            false
        };
        member
            .log
            .poll(Duration::from_millis(100), 500, &mut sink)
            .expect("a poll");
        assert!(Instant::now() < deadline);
    }
    assert_eq!(taken.len(), 1, "the sink ended the batch");
    member.records.extend(
        taken
            .into_iter()
            .map(|(partition, offset)| (partition, offset, String::new())),
    );
    member.log.pause(std::slice::from_ref(&paused)).expect("a pause");
    let before = member.records.iter().filter(|r| r.0 == paused).count();
    member.until("the other is read", |m| {
        m.records.iter().filter(|r| r.0 != paused).count() == 1_000
    });
    member.for_a_while(Duration::from_millis(500));
    assert_eq!(
        member.records.iter().filter(|r| r.0 == paused).count(),
        before,
        "delivered while paused"
    );
    member.log.resume(std::slice::from_ref(&paused)).expect("a resume");
    member.until("all is read", |member| member.records.len() >= 2_000);
    let offsets: Vec<i64> = member.records.iter().filter(|r| r.0 == paused).map(|r| r.1).collect();
    assert_eq!(offsets, (0..1_000).collect::<Vec<i64>>());

    // Seeking back while paused drops what is buffered and delivers from there.
    member.records.clear();
    until_answered(|| member.log.seek(&[(paused.clone(), 990)]));
    member.until("the end is read again", |member| member.records.len() == 10);
    assert_eq!(member.records[0].1, 990);
}

#[test]
fn a_partition_assigned_paused_waits_for_resume() {
    let server = broker();
    server.create_topic("wait.in", 1, &[]);
    produce(&server, "wait.in", 0, 10);
    let cluster = cluster(&server);
    let input = place("wait.in", 0);
    let mut log = client(&cluster, "wait", "wait-1");
    log.subscribe(&["wait.in".to_owned()]).expect("a subscription");
    let deadline = Instant::now() + LONG;
    let mut read = Vec::new();
    loop {
        log.poll(Duration::from_millis(50), 100, &mut |_, _, record| {
            read.push(record.offset);
            true
        })
        .expect("a poll");
        if let Some(Change::Assigned(partitions)) = log.changes().pop() {
            assert_eq!(partitions, vec![input.clone()]);
            break;
        }
        assert!(Instant::now() < deadline, "not assigned");
    }
    log.assign(&[(input.clone(), 4)], true).expect("an answer");
    for _ in 0..20 {
        log.poll(Duration::from_millis(50), 100, &mut |_, _, _| {
            panic!("delivered while paused")
        })
        .expect("a poll");
    }
    log.resume(std::slice::from_ref(&input)).expect("a resume");
    while read.len() < 6 {
        log.poll(Duration::from_millis(50), 100, &mut |_, _, record| {
            read.push(record.offset);
            true
        })
        .expect("a poll");
        assert!(Instant::now() < deadline, "{read:?}");
    }
    assert_eq!(read, (4..10).collect::<Vec<i64>>());
}

#[test]
fn changelogs_are_restored_side_by_side_up_to_the_high_watermark() {
    let server = broker();
    server.create_topic("state.changelog", 3, &[("cleanup.policy", "compact")]);
    let cluster = cluster(&server);
    let mut log = client(&cluster, "state", "state-1");
    until_answered(|| log.init_transactions(false));
    for _ in 0..3 {
        log.begin().expect("a transaction");
        for number in 0..1_000 {
            let value = number.to_string();
            log.send(record("state.changelog", number % 2, &value)).expect("room");
        }
        until_answered(|| log.commit());
    }
    let [even, odd, empty] = [0, 1, 2].map(|partition| place("state.changelog", partition));
    until_answered(|| log.restore_start(&even));
    until_answered(|| log.restore_start(&odd));
    let mut values = [Vec::new(), Vec::new()];
    let mut positions = [0, 0];
    let deadline = Instant::now() + LONG;
    while positions != [1_503, 1_503] {
        for (index, partition) in [&even, &odd].into_iter().enumerate() {
            let mut sink = |_: &[u8], value: Option<&[u8]>| {
                let text = String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
                values[index].push(text.parse::<usize>().expect("a number"));
            };
            positions[index] = log
                .restore_poll(partition, Duration::from_millis(50), &mut sink)
                .expect("a position");
        }
        assert!(Instant::now() < deadline, "{positions:?}");
    }
    for (remainder, values) in values.iter().enumerate() {
        assert_eq!(values.len(), 1_500);
        assert!(
            values.iter().all(|value| value % 2 == remainder),
            "records of the other partition"
        );
    }
    log.restore_stop(&even);
    // A second reading starts over, also while another one goes on.
    let (again, position) = read_all(&mut log, &even);
    assert_eq!((again.len(), position), (1_500, 1_503));
    assert_eq!(read_all(&mut log, &empty), (Vec::new(), 0));
    log.restore_stop(&odd);
}

#[test]
fn headers_are_there_for_those_who_ask_and_the_last_of_a_name_counts() {
    use rdkafka::message::{Header, OwnedHeaders};
    use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
    let server = broker();
    server.create_topic("headers.in", 1, &[]);
    let writer: BaseProducer = server.client().create().expect("a producer");
    let all = [
        ("traceparent", Some(&b"old"[..])),
        ("traceparent", Some(b"new")),
        ("bytes", Some(b"\xff\x00")),
        ("null", None),
    ];
    let headers = all.into_iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
        headers.insert(Header { key, value })
    });
    for headers in [headers, OwnedHeaders::new()] {
        let record = BaseRecord::<[u8], [u8]>::to("headers.in").payload(b"value");
        writer.send(record.headers(headers)).expect("there is room");
    }
    writer.flush(LONG).expect("the broker takes them");
    let cluster = cluster(&server);
    let mut member = joined(&cluster, "headers", None, "headers-1", &["headers.in"]);
    member.until("it has its partition", |member| member.owned.len() == 1);
    let deadline = Instant::now() + LONG;
    let mut found = Vec::new();
    while found.len() < 2 {
        let mut sink = |_: &str, _: u32, record: streamgauge::engine::task::Record<'_>| {
            let of = |name: &str| record.headers.last(name).map(<[u8]>::to_vec);
            found.push(["traceparent", "bytes", "null", "Traceparent"].map(of));
            true
        };
        until_answered(|| member.log.poll(Duration::from_millis(20), 500, &mut sink));
        assert!(Instant::now() < deadline, "nothing is delivered");
    }
    let expected = [Some(b"new".to_vec()), Some(b"\xff\x00".to_vec()), None, None];
    assert_eq!(found, [expected, [None, None, None, None]]);
}
