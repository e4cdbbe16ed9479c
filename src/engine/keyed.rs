//! Keyed records on their way from a tap to a join: 16 bytes of key, a time, and what the join needs of the record.
//!
//! Rule: a record is packed as the key's hash, the time as a difference to the record before, the index of what it carries
//! into the dictionary beside it, and an amount where the side has one: some 20 bytes. Order means nothing.
//!
//! Edges:
//! - keys are XXH3 of 128 bits over their text: among n live keys two are taken for one with odds of n² / 2^129, which is
//!   less than 10^-22 for a hundred million. It is no cryptographic hash: whoever chooses ids can make two of his own meet;
//! - the hash names the partition of the join, too, so it is part of the format of the internal topics.

use xxhash_rust::xxh3::xxh3_128;

use super::codec::CodecError;
use super::time::EventTime;

/// What stands for a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash {
    high: u64,
    low: u64,
}

/// One record of one side of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyedRecord {
    pub key: KeyHash,
    pub time: EventTime,
    /// Index into the dictionary of what is carried.
    pub carried: u32,
    /// What it adds to the metric that asks: things for a count, else millionths. Zero on sides that do not ask.
    pub amount: i64,
}

/// Packs records one after another; keeps its memory when it is cleared.
#[derive(Debug, Default)]
pub struct Packer {
    bytes: Vec<u8>,
    count: u32,
    last: i64,
}

/// Packed records, one by one.
#[derive(Clone, Debug)]
pub struct Packed<'a> {
    rest: &'a [u8],
    amounts: bool,
    last: i64,
}

// === impl KeyHash ===

impl KeyHash {
    pub const BYTES: usize = 16;

    /// Of a record that asks and has no key: no value has this one.
    pub const NONE: KeyHash = KeyHash { high: 0, low: 0 };

    #[inline]
    pub fn of(text: &[u8]) -> Self {
        let hash = xxh3_128(text);
        Self {
            high: (hash >> 64) as u64,
            low: hash as u64,
        }
    }

    /// The partition of `partitions` that owns the key.
    #[inline]
    pub fn partition(self, partitions: u32) -> u32 {
        (self.high % u64::from(partitions.max(1))) as u32
    }

    /// For tables: bits that do not choose the partition.
    #[inline]
    pub fn spread(self) -> u64 {
        self.low
    }

    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.high.to_be_bytes());
        bytes[8..].copy_from_slice(&self.low.to_be_bytes());
        bytes
    }

    pub fn from_bytes(bytes: [u8; Self::BYTES]) -> Self {
        let [a, b, c, d, e, f, g, h, rest @ ..] = bytes;
        Self {
            high: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            low: u64::from_be_bytes(rest),
        }
    }
}

// === impl Packer ===

impl Packer {
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// Adds a record; `amounts` is the same for all of them.
    #[inline]
    pub fn push(&mut self, record: KeyedRecord, amounts: bool) {
        self.bytes.extend_from_slice(&record.key.to_bytes());
        push_varint(&mut self.bytes, zigzag(record.time.0.wrapping_sub(self.last)));
        push_varint(&mut self.bytes, record.carried.into());
        if amounts {
            push_varint(&mut self.bytes, zigzag(record.amount));
        }
        self.last = record.time.0;
        self.count += 1;
    }

    /// The packed bytes, in a vector of their own; nothing is left.
    pub fn take(&mut self) -> Vec<u8> {
        (self.count, self.last) = (0, 0);
        let packed = self.bytes.as_slice().to_vec();
        self.bytes.clear();
        packed
    }
}

// === impl Packed ===

impl<'a> Packed<'a> {
    pub fn new(bytes: &'a [u8], amounts: bool) -> Self {
        Self {
            rest: bytes,
            amounts,
            last: 0,
        }
    }

    fn record(&mut self) -> Option<KeyedRecord> {
        let (key, rest) = self.rest.split_first_chunk::<{ KeyHash::BYTES }>()?;
        self.rest = rest;
        self.last = self.last.wrapping_add(unzigzag(take_varint(&mut self.rest)?));
        let carried = u32::try_from(take_varint(&mut self.rest)?).ok()?;
        let amount = if self.amounts {
            unzigzag(take_varint(&mut self.rest)?)
        } else {
            0
        };
        Some(KeyedRecord {
            key: KeyHash::from_bytes(*key),
            time: EventTime(self.last),
            carried,
            amount,
        })
    }
}

impl Iterator for Packed<'_> {
    type Item = Result<KeyedRecord, CodecError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let record = self.record();
        if record.is_none() {
            self.rest = &[];
        }
        Some(record.ok_or_else(|| CodecError::Corrupt("keyed records that end within one".to_owned())))
    }
}

#[inline]
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[inline]
pub fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

#[inline]
pub fn push_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push((value as u8) | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// `None` where the bytes end within it, or it is none of 64 bits.
#[inline]
pub fn take_varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for (at, byte) in from.iter().take(10).enumerate() {
        if at == 9 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            *from = &from[at + 1..];
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_record() -> impl Strategy<Value = KeyedRecord> {
        (any::<u128>(), any::<i64>(), any::<u32>(), any::<i64>()).prop_map(|(key, time, carried, amount)| KeyedRecord {
            key: KeyHash::of(&key.to_le_bytes()),
            time: EventTime(time),
            carried,
            amount,
        })
    }

    proptest! {
        #[test]
        fn records_come_back_as_they_were(records in proptest::collection::vec(any_record(), 0..50)) {
            let mut packer = Packer::default();
            for record in &records {
                packer.push(*record, true);
            }
            prop_assert_eq!(packer.count() as usize, records.len());
            let bytes = packer.take();
            let back: Result<Vec<_>, _> = Packed::new(&bytes, true).collect();
            prop_assert_eq!(back, Ok(records));
        }

        #[test]
        fn bytes_of_anyone_end_in_records_or_in_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let read: Vec<_> = Packed::new(&bytes, false).collect();
            prop_assert!(read.len() <= bytes.len());
            prop_assert!(read.iter().rev().skip(1).all(Result::is_ok), "an error is the last word");
        }
    }

    #[test]
    fn a_record_takes_some_twenty_bytes() {
        let mut packer = Packer::default();
        for at in 0..100 {
            let record = KeyedRecord {
                key: KeyHash::of(&[at]),
                time: EventTime(1_795_356_000_000_000 + i64::from(at) * 1_000),
                carried: 2,
                amount: 0,
            };
            packer.push(record, false);
        }
        assert!(
            packer.take().len() < 100 * 20,
            "16 for the key, 2 for the time, 1 for what it carries"
        );
    }

    #[test]
    fn a_key_stays_in_its_partition_for_ever() {
        // The numbers are part of the format of the internal topics: another hash would tear joins apart.
        let partitions: Vec<u32> = (1..=6).map(|n| KeyHash::of(b"c0ffee").partition(n)).collect();
        assert_eq!(partitions, PINNED);
    }

    const PINNED: [u32; 6] = [0, 1, 2, 1, 4, 5];
}
