//! An alert task's state as records of its changelog.
//!
//! Rule: a series, an alert and a group each have a record of their own, written when they changed and deleted when they
//! are gone. The partition's record names the input offset up to which all of it counts.
//!
//! Keys: `p` (the partition), `r` (a rule), `s`, `a`, `o`, `g` (a series, an alert, one that is over and of which that was
//! not told, a group) + rule (8 bytes) + key.

use prost::Message;

use super::group::Group;
use super::rule::Active;
use super::series::Series;
use crate::engine::codec::{CodecError, FORMAT, checked};
use crate::engine::series::DefinitionHash;
use crate::engine::time::{EventTime, WallTime};

/// What a changelog key names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key<'a> {
    Partition,
    Rule(DefinitionHash),
    Of(Kind, DefinitionHash, &'a [u8]),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Series,
    Alert,
    Over,
    Group,
}

#[derive(Clone, PartialEq, Message)]
pub struct PartitionRecord {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(sint64, tag = "2")]
    pub next: i64,
    /// Wall time up to which what was said is heard.
    #[prost(sint64, tag = "3")]
    pub heard: i64,
}

#[derive(Clone, PartialEq, Message)]
struct RuleRecord {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(sint64, optional, tag = "2")]
    heard: Option<i64>,
    #[prost(uint64, tag = "3")]
    left_out: u64,
}

#[derive(Clone, PartialEq, Message)]
struct SeriesRecord {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(sint64, repeated, tag = "2")]
    times: Vec<i64>,
    #[prost(double, repeated, tag = "3")]
    values: Vec<f64>,
    #[prost(double, tag = "4")]
    before: f64,
}

#[derive(Clone, PartialEq, Message)]
struct AlertRecord {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(sint64, tag = "2")]
    since: i64,
    #[prost(sint64, optional, tag = "3")]
    fired: Option<i64>,
    #[prost(sint64, tag = "4")]
    seen: i64,
    #[prost(double, tag = "5")]
    value: f64,
    /// Of one that is over: when.
    #[prost(sint64, tag = "7")]
    over: i64,
}

#[derive(Clone, PartialEq, Message)]
struct GroupRecord {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(sint64, tag = "2")]
    since: i64,
    #[prost(uint64, tag = "3")]
    told: u64,
    #[prost(sint64, tag = "4")]
    last: i64,
    #[prost(sint64, optional, tag = "5")]
    changed: Option<i64>,
    #[prost(bool, tag = "6")]
    has_new: bool,
}

// === impl Key ===

impl<'a> Key<'a> {
    pub fn write(self) -> Vec<u8> {
        let (first, rule, rest) = match self {
            Self::Partition => return vec![b'p'],
            Self::Rule(rule) => (b'r', rule, &[][..]),
            Self::Of(Kind::Series, rule, rest) => (b's', rule, rest),
            Self::Of(Kind::Alert, rule, rest) => (b'a', rule, rest),
            Self::Of(Kind::Over, rule, rest) => (b'o', rule, rest),
            Self::Of(Kind::Group, rule, rest) => (b'g', rule, rest),
        };
        let mut key = vec![first];
        key.extend(rule.0.to_be_bytes());
        key.extend(rest);
        key
    }

    pub fn read(key: &'a [u8]) -> Option<Self> {
        let (first, rest) = key.split_first()?;
        if *first == b'p' {
            return rest.is_empty().then_some(Self::Partition);
        }
        let (rule, rest) = rest.split_first_chunk::<8>()?;
        let rule = DefinitionHash(u64::from_be_bytes(*rule));
        match first {
            b'r' => rest.is_empty().then_some(Self::Rule(rule)),
            b's' => Some(Self::Of(Kind::Series, rule, rest)),
            b'a' => Some(Self::Of(Kind::Alert, rule, rest)),
            b'o' => Some(Self::Of(Kind::Over, rule, rest)),
            b'g' => Some(Self::Of(Kind::Group, rule, rest)),
            _ => None,
        }
    }

    pub fn rule(self) -> Option<DefinitionHash> {
        match self {
            Self::Partition => None,
            Self::Rule(rule) | Self::Of(_, rule, _) => Some(rule),
        }
    }
}

// === impl PartitionRecord ===

impl PartitionRecord {
    pub fn new(next: i64, heard: WallTime) -> Self {
        Self {
            format: FORMAT,
            next,
            heard: heard.0,
        }
    }

    pub fn read(bytes: &[u8]) -> Result<Self, CodecError> {
        let record = Self::decode(bytes)?;
        checked(record.format)?;
        Ok(record)
    }
}

pub fn write_rule(heard: Option<EventTime>, left_out: u64) -> Vec<u8> {
    let record = RuleRecord {
        format: FORMAT,
        heard: heard.map(|at| at.0),
        left_out,
    };
    record.encode_to_vec()
}

/// When something was heard, and how many series were left out.
pub fn read_rule(bytes: &[u8]) -> Result<(Option<EventTime>, u64), CodecError> {
    let record = RuleRecord::decode(bytes)?;
    checked(record.format)?;
    Ok((record.heard.map(EventTime), record.left_out))
}

pub fn write_series(series: &Series) -> Vec<u8> {
    let record = SeriesRecord {
        format: FORMAT,
        times: series.samples.iter().map(|(time, _)| time.0).collect(),
        values: series.samples.iter().map(|(_, value)| *value).collect(),
        before: series.before,
    };
    record.encode_to_vec()
}

pub fn read_series(bytes: &[u8]) -> Result<Series, CodecError> {
    let record = SeriesRecord::decode(bytes)?;
    checked(record.format)?;
    if record.times.len() != record.values.len() || !record.times.is_sorted() {
        return Err(CodecError::Corrupt("samples of a series that are none".to_owned()));
    }
    Ok(Series {
        samples: record.times.into_iter().map(EventTime).zip(record.values).collect(),
        before: record.before,
    })
}

pub fn write_alert(active: &Active) -> Vec<u8> {
    alert_record(active).encode_to_vec()
}

fn alert_record(active: &Active) -> AlertRecord {
    AlertRecord {
        format: FORMAT,
        since: active.since.0,
        fired: active.fired.map(|at| at.0),
        seen: active.seen.0,
        value: active.value,
        ..AlertRecord::default()
    }
}

pub fn read_alert(bytes: &[u8]) -> Result<Active, CodecError> {
    let record = AlertRecord::decode(bytes)?;
    checked(record.format)?;
    Ok(active(&record))
}

fn active(record: &AlertRecord) -> Active {
    Active {
        since: EventTime(record.since),
        fired: record.fired.map(EventTime),
        seen: EventTime(record.seen),
        value: record.value,
    }
}

pub fn write_over((active, at): &(Active, EventTime)) -> Vec<u8> {
    let record = AlertRecord {
        over: at.0,
        ..alert_record(active)
    };
    record.encode_to_vec()
}

/// An alert, and when it was over.
pub fn read_over(bytes: &[u8]) -> Result<(Active, EventTime), CodecError> {
    let record = AlertRecord::decode(bytes)?;
    checked(record.format)?;
    Ok((active(&record), EventTime(record.over)))
}

pub fn write_group(group: &Group) -> Vec<u8> {
    let record = GroupRecord {
        format: FORMAT,
        since: group.since.0,
        told: group.told,
        last: group.last.0,
        changed: group.changed.map(|at| at.0),
        has_new: group.has_new,
    };
    record.encode_to_vec()
}

pub fn read_group(bytes: &[u8]) -> Result<Group, CodecError> {
    let record = GroupRecord::decode(bytes)?;
    checked(record.format)?;
    Ok(Group {
        since: EventTime(record.since),
        told: record.told,
        last: WallTime(record.last),
        changed: record.changed.map(WallTime),
        has_new: record.has_new,
    })
}
