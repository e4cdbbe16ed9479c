use super::*;
use crate::engine::plan::Lag;

fn index_of(horizon: Option<Span>) -> Option<InternalTopic> {
    let of_all = |horizon| Lag {
        horizon,
        ..Lag::of_all(0)
    };
    let plan = Plan {
        lag: horizon.map(of_all),
        ..Plan::default()
    };
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
