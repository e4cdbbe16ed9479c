//! From what the documents say to the plan.
//!
//! Rule: everything that needs more than one place of the files is checked here: names that must be unique, sources that
//! must exist, sources of one topic that must agree, names that must survive the way to Prometheus. What comes out is
//! compiled and in range.
//!
//! Edges:
//! - `"*"` becomes one implicit source on each topic of its pipeline, without a condition;
//! - a source that feeds no metric is compiled for its faults and then left out; its topic stays, since `"*"` and the
//!   ledger count its records;
//! - labels are sorted by name, so that the order in the file means nothing.

use std::collections::BTreeMap;

use crate::engine::plan::{
    self, Emit, Kind, LabelFrom, Merge, MetricIx, Plan, Recipe, SourcePlan, TimeFrom, ValueFrom,
};
use crate::engine::tap::expr::{Cost, Expr};
use crate::engine::window::WindowSize;

mod agree;
mod alert;
mod emit;
mod join;
mod naming;
mod own;
mod receiver;
mod trace;

use super::compile::Compiler;
use super::definition::{self, Condition, Definition};
use super::fault::{Faults, Place};
use super::form::nearest;
use super::read::{self, Buckets, Document, Label, Measure, Measured, Metric, Of, Said, Source, Time, Trace};
use super::unit::Family;

/// What `check` tells of a metric beyond the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expense {
    /// Fields that one record of the hungriest of its topics is read for, the time included.
    pub fields: usize,
    /// Expressions that run compiled, and those that need the interpreter, conditions included.
    pub native: usize,
    pub interpreted: usize,
}

/// A plan and what a person may want to know of it.
#[derive(Debug)]
pub struct Built {
    pub plan: Plan,
    /// By [`MetricIx`].
    pub expenses: Vec<Expense>,
    /// What is allowed but hardly meant.
    pub notes: Vec<String>,
}

/// Builds the plan; faults mean that it must not be used.
pub fn build(documents: &[Document], faults: &mut Faults) -> Built {
    let mut builder = Builder {
        faults,
        topics: BTreeMap::new(),
        metrics: Vec::new(),
        joins: Vec::new(),
        expenses: Vec::new(),
        notes: Vec::new(),
        traces: 0,
    };
    agree::names(documents, builder.faults);
    agree::lag(documents, builder.faults);
    for document in documents {
        for source in &document.sources {
            builder.topic(source);
        }
    }
    for (pipeline, document) in documents.iter().enumerate() {
        builder.document(pipeline, document);
    }
    builder.finish(documents)
}

struct Builder<'d, 'f> {
    faults: &'f mut Faults,
    topics: BTreeMap<&'d str, Topic<'d>>,
    metrics: Vec<plan::Metric>,
    joins: Vec<join::Joining<'d>>,
    expenses: Vec<Expense>,
    notes: Vec<String>,
    /// How many were understood.
    traces: usize,
}

/// A topic on the way to its plan.
struct Topic<'d> {
    /// The source that was read first; the others must agree with it.
    first: &'d Source,
    compiler: Compiler,
    time: Option<TimeFrom>,
    sources: Vec<SourcePlan>,
}

/// One source's records on their way to a metric.
struct Feed<'d> {
    source: &'d Source,
    condition: Condition,
}

// === impl Builder ===

impl<'d> Builder<'d, '_> {
    /// Opens the source's topic, or holds the source against those that read it already.
    fn topic(&mut self, source: &'d Source) {
        let Some(topic) = self.topics.get(source.topic.value.as_str()) else {
            let mut compiler = Compiler::default();
            let time = match &source.time.value {
                Time::Record => Some(TimeFrom::Record),
                Time::Field { pointer, format } => {
                    compiler
                        .field(pointer, &source.time.place, self.faults)
                        .map(|slot| TimeFrom::Field {
                            slot,
                            pointer: pointer.clone(),
                            format: *format,
                        })
                }
            };
            self.topics.insert(
                &source.topic.value,
                Topic {
                    first: source,
                    compiler,
                    time,
                    sources: Vec::new(),
                },
            );
            return;
        };
        agree::settings(source, topic.first, self.faults);
    }

    fn document(&mut self, pipeline: usize, document: &'d Document) {
        let name = document.name.as_ref().map_or("", |name| name.value.as_str());
        let mut recipes: BTreeMap<(&str, &str), Vec<Recipe>> = BTreeMap::new();
        let first_join = self.joins.len();
        let mut joined = self.joins_of(name, document);
        for (at, metric) in document.metrics.iter().enumerate() {
            let Some((feeds, joined)) = joined.remove(&at) else {
                continue;
            };
            let ix = MetricIx(self.metrics.len());
            let Some(built) = self.metric(pipeline, name, metric, &feeds, joined.as_ref()) else {
                continue;
            };
            if let Some(joined) = joined {
                self.fill(ix, joined);
                self.metrics.push(built);
                self.expenses.push(Expense::default());
                continue;
            }
            let mut expense = Expense::default();
            for feed in &feeds {
                if let Some(recipe) = self.recipe(ix, metric, feed, &mut expense) {
                    let source = if feed.condition == Condition::Ignored {
                        "*"
                    } else {
                        feed.source.name.value.as_str()
                    };
                    recipes
                        .entry((&feed.source.topic.value, source))
                        .or_default()
                        .push(recipe);
                }
            }
            self.metrics.push(built);
            self.expenses.push(expense);
        }
        let mut traces: Vec<&Trace> = document.traces.iter().collect();
        traces.sort_by_key(|trace| &trace.name.value);
        for trace in traces {
            self.trace(pipeline, document, trace);
        }
        let mut emits: BTreeMap<(&str, &str), Vec<Emit>> = BTreeMap::new();
        for (source, emit) in self.emits(first_join) {
            let key = (source.topic.value.as_str(), source.name.value.as_str());
            emits.entry(key).or_default().push(emit);
        }
        for source in &document.sources {
            let topic = source.topic.value.as_str();
            let fed = recipes.remove(&(topic, source.name.value.as_str()));
            let emitted = emits.remove(&(topic, source.name.value.as_str()));
            let takes_part = fed.is_some() || emitted.is_some();
            if !takes_part && !recipes.contains_key(&(topic, "*")) {
                self.notes.push(format!(
                    "the source `{}` of `{name}` feeds no metric",
                    source.name.value
                ));
            }
            let Some(topic) = self.topics.get_mut(topic) else {
                continue;
            };
            let mut scratch = Compiler::default();
            let compiler = if takes_part { &mut topic.compiler } else { &mut scratch };
            let when = source
                .when
                .as_ref()
                .and_then(|when| compiler.expression(when, self.faults));
            if takes_part {
                topic.sources.push(SourcePlan {
                    name: source.name.value.clone(),
                    pipeline,
                    when,
                    recipes: fed.unwrap_or_default(),
                    emits: emitted.unwrap_or_default(),
                });
            }
        }
        for ((topic, source), recipes) in recipes {
            if let Some(topic) = self.topics.get_mut(topic) {
                topic.sources.push(SourcePlan {
                    name: source.to_owned(),
                    pipeline,
                    when: None,
                    recipes,
                    emits: Vec::new(),
                });
            }
        }
    }

    /// Each metric's records and its join, where it has one, by the metric's place; nothing where there is a fault. Metrics
    /// come to their joins in the order of their names, so that the order of the file means nothing.
    fn joins_of(
        &mut self,
        name: &str,
        document: &'d Document,
    ) -> BTreeMap<usize, (Vec<Feed<'d>>, Option<join::Joined>)> {
        let mut places: Vec<usize> = (0..document.metrics.len()).collect();
        places.sort_by_key(|at| &document.metrics[*at].name.value);
        let mut joins = BTreeMap::new();
        for at in places {
            let metric = &document.metrics[at];
            let Some(feeds) = self.feeds(document, metric) else {
                continue;
            };
            if let Ok(joined) = self.joined(name, document, metric, &feeds) {
                joins.insert(at, (feeds, joined));
            }
        }
        joins
    }

    /// The records that a metric asks for; `None` where a source is missing, or is faulty itself.
    fn feeds(&mut self, document: &'d Document, metric: &Metric) -> Option<Vec<Feed<'d>>> {
        let names = match &metric.of {
            Of::All => {
                // One feed a topic; which of its sources stands for it does not matter, since they agree.
                let by_topic: BTreeMap<&str, &Source> = document
                    .sources
                    .iter()
                    .rev()
                    .map(|source| (source.topic.value.as_str(), source))
                    .collect();
                let feeds = by_topic.into_values().map(|source| Feed {
                    source,
                    condition: Condition::Ignored,
                });
                return Some(feeds.collect());
            }
            Of::Sources(names) => names,
        };
        let mut feeds = Vec::new();
        for name in names {
            let source = self.source(document, name);
            feeds.push(source.map(|source| Feed {
                source,
                condition: Condition::Counts,
            }));
        }
        feeds.into_iter().collect()
    }

    /// The source of this name; `None` where it is missing, or is faulty itself.
    fn source(&mut self, document: &'d Document, name: &Said<String>) -> Option<&'d Source> {
        // Without any sources there is a fault already.
        let known =
            document.source_names.is_empty() || document.source_names.iter().any(|known| known.value == name.value);
        if !known {
            let known = document.source_names.iter().map(|known| known.value.as_str());
            let help = match nearest(&name.value, known) {
                Some(source) => format!("did you mean `{source}`?"),
                None => "name one that stands under `sources`, or write `\"*\"` for all of their topics".to_owned(),
            };
            self.faults
                .add(&name.place, "this pipeline has no source of this name")
                .help(help);
        }
        document.sources.iter().find(|source| source.name.value == name.value)
    }

    fn metric(
        &mut self,
        pipeline: usize,
        of: &str,
        metric: &Metric,
        feeds: &[Feed<'_>],
        joined: Option<&join::Joined>,
    ) -> Option<plan::Metric> {
        let name = metric.name.value.as_str();
        let (kind, family, value) = match &metric.what {
            Measure::Count => (Kind::Count, Family::Counter, None),
            Measure::Sum(value) if value.value == Measured::Bytes => (Kind::Count, Family::Counter, Some(value)),
            Measure::Sum(value) => (Kind::Sum, Family::Counter, Some(value)),
            Measure::Observe(value, buckets) => (naming::kind(buckets, self.faults)?, Family::Histogram, Some(value)),
            Measure::Respond(respond, buckets) => {
                let (kind, family) = self.measured(respond, buckets.as_ref())?;
                (kind, family, None)
            }
        };
        let unit = naming::unit(metric, family, value, self.faults)?;
        let labels: Vec<(&str, &Label)> = sorted(metric)
            .map(|(name, label)| (name.value.as_str(), label))
            .collect();
        let definition = Definition {
            pipeline: of,
            name,
            kind: &kind,
            unit: &unit,
            window: metric.window.value,
            value: value.map(|value| &value.value),
            labels: &labels,
            sources: feeds
                .iter()
                .map(|feed| definition::of_source(feed.source, feed.condition))
                .collect(),
            join: joined.map(|joined| joined.join.clone()),
        }
        .hash();
        let mut names: Vec<&str> = feeds.iter().map(|feed| feed.source.topic.value.as_str()).collect();
        if let Some(joined) = joined {
            names.extend(self.joins[joined.at()].topics());
        }
        let position = |name: &&str| self.topics.keys().position(|topic| topic == name);
        let mut topics: Vec<usize> = names.iter().filter_map(position).collect();
        topics.sort_unstable();
        topics.dedup();
        Some(plan::Metric {
            name: name.to_owned(),
            pipeline,
            definition,
            help: metric.help.clone(),
            unit,
            labels: labels.iter().map(|(name, _)| (*name).to_owned()).collect(),
            kind,
            window: WindowSize::new(metric.window.value)?,
            max_series: metric.max_series,
            topics,
        })
    }

    /// What the measure of a respond is as a metric.
    fn measured(&mut self, respond: &read::Respond, buckets: Option<&Said<Buckets>>) -> Option<(Kind, Family)> {
        let kind = match respond.measure.value {
            plan::Measure::ResponseTime => {
                let kind = match buckets {
                    Some(buckets) => naming::kind(&buckets.value, self.faults)?,
                    None => Kind::Exponential { max_buckets: 160 },
                };
                return Some((kind, Family::Histogram));
            }
            plan::Measure::Open => (Kind::Level(Merge::Sum), Family::Gauge),
            plan::Measure::OldestOpen => (Kind::Level(Merge::Max), Family::Gauge),
            _ => (Kind::Count, Family::Counter),
        };
        if let Some(buckets) = buckets {
            self.faults
                .add(&buckets.place, "only the `time` of a respond has buckets")
                .help("leave `histogram` out");
            return None;
        }
        Some(kind)
    }

    /// Compiles into the topic's projection, and into one of the metric alone to tell what it costs.
    fn recipe(&mut self, ix: MetricIx, metric: &Metric, feed: &Feed<'_>, expense: &mut Expense) -> Option<Recipe> {
        let topic = self.topics.get_mut(feed.source.topic.value.as_str())?;
        let mut alone = Compiler::default();
        if let Time::Field { pointer, .. } = &feed.source.time.value {
            alone.field(pointer, &feed.source.time.place, self.faults);
        }
        let mut expressions = Vec::new();
        if let Some(when) = feed
            .source
            .when
            .as_ref()
            .filter(|_| feed.condition == Condition::Counts)
        {
            expressions.extend(alone.expression(when, self.faults));
        }
        let mut labels = Vec::new();
        for (name, label) in sorted(metric) {
            labels.push(compile_label(
                label,
                &name.place,
                &mut topic.compiler,
                &mut alone,
                &mut expressions,
                self.faults,
            ));
        }
        let value = match &metric.what {
            Measure::Count | Measure::Respond(..) => Some(ValueFrom::One),
            Measure::Sum(value) | Measure::Observe(value, _) => {
                compile_value(value, &mut topic.compiler, &mut alone, self.faults)
            }
        };
        let interpreted = expressions
            .iter()
            .filter(|expr| expr.cost() == Cost::Interpreted)
            .count();
        expense.fields = expense.fields.max(alone.into_projection().slots());
        expense.interpreted = expense.interpreted.max(interpreted);
        expense.native = expense.native.max(expressions.len() - interpreted);
        Some(Recipe {
            metric: ix,
            labels: labels.into_iter().collect::<Option<Vec<_>>>()?,
            value: value?,
        })
    }

    fn finish(self, documents: &[Document]) -> Built {
        let names: Vec<&str> = self.topics.keys().copied().collect();
        let position = |name: &str| names.iter().position(|topic| *topic == name);
        let joins = self.joins.into_iter().map(|join| join.finish(position)).collect();
        let mut topics = Vec::new();
        for (name, topic) in self.topics {
            let (source, Some(from)) = (topic.first, topic.time) else {
                continue;
            };
            topics.push(plan::TopicPlan {
                topic: name.to_owned(),
                timing: plan::Timing {
                    from,
                    out_of_order: source.out_of_order.value,
                    idle_after: source.idle_after.value,
                    max_hold: source.max_hold.value,
                    max_ahead: source.max_ahead.value,
                },
                start: source.start.value,
                max_record_bytes: source.max_record_bytes.value,
                projection: topic.compiler.into_projection(),
                sources: topic.sources,
            });
        }
        let pipelines: Vec<String> = documents
            .iter()
            .filter_map(|document| Some(document.name.as_ref()?.value.clone()))
            .collect();
        let understood = |document: &Document| {
            document.metrics.iter().all(|metric| metric.complete) && document.traces.iter().all(|trace| trace.complete)
        };
        let asked = |names: fn(&Document) -> usize| documents.iter().map(names).sum::<usize>();
        let whole = documents.iter().all(understood)
            && self.metrics.len() == asked(|document| document.metric_names.len())
            && self.traces == asked(|document| document.trace_names.len())
            && documents
                .iter()
                .all(|document| document.asks_lag == document.lag.is_some())
            && documents.iter().all(|document| {
                document.alerts.len() == document.alert_names.len()
                    && document.receivers.len() == document.receiver_names.len()
            })
            && pipelines.len() == documents.len();
        if self.faults.is_empty() && !whole {
            self.faults
                .add_without_place("a part of these files was not understood, and no fault was found in it")
                .help("this is a fault of streamgauge itself: please report it with the files");
        }
        let mut plan = Plan {
            lag: lag(documents),
            pipelines,
            metrics: self.metrics,
            topics,
            joins,
            alerts: Vec::new(),
            receivers: Vec::new(),
        };
        own::count_the_rest(&mut plan);
        plan.receivers = receiver::receivers(documents, self.faults);
        // Of metrics that were not understood there is a fault already.
        if self.faults.is_empty() {
            plan.alerts = alert::alerts(documents, &plan, self.faults);
        }
        let mut expenses = self.expenses;
        expenses.resize(plan.metrics.len(), Expense::default());
        Built {
            plan,
            expenses,
            notes: self.notes,
        }
    }
}

/// What is asked of lag, by the one pipeline that does.
fn lag(documents: &[Document]) -> Option<plan::Lag> {
    let mut asked = documents.iter().enumerate();
    asked.find_map(|(pipeline, document)| {
        let lag = document.lag.as_ref()?;
        Some(plan::Lag {
            pipeline,
            ..lag.value.clone()
        })
    })
}

/// A metric's labels, sorted by name.
fn sorted(metric: &Metric) -> impl Iterator<Item = (&Said<String>, &Label)> {
    let by_name: BTreeMap<&str, &(Said<String>, Label)> = metric
        .labels
        .iter()
        .map(|label| (label.0.value.as_str(), label))
        .collect();
    by_name.into_values().map(|(name, label)| (name, label))
}

/// Compiles a label into the topic's projection, and into one of the metric alone. Labels of joins are none of a record.
fn compile_label(
    label: &Label,
    place: &Place,
    compiler: &mut Compiler,
    alone: &mut Compiler,
    expressions: &mut Vec<Expr>,
    faults: &mut Faults,
) -> Option<LabelFrom> {
    match label {
        Label::Const(value) => Some(LabelFrom::Const(value.clone())),
        Label::Topic => Some(LabelFrom::Topic),
        Label::Partition => Some(LabelFrom::Partition),
        Label::Offset => Some(LabelFrom::Offset),
        Label::Header { name, otherwise } => Some(LabelFrom::Header {
            name: name.clone(),
            otherwise: otherwise.clone(),
        }),
        Label::Field { pointer, otherwise } => {
            alone.field(pointer, place, faults);
            compiler.field(pointer, place, faults).map(|slot| LabelFrom::Field {
                slot,
                pointer: pointer.clone(),
                otherwise: otherwise.clone(),
            })
        }
        Label::Cel { source, otherwise } => {
            expressions.extend(alone.expression(source, faults));
            let expr = compiler.expression(source, faults);
            expr.map(|expr| LabelFrom::Expr {
                expr,
                otherwise: otherwise.clone(),
            })
        }
        Label::From { .. } | Label::To { .. } | Label::Latest { .. } => None,
    }
}

/// Compiles a value as [`compile_label`] does labels.
fn compile_value(
    value: &Said<Measured>,
    compiler: &mut Compiler,
    alone: &mut Compiler,
    faults: &mut Faults,
) -> Option<ValueFrom> {
    match &value.value {
        Measured::Bytes => Some(ValueFrom::Bytes),
        Measured::AppendLatency => Some(ValueFrom::AppendLatency),
        Measured::Field(pointer) => {
            alone.field(pointer, &value.place, faults);
            compiler
                .field(pointer, &value.place, faults)
                .map(|slot| ValueFrom::Field {
                    slot,
                    pointer: pointer.clone(),
                })
        }
    }
}
