//! State and members of groups, from records as a broker writes them.

use proptest::prelude::*;

use super::encode::{self, Form};
use crate::engine::lag::groups::{Groups, Protocol, State};
use crate::engine::lag::schema::{Field, Kind, Type};
use crate::engine::lag::tree::Tree;

const GROUP: &str = "orders";

/// A value of the newest version with these numbers, and as little as possible besides.
fn value(kind: Kind, numbers: &[(&str, i64)]) -> Vec<u8> {
    let version = kind.schema().newest;
    let form = Form {
        version,
        flexible: kind.schema().is_flexible(version),
    };
    let layout = kind.schema().value;
    encode::value(layout, form, &fields(version, layout, numbers))
}

fn fields(version: i16, layout: &'static [Field], numbers: &[(&str, i64)]) -> Tree<'static> {
    let field = |field: &'static Field| {
        let number = numbers.iter().find(|(name, _)| *name == field.name);
        let value = match (number, &field.of) {
            (Some((_, number)), _) => Tree::Number(*number),
            (None, _) if field.nullable => Tree::Null,
            (None, Type::Text) => Tree::Text(""),
            (None, Type::Bytes) => Tree::Bytes(b""),
            (None, Type::Uuid) => Tree::Uuid([0; 16]),
            (None, Type::Time) => Tree::Time(0),
            (None, Type::List(_)) => Tree::List(Vec::new()),
            (None, Type::Struct(layout)) => fields(version, layout, &[]),
            (None, _) => Tree::Number(0),
        };
        (field.name, value)
    };
    let plain = layout
        .iter()
        .filter(|field| field.tag.is_none() && field.is_in(version));
    Tree::Fields(plain.map(field).collect())
}

/// One step in the life of a consumer group.
#[derive(Clone, Copy, Debug)]
enum Step {
    Epoch(i64),
    Target(i64),
    Joins(&'static str),
    Has(&'static str, i64, i64),
    Leaves(&'static str),
    Ends,
}

fn take(groups: &mut Groups, step: Step) -> bool {
    let mut record = |kind, of, numbers: Option<&[(&str, i64)]>| {
        let value = numbers.map(|numbers| value(kind, numbers));
        groups
            .record(kind, GROUP, of, value.as_deref())
            .expect("it can be read")
    };
    match step {
        Step::Epoch(epoch) => record(Kind::ConsumerGroupMetadata, None, Some(&[("epoch", epoch)])),
        Step::Target(epoch) => record(
            Kind::ConsumerGroupTargetAssignmentMetadata,
            None,
            Some(&[("assignmentEpoch", epoch)]),
        ),
        Step::Joins(member) => record(Kind::ConsumerGroupMemberMetadata, Some(member), Some(&[])),
        Step::Has(member, epoch, state) => record(
            Kind::ConsumerGroupCurrentMemberAssignment,
            Some(member),
            Some(&[("memberEpoch", epoch), ("state", state)]),
        ),
        Step::Leaves(member) => {
            record(Kind::ConsumerGroupCurrentMemberAssignment, Some(member), None);
            record(Kind::ConsumerGroupMemberMetadata, Some(member), None)
        }
        Step::Ends => {
            record(Kind::ConsumerGroupTargetAssignmentMetadata, None, None);
            record(Kind::ConsumerGroupMetadata, None, None)
        }
    }
}

fn seen(groups: &Groups) -> Option<(Protocol, State, u32)> {
    let group = groups.get(GROUP)?;
    Some((group.protocol(), group.state()?, group.members()?))
}

#[test]
fn a_consumer_group_goes_through_the_states_that_the_broker_gives_it() {
    let mut groups = Groups::new(10);
    let life = [
        (Step::Joins("a"), State::Stable, 1),
        (Step::Epoch(1), State::Assigning, 1),
        (Step::Target(1), State::Reconciling, 1),
        (Step::Has("a", 1, 0), State::Stable, 1),
        (Step::Joins("b"), State::Reconciling, 2),
        (Step::Epoch(2), State::Assigning, 2),
        (Step::Target(2), State::Reconciling, 2),
        (Step::Has("a", 1, 1), State::Reconciling, 2),
        (Step::Has("a", 2, 0), State::Reconciling, 2),
        (Step::Has("b", 2, 2), State::Reconciling, 2),
        (Step::Has("b", 2, 0), State::Stable, 2),
        (Step::Leaves("a"), State::Stable, 1),
        (Step::Leaves("b"), State::Empty, 0),
    ];
    for (step, state, members) in life {
        assert!(!take(&mut groups, step));
        assert_eq!(seen(&groups), Some((Protocol::Consumer, state, members)), "{step:?}");
    }
    assert!(take(&mut groups, Step::Ends), "nothing is left of it");
    assert!(groups.commits_no_more(GROUP));
    assert_eq!(seen(&groups), None);
}

#[test]
fn a_group_that_goes_over_to_another_protocol_keeps_what_that_one_says() {
    let mut groups = Groups::new(10);
    let classic = value(Kind::GroupMetadata, &[]);
    let is_gone = groups.record(Kind::GroupMetadata, GROUP, None, Some(&classic));
    assert_eq!(is_gone, Ok(false));
    assert_eq!(seen(&groups), Some((Protocol::Classic, State::Empty, 0)));
    take(&mut groups, Step::Epoch(1));
    take(&mut groups, Step::Joins("a"));
    // The tombstone of the classic group comes with the first records of the other protocol.
    assert_eq!(groups.record(Kind::GroupMetadata, GROUP, None, None), Ok(false));
    assert_eq!(seen(&groups), Some((Protocol::Consumer, State::Assigning, 1)));
}

#[test]
fn a_group_that_only_commits_is_there_as_long_as_it_has_offsets() {
    let mut groups = Groups::new(1);
    assert!(groups.commits(GROUP));
    assert_eq!(seen(&groups), Some((Protocol::None, State::Empty, 0)));
    assert!(!groups.commits("another"), "beyond the limit");
    let classic = value(Kind::GroupMetadata, &[]);
    let beyond = groups.record(Kind::GroupMetadata, "another", None, Some(&classic));
    assert_eq!((beyond, groups.overflowed()), (Ok(false), 2));
    assert!(groups.commits_no_more(GROUP));
    assert!(groups.commits("another"), "there is room again");
}

#[test]
fn tombstones_of_what_was_never_there_change_nothing() {
    let mut groups = Groups::new(10);
    for kind in Kind::ALL {
        assert_eq!(groups.record(kind, GROUP, Some("a"), None), Ok(false));
    }
    assert_eq!(groups.iter().count(), 0);
}

proptest! {
    /// Compaction leaves the last record of each key: read from those alone, a group is what it was.
    #[test]
    fn a_compacted_log_says_the_same(steps in proptest::collection::vec((0..5_usize, 0..3_usize, 0..3_i64, 0..3_i64), 0..40)) {
        let steps: Vec<Step> = steps.into_iter().map(|(kind, member, epoch, state)| {
            let member = ["a", "b", "c"][member];
            match kind {
                0 => Step::Epoch(epoch + 1),
                1 => Step::Target(epoch + 1),
                2 => Step::Joins(member),
                3 => Step::Has(member, epoch + 1, state),
                _ => Step::Leaves(member),
            }
        }).collect();
        let key = |step: &Step| match step {
            Step::Epoch(_) => (0, ""),
            Step::Target(_) => (1, ""),
            Step::Joins(member) | Step::Leaves(member) => (2, *member),
            Step::Has(member, ..) => (3, *member),
            Step::Ends => (4, ""),
        };
        let mut whole = Groups::new(10);
        steps.iter().for_each(|step| { take(&mut whole, *step); });
        let mut compacted = Groups::new(10);
        for (at, step) in steps.iter().enumerate() {
            let is_last = |key_of: (i32, &str)| !steps[at + 1..].iter().any(|later| {
                key(later) == key_of || matches!(later, Step::Leaves(member) if key_of == (3, *member))
            });
            if is_last(key(step)) {
                take(&mut compacted, *step);
            }
        }
        let of = |groups: &Groups| seen(groups).filter(|seen| seen.1 != State::Empty);
        prop_assert_eq!(of(&compacted), of(&whole));
    }
}
