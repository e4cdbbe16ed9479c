//! What groups have committed: the newest offset of each group in each partition, and what led to it.
//!
//! Rule: a commit is compared only with log ends that were asked for after it was read. While a survey is under way, the
//! offset that a partition had when it began is kept beside newer ones.
//!
//! Edges:
//! - the first commit is where counting begins; a commit below the one before it begins anew there, and subtracts nothing;
//! - a commit for another topic of the same name (its id differs) is a first one;
//! - beyond the limit of partitions a commit is not kept, and counted;
//! - what is gone is remembered until its series have been ended. Who comes back before that goes on with them.

use std::collections::BTreeMap;

use super::commits::{Commit, Commits};
use super::consumed::{Consumed, Covered, Waiting};
use super::lags::is_another;
use super::record;
use super::shown::{Shown, States};
use crate::engine::task::TopicId;
use crate::engine::time::{Span, WallTime};

/// Counts one survey after the other, from one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Round(pub u32);

/// All groups of one partition of the offsets topic.
#[derive(Debug)]
pub struct Table {
    pub groups: BTreeMap<Box<str>, GroupRow>,
    /// Partitions that are gone, and groups with them.
    pub ended: BTreeMap<What, Gone>,
    /// Rows of partitions that are kept.
    rows: u32,
    limit: u32,
    /// Commits beyond the limit.
    pub overflowed: u64,
    /// The survey that is under way.
    round: Option<Round>,
    apart: Span,
}

/// One group.
#[derive(Debug, Default)]
pub struct GroupRow {
    pub topics: BTreeMap<Box<str>, TopicRow>,
    /// Series of the group as a whole.
    pub shown: Shown,
    pub states: States,
    /// The changelog does not have what was shown.
    pub is_dirty: bool,
}

/// One topic that a group commits in.
#[derive(Debug)]
pub struct TopicRow {
    pub partitions: BTreeMap<u32, Row>,
    pub consumed: Consumed,
    pub is_dirty: bool,
    pub is_kept: bool,
}

/// One group in one partition.
#[derive(Debug)]
pub struct Row {
    pub last: Position,
    /// What it was when the survey began; of the survey in which it was the last.
    before: Option<(Round, Option<Position>)>,
    /// Offsets of a tapped topic that are not counted yet.
    pub waiting: Option<Box<Waiting>>,
    pub commits: Commits,
    pub shown: Shown,
    pub states: States,
    /// The next commit is a first one: what lies between was not read.
    pub is_anew: bool,
    /// The changelog does not have this yet.
    pub is_dirty: bool,
    /// The changelog has something of it.
    pub is_kept: bool,
}

/// What became of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In a row that is there.
    Known,
    /// In a new one.
    New,
    NoRoom,
}

/// A commit, as far as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// The next offset to read.
    pub offset: i64,
    /// The broker's clock.
    pub at: WallTime,
    /// Zero where it is not known.
    pub topic_id: TopicId,
    /// The ring does not have it yet.
    pub is_new: bool,
}

/// What was there once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Partition(Box<str>, Box<str>, u32),
    Topic(Box<str>, Box<str>),
    Group(Box<str>),
}

/// What it has shown, which must be ended.
#[derive(Debug, Default)]
pub struct Gone {
    pub shown: Shown,
    pub states: States,
    pub consumed: Option<Consumed>,
}

// === impl Table ===

impl Table {
    /// `apart`: commits that are closer than this are one entry of a ring.
    pub fn new(limit: u32, apart: Span) -> Self {
        Self {
            groups: BTreeMap::new(),
            ended: BTreeMap::new(),
            rows: 0,
            limit,
            overflowed: 0,
            round: None,
            apart,
        }
    }

    /// Partitions that are kept.
    pub fn len(&self) -> u32 {
        self.rows
    }

    /// A survey is asked for now.
    pub fn begin(&mut self, round: Round) {
        self.round = Some(round);
    }

    /// The survey is answered, or given up.
    pub fn end(&mut self) {
        self.round = None;
    }

    /// Takes a commit. What it covers of a tapped topic waits for the index.
    pub fn commit(
        &mut self,
        key: record::CommitKey<'_>,
        partition: u32,
        commit: &record::Commit<'_>,
        is_tapped: bool,
        now: WallTime,
    ) -> Kept {
        let position = Position {
            offset: commit.offset,
            at: WallTime(commit.committed_at.saturating_mul(1_000)),
            topic_id: commit.topic_id.unwrap_or_default(),
            is_new: true,
        };
        let round = self.round;
        if let Some(topic) = self
            .groups
            .get_mut(key.group)
            .and_then(|group| group.topics.get_mut(key.topic))
            && let Some(row) = topic.partitions.get_mut(&partition)
        {
            let advance = row.take(position, round, self.apart);
            let counted = match is_tapped {
                true if advance > 0 => row.waiting.get_or_insert_default().add(Covered {
                    from: position.offset.saturating_sub(advance),
                    to: position.offset,
                    at: position.at,
                }),
                _ => advance,
            };
            if counted > 0 {
                topic.consumed.count(counted, now);
                topic.is_dirty = true;
            }
            return Kept::Known;
        }
        if self.rows >= self.limit {
            self.overflowed = self.overflowed.saturating_add(1);
            return Kept::NoRoom;
        }
        let row = self.add(key.group, key.topic, partition, position, now);
        row.before = round.map(|round| (round, None));
        Kept::New
    }

    /// A row that is new.
    fn add(&mut self, group: &str, topic: &str, partition: u32, position: Position, now: WallTime) -> &mut Row {
        self.rows += 1;
        let back = self.back(|| What::Partition(group.into(), topic.into(), partition));
        let (is_kept, Gone { shown, states, .. }) = (back.is_some(), back.unwrap_or_default());
        let apart = self.apart;
        let gone = self.back(|| What::Topic(group.into(), topic.into()));
        let topics = &mut self.group(group).topics;
        let rows = topics.entry(topic.into()).or_insert_with(|| TopicRow {
            partitions: BTreeMap::new(),
            is_kept: gone.is_some(),
            consumed: gone
                .and_then(|gone| gone.consumed)
                .unwrap_or_else(|| Consumed::new(now)),
            is_dirty: true,
        });
        rows.partitions.entry(partition).or_insert_with(|| Row {
            last: position,
            before: None,
            waiting: None,
            commits: Commits::new(Commits::TEN, apart),
            shown,
            states,
            is_anew: false,
            is_dirty: true,
            is_kept,
        })
    }

    /// The group, made where it is new.
    pub fn group(&mut self, group: &str) -> &mut GroupRow {
        if !self.groups.contains_key(group) {
            let Gone { shown, states, .. } = self.back(|| What::Group(group.into())).unwrap_or_default();
            let row = GroupRow {
                topics: BTreeMap::new(),
                shown,
                states,
                is_dirty: false,
            };
            self.groups.insert(group.into(), row);
        }
        self.groups.entry(group.into()).or_default()
    }

    /// A row as the changelog has it; `None`: it is gone.
    pub fn restore(&mut self, group: &str, topic: &str, partition: u32, row: Option<Row>) {
        let rows = self.groups.get_mut(group).and_then(|group| group.topics.get_mut(topic));
        let known = rows.and_then(|topic| topic.partitions.get_mut(&partition));
        match (row, known) {
            (Some(row), Some(known)) => *known = row,
            (Some(row), None) => {
                let (position, now) = (row.last, row.last.at);
                *self.add(group, topic, partition, position, now) = row;
            }
            (None, _) => {
                self.forget(group, topic, partition);
                self.ended.clear();
            }
        }
    }

    /// What a group consumed of a topic, as the changelog has it; `None`: it is gone.
    pub fn restore_consumed(&mut self, group: &str, topic: &str, consumed: Option<Consumed>) {
        match consumed {
            Some(consumed) => {
                let row = TopicRow {
                    partitions: BTreeMap::new(),
                    consumed: consumed.clone(),
                    is_dirty: false,
                    is_kept: true,
                };
                let row = self.group(group).topics.entry(topic.into()).or_insert(row);
                (row.consumed, row.is_dirty, row.is_kept) = (consumed, false, true);
            }
            None => {
                let topics = self.groups.get_mut(group).map(|group| &mut group.topics);
                if let Some(topics) = topics
                    && topics.get(topic).is_some_and(|row| row.partitions.is_empty())
                {
                    topics.remove(topic);
                }
            }
        }
    }

    /// The offset is gone; `true` where the group has no other.
    pub fn forget(&mut self, group: &str, topic: &str, partition: u32) -> bool {
        let Some(of_group) = self.groups.get_mut(group) else {
            return false;
        };
        let Some(of_topic) = of_group.topics.get_mut(topic) else {
            return false;
        };
        let Some(row) = of_topic.partitions.remove(&partition) else {
            return false;
        };
        self.rows -= 1;
        // What nobody saw, here or in the changelog, needs no end.
        if row.is_kept || row.shown.alive != 0 {
            let gone = Gone {
                shown: row.shown,
                states: row.states,
                consumed: None,
            };
            self.ended
                .insert(What::Partition(group.into(), topic.into(), partition), gone);
        }
        if of_topic.partitions.is_empty()
            && let Some(row) = of_group.topics.remove(topic)
            && (row.is_kept || row.consumed.records.last.is_some())
        {
            let gone = Gone {
                consumed: Some(row.consumed),
                ..Gone::default()
            };
            self.ended.insert(What::Topic(group.into(), topic.into()), gone);
        }
        of_group.topics.is_empty()
    }

    /// The group is gone: it has neither offsets nor members.
    pub fn forget_group(&mut self, group: &str) {
        if self.groups.get(group).is_some_and(|row| row.topics.is_empty())
            && let Some(row) = self.groups.remove(group)
            && row.shown.alive != 0
        {
            let gone = Gone {
                shown: row.shown,
                states: row.states,
                consumed: None,
            };
            self.ended.insert(What::Group(group.into()), gone);
        }
    }

    /// What is there again goes on as it was.
    fn back(&mut self, what: impl FnOnce() -> What) -> Option<Gone> {
        if self.ended.is_empty() {
            return None;
        }
        self.ended.remove(&what())
    }

    pub fn has_offsets(&self, group: &str) -> bool {
        self.groups.get(group).is_some_and(|row| !row.topics.is_empty())
    }

    pub fn with_offsets(&self) -> Vec<Box<str>> {
        let groups = self.groups.iter().filter(|(_, row)| !row.topics.is_empty());
        groups.map(|(group, _)| group.clone()).collect()
    }

    /// Ends everything of groups and topics that are not wanted.
    pub fn retain(&mut self, is_wanted: impl Fn(&str, &str) -> bool) {
        let mut unwanted = Vec::new();
        for (group, row) in &self.groups {
            for (topic, row) in row.topics.iter().filter(|(topic, _)| !is_wanted(group, topic)) {
                let partitions = row.partitions.keys();
                unwanted.extend(partitions.map(|partition| (group.clone(), topic.clone(), *partition)));
            }
        }
        for (group, topic, partition) in unwanted {
            self.forget(&group, &topic, partition);
        }
    }

    /// Ends the groups without offsets that are not known otherwise.
    pub fn forget_groups(&mut self, is_known: impl Fn(&str) -> bool) {
        let groups = self.groups.iter();
        let gone = groups.filter(|(group, row)| row.topics.is_empty() && !is_known(group));
        for group in gone.map(|(group, _)| group.clone()).collect::<Vec<_>>() {
            self.forget_group(&group);
        }
    }

    /// Nothing that was committed so far is compared with what comes: the next commit of each row is its first.
    pub fn begin_anew(&mut self) {
        let topics = self.groups.values_mut().flat_map(|group| group.topics.values_mut());
        for row in topics.flat_map(|topic| topic.partitions.values_mut()) {
            row.is_anew = true;
            row.is_dirty = true;
        }
    }
}

// === impl Row ===

impl Row {
    /// A row as it was; the ring is filled oldest first.
    pub fn restored(last: Position, waiting: Waiting, commits: Commits, shown: Shown, states: States) -> Self {
        Self {
            last,
            before: None,
            waiting: (!waiting.0.is_empty()).then(|| Box::new(waiting)),
            commits,
            shown,
            states,
            is_anew: false,
            is_dirty: false,
            is_kept: true,
        }
    }

    /// Offsets from the commit before to this one; none where it is a first one, or goes back.
    fn take(&mut self, position: Position, round: Option<Round>, apart: Span) -> i64 {
        let is_first = is_another(Some(self.last.topic_id), Some(position.topic_id));
        if is_first {
            self.commits = Commits::new(Commits::TEN, apart);
        }
        if let Some(round) = round
            && self.before.is_none_or(|(of, _)| of != round)
        {
            self.before = Some((round, (!is_first).then_some(self.last)));
        } else if !is_first && self.last.is_new && position.offset < self.last.offset {
            // The next survey would not see that it went back.
            self.commits.push(self.last.commit(None, None));
        }
        let advance = match is_first || std::mem::take(&mut self.is_anew) {
            true => 0,
            false => position.offset.saturating_sub(self.last.offset).max(0),
        };
        self.last = position;
        self.is_dirty = true;
        advance
    }

    /// What was committed when this survey began; `None` where nothing was.
    pub fn at_survey(&self, round: Round) -> Option<Position> {
        match self.before {
            Some((of, before)) if of == round => before,
            _ => Some(self.last),
        }
    }

    /// The ring learns of the commit that the survey was compared with.
    pub fn compared(&mut self, position: Position, log_end: i64, records: Option<i64>) {
        if position.is_new {
            self.commits.push(position.commit(Some(log_end), records));
            self.is_dirty = true;
            if self.last == position {
                self.last.is_new = false;
            }
        }
    }
}

// === impl Position ===

impl Position {
    fn commit(&self, log_end: Option<i64>, lag_records: Option<i64>) -> Commit {
        Commit {
            offset: self.offset,
            at: self.at,
            log_end,
            lag_records,
        }
    }
}
