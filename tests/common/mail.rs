//! A real SMTP server that wants STARTTLS and a login, and a real Alertmanager.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value as Json;

use super::process::{Process, part};
use super::secured::Authority;
use super::{eventually, free_port, http};

pub const PASSWORD: &str = "hush-hush";

pub struct Mail {
    pub port: u16,
    folder: PathBuf,
    process: Option<Process>,
}

/// One mail that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    pub to: Vec<String>,
    pub content: String,
}

pub struct Alertmanager {
    pub port: u16,
    _process: Process,
}

// === impl Mail ===

impl Mail {
    /// Listens on loopback, under a certificate for `localhost` that this authority has signed.
    pub fn start(folder: &Path, authority: &Authority) -> Self {
        let mut mail = Self {
            port: free_port(),
            folder: folder.to_owned(),
            process: None,
        };
        mail.resume(authority);
        mail
    }

    /// Starts it again, perhaps under another authority's certificate.
    pub fn resume(&mut self, authority: &Authority) {
        self.process = None;
        let (certificate, key) = authority.sign("localhost", &["localhost"]);
        let write = |name: &str, text: String| {
            let path = self.folder.join(name);
            std::fs::write(&path, text).expect("a file");
            path
        };
        let (certificate, key) = (write("smtp.pem", certificate), write("smtp.key", key));
        let part = part("STREAMGAUGE_TEST_MAIL");
        let mut command = Command::new("python3");
        command
            .arg(part.join("server.py"))
            .arg(self.port.to_string())
            .args([certificate, key, self.mails()])
            .env("PYTHONPATH", part.join("site"))
            .env("SMTP_PASSWORD", PASSWORD);
        self.process = Some(Process::start("smtp", &self.folder, &mut command));
        let port = self.port;
        eventually("the mail server", Duration::from_secs(30), || {
            std::net::TcpStream::connect(("127.0.0.1", port))
                .map(drop)
                .map_err(|error| error.to_string())
        });
    }

    fn mails(&self) -> PathBuf {
        self.folder.join("mails.jsonl")
    }

    /// From now on the server has taken a mail long before it says so.
    pub fn is_slow_to_answer(&self, answer: Duration) {
        let path = self.folder.join("mails.jsonl.slow");
        std::fs::write(path, answer.as_secs().to_string()).expect("a file");
    }

    /// What was accepted, in order.
    pub fn accepted(&self) -> Vec<Accepted> {
        let text = std::fs::read_to_string(self.mails()).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let read = |line: &str| {
            let json: Json = serde_json::from_str(line).expect("a mail");
            let to = json["to"].as_array().into_iter().flatten();
            Accepted {
                to: to.filter_map(Json::as_str).map(str::to_owned).collect(),
                content: json["content"].as_str().unwrap_or_default().replace("\r\n", "\n"),
            }
        };
        whole.lines().map(read).collect()
    }
}

// === impl Accepted ===

impl Accepted {
    /// The value of a header; `-` without it.
    pub fn header(&self, name: &str) -> &str {
        let lines = self.content.lines().take_while(|line| !line.is_empty());
        let mut headers = lines.filter_map(|line| line.split_once(": "));
        headers
            .find(|(known, _)| *known == name)
            .map_or("-", |(_, value)| value)
    }
}

// === impl Alertmanager ===

impl Alertmanager {
    pub fn start(folder: &Path) -> Self {
        let port = free_port();
        let configuration = folder.join("alertmanager.yml");
        std::fs::write(
            &configuration,
            "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n",
        )
        .expect("a file");
        let mut command = Command::new(part("STREAMGAUGE_TEST_ALERTMANAGER"));
        command
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.path={}", folder.join("alertmanager").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--cluster.listen-address=");
        let process = Process::start("alertmanager", folder, &mut command);
        eventually("Alertmanager", Duration::from_secs(30), || {
            match http::get(port, "/-/ready")? {
                (200, _) => Ok(()),
                (status, body) => Err(format!("{status}: {body}")),
            }
        });
        Self {
            port,
            _process: process,
        }
    }

    /// Alerts that fire, as its API shows them.
    pub fn alerts(&self) -> Result<Vec<Json>, String> {
        let (status, body) = http::get(self.port, "/api/v2/alerts?active=true")?;
        match serde_json::from_str(&body) {
            Ok(Json::Array(alerts)) => Ok(alerts),
            _ => Err(format!("{status}: {body}")),
        }
    }
}
