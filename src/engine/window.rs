//! Tumbling windows over event time.
//!
//! Rule: a window is the half-open span `(end - size, end]` that ends on a multiple of its size since the epoch.
//!
//! Edges:
//! - an event exactly on a boundary belongs to the window that ends there, since an OTLP point covers `(start, time]`;
//! - times before 1970 are windows like any other.

use super::time::{EventTime, Span, Watermark};

/// A fixed length of event time; never zero, so a window cannot be empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WindowSize(Span);

/// The end of one window, inclusive. It names the window and is the time of the point that it becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WindowEnd(pub EventTime);

// === impl WindowSize ===

impl WindowSize {
    /// Ten seconds: the window of a metric that names none.
    pub const DEFAULT: WindowSize = WindowSize(Span::seconds(10));

    /// `None` for an empty span.
    pub fn new(size: Span) -> Option<Self> {
        (size > Span::ZERO).then_some(Self(size))
    }

    pub fn span(self) -> Span {
        self.0
    }

    /// The window that `time` falls into.
    pub fn window_of(self, time: EventTime) -> WindowEnd {
        let size = self.0.as_micros();
        let past_start = time.0.saturating_sub(1).rem_euclid(size) + 1;
        WindowEnd(EventTime(time.0.saturating_add(size - past_start)))
    }

    /// Where the window that ends at `end` starts, exclusive.
    pub fn start_of(self, end: WindowEnd) -> EventTime {
        end.0.back(self.0)
    }
}

// === impl WindowEnd ===

impl WindowEnd {
    /// Nothing on time can still arrive for this window.
    pub fn is_closed_by(self, watermark: Watermark) -> bool {
        watermark.0 >= self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second() -> WindowSize {
        WindowSize::new(Span::seconds(1)).expect("a second is a size")
    }

    #[test]
    fn an_event_on_the_boundary_belongs_to_the_window_that_ends_there() {
        let end = |micros| second().window_of(EventTime(micros)).0.0;
        assert_eq!(end(2_000_000), 2_000_000);
        assert_eq!(end(2_000_001), 3_000_000);
    }

    #[test]
    fn times_before_the_epoch_have_windows_like_any_other() {
        let end = |micros| second().window_of(EventTime(micros)).0.0;
        assert_eq!(end(-1), 0);
        assert_eq!(end(-1_000_000), -1_000_000);
        assert_eq!(end(-1_000_001), -1_000_000);
    }

    #[test]
    fn a_window_stays_open_until_the_watermark_reaches_its_end() {
        let end = second().window_of(EventTime(1_500_000));
        assert!(!end.is_closed_by(Watermark(EventTime(1_999_999))));
        assert!(end.is_closed_by(Watermark(EventTime(2_000_000))));
    }

    #[test]
    fn a_size_of_nothing_is_refused() {
        assert_eq!(WindowSize::new(Span::ZERO), None);
    }
}
