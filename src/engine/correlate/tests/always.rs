//! Whatever the order, the packing and the crashes: the totals, window by window, are those of the oracle.

use proptest::prelude::*;

use super::oracle::expected;
use super::world::World;

proptest! {
    /// `PROPTEST_CASES` says how many schedules to try; one that fails is shown by its seed, and comes first ever after.
    #[test]
    fn every_interleaving_and_every_crash_gives_the_totals_of_the_oracle(seed in any::<u64>()) {
        let mut world = World::new(seed);
        world.live();
        prop_assert_eq!(&world.found, &expected(&world.said));
    }

    #[test]
    fn a_schedule_can_be_replayed(seed in any::<u64>()) {
        let lives = [World::new(seed), World::new(seed)].map(|mut world| {
            world.live();
            (world.found, world.restores)
        });
        prop_assert_eq!(&lives[0], &lives[1]);
    }
}
