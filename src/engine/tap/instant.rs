//! Event time out of a field.
//!
//! Rule: text is ISO 8601 with date and time, no zone means UTC; a number is time since the Unix epoch. Both end as
//! microseconds, and what is finer is cut off.
//!
//! Edges:
//! - between date and time stands `T`, `t` or a space; a fraction has one to nine digits behind a point or a comma;
//! - a zone is `Z`, `z`, `+02`, `+0200` or `+02:00`;
//! - the leap second `:60` is the last microsecond of the second before it, so that order is kept;
//! - a number whose unit is not said is taken for seconds below 10^11, milliseconds below 10^14, microseconds below 10^17
//!   and nanoseconds above, which is right for every time between 1973 and 5138;
//! - where the unit is said, the number may also be text; negative numbers are refused, and so is what lies beyond the
//!   year 9999.

use super::decimal::{Rest, scaled};
use super::projection::Value;
use crate::engine::plan::TimeFormat;
use crate::engine::time::EventTime;

/// A value that is no time. The message holds nothing of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstantError {
    #[error("is missing")]
    Missing,
    #[error("is {0}, which is no time")]
    Kind(&'static str),
    #[error("is text, but no ISO 8601 time: {0}")]
    Text(&'static str),
    #[error("is a number, but no time between 1970 and 9999")]
    Number,
}

/// The first microsecond of the year 10000.
const END: i128 = 253_402_300_800_000_000;

/// Longer text is no time.
const LONGEST: usize = 40;

/// The event time that a field holds.
#[inline]
pub fn read(value: Value<'_>, format: TimeFormat) -> Result<EventTime, InstantError> {
    match (value, format) {
        (Value::Text(text), TimeFormat::Auto) => match text.as_plain() {
            Some(plain) => iso(plain.as_bytes()),
            None => {
                if !text.len_at_most(LONGEST) {
                    return Err(InstantError::Text("too long"));
                }
                let mut decoded = Vec::with_capacity(LONGEST);
                text.write_to(&mut decoded);
                iso(&decoded)
            }
        },
        (Value::Text(text), format) => epoch(text.as_plain().ok_or(InstantError::Number)?, format),
        (Value::Number(number), format) => epoch(number, format),
        (Value::Missing, _) => Err(InstantError::Missing),
        (other, _) => Err(InstantError::Kind(other.name())),
    }
}

/// A number of units since the epoch.
fn epoch(number: &str, format: TimeFormat) -> Result<EventTime, InstantError> {
    let places = match format {
        TimeFormat::Seconds => 6,
        TimeFormat::Millis => 3,
        TimeFormat::Micros => 0,
        // Nanoseconds are cut below.
        TimeFormat::Nanos => return epoch_nanos(number),
        TimeFormat::Auto => {
            let whole = scaled(number, 0, Rest::Cut, i128::from(i64::MAX)).ok_or(InstantError::Number)?;
            let format = if whole < 100_000_000_000 {
                TimeFormat::Seconds
            } else if whole < 100_000_000_000_000 {
                TimeFormat::Millis
            } else if whole < 100_000_000_000_000_000 {
                TimeFormat::Micros
            } else {
                TimeFormat::Nanos
            };
            return epoch(number, format);
        }
    };
    micros(scaled(number, places, Rest::Cut, END - 1), number)
}

fn epoch_nanos(number: &str) -> Result<EventTime, InstantError> {
    micros(
        scaled(number, 0, Rest::Cut, END * 1000 - 1).map(|nanos| nanos / 1000),
        number,
    )
}

fn micros(micros: Option<i128>, number: &str) -> Result<EventTime, InstantError> {
    match micros.and_then(|micros| i64::try_from(micros).ok()) {
        Some(micros) if !number.starts_with('-') => Ok(EventTime(micros)),
        _ => Err(InstantError::Number),
    }
}

/// `2026-11-22T14:00:00.123456+02:00` and its relatives.
fn iso(text: &[u8]) -> Result<EventTime, InstantError> {
    let wrong = |what| Err(InstantError::Text(what));
    let Some((head, tail)) = text.split_first_chunk::<19>() else {
        return wrong("too short");
    };
    let [
        y1,
        y2,
        y3,
        y4,
        b'-',
        m1,
        m2,
        b'-',
        d1,
        d2,
        between,
        h1,
        h2,
        b':',
        i1,
        i2,
        b':',
        s1,
        s2,
    ] = *head
    else {
        return wrong("not `2026-11-22T14:00:00`");
    };
    let digits = [y1, y2, y3, y4, m1, m2, d1, d2, h1, h2, i1, i2, s1, s2];
    if digits
        .iter()
        .fold(false, |bad, digit| bad | (digit.wrapping_sub(b'0') > 9))
    {
        return wrong("not `2026-11-22T14:00:00`");
    }
    if !matches!(between, b'T' | b't' | b' ') {
        return wrong("neither `T` nor a space between date and time");
    }
    let two = |high: u8, low: u8| i64::from(high - b'0') * 10 + i64::from(low - b'0');
    let (year, month, day) = (two(y1, y2) * 100 + two(y3, y4), two(m1, m2), two(d1, d2));
    let (hour, minute, second) = (two(h1, h2), two(i1, i2), two(s1, s2));
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return wrong("no such day");
    }
    if hour > 23 || minute > 59 || second > 60 {
        return wrong("no such time of day");
    }
    let (mut micros, zone) = fraction(tail)?;
    let offset = zone_seconds(zone)?;
    let mut seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    if second == 60 {
        seconds -= 1;
        micros = 999_999;
    }
    Ok(EventTime((seconds - offset) * 1_000_000 + micros))
}

/// Microseconds of the fraction, if there is one, and what follows.
#[inline]
fn fraction(tail: &[u8]) -> Result<(i64, &[u8]), InstantError> {
    let Some((b'.' | b',', digits)) = tail.split_first() else {
        return Ok((0, tail));
    };
    let mut micros = 0;
    let mut count = 0;
    while let Some(digit) = digits
        .get(count)
        .map(|byte| byte.wrapping_sub(b'0'))
        .filter(|digit| *digit <= 9)
    {
        if count < 6 {
            micros = micros * 10 + i64::from(digit);
        }
        count += 1;
    }
    if !(1..=9).contains(&count) {
        return Err(InstantError::Text("a fraction of one to nine digits"));
    }
    for _ in count..6 {
        micros *= 10;
    }
    Ok((micros, &digits[count..]))
}

/// How far the zone is ahead of UTC.
#[inline]
fn zone_seconds(zone: &[u8]) -> Result<i64, InstantError> {
    let (sign, hours, minutes) = match *zone {
        [] | [b'Z' | b'z'] => return Ok(0),
        [sign, h1, h2] => (sign, [h1, h2], [b'0', b'0']),
        [sign, h1, h2, m1, m2] | [sign, h1, h2, b':', m1, m2] => (sign, [h1, h2], [m1, m2]),
        _ => return Err(InstantError::Text("a zone that is neither `Z` nor like `+02:00`")),
    };
    let two = |digits: [u8; 2]| {
        let [high, low] = digits.map(|digit| i64::from(digit.wrapping_sub(b'0')));
        (high <= 9 && low <= 9).then_some(high * 10 + low)
    };
    match (sign, two(hours), two(minutes)) {
        (b'+', Some(hours @ ..=23), Some(minutes @ ..=59)) => Ok(hours * 3_600 + minutes * 60),
        (b'-', Some(hours @ ..=23), Some(minutes @ ..=59)) => Ok(-(hours * 3_600 + minutes * 60)),
        _ => Err(InstantError::Text("a zone that is neither `Z` nor like `+02:00`")),
    }
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar. Years are counted from March, so that the leap day comes last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (year, from_march) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // (153 * m + 2) / 5 is the number of days of the first m months from March.
    year * 365 + leap_days + (153 * from_march + 2) / 5 + day - 719_469
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tap::projection::Text;
    use proptest::prelude::*;

    fn text(text: &str) -> Result<i64, InstantError> {
        read(Value::Text(Text::plain(text)), TimeFormat::Auto).map(|time| time.0)
    }

    fn number(number: &str, format: TimeFormat) -> Result<i64, InstantError> {
        read(Value::Number(number), format).map(|time| time.0)
    }

    #[test]
    fn every_way_of_writing_a_time_gives_the_same_instant() {
        let instant = Ok(1_795_356_000_123_456);
        for spelled in [
            "2026-11-22T14:00:00.123456",
            "2026-11-22T14:00:00.123456Z",
            "2026-11-22t14:00:00.123456z",
            "2026-11-22 14:00:00,123456",
            "2026-11-22T14:00:00.123456789",
            "2026-11-22T16:00:00.123456+02:00",
            "2026-11-22T16:00:00.123456+0200",
            "2026-11-22T09:00:00.123456-05",
            "2026-11-22T14:00:00.123456-00:00",
            "2026-11-23T00:30:00.123456+10:30",
        ] {
            assert_eq!(text(spelled), instant, "{spelled}");
        }
        assert_eq!(text("2026-11-22T14:00:00"), Ok(1_795_356_000_000_000));
        assert_eq!(text("2026-11-22T14:00:00.5"), Ok(1_795_356_000_500_000));
        assert_eq!(text("1969-12-31T23:59:59.999999"), Ok(-1));
        assert_eq!(text("1970-01-01T00:00:00"), Ok(0));
    }

    #[test]
    fn a_leap_second_is_the_last_microsecond_before_it() {
        assert_eq!(text("2016-12-31T23:59:60.5Z"), Ok(1_483_228_799_999_999));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for wrong in [
            "",
            "2026-11-22",
            "2026-11-22T14:00",
            "2026-02-29T00:00:00",
            "1900-02-29T00:00:00",
            "2026-00-10T00:00:00",
            "2026-13-10T00:00:00",
            "2026-04-31T00:00:00",
            "2026-01-00T00:00:00",
            "2026-01-01T24:00:00",
            "2026-01-01T00:60:00",
            "2026-01-01T00:00:61",
            "2026-01-01T00:00:00.",
            "2026-01-01T00:00:00.1234567890",
            "2026-01-01T00:00:00+2",
            "2026-01-01T00:00:00+24:00",
            "2026-01-01T00:00:00+02:60",
            "2026-01-01T00:00:00 Z",
            "2026-01-01T00:00:00[UTC]",
            "2026-01-01X00:00:00",
            "2026-1-01T00:00:000",
            "+026-01-01T00:00:00",
            "1795356000",
        ] {
            assert!(text(wrong).is_err(), "{wrong}");
        }
        assert_eq!(read(Value::Missing, TimeFormat::Auto), Err(InstantError::Missing));
        assert_eq!(read(Value::Null, TimeFormat::Auto), Err(InstantError::Kind("null")));
    }

    #[test]
    fn leap_days_are_days() {
        assert_eq!(text("2000-02-29T00:00:00"), Ok(951_782_400_000_000));
        assert_eq!(text("2024-02-29T00:00:00"), Ok(1_709_164_800_000_000));
    }

    #[test]
    fn the_size_of_a_number_tells_its_unit() {
        let instant = Ok(1_700_000_000_123_456);
        assert_eq!(number("1700000000.1234567", TimeFormat::Auto), instant);
        assert_eq!(number("1700000000123.456", TimeFormat::Auto), instant);
        assert_eq!(number("1700000000123456", TimeFormat::Auto), instant);
        assert_eq!(number("1700000000123456789", TimeFormat::Auto), instant);
        assert_eq!(number("1.700000000123456789e+18", TimeFormat::Auto), instant);
        assert_eq!(number("0", TimeFormat::Auto), Ok(0));
    }

    #[test]
    fn a_unit_that_is_said_is_taken_at_its_word() {
        assert_eq!(number("1.5", TimeFormat::Seconds), Ok(1_500_000));
        assert_eq!(number("1.5", TimeFormat::Millis), Ok(1_500));
        assert_eq!(number("1.5", TimeFormat::Micros), Ok(1));
        assert_eq!(number("1500", TimeFormat::Nanos), Ok(1));
        let as_text = read(Value::Text(Text::plain("1700000000")), TimeFormat::Seconds);
        assert_eq!(as_text, Ok(EventTime(1_700_000_000_000_000)));
        assert!(read(Value::Text(Text::plain("soon")), TimeFormat::Seconds).is_err());
    }

    #[test]
    fn negative_and_huge_numbers_are_no_times() {
        for format in [
            TimeFormat::Auto,
            TimeFormat::Seconds,
            TimeFormat::Millis,
            TimeFormat::Micros,
            TimeFormat::Nanos,
        ] {
            for wrong in ["-1", "1e300", "99999999999999999999999", "-99999999999"] {
                assert_eq!(number(wrong, format), Err(InstantError::Number), "{wrong} {format:?}");
            }
        }
        assert_eq!(number("253402300800", TimeFormat::Seconds), Err(InstantError::Number));
        assert_eq!(number("253402300799", TimeFormat::Seconds), Ok(253_402_300_799_000_000));
    }

    proptest! {
        #[test]
        fn times_are_read_as_jiff_reads_them(
            micros in -62_000_000_000_000_000_i64..253_000_000_000_000_000,
            offset_minutes in -1_439_i32..=1_439,
            digits in 0_usize..=6,
        ) {
            let unit = 10_i64.pow(6 - digits as u32);
            let micros = micros.div_euclid(unit) * unit;
            let offset = jiff::tz::Offset::from_seconds(offset_minutes * 60).expect("less than a day");
            let stamp = jiff::Timestamp::from_microsecond(micros).expect("in range");
            let local = offset.to_datetime(stamp);
            let point = if digits == 0 {
                String::new()
            } else {
                format!(".{:0digits$}", micros.rem_euclid(1_000_000) / unit)
            };
            let sign = if offset_minutes < 0 { '-' } else { '+' };
            let (hours, minutes) = (offset_minutes.abs() / 60, offset_minutes.abs() % 60);
            let spelled = format!(
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{point}{sign}{hours:02}:{minutes:02}",
                local.year(), local.month(), local.day(), local.hour(), local.minute(), local.second(),
            );
            let theirs: jiff::Timestamp = spelled.parse().expect("jiff reads it");
            prop_assert_eq!(theirs.as_microsecond(), micros);
            prop_assert_eq!(text(&spelled), Ok(micros), "{}", spelled);
        }

        #[test]
        fn what_is_read_without_a_zone_is_what_jiff_reads_as_utc(spelled in "[0-2][0-9]{3}-[0-1][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-6][0-9]:[0-6][0-9]") {
            let theirs = spelled.parse::<jiff::civil::DateTime>().ok()
                .and_then(|time| time.to_zoned(jiff::tz::TimeZone::UTC).ok())
                .map(|time| time.timestamp().as_microsecond());
            let mine = text(&spelled).ok();
            if spelled.ends_with(":60") {
                prop_assert_eq!(mine.is_some(), theirs.is_some());
            } else {
                prop_assert_eq!(mine, theirs, "{}", spelled);
            }
        }
    }
}
