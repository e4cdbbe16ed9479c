//! Where something can be written into a file, and how it is spelled there.
//!
//! Rule: what is written replaces the value of one key and nothing else: every byte before and behind it stays. In a
//! mapping on one line it is written on that line, else below its key.
//!
//! Edges:
//! - comments inside of a value go with it; those behind its end stay;
//! - a value that other places share (an anchor or an alias) is [`Spot::shared`], since a change would reach them too.

use std::ops::Range;

use crate::pipeline::node::{Entry, Node, Value};

/// The value of one key, or the place of a key that is not there yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    pub range: Range<usize>,
    /// Columns before the key.
    indent: usize,
    /// Inside of braces.
    flow: bool,
    /// The key that has to be written too.
    key: Option<&'static str>,
    pub shared: bool,
}

/// What is written: YAML without a layout.
#[derive(Clone, Debug, PartialEq)]
pub enum Written {
    /// As it is.
    Plain(String),
    /// Quoted where it has to be.
    Text(String),
    Map(Vec<(String, Written)>),
    List(Vec<Written>),
}

// === impl Spot ===

impl Spot {
    /// The value of this key.
    pub(super) fn of(entry: &Entry, flow: bool) -> Spot {
        let text = entry.node.place.file.inner();
        let key = &entry.key_place.bytes;
        let colon = text[key.end..].find(':').map_or(key.end, |at| key.end + at + 1);
        let shared = text[colon..].trim_start().starts_with(['&', '*']);
        Spot {
            range: colon..end_of(&entry.node).max(colon),
            indent: column(text, key.start),
            flow,
            key: None,
            shared,
        }
    }

    /// Behind the last key of this mapping, for a key that it does not have.
    pub(super) fn within(entry: &Entry, key: &'static str, flow: bool) -> Spot {
        let text = entry.node.place.file.inner();
        let end = end_of(&entry.node);
        let range = if flow {
            let brace = end.saturating_sub(1);
            text[..brace].trim_end().len()..brace
        } else {
            let line = text[end..].find('\n').map_or(text.len(), |line| end + line);
            line..line
        };
        let first = entry.node.entries().first();
        let colon = Spot::of(entry, flow);
        Spot {
            range,
            indent: first.map_or(colon.indent + 2, |first| column(text, first.key_place.bytes.start)),
            flow,
            key: Some(key),
            shared: colon.shared,
        }
    }

    /// The bytes for this spot. Texts go through `mask`, which calls what came from outside as a file would.
    pub fn spell(&self, what: &Written, mask: &dyn Fn(&str) -> String) -> String {
        let mut out = String::new();
        let what = &what.quoted(mask);
        match (self.key, self.flow) {
            (Some(key), true) => out.push_str(&format!(", {key}:")),
            (Some(key), false) => out.push_str(&format!("\n{:1$}{key}:", "", self.indent)),
            (None, _) => {}
        }
        if self.flow {
            out.push(' ');
            what.on_one_line(&mut out);
            if self.key.is_some() {
                out.push(' ');
            }
        } else {
            what.below(&mut out, self.indent);
        }
        out
    }
}

// === impl Written ===

impl Written {
    /// With all texts spelled.
    fn quoted(&self, mask: &dyn Fn(&str) -> String) -> Written {
        match self {
            Written::Plain(text) => Written::Plain(text.clone()),
            Written::Text(text) => Written::Plain(quoted(text, mask)),
            Written::List(items) => Written::List(items.iter().map(|item| item.quoted(mask)).collect()),
            Written::Map(pairs) => {
                let pair = |(key, value): &(String, Written)| (quoted(key, &str::to_owned), value.quoted(mask));
                Written::Map(pairs.iter().map(pair).collect())
            }
        }
    }

    fn is_short(&self) -> bool {
        match self {
            Written::Plain(_) | Written::Text(_) => true,
            Written::Map(pairs) => pairs.iter().all(|(_, value)| matches!(value, Written::Plain(_))),
            Written::List(_) => false,
        }
    }

    /// Behind a key that stands in column `indent`.
    fn below(&self, out: &mut String, indent: usize) {
        if self.is_short() {
            out.push(' ');
            return self.on_one_line(out);
        }
        let indent = indent + 2;
        match self {
            Written::List(items) => {
                for item in items {
                    out.push_str(&format!("\n{:indent$}- ", ""));
                    item.on_one_line(out);
                }
            }
            Written::Map(pairs) => {
                for (key, value) in pairs {
                    out.push_str(&format!("\n{:indent$}{key}:", ""));
                    value.below(out, indent);
                }
            }
            Written::Plain(_) | Written::Text(_) => {}
        }
    }

    fn on_one_line(&self, out: &mut String) {
        match self {
            Written::Plain(text) | Written::Text(text) => out.push_str(text),
            Written::List(items) => {
                let mut before = "[ ";
                for item in items {
                    out.push_str(before);
                    item.on_one_line(out);
                    before = ", ";
                }
                out.push_str(" ]");
            }
            Written::Map(pairs) if pairs.is_empty() => out.push_str("{}"),
            Written::Map(pairs) => {
                let mut before = "{ ";
                for (key, value) in pairs {
                    out.push_str(&format!("{before}{key}: "));
                    value.on_one_line(out);
                    before = ", ";
                }
                out.push_str(" }");
            }
        }
    }
}

/// A text as YAML, in quotes unless it can only be read as this text.
fn quoted(text: &str, mask: &dyn Fn(&str) -> String) -> String {
    let text = mask(&text.replace("${", "$${"));
    let safe = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/');
    let starts = text.as_bytes().first().is_some_and(u8::is_ascii_alphabetic);
    let word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    if starts && text.bytes().all(safe) && !word.contains(&text.to_ascii_lowercase().as_str()) {
        return text;
    }
    // A JSON string is a YAML one.
    serde_json::Value::from(text).to_string()
}

fn column(text: &str, at: usize) -> usize {
    let line = text[..at].rfind('\n').map_or(0, |line| line + 1);
    text[line..at].chars().count()
}

/// Where a value really ends: before the comments that a block seems to reach over.
fn end_of(node: &Node) -> usize {
    let own = || {
        let bytes = &node.place.bytes;
        let text = node.place.file.inner().get(bytes.clone()).unwrap_or_default();
        bytes.start + text.trim_end().len()
    };
    if node.is_flow() {
        return own();
    }
    match &node.value {
        Value::Map(entries) => entries
            .last()
            .map_or_else(own, |entry| end_of(&entry.node).max(entry.key_place.bytes.end)),
        Value::List(items) => items.last().map_or_else(own, end_of),
        Value::Null | Value::Scalar(_) => own(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{fault::Faults, node, secret::Secrets};

    fn replaced(text: &str, path: &[&str], what: &Written) -> String {
        let mut faults = Faults::default();
        let (_, nodes) = node::read("t.yaml", text.to_owned(), &mut Secrets::new(&|_| None), &mut faults);
        let mut at = &nodes[0];
        let mut flow = at.is_flow();
        let (last, way) = path.split_last().expect("a path");
        for key in way {
            at = at.get(key).expect("the key is there");
            flow |= at.is_flow();
        }
        let spot = match at.entry(last) {
            Some(entry) => Spot::of(entry, flow),
            None => {
                let (parent, key) = (way.last().expect("a parent"), "new");
                let owner = nodes[0].entry(parent).expect("a parent");
                Spot::within(owner, key, flow)
            }
        };
        let mut text = text.to_owned();
        text.replace_range(spot.range.clone(), &spot.spell(what, &str::to_owned));
        text
    }

    fn list() -> Written {
        let item = |n: &str| Written::Map(vec![("k".into(), Written::Plain(n.into()))]);
        Written::List(vec![item("1"), item("2")])
    }

    #[test]
    fn what_stands_around_a_value_stays_as_it_is() {
        let text = "a: # why\n  b:\n    - 1 # one\n    # behind\n\n# next\nc: 1\n";
        assert_eq!(
            replaced(text, &["a", "b"], &list()),
            "a: # why\n  b:\n    - { k: 1 }\n    - { k: 2 } # one\n    # behind\n\n# next\nc: 1\n"
        );
        assert_eq!(
            replaced("a: { b: none, c: 1 } # x\n", &["a", "b"], &list()),
            "a: { b: [ { k: 1 }, { k: 2 } ], c: 1 } # x\n"
        );
        assert_eq!(
            replaced("b: none\n", &["b"], &list()),
            "b:\n  - { k: 1 }\n  - { k: 2 }\n"
        );
    }

    #[test]
    fn a_key_that_is_not_there_goes_behind_the_last_one() {
        let none = Written::Plain("none".into());
        assert_eq!(
            replaced("a:\n    b: 1 # one\n\n# next\nc: 1\n", &["a", "new"], &none),
            "a:\n    b: 1 # one\n    new: none\n\n# next\nc: 1\n"
        );
        assert_eq!(
            replaced("a: { b: 1 }\n", &["a", "new"], &none),
            "a: { b: 1, new: none }\n"
        );
    }

    #[test]
    fn text_is_quoted_where_it_could_be_read_as_something_else() {
        let quoted = |text| quoted(text, &|text| text.replace("secret", "${env:S}"));
        for text in ["email", "a.b/c-d_1"] {
            assert_eq!(quoted(text), text);
        }
        assert_eq!(quoted("a-secret"), "\"a-${env:S}\"");
        assert_eq!(quoted("true"), "\"true\"");
        assert_eq!(quoted("0.25"), "\"0.25\"");
        assert_eq!(quoted(""), "\"\"");
        assert_eq!(quoted("a ${b}: \"c\""), "\"a $${b}: \\\"c\\\"\"");
    }
}
