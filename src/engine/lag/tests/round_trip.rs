//! Whatever is written is read back, by the tables and by hand.

use proptest::prelude::*;

use super::encode::{self, Form};
use crate::engine::lag::protocol;
use crate::engine::lag::record::{self, ClassicGroup, Record};
use crate::engine::lag::schema::{Field, Kind, Type};
use crate::engine::lag::tree::Tree;
use crate::engine::lag::view::View;

const TEXTS: &[&str] = &[
    "",
    "g",
    "orders:0",
    "a\nb\"c\"",
    "\u{1f600}\u{e9}",
    "\u{0}",
    "a text that needs more than the one hundred and twenty-seven bytes that fit into the first byte of an unsigned varint \
     with the length",
];

const BYTES: &[&[u8]] = &[b"", b"\0", b"\0\x03\0\0\0\x01\0\x01t\xff\xff\xff\xff", &[7; 300]];

/// Grows fields out of numbers; out of nothing the smallest.
struct Seed<'s> {
    numbers: std::slice::Iter<'s, u64>,
}

impl Seed<'_> {
    fn next(&mut self) -> u64 {
        self.numbers.next().copied().unwrap_or(0)
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }

    fn fields(&mut self, layout: &'static [Field], form: Form) -> Tree<'static> {
        let mut fields = Vec::new();
        let present = |field: &&Field| field.is_in(form.version);
        let (tagged, plain): (Vec<&Field>, Vec<&Field>) =
            layout.iter().filter(present).partition(|field| field.tag.is_some());
        for field in plain {
            fields.push((field.name, self.field(field, form)));
        }
        for field in tagged {
            if form.flexible && self.below(2) == 1 {
                fields.push((field.name, self.field(field, form)));
            }
        }
        Tree::Fields(fields)
    }

    fn field(&mut self, field: &Field, form: Form) -> Tree<'static> {
        if field.nullable && self.below(3) == 0 {
            return Tree::Null;
        }
        self.of(&field.of, form)
    }

    fn of(&mut self, of: &Type, form: Form) -> Tree<'static> {
        match of {
            Type::Int8 => Tree::Number((self.next() as i8).into()),
            Type::Int16 => Tree::Number((self.next() as i16).into()),
            Type::Uint16 => Tree::Number((self.next() as u16).into()),
            Type::Int32 => Tree::Number((self.next() as i32).into()),
            Type::Int64 => Tree::Number(self.next() as i64),
            Type::Time => Tree::Time(self.next() as i64),
            Type::Text => Tree::Text(TEXTS[self.below(TEXTS.len())]),
            Type::Bytes => Tree::Bytes(BYTES[self.below(BYTES.len())]),
            Type::Uuid => {
                let mut id = [0; 16];
                id[..8].copy_from_slice(&self.next().to_be_bytes());
                Tree::Uuid(id)
            }
            Type::Struct(fields) => self.fields(fields, form),
            Type::List(of) => {
                let count = self.below(4);
                Tree::List((0..count).map(|_| self.of(of, form)).collect())
            }
        }
    }
}

fn kinds() -> impl Strategy<Value = (Kind, i16)> {
    prop::sample::select(Kind::ALL.to_vec()).prop_flat_map(|kind| (Just(kind), 0..=kind.schema().newest))
}

proptest! {
    #[test]
    fn what_is_written_is_read((kind, version) in kinds(), numbers in prop::collection::vec(any::<u64>(), 0..200)) {
        let mut seed = Seed { numbers: numbers.iter() };
        let schema = kind.schema();
        let form = Form { version, flexible: schema.is_flexible(version) };
        let key = seed.fields(schema.key, Form { version: 0, flexible: false });
        let value = seed.fields(schema.value, form);
        let (key_bytes, value_bytes) = (encode::key(kind, &key), encode::value(schema.value, form, &value));

        prop_assert_eq!(record::fields(schema, &value_bytes), Ok(value.clone()));
        let view = View::read(Some(&key_bytes), Some(&value_bytes));
        prop_assert!(!view.is_unknown() && !view.is_malformed());
        let (key_json, value_json) = view.json();
        prop_assert_eq!(&key_json["data"], &key.json());
        prop_assert_eq!(&value_json["data"], &value.json());
        prop_assert!(!view.to_string().contains('\n'));

        let record = Record::read(Some(&key_bytes), Some(&value_bytes));
        match record {
            Ok(Record::Commit { of, commit: Some(commit) }) => {
                prop_assert_eq!(key.get("topic"), Some(&Tree::Text(of.topic)));
                prop_assert_eq!(key.get("partition"), Some(&Tree::Number(of.partition.into())));
                prop_assert_eq!(value.get("offset"), Some(&Tree::Number(commit.offset)));
                prop_assert_eq!(value.get("metadata"), Some(&Tree::Text(commit.metadata)));
                prop_assert_eq!(value.get("commitTimestamp"), Some(&Tree::Time(commit.committed_at)));
                let id = value.get("topicId").filter(|id| **id != Tree::Uuid([0; 16])).cloned();
                prop_assert_eq!(id, commit.topic_id.map(Tree::Uuid));
            }
            Ok(Record::Group { kind: read, value: Some(bytes), .. }) => {
                prop_assert_eq!(read, kind);
                prop_assert_eq!(bytes, &value_bytes[..]);
                if kind == Kind::GroupMetadata {
                    let group = ClassicGroup::read(bytes).expect("a group");
                    let Some(Tree::List(members)) = value.get("members") else { panic!("no members") };
                    prop_assert_eq!(group.members.len(), members.len());
                    for (member, tree) in group.members.iter().zip(members) {
                        prop_assert_eq!(tree.get("memberId"), Some(&Tree::Text(member.id)));
                        prop_assert_eq!(tree.get("assignment"), Some(&Tree::Bytes(member.assignment)));
                        prop_assert_eq!(tree.get("subscription"), Some(&Tree::Bytes(member.subscription)));
                    }
                }
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn no_bytes_panic(
        key in prop::option::of(prop::collection::vec(any::<u8>(), 0..60)),
        kind in -2..30_i16,
        value in prop::option::of(prop::collection::vec(any::<u8>(), 0..200)),
    ) {
        let mut key = key;
        if let Some([first, second, ..]) = key.as_deref_mut() {
            [*first, *second] = kind.to_be_bytes();
        }
        let view = View::read(key.as_deref(), value.as_deref());
        let _ = (view.to_string(), view.json());
        if let (Err(_), false) = (Record::read(key.as_deref(), value.as_deref()), view.is_malformed()) {
            prop_assert!(false, "{}", view);
        }
        let value = value.unwrap_or_default();
        let _ = (protocol::subscription(&value), protocol::assignment(&value), ClassicGroup::read(&value));
    }
}

#[test]
fn subscriptions_and_assignments_of_consumers_are_read_in_a_line() {
    let key = encode::key(Kind::GroupMetadata, &Tree::Fields(vec![("group", Tree::Text("g"))]));
    let member = |subscription, assignment| {
        Tree::Fields(vec![
            ("memberId", Tree::Text("m")),
            ("groupInstanceId", Tree::Null),
            ("clientId", Tree::Text("c")),
            ("clientHost", Tree::Text("/127.0.0.1")),
            ("rebalanceTimeout", Tree::Number(1)),
            ("sessionTimeout", Tree::Number(2)),
            ("subscription", Tree::Bytes(subscription)),
            ("assignment", Tree::Bytes(assignment)),
        ])
    };
    let told = member(
        // Version 5, as nobody writes it yet, with something behind it.
        b"\0\x05\0\0\0\x01\0\x01t\xff\xff\xff\xff\0\0\0\0\0\0\0\x07\xff\xffmore",
        b"\0\x01\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\x00\0\0\0\x05\0\0\0\0",
    );
    let group = |protocol_type| {
        Tree::Fields(vec![
            ("protocolType", Tree::Text(protocol_type)),
            ("generation", Tree::Number(3)),
            ("protocol", Tree::Text("range")),
            ("leader", Tree::Text("m")),
            ("currentStateTimestamp", Tree::Time(-1)),
            ("members", Tree::List(vec![told.clone(), member(b"", b"\xff")])),
        ])
    };
    let form = Form {
        version: 3,
        flexible: false,
    };
    let line = |protocol_type| {
        let value = encode::value(Kind::GroupMetadata.schema().value, form, &group(protocol_type));
        View::read(Some(&key), Some(&value)).to_string()
    };
    let consumers = line("consumer");
    assert!(
        consumers.contains(
            "subscription={topics=[\"t\"] userData=null ownedPartitions=[] generationId=7 rackId=null} \
             assignment={assignedPartitions=[{topic=\"t\" partitions=[0, 5]}] userData=0x}"
        ),
        "{consumers}"
    );
    assert!(consumers.contains("subscription=0x assignment=0xff"), "{consumers}");
    assert!(line("connect").contains("subscription=0x00050000"));
}
