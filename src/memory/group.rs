//! A consumer group: members, generations, and the cooperative hand-over of partitions.
//!
//! Rule: a partition has at most one owner. It goes to the next one only after the one before gave it back or was taken
//! out of the group. Whatever changes members, subscriptions or partitions raises the generation and computes the
//! assignment anew; partitions that do not move are not touched.
//!
//! Edges:
//! - the last partition that a member gives back raises the generation once more, as the second round of Kafka's
//!   cooperative protocol does;
//! - a static member that comes back by its name gets a new id and its partitions, without a new generation; the older
//!   holder of the name is fenced;
//! - a member that was taken out and is asked for by its old id is unknown, or fenced where its name has a new holder.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::engine::time::{Span, WallTime};
use crate::runtime::log::{Change, Committed, TopicPartition};

use super::assignment::{Assignment, assign};
use super::topics::Topics;

/// A member of a group; never used twice in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub(super) u64);

/// Counts the assignments of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Generation(pub i32);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Group {
    members: BTreeMap<MemberId, Member>,
    /// Holders of static names.
    names: BTreeMap<String, MemberId>,
    generation: Generation,
    /// What the last generation aims at; owners may still be on their way to it.
    target: Assignment,
    pub offsets: BTreeMap<TopicPartition, Committed>,
}

/// How a member joins.
#[derive(Clone, Debug)]
pub(super) struct Joining<'a> {
    pub id: MemberId,
    pub instance: Option<&'a str>,
    /// The topics it subscribes to.
    pub wanted: &'a BTreeSet<String>,
    pub session: Option<Span>,
    pub now: WallTime,
}

#[derive(Debug)]
struct Member {
    instance: Option<String>,
    topics: BTreeSet<String>,
    /// Assigned and not given back, whether the member has heard of it or not.
    owned: BTreeSet<TopicPartition>,
    /// Those of `owned` that it was asked to give back.
    revoking: BTreeSet<TopicPartition>,
    /// What it will hear at its next poll.
    news: Vec<Change>,
    session: Option<Span>,
    seen: WallTime,
}

/// What a heartbeat is answered with.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Member { generation: Generation, news: Vec<Change> },
    Unknown,
    Fenced,
}

/// Why a member's offsets are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stale {
    Unknown,
    Fenced,
    Generation,
}

// === impl MemberId ===

impl fmt::Display for MemberId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "member-{}", self.0)
    }
}

// === impl Group ===

impl Group {
    pub fn join(&mut self, joining: Joining<'_>, topics: &Topics) {
        let Joining {
            id,
            instance,
            wanted,
            session,
            now,
        } = joining;
        let mut member = Member {
            instance: instance.map(str::to_owned),
            topics: wanted.clone(),
            owned: BTreeSet::new(),
            revoking: BTreeSet::new(),
            news: Vec::new(),
            session,
            seen: now,
        };
        let held = instance.and_then(|name| self.names.insert(name.to_owned(), id));
        let Some(before) = held.and_then(|held| Some((held, self.members.remove(&held)?))) else {
            self.members.insert(id, member);
            self.rebalance(topics);
            return;
        };

        let (old, mut before) = before;
        before.owned.retain(|partition| !before.revoking.contains(partition));
        member.owned = before.owned;
        if !member.owned.is_empty() {
            member
                .news
                .push(Change::Assigned(member.owned.iter().cloned().collect()));
        }
        self.target
            .values_mut()
            .filter(|owner| **owner == old)
            .for_each(|owner| *owner = id);
        let is_settled = before.revoking.is_empty() && before.topics == member.topics;
        self.members.insert(id, member);
        if !is_settled {
            self.rebalance(topics);
        }
    }

    /// A sign of life, with the topics that the member wants by now.
    pub fn heartbeat(&mut self, joined: &Joining<'_>, topics: &Topics) -> Standing {
        let Joining {
            id,
            instance,
            wanted,
            now,
            ..
        } = *joined;
        match self.member(id, instance) {
            Err(Stale::Fenced) => return Standing::Fenced,
            Err(_) => return Standing::Unknown,
            Ok(member) if member.topics != *wanted => {
                member.topics = wanted.clone();
                self.rebalance(topics);
            }
            Ok(_) => {}
        }
        let generation = self.generation;
        let Ok(member) = self.member(id, instance) else {
            return Standing::Unknown;
        };
        member.seen = now;
        Standing::Member {
            generation,
            news: std::mem::take(&mut member.news),
        }
    }

    /// Whether offsets of this member and generation are taken.
    pub fn check(&mut self, id: MemberId, instance: Option<&str>, generation: Generation) -> Result<(), Stale> {
        let current = self.generation;
        self.member(id, instance)?;
        if generation == current {
            Ok(())
        } else {
            Err(Stale::Generation)
        }
    }

    /// The member gave these back.
    pub fn release(&mut self, id: MemberId, partitions: &[TopicPartition], topics: &Topics) {
        let Some(member) = self.members.get_mut(&id) else {
            return;
        };
        let mut is_done = false;
        for partition in partitions {
            if member.revoking.remove(partition) {
                member.owned.remove(partition);
                is_done = member.revoking.is_empty();
            }
        }
        if is_done {
            self.rebalance(topics);
        }
    }

    /// The member left, or its session ended; `false` when it was not there.
    pub fn remove(&mut self, id: MemberId, topics: &Topics) -> bool {
        let Some(member) = self.members.remove(&id) else {
            return false;
        };
        if let Some(name) = member.instance.filter(|name| self.names.get(name) == Some(&id)) {
            self.names.remove(&name);
        }
        self.rebalance(topics);
        true
    }

    /// Members whose session has ended by `now`.
    pub fn expired(&self, now: WallTime) -> Vec<MemberId> {
        let is_over = |member: &Member| member.session.is_some_and(|session| member.seen.ahead(session) <= now);
        self.members
            .iter()
            .filter(|(_, member)| is_over(member))
            .map(|(id, _)| *id)
            .collect()
    }

    /// All topics that any member wants.
    pub fn topics(&self) -> BTreeSet<String> {
        self.members
            .values()
            .flat_map(|member| &member.topics)
            .cloned()
            .collect()
    }

    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Id, static name and owned partitions of each member.
    pub fn members(&self) -> impl Iterator<Item = (MemberId, Option<&str>, &BTreeSet<TopicPartition>)> {
        self.members
            .iter()
            .map(|(id, member)| (*id, member.instance.as_deref(), &member.owned))
    }

    /// A new generation: revokes what moves, and hands out what nobody owns.
    pub fn rebalance(&mut self, topics: &Topics) {
        self.generation.0 += 1;
        let counts = topics.counts(&self.topics());
        let wanted = self
            .members
            .iter()
            .map(|(id, member)| (*id, member.topics.clone()))
            .collect();
        self.target = assign(&wanted, &counts, &self.target);

        for (id, member) in &mut self.members {
            let moving: Vec<TopicPartition> = member.owned.difference(&member.revoking).cloned().collect();
            let moving: Vec<_> = moving
                .into_iter()
                .filter(|partition| self.target.get(partition) != Some(id))
                .collect();
            if !moving.is_empty() {
                member.revoking.extend(moving.iter().cloned());
                member.news.push(Change::Revoked(moving));
            }
        }

        let owned: BTreeSet<&TopicPartition> = self.members.values().flat_map(|member| &member.owned).collect();
        let mut gained: BTreeMap<MemberId, Vec<TopicPartition>> = BTreeMap::new();
        for (partition, owner) in self.target.iter().filter(|(partition, _)| !owned.contains(partition)) {
            gained.entry(*owner).or_default().push(partition.clone());
        }
        for (id, partitions) in gained {
            let Some(member) = self.members.get_mut(&id) else {
                continue;
            };
            member.owned.extend(partitions.iter().cloned());
            member.news.push(Change::Assigned(partitions));
        }
    }

    fn member(&mut self, id: MemberId, instance: Option<&str>) -> Result<&mut Member, Stale> {
        let holder = instance.and_then(|name| self.names.get(name));
        if holder.is_some_and(|holder| *holder != id) {
            return Err(Stale::Fenced);
        }
        self.members.get_mut(&id).ok_or(Stale::Unknown)
    }
}
