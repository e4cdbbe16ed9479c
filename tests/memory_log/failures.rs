//! Injected failures: what is lost is the request or the answer, never both ways at once.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use streamgauge::memory::{CallPoint, Caller, Fault};
use streamgauge::runtime::log::Log;

use super::*;

/// Fails the next call at `point`.
fn fail_once(cluster: &Cluster, point: CallPoint, fault: Fault) {
    let mut left = Some(fault);
    cluster.inject(Some(Box::new(
        move |asked: CallPoint, _: Caller<'_>| {
            if asked == point { left.take() } else { None }
        },
    )));
}

fn open(cluster: &Cluster) -> MemoryLog {
    let mut log = producer(cluster, "w");
    log.begin().expect("ready");
    send(&mut log, "t", 0, "v").expect("open");
    log
}

#[test]
fn a_commit_whose_answer_is_lost_has_happened() {
    let cluster = cluster_with("t", 1);
    let mut log = open(&cluster);
    fail_once(
        &cluster,
        CallPoint::CommitAfter,
        Fault::unanswered(LogError::Fatal("outcome unknown".to_owned())),
    );
    assert_eq!(log.commit(), Err(LogError::Fatal("outcome unknown".to_owned())));
    assert!(matches!(log.begin(), Err(LogError::Fatal(_))), "the producer is spent");
    assert_eq!(committed_values(&cluster, "t", 0), ["v"]);
    log.init_transactions(true).expect("a new producer");
    assert_eq!(committed_values(&cluster, "t", 0), ["v"], "a commit is not undone");
}

#[test]
fn a_commit_that_never_arrived_is_aborted_by_the_next_producer() {
    let cluster = cluster_with("t", 1);
    let mut log = open(&cluster);
    fail_once(
        &cluster,
        CallPoint::CommitBefore,
        Fault::lost(LogError::Fatal("outcome unknown".to_owned())),
    );
    assert!(matches!(log.commit(), Err(LogError::Fatal(_))));
    assert_eq!(cluster.last_stable_offset("t", 0), Ok(0), "it stays open");
    log.init_transactions(true).expect("a new producer");
    assert_eq!(cluster.last_stable_offset("t", 0), Ok(2));
    assert_eq!(committed_values(&cluster, "t", 0), [""; 0]);
}

#[test]
fn a_commit_that_is_asked_again_commits_once() {
    let cluster = cluster_with("t", 1);
    for point in [CallPoint::CommitBefore, CallPoint::CommitAfter] {
        let mut log = open(&cluster);
        fail_once(&cluster, point, Fault::lost(LogError::Retry("timed out".to_owned())));
        assert!(matches!(log.commit(), Err(LogError::Retry(_))));
        log.commit().expect("asked again");
        log.begin().expect("ready for the next one");
    }
    assert_eq!(committed_values(&cluster, "t", 0), ["v", "v"]);
}

#[test]
fn an_abortable_failure_leaves_nothing_but_the_abort() {
    let cluster = cluster_with("t", 1);
    let mut log = open(&cluster);
    fail_once(
        &cluster,
        CallPoint::Send,
        Fault::unanswered(LogError::Abort("timed out".to_owned())),
    );
    assert!(matches!(send(&mut log, "t", 0, "w"), Err(LogError::Abort(_))));
    assert!(matches!(send(&mut log, "t", 0, "x"), Err(LogError::Abort(_))));
    assert!(matches!(log.commit(), Err(LogError::Abort(_))));
    log.abort().expect("open");
    assert_eq!(committed_values(&cluster, "t", 0), [""; 0]);
    assert_eq!(
        cluster.log_end("t", 0),
        Ok(3),
        "the record whose answer was lost lies in the log, aborted"
    );
    log.begin().expect("ready");
}

#[test]
fn an_abort_that_is_asked_again_is_answered() {
    let cluster = cluster_with("t", 1);
    let mut log = open(&cluster);
    fail_once(
        &cluster,
        CallPoint::Abort,
        Fault::unanswered(LogError::Retry("timed out".to_owned())),
    );
    assert!(matches!(log.abort(), Err(LogError::Retry(_))));
    log.abort().expect("asked again");
    log.begin().expect("ready");
    assert_eq!(cluster.log_end("t", 0), Ok(2), "one marker");
}

#[test]
fn a_poll_that_fails_hands_out_nothing_and_loses_nothing() {
    let cluster = cluster_with("t", 1);
    let mut log = joined(dynamic(&cluster, "r"), "t");
    produce(&cluster, "t", 0, "v");
    fail_once(
        &cluster,
        CallPoint::Poll,
        Fault::lost(LogError::Retry("broker away".to_owned())),
    );
    let mut seen = 0;
    let failed = log.poll(Duration::ZERO, 10, &mut |_, _, _| {
        seen += 1;
        true
    });
    assert_eq!((failed, seen), (Err(LogError::Retry("broker away".to_owned())), 0));
    assert_eq!(poll(&mut log), [(0, "v".to_owned())]);
}

#[test]
fn sampled_ends_that_are_held_back_come_later() {
    let cluster = cluster_with("t", 1);
    let mut log = dynamic(&cluster, "r");
    log.sample_log_ends(&[at("t", 0)]);
    fail_once(
        &cluster,
        CallPoint::LogEnds,
        Fault::lost(LogError::Retry(String::new())),
    );
    assert_eq!(log.log_ends(), []);
    assert_eq!(log.log_ends(), [(at("t", 0), 0, START)]);
}

#[test]
fn a_fault_knows_whose_call_it_is() {
    let cluster = cluster_with("t", 1);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    cluster.inject(Some(Box::new(move |point: CallPoint, caller: Caller<'_>| {
        let who = (point, caller.group.to_owned(), caller.instance.map(str::to_owned));
        seen.lock()
            .expect("one thread")
            .push((who, caller.transactional_id.to_owned()));
        None
    })));
    named(&cluster, "i").init_transactions(false).expect("first");
    let who = (CallPoint::InitTransactions, "g".to_owned(), Some("i".to_owned()));
    assert_eq!(*asked.lock().expect("one thread"), [(who, "i".to_owned())]);
    cluster.inject(None);
    named(&cluster, "i").init_transactions(false).expect("second");
    assert_eq!(asked.lock().expect("one thread").len(), 1);
}
