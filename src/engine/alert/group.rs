//! Who is told what: alerts of one rule that are told together.
//!
//! Rule: the first notification of a group waits [`WAIT`] for others that begin to fire, later changes are told at most
//! every [`APART`], and where nothing changes the whole is told again every `repeat`. The last alert that is over is told
//! at once. A thousand partitions are one mail, which lists a hundred of them. An Alertmanager puts alerts together itself
//! and believes what it was not told of for a while: it gets all of them, a hundred a notification.
//!
//! Edges:
//! - a group whose alerts are all over before anybody was told is forgotten;
//! - nothing is told while what is read lies further back than [`OLD`]: what fired and was over meanwhile is told to
//!   nobody, what still fires then is;
//! - times here are wall times: they say how long people wait.

use std::collections::BTreeMap;

use prost::Message;
use xxhash_rust::xxh3::xxh3_128;

use super::notification::{self, Label, MAX_ALERTS, Notification, Occasion};
use super::rule::{self, Active};
use crate::engine::codec::FORMAT;
use crate::engine::plan::{Alert, Receiver, Via};
use crate::engine::series::values;
use crate::engine::task::Notice;
use crate::engine::time::{EventTime, Span, WallTime};

pub const WAIT: Span = Span::seconds(10);
pub const APART: Span = Span::seconds(60);
pub const OLD: Span = Span::seconds(3_600);

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// When the first of its alerts began to fire: a part of its notifications' ids.
    pub since: EventTime,
    /// How often it was told.
    pub told: u64,
    pub last: WallTime,
    /// When the first change came that was not told.
    pub changed: Option<WallTime>,
    /// One that fires is among these changes.
    pub has_new: bool,
}

/// One alert that is to be told: its identity, and when it was over, where it is.
pub type Told<'a> = (&'a [u8], &'a Active, Option<EventTime>);

/// What is to be done with a group now.
pub enum Step {
    Wait,
    /// Nobody was told, and nobody will be.
    Forget,
    Tell(Occasion),
}

/// Who tells.
pub struct Teller<'a> {
    pub application: &'a str,
    pub pipeline: &'a str,
    pub receivers: &'a [Receiver],
    pub rule: &'a Alert,
}

// === impl Group ===

impl Group {
    pub fn new(since: EventTime) -> Self {
        Self {
            since,
            told: 0,
            last: WallTime(0),
            changed: None,
            has_new: false,
        }
    }

    pub fn fires(&mut self, now: WallTime) {
        self.changed.get_or_insert(now);
        self.has_new = true;
    }

    /// One of its alerts is over; whether anybody was told that it fires.
    pub fn over(&mut self, now: WallTime) -> bool {
        if self.told > 0 {
            self.changed.get_or_insert(now);
        }
        self.told > 0
    }

    pub fn step(&self, firing: usize, repeat: Span, now: WallTime) -> Step {
        match (self.told, firing, self.changed) {
            (0, 0, _) => Step::Forget,
            (0, _, Some(changed)) if now >= changed.ahead(WAIT) => Step::Tell(Occasion::Firing),
            (0, ..) => Step::Wait,
            (_, 0, _) => Step::Tell(Occasion::Resolved),
            (.., Some(_)) if now >= self.last.ahead(APART) => match self.has_new {
                true => Step::Tell(Occasion::Firing),
                false => Step::Tell(Occasion::Partly),
            },
            (.., None) if now >= self.last.ahead(repeat) => Step::Tell(Occasion::Repeat),
            _ => Step::Wait,
        }
    }

    /// Notifications for each receiver; from here on they were told. `alerts`: those that fire, and then those that are over
    /// and of which that was not told.
    pub fn tell(
        &mut self,
        by: &Teller<'_>,
        key: &[u8],
        occasion: Occasion,
        alerts: &[Told<'_>],
        now: WallTime,
    ) -> Vec<Notice> {
        let names = by.rule.group.iter().filter_map(|at| by.rule.labels.get(*at));
        let group = names.zip(values(key).map_while(|value| value));
        let frame = Notification {
            format: FORMAT,
            application: by.application.to_owned(),
            pipeline: by.pipeline.to_owned(),
            rule: by.rule.name.clone(),
            severity: by.rule.severity.clone(),
            occasion: occasion as i32,
            group: group.map(|(name, value)| label(name, value)).collect(),
            decided_at: now.0,
            summary: by.rule.summary.clone(),
            repeat_after: u32::try_from(by.rule.repeat.as_micros() / 1_000_000).unwrap_or(u32::MAX),
            ..Notification::default()
        };
        let mut notices = Vec::new();
        for receiver in &by.rule.to {
            let most = match by.hears_all(receiver) {
                true => alerts.len().div_ceil(MAX_ALERTS),
                false => 1,
            };
            for (part, listed) in alerts.chunks(MAX_ALERTS).take(most).enumerate() {
                let listed_so_far = part * MAX_ALERTS + listed.len();
                let notification = Notification {
                    id: self.id(by, key, receiver, part),
                    receiver: receiver.clone(),
                    alerts: rendered(by.rule, listed),
                    more: match most {
                        1 => u32::try_from(alerts.len() - listed_so_far).unwrap_or(u32::MAX),
                        _ => 0,
                    },
                    ..frame.clone()
                };
                notices.push(Notice {
                    receiver: receiver.clone(),
                    lane: by.lane(receiver),
                    notification: notification.encode_to_vec(),
                });
            }
        }
        self.told += 1;
        self.last = now;
        self.changed = None;
        self.has_new = false;
        notices
    }

    /// Of what is told, not of who tells it.
    fn id(&self, by: &Teller<'_>, key: &[u8], receiver: &str, part: usize) -> String {
        let mut text = Vec::new();
        for part in [
            by.application.as_bytes(),
            by.rule.name.as_bytes(),
            key,
            receiver.as_bytes(),
        ] {
            text.extend((part.len() as u64).to_le_bytes());
            text.extend(part);
        }
        text.extend(by.rule.definition.0.to_le_bytes());
        text.extend(self.since.0.to_le_bytes());
        text.extend(self.told.to_le_bytes());
        text.extend((part as u64).to_le_bytes());
        format!("{:032x}", xxh3_128(&text))
    }
}

// === impl Teller ===

impl Teller<'_> {
    fn hears_all(&self, receiver: &str) -> bool {
        let known = self.receivers.iter().find(|known| known.name == receiver);
        known.is_some_and(|known| matches!(known.via, Via::Alertmanager(_)))
    }

    fn lane(&self, receiver: &str) -> u32 {
        let number = self.receivers.iter().position(|known| known.name == receiver);
        number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
    }
}

/// Those that fire come first.
fn rendered(rule: &Alert, alerts: &[Told<'_>]) -> Vec<notification::Alert> {
    let rendered = alerts
        .iter()
        .map(|(identity, active, ended)| alert(rule, identity, active, *ended));
    let mut rendered: Vec<notification::Alert> = rendered.collect();
    rendered.sort_by(|a, b| (a.ended.is_some(), &a.labels).cmp(&(b.ended.is_some(), &b.labels)));
    rendered
}

fn alert(rule: &Alert, identity: &[u8], active: &Active, ended: Option<EventTime>) -> notification::Alert {
    let labels = rule::labels(rule, identity);
    let description = rule::describe(rule, &labels, active.value);
    // The rule's own win: they were written on purpose.
    let mut all: BTreeMap<String, String> = labels.into_iter().collect();
    all.extend(rule.own_labels.iter().cloned());
    notification::Alert {
        labels: all.iter().map(|(name, value)| label(name, value)).collect(),
        value: active.value,
        since: active.since.0,
        ended: ended.map(|at| at.0),
        description,
    }
}

fn label(name: &str, value: &str) -> Label {
    Label {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}
