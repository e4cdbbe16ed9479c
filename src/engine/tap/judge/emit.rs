//! What a record sends to joins.
//!
//! Rule: as with metrics, everything is staged first: a record that turns out malformed sends nothing.

use super::{Amount, Judge, Refusal, Staged, StagedKeyed, amount};
use crate::engine::keyed::KeyHash;
use crate::engine::plan::{Emit, KeyFrom, MAX_KEY_BYTES, Plan};
use crate::engine::series::push_value;
use crate::engine::tap::projection::{Fields, Value};
use crate::engine::task::Record;
use crate::engine::time::EventTime;

impl Judge {
    /// Stages what the record sends to one join. The inner error says what is wrong with its key.
    #[inline]
    pub(super) fn emit(
        &mut self,
        plan: &Plan,
        emit: &Emit,
        at: usize,
        record: &Record<'_>,
        time: EventTime,
        fields: &Fields<'_>,
    ) -> Result<Result<(), &'static str>, Box<Refusal>> {
        let join = &plan.joins[emit.join.0];
        let (key, keyed) = match self.key(&emit.key, fields) {
            Ok(key) => (key, Ok(())),
            // It still counts: as one that finds nothing.
            Err(reason) if join.asked_by(emit.side).is_some() => (KeyHash::NONE, Err(reason)),
            Err(reason) => return Ok(Err(reason)),
        };
        let start = self.keys.len();
        for label in &emit.carries {
            if let Err(problem) = self.label(label, fields) {
                self.keys.truncate(start);
                if join.is_looked_up(emit.side) {
                    return Ok(Err("no value"));
                }
                return Err(Refusal::malformed(format!("for {}: {problem}", join.name)));
            }
        }
        let amount = match join.asked_by(emit.side) {
            None => None,
            Some(metric) => {
                let metric = &plan.metrics[metric.0];
                let value = record.value.unwrap_or_default();
                match amount(&emit.value, &metric.name, &metric.kind, record, value, time, fields)? {
                    Some(amount) => Some(amount.of_kind(&metric.kind)),
                    None => return Ok(Ok(())),
                }
            }
        };
        self.keyed.push(StagedKeyed {
            emit: at,
            key,
            carried: (start, self.keys.len()),
            amount,
        });
        Ok(keyed)
    }

    /// The hash of a key's text, or why there is none.
    #[inline]
    fn key(&mut self, from: &KeyFrom, fields: &Fields<'_>) -> Result<KeyHash, &'static str> {
        let text = match fields.get(from.slot) {
            Value::Text(text) if !text.len_at_most(MAX_KEY_BYTES) => return Err("too long"),
            Value::Text(text) => match text.as_plain() {
                Some(plain) => plain.as_bytes(),
                None => {
                    self.text.clear();
                    text.write_to(&mut self.text);
                    &self.text
                }
            },
            Value::Number(number) if number.len() > MAX_KEY_BYTES => return Err("too long"),
            Value::Number(number) => number.as_bytes(),
            Value::Bool(true) => b"true",
            Value::Bool(false) => b"false",
            Value::Missing => return Err("missing"),
            Value::Null => return Err("null"),
            Value::Array(_) | Value::Object(_) => return Err("no scalar"),
        };
        if text.is_empty() {
            return Err("empty");
        }
        Ok(KeyHash::of(text))
    }

    /// Counts a record that has no part in a join.
    pub(super) fn unkeyed(&mut self, plan: &Plan, emit: &Emit, time: EventTime, reason: &str) {
        let Some(metric) = emit.unkeyed else { return };
        let start = self.keys.len();
        push_value(&mut self.keys, plan.joins[emit.join.0].name.as_bytes());
        push_value(&mut self.keys, reason.as_bytes());
        self.staged.push(Staged {
            metric,
            window: plan.metrics[metric.0].window.window_of(time),
            key: (start, self.keys.len()),
            amount: Amount::Things(1),
        });
    }
}
