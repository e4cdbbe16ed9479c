//! Records as they lie in a partition: batch by batch, each batch one immutable buffer.
//!
//! Rule: a batch is encoded by whoever writes it, outside of any lock; a partition only gives it an offset. Readers share
//! the buffer, and decode it outside of any lock.
//!
//! One record: offset delta `u32`, timestamp `i64` in microseconds, lengths of key, value (`u32::MAX` is null) and
//! headers, then the three. All little-endian.

use bytes::Bytes;

use crate::engine::task::{Headers, Stamp};
use crate::engine::time::WallTime;

use super::transactions::ProducerId;

const FIXED: usize = 4 + 8 + 4 + 4 + 4;
const NULL: u32 = u32::MAX;

/// Records on their way to one partition.
#[derive(Clone, Debug, Default)]
pub struct RecordBatch {
    bytes: Vec<u8>,
    records: u32,
    newest: Option<WallTime>,
    /// Size of the largest record: key, value and headers.
    largest: usize,
    /// Whether a record has no key: a compacted topic refuses it.
    keyless: bool,
}

/// A batch in a partition.
#[derive(Clone, Debug)]
pub(super) struct Batch {
    pub base: i64,
    /// The offset behind its last one.
    pub next: i64,
    pub records: u32,
    pub state: State,
    /// The broker's clock at append, for topics that keep that instead of the writers' stamps.
    pub appended: Option<WallTime>,
    /// The highest timestamp in it.
    pub newest: WallTime,
    pub bytes: Bytes,
}

/// What a read_committed reader makes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Written without a transaction, or in one that is committed.
    Visible,
    /// In a transaction that is not decided, or whose marker is not yet written.
    Open(ProducerId),
    /// Aborted data or a control record: holds its offsets, and nothing to read.
    Hidden,
}

/// One decoded record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry<'a> {
    pub delta: u32,
    pub stamp: WallTime,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    headers: &'a [u8],
}

// === impl RecordBatch ===

impl RecordBatch {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            ..Self::default()
        }
    }

    /// Room for exactly one record.
    pub(super) fn for_one(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, &str)]) -> Self {
        Self::with_capacity(FIXED + payload(key, value) + headers_size(headers))
    }

    pub fn push(&mut self, key: Option<&[u8]>, value: Option<&[u8]>, stamp: WallTime) {
        self.push_with_headers(key, value, stamp, &[]);
    }

    pub fn push_with_headers(
        &mut self,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        stamp: WallTime,
        headers: &[(&str, &str)],
    ) {
        // Kafka keeps milliseconds.
        let stamp = WallTime(stamp.0.div_euclid(1_000).saturating_mul(1_000));
        let headers_len = headers_size(headers);
        self.fixed(self.records, stamp, key, value, headers_len);
        for text in headers.iter().flat_map(|(name, value)| [name, value]) {
            self.bytes.extend_from_slice(&length(text.len()).to_le_bytes());
            self.bytes.extend_from_slice(text.as_bytes());
        }
        self.count(stamp, key, payload(key, value) + headers_len);
    }

    /// A record as it was elsewhere, at its own distance from the batch's base: compaction leaves gaps.
    pub(super) fn push_entry(&mut self, entry: &Entry<'_>, delta: u32) {
        self.fixed(delta, entry.stamp, entry.key, entry.value, entry.headers.len());
        self.bytes.extend_from_slice(entry.headers);
        self.count(
            entry.stamp,
            entry.key,
            payload(entry.key, entry.value) + entry.headers.len(),
        );
    }

    fn fixed(&mut self, delta: u32, stamp: WallTime, key: Option<&[u8]>, value: Option<&[u8]>, headers: usize) {
        let mut fixed = [0; FIXED];
        fixed[..4].copy_from_slice(&delta.to_le_bytes());
        fixed[4..12].copy_from_slice(&stamp.0.to_le_bytes());
        fixed[12..16].copy_from_slice(&key.map_or(NULL, |key| length(key.len())).to_le_bytes());
        fixed[16..20].copy_from_slice(&value.map_or(NULL, |value| length(value.len())).to_le_bytes());
        fixed[20..].copy_from_slice(&length(headers).to_le_bytes());
        self.bytes.extend_from_slice(&fixed);
        self.bytes.extend_from_slice(key.unwrap_or_default());
        self.bytes.extend_from_slice(value.unwrap_or_default());
    }

    fn count(&mut self, stamp: WallTime, key: Option<&[u8]>, size: usize) {
        self.records += 1;
        self.newest = self.newest.max(Some(stamp));
        self.largest = self.largest.max(size);
        self.keyless |= key.is_none();
    }

    /// How many records are in it.
    pub fn len(&self) -> usize {
        self.records as usize
    }

    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Bytes that it takes in the log.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn largest(&self) -> usize {
        self.largest
    }

    pub(super) fn has_keyless(&self) -> bool {
        self.keyless
    }

    /// The batch with the offsets `base..next`.
    pub(super) fn at(self, base: i64, next: i64, state: State, appended: Option<WallTime>) -> Batch {
        let newest = appended.or(self.newest).unwrap_or_default();
        Batch {
            base,
            next,
            records: self.records,
            state,
            appended,
            newest,
            bytes: Bytes::from(self.bytes),
        }
    }
}

// === impl Batch ===

impl Batch {
    /// A commit or abort marker: one offset, nothing to read.
    pub fn marker(base: i64, now: WallTime) -> Self {
        let state = State::Hidden;
        Self {
            base,
            next: base + 1,
            records: 0,
            state,
            appended: None,
            newest: now,
            bytes: Bytes::new(),
        }
    }

    /// Aborted: the offsets stay, the data goes.
    pub fn hide(&mut self) {
        self.state = State::Hidden;
        self.records = 0;
        self.bytes = Bytes::new();
    }

    /// The record that starts at byte `at`, and where the next one starts; `None` at the end.
    pub fn entry(&self, at: usize) -> Option<(Entry<'_>, usize)> {
        let (fixed, rest) = self.bytes.get(at..)?.split_at_checked(FIXED)?;
        let length_at = |from: usize| -> u32 { u32::from_le_bytes(take(fixed, from)) };
        let (key, rest) = nullable(rest, length_at(12));
        let (value, rest) = nullable(rest, length_at(16));
        let headers = &rest[..length_at(20) as usize];
        let stamp = WallTime(i64::from_le_bytes(take(fixed, 4)));
        let next = self.bytes.len() - rest.len() + headers.len();
        Some((
            Entry {
                delta: length_at(0),
                stamp,
                key,
                value,
                headers,
            },
            next,
        ))
    }

    pub fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let (entry, next) = self.entry(at)?;
            at = next;
            Some(entry)
        })
    }

    pub fn offset_of(&self, entry: &Entry<'_>) -> i64 {
        self.base + i64::from(entry.delta)
    }

    pub fn stamp_of(&self, entry: &Entry<'_>) -> Stamp {
        self.appended.map_or(Stamp::Created(entry.stamp), Stamp::Appended)
    }
}

// === impl Entry ===

impl<'a> Entry<'a> {
    pub fn headers(&self) -> Vec<(String, String)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.each_header()
            .map(|(name, value)| (text(name), text(value)))
            .collect()
    }

    fn each_header(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let mut rest = self.headers;
        let mut part = move || {
            let (length, behind) = rest.split_at_checked(4)?;
            let (part, behind) = behind.split_at(u32::from_le_bytes(take(length, 0)) as usize);
            rest = behind;
            Some(part)
        };
        std::iter::from_fn(move || Some((part()?, part()?)))
    }
}

impl Headers for Entry<'_> {
    fn last(&self, name: &str) -> Option<&[u8]> {
        let of_this_name = self.each_header().filter(|(known, _)| *known == name.as_bytes());
        of_this_name.last().map(|(_, value)| value)
    }
}

fn payload(key: Option<&[u8]>, value: Option<&[u8]>) -> usize {
    key.map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len)
}

fn headers_size(headers: &[(&str, &str)]) -> usize {
    headers.iter().map(|(name, value)| 8 + name.len() + value.len()).sum()
}

/// Saturates: a record of 4 GiB is refused by every topic's limit before it is read.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(NULL - 1)
}

fn nullable(bytes: &[u8], length: u32) -> (Option<&[u8]>, &[u8]) {
    if length == NULL {
        return (None, bytes);
    }
    let (taken, rest) = bytes.split_at(length as usize);
    (Some(taken), rest)
}

/// A fixed part of what this module wrote itself.
fn take<const N: usize>(bytes: &[u8], from: usize) -> [u8; N] {
    let mut taken = [0; N];
    taken.copy_from_slice(&bytes[from..from + N]);
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_as_they_went_in() {
        let mut batch = RecordBatch::new();
        batch.push(Some(b"k"), Some(b"value"), WallTime(5_999));
        batch.push_with_headers(None, None, WallTime(-1), &[("reason", "malformed"), ("", "")]);
        assert_eq!(batch.len(), 2);
        let batch = batch.at(7, 9, State::Visible, None);
        let entries: Vec<_> = batch.entries().collect();
        assert_eq!(entries.len(), 2);
        assert_eq!(
            (entries[0].key, entries[0].value),
            (Some(&b"k"[..]), Some(&b"value"[..]))
        );
        assert_eq!(batch.offset_of(&entries[0]), 7);
        assert_eq!((entries[1].key, entries[1].value), (None, None));
        assert_eq!(batch.offset_of(&entries[1]), 8);
        let headers = [("reason", "malformed"), ("", "")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(entries[1].headers(), headers);
        assert_eq!(entries[1].last("reason"), Some(&b"malformed"[..]));
        assert_eq!((entries[1].last("Reason"), entries[0].last("reason")), (None, None));
    }

    #[test]
    fn timestamps_have_milliseconds() {
        let mut batch = RecordBatch::new();
        batch.push(None, None, WallTime(5_999));
        batch.push(None, None, WallTime(-1));
        let batch = batch.at(0, 2, State::Visible, None);
        let stamps: Vec<_> = batch.entries().map(|entry| entry.stamp.0).collect();
        assert_eq!(stamps, [5_000, -1_000]);
    }
}
