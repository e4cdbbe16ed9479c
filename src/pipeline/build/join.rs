//! Joins: what metrics ask for, brought together so that each is kept once.
//!
//! Rule: a join is known by what must be the same to share it, as one JSON text; together with what its records carry that
//! text is its definition. The sides are compiled when the whole document was read, since each metric may add to what they
//! carry.
//!
//! Edges:
//! - a metric that looks values up is filled by its join alone: each record asks once, so all of its look-ups are one;
//! - what joins cannot take is counted in two metrics of ours, which belong to the first pipeline and hold all joins;
//! - what a label says of a record that is not there is its `else`, or `unknown`.

use serde_json::{Value as Json, json};
use xxhash_rust::xxh3::xxh3_64;

use super::{Builder, Expense, Feed, compile_label};
use crate::engine::plan::{
    self, Ask, Emit, JoinIx, JoinedLabel, KeyFrom, Kind, Latest, Measure as Taken, Measured, MetricIx, Operator, Plan,
    Respond, Side, ValueFrom,
};
use crate::engine::series::DefinitionHash;
use crate::engine::tap::expr::Cost;
use crate::engine::window::WindowSize;
use crate::pipeline::compile::Compiler;
use crate::pipeline::definition::{self, Condition};
use crate::pipeline::fault::Place;
use crate::pipeline::read::{self, Document, Label, LookUp, Measure, Metric, Of, Said, Source, Time};

/// What a label has where there is no record to take it from, if nothing is said.
const UNKNOWN: &str = "unknown";

/// Names that no pipeline can give.
const UNKEYED_TOTAL: &str = "streamgauge_join_unkeyed_records_total";
const LATE_TOTAL: &str = "streamgauge_join_late_records_total";

/// A join on its way to the plan.
pub struct Joining<'d> {
    identity: String,
    name: String,
    sides: Vec<Carrying<'d>>,
    operator: Operator,
}

/// One side of it.
struct Carrying<'d> {
    sources: Vec<&'d Source>,
    key: Said<String>,
    carries: Vec<(Place, Label)>,
    value: Option<read::Said<read::Measured>>,
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
    fn new(sources: Vec<&'d Source>, key: &Said<String>) -> Self {
        Self {
            sources,
            key: key.clone(),
            carries: Vec::new(),
            value: None,
        }
    }

    /// The place of this label among what is carried.
    fn carry(&mut self, place: &Place, label: Label) -> usize {
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
        let mut topics: Vec<&str> = feeds.iter().map(|feed| feed.source.topic.value.as_str()).collect();
        topics.sort_unstable();
        topics.dedup();
        let identity = json!([
            "latest",
            of,
            definition::of_source(source, Condition::Counts),
            first.on.value,
            takes,
            first.within.as_micros(),
            topics,
        ]);
        let at = self.joining(&identity, || Joining {
            identity: identity.to_string(),
            name: format!("latest {} on {}", source.name.value, first.on.value),
            sides: vec![Carrying::new(vec![source], &first.on)],
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

    /// Compiles the sides of the joins from the `first` on; gives what each source emits, and fills in what that costs.
    pub(super) fn emits(&mut self, first: usize) -> Vec<(&'d Source, Emit)> {
        let mut emits = Vec::new();
        let joins = std::mem::take(&mut self.joins);
        for (at, join) in joins.iter().enumerate().skip(first) {
            let mut most = Expense::default();
            for (side, carrying) in (0..).zip(&join.sides) {
                for source in &carrying.sources {
                    let emit = self.emit(JoinIx(at), Side(side), carrying, source, &mut most);
                    emits.extend(emit.map(|emit| (*source, emit)));
                }
            }
            for metric in metrics_of(&join.operator) {
                if let Some(expense) = self.expenses.get_mut(metric.0) {
                    expense.clone_from(&most);
                }
            }
        }
        self.joins = joins;
        emits
    }

    fn emit(
        &mut self,
        join: JoinIx,
        side: Side,
        carrying: &Carrying<'_>,
        source: &Source,
        most: &mut Expense,
    ) -> Option<Emit> {
        let topic = self.topics.get_mut(source.topic.value.as_str())?;
        let mut alone = Compiler::default();
        let mut expressions = Vec::new();
        if let Time::Field { pointer, .. } = &source.time.value {
            alone.field(pointer, &source.time.place, self.faults);
        }
        if let Some(when) = &source.when {
            expressions.extend(alone.expression(when, self.faults));
        }
        let Said { value: pointer, place } = &carrying.key;
        alone.field(pointer, place, self.faults);
        let slot = topic.compiler.field(pointer, place, self.faults);
        let mut carries = Vec::new();
        for (place, label) in &carrying.carries {
            carries.push(compile_label(
                label,
                place,
                &mut topic.compiler,
                &mut alone,
                &mut expressions,
                self.faults,
            ));
        }
        let value = match &carrying.value {
            None => Some(ValueFrom::One),
            Some(value) => super::compile_value(value, &mut topic.compiler, &mut alone, self.faults),
        };
        let interpreted = expressions
            .iter()
            .filter(|expr| expr.cost() == Cost::Interpreted)
            .count();
        most.fields = most.fields.max(alone.into_projection().slots());
        most.interpreted = most.interpreted.max(interpreted);
        most.native = most.native.max(expressions.len() - interpreted);
        Some(Emit {
            join,
            side,
            key: KeyFrom {
                slot: slot?,
                pointer: pointer.clone(),
            },
            carries: carries.into_iter().collect::<Option<Vec<_>>>()?,
            value: value?,
            unkeyed: None,
        })
    }
}

/// Adds the counts of what joins could not take, where there are any joins.
pub fn count_the_rest(plan: &mut Plan) {
    if plan.joins.is_empty() {
        return;
    }
    let mut topics: Vec<usize> = plan.joins.iter().flat_map(|join| join.topics.clone()).collect();
    topics.sort_unstable();
    topics.dedup();
    let first = plan.metrics.len();
    for (name, help, label) in [
        (
            UNKEYED_TOTAL,
            "Records that had no part in a join, by what was wrong with their key or value",
            "reason",
        ),
        (
            LATE_TOTAL,
            "Records that came behind what a join had decided, and decided nothing",
            "side",
        ),
    ] {
        plan.metrics.push(plan::Metric {
            name: name.to_owned(),
            pipeline: 0,
            definition: DefinitionHash(xxh3_64(json!([1, name, "join", label]).to_string().as_bytes())),
            help: help.to_owned(),
            unit: "{record}".to_owned(),
            kind: Kind::Count,
            labels: vec!["join".to_owned(), label.to_owned()],
            window: WindowSize::DEFAULT,
            max_series: 2_000,
            topics: topics.clone(),
        });
    }
    for join in &mut plan.joins {
        join.late = Some(MetricIx(first + 1));
    }
    let sources = plan.topics.iter_mut().flat_map(|topic| &mut topic.sources);
    for emit in sources.flat_map(|source| &mut source.emits) {
        emit.unkeyed = Some(MetricIx(first));
    }
}

// === impl Joining ===

impl Joining<'_> {
    /// As the plan has it; `position` finds a topic's place among all.
    pub fn finish(self, position: impl Fn(&str) -> Option<usize>) -> plan::Join {
        let sides = self.sides.iter().map(|side| {
            let carries: Vec<Json> = side
                .carries
                .iter()
                .map(|(_, label)| definition::of_label(label))
                .collect();
            json!([side.key.value, carries])
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

fn metrics_of(operator: &Operator) -> Vec<MetricIx> {
    match operator {
        Operator::Respond(respond) => respond.measured.iter().map(|measured| measured.metric).collect(),
        Operator::Latest(latest) => latest.asks.iter().map(|ask| ask.metric).collect(),
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
