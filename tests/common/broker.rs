//! The broker's process: a real Kafka, from the jars of the project's test set-up.
//!
//! Rule: a broker has a folder, loopback ports that nobody else has, and a process that never outlives its owner. Ports
//! and data stay the same over `kill` and `resume`.
//!
//! Edges:
//! - the first broker is the controller too; a second one joins it, and can be killed without the whole cluster;
//! - it has a PLAINTEXT listener in any case: for the test itself, and for what the broker says to itself;
//! - the jars are in the folder that `STREAMGAUGE_TEST_KAFKA_LIBS` names; `tests/run` sets it.

use std::collections::BTreeMap;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};

use super::process::{Process, part};
use super::{eventually, folder, free_port};

/// How long a broker may take to answer after its start.
const START: Duration = Duration::from_secs(60);

/// One broker: a controller in the same process, or a member of another one's cluster.
pub struct Broker {
    /// Declared before the folder: ends first.
    process: Option<Process>,
    folder: tempfile::TempDir,
    port: u16,
    controller: u16,
    cluster_id: String,
    /// 1 for the first.
    node: usize,
}

/// What makes one broker another.
#[derive(Clone, Debug, Default)]
pub struct BrokerOptions {
    /// Lines of server.properties.
    pub properties: Vec<(String, String)>,
    /// Listeners beside PLAINTEXT: name, security protocol, port.
    pub listeners: Vec<(&'static str, &'static str, u16)>,
    /// `--add-scram` of the storage format.
    pub scram: Vec<String>,
}

// === impl BrokerOptions ===

impl BrokerOptions {
    /// Nothing but these lines of server.properties.
    pub fn with(properties: &[(&str, &str)]) -> Self {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Self {
            properties: properties.iter().map(owned).collect(),
            ..Self::default()
        }
    }
}

// === impl Broker ===

impl Broker {
    /// A fresh broker that answers, and its own controller.
    pub fn start(options: &BrokerOptions) -> Self {
        Self::fresh(options, 1, free_port(), cluster_id())
    }

    /// The next broker of this one's cluster.
    pub fn joined_by(&self, options: &BrokerOptions) -> Self {
        Self::fresh(options, self.node + 1, self.controller, self.cluster_id.clone())
    }

    fn fresh(options: &BrokerOptions, node: usize, controller: u16, cluster_id: String) -> Self {
        let folder = folder();
        let port = free_port();
        let mut listeners = vec![("PLAINTEXT", "PLAINTEXT", port)];
        listeners.extend(&options.listeners);
        let addresses: Vec<String> = listeners
            .iter()
            .map(|(name, _, port)| format!("{name}://127.0.0.1:{port}"))
            .collect();
        let protocols: Vec<String> = listeners
            .iter()
            .map(|(name, protocol, _)| format!("{name}:{protocol}"))
            .collect();
        let (roles, own_controller) = match node {
            1 => ("broker,controller", format!(",CONTROLLER://127.0.0.1:{controller}")),
            _ => ("broker", String::new()),
        };
        let mut settings: BTreeMap<&str, String> = BTreeMap::from([
            ("process.roles", roles.to_owned()),
            ("node.id", node.to_string()),
            ("controller.quorum.voters", format!("1@127.0.0.1:{controller}")),
            ("listeners", format!("{}{own_controller}", addresses.join(","))),
            ("advertised.listeners", addresses.join(",")),
            (
                "listener.security.protocol.map",
                format!("{},CONTROLLER:PLAINTEXT", protocols.join(",")),
            ),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("inter.broker.listener.name", "PLAINTEXT".to_owned()),
            ("log.dirs", folder.path().join("data").display().to_string()),
            ("offsets.topic.replication.factor", "1".to_owned()),
            ("offsets.topic.num.partitions", "50".to_owned()),
            ("transaction.state.log.replication.factor", "1".to_owned()),
            ("transaction.state.log.min.isr", "1".to_owned()),
            ("transaction.state.log.num.partitions", "5".to_owned()),
            ("share.coordinator.state.topic.replication.factor", "1".to_owned()),
            ("share.coordinator.state.topic.min.isr", "1".to_owned()),
            ("group.initial.rebalance.delay.ms", "0".to_owned()),
            ("auto.create.topics.enable", "false".to_owned()),
            // How long a broker that was killed counts as alive, and its successor waits.
            ("broker.session.timeout.ms", "2000".to_owned()),
            ("broker.heartbeat.interval.ms", "500".to_owned()),
            ("log.cleaner.dedupe.buffer.size", "16777216".to_owned()),
        ]);
        settings.extend(
            options
                .properties
                .iter()
                .map(|(key, value)| (key.as_str(), value.clone())),
        );
        let text: String = settings.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        let config = folder.path().join("server.properties");
        std::fs::write(&config, text).expect("server.properties");
        let mut format = java(folder.path(), "256m");
        format
            .args(["kafka.tools.StorageTool", "format"])
            // In one argument: an id may begin with a dash.
            .arg(format!("--cluster-id={cluster_id}"))
            .arg("--config")
            .arg(&config);
        for credential in &options.scram {
            format.args(["--add-scram", credential]);
        }
        succeeds("format", &mut format);
        let mut broker = Self {
            process: None,
            folder,
            port,
            controller,
            cluster_id,
            node,
        };
        broker.resume();
        broker
    }

    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Starts the process, again on the same ports and data, and waits until it answers.
    pub fn resume(&mut self) {
        assert!(
            self.process.as_mut().is_none_or(|process| process.ended().is_some()),
            "the broker runs already"
        );
        let mut command = java(self.folder.path(), "768m");
        command
            .arg("kafka.Kafka")
            .arg(self.folder.path().join("server.properties"));
        let process = self
            .process
            .insert(Process::start("kafka", self.folder.path(), &mut command));
        let (port, node, bootstrap) = (self.port, self.node, format!("127.0.0.1:{}", self.port));
        eventually("the broker", START, || {
            process.must_live();
            TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
            knows_itself(&bootstrap, node)
        });
    }

    /// SIGKILL, as a crash.
    pub fn kill(&mut self) {
        if let Some(process) = &mut self.process {
            process.kill();
        }
    }

    /// It takes connections and says nothing (SIGSTOP), or goes on.
    pub fn hangs(&mut self, does: bool) {
        if let Some(process) = &mut self.process {
            process.signal(if does { "STOP" } else { "CONT" });
        }
    }

    /// Runs one of Kafka's own tools against this broker, for a second opinion. Returns what it printed.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> String {
        let mut tool = java(self.folder.path(), "256m");
        tool.arg(class)
            .args(["--bootstrap-server", &self.bootstrap()])
            .args(arguments);
        succeeds(class, &mut tool)
    }

    /// What Kafka's own dump tool prints of every partition of `__consumer_offsets`, as it lies on the disk.
    pub fn dump_offsets(&self) -> String {
        let logs = |folder: &Path| -> Vec<String> {
            let entries = std::fs::read_dir(folder).expect("the broker's data");
            entries
                .map(|entry| entry.expect("an entry").path().display().to_string())
                .collect()
        };
        let of_offsets = |folder: &String| folder.contains("/__consumer_offsets-");
        let files: Vec<String> = logs(&self.folder.path().join("data"))
            .into_iter()
            .filter(of_offsets)
            .flat_map(|folder| logs(Path::new(&folder)))
            .filter(|file| file.ends_with(".log"))
            .collect();
        let mut tool = java(self.folder.path(), "256m");
        tool.args([
            "org.apache.kafka.tools.DumpLogSegments",
            "--offsets-decoder",
            "--files",
            &files.join(","),
        ]);
        succeeds("DumpLogSegments", &mut tool)
    }
}

/// Whether the broker says that `node` is alive.
fn knows_itself(bootstrap: &str, node: usize) -> Result<(), String> {
    let client: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("log_level", "0")
        .create()
        .map_err(|error| error.to_string())?;
    let found = client
        .fetch_metadata(None, Duration::from_secs(3))
        .map_err(|error| error.to_string())?;
    let alive = found
        .brokers()
        .iter()
        .any(|broker| usize::try_from(broker.id()) == Ok(node));
    match alive {
        true => Ok(()),
        false => Err(format!("it does not know node {node}")),
    }
}

fn java(folder: &Path, heap: &str) -> Command {
    let jars = part("STREAMGAUGE_TEST_KAFKA_LIBS");
    assert!(
        jars.is_dir(),
        "STREAMGAUGE_TEST_KAFKA_LIBS names {}, which is no folder",
        jars.display()
    );
    let mut command = Command::new("java");
    command
        .current_dir(folder)
        .stdin(Stdio::null())
        .arg(format!("-Xmx{heap}"))
        .args([
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
        ])
        .arg(jars.join("*"));
    command
}

/// Runs a command to its end. Panics with what it said where it fails.
fn succeeds(name: &str, command: &mut Command) -> String {
    let output = command.output().expect("java runs");
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A cluster id as Kafka writes them: 16 bytes in base64 for URLs, without padding.
fn cluster_id() -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(uuid::Uuid::new_v4().into_bytes())
}
