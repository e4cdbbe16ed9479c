//! A record of `__consumer_offsets` for people: everything that is in it, as one line or as JSON.
//!
//! Rule: names and JSON are those of Kafka's own dump tool: bytes in base64, ids as Kafka writes them, subscriptions and
//! assignments of consumers read too. Nothing is left out: what cannot be read is shown in hex, with the reason.
//!
//! Edges:
//! - in a line times are spelled and bytes are hex; in JSON they are milliseconds and base64.

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

use super::protocol;
use super::record;
use super::schema::Kind;
use super::tree::Tree;
use super::wire::{Malformed, Reader};

/// Key and value of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View<'a> {
    pub key: Part<'a>,
    /// `None`: a tombstone.
    pub value: Option<Part<'a>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    Read {
        kind: Kind,
        version: i16,
        fields: Tree<'a>,
    },
    /// Of a version that nobody here knows, or behind a key that cannot be read.
    Unknown {
        version: Option<i16>,
        bytes: &'a [u8],
    },
    Malformed {
        why: Malformed,
        bytes: &'a [u8],
    },
}

/// Bytes in hex.
struct Hex<'a>(&'a [u8]);

/// Milliseconds since the epoch as a person reads them.
pub struct Moment(pub i64);

// === impl View ===

impl<'a> View<'a> {
    pub fn read(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Self {
        let (kind, key) = read_key(key);
        let value = value.map(|value| match kind {
            Some(kind) => read_value(kind, value),
            None => Part::Unknown {
                version: Reader::new(value).int16().ok(),
                bytes: value,
            },
        });
        Self { key, value }
    }

    /// The group that the record is about, where that can be read.
    pub fn group(&self) -> Option<&'a str> {
        let Part::Read { fields, .. } = &self.key else {
            return None;
        };
        match fields.get("group").or_else(|| fields.get("groupId")) {
            Some(Tree::Text(group)) => Some(group),
            _ => None,
        }
    }

    /// Whether key or value have a version that is not known.
    pub fn is_unknown(&self) -> bool {
        self.parts().any(|part| matches!(part, Part::Unknown { .. }))
    }

    pub fn is_malformed(&self) -> bool {
        self.parts().any(|part| matches!(part, Part::Malformed { .. }))
    }

    fn parts(&self) -> impl Iterator<Item = &Part<'a>> {
        std::iter::once(&self.key).chain(&self.value)
    }

    /// `key` and `value` as Kafka's dump tool writes them.
    pub fn json(&self) -> (serde_json::Value, serde_json::Value) {
        let value = self.value.as_ref().map_or(serde_json::Value::Null, Part::json);
        (self.key.json(), value)
    }
}

fn read_key(key: Option<&[u8]>) -> (Option<Kind>, Part<'_>) {
    let bytes = key.unwrap_or_default();
    let mut reader = Reader::new(bytes);
    let version = match key.ok_or(Malformed::NoKey).and_then(|_| reader.int16()) {
        Ok(version) => version,
        Err(why) => return (None, Part::Malformed { why, bytes }),
    };
    let Some(kind) = Kind::of(version) else {
        let version = Some(version);
        return (None, Part::Unknown { version, bytes });
    };
    match Tree::of_key(kind.schema(), reader) {
        Ok(fields) => (Some(kind), Part::Read { kind, version, fields }),
        Err(why) => (Some(kind), Part::Malformed { why, bytes }),
    }
}

fn read_value(kind: Kind, bytes: &[u8]) -> Part<'_> {
    let version = match Reader::new(bytes).int16() {
        Ok(version) => version,
        Err(why) => return Part::Malformed { why, bytes },
    };
    if !kind.schema().knows(version) {
        let version = Some(version);
        return Part::Unknown { version, bytes };
    }
    match record::fields(kind.schema(), bytes) {
        Ok(fields) => Part::Read { kind, version, fields },
        Err(why) => Part::Malformed { why, bytes },
    }
}

/// The line without partition, offset and time.
impl fmt::Display for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Part::Read { kind, fields, .. } => {
                write!(f, "{}", kind.name())?;
                line(f, fields)?;
            }
            Part::Unknown { version, bytes } => unknown(f, "unknown key", *version, bytes)?,
            Part::Malformed { why, bytes } => write!(f, "malformed key ({why}) {}", Hex(bytes))?,
        }
        match &self.value {
            None => f.write_str(" -> tombstone"),
            Some(Part::Read { kind, version, fields }) => {
                write!(f, " -> v{version}")?;
                line(f, &explained(*kind, fields))
            }
            Some(Part::Unknown { version, bytes }) => unknown(f, " -> unknown value", *version, bytes),
            Some(Part::Malformed { why, bytes }) => write!(f, " -> malformed value ({why}) {}", Hex(bytes)),
        }
    }
}

fn unknown(f: &mut fmt::Formatter<'_>, what: &str, version: Option<i16>, bytes: &[u8]) -> fmt::Result {
    match version {
        Some(version) => write!(f, "{what} v{version} {}", Hex(bytes)),
        None => write!(f, "{what} {}", Hex(bytes)),
    }
}

/// The fields of the whole, without brackets.
fn line(f: &mut fmt::Formatter<'_>, fields: &Tree<'_>) -> fmt::Result {
    let Tree::Fields(fields) = fields else { return Ok(()) };
    for (name, value) in fields {
        write!(f, " {name}={value}")?;
    }
    Ok(())
}

/// A classic group with what its consumers told each other, where it is a group of consumers. Other values as they are.
fn explained<'t, 'a>(kind: Kind, value: &'t Tree<'a>) -> Cow<'t, Tree<'a>> {
    let consumers = Some(&Tree::Text(protocol::CONSUMER));
    let Tree::Fields(fields) = value else {
        return Cow::Borrowed(value);
    };
    if kind != Kind::GroupMetadata || value.get("protocolType") != consumers {
        return Cow::Borrowed(value);
    }
    let member = |member: &Tree<'a>| match member {
        Tree::Fields(fields) => Tree::Fields(fields.iter().map(|(name, value)| (*name, told(name, value))).collect()),
        other => other.clone(),
    };
    let field = |(name, value): &(&'static str, Tree<'a>)| match value {
        Tree::List(members) => (*name, Tree::List(members.iter().map(member).collect())),
        other => (*name, other.clone()),
    };
    Cow::Owned(Tree::Fields(fields.iter().map(field).collect()))
}

fn told<'a>(name: &str, value: &Tree<'a>) -> Tree<'a> {
    let read = match (name, value) {
        ("subscription", Tree::Bytes(bytes)) => protocol::subscription(bytes),
        ("assignment", Tree::Bytes(bytes)) => protocol::assignment(bytes),
        _ => None,
    };
    read.unwrap_or_else(|| value.clone())
}

// === impl Part ===

impl Part<'_> {
    fn json(&self) -> serde_json::Value {
        match self {
            Self::Read { kind, version, fields } => {
                json!({ "type": kind.name(), "version": version, "data": explained(*kind, fields).json() })
            }
            Self::Unknown { version, bytes } => {
                json!({ "type": "unknown", "version": version, "hex": Hex(bytes).to_string() })
            }
            Self::Malformed { why, bytes } => {
                json!({ "type": "malformed", "error": why.to_string(), "hex": Hex(bytes).to_string() })
            }
        }
    }
}

// === impl Tree ===

impl Tree<'_> {
    /// As Kafka's own converters write it.
    pub fn json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Number(number) | Self::Time(number) => (*number).into(),
            Self::Text(text) => (*text).into(),
            Self::Bytes(bytes) => STANDARD.encode(bytes).into(),
            Self::Uuid(id) => URL_SAFE_NO_PAD.encode(id).into(),
            Self::List(list) => list.iter().map(Self::json).collect(),
            Self::Fields(fields) => {
                let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.json()));
                serde_json::Value::Object(fields.collect())
            }
        }
    }
}

impl fmt::Display for Tree<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Number(number) => number.fmt(f),
            Self::Time(millis) => Moment(*millis).fmt(f),
            // As in JSON: a name with a line break must not break the line.
            Self::Text(text) => write!(f, "{}", serde_json::Value::from(*text)),
            Self::Bytes(bytes) => Hex(bytes).fmt(f),
            Self::Uuid(id) => f.write_str(&URL_SAFE_NO_PAD.encode(id)),
            Self::List(list) => {
                f.write_char('[')?;
                for (at, value) in list.iter().enumerate() {
                    write!(f, "{}{value}", if at == 0 { "" } else { ", " })?;
                }
                f.write_char(']')
            }
            Self::Fields(fields) => {
                f.write_char('{')?;
                for (at, (name, value)) in fields.iter().enumerate() {
                    write!(f, "{}{name}={value}", if at == 0 { "" } else { " " })?;
                }
                f.write_char('}')
            }
        }
    }
}

// === impl Hex ===

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

// === impl Moment ===

/// RFC 3339 in UTC; the number itself where it is no time.
impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) if self.0 >= 0 => write!(f, "{time:.3}"),
            _ => write!(f, "{}", self.0),
        }
    }
}
