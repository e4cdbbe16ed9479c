//! How clients reach the cluster, and what each kind of client is set to.
//!
//! Rule: the user's `--kafka KEY=VALUE` wins over our defaults, except for the settings that exactly once rests on: those
//! are refused with the reason, never silently overruled.
//!
//! Edges:
//! - a key that librdkafka does not know, or a value it does not take, is an error that names the key and not the value;
//! - secrets are never printed: `Debug` shows keys only.

use std::fmt;
use std::time::Duration;

use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::KafkaError;

use super::reader::Isolation;

/// Largest record that we write; internal topics are created with the same limit. Bytes.
pub const MAX_MESSAGE_BYTES: u32 = 8 * 1024 * 1024;

/// After this the coordinator aborts a transaction that nobody ends.
const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the broker waits for a silent member before its partitions go to others.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// Settings that belong to us, and why.
const OURS: &[(&str, &str)] = &[
    ("bootstrap.servers", "brokers are named with --bootstrap"),
    ("metadata.broker.list", "brokers are named with --bootstrap"),
    (
        "enable.auto.commit",
        "offsets are committed in the transaction that holds their results",
    ),
    (
        "enable.auto.offset.store",
        "offsets are committed in the transaction that holds their results",
    ),
    (
        "auto.commit.enable",
        "offsets are committed in the transaction that holds their results",
    ),
    (
        "isolation.level",
        "results of aborted transactions must never be counted",
    ),
    ("transactional.id", "it is made from the application id and --instance"),
    ("enable.idempotence", "transactions need it"),
    ("group.id", "it is made from the application id"),
    ("group.instance.id", "it is given with --instance"),
    (
        "group.protocol",
        "assignments are answered as the classic protocol asks",
    ),
    (
        "group.remote.assignor",
        "assignments are answered as the classic protocol asks",
    ),
    (
        "partition.assignment.strategy",
        "partitions move one by one, which only cooperative-sticky does",
    ),
    (
        "auto.offset.reset",
        "where a new source starts is said in the pipeline (`start:`), and a lost offset stops the stage",
    ),
    ("enable.partition.eof", "log ends are sampled"),
];

/// Our defaults that librdkafka also knows by another name: the user's name takes ours away.
const ALIASES: &[(&str, &str)] = &[
    ("acks", "request.required.acks"),
    ("compression.type", "compression.codec"),
    ("linger.ms", "queue.buffering.max.ms"),
];

/// Settings whose value must never be seen, beyond those that hold a word of [`SECRET_WORDS`].
const SECRETS: &[&str] = &["sasl.username", "sasl.oauthbearer.config", "ssl.ca.pem"];

const SECRET_WORDS: &[&str] = &["password", "secret", "private", "token", "key.pem", "ssl_key"];

/// Where the cluster is, and how to log in. Checked: librdkafka knows every key and takes every value.
#[derive(Clone, PartialEq, Eq)]
pub struct Connection {
    bootstrap: String,
    properties: Vec<(String, String)>,
}

/// A setting that cannot be used. The message names it and says what would be right.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("no broker is named: give --bootstrap HOST:PORT[,HOST:PORT...] or STREAMGAUGE_BOOTSTRAP")]
    NoBootstrap,
    #[error("--kafka {key}: not to be set, {why}")]
    Ours { key: String, why: &'static str },
    #[error("--kafka {key}: no such setting in librdkafka{}", hint.as_ref().map(|h| format!(", did you mean `{h}`?")).unwrap_or_default())]
    Unknown { key: String, hint: Option<String> },
    #[error("--kafka {key}: {reason}")]
    Invalid { key: String, reason: String },
    #[error("--kafka: {0}")]
    Combination(String),
    #[error(
        "--kafka sasl.mechanism=OAUTHBEARER: also give --kafka sasl.oauthbearer.method=oidc, the only way here to fetch tokens"
    )]
    TokenSource,
}

/// What a member of a group needs to know.
#[derive(Clone, Copy, Debug)]
pub(super) struct Member<'a> {
    pub group: &'a str,
    /// `group.instance.id`, where the instance is named.
    pub instance: Option<&'a str>,
    /// Most that the client keeps of records that nobody took yet. KiB.
    pub queue_kbytes: u32,
}

// === impl Connection ===

impl Connection {
    /// `bootstrap` as in `bootstrap.servers`; `properties` as the user gave them, later ones win.
    pub fn new(bootstrap: impl Into<String>, properties: Vec<(String, String)>) -> Result<Self, SettingsError> {
        let bootstrap = bootstrap.into();
        if bootstrap.split(',').all(|broker| broker.trim().is_empty()) {
            return Err(SettingsError::NoBootstrap);
        }
        for (key, value) in &properties {
            if let Some((_, why)) = OURS.iter().find(|(ours, _)| ours == key) {
                return Err(SettingsError::Ours { key: key.clone(), why });
            }
            let mut alone = ClientConfig::new();
            alone.set(key, value);
            alone
                .create_native_config()
                .map_err(|error| unusable(key, value, &error))?;
        }
        let connection = Self { bootstrap, properties };
        let oauth = ["sasl.mechanism", "sasl.mechanisms"]
            .iter()
            .any(|key| connection.get(key) == Some("OAUTHBEARER"));
        if oauth && connection.get("sasl.oauthbearer.method") != Some("oidc") {
            return Err(SettingsError::TokenSource);
        }
        Ok(connection)
    }

    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// What the user set this to.
    fn get(&self, key: &str) -> Option<&str> {
        self.properties
            .iter()
            .rev()
            .find(|(k, _)| k == key)
            .map(|(_, value)| value.as_str())
    }

    /// How long a transaction may stay open.
    pub(super) fn transaction_timeout(&self) -> Duration {
        self.get("transaction.timeout.ms")
            .and_then(|ms| ms.parse().ok())
            .map_or(TRANSACTION_TIMEOUT, Duration::from_millis)
    }

    /// A member of a group that commits only through transactions.
    pub(super) fn group_consumer(&self, member: Member<'_>) -> ClientConfig {
        let mut ours = vec![
            ("group.id", member.group.to_owned()),
            ("partition.assignment.strategy", "cooperative-sticky".to_owned()),
            ("session.timeout.ms", SESSION_TIMEOUT.as_millis().to_string()),
            ("heartbeat.interval.ms", "2000".to_owned()),
            ("max.poll.interval.ms", "120000".to_owned()),
            // New partitions and topics are found this fast.
            ("topic.metadata.refresh.interval.ms", "5000".to_owned()),
        ];
        if let Some(instance) = member.instance {
            ours.push(("group.instance.id", instance.to_owned()));
        }
        ours.extend(reading("read_committed", member.queue_kbytes));
        self.config(&ours)
    }

    /// Reads changelogs by `assign`. Has the group's id only because librdkafka assigns nothing without one.
    pub(super) fn restore_consumer(&self, group: &str) -> ClientConfig {
        let mut ours = vec![("group.id", group.to_owned())];
        ours.extend(reading("read_committed", 16 * 1024));
        self.config(&ours)
    }

    /// Asks for another group's committed offsets; never subscribes. Being read_uncommitted it is told the last ones that are
    /// committed, and does not wait for the open transaction of a member that was killed.
    pub(super) fn offsets_consumer(&self, group: &str) -> ClientConfig {
        let mut ours = vec![("group.id", group.to_owned())];
        ours.extend(reading("read_uncommitted", 1024));
        told_of_disconnects(self.config(&ours))
    }

    /// Reads a topic from the side, by `assign`. Has a group's id only because librdkafka assigns nothing without one.
    pub(super) fn side_reader(&self, isolation: Isolation) -> ClientConfig {
        let isolation = match isolation {
            Isolation::Committed => "read_committed",
            Isolation::Uncommitted => "read_uncommitted",
        };
        let mut ours = vec![
            ("group.id", "streamgauge-reader".to_owned()),
            ("enable.partition.eof", "true".to_owned()),
        ];
        ours.extend(reading(isolation, 16 * 1024));
        told_of_disconnects(self.config(&ours))
    }

    /// Reads the few records before the ends of many partitions, by `assign`.
    pub(super) fn tail_reader(&self) -> ClientConfig {
        let mut ours = vec![
            ("group.id", "streamgauge-reader".to_owned()),
            ("enable.partition.eof", "true".to_owned()),
            // A thousand records at most are wanted of each partition, often the first one alone.
            ("max.partition.fetch.bytes", (256 * 1024).to_string()),
        ];
        ours.extend(reading("read_committed", 16 * 1024));
        // That there is nothing more is told only when this is over.
        ours.push(("fetch.wait.max.ms", "20".to_owned()));
        told_of_disconnects(self.config(&ours))
    }

    /// Asks about topics and log ends. Being read_uncommitted it is told high watermarks, not last stable offsets.
    pub(super) fn metadata_client(&self) -> ClientConfig {
        let mut ours = vec![("topic.metadata.refresh.interval.ms", "30000".to_owned())];
        ours.extend(reading("read_uncommitted", 1024));
        told_of_disconnects(self.config(&ours))
    }

    pub(super) fn admin_client(&self) -> ClientConfig {
        self.config(&[])
    }

    pub(super) fn producer(&self, transactional_id: &str) -> ClientConfig {
        self.config(&[
            ("transactional.id", transactional_id.to_owned()),
            ("transaction.timeout.ms", TRANSACTION_TIMEOUT.as_millis().to_string()),
            ("acks", "all".to_owned()),
            // librdkafka waits this long while the markers of the last transaction are written: 107 ms a commit at the
            // default of 100, 17 at 10.
            ("retry.backoff.ms", "10".to_owned()),
            ("retry.backoff.max.ms", "200".to_owned()),
            // send_offsets_to_transaction (librdkafka 2.12, #5456) ignores its time-out: when the group's coordinator moves it
            // may wait for some connection to change its state. While it waits all are idle, so this ends it.
            ("connections.max.idle.ms", "15000".to_owned()),
            // Nothing is sent before a seal, and a seal hands over everything at once.
            ("linger.ms", "1".to_owned()),
            ("compression.type", "lz4".to_owned()),
            ("message.max.bytes", MAX_MESSAGE_BYTES.to_string()),
            ("queue.buffering.max.kbytes", "65536".to_owned()),
        ])
    }

    /// Common defaults, then `ours`, then the user's.
    fn config(&self, ours: &[(&str, String)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", "streamgauge")
            .set("socket.keepalive.enable", "true")
            .set("reconnect.backoff.max.ms", "2000")
            .set_log_level(if tracing::enabled!(target: "librdkafka", tracing::Level::DEBUG) {
                RDKafkaLogLevel::Debug
            } else {
                RDKafkaLogLevel::Warning
            });
        for (key, value) in ours {
            config.set(*key, value);
        }
        for (key, value) in &self.properties {
            if let Some((ours, _)) = ALIASES.iter().find(|(_, theirs)| theirs == key) {
                config.remove(ours);
            }
            config.set(key, value);
        }
        config
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self
            .properties
            .iter()
            .map(|(key, value)| (key, if is_secret(key) { "***" } else { value }));
        f.debug_struct("Connection")
            .field("bootstrap", &self.bootstrap)
            .field("properties", &shown.collect::<Vec<_>>())
            .finish()
    }
}

/// A broker that hangs up, as on a client of another protocol, is in librdkafka's eyes no error but a line of this level.
fn told_of_disconnects(mut config: ClientConfig) -> ClientConfig {
    if !matches!(config.log_level, RDKafkaLogLevel::Debug) {
        config.set_log_level(RDKafkaLogLevel::Info);
    }
    config
}

/// Settings of everything that fetches.
fn reading(isolation: &str, queue_kbytes: u32) -> Vec<(&'static str, String)> {
    let queue_kbytes = queue_kbytes.max(1);
    // One fetch fills at most the queue, and always brings a whole batch.
    let fetch_bytes = (u64::from(queue_kbytes) * 1024).clamp(4 * 1024 * 1024, 50 * 1024 * 1024);
    vec![
        ("isolation.level", isolation.to_owned()),
        ("enable.auto.commit", "false".to_owned()),
        ("enable.auto.offset.store", "false".to_owned()),
        ("auto.offset.reset", "error".to_owned()),
        ("allow.auto.create.topics", "false".to_owned()),
        ("fetch.wait.max.ms", "200".to_owned()),
        // The default of 1000 stops the fetcher for a second each time the application was slower: 268,000 records a
        // second instead of 769,000.
        ("fetch.queue.backoff.ms", "10".to_owned()),
        ("queued.max.messages.kbytes", queue_kbytes.to_string()),
        ("fetch.max.bytes", fetch_bytes.to_string()),
    ]
}

fn is_secret(key: &str) -> bool {
    SECRETS.contains(&key) || SECRET_WORDS.iter().any(|word| key.contains(word))
}

/// Why librdkafka does not take one setting. Its own text repeats the value, so a secret's is left out.
fn unusable(key: &str, value: &str, error: &KafkaError) -> SettingsError {
    let KafkaError::ClientConfig(_, reason, ..) = error else {
        return SettingsError::Invalid {
            key: key.to_owned(),
            reason: "holds a NUL byte".to_owned(),
        };
    };
    if reason.starts_with("No such configuration property") {
        return SettingsError::Unknown {
            key: key.to_owned(),
            hint: nearest(key),
        };
    }
    let told = !is_secret(key) && !value.is_empty();
    let reason = if told {
        reason.clone()
    } else {
        "librdkafka does not take this value".to_owned()
    };
    SettingsError::Invalid {
        key: key.to_owned(),
        reason,
    }
}

/// The setting that people most likely meant.
fn nearest(key: &str) -> Option<String> {
    const USUAL: &[&str] = &[
        "security.protocol",
        "sasl.mechanism",
        "sasl.username",
        "sasl.password",
        "sasl.oauthbearer.method",
        "sasl.oauthbearer.client.id",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.token.endpoint.url",
        "ssl.ca.location",
        "ssl.certificate.location",
        "ssl.key.location",
        "ssl.key.password",
        "client.id",
        "session.timeout.ms",
        "fetch.max.bytes",
        "compression.type",
    ];
    USUAL
        .iter()
        .map(|usual| (strsim::jaro_winkler(key, usual), usual))
        .filter(|(likeness, _)| *likeness > 0.85)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, usual)| (*usual).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(key: &str, value: &str) -> Result<Connection, SettingsError> {
        Connection::new("localhost:9092", vec![(key.to_owned(), value.to_owned())])
    }

    #[test]
    fn settings_that_exactly_once_rests_on_are_refused_with_the_reason() {
        for (key, why) in OURS {
            assert_eq!(
                with(key, "x"),
                Err(SettingsError::Ours {
                    key: (*key).to_owned(),
                    why
                })
            );
        }
    }

    #[test]
    fn an_unknown_setting_is_named_with_the_one_that_was_meant() {
        let error = with("sasl.pasword", "geheim").unwrap_err().to_string();
        assert_eq!(
            error,
            "--kafka sasl.pasword: no such setting in librdkafka, did you mean `sasl.password`?"
        );
    }

    #[test]
    fn a_value_that_is_not_taken_names_the_key() {
        let error = with("session.timeout.ms", "soon").unwrap_err().to_string();
        assert!(error.contains("session.timeout.ms"), "{error}");
    }

    #[test]
    fn secrets_are_never_printed() {
        let secrets = [
            "sasl.password",
            "ssl.key.password",
            "ssl.keystore.password",
            "sasl.oauthbearer.client.secret",
        ];
        let properties = secrets
            .iter()
            .map(|key| ((*key).to_owned(), "geheim".to_owned()))
            .collect();
        let connection = Connection::new("localhost:9092", properties).unwrap();
        let shown = format!("{connection:?}");
        assert!(!shown.contains("geheim"), "{shown}");
        assert!(shown.contains("sasl.password"), "{shown}");
    }

    #[test]
    fn the_user_wins_over_a_default() {
        let connection = with("session.timeout.ms", "45000").unwrap();
        let member = Member {
            group: "g",
            instance: None,
            queue_kbytes: 1024,
        };
        assert_eq!(
            connection.group_consumer(member).get("session.timeout.ms"),
            Some("45000")
        );
    }

    #[test]
    fn another_name_of_a_setting_wins_over_our_default_too() {
        let producer = with("compression.codec", "zstd").unwrap().producer("t");
        assert_eq!(
            (producer.get("compression.type"), producer.get("compression.codec")),
            (None, Some("zstd"))
        );
    }

    #[test]
    fn every_kind_of_client_is_one_that_librdkafka_takes() {
        let connection = Connection::new("localhost:9092", Vec::new()).unwrap();
        let member = Member {
            group: "g",
            instance: Some("a"),
            queue_kbytes: 1024,
        };
        connection
            .group_consumer(member)
            .create::<rdkafka::consumer::BaseConsumer>()
            .unwrap();
        connection
            .restore_consumer("g")
            .create::<rdkafka::consumer::BaseConsumer>()
            .unwrap();
        connection
            .offsets_consumer("g")
            .create::<rdkafka::consumer::BaseConsumer>()
            .unwrap();
        connection
            .metadata_client()
            .create::<rdkafka::consumer::BaseConsumer>()
            .unwrap();
        connection
            .tail_reader()
            .create::<rdkafka::consumer::BaseConsumer>()
            .unwrap();
        connection
            .producer("t")
            .create::<rdkafka::producer::BaseProducer>()
            .unwrap();
    }

    #[test]
    fn tokens_come_from_oidc_only() {
        assert_eq!(with("sasl.mechanism", "OAUTHBEARER"), Err(SettingsError::TokenSource));
    }
}
