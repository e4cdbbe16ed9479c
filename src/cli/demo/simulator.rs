//! The users' system, simulated: five services that write ten topics in the users' format, with everything that goes wrong.
//!
//! Rule: a seed and its options are the records, byte by byte, on every machine. Each record comes with what it truly is,
//! so that totals can be checked without reading it again.
//!
//! Edges:
//! - records come in the order in which they are written ([`Simulated::at`]); their event times do not: some are a little
//!   early, some late, a few days ahead;
//! - a conversation goes raw, validated, normalized, then identity, ticket and response, each some time later; some never
//!   get a response, some get two;
//! - alerts and service metrics are rare, so that some partitions stay silent;
//! - it never ends: whoever runs it takes as much as they want.

mod json;
mod random;
mod records;
mod rhythm;
mod spoil;
mod system;
#[cfg(test)]
mod tests;
mod words;

pub use random::{Random, Share};
pub use spoil::Spoiled;
pub use system::{Channel, PRODUCERS, Priority, Producer, Resolution, Topic};

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use json::Json;
use random::mix;
use records::{Clock, Conversation, Form, Kind};
use rhythm::Rhythm;
use xxhash_rust::xxh3::xxh3_64;

use crate::engine::time::{EventTime, Span, WallTime};

/// What kind of system is simulated.
#[derive(Clone, Debug)]
pub struct SimulatorOptions {
    /// When it starts, by the clocks of its services.
    pub start: EventTime,
    /// Of every topic.
    pub partitions: u32,
    /// Records a second over all topics, on the average of a day.
    pub rate: u32,
    /// The length of a business day, with its bursts and its slow hour.
    pub day: Span,
    /// How far the event time of a record that is not late may lie before its writing.
    pub disorder: Span,
    /// Records that come later than that: how many, and how late.
    pub late: Share,
    pub late_by: (Span, Span),
    pub malformed: Share,
    /// Records whose time is days ahead.
    pub future: Share,
    /// Records of more than 1 MiB.
    pub oversize: Share,
}

/// One record as a service writes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulated {
    pub topic: Topic,
    pub partition: u32,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    /// The record's timestamp: the writer's clock as it was sent. Never goes back.
    pub at: WallTime,
    pub truth: Truth,
}

/// What a record truly is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth {
    pub fate: Fate,
    pub producer: Producer,
    pub adds: Adds,
}

/// What must become of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Counted,
    Future,
    Malformed(Spoiled),
    Oversize,
}

/// What a counted record adds to the business metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adds {
    Nothing,
    Message(Channel),
    Ticket(Priority),
    Identity(Resolution, bool),
}

/// See the module. An endless iterator.
#[derive(Debug)]
pub struct Simulator {
    options: SimulatorOptions,
    rhythm: Rhythm,
    random: Random,
    json: Json,
    /// When the next conversation begins, in nanoseconds since the start.
    next_arrival: u64,
    conversations: u64,
    /// Steps of conversations that are under way, and the ticks of services.
    due: BinaryHeap<Reverse<Due>>,
    sequence: u32,
    /// Pads records that are larger than 1 MiB.
    padding: Vec<u8>,
}

/// A record that will be written.
#[derive(Clone, Copy, Debug)]
struct Due {
    /// Microseconds since the start.
    at: i64,
    /// Makes the order of what is due at the same time the order in which it came up.
    sequence: u32,
    kind: Kind,
    conversation: Conversation,
}

/// Records of an average conversation: the shares in [`Simulator::go_on`], added up, in thousandths.
const RECORDS_PER_CONVERSATION: u64 = 6_080;
const VALID: Share = Share::percent(97);
const RESOLVED: Share = Share::percent(60);
const TICKETED: Share = Share::percent(35);
const UPDATED: Share = Share::percent(30);
const ANSWERED: Share = Share::percent(80);
const ANSWERED_TWICE: Share = Share::percent(3);
/// Of conversations.
const ALERTED: Share = Share(200);
/// Each instance of a service says how it is doing once in this time, microseconds.
const TELLS_EVERY: i64 = 5_000_000;
/// Records that come out of order at all.
const DISORDERED: Share = Share::percent(5);
/// Larger than any pipeline takes by default.
const OVERSIZE_BYTES: usize = (1 << 20) + 1;

// === impl SimulatorOptions ===

impl SimulatorOptions {
    /// The system as the product is tested on: disorder within 3 s, late records behind the default of 5 s.
    pub fn at(start: EventTime) -> Self {
        Self {
            start,
            partitions: 6,
            rate: 50_000,
            day: Span::seconds(60),
            disorder: Span::seconds(3),
            late: Share(3_000),
            late_by: (Span::seconds(6), Span::seconds(30)),
            malformed: Share(2_000),
            future: Share(200),
            oversize: Share(2),
        }
    }
}

// === impl Simulator ===

impl Simulator {
    pub fn new(seed: u64, options: SimulatorOptions) -> Self {
        let mut simulator = Self {
            rhythm: Rhythm::new(options.day, options.rate),
            options,
            random: Random::new(seed),
            json: Json::new(),
            next_arrival: 0,
            conversations: mix(seed) << 32,
            due: BinaryHeap::new(),
            sequence: 0,
            padding: Vec::new(),
        };
        for producer in 0..PRODUCERS.len() {
            // The conversation of a tick only names the instance.
            let at = TELLS_EVERY * producer as i64 / PRODUCERS.len() as i64;
            simulator.schedule(
                at,
                Kind::ServiceMetrics,
                Conversation {
                    id: producer as u64,
                    ..NOBODY
                },
            );
        }
        simulator
    }

    /// The simulated hour of the day at this time.
    pub fn hour(&self, at: WallTime) -> u32 {
        self.rhythm.hour(at.since(WallTime(self.options.start.0)))
    }

    /// Everything that is not written yet is written later by this.
    pub fn stand_still(&mut self, time: Span) {
        self.options.start = self.options.start.ahead(time);
    }

    fn schedule(&mut self, at: i64, kind: Kind, conversation: Conversation) {
        self.sequence = self.sequence.wrapping_add(1);
        self.due.push(Reverse(Due {
            at,
            sequence: self.sequence,
            kind,
            conversation,
        }));
    }

    /// What is written next.
    fn take_due(&mut self) -> Due {
        let arrival = (self.next_arrival / 1_000) as i64;
        if let Some(due) = self.due.peek().filter(|due| due.0.at <= arrival).copied() {
            self.due.pop();
            return due.0;
        }
        let gap = 1_000_000_000 * RECORDS_PER_CONVERSATION / 1_000 / self.rhythm.rate(Span::micros(arrival));
        self.next_arrival += gap / 2 + self.random.below(gap.max(1));
        self.conversations += 1;
        let dice = self.random.draw();
        let conversation = Conversation {
            id: self.conversations,
            customer: (dice >> 40) as u32 % 20_000,
            channel: [
                Channel::Email,
                Channel::Email,
                Channel::Whatsapp,
                Channel::Whatsapp,
                Channel::WebForm,
            ][dice as usize % 5],
            priority: [
                Priority::Low,
                Priority::Low,
                Priority::Medium,
                Priority::Medium,
                Priority::High,
            ][(dice >> 8) as usize % 5],
        };
        self.sequence = self.sequence.wrapping_add(1);
        Due {
            at: arrival,
            sequence: self.sequence,
            kind: Kind::Raw,
            conversation,
        }
    }

    /// Schedules what follows from a record.
    fn go_on(&mut self, due: &Due) {
        let Due {
            at, kind, conversation, ..
        } = *due;
        match kind {
            Kind::Raw => {
                self.later(at, (1, 10), Kind::Validated, conversation);
                if self.random.happens(VALID) {
                    self.later(at, (5, 50), Kind::Normalized, conversation);
                }
                if self.random.happens(ALERTED) {
                    self.later(at, (1, 100), Kind::Alert, conversation);
                }
            }
            Kind::Normalized => {
                self.later(at, (1, 10), Kind::Audit, conversation);
                if self.random.happens(RESOLVED) {
                    let kind = self.some_identity();
                    self.later(at, (5, 40), kind, conversation);
                }
                if self.random.happens(TICKETED) {
                    self.later(at, (20, 200), Kind::TicketCreated, conversation);
                }
                if self.random.happens(ANSWERED) {
                    self.later(at, (200, 4_000), Kind::Response, conversation);
                    if self.random.happens(ANSWERED_TWICE) {
                        self.later(at, (4_000, 6_000), Kind::Response, conversation);
                    }
                }
            }
            Kind::TicketCreated => {
                self.later(at, (50, 500), Kind::TicketProcessed, conversation);
                if self.random.happens(UPDATED) {
                    self.later(at, (1_000, 5_000), Kind::TicketUpdated, conversation);
                }
            }
            Kind::ServiceMetrics => self.schedule(at + TELLS_EVERY, kind, conversation),
            _ => {}
        }
    }

    /// Schedules a step some milliseconds from now.
    fn later(&mut self, at: i64, (least, most): (i64, i64), kind: Kind, conversation: Conversation) {
        let after = self.random.between(least * 1_000, most * 1_000);
        self.schedule(at + after, kind, conversation);
    }

    fn some_identity(&mut self) -> Kind {
        let resolution = match self.random.below(20) {
            0..11 => Resolution::Email,
            11..15 => Resolution::Phone,
            15..18 => Resolution::Loyalty,
            _ => Resolution::None,
        };
        let success = match resolution {
            Resolution::None => self.random.below(10) == 0,
            _ => self.random.below(10) != 0,
        };
        Kind::Identity { resolution, success }
    }

    /// How far the event time of the next record lies before its writing.
    fn delay(&mut self) -> Span {
        let (least, most) = if self.random.happens(self.options.late) {
            self.options.late_by
        } else if self.random.happens(DISORDERED) {
            (Span::ZERO, self.options.disorder)
        } else {
            // What it takes to hand a record to the client.
            (Span::ZERO, Span::millis(4))
        };
        Span::micros(self.random.between(least.as_micros(), most.as_micros()))
    }

    fn clock(&mut self, time: &mut EventTime) -> Clock {
        match self.random.below(1_000) {
            // Some code paths cut the microseconds.
            0..100 => {
                time.0 -= time.0.rem_euclid(1_000_000);
                Clock::Naive
            }
            100..105 => Clock::Zulu,
            105..107 => Clock::EpochSeconds,
            107..109 => Clock::EpochMillis,
            _ => Clock::Naive,
        }
    }

    fn write(&mut self, due: &Due) -> Simulated {
        let Due {
            at,
            kind,
            ref conversation,
            ..
        } = *due;
        let at = WallTime(self.options.start.0 + at);
        let mut time = at.as_event().back(self.delay());
        let producer = producer_of(kind, conversation);
        let mut fate = Fate::Counted;
        let mut clock = Clock::Naive;
        if self.random.happens(self.options.malformed) {
            fate = Fate::Malformed(Spoiled::some(&mut self.random, kind));
        } else if self.random.happens(self.options.future) {
            fate = Fate::Future;
            time = time.ahead(Span::seconds(self.random.between(600, 30 * 86_400)));
        } else if self.random.happens(self.options.oversize) {
            fate = Fate::Oversize;
        } else {
            clock = self.clock(&mut time);
        }
        let channel = ["\"email\"", "\"whatsapp\"", "\"web_form\""][conversation.channel as usize];
        let mut form = Form {
            kind,
            producer,
            time,
            clock,
            channel: Some(channel),
        };
        if let Fate::Malformed(spoiled) = fate {
            spoiled.change(&mut form, &mut self.random);
        }
        records::write(&mut self.json, &form, conversation, &mut self.random);
        let value = std::mem::take(&mut self.json.bytes);
        let value = match fate {
            Fate::Malformed(spoiled) => spoiled.damage(value, &mut self.random),
            Fate::Oversize => Some(self.padded(value)),
            Fate::Counted | Fate::Future => Some(value),
        };
        let key = kind.key(conversation, producer);
        let partition = match &key {
            Some(key) => xxh3_64(key) % u64::from(self.options.partitions.max(1)),
            None => self.random.below(u64::from(self.options.partitions.max(1))),
        };
        let adds = match kind {
            _ if fate != Fate::Counted => Adds::Nothing,
            Kind::Raw => Adds::Message(conversation.channel),
            Kind::TicketCreated => Adds::Ticket(conversation.priority),
            Kind::Identity { resolution, success } => Adds::Identity(resolution, success),
            _ => Adds::Nothing,
        };
        let truth = Truth { fate, producer, adds };
        Simulated {
            topic: kind.topic(),
            partition: partition as u32,
            key,
            value,
            at,
            truth,
        }
    }

    /// The same document with more than a mebibyte of attachment.
    fn padded(&mut self, mut value: Vec<u8>) -> Vec<u8> {
        if self.padding.is_empty() {
            self.padding = b"\"attachment\": \"".to_vec();
            self.padding.resize(OVERSIZE_BYTES, b'A');
            self.padding.extend_from_slice(b"\", ");
        }
        value.splice(1..1, self.padding.iter().copied()).for_each(drop);
        value
    }
}

impl Iterator for Simulator {
    type Item = Simulated;

    fn next(&mut self) -> Option<Simulated> {
        let due = self.take_due();
        self.go_on(&due);
        Some(self.write(&due))
    }
}

/// Records of services have no customer.
const NOBODY: Conversation = Conversation {
    id: 0,
    customer: 0,
    channel: Channel::Email,
    priority: Priority::Low,
};

/// The instance that handles a conversation at this step.
fn producer_of(kind: Kind, conversation: &Conversation) -> Producer {
    let id = conversation.id;
    match kind {
        Kind::Raw | Kind::Validated => Producer::gateway(conversation.channel),
        Kind::Normalized | Kind::Audit => Producer::normalizer(id),
        Kind::Identity { .. } => Producer::resolver(id),
        Kind::TicketCreated | Kind::TicketUpdated | Kind::TicketProcessed => Producer::tickets(id),
        Kind::Response | Kind::Alert => Producer::dispatcher(id),
        Kind::ServiceMetrics => Producer(id as u8),
    }
}

// === impl Fate ===

impl Fate {
    /// As in the ledger.
    pub fn name(self) -> &'static str {
        match self {
            Fate::Counted => "counted",
            Fate::Future => "future",
            Fate::Malformed(_) => "malformed",
            Fate::Oversize => "oversize",
        }
    }
}

// === impl Due ===

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.sequence).cmp(&(other.at, other.sequence))
    }
}
