//! A task from its first seal to its restore, and what it refuses.

use super::super::{OVERDRAFT, Pressure};
use super::world::{compact, open};
use super::*;

fn requests(keys: std::ops::Range<u64>, time: i64) -> Vec<Said> {
    let said = |key| Said {
        topic: NORMALIZED,
        time,
        key,
        text: "email".into(),
    };
    keys.map(said).collect()
}

fn give_all(task: &mut CorrelateTask, offset: i64, said: &[Said], watermark: i64) -> Result<(), Halt> {
    let said: Vec<&Said> = said.iter().collect();
    let mut batches = vec![batch(NORMALIZED, 0, &said, Some(watermark))];
    for (topic, partition) in [(0, 1), (1, 0), (1, 1), (2, 0), (2, 1)] {
        batches.push(batch(topic, partition, &[], Some(watermark)));
    }
    give(task, offset, batches)
}

fn small(max_entries: u64) -> CorrelateTask {
    let options = CorrelateOptions {
        application: "app".into(),
        partitions: 3,
        max_entries,
    };
    let mut task = CorrelateStage::new(Arc::new(plan()), options).task(0, FRESH);
    task.accept(Input::Restored).expect("nothing to restore");
    task.accept(Input::Partitions(&counts(2))).expect("taken");
    task
}

fn resumed(offset: i64) -> Open<'static> {
    Open::Resumed {
        offset,
        metadata: "",
        topic_id: [0; 16],
    }
}

#[test]
fn beyond_the_cap_only_so_much_is_taken_and_nothing_is_evicted() {
    // Each message is a request and a value.
    let mut task = small(100);
    let most = OVERDRAFT + 2 * 100;
    give_all(&mut task, 0, &requests(0..40, 1_000_000), 0).expect("80 entries fit");
    give_all(&mut task, 1, &requests(40..most / 2, 1_000_000), 0).expect("they were under way");
    let held = give_all(&mut task, 2, &requests(70_000..70_020, 1_000_000), 0);
    let holds = format!("holds {most}");
    assert!(
        matches!(&held, Err(Halt::Hold(reason)) if reason.contains(&holds) && reason.contains("40 more")),
        "{held:?}"
    );
    assert!(
        give_all(&mut task, 2, &requests(70_000..70_020, 1_000_000), 0).is_err(),
        "and again"
    );
    assert_eq!((task.join(0).entries() + task.join(1).entries()) as u64, most);
    give_all(&mut task, 2, &[], 60_000_000).expect("a watermark always finds room");
    give_all(&mut task, 3, &requests(70_000..70_020, 70_000_000), 60_000_000)
        .expect("the bounds are over: there is room");
    let output = task.seal().expect("records were taken");
    assert_eq!(totals(&output, UNANSWERED).values().sum::<u64>(), most / 2);
}

#[test]
fn a_commit_says_how_full_the_task_is_and_how_far() {
    let mut task = small(100);
    give_all(&mut task, 0, &requests(0..44, 1_000_000), 2_000_000).expect("taken");
    let pressure = Pressure::decode(&task.seal().expect("records were taken").metadata).expect("we wrote it");
    assert_eq!(pressure.entries(), 88);
    assert!(pressure.is_high());
    assert_eq!(pressure.joins[0].join, RESPOND);
    assert_eq!(pressure.joins[0].watermark, Some(Watermark(EventTime(T0 + 2_000_000))));
    assert!(task.view().notes[0].contains("88"));
}

#[test]
fn a_seal_writes_only_the_keys_that_changed() {
    let mut task = open(&Arc::new(plan()), 0, FRESH, &[]);
    give_all(&mut task, 0, &requests(0..1_000, 1_000_000), 2_000_000).expect("taken");
    assert_eq!(
        task.seal().expect("taken").changelog.len(),
        2_001,
        "a request, a value each; the partition"
    );
    give_all(&mut task, 1, &requests(1_000..1_001, 3_000_000), 4_000_000).expect("taken");
    assert_eq!(task.seal().expect("taken").changelog.len(), 3);
    give_all(&mut task, 2, &[], 5_000_000).expect("taken");
    assert_eq!(task.seal().expect("taken").changelog.len(), 1);
    assert_eq!(task.seal(), None, "nothing was heard");
}

#[test]
fn answered_keys_are_written_once_and_deleted_once_together() {
    let mut task = open(&Arc::new(plan()), 0, FRESH, &[]);
    let mut changelog = Vec::new();
    let mut offset = 0;
    for second in 0..200 {
        let time = second * 1_000_000;
        let keys = second as u64 * 100..second as u64 * 100 + 100;
        give_all(&mut task, offset, &requests(keys.clone(), time), time - 1_400_000).expect("taken");
        let responses: Vec<Said> = requests(keys, time + 500_000)
            .into_iter()
            .map(|said| Said {
                topic: RESPONSES,
                ..said
            })
            .collect();
        let responses: Vec<&Said> = responses.iter().collect();
        give(&mut task, offset + 1, vec![batch(RESPONSES, 0, &responses, None)]).expect("taken");
        offset += 2;
        changelog.extend(task.seal().expect("taken").changelog);
    }
    let of_respond = |(key, _): &&(Vec<u8>, Option<Vec<u8>>)| key[1..].starts_with(&RESPOND.0.to_be_bytes());
    let written = changelog.iter().filter(of_respond).count();
    assert!(
        written < 20_000 / 10,
        "20,000 pairs took {written} records: they were answered before their keys were ever written"
    );
    let before = task.join(0).entries();
    compact(&mut changelog);
    assert!(
        changelog.iter().filter(of_respond).count() < 40,
        "the chunks of the last seconds"
    );
    let restored = open(&Arc::new(plan()), 0, resumed(offset), &changelog);
    assert_eq!(restored.join(0).entries(), before);
    assert!(before > 1_000, "`forget` is 15 seconds: {before}");
}

#[test]
fn state_and_offset_that_do_not_agree_stop_the_stage_with_both() {
    let mut task = open(&Arc::new(plan()), 0, FRESH, &[]);
    give_all(&mut task, 0, &requests(0..1, 0), 0).expect("taken");
    let changelog = task.seal().expect("taken").changelog;
    for at in [FRESH, resumed(7)] {
        let options = CorrelateOptions {
            application: "app".into(),
            partitions: 3,
            max_entries: 100,
        };
        let mut task = CorrelateStage::new(Arc::new(plan()), options).task(0, at);
        for (key, value) in &changelog {
            task.accept(Input::Restore {
                key,
                value: value.as_deref(),
            })
            .expect("we wrote it");
        }
        let stopped = task.accept(Input::Restored);
        assert!(
            matches!(&stopped, Err(Halt::Stop(why)) if why.contains("counts up to offset 1")),
            "{stopped:?}"
        );
    }
}

#[test]
fn a_join_that_was_never_known_holds_the_partition_and_a_retired_one_is_counted_and_deleted() {
    let mut old = plan();
    old.joins[0].definition = DefinitionHash(0xdead);
    let packed = |join: u64| Batch {
        topic: TOPICS[NORMALIZED].into(),
        keyed: vec![packed(join, 0, &requests(0..5, 1_000_000).iter().collect::<Vec<_>>())],
        watermark: Some(T0 + 2_000_000),
        ..Batch::default()
    };
    let mut task = open(&Arc::new(plan()), 0, FRESH, &[]);
    let held = give(&mut task, 0, vec![packed(RESPOND.0), packed(0xdead)]);
    assert!(
        matches!(&held, Err(Halt::Hold(reason)) if reason.contains("000000000000dead")),
        "{held:?}"
    );
    assert_eq!(task.join(0).entries(), 0, "a pack is taken whole or not at all");

    let mut task = open(&Arc::new(old), 0, FRESH, &[]);
    give(&mut task, 0, vec![packed(0xdead)]).expect("it is known here");
    let changelog = task.seal().expect("taken").changelog;
    let mut task = open(&Arc::new(plan()), 0, resumed(1), &changelog);
    give(&mut task, 1, vec![packed(0xdead)]).expect("it was known once");
    let output = task.seal().expect("taken");
    let samples: Vec<i64> = told(&output)
        .iter()
        .flat_map(|batch| &batch.samples)
        .map(|sample| sample.value)
        .collect();
    assert_eq!(samples, [5]);
    let deleted: Vec<&Vec<u8>> = output
        .changelog
        .iter()
        .filter(|(_, value)| value.is_none())
        .map(|(key, _)| key)
        .collect();
    assert_eq!(deleted.len(), 1, "the chunk of what waited");
}

#[test]
fn what_is_no_pack_of_ours_stops_the_stage() {
    let mut task = open(&Arc::new(plan()), 0, FRESH, &[]);
    let mut strange = batch(NORMALIZED, 0, &requests(0..1, 0).iter().collect::<Vec<_>>(), None);
    strange.keyed[0].carried.clear();
    for (batch, why) in [
        (strange, "carry what is not there"),
        (
            Batch {
                keyed: vec![packed(RESPOND.0, 3, &[])],
                ..Batch::default()
            },
            "a side that it does not have",
        ),
    ] {
        let stopped = give(&mut task, 0, vec![batch]);
        assert!(
            matches!(&stopped, Err(Halt::Stop(reason)) if reason.contains(why)),
            "{stopped:?}"
        );
    }
    let stopped = task.accept(Input::Restore {
        key: b"zebra",
        value: None,
    });
    assert!(matches!(stopped, Err(Halt::Stop(_))));
    assert!(matches!(task.accept(Input::Expired { start: 9 }), Err(Halt::Stop(_))));
}
