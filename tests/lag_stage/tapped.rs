//! On tapped topics the offset index tells how old what waits is, and what commits went over.

use super::*;

#[test]
fn on_a_tapped_topic_lag_in_time_is_right_to_a_second_whatever_the_traffic_and_consumption_is_exact() {
    let _turn = my_turn();
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, PARTITIONS, &[("message.timestamp.type", "LogAppendTime")]);
    groups::commit_by_hand(&kafka, "reader", 0, 0, "");
    let mut system = System::of(kafka, TAPPED);
    let mut instance = system.application.start("one");
    eventually("it is ready", SOON, || instance.is_ready());
    let reader = ("reader".to_owned(), TOPIC.to_owned(), 0);
    let writer = system.kafka.writer();
    let write = |records: u32| {
        for _ in 0..records {
            writer.write(&Write {
                topic: TOPIC.to_owned(),
                partition: 0,
                value: Some(vec![b'x'; 100]),
                ..Write::default()
            });
        }
        writer.flush();
    };
    // Steady, then a burst, then nothing.
    for _ in 0..50 {
        write(10);
        std::thread::sleep(Duration::from_millis(100));
    }
    write(5_000);
    std::thread::sleep(Duration::from_secs(3));
    let records = system.kafka.read(TOPIC, true);
    let appended: BTreeMap<i64, i64> = records.iter().map(|record| (record.offset, record.timestamp)).collect();
    let total = i64::try_from(records.len()).expect("few");
    assert_eq!(total, 5_500);
    for committed in [0, 137, 400, 499, 500, 3_000, 5_499] {
        groups::commit_by_hand(&system.kafka, "reader", 0, committed, "");
        eventually(&format!("lag at {committed}"), SOON, || {
            match system.values("kafka_consumer_lag").get(&reader) {
                Some(lag) if *lag == (total - committed) as f64 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        assert_eq!(
            system.values("kafka_consumer_lag_records")[&reader],
            (total - committed) as f64
        );
        let points = system.collector.points();
        let of_reader = |name: &'static str| {
            let (_, series) = points
                .of(name)
                .find(|(id, _)| place(&id.attributes) == reader)
                .expect("a series");
            series
                .points
                .iter()
                .max_by_key(|point| point.time)
                .expect("a point")
                .clone()
        };
        let point = of_reader("kafka_consumer_lag_seconds");
        assert_eq!(
            point.time,
            of_reader("kafka_consumer_lag").time,
            "they are of one moment"
        );
        let shown = number(&point.value.expect("it is known"));
        let truth = point.time as f64 / 1e9 - appended[&committed] as f64 / 1e3;
        println!("at {committed}: {shown:.3} s and truly {truth:.3} s");
        assert!(
            (shown - truth).abs() <= 1.0,
            "at {committed}: {shown} s and not {truth} s"
        );
    }
    groups::commit_by_hand(&system.kafka, "reader", 0, total, "");
    eventually("all is read", SOON, || {
        match system.values("kafka_consumer_lag_seconds").get(&reader) {
            Some(0.0) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    });
    // Killed and started again: what was told is not told twice.
    instance.kill();
    instance.resume();
    write(7);
    groups::commit_by_hand(&system.kafka, "reader", 0, total + 7, "");
    let labels =
        Attributes::from([("topic", TOPIC), ("consumer_group", "reader")].map(|(a, b)| (a.to_owned(), b.to_owned())));
    eventually("what the reader consumed", SOON, || {
        let points = system.collector.points();
        let mut of_messages = labels.clone();
        of_messages.insert("status".to_owned(), "success".to_owned());
        let messages = points
            .last("kafka_consumer_messages_total")
            .get(&of_messages)
            .map(number);
        let bytes = points.last("kafka_consumer_bytes_total").get(&labels).map(number);
        let latencies = match points.last("kafka_consumer_latency_seconds").get(&labels) {
            Some(Value::Histogram { count, .. }) => Some(*count),
            _ => None,
        };
        let expected = total + 7;
        match (messages, bytes, latencies) {
            (Some(messages), Some(bytes), Some(count))
                if messages == expected as f64 && bytes == (expected * 100) as f64 && count == expected as u64 =>
            {
                Ok(())
            }
            other => Err(format!("{other:?} and not {expected}")),
        }
    });
    assert_eq!(system.collector.points().faults(), Vec::<String>::new());
    instance.stop();
    let (code, said) = system.application.audit();
    assert!(code == Some(0) && said.contains("__consumer_offsets"), "{said}");
}
