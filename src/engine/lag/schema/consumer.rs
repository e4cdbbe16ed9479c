//! Groups of the consumer protocol of KIP-848.

use super::Type::{Bytes, Int8, Int16, Int32, Int64, List, Struct, Text, Time, Uuid};
use super::{Field, Schema};

pub(super) const GROUP: &[Field] = &[Field::new("groupId", Text)];
pub(super) const GROUP_MEMBER: &[Field] = &[Field::new("groupId", Text), Field::new("memberId", Text)];

/// Partitions of one topic.
pub(super) const TOPIC: &[Field] = &[Field::new("topicId", Uuid), Field::new("partitions", List(&Int32))];

/// As a member owns them.
const OWNED: &[Field] = &[
    Field::new("topicId", Uuid),
    Field::new("partitions", List(&Int32)),
    Field::new("assignmentEpochs", List(&Int32)).or_null().tagged(0),
];

/// What the group last knew of a topic, and of its racks.
pub(super) const TOPIC_METADATA: Field = Field::new(
    "topics",
    List(&Struct(&[
        Field::new("topicId", Uuid),
        Field::new("topicName", Text),
        Field::new("numPartitions", Int32),
        Field::new(
            "partitionMetadata",
            List(&Struct(&[
                Field::new("partition", Int32),
                Field::new("racks", List(&Text)),
            ])),
        ),
    ])),
);

pub(super) const TARGET: &[Field] = &[
    Field::new("assignmentEpoch", Int32),
    Field::new("assignmentTimestamp", Time).tagged(0),
];

pub const METADATA: Schema = Schema::flexible(
    "ConsumerGroupMetadata",
    GROUP,
    &[Field::new("epoch", Int32), Field::new("metadataHash", Int64).tagged(0)],
);

pub const PARTITION_METADATA: Schema = Schema::flexible("ConsumerGroupPartitionMetadata", GROUP, &[TOPIC_METADATA])
    .with_preview(&[Field::new("epoch", Int32), TOPIC_METADATA]);

/// A member that speaks the classic protocol in a group that does not.
const CLASSIC_MEMBER: &[Field] = &[
    Field::new("sessionTimeoutMs", Int32),
    Field::new(
        "supportedProtocols",
        List(&Struct(&[Field::new("name", Text), Field::new("metadata", Bytes)])),
    ),
];

const ASSIGNORS: Field = Field::new(
    "assignors",
    List(&Struct(&[
        Field::new("name", Text),
        Field::new("minimumVersion", Int16),
        Field::new("maximumVersion", Int16),
        Field::new("reason", Int8),
        Field::new("version", Int16),
        Field::new("metadata", Bytes),
    ])),
);

/// A member as it described itself, with what only one of the layouts ends with.
macro_rules! member {
    ($last:expr) => {
        &[
            Field::new("instanceId", Text).or_null(),
            Field::new("rackId", Text).or_null(),
            Field::new("clientId", Text),
            Field::new("clientHost", Text),
            Field::new("subscribedTopicNames", List(&Text)),
            Field::new("subscribedTopicRegex", Text).or_null(),
            Field::new("rebalanceTimeoutMs", Int32),
            Field::new("serverAssignor", Text).or_null(),
            $last,
        ]
    };
}

pub const MEMBER_METADATA: Schema = Schema::flexible(
    "ConsumerGroupMemberMetadata",
    GROUP_MEMBER,
    member!(
        Field::new("classicMemberMetadata", Struct(CLASSIC_MEMBER))
            .or_null()
            .tagged(0)
    ),
)
.with_preview(member!(ASSIGNORS));

pub const TARGET_METADATA: Schema = Schema::flexible("ConsumerGroupTargetAssignmentMetadata", GROUP, TARGET);

pub const TARGET_MEMBER: Schema = Schema::flexible(
    "ConsumerGroupTargetAssignmentMember",
    GROUP_MEMBER,
    &[Field::new("topicPartitions", List(&Struct(TOPIC)))],
)
.with_preview(&[
    Field::new("error", Int8),
    Field::new("topicPartitions", List(&Struct(TOPIC))),
    Field::new("metadataVersion", Int16),
    Field::new("metadataBytes", Bytes),
]);

pub const CURRENT: Schema = Schema::flexible(
    "ConsumerGroupCurrentMemberAssignment",
    GROUP_MEMBER,
    &[
        Field::new("memberEpoch", Int32),
        Field::new("previousMemberEpoch", Int32),
        Field::new("state", Int8),
        Field::new("assignedPartitions", List(&Struct(OWNED))),
        Field::new("partitionsPendingRevocation", List(&Struct(OWNED))),
    ],
)
.with_preview(&[
    Field::new("memberEpoch", Int32),
    Field::new("previousMemberEpoch", Int32),
    Field::new("targetMemberEpoch", Int32),
    Field::new("assignedPartitions", List(&Struct(TOPIC))),
    Field::new("partitionsPendingRevocation", List(&Struct(TOPIC))),
    Field::new("partitionsPendingAssignment", List(&Struct(TOPIC))),
    Field::new("error", Int8),
    Field::new("metadataVersion", Int16),
    Field::new("metadataBytes", Bytes),
]);

pub const REGULAR_EXPRESSION: Schema = Schema::flexible(
    "ConsumerGroupRegularExpression",
    &[Field::new("groupId", Text), Field::new("regularExpression", Text)],
    &[
        Field::new("topics", List(&Text)),
        Field::new("version", Int64),
        Field::new("timestamp", Time),
    ],
);
