//! Puts the demo together, runs it, and waits for its end.
//!
//! Rule: the services stop first, then chaos; then the pipeline gets the time that its own rules need to close the last
//! windows, and no more: it ends when every total is there, or after [`PATIENCE`] with what is missing.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use super::chaos::{Chaos, Kills};
use super::crew::{Crew, Export, World};
use super::death::Death;
use super::expected::RESPONSE_MICROS;
use super::feed::Feed;
use super::joined::Bounds;
use super::observe::{Observer, Picture, Sights};
use super::screen::{Caption, Scene, Screen, spell};
use super::simulator::{Random, Share, Simulator, SimulatorOptions, Topic};
use super::stopwatch::Times;
use super::summary::{Summary, grouped};
use super::{DemoArgs, Format};
use crate::cli::application::{Application, MAX_OPEN};
use crate::cli::workers::Running;
use crate::engine::plan::{Kind, Operator, Plan};
use crate::engine::task::Stage;
use crate::engine::time::Span;
use crate::engine::window::WindowSize;
use crate::export::outbox::Control;
use crate::export::parts::Carried;
use crate::export::receiver::Receiver;
use crate::export::settings::{Settings, Signal};
use crate::export::stats::ExportStats;
use crate::export::telemetry::Process;
use crate::http::{self, Http, HttpError};
use crate::memory::{Cluster, ClusterClock, TopicOptions};
use crate::pipeline;
use crate::runtime::clock::wall_time;
use crate::runtime::stats::Stats;

/// The users' file, as it is.
const PIPELINE: (&str, &str) = (
    "pipelines/support.yaml",
    include_str!("../../../pipelines/support.yaml"),
);

/// The pipeline's times in the demo, so that its end can be waited for. The file says 10 s, 5 s and 5 s; 24 h, 1 h and 1 min
/// to wait for answers; and 1 h for what is slow.
const WINDOW: Span = Span::seconds(1);
const OUT_OF_ORDER: Span = Span::seconds(1);
const IDLE_AFTER: Span = Span::seconds(1);
const BOUNDS: Bounds = Bounds {
    within: Span::seconds(5),
    forget: Span::seconds(10),
    skew: Span::seconds(1),
    look_back: Span::seconds(24 * 3_600),
};
const SLOW: Span = Span::seconds(3);
const SEAL_EVERY: Span = Span::millis(250);

const PARTITIONS: u32 = 6;
const SHUFFLE_PARTITIONS: u32 = 4;
/// How long the end may take.
const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(200);
const SAY_EVERY: Duration = Duration::from_secs(2);
/// How many records each dead letter partition keeps, so that memory stays bounded.
const DEAD_LETTERS_KEPT: u64 = 1_000;

/// Why a demo does not even start.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error("{0}")]
    Pipeline(pipeline::Diagnostics),
    #[error("cannot start: {0}")]
    Start(#[from] std::io::Error),
    #[error("cannot start: {0}")]
    Settings(#[from] crate::export::settings::SettingsError),
    #[error("cannot start: {0}")]
    Http(#[from] HttpError),
    #[error("cannot start: {0}")]
    Topics(#[from] crate::memory::ClusterError),
}

/// Everything that runs.
struct Production {
    feed: Feed,
    services: JoinHandle<()>,
    chaos: Option<JoinHandle<()>>,
    chaos_over: Running,
    crew: Crew,
    world: World,
    control: Arc<Control>,
    observer: Observer,
    http: Http,
}

/// See the module.
pub fn run(args: &DemoArgs) -> Result<Summary, DemoError> {
    let plan = hurried(plan()?);
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let stage = Production::set_up(args, plan)?;
    let caption = Caption {
        planned: args.length,
        workers: args.workers,
        partitions: PARTITIONS,
        page: stage.http.address.map(|address| format!("http://{address}/")),
        hurry: format!(
            "support.yaml in a hurry: window, out_of_order, idle_after 1 s (the file: 10 s, 5 s, 5 s), answers within 5 s (24 h), \
             skew 1 s (1 min), forget 10 s (1 h), slow 3 s (1 h), 4 seals a second; seed {}",
            args.seed
        ),
    };
    let mut view = View::open(args, caption)?;
    stage.play(args, &mut view, &interrupted)
}

/// The users' pipeline.
fn plan() -> Result<Plan, DemoError> {
    let (name, text) = PIPELINE;
    pipeline::parse(&[(name.to_owned(), text.to_owned())], &|_| None).map_err(DemoError::Pipeline)
}

/// The same pipeline with shorter times; nothing else of it changes.
fn hurried(mut plan: Plan) -> Plan {
    for topic in &mut plan.topics {
        topic.timing.out_of_order = OUT_OF_ORDER;
        topic.timing.idle_after = IDLE_AFTER;
    }
    if let Some(window) = WindowSize::new(WINDOW) {
        plan.metrics.iter_mut().for_each(|metric| metric.window = window);
    }
    for join in &mut plan.joins {
        match &mut join.operator {
            Operator::Respond(respond) => {
                (respond.within, respond.forget, respond.skew) = (BOUNDS.within, BOUNDS.forget, BOUNDS.skew);
                if let Some(journeys) = &mut respond.journeys {
                    journeys.sampling.slow = Some(SLOW);
                }
            }
            Operator::Latest(latest) => latest.within = BOUNDS.look_back,
        }
    }
    plan
}

fn topics(cluster: &Cluster, application: &Application) -> Result<(), DemoError> {
    for topic in Topic::ALL {
        let options = TopicOptions {
            append_time: topic.has_append_time(),
            ..TopicOptions::default()
        };
        cluster.create_topic(topic.name(), PARTITIONS, options)?;
    }
    for topic in application.internal_topics() {
        let retain_records = (topic.name == application.dead_letters()).then_some(DEAD_LETTERS_KEPT);
        let options = TopicOptions {
            compact: topic.compacted,
            retain_records,
            ..TopicOptions::default()
        };
        cluster.create_topic(&topic.name, topic.partitions, options)?;
    }
    Ok(())
}

/// What `run` shows over HTTP, but for what it knows of brokers; and where to say how many workers there are.
fn page(args: &DemoArgs, world: &World, exports: &[Export]) -> Result<(Http, Arc<OnceLock<usize>>), HttpError> {
    let process = Process {
        application: "demo".to_owned(),
        instance: "demo".to_owned(),
        start: wall_time(),
        stats: world.stats.clone(),
        export: exports
            .iter()
            .map(|export| (Carried::Otlp(export.signal).worker(), Arc::clone(&export.stats)))
            .collect(),
    };
    let sources = http::Sources::new(process, None);
    let workers = Arc::clone(&sources.workers);
    let http = match http::start(&args.http, http::Guard::default(), sources.clone()) {
        Err(HttpError::Bind { address, .. }) => {
            let host = address.rsplit_once(':').map_or("127.0.0.1", |(host, _)| host);
            http::start(&format!("{host}:0"), http::Guard::default(), sources)
        }
        started => started,
    };
    Ok((http?, workers))
}

/// The system of the users, as wild as the demo's shorter times allow.
fn simulator(args: &DemoArgs) -> Simulator {
    let options = SimulatorOptions {
        partitions: PARTITIONS,
        rate: args.rate,
        day: Span::seconds(48),
        disorder: Span::millis(800),
        patience: BOUNDS.within,
        late: Share(3_000),
        late_by: (Span::millis(1_500), Span::millis(3_000)),
        ..SimulatorOptions::at(wall_time().as_event())
    };
    Simulator::new(args.seed, options)
}

// === impl Production ===

impl Production {
    fn set_up(args: &DemoArgs, plan: Plan) -> Result<Self, DemoError> {
        let mut metrics: Vec<String> = plan.metrics.iter().map(|metric| metric.name.clone()).collect();
        let windowed = plan
            .metrics
            .iter()
            .filter(|metric| !matches!(metric.kind, Kind::Level(_)));
        let windowed: Vec<String> = windowed.map(|metric| metric.name.clone()).collect();
        let application = Application {
            id: "demo".to_owned(),
            plan: Arc::new(plan),
            shuffle_partitions: SHUFFLE_PARTITIONS,
            instance: Some("demo".to_owned()),
            accept_reset: false,
            seal_every: SEAL_EVERY,
            max_backdate: Span::seconds(30 * 60),
            queue_kbytes: 16 * 1024,
            tap_workers: args.workers,
            max_open: MAX_OPEN,
            offsets_partitions: 1,
        };
        let cluster = Cluster::new(ClusterClock::Real);
        topics(&cluster, &application)?;

        let (receiver, endpoint) = Receiver::start()?;
        let receiver = Arc::new(receiver);
        let times = Times::of(&windowed);
        metrics.push(RESPONSE_MICROS.to_owned());
        let control = Arc::<Control>::default();
        let mut exports = Vec::new();
        for (signal, times) in [(Signal::Metrics, Some(times.clone())), (Signal::Traces, None)] {
            exports.push(Export {
                signal,
                settings: Settings::from_env(Some(&endpoint), signal, &|_| None)?,
                times,
                stats: Arc::default(),
                control: Arc::clone(&control),
            });
        }
        let stats: BTreeMap<String, Arc<ExportStats>> = exports
            .iter()
            .map(|export| (export.name(), Arc::clone(&export.stats)))
            .collect();
        let world = World {
            connect: Arc::new(cluster.clone()),
            stats: Stats::default(),
            running: Running::default(),
        };
        let (http, workers) = page(args, &world, &exports)?;
        let crew = Crew::muster(&application, exports, &world)?;
        // It is set once.
        let _ = workers.set(crew.hands.len() - stats.len());

        let feed = Feed::new(BOUNDS);
        let services = feed.spawn(simulator(args), cluster.clone())?;
        let kills = Arc::<Mutex<Kills>>::default();
        let chaos_over = Running::default();
        let with_chaos = args.chaos && !args.no_chaos;
        let chaos = Chaos {
            cluster: cluster.clone(),
            hands: crew.hands.clone(),
            stats: world.stats.clone(),
            exports: stats.clone(),
            receiver: Arc::clone(&receiver),
            running: world.running.clone(),
            death: Death::default(),
            kills: Arc::clone(&kills),
            random: Random::new(args.seed),
        };
        let chaos = if with_chaos {
            Some(chaos.spawn(chaos_over.clone())?)
        } else {
            None
        };
        let observer = Observer::new(Sights {
            cluster,
            group: application.group(Stage::Tap),
            export_groups: [Signal::Metrics, Signal::Traces].map(|signal| application.export_client(signal).group),
            partitions: PARTITIONS,
            feed: feed.clone(),
            stats: world.stats.clone(),
            exports: stats.into_values().collect(),
            receiver,
            kills: with_chaos.then_some(kills),
            metrics,
            times,
        });
        Ok(Self {
            feed,
            services,
            chaos,
            chaos_over,
            crew,
            world,
            control,
            observer,
            http,
        })
    }

    /// From the first record to the last total.
    fn play(mut self, args: &DemoArgs, view: &mut View, interrupted: &AtomicBool) -> Result<Summary, DemoError> {
        let began = Instant::now();
        loop {
            let picture = self.observer.look();
            let is_over = args.length.is_some_and(|length| began.elapsed() >= length);
            if view.show(&picture, Scene::Running)? || is_over || self.is_broken(interrupted) {
                break;
            }
        }
        self.feed.stop();
        let _ = self.services.join();
        self.chaos_over.stop();
        let ended = Instant::now();
        if let Some(chaos) = self.chaos {
            while !chaos.is_finished() {
                view.show(&self.observer.look(), Scene::Draining)?;
            }
        }
        let expected = self.feed.expected();
        let totals = expected.totals();
        let is_there = |observer: &Observer, picture: &Picture| {
            let came = picture.audit.behind == 0 && observer.totals() == totals;
            came && picture.journeys.differences(expected.sums()).is_empty()
        };
        let mut impatient = false;
        loop {
            let picture = self.observer.look();
            let is_stuck = impatient || ended.elapsed() > PATIENCE || self.world.running.is_stopping();
            if is_there(&self.observer, &picture) || is_stuck {
                break;
            }
            impatient = view.show(&picture, Scene::Draining)?;
        }
        let drained = ended.elapsed();
        view.close();
        let failure = self
            .world
            .running
            .failure()
            .map(|(worker, stop)| format!("{worker} stopped: {stop}"));
        let failure = failure.or(self.feed.failure());
        self.world.running.stop();
        self.control.drain(Duration::from_secs(2));
        self.crew.dismiss();
        self.http.stop();
        let picture = self.observer.look();
        let totals = self.observer.totals();
        Ok(Summary {
            picture,
            totals,
            expected,
            seed: args.seed,
            rate: args.rate,
            workers: args.workers,
            drained,
            failure,
        })
    }

    fn is_broken(&self, interrupted: &AtomicBool) -> bool {
        interrupted.load(Ordering::SeqCst) || self.world.running.is_stopping() || self.feed.failure().is_some()
    }
}

/// Where pictures go: the live table, or a line now and then where there is no terminal.
struct View {
    screen: Option<Screen>,
    caption: Caption,
    said: Option<Instant>,
}

// === impl View ===

impl View {
    fn open(args: &DemoArgs, caption: Caption) -> Result<Self, DemoError> {
        let is_watched = args.format == Format::Table && std::io::stdout().is_terminal();
        let screen = if is_watched { Some(Screen::open()?) } else { None };
        Ok(Self {
            screen,
            caption,
            said: None,
        })
    }

    /// Shows a picture and waits for the next one; `true` when the person wants to end.
    fn show(&mut self, picture: &Picture, scene: Scene) -> Result<bool, DemoError> {
        if let Some(screen) = &mut self.screen {
            screen.draw(picture, &self.caption, scene)?;
            return Ok(screen.is_done(LOOK_EVERY)?);
        }
        if self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            if let (None, Some(page)) = (self.said, &self.caption.page) {
                eprintln!("status page: {page}");
            }
            self.said = Some(Instant::now());
            eprintln!("{}", progress(picture, scene));
        }
        std::thread::sleep(LOOK_EVERY);
        Ok(false)
    }

    fn close(&mut self) {
        self.screen = None;
    }
}

/// One line for a log.
fn progress(picture: &Picture, scene: Scene) -> String {
    let last = |kills: &Kills| {
        kills
            .last
            .as_ref()
            .map_or(String::new(), |last| format!(", last {}", last.words()))
    };
    let kills = |kills: &Kills| format!("{} kills{}", kills.count, last(kills));
    let kills = picture.kills.as_ref().map_or("chaos off".to_owned(), kills);
    let journeys = &picture.journeys;
    let ahead = picture.verdict.ahead.len() as u64 + picture.wire.violations + journeys.violations + journeys.orphans;
    format!(
        "{} {}  {} written ({}/s), {} in totals, {} behind, {} aborts, balance {}, {}; {kills}",
        spell(picture.elapsed),
        if scene == Scene::Draining { "closing" } else { "running" },
        grouped(picture.written.total),
        grouped(picture.written.per_second),
        grouped(picture.counted),
        grouped(picture.audit.behind.max(0) as u64),
        picture.workers.aborted,
        picture.audit.balance,
        if ahead == 0 {
            "nothing wrong".to_owned()
        } else {
            format!("{ahead} WRONG")
        },
    )
}
