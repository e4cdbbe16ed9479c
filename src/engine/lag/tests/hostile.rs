//! Bytes that nobody should have written.

use super::encode::write_uvarint;
use super::unhex;
use crate::engine::lag::record::{Record, Unknown};
use crate::engine::lag::schema::Kind;
use crate::engine::lag::view::View;
use crate::engine::lag::wire::{Malformed, Reader};

const KEY: &str = "0001000867726f75702d69640003666f6f00000001";

#[test]
fn unknown_versions_are_unknown_and_shown_in_hex() {
    for version in [18, 24, 99, -1, i16::MIN, i16::MAX] {
        let mut key = i16::to_be_bytes(version).to_vec();
        key.extend([0xab, 0xcd]);
        let unknown = Unknown::Key { version };
        assert_eq!(Record::read(Some(&key), Some(b"\0\x07x")), Ok(Record::Unknown(unknown)));
        let view = View::read(Some(&key), Some(b"\0\x07x"));
        assert!(view.is_unknown() && !view.is_malformed());
        assert!(
            view.to_string().ends_with("abcd -> unknown value v7 0x000778"),
            "{view}"
        );
    }
    for (kind, key) in [
        (Kind::OffsetCommit, unhex(KEY)),
        (Kind::GroupMetadata, unhex("0002000161")),
        (Kind::ConsumerGroupMetadata, unhex("0003000161")),
    ] {
        for version in [kind.schema().newest + 1, -1] {
            let mut value = version.to_be_bytes().to_vec();
            value.extend([1, 2, 3]);
            let unknown = Unknown::Value { kind, version };
            assert_eq!(Record::read(Some(&key), Some(&value)), Ok(Record::Unknown(unknown)));
            assert!(View::read(Some(&key), Some(&value)).is_unknown());
        }
    }
}

#[test]
fn tagged_fields_of_newer_brokers_are_skipped() {
    let known = unhex("000400000000000000640000000a096d6574616461746100000000000004d2");
    let key = unhex(KEY);
    let read = |tags: &str| {
        let value = [known.clone(), unhex(tags)].concat();
        match Record::read(Some(&key), Some(&value)) {
            Ok(Record::Commit {
                commit: Some(commit), ..
            }) => Ok(commit.topic_id),
            Err(error) => Err(error),
            other => panic!("{other:?}"),
        }
    };
    let id = "30a5f1d5f224432d89f635c784af26d7";
    let expected: [u8; 16] = unhex(id).try_into().expect("16 bytes");
    assert_eq!(read("00"), Ok(None));
    assert_eq!(read(&format!("020010{id}0703010203")), Ok(Some(expected)));
    // A tag of five bytes, and a known one that has grown.
    assert_eq!(read(&format!("02ffffffff0f000012{id}0000")), Ok(Some(expected)));
    assert_eq!(read("010010"), Err(Malformed::Short));
    assert_eq!(read("ffffffff0f"), Err(Malformed::Short));
    assert_eq!(read("ffffffff1f"), Err(Malformed::Varint));
    assert_eq!(read("8080808080"), Err(Malformed::Varint));
    assert_eq!(read("0000"), Err(Malformed::Longer(1)));
}

#[test]
fn lengths_that_lie_end_in_an_error_before_they_cost_memory() {
    // A list of two thousand million members, and one of as many bytes.
    let group = unhex("0002000161");
    for value in [
        "0003000000000000ffffffff000001a203418bbe7fffffff",
        "0004010000000000000000019964f2d836ffffffff0f",
        "0003000000000000ffffffff000001a203418bbe000000010001610001620001630001640000000100000001\
         7fffffff",
    ] {
        let value = unhex(value);
        let view = View::read(Some(&group), Some(&value));
        assert!(view.is_malformed(), "{view}");
    }
    // A text of 32 KiB is longer than Kafka's texts may be.
    let mut long = Vec::new();
    write_uvarint(0x8001, &mut long);
    long.extend([b'a'; 0x8000]);
    assert_eq!(Reader::new(&long).text(true), Err(Malformed::LongText));
}

#[test]
fn every_beginning_of_a_record_is_malformed_and_none_panics() {
    for line in include_str!("golden.txt").lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let bytes = unhex(columns[2]);
        let name = columns[1].strip_suffix("Value");
        let kind = Kind::ALL.into_iter().find(|kind| Some(kind.name()) == name);
        for end in 0..bytes.len() {
            match kind {
                Some(kind) => {
                    let read = crate::engine::lag::record::fields(kind.schema(), &bytes[..end]);
                    // The beginning of a release's value may be the whole of a preview's.
                    let whole = read.is_ok() && kind.schema().preview.is_some();
                    assert!(read.is_err() || whole, "{line} up to {end}");
                }
                None => assert!(
                    View::read(Some(&bytes[..end]), None).is_malformed(),
                    "{line} up to {end}"
                ),
            }
        }
    }
}

#[test]
fn names_keep_to_one_line() {
    let mut key = unhex("00010005");
    key.extend(b"a\n\"b\"");
    key.extend(unhex("000000000000"));
    let line = View::read(Some(&key), None).to_string();
    assert_eq!(
        line,
        r#"OffsetCommit group="a\n\"b\"" topic="" partition=0 -> tombstone"#
    );
}

#[test]
fn a_record_without_a_key_is_malformed() {
    assert_eq!(Record::read(None, Some(b"\0\x03")), Err(Malformed::NoKey));
    assert!(View::read(None, None).is_malformed());
}
