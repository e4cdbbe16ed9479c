//! Bytes that Kafka's own classes wrote, and what they mean by Kafka's own JSON converters.
//!
//! `golden.txt` has a line for each key and each version of each value, full and bare: release, class, hex, JSON. The
//! bytes are those of the generated classes in `kafka-group-coordinator`, the JSON is that of their converters. Lines of
//! 4.0.0 and 3.7.0 are the layouts of previews; 3.7.0 has no converters, so its JSON says what was set.

use super::encode::{self, Form};
use super::unhex;
use crate::engine::lag::record::{self, ClassicGroup, Commit, CommitKey, Record};
use crate::engine::lag::schema::Kind;
use crate::engine::lag::view::View;

struct Golden {
    line: &'static str,
    kind: Kind,
    bytes: Vec<u8>,
    json: serde_json::Value,
    is_key: bool,
}

fn golden() -> Vec<Golden> {
    let read = |line: &'static str| {
        let mut columns = line.split('\t').skip(1);
        let mut next = || columns.next().expect("four columns");
        let (class, hex, json) = (next(), next(), next());
        let is_key = class.ends_with("Key");
        let name = class
            .strip_suffix(if is_key { "Key" } else { "Value" })
            .expect("a part");
        let kind = Kind::ALL.into_iter().find(|kind| kind.name() == name);
        Golden {
            line,
            kind: kind.unwrap_or_else(|| panic!("{name} is no kind")),
            bytes: unhex(hex),
            json: serde_json::from_str(json).expect("JSON"),
            is_key,
        }
    };
    include_str!("golden.txt").lines().map(read).collect()
}

#[test]
fn keys_are_read_as_kafka_reads_them() {
    for golden in golden().iter().filter(|golden| golden.is_key) {
        let (key, value) = View::read(Some(&golden.bytes), None).json();
        assert_eq!(key["data"], golden.json, "{}", golden.line);
        assert_eq!(key["type"], golden.kind.name());
        assert!(value.is_null());
        let record = Record::read(Some(&golden.bytes), None).expect(golden.line);
        let group = golden.json.get("group").or(golden.json.get("groupId"));
        let group = group.and_then(serde_json::Value::as_str).expect("a group");
        match record {
            Record::Commit { of, commit: None } => assert_eq!(of.group, group),
            Record::Group {
                kind,
                group: read,
                of,
                value: None,
            } => {
                assert_eq!((kind, read), (golden.kind, group));
                let second = golden.json.get("memberId").or(golden.json.get("regularExpression"));
                assert_eq!(of, second.and_then(serde_json::Value::as_str), "{}", golden.line);
            }
            other => panic!("{}: {other:?}", golden.line),
        }
    }
}

#[test]
fn values_are_read_as_kafka_reads_them_and_written_back_to_the_byte() {
    for golden in golden().iter().filter(|golden| !golden.is_key) {
        let schema = golden.kind.schema();
        let tree = record::fields(schema, &golden.bytes).expect(golden.line);
        assert_eq!(tree.json(), golden.json, "{}", golden.line);
        let version = i16::from_be_bytes([golden.bytes[0], golden.bytes[1]]);
        let form = Form {
            version,
            flexible: schema.is_flexible(version),
        };
        let is_preview = !golden.line.starts_with("4.3") && schema.preview.is_some();
        let layout = if is_preview {
            schema.preview.expect("one")
        } else {
            schema.value
        };
        assert_eq!(encode::value(layout, form, &tree), golden.bytes, "{}", golden.line);
    }
}

#[test]
fn there_is_a_vector_of_every_key_and_of_every_version_of_every_value() {
    let golden = golden();
    for kind in Kind::ALL {
        assert!(
            golden.iter().any(|golden| golden.kind == kind && golden.is_key),
            "{kind:?}"
        );
        // Of the oldest kind Kafka's class knows one version, and ours those of all commits.
        let newest = if kind == Kind::LegacyOffsetCommit {
            0
        } else {
            kind.schema().newest
        };
        for version in 0..=newest {
            let of_it =
                |golden: &&Golden| golden.kind == kind && !golden.is_key && golden.bytes[..2] == version.to_be_bytes();
            assert!(golden.iter().filter(of_it).count() >= 2, "{kind:?} {version}");
        }
    }
}

#[test]
fn commits_are_read_by_hand_as_by_the_table() {
    for golden in golden()
        .iter()
        .filter(|golden| golden.kind == Kind::OffsetCommit && !golden.is_key)
    {
        let key = unhex("0001000867726f75702d69640003666f6f00000001");
        let record = Record::read(Some(&key), Some(&golden.bytes)).expect(golden.line);
        let Record::Commit {
            commit: Some(commit), ..
        } = record
        else {
            panic!("{record:?}")
        };
        let number = |name: &str| golden.json.get(name).and_then(serde_json::Value::as_i64);
        assert_eq!(Some(commit.offset), number("offset"));
        assert_eq!(
            commit.leader_epoch.map_or(-1, i64::from),
            number("leaderEpoch").unwrap_or(-1)
        );
        assert_eq!(commit.metadata, golden.json["metadata"].as_str().expect("a text"));
        assert_eq!(Some(commit.committed_at), number("commitTimestamp"));
        assert_eq!(commit.expires_at.unwrap_or(-1), number("expireTimestamp").unwrap_or(-1));
        assert_eq!(
            commit.topic_id.is_some(),
            golden.json.get("topicId").is_some(),
            "{}",
            golden.line
        );
    }
}

#[test]
fn classic_groups_are_read_by_hand_as_by_the_table() {
    for golden in golden()
        .iter()
        .filter(|golden| golden.kind == Kind::GroupMetadata && !golden.is_key)
    {
        let group = ClassicGroup::read(&golden.bytes).expect(golden.line);
        let text = |name: &str| golden.json[name].as_str();
        assert_eq!(Some(group.protocol_type), text("protocolType"));
        assert_eq!(Some(i64::from(group.generation)), golden.json["generation"].as_i64());
        assert_eq!((group.protocol, group.leader), (text("protocol"), text("leader")));
        let members = golden.json["members"].as_array().expect("a list");
        assert_eq!(group.members.len(), members.len());
        for (member, json) in group.members.iter().zip(members) {
            let number = |name: &str| json.get(name).and_then(serde_json::Value::as_i64);
            assert_eq!(Some(member.id), json["memberId"].as_str());
            assert_eq!(
                member.instance,
                json.get("groupInstanceId").and_then(serde_json::Value::as_str)
            );
            assert_eq!(Some(member.client), json["clientId"].as_str());
            assert_eq!(Some(member.host), json["clientHost"].as_str());
            assert_eq!(member.rebalance_timeout.map(i64::from), number("rebalanceTimeout"));
            assert_eq!(Some(i64::from(member.session_timeout)), number("sessionTimeout"));
        }
    }
}

#[test]
fn published_bytes_and_captures_are_read() {
    let key = unhex("0001000867726f75702d69640003666f6f00000001");
    let of = CommitKey {
        group: "group-id",
        topic: "foo",
        partition: 1,
    };
    let commit = Commit {
        offset: 100,
        leader_epoch: None,
        metadata: "metadata",
        committed_at: 1234,
        expires_at: None,
        topic_id: None,
    };
    let topic_id = *b"\x30\xa5\xf1\xd5\xf2\x24\x43\x2d\x89\xf6\x35\xc7\x84\xaf\x26\xd7";
    let cases = [
        ("0000000000000000006400086d6574616461746100000000000004d2", commit),
        (
            "000300000000000000640000000a00086d6574616461746100000000000004d2",
            Commit {
                leader_epoch: Some(10),
                ..commit
            },
        ),
        (
            "000400000000000000640000000a096d6574616461746100000000000004d201001030a5f1d5f224432d89f635c784af26d7",
            Commit {
                leader_epoch: Some(10),
                topic_id: Some(topic_id),
                ..commit
            },
        ),
        (
            "0004000000000021d4a8ffffffff010000019964f2d83600",
            Commit {
                offset: 2_217_128,
                metadata: "",
                committed_at: 1_758_335_260_726,
                ..commit
            },
        ),
    ];
    for (hex, commit) in cases {
        let value = unhex(hex);
        let commit = Some(commit);
        assert_eq!(
            Record::read(Some(&key), Some(&value)),
            Ok(Record::Commit { of, commit })
        );
    }
    assert_eq!(Record::read(Some(&key), None), Ok(Record::Commit { of, commit: None }));

    let key = unhex("0002000b666c6f6f722d3237343739");
    let value = unhex("0003000000000000ffffffff000001a203418bbe00000000");
    let line = View::read(Some(&key), Some(&value)).to_string();
    assert_eq!(
        line,
        "GroupMetadata group=\"floor-27479\" -> v3 protocolType=\"\" generation=0 protocol=null leader=null \
         currentStateTimestamp=2026-11-22T12:35:56.990Z members=[]"
    );
    let group = ClassicGroup::read(&value).expect("a group");
    assert_eq!((group.changed_at, group.members.len()), (Some(1_795_350_956_990), 0));
}
