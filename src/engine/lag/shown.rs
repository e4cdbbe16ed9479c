//! Which series of a row have been shown, so that each of them is repeated, and ended, and no other.
//!
//! Rule: the series of a row are shown together, when one of them has changed and once in [`HEARTBEAT`] while they live. A
//! value that is not known any more ends its series; one that is known again goes on with it.
//!
//! Edges:
//! - of a set of states those are shown that the row has been in: the one that it is in is one, the others are zero.

use crate::engine::gauge::HEARTBEAT;
use crate::engine::time::WallTime;

/// Values that a row has at most.
pub const VALUES: usize = 5;

/// What was shown of one row last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// One bit a value: its series lives.
    pub alive: u8,
    /// Bits of the values that were known, and what they were.
    known: u8,
    /// One more than the state; zero where it was not known.
    state: u8,
    values: [i64; VALUES],
    /// Not kept over a restart.
    at: Option<WallTime>,
}

/// The states that a row has been in, one bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct States(pub u8);

// === impl Shown ===

impl Shown {
    /// As the changelog has it: everything is shown again.
    pub fn restored(alive: u8) -> Self {
        Self {
            alive,
            ..Self::default()
        }
    }

    /// Whether it is time to show these values, in millionths or whole numbers; if so they count as shown.
    pub fn is_due(&mut self, values: &[Option<i64>; VALUES], state: Option<usize>, now: WallTime) -> bool {
        let mut new = Self {
            alive: self.alive,
            state: state.map_or(0, |state| state as u8 + 1),
            at: Some(now),
            ..Self::default()
        };
        for (index, value) in values.iter().enumerate() {
            if let Some(value) = value {
                new.known |= 1 << index;
                new.values[index] = *value;
            }
        }
        let said = |shown: &Self| (shown.known, shown.state, shown.values);
        let is_due = said(self) != said(&new) || self.at.is_none_or(|at| at.ahead(HEARTBEAT) <= now);
        if is_due {
            *self = new;
        }
        is_due
    }

    /// When it was shown last, and what; `None` where nothing was since the last restart.
    pub fn newest(&self) -> Option<(WallTime, [Option<i64>; VALUES], Option<usize>)> {
        let value = |index: usize| (self.known & 1 << index != 0).then_some(self.values[index]);
        let state = usize::from(self.state).checked_sub(1);
        Some((self.at?, std::array::from_fn(value), state))
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
