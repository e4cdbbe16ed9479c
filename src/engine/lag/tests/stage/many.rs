//! More points than one request takes.

use super::*;
use crate::engine::gauge::MAX_REQUEST_BYTES;

#[test]
fn a_survey_that_fills_requests_says_each_metric_once_in_each_and_all_of_it_in_order() {
    const ROWS: u32 = 12_000;
    let mut world = World::of(&Lag {
        max_series: ROWS,
        ..lag()
    });
    for partition in 0..ROWS {
        world.commit("g", "t", partition, 40);
        let end = 40 + i64::from(partition);
        world.log("t", partition, 0, end, end);
    }
    world.second += 10;
    let survey = world.ask();
    world.answer(survey);
    let output = world.task.seal().expect("there is something to say");
    assert!(output.outbox.len() > 1);
    let mut lags = Vec::new();
    for request in &output.outbox {
        assert!(request.len() <= MAX_REQUEST_BYTES);
        let read = ExportMetricsServiceRequest::decode(request.as_slice()).expect("a request");
        let scopes = read.resource_metrics.iter().flat_map(|of| &of.scope_metrics);
        let named: Vec<&str> = scopes
            .flat_map(|scope| &scope.metrics)
            .map(|metric| metric.name.as_str())
            .collect();
        assert_eq!(named.iter().collect::<BTreeSet<_>>().len(), named.len(), "{named:?}");
        let points = points(request).into_iter();
        lags.extend(points.filter(|(series, ..)| series.starts_with("kafka_consumer_lag{")));
    }
    let expected = (0..ROWS).map(|partition| {
        let series = format!("kafka_consumer_lag{{topic=t,partition={partition},consumer_group=g}}");
        (
            series,
            u64::try_from(world.second).unwrap() * 1_000_000_000,
            Some(f64::from(partition)),
        )
    });
    assert_eq!(lags, expected.collect::<Vec<_>>());
    // Who asks for what there is gets the same points, but those that end something.
    let all = |requests: &[Vec<u8>]| {
        let mut all: Vec<String> = requests
            .iter()
            .flat_map(|request| points(request))
            .map(|point| format!("{point:?}"))
            .collect();
        all.sort();
        all.dedup();
        all
    };
    let newest = all(&world.task.newest());
    let shown = all(&output.outbox);
    assert!(newest.len() > 4 * ROWS as usize && newest.iter().all(|point| shown.binary_search(point).is_ok()));
}
