//! The users' system: ten topics, five producing services and the words they use.
//!
//! Rule: everything a record can be labelled with is named here once, so the writer and the oracle cannot disagree about
//! spelling, only about numbers.

/// The topics, in the order of the data's way through the system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Topic {
    Raw,
    Validation,
    Normalized,
    Identities,
    TicketsIn,
    TicketsOut,
    Responses,
    Alerts,
    Audit,
    Metrics,
}

/// An instance of one of the five services; indexes [`PRODUCERS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Producer(pub u8);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    Email,
    Whatsapp,
    WebForm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    Low,
    Medium,
    High,
}

/// How a customer was recognised: the `resolution_type` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resolution {
    Email,
    Phone,
    /// Nothing to recognise them by.
    None,
    /// Said by the record itself, in `data.resolution_type`.
    Loyalty,
}

/// Values of `producer_id`: three gateways (one a channel), and instances of the four services behind them.
pub const PRODUCERS: [&str; 13] = [
    "email-gateway-1",
    "whatsapp-gateway-1",
    "web-form-gateway-1",
    "normalizer-1",
    "normalizer-2",
    "normalizer-3",
    "identity-resolver-1",
    "identity-resolver-2",
    "ticket-engine-1",
    "ticket-engine-2",
    "response-dispatcher-1",
    "response-dispatcher-2",
    "response-dispatcher-3",
];

// === impl Topic ===

impl Topic {
    pub const ALL: [Topic; 10] = [
        Topic::Raw,
        Topic::Validation,
        Topic::Normalized,
        Topic::Identities,
        Topic::TicketsIn,
        Topic::TicketsOut,
        Topic::Responses,
        Topic::Alerts,
        Topic::Audit,
        Topic::Metrics,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Topic::Raw => "ingestion.raw.messages",
            Topic::Validation => "ingestion.validation.results",
            Topic::Normalized => "ingestion.normalized.messages",
            Topic::Identities => "processing.customer.identities",
            Topic::TicketsIn => "processing.tickets.in",
            Topic::TicketsOut => "processing.tickets.out",
            Topic::Responses => "processing.responses.out",
            Topic::Alerts => "notifications.alerts",
            Topic::Audit => "notifications.audit",
            Topic::Metrics => "notifications.metrics",
        }
    }

    /// Whether its records are joined with others by their event time.
    pub const fn is_joined(self) -> bool {
        matches!(self, Topic::Normalized | Topic::TicketsIn | Topic::Responses)
    }

    /// Whether the broker stamps the records itself (`message.timestamp.type=LogAppendTime`).
    pub const fn has_append_time(self) -> bool {
        matches!(self, Topic::Raw | Topic::Normalized)
    }
}

// === impl Producer ===

impl Producer {
    pub const fn name(self) -> &'static str {
        PRODUCERS[self.0 as usize]
    }

    /// The gateway of a channel.
    pub const fn gateway(channel: Channel) -> Self {
        Self(channel as u8)
    }

    pub const fn normalizer(instance: u64) -> Self {
        Self(3 + (instance % 3) as u8)
    }

    pub const fn resolver(instance: u64) -> Self {
        Self(6 + (instance % 2) as u8)
    }

    pub const fn tickets(instance: u64) -> Self {
        Self(8 + (instance % 2) as u8)
    }

    pub const fn dispatcher(instance: u64) -> Self {
        Self(10 + (instance % 3) as u8)
    }
}

// === impl Channel ===

impl Channel {
    pub const ALL: [Channel; 3] = [Channel::Email, Channel::Whatsapp, Channel::WebForm];

    pub const fn name(self) -> &'static str {
        match self {
            Channel::Email => "email",
            Channel::Whatsapp => "whatsapp",
            Channel::WebForm => "web_form",
        }
    }
}

// === impl Priority ===

impl Priority {
    pub const ALL: [Priority; 3] = [Priority::Low, Priority::Medium, Priority::High];

    pub const fn name(self) -> &'static str {
        match self {
            Priority::Low => "low",
            Priority::Medium => "medium",
            Priority::High => "high",
        }
    }
}

// === impl Resolution ===

impl Resolution {
    pub const ALL: [Resolution; 4] = [
        Resolution::Email,
        Resolution::Phone,
        Resolution::None,
        Resolution::Loyalty,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Resolution::Email => "email",
            Resolution::Phone => "phone",
            Resolution::None => "none",
            Resolution::Loyalty => "loyalty_card",
        }
    }
}
