//! Fields and expressions of one topic, compiled into its projection.
//!
//! Rule: whatever a file holds, the compiler behind this never sees more names than it can hold ([`MAX_NAMES`] a topic).
//!
//! Edges:
//! - an expression that fails is pointed at where it fails, if the file spells it out on one line;
//! - one with secrets filled in is never quoted, not even in part.

use std::collections::BTreeSet;

use crate::engine::tap::expr::Expr;
use crate::engine::tap::projection::{Pointer, Projection, ProjectionBuilder, Slot};

use super::expression;
use super::fault::{Faults, Place};
use super::read::{Said, Text};

/// Names in the fields that one topic is read for. A projection counts them in 16 bits.
const MAX_NAMES: usize = 30_000;

/// Compiles what one topic's records are read for.
#[derive(Default)]
pub struct Compiler {
    builder: ProjectionBuilder,
    /// What was paid for already.
    known: BTreeSet<String>,
    names: usize,
}

// === impl Compiler ===

impl Compiler {
    pub fn field(&mut self, pointer: &str, place: &Place, faults: &mut Faults) -> Option<Slot> {
        // A pointer that cannot be parsed is a fault of form and noted there.
        let parsed = Pointer::parse(pointer).ok()?;
        self.pay(pointer, pointer.matches('/').count(), place, faults)?;
        Some(self.builder.want(&parsed))
    }

    pub fn expression(&mut self, source: &Said<Text>, faults: &mut Faults) -> Option<Expr> {
        let Text { text, secret } = &source.value;
        if expression::is_too_long(text) {
            // A fault of form, and noted there: it must not even be parsed.
            return None;
        }
        // At most every other byte of an expression starts a name.
        self.pay(text, text.len() / 2 + 1, &source.place, faults)?;
        match Expr::compile(text, &mut self.builder) {
            Ok(expr) => Some(expr),
            Err(_) if *secret => {
                faults
                    .add(&source.place, "with its secrets filled in, this is no expression")
                    .help("look at the values where they are set");
                None
            }
            Err(error) => {
                let fault = faults.add(&source.place.within(text, error.span), error.message);
                if let Some(help) = error.help {
                    fault.help(help);
                }
                None
            }
        }
    }

    fn pay(&mut self, what: &str, names: usize, place: &Place, faults: &mut Faults) -> Option<()> {
        if self.known.contains(what) {
            return Some(());
        }
        if self.names + names > MAX_NAMES {
            faults
                .add(place, "the pipelines read too many fields of this topic")
                .help(format!("together they may name about {MAX_NAMES}"));
            return None;
        }
        self.names += names;
        self.known.insert(what.to_owned());
        Some(())
    }

    pub fn into_projection(self) -> Projection {
        self.builder.build()
    }
}
