//! What a read_committed reader sees, and where it stands.

use std::time::Duration;

use streamgauge::engine::task::Stamp;
use streamgauge::engine::time::{Span, WallTime};
use streamgauge::memory::{ClusterError, RecordBatch, TopicOptions};
use streamgauge::runtime::log::{Change, Log, Notice};

use super::*;

fn reader(cluster: &Cluster) -> MemoryLog {
    joined(dynamic(cluster, "reader"), "t")
}

fn position(log: &mut MemoryLog) -> Option<i64> {
    log.positions(&[at("t", 0)]).expect("no faults")[0]
}

#[test]
fn records_come_in_order_with_their_offsets_and_stamps() {
    let cluster = cluster_with("t", 1);
    let mut batch = RecordBatch::new();
    batch.push(Some(b"a"), Some(b"1"), WallTime(1_234_567));
    batch.push(None, None, WallTime(2_000_000));
    assert_eq!(cluster.produce_batch("t", 0, batch), Ok(0));
    let mut log = reader(&cluster);
    let mut seen = Vec::new();
    log.poll(Duration::ZERO, 10, &mut |topic, partition, record| {
        let key = record.key.map(<[u8]>::to_vec);
        seen.push((
            topic.to_owned(),
            partition,
            record.offset,
            key,
            record.value.is_some(),
            record.stamp,
        ));
        true
    })
    .expect("no faults");
    let stamps = [1_234_000, 2_000_000].map(|micros| Stamp::Created(WallTime(micros)));
    assert_eq!(
        seen,
        [
            ("t".to_owned(), 0, 0, Some(b"a".to_vec()), true, stamps[0]),
            ("t".to_owned(), 0, 1, None, false, stamps[1])
        ]
    );
}

#[test]
fn a_topic_with_append_time_keeps_the_brokers_clock() {
    let cluster = cluster();
    let options = TopicOptions {
        append_time: true,
        ..TopicOptions::default()
    };
    cluster.create_topic("t", 1, options).expect("a new topic");
    cluster
        .produce("t", 0, None, None, WallTime(5))
        .expect("the partition exists");
    let (records, _) = cluster.read("t", 0, 0).expect("the partition exists");
    assert_eq!(records[0].stamp, Stamp::Appended(START));
}

#[test]
fn the_position_is_unknown_before_the_first_fetch_and_passes_markers_and_aborted_data() {
    let cluster = cluster_with("t", 1);
    let mut log = reader(&cluster);
    assert_eq!(position(&mut log), None);
    let mut writer = producer(&cluster, "w");
    writer.begin().expect("ready");
    send(&mut writer, "t", 0, "kept").expect("open");
    writer.commit().expect("open");
    assert_eq!(poll(&mut log), [(0, "kept".to_owned())]);
    assert_eq!(position(&mut log), Some(2), "one record and one marker");
    writer.begin().expect("ready");
    send(&mut writer, "t", 0, "dropped").expect("open");
    writer.abort().expect("open");
    assert_eq!(poll(&mut log), []);
    assert_eq!(position(&mut log), Some(4));
    assert_eq!(log.log_end(&at("t", 0)), Ok(4));
}

#[test]
fn an_open_transaction_of_another_producer_stops_readers_behind_it() {
    let cluster = cluster_with("t", 1);
    let mut log = reader(&cluster);
    produce(&cluster, "t", 0, "before");
    let mut writer = producer(&cluster, "w");
    writer.begin().expect("ready");
    send(&mut writer, "t", 0, "inside").expect("open");
    produce(&cluster, "t", 0, "behind");
    assert_eq!(poll(&mut log), [(0, "before".to_owned())]);
    assert_eq!(position(&mut log), Some(1));
    assert_eq!(cluster.last_stable_offset("t", 0), Ok(1));
    assert_eq!(log.log_end(&at("t", 0)), Ok(3), "the log's end is the high watermark");
    writer.commit().expect("open");
    assert_eq!(poll(&mut log), [(0, "inside".to_owned()), (0, "behind".to_owned())]);
    assert_eq!(position(&mut log), Some(4));
}

#[test]
fn a_sink_that_has_enough_ends_the_batch_and_has_taken_its_record() {
    let cluster = cluster_with("t", 1);
    for value in ["a", "b", "c"] {
        produce(&cluster, "t", 0, value);
    }
    let mut log = reader(&cluster);
    let mut taken = 0;
    log.poll(Duration::ZERO, 10, &mut |_, _, _| {
        taken += 1;
        false
    })
    .expect("no faults");
    assert_eq!(taken, 1);
    assert_eq!(position(&mut log), Some(1));
    assert_eq!(poll(&mut log), [(0, "b".to_owned()), (0, "c".to_owned())]);
}

#[test]
fn at_most_max_records_come_and_every_partition_has_its_turn() {
    let cluster = cluster_with("t", 3);
    for partition in 0..3 {
        for _ in 0..10 {
            produce(&cluster, "t", partition, "x");
        }
    }
    let mut log = reader(&cluster);
    let mut turns = BTreeSet::new();
    for _ in 0..3 {
        let mut seen = BTreeSet::new();
        let mut count = 0;
        log.poll(Duration::ZERO, 5, &mut |_, partition, _| {
            seen.insert(partition);
            count += 1;
            true
        })
        .expect("no faults");
        assert_eq!(count, 5);
        turns.extend(seen);
    }
    assert_eq!(turns.len(), 3);
}

#[test]
fn a_paused_partition_is_silent_until_it_is_resumed() {
    let cluster = cluster_with("t", 2);
    let mut log = dynamic(&cluster, "reader");
    log.subscribe(&["t".to_owned()]).expect("no faults");
    poll(&mut log);
    assert_eq!(log.changes(), [Change::Assigned(vec![at("t", 0), at("t", 1)])]);
    log.assign(&[(at("t", 0), 0)], true).expect("assigned");
    log.assign(&[(at("t", 1), 0)], false).expect("assigned");
    produce(&cluster, "t", 0, "quiet");
    produce(&cluster, "t", 1, "heard");
    assert_eq!(poll(&mut log), [(1, "heard".to_owned())]);
    log.resume(&[at("t", 0)]).expect("no faults");
    log.pause(&[at("t", 1)]).expect("no faults");
    produce(&cluster, "t", 1, "later");
    assert_eq!(poll(&mut log), [(0, "quiet".to_owned())]);
}

#[test]
fn nothing_is_read_of_a_partition_that_was_not_answered() {
    let cluster = cluster_with("t", 1);
    produce(&cluster, "t", 0, "x");
    let mut log = dynamic(&cluster, "reader");
    log.subscribe(&["t".to_owned()]).expect("no faults");
    assert_eq!(poll(&mut log), []);
    assert_eq!(poll(&mut log), []);
    assert_eq!(log.changes().len(), 1);
    assert_eq!(poll(&mut log), []);
}

#[test]
fn a_seek_drops_what_was_buffered() {
    let cluster = cluster_with("t", 1);
    for value in ["a", "b", "c"] {
        produce(&cluster, "t", 0, value);
    }
    let mut log = reader(&cluster);
    log.poll(Duration::ZERO, 1, &mut |_, _, _| true).expect("no faults");
    log.seek(&[(at("t", 0), 2)]).expect("no faults");
    assert_eq!(position(&mut log), None);
    assert_eq!(poll(&mut log), [(0, "c".to_owned())]);
    log.seek(&[(at("t", 0), 0)]).expect("no faults");
    assert_eq!(poll(&mut log).len(), 3);
}

#[test]
fn a_position_outside_of_the_log_is_told_once_and_stays_until_it_is_moved() {
    let cluster = cluster_with("t", 1);
    for value in ["a", "b", "c"] {
        produce(&cluster, "t", 0, value);
    }
    assert_eq!(cluster.delete_records("t", 0, 2), Ok(2));
    let mut log = reader(&cluster);
    assert_eq!(poll(&mut log), []);
    assert_eq!(log.notices(), [Notice::OutOfRange(at("t", 0))]);
    assert_eq!(poll(&mut log), []);
    assert_eq!(log.notices(), []);
    assert_eq!(log.log_start(&at("t", 0)), Ok(2));
    log.seek(&[(at("t", 0), 2)]).expect("no faults");
    assert_eq!(poll(&mut log), [(0, "c".to_owned())]);
    log.seek(&[(at("t", 0), 4)]).expect("no faults");
    assert_eq!(poll(&mut log), []);
    assert_eq!(
        log.notices(),
        [Notice::OutOfRange(at("t", 0))],
        "above the end is outside as well"
    );
}

#[test]
fn retention_keeps_the_newest_records_and_moves_the_start() {
    let cluster = cluster_with("t", 1);
    for value in ["a", "b", "c"] {
        produce(&cluster, "t", 0, value);
    }
    cluster.retain("t", 2).expect("the topic exists");
    assert_eq!(cluster.log_start("t", 0), Ok(1));
    assert_eq!(committed_values(&cluster, "t", 0), ["b", "c"]);

    let options = TopicOptions {
        retain_records: Some(100),
        ..TopicOptions::default()
    };
    cluster.create_topic("bounded", 1, options).expect("a new topic");
    for _ in 0..1_000 {
        produce(&cluster, "bounded", 0, "x");
    }
    assert_eq!(cluster.records_held("bounded", 0), Ok(100));
}

#[test]
fn trim_deletes_below_the_offset_and_never_beyond_the_end() {
    let cluster = cluster_with("t", 1);
    produce(&cluster, "t", 0, "a");
    produce(&cluster, "t", 0, "b");
    let mut log = dynamic(&cluster, "x");
    log.trim(&[(at("t", 0), 1)]);
    assert_eq!(log.log_start(&at("t", 0)), Ok(1));
    log.trim(&[(at("t", 0), 0)]);
    assert_eq!(log.log_start(&at("t", 0)), Ok(1));
    log.trim(&[(at("t", 0), 99)]);
    assert_eq!(log.log_start(&at("t", 0)), Ok(2));
}

#[test]
fn an_offset_is_found_by_its_time() {
    let cluster = cluster_with("t", 1);
    for second in [10, 20, 30] {
        cluster
            .produce("t", 0, None, None, seconds(second))
            .expect("the partition exists");
    }
    let mut log = dynamic(&cluster, "x");
    assert_eq!(log.offset_at(&at("t", 0), seconds(0)), Ok(0));
    assert_eq!(log.offset_at(&at("t", 0), seconds(20)), Ok(1));
    assert_eq!(log.offset_at(&at("t", 0), seconds(21)), Ok(2));
    assert_eq!(
        log.offset_at(&at("t", 0), seconds(31)),
        Ok(3),
        "the end where there is none"
    );
}

#[test]
fn a_sampled_end_is_the_high_watermark_at_the_time_of_asking() {
    let cluster = cluster_with("t", 1);
    produce(&cluster, "t", 0, "a");
    let mut log = dynamic(&cluster, "x");
    log.sample_log_ends(&[at("t", 0), at("missing", 0)]);
    cluster.tick(START.ahead(Span::seconds(1)));
    produce(&cluster, "t", 0, "b");
    assert_eq!(log.log_ends(), [(at("t", 0), 1, START)]);
    assert_eq!(log.log_ends(), []);
}

#[test]
fn a_missing_topic_is_told_once_and_assigned_when_it_comes() {
    let cluster = cluster();
    let mut log = dynamic(&cluster, "x");
    log.subscribe(&["t".to_owned()]).expect("no faults");
    poll(&mut log);
    poll(&mut log);
    assert_eq!(log.notices(), [Notice::UnknownTopic("t".to_owned())]);
    assert_eq!(log.partition_counts(&["t".to_owned()]), Ok([].into()));
    assert!(matches!(log.log_end(&at("t", 0)), Err(LogError::Retry(_))));
    cluster
        .create_topic("t", 2, TopicOptions::default())
        .expect("a new topic");
    assert_eq!(
        poll_and_answer(&mut log),
        [Change::Assigned(vec![at("t", 0), at("t", 1)])]
    );
    assert_eq!(log.notices(), []);
}

#[test]
fn a_topic_that_is_created_again_is_another_topic() {
    let cluster = cluster_with("t", 1);
    produce(&cluster, "t", 0, "old");
    let mut log = reader(&cluster);
    assert_eq!(poll(&mut log).len(), 1);
    let id = log.topic_id("t").expect("it exists");
    cluster.delete_topic("t").expect("it exists");
    assert_eq!(
        cluster.delete_topic("t"),
        Err(ClusterError::UnknownTopic("t".to_owned()))
    );
    cluster
        .create_topic("t", 1, TopicOptions::default())
        .expect("the name is free");
    assert_ne!(log.topic_id("t").expect("it exists"), id);
    produce(&cluster, "t", 0, "new");

    assert_eq!(poll(&mut log), []);
    assert_eq!(
        log.changes(),
        [Change::Revoked(vec![at("t", 0)])],
        "there was a moment without the topic"
    );
    poll(&mut log);
    assert_eq!(poll(&mut log), [], "offset 1 is the new log's end");
    assert_eq!(
        position(&mut log),
        Some(1),
        "as long as it is not given back it is read on"
    );
    log.unassign(&[at("t", 0)]).expect("no faults");
    assert_eq!(poll_and_answer(&mut log), [Change::Assigned(vec![at("t", 0)])]);
    assert_eq!(poll(&mut log), [(0, "new".to_owned())]);
}
