//! What must come out: totals of every series and outcomes of every topic, from what the simulator knows of its records.
//!
//! Rule: this is the oracle. It reads no record and shares no code with the pipeline: it adds up the [`Truth`] of what was
//! written, by the definitions of `pipelines/support.yaml` as a person reads them.
//!
//! Edges:
//! - a late record counts like any other; a record that is malformed, too far ahead or too large adds to nothing;
//! - what needs two records to know is added when it is decided ([`super::joined`]): never later than by the pipeline.

use std::collections::BTreeMap;

use super::joined::{Bounds, CHANNELS, Joined, Sums};
use super::simulator::{Adds, Channel, Fate, PRODUCERS, Priority, Producer, Resolution, Simulated, Topic};
use crate::engine::time::EventTime;

const TOPICS: usize = Topic::ALL.len();

/// Totals by series, spelled as Prometheus spells them: `name{label="value"}`, labels in the order of the alphabet.
pub type Totals = BTreeMap<String, u64>;

/// See the module. Cheap to add to: plain arrays.
#[derive(Clone, Debug)]
pub struct Expected {
    /// Counted records and their bytes.
    produced: [[(u64, u64); PRODUCERS.len()]; TOPICS],
    messages: [u64; Channel::ALL.len()],
    identities: [[u64; 2]; Resolution::ALL.len()],
    joined: Joined,
    /// By [`OUTCOMES`].
    outcomes: [[u64; OUTCOMES.len()]; TOPICS],
}

/// The one whose sum is told, too.
pub const RESPONSE_TIME: &str = "response_time_seconds";
/// Its sum in whole microseconds, as if it were a counter.
pub const RESPONSE_MICROS: &str = "response_time_seconds_sum_micros";
pub const JOURNEYS: &str = "streamgauge_journeys_total";
pub const UNKEYED: &str = "streamgauge_join_unkeyed_records_total";

/// The outcomes that a written record can have.
pub const OUTCOMES: [&str; 4] = ["counted", "future", "malformed", "oversize"];

// === impl Expected ===

impl Expected {
    pub fn new(bounds: Bounds) -> Self {
        Self {
            produced: [[(0, 0); PRODUCERS.len()]; TOPICS],
            messages: [0; Channel::ALL.len()],
            identities: [[0; 2]; Resolution::ALL.len()],
            joined: Joined::new(bounds),
            outcomes: [[0; OUTCOMES.len()]; TOPICS],
        }
    }

    /// Takes account of a record that was written.
    pub fn wrote(&mut self, record: &Simulated) {
        let topic = record.topic as usize;
        let outcome = match record.truth.fate {
            Fate::Counted => 0,
            Fate::Future => 1,
            Fate::Malformed(_) => 2,
            Fate::Oversize => 3,
        };
        self.outcomes[topic][outcome] += 1;
        if record.truth.fate != Fate::Counted {
            return;
        }
        let (records, bytes) = &mut self.produced[topic][usize::from(record.truth.producer.0)];
        *records += 1;
        *bytes += record.value.as_ref().map_or(0, |value| value.len() as u64);
        match record.truth.adds {
            Adds::Nothing => {}
            Adds::Message(channel) => self.messages[channel as usize] += 1,
            Adds::Request { .. } | Adds::Response { .. } | Adds::Ticket { .. } => self.joined.wrote(&record.truth),
            Adds::Identity(resolution, success) => self.identities[resolution as usize][usize::from(success)] += 1,
        }
    }

    /// No record that is joined will be written with this time or an earlier one.
    pub fn passed(&mut self, time: EventTime) {
        self.joined.passed(time);
    }

    /// Nothing will be written any more.
    pub fn end(&mut self) {
        self.joined.passed(EventTime(i64::MAX));
    }

    /// What is decided.
    pub fn sums(&self) -> &Sums {
        &self.joined.sums
    }

    /// Records written, whatever becomes of them.
    pub fn records(&self) -> u64 {
        self.outcomes.iter().flatten().sum()
    }

    /// What became of the records of each topic, by outcome; only what happened.
    pub fn outcomes(&self) -> BTreeMap<&'static str, BTreeMap<&'static str, u64>> {
        let of = |topic: Topic| {
            let counts = OUTCOMES.into_iter().zip(self.outcomes[topic as usize]);
            (topic.name(), counts.filter(|(_, count)| *count > 0).collect())
        };
        Topic::ALL
            .into_iter()
            .map(of)
            .filter(|(_, outcomes): &(_, BTreeMap<_, _>)| !outcomes.is_empty())
            .collect()
    }

    /// Every series that the receiver must have in the end. Of a histogram that is its count.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::new();
        let mut add = |name: &str, labels: &[(&str, &str)], total: u64| {
            if total > 0 {
                totals.insert(series(name, labels), total);
            }
        };
        for topic in Topic::ALL {
            for (index, (records, bytes)) in self.produced[topic as usize].into_iter().enumerate() {
                let labels = [("producer_id", Producer(index as u8).name()), ("topic", topic.name())];
                let [producer, of_topic] = labels;
                add(
                    "kafka_producer_messages_total",
                    &[producer, ("status", "success"), of_topic],
                    records,
                );
                add("kafka_producer_bytes_total", &labels, bytes);
                if topic.has_append_time() {
                    add("kafka_producer_latency_seconds", &labels, records);
                }
            }
        }
        for channel in Channel::ALL {
            let labels = [("channel_type", channel.name())];
            add(
                "channel_messages_received_total",
                &labels,
                self.messages[channel as usize],
            );
        }
        let sums = &self.joined.sums;
        for (index, channel) in CHANNELS.into_iter().enumerate() {
            let channel = ("channel_type", channel);
            for priority in Priority::ALL {
                let labels = [channel, ("priority", priority.name())];
                add("tickets_created_total", &labels, sums.tickets[index][priority as usize]);
            }
            let (answered, micros) = sums.answered[index];
            add(RESPONSE_TIME, &[channel], answered);
            add(RESPONSE_MICROS, &[channel], micros);
            add("responses_unanswered_total", &[channel], sums.unanswered[index]);
            add("responses_unmatched_total", &[channel], sums.unmatched[index]);
        }
        add("responses_second_total", &[], sums.second);
        add("responses_negative_total", &[], sums.negative);
        add("responses_duplicate_total", &[], sums.duplicate);
        for (join, records) in [
            (
                "normalized to responses on /data/correlation_id",
                sums.without_conversation,
            ),
            (
                "latest normalized on /data/normalized_content/customer_id",
                sums.without_customer,
            ),
        ] {
            add(UNKEYED, &[("join", join)], records);
        }
        for (outcome, journeys) in [
            ("answered", sums.journeys_answered()),
            ("unanswered", sums.journeys_unanswered()),
        ] {
            add(JOURNEYS, &[("outcome", outcome), ("trace", "conversations")], journeys);
        }
        for resolution in Resolution::ALL {
            for (success, total) in ["false", "true"].into_iter().zip(self.identities[resolution as usize]) {
                let labels = [("resolution_type", resolution.name()), ("success", success)];
                add("customer_identity_resolutions_total", &labels, total);
            }
        }
        totals
    }
}

/// One series by its name and labels, which are in the order of the alphabet.
pub fn series(name: &str, labels: &[(&str, &str)]) -> String {
    let labels: Vec<String> = labels
        .iter()
        .map(|(label, value)| format!("{label}=\"{value}\""))
        .collect();
    format!("{name}{{{}}}", labels.join(","))
}

#[cfg(test)]
mod tests {
    use super::super::simulator::{Simulator, SimulatorOptions};
    use super::*;
    use crate::engine::time::Span;

    const BOUNDS: Bounds = Bounds {
        within: Span::seconds(30),
        forget: Span::seconds(60),
        skew: Span::seconds(5),
        look_back: Span::seconds(600),
    };

    #[test]
    fn totals_of_one_kind_add_up_to_the_records_that_count() {
        let mut expected = Expected::new(BOUNDS);
        let simulator = Simulator::new(3, SimulatorOptions::at(EventTime(1_795_356_000_000_000)));
        simulator.take(100_000).for_each(|record| expected.wrote(&record));
        expected.end();
        let totals = expected.totals();
        let sum = |name: &str| {
            let of_name = totals
                .iter()
                .filter(|(series, _)| series.starts_with(&format!("{name}{{")));
            of_name.map(|(_, total)| total).sum::<u64>()
        };
        let counted = |topic: &str| expected.outcomes()[topic]["counted"];
        assert_eq!(expected.records(), 100_000);
        let all: u64 = Topic::ALL.iter().map(|topic| counted(topic.name())).sum();
        assert_eq!(sum("kafka_producer_messages_total"), all);
        assert_eq!(
            sum("channel_messages_received_total"),
            counted("ingestion.raw.messages")
        );
        assert_eq!(
            sum("customer_identity_resolutions_total"),
            counted("processing.customer.identities")
        );
        let with_append_time = counted("ingestion.raw.messages") + counted("ingestion.normalized.messages");
        assert_eq!(sum("kafka_producer_latency_seconds"), with_append_time);
        assert!(
            sum("tickets_created_total") < counted("processing.tickets.in"),
            "updates are no new tickets"
        );
    }

    #[test]
    fn series_are_spelled_as_prometheus_spells_them() {
        assert_eq!(series("a_total", &[("b", "c"), ("d", "e")]), r#"a_total{b="c",d="e"}"#);
    }
}
