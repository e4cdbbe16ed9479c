//! What probes and scrapes cost a pipeline that is busy: 1,000 times a second `/health` and 50 times a second `/metrics`
//! at ten thousand series, beside `run` reading a backlog as fast as it can.
//!
//! Rule: pairs, with and without the storm, each a fresh application over the same records; what counts is the time from
//! when a quarter of the records is committed (all series are there then) until all are. The storm is a process of its own;
//! on two cores it takes CPU from broker and pipeline, so what it takes is told beside it, and the CPU that `run` itself
//! needed a record.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::common::free_port;
use super::common::kafka::Kafka;
use super::{measure, series_pipeline, until_committed, write_series};

const TOPIC: &str = "storm.series";
const PROBES: u32 = 1_000;
const SCRAPES: u32 = 50;
const CONNECTIONS: u32 = 4;

/// The backlog behind the first quarter of the records.
struct Backlog {
    /// Records a second.
    rate: f64,
    /// Nanoseconds of `run`'s CPU a record.
    cpu: f64,
}

pub fn compare(kafka: &Kafka, folder: &Path, otlp: &str, records: u64, pairs: u64) {
    let began = super::common::now_micros() / 1_000 - 600_000;
    write_series(kafka, TOPIC, records, |at| began + (at * 500_000 / records) as i64);
    let pipeline = series_pipeline(folder, "storm", TOPIC);
    let mut ratios = Vec::new();
    for pair in 1..=pairs {
        // Each is the first one every other time.
        let quiet_first = pair % 2 == 1;
        let mut both = [None, None];
        for storms in [!quiet_first, quiet_first] {
            let id = format!("storm-{pair}-{storms}");
            both[usize::from(storms)] = Some(run(kafka, folder, otlp, &pipeline, &id, records, storms));
        }
        if let [Some(quiet), Some(stormy)] = both {
            println!(
                "pair {pair}: {:.0} records a second and {:.0} ns of CPU a record without, {:.0} and {:.0} with the storm",
                quiet.rate, quiet.cpu, stormy.rate, stormy.cpu
            );
            ratios.push((stormy.rate / quiet.rate, stormy.cpu / quiet.cpu));
        }
    }
    let median = |of: fn(&(f64, f64)) -> f64| {
        let mut values: Vec<f64> = ratios.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    println!(
        "median of {pairs}: throughput with the storm is {:.3} of that without, CPU a record {:.3}",
        median(|ratio| ratio.0),
        median(|ratio| ratio.1)
    );
}

fn run(kafka: &Kafka, folder: &Path, otlp: &str, pipeline: &Path, id: &str, records: u64, storms: bool) -> Backlog {
    let port = free_port();
    let mut process = super::start(kafka, folder, otlp, id, pipeline, &format!("127.0.0.1:{port}"));
    let storm = storms.then(|| {
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            process.must_live();
            std::thread::sleep(Duration::from_millis(10));
        }
        start(port)
    });
    let first = until_committed(kafka, id, TOPIC, records / 4, &mut process);
    let (began, before) = (Instant::now(), measure(process.id(), Instant::now()).cpu);
    let last = until_committed(kafka, id, TOPIC, records, &mut process);
    let (took, cpu) = (
        began.elapsed().as_secs_f64(),
        measure(process.id(), Instant::now()).cpu - before,
    );
    if let Some(storm) = storm {
        println!("  {}", end(storm));
    }
    process.terminate(Duration::from_secs(30));
    let read = (last - first) as f64;
    Backlog {
        rate: read / took,
        cpu: cpu * 1e9 / read,
    }
}

fn start(port: u16) -> Child {
    Command::new(std::env::current_exe().expect("a path"))
        .args(["--storm", &port.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a second process")
}

/// What it saw.
fn end(mut storm: Child) -> String {
    let cpu = measure(storm.id(), Instant::now()).cpu;
    drop(storm.stdin.take());
    let mut said = String::new();
    let output = storm.stdout.take().expect("it is piped");
    BufReader::new(output).read_line(&mut said).expect("its output");
    let _ = storm.wait();
    format!("{}, {cpu:.1} s of CPU of its own", said.trim())
}

/// The child process: asks until its standard input ends.
pub fn blow(port: u16) {
    let stop = std::sync::atomic::AtomicBool::new(false);
    let began = Instant::now();
    let (probes, scrapes) = std::thread::scope(|scope| {
        let asking = |path: &'static str, each: u32| {
            let stop = &stop;
            move || ask(port, path, Duration::from_secs(1) / each, stop)
        };
        let probes: Vec<_> = (0..CONNECTIONS)
            .map(|_| scope.spawn(asking("/health", PROBES / CONNECTIONS)))
            .collect();
        let scrapes: Vec<_> = (0..10).map(|_| scope.spawn(asking("/metrics", SCRAPES / 10))).collect();
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        stop.store(true, std::sync::atomic::Ordering::Release);
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
    let seconds = began.elapsed().as_secs_f64();
    let told = |what: &str, took: &[Duration]| {
        let at = |percent: usize| {
            took.get(took.len() * percent / 100)
                .copied()
                .unwrap_or_default()
                .as_secs_f64()
                * 1e3
        };
        format!(
            "{:.0} {what} a second (median {:.1} ms, 99 % {:.1} ms)",
            took.len() as f64 / seconds,
            at(50),
            at(99)
        )
    };
    println!("{}, {}", told("probes", &probes), told("scrapes", &scrapes));
}

/// Asks on one connection, each time when it is due; how long each answer took.
fn ask(port: u16, path: &str, each: Duration, stop: &std::sync::atomic::AtomicBool) -> Vec<Duration> {
    let mut took = Vec::new();
    let mut due = Instant::now();
    while !stop.load(std::sync::atomic::Ordering::Acquire) {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        stream.set_nodelay(true).expect("a socket");
        let mut answers = BufReader::new(stream.try_clone().expect("a socket"));
        while !stop.load(std::sync::atomic::Ordering::Acquire) {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            // What cannot be kept up with is not made up for.
            due = (due + each).max(Instant::now() - each);
            let began = Instant::now();
            let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n");
            if stream.write_all(head.as_bytes()).is_err() || answer(&mut answers).is_none() {
                // Connections end after two minutes.
                break;
            }
            took.push(began.elapsed());
        }
    }
    took
}

fn answer(answers: &mut BufReader<TcpStream>) -> Option<()> {
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
    answers.read_exact(&mut vec![0; length]).ok()
}
