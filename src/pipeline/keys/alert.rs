//! The keys of alerts and of who is told.

use super::{Key, Needed, Object, Rule, Shape};
use crate::engine::time::Span;
use crate::pipeline::leaf::Leaf;

const TEXT: Shape = Shape::Leaf(Leaf::Help);
const NUMBER: Shape = Shape::Leaf(Leaf::Number);
const LABEL: Shape = Shape::Leaf(Leaf::LabelName);
const LABELS: Shape = Shape::List { item: &LABEL, most: 32 };
const VALUES: Shape = Shape::Either(&[
    Shape::Leaf(Leaf::LabelValue),
    Shape::List {
        item: &Shape::Leaf(Leaf::LabelValue),
        most: 100,
    },
]);
const OVER: Shape = Shape::Leaf(Leaf::Duration {
    least: Span::seconds(10),
    most: Span::seconds(86_400),
});
const ABSENT: Shape = Shape::Leaf(Leaf::Duration {
    least: Span::seconds(90),
    most: Span::seconds(7 * 86_400),
});
const FOR: Shape = Shape::Leaf(Leaf::Duration {
    least: Span::ZERO,
    most: Span::seconds(7 * 86_400),
});
const REPEAT: Shape = Shape::Leaf(Leaf::Duration {
    least: Span::seconds(60),
    most: Span::seconds(30 * 86_400),
});

pub static ALERT: Object = Object {
    name: "alert",
    called: "an alert",
    about: "A rule over the series of one metric: exactly one of `above`, `below` and `absent` says when it is met.",
    keys: &[
        Key {
            name: "metric",
            shape: Shape::Leaf(Leaf::ShownMetric),
            needed: Needed::Always,
            about: "A counter or a gauge: of any pipeline of the process, of `lag`, or one of streamgauge's own that leave through the pipeline.",
            example: "kafka_consumer_lag",
        },
        Key {
            name: "where",
            shape: Shape::Map {
                key: Leaf::LabelName,
                value: &VALUES,
                least: 1,
                most: 32,
            },
            needed: Needed::Otherwise("all series"),
            about: "Only series whose labels have these values, or one of these.",
            example: "{ outcome: [malformed, oversize] }",
        },
        Key {
            name: "above",
            shape: NUMBER,
            needed: Needed::Otherwise(""),
            about: "Met while the value, or with `rate` what the counter grows a second, is greater.",
            example: "1000",
        },
        Key {
            name: "below",
            shape: NUMBER,
            needed: Needed::Otherwise(""),
            about: "Met while it is less. With `rate` a series that is younger than that is not judged.",
            example: "1",
        },
        Key {
            name: "absent",
            shape: ABSENT,
            needed: Needed::Otherwise(""),
            about: "Met when no series of the metric said anything for so long. One that lives is told of once a minute.",
            example: "5m",
        },
        Key {
            name: "rate",
            shape: OVER,
            needed: Needed::Otherwise(""),
            about: "Compares what a counter grew a second over so long, in place of its value.",
            example: "5m",
        },
        Key {
            name: "began_above",
            shape: NUMBER,
            needed: Needed::Otherwise(""),
            about: "With `rate`: only where the counter was greater than this so long ago.",
            example: "10",
        },
        Key {
            name: "sum",
            shape: Shape::Either(&[Shape::Word(&["all"]), LABELS]),
            needed: Needed::Otherwise("each series for itself"),
            about: "Adds up series: `all` of them, or those that have these labels in common.",
            example: "[topic]",
        },
        Key {
            name: "for",
            shape: FOR,
            needed: Needed::Otherwise("0s"),
            about: "How long it must be met before the alert fires; until then it is pending.",
            example: "2m",
        },
        Key {
            name: "severity",
            shape: Shape::Leaf(Leaf::SourceName),
            needed: Needed::Otherwise("warning"),
            about: "How bad it is, in one word.",
            example: "critical",
        },
        Key {
            name: "labels",
            shape: Shape::Map {
                key: Leaf::LabelName,
                value: &Shape::Leaf(Leaf::LabelValue),
                least: 0,
                most: 32,
            },
            needed: Needed::Otherwise("none"),
            about: "Labels that its alerts have beside those of their series.",
            example: "{ team: crm }",
        },
        Key {
            name: "group",
            shape: LABELS,
            needed: Needed::Otherwise("all alerts of the rule together"),
            about: "Alerts that have these labels in common are told together. The first notification of a group waits ten seconds for others, later changes are told at most once a minute.",
            example: "[consumer_group, topic]",
        },
        Key {
            name: "repeat",
            shape: REPEAT,
            needed: Needed::Otherwise("4h"),
            about: "What still fires is told again after so long.",
            example: "4h",
        },
        Key {
            name: "summary",
            shape: TEXT,
            needed: Needed::Otherwise(""),
            about: "One line about the rule.",
            example: "High consumer lag detected",
        },
        Key {
            name: "description",
            shape: TEXT,
            needed: Needed::Otherwise(""),
            about: "What is said of one alert. `{{ NAME }}` stands for the value of a label, `{{ value }}` for what was compared; `{{ $labels.NAME }}` and `{{ $value }}` are the same.",
            example: "\"{{ consumer_group }} is {{ value }} behind on {{ topic }}\"",
        },
        Key {
            name: "to",
            shape: Shape::List {
                item: &Shape::Leaf(Leaf::SourceName),
                most: 32,
            },
            needed: Needed::Otherwise("nobody: it is only shown"),
            about: "Who is told: names of `receivers`, of any pipeline of the process.",
            example: "[operators]",
        },
    ],
    rules: &[
        Rule::ExactlyOne(&["above", "below", "absent"]),
        Rule::NotBoth("absent", "rate", "what is absent does not grow"),
        Rule::NotBoth("absent", "sum", "what is absent cannot be added up"),
    ],
    later: &[],
};

pub static RECEIVER: Object = Object {
    name: "receiver",
    called: "a receiver",
    about: "Exactly one of `mail`, `alertmanager` and `topic` says how it is told.",
    keys: &[
        Key {
            name: "mail",
            shape: Shape::Object(&MAIL),
            needed: Needed::Otherwise(""),
            about: "Mail by SMTP.",
            example: "{ server: \"smtp.example.com:587\", from: streamgauge@example.com, to: ops@example.com }",
        },
        Key {
            name: "alertmanager",
            shape: Shape::Object(&ALERTMANAGER),
            needed: Needed::Otherwise(""),
            about: "Alertmanager's API v2.",
            example: "{ url: \"http://127.0.0.1:9093\" }",
        },
        Key {
            name: "topic",
            shape: Shape::Leaf(Leaf::Topic),
            needed: Needed::Otherwise(""),
            about: "A topic that gets a `system_alert` envelope for each notification, exactly once.",
            example: "notifications.alerts",
        },
    ],
    rules: &[Rule::ExactlyOne(&["mail", "alertmanager", "topic"])],
    later: &[],
};

pub static MAIL: Object = Object {
    name: "mail",
    called: "mail",
    about: "A mail server and who gets mail.",
    keys: &[
        Key {
            name: "server",
            shape: TEXT,
            needed: Needed::Always,
            about: "The server: HOST or HOST:PORT.",
            example: "\"smtp.example.com:587\"",
        },
        Key {
            name: "security",
            shape: Shape::Word(&["starttls", "tls", "none"]),
            needed: Needed::Otherwise("starttls"),
            about: "`starttls` asks for TLS and goes no further without it (port 587), `tls` speaks it from the first byte (port 465), `none` speaks plainly, to a server on loopback only (port 25).",
            example: "starttls",
        },
        Key {
            name: "from",
            shape: TEXT,
            needed: Needed::Always,
            about: "The sender's address, with a name before it or without.",
            example: "\"streamgauge <streamgauge@example.com>\"",
        },
        Key {
            name: "to",
            shape: Shape::Either(&[TEXT, Shape::List { item: &TEXT, most: 100 }]),
            needed: Needed::Always,
            about: "Addresses that get each mail.",
            example: "[ops@example.com, oncall@example.com]",
        },
        USERNAME,
        PASSWORD,
        AUTHORITY,
    ],
    rules: &[],
    later: &[],
};

pub static ALERTMANAGER: Object = Object {
    name: "alertmanager",
    called: "an Alertmanager",
    about: "Where alerts are posted.",
    keys: &[
        Key {
            name: "url",
            shape: Shape::Either(&[TEXT, Shape::List { item: &TEXT, most: 16 }]),
            needed: Needed::Always,
            about: "Its base URL, without `/api/v2`. Of a cluster all: each is told.",
            example: "\"http://127.0.0.1:9093\"",
        },
        USERNAME,
        PASSWORD,
        Key {
            name: "token",
            shape: Shape::Leaf(Leaf::Text),
            needed: Needed::Otherwise(""),
            about: "A bearer token, from outside: `${env:NAME}` or `${file:PATH}`.",
            example: "\"${env:ALERTMANAGER_TOKEN}\"",
        },
        AUTHORITY,
    ],
    rules: &[Rule::NotBoth("token", "username", "one of the two is enough")],
    later: &[],
};

const USERNAME: Key = Key {
    name: "username",
    shape: TEXT,
    needed: Needed::Otherwise("no login"),
    about: "Logs in with this name and `password`.",
    example: "streamgauge",
};
const PASSWORD: Key = Key {
    name: "password",
    shape: Shape::Leaf(Leaf::Text),
    needed: Needed::Otherwise(""),
    about: "From outside: `${env:NAME}` or `${file:PATH}`.",
    example: "\"${env:SMTP_PASSWORD}\"",
};
const AUTHORITY: Key = Key {
    name: "authority",
    shape: Shape::Leaf(Leaf::Text),
    needed: Needed::Otherwise("the system's authorities"),
    about: "The only authorities to trust, as PEM: `${file:ca.pem}`.",
    example: "\"${env:CA_PEM}\"",
};
