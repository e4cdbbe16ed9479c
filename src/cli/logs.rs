//! Log lines of commands that run: to stderr, as `--log-format` says, by the levels of RUST_LOG.
//!
//! Rule: once they are set up, everything on stderr is a log line: complaints and panics too.

use std::sync::OnceLock;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value};
use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::logs::{Format, Lines, REPEATS};

/// The levels where RUST_LOG says none.
const LEVELS: &str = "info,librdkafka=warn,rdkafka=warn";

/// What the process writes its lines with.
static LINES: OnceLock<Lines> = OnceLock::new();

#[derive(Args, Clone, Copy, Debug)]
pub struct LogArgs {
    /// What log lines look like; `auto` is text on a terminal, JSON elsewhere
    #[arg(long, env = "STREAMGAUGE_LOG_FORMAT", default_value = "auto", value_name = "FORMAT")]
    log_format: LogFormat,

    /// How many lines that differ in numbers alone are written in ten seconds; the rest is counted. 0: all
    #[arg(long, env = "STREAMGAUGE_LOG_REPEATS", default_value_t = REPEATS, value_name = "N")]
    log_repeats: u32,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    Auto,
    Text,
    Json,
}

/// Sends log lines to stderr; stdout belongs to what commands print.
pub fn start(args: LogArgs) {
    let format = match args.log_format {
        LogFormat::Auto => Format::for_stderr(),
        LogFormat::Text => Format::text(),
        LogFormat::Json => Format::Json,
    };
    let lines = Lines::new(format, args.log_repeats, std::io::stderr());
    let wanted = super::environment("RUST_LOG").filter(|wanted| !wanted.trim().is_empty());
    let (filter, refused) = match wanted.as_deref().unwrap_or(LEVELS).parse::<EnvFilter>() {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(LEVELS), Some(error)),
    };
    let started = tracing_subscriber::registry()
        .with(filter)
        .with(lines.clone())
        .try_init();
    if let Err(error) = started {
        return super::complain(format!("log lines cannot be set up: {error}"));
    }
    lines.take_panics();
    let _ = LINES.set(lines);
    if let Some(error) = refused {
        tracing::warn!(event_type = "log_filter_refused", "RUST_LOG: {error}; it is not used");
    }
}

/// Whether this was said as a JSON line, since stderr has nothing else.
pub fn say(event_type: &'static str, message: &str) -> bool {
    match LINES.get() {
        Some(lines) if lines.format() == Format::Json => {
            let details = Map::from_iter([("message".to_owned(), Value::from(message))]);
            lines.say(Level::ERROR, event_type, details);
            true
        }
        _ => false,
    }
}

/// Tells what is held back: the process ends.
pub fn end() {
    if let Some(lines) = LINES.get() {
        lines.flush();
    }
}
