//! Membership: who owns what, when a member hears of it, and what a name is worth.

use std::time::Duration;

use streamgauge::engine::time::Span;
use streamgauge::runtime::log::{Change, Log};

use super::*;

fn generation(cluster: &Cluster) -> i32 {
    cluster.group("g").expect("somebody joined").generation
}

#[test]
fn a_join_moves_half_of_the_partitions_after_they_were_given_back_and_the_others_flow_on() {
    let cluster = cluster_with("t", 4);
    let mut first = joined(dynamic(&cluster, "1"), "t");
    assert_eq!(owned(&cluster, &first), BTreeSet::from([0, 1, 2, 3]));
    let mut second = dynamic(&cluster, "2");
    second.subscribe(&["t".to_owned()]).expect("no faults");
    poll(&mut second);
    assert_eq!(second.changes(), [], "nothing before the old owner has answered");
    assert_eq!(owned(&cluster, &second), BTreeSet::new());

    poll(&mut first);
    let changes = first.changes();
    let [Change::Revoked(moving)] = &changes[..] else {
        panic!("{changes:?}")
    };
    assert_eq!(moving.len(), 2);
    for partition in 0..4 {
        produce(&cluster, "t", partition, "x");
    }
    let kept: BTreeSet<u32> = (0..4)
        .filter(|partition| !moving.contains(&at("t", *partition)))
        .collect();
    let flowing: BTreeSet<u32> = poll(&mut first).into_iter().map(|(partition, _)| partition).collect();
    assert!(flowing.is_superset(&kept), "{flowing:?}");
    poll(&mut second);
    assert_eq!(second.changes(), []);

    let before = generation(&cluster);
    first.unassign(moving).expect("no faults");
    assert_eq!(
        generation(&cluster),
        before + 1,
        "the second round of the cooperative protocol"
    );
    assert_eq!(poll_and_answer(&mut second), [Change::Assigned(moving.clone())]);
    assert_eq!(poll_and_answer(&mut first), [], "kept partitions are not touched");
    assert_eq!(owned(&cluster, &first), kept);
    assert_eq!(poll(&mut second).len(), 2);
}

#[test]
fn what_a_member_leaves_goes_to_the_others_at_once() {
    let cluster = cluster_with("t", 4);
    let mut first = joined(dynamic(&cluster, "1"), "t");
    let mut second = joined(dynamic(&cluster, "2"), "t");
    settle(&mut [&mut first, &mut second]);
    let left = owned(&cluster, &second);
    second.close();
    let changes = poll_and_answer(&mut first);
    assert_eq!(
        changes,
        [Change::Assigned(
            left.into_iter().map(|partition| at("t", partition)).collect()
        )]
    );
}

#[test]
fn an_expired_member_hears_of_its_loss_at_its_next_poll_and_joins_again_after_its_answer() {
    let cluster = cluster_with("t", 2);
    let mut log = joined(dynamic(&cluster, "1"), "t");
    let before = log.member_id();
    assert!(cluster.expire_member("g", before.expect("joined")));
    produce(&cluster, "t", 0, "x");
    assert_eq!(poll(&mut log), [], "lost partitions are silent");
    assert!(!log.is_member());
    assert_eq!(log.changes(), [Change::Lost(vec![at("t", 0), at("t", 1)])]);
    poll(&mut log);
    assert_eq!(log.changes(), [], "not before the answer");
    log.unassign(&[at("t", 0), at("t", 1)]).expect("no faults");
    assert_eq!(
        poll_and_answer(&mut log),
        [Change::Assigned(vec![at("t", 0), at("t", 1)])]
    );
    assert_ne!(log.member_id(), before);
}

#[test]
fn an_assignment_that_was_never_heard_of_is_not_lost() {
    let cluster = cluster_with("t", 1);
    let mut log = dynamic(&cluster, "1");
    log.subscribe(&["t".to_owned()]).expect("no faults");
    poll(&mut log);
    cluster.expire_member("g", log.member_id().expect("joined"));
    poll(&mut log);
    assert_eq!(log.changes(), [], "the old assignment was never handed out");
    assert_eq!(poll_and_answer(&mut log), [Change::Assigned(vec![at("t", 0)])]);
}

#[test]
fn a_named_member_that_restarts_takes_its_partitions_back_without_a_new_generation() {
    let cluster = cluster_with("t", 4);
    let mut first = joined(named(&cluster, "a"), "t");
    let mut second = joined(named(&cluster, "b"), "t");
    settle(&mut [&mut first, &mut second]);
    let (before, had) = (generation(&cluster), owned(&cluster, &second));
    second.crash();
    let mut again = named(&cluster, "b");
    again.subscribe(&["t".to_owned()]).expect("no faults");
    let assigned = poll_and_answer(&mut again);
    assert_eq!(
        assigned,
        [Change::Assigned(
            had.iter().map(|partition| at("t", *partition)).collect()
        )]
    );
    assert_eq!(generation(&cluster), before);
    assert_eq!(poll_and_answer(&mut first), []);

    again.close();
    assert_eq!(generation(&cluster), before, "a clean stop keeps the place as well");
    assert_eq!(poll_and_answer(&mut first), []);
}

#[test]
fn the_older_member_of_a_name_is_fenced() {
    let cluster = cluster_with("t", 1);
    let mut old = joined(named(&cluster, "a"), "t");
    old.init_transactions(false).expect("first");
    old.begin().expect("ready");
    let mut new = joined(named(&cluster, "a"), "t");
    assert!(matches!(
        old.send_offsets(&[offset("t", 0, 1, "")]),
        Err(LogError::Fenced(_))
    ));
    assert!(matches!(
        old.poll(Duration::ZERO, 1, &mut |_, _, _| true),
        Err(LogError::Fenced(_))
    ));
    assert_eq!(poll_and_answer(&mut new), []);
    assert_eq!(owned(&cluster, &new), BTreeSet::from([0]));
}

#[test]
fn a_restart_in_the_middle_of_a_hand_over_completes_it() {
    let cluster = cluster_with("t", 2);
    let mut first = joined(named(&cluster, "a"), "t");
    let mut second = joined(named(&cluster, "b"), "t");
    poll(&mut first);
    assert!(matches!(&first.changes()[..], [Change::Revoked(_)]));
    first.crash();
    let mut again = joined(named(&cluster, "a"), "t");
    settle(&mut [&mut again, &mut second]);
    assert_eq!(owned(&cluster, &again).len(), 1);
    assert_eq!(owned(&cluster, &second).len(), 1);
}

#[test]
fn a_crashed_member_keeps_its_partitions_until_its_session_ends() {
    let cluster = cluster_with("t", 2);
    let session = |id: &str| {
        let options = ClientOptions {
            session_timeout: Some(Span::seconds(6)),
            ..ClientOptions::new("g", id)
        };
        cluster.client(options)
    };
    let mut first = joined(session("1"), "t");
    let mut second = joined(session("2"), "t");
    settle(&mut [&mut first, &mut second]);
    assert!(second.crash().is_some());
    cluster.tick(seconds(5));
    assert_eq!(poll_and_answer(&mut first), []);
    cluster.tick(seconds(6));
    assert!(matches!(&poll_and_answer(&mut first)[..], [Change::Assigned(partitions)] if partitions.len() == 1));
    assert_eq!(
        owned(&cluster, &first),
        BTreeSet::from([0, 1]),
        "the first one has polled in time"
    );
}

#[test]
fn new_partitions_and_new_subscriptions_balance_the_group_again() {
    let cluster = cluster_with("t", 2);
    let mut log = joined(dynamic(&cluster, "1"), "t");
    cluster.add_partitions("t", 3).expect("it exists");
    assert_eq!(poll_and_answer(&mut log), [Change::Assigned(vec![at("t", 2)])]);
    cluster.create_topic("u", 1, Default::default()).expect("a new topic");
    assert_eq!(poll_and_answer(&mut log), []);
    log.subscribe(&["u".to_owned()]).expect("no faults");
    settle(&mut [&mut log]);
    let group = cluster.group("g").expect("somebody joined");
    assert_eq!(group.members[0].owned, BTreeSet::from([at("u", 0)]));
}

#[test]
fn groups_do_not_know_of_each_other() {
    let cluster = cluster_with("t", 1);
    let mut first = joined(dynamic(&cluster, "1"), "t");
    let mut other = cluster.client(ClientOptions::new("other", "2"));
    other.subscribe(&["t".to_owned()]).expect("no faults");
    assert_eq!(poll_and_answer(&mut other), [Change::Assigned(vec![at("t", 0)])]);
    assert_eq!(poll_and_answer(&mut first), []);
    assert_eq!(cluster.groups(), ["g", "other"]);
}
