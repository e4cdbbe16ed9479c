//! Offset commits, and groups of the classic protocol.

use super::Type::{Bytes, Int32, Int64, List, Struct, Text, Time, Uuid};
use super::{Field, Schema};

const COMMIT_KEY: &[Field] = &[
    Field::new("group", Text),
    Field::new("topic", Text),
    Field::new("partition", Int32),
];

const COMMIT: &[Field] = &[
    Field::new("offset", Int64),
    Field::new("leaderEpoch", Int32).since(3),
    Field::new("metadata", Text),
    Field::new("commitTimestamp", Time),
    Field::new("expireTimestamp", Time).since(1).until(1),
    Field::new("topicId", Uuid).since(4).tagged(0),
];

pub const OFFSET_COMMIT: Schema = Schema {
    name: "OffsetCommit",
    key: COMMIT_KEY,
    value: COMMIT,
    newest: 4,
    flexible: 4,
    preview: None,
};

/// Its values had versions of their own when it was written; all of them are read.
pub const LEGACY_OFFSET_COMMIT: Schema = Schema {
    name: "LegacyOffsetCommit",
    ..OFFSET_COMMIT
};

const MEMBER: Field = Field::new(
    "members",
    List(&Struct(&[
        Field::new("memberId", Text),
        Field::new("groupInstanceId", Text).since(3).or_null(),
        Field::new("clientId", Text),
        Field::new("clientHost", Text),
        Field::new("rebalanceTimeout", Int32).since(1),
        Field::new("sessionTimeout", Int32),
        Field::new("subscription", Bytes),
        Field::new("assignment", Bytes),
    ])),
);

pub const GROUP_METADATA: Schema = Schema {
    name: "GroupMetadata",
    key: &[Field::new("group", Text)],
    value: &[
        Field::new("protocolType", Text),
        Field::new("generation", Int32),
        Field::new("protocol", Text).or_null(),
        Field::new("leader", Text).or_null(),
        Field::new("currentStateTimestamp", Time).since(2),
        MEMBER,
    ],
    newest: 4,
    flexible: 4,
    preview: None,
};
