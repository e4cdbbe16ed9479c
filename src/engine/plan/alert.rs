//! Rules of alerts, and who is told.
//!
//! Rule: the plan holds everything that is needed to reach a receiver, checked. Secrets are [`Secret`]s, which show nothing
//! of themselves.

use std::fmt;

use crate::engine::series::DefinitionHash;
use crate::engine::time::Span;

/// One of the `alerts:` of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Unique over all pipelines.
    pub name: String,
    /// Index into [`Plan::pipelines`](super::Plan::pipelines).
    pub pipeline: usize,
    /// Of what is decided: metric, condition, `for`, groups. Not of who is told, and how.
    pub definition: DefinitionHash,
    /// The metric's name: one of the plan, of the lag stage, or one of streamgauge's own.
    pub metric: String,
    /// Names of the metric's labels, in the order of its series keys.
    pub labels: Vec<String>,
    /// Only series whose label (by index into `labels`) is one of these.
    pub matching: Vec<(usize, Vec<String>)>,
    pub condition: Condition,
    /// Series that have these labels in common are added up; each stands for itself without it.
    pub sum_by: Option<Vec<usize>>,
    /// How long the condition must be met.
    pub hold: Span,
    pub severity: String,
    /// Labels of the rule's own, sorted by name.
    pub own_labels: Vec<(String, String)>,
    /// Labels whose values an alert's group is told by; none: all alerts of the rule are one group.
    pub group: Vec<usize>,
    pub repeat: Span,
    pub summary: String,
    pub description: Template,
    /// Names of receivers.
    pub to: Vec<String>,
}

/// When an alert is pending.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Condition {
    /// The newest value.
    Value(Bound),
    /// What a counter grew a second, over this span.
    Rate {
        over: Span,
        bound: Bound,
        /// Only where the counter was above this when the span began.
        began_above: Option<f64>,
    },
    /// Nothing came for so long.
    Absent(Span),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    Above(f64),
    Below(f64),
}

/// A text with values to be filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template(pub Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text(String),
    /// The value of a label, by index into [`Alert::labels`].
    Label(usize),
    /// The value that is compared with the bound.
    Value,
}

/// One of the `receivers:` of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver {
    /// Unique over all pipelines.
    pub name: String,
    pub via: Via,
}

/// How a receiver is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    Mail(Mail),
    Alertmanager(Alertmanager),
    /// A `system_alert` envelope, as the users' services write them, to this topic.
    Topic(String),
}

/// A mail server and who gets mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    pub host: String,
    pub port: u16,
    pub security: MailSecurity,
    /// Addresses as RFC 5322 has them, with or without a name.
    pub from: String,
    pub to: Vec<String>,
    pub login: Option<Login>,
    /// PEM of the only authorities to trust; the system's without it.
    pub authority: Option<Vec<u8>>,
}

/// How a mail server is spoken to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MailSecurity {
    /// STARTTLS, required: a server that does not offer it is refused. Port 587 unless said.
    #[default]
    StartTls,
    /// TLS from the first byte. Port 465 unless said.
    Tls,
    /// None: only without a login, for a server on loopback. Port 25 unless said.
    None,
}

/// Alertmanager's API v2.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alertmanager {
    /// Base URLs, without `/api/v2`; every one is told, since Alertmanagers of a cluster want it so.
    pub urls: Vec<String>,
    pub login: Option<Login>,
    /// Instead of a login.
    pub token: Option<Secret>,
    pub authority: Option<Vec<u8>>,
}

/// A name and its password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    pub username: String,
    pub password: Secret,
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

// === impl Plan ===

impl super::Plan {
    /// Whether anybody is told of anything.
    pub fn notifies(&self) -> bool {
        self.alerts.iter().any(|alert| !alert.to.is_empty())
    }
}

// === impl Alert ===

impl Alert {
    /// The labels that tell its alerts apart, as indices into [`Alert::labels`].
    pub fn identity(&self) -> Vec<usize> {
        match (&self.condition, &self.sum_by) {
            (Condition::Absent(_), _) => self
                .matching
                .iter()
                .filter(|(_, of)| of.len() == 1)
                .map(|(at, _)| *at)
                .collect(),
            (_, Some(by)) => by.clone(),
            (_, None) => (0..self.labels.len()).collect(),
        }
    }
}

// === impl Bound ===

impl Bound {
    /// Nothing is above or below what is no number.
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Self::Above(bound) => value > bound,
            Self::Below(bound) => value < bound,
        }
    }
}

// === impl Secret ===

impl Secret {
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// For who has to send it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}
