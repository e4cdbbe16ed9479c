//! Alerts reach people.
//!
//! Promise: each decision reaches each receiver, mail over STARTTLS with a login under one Message-ID, also when processes
//! are killed; what a person has to mend is said, and the alert is kept until it is mended; who stalls holds nobody else.

mod common;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::Duration;

use common::instance::{Application, Instance};
use common::kafka::{Kafka, Write};
use common::mail::{Accepted, Alertmanager, Mail, PASSWORD};
use common::secured::Authority;
use common::{eventually, folder, free_port, my_turn};
use serde_json::Value as Json;

const LIMIT: Duration = Duration::from_secs(60);

/// The group, and the topic that it is behind on.
const GROUP: &str = "billing";
const TOPIC: &str = "orders";

/// A password that the mail server does not know; nothing else in any output looks like it.
const WRONG: &str = "xyzzy-4711";

const ALERTS: &str = "alerts.out";

fn pipeline(mail: u16, alertmanager: u16, stalled: u16) -> String {
    format!(
        "pipeline: lag
lag: {{ groups: {GROUP}, every: 1s }}
alerts:
  HighConsumerLag:
    metric: kafka_consumer_lag
    above: 5
    severity: critical
    group: [consumer_group]
    summary: High consumer lag detected
    description: 'Consumer {{{{ consumer_group }}}} on {{{{ topic }}}}[{{{{ partition }}}}] has lag of {{{{ value }}}} messages'
    to: [bus, oncall, operators, stalled]
receivers:
  operators:
    mail:
      server: localhost:{mail}
      from: 'Wächter <streamgauge@example.com>'
      to: [ops@example.com, nobody@example.com, later@example.com, crm@example.com]
      username: streamgauge
      password: ${{env:SMTP_PASSWORD}}
      authority: ${{file:ca.pem}}
  oncall: {{ alertmanager: {{ url: ['http://127.0.0.1:1', 'http://127.0.0.1:{alertmanager}'] }} }}
  bus: {{ topic: {ALERTS} }}
  stalled: {{ mail: {{ server: 'localhost:{stalled}', from: a@example.com, to: b@example.com }} }}
"
    )
}

/// Waits until the instance's log says this.
fn says(instance: &mut Instance, what: &str) {
    eventually(&format!("`{what}` is said"), LIMIT, || {
        let output = instance.process().output();
        match output.contains(what) {
            true => Ok(()),
            false => Err(instance.process().tail()),
        }
    });
}

fn envelopes(kafka: &Kafka) -> Vec<Json> {
    let stored = kafka.read(ALERTS, true).into_iter();
    stored
        .map(|record| serde_json::from_slice(&record.value.expect("a value")).expect("JSON"))
        .collect()
}

/// Waits until all that can be reached have a mail whose subject is this.
fn mails(mail: &Mail, subject: &str) -> Vec<Accepted> {
    eventually(subject, LIMIT, || {
        let accepted = mail.accepted().into_iter();
        let found: Vec<Accepted> = accepted.filter(|mail| mail.header("Subject") == subject).collect();
        let reached: BTreeSet<&str> = found.iter().flat_map(|mail| &mail.to).map(String::as_str).collect();
        match reached == BTreeSet::from(["crm@example.com", "later@example.com", "ops@example.com"]) {
            true => Ok(found),
            false => Err(format!("{reached:?} have it")),
        }
    })
}

#[test]
fn decisions_reach_every_receiver_once_over_kills_wrong_passwords_and_wrong_certificates() {
    let _turn = my_turn();
    let folder = folder();
    let authority = Authority::new();
    std::fs::write(folder.path().join("ca.pem"), &authority.pem).expect("a file");
    let mut mail = Mail::start(folder.path(), &authority);
    let alertmanager = Alertmanager::start(folder.path());
    // It takes connections and never says anything.
    let stalled = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let stalled_port = stalled.local_addr().expect("an address").port();

    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, 1, &[]);
    kafka.create_topic(ALERTS, 3, &[]);
    let writer = kafka.writer();
    for _ in 0..10 {
        writer.write(&Write {
            topic: TOPIC.to_owned(),
            value: Some(b"{}".to_vec()),
            ..Write::default()
        });
    }
    writer.flush();
    let path = folder.path().join("lag.yaml");
    std::fs::write(&path, pipeline(mail.port, alertmanager.port, stalled_port)).expect("a pipeline");
    // No collector: alerts do not wait for metrics.
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    let mut application = Application::new(folder.path(), &path, &kafka.bootstrap(), &nowhere);
    application.environment = vec![("SMTP_PASSWORD", WRONG.to_owned())];
    let mut instance = application.start("one");

    // It fires. The wrong password is said, the others have it, nothing is lost.
    kafka.reset(GROUP, TOPIC, 0, 0);
    eventually("Alertmanager shows it", LIMIT, || {
        let alerts = alertmanager.alerts()?;
        let labels = alerts.first().map(|alert| &alert["labels"]).ok_or("no alert")?;
        assert_eq!(
            (&labels["alertname"], &labels["severity"]),
            (&"HighConsumerLag".into(), &"critical".into())
        );
        assert_eq!(
            (&labels["consumer_group"], &labels["topic"]),
            (&GROUP.into(), &TOPIC.into())
        );
        Ok(())
    });
    eventually("the envelope is there", LIMIT, || match envelopes(&kafka).len() {
        1 => Ok(()),
        other => Err(format!("{other} envelopes")),
    });
    let (_, shown) = instance.get("/api/v1/alerts").expect("an answer");
    let shown: Json = serde_json::from_str(&shown).expect("JSON");
    let alert = &shown["data"]["alerts"][0];
    assert_eq!(
        (&alert["state"], &alert["labels"]["consumer_group"]),
        (&"firing".into(), &GROUP.into()),
        "{shown}"
    );
    says(&mut instance, "refuses the login");
    says(&mut instance, "the receiver `stalled`");
    let (_, health) = instance.get("/health").expect("an answer");
    assert!(health.contains("notify"), "{health}");
    for written in [instance.process().output(), shown.to_string(), health] {
        assert!(!written.contains(WRONG), "the password is in no line and no answer");
    }
    assert_eq!(mail.accepted(), []);

    // Mended; killed right after the server has accepted.
    instance.kill();
    instance.application.environment = vec![("SMTP_PASSWORD", PASSWORD.to_owned())];
    instance.resume();
    eventually("the first mail is accepted", LIMIT, || match mail.accepted().len() {
        0 => Err("none".to_owned()),
        _ => Ok(()),
    });
    instance.kill();
    instance.resume();
    let firing = mails(&mail, "[CRITICAL] HighConsumerLag");
    says(&mut instance, "nobody@example.com");

    // Another instance takes the rule over, with what was told of it: the first one leaves, with what stalls on its hands.
    let second = instance.application.start("two");
    eventually("the second is ready", LIMIT, || second.is_ready());
    instance.stop();
    let first_said = instance.process().output();
    let mut instance = second;

    // It is over, while the server has a certificate that nobody trusts. With a right one it takes its time.
    mail.is_slow_to_answer(Duration::from_secs(12));
    mail.resume(&Authority::new());
    kafka.reset(GROUP, TOPIC, 0, 10);
    says(&mut instance, "is not trusted");
    mail.resume(&authority);
    instance.kill();
    instance.resume();
    let resolved = mails(&mail, "[RESOLVED] HighConsumerLag");
    eventually("Alertmanager shows that it is over", LIMIT, || {
        match alertmanager.alerts()?.as_slice() {
            [] => Ok(()),
            alerts => Err(format!("{alerts:?}")),
        }
    });
    eventually("both envelopes are there", LIMIT, || match envelopes(&kafka).len() {
        2 => Ok(()),
        other => Err(format!("{other} envelopes")),
    });

    for told in [&firing, &resolved] {
        let ids: BTreeSet<&str> = told.iter().map(|mail| mail.header("Message-ID")).collect();
        let texts: BTreeSet<&str> = told.iter().map(|mail| &*mail.content).collect();
        assert_eq!((ids.len(), texts.len()), (1, 1), "one decision is one mail: {told:?}");
    }
    // One for those that are taken at once and one for who was put off; one more each where a kill fell behind the acceptance.
    assert!((2..=3).contains(&firing.len()), "{firing:?}");
    let addresses: Vec<Vec<String>> = resolved.iter().map(|mail| mail.to.clone()).collect();
    assert_eq!(
        addresses,
        [vec!["ops@example.com", "crm@example.com"], vec!["later@example.com"]]
    );
    assert_ne!(firing[0].header("Message-ID"), resolved[0].header("Message-ID"));
    let text = &firing[0].content;
    for line in [
        "Alert: HighConsumerLag",
        "Severity: critical",
        "Description: Consumer billing on orders[0] has lag of 10 messages",
        "This is an automated alert from the Kafka monitoring system.",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    let envelopes = envelopes(&kafka);
    let events: BTreeSet<&str> = envelopes
        .iter()
        .filter_map(|envelope| envelope["event_id"].as_str())
        .collect();
    let states: BTreeSet<&str> = envelopes
        .iter()
        .filter_map(|envelope| envelope["data"]["alert_data"]["status"].as_str())
        .collect();
    assert_eq!((events.len(), states), (2, BTreeSet::from(["firing", "resolved"])));
    // The one that stalls is asked to the end: the process ends without it.
    instance.stop();
    drop(stalled);
    let said = first_said + &instance.process().output();
    assert!(!said.contains(PASSWORD), "the password is in no line");
}
