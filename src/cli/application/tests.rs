use super::*;
use crate::engine::plan::Lag;

fn index_of(horizon: Option<Span>) -> Option<InternalTopic> {
    let of_all = |horizon| Lag {
        horizon,
        ..Lag::of_all(0)
    };
    let text = "pipeline: p\nsources: { a: { topic: t } }\nmetrics: { a_total: { count: a } }\n";
    let plan = crate::pipeline::parse(&[("p.yaml".to_owned(), text.to_owned())], &|_| None);
    let mut plan = plan.expect("it is right");
    plan.lag = horizon.map(of_all);
    internal_topics("app", 6, 50, &plan)
        .into_iter()
        .find(|topic| topic.name == "app-index")
}

#[test]
fn the_offset_index_is_one_partition_that_reaches_back_to_the_horizon() {
    for (seconds, hours) in [(1, 1), (3_600, 1), (3_601, 2), (86_400, 24)] {
        let topic = index_of(Some(Span::seconds(seconds))).expect("lag is wanted");
        assert_eq!((topic.partitions, topic.compacted), (1, false));
        assert_eq!(topic.retention_hours, Some(hours), "{seconds}");
    }
}

#[test]
fn without_lag_there_is_no_offset_index() {
    assert_eq!(index_of(None), None);
}

#[test]
fn lag_alone_has_no_topics_for_what_is_tapped() {
    let plan = Plan {
        lag: Some(Lag::of_all(0)),
        ..Plan::default()
    };
    let names: Vec<String> = internal_topics("app", 6, 50, &plan)
        .into_iter()
        .map(|topic| topic.name)
        .collect();
    assert_eq!(names, ["app-otlp-metrics", "app-dead-letters", "app-lag-changelog"]);
}
