//! Whatever happens, a crash changes nothing of what is told.

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Say(usize, f64),
    End(usize),
    Count(u32),
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..6_usize, prop_oneof![Just(0.0), Just(5_000.0)]).prop_map(|(series, value)| Step::Say(series, value)),
        1 => (0..6_usize).prop_map(Step::End),
        2 => (0..500_u32).prop_map(Step::Count),
        4 => (1..100_i64).prop_map(Step::Pass),
    ]
}

/// Lives through the steps; after those whose number is in `crashes` the task is opened anew.
fn live(steps: &[Step], crashes: &[usize]) -> World {
    let short = Alert {
        hold: Span::seconds(30),
        repeat: Span::seconds(600),
        to: vec!["operators".into(), "bus".into()],
        ..lag()
    };
    let mut world = World::new(vec![short, rate()]);
    let mut count = 0.0;
    for (number, step) in steps.iter().enumerate() {
        let series = |series: &usize| (series / 2).to_string();
        let group = |series: &usize| ["billing", "mail"][series % 2];
        match step {
            Step::Say(of, value) => world.say(LAG, &["orders", &series(of), group(of)], Some(*value)),
            Step::End(of) => world.say(LAG, &["orders", &series(of), group(of)], None),
            Step::Count(more) => {
                count += f64::from(*more);
                world.say(RATE, &["orders"], Some(count));
            }
            Step::Pass(seconds) => {
                if crashes.contains(&number) {
                    world.pass(seconds / 2);
                    world.crash();
                    world.pass(seconds - seconds / 2);
                    continue;
                }
                world.pass(*seconds);
            }
        }
        if crashes.contains(&number) {
            world.crash();
        }
    }
    world.pass(1_000);
    world
}

proptest! {
    #[test]
    fn crashes_change_nothing_of_what_is_told_and_no_id_comes_twice(
        steps in proptest::collection::vec(step(), 1..60),
        crashes in proptest::collection::vec(0..60_usize, 0..20),
    ) {
        let quiet = live(&steps, &[]);
        let crashed = live(&steps, &crashes);
        prop_assert_eq!(&crashed.told, &quiet.told);
        prop_assert_eq!(crashed.task.view().alerts, quiet.task.view().alerts);
        let mut ids: Vec<&str> = quiet.told.iter().map(|told| &*told.id).collect();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), quiet.told.len());
    }

    #[test]
    fn every_group_that_was_told_of_is_told_the_end(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = live(&steps, &[]);
        for of in 0..6 {
            world.say(LAG, &["orders", &(of / 2).to_string(), ["billing", "mail"][of % 2]], Some(0.0));
        }
        world.pass(2);
        let mut open = std::collections::BTreeMap::new();
        for told in world.told.iter().filter(|told| told.rule == "HighConsumerLag") {
            let key = (told.group[0].value.clone(), told.receiver.clone());
            let is_open = open.entry(key).or_insert(false);
            match told.occasion() {
                Occasion::Resolved => {
                    prop_assert!(*is_open, "the end of what nobody knew");
                    *is_open = false;
                }
                Occasion::Firing => *is_open = true,
                Occasion::Repeat | Occasion::Partly => prop_assert!(*is_open),
            }
        }
        prop_assert!(open.values().all(|is_open| !is_open), "{:?}", open);
    }
}
