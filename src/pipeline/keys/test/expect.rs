//! The keys of what a case expects.

use super::{MOMENT, TEXT, TIMES};
use crate::pipeline::keys::{Key, Needed, Object, Rule, Shape};
use crate::pipeline::leaf::Leaf;

const NUMBER: Shape = Shape::Leaf(Leaf::Number);
const COUNT: Shape = Shape::Leaf(Leaf::Integer {
    least: 0,
    most: u32::MAX,
});
const NONE: Shape = Shape::Word(&["none"]);
const OUTCOME: Shape = Shape::Word(&["malformed", "future", "oversize"]);
const LABELS: Shape = Shape::Map {
    key: Leaf::LabelName,
    value: &TEXT,
    least: 0,
    most: 100,
};

pub static EXPECT: Object = Object {
    name: "expectation",
    called: "an expectation",
    about: "Only what is named is compared, unless the case says `exactly: true`. Order means nothing.",
    keys: &[
        Key {
            name: "metrics",
            shape: Shape::Map {
                key: Leaf::ShownMetric,
                value: &Shape::Either(&[
                    NONE,
                    Shape::Sequence {
                        item: &Shape::Object(&POINT),
                        most: 100_000,
                    },
                ]),
                least: 1,
                most: 10_000,
            },
            needed: Needed::Otherwise(""),
            about: "All series of a metric; `none` where it has none.",
            example: "{ messages_total: [ { labels: { channel: email }, value: 2 } ], errors_total: none }",
        },
        Key {
            name: "outcomes",
            shape: Shape::Object(&OUTCOMES),
            needed: Needed::Otherwise(""),
            about: "How many records ended how in the loss ledger, over all topics.",
            example: "{ counted: 2, malformed: 1 }",
        },
        Key {
            name: "dead",
            shape: Shape::Either(&[
                NONE,
                Shape::Sequence {
                    item: &Shape::Object(&DEAD),
                    most: 100_000,
                },
            ]),
            needed: Needed::Otherwise(""),
            about: "All dead letters; `none` where there are none.",
            example: "[ { outcome: malformed, reason: is missing } ]",
        },
        Key {
            name: "late",
            shape: Shape::Map {
                key: Leaf::ShownMetric,
                value: &COUNT,
                least: 1,
                most: 10_000,
            },
            needed: Needed::Otherwise(""),
            about: "How many records came after their window of this metric had closed. They are in its value all the same.",
            example: "{ messages_total: 1 }",
        },
        Key {
            name: "spans",
            shape: Shape::Either(&[
                NONE,
                Shape::Sequence {
                    item: &Shape::Object(&SPAN),
                    most: 100_000,
                },
            ]),
            needed: Needed::Otherwise(""),
            about: "All spans that leave; `none` where none does.",
            example: "[ { name: process-message, start: 1s, end: 4s, attributes: { correlation.id: c-1 } } ]",
        },
    ],
    rules: &[],
    later: &[],
};

pub static POINT: Object = Object {
    name: "point",
    called: "a point",
    about: "What one series shows: a counter its value, a histogram its count, sum and buckets, as far as they are named. Values are cumulative over the case.",
    keys: &[
        Key {
            name: "labels",
            shape: LABELS,
            needed: Needed::Otherwise("`{}`"),
            about: "All labels of the series.",
            example: "{ channel: email }",
        },
        Key {
            name: "time",
            shape: MOMENT,
            needed: Needed::Otherwise("the last point"),
            about: "The point at this time: the end of a window.",
            example: "10s",
        },
        Key {
            name: "value",
            shape: NUMBER,
            needed: Needed::Otherwise(""),
            about: "The value of a counter.",
            example: "2",
        },
        Key {
            name: "count",
            shape: COUNT,
            needed: Needed::Otherwise(""),
            about: "How many values a histogram has.",
            example: "2",
        },
        Key {
            name: "sum",
            shape: NUMBER,
            needed: Needed::Otherwise(""),
            about: "The sum of a histogram's values.",
            example: "0.75",
        },
        Key {
            name: "buckets",
            shape: Shape::Map {
                key: Leaf::Bucket,
                value: &COUNT,
                least: 0,
                most: 1_000,
            },
            needed: Needed::Otherwise(""),
            about: "The buckets of a histogram that are not empty, by their upper bounds; each counts its own values, not those below.",
            example: "{ \"0.25\": 1, \"0.5\": 1 }",
        },
    ],
    rules: &[
        Rule::NotBoth("value", "count", "a counter has a value, a histogram a count"),
        Rule::NotBoth("value", "sum", "a counter has a value, a histogram a sum"),
        Rule::NotBoth("value", "buckets", "a counter has no buckets"),
    ],
    later: &[],
};

pub static OUTCOMES: Object = Object {
    name: "outcomes",
    called: "an outcome",
    about: "",
    keys: &[
        Key {
            name: "counted",
            shape: COUNT,
            needed: Needed::Otherwise(""),
            about: "Records that reached a metric.",
            example: "2",
        },
        Key {
            name: "filtered",
            shape: COUNT,
            needed: Needed::Otherwise(""),
            about: "Records that no source wanted.",
            example: "1",
        },
        Key {
            name: "malformed",
            shape: COUNT,
            needed: Needed::Otherwise(""),
            about: "Records that could not be read, or from which a label, value or time could not be had.",
            example: "1",
        },
        Key {
            name: "future",
            shape: COUNT,
            needed: Needed::Otherwise(""),
            about: "Records with an event time too far ahead.",
            example: "1",
        },
        Key {
            name: "oversize",
            shape: COUNT,
            needed: Needed::Otherwise(""),
            about: "Records with a value that is too large.",
            example: "1",
        },
    ],
    rules: &[],
    later: &[],
};

pub static DEAD: Object = Object {
    name: "dead letter",
    called: "a dead letter",
    about: "",
    keys: &[
        Key {
            name: "outcome",
            shape: OUTCOME,
            needed: Needed::Always,
            about: "Why it is there.",
            example: "malformed",
        },
        Key {
            name: "reason",
            shape: Shape::Leaf(Leaf::Help),
            needed: Needed::Otherwise("any"),
            about: "The reason contains this.",
            example: "is missing",
        },
        Key {
            name: "topic",
            shape: Shape::Leaf(Leaf::Topic),
            needed: Needed::Otherwise("any"),
            about: "The topic of the record.",
            example: "ingestion.raw.messages",
        },
        Key {
            name: "times",
            shape: TIMES,
            needed: Needed::Otherwise("1"),
            about: "How many of these there are.",
            example: "2",
        },
    ],
    rules: &[],
    later: &[],
};

pub static SPAN: Object = Object {
    name: "expected span",
    called: "a span",
    about: "One span, as far as it is named.",
    keys: &[
        Key {
            name: "name",
            shape: Shape::Leaf(Leaf::Help),
            needed: Needed::Always,
            about: "Its name.",
            example: "process-message",
        },
        Key {
            name: "trace",
            shape: Shape::Leaf(Leaf::Help),
            needed: Needed::Otherwise("any"),
            about: "The trace id, 32 hex digits.",
            example: "4bf92f3577b34da6a3ce929d0e0e4736",
        },
        Key {
            name: "parent",
            shape: Shape::Leaf(Leaf::Help),
            needed: Needed::Otherwise("any"),
            about: "The name of its parent in the same trace; `none` where it has none; the 16 hex digits of a parent from elsewhere.",
            example: "process-message",
        },
        Key {
            name: "start",
            shape: MOMENT,
            needed: Needed::Otherwise("any"),
            about: "When it starts.",
            example: "1s",
        },
        Key {
            name: "end",
            shape: MOMENT,
            needed: Needed::Otherwise("any"),
            about: "When it ends.",
            example: "4s",
        },
        Key {
            name: "status",
            shape: Shape::Word(&["ok", "error"]),
            needed: Needed::Otherwise("any"),
            about: "Its status.",
            example: "error",
        },
        Key {
            name: "attributes",
            shape: Shape::Map {
                key: Leaf::AttributeName,
                value: &TEXT,
                least: 0,
                most: 100,
            },
            needed: Needed::Otherwise("any"),
            about: "Attributes that it has; others are not looked at.",
            example: "{ correlation.id: c-1, channel_type: email }",
        },
        Key {
            name: "events",
            shape: Shape::Either(&[
                NONE,
                Shape::Sequence {
                    item: &Shape::Leaf(Leaf::Help),
                    most: 100,
                },
            ]),
            needed: Needed::Otherwise("any"),
            about: "The names of all its events; `none` where it has none.",
            example: "[ unanswered ]",
        },
        Key {
            name: "times",
            shape: TIMES,
            needed: Needed::Otherwise("1"),
            about: "How many of these there are.",
            example: "2",
        },
    ],
    rules: &[],
    later: &[],
};
