//! What becomes of one record: exactly one outcome, and for a counted one everything that it adds.
//!
//! Rule: all labels and values of all sources that want the record are computed before anything is added. If one of them
//! cannot be computed, the record is malformed and adds nothing at all.
//!
//! Edges:
//! - a condition that fails (a missing field, types that do not go together) is not met;
//! - a record that no source wants, or only sources without metrics and joins, is filtered;
//! - a record without a usable key has no part in a join, and all the rest of it counts; so has one that brings a value
//!   for others to look up and has none. One that asks for a value counts as one that finds none. All are counted by reason;
//! - a reason names topic-side things (pointer, metric, label) and never the record's content.

mod emit;

use super::combine::{Amount, Combiner, UNIT};
use super::decimal::{Rest, scaled};
use super::expr::{Scratch, Written};
use super::instant;
use super::keyer::{Keyed, Keyer};
use super::ledger::Outcome;
use super::projection::{Fields, Value};
use crate::engine::keyed::KeyHash;
use crate::engine::plan::{Kind, LabelFrom, MetricIx, Plan, TimeFrom, TopicPlan, ValueFrom};
use crate::engine::series::{MAX_LABEL_BYTES, push_value};
use crate::engine::task::{Record, Stamp};
use crate::engine::time::{EventTime, Span, WallTime};
use crate::engine::window::WindowEnd;

/// Further from zero than this, in millionths, is no value: 10^12 units.
const LIMIT: i128 = 1_000_000_000_000 * UNIT as i128;

/// The buffers of one task, and what is the same for all of its records.
#[derive(Debug)]
pub(super) struct Judge {
    topic: String,
    /// In decimal.
    partition: String,
    /// Of the record at hand.
    offset: i64,
    fields: Fields<'static>,
    scratch: Scratch,
    /// A label's value that had to be made.
    text: Vec<u8>,
    /// Encoded series keys of the record at hand, one after another.
    keys: Vec<u8>,
    staged: Vec<Staged>,
    keyed: Vec<StagedKeyed>,
}

/// What the record at hand adds to one metric, if nothing is wrong with the rest of it.
#[derive(Clone, Copy, Debug)]
struct Staged {
    metric: MetricIx,
    window: WindowEnd,
    key: (usize, usize),
    amount: Amount,
}

/// What the record at hand sends to one join, if nothing is wrong with the rest of it.
#[derive(Clone, Copy, Debug)]
struct StagedKeyed {
    emit: usize,
    key: KeyHash,
    /// Where `keys` has what it carries.
    carried: (usize, usize),
    amount: Option<i64>,
}

/// A record that is quarantined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub outcome: Outcome,
    pub reason: String,
}

/// An outcome of a record that is not quarantined, and the event time that it moves the watermark by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub outcome: Outcome,
    pub time: EventTime,
}

// === impl Refusal ===

impl Refusal {
    #[cold]
    fn malformed(reason: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            outcome: Outcome::Malformed,
            reason: reason.into(),
        })
    }
}

// === impl Judge ===

impl Judge {
    pub(super) fn new(topic: &str, partition: u32) -> Self {
        Self {
            topic: topic.to_owned(),
            partition: partition.to_string(),
            offset: 0,
            fields: Fields::new(),
            scratch: Scratch::default(),
            text: Vec::new(),
            keys: Vec::new(),
            staged: Vec::new(),
            keyed: Vec::new(),
        }
    }

    /// Reads the record and, where it is counted, adds it to `combiner` and `keyer`.
    pub(super) fn take(
        &mut self,
        plan: &Plan,
        topic: &TopicPlan,
        record: &Record<'_>,
        now: Option<WallTime>,
        combiner: &mut Combiner,
        keyer: &mut Keyer,
    ) -> Result<Taken, Box<Refusal>> {
        let value = match record.value {
            None => return Err(Refusal::malformed("null value")),
            Some([]) => return Err(Refusal::malformed("empty value")),
            Some(value) if value.len() > topic.max_record_bytes => {
                let reason = format!(
                    "value of {} bytes, and at most {} are read",
                    value.len(),
                    topic.max_record_bytes
                );
                return Err(Box::new(Refusal {
                    outcome: Outcome::Oversize,
                    reason,
                }));
            }
            Some(value) => value,
        };
        let mut fields = std::mem::take(&mut self.fields).reuse();
        let judged = match topic.projection.read(value, &mut fields) {
            Ok(()) => self.judge(plan, topic, record, value, now, &fields),
            Err(malformed) => Err(Refusal::malformed(malformed.to_string())),
        };
        self.fields = fields.reuse();
        let taken = judged?;
        for staged in &self.staged {
            let key = &self.keys[staged.key.0..staged.key.1];
            combiner.add(
                staged.metric,
                &plan.metrics[staged.metric.0].kind,
                staged.window,
                key,
                staged.amount,
            );
        }
        for staged in &self.keyed {
            keyer.add(Keyed {
                emit: staged.emit,
                key: staged.key,
                time: taken.time,
                carried: &self.keys[staged.carried.0..staged.carried.1],
                amount: staged.amount,
            });
        }
        Ok(taken)
    }

    #[inline]
    fn judge(
        &mut self,
        plan: &Plan,
        topic: &TopicPlan,
        record: &Record<'_>,
        value: &[u8],
        now: Option<WallTime>,
        fields: &Fields<'_>,
    ) -> Result<Taken, Box<Refusal>> {
        let time = event_time(topic, record, fields)?;
        let clock = match record.stamp {
            Stamp::None => now,
            Stamp::Created(stamp) | Stamp::Appended(stamp) => Some(now.map_or(stamp, |now| now.min(stamp))),
        };
        if clock.is_some_and(|clock| time > clock.as_event().ahead(topic.timing.max_ahead)) {
            let seconds = topic.timing.max_ahead.as_micros() / 1_000_000;
            let reason = format!("event time more than {seconds} s ahead of the record's own timestamp or the clock");
            return Err(Box::new(Refusal {
                outcome: Outcome::Future,
                reason,
            }));
        }
        self.keys.clear();
        self.staged.clear();
        self.keyed.clear();
        self.offset = record.offset;
        let mut outcome = Outcome::Filtered;
        let mut emits = 0;
        for source in &topic.sources {
            let first_emit = emits;
            emits += source.emits.len();
            if source.recipes.is_empty() && source.emits.is_empty() {
                continue;
            }
            let met = source
                .when
                .as_ref()
                .is_none_or(|when| when.test(fields, &mut self.scratch) == Ok(true));
            if !met {
                continue;
            }
            outcome = Outcome::Counted;
            for recipe in &source.recipes {
                let metric = &plan.metrics[recipe.metric.0];
                let Some(amount) = amount(&recipe.value, &metric.name, &metric.kind, record, value, time, fields)?
                else {
                    continue;
                };
                let start = self.keys.len();
                for (index, label) in recipe.labels.iter().enumerate() {
                    if let Err(problem) = self.label(label, fields) {
                        let name = metric.labels.get(index).map_or("", String::as_str);
                        return Err(Refusal::malformed(format!(
                            "label `{name}` of metric `{}`: {problem}",
                            metric.name
                        )));
                    }
                }
                let window = metric.window.window_of(time);
                self.staged.push(Staged {
                    metric: recipe.metric,
                    window,
                    key: (start, self.keys.len()),
                    amount,
                });
            }
            for (at, emit) in (first_emit..).zip(&source.emits) {
                if let Err(reason) = self.emit(plan, emit, at, record, time, fields)? {
                    self.unkeyed(plan, emit, time, reason);
                }
            }
        }
        Ok(Taken { outcome, time })
    }

    /// Appends one label's value to the keys; the error says what is wrong with it.
    #[inline]
    fn label(&mut self, label: &LabelFrom, fields: &Fields<'_>) -> Result<(), String> {
        let keys = &mut self.keys;
        let (otherwise, what) = match label {
            LabelFrom::Const(value) => return push(keys, value.as_bytes(), || "the constant".to_owned()),
            LabelFrom::Topic => return push(keys, self.topic.as_bytes(), || "the topic's name".to_owned()),
            LabelFrom::Offset => {
                self.text.clear();
                push_decimal(&mut self.text, self.offset);
                return push(keys, &self.text, || "the offset".to_owned());
            }
            LabelFrom::Partition => return push(keys, self.partition.as_bytes(), || "the partition".to_owned()),
            LabelFrom::Field {
                slot,
                pointer,
                otherwise,
            } => match fields.get(*slot) {
                Value::Text(text) => {
                    return match text.as_plain() {
                        Some(plain) => push(keys, plain.as_bytes(), || field(pointer)),
                        None => {
                            self.text.clear();
                            text.write_to(&mut self.text);
                            push(keys, &self.text, || field(pointer))
                        }
                    };
                }
                Value::Number(number) => return push(keys, number.as_bytes(), || field(pointer)),
                Value::Bool(true) => return push(keys, b"true", || field(pointer)),
                Value::Bool(false) => return push(keys, b"false", || field(pointer)),
                Value::Missing => (otherwise, Wrong::Field(pointer, "is missing")),
                Value::Null => (otherwise, Wrong::Field(pointer, "is null")),
                Value::Array(_) => return Err(Wrong::Field(pointer, "is an array").into()),
                Value::Object(_) => return Err(Wrong::Field(pointer, "is an object").into()),
            },
            LabelFrom::Expr { expr, otherwise } => {
                self.text.clear();
                match expr.write(fields, &mut self.scratch, &mut self.text) {
                    Ok(Written::Value) => return push(keys, &self.text, || format!("`{}`", expr.source())),
                    Ok(Written::Null) => (otherwise, Wrong::Expr(expr.source(), "is null".to_owned())),
                    Err(failure) => (otherwise, Wrong::Expr(expr.source(), format!("fails: {failure}"))),
                }
            }
        };
        match otherwise {
            Some(value) => push(keys, value.as_bytes(), || "the constant".to_owned()),
            None => Err(what.into()),
        }
    }
}

/// An offset's digits.
fn push_decimal(to: &mut Vec<u8>, offset: i64) {
    let mut rest = offset.unsigned_abs();
    let start = to.len();
    loop {
        to.push(b'0' + (rest % 10) as u8);
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    to[start..].reverse();
}

/// Why a label has no value.
enum Wrong<'l> {
    Field(&'l str, &'static str),
    Expr(&'l str, String),
}

impl From<Wrong<'_>> for String {
    fn from(wrong: Wrong<'_>) -> String {
        match wrong {
            Wrong::Field(pointer, problem) => format!("{} {problem}", field(pointer)),
            Wrong::Expr(source, problem) => format!("`{source}` {problem}"),
        }
    }
}

fn field(pointer: &str) -> String {
    format!("field `{pointer}`")
}

#[inline]
fn push(keys: &mut Vec<u8>, value: &[u8], what: impl FnOnce() -> String) -> Result<(), String> {
    if value.len() > MAX_LABEL_BYTES {
        return Err(format!("{} is longer than {MAX_LABEL_BYTES} bytes", what()));
    }
    push_value(keys, value);
    Ok(())
}

#[inline]
fn event_time(topic: &TopicPlan, record: &Record<'_>, fields: &Fields<'_>) -> Result<EventTime, Box<Refusal>> {
    match &topic.timing.from {
        TimeFrom::Field { slot, pointer, format } => instant::read(fields.get(*slot), *format)
            .map_err(|error| Refusal::malformed(format!("time field `{pointer}` {error}"))),
        TimeFrom::Record => match record.stamp {
            Stamp::Created(stamp) | Stamp::Appended(stamp) => Ok(stamp.as_event()),
            Stamp::None => Err(Refusal::malformed(
                "the record has no timestamp, and its event time is taken from it",
            )),
        },
    }
}

/// What the record adds to one metric; `None` where that cannot be known and is not the record's fault.
#[inline]
fn amount(
    from: &ValueFrom,
    metric: &str,
    kind: &Kind,
    record: &Record<'_>,
    value: &[u8],
    time: EventTime,
    fields: &Fields<'_>,
) -> Result<Option<Amount>, Box<Refusal>> {
    Ok(match from {
        ValueFrom::One => Some(Amount::Things(1)),
        ValueFrom::Bytes => Some(Amount::Things(value.len() as u64)),
        ValueFrom::AppendLatency => match record.stamp {
            // Microseconds are the millionths of a second.
            Stamp::Appended(at) => Some(Amount::Value(Span::micros(at.0.saturating_sub(time.0)).as_micros())),
            Stamp::Created(_) | Stamp::None => None,
        },
        ValueFrom::Field { slot, pointer } => {
            let number = match fields.get(*slot) {
                Value::Number(number) => number,
                Value::Missing => return Err(no_value(metric, pointer, "is missing")),
                other => return Err(no_value(metric, pointer, &format!("is {} and no number", other.name()))),
            };
            let millionths = scaled(number, 6, Rest::Round, LIMIT).and_then(|value| i64::try_from(value).ok());
            match millionths {
                Some(..0) => return Err(no_value(metric, pointer, "is negative")),
                Some(value) if *kind == Kind::Count && value % UNIT != 0 => {
                    return Err(no_value(metric, pointer, "is not a whole number"));
                }
                Some(value) => Some(Amount::Value(value)),
                None => return Err(no_value(metric, pointer, "is larger than 10^12")),
            }
        }
    })
}

#[cold]
fn no_value(metric: &str, pointer: &str, problem: &str) -> Box<Refusal> {
    Refusal::malformed(format!("value of metric `{metric}`: field `{pointer}` {problem}"))
}
