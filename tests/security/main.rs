//! A cluster that asks who you are is served like any other, and what it refuses is named.
//!
//! Rule: the rights are read from the table in docs/operations.md, so that it can neither ask for too much nor for too
//! little. One login gets exactly these; others get all but one.

#[path = "../common/mod.rs"]
mod common;
mod login;
mod polled;
mod rights;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::acls::{Acl, grant};
use common::collector::Collector;
use common::instance::{Application, BINARY, Instance, said};
use common::kafka::{Kafka, Write};
use common::oracle::labels;
use common::secured::{Secured, password};
use common::traffic::stamp;
use common::{eventually, folder, my_turn, now_micros};

const ORDERS: &str = "orders";
const LIMIT: Duration = Duration::from_secs(60);

/// A command that does not wait for the broker says what is wrong within this time, also on a busy machine.
const SOON: Duration = Duration::from_secs(20);

const PIPELINE: &str = r#"
pipeline: orders
defaults: { out_of_order: 1s, idle_after: 1s, window: 1s }
sources:
  orders: { topic: orders, time: /timestamp }
  answers: { topic: orders, time: /timestamp, when: 'kind == "answer"' }
metrics:
  orders_total: { count: orders, labels: { kind: /kind } }
  order_seconds: { respond: { from: orders, to: answers, on: /id, within: 1m } }
traces:
  orders: { of: order_seconds }
lag: { from: offsets, every: 1s }
alerts:
  ManyOrders: { metric: orders_total, above: 1000000, to: [nobody] }
receivers:
  nobody: { alertmanager: { url: "http://127.0.0.1:1" } }
"#;

/// The part of [`PIPELINE`] that asks for lag.
const LAG: &str = "lag: { from: offsets, every: 1s }\n";

fn pipeline(folder: &Path) -> PathBuf {
    let path = folder.join("orders.yaml");
    std::fs::write(&path, PIPELINE).expect("a pipeline");
    path
}

/// What docs/operations.md says that an application of this id and name of user needs.
fn documented(application: &str, user: &str) -> Vec<Acl> {
    let acls = rights_of("## What it needs of the broker", application, user);
    assert!(acls.len() > 10, "the table is there: {acls:?}");
    acls
}

/// The rights in the tables below this heading.
fn rights_of(heading: &str, application: &str, user: &str) -> Vec<Acl> {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).expect("the page");
    let (_, section) = page
        .split_once(&format!("\n{heading}\n"))
        .expect("the section about rights");
    let section = section.split("\n## ").next().expect("its text");
    let rows = section.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix('|')?.split('|').map(str::trim).collect();
        let [
            resource @ ("topic" | "group" | "transactional id"),
            pattern,
            name,
            operations,
            ..,
        ] = cells[..]
        else {
            return None;
        };
        Some((resource, pattern, name, operations))
    });
    rows.flat_map(|(resource, pattern, name, operations)| {
        operations.split(", ").map(move |operation| Acl {
            user: user.to_owned(),
            resource: resource.to_owned(),
            pattern: pattern.to_owned(),
            name: match name {
                "every input topic" => ORDERS.to_owned(),
                name => name.trim_matches('`').replacen("APP", application, 1),
            },
            operation: operation.to_owned(),
        })
    })
    .collect()
}

fn kafka_arguments(settings: &[String]) -> Vec<String> {
    settings
        .iter()
        .flat_map(|setting| ["--kafka".to_owned(), setting.clone()])
        .collect()
}

/// `streamgauge check --connect`, which must answer soon.
fn check(pipeline: &Path, bootstrap: &str, application: &str, settings: &[String]) -> Output {
    let began = Instant::now();
    let output = Command::new(BINARY)
        .arg("check")
        .arg(pipeline)
        .args(["--connect", "--bootstrap", bootstrap, "--application-id", application])
        .args(kafka_arguments(settings))
        .output()
        .expect("it runs");
    eprintln!("check took {:?}", began.elapsed());
    assert!(
        began.elapsed() < SOON,
        "check took {:?}: {}",
        began.elapsed(),
        said(&output)
    );
    output
}

fn audit(bootstrap: &str, application: &str, settings: &[String]) -> Output {
    Command::new(BINARY)
        .args(["audit", "--bootstrap", bootstrap, "--application-id", application])
        .args(kafka_arguments(settings))
        .output()
        .expect("it runs")
}

/// The command ends with this code and says these things, and never the passwords of these users.
#[track_caller]
fn refused(output: &Output, code: i32, parts: &[&str], users: &[&str]) {
    let said = said(output);
    assert_eq!(output.status.code(), Some(code), "{said}");
    for part in parts {
        assert!(said.contains(part), "`{part}` is in the message: {said}");
    }
    shows_no_password(&said, users);
}

#[track_caller]
fn shows_no_password(said: &str, users: &[&str]) {
    use base64::Engine;
    for user in users {
        let password = password(user);
        // As it is, and as it goes over the wire with PLAIN.
        let wire = base64::engine::general_purpose::STANDARD.encode(format!("\0{user}\0{password}"));
        for secret in [password, wire] {
            assert!(!said.contains(&secret), "the password of {user} is shown:\n{said}");
        }
    }
    assert!(!said.contains("geheim"), "a part of a password is shown:\n{said}");
}

fn write(kafka: &Kafka, kind: &str, count: usize) {
    let writer = kafka.writer();
    for number in 0..count {
        let value = format!(r#"{{"timestamp": "{}", "kind": "{kind}"}}"#, stamp(now_micros()));
        writer.write(&Write {
            topic: ORDERS.to_owned(),
            partition: number as u32 % 2,
            value: Some(value.into_bytes()),
            ..Write::default()
        });
    }
    writer.flush();
}

fn counted(collector: &mut Collector, kind: &str, count: i64) {
    eventually(&format!("{count} of {kind} are counted"), LIMIT, || {
        let counts = collector.points().counts("orders_total");
        if counts.get(&labels(&[("kind", kind)])) == Some(&count) {
            Ok(())
        } else {
            Err(format!("{counts:?}"))
        }
    });
}

fn says(instance: &mut Instance, what: &str) {
    eventually(&format!("{} says `{what}`", instance.name), LIMIT, || {
        let output = instance.process().output();
        if output.contains(what) { Ok(()) } else { Err(output) }
    });
}

/// An application of this id behind the broker's listener for logins.
fn application(folder: &Path, secured: &Secured, id: &str, otlp: &str, settings: &[String]) -> Application {
    let mut application = Application::new(folder, &pipeline(folder), &secured.login, otlp);
    application.id = id.to_owned();
    application.shuffle_partitions = 2;
    application.named = false;
    application.extra = kafka_arguments(settings);
    application
}

#[test]
fn the_documented_rights_suffice_and_no_secret_is_shown() {
    let _turn = my_turn();
    let folder = folder();
    let secured = Secured::start(&["plain", "auditor"], &["scram"]);
    let (kafka, bootstrap) = (&secured.kafka, secured.kafka.bootstrap());
    kafka.create_topic(ORDERS, 2, &[]);
    for user in ["plain", "scram", "certified"] {
        grant(&bootstrap, &documented("shop", user));
    }
    let looking = |resource: &str, name: &str| Acl {
        user: "auditor".to_owned(),
        resource: resource.to_owned(),
        pattern: "literal".to_owned(),
        name: name.to_owned(),
        operation: "DESCRIBE".to_owned(),
    };
    let mut collector = Collector::start(folder.path());

    let mut scram = secured.login_as("scram", "SCRAM-SHA-512");
    // The user's name comes from the environment.
    scram.retain(|setting| !setting.starts_with("sasl.username"));
    scram.push("sasl.username=${env:ORDERS_USER}".to_owned());
    scram.push("debug=security,broker,protocol,conf".to_owned());
    let mut application = application(folder.path(), &secured, "shop", &collector.endpoint(), &scram);
    application.environment = vec![("RUST_LOG", "debug".to_owned()), ("ORDERS_USER", "scram".to_owned())];
    write(kafka, "first", 10);
    let mut instance = application.start("one");
    counted(&mut collector, "first", 10);
    let arguments = std::fs::read(format!("/proc/{}/cmdline", instance.process().id())).expect("its arguments");
    let arguments = String::from_utf8_lossy(&arguments).into_owned();
    assert!(
        arguments.contains("sasl.password=${file:") && arguments.contains("sasl.username=${env:"),
        "{arguments}"
    );
    shows_no_password(&arguments, &["scram"]);
    instance.stop();
    let first_life = instance.process().output();
    // Its state comes back, which takes the right to read the changelog.
    write(kafka, "second", 4);
    write(kafka, "first", 1);
    instance.resume();
    counted(&mut collector, "first", 11);
    counted(&mut collector, "second", 4);
    instance.stop();
    let said_by_run = instance.process().output();
    assert!(said_by_run.len() > first_life.len(), "both lives are in one log");
    assert!(
        said_by_run.contains("librdkafka") || said_by_run.contains("SASL"),
        "debug lines are there: {said_by_run}"
    );
    assert!(!said_by_run.contains("not authorised"), "{said_by_run}");
    assert!(!said_by_run.contains("not trimmed"), "{said_by_run}");
    shows_no_password(&said_by_run, &["scram"]);
    assert!(
        collector.points().faults().is_empty(),
        "{:?}",
        collector.points().faults()
    );

    let at = |bootstrap: &str, settings: &[String]| check(&application.pipeline, bootstrap, "shop", settings);
    for (bootstrap, settings) in [
        (&secured.login, secured.login_as("scram", "SCRAM-SHA-512")),
        (&secured.login, secured.login_as("plain", "PLAIN")),
        (&secured.certificate, secured.certified_as("certified")),
    ] {
        let output = at(bootstrap, &settings);
        refused(&output, 0, &["orders  2 partitions"], &["scram", "plain"]);
    }

    let auditor = secured.login_as("auditor", "PLAIN");
    let output = audit(&secured.login, "shop", &auditor);
    refused(
        &output,
        1,
        &["DESCRIBE on the group and on the input topics"],
        &["auditor"],
    );
    grant(&bootstrap, &[looking("topic", ORDERS)]);
    let output = audit(&secured.login, "shop", &auditor);
    refused(
        &output,
        5,
        &["READ on group `shop`, or DESCRIBE to look only"],
        &["auditor"],
    );
    grant(&bootstrap, &[looking("group", "shop")]);
    let output = audit(&secured.login, "shop", &auditor);
    refused(
        &output,
        0,
        &["orders/0", "orders/1", "The ledger balances"],
        &["auditor"],
    );
}
