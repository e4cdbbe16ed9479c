//! The corrected rules: what each of Burrow's flaws becomes.

use super::second;
use crate::engine::lag::commits::{Commit, Commits};
use crate::engine::lag::status::{Ends, GRACE, NEW, Rules, Status, status};
use crate::engine::time::Span;

const BURROW: Rules = Rules::Burrow { allowed_lag: 0 };

/// Commits of (offset, second, log end).
fn ring(commits: impl IntoIterator<Item = (i64, i64, i64)>) -> Commits {
    let mut ring = Commits::new(Commits::TEN, Span::ZERO);
    for (offset, at, end) in commits {
        ring.push(Commit {
            offset,
            at: second(at),
            log_end: Some(end),
            lag_records: None,
        });
    }
    ring
}

/// Data has waited for hours, and no transaction is open.
pub(super) fn ends(high_watermark: i64) -> Ends {
    Ends {
        high_watermark,
        last_stable: Some(high_watermark),
        log_start: Some(0),
        records: None,
        lowest_lately: Some(high_watermark),
        waited: Some(Span::seconds(10_000)),
    }
}

pub(super) fn corrected(commits: &Commits, now: i64, ends: Ends) -> Status {
    status(commits, Rules::default(), second(now), ends)
}

fn burrow(commits: &Commits, now: i64, ends: Ends) -> Status {
    status(commits, BURROW, second(now), ends)
}

/// Reads ten records every five seconds and stays a hundred behind.
fn steady(count: i64) -> Commits {
    ring((0..count).map(|at| (at * 10, at * 5, at * 10 + 100)))
}

#[test]
fn a_ring_of_one_commit_is_no_stop_until_its_patience_is_over() {
    let one = ring([(10, 0, 100)]);
    assert_eq!(burrow(&one, 1, ends(100)), Status::Stop);
    assert_eq!(corrected(&one, 1, ends(100)), Status::Ok);
    let patience = NEW.as_micros() / 1_000_000;
    assert_eq!(corrected(&one, patience, ends(100)), Status::Ok);
    assert_eq!(corrected(&one, patience + 1, ends(100)), Status::Stop);
}

#[test]
fn three_commits_make_no_rhythm() {
    let patience = NEW.as_micros() / 1_000_000;
    for (count, given) in [(2, patience), (3, patience), (4, 60)] {
        let last = (count - 1) * 5;
        assert_eq!(
            corrected(&steady(count), last + given, ends(500)),
            Status::Ok,
            "{count}"
        );
        assert_eq!(
            corrected(&steady(count), last + given + 1, ends(500)),
            Status::Stop,
            "{count}"
        );
    }
}

#[test]
fn a_second_rewind_is_seen_after_the_first_was_made_up_for() {
    let twice = ring([(700, 0, 800), (10, 60, 800), (750, 120, 800), (20, 180, 800)]);
    assert_eq!(burrow(&twice, 181, ends(800)), Status::Ok);
    assert_eq!(corrected(&twice, 181, ends(800)), Status::Rewind);
    let made_up = ring([(700, 0, 800), (10, 60, 800), (750, 120, 800)]);
    assert_eq!(corrected(&made_up, 121, ends(800)), Status::Ok);
}

#[test]
fn a_rewind_that_has_stopped_is_a_stop() {
    let rewound = ring([(700, 0, 800), (710, 5, 800), (720, 10, 800), (10, 15, 800)]);
    assert_eq!(corrected(&rewound, 76, ends(800)), Status::Stop);
    assert_eq!(corrected(&rewound, 75, ends(800)), Status::Rewind);
}

#[test]
fn a_truncated_log_is_no_rewind_of_the_group() {
    let moved_back = ring([(700, 0, 700), (700, 5, 700), (300, 10, 400), (310, 15, 400)]);
    assert_eq!(burrow(&moved_back, 16, ends(400)), Status::Rewind);
    assert_eq!(corrected(&moved_back, 16, ends(400)), Status::Ok);
}

#[test]
fn an_exactly_once_group_that_has_caught_up_is_ok() {
    // It commits behind its last record; the marker comes after.
    let caught_up = ring((1..=10).map(|at| (at * 10, at * 5, at * 10 + 1)));
    let one = ends(101);
    assert_eq!(burrow(&caught_up, 1_000, one), Status::Stop);
    assert_eq!(corrected(&caught_up, 1_000, one), Status::Ok, "one marker");
    let many = ends(140);
    let counted = |records| Ends {
        records: Some(records),
        ..many
    };
    assert_eq!(corrected(&caught_up, 1_000, counted(0)), Status::Ok, "only markers");
    assert_eq!(corrected(&caught_up, 1_000, counted(1)), Status::Stop, "one record");
    assert_eq!(corrected(&caught_up, 1_000, many), Status::Stop, "nobody counted");
}

#[test]
fn a_group_behind_an_open_transaction_is_ok() {
    let caught_up = ring((1..=10).map(|at| (at * 10, at * 5, at * 10)));
    let open = Ends {
        last_stable: Some(100),
        ..ends(5_000)
    };
    assert_eq!(burrow(&caught_up, 1_000, open), Status::Stop);
    assert_eq!(corrected(&caught_up, 1_000, open), Status::Ok);
    // This one has read what is not yet committed, so it has no excuse.
    let uncommitted = Ends {
        last_stable: Some(90),
        records: Some(0),
        ..ends(5_000)
    };
    assert_eq!(corrected(&caught_up, 1_000, uncommitted), Status::Stop);
}

#[test]
fn what_retention_took_is_not_left_to_read() {
    let old = steady(10);
    let all_gone = Ends {
        log_start: Some(5_000),
        ..ends(5_000)
    };
    assert_eq!(corrected(&old, 1_000, all_gone), Status::Ok);
    let some_left = Ends {
        log_start: Some(4_000),
        ..ends(5_000)
    };
    assert_eq!(corrected(&old, 1_000, some_left), Status::Stop);
}

#[test]
fn a_record_that_has_just_come_is_nobodys_fault() {
    let idle = ring((1..=10).map(|at| (100, at * 5, 100)));
    let just_come = Ends {
        waited: Some(Span::seconds(59)),
        ..ends(105)
    };
    assert_eq!(burrow(&idle, 3_600, just_come), Status::Stop);
    assert_eq!(corrected(&idle, 3_600, just_come), Status::Ok);
    let waited = Ends {
        waited: Some(GRACE),
        ..just_come
    };
    assert_eq!(corrected(&idle, 3_600, waited), Status::Stop);
}

#[test]
fn a_restart_of_the_sampler_makes_no_stop_an_ok() {
    let dead = ring((0..10).map(|at| (at * 10, at * 5, at * 10 + 100)));
    let restarted = Ends {
        waited: Some(Span::ZERO),
        ..ends(500)
    };
    assert_eq!(corrected(&dead, 3_600, restarted), Status::Stop);
    let trimmed = |log_start| Ends {
        log_start: Some(log_start),
        ..restarted
    };
    assert_eq!(
        corrected(&dead, 3_600, trimmed(189)),
        Status::Stop,
        "one of them is still there"
    );
    assert_eq!(
        corrected(&dead, 3_600, trimmed(190)),
        Status::Ok,
        "what is left came later"
    );
    let had_read_all = ring((0..10).map(|at| (at * 10, at * 5, at * 10)));
    assert_eq!(corrected(&had_read_all, 3_600, restarted), Status::Ok);
}

#[test]
fn an_idle_day_does_not_hide_the_death_after_it() {
    let day = 86_400;
    let after = (0..6).map(|at| (100 + at * 10, day + at * 5, 200 + at * 10));
    let woken = ring([(90, 0, 90), (100, 5, 100)].into_iter().chain(after));
    let dead = day + 25 + 120;
    assert_eq!(burrow(&woken, dead, ends(500)), Status::Ok);
    assert_eq!(corrected(&woken, dead, ends(500)), Status::Stop);
}

#[test]
fn a_group_that_commits_often_may_draw_breath() {
    let fast = ring((0..10).map(|at| (at * 10, at, at * 10 + 100)));
    assert_eq!(burrow(&fast, 20, ends(300)), Status::Stop);
    assert_eq!(corrected(&fast, 20, ends(300)), Status::Ok);
    assert_eq!(corrected(&fast, 9 + 61, ends(300)), Status::Stop);
}

#[test]
fn a_group_that_commits_rarely_is_given_three_of_its_steps() {
    let hourly = ring((0..10).map(|at| (at * 10, at * 3_600, at * 10 + 100)));
    let last = 9 * 3_600;
    assert_eq!(corrected(&hourly, last + 3 * 3_600, ends(300)), Status::Ok);
    assert_eq!(corrected(&hourly, last + 3 * 3_600 + 1, ends(300)), Status::Stop);
    assert_eq!(burrow(&hourly, last + 9 * 3_600, ends(300)), Status::Warn);
}

#[test]
fn a_batch_that_comes_by_each_hour_keeps_its_rhythm() {
    let runs = [0, 3_600, 7_200].into_iter();
    let batch = ring(runs.flat_map(|run| (0..3).map(move |at| (run + at * 10, run + at, run + at * 10 + 50))));
    let last = 7_202;
    assert_eq!(corrected(&batch, last + 3_000, ends(20_000)), Status::Ok);
    assert_eq!(corrected(&batch, last + 3 * 3_598 + 1, ends(20_000)), Status::Stop);
}

#[test]
fn a_producer_that_has_stopped_leaves_what_it_left() {
    let behind = steady(10);
    assert_eq!(corrected(&behind, 60, ends(190)), Status::Ok);
    assert_eq!(corrected(&behind, 45 + 61, ends(190)), Status::Stop);
    assert_eq!(corrected(&behind, 1_000_000, ends(90)), Status::Ok, "all was read");
}

#[test]
fn commits_at_one_offset_while_data_waits_are_a_stall() {
    let stuck = ring((0..10).map(|at| (100, at * 20, if at == 0 { 100 } else { 100 + at * 10 })));
    assert_eq!(
        burrow(&stuck, 181, ends(300)),
        Status::Ok,
        "hidden by one commit without lag"
    );
    assert_eq!(corrected(&stuck, 181, ends(300)), Status::Stall);
    let two = ring([(90, 0, 200), (100, 100, 200), (100, 200, 200)]);
    assert_eq!(corrected(&two, 201, ends(300)), Status::Ok, "two are not enough");
    let quick = ring((0..10).map(|at| (100, at * 6, 200)));
    assert_eq!(corrected(&quick, 55, ends(300)), Status::Ok, "not for long enough");
    // Keep-alive commits of a group that had nothing to read.
    let idle = ring((0..10).map(|at| (100, at * 20, 100)));
    let come = Ends {
        waited: Some(GRACE),
        ..ends(300)
    };
    assert_eq!(corrected(&idle, 181, come), Status::Ok);
    let before_a_marker = ring((0..10).map(|at| (100, at * 20, 101)));
    assert_eq!(corrected(&before_a_marker, 181, come), Status::Ok);
    // Samples began a minute ago, but the commits know that data was there.
    let known = ring((0..10).map(|at| (100, at * 20, 200)));
    assert_eq!(corrected(&known, 181, come), Status::Stall);
}

#[test]
fn a_stall_is_seen_where_no_log_end_was_read_with_the_commits() {
    let mut stuck = Commits::new(Commits::TEN, Span::ZERO);
    for at in 0..10 {
        stuck.push(Commit {
            offset: 100,
            at: second(at * 20),
            log_end: None,
            lag_records: None,
        });
    }
    assert_eq!(corrected(&stuck, 181, ends(300)), Status::Stall);
    let unknown = Ends {
        waited: None,
        ..ends(300)
    };
    assert_eq!(
        corrected(&stuck, 181, unknown),
        Status::Ok,
        "it may all have come just now"
    );
    assert_eq!(corrected(&stuck, 180 + 61, unknown), Status::Stop);
}

#[test]
fn a_lag_that_grows_is_a_warning_despite_a_dip() {
    let growing = [100, 110, 105, 120, 118, 300, 420, 410, 500, 640];
    let commits = ring((0..).zip(growing).map(|(at, lag)| (at * 10, at * 20, at * 10 + lag)));
    assert_eq!(burrow(&commits, 181, ends(1_000)), Status::Ok);
    assert_eq!(corrected(&commits, 181, ends(1_000)), Status::Warn);
}

#[test]
fn a_lag_that_grows_over_three_commits_or_for_a_moment_is_no_warning() {
    let growing = |count: i64, step: i64| ring((0..count).map(|at| (at * 10, at * step, at * 10 + 100 * (at + 1))));
    assert_eq!(corrected(&growing(3, 40), 81, ends(1_000)), Status::Ok);
    assert_eq!(corrected(&growing(4, 20), 61, ends(1_000)), Status::Warn);
    assert_eq!(corrected(&growing(10, 6), 55, ends(2_000)), Status::Ok);
    assert_eq!(corrected(&growing(10, 7), 64, ends(2_000)), Status::Warn);
}

#[test]
fn who_left_only_a_marker_at_one_commit_is_not_always_behind() {
    let lags = [1, 1, 1, 1, 1, 40, 50, 60, 70, 80];
    let commits = ring((0..).zip(lags).map(|(at, lag)| (at * 10, at * 20, at * 10 + lag)));
    assert_eq!(corrected(&commits, 181, ends(1_000)), Status::Ok);
}

#[test]
fn a_lag_that_stays_the_same_is_no_warning() {
    let commits = ring((0..10).map(|at| (at * 10, at * 20, at * 10 + 100)));
    assert_eq!(burrow(&commits, 181, ends(200)), Status::Warn);
    assert_eq!(corrected(&commits, 181, ends(200)), Status::Ok);
    let a_tenth = ring((0..10).map(|at| (at * 10, at * 20, at * 10 + 100 + at / 5 * 10)));
    assert_eq!(corrected(&a_tenth, 181, ends(210)), Status::Ok);
}

#[test]
fn growth_is_counted_in_records_where_all_commits_have_them() {
    let mut markers = Commits::new(Commits::TEN, Span::ZERO);
    for at in 0..10 {
        markers.push(Commit {
            offset: at * 10,
            at: second(at * 20),
            log_end: Some(at * 10 + 100 * (at + 1)),
            lag_records: Some(50),
        });
    }
    let records = Ends {
        records: Some(50),
        ..ends(2_000)
    };
    assert_eq!(corrected(&markers, 181, records), Status::Ok, "only markers came");
}

#[test]
fn without_a_commit_nothing_is_known() {
    assert_eq!(corrected(&ring([]), 1, ends(100)), Status::Unknown);
}

#[test]
fn each_status_has_a_name_of_its_own() {
    let names: std::collections::BTreeSet<_> = Status::ALL.map(Status::name).into();
    assert_eq!(names.len(), Status::ALL.len());
    assert!(Status::ALL.is_sorted());
}
