//! What must hold between the parts of all files.

use std::collections::BTreeMap;

use crate::pipeline::fault::{Faults, Place};
use crate::pipeline::read::{Document, Said, Source};

/// Names of pipelines, of metrics and of traces are unique among everything that a process runs.
pub fn names(documents: &[Document], faults: &mut Faults) {
    let mut seen: [BTreeMap<&str, &Place>; 3] = Default::default();
    let [pipelines, metrics, traces] = &mut seen;
    for document in documents {
        if let Some(name) = &document.name {
            let said = "a pipeline of this name was there before".to_owned();
            unique(
                pipelines,
                name,
                said,
                "give each pipeline of a process its own name",
                faults,
            );
        }
        for name in &document.metric_names {
            let help = "a metric belongs to one pipeline; count a list of sources, or choose another name";
            unique(metrics, name, was_there("metric", name), help, faults);
        }
        for name in &document.trace_names {
            let help = "choose another name: how many conversations were traced is counted under it";
            unique(traces, name, was_there("trace", name), help, faults);
        }
    }
}

/// Names of rules and of who is told are, too.
pub fn names_of_alerts(documents: &[Document], faults: &mut Faults) {
    let mut seen: [BTreeMap<&str, &Place>; 2] = Default::default();
    let [receivers, alerts] = &mut seen;
    let help = "choose another name: it is unique among all pipelines of a process";
    for document in documents {
        for name in &document.receiver_names {
            unique(receivers, name, was_there("receiver", name), help, faults);
        }
        for name in &document.alert_names {
            unique(alerts, name, was_there("alert", name), help, faults);
        }
    }
}

fn was_there(what: &str, name: &Said<String>) -> String {
    format!("the {what} `{}` was there before", name.value)
}

fn unique<'d>(
    seen: &mut BTreeMap<&'d str, &'d Place>,
    name: &'d Said<String>,
    message: String,
    help: &str,
    faults: &mut Faults,
) {
    match seen.get(name.value.as_str()) {
        None => drop(seen.insert(&name.value, &name.place)),
        Some(first) => {
            faults.add(&name.place, message).and(first, "first here").help(help);
        }
    }
}

/// Groups are measured once, and their metrics are no others'.
pub fn lag(documents: &[Document], faults: &mut Faults) {
    let mut asked = documents.iter().filter_map(|document| document.lag.as_ref());
    let Some(first) = asked.next() else { return };
    for lag in asked {
        faults
            .add(&lag.place, "another pipeline asks for `lag` already")
            .and(&first.place, "first here")
            .help("a process measures each group once: keep one of the two, with the groups of both");
    }
    for name in documents.iter().flat_map(|document| &document.metric_names) {
        if crate::engine::lag::metric_names().any(|own| own == name.value) {
            faults
                .add(&name.place, format!("`{}` is a metric that `lag` has", name.value))
                .and(&first.place, "asked for here")
                .help("choose another name, or leave `lag` out");
        }
    }
}

/// Sources of one topic differ in nothing but their condition; `first` is the one that opened the topic.
pub fn settings(source: &Source, first: &Source, faults: &mut Faults) {
    let mut agree = |key: &str, same: bool, here: &Place, there: &Place| {
        if !same {
            faults
                .add(here, format!("the sources of one topic disagree about `{key}`"))
                .and(there, format!("the source `{}` says otherwise here", first.name.value))
                .help(format!(
                    "a partition is read once and has one watermark: give both the same `{key}`"
                ));
        }
    };
    agree(
        "time",
        source.time.value == first.time.value,
        &source.time.place,
        &first.time.place,
    );
    agree(
        "start",
        source.start.value == first.start.value,
        &source.start.place,
        &first.start.place,
    );
    for (key, here, there) in [
        ("out_of_order", &source.out_of_order, &first.out_of_order),
        ("idle_after", &source.idle_after, &first.idle_after),
        ("max_hold", &source.max_hold, &first.max_hold),
        ("max_ahead", &source.max_ahead, &first.max_ahead),
    ] {
        agree(key, here.value == there.value, &here.place, &there.place);
    }
    let (here, there) = (&source.max_record_bytes, &first.max_record_bytes);
    agree("max_record_bytes", here.value == there.value, &here.place, &there.place);
}
