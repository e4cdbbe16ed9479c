//! Joins: what needs two records to know.
//!
//! Rule: a join is one operator with state of its own, found by key. Sources send it keyed records ([`Emit`]), it sends
//! metrics what it found. Several metrics share one join, so that its state is kept once:
//! - a `respond` where pipeline, both sources, both keys, `within`, `forget` and `skew` are the same; each metric takes one
//!   [`Measure`] of it;
//! - a `latest` where value source, key, what is taken, `within` and the asking topics are the same; each metric is one
//!   [`Ask`] of it.
//!
//! Edges:
//! - a metric is filled either by taps or by joins, never by both ([`Plan::joins_of`]); only the count of late records is
//!   filled by more than one;
//! - the definition of a join covers what its records carry, in order: state of another layout is never read with it;
//! - key text is the field's: a number as it is spelled, so that `7` and `"7"` are one key and `7` and `7.0` are two.

use super::journey::Journeys;
use super::{LabelFrom, MetricIx, Plan, SourcePlan, TopicPlan, ValueFrom};
use crate::engine::series::DefinitionHash;
use crate::engine::tap::projection::Slot;
use crate::engine::time::Span;

/// The longest key that is taken, in bytes of its text. A record with a longer one has no part in the join.
pub const MAX_KEY_BYTES: usize = 1024;

/// Index into [`Plan::joins`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JoinIx(pub usize);

/// One operator of the correlate stage.
#[derive(Clone, Debug, PartialEq)]
pub struct Join {
    /// What is joined with what: for people, and a label of what is counted about it.
    pub name: String,
    /// A hash over the operator, its sources and what their records carry; unique.
    pub definition: DefinitionHash,
    /// The topics of all of its sources, as indices into [`Plan::topics`]: it waits for their watermarks and no others.
    pub topics: Vec<usize>,
    /// A count, with the labels `join` and `side`, of records behind what was final: they decide nothing. It is dated by the join's
    /// watermark. A late record that asks is in its own metric, with no value found, and not in this one.
    pub late: Option<MetricIx>,
    pub operator: Operator,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Operator {
    Respond(Respond),
    Latest(Latest),
}

/// The first response by event time after a request of the same key.
#[derive(Clone, Debug, PartialEq)]
pub struct Respond {
    /// A request without a response for longer is unanswered.
    pub within: Span,
    /// How long an answered key is known, to tell a second response from one without a request.
    pub forget: Span,
    /// How far a response may be ahead of its request by the clocks of two writers; it is counted as negative then. A
    /// response with no request for longer is unmatched.
    pub skew: Span,
    pub measured: Vec<Measured>,
    pub journeys: Option<Journeys>,
}

/// One metric that a [`Respond`] fills.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    pub metric: MetricIx,
    pub measure: Measure,
    /// In the order of the metric's labels.
    pub labels: Vec<JoinedLabel>,
}

/// What a [`Respond`] knows. All but the last two are dated by the event that decides them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Measure {
    /// Seconds from request to first response, at the response.
    ResponseTime,
    /// Requests whose bound passed, at the bound.
    Unanswered,
    /// Responses to a key that was answered already, at the response.
    Second,
    /// Responses without a request, at the response's time plus `skew`.
    Unmatched,
    /// Requests that came after their response, at the request.
    Negative,
    /// Requests of a key that is open or answered, at the request.
    Duplicate,
    /// Requests that are open at the join's watermark; a gauge. Has no labels.
    Open,
    /// Seconds from the oldest open request to the join's watermark; a gauge. Has no labels.
    OldestOpen,
}

/// The newest value of a key at or before a record's event time.
#[derive(Clone, Debug, PartialEq)]
pub struct Latest {
    /// An older value is none.
    pub within: Span,
    pub asks: Vec<Ask>,
}

/// One metric that a [`Latest`] completes.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    pub metric: MetricIx,
    /// In the order of the metric's labels.
    pub labels: Vec<JoinedLabel>,
}

/// Where a label of a joined metric comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JoinedLabel {
    Const(String),
    /// What the record of one side carries; `otherwise` where there is no such record.
    Carried {
        side: Side,
        /// Index into [`Emit::carries`].
        index: usize,
        otherwise: String,
    },
}

/// Which part a record plays in a join. At one event time lower sides come first, but for the response of a [`Respond`],
/// which comes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Side(pub u16);

/// How a record of one source takes part in a join.
#[derive(Clone, Debug)]
pub struct Emit {
    pub join: JoinIx,
    pub side: Side,
    pub key: KeyFrom,
    /// What the other side, the metrics or the spans need of it.
    pub carries: Vec<LabelFrom>,
    /// How many of these are labels, without which the record is malformed. The others are of spans, and empty where the
    /// record does not have them.
    pub labels: usize,
    /// What an asking record adds to its metric; of no meaning on other sides.
    pub value: ValueFrom,
    /// A count, with the labels `join` and `reason`, of records that have no part in the join for want of a key.
    pub unkeyed: Option<MetricIx>,
}

/// A field whose text is the key.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyFrom {
    pub slot: Slot,
    pub pointer: String,
}

// === impl Side ===

impl Side {
    pub const REQUEST: Side = Side(0);
    pub const RESPONSE: Side = Side(1);
    pub const VALUE: Side = Side(0);

    /// The side of a [`Respond`]'s records that carry the key on the way: [`Journeys::children`]`[index + 2]`.
    pub const fn step(index: u16) -> Side {
        Side(index.saturating_add(2))
    }

    /// The side of [`Latest::asks`]`[index]`.
    pub const fn ask(index: u16) -> Side {
        Side(index.saturating_add(1))
    }

    /// The index into [`Latest::asks`]; `None` for the value side.
    pub const fn ask_index(self) -> Option<usize> {
        match self.0 {
            0 => None,
            side => Some(side as usize - 1),
        }
    }
}

// === impl Measure ===

impl Measure {
    /// Whether it is a level that goes up and down, and no sum over events.
    pub const fn is_level(self) -> bool {
        matches!(self, Measure::Open | Measure::OldestOpen)
    }
}

// === impl Join ===

impl Join {
    /// What the join's tasks are called as sources of a gauge. No topic has such a name.
    pub fn edge(&self) -> String {
        format!("join/{:016x}", self.definition.0)
    }

    /// Whether its conversations become spans.
    pub fn is_traced(&self) -> bool {
        matches!(&self.operator, Operator::Respond(respond) if respond.journeys.is_some())
    }

    /// What a side is called in labels.
    pub fn side_name(&self, side: Side) -> &'static str {
        match (&self.operator, side) {
            (Operator::Respond(_), Side::REQUEST) => "request",
            (Operator::Respond(_), Side::RESPONSE) => "response",
            (Operator::Respond(_), _) => "step",
            (Operator::Latest(_), Side::VALUE) => "value",
            (Operator::Latest(_), _) => "ask",
        }
    }

    /// Whether records of this side bring a value for others to look up, and nothing else.
    pub fn is_looked_up(&self, side: Side) -> bool {
        matches!(self.operator, Operator::Latest(_)) && side == Side::VALUE
    }

    /// How many sides there are.
    pub fn sides(&self) -> usize {
        match &self.operator {
            Operator::Respond(respond) => respond
                .journeys
                .as_ref()
                .map_or(2, |journeys| journeys.children.len().max(2)),
            Operator::Latest(latest) => latest.asks.len() + 1,
        }
    }

    /// The metric that a record of this side asks for; `None` where it does not ask.
    pub fn asked_by(&self, side: Side) -> Option<MetricIx> {
        match &self.operator {
            Operator::Respond(_) => None,
            Operator::Latest(latest) => Some(latest.asks.get(side.ask_index()?)?.metric),
        }
    }

    /// The metrics that it fills.
    pub fn metrics(&self) -> Vec<MetricIx> {
        let mut metrics: Vec<MetricIx> = match &self.operator {
            Operator::Respond(respond) => {
                let measured = respond.measured.iter().map(|measured| measured.metric);
                measured
                    .chain(respond.journeys.as_ref().and_then(|journeys| journeys.counted))
                    .collect()
            }
            Operator::Latest(latest) => latest.asks.iter().map(|ask| ask.metric).collect(),
        };
        metrics.extend(self.late);
        metrics
    }
}

// === impl Plan ===

impl Plan {
    /// The joins that fill this metric; none where taps do.
    pub fn joins_of(&self, metric: MetricIx) -> Vec<JoinIx> {
        let joins = (0..).zip(&self.joins);
        joins
            .filter(|(_, join)| join.metrics().contains(&metric))
            .map(|(at, _)| JoinIx(at))
            .collect()
    }

    /// Whether anything needs two records to know.
    pub fn correlates(&self) -> bool {
        !self.joins.is_empty()
    }

    /// Whether any conversation becomes spans.
    pub fn traces(&self) -> bool {
        self.joins.iter().any(Join::is_traced)
    }

    /// The sources that bring these joins what this metric is made of, with their topics.
    pub fn feeding(&self, joins: &[JoinIx], metric: MetricIx) -> Vec<(&TopicPlan, &SourcePlan)> {
        let brings = |emit: &Emit| {
            let Some(join) = self.joins.get(emit.join.0).filter(|_| joins.contains(&emit.join)) else {
                return false;
            };
            match &join.operator {
                Operator::Respond(_) => [Side::REQUEST, Side::RESPONSE].contains(&emit.side),
                Operator::Latest(latest) => match emit.side.ask_index() {
                    Some(ask) => latest.asks.get(ask).is_some_and(|ask| ask.metric == metric),
                    None => true,
                },
            }
        };
        let sources = self
            .topics
            .iter()
            .flat_map(|topic| topic.sources.iter().map(move |source| (topic, source)));
        sources.filter(|(_, source)| source.emits.iter().any(brings)).collect()
    }

    /// Whether records of this topic, an index into [`Plan::topics`], take part in a join.
    pub fn is_joined(&self, topic: usize) -> bool {
        self.joins.iter().any(|join| join.topics.contains(&topic))
    }
}
