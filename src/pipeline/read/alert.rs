//! Alerts and receivers, as the file says them.

use super::{Said, default_of, name, text, texts};
use crate::engine::time::Span;
use crate::pipeline::keys::ALERT;
use crate::pipeline::leaf;
use crate::pipeline::node::{Entry, Form, Node};

#[derive(Debug)]
pub struct Alert {
    pub name: Said<String>,
    pub metric: Said<String>,
    pub matching: Vec<(Said<String>, Vec<String>)>,
    pub met: Met,
    pub rate: Option<Said<Span>>,
    pub began_above: Option<Said<f64>>,
    /// `None`: each series for itself; without labels: all.
    pub sum: Option<Vec<Said<String>>>,
    pub hold: Span,
    pub severity: String,
    pub labels: Vec<(Said<String>, String)>,
    pub group: Vec<Said<String>>,
    pub repeat: Span,
    pub summary: String,
    pub description: Option<Said<String>>,
    pub to: Vec<Said<String>>,
}

#[derive(Clone, Copy, Debug)]
pub enum Met {
    Above(f64),
    Below(f64),
    Absent(Span),
}

#[derive(Debug)]
pub struct Receiver {
    pub name: Said<String>,
    pub via: Via,
}

#[derive(Debug)]
pub enum Via {
    Mail {
        server: Said<String>,
        security: String,
        from: Said<String>,
        to: Vec<Said<String>>,
        login: Login,
    },
    Alertmanager {
        urls: Vec<Said<String>>,
        token: Option<Hidden>,
        login: Login,
    },
    Topic(String),
}

#[derive(Debug)]
pub struct Login {
    pub username: Option<Said<String>>,
    pub password: Option<Hidden>,
    pub authority: Option<Said<String>>,
}

/// A value that must come from outside.
pub struct Hidden {
    pub said: Said<String>,
    /// It stands in the file.
    pub is_open: bool,
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(hidden)")
    }
}

/// `None` where a value does not fit, which is a fault already.
pub fn alert(entry: &Entry) -> Option<Alert> {
    let node = &entry.node;
    let said = |key: &str| match node.get(key) {
        Some(node) => node.text(),
        None => default_of(&ALERT, key),
    };
    let number = |key: &str| match node.get(key) {
        Some(said) => finite(said).map(Some),
        None => Some(None),
    };
    let met = match (number("above")?, number("below")?, node.get("absent")) {
        (Some(above), None, None) => Met::Above(above.value),
        (None, Some(below), None) => Met::Below(below.value),
        (None, None, Some(absent)) => Met::Absent(leaf::duration(absent.text()?)?),
        _ => return None,
    };
    let mut matching = Vec::new();
    for entry in node.get("where").map_or(&[][..], Node::entries) {
        let values = texts(&entry.node)?.into_iter().map(|said| said.value);
        matching.push((name(entry), values.collect()));
    }
    let mut labels = Vec::new();
    for entry in node.get("labels").map_or(&[][..], Node::entries) {
        labels.push((name(entry), entry.node.text()?.to_owned()));
    }
    Some(Alert {
        name: name(entry),
        metric: text(node.get("metric")?)?,
        matching,
        met,
        rate: match node.get("rate") {
            Some(said) => Some(Said {
                value: leaf::duration(said.text()?)?,
                place: said.place.clone(),
            }),
            None => None,
        },
        began_above: number("began_above")?,
        sum: match node.get("sum") {
            None => None,
            Some(said) if said.text() == Some("all") => Some(Vec::new()),
            Some(said) => Some(texts(said)?),
        },
        hold: leaf::duration(said("for")?)?,
        severity: said("severity")?.to_ascii_lowercase(),
        labels,
        group: node.get("group").map_or(Some(Vec::new()), texts)?,
        repeat: leaf::duration(said("repeat")?)?,
        summary: said("summary")?.to_owned(),
        description: match node.get("description") {
            Some(said) => Some(text(said)?),
            None => None,
        },
        to: node.get("to").map_or(Some(Vec::new()), texts)?,
    })
}

/// `None` where a value does not fit, which is a fault already.
pub fn receiver(entry: &Entry) -> Option<Receiver> {
    let node = &entry.node;
    let via = if let Some(mail) = node.get("mail") {
        Via::Mail {
            server: text(mail.get("server")?)?,
            security: mail.get("security").map_or(Some("starttls"), Node::text)?.to_owned(),
            from: text(mail.get("from")?)?,
            to: texts(mail.get("to")?)?,
            login: login(mail)?,
        }
    } else if let Some(manager) = node.get("alertmanager") {
        Via::Alertmanager {
            urls: texts(manager.get("url")?)?,
            token: hidden(manager, "token")?,
            login: login(manager)?,
        }
    } else {
        Via::Topic(node.get("topic")?.text()?.to_owned())
    };
    Some(Receiver { name: name(entry), via })
}

fn login(node: &Node) -> Option<Login> {
    let said = |key: &str| match node.get(key) {
        Some(said) => text(said).map(Some),
        None => Some(None),
    };
    Some(Login {
        username: said("username")?,
        password: hidden(node, "password")?,
        authority: said("authority")?,
    })
}

fn hidden(node: &Node, key: &str) -> Option<Option<Hidden>> {
    let Some(node) = node.get(key) else { return Some(None) };
    Some(Some(Hidden {
        said: text(node)?,
        is_open: node.scalar()?.form != Form::Secret,
    }))
}

fn finite(node: &Node) -> Option<Said<f64>> {
    let value: f64 = node.text()?.parse().ok()?;
    value.is_finite().then_some(Said {
        value,
        place: node.place.clone(),
    })
}
