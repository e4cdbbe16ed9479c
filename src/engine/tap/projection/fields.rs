//! What a projection found in one record: values that borrow the record.
//!
//! Rule: a value is a view of the document's own bytes. Numbers keep their spelling, text keeps its escapes until someone
//! asks for its characters.
//!
//! Edges:
//! - a pointer that leads nowhere is [`Value::Missing`], which is not [`Value::Null`];
//! - an escaped surrogate without its other half decodes to U+FFFD, one for each half.

use super::Slot;
use super::lex::{Kind, Spot};
use super::shapes::Shapes;

/// The values of one record, by slot. One buffer serves many records, see [`Fields::reuse`].
#[derive(Debug, Default)]
pub struct Fields<'a> {
    pub(super) json: &'a str,
    pub(super) spots: Vec<Spot>,
    /// Apart, so that a buffer is cheap to move from record to record.
    pub(super) memory: Option<Box<Memory>>,
}

/// What stays from record to record and is no value.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Scratch of the walk: a key with its escapes decoded.
    pub key: Vec<u8>,
    /// Shapes of earlier records, see [`Shapes`].
    pub shapes: Shapes,
}

/// One value of a JSON document, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// The pointer leads nowhere.
    Missing,
    Null,
    Bool(bool),
    /// As it is spelled in the document.
    Number(&'a str),
    Text(Text<'a>),
    /// The whole array, brackets included.
    Array(&'a [u8]),
    /// The whole object, braces included.
    Object(&'a [u8]),
}

/// A JSON string, as it is between its quotes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Text<'a> {
    raw: &'a str,
    has_escapes: bool,
}

/// The characters of a [`Text`], with its escapes decoded.
#[derive(Clone, Debug)]
pub struct Chars<'a> {
    rest: std::str::Chars<'a>,
}

// === impl Fields ===

impl Fields<'static> {
    pub fn new() -> Self {
        Self::default()
    }
}

impl<'a> Fields<'a> {
    /// The same buffers for a record of another lifetime; all values become missing.
    pub fn reuse<'b>(mut self) -> Fields<'b> {
        self.spots.clear();
        Fields {
            json: "",
            spots: self.spots,
            memory: self.memory,
        }
    }

    /// The value of a slot. A slot of another projection is missing or means another field.
    #[inline]
    pub fn get(&self, slot: Slot) -> Value<'a> {
        let spot = self.spots.get(usize::from(slot.0)).copied().unwrap_or_default();
        let span = || &self.json[spot.start as usize..spot.end as usize];
        match spot.kind {
            Kind::Missing => Value::Missing,
            Kind::Null => Value::Null,
            Kind::True => Value::Bool(true),
            Kind::False => Value::Bool(false),
            Kind::Number => Value::Number(span()),
            Kind::Plain => Value::Text(Text {
                raw: span(),
                has_escapes: false,
            }),
            Kind::Escaped => Value::Text(Text {
                raw: span(),
                has_escapes: true,
            }),
            Kind::Array => Value::Array(span().as_bytes()),
            Kind::Object => Value::Object(span().as_bytes()),
        }
    }

    #[inline]
    pub(super) fn clear(&mut self, json: &'a str, slots: usize) {
        self.json = json;
        self.spots.clear();
        self.spots.resize(slots, Spot::MISSING);
    }
}

// === impl Value ===

impl Value<'_> {
    /// What it is, for a message.
    pub fn name(&self) -> &'static str {
        match self {
            Value::Missing => "missing",
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::Text(_) => "text",
            Value::Array(_) => "an array",
            Value::Object(_) => "an object",
        }
    }
}

// === impl Text ===

impl<'a> Text<'a> {
    /// Text that has no escapes, as it is.
    pub fn plain(text: &'a str) -> Self {
        Self {
            raw: text,
            has_escapes: false,
        }
    }

    /// The text itself where it has no escapes: nothing needs decoding.
    #[inline]
    pub fn as_plain(&self) -> Option<&'a str> {
        (!self.has_escapes).then_some(self.raw)
    }

    /// As it is spelled in the document, escapes and all.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    pub fn chars(&self) -> Chars<'a> {
        // Without escapes there is no backslash, so decoding changes nothing.
        decode(self.raw)
    }

    /// Appends the decoded text as UTF-8.
    #[inline]
    pub fn write_to(&self, out: &mut Vec<u8>) {
        if self.has_escapes {
            let mut buffer = [0; 4];
            for character in self.chars() {
                out.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
            }
        } else {
            out.extend_from_slice(self.raw.as_bytes());
        }
    }

    #[inline]
    pub fn eq_str(&self, other: &str) -> bool {
        if self.has_escapes {
            self.chars().eq(other.chars())
        } else {
            self.raw == other
        }
    }

    /// Whether the decoded text is at most so many bytes long.
    #[inline]
    pub fn len_at_most(&self, bytes: usize) -> bool {
        // Decoding never makes text longer: the shortest escape, two bytes, gives one byte.
        self.raw.len() <= bytes || (self.has_escapes && self.chars().map(char::len_utf8).sum::<usize>() <= bytes)
    }
}

// === impl Chars ===

/// The characters of what is between the quotes of a string.
pub(super) fn decode(raw: &str) -> Chars<'_> {
    Chars { rest: raw.chars() }
}

impl Chars<'_> {
    /// The sixteen bits of `\uXXXX`, behind its `u`.
    fn unit(&mut self) -> u32 {
        (0..4).fold(0, |unit, _| {
            (unit << 4) | self.rest.next().and_then(|digit| digit.to_digit(16)).unwrap_or(0)
        })
    }
}

impl Iterator for Chars<'_> {
    type Item = char;

    fn next(&mut self) -> Option<char> {
        let character = self.rest.next()?;
        if character != '\\' {
            return Some(character);
        }
        Some(match self.rest.next()? {
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'u' => {
                let high = self.unit();
                if (0xd800..0xdc00).contains(&high) {
                    let mut ahead = self.clone();
                    if (ahead.rest.next(), ahead.rest.next()) == (Some('\\'), Some('u')) {
                        let low = ahead.unit();
                        if (0xdc00..0xe000).contains(&low) {
                            *self = ahead;
                            let pair = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
                            return Some(char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER));
                        }
                    }
                }
                char::from_u32(high).unwrap_or(char::REPLACEMENT_CHARACTER)
            }
            other => other,
        })
    }
}
