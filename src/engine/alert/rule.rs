//! One rule: its series, and what is pending and fires.
//!
//! Rule: a condition is judged when a sample comes, at the sample's time; between samples a series has the value that it
//! had, since one that changes is told. `for` is over when the condition has been met so long by those times.
//!
//! Edges:
//! - where no sample comes for [`STANDS`] nothing that is pending begins to fire, and what fires goes on: nobody knows
//!   better;
//! - a series that ends meets nothing any more;
//! - a series that stands for itself and is compared with a number is not kept: only what is pending or fires is;
//! - beyond [`MOST`] series of a rule, or so many alerts of it, a new one is not looked at, and counted.

use std::collections::{BTreeMap, BTreeSet};

use super::series::Series;
use crate::engine::plan::{Alert, Bound, Condition, Piece};
use crate::engine::series::{push_value, values};
use crate::engine::time::{EventTime, Span};

/// Series that one rule looks at.
pub const MOST: usize = 100_000;

/// A series is told of once a minute while it lives; this is some more.
const STANDS: Span = Span::seconds(90);

/// All that is known for one rule.
#[derive(Debug, Default)]
pub struct Rule {
    /// By series key.
    series: BTreeMap<Vec<u8>, Series>,
    /// Keys of the series that are added up, by what they are together.
    members: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
    /// What is pending or fires, by the labels that tell alerts apart, encoded like a series key.
    pub alerts: BTreeMap<Vec<u8>, Active>,
    /// When something was heard last, or the rule began to be looked at.
    pub heard: Option<EventTime>,
    /// Series that are not looked at.
    pub left_out: u64,
    /// Keys of series and alerts whose state the changelog does not have.
    pub changed_series: BTreeSet<Vec<u8>>,
    pub changed_alerts: BTreeSet<Vec<u8>>,
}

/// A condition that is met.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Active {
    /// Since when.
    pub since: EventTime,
    /// When it began to fire; `None` while it is pending.
    pub fired: Option<EventTime>,
    /// The newest time at which it was met.
    pub seen: EventTime,
    pub value: f64,
}

/// What changed for who is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Fires(Vec<u8>),
    /// It fired, and is over at this time.
    Over(Vec<u8>, Active, EventTime),
}

// === impl Rule ===

impl Rule {
    /// A sample of one series; `None` ends it.
    pub fn take(&mut self, of: &Alert, key: &[u8], time: EventTime, value: Option<f64>, changes: &mut Vec<Change>) {
        if let Condition::Absent(_) = of.condition {
            if value.is_some() {
                self.heard = self.heard.max(Some(time));
                if let Some(identity) = absent_identity(of) {
                    self.judge(of, identity, time, None, changes);
                }
            }
            return;
        }
        let Some(identity) = identity(of, key) else { return };
        if let (Condition::Value(bound), None) = (of.condition, &of.sum_by) {
            // The sample is all that there is to know, and comes again within a minute.
            let met = value.filter(|value| bound.is_met(*value));
            self.judge(of, identity, time, met, changes);
            return;
        }
        match value {
            Some(value) => {
                if !self.series.contains_key(key) {
                    if self.series.len() >= MOST {
                        self.left_out += 1;
                        return;
                    }
                    self.insert(of, key.to_vec(), Series::default());
                }
                let over = match of.condition {
                    Condition::Rate { over, .. } => Some(over),
                    Condition::Value(_) | Condition::Absent(_) => None,
                };
                if let Some(series) = self.series.get_mut(key) {
                    series.take(time, value, over);
                }
            }
            None => self.remove(of, key),
        }
        self.changed_series.insert(key.to_vec());
        let met = self.met(of, &identity);
        self.judge(of, identity, time, met, changes);
    }

    /// A series that is new, or comes back from the changelog.
    pub fn insert(&mut self, of: &Alert, key: Vec<u8>, series: Series) {
        if of.sum_by.is_some()
            && let Some(identity) = identity(of, &key)
        {
            self.members.entry(identity).or_default().insert(key.clone());
        }
        self.series.insert(key, series);
    }

    pub fn remove(&mut self, of: &Alert, key: &[u8]) {
        self.series.remove(key);
        if of.sum_by.is_some()
            && let Some(identity) = identity(of, key)
            && let Some(members) = self.members.get_mut(&identity)
        {
            members.remove(key);
            if members.is_empty() {
                self.members.remove(&identity);
            }
        }
    }

    pub fn series(&self, key: &[u8]) -> Option<&Series> {
        self.series.get(key)
    }

    /// Everything that was said up to this time was heard.
    pub fn tick(&mut self, of: &Alert, now: EventTime, changes: &mut Vec<Change>) {
        if let Condition::Absent(span) = of.condition {
            let heard = *self.heard.get_or_insert(now);
            if heard.ahead(span) <= now {
                let silence = (now.0 - heard.0) as f64 / 1e6;
                if let Some(identity) = absent_identity(of) {
                    self.judge(of, identity, now, Some(silence), changes);
                }
            }
            return;
        }
        for (identity, active) in &mut self.alerts {
            let due = active.since.ahead(of.hold);
            if active.fired.is_none() && due <= now && now <= active.seen.ahead(STANDS) {
                active.fired = Some(due.max(active.seen));
                self.changed_alerts.insert(identity.clone());
                changes.push(Change::Fires(identity.clone()));
            }
        }
    }

    /// The value of what has this identity, where it meets the condition.
    fn met(&self, of: &Alert, identity: &[u8]) -> Option<f64> {
        let alone = of.sum_by.is_none().then(|| self.series.get(identity)).flatten();
        let keys = self.members.get(identity).into_iter().flatten();
        let members = || {
            alone
                .into_iter()
                .chain(keys.clone().filter_map(|key| self.series.get(key)))
        };
        match of.condition {
            Condition::Value(bound) => {
                let values: Vec<f64> = members().filter_map(Series::value).collect();
                let sum = values.iter().sum();
                (!values.is_empty() && bound.is_met(sum)).then_some(sum)
            }
            Condition::Rate {
                over,
                bound,
                began_above,
            } => {
                let rates: Vec<_> = members().filter_map(|series| series.rate(over)).collect();
                let sum: f64 = rates.iter().map(|rate| rate.per_second).sum();
                // Together they are as old as the oldest.
                let is_old = rates.iter().any(|rate| rate.began.is_some());
                let began: f64 = rates.iter().filter_map(|rate| rate.began).sum();
                let is_known = match bound {
                    Bound::Above(_) => true,
                    Bound::Below(_) => is_old,
                };
                let did_begin = began_above.is_none_or(|least| is_old && began > least);
                (!rates.is_empty() && is_known && did_begin && bound.is_met(sum)).then_some(sum)
            }
            Condition::Absent(_) => None,
        }
    }

    fn judge(&mut self, of: &Alert, identity: Vec<u8>, time: EventTime, met: Option<f64>, changes: &mut Vec<Change>) {
        let known = self.alerts.len();
        match (met, self.alerts.get_mut(&identity)) {
            (None, None) => return,
            (None, Some(active)) => {
                if active.fired.is_some() {
                    changes.push(Change::Over(identity.clone(), *active, time.max(active.seen)));
                }
                self.alerts.remove(&identity);
            }
            (Some(value), active) => {
                let is_new = active.is_none();
                if is_new && known >= MOST {
                    self.left_out += 1;
                    return;
                }
                let mut now = active.copied().unwrap_or(Active {
                    since: time,
                    fired: None,
                    seen: time,
                    value,
                });
                let before = now;
                (now.value, now.seen) = (value, now.seen.max(time));
                if now.fired.is_none() && now.since.ahead(of.hold) <= now.seen {
                    now.fired = Some(now.seen);
                    changes.push(Change::Fires(identity.clone()));
                }
                if !is_new && now == before {
                    return;
                }
                self.alerts.insert(identity.clone(), now);
            }
        }
        self.changed_alerts.insert(identity);
    }
}

/// The labels that tell alerts of the rule apart, of one series.
fn identity(of: &Alert, key: &[u8]) -> Option<Vec<u8>> {
    let all = values(key).collect::<Option<Vec<&str>>>()?;
    if all.len() != of.labels.len() {
        return None;
    }
    match &of.sum_by {
        None => Some(key.to_vec()),
        Some(by) => {
            let mut identity = Vec::new();
            for at in by {
                push_value(&mut identity, all.get(*at)?.as_bytes());
            }
            Some(identity)
        }
    }
}

/// Nothing has labels of its own: those that the rule asks for are its identity.
fn absent_identity(of: &Alert) -> Option<Vec<u8>> {
    let mut identity = Vec::new();
    for at in of.identity() {
        let (_, one) = of.matching.iter().find(|(label, _)| *label == at)?;
        push_value(&mut identity, one.first()?.as_bytes());
    }
    Some(identity)
}

/// Names and values of the labels that tell this alert apart.
pub fn labels(of: &Alert, identity: &[u8]) -> Vec<(String, String)> {
    let names = of.identity();
    let names = names.iter().filter_map(|at| of.labels.get(*at));
    let values = values(identity).map_while(|value| value);
    names
        .zip(values)
        .map(|(name, value)| (name.clone(), value.to_owned()))
        .collect()
}

/// The rule's description of this alert.
pub fn describe(of: &Alert, labels: &[(String, String)], value: f64) -> String {
    let mut text = String::new();
    for piece in &of.description.0 {
        match piece {
            Piece::Text(more) => text.push_str(more),
            Piece::Value => text.push_str(&number(value)),
            Piece::Label(at) => {
                let name = of.labels.get(*at);
                let found = labels.iter().find(|(label, _)| Some(label) == name);
                text.push_str(found.map_or("", |(_, value)| value));
            }
        }
    }
    text
}

/// As a person writes it: three decimals at most.
fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}
