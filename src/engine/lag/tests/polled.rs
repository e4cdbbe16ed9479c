//! A lag task that reads what polls found: it knows no more, and says nothing between two polls.

use std::num::NonZeroU32;

use super::stage::World;
use crate::engine::lag::groups::{Protocol, State};
use crate::engine::lag::polled::{Offsets, Poll, Polled, PolledGroup};
use crate::engine::plan::{Lag, LagFrom};

const STABLE: PolledGroup = PolledGroup {
    protocol: Protocol::Classic,
    state: Some(State::Stable),
    members: Some(2),
    is_silent: false,
};

/// One partition, and who polls.
struct Cluster {
    world: World,
    polled: Polled,
}

fn cluster() -> Cluster {
    let lag = Lag {
        from: LagFrom::Admin,
        ..Lag::of_all(0)
    };
    let mut world = World::of(&lag);
    world.log("orders", 0, 0, 100, 100);
    Cluster {
        world,
        polled: Polled::new(NonZeroU32::MIN),
    }
}

fn of(offset: i64) -> Option<(PolledGroup, Offsets)> {
    Some((STABLE, Offsets::from([(("orders".into(), 0), offset)])))
}

impl Cluster {
    fn poll<const N: usize>(&mut self, groups: [(&str, Option<(PolledGroup, Offsets)>); N]) {
        let poll = Poll {
            groups: groups.into_iter().map(|(name, found)| (name.into(), found)).collect(),
            is_whole: true,
        };
        for change in self.polled.changes(poll, self.world.wall()) {
            self.world.record(&change.key, change.value.as_deref());
        }
    }

    fn lag(&self) -> Option<f64> {
        self.world
            .value("kafka_consumer_lag{topic=orders,partition=0,consumer_group=g}")
    }
}

#[test]
fn each_poll_makes_a_survey_due_and_is_shown_once() {
    let mut cluster = cluster();
    assert!(!cluster.world.task.is_due());
    cluster.poll([("g", of(60))]);
    assert!(cluster.world.task.is_due());
    cluster.world.round();
    assert!(!cluster.world.task.is_due());
    assert_eq!(cluster.lag(), Some(40.0));
    // More is written, and nobody has asked the group since: what it committed meanwhile is not known.
    cluster.world.log("orders", 0, 0, 150, 150);
    cluster.world.round();
    assert_eq!(cluster.lag(), Some(40.0));
    cluster.poll([("g", of(150))]);
    cluster.world.round();
    assert_eq!(cluster.lag(), Some(0.0));
    let group = "{consumer_group=g";
    assert_eq!(
        cluster.world.value(&format!("kafka_consumer_group_members{group}}}")),
        Some(2.0)
    );
    assert_eq!(
        cluster
            .world
            .value(&format!("kafka_consumer_group_state{group},state=stable}}")),
        Some(1.0)
    );
}

#[test]
fn nothing_is_said_of_a_group_that_does_not_answer() {
    let mut cluster = cluster();
    cluster.poll([("g", of(60))]);
    cluster.world.round();
    cluster.world.log("orders", 0, 0, 150, 150);
    cluster.poll([("g", None)]);
    cluster.world.round();
    assert_eq!(cluster.lag(), Some(40.0));
    cluster.poll([("g", of(60))]);
    cluster.world.round();
    assert_eq!(cluster.lag(), Some(90.0));
}

#[test]
fn a_group_that_is_gone_has_its_series_ended() {
    let mut cluster = cluster();
    cluster.poll([("g", of(60))]);
    cluster.world.round();
    cluster.poll([]);
    cluster.world.round();
    let alive = cluster.world.series.iter().filter(|(name, (_, value))| {
        name.starts_with("kafka_consumer") && !name.contains("messages_total") && value.is_some()
    });
    assert_eq!(alive.collect::<Vec<_>>(), Vec::new());
    let rows = cluster
        .world
        .changelog
        .keys()
        .filter(|key| key[0] != b'p' && key[0] != b'o');
    assert_eq!(rows.count(), 0);
}

#[test]
fn after_a_crash_what_polls_found_is_known_and_shown_with_the_next_one() {
    let mut cluster = cluster();
    cluster.poll([("g", of(60))]);
    cluster.world.round();
    cluster.world.crash();
    cluster.world.log("orders", 0, 0, 150, 150);
    cluster.world.round();
    assert_eq!(cluster.lag(), Some(40.0));
    cluster.poll([("g", of(60))]);
    cluster.world.round();
    assert_eq!(cluster.lag(), Some(90.0));
    cluster.poll([]);
    cluster.world.round();
    assert_eq!(cluster.lag(), None);
}
