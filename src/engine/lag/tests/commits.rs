//! The ring keeps what was put in, as long as it has room.

use std::num::NonZeroU8;

use proptest::prelude::*;

use super::second;
use crate::engine::lag::commits::{Commit, Commits};
use crate::engine::time::{Span, WallTime};

fn commit(offset: i64, at: i64) -> Commit {
    Commit {
        offset,
        at: second(at),
        log_end: Some(offset + 5),
        lag_records: None,
    }
}

fn kept(commits: &Commits) -> Vec<(i64, i64)> {
    let seconds = |at: WallTime| at.0 / 1_000_000;
    commits
        .iter()
        .map(|commit| (commit.offset, seconds(commit.at)))
        .collect()
}

#[test]
fn a_commit_soon_after_takes_the_place_of_the_newest_and_leaves_its_time() {
    let mut commits = Commits::new(Commits::TEN, Span::seconds(10));
    for (offset, at) in [(10, 100), (20, 105), (30, 109), (40, 110), (50, 119)] {
        commits.push(commit(offset, at));
    }
    assert_eq!(kept(&commits), [(30, 100), (50, 110)]);
    assert_eq!(commits.last(), Some(commit(50, 119)));
    assert_eq!(commits.silence(second(125)), Some(Span::seconds(6)));
}

#[test]
fn a_rewind_has_an_entry_of_its_own_however_soon_it_comes() {
    let mut commits = Commits::new(Commits::TEN, Span::seconds(10));
    for (offset, at) in [(10, 100), (90, 101), (50, 102), (60, 103)] {
        commits.push(commit(offset, at));
    }
    assert_eq!(kept(&commits), [(90, 100), (60, 102)]);
}

#[test]
fn what_was_not_known_stays_unknown() {
    let mut commits = Commits::new(Commits::TEN, Span::ZERO);
    assert!(commits.is_empty() && commits.last().is_none() && commits.silence(second(1)).is_none());
    let unknown = Commit {
        log_end: None,
        ..commit(7, 1)
    };
    commits.push(unknown);
    assert_eq!(commits.last(), Some(unknown));
    assert_eq!(unknown.lag(), None);
    let most = i64::from(u32::MAX) - 1;
    for (records, kept) in [(-1, 0), (most, most), (most + 1, most), (i64::MAX, most)] {
        commits.push(Commit {
            lag_records: Some(records),
            ..unknown
        });
        assert_eq!(
            commits.last().and_then(|last| last.lag_records),
            Some(kept),
            "{records}"
        );
    }
    let ahead = Commit {
        log_end: Some(3),
        ..commit(7, 2)
    };
    assert_eq!(ahead.lag(), Some(0), "never negative");
}

#[test]
fn a_ring_takes_the_bytes_that_its_documentation_says() {
    assert_eq!(std::mem::size_of::<Commits>(), 48);
    let mut commits = Commits::new(Commits::TEN, Span::ZERO);
    let room: Vec<usize> = (0..12)
        .map(|at| {
            commits.push(commit(at, at));
            commits.room()
        })
        .collect();
    assert_eq!(room, [24, 96, 96, 96, 240, 240, 240, 240, 240, 240, 240, 240]);
}

proptest! {
    #[test]
    fn the_last_commits_come_back_as_they_were(
        capacity in 1_u8..20,
        pushed in prop::collection::vec((any::<i64>(), 0_i64..2_000_000_000, any::<Option<i32>>(), any::<Option<u16>>()), 1..40),
    ) {
        let mut commits = Commits::new(NonZeroU8::new(capacity).expect("not zero"), Span::ZERO);
        let mut at = 1_700_000_000_000;
        let mut expected = Vec::new();
        for (offset, step, end, records) in pushed {
            // Forwards, and now and then backwards.
            at += if step % 7 == 0 { -step / 1_000 } else { step };
            let commit = Commit {
                offset,
                at: WallTime(at * 1_000),
                log_end: end.map(|end| offset.saturating_add(end.into())).filter(|end| *end != i64::MIN),
                lag_records: records.map(i64::from),
            };
            commits.push(commit);
            expected.push(commit);
        }
        let expected = &expected[expected.len().saturating_sub(capacity.into())..];
        prop_assert_eq!(commits.iter().collect::<Vec<_>>(), expected);
        prop_assert_eq!(commits.len(), expected.len());
        prop_assert_eq!(commits.last(), expected.last().copied());
    }
}
