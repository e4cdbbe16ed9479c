//! The end of a demo: what was checked, and what came of it.
//!
//! Rule: a demo is good when every total equals what was written, every offset is accounted for with the outcome that it
//! must have, every conversation that leaves is one whole trace, and no point broke a promise of cumulative series. Otherwise each difference is named, and the exit code is 1.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::audit::Outcomes;
use super::expected::{Expected, Totals};
use super::joined::CHANNELS;
use super::observe::{Picture, Quantiles};

/// Differences that are named for people.
const SHOWN: usize = 12;

/// See the module.
pub struct Summary {
    pub picture: Picture,
    pub totals: Totals,
    pub expected: Expected,
    pub seed: u64,
    pub rate: u32,
    pub workers: u32,
    /// From the last record written to the last total received.
    pub drained: Duration,
    /// Why it ended before its time, if it did.
    pub failure: Option<String>,
}

// === impl Summary ===

impl Summary {
    /// Everything that is not as it must be.
    pub fn differences(&self) -> Vec<String> {
        let mut differences: Vec<String> = self.failure.iter().cloned().collect();
        let expected = self.expected.totals();
        let names: BTreeSet<&String> = expected.keys().chain(self.totals.keys()).collect();
        for series in names {
            let (written, came) = (
                expected.get(series).copied().unwrap_or(0),
                self.totals.get(series).copied().unwrap_or(0),
            );
            if written != came {
                differences.push(format!("{series}: {written} written, {came} received"));
            }
        }
        let (must, found) = (self.must_be(), &self.picture.audit.outcomes);
        let topics: BTreeSet<&String> = must.keys().chain(found.keys()).collect();
        for topic in topics.into_iter().filter(|topic| must.get(*topic) != found.get(*topic)) {
            let said = |outcomes: &Outcomes| format!("{:?}", outcomes.get(topic).cloned().unwrap_or_default());
            differences.push(format!(
                "ledger of {topic}: {}, and it must be {}",
                said(found),
                said(&must)
            ));
        }
        let audit = &self.picture.audit;
        if audit.balance != 0 {
            differences.push(format!("the ledger is {} offsets out of balance", audit.balance));
        }
        differences.extend(audit.unreadable.iter().map(|reason| format!("no ledger: {reason}")));
        let wire = &self.picture.wire;
        if wire.violations > 0 {
            differences.push(format!("{} points that cannot be", wire.violations));
            differences.extend(wire.violation_texts.iter().cloned());
        }
        differences.extend(self.picture.journeys.differences(self.expected.sums()));
        differences
    }

    fn must_be(&self) -> Outcomes {
        let of_topic = |(topic, outcomes): (&str, BTreeMap<&str, u64>)| {
            (
                topic.to_owned(),
                outcomes
                    .into_iter()
                    .map(|(name, count)| (name.to_owned(), count))
                    .collect(),
            )
        };
        self.expected.outcomes().into_iter().map(of_topic).collect()
    }

    /// One object for machines.
    pub fn json(&self) -> Value {
        let differences = self.differences();
        let Picture {
            audit, wire, workers, ..
        } = &self.picture;
        let kills = self.picture.kills.clone().unwrap_or_default();
        let journeys = &self.picture.journeys;
        let answers = CHANNELS.iter().zip(&self.picture.answers);
        let answers = answers.map(|(channel, of)| {
            let of = json!({ "count": of.count, "p50_seconds": of.p50, "p95_seconds": of.p95 });
            ((*channel).to_owned(), of)
        });
        let answers: serde_json::Map<String, Value> = answers.collect();
        let quantiles = |of: &Quantiles| json!({ "p50": of.p50, "p99": of.p99, "max": of.max });
        json!({
            "ok": differences.is_empty(),
            "differences": differences,
            "ledger": { "balance": audit.balance, "topics": audit.outcomes, "expected": self.must_be() },
            "totals": self.totals,
            "expected": self.expected.totals(),
            "written": self.expected.records(),
            "late": self.picture.late,
            "seed": self.seed,
            "rate": self.rate,
            "workers": self.workers,
            "elapsed_seconds": seconds(self.picture.elapsed),
            "drained_seconds": seconds(self.drained),
            "chaos": self.picture.kills.is_some(),
            "kills": kills.count,
            "recovery_ms": kills.recoveries,
            "transactions": { "committed": workers.committed, "aborted": workers.aborted },
            "restores": workers.restores,
            "rebalances": workers.rebalances,
            "latency_ms": { "commit": quantiles(&workers.commit), "restore": quantiles(&workers.restore),
                            "end_to_end": quantiles(&wire.latency) },
            "response_times": answers,
            "traces": { "answered": journeys.answered, "unanswered": journeys.unanswered, "orphans": journeys.orphans,
                        "spans": journeys.spans, "resent": journeys.resent, "violations": journeys.violations },
            "otlp": { "requests": wire.requests, "points": wire.points, "resent": wire.resent, "refused": wire.refused,
                      "violations": wire.violations },
        })
    }

    /// The same for people.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let differences = self.differences();
        let Picture {
            audit, wire, workers, ..
        } = &self.picture;
        let written = self.expected.records();
        let took = seconds(self.picture.elapsed);
        writeln!(
            out,
            "streamgauge demo: {} records in {took:.1} s, seed {}",
            grouped(written),
            self.seed
        )?;
        writeln!(out)?;
        writeln!(out, "  written                {:>14}", grouped(written))?;
        for outcome in [
            "counted",
            "filtered",
            "future",
            "malformed",
            "oversize",
            "expired",
            "absent",
        ] {
            let count = audit.count(outcome);
            if count > 0 {
                writeln!(out, "    {outcome:<20} {:>14}", grouped(count))?;
            }
        }
        writeln!(out, "  ledger's balance       {:>14}", audit.balance)?;
        writeln!(out, "  late, and counted      {:>14}", grouped(self.picture.late))?;
        if let Some(kills) = &self.picture.kills {
            let median = kills.median_recovery().unwrap_or(0);
            let most = kills.recoveries.iter().max().copied().unwrap_or(0);
            writeln!(
                out,
                "  workers killed         {:>14}   back after {median} ms p50, {most} ms at most",
                kills.count
            )?;
        }
        writeln!(
            out,
            "  transactions           {:>14}   {} aborted, commit {:.1} ms p50, {:.1} ms p99",
            grouped(workers.committed),
            workers.aborted,
            workers.commit.p50,
            workers.commit.p99
        )?;
        writeln!(
            out,
            "  OTLP requests          {:>14}   {} refused, {} points, {} sent again",
            grouped(wire.requests),
            wire.refused,
            grouped(wire.points),
            grouped(wire.resent)
        )?;
        writeln!(
            out,
            "  window to receiver     {:>14}   {:.1} s p99, {:.1} s at most",
            format!("{:.1} s p50", wire.latency.p50 / 1e3),
            wire.latency.p99 / 1e3,
            wire.latency.max / 1e3
        )?;
        self.write_answers(out)?;
        writeln!(out)?;
        if differences.is_empty() {
            let series = self.totals.len();
            return writeln!(
                out,
                "✓ every total equals what was written: {series} series; every offset is accounted for, every trace is whole"
            );
        }
        writeln!(out, "✗ not what was written:")?;
        differences
            .iter()
            .take(SHOWN)
            .try_for_each(|difference| writeln!(out, "  {difference}"))?;
        match differences.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => writeln!(out, "  and {more} more (--format json has them all)"),
        }
    }

    /// Response times, what has none, and one conversation.
    fn write_answers(&self, out: &mut String) -> std::fmt::Result {
        let Picture {
            answers,
            unanswered,
            tickets,
            journeys,
            ..
        } = &self.picture;
        writeln!(out)?;
        writeln!(
            out,
            "  {:<22} {:>14}{:>10}{:>10}{:>12}",
            "by channel", "answered", "p50", "p95", "tickets"
        )?;
        for ((channel, answered), tickets) in CHANNELS.iter().zip(answers).zip(tickets) {
            let seconds = |seconds: f64| format!("{seconds:.2} s");
            writeln!(
                out,
                "    {channel:<20} {:>14}{:>10}{:>10}{:>12}",
                grouped(answered.count),
                seconds(answered.p50),
                seconds(answered.p95),
                grouped(tickets.iter().sum())
            )?;
        }
        writeln!(
            out,
            "  never answered         {:>14}   {} messages were said twice",
            grouped(unanswered.unanswered),
            grouped(unanswered.duplicate)
        )?;
        writeln!(
            out,
            "  answers to no message  {:>14}   {} second ones, {} with a time before their message's",
            grouped(unanswered.unmatched),
            grouped(unanswered.second),
            grouped(unanswered.negative)
        )?;
        writeln!(
            out,
            "  traces                 {:>14}   {} spans, {} sent again",
            grouped(journeys.answered + journeys.unanswered),
            grouped(journeys.spans),
            grouped(journeys.resent)
        )?;
        let Some(example) = &journeys.example else {
            return Ok(());
        };
        writeln!(out)?;
        writeln!(out, "  one of them: {}, trace {}", example.about, example.trace)?;
        for row in &example.rows {
            let (before, bar, after) = row.bar(40);
            let indent = if row.name.starts_with("process-") { "" } else { "  " };
            writeln!(
                out,
                "    {:<24}{before}{bar}{after} {:>8}",
                format!("{indent}{}", row.name),
                in_seconds(row.took)
            )?;
        }
        Ok(())
    }
}

/// `0.42 s`
pub fn in_seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}

/// `1,234,567`
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100.0).round() / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::demo::joined::Bounds;
    use crate::cli::demo::simulator::{Simulator, SimulatorOptions};
    use crate::engine::time::{EventTime, Span};

    fn summary() -> Summary {
        let bounds = Bounds {
            within: Span::seconds(30),
            forget: Span::seconds(60),
            skew: Span::seconds(5),
            look_back: Span::seconds(600),
        };
        let mut expected = Expected::new(bounds);
        let simulator = Simulator::new(1, SimulatorOptions::at(EventTime(1_795_356_000_000_000)));
        simulator.take(20_000).for_each(|record| expected.wrote(&record));
        expected.end();
        let mut summary = Summary {
            picture: Picture::default(),
            totals: expected.totals(),
            expected,
            seed: 1,
            rate: 1,
            workers: 1,
            drained: Duration::ZERO,
            failure: None,
        };
        summary.picture.audit.outcomes = summary.must_be();
        summary.picture.journeys.unanswered = summary.expected.sums().journeys_unanswered();
        summary
    }

    #[test]
    fn a_demo_where_everything_came_is_good() {
        assert_eq!(summary().differences(), Vec::<String>::new());
        assert_eq!(summary().json()["ok"], true);
    }

    #[test]
    fn one_record_too_few_or_too_many_is_named() {
        for change in [-1_i64, 1] {
            let mut summary = summary();
            let total = summary.totals.values_mut().next().expect("there are totals");
            *total = total.saturating_add_signed(change);
            assert_eq!(summary.differences().len(), 1, "{:?}", summary.differences());
            assert_eq!(summary.json()["ok"], false);
        }
    }

    #[test]
    fn a_series_that_never_came_is_named() {
        let mut summary = summary();
        summary.totals.pop_first();
        assert_eq!(summary.differences().len(), 1);
    }

    #[test]
    fn a_wrong_outcome_and_a_balance_are_named() {
        let mut summary = summary();
        summary.picture.audit.balance = 1;
        if let Some(outcomes) = summary.picture.audit.outcomes.get_mut("ingestion.raw.messages") {
            outcomes.insert("malformed".to_owned(), 0);
        }
        assert_eq!(summary.differences().len(), 2, "{:?}", summary.differences());
    }

    #[test]
    fn a_trace_that_never_came_is_named() {
        let mut summary = summary();
        summary.picture.journeys.unanswered -= 1;
        assert_eq!(summary.differences().len(), 1, "{:?}", summary.differences());
        assert!(summary.text().contains("traces of unanswered messages"));
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(grouped),
            ["0", "999", "1,000", "1,234,567"]
        );
    }
}
