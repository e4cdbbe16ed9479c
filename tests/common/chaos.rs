//! Three instances, everything that they talk to, and everything that can be done to them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::collector::Collector;
use super::instance::{Application, Instance};
use super::joins::TERMS;
use super::kafka::{Kafka, Stored};
use super::random::Random;
use super::traffic::{PARTITIONS, TOPICS};

/// A static member is gone after this long without a heartbeat.
pub const SESSION: Duration = Duration::from_secs(6);

/// One thing that happens to a running system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// An instance gets SIGKILL and comes back.
    Kill,
    /// The same, and again while it is about to take up its work.
    KillTwice,
    /// All instances get SIGKILL at once, as when the power fails.
    KillAll,
    /// An instance is stopped in good order (SIGTERM) and comes back.
    Stop,
    /// An instance is stopped (SIGSTOP) until the group has given its partitions away and its transaction has timed out.
    Pause,
    /// The collector gets SIGKILL.
    Collector,
    /// One of two brokers gets SIGKILL.
    Broker,
}

/// See the module.
pub struct System {
    pub kafka: Kafka,
    pub collector: Collector,
    pub application: Application,
    pub instances: Vec<Instance>,
    pub kills: usize,
}

/// The users' pipeline in a folder, with bounds that are over within a test.
pub fn support_pipeline(folder: &Path) -> PathBuf {
    let mut text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/support.yaml"))
        .expect("the pipeline");
    let in_millis = |micros: i64| format!("{}ms", micros / 1_000);
    let bounds = format!(
        "on: /data/correlation_id, within: {}, forget: {}, skew: {}",
        in_millis(TERMS.within),
        in_millis(TERMS.forget),
        in_millis(TERMS.skew)
    );
    let share = 1.0 / TERMS.sampled_one_in as f64;
    for (from, to) in [
        ("on: /data/correlation_id, within: 24h", bounds),
        ("within: 24h\n", format!("within: {}\n", in_millis(TERMS.look_up))),
        ("sampling: 0.1 ", format!("sampling: {share} ")),
        ("slow: 1h", format!("slow: {}", in_millis(TERMS.slow))),
    ] {
        assert!(text.contains(from), "the pipeline says `{from}`");
        text = text.replace(from, &to);
    }
    let path = folder.join("support.yaml");
    std::fs::write(&path, text).expect("a pipeline");
    path
}

/// Lag of these groups, too.
pub fn add_lag(pipeline: &Path, groups: &str) {
    let text = std::fs::read_to_string(pipeline).expect("the pipeline");
    std::fs::write(pipeline, format!("{text}\nlag: {{ groups: {groups}, every: 2s }}\n")).expect("a pipeline");
}

/// [`support_pipeline`] with windows that are soon over, and lag of these groups.
pub fn hurried_pipeline(folder: &Path, groups: &str) -> PathBuf {
    let path = support_pipeline(folder);
    let mut text = std::fs::read_to_string(&path).expect("the pipeline");
    for (from, to) in [("window: 10s", "window: 2s"), ("out_of_order: 5s", "out_of_order: 1s")] {
        assert!(text.contains(from), "the pipeline says `{from}`");
        text = text.replace(from, to);
    }
    std::fs::write(&path, text).expect("a pipeline");
    add_lag(&path, groups);
    path
}

/// The users' topics, as their brokers have them.
pub fn create_topics(kafka: &Kafka) {
    for topic in TOPICS {
        // The latency is known only where the broker stamps the records.
        let stamps = if topic.has_append_time() {
            "LogAppendTime"
        } else {
            "CreateTime"
        };
        let settings = [("message.timestamp.type", stamps), ("max.message.bytes", "16000000")];
        kafka.create_topic(topic.name(), PARTITIONS, &settings);
    }
}

// === impl System ===

impl System {
    /// Two brokers with the users' topics, a collector, and no instance yet.
    pub fn new(folder: &Path, pipeline: &Path) -> Self {
        let kafka = Kafka::start_pair();
        create_topics(&kafka);
        let collector = Collector::start(folder);
        let application = Application::new(folder, pipeline, &kafka.bootstrap(), &collector.endpoint());
        Self {
            kafka,
            collector,
            application,
            instances: Vec::new(),
            kills: 0,
        }
    }

    pub fn start(&mut self, names: &[&str]) {
        self.instances
            .extend(names.iter().map(|name| self.application.start(name)));
    }

    /// Makes it happen, and mends it.
    pub fn suffer(&mut self, event: Event, random: &mut Random) {
        let index = random.below(self.instances.len() as u64) as usize;
        match event {
            Event::Kill => {
                self.kill(index);
                // At once (it takes its partitions back), or after its session has ended.
                let away = if random.one_in(3) {
                    random.between(6_500, 9_000)
                } else {
                    random.below(2_000)
                };
                std::thread::sleep(Duration::from_millis(away));
                self.instances[index].resume();
            }
            Event::KillTwice => {
                self.kill(index);
                self.instances[index].resume();
                std::thread::sleep(Duration::from_millis(random.between(50, 1_500)));
                self.kill(index);
                self.instances[index].resume();
            }
            Event::KillAll => {
                (0..self.instances.len()).for_each(|index| self.kill(index));
                self.instances.iter_mut().for_each(Instance::resume);
            }
            Event::Stop => {
                self.instances[index].stop();
                std::thread::sleep(Duration::from_millis(random.below(2_000)));
                self.instances[index].resume();
            }
            Event::Pause => {
                self.instances[index].process().must_live();
                self.instances[index].process().signal("STOP");
                std::thread::sleep(SESSION * 2 + Duration::from_millis(random.below(3_000)));
                self.instances[index].process().signal("CONT");
            }
            Event::Collector => {
                self.collector.kill();
                std::thread::sleep(Duration::from_millis(random.between(500, 5_000)));
                self.collector.resume();
            }
            Event::Broker => {
                self.kafka.kill();
                std::thread::sleep(Duration::from_millis(random.below(2_000)));
                self.kafka.resume();
            }
        }
    }

    fn kill(&mut self, index: usize) {
        self.instances[index].process().must_live();
        self.instances[index].kill();
        self.kills += 1;
    }

    /// The ledger balances at any moment, not only at the end.
    pub fn audit_at_any_time(&self) {
        let (code, said) = self.application.audit();
        let nothing_yet = said.contains("has committed nothing");
        assert!(
            code == Some(0) || nothing_yet,
            "audit while it runs ends with {code:?}:\n{said}"
        );
    }

    /// Everything that lies in the users' topics.
    pub fn input(&self) -> Vec<Stored> {
        TOPICS
            .iter()
            .flat_map(|topic| self.kafka.read(topic.name(), true))
            .collect()
    }

    /// Where the application stands on each partition of its own topics, for a failing test to tell: committed offset, last
    /// stable offset, high watermark, and who has a transaction open where the two differ.
    pub fn standing(&self) -> String {
        let mut lines = Vec::new();
        for (stage, topic) in [
            ("correlate", "repartition"),
            ("correlate", "changelog"),
            ("gauge", "repartition"),
            ("gauge", "changelog"),
        ] {
            let group = format!("{}-{stage}", self.application.id);
            let topic = format!("{group}-{topic}");
            let commits = self.kafka.committed(&group, &topic);
            for (partition, (stable, high)) in self.kafka.ends(&topic).into_iter().enumerate() {
                let commit = commits[partition].as_ref().map(|(offset, _)| *offset);
                lines.push(format!(
                    "{topic}/{partition}: committed {commit:?}, stable {stable}, high {high}"
                ));
                if stable < high {
                    let partition = partition.to_string();
                    let ask = ["describe-producers", "--topic", &topic, "--partition", &partition];
                    lines.push(self.kafka.tool("org.apache.kafka.tools.TransactionsCommand", &ask));
                }
            }
        }
        lines.join("\n")
    }

    /// Stops all instances in good order.
    pub fn stop(&mut self) {
        for instance in &mut self.instances {
            instance.stop();
        }
    }
}
