//! Whatever the order, the packing and the crashes: the totals, window by window, and the traces are those of the oracle.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::journeys::{shape, spans_of};
use super::oracle::{Trace, expected};
use super::world::World;
use crate::engine::sketch::Partial;

proptest! {
    /// `PROPTEST_CASES` says how many schedules to try; one that fails is shown by its seed, and comes first ever after.
    #[test]
    fn every_interleaving_and_every_crash_gives_the_totals_and_the_traces_of_the_oracle(seed in any::<u64>()) {
        let mut world = World::new(seed);
        world.live();
        let (series, journeys) = expected(&world.said);
        exemplars_are_of_their_traces(&world);
        for found in world.found.values_mut() {
            Partial::take_exemplar(found);
        }
        prop_assert_eq!(&world.found, &series);
        prop_assert_eq!(traces(&world), journeys);
    }

    #[test]
    fn a_schedule_can_be_replayed(seed in any::<u64>()) {
        let lives = [World::new(seed), World::new(seed)].map(|mut world| {
            world.live();
            (world.found, world.outbox, world.restores)
        });
        prop_assert_eq!(&lives[0], &lives[1]);
    }
}

/// Every window with response times has one of a trace that took as long.
fn exemplars_are_of_their_traces(world: &World) {
    let roots: BTreeMap<Vec<u8>, _> = spans_of(&world.outbox)
        .into_iter()
        .filter(|span| span.parent_span_id.is_empty())
        .map(|root| (root.trace_id.clone(), root))
        .collect();
    for partial in world.found.values() {
        let Partial::Histogram(histogram) = partial else {
            continue;
        };
        let exemplar = histogram.exemplar().expect("all traces leave");
        let root = &roots[exemplar.trace.to_be_bytes().as_slice()];
        assert_eq!(root.span_id, exemplar.span.to_be_bytes());
        let took = (root.end_time_unix_nano - root.start_time_unix_nano) / 1_000;
        assert_eq!(took as i64, exemplar.value);
    }
}

/// Start, end in microseconds, and children of every trace; each has one root, and every child is its.
fn traces(world: &World) -> Vec<Trace> {
    let mut by_trace: BTreeMap<Vec<u8>, Vec<_>> = BTreeMap::new();
    for span in spans_of(&world.outbox) {
        by_trace.entry(span.trace_id.clone()).or_default().push(span);
    }
    let mut traces: Vec<Trace> = by_trace
        .into_values()
        .map(|spans| {
            let shapes = shape(&spans);
            assert_eq!(
                shapes.iter().filter(|(.., has_parent)| !has_parent).count(),
                1,
                "one root"
            );
            let root = &spans[0];
            assert!(
                spans[1..].iter().all(|span| span.parent_span_id == root.span_id),
                "no orphan"
            );
            let (_, start, end, _) = shapes[0];
            assert!(
                shapes
                    .iter()
                    .all(|(_, from, to, _)| start <= *from && from <= to && *to <= end)
            );
            (start, end, spans.len() - 1)
        })
        .collect();
    traces.sort_unstable();
    traces
}
