//! Notifications for Alertmanager's API v2.
//!
//! Rule: each alert of a notification is posted with its start and its end; of what fires the end lies so far ahead that
//! the next repeat comes before it. So Alertmanager forgets an alert whose repeats do not come any more, and no other.
//!
//! Edges:
//! - all URLs are told at once, as Alertmanagers of a cluster want it, and one that takes it is enough: while another is
//!   down, what comes next must not wait; it hears of what still fires with the next repeat.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Certificate, Client, redirect};
use serde_json::{Value as Json, json};

use super::{again, stamp};
use crate::engine::alert::notification::{Alert, Notification};
use crate::engine::plan;
use crate::export::sender::with_causes;
use crate::export::verdict::{Verdict, shorten};

const TIMEOUT: Duration = Duration::from_secs(10);

const TIME: &str = "%Y-%m-%dT%H:%M:%S.%6fZ";

/// So many repeats may fail to come before Alertmanager takes an alert for over.
const REPEATS: i64 = 4;

pub struct Alertmanager {
    client: Client,
    settings: plan::Alertmanager,
}

// === impl Alertmanager ===

impl Alertmanager {
    pub fn new(settings: &plan::Alertmanager) -> Result<Self, String> {
        let mut client = Client::builder()
            .user_agent(crate::export::USER_AGENT)
            .redirect(redirect::Policy::none())
            .timeout(TIMEOUT)
            .http1_only();
        if let Some(pem) = &settings.authority {
            let authorities = Certificate::from_pem_bundle(pem).map_err(|error| with_causes(&error))?;
            client = client.tls_certs_only(authorities);
        }
        Ok(Self {
            client: client.build().map_err(|error| with_causes(&error))?,
            settings: settings.clone(),
        })
    }

    pub fn urls(&self) -> String {
        self.settings.urls.join(", ")
    }

    pub async fn tell(&self, notification: &Notification) -> Verdict {
        let body = body(notification).to_string();
        let posts = self.settings.urls.iter().map(|url| self.post(url, &body));
        together(join_all(posts).await)
    }

    async fn post(&self, url: &str, body: &str) -> Verdict {
        let mut request = self
            .client
            .post(format!("{url}/api/v2/alerts"))
            .header("content-type", "application/json")
            .body(body.to_owned());
        if let Some(token) = &self.settings.token {
            request = request.bearer_auth(token.reveal());
        } else if let Some(login) = &self.settings.login {
            request = request.basic_auth(&login.username, Some(login.password.reveal()));
        }
        let answer = match request.send().await {
            Ok(answer) => answer,
            Err(error) => {
                return Verdict::Retry {
                    after: None,
                    message: shorten(&format!("{url}: {}", with_causes(&error.without_url()))),
                };
            }
        };
        let status = answer.status();
        let said = || async { shorten(&answer.text().await.unwrap_or_default()) };
        match status.as_u16() {
            200..=299 => Verdict::Accepted,
            400 | 422 => Verdict::Refused {
                message: format!("{url} refuses the alert: {status}: {}", said().await),
            },
            401 | 403 | 404 | 405 | 407 | 300..=399 => {
                again(format!("{url}: {status}; set the receiver's `url` and login right"))
            }
            _ => Verdict::Retry {
                after: None,
                message: format!("{url}: {status}"),
            },
        }
    }
}

/// What became of a notification, by what each URL said.
fn together(verdicts: Vec<Verdict>) -> Verdict {
    if verdicts.contains(&Verdict::Accepted) {
        for other in verdicts.iter().filter(|verdict| **verdict != Verdict::Accepted) {
            tracing::warn!(
                event_type = "alertmanager_partly_told",
                "another Alertmanager took it, this one did not: {}",
                other.message()
            );
        }
        return Verdict::Accepted;
    }
    // The first that may pass, else the first.
    let said = verdicts
        .into_iter()
        .min_by_key(|verdict| !matches!(verdict, Verdict::Retry { .. }));
    said.unwrap_or_else(|| again("no Alertmanager is named".to_owned()))
}

/// What is posted.
pub fn body(notification: &Notification) -> Json {
    let alerts = notification.alerts.iter().map(|alert| of_alert(notification, alert));
    Json::Array(alerts.collect())
}

fn of_alert(notification: &Notification, alert: &Alert) -> Json {
    let mut labels: serde_json::Map<String, Json> = alert
        .labels
        .iter()
        .map(|label| (label.name.clone(), json!(label.value)))
        .collect();
    labels.insert("alertname".to_owned(), json!(notification.rule));
    labels.insert("severity".to_owned(), json!(notification.severity));
    let repeat = i64::from(notification.repeat_after) * 1_000_000;
    let end = alert
        .ended
        .unwrap_or_else(|| notification.decided_at.saturating_add(REPEATS * repeat));
    json!({
        "labels": labels,
        "annotations": { "summary": notification.summary, "description": alert.description },
        "startsAt": stamp(alert.since, TIME),
        "endsAt": stamp(end, TIME),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_takes_it_is_enough_and_of_those_that_do_not_one_that_may_yet_decides() {
        let refused = || Verdict::Refused {
            message: "no".to_owned(),
        };
        let away = || Verdict::Retry {
            after: None,
            message: "away".to_owned(),
        };
        assert_eq!(together(vec![away(), Verdict::Accepted, refused()]), Verdict::Accepted);
        assert_eq!(together(vec![refused(), away()]), away());
        assert_eq!(together(vec![refused(), refused()]), refused());
    }
}
