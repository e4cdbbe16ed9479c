//! Durations, sizes, starts, bounds and moments: read and spelled.

use super::MAX_BOUND;
use crate::engine::plan::Start;
use crate::engine::time::{EventTime, Span};

/// A time in a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// So many microseconds after the start of the case; negative before it.
    Offset(i64),
    At(EventTime),
}

/// `500ms 5s 2m 24h 7d`.
pub fn duration(text: &str) -> Option<Span> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let millis: i64 = match &text[digits..] {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    let total = text[..digits].parse::<i64>().ok()?.checked_mul(millis)?;
    total.checked_mul(1_000).map(Span::micros)
}

/// The shortest spelling that [`duration`] reads back.
pub fn spell_duration(span: Span) -> String {
    let millis = span.as_micros() / 1_000;
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000)] {
        if millis >= size && millis % size == 0 {
            return format!("{}{unit}", millis / size);
        }
    }
    if millis == 0 {
        "0s".to_owned()
    } else {
        format!("{millis}ms")
    }
}

/// `512B 64KiB 1MiB`.
pub fn size(text: &str) -> Option<usize> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit: usize = match &text[digits..] {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return None,
    };
    text[..digits].parse::<usize>().ok()?.checked_mul(unit)
}

/// The shortest spelling that [`size`] reads back.
pub fn spell_size(bytes: usize) -> String {
    match bytes {
        _ if bytes > 0 && bytes.is_multiple_of(1 << 20) => format!("{}MiB", bytes >> 20),
        _ if bytes > 0 && bytes.is_multiple_of(1 << 10) => format!("{}KiB", bytes >> 10),
        _ => format!("{bytes}B"),
    }
}

pub fn start(text: &str) -> Option<Start> {
    match text {
        "earliest" => Some(Start::Earliest),
        "latest" => Some(Start::Latest),
        _ => duration(text).filter(|ago| *ago > Span::ZERO).map(Start::Ago),
    }
}

pub fn spell_start(start: Start) -> String {
    match start {
        Start::Earliest => "earliest".to_owned(),
        Start::Latest => "latest".to_owned(),
        Start::Ago(ago) => format!("{} ago", spell_duration(ago)),
    }
}

/// A number from 0 to 1.
pub fn share(text: &str) -> Option<f64> {
    let share = text.parse::<f64>().ok();
    share.filter(|share| (0.0..=1.0).contains(share))
}

/// A bucket's bound in millionths.
pub fn bound(text: &str) -> Option<i64> {
    let value = text
        .parse::<f64>()
        .ok()
        .filter(|value| (0.0..=MAX_BOUND).contains(value))?;
    let millionths = value * 1e6;
    // A bound that is written to a millionth is off by rounding of its own size at most.
    let whole = (millionths - millionths.round()).abs() <= millionths.abs().max(1.0) * 1e-9;
    whole.then_some(millionths.round() as i64)
}

/// `5s -1m 2026-01-01T00:00:00Z`.
pub fn moment(text: &str) -> Option<Moment> {
    let (back, length) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if let Some(span) = duration(length) {
        let micros = span.as_micros();
        return Some(Moment::Offset(if back { -micros } else { micros }));
    }
    let time: jiff::Timestamp = text.parse().ok()?;
    (time.as_second() > 0).then_some(Moment::At(EventTime(time.as_microsecond())))
}

/// A distance from the start of a case, as [`moment`] reads it where it is a whole number of milliseconds.
pub fn spell_offset(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let size = micros.saturating_abs();
    if size % 1_000 != 0 {
        return format!("{sign}{size}us");
    }
    format!("{sign}{}", spell_duration(Span::micros(size)))
}

/// The upper bound of a bucket, or any number.
pub fn bucket(text: &str) -> Option<f64> {
    match text {
        "inf" => Some(f64::INFINITY),
        _ => text.parse::<f64>().ok().filter(|number| number.is_finite()),
    }
}
