//! Holds log lines to `docs/log-line.schema.json`.
//!
//! A process that is killed may leave half a line, and the next one writes behind it: that is the only thing forgiven.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

const SCHEMA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/log-line.schema.json");

/// How every line begins.
const HEAD: &str = "{\"timestamp\":\"";

/// Lines of this process, for a test to read.
#[derive(Clone, Default)]
pub struct Page(Arc<Mutex<Vec<u8>>>);

impl Page {
    pub fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The details of all lines of one type, with their levels.
    pub fn of(&self, event_type: &str) -> Vec<(String, Value)> {
        let text = self.text();
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines
            .filter(|line| line["event_type"] == event_type)
            .map(|line| {
                (
                    line["level"].as_str().unwrap_or_default().to_owned(),
                    line["details"].clone(),
                )
            })
            .collect()
    }
}

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What is wrong with the lines; empty where nothing is.
pub fn faults(lines: &str) -> Vec<String> {
    let mut schemas = boon::Schemas::new();
    let schema = boon::Compiler::new()
        .compile(SCHEMA, &mut schemas)
        .expect("the schema is one");
    let fault = |line: &str| -> Option<String> {
        let value: Value = match serde_json::from_str(line) {
            Ok(value) => value,
            Err(error) => return Some(format!("not JSON: {error}: {line}")),
        };
        let held = schemas.validate(&value, schema);
        held.err().map(|error| format!("{error:#}: {line}"))
    };
    let last_is_whole = lines.ends_with('\n');
    let count = lines.lines().count();
    let whole = lines.lines().take(count - usize::from(!last_is_whole && count > 0));
    whole
        .filter_map(|line| {
            let found = fault(line)?;
            let forgiven = line
                .rsplit_once(HEAD)
                .is_some_and(|(torn, behind)| torn.starts_with('{') && fault(&format!("{HEAD}{behind}")).is_none());
            (!forgiven).then_some(found)
        })
        .collect()
}
