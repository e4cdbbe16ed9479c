use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::engine::gauge::{Definition, Freezer, Point, Shape};
use crate::engine::plan::Kind as Merged;
use crate::engine::series::SeriesKey;
use crate::engine::sketch::{Exemplar as Shown, Partial};
use crate::engine::time::EventTime;
use crate::http::metrics::{proto, text};

const SECOND: i64 = 1_000_000;

/// A metric with one label, and its series: label value and newest value.
fn requests(
    pipeline: &str,
    name: &str,
    kind: &Merged,
    shape: Shape,
    series: &[(&str, Partial)],
) -> Vec<ResourceMetrics> {
    let definition = Definition {
        name: name.to_owned(),
        pipeline: pipeline.to_owned(),
        help: "What it is,\nwith \"quotes\"".to_owned(),
        unit: "s".to_owned(),
        kind: kind.clone(),
        labels: vec!["channel.type".to_owned()],
    };
    let mut freezer = Freezer::new("shop", 3);
    let named = freezer.metric(definition, shape);
    for (label, value) in series {
        let point = Point {
            start: EventTime(10 * SECOND),
            time: EventTime(20 * SECOND),
            value: Some(value.clone()),
        };
        freezer.add(named, &SeriesKey::of([*label]).0, &[point]);
    }
    let requests = freezer.finish().into_iter();
    let read = requests.map(|bytes| {
        opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest::decode(&*bytes).expect("ours")
    });
    read.flat_map(|request| request.resource_metrics).collect()
}

fn histogram(kind: &Merged, millionths: &[i64]) -> Partial {
    let mut partial = Partial::empty(kind);
    for value in millionths {
        partial.observe(*value, kind);
    }
    partial
}

fn lines(families: &Families, write: impl Fn(&Families) -> Vec<u8>) -> String {
    String::from_utf8(write(families)).expect("text")
}

#[test]
fn counters_and_gauges_are_lines_with_legal_names_and_escaped_values() {
    let mut all = requests(
        "shop",
        "orders_total",
        &Merged::Count,
        Shape::Cumulative,
        &[
            ("b\"\\\n", Partial::Count(2)),
            ("a", Partial::Count(7)),
            ("", Partial::Count(1)),
        ],
    );
    all.extend(requests(
        "shop",
        "9-lives",
        &Merged::Sum,
        Shape::Gauge,
        &[("a", Partial::Sum(1_500_000))],
    ));
    let families = Families::of(&all);
    assert_eq!(
        lines(&families, text::classic),
        "# HELP _9_lives What it is,\\nwith \"quotes\"\n\
         # TYPE _9_lives gauge\n\
         _9_lives{channel_type=\"a\"} 1.5\n\
         # HELP orders_total What it is,\\nwith \"quotes\"\n\
         # TYPE orders_total counter\n\
         orders_total 1\n\
         orders_total{channel_type=\"a\"} 7\n\
         orders_total{channel_type=\"b\\\"\\\\\\n\"} 2\n"
    );
    let open = lines(&families, text::open_metrics);
    assert!(open.contains("# TYPE orders counter\n"), "{open}");
    assert!(
        open.contains("orders_total{channel_type=\"a\"} 7\n") && open.ends_with("# EOF\n"),
        "{open}"
    );
    assert!(open.contains("with \\\"quotes\\\""), "{open}");
}

#[test]
fn a_histogram_has_its_buckets_and_its_exemplar_stands_with_the_bucket_of_its_value() {
    let kind = Merged::Explicit {
        bounds: vec![SECOND / 2, SECOND],
    };
    let mut value = histogram(&kind, &[100_000, 700_000, 5 * SECOND]);
    value.exemplify(Shown {
        value: 700_000,
        trace: u128::from_be_bytes([7; 16]),
        span: u64::from_be_bytes([9; 8]),
        time: EventTime(15 * SECOND),
    });
    let all = requests("shop", "wait_seconds", &kind, Shape::Cumulative, &[("a", value)]);
    let families = Families::of(&all);
    assert_eq!(
        lines(&families, text::open_metrics),
        "# HELP wait_seconds What it is,\\nwith \\\"quotes\\\"\n\
         # TYPE wait_seconds histogram\n\
         # UNIT wait_seconds seconds\n\
         wait_seconds_bucket{channel_type=\"a\",le=\"0.5\"} 1\n\
         wait_seconds_bucket{channel_type=\"a\",le=\"1.0\"} 2 # \
         {trace_id=\"07070707070707070707070707070707\",span_id=\"0909090909090909\"} 0.7 15.000\n\
         wait_seconds_bucket{channel_type=\"a\",le=\"+Inf\"} 3\n\
         wait_seconds_sum{channel_type=\"a\"} 5.8\n\
         wait_seconds_count{channel_type=\"a\"} 3\n# EOF\n"
    );
    assert!(lines(&families, text::classic).contains("wait_seconds_bucket{channel_type=\"a\",le=\"1\"} 2\n"));
}

#[test]
fn metrics_of_one_name_in_two_pipelines_are_told_apart_and_of_one_series_the_later_point_counts() {
    let of = |pipeline, count| {
        requests(
            pipeline,
            "orders_total",
            &Merged::Count,
            Shape::Cumulative,
            &[("a", Partial::Count(count))],
        )
    };
    let mut twice = of("shop", 1);
    let later = of("shop", 2);
    twice.extend(later);
    if let Some(metric::Data::Sum(sum)) = &mut twice[0].scope_metrics[0].metrics[0].data {
        sum.data_points[0].time_unix_nano += 1;
    }
    let families = Families::of(&twice);
    assert!(lines(&families, text::classic).ends_with("orders_total{channel_type=\"a\"} 1\n"));
    twice.extend(of("other", 5));
    let text = lines(&Families::of(&twice), text::classic);
    assert!(
        text.ends_with(
            "orders_total{channel_type=\"a\",streamgauge_pipeline=\"other\"} 5\n\
             orders_total{channel_type=\"a\",streamgauge_pipeline=\"shop\"} 1\n"
        ),
        "{text}"
    );
}

proptest! {
    #[test]
    fn classic_buckets_of_exponential_histograms_are_exact_and_always_the_same_but_for_a_coarse_scale(
        values in proptest::collection::vec(prop_oneof![Just(0), 1..5_000_i64, 1..5_000_000_i64, 1..5_000_000_000_000_i64], 1..50),
        most in 8..200_u16,
    ) {
        let kind = Merged::Exponential { max_buckets: most };
        let all = requests("shop", "wait_seconds", &kind, Shape::Cumulative, &[("a", histogram(&kind, &values))]);
        let families = Families::of(&all);
        let Value::Histogram(histogram) = &families.0["wait_seconds"].series[0].value else { panic!("a histogram") };
        let native = histogram.native.as_ref().expect("it is exponential");
        let expected = if native.scale >= 0 { (HIGHEST - LOWEST + 1) as usize } else { 1 };
        prop_assert!(histogram.buckets.len() >= expected, "{} buckets at scale {}", histogram.buckets.len(), native.scale);
        for (bound, below) in &histogram.buckets {
            let exact = values.iter().filter(|value| (**value as f64) <= bound * 1e6).count();
            prop_assert_eq!(*below, exact as u64, "at {}", bound);
        }
        prop_assert_eq!(histogram.count, values.len() as u64);
    }

    #[test]
    fn native_histograms_keep_every_bucket(
        values in proptest::collection::vec(1..5_000_000_000_i64, 0..50),
    ) {
        let kind = Merged::Exponential { max_buckets: 160 };
        let all = requests("shop", "wait_seconds", &kind, Shape::Cumulative, &[("a", histogram(&kind, &values))]);
        let written = proto::write(&Families::of(&all));
        let family = proto::MetricFamily::decode_length_delimited(&*written).expect("one family");
        let histogram = family.metric[0].histogram.as_ref().expect("a histogram");
        let span = &histogram.positive_span[0];
        let schema = histogram.schema.expect("it is native");
        let (mut index, mut count, mut total) = (span.offset.expect("an offset"), 0, 0);
        for delta in &histogram.positive_delta {
            count += delta;
            total += count;
            // Prometheus: the bucket's upper bound is base^index.
            let upper = (f64::from(index) * (-f64::from(schema)).exp2()).exp2() * 1e6;
            let lower = (f64::from(index - 1) * (-f64::from(schema)).exp2()).exp2() * 1e6;
            let close = |value: f64| value * 1e-9;
            let certain = values.iter().filter(|value| (**value as f64) > lower + close(lower) && (**value as f64) <= upper - close(upper)).count();
            let possible = values.iter().filter(|value| (**value as f64) >= lower - close(lower) && (**value as f64) <= upper + close(upper)).count();
            prop_assert!((certain as i64..=possible as i64).contains(&count), "{} in ({}, {}]", count, lower, upper);
            index += 1;
        }
        prop_assert_eq!(total as usize, values.len());
        prop_assert_eq!(histogram.positive_delta.len() as u32, span.length.expect("a length"));
    }
}
