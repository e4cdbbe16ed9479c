//! Who is told of alerts.
//!
//! Rule: the plan holds everything that is needed to reach a receiver, checked. Secrets are [`Secret`]s, which show nothing
//! of themselves.

use std::fmt;

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
