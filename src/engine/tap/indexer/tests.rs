use super::*;
use crate::engine::time::WallTime;
use proptest::prelude::*;

fn head() -> Stretch {
    Stretch {
        topic: "orders".into(),
        partition: 3,
        epoch: 1,
        topic_id: [7; 16],
        entries: Vec::new(),
    }
}

fn seal(indexer: &mut Indexer) -> Vec<Stretch> {
    let messages = indexer.seal(head());
    let read = |message: &Vec<u8>| Stretch::read(message).expect("a stretch");
    messages.iter().map(read).collect()
}

fn at(millis: i64) -> Stamp {
    Stamp::Created(WallTime(millis * 1_000))
}

fn entries(indexer: &mut Indexer) -> Vec<Entry> {
    seal(indexer).into_iter().flat_map(|stretch| stretch.entries).collect()
}

#[test]
fn a_seal_ends_the_entry_under_way() {
    let mut indexer = Indexer::new(5);
    indexer.record(at(100), 10);
    indexer.record(at(1_100), 20);
    let sealed = entries(&mut indexer);
    let [entry] = sealed.as_slice() else {
        panic!("{sealed:?}")
    };
    assert_eq!((entry.first, entry.next, entry.bytes, entry.records()), (5, 7, 30, 2));
    assert_eq!(
        entry.times,
        Some(Times {
            earliest: 100,
            latest: 1_100
        })
    );
    assert!(entries(&mut indexer).is_empty(), "nothing is written twice");
    indexer.record(at(1_100), 1);
    assert_eq!(entries(&mut indexer)[0].first, 7);
}

#[test]
fn records_more_than_a_step_apart_are_in_two_entries() {
    let mut indexer = Indexer::new(0);
    for millis in [0, 1_000, 1_001, 500, 0] {
        indexer.record(at(millis), 1);
    }
    let lengths: Vec<u64> = entries(&mut indexer).iter().map(Entry::length).collect();
    assert_eq!(lengths, [2, 2, 1]);
}

#[test]
fn records_without_timestamps_have_no_times() {
    let mut indexer = Indexer::new(0);
    indexer.record(Stamp::None, 8);
    let sealed = entries(&mut indexer);
    assert_eq!((sealed[0].times, sealed[0].records()), (None, 1));
}

#[test]
fn offsets_without_records_alone_are_an_entry_without_times() {
    let mut indexer = Indexer::new(0);
    indexer.skip(3);
    indexer.skip(2);
    let sealed = entries(&mut indexer);
    assert_eq!((sealed[0].times, sealed[0].records(), sealed[0].next), (None, 0, 3));
}

#[test]
fn what_retention_removed_is_in_no_entry() {
    let mut indexer = Indexer::new(0);
    indexer.record(at(0), 1);
    indexer.lose(1);
    indexer.record(at(0), 1);
    indexer.lose(50);
    indexer.record(at(0), 1);
    let sealed = seal(&mut indexer);
    let ranges: Vec<(i64, i64)> = sealed
        .iter()
        .flat_map(|stretch| stretch.entries.iter().map(|entry| (entry.first, entry.next)))
        .collect();
    assert_eq!((ranges.as_slice(), sealed.len()), ([(0, 2), (50, 51)].as_slice(), 2));
}

#[test]
fn timestamps_that_jump_about_do_not_make_every_record_an_entry() {
    let mut indexer = Indexer::new(0);
    for record in 0..100_000 {
        indexer.record(at(record % 2 * 5_000), 1);
    }
    let sealed = entries(&mut indexer);
    assert!(sealed.len() <= MOST_ENTRIES + 3, "{}", sealed.len());
    let last = sealed.last().and_then(|entry| entry.times).expect("it has records");
    assert_eq!(last.spread(), 5_000);
}

#[test]
fn a_backlog_is_cut_into_messages_that_a_topic_takes() {
    let mut indexer = Indexer::new(0);
    let mut offset = 0;
    for record in 0..1_000_000_i64 {
        // As in a compacted log: hardly two runs are equal.
        offset += 1 + record * 7 % 11 + record % 3;
        indexer.skip(offset);
        indexer.record(at(record / 50), 400);
        offset += 1;
    }
    assert!(indexer.weight() > MAX_BYTES, "the runtime seals early");
    let messages = indexer.seal(head());
    let largest = messages.iter().map(Vec::len).max().unwrap_or_default();
    assert!(largest < MAX_BYTES + 64 * 1024, "{largest}");
    assert!(messages.len() > 1, "{}", messages.len());
    let read: Vec<Stretch> = messages
        .iter()
        .map(|message| Stretch::read(message).expect("it is one"))
        .collect();
    let all: Vec<&Entry> = read.iter().flat_map(|stretch| &stretch.entries).collect();
    assert!(all.windows(2).all(|pair| pair[0].next == pair[1].first));
    assert_eq!(all.iter().map(|entry| entry.records()).sum::<u64>(), 1_000_000);
    assert!(
        all.iter()
            .all(|entry| entry.records() <= MOST_RECORDS && entry.runs.len() <= MOST_RUNS)
    );
    assert_eq!(indexer.weight(), 0);
}

#[derive(Clone, Debug)]
enum Step {
    Records { count: usize, every: i64 },
    Clock(i64),
    Skip(i64),
    Lose(i64),
    Seal,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..20_usize, prop_oneof![Just(0_i64), 1..900_i64]).prop_map(|(count, every)| Step::Records { count, every }),
        2 => (-5_000..5_000_i64).prop_map(Step::Clock),
        3 => (-2..6_i64).prop_map(Step::Skip),
        1 => (-2..6_i64).prop_map(Step::Lose),
        2 => Just(Step::Seal),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn every_offset_that_was_not_lost_is_in_exactly_one_entry_that_agrees_with_the_log(steps in steps()) {
        let mut indexer = Indexer::new(40);
        // Of each offset: its record's time and size.
        let mut log: Vec<(i64, Option<(i64, u64)>)> = Vec::new();
        let (mut next, mut clock, mut all) = (40_i64, 1_000_000_i64, Vec::new());
        for step in steps.into_iter().chain([Step::Seal]) {
            match step {
                Step::Records { count, every } => for size in 0..count {
                    indexer.record(at(clock), size);
                    log.push((next, Some((clock, size as u64))));
                    next += 1;
                    clock += every;
                },
                Step::Clock(by) => clock += by,
                Step::Skip(by) => {
                    indexer.skip(next + by);
                    log.extend((next..next + by).map(|offset| (offset, None)));
                    next += by.max(0);
                }
                Step::Lose(by) => {
                    indexer.lose(next + by);
                    next += by.max(0);
                }
                Step::Seal => all.extend(seal(&mut indexer)),
            }
        }
        let mut told = Vec::new();
        for stretch in &all {
            let (head, entries) = (head(), &stretch.entries);
            prop_assert_eq!(Stretch { entries: entries.clone(), ..head }, stretch.clone());
            prop_assert!(entries.windows(2).all(|pair| pair[0].next == pair[1].first));
            for entry in entries {
                let slots: Vec<_> = log.iter().filter(|(offset, _)| (entry.first..entry.next).contains(offset)).collect();
                prop_assert_eq!(slots.len() as u64, entry.length());
                let records: Vec<(i64, u64)> = slots.iter().filter_map(|(_, record)| *record).collect();
                let times = records.iter().map(|(time, _)| Times::of(*time)).reduce(Times::and);
                prop_assert_eq!(entry.times, times);
                prop_assert!(times.is_none_or(|times| times.spread() <= 1_000));
                prop_assert_eq!(entry.bytes, records.iter().map(|(_, size)| size).sum::<u64>());
                for (before, (offset, _)) in slots.iter().enumerate() {
                    let truth = slots[..before].iter().filter(|(_, record)| record.is_some()).count();
                    prop_assert_eq!(entry.runs.records_of(offset.abs_diff(entry.first)), truth as u64);
                }
                told.extend(entry.first..entry.next);
            }
        }
        let offsets: Vec<i64> = log.iter().map(|(offset, _)| *offset).collect();
        prop_assert_eq!(told, offsets);
    }
}
