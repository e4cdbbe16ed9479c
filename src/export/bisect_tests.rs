use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::points::tests::{counter, times};
use super::*;

/// An hour and a bit after the epoch, so that points at 0 are old and points at `FRESH` are young.
const NOW: WallTime = WallTime(4_000_000_000);
const FRESH: u64 = 3_999_000_000_000;

fn refused() -> Verdict {
    Verdict::Refused { message: "no".into() }
}

fn there() -> Verdict {
    Verdict::AlreadyThere {
        message: "out of order sample".into(),
    }
}

fn expired() -> Verdict {
    Verdict::Expired {
        message: "out of bounds".into(),
    }
}

/// One point per series, at times 1, 2, 3...
fn request(points: u64) -> Bytes {
    let names: Vec<String> = (1..=points).map(|time| format!("s{time}")).collect();
    let points: Vec<(&str, u64)> = names.iter().map(String::as_str).zip(1..).collect();
    counter(&points)
}

/// Sends probes to `receiver` until all is said; gives the outcome and the probes' times.
fn run(request: &[u8], first: Verdict, mut receiver: impl FnMut(&[u64]) -> Verdict) -> (Outcome, Vec<Vec<u64>>) {
    let mut bisect = Bisect::new(Signal::Metrics, request, first, NOW).unwrap();
    let mut probes = Vec::new();
    while let Some(piece) = bisect.next() {
        probes.push(times(&piece));
        bisect.answer(receiver(probes.last().unwrap()));
    }
    assert!(probes.len() <= MAX_PROBES as usize);
    (bisect.finish(), probes)
}

/// Refuses every request that holds one of these.
fn refuses<'b>(bad: &'b [u64]) -> impl Fn(&[u64]) -> Verdict + 'b {
    move |times| {
        if times.iter().any(|time| bad.contains(time)) {
            refused()
        } else {
            Verdict::Accepted
        }
    }
}

#[test]
fn the_one_bad_point_is_quarantined_and_the_others_are_stored_in_order() {
    let (outcome, probes) = run(&request(8), refused(), refuses(&[3]));
    assert_eq!(
        outcome.tally,
        Tally {
            accepted: 7,
            quarantined: 1,
            ..Tally::default()
        }
    );
    assert_eq!(times(&outcome.quarantined[0].request), [3]);
    assert_eq!(outcome.quarantined[0].reason, "no");
    assert_eq!(
        probes,
        [
            vec![1, 2, 3, 4],
            vec![1, 2],
            vec![3, 4],
            vec![3],
            vec![4],
            vec![5, 6, 7, 8]
        ]
    );
}

#[test]
fn a_single_bad_point_costs_no_probe() {
    let (outcome, probes) = run(&request(1), refused(), |_| panic!("asked"));
    assert_eq!((outcome.tally.quarantined, probes.len()), (1, 0));
}

#[test]
fn a_request_without_points_has_nothing_to_quarantine() {
    let (outcome, _) = run(b"", refused(), |_| panic!("asked"));
    assert_eq!(outcome, Outcome::default());
}

#[test]
fn a_request_that_cannot_be_read_is_an_error() {
    assert!(Bisect::new(Signal::Metrics, &[0xff], refused(), NOW).is_err());
}

#[test]
fn the_last_probe_tries_all_that_is_left() {
    let bad: Vec<u64> = (1..=40).collect();
    let (outcome, probes) = run(&request(1_000), refused(), refuses(&bad));
    assert_eq!(probes.len(), MAX_PROBES as usize);
    assert_eq!(outcome.tally.points(), 1_000);
    let last = outcome.quarantined.last().unwrap();
    assert!(
        last.points > 900 && last.reason.contains("probes are spent"),
        "{}",
        last.reason
    );
    let (outcome, probes) = run(&request(1_000), refused(), refuses(&bad[..27]));
    assert_eq!(probes.len(), MAX_PROBES as usize);
    assert_eq!(
        outcome.tally,
        Tally {
            accepted: 973,
            quarantined: 27,
            ..Tally::default()
        }
    );
}

#[test]
fn retry_hands_the_same_piece_out_again() {
    let mut bisect = Bisect::new(Signal::Metrics, &request(2), refused(), NOW).unwrap();
    let piece = bisect.next().unwrap();
    bisect.answer(Verdict::Retry {
        after: None,
        message: String::new(),
    });
    assert_eq!(bisect.next().unwrap(), piece);
    bisect.answer(Verdict::Accepted);
    assert_ne!(bisect.next().unwrap(), piece);
}

#[test]
fn an_old_request_has_expired_without_a_probe() {
    let (outcome, probes) = run(&request(100), expired(), |_| panic!("asked"));
    assert_eq!(
        (outcome.tally, probes.len()),
        (
            Tally {
                expired: 100,
                ..Tally::default()
            },
            0
        )
    );
}

#[test]
fn young_points_in_an_expired_request_are_stored() {
    let request = counter(&[("a", 1), ("b", 2), ("c", FRESH), ("d", 3)]);
    let (outcome, _) = run(&request, expired(), |times| {
        if times.iter().any(|t| *t < FRESH) {
            expired()
        } else {
            Verdict::Accepted
        }
    });
    assert_eq!(
        outcome.tally,
        Tally {
            accepted: 1,
            expired: 3,
            ..Tally::default()
        }
    );
}

#[test]
fn a_young_point_that_is_refused_for_age_alone_has_expired() {
    let (outcome, _) = run(&counter(&[("a", FRESH), ("b", FRESH)]), expired(), |_| expired());
    assert_eq!(
        outcome.tally,
        Tally {
            expired: 2,
            ..Tally::default()
        }
    );
    assert!(outcome.quarantined.is_empty());
}

#[test]
fn a_request_that_was_sent_before_costs_three_spot_checks() {
    let (outcome, probes) = run(&request(5_000), there(), |_| there());
    assert_eq!(
        outcome.tally,
        Tally {
            already_there: 5_000,
            ..Tally::default()
        }
    );
    assert_eq!(probes, [[1], [2_501], [5_000]]);
}

#[test]
fn the_rest_of_the_last_series_is_asked_for_after_a_spot_check() {
    let mut points: Vec<(&str, u64)> = (1..=20).map(|time| ("a", time)).collect();
    points.extend([("b", 1), ("b", 2), ("b", 3)]);
    // Only the first points of both are there: spots ask for these two, and what follows in b is fresh.
    let (outcome, probes) = run(&counter(&points), there(), |times| {
        if times == [1] { there() } else { Verdict::Accepted }
    });
    assert_eq!(
        outcome.tally,
        Tally {
            accepted: 2,
            already_there: 21,
            ..Tally::default()
        }
    );
    assert_eq!(probes, [vec![1], vec![1], vec![2, 3]]);
}

#[test]
fn old_points_in_a_fresh_request_do_not_cost_the_fresh_ones() {
    let old = [17, 400];
    let (outcome, _) = run(&request(500), there(), |times| {
        if times.iter().any(|time| old.contains(time)) {
            there()
        } else {
            Verdict::Accepted
        }
    });
    assert_eq!(
        outcome.tally,
        Tally {
            accepted: 498,
            already_there: 2,
            ..Tally::default()
        }
    );
}

#[test]
fn after_a_crash_within_a_bisection_the_second_part_is_stored() {
    for stored_before in (1..1_000).step_by(37).chain([499, 500, 999]) {
        let mut stored: BTreeSet<u64> = (1..=stored_before).collect();
        let (outcome, _) = run(&request(1_000), there(), |times| {
            if times.iter().any(|time| stored.contains(time)) {
                return there();
            }
            stored.extend(times);
            Verdict::Accepted
        });
        assert_eq!(stored.len(), 1_000, "stored before: {stored_before}");
        assert!(
            outcome.quarantined.is_empty(),
            "stored before: {stored_before}: {:?}",
            outcome.tally
        );
    }
}

#[test]
fn many_points_of_one_series_that_are_there_are_not_quarantined() {
    let points: Vec<(&str, u64)> = (1..=500).map(|time| ("a", time)).collect();
    let (outcome, probes) = run(&counter(&points), there(), |_| there());
    assert_eq!(
        outcome.tally,
        Tally {
            already_there: 500,
            ..Tally::default()
        }
    );
    assert_eq!(probes.len(), MAX_PROBES as usize);
}

#[test]
fn partial_success_of_a_piece_counts_its_rejected_points_once() {
    let partial = |rejected| Verdict::PartialSuccess {
        rejected,
        message: String::new(),
    };
    let (outcome, _) = run(&request(4), refused(), |times| {
        partial(if times[0] == 1 { 1 } else { 99 })
    });
    assert_eq!(
        outcome.tally,
        Tally {
            accepted: 1,
            rejected: 3,
            ..Tally::default()
        }
    );
}

proptest! {
    /// A receiver like Prometheus: a request is stored whole or not at all, in order within a series.
    #[test]
    fn every_point_has_one_end_and_no_good_point_is_lost(
        series in prop::collection::vec((0_usize..40, any::<bool>()), 1..200),
        bad in prop::collection::btree_set(0_u64..200, 0..4),
        stored_before in 0_u64..200,
    ) {
        let names: Vec<String> = (0..40).map(|name| format!("s{name}")).collect();
        let points: Vec<(&str, u64)> =
            series.iter().zip(1..).map(|((name, _), time)| (names[*name].as_str(), time)).collect();
        let name_of: BTreeMap<u64, &str> = points.iter().map(|(name, time)| (*time, *name)).collect();
        let request = counter(&points);
        // What an earlier try got through before the crash, in the order of the bisection.
        let order = times(&request);
        let mut newest: BTreeMap<&str, u64> = BTreeMap::new();
        let mut stored: BTreeSet<u64> = BTreeSet::new();
        for time in order.iter().take(stored_before as usize).filter(|time| !bad.contains(time)) {
            newest.insert(name_of[time], *time);
            stored.insert(*time);
        }
        let mut receive = |times: &[u64]| {
            if times.iter().any(|time| bad.contains(time)) {
                return refused();
            }
            let is_old = |time: &u64| newest.get(name_of[time]).is_some_and(|newest| time < newest);
            if times.iter().any(is_old) {
                return there();
            }
            for time in times {
                newest.insert(name_of[time], *time);
                stored.insert(*time);
            }
            Verdict::Accepted
        };
        let outcome = match receive(&order) {
            Verdict::Accepted => return Ok(()),
            refusal => run(&request, refusal, receive).0,
        };
        prop_assert_eq!(outcome.tally.points(), points.len() as u64);
        let quarantined: BTreeSet<u64> = outcome.quarantined.iter().flat_map(|piece| times(&piece.request)).collect();
        for (_, time) in &points {
            prop_assert!(stored.contains(time) || quarantined.contains(time), "{} is lost", time);
        }
    }
}
