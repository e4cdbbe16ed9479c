//! Who gets which partition.
//!
//! Rule: every partition of a subscribed topic has one owner; the loads of any two members that could swap differ by at
//! most one; and as few partitions move as that allows. The same input gives the same answer.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::task::PartitionCounts;
use crate::runtime::log::TopicPartition;

use super::group::MemberId;

/// Owners by partition.
pub(super) type Assignment = BTreeMap<TopicPartition, MemberId>;

/// A sticky, balanced assignment of `counts` to members with these subscriptions; `before` is the last one.
pub(super) fn assign(
    members: &BTreeMap<MemberId, BTreeSet<String>>,
    counts: &PartitionCounts,
    before: &Assignment,
) -> Assignment {
    let mut loads: BTreeMap<MemberId, usize> = members.keys().map(|member| (*member, 0)).collect();
    let wants = |member: &MemberId, topic: &str| members.get(member).is_some_and(|topics| topics.contains(topic));
    let all = counts.iter().flat_map(|(topic, count)| {
        (0..*count).map(move |partition| TopicPartition {
            topic: topic.clone(),
            partition,
        })
    });

    let mut owners = Assignment::new();
    let mut free = Vec::new();
    for partition in all {
        match before.get(&partition).filter(|member| wants(member, &partition.topic)) {
            Some(member) => {
                *loads.entry(*member).or_default() += 1;
                owners.insert(partition, *member);
            }
            None => free.push(partition),
        }
    }

    let lightest = |loads: &BTreeMap<MemberId, usize>, topic: &str| {
        let takers = loads.iter().filter(|(member, _)| wants(member, topic));
        takers
            .min_by_key(|(member, load)| (**load, **member))
            .map(|(member, load)| (*member, *load))
    };
    for partition in free {
        if let Some((member, load)) = lightest(&loads, &partition.topic) {
            loads.insert(member, load + 1);
            owners.insert(partition, member);
        }
    }

    // Every move lowers the sum of the squared loads, so this ends.
    loop {
        let moves = owners.iter().filter_map(|(partition, owner)| {
            let (taker, least) = lightest(&loads, &partition.topic)?;
            let load = loads.get(owner).copied().unwrap_or_default();
            (load > least + 1).then_some((load, partition, *owner, taker))
        });
        let Some((_, partition, owner, taker)) = moves.max_by_key(|(load, partition, ..)| (*load, *partition)) else {
            return owners;
        };
        let partition = partition.clone();
        owners.insert(partition, taker);
        *loads.entry(owner).or_default() -= 1;
        *loads.entry(taker).or_default() += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(ids: &[u64]) -> BTreeMap<MemberId, BTreeSet<String>> {
        ids.iter()
            .map(|id| (MemberId(*id), BTreeSet::from(["t".to_owned()])))
            .collect()
    }

    fn loads(assignment: &Assignment) -> BTreeMap<u64, usize> {
        let mut loads = BTreeMap::new();
        for member in assignment.values() {
            *loads.entry(member.0).or_default() += 1;
        }
        loads
    }

    fn counts(partitions: u32) -> PartitionCounts {
        PartitionCounts::from([("t".to_owned(), partitions)])
    }

    #[test]
    fn a_member_that_joins_takes_its_share_and_nothing_else_moves() {
        let alone = assign(&members(&[1]), &counts(6), &Assignment::new());
        assert_eq!(loads(&alone), BTreeMap::from([(1, 6)]));
        let two = assign(&members(&[1, 2]), &counts(6), &alone);
        assert_eq!(loads(&two), BTreeMap::from([(1, 3), (2, 3)]));
        let three = assign(&members(&[1, 2, 3]), &counts(6), &two);
        assert_eq!(loads(&three), BTreeMap::from([(1, 2), (2, 2), (3, 2)]));
        let moved = two
            .iter()
            .filter(|(partition, owner)| three.get(*partition) != Some(owner))
            .count();
        assert_eq!(moved, 2);
    }

    #[test]
    fn the_partitions_of_a_member_that_left_are_spread_and_the_others_stay() {
        let three = assign(&members(&[1, 2, 3]), &counts(6), &Assignment::new());
        let two = assign(&members(&[1, 3]), &counts(6), &three);
        assert_eq!(loads(&two), BTreeMap::from([(1, 3), (3, 3)]));
        assert!(
            three
                .iter()
                .filter(|(_, owner)| owner.0 != 2)
                .all(|(partition, owner)| two[partition] == *owner)
        );
    }

    #[test]
    fn only_subscribers_get_a_topics_partitions() {
        let mut members = members(&[1, 2]);
        members.insert(MemberId(3), BTreeSet::from(["other".to_owned()]));
        let counts = PartitionCounts::from([("t".to_owned(), 4), ("other".to_owned(), 1), ("nobodys".to_owned(), 9)]);
        assert_eq!(
            loads(&assign(&members, &counts, &Assignment::new())),
            BTreeMap::from([(1, 2), (2, 2), (3, 1)])
        );
    }
}
