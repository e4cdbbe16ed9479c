//! The offset index of a topic of which lag is wanted.

use super::*;
use crate::engine::index::Stretch;
use crate::engine::names::Names;
use crate::engine::plan::Lag;

fn wanting(topics: Names) -> Arc<Plan> {
    let mut plan = Arc::into_inner(plan()).expect("nobody else has it");
    plan.lag = Some(Lag {
        topics,
        ..Lag::of_all(0)
    });
    Arc::new(plan)
}

fn open_with(plan: &Arc<Plan>, at: Open<'_>) -> TapTask {
    let mut task = TapTask::open(plan, PARTITIONS, TOPIC, 4, at).expect("opens");
    task.accept(Input::Time(wall(0))).expect("time is taken");
    task
}

const FRESH: Open<'_> = Open::Fresh {
    start: 100,
    topic_id: ID,
};

/// What one seal says of the index: first and next offset, records, bytes of each entry.
fn said(output: &Output) -> Vec<(i64, i64, u64, u64)> {
    let stretches = output
        .index
        .iter()
        .map(|bytes| Stretch::read(bytes).expect("a stretch"));
    let entries = stretches.flat_map(|stretch| {
        assert_eq!((stretch.topic.as_str(), stretch.partition), (TOPIC, 4));
        assert_eq!(stretch.topic_id, ID);
        stretch.entries
    });
    entries
        .map(|entry| (entry.first, entry.next, entry.records(), entry.bytes))
        .collect()
}

#[test]
fn each_seal_tells_of_every_offset_since_the_last_whatever_became_of_it() {
    let mut task = open_with(&wanting(Names::default()), FRESH);
    let oversize = "x".repeat(2_000);
    give(&mut task, 100, &ticket(NOW, "high"));
    give(&mut task, 103, "not json");
    give(&mut task, 104, &oversize);
    give(&mut task, 105, &ticket("2026-11-22T15:00:00", "future"));
    give(&mut task, 106, &format!(r#"{{"timestamp": "{NOW}"}}"#));
    task.accept(Input::Position { next: 108 }).expect("taken");
    let bytes = ticket(NOW, "high").len() + 8 + 2_000 + ticket("2026-11-22T15:00:00", "future").len() + 36;
    let output = task.seal().expect("it moved");
    assert_eq!(said(&output), [(100, 108, 5, bytes as u64)]);
    let outcomes = counts(&task);
    assert_eq!(outcomes["absent"], 3, "{outcomes:?}");

    task.accept(Input::Position { next: 109 }).expect("taken");
    assert_eq!(said(&task.seal().expect("it moved")), [(108, 109, 0, 0)]);
    task.accept(Input::Expired { start: 120 }).expect("taken");
    assert_eq!(said(&task.seal().expect("it moved")), []);
    give(&mut task, 120, "not json");
    assert_eq!(said(&task.seal().expect("it moved")), [(120, 121, 1, 8)]);
}

#[test]
fn what_was_not_sealed_is_told_by_the_next_owner() {
    let plan = wanting(Names::default());
    let mut task = open_with(&plan, FRESH);
    give(&mut task, 100, "not json");
    let output = task.seal().expect("it moved");
    give(&mut task, 101, "not json");
    let at = Open::Resumed {
        offset: output.next,
        metadata: &output.metadata,
        topic_id: ID,
    };
    let mut task = open_with(&plan, at);
    give(&mut task, 101, "not json");
    assert_eq!(said(&task.seal().expect("it moved")), [(101, 102, 1, 8)]);
}

#[test]
fn a_reset_is_another_epoch_of_the_index() {
    let at = Open::Reset {
        start: 7,
        metadata: "",
        topic_id: ID,
    };
    let mut task = open_with(&wanting(Names::default()), at);
    give(&mut task, 7, "not json");
    let output = task.seal().expect("it moved");
    let stretch = Stretch::read(&output.index[0]).expect("a stretch");
    assert_eq!((stretch.epoch, stretch.entries[0].first), (1, 7));
}

#[test]
fn a_topic_of_which_no_lag_is_wanted_is_in_no_index() {
    for plan in [plan(), wanting(Names::of(["!processing.*"]))] {
        let mut task = open_with(&plan, FRESH);
        give(&mut task, 100, "not json");
        assert!(task.seal().expect("it moved").index.is_empty());
    }
}
