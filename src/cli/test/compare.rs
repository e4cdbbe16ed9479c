//! What came out of a case beside what it expects.
//!
//! Rule: order means nothing. Only what is named is compared, and what is named is compared whole; `exactly` also asks for
//! nothing else to be there.
//!
//! Edges:
//! - a dead letter or a span answers one expectation: those that say more choose first;
//! - of what is left over on both sides, the first are shown beside each other.

use std::collections::BTreeMap;

use super::play::Played;
use super::points::{Labels, Point};
use super::show;
use super::spans::PlayedSpan;
use super::update;
use crate::engine::task::DeadLetter;
use crate::pipeline::Place;
use crate::pipeline::testing::{
    Case, Expect, Expected, ExpectedDead, ExpectedPoint, ExpectedSpan, Shown, Spot, Written,
};

/// One expectation that was not met.
pub struct Difference {
    pub place: Place,
    /// What it is about: a metric's name, `outcomes`.
    pub about: String,
    pub rows: Vec<Row>,
    pub fix: Fix,
}

/// Both sides of one thing, spelled; one that is not there is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub subject: String,
    pub expected: Option<String>,
    pub got: Option<String>,
}

/// What `--update` writes.
pub enum Fix {
    Here(Spot, Written),
    /// The whole expectation of the case.
    Whole(Spot, Written),
}

/// Everything that differs, in the order of the file.
pub fn compare(case: &Case, played: &Played) -> Vec<Difference> {
    let Some(expect) = &case.expect else {
        return vec![Difference {
            place: case.place.clone(),
            about: "expect".to_owned(),
            rows: Vec::new(),
            fix: Fix::Whole(case.spot.clone(), update::whole(case, played)),
        }];
    };
    let mut found = Vec::new();
    for metric in &expect.metrics {
        found.extend(of_metric(case, metric, played));
    }
    for (expected, got) in [(&expect.outcomes, &played.outcomes), (&expect.late, &played.late)] {
        found.extend(expected.as_ref().and_then(|expected| of_counts(case, expected, got)));
    }
    found.extend(expect.dead.as_ref().and_then(|dead| of_dead(dead, &played.dead)));
    found.extend(
        expect
            .spans
            .as_ref()
            .and_then(|spans| of_spans(case, spans, &played.spans)),
    );
    found.sort_by_key(|difference| difference.place.bytes.start);
    if case.exactly {
        found.extend(unnamed(case, expect, played));
    }
    found
}

fn of_metric(case: &Case, expected: &Expected<Vec<ExpectedPoint>>, played: &Played) -> Option<Difference> {
    let none = BTreeMap::new();
    let series = played.metrics.get(&expected.name).unwrap_or(&none);
    let mut rows = Vec::new();
    for point in &expected.what {
        let got = series.get(&point.labels).and_then(|points| match point.time {
            Some(time) => points.iter().rev().find(|point| point.time == time),
            None => points.last(),
        });
        if got.is_some_and(|got| meets(&point.shown, &got.shown)) {
            continue;
        }
        let time = point
            .time
            .map_or(String::new(), |time| format!(" at {}", case.spell(time)));
        rows.push(Row {
            subject: format!("{}{time}", show::labels(&point.labels)),
            expected: Some(show::shown(&point.shown, &point.shown)),
            got: got.map(|got| show::shown(&got.shown, &point.shown)),
        });
    }
    for (labels, points) in series {
        if !expected.what.iter().any(|point| point.labels == *labels) {
            rows.push(extra_series(labels, points));
        }
    }
    let fix = || Fix::Here(expected.spot.clone(), update::metric(case, expected, series));
    difference(&expected.place, &expected.name, rows, fix)
}

fn extra_series(labels: &Labels, points: &[Point]) -> Row {
    Row {
        subject: show::labels(labels),
        expected: None,
        got: points.last().map(|point| show::shown(&point.shown, &point.shown)),
    }
}

fn of_counts(
    case: &Case,
    expected: &Expected<BTreeMap<String, u64>>,
    got: &BTreeMap<String, u64>,
) -> Option<Difference> {
    let mut rows = Vec::new();
    for (name, count) in &expected.what {
        let got = got.get(name).copied().unwrap_or(0);
        if got != *count {
            rows.push(Row {
                subject: name.clone(),
                expected: Some(count.to_string()),
                got: Some(got.to_string()),
            });
        }
    }
    if case.exactly {
        for (name, count) in got.iter().filter(|(name, _)| !expected.what.contains_key(*name)) {
            rows.push(Row {
                subject: name.clone(),
                expected: None,
                got: Some(count.to_string()),
            });
        }
    }
    let fix = || Fix::Here(expected.spot.clone(), update::counts(case, expected, got));
    difference(&expected.place, &expected.name, rows, fix)
}

fn of_dead(expected: &Expected<Vec<ExpectedDead>>, got: &[DeadLetter]) -> Option<Difference> {
    let mut wanted: Vec<&ExpectedDead> = expected
        .what
        .iter()
        .flat_map(|dead| std::iter::repeat_n(dead, dead.times as usize))
        .collect();
    let says = |dead: &ExpectedDead| (dead.reason.as_ref().map_or(0, String::len), dead.topic.is_some());
    wanted.sort_by_key(|dead| std::cmp::Reverse(says(dead)));
    let mut left: Vec<&DeadLetter> = got.iter().collect();
    let mut missing = Vec::new();
    for dead in wanted {
        match left.iter().position(|letter| answers(dead, letter)) {
            Some(at) => drop(left.remove(at)),
            None => missing.push(dead),
        }
    }
    let pairs = missing.len().max(left.len());
    let rows = (0..pairs).map(|at| Row {
        subject: String::new(),
        expected: missing.get(at).map(|dead| show::expected_dead(dead)),
        got: left.get(at).map(|letter| show::dead(letter)),
    });
    let fix = || Fix::Here(expected.spot.clone(), update::dead(got));
    difference(&expected.place, &expected.name, rows.collect(), fix)
}

fn answers(expected: &ExpectedDead, letter: &DeadLetter) -> bool {
    let within = |part: &String| letter.reason.contains(part.as_str());
    expected.outcome == letter.outcome
        && expected.reason.as_ref().is_none_or(within)
        && expected.topic.as_ref().is_none_or(|topic| *topic == letter.topic)
}

fn of_spans(case: &Case, expected: &Expected<Vec<ExpectedSpan>>, got: &[PlayedSpan]) -> Option<Difference> {
    let mut wanted: Vec<&ExpectedSpan> = expected
        .what
        .iter()
        .flat_map(|span| std::iter::repeat_n(span, span.times as usize))
        .collect();
    wanted.sort_by_key(|span| std::cmp::Reverse(span.says()));
    let mut left: Vec<&PlayedSpan> = got.iter().collect();
    let mut missing = Vec::new();
    for span in wanted {
        match left.iter().position(|got| got.answers(span)) {
            Some(at) => drop(left.remove(at)),
            None => missing.push(span),
        }
    }
    let mut rows = Vec::new();
    for span in missing {
        let like = left.iter().position(|got| got.name == span.name);
        let got = like.map(|at| left.remove(at));
        rows.push(Row {
            subject: span.name.clone(),
            expected: Some(show::expected_span(case, span)),
            got: got.map(|got| show::span(case, got, span)),
        });
    }
    let all = update::named_attributes(&expected.what);
    rows.extend(left.into_iter().map(|got| Row {
        subject: got.name.clone(),
        expected: None,
        got: Some(show::whole_span(case, got, &all)),
    }));
    let fix = || Fix::Here(expected.spot.clone(), update::spans(case, &expected.what, got));
    difference(&expected.place, &expected.name, rows, fix)
}

/// What is there beside everything that is named.
fn unnamed(case: &Case, expect: &Expect, played: &Played) -> Option<Difference> {
    let mut rows = Vec::new();
    let named = |name: &String| expect.metrics.iter().any(|metric| metric.name == *name);
    for (name, series) in played.metrics.iter().filter(|(name, _)| !named(name)) {
        rows.extend(series.iter().map(|(labels, points)| {
            let row = extra_series(labels, points);
            Row {
                subject: format!("{name}{}", row.subject),
                ..row
            }
        }));
    }
    let counts = [
        (expect.outcomes.is_some(), "outcomes", &played.outcomes),
        (expect.late.is_some(), "late", &played.late),
    ];
    for (_, what, counts) in counts.into_iter().filter(|(is_named, _, _)| !is_named) {
        rows.extend(counts.iter().map(|(name, count)| Row {
            subject: format!("{what}: {name}"),
            expected: None,
            got: Some(count.to_string()),
        }));
    }
    if expect.dead.is_none() {
        rows.extend(played.dead.iter().map(|letter| Row {
            subject: "dead".to_owned(),
            expected: None,
            got: Some(show::dead(letter)),
        }));
    }
    if expect.spans.is_none() {
        let all = update::named_attributes(&[]);
        rows.extend(played.spans.iter().map(|span| Row {
            subject: format!("span {}", span.name),
            expected: None,
            got: Some(show::whole_span(case, span, &all)),
        }));
    }
    let fix = || Fix::Whole(case.spot.clone(), update::whole(case, played));
    difference(&expect.place, "expect, exactly", rows, fix)
}

fn difference(place: &Place, about: &str, rows: Vec<Row>, fix: impl FnOnce() -> Fix) -> Option<Difference> {
    (!rows.is_empty()).then(|| Difference {
        place: place.clone(),
        about: about.to_owned(),
        rows,
        fix: fix(),
    })
}

/// Whether everything that is named is so.
fn meets(expected: &Shown, got: &Shown) -> bool {
    let near = |a: f64, b: f64, digits: f64| a == b || (a - b).abs() <= digits * a.abs().max(b.abs()).max(1.0);
    let same = |expected: Option<f64>, got: Option<f64>| {
        expected.is_none_or(|expected| got.is_some_and(|got| near(expected, got, 1e-9)))
    };
    let bound = |a: f64, b: f64| a == b || (a - b).abs() <= 1e-5 * a.abs().max(b.abs());
    let buckets = expected.buckets.as_ref().is_none_or(|expected| {
        let got = got.buckets.as_deref().unwrap_or_default();
        expected.len() == got.len()
            && expected
                .iter()
                .zip(got)
                .all(|(expected, got)| bound(expected.0, got.0) && expected.1 == got.1)
    });
    same(expected.value, got.value)
        && same(expected.sum, got.sum)
        && expected.count.is_none_or(|count| got.count == Some(count))
        && buckets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_of_a_point_is_compared() {
        let got = Shown {
            value: None,
            count: Some(2),
            sum: Some(0.75),
            buckets: Some(vec![(0.25, 1), (0.5, 1)]),
        };
        let named = |count, sum, buckets| Shown {
            value: None,
            count,
            sum,
            buckets,
        };
        assert!(meets(&named(Some(2), None, None), &got));
        assert!(meets(&named(None, Some(0.750_000_000_1), None), &got));
        assert!(meets(&named(None, None, Some(vec![(0.250_001, 1), (0.5, 1)])), &got));
        assert!(!meets(&named(Some(3), None, None), &got));
        assert!(!meets(&named(None, Some(0.750_001), None), &got));
        assert!(!meets(&named(None, None, Some(vec![(0.25, 2)])), &got));
    }
}
