//! Which bucket of an exponential histogram a value falls into, with integers alone.
//!
//! Rule: at scale 8 bucket `i` is `(2^(i/256), 2^((i+1)/256)]` in the metric's unit. The octave comes from the position of
//! the highest bit, the bucket within it from a table of 256 bounds. Coarser scales are shifts of this index.
//!
//! Edges:
//! - powers of two are exact: each is the last value of its bucket, at every scale;
//! - the other bounds are irrational; the table is right to one part in 2^56, which is finer than `f64`.

/// The finest scale, at which every value is first counted.
pub(super) const MAX_SCALE: i32 = 8;
/// The coarsest one: buckets grow by a factor of 2^16.
pub(super) const MIN_SCALE: i32 = -4;
/// What all values of `i64` need at the coarsest scale, and a little more.
pub(super) const MIN_BUCKETS: u16 = 8;

/// One, in millionths.
const UNIT: u64 = 1_000_000;
/// Values are shifted left until they lie between `UNIT << SHIFT` and twice that, which fits 64 bits.
const SHIFT: u32 = 43;
const STEPS: usize = 1 << MAX_SCALE;

/// `floor((UNIT << SHIFT) * 2^(j/256))`.
static BOUNDS: [u64; STEPS] = bounds();

const fn bounds() -> [u64; STEPS] {
    // 2^(1/2), 2^(1/4), ..., 2^(1/256), with 62 bits behind the point.
    let mut roots = [0_u128; MAX_SCALE as usize];
    let mut root: u128 = 2 << 62;
    let mut step = 0;
    while step < roots.len() {
        root = (root << 62).isqrt();
        roots[step] = root;
        step += 1;
    }
    let mut bounds = [0; STEPS];
    let mut at = 0;
    while at < STEPS {
        let mut factor: u128 = 1 << 62;
        let mut step = 0;
        while step < roots.len() {
            if at & (STEPS >> (step + 1)) != 0 {
                factor = (factor * roots[step]) >> 62;
            }
            step += 1;
        }
        bounds[at] = ((factor * ((UNIT as u128) << SHIFT)) >> 62) as u64;
        at += 1;
    }
    bounds
}

/// The index at scale 8 of a value above zero, in millionths.
pub(super) fn index_of(millionths: u64) -> i32 {
    debug_assert!(millionths > 0 && millionths <= i64::MAX as u64);
    // The octave: the largest e with UNIT * 2^e <= value. UNIT lies between 2^19 and 2^20.
    let mut octave = millionths.ilog2() as i32 - UNIT.ilog2() as i32;
    let at_least = |octave: i32| (u128::from(millionths) << SHIFT) >= (u128::from(UNIT) << (SHIFT as i32 + octave));
    if !at_least(octave) {
        octave -= 1;
    }
    let shifted = millionths << (SHIFT as i32 - octave);
    let below = BOUNDS.partition_point(|bound| *bound < shifted);
    octave * STEPS as i32 + below as i32 - 1
}
