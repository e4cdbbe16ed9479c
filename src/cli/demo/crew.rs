//! The demo's workers and its exporters, each on a thread that gives it a new life when it was killed.
//!
//! Rule: a life is exactly what `run` starts: a connection, a member of the group, its tasks. Nothing is carried over from
//! one life to the next but the name.
//!
//! Edges: only [`Killed`] is answered with a new life; a worker that stops by itself or panics ends the demo.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::death::Killed;
use super::stopwatch::{Stopwatch, Times};
use crate::cli::application::{Application, WorkerSetup};
use crate::cli::workers::{self, Running};
use crate::export::outbox::{self, OutboxConfig};
use crate::export::sender::Sender;
use crate::export::settings::{Settings, Signal};
use crate::export::stats::ExportStats;
use crate::runtime::Stop;
use crate::runtime::log::{ClientOptions, Connect};
use crate::runtime::stats::Stats;

/// See the module.
pub struct Crew {
    pub hands: Vec<Hand>,
    threads: Vec<JoinHandle<()>>,
}

/// One worker by its name, through all its lives.
#[derive(Clone)]
pub struct Hand {
    pub name: String,
    pub client: ClientOptions,
    life: Arc<Mutex<Life>>,
}

#[derive(Debug, Default)]
struct Life {
    died: Option<Instant>,
    /// How long the next life waits before it begins.
    rest: Duration,
    deaths: u64,
}

/// What all lives share.
#[derive(Clone)]
pub struct World {
    pub connect: Arc<dyn Connect>,
    pub stats: Stats,
    pub running: Running,
}

/// Where an exporter sends what to.
pub struct Export {
    pub signal: Signal,
    pub settings: Settings,
    /// What measures the way of its points.
    pub times: Option<Times>,
    pub stats: Arc<ExportStats>,
    pub control: Arc<outbox::Control>,
}

// === impl Crew ===

impl Crew {
    /// Starts everybody.
    pub fn muster(application: &Application, exports: Vec<Export>, world: &World) -> std::io::Result<Crew> {
        let mut crew = Crew {
            hands: Vec::new(),
            threads: Vec::new(),
        };
        let setups = (0..application.tap_workers).map(|number| application.tap_worker(number));
        let others = application
            .correlate_worker()
            .into_iter()
            .chain([application.gauge_worker()])
            .chain(application.alert_worker());
        for setup in setups.chain(others) {
            let (name, client) = (setup.options.name.clone(), setup.client.clone());
            let of_life = world.clone();
            crew.hire(name, client, world, move || run_worker(&setup, &of_life))?;
        }
        for export in exports {
            let client = application.export_client(export.signal);
            let (application, of_life, of_export) = (application.clone(), world.clone(), client.clone());
            crew.hire(export.name(), client, world, move || {
                run_export(&application, &of_export, &export, &of_life)
            })?;
        }
        Ok(crew)
    }

    fn hire(
        &mut self,
        name: String,
        client: ClientOptions,
        world: &World,
        live: impl Fn() -> Result<(), Stop> + Send + 'static,
    ) -> std::io::Result<()> {
        let hand = Hand {
            name: name.clone(),
            client,
            life: Arc::default(),
        };
        let (world, of_thread) = (world.clone(), hand.clone());
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || of_thread.live_on(&live, &world))?;
        self.hands.push(hand);
        self.threads.push(thread);
        Ok(())
    }

    /// Waits until everybody has ended. They do when the world stops running.
    pub fn dismiss(self) {
        for thread in self.threads {
            // Its own panic was reported by the thread itself.
            let _ = thread.join();
        }
    }
}

// === impl Export ===

impl Export {
    /// Of the one who works at it.
    pub fn name(&self) -> String {
        format!("{}-0", self.signal.worker())
    }
}

// === impl Hand ===

impl Hand {
    fn live_on(&self, live: &dyn Fn() -> Result<(), Stop>, world: &World) {
        loop {
            match catch_unwind(AssertUnwindSafe(live)) {
                Ok(Ok(())) => return,
                Ok(Err(stop)) => {
                    world.stats.gone(&self.name);
                    return world.running.fail(&self.name, stop);
                }
                Err(cause) if cause.is::<Killed>() => {
                    world.stats.gone(&self.name);
                    let rest = self.has_died();
                    std::thread::sleep(rest);
                }
                Err(_) => {
                    world.running.fail(&self.name, Stop::Failed("panicked".to_owned()));
                    return;
                }
            }
        }
    }

    fn has_died(&self) -> Duration {
        let mut life = self.life();
        life.died = Some(Instant::now());
        life.deaths += 1;
        life.rest
    }

    /// How long it will be dead when it dies.
    pub fn rest_in_death(&self, rest: Duration) {
        self.life().rest = rest;
    }

    /// How often it died, and when last.
    pub fn deaths(&self) -> (u64, Option<Instant>) {
        let life = self.life();
        (life.deaths, life.died)
    }

    fn life(&self) -> std::sync::MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run_worker(setup: &WorkerSetup, world: &World) -> Result<(), Stop> {
    let worker = setup.start(world.connect.as_ref(), &world.stats)?;
    workers::work(worker, &|| world.running.is_stopping()).map(|_| ())
}

/// One life of the exporter. Its loop has a thread of its own, whose end is this one's.
fn run_export(application: &Application, client: &ClientOptions, export: &Export, world: &World) -> Result<(), Stop> {
    let sender = Sender::connect(export.settings.clone()).map_err(|error| Stop::Failed(error.to_string()))?;
    let log = world
        .connect
        .client(client)
        .map_err(|error| Stop::Failed(error.to_string()))?;
    let config = OutboxConfig {
        application: application.id.clone(),
        carries: export.signal.into(),
        outbox_topic: application.outbox_of(export.signal),
        dead_letter_topic: application.dead_letters(),
        dead_letter_partitions: crate::cli::application::DEAD_LETTER_PARTITIONS,
        sender: match &export.times {
            Some(times) => Arc::new(Stopwatch {
                sender,
                times: times.clone(),
            }),
            None => Arc::new(sender),
        },
        stats: Arc::clone(&export.stats),
    };
    match outbox::spawn(config, log, Arc::clone(&export.control)).join() {
        Ok(result) => result.map_err(Stop::Failed),
        Err(cause) => std::panic::resume_unwind(cause),
    }
}
