//! What `run` costs beside plain consumption: client CPU per record, on one real topic, in pairs within one run.
//!
//! Rule: only ratios within one run count, machines drift. A pair is one plain librdkafka consumer and one `streamgauge run`
//! with the support pipeline, each a process of its own from its start until the last record is done with: read, for the
//! first; counted and committed in a transaction, for the second. CPU is user and system time of all threads.
//!
//! Then the memory of `run` at six partitions and ten thousand series, what joins cost ([`joined`]), and what probes and
//! scrapes cost ([`storm`]).
//!
//!   eval "$(tests/run --env)" && cargo bench --bench side_by_side [-- --records N --pairs N --only plain|joined|storm]

#[path = "../../tests/common/mod.rs"]
mod common;
mod joined;
#[path = "../numbers/mod.rs"]
mod numbers;
mod records;
mod storm;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::instance::BINARY;
use common::kafka::{Kafka, Write};
use common::process::{Process, status_kib};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use streamgauge::export::receiver::{ReceivedValue, Receiver};

const TOPIC: &str = "ingestion.raw.messages";
const SERIES_TOPIC: &str = "many.series";
const PARTITIONS: u32 = 6;
const SERIES: u64 = 10_000;
/// A run that takes longer is stuck.
const LIMIT: Duration = Duration::from_secs(300);
/// Clock ticks of `/proc/PID/stat` a second, on every Linux of today.
const TICKS: f64 = 100.0;

/// One process from its start until its last record.
struct Measured {
    cpu: f64,
    wall: f64,
    peak_mb: f64,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [kind, bootstrap, records] = arguments.as_slice()
        && kind == "--consume"
    {
        consume(bootstrap, records.parse().expect("a number"));
        return;
    }
    if let [kind, port] = arguments.as_slice()
        && kind == "--storm"
    {
        storm::blow(port.parse().expect("a port"));
        return;
    }
    let number = |name: &str, otherwise: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok())
            .unwrap_or(otherwise)
    };
    let (records, pairs) = (number("--records", 2_000_000), number("--pairs", 3));

    let folder = common::folder();
    let kafka = Kafka::start();
    let (receiver, otlp) = Receiver::start().expect("a receiver");
    let only = arguments.iter().skip_while(|argument| *argument != "--only").nth(1);
    if only.is_none_or(|only| only == "joined") {
        joined::compare(&kafka, folder.path(), &otlp, records / 4, pairs);
    }
    if only.is_none_or(|only| only == "storm") {
        storm::compare(&kafka, folder.path(), &otlp, records * 2, pairs);
    }
    if only.is_some_and(|only| only != "plain") {
        return;
    }
    fill(&kafka, records);

    let mut ratios = Vec::new();
    for pair in 1..=pairs {
        let plain = plain(&kafka, records);
        show(&format!("pair {pair}, plain consumption"), &plain, records);
        let ours = ours(&kafka, folder.path(), &otlp, records, &format!("pair-{pair}"));
        show(&format!("pair {pair}, streamgauge run"), &ours, records);
        ratios.push(ours.cpu / plain.cpu);
        println!("pair {pair}: ratio {:.2}", ours.cpu / plain.cpu);
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "ratio of CPU per record, median of {pairs}: {:.2} (goal: at most 1.5)",
        ratios[ratios.len() / 2]
    );
    memory(&kafka, folder.path(), &otlp, &receiver);
}

/// The child process of [`plain`]: reads `records` records, says so, and waits to be ended.
fn consume(bootstrap: &str, records: u64) {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", format!("plain-{}", std::process::id()))
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("fetch.queue.backoff.ms", "10")
        .set("queued.max.messages.kbytes", "16384")
        .create()
        .expect("a consumer");
    consumer.subscribe(&[TOPIC]).expect("a subscription");
    let mut read = 0;
    while read < records {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(_)) => read += 1,
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
    }
    println!("done");
    std::io::stdin().read_line(&mut String::new()).expect("standard input");
}

fn plain(kafka: &Kafka, records: u64) -> Measured {
    let began = Instant::now();
    let mut child = Command::new(std::env::current_exe().expect("a path"))
        .args(["--consume", &kafka.bootstrap(), &records.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a second process");
    let mut said = String::new();
    let output = child.stdout.take().expect("it is piped");
    BufReader::new(output).read_line(&mut said).expect("its output");
    assert_eq!(said.trim(), "done", "plain consumption failed");
    let measured = measure(child.id(), began);
    end(&mut child);
    measured
}

fn end(child: &mut Child) {
    drop(child.stdin.take());
    let _ = child.wait();
}

fn ours(kafka: &Kafka, folder: &Path, otlp: &str, records: u64, id: &str) -> Measured {
    let began = Instant::now();
    let pipeline = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/support.yaml");
    let mut process = start(kafka, folder, otlp, id, &pipeline, "off");
    until_committed(kafka, id, TOPIC, records, &mut process);
    let measured = measure(process.id(), began);
    process.terminate(Duration::from_secs(30));
    measured
}

fn start(kafka: &Kafka, folder: &Path, otlp: &str, id: &str, pipeline: &Path, http: &str) -> Process {
    let mut command = Command::new(BINARY);
    command
        .arg("run")
        .arg(pipeline)
        .args([
            "--bootstrap",
            &kafka.bootstrap(),
            "--application-id",
            id,
            "--instance",
            "a",
        ])
        .args(["--otlp", otlp, "--http", http]);
    Process::start(id, folder, &mut command)
}

/// Waits until so many records are committed; returns how many are.
fn until_committed(kafka: &Kafka, id: &str, topic: &str, records: u64, process: &mut Process) -> u64 {
    let began = Instant::now();
    loop {
        let sum = committed(kafka, id, topic);
        if sum >= records {
            return sum;
        }
        process.must_live();
        assert!(
            began.elapsed() < LIMIT,
            "{sum} of {records} records are committed:\n{}",
            process.tail()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Offsets of the application's commits, together.
fn committed(kafka: &Kafka, id: &str, topic: &str) -> u64 {
    let committed = kafka.committed(id, topic);
    let sum: i64 = committed.iter().flatten().map(|(offset, _)| *offset).sum();
    u64::try_from(sum).unwrap_or(0)
}

/// CPU and memory of a living process.
fn measure(pid: u32, began: Instant) -> Measured {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a living process");
    let (_, rest) = stat.rsplit_once(')').expect("the name is in brackets");
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let ticks: f64 = [11, 12]
        .map(|at: usize| fields[at].parse::<f64>().expect("ticks"))
        .iter()
        .sum();
    Measured {
        cpu: ticks / TICKS,
        wall: began.elapsed().as_secs_f64(),
        peak_mb: megabytes(pid, "VmHWM"),
    }
}

/// A size of a living process, in MB.
fn megabytes(pid: u32, name: &str) -> f64 {
    status_kib(pid, name) as f64 * 1024.0 / 1e6
}

fn show(what: &str, measured: &Measured, records: u64) {
    let per_record = |seconds: f64| seconds * 1e9 / records as f64;
    println!(
        "{what}: {:.0} ns of CPU a record ({:.2} s), {:.2} s from start to end, peak {:.0} MB",
        per_record(measured.cpu),
        measured.cpu,
        measured.wall,
        measured.peak_mb
    );
}

fn fill(kafka: &Kafka, records: u64) {
    let began = Instant::now();
    kafka.create_topic(TOPIC, PARTITIONS, &[]);
    let writer = kafka.writer();
    let mut messages = records::Messages::new(42);
    for at in 0..records {
        writer.write(&Write {
            topic: TOPIC.to_owned(),
            partition: (at % u64::from(PARTITIONS)) as u32,
            value: Some(messages.next().into_bytes()),
            ..Write::default()
        });
        if at % 500_000 == 499_999 {
            eprintln!("{} records written, {:.0} s", at + 1, began.elapsed().as_secs_f64());
        }
    }
    writer.flush();
    println!(
        "{records} records of {} bytes in {PARTITIONS} partitions",
        records::BYTES
    );
}

/// Records of ten thousand series in turn, of the times in milliseconds that are given by their numbers.
fn write_series(kafka: &Kafka, topic: &str, records: u64, millis: impl Fn(u64) -> i64) {
    kafka.create_topic(topic, PARTITIONS, &[]);
    let writer = kafka.writer();
    for at in 0..records {
        let (series, millis) = (at % SERIES, millis(at));
        writer.write(&Write {
            topic: topic.to_owned(),
            partition: (at % u64::from(PARTITIONS)) as u32,
            value: Some(format!(r#"{{"at": {millis}, "customer": "customer-{series:08}"}}"#).into_bytes()),
            ..Write::default()
        });
    }
    writer.flush();
}

/// Counts them.
fn series_pipeline(folder: &Path, name: &str, topic: &str) -> PathBuf {
    let path = folder.join(format!("{name}.yaml"));
    let text = format!(
        "pipeline: {name}\nsources:\n  orders: {{ topic: {topic}, time: /at }}\nmetrics:\n  orders_total:\n    \
         count: orders\n    labels: {{ customer: /customer }}\n"
    );
    std::fs::write(&path, text).expect("a file");
    path
}

/// `run` with ten thousand series alive.
fn memory(kafka: &Kafka, folder: &Path, otlp: &str, receiver: &Receiver) {
    const RECORDS: u64 = 20 * SERIES;
    write_series(kafka, SERIES_TOPIC, RECORDS, |_| common::now_micros() / 1_000);
    let pipeline = series_pipeline(folder, "series", SERIES_TOPIC);
    let mut process = start(kafka, folder, otlp, "series", &pipeline, "off");
    until_committed(kafka, "series", SERIES_TOPIC, RECORDS, &mut process);
    // The windows close, every series is shown at least once.
    std::thread::sleep(Duration::from_secs(40));
    process.must_live();
    check(receiver, RECORDS);
    println!(
        "memory of run with {SERIES} series in {PARTITIONS} partitions: {:.0} MB resident, peak {:.0} MB (goal: below 150)",
        megabytes(process.id(), "VmRSS"),
        megabytes(process.id(), "VmHWM")
    );
    process.terminate(Duration::from_secs(30));
}

/// That what was measured was also right.
fn check(receiver: &Receiver, records: u64) {
    let snapshot = receiver.snapshot();
    let of_orders = snapshot.series.iter().filter(|series| series.metric == "orders_total");
    let values = of_orders.filter_map(|series| match series.value {
        ReceivedValue::Sum(value) => Some(value),
        _ => None,
    });
    let (series, total) = values.fold((0, 0.0), |(series, total), value| (series + 1, total + value));
    assert_eq!(
        (series, total as u64),
        (SERIES, records),
        "series and records received over OTLP"
    );
    assert_eq!(snapshot.violations, 0, "{:?}", snapshot.violation_texts);
    println!("received over OTLP: {total} records in {series} series, no promise broken");
}
