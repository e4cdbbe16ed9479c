//! What only one member of a group does, whatever the number of its members.
//!
//! Rule: it runs beside the worker that owns partition 0 of the input, from the time when that partition's task runs until
//! the partition is given away.
//!
//! Edges:
//! - for a moment two may run: one that lost the partition and does not know it yet. What they do must bear that.

use std::fmt;
use std::sync::Arc;

use super::owned::Owned;
use super::worker::Worker;

/// What was started; it ends when it is dropped.
pub type Guard = Box<dyn std::marker::Send>;

/// Starts it.
#[derive(Clone)]
pub struct Beside(Arc<dyn Fn() -> Guard + std::marker::Send + Sync>);

// === impl Beside ===

impl Beside {
    pub fn new(start: impl Fn() -> Guard + std::marker::Send + Sync + 'static) -> Self {
        Self(Arc::new(start))
    }
}

impl fmt::Debug for Beside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Beside")
    }
}

impl Worker {
    pub(super) fn run_beside(&mut self) {
        let Some(beside) = &self.options.beside else { return };
        let first = self.owned.iter().find(|owned| owned.partition.partition == 0);
        match (first.and_then(Owned::running), &self.beside) {
            (Some(_), None) => self.beside = Some((beside.0)()),
            (None, Some(_)) if first.is_none() => self.beside = None,
            _ => {}
        }
    }
}
