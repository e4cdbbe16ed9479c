//! The internal topics: created where they are missing, verified where they are not.
//!
//! Rule: a topic that is there is never changed. What would break the pipeline (another number of partitions, another
//! cleanup policy) is an error that says what would be right; a limit that may hurt later is a note.
//!
//! Edges:
//! - another instance may create the same topic at the same moment: that is fine;
//! - a new topic is waited for until the brokers' metadata shows it with a leader in every partition;
//! - a principal that must not describe configurations gets a note, since the topic may well be right.

use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::RDKafkaErrorCode as Code;

use super::admin::{ConnectError, ask, metadata_client, topic_in, wait_for};
use super::context::Quiet;
use super::rights::{Missing, Operation};
use super::settings::Connection;
use super::trouble::{self, About};

/// How long an admin request may take.
const REQUEST: Duration = Duration::from_secs(10);

/// How long new topics may take to show.
const SHOWN: Duration = Duration::from_secs(15);

/// How a topic forgets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    Delete,
    Compact,
}

/// A topic as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSpec {
    pub name: String,
    pub partitions: u32,
    pub cleanup: Cleanup,
    /// -1 keeps for ever; `None` leaves it to the brokers. Only said when the topic is created. Milliseconds.
    pub retention_ms: Option<i64>,
    /// The topic must take batches of this size. Bytes.
    pub max_message_bytes: u32,
    /// `None` or -1 leaves it to the brokers. Only said when the topic is created.
    pub replication: Option<i32>,
}

/// What was done, and what a person should know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Created {
    pub created: Vec<String>,
    pub notes: Vec<String>,
}

/// Why the topics are not as they must be. Each message says what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnsureError {
    #[error(
        "topic `{topic}` has {has} partitions and must have {wants}: give --shuffle-partitions {has}, or delete the internal topics of this application to start over"
    )]
    Partitions { topic: String, has: u32, wants: u32 },
    #[error(
        "topic `{topic}` has cleanup.policy={has} and must have cleanup.policy={wants}: kafka-configs.sh --alter --entity-type topics --entity-name {topic} --add-config cleanup.policy={wants}"
    )]
    Cleanup { topic: String, has: String, wants: Cleanup },
    #[error("topic `{topic}`: {reason}")]
    Create { topic: String, reason: String },
    /// A right is missing.
    #[error("{0}")]
    Refused(String),
    #[error("topic `{topic}` was created but does not show after {} s", SHOWN.as_secs())]
    NotShown { topic: String },
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

// === impl Cleanup ===

impl fmt::Display for Cleanup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Cleanup::Delete => "delete",
            Cleanup::Compact => "compact",
        })
    }
}

/// Creates what is missing of `specs` and verifies the rest. Blocks, at most some 40 seconds.
pub fn ensure_topics(connection: &Connection, specs: &[TopicSpec]) -> Result<Created, EnsureError> {
    let metadata = metadata_client(connection)?;
    let mut done = Created::default();
    let mut missing = Vec::new();
    for spec in specs {
        match partitions(connection, &metadata, spec)? {
            Some(has) => verify_partitions(spec, has)?,
            None => missing.push(spec),
        }
    }
    let admin: AdminClient<Quiet> = connection
        .admin_client()
        .create_with_context(Quiet::default())
        .map_err(|error| ConnectError::Settings(format!("--kafka: {error}")))?;
    if !missing.is_empty() {
        done.created = create(&admin, &missing)?;
        for spec in missing {
            wait_until_shown(connection, &metadata, spec)?;
        }
    }
    verify_configs(&admin, specs, &mut done)?;
    Ok(done)
}

fn partitions(
    connection: &Connection,
    metadata: &BaseConsumer<Quiet>,
    spec: &TopicSpec,
) -> Result<Option<u32>, EnsureError> {
    let found = ask(connection, metadata, Some(&spec.name), Instant::now() + REQUEST)?;
    let topic = topic_in(&found, &spec.name);
    match topic.problem {
        Some(reason) => Err(EnsureError::Create {
            topic: topic.name,
            reason,
        }),
        None => Ok(topic.partitions.filter(|count| *count > 0)),
    }
}

fn verify_partitions(spec: &TopicSpec, has: u32) -> Result<(), EnsureError> {
    if has == spec.partitions {
        return Ok(());
    }
    Err(EnsureError::Partitions {
        topic: spec.name.clone(),
        has,
        wants: spec.partitions,
    })
}

/// Creates the topics; the names of those that this call made.
fn create(admin: &AdminClient<Quiet>, missing: &[&TopicSpec]) -> Result<Vec<String>, EnsureError> {
    let configs: Vec<[(&str, String); 3]> = missing
        .iter()
        .map(|spec| {
            [
                ("cleanup.policy", spec.cleanup.to_string()),
                ("max.message.bytes", spec.max_message_bytes.to_string()),
                (
                    "retention.ms",
                    spec.retention_ms.map(|ms| ms.to_string()).unwrap_or_default(),
                ),
            ]
        })
        .collect();
    let mut topics = Vec::with_capacity(missing.len());
    for (spec, config) in missing.iter().zip(&configs) {
        let partitions = i32::try_from(spec.partitions).map_err(|_| EnsureError::Create {
            topic: spec.name.clone(),
            reason: format!("{} partitions are too many", spec.partitions),
        })?;
        let replication = TopicReplication::Fixed(spec.replication.unwrap_or(-1));
        let mut topic = NewTopic::new(&spec.name, partitions, replication);
        for (key, value) in config.iter().filter(|(_, value)| !value.is_empty()) {
            topic = topic.set(key, value);
        }
        topics.push(topic);
    }
    let options = AdminOptions::new()
        .request_timeout(Some(REQUEST))
        .operation_timeout(Some(REQUEST));
    let failed = |topic: &str, code: Code| {
        let reason = match code {
            Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed => {
                let create = Missing {
                    topic: topic.to_owned(),
                    operations: vec![Operation::Create],
                };
                return EnsureError::Refused(create.to_string());
            }
            Code::InvalidReplicationFactor => {
                format!("{code}: give --replication-factor, at most the number of brokers")
            }
            code => code.to_string(),
        };
        EnsureError::Create {
            topic: topic.to_owned(),
            reason,
        }
    };
    let results = wait_for(admin.create_topics(&topics, &options)).map_err(|error| {
        let code = error.rdkafka_error_code();
        let names: Vec<&str> = missing.iter().map(|spec| spec.name.as_str()).collect();
        match code {
            Some(code) => failed(&names.join("`, `"), code),
            None => EnsureError::Create {
                topic: names.join("`, `"),
                reason: error.to_string(),
            },
        }
    })?;
    let mut created = Vec::new();
    for result in results {
        match result {
            Ok(topic) => created.push(topic),
            Err((_, Code::TopicAlreadyExists)) => {}
            Err((topic, code)) => return Err(failed(&topic, code)),
        }
    }
    Ok(created)
}

fn wait_until_shown(
    connection: &Connection,
    metadata: &BaseConsumer<Quiet>,
    spec: &TopicSpec,
) -> Result<(), EnsureError> {
    let deadline = Instant::now() + SHOWN;
    loop {
        let found = ask(connection, metadata, Some(&spec.name), deadline)?;
        let led = found
            .topics()
            .iter()
            .filter(|topic| topic.name() == spec.name && topic.error().is_none())
            .any(|topic| !topic.partitions().is_empty() && topic.partitions().iter().all(|p| p.leader() >= 0));
        match topic_in(&found, &spec.name).partitions {
            // Someone else may have made it, and otherwise.
            Some(has) if led => return verify_partitions(spec, has),
            _ if Instant::now() >= deadline => {
                return Err(EnsureError::NotShown {
                    topic: spec.name.clone(),
                });
            }
            _ => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn verify_configs(admin: &AdminClient<Quiet>, specs: &[TopicSpec], done: &mut Created) -> Result<(), EnsureError> {
    let resources: Vec<ResourceSpecifier<'_>> = specs.iter().map(|spec| ResourceSpecifier::Topic(&spec.name)).collect();
    let options = AdminOptions::new().request_timeout(Some(REQUEST));
    let described = match wait_for(admin.describe_configs(&resources, &options)) {
        Ok(described) => described,
        Err(error) => {
            done.notes.push(format!(
                "the settings of the internal topics were not verified: {error}"
            ));
            return Ok(());
        }
    };
    for (spec, described) in specs.iter().zip(described) {
        match described {
            Ok(config) => verify_config(spec, &config, done)?,
            Err(code) => {
                let needs = trouble::refusal(code, About::DescribeTopic(&spec.name), None).map_or_else(
                    || code.to_string(),
                    |_| "this principal needs DESCRIBE_CONFIGS".to_owned(),
                );
                done.notes
                    .push(format!("topic `{}`: settings were not verified: {needs}", spec.name));
            }
        }
    }
    Ok(())
}

fn verify_config(spec: &TopicSpec, config: &ConfigResource, done: &mut Created) -> Result<(), EnsureError> {
    let value = |key: &str| config.get(key).and_then(|entry| entry.value.clone());
    if let Some(has) = value("cleanup.policy")
        && has != spec.cleanup.to_string()
    {
        return Err(EnsureError::Cleanup {
            topic: spec.name.clone(),
            has,
            wants: spec.cleanup,
        });
    }
    let limit = value("max.message.bytes").and_then(|bytes| bytes.parse::<u64>().ok());
    if let Some(has) = limit.filter(|has| *has < u64::from(spec.max_message_bytes)) {
        done.notes.push(format!(
            "topic `{}` has max.message.bytes={has} and should have {}: a larger record would stop the stage",
            spec.name, spec.max_message_bytes
        ));
    }
    Ok(())
}
