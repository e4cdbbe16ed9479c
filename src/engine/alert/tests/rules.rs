//! When a rule is met, and what fires.

use super::*;

const ORDERS: [&str; 3] = ["orders", "0", "billing"];

#[test]
fn it_is_pending_until_it_was_met_for_so_long_and_fires_then() {
    let mut world = World::new(vec![lag()]);
    world.say(LAG, &ORDERS, Some(1_000.0));
    world.tick();
    assert_eq!(world.alerts(), (0, 0), "1,000 is not above 1,000");
    world.say(LAG, &ORDERS, Some(5_000.0));
    world.pass(60);
    world.say(LAG, &ORDERS, Some(5_000.0));
    world.pass(59);
    assert_eq!(world.alerts(), (1, 0));
    world.pass(2);
    assert_eq!(world.alerts(), (0, 1), "also between two samples");
    let shown = &world.task.view().alerts[0];
    assert_eq!(
        (&*shown.description, shown.value),
        ("Consumer billing has lag of 5000", 5_000.0)
    );
}

#[test]
fn what_is_over_before_that_never_fires() {
    let mut world = World::new(vec![lag()]);
    world.say(LAG, &ORDERS, Some(5_000.0));
    world.pass(119);
    world.say(LAG, &ORDERS, Some(10.0));
    world.pass(1);
    assert_eq!(world.alerts(), (0, 0));
    world.say(LAG, &ORDERS, Some(5_000.0));
    world.pass(119);
    assert_eq!(world.alerts(), (1, 0), "it begins anew");
}

#[test]
fn nothing_begins_to_fire_while_nobody_says_anything() {
    let mut world = World::new(vec![lag()]);
    world.say(LAG, &ORDERS, Some(5_000.0));
    world.pass(10_000);
    assert_eq!(world.alerts(), (1, 0), "nobody knows whether it is still so");
    world.say(LAG, &ORDERS, Some(5_000.0));
    assert_eq!(world.alerts(), (0, 1));
    world.pass(10_000);
    assert_eq!(world.alerts(), (0, 1), "nobody knows whether it is over");
}

#[test]
fn a_series_that_ends_meets_nothing_any_more() {
    let mut world = World::new(vec![lag()]);
    world.say(LAG, &ORDERS, Some(5_000.0));
    world.pass(60);
    world.say(LAG, &ORDERS, Some(5_000.0));
    world.pass(70);
    assert_eq!(world.alerts(), (0, 1));
    world.say(LAG, &ORDERS, None);
    world.pass(1);
    assert_eq!(world.alerts(), (0, 0));
    assert!(
        world.changelog.keys().all(|key| !matches!(key[0], b's' | b'a')),
        "nothing is left of it"
    );
}

#[test]
fn throughput_is_low_only_where_there_was_some_and_for_long_enough() {
    let mut world = World::new(vec![rate()]);
    let mut count = 0.0;
    let minute = |world: &mut World, count: f64| {
        world.say(RATE, &["orders"], Some(count));
        world.say(RATE, &["quiet"], Some(3.0));
        world.pass(60);
    };
    for _ in 0..10 {
        minute(&mut world, count);
        count += 600.0;
    }
    assert_eq!(world.alerts(), (0, 0), "ten a second, and one that never had any");
    for _ in 0..6 {
        minute(&mut world, count);
    }
    assert_eq!(world.alerts(), (1, 0), "five minutes without any");
    for _ in 0..11 {
        minute(&mut world, count);
    }
    assert_eq!(world.alerts(), (0, 1));
    assert_eq!(
        world.task.view().alerts[0].labels,
        [("topic".to_owned(), "orders".to_owned())]
    );
    for _ in 0..2 {
        count += 600.0;
        minute(&mut world, count);
    }
    assert_eq!(world.alerts(), (0, 0));
}

#[test]
fn series_are_added_up_by_the_labels_that_they_have_in_common() {
    let by_group = Alert {
        sum_by: Some(vec![2]),
        hold: Span::ZERO,
        ..lag()
    };
    let mut world = World::new(vec![by_group]);
    world.say(LAG, &["orders", "0", "billing"], Some(600.0));
    world.say(LAG, &["orders", "0", "mail"], Some(600.0));
    assert_eq!(world.alerts(), (0, 0));
    world.say(LAG, &["orders", "1", "billing"], Some(600.0));
    assert_eq!(world.alerts(), (0, 1));
    let shown = world.task.view().alerts.remove(0);
    assert_eq!((shown.value, shown.labels.len()), (1_200.0, 1));
    world.tick();
    world.crash();
    world.say(LAG, &["orders", "1", "billing"], None);
    assert_eq!(world.alerts(), (0, 0));
}

#[test]
fn what_says_nothing_for_so_long_is_absent_until_it_speaks() {
    let absent = Alert {
        condition: Condition::Absent(Span::seconds(300)),
        hold: Span::ZERO,
        group: vec![],
        ..lag()
    };
    let mut world = World::new(vec![absent]);
    world.pass(200);
    world.say(LAG, &ORDERS, Some(1.0));
    world.pass(299);
    assert_eq!(world.alerts(), (0, 0));
    world.pass(2);
    assert_eq!(world.alerts(), (0, 1));
    world.crash();
    assert_eq!(world.alerts(), (0, 1));
    world.say(LAG, &ORDERS, Some(1.0));
    assert_eq!(world.alerts(), (0, 0));
}

#[test]
fn a_rule_that_was_changed_forgets_what_it_knew() {
    let mut world = World::new(vec![lag()]);
    world.say(LAG, &ORDERS, Some(5_000.0));
    world.pass(90);
    world.say(LAG, &ORDERS, Some(5_000.0));
    world.pass(90);
    assert_eq!(world.alerts(), (0, 1));
    world.told.clear();
    let changed = Alert {
        definition: DefinitionHash(99),
        ..lag()
    };
    world.plan = Arc::new(Plan {
        pipelines: vec!["support".into()],
        alerts: vec![changed],
        ..Plan::default()
    });
    world.reopen();
    world.pass(5);
    assert_eq!((world.alerts(), world.told().len()), ((0, 0), 0));
    let of_old = world
        .changelog
        .keys()
        .filter(|key| key.get(1..9) == Some(&LAG.to_be_bytes()[..]));
    assert_eq!(of_old.count(), 0, "and the changelog has nothing of it");
}

#[test]
fn a_changelog_that_does_not_agree_with_the_offset_stops_the_stage() {
    let mut world = World::new(vec![lag()]);
    world.say(LAG, &ORDERS, Some(5_000.0));
    world.tick();
    let mut task = open(
        &world.plan,
        Open::Resumed {
            offset: 7,
            metadata: "",
            topic_id: [0; 16],
        },
    );
    for (key, value) in &world.changelog {
        task.accept(Input::Restore {
            key,
            value: Some(value),
        })
        .expect("ours");
    }
    assert!(task.accept(Input::Restored).is_err());
}
