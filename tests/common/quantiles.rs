//! Exact quantiles, and how far an exponential histogram may be from them.
//!
//! Rule: a quantile that is read from the middle of its bucket is off by half a bucket at most, and buckets are as wide as the
//! page on pipelines says, or narrower.

use super::points::Value;

/// What is wrong with a histogram of these values, microseconds in ascending order: its count, its sum to the microsecond,
/// and quantiles within half a bucket, with buckets as narrow as the page on pipelines says.
pub fn misread(exact: &[i64], value: &Value) -> Option<String> {
    let Value::Exponential { count, sum, scale, .. } = value else {
        return Some(format!("{value:?} is not exponential"));
    };
    let right_sum = exact.iter().map(|micros| i128::from(*micros)).sum::<i128>() as f64 / 1e6;
    if *count != exact.len() as u64 || (sum - right_sum).abs() > right_sum * 1e-12 + 1e-9 {
        let right = exact.len();
        return Some(format!(
            "expected {right} values and {right_sum} s, got {count} and {sum} s"
        ));
    }
    if *scale < least_scale(exact) {
        return Some(format!("its scale is {scale}, and {} is enough", least_scale(exact)));
    }
    let base = 2_f64.powf(2_f64.powi(-i32::try_from(*scale).expect("small")));
    let most = (base - 1.0) / (base + 1.0);
    for percent in [1, 5, 25, 50, 75, 90, 95, 99, 100] {
        let (right, got) = (quantile(exact, percent), value.quantile(percent));
        if (got - right).abs() > right * (most + 1e-9) {
            return Some(format!("{percent} % took up to {right} s, and it says {got} s"));
        }
    }
    None
}

/// The exact quantile in seconds, of microseconds in ascending order.
pub fn quantile(exact: &[i64], percent: usize) -> f64 {
    exact[(exact.len() * percent).div_ceil(100).max(1) - 1] as f64 / 1e6
}

/// The finest scale at which 160 buckets are enough wherever their bounds lie.
pub fn least_scale(exact: &[i64]) -> i64 {
    let least = exact.iter().copied().find(|micros| *micros > 0).unwrap_or(1);
    let most = exact.last().copied().unwrap_or(1).max(least);
    let octaves = (most as f64 / least as f64).log2();
    let scales = (-4..=8).rev();
    let enough = |scale: &i64| octaves * 2_f64.powi(*scale as i32) <= 158.0;
    scales.into_iter().find(enough).expect("any values fit at the lowest")
}
