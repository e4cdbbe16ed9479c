//! `/api/v1/alerts`: what is pending and fires in the rules that this instance owns.
//!
//! Rule: the shape is that of Prometheus' own API, so that what reads the one reads the other.
//!
//! Edges:
//! - a rule is on one instance: all have to be asked;
//! - of one partition of the alert stage at most [`SHOWN`](crate::engine::alert::SHOWN) are shown, those that fire first.

use serde_json::{Value as Json, json};

use crate::engine::task::AlertView;
use crate::runtime::stats::Numbers;

pub fn all(numbers: &Numbers) -> Json {
    json!({ "status": "success", "data": { "alerts": each(numbers) } })
}

pub fn each(numbers: &Numbers) -> Vec<Json> {
    let tasks = numbers.workers.values().flat_map(|worker| worker.tasks.values());
    tasks.flat_map(|(_, view)| &view.alerts).map(shown).collect()
}

fn shown(alert: &AlertView) -> Json {
    let own = [("alertname", &alert.rule), ("severity", &alert.severity)];
    let labels = alert
        .labels
        .iter()
        .map(|(name, value)| (name.as_str(), value))
        .chain(own);
    let labels: serde_json::Map<String, Json> = labels.map(|(name, value)| (name.to_owned(), json!(value))).collect();
    let since = jiff::Timestamp::from_microsecond(alert.since.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    json!({
        "labels": labels,
        "annotations": { "description": alert.description },
        "state": if alert.is_firing { "firing" } else { "pending" },
        "activeAt": since.to_string(),
        "value": alert.value.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::task::TaskView;
    use crate::engine::time::EventTime;
    use crate::runtime::log::TopicPartition;
    use crate::runtime::stats::Stats;

    #[test]
    fn alerts_have_the_shape_that_prometheus_gives_them() {
        let stats = Stats::default();
        let view = TaskView {
            alerts: vec![AlertView {
                rule: "HighConsumerLag".to_owned(),
                severity: "warning".to_owned(),
                labels: vec![("topic".to_owned(), "orders".to_owned())],
                is_firing: true,
                since: EventTime(1_795_356_000_000_000),
                value: 5_000.0,
                description: "far behind".to_owned(),
            }],
            ..TaskView::default()
        };
        let partition = TopicPartition {
            topic: "in".to_owned(),
            partition: 0,
        };
        stats.of("alert-0", |numbers| {
            drop(numbers.tasks.insert(partition, ("running", view)))
        });
        assert_eq!(
            all(&stats.lock()),
            json!({ "status": "success", "data": { "alerts": [{
                "labels": { "alertname": "HighConsumerLag", "severity": "warning", "topic": "orders" },
                "annotations": { "description": "far behind" },
                "state": "firing",
                "activeAt": "2026-11-22T14:00:00Z",
                "value": "5000",
            }] } })
        );
    }
}
