//! Lines that repeat are counted.
//!
//! Rule: lines of one kind come from the same place in the code and differ in numbers alone. In the ten seconds from the
//! first one on, the first few are written; at their end the last one is, with how many it stands for in `repeated`.
//!
//! Edges:
//! - what a kind has held back is told before the kind is forgotten, also where there are too many kinds to remember;
//! - kinds are told in the order in which their ten seconds began.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;

use super::line::Line;

/// How many kinds are remembered at a time.
const KINDS: usize = 256;

/// What lines have in common that are one line repeated.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Kind(Identifier, u64);

/// See the module's documentation.
pub struct Repeats {
    /// How many are written; 0: all.
    limit: u32,
    window: Duration,
    seen: HashMap<Kind, Seen>,
    /// The kinds in `seen`, and when their windows began: the oldest first, and so the first that ends.
    windows: VecDeque<(Instant, Kind)>,
    /// How many kinds hold lines back.
    holding: usize,
}

#[derive(Default)]
struct Seen {
    written: u32,
    held: u64,
    newest: Option<Line>,
}

// === impl Kind ===

impl Kind {
    pub fn new(place: Identifier, shape: u64) -> Self {
        Self(place, shape)
    }
}

// === impl Repeats ===

impl Repeats {
    pub fn new(limit: u32, window: Duration) -> Self {
        Self {
            limit,
            window,
            seen: HashMap::new(),
            windows: VecDeque::new(),
            holding: 0,
        }
    }

    pub fn holds_back(&self) -> bool {
        self.limit > 0
    }

    /// The lines to write now, and whether this one was held back.
    pub fn take(&mut self, kind: Kind, line: Line, now: Instant) -> (Vec<Line>, bool) {
        if !self.holds_back() {
            return (vec![line], false);
        }
        let mut told = self.due(now);
        if !self.seen.contains_key(&kind) {
            if self.windows.len() >= KINDS {
                told.extend(self.end_first());
            }
            self.windows.push_back((now, kind.clone()));
        }
        let seen = self.seen.entry(kind).or_default();
        if seen.written < self.limit {
            seen.written += 1;
            told.push(line);
            return (told, false);
        }
        self.holding += usize::from(seen.held == 0);
        seen.held += 1;
        seen.newest = Some(line);
        (told, true)
    }

    /// What was held back in windows that are over.
    pub fn due(&mut self, now: Instant) -> Vec<Line> {
        let mut told = Vec::new();
        while self
            .windows
            .front()
            .is_some_and(|(began, _)| now >= *began + self.window)
        {
            told.extend(self.end_first());
        }
        told
    }

    /// When to ask again; `None` while nothing is held back.
    pub fn next_due(&self) -> Option<Instant> {
        let first = self.windows.front().filter(|_| self.holding > 0);
        first.map(|(began, _)| *began + self.window)
    }

    /// Everything that is held back.
    pub fn all(&mut self) -> Vec<Line> {
        let mut told = Vec::new();
        while !self.windows.is_empty() {
            told.extend(self.end_first());
        }
        told
    }

    fn end_first(&mut self) -> Option<Line> {
        let (_, kind) = self.windows.pop_front()?;
        let Seen { held, newest, .. } = self.seen.remove(&kind)?;
        let newest = newest?;
        self.holding -= 1;
        Some(newest.standing_for(held))
    }
}
