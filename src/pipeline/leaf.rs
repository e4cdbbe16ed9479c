//! The syntaxes of single values: names, durations, sizes, pointers.
//!
//! Rule: each syntax is said once, here: how it is checked, how its JSON Schema pattern reads, and how a message and the
//! reference name it. Reading a checked value never fails.
//!
//! Edges:
//! - a number where text belongs (and the other way round) is refused, as JSON Schema would;
//! - ranges of durations and sizes are checked here and only told in the schema, which has no arithmetic for them;
//! - a value that was filled in from outside may be of any form, and a message never quotes it.

mod names;
mod spelling;

use std::ops::Range;

use serde_json::{Value as Json, json};

use crate::engine::names::MAX_TOPIC;
use crate::engine::time::Span;

use names::{label_name, metric_name, plain_name, pointer, shown_metric, topic, unit};
pub use spelling::{
    Moment, bound, bucket, duration, moment, share, size, spell_duration, spell_offset, spell_size, spell_start, start,
};

use super::expression;
use super::node::{Form, Scalar, shorten};

/// A name in Prometheus and OTLP alike: what the translation from the one to the other leaves as it is.
pub const NAME: &str = "^[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*$";

/// The longest name or label value, in bytes.
const MAX_NAME: usize = 200;
const MAX_TEXT: usize = 1024;
const MAX_EXPRESSION: usize = 4096;

/// Names in a pointer; records are no deeper.
const MAX_STEPS: usize = 32;

/// A field from 0 to this many, in millionths, fits an `i64` with room for sums.
const MAX_BOUND: f64 = 1e12;

/// One syntax.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Leaf {
    PipelineName,
    SourceName,
    /// A source's name, or `*` for every topic of the pipeline.
    SourceOrAll,
    MetricName,
    /// Of a metric that comes out, also one of streamgauge's own.
    ShownMetric,
    LabelName,
    TraceName,
    AttributeName,
    HeaderName,
    Topic,
    Pointer,
    Expression,
    /// From `least` to `most`.
    Duration {
        least: Span,
        most: Span,
    },
    Start,
    Size {
        least: usize,
        most: usize,
    },
    Integer {
        least: u32,
        most: u32,
    },
    /// An upper bound of a bucket.
    Bound,
    /// From 0 to 1.
    Share,
    Help,
    /// A label's value: text, number or boolean, taken as it is written.
    LabelValue,
    Unit,
    /// Text, number or boolean, taken as it is written; may be empty.
    Text,
    /// How long before or after the start of a test's case, or a time.
    Moment,
    /// Names, with `*` and `?` for what they leave open.
    Pattern,
    /// Any decimal number.
    Number,
    Boolean,
    /// The upper bound of a bucket, `inf` for the last one.
    Bucket,
}

/// Why a value is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// Which bytes of the value, where that is known.
    pub at: Option<Range<usize>>,
    pub message: String,
    pub help: String,
}

// === impl Leaf ===

impl Leaf {
    /// For messages and the reference: `a duration such as 10s`.
    pub fn what(self) -> &'static str {
        match self {
            Leaf::PipelineName => "a name",
            Leaf::SourceName => "the name of a source",
            Leaf::SourceOrAll => "the name of a source or `\"*\"`",
            Leaf::MetricName | Leaf::ShownMetric => "the name of a metric",
            Leaf::LabelName => "the name of a label",
            Leaf::TraceName => "the name of a trace",
            Leaf::AttributeName => "the name of an attribute such as `customer.tier`",
            Leaf::HeaderName => "the name of a header",
            Leaf::Topic => "the name of a topic",
            Leaf::Pointer => "a field such as `/data/channel`",
            Leaf::Expression => "a CEL expression",
            Leaf::Duration { .. } => "a duration such as `10s`",
            Leaf::Start => "`earliest`, `latest` or a duration such as `24h`",
            Leaf::Size { .. } => "a size such as `1MiB`",
            Leaf::Integer { .. } => "a whole number",
            Leaf::Bound => "a number",
            Leaf::Share => "a share such as `0.1`",
            Leaf::Help => "text",
            Leaf::LabelValue => "text, a number or a boolean",
            Leaf::Unit => "a UCUM unit such as `s`, `By` or `{record}`",
            Leaf::Text => "text, a number or a boolean",
            Leaf::Moment => "a distance from the start such as `5s` or `-1m`, or a time such as `2026-01-01T00:00:00Z`",
            Leaf::Pattern => "a name such as `orders-*`",
            Leaf::Number => "a number",
            Leaf::Boolean => "`true` or `false`",
            Leaf::Bucket => "an upper bound or `inf`",
        }
    }

    /// Whether the value is one of this syntax.
    pub fn check(self, scalar: &Scalar) -> Result<(), Wrong> {
        if scalar.form == Form::Unknown {
            return Ok(());
        }
        self.check_form(scalar)?;
        let text = scalar.text.as_str();
        match self {
            Leaf::PipelineName => plain_name(
                text,
                "-_.",
                "start with a letter or digit and go on with these or `-`, `_`, `.`",
            ),
            Leaf::SourceName | Leaf::TraceName => plain_name(
                text,
                "-_",
                "start with a letter or digit and go on with these or `-`, `_`",
            ),
            Leaf::SourceOrAll if text == "*" => Ok(()),
            Leaf::SourceOrAll => Leaf::SourceName.check(scalar),
            Leaf::MetricName => metric_name(text),
            Leaf::ShownMetric => shown_metric(text),
            Leaf::LabelName => label_name(text),
            Leaf::AttributeName => plain_name(
                text,
                "-_.",
                "start with a letter or digit and go on with these or `-`, `_`, `.`",
            ),
            Leaf::HeaderName => bounded(text, MAX_NAME),
            Leaf::Topic => topic(text),
            Leaf::Pointer => pointer(text),
            Leaf::Expression if expression::is_too_long(text) => Err(refuse(
                "this expression is too long",
                format!("at most {} operators are taken", expression::MAX_STEPS),
            )),
            Leaf::Expression => bounded(text, MAX_EXPRESSION),
            Leaf::Duration { least, most } => in_range(duration(text), least, most, spell_duration, self.what()),
            Leaf::Start => start(text)
                .map(drop)
                .ok_or_else(|| refuse("this is no place to start", self.what())),
            Leaf::Size { least, most } => in_range(size(text), least, most, spell_size, self.what()),
            Leaf::Integer { least, most } => in_range(text.parse().ok(), least, most, |n| n.to_string(), self.what()),
            Leaf::Bound => match bound(text) {
                Some(_) => Ok(()),
                None => Err(refuse(
                    "this bound cannot be kept",
                    "bounds lie between 0 and 1e12, to a millionth",
                )),
            },
            Leaf::Share => match share(text) {
                Some(_) => Ok(()),
                None => Err(refuse("this is no share", "a share is a number from 0 to 1")),
            },
            Leaf::Help => bounded(text, MAX_TEXT),
            Leaf::LabelValue => bounded(text, MAX_TEXT),
            Leaf::Pattern if text == "!" => Err(refuse(
                "this excludes nothing",
                "write a pattern behind `!`, as in `\"!test-*\"`",
            )),
            Leaf::Pattern => bounded(text, MAX_TEXT),
            Leaf::Unit => unit(text),
            Leaf::Text => Ok(()),
            Leaf::Boolean => matches!(text, "true" | "false")
                .then_some(())
                .ok_or_else(|| refuse("this is neither true nor false", "write `true` or `false`")),
            Leaf::Moment => moment(text)
                .map(drop)
                .ok_or_else(|| refuse("this is no time", format!("write {}", self.what()))),
            Leaf::Number | Leaf::Bucket => bucket(text)
                .filter(|number| self == Leaf::Bucket || number.is_finite())
                .map(drop)
                .ok_or_else(|| refuse(format!("this is not {}", self.what()), "write it as `2` or `0.25`")),
        }
        .map_err(|wrong| {
            if scalar.form == Form::Secret {
                wrong.without_the_value(self)
            } else {
                wrong
            }
        })
    }

    fn check_form(self, scalar: &Scalar) -> Result<(), Wrong> {
        let fits = match (self, scalar.form) {
            (_, Form::Secret) | (Leaf::LabelValue | Leaf::Text, _) => true,
            (Leaf::Integer { .. }, form) => form == Form::Integer,
            (Leaf::Boolean, form) => form == Form::Boolean,
            (Leaf::Bound | Leaf::Share | Leaf::Number, form) => matches!(form, Form::Integer | Form::Number),
            (_, form) => form == Form::Text,
        };
        if fits {
            return Ok(());
        }
        let shown = shorten(&scalar.shown);
        Err(match (self, scalar.form) {
            (Leaf::Duration { .. } | Leaf::Start | Leaf::Moment, Form::Integer) => refuse(
                "a duration needs its unit",
                format!("write `{shown}s` for seconds; the units are ms, s, m, h and d"),
            ),
            (Leaf::Size { .. }, Form::Integer) => refuse(
                "a size needs its unit",
                format!("write `{shown}B` for bytes; the units are B, KiB and MiB"),
            ),
            (Leaf::Integer { .. } | Leaf::Bound | Leaf::Number, _) => refuse(
                format!("`{shown}` is not {}", self.what()),
                "write it without quotes, as `2000`",
            ),
            (Leaf::Share, _) => refuse(
                format!("`{shown}` is not {}", self.what()),
                "write a number from 0 to 1 without quotes, as `0.1`",
            ),
            _ => refuse(
                format!("`{shown}` is not {}", self.what()),
                format!("put it into quotes if it is meant: \"{shown}\""),
            ),
        })
    }

    /// What JSON Schema can say about it.
    pub fn schema(self) -> Json {
        match self {
            Leaf::PipelineName | Leaf::AttributeName => {
                json!({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]*$", "maxLength": MAX_NAME})
            }
            Leaf::SourceName | Leaf::TraceName => {
                json!({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_-]*$", "maxLength": MAX_NAME})
            }
            Leaf::SourceOrAll => {
                json!({"type": "string", "pattern": "^(\\*|[A-Za-z0-9][A-Za-z0-9_-]*)$", "maxLength": MAX_NAME})
            }
            Leaf::MetricName => json!({
                "type": "string", "pattern": NAME, "maxLength": MAX_NAME,
                "not": {"pattern": "^streamgauge_|_(bucket|count|sum|created|info)$"},
            }),
            Leaf::ShownMetric => json!({"type": "string", "pattern": NAME, "maxLength": MAX_NAME}),
            Leaf::LabelName => json!({
                "type": "string", "pattern": NAME, "maxLength": MAX_NAME,
                "not": {"pattern": "^(le|quantile|job|instance|otel_.*)$"},
            }),
            Leaf::Topic => json!({
                "type": "string", "pattern": "^[A-Za-z0-9._-]+$", "maxLength": MAX_TOPIC,
                "not": {"pattern": "^(__.*|\\.{1,2})$"},
            }),
            Leaf::Pointer => json!({"type": "string", "pattern": "^/"}),
            Leaf::Expression => json!({"type": "string", "minLength": 1}),
            Leaf::Duration { .. } => json!({"type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$"}),
            Leaf::Start => json!({"type": "string", "pattern": "^(earliest|latest|[0-9]+(ms|s|m|h|d))$"}),
            Leaf::Size { .. } => json!({"type": "string", "pattern": "^[0-9]+(B|KiB|MiB)$"}),
            Leaf::Integer { least, most } => json!({"type": "integer", "minimum": least, "maximum": most}),
            Leaf::Bound => json!({"type": "number", "minimum": 0, "maximum": MAX_BOUND}),
            Leaf::Share => json!({"type": "number", "minimum": 0, "maximum": 1}),
            Leaf::HeaderName => json!({"type": "string", "minLength": 1, "maxLength": MAX_NAME}),
            Leaf::Pattern => json!({"type": "string", "minLength": 1, "maxLength": MAX_TEXT, "not": {"const": "!"}}),
            Leaf::Help => json!({"type": "string", "minLength": 1, "maxLength": MAX_TEXT}),
            Leaf::LabelValue => json!({"type": ["string", "number", "boolean"], "minLength": 1, "maxLength": MAX_TEXT}),
            Leaf::Text => json!({"type": ["string", "number", "boolean"]}),
            Leaf::Moment => json!({"type": "string", "pattern": "^(-?[0-9]+(ms|s|m|h|d)|[0-9]{4}-.*)$"}),
            Leaf::Number => json!({"type": "number"}),
            Leaf::Boolean => json!({"type": "boolean"}),
            Leaf::Bucket => json!({"type": "string", "pattern": "^(inf|[0-9.eE+-]+)$"}),
            Leaf::Unit => {
                let known = super::unit::KNOWN
                    .iter()
                    .map(|(unit, _)| *unit)
                    .collect::<Vec<_>>()
                    .join("|");
                json!({"type": "string", "pattern": format!("^({known}|\\{{[A-Za-z0-9_]+\\}})$")})
            }
        }
    }

    /// The range of a value, for the reference.
    pub fn range(self) -> Option<String> {
        match self {
            Leaf::Duration { least, most } => Some(format!("{} to {}", spell_duration(least), spell_duration(most))),
            Leaf::Size { least, most } => Some(format!("{} to {}", spell_size(least), spell_size(most))),
            Leaf::Integer { least, most } => Some(format!("{least} to {most}")),
            Leaf::Share => Some("0 to 1".to_owned()),
            _ => None,
        }
    }
}

// === impl Wrong ===

impl Wrong {
    fn without_the_value(self, leaf: Leaf) -> Wrong {
        refuse(
            format!("with its secrets filled in, this is not {}", leaf.what()),
            "look at the value where it is set",
        )
    }
}

fn refuse(message: impl Into<String>, help: impl Into<String>) -> Wrong {
    Wrong {
        at: None,
        message: message.into(),
        help: help.into(),
    }
}

fn bounded(text: &str, most: usize) -> Result<(), Wrong> {
    if text.trim().is_empty() {
        return Err(refuse(
            "this text is empty",
            "leave the key out, or write what is meant",
        ));
    }
    if text.len() > most {
        return Err(refuse(
            format!("{} bytes are too many here", text.len()),
            format!("at most {most} bytes are taken"),
        ));
    }
    Ok(())
}

fn in_range<T: PartialOrd + Copy>(
    value: Option<T>,
    least: T,
    most: T,
    spell: impl Fn(T) -> String,
    what: &str,
) -> Result<(), Wrong> {
    match value {
        None => Err(refuse(format!("this is not {what}"), format!("write {what}"))),
        Some(value) if value < least || value > most => Err(refuse(
            format!("{} is out of range", spell(value)),
            format!("it may be {} to {}", spell(least), spell(most)),
        )),
        Some(_) => Ok(()),
    }
}
