//! Changelogs: restores and compaction.

use std::time::Duration;

use streamgauge::engine::time::Span;
use streamgauge::memory::{MarkerDelay, TopicOptions};
use streamgauge::runtime::log::Log;

use super::*;

fn changelog() -> Cluster {
    let cluster = cluster();
    let options = TopicOptions {
        compact: true,
        ..TopicOptions::default()
    };
    cluster.create_topic("c", 1, options).expect("a new topic");
    cluster
}

fn put(log: &mut MemoryLog, key: &str, value: Option<&str>) {
    let (key, value) = (Some(key.as_bytes()), value.map(str::as_bytes));
    log.send(Send {
        topic: "c",
        partition: 0,
        key,
        value,
        headers: &[],
    })
    .expect("open");
}

/// Keys and values that one call hands out, and the position.
fn restore(log: &mut MemoryLog) -> (Vec<String>, i64) {
    let mut seen = Vec::new();
    let position = log.restore_poll(&at("c", 0), Duration::ZERO, &mut |key, value| {
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        seen.push(format!("{}={}", text(key), value.map_or("-".to_owned(), text)));
    });
    (seen, position.expect("started"))
}

#[test]
fn a_restore_reaches_the_high_watermark_once_the_markers_are_written() {
    let cluster = changelog();
    let mut writer = producer(&cluster, "w");
    writer.begin().expect("ready");
    put(&mut writer, "a", Some("0"));
    writer.abort().expect("open");
    writer.begin().expect("ready");
    put(&mut writer, "a", Some("1"));
    put(&mut writer, "b", None);
    cluster.delay_markers(MarkerDelay {
        partitions: Span::seconds(1),
        offsets: Span::ZERO,
    });
    writer.commit().expect("decided");

    let mut reader = dynamic(&cluster, "r");
    reader.restore_start(&at("c", 0)).expect("it exists");
    let end = reader.log_end(&at("c", 0)).expect("it exists");
    assert_eq!(end, 4);
    assert_eq!(
        restore(&mut reader),
        (vec![], 2),
        "stops at the last stable offset, short of the end"
    );
    cluster.tick(seconds(1));
    assert_eq!(restore(&mut reader), (vec!["a=1".to_owned(), "b=-".to_owned()], 5));
    assert_eq!(restore(&mut reader), (vec![], 5));
    reader.restore_start(&at("c", 0)).expect("again from the start");
    assert_eq!(restore(&mut reader).0.len(), 2);
    reader.restore_stop(&at("c", 0));
    assert!(
        reader
            .restore_poll(&at("c", 0), Duration::ZERO, &mut |_, _| {})
            .is_err()
    );
}

#[test]
fn compaction_keeps_the_newest_of_each_key_its_offset_and_the_end() {
    let cluster = changelog();
    let mut writer = producer(&cluster, "w");
    for (key, value) in [("a", Some("1")), ("b", Some("1")), ("a", Some("2")), ("b", None)] {
        writer.begin().expect("ready");
        put(&mut writer, key, value);
        writer.commit().expect("open");
    }
    cluster.compact("c").expect("it exists");
    assert_eq!(cluster.records_held("c", 0), Ok(2));
    let (records, next) = cluster.read("c", 0, 0).expect("it exists");
    let offsets: Vec<_> = records
        .iter()
        .map(|record| (record.offset, record.value.clone()))
        .collect();
    assert_eq!(offsets, [(4, Some(b"2".to_vec())), (6, None)]);
    assert_eq!((next, cluster.log_end("c", 0)), (8, Ok(8)));

    let mut reader = dynamic(&cluster, "r");
    reader.restore_start(&at("c", 0)).expect("it exists");
    assert_eq!(
        restore(&mut reader),
        (vec!["a=2".to_owned(), "b=-".to_owned()], 8),
        "the position passes the gaps"
    );

    cluster.tick(START.ahead(Span::seconds(25 * 3_600)));
    cluster.compact("c").expect("it exists");
    assert_eq!(cluster.records_held("c", 0), Ok(1), "a tombstone goes after a day");
}

#[test]
fn compaction_does_not_touch_what_is_behind_an_open_transaction() {
    let cluster = changelog();
    let mut open = producer(&cluster, "open");
    let mut writer = producer(&cluster, "w");
    writer.begin().expect("ready");
    put(&mut writer, "a", Some("1"));
    writer.commit().expect("open");
    open.begin().expect("ready");
    put(&mut open, "a", Some("undecided"));
    writer.begin().expect("ready");
    put(&mut writer, "a", Some("3"));
    writer.commit().expect("open");
    cluster.compact("c").expect("it exists");
    open.abort().expect("open");
    assert_eq!(committed_values(&cluster, "c", 0), ["1", "3"]);
    cluster.compact("c").expect("it exists");
    assert_eq!(committed_values(&cluster, "c", 0), ["3"]);
}

#[test]
fn a_changelog_compacts_itself_when_it_has_grown() {
    let cluster = changelog();
    let mut writer = producer(&cluster, "w");
    for round in 0..60 {
        writer.begin().expect("ready");
        for key in 0..1_000 {
            put(&mut writer, &key.to_string(), Some(&round.to_string()));
        }
        writer.commit().expect("open");
    }
    let held = cluster.records_held("c", 0).expect("it exists");
    assert!((1_000..=22_000).contains(&held), "{held}");
    let (records, _) = cluster.read("c", 0, 0).expect("it exists");
    let newest = records
        .iter()
        .filter(|record| record.value.as_deref() == Some(b"59"))
        .count();
    assert_eq!(newest, 1_000);
}
