//! One line, and how it looks.

use std::fmt::{Debug, Write as _};
use std::hash::{DefaultHasher, Hash, Hasher};

use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Level, Metadata};

use super::Format;

/// The type of events that name none.
const OF_LIBRARIES: &str = "library_event";

/// See the module's documentation.
#[derive(Clone, Debug)]
pub struct Line {
    at: jiff::Timestamp,
    level: Level,
    event_type: String,
    details: Map<String, Value>,
}

/// The keys in the order of the guide.
#[derive(Serialize)]
struct Shown<'a> {
    timestamp: String,
    level: &'static str,
    event_type: &'a str,
    details: &'a Map<String, Value>,
}

/// What an event carries.
#[derive(Default)]
pub struct Fields {
    event_type: Option<String>,
    details: Map<String, Value>,
}

// === impl Line ===

impl Line {
    pub fn new(level: Level, event_type: impl Into<String>, details: Map<String, Value>) -> Self {
        Self {
            at: jiff::Timestamp::now(),
            level,
            event_type: event_type.into(),
            details,
        }
    }

    /// The line that stands for `repeated` others like it.
    pub fn standing_for(mut self, repeated: u64) -> Self {
        self.details.insert("repeated".to_owned(), repeated.into());
        self
    }

    /// With its line feed.
    pub fn render(&self, format: Format) -> Vec<u8> {
        let mut text = match format {
            Format::Json => {
                let shown = Shown {
                    timestamp: format!("{:.6}", self.at),
                    level: self.level_name(),
                    event_type: &self.event_type,
                    details: &self.details,
                };
                serde_json::to_string(&shown).unwrap_or_default()
            }
            Format::Text { colours } => self.text(colours),
        };
        text.push('\n');
        text.into_bytes()
    }

    fn text(&self, colours: bool) -> String {
        let mut text = format!("{:.3} ", self.at);
        let level = self.level_name();
        let _ = match (colours, self.colour()) {
            (true, Some(colour)) => write!(text, "\x1b[{colour}m{level:<7}\x1b[0m"),
            _ => write!(text, "{level:<7}"),
        };
        let _ = write!(text, " {}", self.event_type);
        if let Some(Value::String(message)) = self.details.get("message") {
            text.push_str(": ");
            plain(&mut text, message);
        }
        for (name, value) in self.details.iter().filter(|(name, _)| *name != "message") {
            let _ = write!(text, " {name}=");
            match value {
                Value::String(value) if !value.is_empty() && !value.contains([' ', '"', '=']) => {
                    plain(&mut text, value)
                }
                value => plain(&mut text, &value.to_string()),
            }
        }
        text
    }

    /// The names of the monitoring guide, which are Python's.
    fn level_name(&self) -> &'static str {
        match self.level {
            Level::TRACE => "TRACE",
            Level::DEBUG => "DEBUG",
            Level::INFO => "INFO",
            Level::WARN => "WARNING",
            Level::ERROR => "ERROR",
        }
    }

    fn colour(&self) -> Option<u8> {
        match self.level {
            Level::ERROR => Some(31),
            Level::WARN => Some(33),
            Level::INFO => Some(32),
            _ => None,
        }
    }
}

/// Nothing that is logged may move a terminal's cursor, or begin a line.
fn plain(to: &mut String, text: &str) {
    for letter in text.chars() {
        match letter.is_control() {
            true => to.extend(letter.escape_default()),
            false => to.push(letter),
        }
    }
}

// === impl Fields ===

impl Fields {
    /// The same for events that differ in numbers alone.
    pub fn shape(&self) -> u64 {
        let mut hash = DefaultHasher::new();
        self.event_type.hash(&mut hash);
        for (name, value) in &self.details {
            name.hash(&mut hash);
            if let Value::String(text) = value {
                let letters = text.bytes().filter(|byte| !byte.is_ascii_digit());
                letters.for_each(|byte| hash.write_u8(byte));
            }
        }
        hash.finish()
    }

    pub fn into_line(mut self, metadata: &Metadata<'_>) -> Line {
        let target = metadata.target();
        let event_type = self.event_type.take().unwrap_or_else(|| {
            self.name_library(target);
            OF_LIBRARIES.to_owned()
        });
        // OpenTelemetry's own events come out of the middle of what is asked here.
        if !target.starts_with("opentelemetry") {
            name_span(&mut self.details);
        }
        Line::new(*metadata.level(), event_type, self.details)
    }

    /// Libraries that use the crate `log` say in fields who they are.
    fn name_library(&mut self, target: &str) {
        let given = self.details.remove("log.target");
        self.details.retain(|name, _| !name.starts_with("log."));
        let target = given.unwrap_or_else(|| target.into());
        self.details.insert("target".to_owned(), target);
    }

    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("event_type", Value::String(name)) => self.event_type = Some(name),
            (name, value) => {
                self.details.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no infinity and no NaN.
        let number = serde_json::Number::from_f64(value);
        self.put(
            field,
            number.map_or_else(|| Value::String(value.to_string()), Value::Number),
        );
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field, value.to_string().into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}").into());
    }
}

/// The ids of the current span, as W3C Trace Context writes them.
fn name_span(details: &mut Map<String, Value>) {
    Context::map_current(|context| {
        if context.has_active_span() {
            let span = context.span();
            let span = span.span_context();
            if span.is_valid() {
                details.insert("trace_id".to_owned(), span.trace_id().to_string().into());
                details.insert("span_id".to_owned(), span.span_id().to_string().into());
            }
        }
    });
}
