//! A worker's place: who runs there changes, its name may stay.

use std::time::Duration;

use streamgauge::engine::task::Stage;
use streamgauge::engine::time::WallTime;
use streamgauge::memory::Cluster;
use streamgauge::runtime::log::TopicPartition;
use streamgauge::runtime::stats::Stats;
use streamgauge::runtime::{Stop, Worker};

use crate::pipelines::{Version, application};

pub struct Place {
    stage: Stage,
    number: usize,
    /// Static membership.
    instance: Option<String>,
    pub version: Version,
    /// The operator's word that what no instance knows may be counted as retired.
    pub accept: bool,
    worker: Option<Worker>,
    /// Workers that have run here.
    started: u64,
    /// Not scheduled until then: a process that hangs.
    pub asleep_until: i64,
    stats: Stats,
}

// === impl Place ===

impl Place {
    pub fn new(stage: Stage, number: usize, instance: Option<String>, version: Version) -> Self {
        Self {
            stage,
            number,
            instance,
            version,
            accept: false,
            worker: None,
            started: 0,
            asleep_until: 0,
            stats: Stats::default(),
        }
    }

    pub fn group(&self) -> String {
        application(self.version, None).group(self.stage)
    }

    pub fn step(&mut self, cluster: &Cluster, now: WallTime) {
        if self.worker.is_none() {
            let mut application = application(self.version, self.instance.clone());
            application.accept_reset = self.accept;
            let mut setup = match self.stage {
                Stage::Tap => application.tap_worker(0),
                _ => application.gauge_worker(),
            };
            if self.instance.is_none() {
                // Random outside; here the same seed gives the same life.
                setup.client.transactional_id = format!("{}-{}-{}", setup.options.name, self.number, self.started);
            }
            self.started += 1;
            self.worker = setup.start(cluster, &self.stats).ok();
        }
        let Some(worker) = self.worker.as_mut() else { return };
        if let Err(stop) = worker.step(now, Duration::ZERO) {
            self.stopped(&stop);
        }
    }

    /// Nothing in this world asks for a person: a fenced worker is one whose name was taken by its successor.
    fn stopped(&mut self, stop: &Stop) {
        assert!(matches!(stop, Stop::Fenced(_)), "a worker gave up: {stop}");
        self.worker = None;
    }

    /// The process dies; its successor starts at the next step. `false` when nobody was there.
    pub fn kill(&mut self) -> bool {
        self.worker.take().map(Worker::kill).is_some()
    }

    /// The process ends in good order.
    pub fn drain(&mut self, now: WallTime) {
        if let Some(worker) = self.worker.take()
            && let Err(stop) = worker.drain(now)
        {
            self.stopped(&stop);
        }
    }

    /// The partitions whose tasks are in this phase.
    pub fn in_phase(&self, wanted: &str) -> Vec<TopicPartition> {
        let numbers = self.stats.lock();
        let tasks = numbers.workers.values().flat_map(|worker| &worker.tasks);
        tasks
            .filter(|(_, (phase, _))| *phase == wanted)
            .map(|(partition, _)| partition.clone())
            .collect()
    }

    /// For a failure's message.
    pub fn state(&self) -> String {
        let numbers = self.stats.lock();
        let tasks: Vec<_> = numbers.workers.values().map(|worker| &worker.tasks).collect();
        format!("{:?} {} {:?}: {tasks:#?}", self.stage, self.number, self.version)
    }
}
