//! The way of one partition's requests to the collector.
//!
//! Rule: a lane sends one request at a time, in the order of their offsets, and goes on only when every point of a request
//! has its end. It never gives up: what can be sent again is sent again, after 100 ms at first, up to 30 s, or when the
//! receiver says.
//!
//! Edges:
//! - what is refused for good goes through [`Bisect`], its probes with the same patience;
//! - a lane that is dropped stops at once, also within a request: its next owner sends that again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBuilder};
use bytes::Bytes;
use opentelemetry::KeyValue;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::bisect::{Bisect, Outcome, Tally};
use super::outage::Outage;
use super::parts::Carried;
use super::sender::SendRequest;
use super::settings::Signal;
use super::stats::ExportStats;
use super::verdict::{Verdict, shorten};
use crate::runtime::clock::wall_time;
use crate::runtime::traced::{Traced, number};

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// One record of the outbox on its way.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub offset: i64,
    pub request: Bytes,
}

/// A record that is done with.
#[derive(Debug)]
pub(super) struct Done {
    /// Tells lanes of one partition apart: answers of one that was dropped are not taken.
    pub lane: u64,
    pub partition: u32,
    pub offset: i64,
    /// Bytes of the request.
    pub bytes: usize,
    pub outcome: Outcome,
}

/// What a lane needs to know.
pub(super) struct Lane {
    pub id: u64,
    pub partition: u32,
    pub carries: Carried,
    pub sender: Arc<dyn SendRequest>,
    pub stats: Arc<ExportStats>,
    pub outage: Arc<Outage>,
}

// === impl Lane ===

impl Lane {
    /// Runs until its queue is closed or nobody listens any more.
    pub async fn run(self, mut queue: UnboundedReceiver<Outgoing>, done: UnboundedSender<Done>) {
        while let Some(Outgoing { offset, request }) = queue.recv().await {
            let bytes = request.len();
            let outcome = self.deliver(offset, request).await;
            let said = Done {
                lane: self.id,
                partition: self.partition,
                offset,
                bytes,
                outcome,
            };
            if done.send(said).is_err() {
                return;
            }
        }
    }

    /// Sends one request until every point of it has its end.
    async fn deliver(&self, offset: i64, request: Bytes) -> Outcome {
        let began = Instant::now();
        let outline = self.carries.outline(&request);
        let outcome = match self.send(&request).await {
            Verdict::Accepted => Outcome {
                records: self.sender.records(&request),
                ..whole(Tally {
                    accepted: outline.points,
                    ..Tally::default()
                })
            },
            Verdict::PartialSuccess { rejected, message } => {
                tracing::warn!(
                    event_type = "request_partly_rejected",
                    partition = self.partition,
                    rejected,
                    "the collector took a request only in part: {message}"
                );
                let rejected = u64::try_from(rejected).unwrap_or(0).min(outline.points);
                whole(Tally {
                    accepted: outline.points - rejected,
                    rejected,
                    ..Tally::default()
                })
            }
            refusal => match self.carries {
                Carried::Otlp(signal) => self.bisect(signal, &request, refusal).await,
                Carried::Notifications => Outcome::of_refused(request.clone(), shorten(refusal.message())),
            },
        };
        let span = Traced::since("export", began, || {
            [
                KeyValue::new("streamgauge.worker", self.carries.worker()),
                number("streamgauge.partition", u64::from(self.partition)),
                KeyValue::new("streamgauge.offset", offset),
                number("streamgauge.parts", outline.points),
                number("streamgauge.bytes", request.len() as u64),
            ]
        });
        let within = span.within();
        for piece in &outcome.quarantined {
            tracing::warn!(
                event_type = "points_refused",
                partition = self.partition,
                points = piece.points,
                "refused for good: {}",
                piece.reason
            );
        }
        drop(within);
        span.end(outcome.quarantined.first().map(|piece| piece.reason.as_str()));
        self.stats.done(outcome.tally, outline.newest, wall_time());
        outcome
    }

    async fn bisect(&self, signal: Signal, request: &Bytes, refusal: Verdict) -> Outcome {
        let message = refusal.message().to_owned();
        let mut bisect = match Bisect::new(signal, request, refusal, wall_time()) {
            Ok(bisect) => bisect,
            Err(error) => {
                let reason = shorten(&format!("no request of {} ({error}): {message}", signal.parts()));
                return Outcome::of_unreadable(request.clone(), reason);
            }
        };
        while let Some(piece) = bisect.next() {
            let verdict = self.send(&piece).await;
            bisect.answer(verdict);
        }
        bisect.finish()
    }

    /// Sends until there is a verdict other than `Retry`.
    async fn send(&self, request: &Bytes) -> Verdict {
        let mut pauses = backoff();
        loop {
            let verdict = self.sender.send(request.clone()).await;
            let target = self.sender.target_of(request);
            self.stats.answered(self.partition, &verdict, &target, wall_time());
            let Verdict::Retry { after, message } = &verdict else {
                self.outage.over(self.carries, &target);
                return verdict;
            };
            self.outage.failed(self.carries, &target, message);
            let own = pauses.next().unwrap_or(LONGEST_PAUSE);
            tokio::time::sleep(after.map_or(own, |after| after.max(FIRST_PAUSE))).await;
        }
    }
}

fn whole(tally: Tally) -> Outcome {
    Outcome {
        tally,
        ..Outcome::default()
    }
}

/// 100 ms, 200 ms, ... 30 s, each with jitter, without an end.
fn backoff() -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(FIRST_PAUSE)
        .with_max_delay(LONGEST_PAUSE)
        .with_jitter()
        .without_max_times()
        .build()
        .map(|pause| pause.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_from_a_tenth_of_a_second_to_half_a_minute_and_never_end() {
        let pauses: Vec<Duration> = backoff().take(1_000).collect();
        assert_eq!(pauses.len(), 1_000);
        assert!(
            pauses[0] >= FIRST_PAUSE && pauses[0] <= 2 * FIRST_PAUSE,
            "{:?}",
            pauses[0]
        );
        assert!(pauses[3] >= 8 * FIRST_PAUSE);
        assert!(pauses[20..].iter().all(|pause| *pause == LONGEST_PAUSE));
    }
}
