//! Which series of a row have been shown, so that each of them is repeated, and ended, and no other.
//!
//! Rule: the series of a row are shown together, when one of them has changed and once in [`HEARTBEAT`] while they live. A
//! value that is not known any more ends its series; one that is known again goes on with it.
//!
//! Edges:
//! - of a set of states those are shown that the row has been in: the one that it is in is one, the others are zero.

use crate::engine::gauge::HEARTBEAT;
use crate::engine::time::WallTime;
use xxhash_rust::xxh3::xxh3_64;

/// Values that a row has at most.
pub const VALUES: usize = 5;

/// What was shown of one row last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// One bit a value: its series lives.
    pub alive: u8,
    /// When, and a hash of what; not kept over a restart.
    last: Option<(WallTime, u64)>,
}

/// The states that a row has been in, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct States(pub u8);

// === impl Shown ===

impl Shown {
    /// As the changelog has it: everything is shown again.
    pub fn restored(alive: u8) -> Self {
        Self { alive, last: None }
    }

    /// Whether it is time to show these values, in millionths or whole numbers; if so they count as shown.
    pub fn is_due(&mut self, values: &[Option<i64>; VALUES], state: Option<usize>, now: WallTime) -> bool {
        let mut bytes = [0; (VALUES + 1) * 9];
        let state = state.map(|state| state as i64);
        for (slot, value) in bytes.chunks_exact_mut(9).zip(values.iter().chain([&state])) {
            if let Some(value) = value {
                slot[0] = 1;
                slot[1..].copy_from_slice(&value.to_le_bytes());
            }
        }
        let hash = xxh3_64(&bytes);
        let is_due = self
            .last
            .is_none_or(|(at, shown)| shown != hash || at.ahead(HEARTBEAT) <= now);
        if is_due {
            self.last = Some((now, hash));
        }
        is_due
    }
}

// === impl States ===

impl States {
    /// Its states with what they show now; `true` where one is new.
    pub fn enter(&mut self, state: usize) -> bool {
        let bit = 1 << state;
        let is_new = self.0 & bit == 0;
        self.0 |= bit;
        is_new
    }

    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..8).filter(move |state| self.0 & (1 << state) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> WallTime {
        WallTime(seconds * 1_000_000)
    }

    #[test]
    fn a_row_is_shown_when_it_changed_and_once_a_minute() {
        let mut shown = Shown::default();
        let values = [Some(1), None, None, None, Some(5)];
        assert!(shown.is_due(&values, None, at(0)));
        assert!(!shown.is_due(&values, None, at(59)));
        assert!(shown.is_due(&values, None, at(60)));
        assert!(shown.is_due(&[Some(1), None, None, Some(0), Some(5)], None, at(61)));
        assert!(shown.is_due(&[Some(1), None, None, Some(0), Some(5)], Some(1), at(62)));
        assert!(shown.is_due(&[Some(1), None, None, Some(0), Some(5)], Some(2), at(63)));
    }

    #[test]
    fn unknown_is_not_zero() {
        let mut shown = Shown::default();
        shown.is_due(&[Some(0); VALUES], None, at(0));
        assert!(shown.is_due(&[None; VALUES], None, at(1)));
    }

    #[test]
    fn states_that_were_left_are_still_shown() {
        let mut states = States::default();
        assert!(states.enter(1) && states.enter(4) && !states.enter(1));
        assert_eq!(states.iter().collect::<Vec<_>>(), [1, 4]);
    }
}
