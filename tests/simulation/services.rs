//! The services that write: what they produce, and what it has to come to.
//!
//! Some write in transactions, whose markers take offsets too; what they abort was never written.

use std::collections::BTreeMap;

use streamgauge::engine::time::WallTime;
use streamgauge::memory::{ClientOptions, Cluster, MemoryLog};
use streamgauge::runtime::log::{Log, Send};

use crate::outbox::SeriesName;
use crate::random::Random;

/// The group of the services, which read nothing: their calls do not fail.
pub const SERVICES: &str = "services";

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
    transactions: u64,
}

fn write(transaction: &mut MemoryLog, topic: &str, partition: u32, value: &str) {
    let record = Send {
        topic,
        partition,
        key: None,
        value: Some(value.as_bytes()),
        headers: &[],
    };
    transaction.send(record).expect("the topic takes records");
}

impl Expected {
    /// A burst of records, perhaps in a transaction.
    pub fn produce(&mut self, cluster: &Cluster, random: &mut Random, now: WallTime) {
        if random.one_in(8) {
            self.regret(cluster, random);
        }
        let mut transaction = random.one_in(6).then(|| self.begin(cluster));
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
            match &mut transaction {
                Some(transaction) => write(transaction, topic, partition, &value),
                None => {
                    cluster
                        .produce(topic, partition, None, Some(value.as_bytes()), now)
                        .expect("the topic takes records");
                }
            }
            self.records += 1;
        }
        if let Some(mut transaction) = transaction {
            transaction.commit().expect("a service commits");
        }
    }

    /// Writes some orders, and takes them back.
    fn regret(&mut self, cluster: &Cluster, random: &mut Random) {
        let mut transaction = self.begin(cluster);
        for _ in 0..1 + random.below(4) {
            write(&mut transaction, "orders", random.below(3) as u32, "never");
        }
        transaction.abort().expect("a service aborts");
    }

    fn begin(&mut self, cluster: &Cluster) -> MemoryLog {
        self.transactions += 1;
        let mut transaction = cluster.client(ClientOptions::new(SERVICES, format!("service-{}", self.transactions)));
        transaction.init_transactions(false).expect("its id is new");
        transaction.begin().expect("it is the first");
        transaction
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
