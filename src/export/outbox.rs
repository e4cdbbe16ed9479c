//! The loop of the export stage: outbox, lanes, commits.
//!
//! Rule: a record of the outbox is sent until there is a verdict; then its offset goes into a transaction together with dead
//! letters of what was refused for good. At most one transaction every [`COMMIT_EVERY`]; one lane per partition; within a
//! partition strictly in order.
//!
//! Edges:
//! - reading starts at the committed offset, without one at the log's start; where retention was faster the gap is counted
//!   and reading goes on at the log's start;
//! - the reader's position is committed where everything before it is done, so that control records leave no lag;
//! - an aborted transaction is put together again from what this instance still owns; nothing is committed for a partition
//!   that was lost, and nothing without membership in the group;
//! - a producer that is spent is renewed, and every partition starts again at its committed offset: what was sent since is
//!   sent again, the same bytes;
//! - at a revocation what is done is committed first; a request in flight is cut off, and its next owner sends it again;
//! - at the end ([`Control::drain`]) nothing new is read, what was read is sent until the deadline, the rest stays.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::lane::{Done, Lane};
use super::outage::Outage;
use super::parts::Carried;
use super::producer::Producer;
use super::sender::SendRequest;
use super::stats::ExportStats;
use super::track::Track;
use crate::engine::task::PartitionCounts;
use crate::runtime::clock::wall_time;
use crate::runtime::log::{Change, Log, LogError, Notice, TopicPartition};

/// The shortest time between two transactions.
pub(super) const COMMIT_EVERY: Duration = Duration::from_millis(200);

/// How long a position that moved over control records alone waits for company in a commit.
const COMMIT_MARKERS_EVERY: Duration = Duration::from_secs(1);

const SAMPLE_LAG_EVERY: Duration = Duration::from_secs(1);

/// How long the log may keep the loop from looking at what lanes are done with.
const POLL_WAIT: Duration = Duration::from_millis(20);

/// How long the last commit may take beyond the deadline of a drain.
const LAST_COMMIT_WAIT: Duration = Duration::from_secs(5);

/// What the loop is to do.
pub struct OutboxConfig {
    /// For messages.
    pub application: String,
    pub carries: Carried,
    pub outbox_topic: String,
    pub dead_letter_topic: String,
    /// Dead letters of outbox partition p go to partition p modulo this.
    pub dead_letter_partitions: u32,
    pub sender: Arc<dyn SendRequest>,
    pub stats: Arc<ExportStats>,
}

/// How others end the loop.
#[derive(Debug, Default)]
pub struct Control {
    stop: AtomicBool,
    deadline: Mutex<Option<Instant>>,
    /// The loop ended because another process took its name.
    fenced: AtomicBool,
}

/// The loop's own state.
pub(super) struct Outbox {
    pub(super) config: OutboxConfig,
    pub(super) log: Box<dyn Log + Send>,
    control: Arc<Control>,
    runtime: Runtime,
    /// By partition of the outbox topic.
    pub(super) tracks: BTreeMap<u32, Track>,
    /// What the group decided and was not answered yet, oldest first.
    changes: VecDeque<Change>,
    /// Partitions whose position lies outside of the log.
    out_of_range: BTreeSet<u32>,
    done: UnboundedReceiver<Done>,
    /// For the lanes.
    report: UnboundedSender<Done>,
    outage: Arc<Outage>,
    next_lane: u64,
    pub(super) producer: Producer,
    pub(super) last_commit: Instant,
    /// Partitions of topics that get records, and when that was asked.
    pub(super) counts: (PartitionCounts, Option<Instant>),
    last_sample: Option<Instant>,
}

/// Runs the loop on a thread of its own until it is drained. The error is for a person and means that the stage ended by
/// itself: another process took its name, or the log refuses what can never succeed.
pub fn spawn(config: OutboxConfig, log: Box<dyn Log + Send>, control: Arc<Control>) -> JoinHandle<Result<(), String>> {
    std::thread::Builder::new()
        .name(config.carries.worker().into())
        .spawn(move || Outbox::new(config, log, control)?.run())
        .expect("the system can start a thread")
}

// === impl Control ===

impl Control {
    /// Ends the loop: what was read is still sent for at most `patience`.
    pub fn drain(&self, patience: Duration) {
        *self.deadline.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some(Instant::now() + patience);
        self.stop.store(true, Ordering::Release);
    }

    /// Whether the loop ended because another process took its name.
    pub fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire)
    }

    fn deadline(&self) -> Option<Instant> {
        if !self.stop.load(Ordering::Acquire) {
            return None;
        }
        *self.deadline.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

// === impl Outbox ===

impl Outbox {
    fn new(config: OutboxConfig, log: Box<dyn Log + Send>, control: Arc<Control>) -> Result<Outbox, String> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("export-send")
            .enable_all()
            .build()
            .map_err(|error| format!("cannot start the threads that send: {error}"))?;
        let (report, done) = unbounded_channel();
        Ok(Outbox {
            config,
            log,
            control,
            runtime,
            tracks: BTreeMap::new(),
            changes: VecDeque::new(),
            out_of_range: BTreeSet::new(),
            done,
            report,
            outage: Arc::default(),
            next_lane: 0,
            producer: Producer::Starting,
            last_commit: Instant::now(),
            counts: (PartitionCounts::new(), None),
            last_sample: None,
        })
    }

    fn run(mut self) -> Result<(), String> {
        let worker = self.config.carries.worker();
        let result = self.turns();
        self.tracks.clear();
        self.log.close();
        self.runtime.shutdown_background();
        result.map_err(|error| format!("{worker} of {}: {error}", self.config.application))
    }

    fn turns(&mut self) -> Result<(), String> {
        let topic = [self.config.outbox_topic.clone()];
        while self
            .passing(|outbox| outbox.log.subscribe(&topic).map(|()| None))?
            .is_some()
        {
            if self.control.deadline().is_some() {
                return Ok(());
            }
            std::thread::sleep(POLL_WAIT);
        }
        loop {
            self.take_done()?;
            self.take_notices();
            self.passing(Outbox::go_on_after_gaps)?;
            self.answer_changes()?;
            self.passing(Outbox::step_producer)?;
            self.passing(Outbox::pause_and_resume)?;
            self.sample_lag();
            if self.is_drained() {
                return Ok(());
            }
            self.passing(Outbox::poll)?;
        }
    }

    /// Sorts errors: passing ones are left to the next turn (`Some(())`), a spent producer is renewed, others end the loop.
    fn passing(
        &mut self,
        step: impl FnOnce(&mut Outbox) -> Result<Option<()>, LogError>,
    ) -> Result<Option<()>, String> {
        match step(self) {
            Ok(again) => Ok(again),
            Err(LogError::Retry(message) | LogError::Abort(message)) => {
                tracing::debug!(event_type = "export_retry", "asked again: {message}");
                Ok(Some(()))
            }
            Err(LogError::Fatal(message)) => {
                self.producer_is_spent(&message);
                Ok(Some(()))
            }
            Err(LogError::Fenced(message)) => {
                self.control.fenced.store(true, Ordering::Release);
                Err(message)
            }
            Err(LogError::Refused(message)) => Err(message),
        }
    }

    // --- records ---

    fn poll(&mut self) -> Result<Option<()>, LogError> {
        let topic = &self.config.outbox_topic;
        let tracks = &mut self.tracks;
        let most = super::track::MOST_RECORDS * 4;
        self.log.poll(POLL_WAIT, most, &mut |of_topic, partition, record| {
            let Some(track) = tracks.get_mut(&partition).filter(|_| of_topic == topic) else {
                return true;
            };
            track.push(record.offset, record.value.unwrap_or_default());
            !track.is_full()
        })?;
        Ok(None)
    }

    fn take_done(&mut self) -> Result<(), String> {
        while let Ok(done) = self.done.try_recv() {
            if let Some(track) = self
                .tracks
                .get_mut(&done.partition)
                .filter(|track| track.lane == done.lane)
            {
                track.settle(done);
            }
        }
        match self.tracks.iter().find(|(_, track)| track.is_broken()) {
            Some((partition, _)) => Err(format!("the sender of outbox partition {partition} broke down")),
            None => Ok(()),
        }
    }

    fn pause_and_resume(&mut self) -> Result<Option<()>, LogError> {
        let draining = self.control.deadline().is_some();
        let pick = |wanted: &dyn Fn(&Track) -> bool| -> Vec<u32> {
            self.tracks
                .iter()
                .filter(|(_, track)| wanted(track))
                .map(|(partition, _)| *partition)
                .collect()
        };
        let pause = pick(&|track| !track.paused && (draining || track.is_full()));
        let resume = pick(&|track| track.paused && !draining && track.has_room());
        if !pause.is_empty() {
            self.log.pause(&self.of_outbox(&pause))?;
            self.each(&pause, |track| track.paused = true);
        }
        if !resume.is_empty() {
            self.log.resume(&self.of_outbox(&resume))?;
            self.each(&resume, |track| track.paused = false);
        }
        Ok(None)
    }

    fn take_notices(&mut self) {
        for notice in self.log.notices() {
            match notice {
                Notice::OutOfRange(at) => {
                    self.out_of_range.insert(at.partition);
                }
                Notice::UnknownTopic(topic) => {
                    tracing::warn!(event_type = "topic_missing", "the topic {topic} does not exist yet")
                }
                Notice::Trouble(message) => tracing::warn!(event_type = "kafka_trouble", "{message}"),
            }
        }
    }

    /// Retention was faster: go on where the log starts now.
    fn go_on_after_gaps(&mut self) -> Result<Option<()>, LogError> {
        while let Some(&partition) = self.out_of_range.first() {
            let at = self.at(partition);
            if let Some(track) = self.tracks.get_mut(&partition) {
                let start = self.log.log_start(&at)?;
                self.log.seek(&[(at, start)])?;
                let lost = u64::try_from(start - track.delivered).unwrap_or(0);
                self.config.stats.gap(lost);
                tracing::error!(
                    event_type = "outbox_gap",
                    partition,
                    lost,
                    "the outbox no longer holds the records from {} on; export goes on at {start}",
                    track.delivered
                );
                track.delivered = start;
                if track.is_idle() {
                    track.settled = start;
                }
            }
            self.out_of_range.remove(&partition);
        }
        Ok(None)
    }

    fn sample_lag(&mut self) {
        for (at, end, _) in self.log.log_ends() {
            if let Some(track) = self.tracks.get_mut(&at.partition) {
                track.end = Some(end);
            }
        }
        let lag = self.tracks.values().map(Track::lag).sum();
        self.config.stats.lag(lag, wall_time());
        if self.last_sample.is_none_or(|at| at.elapsed() >= SAMPLE_LAG_EVERY) && !self.tracks.is_empty() {
            let partitions: Vec<u32> = self.tracks.keys().copied().collect();
            self.log.sample_log_ends(&self.of_outbox(&partitions));
            self.last_sample = Some(Instant::now());
        }
    }

    // --- the group ---

    fn answer_changes(&mut self) -> Result<(), String> {
        let news = self.log.changes();
        for lost in news.iter().filter_map(|change| match change {
            Change::Lost(lost) => Some(lost),
            _ => None,
        }) {
            // At once, so that nothing of them is committed while older changes wait for their answers.
            self.forget(lost);
        }
        self.changes.extend(news);
        while let Some(change) = self.changes.front().cloned() {
            let wait = self.passing(|outbox| match &change {
                Change::Assigned(partitions) => outbox.open(partitions),
                Change::Revoked(partitions) => outbox.hand_over(partitions),
                Change::Lost(partitions) => {
                    outbox.forget(partitions);
                    outbox.log.unassign(partitions).map(|()| None)
                }
            })?;
            if wait.is_some() {
                return Ok(());
            }
            self.changes.pop_front();
        }
        Ok(())
    }

    fn open(&mut self, partitions: &[TopicPartition]) -> Result<Option<()>, LogError> {
        let starts = self.starts(partitions)?;
        let draining = self.control.deadline().is_some();
        self.log.assign(&starts, draining)?;
        for (at, offset) in starts {
            let track = self.start_track(at.partition, offset, draining);
            self.tracks.insert(at.partition, track);
        }
        Ok(None)
    }

    /// Where reading starts: the committed offset, or the log's start.
    pub(super) fn starts(&mut self, partitions: &[TopicPartition]) -> Result<Vec<(TopicPartition, i64)>, LogError> {
        let committed = if partitions.is_empty() {
            Vec::new()
        } else {
            self.log.committed(partitions)?
        };
        let mut starts = Vec::with_capacity(partitions.len());
        for (at, committed) in partitions.iter().zip(committed) {
            let offset = match committed {
                Some(committed) => committed.offset,
                None => self.log.log_start(at)?,
            };
            starts.push((at.clone(), offset));
        }
        Ok(starts)
    }

    pub(super) fn start_track(&mut self, partition: u32, offset: i64, paused: bool) -> Track {
        self.next_lane += 1;
        let lane = Lane {
            id: self.next_lane,
            partition,
            carries: self.config.carries,
            sender: Arc::clone(&self.config.sender),
            stats: Arc::clone(&self.config.stats),
            // Receivers are away one by one, the collector for all.
            outage: match self.config.carries {
                Carried::Otlp(_) => Arc::clone(&self.outage),
                Carried::Notifications => Arc::default(),
            },
        };
        Track::start(self.runtime.handle(), lane, self.report.clone(), offset, paused)
    }

    /// Gives partitions back once everything that is done is committed.
    fn hand_over(&mut self, partitions: &[TopicPartition]) -> Result<Option<()>, LogError> {
        let mut waits = false;
        for at in partitions {
            if let Some(track) = self.tracks.get_mut(&at.partition) {
                track.close();
                waits |= track.has_uncommitted();
            }
        }
        if waits {
            return Ok(Some(()));
        }
        self.log.unassign(partitions)?;
        self.forget(partitions);
        Ok(None)
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        for at in partitions {
            self.tracks.remove(&at.partition);
            self.config.stats.unassigned(at.partition);
        }
    }

    /// Whether somebody waits for a commit: it is not put off then.
    pub(super) fn is_commit_urgent(&self) -> bool {
        matches!(self.changes.front(), Some(Change::Revoked(_))) || self.control.deadline().is_some()
    }

    /// Whether positions that moved over control records alone are worth a commit.
    pub(super) fn are_markers_due(&self) -> bool {
        self.last_commit.elapsed() >= COMMIT_MARKERS_EVERY
    }

    // --- the end ---

    fn is_drained(&mut self) -> bool {
        let Some(deadline) = self.control.deadline() else {
            return false;
        };
        let now = Instant::now();
        if now >= deadline {
            self.tracks.values_mut().for_each(Track::close);
        }
        let settled = self
            .tracks
            .values()
            .all(|track| track.is_idle() && !track.has_uncommitted());
        settled && self.producer.is_at_rest() || now >= deadline + LAST_COMMIT_WAIT
    }

    // --- helpers ---

    pub(super) fn at(&self, partition: u32) -> TopicPartition {
        TopicPartition {
            topic: self.config.outbox_topic.clone(),
            partition,
        }
    }

    pub(super) fn of_outbox(&self, partitions: &[u32]) -> Vec<TopicPartition> {
        partitions.iter().map(|partition| self.at(*partition)).collect()
    }

    fn each(&mut self, partitions: &[u32], change: impl Fn(&mut Track)) {
        partitions.iter().for_each(|partition| {
            if let Some(track) = self.tracks.get_mut(partition) {
                change(track);
            }
        });
    }
}
