use super::interpreter::Interpreted;
use super::*;
use crate::engine::tap::projection::Projection;
use proptest::prelude::*;

fn compiled(source: &str) -> (Expr, Projection) {
    let mut builder = ProjectionBuilder::new();
    let expr = Expr::compile(source, &mut builder).unwrap_or_else(|error| panic!("{source}: {error}"));
    (expr, builder.build())
}

fn test(source: &str, json: &str) -> Result<bool, ExprFailure> {
    let (expr, projection) = compiled(source);
    let mut fields = Fields::new();
    projection.read(json.as_bytes(), &mut fields).expect("good JSON");
    expr.test(&fields, &mut Scratch::default())
}

fn write(source: &str, json: &str) -> Result<Option<String>, ExprFailure> {
    let (expr, projection) = compiled(source);
    let mut fields = Fields::new();
    projection.read(json.as_bytes(), &mut fields).expect("good JSON");
    let mut out = Vec::new();
    Ok(match expr.write(&fields, &mut Scratch::default(), &mut out)? {
        Written::Null => None,
        Written::Value => Some(String::from_utf8(out).expect("UTF-8")),
    })
}

fn refused(source: &str) -> ExprError {
    Expr::compile(source, &mut ProjectionBuilder::new()).expect_err("refused")
}

const TICKET: &str = r#"{"event_type": "ticket_created", "data": {"priority": "high", "tries": 3, "cost": 1.50,
    "note": null, "tags": ["a", "b"], "name": "J\u00f6rg", "success": true}}"#;

#[test]
fn a_condition_is_met_or_not() {
    assert_eq!(test(r#"event_type == "ticket_created""#, TICKET), Ok(true));
    assert_eq!(test(r#"event_type != "ticket_created""#, TICKET), Ok(false));
    assert_eq!(
        test(r#"event_type == "ticket_created" && data.tries >= 3"#, TICKET),
        Ok(true)
    );
    assert_eq!(test(r#"data.priority in ["low", "high"]"#, TICKET), Ok(true));
    assert_eq!(test(r#"data.tries in [1, 2]"#, TICKET), Ok(false));
    assert_eq!(test(r#"data.cost < 2"#, TICKET), Ok(true));
    assert_eq!(test(r#"data.note == null"#, TICKET), Ok(true));
    assert_eq!(
        test(
            r#"data.name == "Jörg" && data.name.endsWith("rg") && size(data.name) == 4"#,
            TICKET
        ),
        Ok(true)
    );
    assert_eq!(test(r#"!data.success"#, TICKET), Ok(false));
    assert_eq!(test(r#"size(data.tags) == 2"#, TICKET), Ok(true));
    assert_eq!(
        test(r#"type(data.tries) == int && type(data.cost) != int"#, TICKET),
        Ok(true)
    );
}

#[test]
fn a_missing_field_is_a_failure_except_within_has() {
    assert_eq!(test(r#"data.channel == "email""#, TICKET), Err(ExprFailure::Missing));
    assert_eq!(test(r#"data.channel != "email""#, TICKET), Err(ExprFailure::Missing));
    assert_eq!(test("has(data.channel)", TICKET), Ok(false));
    assert_eq!(test("has(data.priority)", TICKET), Ok(true));
    assert_eq!(test("has(data.note)", TICKET), Ok(true));
    assert_eq!(test("has(other.priority)", TICKET), Err(ExprFailure::Missing));
    assert_eq!(test("has(event_type.priority)", TICKET), Err(ExprFailure::Type));
}

#[test]
fn a_decisive_operand_outweighs_a_failed_one() {
    assert_eq!(test("nothing == 1 && false", TICKET), Ok(false));
    assert_eq!(test("nothing == 1 || true", TICKET), Ok(true));
    assert_eq!(test("nothing == 1 && true", TICKET), Err(ExprFailure::Missing));
    assert_eq!(test("nothing == 1 || false", TICKET), Err(ExprFailure::Missing));
    assert_eq!(test("event_type && false", TICKET), Ok(false));
}

#[test]
fn types_that_cannot_be_ordered_are_a_failure_and_unequal() {
    assert_eq!(test("event_type < 3", TICKET), Err(ExprFailure::Type));
    assert_eq!(test("event_type == 3", TICKET), Ok(false));
    assert_eq!(test("data == 3", TICKET), Ok(false));
    assert_eq!(test("event_type", TICKET), Err(ExprFailure::Type));
}

#[test]
fn a_label_is_written_as_text() {
    assert_eq!(write("data.priority", TICKET), Ok(Some("high".into())));
    assert_eq!(write("data.name", TICKET), Ok(Some("Jörg".into())));
    assert_eq!(write("data.cost", TICKET), Ok(Some("1.50".into())));
    assert_eq!(write("data.success", TICKET), Ok(Some("true".into())));
    assert_eq!(write("data.note", TICKET), Ok(None));
    assert_eq!(write("data.tags", TICKET), Err(ExprFailure::NoScalar));
    assert_eq!(write("data.nothing", TICKET), Err(ExprFailure::Missing));
    assert_eq!(
        write(r#"data.tries > 2 ? "many" : "few""#, TICKET),
        Ok(Some("many".into()))
    );
    assert_eq!(
        write(
            r#"has(data.email) ? "email" : has(data.name) ? "name" : "none""#,
            TICKET
        ),
        Ok(Some("name".into()))
    );
}

#[test]
fn what_is_not_compiled_is_interpreted() {
    for (source, written) in [
        ("data.priority + '-' + event_type", "high-ticket_created"),
        ("data.tags[1]", "b"),
        ("data.priority.upperAscii()", "HIGH"),
        ("string(data.tries * 2)", "6"),
        ("data.tries * 2", "6"),
        ("data.cost + 1.0", "2.5"),
        ("data.tags.exists(t, t == 'b')", "true"),
        ("data.tags.exists(t, t == data.priority) ? 'x' : data.priority", "high"),
    ] {
        assert_eq!(compiled(source).0.cost(), Cost::Interpreted, "{source}");
        assert_eq!(write(source, TICKET), Ok(Some(written.into())), "{source}");
    }
    assert_eq!(
        compiled("data.priority == 'high' && !(event_type in ['a', 'b'])")
            .0
            .cost(),
        Cost::Native
    );
    assert_eq!(write("data.tries / 0", TICKET), Err(ExprFailure::Range));
    assert_eq!(write("[1, 2]", TICKET), Err(ExprFailure::NoScalar));
}

#[test]
fn only_the_fields_that_are_named_are_read() {
    let mut builder = ProjectionBuilder::new();
    Expr::compile("a.b == 'x' && c.d.e > 1", &mut builder).expect("compiles");
    assert_eq!(builder.build().slots(), 2);
    let mut builder = ProjectionBuilder::new();
    Expr::compile("a.map(x, x.y)[0] == b", &mut builder).expect("compiles");
    assert_eq!(builder.build().slots(), 2, "x belongs to the expression");
}

#[test]
fn a_function_that_does_not_exist_is_refused_with_its_place_and_the_nearest_name() {
    let error = refused("a == 'x' && data.name.startswith('J')");
    assert_eq!(
        &"a == 'x' && data.name.startswith('J')"[error.span.clone()],
        "startswith"
    );
    assert_eq!(error.help.as_deref(), Some("did you mean `startsWith`?"));
    assert_eq!(refused("lenght(a) > 1").help, None);
    assert_eq!(refused("sise(a) > 1").help.as_deref(), Some("did you mean `size`?"));
    assert_eq!(
        refused("lowerAscii(a) == 'x'").help.as_deref(),
        Some("it is written `x.lowerAscii()`")
    );
    assert_eq!(
        refused("a.exists(b)").help.as_deref(),
        Some("it is written `list.exists(x, condition)`")
    );
    assert_eq!(refused("Point{x: 1}.x == 1").span, 0..5);
}

#[test]
fn what_is_not_cel_is_refused_with_its_place() {
    let error = refused("a = 1");
    assert_eq!(&"a = 1"[error.span.clone()], "=", "{error:?}");
    assert_eq!(error.help.as_deref(), Some("equality is written `==`"));
    let error = refused("ä == 'x' &&");
    assert!(error.span.start <= "ä == 'x' &&".len());
    assert!(refused("has(a)").help.is_some(), "{:?}", refused("has(a)"));
    for source in ["", "(", "a..b", "'", "a b", "\n\n a ==", "é = é"] {
        let span = refused(source).span;
        assert!(source.get(span).is_some(), "{source}");
    }
}

#[test]
fn every_function_that_is_let_through_exists() {
    let known = |source: String| {
        let (expr, projection) = compiled(&source);
        let mut fields = Fields::new();
        projection.read(b"{}", &mut fields).expect("good JSON");
        expr.write(&fields, &mut Scratch::default(), &mut Vec::new())
    };
    // Wrong arguments are a matter of types; only a name that is not known is missing.
    for name in functions::GLOBAL.iter().filter(|name| !["type", "dyn"].contains(name)) {
        assert_ne!(
            known(format!("{name}([1], 1, 1, 1, 1)")),
            Err(ExprFailure::Missing),
            "{name}"
        );
    }
    for name in functions::MEMBER {
        assert_ne!(
            known(format!("null.{name}(1, 1, 1, 1, 1)")),
            Err(ExprFailure::Missing),
            "{name}"
        );
    }
}

#[test]
fn an_expression_may_be_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Expr>();
}

// === the compiled and the interpreted answer are the same ===

fn operands() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec!["a", "b", "c.x", "c.y", "c", "d.x", "e"]).prop_map(str::to_owned),
        prop::sample::select(vec![
            "'x'", "'xy'", "''", "'\u{e9}'", "1", "0", "-3", "1.5", "1.0", "true", "false", "null"
        ])
        .prop_map(str::to_owned),
    ]
}

fn sources() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        (
            operands(),
            prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">="]),
            operands()
        )
            .prop_map(|(left, operator, right)| format!("{left} {operator} {right}")),
        operands().prop_map(|one| format!("{one} in ['x', 1, null, 1.5, true]")),
        prop::sample::select(vec!["has(c.x)", "has(a.x)", "has(d.x)", "has(c.x.y)"]).prop_map(str::to_owned),
        (
            operands(),
            prop::sample::select(vec!["contains", "startsWith", "endsWith"]),
            operands()
        )
            .prop_map(|(left, function, right)| format!("({left}).{function}({right})")),
        operands().prop_map(|one| format!("size({one}) > 1")),
        (
            operands(),
            prop::sample::select(vec!["int", "double", "string", "bool", "list", "map"])
        )
            .prop_map(|(one, name)| format!("type({one}) == {name}")),
        operands(),
    ];
    leaf.prop_recursive(4, 16, 3, |inner| {
        prop_oneof![
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left}) && ({right})")),
            (inner.clone(), inner.clone()).prop_map(|(left, right)| format!("({left}) || ({right})")),
            inner.clone().prop_map(|only| format!("!({only})")),
            (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(condition, yes, no)| format!("({condition}) ? ({yes}) : ({no})")),
            (inner.clone(), inner).prop_map(|(left, right)| format!("({left}) == ({right})")),
        ]
    })
}

fn records() -> impl Strategy<Value = String> {
    let value = prop::sample::select(vec![
        "1",
        "0",
        "-0",
        "-3",
        "1.5",
        "1.0",
        "1e0",
        "9223372036854775808",
        "true",
        "false",
        "null",
        "\"x\"",
        "\"xy\"",
        "\"\"",
        "\"\\u00e9\"",
        "\"\\u0078\"",
        "[]",
        "[1]",
        "[1.0, 2]",
        "{}",
        "{\"x\": 1}",
        "{\"y\": \"x\", \"x\": {\"y\": 1}}",
    ]);
    let key = prop::sample::select(vec!["a", "b", "c", "c", "d", "e"]);
    prop::collection::vec((key, value), 0..6).prop_map(|entries| {
        let entries: Vec<_> = entries
            .into_iter()
            .map(|(key, value)| format!("\"{key}\": {value}"))
            .collect();
        format!("{{{}}}", entries.join(", "))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_compiled_answer_is_the_interpreted_one(source in sources(), json in records()) {
        let program = Program::compile(&source).expect("CEL");
        let mut builder = ProjectionBuilder::new();
        let expr = Expr::compile(&source, &mut builder).expect("CEL");
        let oracle = Interpreted::new(program.expression(), &mut builder);
        let projection = builder.build();
        let mut fields = Fields::new();
        projection.read(json.as_bytes(), &mut fields).expect("good JSON");
        let mut scratch = Scratch::default();

        let theirs = oracle.evaluate(&fields);
        let mine = expr.test(&fields, &mut scratch);
        match &theirs {
            Ok(cel::Value::Bool(value)) => prop_assert_eq!(mine, Ok(*value), "{} of {}", source, json),
            _ => prop_assert!(mine.is_err(), "{} of {}: {:?}, not {:?}", source, json, mine, theirs),
        }

        let (mut my_text, mut their_text) = (Vec::new(), Vec::new());
        let mine = expr.write(&fields, &mut scratch, &mut my_text);
        let theirs = theirs.and_then(|value| interpreter::write(&value, &mut their_text));
        prop_assert_eq!(mine.is_ok(), theirs.is_ok(), "{} of {}", source, json);
        if let (Ok(mine), Ok(theirs)) = (mine, theirs) {
            prop_assert_eq!(mine, theirs);
            let number = |text: &[u8]| std::str::from_utf8(text).ok().and_then(|text| text.parse::<f64>().ok());
            prop_assert!(my_text == their_text || number(&my_text) == number(&their_text), "{} of {}", source, json);
        }
    }
}
