//! One alert task: samples in, decisions out.
//!
//! Rule: all that a seal decides, and all that it leaves of what it knows, is one output.
//!
//! Edges:
//! - samples of a rule that this build does not know are passed over: an instance that knows it hears of the series again
//!   within a minute;
//! - a rule that was changed or removed takes its alerts with it, and nobody is told; what is told of anew is another
//!   alert. Who sends, what is said and how often are no part of a rule's meaning, and can be changed;
//! - what is pending needs to know that nothing was missed: the task is as far as the newest batch that it took, or the
//!   log's end when it was read to there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::SHOWN;
use super::changelog::{self, Key, Kind, PartitionRecord};
use super::group::{Group, OLD, Step, Teller, Told};
use super::rule::{self, Active, Change, Rule};
use super::sampler::partition_of_rule;
use crate::engine::codec::{CodecError, Pack};
use crate::engine::gauge::{self, BUILT_IN_ALERTS, Counter, Freezer};
use crate::engine::plan::{Alert, Plan};
use crate::engine::series::{DefinitionHash, SeriesKey, push_value, values};
use crate::engine::task::{AlertView, Halt, Input, Notice, Open, OpenTask, Output, Record, Task, TaskView};
use crate::engine::time::{EventTime, WallTime};

/// What the operator can choose about the alert stage.
#[derive(Clone, Debug)]
pub struct AlertOptions {
    pub application: String,
    /// Partitions of the stage's input: a rule belongs to one of them.
    pub partitions: u32,
}

/// Opens alert tasks.
pub struct AlertStage {
    plan: Arc<Plan>,
    options: AlertOptions,
}

struct AlertTask {
    plan: Arc<Plan>,
    options: AlertOptions,
    partition: u32,
    /// The next input offset.
    next: i64,
    /// The committed offset that the changelog must agree with; `None` for a partition never committed.
    committed: Option<i64>,
    restored: Option<PartitionRecord>,
    now: WallTime,
    /// Everything that was said up to here was heard.
    heard: WallTime,
    /// Rules of this partition, by definition.
    rules: BTreeMap<DefinitionHash, Looked>,
    /// Changelog keys of rules that are no more.
    gone: Vec<Vec<u8>>,
    /// How many alerts are pending and fire, by series key.
    counters: BTreeMap<Vec<u8>, Counter>,
    moved: bool,
    weight: usize,
}

/// A rule and what is known for it.
struct Looked {
    /// Index into the plan's alerts.
    index: usize,
    rule: Rule,
    groups: BTreeMap<Vec<u8>, Group>,
    changed_groups: BTreeSet<Vec<u8>>,
    /// Alerts that are over and of which that was not told, with the time, by identity.
    over: BTreeMap<Vec<u8>, (Active, EventTime)>,
    changed_over: BTreeSet<Vec<u8>>,
    is_changed: bool,
}

// === impl AlertStage ===

impl AlertStage {
    pub fn new(plan: Arc<Plan>, options: AlertOptions) -> Self {
        Self { plan, options }
    }
}

impl OpenTask for AlertStage {
    fn open(&self, _topic: &str, partition: u32, at: Open<'_>) -> Result<Box<dyn Task>, String> {
        let (next, committed) = at.offsets();
        let ours = self.plan.alerts.iter().enumerate();
        let ours = ours.filter(|(_, rule)| partition_of_rule(rule, self.options.partitions) == partition);
        Ok(Box::new(AlertTask {
            rules: ours
                .map(|(index, rule)| (rule.definition, Looked::new(index)))
                .collect(),
            plan: Arc::clone(&self.plan),
            options: self.options.clone(),
            partition,
            next,
            committed,
            restored: None,
            now: WallTime(0),
            heard: WallTime(0),
            gone: Vec::new(),
            counters: BTreeMap::new(),
            moved: false,
            weight: 0,
        }))
    }

    fn has_series(&self) -> bool {
        true
    }
}

// === impl Looked ===

impl Looked {
    fn new(index: usize) -> Self {
        Self {
            index,
            rule: Rule::default(),
            groups: BTreeMap::new(),
            changed_groups: BTreeSet::new(),
            over: BTreeMap::new(),
            changed_over: BTreeSet::new(),
            is_changed: false,
        }
    }

    fn changed(&mut self, of: &Alert, changes: Vec<Change>, now: WallTime) {
        for change in changes {
            let (identity, since) = match &change {
                Change::Fires(identity) => {
                    let fired = self.rule.alerts.get(identity).and_then(|active| active.fired);
                    (identity, fired)
                }
                Change::Over(identity, active, _) => (identity, active.fired),
            };
            let key = group_key(of, identity);
            let group = self
                .groups
                .entry(key.clone())
                .or_insert_with(|| Group::new(since.unwrap_or_default()));
            match change {
                Change::Fires(identity) => {
                    group.fires(now);
                    if self.over.remove(&identity).is_some() {
                        self.changed_over.insert(identity);
                    }
                }
                Change::Over(identity, active, at) => {
                    // What nobody knew of is told to nobody.
                    if group.over(now) {
                        self.changed_over.insert(identity.clone());
                        self.over.insert(identity, (active, at));
                    }
                }
            }
            self.changed_groups.insert(key);
        }
    }

    /// Looks at the rule, and keeps what that changed.
    fn look(&mut self, of: &Alert, now: WallTime, look: impl FnOnce(&mut Rule, &mut Vec<Change>)) {
        let (before, mut changes) = ((self.rule.heard, self.rule.left_out), Vec::new());
        look(&mut self.rule, &mut changes);
        self.is_changed |= before != (self.rule.heard, self.rule.left_out);
        self.changed(of, changes, now);
    }

    /// What is to be told now.
    fn tell(&mut self, by: &Teller<'_>, now: WallTime, notices: &mut Vec<Notice>) {
        if self.groups.is_empty() {
            return;
        }
        let mut alerts: BTreeMap<Vec<u8>, (usize, Vec<Told<'_>>)> = BTreeMap::new();
        for (identity, active) in self.rule.alerts.iter().filter(|(_, active)| active.fired.is_some()) {
            let (firing, told) = alerts.entry(group_key(by.rule, identity)).or_default();
            *firing += 1;
            told.push((identity, active, None));
        }
        for (identity, (active, at)) in &self.over {
            let (_, told) = alerts.entry(group_key(by.rule, identity)).or_default();
            told.push((identity, active, Some(*at)));
        }
        let (changed, mut told_over) = (&mut self.changed_groups, Vec::new());
        self.groups.retain(|key, group| {
            let (firing, alerts) = alerts.get(key).map_or((0, &[][..]), |(firing, told)| (*firing, told));
            let is_kept = match group.step(firing, by.rule.repeat, now) {
                Step::Wait => return true,
                Step::Forget => false,
                Step::Tell(occasion) => {
                    notices.extend(group.tell(by, key, occasion, alerts, now));
                    let over = alerts.iter().filter(|(.., ended)| ended.is_some());
                    told_over.extend(over.map(|(identity, ..)| identity.to_vec()));
                    firing > 0
                }
            };
            changed.insert(key.clone());
            is_kept
        });
        for identity in told_over {
            self.over.remove(&identity);
            self.changed_over.insert(identity);
        }
    }

    fn save(&mut self, definition: DefinitionHash, changelog: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>) {
        let mut write = |kind, key: Vec<u8>, value| changelog.push((Key::Of(kind, definition, &key).write(), value));
        for key in std::mem::take(&mut self.rule.changed_series) {
            let value = self.rule.series(&key).map(changelog::write_series);
            write(Kind::Series, key, value);
        }
        for key in std::mem::take(&mut self.rule.changed_alerts) {
            let value = self.rule.alerts.get(&key).map(changelog::write_alert);
            write(Kind::Alert, key, value);
        }
        for key in std::mem::take(&mut self.changed_over) {
            let value = self.over.get(&key).map(changelog::write_over);
            write(Kind::Over, key, value);
        }
        for key in std::mem::take(&mut self.changed_groups) {
            let value = self.groups.get(&key).map(changelog::write_group);
            write(Kind::Group, key, value);
        }
        if std::mem::take(&mut self.is_changed) {
            let value = changelog::write_rule(self.rule.heard, self.rule.left_out);
            changelog.push((Key::Rule(definition).write(), Some(value)));
        }
    }

    fn is_dirty(&self) -> bool {
        self.is_changed
            || !self.rule.changed_series.is_empty()
            || !self.rule.changed_alerts.is_empty()
            || !self.changed_over.is_empty()
            || !self.changed_groups.is_empty()
    }
}

/// The values of the labels that alerts are told together by.
fn group_key(of: &Alert, identity: &[u8]) -> Vec<u8> {
    let names = of.identity();
    let values: Vec<&str> = values(identity).map_while(|value| value).collect();
    let mut key = Vec::new();
    for at in &of.group {
        let position = names.iter().position(|name| name == at);
        let value = position.and_then(|position| values.get(position).copied());
        push_value(&mut key, value.unwrap_or_default().as_bytes());
    }
    key
}

// === impl AlertTask ===

impl AlertTask {
    fn take(&mut self, record: Record<'_>) -> Result<(), Halt> {
        let stop = |what: String| Halt::Stop(format!("offset {} of the alert stage's input: {what}", record.offset));
        let value = record
            .value
            .ok_or_else(|| stop("no value: not written by streamgauge".to_owned()))?;
        let pack = Pack::read(value).map_err(|error| stop(error.to_string()))?;
        for batch in pack.batches {
            for reading in batch.readings {
                let Some(looked) = self.rules.get_mut(&DefinitionHash(reading.rule)) else {
                    continue;
                };
                let of = &self.plan.alerts[looked.index];
                let time = EventTime(reading.time);
                let value = reading.value.filter(|value| value.is_finite());
                looked.look(of, self.now, |rule, changes| {
                    rule.take(of, &reading.key, time, value, changes);
                });
            }
            self.heard = self.heard.max(WallTime(batch.sealed_at).min(self.now));
        }
        self.weight += value.len();
        self.next = record.offset + 1;
        self.moved = true;
        Ok(())
    }

    fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Halt> {
        let partition = self.partition;
        let corrupt = |what: &str| Halt::Stop(format!("the changelog of alert partition {partition} holds {what}"));
        let read = Key::read(key).ok_or_else(|| corrupt("a key that streamgauge never writes"))?;
        if let Some(rule) = read.rule()
            && !self.rules.contains_key(&rule)
        {
            match value {
                Some(_) => self.gone.push(key.to_vec()),
                None => self.gone.retain(|gone| gone != key),
            }
            return Ok(());
        }
        let unread = |error: CodecError| corrupt(&error.to_string());
        match (read, value) {
            (Key::Partition, Some(value)) => self.restored = Some(PartitionRecord::read(value).map_err(unread)?),
            (Key::Partition, None) => {}
            (Key::Rule(rule), value) => {
                let read = value.map(changelog::read_rule).transpose().map_err(unread)?;
                if let Some(looked) = self.rules.get_mut(&rule) {
                    (looked.rule.heard, looked.rule.left_out) = read.unwrap_or_default();
                }
            }
            (Key::Of(kind, rule, key), value) => {
                let Some(looked) = self.rules.get_mut(&rule) else {
                    return Ok(());
                };
                let of = &self.plan.alerts[looked.index];
                match (kind, value) {
                    (Kind::Series, Some(value)) => {
                        let series = changelog::read_series(value).map_err(unread)?;
                        looked.rule.insert(of, key.to_vec(), series);
                    }
                    (Kind::Series, None) => looked.rule.remove(of, key),
                    (Kind::Alert, Some(value)) => {
                        let active = changelog::read_alert(value).map_err(unread)?;
                        looked.rule.alerts.insert(key.to_vec(), active);
                    }
                    (Kind::Alert, None) => drop(looked.rule.alerts.remove(key)),
                    (Kind::Over, Some(value)) => {
                        let over = changelog::read_over(value).map_err(unread)?;
                        looked.over.insert(key.to_vec(), over);
                    }
                    (Kind::Over, None) => drop(looked.over.remove(key)),
                    (Kind::Group, Some(value)) => {
                        let group = changelog::read_group(value).map_err(unread)?;
                        looked.groups.insert(key.to_vec(), group);
                    }
                    (Kind::Group, None) => drop(looked.groups.remove(key)),
                }
            }
        }
        Ok(())
    }

    fn restored(&mut self) -> Result<(), Halt> {
        let record = self.restored.take();
        match (self.committed, &record) {
            (None, None) => Ok(()),
            (Some(offset), Some(record)) if record.next == offset => {
                self.heard = WallTime(record.heard);
                Ok(())
            }
            (committed, _) => {
                let counted = record.map(|record| record.next);
                Err(Halt::disagreement("alert", self.partition, committed, counted))
            }
        }
    }

    /// What time alone decides.
    fn tick(&mut self) -> Vec<Notice> {
        let is_old = self.now.since(self.heard) > OLD;
        let mut notices = Vec::new();
        for looked in self.rules.values_mut() {
            let of = &self.plan.alerts[looked.index];
            if self.heard > WallTime(0) {
                looked.look(of, self.now, |rule, changes| {
                    rule.tick(of, self.heard.as_event(), changes);
                });
            }
            if !is_old {
                let pipeline = self.plan.pipelines.get(of.pipeline).map_or("", String::as_str);
                let by = Teller {
                    application: &self.options.application,
                    pipeline,
                    receivers: &self.plan.receivers,
                    rule: of,
                };
                looked.tell(&by, self.now, &mut notices);
            }
        }
        notices
    }

    /// How many alerts there are, as series of streamgauge's own.
    fn count(&mut self, freezer: &mut Freezer<'_>) {
        let Some((definition, shape)) = gauge::built_in(BUILT_IN_ALERTS) else {
            return;
        };
        let named = freezer.metric(definition, shape);
        for looked in self.rules.values() {
            let of = &self.plan.alerts[looked.index];
            let firing = looked
                .rule
                .alerts
                .values()
                .filter(|active| active.fired.is_some())
                .count();
            let pending = looked.rule.alerts.len() - firing;
            for (state, count) in [("firing", firing), ("pending", pending)] {
                let key = SeriesKey::of([&*of.name, &*of.severity, state]).0;
                let counter = self
                    .counters
                    .entry(key.clone())
                    .or_insert_with(|| Counter::new(0, self.now));
                counter.value = i64::try_from(count).unwrap_or(i64::MAX);
                let mut points = Vec::new();
                if counter.show(self.now, &mut points) {
                    points.drain(..points.len() - 1);
                    freezer.add(named, &key, &points);
                }
            }
        }
    }

    fn shown(&self) -> Vec<AlertView> {
        let mut all = Vec::new();
        for looked in self.rules.values() {
            let of = &self.plan.alerts[looked.index];
            for (identity, active) in &looked.rule.alerts {
                all.push((active.fired.is_none(), active.since, of, identity, active));
            }
        }
        all.sort_by(|a, b| (a.0, a.1, &a.2.name, a.3).cmp(&(b.0, b.1, &b.2.name, b.3)));
        let view = |(_, _, of, identity, active): (bool, _, &Alert, &Vec<u8>, &Active)| {
            let labels = rule::labels(of, identity);
            AlertView {
                rule: of.name.clone(),
                severity: of.severity.clone(),
                is_firing: active.fired.is_some(),
                since: active.since,
                value: active.value,
                description: rule::describe(of, &labels, active.value),
                labels,
            }
        };
        all.into_iter().take(SHOWN).map(view).collect()
    }
}

impl Task for AlertTask {
    fn accept(&mut self, input: Input<'_>) -> Result<(), Halt> {
        match input {
            Input::Record(record) => self.take(record)?,
            Input::Restore { key, value } => self.restore(key, value)?,
            Input::Restored => self.restored()?,
            Input::Position { next } => {
                self.moved |= next > self.next;
                self.next = self.next.max(next);
            }
            Input::LogEnd { end, sampled_at } if end <= self.next => self.heard = self.heard.max(sampled_at),
            Input::Time(now) => self.now = self.now.max(now),
            Input::Expired { start } => {
                return Err(Halt::Stop(format!(
                    "the input of alert partition {} starts at offset {start}, and this task is at {}: samples are gone. The \
                     repartition topic must have no retention",
                    self.partition, self.next
                )));
            }
            Input::LogEnd { .. } | Input::Partitions(_) | Input::Waiting(_) | Input::Surveying | Input::Surveyed(_) => {
            }
        }
        Ok(())
    }

    fn weight(&self) -> usize {
        self.weight
    }

    fn seal(&mut self) -> Option<Output> {
        let notices = self.tick();
        let application = self.options.application.clone();
        let mut freezer = Freezer::new(&application, self.partition);
        self.count(&mut freezer);
        let outbox = freezer.finish();
        let is_dirty = self.rules.values().any(Looked::is_dirty) || !self.gone.is_empty();
        if !self.moved && !is_dirty && notices.is_empty() && outbox.is_empty() {
            return None;
        }
        self.moved = false;
        self.weight = 0;
        let record = PartitionRecord::new(self.next, self.heard);
        let mut changelog = vec![(Key::Partition.write(), Some(prost::Message::encode_to_vec(&record)))];
        changelog.extend(self.gone.drain(..).map(|key| (key, None)));
        for (definition, looked) in &mut self.rules {
            looked.save(*definition, &mut changelog);
        }
        Some(Output {
            next: self.next,
            changelog,
            outbox,
            notices,
            ..Output::default()
        })
    }

    fn newest(&self) -> Vec<Vec<u8>> {
        let mut freezer = Freezer::new(&self.options.application, self.partition);
        if let Some((definition, shape)) = gauge::built_in(BUILT_IN_ALERTS) {
            let named = freezer.metric(definition, shape);
            for (key, counter) in &self.counters {
                freezer.add(named, key, counter.newest().as_slice());
            }
        }
        freezer.finish()
    }

    fn view(&self) -> TaskView {
        let left_out = self.rules.values().filter(|looked| looked.rule.left_out > 0);
        let note = |looked: &Looked| {
            format!(
                "alert {}: {} samples were of series beyond the first {}, and are not looked at",
                self.plan.alerts[looked.index].name,
                looked.rule.left_out,
                rule::MOST
            )
        };
        TaskView {
            alerts: self.shown(),
            notes: left_out.map(note).collect(),
            ..TaskView::default()
        }
    }
}
