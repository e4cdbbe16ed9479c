//! Threads that run workers until they are told to stop.
//!
//! Rule: one thread a worker. The first one that fails stops the process: a stage that silently stands still would make
//! the others lie.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::application::WorkerSetup;
use crate::runtime::clock::wall_time;
use crate::runtime::log::Connect;
use crate::runtime::stats::Stats;
use crate::runtime::{Stop, Worker};

/// Longest wait of one step: how late a worker may notice that it should stop.
const LONGEST_WAIT: Duration = Duration::from_millis(100);

/// Shared by all threads of a process: whether to go on, and why not.
#[derive(Clone, Default)]
pub struct Running(Arc<State>);

#[derive(Default)]
struct State {
    stopping: AtomicBool,
    failure: Mutex<Option<(String, Stop)>>,
}

// === impl Running ===

impl Running {
    pub fn stop(&self) {
        self.0.stopping.store(true, Ordering::SeqCst);
    }

    pub fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::SeqCst)
    }

    /// Keeps the first failure and stops everything.
    pub fn fail(&self, worker: &str, stop: Stop) {
        self.0
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert((worker.to_owned(), stop));
        self.stop();
    }

    pub fn failure(&self) -> Option<(String, Stop)> {
        self.0.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Runs one worker on a thread of its own; a clean stop drains it.
pub fn spawn(
    setup: WorkerSetup,
    connect: Arc<dyn Connect>,
    stats: Stats,
    running: Running,
) -> std::io::Result<JoinHandle<()>> {
    let name = setup.options.name.clone();
    std::thread::Builder::new().name(name.clone()).spawn(move || {
        let result = setup
            .start(connect.as_ref(), &stats)
            .and_then(|worker| work(worker, &|| running.is_stopping()));
        match result {
            Ok(Ended::Drained { clean }) => {
                if !clean {
                    tracing::warn!(
                        event_type = "drain_unfinished",
                        worker = name,
                        "the last commit did not settle in time; the next start settles it"
                    );
                }
            }
            Err(stop) => {
                stats.gone(&name);
                running.fail(&name, stop);
            }
        }
    })
}

/// How a worker's loop ended when nothing failed.
pub enum Ended {
    Drained { clean: bool },
}

/// Steps a worker until it should stop.
pub fn work(mut worker: Worker, should_stop: &dyn Fn() -> bool) -> Result<Ended, Stop> {
    while !should_stop() {
        let now = wall_time();
        let until_seal = Duration::from_micros(u64::try_from(worker.next_seal().since(now).as_micros()).unwrap_or(0));
        worker.step(now, until_seal.min(LONGEST_WAIT))?;
    }
    Ok(Ended::Drained {
        clean: worker.drain(wall_time())?,
    })
}
