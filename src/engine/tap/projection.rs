//! Reading a few fields out of a JSON document in one pass.
//!
//! Rule: the fields are named by JSON Pointers (RFC 6901), which are merged into one trie. The whole document is walked
//! and has to be JSON (RFC 8259) in UTF-8, but only what a pointer asks for is kept, as positions: no tree is built and
//! nothing is allocated for a record. Documents of a shape that came before are read by [`shapes`], others by [`walk`].
//!
//! Edges:
//! - of a key that comes twice the last one wins, with all that is below it, as in serde_json and Python;
//! - a key may be spelled with escapes (`"\u0064ata"` is `data`);
//! - a number in a pointer names an item of an array or a key of an object, whichever is there; `-` and numbers with
//!   leading zeros are keys only;
//! - nesting deeper than 128 containers is malformed, and so are documents of 4 GiB;
//! - numbers are kept as they are spelled, however large; escaped surrogates without their other half are text.

mod fields;
mod lex;
mod shapes;
mod walk;

pub use fields::{Chars, Fields, Text, Value};

use fields::Memory;
use lex::Spot;
use walk::{Blind, Walk};
use xxhash_rust::xxh3::Xxh3;

/// A checked JSON Pointer (RFC 6901).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pointer {
    source: String,
    /// Unescaped reference tokens; none for the whole document.
    tokens: Vec<String>,
}

/// What is wrong with a pointer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PointerError {
    /// The byte of the pointer at which it goes wrong.
    pub at: usize,
    pub message: String,
}

/// One field of a [`Projection`]: what a pointer became.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u16);

/// A document that is not JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed JSON at byte {at}: {what}")]
pub struct Malformed {
    /// Position in the document, in bytes.
    pub at: usize,
    /// What was wrong there; holds nothing of the document.
    pub what: &'static str,
}

/// Collects pointers; equal ones share a slot.
#[derive(Debug)]
pub struct ProjectionBuilder {
    nodes: Vec<Node>,
    wanted: Vec<Pointer>,
}

/// All fields that are read from the records of one topic.
#[derive(Clone, Debug)]
pub struct Projection {
    nodes: Vec<Node>,
    slots: u16,
    /// Tells projections apart whose slots mean different fields.
    print: u64,
}

/// One node of the trie.
#[derive(Clone, Debug, Default)]
struct Node {
    slot: Option<u16>,
    keys: Vec<(Box<[u8]>, u16)>,
    /// Children whose token is an array index as well.
    items: Vec<(usize, u16)>,
    /// Every slot of this node and below it.
    below: Vec<u16>,
}

// === impl Pointer ===

impl Pointer {
    /// A pointer as in RFC 6901: empty for the whole document, else `/` and a token, again and again, with `~1` for a `/`
    /// within a token and `~0` for a `~`.
    pub fn parse(source: &str) -> Result<Pointer, PointerError> {
        let wrong = |at: usize, message: &str| {
            Err(PointerError {
                at,
                message: message.to_owned(),
            })
        };
        let mut tokens = Vec::new();
        if source.is_empty() {
            return Ok(Pointer {
                source: String::new(),
                tokens,
            });
        }
        if !source.starts_with('/') {
            return wrong(0, "a field starts with `/`, as in `/data/channel`");
        }
        let mut at = 1;
        for token in source[1..].split('/') {
            let mut plain = String::with_capacity(token.len());
            let mut characters = token.char_indices();
            while let Some((within, character)) = characters.next() {
                if character != '~' {
                    plain.push(character);
                    continue;
                }
                match characters.next() {
                    Some((_, '0')) => plain.push('~'),
                    Some((_, '1')) => plain.push('/'),
                    _ => return wrong(at + within, "a `~` in a key is written `~0`, and a `/` is written `~1`"),
                }
            }
            tokens.push(plain);
            at += token.len() + 1;
        }
        Ok(Pointer {
            source: source.to_owned(),
            tokens,
        })
    }

    /// The field `names[0].names[1]...` of the document.
    pub fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Pointer {
        let tokens: Vec<String> = names.into_iter().map(str::to_owned).collect();
        let source = tokens
            .iter()
            .map(|token| format!("/{}", token.replace('~', "~0").replace('/', "~1")))
            .collect();
        Pointer { source, tokens }
    }

    pub fn as_str(&self) -> &str {
        &self.source
    }
}

impl std::fmt::Display for Pointer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.source)
    }
}

// === impl Malformed ===

impl Malformed {
    #[cold]
    fn new(at: usize, what: &'static str) -> Self {
        Self { at, what }
    }
}

// === impl ProjectionBuilder ===

impl Default for ProjectionBuilder {
    fn default() -> Self {
        Self {
            nodes: vec![Node::default()],
            wanted: Vec::new(),
        }
    }
}

impl ProjectionBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    /// The slot of this field; the same one for the same pointer.
    ///
    /// # Panics
    ///
    /// With more than 65,000 nodes: no file of pipelines has so many.
    pub fn want(&mut self, pointer: &Pointer) -> Slot {
        if let Some(slot) = self.wanted.iter().position(|wanted| wanted.tokens == pointer.tokens) {
            return Slot(slot as u16);
        }
        let slot = u16::try_from(self.wanted.len()).expect("fewer than 65,000 fields");
        self.wanted.push(pointer.clone());
        let mut at = 0;
        self.nodes[at].below.push(slot);
        for token in &pointer.tokens {
            let child = self.nodes[at].child(token.as_bytes());
            at = usize::from(child.unwrap_or_else(|| {
                let new = u16::try_from(self.nodes.len()).expect("fewer than 65,000 nodes");
                self.nodes.push(Node::default());
                self.nodes[at].keys.push((token.as_bytes().into(), new));
                if let Some(index) = index_of(token) {
                    self.nodes[at].items.push((index, new));
                }
                new
            }));
            self.nodes[at].below.push(slot);
        }
        self.nodes[at].slot = Some(slot);
        Slot(slot)
    }

    pub fn build(self) -> Projection {
        let mut print = Xxh3::new();
        for pointer in &self.wanted {
            print.update(&(pointer.source.len() as u64).to_le_bytes());
            print.update(pointer.source.as_bytes());
        }
        Projection {
            nodes: self.nodes,
            slots: self.wanted.len() as u16,
            print: print.digest(),
        }
    }
}

/// A token as an array index: digits, with no leading zero.
fn index_of(token: &str) -> Option<usize> {
    let digits = token.bytes().all(|byte| byte.is_ascii_digit()) && (token == "0" || !token.starts_with('0'));
    if digits { token.parse().ok() } else { None }
}

// === impl Projection ===

impl Default for Projection {
    /// Reads no field; documents are still checked.
    fn default() -> Self {
        ProjectionBuilder::new().build()
    }
}

impl Projection {
    /// How many fields it reads.
    pub fn slots(&self) -> usize {
        usize::from(self.slots)
    }

    /// Reads the fields of one document. After an error the fields mean nothing.
    pub fn read<'a>(&self, json: &'a [u8], fields: &mut Fields<'a>) -> Result<(), Malformed> {
        let text = match std::str::from_utf8(json) {
            Ok(text) => text,
            Err(error) => return Err(Malformed::new(error.valid_up_to(), "no UTF-8")),
        };
        if json.len() >= u32::MAX as usize {
            return Err(Malformed::new(0, "document of 4 GiB or more"));
        }
        let mut memory = fields.memory.take().unwrap_or_default();
        let read = self.read_text(text, fields, &mut memory);
        fields.memory = Some(memory);
        read
    }

    #[inline]
    fn read_text<'a>(
        &self,
        text: &'a str,
        fields: &mut Fields<'a>,
        Memory { key, shapes }: &mut Memory,
    ) -> Result<(), Malformed> {
        let json = text.as_bytes();
        fields.clear(text, self.slots());
        let spots = fields.spots.as_mut_slice();
        if !shapes.awake(self.print) {
            return Walk {
                projection: self,
                json,
                spots,
                key,
                watch: &mut Blind,
            }
            .document();
        }
        if shapes.read(json, spots) {
            return Ok(());
        }
        spots.fill(Spot::MISSING);
        let mut tape = shapes.take_tape();
        let walked = Walk {
            projection: self,
            json,
            spots,
            key,
            watch: &mut tape,
        }
        .document();
        shapes.learn(json, tape, &walked);
        walked
    }

    fn root(&self) -> &Node {
        self.node(0)
    }

    fn node(&self, index: u16) -> &Node {
        &self.nodes[usize::from(index)]
    }
}

// === impl Node ===

impl Node {
    #[inline]
    fn child(&self, key: &[u8]) -> Option<u16> {
        self.keys
            .iter()
            .find(|(known, _)| known.as_ref() == key)
            .map(|(_, child)| *child)
    }
}

#[cfg(test)]
mod tests;
