//! The keys of a file of pipeline tests.

mod expect;

use super::{Key, Needed, Object, Rule, Shape};
use crate::engine::time::Span;
use crate::pipeline::leaf::Leaf;
use expect::{DEAD, EXPECT, OUTCOMES, POINT, SPAN};

const TEXT: Shape = Shape::Leaf(Leaf::Text);
const MOMENT: Shape = Shape::Leaf(Leaf::Moment);
const TIMES: Shape = Shape::Leaf(Leaf::Integer {
    least: 1,
    most: 1_000_000,
});
const PARTITION: Shape = Shape::Leaf(Leaf::Integer { least: 0, most: 999 });
const YES_OR_NO: Shape = Shape::Leaf(Leaf::Boolean);

/// Every mapping of a file of tests, outermost first.
pub static TEST_OBJECTS: &[&Object] = &[&TEST, &TOPIC, &CASE, &STEP, &EXPECT, &POINT, &OUTCOMES, &DEAD, &SPAN];

/// One file of tests.
pub static TEST: Object = Object {
    name: "test file",
    called: "a file of tests",
    about: "One YAML document: which pipelines are tested, and the cases.",
    keys: &[
        Key {
            name: "pipelines",
            shape: Shape::Either(&[
                Shape::Leaf(Leaf::Help),
                Shape::List {
                    item: &Shape::Leaf(Leaf::Help),
                    most: 100,
                },
            ]),
            needed: Needed::Always,
            about: "The file or files that are tested, as one plan. A relative path starts at the folder of this file.",
            example: "support.yaml",
        },
        Key {
            name: "start",
            shape: MOMENT,
            needed: Needed::Otherwise("`2026-01-01T00:00:00Z`"),
            about: "The time at which each case starts.",
            example: "2026-11-22T14:00:00Z",
        },
        Key {
            name: "topics",
            shape: Shape::Map {
                key: Leaf::Topic,
                value: &Shape::Object(&TOPIC),
                least: 1,
                most: 1_000,
            },
            needed: Needed::Otherwise(""),
            about: "What the cases need to know of input topics, by the names of the topics.",
            example: "{ ingestion.raw.messages: { partitions: 6 } }",
        },
        Key {
            name: "cases",
            shape: Shape::Map {
                key: Leaf::Text,
                value: &Shape::Object(&CASE),
                least: 1,
                most: 10_000,
            },
            needed: Needed::Always,
            about: "The cases by their names, which are sentences. Each starts from nothing.",
            example: "{ a message counts: { given: [ { source: raw } ], expect: { outcomes: { counted: 1 } } } }",
        },
    ],
    rules: &[],
    later: &[],
};

static TOPIC: Object = Object {
    name: "topic",
    called: "a topic",
    about: "",
    keys: &[
        Key {
            name: "partitions",
            shape: Shape::Leaf(Leaf::Integer { least: 1, most: 1_000 }),
            needed: Needed::Otherwise("as many as the case's records name, at least one"),
            about: "How many partitions the topic has.",
            example: "6",
        },
        Key {
            name: "log_append_time",
            shape: YES_OR_NO,
            needed: Needed::Otherwise("false"),
            about: "Whether the broker stamps the records as they arrive (`message.timestamp.type=LogAppendTime`).",
            example: "true",
        },
        Key {
            name: "value",
            shape: Shape::Any,
            needed: Needed::Otherwise("nothing"),
            about: "What all values of the topic have in common. A record's own `value` is laid over it, key by key.",
            example: "{ event_type: raw_message, producer_id: p1 }",
        },
    ],
    rules: &[],
    later: &[],
};

static CASE: Object = Object {
    name: "case",
    called: "a case",
    about: "",
    keys: &[
        Key {
            name: "given",
            shape: Shape::Sequence {
                item: &Shape::Object(&STEP),
                most: 100_000,
            },
            needed: Needed::Always,
            about: "What happens, in this order. Then time passes until every window has closed.",
            example: "[ { source: raw, value: { data: { channel: email } } }, { wait: 30s }, { source: raw, at: 5s } ]",
        },
        Key {
            name: "expect",
            shape: Shape::Object(&EXPECT),
            needed: Needed::Otherwise("required, but for `--update`, which writes it"),
            about: "What comes out.",
            example: "{ outcomes: { counted: 2 } }",
        },
        Key {
            name: "exactly",
            shape: YES_OR_NO,
            needed: Needed::Otherwise("false"),
            about: "Whether there is nothing beside what is expected: no other metric with points, no other outcome, dead letter or late record.",
            example: "true",
        },
        Key {
            name: "start",
            shape: MOMENT,
            needed: Needed::Otherwise("that of the file"),
            about: "The time at which this case starts.",
            example: "2026-11-22T14:00:00Z",
        },
    ],
    rules: &[],
    later: &[],
};

static STEP: Object = Object {
    name: "step",
    called: "a step",
    about: "A record that is written to a topic, or time that passes.",
    keys: &[
        Key {
            name: "wait",
            shape: Shape::Leaf(Leaf::Duration {
                least: Span::millis(1),
                most: Span::seconds(30 * 86_400),
            }),
            needed: Needed::Otherwise(""),
            about: "So much time passes in which nothing is written.",
            example: "30s",
        },
        Key {
            name: "source",
            shape: Shape::Leaf(Leaf::SourceName),
            needed: Needed::Otherwise(""),
            about: "Writes a record to the topic of this source.",
            example: "raw",
        },
        Key {
            name: "topic",
            shape: Shape::Leaf(Leaf::Topic),
            needed: Needed::Otherwise(""),
            about: "Writes a record to this topic.",
            example: "ingestion.raw.messages",
        },
        Key {
            name: "partition",
            shape: PARTITION,
            needed: Needed::Otherwise("0"),
            about: "The partition that gets the record.",
            example: "1",
        },
        Key {
            name: "key",
            shape: TEXT,
            needed: Needed::Otherwise("none"),
            about: "The record's key.",
            example: "m-17",
        },
        Key {
            name: "value",
            shape: Shape::Any,
            needed: Needed::Otherwise("that of the topic"),
            about: "The record's value, written as JSON with sorted keys and no blanks. `null` makes a record without a value.",
            example: "{ data: { channel: email } }",
        },
        Key {
            name: "text",
            shape: TEXT,
            needed: Needed::Otherwise(""),
            about: "The bytes of the value, where they are to be these and no others. Nothing is put into them.",
            example: "'{\"broken'",
        },
        Key {
            name: "headers",
            shape: Shape::Map {
                key: Leaf::HeaderName,
                value: &TEXT,
                least: 0,
                most: 100,
            },
            needed: Needed::Otherwise("none"),
            about: "The record's headers.",
            example: "{ traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 }",
        },
        Key {
            name: "padded",
            shape: Shape::Leaf(Leaf::Size {
                least: 1,
                most: 64 << 20,
            }),
            needed: Needed::Otherwise("as long as it is"),
            about: "Blanks behind the value make it so long.",
            example: "2MiB",
        },
        Key {
            name: "without",
            shape: Shape::List {
                item: &Shape::Leaf(Leaf::Pointer),
                most: 100,
            },
            needed: Needed::Otherwise(""),
            about: "Fields that are taken out of the value in the end.",
            example: "[ /timestamp ]",
        },
        Key {
            name: "at",
            shape: MOMENT,
            needed: Needed::Otherwise("the moment it arrives"),
            about: "The event time. It is put into the value where the source has its `time`, if the value says nothing there; where the event time is the record's timestamp, it is that.",
            example: "5s",
        },
        Key {
            name: "arrives",
            shape: MOMENT,
            needed: Needed::Otherwise("at its event time, or now if that is past"),
            about: "When the record reaches the log. Time passes until then.",
            example: "8s",
        },
        Key {
            name: "created",
            shape: MOMENT,
            needed: Needed::Otherwise("the moment it arrives"),
            about: "The record's own timestamp, by the writer's clock.",
            example: "8s",
        },
        Key {
            name: "times",
            shape: TIMES,
            needed: Needed::Otherwise("1"),
            about: "How often the record is written.",
            example: "3",
        },
    ],
    rules: &[
        Rule::ExactlyOne(&["source", "topic", "wait"]),
        Rule::NotBoth("value", "text", "a record has one value"),
        Rule::NotBoth("without", "text", "nothing is taken out of a text"),
        Rule::NotBoth("value", "wait", "nothing is written while time passes"),
        Rule::NotBoth("text", "wait", "nothing is written while time passes"),
        Rule::NotBoth("key", "wait", "nothing is written while time passes"),
        Rule::NotBoth("headers", "wait", "nothing is written while time passes"),
        Rule::NotBoth("padded", "wait", "nothing is written while time passes"),
        Rule::NotBoth("at", "wait", "nothing is written while time passes"),
        Rule::NotBoth("arrives", "wait", "nothing is written while time passes"),
        Rule::NotBoth("created", "wait", "nothing is written while time passes"),
        Rule::NotBoth("partition", "wait", "nothing is written while time passes"),
        Rule::NotBoth("without", "wait", "nothing is written while time passes"),
        Rule::NotBoth("times", "wait", "nothing is written while time passes"),
    ],
    later: &[],
};
