//! A real browser without a window: Chromium, told what to do over WebDriver.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};

use super::process::Process;
use super::{eventually, free_port, http};

pub struct Browser {
    port: u16,
    session: String,
    _driver: Process,
}

/// What somebody looks with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Light,
    Dark,
    Phone,
}

// === impl Look ===

impl Look {
    pub const ALL: [Look; 3] = [Look::Light, Look::Dark, Look::Phone];

    pub fn name(self) -> &'static str {
        match self {
            Look::Light => "light",
            Look::Dark => "dark",
            Look::Phone => "phone",
        }
    }

    fn size(self) -> (u32, u32) {
        match self {
            Look::Light | Look::Dark => (1280, 1000),
            Look::Phone => (390, 844),
        }
    }
}

// === impl Browser ===

impl Browser {
    pub fn start(folder: &Path) -> Self {
        let port = free_port();
        let mut command = Command::new("chromedriver");
        command.arg(format!("--port={port}"));
        // In a folder of its own, so that nothing of somebody's own browser is touched.
        command.env("HOME", folder);
        let driver = Process::start("chromedriver", folder, &mut command);
        let mut browser = Self {
            port,
            session: String::new(),
            _driver: driver,
        };
        eventually("the driver", Duration::from_secs(20), || {
            browser.call("GET", "/status", None)
        });
        // As root it has no sandbox, and all it is shown is ours.
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
        ];
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let session = browser.call("POST", "/session", Some(capabilities)).expect("a session");
        browser.session = format!("/session/{}", session["sessionId"].as_str().expect("its id"));
        browser
    }

    pub fn open(&self, address: &str) {
        self.tell("/url", json!({ "url": address }));
    }

    /// What a script returns.
    pub fn run(&self, script: &str) -> Json {
        self.tell("/execute/sync", json!({ "script": script, "args": [] }))
    }

    /// The text that somebody sees of an element; empty where it is hidden.
    pub fn text(&self, selector: &str) -> String {
        let script =
            format!("return [...document.querySelectorAll({selector:?})].map((found) => found.innerText).join('\\n')");
        self.run(&script).as_str().unwrap_or_default().to_owned()
    }

    /// What the console was told since it was asked last.
    pub fn console(&self) -> Vec<String> {
        let lines = self.tell("/se/log", json!({ "type": "browser" }));
        let lines = lines.as_array().cloned().unwrap_or_default();
        lines.iter().map(|line| line["message"].to_string()).collect()
    }

    /// As if somebody looked with this.
    pub fn look(&self, look: Look) {
        let scheme = if look == Look::Light { "light" } else { "dark" };
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.tool("Emulation.setEmulatedMedia", json!({ "features": features }));
        let (width, height) = look.size();
        self.resize(look, width, height);
    }

    /// All of the page as a picture.
    pub fn picture(&self, look: Look, to: &Path) {
        let height = self
            .run("return document.documentElement.scrollHeight")
            .as_u64()
            .unwrap_or(1_000);
        self.resize(look, look.size().0, u32::try_from(height).unwrap_or(1_000));
        let shot = self.tool("Page.captureScreenshot", json!({}));
        let bytes = STANDARD
            .decode(shot["data"].as_str().unwrap_or_default())
            .expect("a picture");
        std::fs::write(to, bytes).expect("a file");
    }

    fn resize(&self, look: Look, width: u32, height: u32) {
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": look == Look::Phone });
        self.tool("Emulation.setDeviceMetricsOverride", metrics);
    }

    fn tool(&self, command: &str, parameters: Json) -> Json {
        self.tell("/goog/cdp/execute", json!({ "cmd": command, "params": parameters }))
    }

    fn tell(&self, what: &str, body: Json) -> Json {
        let path = format!("{}{what}", self.session);
        self.call("POST", &path, Some(body))
            .unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// The `value` of the driver's answer.
    fn call(&self, method: &str, path: &str, body: Option<Json>) -> Result<Json, String> {
        let body = body.map_or(String::new(), |body| body.to_string());
        let (status, text) = http::ask(
            self.port,
            &format!("{method} {path} HTTP/1.1"),
            &body,
            Duration::from_secs(60),
        )?;
        let mut answer: Json = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        match status {
            200 => Ok(answer["value"].take()),
            _ => Err(answer["value"]["message"].to_string()),
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends its browser with the session.
        let session = self.session.clone();
        if !session.is_empty() {
            let _ = self.call("DELETE", &session, None);
        }
    }
}
