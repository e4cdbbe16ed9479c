//! The records of the users' system: one envelope, and what each kind of event puts into it.
//!
//! Rule: the order of the keys is the writing instance's, as a Python dict has it, and now and then another one; a key
//! that comes twice has its true value last.

use super::json::Json;
use super::random::{Random, Share, mix};
use super::system::{Channel, Priority, Producer, Resolution, Topic};
use super::words;
use crate::engine::time::EventTime;

/// One customer's request on its way through the system.
#[derive(Clone, Copy, Debug)]
pub struct Conversation {
    pub id: u64,
    pub customer: u32,
    pub channel: Channel,
    pub priority: Priority,
    /// Its records say null for the channel, but for the raw one.
    pub is_mute: bool,
}

/// Each kind of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Raw,
    Validated,
    /// Now and then the same message comes out twice.
    Normalized {
        again: bool,
    },
    Identity {
        resolution: Resolution,
        success: bool,
    },
    TicketCreated,
    TicketUpdated,
    TicketProcessed,
    /// Sent at once by a dispatcher whose clock is behind.
    Response {
        skewed: bool,
    },
    Alert,
    Audit,
    ServiceMetrics,
}

/// How the envelope spells its time. All but the last three are read as the same instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    Naive,
    Zulu,
    /// `time.time()`: seconds with a fraction.
    EpochSeconds,
    EpochMillis,
    Missing,
    /// JSON that is no time.
    Wrong(&'static str),
}

/// Everything about one record but its conversation.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    pub kind: Kind,
    pub producer: Producer,
    pub time: EventTime,
    pub clock: Clock,
    /// Where there is one: what stands for the channel, `None` for no key at all.
    pub channel: Option<&'static str>,
    pub correlation: Said,
    pub customer: Said,
}

/// Whether a record has an id that it should have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    True,
    /// No such key.
    Missing,
    /// JSON that is no id.
    Instead(&'static str),
}

#[derive(Clone, Copy)]
enum Field {
    EventId,
    EventType,
    Timestamp,
    ProducerId,
    Data,
}

/// The orders in which instances write the envelope.
const ORDERS: [[Field; 5]; 4] = {
    use Field::{Data, EventId, EventType, ProducerId, Timestamp};
    [
        [EventId, EventType, Timestamp, ProducerId, Data],
        [EventType, EventId, ProducerId, Data, Timestamp],
        [Timestamp, Data, EventId, EventType, ProducerId],
        [ProducerId, Timestamp, EventType, EventId, Data],
    ]
};

/// Another order than the instance's own.
const REORDERED: Share = Share::percent(2);
/// An envelope with keys that come twice.
const DOUBLED: Share = Share(500);

// === impl Conversation ===

impl Conversation {
    fn id_of(&self, what: u64) -> (u64, u64) {
        let high = mix(self.id ^ (what << 56));
        (high, mix(high ^ self.id))
    }

    pub fn message_id(&self) -> (u64, u64) {
        self.id_of(1)
    }

    pub fn correlation_id(&self) -> (u64, u64) {
        self.id_of(2)
    }

    pub fn ticket_id(&self) -> (u64, u64) {
        self.id_of(3)
    }

    /// One message in five hands on its writer's W3C trace context; a few of them get it wrong.
    pub fn traceparent(&self) -> Option<String> {
        let (trace, span) = self.id_of(4);
        match trace % 100 {
            0 => Some("00-trace-span-01".to_owned()),
            1..20 => Some(format!("00-{trace:016x}{:016x}-{:016x}-01", mix(span), span | 1)),
            _ => None,
        }
    }
}

// === impl Kind ===

impl Kind {
    pub fn topic(self) -> Topic {
        match self {
            Kind::Raw => Topic::Raw,
            Kind::Validated => Topic::Validation,
            Kind::Normalized { .. } => Topic::Normalized,
            Kind::Identity { .. } => Topic::Identities,
            Kind::TicketCreated | Kind::TicketUpdated => Topic::TicketsIn,
            Kind::TicketProcessed => Topic::TicketsOut,
            Kind::Response { .. } => Topic::Responses,
            Kind::Alert => Topic::Alerts,
            Kind::Audit => Topic::Audit,
            Kind::ServiceMetrics => Topic::Metrics,
        }
    }

    fn event_type(self) -> &'static str {
        match self {
            Kind::Raw => "raw_message",
            Kind::Validated => "validation_result",
            Kind::Normalized { .. } => "normalized_message",
            Kind::Identity { .. } => "customer_identity",
            Kind::TicketCreated => "ticket_created",
            Kind::TicketUpdated => "ticket_updated",
            Kind::TicketProcessed => "ticket_processed",
            Kind::Response { .. } => "response_outbound",
            Kind::Alert => "system_alert",
            Kind::Audit => "audit_entry",
            Kind::ServiceMetrics => "service_metrics",
        }
    }

    /// The record's key.
    pub fn key(self, conversation: &Conversation, producer: Producer) -> Option<Vec<u8>> {
        let mut key = Json::new();
        match self {
            Kind::Raw | Kind::Validated => id(&mut key, conversation.message_id()),
            Kind::Normalized { .. } | Kind::Response { .. } => id(&mut key, conversation.correlation_id()),
            Kind::Identity { .. } => customer(&mut key, conversation.customer),
            Kind::TicketCreated | Kind::TicketUpdated | Kind::TicketProcessed => id(&mut key, conversation.ticket_id()),
            Kind::ServiceMetrics => {
                key.put(producer.name());
            }
            Kind::Alert | Kind::Audit => return None,
        }
        Some(key.bytes)
    }
}

/// Writes one record.
pub fn write(json: &mut Json, form: &Form, conversation: &Conversation, random: &mut Random) {
    let order = if random.happens(REORDERED) {
        random.below(4)
    } else {
        u64::from(form.producer.0) % 4
    };
    let (high, low) = (random.draw(), random.draw());
    json.start();
    json.put("{");
    if random.happens(DOUBLED) {
        json.put(r#""timestamp": null, "producer_id": "default", "event_type": "draft", "data": {"channel": "sms"}, "#);
    }
    let mut first = true;
    for field in ORDERS[order as usize] {
        if matches!(field, Field::Timestamp) && form.clock == Clock::Missing {
            continue;
        }
        if !std::mem::take(&mut first) {
            json.comma();
        }
        match field {
            Field::EventId => {
                json.put("\"event_id\": \"").uuid(high, low).put("\"");
            }
            Field::EventType => {
                json.text("event_type", form.kind.event_type());
            }
            Field::Timestamp => timestamp(json, form),
            Field::ProducerId => {
                json.text("producer_id", form.producer.name());
            }
            Field::Data => {
                json.put("\"data\": {");
                data(json, form, conversation, random);
                json.put("}");
            }
        }
    }
    json.put("}");
}

fn timestamp(json: &mut Json, form: &Form) {
    json.key("timestamp");
    let micros = form.time.0.max(0) as u64;
    match form.clock {
        Clock::Naive => json.put("\"").time(form.time).put("\""),
        Clock::Zulu => json.put("\"").time(form.time).put("+00:00\""),
        Clock::EpochSeconds => json.number(micros / 1_000_000).put(".").micros(micros % 1_000_000),
        Clock::EpochMillis => json.number(micros / 1_000),
        Clock::Missing => json.put("null"),
        Clock::Wrong(text) => json.put(text),
    };
}

fn data(json: &mut Json, form: &Form, conversation: &Conversation, random: &mut Random) {
    let dice = random.draw();
    let pick = |items: &'static [&'static str], shift: u32| items[(dice >> shift) as usize % items.len()];
    match form.kind {
        Kind::Raw => {
            if let Some(channel) = form.channel {
                json.key("channel").put(channel).comma();
            }
            json.put("\"message_id\": \"");
            id(json, conversation.message_id());
            json.put("\", \"content\": {")
                .text("body", pick(&words::BODIES, 0))
                .comma();
            json.text("subject", pick(&words::SUBJECTS, 8))
                .put(", \"attachments\": [], \"size\": ");
            json.number(dice >> 52)
                .put("}, \"received_at\": \"")
                .time(form.time)
                .put("\"");
        }
        Kind::Validated => {
            json.put("\"message_id\": \"");
            id(json, conversation.message_id());
            json.put("\", \"valid\": ")
                .put(if dice.is_multiple_of(32) { "false" } else { "true" });
            json.put(", \"errors\": [").put(if dice.is_multiple_of(32) {
                "{\"field\": \"content\", \"code\": 7}"
            } else {
                ""
            });
            json.put("], \"elapsed_ms\": ")
                .number(dice >> 56)
                .put(".")
                .number(dice >> 58);
        }
        Kind::Normalized { .. } => {
            correlation(json, form, conversation);
            json.put("\"normalized_content\": {");
            customer_id(json, form, conversation);
            json.text("message_type", pick(&words::MESSAGE_TYPES, 0)).comma();
            json.text("priority", conversation.priority.name()).comma();
            json.text("content", pick(&words::BODIES, 8)).comma();
            json.key("channel")
                .put(form.channel.unwrap_or("null"))
                .put("}, \"processed_at\": \"")
                .time(form.time)
                .put("\"");
        }
        Kind::Identity { resolution, success } => identity(json, form, conversation, resolution, success, dice),
        Kind::TicketCreated | Kind::TicketUpdated | Kind::TicketProcessed => {
            json.put("\"ticket_id\": \"");
            id(json, conversation.ticket_id());
            json.put("\", \"ticket_data\": {")
                .text("subject", pick(&words::SUBJECTS, 0))
                .comma();
            json.text("description", pick(&words::BODIES, 8)).comma();
            json.text("priority", conversation.priority.name()).comma();
            customer_id(json, form, conversation);
            json.text("category", pick(&words::CATEGORIES, 16))
                .put("}, \"created_at\": \"")
                .time(form.time)
                .put("\"");
        }
        Kind::Response { .. } => {
            correlation(json, form, conversation);
            json.put("\"response\": {")
                .key("channel")
                .put(form.channel.unwrap_or("null"))
                .comma();
            json.text("content", pick(&words::ANSWERS, 0))
                .put(", \"agent\": null, \"automatic\": ");
            json.put(if dice.is_multiple_of(3) { "true" } else { "false" })
                .put("}, \"sent_at\": \"")
                .time(form.time)
                .put("\"");
        }
        Kind::Alert => {
            json.text("alert_type", "queue_depth")
                .put(", \"alert_data\": {\"depth\": ")
                .number(dice >> 48);
            json.put(", \"limit\": 50000}, \"timestamp\": \"")
                .time(form.time)
                .put("\"");
        }
        Kind::Audit => {
            json.text("action", "message_normalized").put(", \"subject\": \"");
            id(json, conversation.correlation_id());
            json.put("\", \"actor\": {\"type\": \"service\", \"roles\": [\"writer\", \"auditor\"]}");
        }
        Kind::ServiceMetrics => {
            json.put("\"handled\": ")
                .number(dice >> 44)
                .put(", \"cpu\": 0.")
                .number(dice >> 57);
            json.put(", \"queue\": {\"depth\": ")
                .number(dice % 100)
                .put(", \"oldest_ms\": 1.5e2}");
        }
    }
}

/// An identity whose labels are `resolution` and `success`: the label is the record's own word where it has one, else the
/// first of email and phone that is text and not empty.
fn identity(
    json: &mut Json,
    form: &Form,
    conversation: &Conversation,
    resolution: Resolution,
    success: bool,
    dice: u64,
) {
    match (success, dice % 3) {
        (true, _) => {
            json.put("\"customer_id\": \"");
            customer(json, conversation.customer);
            json.put("\", ");
        }
        (false, which) => {
            json.put(["\"customer_id\": null, ", "\"customer_id\": \"\", ", ""][which as usize]);
        }
    }
    if resolution == Resolution::Loyalty {
        json.text("resolution_type", resolution.name()).comma();
    }
    json.put("\"identity_data\": {");
    match resolution {
        Resolution::Email | Resolution::Loyalty => {
            json.put("\"email\": \"joanna.")
                .number(u64::from(conversation.customer))
                .put("@example.com\", \"phone\": ");
            json.put(if dice & 4 == 0 { "null" } else { "\"+48 22 555 01 02\"" });
        }
        Resolution::Phone => {
            json.put(["", "\"email\": null, ", "\"email\": \"\", "][(dice >> 8) as usize % 3]);
            json.put("\"phone\": \"+49 30 ")
                .number(5_550_000 + u64::from(conversation.customer) % 10_000)
                .put("\"");
        }
        Resolution::None => {
            json.put(["", "\"email\": null, \"phone\": \"\"", "\"email\": \"\""][(dice >> 8) as usize % 3]);
        }
    }
    json.put("}, \"resolved_at\": \"").time(form.time).put("\"");
}

/// `"correlation_id": "…", `, or what stands for it.
fn correlation(json: &mut Json, form: &Form, conversation: &Conversation) {
    match form.correlation {
        Said::True => {
            json.put("\"correlation_id\": \"");
            id(json, conversation.correlation_id());
            json.put("\", ");
        }
        Said::Missing => {}
        Said::Instead(text) => _ = json.key("correlation_id").put(text).comma(),
    }
}

/// `"customer_id": "…", `, or what stands for it.
fn customer_id(json: &mut Json, form: &Form, conversation: &Conversation) {
    match form.customer {
        Said::True => {
            json.put("\"customer_id\": \"");
            customer(json, conversation.customer);
            json.put("\", ");
        }
        Said::Missing => {}
        Said::Instead(text) => _ = json.key("customer_id").put(text).comma(),
    }
}

fn id(json: &mut Json, (high, low): (u64, u64)) {
    json.uuid(high, low);
}

fn customer(json: &mut Json, number: u32) {
    json.put("cust-").number(100_000 + u64::from(number));
}
