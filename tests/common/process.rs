//! A child process whose end is certain.
//!
//! Rule: output goes to a file; the value that owns the process stops it when dropped, and then shows the end of that
//! file if the test is failing. While it lives it is recorded in `STREAMGAUGE_TEST_PIDS` (see `tests/run --help`).

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::lines;

pub struct Process {
    name: String,
    child: Child,
    output: PathBuf,
    record: Option<PathBuf>,
    ended: Option<ExitStatus>,
    /// Everything that it says is a log line.
    logs: bool,
}

/// How much of a process's output a failing test shows.
const SHOWN_LINES: usize = 40;

impl Process {
    /// Starts `command`; its output is appended to `folder/name.log`.
    pub fn start(name: &str, folder: &Path, command: &mut Command) -> Self {
        let output = folder.join(format!("{name}.log"));
        let file = File::options()
            .create(true)
            .append(true)
            .open(&output)
            .expect("a log file");
        let errors = file.try_clone().expect("a second handle");
        let child = command
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start ({command:?}): {error}"));
        let record = std::env::var_os("STREAMGAUGE_TEST_PIDS").and_then(|folder| {
            let file = Path::new(&folder).join(child.id().to_string());
            std::fs::write(&file, format!("{} {name}\n", start_time(child.id())?)).expect("a record of the process");
            Some(file)
        });
        Self {
            name: name.to_owned(),
            child,
            output,
            record,
            ended: None,
            logs: false,
        }
    }

    /// At its end every line that it has written is held to the schema of log lines.
    pub fn logging(mut self) -> Self {
        self.logs = true;
        self
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL, and waits.
    pub fn kill(&mut self) {
        if self.ended.is_none() {
            let _ = self.child.kill();
            let status = self.child.wait().expect("a child can be waited for");
            self.note(status);
        }
    }

    /// Sends a signal by name: `TERM`, `STOP`, `CONT`, `INT`.
    pub fn signal(&self, signal: &str) {
        assert!(self.ended.is_none(), "{} has ended, it gets no {signal}", self.name);
        let sent = Command::new("sh")
            .arg("-c")
            .arg(format!("kill -{signal} {}", self.child.id()))
            .status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "{} does not take {signal}",
            self.name
        );
    }

    /// The status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none()
            && let Some(status) = self.child.try_wait().expect("a child can be waited for")
        {
            self.note(status);
        }
        self.ended
    }

    /// Waits for its end. Panics when it does not come.
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let began = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(began.elapsed() < limit, "{} has not ended within {limit:?}", self.name);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGTERM, and waits.
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        if self.ended().is_none() {
            self.signal("TERM");
        }
        self.wait(limit)
    }

    /// Panics if it has ended on its own.
    pub fn must_live(&mut self) {
        if let Some(status) = self.ended() {
            panic!("{} has ended with {status}:\n{}", self.name, self.tail());
        }
    }

    /// Everything it has said so far.
    pub fn output(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.output).unwrap_or_default()).into_owned()
    }

    pub fn tail(&self) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
    }

    fn note(&mut self, status: ExitStatus) {
        self.ended = Some(status);
        if let Some(record) = &self.record {
            let _ = std::fs::remove_file(record);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- the end of what {} said\n{}", self.name, self.tail());
        } else if self.logs {
            let faults = lines::faults(&self.output());
            assert!(faults.is_empty(), "what {} logs: {faults:#?}", self.name);
        }
    }
}

/// Field 22 of `/proc/PID/stat`; the name in field 2 may contain anything.
fn start_time(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(22 - 3).map(str::to_owned)
}

/// A size from `/proc/PID/status`, such as `VmRSS` or `VmHWM`, in KiB. The process must live.
pub fn status_kib(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a living process");
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .expect("KiB")
}

/// A part that `tests/run` provides.
pub fn part(variable: &str) -> PathBuf {
    match std::env::var_os(variable) {
        Some(path) => PathBuf::from(path),
        None => panic!("{variable} is not set: run the tests with tests/run, or eval \"$(tests/run --env)\" first"),
    }
}
