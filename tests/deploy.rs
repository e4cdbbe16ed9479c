//! What is below `deploy/` works as it is.
//!
//! Promise: Prometheus takes the rules, each fires, stays quiet and is explained in the runbook; the guide's five are the
//! guide's. A collector with the shipped configuration loses nothing that it has said OK to. Manifests fit together, their
//! arguments are taken by the binary, and what the image is built with is there.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::instance::{BINARY, said};
use common::process::{Process, part};
use common::prometheus::Prometheus;
use common::sdk::Sdk;
use common::secured::Authority;
use common::{eventually, folder, free_port, my_turn};
use opentelemetry::metrics::MeterProvider;
use serde_json::{Value as Json, json};

const RULES: [&str; 2] = ["kafka-alerts", "streamgauge-alerts"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn prometheus(name: &str) -> PathBuf {
    root().join("deploy/prometheus").join(name)
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The values of this key, wherever it stands, in order.
fn values<'t>(text: &'t str, key: &str) -> Vec<&'t str> {
    let lines = text.lines().map(|line| line.trim().trim_start_matches("- "));
    let values = lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    values.map(|value| value.trim().trim_matches('"')).collect()
}

fn promtool(arguments: &[&str], files: &[PathBuf]) {
    let output = Command::new(part("STREAMGAUGE_TEST_PROMTOOL"))
        .args(arguments)
        .args(files)
        .output()
        .expect("promtool starts");
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn prometheus_takes_the_rules_and_each_fires_and_stays_quiet_when_it_should() {
    let files = RULES.map(|rules| prometheus(&format!("{rules}.yml")));
    promtool(&["check", "rules", "--lint=all", "--lint-fatal"], &files);
    promtool(
        &["test", "rules"],
        &RULES.map(|rules| prometheus(&format!("{rules}.test.yml"))),
    );
    for rules in RULES {
        let tests = read(&prometheus(&format!("{rules}.test.yml")));
        // By alert, whether it is expected to fire, to be quiet.
        let mut tried: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        let cases = tests.split("- eval_time:").skip(1);
        for case in cases {
            let name = values(case, "alertname")[0].to_owned();
            let tried = tried.entry(name).or_default();
            match case.contains("exp_alerts: []") {
                true => tried.1 += 1,
                false => tried.0 += 1,
            }
        }
        let text = read(&prometheus(&format!("{rules}.yml")));
        let fors: BTreeSet<&str> = text
            .split("- alert: ")
            .skip(1)
            .filter(|rule| rule.contains("\n    for: "))
            .filter_map(|rule| rule.lines().next())
            .collect();
        for alert in values(&text, "alert") {
            let (fires, quiet) = tried.get(alert).copied().unwrap_or_default();
            // One that waits is seen pending, too.
            let least = if fors.contains(alert) { 2 } else { 1 };
            assert!(
                fires >= 1 && quiet >= least,
                "{alert} fires {fires} times and is quiet {quiet} times"
            );
        }
    }
}

#[test]
fn every_alert_is_in_the_runbook_and_every_heading_is_an_alert() {
    let mut alerts = BTreeSet::new();
    for rules in RULES {
        let text = read(&prometheus(&format!("{rules}.yml")));
        let names = values(&text, "alert");
        let urls = values(&text, "runbook_url");
        for (name, url) in names.iter().zip(&urls) {
            assert_eq!(*url, format!("docs/runbook.md#{}", name.to_lowercase()));
        }
        assert_eq!(names.len(), urls.len());
        alerts.extend(names.into_iter().map(str::to_owned));
    }
    let pipelines = ["support", "lag"].map(|name| root().join(format!("pipelines/{name}.yaml")));
    let plan = streamgauge::pipeline::load(&pipelines, &|_| None).expect("our own pipelines, together");
    alerts.extend(plan.alerts.into_iter().map(|alert| alert.name));
    let runbook = read(&root().join("docs/runbook.md"));
    let headings = runbook.lines().filter_map(|line| line.strip_prefix("## "));
    assert_eq!(headings.map(str::to_owned).collect::<BTreeSet<_>>(), alerts);
}

#[test]
fn the_guides_rules_are_the_guides() {
    let text = read(&prometheus("kafka-alerts.yml"));
    assert_eq!(
        values(&text, "expr"),
        [
            "kafka_consumer_lag > 1000",
            "rate(kafka_producer_errors_total[5m]) > 0.1",
            "rate(kafka_consumer_messages_total{status=\"error\"}[5m]) > 0.05",
            "rate(kafka_consumer_messages_total[5m]) < 1 and kafka_consumer_messages_total offset 5m > 10",
            "kafka_producer_queue_size > 1000",
        ]
    );
    assert_eq!(values(&text, "for"), ["2m", "2m", "2m", "10m", "2m"]);
    assert_eq!(
        values(&text, "severity"),
        ["warning", "critical", "warning", "warning", "warning"]
    );
}

fn deploy(path: &str) -> PathBuf {
    root().join("deploy").join(path)
}

/// All documents of a file.
fn documents(path: &str) -> Vec<Json> {
    let path = deploy(path);
    let found = serde_saphyr::from_multiple::<Json>(&read(&path));
    found.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn document(path: &str) -> Json {
    let mut all = documents(path);
    assert_eq!(all.len(), 1, "{path}");
    all.remove(0)
}

fn strings(list: &Json) -> Vec<String> {
    let all = list.as_array().into_iter().flatten().filter_map(Json::as_str);
    all.map(str::to_owned).collect()
}

/// The binary takes these arguments: with `--help` behind them it says so and does nothing.
fn takes(arguments: &[String]) -> Result<(), String> {
    let output = Command::new(BINARY)
        .args(arguments)
        .arg("--help")
        .output()
        .expect("it starts");
    match output.status.code() {
        Some(0) => Ok(()),
        _ => Err(said(&output)),
    }
}

#[test]
fn the_collector_takes_its_configurations() {
    let folder = folder();
    let authority = folder.path().join("ca.pem");
    std::fs::write(&authority, Authority::new().pem).expect("a file");
    for name in ["collector", "agent"] {
        let output = Command::new(part("STREAMGAUGE_TEST_COLLECTOR"))
            .args(["validate", "--config"])
            .arg(deploy(&format!("collector/{name}.yaml")))
            .env("QUEUE", folder.path().join("queue"))
            .env("CA", &authority)
            .output()
            .expect("it starts");
        assert!(output.status.success(), "{name}: {}", said(&output));
    }
}

#[test]
fn what_the_shipped_collector_said_ok_to_arrives_after_its_death() {
    let _turn = my_turn();
    let folder = folder();
    let mut prometheus = Prometheus::start(folder.path());
    let port = free_port();
    let receiver = prometheus.endpoint().replace("/v1/metrics", "");
    let start = || {
        let mut command = Command::new(part("STREAMGAUGE_TEST_COLLECTOR"));
        command
            .arg("--config")
            .arg(deploy("collector/collector.yaml"))
            .env("LISTEN", "127.0.0.1")
            .env("GRPC_PORT", port.to_string())
            .env("HTTP_PORT", free_port().to_string())
            .env("QUEUE", folder.path().join("queue"))
            .env("PROMETHEUS_OTLP", &receiver);
        let process = Process::start("collector", folder.path(), &mut command);
        eventually("the collector", Duration::from_secs(30), || {
            std::net::TcpStream::connect(("127.0.0.1", port))
                .map(drop)
                .map_err(|error| error.to_string())
        });
        process
    };
    let mut collector = start();
    prometheus.kill();
    let sdk = Sdk::sending(&format!("http://127.0.0.1:{port}"));
    sdk.meters.meter("test").u64_counter("kept_total").build().add(7, &[]);
    sdk.flush().expect("the collector says OK");
    collector.kill();
    let _collector = start();
    prometheus.resume();
    eventually("what it had said OK to", Duration::from_secs(60), || {
        match prometheus.values("kept_total")?[..] {
            [7.0] => Ok(()),
            ref others => Err(format!("{others:?}")),
        }
    });
}

#[test]
fn manifests_fit_together() {
    let labels = json!({ "app.kubernetes.io/name": "streamgauge" });
    let kustomization = document("kubernetes/kustomization.yaml");
    let listed = strings(&kustomization["resources"]);
    let files = std::fs::read_dir(deploy("kubernetes")).expect("a folder");
    let names = files.map(|file| file.expect("a file").file_name().to_string_lossy().into_owned());
    let others = ["kustomization.yaml", "pipeline.yaml", "examples"];
    let there: BTreeSet<String> = names.filter(|name| !others.contains(&&**name)).collect();
    assert_eq!(listed.iter().cloned().collect::<BTreeSet<_>>(), there);

    let deployment = document("kubernetes/deployment.yaml");
    let pod = &deployment["spec"]["template"];
    assert_eq!(pod["metadata"]["labels"], labels);
    let monitor = document("kubernetes/examples/podmonitor.yaml");
    let selectors = [
        &deployment["spec"]["selector"]["matchLabels"],
        &document("kubernetes/service.yaml")["spec"]["selector"],
        &document("kubernetes/poddisruptionbudget.yaml")["spec"]["selector"]["matchLabels"],
        &document("kubernetes/networkpolicy.yaml")["spec"]["podSelector"]["matchLabels"],
        &monitor["spec"]["selector"]["matchLabels"],
    ];
    for selector in selectors {
        assert_eq!(*selector, labels);
    }

    let container = &pod["spec"]["containers"][0];
    let arguments = strings(&container["args"]);
    takes(&arguments).expect("the arguments of deployment.yaml");
    takes(&[&arguments[..], &["--no-such-flag".to_owned()]].concat()).expect_err("it would say what it does not take");
    let port = container["ports"][0]["containerPort"].as_u64().expect("a port");
    assert!(arguments.contains(&format!("--http=0.0.0.0:{port}")));
    assert_eq!(
        document("kubernetes/networkpolicy.yaml")["spec"]["ingress"][0]["ports"][0]["port"],
        port
    );
    let open = arguments
        .iter()
        .find_map(|argument| argument.strip_prefix("--http-open="))
        .expect("what is open");
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let path = container[probe]["httpGet"]["path"].as_str().expect("a path");
        assert!(
            open.split(',').any(|open| format!("/{open}") == path),
            "{probe} asks for {path} without a token"
        );
    }
    assert!(
        pod["spec"]["terminationGracePeriodSeconds"].as_u64() > Some(20),
        "longer than --drain"
    );
    assert_eq!(pod["spec"]["securityContext"]["runAsNonRoot"], true);

    // Every volume that is mounted is there, and what the arguments read lies in one.
    let volumes = pod["spec"]["volumes"].as_array().expect("volumes");
    for mount in container["volumeMounts"].as_array().expect("mounts") {
        assert!(volumes.iter().any(|volume| volume["name"] == mount["name"]), "{mount}");
        let path = mount["mountPath"].as_str().expect("a path");
        assert!(
            arguments.iter().any(|argument| argument.contains(path)),
            "nothing reads {path}"
        );
    }
    let generated = &kustomization["configMapGenerator"][0];
    assert_eq!(generated["name"], volumes[0]["configMap"]["name"]);
    let pipeline = deploy("kubernetes/pipeline.yaml");
    let plan = streamgauge::pipeline::load(&[pipeline], &|_| None).expect("the pipeline of the manifests");
    assert!(plan.taps() && plan.lag.is_some());

    // No more instances than partitions: six, as everything here has.
    for (file, most) in [("keda", "/spec/maxReplicaCount"), ("hpa", "/spec/maxReplicas")] {
        let scaler = &documents(&format!("kubernetes/examples/{file}.yaml"))[0];
        assert_eq!(scaler.pointer(most), Some(&json!(6)), "{file}");
        assert_eq!(scaler["spec"]["scaleTargetRef"]["name"], deployment["metadata"]["name"]);
    }
    let group = &documents("kubernetes/examples/keda.yaml")[0]["spec"]["triggers"][0]["metadata"]["consumerGroup"];
    let application = arguments
        .iter()
        .find_map(|argument| argument.strip_prefix("--application-id="));
    assert_eq!(
        group.as_str(),
        application,
        "the tap's group has the application's name"
    );
    assert!(read(&root().join("docs/metrics.md")).contains("`streamgauge_watermark_lag_seconds`"));
}

#[test]
fn the_compose_file_fits_together() {
    let compose = document("compose/compose.yaml");
    let services = compose["services"].as_object().expect("services");
    for (name, service) in services {
        let image = service["image"].as_str().expect("an image");
        assert!(
            image == "streamgauge" || image.rsplit_once(':').is_some_and(|(_, tag)| tag != "latest"),
            "{image}"
        );
        for port in strings(&service["ports"]) {
            assert!(
                port.starts_with("127.0.0.1:"),
                "{name} can be reached by others at {port}"
            );
        }
        for volume in strings(&service["volumes"]) {
            let (from, _) = volume.split_once(':').expect("from and to");
            match from.starts_with('.') {
                true => assert!(deploy("compose").join(from).exists(), "{volume}"),
                false => assert!(
                    compose["volumes"].as_object().is_some_and(|all| all.contains_key(from)),
                    "{volume}"
                ),
            }
        }
        for other in service["depends_on"]
            .as_object()
            .into_iter()
            .flat_map(serde_json::Map::keys)
        {
            assert!(services.contains_key(other), "{other}");
        }
    }
    let arguments = strings(&services["streamgauge"]["command"]);
    takes(&arguments).expect("the arguments of the compose file");
    let pipelines = arguments
        .iter()
        .filter_map(|argument| argument.strip_prefix("/etc/streamgauge/"));
    let pipelines: Vec<PathBuf> = pipelines.map(|name| root().join("pipelines").join(name)).collect();
    let plan = streamgauge::pipeline::load(&pipelines, &|_| None).expect("the pipelines");
    let made = services["topics"]["command"][0].as_str().expect("a script");
    for topic in &plan.topics {
        assert!(made.contains(&*topic.topic), "{} is made", topic.topic);
    }
    // What the provisioned sources ask for is told.
    let sources = read(&deploy("grafana/provisioning/datasources/prometheus.yaml"));
    for name in ["PROMETHEUS_URL", "TRACES_URL"] {
        assert!(sources.contains(&format!("${{{name}}}")) && services["grafana"]["environment"][name].is_string());
    }
    let folder = folder();
    let rules = deploy("prometheus").display().to_string();
    let text = read(&deploy("compose/prometheus.yaml")).replace("/etc/prometheus/rules", &rules);
    let path = folder.path().join("prometheus.yaml");
    std::fs::write(&path, text).expect("a file");
    promtool(&["check", "config"], &[path]);
}

/// The names of the package's targets, each of which has a file. Cargo leaves out what it finds two files for.
fn targets(folder: &Path) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--locked",
            "--offline",
            "--no-deps",
            "--format-version",
            "1",
        ])
        .current_dir(folder)
        .output()
        .expect("cargo starts");
    assert!(output.status.success(), "{}", said(&output));
    let package: Json = serde_json::from_slice(&output.stdout).expect("JSON");
    let targets = package["packages"][0]["targets"].as_array().expect("targets");
    let named = targets.iter().map(|target| {
        let source = target["src_path"].as_str().expect("a path");
        assert!(Path::new(source).is_file(), "{source}");
        format!("{} {}", target["kind"], target["name"])
    });
    named.collect()
}

fn shell(script: &str, folder: &Path) {
    let output = Command::new("bash")
        .args(["-c", script])
        .current_dir(folder)
        .output()
        .expect("a shell");
    assert!(output.status.success(), "{script}\n{}", said(&output));
}

/// The steps that need no engine: what the first layer is built from is a whole package, and what is copied is there.
#[test]
fn the_images_steps_can_be_done() {
    let text = read(&root().join("Dockerfile"));
    let folder = folder();
    for name in ["Cargo.toml", "Cargo.lock"] {
        std::fs::copy(root().join(name), folder.path().join(name)).expect("a copy");
    }
    let (_, step) = text.split_once("RUN mkdir src").expect("the step of empty sources");
    let (step, _) = step.split_once("&& cargo build").expect("what it is for");
    let script = format!(
        "set -e; mkdir src {}",
        step.replace("\\\n", " ").trim_end().trim_end_matches('\\')
    );
    shell(&script, folder.path());
    targets(folder.path());
    // The sources over the empty ones.
    let (before, _) = text.split_once("\nCOPY . .").expect("the step of the real sources");
    let (_, last) = before.rsplit_once("\nRUN ").expect("a step before it");
    let script = format!(
        "set -e; {last}; cp -r {}/{{benches,examples,src,tests,build.rs}} .",
        root().display()
    );
    shell(&script, folder.path());
    assert_eq!(targets(folder.path()), targets(root()));
    let runs = text
        .lines()
        .filter_map(|line| line.split_once("CMD [").map(|(_, rest)| rest.trim_end_matches(']')));
    for command in runs {
        let words: Vec<String> = serde_json::from_str(&format!("[{command}]")).expect("words");
        assert_eq!(words[0], "streamgauge");
        takes(&words[1..]).expect("the health check");
    }
    let profile = read(&root().join("Cargo.toml"));
    let version = profile
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "))
        .expect("a version");
    let image = text
        .lines()
        .find_map(|line| line.strip_prefix("FROM rust:"))
        .expect("an image");
    let number = |text: &str| -> Option<u32> { text.trim_matches('"').split(['.', '-']).nth(1)?.parse().ok() };
    assert!(number(image) >= number(version), "{image} builds what wants {version}");
}
