//! `streamgauge schema`: the JSON Schemas of pipelines and of tests, for editors.

use std::io::Write;

use super::{Exit, complain};
use crate::pipeline;

/// The command's flags.
#[derive(clap::Args, Debug)]
pub struct SchemaArgs {
    /// The schema of files of tests instead
    #[arg(long)]
    test: bool,
}

/// Prints the schema. A reader that went away is no failure of ours.
pub fn run(args: &SchemaArgs) -> Exit {
    let schema = if args.test {
        pipeline::test_schema()
    } else {
        pipeline::schema()
    };
    let text = format!("{schema:#}\n");
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            complain(error);
            Exit::Stopped
        }
        _ => Exit::Done,
    }
}
