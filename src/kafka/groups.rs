//! Looks at groups from the side: which there are, what state they are in, what they own and what they have committed.
//!
//! Rule: nothing is joined and nothing is moved, and no group waits for another: questions to all coordinators are under
//! way together, at most [`WINDOW`] at a time. A group that cannot be asked has an error of its own.
//!
//! Edges:
//! - committed is what is committed: offsets in an open transaction are not told, and not waited for; those of an aborted
//!   one never are;
//! - brokers list only the groups that the login may describe, and only the topics' offsets that it may describe: what is
//!   not told is not known to be missing;
//! - librdkafka (2.12) lists classic groups of consumers and KIP-848 groups with kind and state. Of share and streams groups it
//!   passes on the name alone, by an older call; offsets are told of those that commit any;
//! - a group without members is not asked for them; one of which nothing is known but its name is there if it has members
//!   or offsets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;

use super::CALL;
use super::admin::{ConnectError, ask, metadata_client, serve};
use super::context::Quiet;
use super::ends::EndSampler;
use super::settings::Connection;
use super::sys::{Answer, DescribedGroup, Inquiry, ListEntry, ListedGroup, Question, Refusal};
use super::trouble::{self, About};
use crate::runtime::log::{LogError, TopicPartition};

/// Most questions that are under way at once: their time-outs run while the broker answers one after the other.
const WINDOW: usize = 128;

/// A coordinator that moves or loads is asked again this often, after pauses of this length.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(200);

/// A group, as far as it is known before it is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    pub name: String,
    /// `Classic`, `Consumer` (KIP-848), or the protocol of a classic group that is none of consumers, such as `connect`.
    /// `None` where the broker tells only the name.
    pub kind: Option<String>,
    /// As the broker calls it: `Stable`, `Empty`...
    pub state: Option<String>,
    /// Nobody ever joined it: its offsets were committed by clients that assign partitions to themselves.
    pub simple: bool,
}

/// A group that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Looked {
    pub group: Group,
    /// `None` where the broker does not tell.
    pub members: Option<u32>,
    pub committed: BTreeMap<TopicPartition, i64>,
    /// What its members have been given.
    pub assigned: BTreeSet<TopicPartition>,
}

/// Why a group could not be looked at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookError {
    /// There is no such group, or it is one that commits no offsets.
    #[error("there is no group of this name that commits offsets")]
    Absent,
    #[error("{0}")]
    Log(#[from] LogError),
}

/// The groups that the login may see.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    pub groups: Vec<Group>,
    /// Brokers that did not tell theirs.
    pub silent: Vec<String>,
}

/// Asks about groups.
pub struct GroupClient {
    client: Arc<BaseConsumer<Quiet>>,
}

// === impl Group ===

impl Group {
    /// One of which nothing is known yet.
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            kind: None,
            state: None,
            simple: false,
        }
    }

    fn is_without_members(&self) -> bool {
        matches!(self.state.as_deref(), Some("Empty" | "Dead"))
    }
}

impl From<ListedGroup> for Group {
    fn from(listed: ListedGroup) -> Self {
        Self {
            name: listed.name,
            kind: listed.kind,
            state: listed.state,
            simple: listed.simple,
        }
    }
}

// === impl GroupClient ===

impl GroupClient {
    /// Connects, and says within seconds where that cannot succeed.
    pub fn connect(connection: &Connection) -> Result<Self, ConnectError> {
        let client = metadata_client(connection)?;
        // A login that is not accepted is told in words only by this. Of one topic: the list of all can be long.
        ask(connection, &client, Some("__consumer_offsets"), Instant::now() + CALL)?;
        Ok(Self {
            client: Arc::new(client),
        })
    }

    /// Asks the same brokers for log ends.
    pub fn ends(&self) -> EndSampler {
        EndSampler::new(Arc::clone(&self.client))
    }

    /// All groups, of every kind, by name. `Retry` where no broker tells any.
    pub fn list(&self) -> Result<Listing, LogError> {
        serve(&self.client);
        let retry = |said: String| LogError::Retry(format!("the brokers do not list their groups: {said}"));
        // The older call takes longer, and both go on at once.
        let (listed, names) = std::thread::scope(|scope| {
            let names = scope.spawn(|| self.names());
            (self.listed(), names.join())
        });
        let (groups, silent) = listed.map_err(|(code, said)| match code {
            Code::ClusterAuthorizationFailed => {
                LogError::Refused(trouble::needs("DESCRIBE on the cluster or on groups"))
            }
            _ => retry(said),
        })?;
        let mut groups: BTreeMap<String, Group> = groups
            .into_iter()
            .map(|group| (group.name.clone(), group.into()))
            .collect();
        let mut silent: Vec<String> = silent.into_iter().map(|(_, said)| said).collect();
        match names {
            Ok(Ok(named)) => {
                for group in named {
                    groups.entry(group.name.clone()).or_insert(group);
                }
            }
            Ok(Err(said)) => silent.push(said),
            Err(_) => silent.push("share and streams groups were not listed".to_owned()),
        }
        if groups.is_empty()
            && let Some(said) = silent.first()
        {
            return Err(retry(said.clone()));
        }
        Ok(Listing {
            groups: groups.into_values().collect(),
            silent,
        })
    }

    fn listed(&self) -> Result<(Vec<ListedGroup>, Vec<Refusal>), Refusal> {
        let failed = |code: Code| (code, code.to_string());
        let inquiry = Inquiry::new(self.client.client()).map_err(failed)?;
        inquiry.ask(0, Question::Groups, CALL).map_err(failed)?;
        match inquiry.next(CALL + PAUSE) {
            Some((_, Ok(Answer::Groups(groups, silent)))) => Ok((groups, silent)),
            Some((_, Err(refusal))) => Err(refusal),
            Some((_, Ok(_))) | None => Err(failed(Code::OperationTimedOut)),
        }
    }

    /// Groups of every kind. Where it is no classic one, its name alone.
    fn names(&self) -> Result<Vec<Group>, String> {
        let found = self.client.fetch_group_list(None, CALL);
        let found = found.map_err(|error| format!("share and streams groups were not listed: {error}"))?;
        let group = |found: &rdkafka::groups::GroupInfo| {
            let classic = !found.protocol_type().is_empty();
            Group {
                name: found.name().to_owned(),
                kind: classic.then(|| found.protocol_type().to_owned()),
                state: classic.then(|| found.state().to_owned()),
                simple: false,
            }
        };
        Ok(found.groups().iter().map(group).collect())
    }

    /// Looks at each of these groups, in their order.
    pub fn look(&self, groups: Vec<Group>) -> Vec<(String, Result<Looked, LookError>)> {
        serve(&self.client);
        let wanted = |number: &usize| number.is_multiple_of(2) || !groups[number / 2].is_without_members();
        let mut answers = self.answers(&groups, wanted);
        let mut of_number = |number: usize| answers.get_mut(number).and_then(Option::take);
        groups
            .into_iter()
            .enumerate()
            .map(|(at, group)| {
                let name = group.name.clone();
                let (committed, described) = (of_number(2 * at), of_number(2 * at + 1));
                (name, looked(group, committed, described))
            })
            .collect()
    }

    /// What these groups have committed, in fewer questions than [`Self::look`] has. Who does not answer is missing.
    pub fn committed(&self, groups: Vec<Group>) -> BTreeMap<String, BTreeMap<TopicPartition, i64>> {
        serve(&self.client);
        let answers = self.answers(&groups, |number| number.is_multiple_of(2));
        let of_groups = groups.into_iter().zip(answers.into_iter().step_by(2));
        of_groups
            .filter_map(|(group, answer)| match answer {
                Some(Ok(Answer::Offsets(entries))) => Some((group.name, told(entries))),
                Some(_) | None => None,
            })
            .collect()
    }

    /// Even numbers: what the groups committed. Odd ones: their members.
    fn answers(&self, groups: &[Group], wanted: impl Fn(&usize) -> bool) -> Vec<Option<Result<Answer, Refusal>>> {
        let mut answers: Vec<Option<Result<Answer, Refusal>>> = Vec::new();
        answers.resize_with(2 * groups.len(), || None);
        let inquiry = match Inquiry::new(self.client.client()) {
            Ok(inquiry) => inquiry,
            Err(code) => {
                tracing::debug!(event_type = "groups_unknown", %code, "groups cannot be asked for");
                return answers;
            }
        };
        let mut waiting: VecDeque<usize> = (0..answers.len()).filter(wanted).collect();
        let (mut again, mut tries, mut open) = (Vec::new(), 1, 0);
        loop {
            while open < WINDOW
                && let Some(number) = waiting.pop_front()
            {
                let group = groups[number / 2].name.as_str();
                let question = match number % 2 {
                    0 => Question::Committed(group),
                    _ => Question::Group(group),
                };
                match inquiry.ask(number, question, CALL) {
                    Ok(()) => open += 1,
                    Err(code) => answers[number] = Some(Err((code, code.to_string()))),
                }
            }
            if open == 0 && (again.is_empty() || tries == TRIES) {
                return answers;
            }
            if open == 0 {
                std::thread::sleep(PAUSE);
                tries += 1;
                waiting.extend(again.drain(..));
                continue;
            }
            let Some((number, answer)) = inquiry.next(CALL + PAUSE) else {
                return answers;
            };
            open -= 1;
            if matches!(&answer, Err((code, _)) if passes_soon(*code)) {
                again.push(number);
            }
            answers[number] = Some(answer);
        }
    }
}

/// A coordinator that is on its way.
fn passes_soon(code: Code) -> bool {
    matches!(
        code,
        Code::NotCoordinator | Code::CoordinatorLoadInProgress | Code::CoordinatorNotAvailable
    )
}

fn looked(
    mut group: Group,
    committed: Option<Result<Answer, Refusal>>,
    described: Option<Result<Answer, Refusal>>,
) -> Result<Looked, LookError> {
    let about = About::OffsetsOf(&group.name);
    let silent = || LogError::Retry(format!("group `{}`: its coordinator did not answer", group.name));
    let committed = match committed {
        Some(Ok(Answer::Offsets(entries))) => entries,
        // Share groups: they have no committed offsets.
        Some(Err((Code::GroupIdNotFound, _))) => return Err(LookError::Absent),
        Some(Err((code, _))) => return Err(trouble::asked(code, about).into()),
        Some(Ok(_)) | None => return Err(silent().into()),
    };
    let described = match described {
        Some(Ok(Answer::Group(described))) => Some(described),
        // A group that is neither classic nor of KIP-848, or not there at all.
        Some(Err((Code::GroupIdNotFound, _))) => None,
        Some(Err((code, _))) => return Err(trouble::asked(code, about).into()),
        None if group.is_without_members() => None,
        Some(Ok(_)) | None => return Err(silent().into()),
    };
    let committed = told(committed);
    let unknown = group.kind.is_none() && group.state.is_none();
    // What a broker answers where it has no classic group of that name.
    let dead = |described: &DescribedGroup| described.members == 0 && described.state.as_deref() == Some("Dead");
    let described = described.filter(|described| !(unknown && dead(described)));
    if unknown && described.is_none() && committed.is_empty() {
        return Err(LookError::Absent);
    }
    let mut members = group.is_without_members().then_some(0);
    let mut assigned = BTreeSet::new();
    if let Some(described) = described {
        members = Some(described.members);
        group.kind = group.kind.or(described.kind);
        group.state = described.state.or(group.state);
        group.simple = described.simple;
        assigned.extend(described.assigned);
    }
    Ok(Looked {
        group,
        members,
        committed,
        assigned,
    })
}

/// Where a group committed; what is not told is left out.
fn told(entries: Vec<ListEntry>) -> BTreeMap<TopicPartition, i64> {
    let (committed, unstable): (Vec<ListEntry>, Vec<ListEntry>) =
        entries.into_iter().partition(|entry| entry.error.is_none());
    for entry in unstable {
        tracing::debug!(event_type = "groups_unknown", partition = ?entry.partition, error = ?entry.error, "an offset is not told");
    }
    committed
        .into_iter()
        .filter(|entry| entry.offset >= 0)
        .map(|entry| (entry.partition, entry.offset))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(offset: i64) -> Option<Result<Answer, Refusal>> {
        let partition = TopicPartition {
            topic: "t".to_owned(),
            partition: 0,
        };
        Some(Ok(Answer::Offsets(vec![ListEntry {
            partition,
            offset,
            metadata: String::new(),
            error: None,
        }])))
    }

    fn described(state: &str) -> Option<Result<Answer, Refusal>> {
        Some(Ok(Answer::Group(DescribedGroup {
            kind: Some("Classic".to_owned()),
            state: Some(state.to_owned()),
            simple: false,
            members: 0,
            assigned: Vec::new(),
        })))
    }

    #[test]
    fn a_name_that_no_broker_knows_is_no_group() {
        let found = looked(
            Group::named("g"),
            Some(Ok(Answer::Offsets(Vec::new()))),
            described("Dead"),
        );
        assert_eq!(found, Err(LookError::Absent));
    }

    #[test]
    fn a_group_of_another_kind_with_offsets_has_no_state_rather_than_a_wrong_one() {
        let found = looked(Group::named("g"), offsets(4), described("Dead")).unwrap();
        assert_eq!(
            (found.group.state, found.members, found.committed.len()),
            (None, None, 1)
        );
    }

    #[test]
    fn a_group_without_members_needs_no_second_answer() {
        let group = Group {
            state: Some("Empty".to_owned()),
            ..Group::named("g")
        };
        let found = looked(group, offsets(4), None).unwrap();
        assert_eq!((found.group.state.as_deref(), found.members), (Some("Empty"), Some(0)));
    }

    #[test]
    fn a_partition_without_a_commit_has_no_offset() {
        assert!(
            looked(Group::named("g"), offsets(-1001), described("Stable"))
                .unwrap()
                .committed
                .is_empty()
        );
    }

    #[test]
    fn a_missing_right_is_named_with_the_group() {
        let refused = Some(Err((Code::GroupAuthorizationFailed, String::new())));
        let error = looked(Group::named("g"), refused, None).unwrap_err().to_string();
        assert!(error.contains("group `g`") && error.contains("DESCRIBE"), "{error}");
    }
}
