//! The keys of lag.

use super::{Key, Needed, Object, Shape};
use crate::engine::time::Span;
use crate::pipeline::leaf::Leaf;

const PATTERN: Shape = Shape::Leaf(Leaf::Pattern);
const PATTERNS: Shape = Shape::Either(&[
    PATTERN,
    Shape::List {
        item: &PATTERN,
        most: 1_000,
    },
]);
const EVERY: Shape = Shape::Leaf(Leaf::Duration {
    least: Span::seconds(1),
    most: Span::seconds(300),
});
const HORIZON: Shape = Shape::Leaf(Leaf::Duration {
    least: Span::seconds(60),
    most: Span::seconds(7 * 86_400),
});
const MAX_SERIES: Shape = Shape::Leaf(Leaf::Integer {
    least: 1,
    most: 10_000_000,
});

pub static LAG: Object = Object {
    name: "lag",
    called: "lag",
    about: "Lag and status of consumer groups, and what they consumed, from the brokers' own topic of offsets. At most one pipeline of a process has it; its metrics belong to that pipeline.",
    keys: &[
        Key {
            name: "from",
            shape: Shape::Word(&["auto", "offsets", "admin"]),
            needed: Needed::Otherwise("auto"),
            about: "Where it is read what groups have committed: `offsets`, the topic `__consumer_offsets`; `admin`, the Admin API, which one instance asks every `every`; `auto`, the topic where the login may read it, and else the Admin API.",
            example: "auto",
        },
        Key {
            name: "groups",
            shape: PATTERNS,
            needed: Needed::Otherwise("all groups"),
            about: "Whose lag: names, with `*` for any characters and `?` for one. A pattern that begins with `!` excludes what it matches.",
            example: "[\"orders-*\", \"!orders-test\"]",
        },
        Key {
            name: "topics",
            shape: PATTERNS,
            needed: Needed::Otherwise("all topics"),
            about: "In which topics, by patterns of the same kind.",
            example: "\"*\"",
        },
        Key {
            name: "every",
            shape: EVERY,
            needed: Needed::Otherwise("10s"),
            about: "Between two questions for log ends. A series that moves has a point as often; one that does not has one a minute.",
            example: "10s",
        },
        Key {
            name: "status",
            shape: Shape::Word(&["corrected", "burrow"]),
            needed: Needed::Otherwise("corrected"),
            about: "By which rules a group's status is found: Burrow's as they are, or without their known flaws.",
            example: "corrected",
        },
        Key {
            name: "max_series",
            shape: MAX_SERIES,
            needed: Needed::Otherwise("100000"),
            about: "Partitions that groups commit in, for each partition of the offsets topic. Commits beyond it are counted, and passed over.",
            example: "100000",
        },
        Key {
            name: "horizon",
            shape: HORIZON,
            needed: Needed::Otherwise("24h"),
            about: "How far back it is known when records were appended: the retention of the offset index of tapped topics, and how old samples of log ends become.",
            example: "24h",
        },
    ],
    rules: &[],
    later: &[],
};
