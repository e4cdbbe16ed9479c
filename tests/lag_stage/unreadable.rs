//! Records of the offsets topic that nobody can read.

use streamgauge::engine::lag::polled::{commit, commit_key};
use streamgauge::engine::time::WallTime;

use super::*;

/// Writes into the brokers' own topic, as only this client may.
pub fn write_offsets(kafka: &Kafka, to: Option<i32>, records: impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)>) {
    let producer: BaseProducer = kafka
        .client()
        .set("client.id", "__admin_client")
        .set("linger.ms", "50")
        .create()
        .expect("a producer");
    for (key, value) in records {
        let mut record: BaseRecord<'_, [u8], [u8]> = BaseRecord::to("__consumer_offsets").key(&key);
        record.payload = value.as_deref();
        record.partition = to;
        while let Err((_, back)) = producer.send(record) {
            producer.poll(Duration::from_millis(50));
            record = back;
        }
    }
    producer.flush(SOON).expect("the records are in the log");
}

/// A commit of offset 5 in partition 0 of [`TOPIC`], in the layout of Kafka 2.1.
pub fn commit_record(group: &str) -> (Vec<u8>, Option<Vec<u8>>) {
    let value = commit(5, WallTime(now_micros()));
    (commit_key(group, TOPIC, 0), Some(value))
}

#[test]
fn records_that_cannot_be_read_are_dead_letters_and_unknown_ones_are_counted() {
    let _turn = my_turn();
    let kafka = Kafka::start_with(&[("offsets.topic.num.partitions", "8")]);
    kafka.create_topic(TOPIC, PARTITIONS, &[]);
    groups::fill(&kafka, 20);
    groups::commit_by_hand(&kafka, "plain", 0, 11, "");
    let mut system = System::of(kafka, "{ every: 1s }\n");
    let mut instance = system.application.start("one");
    // Where a group of this test is, its coordinator would break on them as a broker does.
    let partition = |group| partition_of(group, std::num::NonZeroU32::new(8).expect("some"));
    let used = [
        "plain",
        "watcher",
        "watcher-lag",
        "watcher-gauge",
        "watcher-otlp-metrics",
    ]
    .map(partition);
    let unused = (0..8).find(|partition| !used.contains(partition)).expect("one is free");
    let unused = i32::try_from(unused).expect("small");
    eventually("it is ready", SOON, || instance.is_ready());
    let (key, value) = commit_record("cut");
    let half = value.as_ref().map(|value| value[..9].to_vec());
    let of_a_newer_broker = [99_i16.to_be_bytes().as_slice(), b"whatever"].concat();
    let broken = [
        (key, half),
        (b"\x00".to_vec(), Some(b"x".to_vec())),
        (of_a_newer_broker, Some(b"y".to_vec())),
        commit_record("fine"),
    ];
    write_offsets(&system.kafka, Some(unused), broken.into_iter());
    eventually("the others have lag", SOON, || {
        let lags = system.values("kafka_consumer_lag");
        let of = |group: &str| lags.get(&(group.to_owned(), TOPIC.to_owned(), 0)).copied();
        match (of("plain"), of("fine")) {
            (Some(9.0), Some(15.0)) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    eventually("what became of the records", SOON, || {
        let points = system.collector.points();
        let malformed: i64 = points
            .counts("streamgauge_records_total")
            .iter()
            .filter(|(of, _)| of["outcome"] == "malformed")
            .map(|(_, count)| count)
            .sum();
        match (malformed, points.sum("streamgauge_lag_unknown_records_total")) {
            (2, 1) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    let letters = system.kafka.read("watcher-dead-letters", true);
    assert_eq!(letters.len(), 2, "{letters:?}");
    for letter in letters {
        assert_eq!(letter.headers["outcome"], "malformed");
        assert_eq!(letter.headers["topic"], "__consumer_offsets");
    }
    instance.stop();
    let (code, said) = system.application.audit();
    assert_eq!(code, Some(0), "{said}");
}
