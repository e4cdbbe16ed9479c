//! The guide's JSON.
//!
//! Rule: names and shapes are those of the monitoring guide. Beside them is how old the answer is (`age_seconds`), and why
//! something is not healthy (`why`, `error`).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::checker::{Checks, View};
use super::judge::{self, Health, Judged, PartitionStatus, STALE, TopicStatus};
use crate::engine::names::{MAX_TOPIC, is_topic};
use crate::export::stats::ExportSnapshot;
use crate::kafka::{PartitionCheck, TopicCheck};
use crate::runtime::clock::wall_time;

/// An HTTP status and a body.
pub type Answer = (u16, Value);

/// `/health`.
pub fn overall(parts: &[Component]) -> Answer {
    let health = worst(parts);
    let components = parts
        .iter()
        .map(|(name, judged, _)| ((*name).to_owned(), json!(judged.health)));
    let checks = parts.iter().map(|(name, judged, age)| {
        let check = json!({ "status": judged.health, "why": judged.why, "age_seconds": age.map(seconds) });
        ((*name).to_owned(), check)
    });
    let body = json!({
        "status": health,
        "timestamp": SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64()),
        "components": Value::Object(components.collect()),
        "checks": Value::Object(checks.collect()),
    });
    (health.code(), body)
}

/// A component's name, how it is, and how long ago that was found out.
pub type Component = (&'static str, Judged, Option<Duration>);

/// All components. `up`: since when the process has been running.
pub fn components(
    checks: Option<&Checks>,
    pipeline: Judged,
    export: &[(&'static str, ExportSnapshot)],
    up: Duration,
) -> Vec<Component> {
    let now = wall_time().0;
    let (outbox, exporter) = (judge::outbox(export, up, now), judge::exporter(export, up, now));
    let mut components = vec![
        ("pipeline", pipeline, Some(Duration::ZERO)),
        ("outbox", outbox, Some(Duration::ZERO)),
        ("exporter", exporter, Some(Duration::ZERO)),
    ];
    if let Some(checks) = checks {
        let view = checks.view();
        components.insert(0, ("kafka", kafka(&view), view.age));
    }
    components
}

/// Of the whole.
pub fn worst(components: &[Component]) -> Health {
    match components.iter().map(|(_, judged, _)| judged.health).max() {
        Some(Health::Error) => Health::Unhealthy,
        health => health.unwrap_or(Health::Unknown),
    }
}

/// The cluster and the topics that the application cannot do without.
fn kafka(view: &View) -> Judged {
    let mut judged = Judged {
        health: judge::cluster(&view.servers, view.error.as_deref()),
        why: Vec::new(),
    };
    let away = view.servers.iter().filter(|server| !server.reachable);
    judged
        .why
        .extend(away.map(|server| format!("{} cannot be reached", server.server)));
    judged.why.extend(view.error.clone());
    // While nobody answers, what was said of topics is old, and the cluster's own status is worse.
    for (check, _) in view.topics.iter().filter(|(_, age)| *age < STALE) {
        let topic = &check.topic;
        match TopicStatus::of(check) {
            TopicStatus::Degraded => judged.also(Health::Degraded, format!("`{topic}` is under-replicated")),
            TopicStatus::Unhealthy => {
                judged.also(Health::Unhealthy, format!("`{topic}` has partitions without a leader"))
            }
            _ => {}
        }
    }
    judged
}

/// `/health/kafka`.
pub fn cluster(checks: &Checks) -> Answer {
    let view = checks.view();
    let health = judge::cluster(&view.servers, view.error.as_deref());
    let brokers = view.servers.iter().map(|server| {
        let mut broker = json!({ "server": server.server, "reachable": server.reachable });
        if let Some(id) = server.id {
            broker["id"] = json!(id);
        }
        broker
    });
    let topics = view
        .topics
        .iter()
        .map(|(check, age)| json!({ "topic": check.topic, "status": status_of(check, *age) }));
    let mut details = json!({ "age_seconds": view.age.map(seconds) });
    if let Some(error) = &view.error {
        details["error"] = json!(error);
    }
    let body = json!({
        "kafka_cluster": { "status": health, "details": details },
        "brokers": brokers.collect::<Vec<_>>(),
        "topics": topics.collect::<Vec<_>>(),
    });
    (health.code(), body)
}

/// `/health/topic/NAME`.
pub async fn topic(checks: &Checks, name: &str) -> Answer {
    if !is_topic(name) {
        let told: String = name.chars().take(MAX_TOPIC).collect();
        let body = json!({
            "topic": told,
            "status": TopicStatus::TopicNotFound,
            "partitions": [],
            "replication_factor": 0,
            "error": "no topic can have this name: it takes 1 to 249 letters, digits, `.`, `_` and `-`",
        });
        return (TopicStatus::TopicNotFound.code(), body);
    }
    match checks.topic(name).await {
        Some((check, age)) => told(&check, age),
        None => {
            let error = checks.view().error;
            let body = json!({
                "topic": name,
                "status": TopicStatus::Unknown,
                "partitions": [],
                "replication_factor": 0,
                "error": error.unwrap_or_else(|| "the brokers have not told yet".to_owned()),
            });
            (TopicStatus::Unknown.code(), body)
        }
    }
}

fn status_of(check: &TopicCheck, age: Duration) -> TopicStatus {
    match age < STALE {
        true => TopicStatus::of(check),
        false => TopicStatus::Error,
    }
}

fn told(check: &TopicCheck, age: Duration) -> Answer {
    let status = status_of(check, age);
    let known: &[PartitionCheck] = match &check.partitions {
        Some(Ok(partitions)) => partitions,
        Some(Err(_)) | None => &[],
    };
    let partitions = known.iter().map(|partition| {
        json!({
            "partition": partition.partition,
            "status": PartitionStatus::of(partition),
            "leader": partition.leader,
            "replicas": partition.replicas,
            "isrs": partition.in_sync,
        })
    });
    let factor = known.iter().map(|partition| partition.replicas.len()).max();
    let mut body = json!({
        "topic": check.topic,
        "status": status,
        "partitions": partitions.collect::<Vec<_>>(),
        "replication_factor": factor.unwrap_or(0),
        "age_seconds": seconds(age),
    });
    if let Some(Err(why)) = &check.partitions {
        body["error"] = json!(why);
    } else if age >= STALE {
        body["error"] = json!(format!("the brokers have not answered for {} s", age.as_secs()));
    }
    (status.code(), body)
}

/// To a millisecond.
fn seconds(age: Duration) -> f64 {
    (age.as_secs_f64() * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_told_in_the_shape_of_the_guide() {
        let check = TopicCheck {
            topic: "orders".to_owned(),
            partitions: Some(Ok(vec![PartitionCheck {
                partition: 0,
                leader: Some(2),
                replicas: vec![1, 2, 3],
                in_sync: vec![2, 3],
            }])),
        };
        let (code, body) = told(&check, Duration::from_millis(1_500));
        let expected = json!({
            "topic": "orders",
            "status": "degraded",
            "partitions": [
                { "partition": 0, "status": "under_replicated", "leader": 2, "replicas": [1, 2, 3], "isrs": [2, 3] }
            ],
            "replication_factor": 3,
            "age_seconds": 1.5,
        });
        assert_eq!((code, body), (200, expected));
        let (code, body) = told(&check, Duration::from_secs(40));
        assert_eq!((code, &body["status"]), (503, &json!("error")));
        assert_eq!(body["error"], json!("the brokers have not answered for 40 s"));
    }

    #[test]
    fn names_that_no_topic_can_have_are_known() {
        for name in ["", ".", "..", "a/b", "a%2Fb", "\u{e9}", &"x".repeat(250)] {
            assert!(!is_topic(name), "{name}");
        }
        assert!(is_topic("processing.tickets_in-2"));
    }
}
