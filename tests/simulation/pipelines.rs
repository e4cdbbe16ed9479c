//! The application under test, in the two versions that a rolling upgrade goes between.
//!
//! Rule: the stable metrics are the same in both versions. Of the moving ones each changes in its own way: labels, kind,
//! a label's fallback (another definition whose partials still fit), one goes, one comes. Every order reaches a stable
//! metric in both, so the ledger does not depend on who read it.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use streamgauge::cli::application::Application;
use streamgauge::engine::plan::{Lag, Plan};
use streamgauge::engine::time::Span;
use streamgauge::pipeline;

pub const APPLICATION: &str = "sim";
pub const SHUFFLE: u32 = 3;

const STABLE: &str = r#"
pipeline: sim
defaults: { out_of_order: 500ms, idle_after: 500ms, window: 1s, max_ahead: 1m }
sources:
  orders: { topic: orders, time: /at }
  visits: { topic: visits, time: /at, when: 'kind == "page"' }
metrics:
  orders_total:
    count: orders
    labels: { shop: /shop }
  order_items_total:
    sum: { of: orders, value: /items }
    labels: { shop: /shop }
  order_items:
    observe: { of: orders, value: /items }
    histogram: { kind: explicit, buckets: [1, 2, 5] }
    labels: { shop: /shop }
  visits_total:
    count: visits
    labels: { page: { field: /page, else: none } }
"#;

const OLD: &str = r#"
  shop_orders_total:
    count: orders
    labels: { shop: /shop }
  item_sizes:
    observe: { of: orders, value: /items }
    histogram: { kind: explicit, buckets: [1, 2, 5] }
  page_views_total:
    count: visits
    labels: { page: { field: /page, else: none } }
  going_total:
    count: orders
    labels: { shop: /shop }
"#;

const NEW: &str = r#"
  shop_orders_total:
    count: orders
    labels: { shop: /shop, items: /items }
  item_sizes:
    observe: { of: orders, value: /items }
    histogram: { kind: exponential }
  page_views_total:
    count: visits
    labels: { page: { field: /page, else: elsewhere } }
  coming_total:
    count: orders
    labels: { shop: /shop }
"#;

/// What runs: the stable metrics alone, or with the moving ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    #[default]
    Stable,
    Old,
    New,
}

static PLANS: LazyLock<BTreeMap<Version, Arc<Plan>>> = LazyLock::new(|| {
    [(Version::Stable, ""), (Version::Old, OLD), (Version::New, NEW)]
        .into_iter()
        .map(|(version, moving)| {
            let text = format!("{STABLE}{}", moving.trim_start_matches('\n'));
            let plan = pipeline::parse(&[("sim.yaml".to_owned(), text)], &|_| None);
            let mut plan = plan.unwrap_or_else(|wrong| panic!("{wrong:?}"));
            // Lag is wanted of everyone: the taps write the offset index.
            plan.lag = Some(Lag::of_all(0));
            (version, Arc::new(plan))
        })
        .collect()
});

pub fn application(version: Version, instance: Option<String>) -> Application {
    Application {
        offsets_partitions: 1,
        id: APPLICATION.to_owned(),
        plan: Arc::clone(&PLANS[&version]),
        shuffle_partitions: SHUFFLE,
        instance,
        accept_reset: false,
        seal_every: Span::millis(200),
        max_backdate: Span::seconds(1_800),
        queue_kbytes: 1,
        tap_workers: 1,
        max_open: 1_000_000,
    }
}
