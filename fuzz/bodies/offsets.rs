//! Records of `__consumer_offsets`.
//!
//! Rule: the first byte is the key's length; what follows the key is the value, none a tombstone. Any bytes are read, as
//! unknown, or as malformed. What is read by hand and what is read by the tables agree. Our own kinds of records, which
//! polls are written as, are unknown to the broker's.

use streamgauge::engine::lag::polled::OwnRecord;
use streamgauge::engine::lag::protocol;
use streamgauge::engine::lag::record::{ClassicGroup, Record};
use streamgauge::engine::lag::schema::Kind;
use streamgauge::engine::lag::tree::Tree;
use streamgauge::engine::lag::view::{Part, View};

pub fn run(bytes: &[u8]) {
    let (key, value) = match bytes.split_first() {
        None => (None, None),
        Some((length, rest)) => {
            let (key, value) = rest.split_at(usize::from(*length).min(rest.len()));
            (Some(key), (!value.is_empty()).then_some(value))
        }
    };
    let view = View::read(key, value);
    assert!(!view.to_string().contains('\n'));
    let _ = view.json();
    if let Ok(Some(_)) = OwnRecord::read(key, value) {
        assert!(view.is_unknown(), "{view}");
    }
    match Record::read(key, value) {
        Err(_) => assert!(view.is_malformed(), "{view}"),
        Ok(Record::Unknown(_)) => assert!(view.is_unknown(), "{view}"),
        Ok(Record::Commit { of, commit }) => {
            assert!(!view.is_unknown() && !view.is_malformed(), "{view}");
            assert_eq!(view.group(), Some(of.group));
            let (Some(Part::Read { fields, .. }), Some(commit)) = (&view.value, commit) else {
                return assert!(view.value.is_none() && commit.is_none(), "{view}");
            };
            assert_eq!(fields.get("offset"), Some(&Tree::Number(commit.offset)));
            assert_eq!(fields.get("metadata"), Some(&Tree::Text(commit.metadata)));
            assert_eq!(fields.get("commitTimestamp"), Some(&Tree::Time(commit.committed_at)));
        }
        Ok(Record::Group { kind, group, value, .. }) => {
            assert_eq!(view.group(), Some(group));
            if let (Kind::GroupMetadata, Some(value)) = (kind, value) {
                let read = matches!(view.value, Some(Part::Read { .. }));
                let members = ClassicGroup::read(value).map(|group| group.members.len());
                assert_eq!(members.is_ok(), read, "{view}");
            }
        }
    }
    let value = value.unwrap_or_default();
    let _ = (protocol::subscription(value), protocol::assignment(value));
}
