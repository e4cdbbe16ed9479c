//! Families as `io.prometheus.client.MetricFamily`, each behind its length: the one format with native histograms.
//!
//! Rule: field numbers are those of client_model's `metrics.proto`. A histogram that is exponential in OTLP is a native one
//! and has its classic buckets beside it, so that the reader chooses.
//!
//! Edges:
//! - Prometheus' bucket `i` ends where OTLP's begins: `i` is OTLP's index plus one;
//! - a native histogram without values in buckets has an empty span, which is what makes it native;
//! - the scale of our own sketches lies within what Prometheus takes; another one has classic buckets alone.

use prost::Message;

use super::family::{self, Families, Kind, Series, Value};

/// Scales that Prometheus knows.
const SCALES: std::ops::RangeInclusive<i32> = -4..=8;

#[derive(Clone, PartialEq, Message)]
pub struct MetricFamily {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub help: Option<String>,
    /// 0 counter, 1 gauge, 4 histogram.
    #[prost(int32, optional, tag = "3")]
    pub kind: Option<i32>,
    #[prost(message, repeated, tag = "4")]
    pub metric: Vec<Metric>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Metric {
    #[prost(message, repeated, tag = "1")]
    pub label: Vec<LabelPair>,
    #[prost(message, optional, tag = "2")]
    pub gauge: Option<Gauge>,
    #[prost(message, optional, tag = "3")]
    pub counter: Option<Counter>,
    #[prost(message, optional, tag = "7")]
    pub histogram: Option<Histogram>,
}

#[derive(Clone, PartialEq, Message)]
pub struct LabelPair {
    #[prost(string, optional, tag = "1")]
    pub name: Option<String>,
    #[prost(string, optional, tag = "2")]
    pub value: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Gauge {
    #[prost(double, optional, tag = "1")]
    pub value: Option<f64>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Counter {
    #[prost(double, optional, tag = "1")]
    pub value: Option<f64>,
    #[prost(message, optional, tag = "3")]
    pub created: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Histogram {
    #[prost(uint64, optional, tag = "1")]
    pub count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    pub sum: Option<f64>,
    #[prost(message, repeated, tag = "3")]
    pub bucket: Vec<Bucket>,
    #[prost(sint32, optional, tag = "5")]
    pub schema: Option<i32>,
    #[prost(double, optional, tag = "6")]
    pub zero_threshold: Option<f64>,
    #[prost(uint64, optional, tag = "7")]
    pub zero_count: Option<u64>,
    #[prost(message, repeated, tag = "12")]
    pub positive_span: Vec<BucketSpan>,
    #[prost(sint64, repeated, tag = "13")]
    pub positive_delta: Vec<i64>,
    #[prost(message, optional, tag = "15")]
    pub created: Option<Timestamp>,
    #[prost(message, repeated, tag = "16")]
    pub exemplars: Vec<Exemplar>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Bucket {
    #[prost(uint64, optional, tag = "1")]
    pub cumulative_count: Option<u64>,
    #[prost(double, optional, tag = "2")]
    pub upper_bound: Option<f64>,
    #[prost(message, optional, tag = "3")]
    pub exemplar: Option<Exemplar>,
}

#[derive(Clone, PartialEq, Message)]
pub struct BucketSpan {
    #[prost(sint32, optional, tag = "1")]
    pub offset: Option<i32>,
    #[prost(uint32, optional, tag = "2")]
    pub length: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Exemplar {
    #[prost(message, repeated, tag = "1")]
    pub label: Vec<LabelPair>,
    #[prost(double, optional, tag = "2")]
    pub value: Option<f64>,
    #[prost(message, optional, tag = "3")]
    pub timestamp: Option<Timestamp>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Timestamp {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

pub fn write(families: &Families) -> Vec<u8> {
    let mut to = Vec::new();
    for (name, family) in &families.0 {
        let written = MetricFamily {
            name: Some(name.clone()),
            help: Some(family.help.clone()),
            kind: Some(match family.kind {
                Kind::Counter => 0,
                Kind::Gauge => 1,
                Kind::Histogram => 4,
            }),
            metric: family.series.iter().map(|series| metric(family.kind, series)).collect(),
        };
        // A vector grows as it must.
        let _ = written.encode_length_delimited(&mut to);
    }
    to
}

fn metric(kind: Kind, series: &Series) -> Metric {
    let mut metric = Metric {
        label: pairs(&series.labels),
        ..Metric::default()
    };
    let created = (series.start > 0).then(|| timestamp(series.start));
    match &series.value {
        Value::Number(value) if kind == Kind::Counter => {
            metric.counter = Some(Counter {
                value: Some(*value),
                created,
            });
        }
        Value::Number(value) => metric.gauge = Some(Gauge { value: Some(*value) }),
        Value::Histogram(histogram) => metric.histogram = Some(write_histogram(histogram, created)),
    }
    metric
}

fn write_histogram(of: &family::Histogram, created: Option<Timestamp>) -> Histogram {
    let exemplar = of.exemplar.as_ref().map(|exemplar| Exemplar {
        label: pairs(&exemplar.labels),
        value: Some(exemplar.value),
        timestamp: Some(timestamp(exemplar.time)),
    });
    let mut of_bucket = exemplar.clone();
    let mut bucket = Vec::with_capacity(of.buckets.len() + 1);
    for (bound, below) in of.buckets.iter().copied().chain([(f64::INFINITY, of.count)]) {
        bucket.push(Bucket {
            cumulative_count: Some(below),
            upper_bound: Some(bound),
            exemplar: of_bucket.take_if(|exemplar| exemplar.value.is_some_and(|value| value <= bound)),
        });
    }
    let mut histogram = Histogram {
        count: Some(of.count),
        sum: Some(of.sum),
        bucket,
        created,
        ..Histogram::default()
    };
    if let Some(native) = of.native.as_ref().filter(|native| SCALES.contains(&native.scale)) {
        histogram.schema = Some(native.scale);
        histogram.zero_threshold = Some(0.0);
        histogram.zero_count = Some(native.zero_count);
        histogram.positive_span = vec![BucketSpan {
            offset: Some(if native.counts.is_empty() { 0 } else { native.offset + 1 }),
            length: Some(u32::try_from(native.counts.len()).unwrap_or(0)),
        }];
        let mut before = 0;
        let deltas = native.counts.iter().map(|count| {
            let count = i64::try_from(*count).unwrap_or(i64::MAX);
            count - std::mem::replace(&mut before, count)
        });
        histogram.positive_delta = deltas.collect();
        histogram.exemplars = exemplar.into_iter().collect();
    }
    histogram
}

fn pairs(of: &[(String, String)]) -> Vec<LabelPair> {
    let pair = |(name, value): &(String, String)| LabelPair {
        name: Some(name.clone()),
        value: Some(value.clone()),
    };
    of.iter().map(pair).collect()
}

fn timestamp(nanos: u64) -> Timestamp {
    Timestamp {
        seconds: i64::try_from(nanos / 1_000_000_000).unwrap_or(i64::MAX),
        nanos: (nanos % 1_000_000_000) as i32,
    }
}
