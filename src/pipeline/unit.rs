//! Units, and why a metric's name in Prometheus is the name in the file.
//!
//! Rule: a receiver that turns OTLP into Prometheus appends the unit's word and, for a counter, `_total` to a name that
//! does not have them. A pipeline's metric must end under its own name, so a name that would be changed is a fault that
//! says what it would become.
//!
//! Edges:
//! - a unit in braces, `{record}`, is a remark and adds nothing to a name;
//! - a metric without `unit` gets the one that its name ends in (`_seconds` is `s`), else a counter of records gets
//!   `{record}` and anything else none;
//! - the words are those of the OpenTelemetry translator for Prometheus.

/// UCUM units and the words that Prometheus has for them.
pub const KNOWN: &[(&str, &str)] = &[
    ("ns", "nanoseconds"),
    ("us", "microseconds"),
    ("ms", "milliseconds"),
    ("s", "seconds"),
    ("min", "minutes"),
    ("h", "hours"),
    ("d", "days"),
    ("By", "bytes"),
    ("KiBy", "kibibytes"),
    ("MiBy", "mebibytes"),
    ("GiBy", "gibibytes"),
    ("m", "meters"),
    ("g", "grams"),
    ("J", "joules"),
    ("W", "watts"),
    ("V", "volts"),
    ("A", "amperes"),
    ("Hz", "hertz"),
    ("Cel", "celsius"),
    ("%", "percent"),
];

/// What the translation does to a name depends on this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Counter,
    Histogram,
    Gauge,
}

/// Whether `text` is a unit that a metric can have.
pub fn is_unit(text: &str) -> bool {
    word_of(text).is_some() || is_remark(text)
}

/// `{record}` and the like.
pub fn is_remark(text: &str) -> bool {
    text.strip_prefix('{')
        .and_then(|rest| rest.strip_suffix('}'))
        .is_some_and(|inside| {
            !inside.is_empty() && inside.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        })
}

fn word_of(unit: &str) -> Option<&'static str> {
    KNOWN.iter().find(|(known, _)| *known == unit).map(|(_, word)| *word)
}

/// The unit that a name ends in, before `_total`.
pub fn unit_in_name(name: &str) -> Option<&'static str> {
    let base = name.strip_suffix("_total").unwrap_or(name);
    let last = base.rsplit('_').next().filter(|last| last.len() < base.len())?;
    KNOWN.iter().find(|(_, word)| *word == last).map(|(unit, _)| *unit)
}

/// The name under which a metric ends in Prometheus.
pub fn translated(name: &str, family: Family, unit: &str) -> String {
    let mut words: Vec<&str> = name.split('_').collect();
    if family == Family::Counter {
        words.retain(|word| *word != "total");
    }
    if let Some(word) = word_of(unit)
        && words.last() != Some(&word)
    {
        words.retain(|other| *other != word);
        words.push(word);
    }
    if family == Family::Counter {
        words.push("total");
    }
    words.join("_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_the_monitoring_guide_stay_as_they_are() {
        for (name, family, unit) in [
            ("kafka_producer_messages_total", Family::Counter, "{record}"),
            ("kafka_producer_bytes_total", Family::Counter, "By"),
            ("kafka_producer_latency_seconds", Family::Histogram, "s"),
            ("response_time_seconds", Family::Histogram, "s"),
            ("queue_depth", Family::Histogram, ""),
        ] {
            assert_eq!(translated(name, family, unit), name);
        }
    }

    #[test]
    fn a_name_without_its_unit_or_total_would_be_changed() {
        assert_eq!(translated("received", Family::Counter, "{record}"), "received_total");
        assert_eq!(translated("sent_total", Family::Counter, "By"), "sent_bytes_total");
        assert_eq!(translated("total_sent_total", Family::Counter, ""), "sent_total");
        assert_eq!(translated("seconds_waited", Family::Histogram, "s"), "waited_seconds");
    }

    #[test]
    fn a_name_tells_its_unit() {
        assert_eq!(unit_in_name("a_seconds"), Some("s"));
        assert_eq!(unit_in_name("a_bytes_total"), Some("By"));
        assert_eq!(unit_in_name("bytes_total"), None);
        assert_eq!(unit_in_name("a_total"), None);
    }
}
