//! `streamgauge decode`: the records of `__consumer_offsets` as lines that a person can read.
//!
//! Rule: one line a record, on stdout: partition and offset, time, key, value. What cannot be read is shown in hex, with
//! the reason, and counted. What is not a record (a summary, what is left out) goes to stderr.
//!
//! Edges:
//! - only records that count are shown, as the broker's coordinator counts them: a commit of an aborted transaction never
//!   was the group's offset, and one of an open transaction is not yet. `--uncommitted` shows them too; nothing in a record
//!   tells which they are;
//! - control records carry nothing that could be shown, and no client is given them. The summary says how many offsets have
//!   no record: control records, what was aborted, and what compaction took;
//! - with `--group` only the partition that holds the group is read, where the topic is the broker's own.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use clap::Args;

use super::cluster::ClusterArgs;
use super::{Exit, complain};
use crate::engine::lag::coordinator::partition_of;
use crate::engine::lag::view::{Moment, View};
use crate::kafka::{Begin, ConnectError, Isolation, Lying, Polled, TopicReader, describe};
use crate::runtime::log::LogError;

/// The topic that brokers keep offsets and groups in.
const OFFSETS: &str = "__consumer_offsets";

/// One wait for records.
const WAIT: Duration = Duration::from_millis(200);

/// A broker that restarts is back within this time; one that is not is unreachable.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Args, Debug)]
pub struct DecodeArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// The topic to read, if it is a copy
    #[arg(long, default_value = OFFSETS, value_name = "TOPIC")]
    topic: String,
    /// Only records of this group
    #[arg(long, value_name = "GROUP")]
    group: Option<String>,
    /// Only this partition of the topic, may be repeated
    #[arg(long = "partition", value_name = "N")]
    partitions: Vec<u32>,
    /// Where to begin; an offset needs one --partition or --group
    #[arg(long, default_value = "earliest", value_name = "earliest|latest|OFFSET", value_parser = begin)]
    from: Begin,
    /// Go on with records as they come, until interrupted
    #[arg(long)]
    follow: bool,
    /// End after this many lines
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Also records of open and of aborted transactions
    #[arg(long)]
    uncommitted: bool,
    /// How to print; json is one object a line
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    format: String,
}

/// Why reading ended before its end.
enum Ended {
    Log(LogError),
    Written(io::Error),
}

/// What was read, for the summary.
#[derive(Default)]
struct Tally {
    printed: u64,
    unknown: u64,
    malformed: u64,
    /// Offsets between records that no record has.
    without: i64,
    /// The next offset of each partition.
    next: BTreeMap<u32, i64>,
}

fn begin(text: &str) -> Result<Begin, String> {
    match text {
        "earliest" => Ok(Begin::Earliest),
        "latest" => Ok(Begin::Latest),
        number => match number.parse() {
            Ok(offset) if offset >= 0 => Ok(Begin::At(offset)),
            _ => Err("takes `earliest`, `latest`, or an offset".to_owned()),
        },
    }
}

pub fn run(args: &DecodeArgs) -> Exit {
    let connection = match args.cluster.connection() {
        Ok(connection) => connection,
        Err(exit) => return exit,
    };
    let found = match describe(&connection, std::slice::from_ref(&args.topic)) {
        Ok((_, topics)) => topics,
        Err(error @ ConnectError::Settings(_)) => {
            complain(error);
            return Exit::Usage;
        }
        Err(error) => {
            complain(error);
            return Exit::Unreachable;
        }
    };
    let count = match found.into_iter().next() {
        Some(topic) if topic.problem.is_some() => {
            complain(topic.problem.unwrap_or_default());
            return Exit::Unreachable;
        }
        found => found.and_then(|topic| NonZeroU32::new(topic.partitions?)),
    };
    let Some(count) = count else {
        complain(format!(
            "there is no topic `{}`{}",
            args.topic,
            if args.topic == OFFSETS {
                ": no group ever committed here"
            } else {
                " (--topic)"
            }
        ));
        return Exit::Usage;
    };
    let partitions = match args.wanted(count) {
        Ok(partitions) => partitions,
        Err(problem) => {
            complain(problem);
            return Exit::Usage;
        }
    };
    let isolation = if args.uncommitted {
        Isolation::Uncommitted
    } else {
        Isolation::Committed
    };
    let mut tally = Tally::default();
    let result = TopicReader::open(&connection, &args.topic, &partitions, args.from, isolation)
        .map_err(Ended::Log)
        .and_then(|reader| read(args, &reader, &partitions, &mut tally));
    match result {
        Ok(()) => {
            eprintln!("{}", tally.summary(args.group.is_some()));
            Exit::Done
        }
        // Whoever reads our lines has seen enough.
        Err(Ended::Written(error)) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Done,
        Err(Ended::Written(error)) => {
            complain(format!("stdout: {error}"));
            Exit::Stopped
        }
        Err(Ended::Log(error)) => {
            complain(&error);
            match error {
                LogError::Fatal(_) => Exit::Usage,
                _ => Exit::Unreachable,
            }
        }
    }
}

// === impl DecodeArgs ===

impl DecodeArgs {
    /// Which partitions to read, of so many.
    fn wanted(&self, count: NonZeroU32) -> Result<Vec<u32>, String> {
        if let Some(unknown) = self.partitions.iter().find(|partition| **partition >= count.get()) {
            return Err(format!(
                "--partition {unknown}: `{}` has partitions 0 to {}",
                self.topic,
                count.get() - 1
            ));
        }
        let mut wanted: BTreeSet<u32> = self.partitions.iter().copied().collect();
        if wanted.is_empty() {
            wanted = match &self.group {
                Some(group) if self.topic == OFFSETS => BTreeSet::from([partition_of(group, count)]),
                _ => (0..count.get()).collect(),
            };
        }
        if matches!(self.from, Begin::At(_)) && wanted.len() > 1 {
            return Err("--from OFFSET: also say in which --partition, or of which --group".to_owned());
        }
        Ok(wanted.into_iter().collect())
    }
}

fn read(args: &DecodeArgs, reader: &TopicReader, partitions: &[u32], tally: &mut Tally) -> Result<(), Ended> {
    // A topic that is written to without pause ends where it ended at the start.
    let ends: BTreeMap<u32, i64> = reader.ends().map_err(Ended::Log)?.into_iter().collect();
    let mut open: BTreeSet<u32> = partitions.iter().copied().collect();
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut heard = Instant::now();
    while (args.follow || !open.is_empty()) && args.limit.is_none_or(|limit| tally.printed < limit) {
        match reader.poll(WAIT).map_err(Ended::Log)? {
            Polled::Record(record) => {
                if open.contains(&record.partition) {
                    heard = Instant::now();
                }
                let end = ends.get(&record.partition);
                if args.follow || end.is_none_or(|end| record.offset < *end) {
                    print(args, &record, tally, &mut out).map_err(Ended::Written)?;
                }
                if end.is_some_and(|end| record.offset + 1 >= *end) {
                    open.remove(&record.partition);
                }
            }
            Polled::End(partition) => {
                heard = Instant::now();
                open.remove(&partition);
                if args.follow {
                    out.flush().map_err(Ended::Written)?;
                }
            }
            Polled::Nothing if args.follow => out.flush().map_err(Ended::Written)?,
            Polled::Nothing if heard.elapsed() > PATIENCE => return Err(Ended::Log(reader.silence())),
            Polled::Nothing => {}
        }
    }
    out.flush().map_err(Ended::Written)?;
    if args.limit.is_none_or(|limit| tally.printed < limit) && !args.uncommitted {
        held(reader).map_err(Ended::Log)?;
    }
    Ok(())
}

fn print(args: &DecodeArgs, record: &Lying, tally: &mut Tally, out: &mut impl Write) -> io::Result<()> {
    tally.see(record);
    let view = View::read(record.key.as_deref(), record.value.as_deref());
    if args.group.is_some() && args.group.as_deref() != view.group() {
        return Ok(());
    }
    tally.printed += 1;
    tally.unknown += u64::from(view.is_unknown());
    tally.malformed += u64::from(view.is_malformed());
    let (partition, offset) = (record.partition, record.offset);
    if args.format == "json" {
        let (key, value) = view.json();
        let line = serde_json::json!({
            "partition": partition, "offset": offset, "timestamp": record.time, "key": key, "value": value,
        });
        writeln!(out, "{line}")
    } else {
        let time = Moment(record.time.unwrap_or(-1));
        writeln!(out, "{partition}/{offset} {time} {view}")
    }
}

/// Says which partitions do not end where the log ends.
fn held(reader: &TopicReader) -> Result<(), LogError> {
    let stable: BTreeMap<u32, i64> = reader.ends()?.into_iter().collect();
    for (partition, end) in reader.high_watermarks()? {
        let Some(stable) = stable.get(&partition).filter(|stable| **stable < end) else {
            continue;
        };
        eprintln!(
            "partition {partition}: the {} offsets from {stable} on wait for a transaction that is still open, and are not \
             shown; --uncommitted shows them",
            end - stable
        );
    }
    Ok(())
}

// === impl Tally ===

impl Tally {
    fn see(&mut self, record: &Lying) {
        let next = self.next.insert(record.partition, record.offset + 1);
        self.without += next.map_or(0, |next| record.offset - next);
    }

    fn summary(&self, of_group: bool) -> String {
        let mut said = format!("{} records", self.printed);
        if self.unknown > 0 {
            said += &format!(", {} of an unknown version", self.unknown);
        }
        if self.malformed > 0 {
            said += &format!(", {} malformed", self.malformed);
        }
        if self.without > 0 && !of_group {
            said += &format!(
                "; {} offsets between them have none: control records, aborted ones, and what compaction took",
                self.without
            );
        }
        said
    }
}
