//! JSON as Python's `json.dumps` writes it: `", "` and `": "`, ASCII only.
//!
//! Rule: text is put together from pieces that are escaped already, into one buffer; nothing is parsed, built or looked up
//! for a record, because the simulator must not cost more than what it feeds.

use crate::engine::time::EventTime;

const HEX: &[u8; 16] = b"0123456789abcdef";
/// `00` to `99`.
const PAIRS: [[u8; 2]; 100] = pairs();

const fn pairs() -> [[u8; 2]; 100] {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
}

/// A document that is being written.
#[derive(Debug)]
pub struct Json {
    pub bytes: Vec<u8>,
    /// The day whose date is in `date`, in days since the epoch.
    day: i64,
    /// `2026-11-22T`.
    date: [u8; 11],
}

// === impl Json ===

impl Json {
    pub fn new() -> Self {
        Self {
            bytes: Vec::new(),
            day: i64::MIN,
            date: *b"1970-01-01T",
        }
    }

    /// Starts a new document.
    pub fn start(&mut self) {
        self.bytes = Vec::with_capacity(640);
    }

    /// As it is.
    #[inline]
    pub fn put(&mut self, text: &str) -> &mut Self {
        self.bytes.extend_from_slice(text.as_bytes());
        self
    }

    /// `"key": "value"`
    #[inline]
    pub fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.key(key).put("\"").put(value).put("\"")
    }

    /// `"key": `
    #[inline]
    pub fn key(&mut self, key: &str) -> &mut Self {
        self.put("\"").put(key).put("\": ")
    }

    #[inline]
    pub fn comma(&mut self) -> &mut Self {
        self.put(", ")
    }

    pub fn number(&mut self, number: u64) -> &mut Self {
        let mut digits = [0; 20];
        let mut at = digits.len();
        let mut rest = number;
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.bytes.extend_from_slice(&digits[at..]);
        self
    }

    /// Six digits: the fraction of a second.
    pub fn micros(&mut self, micros: u64) -> &mut Self {
        for shift in [10_000, 100, 1] {
            self.bytes.extend_from_slice(&PAIRS[(micros / shift % 100) as usize]);
        }
        self
    }

    /// A UUID of version 4 by its looks, made of these bits; without quotes.
    pub fn uuid(&mut self, high: u64, low: u64) -> &mut Self {
        let bits = (u128::from(high) << 64) | u128::from(low);
        let mut text = *b"00000000-0000-4000-8000-000000000000";
        let mut shift = 128;
        for (at, digit) in text.iter_mut().enumerate() {
            if *digit == b'-' {
                continue;
            }
            shift -= 4;
            let nibble = ((bits >> shift) & 0xf) as usize;
            match at {
                14 => {}
                19 => *digit = HEX[8 + nibble % 4],
                _ => *digit = HEX[nibble],
            }
        }
        self.bytes.extend_from_slice(&text);
        self
    }

    /// `2026-11-22T14:00:00.123456`, as `datetime.utcnow().isoformat()` gives it: no zone, and no fraction where the
    /// microseconds are zero. Without quotes.
    pub fn time(&mut self, time: EventTime) -> &mut Self {
        const DAY: i64 = 86_400_000_000;
        let day = time.0.div_euclid(DAY);
        if day != self.day {
            self.day = day;
            self.date = date(day);
        }
        let of_day = time.0.rem_euclid(DAY);
        let (seconds, micros) = ((of_day / 1_000_000) as usize, (of_day % 1_000_000) as usize);
        let mut text = *b"00:00:00.000000";
        text[0..2].copy_from_slice(&PAIRS[seconds / 3_600]);
        text[3..5].copy_from_slice(&PAIRS[seconds / 60 % 60]);
        text[6..8].copy_from_slice(&PAIRS[seconds % 60]);
        text[9..11].copy_from_slice(&PAIRS[micros / 10_000]);
        text[11..13].copy_from_slice(&PAIRS[micros / 100 % 100]);
        text[13..15].copy_from_slice(&PAIRS[micros % 100]);
        self.bytes.extend_from_slice(&self.date);
        self.bytes
            .extend_from_slice(if micros == 0 { &text[..8] } else { &text });
        self
    }
}

/// `2026-11-22T` of a day since the epoch; the civil calendar by Howard Hinnant's `civil_from_days`.
fn date(day: i64) -> [u8; 11] {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day_of_month = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = (year_of_era + era * 400 + i64::from(month <= 2)).clamp(0, 9_999) as usize;
    let mut text = *b"0000-00-00T";
    text[0..2].copy_from_slice(&PAIRS[year / 100]);
    text[2..4].copy_from_slice(&PAIRS[year % 100]);
    text[5..7].copy_from_slice(&PAIRS[month as usize]);
    text[8..10].copy_from_slice(&PAIRS[day_of_month as usize]);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Json)) -> String {
        let mut json = Json::new();
        write(&mut json);
        String::from_utf8(json.bytes).expect("ASCII")
    }

    #[test]
    fn times_are_spelled_as_python_spells_them() {
        let time = |micros| written(|json| _ = json.time(EventTime(micros)));
        assert_eq!(time(1_795_356_000_123_456), "2026-11-22T14:00:00.123456");
        assert_eq!(time(1_795_356_000_000_000), "2026-11-22T14:00:00");
        assert_eq!(time(951_782_400_000_001), "2000-02-29T00:00:00.000001");
    }

    #[test]
    fn times_come_back_from_another_reader() {
        let mut random = super::super::random::Random::new(7);
        let mut json = Json::new();
        for _ in 0..10_000 {
            let micros = random.between(0, 4_000_000_000_000_000);
            json.start();
            json.time(EventTime(micros)).put("Z");
            let text = std::str::from_utf8(&json.bytes).expect("ASCII");
            let time: jiff::Timestamp = text.parse().expect("another reader reads it");
            assert_eq!(time.as_microsecond(), micros, "{text}");
        }
    }

    #[test]
    fn numbers_and_uuids_have_their_usual_form() {
        assert_eq!(
            written(|json| _ = json.number(0).comma().number(u64::MAX)),
            "0, 18446744073709551615"
        );
        assert_eq!(
            written(|json| _ = json.uuid(0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210)),
            "01234567-89ab-4def-bedc-ba9876543210"
        );
    }
}
