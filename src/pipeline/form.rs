//! Whether a document has the form that the table of keys gives it.
//!
//! Rule: the walk goes over the whole document beside the table and notes everything that does not fit; what it lets pass
//! the JSON Schema lets pass too. It knows nothing of meaning.
//!
//! Edges:
//! - an unknown key names the nearest known one, or all of them;
//! - a mapping with a key of a later version gets that one fault and no others;
//! - a key without a value is a fault, so that nothing is left out by accident.

use super::fault::{Faults, Place};
use super::keys::{Key, Needed, Object, Rule, Shape, one_of};
use super::leaf::{Leaf, Wrong};
use super::node::{Entry, Form, Node, Scalar, Value, shorten};

/// Notes everything in `document`, which messages call `called`, that does not fit `shape`.
pub fn check(document: &Node, shape: &Shape, called: &str, faults: &mut Faults) {
    Walk { faults }.value(document, shape, &Asked { called, example: None });
}

struct Walk<'f> {
    faults: &'f mut Faults,
}

/// What is asked for at one place, for messages.
struct Asked<'a> {
    called: &'a str,
    example: Option<&'a Key>,
}

// === impl Walk ===

impl Walk<'_> {
    fn value(&mut self, node: &Node, shape: &Shape, asked: &Asked<'_>) {
        match (shape, &node.value) {
            (Shape::Leaf(leaf), Value::Scalar(scalar)) => self.leaf(&node.place, scalar, *leaf),
            (Shape::Word(words), Value::Scalar(scalar)) => self.word(&node.place, scalar, words, asked),
            (Shape::Object(object), Value::Map(entries)) => self.object(node, entries, object),
            (
                Shape::Map {
                    key,
                    value,
                    least,
                    most,
                },
                Value::Map(entries),
            ) => {
                self.length(node, entries.len(), *least, *most, asked);
                for entry in entries {
                    self.name(entry, *key);
                    self.value(
                        &entry.node,
                        value,
                        &Asked {
                            called: &entry.key,
                            example: None,
                        },
                    );
                }
            }
            (Shape::List { item, most }, Value::List(items)) => {
                self.length(node, items.len(), 1, *most, asked);
                for item_node in items {
                    self.value(item_node, item, asked);
                }
                self.repetition(items);
            }
            (Shape::Sequence { item, most }, Value::List(items)) => {
                self.length(node, items.len(), 1, *most, asked);
                for item_node in items {
                    self.value(item_node, item, asked);
                }
            }
            (Shape::Any, _) => {}
            (Shape::Either(shapes), _) => match shapes.iter().find(|shape| fits(shape, node)) {
                Some(shape) => self.value(node, shape, asked),
                None => self.mismatch(node, shape, asked),
            },
            _ => self.mismatch(node, shape, asked),
        }
    }

    fn mismatch(&mut self, node: &Node, shape: &Shape, asked: &Asked<'_>) {
        let message = match &node.value {
            Value::Null => format!("`{}` has no value", asked.called),
            _ => format!("`{}` cannot be {}", asked.called, node.describe()),
        };
        let example = match asked.example {
            Some(key) => format!(", such as `{}: {}`", key.name, key.example),
            None => String::new(),
        };
        self.faults
            .add(&node.place, message)
            .help(format!("write {}{example}", shape.what()));
    }

    fn leaf(&mut self, place: &Place, scalar: &Scalar, leaf: Leaf) {
        if let Err(wrong) = leaf.check(scalar) {
            self.wrong(place, &scalar.text, wrong);
        }
    }

    fn name(&mut self, entry: &Entry, leaf: Leaf) {
        let key = Scalar {
            text: entry.key.clone(),
            form: Form::Text,
            shown: entry.key.clone(),
        };
        self.leaf(&entry.key_place, &key, leaf);
    }

    fn wrong(&mut self, place: &Place, text: &str, wrong: Wrong) {
        let place = match wrong.at {
            Some(bytes) => place.within(text, bytes),
            None => place.clone(),
        };
        self.faults.add(&place, wrong.message).help(wrong.help);
    }

    fn word(&mut self, place: &Place, scalar: &Scalar, words: &[&str], asked: &Asked<'_>) {
        if scalar.form == Form::Unknown || words.contains(&scalar.text.as_str()) {
            return;
        }
        let help = match nearest(&scalar.shown, words.iter().copied()) {
            Some(word) => format!("did you mean `{word}`? It may be {}", one_of(words)),
            None => format!("it may be {}", one_of(words)),
        };
        self.faults
            .add(
                place,
                format!("`{}` cannot be `{}`", asked.called, shorten(&scalar.shown)),
            )
            .help(help);
    }

    fn object(&mut self, node: &Node, entries: &[Entry], object: &Object) {
        let mut later = false;
        for entry in entries {
            if let Some(key) = object.later.iter().find(|key| key.key == entry.key) {
                later = true;
                self.faults
                    .add(
                        &entry.key_place,
                        format!("`{}` is not supported by this version", key.key),
                    )
                    .help(format!("it is reserved for what {}; leave it out", key.would));
            }
        }
        // Outermost keys are independent; in any other mapping the other keys belong to the one of a later version.
        if later && !std::ptr::eq(object, &super::keys::PIPELINE) {
            return;
        }
        // A misspelt key that must be there is one fault, not two.
        let mut meant = Vec::new();
        for entry in entries {
            match object.key(&entry.key) {
                Some(key) => {
                    let asked = Asked {
                        called: key.name,
                        example: Some(key),
                    };
                    self.value(&entry.node, &key.shape, &asked);
                }
                None if object.later.iter().any(|key| key.key == entry.key) => {}
                None => meant.extend(self.unknown(entry, object)),
            }
        }
        let start = Place {
            bytes: node.place.bytes.start..first_line(node),
            ..node.place.clone()
        };
        let needed = |key: &&Key| match key.needed {
            Needed::Always => true,
            Needed::Unless(other) => node.get(other).is_none() && !meant.contains(&other),
            Needed::Otherwise(_) => false,
        };
        for key in object.keys.iter().filter(needed) {
            if node.get(key.name).is_none() && !meant.contains(&key.name) {
                self.faults
                    .add(&start, format!("{} needs `{}`", object.called, key.name))
                    .help(format!("add `{}: {}`", key.name, key.example));
            }
        }
        for rule in object.rules {
            self.rule(node, &start, object, rule, &meant);
        }
    }

    /// Notes an unknown key; the answer is the known one that it most likely is.
    fn unknown(&mut self, entry: &Entry, object: &Object) -> Option<&'static str> {
        let known = object.keys.iter().map(|key| key.name);
        let meant = nearest(&entry.key, known.clone());
        let help = match meant {
            Some(key) => format!("did you mean `{key}`?"),
            None => {
                let all = one_of(&known.collect::<Vec<_>>()).replace(" or ", " and ");
                format!("{} has {all}", object.called)
            }
        };
        let message = format!("unknown key `{}` in {}", shorten(&entry.key), object.called);
        self.faults.add(&entry.key_place, message).help(help);
        meant
    }

    fn rule(&mut self, node: &Node, start: &Place, object: &Object, rule: &Rule, meant: &[&str]) {
        match rule {
            Rule::ExactlyOne(keys) => {
                let mut found = node.entries().iter().filter(|entry| keys.contains(&entry.key.as_str()));
                let Some(first) = found.next() else {
                    if meant.iter().any(|key| keys.contains(key)) {
                        return;
                    }
                    let help = object.key(keys[0]).map_or("", |key| key.example);
                    self.faults
                        .add(start, format!("{} needs one of {}", object.called, one_of(keys)))
                        .help(format!("add for example `{}: {help}`", keys[0]));
                    return;
                };
                for other in found {
                    self.faults
                        .add(
                            &other.key_place,
                            format!("{} cannot have both `{}` and `{}`", object.called, first.key, other.key),
                        )
                        .and(&first.key_place, "the other one")
                        .help(format!("it has exactly one of {}", one_of(keys)));
                }
            }
            Rule::NotBoth(key, other, why) => {
                if let (Some(key), Some(other)) = (node.entry(key), node.entry(other)) {
                    self.faults
                        .add(
                            &key.key_place,
                            format!("`{}` cannot stand beside `{}`", key.key, other.key),
                        )
                        .and(&other.key_place, "the other one")
                        .help(format!("{why}: leave `{}` out", key.key));
                }
            }
            Rule::Only { key, with, is } => {
                if let (Some(key), Some(other)) = (node.entry(key), node.entry(with))
                    && other.node.text().is_some_and(|text| text != *is)
                {
                    self.faults
                        .add(&key.key_place, format!("`{}` belongs to `{with}: {is}`", key.key))
                        .and(&other.node.place, "which this is not")
                        .help(format!("write `{with}: {is}`, or leave `{}` out", key.key));
                }
            }
        }
    }

    fn length(&mut self, node: &Node, length: usize, least: usize, most: usize, asked: &Asked<'_>) {
        if length < least {
            self.faults
                .add(&node.place, format!("`{}` is empty", asked.called))
                .help("write at least one entry");
        } else if length > most {
            self.faults
                .add(&node.place, format!("`{}` has {length} entries", asked.called))
                .help(format!("at most {most} are taken"));
        }
    }

    fn repetition(&mut self, items: &[Node]) {
        let mut seen = std::collections::BTreeMap::new();
        for item in items {
            let Some(text) = item.text() else { continue };
            if let Some(first) = seen.insert(text, &item.place) {
                self.faults
                    .add(&item.place, format!("{} stands here a second time", item.describe()))
                    .and(first, "first here")
                    .help("keep one of the two");
            }
        }
    }
}

/// Whether a value has the YAML form of `shape`; what is inside is another matter.
fn fits(shape: &Shape, node: &Node) -> bool {
    matches!(
        (shape, &node.value),
        (Shape::Leaf(_) | Shape::Word(_), Value::Scalar(_))
            | (Shape::Object(_) | Shape::Map { .. }, Value::Map(_))
            | (Shape::List { .. } | Shape::Sequence { .. }, Value::List(_))
            | (Shape::Any, _)
    )
}

/// Where the first line of a value ends, so that a long mapping is not underlined whole.
fn first_line(node: &Node) -> usize {
    let text = node
        .place
        .file
        .inner()
        .get(node.place.bytes.clone())
        .unwrap_or_default();
    let line = text.lines().next().unwrap_or_default().trim_end();
    // A block mapping is pointed at by its first key alone.
    let length = if line.starts_with('{') {
        line.len()
    } else {
        line.find(':').unwrap_or(line.len())
    };
    node.place.bytes.start + length
}

/// The known word that was most likely meant.
pub fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    const LONGEST: usize = 64;
    if word.len() > LONGEST {
        return None;
    }
    known
        .map(|candidate| (strsim::damerau_levenshtein(&word.to_lowercase(), candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.len() / 3))
        .min()
        .map(|(_, candidate)| candidate)
}
