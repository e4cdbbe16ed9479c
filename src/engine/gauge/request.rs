//! Points become OTLP requests here, once: what is frozen is sent verbatim for ever after.
//!
//! Rule: one request is at most [`MAX_REQUEST_BYTES`] before compression; requests are cut between points, in order, so
//! the points of one series stay in order too. A point is frozen as it comes; a request says each metric once, in the order
//! in which they were first named.
//!
//! Edges:
//! - a point that is larger than a request may be has a request of its own;
//! - two definitions of one name are two metrics: none lends its unit or its kind to the other;
//! - a series' resource names the application and the pipeline, never an instance: whoever takes the partition over
//!   continues the same series;
//! - `service.instance.id` is a UUIDv5 of application and pipeline in the namespace of the semantic conventions;
//! - the overflow series has the label `otel.metric.overflow` and its partition instead of the metric's own labels.

use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use uuid::Uuid;

use super::definitions::Definition;
use super::otlp::{self, Attributes, Data, Shape, bytes, field_len, length};
use super::series::Point;
use crate::engine::alert::Sampler;
use crate::engine::series::values;

/// gRPC servers take 4 MiB by default; what is above the points needs some of it.
pub const MAX_REQUEST_BYTES: usize = 3_500 * 1024;

/// The namespace that the semantic conventions give for `service.instance.id`.
const INSTANCE_NAMESPACE: Uuid = Uuid::from_u128(0x4d63009a_8d0f_11ee_aad7_4c796ed8e320);

/// The key of the series that takes what is beyond a metric's `max_series`; no encoded label values look like it.
pub const OVERFLOW_KEY: &[u8] = &[0xff; 6];

/// The most that the length of a message in a request takes.
const LENGTH_BYTES: usize = 5;

/// Collects points and cuts them into requests.
pub struct Freezer<'a> {
    application: &'a str,
    /// The gauge partition: a label of overflow series.
    partition: u32,
    /// The scope of all points, encoded.
    scope: Vec<u8>,
    /// Of a request.
    most: usize,
    requests: Vec<Vec<u8>>,
    pipelines: Vec<Pipeline>,
    metrics: Vec<Metric>,
    /// Bytes of the request under way, or a few more.
    size: usize,
    /// Of the series at hand, and its newest point.
    attributes: Attributes,
    point: Vec<u8>,
    /// Who tells rules of what is frozen.
    sampler: Option<&'a mut Sampler>,
}

/// A metric that a freezer knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named(usize);

/// A pipeline, and whether the request under way has a point of it.
struct Pipeline {
    name: String,
    resource: Vec<u8>,
    is_used: bool,
}

/// A metric, and its points in the request under way.
struct Metric {
    definition: Definition,
    data: Data,
    pipeline: usize,
    /// Name, description and unit, encoded.
    head: Vec<u8>,
    points: Vec<u8>,
}

// === impl Freezer ===

impl<'a> Freezer<'a> {
    pub fn new(application: &'a str, partition: u32) -> Self {
        Self {
            application,
            partition,
            scope: scope().encode_to_vec(),
            most: MAX_REQUEST_BYTES,
            requests: Vec::new(),
            pipelines: Vec::new(),
            metrics: Vec::new(),
            size: 0,
            attributes: Attributes::default(),
            point: Vec::new(),
            sampler: None,
        }
    }

    /// Tells rules of the points of series that are added by their keys.
    pub fn told(self, sampler: Option<&'a mut Sampler>) -> Self {
        Self { sampler, ..self }
    }

    /// For who adds points by their attributes.
    pub fn sampler(&mut self) -> Option<&mut Sampler> {
        self.sampler.as_deref_mut()
    }

    /// Marks all points with an attribute of their scope: their names and labels stay what they are.
    pub fn marked(self, mark: Option<(&'static str, &'static str)>) -> Self {
        let marked = InstrumentationScope {
            attributes: mark.iter().map(|(key, value)| text(key, value)).collect(),
            ..scope()
        };
        Self {
            scope: marked.encode_to_vec(),
            ..self
        }
    }

    /// The metric of this definition. It is in no request before it has points.
    pub fn metric(&mut self, definition: Definition, shape: Shape) -> Named {
        let data = Data::of(&definition.kind, shape);
        let is_it = |metric: &Metric| metric.data == data && metric.definition == definition;
        // Most often it is the one before.
        if let Some(known) = self.metrics.iter().rposition(is_it) {
            return Named(known);
        }
        let pipeline = self.pipeline(&definition.pipeline);
        let mut head = Vec::new();
        for (field, text) in [(1, &definition.name), (2, &definition.help), (3, &definition.unit)] {
            if !text.is_empty() {
                bytes(&mut head, field, text.as_bytes());
            }
        }
        self.metrics.push(Metric {
            definition,
            data,
            pipeline,
            head,
            points: Vec::new(),
        });
        Named(self.metrics.len() - 1)
    }

    fn pipeline(&mut self, name: &str) -> usize {
        if let Some(known) = self.pipelines.iter().position(|pipeline| pipeline.name == name) {
            return known;
        }
        self.pipelines.push(Pipeline {
            name: name.to_owned(),
            resource: resource(self.application, name).encode_to_vec(),
            is_used: false,
        });
        self.pipelines.len() - 1
    }

    /// Adds the points of one series.
    pub fn add(&mut self, metric: Named, key: &[u8], points: &[Point]) {
        if points.is_empty() {
            return;
        }
        let mut attributes = std::mem::take(&mut self.attributes);
        self.label(&mut attributes, metric, key);
        for point in points {
            self.point(metric, &attributes, point);
        }
        if let Some(sampler) = self.sampler.as_deref_mut().filter(|_| key != OVERFLOW_KEY) {
            let Definition { name, labels, .. } = &self.metrics[metric.0].definition;
            let labels = labels.iter().map(String::as_str);
            for point in points {
                sampler.take(name, labels.clone(), key, point.time, point.value.as_ref());
            }
        }
        self.attributes = attributes;
    }

    /// Adds one point of the series with these attributes.
    pub fn point(&mut self, Named(index): Named, attributes: &Attributes, point: &Point) {
        let metric = &self.metrics[index];
        self.point.clear();
        otlp::write_point(&mut self.point, metric.data, &metric.definition.kind, attributes, point);
        let size = field_len(self.point.len());
        if self.size > 0 && self.size + size + self.around(index) > self.most {
            self.cut();
        }
        self.size += size + self.around(index);
        let metric = &mut self.metrics[index];
        bytes(&mut metric.points, 1, &self.point);
        self.pipelines[metric.pipeline].is_used = true;
    }

    /// Bytes around the points of a metric that the request does not have yet.
    fn around(&self, index: usize) -> usize {
        let (metric, message) = (&self.metrics[index], 1 + LENGTH_BYTES);
        if !metric.points.is_empty() {
            return 0;
        }
        let pipeline = &self.pipelines[metric.pipeline];
        let around = match pipeline.is_used {
            true => 0,
            // The resource's metrics, the resource, the scope's metrics, the scope.
            false => 4 * message + pipeline.resource.len() + self.scope.len(),
        };
        around + 2 * message + metric.head.len() + metric.data.tail().len()
    }

    /// All requests, in order.
    pub fn finish(mut self) -> Vec<Vec<u8>> {
        self.cut();
        self.requests
    }

    fn cut(&mut self) {
        if self.size == 0 {
            return;
        }
        let mut request = Vec::with_capacity(self.size);
        let scope = &self.scope;
        for (index, pipeline) in self.pipelines.iter_mut().enumerate() {
            if !std::mem::take(&mut pipeline.is_used) {
                continue;
            }
            let is_in = |metric: &&mut Metric| metric.pipeline == index && !metric.points.is_empty();
            let sizes = self.metrics.iter_mut().filter(is_in).map(|metric| metric.size());
            let of_scope = field_len(scope.len()) + sizes.map(field_len).sum::<usize>();
            length(
                &mut request,
                1,
                field_len(pipeline.resource.len()) + field_len(of_scope),
            );
            bytes(&mut request, 1, &pipeline.resource);
            length(&mut request, 2, of_scope);
            bytes(&mut request, 1, scope);
            for metric in self.metrics.iter_mut().filter(is_in) {
                metric.write(&mut request);
                metric.points = Vec::new();
            }
        }
        debug_assert!(request.len() <= self.size, "a request is never underestimated");
        self.requests.push(request);
        self.size = 0;
    }

    fn label(&self, attributes: &mut Attributes, Named(index): Named, key: &[u8]) {
        let metric = &self.metrics[index];
        attributes.clear(metric.data);
        if key == OVERFLOW_KEY {
            attributes.truth("otel.metric.overflow");
            attributes.text("partition", &self.partition.to_string());
            return;
        }
        let mut labels = metric.definition.labels.iter();
        for value in values(key) {
            match (labels.next(), value) {
                (Some(label), Some(value)) => attributes.text(label, value),
                (None, Some(_)) => {}
                // No key of ours.
                (_, None) => attributes.clear(metric.data),
            }
        }
    }
}

// === impl Metric ===

impl Metric {
    /// Bytes of its data with all points.
    fn data_size(&self) -> usize {
        self.points.len() + self.data.tail().len()
    }

    fn size(&self) -> usize {
        self.head.len() + field_len(self.data_size())
    }

    fn write(&self, request: &mut Vec<u8>) {
        length(request, 2, self.size());
        request.extend_from_slice(&self.head);
        length(request, self.data.field(), self.data_size());
        request.extend_from_slice(&self.points);
        request.extend_from_slice(self.data.tail());
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

#[cfg(test)]
mod tests;
