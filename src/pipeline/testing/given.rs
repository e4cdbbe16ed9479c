//! What happens in a case: records and the passing of time.
//!
//! Rule: a value is the topic's with the record's laid over it, key by key; a list or a single value replaces what was
//! there. The event time is put in where the source has its `time`, unless the value says something there. What `without`
//! names is taken out last.
//!
//! Edges:
//! - a text is written as it is: nothing is laid under it, put into it or taken out of it, but blanks may follow;
//! - keys of an object are sorted and there are no blanks, so that sizes in bytes can be expected.

use serde_json::{Map, Number, Value as Json};

use super::{Reader, number, time};
use crate::engine::plan::{Plan, TimeFormat, TimeFrom, TopicPlan};
use crate::engine::time::{EventTime, Span};
use crate::pipeline::leaf;
use crate::pipeline::node::{Form, Node, Value};

/// An input topic as a case needs it.
#[derive(Clone, Debug)]
pub struct Topic {
    pub name: String,
    pub partitions: u32,
    /// The broker stamps the records as they arrive.
    pub appended: bool,
    value: Option<Json>,
}

#[derive(Debug)]
pub enum Step {
    Wait(Span),
    Record(Given),
}

/// One record, or several equal ones.
#[derive(Debug)]
pub struct Given {
    /// Index into the plan's topics and the case's.
    pub topic: usize,
    pub partition: u32,
    pub key: Option<Vec<u8>>,
    body: Body,
    /// Blanks behind the value make it so long.
    padded: usize,
    pub headers: Vec<(String, Vec<u8>)>,
    /// Pointers to what is taken out.
    without: Vec<String>,
    pub at: Option<EventTime>,
    pub arrives: Option<EventTime>,
    pub created: Option<EventTime>,
    pub times: u32,
}

#[derive(Debug)]
enum Body {
    Nothing,
    Text(String),
    Json(Json),
}

// === impl Given ===

impl Given {
    /// The bytes of the value with this event time.
    pub fn value(&self, plan: &Plan, time: EventTime) -> Option<Vec<u8>> {
        let mut value = self.bare_value(plan, time)?;
        value.resize(value.len().max(self.padded), b' ');
        Some(value)
    }

    fn bare_value(&self, plan: &Plan, time: EventTime) -> Option<Vec<u8>> {
        let mut value = match &self.body {
            Body::Nothing => return None,
            Body::Text(text) => return Some(text.clone().into_bytes()),
            Body::Json(value) => value.clone(),
        };
        if let Some(TopicPlan { timing, .. }) = plan.topics.get(self.topic)
            && let TimeFrom::Field { pointer, format, .. } = &timing.from
        {
            put(&mut value, pointer, spell_time(time, *format));
        }
        for pointer in &self.without {
            take_out(&mut value, pointer);
        }
        Some(value.to_string().into_bytes())
    }
}

// === impl Reader ===

impl Reader<'_> {
    /// All input topics of the plan.
    pub(super) fn topics(&mut self, document: &Node) -> Vec<Topic> {
        let said = document.get("topics").map_or(&[][..], Node::entries);
        for entry in said {
            if !self.plan.topics.iter().any(|topic| topic.topic == entry.key) {
                let known = self.plan.topics.iter().map(|topic| topic.topic.as_str());
                self.unknown(&entry.key_place, "topic", &entry.key, known);
            }
        }
        let of = |topic: &TopicPlan| {
            let said = said.iter().find(|entry| entry.key == topic.topic);
            let get = |key| said.and_then(|entry| entry.node.get(key));
            Topic {
                name: topic.topic.clone(),
                partitions: get("partitions").and_then(number).unwrap_or(1),
                appended: get("log_append_time").and_then(Node::text) == Some("true"),
                value: get("value").map(json),
            }
        };
        self.plan.topics.iter().map(of).collect()
    }

    /// The steps of one case; topics get the partitions that its records name.
    pub(super) fn steps(&mut self, case: &Node, start: EventTime, topics: &mut [Topic]) -> Vec<Step> {
        let given = case.get("given").map_or(&[][..], Node::items);
        let mut now = start;
        let mut steps = Vec::new();
        for node in given {
            let Some(step) = self.step(node, start, topics) else {
                continue;
            };
            match &step {
                Step::Wait(span) => now = now.ahead(*span),
                Step::Record(record) => {
                    if let (Some(arrives), Some(said)) = (record.arrives, node.get("arrives"))
                        && arrives < now
                    {
                        let by_now = leaf::spell_offset(now.0.saturating_sub(start.0));
                        self.faults
                            .add(
                                &said.place,
                                format!("it is {by_now} by then, and no record arrives before"),
                            )
                            .help("steps come in the order in which they happen; `at` may be in the past");
                    }
                    now = now.max(record.arrives.or(record.at).unwrap_or(now));
                }
            }
            steps.push(step);
        }
        steps
    }

    fn step(&mut self, node: &Node, start: EventTime, topics: &mut [Topic]) -> Option<Step> {
        if let Some(wait) = node.get("wait") {
            return leaf::duration(wait.text()?).map(Step::Wait);
        }
        let topic = self.topic_of(node)?;
        let partition = node.get("partition").and_then(number).unwrap_or(0);
        topics[topic].partitions = topics[topic].partitions.max(partition + 1);
        let when = |key| node.get(key).and_then(|node| time(node, start));
        let field = matches!(self.plan.topics[topic].timing.from, TimeFrom::Field { .. });
        if let (false, true, Some(at)) = (field, topics[topic].appended, node.entry("at")) {
            self.faults
                .add(&at.key_place, "the event time of this topic is the time of arrival")
                .help("write `arrives`");
        }
        if let (false, Some(created), Some(at)) = (field, node.entry("created"), node.entry("at")) {
            self.faults
                .add(
                    &created.key_place,
                    "the event time of this topic is the record's timestamp",
                )
                .and(&at.key_place, "which stands here")
                .help("leave one of the two out");
        }
        Some(Step::Record(Given {
            topic,
            partition,
            key: node.get("key").and_then(Node::text).map(|key| key.as_bytes().to_vec()),
            body: body(node, topics[topic].value.as_ref()),
            padded: node
                .get("padded")
                .and_then(|node| leaf::size(node.text()?))
                .unwrap_or(0),
            headers: node
                .get("headers")
                .map_or(&[][..], Node::entries)
                .iter()
                .filter_map(|entry| Some((entry.key.clone(), entry.node.text()?.as_bytes().to_vec())))
                .collect(),
            without: node
                .get("without")
                .map_or(&[][..], Node::items)
                .iter()
                .filter_map(Node::text)
                .map(str::to_owned)
                .collect(),
            at: when("at"),
            arrives: when("arrives"),
            created: when("created"),
            times: node.get("times").and_then(number).unwrap_or(1),
        }))
    }

    fn topic_of(&mut self, node: &Node) -> Option<usize> {
        let topics = &self.plan.topics;
        if let Some(said) = node.get("topic") {
            let name = said.text()?;
            let found = topics.iter().position(|topic| topic.topic == name);
            if found.is_none() {
                let known = topics.iter().map(|topic| topic.topic.as_str());
                self.unknown(&said.place, "topic", name, known);
            }
            return found;
        }
        let said = node.get("source")?;
        let name = said.text()?;
        let mut found: Vec<&str> = self
            .sources
            .iter()
            .filter(|(source, _)| source == name)
            .map(|(_, topic)| topic.as_str())
            .collect();
        found.sort_unstable();
        found.dedup();
        let (message, help) = match found.as_slice() {
            [] => {
                let sources = self.sources;
                let known = sources.iter().map(|(source, _)| source.as_str());
                self.unknown(&said.place, "source", name, known);
                return None;
            }
            [topic] => {
                let index = topics.iter().position(|known| known.topic == *topic);
                if index.is_some() {
                    return index;
                }
                let message = format!("no metric reads the source `{name}`");
                (message, format!("{topic} is not read at all: leave the record out"))
            }
            [one, other, ..] => {
                let message = format!("several pipelines have a source `{name}`, with the topics {one} and {other}");
                (message, format!("write `topic: {one}`"))
            }
        };
        self.faults.add(&said.place, message).help(help);
        None
    }
}

fn body(node: &Node, base: Option<&Json>) -> Body {
    if let Some(text) = node.get("text") {
        return text.text().map_or(Body::Nothing, |text| Body::Text(text.to_owned()));
    }
    match (base, node.get("value").map(json)) {
        (_, Some(Json::Null)) => Body::Nothing,
        (Some(base), Some(over)) => Body::Json(laid_over(base.clone(), over)),
        (Some(base), None) => Body::Json(base.clone()),
        (None, Some(value)) => Body::Json(value),
        (None, None) => Body::Json(Json::Object(Map::new())),
    }
}

fn laid_over(base: Json, over: Json) -> Json {
    match (base, over) {
        (Json::Object(mut base), Json::Object(over)) => {
            for (key, value) in over {
                let value = match base.remove(&key) {
                    Some(under) => laid_over(under, value),
                    None => value,
                };
                base.insert(key, value);
            }
            Json::Object(base)
        }
        (_, over) => over,
    }
}

/// A value of the file as JSON.
fn json(node: &Node) -> Json {
    match &node.value {
        Value::Null => Json::Null,
        Value::List(items) => items.iter().map(json).collect(),
        Value::Map(entries) => {
            let pairs = entries.iter().map(|entry| (entry.key.clone(), json(&entry.node)));
            Json::Object(pairs.collect())
        }
        Value::Scalar(scalar) => {
            let text = scalar.text.as_str();
            let number = || match text.parse::<i64>() {
                Ok(whole) => Some(Number::from(whole)),
                Err(_) => text.parse::<f64>().ok().and_then(Number::from_f64),
            };
            match scalar.form {
                Form::Boolean => Json::Bool(text.eq_ignore_ascii_case("true")),
                Form::Integer | Form::Number => number().map_or_else(|| Json::from(text), Json::Number),
                Form::Text | Form::Secret | Form::Unknown => Json::from(text),
            }
        }
    }
}

fn steps_of(pointer: &str) -> Vec<String> {
    let step = |step: &str| step.replace("~1", "/").replace("~0", "~");
    pointer.split('/').skip(1).map(step).collect()
}

/// Puts `new` where `pointer` leads, unless something is there or is in the way.
fn put(value: &mut Json, pointer: &str, new: Json) {
    let steps = steps_of(pointer);
    let Some((last, way)) = steps.split_last() else { return };
    let mut at = value;
    for step in way {
        let Json::Object(object) = at else { return };
        at = object.entry(step.clone()).or_insert_with(|| Json::Object(Map::new()));
    }
    if let Json::Object(object) = at {
        object.entry(last.clone()).or_insert(new);
    }
}

fn take_out(value: &mut Json, pointer: &str) {
    let Some((way, _)) = pointer.rsplit_once('/') else {
        return;
    };
    let last = steps_of(pointer).pop().unwrap_or_default();
    match value.pointer_mut(way) {
        Some(Json::Object(object)) => drop(object.remove(&last)),
        Some(Json::Array(items)) => {
            if let Some(index) = last.parse().ok().filter(|index: &usize| *index < items.len()) {
                items.remove(index);
            }
        }
        _ => {}
    }
}

/// A time as writers of this format write it.
fn spell_time(time: EventTime, format: TimeFormat) -> Json {
    let in_units = |micros: i64| {
        if time.0 % micros == 0 {
            Json::from(time.0 / micros)
        } else {
            Json::from(time.0 as f64 / micros as f64)
        }
    };
    match format {
        TimeFormat::Auto => match jiff::Timestamp::from_microsecond(time.0) {
            Ok(time) => Json::from(time.to_string()),
            Err(_) => Json::from(time.0),
        },
        TimeFormat::Seconds => in_units(1_000_000),
        TimeFormat::Millis => in_units(1_000),
        TimeFormat::Micros => Json::from(time.0),
        TimeFormat::Nanos => Json::from(i128::from(time.0).saturating_mul(1_000) as i64),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_value_is_laid_over_another_key_by_key_and_null_stays() {
        let base = json!({"a": {"b": 1, "c": [1, 2]}, "d": 1});
        let over = json!({"a": {"c": [3], "e": null}, "d": {"f": 1}});
        assert_eq!(
            laid_over(base, over),
            json!({"a": {"b": 1, "c": [3], "e": null}, "d": {"f": 1}})
        );
    }

    #[test]
    fn a_time_is_put_in_only_where_nothing_is_said() {
        let mut value = json!({"said": null, "in": 1});
        put(&mut value, "/said", json!(7));
        put(&mut value, "/in/the/way", json!(7));
        put(&mut value, "/deep/a~1b", json!(7));
        assert_eq!(value, json!({"said": null, "in": 1, "deep": {"a/b": 7}}));
    }

    #[test]
    fn what_is_taken_out_is_gone_and_the_rest_stays() {
        let mut value = json!({"a": {"b": 1, "c": 2}, "d": [1, 2]});
        for pointer in ["/a/b", "/d/0", "/x/y", "/d/9"] {
            take_out(&mut value, pointer);
        }
        assert_eq!(value, json!({"a": {"c": 2}, "d": [2]}));
    }
}
