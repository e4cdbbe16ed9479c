//! Opening, sealing, and the time between records.

use super::*;

#[test]
fn the_first_seal_commits_the_start_and_the_second_has_nothing_to_say() {
    let mut task = fresh();
    task.accept(Input::Partitions(&BTreeMap::from([(TOPIC.to_owned(), 6)])))
        .expect("counts are taken");
    let output = task.seal().expect("the start is committed");
    assert_eq!((output.next, output.shuffled.len()), (100, 3));
    let ledger = Ledger::decode(&output.metadata).expect("a ledger");
    assert_eq!(
        (ledger.start, ledger.next(), ledger.partitions, ledger.topic_id),
        (100, 100, 6, ID)
    );
    assert_eq!(task.seal(), None);
    task.accept(Input::Time(wall(1))).expect("time is taken");
    assert_eq!(task.seal(), None);
    task.accept(Input::Position { next: 100 }).expect("a position is taken");
    assert_eq!(task.seal(), None);
    task.accept(Input::Position { next: 101 }).expect("a position is taken");
    assert_eq!(task.seal().map(|output| output.next), Some(101));
}

#[test]
fn offsets_without_records_are_absent_or_expired() {
    let mut task = fresh();
    task.accept(Input::Expired { start: 110 }).expect("taken");
    give(&mut task, 113, &ticket(NOW, "high"));
    task.accept(Input::Position { next: 115 }).expect("taken");
    task.accept(Input::Position { next: 90 })
        .expect("an old position says nothing");
    task.accept(Input::Expired { start: 90 })
        .expect("an old start says nothing");
    assert_eq!(
        counts(&task),
        BTreeMap::from([("expired", 10), ("absent", 4), ("counted", 1)])
    );
    assert_eq!(task.seal().map(|output| output.next), Some(115));
}

#[test]
fn a_record_that_was_taken_before_stops_the_stage() {
    let mut task = fresh();
    give(&mut task, 100, &ticket(NOW, "high"));
    let again = Record {
        offset: 100,
        key: None,
        value: None,
        stamp: Stamp::None,
        headers: &(),
    };
    assert!(matches!(task.accept(Input::Record(again)), Err(Halt::Stop(why)) if why.contains("101 was next")));
}

#[test]
fn counters_are_sent_when_they_change_and_all_of_them_after_opening() {
    let sent = |output: &Output| -> BTreeMap<String, i64> {
        let samples = batches(output).into_iter().flat_map(|batch| batch.samples);
        let outcome = |key: Vec<u8>| {
            SeriesKey(key)
                .values()
                .and_then(|values| values.last().map(|v| (*v).to_owned()))
        };
        samples
            .map(|sample| (outcome(sample.key).expect("a key"), sample.value))
            .collect()
    };
    let mut task = fresh();
    give(&mut task, 100, &ticket(NOW, "high"));
    give(&mut task, 101, "x");
    let first = task.seal().expect("something to write");
    assert_eq!(
        sent(&first),
        BTreeMap::from([("counted".to_owned(), 1), ("malformed".to_owned(), 1)])
    );
    give(&mut task, 102, "x");
    let second = task.seal().expect("something to write");
    assert_eq!(sent(&second), BTreeMap::from([("malformed".to_owned(), 2)]));
    let at = Open::Resumed {
        offset: 103,
        metadata: &second.metadata,
        topic_id: ID,
    };
    let resumed = open(at).expect("opens").seal().expect("the first seal");
    assert_eq!(
        sent(&resumed),
        BTreeMap::from([("counted".to_owned(), 1), ("malformed".to_owned(), 2)])
    );
}

#[test]
fn a_resumed_task_goes_on_where_the_ledger_ends() {
    let mut task = fresh();
    give(&mut task, 100, &ticket(NOW, "high"));
    let output = task.seal().expect("something to write");
    let task = open(Open::Resumed {
        offset: 101,
        metadata: &output.metadata,
        topic_id: ID,
    })
    .expect("opens");
    let view = task.view();
    assert_eq!(view.watermark.map(|mark| mark.0.0), Some(T0 - 5_000_000));
    assert_eq!(view.ledger.map(|ledger| ledger.next()), Some(101));
}

#[test]
fn a_commit_that_does_not_fit_is_refused_and_says_what_can_be_done() {
    let metadata = Ledger {
        start: 100,
        topic_id: ID,
        ..Ledger::default()
    }
    .encode();
    for (at, says) in [
        (
            Open::Resumed {
                offset: 120,
                metadata: &metadata,
                topic_id: ID,
            },
            vec!["120", "100"],
        ),
        (
            Open::Resumed {
                offset: 120,
                metadata: "",
                topic_id: ID,
            },
            vec!["not made by streamgauge", "120"],
        ),
        (
            Open::Resumed {
                offset: 120,
                metadata: "by hand",
                topic_id: ID,
            },
            vec!["not made by streamgauge"],
        ),
        (
            Open::Resumed {
                offset: 120,
                metadata: "sg9:x",
                topic_id: ID,
            },
            vec!["format 9"],
        ),
        (
            Open::Resumed {
                offset: 100,
                metadata: &metadata,
                topic_id: [8; 16],
            },
            vec!["deleted and created again"],
        ),
    ] {
        let error = open(at).map(|_| ()).expect_err("refused");
        for part in says.into_iter().chain([TOPIC, "partition 4", "--accept-reset"]) {
            assert!(error.contains(part), "{error}");
        }
    }
    for topic_id in [ID, [0; 16]] {
        let task = open(Open::Resumed {
            offset: 100,
            metadata: &metadata,
            topic_id,
        })
        .expect("opens");
        assert_eq!(task.view().ledger.map(|ledger| ledger.topic_id), Some(ID));
    }
    assert!(TapTask::open(&plan(), 1, "other", 0, Open::Fresh { start: 0, topic_id: ID }).is_err());
}

#[test]
fn an_accepted_reset_starts_a_new_epoch() {
    let old = Ledger {
        epoch: 3,
        start: 5,
        counts: [1; 7],
        max_time: Some(wall(0).as_event()),
        ..Ledger::default()
    };
    let metadata = old.encode();
    let mut task = open(Open::Reset {
        start: 50,
        metadata: &metadata,
        topic_id: ID,
    })
    .expect("opens");
    let output = task.seal().expect("the first seal");
    assert!(
        batches(&output)
            .iter()
            .all(|batch| batch.epoch == 4 && batch.watermark.is_none())
    );
    let ledger = Ledger::decode(&output.metadata).expect("a ledger");
    assert_eq!((ledger.epoch, ledger.start, ledger.counts), (4, 50, [0; 7]));
    let task = open(Open::Reset {
        start: 50,
        metadata: "by hand",
        topic_id: ID,
    })
    .expect("opens");
    assert_eq!(task.view().ledger.map(|ledger| ledger.epoch), Some(1));
}

#[test]
fn a_quiet_partition_sends_its_watermark_on() {
    let mut task = fresh();
    give(&mut task, 100, &ticket(NOW, "high"));
    task.seal().expect("something to write");
    task.accept(Input::LogEnd {
        end: 101,
        sampled_at: wall(30),
    })
    .expect("taken");
    task.accept(Input::Time(wall(30))).expect("taken");
    let output = task.seal().expect("the watermark moved");
    assert!(
        batches(&output)
            .iter()
            .all(|batch| batch.watermark == Some(T0 + 20_000_000))
    );
    assert_eq!(output.next, 101);
}
