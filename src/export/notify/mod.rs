//! Tells receivers what the alert stage decided.
//!
//! Rule: a notification is told as it was decided, under its id, so that a second try is the same mail. What a person has to
//! mend (a password, a certificate, a server that is away) is tried again until it is mended; what the receiver refuses for
//! what it says is a dead letter.
//!
//! Edges:
//! - each receiver has a partition of the outbox of its own, as far as there are enough: one that stalls holds nobody else;
//! - a receiver that this instance does not know may be known to a newer one: it is waited for as long as [`UNKNOWN`];
//! - what is older than [`OLD`] is no news any more;
//! - an envelope for a topic leaves in the transaction that commits its notification: it is there exactly once.

mod alertmanager;
mod envelope;
mod mail;

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message;

use super::sender::{SendRequest, Sending};
use super::settings::SettingsError;
use super::verdict::{SETTINGS_PAUSE, Verdict};
use crate::engine::alert::notification::{Notification, Occasion};
use crate::engine::codec::FORMAT;
use crate::engine::plan::{Receiver, Via};
use crate::engine::time::{Span, WallTime};
use crate::runtime::clock::wall_time;
use alertmanager::Alertmanager;
use mail::Mailer;

const OLD: Span = Span::seconds(86_400);
const UNKNOWN: Span = Span::seconds(600);

/// Knows all receivers of the plan.
pub struct Notifier {
    receivers: BTreeMap<String, Told>,
}

/// How one receiver is told.
enum Told {
    Mail(Mailer),
    Alertmanager(Alertmanager),
    Topic(String),
}

// === impl Notifier ===

impl Notifier {
    /// Connects nothing yet. An error means that certificates of the settings cannot be used.
    pub fn new(receivers: &[Receiver]) -> Result<Self, SettingsError> {
        super::http::install_crypto();
        let mut told = BTreeMap::new();
        for Receiver { name, via } in receivers {
            let wrong = |problem: String| SettingsError {
                setting: format!("receivers: {name}"),
                problem,
            };
            let how = match via {
                Via::Mail(mail) => Told::Mail(Mailer::new(mail).map_err(wrong)?),
                Via::Alertmanager(manager) => Told::Alertmanager(Alertmanager::new(manager).map_err(wrong)?),
                Via::Topic(topic) => Told::Topic(topic.clone()),
            };
            told.insert(name.clone(), how);
        }
        Ok(Self { receivers: told })
    }

    async fn tell(&self, request: &[u8], now: WallTime) -> Verdict {
        let notification = match read(request) {
            Ok(notification) => notification,
            Err(message) => return Verdict::Refused { message },
        };
        let age = now.since(WallTime(notification.decided_at));
        let name = &notification.receiver;
        if age > OLD {
            let message = format!("for `{name}`: it is older than a day");
            return Verdict::Refused { message };
        }
        let Some(receiver) = self.receivers.get(name) else {
            let message = format!("no pipeline has the receiver `{name}`");
            return match age > UNKNOWN {
                true => Verdict::Refused { message },
                false => again(message),
            };
        };
        // Each has limits of its own: a mail that is being accepted must not be given up.
        match receiver {
            Told::Mail(mailer) => mailer.tell(&notification).await,
            Told::Alertmanager(manager) => manager.tell(&notification).await,
            Told::Topic(_) => Verdict::Accepted,
        }
    }
}

impl SendRequest for Notifier {
    fn send(&self, request: Bytes) -> Sending<'_> {
        Box::pin(async move { self.tell(&request, wall_time()).await })
    }

    fn target(&self) -> String {
        let names: Vec<&str> = self.receivers.keys().map(String::as_str).collect();
        names.join(", ")
    }

    fn target_of(&self, request: &Bytes) -> String {
        let of = |name: &str| match self.receivers.get(name) {
            Some(Told::Mail(mailer)) => format!("`{name}` ({})", mailer.server()),
            Some(Told::Alertmanager(manager)) => format!("`{name}` ({})", manager.urls()),
            Some(Told::Topic(topic)) => format!("`{name}` (the topic {topic})"),
            None => format!("`{name}`"),
        };
        read(request).map_or(self.target(), |notification| of(&notification.receiver))
    }

    fn records(&self, request: &Bytes) -> Vec<(String, Vec<u8>)> {
        let Ok(notification) = read(request) else {
            return Vec::new();
        };
        match self.receivers.get(&notification.receiver) {
            Some(Told::Topic(topic)) => vec![(topic.clone(), envelope::of(&notification))],
            Some(Told::Mail(_) | Told::Alertmanager(_)) | None => Vec::new(),
        }
    }
}

fn read(request: &[u8]) -> Result<Notification, String> {
    match Notification::decode(request) {
        Ok(notification) if notification.format == FORMAT => Ok(notification),
        Ok(notification) => Err(format!("a notification of format {}", notification.format)),
        Err(error) => Err(format!("no notification: {error}")),
    }
}

/// A person has to mend something: asked again, but not all the time.
fn again(message: String) -> Verdict {
    Verdict::Retry {
        after: Some(SETTINGS_PAUSE),
        message,
    }
}

/// Whether all its alerts are over.
fn is_resolved(notification: &Notification) -> bool {
    notification.occasion() == Occasion::Resolved
}

/// `%Y-%m-%d %H:%M:%S UTC`, as the users' guide writes it.
fn stamp(micros: i64, format: &str) -> String {
    let at = jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime(format).to_string()
}

#[cfg(test)]
mod tests;
