//! How the cluster is, as it says itself: its brokers, and who leads and holds the partitions of some topics.
//!
//! Rule: one question for the brokers and one for all topics, each answered or given up within [`CALL`].
//!
//! Edges:
//! - brokers that are down are not listed: who wants to know of them has to remember them;
//! - a topic that may not be described is none that is not there: the missing right is named.

use std::time::Instant;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;

use super::CALL;
use super::admin::{BrokerInfo, ConnectError, ask, brokers_in, metadata_client};
use super::context::Quiet;
use super::settings::Connection;
use super::sys::{self, Described};
use super::trouble;

/// Topics in one question.
const TOPICS: usize = 500;

/// One topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicCheck {
    pub topic: String,
    /// `None` where the topic does not exist; else what keeps it from being described.
    pub partitions: Option<Result<Vec<PartitionCheck>, String>>,
}

/// Brokers by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionCheck {
    pub partition: i32,
    pub leader: Option<i32>,
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
}

/// Asks.
pub struct Checkup {
    connection: Connection,
    client: BaseConsumer<Quiet>,
}

// === impl Checkup ===

impl Checkup {
    pub fn new(connection: &Connection) -> Result<Self, ConnectError> {
        Ok(Self {
            connection: connection.clone(),
            client: metadata_client(connection)?,
        })
    }

    /// The brokers that are up. Asks with the name of some topic, since the list of all can be long.
    pub fn brokers(&self, topic: &str) -> Result<Vec<BrokerInfo>, ConnectError> {
        let found = ask(&self.connection, &self.client, Some(topic), Instant::now() + CALL)?;
        Ok(brokers_in(&found))
    }

    /// Each of these topics.
    pub fn topics(&self, topics: &[String]) -> Result<Vec<TopicCheck>, ConnectError> {
        let mut checks = Vec::with_capacity(topics.len());
        for topics in topics.chunks(TOPICS) {
            let names: Vec<&str> = topics.iter().map(String::as_str).collect();
            let described = sys::describe_topics(self.client.client(), &names, CALL).map_err(|code| {
                ConnectError::Unreachable(format!("the brokers did not describe the topics: {code}"))
            })?;
            checks.extend(described.into_iter().map(checked));
        }
        Ok(checks)
    }
}

fn checked(described: Described) -> TopicCheck {
    let partitions = match described.refused {
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => None,
        Some(code) => Some(Err(trouble::undescribed(code, &described.name))),
        None => {
            let partition = |partition: sys::DescribedPartition| PartitionCheck {
                partition: partition.partition,
                leader: partition.leader,
                replicas: partition.replicas,
                in_sync: partition.in_sync,
            };
            let mut partitions: Vec<PartitionCheck> = described.partitions.into_iter().map(partition).collect();
            partitions.sort_unstable_by_key(|partition| partition.partition);
            Some(Ok(partitions))
        }
    };
    TopicCheck {
        topic: described.name,
        partitions,
    }
}
