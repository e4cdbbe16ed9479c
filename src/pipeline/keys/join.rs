//! The keys of what needs two records to know.

use super::{Key, Needed, Object, POINTER, Shape};
use crate::engine::time::Span;
use crate::pipeline::leaf::Leaf;

const SOURCE_NAME: Shape = Shape::Leaf(Leaf::SourceName);
const BOUND: Shape = Shape::Leaf(Leaf::Duration {
    least: Span::seconds(1),
    most: Span::seconds(30 * 86_400),
});
const SKEW: Shape = Shape::Leaf(Leaf::Duration {
    least: Span::ZERO,
    most: Span::seconds(3_600),
});

pub static RESPOND: Object = Object {
    name: "respond",
    called: "a respond",
    about: "From a request to the first response of the same key, by event time. Metrics whose `respond` differs in nothing but `measure` share one state. The labels of such a metric are constants, or fields of one side: `{ from: /data/channel }`, `{ to: /data/team }`.",
    keys: &[
        Key {
            name: "from",
            shape: SOURCE_NAME,
            needed: Needed::Always,
            about: "The source of the requests.",
            example: "normalized",
        },
        Key {
            name: "to",
            shape: SOURCE_NAME,
            needed: Needed::Always,
            about: "The source of the responses.",
            example: "responses",
        },
        Key {
            name: "on",
            shape: Shape::Either(&[POINTER, Shape::Object(&ON)]),
            needed: Needed::Always,
            about: "The field that both have in common. A record without it, or with more than 1024 bytes in it, has no part in this; it still counts elsewhere.",
            example: "/data/correlation_id",
        },
        Key {
            name: "within",
            shape: BOUND,
            needed: Needed::Otherwise("24h"),
            about: "A request that has no response for longer is unanswered.",
            example: "24h",
        },
        Key {
            name: "forget",
            shape: BOUND,
            needed: Needed::Otherwise("1h"),
            about: "How long an answered key is known, to tell a second response from one without a request.",
            example: "1h",
        },
        Key {
            name: "skew",
            shape: SKEW,
            needed: Needed::Otherwise("1m"),
            about: "How far the clocks of two writers may differ: a request that comes this much after its response, and no more, is counted as `negative`.",
            example: "1m",
        },
        Key {
            name: "measure",
            shape: Shape::Word(&[
                "time",
                "unanswered",
                "second",
                "unmatched",
                "negative",
                "duplicate",
                "open",
                "oldest",
            ]),
            needed: Needed::Otherwise("time"),
            about: "What of it: `time` is a histogram of seconds, exponential if nothing else is said; `open` (requests without a response yet) and `oldest` (the age of the oldest of them, in seconds) are gauges without labels; the others are counters: of requests whose bound passed, of further responses, of responses without a request, of requests after their response, of further requests.",
            example: "unanswered",
        },
    ],
    rules: &[],
    later: &[],
};

pub static ON: Object = Object {
    name: "on",
    called: "a key",
    about: "Where the two sides spell the key differently.",
    keys: &[
        Key {
            name: "from",
            shape: POINTER,
            needed: Needed::Always,
            about: "The field of the request.",
            example: "/data/correlation_id",
        },
        Key {
            name: "to",
            shape: POINTER,
            needed: Needed::Always,
            about: "The field of the response.",
            example: "/data/in_reply_to",
        },
    ],
    rules: &[],
    later: &[],
};

pub static LATEST: Object = Object {
    name: "latest",
    called: "a look-up",
    about: "The newest value of a key at or before the record's event time. A later value never changes an earlier record's label.",
    keys: &[
        Key {
            name: "of",
            shape: SOURCE_NAME,
            needed: Needed::Always,
            about: "The source that brings the values.",
            example: "normalized",
        },
        Key {
            name: "take",
            shape: POINTER,
            needed: Needed::Always,
            about: "The value: a field of that source. A record without it brings none.",
            example: "/data/normalized_content/channel",
        },
        Key {
            name: "on",
            shape: POINTER,
            needed: Needed::Always,
            about: "The key: a field of that source.",
            example: "/data/normalized_content/customer_id",
        },
        Key {
            name: "equals",
            shape: POINTER,
            needed: Needed::Always,
            about: "The same key as this metric's records have it. A record without it, or with more than 1024 bytes in it, is not counted by this metric.",
            example: "/data/ticket_data/customer_id",
        },
        Key {
            name: "within",
            shape: BOUND,
            needed: Needed::Otherwise("24h"),
            about: "An older value is none.",
            example: "24h",
        },
    ],
    rules: &[],
    later: &[],
};
