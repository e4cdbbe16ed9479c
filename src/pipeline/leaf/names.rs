//! What may be the name of something, and why not.

use super::{MAX_NAME, MAX_STEPS, MAX_TEXT, Wrong, bounded, refuse};
use crate::engine::names::{MAX_TOPIC, is_of_topic, is_topic};
use crate::engine::tap::projection::Pointer;
use crate::pipeline::node::shorten;

pub fn plain_name(text: &str, others: &str, rule: &str) -> Result<(), Wrong> {
    let good = |at: usize, char: char| char.is_ascii_alphanumeric() || (at > 0 && others.contains(char));
    if text.is_empty() || text.len() > MAX_NAME {
        return Err(refuse(
            format!("a name has 1 to {MAX_NAME} characters"),
            format!("names {rule}"),
        ));
    }
    match text.char_indices().find(|(at, char)| !good(*at, *char)) {
        None => Ok(()),
        Some((at, char)) => Err(Wrong {
            at: Some(at..at + char.len_utf8()),
            message: format!("`{}` cannot be a name: `{char}` does not belong there", shorten(text)),
            help: format!("names {rule}"),
        }),
    }
}

/// Whether Prometheus and the translation from OTLP take the name as it is (see [`NAME`]).
fn is_translated_as_it_is(text: &str) -> bool {
    text.len() <= MAX_NAME
        && text.starts_with(|char: char| char.is_ascii_alphabetic())
        && text
            .split('_')
            .all(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// A name that a metric can have, whoever it belongs to.
pub fn shown_metric(text: &str) -> Result<(), Wrong> {
    if is_translated_as_it_is(text) {
        return Ok(());
    }
    Err(refuse(
        format!("`{}` cannot be the name of a metric", shorten(text)),
        "write ASCII letters and digits joined by single `_`, a letter first: what Prometheus takes and the translation from OTLP leaves as it is",
    ))
}

pub fn metric_name(text: &str) -> Result<(), Wrong> {
    shown_metric(text)?;
    if text.starts_with("streamgauge_") {
        return Err(refuse(
            format!("`{text}` is reserved"),
            "names with `streamgauge_` belong to the metrics that streamgauge keeps of itself",
        ));
    }
    let reserved = ["_bucket", "_count", "_sum", "_created", "_info"];
    if let Some(end) = reserved.iter().find(|end| text.ends_with(*end)) {
        return Err(refuse(
            format!("a metric's name cannot end in `{end}`"),
            "Prometheus gives that ending to the parts of other metrics",
        ));
    }
    Ok(())
}

pub fn label_name(text: &str) -> Result<(), Wrong> {
    if !is_translated_as_it_is(text) {
        return Err(refuse(
            format!("`{}` cannot be the name of a label", shorten(text)),
            "write ASCII letters and digits joined by single `_`, a letter first",
        ));
    }
    let reserved = match text {
        "le" | "quantile" => "Prometheus gives it to the parts of histograms and summaries",
        "job" | "instance" => "Prometheus makes it from the resource of what it receives",
        _ if text.starts_with("otel_") => "it belongs to OpenTelemetry",
        _ => return Ok(()),
    };
    Err(refuse(format!("the label `{text}` is reserved"), reserved))
}

pub fn topic(text: &str) -> Result<(), Wrong> {
    if let Some((at, char)) = text.char_indices().find(|(_, char)| !is_of_topic(*char)) {
        return Err(Wrong {
            at: Some(at..at + char.len_utf8()),
            message: format!("no topic can have `{char}` in its name"),
            help: "Kafka's topics have ASCII letters, digits, `.`, `_` and `-`; one source reads one topic".to_owned(),
        });
    }
    if !is_topic(text) {
        return Err(refuse(
            "no topic can have this name",
            format!("Kafka's topics have 1 to {MAX_TOPIC} characters"),
        ));
    }
    if text.starts_with("__") {
        return Err(refuse(
            format!("`{text}` is internal to Kafka"),
            "a source reads a business topic",
        ));
    }
    Ok(())
}

pub fn pointer(text: &str) -> Result<(), Wrong> {
    let help = "fields are JSON pointers: `/data/channel` is `channel` inside of `data`";
    match Pointer::parse(text) {
        Ok(_) if text.matches('/').count() > MAX_STEPS => Err(refuse(
            "this field lies too deep",
            format!("at most {MAX_STEPS} names are followed"),
        )),
        Ok(_) => bounded(text, MAX_TEXT),
        Err(error) => {
            let at = error.at.min(text.len());
            Err(Wrong {
                at: Some(at..text.len()),
                message: error.message,
                help: help.to_owned(),
            })
        }
    }
}

pub fn unit(text: &str) -> Result<(), Wrong> {
    if crate::pipeline::unit::is_unit(text) {
        return Ok(());
    }
    let known = crate::pipeline::unit::KNOWN
        .iter()
        .map(|(unit, _)| format!("`{unit}`"))
        .collect::<Vec<_>>()
        .join(", ");
    Err(refuse(
        format!("`{}` is not a unit that is known here", shorten(text)),
        format!("write {known}, or what is counted in braces: `{{record}}`"),
    ))
}
