//! The walk over one document: every byte is looked at, only what the trie asks for is kept.
//!
//! Rule: one pass, no tree, no allocation. What nobody asked for is skipped, and still has to be well formed.
//!
//! Edges:
//! - of a key that comes twice the last one wins, with all that is below it, as in serde_json and Python;
//! - nesting of 128 containers is read, deeper is malformed.

use super::lex::{self, Kind, Spot};
use super::{Malformed, Node, Projection};

/// Containers within containers.
pub(super) const MAX_DEPTH: usize = 128;

/// Told of every scalar and of every wanted container, in order of the document.
pub(super) trait Watch {
    fn scalar(&mut self, at: usize, end: usize, slot: Option<u16>);
    fn open(&mut self, at: usize, slot: u16, kind: Kind);
    fn close(&mut self, end: usize, slot: u16);
    /// A wanted key came a second time.
    fn twice(&mut self);
}

/// Watches nothing.
pub(super) struct Blind;

impl Watch for Blind {
    fn scalar(&mut self, _: usize, _: usize, _: Option<u16>) {}
    fn open(&mut self, _: usize, _: u16, _: Kind) {}
    fn close(&mut self, _: usize, _: u16) {}
    fn twice(&mut self) {}
}

pub(super) struct Walk<'w, W> {
    pub projection: &'w Projection,
    pub json: &'w [u8],
    pub spots: &'w mut [Spot],
    pub key: &'w mut Vec<u8>,
    pub watch: &'w mut W,
}

// === impl Walk ===

impl<W: Watch> Walk<'_, W> {
    /// The whole document.
    pub(super) fn document(&mut self) -> Result<(), Malformed> {
        let start = lex::space(self.json, 0);
        if start == self.json.len() {
            return Err(Malformed::new(start, "empty document"));
        }
        let end = self.value(self.projection.root(), start, 0)?;
        let end = lex::space(self.json, end);
        if end == self.json.len() {
            Ok(())
        } else {
            Err(Malformed::new(end, "something behind the document"))
        }
    }

    /// A value that the trie asks for, or asks for something inside of.
    fn value(&mut self, node: &Node, at: usize, depth: usize) -> Result<usize, Malformed> {
        if let Some((spot, end)) = lex::scalar(self.json, at)? {
            self.keep(node, spot);
            self.watch.scalar(at, end, node.slot);
            return Ok(end);
        }
        if depth == MAX_DEPTH {
            return Err(Malformed::new(at, "more than 128 containers within each other"));
        }
        let kind = if self.json[at] == b'{' {
            Kind::Object
        } else {
            Kind::Array
        };
        if let Some(slot) = node.slot {
            self.watch.open(at, slot, kind);
        }
        let end = match kind {
            Kind::Object if !node.keys.is_empty() => self.object(node, at, depth + 1)?,
            Kind::Array if !node.items.is_empty() => self.array(node, at, depth + 1)?,
            _ => self.skip(at, depth)?,
        };
        if let Some(slot) = node.slot {
            self.keep(node, Spot::new(kind, at, end));
            self.watch.close(end, slot);
        }
        Ok(end)
    }

    fn keep(&mut self, node: &Node, spot: Spot) {
        if let Some(kept) = node.slot.and_then(|slot| self.spots.get_mut(usize::from(slot))) {
            *kept = spot;
        }
    }

    /// An object with wanted keys, from its brace.
    fn object(&mut self, node: &Node, at: usize, depth: usize) -> Result<usize, Malformed> {
        let mut at = lex::space(self.json, at + 1);
        if self.json.get(at) == Some(&b'}') {
            return Ok(at + 1);
        }
        loop {
            if self.json.get(at) != Some(&b'"') {
                return Err(Malformed::new(at, "no key where one belongs"));
            }
            let (key_end, escaped) = lex::string(self.json, at + 1)?;
            let key = &self.json[at + 1..key_end];
            let child = if escaped {
                self.escaped_child(node, key)
            } else {
                node.child(key)
            };
            let value_at = colon(self.json, key_end + 1)?;
            at = match child {
                Some(child) => {
                    let child = self.projection.node(child);
                    self.forget(child);
                    self.value(child, value_at, depth)?
                }
                None => self.skip(value_at, depth)?,
            };
            at = lex::space(self.json, at);
            match self.json.get(at) {
                Some(b',') => at = lex::space(self.json, at + 1),
                Some(b'}') => return Ok(at + 1),
                _ => return Err(Malformed::new(at, "neither a comma nor the end of an object")),
            }
        }
    }

    /// An array with wanted items, from its bracket.
    fn array(&mut self, node: &Node, at: usize, depth: usize) -> Result<usize, Malformed> {
        let mut at = lex::space(self.json, at + 1);
        if self.json.get(at) == Some(&b']') {
            return Ok(at + 1);
        }
        for index in 0.. {
            at = match node.items.iter().find(|(wanted, _)| *wanted == index) {
                Some((_, child)) => self.value(self.projection.node(*child), at, depth)?,
                None => self.skip(at, depth)?,
            };
            at = lex::space(self.json, at);
            match self.json.get(at) {
                Some(b',') => at = lex::space(self.json, at + 1),
                Some(b']') => return Ok(at + 1),
                _ => break,
            }
        }
        Err(Malformed::new(at, "neither a comma nor the end of an array"))
    }

    /// A value that nobody asked for: a loop and not a recursion, with one bit for each open container.
    fn skip(&mut self, mut at: usize, outside: usize) -> Result<usize, Malformed> {
        let json = self.json;
        let mut depth = outside;
        // The bit of the innermost container is the lowest: set for an object.
        let mut objects: u128 = 0;
        loop {
            match lex::scalar(json, at)? {
                Some((_, end)) => {
                    self.watch.scalar(at, end, None);
                    at = end;
                }
                None => {
                    if depth == MAX_DEPTH {
                        return Err(Malformed::new(at, "more than 128 containers within each other"));
                    }
                    let object = json[at] == b'{';
                    at = lex::space(json, at + 1);
                    if json.get(at) == Some(if object { &b'}' } else { &b']' }) {
                        at += 1;
                    } else {
                        depth += 1;
                        objects = (objects << 1) | u128::from(object);
                        if object {
                            at = any_key(json, at)?;
                        }
                        continue;
                    }
                }
            }
            // A value has ended: whatever it was in goes on or ends.
            loop {
                if depth == outside {
                    return Ok(at);
                }
                at = lex::space(json, at);
                let object = objects & 1 == 1;
                match json.get(at) {
                    Some(b',') => {
                        at = lex::space(json, at + 1);
                        if object {
                            at = any_key(json, at)?;
                        }
                        break;
                    }
                    Some(b'}') if object => {}
                    Some(b']') if !object => {}
                    _ => return Err(Malformed::new(at, "neither a comma nor the end of what is open")),
                }
                at += 1;
                depth -= 1;
                objects >>= 1;
            }
        }
    }

    /// Everything that an earlier value of the same key left is void.
    fn forget(&mut self, node: &Node) {
        for slot in &node.below {
            let spot = &mut self.spots[usize::from(*slot)];
            if spot.kind != Kind::Missing {
                *spot = Spot::MISSING;
                self.watch.twice();
            }
        }
    }

    #[cold]
    fn escaped_child(&mut self, node: &Node, raw: &[u8]) -> Option<u16> {
        self.key.clear();
        let raw = std::str::from_utf8(raw).ok()?;
        let mut buffer = [0; 4];
        for character in super::fields::decode(raw) {
            self.key
                .extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
        }
        node.child(self.key)
    }
}

/// From behind a key to its value.
#[inline]
fn colon(json: &[u8], at: usize) -> Result<usize, Malformed> {
    let at = lex::space(json, at);
    if json.get(at) != Some(&b':') {
        return Err(Malformed::new(at, "no colon behind a key"));
    }
    Ok(lex::space(json, at + 1))
}

/// A key that nobody asked for and its colon: the position of its value.
#[inline]
fn any_key(json: &[u8], at: usize) -> Result<usize, Malformed> {
    if json.get(at) != Some(&b'"') {
        return Err(Malformed::new(at, "no key where one belongs"));
    }
    let (end, _) = lex::string(json, at + 1)?;
    colon(json, end + 1)
}
