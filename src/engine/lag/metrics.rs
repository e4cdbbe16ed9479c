//! The metrics of the lag stage: names and labels are those of the contract.
//!
//! Rule: what groups do is of the pipeline's resource; what the stage counts of itself is of the application's own.

use super::consumed::latency_kind;
use crate::engine::gauge::{
    BUILT_IN_OVERFLOW, BUILT_IN_RECORDS, BUILT_IN_SERIES, BUILT_IN_STALLED, BUILT_IN_UNKNOWN, Definition, Shape,
};
use crate::engine::plan::Kind;

/// Metrics of which the rows of the table have series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    Lag,
    Stable,
    Records,
    Seconds,
    Offset,
    Status,
    Consumed,
    Bytes,
    Latency,
    Members,
    State,
}

/// What the stage counts of itself.
const OWN: [&str; 5] = [
    BUILT_IN_RECORDS,
    BUILT_IN_SERIES,
    BUILT_IN_OVERFLOW,
    BUILT_IN_UNKNOWN,
    BUILT_IN_STALLED,
];

// === impl Metric ===

impl Metric {
    pub const ALL: [Self; 11] = [
        Self::Lag,
        Self::Stable,
        Self::Records,
        Self::Seconds,
        Self::Offset,
        Self::Status,
        Self::Consumed,
        Self::Bytes,
        Self::Latency,
        Self::Members,
        Self::State,
    ];

    /// Of one group in one partition, in the order of a row's values.
    pub const OF_ROW: [Self; 5] = [Self::Lag, Self::Stable, Self::Records, Self::Seconds, Self::Offset];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Lag => "kafka_consumer_lag",
            Self::Stable => "kafka_consumer_lag_stable",
            Self::Records => "kafka_consumer_lag_records",
            Self::Seconds => "kafka_consumer_lag_seconds",
            Self::Offset => "kafka_consumer_offset",
            Self::Status => "kafka_consumer_status",
            Self::Consumed => "kafka_consumer_messages_total",
            Self::Bytes => "kafka_consumer_bytes_total",
            Self::Latency => "kafka_consumer_latency_seconds",
            Self::Members => "kafka_consumer_group_members",
            Self::State => "kafka_consumer_group_state",
        }
    }

    pub fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Lag | Self::Stable | Self::Records | Self::Seconds | Self::Offset => {
                &["topic", "partition", "consumer_group"]
            }
            Self::Status => &["topic", "partition", "consumer_group", "status"],
            Self::Consumed => &["topic", "consumer_group", "status"],
            Self::Bytes | Self::Latency => &["topic", "consumer_group"],
            Self::Members => &["consumer_group"],
            Self::State => &["consumer_group", "state"],
        }
    }

    fn help(self) -> &'static str {
        match self {
            Self::Lag => "Offsets from the group's commit to the high watermark",
            Self::Stable => "Offsets from the group's commit to the last stable offset",
            Self::Records => "Data records from the group's commit to the last stable offset",
            Self::Seconds => "How long the first record that the group has not read has been in the log",
            Self::Offset => "The offset that the group committed last",
            Self::Status => "What the group does with what waits for it: one for the status that it has",
            Self::Consumed => "Records that commits of the group went over",
            Self::Bytes => "Bytes of the values of records that commits of the group went over",
            Self::Latency => "From a record's append to the commit that went over it",
            Self::Members => "Members of the group",
            Self::State => "One for the state that the group is in",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Lag | Self::Stable | Self::Offset => "{offset}",
            Self::Records | Self::Consumed => "{record}",
            Self::Seconds | Self::Latency => "s",
            Self::Bytes => "By",
            // Of a gauge without unit Prometheus would make a ratio.
            Self::Status => "{status}",
            Self::State => "{state}",
            Self::Members => "{member}",
        }
    }

    pub const fn shape(self) -> Shape {
        match self {
            Self::Consumed | Self::Bytes | Self::Latency => Shape::Cumulative,
            _ => Shape::Gauge,
        }
    }

    pub fn definition(self, pipeline: &str) -> Definition {
        Definition {
            name: self.name().to_owned(),
            pipeline: pipeline.to_owned(),
            help: self.help().to_owned(),
            unit: self.unit().to_owned(),
            kind: match self {
                // In millionths.
                Self::Seconds => Kind::Sum,
                Self::Latency => latency_kind(),
                _ => Kind::Count,
            },
            labels: self.labels().iter().map(|label| (*label).to_owned()).collect(),
        }
    }
}

/// The metrics that groups have.
pub fn metric_names() -> impl Iterator<Item = &'static str> {
    Metric::ALL.into_iter().map(Metric::name)
}

/// What a metric that groups have is.
pub fn definition_of(name: &str) -> Option<(Definition, Shape)> {
    let metric = Metric::ALL.into_iter().find(|metric| metric.name() == name)?;
    Some((metric.definition(""), metric.shape()))
}

/// The name as this program spells it; `None` for one that it does not have.
pub fn own_name(name: &str) -> Option<&'static str> {
    OWN.into_iter().find(|own| *own == name)
}
