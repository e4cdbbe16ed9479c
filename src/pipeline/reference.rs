//! `docs/pipelines.md` and `docs/testing-pipelines.md`, rendered.
//!
//! Rule: the tables come from the table of keys, the words around them are here; the files are never edited by hand.

use super::keys::{Key, Needed, OBJECTS, Object, Rule, Shape, TEST_OBJECTS, one_of};
use super::unit;

const INTRODUCTION: &str = include_str!("reference/introduction.md");
const EXPLANATIONS: &str = include_str!("reference/explanations.md");
const TESTING: &str = include_str!("reference/testing.md");
const RENDERED: &str =
    "<!-- Rendered from src/pipeline/: `UPDATE_DOCS=1 cargo test --test pipeline_reference`. -->\n\n";

/// The whole page on tests.
pub fn test_reference() -> String {
    let mut page = format!("{RENDERED}{TESTING}\n## Keys\n");
    for object in TEST_OBJECTS {
        of_object(&mut page, object);
    }
    page
}

/// The whole page on pipelines.
pub fn reference() -> String {
    let mut page = format!("{RENDERED}{INTRODUCTION}");
    page.push_str("\n## Keys\n");
    for object in OBJECTS {
        of_object(&mut page, object);
    }
    page.push('\n');
    let units = unit::KNOWN
        .iter()
        .map(|(unit, word)| format!("`{unit}` (`_{word}`)"))
        .collect::<Vec<_>>()
        .join(", ");
    page.push_str(&EXPLANATIONS.replace("{{units}}", &units));
    page
}

fn of_object(page: &mut String, object: &Object) {
    page.push_str(&format!("\n### {}\n\n", heading(object)));
    if !object.about.is_empty() {
        page.push_str(&format!("{}\n\n", object.about));
    }
    page.push_str("| key | takes | default | |\n|---|---|---|---|\n");
    for key in object.keys {
        page.push_str(&of_key(key));
    }
    let rules = of_rules(object.rules);
    if !rules.is_empty() {
        page.push_str(&format!("\n{}\n", rules.join(" ")));
    }
    if !object.later.is_empty() {
        let later: Vec<String> = object
            .later
            .iter()
            .map(|key| format!("`{}` ({})", key.key, key.would))
            .collect();
        page.push_str(&format!(
            "\nReserved for later versions, and refused by this one: {}.\n",
            later.join(", ")
        ));
    }
}

fn heading(object: &Object) -> String {
    let mut name = object.name.to_owned();
    if let Some(first) = name.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    name
}

fn of_key(key: &Key) -> String {
    let default = match key.needed {
        Needed::Always => "required".to_owned(),
        Needed::Unless(other) => format!("required without `{other}`"),
        Needed::Otherwise("") => String::new(),
        Needed::Otherwise(default) => {
            // Values are set as code, words as words.
            if default.contains(' ') && !default.starts_with('{') {
                default.to_owned()
            } else {
                format!("`{default}`")
            }
        }
    };
    let cells = [
        format!("`{}`", key.name),
        takes(&key.shape),
        default,
        format!("{} Example: `{}: {}`", key.about, key.name, key.example),
    ];
    format!("| {} |\n", cells.map(|cell| cell.replace('|', "\\|")).join(" | "))
}

fn takes(shape: &Shape) -> String {
    match shape {
        Shape::Leaf(leaf) => match leaf.range() {
            Some(range) => format!("{}, {range}", leaf.what()),
            None => leaf.what().to_owned(),
        },
        Shape::Word(words) => one_of(words),
        Shape::Object(object) => format!("[{}](#{})", object.name, object.name.replace(' ', "-")),
        Shape::Map { key, value, .. } => format!("{} → {}", key.what(), takes(value)),
        Shape::Sequence { item, .. } => format!("a list, each {}", takes(item)),
        Shape::Any => "any value".to_owned(),
        Shape::List { item, most } => format!("a list of up to {most}, each {}", takes(item)),
        Shape::Either(shapes) => shapes.iter().map(takes).collect::<Vec<_>>().join(", or "),
    }
}

/// Keys that one other key shuts out for one reason are told together.
fn of_rules(rules: &[Rule]) -> Vec<String> {
    let alike = |one: &Rule, other: &Rule| match (one, other) {
        (Rule::NotBoth(_, a, why), Rule::NotBoth(_, b, because)) => (a, why) == (b, because),
        _ => false,
    };
    rules
        .chunk_by(alike)
        .filter_map(|rules| {
            let first = rules.first()?;
            let shut_out = |rule: &Rule| match rule {
                Rule::NotBoth(key, ..) => Some(*key),
                _ => None,
            };
            let keys: Vec<&str> = rules.iter().filter_map(shut_out).collect();
            Some(match first {
                Rule::ExactlyOne(keys) => format!("Exactly one of {}.", one_of(keys).replace(" or ", " and ")),
                Rule::NotBoth(_, other, why) => {
                    let cannot = if keys.len() == 1 { "cannot stand" } else { "can stand" };
                    let none = if keys.len() == 1 { "" } else { "None of " };
                    let keys = one_of(&keys).replace(" or ", " and ");
                    format!("{none}{keys} {cannot} beside `{other}`: {why}.")
                }
                Rule::Only { key, with, is } => format!("`{key}` belongs to `{with}: {is}`."),
            })
        })
        .collect()
}
