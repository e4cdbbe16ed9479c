//! Receivers: checked as far as it can be without asking them.
//!
//! Rule: what a receiver needs to be told is there and reads; a password is one that came from outside.

use lettre::message::Mailbox;
use reqwest::Url;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::engine::plan::{self, MailSecurity, Secret};
use crate::pipeline::fault::Faults;
use crate::pipeline::read::{Document, Hidden, Login, Receiver, Said, Via};

/// All receivers of all documents; those of which something is wrong are left out.
pub fn receivers(documents: &[Document], faults: &mut Faults) -> Vec<plan::Receiver> {
    let said = documents.iter().flat_map(|document| &document.receivers);
    let mut receivers: Vec<plan::Receiver> = said.filter_map(|said| receiver(said, faults)).collect();
    receivers.sort_by(|a, b| a.name.cmp(&b.name));
    receivers
}

fn receiver(said: &Receiver, faults: &mut Faults) -> Option<plan::Receiver> {
    let via = match &said.via {
        Via::Topic(topic) => plan::Via::Topic(topic.clone()),
        Via::Mail {
            server,
            security,
            from,
            to,
            login,
        } => {
            let security = match security.as_str() {
                "tls" => MailSecurity::Tls,
                "none" => MailSecurity::None,
                _ => MailSecurity::StartTls,
            };
            let (server_at, from, to) = (
                host(server, security, faults),
                address(from, faults),
                addresses(to, faults),
            );
            let credentials = credentials(login, faults);
            let authority = authority(login, faults);
            let (host, port) = server_at?;
            if security == MailSecurity::None && (!is_loopback(&host) || matches!(credentials, Some(Some(_)))) {
                faults
                    .add(
                        &server.place,
                        "mail without TLS goes to a server on loopback only, and without a login",
                    )
                    .help("leave `security` out, or give 127.0.0.1 and no `username`");
                return None;
            }
            plan::Via::Mail(plan::Mail {
                host,
                port,
                security,
                from: from?,
                to: to?,
                login: credentials?,
                authority: authority?,
            })
        }
        Via::Alertmanager { urls, token, login } => {
            let urls: Option<Vec<String>> = urls.iter().map(|said| url(said, faults)).collect();
            let token = match token {
                Some(token) => Some(secret(token, faults)?),
                None => None,
            };
            let (credentials, authority) = (credentials(login, faults), authority(login, faults));
            plan::Via::Alertmanager(plan::Alertmanager {
                urls: urls?,
                login: credentials?,
                token,
                authority: authority?,
            })
        }
    };
    Some(plan::Receiver {
        name: said.name.value.clone(),
        via,
    })
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// HOST, HOST:PORT or [IPv6]:PORT.
fn host(said: &Said<String>, security: MailSecurity, faults: &mut Faults) -> Option<(String, u16)> {
    let usual = match security {
        MailSecurity::StartTls => 587,
        MailSecurity::Tls => 465,
        MailSecurity::None => 25,
    };
    let text = said.value.as_str();
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()),
        _ => (text, Some(usual)),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let is_named = !host.is_empty() && !host.contains(|letter: char| letter.is_whitespace() || "/@".contains(letter));
    match port {
        Some(port @ 1..) if is_named => Some((host.to_owned(), port)),
        _ => {
            faults
                .add(&said.place, "this is no mail server")
                .help("write HOST or HOST:PORT, such as `smtp.example.com:587`");
            None
        }
    }
}

fn address(said: &Said<String>, faults: &mut Faults) -> Option<String> {
    if said.value.parse::<Mailbox>().is_ok() {
        return Some(said.value.clone());
    }
    faults
        .add(&said.place, "this is no address")
        .help("write `ops@example.com`, or `\"The operators <ops@example.com>\"`");
    None
}

fn addresses(said: &[Said<String>], faults: &mut Faults) -> Option<Vec<String>> {
    let all: Vec<Option<String>> = said.iter().map(|said| address(said, faults)).collect();
    all.into_iter().collect()
}

fn url(said: &Said<String>, faults: &mut Faults) -> Option<String> {
    let is_right = |url: &Url| {
        ["http", "https"].contains(&url.scheme())
            && url.host().is_some()
            && url.username().is_empty()
            && url.password().is_none()
    };
    if Url::parse(&said.value).is_ok_and(|url| is_right(&url)) {
        return Some(said.value.trim_end_matches('/').to_owned());
    }
    faults
        .add(&said.place, "this is no URL of an Alertmanager")
        .help("write `http://HOST:9093`; a login stands in `username` and `password`");
    None
}

/// `None` where something is wrong.
fn credentials(login: &Login, faults: &mut Faults) -> Option<Option<plan::Login>> {
    match (&login.username, &login.password) {
        (None, None) => Some(None),
        (Some(username), Some(password)) => {
            let password = secret(password, faults)?;
            Some(Some(plan::Login {
                username: username.value.clone(),
                password,
            }))
        }
        (Some(username), None) => {
            faults
                .add(&username.place, "`username` needs `password`")
                .help("write `password: ${file:PATH}` or `${env:NAME}`");
            None
        }
        (None, Some(password)) => {
            faults
                .add(&password.said.place, "`password` needs `username`")
                .help("say whose it is");
            None
        }
    }
}

fn secret(hidden: &Hidden, faults: &mut Faults) -> Option<Secret> {
    if hidden.is_open {
        faults
            .add(&hidden.said.place, "a secret does not stand in a file that is shown")
            .help("write `${env:NAME}` or `${file:PATH}`");
        return None;
    }
    Some(Secret::new(hidden.said.value.clone()))
}

fn authority(login: &Login, faults: &mut Faults) -> Option<Option<Vec<u8>>> {
    let Some(said) = &login.authority else {
        return Some(None);
    };
    let certificates = CertificateDer::pem_slice_iter(said.value.as_bytes()).collect::<Result<Vec<_>, _>>();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Some(Some(said.value.clone().into_bytes())),
        _ => {
            faults
                .add(&said.place, "there are no certificates in this")
                .help("give PEM, as in `authority: ${file:ca.pem}`");
            None
        }
    }
}
