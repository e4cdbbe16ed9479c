//! What is wanted to be known of consumer groups.
//!
//! Rule: one application has at most one of these, whatever the number of its pipelines: a group is measured once.

use crate::engine::lag::status::Rules;
use crate::engine::names::Names;
use crate::engine::time::Span;

/// The `lag:` of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Index into [`Plan::pipelines`](super::Plan::pipelines).
    pub pipeline: usize,
    pub from: LagFrom,
    pub groups: Names,
    pub topics: Names,
    /// Between two samples of log ends, and so between two points of a series that moves.
    pub every: Span,
    pub status: Rules,
    /// Partitions that groups have commits in, for each partition of the offsets topic: what comes beyond is in no series
    /// of its own.
    pub max_series: u32,
    /// How far back the index of tapped topics tells when a record was appended.
    pub horizon: Span,
}

/// Where it is read what groups have committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LagFrom {
    /// From the offsets topic where the login may read it, else by the Admin API. Decided when the application starts.
    #[default]
    Auto,
    /// The brokers' own topic `__consumer_offsets`.
    Offsets,
    /// A topic that one instance writes what it was told by the Admin API to.
    Admin,
}

// === impl Plan ===

impl super::Plan {
    /// Whether there are topics to tap. Without them there is lag alone.
    pub fn taps(&self) -> bool {
        !self.topics.is_empty() || self.lag.is_none()
    }

    /// Whether groups are polled by the Admin API.
    pub fn polls(&self) -> bool {
        self.lag.as_ref().is_some_and(Lag::polls)
    }

    /// Whether taps write down when records were appended.
    pub fn indexes(&self) -> bool {
        self.lag.is_some() && self.taps()
    }
}

// === impl Lag ===

impl Lag {
    pub const EVERY: Span = Span::seconds(10);
    pub const MAX_SERIES: u32 = 100_000;
    pub const HORIZON: Span = Span::seconds(24 * 3_600);

    /// Whether groups are polled by the Admin API.
    pub fn polls(&self) -> bool {
        self.from == LagFrom::Admin
    }

    /// Everything of everyone.
    pub fn of_all(pipeline: usize) -> Self {
        Self {
            pipeline,
            from: LagFrom::default(),
            groups: Names::default(),
            topics: Names::default(),
            every: Self::EVERY,
            status: Rules::default(),
            max_series: Self::MAX_SERIES,
            horizon: Self::HORIZON,
        }
    }
}
