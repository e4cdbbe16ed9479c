//! The projection against serde_json.
//!
//! Rule: what serde_json takes is taken, and every pointer finds the same value; what it refuses is refused. The bytes are
//! documents with a zero byte between them, all read with one buffer and twice, so that shapes of earlier documents are
//! remembered.
//!
//! Edges, where the projection takes more: numbers beyond a double, and escaped surrogates without their other half. A
//! number's text is compared after serde_json has read it too, since the projection keeps its spelling.

use serde_json::Value as Json;
use streamgauge::engine::tap::projection::{Fields, Pointer, ProjectionBuilder, Value};

const POINTERS: [&str; 10] = [
    "",
    "/a",
    "/b",
    "/a/b",
    "/a/b/c",
    "/0",
    "/a/0",
    "/b/1/a",
    "/d~1e",
    "/\u{e9}\"/c",
];

pub fn run(bytes: &[u8]) {
    let mut builder = ProjectionBuilder::new();
    let slots = POINTERS.map(|pointer| builder.want(&Pointer::parse(pointer).expect("a good pointer")));
    let projection = builder.build();
    let documents: Vec<&[u8]> = bytes.split(|byte| *byte == 0).take(8).collect();
    let mut fields = Fields::new();
    for json in documents.iter().chain(&documents) {
        let mine = projection.read(json, &mut fields);
        match serde_json::from_slice::<Json>(json) {
            Ok(theirs) => {
                assert_eq!(mine, Ok(()), "serde_json takes it");
                for (slot, pointer) in slots.iter().zip(POINTERS) {
                    let mine = tree(fields.get(*slot));
                    assert_eq!(mine.as_ref(), theirs.pointer(pointer), "{pointer}");
                }
            }
            Err(error) if is_only_here(&error) => {}
            Err(error) => assert!(mine.is_err(), "serde_json says {error}"),
        }
    }
}

/// What cannot be held by serde_json, and is JSON all the same.
fn is_only_here(error: &serde_json::Error) -> bool {
    let text = error.to_string();
    ["number out of range", "surrogate", "end of hex"]
        .iter()
        .any(|known| text.contains(known))
}

fn tree(value: Value<'_>) -> Option<Json> {
    match value {
        Value::Missing => None,
        Value::Null => Some(Json::Null),
        Value::Bool(value) => Some(value.into()),
        Value::Number(text) => Some(serde_json::from_str(text).expect("a number")),
        Value::Text(text) => {
            let mut out = Vec::new();
            text.write_to(&mut out);
            let decoded = String::from_utf8(out).expect("decoded text is UTF-8");
            assert!(text.eq_str(&decoded) && text.len_at_most(decoded.len()));
            Some(decoded.into())
        }
        Value::Array(bytes) | Value::Object(bytes) => Some(serde_json::from_slice(bytes).expect("a container")),
    }
}
