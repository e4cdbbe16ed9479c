//! Points become OTLP requests here, once: what is frozen is sent verbatim for ever after.
//!
//! Rule: one request is at most [`MAX_REQUEST_BYTES`] before compression; requests are cut between points, in order, so
//! the points of one series stay in order too.
//!
//! Edges:
//! - a series' resource names the application and the pipeline, never an instance: whoever takes the partition over
//!   continues the same series;
//! - `service.instance.id` is a UUIDv5 of application and pipeline in the namespace of the semantic conventions;
//! - the overflow series has the label `otel.metric.overflow` and its partition instead of the metric's own labels.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets as OtlpBuckets;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar, metric,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use uuid::Uuid;

use super::definitions::Definition;
use super::series::Point;
use crate::engine::plan::Kind;
use crate::engine::series::SeriesKey;
use crate::engine::sketch::{self, Partial};

/// gRPC servers take 4 MiB by default; what is above the points needs some of it.
pub const MAX_REQUEST_BYTES: usize = 3_500 * 1024;

/// The namespace that the semantic conventions give for `service.instance.id`.
const INSTANCE_NAMESPACE: Uuid = Uuid::from_u128(0x4d63009a_8d0f_11ee_aad7_4c796ed8e320);

/// OTLP's flag for a point that says "no more".
const NO_RECORDED_VALUE: u32 = 1;

/// The key of the series that takes what is beyond a metric's `max_series`; no encoded label values look like it.
pub const OVERFLOW_KEY: &[u8] = &[0xff; 6];

const MICRO: f64 = 1e6;

/// Collects points and cuts them into requests.
pub struct Freezer<'a> {
    application: &'a str,
    /// The gauge partition: a label of overflow series.
    partition: u32,
    /// An attribute of the scope: how the points were come by.
    mark: Option<(&'static str, &'static str)>,
    requests: Vec<Vec<u8>>,
    current: Vec<ResourceMetrics>,
    /// Bytes of `current`, never underestimated by more than the envelopes.
    size: usize,
}

/// How a metric shows itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Cumulative,
    /// A sample at wall time that can go up and down.
    Gauge,
}

// === impl Freezer ===

impl<'a> Freezer<'a> {
    pub fn new(application: &'a str, partition: u32) -> Self {
        Self {
            application,
            partition,
            mark: None,
            requests: Vec::new(),
            current: Vec::new(),
            size: 0,
        }
    }

    /// Marks all points with an attribute of their scope: their names and labels stay what they are.
    pub fn marked(self, mark: Option<(&'static str, &'static str)>) -> Self {
        Self { mark, ..self }
    }

    /// Adds the points of one series.
    pub fn add(&mut self, definition: &Definition, shape: Shape, key: &[u8], points: &[Point]) {
        let attributes = self.attributes(definition, key);
        for point in points {
            let data = data_of(definition, shape, &attributes, point);
            let size = data.encoded_len();
            if self.size > 0 && self.size + size > MAX_REQUEST_BYTES {
                self.cut();
            }
            self.append(definition, data, size);
        }
    }

    /// All requests, in order.
    pub fn finish(mut self) -> Vec<Vec<u8>> {
        self.cut();
        self.requests
    }

    fn cut(&mut self) {
        if !self.current.is_empty() {
            let request = ExportMetricsServiceRequest {
                resource_metrics: std::mem::take(&mut self.current),
            };
            self.requests.push(request.encode_to_vec());
            self.size = 0;
        }
    }

    fn append(&mut self, definition: &Definition, data: Metric, size: usize) {
        self.size += size;
        let fits = |metrics: &ResourceMetrics| pipeline_of(metrics) == Some(definition.pipeline.as_str());
        if !self.current.last().is_some_and(fits) {
            self.current.push(ResourceMetrics {
                resource: Some(resource(self.application, &definition.pipeline)),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(InstrumentationScope {
                        attributes: self.mark.iter().map(|(key, value)| text(key, value)).collect(),
                        ..scope()
                    }),
                    ..ScopeMetrics::default()
                }],
                schema_url: String::new(),
            });
            self.size += 512;
        }
        let metrics = self
            .current
            .last_mut()
            .and_then(|resource| resource.scope_metrics.last_mut());
        let Some(ScopeMetrics { metrics, .. }) = metrics else {
            return;
        };
        match metrics.last_mut() {
            Some(last) if last.name == data.name => join(last, data),
            _ => metrics.push(data),
        }
    }

    fn attributes(&self, definition: &Definition, key: &[u8]) -> Vec<KeyValue> {
        if key == OVERFLOW_KEY {
            return vec![
                KeyValue {
                    key: "otel.metric.overflow".to_owned(),
                    value: Some(AnyValue {
                        value: Some(any_value::Value::BoolValue(true)),
                    }),
                    ..KeyValue::default()
                },
                text("partition", &self.partition.to_string()),
            ];
        }
        let key = SeriesKey(key.to_vec());
        let values = key.values().unwrap_or_default();
        definition
            .labels
            .iter()
            .zip(values)
            .map(|(label, value)| text(label, value))
            .collect()
    }
}

/// The resource of every series of one pipeline. The pipeline called `""` holds streamgauge's own metrics.
pub fn resource(application: &str, pipeline: &str) -> Resource {
    let instance = Uuid::new_v5(&INSTANCE_NAMESPACE, format!("{application}/{pipeline}").as_bytes());
    Resource {
        attributes: vec![
            text("service.name", application),
            text("service.instance.id", &instance.to_string()),
            text("streamgauge.pipeline", pipeline),
        ],
        ..Resource::default()
    }
}

fn pipeline_of(metrics: &ResourceMetrics) -> Option<&str> {
    let attribute = metrics
        .resource
        .as_ref()?
        .attributes
        .iter()
        .find(|pair| pair.key == "streamgauge.pipeline")?;
    match attribute.value.as_ref()?.value.as_ref()? {
        any_value::Value::StringValue(value) => Some(value),
        _ => None,
    }
}

pub fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "streamgauge".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

pub fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(any_value::Value::StringValue(value.to_owned())),
        }),
        ..KeyValue::default()
    }
}

/// A metric with just this point.
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

/// Appends the points of `more` to `metric`, which is the same metric.
fn join(metric: &mut Metric, more: Metric) {
    match (metric.data.as_mut(), more.data) {
        (Some(metric::Data::Sum(to)), Some(metric::Data::Sum(from))) => to.data_points.extend(from.data_points),
        (Some(metric::Data::Gauge(to)), Some(metric::Data::Gauge(from))) => to.data_points.extend(from.data_points),
        (Some(metric::Data::Histogram(to)), Some(metric::Data::Histogram(from))) => {
            to.data_points.extend(from.data_points);
        }
        (Some(metric::Data::ExponentialHistogram(to)), Some(metric::Data::ExponentialHistogram(from))) => {
            to.data_points.extend(from.data_points);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::time::EventTime;

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

    fn read(bytes: &[u8]) -> ExportMetricsServiceRequest {
        ExportMetricsServiceRequest::decode(bytes).expect("we froze it")
    }

    fn point_count(request: &ExportMetricsServiceRequest) -> usize {
        let metrics = request
            .resource_metrics
            .iter()
            .flat_map(|r| &r.scope_metrics)
            .flat_map(|s| &s.metrics);
        metrics
            .map(|metric| match &metric.data {
                Some(metric::Data::Sum(sum)) => sum.data_points.len(),
                _ => 0,
            })
            .sum()
    }

    #[test]
    fn series_of_one_metric_share_one_envelope() {
        let mut freezer = Freezer::new("app", 0);
        for channel in ["email", "whatsapp"] {
            freezer.add(
                &definition("support"),
                Shape::Cumulative,
                &SeriesKey::of([channel]).0,
                &[count(1, 1), count(2, 2)],
            );
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
            freezer.add(
                &definition("support"),
                Shape::Cumulative,
                &SeriesKey::of(["email"]).0,
                &[count(1, 1)],
            );
            freezer.finish()
        };
        assert_eq!(freeze(), freeze());
    }

    #[test]
    fn requests_are_cut_before_they_grow_too_large_and_no_point_is_lost() {
        let mut freezer = Freezer::new("app", 0);
        let label = "x".repeat(1_000);
        for n in 0..10_000 {
            freezer.add(
                &definition("support"),
                Shape::Cumulative,
                &SeriesKey::of([format!("{label}{n}").as_str()]).0,
                &[count(1, 1)],
            );
        }
        let requests = freezer.finish();
        assert!(requests.len() > 2);
        assert!(requests.iter().all(|request| request.len() < 4 * 1024 * 1024));
        assert_eq!(
            requests
                .iter()
                .map(|request| point_count(&read(request)))
                .sum::<usize>(),
            10_000
        );
    }

    #[test]
    fn each_pipeline_has_a_resource_of_its_own() {
        let mut freezer = Freezer::new("app", 0);
        freezer.add(
            &definition("a"),
            Shape::Cumulative,
            &SeriesKey::of(["email"]).0,
            &[count(1, 1)],
        );
        freezer.add(
            &definition("b"),
            Shape::Cumulative,
            &SeriesKey::of(["email"]).0,
            &[count(1, 1)],
        );
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
        freezer.add(&definition("a"), Shape::Cumulative, OVERFLOW_KEY, &[count(1, 1)]);
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
}
