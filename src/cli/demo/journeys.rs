//! Conversations as traces, as the receiver has them.
//!
//! Rule: each conversation that leaves has exactly one root and no orphan. Every unanswered one leaves; of the answered
//! ones as many as the pipeline's own counter says.

use std::time::Duration;

use super::expected::JOURNEYS;
use super::joined::Sums;
use crate::export::receiver::{ReceivedSpan, ReceivedValue, Snapshot};

/// The root's name where the pipeline gives none.
const ROOT: &str = "process-message";
const UNANSWERED: &str = "unanswered";

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Journeys {
    /// Roots of conversations.
    pub answered: u64,
    pub unanswered: u64,
    /// Spans that are no such root and have no parent.
    pub orphans: u64,
    /// Answered conversations that left, by the counter.
    pub left: u64,
    pub spans: u64,
    /// Spans that came again exactly as they were.
    pub resent: u64,
    pub violations: u64,
    pub violation_texts: Vec<String>,
    pub example: Option<Example>,
}

/// One conversation for people.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Example {
    pub trace: String,
    pub took: Duration,
    /// `email, complaint`
    pub about: String,
    pub rows: Vec<Row>,
}

/// One span within its trace.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub name: String,
    pub took: Duration,
    /// Start and end as parts of the trace.
    pub from: f64,
    pub to: f64,
}

// === impl Journeys ===

impl Journeys {
    pub fn of(snapshot: &Snapshot) -> Journeys {
        let traces = &snapshot.traces;
        let mut journeys = Journeys {
            spans: traces.spans,
            resent: traces.duplicates,
            violations: traces.violations,
            violation_texts: traces.violation_texts.clone(),
            ..Journeys::default()
        };
        for ((name, error), count) in &traces.roots {
            match (name.as_str(), error.as_str()) {
                (ROOT, "") => journeys.answered += count,
                (ROOT, UNANSWERED) => journeys.unanswered += count,
                _ => journeys.orphans += count,
            }
        }
        for series in snapshot.series.iter().filter(|series| series.metric == JOURNEYS) {
            let has = |label: &str, value: &str| series.labels.get(label).is_some_and(|said| said == value);
            if let (ReceivedValue::Sum(count), true, false) =
                (series.value, has("outcome", "answered"), has("sampled", "dropped"))
            {
                journeys.left += count as u64;
            }
        }
        let whole = traces.newest.iter().filter(|spans| spans.len() == 3);
        let slowest = whole.max_by_key(|spans| spans[0].end.saturating_sub(spans[0].start));
        journeys.example = slowest.map(|spans| Example::of(spans));
        journeys
    }

    /// Everything that is not as it must be, when all has come.
    pub fn differences(&self, sums: &Sums) -> Vec<String> {
        let mut differences = self.violation_texts.clone();
        let unanswered = sums.journeys_unanswered();
        if self.unanswered != unanswered {
            let came = self.unanswered;
            differences.push(format!(
                "traces of unanswered messages: {unanswered} must be, {came} came"
            ));
        }
        if self.answered != self.left {
            let (left, came) = (self.left, self.answered);
            differences.push(format!("traces of answered messages: {left} left, {came} came"));
        }
        if self.orphans > 0 {
            differences.push(format!("{} spans without their root", self.orphans));
        }
        differences
    }
}

// === impl Example ===

impl Example {
    /// Of a root and its children.
    fn of(spans: &[ReceivedSpan]) -> Example {
        let Some(root) = spans.first() else {
            return Example::default();
        };
        let whole = root.end.saturating_sub(root.start).max(1) as f64;
        let part = |nanos: u64| (nanos.saturating_sub(root.start) as f64 / whole).min(1.0);
        let row = |span: &ReceivedSpan| Row {
            name: short(&span.name).to_owned(),
            took: took(span),
            from: part(span.start),
            to: part(span.end),
        };
        let said = |name: &str| root.attributes.get(name).map_or("unknown", String::as_str);
        Example {
            trace: root.trace.clone(),
            took: took(root),
            about: format!("{}, {}", said("channel_type"), said("message.type")),
            rows: spans.iter().map(row).collect(),
        }
    }
}

// === impl Row ===

impl Row {
    /// The span as a bar of this many characters, with what is left of it and right of it.
    pub fn bar(&self, width: usize) -> (String, String, String) {
        let at = |part: f64| (part * width as f64).round() as usize;
        let before = at(self.from).min(width.saturating_sub(1));
        let length = at(self.to).saturating_sub(before).min(width - before);
        let bar = match length {
            0 => "▏".to_owned(),
            _ => "█".repeat(length),
        };
        let after = width.saturating_sub(before + length.max(1));
        (" ".repeat(before), bar, " ".repeat(after))
    }
}

fn took(span: &ReceivedSpan) -> Duration {
    Duration::from_nanos(span.end.saturating_sub(span.start))
}

/// `process ingestion.normalized.messages` is `normalized.messages`.
fn short(name: &str) -> &str {
    let topic = name.strip_prefix("process ").and_then(|topic| topic.split_once('.'));
    topic.map_or(name, |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(id: u8, parent: u8, name: &str, (start, end): (u64, u64)) -> ReceivedSpan {
        ReceivedSpan {
            trace: "07".repeat(16),
            id: vec![id; 8],
            parent: vec![parent; 8],
            name: name.to_owned(),
            start,
            end,
            attributes: [("channel_type".to_owned(), "email".to_owned())].into(),
        }
    }

    #[test]
    fn an_example_is_the_slowest_whole_conversation() {
        let mut snapshot = Snapshot::default();
        for end in [1_000_000_000, 3_000_000_000, 2_000_000_000] {
            snapshot.traces.newest.push_back(vec![
                span(1, 0, "process-message", (0, end)),
                span(2, 1, "process ingestion.normalized.messages", (0, 0)),
                span(3, 1, "process processing.responses.out", (0, end)),
            ]);
        }
        let example = Journeys::of(&snapshot).example.expect("there are three");
        assert_eq!(
            (example.took, example.about.as_str()),
            (Duration::from_secs(3), "email, unknown")
        );
        let names: Vec<&str> = example.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["process-message", "normalized.messages", "responses.out"]);
        assert_eq!(
            example.rows[1].bar(4),
            (String::new(), "▏".to_owned(), "   ".to_owned())
        );
        assert_eq!(example.rows[2].bar(4).1, "████");
    }

    #[test]
    fn a_missing_root_and_an_orphan_are_named() {
        let sums = Sums {
            unanswered: [2, 0, 0, 0],
            ..Sums::default()
        };
        let mut snapshot = Snapshot::default();
        let mut root = |name: &str, error: &str, count| {
            snapshot.traces.roots.insert((name.to_owned(), error.to_owned()), count);
        };
        root(ROOT, UNANSWERED, 2);
        assert_eq!(Journeys::of(&snapshot).differences(&sums), Vec::<String>::new());
        let mut root = |name: &str, error: &str, count| {
            snapshot.traces.roots.insert((name.to_owned(), error.to_owned()), count);
        };
        root(ROOT, UNANSWERED, 1);
        root(ROOT, "", 1);
        root("process processing.responses.out", "", 1);
        assert_eq!(Journeys::of(&snapshot).differences(&sums).len(), 3);
    }
}
