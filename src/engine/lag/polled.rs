//! What polls of the Admin API found, as records of a topic of our own: for clusters that do not let `__consumer_offsets`
//! be read.
//!
//! Rule: offsets are in the layout of the broker's own topic and in the partition of their group, so that lag tasks read one
//! like the other; only what changed since the poll before is written. Two kinds of records are ours: what a group is, and
//! a marker in every partition, which says that all of one poll lies before it.
//!
//! Edges:
//! - a commit has the time of the poll that found it: it was made between that poll and the one before;
//! - the same offset committed again is not seen;
//! - a group that could not be asked keeps what it had and is silent: nothing is said of it until it answers again. The
//!   same goes for one that is not listed while some broker did not list its groups;
//! - the versions of our own keys are the last ones that there are: no broker has ever come near.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use super::coordinator::partition_of;
use super::groups::{Protocol, State};
use super::record;
use super::wire::{Malformed, Reader};
use crate::engine::time::WallTime;

/// Key versions of our own, and the version of their values.
const GROUP: i16 = i16::MAX - 1;
const MARKER: i16 = i16::MAX;
const VERSION: i16 = 0;

/// What offset commits are written as: without topic ids, which the Admin API does not tell with them.
const COMMIT_KEY: i16 = 1;
const COMMIT: i16 = 3;

/// What a poll found of a group, its offsets aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolledGroup {
    pub protocol: Protocol,
    /// `None` where brokers do not tell.
    pub state: Option<State>,
    pub members: Option<u32>,
    /// It did not answer the last time.
    pub is_silent: bool,
}

/// A record of a kind of our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnRecord<'a> {
    Group {
        group: &'a str,
        /// `None`: it is gone.
        polled: Option<PolledGroup>,
    },
    /// All that a poll found by this time lies before it.
    Marker(WallTime),
}

/// What a group has committed: by topic and partition the next offset to read.
pub type Offsets = BTreeMap<(Box<str>, u32), i64>;

/// The answers of one poll.
#[derive(Clone, Debug, Default)]
pub struct Poll {
    /// `None`: it could not be asked.
    pub groups: BTreeMap<Box<str>, Option<(PolledGroup, Offsets)>>,
    /// All brokers have listed their groups.
    pub is_whole: bool,
}

/// A record to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub partition: u32,
    pub key: Vec<u8>,
    pub value: Option<Vec<u8>>,
}

/// What the topic says.
#[derive(Debug)]
pub struct Polled {
    partitions: NonZeroU32,
    groups: BTreeMap<Box<str>, Known>,
}

#[derive(Debug, Default)]
struct Known {
    group: Option<PolledGroup>,
    offsets: Offsets,
}

// === impl OwnRecord ===

impl<'a> OwnRecord<'a> {
    /// `None` where the record is of a kind of the offsets topic, or of none that is known.
    pub fn read(key: Option<&'a [u8]>, value: Option<&'a [u8]>) -> Result<Option<Self>, Malformed> {
        let mut key = Reader::new(key.ok_or(Malformed::NoKey)?);
        let kind = key.int16()?;
        if kind != GROUP && kind != MARKER {
            return Ok(None);
        }
        let group = if kind == GROUP { key.text(false)? } else { "" };
        key.end()?;
        let mut value = value.map(Reader::new);
        if let Some(value) = &mut value
            && value.int16()? != VERSION
        {
            return Ok(None);
        }
        let own = match (kind, value) {
            (GROUP, None) => Self::Group { group, polled: None },
            (GROUP, Some(mut value)) => {
                let polled = PolledGroup {
                    protocol: Protocol::of(value.int8()?),
                    state: usize::try_from(value.int8()?)
                        .ok()
                        .and_then(|at| State::ALL.get(at).copied()),
                    members: u32::try_from(value.int32()?).ok(),
                    is_silent: value.int8()? != 0,
                };
                value.end()?;
                Self::Group {
                    group,
                    polled: Some(polled),
                }
            }
            (_, None) => return Ok(None),
            (_, Some(mut value)) => {
                let at = WallTime(value.int64()?.saturating_mul(1_000));
                value.end()?;
                Self::Marker(at)
            }
        };
        Ok(Some(own))
    }
}

// === impl PolledGroup ===

impl PolledGroup {
    fn write(self) -> Vec<u8> {
        let mut value = VERSION.to_be_bytes().to_vec();
        value.push(self.protocol.code());
        // Four states: their numbers fit.
        value.push(self.state.map_or(u8::MAX, |state| state as u8));
        let members = self.members.and_then(|members| i32::try_from(members).ok());
        value.extend(members.unwrap_or(-1).to_be_bytes());
        value.push(u8::from(self.is_silent));
        value
    }
}

// === impl Polled ===

impl Polled {
    /// Of a topic with so many partitions that holds nothing yet.
    pub fn new(partitions: NonZeroU32) -> Self {
        Self {
            partitions,
            groups: BTreeMap::new(),
        }
    }

    /// A record that the topic has; records come in the order of their partition.
    pub fn restore(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Malformed> {
        match OwnRecord::read(Some(key), value)? {
            Some(OwnRecord::Group { group, polled }) => self.known(group).group = polled,
            Some(OwnRecord::Marker(_)) => return Ok(()),
            None => {
                if let record::Record::Commit { of, commit } = record::Record::read(Some(key), value)?
                    && let Ok(partition) = u32::try_from(of.partition)
                {
                    let offsets = &mut self.known(of.group).offsets;
                    match commit {
                        Some(commit) => offsets.insert((of.topic.into(), partition), commit.offset),
                        None => offsets.remove(&(Box::from(of.topic), partition)),
                    };
                }
            }
        }
        self.groups
            .retain(|_, known| known.group.is_some() || !known.offsets.is_empty());
        Ok(())
    }

    fn known(&mut self, group: &str) -> &mut Known {
        self.groups.entry(group.into()).or_default()
    }

    /// What a poll that ended `at` changes, with its markers; from now on it counts as written.
    pub fn changes(&mut self, poll: Poll, at: WallTime) -> Vec<Change> {
        let mut changes = Vec::new();
        for (name, known) in &mut self.groups {
            if poll.groups.contains_key(name) {
                continue;
            }
            let partition = partition_of(name, self.partitions);
            if poll.is_whole {
                known.end(name, partition, &mut changes);
            } else {
                known.silence(name, partition, &mut changes);
            }
        }
        for (name, found) in poll.groups {
            let partition = partition_of(&name, self.partitions);
            match found {
                Some((group, offsets)) => {
                    let known = self.groups.entry(name.clone()).or_default();
                    known.change(&name, partition, group, offsets, at, &mut changes);
                }
                // Of one that was never asked there is nothing to say.
                None => {
                    if let Some(known) = self.groups.get_mut(&name) {
                        known.silence(&name, partition, &mut changes);
                    }
                }
            }
        }
        self.groups.retain(|_, known| known.group.is_some());
        for partition in 0..self.partitions.get() {
            let mut value = VERSION.to_be_bytes().to_vec();
            value.extend(millis(at).to_be_bytes());
            changes.push(Change {
                partition,
                key: MARKER.to_be_bytes().to_vec(),
                value: Some(value),
            });
        }
        changes
    }
}

// === impl Known ===

impl Known {
    fn change(
        &mut self,
        name: &str,
        partition: u32,
        group: PolledGroup,
        offsets: Offsets,
        at: WallTime,
        changes: &mut Vec<Change>,
    ) {
        self.set(name, partition, Some(group), changes);
        for ((topic, of), offset) in &offsets {
            if self.offsets.get(&(topic.clone(), *of)) != Some(offset) {
                changes.push(Change {
                    partition,
                    key: commit_key(name, topic, *of),
                    value: Some(commit(*offset, at)),
                });
            }
        }
        for ((topic, of), _) in self.offsets.iter().filter(|(of, _)| !offsets.contains_key(*of)) {
            changes.push(Change {
                partition,
                key: commit_key(name, topic, *of),
                value: None,
            });
        }
        self.offsets = offsets;
    }

    fn set(&mut self, name: &str, partition: u32, group: Option<PolledGroup>, changes: &mut Vec<Change>) {
        if self.group != group {
            self.group = group;
            let mut key = GROUP.to_be_bytes().to_vec();
            text(&mut key, name);
            let value = group.map(PolledGroup::write);
            changes.push(Change { partition, key, value });
        }
    }

    fn silence(&mut self, name: &str, partition: u32, changes: &mut Vec<Change>) {
        let unknown = PolledGroup {
            protocol: Protocol::None,
            state: None,
            members: None,
            is_silent: true,
        };
        let group = self.group.map_or(unknown, |group| PolledGroup {
            is_silent: true,
            ..group
        });
        self.set(name, partition, Some(group), changes);
    }

    fn end(&mut self, name: &str, partition: u32, changes: &mut Vec<Change>) {
        for (topic, of) in std::mem::take(&mut self.offsets).into_keys() {
            changes.push(Change {
                partition,
                key: commit_key(name, &topic, of),
                value: None,
            });
        }
        self.set(name, partition, None, changes);
    }
}

fn millis(at: WallTime) -> i64 {
    at.0.div_euclid(1_000)
}

/// Names that brokers let pass are no longer than that; of others nothing could be read back.
fn text(bytes: &mut Vec<u8>, text: &str) {
    let length = i16::try_from(text.len()).unwrap_or(i16::MAX);
    bytes.extend(length.to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

/// The key of an offset commit as brokers write it.
pub fn commit_key(group: &str, topic: &str, partition: u32) -> Vec<u8> {
    let mut key = COMMIT_KEY.to_be_bytes().to_vec();
    text(&mut key, group);
    text(&mut key, topic);
    key.extend(i32::try_from(partition).unwrap_or(i32::MAX).to_be_bytes());
    key
}

/// An offset commit, without leader epoch and metadata.
pub fn commit(offset: i64, at: WallTime) -> Vec<u8> {
    let mut value = COMMIT.to_be_bytes().to_vec();
    value.extend(offset.to_be_bytes());
    value.extend((-1_i32).to_be_bytes());
    text(&mut value, "");
    value.extend(millis(at).to_be_bytes());
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PARTITIONS: NonZeroU32 = NonZeroU32::new(4).expect("not zero");
    const STABLE: PolledGroup = PolledGroup {
        protocol: Protocol::Classic,
        state: Some(State::Stable),
        members: Some(2),
        is_silent: false,
    };

    /// Topic, partition and offset of each commit.
    type Found<'f> = Option<(PolledGroup, &'f [(&'f str, u32, i64)])>;

    fn poll<const N: usize>(groups: [(&str, Found<'_>); N]) -> Poll {
        let offsets = |offsets: &[(&str, u32, i64)]| -> Offsets {
            let of = |(topic, partition, offset): &(&str, u32, i64)| ((Box::from(*topic), *partition), *offset);
            offsets.iter().map(of).collect()
        };
        Poll {
            groups: groups
                .into_iter()
                .map(|(name, found)| (name.into(), found.map(|(group, of)| (group, offsets(of)))))
                .collect(),
            is_whole: true,
        }
    }

    /// Without markers, as one reads them.
    fn read(changes: &[Change]) -> Vec<String> {
        let markers = changes.iter().filter(|change| {
            let own = OwnRecord::read(Some(&change.key), change.value.as_deref()).unwrap();
            matches!(own, Some(OwnRecord::Marker(_)))
        });
        assert_eq!(markers.count(), 4, "one a partition");
        let told = |change: &Change| match OwnRecord::read(Some(&change.key), change.value.as_deref()).unwrap() {
            Some(OwnRecord::Marker(_)) => None,
            Some(OwnRecord::Group { group, polled }) => {
                assert_eq!(change.partition, partition_of(group, PARTITIONS));
                let polled = polled.map(|polled| (polled.members, polled.is_silent));
                Some(format!("{group}: {polled:?}"))
            }
            None => match record::Record::read(Some(&change.key), change.value.as_deref()).unwrap() {
                record::Record::Commit { of, commit } => {
                    assert_eq!(change.partition, partition_of(of.group, PARTITIONS));
                    let commit = commit.map(|commit| (commit.offset, commit.committed_at));
                    Some(format!("{} {} {}: {commit:?}", of.group, of.topic, of.partition))
                }
                other => panic!("{other:?}"),
            },
        };
        changes.iter().filter_map(told).collect()
    }

    #[test]
    fn only_what_changed_is_written() {
        let mut polled = Polled::new(PARTITIONS);
        let first = polled.changes(
            poll([("g", Some((STABLE, &[("t", 0, 5), ("t", 1, 7)])))]),
            WallTime(9_000_000),
        );
        assert_eq!(
            read(&first),
            [
                "g: Some((Some(2), false))",
                "g t 0: Some((5, 9000))",
                "g t 1: Some((7, 9000))"
            ]
        );
        let second = polled.changes(poll([("g", Some((STABLE, &[("t", 0, 6)])))]), WallTime(19_000_000));
        assert_eq!(read(&second), ["g t 0: Some((6, 19000))", "g t 1: None"]);
    }

    #[test]
    fn a_group_that_is_not_there_any_more_is_ended() {
        let mut polled = Polled::new(PARTITIONS);
        polled.changes(poll([("g", Some((STABLE, &[("t", 0, 5)])))]), WallTime(0));
        let changes = polled.changes(poll([]), WallTime(1_000_000));
        assert_eq!(read(&changes), ["g t 0: None", "g: None"]);
        assert!(read(&polled.changes(poll([]), WallTime(2_000_000))).is_empty());
    }

    #[test]
    fn who_does_not_answer_keeps_what_it_had_and_is_silent_until_it_does() {
        let mut polled = Polled::new(PARTITIONS);
        let answer = || poll([("g", Some((STABLE, &[("t", 0, 5)])))]);
        polled.changes(answer(), WallTime(0));
        let refused = polled.changes(poll([("g", None), ("new", None)]), WallTime(1_000_000));
        assert_eq!(read(&refused), ["g: Some((Some(2), true))"]);
        let unlisted = Poll::default();
        assert!(read(&polled.changes(unlisted, WallTime(2_000_000))).is_empty());
        assert_eq!(
            read(&polled.changes(answer(), WallTime(3_000_000))),
            ["g: Some((Some(2), false))"]
        );
    }

    #[test]
    fn kinds_of_the_broker_are_not_ours_and_broken_ones_of_ours_are_said_to_be() {
        assert_eq!(OwnRecord::read(Some(&commit_key("g", "t", 0)), None), Ok(None));
        assert_eq!(
            OwnRecord::read(Some(&MARKER.to_be_bytes()), Some(&[0, 0, 1])),
            Err(Malformed::Short)
        );
        assert_eq!(OwnRecord::read(Some(&MARKER.to_be_bytes()), Some(&[0, 1])), Ok(None));
    }

    fn any_poll() -> impl Strategy<Value = Poll> {
        let group = (0_u32..3, any::<bool>()).prop_map(|(members, known)| PolledGroup {
            protocol: Protocol::Consumer,
            state: known.then_some(State::Reconciling),
            members: known.then_some(members),
            is_silent: false,
        });
        let offsets = prop::collection::btree_map(("[tu]".prop_map(Box::from), 0_u32..3), 0_i64..4, 0..4);
        let groups = prop::collection::btree_map("[a-e]".prop_map(Box::from), prop::option::of((group, offsets)), 0..5);
        (groups, any::<bool>()).prop_map(|(groups, is_whole)| Poll { groups, is_whole })
    }

    proptest! {
        #[test]
        fn what_is_written_is_what_a_poller_that_starts_finds(polls in prop::collection::vec(any_poll(), 1..8)) {
            let mut polled = Polled::new(PARTITIONS);
            let mut topic: BTreeMap<(u32, Vec<u8>), Option<Vec<u8>>> = BTreeMap::new();
            for (round, poll) in (0..).zip(polls) {
                for Change { partition, key, value } in polled.changes(poll, WallTime(round * 1_000_000)) {
                    topic.insert((partition, key), value);
                }
                let mut again = Polled::new(PARTITIONS);
                for ((_, key), value) in &topic {
                    again.restore(key, value.as_deref()).unwrap();
                }
                let what = |polled: &Polled| format!("{:?}", polled.groups);
                prop_assert_eq!(what(&again), what(&polled));
            }
        }

        #[test]
        fn no_bytes_break_the_reader(key in prop::collection::vec(any::<u8>(), 0..24), value in prop::collection::vec(any::<u8>(), 0..24)) {
            let mut own = GROUP.to_be_bytes().to_vec();
            own.extend(&key);
            for key in [&key, &own] {
                let _ = OwnRecord::read(Some(key), Some(&value));
                let _ = Polled::new(PARTITIONS).restore(key, Some(&value));
            }
        }
    }
}
