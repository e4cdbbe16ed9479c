use super::*;
use proptest::prelude::*;

fn projection(pointers: &[&str]) -> (Projection, Vec<Slot>) {
    let mut builder = ProjectionBuilder::new();
    let slots = pointers
        .iter()
        .map(|pointer| builder.want(&Pointer::parse(pointer).expect("a good pointer")))
        .collect();
    (builder.build(), slots)
}

/// What one pointer finds in one document, as JSON.
fn found(pointer: &str, json: &str) -> Option<serde_json::Value> {
    let (projection, slots) = projection(&[pointer]);
    let mut fields = Fields::new();
    projection.read(json.as_bytes(), &mut fields).expect("good JSON");
    tree(fields.get(slots[0]))
}

fn tree(value: Value<'_>) -> Option<serde_json::Value> {
    match value {
        Value::Missing => None,
        Value::Null => Some(serde_json::Value::Null),
        Value::Bool(value) => Some(value.into()),
        Value::Number(text) => Some(serde_json::from_str(text).expect("a number")),
        Value::Text(text) => {
            let mut out = Vec::new();
            text.write_to(&mut out);
            let decoded = String::from_utf8(out).expect("decoded text is UTF-8");
            assert!(text.eq_str(&decoded) && !text.eq_str(&format!("{decoded}x")));
            assert!(text.len_at_most(decoded.len()) && (decoded.is_empty() || !text.len_at_most(decoded.len() - 1)));
            Some(decoded.into())
        }
        Value::Array(bytes) | Value::Object(bytes) => Some(serde_json::from_slice(bytes).expect("a container")),
    }
}

fn refused(json: &[u8]) -> Malformed {
    let (projection, _) = projection(&["/a"]);
    let mut fields = Fields::new();
    let first = projection.read(json, &mut fields);
    assert_eq!(
        projection.read(json, &mut fields),
        first,
        "the second answer is the first one"
    );
    first.expect_err("malformed")
}

#[test]
fn fields_are_found_wherever_they_are() {
    let json = r#" { "a" : { "b" : [ 1, {"c": "deep"} ], "x/y": true, "m~n": null }, "0": -1.50e3 } "#;
    assert_eq!(found("/a/b/1/c", json), Some("deep".into()));
    assert_eq!(found("/a/b/0", json), Some(1.into()));
    assert_eq!(found("/a/b/2", json), None);
    assert_eq!(found("/a/b/01", json), None);
    assert_eq!(found("/a/b/-", json), None);
    assert_eq!(found("/a/x~1y", json), Some(true.into()));
    assert_eq!(found("/a/m~0n", json), Some(serde_json::Value::Null));
    assert_eq!(found("/0", json), Some((-1500.0).into()));
    assert_eq!(found("/a/b", json), Some(serde_json::json!([1, {"c": "deep"}])));
    assert_eq!(found("", "[7]"), Some(serde_json::json!([7])));
    assert_eq!(found("/a", "[7]"), None);
}

#[test]
fn a_key_may_be_spelled_with_escapes() {
    assert_eq!(found("/data", r#"{"\u0064ata": 1}"#), Some(1.into()));
    assert_eq!(found("/\u{1f600}", r#"{"\ud83d\ude00": 1}"#), Some(1.into()));
    assert_eq!(found("/a\"b", r#"{"a\"b": 1}"#), Some(1.into()));
}

#[test]
fn of_a_key_that_comes_twice_the_last_one_wins_with_all_below_it() {
    assert_eq!(found("/a", r#"{"a": 1, "a": 2}"#), Some(2.into()));
    assert_eq!(found("/a/b", r#"{"a": {"b": 1}, "a": {"c": 2}}"#), None);
    assert_eq!(found("/a/b", r#"{"a": {"b": 1}, "\u0061": 3}"#), None);
    let (projection, slots) = projection(&["/a"]);
    let mut fields = Fields::new();
    for (json, last) in [(r#"{"a": 1, "a": 2}"#, "2"), (r#"{"a": 3, "a": 4}"#, "4")] {
        projection.read(json.as_bytes(), &mut fields).expect("good JSON");
        assert_eq!(fields.get(slots[0]), Value::Number(last));
    }
}

#[test]
fn half_a_surrogate_is_text_with_a_replacement_character() {
    assert_eq!(found("/a", r#"{"a": "x\ud800y"}"#), Some("x\u{fffd}y".into()));
    assert_eq!(found("/a", r#"{"a": "\udc00\ud800"}"#), Some("\u{fffd}\u{fffd}".into()));
    assert_eq!(found("/a", r#"{"a": "\ud800\u0041"}"#), Some("\u{fffd}A".into()));
    assert_eq!(found("/a", r#"{"a": "\ud83d\ude00"}"#), Some("\u{1f600}".into()));
}

#[test]
fn what_is_not_json_is_malformed_and_says_where() {
    for (json, at) in [
        (&b""[..], 0),
        (b"  ", 2),
        (b"{", 1),
        (b"{\"a\": 1", 7),
        (b"{\"a\": 1}x", 8),
        (b"{\"a\": 1,}", 8),
        (b"[1,]", 3),
        (b"[1 2]", 3),
        (b"{\"a\" 1}", 5),
        (b"{a: 1}", 1),
        (b"\"abc", 4),
        (b"\"a\nb\"", 2),
        (b"\"\\x\"", 1),
        (b"\"\\u12g4\"", 1),
        (b"\"\\", 1),
        (b"01", 1),
        (b"-", 1),
        (b"1.", 2),
        (b"1e+", 3),
        (b"tru", 0),
        (b"nulll", 4),
        (b"NaN", 0),
        (b"\xff", 0),
        (b"\"\xc3\"", 1),
        (b"\xef\xbb\xbf{}", 0),
    ] {
        assert_eq!(refused(json).at, at, "{}", String::from_utf8_lossy(json));
    }
}

#[test]
fn nesting_ends_at_128_containers_wherever_it_is() {
    for (open, close, inside) in [("[", "]", ""), ("{\"a\":", "}", "1"), ("{\"z\":", "}", "1")] {
        let nested = |depth: usize| format!("{}{inside}{}", open.repeat(depth), close.repeat(depth));
        let (projection, _) = projection(&["/a/a/a/0"]);
        assert_eq!(projection.read(nested(128).as_bytes(), &mut Fields::new()), Ok(()));
        assert!(projection.read(nested(129).as_bytes(), &mut Fields::new()).is_err());
        assert!(projection.read(nested(100_000).as_bytes(), &mut Fields::new()).is_err());
    }
}

#[test]
fn a_pointer_that_cannot_be_says_where() {
    assert_eq!(Pointer::parse("data").map_err(|error| error.at), Err(0));
    assert_eq!(Pointer::parse("/a/b~2").map_err(|error| error.at), Err(4));
    assert_eq!(Pointer::parse("/a~").map_err(|error| error.at), Err(2));
    let made = Pointer::of(["x/y", "m~n"]);
    assert_eq!(Pointer::parse(made.as_str()), Ok(made));
}

#[test]
fn equal_pointers_share_a_slot() {
    let (projection, slots) = projection(&["/a/b", "/a", "/a/b"]);
    assert_eq!(projection.slots(), 2);
    assert_eq!(slots[0], slots[2]);
}

#[test]
fn a_known_shape_takes_other_scalars_of_other_types() {
    let (projection, slots) = projection(&["/a", "/b", "/b/c", "/d/0"]);
    let mut fields = Fields::new();
    for _ in 0..3 {
        for json in [
            r#"{"a": 1, "b": {"c": "x"}, "d": [true, 2]}"#,
            r#"{"a": "\"{", "b": {"c": null}, "d": [-0.5, "\u00e9"]}"#,
            r#"{"a": {"z": 1}, "b": {"c": {}}, "d": []}"#,
            r#"{"a": 12, "b": 1, "d": [[1], 2]}"#,
            r#"{"b": {"c": 3}, "a": 4}"#,
        ] {
            projection.read(json.as_bytes(), &mut fields).expect("good JSON");
            let whole: serde_json::Value = serde_json::from_str(json).expect("good JSON");
            for (slot, pointer) in slots.iter().zip(["/a", "/b", "/b/c", "/d/0"]) {
                assert_eq!(
                    tree(fields.get(*slot)).as_ref(),
                    whole.pointer(pointer),
                    "{pointer} of {json}"
                );
            }
        }
        for json in [
            r#"{"a": 1, "b": {"c": "x"}, "d": [true, 2]} x"#,
            r#"{"a": 01, "b": {"c": "x"}, "d": [true, 2]}"#,
        ] {
            assert!(projection.read(json.as_bytes(), &mut fields).is_err());
        }
    }
}

#[test]
fn a_buffer_may_serve_several_projections() {
    let (first, slots) = projection(&["/a", "/b"]);
    let (second, others) = projection(&["/b", "/a"]);
    let mut fields = Fields::new();
    for _ in 0..3 {
        first.read(br#"{"a": 1, "b": 2}"#, &mut fields).expect("good JSON");
        assert_eq!(fields.get(slots[0]), Value::Number("1"));
        second.read(br#"{"a": 1, "b": 2}"#, &mut fields).expect("good JSON");
        assert_eq!(fields.get(others[0]), Value::Number("2"));
    }
}

#[test]
fn documents_of_ever_new_shapes_put_guessing_to_sleep_and_are_still_read() {
    let (projection, slots) = projection(&["/a"]);
    let mut fields = Fields::new();
    for id in 0..30_000 {
        let json = format!("{{\"{id}\": [{id}], \"a\": {id}}}");
        let mut these = std::mem::take(&mut fields).reuse();
        projection.read(json.as_bytes(), &mut these).expect("good JSON");
        assert_eq!(these.get(slots[0]), Value::Number(&id.to_string()));
        fields = these.reuse();
    }
}

// === properties ===

const KEYS: [&str; 7] = ["a", "b", "c", "0", "1", "d/e", "\u{e9}\""];
const POINTERS: [&str; 12] = [
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
    "/c/c",
    "/1/1",
];

fn trees() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<f64>()
            .prop_filter("finite", |n| n.is_finite())
            .prop_map(serde_json::Value::from),
        "\\PC{0,40}".prop_map(serde_json::Value::from),
        any::<String>().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
            prop::collection::vec((prop::sample::select(&KEYS[..]), inner), 0..6).prop_map(|entries| {
                serde_json::Value::Object(
                    entries
                        .into_iter()
                        .map(|(key, value)| (key.to_owned(), value))
                        .collect(),
                )
            }),
        ]
    })
}

/// A tree as text: with white space or without, with escapes or without.
fn spell(tree: &serde_json::Value, loose: bool, escaped: bool) -> String {
    let text = if loose {
        serde_json::to_string_pretty(tree)
    } else {
        serde_json::to_string(tree)
    };
    let text = text.expect("a tree is JSON");
    if !escaped {
        return text;
    }
    let mut out = String::new();
    for character in text.chars() {
        if character.is_ascii() {
            out.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    out
}

/// Reads with one buffer for all, so that shapes of earlier documents are in it, and compares with serde_json.
fn agrees_with_serde(documents: &[Vec<u8>]) -> Result<(), TestCaseError> {
    let (projection, slots) = projection(&POINTERS);
    let mut fields = Fields::new();
    for json in documents.iter().chain(documents) {
        let mine = projection.read(json, &mut fields);
        match serde_json::from_slice::<serde_json::Value>(json) {
            Ok(tree_of) => {
                prop_assert_eq!(mine, Ok(()));
                for (slot, pointer) in slots.iter().zip(POINTERS) {
                    prop_assert_eq!(
                        tree(fields.get(*slot)),
                        tree_of.pointer(pointer).cloned(),
                        "{}",
                        pointer
                    );
                }
            }
            Err(error) => {
                // Two things are well formed here that serde_json cannot represent.
                let text = error.to_string();
                if !text.contains("number out of range") && !text.contains("surrogate") && !text.contains("end of hex")
                {
                    prop_assert!(mine.is_err(), "serde_json says {}", text);
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn good_documents_read_as_serde_json_reads_them(
        trees in prop::collection::vec((trees(), any::<bool>(), any::<bool>()), 1..4)
    ) {
        let documents: Vec<_> =
            trees.iter().map(|(tree, loose, escaped)| spell(tree, *loose, *escaped).into_bytes()).collect();
        agrees_with_serde(&documents)?;
    }

    #[test]
    fn damaged_documents_are_judged_as_serde_json_judges_them(
        tree in trees(),
        loose in any::<bool>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![
            prop::sample::select(br#"{}[]",:\ 0123-+.eEtfnu/"#.to_vec()),
            any::<u8>(),
        ], 0..4u8), 1..4),
    ) {
        let good = spell(&tree, loose, true).into_bytes();
        let mut bad = good.clone();
        for (at, byte, how) in damage {
            let at = at.index(bad.len() + 1);
            match how {
                0 if at < bad.len() => bad[at] = byte,
                1 if at < bad.len() => { bad.remove(at); }
                2 => bad.truncate(at),
                _ => bad.insert(at, byte),
            }
        }
        agrees_with_serde(&[good, bad])?;
    }

    #[test]
    fn any_bytes_are_judged_and_never_panic(
        json in prop::collection::vec(prop_oneof![
            4 => prop::sample::select(br#"{}[]",:\ 01a-.eEtrufalsn"#.to_vec()),
            1 => any::<u8>(),
        ], 0..60)
    ) {
        agrees_with_serde(&[json])?;
    }
}
