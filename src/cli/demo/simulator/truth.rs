//! What records truly are, for those who check totals.
//!
//! Rule: said by who writes the record, from what it writes, and never read back from it.

use super::records::{Conversation, Form, Kind, Said};
use super::spoil::Spoiled;
use super::system::{Channel, Priority, Producer, Resolution};
use crate::engine::time::EventTime;

/// What a record truly is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Truth {
    pub fate: Fate,
    pub producer: Producer,
    /// When it happened, as the record spells it.
    pub time: EventTime,
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

/// What a counted record adds to the business metrics; `None` is what the record does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Adds {
    Nothing,
    Message(Channel),
    /// A normalized message: someone waits for an answer, and this is the channel that the customer uses now.
    Request {
        conversation: Option<u64>,
        customer: Option<u32>,
        channel: Option<Channel>,
    },
    Response {
        conversation: Option<u64>,
        channel: Option<Channel>,
    },
    Ticket {
        customer: Option<u32>,
        priority: Priority,
    },
    Identity(Resolution, bool),
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

/// What a counted record adds.
pub(super) fn adds(form: &Form, conversation: &Conversation) -> Adds {
    let said = |said: Said| said == Said::True;
    let channel = (!conversation.is_mute).then_some(conversation.channel);
    let of_conversation = said(form.correlation).then_some(conversation.id);
    let customer = said(form.customer).then_some(conversation.customer);
    match form.kind {
        Kind::Raw => Adds::Message(conversation.channel),
        Kind::Normalized { .. } => Adds::Request {
            conversation: of_conversation,
            customer,
            channel,
        },
        Kind::Response { .. } => Adds::Response {
            conversation: of_conversation,
            channel,
        },
        Kind::TicketCreated => Adds::Ticket {
            customer,
            priority: conversation.priority,
        },
        Kind::Identity { resolution, success } => Adds::Identity(resolution, success),
        _ => Adds::Nothing,
    }
}
