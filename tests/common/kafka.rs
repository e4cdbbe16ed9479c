//! A Kafka broker on this machine, and what a test wants of it.

use std::collections::{HashMap, VecDeque};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::{Header, Headers, Message, OwnedHeaders, Timestamp};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use streamgauge::client::{Delivery, Instrumentation, InstrumentedProducer, Outgoing};

use super::broker::{Broker, BrokerOptions};
use super::eventually;

const CALL: Duration = Duration::from_secs(15);

/// A broker that is its own controller, and perhaps others.
pub struct Kafka {
    broker: Broker,
    /// Node 2 and on.
    others: Vec<Broker>,
}

/// A record as it lies in the log.
#[derive(Clone, Debug)]
pub struct Stored {
    pub topic: String,
    pub partition: u32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// The broker's clock, not the writer's.
    pub appended: bool,
    pub headers: HashMap<String, String>,
}

/// A record to write.
#[derive(Clone, Debug, Default)]
pub struct Write {
    pub topic: String,
    pub partition: u32,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// Milliseconds since the epoch; the client's clock without it.
    pub timestamp: Option<i64>,
    pub headers: Vec<(String, String)>,
}

impl Kafka {
    pub fn start() -> Self {
        Self::start_as(&BrokerOptions::default())
    }

    /// With further lines of server.properties.
    pub fn start_with(properties: &[(&str, &str)]) -> Self {
        Self::start_as(&BrokerOptions::with(properties))
    }

    pub fn start_as(options: &BrokerOptions) -> Self {
        Self {
            broker: Broker::start(options),
            others: Vec::new(),
        }
    }

    /// Two brokers that both have everything, so that one can be killed as in production: the other takes over.
    ///
    /// Exactly-once tests must not kill the only broker. Where a partition has no leader at the moment when its transaction
    /// ends, as while the only broker starts, the coordinator of Kafka 4.3.1 takes the topic for deleted and writes no
    /// marker (`TransactionMarkerChannelManager`; 4.0 waited for the leader): what was aborted is then committed with the
    /// next transaction, committed offsets are lost, or the transaction hangs.
    pub fn start_pair() -> Self {
        let options = BrokerOptions::with(&[
            ("offsets.topic.replication.factor", "2"),
            ("transaction.state.log.replication.factor", "2"),
            ("default.replication.factor", "2"),
            // The other one leads within this time, well within what the pipeline's sources may be late.
            ("broker.session.timeout.ms", "4000"),
        ]);
        let broker = Broker::start(&options);
        let others = vec![broker.joined_by(&options)];
        Self { broker, others }
    }

    /// Three brokers that hold everything together.
    pub fn start_trio() -> Self {
        let options = BrokerOptions::with(&[
            ("offsets.topic.replication.factor", "3"),
            ("transaction.state.log.replication.factor", "3"),
            ("default.replication.factor", "3"),
        ]);
        let broker = Broker::start(&options);
        let second = broker.joined_by(&options);
        let third = second.joined_by(&options);
        Self {
            broker,
            others: vec![second, third],
        }
    }

    pub fn bootstrap(&self) -> String {
        let all = std::iter::once(&self.broker).chain(&self.others);
        all.map(Broker::bootstrap).collect::<Vec<_>>().join(",")
    }

    /// Starts the broker again after `kill`, and waits until it answers.
    pub fn resume(&mut self) {
        self.others.last_mut().unwrap_or(&mut self.broker).resume();
    }

    /// SIGKILL: the last broker where there are several.
    pub fn kill(&mut self) {
        self.others.last_mut().unwrap_or(&mut self.broker).kill();
    }

    /// The last broker hangs, or goes on.
    pub fn hangs(&mut self, does: bool) {
        self.others.last_mut().unwrap_or(&mut self.broker).hangs(does);
    }

    /// SIGKILL to every broker.
    pub fn kill_all(&mut self) {
        self.others.iter_mut().for_each(Broker::kill);
        self.broker.kill();
    }

    /// Runs one of Kafka's own tools, for a second opinion. Returns what it printed.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> String {
        self.broker.tool(class, arguments)
    }

    /// What Kafka's own dump tool prints of `__consumer_offsets`.
    pub fn dump_offsets(&self) -> String {
        self.broker.dump_offsets()
    }

    /// Creates a topic with further settings, and waits until every partition has a leader.
    pub fn create_topic(&self, name: &str, partitions: u32, settings: &[(&str, &str)]) {
        let count = i32::try_from(partitions).expect("few partitions");
        let mut topic = NewTopic::new(name, count, TopicReplication::Fixed(-1));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        let admin = self.admin();
        let result = block_on(admin.create_topics([&topic], &options())).expect("an answer");
        assert!(result[0].is_ok(), "{name} is not created: {result:?}");
        eventually(&format!("topic {name}"), CALL, || {
            let found = admin.inner().fetch_metadata(Some(name), CALL);
            let found = found.map_err(|error| error.to_string())?;
            let led = found.topics().first().map_or(0, |topic| {
                topic
                    .partitions()
                    .iter()
                    .filter(|partition| partition.leader() >= 0)
                    .count()
            });
            if led == partitions as usize {
                Ok(())
            } else {
                Err(format!("{led} of {partitions} partitions have a leader"))
            }
        });
    }

    /// Creates a topic whose partitions lie on these brokers alone, one each.
    pub fn create_topic_on(&self, name: &str, brokers: &[i32]) {
        let replicas: Vec<&[i32]> = brokers.iter().map(std::slice::from_ref).collect();
        let count = i32::try_from(brokers.len()).expect("few partitions");
        let topic = NewTopic::new(name, count, TopicReplication::Variable(&replicas));
        let result = block_on(self.admin().create_topics([&topic], &options())).expect("an answer");
        assert!(result[0].is_ok(), "{name} is not created: {result:?}");
    }

    /// Deletes the records of a partition before this offset.
    pub fn delete_records(&self, topic: &str, partition: u32, before: i64) {
        let mut offsets = TopicPartitionList::new();
        let partition = i32::try_from(partition).expect("few");
        offsets
            .add_partition_offset(topic, partition, Offset::Offset(before))
            .expect("a valid offset");
        let result = block_on(self.admin().delete_records(&offsets, &options())).expect("an answer");
        result.elements()[0].error().expect("the records are deleted");
    }

    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", self.bootstrap())
            .set("reconnect.backoff.max.ms", "500")
            .set("log_level", "2");
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().expect("an admin client")
    }

    /// Raises the number of partitions to `total`.
    pub fn add_partitions(&self, name: &str, total: usize) {
        let result = block_on(
            self.admin()
                .create_partitions([&NewPartitions::new(name, total)], &options()),
        )
        .expect("an answer");
        assert!(result[0].is_ok(), "{name} gets no partitions: {result:?}");
    }

    pub fn delete_topic(&self, name: &str) {
        let result = block_on(self.admin().delete_topics(&[name], &options())).expect("an answer");
        assert!(result[0].is_ok(), "{name} is not deleted: {result:?}");
    }

    /// One that nobody measures.
    pub fn writer(&self) -> Writer {
        self.measured_writer("writer", &Instrumentation::global())
    }

    /// One whose numbers and spans go where these go.
    pub fn measured_writer(&self, producer_id: &str, to: &Instrumentation) -> Writer {
        let mut config = self.client();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "5")
            .set("message.max.bytes", "20000000")
            .set("delivery.timeout.ms", "300000")
            .set("queue.buffering.max.messages", "500000");
        Writer {
            producer: InstrumentedProducer::new(&config, producer_id, to).expect("a producer"),
            open: Mutex::default(),
        }
    }

    /// Everything that lies in a topic, control records and aborted data left out if `committed_only`.
    pub fn read(&self, topic: &str, committed_only: bool) -> Vec<Stored> {
        let mut config = self.client();
        config
            .set("group.id", "test-reader")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .set("fetch.message.max.bytes", "20000000")
            .set(
                "isolation.level",
                if committed_only {
                    "read_committed"
                } else {
                    "read_uncommitted"
                },
            );
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let mut assignment = TopicPartitionList::new();
        let partitions = self.partitions(topic);
        for partition in 0..partitions {
            let partition = i32::try_from(partition).expect("few");
            assignment
                .add_partition_offset(topic, partition, Offset::Beginning)
                .expect("a valid offset");
        }
        consumer.assign(&assignment).expect("an assignment");
        let mut stored = Vec::new();
        let mut ended = 0;
        let began = Instant::now();
        while ended < partitions {
            assert!(
                began.elapsed() < Duration::from_secs(120),
                "{topic} cannot be read to its end"
            );
            match consumer.poll(Duration::from_secs(1)) {
                None => {}
                Some(Ok(message)) => stored.push(Stored {
                    topic: topic.to_owned(),
                    partition: u32::try_from(message.partition()).expect("not negative"),
                    offset: message.offset(),
                    key: message.key().map(<[u8]>::to_vec),
                    value: message.payload().map(<[u8]>::to_vec),
                    timestamp: message.timestamp().to_millis().unwrap_or(-1),
                    appended: matches!(message.timestamp(), Timestamp::LogAppendTime(_)),
                    headers: message.headers().map(text_headers).unwrap_or_default(),
                }),
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => ended += 1,
                Some(Err(error)) => panic!("reading {topic}: {error}"),
            }
        }
        stored
    }

    pub fn partitions(&self, topic: &str) -> u32 {
        let client: BaseConsumer = self.client().create().expect("a client");
        let metadata = client.fetch_metadata(Some(topic), CALL).expect("metadata");
        u32::try_from(metadata.topics()[0].partitions().len()).expect("few")
    }

    /// Last stable offset and high watermark of each partition.
    pub fn ends(&self, topic: &str) -> Vec<(i64, i64)> {
        let client = |isolation: &str| -> BaseConsumer {
            let mut config = self.client();
            config.set("isolation.level", isolation);
            config.create().expect("a client")
        };
        let end = |client: &BaseConsumer, partition: u32| {
            let partition = i32::try_from(partition).expect("few");
            client.fetch_watermarks(topic, partition, CALL).expect("ends").1
        };
        let (committed, all) = (client("read_committed"), client("read_uncommitted"));
        (0..self.partitions(topic))
            .map(|partition| (end(&committed, partition), end(&all, partition)))
            .collect()
    }

    /// The group's committed offsets of a topic, with their metadata.
    pub fn committed(&self, group: &str, topic: &str) -> Vec<Option<(i64, String)>> {
        let consumer: BaseConsumer = self.client().set("group.id", group).create().expect("a client");
        let mut asked = TopicPartitionList::new();
        asked.add_partition_range(topic, 0, i32::try_from(self.partitions(topic)).expect("few") - 1);
        let answered = eventually("the group's offsets", Duration::from_secs(60), || {
            consumer
                .committed_offsets(asked.clone(), CALL)
                .map_err(|error| error.to_string())
        });
        let offset = |element: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match element.offset() {
            Offset::Offset(offset) => Some((offset, element.metadata().to_owned())),
            _ => None,
        };
        answered.elements().iter().map(offset).collect()
    }

    /// Sets a group's offset by hand, as an operator's tool does: without metadata. The group must be empty.
    pub fn reset(&self, group: &str, topic: &str, partition: u32, offset: i64) {
        let consumer: BaseConsumer = self.client().set("group.id", group).create().expect("a client");
        let mut offsets = TopicPartitionList::new();
        let partition = i32::try_from(partition).expect("few");
        offsets
            .add_partition_offset(topic, partition, Offset::Offset(offset))
            .expect("a valid offset");
        eventually("the group lets its offset be set", Duration::from_secs(30), || {
            consumer
                .commit(&offsets, CommitMode::Sync)
                .map_err(|error| error.to_string())
        });
    }
}

fn text_headers(headers: &rdkafka::message::BorrowedHeaders) -> HashMap<String, String> {
    let text = |value: Option<&[u8]>| String::from_utf8_lossy(value.unwrap_or_default()).into_owned();
    headers
        .iter()
        .map(|header| (header.key.to_owned(), text(header.value)))
        .collect()
}

fn options() -> AdminOptions {
    AdminOptions::new()
        .request_timeout(Some(CALL))
        .operation_timeout(Some(CALL))
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// Writes each record exactly once, also over a broker's restart, as an application would: with a producer that measures
/// itself.
pub struct Writer {
    producer: InstrumentedProducer,
    /// What is on its way, oldest first.
    open: Mutex<VecDeque<Delivery>>,
}

/// Fewer than the client's queue holds.
const OPEN: usize = 100_000;

impl Writer {
    /// Hands a record to the client, waiting while too many are on their way.
    pub fn write(&self, write: &Write) {
        let headers = write.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
            headers.insert(Header {
                key,
                value: Some(value),
            })
        });
        let delivery = self.producer.send_with_metrics(Outgoing {
            topic: &write.topic,
            partition: Some(i32::try_from(write.partition).expect("few")),
            key: write.key.as_deref(),
            value: write.value.as_deref(),
            timestamp: write.timestamp,
            headers: (!write.headers.is_empty()).then_some(headers),
        });
        let mut open = self.open.lock().expect("nobody panicked");
        open.push_back(delivery);
        while open.len() > OPEN {
            open.pop_front().into_iter().for_each(arrived);
        }
    }

    /// Everything written is in the log.
    pub fn flush(&self) {
        self.producer
            .flush(Duration::from_secs(120))
            .expect("the broker takes what was written");
        self.open.lock().expect("nobody panicked").drain(..).for_each(arrived);
    }
}

fn arrived(delivery: Delivery) {
    delivery.wait().expect("the broker takes what was written");
}
