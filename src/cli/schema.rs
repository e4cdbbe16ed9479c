//! `streamgauge schema`: the JSON Schema of pipelines, for editors.

use std::io::Write;
use std::process::ExitCode;

/// Prints the schema. A reader that went away is no failure of ours.
pub fn run() -> ExitCode {
    let text = format!("{:#}\n", crate::pipeline::schema());
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    }
}
