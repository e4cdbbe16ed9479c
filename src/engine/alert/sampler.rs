//! What a task that owns series tells the rules that look at them.
//!
//! Rule: every point of a series that a rule looks at is told as it is frozen, with its time; the end of a series too.
//!
//! Edges:
//! - histograms, and the series that stands for those beyond the limit, are told to nobody: no rule can name them;
//! - a series of an earlier definition with other labels is not the one that the rule means.

use std::collections::BTreeMap;

use crate::engine::codec::{Batch, Reading};
use crate::engine::plan::Alert;
use crate::engine::series::{DefinitionHash, partition_of, values};
use crate::engine::sketch::Partial;
use crate::engine::task::{Shuffled, Stage};
use crate::engine::time::{EventTime, WallTime};

/// See the module.
pub struct Sampler {
    /// By metric.
    rules: BTreeMap<String, Vec<Rule>>,
    /// By partition of the alert stage.
    readings: BTreeMap<u32, Vec<Reading>>,
}

/// What of a rule the sender needs.
struct Rule {
    definition: DefinitionHash,
    partition: u32,
    labels: Vec<String>,
    matching: Vec<(usize, Vec<String>)>,
}

/// The partition that owns the rule.
pub fn partition_of_rule(rule: &Alert, partitions: u32) -> u32 {
    partition_of(&rule.name, &rule.definition.0.to_le_bytes(), partitions)
}

// === impl Sampler ===

impl Sampler {
    /// `None` where there are no rules.
    pub fn new(alerts: &[Alert], partitions: u32) -> Option<Self> {
        let mut rules: BTreeMap<String, Vec<Rule>> = BTreeMap::new();
        for rule in alerts {
            rules.entry(rule.metric.clone()).or_default().push(Rule {
                definition: rule.definition,
                partition: partition_of_rule(rule, partitions),
                labels: rule.labels.clone(),
                matching: rule.matching.clone(),
            });
        }
        (!rules.is_empty()).then_some(Self {
            rules,
            readings: BTreeMap::new(),
        })
    }

    /// Whether a rule looks at series of this metric.
    pub fn reads(&self, metric: &str) -> bool {
        self.rules.contains_key(metric)
    }

    /// One point of a series of this metric with these labels.
    pub fn take<'l>(
        &mut self,
        metric: &str,
        labels: impl Iterator<Item = &'l str> + Clone,
        key: &[u8],
        time: EventTime,
        value: Option<&Partial>,
    ) {
        let value = match value {
            None => None,
            Some(Partial::Count(count)) => Some(*count as f64),
            Some(Partial::Sum(millionths)) => Some(*millionths as f64 / 1e6),
            Some(Partial::Histogram(_)) => return,
        };
        for rule in self.rules.get(metric).into_iter().flatten() {
            if labels.clone().eq(rule.labels.iter().map(String::as_str)) && rule.matches(key) {
                self.readings.entry(rule.partition).or_default().push(Reading {
                    rule: rule.definition.0,
                    key: key.to_vec(),
                    time: time.0,
                    value,
                });
            }
        }
    }

    /// Everything since the last seal, of the task that calls itself `topic` and `partition`.
    pub fn seal(&mut self, topic: &str, partition: u32, at: WallTime) -> Vec<Shuffled> {
        let batch = |(to, readings)| Shuffled {
            to: Stage::Alert,
            partition: to,
            batch: prost::Message::encode_to_vec(&Batch {
                topic: topic.to_owned(),
                partition,
                sealed_at: at.0,
                readings,
                ..Batch::default()
            }),
        };
        std::mem::take(&mut self.readings).into_iter().map(batch).collect()
    }
}

// === impl Rule ===

impl Rule {
    fn matches(&self, key: &[u8]) -> bool {
        if self.matching.is_empty() {
            return true;
        }
        let Some(values) = values(key).collect::<Option<Vec<&str>>>() else {
            return false;
        };
        let is_one =
            |(at, of): &(usize, Vec<String>)| values.get(*at).is_some_and(|value| of.iter().any(|one| one == value));
        values.len() == self.labels.len() && self.matching.iter().all(is_one)
    }
}
