//! What needs two records to know: response times and tickets' channels, from the truth of what was written.
//!
//! Rule: events are taken in the order of their times, requests before responses before tickets, once no earlier one can
//! be written any more. A conversation is open, answered, or has an answer before its message; each has its end.
//!
//! Edges:
//! - an answer at the message's own time, or exactly at the bound, counts;
//! - of answers without a message the first one's channel stands for all of them;
//! - a customer's channel is that of the newest message at or before the ticket; of two messages at one time it is the
//!   channel that sorts last.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};

use super::simulator::{Adds, Channel, Priority, Truth};
use crate::engine::time::{EventTime, Span};

/// Channels, and one that is not known.
pub const CHANNELS: [&str; 4] = [
    Channel::ALL[0].name(),
    Channel::ALL[1].name(),
    Channel::ALL[2].name(),
    "unknown",
];

/// How long the pipeline waits for whom.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    pub within: Span,
    /// How long an answered conversation is known.
    pub forget: Span,
    /// How much later than its answer a message may be.
    pub skew: Span,
    /// How old a customer's channel may be.
    pub look_back: Span,
}

/// See the module.
#[derive(Clone, Debug)]
pub struct Joined {
    bounds: Bounds,
    waiting: BTreeMap<Place, Adds>,
    sequence: u64,
    conversations: HashMap<u64, Conversation>,
    /// Ends of conversations; one that moved on since is passed over.
    ends: BinaryHeap<Reverse<(EventTime, u64)>>,
    channels: HashMap<u32, (EventTime, Channel)>,
    pub sums: Sums,
}

/// What all that is decided adds up to; by channel where there is one, see [`CHANNELS`].
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// First answers, and the microseconds to them.
    pub answered: [(u64, u64); CHANNELS.len()],
    pub unanswered: [u64; CHANNELS.len()],
    pub unmatched: [u64; CHANNELS.len()],
    pub second: u64,
    pub negative: u64,
    pub duplicate: u64,
    /// Messages and answers that do not say their conversation.
    pub without_conversation: u64,
    /// Tickets that do not say their customer, and messages that do not say both customer and channel.
    pub without_customer: u64,
    pub tickets: [[u64; Priority::ALL.len()]; CHANNELS.len()],
}

/// Time, rank at that time, the channel's name, and how many came before.
type Place = (EventTime, u8, &'static str, u64);

#[derive(Clone, Copy, Debug)]
enum Conversation {
    Open {
        since: EventTime,
        channel: usize,
    },
    Answered {
        until: EventTime,
    },
    Early {
        since: EventTime,
        channel: usize,
        count: u64,
    },
}

// === impl Sums ===

impl Sums {
    /// Conversations that had an answer, whichever time it carries.
    pub fn journeys_answered(&self) -> u64 {
        self.answered.iter().map(|(count, _)| count).sum::<u64>() + self.negative
    }

    pub fn journeys_unanswered(&self) -> u64 {
        self.unanswered.iter().sum()
    }
}

// === impl Joined ===

impl Joined {
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            waiting: BTreeMap::new(),
            sequence: 0,
            conversations: HashMap::new(),
            ends: BinaryHeap::new(),
            channels: HashMap::new(),
            sums: Sums::default(),
        }
    }

    /// A record that counts was written.
    pub fn wrote(&mut self, truth: &Truth) {
        let (rank, channel) = match truth.adds {
            Adds::Request { channel, .. } => (0, channel),
            Adds::Response { channel, .. } => (1, channel),
            Adds::Ticket { .. } => (2, None),
            Adds::Nothing | Adds::Message(_) | Adds::Identity(..) => return,
        };
        self.sequence += 1;
        let place = (truth.time, rank, channel.map_or("", Channel::name), self.sequence);
        self.waiting.insert(place, truth.adds);
    }

    /// Nothing at or before this time will be written any more.
    pub fn passed(&mut self, time: EventTime) {
        while let Some(first) = self.waiting.first_entry() {
            let at = first.key().0;
            if at > time {
                break;
            }
            let adds = first.remove();
            // What ends at this very time is not over yet.
            self.end_before(EventTime(at.0 - 1));
            self.take(at, adds);
        }
        self.end_before(time);
    }

    fn take(&mut self, at: EventTime, adds: Adds) {
        match adds {
            Adds::Request {
                conversation,
                customer,
                channel,
            } => {
                match (customer, channel) {
                    (Some(customer), Some(channel)) => _ = self.channels.insert(customer, (at, channel)),
                    _ => self.sums.without_customer += 1,
                }
                match conversation {
                    Some(id) => self.ask(at, id, index(channel)),
                    None => self.sums.without_conversation += 1,
                }
            }
            Adds::Response { conversation, channel } => match conversation {
                Some(id) => self.answer(at, id, index(channel)),
                None => self.sums.without_conversation += 1,
            },
            Adds::Ticket { customer, priority } => {
                self.sums.without_customer += u64::from(customer.is_none());
                let known = customer.and_then(|customer| self.channels.get(&customer));
                let known = known.filter(|(since, _)| since.ahead(self.bounds.look_back) >= at);
                let channel = index(known.map(|(_, channel)| *channel));
                self.sums.tickets[channel][priority as usize] += 1;
            }
            Adds::Nothing | Adds::Message(_) | Adds::Identity(..) => {}
        }
    }

    fn ask(&mut self, at: EventTime, id: u64, channel: usize) {
        match self.conversations.get(&id) {
            None => self.becomes(id, Conversation::Open { since: at, channel }),
            Some(Conversation::Open { .. } | Conversation::Answered { .. }) => self.sums.duplicate += 1,
            Some(Conversation::Early { count, .. }) => {
                self.sums.negative += 1;
                self.sums.second += count - 1;
                self.is_answered(id, at);
            }
        }
    }

    fn answer(&mut self, at: EventTime, id: u64, channel: usize) {
        match self.conversations.get_mut(&id) {
            None => self.becomes(
                id,
                Conversation::Early {
                    since: at,
                    channel,
                    count: 1,
                },
            ),
            Some(Conversation::Early { count, .. }) => *count += 1,
            Some(Conversation::Answered { .. }) => self.sums.second += 1,
            Some(Conversation::Open { since, channel }) => {
                let (count, micros) = &mut self.sums.answered[*channel];
                *count += 1;
                *micros += at.0.abs_diff(since.0);
                self.is_answered(id, at);
            }
        }
    }

    fn is_answered(&mut self, id: u64, at: EventTime) {
        let until = at.ahead(self.bounds.forget);
        self.becomes(id, Conversation::Answered { until });
    }

    fn becomes(&mut self, id: u64, conversation: Conversation) {
        self.ends.push(Reverse((self.end_of(conversation), id)));
        self.conversations.insert(id, conversation);
    }

    fn end_of(&self, conversation: Conversation) -> EventTime {
        match conversation {
            Conversation::Open { since, .. } => since.ahead(self.bounds.within),
            Conversation::Answered { until } => until,
            Conversation::Early { since, .. } => since.ahead(self.bounds.skew),
        }
    }

    /// Ends what ends at this time or earlier.
    fn end_before(&mut self, time: EventTime) {
        while let Some(Reverse((end, id))) = self.ends.peek().copied() {
            if end > time {
                break;
            }
            self.ends.pop();
            let known = self.conversations.get(&id).copied();
            let Some(known) = known.filter(|known| self.end_of(*known) == end) else {
                continue;
            };
            self.conversations.remove(&id);
            match known {
                Conversation::Open { channel, .. } => self.sums.unanswered[channel] += 1,
                Conversation::Early { channel, count, .. } => self.sums.unmatched[channel] += count,
                Conversation::Answered { .. } => {}
            }
        }
    }
}

/// Into [`CHANNELS`].
fn index(channel: Option<Channel>) -> usize {
    channel.map_or(CHANNELS.len() - 1, |channel| channel as usize)
}

#[cfg(test)]
mod tests {
    use super::super::simulator::{Fate, Producer};
    use super::*;

    const BOUNDS: Bounds = Bounds {
        within: Span::seconds(10),
        forget: Span::seconds(20),
        skew: Span::seconds(2),
        look_back: Span::seconds(60),
    };

    fn truth(seconds: i64, adds: Adds) -> Truth {
        Truth {
            fate: Fate::Counted,
            producer: Producer(0),
            time: EventTime(seconds * 1_000_000),
            adds,
        }
    }

    fn request(seconds: i64) -> Truth {
        let adds = Adds::Request {
            conversation: Some(1),
            customer: Some(7),
            channel: Some(Channel::Whatsapp),
        };
        truth(seconds, adds)
    }

    fn response(seconds: i64) -> Truth {
        let adds = Adds::Response {
            conversation: Some(1),
            channel: None,
        };
        truth(seconds, adds)
    }

    fn ticket(seconds: i64) -> Truth {
        let adds = Adds::Ticket {
            customer: Some(7),
            priority: Priority::High,
        };
        truth(seconds, adds)
    }

    fn sums(written: &[Truth]) -> Sums {
        let mut joined = Joined::new(BOUNDS);
        written.iter().for_each(|truth| joined.wrote(truth));
        joined.passed(EventTime(i64::MAX));
        joined.sums
    }

    #[test]
    fn the_first_answer_counts_in_whatever_order_it_is_written() {
        let sums = sums(&[response(8), response(4), request(1)]);
        assert_eq!((sums.answered[1], sums.second), ((1, 3_000_000), 1));
    }

    #[test]
    fn an_answer_counts_up_to_the_bound_and_no_longer() {
        assert_eq!(sums(&[request(1), response(11)]).answered[1], (1, 10_000_000));
        let late = sums(&[request(1), response(12)]);
        assert_eq!(
            (late.unanswered[1], late.unmatched[3], late.answered[1]),
            (1, 1, (0, 0))
        );
    }

    #[test]
    fn an_answer_before_its_message_is_negative_within_the_skew() {
        let sums_of = |request_at| {
            let sums = sums(&[request(request_at), response(5)]);
            (sums.negative, sums.unmatched[3], sums.unanswered[1])
        };
        assert_eq!(sums_of(7), (1, 0, 0));
        assert_eq!(sums_of(8), (0, 1, 1));
    }

    #[test]
    fn a_message_again_is_a_duplicate_until_its_answer_is_forgotten() {
        assert_eq!(sums(&[request(1), request(2), response(3), request(23)]).duplicate, 2);
        let later = sums(&[request(1), response(3), request(24)]);
        assert_eq!((later.duplicate, later.unanswered[1]), (0, 1));
    }

    #[test]
    fn a_ticket_has_the_channel_of_the_newest_message_at_or_before_it() {
        let sums = sums(&[ticket(4), ticket(5), request(5), ticket(65), ticket(66)]);
        assert_eq!((sums.tickets[1][2], sums.tickets[3][2]), (2, 2));
    }
}
