//! Reference pages say what the binary says.
//!
//! `STREAMGAUGE_UPDATE_DOCS=1` writes them anew.

use std::fmt::Write as _;
use std::process::Command;

const COMMANDS: &[&str] = &[
    "run", "check", "test", "schema", "demo", "audit", "decode", "lag", "top", "health", "version",
];

fn help_of(arguments: &[&str]) -> String {
    // The width and the environment of whoever runs the tests must not show in the page.
    let output = Command::new(env!("CARGO_BIN_EXE_streamgauge"))
        .args(arguments)
        .arg("--help")
        .env_clear()
        .env("COLUMNS", "110")
        .output()
        .expect("the binary starts");
    assert!(
        output.status.success(),
        "{arguments:?} --help ends with {}",
        output.status
    );
    String::from_utf8(output.stdout).expect("help is text")
}

#[test]
fn the_command_line_page_is_what_help_prints() {
    let mut page = "# Command line\n\nWhat `--help` prints; a test keeps this page equal to it.\n".to_owned();
    let _ = write!(page, "\n```text\n{}```\n", help_of(&[]));
    for command in COMMANDS {
        let _ = write!(
            page,
            "\n## streamgauge {command}\n\n```text\n{}```\n",
            help_of(&[command])
        );
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/command-line.md");
    if std::env::var_os("STREAMGAUGE_UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).expect("the page can be written");
    }
    let held = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        held == page,
        "docs/command-line.md is out of date: run STREAMGAUGE_UPDATE_DOCS=1 cargo test --test docs"
    );
}
