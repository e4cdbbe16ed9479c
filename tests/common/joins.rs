//! The right answers of the joins of `pipelines/support.yaml`, from the bytes in the log and the page on pipelines.
//!
//! Rule: what each key brings is put into the order of event time and told by the table of "Responses and look-ups",
//! record after record. Of each conversation the spans are known too, down to the trace id.
//!
//! Edges: the pipeline's bounds of a day are [`TERMS`] here, so that they are over within a test.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value as Json;

use super::conversation::{Conversation, Event};
use super::kafka::Stored;
use super::oracle::{CREATED, Outcome, label, labels};
use super::points::Attributes;
use super::spans::Spans;

pub const NORMALIZED: &str = "ingestion.normalized.messages";
pub const RESPONSES: &str = "processing.responses.out";

pub const TIME: &str = "response_time_seconds";
pub const UNANSWERED: &str = "responses_unanswered_total";
pub const SECOND: &str = "responses_second_total";
pub const UNMATCHED: &str = "responses_unmatched_total";
pub const NEGATIVE: &str = "responses_negative_total";
pub const DUPLICATE: &str = "responses_duplicate_total";
pub const OPEN: &str = "responses_open";
pub const OLDEST: &str = "response_age_seconds";
pub const JOURNEYS: &str = "streamgauge_journeys_total";
pub const UNKEYED: &str = "streamgauge_join_unkeyed_records_total";
pub const LATE: &str = "streamgauge_join_late_records_total";

const RESPOND: &str = "normalized to responses on /data/correlation_id";
const LATEST: &str = "latest normalized on /data/normalized_content/customer_id";
const MAX_KEY_BYTES: usize = 1024;

/// What the tests put in place of the pipeline's own, in microseconds.
pub struct Terms {
    pub within: i64,
    pub forget: i64,
    pub skew: i64,
    pub look_up: i64,
    pub slow: i64,
    /// One in so many conversations is sampled; a power of two, so that the threshold is short.
    pub sampled_one_in: u64,
}

pub const TERMS: Terms = Terms {
    within: 8_000_000,
    forget: 15_000_000,
    skew: 5_000_000,
    look_up: 30_000_000,
    slow: 4_500_000,
    sampled_one_in: 8,
};

/// What the records brought so far.
#[derive(Clone, Debug, Default)]
pub struct Joins {
    events: BTreeMap<String, Vec<Event>>,
    channels: BTreeMap<String, BTreeMap<i64, String>>,
    tickets: Vec<Ticket>,
    unkeyed: Vec<(&'static str, &'static str)>,
}

/// What comes of it.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    pub counts: BTreeMap<(&'static str, Attributes), i64>,
    /// Response times in microseconds, in ascending order.
    pub times: BTreeMap<Attributes, Vec<i64>>,
    pub conversations: Vec<Conversation>,
}

#[derive(Clone, Debug)]
struct Ticket {
    time: i64,
    customer: Option<String>,
    priority: String,
}

/// What is known of a key.
enum Known {
    Nothing,
    Open(Conversation),
    Answered { until: i64, conversation: Conversation },
    Early(Vec<Event>),
}

// === impl Joins ===

impl Joins {
    /// Takes a record that counts; an error says that it does not.
    pub fn take(&mut self, record: &Stored, json: &Json, time: i64) -> Result<(), Outcome> {
        let data = &json["data"];
        let place = (record.partition, record.offset);
        match record.topic.as_str() {
            NORMALIZED => {
                let content = &data["normalized_content"];
                let mut unkeyed = Vec::new();
                match key(json, "/data/correlation_id") {
                    Ok(id) => {
                        let event = Event {
                            time,
                            is_response: false,
                            channel: channel(&content["channel"])?,
                            kind: label(&content["message_type"], Some("unknown")).unwrap_or("unknown".to_owned()),
                            place,
                            context: record.headers.get("traceparent").and_then(|value| context(value)),
                        };
                        self.events.entry(id).or_default().push(event);
                    }
                    Err(reason) => unkeyed.push((RESPOND, reason)),
                }
                match (
                    key(json, "/data/normalized_content/customer_id"),
                    label(&content["channel"], None),
                ) {
                    (Ok(customer), Ok(channel)) => {
                        let versions = self.channels.entry(customer).or_default();
                        let kept = versions.entry(time).or_insert_with(|| channel.clone());
                        if (kept.len(), kept.as_str()) < (channel.len(), channel.as_str()) {
                            *kept = channel;
                        }
                    }
                    (Err(reason), _) => unkeyed.push((LATEST, reason)),
                    (Ok(_), Err(_)) => unkeyed.push((LATEST, "no value")),
                }
                self.unkeyed.append(&mut unkeyed);
            }
            RESPONSES => match key(json, "/data/correlation_id") {
                Ok(id) => {
                    let event = Event {
                        time,
                        is_response: true,
                        channel: channel(&data["response"]["channel"])?,
                        kind: String::new(),
                        place,
                        context: None,
                    };
                    self.events.entry(id).or_default().push(event);
                }
                Err(reason) => self.unkeyed.push((RESPOND, reason)),
            },
            super::oracle::TICKETS if json["event_type"] == "ticket_created" => {
                let priority = label(&data["ticket_data"]["priority"], Some("unknown"))?;
                let customer = key(json, "/data/ticket_data/customer_id");
                self.unkeyed
                    .extend(customer.as_ref().err().map(|reason| (LATEST, *reason)));
                self.tickets.push(Ticket {
                    time,
                    customer: customer.ok(),
                    priority,
                });
            }
            _ => {}
        }
        Ok(())
    }

    /// The answers, when nothing comes any more and every bound has passed.
    pub fn decide(&self) -> Answers {
        let mut answers = Answers::default();
        for (join, reason) in &self.unkeyed {
            answers.count(UNKEYED, &[("join", join), ("reason", reason)], 1);
        }
        for ticket in &self.tickets {
            let channel = ticket.customer.as_ref().and_then(|customer| {
                let versions = self.channels.get(customer)?;
                let newest = versions.range(ticket.time - TERMS.look_up..=ticket.time).next_back();
                Some(newest?.1.as_str())
            });
            let channel = channel.unwrap_or("unknown");
            let labels = [("channel_type", channel), ("priority", &ticket.priority)];
            answers.count(CREATED, &labels, 1);
        }
        for (id, events) in &self.events {
            let mut events = events.clone();
            events.sort_by_key(|event| (event.time, event.is_response));
            let mut known = Known::Nothing;
            for event in events {
                if known.is_over_by(event.time) {
                    answers.end(known);
                    known = Known::Nothing;
                }
                known = answers.go_on(id, known, event);
            }
            answers.end(known);
        }
        answers.times.values_mut().for_each(|times| times.sort_unstable());
        for conversation in std::mem::take(&mut answers.conversations) {
            answers.tell(&conversation);
            answers.conversations.push(conversation);
        }
        answers
    }
}

/// The text of a key, or what is wrong with it.
fn key(json: &Json, pointer: &str) -> Result<String, &'static str> {
    let text = match json.pointer(pointer) {
        None => return Err("missing"),
        Some(Json::Null) => return Err("null"),
        Some(Json::Array(_) | Json::Object(_)) => return Err("no scalar"),
        Some(Json::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    };
    match text.len() {
        0 => Err("empty"),
        1..=MAX_KEY_BYTES => Ok(text),
        _ => Err("too long"),
    }
}

/// Trace and span of a `traceparent`, where it is a right one.
fn context(value: &str) -> Option<(String, String)> {
    let (trace, rest) = value.strip_prefix("00-")?.split_once('-')?;
    let span = rest.strip_suffix("-01")?;
    let is_id = |id: &str, digits: usize| id.len() == digits && u128::from_str_radix(id, 16).is_ok();
    (is_id(trace, 32) && is_id(span, 16)).then(|| (trace.to_owned(), span.to_owned()))
}

/// A channel, where the record has one.
fn channel(field: &Json) -> Result<Option<String>, Outcome> {
    match field {
        Json::Null => Ok(None),
        field => label(field, None).map(Some),
    }
}

// === impl Known ===

impl Known {
    /// Whether its time is over before a record of this time.
    fn is_over_by(&self, time: i64) -> bool {
        match self {
            Known::Nothing => false,
            Known::Open(conversation) => time > conversation.asked() + TERMS.within,
            Known::Answered { until, .. } => time > *until,
            Known::Early(responses) => time > responses[0].time + TERMS.skew,
        }
    }
}

// === impl Answers ===

impl Answers {
    fn count(&mut self, name: &'static str, of: &[(&str, &str)], more: usize) {
        if more > 0 {
            *self.counts.entry((name, labels(of))).or_default() += more as i64;
        }
    }

    /// One line of the table.
    fn go_on(&mut self, id: &str, known: Known, event: Event) -> Known {
        match (known, event.is_response) {
            (Known::Nothing, false) => Known::Open(Conversation::of(id, event)),
            (Known::Nothing, true) => Known::Early(vec![event]),
            (Known::Open(mut conversation), false) => {
                self.count(DUPLICATE, &[], 1);
                conversation.requests_of_one_time(event);
                Known::Open(conversation)
            }
            (Known::Open(mut conversation), true) => {
                let times = self.times.entry(conversation.channel()).or_default();
                times.push(event.time - conversation.asked());
                conversation.end = event.time;
                Known::Answered {
                    until: event.time + TERMS.forget,
                    conversation: conversation.answered_by(vec![event]),
                }
            }
            (
                Known::Answered {
                    until,
                    mut conversation,
                },
                is_response,
            ) => {
                if !is_response {
                    self.count(DUPLICATE, &[], 1);
                    conversation.requests_of_one_time(event);
                } else {
                    self.count(SECOND, &[], 1);
                    if event.time == conversation.responses[0].time {
                        conversation.responses.push(event);
                    }
                }
                Known::Answered { until, conversation }
            }
            (Known::Early(mut responses), false) => {
                self.count(NEGATIVE, &[], 1);
                self.count(SECOND, &[], responses.len() - 1);
                let until = event.time + TERMS.forget;
                let mut conversation = Conversation::of(id, event);
                conversation.end = responses[0].time;
                responses.retain(|response| response.time == conversation.end);
                let conversation = conversation.answered_by(responses);
                Known::Answered { until, conversation }
            }
            (Known::Early(mut responses), true) => {
                responses.push(event);
                Known::Early(responses)
            }
        }
    }

    /// The key's time is over.
    fn end(&mut self, known: Known) {
        match known {
            Known::Nothing => {}
            Known::Open(mut conversation) => {
                conversation.end = conversation.asked() + TERMS.within;
                let key = (UNANSWERED, conversation.channel());
                *self.counts.entry(key).or_default() += 1;
                self.conversations.push(conversation);
            }
            Known::Answered { conversation, .. } => self.conversations.push(conversation),
            Known::Early(responses) => {
                let channel = responses[0].channel.as_deref().unwrap_or("unknown").to_owned();
                self.count(UNMATCHED, &[("channel_type", &channel)], responses.len());
            }
        }
    }

    fn tell(&mut self, conversation: &Conversation) {
        let outcome = ["unanswered", "answered"][usize::from(conversation.is_answered())];
        let sampled = match (conversation.is_sampled(), conversation.is_kept()) {
            (true, _) => "sampled",
            (false, true) => "kept",
            (false, false) => "dropped",
        };
        let labels = [("trace", "conversations"), ("outcome", outcome), ("sampled", sampled)];
        self.count(JOURNEYS, &labels, 1);
    }

    /// Everything in which the spans differ from what they should be. Empty is right.
    pub fn differences(&self, spans: &Spans) -> Vec<String> {
        let leave = self.conversations.iter();
        let leave = leave.filter(|conversation| conversation.is_sampled() || conversation.is_kept());
        let leave: BTreeMap<String, &Conversation> = leave
            .map(|conversation| (format!("{:032x}", conversation.trace()), conversation))
            .collect();
        let traces: BTreeSet<&String> = leave.keys().chain(spans.traces.keys()).collect();
        let mut differences = Vec::new();
        for trace in traces {
            let fault = match (leave.get(trace), spans.traces.get(trace)) {
                (Some(conversation), Some(spans)) => conversation.fault(spans),
                (Some(conversation), None) => Some(format!("never came: {conversation:?}")),
                (None, spans) => Some(format!("should not have left: {spans:?}")),
            };
            differences.extend(fault.map(|fault| format!("trace {trace}: {fault}")));
        }
        differences
    }
}
