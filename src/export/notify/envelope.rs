//! Notifications as the users' services write them: a `system_alert` in their envelope.
//!
//! Rule: the event id is made of the notification's, so that an envelope that is read twice is known to be the same.

use serde_json::{Value as Json, json};
use uuid::Uuid;

use super::{is_resolved, stamp};
use crate::engine::alert::notification::{Label, Notification};

/// Of the users' services: ISO 8601 without a zone, which is UTC.
const TIME: &str = "%Y-%m-%dT%H:%M:%S.%6f";

/// Made for this purpose once.
const NAMESPACE: Uuid = Uuid::from_u128(0x7f0e_4c52_9d0b_4a57_8f25_6d3c_1b9e_2a40);

/// The record's value.
pub fn of(notification: &Notification) -> Vec<u8> {
    let time = stamp(notification.decided_at, TIME);
    let alerts = notification.alerts.iter().map(|alert| {
        json!({
            "labels": labels(&alert.labels),
            "value": alert.value,
            "description": alert.description,
            "status": if alert.ended.is_some() { "resolved" } else { "firing" },
            "since": stamp(alert.since, TIME),
            "ended": alert.ended.map(|ended| stamp(ended, TIME)),
        })
    });
    let envelope = json!({
        "event_id": Uuid::new_v5(&NAMESPACE, notification.id.as_bytes()).to_string(),
        "event_type": "system_alert",
        "timestamp": time,
        "producer_id": notification.application,
        "data": {
            "alert_type": notification.rule,
            "alert_data": {
                "name": notification.rule,
                "severity": notification.severity,
                "status": if is_resolved(notification) { "resolved" } else { "firing" },
                "summary": notification.summary,
                "group": labels(&notification.group),
                "alerts": alerts.collect::<Vec<Json>>(),
                "more": notification.more,
            },
            "timestamp": time,
        },
    });
    envelope.to_string().into_bytes()
}

fn labels(of: &[Label]) -> Json {
    of.iter()
        .map(|label| (label.name.clone(), json!(label.value)))
        .collect()
}
