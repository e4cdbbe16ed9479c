//! Traces: what the spans of conversations are made of.
//!
//! Rule: a trace belongs to the join of the metric that it names. What its spans say is carried beside the labels of that
//! join's metrics, and never makes a record malformed.
//!
//! Edges:
//! - a join is traced once, whichever of its metrics is named;
//! - an attribute of the file takes the place of one of ours with the same name;
//! - a constant is carried by no record.

use super::Builder;
use super::join::Carrying;
use crate::engine::plan::{Attribute, AttributeFrom, Journeys, Operator, Side, SpanFrom};
use crate::pipeline::fault::Place;
use crate::pipeline::form::nearest;
use crate::pipeline::read::{Document, Label, Measure, Said, SpanOf, Trace};

/// Where the users' guide has the type of a message, and what it is called without one.
const MESSAGE_TYPE: (&str, &str) = ("/message_type", "unknown");

/// A text that a record carries, if it has it.
enum Own {
    Text(Label),
    Number(Label),
    Key,
    Topic,
}

// === impl Builder ===

impl<'d> Builder<'d, '_> {
    /// Adds the trace to its join.
    pub(super) fn trace(&mut self, pipeline: usize, document: &'d Document, trace: &'d Trace) {
        let Some(at) = self.traced(document, trace) else {
            return;
        };
        if let Some(first) = &self.joins[at].traced {
            self.faults
                .add(&trace.of.place, "these conversations are traced already")
                .and(first, "first here")
                .help("one trace is enough: metrics whose `respond` differs in nothing but `measure` share their conversations");
            return;
        }
        self.joins[at].traced = Some(trace.of.place.clone());
        let mut right = true;
        // By side; the first two are request and response.
        let mut told: Vec<Option<&SpanOf>> = vec![None, None];
        for (number, span) in trace.spans.iter().enumerate() {
            let earlier = trace.spans[..number].iter();
            if let Some(first) = earlier
                .clone()
                .find(|earlier| earlier.source.value == span.source.value)
            {
                self.faults
                    .add(&span.source.place, "this source has a span already")
                    .and(&first.source.place, "first here")
                    .help("keep one of the two; a source with another `when` has a span of its own");
                right = false;
                continue;
            }
            match self.side_of(document, at, span) {
                Some(side) if side < told.len() => told[side] = Some(span),
                Some(_) => told.push(Some(span)),
                None => right = false,
            }
        }
        if !right {
            return;
        }
        let root = self.span(at, 0, trace.root.clone(), &trace.attributes, &[]);
        let of_record = |side: usize| {
            let place = Label::Partition;
            let (partition, offset) = (Own::Text(place), Own::Number(Label::Offset));
            (
                side,
                [
                    ("messaging.destination.partition.id", partition),
                    ("messaging.kafka.offset", offset),
                ],
            )
        };
        let mut children = Vec::new();
        for (side, more) in (0..told.len()).map(of_record) {
            let attributes = told[side].map_or(&[][..], |span| &span.attributes);
            let name = match told[side].and_then(|span| span.name.clone()) {
                Some(name) => name,
                None => format!("process {}", self.topic_of(at, side)),
            };
            children.push(self.span(at, side, name, attributes, &more));
        }
        let traceparent = self.carry(at, usize::from(Side::REQUEST.0), &trace.traceparent);
        let failure = trace
            .failed
            .as_ref()
            .map(|failed| self.carry(at, usize::from(Side::RESPONSE.0), failed));
        if let Operator::Respond(respond) = &mut self.joins[at].operator {
            respond.journeys = Some(Journeys {
                name: trace.name.value.clone(),
                pipeline,
                sampling: trace.sampling,
                traceparent: Some(traceparent),
                root,
                children,
                failure,
                counted: None,
            });
            self.traces += 1;
        }
    }

    /// The join of the metric that the trace names.
    fn traced(&mut self, document: &Document, trace: &Trace) -> Option<usize> {
        let of = &trace.of;
        if !document.metric_names.iter().any(|known| known.value == of.value) {
            let known = document.metric_names.iter().map(|known| known.value.as_str());
            let help = match nearest(&of.value, known) {
                Some(metric) => format!("did you mean `{metric}`?"),
                None => "name one with `respond` that stands under `metrics`".to_owned(),
            };
            self.faults
                .add(&of.place, "this pipeline has no metric of this name")
                .help(help);
            return None;
        }
        // Otherwise there is a fault in it already.
        let metric = document.metrics.iter().find(|metric| metric.name.value == of.value)?;
        if !matches!(metric.what, Measure::Respond(..)) {
            self.faults
                .add(&of.place, "this metric has no `respond`, so it has no conversations")
                .and(&metric.name.place, "the metric")
                .help("name a metric with `respond`");
            return None;
        }
        let index = self.metrics.iter().position(|metric| metric.name == of.value)?;
        let fills = |operator: &Operator| match operator {
            Operator::Respond(respond) => respond.measured.iter().any(|measured| measured.metric.0 == index),
            Operator::Latest(_) => false,
        };
        self.joins.iter().position(|join| fills(&join.operator))
    }

    /// The side that the records of this span are on: request, response, or a new one.
    fn side_of(&mut self, document: &'d Document, at: usize, span: &SpanOf) -> Option<usize> {
        let source = self.source(document, &span.source)?;
        let sides = &self.joins[at].sides;
        let known = sides[..2]
            .iter()
            .position(|side| side.sources[0].name.value == source.name.value);
        if let Some(side) = known {
            return match &span.key {
                Some(key) if key.value != sides[side].key.value => {
                    let on = sides[side].key.clone();
                    self.faults
                        .add(&key.place, format!("the key of this source is `{}`", on.value))
                        .and(&on.place, "said here")
                        .help("leave `key` out");
                    None
                }
                _ => Some(side),
            };
        }
        let key = match &span.key {
            Some(key) => key.clone(),
            None if sides[0].key.value == sides[1].key.value => sides[0].key.clone(),
            None => {
                self.faults.add(&span.source.place, "this span needs `key`").help(
                    "request and response spell the key differently, so say where these records have it: `key: /field`",
                );
                return None;
            }
        };
        let sides = &mut self.joins[at].sides;
        sides.push(Carrying::new(vec![source], &key));
        Some(sides.len() - 1)
    }

    /// What a span of this side is made of; `more` are attributes that this one has and others have not.
    fn span(
        &mut self,
        at: usize,
        side: usize,
        name: String,
        said: &[(Said<String>, Label)],
        more: &[(&str, Own)],
    ) -> SpanFrom {
        let fixed = |value: &str| Own::Text(Label::Const(value.to_owned()));
        let message_type = Label::Field {
            pointer: MESSAGE_TYPE.0.to_owned(),
            otherwise: Some(MESSAGE_TYPE.1.to_owned()),
        };
        // The guide's, and those of OpenTelemetry's semantic conventions 1.44.
        let own = [
            ("messaging.system", fixed("kafka")),
            ("messaging.destination", Own::Topic),
            ("messaging.destination.name", Own::Topic),
            ("messaging.operation", fixed("process")),
            ("messaging.operation.name", fixed("process")),
            ("messaging.operation.type", fixed("process")),
            ("message.type", Own::Text(message_type)),
            ("correlation.id", Own::Key),
            ("messaging.message.conversation_id", Own::Key),
        ];
        let mut attributes = Vec::new();
        for (name, value) in own.iter().chain(more) {
            if said.iter().any(|(known, _)| known.value == *name) {
                continue;
            }
            let place = self.joins[at].sides[side].key.place.clone();
            let value = match value {
                Own::Topic => AttributeFrom::Const(self.topic_of(at, side)),
                Own::Key => {
                    let key = Label::Field {
                        pointer: self.joins[at].sides[side].key.value.clone(),
                        otherwise: None,
                    };
                    self.text(at, side, &place, &key)
                }
                Own::Text(label) => self.text(at, side, &place, label),
                Own::Number(label) => {
                    AttributeFrom::Number(self.joins[at].sides[side].carry_for_spans(&place, label.clone()))
                }
            };
            attributes.push(Attribute {
                name: (*name).to_owned(),
                value,
            });
        }
        for (name, label) in said {
            attributes.push(Attribute {
                name: name.value.clone(),
                value: self.text(at, side, &name.place, label),
            });
        }
        SpanFrom { name, attributes }
    }

    fn text(&mut self, at: usize, side: usize, place: &Place, label: &Label) -> AttributeFrom {
        match label {
            Label::Const(value) => AttributeFrom::Const(value.clone()),
            Label::Topic => AttributeFrom::Const(self.topic_of(at, side)),
            label => AttributeFrom::Text(self.joins[at].sides[side].carry_for_spans(place, label.clone())),
        }
    }

    fn carry(&mut self, at: usize, side: usize, label: &Said<Label>) -> usize {
        self.joins[at].sides[side].carry_for_spans(&label.place, label.value.clone())
    }

    fn topic_of(&self, at: usize, side: usize) -> String {
        let source = self.joins[at].sides[side].sources.first();
        source.map_or_else(String::new, |source| source.topic.value.clone())
    }
}
