//! The tables of layouts, held against the description that Kafka's own jar carries.

use std::io::Read as _;

use serde_json::Value;
use streamgauge::engine::lag::schema::{Field, Kind, Type};

use super::common::process::part;

/// The files of a zip whose names begin so, as the central directory lists them.
fn unzip(bytes: &[u8], prefix: &str) -> Vec<(String, String)> {
    let short = |at: usize| usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]));
    let long = |at: usize| short(at) + (short(at + 2) << 16);
    let end = bytes
        .windows(4)
        .rposition(|window| window == b"PK\x05\x06")
        .expect("a zip");
    let (mut at, mut files) = (long(end + 16), Vec::new());
    for _ in 0..short(end + 10) {
        let name = String::from_utf8_lossy(&bytes[at + 46..at + 46 + short(at + 28)]).into_owned();
        let local = long(at + 42);
        if name.starts_with(prefix) && name.ends_with(".json") {
            let data = local + 30 + short(local + 26) + short(local + 28);
            let packed = &bytes[data..data + long(at + 20)];
            let mut text = String::new();
            match short(at + 10) {
                0 => text.push_str(std::str::from_utf8(packed).expect("text")),
                _ => drop(
                    flate2::read::DeflateDecoder::new(packed)
                        .read_to_string(&mut text)
                        .expect("deflated text"),
                ),
            }
            files.push((name, text));
        }
        at += 46 + short(at + 28) + short(at + 30) + short(at + 32);
    }
    files
}

/// Kafka's message descriptions are JSON with comments.
fn description(text: &str) -> Value {
    let bare: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    serde_json::from_str(&bare).expect("a description")
}

/// `0`, `3+` or `1-4`, as first and last.
fn versions(text: &str) -> (i16, i16) {
    let number = |text: &str| text.parse().expect("a version");
    match (text.split_once('-'), text.strip_suffix('+')) {
        (Some((first, last)), _) => (number(first), number(last)),
        (None, Some(first)) => (number(first), i16::MAX),
        (None, None) => (number(text), number(text)),
    }
}

fn type_name(of: &Type) -> String {
    match of {
        Type::Int8 => "int8".to_owned(),
        Type::Int16 => "int16".to_owned(),
        Type::Uint16 => "uint16".to_owned(),
        Type::Int32 => "int32".to_owned(),
        Type::Int64 | Type::Time => "int64".to_owned(),
        Type::Text => "string".to_owned(),
        Type::Bytes => "bytes".to_owned(),
        Type::Uuid => "uuid".to_owned(),
        Type::Struct(_) => "struct".to_owned(),
        Type::List(of) => format!("[]{}", type_name(of)),
    }
}

fn fields_of(of: &Type) -> Option<&'static [Field]> {
    match of {
        Type::Struct(fields) => Some(fields),
        Type::List(of) => fields_of(of),
        _ => None,
    }
}

/// Compares fields, and those of the structs below.
fn same(ours: &[Field], theirs: &Value, message: &Value, path: &str) {
    let theirs = theirs.as_array().expect("fields");
    let name = |field: &Value| {
        let name = field["name"].as_str().expect("a name");
        name[..1].to_lowercase() + &name[1..]
    };
    let names: Vec<String> = theirs.iter().map(name).collect();
    assert_eq!(ours.iter().map(|field| field.name).collect::<Vec<_>>(), names, "{path}");
    // What is in all versions of a message may be said in two ways.
    let newest = message["validVersions"].as_str().map_or(0, |text| versions(text).1);
    for (ours, theirs) in ours.iter().zip(theirs) {
        let path = format!("{path}.{}", ours.name);
        let declared = theirs
            .get("versions")
            .or(theirs.get("taggedVersions"))
            .and_then(Value::as_str);
        let (first, last) = versions(declared.expect("versions"));
        assert_eq!(
            (ours.since, ours.until.min(newest)),
            (first, last.min(newest)),
            "{path}"
        );
        assert_eq!(
            ours.tag.map(u64::from),
            theirs.get("tag").and_then(Value::as_u64),
            "{path}"
        );
        let nullable = theirs.get("nullableVersions").and_then(Value::as_str);
        assert_eq!(
            ours.nullable.then_some(first),
            nullable.map(|text| versions(text).0),
            "{path}"
        );
        let kind = theirs["type"].as_str().expect("a type");
        let list = kind.starts_with("[]");
        let element = kind.trim_start_matches("[]");
        let common = message["commonStructs"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|common| common["name"] == element);
        match theirs.get("fields").or(common.map(|common| &common["fields"])) {
            Some(below) => {
                assert_eq!(type_name(&ours.of), if list { "[]struct" } else { "struct" }, "{path}");
                same(fields_of(&ours.of).expect("a struct"), below, message, &path);
            }
            None => assert_eq!(type_name(&ours.of), kind, "{path}"),
        }
    }
}

#[test]
fn the_tables_are_those_of_the_broker() {
    let jars = part("STREAMGAUGE_TEST_KAFKA_LIBS");
    let jar = std::fs::read_dir(&jars)
        .expect("the jars")
        .map(|entry| entry.expect("an entry").path())
        .find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.starts_with("kafka-group-coordinator-") && !name.contains("-api-")
        });
    let bytes = std::fs::read(jar.expect("the coordinator's jar")).expect("a jar");
    let mut seen = 0;
    for (name, text) in unzip(&bytes, "common/message/") {
        let message = description(&text);
        let version = message["apiKey"].as_i64().and_then(|key| i16::try_from(key).ok());
        let version = version.unwrap_or_else(|| panic!("{name} says no kind"));
        let kind = Kind::of(version).unwrap_or_else(|| panic!("{name}: kind {version} is not known"));
        let schema = kind.schema();
        let whole = message["name"].as_str().expect("a name");
        let flexible = message["flexibleVersions"].as_str().expect("versions");
        if message["type"] == "coordinator-key" {
            assert_eq!((whole, flexible), (&*format!("{}Key", schema.name), "none"));
            same(schema.key, &message["fields"], &message, whole);
        } else if kind == Kind::LegacyOffsetCommit {
            // Kafka's class reads what its oldest versions wrote, which is version 0 of the same layout.
            let first = schema
                .value
                .iter()
                .filter(|field| field.is_in(0))
                .copied()
                .collect::<Vec<_>>();
            same(&first, &message["fields"], &message, whole);
        } else {
            assert_eq!(whole, format!("{}Value", schema.name));
            assert_eq!(versions(flexible), (schema.flexible, i16::MAX), "{whole}");
            let valid = versions(message["validVersions"].as_str().expect("versions"));
            assert_eq!(valid, (0, schema.newest), "{whole}");
            same(schema.value, &message["fields"], &message, whole);
        }
        seen += 1;
    }
    // Each kind but the one that only Kafka 4.0 wrote.
    assert_eq!(seen, 2 * (Kind::ALL.len() - 1));
}
