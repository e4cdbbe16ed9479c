//! `--update`: what came out, written into the file.
//!
//! Rule: only values of expectations that differ are replaced; every other byte stays. The file is read again as it would
//! be written, and left alone if it could not be.
//!
//! Edges:
//! - an expectation keeps its manner: the points that name a time, and of a histogram what was named before;
//! - comments inside of a replaced value are lost, and each place is said;
//! - a value that is shared by an anchor or an alias is not touched, and said.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use super::compare::{Difference, Fix};
use super::environment;
use super::play::Played;
use super::points::{Labels, Point};
use super::show;
use super::spans::PlayedSpan;
use crate::engine::task::DeadLetter;
use crate::pipeline::testing::{
    self, Case, Expected, ExpectedPoint, ExpectedSpan, Parent, Shown, Spot, TestFile, Written,
};

/// What is written about a point where nobody said what to name.
const ALL: Shown = Shown {
    value: Some(0.0),
    count: Some(0),
    sum: Some(0.0),
    buckets: None,
};

/// The attribute that every span has with the key of its conversation.
const KEY: &str = "correlation.id";

/// Writes the fixes of these differences. Returns what to say; the error says why nothing was written.
pub fn update(path: &Path, file: &TestFile, differences: &[(&Case, &Difference)]) -> Result<String, String> {
    let name = path.display();
    let mut said = String::new();
    let mut edits: Vec<(&Spot, String)> = Vec::new();
    for (case, difference) in differences {
        let whole = |(other, difference): &&(&Case, &Difference)| {
            std::ptr::eq(*other, *case) && matches!(difference.fix, Fix::Whole(..))
        };
        let (spot, what) = match &difference.fix {
            Fix::Whole(spot, what) => (spot, what),
            // The whole expectation is written anew, and this with it.
            Fix::Here(..) if differences.iter().any(|other| whole(&other)) => continue,
            Fix::Here(spot, what) => (spot, what),
        };
        if spot.shared {
            let _ = writeln!(
                said,
                "{}: shared by an anchor or an alias, not touched",
                difference.place
            );
            continue;
        }
        let _ = writeln!(said, "{}: {} of `{}`", difference.place, difference.about, case.name);
        let comments = comments(&file.text[spot.range.clone()]);
        if comments > 0 {
            let plural = if comments == 1 { "comment is" } else { "comments are" };
            let _ = writeln!(said, "  {comments} {plural} lost with what stood there");
        }
        edits.push((spot, spot.spell(what, &|text| file.mask(text))));
    }
    edits.sort_by_key(|(spot, _)| spot.range.start);
    let mut text = file.text.clone();
    for (spot, new) in edits.iter().rev() {
        text.replace_range(spot.range.clone(), new);
    }
    if edits.is_empty() {
        return Ok(format!("{said}{name}: nothing to update\n"));
    }
    testing::read_text_as(path, &text, &environment, false)
        .map_err(|found| format!("{name} is left as it is, since it could not be read again:\n{found}"))?;
    std::fs::write(path, text).map_err(|error| format!("{name}: {error}"))?;
    let plural = if edits.len() == 1 {
        "expectation"
    } else {
        "expectations"
    };
    let _ = writeln!(said, "{name}: {} {plural} written", edits.len());
    Ok(said)
}

/// Lines of a block that have a comment; a `#` in a text may count too.
fn comments(text: &str) -> usize {
    let has = |line: &&str| line.trim_start().starts_with('#') || line.contains(" #");
    text.lines().filter(has).count()
}

/// A whole expectation: everything that came out, and that metrics which were named have nothing.
pub fn whole(case: &Case, played: &Played) -> Written {
    let mut metrics = Vec::new();
    let named = case.expect.iter().flat_map(|expect| &expect.metrics);
    for expected in named.clone() {
        let none = BTreeMap::new();
        let series = played.metrics.get(&expected.name).unwrap_or(&none);
        metrics.push((expected.name.clone(), metric(case, expected, series)));
    }
    for (name, series) in &played.metrics {
        if !named.clone().any(|expected| expected.name == *name) {
            metrics.push((name.clone(), all_series(case, series, false, &ALL)));
        }
    }
    let mut parts = Vec::new();
    if !metrics.is_empty() {
        parts.push(("metrics".to_owned(), Written::Map(metrics)));
    }
    parts.push(("outcomes".to_owned(), map(&played.outcomes)));
    parts.push(("dead".to_owned(), dead(&played.dead)));
    if !played.late.is_empty() {
        parts.push(("late".to_owned(), map(&played.late)));
    }
    if !played.spans.is_empty() {
        let named = case.expect.iter().flat_map(|expect| &expect.spans);
        let named: Vec<ExpectedSpan> = named.flat_map(|spans| spans.what.clone()).collect();
        parts.push(("spans".to_owned(), spans(case, &named, &played.spans)));
    }
    Written::Map(parts)
}

/// A metric in the manner in which it was expected.
pub fn metric(case: &Case, expected: &Expected<Vec<ExpectedPoint>>, series: &BTreeMap<Labels, Vec<Point>>) -> Written {
    let timed = expected.what.iter().any(|point| point.time.is_some());
    let mut named = Shown::default();
    for point in &expected.what {
        named.value = named.value.or(point.shown.value);
        named.count = named.count.or(point.shown.count);
        named.sum = named.sum.or(point.shown.sum);
        named.buckets = named.buckets.or_else(|| point.shown.buckets.clone());
    }
    if named == Shown::default() {
        named = ALL;
    }
    all_series(case, series, timed, &named)
}

fn all_series(case: &Case, series: &BTreeMap<Labels, Vec<Point>>, timed: bool, named: &Shown) -> Written {
    let mut items = Vec::new();
    for (labels, points) in series {
        if timed {
            let mut before = None;
            for point in points.iter().filter(|point| !point.first) {
                // A point that only repeats the value says nothing.
                if before != Some(&point.shown) {
                    items.push(one_point(labels, Some(case.spell(point.time)), &point.shown, named));
                }
                before = Some(&point.shown);
            }
        } else if let Some(point) = points.last() {
            items.push(one_point(labels, None, &point.shown, named));
        }
    }
    none_or_list(items)
}

fn one_point(labels: &Labels, time: Option<String>, shown: &Shown, named: &Shown) -> Written {
    let mut pairs = Vec::new();
    if !labels.is_empty() {
        let labels = labels
            .iter()
            .map(|(name, value)| (name.clone(), Written::Text(value.clone())));
        pairs.push(("labels".to_owned(), Written::Map(labels.collect())));
    }
    pairs.extend(time.map(|time| ("time".to_owned(), Written::Plain(time))));
    let numbers = [
        ("value", named.value.and(shown.value).map(show::number)),
        ("count", named.count.and(shown.count).map(|count| count.to_string())),
        ("sum", named.sum.and(shown.sum).map(show::number)),
    ];
    for (key, number) in numbers {
        pairs.extend(number.map(|number| (key.to_owned(), Written::Plain(number))));
    }
    if let (Some(_), Some(buckets)) = (&named.buckets, &shown.buckets) {
        let bucket = |(bound, count): &(f64, u64)| (show::bound(*bound), Written::Plain(count.to_string()));
        pairs.push(("buckets".to_owned(), Written::Map(buckets.iter().map(bucket).collect())));
    }
    Written::Map(pairs)
}

/// Outcomes or late records: those that were named, and the others where the case names all.
pub fn counts(case: &Case, expected: &Expected<BTreeMap<String, u64>>, got: &BTreeMap<String, u64>) -> Written {
    let named = |name: &String| (name.clone(), got.get(name).copied().unwrap_or(0));
    let mut counts: BTreeMap<String, u64> = expected.what.keys().map(named).collect();
    if case.exactly {
        counts.extend(got.iter().map(|(name, count)| (name.clone(), *count)));
    }
    map(&counts)
}

fn map(counts: &BTreeMap<String, u64>) -> Written {
    let pair = |(name, count): (&String, &u64)| (name.clone(), Written::Plain(count.to_string()));
    Written::Map(counts.iter().map(pair).collect())
}

/// All dead letters; equal ones once.
pub fn dead(letters: &[DeadLetter]) -> Written {
    let mut counts: Vec<(&DeadLetter, usize)> = Vec::new();
    for letter in letters {
        let same = |other: &&mut (&DeadLetter, usize)| {
            (other.0.outcome, &other.0.reason, &other.0.topic) == (letter.outcome, &letter.reason, &letter.topic)
        };
        match counts.iter_mut().find(same) {
            Some((_, count)) => *count += 1,
            None => counts.push((letter, 1)),
        }
    }
    let item = |(letter, count): (&DeadLetter, usize)| {
        let mut pairs = vec![
            ("outcome".to_owned(), Written::Text(letter.outcome.to_owned())),
            ("topic".to_owned(), Written::Text(letter.topic.clone())),
            ("reason".to_owned(), Written::Text(letter.reason.clone())),
        ];
        if count > 1 {
            pairs.push(("times".to_owned(), Written::Plain(count.to_string())));
        }
        Written::Map(pairs)
    };
    none_or_list(counts.into_iter().map(item).collect())
}

/// The attributes that these expectations name; where they name none, the one that tells a conversation from others.
pub fn named_attributes(expected: &[ExpectedSpan]) -> BTreeSet<String> {
    let mut named: BTreeSet<String> = expected
        .iter()
        .flat_map(|span| span.attributes.keys().cloned())
        .collect();
    if named.is_empty() {
        named.insert(KEY.to_owned());
    }
    named
}

/// A span as it could be expected, with these of its attributes.
pub fn as_expected(span: &PlayedSpan, attributes: &BTreeSet<String>) -> ExpectedSpan {
    let attribute = |name: &String| Some((name.clone(), span.attributes.get(name)?.clone()));
    ExpectedSpan {
        name: span.name.clone(),
        trace: None,
        parent: Some(span.parent.clone()),
        start: Some(span.start),
        end: Some(span.end),
        status: span.status.map(str::to_owned),
        attributes: attributes.iter().filter_map(attribute).collect(),
        events: (!span.events.is_empty()).then(|| span.events.clone()),
        times: 1,
    }
}

/// All spans, in the manner in which they were expected: with the attributes that were named.
pub fn spans(case: &Case, expected: &[ExpectedSpan], got: &[PlayedSpan]) -> Written {
    let attributes = named_attributes(expected);
    let traced = expected.iter().any(|span| span.trace.is_some());
    none_or_list(
        got.iter()
            .map(|span| one_span(case, span, &attributes, traced))
            .collect(),
    )
}

fn one_span(case: &Case, span: &PlayedSpan, attributes: &BTreeSet<String>, traced: bool) -> Written {
    let named = as_expected(span, attributes);
    let mut pairs = vec![("name".to_owned(), Written::Text(named.name))];
    if traced {
        pairs.push(("trace".to_owned(), Written::Text(span.trace.clone())));
    }
    let parent = match &span.parent {
        Parent::None => Written::Plain("none".to_owned()),
        Parent::Here(name) => Written::Text(name.clone()),
        Parent::Elsewhere(id) => Written::Text(id.clone()),
    };
    pairs.push(("parent".to_owned(), parent));
    pairs.push(("start".to_owned(), Written::Plain(case.spell(span.start))));
    pairs.push(("end".to_owned(), Written::Plain(case.spell(span.end))));
    pairs.extend(
        span.status
            .map(|status| ("status".to_owned(), Written::Plain(status.to_owned()))),
    );
    if !named.attributes.is_empty() {
        let attribute = |(name, value): (String, String)| (name, Written::Text(value));
        let attributes = named.attributes.into_iter().map(attribute);
        pairs.push(("attributes".to_owned(), Written::Map(attributes.collect())));
    }
    if let Some(events) = named.events {
        let events = events.into_iter().map(Written::Text);
        pairs.push(("events".to_owned(), Written::List(events.collect())));
    }
    Written::Map(pairs)
}

fn none_or_list(items: Vec<Written>) -> Written {
    if items.is_empty() {
        Written::Plain("none".to_owned())
    } else {
        Written::List(items)
    }
}
