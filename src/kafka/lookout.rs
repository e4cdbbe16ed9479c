//! What other groups of the application have committed, asked in the background for everyone in the process at once.
//!
//! Rule: what was asked for since the last round is asked of each group's coordinator in one OffsetFetch, at most every
//! [`ROUND`]. It is told the last committed offsets, and waits for nobody's open transaction.
//!
//! Edges:
//! - the thread starts with the first question: who never asks has no client for it;
//! - what was not answered is forgotten; who needs it asks again. That nothing is answered is said once a group, until
//!   something is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;

use super::admin::serve;
use super::context::Quiet;
use super::group::committed;
use super::settings::Connection;
use super::trouble::About;
use crate::runtime::log::{Committed, LogError, TopicPartition};

/// Least time between two rounds.
const ROUND: Duration = Duration::from_millis(500);

pub(super) type Commit = (TopicPartition, Committed);

/// The process's lookout; its thread ends with it and with everyone who asks.
pub(super) struct Lookout {
    connection: Connection,
    questions: Arc<OnceLock<Mutex<Sender<Question>>>>,
}

/// One asker's place.
pub(super) struct Asker {
    connection: Connection,
    questions: Arc<OnceLock<Mutex<Sender<Question>>>>,
    answer: Sender<Commit>,
    answers: Receiver<Commit>,
}

struct Question {
    group: String,
    partitions: Vec<TopicPartition>,
    answer: Sender<Commit>,
}

// === impl Lookout ===

impl Lookout {
    pub(super) fn new(connection: Connection) -> Self {
        Self {
            connection,
            questions: Arc::default(),
        }
    }

    pub(super) fn asker(&self) -> Asker {
        let (answer, answers) = channel();
        Asker {
            connection: self.connection.clone(),
            questions: Arc::clone(&self.questions),
            answer,
            answers,
        }
    }
}

// === impl Asker ===

impl Asker {
    pub(super) fn ask(&self, group: &str, partitions: &[TopicPartition]) {
        if partitions.is_empty() {
            return;
        }
        let questions = self.questions.get_or_init(|| {
            let (sender, receiver) = channel();
            let connection = self.connection.clone();
            let spawned = std::thread::Builder::new()
                .name("lookout".to_owned())
                .spawn(move || rounds(&connection, &receiver));
            if let Err(error) = spawned {
                tracing::warn!(event_type = "thread_missing", %error, "no thread for looking at commits: sources of joins do not wait for other processes");
            }
            Mutex::new(sender)
        });
        let question = Question {
            group: group.to_owned(),
            partitions: partitions.to_vec(),
            answer: self.answer.clone(),
        };
        // A lookout that has no thread sees nothing.
        let _ = questions.lock().unwrap_or_else(PoisonError::into_inner).send(question);
    }

    pub(super) fn answers(&self) -> Vec<Commit> {
        self.answers.try_iter().collect()
    }
}

fn rounds(connection: &Connection, questions: &Receiver<Question>) {
    let mut clients: HashMap<String, BaseConsumer<Quiet>> = HashMap::new();
    let mut troubled = BTreeSet::new();
    while let Ok(first) = questions.recv() {
        let mut by_group: BTreeMap<String, Vec<Question>> = BTreeMap::new();
        for question in std::iter::once(first).chain(questions.try_iter()) {
            by_group.entry(question.group.clone()).or_default().push(question);
        }
        for (group, questions) in by_group {
            let all: BTreeSet<&TopicPartition> = questions.iter().flat_map(|question| &question.partitions).collect();
            let all: Vec<TopicPartition> = all.into_iter().cloned().collect();
            let found = client(connection, &mut clients, &group)
                .and_then(|client| committed(client, About::OffsetsOf(&group), &all));
            match found {
                Ok(found) => {
                    troubled.remove(&group);
                    let found: BTreeMap<&TopicPartition, Option<Committed>> = all.iter().zip(found).collect();
                    for question in &questions {
                        for partition in &question.partitions {
                            if let Some(Some(commit)) = found.get(partition) {
                                // An asker that went away needs no answer.
                                let _ = question.answer.send((partition.clone(), commit.clone()));
                            }
                        }
                    }
                }
                Err(error) if troubled.insert(group.clone()) => {
                    tracing::warn!(
                        event_type = "group_commits_unknown",
                        "{error}: how far the group `{group}` is is not known; sources of joins go by what they knew"
                    );
                }
                Err(error) => {
                    tracing::debug!(event_type = "group_commits_unknown", %error, group, "commits were not answered")
                }
            }
        }
        std::thread::sleep(ROUND);
    }
}

/// The client that asks for this group.
fn client<'c>(
    connection: &Connection,
    clients: &'c mut HashMap<String, BaseConsumer<Quiet>>,
    group: &str,
) -> Result<&'c BaseConsumer<Quiet>, LogError> {
    if !clients.contains_key(group) {
        let client: BaseConsumer<Quiet> = connection
            .offsets_consumer(group)
            .create_with_context(Quiet::default())
            .map_err(|error| LogError::Refused(format!("group `{group}`: {error}")))?;
        clients.insert(group.to_owned(), client);
    }
    let client = clients
        .get(group)
        .ok_or_else(|| LogError::Retry(format!("group `{group}`: no client")))?;
    // Takes the client's log lines and errors, which nobody else does.
    serve(client);
    Ok(client)
}
