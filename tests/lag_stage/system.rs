//! A broker, a collector and an application that wants lag, and what is asked of them.

use super::*;

pub struct System {
    pub kafka: Kafka,
    pub collector: Collector,
    pub application: Application,
    _folder: tempfile::TempDir,
}

impl System {
    pub fn of(kafka: Kafka, lag: &str) -> Self {
        let folder = folder();
        let collector = Collector::start(folder.path());
        let pipeline: PathBuf = folder.path().join("lag.yaml");
        std::fs::write(&pipeline, format!("pipeline: lag\nlag: {lag}")).expect("a pipeline");
        let mut application = Application::new(folder.path(), &pipeline, &kafka.bootstrap(), &collector.endpoint());
        application.id = "watcher".to_owned();
        Self {
            kafka,
            collector,
            application,
            _folder: folder,
        }
    }

    /// The newest values of a metric of groups other than our own.
    pub fn values(&mut self, metric: &str) -> BTreeMap<Place, f64> {
        let last = self.collector.points().last(metric);
        let of_others = last.iter().filter(|(attributes, _)| !is_own(attributes));
        of_others
            .map(|(attributes, value)| (place(attributes), number(value)))
            .collect()
    }

    /// The one state of each that is one.
    pub fn states(&mut self, metric: &str, label: &str) -> BTreeMap<Attributes, String> {
        let mut states = BTreeMap::new();
        for (mut attributes, value) in self.collector.points().last(metric) {
            let state = attributes.remove(label).expect("a state");
            if !is_own(&attributes) && number(&value) == 1.0 {
                let before = states.insert(attributes, state);
                assert_eq!(before, None, "one of them holds");
            }
        }
        states
    }
}

pub fn is_own(attributes: &Attributes) -> bool {
    attributes
        .get("consumer_group")
        .is_some_and(|group| group.starts_with("watcher"))
}

pub fn place(attributes: &Attributes) -> Place {
    let partition = attributes.get("partition").map_or("0", String::as_str);
    (
        attributes["consumer_group"].clone(),
        attributes.get("topic").cloned().unwrap_or_default(),
        partition.parse().expect("a number"),
    )
}

pub fn number(value: &Value) -> f64 {
    match value {
        Value::Integer(value) => *value as f64,
        Value::Decimal(value) => *value,
        other => panic!("{other:?}"),
    }
}

/// Committed offset, log end and lag by Kafka's own tool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Told {
    pub committed: i64,
    pub end: i64,
    pub lag: i64,
}

/// Of groups other than our own, where it knows all three.
pub fn told(kafka: &Kafka) -> BTreeMap<Place, Told> {
    let told = groups::told(kafka)
        .into_iter()
        .filter_map(|(place, (committed, end, lag))| {
            let told = Told {
                committed: committed?,
                end: end?,
                lag: lag?,
            };
            Some((place, told))
        });
    told.filter(|((group, ..), _)| !group.starts_with("watcher")).collect()
}

pub fn write(producer: &BaseProducer, topic: &str, records: u32) {
    for number in 0..records {
        let value = number.to_string();
        let record: BaseRecord<'_, [u8], str> = BaseRecord::to(topic).partition(0).payload(&value);
        assert!(producer.send(record).is_ok(), "{topic} is not written");
    }
    producer.flush(CALL).expect("the records are in the log");
}

pub fn commit_in(kafka: &Kafka, group: &str, topic: &str, offset: i64) {
    use rdkafka::consumer::CommitMode;
    use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
    let consumer: BaseConsumer = kafka.client().set("group.id", group).create().expect("a consumer");
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, 0, Offset::Offset(offset))
        .expect("an offset");
    eventually(group, CALL, || {
        consumer
            .commit(&list, CommitMode::Sync)
            .map_err(|error| error.to_string())
    });
}

/// Deletes a group, as soon as its members have left.
pub fn delete(kafka: &Kafka, group: &str) {
    eventually(&format!("{group} is deleted"), SOON, || {
        let said = kafka.tool(
            "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
            &["--delete", "--group", group],
        );
        match said.contains("successful") {
            true => Ok(()),
            false => Err(said),
        }
    });
}
