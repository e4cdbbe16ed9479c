//! What each fuzz target does with its bytes.
//!
//! Rule: a body is a plain function that panics when something is wrong, and returns otherwise. The fuzz targets call it
//! under libFuzzer, `tests/fuzz_bodies.rs` calls it on stable with the corpus and with damaged pieces of it.

mod changelog;
mod gauge;
mod index;
mod instant;
mod json;
mod ledger;
mod offsets;
mod pipeline;
mod plans;
mod request;
mod tap;

pub type Body = fn(&[u8]);

/// Every target with its body; the name is that of the target and of its folder in the corpus.
pub const BODIES: [(&str, Body); 10] = [
    ("changelog", changelog::run),
    ("gauge", gauge::run),
    ("index", index::run),
    ("instant", instant::run),
    ("json", json::run),
    ("ledger", ledger::run),
    ("offsets", offsets::run),
    ("pipeline", pipeline::run),
    ("request", request::run),
    ("tap", tap::run),
];

/// Runs one body.
///
/// # Panics
///
/// When the body finds something, and for a name that is none.
pub fn run(name: &str, bytes: &[u8]) {
    let body = BODIES.iter().find(|(known, _)| *known == name);
    let (_, body) = body.unwrap_or_else(|| panic!("there is no fuzz target {name}"));
    body(bytes);
}
