//! A Prometheus that is written to over its OTLP receiver, and asked over its API.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value as Json;

use super::process::{Process, part};
use super::{eventually, free_port, http};

pub struct Prometheus {
    folder: PathBuf,
    port: u16,
    /// Ports whose `/metrics` are fetched.
    fetches: Vec<u16>,
    process: Option<Process>,
}

/// Label values by name, without `__name__` and without those of the resource.
pub type Labels = BTreeMap<String, String>;

impl Prometheus {
    pub fn start(folder: &Path) -> Self {
        Self::fetching(folder, &[])
    }

    /// One that fetches `/metrics` from these ports.
    pub fn fetching(folder: &Path, ports: &[u16]) -> Self {
        let folder = folder.join("prometheus");
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut prometheus = Self {
            folder,
            port: free_port(),
            fetches: ports.to_vec(),
            process: None,
        };
        prometheus.resume();
        prometheus
    }

    /// Starts it, again after `kill`.
    pub fn resume(&mut self) {
        let mut configuration =
            "storage: { tsdb: { out_of_order_time_window: 10m } }\notlp: { promote_all_resource_attributes: true }\n"
                .to_owned();
        if !self.fetches.is_empty() {
            let targets = self.fetches.iter().map(|port| format!("\"127.0.0.1:{port}\""));
            let targets: Vec<String> = targets.collect();
            configuration += &format!(
                "scrape_configs:\n- job_name: streamgauge\n  scrape_interval: 4s\n  scrape_timeout: 4s\n  \
                 scrape_native_histograms: true\n  static_configs: [{{ targets: [{}] }}]\n",
                targets.join(", ")
            );
        }
        let path = self.folder.join("prometheus.yaml");
        std::fs::write(&path, configuration).expect("a configuration");
        let mut command = Command::new(part("STREAMGAUGE_TEST_PROMETHEUS"));
        command
            .arg(format!("--config.file={}", path.display()))
            .arg(format!("--storage.tsdb.path={}", self.folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{}", self.port))
            .args([
                "--web.enable-otlp-receiver",
                "--web.enable-lifecycle",
                "--enable-feature=exemplar-storage",
            ]);
        self.process = Some(Process::start("prometheus", &self.folder, &mut command));
        let port = self.port;
        eventually("prometheus", Duration::from_secs(60), || {
            self.process.as_mut().expect("just started").must_live();
            match http::get(port, "/-/ready")? {
                (200, _) => Ok(()),
                (status, body) => Err(format!("{status}: {body}")),
            }
        });
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.as_mut().expect("it runs").kill();
    }

    /// Where metrics go, as `OTEL_EXPORTER_OTLP_METRICS_ENDPOINT` has it.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/api/v1/otlp/v1/metrics", self.port)
    }

    /// An instant query over an instant vector: the values by labels.
    pub fn query(&self, query: &str) -> Result<BTreeMap<Labels, f64>, String> {
        let value = |result: &Json| result["value"][1].as_str()?.parse().ok();
        self.ask(query, value)
    }

    /// A query of a range of samples, such as `metric[1h]`: `(seconds, value)`, oldest first.
    pub fn samples(&self, query: &str) -> Result<BTreeMap<Labels, Vec<(f64, f64)>>, String> {
        let sample = |pair: &Json| Some((pair[0].as_f64()?, pair[1].as_str()?.parse().ok()?));
        self.ask(query, |result| {
            result["values"].as_array()?.iter().map(sample).collect()
        })
    }

    /// All values of an instant query, whatever their labels.
    pub fn values(&self, query: &str) -> Result<Vec<f64>, String> {
        let results = self.results(query)?;
        let values = results.iter().filter_map(|of| of["value"][1].as_str()?.parse().ok());
        Ok(values.collect())
    }

    fn results(&self, query: &str) -> Result<Vec<Json>, String> {
        let (status, body) = http::get(self.port, &format!("/api/v1/query?query={}", http::encoded(query)))?;
        let mut json: Json = serde_json::from_str(&body).map_err(|error| format!("{status}: {error}: {body}"))?;
        if json["status"] != "success" {
            return Err(format!("{query}: {body}"));
        }
        match json["data"]["result"].take() {
            Json::Array(results) => Ok(results),
            _ => Err("no result".to_owned()),
        }
    }

    fn ask<T>(&self, query: &str, read: impl Fn(&Json) -> Option<T>) -> Result<BTreeMap<Labels, T>, String> {
        let mut answer = BTreeMap::new();
        for result in &self.results(query)? {
            let labels = result["metric"].as_object().ok_or("no labels")?.iter();
            let labels: Labels = labels
                .filter(|(name, _)| !RESOURCE.contains(&name.as_str()))
                .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
                .collect();
            let value = read(result).ok_or_else(|| format!("no value in {result}"))?;
            if answer.insert(labels.clone(), value).is_some() {
                return Err(format!("{query} has {labels:?} twice: {result}"));
            }
        }
        Ok(answer)
    }

    /// The exemplars of the last hour of all series of a metric: value, and their own labels.
    pub fn exemplars(&self, name: &str) -> Result<Vec<(f64, Labels)>, String> {
        let end = super::now_micros() / 1_000_000 + 60;
        let path = format!("/api/v1/query_exemplars?query={name}&start={}&end={end}", end - 3_600);
        let (_, body) = http::get(self.port, &path)?;
        let json: Json = serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
        let series = json["data"]
            .as_array()
            .ok_or_else(|| format!("no exemplars in {body}"))?;
        let exemplar = |exemplar: &Json| {
            let labels = exemplar["labels"].as_object()?.iter();
            let labels = labels.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
            Some((exemplar["value"].as_str()?.parse().ok()?, labels.collect()))
        };
        let all = series
            .iter()
            .flat_map(|of| of["exemplars"].as_array().into_iter().flatten());
        all.map(|found| exemplar(found).ok_or_else(|| format!("{found} is none")))
            .collect()
    }

    /// All metric names that Prometheus knows.
    pub fn names(&self) -> Result<Vec<String>, String> {
        let (_, body) = http::get(self.port, "/api/v1/label/__name__/values")?;
        let json: Json = serde_json::from_str(&body).map_err(|error| error.to_string())?;
        let names = json["data"].as_array().ok_or("no names")?;
        Ok(names.iter().filter_map(Json::as_str).map(str::to_owned).collect())
    }
}

/// What Prometheus makes of the resource and the scope.
const RESOURCE: [&str; 10] = [
    "__name__",
    "job",
    "instance",
    "service_name",
    "service_instance_id",
    "streamgauge_pipeline",
    "otel_scope_name",
    "otel_scope_version",
    "otel_scope_schema_url",
    "service_version",
];
