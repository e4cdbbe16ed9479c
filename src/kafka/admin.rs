//! Questions that are asked once: is the cluster there, who is it, which topics has it.
//!
//! Rule: an answer or an error within the time given, and the error names the setting that a person must look at.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::metadata::Metadata;

use super::context::Quiet;
use super::settings::Connection;
use super::trouble;

/// How long an answer is worth waiting for.
const PATIENCE: Duration = Duration::from_secs(5);

/// One try of several within [`PATIENCE`]: errors are looked at between them.
const TRY: Duration = Duration::from_millis(500);

/// Most events that are taken from a client at once.
const EVENTS: usize = 200;

/// Who answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterInfo {
    /// Empty where the brokers do not tell.
    pub id: String,
    pub brokers: Vec<BrokerInfo>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerInfo {
    pub id: i32,
    /// `HOST:PORT` as advertised: a client must reach this, not only the bootstrap address.
    pub address: String,
}

/// What the cluster says of one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicInfo {
    pub name: String,
    /// `None` where the topic does not exist.
    pub partitions: Option<u32>,
    /// What keeps it from being read, such as a missing right.
    pub problem: Option<String>,
}

/// Why there was no answer, by the setting to look at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectError {
    #[error("{0}")]
    Unreachable(String),
    /// The brokers do not know this user, or not with this password.
    #[error("{0}")]
    Login(String),
    #[error("{0}")]
    Settings(String),
}

/// Cluster id and brokers, within five seconds.
pub fn cluster_info(connection: &Connection) -> Result<ClusterInfo, ConnectError> {
    let client = metadata_client(connection)?;
    let found = ask(connection, &client, None, Instant::now() + PATIENCE)?;
    Ok(info_of(&client, &found))
}

/// As [`cluster_info`], with what the cluster says of these topics. Creates none.
pub fn describe(connection: &Connection, topics: &[String]) -> Result<(ClusterInfo, Vec<TopicInfo>), ConnectError> {
    let deadline = Instant::now() + PATIENCE;
    let client = metadata_client(connection)?;
    let found = ask(connection, &client, None, deadline)?;
    let cluster = info_of(&client, &found);
    let topics = topics
        .iter()
        .map(|name| ask(connection, &client, Some(name), deadline).map(|found| topic_in(&found, name)))
        .collect::<Result<_, _>>()?;
    Ok((cluster, topics))
}

fn info_of(client: &BaseConsumer<Quiet>, found: &Metadata) -> ClusterInfo {
    ClusterInfo {
        id: client.client().fetch_cluster_id(TRY).unwrap_or_default(),
        brokers: brokers_in(found),
    }
}

/// The brokers that an answer lists.
pub(super) fn brokers_in(found: &Metadata) -> Vec<BrokerInfo> {
    let broker = |broker: &rdkafka::metadata::MetadataBroker| BrokerInfo {
        id: broker.id(),
        address: format!("{}:{}", broker.host(), broker.port()),
    };
    found.brokers().iter().map(broker).collect()
}

/// What an answer about one topic says of it.
pub(super) fn topic_in(found: &Metadata, name: &str) -> TopicInfo {
    let described = found.topics().iter().find(|topic| topic.name() == name);
    let (partitions, problem) = match described.map(|topic| (topic, topic.error().map(Code::from))) {
        None | Some((_, Some(Code::UnknownTopicOrPartition | Code::UnknownTopic))) => (None, None),
        Some((topic, None | Some(Code::LeaderNotAvailable))) => {
            (Some(u32::try_from(topic.partitions().len()).unwrap_or(u32::MAX)), None)
        }
        Some((_, Some(code))) => (None, Some(trouble::undescribed(code, name))),
    };
    TopicInfo {
        name: name.to_owned(),
        partitions,
        problem,
    }
}

pub(super) fn metadata_client(connection: &Connection) -> Result<BaseConsumer<Quiet>, ConnectError> {
    connection
        .metadata_client()
        .create_with_context(Quiet::default())
        .map_err(|error| ConnectError::Settings(format!("--kafka: {error}")))
}

/// Metadata of one topic or of all. Tries until `deadline`, and gives up at once where waiting cannot help.
pub(super) fn ask(
    connection: &Connection,
    client: &BaseConsumer<Quiet>,
    topic: Option<&str>,
    deadline: Instant,
) -> Result<Metadata, ConnectError> {
    loop {
        let error = match client.fetch_metadata(topic, TRY) {
            Ok(found) => return Ok(found),
            Err(error) => error,
        };
        serve(client);
        let met = client
            .context()
            .met
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let hopeless = met
            .iter()
            .rev()
            .find(|(code, reason)| trouble::is_refusal(*code, reason));
        let last = met.last();
        if let Some((code, reason)) = hopeless {
            let said = trouble::passing(*code, reason, connection.bootstrap());
            return Err(match code {
                Code::Authentication | Code::SaslAuthenticationFailed => ConnectError::Login(said),
                _ => ConnectError::Unreachable(said),
            });
        }
        if Instant::now() >= deadline {
            let code = error.rdkafka_error_code().unwrap_or(Code::BrokerTransportFailure);
            let reason = last.map_or_else(|| error.to_string(), |(_, reason)| reason.clone());
            return Err(ConnectError::Unreachable(trouble::passing(
                code,
                &reason,
                connection.bootstrap(),
            )));
        }
    }
}

/// Takes what the client has to say: log lines and errors. A poll ends with the first log line, so it takes many.
pub(super) fn serve(client: &BaseConsumer<Quiet>) {
    for _ in 0..EVENTS {
        let _ = client.poll(Duration::ZERO);
    }
}

/// Waits for one of the admin client's answers. Each has a time-out of its own.
pub(super) fn wait_for<T>(answer: impl Future<Output = T>) -> T {
    let mut answer = pin!(answer);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match answer.as_mut().poll(&mut context) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unreachable_cluster_is_told_within_seconds_and_names_the_setting() {
        let connection = Connection::new("127.0.0.1:1", Vec::new()).unwrap();
        let began = Instant::now();
        let error = cluster_info(&connection).unwrap_err().to_string();
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        assert!(
            error.contains("127.0.0.1:1") && error.contains("--bootstrap"),
            "{error}"
        );
    }

    #[test]
    fn a_name_that_no_one_knows_is_told_at_once() {
        let connection = Connection::new("no-such-host.invalid:9092", Vec::new()).unwrap();
        let error = cluster_info(&connection).unwrap_err().to_string();
        assert!(error.contains("--bootstrap"), "{error}");
    }
}
