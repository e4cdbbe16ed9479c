//! How the broker lays out the records of `__consumer_offsets`, as tables.
//!
//! Rule: the first two bytes of a key say its [`Kind`]; those of a value its version. A kind has one layout of the key,
//! never flexible, and one of the value, whose fields come and go with the version. Names are Kafka's, so that they are
//! those of the broker's own tools. The source is `group-coordinator/src/main/resources/common/message` of Kafka 3.7 to
//! 4.3, and for offset commits and classic groups, which never changed but by version, of all since 0.9.
//!
//! Edges:
//! - 18 (`StreamsGroupPartitionMetadata`) is in no release, and unknown here;
//! - previews were laid out otherwise under the same version: new consumer groups in 3.7, share groups in 4.0. The layouts
//!   are told apart by which of them reads a value to its end.

mod classic;
mod consumer;
mod share;
mod streams;

/// What a record is about: the version of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
pub enum Kind {
    /// As [`Kind::OffsetCommit`]; by the first brokers that kept offsets in a topic.
    LegacyOffsetCommit = 0,
    OffsetCommit = 1,
    /// A group of the classic protocol.
    GroupMetadata = 2,
    ConsumerGroupMetadata = 3,
    /// Until Kafka 4.0.
    ConsumerGroupPartitionMetadata = 4,
    ConsumerGroupMemberMetadata = 5,
    ConsumerGroupTargetAssignmentMetadata = 6,
    ConsumerGroupTargetAssignmentMember = 7,
    ConsumerGroupCurrentMemberAssignment = 8,
    /// Kafka 4.0 only.
    ShareGroupPartitionMetadata = 9,
    ShareGroupMemberMetadata = 10,
    ShareGroupMetadata = 11,
    ShareGroupTargetAssignmentMetadata = 12,
    ShareGroupTargetAssignmentMember = 13,
    ShareGroupCurrentMemberAssignment = 14,
    ShareGroupStatePartitionMetadata = 15,
    ConsumerGroupRegularExpression = 16,
    StreamsGroupMetadata = 17,
    StreamsGroupMemberMetadata = 19,
    StreamsGroupTargetAssignmentMetadata = 20,
    StreamsGroupTargetAssignmentMember = 21,
    StreamsGroupCurrentMemberAssignment = 22,
    StreamsGroupTopology = 23,
}

/// The layouts of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Schema {
    pub name: &'static str,
    pub key: &'static [Field],
    pub value: &'static [Field],
    /// The newest version of the value; all from zero on exist.
    pub newest: i16,
    /// The first flexible version of the value.
    pub flexible: i16,
    /// How a preview laid out the same version.
    pub preview: Option<&'static [Field]>,
}

/// One field of a struct.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub name: &'static str,
    pub of: Type,
    /// The first version that has it.
    pub since: i16,
    /// The last version that has it.
    pub until: i16,
    pub nullable: bool,
    /// Its number, where it stands among the tagged fields at the struct's end.
    pub tag: Option<u32>,
}

/// What a field holds.
#[derive(Clone, Copy, Debug)]
pub enum Type {
    Int8,
    Int16,
    Uint16,
    Int32,
    Int64,
    /// Milliseconds since the epoch; an int64.
    Time,
    Text,
    Bytes,
    Uuid,
    Struct(&'static [Field]),
    List(&'static Type),
}

// === impl Kind ===

impl Kind {
    pub const ALL: [Self; 23] = [
        Self::LegacyOffsetCommit,
        Self::OffsetCommit,
        Self::GroupMetadata,
        Self::ConsumerGroupMetadata,
        Self::ConsumerGroupPartitionMetadata,
        Self::ConsumerGroupMemberMetadata,
        Self::ConsumerGroupTargetAssignmentMetadata,
        Self::ConsumerGroupTargetAssignmentMember,
        Self::ConsumerGroupCurrentMemberAssignment,
        Self::ShareGroupPartitionMetadata,
        Self::ShareGroupMemberMetadata,
        Self::ShareGroupMetadata,
        Self::ShareGroupTargetAssignmentMetadata,
        Self::ShareGroupTargetAssignmentMember,
        Self::ShareGroupCurrentMemberAssignment,
        Self::ShareGroupStatePartitionMetadata,
        Self::ConsumerGroupRegularExpression,
        Self::StreamsGroupMetadata,
        Self::StreamsGroupMemberMetadata,
        Self::StreamsGroupTargetAssignmentMetadata,
        Self::StreamsGroupTargetAssignmentMember,
        Self::StreamsGroupCurrentMemberAssignment,
        Self::StreamsGroupTopology,
    ];

    /// The kind that a key of this version is.
    pub fn of(version: i16) -> Option<Self> {
        // Nearly every record is a commit.
        if version == Self::OffsetCommit as i16 {
            return Some(Self::OffsetCommit);
        }
        Self::ALL.into_iter().find(|kind| kind.version() == version)
    }

    /// The version of its keys.
    pub fn version(self) -> i16 {
        self as i16
    }

    pub fn name(self) -> &'static str {
        self.schema().name
    }

    pub fn schema(self) -> &'static Schema {
        match self {
            Self::LegacyOffsetCommit => &classic::LEGACY_OFFSET_COMMIT,
            Self::OffsetCommit => &classic::OFFSET_COMMIT,
            Self::GroupMetadata => &classic::GROUP_METADATA,
            Self::ConsumerGroupMetadata => &consumer::METADATA,
            Self::ConsumerGroupPartitionMetadata => &consumer::PARTITION_METADATA,
            Self::ConsumerGroupMemberMetadata => &consumer::MEMBER_METADATA,
            Self::ConsumerGroupTargetAssignmentMetadata => &consumer::TARGET_METADATA,
            Self::ConsumerGroupTargetAssignmentMember => &consumer::TARGET_MEMBER,
            Self::ConsumerGroupCurrentMemberAssignment => &consumer::CURRENT,
            Self::ShareGroupPartitionMetadata => &share::PARTITION_METADATA,
            Self::ShareGroupMemberMetadata => &share::MEMBER_METADATA,
            Self::ShareGroupMetadata => &share::METADATA,
            Self::ShareGroupTargetAssignmentMetadata => &share::TARGET_METADATA,
            Self::ShareGroupTargetAssignmentMember => &share::TARGET_MEMBER,
            Self::ShareGroupCurrentMemberAssignment => &share::CURRENT,
            Self::ShareGroupStatePartitionMetadata => &share::STATE_PARTITION_METADATA,
            Self::ConsumerGroupRegularExpression => &consumer::REGULAR_EXPRESSION,
            Self::StreamsGroupMetadata => &streams::METADATA,
            Self::StreamsGroupMemberMetadata => &streams::MEMBER_METADATA,
            Self::StreamsGroupTargetAssignmentMetadata => &streams::TARGET_METADATA,
            Self::StreamsGroupTargetAssignmentMember => &streams::TARGET_MEMBER,
            Self::StreamsGroupCurrentMemberAssignment => &streams::CURRENT,
            Self::StreamsGroupTopology => &streams::TOPOLOGY,
        }
    }
}

// === impl Schema ===

impl Schema {
    /// What is flexible in every version, of which there is one.
    const fn flexible(name: &'static str, key: &'static [Field], value: &'static [Field]) -> Self {
        Self {
            name,
            key,
            value,
            newest: 0,
            flexible: 0,
            preview: None,
        }
    }

    const fn with_preview(self, preview: &'static [Field]) -> Self {
        Self {
            preview: Some(preview),
            ..self
        }
    }

    /// Whether a value of this version can be read.
    pub fn knows(&self, version: i16) -> bool {
        (0..=self.newest).contains(&version)
    }

    /// Whether a value of this version is flexible.
    pub fn is_flexible(&self, version: i16) -> bool {
        version >= self.flexible
    }
}

// === impl Field ===

impl Field {
    pub(super) const fn new(name: &'static str, of: Type) -> Self {
        Self {
            name,
            of,
            since: 0,
            until: i16::MAX,
            nullable: false,
            tag: None,
        }
    }

    pub(super) const fn or_null(self) -> Self {
        Self { nullable: true, ..self }
    }

    const fn tagged(self, tag: u32) -> Self {
        Self { tag: Some(tag), ..self }
    }

    pub(super) const fn since(self, version: i16) -> Self {
        Self { since: version, ..self }
    }

    const fn until(self, version: i16) -> Self {
        Self { until: version, ..self }
    }

    pub fn is_in(&self, version: i16) -> bool {
        (self.since..=self.until).contains(&version)
    }
}
