//! The steps of open conversations, for their journeys.
//!
//! Rule: a step is kept while its key is open, in the order of event time, and leaves with the journey.
//!
//! Edges: a key keeps [`MOST_STEPS`]; what comes after is counted and left out.

use std::collections::{BTreeMap, BTreeSet};

use super::carried::CarriedIx;
use crate::engine::keyed::KeyHash;
use crate::engine::plan::Side;
use crate::engine::time::EventTime;

/// A hot key must not make a trace that nobody can look at.
pub(super) const MOST_STEPS: usize = 100;

#[derive(Debug, Default)]
pub(super) struct Trails {
    by_key: BTreeMap<KeyHash, Trail>,
    steps: usize,
    /// Keys whose trail is not what the changelog has.
    changed: BTreeSet<KeyHash>,
    /// Keys that the changelog has a trail of.
    written: BTreeSet<KeyHash>,
}

#[derive(Debug, Default)]
pub(super) struct Trail {
    pub steps: Vec<Step>,
    pub left_out: u64,
}

/// A record that carried the key on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub time: EventTime,
    pub side: Side,
    pub carried: CarriedIx,
}

// === impl Trails ===

impl Trails {
    /// Steps that are kept, over all keys.
    pub(super) fn len(&self) -> usize {
        self.steps
    }

    pub(super) fn changes(&self) -> usize {
        self.changed.len()
    }

    /// Adds a step; `false`: it is left out, and what it carries is not held.
    pub(super) fn add(&mut self, key: KeyHash, step: Step) -> bool {
        self.changed.insert(key);
        let trail = self.by_key.entry(key).or_default();
        if trail.steps.len() >= MOST_STEPS {
            trail.left_out += 1;
            return false;
        }
        self.steps += 1;
        trail.steps.push(step);
        true
    }

    /// The conversation is over.
    pub(super) fn take(&mut self, key: KeyHash) -> Trail {
        let Some(trail) = self.by_key.remove(&key) else {
            return Trail::default();
        };
        self.steps -= trail.steps.len();
        self.changed.insert(key);
        trail
    }

    /// What the changelog does not have; `None` where it has to go.
    pub(super) fn drain_changes(&mut self) -> Vec<(KeyHash, Option<&Trail>)> {
        let mut changes = Vec::with_capacity(self.changed.len());
        for key in std::mem::take(&mut self.changed) {
            match self.by_key.get(&key) {
                Some(trail) => {
                    self.written.insert(key);
                    changes.push((key, Some(trail)));
                }
                None if self.written.remove(&key) => changes.push((key, None)),
                None => {}
            }
        }
        changes
    }

    /// A trail as the changelog has it. Gives what an older one of the key held.
    pub(super) fn restore(&mut self, key: KeyHash, trail: Option<Trail>) -> Trail {
        let before = match trail {
            Some(trail) => {
                self.steps += trail.steps.len();
                self.written.insert(key);
                self.by_key.insert(key, trail)
            }
            None => {
                self.written.remove(&key);
                self.by_key.remove(&key)
            }
        };
        let before = before.unwrap_or_default();
        self.steps -= before.steps.len();
        before
    }
}
