//! The users' system, simulated: five services that write ten topics in the users' format, with everything that goes wrong.
//!
//! Rule: a seed and its options are the records, byte by byte, on every machine. Each record comes with what it truly is,
//! so that totals can be checked without reading it again.
//!
//! Edges:
//! - records come in the order in which they are written ([`Simulated::at`]); their event times do not: some are a little
//!   early, some late, a few days ahead;
//! - a conversation goes raw, validated, normalized, then identity, ticket and response, each some time later; [`steps`]
//!   says what goes otherwise;
//! - in topics that are joined by event time no record is late, but for the clocks of their writers, which stay within
//!   [`SimulatorOptions::disorder`]: whether a join still takes a late record depends on the moment, and totals must not;
//! - alerts and service metrics are rare, so that some partitions stay silent;
//! - it never ends: whoever runs it takes as much as they want.

mod json;
mod random;
mod records;
mod rhythm;
mod spoil;
mod steps;
mod system;
#[cfg(test)]
mod tests;
mod truth;
mod words;

pub use random::{Random, Share};
pub use spoil::Spoiled;
pub use system::{Channel, PRODUCERS, Priority, Producer, Resolution, Topic};
pub use truth::{Adds, Fate, Truth};

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use json::Json;
use random::mix;
use records::{Clock, Conversation, Form, Kind, Said};
use rhythm::Rhythm;
use steps::{MUTE, NO_CORRELATION, NO_CUSTOMER, RECORDS_PER_CONVERSATION, TELLS_EVERY};
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
    /// How long a customer waits for an answer: most come well before, a few after.
    pub patience: Span,
    /// Records that come later than that: how many, and how late. Only in topics that are not joined.
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
    pub headers: Vec<(&'static str, String)>,
    /// The record's timestamp: the writer's clock as it was sent. Never goes back.
    pub at: WallTime,
    pub truth: Truth,
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

/// Customers who write; numbers from here on are of others.
const CUSTOMERS: u32 = 20_000;
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
            patience: Span::seconds(30),
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

    /// When the next record will be written.
    pub fn next_at(&self) -> WallTime {
        let arrival = self.arrival();
        let next = self.due.peek().map_or(arrival, |due| due.0.at.min(arrival));
        WallTime(self.options.start.0 + next)
    }

    /// The earliest event time that a record can have which is written then, if its topic is joined.
    pub fn earliest_at(&self, written: WallTime) -> EventTime {
        written.as_event().back(self.options.disorder)
    }

    /// When the next conversation begins, in microseconds since the start.
    fn arrival(&self) -> i64 {
        (self.next_arrival / 1_000) as i64
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
        let arrival = self.arrival();
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
            customer: (dice >> 40) as u32 % CUSTOMERS,
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
            is_mute: self.random.happens(MUTE),
        };
        self.sequence = self.sequence.wrapping_add(1);
        Due {
            at: arrival,
            sequence: self.sequence,
            kind: Kind::Raw,
            conversation,
        }
    }

    /// How far the event time of the next record lies before its writing.
    fn delay(&mut self, kind: Kind) -> Span {
        let (least, most) = if kind == (Kind::Response { skewed: true }) {
            (
                self.options.disorder.as_micros() * 3 / 4,
                self.options.disorder.as_micros(),
            )
        } else if !kind.topic().is_joined() && self.random.happens(self.options.late) {
            (self.options.late_by.0.as_micros(), self.options.late_by.1.as_micros())
        } else if self.random.happens(DISORDERED) {
            (0, self.options.disorder.as_micros())
        } else {
            // What it takes to hand a record to the client.
            (0, 4_000)
        };
        Span::micros(self.random.between(least, most))
    }

    /// How a record spells its time, which is not before `earliest` where that is known.
    fn clock(&mut self, time: &mut EventTime, earliest: Option<EventTime>) -> Clock {
        let mut cut = |micros: i64| {
            let whole = EventTime(time.0 - time.0.rem_euclid(micros));
            let fits = earliest.is_none_or(|earliest| whole >= earliest);
            if fits {
                *time = whole;
            }
            fits
        };
        match self.random.below(1_000) {
            // Some code paths cut the microseconds; where records are joined they are rare, or many answers would seem to
            // come before their messages.
            0..20 => {
                cut(1_000_000);
                Clock::Naive
            }
            20..100 if earliest.is_none() => {
                cut(1_000_000);
                Clock::Naive
            }
            100..105 => Clock::Zulu,
            105..107 => Clock::EpochSeconds,
            107..109 if cut(1_000) => Clock::EpochMillis,
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
        let mut time = at.as_event().back(self.delay(kind));
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
            let earliest = kind.topic().is_joined().then(|| self.earliest_at(at));
            clock = self.clock(&mut time, earliest);
        }
        let channel = ["\"email\"", "\"whatsapp\"", "\"web_form\""][conversation.channel as usize];
        let mut form = Form {
            kind,
            producer,
            time,
            clock,
            channel: if conversation.is_mute && kind != Kind::Raw {
                Some("null")
            } else {
                Some(channel)
            },
            correlation: self.said(NO_CORRELATION),
            customer: self.said(NO_CUSTOMER),
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
        let adds = if fate == Fate::Counted {
            truth::adds(&form, conversation)
        } else {
            Adds::Nothing
        };
        let truth = Truth {
            fate,
            producer,
            time,
            adds,
        };
        let traceparent = match kind {
            Kind::Normalized { .. } => conversation.traceparent(),
            _ => None,
        };
        Simulated {
            topic: kind.topic(),
            partition: partition as u32,
            key,
            value,
            headers: traceparent.map(|value| ("traceparent", value)).into_iter().collect(),
            at,
            truth,
        }
    }

    /// Whether the next record has an id, or what it has instead.
    fn said(&mut self, not: Share) -> Said {
        if self.random.happens(not) {
            self.random.one_of(&[
                Said::Missing,
                Said::Instead("null"),
                Said::Instead("\"\""),
                Said::Instead("{}"),
            ])
        } else {
            Said::True
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
    is_mute: false,
};

/// The instance that handles a conversation at this step.
fn producer_of(kind: Kind, conversation: &Conversation) -> Producer {
    let id = conversation.id;
    match kind {
        Kind::Raw | Kind::Validated => Producer::gateway(conversation.channel),
        Kind::Normalized { .. } | Kind::Audit => Producer::normalizer(id),
        Kind::Identity { .. } => Producer::resolver(id),
        Kind::TicketCreated | Kind::TicketUpdated | Kind::TicketProcessed => Producer::tickets(id),
        Kind::Response { .. } | Kind::Alert => Producer::dispatcher(id),
        Kind::ServiceMetrics => Producer(id as u8),
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
