//! Values from outside: `${env:NAME}` and `${file:PATH}` in the values of a file.
//!
//! Rule: they are filled in after YAML is read, in values only, so a secret can neither add a key nor break the syntax.
//! What was filled in is never shown again: messages quote the file, and whatever is printed from the plan goes through
//! [`Hidden::mask`].
//!
//! Edges:
//! - a name that is not set and a file that cannot be read are faults at their place;
//! - the line break at the end of a secret's file does not belong to it;
//! - a relative path starts at the folder of the pipeline file;
//! - `$${` stands for `${`.

use std::path::{Path, PathBuf};

use super::fault::{Faults, Place};

/// The largest secret that is read from a file, in bytes.
const MAX_SECRET_BYTES: u64 = 64 << 10;

/// Fills in values, and remembers which.
pub struct Secrets<'e> {
    env: &'e dyn Fn(&str) -> Option<String>,
    hidden: Hidden,
}

/// What became of a text.
#[derive(Clone, PartialEq, Eq)]
pub enum Filled {
    /// There was nothing to fill in.
    Nothing,
    Text(String),
    /// Something could not be had, and a fault says so.
    Failed,
}

/// The values that were filled in, to hide them from what is printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hidden {
    /// `(value, how the file calls it)`, longest value first.
    values: Vec<(String, String)>,
}

/// Fills in one value that stands outside of a file (a flag). The error is for a person and shows no secret.
pub fn fill_in(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (mut secrets, mut faults) = (Secrets::new(env), Faults::default());
    let place = Place::outside(text);
    match secrets.fill_in(text, &place, &mut faults) {
        Filled::Nothing => Ok(text.to_owned()),
        Filled::Text(text) => Ok(text),
        Filled::Failed => Err(faults.messages().join("; ")),
    }
}

// === impl Secrets ===

impl<'e> Secrets<'e> {
    pub fn new(env: &'e dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            env,
            hidden: Hidden::default(),
        }
    }

    pub fn into_hidden(self) -> Hidden {
        self.hidden
    }

    /// Fills in everything that `text` asks for. What cannot be had is a fault.
    pub fn fill_in(&mut self, text: &str, place: &Place, faults: &mut Faults) -> Filled {
        if !text.contains("${") {
            return Filled::Nothing;
        }
        let mut failed = false;
        let mut filled = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            let (before, from) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('$') {
                filled.push_str(before);
                filled.push_str("${");
                rest = &from[2..];
                continue;
            }
            filled.push_str(before);
            let start = text.len() - from.len();
            let Some(end) = from.find('}') else {
                let place = place.within(text, start..text.len());
                faults
                    .add(&place, "`${` without its `}`")
                    .help("write `${env:NAME}`, or `$${` for the characters `${`");
                return Filled::Failed;
            };
            let reference = &from[..=end];
            match self.value_of(&reference[2..end], place) {
                Ok(value) => {
                    self.hidden.add(&value, reference);
                    filled.push_str(&value);
                }
                Err((message, help)) => {
                    failed = true;
                    faults
                        .add(&place.within(text, start..start + reference.len()), message)
                        .help(help);
                }
            }
            rest = &from[end + 1..];
        }
        filled.push_str(rest);
        if failed { Filled::Failed } else { Filled::Text(filled) }
    }

    fn value_of(&self, inside: &str, place: &Place) -> Result<String, (String, String)> {
        if let Some(name) = inside.strip_prefix("env:") {
            return (self.env)(name).ok_or_else(|| {
                (
                    format!("the environment variable `{name}` is not set"),
                    "set it for this process".to_owned(),
                )
            });
        }
        if let Some(path) = inside.strip_prefix("file:") {
            let path = beside(place.file.name(), path);
            return read_secret(&path).map_err(|error| {
                (
                    format!("`{}` cannot be read: {error}", path.display()),
                    "name a readable text file".to_owned(),
                )
            });
        }
        Err((
            format!("`${{{inside}}}` names no place to take a value from"),
            "write `${env:NAME}` or `${file:PATH}`, or `$${` for the characters `${`".to_owned(),
        ))
    }
}

/// `path` as seen from the folder of `file`.
fn beside(file: &str, path: &str) -> PathBuf {
    Path::new(file).parent().unwrap_or(Path::new("")).join(path)
}

fn read_secret(path: &Path) -> std::io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?
        .take(MAX_SECRET_BYTES + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_SECRET_BYTES {
        return Err(std::io::Error::other(format!(
            "it holds more than {MAX_SECRET_BYTES} bytes"
        )));
    }
    let end = text.trim_end_matches(['\n', '\r']).len();
    text.truncate(end);
    Ok(text)
}

// === impl Hidden ===

impl Hidden {
    fn add(&mut self, value: &str, reference: &str) {
        if !value.is_empty() && !self.values.iter().any(|(known, _)| known == value) {
            self.values.push((value.to_owned(), reference.to_owned()));
            self.values.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        }
    }

    /// `text` with every value that was filled in called as the file calls it.
    pub fn mask(&self, text: &str) -> String {
        let mut masked = String::new();
        let mut rest = text;
        'text: while !rest.is_empty() {
            for (value, reference) in &self.values {
                if let Some(after) = rest.strip_prefix(value.as_str()) {
                    masked.push_str(reference);
                    rest = after;
                    continue 'text;
                }
            }
            let next = rest.chars().next().map_or(1, char::len_utf8);
            masked.push_str(&rest[..next]);
            rest = &rest[next..];
        }
        masked
    }
}

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.values.iter().map(|(_, reference)| reference))
            .finish()
    }
}
