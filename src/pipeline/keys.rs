//! Every key of the language, once.
//!
//! Rule: these tables (pipelines, and tests of them) are what files are checked against ([`super::form`]), what the JSON
//! Schemas are rendered from ([`super::schema`]) and what `docs/pipelines.md` and `docs/testing-pipelines.md` are rendered
//! from ([`super::reference`]). A key that is not here does not exist.
//!
//! Edges:
//! - values of several forms are told apart by the form alone (text, list, mapping), so that a message can name the one
//!   that was meant;
//! - keys of later versions are known by name, to say so instead of guessing at a typo.

mod alert;
mod join;
mod lag;
mod metric;
mod source;
mod test;
mod trace;

pub use alert::{ALERT, ALERTMANAGER, MAIL, RECEIVER};
pub use join::{LATEST, ON, RESPOND};
pub use lag::LAG;
pub use metric::{HISTOGRAM, LABEL, METRIC, OBSERVE, OBSERVED, SUM, SUMMED};
pub use source::{DEFAULTS, PIPELINE, SOURCE, TIME};
pub use test::{TEST, TEST_OBJECTS};
pub use trace::{ATTRIBUTE, SPAN, TRACE};

use super::leaf::Leaf;

/// A mapping with fixed keys.
#[derive(Debug)]
pub struct Object {
    /// Its name in the schema and its heading in the reference.
    pub name: &'static str,
    /// How messages call it: `a source`.
    pub called: &'static str,
    pub about: &'static str,
    pub keys: &'static [Key],
    pub rules: &'static [Rule],
    /// Keys that this version does not know yet.
    pub later: &'static [Later],
}

#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    pub shape: Shape,
    pub needed: Needed,
    /// What it does, in the reference and in an editor.
    pub about: &'static str,
    /// A value that is right, as YAML on one line.
    pub example: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    Always,
    /// Always, but where this key stands.
    Unless(&'static str),
    /// Without it, this holds; empty where nothing does.
    Otherwise(&'static str),
}

/// The values that a key takes.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    Leaf(Leaf),
    /// One of these words.
    Word(&'static [&'static str]),
    Object(&'static Object),
    /// A mapping from names to values, with at least so many entries.
    Map {
        key: Leaf,
        value: &'static Shape,
        least: usize,
        most: usize,
    },
    /// A list without repetition.
    List {
        item: &'static Shape,
        most: usize,
    },
    /// A list in which values may stand twice.
    Sequence {
        item: &'static Shape,
        most: usize,
    },
    /// Whatever JSON could hold.
    Any,
    /// One of several, told apart by the YAML form.
    Either(&'static [Shape]),
}

/// What must hold between the keys of one mapping.
#[derive(Debug)]
pub enum Rule {
    ExactlyOne(&'static [&'static str]),
    /// The two exclude each other, because.
    NotBoth(&'static str, &'static str, &'static str),
    /// `key` only where the key `with` says `is`.
    Only {
        key: &'static str,
        with: &'static str,
        is: &'static str,
    },
}

/// A key of a later version.
#[derive(Debug)]
pub struct Later {
    pub key: &'static str,
    pub would: &'static str,
}

const POINTER: Shape = Shape::Leaf(Leaf::Pointer);

/// Every mapping of the language, outermost first.
pub static OBJECTS: &[&Object] = &[
    &PIPELINE,
    &DEFAULTS,
    &SOURCE,
    &TIME,
    &METRIC,
    &SUM,
    &SUMMED,
    &OBSERVE,
    &OBSERVED,
    &RESPOND,
    &ON,
    &HISTOGRAM,
    &LABEL,
    &LATEST,
    &TRACE,
    &SPAN,
    &ATTRIBUTE,
    &LAG,
    &ALERT,
    &RECEIVER,
    &MAIL,
    &ALERTMANAGER,
];

// === impl Object ===

impl Object {
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

// === impl Shape ===

impl Shape {
    /// For messages and the reference: `a field such as /data/channel, or a mapping`.
    pub fn what(&self) -> String {
        match self {
            Shape::Leaf(leaf) => leaf.what().to_owned(),
            Shape::Word(words) => one_of(words),
            Shape::Object(_) | Shape::Map { .. } => "a mapping".to_owned(),
            Shape::List { item, .. } | Shape::Sequence { item, .. } => format!("a list, each {}", item.what()),
            Shape::Any => "any value".to_owned(),
            Shape::Either(shapes) => shapes.iter().map(Shape::what).collect::<Vec<_>>().join(", or "),
        }
    }
}

/// `a`, `b` or `c`, in backquotes.
pub fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{fault::Faults, form, node, reference, schema, secret::Secrets};

    #[test]
    fn every_key_is_in_the_schema_and_in_the_reference() {
        let pipelines = (OBJECTS, schema::schema(), reference::reference());
        let tests = (TEST_OBJECTS, schema::test_schema(), reference::test_reference());
        for (objects, schema, page) in [pipelines, tests] {
            for object in objects {
                for key in object.keys {
                    let property = format!("/$defs/{}/properties/{}", object.name.replace(' ', "_"), key.name);
                    assert!(schema.pointer(&property).is_some(), "{property}");
                    assert!(page.contains(&format!("\n| `{}` | ", key.name)), "{}", key.name);
                }
                for later in object.later {
                    assert!(page.contains(&format!("`{}` (", later.key)), "{}", later.key);
                }
            }
        }
    }

    #[test]
    fn every_mapping_that_a_key_leads_to_is_in_the_table() {
        fn visit(shape: &Shape) {
            match shape {
                Shape::Leaf(_) | Shape::Word(_) | Shape::Any => {}
                Shape::Object(object) => {
                    assert!(
                        OBJECTS
                            .iter()
                            .chain(TEST_OBJECTS)
                            .any(|known| std::ptr::eq(*known, *object)),
                        "{}",
                        object.name
                    );
                }
                Shape::Map { value, .. } => visit(value),
                Shape::List { item, .. } | Shape::Sequence { item, .. } => visit(item),
                Shape::Either(shapes) => shapes.iter().for_each(visit),
            }
        }
        OBJECTS
            .iter()
            .chain(TEST_OBJECTS)
            .flat_map(|object| object.keys)
            .for_each(|key| visit(&key.shape));
    }

    #[test]
    fn examples_and_rules_fit_the_table() {
        for object in OBJECTS.iter().chain(TEST_OBJECTS) {
            for key in object.keys {
                let mut faults = Faults::default();
                let text = format!("{}: {}", key.name, key.example);
                let (_, nodes) = node::read(
                    "example",
                    text.clone(),
                    &mut Secrets::new(&|name| Some(name.to_owned())),
                    &mut faults,
                );
                let value = nodes[0].get(key.name).expect("the key is there");
                form::check(value, &key.shape, "an example", &mut faults);
                assert!(faults.is_empty(), "{}: {text}: {faults:?}", object.name);
            }
            for rule in object.rules {
                let keys = match rule {
                    Rule::ExactlyOne(keys) => keys.to_vec(),
                    Rule::NotBoth(key, other, _) => vec![*key, *other],
                    Rule::Only { key, with, .. } => vec![*key, *with],
                };
                assert!(keys.iter().all(|key| object.key(key).is_some()), "{keys:?}");
            }
        }
    }
}
