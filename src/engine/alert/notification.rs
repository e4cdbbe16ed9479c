//! One decision on its way to one receiver: a record of `APP-notifications`.
//!
//! Rule: it is complete. Who sends it looks nothing up and renders nothing anew but the frame of a mail, so that sent
//! again it is the same mail, also by another instance with other pipelines.
//!
//! Edges:
//! - the id is made of what was decided and when, never of who sent it: one id a transition or repeat, and receiver;
//! - a thousand series are one notification: those beyond [`MAX_ALERTS`] are only counted.

use prost::Message;

/// Alerts that one notification lists.
pub const MAX_ALERTS: usize = 100;

/// The value of one record of the outbox of notifications. The record's key is the receiver's name.
#[derive(Clone, PartialEq, Message)]
pub struct Notification {
    /// [`crate::engine::codec::FORMAT`].
    #[prost(uint32, tag = "1")]
    pub format: u32,
    /// 32 hexadecimal digits; the same for the same decision, whoever decides and sends it.
    #[prost(string, tag = "2")]
    pub id: String,
    #[prost(string, tag = "3")]
    pub application: String,
    #[prost(string, tag = "4")]
    pub pipeline: String,
    /// Name of the receiver, unique over all pipelines.
    #[prost(string, tag = "5")]
    pub receiver: String,
    /// Name of the rule.
    #[prost(string, tag = "6")]
    pub rule: String,
    /// As the rule says it, in lower case: `warning`, `critical`, ...
    #[prost(string, tag = "7")]
    pub severity: String,
    #[prost(enumeration = "Occasion", tag = "8")]
    pub occasion: i32,
    /// What all alerts of the group have in common, by name; without `alertname` and `severity`.
    #[prost(message, repeated, tag = "9")]
    pub group: Vec<Label>,
    /// Alerts of the group that fire, and those that were resolved since the last notification; sorted by labels.
    #[prost(message, repeated, tag = "10")]
    pub alerts: Vec<Alert>,
    /// Alerts of the group that are not listed.
    #[prost(uint32, tag = "11")]
    pub more: u32,
    /// Wall time of the decision, microseconds.
    #[prost(sint64, tag = "12")]
    pub decided_at: i64,
    /// One line about the rule; may be empty.
    #[prost(string, tag = "13")]
    pub summary: String,
    /// When alerts that fire are to be told again at the latest, in seconds after `decided_at`.
    #[prost(uint32, tag = "14")]
    pub repeat_after: u32,
}

/// Why there is a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum Occasion {
    /// At least one alert began to fire.
    Firing = 0,
    /// The last alert of the group is over.
    Resolved = 1,
    /// Nothing changed, and the repeat interval is over.
    Repeat = 2,
    /// Some alerts of the group are over, others still fire.
    Partly = 3,
}

/// One series that meets its rule's condition, or no longer does.
#[derive(Clone, PartialEq, Message)]
pub struct Alert {
    /// The labels of the series and those of the rule, sorted by name; without `alertname` and `severity`.
    #[prost(message, repeated, tag = "1")]
    pub labels: Vec<Label>,
    /// The value as it was decided upon, for people; the last one that met the condition where the alert is over.
    #[prost(double, tag = "2")]
    pub value: f64,
    /// Since when the condition was met, before `for` was over; microseconds.
    #[prost(sint64, tag = "3")]
    pub since: i64,
    /// When it was over; absent while it fires. Microseconds.
    #[prost(sint64, optional, tag = "4")]
    pub ended: Option<i64>,
    /// The rule's template, filled in.
    #[prost(string, tag = "5")]
    pub description: String,
}

/// A name and a value.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Message)]
pub struct Label {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub value: String,
}
