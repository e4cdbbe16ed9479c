//! How far the outbox loop is with its transactional producer.
//!
//! Rule: one step a turn, none of which waits long. What a transaction holds is written down until its outcome is known.
//!
//! Edges:
//! - anything that fails before the commit aborts the transaction; the next one is put together anew;
//! - the outcome of a commit that is still under way is asked for again; until then nothing else is sent;
//! - after a fatal error lanes are stopped at once, and start again when the new producer stands and the committed offsets
//!   are read.

use std::time::{Duration, Instant};

use super::outbox::{COMMIT_EVERY, Outbox};
use super::verdict::shorten;
use crate::runtime::log::{CommitOffset, LogError, Send};

/// The most of a quarantined piece that goes into a dead letter, in bytes.
const DEAD_LETTER_BYTES: usize = 64 * 1024;

/// Between two questions for topics that are not there.
const COUNT_EVERY: Duration = Duration::from_secs(10);

/// See the module's rule.
pub(super) enum Producer {
    /// No transactions were initialised yet.
    Starting,
    /// A new producer must be made.
    Renewing,
    /// The new producer stands; every partition must start again where it is committed.
    Rereading,
    /// No transaction is open.
    Ready,
    Committing(Vec<Sealed>),
    Aborting,
}

/// What one transaction holds of one partition.
#[derive(Clone, Copy)]
pub(super) struct Sealed {
    partition: u32,
    lane: u64,
    offset: i64,
    dead_letters: usize,
    records: usize,
}

// === impl Producer ===

impl Producer {
    pub fn is_at_rest(&self) -> bool {
        !matches!(self, Producer::Committing(_) | Producer::Aborting)
    }
}

// === impl Outbox ===

impl Outbox {
    /// Does what is next for the producer, if anything.
    pub(super) fn step_producer(&mut self) -> Result<Option<()>, LogError> {
        match &self.producer {
            Producer::Starting => {
                self.log.init_transactions(false)?;
                self.producer = Producer::Ready;
            }
            Producer::Renewing => {
                self.log.init_transactions(true)?;
                self.producer = Producer::Rereading;
            }
            Producer::Rereading => {
                self.start_again()?;
                self.producer = Producer::Ready;
            }
            Producer::Ready => self.seal()?,
            Producer::Committing(_) => self.commit()?,
            Producer::Aborting => {
                self.log.abort()?;
                self.config.stats.aborted();
                self.producer = Producer::Ready;
            }
        }
        Ok(None)
    }

    /// Everything since the last commit may or may not be committed: forget it, and read what is.
    pub(super) fn producer_is_spent(&mut self, message: &str) {
        self.config.stats.renewed();
        tracing::warn!(
            event_type = "producer_renewed",
            "the producer is renewed, and what was not committed is sent again: {message}"
        );
        for track in self.tracks.values_mut() {
            track.close();
            track.dead.clear();
            track.beside.clear();
            track.settled = track.committed;
        }
        self.producer = Producer::Renewing;
    }

    fn start_again(&mut self) -> Result<(), LogError> {
        let partitions: Vec<u32> = self.tracks.keys().copied().collect();
        let starts = self.starts(&self.of_outbox(&partitions))?;
        if !starts.is_empty() {
            self.log.seek(&starts)?;
        }
        for (at, offset) in starts {
            let paused = self.tracks.get(&at.partition).is_some_and(|track| track.paused);
            let track = self.start_track(at.partition, offset, paused);
            self.tracks.insert(at.partition, track);
        }
        Ok(())
    }

    /// Opens a transaction with everything that is done, where it is time.
    fn seal(&mut self) -> Result<(), LogError> {
        let is_time = self.last_commit.elapsed() >= COMMIT_EVERY || self.is_commit_urgent();
        if !is_time || !self.log.is_member() {
            return Ok(());
        }
        let sealed = self.sealed()?;
        if sealed.is_empty() {
            return Ok(());
        }
        self.log.begin()?;
        match self.write(&sealed) {
            Ok(()) => {
                self.producer = Producer::Committing(sealed);
                self.commit()
            }
            Err(error) => self.abort_after(error),
        }
    }

    /// What can be committed now. The reader's position takes the place of the last record's where nothing lies between, so
    /// that control records leave no lag.
    fn sealed(&mut self) -> Result<Vec<Sealed>, LogError> {
        let any = self.tracks.values().any(|track| track.has_uncommitted());
        if !any && !self.are_markers_due() {
            return Ok(Vec::new());
        }
        let caught_up: Vec<u32> = self
            .tracks
            .iter()
            .filter(|(_, track)| track.is_caught_up())
            .map(|(partition, _)| *partition)
            .collect();
        let positions = match caught_up.is_empty() {
            true => Vec::new(),
            false => self.log.positions(&self.of_outbox(&caught_up))?,
        };
        for (partition, position) in caught_up.iter().zip(positions) {
            if let (Some(track), Some(position)) = (self.tracks.get_mut(partition), position) {
                track.settled = track.settled.max(position);
                track.delivered = track.delivered.max(position);
            }
        }
        if !any {
            self.last_commit = Instant::now();
        }
        self.count_partitions()?;
        let counts = &self.counts.0;
        let of_tracks = self.tracks.iter().filter(|(_, track)| {
            // One whose topic is not there waits, and no other.
            track.has_uncommitted() && track.beside.iter().all(|(_, topic, _)| counts.contains_key(topic))
        });
        Ok(of_tracks
            .map(|(partition, track)| Sealed {
                partition: *partition,
                lane: track.lane,
                offset: track.settled,
                dead_letters: track.dead.len(),
                records: track.beside.len(),
            })
            .collect())
    }

    /// Asks for the partitions of topics that records are to be written to.
    fn count_partitions(&mut self) -> Result<(), LogError> {
        let wanted = self.tracks.values().flat_map(|track| &track.beside);
        let mut topics: Vec<String> = wanted.map(|(_, topic, _)| topic.clone()).collect();
        topics.sort_unstable();
        topics.dedup();
        let (counts, asked) = &mut self.counts;
        let is_known = topics.iter().all(|topic| counts.contains_key(topic));
        if topics.is_empty() || is_known || asked.is_some_and(|at| at.elapsed() < COUNT_EVERY) {
            return Ok(());
        }
        *asked = Some(Instant::now());
        *counts = self.log.partition_counts(&topics)?;
        for topic in topics.iter().filter(|topic| !counts.contains_key(*topic)) {
            tracing::warn!(
                event_type = "topic_missing",
                "the topic {topic} that alerts are to be written to does not exist; they wait for it"
            );
        }
        Ok(())
    }

    fn write(&mut self, sealed: &[Sealed]) -> Result<(), LogError> {
        for part in sealed {
            let Some(track) = self.tracks.get(&part.partition) else {
                continue;
            };
            for (offset, topic, value) in &track.beside {
                let count = self.counts.0.get(topic).copied().unwrap_or(1);
                self.log.send(Send {
                    topic,
                    partition: u32::try_from(offset.rem_euclid(i64::from(count.max(1)))).unwrap_or(0),
                    key: None,
                    value: Some(value),
                    headers: &[],
                })?;
            }
            let partition = part.partition.to_string();
            for (offset, piece) in &track.dead {
                let headers = [
                    ("outcome", "refused"),
                    ("reason", &shorten(&piece.reason)),
                    ("topic", self.config.outbox_topic.as_str()),
                    ("partition", &partition),
                    ("offset", &offset.to_string()),
                    ("points", &piece.points.to_string()),
                ];
                self.log.send(Send {
                    topic: &self.config.dead_letter_topic,
                    partition: part.partition % self.config.dead_letter_partitions.max(1),
                    key: None,
                    value: Some(&piece.request[..piece.request.len().min(DEAD_LETTER_BYTES)]),
                    headers: &headers,
                })?;
            }
        }
        let offsets: Vec<CommitOffset> = sealed
            .iter()
            .map(|part| CommitOffset {
                partition: self.at(part.partition),
                offset: part.offset,
                metadata: String::new(),
            })
            .collect();
        self.log.send_offsets(&offsets)
    }

    fn commit(&mut self) -> Result<(), LogError> {
        match self.log.commit() {
            Ok(()) => {
                self.last_commit = Instant::now();
                if let Producer::Committing(sealed) = std::mem::replace(&mut self.producer, Producer::Ready) {
                    let dead_letters: usize = sealed.iter().map(|part| part.dead_letters).sum();
                    self.config.stats.committed(dead_letters as u64);
                    sealed.into_iter().for_each(|part| self.is_committed(part));
                }
                Ok(())
            }
            Err(LogError::Retry(message)) => Err(LogError::Retry(message)),
            Err(error) => self.abort_after(error),
        }
    }

    /// Gives the transaction up where that is what the error asks for; other errors go on to the loop.
    fn abort_after(&mut self, error: LogError) -> Result<(), LogError> {
        match error {
            LogError::Retry(message) | LogError::Abort(message) => {
                tracing::info!(
                    event_type = "transaction_retried",
                    "a transaction is put together again: {message}"
                );
                self.producer = Producer::Aborting;
                self.last_commit = Instant::now();
                Ok(())
            }
            error => Err(error),
        }
    }

    fn is_committed(&mut self, part: Sealed) {
        if let Some(track) = self
            .tracks
            .get_mut(&part.partition)
            .filter(|track| track.lane == part.lane)
        {
            track.committed = part.offset;
            track.dead.drain(..part.dead_letters);
            track.beside.drain(..part.records);
        }
    }
}
