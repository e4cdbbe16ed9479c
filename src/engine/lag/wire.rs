//! Kafka's types as bytes, read from the front of a slice.
//!
//! Rule: a reader never goes behind its slice and never allocates. Texts and bytes borrow from it.
//!
//! Edges:
//! - a flexible version (KIP-482) has compact lengths (unsigned varint, one more than the length, zero is null) and a
//!   section of tagged fields at the end of every struct; others have fixed-width lengths, negative is null;
//! - a tagged field is read within its own bytes, so that what is left of it, or all of an unknown one, is skipped;
//! - a count of elements says nothing about memory: nothing is reserved for it.

/// Why bytes are not what their version says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("it has no key")]
    NoKey,
    #[error("it ends within a field")]
    Short,
    #[error("a text is not UTF-8")]
    NotUtf8,
    #[error("a text is longer than 32,767 bytes")]
    LongText,
    #[error("a field that is always there is null")]
    Null,
    #[error("a varint is longer than 32 bits")]
    Varint,
    #[error("{0} bytes follow its last field")]
    Longer(usize),
}

/// A cursor over the bytes of one key, value, or tagged field.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// Most bytes of a text.
const TEXT: usize = i16::MAX as usize;

// === impl Reader ===

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Nothing may be left.
    pub fn end(&self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed::Longer(self.rest.len()))
        }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed::Short)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub fn int8(&mut self) -> Result<i8, Malformed> {
        self.array().map(i8::from_be_bytes)
    }

    pub fn int16(&mut self) -> Result<i16, Malformed> {
        self.array().map(i16::from_be_bytes)
    }

    pub fn uint16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_be_bytes)
    }

    pub fn int32(&mut self) -> Result<i32, Malformed> {
        self.array().map(i32::from_be_bytes)
    }

    pub fn int64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_be_bytes)
    }

    pub fn uuid(&mut self) -> Result<[u8; 16], Malformed> {
        self.array()
    }

    /// Seven bits a byte, lowest first.
    pub fn uvarint(&mut self) -> Result<u32, Malformed> {
        let mut value = 0_u64;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| Malformed::Varint);
            }
        }
        Err(Malformed::Varint)
    }

    /// A text; `None` for null.
    pub fn text_or_null(&mut self, flexible: bool) -> Result<Option<&'a str>, Malformed> {
        let length = if flexible {
            self.compact_length()?
        } else {
            usize::try_from(self.int16()?).ok()
        };
        let Some(length) = length else { return Ok(None) };
        if length > TEXT {
            return Err(Malformed::LongText);
        }
        let bytes = self.take(length)?;
        std::str::from_utf8(bytes).map(Some).map_err(|_| Malformed::NotUtf8)
    }

    pub fn text(&mut self, flexible: bool) -> Result<&'a str, Malformed> {
        self.text_or_null(flexible)?.ok_or(Malformed::Null)
    }

    /// Bytes; `None` for null.
    pub fn bytes_or_null(&mut self, flexible: bool) -> Result<Option<&'a [u8]>, Malformed> {
        match self.count_or_null(flexible)? {
            Some(length) => self.take(length).map(Some),
            None => Ok(None),
        }
    }

    pub fn bytes(&mut self, flexible: bool) -> Result<&'a [u8], Malformed> {
        self.bytes_or_null(flexible)?.ok_or(Malformed::Null)
    }

    /// How many elements an array has; `None` for null. The elements follow.
    pub fn count_or_null(&mut self, flexible: bool) -> Result<Option<usize>, Malformed> {
        if flexible {
            self.compact_length()
        } else {
            Ok(usize::try_from(self.int32()?).ok())
        }
    }

    pub fn count(&mut self, flexible: bool) -> Result<usize, Malformed> {
        self.count_or_null(flexible)?.ok_or(Malformed::Null)
    }

    fn compact_length(&mut self) -> Result<Option<usize>, Malformed> {
        Ok((self.uvarint()? as usize).checked_sub(1))
    }

    /// The tagged fields at the end of a struct, each with a reader of its own bytes.
    pub fn tags(&mut self, mut each: impl FnMut(u32, Self) -> Result<(), Malformed>) -> Result<(), Malformed> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let size = self.uvarint()? as usize;
            each(tag, Self::new(self.take(size)?))?;
        }
        Ok(())
    }
}
