//! While groups read and commit no value lies beyond what Kafka's own tool said before and after it.

use super::*;

/// Writes, and groups that read, until it is dropped.
pub struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Three groups of different speed, each of which has been shown in every partition.
    pub fn of_three(system: &mut System) -> Self {
        let load = Load::start(&system.kafka, &[("fast", 0), ("slow", 40), ("slower", 150)]);
        eventually("three groups", SOON, || {
            match system.values("kafka_consumer_lag").len() {
                9 => Ok(()),
                other => Err(format!("{other} partitions")),
            }
        });
        load
    }

    pub fn start(kafka: &Kafka, groups: &[(&'static str, u64)]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        let of_writer = Arc::clone(&stop);
        let writer = kafka.writer();
        threads.push(std::thread::spawn(move || {
            let mut number = 0;
            while !of_writer.load(Ordering::Relaxed) {
                for _ in 0..50 {
                    writer.write(&Write {
                        topic: TOPIC.to_owned(),
                        partition: number % PARTITIONS,
                        value: Some(b"order".to_vec()),
                        ..Write::default()
                    });
                    number += 1;
                }
                writer.flush();
                std::thread::sleep(Duration::from_millis(20));
            }
        }));
        for (group, pause) in groups {
            let stop = Arc::clone(&stop);
            let consumer: BaseConsumer = kafka
                .client()
                .set("group.id", *group)
                .set("auto.offset.reset", "earliest")
                .set("auto.commit.interval.ms", "100")
                .create()
                .expect("a consumer");
            consumer.subscribe(&[TOPIC]).expect("a subscription");
            let pause = Duration::from_millis(*pause);
            threads.push(std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Some(Ok(record)) = consumer.poll(Duration::from_millis(50)) {
                        // A slow one falls behind.
                        if record.offset() % 10 == 0 {
                            std::thread::sleep(pause);
                        }
                    }
                }
            }));
        }
        Self { stop, threads }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "a thread of the load failed");
        }
    }
}

/// Every point between two readings of Kafka's tool lies within what they allow.
pub fn within(
    before: &BTreeMap<Place, Told>,
    after: &BTreeMap<Place, Told>,
    points: &Points,
    span: (u64, u64),
) -> usize {
    let mut compared = 0;
    for (id, series) in points
        .of("kafka_consumer_lag")
        .filter(|(id, _)| !is_own(&id.attributes))
    {
        let place = place(&id.attributes);
        let (Some(before), Some(after)) = (before.get(&place), after.get(&place)) else {
            continue;
        };
        for point in series
            .points
            .iter()
            .filter(|point| (span.0..span.1).contains(&point.time))
        {
            let lag = number(point.value.as_ref().expect("it lives")) as i64;
            let least = (before.end - after.committed).max(0);
            let most = after.end - before.committed;
            assert!(
                (least..=most).contains(&lag),
                "{place:?}: {lag} is not within {least} and {most}"
            );
            compared += 1;
        }
    }
    compared
}

/// Compares three points of each partition with what Kafka's tool says before and after them. Returns how many there were.
pub fn round(system: &mut System) -> usize {
    let nanos = || u64::try_from(now_micros()).expect("after 1970") * 1_000;
    let before = told(&system.kafka);
    // What the tool said before may be older than what the last point before it was compared with.
    let began = nanos() + 1_000_000_000;
    eventually("three points of each partition", SOON, || {
        let points = system.collector.points();
        let since = |series: &Series| series.points.iter().filter(|point| point.time >= began).count();
        let counts = points
            .of("kafka_consumer_lag")
            .filter(|(id, _)| before.contains_key(&place(&id.attributes)))
            .map(|(_, series)| since(series));
        match counts.min() {
            Some(count) if count >= 3 => Ok(()),
            other => Err(format!("{other:?} of the one with the fewest")),
        }
    });
    let ended = nanos();
    let after = told(&system.kafka);
    within(&before, &after, system.collector.points(), (began, ended))
}

/// In the end it is what Kafka's tool says, to the offset.
pub fn quiet(system: &mut System) {
    eventually("lag as Kafka's tool has it", SOON, || {
        let expected: BTreeMap<Place, f64> = told(&system.kafka)
            .into_iter()
            .map(|(place, told)| (place, told.lag as f64))
            .collect();
        match system.values("kafka_consumer_lag") {
            shown if shown == expected => Ok(()),
            other => Err(format!("{other:?} and not {expected:?}")),
        }
    });
}

/// What three rounds promise: enough was compared, and every series has had one resource throughout.
pub fn three_rounds_held(system: &mut System, compared: usize) {
    assert!(compared >= 3 * 3 * 9, "{compared} points compared");
    println!("{compared} points lie within what two readings of Kafka's tool allow");
    let points = system.collector.points();
    assert_eq!(points.faults(), Vec::<String>::new());
    let series: BTreeSet<&Attributes> = points.of("kafka_consumer_lag").map(|(id, _)| &id.attributes).collect();
    assert_eq!(
        series.len(),
        points.of("kafka_consumer_lag").count(),
        "one resource for each"
    );
}

#[test]
fn under_load_two_and_three_instances_share_the_work_and_no_value_lies_beyond_what_kafkas_tool_allows() {
    let _turn = my_turn();
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, PARTITIONS, &[]);
    groups::fill(&kafka, 20);
    let mut system = System::of(kafka, "{ every: 1s }\n");
    let mut first = system.application.start("one");
    let mut second = system.application.start("two");
    let load = Load::of_three(&mut system);
    let mut compared = round(&mut system);
    let split = shares(&system, &[&first, &second]);
    assert!(split.iter().all(|share| (20..=30).contains(share)), "{split:?}");
    let mut third = system.application.start("three");
    eventually("three of them share", SOON, || {
        let split = shares(&system, &[&first, &second, &third]);
        match split.iter().all(|share| (12..=22).contains(share)) {
            true => Ok(()),
            false => Err(format!("{split:?}")),
        }
    });
    compared += round(&mut system);
    second.kill();
    eventually("two have the partitions of three", SOON, || {
        let split = shares(&system, &[&first, &third]);
        match split.iter().sum::<usize>() {
            50 => Ok(()),
            other => Err(format!("{other} partitions")),
        }
    });
    compared += round(&mut system);
    drop(load);
    quiet(&mut system);
    consumed_is_committed(&mut system);
    three_rounds_held(&mut system, compared);
    first.stop();
    third.stop();
}

/// The counter is what the commits went over since the first one.
fn consumed_is_committed(system: &mut System) {
    let told = told(&system.kafka);
    let points = system.collector.points();
    let mut first: BTreeMap<Place, i64> = BTreeMap::new();
    for (id, series) in points
        .of("kafka_consumer_offset")
        .filter(|(id, _)| !is_own(&id.attributes))
    {
        let offset = series.points.iter().min_by_key(|point| point.time).expect("a point");
        let offset = number(offset.value.as_ref().expect("a value")) as i64;
        first.insert(place(&id.attributes), offset);
    }
    for (attributes, value) in points.last("kafka_consumer_messages_total") {
        if is_own(&attributes) {
            continue;
        }
        let group = &attributes["consumer_group"];
        let of_group = told.iter().filter(|((of, ..), _)| of == group);
        let committed: i64 = of_group.clone().map(|(_, told)| told.committed).sum();
        let seen: i64 = of_group.map(|(place, told)| told.committed - first[place]).sum();
        let counted = number(&value) as i64;
        // The first commit is earlier than the first point.
        assert!(
            (seen..=committed).contains(&counted),
            "{group}: {counted}, {seen}, {committed}"
        );
    }
}

/// How many partitions of the offsets topic each of them has.
pub fn shares(system: &System, instances: &[&Instance]) -> Vec<usize> {
    let told = system.kafka.tool(
        "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
        &["--describe", "--group", "watcher-lag", "--members", "--verbose"],
    );
    let of = |name: &str| {
        let line = told.lines().find(|line| line.contains(&format!("{name}-0")));
        let count = line.map(|line| line.split_whitespace().nth(5).map(str::parse::<usize>));
        count.flatten().and_then(Result::ok).unwrap_or(0)
    };
    instances.iter().map(|instance| of(&instance.name)).collect()
}
