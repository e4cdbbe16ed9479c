use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets as OtlpBuckets;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar, metric,
    number_data_point,
};
use proptest::prelude::*;

use super::*;
use crate::engine::plan::{Kind, Merge};
use crate::engine::series::SeriesKey;
use crate::engine::sketch::{self, Partial};
use crate::engine::time::EventTime;

const MICRO: f64 = 1e6;
const NO_RECORDED_VALUE: u32 = 1;

fn definition(pipeline: &str) -> Definition {
    Definition {
        name: "channel_messages_received_total".to_owned(),
        pipeline: pipeline.to_owned(),
        help: "Messages received by channel".to_owned(),
        unit: "{message}".to_owned(),
        kind: Kind::Count,
        labels: vec!["channel_type".to_owned()],
    }
}

fn count(time: i64, value: u64) -> Point {
    Point {
        start: EventTime(0),
        time: EventTime(time),
        value: Some(Partial::Count(value)),
    }
}

/// Adds points of one series of a counter.
fn add(freezer: &mut Freezer<'_>, definition: Definition, key: &[u8], points: &[Point]) {
    let named = freezer.metric(definition, Shape::Cumulative);
    freezer.add(named, key, points);
}

fn read(bytes: &[u8]) -> ExportMetricsServiceRequest {
    ExportMetricsServiceRequest::decode(bytes).expect("we froze it")
}

fn metrics(request: &ExportMetricsServiceRequest) -> impl Iterator<Item = &Metric> {
    let scopes = request.resource_metrics.iter().flat_map(|of| &of.scope_metrics);
    scopes.flat_map(|scope| &scope.metrics)
}

fn point_count(request: &ExportMetricsServiceRequest) -> usize {
    metrics(request).map(|metric| apart(metric).len()).sum()
}

#[test]
fn series_of_one_metric_share_one_envelope() {
    let mut freezer = Freezer::new("app", 0);
    for channel in ["email", "whatsapp"] {
        let key = SeriesKey::of([channel]).0;
        add(&mut freezer, definition("support"), &key, &[count(1, 1), count(2, 2)]);
    }
    let requests = freezer.finish();
    assert_eq!(requests.len(), 1);
    let request = read(&requests[0]);
    assert_eq!(request.resource_metrics.len(), 1);
    assert_eq!(request.resource_metrics[0].scope_metrics[0].metrics.len(), 1);
    assert_eq!(point_count(&request), 4);
}

#[test]
fn equal_points_freeze_to_equal_bytes() {
    let freeze = || {
        let mut freezer = Freezer::new("app", 0);
        let key = SeriesKey::of(["email"]).0;
        add(&mut freezer, definition("support"), &key, &[count(1, 1)]);
        freezer.finish()
    };
    assert_eq!(freeze(), freeze());
}

#[test]
fn requests_are_cut_before_they_grow_too_large_and_no_point_is_lost() {
    let mut freezer = Freezer::new("app", 0);
    let label = "x".repeat(1_000);
    for n in 0..10_000 {
        let key = SeriesKey::of([format!("{label}{n}").as_str()]).0;
        add(&mut freezer, definition("support"), &key, &[count(1, 1)]);
    }
    let requests = freezer.finish();
    assert_eq!(requests.len(), 3);
    assert!(requests.iter().all(|request| request.len() <= MAX_REQUEST_BYTES));
    let points = requests.iter().map(|request| point_count(&read(request)));
    assert_eq!(points.sum::<usize>(), 10_000);
}

#[test]
fn each_pipeline_has_a_resource_of_its_own() {
    let mut freezer = Freezer::new("app", 0);
    for pipeline in ["a", "b"] {
        let key = SeriesKey::of(["email"]).0;
        add(&mut freezer, definition(pipeline), &key, &[count(1, 1)]);
    }
    let request = read(&freezer.finish()[0]);
    let ids: Vec<_> = request
        .resource_metrics
        .iter()
        .map(|metrics| metrics.resource.clone())
        .collect();
    assert_eq!(ids, [Some(resource("app", "a")), Some(resource("app", "b"))]);
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn the_overflow_series_says_so_and_names_its_partition() {
    let mut freezer = Freezer::new("app", 3);
    add(&mut freezer, definition("a"), OVERFLOW_KEY, &[count(1, 1)]);
    let request = read(&freezer.finish()[0]);
    let Some(metric::Data::Sum(sum)) = &request.resource_metrics[0].scope_metrics[0].metrics[0].data else {
        panic!("a counter is a sum");
    };
    let keys: Vec<&str> = sum.data_points[0]
        .attributes
        .iter()
        .map(|pair| pair.key.as_str())
        .collect();
    assert_eq!(keys, ["otel.metric.overflow", "partition"]);
}

#[test]
fn the_end_of_a_metric_of_another_kind_takes_no_points_of_its_successor() {
    let old = definition("a");
    let new = Definition {
        unit: "s".to_owned(),
        kind: Kind::Sum,
        ..old.clone()
    };
    let level = Definition {
        kind: Kind::Level(Merge::Sum),
        ..old.clone()
    };
    let key = SeriesKey::of(["email"]).0;
    let mut freezer = Freezer::new("app", 0);
    let sum = Point {
        value: Some(Partial::Sum(2)),
        ..count(2, 0)
    };
    let end = Point {
        value: None,
        ..count(1, 0)
    };
    for (definition, point) in [(old, end), (new, sum.clone()), (level, sum)] {
        add(&mut freezer, definition, &key, &[point]);
    }
    let request = read(&freezer.finish()[0]);
    let shown: Vec<_> = metrics(&request)
        .map(|metric| (metric.unit.as_str(), apart(metric).len()))
        .collect();
    assert_eq!(shown, [("{message}", 1), ("s", 1), ("{message}", 1)]);
}

#[test]
fn a_metric_without_points_is_in_no_request() {
    let mut freezer = Freezer::new("app", 0);
    freezer.metric(definition("a"), Shape::Cumulative);
    add(&mut freezer, definition("b"), &SeriesKey::of(["email"]).0, &[]);
    assert!(freezer.finish().is_empty());
}

// === what prost writes ===

/// A metric with just this point, built as prost has it.
fn data_of(definition: &Definition, shape: Shape, attributes: &[KeyValue], point: &Point) -> Metric {
    let cumulative = AggregationTemporality::Cumulative as i32;
    let data = match (&definition.kind, shape) {
        (Kind::Count | Kind::Sum, Shape::Gauge) | (Kind::Level(_), _) => metric::Data::Gauge(Gauge {
            data_points: vec![number(attributes, point, false)],
        }),
        (Kind::Count | Kind::Sum, Shape::Cumulative) => metric::Data::Sum(Sum {
            data_points: vec![number(attributes, point, true)],
            aggregation_temporality: cumulative,
            is_monotonic: true,
        }),
        (Kind::Explicit { bounds }, _) => metric::Data::Histogram(Histogram {
            data_points: vec![explicit(attributes, point, bounds)],
            aggregation_temporality: cumulative,
        }),
        (Kind::Exponential { .. }, _) => metric::Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![exponential(attributes, point)],
            aggregation_temporality: cumulative,
        }),
    };
    Metric {
        name: definition.name.clone(),
        description: definition.help.clone(),
        unit: definition.unit.clone(),
        data: Some(data),
        ..Metric::default()
    }
}

fn number(attributes: &[KeyValue], point: &Point, with_start: bool) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes.to_vec(),
        start_time_unix_nano: if with_start { point.start.unix_nanos() } else { 0 },
        time_unix_nano: point.time.unix_nanos(),
        flags: flags(point),
        value: point.value.as_ref().and_then(|value| match value {
            Partial::Count(count) => Some(number_data_point::Value::AsInt(
                i64::try_from(*count).unwrap_or(i64::MAX),
            )),
            Partial::Sum(sum) => Some(number_data_point::Value::AsDouble(*sum as f64 / MICRO)),
            Partial::Histogram(_) => None,
        }),
        ..NumberDataPoint::default()
    }
}

fn explicit(attributes: &[KeyValue], point: &Point, bounds: &[i64]) -> HistogramDataPoint {
    let mut data = HistogramDataPoint {
        attributes: attributes.to_vec(),
        start_time_unix_nano: point.start.unix_nanos(),
        time_unix_nano: point.time.unix_nanos(),
        flags: flags(point),
        ..HistogramDataPoint::default()
    };
    if let Some(Partial::Histogram(histogram)) = &point.value {
        data.count = histogram.count();
        data.sum = Some(histogram.sum() as f64 / MICRO);
        data.bucket_counts = histogram.buckets().to_vec();
        data.explicit_bounds = bounds.iter().map(|bound| *bound as f64 / MICRO).collect();
        data.exemplars = exemplars(histogram);
    }
    data
}

fn exponential(attributes: &[KeyValue], point: &Point) -> ExponentialHistogramDataPoint {
    let mut data = ExponentialHistogramDataPoint {
        attributes: attributes.to_vec(),
        start_time_unix_nano: point.start.unix_nanos(),
        time_unix_nano: point.time.unix_nanos(),
        flags: flags(point),
        ..ExponentialHistogramDataPoint::default()
    };
    if let Some(Partial::Histogram(histogram)) = &point.value {
        data.count = histogram.count();
        data.sum = Some(histogram.sum() as f64 / MICRO);
        data.scale = histogram.scale().unwrap_or(0);
        data.zero_count = histogram.zero_count();
        data.positive = Some(OtlpBuckets {
            offset: histogram.offset(),
            bucket_counts: histogram.buckets().to_vec(),
        });
        data.exemplars = exemplars(histogram);
    }
    data
}

fn exemplars(histogram: &sketch::Histogram) -> Vec<Exemplar> {
    let exemplar = histogram.exemplar().map(|of| Exemplar {
        time_unix_nano: of.time.unix_nanos(),
        value: Some(exemplar::Value::AsDouble(of.value as f64 / MICRO)),
        trace_id: of.trace.to_be_bytes().to_vec(),
        span_id: of.span.to_be_bytes().to_vec(),
        ..Exemplar::default()
    });
    exemplar.into_iter().collect()
}

fn flags(point: &Point) -> u32 {
    if point.value.is_none() { NO_RECORDED_VALUE } else { 0 }
}

/// The metric as many times as it has points, each with one of them.
fn apart(whole: &Metric) -> Vec<Metric> {
    let without = Metric {
        data: None,
        ..whole.clone()
    };
    let with = |data| Metric {
        data: Some(data),
        ..without.clone()
    };
    match whole.data.clone().expect("a metric has data") {
        metric::Data::Gauge(of) => of
            .data_points
            .into_iter()
            .map(|point| {
                with(metric::Data::Gauge(Gauge {
                    data_points: vec![point],
                }))
            })
            .collect(),
        metric::Data::Sum(of) => of
            .data_points
            .into_iter()
            .map(|point| {
                with(metric::Data::Sum(Sum {
                    data_points: vec![point],
                    ..of
                }))
            })
            .collect(),
        metric::Data::Histogram(of) => of
            .data_points
            .into_iter()
            .map(|point| {
                with(metric::Data::Histogram(Histogram {
                    data_points: vec![point],
                    ..of
                }))
            })
            .collect(),
        metric::Data::ExponentialHistogram(of) => of
            .data_points
            .into_iter()
            .map(|point| {
                with(metric::Data::ExponentialHistogram(ExponentialHistogram {
                    data_points: vec![point],
                    ..of
                }))
            })
            .collect(),
        metric::Data::Summary(_) => panic!("no metric of ours is a summary"),
    }
}

/// Everything in a metric but its points, with the pipeline's resource: what makes it this one.
fn envelope(resource: &Resource, whole: &Metric) -> Vec<u8> {
    let mut metric = whole.clone();
    match metric.data.as_mut().expect("a metric has data") {
        metric::Data::Gauge(of) => of.data_points.clear(),
        metric::Data::Sum(of) => of.data_points.clear(),
        metric::Data::Histogram(of) => of.data_points.clear(),
        metric::Data::ExponentialHistogram(of) => of.data_points.clear(),
        metric::Data::Summary(_) => panic!("no metric of ours is a summary"),
    }
    let mut bytes = resource.encode_to_vec();
    bytes.extend(metric.encode_to_vec());
    bytes
}

/// A request with just this.
fn alone(resource: &Resource, metric: Metric) -> ExportMetricsServiceRequest {
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource.clone()),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope()),
                metrics: vec![metric],
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
}

// === anything that may be frozen ===

/// Of one series.
#[derive(Clone, Debug)]
struct Shown {
    metric: prop::sample::Index,
    /// Label values; `None` is the overflow series.
    labels: Option<Vec<String>>,
    points: Vec<(i64, i64, Said)>,
}

#[derive(Clone, Debug)]
enum Said {
    Value(Vec<u32>, Option<sketch::Exemplar>),
    /// A value that the metric cannot have.
    OfAnotherKind,
    End,
}

fn any_kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Count),
        Just(Kind::Sum),
        Just(Kind::Level(Merge::Max)),
        prop::collection::vec(1..5_000_000_i64, 0..5).prop_map(|mut bounds| {
            bounds.sort_unstable();
            Kind::Explicit { bounds }
        }),
        (8..40_u16).prop_map(|max_buckets| Kind::Exponential { max_buckets }),
    ]
}

/// A definition and its shape; the number makes each another one.
fn any_definitions() -> impl Strategy<Value = Vec<(Definition, Shape)>> {
    let shape = prop_oneof![Just(Shape::Cumulative), Just(Shape::Gauge)];
    let labels = prop::collection::vec("[a-z_]{0,6}", 0..4);
    let one = ("[ab]", "[ab]?", "[xé]{0,3}", any_kind(), labels, shape);
    prop::collection::vec(one, 1..6).prop_map(|all| {
        let numbered = all.into_iter().enumerate();
        let define = |(number, (name, pipeline, unit, kind, labels, shape))| {
            let help = if number == 0 {
                String::new()
            } else {
                format!("number {number}")
            };
            let definition = Definition {
                name,
                pipeline,
                help,
                unit,
                kind,
                labels,
            };
            (definition, shape)
        };
        numbered.map(define).collect()
    })
}

fn any_shown() -> impl Strategy<Value = Shown> {
    let exemplar =
        (0..9_i64, -5..5_i64, any::<u128>(), any::<u64>()).prop_map(|(value, time, trace, span)| sketch::Exemplar {
            value,
            time: EventTime(time),
            trace,
            span,
        });
    let said = prop_oneof![
        6 => (prop::collection::vec(any::<u32>(), 0..6), prop::option::of(exemplar)).prop_map(|(values, of)| Said::Value(values, of)),
        1 => Just(Said::OfAnotherKind),
        1 => Just(Said::End),
    ];
    let labels = prop::collection::vec("[a-zé]{0,200}", 0..5);
    let time = prop_oneof![Just(0), -9..9_i64, any::<i64>()];
    let points = prop::collection::vec((time.clone(), time, said), 0..4);
    (
        any::<prop::sample::Index>(),
        prop::option::weighted(0.9, labels),
        points,
    )
        .prop_map(|(metric, labels, points)| Shown { metric, labels, points })
}

impl Said {
    fn value(&self, kind: &Kind) -> Option<Partial> {
        match self {
            Said::End => None,
            Said::OfAnotherKind => Some(match kind {
                Kind::Explicit { .. } | Kind::Exponential { .. } => Partial::Count(3),
                _ => Partial::empty(&Kind::Explicit { bounds: vec![1] }),
            }),
            Said::Value(values, exemplar) => {
                let mut partial = Partial::empty(kind);
                for value in values {
                    match kind {
                        Kind::Count => partial.add_count(u64::from(*value) << 31),
                        _ => partial.observe((*value).into(), kind),
                    }
                }
                if let Some(exemplar) = exemplar {
                    partial.exemplify(*exemplar);
                }
                Some(partial)
            }
        }
    }
}

fn attributes_of(definition: &Definition, labels: Option<&[String]>, partition: u32) -> Vec<KeyValue> {
    let Some(values) = labels else {
        let mut overflow = text("otel.metric.overflow", "");
        overflow.value = Some(AnyValue {
            value: Some(any_value::Value::BoolValue(true)),
        });
        return vec![overflow, text("partition", &partition.to_string())];
    };
    let pairs = definition.labels.iter().zip(values);
    pairs.map(|(label, value)| text(label, value)).collect()
}

proptest! {
    #[test]
    fn what_is_frozen_is_what_prost_would_write_of_the_same_points(
        definitions in any_definitions(),
        all in prop::collection::vec(any_shown(), 0..40),
        most in 300..6_000_usize,
    ) {
        let mut freezer = Freezer { most, ..Freezer::new("app", 7) };
        // By metric, its points in order, each as a metric with one.
        let mut expected: BTreeMap<Vec<u8>, Vec<Metric>> = BTreeMap::new();
        for Shown { metric, labels, points } in &all {
            let (definition, shape) = metric.get(&definitions);
            let points: Vec<Point> = points
                .iter()
                .map(|(start, time, said)| Point {
                    start: EventTime(*start),
                    time: EventTime(*time),
                    value: said.value(&definition.kind),
                })
                .collect();
            let key = labels.as_ref().map(|labels| SeriesKey::of(labels.iter().map(String::as_str)).0);
            let named = freezer.metric(definition.clone(), *shape);
            freezer.add(named, key.as_deref().unwrap_or(OVERFLOW_KEY), &points);
            let attributes = attributes_of(definition, labels.as_deref(), 7);
            for point in &points {
                let single = data_of(definition, *shape, &attributes, point);
                let of = envelope(&resource("app", &definition.pipeline), &single);
                expected.entry(of).or_default().push(single);
            }
        }
        let requests = freezer.finish();
        let mut found: BTreeMap<Vec<u8>, Vec<Metric>> = BTreeMap::new();
        let mut before: Option<usize> = None;
        for bytes in &requests {
            let request = read(bytes);
            prop_assert_eq!(&request.encode_to_vec(), bytes);
            prop_assert!(bytes.len() <= most || point_count(&request) == 1);
            let (mut named, mut largest) = (Vec::new(), 0);
            for of in &request.resource_metrics {
                let resource = of.resource.as_ref().expect("a resource");
                prop_assert_eq!(of.scope_metrics.len(), 1);
                prop_assert_eq!(&of.scope_metrics[0].scope, &Some(scope()));
                for metric in &of.scope_metrics[0].metrics {
                    let envelope = envelope(resource, metric);
                    named.push(envelope.clone());
                    for single in apart(metric) {
                        largest = largest.max(alone(resource, single.clone()).encoded_len());
                        found.entry(envelope.clone()).or_default().push(single);
                    }
                }
            }
            let resources = request.resource_metrics.len();
            // Lengths are taken to be long: five bytes each, of two messages a metric and four a pipeline.
            let spare = 5 * (2 * named.len() + 4 * resources + 6);
            prop_assert!(before.is_none_or(|before| before + largest + spare > most), "cut too early");
            before = Some(bytes.len() + spare);
            let count = named.len();
            named.sort_unstable();
            named.dedup();
            prop_assert_eq!(named.len(), count, "a metric is named twice");
        }
        prop_assert_eq!(found, expected);
    }
}
