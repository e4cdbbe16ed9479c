//! A group's committed offsets, for those who only look (`audit`).

use std::sync::PoisonError;
use std::time::Instant;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;

use super::CALL;
use super::admin::{ConnectError, ask, serve};
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
    // Why nobody answers is told in words only by this.
    let first = topics.and_then(<[String]>::first).map(String::as_str);
    let found = ask(connection, &consumer, first, Instant::now() + CALL).map_err(|error| match error {
        ConnectError::Login(said) | ConnectError::Settings(said) => LogError::Refused(said),
        ConnectError::Unreachable(said) => LogError::Retry(said),
    })?;
    let everything = match topics {
        Some(_) => Vec::new(),
        None => found.topics().iter().map(|topic| topic.name().to_owned()).collect(),
    };
    let mut partitions = Vec::new();
    for topic in topics.unwrap_or(&everything) {
        let found = consumer.fetch_metadata(Some(topic), CALL);
        let found = found.map_err(|error| trouble::asked_by(&error, About::DescribeTopic(topic)))?;
        for described in found.topics().iter().filter(|described| described.name() == topic) {
            if let Some(Code::TopicAuthorizationFailed) = described.error().map(Code::from) {
                return Err(trouble::asked(
                    Code::TopicAuthorizationFailed,
                    About::DescribeTopic(topic),
                ));
            }
            let count = u32::try_from(described.partitions().len()).unwrap_or(u32::MAX);
            partitions.extend((0..count).map(|partition| TopicPartition {
                topic: topic.clone(),
                partition,
            }));
        }
    }
    let about = About::OffsetsOf(group);
    let offsets = committed(&consumer, about, &partitions).map_err(|error| {
        // librdkafka looks for the group's coordinator until the time is up, also where it must not know it.
        serve(&consumer);
        let met = consumer.context().met.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = met.iter().any(|(code, _)| *code == Code::GroupAuthorizationFailed);
        if refused {
            trouble::asked(Code::GroupAuthorizationFailed, about)
        } else {
            error
        }
    })?;
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
