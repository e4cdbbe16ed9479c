//! One lag task: the records of one partition of the offsets topic in, points of the groups in it out.
//!
//! Rule: what is shown is what the group's commits were when the logs were asked for their ends, and nothing is shown that
//! may be old.
//!
//! Edges:
//! - behind a transaction that stays open the groups of the partition have no points (see [`fresh`](super::fresh));
//! - records of a version that is not known are counted and passed over; those that cannot be read are dead letters;
//! - groups and topics that the pipeline does not want are filtered, also those that it wanted before;
//! - what ends (a tombstone: an offset that expired or was deleted, a group that is gone) has its series ended and is
//!   forgotten with the next seal.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::changelog::{Key, TaskRecord};
use super::consumed::latency_kind;
use super::fresh::Fresh;
use super::groups::Groups;
use super::logs::{Logs, Partitions, Survey, Surveyed, Tail, TailSpan};
use super::polled::OwnRecord;
use super::record;
use super::table::{Kept, Round, Table};
use crate::engine::alert::Sampler;
use crate::engine::gauge::{Counter, STEP};
use crate::engine::plan::{self, Kind};
use crate::engine::tap::ledger::{Ledger, Outcome};
use crate::engine::tap::open_ledger;
use crate::engine::task::{DeadLetter, Halt, Input, Open, OpenTask, Output, Record, Shuffled, Task, TaskView};
use crate::engine::time::{Span, WallTime};

/// The broker's topic of offsets and groups.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Of a record that cannot be read this much is kept.
const DEAD_BYTES: usize = 64 * 1024;

/// Tails of up to this many offsets are read, to count the records in them.
pub const TAIL: i64 = 1_000;

/// Tails that one task wants read in one survey; the others have their turn later.
const TAILS_AT_ONCE: usize = 200;

/// What the operator can choose about the lag stage.
#[derive(Clone, Debug)]
pub struct LagOptions {
    pub application: String,
    /// Name of the pipeline that asks for lag: part of the series' resource.
    pub pipeline: String,
    pub lag: plan::Lag,
    /// Topics that are tapped: the offset index tells of them.
    pub tapped: BTreeSet<String>,
    /// Rules that may look at its series.
    pub alerts: Vec<plan::Alert>,
    /// Partitions of the alert stage.
    pub partitions: u32,
}

/// Opens lag tasks, and knows the logs that all of them compare with.
pub struct LagStage {
    options: Arc<LagOptions>,
    logs: Logs,
}

/// See the module.
pub struct LagTask {
    pub(super) options: Arc<LagOptions>,
    pub(super) topic: String,
    pub(super) partition: u32,
    pub(super) latency: Kind,
    pub(super) ledger: Ledger,
    /// The next offset to read; what the ledger's counts lead to.
    next: i64,
    /// The committed offset that the changelog must agree with; `None` for a partition never committed.
    pub(super) committed: Option<i64>,
    /// The operator accepted that what lies between is lost.
    pub(super) is_reset: bool,
    /// What the changelog said, until `Restored` checks it.
    pub(super) restored: Option<TaskRecord>,
    pub(super) table: Table,
    pub(super) groups: Groups,
    /// Records of groups and members that the changelog does not have yet.
    pub(super) raw: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    /// Counters and gauges of the task itself, by metric and series key.
    pub(super) own: BTreeMap<(&'static str, Vec<u8>), Counter>,
    /// Records of a version that is not known.
    pub(super) unknown: u64,
    /// Records for which there was no room before the last restart.
    pub(super) overflowed_before: u64,
    pub(super) now: WallTime,
    /// When the task was opened: its own counters begin there.
    pub(super) opened: Option<WallTime>,
    /// Time of the newest point.
    pub(super) last_point: WallTime,
    pub(super) round: Round,
    pub(super) fresh: Fresh,
    /// A survey is under way that this task was told of.
    is_surveying: bool,
    /// The newest poll that was read whole; that which the last survey was asked with, and that which was shown.
    poll: Option<WallTime>,
    asked: Option<WallTime>,
    shown: Option<WallTime>,
    dead: Vec<DeadLetter>,
    weight: usize,
    /// Frozen points that wait for the seal.
    pub(super) outbox: Vec<Vec<u8>>,
    /// Where there are rules.
    pub(super) sampler: Option<Sampler>,
    /// The offset of the last seal.
    sealed: Option<i64>,
}

// === impl LagStage ===

impl LagStage {
    pub fn new(options: LagOptions) -> Self {
        Self {
            options: Arc::new(options),
            logs: Logs::default(),
        }
    }
}

impl OpenTask for LagStage {
    fn open(&self, topic: &str, partition: u32, at: Open<'_>) -> Result<Box<dyn Task>, String> {
        let is_reset = matches!(at, Open::Reset { .. });
        let (_, committed) = at.offsets();
        let ledger = open_ledger(at).map_err(|problem| {
            format!(
                "{topic} partition {partition}: {problem}. `--accept-reset` starts a new ledger epoch for it; commits that lie \
                 between are counted nowhere"
            )
        })?;
        let lag = &self.options.lag;
        let limit = usize::try_from(lag.max_series).unwrap_or(usize::MAX);
        Ok(Box::new(LagTask {
            next: ledger.next(),
            table: Table::new(lag.max_series, lag.every),
            groups: Groups::new(limit),
            options: Arc::clone(&self.options),
            topic: topic.to_owned(),
            partition,
            latency: latency_kind(),
            ledger,
            committed,
            is_reset,
            restored: None,
            raw: BTreeMap::new(),
            own: BTreeMap::new(),
            unknown: 0,
            overflowed_before: 0,
            now: WallTime(0),
            opened: None,
            last_point: WallTime(0),
            round: Round(0),
            fresh: Fresh::new(self.options.lag.every),
            is_surveying: false,
            poll: None,
            asked: None,
            shown: None,
            dead: Vec::new(),
            weight: 0,
            outbox: Vec::new(),
            sampler: Sampler::new(&self.options.alerts, self.options.partitions),
            sealed: None,
        }))
    }

    fn survey(&mut self, survey: Survey) {
        self.logs.take(survey, self.options.lag.horizon);
    }

    fn tails(&mut self, tails: Vec<(TailSpan, Tail)>) {
        self.logs.take_tails(tails);
    }

    fn index(&mut self, value: &[u8]) -> Result<(), String> {
        self.logs.take_stretch(value)
    }

    fn has_series(&self) -> bool {
        true
    }

    fn logs(&self) -> Option<&Logs> {
        Some(&self.logs)
    }
}

// === impl LagTask ===

impl LagTask {
    fn record(&mut self, record: &Record<'_>) -> Result<(), Halt> {
        if record.offset < self.next {
            return Err(Halt::Stop(format!(
                "{} partition {}: record {} came when {} was next",
                self.topic, self.partition, record.offset, self.next
            )));
        }
        self.pass(Outcome::Absent, record.offset);
        let outcome = match self.own_record(record) {
            Some(outcome) => outcome,
            None => self.record_of_broker(record),
        };
        self.pass(outcome, record.offset + 1);
        Ok(())
    }

    /// `None` where it is none of our own kinds.
    fn own_record(&mut self, record: &Record<'_>) -> Option<Outcome> {
        if !self.options.lag.polls() {
            return None;
        }
        match OwnRecord::read(record.key, record.value) {
            Ok(Some(OwnRecord::Marker(at))) => {
                self.poll = Some(at);
                Some(Outcome::Counted)
            }
            Ok(Some(OwnRecord::Group { group, polled })) => {
                if !self.options.lag.groups.has(group) {
                    return Some(Outcome::Filtered);
                }
                let is_gone = self.groups.poll(group, polled);
                self.known(group, is_gone);
                self.keep(record, group);
                Some(Outcome::Counted)
            }
            // What cannot be read as ours cannot be read at all.
            Ok(None) | Err(_) => None,
        }
    }

    fn record_of_broker(&mut self, record: &Record<'_>) -> Outcome {
        match record::Record::read(record.key, record.value) {
            Ok(record::Record::Commit { of, commit }) => self.commit(of, commit.as_ref()),
            Ok(record::Record::Group { kind, group, of, value }) => match self.group(record, kind, group, of, value) {
                Ok(outcome) => outcome,
                Err(malformed) => self.quarantine(record, malformed.to_string()),
            },
            Ok(record::Record::Unknown(_)) => {
                self.unknown += 1;
                Outcome::Filtered
            }
            Err(malformed) => self.quarantine(record, malformed.to_string()),
        }
    }

    fn commit(&mut self, of: record::CommitKey<'_>, commit: Option<&record::Commit<'_>>) -> Outcome {
        let lag = &self.options.lag;
        // No client can commit for a partition below zero: it is one of nothing.
        let Ok(partition) = u32::try_from(of.partition) else {
            return Outcome::Filtered;
        };
        if !lag.groups.has(of.group) || !lag.topics.has(of.topic) {
            return Outcome::Filtered;
        }
        match commit {
            Some(commit) => {
                self.weight += 160;
                // A counter that begins now begins behind every point of one that ended.
                let now = self.point_time(self.now);
                let is_tapped = self.options.tapped.contains(of.topic);
                if self.table.commit(of, partition, commit, is_tapped, now) == Kept::New {
                    self.groups.commits(of.group);
                }
            }
            None => {
                if self.table.forget(of.group, of.topic, partition) && self.groups.commits_no_more(of.group) {
                    self.table.forget_group(of.group);
                }
            }
        }
        Outcome::Counted
    }

    fn group(
        &mut self,
        record: &Record<'_>,
        kind: super::schema::Kind,
        group: &str,
        of: Option<&str>,
        value: Option<&[u8]>,
    ) -> Result<Outcome, super::wire::Malformed> {
        if !self.options.lag.groups.has(group) {
            return Ok(Outcome::Filtered);
        }
        let is_gone = self.groups.record(kind, group, of, value)?;
        self.known(group, is_gone);
        self.keep(record, group);
        Ok(Outcome::Counted)
    }

    /// For the changelog, unless there was no room for the group.
    fn keep(&mut self, record: &Record<'_>, group: &str) {
        if let Some(key) = record.key
            && (record.value.is_none() || self.groups.get(group).is_some())
        {
            self.weight += key.len() + record.value.map_or(0, <[u8]>::len);
            self.raw.insert(key.to_vec(), record.value.map(<[u8]>::to_vec));
        }
    }

    /// A group is known now, or, as far as its own records tell, gone.
    fn known(&mut self, group: &str, is_gone: bool) {
        let has_offsets = self.table.groups.get(group).is_some_and(|row| !row.topics.is_empty());
        if is_gone && !has_offsets && self.groups.commits_no_more(group) {
            self.table.forget_group(group);
        } else if self.groups.get(group).is_some() {
            self.table.group(group);
        }
    }

    /// Everything below `to` has this outcome.
    fn pass(&mut self, outcome: Outcome, to: i64) {
        if let Ok(offsets @ 1..) = u64::try_from(to.saturating_sub(self.next)) {
            self.ledger.add(outcome, offsets);
            self.next = to;
        }
    }

    #[cold]
    fn quarantine(&mut self, record: &Record<'_>, reason: String) -> Outcome {
        let first = |bytes: &[u8]| bytes[..bytes.len().min(DEAD_BYTES)].to_vec();
        let letter = DeadLetter {
            outcome: Outcome::Malformed.name(),
            reason,
            topic: self.topic.clone(),
            partition: self.partition,
            offset: record.offset,
            key: record.key.map(first),
            value: record.value.map(first),
        };
        self.weight += 2 * DEAD_BYTES.min(record.value.map_or(0, <[u8]>::len)) + 256;
        self.dead.push(letter);
        Outcome::Malformed
    }

    fn readings(&mut self) -> Vec<Shuffled> {
        let (partition, now) = (self.partition, self.now);
        let sampler = self.sampler.as_mut();
        sampler.map_or(Vec::new(), |sampler| sampler.seal("lag", partition, now))
    }

    pub(super) fn overflowed(&self) -> u64 {
        self.overflowed_before
            .saturating_add(self.table.overflowed)
            .saturating_add(self.groups.overflowed())
    }

    fn surveyed(&mut self, logs: &Logs) {
        // One that was asked before the task was there knows nothing of when its commits were read.
        if !std::mem::take(&mut self.is_surveying) {
            return;
        }
        let is_fresh = if self.options.lag.polls() {
            let is_new = self.asked.is_some() && self.asked != self.shown;
            self.shown = self.asked;
            self.fresh.polled(logs.at(), is_new)
        } else {
            let own = logs.partition(&self.topic, self.partition).filter(|own| own.is_fresh);
            let end = own.and_then(|own| Some(own.samples.latest()?.high_watermark));
            self.fresh.surveyed(logs.at(), end, self.next)
        };
        // What waits to be sent has not been seen by anyone: newer points come when it has gone.
        if self.outbox.is_empty() {
            self.show(logs, is_fresh);
        }
        self.table.end();
    }

    /// The time of the next points.
    pub(super) fn point_time(&self, now: WallTime) -> WallTime {
        now.max(self.last_point.ahead(STEP))
    }
}

impl Task for LagTask {
    fn accept(&mut self, input: Input<'_>) -> Result<(), Halt> {
        match input {
            Input::Record(record) => self.record(&record)?,
            Input::Restore { key, value } => self.restore(key, value)?,
            Input::Restored => self.restored()?,
            Input::Position { next } => self.pass(Outcome::Absent, next),
            Input::Expired { start } => self.pass(Outcome::Expired, start),
            Input::Time(now) => {
                self.now = self.now.max(now);
                self.opened.get_or_insert(now);
            }
            Input::Surveying => {
                self.is_surveying = true;
                self.asked = self.poll;
                self.round = Round(self.round.0.wrapping_add(1));
                self.table.begin(self.round);
            }
            Input::Surveyed(logs) => self.surveyed(logs),
            Input::Partitions(_) | Input::LogEnd { .. } | Input::Waiting(_) => {}
        }
        Ok(())
    }

    fn weight(&self) -> usize {
        self.weight
    }

    fn wants(&self, partitions: &mut Partitions) {
        let mut want = |topic: &str, partition: u32| match partitions.get_mut(topic) {
            Some(wanted) => drop(wanted.insert(partition)),
            None => drop(partitions.insert(topic.into(), BTreeSet::from([partition]))),
        };
        want(&self.topic, self.partition);
        for group in self.table.groups.values() {
            for (topic, row) in &group.topics {
                for partition in row.partitions.keys() {
                    want(topic, *partition);
                }
            }
        }
    }

    fn tails(&self, logs: &Logs, spans: &mut BTreeSet<TailSpan>) {
        let mut wanted = 0;
        for group in self.table.groups.values() {
            for (topic, rows) in &group.topics {
                let Some(of_topic) = logs.topic(topic) else { continue };
                let indexes = logs.indexes(topic);
                for (partition, row) in &rows.partitions {
                    let Some(log) = of_topic.partition(*partition).filter(|log| log.is_fresh) else {
                        continue;
                    };
                    let position = row.at_survey(self.round);
                    let unread = position.and_then(|position| {
                        let index = indexes.and_then(|indexes| indexes.get(partition));
                        log.uncounted(position.offset, index)
                    });
                    let Some((_, start, end)) = unread else {
                        continue;
                    };
                    if wanted < TAILS_AT_ONCE && (1..=TAIL).contains(&(end - start)) && log.tail(start, end).is_none() {
                        wanted += 1;
                        spans.insert(TailSpan {
                            topic: topic.clone(),
                            partition: *partition,
                            start,
                            end,
                        });
                    }
                }
            }
        }
    }

    fn is_behind(&self) -> bool {
        self.fresh.is_behind(self.now)
    }

    fn is_due(&self) -> bool {
        self.poll != self.asked
    }

    fn seal(&mut self) -> Option<Output> {
        let is_moved = self.sealed != Some(self.next);
        if !is_moved && self.outbox.is_empty() && self.table.ended.is_empty() {
            return None;
        }
        self.sealed = Some(self.next);
        self.weight = 0;
        if self.ledger.started == WallTime(0) {
            self.ledger.started = self.now;
        }
        let mut outbox = std::mem::take(&mut self.outbox);
        let mut changelog = vec![(Key::Task.write(), None)];
        outbox.extend(self.end_series(&mut changelog));
        self.save(&mut changelog);
        for (key, value) in std::mem::take(&mut self.raw) {
            changelog.push((Key::Raw(&key).write(), value));
        }
        let mut record = TaskRecord::new(self.next);
        record.last_point = self.last_point.0;
        record.overflowed = self.overflowed();
        record.unknown = self.unknown;
        changelog[0].1 = Some(prost::Message::encode_to_vec(&record));
        Some(Output {
            next: self.next,
            metadata: self.ledger.encode(),
            changelog,
            outbox,
            shuffled: self.readings(),
            dead: std::mem::take(&mut self.dead),
            ..Output::default()
        })
    }

    fn newest(&self) -> Vec<Vec<u8>> {
        self.newest_points()
    }

    fn view(&self) -> TaskView {
        let mut notes = Vec::new();
        let overflowed = self.overflowed();
        if overflowed > 0 {
            notes.push(format!(
                "{} partition {}: {overflowed} records of groups beyond max_series ({}) were passed over",
                self.topic, self.partition, self.options.lag.max_series
            ));
        }
        let stalled = self.fresh.stalled(self.now);
        if stalled > Span::ZERO && self.options.lag.polls() {
            notes.push(format!(
                "{} partition {}: no poll of the groups has come for {} s, and its groups have no lag: the instance that owns \
                 partition 0 polls, and says what hinders it",
                self.topic,
                self.partition,
                stalled.as_micros() / 1_000_000
            ));
        } else if stalled > Span::ZERO {
            notes.push(format!(
                "{} partition {} has not been read beyond offset {} for {} s: while a transaction is open there \
                 (kafka-transactions.sh find-hanging shows it, abort ends it), commits behind it are not seen, and its groups \
                 have no lag",
                self.topic,
                self.partition,
                self.next,
                stalled.as_micros() / 1_000_000
            ));
        }
        TaskView {
            ledger: Some(self.ledger.clone()),
            series: self.table.len().into(),
            newest_point: (self.last_point > WallTime(0)).then(|| self.last_point.as_event()),
            notes,
            ..TaskView::default()
        }
    }
}

/// What a survey says of partitions that nobody answered for.
pub fn silent(partitions: &Partitions, at: WallTime) -> Survey {
    let mut survey = Survey {
        at,
        ..Survey::default()
    };
    for (topic, wanted) in partitions {
        let surveyed = wanted.iter().map(|partition| (*partition, Surveyed::Silent));
        survey.topics.entry(topic.clone()).or_default().partitions = surveyed.collect();
    }
    survey
}
