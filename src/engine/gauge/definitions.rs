//! Which definitions of metrics this partition has ever known, and which of them is live.
//!
//! Rule: a metric has one live definition: the plan's. Partials of a definition that was live once go into the live
//! series where kind and labels are the same, else they are counted as retired. A definition that was never known stops
//! the partition until an instance that knows it takes over: nothing is lost in a rolling upgrade. When an upgrade is taken
//! back before such an instance came, only the operator can say that none will ([`super::GaugeOptions::retire_unknown`]).

use std::collections::BTreeMap;

use crate::engine::plan::{Kind, Metric, MetricIx, Plan};
use crate::engine::series::DefinitionHash;
use crate::engine::sketch::Partial;

/// Enough of a definition to end its series after the pipeline no longer has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    pub name: String,
    pub pipeline: String,
    pub help: String,
    pub unit: String,
    pub kind: Kind,
    pub labels: Vec<String>,
}

/// What to do with partials of one definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Live(MetricIx),
    /// Known once; its partials still fit this live metric.
    Succeeded(MetricIx),
    /// Known once; nothing takes its partials any more.
    Retired,
    Unknown,
}

/// All definitions this partition has known.
#[derive(Debug, Default)]
pub struct Definitions {
    known: BTreeMap<DefinitionHash, Definition>,
    live: BTreeMap<DefinitionHash, MetricIx>,
}

// === impl Definition ===

impl Definition {
    pub fn of(metric: &Metric, plan: &Plan) -> Self {
        Self {
            name: metric.name.clone(),
            pipeline: plan.pipelines.get(metric.pipeline).cloned().unwrap_or_default(),
            help: metric.help.clone(),
            unit: metric.unit.clone(),
            kind: metric.kind.clone(),
            labels: metric.labels.clone(),
        }
    }

    pub fn empty(&self) -> Partial {
        Partial::empty(&self.kind)
    }
}

// === impl Definitions ===

impl Definitions {
    pub fn of_plan(plan: &Plan) -> Self {
        let mut definitions = Self::default();
        for (index, metric) in plan.metrics.iter().enumerate() {
            definitions
                .known
                .insert(metric.definition, Definition::of(metric, plan));
            definitions.live.insert(metric.definition, MetricIx(index));
        }
        definitions
    }

    /// A definition that an earlier owner of this partition knew.
    pub fn remember(&mut self, hash: DefinitionHash, definition: Definition) {
        self.known.entry(hash).or_insert(definition);
    }

    pub fn known(&self) -> impl Iterator<Item = (DefinitionHash, &Definition)> {
        self.known.iter().map(|(hash, definition)| (*hash, definition))
    }

    pub fn get(&self, hash: DefinitionHash) -> Option<&Definition> {
        self.known.get(&hash)
    }

    pub fn standing(&self, hash: DefinitionHash, plan: &Plan) -> Standing {
        if let Some(metric) = self.live.get(&hash) {
            return Standing::Live(*metric);
        }
        let Some(old) = self.known.get(&hash) else {
            return Standing::Unknown;
        };
        let successor = plan.metrics.iter().position(|metric| {
            metric.name == old.name && metric.kind == old.kind && metric.labels == old.labels && metric.unit == old.unit
        });
        successor.map_or(Standing::Retired, |index| Standing::Succeeded(MetricIx(index)))
    }
}
