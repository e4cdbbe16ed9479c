//! Who is told what, and how often.

use std::collections::BTreeSet;

use super::*;
use crate::engine::plan::{Alertmanager, Via};

/// Nobody waits for `for` here.
fn at_once() -> Alert {
    Alert {
        hold: Span::ZERO,
        ..lag()
    }
}

fn say(world: &mut World, partition: usize, value: f64) {
    world.say(LAG, &["orders", &partition.to_string(), "billing"], Some(value));
}

#[test]
fn a_thousand_partitions_are_one_notification_that_lists_a_hundred() {
    let mut world = World::new(vec![at_once()]);
    for partition in 0..1_000 {
        say(&mut world, partition, 5_000.0);
        if partition % 200 == 0 {
            world.tick();
        }
    }
    world.pass(9);
    let told = std::mem::take(&mut world.told);
    assert_eq!(told.len(), 1);
    let told = &told[0];
    assert_eq!(
        (told.occasion(), told.alerts.len(), told.more),
        (Occasion::Firing, 100, 900)
    );
    assert_eq!(
        (&*told.rule, &*told.severity, told.repeat_after),
        ("HighConsumerLag", "warning", 3_600)
    );
    let labels: Vec<&str> = told.alerts[0].labels.iter().map(|label| &*label.name).collect();
    assert_eq!(labels, ["consumer_group", "partition", "team", "topic"]);
    assert_eq!(
        (&*told.group[0].name, &*told.group[0].value),
        ("consumer_group", "billing")
    );
}

#[test]
fn an_alertmanager_is_told_of_each_alert_and_of_each_end_however_many_there_are() {
    let to_both = Alert {
        to: vec!["operators".into(), "manager".into()],
        ..at_once()
    };
    let manager = Receiver {
        name: "manager".into(),
        via: Via::Alertmanager(Alertmanager {
            urls: vec!["http://127.0.0.1:9093".into()],
            login: None,
            token: None,
            authority: None,
        }),
    };
    let mut world = World::with(vec![to_both], vec![manager]);
    let told = |world: &mut World, receiver: &str| {
        let told = world.told.iter().filter(|told| told.receiver == receiver);
        let alerts: Vec<(String, bool)> = told
            .clone()
            .flat_map(|told| &told.alerts)
            .map(|alert| (alert.labels[1].value.clone(), alert.ended.is_some()))
            .collect();
        let ids: BTreeSet<&str> = told.clone().map(|told| &*told.id).collect();
        assert_eq!(ids.len(), told.clone().count(), "each has an id of its own");
        assert!(told.clone().all(|told| told.alerts.len() <= 100));
        (ids.len(), alerts, told.map(|told| told.more).max())
    };
    for partition in 0..250 {
        say(&mut world, partition, 5_000.0);
    }
    world.pass(11);
    let (count, alerts, more) = told(&mut world, "manager");
    let partitions: BTreeSet<String> = alerts.iter().map(|(partition, _)| partition.clone()).collect();
    assert_eq!((count, partitions.len(), more), (3, 250, Some(0)));
    assert!(alerts.iter().all(|(_, is_over)| !is_over));
    assert_eq!(told(&mut world, "operators").2, Some(150));
    world.told.clear();

    // Most are over; before that is told, another instance takes over.
    for partition in 0..249 {
        say(&mut world, partition, 0.0);
    }
    world.pass(5);
    assert_eq!(world.told.len(), 0);
    world.reopen();
    world.pass(60);
    let (count, alerts, _) = told(&mut world, "manager");
    let over = alerts.iter().filter(|(_, is_over)| *is_over).count();
    assert_eq!((count, over, alerts.len()), (3, 249, 250));
    world.told.clear();
    say(&mut world, 249, 0.0);
    world.pass(1);
    assert_eq!(told(&mut world, "manager").1, [("249".to_owned(), true)]);
    assert!(
        world.changelog.keys().all(|key| !matches!(key[0], b'g' | b'o')),
        "the group is forgotten"
    );
}

#[test]
fn the_first_waits_for_others_later_changes_come_once_a_minute_and_the_end_at_once() {
    let mut world = World::new(vec![at_once()]);
    say(&mut world, 0, 5_000.0);
    world.pass(10);
    assert_eq!(world.told(), [(Occasion::Firing, 1, 0)]);
    say(&mut world, 1, 5_000.0);
    world.pass(59);
    assert_eq!(world.told(), []);
    world.pass(1);
    assert_eq!(world.told(), [(Occasion::Firing, 2, 0)]);
    say(&mut world, 0, 0.0);
    world.pass(60);
    assert_eq!(world.told(), [(Occasion::Partly, 1, 1)]);
    say(&mut world, 1, 0.0);
    world.tick();
    assert_eq!(world.told(), [(Occasion::Resolved, 0, 1)]);
    world.pass(4_000);
    assert_eq!(world.told(), []);
    assert!(
        world.changelog.keys().all(|key| key[0] != b'g'),
        "the group is forgotten"
    );
}

#[test]
fn what_still_fires_is_told_again_and_what_is_over_before_anybody_knew_is_not_told() {
    let mut world = World::new(vec![at_once()]);
    say(&mut world, 0, 5_000.0);
    world.pass(5);
    say(&mut world, 0, 0.0);
    world.pass(100);
    assert_eq!(world.told(), []);
    say(&mut world, 0, 5_000.0);
    world.pass(10 + 3_600);
    assert_eq!(world.told(), [(Occasion::Firing, 1, 0), (Occasion::Repeat, 1, 0)]);
}

#[test]
fn each_receiver_is_told_under_an_id_of_its_own_and_each_time_under_another() {
    let both = Alert {
        to: vec!["operators".into(), "bus".into()],
        ..at_once()
    };
    let mut world = World::new(vec![both]);
    for _ in 0..2 {
        say(&mut world, 0, 5_000.0);
        world.pass(20);
        say(&mut world, 0, 0.0);
        world.pass(20);
    }
    let ids: std::collections::BTreeSet<&str> = world.told.iter().map(|told| &*told.id).collect();
    assert_eq!(
        (world.told.len(), ids.len()),
        (8, 8),
        "fires and is over, twice, to two"
    );
    assert!(ids.iter().all(|id| id.len() == 32));
}

#[test]
fn nobody_is_told_of_what_was_over_long_ago_but_of_what_still_fires() {
    let mut world = World::new(vec![at_once()]);
    world.second = 20_000;
    world.time();
    // A backlog of hours: one that was over, one that still is.
    world.say_at(1_000, LAG, &["orders", "0", "billing"], Some(5_000.0));
    world.seal();
    world.say_at(2_000, LAG, &["orders", "0", "billing"], Some(0.0));
    world.say_at(3_000, LAG, &["orders", "1", "billing"], Some(5_000.0));
    world.seal();
    assert_eq!(world.told(), []);
    world.say(LAG, &["orders", "1", "billing"], Some(5_000.0));
    world.pass(11);
    let told = std::mem::take(&mut world.told);
    assert_eq!(told.len(), 1);
    let since = told[0]
        .alerts
        .iter()
        .map(|alert| (alert.since / SECOND - T0, alert.ended.is_some()));
    assert_eq!(since.collect::<Vec<_>>(), [(3_000, false)]);
}

#[test]
fn alerts_are_counted_as_series_of_their_own() {
    let mut world = World::new(vec![at_once()]);
    say(&mut world, 0, 5_000.0);
    world.pass(2);
    let requests = world.task.newest();
    let text: String = requests
        .iter()
        .map(|request| String::from_utf8_lossy(request).into_owned())
        .collect();
    for part in ["streamgauge_alerts", "HighConsumerLag", "firing", "pending"] {
        assert!(text.contains(part), "{part} in {text:?}");
    }
}
