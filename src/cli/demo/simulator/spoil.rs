//! The ways in which real services break their own format.
//!
//! Rule: whatever is done here makes a record that nothing can be counted from, by any reading: broken JSON, no time, or
//! no channel where the channel is what is counted.

use super::random::Random;
use super::records::{Clock, Form, Kind};

/// One way of being malformed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Spoiled {
    /// A tombstone where a message belongs.
    NullValue,
    Empty,
    /// Cut off somewhere within the document.
    Truncated,
    InvalidUtf8,
    TrailingGarbage,
    /// `str(dict)` instead of `json.dumps(dict)`.
    PythonRepr,
    /// Python writes `NaN`, which is not JSON.
    NotANumber,
    ByteOrderMark,
    /// A list of one event.
    ArrayAtTop,
    /// Two hundred arrays within each other.
    DeepNesting,
    TimeMissing,
    TimeOfWrongType,
    TimeThatIsNone,
    /// Epoch seconds as text.
    TimeNumberAsText,
    /// Raw messages only.
    ChannelMissing,
    ChannelNull,
    ChannelOfWrongType,
}

/// Those of any topic, then those of raw messages.
const ANY: [Spoiled; 14] = [
    Spoiled::NullValue,
    Spoiled::Empty,
    Spoiled::Truncated,
    Spoiled::InvalidUtf8,
    Spoiled::TrailingGarbage,
    Spoiled::PythonRepr,
    Spoiled::NotANumber,
    Spoiled::ByteOrderMark,
    Spoiled::ArrayAtTop,
    Spoiled::DeepNesting,
    Spoiled::TimeMissing,
    Spoiled::TimeOfWrongType,
    Spoiled::TimeThatIsNone,
    Spoiled::TimeNumberAsText,
];
const RAW: [Spoiled; 3] = [
    Spoiled::ChannelMissing,
    Spoiled::ChannelNull,
    Spoiled::ChannelOfWrongType,
];

const WRONG_TYPES: [&str; 5] = ["true", "null", "{}", "[]", "{\"$date\": \"2026-11-22T14:00:00\"}"];
const NO_TIMES: [&str; 6] = [
    "\"\"",
    "\"yesterday\"",
    "\"2026-02-30T10:00:00\"",
    "\"14:00:00\"",
    "\"2026-11-22\"",
    "\"2026-11-22T25:00:00\"",
];

// === impl Spoiled ===

impl Spoiled {
    pub fn some(random: &mut Random, kind: Kind) -> Self {
        if kind == Kind::Raw && random.below(4) == 0 {
            random.one_of(&RAW)
        } else {
            random.one_of(&ANY)
        }
    }

    /// What is wrong from the start: changes the form before it is written.
    pub fn change(self, form: &mut Form, random: &mut Random) {
        match self {
            Spoiled::TimeMissing => form.clock = Clock::Missing,
            Spoiled::TimeOfWrongType => form.clock = Clock::Wrong(random.one_of(&WRONG_TYPES)),
            Spoiled::TimeThatIsNone => form.clock = Clock::Wrong(random.one_of(&NO_TIMES)),
            Spoiled::TimeNumberAsText => form.clock = Clock::Wrong("\"1795356000.5\""),
            Spoiled::ChannelMissing => form.channel = None,
            Spoiled::ChannelNull => form.channel = Some("null"),
            Spoiled::ChannelOfWrongType => form.channel = Some("[\"email\"]"),
            _ => {}
        }
    }

    /// What goes wrong on the way out: changes the written value.
    pub fn damage(self, mut value: Vec<u8>, random: &mut Random) -> Option<Vec<u8>> {
        match self {
            Spoiled::NullValue => return None,
            Spoiled::Empty => value.clear(),
            Spoiled::Truncated => value.truncate(1 + random.below(value.len() as u64 - 1) as usize),
            Spoiled::InvalidUtf8 => value.insert(1 + random.below(value.len() as u64 - 1) as usize, 0xff),
            Spoiled::TrailingGarbage => {
                value.extend_from_slice(random.one_of(&["}", ",", " null", "{}", "\0"]).as_bytes())
            }
            Spoiled::PythonRepr => value
                .iter_mut()
                .filter(|byte| **byte == b'"')
                .for_each(|byte| *byte = b'\''),
            Spoiled::NotANumber => value.splice(1..1, *b"\"score\": NaN, ").for_each(drop),
            Spoiled::ByteOrderMark => value.splice(0..0, [0xef, 0xbb, 0xbf]).for_each(drop),
            Spoiled::ArrayAtTop => {
                value.insert(0, b'[');
                value.push(b']');
            }
            Spoiled::DeepNesting => {
                let nested = std::iter::repeat_n(b'[', 200).chain(std::iter::repeat_n(b']', 200));
                value
                    .splice(1..1, b"\"extra\": ".iter().copied().chain(nested).chain(*b", "))
                    .for_each(drop);
            }
            _ => {}
        }
        Some(value)
    }
}
