//! Transactions: what is seen of them, their offsets, and producers that are too old.

use streamgauge::engine::time::Span;
use streamgauge::memory::{MarkerDelay, TopicOptions};
use streamgauge::runtime::log::{Committed, Log};

use super::*;

fn committed(log: &mut MemoryLog) -> Result<Option<(i64, String)>, LogError> {
    let committed = log.committed(&[at("t", 0)])?;
    Ok(committed[0]
        .clone()
        .map(|committed| (committed.offset, committed.metadata)))
}

/// A member of `g` on topic `t` with an open transaction that has one record for `out`.
fn working(cluster: &Cluster, mut log: MemoryLog, value: &str) -> MemoryLog {
    log = joined(log, "t");
    log.init_transactions(false).expect("the first of this id");
    log.begin().expect("ready");
    send(&mut log, "out", 0, value).expect("open");
    assert_eq!(committed_values(cluster, "out", 0), [""; 0]);
    log
}

fn cluster_in_out() -> Cluster {
    let cluster = cluster_with("t", 1);
    cluster
        .create_topic("out", 1, TopicOptions::default())
        .expect("a new topic");
    cluster
}

#[test]
fn aborted_data_is_never_seen_and_its_offsets_are_not_committed() {
    let cluster = cluster_in_out();
    let mut log = working(&cluster, dynamic(&cluster, "w"), "aborted");
    log.send_offsets(&[offset("t", 0, 7, "m")]).expect("a member");
    log.abort().expect("open");
    assert_eq!(committed(&mut log), Ok(None));
    log.begin().expect("ready");
    send(&mut log, "out", 0, "committed").expect("open");
    log.commit().expect("open");
    assert_eq!(committed_values(&cluster, "out", 0), ["committed"]);
    assert_eq!(cluster.log_end("out", 0), Ok(4), "two records and two markers");
}

#[test]
fn offsets_and_metadata_become_the_groups_with_the_commit() {
    let cluster = cluster_in_out();
    let mut log = working(&cluster, dynamic(&cluster, "w"), "v");
    log.send_offsets(&[offset("t", 0, 7, "first")]).expect("a member");
    log.send_offsets(&[offset("t", 0, 9, "ledger")]).expect("a member");
    assert!(
        matches!(committed(&mut log), Err(LogError::Retry(_))),
        "unstable while the transaction is open"
    );
    log.commit().expect("open");
    assert_eq!(committed(&mut log), Ok(Some((9, "ledger".to_owned()))));
}

#[test]
fn a_transaction_of_offsets_alone_commits_them() {
    let cluster = cluster_in_out();
    let mut log = joined(dynamic(&cluster, "w"), "t");
    log.init_transactions(false).expect("first");
    log.begin().expect("ready");
    log.send_offsets(&[offset("t", 0, 3, "")]).expect("a member");
    log.commit().expect("open");
    assert_eq!(committed(&mut log), Ok(Some((3, String::new()))));
    log.begin().expect("ready");
    log.commit().expect("an empty transaction commits");
}

#[test]
fn an_operator_moves_and_deletes_offsets() {
    let cluster = cluster_in_out();
    let mut log = dynamic(&cluster, "w");
    cluster.alter_offset(
        "g",
        at("t", 0),
        Committed {
            offset: 5,
            metadata: String::new(),
        },
    );
    assert_eq!(committed(&mut log), Ok(Some((5, String::new()))));
    cluster.delete_offset("g", &at("t", 0));
    assert_eq!(committed(&mut log), Ok(None));
}

#[test]
fn a_zombie_cannot_commit_after_its_expiry() {
    let cluster = cluster_in_out();
    let mut zombie = working(&cluster, dynamic(&cluster, "zombie"), "twice");
    assert!(cluster.expire_member("g", zombie.member_id().expect("joined")));
    let mut heir = joined(dynamic(&cluster, "heir"), "t");
    assert!(zombie.is_member(), "it has not heard of it");
    let refused = zombie.send_offsets(&[offset("t", 0, 7, "")]);
    assert!(matches!(refused, Err(LogError::Abort(_))), "{refused:?}");
    assert!(
        matches!(zombie.commit(), Err(LogError::Abort(_))),
        "nothing but an abort helps"
    );
    zombie.abort().expect("open");
    assert_eq!(committed_values(&cluster, "out", 0), [""; 0]);
    assert_eq!(committed(&mut heir), Ok(None));
}

#[test]
fn offsets_of_an_older_generation_are_refused_until_the_member_has_polled() {
    let cluster = cluster_in_out();
    let mut log = working(&cluster, dynamic(&cluster, "old"), "v");
    let _other = joined(dynamic(&cluster, "new"), "t");
    assert!(matches!(
        log.send_offsets(&[offset("t", 0, 1, "")]),
        Err(LogError::Abort(_))
    ));
    log.abort().expect("open");
    poll_and_answer(&mut log);
    log.begin().expect("ready");
    log.send_offsets(&[offset("t", 0, 1, "")])
        .expect("the generation is known now");
    log.commit().expect("open");
}

#[test]
fn without_a_member_id_nothing_is_committed() {
    let cluster = cluster_in_out();
    let mut log = producer(&cluster, "w");
    log.begin().expect("ready");
    assert!(!log.is_member());
    assert!(matches!(
        log.send_offsets(&[offset("t", 0, 1, "")]),
        Err(LogError::Abort(_))
    ));
}

#[test]
fn init_transactions_fences_the_older_producer_and_settles_its_transaction() {
    let cluster = cluster_in_out();
    let mut old = working(&cluster, dynamic(&cluster, "same"), "old");
    let mut new = producer(&cluster, "same");
    assert_eq!(
        cluster.last_stable_offset("out", 0),
        cluster.log_end("out", 0),
        "the old transaction is settled"
    );
    assert!(matches!(send(&mut old, "out", 0, "more"), Err(LogError::Fatal(_))));
    assert!(matches!(old.commit(), Err(LogError::Fatal(_))));
    assert!(matches!(old.begin(), Err(LogError::Fatal(_))), "it stays spent");
    new.begin().expect("ready");
    send(&mut new, "out", 0, "new").expect("open");
    new.commit().expect("open");
    assert_eq!(committed_values(&cluster, "out", 0), ["new"]);
    old.init_transactions(true)
        .expect("a new producer may take the id back");
    assert!(matches!(
        new.begin().and_then(|()| send(&mut new, "out", 0, "x")),
        Err(LogError::Fatal(_))
    ));
}

#[test]
fn a_producer_that_was_replaced_by_name_is_fenced() {
    let cluster = cluster_in_out();
    let mut old = working(&cluster, named(&cluster, "i"), "old");
    let mut new = named(&cluster, "i");
    new.init_transactions(false).expect("the id is free to take");
    assert!(matches!(old.commit(), Err(LogError::Fenced(_))));
    assert_eq!(committed_values(&cluster, "out", 0), [""; 0]);
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted_and_its_producer_spent() {
    let cluster = cluster_in_out();
    let mut log = working(&cluster, dynamic(&cluster, "slow"), "late");
    produce(&cluster, "out", 0, "behind");
    cluster.tick(seconds(9));
    assert_eq!(committed_values(&cluster, "out", 0), [""; 0]);
    cluster.tick(seconds(10));
    assert_eq!(committed_values(&cluster, "out", 0), ["behind"]);
    assert!(matches!(log.commit(), Err(LogError::Fatal(_))));
    log.init_transactions(true).expect("a new producer");
    log.begin().expect("ready");
    send(&mut log, "out", 0, "again").expect("open");
    log.commit().expect("open");
    assert_eq!(committed_values(&cluster, "out", 0), ["behind", "again"]);
}

#[test]
fn a_commit_is_decided_before_its_markers_are_written() {
    let cluster = cluster_in_out();
    let mut log = working(&cluster, dynamic(&cluster, "w"), "v");
    log.send_offsets(&[offset("t", 0, 1, "")]).expect("a member");
    cluster.delay_markers(MarkerDelay {
        partitions: Span::seconds(3),
        offsets: Span::seconds(1),
    });
    log.commit().expect("decided");
    assert_eq!(cluster.last_stable_offset("out", 0), Ok(0));
    assert!(matches!(committed(&mut log), Err(LogError::Retry(_))));
    cluster.tick(seconds(1));
    assert_eq!(
        committed(&mut log),
        Ok(Some((1, String::new()))),
        "offsets may be stable"
    );
    assert_eq!(cluster.last_stable_offset("out", 0), Ok(0), "before the records are");
    cluster.tick(seconds(3));
    assert_eq!(committed_values(&cluster, "out", 0), ["v"]);
}

#[test]
fn the_next_transaction_waits_until_the_last_one_is_complete() {
    let cluster = cluster_in_out();
    let mut log = working(&cluster, dynamic(&cluster, "w"), "first");
    cluster.delay_markers(MarkerDelay {
        partitions: Span::seconds(1),
        offsets: Span::ZERO,
    });
    log.commit().expect("decided");
    log.begin().expect("begin is local");
    send(&mut log, "out", 0, "second").expect("waits in the producer");
    assert!(matches!(
        log.send_offsets(&[offset("t", 0, 1, "")]),
        Err(LogError::Retry(_))
    ));
    assert!(matches!(log.commit(), Err(LogError::Retry(_))));
    cluster.delay_markers(MarkerDelay::default());
    cluster.tick(seconds(1));
    log.send_offsets(&[offset("t", 0, 1, "")]).expect("complete");
    log.commit().expect("asked again");
    assert_eq!(committed_values(&cluster, "out", 0), ["first", "second"]);
}

#[test]
fn a_successor_waits_for_a_decided_commit_and_does_not_undo_it() {
    let cluster = cluster_in_out();
    let mut log = working(&cluster, dynamic(&cluster, "w"), "v");
    cluster.delay_markers(MarkerDelay {
        partitions: Span::seconds(1),
        offsets: Span::seconds(1),
    });
    log.commit().expect("decided");
    log.crash();
    let mut heir = dynamic(&cluster, "w");
    assert!(matches!(heir.init_transactions(false), Err(LogError::Retry(_))));
    cluster.tick(seconds(1));
    heir.init_transactions(false).expect("complete");
    assert_eq!(committed_values(&cluster, "out", 0), ["v"]);
}

#[test]
fn a_zombie_writes_nothing_behind_the_marker_that_ended_its_transaction() {
    let cluster = cluster_in_out();
    let mut zombie = working(&cluster, dynamic(&cluster, "same"), "a");
    cluster.delay_markers(MarkerDelay {
        partitions: Span::seconds(1),
        offsets: Span::ZERO,
    });
    let mut heir = dynamic(&cluster, "same");
    assert!(matches!(heir.init_transactions(false), Err(LogError::Retry(_))));
    send(&mut zombie, "out", 0, "b").expect("the partition has not heard of the heir");
    cluster.tick(seconds(1));
    assert!(matches!(send(&mut zombie, "out", 0, "c"), Err(LogError::Fatal(_))));
    assert_eq!(cluster.last_stable_offset("out", 0), Ok(3), "nothing hangs");
    assert_eq!(committed_values(&cluster, "out", 0), [""; 0]);
}

#[test]
fn what_can_never_succeed_is_refused_by_name() {
    let cluster = cluster_in_out();
    let options = TopicOptions {
        compact: true,
        max_message_bytes: 10,
        ..TopicOptions::default()
    };
    cluster.create_topic("small", 1, options).expect("a new topic");
    let mut log = joined(dynamic(&cluster, "w"), "t");
    log.init_transactions(false).expect("first");
    log.begin().expect("ready");
    let Err(LogError::Refused(message)) = send(&mut log, "small", 0, "0123456789") else {
        panic!("too large")
    };
    assert!(message.contains("small") && message.contains("11 bytes"), "{message}");
    let keyless = Send {
        topic: "small",
        partition: 0,
        key: None,
        value: None,
        headers: &[],
    };
    assert!(matches!(log.send(keyless), Err(LogError::Refused(_))));
    let Err(LogError::Refused(message)) = send(&mut log, "nowhere", 0, "") else {
        panic!("no such topic")
    };
    assert!(message.contains("nowhere"), "{message}");
    log.send_offsets(&[offset("t", 0, 1, &"m".repeat(4_096))])
        .expect("the limit is allowed");
    assert!(matches!(
        log.send_offsets(&[offset("t", 0, 1, &"m".repeat(4_097))]),
        Err(LogError::Refused(_))
    ));
}

#[test]
fn calls_out_of_order_are_fatal() {
    let cluster = cluster_in_out();
    let mut log = dynamic(&cluster, "w");
    assert!(
        matches!(log.begin(), Err(LogError::Fatal(_))),
        "before init_transactions"
    );
    log.init_transactions(true).expect("a new producer");
    assert!(
        matches!(send(&mut log, "out", 0, "x"), Err(LogError::Fatal(_))),
        "before begin"
    );
    log.init_transactions(true).expect("a new producer");
    assert!(matches!(log.commit(), Err(LogError::Fatal(_))), "before begin");
}

#[test]
fn headers_are_kept() {
    let cluster = cluster_in_out();
    let mut log = producer(&cluster, "w");
    log.begin().expect("ready");
    let headers = [("reason", "malformed")];
    log.send(Send {
        topic: "out",
        partition: 0,
        key: None,
        value: Some(b"v"),
        headers: &headers,
    })
    .expect("open");
    log.commit().expect("open");
    let (records, next) = cluster.read("out", 0, 0).expect("it exists");
    assert_eq!(records[0].headers, [("reason".to_owned(), "malformed".to_owned())]);
    assert_eq!(next, 2);
}
