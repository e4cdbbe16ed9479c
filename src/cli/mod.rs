//! The command line: one file a command.
//!
//! Rule: an exit code means one thing. 0: done, and true. 1: a comparison found a difference (`audit`, `demo`, `test`) or a
//! question has the answer no (`health`). 2: a wrong pipeline, test, flag, variable or internal topic. 3: another process has
//! taken this instance's name. 4: a stage stopped or a right is missing, and a person has to decide; the message says what.
//! 5: the broker cannot be reached, or refuses what is asked (commands that do not wait for it).

pub mod application;
mod audit;
pub mod check;
mod cluster;
mod decode;
pub mod demo;
mod health;
mod lag;
mod lag_source;
mod logs;
mod rights;
mod run;
pub mod schema;
pub mod test;
mod top;
pub mod workers;

use std::io::Write as _;

use clap::{Parser, Subcommand};

/// What a process ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    Done = 0,
    Difference = 1,
    Usage = 2,
    Fenced = 3,
    Stopped = 4,
    Unreachable = 5,
}

/// True metrics, spans and alerts from Kafka topics, exactly once, with no change to the services that write them.
#[derive(Debug, Parser)]
#[command(name = "streamgauge", version, about, propagate_version = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes:
  0  done
  1  a difference was found (audit, demo, test), or the answer is no (health)
  2  wrong pipeline, test, flag, variable or internal topic
  3  another process has taken this instance's name
  4  a stage stopped, or a right is missing: a person has to decide, the message says what
  5  the broker cannot be reached, or refuses what is asked (commands that do not wait for it)";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run pipelines: join the group, compute, export
    Run(Box<run::RunArgs>),
    /// Watch the whole pipeline at work on this machine, with nothing to install
    Demo(demo::DemoArgs),
    /// Check pipelines and print what they make: stages, topics, tasks, costs
    Check(check::CheckArgs),
    /// Test pipelines: play records to them and compare what comes out, without a broker
    Test(test::TestArgs),
    /// Print the JSON Schema of the pipeline language, for editors
    Schema(schema::SchemaArgs),
    /// Hold the loss ledger of an application against its committed offsets
    Audit(audit::AuditArgs),
    /// Print the records of `__consumer_offsets`: what groups committed, and how groups came and went
    Decode(decode::DecodeArgs),
    /// Show the lag of consumer groups, worst first: no configuration, and nothing is joined
    Lag(lag::LagArgs),
    /// The same live in the terminal, with what each lag has been over the last minutes
    Top(top::TopArgs),
    /// Ask a running instance whether it is ready
    Health(health::HealthArgs),
    /// Print the version and what is built in
    Version,
}

/// Runs the command that the arguments name.
pub fn main() -> ! {
    let cli = Cli::parse();
    let exit = match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Check(args) => check::command(&args),
        Command::Test(args) => test::run(&args),
        Command::Schema(args) => schema::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Decode(args) => decode::run(&args),
        Command::Lag(args) => lag::run(&args),
        Command::Top(args) => top::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Version => version(),
    };
    leave(exit)
}

/// Ends the process without what libraries have registered for its end: threads that wait for a broker may still be inside of
/// them, and what they use must not be taken from under them.
fn leave(exit: Exit) -> ! {
    logs::end();
    // A reader that went away is no failure of ours.
    let _ = std::io::stdout().flush();
    let _ = std::io::stderr().flush();
    signal_hook::low_level::exit(exit as i32)
}

fn version() -> Exit {
    let (_, librdkafka) = rdkafka::util::get_rdkafka_version();
    println!("streamgauge {}", env!("CARGO_PKG_VERSION"));
    println!("librdkafka {librdkafka}: {}", crate::kafka::builtin_features());
    Exit::Done
}

/// An error for a person, on stderr: as a log line where there are such.
fn complain(message: impl std::fmt::Display) {
    let message = message.to_string();
    if !logs::say("complaint", &message) {
        eprintln!("streamgauge: {message}");
    }
}

/// Looks a variable of the environment up; one that is not UTF-8 counts as unset.
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
