//! A correlate task's state as records of its changelog.
//!
//! Rule: a key that is open, early or a value has a record of its own, written when it changed. Records that wait, and
//! keys that were answered, are written in chunks, one or a few a seal: all of a chunk is over by its last time, and
//! nothing changes it before, so it is written once and deleted once. The partition's record names the input offset up to
//! which all of it counts; after a restore it must equal the committed offset, else the stage stops.
//!
//! Keys: `p` (the partition), `k` or `t` (a key, the steps of its journey) + join (8 bytes) + key (16 bytes), `w` or `a`
//! (waiting, answered) + join + number (8 bytes). A key's record: format, state, time and count as varints, then what is carried.

use prost::Message;
use std::collections::BTreeMap;

use super::carried::{Carried, CarriedIx};
use super::table::{Known, State};
use super::trail::{Step, Trail};
use crate::engine::codec::{CodecError, FORMAT, KeyedRecords, checked};
use crate::engine::keyed::{KeyHash, KeyedRecord, Packer, push_varint, take_varint, unzigzag, zigzag};
use crate::engine::plan::Side;
use crate::engine::series::DefinitionHash;
use crate::engine::sources::Sources;
use crate::engine::time::{EventTime, Watermark};

/// One changelog record; no value deletes.
pub(super) type Written = (Vec<u8>, Option<Vec<u8>>);

/// What a changelog key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Partition,
    Entry(DefinitionHash, KeyHash),
    Trail(DefinitionHash, KeyHash),
    Chunk(ChunkKind, DefinitionHash, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ChunkKind {
    /// Records that are not decided.
    Waiting,
    /// Keys that were answered; their times are until when they are known.
    Answered,
}

/// Everything about the task that is not a key or a record.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PartitionRecord {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(sint64, tag = "2")]
    pub next: i64,
    #[prost(message, repeated, tag = "3")]
    sources: Vec<SourceRecord>,
    /// All joins ever known, and up to where each was decided.
    #[prost(message, repeated, tag = "4")]
    pub joins: Vec<JoinRecord>,
    /// The number of the next chunk.
    #[prost(uint64, tag = "5")]
    pub sequence: u64,
    /// Records of joins that are no longer in the plan, by edge.
    #[prost(btree_map = "string, uint64", tag = "6")]
    pub retired: BTreeMap<String, u64>,
}

#[derive(Clone, PartialEq, Message)]
struct SourceRecord {
    #[prost(string, tag = "1")]
    topic: String,
    #[prost(uint32, tag = "2")]
    partition: u32,
    #[prost(uint32, tag = "3")]
    epoch: u32,
    #[prost(sint64, optional, tag = "4")]
    watermark: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct JoinRecord {
    #[prost(fixed64, tag = "1")]
    pub definition: u64,
    #[prost(sint64, optional, tag = "2")]
    pub decided: Option<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct ChunkRecord {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(message, repeated, tag = "2")]
    records: Vec<KeyedRecords>,
}

#[derive(Clone, PartialEq, Message)]
struct TrailRecord {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(message, repeated, tag = "2")]
    steps: Vec<StepRecord>,
    #[prost(uint64, tag = "3")]
    left_out: u64,
}

#[derive(Clone, PartialEq, Message)]
struct StepRecord {
    #[prost(sint64, tag = "1")]
    time: i64,
    #[prost(uint32, tag = "2")]
    side: u32,
    #[prost(bytes = "vec", tag = "3")]
    carried: Vec<u8>,
}

/// Keys of one seal on their way into chunks.
#[derive(Debug, Default)]
pub(super) struct Entries {
    full: Vec<(EventTime, KeyedRecords)>,
    packer: Packer,
    carried: BTreeMap<Vec<u8>, u32>,
    carried_bytes: usize,
    last: Option<EventTime>,
}

/// A chunk is cut when it is larger: well under the topic's max.message.bytes.
const CHUNK_BYTES: usize = 1024 * 1024;

/// Entries packed together at most.
const CHUNK_ENTRIES: u32 = 20_000;

// === impl Key ===

impl Key {
    pub(super) fn read(bytes: &[u8]) -> Option<Key> {
        let (kind, rest) = bytes.split_first()?;
        let chunk = |kind| {
            let (definition, number) = rest.split_first_chunk::<8>()?;
            Some(Key::Chunk(
                kind,
                DefinitionHash(u64::from_be_bytes(*definition)),
                u64::from_be_bytes(number.try_into().ok()?),
            ))
        };
        match kind {
            b'p' if rest.is_empty() => Some(Key::Partition),
            b'k' | b't' => {
                let (definition, key) = rest.split_first_chunk::<8>()?;
                let definition = DefinitionHash(u64::from_be_bytes(*definition));
                let key = KeyHash::from_bytes(key.try_into().ok()?);
                Some(match kind {
                    b'k' => Key::Entry(definition, key),
                    _ => Key::Trail(definition, key),
                })
            }
            b'w' => chunk(ChunkKind::Waiting),
            b'a' => chunk(ChunkKind::Answered),
            _ => None,
        }
    }
}

pub(super) fn partition_key() -> Vec<u8> {
    b"p".to_vec()
}

pub(super) fn entry_key(definition: DefinitionHash, key: KeyHash) -> Vec<u8> {
    of_key(b'k', definition, key)
}

pub(super) fn trail_key(definition: DefinitionHash, key: KeyHash) -> Vec<u8> {
    of_key(b't', definition, key)
}

fn of_key(kind: u8, definition: DefinitionHash, key: KeyHash) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(25);
    bytes.push(kind);
    bytes.extend_from_slice(&definition.0.to_be_bytes());
    bytes.extend_from_slice(&key.to_bytes());
    bytes
}

pub(super) fn chunk_key(kind: ChunkKind, definition: DefinitionHash, number: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(17);
    bytes.push(match kind {
        ChunkKind::Waiting => b'w',
        ChunkKind::Answered => b'a',
    });
    bytes.extend_from_slice(&definition.0.to_be_bytes());
    bytes.extend_from_slice(&number.to_be_bytes());
    bytes
}

// === impl PartitionRecord ===

impl PartitionRecord {
    pub(super) fn new(next: i64, sources: &Sources) -> Self {
        let sources = sources.all().map(|(topic, partition, source)| SourceRecord {
            topic: topic.to_owned(),
            partition,
            epoch: source.epoch,
            watermark: source.watermark.map(|watermark| watermark.0.0),
        });
        Self {
            format: FORMAT,
            next,
            sources: sources.collect(),
            ..Self::default()
        }
    }

    pub(super) fn read(bytes: &[u8]) -> Result<Self, CodecError> {
        let record = Self::decode(bytes)?;
        checked(record.format)?;
        Ok(record)
    }

    pub(super) fn fill(&self, sources: &mut Sources) {
        for source in &self.sources {
            let watermark = source.watermark.map(|micros| Watermark(EventTime(micros)));
            sources.hear(&source.topic, source.partition, source.epoch, watermark);
        }
    }
}

pub(super) fn write_entry(known: Known, carried: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(16 + carried.len());
    push_varint(&mut bytes, FORMAT.into());
    push_varint(&mut bytes, known.state as u64);
    push_varint(&mut bytes, zigzag(known.time.0));
    push_varint(&mut bytes, known.count.into());
    bytes.extend_from_slice(carried);
    bytes
}

/// What is known of a key, whose index into what is carried is not known yet, and what is carried.
pub(super) fn read_entry(bytes: &[u8]) -> Result<(Known, &[u8]), CodecError> {
    let mut rest = bytes;
    let short = || CodecError::Corrupt("the record of a key that ends too soon".to_owned());
    let mut number = || take_varint(&mut rest).ok_or_else(short);
    checked(u32::try_from(number()?).unwrap_or(u32::MAX))?;
    let state = u32::try_from(number()?).ok().and_then(State::from_number);
    let known = Known {
        state: state.ok_or_else(|| CodecError::Corrupt("a key in a state that there is not".to_owned()))?,
        time: EventTime(unzigzag(number()?)),
        count: u32::try_from(number()?).unwrap_or(u32::MAX),
        carried: CarriedIx(0),
    };
    Ok((known, rest))
}

pub(super) fn write_trail(trail: &Trail, carried: &Carried) -> Vec<u8> {
    let steps = trail.steps.iter().map(|step| StepRecord {
        time: step.time.0,
        side: step.side.0.into(),
        carried: carried.get(step.carried).to_vec(),
    });
    let record = TrailRecord {
        format: FORMAT,
        steps: steps.collect(),
        left_out: trail.left_out,
    };
    record.encode_to_vec()
}

/// The steps of a journey; what they carry is held.
pub(super) fn read_trail(bytes: &[u8], carried: &mut Carried) -> Result<Trail, CodecError> {
    let record = TrailRecord::decode(bytes)?;
    checked(record.format)?;
    let steps = record.steps.iter().map(|step| Step {
        time: EventTime(step.time),
        side: Side(u16::try_from(step.side).unwrap_or(u16::MAX)),
        carried: carried.hold(&step.carried),
    });
    Ok(Trail {
        steps: steps.collect(),
        left_out: record.left_out,
    })
}

// === impl Entries ===

impl Entries {
    pub(super) fn push(&mut self, key: KeyHash, time: EventTime, carried: &[u8]) {
        if self.carried_bytes + carried.len() > CHUNK_BYTES {
            self.cut();
        }
        let index = match self.carried.get(carried) {
            Some(index) => *index,
            None => {
                let index = self.carried.len() as u32;
                self.carried.insert(carried.to_vec(), index);
                self.carried_bytes += carried.len();
                index
            }
        };
        let record = KeyedRecord {
            key,
            time,
            carried: index,
            amount: 0,
        };
        self.packer.push(record, false);
        self.last = self.last.max(Some(time));
        if self.packer.count() >= CHUNK_ENTRIES {
            self.cut();
        }
    }

    /// Everything, with the last time of each part.
    pub(super) fn finish(mut self) -> Vec<(EventTime, KeyedRecords)> {
        self.cut();
        self.full
    }

    fn cut(&mut self) {
        let Some(last) = self.last.take() else { return };
        self.carried_bytes = 0;
        let mut carried = vec![Vec::new(); self.carried.len()];
        for (bytes, index) in std::mem::take(&mut self.carried) {
            carried[index as usize] = bytes;
        }
        let records = KeyedRecords {
            count: self.packer.count(),
            records: self.packer.take(),
            carried,
            ..KeyedRecords::default()
        };
        self.full.push((last, records));
    }
}

/// Packs records of one kind after another into as few chunks as they fit; gives each with its last time.
pub(super) fn chunks(
    records: impl Iterator<Item = (ChunkKind, EventTime, KeyedRecords)>,
) -> Vec<(ChunkKind, EventTime, Vec<u8>)> {
    let mut cut: Vec<(ChunkKind, EventTime, ChunkRecord)> = Vec::new();
    let mut size = 0;
    for (kind, last, records) in records {
        let more = records.encoded_len();
        match cut.last_mut() {
            Some((of, until, chunk)) if *of == kind && size + more <= CHUNK_BYTES => {
                size += more;
                *until = last.max(*until);
                chunk.records.push(records);
            }
            _ => {
                size = more;
                let chunk = ChunkRecord {
                    format: FORMAT,
                    records: vec![records],
                };
                cut.push((kind, last, chunk));
            }
        }
    }
    cut.into_iter()
        .map(|(kind, last, chunk)| (kind, last, chunk.encode_to_vec()))
        .collect()
}

pub(super) fn read_chunk(bytes: &[u8]) -> Result<Vec<KeyedRecords>, CodecError> {
    let chunk = ChunkRecord::decode(bytes)?;
    checked(chunk.format)?;
    Ok(chunk.records)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::keyed::Packed;

    #[test]
    fn keys_come_back_as_they_were() {
        let (join, key) = (DefinitionHash(7), KeyHash::of(b"c0ffee"));
        assert_eq!(Key::read(&partition_key()), Some(Key::Partition));
        assert_eq!(Key::read(&entry_key(join, key)), Some(Key::Entry(join, key)));
        assert_eq!(Key::read(&trail_key(join, key)), Some(Key::Trail(join, key)));
        for kind in [ChunkKind::Waiting, ChunkKind::Answered] {
            assert_eq!(Key::read(&chunk_key(kind, join, 9)), Some(Key::Chunk(kind, join, 9)));
        }
        for bytes in [&b""[..], b"px", b"k1234567", b"w12345678", b"x"] {
            assert_eq!(Key::read(bytes), None);
        }
    }

    #[test]
    fn an_entry_comes_back_and_a_strange_one_is_refused() {
        let known = Known {
            state: State::Early,
            time: EventTime(-5),
            carried: CarriedIx(0),
            count: 3,
        };
        let bytes = write_entry(known, b"\x05email");
        assert_eq!(read_entry(&bytes), Ok((known, &b"\x05email"[..])));
        assert!(matches!(read_entry(&bytes[..2]), Err(CodecError::Corrupt(_))));
        assert!(matches!(read_entry(&[1, 9, 0, 0]), Err(CodecError::Corrupt(_))));
        assert_eq!(read_entry(&[2, 0, 0, 0]), Err(CodecError::Format(2)));
    }

    #[test]
    fn answered_keys_that_carry_much_are_cut_before_a_record_is_too_large() {
        let mut entries = Entries::default();
        for n in 0..2_000_i64 {
            let mut carried = vec![b'x'; 32 * 1024];
            carried[..8].copy_from_slice(&n.to_le_bytes());
            entries.push(KeyHash::of(&n.to_le_bytes()), EventTime(n), &carried);
        }
        let parts = entries.finish().into_iter();
        let written = chunks(parts.map(|(last, records)| (ChunkKind::Answered, last, records)));
        assert!(written.iter().all(|(_, _, bytes)| bytes.len() < 2 * CHUNK_BYTES));
        let records = written
            .iter()
            .flat_map(|(_, _, bytes)| read_chunk(bytes).expect("we wrote it"));
        assert_eq!(records.map(|records| records.count).sum::<u32>(), 2_000);
    }

    #[test]
    fn many_answered_keys_are_cut_into_parts_and_none_is_lost() {
        let mut entries = Entries::default();
        for n in 0..45_000_i64 {
            entries.push(
                KeyHash::of(&n.to_le_bytes()),
                EventTime(n),
                if n % 2 == 0 { b"a" } else { b"b" },
            );
        }
        let parts = entries.finish().into_iter();
        let written = chunks(parts.map(|(last, records)| (ChunkKind::Answered, last, records)));
        assert!(written.iter().all(|(_, _, bytes)| bytes.len() < 2 * CHUNK_BYTES));
        assert_eq!(written.last().map(|(_, last, _)| *last), Some(EventTime(44_999)));
        let mut times = Vec::new();
        for (_, _, bytes) in &written {
            for records in read_chunk(bytes).expect("we wrote it") {
                for record in Packed::new(&records.records, records.amounts) {
                    let record = record.expect("we packed it");
                    let carried = &records.carried[record.carried as usize];
                    assert_eq!(carried, if record.time.0 % 2 == 0 { b"a" } else { b"b" });
                    times.push(record.time.0);
                }
            }
        }
        assert_eq!(times, (0..45_000).collect::<Vec<_>>());
    }
}
