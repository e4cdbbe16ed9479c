//! What is known of one partition of one group, and which of them hurts most.
//!
//! Rule: what is not known is absent, never zero. Commits are read before log ends, so no lag is negative by the order of
//! reading; one that is all the same (a log that was cut, an offset that was set too far) counts as zero.
//!
//! Edges:
//! - a commit below the log's start keeps its distance to the end as `lag`, as Kafka's own tool has it; its records can only
//!   be those that are still there;
//! - behind an open transaction a group that read all that it may read has `lag_stable` 0 and waits: whether there is
//!   anything to read is not decided yet, so `lag_seconds` is absent, and not 0;
//! - a partition that a member owns and that nobody has committed in yet has no lag;
//! - status, rate and time to go take more than one look: they are put in by [`History`](super::history::History).

use std::cmp::Reverse;

use serde::Serialize;

use crate::engine::{self, time::WallTime};
use crate::kafka::{LogEnds, Looked, Span, Tail, Unknown};
use crate::runtime::log::TopicPartition;

/// One line of the output. The names are the keys of the JSON, in this order.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(in crate::cli) struct Row {
    pub group: String,
    pub topic: String,
    pub partition: u32,
    pub committed: Option<i64>,
    pub log_end: Option<i64>,
    /// Offsets up to the high watermark.
    pub lag: Option<i64>,
    /// Offsets up to the last stable offset.
    pub lag_stable: Option<i64>,
    /// Data records up to the last stable offset.
    pub lag_records: Option<u64>,
    /// Age of the first of them.
    pub lag_seconds: Option<f64>,
    pub status: Option<&'static str>,
    /// The group's.
    pub state: Option<String>,
    /// Offsets a second that the group commits.
    #[serde(skip)]
    pub rate: Option<f64>,
    #[serde(skip)]
    pub eta: Option<Eta>,
    #[serde(skip)]
    pub reader: Reader,
    /// What a person should know of it.
    #[serde(skip)]
    pub note: Option<Note>,
}

/// When the group has caught up, if it and its log go on as they do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Eta {
    In(engine::time::Span),
    /// The log grows as fast as the group reads, or faster.
    Never,
}

/// Who reads the partition for the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Reader {
    /// A member that was given it.
    Owner,
    /// The group has no members, and once had.
    Nobody,
    /// No member was given it, and somebody may read it all the same.
    Unknown,
}

/// Why a row is not an ordinary one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Note {
    /// So many offsets behind the commit were deleted before they were read.
    Deleted(i64),
    /// The commit lies so far beyond the log's end.
    Beyond(i64),
    /// So many offsets at the end wait for a transaction that is open.
    Open(i64),
    Gone,
    Silent,
    Refused,
    NoCommit,
}

/// Class, age in milliseconds, offsets; group, topic and partition.
pub(in crate::cli) type Order = (u8, Reverse<i64>, Reverse<Option<i64>>, (String, String, u32));

/// What one look at a partition of a group has shown.
pub(super) struct Seen<'s> {
    pub group: &'s Looked,
    pub partition: &'s TopicPartition,
    pub committed: Option<i64>,
    pub ends: Option<&'s Result<LogEnds, Unknown>>,
    pub tail: Option<Tail>,
    pub now: WallTime,
}

/// What the group has still to read of the partition.
pub(super) fn span(partition: &TopicPartition, committed: i64, ends: &LogEnds) -> Span {
    Span {
        partition: partition.clone(),
        start: committed.max(ends.start),
        end: ends.stable,
    }
}

// === impl Seen ===

impl Seen<'_> {
    pub(super) fn row(&self) -> Row {
        let ends = self.ends.and_then(|ends| ends.as_ref().ok());
        let to = |end: fn(&LogEnds) -> i64| Some((end(ends?) - self.committed?).max(0));
        let (lag, lag_stable) = (to(|ends| ends.end), to(|ends| ends.stable));
        let lag_records = match (lag_stable, self.tail) {
            (Some(0), _) => Some(0),
            (_, tail) => tail.and_then(|tail| tail.records),
        };
        Row {
            group: self.group.group.name.clone(),
            topic: self.partition.topic.clone(),
            partition: self.partition.partition,
            committed: self.committed,
            log_end: ends.map(|ends| ends.end),
            lag,
            lag_stable,
            lag_records,
            lag_seconds: self.seconds(lag, lag_stable, lag_records),
            status: None,
            state: self.group.group.state.clone(),
            rate: None,
            eta: None,
            reader: self.reader(),
            note: self.note(),
        }
    }

    fn reader(&self) -> Reader {
        if self.group.assigned.contains(self.partition) {
            Reader::Owner
        } else if self.group.members == Some(0) && !self.group.group.simple {
            Reader::Nobody
        } else {
            Reader::Unknown
        }
    }

    fn seconds(&self, lag: Option<i64>, lag_stable: Option<i64>, records: Option<u64>) -> Option<f64> {
        if let Some(first) = self.tail.and_then(|tail| tail.first) {
            // Milliseconds: a record's timestamp has no more.
            let millis = (self.now.0 - first.0).max(0) / 1_000;
            return Some(millis as f64 / 1_000.0);
        }
        let caught_up = records == Some(0) && lag == lag_stable;
        caught_up.then_some(0.0)
    }

    fn note(&self) -> Option<Note> {
        let ends = match self.ends {
            Some(Ok(ends)) => ends,
            Some(Err(Unknown::Gone)) => return Some(Note::Gone),
            Some(Err(Unknown::Refused(_))) => return Some(Note::Refused),
            Some(Err(Unknown::Silent(_))) | None => return Some(Note::Silent),
        };
        match self.committed {
            None => Some(Note::NoCommit),
            Some(committed) if committed < ends.start => Some(Note::Deleted(ends.start - committed)),
            Some(committed) if committed > ends.end => Some(Note::Beyond(committed - ends.end)),
            Some(committed) if ends.stable < ends.end && committed < ends.end => {
                Some(Note::Open(ends.end - ends.stable.max(committed)))
            }
            Some(_) => None,
        }
    }
}

// === impl Row ===

impl Row {
    pub(in crate::cli) fn place(&self) -> TopicPartition {
        TopicPartition {
            topic: self.topic.clone(),
            partition: self.partition,
        }
    }

    /// Whether the group has read all that there is for it.
    pub(in crate::cli) fn is_caught_up(&self) -> bool {
        self.lag == Some(0) || self.lag_records == Some(0)
    }

    /// Lost records first, then who is behind, by time and then by offsets, then what is not known; those that are well
    /// come last.
    pub(in crate::cli) fn order(&self) -> Order {
        let class = match (&self.note, self.lag) {
            (Some(Note::Deleted(_)), _) => 0,
            _ if self.is_caught_up() => 3,
            (_, Some(_)) => 1,
            (_, None) => 2,
        };
        let millis = self.lag_seconds.map_or(0, |seconds| (seconds * 1_000.0) as i64);
        let place = (self.group.clone(), self.topic.clone(), self.partition);
        (class, Reverse(millis), Reverse(self.lag), place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::Group;
    use std::collections::{BTreeMap, BTreeSet};

    const NOW: WallTime = WallTime(100_000_000);

    fn group(members: u32) -> Looked {
        Looked {
            group: Group {
                state: Some(if members == 0 { "Empty" } else { "Stable" }.to_owned()),
                ..Group::named("g")
            },
            members: Some(members),
            committed: BTreeMap::new(),
            assigned: BTreeSet::new(),
        }
    }

    fn ends(start: i64, stable: i64, end: i64) -> Result<LogEnds, Unknown> {
        Ok(LogEnds {
            start,
            stable,
            end,
            sampled_at: NOW,
        })
    }

    fn tail(records: Option<u64>, first: Option<i64>) -> Option<Tail> {
        let first = first.map(WallTime);
        Some(Tail { records, first })
    }

    fn row(group: &Looked, committed: Option<i64>, ends: &Result<LogEnds, Unknown>, tail: Option<Tail>) -> Row {
        let partition = TopicPartition {
            topic: "t".to_owned(),
            partition: 0,
        };
        let seen = Seen {
            group,
            partition: &partition,
            committed,
            ends: Some(ends),
            tail,
            now: NOW,
        };
        seen.row()
    }

    #[test]
    fn a_group_behind_knows_offsets_records_and_age() {
        let row = row(&group(1), Some(4), &ends(0, 8, 10), tail(Some(3), Some(88_500_000)));
        assert_eq!((row.lag, row.lag_stable, row.lag_records), (Some(6), Some(4), Some(3)));
        assert_eq!((row.lag_seconds, row.is_caught_up()), (Some(11.5), false));
        assert_eq!(row.note, Some(Note::Open(2)));
    }

    #[test]
    fn behind_a_control_record_alone_a_group_has_caught_up() {
        let row = row(&group(0), Some(4), &ends(0, 5, 5), tail(Some(0), None));
        assert_eq!(
            (row.lag, row.lag_records, row.lag_seconds),
            (Some(1), Some(0), Some(0.0))
        );
        assert_eq!((row.is_caught_up(), row.note), (true, None));
    }

    #[test]
    fn what_waits_for_an_open_transaction_has_no_age() {
        let row = row(&group(1), Some(5), &ends(0, 5, 9), None);
        assert_eq!((row.lag, row.lag_stable, row.lag_records), (Some(4), Some(0), Some(0)));
        assert_eq!((row.lag_seconds, row.note), (None, Some(Note::Open(4))));
    }

    #[test]
    fn a_commit_below_the_logs_start_says_what_was_deleted() {
        let row = row(&group(1), Some(4), &ends(6, 8, 8), tail(Some(2), None));
        assert_eq!((row.lag, row.lag_records), (Some(4), Some(2)));
        assert_eq!(row.note, Some(Note::Deleted(2)));
    }

    #[test]
    fn a_commit_beyond_the_end_has_no_negative_lag() {
        let row = row(&group(1), Some(12), &ends(0, 8, 8), None);
        assert_eq!(
            (row.lag, row.lag_stable, row.lag_seconds),
            (Some(0), Some(0), Some(0.0))
        );
        assert_eq!(row.note, Some(Note::Beyond(4)));
    }

    #[test]
    fn a_group_without_members_has_nobody_who_reads_except_where_nobody_ever_joined() {
        let behind = ends(0, 8, 8);
        assert_eq!(row(&group(0), Some(4), &behind, None).reader, Reader::Nobody);
        assert_eq!(row(&group(1), Some(4), &behind, None).reader, Reader::Unknown);
        let mut simple = group(0);
        simple.group.simple = true;
        assert_eq!(row(&simple, Some(4), &behind, None).reader, Reader::Unknown);
        let mut owner = group(1);
        owner.assigned.insert(TopicPartition {
            topic: "t".to_owned(),
            partition: 0,
        });
        assert_eq!(row(&owner, Some(4), &behind, None).reader, Reader::Owner);
    }

    #[test]
    fn of_a_topic_that_is_gone_only_the_commit_is_known() {
        let row = row(&group(0), Some(4), &Err(Unknown::Gone), None);
        assert_eq!((row.committed, row.log_end, row.lag), (Some(4), None, None));
        assert_eq!((row.lag_seconds, row.status, row.note), (None, None, Some(Note::Gone)));
    }

    #[test]
    fn without_a_commit_there_is_no_lag() {
        let row = row(&group(1), None, &ends(0, 8, 8), None);
        assert_eq!(
            (row.committed, row.log_end, row.lag, row.lag_records),
            (None, Some(8), None, None)
        );
        assert_eq!((row.status, row.note), (None, Some(Note::NoCommit)));
    }

    #[test]
    fn what_hurts_most_comes_first() {
        let group = group(1);
        let lost = row(&group, Some(4), &ends(6, 8, 8), tail(Some(2), None));
        let old = row(&group, Some(4), &ends(0, 8, 8), tail(None, Some(1_000_000)));
        let far = row(&group, Some(4), &ends(0, 800, 800), tail(None, Some(99_000_000)));
        let uncommitted = row(&group, None, &ends(0, 8, 8), None);
        let well = row(&group, Some(8), &ends(0, 8, 8), None);
        let mut rows = vec![&well, &uncommitted, &far, &old, &lost];
        rows.sort_by_key(|row| row.order());
        assert_eq!(rows, [&lost, &old, &far, &uncommitted, &well]);
    }
}
