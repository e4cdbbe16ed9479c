//! Joins: what metrics ask for, brought together so that each is kept once.
//!
//! Rule: a join is known by what must be the same to share it, as one JSON text; together with what its records carry that
//! text is its definition. The sides are compiled when the whole document was read ([`super::emit`]), since each metric may add
//! to what they carry.
//!
//! Edges:
//! - a metric that looks values up is filled by its join alone: each record asks once, so all of its look-ups are one;
//! - what a label says of a record that is not there is its `else`, or `unknown`.

use serde_json::{Value as Json, json};
use xxhash_rust::xxh3::xxh3_64;

use super::{Builder, Feed};
use crate::engine::plan::{
    self, Ask, JoinedLabel, Latest, Measure as Taken, Measured, MetricIx, Operator, Respond, Side,
};
use crate::engine::series::DefinitionHash;
use crate::pipeline::definition::{self, Condition};
use crate::pipeline::fault::Place;
use crate::pipeline::read::{self, Document, Label, LookUp, Measure, Metric, Of, Said, Source};

/// What a label has where there is no record to take it from, if nothing is said.
const UNKNOWN: &str = "unknown";

/// A join on its way to the plan.
pub struct Joining<'d> {
    identity: String,
    name: String,
    pub(super) sides: Vec<Carrying<'d>>,
    pub(super) operator: Operator,
    /// Where the file asks for its traces.
    pub(super) traced: Option<Place>,
}

/// One side of it.
pub(super) struct Carrying<'d> {
    pub sources: Vec<&'d Source>,
    pub key: Said<String>,
    pub carries: Vec<(Place, Label)>,
    /// What is carried from there on is only for spans.
    pub labels: usize,
    pub value: Option<read::Said<read::Measured>>,
}

/// How a joined metric is filled.
pub struct Joined {
    pub join: Json,
    fill: Fill,
}

enum Fill {
    Measured {
        at: usize,
        measure: Taken,
        labels: Vec<JoinedLabel>,
    },
    Asked {
        at: usize,
        labels: Vec<JoinedLabel>,
    },
}

// === impl Carrying ===

impl<'d> Carrying<'d> {
    pub(super) fn new(sources: Vec<&'d Source>, key: &Said<String>) -> Self {
        Self {
            sources,
            key: key.clone(),
            carries: Vec::new(),
            labels: 0,
            value: None,
        }
    }

    /// The place of this label among what is carried. All labels come before everything that is only for spans.
    fn carry(&mut self, place: &Place, label: Label) -> usize {
        let index = self.carry_for_spans(place, label);
        self.labels = self.labels.max(index + 1);
        index
    }

    pub(super) fn carry_for_spans(&mut self, place: &Place, label: Label) -> usize {
        let identity = definition::of_label(&label);
        let known = self
            .carries
            .iter()
            .position(|(_, known)| definition::of_label(known) == identity);
        known.unwrap_or_else(|| {
            self.carries.push((place.clone(), label));
            self.carries.len() - 1
        })
    }
}

// === impl Builder ===

impl<'d> Builder<'d, '_> {
    /// What joins the metric takes part in: `Ok(None)` for one that taps fill, an error where there is a fault.
    pub(super) fn joined(
        &mut self,
        of: &str,
        document: &'d Document,
        metric: &'d Metric,
        feeds: &[Feed<'d>],
    ) -> Result<Option<Joined>, ()> {
        if let Measure::Respond(respond, _) = &metric.what {
            return self.responding(of, metric, respond, feeds).map(Some).ok_or(());
        }
        let mut right = true;
        for (name, label) in &metric.labels {
            if matches!(label, Label::From { .. } | Label::To { .. }) {
                right = false;
                self.faults
                    .add(&name.place, "this metric has no `respond`, so it has no two sides")
                    .help("write the field alone, as in `/data/channel`");
            }
        }
        let look_ups = metric.labels.iter().filter_map(|(name, label)| match label {
            Label::Latest { of, .. } => Some((name, of.as_ref())),
            _ => None,
        });
        let look_ups: Vec<(&Said<String>, &LookUp)> = look_ups.collect();
        match (right, look_ups.first()) {
            (false, _) => Err(()),
            (true, None) => Ok(None),
            (true, Some(_)) => self
                .looking_up(of, document, metric, feeds, &look_ups)
                .map(Some)
                .ok_or(()),
        }
    }

    fn responding(
        &mut self,
        of: &str,
        metric: &'d Metric,
        respond: &read::Respond,
        feeds: &[Feed<'d>],
    ) -> Option<Joined> {
        let [from, to] = [feeds.first()?.source, feeds.get(1)?.source];
        let Of::Sources(names) = &metric.of else { return None };
        if from.name.value == to.name.value {
            self.faults
                .add(&names.get(1)?.place, "requests and responses are two sources")
                .help("where they are in one topic, make two sources of it, each with its own `when`");
            return None;
        }
        let identity = json!([
            "respond",
            of,
            definition::of_source(from, Condition::Counts),
            definition::of_source(to, Condition::Counts),
            respond.on[0].value,
            respond.on[1].value,
            respond.within.as_micros(),
            respond.forget.as_micros(),
            respond.skew.as_micros(),
        ]);
        let at = self.joining(&identity, || Joining {
            identity: identity.to_string(),
            name: format!("{} to {} on {}", from.name.value, to.name.value, respond.on[0].value),
            sides: vec![
                Carrying::new(vec![from], &respond.on[0]),
                Carrying::new(vec![to], &respond.on[1]),
            ],
            traced: None,
            operator: Operator::Respond(Respond {
                within: respond.within,
                forget: respond.forget,
                skew: respond.skew,
                measured: Vec::new(),
                journeys: None,
            }),
        });
        let measure = respond.measure.value;
        let mut labels = Vec::new();
        for (name, label) in super::sorted(metric) {
            let (side, pointer, otherwise) = match label {
                Label::Const(value) => {
                    labels.push(Some(JoinedLabel::Const(value.clone())));
                    continue;
                }
                Label::From { pointer, otherwise } => (Side::REQUEST, pointer, otherwise),
                Label::To { pointer, otherwise } => (Side::RESPONSE, pointer, otherwise),
                _ => {
                    self.faults
                        .add(
                            &name.place,
                            "this does not say whether the request or the response has it",
                        )
                        .help(format!(
                            "write `{}: {{ from: /field }}` or `{}: {{ to: /field }}`",
                            name.value, name.value
                        ));
                    labels.push(None);
                    continue;
                }
            };
            if let Some(why) = unfit(measure, side) {
                self.faults.add(&name.place, why.0).help(why.1);
                labels.push(None);
                continue;
            }
            let label = Label::Field {
                pointer: pointer.clone(),
                otherwise: otherwise.clone(),
            };
            let index = self.joins[at].sides[usize::from(side.0)].carry(&name.place, label);
            labels.push(Some(JoinedLabel::Carried {
                side,
                index,
                otherwise: otherwise.clone().unwrap_or_else(|| UNKNOWN.to_owned()),
            }));
        }
        if measure.is_level()
            && let Some((name, _)) = metric.labels.first()
        {
            self.faults
                .add(&name.place, "this gauge has no labels")
                .help("leave them out: it is one number for all requests");
            return None;
        }
        Some(Joined {
            join: json!([identity, measure_name(measure)]),
            fill: Fill::Measured {
                at,
                measure,
                labels: labels.into_iter().collect::<Option<Vec<_>>>()?,
            },
        })
    }

    fn looking_up(
        &mut self,
        of: &str,
        document: &'d Document,
        metric: &'d Metric,
        feeds: &[Feed<'d>],
        look_ups: &[(&Said<String>, &LookUp)],
    ) -> Option<Joined> {
        let (first_name, first) = look_ups.first()?;
        if let Of::All = &metric.of {
            self.faults
                .add(&first_name.place, "a look-up needs records of sources that are named")
                .help("name the sources instead of `\"*\"`");
            return None;
        }
        let key = |look_up: &LookUp| {
            let LookUp { of, on, equals, .. } = look_up;
            [of, on, equals].map(|said| said.value.clone())
        };
        for (name, other) in &look_ups[1..] {
            if key(other) != key(first) || other.within != first.within {
                self.faults
                    .add(&name.place, "a metric looks up by one key of one source")
                    .and(&first_name.place, "the other look-up")
                    .help("give both the same `of`, `on`, `equals` and `within`; only `take` may differ");
                return None;
            }
        }
        let source = self.source(document, &first.of)?;
        let mut takes: Vec<&str> = look_ups
            .iter()
            .map(|(_, look_up)| look_up.take.value.as_str())
            .collect();
        takes.sort_unstable();
        takes.dedup();
        let asking: Vec<Json> = feeds
            .iter()
            .map(|feed| definition::of_source(feed.source, feed.condition))
            .collect();
        // Each metric has a join of its own: what another one asks, or that it asks no more, must not touch this state.
        let identity = json!([
            "latest",
            of,
            metric.name.value,
            definition::of_source(source, Condition::Counts),
            first.on.value,
            first.equals.value,
            takes,
            first.within.as_micros(),
            asking,
            asked_value(&metric.what),
        ]);
        let at = self.joining(&identity, || Joining {
            identity: identity.to_string(),
            name: format!("latest {} on {}", source.name.value, first.on.value),
            sides: vec![Carrying::new(vec![source], &first.on)],
            traced: None,
            operator: Operator::Latest(Latest {
                within: first.within,
                asks: Vec::new(),
            }),
        });
        let Operator::Latest(latest) = &self.joins[at].operator else {
            return None;
        };
        let side = Side::ask(u16::try_from(latest.asks.len()).ok()?);
        let mut asking = Carrying::new(feeds.iter().map(|feed| feed.source).collect(), &first.equals);
        asking.value = match &metric.what {
            Measure::Sum(value) | Measure::Observe(value, _) => Some(value.clone()),
            Measure::Count | Measure::Respond(..) => None,
        };
        let mut labels = Vec::new();
        for (name, label) in super::sorted(metric) {
            labels.push(match label {
                Label::Const(value) => JoinedLabel::Const(value.clone()),
                Label::Latest { of, otherwise } => {
                    let take = Label::Field {
                        pointer: of.take.value.clone(),
                        otherwise: None,
                    };
                    JoinedLabel::Carried {
                        side: Side::VALUE,
                        index: self.joins[at].sides[0].carry(&of.take.place, take),
                        otherwise: otherwise.clone().unwrap_or_else(|| UNKNOWN.to_owned()),
                    }
                }
                own => JoinedLabel::Carried {
                    side,
                    index: asking.carry(&name.place, own.clone()),
                    otherwise: UNKNOWN.to_owned(),
                },
            });
        }
        self.joins[at].sides.push(asking);
        Some(Joined {
            join: identity,
            fill: Fill::Asked { at, labels },
        })
    }

    /// The join of this identity.
    fn joining(&mut self, identity: &Json, make: impl FnOnce() -> Joining<'d>) -> usize {
        let identity = identity.to_string();
        let known = self.joins.iter().position(|join| join.identity == identity);
        known.unwrap_or_else(|| {
            self.joins.push(make());
            self.joins.len() - 1
        })
    }

    /// The metric is there: its join fills it.
    pub(super) fn fill(&mut self, metric: MetricIx, joined: Joined) {
        match joined.fill {
            Fill::Measured { at, measure, labels } => {
                if let Operator::Respond(respond) = &mut self.joins[at].operator {
                    respond.measured.push(Measured {
                        metric,
                        measure,
                        labels,
                    });
                }
            }
            Fill::Asked { at, labels } => {
                if let Operator::Latest(latest) = &mut self.joins[at].operator {
                    latest.asks.push(Ask { metric, labels });
                }
            }
        }
    }
}

// === impl Joining ===

impl Joining<'_> {
    /// As the plan has it; `position` finds a topic's place among all.
    pub fn finish(self, position: impl Fn(&str) -> Option<usize>) -> plan::Join {
        let sides = self.sides.iter().enumerate().map(|(number, side)| {
            let carries: Vec<Json> = side
                .carries
                .iter()
                .map(|(_, label)| definition::of_label(label))
                .collect();
            let mut layout = vec![json!(side.key.value), json!(carries)];
            if matches!(self.operator, Operator::Respond(_)) && number > usize::from(Side::RESPONSE.0) {
                // Steps are no part of the identity.
                let sources = side.sources.iter();
                layout.extend(sources.map(|source| definition::of_source(source, Condition::Counts)));
            }
            Json::Array(layout)
        });
        let layout: Vec<Json> = sides.collect();
        let text = json!([1, self.identity, layout]).to_string();
        let sources = self.sides.iter().flat_map(|side| &side.sources);
        let mut topics: Vec<usize> = sources.filter_map(|source| position(&source.topic.value)).collect();
        topics.sort_unstable();
        topics.dedup();
        plan::Join {
            name: self.name,
            definition: DefinitionHash(xxh3_64(text.as_bytes())),
            topics,
            late: None,
            operator: self.operator,
        }
    }

    /// The topics that it waits for.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        let sources = self.sides.iter().flat_map(|side| &side.sources);
        sources.map(|source| source.topic.value.as_str())
    }
}

impl Joined {
    /// Its join, as an index into the builder's.
    pub fn at(&self) -> usize {
        match &self.fill {
            Fill::Measured { at, .. } | Fill::Asked { at, .. } => *at,
        }
    }
}

/// Why a measure cannot have a label of this side, and what would be right.
fn unfit(measure: Taken, side: Side) -> Option<(&'static str, &'static str)> {
    match (measure, side) {
        (Taken::Unanswered, Side::RESPONSE) => Some((
            "an unanswered request has no response to take this from",
            "take it `from` the request, or leave it out",
        )),
        (Taken::Duplicate, Side::RESPONSE) => Some((
            "a further request has no response to take this from",
            "take it `from` the request, or leave it out",
        )),
        (Taken::Unmatched, Side::REQUEST) => Some((
            "a response without a request has nothing to take this from",
            "take it of the response with `to`, or leave it out",
        )),
        _ => None,
    }
}

/// What a record that asks adds to its metric.
fn asked_value(what: &Measure) -> Json {
    let value = |value: &read::Measured| match value {
        read::Measured::Field(pointer) => json!(["field", pointer]),
        read::Measured::Bytes => json!(["bytes"]),
        read::Measured::AppendLatency => json!(["append_latency"]),
    };
    match what {
        Measure::Count | Measure::Respond(..) => json!(["one"]),
        Measure::Sum(of) => json!(["sum", value(&of.value)]),
        Measure::Observe(of, _) => json!(["observe", value(&of.value)]),
    }
}

fn measure_name(measure: Taken) -> &'static str {
    match measure {
        Taken::ResponseTime => "time",
        Taken::Unanswered => "unanswered",
        Taken::Second => "second",
        Taken::Unmatched => "unmatched",
        Taken::Negative => "negative",
        Taken::Duplicate => "duplicate",
        Taken::Open => "open",
        Taken::OldestOpen => "oldest",
    }
}
