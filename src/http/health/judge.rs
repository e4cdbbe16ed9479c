//! What is healthy.
//!
//! Rule: of several things the worst counts. Nothing is healthy before it was looked at.
//!
//! Edges:
//! - a broker that is up for the network and not listed by the cluster is not reachable: it is shutting down, cut off, or
//!   hangs;
//! - a broker that is gone for good is forgotten when no replica names it and it has not been listed for a while;
//! - a worker counts as standing still only once it has had time to begin;
//! - what waits is measured from when it began to wait, or from the last that went: the first alert of a quiet night has not
//!   been waiting since yesterday's.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::engine::time::WallTime;
use crate::export::stats::ExportSnapshot;
use crate::kafka::{PartitionCheck, TopicCheck};
use crate::runtime::stats::WorkerNumbers;

/// A worker that has not been around its loop for this long is not ready, and after as long again unhealthy.
pub const FRESH: Duration = Duration::from_secs(30);

/// What waits for a collector for this long is more than a hiccup.
const BLOCKED: Duration = Duration::from_secs(60);

/// What brokers have not answered for this long is not known any more.
pub const STALE: Duration = Duration::from_secs(30);

/// A refusal of the collector is remembered this long.
const REFUSED: Duration = Duration::from_secs(300);

/// In the order of badness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    Healthy,
    /// Not looked at yet.
    Unknown,
    Degraded,
    Unhealthy,
    /// It could not be found out.
    Error,
}

/// One component, and why it is not healthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    pub health: Health,
    pub why: Vec<String>,
}

/// What became of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TopicStatus {
    Healthy,
    Degraded,
    Unhealthy,
    TopicNotFound,
    NoPartitions,
    Error,
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PartitionStatus {
    Active,
    UnderReplicated,
    NoLeader,
}

/// A bootstrap server or a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub server: String,
    /// `None` for a bootstrap server that is not known as a broker.
    pub id: Option<i32>,
    pub reachable: bool,
}

// === impl Health ===

impl Health {
    /// The HTTP status that goes with it.
    pub fn code(self) -> u16 {
        match self {
            Self::Healthy | Self::Degraded => 200,
            Self::Unknown | Self::Unhealthy | Self::Error => 503,
        }
    }
}

// === impl Judged ===

impl Judged {
    pub fn healthy() -> Self {
        Self {
            health: Health::Healthy,
            why: Vec::new(),
        }
    }

    pub fn also(&mut self, health: Health, why: String) {
        self.health = self.health.max(health);
        self.why.push(why);
    }
}

// === impl TopicStatus ===

impl TopicStatus {
    pub fn code(self) -> u16 {
        match self {
            Self::Healthy | Self::Degraded => 200,
            Self::TopicNotFound => 404,
            Self::Unhealthy | Self::NoPartitions | Self::Error | Self::Unknown => 503,
        }
    }

    pub fn of(check: &TopicCheck) -> Self {
        match &check.partitions {
            None => Self::TopicNotFound,
            Some(Err(_)) => Self::Error,
            Some(Ok(partitions)) if partitions.is_empty() => Self::NoPartitions,
            Some(Ok(partitions)) => {
                let any = |status| {
                    partitions
                        .iter()
                        .any(|partition| PartitionStatus::of(partition) == status)
                };
                if any(PartitionStatus::NoLeader) {
                    Self::Unhealthy
                } else if any(PartitionStatus::UnderReplicated) {
                    Self::Degraded
                } else {
                    Self::Healthy
                }
            }
        }
    }
}

// === impl PartitionStatus ===

impl PartitionStatus {
    pub fn of(partition: &PartitionCheck) -> Self {
        match partition.leader {
            None => Self::NoLeader,
            Some(_) if partition.in_sync.len() < partition.replicas.len() => Self::UnderReplicated,
            Some(_) => Self::Active,
        }
    }
}

/// The cluster by its servers; `error`: why the brokers gave no answer, though some can be connected to.
pub fn cluster(servers: &[Server], error: Option<&str>) -> Health {
    let reachable = servers.iter().filter(|server| server.reachable).count();
    match (reachable, error) {
        _ if servers.is_empty() => Health::Unknown,
        (0, _) => Health::Unhealthy,
        (_, Some(_)) => Health::Error,
        (reachable, None) if reachable < servers.len() => Health::Degraded,
        _ => Health::Healthy,
    }
}

/// Before there are workers.
pub fn not_started() -> Judged {
    let mut judged = Judged::healthy();
    judged.also(
        Health::Unknown,
        "the stages have not been started: the broker is waited for".to_owned(),
    );
    judged
}

/// The workers of this process, which has been running for `up`.
pub fn pipeline(workers: &BTreeMap<String, WorkerNumbers>, up: Duration, now: Instant) -> Judged {
    let mut judged = Judged::healthy();
    for (name, worker) in workers {
        let idle = worker.last_commit.map_or(up, |at| now.saturating_duration_since(at));
        if idle > FRESH * 2 {
            let seconds = idle.as_secs();
            judged.also(
                Health::Unhealthy,
                format!("{name} has not settled a transaction for {seconds} s"),
            );
        } else if idle > FRESH || !worker.ready {
            let busy = worker.underway().count();
            judged.also(
                Health::Degraded,
                match busy {
                    0 => format!("{name} waits for its group or its broker"),
                    busy => format!("{name} restores {busy} partitions"),
                },
            );
        }
    }
    judged
}

/// What waits to be exported, by the loops' names. `now` in microseconds since the epoch.
pub fn outbox(loops: &[(&'static str, ExportSnapshot)], up: Duration, now: i64) -> Judged {
    let mut judged = Judged::healthy();
    for (name, export) in loops.iter().filter(|(_, export)| export.lag_records > 0) {
        let since = since(export, export.waiting_since, up, now);
        let waits = format!("{name}: {} requests wait", export.lag_records);
        if since > REFUSED {
            judged.also(
                Health::Unhealthy,
                format!("{waits}, and none has gone for {} s", since.as_secs()),
            );
        } else if since > BLOCKED {
            judged.also(
                Health::Degraded,
                format!("{waits}, and none has gone for {} s", since.as_secs()),
            );
        }
    }
    judged
}

/// What the collector says, by the loops' names.
pub fn exporter(loops: &[(&'static str, ExportSnapshot)], up: Duration, now: i64) -> Judged {
    let mut judged = Judged::healthy();
    for (name, export) in loops {
        if let Some(longest) = export.blocked.values().min_by_key(|blocked| blocked.since) {
            let health = match since(export, Some(longest.since), up, now) > BLOCKED {
                true => Health::Unhealthy,
                false => Health::Degraded,
            };
            judged.also(health, format!("{name}: {}", longest.message));
        } else if let Some(error) = &export.last_error
            && micros(now.saturating_sub(error.at.0)) < REFUSED
            && export.refused + export.too_large > 0
        {
            judged.also(Health::Degraded, format!("{name}: {}", error.message));
        }
    }
    judged
}

/// How long nothing has gone, of what has been waiting since `began`.
fn since(export: &ExportSnapshot, began: Option<WallTime>, up: Duration, now: i64) -> Duration {
    let last = export.last_success.max(began);
    last.map_or(up, |at| micros(now.saturating_sub(at.0)).min(up))
}

fn micros(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::stats::{Blocked, ExportError};

    fn servers(reachable: &[bool]) -> Vec<Server> {
        let server = |(id, reachable): (i32, &bool)| Server {
            server: format!("b{id}:9092"),
            id: Some(id),
            reachable: *reachable,
        };
        (0..).zip(reachable).map(server).collect()
    }

    #[test]
    fn a_cluster_is_as_healthy_as_its_servers_can_be_reached() {
        assert_eq!(cluster(&[], None), Health::Unknown);
        assert_eq!(cluster(&servers(&[true, true]), None), Health::Healthy);
        assert_eq!(cluster(&servers(&[true, false]), None), Health::Degraded);
        assert_eq!(cluster(&servers(&[false, false]), Some("no answer")), Health::Unhealthy);
        assert_eq!(cluster(&servers(&[true, false]), Some("no answer")), Health::Error);
    }

    fn topic(partitions: &[(Option<i32>, usize)]) -> TopicCheck {
        let partition = |(leader, in_sync): &(Option<i32>, usize)| PartitionCheck {
            leader: *leader,
            replicas: vec![1, 2],
            in_sync: [1, 2][..*in_sync].to_vec(),
            ..PartitionCheck::default()
        };
        TopicCheck {
            topic: "t".to_owned(),
            partitions: Some(Ok(partitions.iter().map(partition).collect())),
        }
    }

    #[test]
    fn a_topic_is_as_healthy_as_its_worst_partition() {
        assert_eq!(TopicStatus::of(&topic(&[(Some(1), 2)])), TopicStatus::Healthy);
        assert_eq!(
            TopicStatus::of(&topic(&[(Some(1), 2), (Some(1), 1)])),
            TopicStatus::Degraded
        );
        assert_eq!(
            TopicStatus::of(&topic(&[(Some(1), 1), (None, 1)])),
            TopicStatus::Unhealthy
        );
        assert_eq!(TopicStatus::of(&topic(&[])), TopicStatus::NoPartitions);
        let refused = TopicCheck {
            partitions: Some(Err("needs DESCRIBE".to_owned())),
            ..topic(&[])
        };
        assert_eq!(TopicStatus::of(&refused), TopicStatus::Error);
        let absent = TopicCheck {
            partitions: None,
            ..topic(&[])
        };
        assert_eq!(
            (TopicStatus::of(&absent), TopicStatus::of(&absent).code()),
            (TopicStatus::TopicNotFound, 404)
        );
    }

    #[test]
    fn a_worker_that_restores_is_degraded_and_one_that_stands_still_unhealthy() {
        let now = Instant::now();
        let of = |ready, idle: u64| {
            let worker = WorkerNumbers {
                ready,
                last_commit: now.checked_sub(Duration::from_secs(idle)),
                ..WorkerNumbers::default()
            };
            pipeline(
                &BTreeMap::from([("tap-0".to_owned(), worker)]),
                Duration::from_secs(500),
                now,
            )
        };
        assert_eq!(of(true, 1), Judged::healthy());
        assert_eq!(of(false, 1).health, Health::Degraded);
        assert_eq!(of(true, 31).health, Health::Degraded);
        let still = of(true, 61);
        assert_eq!(still.health, Health::Unhealthy);
        assert_eq!(still.why, ["tap-0 has not settled a transaction for 61 s"]);
    }

    const UP: Duration = Duration::from_secs(1_000);
    const NOW: i64 = 1_000_000_000;

    fn ago(seconds: i64) -> WallTime {
        WallTime(NOW - seconds * 1_000_000)
    }

    fn export(success: i64) -> ExportSnapshot {
        ExportSnapshot {
            last_success: Some(ago(success)),
            ..ExportSnapshot::default()
        }
    }

    #[test]
    fn what_waits_for_minutes_is_told_and_what_goes_on_is_not() {
        let waiting = |since, success| ExportSnapshot {
            lag_records: 4,
            waiting_since: Some(ago(since)),
            ..export(success)
        };
        let health = |since, success| outbox(&[("export", waiting(since, success))], UP, NOW).health;
        assert_eq!(
            (health(900, 5), health(900, 70), health(900, 400)),
            (Health::Healthy, Health::Degraded, Health::Unhealthy)
        );
        assert_eq!(
            health(2, 900),
            Health::Healthy,
            "the first after a quiet night has waited for two seconds"
        );
        assert_eq!(outbox(&[("export", export(900))], UP, NOW), Judged::healthy());
    }

    #[test]
    fn a_collector_that_is_away_or_refuses_is_told_with_its_words() {
        let blocked = |since, success| {
            let one = |since, message: &str| Blocked {
                since: ago(since),
                message: message.to_owned(),
            };
            ExportSnapshot {
                blocked: BTreeMap::from([(0, one(1, "come again")), (1, one(since, "connection refused"))]),
                ..export(success)
            }
        };
        let judged = exporter(&[("export", blocked(900, 5))], UP, NOW);
        assert_eq!(
            (judged.health, judged.why),
            (Health::Degraded, vec!["export: connection refused".to_owned()])
        );
        let health = |since, success| exporter(&[("export", blocked(since, success))], UP, NOW).health;
        assert_eq!(
            (health(900, 70), health(70, 900), health(5, 900)),
            (Health::Unhealthy, Health::Unhealthy, Health::Degraded)
        );
        let refused = |seconds: i64| ExportSnapshot {
            refused: 1,
            last_error: Some(ExportError {
                at: ago(seconds),
                message: "no such tenant".to_owned(),
                target: "there".to_owned(),
            }),
            ..export(1)
        };
        assert_eq!(exporter(&[("export", refused(10))], UP, NOW).health, Health::Degraded);
        assert_eq!(exporter(&[("export", refused(400))], UP, NOW).health, Health::Healthy);
    }
}
