//! The table of keys as JSON Schema (draft 2020-12), for editors and for tools that write pipelines.
//!
//! Rule: rendered from the table that files are checked against; a document that the checker takes, the schema takes.
//!
//! Edges:
//! - the schema has no arithmetic for durations and sizes and does not know CEL, so it takes a few documents that `check`
//!   refuses;
//! - a value from outside (`${env:..}`, `${file:..}`) may stand for any single value.

use serde_json::{Map, Value as Json, json};

use super::keys::{Key, Needed, OBJECTS, Object, PIPELINE, Rule, Shape, TEST, TEST_OBJECTS};

/// The schema of one pipeline.
pub fn schema() -> Json {
    render("streamgauge pipeline", &PIPELINE, OBJECTS)
}

/// The schema of one file of tests.
pub fn test_schema() -> Json {
    render("streamgauge pipeline tests", &TEST, TEST_OBJECTS)
}

fn render(title: &str, root: &Object, objects: &[&Object]) -> Json {
    let mut definitions: Map<String, Json> = objects
        .iter()
        .map(|object| (definition(object), of_object(object)))
        .collect();
    definitions.insert(
        "outside".to_owned(),
        json!({
            "description": "A value from the environment or a file.",
            "type": "string",
            "pattern": "\\$\\{(env|file):[^}]*\\}",
        }),
    );
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        "$ref": reference(root),
        "$defs": definitions,
    })
}

fn definition(object: &Object) -> String {
    object.name.replace(' ', "_")
}

fn reference(object: &Object) -> String {
    format!("#/$defs/{}", definition(object))
}

fn of_object(object: &Object) -> Json {
    let mut properties = Map::new();
    for key in object.keys {
        let about = match key.needed {
            Needed::Always | Needed::Unless(_) | Needed::Otherwise("") => key.about.to_owned(),
            Needed::Otherwise(default) => format!("{}\nDefault: {default}.", key.about),
        };
        let mut property = Map::from_iter([("description".to_owned(), Json::String(about))]);
        // A reference beside a description is fine in this draft; `anyOf` and the others are merged in.
        if let Json::Object(shape) = of_shape(&key.shape) {
            property.extend(shape);
        }
        properties.insert(key.name.to_owned(), Json::Object(property));
    }
    let required: Vec<&str> = object
        .keys
        .iter()
        .filter(|key| key.needed == Needed::Always)
        .map(|key| key.name)
        .collect();
    let unless = |key: &Key| match key.needed {
        Needed::Unless(other) => Some(json!({"anyOf": [{"required": [key.name]}, {"required": [other]}]})),
        Needed::Always | Needed::Otherwise(_) => None,
    };
    let rules = object.rules.iter().map(of_rule);
    let rules: Vec<Json> = rules.chain(object.keys.iter().filter_map(unless)).collect();
    let mut schema = json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    });
    if !object.about.is_empty() {
        schema["description"] = json!(object.about);
    }
    if !rules.is_empty() {
        schema["allOf"] = json!(rules);
    }
    schema
}

fn of_shape(shape: &Shape) -> Json {
    match shape {
        Shape::Leaf(leaf) => json!({"anyOf": [leaf.schema(), {"$ref": "#/$defs/outside"}]}),
        Shape::Word(words) => json!({"anyOf": [{"enum": words}, {"$ref": "#/$defs/outside"}]}),
        Shape::Object(object) => json!({"$ref": reference(object)}),
        Shape::Map {
            key,
            value,
            least,
            most,
        } => json!({
            "type": "object",
            "propertyNames": key.schema(),
            "additionalProperties": of_shape(value),
            "minProperties": least,
            "maxProperties": most,
        }),
        Shape::List { item, most } => json!({
            "type": "array",
            "items": of_shape(item),
            "minItems": 1,
            "maxItems": most,
            "uniqueItems": true,
        }),
        Shape::Sequence { item, most } => json!({
            "type": "array",
            "items": of_shape(item),
            "minItems": 1,
            "maxItems": most,
        }),
        Shape::Any => json!({}),
        Shape::Either(shapes) => json!({"anyOf": shapes.iter().map(of_shape).collect::<Vec<_>>()}),
    }
}

fn of_rule(rule: &Rule) -> Json {
    match rule {
        Rule::ExactlyOne(keys) => {
            json!({"oneOf": keys.iter().map(|key| json!({"required": [key]})).collect::<Vec<_>>()})
        }
        Rule::NotBoth(key, other, _) => json!({"not": {"required": [key, other]}}),
        Rule::Only { key, with, is } => json!({
            "if": {"required": [key]},
            "then": {"properties": {*with: {"const": is}}},
        }),
    }
}
