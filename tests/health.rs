//! How the cluster and the pipeline are is told at once, whatever the brokers do.
//!
//! Promise: a broker that is away shows within seconds, in the shape of the guide; an answer never waits for a broker, and
//! names that no topic can have, slow clients and huge heads harm nobody.

mod common;

use std::collections::BTreeSet;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use common::collector::Collector;
use common::instance::{Application, BINARY, Instance, said};
use common::kafka::Kafka;
use common::{eventually, folder, my_turn};
use serde_json::Value as Json;

const EVENTS: &str = "events";
const LIMIT: Duration = Duration::from_secs(60);

/// A probe is answered within this time, also on a busy machine.
const PROMPT: Duration = Duration::from_millis(100);

/// What `${env:TOKEN}` stands for.
const TOKEN: &str = "open-sesame";

const PIPELINE: &str = "
pipeline: events
sources:
  events: { topic: events, time: /timestamp }
metrics:
  events_total: { count: events }
";

struct System {
    kafka: Kafka,
    collector: Collector,
    application: Application,
    _folder: tempfile::TempDir,
}

impl System {
    fn of(kafka: Kafka) -> Self {
        let folder = folder();
        kafka.create_topic(EVENTS, 3, &[]);
        let pipeline = folder.path().join("events.yaml");
        std::fs::write(&pipeline, PIPELINE).expect("a pipeline");
        let collector = Collector::start(folder.path());
        let application = Application::new(folder.path(), &pipeline, &kafka.bootstrap(), &collector.endpoint());
        Self {
            kafka,
            collector,
            application,
            _folder: folder,
        }
    }
}

/// Status and JSON, however it went.
fn asked(instance: &Instance, path: &str) -> (u16, Json) {
    ask(instance, path).expect("an answer")
}

fn ask(instance: &Instance, path: &str) -> Result<(u16, Json), String> {
    let (status, body) = instance.get(path)?;
    let json = serde_json::from_str(&body).map_err(|error| format!("{error} in {path}: {body}"));
    Ok((status, json?))
}

/// Waits until the answer's JSON is this at this place.
fn becomes(instance: &Instance, path: &str, place: &str, status: u16, value: &str) -> Json {
    eventually(&format!("{path}: {place} is {value}"), LIMIT, || {
        let (found, json) = ask(instance, path)?;
        match json.pointer(place).and_then(Json::as_str) {
            Some(at) if at == value && found == status => Ok(json),
            _ => Err(format!("{found}: {json}")),
        }
    })
}

/// The command line says the same. It can name a token.
fn health(http: u16, options: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(BINARY)
        .args(["health", "--http", &format!("127.0.0.1:{http}")])
        .args(options)
        .env("TOKEN", TOKEN)
        .output()
        .expect("it runs");
    (output.status.code(), said(&output))
}

#[test]
fn a_broker_that_is_killed_shows_and_when_all_are_answers_still_come_at_once() {
    let _turn = my_turn();
    let mut system = System::of(Kafka::start_trio());
    system.kafka.create_topic_on("lonely", &[3]);
    let mut instance = system.application.start("one");
    let whole = becomes(&instance, "/health", "/status", 200, "healthy");
    for component in ["kafka", "pipeline", "outbox", "exporter"] {
        assert_eq!(whole["components"][component], "healthy", "{whole}");
        assert!(whole["checks"][component]["age_seconds"].is_number(), "{whole}");
    }
    assert!(whole["timestamp"].is_number(), "{whole}");
    let cluster = becomes(&instance, "/health/kafka", "/kafka_cluster/status", 200, "healthy");
    let brokers = cluster["brokers"].as_array().expect("a list");
    assert_eq!(brokers.len(), 3, "{cluster}");
    assert!(
        brokers
            .iter()
            .all(|broker| broker["reachable"] == true && broker["server"].is_string()),
        "{cluster}"
    );
    let topic = becomes(&instance, "/health/topic/events", "/status", 200, "healthy");
    assert_eq!(
        (&topic["topic"], &topic["replication_factor"]),
        (&"events".into(), &3.into())
    );
    for partition in topic["partitions"].as_array().expect("a list") {
        assert_eq!(partition["status"], "active");
        assert!(partition["leader"].is_number(), "{topic}");
        for list in ["replicas", "isrs"] {
            assert_eq!(partition[list].as_array().map(Vec::len), Some(3), "{topic}");
        }
    }
    becomes(&instance, "/health/topic/lonely", "/status", 200, "healthy");

    system.kafka.kill();
    let cluster = becomes(&instance, "/health/kafka", "/kafka_cluster/status", 200, "degraded");
    let away: Vec<&Json> = cluster["brokers"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|broker| broker["reachable"] == false)
        .collect();
    assert_eq!(away.len(), 1, "{cluster}");
    assert_eq!(away[0]["id"], 3, "{cluster}");
    let topic = becomes(&instance, "/health/topic/events", "/status", 200, "degraded");
    assert_eq!(topic["partitions"][0]["status"], "under_replicated", "{topic}");
    let lonely = becomes(&instance, "/health/topic/lonely", "/status", 503, "unhealthy");
    assert_eq!(lonely["partitions"][0]["status"], "no_leader", "{lonely}");
    assert_eq!(lonely["partitions"][0]["leader"], Json::Null, "{lonely}");
    let whole = becomes(&instance, "/health", "/components/kafka", 200, "degraded");
    assert!(
        whole["checks"]["kafka"]["why"]
            .to_string()
            .contains("cannot be reached"),
        "{whole}"
    );
    let (code, said) = health(instance.http(), &["--topic", "lonely"]);
    assert_eq!(code, Some(1), "{said}");

    system.kafka.resume();
    becomes(&instance, "/health", "/status", 200, "healthy");
    becomes(&instance, "/health/topic/lonely", "/status", 200, "healthy");
    eventually("it is ready", LIMIT, || instance.is_ready());

    // One that takes connections and says nothing is as good as gone, and holds no probe up.
    system.kafka.hangs(true);
    let mut slowest = Duration::ZERO;
    let hung = eventually("a broker that hangs", LIMIT, || {
        let asking = Instant::now();
        let (status, whole) = ask(&instance, "/health")?;
        slowest = slowest.max(asking.elapsed());
        match whole["components"]["kafka"] == "degraded" {
            true => Ok((status, whole)),
            false => Err(whole.to_string()),
        }
    });
    assert!(
        hung.1["checks"]["kafka"]["why"]
            .to_string()
            .contains("cannot be reached"),
        "{hung:?}"
    );
    println!("beside a broker that hangs the slowest answer took {slowest:?}");
    assert!(slowest < PROMPT, "an answer took {slowest:?}");
    system.kafka.hangs(false);
    becomes(&instance, "/health", "/status", 200, "healthy");

    system.kafka.kill_all();
    let killed = Instant::now();
    let mut slowest = Duration::ZERO;
    loop {
        let asking = Instant::now();
        let (status, whole) = asked(&instance, "/health");
        slowest = slowest.max(asking.elapsed());
        if (status, &whole["components"]["kafka"]) == (503, &"unhealthy".into()) {
            break;
        }
        assert!(
            killed.elapsed() < Duration::from_secs(5),
            "within five seconds: {whole}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    println!(
        "unhealthy after {:?}, the slowest answer took {slowest:?}",
        killed.elapsed()
    );
    for path in ["/health", "/health/kafka", "/health/topic/events", "/livez", "/readyz"] {
        let asking = Instant::now();
        instance.get(path).expect("an answer");
        slowest = slowest.max(asking.elapsed());
    }
    assert!(slowest < PROMPT, "an answer took {slowest:?}");
    eventually("it is not ready any more, and lives", LIMIT, || {
        let (status, told) = ask(&instance, "/readyz")?;
        let waits = told["waiting"].as_array().is_some_and(|waiting| !waiting.is_empty());
        match (status, waits, instance.get("/livez")?.0) {
            (503, true, 200) => Ok(()),
            _ => Err(format!("{status}: {told}")),
        }
    });
    instance.kill();
    drop(system.collector);
}

#[test]
fn what_no_topic_is_called_many_probes_slow_clients_and_huge_heads_harm_nobody() {
    let _turn = my_turn();
    let system = System::of(Kafka::start());
    let mut instance = system.application.start("one");
    becomes(&instance, "/health", "/status", 200, "healthy");
    let long = "x".repeat(300);
    for name in ["a/b", "a%2Fb", "%25", "..%2f..", "%00", &long] {
        let (status, json) = asked(&instance, &format!("/health/topic/{name}"));
        assert_eq!(
            (status, &json["status"]),
            (404, &"topic_not_found".into()),
            "{name}: {json}"
        );
        assert!(json["error"].is_string(), "{json}");
    }
    let (status, json) = asked(&instance, "/health/topic/%ff");
    assert_eq!(status, 400, "{json}");
    becomes(
        &instance,
        "/health/topic/no-such-topic",
        "/status",
        404,
        "topic_not_found",
    );
    let (code, said) = health(instance.http(), &["--topic", "events"]);
    assert_eq!((code, said.contains("\"healthy\"")), (Some(0), true), "{said}");
    eventually("it is ready", LIMIT, || match health(instance.http(), &[]) {
        (Some(0), _) => Ok(()),
        (_, told) => Err(told),
    });
    assert_eq!(asked(&instance, "/nothing").0, 404);

    // However many ask, it is looked at ten times a second, and goes on being looked at.
    let began = Instant::now();
    let told: BTreeSet<String> = (0..300)
        .map(|_| asked(&instance, "/health").1["timestamp"].to_string())
        .collect();
    let looks = began.elapsed().as_millis() / 100 + 2;
    assert!(told.len() as u128 <= looks, "{looks} looks at most: {told:?}");
    eventually("it is looked at again", LIMIT, || {
        let now = asked(&instance, "/health").1["timestamp"].to_string();
        if told.contains(&now) { Err(now) } else { Ok(()) }
    });

    // Clients that never finish what they say: more than are served at once.
    let slow: Vec<TcpStream> = (0..400)
        .filter_map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", instance.http())).ok()?;
            stream.write_all(b"GET /health HTTP/1.1\r\nHost:").ok()?;
            Some(stream)
        })
        .collect();
    assert!(slow.len() > 300, "{} are connected", slow.len());
    eventually("others are served again", Duration::from_secs(20), || {
        instance.get("/livez").map(drop)
    });
    drop(slow);
    let mut huge = TcpStream::connect(("127.0.0.1", instance.http())).expect("a connection");
    huge.set_read_timeout(Some(LIMIT)).expect("a time-out");
    // The other side may let go before all of it is written.
    let _ = write!(huge, "GET /livez HTTP/1.1\r\nX-Huge: {}\r\n\r\n", "x".repeat(1 << 20));
    let mut answer = Vec::new();
    let _ = huge.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.is_empty() || answer.contains(" 431 "), "{answer}");
    assert_eq!(instance.get("/livez").expect("an answer").0, 200);

    // A page elsewhere that lets its own name point here.
    let mut rebound = TcpStream::connect(("127.0.0.1", instance.http())).expect("a connection");
    rebound.set_read_timeout(Some(LIMIT)).expect("a time-out");
    write!(
        rebound,
        "GET /health HTTP/1.1\r\nHost: elsewhere.example\r\nConnection: close\r\n\r\n"
    )
    .expect("it is sent");
    let mut answer = String::new();
    rebound.read_to_string(&mut answer).expect("an answer");
    assert!(
        answer.starts_with("HTTP/1.1 421 ") && !answer.contains("components"),
        "{answer}"
    );
    instance.stop();
}

#[test]
fn with_a_token_only_who_has_it_is_told_and_what_was_left_open_is_open() {
    let _turn = my_turn();
    let system = System::of(Kafka::start());
    let given = system.application.clone().with(&["--http-token", TOKEN]);
    let (status, told) = given.start("given").ends(LIMIT);
    assert_eq!(status.code(), Some(2), "{told}");
    assert!(told.contains("${env:NAME}") && !told.contains(TOKEN), "{told}");

    let mut application = system.application.clone().with(&["--http-open", "livez"]);
    let named = "${env:TOKEN}";
    application.environment = vec![
        ("TOKEN", TOKEN.to_owned()),
        ("STREAMGAUGE_HTTP_TOKEN", named.to_owned()),
    ];
    let mut instance = application.start("one");
    eventually("it listens", LIMIT, || instance.get("/livez").map(drop));
    assert_eq!(asked(&instance, "/health").0, 401);
    for path in [
        "/readyz",
        "/",
        "/metrics",
        "/api/v1/status",
        "/api/v1/events",
        "/api/v1/alerts",
    ] {
        assert_eq!(asked(&instance, path).0, 401, "{path}");
    }
    eventually("who has the token is told", LIMIT, || {
        match health(instance.http(), &["--http-token", named]) {
            (Some(0), _) => Ok(()),
            (_, told) => Err(told),
        }
    });
    // As a container's health check does, which has the same environment.
    let mut check = Command::new(BINARY);
    check.args(["health", "--http", &format!("127.0.0.1:{}", instance.http())]);
    let output = check.env("TOKEN", TOKEN).env("STREAMGAUGE_HTTP_TOKEN", named).output();
    let output = output.expect("it runs");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let (code, told) = health(instance.http(), &[]);
    assert_eq!(code, Some(1), "{told}");
    instance.stop();
    assert!(!instance.process().output().contains(TOKEN));
}
