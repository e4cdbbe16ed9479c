//! `streamgauge test`: plays records to pipelines and compares what comes out with what was expected.
//!
//! Rule: the stages are those of `run`; only the log and the clock are played ([`play`]), so equal files give equal
//! results. Differences go to stdout, faults of files to stderr.
//!
//! Edges:
//! - every file is played, also behind one that is wrong or differs; the worst decides how the process ends;
//! - `--update` leaves a file alone that could not be read again as it would be written.

mod compare;
mod play;
mod points;
mod show;
mod spans;
mod update;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{Exit, complain, environment};
use crate::pipeline::Look;
use crate::pipeline::testing::{self, Case, TestFile};

use compare::Difference;

/// The command's flags.
#[derive(clap::Args, Debug)]
pub struct TestArgs {
    /// Files of tests
    #[arg(required = true, value_name = "TEST")]
    files: Vec<PathBuf>,
    /// Write what came out into the files, for review
    #[arg(long)]
    update: bool,
}

/// `streamgauge test`.
pub fn run(args: &TestArgs) -> Exit {
    let look = Look::of(&std::io::stdout());
    let mut worst = Exit::Done;
    let (mut cases, mut failed) = (0, 0);
    for path in &args.files {
        let file = match testing::read(path, &environment, args.update) {
            Ok(file) => file,
            Err(diagnostics) => {
                eprint!("{}", diagnostics.render(Look::of(&std::io::stderr())));
                worst = Exit::Usage;
                continue;
            }
        };
        let results: Vec<Result<Vec<Difference>, String>> =
            file.cases.iter().map(|case| compared(&file, case)).collect();
        let differs = |result: &&Result<Vec<Difference>, String>| !matches!(result, Ok(found) if found.is_empty());
        cases += results.len();
        failed += results.iter().filter(differs).count();
        if args.update {
            worst = worse(worst, updated(path, &file, &results));
        } else {
            say(&file.mask(&show::file(path, &file, &results, look)));
        }
    }
    if !args.update && cases > 0 {
        say(&show::end(cases, failed, look));
        if failed > 0 {
            worst = worse(worst, Exit::Difference);
        }
    }
    worst
}

/// What differs in one case; the error is a stage that could not go on.
fn compared(file: &TestFile, case: &Case) -> Result<Vec<Difference>, String> {
    let played = play::play(&file.plan, case)?;
    Ok(compare::compare(case, &played))
}

fn updated(path: &Path, file: &TestFile, results: &[Result<Vec<Difference>, String>]) -> Exit {
    let mut exit = Exit::Done;
    for (case, result) in file.cases.iter().zip(results) {
        if let Err(why) = result {
            complain(format!("{}: {}: {}", case.place, case.name, file.mask(why)));
            exit = Exit::Difference;
        }
    }
    let differences: Vec<(&Case, &Difference)> = file
        .cases
        .iter()
        .zip(results)
        .flat_map(|(case, result)| result.iter().flatten().map(move |difference| (case, difference)))
        .collect();
    match update::update(path, file, &differences) {
        Ok(said) => {
            say(&said);
            exit
        }
        Err(why) => {
            complain(why);
            Exit::Difference
        }
    }
}

fn worse(one: Exit, other: Exit) -> Exit {
    match (one, other) {
        (Exit::Usage, _) | (_, Exit::Done) => one,
        _ => other,
    }
}

/// A reader that went away is no failure of ours.
fn say(text: &str) {
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}
