//! The identity of a series: the metric's definition and its label values.
//!
//! Rule: label values are encoded in the order of the metric's labels, each as a varint length and its UTF-8 bytes, so
//! that equal values are equal bytes and no value can run into its neighbour. A series belongs to the partition that
//! the hash of metric name and values names; the hash is XXH3 and part of the format of the internal topics.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The longest label value that is taken, in bytes. A longer one makes its record malformed.
pub const MAX_LABEL_BYTES: usize = 1024;

/// Encoded label values of one series (see the module's rule).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesKey(pub Vec<u8>);

/// What a metric means: a hash over everything that, when changed, makes it another metric (name, kind, sources,
/// conditions, labels, unit, window, buckets).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DefinitionHash(pub u64);

// === impl SeriesKey ===

impl SeriesKey {
    pub fn of<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut key = Vec::new();
        for value in values {
            push_value(&mut key, value.as_bytes());
        }
        Self(key)
    }

    /// The label values again, in order. Bytes that are no key (from a corrupt record) give `None`.
    pub fn values(&self) -> Option<Vec<&str>> {
        values(&self.0).collect()
    }
}

/// The label values of an encoded key, in order; `None`, and nothing after it, where the bytes are no key.
pub fn values(mut key: &[u8]) -> impl Iterator<Item = Option<&str>> {
    std::iter::from_fn(move || {
        if key.is_empty() {
            return None;
        }
        let first = first(key);
        key = first.map_or(&[], |(_, rest)| rest);
        Some(first.map(|(value, _)| value))
    })
}

/// The first label value, and what follows it.
fn first(key: &[u8]) -> Option<(&str, &[u8])> {
    let length = prost::decode_length_delimiter(key).ok()?;
    let rest = key.get(prost::length_delimiter_len(length)..)?;
    let (value, rest) = rest.split_at_checked(length)?;
    Some((std::str::from_utf8(value).ok()?, rest))
}

/// Appends one label value to an encoded key.
#[inline]
pub fn push_value(key: &mut Vec<u8>, value: &[u8]) {
    let mut length = value.len();
    while length >= 0x80 {
        key.push((length as u8) | 0x80);
        length >>= 7;
    }
    key.push(length as u8);
    key.extend_from_slice(value);
}

/// The partition of `partitions` that owns the series `key` of the metric called `metric`.
pub fn partition_of(metric: &str, key: &[u8], partitions: u32) -> u32 {
    let hash = xxh3_64_with_seed(key, xxh3_64(metric.as_bytes()));
    (hash % u64::from(partitions.max(1))) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_in_order_and_do_not_run_together() {
        let key = SeriesKey::of(["a", "", "bc"]);
        assert_eq!(key.values(), Some(vec!["a", "", "bc"]));
        assert_ne!(SeriesKey::of(["ab", "c"]), SeriesKey::of(["a", "bc"]));
        let long = "x".repeat(300);
        assert_eq!(SeriesKey::of([long.as_str()]).values(), Some(vec![long.as_str()]));
    }

    #[test]
    fn bytes_that_are_no_key_have_no_values() {
        assert_eq!(SeriesKey(vec![5, b'a']).values(), None);
        assert_eq!(SeriesKey(vec![1, 0xff]).values(), None);
        assert_eq!(SeriesKey(vec![0xff; 12]).values(), None);
    }

    #[test]
    fn a_series_stays_in_its_partition_for_ever() {
        // The numbers are part of the format of the internal topics: a change of hash would split series.
        let key = SeriesKey::of(["email"]);
        let partitions: Vec<u32> = (1..=8)
            .map(|n| partition_of("channel_messages_received_total", &key.0, n))
            .collect();
        assert_eq!(partitions[0], 0);
        assert!(partitions.iter().zip(1..).all(|(p, n)| *p < n));
    }
}
