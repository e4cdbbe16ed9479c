use super::*;
use crate::engine::correlate::JoinPressure;
use crate::engine::plan::{Latest, Operator, Start, TimeFrom, Timing, TopicPlan};
use crate::engine::series::DefinitionHash;
use crate::engine::tap::projection::Projection;
use crate::engine::time::EventTime;

const MINUTE: i64 = 60;
/// 2026-11-22T14:00:00Z.
const T0: i64 = 1_795_356_000;

/// Topics a to d; a and b are joined, and b and c. Nothing joins d. Their settings explain nothing.
fn pace() -> Pace {
    pace_with([(5, 0); 4])
}

/// With these `out_of_order` and `idle_after` in seconds.
fn pace_with(settings: [(i64, i64); 4]) -> Pace {
    let topic = |(name, (out_of_order, idle_after)): (&str, (i64, i64))| TopicPlan {
        topic: name.into(),
        timing: Timing {
            from: TimeFrom::Record,
            out_of_order: Span::seconds(out_of_order),
            idle_after: Span::seconds(idle_after),
            max_hold: Span::seconds(60),
            max_ahead: Span::seconds(300),
        },
        start: Start::Earliest,
        max_record_bytes: 1_000,
        projection: Projection::default(),
        sources: vec![],
    };
    let join = |definition, topics: &[usize]| Join {
        name: String::new(),
        definition: DefinitionHash(definition),
        topics: topics.to_vec(),
        late: None,
        operator: Operator::Latest(Latest {
            within: Span::seconds(3_600),
            asks: vec![],
        }),
    };
    Pace::new(Arc::new(Plan {
        topics: ["a", "b", "c", "d"].into_iter().zip(settings).map(topic).collect(),
        joins: vec![join(1, &[0, 1]), join(2, &[1, 2])],
        ..Plan::default()
    }))
}

fn counts() -> PartitionCounts {
    ["a", "b", "c", "d"].map(|topic| (topic.to_owned(), 2)).into()
}

/// Seconds after `T0`.
fn mark(seconds: i64) -> Option<Watermark> {
    Some(Watermark(EventTime((T0 + seconds) * 1_000_000)))
}

fn runner(topic: &str, seconds: i64, waits: bool) -> Runner<'_> {
    Runner {
        topic,
        partition: 0,
        watermark: mark(seconds),
        waits,
    }
}

/// Of the first partitions of these topics.
fn waits(pace: &mut Pace, runners: &[(&str, i64)]) -> Vec<Option<Wait>> {
    let runners: Vec<Runner<'_>> = runners
        .iter()
        .map(|(topic, seconds)| runner(topic, *seconds, false))
        .collect();
    pace.waits(&counts(), &runners)
}

fn pressure(most: u64, entries: [u64; 2]) -> String {
    let joins = [1, 2].into_iter().zip(entries);
    Pressure {
        most,
        joins: joins
            .map(|(join, entries)| JoinPressure {
                join: DefinitionHash(join),
                entries,
                watermark: None,
            })
            .collect(),
    }
    .encode()
}

#[test]
fn a_source_more_than_ten_minutes_ahead_of_the_slowest_of_its_join_waits() {
    let mut pace = pace();
    let most = 10 * MINUTE;
    assert_eq!(waits(&mut pace, &[("a", most), ("b", 0)]), [None, None]);
    assert_eq!(
        waits(&mut pace, &[("a", most + 1), ("b", 0)]),
        [Some(Wait::Ahead), None]
    );
    assert_eq!(
        waits(&mut pace, &[("a", most + 1), ("b", 1), ("d", 99 * MINUTE)]),
        [None, None, None],
        "the other has come closer, and nobody joins the third"
    );
}

#[test]
fn who_waits_goes_on_at_half_of_the_distance() {
    let mut pace = pace();
    let mut at = |seconds| pace.waits(&counts(), &[runner("a", seconds, true), runner("b", 0, false)])[0];
    assert_eq!(at(6 * MINUTE), Some(Wait::Ahead));
    assert_eq!(at(5 * MINUTE), None);
}

#[test]
fn what_others_have_committed_is_waited_for() {
    let mut pace = pace();
    let ledger = |seconds: i64| {
        let mut ledger = Ledger {
            max_time: Some(EventTime((T0 + seconds) * 1_000_000)),
            ..Ledger::default()
        };
        ledger.reach(mark(seconds - 5));
        ledger
    };
    pace.hear("b", 1, &ledger(5).encode());
    let at = 10 * MINUTE + 1;
    assert_eq!(waits(&mut pace, &[("a", at)]), [Some(Wait::Ahead)]);
    let mut idle = ledger(5);
    idle.reach(mark(MINUTE));
    pace.hear("b", 1, &idle.encode());
    assert_eq!(
        waits(&mut pace, &[("a", at)]),
        [None],
        "it is idle, and its time goes on"
    );
    pace.hear("b", 1, &ledger(5).encode());
    pace.hear("b", 1, "of another program");
    assert_eq!(waits(&mut pace, &[("a", at)]), [None], "a watermark never goes back");
}

#[test]
fn an_idle_partition_of_another_process_is_as_far_as_the_clock_whatever_year_its_records_are_of() {
    let mut pace = pace();
    let mut ledger = Ledger {
        max_time: Some(EventTime(-62_135_596_800 * 1_000_000)),
        ..Ledger::default()
    };
    ledger.reach(mark(0));
    pace.hear("b", 1, &ledger.encode());
    assert_eq!(waits(&mut pace, &[("a", MINUTE)]), [None]);
    assert_eq!(waits(&mut pace, &[("a", 11 * MINUTE)]), [Some(Wait::Ahead)]);
}

#[test]
fn nobody_waits_for_what_settings_alone_put_behind() {
    let hour = 60 * MINUTE;
    // All at the live end: a is five seconds behind it, b an hour by `out_of_order`, c as much by `idle_after`.
    let settings = [(5, 5), (hour, 5), (5, hour), (5, 5)];
    let mut live = pace_with(settings);
    let all = [("a", -5), ("b", -hour), ("c", -hour - 5)];
    assert_eq!(waits(&mut live, &all), [None, None, None]);
    let idle = [("a", -5), ("b", -hour - 5), ("c", -5)];
    assert_eq!(waits(&mut pace_with(settings), &idle), [None, None, None], "b is idle");
    let idle = [("b", -5), ("c", -hour - 5)];
    assert_eq!(waits(&mut pace_with([(5, 5); 4]), &idle)[0], Some(Wait::Ahead));
    let patient = [(5, 5), (5, 5), (5, hour), (5, 5)];
    assert_eq!(waits(&mut pace_with(patient), &idle)[0], None, "c is idle");
    // Ten minutes more than that is no setting.
    let mut pace = pace_with(settings);
    let more = 10 * MINUTE + 1;
    let all = [("a", more), ("b", -hour), ("c", -hour)];
    assert_eq!(waits(&mut pace, &all), [Some(Wait::Ahead), None, None]);
    // A join without room waits for everybody: b and c are both an hour behind, and nothing of a is decided.
    pace.hear("app-correlate-repartition", 3, &pressure(800, [800, 0]));
    assert_eq!(waits(&mut pace, &[("a", 0)]), [Some(Wait::Full)]);
}

#[test]
fn what_another_worker_of_the_process_reads_is_waited_for() {
    let mut pace = pace();
    pace.see("b", 1, mark(0));
    assert_eq!(waits(&mut pace, &[("a", 11 * MINUTE)]), [Some(Wait::Ahead)]);
    pace.see("b", 1, mark(2 * MINUTE));
    assert_eq!(waits(&mut pace, &[("a", 11 * MINUTE)]), [None]);
}

#[test]
fn partitions_that_never_spoke_or_are_gone_are_waited_for_by_nobody() {
    let mut pace = pace();
    let silent = Runner {
        watermark: None,
        ..runner("b", 0, false)
    };
    assert_eq!(
        pace.waits(&counts(), &[runner("a", 99 * MINUTE, false), silent]),
        [None, None]
    );
    pace.see("b", 7, mark(0));
    assert_eq!(waits(&mut pace, &[("a", 99 * MINUTE)]), [None], "b has two partitions");
    pace.see("b", 1, mark(0));
    assert_eq!(waits(&mut pace, &[("a", 99 * MINUTE)]), [Some(Wait::Ahead)]);
    let without = PartitionCounts::from([("a".to_owned(), 2)]);
    assert_eq!(pace.waits(&without, &[runner("a", 99 * MINUTE, false)]), [None]);
}

#[test]
fn where_a_join_fills_up_one_minute_ahead_is_too_much() {
    let mut pace = pace();
    let all = [("a", 2 * MINUTE), ("b", 0), ("c", 2 * MINUTE)];
    pace.hear("app-correlate-repartition", 3, &pressure(800, [600, 99]));
    assert_eq!(waits(&mut pace, &all), [None, None, None], "not full enough");
    pace.hear("app-correlate-repartition", 3, &pressure(800, [640, 60]));
    assert_eq!(
        waits(&mut pace, &all),
        [Some(Wait::Full), None, None],
        "the other join holds little"
    );
    pace.hear("app-correlate-repartition", 4, &pressure(800, [0, 0]));
    assert_eq!(
        waits(&mut pace, &all)[0],
        Some(Wait::Full),
        "one task that is full is enough"
    );
    pace.hear("app-correlate-repartition", 3, &pressure(800, [600, 50]));
    assert_eq!(
        waits(&mut pace, &all)[0],
        Some(Wait::Full),
        "until it is under three quarters"
    );
    pace.hear("app-correlate-repartition", 3, &pressure(800, [590, 9]));
    assert_eq!(waits(&mut pace, &all), [None, None, None]);
}

#[test]
fn somebody_always_goes_on() {
    // Every source as far as you like, waiting or not, joins full or not: the slowest of all who wait for each other does not.
    let mut numbers = (1_u64..).map(|n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32);
    let mut below = |most: u64| numbers.next().map_or(0, |number| number % most);
    for _ in 0..2_000 {
        let mut setting = || (below(2) * below(3_600)) as i64;
        let mut pace = pace_with([(); 4].map(|()| (setting(), setting())));
        if below(2) == 0 {
            pace.hear("repartition", 0, &pressure(80, [below(80), 80]));
        }
        let names = ["a", "b", "c"];
        let runners: Vec<Runner<'_>> = (0..6)
            .map(|at| Runner {
                topic: names[at / 2],
                partition: at as u32 % 2,
                watermark: mark(below(40 * 60) as i64),
                waits: below(2) == 0,
            })
            .collect();
        let waits = pace.waits(&counts(), &runners);
        let slowest = (0..6).min_by_key(|at| runners[*at].watermark).expect("there are six");
        assert_eq!(waits[slowest], None, "{runners:?}");
        for (at, wait) in waits.iter().enumerate().filter(|(_, wait)| wait.is_some()) {
            let slower = runners.iter().any(|other| other.watermark < runners[at].watermark);
            assert!(slower, "{wait:?} of {:?} in {runners:?}", runners[at]);
        }
    }
}
