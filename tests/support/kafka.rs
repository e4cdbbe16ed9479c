//! A real Kafka broker for tests, from the jars of the project's test set-up.
//!
//! Rule: a server has a directory, loopback ports that nobody else has, and a process that never outlives its owner. Its
//! ports and data stay the same over `kill` and `restart`.
//!
//! The jars are in the directory that `STREAMGAUGE_TEST_KAFKA_LIBS` names; `tests/run` sets it. Where
//! `STREAMGAUGE_TEST_PIDS` names a directory, each process is written down there (file name: pid; content: its start time in
//! clock ticks, field 22 of /proc/PID/stat, and a name), so that whatever is left over can be found.

use std::collections::HashMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};

/// How long a broker may take to answer after its start.
const START: Duration = Duration::from_secs(60);

const LIBS: &str = "STREAMGAUGE_TEST_KAFKA_LIBS";

/// One broker and controller in one process.
pub struct KafkaServer {
    dir: tempfile::TempDir,
    port: u16,
    process: Option<Child>,
}

impl KafkaServer {
    /// A fresh broker that answers.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// As `start`, with further lines of server.properties.
    pub fn start_with(properties: &[(&str, &str)]) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("streamgauge-kafka-")
            .tempdir()
            .expect("a temporary directory");
        let (port, controller) = free_ports();
        let mut settings: HashMap<&str, String> = HashMap::from([
            ("process.roles", "broker,controller".to_owned()),
            ("node.id", "1".to_owned()),
            ("controller.quorum.voters", format!("1@127.0.0.1:{controller}")),
            (
                "listeners",
                format!("PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}"),
            ),
            ("advertised.listeners", format!("PLAINTEXT://127.0.0.1:{port}")),
            (
                "listener.security.protocol.map",
                "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned(),
            ),
            ("controller.listener.names", "CONTROLLER".to_owned()),
            ("inter.broker.listener.name", "PLAINTEXT".to_owned()),
            ("log.dirs", dir.path().join("data").display().to_string()),
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
        settings.extend(properties.iter().map(|(key, value)| (*key, (*value).to_owned())));
        let text: String = settings.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        let config = dir.path().join("server.properties");
        fs::write(&config, text).expect("server.properties");
        let formatted = java(dir.path(), "256m")
            .args(["kafka.tools.StorageTool", "format", "-t", &cluster_id(), "-c"])
            .arg(&config)
            .output()
            .expect("java runs");
        assert!(
            formatted.status.success(),
            "format: {}",
            String::from_utf8_lossy(&formatted.stderr)
        );
        let mut server = Self {
            dir,
            port,
            process: None,
        };
        server.restart();
        server
    }

    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Starts the process again on the same ports and data, and waits until it answers.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "the broker runs already");
        let output = fs::File::options()
            .create(true)
            .append(true)
            .open(self.dir.path().join("server.log"))
            .expect("server.log");
        let process = java(self.dir.path(), "768m")
            .arg("kafka.Kafka")
            .arg(self.dir.path().join("server.properties"))
            .stdout(output.try_clone().expect("server.log"))
            .stderr(output)
            .spawn()
            .expect("java runs");
        write_down(process.id(), "kafka");
        self.process = Some(process);
        self.wait_until_it_answers();
    }

    /// SIGKILL, as a crash.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().ok();
            process.wait().ok();
            strike_out(process.id());
        }
    }

    fn wait_until_it_answers(&mut self) {
        let deadline = Instant::now() + START;
        loop {
            if let Some(status) = self
                .process
                .as_mut()
                .and_then(|process| process.try_wait().ok().flatten())
            {
                panic!("the broker ended with {status}:\n{}", self.log_tail());
            }
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() && self.knows_itself() {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "the broker did not answer within {START:?}:\n{}",
                self.log_tail()
            );
            sleep(Duration::from_millis(100));
        }
    }

    fn knows_itself(&self) -> bool {
        let client: Result<BaseConsumer, _> = ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap())
            .set("log_level", "0")
            .create();
        client.is_ok_and(|client| {
            client
                .fetch_metadata(None, Duration::from_secs(3))
                .is_ok_and(|found| !found.brokers().is_empty())
        })
    }

    /// The end of what the broker printed.
    pub fn log_tail(&self) -> String {
        let mut text = String::new();
        if let Ok(mut file) = fs::File::open(self.dir.path().join("server.log")) {
            file.read_to_string(&mut text).ok();
        }
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// Creates a topic with further settings, and waits until it shows.
    pub fn create_topic(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = ClientConfig::new()
            .set("bootstrap.servers", self.bootstrap())
            .create()
            .expect("an admin client");
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        for (key, value) in settings {
            topic = topic.set(key, value);
        }
        let options = AdminOptions::new().operation_timeout(Some(Duration::from_secs(10)));
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        for result in runtime
            .block_on(admin.create_topics(&[topic], &options))
            .expect("an answer")
        {
            result.expect("a new topic");
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        let shown = || {
            let found = admin.inner().fetch_metadata(Some(name), Duration::from_secs(2)).ok()?;
            let topic = found.topics().first()?;
            let led = topic
                .partitions()
                .iter()
                .filter(|partition| partition.leader() >= 0)
                .count();
            (led == usize::try_from(partitions).ok()?).then_some(())
        };
        while shown().is_none() {
            assert!(Instant::now() < deadline, "topic {name} does not show");
            sleep(Duration::from_millis(50));
        }
    }

    /// Runs one of Kafka's own tools against this broker, for a second opinion. Returns what it printed.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> String {
        let output = java(self.dir.path(), "256m")
            .arg(class)
            .args(["--bootstrap-server", &self.bootstrap()])
            .args(arguments)
            .output()
            .expect("java runs");
        assert!(
            output.status.success(),
            "{class}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for KafkaServer {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the end of what kafka said\n{}", self.log_tail());
        }
    }
}

fn java(dir: &Path, heap: &str) -> Command {
    let mut command = Command::new("java");
    command
        .current_dir(dir)
        .stdin(Stdio::null())
        .arg(format!("-Xmx{heap}"))
        .args([
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
            "-cp",
        ])
        .arg(libs().join("*"));
    command
}

fn libs() -> PathBuf {
    let dir = std::env::var_os(LIBS).map(PathBuf::from).unwrap_or_else(|| {
        panic!("{LIBS} is not set: this test needs a real Kafka, run it with `tests/run`");
    });
    assert!(
        dir.is_dir(),
        "{LIBS} names {}, which is not a directory: run this with `tests/run`",
        dir.display()
    );
    dir
}

/// Two ports that nobody listens on. Below the ephemeral range, where a client that waits for a broker to come back could
/// be given the broker's port as its own.
fn free_ports() -> (u16, u16) {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + (process::id() % 100) as u16 * 100;
    let free = || loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed) % 2_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    };
    (free(), free())
}

/// A cluster id as Kafka writes them: 16 bytes in base64 for URLs, without padding.
fn cluster_id() -> String {
    use base64::Engine;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(uuid::Uuid::new_v4().into_bytes())
}

fn write_down(pid: u32, name: &str) {
    let Some(dir) = std::env::var_os("STREAMGAUGE_TEST_PIDS") else {
        return;
    };
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The command, field 2, may hold blanks; it ends with the last bracket.
    let started = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().nth(19))
        .unwrap_or("0");
    let mut file =
        fs::File::create(Path::new(&dir).join(pid.to_string())).expect("STREAMGAUGE_TEST_PIDS is a directory");
    writeln!(file, "{started} {name}").expect("a pid is written down");
}

fn strike_out(pid: u32) {
    if let Some(dir) = std::env::var_os("STREAMGAUGE_TEST_PIDS") {
        fs::remove_file(Path::new(&dir).join(pid.to_string())).ok();
    }
}
