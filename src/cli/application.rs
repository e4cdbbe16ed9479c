//! What one application is made of: its topics, its groups, its workers.
//!
//! Rule: every name that leaves the process is made here, from the application id. Tap's group is the application id
//! itself; every other stage has a group of its own, so that it balances, scales and fails alone.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use crate::engine::alert::{AlertOptions, AlertStage};
use crate::engine::correlate::{CorrelateOptions, CorrelateStage};
use crate::engine::gauge::{GaugeOptions, GaugeStage};
use crate::engine::lag::{LagOptions, LagStage, OFFSETS_TOPIC};
use crate::engine::plan::Plan;
use crate::engine::tap::TapStage;
use crate::engine::task::{OpenTask, Stage};
use crate::engine::time::Span;
use crate::export::parts::Carried;
use crate::export::settings::Signal;
use crate::kafka::{PollerOptions, Watched};
use crate::runtime::log::{ClientOptions, Connect};
use crate::runtime::stats::Stats;
use crate::runtime::worker::Topics;
use crate::runtime::{Heed, Stop, Worker, WorkerOptions};

/// Dead letters are few, and read by people: one partition keeps them in order.
pub const DEAD_LETTER_PARTITIONS: u32 = 1;
/// Every task of the lag stage reads the whole offset index.
const INDEX_PARTITIONS: u32 = 1;
/// What one client buffers of what it fetched, at the least, in KiB.
const LEAST_QUEUE_KBYTES: u32 = 2 * 1024;
/// Keys and undecided records that one correlate task may hold where nothing else is said: some 100 MB.
pub const MAX_OPEN: u64 = 2_000_000;

pub(super) const GAUGE_REPARTITION: &str = "gauge-repartition";
pub(super) const GAUGE_CHANGELOG: &str = "gauge-changelog";
pub(super) const OUTBOX: &str = "otlp-metrics";
pub(super) const DEAD_LETTERS: &str = "dead-letters";
pub(super) const ALERT_REPARTITION: &str = "alert-repartition";
pub(super) const ALERT_CHANGELOG: &str = "alert-changelog";
/// Decisions on their way to receivers.
pub(super) const NOTIFICATIONS: &str = "notifications";
pub(super) const CORRELATE_REPARTITION: &str = "correlate-repartition";
pub(super) const CORRELATE_CHANGELOG: &str = "correlate-changelog";
pub(super) const TRACES_OUTBOX: &str = "otlp-traces";
pub(super) const LAG_CHANGELOG: &str = "lag-changelog";
/// What polls of groups found, where the offsets topic is not read, and the changelog then.
pub(super) const LAG_POLLED: &str = "lag-polled";
pub(super) const LAG_POLLED_CHANGELOG: &str = "lag-polled-changelog";

/// As many partitions has the offsets topic unless the brokers are set otherwise (`offsets.topic.num.partitions`).
pub const OFFSETS_PARTITIONS: u32 = 50;
pub(super) const INDEX: &str = "index";

/// One application as this process runs it.
#[derive(Clone)]
pub struct Application {
    /// The application id: prefix of every group, topic and transactional id.
    pub id: String,
    pub plan: Arc<Plan>,
    /// Partitions of the repartition topics, and so of changelogs and outboxes.
    pub shuffle_partitions: u32,
    /// Static membership under this name.
    pub instance: Option<String>,
    pub accept_reset: bool,
    pub seal_every: Span,
    pub max_backdate: Span,
    /// For all clients of the process together, in KiB.
    pub queue_kbytes: u32,
    pub tap_workers: u32,
    /// Keys and undecided records that one correlate task may hold before sources that are ahead wait.
    pub max_open: u64,
    /// Partitions of what the lag stage reads, and so of its changelog.
    pub offsets_partitions: u32,
}

/// An internal topic as it has to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InternalTopic {
    pub name: String,
    pub partitions: u32,
    pub compacted: bool,
    /// `None`: no time retention.
    pub retention_hours: Option<u32>,
    /// What is in it, for people.
    pub holds: &'static str,
}

/// A worker that is ready to start: can be started again after it was killed.
pub struct WorkerSetup {
    pub client: ClientOptions,
    pub options: WorkerOptions,
    stage: Box<dyn Fn() -> Box<dyn OpenTask> + Send + Sync>,
}

// === impl Application ===

impl Application {
    pub fn group(&self, stage: Stage) -> String {
        group(&self.id, stage)
    }

    pub fn gauge_repartition(&self) -> String {
        named(&self.id, GAUGE_REPARTITION)
    }

    pub fn gauge_changelog(&self) -> String {
        named(&self.id, GAUGE_CHANGELOG)
    }

    pub fn correlate_repartition(&self) -> String {
        named(&self.id, CORRELATE_REPARTITION)
    }

    pub fn correlate_changelog(&self) -> String {
        named(&self.id, CORRELATE_CHANGELOG)
    }

    /// Frozen spans on their way to collectors.
    pub fn traces_outbox(&self) -> String {
        named(&self.id, TRACES_OUTBOX)
    }

    /// Frozen requests on their way to collectors.
    pub fn outbox(&self) -> String {
        named(&self.id, OUTBOX)
    }

    pub fn dead_letters(&self) -> String {
        named(&self.id, DEAD_LETTERS)
    }

    /// The offset index of tapped topics.
    pub fn index(&self) -> String {
        named(&self.id, INDEX)
    }

    pub fn input_topics(&self) -> Vec<String> {
        self.plan.topics.iter().map(|topic| topic.topic.clone()).collect()
    }

    /// Topics without which the application cannot do its work: its inputs and its own.
    pub fn vital_topics(&self) -> Vec<String> {
        let own = self.internal_topics().into_iter().map(|topic| topic.name);
        let mut topics: Vec<String> = self.input_topics().into_iter().chain(own).collect();
        topics.sort_unstable();
        topics.dedup();
        topics
    }

    /// See [`internal_topics`].
    pub fn internal_topics(&self) -> Vec<InternalTopic> {
        internal_topics(&self.id, self.shuffle_partitions, self.offsets_partitions, &self.plan)
    }

    /// The `number`th tap worker of this process.
    pub fn tap_worker(&self, number: u32) -> WorkerSetup {
        let (plan, partitions) = (Arc::clone(&self.plan), self.shuffle_partitions);
        let mut worker = self.options(Stage::Tap, number);
        worker.topics.index = self.plan.indexes().then(|| (self.index(), INDEX_PARTITIONS));
        WorkerSetup {
            client: self.client(Stage::Tap, number),
            options: WorkerOptions {
                inputs: self.input_topics(),
                counted_topics: self.input_topics(),
                seal_bytes: 4 * 1024 * 1024,
                heeds: self.heeds(),
                sample_ends: true,
                topic_ids: true,
                ..worker
            },
            stage: Box::new(move || Box::new(TapStage::new(Arc::clone(&plan), partitions))),
        }
    }

    /// What tells taps which sources of joins must wait: how far all taps are, and how full the joins.
    fn heeds(&self) -> Vec<Heed> {
        let joined = (0..)
            .zip(&self.plan.topics)
            .filter(|(index, _)| self.plan.is_joined(*index));
        let mut heeds: Vec<Heed> = joined
            .map(|(_, topic)| Heed {
                group: self.group(Stage::Tap),
                topic: topic.topic.clone(),
                partitions: None,
            })
            .collect();
        if self.plan.correlates() {
            heeds.push(Heed {
                group: self.group(Stage::Correlate),
                topic: self.correlate_repartition(),
                partitions: Some(self.shuffle_partitions),
            });
        }
        heeds
    }

    /// The worker of the joins; `None` where there are none.
    pub fn correlate_worker(&self) -> Option<WorkerSetup> {
        if !self.plan.correlates() {
            return None;
        }
        let plan = Arc::clone(&self.plan);
        let options = CorrelateOptions {
            application: self.id.clone(),
            partitions: self.shuffle_partitions,
            max_entries: self.max_open,
        };
        let mut worker = self.options(Stage::Correlate, 0);
        worker.topics.changelog = Some(self.correlate_changelog());
        worker.topics.outbox = self
            .plan
            .traces()
            .then(|| (self.traces_outbox(), self.shuffle_partitions));
        Some(WorkerSetup {
            client: self.client(Stage::Correlate, 0),
            options: WorkerOptions {
                inputs: vec![self.correlate_repartition()],
                counted_topics: self.input_topics(),
                trim_input: true,
                ..worker
            },
            stage: Box::new(move || Box::new(CorrelateStage::new(Arc::clone(&plan), options.clone()))),
        })
    }

    /// The worker of the alerts; `None` where there are none.
    pub fn alert_worker(&self) -> Option<WorkerSetup> {
        if self.plan.alerts.is_empty() {
            return None;
        }
        let plan = Arc::clone(&self.plan);
        let options = AlertOptions {
            application: self.id.clone(),
            partitions: self.shuffle_partitions,
        };
        let mut worker = self.options(Stage::Alert, 0);
        worker.topics.changelog = Some(named(&self.id, ALERT_CHANGELOG));
        worker.topics.outbox = Some((self.outbox(), self.shuffle_partitions));
        worker.topics.notifications = self
            .plan
            .notifies()
            .then(|| (self.outbox_of(Carried::Notifications), self.shuffle_partitions));
        Some(WorkerSetup {
            client: self.client(Stage::Alert, 0),
            options: WorkerOptions {
                inputs: vec![self.alert_repartition()],
                // Pending alerts need to know that nothing was missed.
                sample_ends: true,
                trim_input: true,
                ..worker
            },
            stage: Box::new(move || Box::new(AlertStage::new(Arc::clone(&plan), options.clone()))),
        })
    }

    pub fn alert_repartition(&self) -> String {
        named(&self.id, ALERT_REPARTITION)
    }

    /// The worker that reads the offsets topic; `None` where nobody asks for lag.
    pub fn lag_worker(&self) -> Option<WorkerSetup> {
        let lag = self.plan.lag.clone()?;
        let every = lag.every;
        let options = LagOptions {
            application: self.id.clone(),
            pipeline: self.plan.pipelines.get(lag.pipeline).cloned().unwrap_or_default(),
            lag,
            tapped: self.input_topics().into_iter().collect(),
            alerts: self.plan.alerts.clone(),
            partitions: self.shuffle_partitions,
        };
        let twice = Span::micros(every.as_micros().saturating_mul(2));
        let mut worker = self.options(Stage::Lag, 0);
        worker.topics.changelog = Some(self.lag_changelog());
        worker.topics.outbox = Some((self.outbox(), self.shuffle_partitions));
        Some(WorkerSetup {
            client: self.client(Stage::Lag, 0),
            options: WorkerOptions {
                inputs: vec![self.lag_input()],
                // Each poll makes a survey due; one that is late is not waited for for ever.
                survey_every: Some(if self.plan.polls() { twice } else { every }),
                index: self.plan.indexes().then(|| self.index()),
                // Each survey is sealed at once. Commits of its own are input like others: it is not to feed itself faster.
                seal_every: twice,
                topic_ids: true,
                ..worker
            },
            stage: Box::new(move || Box::new(LagStage::new(options.clone()))),
        })
    }

    /// What the lag stage reads.
    pub fn lag_input(&self) -> String {
        lag_input(&self.id, &self.plan)
    }

    /// What the lag stage knows of groups.
    pub fn lag_changelog(&self) -> String {
        named(&self.id, lag_changelog(&self.plan))
    }

    /// What is polled, and where to; `None` where nothing is.
    pub fn poller(&self) -> Option<PollerOptions> {
        let lag = self.plan.lag.as_ref().filter(|_| self.plan.polls())?;
        Some(PollerOptions {
            topic: self.lag_input(),
            partitions: NonZeroU32::new(self.offsets_partitions)?,
            transactional_id: named(&self.id, "lag-poller"),
            group: self.group(Stage::Lag),
            every: lag.every,
            groups: lag.groups.clone(),
            topics: lag.topics.clone(),
        })
    }

    pub fn gauge_worker(&self) -> WorkerSetup {
        let (plan, options) = (Arc::clone(&self.plan), self.gauge_options());
        let mut worker = self.options(Stage::Gauge, 0);
        worker.topics.changelog = Some(self.gauge_changelog());
        worker.topics.outbox = Some((self.outbox(), self.shuffle_partitions));
        WorkerSetup {
            client: self.client(Stage::Gauge, 0),
            options: WorkerOptions {
                inputs: vec![self.gauge_repartition()],
                counted_topics: self.input_topics(),
                seal_bytes: 16 * 1024 * 1024,
                trim_input: true,
                ..worker
            },
            stage: Box::new(move || Box::new(GaugeStage::new(Arc::clone(&plan), options.clone()))),
        }
    }

    pub fn client(&self, stage: Stage, number: u32) -> ClientOptions {
        self.client_of(self.group(stage), stage_name(stage), number)
    }

    fn client_of(&self, group: String, name: &str, number: u32) -> ClientOptions {
        let of_plan = [
            self.plan.correlates(),
            self.plan.traces(),
            self.plan.lag.is_some(),
            !self.plan.alerts.is_empty(),
            self.plan.notifies(),
        ];
        let clients = self.tap_workers + 2 + of_plan.into_iter().map(u32::from).sum::<u32>();
        ClientOptions {
            group,
            instance: self.instance.as_ref().map(|instance| format!("{instance}-{number}")),
            transactional_id: match &self.instance {
                Some(instance) => format!("{}-{name}-{instance}-{number}", self.id),
                None => format!("{}-{name}-{}", self.id, uuid::Uuid::new_v4()),
            },
            queue_kbytes: (self.queue_kbytes / clients).max(LEAST_QUEUE_KBYTES),
        }
    }

    /// The client of the loop that exports this.
    pub fn export_client(&self, carries: impl Into<Carried>) -> ClientOptions {
        let carries = carries.into();
        self.client_of(export_group(&self.id, carries), carries.worker(), 0)
    }

    /// The outbox of this.
    pub fn outbox_of(&self, carries: impl Into<Carried>) -> String {
        match carries.into() {
            Carried::Otlp(Signal::Metrics) => self.outbox(),
            Carried::Otlp(Signal::Traces) => self.traces_outbox(),
            Carried::Notifications => named(&self.id, NOTIFICATIONS),
        }
    }

    /// The groups of these stages, and what each reads.
    pub fn watched(&self, stages: &[Stage]) -> Vec<Watched> {
        let mut watched = Vec::new();
        for stage in stages {
            let topics = match stage {
                Stage::Tap | Stage::Gauge if !self.plan.taps() => continue,
                Stage::Tap => self.input_topics(),
                Stage::Correlate if self.plan.correlates() => vec![self.correlate_repartition()],
                Stage::Correlate => continue,
                Stage::Lag if self.plan.lag.is_some() => vec![self.lag_input()],
                Stage::Lag => continue,
                Stage::Gauge => vec![self.gauge_repartition()],
                Stage::Alert if self.plan.alerts.is_empty() => continue,
                Stage::Alert => vec![self.alert_repartition()],
                Stage::Export => {
                    let loops = carried(&self.plan).into_iter();
                    watched.extend(loops.map(|carries| Watched {
                        group: export_group(&self.id, carries),
                        topics: vec![self.outbox_of(carries)],
                    }));
                    continue;
                }
            };
            let group = self.group(*stage);
            watched.push(Watched { group, topics });
        }
        watched
    }

    fn gauge_options(&self) -> GaugeOptions {
        GaugeOptions {
            application: self.id.clone(),
            partitions: self.shuffle_partitions,
            max_backdate: self.max_backdate,
            retire_unknown: self.accept_reset,
        }
    }

    fn options(&self, stage: Stage, number: u32) -> WorkerOptions {
        WorkerOptions {
            name: format!("{}-{number}", stage_name(stage)),
            inputs: Vec::new(),
            topics: Topics {
                repartition: BTreeMap::from([
                    (Stage::Correlate, self.correlate_repartition()),
                    (Stage::Gauge, self.gauge_repartition()),
                    (Stage::Alert, self.alert_repartition()),
                ]),
                changelog: None,
                outbox: None,
                notifications: None,
                index: None,
                dead_letters: (self.dead_letters(), DEAD_LETTER_PARTITIONS),
            },
            counted_topics: Vec::new(),
            heeds: Vec::new(),
            seal_every: self.seal_every,
            seal_bytes: 4 * 1024 * 1024,
            sample_ends: false,
            survey_every: None,
            index: None,
            beside: None,
            trim_input: false,
            topic_ids: false,
            accept_reset: self.accept_reset,
        }
    }
}

// === impl WorkerSetup ===

impl WorkerSetup {
    /// Connects and joins the group.
    pub fn start(&self, connect: &dyn Connect, stats: &Stats) -> Result<Worker, Stop> {
        let log = connect
            .client(&self.client)
            .map_err(|error| Stop::Failed(error.to_string()))?;
        Worker::start(log, (self.stage)(), self.options.clone(), stats.clone())
    }
}

pub fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Tap => "tap",
        Stage::Correlate => "correlate",
        Stage::Lag => "lag",
        Stage::Gauge => "gauge",
        Stage::Alert => "alert",
        Stage::Export => "export",
    }
}

pub(super) fn named(application_id: &str, what: &str) -> String {
    format!("{application_id}-{what}")
}

/// What the lag stage reads.
pub fn lag_input(application_id: &str, plan: &Plan) -> String {
    if plan.polls() {
        named(application_id, LAG_POLLED)
    } else {
        OFFSETS_TOPIC.to_owned()
    }
}

/// Where it keeps what it knows of groups: each input has a changelog of its own.
pub(super) fn lag_changelog(plan: &Plan) -> &'static str {
    if plan.polls() {
        LAG_POLLED_CHANGELOG
    } else {
        LAG_CHANGELOG
    }
}

/// The consumer group of a stage.
pub fn group(application_id: &str, stage: Stage) -> String {
    match stage {
        Stage::Tap => application_id.to_owned(),
        Stage::Correlate => named(application_id, "correlate"),
        Stage::Lag => named(application_id, "lag"),
        Stage::Gauge => named(application_id, "gauge"),
        Stage::Alert => named(application_id, "alert"),
        Stage::Export => named(application_id, "otlp-metrics"),
    }
}

/// What these pipelines export: each has an outbox and a loop of its own.
pub fn carried(plan: &Plan) -> Vec<Carried> {
    let mut carried = vec![Carried::Otlp(Signal::Metrics)];
    if plan.traces() {
        carried.push(Carried::Otlp(Signal::Traces));
    }
    if plan.notifies() {
        carried.push(Carried::Notifications);
    }
    carried
}

/// The consumer group of the loop that exports this; [`Stage::Export`]'s own exports points.
pub fn export_group(application_id: &str, carries: Carried) -> String {
    match carries {
        Carried::Otlp(Signal::Metrics) => group(application_id, Stage::Export),
        Carried::Otlp(Signal::Traces) => named(application_id, TRACES_OUTBOX),
        Carried::Notifications => named(application_id, NOTIFICATIONS),
    }
}

/// Every topic that the application keeps for itself, with these pipelines.
pub fn internal_topics(
    application_id: &str,
    shuffle_partitions: u32,
    offsets_partitions: u32,
    plan: &Plan,
) -> Vec<InternalTopic> {
    let topic = |what, partitions, compacted, retention_hours, holds| InternalTopic {
        name: named(application_id, what),
        partitions,
        compacted,
        retention_hours,
        holds,
    };
    let mut topics = Vec::new();
    // Lag alone taps nothing.
    if plan.taps() {
        topics.push(topic(
            GAUGE_REPARTITION,
            shuffle_partitions,
            false,
            None,
            "partial aggregates on their way to the series' owner",
        ));
        topics.push(topic(
            GAUGE_CHANGELOG,
            shuffle_partitions,
            true,
            None,
            "the state of the series",
        ));
    }
    topics.extend([
        topic(OUTBOX, shuffle_partitions, false, Some(24), "frozen export requests"),
        topic(
            DEAD_LETTERS,
            DEAD_LETTER_PARTITIONS,
            false,
            Some(7 * 24),
            "records that no metric could take",
        ),
    ]);
    if plan.correlates() {
        topics.push(topic(
            CORRELATE_REPARTITION,
            shuffle_partitions,
            false,
            None,
            "keyed records on their way to their key's owner",
        ));
        topics.push(topic(
            CORRELATE_CHANGELOG,
            shuffle_partitions,
            true,
            None,
            "open requests, looked-up values, records that wait",
        ));
    }
    if !plan.alerts.is_empty() {
        let holds = "samples on their way to rules";
        topics.push(topic(ALERT_REPARTITION, shuffle_partitions, false, None, holds));
        let holds = "what rules know, what is pending and fires, what was told";
        topics.push(topic(ALERT_CHANGELOG, shuffle_partitions, true, None, holds));
    }
    if plan.notifies() {
        let holds = "what people are to be told";
        topics.push(topic(NOTIFICATIONS, shuffle_partitions, false, Some(7 * 24), holds));
    }
    if plan.polls() {
        let holds = "what groups have committed, as the Admin API told it";
        topics.push(topic(LAG_POLLED, offsets_partitions, true, None, holds));
    }
    if plan.lag.is_some() {
        topics.push(topic(
            lag_changelog(plan),
            offsets_partitions,
            true,
            None,
            "what groups have committed, and what was told of it",
        ));
    }
    if plan.traces() {
        let holds = "frozen spans";
        topics.push(topic(TRACES_OUTBOX, shuffle_partitions, false, Some(24), holds));
    }
    if let Some(lag) = plan.lag.as_ref().filter(|_| plan.indexes()) {
        let holds = "when records of input topics were appended";
        topics.push(topic(INDEX, INDEX_PARTITIONS, false, Some(hours(lag.horizon)), holds));
    }
    topics
}

/// No shorter than `span`, and at least one.
fn hours(span: Span) -> u32 {
    let hours = (span.as_micros() / 1_000_000).unsigned_abs().div_ceil(3_600);
    u32::try_from(hours.max(1)).unwrap_or(u32::MAX)
}

/// An input topic that is one of the application's own: it would be fed with what it is read for.
pub fn own_input<'p>(plan: &'p Plan, application_id: &str) -> Option<&'p str> {
    let own = internal_topics(application_id, 1, 1, plan)
        .into_iter()
        .map(|topic| topic.name);
    // Which of them it will be is decided when the application starts.
    let of_lag = [LAG_CHANGELOG, LAG_POLLED, LAG_POLLED_CHANGELOG].map(|what| named(application_id, what));
    let of_lag = of_lag.into_iter().filter(|_| plan.lag.is_some());
    let own: Vec<String> = own.chain(of_lag).collect();
    let inputs = plan.topics.iter().map(|topic| topic.topic.as_str());
    inputs.into_iter().find(|input| own.iter().any(|own| own == input))
}

/// What to say of an input topic that [`own_input`] found.
pub fn own_input_refused(topic: &str, application_id: &str) -> String {
    format!(
        "`{topic}` cannot be an input topic: it is an internal topic of the application `{application_id}`. Name another topic \
         in the pipeline, or give another --application-id"
    )
}

#[cfg(test)]
mod tests;
