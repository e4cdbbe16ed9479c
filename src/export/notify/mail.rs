//! Notifications as mail.
//!
//! Rule: subject and body are the users' guide's. The id of the mail is the notification's, its date the decision's: it is
//! the same mail, byte for byte, however often it is sent.
//!
//! Edges:
//! - TLS is verified, against the system's authorities or the one that the receiver names. A server without STARTTLS gets
//!   nothing;
//! - a login that is refused, a certificate that is not trusted, a server that is away: a person mends that, and the mail is
//!   tried again. What the server says of the mail itself is final;
//! - of several addresses those that are refused are reported, and the others get the mail;
//! - line breaks in labels cannot become headers: `lettre` encodes what is not plain.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use lettre::address::Envelope;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Mailboxes};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::{Message, SmtpTransport, Transport};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{again, is_resolved, stamp};
use crate::engine::alert::notification::{Alert, Notification};
use crate::engine::plan::{Mail, MailSecurity};
use crate::export::sender::with_causes;
use crate::export::verdict::{Verdict, shorten};

/// For each thing that is said to the server.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the guide's mails end with.
const LAST_LINE: &str = "This is an automated alert from the Kafka monitoring system.";

const TIME: &str = "%Y-%m-%d %H:%M:%S UTC";

pub struct Mailer {
    transport: SmtpTransport,
    server: String,
    from: Mailbox,
    to: Vec<Mailbox>,
}

// === impl Mailer ===

impl Mailer {
    pub fn new(mail: &Mail) -> Result<Self, String> {
        let tls = |mail: &Mail| -> Result<TlsParameters, String> {
            let mut parameters = TlsParameters::builder(mail.host.clone());
            if let Some(authority) = &mail.authority {
                parameters = parameters.certificate_store(CertificateStore::None);
                for certificate in CertificateDer::pem_slice_iter(authority) {
                    let certificate = certificate.map_err(|error| format!("authority: {error}"))?;
                    let certificate = Certificate::from_der(certificate.to_vec());
                    let certificate = certificate.map_err(|error| format!("authority: {}", with_causes(&error)))?;
                    parameters = parameters.add_root_certificate(certificate);
                }
            }
            parameters.build_rustls().map_err(|error| with_causes(&error))
        };
        let security = match mail.security {
            MailSecurity::StartTls => Tls::Required(tls(mail)?),
            MailSecurity::Tls => Tls::Wrapper(tls(mail)?),
            MailSecurity::None => Tls::None,
        };
        let mut transport = SmtpTransport::builder_dangerous(mail.host.clone())
            .port(mail.port)
            .tls(security)
            .timeout(Some(TIMEOUT));
        if let Some(login) = &mail.login {
            transport = transport.credentials(Credentials::new(
                login.username.clone(),
                login.password.reveal().to_owned(),
            ));
        }
        let address = |text: &String| text.parse::<Mailbox>().map_err(|error| format!("`{text}`: {error}"));
        Ok(Self {
            transport: transport.build(),
            server: format!("{}:{}", mail.host, mail.port),
            from: address(&mail.from)?,
            to: mail.to.iter().map(address).collect::<Result<_, _>>()?,
        })
    }

    pub fn server(&self) -> &str {
        &self.server
    }

    pub async fn tell(&self, notification: &Notification) -> Verdict {
        let message = match self.message(notification) {
            Ok(message) => message.formatted(),
            Err(message) => return Verdict::Refused { message },
        };
        let (transport, server) = (self.transport.clone(), self.server.clone());
        let (from, to) = (self.from.clone(), self.to.clone());
        let sending = tokio::task::spawn_blocking(move || send(&transport, &server, &from, &to, &message));
        sending.await.unwrap_or_else(|error| Verdict::Retry {
            after: None,
            message: format!("the mail was not sent: {error}"),
        })
    }

    fn message(&self, notification: &Notification) -> Result<Message, String> {
        let decided = Duration::from_micros(u64::try_from(notification.decided_at).unwrap_or(0));
        let id = format!(
            "<{}@{}.streamgauge>",
            notification.id,
            host_of(&notification.application)
        );
        let mut message = Message::builder()
            .from(self.from.clone())
            .mailbox(lettre::message::header::To::from(Mailboxes::from_iter(
                self.to.iter().cloned(),
            )))
            .subject(subject(notification))
            .date(SystemTime::UNIX_EPOCH + decided)
            .message_id(Some(id));
        message = message.header(ContentType::TEXT_PLAIN);
        message.body(body(notification)).map_err(|error| with_causes(&error))
    }
}

/// Tells all at once, and where that is refused for one of them each alone.
fn send(transport: &SmtpTransport, server: &str, from: &Mailbox, to: &[Mailbox], message: &[u8]) -> Verdict {
    let attempt = |to: &[Mailbox]| {
        let addresses = to.iter().map(|to| to.email.clone()).collect();
        match Envelope::new(Some(from.email.clone()), addresses) {
            Ok(envelope) => verdict(server, transport.send_raw(&envelope, message).map(drop)),
            Err(error) => Verdict::Refused {
                message: with_causes(&error),
            },
        }
    };
    let whole = attempt(to);
    if to.len() == 1 || !matches!(whole, Verdict::Refused { .. }) {
        return whole;
    }
    let mut refused = Vec::new();
    for one in to {
        match attempt(std::slice::from_ref(one)) {
            Verdict::Refused { message } => refused.push(format!("{}: {message}", one.email)),
            Verdict::Accepted => {}
            other if refused.len() + 1 == to.len() => return other,
            // Those before it have the mail: it is not sent to them again.
            other => refused.push(format!("{}: {}", one.email, other.message())),
        }
    }
    if refused.len() == to.len() {
        return whole;
    }
    tracing::warn!(
        event_type = "mail_partly_refused",
        "mail did not reach all of its addresses: {}",
        refused.join("; ")
    );
    Verdict::Accepted
}

fn verdict(server: &str, result: Result<(), Error>) -> Verdict {
    let Err(error) = result else { return Verdict::Accepted };
    let code = error.status().map(u16::from);
    let said = shorten(&with_causes(&error));
    match code {
        Some(530 | 534 | 535 | 538) => again(format!(
            "{server} refuses the login: {said}; set `username` and `password` of the receiver right"
        )),
        Some(_) if error.is_permanent() => Verdict::Refused {
            message: format!("{server} refuses the mail: {said}"),
        },
        _ if said.contains("ertificate") => again(format!(
            "the certificate of {server} is not trusted: {said}; give the receiver the right `authority`, or the server a right certificate"
        )),
        _ if error.is_tls() || error.is_client() => again(format!("{server}: {said}")),
        _ => Verdict::Retry {
            after: None,
            message: format!("{server}: {said}"),
        },
    }
}

/// `[SEVERITY] NAME`; `[RESOLVED] NAME` where all is over.
pub fn subject(notification: &Notification) -> String {
    let word = match is_resolved(notification) {
        true => "RESOLVED".to_owned(),
        false => notification.severity.to_uppercase(),
    };
    format!("[{word}] {}", notification.rule)
}

/// The guide's four lines for each alert, and what is beyond them.
pub fn body(notification: &Notification) -> String {
    let mut text = String::new();
    let firing = notification.alerts.iter().filter(|alert| alert.ended.is_none()).count();
    let over = notification.alerts.len() - firing;
    if notification.alerts.len() > 1 || notification.more > 0 {
        let group = notification
            .group
            .iter()
            .map(|label| format!("{}={}", label.name, label.value));
        let group: Vec<String> = group.collect();
        let of = if group.is_empty() {
            String::new()
        } else {
            format!(" of {}", group.join(", "))
        };
        let _ = writeln!(text, "{firing} firing, {over} resolved{of}.\n");
    }
    for alert in &notification.alerts {
        of_alert(&mut text, notification, alert);
        text.push('\n');
    }
    if notification.more > 0 {
        let _ = writeln!(text, "And {} more that are not listed.\n", notification.more);
    }
    text.push_str(LAST_LINE);
    text.push('\n');
    text
}

fn of_alert(text: &mut String, notification: &Notification, alert: &Alert) {
    let description = match alert.description.as_str() {
        "" => &notification.summary,
        description => description,
    };
    let _ = writeln!(text, "Alert: {}", notification.rule);
    let _ = writeln!(text, "Severity: {}", notification.severity);
    let _ = writeln!(text, "Description: {description}");
    let _ = writeln!(text, "Timestamp: {}", stamp(notification.decided_at, TIME));
    let _ = writeln!(text, "Since: {}", stamp(alert.since, TIME));
    if let Some(ended) = alert.ended {
        let _ = writeln!(text, "Resolved: {}", stamp(ended, TIME));
    }
    for label in &alert.labels {
        let _ = writeln!(text, "  {} = {}", label.name, label.value);
    }
}

/// What may stand behind an `@`.
fn host_of(application: &str) -> String {
    let letters = application.chars();
    letters
        .map(|letter| if letter.is_ascii_alphanumeric() { letter } else { '-' })
        .collect()
}
