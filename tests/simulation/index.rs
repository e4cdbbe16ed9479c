//! What the offset index says of a log, read as the lag stage reads it: committed records only, in order.

use streamgauge::engine::index::{Entry, Stretch};
use streamgauge::engine::lag::index::{Answer, PartitionIndex};
use streamgauge::engine::tap::ledger::Ledger;
use streamgauge::engine::task::Stamp;
use streamgauge::engine::time::Span;
use streamgauge::memory::Cluster;
use streamgauge::runtime::log::TopicPartition;

const TOPIC: &str = "sim-index";

/// Every offset from the ledger's start up to the commit is in exactly one entry, and each entry agrees with the log.
pub fn agrees(cluster: &Cluster, partition: &TopicPartition, ledger: &Ledger, committed: i64) {
    let stretches = stretches(cluster, partition);
    let mut next = ledger.start;
    let (log, _) = cluster
        .read(&partition.topic, partition.partition, 0)
        .expect("the topic exists");
    let mut index = PartitionIndex::new(100_000);
    for stretch in stretches {
        assert_eq!((stretch.epoch, stretch.topic_id), (ledger.epoch, ledger.topic_id));
        for entry in &stretch.entries {
            assert_eq!(entry.first, next, "{partition:?}: entries tile the log");
            next = entry.next;
            let records = log
                .iter()
                .filter(|record| (entry.first..entry.next).contains(&record.offset));
            let records: Vec<(i64, usize)> = records
                .map(|record| (millis(record.stamp), record.value.as_ref().map_or(0, Vec::len)))
                .collect();
            check(partition, entry, &records);
        }
        index.observe(stretch);
    }
    assert_eq!(
        next, committed,
        "{partition:?}: the index ends where the tap has committed"
    );
    for record in &log {
        let Answer::Known(at) = index.append_time(record.offset) else {
            panic!("{partition:?}: nothing is known of {}", record.offset)
        };
        let off = (at.time.0 / 1_000).abs_diff(millis(record.stamp));
        assert!(
            off <= 1_000 && at.within <= Span::seconds(1),
            "{partition:?}: {record:?} at {at:?}"
        );
    }
    if committed > ledger.start {
        let counted = index.records(ledger.start, committed);
        assert_eq!(counted, Answer::Known(log.len() as u64), "{partition:?}");
    }
}

fn check(partition: &TopicPartition, entry: &Entry, records: &[(i64, usize)]) {
    assert_eq!(entry.records(), records.len() as u64, "{partition:?}: {entry:?}");
    let bytes: usize = records.iter().map(|(_, bytes)| bytes).sum();
    assert_eq!(entry.bytes, bytes as u64, "{partition:?}: {entry:?}");
    let earliest = records.iter().map(|(time, _)| *time).min();
    let latest = records.iter().map(|(time, _)| *time).max();
    let told = entry.times.map(|times| (times.earliest, times.latest));
    assert_eq!(told, earliest.zip(latest), "{partition:?}: {entry:?}");
}

/// What the index topic holds of this partition.
fn stretches(cluster: &Cluster, partition: &TopicPartition) -> Vec<Stretch> {
    let (records, _) = cluster.read(TOPIC, 0, 0).expect("the index exists");
    let key = format!("{}/{}", partition.topic, partition.partition);
    let mine = records
        .iter()
        .filter(|record| record.key.as_deref() == Some(key.as_bytes()));
    mine.map(|record| {
        let stretch = Stretch::read(record.value.as_deref().expect("it has a value")).expect("a stretch");
        assert_eq!(
            (stretch.topic.as_str(), stretch.partition),
            (partition.topic.as_str(), partition.partition)
        );
        stretch
    })
    .collect()
}

fn millis(stamp: Stamp) -> i64 {
    match stamp {
        Stamp::None => panic!("the log keeps timestamps"),
        Stamp::Created(time) | Stamp::Appended(time) => time.0.div_euclid(1_000),
    }
}
