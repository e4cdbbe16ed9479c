//! What consumers of the classic protocol tell each other through the broker: subscriptions and assignments.
//!
//! Rule: for the broker these are bytes; for groups whose protocol type is `consumer` they begin with a version and are
//! laid out as in `ConsumerProtocolSubscription` and `ConsumerProtocolAssignment` of Kafka's clients, versions 0 to 3.
//!
//! Edges:
//! - a newer version is read as the newest known one, and what follows is left alone: that is the protocol's own rule;
//! - clients in other languages write their own user data into it, and some nothing at all: `None` where it is neither.

use super::schema::{Field, Type};
use super::tree::Tree;
use super::wire::Reader;

/// The protocol type of groups of consumers.
pub const CONSUMER: &str = "consumer";

const NEWEST: i16 = 3;

const PARTITIONS: Type = Type::List(&Type::Struct(&[
    Field::new("topic", Type::Text),
    Field::new("partitions", Type::List(&Type::Int32)),
]));

const SUBSCRIPTION: &[Field] = &[
    Field::new("topics", Type::List(&Type::Text)),
    Field::new("userData", Type::Bytes).or_null(),
    Field::new("ownedPartitions", PARTITIONS).since(1),
    Field::new("generationId", Type::Int32).since(2),
    Field::new("rackId", Type::Text).or_null().since(3),
];

const ASSIGNMENT: &[Field] = &[
    Field::new("assignedPartitions", PARTITIONS),
    Field::new("userData", Type::Bytes).or_null(),
];

pub fn subscription(bytes: &[u8]) -> Option<Tree<'_>> {
    read(SUBSCRIPTION, bytes)
}

pub fn assignment(bytes: &[u8]) -> Option<Tree<'_>> {
    read(ASSIGNMENT, bytes)
}

fn read<'a>(fields: &'static [Field], bytes: &'a [u8]) -> Option<Tree<'a>> {
    let mut reader = Reader::new(bytes);
    let version = reader.int16().ok().filter(|version| *version >= 0)?;
    Tree::of_rigid(fields, version.min(NEWEST), reader).ok()
}
