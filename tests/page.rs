//! The status page, in a real browser.
//!
//! Promise: it shows what the instance knows, goes on by itself, says when nobody answers, loads nothing from elsewhere,
//! and takes nothing that came from a record for anything but text. Pictures of it are left in `target/tmp/page-*.png`.

mod common;

use std::path::Path;
use std::time::Duration;

use common::browser::{Browser, Look};
use common::chaos::{create_topics, hurried_pipeline};
use common::collector::Collector;
use common::instance::{Application, Instance};
use common::kafka::{Kafka, Write};
use common::traffic::{Traffic, stamp, troubled};
use common::{eventually, folder, my_turn, now_micros, seed};
use serde_json::Value as Json;

const LIMIT: Duration = Duration::from_secs(60);
const RECEIVED: &str = "channel_messages_received_total";
/// A channel's name that would be somebody's script.
const HOSTILE: &str = "<img src=x onerror='document.title=1'>";

/// A rule that fires as soon as somebody is behind.
const BEHIND: &str = "
alerts:
  IsBehind:
    metric: kafka_consumer_lag
    above: 0
    severity: warning
    summary: Somebody is behind
    description: '{{ consumer_group }} is behind'
";

#[test]
fn the_page_shows_what_the_instance_knows_and_goes_on_by_itself() {
    let _turn = my_turn();
    let seed = seed(31);
    let folder = folder();
    let kafka = Kafka::start();
    create_topics(&kafka);
    let pipeline = hurried_pipeline(folder.path(), "[billing, shipping]");
    let text = std::fs::read_to_string(&pipeline).expect("the pipeline");
    std::fs::write(&pipeline, text.replacen("\nalerts:\n", BEHIND, 1)).expect("a pipeline");
    let collector = Collector::start(folder.path());
    let application = Application::new(folder.path(), &pipeline, &kafka.bootstrap(), &collector.endpoint());
    let mut instance = application.start("one");
    let writer = kafka.writer();
    let mut traffic = Traffic::new(seed, troubled(400, 8));
    let browser = Browser::start(folder.path());
    eventually("an answer", LIMIT, || instance.get("/api/v1/status"));
    // Somebody watches from the beginning on, so there is a look every two seconds.
    browser.open(&format!("http://127.0.0.1:{}/", instance.http()));
    traffic.write(&writer, 4_000);
    kafka.reset("billing", "processing.tickets.in", 2, 3);
    kafka.reset("shipping", "processing.tickets.in", 2, 1);

    let shown = eventually("everything that is known", LIMIT, || {
        let state = state(&instance)?;
        agrees(&browser, &state)?;
        let (groups, times) = (&state["lag"]["shown"], &state["durations"]);
        match (groups.as_array(), times.as_array()) {
            (Some(groups), Some(times)) if groups.len() == 2 && !times.is_empty() => Ok(state),
            _ => Err(format!("{groups} {times}")),
        }
    });
    let groups = &shown["lag"]["shown"];
    assert_eq!(
        (&groups[0]["group"], &groups[1]["group"]),
        (&"shipping".into(), &"billing".into()),
        "who is further behind comes first"
    );
    let behind = eventually("the alerts", LIMIT, || {
        let said = browser.text("#alerts");
        match said.matches("firing · warning").count() {
            2 => Ok(said),
            _ => Err(said),
        }
    });
    for part in [
        "IsBehind",
        "consumer_group=\"shipping\"",
        "shipping is behind",
        "billing is behind",
    ] {
        assert!(behind.contains(part), "{part} in {behind}");
    }
    let title = browser.run("return document.title");
    assert!(title.as_str().is_some_and(|title| title.starts_with('(')), "{title}");
    assert_eq!(browser.text("#application"), "support");
    let lag = browser.text("#lag");
    assert!(
        lag.contains("billing") && lag.contains("processing.tickets.in"),
        "{lag}"
    );
    let times = browser.text("#durations");
    assert!(
        times.contains("response_time_seconds") && times.contains("p95"),
        "{times}"
    );
    eventually("sparklines", LIMIT, || {
        match browser
            .run("return document.querySelectorAll('#counters path.line').length")
            .as_u64()
        {
            Some(drawn @ 5..) => Ok(drawn),
            few => Err(format!("{few:?}")),
        }
    });

    // Nobody has reloaded it.
    let before = total(&shown);
    writer.write(&Write {
        topic: "ingestion.raw.messages".to_owned(),
        value: Some(hostile().into_bytes()),
        ..Write::default()
    });
    writer.flush();
    let after = eventually("what came since", LIMIT, || {
        let state = state(&instance)?;
        agrees(&browser, &state)?;
        let told = browser.text("#counters");
        match told.contains("onerror") {
            true => Ok(total(&state)),
            false => Err(told),
        }
    });
    assert!(after > before, "{before} and then {after}");
    assert_eq!(
        browser.run("return document.querySelectorAll('img, iframe, link, object').length"),
        0
    );
    assert_eq!(browser.console(), Vec::<String>::new());
    let loaded =
        browser.run("return performance.getEntriesByType('resource').map((entry) => new URL(entry.name).origin)");
    let own = format!("http://127.0.0.1:{}", instance.http());
    assert!(
        loaded
            .as_array()
            .is_some_and(|all| all.iter().all(|origin| *origin == *own)),
        "{loaded}"
    );

    for look in Look::ALL {
        browser.look(look);
        let width = browser.run("return document.documentElement.scrollWidth - window.innerWidth");
        assert!(
            width.as_i64().is_some_and(|over| over <= 0),
            "{look:?} is {width} px too wide"
        );
        browser.picture(
            look,
            &Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("page-{}.png", look.name())),
        );
    }

    let ran = browser.run(
        "const script = document.createElement('script'); script.textContent = 'window.ran = true'; \
         document.body.append(script); return window.ran === true",
    );
    assert_eq!(ran, false, "a script that is not the page's own");

    instance.kill();
    eventually("a word that nobody answers", LIMIT, || match browser.text("#live") {
        told if told.starts_with("no answer") => Ok(()),
        told => Err(told),
    });
    instance.resume();
    eventually("the page is live again", LIMIT, || match &*browser.text("#live") {
        "live" => agrees(&browser, &state(&instance)?),
        told => Err(told.to_owned()),
    });

    // With a token the page asks for it, and takes it as a password.
    instance.kill();
    instance
        .application
        .extra
        .extend(["--http-token", "${env:TOKEN}"].map(str::to_owned));
    instance.application.environment.push(("TOKEN", "hush-hush".to_owned()));
    instance.resume();
    eventually("who has no token is refused", LIMIT, || match instance.get("/")? {
        (401, _) => Ok(()),
        (status, text) => Err(format!("{status}: {text}")),
    });
    browser.open(&format!("http://anybody:hush-hush@127.0.0.1:{}/", instance.http()));
    eventually("who has it sees the page", LIMIT, || match &*browser.text("#live") {
        "live" => Ok(()),
        told => Err(told.to_owned()),
    });
    instance.stop();
}

/// What the page is made of.
fn state(instance: &Instance) -> Result<Json, String> {
    match instance.get("/api/v1/status")? {
        (200, text) => serde_json::from_str(&text).map_err(|error| format!("{error}: {text}")),
        (status, text) => Err(format!("{status}: {text}")),
    }
}

fn counter<'s>(state: &'s Json, name: &str) -> Option<&'s Json> {
    state["counters"]
        .as_array()?
        .iter()
        .find(|counter| counter["name"] == name)
}

/// Messages received.
fn total(state: &Json) -> u64 {
    counter(state, RECEIVED)
        .and_then(|counter| counter["total"].as_f64())
        .map_or(0, |total| total as u64)
}

/// The page shows this state: the same totals, ledgers that add up, a square for each task.
fn agrees(browser: &Browser, state: &Json) -> Result<(), String> {
    let received = total(state);
    let told = browser.text("#counters");
    if received == 0 || !told.contains(&format!("{RECEIVED} · {} in all", grouped(received))) {
        return Err(format!("{received} received, and the page says: {told}"));
    }
    let ledgers = state["ledger"].as_array().cloned().unwrap_or_default();
    let told = browser.text("#ledger");
    for ledger in &ledgers {
        let outcomes: u64 = ledger["outcomes"]
            .as_object()
            .map_or(0, |all| all.values().filter_map(Json::as_u64).sum());
        if ledger["records"] != outcomes || ledger["imbalance"] != 0 {
            return Err(format!("{ledger}"));
        }
        if !told.contains(ledger["topic"].as_str().unwrap_or("?")) {
            return Err(told);
        }
    }
    if told.matches("balanced").count() != ledgers.len() || ledgers.is_empty() {
        return Err(told);
    }
    let count = |of: &Json, key: &str| of[key].as_array().map_or(0, Vec::len);
    let stages = state["stages"].as_array().cloned().unwrap_or_default();
    let topics = stages
        .iter()
        .flat_map(|stage| stage["topics"].as_array().cloned().unwrap_or_default());
    let tasks: usize = topics.map(|topic| count(&topic["tasks"], "shown")).sum();
    let squares = browser.run("return document.querySelectorAll('#stages .squares i').length");
    match squares.as_u64() == Some(tasks as u64) {
        true => Ok(()),
        false => Err(format!("{tasks} tasks, {squares} squares")),
    }
}

/// As the page writes whole numbers.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn hostile() -> String {
    serde_json::json!({
        "event_id": "0b1c", "event_type": "raw_message", "timestamp": stamp(now_micros()), "producer_id": "nobody",
        "data": { "channel": HOSTILE, "message_id": "m", "content": {}, "received_at": stamp(now_micros()) },
    })
    .to_string()
}
