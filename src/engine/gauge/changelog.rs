//! The gauge's state as records of its changelog.
//!
//! Rule: one record a series, one for the partition. The partition's record names the input offset up to which all of the
//! state counts; after a restore it must equal the committed offset, else the stage stops.
//!
//! Keys: `p` (the partition), `s` + definition (8 bytes, big endian) + series key, `c` + metric name + 0 + series key (a
//! counter that its sender keeps), `l` + definition + series key (a level).

use std::collections::BTreeMap;

use prost::Message;

use super::definitions::Definition;
use super::samples::Counter;
use super::series::Series;
use crate::engine::codec::{self, CodecError, FORMAT, checked};
use crate::engine::plan::{Kind, Merge};
use crate::engine::series::DefinitionHash;
use crate::engine::sketch::Partial;
use crate::engine::sources::Sources;
use crate::engine::time::{EventTime, WallTime, Watermark};
use crate::engine::window::WindowEnd;

pub const PARTITION_KEY: &[u8] = b"p";

/// What a changelog key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    Partition,
    Series(DefinitionHash, &'a [u8]),
    Counter(&'a str, &'a [u8]),
    Level(DefinitionHash, &'a [u8]),
}

impl<'a> Key<'a> {
    pub fn write(self) -> Vec<u8> {
        match self {
            Key::Partition => PARTITION_KEY.to_vec(),
            Key::Series(definition, key) => of_definition(b's', definition, key),
            Key::Level(definition, key) => of_definition(b'l', definition, key),
            Key::Counter(metric, key) => {
                let mut bytes = Vec::with_capacity(2 + metric.len() + key.len());
                bytes.push(b'c');
                bytes.extend_from_slice(metric.as_bytes());
                bytes.push(0);
                bytes.extend_from_slice(key);
                bytes
            }
        }
    }

    pub fn read(bytes: &'a [u8]) -> Option<Key<'a>> {
        let (kind, rest) = bytes.split_first()?;
        match kind {
            b'p' if rest.is_empty() => Some(Key::Partition),
            b's' | b'l' => {
                let (definition, key) = rest.split_first_chunk::<8>()?;
                let definition = DefinitionHash(u64::from_be_bytes(*definition));
                Some(match kind {
                    b's' => Key::Series(definition, key),
                    _ => Key::Level(definition, key),
                })
            }
            b'c' => {
                let end = rest.iter().position(|byte| *byte == 0)?;
                Some(Key::Counter(std::str::from_utf8(&rest[..end]).ok()?, &rest[end + 1..]))
            }
            _ => None,
        }
    }
}

fn of_definition(kind: u8, definition: DefinitionHash, key: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(9 + key.len());
    bytes.push(kind);
    bytes.extend_from_slice(&definition.0.to_be_bytes());
    bytes.extend_from_slice(key);
    bytes
}

#[derive(Clone, PartialEq, Message)]
pub struct PartitionRecord {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(sint64, tag = "2")]
    pub next: i64,
    #[prost(message, repeated, tag = "3")]
    sources: Vec<SourceRecord>,
    #[prost(message, repeated, tag = "4")]
    definitions: Vec<DefinitionRecord>,
    /// Late records by metric.
    #[prost(btree_map = "string, uint64", tag = "5")]
    pub late: BTreeMap<String, u64>,
    #[prost(btree_map = "string, uint64", tag = "6")]
    pub retired: BTreeMap<String, u64>,
    /// Points of ended definitions reach up to here, by metric.
    #[prost(btree_map = "string, sint64", tag = "7")]
    pub floors: BTreeMap<String, i64>,
    /// Records that went into an overflow series, by metric.
    #[prost(btree_map = "string, uint64", tag = "8")]
    pub overflowed: BTreeMap<String, u64>,
    /// The watermark up to which windows have been shown, by metric.
    #[prost(btree_map = "string, sint64", tag = "9")]
    pub shown: BTreeMap<String, i64>,
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
struct DefinitionRecord {
    #[prost(fixed64, tag = "1")]
    hash: u64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    pipeline: String,
    #[prost(string, tag = "4")]
    help: String,
    #[prost(string, tag = "5")]
    unit: String,
    #[prost(string, repeated, tag = "6")]
    labels: Vec<String>,
    /// 0 count, 1 sum, 2 explicit, 3 exponential, 4 level by sum, 5 level by maximum.
    #[prost(uint32, tag = "7")]
    kind: u32,
    #[prost(sint64, repeated, tag = "8")]
    bounds: Vec<i64>,
    #[prost(uint32, tag = "9")]
    max_buckets: u32,
}

#[derive(Clone, PartialEq, Message)]
struct SeriesRecord {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(sint64, optional, tag = "2")]
    start: Option<i64>,
    #[prost(sint64, optional, tag = "3")]
    last: Option<i64>,
    #[prost(message, optional, tag = "4")]
    total: Option<codec::Value>,
    #[prost(bool, tag = "5")]
    unshown: bool,
    #[prost(message, repeated, tag = "6")]
    open: Vec<OpenWindow>,
}

#[derive(Clone, PartialEq, Message)]
struct OpenWindow {
    #[prost(sint64, tag = "1")]
    end: i64,
    #[prost(message, optional, tag = "2")]
    value: Option<codec::Value>,
}

#[derive(Clone, PartialEq, Message)]
struct CounterRecord {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(sint64, tag = "2")]
    start: i64,
    #[prost(sint64, tag = "3")]
    value: i64,
    #[prost(sint64, optional, tag = "4")]
    last: Option<i64>,
    #[prost(sint64, optional, tag = "5")]
    shown: Option<i64>,
}

/// Everything about the partition that is not a series.
pub fn partition_record<'a>(
    next: i64,
    sources: &Sources,
    definitions: impl Iterator<Item = (DefinitionHash, &'a Definition)>,
) -> PartitionRecord {
    PartitionRecord {
        format: FORMAT,
        next,
        sources: sources
            .all()
            .map(|(topic, partition, source)| SourceRecord {
                topic: topic.to_owned(),
                partition,
                epoch: source.epoch,
                watermark: source.watermark.map(|watermark| watermark.0.0),
            })
            .collect(),
        definitions: definitions
            .map(|(hash, definition)| DefinitionRecord::of(hash, definition))
            .collect(),
        ..PartitionRecord::default()
    }
}

impl PartitionRecord {
    pub fn read(bytes: &[u8]) -> Result<Self, CodecError> {
        let record = Self::decode(bytes)?;
        checked(record.format)?;
        Ok(record)
    }

    pub fn fill(&self, sources: &mut Sources) {
        for source in &self.sources {
            let watermark = source.watermark.map(|micros| Watermark(EventTime(micros)));
            sources.hear(&source.topic, source.partition, source.epoch, watermark);
        }
    }

    pub fn definitions(&self) -> impl Iterator<Item = (DefinitionHash, Definition)> {
        self.definitions
            .iter()
            .filter_map(|record| Some((DefinitionHash(record.hash), record.definition()?)))
    }
}

impl DefinitionRecord {
    fn of(hash: DefinitionHash, definition: &Definition) -> Self {
        let (kind, bounds, max_buckets) = match &definition.kind {
            Kind::Count => (0, Vec::new(), 0),
            Kind::Sum => (1, Vec::new(), 0),
            Kind::Explicit { bounds } => (2, bounds.clone(), 0),
            Kind::Exponential { max_buckets } => (3, Vec::new(), u32::from(*max_buckets)),
            Kind::Level(Merge::Sum) => (4, Vec::new(), 0),
            Kind::Level(Merge::Max) => (5, Vec::new(), 0),
        };
        Self {
            hash: hash.0,
            name: definition.name.clone(),
            pipeline: definition.pipeline.clone(),
            help: definition.help.clone(),
            unit: definition.unit.clone(),
            labels: definition.labels.clone(),
            kind,
            bounds,
            max_buckets,
        }
    }

    fn definition(&self) -> Option<Definition> {
        let kind = match self.kind {
            0 => Kind::Count,
            1 => Kind::Sum,
            2 => Kind::Explicit {
                bounds: self.bounds.clone(),
            },
            3 => Kind::Exponential {
                max_buckets: u16::try_from(self.max_buckets).ok()?,
            },
            4 => Kind::Level(Merge::Sum),
            5 => Kind::Level(Merge::Max),
            _ => return None,
        };
        Some(Definition {
            name: self.name.clone(),
            pipeline: self.pipeline.clone(),
            help: self.help.clone(),
            unit: self.unit.clone(),
            kind,
            labels: self.labels.clone(),
        })
    }
}

pub fn write_series(series: &Series) -> Vec<u8> {
    let record = SeriesRecord {
        format: FORMAT,
        start: series.start.map(|time| time.0),
        last: series.last.map(|time| time.0),
        total: Some(series.total.to_codec()),
        unshown: series.unshown,
        open: series
            .open
            .iter()
            .map(|(end, partial)| OpenWindow {
                end: end.0.0,
                value: Some(partial.to_codec()),
            })
            .collect(),
    };
    record.encode_to_vec()
}

pub fn read_series(bytes: &[u8], kind: &Kind) -> Result<Series, CodecError> {
    let record = SeriesRecord::decode(bytes)?;
    checked(record.format)?;
    let partial = |value: Option<&codec::Value>| {
        value
            .and_then(|value| Partial::from_codec(value, kind))
            .ok_or_else(|| CodecError::Corrupt("a series whose value does not fit its metric".to_owned()))
    };
    let mut series = Series::new(Partial::empty(kind));
    series.total = partial(record.total.as_ref())?;
    series.start = record.start.map(EventTime);
    series.last = record.last.map(EventTime);
    series.unshown = record.unshown;
    for window in &record.open {
        series.add(WindowEnd(EventTime(window.end)), partial(window.value.as_ref())?);
    }
    Ok(series)
}

pub fn write_counter(counter: &Counter) -> Vec<u8> {
    let record = CounterRecord {
        format: FORMAT,
        start: counter.start.0,
        value: counter.value,
        last: counter.last.map(|time| time.0),
        shown: counter.shown,
    };
    record.encode_to_vec()
}

pub fn read_counter(bytes: &[u8]) -> Result<Counter, CodecError> {
    let record = CounterRecord::decode(bytes)?;
    checked(record.format)?;
    Ok(Counter {
        start: WallTime(record.start),
        value: record.value,
        last: record.last.map(WallTime),
        shown: record.shown,
        unsaved: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back_as_they_were() {
        for key in [
            Key::Partition,
            Key::Series(DefinitionHash(7), b"\x01a"),
            Key::Counter("m", b"\x00\x01a"),
            Key::Level(DefinitionHash(7), b""),
        ] {
            assert_eq!(Key::read(&key.write()), Some(key));
        }
        assert_eq!(Key::read(b""), None);
        assert_eq!(Key::read(b"s123"), None);
        assert_eq!(Key::read(b"px"), None);
    }

    #[test]
    fn a_series_comes_back_with_its_open_windows() {
        let mut series = Series::new(Partial::Count(0));
        series.total = Partial::Count(5);
        series.start = Some(EventTime(-3));
        series.last = Some(EventTime(9));
        series.unshown = true;
        series.add(WindowEnd(EventTime(20)), Partial::Count(2));
        assert_eq!(read_series(&write_series(&series), &Kind::Count), Ok(series.clone()));
        assert!(matches!(
            read_series(&write_series(&series), &Kind::Sum),
            Err(CodecError::Corrupt(_))
        ));
    }
}
