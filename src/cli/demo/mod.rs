//! `streamgauge demo`: the whole product in one picture, on one machine, with nothing to install.
//!
//! Rule: what runs here is what `run` runs: the users' pipeline, the same workers and the same exporter, only on the log in
//! memory. Simulated services write the users' format, with everything that goes wrong; workers are killed while they work;
//! a real OTLP receiver takes the totals; and in the end every total must be what was written.
//!
//! The way of a record: [`simulator`] → [`feed`] → the workers of [`crew`], which [`chaos`] kills ([`death`]) → the OTLP
//! receiver ([`received`], [`journeys`]). [`expected`] is the oracle, with [`joined`] for what needs two records, [`audit`] reads the ledger, [`stopwatch`] times the wire, [`observe`] takes the pictures that
//! [`screen`] shows, and [`summary`] is the end.

mod audit;
mod chaos;
mod crew;
mod death;
pub mod expected;
mod feed;
mod joined;
mod journeys;
mod observe;
mod received;
mod run;
mod screen;
pub mod simulator;
mod stopwatch;
mod summary;

use std::time::Duration;

use clap::{Args, ValueEnum};

use super::{Exit, complain};

/// See the module.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// End by itself after this long: 20s, 5m. Without it, `q` or Ctrl-C ends the demo
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    pub length: Option<Duration>,

    /// Kill a worker every few seconds, and refuse requests now and then
    #[arg(long, default_value_t = true, default_missing_value = "true", num_args = 0..=1, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub chaos: bool,

    /// The same as `--chaos false`
    #[arg(long, conflicts_with = "chaos")]
    pub no_chaos: bool,

    /// A table for people, or one JSON object at the end for machines
    #[arg(long, value_enum, default_value_t = Format::Table)]
    pub format: Format,

    /// Records a second, on the average of a simulated day
    #[arg(long, default_value_t = 50_000, value_name = "N", value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub rate: u32,

    /// Makes the simulated services and the chaos repeatable
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,

    /// Where the status page is: HOST:PORT, or `off`. Another port is taken where this one is in use
    #[arg(long, default_value = "127.0.0.1:8686", value_name = "HOST:PORT")]
    pub http: String,

    /// Tap workers
    #[arg(long, default_value_t = 2, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=32))]
    pub workers: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
}

/// Runs the demo: [`Exit::Done`] where everything was right, else [`Exit::Difference`].
pub fn run(args: &DemoArgs) -> Exit {
    let summary = match run::run(args) {
        Ok(summary) => summary,
        Err(error) => {
            complain(error);
            return Exit::Stopped;
        }
    };
    match args.format {
        Format::Table => print!("{}", summary.text()),
        Format::Json => println!("{:#}", summary.json()),
    }
    if summary.differences().is_empty() {
        Exit::Done
    } else {
        Exit::Difference
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text
        .parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|length| Duration::try_from(length).ok());
    parsed
        .filter(|length| !length.is_zero())
        .ok_or_else(|| "takes a duration: 20s, 5m, 1h".to_owned())
}
