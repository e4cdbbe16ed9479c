//! What a request is made of, whatever its signal: points of metrics, or spans.
//!
//! Rule: parts have numbers from zero on, and any of them make a request of their own. All other modules of the export
//! count "points", and mean spans where the signal is traces.

use bytes::Bytes;

use super::points::{Outline, Points};
use prost::Message;

use super::settings::Signal;
use super::spans::{self, Spans};
use crate::engine::alert::notification::Notification;
use crate::engine::time::WallTime;

/// What an outbox carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carried {
    Otlp(Signal),
    Notifications,
}

impl From<Signal> for Carried {
    fn from(signal: Signal) -> Self {
        Self::Otlp(signal)
    }
}

impl Carried {
    /// What a request is made of, for people.
    pub fn parts(self) -> &'static str {
        match self {
            Self::Otlp(signal) => signal.parts(),
            Self::Notifications => "notifications",
        }
    }

    /// What the loop is called.
    pub fn worker(self) -> &'static str {
        match self {
            Self::Otlp(signal) => signal.worker(),
            Self::Notifications => "notify",
        }
    }

    /// Who takes it, for people.
    pub(super) fn taker(self) -> &'static str {
        match self {
            Self::Otlp(_) => "the collector at",
            Self::Notifications => "the receiver",
        }
    }

    /// What is worth knowing of every request, found without decoding it all.
    pub fn outline(self, request: &[u8]) -> Outline {
        match self {
            Self::Otlp(signal) => outline(signal, request),
            Self::Notifications => Outline {
                points: 1,
                newest: Notification::decode(request)
                    .map_or(0, |read| WallTime(read.decided_at).as_event().unix_nanos()),
            },
        }
    }
}

/// A decoded request.
pub enum Parts {
    Points(Points),
    Spans(Spans),
}

/// What is worth knowing of every request, found without decoding it all.
pub fn outline(signal: Signal, request: &[u8]) -> Outline {
    match signal {
        Signal::Metrics => Outline::of(request),
        Signal::Traces => spans::outline(request),
    }
}

// === impl Parts ===

impl Parts {
    pub fn read(signal: Signal, request: &[u8]) -> Result<Parts, prost::DecodeError> {
        Ok(match signal {
            Signal::Metrics => Parts::Points(Points::read(request)?),
            Signal::Traces => Parts::Spans(Spans::read(request)?),
        })
    }

    pub fn len(&self) -> usize {
        match self {
            Parts::Points(points) => points.len(),
            Parts::Spans(spans) => spans.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where in a list of numbers each series begins. A span is a series of its own.
    pub fn series_starts(&self, numbers: &[usize]) -> Vec<usize> {
        match self {
            Parts::Points(points) => points.series_starts(numbers),
            Parts::Spans(_) => (0..numbers.len()).collect(),
        }
    }

    /// Time of the newest of these, nanoseconds since the epoch.
    pub fn newest(&self, numbers: &[usize]) -> u64 {
        match self {
            Parts::Points(points) => points.newest(numbers),
            Parts::Spans(spans) => spans.newest(numbers),
        }
    }

    /// These as a request of their own.
    pub fn piece(&self, numbers: &[usize]) -> Bytes {
        match self {
            Parts::Points(points) => points.piece(numbers),
            Parts::Spans(spans) => spans.piece(numbers),
        }
    }
}
