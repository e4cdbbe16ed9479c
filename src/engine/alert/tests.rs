//! One task with one rule or two, told the time every second.

use std::collections::BTreeMap;
use std::sync::Arc;

use prost::Message;

use super::notification::{Notification, Occasion};
use super::{AlertOptions, AlertStage};
use crate::engine::codec::{Batch, Pack, Reading};
use crate::engine::plan::{Alert, Bound, Condition, Piece, Plan, Receiver, Template};
use crate::engine::series::{DefinitionHash, SeriesKey};
use crate::engine::task::{Input, Open, OpenTask, Record, Stamp, Task};
use crate::engine::time::{Span, WallTime};

mod always;
mod rules;
mod telling;

/// 2026-11-22T14:00:00Z, in seconds.
const T0: i64 = 1_795_356_000;
const SECOND: i64 = 1_000_000;

const LAG: u64 = 1;
const RATE: u64 = 2;

/// Lag above 1,000 for two minutes, told by group.
fn lag() -> Alert {
    Alert {
        name: "HighConsumerLag".into(),
        pipeline: 0,
        definition: DefinitionHash(LAG),
        metric: "kafka_consumer_lag".into(),
        labels: vec!["topic".into(), "partition".into(), "consumer_group".into()],
        matching: vec![],
        condition: Condition::Value(Bound::Above(1_000.0)),
        sum_by: None,
        hold: Span::seconds(120),
        severity: "warning".into(),
        own_labels: vec![("team".into(), "crm".into())],
        group: vec![2],
        repeat: Span::seconds(3_600),
        summary: "High consumer lag detected".into(),
        description: Template(vec![
            Piece::Text("Consumer ".into()),
            Piece::Label(2),
            Piece::Text(" has lag of ".into()),
            Piece::Value,
        ]),
        to: vec!["operators".into()],
    }
}

/// Less than one a second over five minutes, where there were more than ten.
fn rate() -> Alert {
    Alert {
        name: "LowMessageThroughput".into(),
        definition: DefinitionHash(RATE),
        metric: "messages_total".into(),
        labels: vec!["topic".into()],
        condition: Condition::Rate {
            over: Span::seconds(300),
            bound: Bound::Below(1.0),
            began_above: Some(10.0),
        },
        hold: Span::seconds(600),
        group: vec![],
        ..lag()
    }
}

struct World {
    plan: Arc<Plan>,
    task: Box<dyn Task>,
    /// Seconds since the beginning.
    second: i64,
    /// Records since the last seal, and the offset of the next.
    unsealed: Vec<Vec<u8>>,
    next: i64,
    committed: Option<i64>,
    changelog: BTreeMap<Vec<u8>, Vec<u8>>,
    told: Vec<Notification>,
}

impl World {
    fn new(alerts: Vec<Alert>) -> Self {
        Self::with(alerts, Vec::new())
    }

    fn with(alerts: Vec<Alert>, receivers: Vec<Receiver>) -> Self {
        let plan = Arc::new(Plan {
            pipelines: vec!["support".into()],
            alerts,
            receivers,
            ..Plan::default()
        });
        let fresh = Open::Fresh {
            start: 0,
            topic_id: [0; 16],
        };
        let mut world = Self {
            task: open(&plan, fresh),
            plan,
            second: 0,
            unsealed: vec![],
            next: 0,
            committed: None,
            changelog: BTreeMap::new(),
            told: vec![],
        };
        world.task.accept(Input::Restored).expect("there is nothing");
        world.time();
        world
    }

    fn wall(&self) -> WallTime {
        WallTime((T0 + self.second) * SECOND)
    }

    fn time(&mut self) {
        self.task.accept(Input::Time(self.wall())).expect("taken");
    }

    /// A series has this value now; `None` ends it.
    fn say(&mut self, rule: u64, labels: &[&str], value: Option<f64>) {
        self.say_at(self.second, rule, labels, value);
    }

    /// A point of another time is heard now.
    fn say_at(&mut self, second: i64, rule: u64, labels: &[&str], value: Option<f64>) {
        let batch = Batch {
            sealed_at: (T0 + second) * SECOND,
            readings: vec![Reading {
                rule,
                key: SeriesKey::of(labels.iter().copied()).0,
                time: (T0 + second) * SECOND,
                value,
            }],
            ..Batch::default()
        };
        let pack = Pack::of_encoded([&*batch.encode_to_vec()]);
        self.deliver(&pack);
        self.unsealed.push(pack);
    }

    fn deliver(&mut self, pack: &[u8]) {
        let record = Record {
            offset: self.next,
            key: None,
            value: Some(pack),
            stamp: Stamp::None,
            headers: &(),
        };
        self.task.accept(Input::Record(record)).expect("a right record");
        self.next += 1;
    }

    /// A second passes, and what there is to say is said.
    fn tick(&mut self) {
        self.second += 1;
        self.time();
        let end = Input::LogEnd {
            end: self.next,
            sampled_at: self.wall(),
        };
        self.task.accept(end).expect("taken");
        self.seal();
    }

    fn seal(&mut self) {
        let Some(output) = self.task.seal() else { return };
        assert_eq!(output.next, self.next);
        for (key, value) in output.changelog {
            match value {
                Some(value) => drop(self.changelog.insert(key, value)),
                None => drop(self.changelog.remove(&key)),
            }
        }
        for notice in output.notices {
            let told = Notification::decode(&*notice.notification).expect("ours");
            assert_eq!(told.receiver, notice.receiver);
            self.told.push(told);
        }
        self.committed = Some(output.next);
        self.unsealed.clear();
    }

    fn pass(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.tick();
        }
    }

    /// What was not sealed is forgotten, and read again.
    fn crash(&mut self) {
        self.reopen();
        for pack in self.unsealed.clone() {
            self.deliver(&pack);
        }
    }

    fn reopen(&mut self) {
        let at = match self.committed {
            Some(offset) => Open::Resumed {
                offset,
                metadata: "",
                topic_id: [0; 16],
            },
            None => Open::Fresh {
                start: 0,
                topic_id: [0; 16],
            },
        };
        self.task = open(&self.plan, at);
        self.next = self.committed.unwrap_or(0);
        for (key, value) in &self.changelog {
            let value = Some(&**value);
            self.task.accept(Input::Restore { key, value }).expect("ours");
        }
        self.task.accept(Input::Restored).expect("state and offset agree");
        self.time();
    }

    /// Occasion, alerts that fire, alerts that are over, of each notification; and forgets them.
    fn told(&mut self) -> Vec<(Occasion, usize, usize)> {
        let told = std::mem::take(&mut self.told).into_iter();
        told.map(|told| {
            let over = told.alerts.iter().filter(|alert| alert.ended.is_some()).count();
            (told.occasion(), told.alerts.len() - over, over)
        })
        .collect()
    }

    /// Alerts that are pending, and that fire.
    fn alerts(&self) -> (usize, usize) {
        let alerts = self.task.view().alerts;
        let firing = alerts.iter().filter(|alert| alert.is_firing).count();
        (alerts.len() - firing, firing)
    }
}

fn open(plan: &Arc<Plan>, at: Open<'_>) -> Box<dyn Task> {
    let options = AlertOptions {
        application: "shop".into(),
        partitions: 1,
    };
    AlertStage::new(Arc::clone(plan), options)
        .open("in", 0, at)
        .expect("opens")
}
