//! What probes and scrapes cost a pipeline that is busy: 1,000 times a second `/health` and 50 times a second `/metrics`
//! at ten thousand series, beside `run` reading a backlog as fast as it can.
//!
//! Rule: the storm comes and goes every [`WINDOW`] while one application reads, since two runs differ by a fifth on most
//! machines whatever is asked of them; each window is compared with those right before and behind it. A window begins and
//! ends where a transaction is committed. The storm is a process of its own; on two cores it takes CPU from broker and
//! pipeline, so what it takes is told beside it, and the CPU that `run` itself needed a record.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::common::free_port;
use super::common::kafka::Kafka;
use super::{committed, measure, series_pipeline, until_committed, write_series};

const TOPIC: &str = "storm.series";
const PROBES: u32 = 1_000;
const SCRAPES: u32 = 50;
const CONNECTIONS: u32 = 4;
const WINDOW: Duration = Duration::from_secs(4);

/// What is so far.
struct Reading {
    at: Instant,
    records: u64,
    /// Seconds of `run` and of the storm.
    cpu: f64,
    storm_cpu: f64,
}

/// Between two readings.
struct Window {
    storms: bool,
    /// Records a second.
    rate: f64,
    /// Nanoseconds of `run`'s CPU a record.
    cpu: f64,
    /// Cores that the storm itself took.
    storm_cores: f64,
}

/// The process that asks.
struct Storm {
    child: Child,
    input: ChildStdin,
}

pub fn compare(kafka: &Kafka, folder: &Path, otlp: &str, records: u64, runs: u64) {
    let began = super::common::now_micros() / 1_000 - 600_000;
    write_series(kafka, TOPIC, records, |at| began + (at * 500_000 / records) as i64);
    let pipeline = series_pipeline(folder, "storm", TOPIC);
    let (mut rates, mut cpus, mut own) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=runs {
        // Each kind begins every other time.
        let windows = run(
            kafka,
            folder,
            otlp,
            &pipeline,
            &format!("storm-{number}"),
            records,
            number % 2 == 0,
        );
        for around in windows.windows(3) {
            if let [before, window, behind] = around {
                let beside = (before.rate + behind.rate) / 2.0;
                let cpu_beside = (before.cpu + behind.cpu) / 2.0;
                let (rate, cpu) = (window.rate / beside, window.cpu / cpu_beside);
                let is_storm = window.storms;
                rates.push(if is_storm { rate } else { rate.recip() });
                cpus.push(if is_storm { cpu } else { cpu.recip() });
            }
        }
        own.extend(
            windows
                .iter()
                .filter(|window| window.storms)
                .map(|window| window.storm_cores),
        );
    }
    let compared = rates.len();
    if compared == 0 {
        println!("no window has one before and one behind it: the backlog ended too early, more --records are needed");
        return;
    }
    let [rate, cpu, own] = [rates, cpus, own].map(|mut all| {
        all.sort_by(f64::total_cmp);
        [50, 25, 75].map(|percent| at(&all, percent).unwrap_or(f64::NAN))
    });
    println!(
        "of {} windows in {runs} runs: throughput with the storm is {:.3} of that without (quartiles {:.3} and {:.3}), CPU a \
         record {:.3} ({:.3} and {:.3}); the storm's own process took {:.2} cores",
        compared, rate[0], rate[1], rate[2], cpu[0], cpu[1], cpu[2], own[0]
    );
}

/// So many percent of what is in order are before it.
fn at<T: Copy>(sorted: &[T], percent: usize) -> Option<T> {
    sorted.get(sorted.len() * percent / 100).copied()
}

fn run(kafka: &Kafka, folder: &Path, otlp: &str, pipeline: &Path, id: &str, records: u64, first: bool) -> Vec<Window> {
    let port = free_port();
    let mut process = super::start(kafka, folder, otlp, id, pipeline, &format!("127.0.0.1:{port}"));
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        process.must_live();
        std::thread::sleep(Duration::from_millis(10));
    }
    let mut storm = Storm::start(port);
    // All series are there.
    until_committed(kafka, id, TOPIC, records / 10, &mut process);
    let (mut windows, mut storms) = (Vec::new(), first);
    // One after the other, as written.
    let read = |storm: &Storm| Reading {
        records: next_commit(kafka, id),
        at: Instant::now(),
        cpu: measure(process.id(), Instant::now()).cpu,
        storm_cpu: measure(storm.child.id(), Instant::now()).cpu,
    };
    let mut before = read(&storm);
    loop {
        storm.turn(if storms { "on" } else { "off" });
        std::thread::sleep(WINDOW);
        let now = read(&storm);
        if now.records >= records {
            // The backlog ended in it.
            break;
        }
        windows.push(Window::between(&before, &now, storms));
        (before, storms) = (now, !storms);
    }
    let said = storm.end();
    process.terminate(Duration::from_secs(30));
    let told: Vec<String> = windows
        .iter()
        .map(|window| format!("{:.2}{}", window.rate / 1e6, if window.storms { "*" } else { "" }))
        .collect();
    println!(
        "{id}: million records a second, * with the storm: {}; {said}",
        told.join(" ")
    );
    windows
}

/// The sum of the application's offsets, right after it has changed, or all the records there are.
fn next_commit(kafka: &Kafka, id: &str) -> u64 {
    let (began, before) = (Instant::now(), committed(kafka, id, TOPIC));
    loop {
        let now = committed(kafka, id, TOPIC);
        if now != before || began.elapsed() > Duration::from_secs(2) {
            return now;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

// === impl Window ===

impl Window {
    fn between(before: &Reading, now: &Reading, storms: bool) -> Self {
        let (seconds, read) = (
            (now.at - before.at).as_secs_f64(),
            (now.records - before.records) as f64,
        );
        Self {
            storms,
            rate: read / seconds,
            cpu: (now.cpu - before.cpu) * 1e9 / read,
            storm_cores: (now.storm_cpu - before.storm_cpu) / seconds,
        }
    }
}

// === impl Storm ===

impl Storm {
    fn start(port: u16) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args(["--storm", &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a second process");
        let input = child.stdin.take().expect("it is piped");
        Self { child, input }
    }

    fn turn(&mut self, how: &str) {
        writeln!(self.input, "{how}").expect("it lives");
    }

    /// What it saw.
    fn end(mut self) -> String {
        drop(self.input);
        let mut said = String::new();
        let output = self.child.stdout.take().expect("it is piped");
        BufReader::new(output).read_line(&mut said).expect("its output");
        let _ = self.child.wait();
        said.trim().to_owned()
    }
}

/// Lets the asking threads through, or holds them.
#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Off,
    On,
    End,
}

impl Gate {
    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
        self.changed.notify_all();
    }

    /// Waits while it is off; `None` at the end, else whether it had to wait.
    fn pass(&self) -> Option<bool> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let had_to_wait = *state == State::Off;
        while *state == State::Off {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        (*state == State::On).then_some(had_to_wait)
    }
}

/// The child process: asks while its standard input says `on`, until that ends.
pub fn blow(port: u16) {
    let gate = Gate::default();
    let (mut on_for, mut on_since) = (Duration::ZERO, None);
    let (probes, scrapes) = std::thread::scope(|scope| {
        let asking = |path: &'static str, each: u32| {
            let gate = &gate;
            move || ask(port, path, Duration::from_secs(1) / each, gate)
        };
        let probes: Vec<_> = (0..CONNECTIONS)
            .map(|_| scope.spawn(asking("/health", PROBES / CONNECTIONS)))
            .collect();
        let scrapes: Vec<_> = (0..10).map(|_| scope.spawn(asking("/metrics", SCRAPES / 10))).collect();
        let turns = std::io::stdin()
            .lines()
            .map(|line| match &*line.expect("standard input") {
                "on" => State::On,
                _ => State::Off,
            });
        for state in turns.chain([State::End]) {
            on_for += on_since.take().map_or(Duration::ZERO, |since: Instant| since.elapsed());
            on_since = (state == State::On).then(Instant::now);
            gate.set(state);
        }
        let join = |threads: Vec<std::thread::ScopedJoinHandle<'_, Vec<Duration>>>| {
            let mut all: Vec<Duration> = threads
                .into_iter()
                .flat_map(|thread| thread.join().expect("asks"))
                .collect();
            all.sort_unstable();
            all
        };
        (join(probes), join(scrapes))
    });
    let seconds = on_for.as_secs_f64();
    let told = |what: &str, took: &[Duration]| {
        let millis = |percent| at(took, percent).unwrap_or_default().as_secs_f64() * 1e3;
        format!(
            "{:.0} {what} a second (median {:.1} ms, 99 % {:.1} ms)",
            took.len() as f64 / seconds,
            millis(50),
            millis(99)
        )
    };
    println!("{}, {}", told("probes", &probes), told("scrapes", &scrapes));
}

/// Asks on one connection, each time when it is due; how long each answer took.
fn ask(port: u16, path: &str, each: Duration, gate: &Gate) -> Vec<Duration> {
    let mut took = Vec::new();
    let mut due = Instant::now();
    let mut body = Vec::new();
    loop {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        let mut answers = BufReader::new(stream.try_clone().expect("a socket"));
        let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n");
        loop {
            let Some(had_to_wait) = gate.pass() else { return took };
            if had_to_wait {
                due = Instant::now();
            }
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            // What cannot be kept up with is not made up for.
            due = (due + each).max(Instant::now() - each);
            let began = Instant::now();
            if stream.write_all(head.as_bytes()).is_err() || answer(&mut answers, &mut body).is_none() {
                // Connections end after two minutes, and where nothing is asked.
                break;
            }
            took.push(began.elapsed());
        }
    }
}

fn answer(answers: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> Option<()> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if answers.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    body.resize(length, 0);
    answers.read_exact(body).ok()
}
