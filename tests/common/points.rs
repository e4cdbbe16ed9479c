//! What a receiver has of our series, and the promises that every one of them keeps.
//!
//! Rule: a series is a name, attributes and resource attributes. Its points are kept as they came; the value of a series
//! is its point with the highest time.
//!
//! Edges: identical points may come again, since requests are sent at least once.

use std::collections::BTreeMap;

use serde_json::Value as Json;

pub type Attributes = BTreeMap<String, String>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Id {
    pub name: String,
    pub attributes: Attributes,
    pub resource: Attributes,
    /// Of the instrumentation scope.
    pub scope: Attributes,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Nanoseconds since the epoch.
    pub start: u64,
    pub time: u64,
    /// `None`: the series ends here.
    pub value: Option<Value>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Integer(i64),
    Decimal(f64),
    Histogram {
        count: u64,
        sum: f64,
        bounds: Vec<f64>,
        buckets: Vec<u64>,
    },
    Exponential {
        count: u64,
        sum: f64,
        scale: i64,
        zeros: u64,
        offset: i64,
        buckets: Vec<u64>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Gauge,
    /// A cumulative, monotonic sum or a cumulative histogram.
    Cumulative,
}

#[derive(Clone, Debug)]
pub struct Series {
    pub shape: Shape,
    pub unit: String,
    /// In order of arrival.
    pub points: Vec<Point>,
}

#[derive(Clone, Debug, Default)]
pub struct Points {
    pub series: BTreeMap<Id, Series>,
    /// What processes say of themselves: begins anew with each of them.
    pub processes: BTreeMap<Id, Series>,
    pub requests: usize,
}

// === impl Points ===

impl Points {
    /// Reads whole lines of OTLP JSON.
    pub fn read(&mut self, lines: &str) {
        for line in lines.lines() {
            let request =
                serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in the collector's file: {line}"));
            self.take(&request);
        }
    }

    fn take(&mut self, request: &Json) {
        self.requests += 1;
        for of_resource in list(&request["resourceMetrics"]) {
            let resource = attributes(&of_resource["resource"]["attributes"]);
            for scope in list(&of_resource["scopeMetrics"]) {
                let scope_attributes = attributes(&scope["scope"]["attributes"]);
                let series = match text(&scope["scope"]["name"]).as_str() {
                    "streamgauge.process" => &mut self.processes,
                    _ => &mut self.series,
                };
                for metric in list(&scope["metrics"]) {
                    take_metric(series, &resource, &scope_attributes, metric);
                }
            }
        }
    }

    /// All series of one metric with their last values, by the attributes.
    pub fn last(&self, name: &str) -> BTreeMap<Attributes, Value> {
        let of_name = self.series.iter().filter(|(id, _)| id.name == name);
        of_name
            .filter_map(|(id, series)| Some((id.attributes.clone(), series.last()?)))
            .collect()
    }

    /// The last values of a counter, as whole numbers.
    pub fn counts(&self, name: &str) -> BTreeMap<Attributes, i64> {
        self.last(name)
            .into_iter()
            .map(|(attributes, value)| (attributes, value.integer()))
            .collect()
    }

    /// The last values of all series of a counter together.
    pub fn sum(&self, name: &str) -> i64 {
        self.counts(name).values().sum()
    }

    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a Id, &'a Series)> {
        self.series.iter().filter(move |(id, _)| id.name == name)
    }

    /// Everything that is wrong with any series, whatever the input was; empty is right.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (id, series) in &self.series {
            let name = format!("{}{:?}", id.name, id.attributes);
            faults.extend(series.faults().into_iter().map(|fault| format!("{name}: {fault}")));
        }
        let mut resources: BTreeMap<(&str, &Attributes), &Attributes> = BTreeMap::new();
        for id in self.series.keys() {
            let first = resources.entry((&id.name, &id.attributes)).or_insert(&id.resource);
            if *first != &id.resource {
                faults.push(format!("{}{:?} comes from two resources", id.name, id.attributes));
            }
        }
        faults
    }
}

// === impl Series ===

impl Series {
    /// The value at the highest time; `None` where the series has ended.
    pub fn last(&self) -> Option<Value> {
        self.points.iter().max_by_key(|point| point.time)?.value.clone()
    }

    pub fn starts(&self) -> std::collections::BTreeSet<u64> {
        self.points.iter().map(|point| point.start).collect()
    }

    fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let mut by_time: BTreeMap<u64, &Point> = BTreeMap::new();
        for point in &self.points {
            let first = by_time.entry(point.time).or_insert(point);
            if *first != point {
                faults.push(format!("two points at {}: {:?} and {:?}", point.time, first, point));
            }
            if point.start > point.time {
                faults.push(format!("a point before its start: {point:?}"));
            }
        }
        if self.shape == Shape::Gauge {
            return faults;
        }
        if self.starts().len() != 1 {
            faults.push(format!("several starts: {:?}", self.starts()));
        }
        let points: Vec<&Point> = by_time.into_values().collect();
        for pair in points.windows(2) {
            if let (Some(before), Some(after)) = (&pair[0].value, &pair[1].value)
                && !after.contains(before)
            {
                faults.push(format!("it goes down: {:?} and then {:?}", pair[0], pair[1]));
            }
        }
        faults
    }
}

// === impl Value ===

impl Value {
    pub fn integer(&self) -> i64 {
        match self {
            Value::Integer(integer) => *integer,
            Value::Decimal(decimal) if decimal.fract() == 0.0 => *decimal as i64,
            other => panic!("{other:?} is no whole number"),
        }
    }

    /// Of a histogram the count.
    pub fn number(&self) -> f64 {
        match self {
            Value::Integer(integer) => *integer as f64,
            Value::Decimal(decimal) => *decimal,
            Value::Histogram { count, .. } | Value::Exponential { count, .. } => *count as f64,
        }
    }

    /// A quantile of an exponential histogram: the value that is at most half a bucket away from any in its bucket.
    pub fn quantile(&self, percent: usize) -> f64 {
        let Value::Exponential {
            count,
            scale,
            zeros,
            offset,
            buckets,
            ..
        } = self
        else {
            panic!("{self:?} is not exponential");
        };
        let rank = (count * percent as u64).div_ceil(100).max(1);
        let mut below = *zeros;
        if rank <= below {
            return 0.0;
        }
        for (index, of_bucket) in (*offset..).zip(buckets) {
            below += of_bucket;
            if rank <= below {
                let bound = |index: i64| (index as f64 * 2_f64.powf(-(*scale as f64))).exp2();
                let (low, high) = (bound(index), bound(index + 1));
                return 2.0 * low * high / (low + high);
            }
        }
        panic!("{self:?} has fewer values than it says")
    }

    /// Nothing in it is less than in an earlier one.
    fn contains(&self, earlier: &Value) -> bool {
        match (self, earlier) {
            (Value::Integer(now), Value::Integer(before)) => now >= before,
            (Value::Decimal(now), Value::Decimal(before)) => now >= before,
            // A zero point has no buckets yet.
            (Value::Histogram { buckets: now, .. }, Value::Histogram { count: 0, .. }) => !now.is_empty(),
            (
                Value::Histogram {
                    count,
                    sum,
                    bounds,
                    buckets,
                },
                Value::Histogram {
                    count: less,
                    sum: smaller,
                    bounds: same,
                    buckets: fewer,
                },
            ) => {
                count >= less
                    && sum >= smaller
                    && bounds == same
                    && buckets.iter().zip(fewer).all(|(now, before)| now >= before)
            }
            (
                Value::Exponential { count, sum, scale, .. },
                Value::Exponential {
                    count: less,
                    sum: smaller,
                    scale: finer,
                    ..
                },
            ) => count >= less && sum >= smaller && (*less == 0 || scale <= finer),
            _ => false,
        }
    }
}

fn take_metric(all: &mut BTreeMap<Id, Series>, resource: &Attributes, scope: &Attributes, metric: &Json) {
    let name = text(&metric["name"]);
    let kinds = ["sum", "gauge", "histogram", "exponentialHistogram"];
    let Some(kind) = kinds.into_iter().find(|kind| metric[kind].is_object()) else {
        panic!("{name} has points of a kind that we never send: {metric}");
    };
    let data = &metric[kind];
    let shape = if kind == "gauge" {
        Shape::Gauge
    } else {
        Shape::Cumulative
    };
    if shape == Shape::Cumulative {
        assert_eq!(data["aggregationTemporality"], 2, "{name} is cumulative");
    }
    if kind == "sum" {
        assert_eq!(data["isMonotonic"], true, "{name} is monotonic");
    }
    for point in list(&data["dataPoints"]) {
        let id = Id {
            name: name.clone(),
            attributes: attributes(&point["attributes"]),
            resource: resource.clone(),
            scope: scope.clone(),
        };
        let series = all.entry(id).or_insert_with(|| Series {
            shape,
            unit: text(&metric["unit"]),
            points: Vec::new(),
        });
        assert_eq!(series.shape, shape, "{name} keeps its shape");
        series.points.push(Point {
            start: number(&point["startTimeUnixNano"]),
            time: number(&point["timeUnixNano"]),
            value: (number(&point["flags"]) & 1 == 0).then(|| value(kind, point)),
        });
    }
}

fn list(json: &Json) -> &[Json] {
    json.as_array().map_or(&[], Vec::as_slice)
}

fn text(json: &Json) -> String {
    json.as_str().unwrap_or_default().to_owned()
}

/// 64-bit integers are text in OTLP's JSON; zeros are left out.
fn number(json: &Json) -> u64 {
    json.as_u64().or_else(|| json.as_str()?.parse().ok()).unwrap_or(0)
}

fn signed(json: &Json) -> i64 {
    json.as_i64().or_else(|| json.as_str()?.parse().ok()).unwrap_or(0)
}

fn numbers(json: &Json) -> Vec<u64> {
    list(json).iter().map(number).collect()
}

fn attributes(json: &Json) -> Attributes {
    let pair = |pair: &Json| {
        let value = &pair["value"];
        let value = match value["stringValue"].as_str() {
            Some(text) => text.to_owned(),
            None => value.to_string(),
        };
        (text(&pair["key"]), value)
    };
    let pairs: Vec<(String, String)> = list(json).iter().map(pair).collect();
    let attributes: Attributes = pairs.iter().cloned().collect();
    assert_eq!(attributes.len(), pairs.len(), "an attribute comes twice: {pairs:?}");
    attributes
}

fn value(kind: &str, point: &Json) -> Value {
    let sum = point["sum"].as_f64().unwrap_or(0.0);
    match kind {
        "histogram" => Value::Histogram {
            count: number(&point["count"]),
            sum,
            bounds: list(&point["explicitBounds"]).iter().filter_map(Json::as_f64).collect(),
            buckets: numbers(&point["bucketCounts"]),
        },
        "exponentialHistogram" => Value::Exponential {
            count: number(&point["count"]),
            sum,
            scale: signed(&point["scale"]),
            zeros: number(&point["zeroCount"]),
            offset: signed(&point["positive"]["offset"]),
            buckets: numbers(&point["positive"]["bucketCounts"]),
        },
        _ => match point["asDouble"].as_f64() {
            Some(decimal) => Value::Decimal(decimal),
            None => Value::Integer(signed(&point["asInt"])),
        },
    }
}
