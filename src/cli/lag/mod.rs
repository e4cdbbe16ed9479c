//! `streamgauge lag`: how far consumer groups are behind, in offsets, records and time. No configuration; nothing is joined.
//!
//! Rule: rows go to stdout, worst first, and everything else to stderr. One look is one moment: commits are read before the
//! log ends that they are compared with.
//!
//! Edges:
//! - whether a group that is behind moves cannot be seen in one look: without `--watch` a few [`GLANCES`] at its commits
//!   follow, and a group that commits less often than they come has no status and no rate;
//! - a group that cannot be asked, and a right that is missing, are told, and the rows of the others are shown;
//! - with `--watch` trouble that passes is said and the next look tries again; on a terminal each look takes the place of the
//!   last one, and what does not fit is counted.

pub(super) mod history;
pub(super) mod look;
pub(super) mod row;
pub(super) mod show;

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use super::cluster::ClusterArgs;
use super::{Exit, complain};
use crate::engine::lag::view::Moment;
use crate::kafka::{ConnectError, Connection, describe};
use crate::runtime::clock::wall_time;
use crate::runtime::log::LogError;
use history::History;
use look::{Look, Looker, Wanted};
use row::Row;

/// Lines of a screen that are not rows: the summary, the header, and what is left over.
const FRAME: usize = 4;

/// So many looks at commits alone follow the only one.
const GLANCES: u32 = 3;

/// From one to the next.
const BETWEEN: Duration = Duration::from_millis(130);

/// No glance begins later than this, so that a slow cluster is not asked in vain.
const AT_ONCE: Duration = Duration::from_millis(1_000);

/// The most names that a message lists.
const NAMES: usize = 5;

#[derive(Args, Debug)]
pub struct LagArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Only this group, may be repeated
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Only this topic, may be repeated
    #[arg(long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
    /// Look again every so many seconds, until interrupted
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    watch: Option<u32>,
    /// How to print; json is an array, with --watch one for each look
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
}

pub fn run(args: &LagArgs) -> Exit {
    let connection = match args.cluster.connection() {
        Ok(connection) => connection,
        Err(exit) => return exit,
    };
    let looker = match Looker::connect(&connection) {
        Ok(looker) => looker,
        Err(error) => {
            complain(&error);
            return match error {
                ConnectError::Settings(_) => Exit::Usage,
                ConnectError::Unreachable(_) | ConnectError::Login(_) => Exit::Unreachable,
            };
        }
    };
    match args.watch {
        None => once(args, &connection, &looker),
        Some(seconds) => watch(args, &looker, Duration::from_secs(seconds.into())),
    }
}

fn once(args: &LagArgs, connection: &Connection, looker: &Looker) -> Exit {
    let began = Instant::now();
    let mut history = History::new();
    let mut look = match looker.look(&args.wanted(), &mut history) {
        Ok(look) => look,
        Err(error) => {
            complain(&error);
            return Exit::Unreachable;
        }
    };
    for _ in 0..GLANCES {
        if began.elapsed() > AT_ONCE || !look.rows.iter().any(|row| row.lag.is_some() && !row.is_caught_up()) {
            break;
        }
        std::thread::sleep(BETWEEN);
        looker.glance(&mut look, &mut history);
    }
    let printed = args.print(&look.rows, usize::MAX, true, &mut io::stdout().lock());
    if let Err(error) = printed {
        return stdout_ended(&error);
    }
    args.tell(&look);
    let unknown_topics = match args.unknown_topics(connection, &look) {
        Ok(unknown) => unknown,
        Err(error) => {
            complain(&error);
            return Exit::Unreachable;
        }
    };
    for topic in &unknown_topics {
        complain(format!("there is no topic {} (--topic)", show::name(topic)));
    }
    if !look.failed.is_empty() {
        Exit::Unreachable
    } else if !look.absent.is_empty() || !unknown_topics.is_empty() {
        Exit::Usage
    } else {
        Exit::Done
    }
}

fn watch(args: &LagArgs, looker: &Looker, every: Duration) -> Exit {
    let live = args.format == Format::Table && io::stdout().is_terminal();
    let mut first = true;
    let mut history = History::new();
    loop {
        let began = Instant::now();
        match looker.look(&args.wanted(), &mut history) {
            Ok(look) => {
                let mut out = io::BufWriter::new(io::stdout().lock());
                let shown = match live {
                    true => args.screen(&look, &mut out),
                    false => args.block(&look.rows, first, &mut out),
                };
                if let Err(error) = shown.and_then(|()| out.flush()) {
                    return stdout_ended(&error);
                }
                drop(out);
                if !live {
                    args.tell(&look);
                }
                first = false;
            }
            Err(error @ LogError::Refused(_)) => {
                complain(error);
                return Exit::Unreachable;
            }
            Err(error) => complain(error),
        }
        std::thread::sleep(every.saturating_sub(began.elapsed()));
    }
}

fn stdout_ended(error: &io::Error) -> Exit {
    // Whoever reads our lines has seen enough.
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Exit::Done;
    }
    complain(format!("stdout: {error}"));
    Exit::Stopped
}

// === impl LagArgs ===

impl LagArgs {
    fn wanted(&self) -> Wanted<'_> {
        Wanted {
            groups: &self.groups,
            topics: &self.topics,
        }
    }

    fn print(&self, rows: &[Row], most: usize, header: bool, out: &mut impl Write) -> io::Result<()> {
        let mut out = io::BufWriter::new(out);
        match self.format {
            Format::Table if rows.is_empty() => {}
            Format::Table => show::table(rows, most, &mut out)?,
            Format::Json => show::json(rows, &mut out)?,
            Format::Csv => {
                if header {
                    show::csv_header(&mut out)?;
                }
                show::csv(rows, &mut out)?;
            }
        }
        out.flush()
    }

    /// One look below the other; an empty line between tables.
    fn block(&self, rows: &[Row], first: bool, out: &mut impl Write) -> io::Result<()> {
        if !first && self.format == Format::Table {
            writeln!(out)?;
        }
        self.print(rows, usize::MAX, first, out)
    }

    /// One look in the place of the last one.
    fn screen(&self, look: &Look, out: &mut impl Write) -> io::Result<()> {
        let lines = ratatui::crossterm::terminal::size().map_or(0, |(_, lines)| usize::from(lines));
        // A terminal that does not know its size says 0.
        let most = match lines {
            0 => usize::MAX,
            lines => lines.saturating_sub(FRAME).max(1),
        };
        // To the upper left corner, nothing below, and one line for a row however narrow it is.
        write!(out, "\u{1b}[H\u{1b}[J\u{1b}[?7l")?;
        let millis = wall_time().0 / 1_000;
        writeln!(out, "{}  {}\n", Moment(millis), summary(look))?;
        self.print(&look.rows, most, true, out)?;
        let rest = look.rows.len().saturating_sub(most);
        if rest > 0 {
            write!(out, "and {rest} more that hurt less")?;
        }
        write!(out, "\u{1b}[?7h")
    }

    /// What is no row.
    fn tell(&self, look: &Look) {
        for name in &look.absent {
            complain(format!(
                "there is no group {} that commits offsets (--group)",
                show::name(name)
            ));
        }
        for said in &look.failed {
            complain(said);
        }
        for said in &look.refused {
            complain(format!("{said}: what it would tell is left out"));
        }
        if look.unread > 0 {
            complain(format!(
                "the records of {} lags were not read in time, their number and age are left out",
                look.unread
            ));
        }
        if self.format != Format::Table {
            return;
        }
        eprintln!("{}", summary(look));
        if !look.blank.is_empty() && (look.rows.is_empty() || !self.groups.is_empty()) {
            eprintln!(
                "without offsets{}: {}",
                if self.topics.is_empty() { "" } else { " in these topics" },
                some_of(&look.blank)
            );
        }
        if look.rows.is_empty() && look.failed.is_empty() {
            eprintln!("shown are groups that this login may DESCRIBE, in topics that it may DESCRIBE");
        }
    }

    /// Topics that were named and that no row is of, where the cluster has none of that name either.
    fn unknown_topics(&self, connection: &Connection, look: &Look) -> Result<Vec<String>, ConnectError> {
        let unseen = |topic: &&String| !look.rows.iter().any(|row| row.topic == **topic);
        let unseen: Vec<String> = self.topics.iter().filter(unseen).cloned().collect();
        if unseen.is_empty() {
            return Ok(unseen);
        }
        let (_, found) = describe(connection, &unseen)?;
        let unknown = found
            .into_iter()
            .filter(|topic| topic.partitions.is_none() && topic.problem.is_none());
        Ok(unknown.map(|topic| topic.name).collect())
    }
}

pub(super) fn summary(look: &Look) -> String {
    let behind = look.rows.iter().filter(|row| row.lag.is_some() && !row.is_caught_up());
    let unknown = look.rows.iter().filter(|row| row.lag.is_none()).count();
    let groups: BTreeSet<&str> = look.rows.iter().map(|row| row.group.as_str()).collect();
    let total: i64 = look.rows.iter().filter_map(|row| row.lag).sum();
    let mut said = format!(
        "{}, {}, {} behind, {total} offsets in all",
        counted(groups.len(), "group"),
        counted(look.rows.len(), "partition"),
        behind.count()
    );
    if unknown > 0 {
        said += &format!(", {unknown} unknown");
    }
    said
}

fn counted(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

fn some_of(names: &[String]) -> String {
    let shown: Vec<String> = names.iter().take(NAMES).map(|name| show::name(name)).collect();
    let shown = shown.join(" ");
    match names.len().saturating_sub(NAMES) {
        0 => shown,
        rest => format!("{shown} and {rest} more"),
    }
}
