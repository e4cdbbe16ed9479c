//! The keys of traces.

use super::metric::{CEL, CONST, ELSE, FIELD, HEADER, RECORD};
use super::{Key, Needed, Object, POINTER, Rule, Shape};
use crate::engine::time::Span;
use crate::pipeline::leaf::Leaf;

const VALUE: Shape = Shape::Either(&[POINTER, Shape::Object(&ATTRIBUTE)]);
const ATTRIBUTES: Shape = Shape::Map {
    key: Leaf::AttributeName,
    value: &VALUE,
    least: 0,
    most: 32,
};
const SLOW: Shape = Shape::Leaf(Leaf::Duration {
    least: Span::ZERO,
    most: Span::seconds(30 * 86_400),
});

pub static TRACE: Object = Object {
    name: "trace",
    called: "a trace",
    about: "Each conversation of a `respond` as a trace: a root span from the request to the first response, or to the bound, and a child for each record on the way.",
    keys: &[
        Key {
            name: "of",
            shape: Shape::Leaf(Leaf::MetricName),
            needed: Needed::Always,
            about: "A metric of this pipeline with `respond`: its conversations are meant. Metrics that share its state have the same ones, and they are traced once.",
            example: "response_time_seconds",
        },
        Key {
            name: "name",
            shape: Shape::Leaf(Leaf::Help),
            needed: Needed::Otherwise("process-message"),
            about: "The name of the root.",
            example: "process-message",
        },
        Key {
            name: "spans",
            shape: Shape::List {
                item: &Shape::Object(&SPAN),
                most: 100,
            },
            needed: Needed::Otherwise("request and response"),
            about: "Sources whose records carry the key on the way; of one conversation the first 100 records are taken. Requests and responses always have a span and stand here only to name it.",
            example: "[{ source: tickets, key: /data/correlation_id }]",
        },
        Key {
            name: "attributes",
            shape: ATTRIBUTES,
            needed: Needed::Otherwise("those below"),
            about: "Attributes of the root, from the request, beside the ones that every span has or in place of them. A record that lacks one has a span without it.",
            example: "{ customer.tier: /data/customer/tier }",
        },
        Key {
            name: "failed",
            shape: VALUE,
            needed: Needed::Otherwise("no response has failed"),
            about: "What the response has only where it failed: the reason, as text that is not empty.",
            example: "/data/error",
        },
        Key {
            name: "traceparent",
            shape: VALUE,
            needed: Needed::Otherwise("{ header: traceparent }"),
            about: "Where the request has its writer's W3C trace context. It gives the trace id and the root's parent; a request without a right one gets an id that is made of its key and time.",
            example: "/data/traceparent",
        },
        Key {
            name: "sampling",
            shape: Shape::Leaf(Leaf::Share),
            needed: Needed::Otherwise("1"),
            about: "The share of conversations that leaves, by the last 56 bits of the trace id as in W3C and OpenTelemetry: samplers elsewhere choose the same ones. Those that failed or were not answered leave all.",
            example: "0.1",
        },
        Key {
            name: "slow",
            shape: SLOW,
            needed: Needed::Otherwise(""),
            about: "Conversations that took longer leave all, too.",
            example: "30s",
        },
    ],
    rules: &[],
    later: &[],
};

pub static SPAN: Object = Object {
    name: "span",
    called: "a span",
    about: "What the records of one source become.",
    keys: &[
        Key {
            name: "source",
            shape: Shape::Leaf(Leaf::SourceName),
            needed: Needed::Always,
            about: "The source, each at most once.",
            example: "tickets",
        },
        Key {
            name: "key",
            shape: POINTER,
            needed: Needed::Otherwise("the `on` of the respond"),
            about: "The field that has the key. A record without it is in no trace, and counts elsewhere.",
            example: "/data/correlation_id",
        },
        Key {
            name: "name",
            shape: Shape::Leaf(Leaf::Help),
            needed: Needed::Otherwise("`process` and the topic"),
            about: "The name of the span.",
            example: "create ticket",
        },
        Key {
            name: "attributes",
            shape: ATTRIBUTES,
            needed: Needed::Otherwise("those below"),
            about: "As at the trace, from this record.",
            example: "{ ticket.priority: /data/ticket_data/priority }",
        },
    ],
    rules: &[],
    later: &[],
};

pub static ATTRIBUTE: Object = Object {
    name: "attribute",
    called: "an attribute",
    about: "The long form of an attribute: exactly one of `field`, `const`, `record`, `cel` and `header`.",
    keys: &[
        FIELD,
        CONST,
        RECORD,
        CEL,
        HEADER,
        Key {
            needed: Needed::Otherwise("there is no attribute"),
            ..ELSE
        },
    ],
    rules: &[
        Rule::ExactlyOne(&["field", "const", "record", "cel", "header"]),
        Rule::NotBoth("else", "const", "a constant is always there"),
        Rule::NotBoth("else", "record", "a record always has it"),
    ],
    later: &[],
};
