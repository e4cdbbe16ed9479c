//! Kinds, units, and names that stay what they are.

use crate::engine::plan::{Kind, Measure as Taken};
use crate::pipeline::fault::Faults;
use crate::pipeline::read::{Buckets, Measure, Measured, Metric, Said};
use crate::pipeline::unit::{self, Family};

/// The kind of a histogram; its bounds must ascend.
pub fn kind(buckets: &Buckets, faults: &mut Faults) -> Option<Kind> {
    match buckets {
        Buckets::Exponential(max_buckets) => Some(Kind::Exponential {
            max_buckets: *max_buckets,
        }),
        Buckets::Explicit(bounds) => {
            if let Some(pair) = bounds.windows(2).find(|pair| pair[0].value >= pair[1].value) {
                faults
                    .add(&pair[1].place, "this bound is not above the one before it")
                    .help("write the bounds in ascending order, each once");
                return None;
            }
            Some(Kind::Explicit {
                bounds: bounds.iter().map(|bound| bound.value).collect(),
            })
        }
    }
}

/// The unit of a metric, which must fit its values, and under which its name must survive the way to Prometheus.
pub fn unit(metric: &Metric, family: Family, value: Option<&Said<Measured>>, faults: &mut Faults) -> Option<String> {
    if let (Some(unit), Some(other)) = (&metric.unit, &metric.other_unit) {
        faults
            .add(&other.place, "the unit stands here a second time")
            .and(&unit.place, "first here")
            .help("keep one of the two");
    }
    let name = &metric.name;
    let unit = match &metric.unit {
        Some(unit) => unit.value.clone(),
        None => match unit::unit_in_name(&name.value) {
            Some(unit) => unit.to_owned(),
            None if value.is_none() && family == Family::Counter => "{record}".to_owned(),
            None => String::new(),
        },
    };
    let place = metric.unit.as_ref().map_or(&name.place, |unit| &unit.place);
    let is_seconds = match &metric.what {
        Measure::Respond(respond, _) => matches!(respond.measure.value, Taken::ResponseTime | Taken::OldestOpen),
        _ => false,
    };
    let wants = match value.map(|value| &value.value) {
        None if is_seconds && unit != "s" => Some(("seconds", "s")),
        Some(Measured::Bytes) if unit != "By" && !unit::is_remark(&unit) && !unit.is_empty() => Some(("bytes", "By")),
        Some(Measured::AppendLatency) if unit != "s" => Some(("seconds", "s")),
        _ => None,
    };
    if let Some((what, wanted)) = wants {
        faults
            .add(place, format!("the values are {what}, and the unit is `{unit}`"))
            .help(format!(
                "end the metric's name in `_{what}` and leave `unit` out, or write `unit: {wanted}` too"
            ));
        return None;
    }
    let translated = unit::translated(&name.value, family, &unit);
    if translated != name.value {
        faults
            .add(
                &name.place,
                format!("in Prometheus this metric would be called `{translated}`"),
            )
            .help(match family {
                Family::Counter => {
                    format!("a counter's name ends in its unit and `_total`: call it `{translated}`")
                }
                Family::Histogram | Family::Gauge => format!("a name ends in its unit: call it `{translated}`"),
            });
        return None;
    }
    Some(unit)
}
