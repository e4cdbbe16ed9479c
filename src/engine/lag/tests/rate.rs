//! Rates, and when a group has caught up.

use proptest::prelude::*;

use super::second;
use crate::engine::lag::commits::{Commit, Commits};
use crate::engine::lag::ends::{Sample, Samples};
use crate::engine::lag::rate::{caught_up_in, commit_rate, produce_rate};
use crate::engine::time::Span;

fn ring(commits: &[(i64, i64)]) -> Commits {
    let mut ring = Commits::new(Commits::TEN, Span::ZERO);
    for (offset, at) in commits {
        ring.push(Commit {
            offset: *offset,
            at: second(*at),
            log_end: None,
            lag_records: None,
        });
    }
    ring
}

fn log(ends: &[(i64, i64)]) -> Samples {
    let mut samples = Samples::new(Span::seconds(86_400));
    for (at, end) in ends {
        let sample = Sample {
            at: second(*at),
            high_watermark: *end,
            last_stable: None,
            log_start: None,
        };
        samples.observe(sample, None);
    }
    samples
}

#[test]
fn a_group_reads_what_it_commits() {
    let steady = ring(&[(100, 0), (200, 10), (400, 20)]);
    assert_eq!(commit_rate(&steady, second(21)), Some(15.0));
    assert_eq!(commit_rate(&steady, second(30)), Some(15.0));
}

#[test]
fn silence_brings_the_rate_down() {
    let steady = ring(&[(100, 0), (200, 10), (400, 20)]);
    assert_eq!(commit_rate(&steady, second(100)), Some(3.0));
}

#[test]
fn one_commit_has_no_rate() {
    assert_eq!(commit_rate(&ring(&[]), second(5)), None);
    assert_eq!(commit_rate(&ring(&[(100, 0)]), second(5)), None);
    assert_eq!(
        commit_rate(&ring(&[(100, 5), (200, 5)]), second(5)),
        None,
        "at one time"
    );
    let mut merged = Commits::new(Commits::TEN, Span::seconds(60));
    for at in 0..5 {
        merged.push(Commit {
            offset: at * 100,
            at: second(at),
            log_end: None,
            lag_records: None,
        });
    }
    assert_eq!(commit_rate(&merged, second(5)), None, "one entry");
}

#[test]
fn a_rewind_is_not_negative_reading() {
    let rewound = ring(&[(100, 0), (900, 10), (200, 20), (260, 30), (300, 40)]);
    assert_eq!(commit_rate(&rewound, second(40)), Some(5.0));
    assert_eq!(commit_rate(&ring(&[(900, 10), (200, 20)]), second(20)), None);
}

#[test]
fn a_log_grows_over_the_window() {
    let grown = log(&[(0, 0), (100, 1_000), (110, 1_400), (120, 1_500)]);
    assert_eq!(produce_rate(&grown, Span::seconds(20), second(120)), Some(25.0));
    assert_eq!(
        produce_rate(&grown, Span::seconds(70), second(120)),
        Some(1_000.0 / 70.0),
        "between samples"
    );
    assert_eq!(
        produce_rate(&grown, Span::seconds(9_999), second(120)),
        Some(12.5),
        "from the oldest"
    );
    assert_eq!(produce_rate(&log(&[(0, 5)]), Span::seconds(20), second(1)), None);
    assert_eq!(produce_rate(&log(&[]), Span::seconds(20), second(1)), None);
    assert_eq!(
        produce_rate(&grown, Span::seconds(20), second(500)),
        None,
        "no sample in the window"
    );
}

#[test]
fn a_long_standstill_is_no_part_of_the_window_after_it() {
    let woken = log(&[(0, 100), (3_590, 100), (3_600, 160)]);
    assert_eq!(produce_rate(&woken, Span::seconds(60), second(3_600)), Some(1.0));
}

#[test]
fn only_who_is_faster_catches_up() {
    assert_eq!(caught_up_in(100, Some(15.0), Some(5.0)), Some(Span::seconds(10)));
    assert_eq!(caught_up_in(100, Some(5.0), Some(5.0)), None);
    assert_eq!(caught_up_in(100, Some(4.0), Some(5.0)), None);
    assert_eq!(caught_up_in(100, None, Some(5.0)), None);
    assert_eq!(caught_up_in(100, Some(5.0), None), None);
    assert_eq!(caught_up_in(0, None, None), Some(Span::ZERO));
    assert_eq!(caught_up_in(i64::MAX, Some(1e-9), Some(0.0)), None, "not in this age");
    assert_eq!(caught_up_in(100, Some(f64::NAN), Some(5.0)), None);
}

proptest! {
    #[test]
    fn rates_are_never_negative(
        commits in prop::collection::vec((0_i64..1_000, 0_i64..100), 0..15),
        ends in prop::collection::vec((0_i64..1_000, 1_i64..100), 0..15),
        window in 1_i64..2_000, later in 0_i64..1_000,
    ) {
        let timed = |pairs: Vec<(i64, i64)>| {
            let mut now = 0;
            let timed = pairs.into_iter().map(|(offset, step)| { now += step; (offset, now) });
            timed.collect::<Vec<_>>()
        };
        let (commits, ends) = (timed(commits), timed(ends));
        let now = |pairs: &[(i64, i64)]| second(pairs.last().map_or(0, |last| last.1) + later);
        let rate = commit_rate(&ring(&commits), now(&commits));
        prop_assert!(rate.is_none_or(|rate| rate >= 0.0 && rate.is_finite()));
        let swapped: Vec<_> = ends.iter().map(|(end, at)| (*at, *end)).collect();
        let rate = produce_rate(&log(&swapped), Span::seconds(window), now(&ends));
        prop_assert!(rate.is_none_or(|rate| rate >= 0.0 && rate.is_finite()));
    }
}
