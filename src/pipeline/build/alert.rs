//! Alerts: rules over series that there are, told to receivers that there are.
//!
//! Rule: a rule names one metric of the process, and labels that this metric has; a template names labels that an alert of
//! the rule has. What cannot be judged or told is refused.
//!
//! Edges:
//! - histograms cannot be compared with a number;
//! - a definition is what is decided, and nothing of who is told or how.

use std::collections::BTreeSet;

use serde_json::json;
use xxhash_rust::xxh3::xxh3_64;

use crate::engine::gauge::{self, Shape};
use crate::engine::lag;
use crate::engine::plan::{self, Bound, Condition, Kind, Piece, Plan, Template};
use crate::engine::series::DefinitionHash;
use crate::pipeline::fault::Faults;
use crate::pipeline::form::nearest;
use crate::pipeline::read::{Alert, Document, Met, Said};

/// What can be compared.
struct Metric {
    labels: Vec<String>,
    is_counter: bool,
    is_histogram: bool,
}

/// All rules of all documents.
pub fn alerts(documents: &[Document], plan: &Plan, faults: &mut Faults) -> Vec<plan::Alert> {
    super::agree::names_of_alerts(documents, faults);
    let names = documents.iter().flat_map(|document| &document.receiver_names);
    let receivers: BTreeSet<&str> = names.map(|name| name.value.as_str()).collect();
    let mut alerts = Vec::new();
    for (pipeline, document) in documents.iter().enumerate() {
        let name = document.name.as_ref().map_or("", |name| name.value.as_str());
        for said in &document.alerts {
            for to in said.to.iter().filter(|to| !receivers.contains(to.value.as_str())) {
                let help = match nearest(&to.value, receivers.iter().copied()) {
                    Some(known) => format!("did you mean `{known}`?"),
                    None => "name one of `receivers`".to_owned(),
                };
                faults
                    .add(&to.place, format!("there is no receiver `{}`", to.value))
                    .help(help);
            }
            alerts.extend(alert(pipeline, name, said, plan, faults));
        }
    }
    alerts.sort_by(|a, b| a.name.cmp(&b.name));
    alerts
}

fn alert(pipeline: usize, of: &str, said: &Alert, plan: &Plan, faults: &mut Faults) -> Option<plan::Alert> {
    let metric = metric(&said.metric, plan, faults)?;
    let known = faults.len();
    let mut find = |name: &Said<String>| find(name, &metric.labels, faults);
    let mut matching: Vec<(usize, Vec<String>)> = Vec::new();
    for (label, values) in &said.matching {
        if let Some(at) = find(label) {
            let mut values = values.clone();
            values.sort_unstable();
            matching.push((at, values));
        }
    }
    matching.sort_unstable();
    let mut places = |names: &[Said<String>]| -> Vec<usize> {
        let mut found: Vec<usize> = names.iter().filter_map(&mut find).collect();
        found.sort_unstable();
        found
    };
    let sum_by = said.sum.as_deref().map(&mut places);
    let group = places(&said.group);
    let bound = |met: Met| match met {
        Met::Above(bound) => Some(Bound::Above(bound)),
        Met::Below(bound) => Some(Bound::Below(bound)),
        Met::Absent(_) => None,
    };
    let condition = match (said.met, &said.rate) {
        (Met::Absent(span), _) => Condition::Absent(span),
        (met, None) => Condition::Value(bound(met)?),
        (met, Some(over)) => {
            if !metric.is_counter {
                faults
                    .add(
                        &over.place,
                        format!("`{}` is no counter: it has no rate", said.metric.value),
                    )
                    .help("compare its value, without `rate`");
            }
            Condition::Rate {
                over: over.value,
                bound: bound(met)?,
                began_above: said.began_above.as_ref().map(|began| began.value),
            }
        }
    };
    if let (Some(began), None) = (&said.began_above, &said.rate) {
        faults
            .add(&began.place, "`began_above` needs `rate`")
            .help("say over which span, as in `rate: 5m`");
    }
    let mut own_labels: Vec<(String, String)> = Vec::new();
    for (label, value) in &said.labels {
        if ["alertname", "severity"].contains(&&*label.value) {
            faults
                .add(&label.place, format!("`{}` has another place", label.value))
                .help("the rule's name is `alertname`, and `severity` is a key of its own");
        }
        own_labels.push((label.value.clone(), value.clone()));
    }
    own_labels.sort_unstable();
    let mut alert = plan::Alert {
        name: said.name.value.clone(),
        pipeline,
        definition: DefinitionHash::default(),
        metric: said.metric.value.clone(),
        labels: metric.labels,
        matching,
        condition,
        sum_by,
        hold: said.hold,
        severity: said.severity.clone(),
        own_labels,
        group,
        repeat: said.repeat,
        summary: said.summary.clone(),
        description: Template::default(),
        to: said.to.iter().map(|to| to.value.clone()).collect(),
    };
    let identity = alert.identity();
    for label in &said.group {
        let at = alert.labels.iter().position(|known| *known == label.value);
        if at.is_some_and(|at| !identity.contains(&at)) {
            faults
                .add(
                    &label.place,
                    format!("alerts of this rule have no label `{}`", label.value),
                )
                .help("add it to `sum`, or to `where`");
        }
    }
    if let Some(description) = &said.description {
        alert.description = template(description, &alert, &identity, faults);
    }
    alert.definition = definition(of, &alert);
    (faults.len() == known).then_some(alert)
}

fn find(name: &Said<String>, labels: &[String], faults: &mut Faults) -> Option<usize> {
    let found = labels.iter().position(|label| *label == name.value);
    if found.is_none() {
        let help = match nearest(&name.value, labels.iter().map(String::as_str)) {
            Some(known) => format!("did you mean `{known}`?"),
            None if labels.is_empty() => "it has no labels".to_owned(),
            None => format!("it has `{}`", labels.join("`, `")),
        };
        faults
            .add(&name.place, format!("the metric has no label `{}`", name.value))
            .help(help);
    }
    found
}

/// The metric that a rule names.
fn metric(name: &Said<String>, plan: &Plan, faults: &mut Faults) -> Option<Metric> {
    let found = known(&name.value, plan);
    match &found {
        Some(metric) if metric.is_histogram => {
            faults
                .add(&name.place, format!("`{}` is a histogram", name.value))
                .help("a rule compares a counter or a gauge; rules over quantiles are Prometheus' (deploy/prometheus)");
            None
        }
        Some(_) => found,
        None => {
            let mut names: Vec<&str> = plan.metrics.iter().map(|metric| metric.name.as_str()).collect();
            if plan.lag.is_some() {
                lag::metric_names().for_each(|name| names.push(name));
            }
            let help = match nearest(&name.value, names.iter().copied()) {
                Some(known) => format!("did you mean `{known}`?"),
                None if lag::metric_names().any(|of_lag| of_lag == name.value) => {
                    "it is one of `lag`'s, which no pipeline asks for: add `lag: {}`".to_owned()
                }
                None => "name a metric that these pipelines have".to_owned(),
            };
            faults
                .add(&name.place, format!("there is no metric `{}`", name.value))
                .help(help);
            None
        }
    }
}

fn known(name: &str, plan: &Plan) -> Option<Metric> {
    if let Some(metric) = plan.metrics.iter().find(|metric| metric.name == name) {
        return Some(Metric {
            labels: metric.labels.clone(),
            is_counter: matches!(metric.kind, Kind::Count | Kind::Sum),
            is_histogram: matches!(metric.kind, Kind::Explicit { .. } | Kind::Exponential { .. }),
        });
    }
    let of_lag = plan.lag.is_some().then(|| lag::definition_of(name)).flatten();
    let (definition, shape) = of_lag.or_else(|| gauge::built_in(name).filter(|_| name != gauge::BUILT_IN_ALERTS))?;
    Some(Metric {
        is_counter: shape == Shape::Cumulative,
        is_histogram: matches!(definition.kind, Kind::Explicit { .. } | Kind::Exponential { .. }),
        labels: definition.labels,
    })
}

/// Texts, labels and values between `{{` and `}}`.
fn template(said: &Said<String>, of: &plan::Alert, identity: &[usize], faults: &mut Faults) -> Template {
    let mut pieces = Vec::new();
    let mut rest = said.value.as_str();
    while let Some(at) = rest.find("{{") {
        let start = said.value.len() - rest.len() + at;
        if at > 0 {
            pieces.push(Piece::Text(rest[..at].to_owned()));
        }
        let Some(length) = rest[at..].find("}}") else {
            faults
                .add(
                    &said.place.within(&said.value, start..said.value.len()),
                    "`{{` without its `}}`",
                )
                .help("write `{{ value }}` or `{{ NAME }}` with the name of a label");
            return Template(pieces);
        };
        let inside = rest[at + 2..at + length].trim();
        let name = inside.strip_prefix("$labels.").unwrap_or(inside);
        let position = of.labels.iter().position(|label| label == name);
        match (inside, position) {
            ("value" | "$value", _) => pieces.push(Piece::Value),
            (_, Some(position)) if identity.contains(&position) => pieces.push(Piece::Label(position)),
            _ => {
                let names = identity.iter().filter_map(|at| of.labels.get(*at)).map(String::as_str);
                let help = match nearest(name, names.clone().chain(["value"])) {
                    Some(known) => format!("did you mean `{{{{ {known} }}}}`?"),
                    None => {
                        let all: Vec<String> = names.chain(["value"]).map(|name| format!("`{name}`")).collect();
                        format!("there is {}", all.join(", "))
                    }
                };
                let place = said.place.within(&said.value, start..start + length + 2);
                faults
                    .add(&place, format!("alerts of this rule have no `{inside}`"))
                    .help(help);
            }
        }
        rest = &rest[at + length + 2..];
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Template(pieces)
}

/// XXH3 over all that is decided; a part of the format of the changelog.
fn definition(pipeline: &str, of: &plan::Alert) -> DefinitionHash {
    let bound = |bound: Bound| match bound {
        Bound::Above(than) => json!(["above", than]),
        Bound::Below(than) => json!(["below", than]),
    };
    let condition = match of.condition {
        Condition::Value(than) => json!(["value", bound(than)]),
        Condition::Rate {
            over,
            bound: than,
            began_above,
        } => json!(["rate", over.as_micros(), bound(than), began_above]),
        Condition::Absent(span) => json!(["absent", span.as_micros()]),
    };
    let name = |at: &usize| of.labels.get(*at).cloned();
    let named = |places: &[usize]| places.iter().map(name).collect::<Vec<_>>();
    let matching: Vec<_> = of.matching.iter().map(|(at, values)| (name(at), values)).collect();
    let text = json!([
        1,
        pipeline,
        of.name,
        of.metric,
        of.labels,
        matching,
        condition,
        of.sum_by.as_deref().map(named),
        of.hold.as_micros(),
        named(&of.group),
    ]);
    DefinitionHash(xxh3_64(text.to_string().as_bytes()))
}
