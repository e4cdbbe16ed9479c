//! One value of a histogram that a trace can be looked at for.
//!
//! Rule: of several the greatest stays: the highest value, then the latest. So merging does not depend on the order.

use crate::engine::codec;
use crate::engine::time::EventTime;

/// A value and the span that it comes from. Ordered by its fields from the first to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exemplar {
    /// In millionths of the metric's unit.
    pub value: i64,
    pub time: EventTime,
    pub trace: u128,
    pub span: u64,
}

// === impl Exemplar ===

impl Exemplar {
    pub(super) fn to_codec(self) -> codec::Exemplar {
        codec::Exemplar {
            value: self.value,
            time: self.time.0,
            trace: self.trace.to_be_bytes().to_vec(),
            span: self.span,
        }
    }

    /// `None` where it cannot be one of ours.
    pub(super) fn from_codec(read: &codec::Exemplar) -> Option<Self> {
        Some(Self {
            value: read.value,
            time: EventTime(read.time),
            trace: u128::from_be_bytes(read.trace.as_slice().try_into().ok()?),
            span: read.span,
        })
    }
}
