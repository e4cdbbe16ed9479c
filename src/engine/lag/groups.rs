//! What the offsets topic says of the groups of one of its partitions: their protocol, state and members.
//!
//! Rule: the state is the one that the broker derives from the same records. A rebalance of the classic protocol leaves no
//! record before it ends, so a group that is just in one still counts as what it was.
//!
//! Edges:
//! - a group that only commits has no record of its own: it is here as soon as it has an offset, with the state `Empty`;
//! - a classic group is deleted by a tombstone, which is also written when the group goes over to the consumer protocol: it
//!   takes away what the classic protocol said and nothing else;
//! - records may be compacted away or read again from the start: each one sets what it is about, none counts up;
//! - where groups are polled, what the poll found of one is all that is known of it;
//! - beyond the limit of groups a new one is not kept; how many records that concerned is counted.

use std::collections::BTreeMap;

use super::polled::PolledGroup;
use super::record::ClassicGroup;
use super::schema::Kind;
use super::tree::Tree;
use super::wire::Malformed;

/// A member's assignment has everything that it should have and nothing more.
const MEMBER_STABLE: i64 = 0;

/// How the members of a group share its partitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// Nothing but commits is known of it.
    None,
    Classic,
    Consumer,
    Share,
    Streams,
}

/// As the broker calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Empty,
    /// Of the newer protocols: the assignment that goes with the newest membership is not made yet.
    Assigning,
    /// Some member does not have its assignment yet.
    Reconciling,
    Stable,
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Group {
    classic: Option<Classic>,
    modern: Option<Modern>,
    polled: Option<PolledGroup>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Classic {
    members: u32,
}

/// A group of one of the newer protocols.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Modern {
    protocol: Protocol,
    epoch: i64,
    /// Of the assignment that is meant.
    target: i64,
    members: BTreeMap<Box<str>, Member>,
}

/// What a member has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Member {
    /// It has joined; else only its assignment is known yet.
    joined: bool,
    epoch: i64,
    state: i64,
}

/// The groups of one partition.
#[derive(Debug)]
pub struct Groups {
    groups: BTreeMap<Box<str>, Group>,
    limit: usize,
    /// Records about groups beyond the limit.
    overflowed: u64,
}

// === impl Protocol ===

impl Protocol {
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Classic => "classic",
            Self::Consumer => "consumer",
            Self::Share => "share",
            Self::Streams => "streams",
        }
    }

    const ALL: [Self; 5] = [Self::None, Self::Classic, Self::Consumer, Self::Share, Self::Streams];

    /// As records of our own have it.
    pub(super) const fn code(self) -> u8 {
        self as u8
    }

    /// What has no meaning here is none.
    pub(super) fn of(code: i8) -> Self {
        let at = usize::try_from(code).ok();
        at.and_then(|at| Self::ALL.get(at).copied()).unwrap_or(Self::None)
    }
}

// === impl State ===

impl State {
    pub const ALL: [Self; 4] = [Self::Empty, Self::Assigning, Self::Reconciling, Self::Stable];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Assigning => "assigning",
            Self::Reconciling => "reconciling",
            Self::Stable => "stable",
        }
    }
}

// === impl Group ===

impl Group {
    pub fn protocol(&self) -> Protocol {
        match (&self.polled, &self.modern, &self.classic) {
            (Some(polled), ..) => polled.protocol,
            (None, Some(modern), _) => modern.protocol,
            (None, None, Some(_)) => Protocol::Classic,
            (None, None, None) => Protocol::None,
        }
    }

    /// `None` where nobody tells.
    pub fn members(&self) -> Option<u32> {
        if let Some(polled) = &self.polled {
            return polled.members;
        }
        Some(self.recorded_members())
    }

    fn recorded_members(&self) -> u32 {
        match (&self.modern, &self.classic) {
            (Some(modern), _) => {
                let joined = modern.members.values().filter(|member| member.joined).count();
                u32::try_from(joined).unwrap_or(u32::MAX)
            }
            (None, Some(classic)) => classic.members,
            (None, None) => 0,
        }
    }

    /// `None` where nobody tells.
    pub fn state(&self) -> Option<State> {
        match &self.polled {
            Some(polled) => polled.state,
            None => Some(self.recorded_state()),
        }
    }

    fn recorded_state(&self) -> State {
        if self.recorded_members() == 0 {
            return State::Empty;
        }
        match &self.modern {
            None => State::Stable,
            // Share groups wait for nobody: their members share partitions.
            Some(modern) if modern.protocol == Protocol::Share => State::Stable,
            Some(modern) if modern.epoch > modern.target => State::Assigning,
            Some(modern) => {
                let mut joined = modern.members.values().filter(|member| member.joined);
                match joined.all(|member| member.epoch == modern.target && member.state == MEMBER_STABLE) {
                    true => State::Stable,
                    false => State::Reconciling,
                }
            }
        }
    }

    /// Nothing is left that a record said of it.
    pub fn is_gone(&self) -> bool {
        self.classic.is_none() && self.modern.is_none() && self.polled.is_none()
    }

    /// It did not answer the last poll: what is known of it is old.
    pub fn is_silent(&self) -> bool {
        self.polled.is_some_and(|polled| polled.is_silent)
    }

    fn modern(&mut self, protocol: Protocol) -> &mut Modern {
        let fresh = || Modern {
            protocol,
            epoch: 0,
            target: 0,
            members: BTreeMap::new(),
        };
        let modern = self.modern.get_or_insert_with(fresh);
        // The broker deletes everything of the old protocol before a group gets another one.
        if modern.protocol != protocol {
            *modern = fresh();
        }
        modern
    }
}

impl Modern {
    fn is_gone(&self) -> bool {
        self.epoch == 0 && self.target == 0 && self.members.is_empty()
    }

    fn change(&mut self, member: &str, change: impl FnOnce(&mut Member)) {
        if let Some(known) = self.members.get_mut(member) {
            return change(known);
        }
        let mut fresh = Member::default();
        change(&mut fresh);
        self.members.insert(member.into(), fresh);
    }
}

// === impl Groups ===

impl Groups {
    pub fn new(limit: usize) -> Self {
        Self {
            groups: BTreeMap::new(),
            limit,
            overflowed: 0,
        }
    }

    pub fn get(&self, group: &str) -> Option<&Group> {
        self.groups.get(group)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &Group)> {
        self.groups.iter().map(|(name, group)| (&**name, group))
    }

    /// Records that were about groups beyond the limit.
    pub fn overflowed(&self) -> u64 {
        self.overflowed
    }

    /// The group has offsets; `false` where it is beyond the limit.
    pub fn commits(&mut self, group: &str) -> bool {
        self.known(group).is_some()
    }

    /// The group has no offsets any more: if nothing else is known of it, it is gone.
    pub fn commits_no_more(&mut self, group: &str) -> bool {
        let gone = self.groups.get(group).is_some_and(Group::is_gone);
        if gone {
            self.groups.remove(group);
        }
        gone
    }

    /// Nobody wants to know of it any more.
    pub fn forget(&mut self, group: &str) {
        self.groups.remove(group);
    }

    /// A record about a group or one of its members (`of`), of a version that is known. Others change nothing. `true` where
    /// the group was there before and is gone now, as far as such records tell.
    pub fn record(
        &mut self,
        kind: Kind,
        group: &str,
        of: Option<&str>,
        value: Option<&[u8]>,
    ) -> Result<bool, Malformed> {
        let Some(about) = About::of(kind) else { return Ok(false) };
        match value {
            None => Ok(self.end(about, group, of)),
            Some(value) => self.set(kind, about, group, of, value).map(|()| false),
        }
    }

    /// What a poll found of a group; `None`: it is gone. `true` as with [`Self::record`].
    pub fn poll(&mut self, group: &str, polled: Option<PolledGroup>) -> bool {
        if polled.is_some() {
            if let Some(known) = self.known(group) {
                known.polled = polled;
            }
            return false;
        }
        let Some(known) = self.groups.get_mut(group) else {
            return false;
        };
        known.polled = None;
        known.is_gone()
    }

    fn set(&mut self, kind: Kind, about: About, group: &str, of: Option<&str>, value: &[u8]) -> Result<(), Malformed> {
        if about == About::Classic {
            let members = u32::try_from(ClassicGroup::read(value)?.members.len()).unwrap_or(u32::MAX);
            if let Some(group) = self.known(group) {
                group.classic = Some(Classic { members });
            }
            return Ok(());
        }
        let fields = super::record::fields(kind.schema(), value)?;
        let number = |name: &str| match fields.get(name) {
            Some(Tree::Number(number)) => *number,
            _ => 0,
        };
        let Some(group) = self.known(group) else { return Ok(()) };
        let member = of.unwrap_or_default();
        match about {
            About::Classic => {}
            About::Group(protocol) => group.modern(protocol).epoch = number("epoch"),
            About::Target(protocol) => group.modern(protocol).target = number("assignmentEpoch"),
            About::Member(protocol) => group.modern(protocol).change(member, |member| member.joined = true),
            About::Assigned(protocol) => group.modern(protocol).change(member, |member| {
                member.epoch = number("memberEpoch");
                member.state = number("state");
            }),
        }
        Ok(())
    }

    fn end(&mut self, about: About, name: &str, of: Option<&str>) -> bool {
        let Some(group) = self.groups.get_mut(name) else {
            return false;
        };
        match about {
            About::Classic => group.classic = None,
            About::Group(protocol) | About::Target(protocol) | About::Member(protocol) | About::Assigned(protocol) => {
                let Some(modern) = group.modern.as_mut().filter(|modern| modern.protocol == protocol) else {
                    return false;
                };
                match about {
                    About::Group(_) => modern.epoch = 0,
                    About::Target(_) => modern.target = 0,
                    About::Member(_) => {
                        modern.members.remove(of.unwrap_or_default());
                    }
                    About::Assigned(_) | About::Classic => {
                        if let Some(member) = modern.members.get_mut(of.unwrap_or_default()) {
                            *member = Member {
                                joined: member.joined,
                                ..Member::default()
                            };
                        }
                    }
                }
                modern.members.retain(|_, member| *member != Member::default());
                if modern.is_gone() {
                    group.modern = None;
                }
            }
        }
        group.is_gone()
    }

    /// The group, made where there is room.
    fn known(&mut self, group: &str) -> Option<&mut Group> {
        if !self.groups.contains_key(group) {
            if self.groups.len() >= self.limit {
                self.overflowed += 1;
                return None;
            }
            self.groups.insert(group.into(), Group::default());
        }
        self.groups.get_mut(group)
    }
}

/// What a kind of record tells, as far as it concerns state and members.
#[derive(Clone, Copy, PartialEq, Eq)]
enum About {
    Classic,
    Group(Protocol),
    Target(Protocol),
    Member(Protocol),
    Assigned(Protocol),
}

impl About {
    fn of(kind: Kind) -> Option<Self> {
        Some(match kind {
            Kind::GroupMetadata => Self::Classic,
            Kind::ConsumerGroupMetadata => Self::Group(Protocol::Consumer),
            Kind::ConsumerGroupMemberMetadata => Self::Member(Protocol::Consumer),
            Kind::ConsumerGroupTargetAssignmentMetadata => Self::Target(Protocol::Consumer),
            Kind::ConsumerGroupCurrentMemberAssignment => Self::Assigned(Protocol::Consumer),
            Kind::ShareGroupMetadata => Self::Group(Protocol::Share),
            Kind::ShareGroupMemberMetadata => Self::Member(Protocol::Share),
            Kind::ShareGroupTargetAssignmentMetadata => Self::Target(Protocol::Share),
            Kind::ShareGroupCurrentMemberAssignment => Self::Assigned(Protocol::Share),
            Kind::StreamsGroupMetadata => Self::Group(Protocol::Streams),
            Kind::StreamsGroupMemberMetadata => Self::Member(Protocol::Streams),
            Kind::StreamsGroupTargetAssignmentMetadata => Self::Target(Protocol::Streams),
            Kind::StreamsGroupCurrentMemberAssignment => Self::Assigned(Protocol::Streams),
            _ => return None,
        })
    }
}
