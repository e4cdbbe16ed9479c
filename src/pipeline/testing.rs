//! Tests of pipelines: from YAML to cases that can be played.
//!
//! Rule: as with pipelines, the only way to a [`TestFile`] leads through [`read`], which notes everything that is wrong at
//! its place: what has not the form of the table ([`super::keys::TEST`]), and what does not fit the pipelines that are
//! tested (a topic, metric or label that they do not have). What it lets pass is never checked again.
//!
//! Edges:
//! - pipelines that are wrong themselves are told alone, once this file has the right form;
//! - a metric may be called in `expect` before the pipeline has a record for it, but not without the pipeline having it.

mod expected;
mod given;
mod spans;
mod spot;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::engine::plan::Plan;
use crate::engine::time::EventTime;

use super::fault::{Diagnostics, Faults, Place};
use super::leaf::{self, Moment};
use super::node::{self, Entry, Node};
use super::secret::{Hidden, Secrets};
use super::{check_files, form, keys, read_text};

pub use super::leaf::spell_offset;
pub use expected::{Expect, Expected, ExpectedDead, ExpectedPoint, Shown};
pub use given::{Given, Step, Topic};
pub use spans::{ExpectedSpan, Parent};
pub use spot::{Spot, Written};

/// The start of cases that say none: 2026-01-01T00:00:00Z.
const START: EventTime = EventTime(1_767_225_600_000_000);

/// One file of tests with the pipelines that it tests.
#[derive(Debug)]
pub struct TestFile {
    pub plan: Arc<Plan>,
    pub cases: Vec<Case>,
    /// As the file is, for `--update`.
    pub text: String,
    /// Hides what was filled into the pipelines and the tests from outside.
    hidden: [Hidden; 2],
}

#[derive(Debug)]
pub struct Case {
    pub name: String,
    /// Of the name.
    pub place: Place,
    pub start: EventTime,
    /// Every input topic of the plan.
    pub topics: Vec<Topic>,
    pub steps: Vec<Step>,
    /// Absent only where that was allowed: it is about to be written.
    pub expect: Option<Expect>,
    pub exactly: bool,
    /// Where a whole expectation goes.
    pub spot: Spot,
}

// === impl TestFile ===

impl TestFile {
    pub fn mask(&self, text: &str) -> String {
        let [pipelines, tests] = &self.hidden;
        tests.mask(&pipelines.mask(text))
    }
}

// === impl Case ===

impl Case {
    /// A time as the case would say it.
    pub fn spell(&self, time: EventTime) -> String {
        leaf::spell_offset(time.0.saturating_sub(self.start.0))
    }
}

/// Reads a file of tests and the pipelines that it names. `expect` may be missing where `incomplete` is allowed.
pub fn read(path: &Path, env: &dyn Fn(&str) -> Option<String>, incomplete: bool) -> Result<TestFile, Diagnostics> {
    match read_text(&path.to_path_buf()) {
        Ok(text) => read_text_as(path, &text, env, incomplete),
        Err(error) => Err(Diagnostics::of(
            format!("{}: {error}", path.display()),
            "name a readable file of YAML in UTF-8",
        )),
    }
}

/// As [`read`], with `text` for what is in the file.
pub fn read_text_as(
    path: &Path,
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
    incomplete: bool,
) -> Result<TestFile, Diagnostics> {
    let mut faults = Faults::default();
    let name = path.display().to_string();
    let mut secrets = Secrets::new(env);
    let (file, mut documents) = node::read(&name, text.to_owned(), &mut secrets, &mut faults);
    if let Some(second) = documents.get(1) {
        faults
            .add(&second.place, "a file of tests is one document")
            .help("put these cases into a file of their own");
    }
    if documents.is_empty() {
        let nothing = || {
            Diagnostics::of(
                format!("{name}: there is no test in this file"),
                "start with `pipelines: FILE`",
            )
        };
        return Err(faults.finish(std::slice::from_ref(&file)).unwrap_or_else(nothing));
    }
    let document = documents.swap_remove(0);
    form::check(
        &document,
        &keys::Shape::Object(&keys::TEST),
        "a file of tests",
        &mut faults,
    );
    let pipelines = pipeline_files(&document, path, &mut faults);
    let checked = match check_files(&pipelines, env) {
        Ok(checked) => checked,
        // Without pipelines this file says why.
        Err(diagnostics) => return Err(faults.finish(std::slice::from_ref(&file)).unwrap_or(diagnostics)),
    };
    let mut reader = Reader {
        plan: &checked.plan,
        sources: &checked.sources,
        incomplete,
        faults,
    };
    let cases = reader.cases(&document);
    match reader.faults.finish(std::slice::from_ref(&file)) {
        Some(diagnostics) => Err(diagnostics),
        None => Ok(TestFile {
            plan: Arc::new(checked.plan),
            cases,
            text: text.to_owned(),
            hidden: [checked.hidden, secrets.into_hidden()],
        }),
    }
}

/// The pipelines that the document names, as paths from here; those that are not there are faults.
fn pipeline_files(document: &Node, tests: &Path, faults: &mut Faults) -> Vec<PathBuf> {
    let folder = tests.parent().unwrap_or(Path::new(""));
    let Some(said) = document.get("pipelines") else {
        return Vec::new();
    };
    let names = match said.items() {
        [] => std::slice::from_ref(said),
        items => items,
    };
    let mut files = Vec::new();
    for name in names {
        let Some(text) = name.text() else { continue };
        let path = folder.join(text);
        if path.is_file() {
            files.push(path);
        } else {
            faults
                .add(&name.place, format!("there is no file {}", path.display()))
                .help("a relative path starts at the folder of this file");
        }
    }
    files
}

struct Reader<'p> {
    plan: &'p Plan,
    /// Every source of the pipelines with its topic.
    sources: &'p [(String, String)],
    incomplete: bool,
    faults: Faults,
}

// === impl Reader ===

impl Reader<'_> {
    fn cases(&mut self, document: &Node) -> Vec<Case> {
        let start = self.start(document).unwrap_or(START);
        let topics = self.topics(document);
        let Some(cases) = document.get("cases") else {
            return Vec::new();
        };
        let flow = document.is_flow() || cases.is_flow();
        cases
            .entries()
            .iter()
            .map(|entry| self.case(entry, start, &topics, flow))
            .collect()
    }

    fn case(&mut self, entry: &Entry, start: EventTime, topics: &[Topic], flow: bool) -> Case {
        let node = &entry.node;
        let flow = flow || node.is_flow();
        let start = self.start(node).unwrap_or(start);
        let mut topics = topics.to_vec();
        let steps = self.steps(node, start, &mut topics);
        let expect = node.entry("expect");
        if expect.is_none() && !self.incomplete {
            self.faults
                .add(&entry.key_place, "this case expects nothing")
                .help("add `expect:`, or let `--update` write what comes out");
        }
        let exactly = node.get("exactly").and_then(Node::text) == Some("true");
        if let Some(expect) = expect.filter(|expect| expect.node.entries().is_empty() && !exactly) {
            self.faults
                .add(&expect.key_place, "this case expects nothing")
                .help("name what is compared, or write `exactly: true` if nothing may come out");
        }
        Case {
            name: entry.key.clone(),
            place: entry.key_place.clone(),
            start,
            topics,
            steps,
            exactly,
            spot: match expect {
                Some(expect) => Spot::of(expect, flow),
                None => Spot::within(entry, "expect", flow),
            },
            expect: expect.map(|expect| self.expect(expect, start, flow)),
        }
    }

    /// A start is a time, not a distance from itself.
    fn start(&mut self, node: &Node) -> Option<EventTime> {
        let said = node.get("start")?;
        match leaf::moment(said.text()?)? {
            Moment::At(time) => Some(time),
            Moment::Offset(_) => {
                self.faults
                    .add(&said.place, "a start is a time, not a distance")
                    .help("write `2026-01-01T00:00:00Z`");
                None
            }
        }
    }

    /// A name that the pipelines do not have.
    fn unknown<'k>(&mut self, place: &Place, what: &str, name: &str, known: impl Iterator<Item = &'k str> + Clone) {
        let help = match form::nearest(name, known.clone()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => {
                let all: Vec<&str> = known.collect();
                format!("they have {}", keys::one_of(&all).replace(" or ", " and "))
            }
        };
        self.faults
            .add(place, format!("the pipelines have no {what} `{}`", node::shorten(name)))
            .help(help);
    }
}

/// The time that a checked value says, for a case that starts at `start`.
fn time(node: &Node, start: EventTime) -> Option<EventTime> {
    Some(match leaf::moment(node.text()?)? {
        Moment::Offset(micros) => EventTime(start.0.saturating_add(micros)),
        Moment::At(time) => time,
    })
}

fn number<T: std::str::FromStr>(node: &Node) -> Option<T> {
    node.text()?.parse().ok()
}
