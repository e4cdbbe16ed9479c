//! Where a group's records are.
//!
//! Rule: the partition is the absolute value of Java's `String.hashCode` of the group's name, modulo the topic's partitions;
//! of the smallest integer, which has no absolute value, it is zero.

/// The partition of `__consumer_offsets` that holds the group. `partitions` is how many the topic has.
pub fn partition_of(group: &str, partitions: std::num::NonZeroU32) -> u32 {
    let hash = group
        .encode_utf16()
        .fold(0_i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    hash.checked_abs().map_or(0, i32::unsigned_abs) % partitions
}

#[cfg(test)]
mod tests {
    use super::partition_of;

    #[test]
    fn groups_are_where_the_broker_puts_them() {
        let partitions = std::num::NonZeroU32::new(50).expect("not zero");
        for (group, partition) in [("foo", 24), ("group-id", 13), ("polygenelubricants", 0), ("", 0)] {
            assert_eq!(partition_of(group, partitions), partition, "{group}");
        }
        // Two units in UTF-16: 0xd83d * 31 + 0xde00 = 1,772,899.
        assert_eq!(partition_of("\u{1f600}", partitions), 1_772_899 % 50);
    }
}
