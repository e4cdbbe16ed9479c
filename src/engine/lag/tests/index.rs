//! What the offset index tells, against logs of which every record is known.

mod model;

use std::collections::BTreeSet;

use crate::engine::index::{Entry, Run, Runs, Stretch, Times, wall};
use crate::engine::lag::index::{Answer, LEAST, MOST_CALLS, PartitionIndex, RUNS};
use crate::engine::time::{Span, WallTime};

const MANY: usize = 100_000;

/// Of each offset, from zero on: its record's time in milliseconds and its size.
type Log = Vec<Option<(i64, u64)>>;

fn stretch(entries: Vec<Entry>) -> Stretch {
    Stretch {
        topic: "orders".into(),
        partition: 0,
        epoch: 1,
        topic_id: [7; 16],
        entries,
    }
}

/// These offsets of a log as one entry.
fn entry(log: &Log, first: usize, next: usize) -> Entry {
    let records = log[first..next].iter().flatten();
    let times = records.clone().map(|(time, _)| Times::of(*time)).reduce(Times::and);
    let (mut runs, mut before) = (Runs::default(), 0);
    for slot in &log[first..next] {
        if slot.is_some() {
            before += 1;
        } else {
            let run = Run {
                records: before,
                absent: 1,
                times: 1,
            };
            runs.push(run);
            before = 0;
        }
    }
    Entry {
        first: first as i64,
        next: next as i64,
        times,
        bytes: records.map(|(_, size)| size).sum(),
        runs,
    }
}

/// Cut as a tap cuts: where records would be more than a step apart, and where `cuts` say so.
fn entries(log: &Log, cuts: &[usize]) -> Vec<Entry> {
    let cuts: BTreeSet<usize> = cuts.iter().copied().collect();
    let mut all = Vec::new();
    let (mut first, mut times): (_, Option<Times>) = (0, None);
    for (offset, slot) in log.iter().enumerate() {
        let with = slot.map(|(time, _)| times.map_or(Times::of(time), |times| times.and(Times::of(time))));
        let is_far = with.is_some_and(|times| times.spread() > 1_000);
        if offset > first && (is_far || cuts.contains(&offset)) {
            all.push(entry(log, first, offset));
            (first, times) = (offset, None);
        }
        if let Some((time, _)) = slot {
            times = Some(times.map_or(Times::of(*time), |times| times.and(Times::of(*time))));
        }
    }
    if first < log.len() {
        all.push(entry(log, first, log.len()));
    }
    all
}

fn index_of(capacity: usize, entries: &[Entry]) -> PartitionIndex {
    let mut index = PartitionIndex::new(capacity);
    for entry in entries {
        index.observe(stretch(vec![entry.clone()]));
    }
    index
}

fn seconds(count: i64) -> Vec<Entry> {
    let log: Log = (0..count * 10).map(|record| Some((record * 100, 7))).collect();
    let cuts: Vec<usize> = (0..log.len()).step_by(10).collect();
    entries(&log, &cuts)
}

fn millis(at: WallTime) -> i64 {
    at.0 / 1_000
}

fn time_of(index: &PartitionIndex, offset: i64) -> Answer<i64> {
    match index.append_time(offset) {
        Answer::Known(at) => Answer::Known(millis(at.time)),
        Answer::Below => Answer::Below,
        Answer::Beyond => Answer::Beyond,
    }
}

#[test]
fn records_of_an_entry_have_come_evenly() {
    let index = index_of(MANY, &seconds(2));
    for (offset, expected) in [(0, 0), (5, 500), (9, 900), (10, 1_000), (19, 1_900)] {
        assert_eq!(time_of(&index, offset), Answer::Known(expected), "{offset}");
    }
    assert_eq!(time_of(&index, 20), Answer::Beyond);
    assert_eq!(index.end(), Some(20));
}

#[test]
fn nothing_is_known_before_the_first_entry() {
    let empty = PartitionIndex::new(MANY);
    assert_eq!(
        (time_of(&empty, 0), empty.records(0, 0)),
        (Answer::Beyond, Answer::Beyond)
    );
    let index = index_of(MANY, &seconds(3)[1..]);
    assert_eq!(
        (time_of(&index, 9), index.records(9, 12)),
        (Answer::Below, Answer::Below)
    );
    assert_eq!(index.records(10, 12), Answer::Known(2));
    assert_eq!(index.records(10, 31), Answer::Beyond);
}

#[test]
fn markers_are_no_records() {
    // Three records and a marker, again and again; the last marker is all that is left.
    let log: Log = (0..40)
        .map(|offset| (offset % 4 != 3).then_some((offset * 10, 1)))
        .collect();
    let index = index_of(MANY, &entries(&log, &[4, 20, 39]));
    assert_eq!(index.records(0, 40), Answer::Known(30));
    assert_eq!(index.records(39, 40), Answer::Known(0), "who has caught up");
    assert_eq!(index.records(37, 40), Answer::Known(2));
    assert_eq!(
        time_of(&index, 3),
        Answer::Known(40),
        "the first record behind the marker"
    );
    assert_eq!(time_of(&index, 39), Answer::Beyond);
}

#[test]
fn a_hole_is_not_known_and_what_is_around_it_is() {
    let all = seconds(6);
    let index = index_of(MANY, &[all[0].clone(), all[1].clone(), all[4].clone(), all[5].clone()]);
    assert_eq!(index.records(0, 20), Answer::Known(20));
    assert_eq!(index.records(40, 60), Answer::Known(20));
    for (from, to) in [(0, 21), (19, 41), (25, 30), (39, 45)] {
        assert_eq!(index.records(from, to), Answer::Below, "{from} to {to}");
    }
    assert_eq!(time_of(&index, 20), Answer::Below);
    assert_eq!(time_of(&index, 39), Answer::Below);
    assert_eq!(time_of(&index, 40), Answer::Known(4_000));
}

#[test]
fn the_first_record_behind_markers_is_not_looked_for_across_a_hole() {
    let mut log: Log = (0..60).map(|record| Some((record * 100, 7))).collect();
    log[15..20].fill(None);
    let all = entries(&log, &[20, 30, 40, 50]);
    let index = index_of(MANY, &[&all[..2], &all[4..]].concat());
    assert_eq!(time_of(&index, 14), Answer::Known(1_400));
    assert_eq!(time_of(&index, 15), Answer::Below);
}

#[test]
fn a_part_of_an_entry_that_is_known_already_is_a_hole() {
    let all = seconds(3);
    let other = entry(&(0..30).map(|record| Some((record * 100, 7))).collect(), 5, 25);
    let index = index_of(MANY, &[all[0].clone(), other, all[2].clone()]);
    assert_eq!(index.records(0, 10), Answer::Known(10));
    assert_eq!(index.end(), Some(30));
    assert_eq!(index.records(10, 12), Answer::Below);
}

#[test]
fn holes_are_bounded_too() {
    let all = seconds(1_000);
    let mut index = PartitionIndex::new(MANY);
    for entry in all.iter().step_by(2) {
        index.observe(stretch(vec![entry.clone()]));
    }
    assert!(index.len() <= 65, "{}", index.len());
    assert_eq!(index.records(9_980, 9_990), Answer::Known(10));
}

#[test]
fn another_epoch_and_another_topic_id_start_anew() {
    let all = seconds(4);
    type Change = fn(&mut Stretch);
    let changes: [(&str, Change); 3] = [
        ("a reset", |stretch| stretch.epoch = 2),
        ("a fresh group", |stretch| stretch.epoch = 0),
        ("another topic", |stretch| stretch.topic_id = [8; 16]),
    ];
    for (what, change) in changes {
        let mut index = index_of(MANY, &all);
        let mut anew = stretch(vec![all[1].clone()]);
        change(&mut anew);
        index.observe(anew);
        assert_eq!((index.end(), index.len()), (Some(20), 1), "{what}");
        assert_eq!(time_of(&index, 0), Answer::Below, "{what}");
    }
    let mut index = index_of(MANY, &all[..2]);
    index.observe(Stretch {
        topic_id: [0; 16],
        ..stretch(vec![all[2].clone()])
    });
    assert_eq!(index.records(0, 30), Answer::Known(30), "a broker that does not say");
}

#[test]
fn what_is_older_than_the_horizon_is_forgotten() {
    let mut index = index_of(MANY, &seconds(10));
    index.forget(wall(3_900));
    assert_eq!(index.len(), 7, "the last record of the fourth second is as old as that");
    assert_eq!(
        (time_of(&index, 29), time_of(&index, 30)),
        (Answer::Below, Answer::Known(3_000))
    );
    index.forget(wall(1_000_000));
    assert_eq!((index.len(), index.end()), (0, Some(100)));
    assert_eq!(index.records(100, 100), Answer::Known(0), "who has caught up");
    assert_eq!(
        (time_of(&index, 99), time_of(&index, 100)),
        (Answer::Below, Answer::Beyond)
    );
    index.observe(stretch(vec![entry(&vec![Some((2_000_000, 1)); 101], 100, 101)]));
    assert_eq!(index.records(100, 101), Answer::Known(1));
}

#[test]
fn records_without_timestamps_count_and_have_no_time() {
    let mut entry = seconds(1).remove(0);
    entry.times = None;
    let index = index_of(MANY, &[entry]);
    assert_eq!(
        (index.records(0, 10), time_of(&index, 0)),
        (Answer::Known(10), Answer::Below)
    );
    let Answer::Known(covered) = index.covered(0, 10) else {
        panic!("it is covered")
    };
    covered.latencies(wall(0), &mut |_, _| panic!("there is none"));
}

#[test]
fn old_answers_of_a_full_index_are_off_by_a_small_part_of_the_lag() {
    const DAY: i64 = 86_400;
    let index = index_of(4_096, &seconds(DAY));
    assert!(index.len() <= 4_096);
    let (mut worst, mut oldest_exact) = (0.0_f64, 0);
    for offset in (0..DAY * 10).step_by(97) {
        let Answer::Known(at) = index.append_time(offset) else {
            panic!("{offset} is in it")
        };
        let age = DAY * 1_000 - offset * 100;
        let within = at.within.as_micros() / 1_000;
        if within <= 1_000 {
            oldest_exact = oldest_exact.max(age / 1_000);
        } else {
            worst = worst.max(within as f64 / age as f64);
        }
        assert!((millis(at.time) - offset * 100).abs() <= within, "{offset}");
    }
    assert!(oldest_exact > 1_000, "{oldest_exact}");
    assert!(worst < 0.01, "{worst}");
    assert_eq!(index.records(0, DAY * 10), Answer::Known(864_000));
    assert_eq!(
        index.records(7, DAY * 10 - 3),
        Answer::Known(863_990),
        "no offset is without a record"
    );
}

/// Latencies of the records from one offset on, in milliseconds: so long, so many.
fn latencies(index: &PartitionIndex, from: i64, until: i64) -> Vec<(i64, u64)> {
    let Answer::Known(covered) = index.covered(from, index.end().unwrap_or_default()) else {
        panic!("it is covered")
    };
    let mut told = Vec::new();
    covered.latencies(wall(until), &mut |latency: Span, records| {
        told.push((latency.as_micros() / 1_000, records));
    });
    told
}

#[test]
fn records_of_one_entry_have_latencies_of_their_own() {
    let log: Log = (0..1_000).map(|record| Some((record, 1))).collect();
    let index = index_of(MANY, &entries(&log, &[]));
    let told = latencies(&index, 0, 1_000);
    assert_eq!(told.len(), 8, "{told:?}");
    for (slice, (latency, records)) in (0..).zip(&told) {
        let truth = 1_000 - 125 * slice - 62;
        assert!((latency - truth).abs() <= 1 && *records == 125, "{told:?}");
    }
    assert_eq!(
        latencies(&index, 990, 1_000)
            .iter()
            .map(|(_, records)| records)
            .sum::<u64>(),
        10
    );
    assert_eq!(latencies(&index, 0, 100_000).len(), 1, "they are all as old");
    assert_eq!(latencies(&index, 0, -5), [(0, 1_000)], "a clock that is behind");
}

#[test]
fn latencies_of_a_whole_day_are_right_to_an_eighth() {
    const DAY: i64 = 86_400;
    let index = index_of(MANY, &seconds(DAY));
    let told = latencies(&index, 0, DAY * 1_000);
    let mut record = 0;
    for (latency, records) in &told {
        let ends = [record, record + *records as i64 - 1].map(|record| DAY * 1_000 - record * 100);
        for truth in ends {
            assert!((latency - truth).abs() <= truth / 8 + 125, "{latency} ms for {truth}");
        }
        record += *records as i64;
    }
    assert_eq!(record, DAY * 10);
    assert!((64..MOST_CALLS).contains(&told.len()), "{}", told.len());
}

#[test]
fn a_full_index_counts_exactly_where_its_entries_meet() {
    // Ten records and one to four markers a second, for 200 seconds.
    let (mut log, mut cuts) = (Log::new(), Vec::new());
    for second in 0..200_i64 {
        cuts.push(log.len());
        log.extend((0..10).map(|record| Some((second * 1_000 + record * 100, 5))));
        log.extend((0..second % 4 + 1).map(|_| None));
    }
    let all = entries(&log, &cuts);
    let index = index_of(LEAST, &all);
    assert!(index.len() <= LEAST && index.runs() <= RUNS * LEAST && index.begin() == 0);
    let exact = |offset: usize| matches!(index.records(0, offset as i64), Answer::Known(_));
    let known: Vec<usize> = (0..=log.len()).filter(|offset| exact(*offset)).collect();
    for offset in &known {
        let truth = log[..*offset].iter().flatten().count() as u64;
        assert_eq!(index.records(0, *offset as i64), Answer::Known(truth), "{offset}");
    }
    assert!(known.len() >= index.len() && known.len() < log.len(), "{}", known.len());
    let Answer::Known(all) = index.covered(0, log.len() as i64) else {
        panic!("it is covered")
    };
    assert_eq!((all.records, all.bytes, all.exact), (2_000, 10_000, true));
}
