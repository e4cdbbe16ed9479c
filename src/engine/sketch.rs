//! What records become before they are points: counts, sums and histograms that add up in any order.
//!
//! Rule: everything is an integer (values are millionths of the metric's unit), so merging is exact, commutative and
//! associative: the partials of a window, merged in any order and grouping, equal the one that saw all records.
//!
//! Edges:
//! - a value equal to a bound belongs to the bucket below it, in both kinds of histogram;
//! - an exponential histogram starts at scale 8 (buckets grow by 2^(1/256)) and halves its resolution whenever it would
//!   need more than its most buckets; its scale depends on the smallest and the largest value alone. It stays within
//!   [-4, 8], which is what native histograms of Prometheus take, so fewer than eight buckets count as eight;
//! - a quantile read from bucket `(base^i, base^(i+1)]` is off by at most `(base - 1) / (base + 1)`: 0.14 % at scale 8,
//!   4.3 % at scale 3 (which 160 buckets keep for values up to a factor of 2^20 apart), 17 % at scale 1 (any values);
//! - of the exemplars of a histogram the greatest stays, until a point has shown it;
//! - counts stop at the largest integer rather than wrap.

mod exemplar;
mod exponent;

use super::codec;
use super::plan::Kind;
pub use exemplar::Exemplar;
use exponent::{MAX_SCALE, MIN_BUCKETS, MIN_SCALE, index_of};

/// The boundaries of Prometheus' client libraries, in millionths.
pub const PROMETHEUS_BOUNDS: [i64; 11] = [
    5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
];

/// The same in seconds.
pub const PROMETHEUS_SECONDS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// The aggregate of some records of one series.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Partial {
    Count(u64),
    /// In millionths.
    Sum(i128),
    Histogram(Histogram),
}

/// A histogram of values that are not negative, in millionths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    count: u64,
    sum: i128,
    buckets: Vec<u64>,
    layout: Layout,
    /// The greatest since the last point, of those that were given.
    exemplar: Option<Box<Exemplar>>,
}

/// What the buckets mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// One for each bound, and one for what is above the last.
    Explicit,
    /// The first and the last bucket are never empty.
    Exponential {
        scale: i32,
        zero_count: u64,
        offset: i32,
        max_buckets: u16,
    },
}

/// A value that a partial cannot take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a partial of another kind of metric")]
pub struct OtherKind;

// === impl Partial ===

impl Partial {
    /// Of no records.
    pub fn empty(kind: &Kind) -> Partial {
        match kind {
            Kind::Count => Partial::Count(0),
            Kind::Sum | Kind::Level(_) => Partial::Sum(0),
            Kind::Explicit { bounds } => Partial::Histogram(Histogram::explicit(bounds.len())),
            Kind::Exponential { max_buckets } => Partial::Histogram(Histogram::exponential(*max_buckets)),
        }
    }

    /// Adds so many things to a count; a partial of another kind stays as it is.
    #[inline]
    pub fn add_count(&mut self, things: u64) {
        debug_assert!(matches!(self, Partial::Count(_)), "things are counted by a count");
        if let Partial::Count(count) = self {
            *count = count.saturating_add(things);
        }
    }

    /// Adds a value, in millionths, to a sum or to a histogram of this `kind`; histograms take negative values as zero.
    #[inline]
    pub fn observe(&mut self, millionths: i64, kind: &Kind) {
        match self {
            Partial::Count(_) => debug_assert!(false, "a count takes things, not values"),
            Partial::Sum(sum) => *sum = sum.saturating_add(i128::from(millionths)),
            Partial::Histogram(histogram) => histogram.observe(millionths.max(0), 1, kind),
        }
    }

    /// As [`observe`](Self::observe) so many times.
    pub fn observe_many(&mut self, millionths: i64, times: u64, kind: &Kind) {
        match self {
            Partial::Count(_) => debug_assert!(false, "a count takes things, not values"),
            Partial::Sum(sum) => *sum = sum.saturating_add(i128::from(millionths).saturating_mul(i128::from(times))),
            Partial::Histogram(histogram) => histogram.observe(millionths.max(0), times, kind),
        }
    }

    /// Offers an exemplar to a histogram; others have none.
    pub fn exemplify(&mut self, exemplar: Exemplar) {
        if let Partial::Histogram(histogram) = self {
            histogram.exemplify(exemplar);
        }
    }

    /// A point has shown it: it is not to be shown again.
    pub fn take_exemplar(&mut self) -> Option<Box<Exemplar>> {
        match self {
            Partial::Histogram(histogram) => histogram.exemplar.take(),
            Partial::Count(_) | Partial::Sum(_) => None,
        }
    }

    /// Adds everything that is in `other`.
    pub fn merge(&mut self, other: &Partial) -> Result<(), OtherKind> {
        match (self, other) {
            (Partial::Count(mine), Partial::Count(theirs)) => *mine = mine.saturating_add(*theirs),
            (Partial::Sum(mine), Partial::Sum(theirs)) => *mine = mine.saturating_add(*theirs),
            (Partial::Histogram(mine), Partial::Histogram(theirs)) => return mine.merge(theirs),
            _ => return Err(OtherKind),
        }
        Ok(())
    }

    /// Bytes of memory, roughly.
    pub fn weight(&self) -> usize {
        match self {
            Partial::Count(_) | Partial::Sum(_) => 16,
            Partial::Histogram(histogram) => 64 + histogram.buckets.len() * 8,
        }
    }

    pub fn to_codec(&self) -> codec::Value {
        let kind = match self {
            Partial::Count(count) => codec::value::Kind::Count(*count),
            Partial::Sum(sum) => codec::value::Kind::Sum(sum.to_le_bytes().to_vec()),
            Partial::Histogram(histogram) => codec::value::Kind::Histogram(histogram.to_codec()),
        };
        codec::Value { kind: Some(kind) }
    }

    /// `None` where the value is not of this kind, or cannot be one of ours.
    pub fn from_codec(value: &codec::Value, kind: &Kind) -> Option<Partial> {
        match (value.kind.as_ref()?, kind) {
            (codec::value::Kind::Count(count), Kind::Count) => Some(Partial::Count(*count)),
            (codec::value::Kind::Sum(bytes), Kind::Sum | Kind::Level(_)) => Some(Partial::Sum(integer(bytes)?)),
            (codec::value::Kind::Histogram(read), Kind::Explicit { bounds }) => {
                Histogram::read_explicit(read, bounds.len()).map(Partial::Histogram)
            }
            (codec::value::Kind::Histogram(read), Kind::Exponential { max_buckets }) => {
                Histogram::read_exponential(read, *max_buckets).map(Partial::Histogram)
            }
            _ => None,
        }
    }
}

/// The outer `None`: there is one that cannot be ours.
fn read_exemplar(read: &codec::Histogram) -> Option<Option<Box<Exemplar>>> {
    match &read.exemplar {
        None => Some(None),
        Some(exemplar) => Some(Some(Box::new(Exemplar::from_codec(exemplar)?))),
    }
}

fn integer(bytes: &[u8]) -> Option<i128> {
    bytes.try_into().ok().map(i128::from_le_bytes)
}

// === impl Histogram ===

impl Histogram {
    fn explicit(bounds: usize) -> Self {
        Self {
            count: 0,
            sum: 0,
            buckets: vec![0; bounds + 1],
            layout: Layout::Explicit,
            exemplar: None,
        }
    }

    fn exponential(max_buckets: u16) -> Self {
        let max_buckets = max_buckets.max(MIN_BUCKETS);
        let layout = Layout::Exponential {
            scale: MAX_SCALE,
            zero_count: 0,
            offset: 0,
            max_buckets,
        };
        Self {
            count: 0,
            sum: 0,
            buckets: Vec::new(),
            layout,
            exemplar: None,
        }
    }

    pub fn count(&self) -> u64 {
        self.count
    }

    pub fn exemplar(&self) -> Option<Exemplar> {
        self.exemplar.as_deref().copied()
    }

    fn exemplify(&mut self, exemplar: Exemplar) {
        if self.exemplar().is_none_or(|mine| mine < exemplar) {
            self.exemplar = Some(Box::new(exemplar));
        }
    }

    /// In millionths.
    pub fn sum(&self) -> i128 {
        self.sum
    }

    /// Counts by bucket: for explicit bounds one more than there are bounds, else from [`Histogram::offset`] upward.
    pub fn buckets(&self) -> &[u64] {
        &self.buckets
    }

    /// `None` for explicit bounds.
    pub fn scale(&self) -> Option<i32> {
        match self.layout {
            Layout::Explicit => None,
            Layout::Exponential { scale, .. } => Some(scale),
        }
    }

    /// How many values were zero (exponential only).
    pub fn zero_count(&self) -> u64 {
        match self.layout {
            Layout::Explicit => 0,
            Layout::Exponential { zero_count, .. } => zero_count,
        }
    }

    /// Index of the first bucket (exponential only).
    pub fn offset(&self) -> i32 {
        match self.layout {
            Layout::Explicit => 0,
            Layout::Exponential { offset, .. } => offset,
        }
    }

    fn observe(&mut self, millionths: i64, times: u64, kind: &Kind) {
        match (&mut self.layout, kind) {
            (Layout::Explicit, Kind::Explicit { bounds }) => {
                let bucket = bounds.partition_point(|bound| *bound < millionths);
                if let Some(count) = self.buckets.get_mut(bucket) {
                    *count += times;
                }
            }
            (Layout::Exponential { zero_count, .. }, Kind::Exponential { .. }) => match u64::try_from(millionths) {
                Ok(0) | Err(_) => *zero_count += times,
                Ok(value) => self.count_at(index_of(value), MAX_SCALE, times),
            },
            _ => {
                debug_assert!(false, "a histogram is observed with its own kind");
                return;
            }
        }
        self.count += times;
        let sum = i128::from(millionths).saturating_mul(i128::from(times));
        self.sum = self.sum.saturating_add(sum);
    }

    fn merge(&mut self, other: &Histogram) -> Result<(), OtherKind> {
        match (&mut self.layout, &other.layout) {
            (Layout::Explicit, Layout::Explicit) if self.buckets.len() == other.buckets.len() => {
                for (mine, theirs) in self.buckets.iter_mut().zip(&other.buckets) {
                    *mine = mine.saturating_add(*theirs);
                }
            }
            (
                Layout::Exponential {
                    zero_count,
                    max_buckets,
                    ..
                },
                Layout::Exponential {
                    scale,
                    zero_count: zeros,
                    offset,
                    max_buckets: limit,
                },
            ) => {
                *zero_count = zero_count.saturating_add(*zeros);
                *max_buckets = (*max_buckets).min(*limit);
                let (scale, offset) = (*scale, *offset);
                for (index, count) in (offset..).zip(&other.buckets) {
                    if *count > 0 {
                        self.count_at(index, scale, *count);
                    }
                }
            }
            _ => return Err(OtherKind),
        }
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.saturating_add(other.sum);
        if let Some(exemplar) = other.exemplar() {
            self.exemplify(exemplar);
        }
        Ok(())
    }

    /// Counts in the bucket that holds bucket `index` of `at_scale`, which may be finer or coarser than mine.
    fn count_at(&mut self, index: i32, at_scale: i32, count: u64) {
        let Layout::Exponential {
            scale,
            offset,
            max_buckets,
            ..
        } = &mut self.layout
        else {
            return;
        };
        if *scale > at_scale {
            *offset = coarsen(&mut self.buckets, *offset, *scale - at_scale);
            *scale = at_scale;
        }
        let mut index = index >> (at_scale - *scale);
        if self.buckets.is_empty() {
            *offset = index;
        }
        let mut last = *offset + self.buckets.len() as i32 - 1;
        while index.max(last) - index.min(*offset) >= i32::from(*max_buckets) && *scale > MIN_SCALE {
            *offset = coarsen(&mut self.buckets, *offset, 1);
            *scale -= 1;
            index >>= 1;
            last = *offset + self.buckets.len() as i32 - 1;
        }
        if index < *offset {
            let missing = (*offset - index) as usize;
            self.buckets.splice(0..0, std::iter::repeat_n(0, missing));
            *offset = index;
        }
        let at = (index - *offset) as usize;
        if at >= self.buckets.len() {
            self.buckets.resize(at + 1, 0);
        }
        self.buckets[at] = self.buckets[at].saturating_add(count);
    }

    fn to_codec(&self) -> codec::Histogram {
        codec::Histogram {
            count: self.count,
            sum: self.sum.to_le_bytes().to_vec(),
            scale: self.scale(),
            zero_count: self.zero_count(),
            offset: self.offset(),
            buckets: self.buckets.clone(),
            exemplar: self.exemplar().map(Exemplar::to_codec),
        }
    }

    fn read_explicit(read: &codec::Histogram, bounds: usize) -> Option<Self> {
        let fits = read.scale.is_none() && read.zero_count == 0 && read.offset == 0 && read.buckets.len() == bounds + 1;
        (fits && total(0, &read.buckets)? == read.count).then_some(())?;
        Some(Self {
            count: read.count,
            sum: integer(&read.sum)?,
            buckets: read.buckets.clone(),
            layout: Layout::Explicit,
            exemplar: read_exemplar(read)?,
        })
    }

    fn read_exponential(read: &codec::Histogram, max_buckets: u16) -> Option<Self> {
        let scale = read.scale.filter(|scale| (MIN_SCALE..=MAX_SCALE).contains(scale))?;
        // Another instance may have been told another number of buckets: what comes is brought to ours by merging.
        let fits = read.buckets.len() <= usize::from(u16::MAX) && read.offset.unsigned_abs() < 1 << 16;
        (fits && total(read.zero_count, &read.buckets)? == read.count).then_some(())?;
        let mut histogram = Self::exponential(max_buckets);
        histogram.exemplar = read_exemplar(read)?;
        for (index, count) in (read.offset..).zip(&read.buckets).filter(|(_, count)| **count > 0) {
            histogram.count_at(index, scale, *count);
        }
        if let Layout::Exponential { zero_count, .. } = &mut histogram.layout {
            *zero_count = read.zero_count;
        }
        (usize::from(max_buckets.max(MIN_BUCKETS)) >= histogram.buckets.len()).then_some(())?;
        histogram.count = read.count;
        histogram.sum = integer(&read.sum)?;
        Some(histogram)
    }
}

/// `None` where the counts are too large to be counts.
fn total(first: u64, buckets: &[u64]) -> Option<u64> {
    buckets.iter().try_fold(first, |sum, count| sum.checked_add(*count))
}

/// Merges buckets until their indices have lost so many bits; gives the new index of the first.
fn coarsen(buckets: &mut Vec<u64>, offset: i32, bits: i32) -> i32 {
    let new_offset = offset >> bits;
    let mut kept = 0;
    for at in 0..buckets.len() {
        let to = (((offset + at as i32) >> bits) - new_offset) as usize;
        let count = std::mem::take(&mut buckets[at]);
        buckets[to] = buckets[to].saturating_add(count);
        kept = to + 1;
    }
    buckets.truncate(kept);
    new_offset
}

#[cfg(test)]
mod tests;
