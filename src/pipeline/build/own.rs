//! Metrics of ours about joins: what they could not take, and the traces that came of them.
//!
//! Rule: they belong to the first pipeline and hold all joins.

use serde_json::json;
use xxhash_rust::xxh3::xxh3_64;

use crate::engine::plan::{self, Kind, MetricIx, Operator, Plan, Respond};
use crate::engine::series::DefinitionHash;
use crate::engine::window::WindowSize;

/// Names that no pipeline can give.
const UNKEYED_TOTAL: &str = "streamgauge_join_unkeyed_records_total";
const LATE_TOTAL: &str = "streamgauge_join_late_records_total";
const JOURNEYS_TOTAL: &str = "streamgauge_journeys_total";

/// Adds the counts of what joins could not take, where there are any joins, and of traces where there are any.
pub fn count_the_rest(plan: &mut Plan) {
    if plan.joins.is_empty() {
        return;
    }
    let of_all = topics_of(plan, |_| true);
    let help = "Records that had no part in a join, by what was wrong with their key or value";
    let unkeyed = own_count(
        plan,
        UNKEYED_TOTAL,
        help,
        "{record}",
        &["join", "reason"],
        of_all.clone(),
    );
    let help = "Records that came behind what a join had decided, and decided nothing";
    let late = own_count(plan, LATE_TOTAL, help, "{record}", &["join", "side"], of_all);
    let journeys = plan.traces().then(|| {
        let topics = topics_of(plan, plan::Join::is_traced);
        let help = "Conversations that are over, by how they ended and whether their spans leave";
        let labels = ["trace", "outcome", "sampled"];
        own_count(plan, JOURNEYS_TOTAL, help, "{trace}", &labels, topics)
    });
    for join in &mut plan.joins {
        join.late = Some(late);
        if let Operator::Respond(Respond {
            journeys: Some(traced), ..
        }) = &mut join.operator
        {
            traced.counted = journeys;
        }
    }
    let sources = plan.topics.iter_mut().flat_map(|topic| &mut topic.sources);
    for emit in sources.flat_map(|source| &mut source.emits) {
        emit.unkeyed = Some(unkeyed);
    }
}

fn topics_of(plan: &Plan, of: impl Fn(&plan::Join) -> bool) -> Vec<usize> {
    let joins = plan.joins.iter().filter(|join| of(join));
    let mut topics: Vec<usize> = joins.flat_map(|join| join.topics.clone()).collect();
    topics.sort_unstable();
    topics.dedup();
    topics
}

/// A count of ours, as a metric of the first pipeline.
fn own_count(plan: &mut Plan, name: &str, help: &str, unit: &str, labels: &[&str], topics: Vec<usize>) -> MetricIx {
    let text = json!([1, name, labels]).to_string();
    plan.metrics.push(plan::Metric {
        name: name.to_owned(),
        pipeline: 0,
        definition: DefinitionHash(xxh3_64(text.as_bytes())),
        help: help.to_owned(),
        unit: unit.to_owned(),
        kind: Kind::Count,
        labels: labels.iter().map(|label| (*label).to_owned()).collect(),
        window: WindowSize::DEFAULT,
        max_series: 2_000,
        topics,
    });
    MetricIx(plan.metrics.len() - 1)
}
