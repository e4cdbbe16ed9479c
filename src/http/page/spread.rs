//! How the values of a histogram are spread: what came between two looks, and its percentiles.
//!
//! Rule: a percentile is as exact as the buckets are: within one, values are taken to be spread evenly (explicit bounds) or
//! by their logarithm (exponential). What lies above the last bound is at it.
//!
//! Edges:
//! - an exponential histogram that was made coarser since is compared at the coarser scale;
//! - of what lies below the first bucket of an exponential one nothing is known but that it is not above zero.

use crate::http::metrics::family::{Histogram, Native};

/// Counts by bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    pub count: u64,
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    /// Upper bounds, and how many lie at or below each.
    Explicit(Vec<(f64, u64)>),
    Exponential(Native),
}

// === impl Spread ===

impl Spread {
    pub fn of(histogram: &Histogram) -> Self {
        Self {
            count: histogram.count,
            shape: match &histogram.native {
                Some(native) => Shape::Exponential(native.clone()),
                None => Shape::Explicit(histogram.buckets.clone()),
            },
        }
    }

    /// What came since `before`; all of it where that was another histogram.
    pub fn since(&self, before: &Spread) -> Spread {
        let shape = match (&self.shape, &before.shape) {
            (Shape::Explicit(now), Shape::Explicit(then)) if now.len() == then.len() => {
                let pairs = now.iter().zip(then);
                Shape::Explicit(
                    pairs
                        .map(|((bound, now), (_, then))| (*bound, now.saturating_sub(*then)))
                        .collect(),
                )
            }
            (Shape::Exponential(now), Shape::Exponential(then)) if then.scale >= now.scale => {
                Shape::Exponential(less(now, then))
            }
            _ => return self.clone(),
        };
        Spread {
            count: self.count.saturating_sub(before.count),
            shape,
        }
    }

    /// The value that `share` (0 to 1) of all values do not exceed; `None` of nothing.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        if self.count == 0 {
            return None;
        }
        let rank = share * self.count as f64;
        match &self.shape {
            Shape::Explicit(buckets) => {
                let at = buckets
                    .iter()
                    .position(|(_, below)| *below as f64 >= rank && *below > 0);
                let Some(at) = at else {
                    return buckets.last().map(|(bound, _)| *bound);
                };
                let (low, before) = at.checked_sub(1).map_or((0.0, 0), |at| buckets[at]);
                let (high, below) = buckets[at];
                let part = (rank - before as f64) / (below - before).max(1) as f64;
                Some(low + (high - low) * part.clamp(0.0, 1.0))
            }
            Shape::Exponential(native) => {
                let mut below = native.zero_count as f64;
                if rank <= below {
                    return Some(0.0);
                }
                let mut highest = None;
                for (at, count) in native.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
                    let part = ((rank - below) / *count as f64).clamp(0.0, 1.0);
                    let index = f64::from(native.offset) + at as f64 + part;
                    highest = Some((index * f64::from(-native.scale).exp2()).exp2());
                    below += *count as f64;
                    if below >= rank {
                        break;
                    }
                }
                highest.or(Some(0.0))
            }
        }
    }
}

/// `now` without `then`, whose scale is not smaller.
fn less(now: &Native, then: &Native) -> Native {
    let mut left = now.clone();
    left.zero_count = now.zero_count.saturating_sub(then.zero_count);
    let coarser = u32::try_from(then.scale - now.scale).unwrap_or(0).min(31);
    for (at, count) in then.counts.iter().enumerate() {
        let index = (i64::from(then.offset) + at as i64) >> coarser;
        let place = usize::try_from(index - i64::from(now.offset)).ok();
        if let Some(of) = place.and_then(|place| left.counts.get_mut(place)) {
            *of = of.saturating_sub(*count);
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exponential(values: &[f64], scale: i32) -> Spread {
        let index = |value: f64| (value.log2() * f64::from(scale).exp2()).ceil() as i64 - 1;
        let indices: Vec<i64> = values.iter().map(|value| index(*value)).collect();
        let offset = indices.iter().copied().min().unwrap_or(0);
        let mut counts = vec![0; indices.iter().max().map_or(0, |most| (most - offset + 1) as usize)];
        indices.iter().for_each(|index| counts[(index - offset) as usize] += 1);
        Spread {
            count: values.len() as u64,
            shape: Shape::Exponential(Native {
                scale,
                zero_count: 0,
                offset: offset as i32,
                counts,
            }),
        }
    }

    #[test]
    fn percentiles_of_explicit_buckets_lie_within_their_bucket() {
        let spread = Spread {
            count: 100,
            shape: Shape::Explicit(vec![(1.0, 50), (2.0, 90), (5.0, 90)]),
        };
        assert_eq!(spread.quantile(0.5), Some(1.0));
        assert_eq!(spread.quantile(0.7), Some(1.5));
        assert_eq!(spread.quantile(0.99), Some(5.0), "above the last bound");
        assert_eq!(spread.since(&spread).quantile(0.5), None);
    }

    #[test]
    fn zeroes_are_zero() {
        let mut spread = exponential(&[8.0], 0);
        if let Shape::Exponential(native) = &mut spread.shape {
            native.zero_count = 9;
        }
        spread.count = 10;
        assert_eq!(spread.quantile(0.5), Some(0.0));
        assert_eq!(spread.quantile(1.0), Some(8.0));
    }

    proptest! {
        #[test]
        fn a_percentile_is_within_a_bucket_of_the_true_one(
            mut values in proptest::collection::vec(0.001_f64..1e6, 1..200), share in 0.01_f64..1.0, scale in 0_i32..6,
        ) {
            let spread = exponential(&values, scale);
            values.sort_by(f64::total_cmp);
            let rank = ((share * values.len() as f64).ceil() as usize).clamp(1, values.len());
            let (truth, told) = (values[rank - 1], spread.quantile(share).expect("a value"));
            let width = f64::from(-scale).exp2().exp2() * 1.000_001;
            prop_assert!(told <= truth * width && told >= truth / width, "{} for {}", told, truth);
        }

        #[test]
        fn what_came_since_is_what_came_since_at_a_coarser_scale_too(
            before in proptest::collection::vec(0.001_f64..1e6, 1..50),
            after in proptest::collection::vec(0.001_f64..1e6, 1..50),
            coarser in 0_i32..4,
        ) {
            let all: Vec<f64> = before.iter().chain(&after).copied().collect();
            let since = exponential(&all, 5 - coarser).since(&exponential(&before, 5));
            let alone = exponential(&after, 5 - coarser);
            prop_assert_eq!(since.count, alone.count);
            for share in [0.1, 0.5, 0.9] {
                let (told, truth) = (since.quantile(share).expect("a value"), alone.quantile(share).expect("a value"));
                prop_assert!((told - truth).abs() <= truth * 1e-9, "{} for {}", told, truth);
            }
        }
    }
}
