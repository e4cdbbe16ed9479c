//! What follows from each record of a conversation, and how often it goes otherwise.
//!
//! Rule: shares are of what could have happened; the truth of a record is its own, so nothing here is read again.
//!
//! Edges: what makes joins interesting comes from here:
//! - most messages are answered well within the customer's patience, a few after it, some never, some twice;
//! - some answers belong to no message (it was refused, or its normalized form was lost);
//! - some answers carry an earlier time than their message: the dispatcher's clock is behind;
//! - some messages are normalized twice, under one id;
//! - some tickets are of customers who never wrote; customers write through one channel now and another one later.

use super::random::Share;
use super::records::{Conversation, Kind};
use super::system::Resolution;
use super::{CUSTOMERS, Due, Simulator};

/// Records of an average conversation: the shares below, added up, in thousandths.
pub(super) const RECORDS_PER_CONVERSATION: u64 = 6_200;
const VALID: Share = Share::percent(97);
const RESOLVED: Share = Share::percent(60);
const TICKETED: Share = Share::percent(35);
/// Of tickets: someone at the phone.
const NEVER_WROTE: Share = Share::percent(4);
const UPDATED: Share = Share::percent(30);
const REPEATED: Share = Share::percent(1);
const ANSWERED: Share = Share::percent(92);
/// How long answers take by channel, as a share of the longest.
const PACE_PERCENT: [i64; 3] = [100, 40, 70];
const ANSWERED_TWICE: Share = Share::percent(3);
/// Of messages that are not valid.
const REFUSED_IN_WORDS: Share = Share::percent(20);
/// Of conversations.
const ALERTED: Share = Share(200);
/// Of conversations: none of their records but the raw one says the channel.
pub(super) const MUTE: Share = Share::percent(1);
/// Records without a correlation id where there should be one.
pub(super) const NO_CORRELATION: Share = Share(4_000);
pub(super) const NO_CUSTOMER: Share = Share::percent(1);
/// Each instance of a service says how it is doing once in this time, microseconds.
pub(super) const TELLS_EVERY: i64 = 5_000_000;

// === impl Simulator ===

impl Simulator {
    /// Schedules what follows from a record.
    pub(super) fn go_on(&mut self, due: &Due) {
        let Due {
            at, kind, conversation, ..
        } = *due;
        match kind {
            Kind::Raw => {
                self.later(at, (1, 10), Kind::Validated, conversation);
                if self.random.happens(VALID) {
                    self.later(at, (5, 50), Kind::Normalized { again: false }, conversation);
                } else if self.random.happens(REFUSED_IN_WORDS) {
                    self.later(at, (20, 200), Kind::Response { skewed: false }, conversation);
                }
                if self.random.happens(ALERTED) {
                    self.later(at, (1, 100), Kind::Alert, conversation);
                }
            }
            Kind::Normalized { again: false } => {
                self.later(at, (1, 10), Kind::Audit, conversation);
                if self.random.happens(REPEATED) {
                    self.later(at, (1, 2_000), Kind::Normalized { again: true }, conversation);
                }
                if self.random.happens(RESOLVED) {
                    let kind = self.some_identity();
                    self.later(at, (5, 40), kind, conversation);
                }
                if self.random.happens(TICKETED) {
                    self.open_ticket(at, conversation);
                }
                if self.random.happens(ANSWERED) {
                    self.answer(at, conversation);
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

    fn open_ticket(&mut self, at: i64, mut conversation: Conversation) {
        if self.random.happens(NEVER_WROTE) {
            conversation.customer += CUSTOMERS;
        }
        self.later(at, (20, 200), Kind::TicketCreated, conversation);
    }

    /// Most answers are quick, some take most of the customer's patience, some more than that.
    fn answer(&mut self, at: i64, conversation: Conversation) {
        let patience = self.options.patience.as_micros() / 1_000;
        let usual = patience * PACE_PERCENT[conversation.channel as usize] / 100;
        let (delay, skewed) = match self.random.below(100) {
            0 => ((20, 200), true),
            1..75 => ((usual / 50, usual / 6), false),
            75..97 => ((usual / 6, usual * 2 / 3), false),
            _ => ((patience, patience * 4 / 3), false),
        };
        self.later(at, delay, Kind::Response { skewed }, conversation);
        if self.random.happens(ANSWERED_TWICE) {
            let delay = (patience / 6, patience * 2 / 3);
            self.later(at, delay, Kind::Response { skewed: false }, conversation);
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
}
