//! Burrow's rules as they are published: each case of its evaluator's own tests, with numbers of our own, and more of them
//! where a rule has an edge that no case there touches.

use super::second;
use crate::engine::lag::commits::{Commit, Commits};
use crate::engine::lag::status::{Ends, Rules, Status, status};
use crate::engine::time::{Span, WallTime};

struct Case {
    name: &'static str,
    /// Offset, second, lag.
    commits: &'static [(i64, i64, Option<i64>)],
    /// Log ends of the last minutes.
    ends: &'static [i64],
    lag: i64,
    now: i64,
    allowed: u64,
    expected: Status,
}

/// Advances by 30 every 20 seconds, and falls behind.
const SLOWER: &[(i64, i64, Option<i64>)] = &[
    (10, 40, Some(0)),
    (40, 60, Some(4)),
    (70, 80, Some(9)),
    (100, 100, Some(13)),
    (130, 120, Some(21)),
];
const ALWAYS_BEHIND: &[(i64, i64, Option<i64>)] = &[
    (10, 40, Some(2)),
    (40, 60, Some(4)),
    (70, 80, Some(9)),
    (100, 100, Some(13)),
    (130, 120, Some(21)),
];
const STANDING: &[(i64, i64, Option<i64>)] = &[
    (10, 40, Some(3)),
    (10, 60, Some(8)),
    (10, 80, Some(11)),
    (10, 100, Some(30)),
];
const MADE_UP: &[(i64, i64, Option<i64>)] = &[
    (500, 40, Some(60)),
    (700, 60, Some(70)),
    (600, 80, Some(270)),
    (900, 100, Some(80)),
];
const CAUGHT_UP: &[(i64, i64, Option<i64>)] = &[
    (8_801, 40, Some(0)),
    (8_802, 41, Some(0)),
    (8_803, 42, Some(0)),
    (8_804, 43, Some(0)),
];

#[rustfmt::skip]
const CASES: &[Case] = &[
    // The published ones, in their order.
    Case { name: "no lag at one commit", commits: SLOWER, ends: &[151], lag: 21, now: 140, allowed: 0, expected: Status::Ok },
    Case { name: "silent for exactly as long as the ring", commits: SLOWER, ends: &[151], lag: 21, now: 200, allowed: 0, expected: Status::Ok },
    Case { name: "silent for longer, without lag at first", commits: SLOWER, ends: &[151], lag: 21, now: 201, allowed: 0, expected: Status::Stop },
    Case { name: "silent for longer, always with lag", commits: ALWAYS_BEHIND, ends: &[151], lag: 21, now: 220, allowed: 0, expected: Status::Stop },
    Case { name: "one offset, without lag at first", commits: &[(10, 40, Some(0)), (10, 60, Some(8)), (10, 80, Some(11))], ends: &[21], lag: 11, now: 90, allowed: 0, expected: Status::Ok },
    Case { name: "one offset, always with lag", commits: STANDING, ends: &[40], lag: 30, now: 110, allowed: 0, expected: Status::Stall },
    Case { name: "one offset, always with the same lag", commits: &[(10, 40, Some(6)), (10, 60, Some(6)), (10, 80, Some(6))], ends: &[16], lag: 6, now: 90, allowed: 0, expected: Status::Stall },
    Case { name: "a rewind that was made up for", commits: MADE_UP, ends: &[980], lag: 80, now: 110, allowed: 0, expected: Status::Ok },
    Case { name: "silent for longer, no lag now", commits: ALWAYS_BEHIND, ends: &[130], lag: 0, now: 300, allowed: 0, expected: Status::Ok },
    Case { name: "always caught up, then silent while data comes", commits: CAUGHT_UP, ends: &[9_700, 9_500, 9_300, 9_100], lag: 896, now: 60, allowed: 0, expected: Status::Stop },
    Case { name: "silent for longer, but caught up lately", commits: CAUGHT_UP, ends: &[8_804, 8_804, 8_805], lag: 1, now: 60, allowed: 0, expected: Status::Ok },
    Case { name: "commits of unknown lag between", commits: &[(10, 40, Some(0)), (25, 50, None), (40, 60, Some(4)), (55, 70, None), (70, 80, Some(9)), (85, 90, None)], ends: &[95], lag: 10, now: 100, allowed: 0, expected: Status::Ok },
    Case { name: "silent for longer, within the allowed lag", commits: &[(10, 40, Some(5)), (40, 60, Some(3)), (40, 80, Some(3))], ends: &[43], lag: 3, now: 130, allowed: 3, expected: Status::Ok },
    Case { name: "one offset, beyond the allowed lag", commits: STANDING, ends: &[40], lag: 30, now: 110, allowed: 2, expected: Status::Stall },
    Case { name: "a rewind that was made up for, beyond the allowed lag", commits: MADE_UP, ends: &[980], lag: 80, now: 110, allowed: 59, expected: Status::Ok },
    Case { name: "a rewind that was not made up for", commits: &[(500, 40, Some(60)), (700, 60, Some(70)), (600, 80, Some(270)), (699, 100, Some(80))], ends: &[779], lag: 80, now: 110, allowed: 0, expected: Status::Rewind },
    // Those of whole groups, as far as they are about a partition.
    Case { name: "a ring that gets on and catches up", commits: &[(10, 40, Some(50)), (40, 60, Some(40)), (70, 80, Some(30))], ends: &[100], lag: 30, now: 100, allowed: 0, expected: Status::Ok },
    Case { name: "a ring that is not full, silent for longer", commits: &[(10, 40, Some(50)), (40, 60, Some(40))], ends: &[100], lag: 60, now: 81, allowed: 0, expected: Status::Stop },
    Case { name: "no commit", commits: &[], ends: &[100], lag: 0, now: 100, allowed: 0, expected: Status::Ok },
    // What the rules say beyond their cases.
    Case { name: "falling behind", commits: ALWAYS_BEHIND, ends: &[151], lag: 21, now: 140, allowed: 0, expected: Status::Warn },
    Case { name: "a lag that stays the same", commits: &[(10, 40, Some(7)), (40, 60, Some(7)), (70, 80, Some(7))], ends: &[77], lag: 7, now: 90, allowed: 0, expected: Status::Warn },
    Case { name: "no lag is known", commits: &[(10, 40, None), (40, 60, None), (70, 80, None)], ends: &[77], lag: 7, now: 90, allowed: 0, expected: Status::Warn },
    Case { name: "one dip in a lag that grows", commits: &[(10, 40, Some(9)), (40, 60, Some(8)), (70, 80, Some(400))], ends: &[470], lag: 400, now: 90, allowed: 0, expected: Status::Ok },
    Case { name: "a dip behind a commit of unknown lag", commits: &[(10, 40, Some(9)), (40, 60, None), (70, 80, Some(8))], ends: &[78], lag: 8, now: 90, allowed: 0, expected: Status::Ok },
    Case { name: "at the allowed lag at one commit", commits: STANDING, ends: &[40], lag: 30, now: 110, allowed: 3, expected: Status::Ok },
    Case { name: "a rewind after no lag", commits: &[(700, 40, Some(0)), (10, 60, Some(690)), (40, 80, Some(660))], ends: &[700], lag: 660, now: 90, allowed: 0, expected: Status::Rewind },
    Case { name: "made up for, and rewound again", commits: &[(700, 40, Some(1)), (10, 60, Some(691)), (700, 80, Some(1)), (10, 90, Some(691))], ends: &[701], lag: 691, now: 95, allowed: 0, expected: Status::Ok },
    Case { name: "a ring of one, a second later", commits: &[(10, 40, Some(5))], ends: &[15], lag: 5, now: 41, allowed: 0, expected: Status::Stop },
    Case { name: "a ring of one, at once", commits: &[(10, 40, Some(5))], ends: &[15], lag: 5, now: 40, allowed: 0, expected: Status::Stall },
    Case { name: "rewound, then silent: STOP comes first", commits: &[(700, 40, Some(1)), (10, 60, Some(691))], ends: &[701], lag: 691, now: 81, allowed: 0, expected: Status::Stop },
    Case { name: "the commit is ahead of the log end that is known", commits: STANDING, ends: &[5], lag: -5, now: 999, allowed: 0, expected: Status::Ok },
];

fn ring(case: &Case) -> Commits {
    let mut commits = Commits::new(Commits::TEN, Span::ZERO);
    for (offset, at, lag) in case.commits {
        commits.push(Commit {
            offset: *offset,
            at: second(*at),
            log_end: lag.map(|lag| offset + lag),
            lag_records: None,
        });
    }
    commits
}

fn judge(case: &Case, now: WallTime) -> Status {
    let commits = ring(case);
    let current = Ends {
        high_watermark: commits.last().map_or(0, |last| last.offset) + case.lag,
        last_stable: None,
        log_start: None,
        records: None,
        lowest_lately: case.ends.iter().copied().min(),
        waited: None,
    };
    let rules = Rules::Burrow {
        allowed_lag: case.allowed,
    };
    status(&commits, rules, now, current)
}

#[test]
fn every_published_case_is_judged_as_published() {
    for case in CASES {
        assert_eq!(judge(case, second(case.now)), case.expected, "{}", case.name);
    }
}

#[test]
fn its_clock_has_whole_seconds() {
    let case = CASES.iter().find(|case| case.now == 200).expect("at the edge");
    assert_eq!(judge(case, WallTime(200_999_999)), Status::Ok);
    assert_eq!(judge(case, WallTime(201_000_000)), Status::Stop);
}
