use serde_json::json;

use super::*;
use crate::engine::alert::notification::{Alert, Label};

/// 2026-11-22T14:00:00Z.
const T0: i64 = 1_795_356_000_000_000;
const MINUTE: i64 = 60_000_000;

fn label(name: &str, value: &str) -> Label {
    Label {
        name: name.to_owned(),
        value: value.to_owned(),
    }
}

fn notification(ended: &[Option<i64>]) -> Notification {
    let alerts = ended.iter().enumerate().map(|(partition, ended)| Alert {
        labels: vec![
            label("consumer_group", "billing"),
            label("partition", &partition.to_string()),
            label("topic", "orders"),
        ],
        value: 5_000.0,
        since: T0 - 2 * MINUTE,
        ended: *ended,
        description: format!("Consumer billing on topic orders[{partition}] has lag of 5000 messages"),
    });
    let is_over = ended.iter().all(Option::is_some);
    Notification {
        format: FORMAT,
        id: "0123456789abcdef0123456789abcdef".to_owned(),
        application: "support".to_owned(),
        pipeline: "lag".to_owned(),
        receiver: "operators".to_owned(),
        rule: "HighConsumerLag".to_owned(),
        severity: "warning".to_owned(),
        occasion: if is_over { Occasion::Resolved } else { Occasion::Firing } as i32,
        group: vec![label("consumer_group", "billing")],
        alerts: alerts.collect(),
        more: 0,
        decided_at: T0,
        summary: "High consumer lag detected".to_owned(),
        repeat_after: 3_600,
    }
}

#[test]
fn a_mail_is_the_guides() {
    let one = notification(&[None]);
    assert_eq!(mail::subject(&one), "[WARNING] HighConsumerLag");
    assert_eq!(
        mail::body(&one),
        "Alert: HighConsumerLag\n\
         Severity: warning\n\
         Description: Consumer billing on topic orders[0] has lag of 5000 messages\n\
         Timestamp: 2026-11-22 14:00:00 UTC\n\
         Since: 2026-11-22 13:58:00 UTC\n\
         \u{20} consumer_group = billing\n\
         \u{20} partition = 0\n\
         \u{20} topic = orders\n\
         \n\
         This is an automated alert from the Kafka monitoring system.\n"
    );
}

#[test]
fn a_mail_of_many_says_how_many_and_one_of_the_end_says_so() {
    let mut many = notification(&[None, Some(T0 - MINUTE)]);
    many.more = 900;
    let body = mail::body(&many);
    assert!(
        body.starts_with("1 firing, 1 resolved of consumer_group=billing.\n"),
        "{body}"
    );
    assert!(body.contains("Resolved: 2026-11-22 13:59:00 UTC\n"), "{body}");
    assert!(body.contains("And 900 more that are not listed.\n"), "{body}");
    assert_eq!(mail::subject(&notification(&[Some(T0)])), "[RESOLVED] HighConsumerLag");
}

#[test]
fn alertmanager_is_told_when_each_began_and_until_when_to_believe_it() {
    assert_eq!(
        alertmanager::body(&notification(&[None, Some(T0 - MINUTE)])),
        json!([
            {
                "labels": {
                    "alertname": "HighConsumerLag", "severity": "warning",
                    "consumer_group": "billing", "partition": "0", "topic": "orders",
                },
                "annotations": {
                    "summary": "High consumer lag detected",
                    "description": "Consumer billing on topic orders[0] has lag of 5000 messages",
                },
                "startsAt": "2026-11-22T13:58:00.000000Z",
                "endsAt": "2026-11-22T18:00:00.000000Z",
            },
            {
                "labels": {
                    "alertname": "HighConsumerLag", "severity": "warning",
                    "consumer_group": "billing", "partition": "1", "topic": "orders",
                },
                "annotations": {
                    "summary": "High consumer lag detected",
                    "description": "Consumer billing on topic orders[1] has lag of 5000 messages",
                },
                "startsAt": "2026-11-22T13:58:00.000000Z",
                "endsAt": "2026-11-22T13:59:00.000000Z",
            },
        ])
    );
}

#[test]
fn the_envelope_is_the_users_and_always_the_same() {
    let bytes = envelope::of(&notification(&[None]));
    assert_eq!(bytes, envelope::of(&notification(&[None])));
    let read: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!(read["event_type"], "system_alert");
    assert_eq!(read["timestamp"], "2026-11-22T14:00:00.000000");
    assert_eq!(read["producer_id"], "support");
    assert_eq!(read["data"]["alert_type"], "HighConsumerLag");
    assert_eq!(read["data"]["timestamp"], read["timestamp"]);
    assert_eq!(read["data"]["alert_data"]["alerts"][0]["labels"]["topic"], "orders");
    assert_eq!(read["data"]["alert_data"]["status"], "firing");
    assert!(
        read["event_id"]
            .as_str()
            .is_some_and(|id| id.parse::<uuid::Uuid>().is_ok())
    );
}

#[test]
fn who_is_unknown_is_waited_for_and_what_is_old_is_no_news() {
    let nobody = Notifier::new(&[]).expect("nobody");
    let told = |notification: &Notification, now| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(nobody.tell(&notification.encode_to_vec(), WallTime(now)))
    };
    let one = notification(&[None]);
    assert!(matches!(told(&one, T0), Verdict::Retry { .. }));
    assert!(matches!(told(&one, T0 + 11 * MINUTE), Verdict::Refused { .. }));
    assert!(matches!(told(&one, T0 + 1_441 * MINUTE), Verdict::Refused { message } if message.contains("older")));
    let of_tomorrow = Notification { format: 9, ..one };
    assert!(matches!(told(&of_tomorrow, T0), Verdict::Refused { message } if message.contains("format 9")));
}

/// What becomes of a mail to two addresses, where a server says these lines in turn, and what the server has heard.
fn posted(says: &'static [&'static str]) -> (Verdict, Vec<String>) {
    use std::io::{BufRead, BufReader, Write};

    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut lines = BufReader::new(stream.try_clone().expect("a stream")).lines();
        let mut heard = Vec::new();
        for answer in says {
            stream
                .write_all(format!("{answer}\r\n").as_bytes())
                .expect("it is taken");
            let is_text = answer.starts_with("354");
            for line in lines.by_ref().map_while(Result::ok) {
                heard.push(line.clone());
                if !is_text || line == "." {
                    break;
                }
            }
        }
        heard
    });
    let mail = crate::engine::plan::Mail {
        host: "127.0.0.1".to_owned(),
        port,
        security: crate::engine::plan::MailSecurity::None,
        from: "streamgauge@example.com".to_owned(),
        to: vec!["a@example.com".to_owned(), "b@example.com".to_owned()],
        login: None,
        authority: None,
    };
    let mailer = Mailer::new(&mail).expect("a mailer");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let verdict = runtime.block_on(mailer.tell(&notification(&[None])));
    (verdict, server.join().expect("the server ends"))
}

#[test]
fn what_a_mail_server_says_of_us_is_mended_and_what_it_says_of_the_text_is_final() {
    const OK: &str = "250 ok";
    const GO: &str = "354 go on";
    let is_kept = |says, told: &str| match posted(says).0 {
        Verdict::Retry {
            after: Some(_),
            message,
        } => assert!(message.contains(told), "{message}"),
        other => panic!("{other:?} after {says:?}"),
    };
    is_kept(&["554 no service for you"], "no service for you");
    is_kept(&["220 hi", OK, "553 not as this sender"], "not as this sender");
    is_kept(
        &["220 hi", OK, OK, "550 relay denied", "550 relay denied"],
        "b@example.com",
    );
    // The text itself.
    let (verdict, heard) = posted(&["220 hi", OK, OK, OK, "550 unknown", GO, "554 this is spam"]);
    assert!(
        matches!(&verdict, Verdict::Refused { message } if message.contains("this is spam")),
        "{verdict:?}"
    );
    assert_eq!(
        heard.iter().filter(|line| line.starts_with("RCPT")).count(),
        2,
        "{heard:?}"
    );
    // It goes away in the middle: nothing is decided.
    let (verdict, _) = posted(&["220 hi", OK, OK, OK, OK, GO]);
    assert!(matches!(verdict, Verdict::Retry { after: None, .. }), "{verdict:?}");
}
