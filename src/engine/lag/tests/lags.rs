//! The three lags, case by case.

use proptest::prelude::*;

use super::second;
use crate::engine::lag::ends::Sample;
use crate::engine::lag::lags::{Lags, Position, lags};

const ONE: [u8; 16] = [1; 16];
const OTHER: [u8; 16] = [2; 16];

fn log(start: i64, stable: i64, end: i64) -> Sample {
    Sample {
        at: second(0),
        high_watermark: end,
        last_stable: (stable >= 0).then_some(stable),
        log_start: (start >= 0).then_some(start),
    }
}

fn at(offset: i64) -> Option<Position> {
    Some(Position { offset, topic_id: None })
}

fn found(high: i64, stable: i64, records: Option<i64>, lost: i64) -> Option<Lags> {
    Some(Lags {
        high,
        stable: (stable >= 0).then_some(stable),
        records,
        lost,
    })
}

#[test]
fn each_case_is_as_documented() {
    let read = |topic_id| {
        Some(Position {
            offset: 40,
            topic_id: Some(topic_id),
        })
    };
    let open = log(10, 80, 100);
    #[rustfmt::skip]
    let cases = [
        ("inside the log", at(40), open, None, Some(30), found(60, 40, Some(30), 0)),
        ("inside, not counted", at(40), open, None, None, found(60, 40, None, 0)),
        ("counted while more was read", at(60), open, None, Some(30), found(40, 20, Some(20), 0)),
        ("counted below zero", at(60), open, None, Some(-3), found(40, 20, Some(0), 0)),
        ("stuck behind an open transaction", at(80), open, None, None, found(20, 0, Some(0), 0)),
        ("reads uncommitted records", at(90), open, None, Some(7), found(10, 0, Some(0), 0)),
        ("caught up", at(100), open, None, None, found(0, 0, Some(0), 0)),
        ("an exactly-once group before its marker", at(99), log(0, 100, 100), None, Some(0), found(1, 1, Some(0), 0)),
        ("ends read before the commit", at(130), open, None, None, found(0, 0, Some(0), 0)),
        ("no commit, or a tombstone", None, open, None, Some(30), None),
        ("the offset that means none", at(-1), open, None, Some(30), None),
        ("no high watermark", at(40), log(10, 80, -1), None, Some(30), None),
        ("below the log start", at(4), open, None, Some(50), found(96, 76, Some(50), 6)),
        ("below a log that is all gone", at(4), log(100, 100, 100), None, None, found(96, 96, Some(0), 96)),
        ("below the start, open from there", at(4), log(80, 80, 100), None, None, found(96, 76, Some(0), 76)),
        ("an empty log that never had a record", at(0), log(0, 0, 0), None, None, found(0, 0, Some(0), 0)),
        ("no last stable offset", at(40), log(10, -1, 100), None, Some(30), found(60, -1, Some(30), 0)),
        ("no last stable offset, caught up", at(100), log(10, -1, 100), None, None, found(0, -1, Some(0), 0)),
        ("no log start", at(4), log(-1, 80, 100), None, None, found(96, 76, None, 0)),
        ("a last stable offset that was read later", at(40), log(10, 120, 100), None, None, found(60, 60, None, 0)),
        ("the same topic", read(ONE), open, Some(ONE), None, found(60, 40, None, 0)),
        ("a topic made anew", read(ONE), open, Some(OTHER), Some(30), None),
        ("an old broker's topic", read(ONE), open, None, None, found(60, 40, None, 0)),
        ("an old broker's commit", at(40), open, Some(OTHER), None, found(60, 40, None, 0)),
        ("an id of zeros", read([0; 16]), open, Some(OTHER), None, found(60, 40, None, 0)),
    ];
    for (name, position, log, topic_id, records, expected) in cases {
        assert_eq!(lags(position, &log, topic_id, records), expected, "{name}");
    }
}

proptest! {
    #[test]
    fn lags_are_never_negative_and_never_more_than_the_one_before(
        offset in any::<i64>(), start in any::<Option<i64>>(), stable in any::<Option<i64>>(), end in any::<i64>(),
        records in any::<Option<i64>>(),
    ) {
        let log = Sample { at: second(0), high_watermark: end, last_stable: stable, log_start: start };
        match lags(at(offset), &log, None, records) {
            None => prop_assert!(offset < 0 || end < 0),
            Some(lags) => {
                let stable = lags.stable.unwrap_or(lags.high);
                prop_assert!(0 <= stable && stable <= lags.high);
                prop_assert!((0..=stable).contains(&lags.records.unwrap_or(0)));
                prop_assert!((0..=lags.high).contains(&lags.lost));
            }
        }
    }

    #[test]
    fn a_commit_further_on_has_no_more_lag(offset in 0_i64..100, further in 0_i64..100, start in 0_i64..100, stable in 0_i64..150) {
        let log = log(start, stable, 150);
        let (one, two) = (lags(at(offset), &log, None, None), lags(at(offset + further), &log, None, None));
        let (one, two) = (one.expect("known"), two.expect("known"));
        prop_assert!(two.high <= one.high && two.stable <= one.stable && two.lost <= one.lost);
    }
}
