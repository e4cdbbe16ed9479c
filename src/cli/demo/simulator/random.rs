//! Dice that fall the same way for the same seed, on every machine and in every version.
//!
//! Rule: SplitMix64 (Steele, Lea, Flood 2014), because its whole definition fits here: a library may change its generator
//! between versions, and then a seed in a bug report would mean another system.

/// See the module.
#[derive(Clone, Debug)]
pub struct Random(u64);

/// A probability, in parts of a million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub u32);

// === impl Share ===

impl Share {
    pub const NEVER: Share = Share(0);

    pub const fn percent(percent: u32) -> Self {
        Self(percent * 10_000)
    }
}

// === impl Random ===

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Less than `end`; 0 where that is nothing. (Lemire's multiplication; its bias is below 2^-32 here.)
    pub fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.draw()) * u128::from(end)) >> 64) as u64
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + self.below((high - low).max(0) as u64 + 1) as i64
    }

    pub fn happens(&mut self, share: Share) -> bool {
        self.below(1_000_000) < u64::from(share.0)
    }

    pub fn one_of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len() as u64) as usize]
    }
}

/// A number that looks random and follows from `value` alone: ids that several records share are made from it.
pub fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_generator_is_the_published_one() {
        // First outputs of the reference implementation for seed 1234567.
        let mut random = Random::new(1_234_567);
        let first: Vec<u64> = (0..3).map(|_| random.draw()).collect();
        assert_eq!(
            first,
            [
                6_457_827_717_110_365_317,
                3_203_168_211_198_807_973,
                9_817_491_932_198_370_423
            ]
        );
    }

    #[test]
    fn shares_come_true() {
        let mut random = Random::new(1);
        let hits = (0..100_000).filter(|_| random.happens(Share::percent(20))).count();
        assert!((19_000..21_000).contains(&hits), "{hits}");
        assert!((0..10_000).all(|_| !random.happens(Share::NEVER)));
        assert!((0..10_000).all(|_| (-3..=3).contains(&random.between(-3, 3))));
    }
}
