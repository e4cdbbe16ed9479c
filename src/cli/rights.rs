//! The rights that an application needs, and which of them its login lacks.
//!
//! Rule: each stage has the rights that it uses and no more; the table in docs/operations.md is the sum of them. What is
//! missing is told all at once, before anything else goes wrong.
//!
//! Edges:
//! - only what the brokers say for sure counts as missing; the call that is refused later names its right too;
//! - what pipelines without joins do not need is not asked for;
//! - without DELETE and DESCRIBE_CONFIGS an application runs, so `run` only warns; `check --connect` wants all of them.

use super::application::{
    self, ALERT_CHANGELOG, ALERT_REPARTITION, Application, CORRELATE_CHANGELOG, CORRELATE_REPARTITION, DEAD_LETTERS,
    GAUGE_CHANGELOG, GAUGE_REPARTITION, INDEX, LAG_POLLED, NOTIFICATIONS, OUTBOX, TRACES_OUTBOX, lag_changelog, named,
};
use crate::engine::lag::OFFSETS_TOPIC;
use crate::engine::plan::{Plan, Via};
use crate::engine::task::Stage;
use crate::kafka::{self, ConnectError, Connection, Missing, Operation, TopicInfo, TopicNeed};

/// All stages that these pipelines need.
fn stages_of(plan: &Plan) -> Vec<Stage> {
    let mut stages = vec![Stage::Export];
    if plan.taps() {
        stages.extend([Stage::Tap, Stage::Gauge]);
    }
    if plan.correlates() {
        stages.push(Stage::Correlate);
    }
    if plan.lag.is_some() {
        stages.push(Stage::Lag);
    }
    if !plan.alerts.is_empty() {
        stages.push(Stage::Alert);
    }
    stages
}

/// What reads the brokers' own topic of offsets.
pub fn reading_offsets() -> TopicNeed {
    TopicNeed {
        topic: OFFSETS_TOPIC.to_owned(),
        operations: vec![Operation::Read],
    }
}

/// What these stages do with topics.
fn needs(application_id: &str, plan: &Plan, stages: &[Stage]) -> Vec<TopicNeed> {
    use Operation::{Create, Delete, Describe, DescribeConfigs, Read, Write};
    use Stage::{Alert, Correlate, Export, Gauge, Lag, Tap};
    let own = |what: &str, of: &[(Stage, &[Operation])]| {
        // Every instance makes and verifies all of them.
        let mut operations = vec![Create, Describe, DescribeConfigs];
        for (_, also) in of.iter().filter(|(stage, _)| stages.contains(stage)) {
            operations.extend(*also);
        }
        operations.sort_unstable();
        operations.dedup();
        TopicNeed {
            topic: named(application_id, what),
            operations,
        }
    };
    let mut needs = Vec::new();
    if stages.contains(&Tap) {
        needs.extend(plan.topics.iter().map(|input| TopicNeed {
            topic: input.topic.clone(),
            operations: vec![Read],
        }));
    }
    let partials: &[(Stage, &[Operation])] = &[(Tap, &[Write]), (Correlate, &[Write]), (Gauge, &[Read, Delete])];
    if plan.taps() {
        needs.extend([
            own(GAUGE_REPARTITION, partials),
            own(GAUGE_CHANGELOG, &[(Gauge, &[Read, Write])]),
        ]);
    }
    needs.extend([
        own(
            OUTBOX,
            &[(Gauge, &[Write]), (Lag, &[Write]), (Alert, &[Write]), (Export, &[Read])],
        ),
        own(DEAD_LETTERS, &[(Tap, &[Write]), (Lag, &[Write]), (Export, &[Write])]),
    ]);
    if plan.correlates() {
        let keyed: &[(Stage, &[Operation])] = &[(Tap, &[Write]), (Correlate, &[Read, Delete])];
        needs.extend([
            own(CORRELATE_REPARTITION, keyed),
            own(CORRELATE_CHANGELOG, &[(Correlate, &[Read, Write])]),
        ]);
    }
    if plan.lag.is_some() {
        let state: &[(Stage, &[Operation])] = &[(Lag, &[Read, Write])];
        if plan.polls() {
            needs.push(own(LAG_POLLED, state));
        } else if stages.contains(&Lag) {
            needs.push(reading_offsets());
        }
        needs.push(own(lag_changelog(plan), state));
    }
    if plan.traces() {
        needs.push(own(TRACES_OUTBOX, &[(Correlate, &[Write]), (Export, &[Read])]));
    }
    if !plan.alerts.is_empty() {
        let samples: &[(Stage, &[Operation])] = &[(Gauge, &[Write]), (Lag, &[Write]), (Alert, &[Read, Delete])];
        needs.extend([
            own(ALERT_REPARTITION, samples),
            own(ALERT_CHANGELOG, &[(Alert, &[Read, Write])]),
        ]);
    }
    if plan.notifies() {
        needs.push(own(NOTIFICATIONS, &[(Alert, &[Write]), (Export, &[Read])]));
        if stages.contains(&Export) {
            needs.extend(plan.receivers.iter().filter_map(|receiver| match &receiver.via {
                Via::Topic(topic) => Some(TopicNeed {
                    topic: topic.clone(),
                    operations: vec![Write],
                }),
                Via::Mail(_) | Via::Alertmanager(_) => None,
            }));
        }
    }
    if plan.indexes() {
        needs.push(own(INDEX, &[(Tap, &[Write]), (Lag, &[Read])]));
    }
    needs
}

/// Every right that the login lacks for all stages, in words. `found` are the input topics, as the brokers describe them.
/// Groups and transactional ids are tried with the transactional id `APP-check`, and nothing is written.
pub fn missing(
    connection: &Connection,
    application_id: &str,
    plan: &Plan,
    found: &[TopicInfo],
) -> Result<Vec<String>, ConnectError> {
    let stages = stages_of(plan);
    let on_topics = kafka::missing_on_topics(connection, &needs(application_id, plan, &stages))?;
    let of_stages = stages.iter().map(|stage| application::group(application_id, *stage));
    // The first is that of the export stage.
    let of_loops = application::carried(plan).into_iter().skip(1);
    let of_loops = of_loops.map(|carries| application::export_group(application_id, carries));
    let groups: Vec<String> = of_stages.chain(of_loops).collect();
    let topic = found
        .iter()
        .find(|topic| topic.partitions.is_some_and(|partitions| partitions > 0));
    let topic = topic.map(|topic| topic.name.as_str());
    let transactional_id = named(application_id, "check");
    let in_transactions = kafka::missing_in_transactions(connection, &transactional_id, &groups, topic)?;
    let told = |why: &String| {
        let reading = on_topics
            .iter()
            .filter(|topic| topic.operations.contains(&Operation::Read));
        reading
            .into_iter()
            .any(|known| why.contains(&format!("`{}`", known.topic)))
    };
    let mut missing: Vec<String> = on_topics.iter().map(Missing::to_string).collect();
    missing.extend(in_transactions.into_iter().filter(|why| !told(why)));
    Ok(missing)
}

/// The rights on topics without which these stages cannot run, in words. Warns of the others.
pub fn missing_to_run(
    connection: &Connection,
    application: &Application,
    stages: &[Stage],
) -> Result<Vec<String>, ConnectError> {
    let needs = needs(&application.id, &application.plan, stages);
    let mut stopping = Vec::new();
    for missing in kafka::missing_on_topics(connection, &needs)? {
        let can_do_without =
            |operation: &Operation| matches!(operation, Operation::Delete | Operation::DescribeConfigs);
        if !missing.operations.iter().all(can_do_without) {
            stopping.push(missing.to_string());
        } else if missing.operations.contains(&Operation::Delete) {
            tracing::warn!(
                event_type = "right_missing",
                "{missing}: the topic is not trimmed behind the commits, and grows"
            );
        } else {
            tracing::warn!(event_type = "right_missing", "{missing}: its settings are not verified");
        }
    }
    Ok(stopping)
}
