//! The spans that a case expects.
//!
//! Rule: a span that the pipelines' traces do not have, by its name, is a fault of the file.

use std::collections::BTreeMap;

use super::{Reader, number, time};
use crate::engine::plan::{Journeys, Operator, SpanFrom};
use crate::engine::time::EventTime;
use crate::pipeline::node::{Entry, Node};

/// One span, or several equal ones, as far as they are named.
#[derive(Clone, Debug)]
pub struct ExpectedSpan {
    pub name: String,
    pub trace: Option<String>,
    pub parent: Option<Parent>,
    pub start: Option<EventTime>,
    pub end: Option<EventTime>,
    /// `ok` or `error`.
    pub status: Option<String>,
    pub attributes: BTreeMap<String, String>,
    /// The names of all events.
    pub events: Option<Vec<String>>,
    pub times: u32,
}

/// Where a span hangs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parent {
    /// It is a root.
    None,
    /// A span of this trace, by its name.
    Here(String),
    /// A span from elsewhere, by its id.
    Elsewhere(String),
}

// === impl ExpectedSpan ===

impl ExpectedSpan {
    /// How much it says: what says more chooses first.
    pub fn says(&self) -> usize {
        let named = [
            self.trace.is_some(),
            self.parent.is_some(),
            self.start.is_some(),
            self.end.is_some(),
            self.status.is_some(),
            self.events.is_some(),
        ];
        self.attributes.len() + named.into_iter().filter(|is_named| *is_named).count()
    }
}

// === impl Reader ===

impl Reader<'_> {
    pub(super) fn spans(&mut self, entry: &Entry, start: EventTime) -> Vec<ExpectedSpan> {
        if !self.plan.traces() {
            self.faults
                .add(&entry.key_place, "the pipelines have no `traces`")
                .help("leave `spans` out, or add `traces` to a pipeline");
            return Vec::new();
        }
        let items = entry.node.items().iter();
        items.filter_map(|node| self.span(node, start)).collect()
    }

    fn span(&mut self, node: &Node, start: EventTime) -> Option<ExpectedSpan> {
        let text = |key| node.get(key).and_then(Node::text).map(str::to_owned);
        let names = self.span_names();
        let name = self.span_name(node.get("name")?, &names)?;
        let parent = match node.get("parent") {
            None => None,
            Some(said) => Some(self.parent(said, &names)?),
        };
        let when = |key| node.get(key).and_then(|said| time(said, start));
        let pairs = node.get("attributes").map_or(&[][..], Node::entries).iter();
        Some(ExpectedSpan {
            name,
            trace: text("trace").map(|trace| trace.to_ascii_lowercase()),
            parent,
            start: when("start"),
            end: when("end"),
            status: text("status"),
            attributes: pairs
                .filter_map(|entry| Some((entry.key.clone(), entry.node.text()?.to_owned())))
                .collect(),
            events: node.get("events").map(|events| {
                events
                    .items()
                    .iter()
                    .filter_map(Node::text)
                    .map(str::to_owned)
                    .collect()
            }),
            times: node.get("times").and_then(number).unwrap_or(1),
        })
    }

    fn parent(&mut self, said: &Node, names: &[String]) -> Option<Parent> {
        let text = said.text()?;
        let is_id = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        Some(match text {
            "none" => Parent::None,
            id if is_id && !names.iter().any(|name| name == id) => Parent::Elsewhere(id.to_ascii_lowercase()),
            _ => Parent::Here(self.span_name(said, names)?),
        })
    }

    fn span_name(&mut self, said: &Node, names: &[String]) -> Option<String> {
        let name = said.text()?;
        if !names.iter().any(|known| known == name) {
            let known = names.iter().map(String::as_str);
            self.unknown(&said.place, "span", name, known);
            return None;
        }
        Some(name.to_owned())
    }

    /// What the spans of the pipelines are called.
    fn span_names(&self) -> Vec<String> {
        let journeys = self.plan.joins.iter().filter_map(|join| match &join.operator {
            Operator::Respond(respond) => respond.journeys.as_ref(),
            Operator::Latest(_) => None,
        });
        let of = |journeys: &Journeys| -> Vec<SpanFrom> {
            let root = std::iter::once(journeys.root.clone());
            root.chain(journeys.children.iter().cloned()).collect()
        };
        let mut names: Vec<String> = journeys.flat_map(of).map(|span| span.name).collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}
