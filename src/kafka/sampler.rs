//! Log ends, asked in the background for everyone in the process at once.
//!
//! Rule: what was asked for since the last round is asked of the brokers in one batch, at most every [`ROUND`]. An answer
//! says when its request was sent, so it is never newer than it claims.
//!
//! Edges:
//! - one leader that does not answer, or a topic that is gone, spoils a batch: then each topic is asked alone, and who is
//!   silent is left out for [`SILENCE`];
//! - what was not answered is forgotten; who needs it asks again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::Offset;

use super::admin::serve;
use super::context::Quiet;
use super::{CALL, list, sys};
use crate::engine::time::WallTime;
use crate::runtime::clock::wall_time;
use crate::runtime::log::TopicPartition;

/// Least time between two rounds.
const ROUND: Duration = Duration::from_millis(500);

/// How long a topic that did not answer is left out.
const SILENCE: Duration = Duration::from_secs(10);

/// `(partition, high watermark, when it was asked)`
pub(super) type LogEnd = (TopicPartition, i64, WallTime);

/// The process's sampler; its thread ends with it.
pub(super) struct Sampler {
    shared: Arc<Shared>,
    numbers: AtomicU64,
}

/// One asker's place: its questions go out under its number, its answers come here.
pub(super) struct Asker {
    shared: Arc<Shared>,
    number: u64,
    answers: Receiver<LogEnd>,
}

#[derive(Default)]
struct Shared {
    asked: Mutex<Asked>,
    wake: Condvar,
}

#[derive(Default)]
struct Asked {
    /// Who wants to know each partition's end, since the last round.
    wanted: BTreeMap<TopicPartition, BTreeSet<u64>>,
    askers: HashMap<u64, Sender<LogEnd>>,
    ended: bool,
}

// === impl Sampler ===

impl Sampler {
    pub(super) fn start(metadata: Arc<BaseConsumer<Quiet>>) -> Self {
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        let spawned = std::thread::Builder::new()
            .name("log-ends".to_owned())
            .spawn(move || rounds(&of_thread, &metadata));
        if let Err(error) = spawned {
            tracing::error!(event_type = "thread_missing", %error, "no thread for sampling log ends: watermarks will be held");
        }
        Self {
            shared,
            numbers: AtomicU64::new(0),
        }
    }

    pub(super) fn asker(&self) -> Asker {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let (sender, answers) = channel();
        self.shared.lock().askers.insert(number, sender);
        Asker {
            shared: Arc::clone(&self.shared),
            number,
            answers,
        }
    }
}

impl Drop for Sampler {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.wake.notify_all();
    }
}

// === impl Asker ===

impl Asker {
    pub(super) fn ask(&self, partitions: &[TopicPartition]) {
        let mut asked = self.shared.lock();
        for partition in partitions {
            asked.wanted.entry(partition.clone()).or_default().insert(self.number);
        }
        drop(asked);
        self.shared.wake.notify_one();
    }

    pub(super) fn answers(&self) -> Vec<LogEnd> {
        self.answers.try_iter().collect()
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.shared.lock().askers.remove(&self.number);
    }
}

// === impl Shared ===

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was asked for; `None` when the sampler has ended. Comes back at least once a second.
    fn next(&self, last: Instant) -> Option<BTreeMap<TopicPartition, BTreeSet<u64>>> {
        let mut asked = self.lock();
        let patience = Instant::now() + Duration::from_secs(1);
        loop {
            if asked.ended {
                return None;
            }
            let wait = if asked.wanted.is_empty() {
                patience
            } else {
                last + ROUND
            }
            .saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return Some(std::mem::take(&mut asked.wanted));
            }
            asked = self
                .wake
                .wait_timeout(asked, wait)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}

fn rounds(shared: &Shared, metadata: &BaseConsumer<Quiet>) {
    let mut last = Instant::now();
    let mut silent = Silent::default();
    while let Some(wanted) = shared.next(last) {
        // Serves the client's log lines and errors, which nobody else does.
        serve(metadata);
        let partitions: Vec<&TopicPartition> = wanted.keys().filter(|wanted| !silent.has(&wanted.topic)).collect();
        if partitions.is_empty() {
            continue;
        }
        last = Instant::now();
        for (partition, end, sampled_at) in sample(metadata, &partitions, &mut silent) {
            let asked = shared.lock();
            let numbers = wanted.get(&partition).into_iter().flatten();
            for asker in numbers.filter_map(|number| asked.askers.get(number)) {
                // An asker that went away needs no answer.
                let _ = asker.send((partition.clone(), end, sampled_at));
            }
        }
    }
}

/// Topics that did not answer alone, and when: left out for a while, so that they do not hold up the others.
#[derive(Default)]
struct Silent(HashMap<String, Instant>);

// === impl Silent ===

impl Silent {
    fn has(&self, topic: &str) -> bool {
        self.0.get(topic).is_some_and(|since| since.elapsed() < SILENCE)
    }
}

fn sample(metadata: &BaseConsumer<Quiet>, partitions: &[&TopicPartition], silent: &mut Silent) -> Vec<LogEnd> {
    if let Some(ends) = ask(metadata, partitions, CALL) {
        return ends;
    }
    let mut ends = Vec::new();
    for topic in partitions.chunk_by(|a, b| a.topic == b.topic) {
        match ask(metadata, topic, CALL / 3) {
            Some(answered) => ends.extend(answered),
            None => drop(silent.0.insert(topic[0].topic.clone(), Instant::now())),
        }
    }
    ends
}

/// One batch; `None` where it failed as a whole.
pub(super) fn ask(
    metadata: &BaseConsumer<Quiet>,
    partitions: &[&TopicPartition],
    wait: Duration,
) -> Option<Vec<LogEnd>> {
    let sampled_at = wall_time();
    let question = list(partitions.iter().map(|partition| (*partition, Offset::End)));
    let answer = match metadata.offsets_for_times(question, wait) {
        Ok(answer) => answer,
        Err(error) => {
            tracing::debug!(event_type = "log_ends_unknown", %error, partitions = partitions.len(), "log ends were not answered");
            return None;
        }
    };
    let answered = sys::entries(&answer)
        .into_iter()
        .filter(|entry| entry.error.is_none() && entry.offset >= 0);
    Some(
        answered
            .map(|entry| (entry.partition, entry.offset, sampled_at))
            .collect(),
    )
}
