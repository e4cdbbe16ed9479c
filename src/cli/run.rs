//! `streamgauge run`: the application on a real cluster.
//!
//! The order of things: check everything that can be checked without a broker; wait for the broker; create and verify the
//! internal topics; start the stages; wait for a signal or a failure; drain.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use signal_hook::consts::{SIGINT, SIGTERM};

use super::application::{self, Application, DEAD_LETTER_PARTITIONS, InternalTopic};
use super::cluster::{ApplicationArgs, ClusterArgs, TokenArgs, legal_name};
use super::logs::{self, LogArgs};
use super::workers::{self, Running};
use super::{Exit, complain, environment, lag_source, rights};
use crate::engine::lag::OFFSETS_TOPIC;
use crate::engine::plan::LagFrom;
use crate::engine::task::Stage;
use crate::engine::time::Span;
use crate::export::notify::Notifier;
use crate::export::outbox::{self, Control, OutboxConfig};
use crate::export::own_traces::OwnTraces;
use crate::export::parts::Carried;
use crate::export::sender::{SendRequest, Sender};
use crate::export::settings::{Settings, Signal};
use crate::export::stats::ExportStats;
use crate::export::telemetry::{self, Process, Telemetry};
use crate::http::{self, health::Checker};
use crate::kafka::{
    self, Cleanup, ConnectError, Connection, EnsureError, KafkaCluster, OrphanWatch, Poller, PollerOptions, TopicSpec,
};
use crate::pipeline;
use crate::runtime::clock::wall_time;
use crate::runtime::log::{Connect, LogError};
use crate::runtime::stats::Stats;
use crate::runtime::{Beside, Guard, Stop};

#[derive(Args, Debug)]
pub struct RunArgs {
    /// Pipeline files
    #[arg(required = true, value_name = "PIPELINE")]
    pipelines: Vec<PathBuf>,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    application: ApplicationArgs,
    #[command(flatten)]
    logs: LogArgs,

    /// Name of this instance: static membership, so that a restart takes its partitions back at once. Every running
    /// instance needs a name of its own
    #[arg(long, env = "STREAMGAUGE_INSTANCE", value_name = "NAME", value_parser = legal_name)]
    instance: Option<String>,

    /// Where metrics and traces go; wins over OTEL_EXPORTER_OTLP_ENDPOINT [default: http://127.0.0.1:4317]
    #[arg(long, value_name = "URL")]
    otlp: Option<String>,

    /// How many of its own commits, restores, rebalances and exports are traced: 0 to 1. Commits of records whose writer
    /// traces them are always, unless it is 0
    #[arg(long, env = "STREAMGAUGE_OWN_TRACES", default_value_t = 0.0, value_name = "SHARE", value_parser = share)]
    own_traces: f64,

    /// Where to listen for probes: HOST:PORT, or `off`
    #[arg(
        long,
        env = "STREAMGAUGE_HTTP",
        default_value = "127.0.0.1:8686",
        value_name = "HOST:PORT"
    )]
    http: String,
    #[command(flatten)]
    token: TokenArgs,

    /// Partitions of the internal topics: how many instances can share a stage. Fixed once the topics exist
    #[arg(long, default_value_t = 6, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    shuffle_partitions: u32,

    /// Replication factor of internal topics that are created [default: the brokers']
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=100))]
    replication_factor: Option<i32>,

    /// Tap workers, each a thread and a member of the group [default: cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    workers: Option<u32>,

    /// Stages to run here
    #[arg(long, value_delimiter = ',', default_value = "tap,correlate,lag,gauge,alert,export", value_parser = stage_of, value_name = "STAGE,...")]
    stages: Vec<Stage>,

    /// What all Kafka clients of this process together buffer of fetched records, in MiB
    #[arg(long, default_value_t = 32, value_name = "MIB", value_parser = clap::value_parser!(u32).range(4..=4096))]
    buffer: u32,

    /// Windows older than this when they close are shown at the oldest time that receivers still take
    #[arg(long, default_value = "30m", value_name = "DURATION", value_parser = duration)]
    max_backdate: Span,

    /// Open keys and undecided records that each partition of the joins may hold, some 50 bytes each and what they carry:
    /// near that, sources that are ahead of the others wait
    #[arg(long, default_value_t = application::MAX_OPEN, value_name = "N", value_parser = clap::value_parser!(u64).range(100..=1_000_000_000))]
    max_open: u64,

    /// Partitions whose offsets were reset or expired begin a new ledger epoch instead of stopping the stage; partials of
    /// definitions that no instance will ever know are counted as retired
    #[arg(long)]
    accept_reset: bool,

    /// How long a stop may take until the process ends anyway
    #[arg(long, default_value = "20s", value_name = "DURATION", value_parser = duration)]
    drain: Span,
}

pub fn run(args: &RunArgs) -> Exit {
    logs::start(args.logs);
    match start(args) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn start(args: &RunArgs) -> Result<Exit, Exit> {
    let plan = pipeline::load(&args.pipelines, &environment).map_err(|diagnostics| {
        if !logs::say("pipeline_refused", &diagnostics.to_string()) {
            eprintln!("{diagnostics}");
        }
        Exit::Usage
    })?;
    let application_id = &args.application.application_id;
    if let Some(own) = application::own_input(&plan, application_id) {
        return Err(usage(application::own_input_refused(own, application_id)));
    }
    let mut application = application(args, Arc::new(plan));
    let exports = exports(args, &application)?;
    let guard = args.token.guard()?;
    let connection = args.cluster.connection()?;
    let stopping = Running::default();
    stop_on_signals(&stopping)?;
    let cluster = KafkaCluster::new(connection).map_err(usage)?;

    let stats = Stats::default();
    let checker = Checker::start(cluster.connection(), application.vital_topics()).map_err(usage)?;
    let process = Process {
        application: application.id.clone(),
        instance: args
            .instance
            .clone()
            .unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
        start: wall_time(),
        stats: stats.clone(),
        export: loops(&exports),
    };
    let sources = http::Sources::new(process.clone(), Some(checker.checks()));
    let workers = Arc::clone(&sources.workers);
    let http = http::start(&args.http, guard, sources).map_err(usage)?;
    if !prepare_topics(&cluster, &mut application, args, &stopping)? {
        return Ok(Exit::Done);
    }
    name_missing_topics(&cluster, &application);

    tracing::info!(
        event_type = "started", application = application.id,
        instance = args.instance.as_deref().unwrap_or("(dynamic)"),
        stages = ?args.stages,
        "started"
    );
    for export in &exports {
        tracing::info!(
            event_type = "export_target",
            "{} go to {}",
            export.carries.parts(),
            export.sender.target()
        );
    }
    let export_control = Arc::new(Control::default());
    let traces = own_traces(args, &process)?;
    let telemetry = telemetry(args, process)?;
    let threads = start_stages(
        args,
        &application,
        &cluster,
        exports,
        &stats,
        &stopping,
        &export_control,
    )?;
    // It is set once.
    let _ = workers.set(threads.workers.len());
    let telemetry = telemetry.start().map_err(usage)?;
    let orphans = watch_for_orphans(args, &application, &cluster)?;
    wait(&stopping, &threads);
    drop(orphans);
    let exit = end(args, threads, &stopping, &export_control);
    if let Some(traces) = traces {
        traces.stop();
    }
    telemetry.stop();
    http.stop();
    drop(checker);
    Ok(exit)
}

/// An export loop that is to run here.
struct Export {
    carries: Carried,
    sender: Arc<dyn SendRequest>,
    stats: Arc<ExportStats>,
}

/// The threads of the stages, in the order in which they are to end.
struct Threads {
    workers: Vec<std::thread::JoinHandle<()>>,
    exports: Vec<std::thread::JoinHandle<Result<(), String>>>,
}

fn start_stages(
    args: &RunArgs,
    application: &Application,
    cluster: &Arc<KafkaCluster>,
    exports: Vec<Export>,
    stats: &Stats,
    running: &Running,
    control: &Arc<Control>,
) -> Result<Threads, Exit> {
    let connect: Arc<dyn Connect> = Arc::new(Arc::clone(cluster));
    let mut setups = Vec::new();
    let taps = application.plan.taps();
    if args.stages.contains(&Stage::Lag) {
        let poller = application.poller();
        setups.extend(application.lag_worker().map(|mut setup| {
            setup.options.beside = poller.map(|options| polling(cluster.connection().clone(), options));
            setup
        }));
    }
    if args.stages.contains(&Stage::Alert) {
        setups.extend(application.alert_worker());
    }
    if taps && args.stages.contains(&Stage::Gauge) {
        setups.push(application.gauge_worker());
    }
    if args.stages.contains(&Stage::Correlate) {
        setups.extend(application.correlate_worker());
    }
    if taps && args.stages.contains(&Stage::Tap) {
        setups.extend((0..application.tap_workers).map(|number| application.tap_worker(number)));
    }
    let mut threads = Threads {
        workers: Vec::new(),
        exports: Vec::new(),
    };
    for setup in setups {
        threads
            .workers
            .push(workers::spawn(setup, Arc::clone(&connect), stats.clone(), running.clone()).map_err(usage)?);
    }
    for Export { carries, sender, stats } in exports {
        let log = connect.client(&application.export_client(carries)).map_err(usage)?;
        let config = OutboxConfig {
            outbox_topic: application.outbox_of(carries),
            carries,
            dead_letter_topic: application.dead_letters(),
            dead_letter_partitions: DEAD_LETTER_PARTITIONS,
            application: application.id.clone(),
            sender,
            stats,
        };
        threads.exports.push(outbox::spawn(config, log, Arc::clone(control)));
    }
    Ok(threads)
}

/// The instance that owns the first partition asks for all groups.
fn polling(connection: Connection, options: PollerOptions) -> Beside {
    Beside::new(move || -> Guard {
        match Poller::start(&connection, options.clone()) {
            Ok(poller) => Box::new(poller),
            Err(error) => {
                tracing::error!(event_type = "thread_missing", %error, "no thread to poll groups: there will be no lag");
                Box::new(())
            }
        }
    })
}

/// Only instances with names can leave a partition without an owner.
fn watch_for_orphans(
    args: &RunArgs,
    application: &Application,
    cluster: &Arc<KafkaCluster>,
) -> Result<Option<OrphanWatch>, Exit> {
    if args.instance.is_none() {
        return Ok(None);
    }
    OrphanWatch::start(cluster.connection(), application.watched(&args.stages))
        .map(Some)
        .map_err(usage)
}

/// What they do, by what they are called.
fn loops(exports: &[Export]) -> Vec<(&'static str, Arc<ExportStats>)> {
    exports
        .iter()
        .map(|export| (export.carries.worker(), Arc::clone(&export.stats)))
        .collect()
}

/// The process's own metrics.
fn telemetry(args: &RunArgs, process: Process) -> Result<Telemetry, Exit> {
    Ok(Telemetry {
        process,
        every: telemetry::interval(&environment).map_err(usage)?,
        sender: sender(args, Signal::Metrics)?,
    })
}

/// The process's own spans, where they are wanted.
fn own_traces(args: &RunArgs, process: &Process) -> Result<Option<OwnTraces>, Exit> {
    if args.own_traces <= 0.0 {
        return Ok(None);
    }
    let sender = sender(args, Signal::Traces)?;
    OwnTraces::start(process, args.own_traces, sender)
        .map(Some)
        .map_err(usage)
}

/// The loops that run here. Settings that make no sense are told whether they do or not.
fn exports(args: &RunArgs, application: &Application) -> Result<Vec<Export>, Exit> {
    let mut exports = Vec::new();
    for carries in application::carried(&application.plan) {
        let sender: Arc<dyn SendRequest> = match carries {
            Carried::Otlp(signal) => Arc::new(sender(args, signal)?),
            Carried::Notifications => Arc::new(Notifier::new(&application.plan.receivers).map_err(usage)?),
        };
        exports.push(Export {
            carries,
            sender,
            stats: Arc::default(),
        });
    }
    exports.retain(|_| args.stages.contains(&Stage::Export));
    Ok(exports)
}

fn sender(args: &RunArgs, signal: Signal) -> Result<Sender, Exit> {
    let settings = Settings::from_env(args.otlp.as_deref(), signal, &environment).map_err(usage)?;
    Sender::connect(settings).map_err(usage)
}

fn application(args: &RunArgs, plan: Arc<crate::engine::plan::Plan>) -> Application {
    let cores = std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(1));
    Application {
        id: args.application.application_id.clone(),
        plan,
        shuffle_partitions: args.shuffle_partitions,
        instance: args.instance.clone(),
        accept_reset: args.accept_reset,
        seal_every: Span::seconds(1),
        max_backdate: args.max_backdate,
        queue_kbytes: args.buffer * 1024,
        tap_workers: args.workers.unwrap_or(cores),
        max_open: args.max_open,
        offsets_partitions: application::OFFSETS_PARTITIONS,
    }
}

/// Waits for the broker and makes the internal topics. `false`: told to stop meanwhile.
fn prepare_topics(
    cluster: &KafkaCluster,
    application: &mut Application,
    args: &RunArgs,
    running: &Running,
) -> Result<bool, Exit> {
    let mut wait = Duration::from_millis(500);
    loop {
        match try_to_prepare(cluster, application, args) {
            Ok(()) => return Ok(true),
            Err(NotPrepared::Yet(why)) => {
                tracing::warn!(
                    event_type = "broker_awaited",
                    "{why}; waiting for the broker at --bootstrap {} (STREAMGAUGE_BOOTSTRAP)",
                    args.cluster.bootstrap
                );
            }
            Err(NotPrepared::Ever(exit)) => return Err(exit),
        }
        let until = Instant::now() + wait;
        wait = (wait * 2).min(Duration::from_secs(10));
        while Instant::now() < until {
            if running.is_stopping() {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Why the internal topics are not as they must be.
enum NotPrepared {
    /// Passing: a broker that is away, a new topic without leaders.
    Yet(String),
    Ever(Exit),
}

impl From<LogError> for NotPrepared {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Retry(why) => Self::Yet(why),
            error => {
                complain(error);
                Self::Ever(Exit::Stopped)
            }
        }
    }
}

impl From<ConnectError> for NotPrepared {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Unreachable(why) | ConnectError::Login(why) => Self::Yet(why),
            ConnectError::Settings(_) => Self::Ever(usage(error)),
        }
    }
}

fn try_to_prepare(cluster: &KafkaCluster, application: &mut Application, args: &RunArgs) -> Result<(), NotPrepared> {
    choose_lag_input(cluster, application, args)?;
    require_rights(cluster, application, args)?;
    count_lag_input(cluster, application)?;
    let specs: Vec<TopicSpec> = application
        .internal_topics()
        .iter()
        .map(|topic| spec(topic, args))
        .collect();
    let done = kafka::ensure_topics(cluster.connection(), &specs).map_err(|error| match error {
        EnsureError::Connect(error) => NotPrepared::from(error),
        EnsureError::Refused(why) => {
            complain(why);
            NotPrepared::Ever(Exit::Stopped)
        }
        error => NotPrepared::Ever(usage(error)),
    })?;
    for topic in &done.created {
        tracing::info!(event_type = "topic_created", topic, "created");
    }
    for note in &done.notes {
        tracing::warn!(event_type = "topic_note", "{note}");
    }
    if !done.created.is_empty() {
        // What may be done with a topic is told only once it is there.
        require_rights(cluster, application, args)?;
    }
    guard_state(cluster, application, args)
}

/// Decides what the lag stage reads where the pipeline leaves it open.
fn choose_lag_input(cluster: &KafkaCluster, application: &mut Application, args: &RunArgs) -> Result<(), NotPrepared> {
    if leaves_open(application) {
        let reads = args.stages.contains(&Stage::Lag);
        if let Some(why) = lag_source::polled_because(cluster.connection(), &application.id, reads)? {
            poll_because(application, &why);
        }
    }
    Ok(())
}

/// Finds out how many partitions the lag stage reads.
fn count_lag_input(cluster: &KafkaCluster, application: &mut Application) -> Result<(), NotPrepared> {
    if application.plan.lag.is_none() {
        return Ok(());
    }
    if !application.plan.polls() {
        match offsets_partitions(cluster, application)? {
            Some(partitions) => application.offsets_partitions = partitions,
            None if leaves_open(application) => poll_because(application, &lag_source::hidden()),
            None => return Err(NotPrepared::Yet(format!("{OFFSETS_TOPIC} does not exist yet"))),
        }
    }
    if application.plan.polls() {
        application.offsets_partitions = application.shuffle_partitions;
    }
    Ok(())
}

fn leaves_open(application: &Application) -> bool {
    let lag = application.plan.lag.as_ref();
    lag.is_some_and(|lag| lag.from == LagFrom::Auto)
}

fn poll_because(application: &mut Application, why: &str) {
    tracing::warn!(
        event_type = "groups_polled",
        "groups are polled by the Admin API, and not read from their topic: {why}"
    );
    let plan = Arc::make_mut(&mut application.plan);
    plan.lag.iter_mut().for_each(|lag| lag.from = LagFrom::Admin);
}

/// How many partitions the offsets topic has; `None` where the brokers do not tell. They make it when the first group looks
/// for its coordinator.
fn offsets_partitions(cluster: &KafkaCluster, application: &Application) -> Result<Option<u32>, NotPrepared> {
    let count = || -> Result<Option<u32>, NotPrepared> {
        let (_, found) = kafka::describe(cluster.connection(), &[OFFSETS_TOPIC.to_owned()])?;
        Ok(found
            .first()
            .and_then(|topic| topic.partitions)
            .filter(|count| *count > 0))
    };
    if let Some(count) = count()? {
        return Ok(Some(count));
    }
    // The answer does not matter: the question makes the topic.
    let asked = kafka::fetch_group_offsets(cluster.connection(), &application.group(Stage::Lag), None);
    match (count()?, asked) {
        (None, Err(error)) => Err(NotPrepared::Yet(format!("{OFFSETS_TOPIC} does not exist yet: {error}"))),
        (count, _) => Ok(count),
    }
}

fn require_rights(cluster: &KafkaCluster, application: &Application, args: &RunArgs) -> Result<(), NotPrepared> {
    let missing = rights::missing_to_run(cluster.connection(), application, &args.stages)?;
    missing.iter().for_each(complain);
    if missing.is_empty() {
        Ok(())
    } else {
        Err(NotPrepared::Ever(Exit::Stopped))
    }
}

fn spec(topic: &InternalTopic, args: &RunArgs) -> TopicSpec {
    TopicSpec {
        name: topic.name.clone(),
        partitions: topic.partitions,
        cleanup: if topic.compacted {
            Cleanup::Compact
        } else {
            Cleanup::Delete
        },
        retention_ms: Some(topic.retention_hours.map_or(-1, |hours| i64::from(hours) * 3_600_000)),
        max_message_bytes: kafka::MAX_MESSAGE_BYTES,
        replication: args.replication_factor,
    }
}

/// State without any commit of the taps means that the group's offsets expired or were deleted: starting anew would count
/// records twice or lose them, silently.
fn guard_state(cluster: &KafkaCluster, application: &Application, args: &RunArgs) -> Result<(), NotPrepared> {
    if args.accept_reset || !application.plan.taps() || !args.stages.contains(&Stage::Tap) {
        return Ok(());
    }
    let state = kafka::log_end_sum(cluster.connection(), &application.gauge_changelog())?;
    let commits = kafka::fetch_group_offsets(cluster.connection(), &application.id, Some(&application.input_topics()))?;
    if state > 0 && commits.is_empty() {
        complain(format!(
            "the group `{}` has no committed offsets, while {} holds state up to offset {state}: the offsets expired or were \
             deleted. Set them back, use another --application-id, or start once with --accept-reset to begin new ledger epochs",
            application.id,
            application.gauge_changelog(),
        ));
        return Err(NotPrepared::Ever(Exit::Stopped));
    }
    Ok(())
}

fn name_missing_topics(cluster: &KafkaCluster, application: &Application) {
    let topics = application.input_topics();
    match kafka::describe(cluster.connection(), &topics) {
        Ok((_, found)) => {
            for topic in found {
                match (topic.partitions, topic.problem) {
                    (_, Some(problem)) => {
                        tracing::error!(
                            event_type = "input_topic_unreadable",
                            topic = topic.name,
                            "the input topic cannot be read: {problem}"
                        )
                    }
                    (None, None) => {
                        tracing::warn!(
                            event_type = "input_topic_missing",
                            topic = topic.name,
                            "the input topic does not exist yet; waiting for it"
                        )
                    }
                    (Some(_), None) => {}
                }
            }
        }
        Err(error) => tracing::warn!(
            event_type = "input_topics_unknown",
            "cannot ask for the input topics: {error}"
        ),
    }
}

fn stop_on_signals(running: &Running) -> Result<(), Exit> {
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT]).map_err(usage)?;
    let running = running.clone();
    let watch = std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        for (count, signal) in signals.forever().enumerate() {
            if count > 0 {
                // The second signal means now: state is safe, the next start settles what is open.
                std::process::exit(128 + signal);
            }
            tracing::info!(
                event_type = "stopping",
                "stopping: sealing, committing, exporting what is there"
            );
            running.stop();
        }
    });
    watch.map(|_| ()).map_err(usage)
}

/// Until the process is to stop, or an export loop has ended by itself: without it the others would lie.
fn wait(running: &Running, threads: &Threads) {
    let exporting = || threads.exports.iter().all(|export| !export.is_finished());
    while !running.is_stopping() && exporting() {
        std::thread::sleep(Duration::from_millis(50));
    }
    running.stop();
}

/// Workers seal and leave first, so that the export loop sends what they left.
fn end(args: &RunArgs, threads: Threads, running: &Running, control: &Control) -> Exit {
    let deadline = Instant::now() + Duration::from_micros(u64::try_from(args.drain.as_micros()).unwrap_or(0));
    let failure = running.failure();
    let finished = join_until(threads.workers, deadline);
    control.drain(deadline.saturating_duration_since(Instant::now()));
    let exported: Vec<_> = threads
        .exports
        .into_iter()
        .map(|thread| join_one(thread, deadline))
        .collect();
    if let Some((worker, stop)) = failure.or_else(|| running.failure()) {
        complain(format!("{worker} stopped: {stop}"));
        return match stop {
            Stop::Fenced(_) => Exit::Fenced,
            Stop::Failed(_) => Exit::Stopped,
        };
    }
    if let Some(why) = exported.iter().flatten().find_map(|ended| ended.as_ref().err()) {
        complain(format!("export stopped: {why}"));
        return if control.is_fenced() {
            Exit::Fenced
        } else {
            Exit::Stopped
        };
    }
    if exported.iter().any(Option::is_none) {
        tracing::warn!(
            event_type = "drain_unfinished",
            "an export loop did not end in time; what is left in the outbox goes out at the next start"
        );
    }
    if !finished {
        tracing::warn!(
            event_type = "drain_unfinished",
            "a worker did not end in time; the next start settles its transaction"
        );
    }
    tracing::info!(event_type = "stopped", "stopped");
    Exit::Done
}

fn join_until(threads: Vec<std::thread::JoinHandle<()>>, deadline: Instant) -> bool {
    threads.into_iter().all(|thread| join_one(thread, deadline).is_some())
}

fn join_one<T>(thread: std::thread::JoinHandle<T>, deadline: Instant) -> Option<T> {
    while !thread.is_finished() {
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    thread.join().ok()
}

fn usage(error: impl std::fmt::Display) -> Exit {
    complain(error);
    Exit::Usage
}

fn stage_of(text: &str) -> Result<Stage, String> {
    match text {
        "tap" => Ok(Stage::Tap),
        "correlate" => Ok(Stage::Correlate),
        "lag" => Ok(Stage::Lag),
        "gauge" => Ok(Stage::Gauge),
        "alert" => Ok(Stage::Alert),
        "export" => Ok(Stage::Export),
        _ => Err("takes tap, correlate, lag, gauge, alert and export, separated by commas".to_owned()),
    }
}

fn duration(text: &str) -> Result<Span, String> {
    pipeline::read_duration(text).ok_or_else(|| "takes a duration: 500ms, 5s, 2m, 24h, 7d".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "takes a number from 0 to 1, for example 0.01".to_owned())
}
