//! Kills a worker every few seconds, and watches how long the others do without it.
//!
//! Rule: who, when and how comes from the seed. Two ways in turn: a process that dies and is started again at once under
//! its name, and a machine that is lost for a while, so that its session ends and others take its partitions.
//!
//! Edges:
//! - one death at a time: the next one waits until the last victim has committed again;
//! - a moment that does not come within a second (an idle worker sends nothing) becomes the next poll;
//! - now and then the receiver refuses a few requests, too;
//! - recovered is who has committed again, not who has started again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::crew::Hand;
use super::death::{Death, Moment};
use super::simulator::Random;
use crate::cli::workers::Running;
use crate::export::receiver::Receiver;
use crate::export::stats::ExportStats;
use crate::memory::Cluster;
use crate::runtime::stats::Stats;

/// Milliseconds from a recovery to the next death.
const EVERY: (i64, i64) = (1_000, 3_000);
const FIRST_AFTER: Duration = Duration::from_secs(1);
/// How long a lost machine is gone.
const LOST_FOR: Duration = Duration::from_millis(1_500);
/// When the session of a lost machine ends: six seconds in production.
const SESSION_ENDS_AFTER: Duration = Duration::from_millis(300);
const MOMENT_COMES_WITHIN: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What happened so far.
#[derive(Clone, Debug, Default)]
pub struct Kills {
    pub count: u64,
    pub last: Option<Kill>,
    /// From the death to the next commit, milliseconds.
    pub recoveries: Vec<u64>,
}

#[derive(Clone, Debug)]
pub struct Kill {
    pub name: String,
    pub moment: Moment,
    /// The machine was gone for a while, and its partitions went to others.
    pub lost: bool,
    pub at: Instant,
    pub recovered_after: Option<Duration>,
}

/// See the module.
pub struct Chaos {
    pub cluster: Cluster,
    pub hands: Vec<Hand>,
    pub stats: Stats,
    /// Of the exporters, by name.
    pub exports: BTreeMap<String, Arc<ExportStats>>,
    pub receiver: Arc<Receiver>,
    pub running: Running,
    pub death: Death,
    pub kills: Arc<Mutex<Kills>>,
    pub random: Random,
}

// === impl Kills ===

impl Kills {
    /// Milliseconds from a death to the next commit, in the middle of all.
    pub fn median_recovery(&self) -> Option<u64> {
        let mut recoveries = self.recoveries.clone();
        recoveries.sort_unstable();
        recoveries.get(recoveries.len() / 2).copied()
    }
}

// === impl Kill ===

impl Kill {
    /// `tap-1 killed before its commit 2.1 s ago, restarted, back after 240 ms`
    pub fn words(&self) -> String {
        let how = if self.lost { "machine lost" } else { "restarted" };
        let ago = self.at.elapsed().as_secs_f64();
        let again = match self.recovered_after {
            Some(after) => format!("back after {} ms", after.as_millis()),
            None => "not yet back".to_owned(),
        };
        format!(
            "{} killed {} {ago:.1} s ago, {how}, {again}",
            self.name,
            self.moment.words()
        )
    }
}

// === impl Chaos ===

impl Chaos {
    /// Runs until `over` says so; leaves nobody dead.
    pub fn spawn(mut self, over: Running) -> std::io::Result<JoinHandle<()>> {
        self.cluster.inject(Some(Box::new(self.death.clone())));
        std::thread::Builder::new().name("chaos".into()).spawn(move || {
            let mut pause = FIRST_AFTER;
            while self.lives_through(pause, &over) {
                self.kill_somebody();
                pause = Duration::from_millis(self.random.between(EVERY.0, EVERY.1) as u64);
            }
            self.death.call_off();
            self.cluster.inject(None);
        })
    }

    /// `false` when it is over.
    fn lives_through(&self, pause: Duration, over: &Running) -> bool {
        let until = Instant::now() + pause;
        while Instant::now() < until {
            if over.is_stopping() || self.running.is_stopping() {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        true
    }

    fn kill_somebody(&mut self) {
        if self.random.below(3) == 0 {
            self.receiver.refuse_next(self.random.between(1, 6) as u64);
        }
        let victim = self.hands[self.random.below(self.hands.len() as u64) as usize].clone();
        let lost = self.random.below(3) == 0;
        let mut moment = self.random.one_of(&Moment::ALL);
        let (deaths, _) = victim.deaths();
        victim.rest_in_death(if lost { LOST_FOR } else { Duration::ZERO });
        self.death.await_at(&victim.client.transactional_id, moment);
        let has_died = |victim: &Hand| victim.deaths().0 > deaths;
        if !self.wait(MOMENT_COMES_WITHIN, || has_died(&victim)) {
            moment = Moment::Polling;
            self.death.await_at(&victim.client.transactional_id, moment);
            if !self.wait(MOMENT_COMES_WITHIN, || has_died(&victim)) {
                return self.death.call_off();
            }
        }
        let at = victim.deaths().1.unwrap_or_else(Instant::now);
        let committed = self.committed(&victim.name);
        {
            let mut kills = self.kills();
            kills.count += 1;
            kills.last = Some(Kill {
                name: victim.name.clone(),
                moment,
                lost,
                at,
                recovered_after: None,
            });
        }
        if lost {
            std::thread::sleep(SESSION_ENDS_AFTER);
            self.end_session(&victim);
        }
        if self.wait(Duration::from_secs(10), || self.committed(&victim.name) > committed) {
            let took = at.elapsed();
            let mut kills = self.kills();
            kills.recoveries.push(took.as_millis() as u64);
            if let Some(last) = &mut kills.last {
                last.recovered_after = Some(took);
            }
        }
    }

    /// Transactions that were committed under this name.
    fn committed(&self, name: &str) -> u64 {
        match self.exports.get(name) {
            Some(export) => export.snapshot().commits,
            None => self
                .stats
                .lock()
                .workers
                .get(name)
                .map_or(0, |numbers| numbers.committed),
        }
    }

    fn end_session(&self, victim: &Hand) {
        let group = self.cluster.group(&victim.client.group);
        let members = group.map(|group| group.members).unwrap_or_default();
        for member in members
            .iter()
            .filter(|member| member.instance == victim.client.instance)
        {
            self.cluster.expire_member(&victim.client.group, member.id);
        }
    }

    fn wait(&self, patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
        let until = Instant::now() + patience;
        while !is_so() {
            if Instant::now() >= until || self.running.is_stopping() {
                return false;
            }
            std::thread::sleep(LOOK_EVERY);
        }
        true
    }

    fn kills(&self) -> std::sync::MutexGuard<'_, Kills> {
        self.kills.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
