//! Three kinds of time that must never be mixed up.
//!
//! Rule: everything inside is `i64` microseconds since the Unix epoch, UTC; the type says whose clock it is.

/// When something happened, as the record says. Microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventTime(pub i64);

/// What a clock on a wall says. Microseconds since the Unix epoch, UTC. The engine is told it, and never asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallTime(pub i64);

/// Everything at or before this event time has been seen, as far as one source can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Watermark(pub EventTime);

/// A length of time in microseconds; never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(i64);

// === impl EventTime ===

impl EventTime {
    /// Earlier by `span`; saturates.
    pub fn back(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.0))
    }

    /// Later by `span`; saturates.
    pub fn ahead(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// Nanoseconds since the epoch, as OTLP wants them; times before 1970 become 0.
    pub fn unix_nanos(self) -> u64 {
        u64::try_from(self.0).unwrap_or(0).saturating_mul(1_000)
    }
}

// === impl WallTime ===

impl WallTime {
    /// The wall time read as an event time, for the few rules that compare the two.
    pub fn as_event(self) -> EventTime {
        EventTime(self.0)
    }

    /// How long after `earlier`; zero where it is not after.
    pub fn since(self, earlier: WallTime) -> Span {
        Span(self.0.saturating_sub(earlier.0).max(0))
    }

    pub fn ahead(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

// === impl Span ===

impl Span {
    pub const ZERO: Span = Span(0);

    /// Negative lengths become zero.
    pub const fn micros(micros: i64) -> Self {
        Self(if micros < 0 { 0 } else { micros })
    }

    pub const fn millis(millis: i64) -> Self {
        Self::micros(millis.saturating_mul(1_000))
    }

    pub const fn seconds(seconds: i64) -> Self {
        Self::micros(seconds.saturating_mul(1_000_000))
    }

    pub const fn as_micros(self) -> i64 {
        self.0
    }
}
