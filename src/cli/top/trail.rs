//! The lag of one row over the last looks, and its picture in one line of text.
//!
//! Rule: a cell is the highest lag of the looks that it stands for, in eighths of the highest of all cells. Cells begin at
//! fixed looks, so that a picture moves on and does not flicker.
//!
//! Edges: nothing to read is the lowest bar, and unknown is blank; what is left to read, however little, stands above
//! nothing.

use std::collections::VecDeque;

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The newest look last.
#[derive(Clone, Debug, Default)]
pub(super) struct Trail {
    lags: VecDeque<Option<i64>>,
    /// The number of the newest look.
    newest: u64,
}

// === impl Trail ===

impl Trail {
    /// Takes the lag that look `number` has shown; looks without one are unknown. At most `most` are kept.
    pub(super) fn push(&mut self, number: u64, lag: Option<i64>, most: usize) {
        let missed = number.saturating_sub(self.newest).saturating_sub(1);
        if !self.lags.is_empty() {
            let missed = usize::try_from(missed).map_or(most, |missed| missed.min(most));
            self.lags.extend(std::iter::repeat_n(None, missed));
        }
        self.lags.push_back(lag);
        self.newest = number;
        while self.lags.len() > most {
            self.lags.pop_front();
        }
    }

    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// What look `now` and those before it have shown, in `width` cells, each of `looks` looks.
    pub(super) fn picture(&self, now: u64, width: usize, looks: u64) -> String {
        let looks = looks.max(1);
        let last = now / looks;
        let first_look = (self.newest + 1).saturating_sub(self.lags.len() as u64);
        let mut cells: Vec<Option<i64>> = vec![None; width];
        for (number, lag) in (first_look..).zip(&self.lags).filter(|(number, _)| *number <= now) {
            let back = usize::try_from(last - number / looks).unwrap_or(usize::MAX);
            if let Some(cell) = width
                .checked_sub(back.saturating_add(1))
                .and_then(|at| cells.get_mut(at))
            {
                *cell = (*cell).max(*lag);
            }
        }
        let highest = cells.iter().flatten().max().copied().unwrap_or(0);
        cells.into_iter().map(|cell| bar(cell, highest)).collect()
    }
}

fn bar(lag: Option<i64>, highest: i64) -> char {
    match lag {
        None => ' ',
        Some(..=0) => BARS[0],
        Some(lag) => {
            let (lag, highest) = (lag.unsigned_abs(), highest.max(1).unsigned_abs());
            let steps = BARS.len() - 1;
            let step = (u128::from(lag) * steps as u128).div_ceil(u128::from(highest));
            BARS[usize::try_from(step).map_or(steps, |step| step.min(steps))]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trail(lags: &[Option<i64>]) -> Trail {
        let mut trail = Trail::default();
        for (number, lag) in (1..).zip(lags) {
            trail.push(number, *lag, 100);
        }
        trail
    }

    #[test]
    fn a_picture_ends_at_the_present_look_and_is_blank_before_the_first() {
        let trail = trail(&[Some(0), Some(1), Some(350), Some(700)]);
        assert_eq!(trail.picture(4, 6, 1), "  ▁▂▅█");
        assert_eq!(trail.picture(5, 6, 1), " ▁▂▅█ ", "a look without it is unknown");
        assert_eq!(trail.picture(3, 6, 1), "   ▁▂█", "what came later is not shown");
    }

    #[test]
    fn a_cell_is_the_highest_of_its_looks_wherever_the_present_one_stands() {
        let trail = trail(&[Some(7), Some(1), Some(1), Some(7), Some(1)]);
        // Looks 0 and 1, 2 and 3, 4 and 5.
        assert_eq!(trail.picture(5, 3, 2), "█▂█");
        assert_eq!(trail.picture(4, 3, 2), "█▂█");
    }

    #[test]
    fn looks_that_were_missed_are_gaps() {
        let mut trail = trail(&[Some(7)]);
        trail.push(4, Some(7), 100);
        assert_eq!(trail.picture(4, 4, 1), "█  █");
    }

    #[test]
    fn no_more_than_the_last_looks_are_kept() {
        let mut trail = Trail::default();
        for number in 1..=10 {
            trail.push(number, Some(7), 3);
        }
        assert_eq!(trail.picture(10, 5, 1), "  ███");
        trail.push(1_000, Some(7), 3);
        assert_eq!(trail.picture(1_000, 3, 1), "  █");
    }

    #[test]
    fn no_lag_however_large_or_wrong_breaks_the_picture() {
        let trail = trail(&[Some(i64::MAX), Some(-5), None, Some(1)]);
        assert_eq!(trail.picture(4, 4, 1), "█▁ ▂");
        assert_eq!(trail.picture(4, 0, 1), "");
    }
}
