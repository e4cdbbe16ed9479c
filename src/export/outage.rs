//! Says that the collector does not take anything, once, and not a thousand times.
//!
//! Rule: the first failure is logged at once, further ones at most every [`SAY_EVERY`] with their count; the end of an outage
//! is logged when its beginning was.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::parts::Carried;

/// The shortest time between two lines about failures.
pub(super) const SAY_EVERY: Duration = Duration::from_secs(30);

/// One for all lanes of a process: they share the collector.
#[derive(Debug, Default)]
pub(super) struct Outage(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Failures since the last success.
    failures: u64,
    since: Option<Instant>,
    said_at: Option<Instant>,
    /// This outage was logged, so its end will be.
    said: bool,
}

/// What to log.
#[derive(Debug, PartialEq, Eq)]
enum Line {
    Failing { failures: u64 },
    Recovered { failures: u64, after: Duration },
}

// === impl Outage ===

impl Outage {
    pub fn failed(&self, carries: Carried, target: &str, message: &str) {
        if let Some(Line::Failing { failures }) = self.state(|state| state.failed(Instant::now())) {
            tracing::warn!(
                event_type = "export_outage",
                failures,
                "{} {target} takes nothing: {message}; it is asked again until it does, and nothing is lost",
                carries.taker()
            );
        }
    }

    pub fn over(&self, carries: Carried, target: &str) {
        if let Some(Line::Recovered { failures, after }) = self.state(|state| state.over(Instant::now())) {
            tracing::info!(
                event_type = "export_recovered",
                failures,
                seconds = after.as_secs(),
                "{} {target} answers again",
                carries.taker()
            );
        }
    }

    fn state(&self, change: impl FnOnce(&mut State) -> Option<Line>) -> Option<Line> {
        change(&mut self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}

// === impl State ===

impl State {
    fn failed(&mut self, now: Instant) -> Option<Line> {
        self.failures += 1;
        self.since.get_or_insert(now);
        if self.said_at.is_some_and(|at| now.duration_since(at) < SAY_EVERY) {
            return None;
        }
        self.said_at = Some(now);
        self.said = true;
        Some(Line::Failing {
            failures: self.failures,
        })
    }

    fn over(&mut self, now: Instant) -> Option<Line> {
        let failures = std::mem::take(&mut self.failures);
        let since = self.since.take()?;
        std::mem::take(&mut self.said).then(|| Line::Recovered {
            failures,
            after: now.duration_since(since),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_said_at_once_then_every_half_minute_with_its_count() {
        let mut state = State::default();
        let start = Instant::now();
        assert_eq!(state.failed(start), Some(Line::Failing { failures: 1 }));
        for second in 1..30 {
            assert_eq!(state.failed(start + Duration::from_secs(second)), None);
        }
        assert_eq!(state.failed(start + SAY_EVERY), Some(Line::Failing { failures: 31 }));
    }

    #[test]
    fn the_end_is_said_when_the_beginning_was() {
        let mut state = State::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(state.over(at(0)), None);
        state.failed(at(1));
        assert_eq!(
            state.over(at(4)),
            Some(Line::Recovered {
                failures: 1,
                after: Duration::from_secs(3)
            })
        );
        assert_eq!(state.over(at(5)), None);
        // A second one soon after is not said, and neither is its end.
        assert_eq!(state.failed(at(6)), None);
        assert_eq!(state.over(at(7)), None);
    }
}
