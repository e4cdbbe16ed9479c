//! Asks for groups and their offsets by the Admin API, and writes what changed into a topic: for clusters that do not let
//! `__consumer_offsets` be read.
//!
//! Rule: one poll is one transaction, so that readers see all of it or nothing. The transactional id is the same for all
//! instances: who starts to poll fences whoever did before, and begins with what the topic says.
//!
//! Edges:
//! - whatever fails is begun anew: from the transactional id and the topic, since nobody knows how much of it was written;
//! - who was fenced waits for longer than a session lasts: by then its group has told it that another one polls;
//! - a group that may not be asked is named once, with the right that is missing.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;

use super::CALL;
use super::admin::metadata_client;
use super::groups::{GroupClient, LookError, Looked};
use super::restore::Restores;
use super::rights::again;
use super::settings::Connection;
use super::transactions::Transactions;
use super::trouble::{self, About};
use crate::engine::lag::groups::{Protocol, State};
use crate::engine::lag::polled::{Change, Poll, Polled, PolledGroup};
use crate::engine::names::Names;
use crate::engine::time::Span;
use crate::runtime::clock::wall_time;
use crate::runtime::log::{LogError, Send, TopicPartition};

/// Between two beginnings, shortest and longest.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Longer than a member that is gone still counts as one.
const FENCED: Duration = Duration::from_secs(60);

/// How long what a transaction is waiting for may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to poll, and where to.
#[derive(Clone, Debug)]
pub struct PollerOptions {
    pub topic: String,
    pub partitions: NonZeroU32,
    pub transactional_id: String,
    /// The group that reads the topic.
    pub group: String,
    pub every: Span,
    pub groups: Names,
    pub topics: Names,
}

/// The thread that polls; it ends when this is dropped.
pub struct Poller {
    _stop: Sender<()>,
}

/// What the thread has.
struct Polling {
    connection: Connection,
    options: PollerOptions,
    stopped: Receiver<()>,
    /// What was complained about already.
    told: BTreeSet<String>,
}

// === impl Poller ===

impl Poller {
    pub fn start(connection: &Connection, options: PollerOptions) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let mut polling = Polling {
            connection: connection.clone(),
            options,
            stopped,
            told: BTreeSet::new(),
        };
        std::thread::Builder::new()
            .name("poller".to_owned())
            .spawn(move || polling.run())?;
        Ok(Self { _stop: stop })
    }
}

// === impl Polling ===

impl Polling {
    fn run(&mut self) {
        let mut pause = PAUSES.0;
        loop {
            let mut transactions =
                Transactions::new(self.connection.clone(), self.options.transactional_id.clone(), true);
            let began = Instant::now();
            let ended = self.poll_on(&mut transactions);
            transactions.close();
            let wait = match ended {
                Ok(()) => return,
                Err(LogError::Fenced(why)) => {
                    tracing::info!(
                        event_type = "groups_polled_elsewhere",
                        "another instance polls the groups: {why}"
                    );
                    FENCED
                }
                Err(error) => {
                    tracing::warn!(event_type = "groups_unknown", "groups are not polled: {error}");
                    pause = if began.elapsed() > PATIENCE {
                        PAUSES.0
                    } else {
                        (pause * 2).min(PAUSES.1)
                    };
                    pause
                }
            };
            if !self.waits(wait) {
                return;
            }
        }
    }

    /// `false`: told to end meanwhile.
    fn waits(&self, wait: Duration) -> bool {
        self.stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout)
    }

    /// Until something fails, or the thread is to end.
    fn poll_on(&mut self, transactions: &mut Transactions) -> Result<(), LogError> {
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = transactions.init(false) {
            match error {
                LogError::Retry(_) if Instant::now() < deadline => {}
                error => return Err(error),
            }
            if !self.waits(Duration::from_millis(100)) {
                return Ok(());
            }
        }
        let mut polled = self.restore()?;
        let client = GroupClient::connect(&self.connection).map_err(|error| LogError::Retry(error.to_string()))?;
        let every = Duration::from_micros(self.options.every.as_micros().unsigned_abs());
        loop {
            let began = Instant::now();
            let poll = self.poll(&client)?;
            let changes = polled.changes(poll, wall_time());
            self.write(transactions, &changes)?;
            tracing::debug!(event_type = "groups_asked", changes = changes.len(), took = ?began.elapsed(), "groups were polled");
            let pause = every.saturating_sub(began.elapsed());
            if !self.waits(pause) {
                return Ok(());
            }
            transactions.idle();
        }
    }

    /// What the topic says, all of it: no producer but this one writes any more.
    fn restore(&self) -> Result<Polled, LogError> {
        let options = &self.options;
        let client = metadata_client(&self.connection).map_err(|error| LogError::Refused(error.to_string()))?;
        let mut polled = Polled::new(options.partitions);
        let mut restores = Restores::new(self.connection.clone(), options.group.clone());
        let deadline = Instant::now() + PATIENCE;
        for number in 0..options.partitions.get() {
            let partition = TopicPartition {
                topic: options.topic.clone(),
                partition: number,
            };
            let about = About::ReadTopic(&options.topic);
            let (start, end) = client
                .fetch_watermarks(&partition.topic, i32::try_from(number).unwrap_or(i32::MAX), CALL)
                .map_err(|error| trouble::asked_by(&error, about))?;
            restores.start(&partition, start)?;
            let mut malformed = None;
            let wait = Duration::from_millis(100);
            while restores.poll(&partition, wait, &mut |key, value| {
                malformed = polled.restore(key, value).err().or(malformed);
            })? < end
            {
                if Instant::now() > deadline {
                    return Err(LogError::Retry(format!("`{}` is not read to its end", options.topic)));
                }
            }
            if let Some(malformed) = malformed {
                return Err(LogError::Refused(format!(
                    "`{}` partition {number} holds a record that streamgauge never writes: {malformed}",
                    options.topic
                )));
            }
            restores.stop(&partition);
        }
        Ok(polled)
    }

    fn poll(&mut self, client: &GroupClient) -> Result<Poll, LogError> {
        let listing = client.list()?;
        for broker in &listing.silent {
            self.tell_once(format!(
                "a broker does not list its groups, which have no lag meanwhile: {broker}"
            ));
        }
        let mut poll = Poll {
            is_whole: listing.silent.is_empty(),
            ..Poll::default()
        };
        let options = &self.options;
        let wanted = listing
            .groups
            .into_iter()
            .filter(|group| options.groups.has(&group.name));
        let mut complaints = Vec::new();
        for (name, looked) in client.look(wanted.collect()) {
            let found = match looked {
                Ok(looked) => Some(found(looked, &options.topics)),
                Err(LookError::Absent) => continue,
                Err(LookError::Log(LogError::Refused(why))) => {
                    complaints.push(format!("a group has no lag: {why}"));
                    None
                }
                Err(error) => {
                    tracing::debug!(event_type = "groups_unknown", group = name, %error, "a group did not answer");
                    None
                }
            };
            poll.groups.insert(name.into(), found);
        }
        complaints.into_iter().for_each(|complaint| self.tell_once(complaint));
        Ok(poll)
    }

    fn write(&self, transactions: &mut Transactions, changes: &[Change]) -> Result<(), LogError> {
        transactions.begin()?;
        for change in changes {
            transactions.send(Send {
                topic: &self.options.topic,
                partition: change.partition,
                key: Some(&change.key),
                value: change.value.as_deref(),
                headers: &[],
            })?;
        }
        again(Instant::now() + PATIENCE, || transactions.commit())
    }

    fn tell_once(&mut self, complaint: String) {
        if self.told.insert(complaint.clone()) {
            tracing::warn!(event_type = "groups_unknown", "{complaint}");
        }
    }
}

fn found(looked: Looked, topics: &Names) -> (PolledGroup, crate::engine::lag::polled::Offsets) {
    let group = PolledGroup {
        protocol: match looked.group.kind.as_deref() {
            None => Protocol::None,
            Some("Consumer") => Protocol::Consumer,
            Some(_) if looked.group.simple => Protocol::None,
            Some(_) => Protocol::Classic,
        },
        state: looked.group.state.as_deref().and_then(state_of),
        members: looked.members,
        is_silent: false,
    };
    let committed = looked.committed.into_iter();
    let wanted = committed.filter(|(at, _)| topics.has(&at.topic));
    let offsets = wanted.map(|(at, offset)| ((at.topic.into(), at.partition), offset));
    (group, offsets.collect())
}

/// As brokers call it. A rebalance of the classic protocol is one too.
fn state_of(name: &str) -> Option<State> {
    Some(match name {
        "Empty" => State::Empty,
        "Stable" => State::Stable,
        "Assigning" | "PreparingRebalance" | "CompletingRebalance" => State::Assigning,
        "Reconciling" => State::Reconciling,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::kafka::Group;

    fn looked(kind: Option<&str>, state: Option<&str>) -> Looked {
        let at = |topic: &str| TopicPartition {
            topic: topic.to_owned(),
            partition: 2,
        };
        Looked {
            group: Group {
                kind: kind.map(str::to_owned),
                state: state.map(str::to_owned),
                ..Group::named("g")
            },
            members: Some(1),
            committed: BTreeMap::from([(at("orders"), 7), (at("other"), 8)]),
            assigned: BTreeSet::new(),
        }
    }

    #[test]
    fn of_a_group_only_the_topics_that_are_wanted_are_found() {
        let (group, offsets) = found(looked(Some("Consumer"), Some("Reconciling")), &Names::of(["ord*"]));
        assert_eq!(
            (group.protocol, group.state),
            (Protocol::Consumer, Some(State::Reconciling))
        );
        assert_eq!(offsets.into_iter().collect::<Vec<_>>(), [(("orders".into(), 2), 7)]);
    }

    #[test]
    fn a_state_without_a_name_here_is_none_and_a_group_of_unknown_kind_has_no_protocol() {
        let (group, _) = found(looked(None, Some("Dead")), &Names::default());
        assert_eq!((group.protocol, group.state), (Protocol::None, None));
        let (group, _) = found(looked(Some("connect"), Some("PreparingRebalance")), &Names::default());
        assert_eq!(
            (group.protocol, group.state),
            (Protocol::Classic, Some(State::Assigning))
        );
    }
}
