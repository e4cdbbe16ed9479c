//! What the records of the benches are drawn from.

/// A linear congruential generator: the same records in every run.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub fn of<'a>(&mut self, values: &[&'a str]) -> &'a str {
        values[self.next() as usize % values.len()]
    }

    pub fn uuid(&mut self) -> String {
        let (a, b, c) = (self.next(), self.next(), self.next());
        format!(
            "{:08x}-{:04x}-4{:03x}-a{:03x}-{:08x}{:04x}",
            a,
            b & 0xffff,
            b >> 16 & 0xfff,
            c & 0xfff,
            a ^ c,
            c >> 8 & 0xffff
        )
    }
}
