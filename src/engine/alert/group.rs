//! Who is told what: alerts of one rule that are told together.
//!
//! Rule: the first notification of a group waits [`WAIT`] for others that begin to fire, later changes are told at most
//! every [`APART`], and where nothing changes the whole is told again every `repeat`. The last alert that is over is told
//! at once. A thousand partitions are one mail.
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
use crate::engine::plan::{Alert, Receiver};
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
    /// Alerts that are over and of which that was not told, with the time, by identity.
    pub over: BTreeMap<Vec<u8>, (Active, EventTime)>,
    /// Others of that kind.
    pub more_over: u32,
}

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
            over: BTreeMap::new(),
            more_over: 0,
        }
    }

    pub fn fires(&mut self, identity: &[u8], now: WallTime) {
        self.over.remove(identity);
        self.changed.get_or_insert(now);
        self.has_new = true;
    }

    pub fn over(&mut self, identity: Vec<u8>, active: Active, at: EventTime, now: WallTime) {
        if self.told == 0 {
            // Nobody knew of it.
            return;
        }
        self.changed.get_or_insert(now);
        if self.over.len() < MAX_ALERTS {
            self.over.insert(identity, (active, at));
        } else {
            self.more_over = self.more_over.saturating_add(1);
        }
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

    /// One notification for each receiver; from here on they were told. `firing`: identities of alerts that fire.
    pub fn tell(
        &mut self,
        by: &Teller<'_>,
        key: &[u8],
        occasion: Occasion,
        firing: &[(&Vec<u8>, &Active)],
        now: WallTime,
    ) -> Vec<Notice> {
        let over = self
            .over
            .iter()
            .map(|(identity, (active, at))| (identity, active, Some(*at)));
        let fires = firing.iter().map(|(identity, active)| (*identity, *active, None));
        let all: Vec<_> = fires.chain(over).collect();
        let left_out = all.len().saturating_sub(MAX_ALERTS);
        let alerts = all.into_iter().take(MAX_ALERTS);
        let mut alerts: Vec<notification::Alert> = alerts
            .map(|(identity, active, ended)| alert(by.rule, identity, active, ended))
            .collect();
        alerts.sort_by(|a, b| (a.ended.is_some(), &a.labels).cmp(&(b.ended.is_some(), &b.labels)));
        let names = by.rule.group.iter().filter_map(|at| by.rule.labels.get(*at));
        let group = names.zip(values(key).map_while(|value| value));
        let notification = Notification {
            format: FORMAT,
            application: by.application.to_owned(),
            pipeline: by.pipeline.to_owned(),
            rule: by.rule.name.clone(),
            severity: by.rule.severity.clone(),
            occasion: occasion as i32,
            group: group.map(|(name, value)| label(name, value)).collect(),
            alerts,
            more: u32::try_from(left_out)
                .unwrap_or(u32::MAX)
                .saturating_add(self.more_over),
            decided_at: now.0,
            summary: by.rule.summary.clone(),
            repeat_after: u32::try_from(by.rule.repeat.as_micros() / 1_000_000).unwrap_or(u32::MAX),
            ..Notification::default()
        };
        let notices = by.rule.to.iter().map(|receiver| {
            let notification = Notification {
                id: self.id(by, key, receiver),
                receiver: receiver.clone(),
                ..notification.clone()
            };
            Notice {
                receiver: receiver.clone(),
                lane: by.lane(receiver),
                notification: notification.encode_to_vec(),
            }
        });
        let notices = notices.collect();
        self.told += 1;
        self.last = now;
        self.changed = None;
        self.has_new = false;
        self.over.clear();
        self.more_over = 0;
        notices
    }

    /// Of what is told, not of who tells it.
    fn id(&self, by: &Teller<'_>, key: &[u8], receiver: &str) -> String {
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
        format!("{:032x}", xxh3_128(&text))
    }
}

// === impl Teller ===

impl Teller<'_> {
    fn lane(&self, receiver: &str) -> u32 {
        let number = self.receivers.iter().position(|known| known.name == receiver);
        number.and_then(|number| u32::try_from(number).ok()).unwrap_or(0)
    }
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
