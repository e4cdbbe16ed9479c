//! A pipeline file as a tree that knows where everything stands.
//!
//! Rule: a file is read whole into [`Node`]s before anything looks at its meaning, so that every later message can point
//! at bytes of the file. The tree is bounded, whatever the file does.
//!
//! Edges:
//! - aliases (`*name`) become copies of what they name and count against [`MAX_WEIGHT`] like anything else, so a file that
//!   multiplies itself is refused long before memory or time matter;
//! - a key that stands twice in a mapping, a key that is no text, a tag and a recursive alias are faults;
//! - YAML is not read beyond its first syntax fault in a file; the documents before it are;
//! - empty documents are skipped.

use std::collections::HashMap;
use std::sync::Arc;

use miette::NamedSource;
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle};

use super::fault::{Faults, File, Place};
use super::secret::{Filled, Secrets};

/// The largest file that is read, in bytes.
pub const MAX_FILE_BYTES: usize = 1 << 20;

/// Lists and mappings in one another.
const MAX_DEPTH: usize = 32;

/// Bytes of text in all nodes of a file after aliases are copied, each node counting [`NODE_WEIGHT`] more.
const MAX_WEIGHT: usize = 4 << 20;
const NODE_WEIGHT: usize = 32;

/// One value of a file and where it stands.
#[derive(Clone, Debug)]
pub struct Node {
    pub place: Place,
    pub value: Value,
    weight: usize,
    height: usize,
}

#[derive(Clone, Debug)]
pub enum Value {
    /// Nothing, `~` or `null`.
    Null,
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A text, number or boolean, with its secrets filled in.
#[derive(Clone, Debug)]
pub struct Scalar {
    pub text: String,
    pub form: Form,
    /// What may be shown of it: as the file says it, secrets not filled in.
    pub shown: String,
}

/// What JSON would call a scalar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Text,
    Integer,
    Number,
    Boolean,
    /// Filled in from outside: whatever it is needed to be.
    Secret,
    /// Should have been filled in from outside and could not: a fault says so already.
    Unknown,
}

/// One key of a mapping.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key: String,
    pub key_place: Place,
    pub node: Node,
}

/// The documents of one file.
pub fn read(name: &str, text: String, secrets: &mut Secrets<'_>, faults: &mut Faults) -> (File, Vec<Node>) {
    let file: File = Arc::new(NamedSource::new(name, text).with_language("yaml"));
    if file.inner().len() > MAX_FILE_BYTES {
        faults
            .add_without_place(format!(
                "{name}: {} bytes are too many for a pipeline file",
                file.inner().len()
            ))
            .help(format!("at most {MAX_FILE_BYTES} bytes are read"));
        return (file, Vec::new());
    }
    let mut reader = Reader {
        file: file.clone(),
        secrets,
        faults,
        anchors: Vec::new(),
        weight: 0,
        too_heavy: false,
    };
    let documents = reader.documents();
    (file, documents)
}

struct Reader<'r, 's> {
    file: File,
    secrets: &'r mut Secrets<'s>,
    faults: &'r mut Faults,
    /// Finished nodes by the parser's anchor id.
    anchors: Vec<(usize, Node)>,
    weight: usize,
    too_heavy: bool,
}

/// A list or mapping that is not finished yet.
struct Open {
    anchor: usize,
    start: usize,
    value: Value,
    /// The key that waits for its value.
    key: Option<(String, Place)>,
    /// The keys that are there, to find a second one of a name.
    keys: HashMap<String, Place>,
}

// === impl Reader ===

impl Reader<'_, '_> {
    fn documents(&mut self) -> Vec<Node> {
        let file = self.file.clone();
        let options = serde_saphyr::granit_parser::options! {
            emit_comments: false,
            flow_nesting_limit: MAX_DEPTH,
            block_nesting_limit: MAX_DEPTH
        };
        let mut documents = Vec::new();
        let mut open: Vec<Open> = Vec::new();
        for event in Parser::new_from_str_with_options(file.inner(), options) {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => {
                    let at = error.marker().byte_offset().unwrap_or(0).min(file.inner().len());
                    self.faults
                        .add(&self.place(at..at), format!("this is not YAML: {}", error.info()));
                    break;
                }
            };
            let bytes = span.byte_range().unwrap_or(0..0);
            let finished = match event {
                Event::DocumentStart(..) => {
                    self.anchors.clear();
                    None
                }
                Event::Scalar(text, style, anchor, tag) => {
                    self.refuse_tag(tag.is_some(), &bytes);
                    let value = self.scalar(&text, style, &bytes);
                    Some(self.finish(bytes, value, anchor, open.len()))
                }
                Event::SequenceStart(_, anchor, tag) => {
                    self.refuse_tag(tag.is_some(), &bytes);
                    open.push(Open {
                        anchor,
                        start: bytes.start,
                        value: Value::List(Vec::new()),
                        key: None,
                        keys: HashMap::new(),
                    });
                    None
                }
                Event::MappingStart(_, anchor, tag) => {
                    self.refuse_tag(tag.is_some(), &bytes);
                    open.push(Open {
                        anchor,
                        start: bytes.start,
                        value: Value::Map(Vec::new()),
                        key: None,
                        keys: HashMap::new(),
                    });
                    None
                }
                Event::SequenceEnd | Event::MappingEnd => open.pop().map(|done| {
                    // A block's end token stands where the next thing starts: without the blanks between.
                    let end = file.inner()[..bytes.end.max(done.start)]
                        .trim_end()
                        .len()
                        .max(done.start);
                    self.finish(done.start..end, done.value, done.anchor, open.len())
                }),
                Event::Alias(anchor) => Some(self.alias(anchor, bytes, open.len())),
                _ => None,
            };
            if self.too_heavy {
                break;
            }
            if let Some(node) = finished {
                match open.last_mut() {
                    Some(parent) => self.attach(parent, node),
                    None if !matches!(node.value, Value::Null) => documents.push(node),
                    None => {}
                }
            }
        }
        documents
    }

    fn place(&self, bytes: std::ops::Range<usize>) -> Place {
        Place {
            file: self.file.clone(),
            bytes,
        }
    }

    fn refuse_tag(&mut self, tagged: bool, bytes: &std::ops::Range<usize>) {
        if tagged {
            let place = self.place(bytes.clone());
            self.faults
                .add(&place, "tags (`!name`) mean nothing in a pipeline")
                .help("leave the tag out");
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, bytes: &std::ops::Range<usize>) -> Value {
        let form = if style == ScalarStyle::Plain {
            plain_form(text)
        } else {
            Some(Form::Text)
        };
        let Some(form) = form else {
            return Value::Null;
        };
        let place = self.place(bytes.clone());
        match self.secrets.fill_in(text, &place, self.faults) {
            Filled::Nothing => Value::Scalar(Scalar {
                text: text.to_owned(),
                form,
                shown: text.to_owned(),
            }),
            Filled::Text(filled) => Value::Scalar(Scalar {
                text: filled,
                form: Form::Secret,
                shown: text.to_owned(),
            }),
            Filled::Failed => Value::Scalar(Scalar {
                text: String::new(),
                form: Form::Unknown,
                shown: text.to_owned(),
            }),
        }
    }

    fn finish(&mut self, bytes: std::ops::Range<usize>, value: Value, anchor: usize, depth: usize) -> Node {
        let (inside, height) = match &value {
            Value::Null => (0, 0),
            Value::Scalar(scalar) => (scalar.text.len() + scalar.shown.len(), 0),
            Value::List(items) => (
                items.iter().map(|item| item.weight).sum(),
                items
                    .iter()
                    .map(|item| item.height)
                    .max()
                    .map_or(1, |height| height + 1),
            ),
            Value::Map(entries) => (
                entries.iter().map(|entry| entry.key.len() + entry.node.weight).sum(),
                entries
                    .iter()
                    .map(|entry| entry.node.height)
                    .max()
                    .map_or(1, |height| height + 1),
            ),
        };
        let node = Node {
            place: self.place(bytes),
            value,
            weight: inside + NODE_WEIGHT,
            height,
        };
        self.weigh(&node, depth, NODE_WEIGHT + if height == 0 { inside } else { 0 });
        if anchor != 0 {
            // An anchored node is kept a second time, for its aliases.
            self.weigh(&node, depth, node.weight);
            self.anchors.retain(|(id, _)| *id != anchor);
            self.anchors.push((anchor, node.clone()));
        }
        node
    }

    fn alias(&mut self, anchor: usize, bytes: std::ops::Range<usize>, depth: usize) -> Node {
        let place = self.place(bytes);
        let Some(at) = self.anchors.iter().position(|(id, _)| *id == anchor) else {
            self.faults
                .add(&place, "this alias stands inside of what it names")
                .help("write out what is meant here");
            return Node {
                place,
                value: Value::Null,
                weight: NODE_WEIGHT,
                height: 0,
            };
        };
        let (weight, height) = (self.anchors[at].1.weight, self.anchors[at].1.height);
        let shell = Node {
            place,
            value: Value::Null,
            weight,
            height,
        };
        self.weigh(&shell, depth, weight);
        if self.too_heavy {
            shell
        } else {
            self.anchors[at].1.clone()
        }
    }

    /// Counts `weight` bytes for `node` at `depth`; beyond the bounds the file is not read further.
    fn weigh(&mut self, node: &Node, depth: usize, weight: usize) {
        self.weight = self.weight.saturating_add(weight);
        let (message, help) = if self.weight > MAX_WEIGHT {
            (
                "this file grows too large with its aliases copied",
                "write fewer aliases to aliases",
            )
        } else if depth + node.height > MAX_DEPTH {
            (
                "lists and mappings stand too deep in one another",
                "a pipeline never needs more than a few levels",
            )
        } else {
            return;
        };
        if !self.too_heavy {
            self.too_heavy = true;
            self.faults.add(&node.place, message).help(help);
        }
    }

    fn attach(&mut self, parent: &mut Open, node: Node) {
        match &mut parent.value {
            Value::List(items) => items.push(node),
            Value::Map(entries) => match parent.key.take() {
                None => {
                    let key = match &node.value {
                        Value::Scalar(scalar) => scalar.shown.clone(),
                        Value::Null => "null".to_owned(),
                        Value::List(_) | Value::Map(_) => {
                            self.faults
                                .add(&node.place, "a key must be a name")
                                .help("write `name: value`");
                            String::new()
                        }
                    };
                    parent.key = Some((key, node.place));
                }
                Some((key, key_place)) => {
                    if let Some(first) = parent.keys.get(&key) {
                        self.faults
                            .add(&key_place, format!("`{}` stands here a second time", shorten(&key)))
                            .and(first, "first here")
                            .help("keep one of the two");
                    } else if !key.is_empty() {
                        parent.keys.insert(key.clone(), key_place.clone());
                        entries.push(Entry { key, key_place, node });
                    }
                }
            },
            Value::Null | Value::Scalar(_) => unreachable!("only lists and mappings are opened"),
        }
    }
}

/// What JSON would call an unquoted YAML scalar (YAML 1.2 core schema); `None` for null.
fn plain_form(text: &str) -> Option<Form> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return None,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => return Some(Form::Boolean),
        _ => {}
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Form::Integer);
    }
    let numeric = digits
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    if numeric && digits.bytes().any(|byte| byte.is_ascii_digit()) && text.parse::<f64>().is_ok() {
        return Some(Form::Number);
    }
    Some(Form::Text)
}

// === impl Node ===

impl Node {
    /// For messages: `a list`, `the number 5`, `nothing`.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
            Value::Scalar(scalar) => match scalar.form {
                Form::Integer | Form::Number => format!("the number {}", scalar.shown),
                Form::Boolean => format!("the boolean {}", scalar.shown),
                Form::Text | Form::Secret | Form::Unknown => format!("the text `{}`", shorten(&scalar.shown)),
            },
        }
    }

    pub fn scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// Whether it stands in braces or brackets.
    pub fn is_flow(&self) -> bool {
        let bytes = self.place.file.inner().as_bytes();
        matches!(bytes.get(self.place.bytes.start), Some(b'{' | b'['))
            && matches!(self.value, Value::List(_) | Value::Map(_))
    }

    /// The text of a scalar, where it is known.
    pub fn text(&self) -> Option<&str> {
        self.scalar()
            .filter(|scalar| scalar.form != Form::Unknown)
            .map(|scalar| scalar.text.as_str())
    }

    /// The keys of a mapping; none of anything else.
    pub fn entries(&self) -> &[Entry] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The items of a list; none of anything else.
    pub fn items(&self) -> &[Node] {
        match &self.value {
            Value::List(items) => items,
            _ => &[],
        }
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries().iter().find(|entry| entry.key == key)
    }
}

/// The start of a long text, for messages.
pub fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    let line = text.lines().next().unwrap_or_default();
    if line.len() == text.trim_end().len() && line.chars().count() <= LONGEST {
        return line.to_owned();
    }
    line.chars().take(LONGEST).chain("...".chars()).collect()
}
