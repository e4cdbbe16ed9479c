//! What must hold of the status of any commits.

use proptest::prelude::*;

use super::second;
use super::status::{corrected, ends};
use crate::engine::lag::commits::{Commit, Commits};
use crate::engine::lag::status::{Ends, Rules, Status, status};
use crate::engine::time::{Span, WallTime};

fn any_ring() -> impl Strategy<Value = Commits> {
    let commit = (0_i64..300, 0_i64..200, any::<bool>(), 0_i64..5_000, 0..3_u8);
    prop::collection::vec(commit, 1..15).prop_map(|commits| {
        let mut ring = Commits::new(Commits::TEN, Span::ZERO);
        let mut now = 0;
        for (offset, lag, is_known, step, scale) in commits {
            now += [step / 500, step / 50, step][usize::from(scale)];
            ring.push(Commit {
                offset,
                at: second(now),
                log_end: is_known.then_some(offset + lag),
                lag_records: (is_known && lag % 3 == 0).then_some(lag / 2),
            });
        }
        ring
    })
}

proptest! {
    #[test]
    fn who_has_caught_up_is_ok_whatever_it_did(ring in any_ring(), silent in 0_i64..1_000_000, markers in 0_i64..50, waited in any::<Option<u32>>()) {
        let last = ring.last().expect("one");
        let caught_up = Ends {
            records: (markers > 1).then_some(0),
            waited: waited.map(|waited| Span::seconds(waited.into())),
            ..ends(last.offset + markers)
        };
        let now = last.at.0 / 1_000_000 + silent;
        prop_assert_eq!(corrected(&ring, now, caught_up), Status::Ok);
    }

    #[test]
    fn a_stop_stays_a_stop_while_nothing_happens(ring in any_ring(), left in 2_i64..1_000, silent in 0_i64..50_000, longer in 0_i64..50_000) {
        let last = ring.last().expect("one");
        let now = |silent: i64| last.at.0 / 1_000_000 + silent;
        let behind = |waited: i64| Ends { waited: Some(Span::seconds(waited)), ..ends(last.offset + left) };
        if corrected(&ring, now(silent), behind(silent)) == Status::Stop {
            prop_assert_eq!(corrected(&ring, now(silent + longer), behind(silent + longer)), Status::Stop);
        }
        // And in the end it comes.
        prop_assert_eq!(corrected(&ring, now(100_000_000), behind(100_000_000)), Status::Stop);
    }

    #[test]
    fn neither_mode_breaks_on_extreme_numbers(
        pushed in prop::collection::vec((any::<i64>(), any::<i64>(), any::<Option<i64>>(), any::<Option<i64>>()), 0..12),
        now in any::<i64>(), high in any::<i64>(), stable in any::<Option<i64>>(), start in any::<Option<i64>>(),
        records in any::<Option<i64>>(), allowed in any::<u64>(),
    ) {
        let mut ring = Commits::new(Commits::TEN, Span::seconds(1));
        for (offset, at, log_end, lag_records) in pushed {
            ring.push(Commit { offset, at: WallTime(at), log_end, lag_records });
        }
        let ends = Ends { high_watermark: high, last_stable: stable, log_start: start, records, lowest_lately: start, waited: None };
        let now = WallTime(now);
        let modes = [Rules::Corrected, Rules::Burrow { allowed_lag: allowed }];
        let [corrected, burrow] = modes.map(|rules| status(&ring, rules, now, ends));
        prop_assert_eq!(corrected == Status::Unknown, ring.is_empty());
        prop_assert_ne!(burrow, Status::Unknown);
    }
}
