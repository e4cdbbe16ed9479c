//! A record of `__consumer_offsets`, as far as lag needs it.
//!
//! Rule: a commit is read whole and borrows from the record's bytes. Of other records the key is read, and the version of
//! the value; who wants its fields reads them by [`ClassicGroup`] or [`Tree`].
//!
//! Edges:
//! - a record without a value is a tombstone: of a commit that expired or was deleted, of a group or member that is gone;
//! - a tombstone of [`Kind::GroupMetadata`] is not always the end of its group: one is written when a classic group is
//!   turned into one of the consumer protocol;
//! - a leader epoch of -1, an expiry of -1 and a topic id of zeros mean that there is none.

use super::schema::{Kind, Schema};
use super::tree::Tree;
use super::wire::{Malformed, Reader};
use crate::engine::task::TopicId;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record<'a> {
    Commit {
        of: CommitKey<'a>,
        /// `None`: the offset is gone.
        commit: Option<Commit<'a>>,
    },
    Group {
        kind: Kind,
        group: &'a str,
        /// The member, or the regular expression; `None` where the record is about the whole group.
        of: Option<&'a str>,
        /// With its version, which is known. `None`: it is gone.
        value: Option<&'a [u8]>,
    },
    Unknown(Unknown),
}

/// What a newer broker wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unknown {
    Key { version: i16 },
    Value { kind: Kind, version: i16 },
}

/// Whose offset it is, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitKey<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    pub partition: i32,
}

/// A committed offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit<'a> {
    /// The next offset to read.
    pub offset: i64,
    /// Of the last record that was read. Since Kafka 2.1.
    pub leader_epoch: Option<i32>,
    /// Whatever the client wrote; at most 4096 bytes unless the broker is set otherwise.
    pub metadata: &'a str,
    /// The broker's clock, milliseconds since the epoch.
    pub committed_at: i64,
    /// Milliseconds since the epoch. Only by clients that set a retention of their own, until Kafka 2.0.
    pub expires_at: Option<i64>,
    /// Since Kafka 4.1.
    pub topic_id: Option<TopicId>,
}

/// A group of the classic protocol after its last rebalance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicGroup<'a> {
    /// `consumer` for consumers, `connect` for Connect; empty for groups that only commit.
    pub protocol_type: &'a str,
    pub generation: i32,
    /// The assignor that was chosen; `None` while the group has no members.
    pub protocol: Option<&'a str>,
    pub leader: Option<&'a str>,
    /// When the group came into its state, milliseconds since the epoch. Since Kafka 2.1.
    pub changed_at: Option<i64>,
    pub members: Vec<ClassicMember<'a>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClassicMember<'a> {
    pub id: &'a str,
    pub instance: Option<&'a str>,
    pub client: &'a str,
    pub host: &'a str,
    /// Milliseconds. Since Kafka 0.10.1.
    pub rebalance_timeout: Option<i32>,
    /// Milliseconds.
    pub session_timeout: i32,
    /// By [`super::protocol`], for consumers.
    pub subscription: &'a [u8],
    pub assignment: &'a [u8],
}

// === impl Record ===

impl<'a> Record<'a> {
    pub fn read(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Result<Self, Malformed> {
        let mut key = Reader::new(key.ok_or(Malformed::NoKey)?);
        let version = key.int16()?;
        let Some(kind) = Kind::of(version) else {
            return Ok(Self::Unknown(Unknown::Key { version }));
        };
        if matches!(kind, Kind::OffsetCommit | Kind::LegacyOffsetCommit) {
            return commit(kind, key, value);
        }
        let group = key.text(false)?;
        let of = match kind.schema().key {
            [_] => None,
            _ => Some(key.text(false)?),
        };
        key.end()?;
        if let Some(value) = value {
            let version = Reader::new(value).int16()?;
            if !kind.schema().knows(version) {
                return Ok(Self::Unknown(Unknown::Value { kind, version }));
            }
        }
        Ok(Self::Group { kind, group, of, value })
    }
}

fn commit<'a>(kind: Kind, mut key: Reader<'a>, value: Option<&'a [u8]>) -> Result<Record<'a>, Malformed> {
    let of = CommitKey {
        group: key.text(false)?,
        topic: key.text(false)?,
        partition: key.int32()?,
    };
    key.end()?;
    let Some(value) = value else {
        return Ok(Record::Commit { of, commit: None });
    };
    let mut value = Reader::new(value);
    let version = value.int16()?;
    if !kind.schema().knows(version) {
        return Ok(Record::Unknown(Unknown::Value { kind, version }));
    }
    let commit = Some(Commit::read(version, value)?);
    Ok(Record::Commit { of, commit })
}

// === impl Commit ===

impl<'a> Commit<'a> {
    /// The fields of a known version, behind it.
    fn read(version: i16, mut value: Reader<'a>) -> Result<Self, Malformed> {
        let flexible = version >= 4;
        let offset = value.int64()?;
        let leader_epoch = if version >= 3 { value.int32()? } else { -1 };
        let metadata = value.text(flexible)?;
        let committed_at = value.int64()?;
        let expires_at = if version == 1 { value.int64()? } else { -1 };
        let mut topic_id = [0; 16];
        if flexible {
            value.tags(|tag, mut field| {
                if tag == 0 {
                    topic_id = field.uuid()?;
                }
                Ok(())
            })?;
        }
        value.end()?;
        Ok(Self {
            offset,
            leader_epoch: (leader_epoch >= 0).then_some(leader_epoch),
            metadata,
            committed_at,
            expires_at: (expires_at >= 0).then_some(expires_at),
            topic_id: (topic_id != [0; 16]).then_some(topic_id),
        })
    }
}

// === impl ClassicGroup ===

impl<'a> ClassicGroup<'a> {
    /// Reads the value of a [`Kind::GroupMetadata`], with its version.
    pub fn read(value: &'a [u8]) -> Result<Self, Malformed> {
        let mut value = Reader::new(value);
        let version = value.int16()?;
        let flexible = Kind::GroupMetadata.schema().is_flexible(version);
        let protocol_type = value.text(flexible)?;
        let generation = value.int32()?;
        let protocol = value.text_or_null(flexible)?;
        let leader = value.text_or_null(flexible)?;
        let changed_at = if version >= 2 { value.int64()? } else { -1 };
        let mut members = Vec::new();
        for _ in 0..value.count(flexible)? {
            members.push(ClassicMember::read(version, flexible, &mut value)?);
        }
        if flexible {
            value.tags(|_, _| Ok(()))?;
        }
        value.end()?;
        Ok(Self {
            protocol_type,
            generation,
            protocol,
            leader,
            changed_at: (changed_at >= 0).then_some(changed_at),
            members,
        })
    }
}

impl<'a> ClassicMember<'a> {
    fn read(version: i16, flexible: bool, value: &mut Reader<'a>) -> Result<Self, Malformed> {
        let member = Self {
            id: value.text(flexible)?,
            instance: if version >= 3 {
                value.text_or_null(flexible)?
            } else {
                None
            },
            client: value.text(flexible)?,
            host: value.text(flexible)?,
            rebalance_timeout: if version >= 1 { Some(value.int32()?) } else { None },
            session_timeout: value.int32()?,
            subscription: value.bytes(flexible)?,
            assignment: value.bytes(flexible)?,
        };
        if flexible {
            value.tags(|_, _| Ok(()))?;
        }
        Ok(member)
    }
}

/// All fields of a value of a known version, with its version.
pub fn fields<'a>(schema: &Schema, value: &'a [u8]) -> Result<Tree<'a>, Malformed> {
    let mut value = Reader::new(value);
    let version = value.int16()?;
    Tree::of_value(schema, version, value)
}
