//! Pipelines: from YAML to a checked [`Plan`].
//!
//! Rule: the only way to a plan leads through [`parse`], and what it lets pass is never checked again. It goes in four
//! steps, each of which notes everything it finds: the file's tree ([`node`]), its form ([`form`], beside the table of
//! [`keys`]), what it says ([`read`]), and whether that makes a plan ([`build`]).
//!
//! Edges:
//! - all faults of all files are reported together; a file that is no YAML hides only itself;
//! - equal files give equal plans, and the layout of a file means nothing ([`definition`]).

mod build;
mod compile;
mod definition;
mod expression;
mod fault;
mod form;
mod keys;
mod leaf;
mod node;
mod read;
mod reference;
mod schema;
mod secret;
pub mod testing;
mod unit;

use std::io::Read;
use std::path::PathBuf;

use crate::engine::plan::Plan;

pub use build::Expense;
pub use fault::{Diagnostics, Fault, Look, Place};
pub use leaf::{duration as read_duration, spell_duration, spell_size, spell_start};
pub use reference::{reference, test_reference};
pub use schema::{schema, test_schema};
pub use secret::{Hidden, fill_in};

use fault::Faults;

/// A plan and what a person may want to know of it.
#[derive(Debug)]
pub struct Checked {
    pub plan: Plan,
    /// What each metric costs, by [`crate::engine::plan::MetricIx`].
    pub expenses: Vec<Expense>,
    /// Every source with its topic, by the names of the files; the plan knows only those with metrics.
    pub sources: Vec<(String, String)>,
    /// What is allowed but hardly meant.
    pub notes: Vec<String>,
    /// Hides what was filled in from outside.
    pub hidden: Hidden,
}

/// Reads these files into one plan. `env` answers for `${env:NAME}`.
pub fn load(files: &[PathBuf], env: &dyn Fn(&str) -> Option<String>) -> Result<Plan, Diagnostics> {
    check_files(files, env).map(|checked| checked.plan)
}

/// Reads these `(name, text)`s into one plan. `env` answers for `${env:NAME}`.
pub fn parse(sources: &[(String, String)], env: &dyn Fn(&str) -> Option<String>) -> Result<Plan, Diagnostics> {
    check(sources, env).map(|checked| checked.plan)
}

/// As [`load`], with what `streamgauge check` tells.
pub fn check_files(files: &[PathBuf], env: &dyn Fn(&str) -> Option<String>) -> Result<Checked, Diagnostics> {
    let mut faults = Faults::default();
    let mut sources = Vec::new();
    for path in files {
        let name = path.display().to_string();
        match read_text(path) {
            Ok(text) => sources.push((name, text)),
            Err(error) => {
                faults
                    .add_without_place(format!("{name}: {error}"))
                    .help("name a readable file of YAML in UTF-8");
            }
        }
    }
    whole(&sources, env, faults)
}

/// As [`parse`], with what `streamgauge check` tells.
pub fn check(sources: &[(String, String)], env: &dyn Fn(&str) -> Option<String>) -> Result<Checked, Diagnostics> {
    whole(sources, env, Faults::default())
}

fn whole(
    sources: &[(String, String)],
    env: &dyn Fn(&str) -> Option<String>,
    mut faults: Faults,
) -> Result<Checked, Diagnostics> {
    let mut secrets = secret::Secrets::new(env);
    let mut files = Vec::new();
    let mut documents = Vec::new();
    for (name, text) in sources {
        let found_before = faults.len();
        let (file, nodes) = node::read(name, text.clone(), &mut secrets, &mut faults);
        if nodes.is_empty() && faults.len() == found_before {
            faults
                .add_without_place(format!("{name}: there is no pipeline in this file"))
                .help("start with `pipeline: NAME`");
        }
        files.push(file);
        for node in nodes {
            form::check(&node, &keys::Shape::Object(&keys::PIPELINE), "a pipeline", &mut faults);
            documents.push(read::document(&node));
        }
    }
    if sources.is_empty() && faults.is_empty() {
        faults
            .add_without_place("no pipeline was named")
            .help("name at least one file");
    }
    let built = build::build(&documents, &mut faults);
    match faults.finish(&files) {
        None => Ok(Checked {
            plan: built.plan,
            expenses: built.expenses,
            sources: documents
                .iter()
                .flat_map(|document| &document.sources)
                .map(|source| (source.name.value.clone(), source.topic.value.clone()))
                .collect(),
            notes: built.notes,
            hidden: secrets.into_hidden(),
        }),
        Some(diagnostics) => Err(diagnostics),
    }
}

/// No more of a file than is read, so that a device or a wrong file does no harm.
fn read_text(path: &PathBuf) -> std::io::Result<String> {
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(node::MAX_FILE_BYTES as u64 + 1)
        .read_to_string(&mut text)?;
    Ok(text)
}
