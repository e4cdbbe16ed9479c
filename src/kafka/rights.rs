//! Which rights the login lacks, before it hurts.
//!
//! Rule: rights on topics are asked for, since the brokers tell them with a topic (KIP-430). Those on groups and
//! transactional ids are told for nothing that does not exist yet, so they are tried: with a transaction that is aborted.
//!
//! Edges:
//! - brokers that do not tell rights claim nothing: what is missing there is named by the call that needs it;
//! - of a topic that does not exist only CREATE can be known, by a request that creates nothing;
//! - librdkafka (2.12) can wait for a group's coordinator that is there already until its connection is closed for idleness,
//!   ten minutes, whatever time it was given: an attempt has a thread of its own, and one that hangs is left behind;
//! - READ, WRITE and DELETE imply DESCRIBE, which is then not named beside them.

use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::bindings::rd_kafka_AclOperation_t as AclOperation;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;

use super::admin::{ConnectError, ask, metadata_client, wait_for};
use super::context::Quiet;
use super::settings::Connection;
use super::sys::{self, Described};
use super::transactions::Transactions;
use super::{CALL, trouble};
use crate::runtime::log::{CommitOffset, LogError, TopicPartition};

/// How long one attempt to try groups and transactional ids may take, and how many there are.
const ATTEMPT: Duration = Duration::from_secs(6);
const ATTEMPTS: u32 = 3;

/// What can be done with a topic, as Kafka's ACLs call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Read,
    Write,
    Create,
    Delete,
    Describe,
    DescribeConfigs,
}

/// What somebody wants to do with a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicNeed {
    pub topic: String,
    /// CREATE is looked at where the topic does not exist, the others where it does.
    pub operations: Vec<Operation>,
}

/// A topic, and what is missing there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    pub topic: String,
    pub operations: Vec<Operation>,
}

// === impl Operation ===

impl Operation {
    fn implies_describe(self) -> bool {
        matches!(self, Operation::Read | Operation::Write | Operation::Delete)
    }

    fn code(self) -> AclOperation {
        match self {
            Operation::Read => AclOperation::RD_KAFKA_ACL_OPERATION_READ,
            Operation::Write => AclOperation::RD_KAFKA_ACL_OPERATION_WRITE,
            Operation::Create => AclOperation::RD_KAFKA_ACL_OPERATION_CREATE,
            Operation::Delete => AclOperation::RD_KAFKA_ACL_OPERATION_DELETE,
            Operation::Describe => AclOperation::RD_KAFKA_ACL_OPERATION_DESCRIBE,
            Operation::DescribeConfigs => AclOperation::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Operation::Read => "READ",
            Operation::Write => "WRITE",
            Operation::Create => "CREATE",
            Operation::Delete => "DELETE",
            Operation::Describe => "DESCRIBE",
            Operation::DescribeConfigs => "DESCRIBE_CONFIGS",
        })
    }
}

// === impl Missing ===

impl Missing {
    /// The right, for the end of a sentence.
    pub fn right(&self) -> String {
        let operations: Vec<String> = self.operations.iter().map(Operation::to_string).collect();
        format!("{} on topic `{}`", operations.join(" and "), self.topic)
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&trouble::needs(&self.right()))?;
        if self.operations.contains(&Operation::Create) {
            f.write_str(", or create the topic yourself")?;
        }
        Ok(())
    }
}

/// What the login may not do of `needs`. Creates and changes nothing.
pub fn missing_on_topics(connection: &Connection, needs: &[TopicNeed]) -> Result<Vec<Missing>, ConnectError> {
    if needs.is_empty() {
        return Ok(Vec::new());
    }
    let client = metadata_client(connection)?;
    // A login that is not accepted is told in words only by this.
    let first = needs.first().map(|need| need.topic.as_str());
    ask(connection, &client, first, Instant::now() + CALL)?;
    let names: Vec<&str> = needs.iter().map(|need| need.topic.as_str()).collect();
    let described = match sys::describe_topics(client.client(), &names, CALL) {
        Ok(described) => described,
        Err(Code::UnsupportedFeature | Code::UnsupportedVersion) => return Ok(Vec::new()),
        Err(code) => {
            return Err(ConnectError::Unreachable(format!(
                "the brokers did not describe the topics: {code}"
            )));
        }
    };
    let mut missing = Vec::new();
    let mut absent = Vec::new();
    for need in needs {
        let told = described.iter().find(|described| described.name == need.topic);
        let known = |operation: &&Operation| **operation != Operation::Create;
        let operations: Vec<Operation> = match told {
            Some(Described {
                refused: Some(Code::TopicAuthorizationFailed),
                ..
            }) => refused_whole(&need.operations),
            Some(Described {
                refused: Some(Code::UnknownTopicOrPartition | Code::UnknownTopic),
                ..
            }) => {
                absent.extend(
                    need.operations
                        .contains(&Operation::Create)
                        .then_some(need.topic.as_str()),
                );
                Vec::new()
            }
            Some(Described {
                refused: None,
                allowed: Some(allowed),
                ..
            }) => {
                let denied = |operation: &&Operation| !allowed.contains(&operation.code());
                need.operations.iter().filter(known).filter(denied).copied().collect()
            }
            _ => Vec::new(),
        };
        if !operations.is_empty() {
            missing.push(Missing {
                topic: need.topic.clone(),
                operations: without_implied(operations),
            });
        }
    }
    missing.extend(not_to_be_created(connection, &absent)?);
    Ok(missing)
}

/// Of a topic that may not even be described: all that would imply DESCRIBE is missing, of the rest nothing is known.
fn refused_whole(needed: &[Operation]) -> Vec<Operation> {
    let implying: Vec<Operation> = needed
        .iter()
        .copied()
        .filter(|operation| operation.implies_describe())
        .collect();
    if implying.is_empty() {
        vec![Operation::Describe]
    } else {
        implying
    }
}

fn without_implied(mut operations: Vec<Operation>) -> Vec<Operation> {
    if operations.iter().any(|operation| operation.implies_describe()) {
        operations.retain(|operation| *operation != Operation::Describe);
    }
    operations
}

/// Which of these topics, none of which exists, may not be created.
fn not_to_be_created(connection: &Connection, topics: &[&str]) -> Result<Vec<Missing>, ConnectError> {
    if topics.is_empty() {
        return Ok(Vec::new());
    }
    let admin: AdminClient<Quiet> = connection
        .admin_client()
        .create_with_context(Quiet::default())
        .map_err(|error| ConnectError::Settings(format!("--kafka: {error}")))?;
    let new: Vec<NewTopic<'_>> = topics
        .iter()
        .map(|topic| NewTopic::new(topic, 1, TopicReplication::Fixed(1)))
        .collect();
    let options = AdminOptions::new().request_timeout(Some(CALL)).validate_only(true);
    // Who does not answer claims nothing.
    let answers = wait_for(admin.create_topics(&new, &options)).unwrap_or_default();
    let refused = answers.into_iter().filter_map(|answer| match answer {
        Err((topic, Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed)) => Some(topic),
        _ => None,
    });
    Ok(refused
        .map(|topic| Missing {
            topic,
            operations: vec![Operation::Create],
        })
        .collect())
}

/// What the login may not do with this transactional id and these groups, in words, one right each. Groups are tried with an
/// offset of `topic`, which exists; without one they are not tried.
pub fn missing_in_transactions(
    connection: &Connection,
    transactional_id: &str,
    groups: &[String],
    topic: Option<&str>,
) -> Result<Vec<String>, ConnectError> {
    for _ in 0..ATTEMPTS {
        let (done, answer) = std::sync::mpsc::channel();
        let (connection, id) = (connection.clone(), transactional_id.to_owned());
        let (groups, topic) = (groups.to_vec(), topic.map(str::to_owned));
        let spawned = std::thread::Builder::new().name("rights".to_owned()).spawn(move || {
            // Nobody waits any more for an answer that comes too late.
            let _ = done.send(attempt(&connection, id, &groups, topic.as_deref()));
        });
        if let Ok(missing) = answer.recv_timeout(ATTEMPT) {
            return missing;
        }
        if spawned.is_err() {
            break;
        }
    }
    Err(ConnectError::Unreachable(format!(
        "the rights on groups and transactional ids could not be tried: no answer from the brokers at {}",
        connection.bootstrap()
    )))
}

/// One attempt of [`missing_in_transactions`].
fn attempt(
    connection: &Connection,
    transactional_id: String,
    groups: &[String],
    topic: Option<&str>,
) -> Result<Vec<String>, ConnectError> {
    let deadline = Instant::now() + ATTEMPT;
    let mut transactions = Transactions::new(connection.clone(), transactional_id, false);
    let mut missing = Vec::new();
    let mut note = |result: Result<(), LogError>| {
        if let Err(LogError::Refused(why)) = &result
            && !missing.contains(why)
        {
            missing.push(why.clone());
        }
        result.is_ok()
    };
    let mut usable = note(again(deadline, || transactions.init(false)));
    let offset = topic.map(|topic| CommitOffset {
        partition: TopicPartition {
            topic: topic.to_owned(),
            partition: 0,
        },
        offset: 0,
        metadata: String::new(),
    });
    for group in groups {
        let Some(offset) = offset.as_ref().filter(|_| usable) else {
            break;
        };
        let consumer: BaseConsumer<Quiet> = connection
            .offsets_consumer(group)
            .create_with_context(Quiet::default())
            .map_err(|error| ConnectError::Settings(format!("--kafka: {error}")))?;
        let Some(nobody) = consumer.group_metadata() else {
            continue;
        };
        note(transactions.begin());
        // A group that has members refuses the offset of somebody who is none, but not before it has looked at rights.
        let offset = std::slice::from_ref(offset);
        note(again(deadline, || transactions.send_offsets(offset, &nobody, group)));
        usable = note(again(deadline, || transactions.abort()));
    }
    transactions.close();
    Ok(missing)
}

/// Until there is an answer, or no time.
pub(super) fn again(deadline: Instant, mut call: impl FnMut() -> Result<(), LogError>) -> Result<(), LogError> {
    loop {
        match call() {
            Err(LogError::Retry(_)) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
            answer => return answer,
        }
    }
}
