//! The keys of a metric and of what stands in it.

use super::join::{LATEST, RESPOND};
use super::source::{MAX_SERIES_KEY, WINDOW_KEY};
use super::{Key, Needed, Object, POINTER, Rule, Shape};
use crate::pipeline::leaf::Leaf;

const UNIT: Shape = Shape::Leaf(Leaf::Unit);
const OF_SOURCES: Shape = Shape::Either(&[
    Shape::Leaf(Leaf::SourceOrAll),
    Shape::List {
        item: &Shape::Leaf(Leaf::SourceName),
        most: 1_000,
    },
]);

pub static METRIC: Object = Object {
    name: "metric",
    called: "a metric",
    about: "Exactly one of `count`, `sum`, `observe` and `respond` says what it is.",
    keys: &[
        Key {
            name: "help",
            shape: Shape::Leaf(Leaf::Help),
            needed: Needed::Otherwise(""),
            about: "The description that receivers show.",
            example: "Messages received by channel.",
        },
        Key {
            name: "count",
            shape: OF_SOURCES,
            needed: Needed::Otherwise(""),
            about: "A counter of records: of a source, of several, or with `\"*\"` of each record of every topic of this pipeline once, whatever the sources' conditions. A record that meets two sources of a list counts for both.",
            example: "raw",
        },
        Key {
            name: "sum",
            shape: Shape::Object(&SUM),
            needed: Needed::Otherwise(""),
            about: "A counter that adds up a value of each record.",
            example: "{ of: \"*\", value: { record: bytes } }",
        },
        Key {
            name: "observe",
            shape: Shape::Object(&OBSERVE),
            needed: Needed::Otherwise(""),
            about: "A histogram of a value of each record.",
            example: "{ of: \"*\", value: { record: append_latency } }",
        },
        Key {
            name: "respond",
            shape: Shape::Object(&RESPOND),
            needed: Needed::Otherwise(""),
            about: "What is between a request and its response.",
            example: "{ from: normalized, to: responses, on: /data/correlation_id }",
        },
        Key {
            name: "histogram",
            shape: Shape::Object(&HISTOGRAM),
            needed: Needed::Otherwise("`{ kind: explicit }` for `observe`, `{ kind: exponential }` for `respond`"),
            about: "The buckets of an `observe`, or of the `time` of a `respond`.",
            example: "{ kind: exponential }",
        },
        Key {
            name: "labels",
            shape: Shape::Map {
                key: Leaf::LabelName,
                value: &Shape::Either(&[POINTER, Shape::Object(&LABEL)]),
                least: 0,
                most: 32,
            },
            needed: Needed::Otherwise("no labels"),
            about: "Labels by name. Text that starts with `/` is a field that every record must have; a record without it is malformed.",
            example: "{ channel_type: /data/channel }",
        },
        Key {
            name: "unit",
            shape: UNIT,
            needed: Needed::Otherwise("what the name ends in, else `{record}` for `count`"),
            about: "UCUM, or a remark in braces. The name must end in the unit's word (`s`: `_seconds`), before `_total` in a counter, or else Prometheus would show another name.",
            example: "s",
        },
        WINDOW_KEY,
        MAX_SERIES_KEY,
    ],
    rules: &[
        Rule::ExactlyOne(&["count", "sum", "observe", "respond"]),
        Rule::NotBoth("histogram", "count", "a counter has no buckets"),
        Rule::NotBoth("histogram", "sum", "a counter has no buckets"),
    ],
    later: &[],
};

pub static SUM: Object = Object {
    name: "sum",
    called: "a sum",
    about: "",
    keys: &[
        OF_KEY,
        Key {
            name: "value",
            shape: Shape::Either(&[POINTER, Shape::Object(&SUMMED)]),
            needed: Needed::Always,
            about: "A field with a number, kept to a millionth; missing, negative or no number is malformed.",
            example: "{ record: bytes }",
        },
    ],
    rules: &[],
    later: &[],
};

pub static OBSERVE: Object = Object {
    name: "observe",
    called: "an observation",
    about: "",
    keys: &[
        OF_KEY,
        Key {
            name: "value",
            shape: Shape::Either(&[POINTER, Shape::Object(&OBSERVED)]),
            needed: Needed::Always,
            about: "A field with a number, kept to a millionth; missing, negative or no number is malformed.",
            example: "/data/duration_seconds",
        },
    ],
    rules: &[],
    later: &[],
};

const OF_KEY: Key = Key {
    name: "of",
    shape: OF_SOURCES,
    needed: Needed::Always,
    about: "The records, as with `count`.",
    example: "\"*\"",
};

pub static SUMMED: Object = Object {
    name: "summed value",
    called: "the value of a sum",
    about: "",
    keys: &[
        Key {
            name: "field",
            shape: POINTER,
            needed: Needed::Otherwise(""),
            about: "A field with a number.",
            example: "/data/price",
        },
        Key {
            name: "record",
            shape: Shape::Word(&["bytes"]),
            needed: Needed::Otherwise(""),
            about: "What the record itself has: `bytes`, the size of its value on the wire; the sum is a whole number.",
            example: "bytes",
        },
    ],
    rules: &[Rule::ExactlyOne(&["field", "record"])],
    later: &[],
};

pub static OBSERVED: Object = Object {
    name: "observed value",
    called: "the value of an observation",
    about: "",
    keys: &[
        Key {
            name: "field",
            shape: POINTER,
            needed: Needed::Otherwise(""),
            about: "A field with a number.",
            example: "/data/duration_seconds",
        },
        Key {
            name: "record",
            shape: Shape::Word(&["bytes", "append_latency"]),
            needed: Needed::Otherwise(""),
            about: "What the record itself has: `bytes`, the size of its value on the wire, or `append_latency`, the seconds from its event time to its arrival at the broker. The latter gives points only on topics with `message.timestamp.type=LogAppendTime`.",
            example: "append_latency",
        },
    ],
    rules: &[Rule::ExactlyOne(&["field", "record"])],
    later: &[],
};

pub static HISTOGRAM: Object = Object {
    name: "histogram",
    called: "a histogram",
    about: "",
    keys: &[
        Key {
            name: "kind",
            shape: Shape::Word(&["explicit", "exponential"]),
            needed: Needed::Always,
            about: "`explicit` has fixed buckets (what `histogram_quantile` over `_bucket` reads); `exponential` finds its own and suits values from milliseconds to days.",
            example: "explicit",
        },
        Key {
            name: "buckets",
            shape: Shape::List {
                item: &Shape::Leaf(Leaf::Bound),
                most: 200,
            },
            needed: Needed::Otherwise("0.005 to 10, as in Prometheus' client libraries"),
            about: "Upper bounds, ascending, in the metric's unit.",
            example: "[0.1, 0.5, 1, 5]",
        },
        Key {
            name: "max_buckets",
            shape: Shape::Leaf(Leaf::Integer { least: 8, most: 160 }),
            needed: Needed::Otherwise("160"),
            about: "The resolution: more buckets, finer ones.",
            example: "160",
        },
        Key {
            name: "unit",
            shape: UNIT,
            needed: Needed::Otherwise("the metric's"),
            about: "The metric's `unit`, if it is better told here beside its buckets.",
            example: "s",
        },
    ],
    rules: &[
        Rule::Only {
            key: "buckets",
            with: "kind",
            is: "explicit",
        },
        Rule::Only {
            key: "max_buckets",
            with: "kind",
            is: "exponential",
        },
    ],
    later: &[],
};

/// Keys of labels and attributes alike.
pub(super) const FIELD: Key = Key {
    name: "field",
    shape: POINTER,
    needed: Needed::Otherwise(""),
    about: "A field with text, a number or a boolean.",
    example: "/data/ticket_data/priority",
};
pub(super) const CONST: Key = Key {
    name: "const",
    shape: Shape::Leaf(Leaf::LabelValue),
    needed: Needed::Otherwise(""),
    about: "The same value for every record.",
    example: "unknown",
};
pub(super) const RECORD: Key = Key {
    name: "record",
    shape: Shape::Word(&["topic", "partition"]),
    needed: Needed::Otherwise(""),
    about: "The record's own topic or partition.",
    example: "topic",
};
pub(super) const CEL: Key = Key {
    name: "cel",
    shape: Shape::Leaf(Leaf::Expression),
    needed: Needed::Otherwise(""),
    about: "A computed value, in CEL over the fields of the record's JSON.",
    example: "'data.total > 100 ? \"large\" : \"small\"'",
};
pub(super) const HEADER: Key = Key {
    name: "header",
    shape: Shape::Leaf(Leaf::HeaderName),
    needed: Needed::Otherwise(""),
    about: "The last header of this name, where it is UTF-8.",
    example: "tenant",
};
pub(super) const ELSE: Key = Key {
    name: "else",
    shape: Shape::Leaf(Leaf::LabelValue),
    needed: Needed::Otherwise("the record is malformed; `unknown` for `latest`"),
    about: "The value where the field or header is missing, the field is null, the expression gives null, or nothing is found.",
    example: "unknown",
};

pub static LABEL: Object = Object {
    name: "label",
    called: "a label",
    about: "The long form of a label: exactly one of `field`, `const`, `record`, `cel`, `header`, `from`, `to` and `latest`. A computed value must be text, a number or a boolean.",
    keys: &[
        FIELD,
        CONST,
        RECORD,
        CEL,
        HEADER,
        Key {
            name: "from",
            shape: POINTER,
            needed: Needed::Otherwise(""),
            about: "A field of the request, in a metric with `respond`.",
            example: "/data/normalized_content/channel",
        },
        Key {
            name: "to",
            shape: POINTER,
            needed: Needed::Otherwise(""),
            about: "A field of the response, in a metric with `respond`.",
            example: "/data/response/channel",
        },
        Key {
            name: "latest",
            shape: Shape::Object(&LATEST),
            needed: Needed::Otherwise(""),
            about: "A value that another source brings, by key.",
            example: "{ of: normalized, take: /data/channel, on: /data/customer_id, equals: /data/ticket_data/customer_id }",
        },
        ELSE,
    ],
    rules: &[
        Rule::ExactlyOne(&["field", "const", "record", "cel", "header", "from", "to", "latest"]),
        Rule::NotBoth("else", "const", "a constant is always there"),
        Rule::NotBoth("else", "record", "a record always has it"),
    ],
    later: &[],
};
