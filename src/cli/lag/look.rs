//! One look at all groups: their commits first, then the log ends, then what lies between.
//!
//! Rule: groups are asked in parallel, and whoever cannot be asked is told apart and holds nobody up.
//!
//! Edges:
//! - records are read for at most [`READING`]; what was not read by then is not known;
//! - what a login may not see, brokers leave out without a word: a look that shows nothing says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::history::History;
use super::row::{Row, Seen, span};
use crate::kafka::{
    ConnectError, Connection, EndSampler, Group, GroupClient, LogEnds, LookError, Looked, TailReader, Unknown,
};
use crate::runtime::clock::wall_time;
use crate::runtime::log::{LogError, TopicPartition};

/// How long records are read. A cluster that answers at all is through in a fraction of it.
const READING: Duration = Duration::from_millis(1_500);

/// Asks one cluster, again and again.
pub(in crate::cli) struct Looker {
    groups: GroupClient,
    ends: EndSampler,
    tails: TailReader,
}

/// What is wanted; empty lists stand for everything.
pub(in crate::cli) struct Wanted<'w> {
    pub groups: &'w [String],
    pub topics: &'w [String],
}

/// What a look has shown, worst first.
#[derive(Default)]
pub(in crate::cli) struct Look {
    pub rows: Vec<Row>,
    /// Groups that were named and are not there.
    pub absent: Vec<String>,
    /// Groups that were looked at and have neither offsets nor partitions that would be shown.
    pub blank: Vec<String>,
    /// What could not be asked, in words.
    pub failed: Vec<String>,
    /// Rights that are missing for numbers that are absent, in words.
    pub refused: BTreeSet<String>,
    /// Partitions that were not read in time.
    pub unread: usize,
}

// === impl Looker ===

impl Looker {
    pub(in crate::cli) fn connect(connection: &Connection) -> Result<Self, ConnectError> {
        let groups = GroupClient::connect(connection)?;
        let ends = groups.ends();
        let tails = TailReader::open(connection).map_err(|error| ConnectError::Settings(error.to_string()))?;
        Ok(Self { groups, ends, tails })
    }

    pub(in crate::cli) fn look(&self, wanted: &Wanted<'_>, history: &mut History) -> Result<Look, LogError> {
        history.begin(wall_time());
        let mut look = Look::default();
        let named: BTreeSet<&String> = wanted.groups.iter().collect();
        let groups = if named.is_empty() {
            let listing = self.groups.list()?;
            look.failed = listing.silent;
            listing.groups
        } else {
            named.iter().map(|name| Group::named(name.as_str())).collect()
        };
        let mut looked = Vec::new();
        for (name, found) in self.groups.look(groups) {
            match found {
                Ok(found) => looked.push(found),
                Err(LookError::Absent) if named.is_empty() => look.blank.push(name),
                Err(LookError::Absent) => look.absent.push(name),
                Err(LookError::Log(error)) => look.failed.push(error.to_string()),
            }
        }
        self.rows(&looked, wanted, &mut look, history);
        Ok(look)
    }

    /// Only now, with the commits read, the log ends are.
    fn rows(&self, looked: &[Looked], wanted: &Wanted<'_>, look: &mut Look, history: &mut History) {
        let seen_at = wall_time();
        let in_question =
            |partition: &&TopicPartition| wanted.topics.is_empty() || wanted.topics.contains(&partition.topic);
        let of_group: Vec<BTreeSet<&TopicPartition>> = looked
            .iter()
            .map(|group| {
                let partitions = group.committed.keys().chain(&group.assigned);
                partitions.filter(in_question).collect()
            })
            .collect();
        let all: BTreeSet<TopicPartition> = of_group
            .iter()
            .flatten()
            .map(|partition| (*partition).clone())
            .collect();
        let ends = self.ends.sample(&all);
        let behind = |group: &Looked, partition: &TopicPartition| {
            let committed = *group.committed.get(partition)?;
            let ends = known(&ends, partition)?;
            (committed < ends.stable).then(|| span(partition, committed, ends))
        };
        let pairs = || looked.iter().zip(&of_group);
        let spans = pairs()
            .flat_map(|(group, partitions)| partitions.iter().filter_map(|partition| behind(group, partition)))
            .collect();
        let tails = self.tails.read(&spans, READING);
        let now = wall_time();
        for (group, partitions) in pairs() {
            if partitions.is_empty() {
                look.blank.push(group.group.name.clone());
            }
            look.rows.extend(partitions.iter().map(|partition| {
                let span = behind(group, partition);
                let seen = Seen {
                    group,
                    partition,
                    committed: group.committed.get(*partition).copied(),
                    ends: ends.get(*partition),
                    tail: span.and_then(|span| tails.found.get(&span).copied()),
                    now,
                };
                let row = seen.row();
                if let (Some(offset), Some(ends)) = (seen.committed, known(&ends, partition)) {
                    history.see((&row.group, *partition), offset, ends, row.lag_records, seen_at);
                }
                row
            }));
        }
        look.unread = spans.len() - tails.found.len();
        look.refused = tails.refused;
        let refused = |ends: &Result<LogEnds, Unknown>| match ends {
            Err(Unknown::Refused(said)) => Some(said.clone()),
            _ => None,
        };
        look.refused.extend(ends.values().filter_map(refused));
        look.judge(history);
    }

    /// Looks once more, briefly and only at the commits of groups that are behind: whether they move. What the rows
    /// show stays of one moment.
    pub(super) fn glance(&self, look: &mut Look, history: &mut History) {
        let behind = look.rows.iter().filter(|row| row.lag.is_some() && !row.is_caught_up());
        let mut wanted: BTreeMap<String, BTreeSet<TopicPartition>> = BTreeMap::new();
        for row in behind {
            wanted.entry(row.group.clone()).or_default().insert(row.place());
        }
        let groups = wanted.keys().map(|name| Group::named(name.as_str())).collect();
        let committed = self.groups.committed(groups);
        let seen_at = wall_time();
        let ends = self.ends.sample(&wanted.values().flatten().cloned().collect());
        for (group, partitions) in &wanted {
            for partition in partitions {
                let offset = committed.get(group).and_then(|committed| committed.get(partition));
                if let (Some(offset), Some(ends)) = (offset, known(&ends, partition)) {
                    history.see((group, partition), *offset, ends, None, seen_at);
                }
            }
        }
        look.judge(history);
    }
}

// === impl Look ===

impl Look {
    fn judge(&mut self, history: &History) {
        let now = wall_time();
        for row in &mut self.rows {
            history.judge(row, now);
        }
        self.rows.sort_by_cached_key(Row::order);
    }
}

fn known<'e>(
    ends: &'e BTreeMap<TopicPartition, Result<LogEnds, Unknown>>,
    partition: &TopicPartition,
) -> Option<&'e LogEnds> {
    ends.get(partition)?.as_ref().ok()
}
