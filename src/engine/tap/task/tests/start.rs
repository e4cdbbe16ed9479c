//! Where a partition without a commit starts.

use super::*;

/// Half an hour after the others began.
const LATER: i64 = 1_800;

fn stage() -> TapStage {
    let mut plan = plan();
    Arc::get_mut(&mut plan).expect("it is not shared yet").topics[0].start = Start::Latest;
    TapStage::new(plan, PARTITIONS)
}

/// A commit of another partition: how many partitions there were when it began at `T0`.
fn sibling(partition: u32, partitions: u32) -> Sibling {
    let ledger = Ledger {
        start: 10,
        started: wall(0),
        partitions,
        ..Ledger::default()
    };
    Sibling {
        partition,
        offset: 10,
        metadata: ledger.encode(),
    }
}

fn start(partition: u32, siblings: &[Sibling], seconds: i64) -> Result<StartAt, String> {
    stage().start(TOPIC, partition, siblings, wall(seconds))
}

#[test]
fn a_new_application_starts_where_the_plan_says() {
    assert_eq!(start(1, &[], 0), Ok(StartAt::Latest));
    assert_eq!(
        start(1, &[sibling(0, 3)], 1),
        Ok(StartAt::Latest),
        "the others are only faster"
    );
}

#[test]
fn a_partition_that_was_added_starts_at_its_beginning() {
    let siblings = [sibling(0, 3), sibling(1, 3), sibling(2, 3)];
    assert_eq!(start(3, &siblings, LATER), Ok(StartAt::Earliest));
    let with_added = [sibling(0, 3), sibling(3, 5)];
    assert_eq!(
        start(4, &with_added, LATER),
        Ok(StartAt::Earliest),
        "another added one knows of it already"
    );
}

#[test]
fn a_commit_that_is_missing_is_told_from_a_partition_that_was_added() {
    let why = start(1, &[sibling(0, 3), sibling(2, 3)], LATER).expect_err("it should have one");
    assert!(why.contains("partition 1") && why.contains("--accept-reset"), "{why}");
}

#[test]
fn the_number_of_partitions_at_the_beginning_is_kept() {
    let count = |count| BTreeMap::from([(TOPIC.to_owned(), count)]);
    let mut task = fresh();
    task.accept(Input::Partitions(&count(3))).expect("taken");
    task.accept(Input::Partitions(&count(5))).expect("taken");
    let output = task.seal().expect("the start is committed");
    assert_eq!(Ledger::decode(&output.metadata).expect("a ledger").partitions, 3);
}
