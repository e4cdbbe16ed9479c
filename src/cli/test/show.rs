//! Differences for a person: what was expected beside what came out.
//!
//! Rule: a line a case that is as expected; below one that is not, each expectation with its place and a table of both
//! sides. Colours repeat what the signs say (`~` differs, `-` is missing, `+` is too much), so nothing is lost without them.

use std::collections::BTreeSet;
use std::path::Path;

use super::compare::{Difference, Row};
use super::points::Labels;
use super::spans::PlayedSpan;
use super::update;
use crate::engine::task::DeadLetter;
use crate::pipeline::Look;
use crate::pipeline::testing::{Case, ExpectedDead, ExpectedSpan, Parent, Shown, TestFile};

/// A column is no wider; what is longer sticks out.
const WIDEST: usize = 60;
const NOTHING: &str = "nothing";

#[derive(Clone, Copy)]
enum Colour {
    Red = 31,
    Green = 32,
    Yellow = 33,
    Grey = 90,
}

/// What became of a file's cases.
pub fn file(path: &Path, file: &TestFile, results: &[Result<Vec<Difference>, String>], look: Look) -> String {
    let mut out = format!("{}\n", path.display());
    for (case, result) in file.cases.iter().zip(results) {
        match result {
            Ok(found) if found.is_empty() => {
                out.push_str(&format!("  {}  {}\n", paint("ok  ", Colour::Green, look), case.name));
            }
            Ok(found) => {
                out.push_str(&format!("  {}  {}\n", paint("FAIL", Colour::Red, look), case.name));
                found.iter().for_each(|difference| table(&mut out, difference, look));
            }
            Err(why) => {
                out.push_str(&format!("  {}  {}\n", paint("FAIL", Colour::Red, look), case.name));
                out.push_str(&format!("        {}: a stage stopped: {why}\n", case.place));
            }
        }
    }
    out
}

/// The last line.
pub fn end(cases: usize, failed: usize, look: Look) -> String {
    let plural = if cases == 1 { "case" } else { "cases" };
    let text = match failed {
        0 => paint(&format!("{cases} {plural}, all as expected"), Colour::Green, look),
        _ => paint(
            &format!("{cases} {plural}, {failed} not as expected"),
            Colour::Red,
            look,
        ),
    };
    format!("{text}\n")
}

fn table(out: &mut String, difference: &Difference, look: Look) {
    let place = paint(&difference.place.to_string(), Colour::Grey, look);
    out.push_str(&format!("        {place}: {}\n", difference.about));
    let cell = |text: &Option<String>| text.clone().unwrap_or_else(|| NOTHING.to_owned());
    let width = |head: &str, text: &dyn Fn(&Row) -> String| {
        let cells = difference.rows.iter().map(|row| text(row).chars().count());
        cells
            .chain([head.len()])
            .filter(|width| *width <= WIDEST)
            .max()
            .unwrap_or(WIDEST)
    };
    let subject = width("", &|row| row.subject.clone());
    let expected = width("expected", &|row| cell(&row.expected));
    let gap = if subject == 0 { 0 } else { 2 };
    let head = format!("{:w$}{:gap$}{:expected$}  got", "", "", "expected", w = subject);
    out.push_str(&format!("            {}\n", paint(&head, Colour::Grey, look)));
    for row in &difference.rows {
        let (sign, colour) = match (&row.expected, &row.got) {
            (Some(_), None) => ('-', Colour::Red),
            (None, _) => ('+', Colour::Green),
            (Some(_), Some(_)) => ('~', Colour::Yellow),
        };
        let line = format!(
            "{sign} {:subject$}{:gap$}{:expected$}  {}",
            row.subject,
            "",
            cell(&row.expected),
            cell(&row.got)
        );
        out.push_str(&format!("          {}\n", paint(&line, colour, look)));
    }
}

fn paint(text: &str, colour: Colour, look: Look) -> String {
    match look {
        Look::Plain => text.to_owned(),
        Look::Fancy { .. } => format!("\x1b[{}m{text}\x1b[0m", colour as u8),
    }
}

/// `{channel="email"}`, as Prometheus would.
pub fn labels(labels: &Labels) -> String {
    let pairs: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// What a point shows, as far as `named` names it.
pub fn shown(shown: &Shown, named: &Shown) -> String {
    let mut parts = Vec::new();
    if let (Some(value), true) = (shown.value, named.value.is_some()) {
        parts.push(number(value));
    }
    if let (Some(count), true) = (shown.count, named.count.is_some()) {
        parts.push(format!("count {count}"));
    }
    if let (Some(sum), true) = (shown.sum, named.sum.is_some()) {
        parts.push(format!("sum {}", number(sum)));
    }
    if let (Some(buckets), true) = (&shown.buckets, named.buckets.is_some()) {
        let buckets: Vec<String> = buckets
            .iter()
            .map(|(bound, count)| format!("{}: {count}", self::bound(*bound)))
            .collect();
        parts.push(format!("buckets {{{}}}", buckets.join(", ")));
    }
    parts.join(", ")
}

/// The shortest decimal that is this number.
pub fn number(value: f64) -> String {
    // Sums are kept in millionths: what is beyond came from the conversion.
    let rounded = (value * 1e6).round() / 1e6;
    format!(
        "{}",
        if (rounded - value).abs() <= 1e-9 * value.abs() {
            rounded
        } else {
            value
        }
    )
}

/// An upper bound to six digits, as it can be expected.
pub fn bound(value: f64) -> String {
    if value.is_infinite() {
        return "inf".to_owned();
    }
    let six: f64 = format!("{value:.5e}").parse().unwrap_or(value);
    format!("{six}")
}

pub fn dead(letter: &DeadLetter) -> String {
    format!("{}, {}: {}", letter.topic, letter.outcome, letter.reason)
}

pub fn expected_dead(dead: &ExpectedDead) -> String {
    let topic = dead.topic.as_ref().map_or(String::new(), |topic| format!("{topic}, "));
    let reason = dead
        .reason
        .as_ref()
        .map_or(String::new(), |reason| format!(": {reason}"));
    format!("{topic}{}{reason}", dead.outcome)
}

/// What is expected of a span beside its name.
pub fn expected_span(case: &Case, span: &ExpectedSpan) -> String {
    let mut parts = Vec::new();
    parts.extend(span.trace.as_ref().map(|trace| format!("trace {trace}")));
    parts.extend(span.parent.as_ref().map(parent));
    parts.extend(span.start.map(|start| format!("from {}", case.spell(start))));
    parts.extend(span.end.map(|end| format!("to {}", case.spell(end))));
    parts.extend(span.status.clone());
    parts.extend((!span.attributes.is_empty()).then(|| labels(&span.attributes)));
    parts.extend(
        span.events
            .as_ref()
            .map(|events| format!("events [{}]", events.join(", "))),
    );
    parts.join(", ")
}

/// A span, as far as `named` names it.
pub fn span(case: &Case, span: &PlayedSpan, named: &ExpectedSpan) -> String {
    let attribute = |name: &String| Some((name.clone(), span.attributes.get(name)?.clone()));
    expected_span(
        case,
        &ExpectedSpan {
            trace: named.trace.as_ref().map(|_| span.trace.clone()),
            parent: named.parent.as_ref().map(|_| span.parent.clone()),
            start: named.start.map(|_| span.start),
            end: named.end.map(|_| span.end),
            status: named.status.as_ref().and(span.status).map(str::to_owned),
            attributes: named.attributes.keys().filter_map(attribute).collect(),
            events: named.events.as_ref().map(|_| span.events.clone()),
            ..named.clone()
        },
    )
}

/// A whole span, with these of its attributes.
pub fn whole_span(case: &Case, span: &PlayedSpan, attributes: &BTreeSet<String>) -> String {
    expected_span(case, &update::as_expected(span, attributes))
}

fn parent(parent: &Parent) -> String {
    match parent {
        Parent::None => "a root".to_owned(),
        Parent::Here(name) => format!("below {name}"),
        Parent::Elsewhere(id) => format!("below {id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_bounds_are_spelled_as_they_can_be_expected() {
        assert_eq!(number(2.0), "2");
        assert_eq!(number(0.1 + 0.2), "0.3");
        assert_eq!(bound(f64::INFINITY), "inf");
        assert_eq!(bound(2.0_f64.powf(0.25)), "1.18921");
        assert_eq!(bound(0.005), "0.005");
    }
}
