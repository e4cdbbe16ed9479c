//! Who owns which partition.

use super::*;

#[test]
fn two_members_share_six_partitions_and_positions_count_control_records() {
    let server = broker();
    server.create_topic("coop.in", 6, &[]);
    let cluster = cluster(&server);
    let mut writer = client(&cluster, "coop-writer", "coop-writer");
    until_answered(|| writer.init_transactions(false));
    writer.begin().expect("a transaction");
    for partition in 0..6 {
        for value in ["a", "b", "c"] {
            writer.send(record("coop.in", partition, value)).expect("room");
        }
    }
    until_answered(|| writer.commit());

    let mut first = joined(&cluster, "coop", None, "coop-1", &["coop.in"]);
    first.until("all is read", |member| member.records.len() == 18);
    assert_eq!(first.owned.len(), 6);
    let all: Vec<TopicPartition> = first.owned.iter().cloned().collect();
    first.for_a_while(Duration::from_millis(500));
    // Three records and a marker in each.
    assert_eq!(first.log.positions(&all).expect("positions"), vec![Some(4); 6]);

    let mut second = joined(&cluster, "coop", None, "coop-2", &["coop.in"]);
    let deadline = Instant::now() + LONG;
    while first.owned.len() != 3 || second.owned.len() != 3 {
        first.turn().expect("a turn");
        second.turn().expect("a turn");
        assert!(Instant::now() < deadline, "{:?} {:?}", first.owned, second.owned);
    }
    assert!(first.owned.is_disjoint(&second.owned));
    assert!(
        first.changes.iter().all(|change| !matches!(change, Change::Lost(_))),
        "{:?}",
        first.changes
    );
    // Cooperative: what stays was never taken away.
    let revoked: usize = first
        .changes
        .iter()
        .map(|c| if let Change::Revoked(gone) = c { gone.len() } else { 0 })
        .sum();
    assert_eq!(revoked, 3);

    // A member that leaves gives its partitions back at once.
    second.log.close();
    first.until("all are back", |member| member.owned.len() == 6);
    assert!(matches!(second.log.begin(), Err(LogError::Fatal(_))));
}

#[test]
fn a_named_instance_that_restarts_takes_its_partitions_back_at_once() {
    let server = broker();
    server.create_topic("static.in", 4, &[]);
    let cluster = cluster(&server);
    let mut other = joined(&cluster, "static", Some("b"), "static-b", &["static.in"]);
    let mut named = joined(&cluster, "static", Some("a"), "static-a", &["static.in"]);
    let deadline = Instant::now() + LONG;
    while named.owned.len() != 2 || other.owned.len() != 2 {
        named.turn().expect("a turn");
        other.turn().expect("a turn");
        assert!(Instant::now() < deadline, "{:?} {:?}", named.owned, other.owned);
    }
    let (had, seen) = (named.owned.clone(), other.changes.len());
    named.log.close();
    other.for_a_while(Duration::from_millis(500));
    let began = Instant::now();
    let mut again = joined(&cluster, "static", Some("a"), "static-a", &["static.in"]);
    while again.owned.is_empty() {
        again.turn().expect("a turn");
        other.turn().expect("a turn");
        assert!(began.elapsed() < LONG);
    }
    println!("a named instance had its partitions back after {:?}", began.elapsed());
    assert_eq!(again.owned, had);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    assert_eq!(
        other.changes.len(),
        seen,
        "the other member saw nothing: {:?}",
        other.changes
    );
}

#[test]
fn a_partition_that_an_instance_left_in_the_middle_of_a_rebalance_finds_an_owner() {
    let server = broker();
    server.create_topic("orphan.in", 3, &[]);
    let cluster = cluster(&server);
    let mut first = joined(&cluster, "orphan", Some("a"), "orphan-a", &["orphan.in"]);
    first.until("it has all", |member| member.owned.len() == 3);
    let mut second = joined(&cluster, "orphan", Some("b"), "orphan-b", &["orphan.in"]);
    // A partition is taken from the first one, which dies before it could ask for the second round.
    let deadline = Instant::now() + LONG;
    let taken = loop {
        second.turn().expect("a turn");
        first
            .log
            .poll(Duration::from_millis(20), 500, &mut |_, _, _| true)
            .expect("a poll");
        if let Some(Change::Revoked(taken)) = first.log.changes().into_iter().next() {
            break taken;
        }
        assert!(Instant::now() < deadline, "nothing is taken from the first one");
    };
    drop(first);
    let mut again = joined(&cluster, "orphan", Some("a"), "orphan-a", &["orphan.in"]);
    let owned = |again: &Member, second: &Member| again.owned.len() + second.owned.len();
    let deadline = Instant::now() + LONG;
    while owned(&again, &second) < 2 {
        again.turn().expect("a turn");
        second.turn().expect("a turn");
        assert!(Instant::now() < deadline, "{:?} {:?}", again.owned, second.owned);
    }
    let end = Instant::now() + Duration::from_secs(8);
    while Instant::now() < end {
        again.turn().expect("a turn");
        second.turn().expect("a turn");
    }
    let is_owned = |member: &Member| taken.iter().any(|partition| member.owned.contains(partition));
    assert!(
        !is_owned(&again) && !is_owned(&second),
        "brokers and clients leave {taken:?} to nobody"
    );
    let watched = Watched {
        group: "orphan".to_owned(),
        topics: vec!["orphan.in".to_owned()],
    };
    let watch = OrphanWatch::start(&connection(&server, &[]), vec![watched]).expect("a thread");
    let deadline = Instant::now() + LONG;
    while owned(&again, &second) < 3 {
        again.turn().expect("a turn");
        second.turn().expect("a turn");
        assert!(Instant::now() < deadline, "{:?} {:?}", again.owned, second.owned);
    }
    drop(watch);
    assert!(again.owned.is_disjoint(&second.owned));
}

#[test]
fn the_older_of_two_instances_of_one_name_ends() {
    let server = broker();
    server.create_topic("double.in", 2, &[]);
    let cluster = cluster(&server);
    let mut older = joined(&cluster, "double", Some("a"), "double-a", &["double.in"]);
    // As every worker does first: the producer's coordinator is who knows which of the two is the newer.
    while older.log.init_transactions(false).is_err() {}
    older.until("it has its partitions", |member| member.owned.len() == 2);
    let mut newer = joined(&cluster, "double", Some("a"), "double-a", &["double.in"]);
    while newer.log.init_transactions(false).is_err() {}
    let deadline = Instant::now() + LONG;
    let error = loop {
        newer.turn().expect("the newer goes on");
        match older.turn() {
            Ok(()) => assert!(Instant::now() < deadline, "the older goes on"),
            Err(error) => break error,
        }
    };
    let LogError::Fenced(said) = &error else {
        panic!("{error:?}")
    };
    assert!(said.contains("`a`") && said.contains("double"), "{said}");
    newer.until("it has the partitions", |member| member.owned.len() == 2);
    older.log.close();
}

#[test]
fn a_topic_that_does_not_exist_is_told_waited_for_and_not_created() {
    let server = broker();
    let cluster = cluster(&server);
    let mut member = joined(&cluster, "later", None, "later-1", &["later.in"]);
    member.until("it is told", |m| {
        m.notices.contains(&Notice::UnknownTopic("later.in".to_owned()))
    });
    let counts = until_answered(|| member.log.partition_counts(&["later.in".to_owned()]));
    assert_eq!(counts, BTreeMap::new());
    member.for_a_while(Duration::from_secs(1));
    let (_, topics) = describe(cluster.connection(), &["later.in".to_owned()]).expect("an answer");
    assert_eq!(topics[0].partitions, None);
    assert!(
        !server
            .tool("org.apache.kafka.tools.TopicCommand", &["--list"])
            .contains("later.in"),
        "it was created"
    );
    server.create_topic("later.in", 3, &[]);
    member.until("it is found", |member| member.owned.len() == 3);
}
