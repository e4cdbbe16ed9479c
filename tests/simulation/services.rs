//! The services that write: what they produce, and what it has to come to.

use std::collections::BTreeMap;

use streamgauge::engine::time::WallTime;
use streamgauge::memory::Cluster;

use crate::outbox::SeriesName;
use crate::random::Random;

/// What was produced, as the metrics must show it.
#[derive(Default)]
pub struct Expected {
    /// Series of the stable metrics.
    pub totals: BTreeMap<SeriesName, f64>,
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Orders and page visits that count.
    pub orders: u64,
    pub pages: u64,
    pub records: u64,
}

impl Expected {
    /// A burst of records.
    pub fn produce(&mut self, cluster: &Cluster, random: &mut Random, now: WallTime) {
        for _ in 0..random.below(20) {
            let disorder = match random.below(20) {
                0 => random.below(3_000_000),
                _ => random.below(400_000),
            };
            let at = now.0 - disorder as i64;
            let (topic, value) = if random.one_in(2) {
                ("orders", self.order(random, at))
            } else {
                ("visits", self.visit(random, at))
            };
            let partitions = cluster.topics().get(topic).copied().unwrap_or(1);
            let partition = random.below(u64::from(partitions)) as u32;
            cluster
                .produce(topic, partition, None, Some(value.as_bytes()), now)
                .expect("the topic takes records");
            self.records += 1;
        }
    }

    fn order(&mut self, random: &mut Random, at: i64) -> String {
        let shop = ["north", "south", "east"][random.below(3) as usize];
        let items = random.below(8);
        match random.below(20) {
            0 => {
                *self.outcomes.entry("malformed").or_default() += 1;
                r#"{"at": "#.to_owned()
            }
            1 => {
                *self.outcomes.entry("future").or_default() += 1;
                format!(r#"{{"at": {}, "shop": "{shop}", "items": 1}}"#, at + 3_600_000_000)
            }
            _ => {
                for (name, value) in [
                    ("orders_total", 1.0),
                    ("order_items_total", items as f64),
                    ("order_items_count", 1.0),
                    ("order_items_sum", items as f64),
                ] {
                    *self.totals.entry((name.to_owned(), vec![shop.to_owned()])).or_default() += value;
                }
                *self.outcomes.entry("counted").or_default() += 1;
                self.orders += 1;
                format!(r#"{{"at": {at}, "shop": "{shop}", "items": {items}}}"#)
            }
        }
    }

    fn visit(&mut self, random: &mut Random, at: i64) -> String {
        let kind = if random.one_in(4) { "robot" } else { "page" };
        let page = ["home", "cart"][random.below(2) as usize];
        if kind == "page" {
            *self
                .totals
                .entry(("visits_total".to_owned(), vec![page.to_owned()]))
                .or_default() += 1.0;
            self.pages += 1;
        }
        let outcome = if kind == "page" { "counted" } else { "filtered" };
        *self.outcomes.entry(outcome).or_default() += 1;
        format!(r#"{{"kind": "{kind}", "page": "{page}", "at": {at}}}"#)
    }
}
