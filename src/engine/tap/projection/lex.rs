//! The scalars of JSON (RFC 8259): where each one ends, and whether it is well formed.
//!
//! Rule: every function takes the document and the position at which something starts, and gives the position behind it.
//! Nothing is decoded and nothing is copied.
//!
//! Edges:
//! - a number of any length is well formed: what it is worth is decided where it is used;
//! - an escaped surrogate without its other half (`\ud800`, which Python's `json.dumps` writes for text that holds one)
//!   is well formed here; decoding gives U+FFFD for it;
//! - whether the document is UTF-8 is settled before, on the whole of it.

use super::Malformed;

/// One in every byte of a word.
const ONES: u64 = 0x0101_0101_0101_0101;

/// Bytes that a plain run of string bytes cannot hold (a quote, a backslash, a control character), as the high bits of
/// their bytes. The lowest bit set is right; above it there may be bits for bytes that are plain.
#[inline(always)]
fn stops(word: u64) -> u64 {
    let quote = word ^ (ONES * b'"' as u64);
    let backslash = word ^ (ONES * b'\\' as u64);
    let zero_in = |word: u64| word.wrapping_sub(ONES) & !word;
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (zero_in(quote) | zero_in(backslash) | control) & (ONES * 0x80)
}

#[inline(always)]
fn word_at(json: &[u8], at: usize) -> Option<u64> {
    json.get(at..)
        .and_then(|rest| rest.first_chunk())
        .map(|bytes| u64::from_le_bytes(*bytes))
}

#[inline(always)]
fn first_of(stops: u64) -> usize {
    (stops.trailing_zeros() / 8) as usize
}

fn is_plain(byte: u8) -> bool {
    byte != b'"' && byte != b'\\' && byte >= 0x20
}

/// The first byte at or behind `at` that a plain run of string bytes cannot hold.
#[inline]
fn plain_run(json: &[u8], mut at: usize) -> usize {
    // Four words at a time: what takes the time here is that the end of one run is the start of the next.
    while let Some(block) = json.get(at..).and_then(|rest| rest.first_chunk::<32>()) {
        let found: [u64; 4] = std::array::from_fn(|word| stops(word_at(block, word * 8).unwrap_or_default()));
        if let Some(word) = found.iter().position(|stops| *stops != 0) {
            return at + word * 8 + first_of(found[word]);
        }
        at += 32;
    }
    while let Some(word) = word_at(json, at) {
        let stops = stops(word);
        if stops != 0 {
            return at + first_of(stops);
        }
        at += 8;
    }
    while json.get(at).is_some_and(|byte| is_plain(*byte)) {
        at += 1;
    }
    at
}

/// Whether the plain run at `at` is so many bytes long and ends with a quote. To confirm a length is much cheaper than to
/// find it: nothing that follows has to wait for the answer.
#[inline]
pub(super) fn is_plain_string(json: &[u8], at: usize, len: usize) -> bool {
    if json.get(at + len) != Some(&b'"') {
        return false;
    }
    let text = &json[at..at + len];
    if let Some((_, last)) = text.split_last_chunk() {
        let words = text.as_chunks().0.iter().map(|word| stops(u64::from_le_bytes(*word)));
        words.fold(stops(u64::from_le_bytes(*last)), |found, more| found | more) == 0
    } else if let Some(word) = word_at(json, at) {
        // The quote behind the run is the first that stops it.
        first_of(stops(word)) == len
    } else {
        text.iter().all(|byte| is_plain(*byte))
    }
}

/// A string whose first byte behind the opening quote is at `at`: the position of the closing quote, and whether there is
/// an escape in it.
#[inline]
pub(super) fn string(json: &[u8], at: usize) -> Result<(usize, bool), Malformed> {
    let stop = plain_run(json, at);
    if json.get(stop) == Some(&b'"') {
        Ok((stop, false))
    } else {
        escaped_string(json, stop)
    }
}

/// The rest of a string from its first byte that is not plain.
fn escaped_string(json: &[u8], mut at: usize) -> Result<(usize, bool), Malformed> {
    loop {
        match json.get(at) {
            Some(b'"') => return Ok((at, true)),
            Some(b'\\') => at = escape(json, at)?,
            Some(_) => return Err(Malformed::new(at, "control character in a string")),
            None => return Err(Malformed::new(at, "string without an end")),
        }
        if json.get(at) != Some(&b'\\') {
            at = plain_run(json, at);
        }
    }
}

/// One escape, from its backslash.
fn escape(json: &[u8], at: usize) -> Result<usize, Malformed> {
    match json.get(at + 1) {
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
        Some(b'u') => match json.get(at + 2..at + 6) {
            Some(digits) if digits.iter().all(u8::is_ascii_hexdigit) => Ok(at + 6),
            _ => Err(Malformed::new(at, "\\u without four hexadecimal digits")),
        },
        _ => Err(Malformed::new(at, "unknown escape in a string")),
    }
}

/// A number that starts at `at`, with a minus sign or a digit.
#[inline]
pub(super) fn number(json: &[u8], mut at: usize) -> Result<usize, Malformed> {
    let digit = |at: usize| json.get(at).is_some_and(u8::is_ascii_digit);
    if json.get(at) == Some(&b'-') {
        at += 1;
    }
    match json.get(at) {
        Some(b'0') => at += 1,
        Some(b'1'..=b'9') => {
            while digit(at) {
                at += 1;
            }
        }
        _ => return Err(Malformed::new(at, "number without digits")),
    }
    if json.get(at) == Some(&b'.') {
        at += 1;
        if !digit(at) {
            return Err(Malformed::new(at, "number without digits behind its point"));
        }
        while digit(at) {
            at += 1;
        }
    }
    if let Some(b'e' | b'E') = json.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = json.get(at) {
            at += 1;
        }
        if !digit(at) {
            return Err(Malformed::new(at, "number without digits in its exponent"));
        }
        while digit(at) {
            at += 1;
        }
    }
    Ok(at)
}

/// One of the three words, whole.
#[inline]
pub(super) fn word(json: &[u8], at: usize, word: &'static [u8]) -> Result<usize, Malformed> {
    if json.get(at..at + word.len()) == Some(word) {
        Ok(at + word.len())
    } else {
        Err(Malformed::new(at, "neither a value nor true, false or null"))
    }
}

/// The first byte that is no white space.
#[inline]
pub(super) fn space(json: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = json.get(at) {
        at += 1;
    }
    at
}

/// What a scalar is, and where in the document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u32)] // A spot is then three whole words, which move without being packed.
pub(super) enum Kind {
    #[default]
    Missing,
    Null,
    True,
    False,
    Number,
    /// Without an escape; the span is what is between the quotes.
    Plain,
    Escaped,
    Array,
    Object,
}

/// The span of one value, as positions in the document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Spot {
    pub kind: Kind,
    pub start: u32,
    pub end: u32,
}

impl Spot {
    pub(super) const MISSING: Spot = Spot {
        kind: Kind::Missing,
        start: 0,
        end: 0,
    };

    #[inline]
    pub(super) fn new(kind: Kind, start: usize, end: usize) -> Self {
        Self {
            kind,
            start: start as u32,
            end: end as u32,
        }
    }
}

/// The scalar that starts at `at`, and the position behind it; `None` for a container.
#[inline]
pub(super) fn scalar(json: &[u8], at: usize) -> Result<Option<(Spot, usize)>, Malformed> {
    match json.get(at) {
        Some(b'"') => {
            let (end, escaped) = string(json, at + 1)?;
            let kind = if escaped { Kind::Escaped } else { Kind::Plain };
            Ok(Some((Spot::new(kind, at + 1, end), end + 1)))
        }
        Some(b'{' | b'[') => Ok(None),
        Some(b'-' | b'0'..=b'9') => {
            let end = number(json, at)?;
            Ok(Some((Spot::new(Kind::Number, at, end), end)))
        }
        Some(b't') => word(json, at, b"true").map(|end| Some((Spot::new(Kind::True, at, end), end))),
        Some(b'f') => word(json, at, b"false").map(|end| Some((Spot::new(Kind::False, at, end), end))),
        Some(b'n') => word(json, at, b"null").map(|end| Some((Spot::new(Kind::Null, at, end), end))),
        Some(_) => Err(Malformed::new(at, "no value where one belongs")),
        None => Err(Malformed::new(at, "end of the document where a value belongs")),
    }
}
