//! Traces, as the file says them.

use super::{Label, Said, default_of, label, name, text};
use crate::engine::plan::Sampling;
use crate::engine::time::Span;
use crate::pipeline::keys::TRACE;
use crate::pipeline::leaf;
use crate::pipeline::node::{Entry, Node};

/// The header that W3C names.
const TRACEPARENT: &str = "traceparent";

#[derive(Debug)]
pub struct Trace {
    pub name: Said<String>,
    /// A metric with `respond`.
    pub of: Said<String>,
    pub root: String,
    pub attributes: Vec<(Said<String>, Label)>,
    pub spans: Vec<SpanOf>,
    pub failed: Option<Said<Label>>,
    pub traceparent: Said<Label>,
    pub sampling: Sampling,
    /// Nothing of it was left out for a fault of form.
    pub complete: bool,
}

/// What the records of one source become.
#[derive(Debug)]
pub struct SpanOf {
    pub source: Said<String>,
    pub key: Option<Said<String>>,
    pub name: Option<String>,
    pub attributes: Vec<(Said<String>, Label)>,
}

pub fn trace(entry: &Entry) -> Option<Trace> {
    let node = &entry.node;
    let mut complete = true;
    let traceparent = said(node, "traceparent", &mut complete).unwrap_or_else(|| Said {
        value: Label::Header {
            name: TRACEPARENT.to_owned(),
            otherwise: None,
        },
        place: entry.key_place.clone(),
    });
    let sampling = match node.get("sampling") {
        Some(said) => said.text()?,
        None => default_of(&TRACE, "sampling")?,
    };
    Some(Trace {
        name: name(entry),
        of: text(node.get("of")?)?,
        root: match node.get("name") {
            Some(said) => said.text()?.to_owned(),
            None => default_of(&TRACE, "name")?.to_owned(),
        },
        attributes: attributes(node, &mut complete),
        spans: spans(node, &mut complete),
        failed: said(node, "failed", &mut complete),
        traceparent,
        sampling: Sampling {
            threshold: Sampling::threshold_of(leaf::share(sampling)?),
            slow: slow(node, &mut complete),
        },
        complete,
    })
}

fn spans(node: &Node, complete: &mut bool) -> Vec<SpanOf> {
    let mut spans = Vec::new();
    for node in node.get("spans").map_or(&[][..], Node::items) {
        match span(node, complete) {
            Some(span) => spans.push(span),
            None => *complete = false,
        }
    }
    spans
}

fn span(node: &Node, complete: &mut bool) -> Option<SpanOf> {
    Some(SpanOf {
        source: text(node.get("source")?)?,
        key: match node.get("key") {
            Some(key) => Some(text(key)?),
            None => None,
        },
        name: match node.get("name") {
            Some(name) => Some(name.text()?.to_owned()),
            None => None,
        },
        attributes: attributes(node, complete),
    })
}

fn attributes(node: &Node, complete: &mut bool) -> Vec<(Said<String>, Label)> {
    let mut attributes = Vec::new();
    for entry in node.get("attributes").map_or(&[][..], Node::entries) {
        match label(&entry.node) {
            Some(label) => attributes.push((name(entry), label)),
            None => *complete = false,
        }
    }
    attributes
}

/// The value of this key, where there is one.
fn said(node: &Node, key: &str, complete: &mut bool) -> Option<Said<Label>> {
    let node = node.get(key)?;
    let value = label(node);
    *complete &= value.is_some();
    Some(Said {
        value: value?,
        place: node.place.clone(),
    })
}

fn slow(node: &Node, complete: &mut bool) -> Option<Span> {
    let slow = leaf::duration(node.get("slow")?.text().unwrap_or_default());
    *complete &= slow.is_some();
    slow
}
