//! Decimal numbers of JSON as integers, without floating point on the way.
//!
//! Rule: `scaled` gives `number * 10^places` exactly, cut or rounded at the last place.
//!
//! Edges:
//! - rounding is half away from zero, so that a sum does not depend on the order of its parts;
//! - a result beyond the limit is `None`, however the number is spelled (`1e400`, four hundred zeros);
//! - numbers that are too small to see are zero (`1e-400`).

/// What to do with the places behind the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Toward zero, as clocks do.
    Cut,
    /// Half away from zero.
    Round,
}

/// Digits that are kept: more than any limit needs, and they fit `i128`.
const KEPT: u32 = 36;

/// The integer `number * 10^places`. `number` is spelled as JSON spells numbers, else the answer is `None`, as it is where
/// the result is further from zero than `limit`.
pub fn scaled(number: &str, places: u32, rest: Rest, limit: i128) -> Option<i128> {
    let bytes = number.as_bytes();
    let (negative, mut at) = if bytes.first() == Some(&b'-') {
        (true, 1)
    } else {
        (false, 0)
    };
    let mut digits: i128 = 0;
    let mut kept = 0;
    let mut exponent = i64::from(places);
    let mut behind_point = false;
    let first = at;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'0'..=b'9' => {
                if kept < KEPT {
                    digits = digits * 10 + i128::from(byte - b'0');
                    kept += u32::from(digits != 0);
                    exponent -= i64::from(behind_point);
                } else {
                    exponent += i64::from(!behind_point);
                }
            }
            b'.' if !behind_point => behind_point = true,
            b'e' | b'E' => break,
            _ => return None,
        }
        at += 1;
    }
    if at == first {
        return None;
    }
    if at < bytes.len() {
        let spelled = &number[at + 1..];
        let magnitude = spelled.trim_start_matches(['+', '-']);
        if magnitude.is_empty() || !magnitude.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        // An exponent that does not fit is as good as a very large one.
        let magnitude = magnitude.parse::<i64>().unwrap_or(i64::MAX).min(1 << 40);
        exponent += if spelled.starts_with('-') {
            -magnitude
        } else {
            magnitude
        };
    }
    let magnitude = if digits == 0 {
        0
    } else if exponent >= 0 {
        digits.checked_mul(10_i128.checked_pow(u32::try_from(exponent).ok()?)?)?
    } else {
        match u32::try_from(-exponent)
            .ok()
            .and_then(|exponent| 10_i128.checked_pow(exponent))
        {
            Some(unit) => {
                let half_or_more = rest == Rest::Round && digits % unit >= unit / 2;
                digits / unit + i128::from(half_or_more)
            }
            None => 0,
        }
    };
    (magnitude <= limit).then_some(if negative { -magnitude } else { magnitude })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn millionths(number: &str) -> Option<i128> {
        scaled(number, 6, Rest::Round, 1_000_000_000_000_000_000)
    }

    #[test]
    fn decimals_are_exact() {
        assert_eq!(millionths("0.1"), Some(100_000));
        assert_eq!(millionths("-12.3456789"), Some(-12_345_679));
        assert_eq!(millionths("0.0000005"), Some(1));
        assert_eq!(millionths("-0.0000005"), Some(-1));
        assert_eq!(
            millionths("0.00000049999999999999999999999999999999999999999999"),
            Some(0)
        );
        assert_eq!(millionths("1.5e3"), Some(1_500_000_000));
        assert_eq!(millionths("150E-2"), Some(1_500_000));
        assert_eq!(millionths("-0"), Some(0));
        assert_eq!(millionths("0e999999999999999999999"), Some(0));
        assert_eq!(
            scaled("1700000000.1234569", 6, Rest::Cut, i128::MAX),
            Some(1_700_000_000_123_456)
        );
    }

    #[test]
    fn what_is_beyond_the_limit_is_refused_however_it_is_spelled() {
        assert_eq!(millionths("1000000000000"), Some(1_000_000_000_000_000_000));
        assert_eq!(millionths("1000000000000.000001"), None);
        assert_eq!(millionths("-1e13"), None);
        assert_eq!(millionths("1e400"), None);
        assert_eq!(millionths("1e99999999999999999999"), None);
        assert_eq!(millionths(&"9".repeat(400)), None);
        assert_eq!(millionths("1e-400"), Some(0));
        assert_eq!(millionths(&format!("{}e-400", "9".repeat(400))), Some(1_000_000));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "-", "x", "1x", "1e", "1e+", "1.2.3", "0x10"] {
            assert_eq!(millionths(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn spelling_does_not_matter(value in -1_000_000_000_000_i64..1_000_000_000_000, shift in 0_u32..20) {
            let whole = format!("{value}e-6");
            let shifted = format!("{value}{}e-{}", "0".repeat(shift as usize), shift + 6);
            let sign = if value < 0 { "-" } else { "" };
            let point = format!("{sign}{}.{:06}", value.abs() / 1_000_000, value.abs() % 1_000_000);
            for spelled in [whole, shifted, point] {
                prop_assert_eq!(millionths(&spelled), Some(i128::from(value)), "{}", spelled);
            }
        }
    }
}
