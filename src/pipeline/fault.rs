//! What is wrong with a pipeline file, where, and what would be right.
//!
//! Rule: a fault says in its message what is wrong, in its help what would be right, and points at the bytes of the file
//! that say so. All faults of all files are kept, sorted by place; none hides another.
//!
//! Edges:
//! - a fault quotes what the file says, never the value that a `${env:..}` or `${file:..}` stands for;
//! - a file that cannot be read at all has a fault without a place;
//! - only the first [`SHOWN`] faults are drawn; the others are counted.

use std::fmt;
use std::io::IsTerminal;
use std::ops::Range;
use std::sync::Arc;

use miette::{
    GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode, ThemeCharacters, ThemeStyles,
};

/// So many faults are drawn; a file that is something else altogether should not scroll a terminal away.
pub const SHOWN: usize = 100;

/// The text of one pipeline file and the name under which it is reported.
pub type File = Arc<NamedSource<String>>;

/// A stretch of bytes in one of the files.
#[derive(Clone, Debug)]
pub struct Place {
    pub file: File,
    pub bytes: Range<usize>,
}

/// One thing that is wrong.
#[derive(Clone, Debug)]
pub struct Fault {
    message: String,
    help: Option<String>,
    place: Option<Place>,
    /// Another place that matters, and why.
    other: Option<(Place, String)>,
}

/// Collects faults while files are read.
#[derive(Debug, Default)]
pub struct Faults(Vec<Fault>);

/// Everything that is wrong with the files, at least one thing.
#[derive(Clone)]
pub struct Diagnostics(Vec<Fault>);

/// How faults are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// ASCII without colours, for logs and pipes.
    Plain,
    /// Colours and box drawing at this width, for a terminal.
    Fancy { width: usize },
}

// === impl Look ===

impl Look {
    /// Width for terminals that do not tell theirs.
    const WIDTH: usize = 100;

    /// What suits this stream: fancy on a terminal, unless `NO_COLOR` (no-color.org) asks otherwise.
    pub fn of(stream: &impl IsTerminal) -> Look {
        let asked_for_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if !stream.is_terminal() || asked_for_none {
            return Look::Plain;
        }
        let width = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
        Look::Fancy {
            width: width.unwrap_or(Self::WIDTH),
        }
    }
}

// === impl Place ===

impl Place {
    /// A text that stands in no file.
    pub fn outside(text: &str) -> Place {
        Place {
            file: Arc::new(NamedSource::new("", text.to_owned())),
            bytes: 0..text.len(),
        }
    }

    /// Line and column, both from 1; columns count characters.
    pub fn line_and_column(&self) -> (usize, usize) {
        let text = self.file.inner();
        let before = text.get(..self.bytes.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        (
            before.matches('\n').count() + 1,
            before[line_start..].chars().count() + 1,
        )
    }

    /// The bytes `range` of `value`, where the file spells that value out as it is; else the whole place.
    pub fn within(&self, value: &str, range: Range<usize>) -> Place {
        let text = self.file.inner();
        let quoted = text
            .as_bytes()
            .get(self.bytes.start)
            .is_some_and(|byte| matches!(byte, b'"' | b'\''));
        let start = self.bytes.start + usize::from(quoted);
        if text.get(start..start + value.len()) != Some(value) {
            return self.clone();
        }
        let end = start + range.end.min(value.len());
        Place {
            file: self.file.clone(),
            bytes: (start + range.start).min(end)..end,
        }
    }

    fn is_in(&self, file: &File) -> bool {
        Arc::ptr_eq(&self.file, file)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_and_column();
        write!(f, "{}:{line}:{column}", self.file.name())
    }
}

// === impl Fault ===

impl Fault {
    /// What would be right.
    pub fn help(&mut self, help: impl Into<String>) -> &mut Self {
        self.help = Some(help.into());
        self
    }

    /// Another place that matters, such as the first of two equal names.
    pub fn and(&mut self, place: &Place, why: impl Into<String>) -> &mut Self {
        self.other = Some((place.clone(), why.into()));
        self
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn help_text(&self) -> Option<&str> {
        self.help.as_deref()
    }

    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    fn order(&self) -> (usize, usize) {
        self.place
            .as_ref()
            .map_or((0, 0), |place| (place.bytes.start, place.bytes.end))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl miette::Diagnostic for Fault {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.place.as_ref().map(|place| place.file.as_ref() as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.place.as_ref()?;
        let mut labels = vec![LabeledSpan::new_primary_with_span(None, place.bytes.clone())];
        if let Some((other, why)) = self.other.as_ref().filter(|(other, _)| other.is_in(&place.file)) {
            labels.push(LabeledSpan::new_with_span(Some(why.clone()), other.bytes.clone()));
        }
        Some(Box::new(labels.into_iter()))
    }
}

// === impl Faults ===

impl Faults {
    /// Notes a fault; the answer takes help and a second place.
    pub fn add(&mut self, place: &Place, message: impl Into<String>) -> &mut Fault {
        self.push(Some(place.clone()), message.into())
    }

    /// Notes a fault that no line of a file is to blame for.
    pub fn add_without_place(&mut self, message: impl Into<String>) -> &mut Fault {
        self.push(None, message.into())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn messages(&self) -> Vec<String> {
        self.0.iter().map(|fault| fault.message.clone()).collect()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    fn push(&mut self, place: Option<Place>, message: String) -> &mut Fault {
        let at = self.0.len();
        self.0.push(Fault {
            message,
            help: None,
            place,
            other: None,
        });
        &mut self.0[at]
    }

    /// All faults in the order of `files` and their lines, each once; `None` when there are none.
    pub fn finish(mut self, files: &[File]) -> Option<Diagnostics> {
        let file_of = |fault: &Fault| {
            fault
                .place
                .as_ref()
                .and_then(|place| files.iter().position(|file| place.is_in(file)))
        };
        self.0
            .sort_by(|a, b| (file_of(a), a.order(), &a.message).cmp(&(file_of(b), b.order(), &b.message)));
        self.0
            .dedup_by(|a, b| file_of(a) == file_of(b) && a.order() == b.order() && a.message == b.message);
        (!self.0.is_empty()).then_some(Diagnostics(self.0))
    }
}

// === impl Diagnostics ===

impl Diagnostics {
    /// One fault that no line of a file is to blame for.
    pub fn of(message: impl Into<String>, help: &str) -> Self {
        Diagnostics(vec![Fault {
            message: message.into(),
            help: Some(help.to_owned()),
            place: None,
            other: None,
        }])
    }

    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }

    /// Everything for a person, drawn to `look`.
    pub fn render(&self, look: Look) -> String {
        let handler = match look {
            Look::Plain => {
                let theme = GraphicalTheme {
                    characters: ThemeCharacters::ascii(),
                    styles: ThemeStyles::none(),
                };
                // Wide enough that no line of a message is ever broken: logs are searched by line.
                GraphicalReportHandler::new_themed(theme).with_width(usize::from(u16::MAX))
            }
            Look::Fancy { width } => {
                GraphicalReportHandler::new_themed(GraphicalTheme::unicode()).with_width(width.max(40))
            }
        };
        let mut text = String::new();
        for (at, fault) in self.0.iter().take(SHOWN).enumerate() {
            if at > 0 {
                text.push('\n');
            }
            let elsewhere = fault.elsewhere();
            handler
                .render_report(&mut text, &elsewhere)
                .expect("a string takes what is written to it");
        }
        if self.0.len() > SHOWN {
            text.push_str(&format!("\nand {} more\n", self.0.len() - SHOWN));
        }
        text
    }
}

impl Fault {
    /// With a second place that lies in another file spelled out in the help, since a drawing shows one file.
    fn elsewhere(&self) -> Fault {
        let mut fault = self.clone();
        if let (Some(place), Some((other, why))) = (&self.place, &self.other)
            && !other.is_in(&place.file)
        {
            let there = format!("{why}: {other}");
            fault.help = Some(match &self.help {
                Some(help) => format!("{help}\n{there}"),
                None => there,
            });
        }
        fault
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Look::Plain))
    }
}

impl fmt::Debug for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(Look::Plain))
    }
}

impl std::error::Error for Diagnostics {}
