//! Families as text: Prometheus' format 0.0.4, and OpenMetrics 1.0.0.
//!
//! Rule: both say the same numbers. OpenMetrics names a counter's family without `_total`, gives units, bounds as
//! decimals, and exemplars.
//!
//! Edges:
//! - a counter whose name does not end in `_total` is `unknown` to OpenMetrics, which demands it;
//! - an exemplar stands with the bucket that its value falls into.

use std::fmt::Write as _;

use super::family::{Exemplar, Families, Family, Histogram, Kind, Series, Value};

type Labels = [(String, String)];

pub fn classic(families: &Families) -> Vec<u8> {
    let mut to = String::new();
    for (name, family) in &families.0 {
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        head(&mut to, name, kind, &family.help, false);
        for series in &family.series {
            write_series(&mut to, name, series, false);
        }
    }
    to.into_bytes()
}

pub fn open_metrics(families: &Families) -> Vec<u8> {
    let mut to = String::new();
    for (name, family) in &families.0 {
        let (base, kind) = open_family(name, family);
        head(&mut to, base, kind, &family.help, true);
        if let Some(unit) = ["seconds", "bytes"].into_iter().find(|unit| is_in(base, unit)) {
            let _ = writeln!(to, "# UNIT {base} {unit}");
        }
        for series in &family.series {
            write_series(&mut to, name, series, true);
        }
    }
    to.push_str("# EOF\n");
    to.into_bytes()
}

/// The name of the family, and its type.
fn open_family<'n>(name: &'n str, family: &Family) -> (&'n str, &'static str) {
    match family.kind {
        Kind::Counter => match name.strip_suffix("_total") {
            Some(base) => (base, "counter"),
            None => (name, "unknown"),
        },
        Kind::Gauge => (name, "gauge"),
        Kind::Histogram => (name, "histogram"),
    }
}

fn is_in(base: &str, unit: &str) -> bool {
    base.strip_suffix(unit).is_some_and(|rest| rest.ends_with('_'))
}

fn head(to: &mut String, name: &str, kind: &str, help: &str, is_open: bool) {
    if !help.is_empty() {
        let _ = write!(to, "# HELP {name} ");
        for letter in help.chars() {
            match letter {
                '\\' => to.push_str("\\\\"),
                '\n' => to.push_str("\\n"),
                '"' if is_open => to.push_str("\\\""),
                letter => to.push(letter),
            }
        }
        to.push('\n');
    }
    let _ = writeln!(to, "# TYPE {name} {kind}");
}

fn write_series(to: &mut String, name: &str, series: &Series, is_open: bool) {
    match &series.value {
        Value::Number(value) => {
            to.push_str(name);
            labels(to, &series.labels, None);
            let _ = writeln!(to, " {}", Number(*value));
        }
        Value::Histogram(histogram) => write_histogram(to, name, &series.labels, histogram, is_open),
    }
}

fn write_histogram(to: &mut String, name: &str, of: &Labels, histogram: &Histogram, is_open: bool) {
    let mut exemplar = histogram.exemplar.as_ref().filter(|_| is_open);
    let all = histogram.buckets.iter().copied();
    for (bound, below) in all.chain([(f64::INFINITY, histogram.count)]) {
        to.push_str(name);
        to.push_str("_bucket");
        let le = match is_open {
            true => format!("{:?}", Number(bound)),
            false => Number(bound).to_string(),
        };
        labels(to, of, Some(&le));
        let _ = write!(to, " {below}");
        if let Some(exemplar) = exemplar.take_if(|exemplar| exemplar.value <= bound) {
            write_exemplar(to, exemplar);
        }
        to.push('\n');
    }
    for (suffix, value) in [("_sum", histogram.sum), ("_count", histogram.count as f64)] {
        to.push_str(name);
        to.push_str(suffix);
        labels(to, of, None);
        let _ = writeln!(to, " {}", Number(value));
    }
}

fn write_exemplar(to: &mut String, exemplar: &Exemplar) {
    to.push_str(" # {");
    pairs(to, &exemplar.labels);
    let _ = write!(to, "}} {} {:.3}", Number(exemplar.value), exemplar.time as f64 / 1e9);
}

fn labels(to: &mut String, of: &Labels, le: Option<&str>) {
    if of.is_empty() && le.is_none() {
        return;
    }
    to.push('{');
    pairs(to, of);
    if let Some(le) = le {
        if !of.is_empty() {
            to.push(',');
        }
        let _ = write!(to, "le=\"{le}\"");
    }
    to.push('}');
}

fn pairs(to: &mut String, of: &Labels) {
    for (index, (name, value)) in of.iter().enumerate() {
        if index > 0 {
            to.push(',');
        }
        let _ = write!(to, "{name}=\"");
        for letter in value.chars() {
            match letter {
                '\\' => to.push_str("\\\\"),
                '\n' => to.push_str("\\n"),
                '"' => to.push_str("\\\""),
                letter => to.push(letter),
            }
        }
        to.push('"');
    }
}

/// Shown as Prometheus reads it; with `{:?}` as a decimal in any case.
struct Number(f64);

impl std::fmt::Display for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            number => write!(f, "{number}"),
        }
    }
}

impl std::fmt::Debug for Number {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            number if number.is_finite() => write!(f, "{number:?}"),
            _ => write!(f, "{self}"),
        }
    }
}
