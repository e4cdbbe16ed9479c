//! From a document's tree to what it says, with defaults filled in.
//!
//! Rule: reading notes no faults of form, since [`super::form`] has noted them all; what does not fit is left out here. The
//! defaults come from the table of keys, so that the reference cannot promise others.
//!
//! Edges:
//! - a setting remembers where it was said: at the source or metric, in `defaults`, or by nobody (then at the name);
//! - a default that is written in the table in words (`the record's timestamp`) is made here.

mod alert;
mod lag;
mod said;
mod trace;

use crate::engine::plan::{self, TimeFormat};
use crate::engine::time::Span;

use crate::engine::sketch::PROMETHEUS_BOUNDS;

use super::keys::{DEFAULTS, HISTOGRAM, LATEST, Needed, RESPOND, TIME};
use super::leaf;
use super::node::{Entry, Form, Node, Value};
pub use alert::{Alert, Hidden, Login, Met, Receiver, Via};
pub use said::{Buckets, Document, Label, LookUp, Measure, Measured, Metric, Of, Respond, Said, Source, Text, Time};
pub use trace::{SpanOf, Trace};

/// Reads one document.
pub fn document(node: &Node) -> Document {
    let entries = |key| node.get(key).map_or(&[][..], Node::entries);
    let defaults = node.get("defaults");
    Document {
        name: node.get("pipeline").and_then(text),
        source_names: entries("sources").iter().map(name).collect(),
        sources: entries("sources")
            .iter()
            .filter_map(|entry| source(entry, defaults))
            .collect(),
        metric_names: entries("metrics").iter().map(name).collect(),
        metrics: entries("metrics")
            .iter()
            .filter_map(|entry| metric(entry, defaults))
            .collect(),
        trace_names: entries("traces").iter().map(name).collect(),
        traces: entries("traces").iter().filter_map(trace::trace).collect(),
        asks_lag: node.get("lag").is_some(),
        lag: node.get("lag").and_then(lag::lag),
        alert_names: entries("alerts").iter().map(name).collect(),
        alerts: entries("alerts").iter().filter_map(alert::alert).collect(),
        receiver_names: entries("receivers").iter().map(name).collect(),
        receivers: entries("receivers").iter().filter_map(alert::receiver).collect(),
    }
}

fn source(entry: &Entry, defaults: Option<&Node>) -> Option<Source> {
    let node = &entry.node;
    let settings = Settings { entry, defaults };
    Some(Source {
        name: name(entry),
        topic: text(node.get("topic")?)?,
        time: match node.get("time") {
            Some(said) => Said {
                value: time(said)?,
                place: said.place.clone(),
            },
            None => Said {
                value: Time::Record,
                place: entry.key_place.clone(),
            },
        },
        when: match node.get("when") {
            Some(said) => Some(compiled(said)?),
            None => None,
        },
        start: settings.get("start", leaf::start)?,
        out_of_order: settings.get("out_of_order", leaf::duration)?,
        idle_after: settings.get("idle_after", leaf::duration)?,
        max_hold: settings.get("max_hold", leaf::duration)?,
        max_ahead: settings.get("max_ahead", leaf::duration)?,
        max_record_bytes: settings.get("max_record_bytes", leaf::size)?,
    })
}

fn time(node: &Node) -> Option<Time> {
    if let Some(pointer) = node.text() {
        return Some(Time::Field {
            pointer: pointer.to_owned(),
            format: TimeFormat::Auto,
        });
    }
    let format = match node.get("format") {
        Some(format) => format.text()?,
        None => default_of(&TIME, "format")?,
    };
    let format = match format {
        "auto" => TimeFormat::Auto,
        "seconds" => TimeFormat::Seconds,
        "millis" => TimeFormat::Millis,
        "micros" => TimeFormat::Micros,
        "nanos" => TimeFormat::Nanos,
        _ => return None,
    };
    Some(Time::Field {
        pointer: node.get("field")?.text()?.to_owned(),
        format,
    })
}

fn metric(entry: &Entry, defaults: Option<&Node>) -> Option<Metric> {
    let node = &entry.node;
    let settings = Settings { entry, defaults };
    let histogram = node.get("histogram");
    let mut complete = true;
    let (of, what) = if let Some(count) = node.get("count") {
        (of(count)?, Measure::Count)
    } else if let Some(sum) = node.get("sum") {
        (of(sum.get("of")?)?, Measure::Sum(measured(sum.get("value")?)?))
    } else if let Some(said) = node.get("respond") {
        let buckets = match histogram {
            None => None,
            Some(node) => match buckets(histogram, entry) {
                Some(value) => Some(Said {
                    value,
                    place: node.place.clone(),
                }),
                None => {
                    complete = false;
                    None
                }
            },
        };
        let sources = vec![text(said.get("from")?)?, text(said.get("to")?)?];
        (Of::Sources(sources), Measure::Respond(respond(said)?, buckets))
    } else {
        let observe = node.get("observe")?;
        let buckets = buckets(histogram, entry).unwrap_or_else(|| {
            complete = false;
            default_buckets(entry)
        });
        (
            of(observe.get("of")?)?,
            Measure::Observe(measured(observe.get("value")?)?, buckets),
        )
    };
    let mut labels = Vec::new();
    for entry in node.get("labels").map_or(&[][..], Node::entries) {
        match label(&entry.node) {
            Some(label) => labels.push((name(entry), label)),
            None => complete = false,
        }
    }
    Some(Metric {
        name: name(entry),
        help: node.get("help").and_then(Node::text).unwrap_or_default().to_owned(),
        of,
        what,
        labels,
        unit: node
            .get("unit")
            .or(histogram.and_then(|histogram| histogram.get("unit")))
            .and_then(text),
        other_unit: node
            .get("unit")
            .and(histogram)
            .and_then(|histogram| histogram.get("unit"))
            .and_then(text),
        window: settings.get("window", leaf::duration)?,
        max_series: settings.get("max_series", |text| text.parse().ok())?.value,
        complete,
    })
}

fn of(node: &Node) -> Option<Of> {
    match node.text() {
        Some("*") => Some(Of::All),
        _ => texts(node).map(Of::Sources),
    }
}

/// One text or a list of them.
fn texts(node: &Node) -> Option<Vec<Said<String>>> {
    match &node.value {
        Value::List(items) => items.iter().map(text).collect(),
        _ => Some(vec![text(node)?]),
    }
}

fn measured(node: &Node) -> Option<Said<Measured>> {
    let place = node.place.clone();
    if let Some(pointer) = node.text().or_else(|| node.get("field")?.text()) {
        return Some(Said {
            value: Measured::Field(pointer.to_owned()),
            place,
        });
    }
    let value = match node.get("record")?.text()? {
        "bytes" => Measured::Bytes,
        "append_latency" => Measured::AppendLatency,
        _ => return None,
    };
    Some(Said { value, place })
}

fn default_buckets(entry: &Entry) -> Buckets {
    let said = |bound: &i64| Said {
        value: *bound,
        place: entry.key_place.clone(),
    };
    Buckets::Explicit(PROMETHEUS_BOUNDS.iter().map(said).collect())
}

fn buckets(node: Option<&Node>, entry: &Entry) -> Option<Buckets> {
    let Some(node) = node else {
        return Some(default_buckets(entry));
    };
    match (node.get("kind")?.text()?, node.get("buckets"), node.get("max_buckets")) {
        ("explicit", None, _) => Some(default_buckets(entry)),
        ("explicit", Some(buckets), _) => {
            let bound = |node: &Node| {
                Some(Said {
                    value: leaf::bound(node.text()?)?,
                    place: node.place.clone(),
                })
            };
            Some(Buckets::Explicit(
                buckets.items().iter().map(bound).collect::<Option<Vec<_>>>()?,
            ))
        }
        ("exponential", _, None) => Some(Buckets::Exponential(
            default_of(&HISTOGRAM, "max_buckets")?.parse().ok()?,
        )),
        ("exponential", _, Some(most)) => Some(Buckets::Exponential(most.text()?.parse().ok()?)),
        _ => None,
    }
}

fn respond(node: &Node) -> Option<Respond> {
    let on = node.get("on")?;
    let measure = match node.get("measure") {
        Some(said) => said.text()?,
        None => default_of(&RESPOND, "measure")?,
    };
    let measure = match measure {
        "time" => plan::Measure::ResponseTime,
        "unanswered" => plan::Measure::Unanswered,
        "second" => plan::Measure::Second,
        "unmatched" => plan::Measure::Unmatched,
        "negative" => plan::Measure::Negative,
        "duplicate" => plan::Measure::Duplicate,
        "open" => plan::Measure::Open,
        "oldest" => plan::Measure::OldestOpen,
        _ => return None,
    };
    let span = |key: &str| duration_of(node, &RESPOND, key);
    Some(Respond {
        on: match on.text() {
            Some(_) => [text(on)?, text(on)?],
            None => [text(on.get("from")?)?, text(on.get("to")?)?],
        },
        within: span("within")?,
        forget: span("forget")?,
        skew: span("skew")?,
        measure: Said {
            value: measure,
            place: node.get("measure").unwrap_or(node).place.clone(),
        },
    })
}

fn look_up(node: &Node) -> Option<LookUp> {
    let said = |key: &str| text(node.get(key)?);
    Some(LookUp {
        of: said("of")?,
        take: said("take")?,
        on: said("on")?,
        equals: said("equals")?,
        within: duration_of(node, &LATEST, "within")?,
    })
}

fn duration_of(node: &Node, object: &super::keys::Object, key: &str) -> Option<Span> {
    match node.get(key) {
        Some(said) => leaf::duration(said.text()?),
        None => leaf::duration(default_of(object, key)?),
    }
}

fn label(node: &Node) -> Option<Label> {
    let otherwise = node.get("else").and_then(Node::text).map(str::to_owned);
    let pointer = |key: &str| Some(node.get(key)?.text()?.to_owned());
    if let Some(pointer) = pointer("from") {
        return Some(Label::From { pointer, otherwise });
    }
    if let Some(pointer) = pointer("to") {
        return Some(Label::To { pointer, otherwise });
    }
    if let Some(latest) = node.get("latest") {
        return Some(Label::Latest {
            of: Box::new(look_up(latest)?),
            otherwise,
        });
    }
    if let Some(pointer) = node.text().or_else(|| node.get("field")?.text()) {
        return Some(Label::Field {
            pointer: pointer.to_owned(),
            otherwise,
        });
    }
    if let Some(value) = node.get("const") {
        return Some(Label::Const(value.text()?.to_owned()));
    }
    if let Some(source) = node.get("cel") {
        return Some(Label::Cel {
            source: compiled(source)?,
            otherwise,
        });
    }
    if let Some(name) = pointer("header") {
        return Some(Label::Header { name, otherwise });
    }
    match node.get("record")?.text()? {
        "topic" => Some(Label::Topic),
        "partition" => Some(Label::Partition),
        _ => None,
    }
}

fn name(entry: &Entry) -> Said<String> {
    Said {
        value: entry.key.clone(),
        place: entry.key_place.clone(),
    }
}

fn text(node: &Node) -> Option<Said<String>> {
    Some(Said {
        value: node.text()?.to_owned(),
        place: node.place.clone(),
    })
}

fn compiled(node: &Node) -> Option<Said<Text>> {
    let secret = node.scalar()?.form == Form::Secret;
    Some(Said {
        value: Text {
            text: node.text()?.to_owned(),
            secret,
        },
        place: node.place.clone(),
    })
}

fn default_of(object: &super::keys::Object, key: &str) -> Option<&'static str> {
    match object.key(key)?.needed {
        Needed::Otherwise(default) => Some(default),
        Needed::Always | Needed::Unless(_) => None,
    }
}

/// Looks a setting up: at its own place, in the pipeline's defaults, in the table.
struct Settings<'n> {
    entry: &'n Entry,
    defaults: Option<&'n Node>,
}

// === impl Settings ===

impl Settings<'_> {
    fn get<T>(&self, key: &str, parse: impl Fn(&str) -> Option<T>) -> Option<Said<T>> {
        let said = self.entry.node.get(key).or_else(|| self.defaults?.get(key));
        // A setting that does not fit is a fault already; the default lets the rest be checked.
        let fits = said.and_then(|node| {
            Some(Said {
                value: parse(node.text()?)?,
                place: node.place.clone(),
            })
        });
        match fits {
            Some(said) => Some(said),
            None => Some(Said {
                value: parse(default_of(&DEFAULTS, key)?)?,
                place: self.entry.key_place.clone(),
            }),
        }
    }
}
