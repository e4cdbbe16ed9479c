//! An OpenTelemetry Collector that writes what it is sent to a file.
//!
//! Rule: every start has a file of its own, so that a line that a SIGKILL cut short spoils nothing behind it. What it said
//! that it has is in the file: files that rotate are written without a buffer (and none grows large enough to rotate).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value as Json;

use super::points::Points;
use super::process::{Process, part};
use super::spans::Spans;
use super::{eventually, free_port, http};

pub struct Collector {
    folder: PathBuf,
    grpc: u16,
    http: u16,
    prometheus: u16,
    /// One a start, with the bytes that have been read.
    files: Vec<(PathBuf, usize)>,
    /// The same of spans.
    span_files: Vec<(PathBuf, usize)>,
    points: Points,
    spans: Spans,
    process: Option<Process>,
}

impl Collector {
    pub fn start(folder: &Path) -> Self {
        let mut collector = Self::stopped(folder);
        collector.resume();
        collector
    }

    /// One that has its ports and does not run yet.
    pub fn stopped(folder: &Path) -> Self {
        let folder = folder.join("collector");
        std::fs::create_dir_all(folder.join("queue")).expect("a folder");
        Self {
            folder,
            grpc: free_port(),
            http: free_port(),
            prometheus: free_port(),
            files: Vec::new(),
            span_files: Vec::new(),
            points: Points::default(),
            spans: Spans::default(),
            process: None,
        }
    }

    pub fn resume(&mut self) {
        let file = self.folder.join(format!("telemetry-{}.json", self.files.len()));
        let span_file = self.folder.join(format!("spans-{}.json", self.files.len()));
        let configuration = format!(
            "extensions:\n  \
               file_storage: {{ directory: {queue} }}\n\
             receivers:\n  \
               otlp:\n    \
                 protocols:\n      \
                   grpc: {{ endpoint: \"127.0.0.1:{grpc}\" }}\n      \
                   http: {{ endpoint: \"127.0.0.1:{http}\" }}\n\
             exporters:\n  \
               file: {{ path: {file}, format: json, rotation: {{ max_megabytes: 100000 }} }}\n  \
               file/spans: {{ path: {span_file}, format: json, rotation: {{ max_megabytes: 100000 }} }}\n  \
               prometheus:\n    \
                 endpoint: \"127.0.0.1:{prometheus}\"\n    \
                 enable_open_metrics: true\n    \
                 metric_expiration: 1h\n    \
                 resource_to_telemetry_conversion: {{ enabled: true }}\n\
             service:\n  \
               extensions: [file_storage]\n  \
               telemetry: {{ metrics: {{ level: none }} }}\n  \
               pipelines:\n    \
                 metrics: {{ receivers: [otlp], exporters: [file, prometheus] }}\n    \
                 traces: {{ receivers: [otlp], exporters: [file/spans] }}\n",
            span_file = span_file.display(),
            queue = self.folder.join("queue").display(),
            grpc = self.grpc,
            http = self.http,
            file = file.display(),
            prometheus = self.prometheus,
        );
        let path = self.folder.join("collector.yaml");
        std::fs::write(&path, configuration).expect("a configuration");
        let mut command = Command::new(part("STREAMGAUGE_TEST_COLLECTOR"));
        self.process = Some(Process::start(
            "collector",
            &self.folder,
            command.arg("--config").arg(path),
        ));
        self.files.push((file, 0));
        self.span_files.push((span_file, 0));
        let http = self.http;
        eventually("the collector", Duration::from_secs(30), || {
            self.process.as_mut().expect("just started").must_live();
            http::get(http, "/").map(|_| ())
        });
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.as_mut().expect("it runs").kill();
    }

    /// Where OTLP over gRPC goes.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.grpc)
    }

    /// Where OTLP over HTTP goes.
    pub fn http_endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    /// The port whose `/metrics` Prometheus can fetch.
    pub fn page(&self) -> u16 {
        self.prometheus
    }

    /// What Prometheus would fetch.
    pub fn exposition(&self) -> Result<String, String> {
        http::get(self.page(), "/metrics").map(|(_, text)| text)
    }

    /// Everything that was written so far.
    pub fn points(&mut self) -> &Points {
        new_lines(&mut self.files, |lines| self.points.read(lines));
        &self.points
    }

    /// Exemplars of exponential histograms that were written so far.
    pub fn exemplars(&self) -> Vec<Json> {
        let texts = self
            .files
            .iter()
            .map(|(file, _)| std::fs::read_to_string(file).unwrap_or_default());
        let mut found = Vec::new();
        for text in texts {
            let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
            for request in whole.map(|line| serde_json::from_str::<Json>(line).expect("the collector writes JSON")) {
                let list = |of: &Json, key: &str| of[key].as_array().cloned().unwrap_or_default();
                let scopes = list(&request, "resourceMetrics").into_iter();
                let metrics = scopes
                    .flat_map(|resource| list(&resource, "scopeMetrics"))
                    .flat_map(|scope| list(&scope, "metrics"));
                for point in metrics.flat_map(|metric| list(&metric["exponentialHistogram"], "dataPoints")) {
                    found.extend(list(&point, "exemplars"));
                }
            }
        }
        found
    }

    /// All spans that were written so far.
    pub fn spans(&mut self) -> &Spans {
        new_lines(&mut self.span_files, |lines| self.spans.read(lines));
        &self.spans
    }
}

/// What whole lines were written since the last time.
fn new_lines(files: &mut [(PathBuf, usize)], mut take: impl FnMut(&str)) {
    for (file, read) in files {
        let bytes = std::fs::read(file).unwrap_or_default();
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let lines = std::str::from_utf8(&bytes[*read..end.max(*read)]).expect("the collector writes UTF-8");
        take(lines);
        *read = end.max(*read);
    }
}
