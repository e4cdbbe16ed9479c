//! Groups of the streams protocol (KIP-1071).

use super::Type::{Int8, Int16, Int32, Int64, List, Struct, Text, Uint16};
use super::consumer::{GROUP, GROUP_MEMBER, TARGET};
use super::{Field, Schema, Type};

const PAIR: &[Field] = &[Field::new("key", Text), Field::new("value", Text)];

pub const METADATA: Schema = Schema::flexible(
    "StreamsGroupMetadata",
    GROUP,
    &[
        Field::new("epoch", Int32),
        Field::new("metadataHash", Int64),
        Field::new("validatedTopologyEpoch", Int32).tagged(0),
        Field::new("lastAssignmentConfigs", List(&Struct(PAIR)))
            .or_null()
            .tagged(1),
    ],
);

pub const MEMBER_METADATA: Schema = Schema::flexible(
    "StreamsGroupMemberMetadata",
    GROUP_MEMBER,
    &[
        Field::new("instanceId", Text).or_null(),
        Field::new("rackId", Text).or_null(),
        Field::new("clientId", Text),
        Field::new("clientHost", Text),
        Field::new("rebalanceTimeoutMs", Int32),
        Field::new("topologyEpoch", Int32),
        Field::new("processId", Text),
        Field::new(
            "userEndpoint",
            Struct(&[Field::new("host", Text), Field::new("port", Uint16)]),
        )
        .or_null(),
        Field::new("clientTags", List(&Struct(PAIR))),
    ],
);

pub const TARGET_METADATA: Schema = Schema::flexible("StreamsGroupTargetAssignmentMetadata", GROUP, TARGET);

/// Tasks of one subtopology, as they are planned.
const TASKS: Type = List(&Struct(&[
    Field::new("subtopologyId", Text),
    Field::new("partitions", List(&Int32)),
]));

pub const TARGET_MEMBER: Schema = Schema::flexible(
    "StreamsGroupTargetAssignmentMember",
    GROUP_MEMBER,
    &[
        Field::new("activeTasks", TASKS),
        Field::new("standbyTasks", TASKS),
        Field::new("warmupTasks", TASKS),
    ],
);

/// As a member owns them.
const OWNED: Type = List(&Struct(&[
    Field::new("subtopologyId", Text),
    Field::new("partitions", List(&Int32)),
    Field::new("assignmentEpochs", List(&Int32)).or_null().tagged(0),
]));

pub const CURRENT: Schema = Schema::flexible(
    "StreamsGroupCurrentMemberAssignment",
    GROUP_MEMBER,
    &[
        Field::new("memberEpoch", Int32),
        Field::new("previousMemberEpoch", Int32),
        Field::new("state", Int8),
        Field::new("activeTasks", OWNED),
        Field::new("standbyTasks", OWNED),
        Field::new("warmupTasks", OWNED),
        Field::new("activeTasksPendingRevocation", OWNED),
        Field::new("standbyTasksPendingRevocation", OWNED),
        Field::new("warmupTasksPendingRevocation", OWNED),
    ],
);

/// A topic that the application makes for itself.
const TOPICS: Type = List(&Struct(&[
    Field::new("name", Text),
    Field::new("partitions", Int32),
    Field::new("replicationFactor", Int16),
    Field::new("topicConfigs", List(&Struct(PAIR))),
]));

/// Indices into the lists of the subtopology.
const COPARTITIONED: Type = List(&Struct(&[
    Field::new("sourceTopics", List(&Int16)),
    Field::new("sourceTopicRegex", List(&Int16)),
    Field::new("repartitionSourceTopics", List(&Int16)),
]));

pub const TOPOLOGY: Schema = Schema::flexible(
    "StreamsGroupTopology",
    GROUP,
    &[
        Field::new("epoch", Int32),
        Field::new(
            "subtopologies",
            List(&Struct(&[
                Field::new("subtopologyId", Text),
                Field::new("sourceTopics", List(&Text)),
                Field::new("sourceTopicRegex", List(&Text)),
                Field::new("stateChangelogTopics", TOPICS),
                Field::new("repartitionSinkTopics", List(&Text)),
                Field::new("repartitionSourceTopics", TOPICS),
                Field::new("copartitionGroups", COPARTITIONED),
            ])),
        ),
    ],
);
