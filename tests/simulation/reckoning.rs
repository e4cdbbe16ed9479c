//! The end of a life: no more faults, everybody runs, and what the outbox holds must be what was produced.

use std::collections::BTreeMap;

use streamgauge::engine::tap::ledger::Ledger;
use streamgauge::memory::{Cluster, MarkerDelay};
use streamgauge::runtime::log::TopicPartition;

use crate::index;
use crate::outbox::{Outbox, SeriesName};
use crate::pipelines::{APPLICATION, SHUFFLE, Version, application};
use crate::services::Expected;
use crate::world::World;

/// Metrics that a new version changes, and what each has to come to.
const MOVING: [&str; 5] = [
    "shop_orders_total",
    "item_sizes",
    "page_views_total",
    "going_total",
    "coming_total",
];
const OUTCOMES: [&str; 4] = ["counted", "filtered", "future", "malformed"];

impl World {
    /// No more faults; everybody runs until every total is out.
    pub fn peace(&mut self) {
        self.cluster.inject(None);
        self.cluster.delay_markers(MarkerDelay::default());
        self.finish_roll();
        for place in &mut self.places {
            place.asleep_until = 0;
        }
        let mut wrong = Vec::new();
        for round in 0..900 {
            for index in 0..self.places.len() {
                self.step(index);
            }
            self.advance(100_000);
            if round % 5 > 0 {
                continue;
            }
            self.outbox.read(&self.cluster, "sim-otlp-metrics", SHUFFLE);
            wrong = differences(&self.outbox, &self.expected, self.version);
            if wrong.is_empty() {
                self.report.retired = retired_of_all(&self.outbox);
                reckon(&self.cluster);
                return;
            }
            if round >= 400 {
                self.accept_what_nobody_knows();
            }
        }
        panic!("{}\n{}", wrong.join("\n"), self.state());
    }

    /// Where everything stands, for a failure's message.
    fn state(&self) -> String {
        let places = self.places.iter().map(|place| place.state());
        let groups = self.cluster.groups().into_iter().map(|group| {
            let view = self.cluster.group(&group).map(|view| (view.generation, view.members));
            format!("{group}: {view:?}")
        });
        let totals = self.outbox.totals(|_| true).into_iter();
        let totals = totals.map(|(name, value)| format!("{name:?} {value}"));
        places.chain(groups).chain(totals).collect::<Vec<_>>().join("\n")
    }
}

/// What the outbox says and should not; empty is right.
fn differences(outbox: &Outbox, expected: &Expected, version: Version) -> Vec<String> {
    let all = outbox.totals(may_live_again);
    let mut wrong = Vec::new();
    let mut differ = |what: &str, shown: String, produced: String| {
        if shown != produced {
            wrong.push(format!("{what}: the outbox says {shown}, produced was {produced}"));
        }
    };
    let (stable, shown) = (stable(&all), outcomes(&all));
    let produced: BTreeMap<_, _> = expected.totals.iter().filter(|(_, value)| **value > 0.0).collect();
    differ("totals", format!("{stable:?}"), format!("{produced:?}"));
    differ("outcomes", format!("{shown:?}"), format!("{:?}", expected.outcomes));
    if version != Version::Stable {
        let [orders, sizes, pages, going, coming] =
            MOVING.map(|metric| outbox.counted(metric, |_| true) + retired(outbox, metric));
        for (metric, counted) in [("shop_orders_total", orders), ("item_sizes", sizes)] {
            differ(metric, counted.to_string(), expected.orders.to_string());
        }
        differ("page_views_total", pages.to_string(), expected.pages.to_string());
        let of_pages = retired_by_name(outbox, "page_views_total");
        differ("page views retired", of_pages.to_string(), 0.to_string());
        let gone = if version == Version::New {
            "going_total"
        } else {
            "coming_total"
        };
        let of_gone = |labels: &[(String, String)]| labels.iter().any(|(_, value)| value == gone);
        let lives = outbox.lives(gone, |_| true) || outbox.lives("streamgauge_series", of_gone);
        differ("the metric that is gone", lives.to_string(), false.to_string());
        // Each order was read by one version: one of the two metrics has it.
        differ(
            "going and coming",
            (going + coming).to_string(),
            expected.orders.to_string(),
        );
    }
    wrong
}

/// A changed definition is a new life, and so are own counters of a metric that goes and comes back.
fn may_live_again(metric: &str) -> bool {
    MOVING.contains(&metric) || metric.starts_with("streamgauge_") && metric != "streamgauge_records_total"
}

/// The stable metrics' totals; what never counted anything is left out.
fn stable(all: &BTreeMap<SeriesName, f64>) -> BTreeMap<&SeriesName, &f64> {
    let is_moving = |name: &str| MOVING.iter().any(|moving| name.starts_with(moving));
    all.iter()
        .filter(|((name, _), value)| !name.starts_with("streamgauge_") && !is_moving(name) && **value > 0.0)
        .collect()
}

/// The ledger as the collector sees it, by outcome; control records and gaps are not the services' doing.
fn outcomes(all: &BTreeMap<SeriesName, f64>) -> BTreeMap<&'static str, u64> {
    let mut shown = BTreeMap::new();
    for ((name, labels), value) in all {
        let outcome = OUTCOMES
            .into_iter()
            .find(|outcome| labels.last().is_some_and(|last| last == outcome));
        if let (true, Some(outcome), true) = (name == "streamgauge_records_total", outcome, *value > 0.0) {
            *shown.entry(outcome).or_default() += *value as u64;
        }
    }
    shown
}

/// Records that no definition of this metric took: under its name, or under the hash where the name was never known.
fn retired(outbox: &Outbox, metric: &str) -> u64 {
    let hashes = [Version::Old, Version::New].into_iter().flat_map(|version| {
        let plan = application(version, None).plan;
        let of_name = plan.metrics.iter().filter(|known| known.name == metric);
        of_name
            .map(|known| format!("{:016x}", known.definition.0))
            .collect::<Vec<_>>()
    });
    retired_by_name(outbox, metric) + hashes.map(|hash| retired_by_name(outbox, &hash)).sum::<u64>()
}

fn retired_by_name(outbox: &Outbox, name: &str) -> u64 {
    outbox.counted("streamgauge_retired_records_total", |labels| {
        labels.iter().any(|(label, value)| label == "metric" && value == name)
    })
}

fn retired_of_all(outbox: &Outbox) -> u64 {
    outbox.counted("streamgauge_retired_records_total", |_| true)
}

/// Every commit of the taps balances, and the offset index says what the log holds.
fn reckon(cluster: &Cluster) {
    for topic in ["orders", "visits"] {
        for partition in 0..cluster.topics().get(topic).copied().unwrap_or(0) {
            let partition = TopicPartition {
                topic: topic.to_owned(),
                partition,
            };
            let committed = cluster.committed(APPLICATION, &partition).expect("everything was read");
            let ledger = Ledger::decode(&committed.metadata).expect("the metadata is a ledger");
            let balance = ledger.balance(committed.offset);
            assert_eq!(balance, 0, "{partition:?} does not balance: {ledger:?}");
            index::agrees(cluster, &partition, &ledger, committed.offset);
        }
    }
}
