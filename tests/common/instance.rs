//! `streamgauge run`, as a process that can be killed, paused and started again under its name.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};
use std::time::Duration;

use super::process::Process;
use super::{free_port, http};

pub const BINARY: &str = env!("CARGO_BIN_EXE_streamgauge");

/// A clean stop drains: it may have to wait for a transaction (10 s) and for requests that are under way.
pub const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Everything that instances of one application have in common.
#[derive(Clone, Debug)]
pub struct Application {
    pub folder: PathBuf,
    pub pipeline: PathBuf,
    pub bootstrap: String,
    pub id: String,
    /// Empty: the environment says it.
    pub otlp: String,
    /// `grpc` or `http/protobuf`.
    pub protocol: &'static str,
    pub shuffle_partitions: u32,
    /// Whether instances are told their names (`--instance`, static membership).
    pub named: bool,
    pub extra: Vec<String>,
    pub environment: Vec<(&'static str, String)>,
}

pub struct Instance {
    pub name: String,
    pub application: Application,
    http: u16,
    process: Option<Process>,
}

// === impl Application ===

impl Application {
    pub fn new(folder: &Path, pipeline: &Path, bootstrap: &str, otlp: &str) -> Self {
        Self {
            folder: folder.to_owned(),
            pipeline: pipeline.to_owned(),
            bootstrap: bootstrap.to_owned(),
            id: "support".to_owned(),
            otlp: otlp.to_owned(),
            protocol: "grpc",
            shuffle_partitions: 6,
            named: true,
            extra: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// With one more command line option.
    pub fn with(mut self, options: &[&str]) -> Self {
        self.extra.extend(options.iter().map(|option| (*option).to_owned()));
        self
    }

    pub fn start(&self, name: &str) -> Instance {
        let mut instance = Instance {
            name: name.to_owned(),
            application: self.clone(),
            http: free_port(),
            process: None,
        };
        instance.resume();
        instance
    }

    /// `streamgauge audit`: its exit code and what it said.
    pub fn audit(&self) -> (Option<i32>, String) {
        let output = Command::new(BINARY)
            .args(["audit", "--bootstrap", &self.bootstrap, "--application-id", &self.id])
            .output()
            .expect("the binary starts");
        (output.status.code(), said(&output))
    }
}

/// Both outputs of a command, for messages and for looking into.
pub fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

// === impl Instance ===

impl Instance {
    /// Starts the process, again after it ended.
    pub fn resume(&mut self) {
        let application = &self.application;
        let mut command = Command::new(BINARY);
        command.arg("run").arg(&application.pipeline);
        command.args([
            "--bootstrap",
            &application.bootstrap,
            "--application-id",
            &application.id,
        ]);
        if application.named {
            command.args(["--instance", &self.name]);
        }
        if !application.otlp.is_empty() {
            command.args(["--otlp", &application.otlp]);
        }
        command
            .args(["--http", &format!("127.0.0.1:{}", self.http)])
            .args(["--shuffle-partitions", &application.shuffle_partitions.to_string()])
            .args(["--workers", "2"])
            .args(&application.extra)
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", application.protocol)
            .envs(application.environment.iter().map(|(name, value)| (name, value)));
        let name = format!("{}-{}", application.id, self.name);
        self.process = Some(Process::start(&name, &application.folder, &mut command).logging());
    }

    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("it was started")
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process().kill();
    }

    /// SIGTERM: drains and ends with 0.
    pub fn stop(&mut self) {
        let process = self.process();
        let status = process.terminate(STOP_LIMIT);
        let tail = process.tail();
        assert!(status.success(), "{} stops with {status}:\n{tail}", self.name);
    }

    /// Waits for its end on its own.
    pub fn ends(&mut self, limit: Duration) -> (ExitStatus, String) {
        let status = self.process().wait(limit);
        (status, self.process().output())
    }

    pub fn is_running(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// The port that it listens on.
    pub fn http(&self) -> u16 {
        self.http
    }

    pub fn get(&self, path: &str) -> Result<(u16, String), String> {
        http::get(self.http, path)
    }

    /// In its groups, with everything that it was assigned restored.
    pub fn is_ready(&self) -> Result<(), String> {
        match self.get("/readyz")? {
            (200, _) => Ok(()),
            (status, body) => Err(format!("{status}: {body}")),
        }
    }
}
