use super::*;
use proptest::prelude::*;

fn run(records: u64, absent: u64, times: u64) -> Run {
    Run { records, absent, times }
}

fn runs(of: &[(u64, u64)]) -> Runs {
    let mut runs = Runs::default();
    for (records, absent) in of {
        runs.push(run(*records, *absent, 1));
    }
    runs
}

/// Whether each offset holds a record.
fn plain(of: &[(u64, u64)]) -> Vec<bool> {
    let one = |(records, absent): &(u64, u64)| (0..records + absent).map(|at| at < *records).collect::<Vec<_>>();
    of.iter().flat_map(one).collect()
}

fn stretches() -> impl Strategy<Value = Stretch> {
    let times = prop::option::of((-5_000_i64..2_000_000_000_000, 0..5_000_i64));
    let of = prop::collection::vec((0..5_u64, 1..4_u64), 0..6);
    let entry = (times, any::<u64>(), of, 0..100_i64);
    (
        "[a-z.]{0,20}",
        any::<u32>(),
        any::<u32>(),
        prop_oneof![Just([0; 16]), any::<[u8; 16]>()],
        0..i64::MAX / 2,
        prop::collection::vec(entry, 0..20),
    )
        .prop_map(|(topic, partition, epoch, topic_id, first, entries)| {
            let mut next = first;
            let entries = entries.into_iter().map(|(times, bytes, of, behind)| {
                let runs = runs(&of);
                let first = next;
                next += i64::try_from(runs.offsets()).expect("few") + behind + 1;
                Entry {
                    first,
                    next,
                    times: times.map(|(earliest, spread)| Times {
                        earliest,
                        latest: earliest + spread,
                    }),
                    bytes,
                    runs,
                }
            });
            Stretch {
                topic,
                partition,
                epoch,
                topic_id,
                entries: entries.collect(),
            }
        })
        .prop_map(|mut stretch| {
            // Where there are none, nothing tells the first offset.
            stretch.entries.truncate(20);
            stretch
        })
}

#[test]
fn equal_runs_in_a_row_are_one() {
    let runs = runs(&[(1, 1), (1, 1), (1, 1), (2, 5)]);
    assert_eq!(runs.0, [run(1, 1, 3), run(2, 5, 1)]);
    assert_eq!((runs.offsets(), runs.absent()), (13, 8));
}

#[test]
fn absent_offsets_that_come_in_parts_are_one_run() {
    assert_eq!(runs(&[(3, 1), (0, 2)]), runs(&[(3, 3)]));
}

#[test]
fn an_unknown_format_is_named() {
    let columns = Columns {
        format: 9,
        ..Columns::default()
    };
    assert_eq!(Stretch::read(&columns.encode_to_vec()), Err(CodecError::Format(9)));
    assert_eq!(Stretch::read(b""), Err(CodecError::Format(0)));
    assert!(matches!(Stretch::read(&[0xff]), Err(CodecError::Corrupt(_))));
}

#[test]
fn columns_that_do_not_fit_together_are_refused() {
    let good = Columns {
        format: FORMAT,
        first: 5,
        length: vec![10],
        earliest: vec![1],
        spread: vec![1],
        bytes: vec![0],
        runs: vec![1],
        run_records: vec![2],
        run_absent: vec![3],
        run_times: vec![2],
        ..Columns::default()
    };
    let read = |columns: &Columns| Stretch::read(&columns.encode_to_vec());
    assert!(read(&good).is_ok());
    type Damage = fn(&mut Columns);
    let damages: [(&str, Damage); 13] = [
        ("a negative offset", |c| c.first = -1),
        ("an offset beyond all", |c| c.first = i64::MAX),
        ("no offsets", |c| c.length[0] = 0),
        ("too many offsets", |c| c.length[0] = u64::MAX),
        ("a column that is short", |c| c.spread.clear()),
        ("a column that is long", |c| c.bytes.push(1)),
        ("runs that are missing", |c| c.runs[0] = 2),
        ("runs of nobody", |c| c.runs[0] = 0),
        ("runs in columns of two lengths", |c| c.run_times.push(1)),
        ("runs beyond the entry", |c| c.run_times[0] = 3),
        ("a run without end", |c| c.run_records[0] = u64::MAX),
        ("a run of nothing", |c| c.run_absent[0] = 0),
        ("half a topic id", |c| c.topic_id = vec![1; 8]),
    ];
    for (what, damage) in damages {
        let mut columns = good.clone();
        damage(&mut columns);
        assert!(matches!(read(&columns), Err(CodecError::Corrupt(_))), "{what}");
    }
}

#[test]
fn an_entry_a_second_takes_some_eleven_bytes() {
    let entry = |at: i64| Entry {
        first: at * 5_000,
        next: at * 5_000 + 5_000,
        times: Some(Times {
            earliest: 1_795_356_000_000 + at * 1_000,
            latest: 1_795_356_000_990 + at * 1_000,
        }),
        bytes: 2_395_000,
        runs: Runs::default(),
    };
    let stretch = |entries: i64| Stretch {
        topic: "ingestion.normalized.messages".into(),
        partition: 3,
        epoch: 0,
        topic_id: [7; 16],
        entries: (0..entries).map(entry).collect(),
    };
    let [none, many] = [0, 1_000].map(|entries| stretch(entries).encode().len());
    assert!(none < 60, "{none}");
    assert!((many - none) / 1_000 <= 11, "{many}");
}

proptest! {
    #[test]
    fn a_stretch_comes_back_as_it_was(stretch in stretches()) {
        prop_assert_eq!(Stretch::read(&stretch.encode()), Ok(stretch));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(stretch) = Stretch::read(&bytes) {
            prop_assert_eq!(Stretch::read(&stretch.encode()), Ok(stretch));
        }
    }

    #[test]
    fn runs_count_the_records_of_every_prefix(
        of in prop::collection::vec((0..4_u64, 1..4_u64), 0..12),
        behind in prop::collection::vec((0..4_u64, 1..4_u64), 0..12),
        between in 0..5_u64,
    ) {
        let mut all = runs(&of);
        all.append(between, &runs(&behind));
        let mut slots = plain(&of);
        slots.extend((0..between).map(|_| true));
        slots.extend(plain(&behind));
        // All behind the last run hold a record.
        slots.extend([true; 3]);
        for offsets in 0..=slots.len() {
            let records = slots[..offsets].iter().filter(|holds| **holds).count();
            prop_assert_eq!(all.records_of(offsets as u64), records as u64, "{} of {:?}", offsets, all);
        }
    }
}
