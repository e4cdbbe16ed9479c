//! Data points as OTLP's protobuf, written as they come: no message is built first, and nothing is allocated for a point.
//!
//! Rule: the bytes are those that prost writes of the same message: fields in the order of their numbers, without those that
//! are zero. So what a release freezes does not depend on who wrote it.
//!
//! Edges:
//! - the field of a point's attributes has another number in each kind of point; [`Attributes`] are of one kind;
//! - a value that the metric's kind cannot have is left out;
//! - the start time of a gauge means nothing, and is left out.
//!
//! Field numbers: opentelemetry-proto 1, `metrics.proto` and `common.proto`.

use super::series::Point;
use crate::engine::plan::Kind;
use crate::engine::sketch::{Exemplar, Histogram, Partial};

/// OTLP's flag for a point that says "no more".
const NO_RECORDED_VALUE: u8 = 1;

/// OTLP's cumulative temporality.
const CUMULATIVE: u8 = 2;

const MICRO: f64 = 1e6;

/// How a metric shows itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Cumulative,
    /// A sample at wall time that can go up and down.
    Gauge,
}

/// What OTLP calls the data of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data {
    Gauge,
    Sum,
    Histogram,
    ExponentialHistogram,
}

/// The attributes of a point, encoded. Meant to be used again for the next series.
#[derive(Debug, Default)]
pub struct Attributes {
    /// The field of points that holds them; zero until it is known of which points.
    field: u8,
    bytes: Vec<u8>,
}

// === impl Data ===

impl Data {
    pub fn of(kind: &Kind, shape: Shape) -> Self {
        match (kind, shape) {
            (Kind::Count | Kind::Sum, Shape::Gauge) | (Kind::Level(_), _) => Self::Gauge,
            (Kind::Count | Kind::Sum, Shape::Cumulative) => Self::Sum,
            (Kind::Explicit { .. }, _) => Self::Histogram,
            (Kind::Exponential { .. }, _) => Self::ExponentialHistogram,
        }
    }

    /// Its field in a metric.
    pub const fn field(self) -> u8 {
        match self {
            Self::Gauge => 5,
            Self::Sum => 7,
            Self::Histogram => 9,
            Self::ExponentialHistogram => 10,
        }
    }

    const fn attributes(self) -> u8 {
        match self {
            Self::Gauge | Self::Sum => 7,
            Self::Histogram => 9,
            Self::ExponentialHistogram => 1,
        }
    }

    /// What follows the points: they are cumulative, and sums never fall.
    pub const fn tail(self) -> &'static [u8] {
        match self {
            Self::Gauge => &[],
            Self::Sum => &[VARINT | 2 << 3, CUMULATIVE, VARINT | 3 << 3, 1],
            Self::Histogram | Self::ExponentialHistogram => &[VARINT | 2 << 3, CUMULATIVE],
        }
    }
}

// === impl Attributes ===

impl Attributes {
    /// None yet, for points of this kind.
    pub fn clear(&mut self, data: Data) {
        self.field = data.attributes();
        self.bytes.clear();
    }

    pub fn text(&mut self, key: &str, value: &str) {
        let length = field_len(value.len());
        self.pair(key, length);
        bytes(&mut self.bytes, 1, value.as_bytes());
    }

    pub fn truth(&mut self, key: &str) {
        self.pair(key, 2);
        self.bytes.extend([VARINT | 2 << 3, 1]);
    }

    /// Begins a pair whose value, as an `AnyValue`, takes so many bytes.
    fn pair(&mut self, key: &str, value: usize) {
        let to = &mut self.bytes;
        let of_key = if key.is_empty() { 0 } else { field_len(key.len()) };
        length(to, self.field, of_key + field_len(value));
        if !key.is_empty() {
            bytes(to, 1, key.as_bytes());
        }
        length(to, 2, value);
    }
}

// === points ===

/// Writes the fields of a data point. `attributes` are of this kind of data, as is `kind`.
pub fn write_point(to: &mut Vec<u8>, data: Data, kind: &Kind, attributes: &Attributes, point: &Point) {
    debug_assert_eq!(
        attributes.field,
        data.attributes(),
        "attributes of another kind of point"
    );
    match data {
        Data::Gauge | Data::Sum => number(to, data, attributes, point),
        Data::Histogram => explicit(to, kind, attributes, point),
        Data::ExponentialHistogram => exponential(to, attributes, point),
    }
}

fn number(to: &mut Vec<u8>, data: Data, attributes: &Attributes, point: &Point) {
    if data == Data::Sum {
        fixed(to, 2, point.start.unix_nanos());
    }
    fixed(to, 3, point.time.unix_nanos());
    // Zeros are values here.
    match &point.value {
        Some(Partial::Count(count)) => {
            to.push(FIXED | 6 << 3);
            to.extend(i64::try_from(*count).unwrap_or(i64::MAX).to_le_bytes());
        }
        Some(Partial::Sum(sum)) => double(to, 4, *sum as f64 / MICRO),
        Some(Partial::Histogram(_)) | None => {}
    }
    to.extend_from_slice(&attributes.bytes);
    flags(to, 8, point);
}

fn explicit(to: &mut Vec<u8>, kind: &Kind, attributes: &Attributes, point: &Point) {
    fixed(to, 2, point.start.unix_nanos());
    fixed(to, 3, point.time.unix_nanos());
    if let (Some(Partial::Histogram(histogram)), Kind::Explicit { bounds }) = (&point.value, kind) {
        fixed(to, 4, histogram.count());
        double(to, 5, histogram.sum() as f64 / MICRO);
        let counts = histogram.buckets().iter().map(|count| count.to_le_bytes());
        packed(to, 6, counts);
        packed(to, 7, bounds.iter().map(|bound| (*bound as f64 / MICRO).to_le_bytes()));
        exemplar(to, 8, histogram);
    }
    to.extend_from_slice(&attributes.bytes);
    flags(to, 10, point);
}

fn exponential(to: &mut Vec<u8>, attributes: &Attributes, point: &Point) {
    to.extend_from_slice(&attributes.bytes);
    fixed(to, 2, point.start.unix_nanos());
    fixed(to, 3, point.time.unix_nanos());
    if let Some(Partial::Histogram(histogram)) = &point.value {
        fixed(to, 4, histogram.count());
        double(to, 5, histogram.sum() as f64 / MICRO);
        signed(to, 6, histogram.scale().unwrap_or(0));
        fixed(to, 7, histogram.zero_count());
        positive(to, 8, histogram);
    }
    flags(to, 10, point);
    if let Some(Partial::Histogram(histogram)) = &point.value {
        exemplar(to, 11, histogram);
    }
}

/// The buckets of an exponential histogram.
fn positive(to: &mut Vec<u8>, field: u8, histogram: &Histogram) {
    let counts = histogram.buckets();
    let packed = counts.iter().map(|count| varint_len(*count)).sum();
    let offset = histogram.offset();
    let of_offset = if offset == 0 { 0 } else { 1 + varint_len(zigzag(offset)) };
    let of_counts = if counts.is_empty() { 0 } else { field_len(packed) };
    length(to, field, of_offset + of_counts);
    signed(to, 1, offset);
    if !counts.is_empty() {
        length(to, 2, packed);
        for count in counts {
            varint(to, *count);
        }
    }
}

fn exemplar(to: &mut Vec<u8>, field: u8, histogram: &Histogram) {
    let Some(Exemplar {
        value,
        time,
        trace,
        span,
    }) = histogram.exemplar()
    else {
        return;
    };
    let of_time = if time.unix_nanos() == 0 { 0 } else { 9 };
    length(to, field, of_time + 9 + field_len(8) + field_len(16));
    fixed(to, 2, time.unix_nanos());
    double(to, 3, value as f64 / MICRO);
    bytes(to, 4, &span.to_be_bytes());
    bytes(to, 5, &trace.to_be_bytes());
}

fn flags(to: &mut Vec<u8>, field: u8, point: &Point) {
    if point.value.is_none() {
        to.extend([VARINT | field << 3, NO_RECORDED_VALUE]);
    }
}

// === protobuf ===

// Wire types. Fields from 1 to 15 share a byte with them.
const VARINT: u8 = 0;
const FIXED: u8 = 1;
const LENGTH: u8 = 2;

pub const fn varint_len(value: u64) -> usize {
    // Seven bits a byte, one byte at least.
    ((u64::BITS - (value | 1).leading_zeros()) as usize).div_ceil(7)
}

/// Bytes of a field that holds so many.
pub const fn field_len(length: usize) -> usize {
    1 + varint_len(length as u64) + length
}

fn varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

/// Begins a field of so many bytes.
pub fn length(to: &mut Vec<u8>, field: u8, length: usize) {
    to.push(LENGTH | field << 3);
    varint(to, length as u64);
}

pub fn bytes(to: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    length(to, field, bytes.len());
    to.extend_from_slice(bytes);
}

/// Left out where it is zero.
fn fixed(to: &mut Vec<u8>, field: u8, value: u64) {
    if value != 0 {
        to.push(FIXED | field << 3);
        to.extend(value.to_le_bytes());
    }
}

/// Also zero: these fields say that there is a value.
fn double(to: &mut Vec<u8>, field: u8, value: f64) {
    to.push(FIXED | field << 3);
    to.extend(value.to_le_bytes());
}

fn packed(to: &mut Vec<u8>, field: u8, values: impl ExactSizeIterator<Item = [u8; 8]>) {
    if values.len() > 0 {
        length(to, field, values.len() * 8);
        values.for_each(|value| to.extend(value));
    }
}

const fn zigzag(value: i32) -> u64 {
    // As protobuf has it: the sign becomes the lowest bit.
    ((value << 1) ^ (value >> 31)) as u32 as u64
}

/// Left out where it is zero.
fn signed(to: &mut Vec<u8>, field: u8, value: i32) {
    if value != 0 {
        to.push(VARINT | field << 3);
        varint(to, zigzag(value));
    }
}
