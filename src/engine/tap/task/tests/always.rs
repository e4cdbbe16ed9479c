//! What holds for every sequence of inputs.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Record { gap: i64, value: String },
    Position(i64),
    Expired(i64),
    LogEnd(i64),
    Time(i64),
    Seal,
    Reopen,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let time = prop::sample::select(vec![
        NOW,
        "2026-11-22T13:59:00",
        "2026-11-22T14:00:12.5",
        "2026-11-22T15:00:00",
        "soon",
    ]);
    let value = prop_oneof![
        4 => (time, "[a-c]").prop_map(|(time, priority)| ticket(time, &priority)),
        1 => Just(r#"{"timestamp": "2026-11-22T14:00:09"}"#.to_owned()),
        1 => Just("not json".to_owned()),
        1 => Just("x".repeat(2_000)),
    ];
    let step = prop_oneof![
        8 => (prop_oneof![4 => Just(0_i64), 1 => 1..5_i64], value).prop_map(|(gap, value)| Step::Record { gap, value }),
        1 => (-3..5_i64).prop_map(Step::Position),
        1 => (-3..5_i64).prop_map(Step::Expired),
        1 => (0..5_i64).prop_map(Step::LogEnd),
        1 => (1..20_i64).prop_map(Step::Time),
        2 => Just(Step::Seal),
        1 => Just(Step::Reopen),
    ];
    prop::collection::vec(step, 0..60)
}

proptest! {
    #[test]
    fn every_offset_has_one_outcome_and_every_counted_record_is_in_the_batches(steps in steps()) {
        let mut task = fresh();
        let (mut next, mut now, mut counted, mut records) = (100, 0, 0, 0);
        let mut mark = None;
        for step in steps.into_iter().chain([Step::Seal]) {
            match step {
                Step::Record { gap, value } => {
                    give(&mut task, next + gap, &value);
                    next += gap + 1;
                    records += 1;
                }
                Step::Position(ahead) => {
                    task.accept(Input::Position { next: next + ahead }).expect("taken");
                    next += ahead.max(0);
                }
                Step::Expired(ahead) => {
                    task.accept(Input::Expired { start: next + ahead }).expect("taken");
                    next += ahead.max(0);
                }
                Step::LogEnd(ahead) => {
                    task.accept(Input::LogEnd { end: next + ahead, sampled_at: wall(now) }).expect("taken");
                }
                Step::Time(later) => {
                    now += later;
                    task.accept(Input::Time(wall(now))).expect("taken");
                }
                Step::Seal | Step::Reopen => {
                    let reopen = matches!(step, Step::Reopen);
                    let Some(output) = task.seal() else { continue };
                    let ledger = Ledger::decode(&output.metadata).expect("a ledger");
                    prop_assert_eq!((output.next, ledger.balance(output.next)), (next, 0));
                    let tickets = partials(&output, 11, &Kind::Count);
                    counted += tickets.values().map(|(records, _)| records).sum::<u64>();
                    prop_assert_eq!(ledger.count(Outcome::Counted), counted);
                    let taken = records - ledger.counts[..5].iter().sum::<u64>();
                    prop_assert_eq!(taken, 0);
                    for batch in batches(&output) {
                        if !reopen && mark.is_some() {
                            prop_assert!(batch.watermark >= mark, "{:?} after {:?}", batch.watermark, mark);
                        }
                    }
                    mark = batches(&output)[0].watermark;
                    prop_assert_eq!(task.weight(), 0);
                    if reopen {
                        let at = Open::Resumed { offset: output.next, metadata: &output.metadata, topic_id: ID };
                        task = open(at).expect("opens");
                        task.accept(Input::Time(wall(now))).expect("taken");
                        mark = task.view().watermark.map(|mark| mark.0.0);
                    }
                }
            }
            let ledger = task.view().ledger.expect("a ledger");
            prop_assert_eq!(ledger.balance(next), 0);
        }
    }

    #[test]
    fn equal_inputs_give_equal_outputs(values in prop::collection::vec("[a-z]{1,3}", 0..40)) {
        let run = || {
            let mut task = fresh();
            for (offset, value) in (100..).zip(&values) {
                give(&mut task, offset, &ticket(NOW, value));
            }
            task.seal()
        };
        prop_assert_eq!(run(), run());
    }
}
