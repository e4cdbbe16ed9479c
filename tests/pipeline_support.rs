//! The labels of the users' system, computed from records as the services write them.

use streamgauge::engine::plan::{LabelFrom, Plan};
use streamgauge::engine::tap::expr::{Scratch, Written};
use streamgauge::engine::tap::projection::Fields;
use streamgauge::pipeline;

fn support() -> Plan {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/support.yaml");
    pipeline::load(&[file], &|_| None).unwrap_or_else(|error| panic!("{error}"))
}

/// The computed labels of the first metric of `source` for a record with this `data`.
fn labels(plan: &Plan, source: &str, data: &str) -> Vec<String> {
    let record =
        format!(r#"{{"event_type": "x", "timestamp": "2026-01-01T00:00:00", "producer_id": "p", "data": {data}}}"#);
    let (topic, source) = plan
        .topics
        .iter()
        .flat_map(|topic| topic.sources.iter().map(move |source| (topic, source)))
        .find(|(_, candidate)| candidate.name == source)
        .expect("the source is there");
    let mut fields = Fields::new();
    topic
        .projection
        .read(record.as_bytes(), &mut fields)
        .expect("the record is JSON");
    let computed = |label: &LabelFrom| {
        let LabelFrom::Expr { expr, otherwise } = label else {
            panic!("a computed label")
        };
        let mut text = Vec::new();
        match expr.write(&fields, &mut Scratch::default(), &mut text) {
            Ok(Written::Value) => String::from_utf8(text).expect("UTF-8"),
            Ok(Written::Null) | Err(_) => otherwise.clone().expect("a way out"),
        }
    };
    source.recipes[0].labels.iter().map(computed).collect()
}

#[test]
fn an_identity_is_resolved_by_what_the_service_says_else_by_email_else_by_phone() {
    let plan = support();
    for (data, resolution, success) in [
        (
            r#"{"customer_id": "c", "resolution_type": "crm", "identity_data": {"email": "a@b"}}"#,
            "crm",
            "true",
        ),
        (
            r#"{"customer_id": "c", "identity_data": {"email": "a@b", "phone": "1"}}"#,
            "email",
            "true",
        ),
        (
            r#"{"customer_id": "c", "resolution_type": null, "identity_data": {"email": "a@b"}}"#,
            "email",
            "true",
        ),
        (
            r#"{"customer_id": "c", "identity_data": {"email": "", "phone": "1"}}"#,
            "phone",
            "true",
        ),
        (
            r#"{"customer_id": "c", "identity_data": {"email": null, "phone": "1"}}"#,
            "phone",
            "true",
        ),
        (
            r#"{"customer_id": "c", "identity_data": {"email": 5, "phone": "1"}}"#,
            "phone",
            "true",
        ),
        (
            r#"{"customer_id": "c", "identity_data": {"phone": "1"}}"#,
            "phone",
            "true",
        ),
        (
            r#"{"customer_id": "c", "identity_data": {"name": "x"}}"#,
            "none",
            "true",
        ),
        (r#"{"customer_id": "c", "identity_data": {}}"#, "none", "true"),
        (r#"{"customer_id": "c", "identity_data": null}"#, "none", "true"),
        (r#"{"customer_id": "c"}"#, "none", "true"),
        (
            r#"{"customer_id": "", "identity_data": {"email": "a@b"}}"#,
            "email",
            "false",
        ),
        (
            r#"{"customer_id": null, "identity_data": {"email": "a@b"}}"#,
            "email",
            "false",
        ),
        (
            r#"{"customer_id": 7, "identity_data": {"email": "a@b"}}"#,
            "email",
            "false",
        ),
        (r#"{"identity_data": {"email": "a@b"}}"#, "email", "false"),
        ("{}", "none", "false"),
        ("null", "none", "false"),
    ] {
        assert_eq!(labels(&plan, "identities", data), [resolution, success], "{data}");
    }
}
