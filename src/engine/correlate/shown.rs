//! What a join tells its metrics.
//!
//! Rule: an answer becomes a part of a series by the labels of its metric, which come from what the two records carried.
//!
//! Edges: a label of a record that is not there has the text that the plan gives for that.

use crate::engine::plan::{JoinedLabel, MetricIx, Plan, Side};
use crate::engine::series::push_value;
use crate::engine::tap::combine::{Amount, Combiner};
use crate::engine::time::EventTime;

/// Where answers go.
pub(super) struct Shown<'a> {
    pub plan: &'a Plan,
    pub combiner: &'a mut Combiner,
    /// Scratch: a series key.
    pub key: &'a mut Vec<u8>,
}

// === impl Shown ===

impl Shown<'_> {
    /// Adds `amount` to a metric at `time`. `carried` is what the record of each side carries.
    pub(super) fn add<'c>(
        &mut self,
        metric: MetricIx,
        labels: &[JoinedLabel],
        carried: impl Fn(Side) -> Option<&'c [u8]>,
        time: EventTime,
        amount: Amount,
    ) {
        self.key.clear();
        for label in labels {
            match label {
                JoinedLabel::Const(value) => push_value(self.key, value.as_bytes()),
                JoinedLabel::Carried { side, index, otherwise } => {
                    let value = carried(*side).and_then(|values| nth(values, *index));
                    push_value(self.key, value.unwrap_or(otherwise.as_bytes()));
                }
            }
        }
        let metric_plan = &self.plan.metrics[metric.0];
        let window = metric_plan.window.window_of(time);
        self.combiner.add(metric, &metric_plan.kind, window, self.key, amount);
    }
}

/// One of the values that a record carries, encoded as in a series key.
pub(super) fn nth(mut values: &[u8], index: usize) -> Option<&[u8]> {
    for at in 0.. {
        let length = prost::decode_length_delimiter(values).ok()?;
        let head = prost::length_delimiter_len(length);
        let value = values.get(head..head.checked_add(length)?)?;
        if at == index {
            return Some(value);
        }
        values = &values[head + length..];
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::series::SeriesKey;

    #[test]
    fn values_are_found_by_place_and_bytes_of_anyone_hold_none() {
        let long = "x".repeat(300);
        let SeriesKey(values) = SeriesKey::of(["a", "", &long]);
        assert_eq!(nth(&values, 0), Some(&b"a"[..]));
        assert_eq!(nth(&values, 1), Some(&b""[..]));
        assert_eq!(nth(&values, 2), Some(long.as_bytes()));
        assert_eq!(nth(&values, 3), None);
        assert_eq!(nth(&[5, 1], 0), None);
        assert_eq!(nth(&[0xff; 12], 0), None);
    }
}
