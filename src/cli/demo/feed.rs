//! The simulated services at work: writes what the simulator says when its time has come, and keeps account of it.
//!
//! Rule: what is written is in the account before it is in the log, so no total can be ahead of the account but by an error.
//!
//! Edges:
//! - while the pipeline is more than [`MOST_BEHIND`] records behind, the services wait: memory stays bounded on a slow
//!   machine, and nothing is lost;
//! - after such a wait, or where this machine cannot write fast enough, simulated time stands still meanwhile, so no record
//!   is late for that: what is joined must not be.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::expected::{Expected, Totals};
use super::joined::Bounds;
use super::simulator::{Simulated, Simulator, Topic};
use crate::engine::time::{Span, WallTime};
use crate::memory::{Cluster, ClusterError, RecordBatch};

/// Records that are written and not committed by the taps: about 100 MB of them.
const MOST_BEHIND: i64 = 200_000;
/// Time between two rounds of writing.
const ROUND: Duration = Duration::from_millis(10);
const MOST_PER_ROUND: usize = 20_000;
/// Further behind the clock than this, simulated time stands still.
const MOST_LATE: Span = Span::millis(500);

/// Shared between the writing thread and those who look.
#[derive(Clone)]
pub struct Feed(Arc<State>);

struct State {
    stop: AtomicBool,
    /// Set by whoever watches the group: records not committed yet.
    behind: AtomicI64,
    waits: AtomicBool,
    hour: AtomicU32,
    expected: Mutex<Expected>,
    failure: Mutex<Option<ClusterError>>,
}

// === impl Feed ===

impl Feed {
    /// Nothing is written yet.
    pub fn new(bounds: Bounds) -> Self {
        Self(Arc::new(State {
            stop: AtomicBool::default(),
            behind: AtomicI64::default(),
            waits: AtomicBool::default(),
            hour: AtomicU32::default(),
            expected: Mutex::new(Expected::new(bounds)),
            failure: Mutex::default(),
        }))
    }

    pub fn spawn(&self, simulator: Simulator, cluster: Cluster) -> std::io::Result<JoinHandle<()>> {
        let feed = self.clone();
        std::thread::Builder::new().name("services".into()).spawn(move || {
            if let Err(error) = feed.write(simulator, &cluster) {
                *feed.0.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            }
        })
    }

    /// No more records.
    pub fn stop(&self) {
        self.0.stop.store(true, Ordering::SeqCst);
    }

    /// How many records the taps have not committed yet.
    pub fn behind(&self, records: i64) {
        self.0.behind.store(records, Ordering::Relaxed);
    }

    /// Whether the services wait for the pipeline.
    pub fn waits(&self) -> bool {
        self.0.waits.load(Ordering::Relaxed)
    }

    /// The simulated hour of the day.
    pub fn hour(&self) -> u32 {
        self.0.hour.load(Ordering::Relaxed)
    }

    /// What was written so far.
    pub fn expected(&self) -> Expected {
        self.account().clone()
    }

    /// How many records were written so far, and what they add up to.
    pub fn totals(&self) -> (u64, Totals) {
        let account = self.account();
        (account.records(), account.totals())
    }

    pub fn failure(&self) -> Option<String> {
        self.0
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map(ToString::to_string)
    }

    fn account(&self) -> MutexGuard<'_, Expected> {
        self.0.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, mut simulator: Simulator, cluster: &Cluster) -> Result<(), ClusterError> {
        let mut batches = Batches::default();
        while !self.0.stop.load(Ordering::SeqCst) {
            let now = cluster.now();
            let waits = self.0.behind.load(Ordering::Relaxed) > MOST_BEHIND;
            self.0.waits.store(waits, Ordering::Relaxed);
            self.0
                .hour
                .store(simulator.hour(simulator.next_at()), Ordering::Relaxed);
            let mut taken = 0;
            let mut account = self.account();
            if !waits {
                let late = now.since(simulator.next_at());
                if late > MOST_LATE {
                    simulator.stand_still(late);
                }
                while taken < MOST_PER_ROUND && simulator.next_at() <= now {
                    let Some(record) = simulator.next() else { break };
                    account.wrote(&record);
                    batches.push(&record);
                    taken += 1;
                }
            }
            // The next one is written as it is due, or, once it is later than that, from then on.
            let next = simulator
                .next_at()
                .max(WallTime(now.0 - MOST_LATE.as_micros()))
                .min(now);
            account.passed(simulator.earliest_at(next).back(Span::micros(1)));
            drop(account);
            batches.write(cluster)?;
            if taken < MOST_PER_ROUND {
                std::thread::sleep(ROUND);
            }
        }
        self.account().end();
        Ok(())
    }
}

/// Records of one round, by topic and partition.
#[derive(Default)]
struct Batches(Vec<Vec<RecordBatch>>);

// === impl Batches ===

impl Batches {
    fn push(&mut self, record: &Simulated) {
        let (topic, partition) = (record.topic as usize, record.partition as usize);
        if self.0.is_empty() {
            self.0.resize_with(Topic::ALL.len(), Vec::new);
        }
        let of_topic = &mut self.0[topic];
        if of_topic.len() <= partition {
            of_topic.resize_with(partition + 1, RecordBatch::new);
        }
        let headers: Vec<(&str, &str)> = record
            .headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        of_topic[partition].push_with_headers(record.key.as_deref(), record.value.as_deref(), record.at, &headers);
    }

    fn write(&mut self, cluster: &Cluster) -> Result<(), ClusterError> {
        for (topic, of_topic) in Topic::ALL.into_iter().zip(&mut self.0) {
            for (partition, batch) in (0..).zip(of_topic.iter_mut()) {
                if !batch.is_empty() {
                    cluster.produce_batch(topic.name(), partition, std::mem::take(batch))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::simulator::SimulatorOptions;
    use super::*;
    use crate::memory::{ClusterClock, TopicOptions};

    #[test]
    fn services_that_waited_go_on_from_now() {
        let cluster = Cluster::new(ClusterClock::Real);
        for topic in Topic::ALL {
            cluster
                .create_topic(topic.name(), 6, TopicOptions::default())
                .expect("a new cluster has no topics");
        }
        let options = SimulatorOptions {
            rate: 5_000,
            ..SimulatorOptions::at(cluster.now().as_event())
        };
        let bounds = Bounds {
            within: Span::seconds(5),
            forget: Span::seconds(10),
            skew: Span::seconds(1),
            look_back: Span::seconds(60),
        };
        let feed = Feed::new(bounds);
        feed.behind(MOST_BEHIND + 1);
        let services = feed.spawn(Simulator::new(1, options), cluster).expect("a thread");
        std::thread::sleep(Duration::from_millis(1_000));
        assert_eq!(feed.expected().records(), 0);
        feed.behind(0);
        std::thread::sleep(Duration::from_millis(1_000));
        feed.stop();
        services.join().expect("the services do not panic");
        assert_eq!(feed.failure(), None);
        // A second of the simulated morning: neither nothing, nor what was missed on top.
        let written = feed.expected().records();
        assert!((200..6_000).contains(&written), "{written}");
    }
}
