//! The lag stage's state as records of its changelog.
//!
//! Rule: one record a partition that a group commits in, one a topic that it consumes, one a group, and one for all of the
//! task. The last names the input offset up to which all of it counts; after a restore it must equal the committed offset,
//! else the stage stops. What brokers say of groups and members is kept as they wrote it.
//!
//! Keys: `p` (the task), `e` + group, topic, partition, `c` + group, topic, `g` + group, `o` + metric + 0 + series key (a
//! counter of the task's own), `r` + the key of a record of the offsets topic. Names are encoded as in a series key.

use prost::Message;

use super::commits::{Commit, Commits};
use super::consumed::{Consumed, Covered, Latency, Tapped, Waiting};
use super::shown::{Shown, States};
use super::table::{Position, Row};
use crate::engine::codec::{self, CodecError, FORMAT, checked};
use crate::engine::gauge::{read_counter, write_counter};
use crate::engine::plan::Kind;
use crate::engine::series::{self, SeriesKey};
use crate::engine::sketch::Partial;
use crate::engine::task::TopicId;
use crate::engine::time::{Span, WallTime};

/// What a changelog key names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    Task,
    Row(&'a str, &'a str, u32),
    Consumed(&'a str, &'a str),
    Group(&'a str),
    Own(&'a str, &'a [u8]),
    Raw(&'a [u8]),
}

impl<'a> Key<'a> {
    pub fn write(&self) -> Vec<u8> {
        let of = |kind: u8, names: SeriesKey| {
            let mut bytes = vec![kind];
            bytes.extend_from_slice(&names.0);
            bytes
        };
        match self {
            Key::Task => vec![b'p'],
            Key::Row(group, topic, partition) => of(b'e', SeriesKey::of([*group, *topic, &partition.to_string()])),
            Key::Consumed(group, topic) => of(b'c', SeriesKey::of([*group, *topic])),
            Key::Group(group) => of(b'g', SeriesKey::of([*group])),
            Key::Own(metric, key) => {
                let mut bytes = Vec::with_capacity(2 + metric.len() + key.len());
                bytes.push(b'o');
                bytes.extend_from_slice(metric.as_bytes());
                bytes.push(0);
                bytes.extend_from_slice(key);
                bytes
            }
            Key::Raw(key) => {
                let mut bytes = Vec::with_capacity(1 + key.len());
                bytes.push(b'r');
                bytes.extend_from_slice(key);
                bytes
            }
        }
    }

    pub fn read(bytes: &'a [u8]) -> Option<Key<'a>> {
        let (kind, rest) = bytes.split_first()?;
        Some(match kind {
            b'p' if rest.is_empty() => Key::Task,
            b'e' => match names(rest)?.as_slice() {
                [group, topic, partition] => Key::Row(group, topic, partition.parse().ok()?),
                _ => return None,
            },
            b'c' => match names(rest)?.as_slice() {
                [group, topic] => Key::Consumed(group, topic),
                _ => return None,
            },
            b'g' => match names(rest)?.as_slice() {
                [group] => Key::Group(group),
                _ => return None,
            },
            b'o' => {
                let end = rest.iter().position(|byte| *byte == 0)?;
                Key::Own(std::str::from_utf8(&rest[..end]).ok()?, &rest[end + 1..])
            }
            b'r' => Key::Raw(rest),
            _ => return None,
        })
    }
}

/// The names in a key, borrowed from it.
fn names(key: &[u8]) -> Option<Vec<&str>> {
    series::values(key).collect()
}

/// Everything about the task that is no row.
#[derive(Clone, PartialEq, Message)]
pub struct TaskRecord {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(sint64, tag = "2")]
    pub next: i64,
    /// Wall time of the newest point; later ones come after it.
    #[prost(sint64, tag = "3")]
    pub last_point: i64,
    /// Commits and records of groups for which there was no room.
    #[prost(uint64, tag = "4")]
    pub overflowed: u64,
    /// Records of a version that is not known.
    #[prost(uint64, tag = "5")]
    pub unknown: u64,
}

#[derive(Clone, PartialEq, Message)]
struct RowRecord {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(sint64, tag = "2")]
    offset: i64,
    #[prost(sint64, tag = "3")]
    at: i64,
    #[prost(bytes = "vec", tag = "4")]
    topic_id: Vec<u8>,
    #[prost(bool, tag = "5")]
    is_new: bool,
    #[prost(uint32, tag = "6")]
    alive: u32,
    #[prost(uint32, tag = "7")]
    states: u32,
    /// The ring, oldest first.
    #[prost(message, repeated, tag = "8")]
    commits: Vec<CommitRecord>,
    /// When the newest commit was made; its entry began before.
    #[prost(sint64, tag = "9")]
    newest: i64,
    /// What waits for the index.
    #[prost(message, repeated, tag = "10")]
    waiting: Vec<CoveredRecord>,
    #[prost(bool, tag = "11")]
    is_anew: bool,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct CoveredRecord {
    #[prost(sint64, tag = "1")]
    from: i64,
    #[prost(sint64, tag = "2")]
    to: i64,
    #[prost(sint64, tag = "3")]
    at: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ConsumedRecord {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(bytes = "vec", tag = "2")]
    records: Vec<u8>,
    /// Empty where the topic is not tapped.
    #[prost(bytes = "vec", tag = "3")]
    bytes: Vec<u8>,
    #[prost(message, optional, tag = "4")]
    latency: Option<LatencyRecord>,
}

#[derive(Clone, PartialEq, Message)]
struct LatencyRecord {
    #[prost(sint64, tag = "1")]
    start: i64,
    #[prost(message, optional, tag = "2")]
    total: Option<codec::Value>,
    #[prost(sint64, optional, tag = "3")]
    last: Option<i64>,
    #[prost(uint64, optional, tag = "4")]
    shown: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct CommitRecord {
    #[prost(sint64, tag = "1")]
    offset: i64,
    #[prost(sint64, tag = "2")]
    at: i64,
    #[prost(sint64, optional, tag = "3")]
    log_end: Option<i64>,
    #[prost(sint64, optional, tag = "4")]
    lag_records: Option<i64>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct GroupRecord {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(uint32, tag = "2")]
    alive: u32,
    #[prost(uint32, tag = "3")]
    states: u32,
}

// === impl TaskRecord ===

impl TaskRecord {
    pub fn new(next: i64) -> Self {
        Self {
            format: FORMAT,
            next,
            ..Self::default()
        }
    }

    pub fn read(bytes: &[u8]) -> Result<Self, CodecError> {
        let record = Self::decode(bytes)?;
        checked(record.format)?;
        Ok(record)
    }
}

pub fn write_row(row: &Row) -> Vec<u8> {
    let known = |id: TopicId| {
        if id == TopicId::default() {
            Vec::new()
        } else {
            id.to_vec()
        }
    };
    RowRecord {
        format: FORMAT,
        offset: row.last.offset,
        at: row.last.at.0,
        topic_id: known(row.last.topic_id),
        is_new: row.last.is_new,
        is_anew: row.is_anew,
        alive: row.shown.alive.into(),
        states: row.states.0.into(),
        commits: row.commits.iter().map(CommitRecord::of).collect(),
        newest: row.commits.last().map_or(0, |newest| newest.at.0),
        waiting: row
            .waiting
            .iter()
            .flat_map(|waiting| &waiting.0)
            .map(CoveredRecord::of)
            .collect(),
    }
    .encode_to_vec()
}

/// `apart` as in [`Commits::new`].
pub fn read_row(bytes: &[u8], apart: Span) -> Result<Row, CodecError> {
    let record = RowRecord::decode(bytes)?;
    checked(record.format)?;
    let last = Position {
        offset: record.offset,
        at: WallTime(record.at),
        topic_id: record.topic_id.as_slice().try_into().unwrap_or_default(),
        is_new: record.is_new,
    };
    let entries = record.commits.iter().map(|commit| Commit {
        offset: commit.offset,
        at: WallTime(commit.at),
        log_end: commit.log_end,
        lag_records: commit.lag_records,
    });
    let commits = Commits::restored(Commits::TEN, apart, entries, WallTime(record.newest));
    let waiting = Waiting(record.waiting.iter().map(CoveredRecord::covered).collect());
    let shown = Shown::restored(low_byte(record.alive));
    let mut row = Row::restored(last, waiting, commits, shown, States(low_byte(record.states)));
    row.is_anew = record.is_anew;
    Ok(row)
}

pub fn write_consumed(consumed: &Consumed) -> Vec<u8> {
    let tapped = consumed.tapped.as_ref();
    ConsumedRecord {
        format: FORMAT,
        records: write_counter(&consumed.records),
        bytes: tapped.map(|tapped| write_counter(&tapped.bytes)).unwrap_or_default(),
        latency: tapped.map(|tapped| &tapped.latency).map(|latency| LatencyRecord {
            start: latency.start.0,
            total: Some(latency.total.to_codec()),
            last: latency.last.map(|time| time.0),
            shown: latency.shown,
        }),
    }
    .encode_to_vec()
}

/// `kind` is that of the histogram.
pub fn read_consumed(bytes: &[u8], kind: &Kind) -> Result<Consumed, CodecError> {
    let record = ConsumedRecord::decode(bytes)?;
    checked(record.format)?;
    let tapped = match &record.latency {
        None => None,
        Some(latency) => {
            let total = latency
                .total
                .as_ref()
                .and_then(|value| Partial::from_codec(value, kind));
            let total = total.ok_or_else(|| CodecError::Corrupt("a histogram of other buckets".to_owned()))?;
            Some(Box::new(Tapped {
                bytes: read_counter(&record.bytes)?,
                latency: Latency {
                    start: WallTime(latency.start),
                    total,
                    last: latency.last.map(WallTime),
                    shown: latency.shown,
                },
            }))
        }
    };
    Ok(Consumed {
        records: read_counter(&record.records)?,
        tapped,
    })
}

pub fn write_group(shown: Shown, states: States) -> Vec<u8> {
    GroupRecord {
        format: FORMAT,
        alive: shown.alive.into(),
        states: states.0.into(),
    }
    .encode_to_vec()
}

pub fn read_group(bytes: &[u8]) -> Result<(Shown, States), CodecError> {
    let record = GroupRecord::decode(bytes)?;
    checked(record.format)?;
    Ok((Shown::restored(low_byte(record.alive)), States(low_byte(record.states))))
}

// === impl CoveredRecord ===

impl CoveredRecord {
    fn of(covered: &Covered) -> Self {
        Self {
            from: covered.from,
            to: covered.to,
            at: covered.at.0,
        }
    }

    fn covered(&self) -> Covered {
        Covered {
            from: self.from,
            to: self.to,
            at: WallTime(self.at),
        }
    }
}

// === impl CommitRecord ===

impl CommitRecord {
    fn of(commit: Commit) -> Self {
        Self {
            offset: commit.offset,
            at: commit.at.0,
            log_end: commit.log_end,
            lag_records: commit.lag_records,
        }
    }
}

fn low_byte(bits: u32) -> u8 {
    (bits & 0xff) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn keys_come_back_as_they_were() {
        for key in [
            Key::Task,
            Key::Row("g\0\"", "t", 7),
            Key::Consumed("", "t"),
            Key::Group("g"),
            Key::Own("m", b"\x00\x01a"),
            Key::Raw(b"\x00\x01"),
        ] {
            assert_eq!(Key::read(&key.write()), Some(key));
        }
        for bytes in [&b""[..], b"px", b"e", b"e\x05a", b"c\x01a", b"z"] {
            assert_eq!(Key::read(bytes), None);
        }
    }

    proptest! {
        #[test]
        fn a_row_comes_back_with_its_ring(
            commits in prop::collection::vec((0..1_000_i64, 0..60_000_i64, any::<bool>()), 0..30),
            alive in any::<u8>(),
            states in any::<u8>(),
        ) {
            let apart = Span::seconds(10);
            let mut ring = Commits::new(Commits::TEN, apart);
            let mut at = 0;
            for (offset, step, known) in commits {
                at += step;
                let log_end = known.then_some(offset + 5);
                ring.push(Commit { offset, at: WallTime(at * 1_000), log_end, lag_records: None });
            }
            let last = Position { offset: 5, at: WallTime(at * 1_000), topic_id: [3; 16], is_new: true };
            let waiting = Waiting(vec![Covered { from: 3, to: 5, at: last.at }]);
            let row = Row::restored(last, waiting, ring, Shown::restored(alive), States(states));
            let back = read_row(&write_row(&row), apart).unwrap();
            prop_assert_eq!((back.last, &back.waiting), (row.last, &row.waiting));
            prop_assert_eq!((back.shown, back.states), (row.shown, row.states));
            prop_assert_eq!(back.commits.last(), row.commits.last());
            let all = |row: &Row| row.commits.iter().collect::<Vec<_>>();
            prop_assert_eq!(all(&back), all(&row));
        }
    }
}
