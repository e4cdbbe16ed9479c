//! Log lines: one event of `tracing` is one line, `{timestamp, level, event_type, details}` as JSON or readable text.
//!
//! Rule: the shape is the monitoring guide's. `event_type` is the event's field of that name, and stable ([`events`] has the
//! list); everything else that the event carries is in `details`, with the ids of the span of OpenTelemetry that is current.
//!
//! Edges:
//! - a line is written in one piece, so that lines of several threads do not mix;
//! - lines that repeat are counted instead (`repeats`); no line is lost without a count, unless the process is killed or
//!   told twice to stop;
//! - events of libraries have no type of their own: theirs is `library_event`, and `target` says whose they are.

pub mod events;
mod line;
mod repeats;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use line::{Fields, Line};
use repeats::{Kind, Repeats};

/// How many lines of one kind are written in ten seconds before the rest is only counted.
pub const REPEATS: u32 = 10;

/// These ten seconds.
const WINDOW: Duration = Duration::from_secs(10);

/// What a line looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object.
    Json,
    /// For a person; with the colours of a terminal or without.
    Text { colours: bool },
}

/// A layer that writes log lines. Clones write to the same place.
#[derive(Clone)]
pub struct Lines(Arc<Shared>);

struct Shared {
    format: Format,
    out: Mutex<Out>,
    /// Something is held back, and has to be told in time.
    holds: Condvar,
}

struct Out {
    to: Box<dyn Write + Send>,
    repeats: Repeats,
}

// === impl Format ===

impl Format {
    /// What suits stderr: text on a terminal, JSON elsewhere.
    pub fn for_stderr() -> Self {
        match std::io::stderr().is_terminal() {
            true => Self::text(),
            false => Self::Json,
        }
    }

    /// Text for stderr, with colours where they are seen and wanted (<https://no-color.org>).
    pub fn text() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self::Text {
            colours: wanted && std::io::stderr().is_terminal(),
        }
    }
}

// === impl Lines ===

impl Lines {
    /// Lines to `to`. Of each kind `repeats` are written in ten seconds, and the rest is counted; 0: all are written.
    pub fn new(format: Format, repeats: u32, to: impl Write + Send + 'static) -> Self {
        Self::with(format, Repeats::new(repeats, WINDOW), to)
    }

    fn with(format: Format, repeats: Repeats, to: impl Write + Send + 'static) -> Self {
        let holds = repeats.holds_back();
        let lines = Self(Arc::new(Shared {
            format,
            out: Mutex::new(Out {
                to: Box::new(to),
                repeats,
            }),
            holds: Condvar::new(),
        }));
        if holds {
            let shared = Arc::clone(&lines.0);
            let thread = std::thread::Builder::new().name("log-repeats".to_owned());
            // Without it they are told with the next line, or at the end.
            let _ = thread.spawn(move || shared.tell_in_time());
        }
        lines
    }

    pub fn format(&self) -> Format {
        self.0.format
    }

    /// Writes a line whatever the filter is: what ends a process has to be told.
    pub fn say(&self, level: Level, event_type: &'static str, details: Map<String, Value>) {
        let line = Line::new(level, event_type, details);
        self.0.lock().write(self.0.format, &line);
    }

    /// From now on a panic of any thread is a line too.
    pub fn take_panics(&self) {
        let lines = self.clone();
        std::panic::set_hook(Box::new(move |panic| lines.say_of(panic)));
    }

    fn say_of(&self, panic: &PanicHookInfo<'_>) {
        let mut details = Map::new();
        let mut put = |name: &str, value: String| details.insert(name.to_owned(), value.into());
        let payload = panic.payload();
        let formatted = payload.downcast_ref::<String>().map(String::as_str);
        let message = formatted.or_else(|| payload.downcast_ref::<&str>().copied());
        put("message", message.unwrap_or("no message").to_owned());
        let thread = std::thread::current();
        put("thread", thread.name().unwrap_or("(unnamed)").to_owned());
        if let Some(place) = panic.location() {
            put("location", place.to_string());
        }
        let backtrace = Backtrace::capture();
        if backtrace.status() == BacktraceStatus::Captured {
            put("backtrace", backtrace.to_string());
        }
        let line = Line::new(Level::ERROR, "panic", details);
        // It may have begun where lines are written.
        match self.0.out.try_lock() {
            Ok(mut out) => out.write(self.0.format, &line),
            Err(TryLockError::Poisoned(out)) => out.into_inner().write(self.0.format, &line),
            Err(TryLockError::WouldBlock) => {
                let _ = std::io::stderr().write_all(&line.render(self.0.format));
            }
        }
    }

    /// Tells what is held back: nothing may follow.
    pub fn flush(&self) {
        let mut out = self.0.lock();
        for line in out.repeats.all() {
            out.write(self.0.format, &line);
        }
        let _ = out.to.flush();
    }
}

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut fields = Fields::default();
        event.record(&mut fields);
        let kind = Kind::new(metadata.callsite(), fields.shape());
        let line = fields.into_line(metadata);
        let mut out = self.0.lock();
        let (told, holds) = out.repeats.take(kind, line, Instant::now());
        for line in told {
            out.write(self.0.format, &line);
        }
        if holds {
            self.0.holds.notify_one();
        }
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells what is held back when its time is over, also where no line follows.
    fn tell_in_time(&self) {
        let mut out = self.lock();
        loop {
            let now = Instant::now();
            for line in out.repeats.due(now) {
                out.write(self.format, &line);
            }
            out = match out.repeats.next_due() {
                None => self.holds.wait(out).unwrap_or_else(PoisonError::into_inner),
                Some(at) => {
                    let waited = self.holds.wait_timeout(out, at.saturating_duration_since(now));
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }
}

// === impl Out ===

impl Out {
    fn write(&mut self, format: Format, line: &Line) {
        // A log that cannot be written cannot be complained about.
        let _ = self.to.write_all(&line.render(format));
    }
}

#[cfg(test)]
mod tests;
