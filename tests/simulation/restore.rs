//! A member that is overtaken: its partition went to somebody else, and it has not heard of it.

use streamgauge::engine::time::Span;
use streamgauge::memory::{CallPoint, Caller, Fault, MarkerDelay};
use streamgauge::runtime::log::LogError;

use crate::pipelines::{APPLICATION, SHUFFLE};
use crate::world::{Hardship, World};

/// Places of a world, in the order in which it makes them.
const TAP: usize = 0;
const GAUGE: usize = 1;
const OTHER_GAUGE: usize = 3;

fn count_some(world: &mut World) {
    let now = world.now();
    world.expected.produce(&world.cluster, &mut world.random, now);
    for _ in 0..4 {
        world.step(TAP);
        world.advance(100_000);
    }
}

fn expire_gauges(world: &World) {
    let group = format!("{APPLICATION}-gauge");
    for member in world.cluster.group(&group).map(|view| view.members).unwrap_or_default() {
        world.cluster.expire_member(&group, member.id);
    }
}

/// From now on these calls of the gauges' members are lost.
fn lose(world: &World, lost: CallPoint) {
    world
        .cluster
        .inject(Some(Box::new(move |point: CallPoint, caller: Caller<'_>| {
            let is_lost = point == lost && caller.group.ends_with("-gauge");
            is_lost.then(|| Fault::lost(LogError::Retry("injected: no heartbeat".to_owned())))
        })));
}

fn waits_for_markers(world: &World, partition: u32) -> bool {
    let changelog = format!("{APPLICATION}-gauge-changelog");
    world.cluster.log_end(&changelog, partition) != world.cluster.last_stable_offset(&changelog, partition)
}

#[test]
fn a_member_that_lost_its_partition_while_it_restored_starts_over() {
    let mut world = World::new(7, Hardship::default());
    for _ in 0..10 {
        count_some(&mut world);
        world.step(GAUGE);
    }
    // The last commit of the first owner is decided, and its markers are not written.
    count_some(&mut world);
    world.cluster.delay_markers(MarkerDelay {
        partitions: Span::seconds(5),
        offsets: Span::ZERO,
    });
    for _ in 0..4 {
        world.step(GAUGE);
        world.advance(100_000);
    }
    assert!((0..SHUFFLE).any(|partition| waits_for_markers(&world, partition)));
    expire_gauges(&world);
    for _ in 0..4 {
        world.step(OTHER_GAUGE);
    }
    assert!(!world.places[OTHER_GAUGE].in_phase("restoring").is_empty());

    // The second owner sleeps; the first one comes back and counts on.
    expire_gauges(&world);
    world.cluster.delay_markers(MarkerDelay::default());
    world.advance(5_000_000);
    for _ in 0..10 {
        count_some(&mut world);
        world.step(GAUGE);
        world.step(GAUGE);
    }

    // The second owner goes on with its restore before its group tells it anything.
    lose(&world, CallPoint::Poll);
    for _ in 0..4 {
        world.step(OTHER_GAUGE);
    }
    assert!(world.places[OTHER_GAUGE].in_phase("restoring").is_empty());
    world.peace();
}

#[test]
fn a_member_whose_input_was_deleted_by_the_next_owner_starts_over() {
    let mut world = World::new(8, Hardship::default());
    for _ in 0..10 {
        count_some(&mut world);
        world.step(GAUGE);
    }
    assert!(!world.places[GAUGE].in_phase("running").is_empty());
    // The first owner sleeps; the next one counts on and deletes what it has counted.
    expire_gauges(&world);
    for _ in 0..20 {
        count_some(&mut world);
        world.step(OTHER_GAUGE);
    }
    let input = format!("{APPLICATION}-gauge-repartition");
    let start = |partition| world.cluster.log_start(&input, partition).expect("it exists");
    assert!((0..SHUFFLE).any(|partition| start(partition) > 10));

    // The first one wakes up and reads on before its group tells it anything.
    lose(&world, CallPoint::Heartbeat);
    for _ in 0..4 {
        world.step(GAUGE);
    }
    world.peace();
}
