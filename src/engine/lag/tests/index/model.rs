//! Random logs, cut at random, against a list of every record.

use super::*;
use crate::engine::lag::index::Covered;
use proptest::prelude::*;

fn logs() -> impl Strategy<Value = Log> {
    let part = prop_oneof![
        3 => (1..30_usize, 0..400_i64).prop_map(|(count, every)| (count, every, 0)),
        1 => (1..200_usize).prop_map(|count| (count, 0, 0)),
        1 => (0..3_usize, Just(0), 0..60_000_i64),
        1 => (0..3_usize, Just(0), -3_000..0_i64),
        2 => (1..6_usize).prop_map(|absent| (absent, -1, 0)),
    ];
    (prop::collection::vec(part, 0..40), any::<u64>()).prop_map(|(parts, mut seed)| {
        let (mut log, mut clock) = (Log::new(), 1_000_000);
        for (count, every, pause) in parts {
            clock += pause;
            for _ in 0..count {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                log.push((every >= 0).then_some((clock, seed >> 54)));
                clock += every.max(0);
            }
        }
        log
    })
}

/// Everything that an index answers is true.
fn holds(index: &PartitionIndex, log: &Log, all: &[Entry], pairs: &[(prop::sample::Index, prop::sample::Index)]) {
    let end = log.len() as i64;
    assert_eq!(index.end(), (end > 0).then_some(end));
    for offset in 0..end + 2 {
        let behind = log.iter().skip(offset as usize).flatten().next();
        match (index.append_time(offset), behind) {
            (Answer::Known(at), Some((truth, _))) => {
                let off = millis(at.time).abs_diff(*truth);
                assert!(
                    off <= at.within.as_micros().unsigned_abs() / 1_000,
                    "{offset}: {at:?}, truly {truth}"
                );
            }
            (Answer::Beyond, None) => {}
            wrong => panic!("{offset}: {wrong:?}"),
        }
    }
    let border = |offset: i64| all.iter().find(|entry| (entry.first..entry.next).contains(&offset));
    for (from, to) in pairs {
        let mut pair = [from, to].map(|at| at.index(log.len() + 1) as i64);
        pair.sort_unstable();
        let [from, to] = pair;
        let truth: Vec<(i64, u64)> = log[from as usize..to as usize].iter().flatten().copied().collect();
        let Answer::Known(covered) = index.covered(from, to) else {
            assert!(log.is_empty(), "{from} to {to}");
            continue;
        };
        let records = truth.len() as u64;
        if covered.exact {
            assert_eq!(covered.records, records, "{from} to {to}");
        }
        let counted = index.records(from, to);
        assert_eq!(
            counted,
            if covered.exact {
                Answer::Known(records)
            } else {
                Answer::Below
            }
        );
        if index.len() == all.len() {
            assert!(covered.exact);
            let bytes: u64 = truth.iter().map(|(_, size)| size).sum();
            let inside = |offset| {
                border(offset)
                    .filter(|entry| entry.first < offset)
                    .map_or(0, |entry| entry.bytes)
            };
            let most = inside(from) + inside(to);
            assert!(
                covered.bytes.abs_diff(bytes) <= most,
                "{from} to {to}: {} and not {bytes}",
                covered.bytes
            );
        }
        ages(&covered, &truth, index.len() == all.len());
    }
}

/// The latencies are those of all records, about as old as they are.
fn ages(covered: &Covered<'_>, truth: &[(i64, u64)], fine: bool) {
    let until = truth.iter().map(|(time, _)| *time).max().unwrap_or_default() + 60_000;
    let (mut calls, mut count, mut sum) = (0, 0, 0_i128);
    covered.latencies(wall(until), &mut |latency: Span, records| {
        calls += 1;
        count += records;
        sum += i128::from(latency.as_micros()) * i128::from(records);
    });
    assert!(calls <= MOST_CALLS, "{calls} calls");
    assert_eq!(count, covered.records);
    if fine {
        let true_sum: i128 = truth.iter().map(|(time, _)| i128::from(until - time) * 1_000).sum();
        assert!(
            (sum - true_sum).abs() <= i128::from(count) * 1_001_000,
            "{sum} and not {true_sum}"
        );
    }
}

proptest! {
    #[test]
    fn what_it_answers_is_true(
        log in logs(),
        cuts in prop::collection::vec(0..2_000_usize, 0..40),
        pairs in prop::collection::vec(any::<(prop::sample::Index, prop::sample::Index)>(), 10),
    ) {
        let all = entries(&log, &cuts);
        holds(&index_of(MANY, &all), &log, &all, &pairs);
        let full = index_of(LEAST, &all);
        prop_assert!(full.len() <= LEAST && full.runs() <= RUNS * LEAST);
        if full.begin() == 0 {
            holds(&full, &log, &all, &pairs);
        }
    }

    #[test]
    fn an_unmerged_entry_tells_the_time_to_a_step(log in logs(), cuts in prop::collection::vec(0..2_000_usize, 0..40)) {
        let index = index_of(MANY, &entries(&log, &cuts));
        for (offset, (truth, _)) in log.iter().enumerate().filter_map(|(offset, slot)| Some((offset, (*slot)?))) {
            let Answer::Known(at) = index.append_time(offset as i64) else {
                panic!("{offset} holds a record")
            };
            prop_assert!(at.within <= Span::seconds(1));
            prop_assert!(millis(at.time).abs_diff(truth) <= 1_000, "{}: {:?}, truly {}", offset, at, truth);
        }
    }

    #[test]
    fn what_comes_again_changes_nothing(
        log in logs(),
        cuts in prop::collection::vec(0..2_000_usize, 0..40),
        again in prop::collection::vec(any::<prop::sample::Index>(), 1..10),
    ) {
        let all = entries(&log, &cuts);
        let mut index = PartitionIndex::new(MANY);
        for (at, entry) in all.iter().enumerate() {
            index.observe(stretch(vec![entry.clone()]));
            for older in &again {
                index.observe(stretch(vec![all[older.index(at + 1)].clone()]));
            }
        }
        let once = index_of(MANY, &all);
        prop_assert_eq!(format!("{index:?}"), format!("{once:?}"));
    }
}
