//! A group's committed offsets, for those who only look (`audit`).

use rdkafka::consumer::{BaseConsumer, Consumer};

use super::CALL;
use super::context::Quiet;
use super::group::committed;
use super::settings::Connection;
use super::trouble::{self, About};
use crate::runtime::log::{Committed, LogError, TopicPartition};

/// Every committed offset that `group` has in these topics (`None`: in all of the cluster), with its metadata. Joins nothing, moves nothing.
///
/// `Retry` while brokers do not answer; `Refused` names the missing right.
pub fn fetch_group_offsets(
    connection: &Connection,
    group: &str,
    topics: Option<&[String]>,
) -> Result<Vec<(TopicPartition, Committed)>, LogError> {
    let consumer: BaseConsumer<Quiet> = connection
        .offsets_consumer(group)
        .create_with_context(Quiet::default())
        .map_err(|error| LogError::Refused(format!("group `{group}`: {error}")))?;
    let everything = match topics {
        Some(_) => Vec::new(),
        None => {
            let found = consumer.fetch_metadata(None, CALL);
            let found = found.map_err(|error| trouble::asked_by(&error, About::DescribeTopic("*")))?;
            found.topics().iter().map(|topic| topic.name().to_owned()).collect()
        }
    };
    let mut partitions = Vec::new();
    for topic in topics.unwrap_or(&everything) {
        let found = consumer.fetch_metadata(Some(topic), CALL);
        let found = found.map_err(|error| trouble::asked_by(&error, About::DescribeTopic(topic)))?;
        for described in found.topics().iter().filter(|described| described.name() == topic) {
            let count = u32::try_from(described.partitions().len()).unwrap_or(u32::MAX);
            partitions.extend((0..count).map(|partition| TopicPartition {
                topic: topic.clone(),
                partition,
            }));
        }
    }
    let offsets = committed(&consumer, group, &partitions)?;
    Ok(partitions
        .into_iter()
        .zip(offsets)
        .filter_map(|(partition, offset)| Some((partition, offset?)))
        .collect())
}

/// The high watermarks of all partitions of `topic`, added up: zero for a topic that nobody ever wrote to.
pub fn log_end_sum(connection: &Connection, topic: &str) -> Result<i64, LogError> {
    let consumer: BaseConsumer<Quiet> = connection
        .metadata_client()
        .create_with_context(Quiet::default())
        .map_err(|error| LogError::Refused(format!("topic `{topic}`: {error}")))?;
    let asked = |error| trouble::asked_by(&error, About::DescribeTopic(topic));
    let found = consumer.fetch_metadata(Some(topic), CALL).map_err(asked)?;
    let mut sum = 0;
    for described in found.topics().iter().filter(|described| described.name() == topic) {
        for partition in described.partitions() {
            sum += consumer.fetch_watermarks(topic, partition.id(), CALL).map_err(asked)?.1;
        }
    }
    Ok(sum)
}
