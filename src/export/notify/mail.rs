//! Notifications as mail.
//!
//! Rule: subject and body are the users' guide's. The id of the mail is the notification's, its date the decision's: it is
//! the same mail, byte for byte, however often it is sent.
//!
//! Edges:
//! - TLS is verified, against the system's authorities or the one that the receiver names. A server without STARTTLS gets
//!   nothing;
//! - what the server says before it has seen an address (greeting, login, sender) is about our settings: a person mends that,
//!   and the mail is tried again. So it is where no address at all is taken. What it says of the mail's text is final;
//! - of several addresses those that are refused are reported, the others get the mail, and those that are put off are tried
//!   again alone;
//! - once the text is sent the server is waited for as long as RFC 5321 asks: to ask sooner would be a second mail. It is
//!   remembered who has which mail, and a second attempt waits for the first, also if nobody waits for that any more;
//! - line breaks in labels cannot become headers: `lettre` encodes what is not plain.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Mailboxes};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{Certificate, CertificateStore, SmtpConnection, Tls, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail as From, Rcpt};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use lettre::{Address, Message};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::{again, is_resolved, stamp};
use crate::engine::alert::notification::{Alert, Notification};
use crate::engine::plan::{Mail, MailSecurity};
use crate::export::sender::with_causes;
use crate::export::verdict::{Verdict, shorten};

/// For the connection, and for each thing that is said to the server before the text.
const ANSWER: Duration = Duration::from_secs(30);

/// For the answer to the text.
const ACCEPTANCE: Duration = Duration::from_secs(600);

/// Addresses that come later than this are left to the next attempt, so that an attempt ends.
const ADDRESSES: Duration = Duration::from_secs(180);

/// So many mails are remembered.
const REMEMBERED: usize = 1_000;

/// What the guide's mails end with.
const LAST_LINE: &str = "This is an automated alert from the Kafka monitoring system.";

const TIME: &str = "%Y-%m-%d %H:%M:%S UTC";

pub struct Mailer {
    server: Arc<Server>,
    to: Vec<Mailbox>,
    /// Locked while a mail is sent.
    reached: Arc<Mutex<Reached>>,
}

/// How a server is spoken to.
struct Server {
    host: String,
    port: u16,
    tls: Tls,
    login: Option<Credentials>,
    from: Mailbox,
}

/// Which addresses have which mail, or will never have it.
#[derive(Default)]
struct Reached {
    by_id: BTreeMap<String, BTreeSet<Address>>,
    /// Oldest first.
    ids: VecDeque<String>,
}

/// What a server said to the addresses of one attempt.
#[derive(Default)]
struct Told {
    accepted: Vec<Address>,
    refused: Vec<(Address, String)>,
    /// They may be taken later.
    put_off: Vec<(Address, String)>,
}

/// What an error was about.
enum Failure {
    /// Nothing was decided, or a person has to mend something.
    Session(Error),
    /// What the mail says.
    Text(Error),
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
        let login = mail.login.as_ref();
        let login = login.map(|login| Credentials::new(login.username.clone(), login.password.reveal().to_owned()));
        let address = |text: &String| text.parse::<Mailbox>().map_err(|error| format!("`{text}`: {error}"));
        Ok(Self {
            server: Arc::new(Server {
                host: mail.host.clone(),
                port: mail.port,
                tls: security,
                login,
                from: address(&mail.from)?,
            }),
            to: mail.to.iter().map(address).collect::<Result<_, _>>()?,
            reached: Arc::default(),
        })
    }

    pub fn server(&self) -> String {
        self.server.name()
    }

    pub async fn tell(&self, notification: &Notification) -> Verdict {
        let message = match self.message(notification) {
            Ok(message) => message.formatted(),
            Err(message) => return Verdict::Refused { message },
        };
        let (server, reached, id) = (
            Arc::clone(&self.server),
            Arc::clone(&self.reached),
            notification.id.clone(),
        );
        let to: Vec<Address> = self.to.iter().map(|to| to.email.clone()).collect();
        let sending = tokio::task::spawn_blocking(move || {
            let mut reached = reached.lock().unwrap_or_else(PoisonError::into_inner);
            send(&server, &mut reached, &id, to, &message)
        });
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
            .from(self.server.from.clone())
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

// === impl Server ===

impl Server {
    fn name(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    fn connect(&self) -> Result<SmtpConnection, Error> {
        let hello = ClientId::default();
        let wrapped = match &self.tls {
            Tls::Wrapper(tls) => Some(tls),
            _ => None,
        };
        let address = (self.host.as_str(), self.port);
        let mut connection = SmtpConnection::connect(address, Some(ANSWER), &hello, wrapped, None)?;
        if let Tls::Required(tls) = &self.tls {
            connection.starttls(tls, &hello)?;
        }
        if let Some(login) = &self.login {
            connection.auth(DEFAULT_MECHANISMS, login)?;
        }
        Ok(connection)
    }

    /// One attempt: the text is sent once, to all addresses that the server takes.
    fn tell(&self, to: &[Address], text: &[u8]) -> Result<Told, Failure> {
        let mut connection = self.connect().map_err(Failure::Session)?;
        let mut parameters = Vec::new();
        // A server that lacks either says so.
        if !to
            .iter()
            .chain([&self.from.email])
            .all(|address| AsRef::<str>::as_ref(address).is_ascii())
        {
            parameters.push(MailParameter::SmtpUtfEight);
        }
        if !text.is_ascii() && connection.server_info().supports_feature(Extension::EightBitMime) {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        let from = From::new(Some(self.from.email.clone()), parameters);
        connection.command(from).map_err(Failure::Session)?;
        let began = Instant::now();
        let mut told = Told::default();
        for address in to {
            if began.elapsed() > ADDRESSES && !told.accepted.is_empty() {
                told.put_off.push((address.clone(), "the server takes long".to_owned()));
                continue;
            }
            match connection.command(Rcpt::new(address.clone(), Vec::new())) {
                Ok(_) => told.accepted.push(address.clone()),
                Err(error) if error.is_permanent() => told.refused.push((address.clone(), said(&error))),
                Err(error) if error.is_transient() => told.put_off.push((address.clone(), said(&error))),
                Err(error) => return Err(Failure::Session(error)),
            }
        }
        if !told.accepted.is_empty() {
            connection.command(Data).map_err(Failure::Session)?;
            // A socket that takes no time-out has none of its own and keeps the shorter one.
            let _ = connection.set_timeout(Some(ACCEPTANCE));
            connection.message(text).map_err(Failure::Text)?;
        }
        // The mail is accepted already: how the server takes the farewell changes nothing.
        let _ = connection.set_timeout(Some(Duration::from_secs(1)));
        let _ = connection.quit();
        Ok(told)
    }
}

// === impl Reached ===

impl Reached {
    fn of(&mut self, id: &str) -> &mut BTreeSet<Address> {
        if !self.by_id.contains_key(id) {
            self.ids.push_back(id.to_owned());
            if self.ids.len() > REMEMBERED
                && let Some(oldest) = self.ids.pop_front()
            {
                self.by_id.remove(&oldest);
            }
        }
        self.by_id.entry(id.to_owned()).or_default()
    }
}

fn send(server: &Server, reached: &mut Reached, id: &str, mut to: Vec<Address>, text: &[u8]) -> Verdict {
    let reached = reached.of(id);
    to.retain(|address| !reached.contains(address));
    if to.is_empty() {
        return Verdict::Accepted;
    }
    let name = server.name();
    let told = match server.tell(&to, text) {
        Ok(told) => told,
        Err(failure) => return verdict(&name, &failure),
    };
    let list = |of: &[(Address, String)]| {
        let said = of.iter().map(|(address, said)| format!("{address}: {said}"));
        shorten(&said.collect::<Vec<_>>().join("; "))
    };
    reached.extend(told.accepted);
    if reached.is_empty() && told.put_off.is_empty() {
        return again(format!("{name} takes none of the addresses: {}", list(&told.refused)));
    }
    if !reached.is_empty() && !told.refused.is_empty() {
        tracing::warn!(
            event_type = "mail_partly_refused",
            "mail did not reach all of its addresses: {}",
            list(&told.refused)
        );
        reached.extend(told.refused.into_iter().map(|(address, _)| address));
    }
    match told.put_off.is_empty() {
        true => Verdict::Accepted,
        false => Verdict::Retry {
            after: None,
            message: format!("{name} puts addresses off: {}", list(&told.put_off)),
        },
    }
}

fn said(error: &Error) -> String {
    shorten(&with_causes(error))
}

fn verdict(server: &str, failure: &Failure) -> Verdict {
    let (Failure::Session(error) | Failure::Text(error)) = failure;
    let (code, said) = (error.status().map(u16::from), said(error));
    match code {
        Some(530 | 534 | 535 | 538) => again(format!(
            "{server} refuses the login: {said}; set `username` and `password` of the receiver right"
        )),
        Some(_) if error.is_permanent() => match failure {
            Failure::Session(_) => again(format!("{server} refuses to take mail: {said}")),
            Failure::Text(_) => Verdict::Refused {
                message: format!("{server} refuses the mail: {said}"),
            },
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
