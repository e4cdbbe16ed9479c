//! The keys of a pipeline, of its defaults and of its sources.

use super::{ALERT, Key, LAG, METRIC, Needed, Object, POINTER, RECEIVER, Shape, TRACE};
use crate::engine::time::Span;
use crate::pipeline::leaf::Leaf;

const HOUR: Span = Span::seconds(3_600);
const DAY: Span = Span::seconds(86_400);
const DURATION_TO_AN_HOUR: Shape = Shape::Leaf(Leaf::Duration {
    least: Span::ZERO,
    most: HOUR,
});
const SOME_TIME_TO_AN_HOUR: Shape = Shape::Leaf(Leaf::Duration {
    least: Span::millis(100),
    most: HOUR,
});
const TO_A_DAY: Shape = Shape::Leaf(Leaf::Duration {
    least: Span::seconds(1),
    most: DAY,
});
const START: Shape = Shape::Leaf(Leaf::Start);
const WINDOW: Shape = Shape::Leaf(Leaf::Duration {
    least: Span::millis(100),
    most: HOUR,
});
const MAX_SERIES: Shape = Shape::Leaf(Leaf::Integer {
    least: 1,
    most: 1_000_000,
});
const MAX_RECORD: Shape = Shape::Leaf(Leaf::Size {
    least: 1 << 10,
    most: 64 << 20,
});

/// One YAML document.
pub static PIPELINE: Object = Object {
    name: "pipeline",
    called: "a pipeline",
    about: "One YAML document is one pipeline. A file may hold several, separated by `---`, and a process may run several files.",
    keys: &[
        Key {
            name: "pipeline",
            shape: Shape::Leaf(Leaf::PipelineName),
            needed: Needed::Always,
            about: "Its name, unique among the pipelines of a process. It is part of every series' identity.",
            example: "support",
        },
        Key {
            name: "defaults",
            shape: Shape::Object(&DEFAULTS),
            needed: Needed::Otherwise(""),
            about: "What holds where a source or a metric says nothing else.",
            example: "{ window: 10s }",
        },
        Key {
            name: "sources",
            shape: Shape::Map {
                key: Leaf::SourceName,
                value: &Shape::Object(&SOURCE),
                least: 1,
                most: 1_000,
            },
            needed: Needed::Unless("lag"),
            about: "The topics that are read, by the names that the metrics use. Several sources may read one topic.",
            example: "{ raw: { topic: ingestion.raw.messages } }",
        },
        Key {
            name: "metrics",
            shape: Shape::Map {
                key: Leaf::MetricName,
                value: &Shape::Object(&METRIC),
                least: 1,
                most: 1_000,
            },
            needed: Needed::Unless("lag"),
            about: "The metrics by their names, which are unique among all pipelines of a process. A metric ends in Prometheus under exactly this name.",
            example: "{ messages_total: { count: raw } }",
        },
        Key {
            name: "traces",
            shape: Shape::Map {
                key: Leaf::TraceName,
                value: &Shape::Object(&TRACE),
                least: 0,
                most: 100,
            },
            needed: Needed::Otherwise("no traces"),
            about: "Conversations that become traces, by names that are unique among all pipelines of a process.",
            example: "{ conversations: { of: response_time_seconds } }",
        },
        Key {
            name: "lag",
            shape: Shape::Object(&LAG),
            needed: Needed::Otherwise("no lag"),
            about: "Lag and status of consumer groups. `{}` is all groups. A pipeline may have nothing else.",
            example: "{ groups: \"*\", every: 10s }",
        },
        Key {
            name: "alerts",
            shape: Shape::Map {
                key: Leaf::MetricName,
                value: &Shape::Object(&ALERT),
                least: 0,
                most: 1_000,
            },
            needed: Needed::Otherwise("no alerts"),
            about: "Rules over series, by names that are unique among all pipelines of a process.",
            example: "{ HighConsumerLag: { metric: kafka_consumer_lag, above: 1000, for: 2m } }",
        },
        Key {
            name: "receivers",
            shape: Shape::Map {
                key: Leaf::SourceName,
                value: &Shape::Object(&RECEIVER),
                least: 0,
                most: 100,
            },
            needed: Needed::Otherwise("nobody"),
            about: "Who can be told of alerts, by names that are unique among all pipelines of a process.",
            example: "{ bus: { topic: notifications.alerts } }",
        },
    ],
    rules: &[],
    later: &[],
};

pub static DEFAULTS: Object = Object {
    name: "defaults",
    called: "the defaults",
    about: "Each is a default for the key of the same name of every source or metric of the pipeline.",
    keys: &[
        OUT_OF_ORDER,
        IDLE_AFTER,
        MAX_HOLD,
        MAX_AHEAD,
        START_KEY,
        MAX_RECORD_BYTES,
        WINDOW_KEY,
        MAX_SERIES_KEY,
    ],
    rules: &[],
    later: &[],
};

/// Keys of `defaults` and of sources and metrics alike.
const OUT_OF_ORDER: Key = Key {
    name: "out_of_order",
    shape: DURATION_TO_AN_HOUR,
    needed: Needed::Otherwise("5s"),
    about: "How far behind the highest event time of its partition a record may be and still be on time.",
    example: "5s",
};
const IDLE_AFTER: Key = Key {
    name: "idle_after",
    shape: SOME_TIME_TO_AN_HOUR,
    needed: Needed::Otherwise("5s"),
    about: "A partition that has been read to its end, and brought nothing newer by event time for so long, no longer holds windows open.",
    example: "5s",
};
const MAX_HOLD: Key = Key {
    name: "max_hold",
    shape: TO_A_DAY,
    needed: Needed::Otherwise("60s"),
    about: "A partition whose end cannot be reached for so long (a hanging transaction, a leader away) no longer holds windows open, and is reported.",
    example: "60s",
};
const MAX_AHEAD: Key = Key {
    name: "max_ahead",
    shape: TO_A_DAY,
    needed: Needed::Otherwise("5m"),
    about: "A record whose event time is further ahead than this of its own timestamp or of the clock goes to the dead letters as `future`.",
    example: "5m",
};
const START_KEY: Key = Key {
    name: "start",
    shape: START,
    needed: Needed::Otherwise("earliest"),
    about: "Where a topic that was never read before starts: `earliest`, `latest`, or so long ago by record timestamp. Partitions that are added later always start from their beginning.",
    example: "latest",
};
const MAX_RECORD_BYTES: Key = Key {
    name: "max_record_bytes",
    shape: MAX_RECORD,
    needed: Needed::Otherwise("1MiB"),
    about: "A larger value goes to the dead letters as `oversize` without being parsed.",
    example: "1MiB",
};
pub(super) const WINDOW_KEY: Key = Key {
    name: "window",
    shape: WINDOW,
    needed: Needed::Otherwise("10s"),
    about: "The length of a window of event time: one point a series and window.",
    example: "10s",
};
pub(super) const MAX_SERIES_KEY: Key = Key {
    name: "max_series",
    shape: MAX_SERIES,
    needed: Needed::Otherwise("2000"),
    about: "Series of the metric in each gauge partition. What comes beyond is counted in the partition's overflow series, labelled `otel.metric.overflow`.",
    example: "2000",
};

pub static SOURCE: Object = Object {
    name: "source",
    called: "a source",
    about: "All sources of one topic, over all pipelines of a process, must agree on everything here but `when`, since a partition is read once and has one watermark.",
    keys: &[
        Key {
            name: "topic",
            shape: Shape::Leaf(Leaf::Topic),
            needed: Needed::Always,
            about: "The topic.",
            example: "ingestion.raw.messages",
        },
        Key {
            name: "time",
            shape: Shape::Either(&[POINTER, Shape::Object(&TIME)]),
            needed: Needed::Otherwise("the record's timestamp"),
            about: "The field with the event time. A record where it is missing or no time is malformed.",
            example: "/timestamp",
        },
        Key {
            name: "when",
            shape: Shape::Leaf(Leaf::Expression),
            needed: Needed::Otherwise("every record"),
            about: "A condition in CEL. The fields of the record's JSON are its names: `event_type`, `data.ticket_data.priority`.",
            example: "'event_type == \"ticket_created\"'",
        },
        START_KEY,
        OUT_OF_ORDER,
        IDLE_AFTER,
        MAX_HOLD,
        MAX_AHEAD,
        MAX_RECORD_BYTES,
    ],
    rules: &[],
    later: &[],
};

pub static TIME: Object = Object {
    name: "time",
    called: "a time",
    about: "The long form of a source's `time`.",
    keys: &[
        Key {
            name: "field",
            shape: POINTER,
            needed: Needed::Always,
            about: "The field.",
            example: "/timestamp",
        },
        Key {
            name: "format",
            shape: Shape::Word(&["auto", "seconds", "millis", "micros", "nanos"]),
            needed: Needed::Otherwise("auto"),
            about: "How it is written. `auto`: text is ISO 8601, without a zone it is UTC; a number counts from the Unix epoch in the unit that its size tells. The others: a number of these since the epoch.",
            example: "auto",
        },
    ],
    rules: &[],
    later: &[],
};
