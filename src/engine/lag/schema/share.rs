//! Share groups (KIP-932). Their positions are in the topic `__share_group_state`, not here.

use super::Type::{Int8, Int32, Int64, List, Struct, Text, Uuid};
use super::consumer::{GROUP, GROUP_MEMBER, TARGET, TOPIC, TOPIC_METADATA};
use super::{Field, Schema};

pub const PARTITION_METADATA: Schema = Schema::flexible("ShareGroupPartitionMetadata", GROUP, &[TOPIC_METADATA]);

pub const MEMBER_METADATA: Schema = Schema::flexible(
    "ShareGroupMemberMetadata",
    GROUP_MEMBER,
    &[
        Field::new("rackId", Text).or_null(),
        Field::new("clientId", Text),
        Field::new("clientHost", Text),
        Field::new("subscribedTopicNames", List(&Text)),
    ],
);

pub const METADATA: Schema = Schema::flexible(
    "ShareGroupMetadata",
    GROUP,
    &[Field::new("epoch", Int32), Field::new("metadataHash", Int64)],
)
.with_preview(&[Field::new("epoch", Int32)]);

pub const TARGET_METADATA: Schema = Schema::flexible("ShareGroupTargetAssignmentMetadata", GROUP, TARGET);

pub const TARGET_MEMBER: Schema = Schema::flexible(
    "ShareGroupTargetAssignmentMember",
    GROUP_MEMBER,
    &[Field::new("topicPartitions", List(&Struct(TOPIC)))],
);

pub const CURRENT: Schema = Schema::flexible(
    "ShareGroupCurrentMemberAssignment",
    GROUP_MEMBER,
    &[
        Field::new("memberEpoch", Int32),
        Field::new("previousMemberEpoch", Int32),
        Field::new("state", Int8),
        Field::new("assignedPartitions", List(&Struct(TOPIC))),
    ],
);

const NAMED: &[Field] = &[
    Field::new("topicId", Uuid),
    Field::new("topicName", Text),
    Field::new("partitions", List(&Int32)),
];

const INITIALIZED: Field = Field::new("initializedTopics", List(&Struct(NAMED)));

const DELETING: Field = Field::new(
    "deletingTopics",
    List(&Struct(&[Field::new("topicId", Uuid), Field::new("topicName", Text)])),
);

pub const STATE_PARTITION_METADATA: Schema = Schema::flexible(
    "ShareGroupStatePartitionMetadata",
    GROUP,
    &[
        Field::new("initializingTopics", List(&Struct(NAMED))),
        INITIALIZED,
        DELETING,
    ],
)
.with_preview(&[INITIALIZED, DELETING]);
