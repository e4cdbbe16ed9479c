//! The pipelines that the bodies run: every kind of metric, label, time and condition.

use std::sync::{Arc, LazyLock};

use streamgauge::engine::gauge::{GaugeOptions, GaugeStage};
use streamgauge::engine::plan::Plan;
use streamgauge::engine::task::{Open, OpenTask, Task, TopicId};
use streamgauge::engine::time::Span;
use streamgauge::pipeline;

pub const TOPIC: &str = "events";
pub const PARTITIONS: u32 = 2;

const PIPELINE: &str = r#"
pipeline: fuzz
defaults: { window: 1s }
sources:
  all: { topic: events, time: /at }
  some:
    topic: events
    time: /at
    when: 'kind == "page" || size(data.items) > 2 && data.items[0].n != null'
metrics:
  events_total:
    count: all
    labels: { kind: /kind, shop: { field: /data/shop, else: none }, topic: { record: topic } }
    max_series: 4
  bytes_total:
    sum: { of: all, value: { record: bytes } }
  amount_total:
    sum: { of: some, value: /data/amount }
    labels: { first: { cel: 'data.items[0].n > 1 ? "many" : kind', else: few } }
  sizes:
    observe: { of: some, value: /data/amount }
    histogram: { kind: explicit, buckets: [1, 2, 5] }
  spread:
    observe: { of: all, value: /data/amount }
    histogram: { kind: exponential }
"#;

pub static PLAN: LazyLock<Arc<Plan>> = LazyLock::new(|| {
    let plan = pipeline::parse(&[("fuzz.yaml".to_owned(), PIPELINE.to_owned())], &|_| None);
    Arc::new(plan.unwrap_or_else(|wrong| panic!("{wrong:?}")))
});

/// A gauge task; `offset` is what the group has committed, if anything.
pub fn gauge(offset: Option<i64>) -> Box<dyn Task> {
    let stage = GaugeStage::new(
        Arc::clone(&PLAN),
        GaugeOptions {
            application: "fuzz".to_owned(),
            partitions: PARTITIONS,
            max_backdate: Span::seconds(1_800),
            retire_unknown: false,
        },
    );
    let topic_id = TopicId::default();
    let at = match offset {
        None => Open::Fresh { start: 0, topic_id },
        Some(offset) => Open::Resumed {
            offset,
            metadata: "",
            topic_id,
        },
    };
    stage
        .open("fuzz-gauge-repartition", 0, at)
        .expect("a gauge task opens anywhere")
}
