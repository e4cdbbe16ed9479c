//! Event times against jiff.
//!
//! Rule: whatever the text, there is a time of at most four-digit years or a refusal; a time that is written out again in
//! ISO 8601 is read as the same time. Text with a zone that jiff reads too is the same time to it.
//!
//! Edges: jiff takes much that is refused here (weeks, short forms), and moves a leap second to the second before it.

use streamgauge::engine::plan::TimeFormat;
use streamgauge::engine::tap::instant::read;
use streamgauge::engine::tap::projection::{Text, Value};
use streamgauge::engine::time::EventTime;

/// A day before the year 0 and a day after the year 9999, for zones.
const RANGE: std::ops::Range<i64> = -62_167_305_600_000_000..253_402_387_200_000_000;
/// The years 0 to 9999.
const FOUR_DIGITS: std::ops::Range<i64> = -62_167_219_200_000_000..253_402_300_800_000_000;

pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    for format in [
        TimeFormat::Auto,
        TimeFormat::Seconds,
        TimeFormat::Millis,
        TimeFormat::Micros,
        TimeFormat::Nanos,
    ] {
        for value in [Value::Text(Text::plain(text)), Value::Number(text)] {
            if let Ok(EventTime(micros)) = read(value, format) {
                assert!(RANGE.contains(&micros), "{text} is {micros}");
            }
        }
    }
    let Ok(EventTime(micros)) = read(Value::Text(Text::plain(text)), TimeFormat::Auto) else {
        return;
    };
    if let Ok(stamp) = jiff::Timestamp::from_microsecond(micros)
        && FOUR_DIGITS.contains(&micros)
    {
        let spelled = stamp.to_string();
        let again = read(Value::Text(Text::plain(&spelled)), TimeFormat::Auto);
        assert_eq!(again, Ok(EventTime(micros)), "{text} written as {spelled}");
    }
    if let Ok(stamp) = text.parse::<jiff::Timestamp>()
        && !text.contains(":60")
    {
        let theirs = stamp.as_nanosecond().div_euclid(1_000);
        assert_eq!(i128::from(micros), theirs, "{text}");
    }
}
