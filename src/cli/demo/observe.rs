//! One picture of everything, taken a few times a second: what the screen, the progress line and the summary show.
//!
//! Rule: what came is looked at before what was written, so a total that is ahead of the account is an error and never a
//! matter of timing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::audit::{self, Audit};
use super::chaos::Kills;
use super::expected::{self, Totals};
use super::feed::Feed;
use super::joined::CHANNELS;
use super::journeys::{Example, Journeys};
use super::received::{self, Answers};
use super::simulator::{Channel, Priority, Resolution};
use super::stopwatch::Times;
use crate::engine::time::{EventTime, WallTime};
use crate::export::receiver::Receiver;
use crate::export::stats::ExportStats;
use crate::memory::Cluster;
use crate::runtime::stats::Stats;

/// Rates are averages over this long: windows come in steps.
const RATE_OVER: Duration = Duration::from_secs(4);
/// One bar of a sparkline.
const BAR: Duration = Duration::from_millis(1_000);
const BARS: usize = 40;
/// One conversation is shown for so long.
const SHOWN_FOR: Duration = Duration::from_secs(3);

/// What there is to look at.
pub struct Sights {
    pub cluster: Cluster,
    pub group: String,
    pub export_groups: [String; 2],
    pub partitions: u32,
    pub feed: Feed,
    pub stats: Stats,
    pub exports: Vec<Arc<ExportStats>>,
    pub receiver: Arc<Receiver>,
    /// `None` without chaos.
    pub kills: Option<Arc<Mutex<Kills>>>,
    /// Names of the pipeline's metrics.
    pub metrics: Vec<String>,
    pub times: Times,
}

/// Looks, and remembers what it needs for rates.
pub struct Observer {
    sights: Sights,
    began: Instant,
    written: Pace,
    read: Pace,
    channels: [Pace; 3],
    /// The conversation that is shown, and since when.
    example: Option<(Instant, Example)>,
}

/// A rising number over time.
#[derive(Default)]
struct Pace {
    samples: VecDeque<(Instant, u64)>,
    /// The number at the end of each bar.
    bars: VecDeque<u64>,
    last_bar: Option<(Instant, u64)>,
}

/// A rising number and how fast it rises.
#[derive(Clone, Debug, Default)]
pub struct Rising {
    pub total: u64,
    pub per_second: u64,
    /// Increments of the last seconds, oldest first.
    pub bars: Vec<u64>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    pub elapsed: Duration,
    pub hour: u32,
    /// The services wait for the pipeline.
    pub throttled: bool,
    pub kills: Option<Kills>,
    pub written: Rising,
    /// Records that the taps read, those read again after a death included.
    pub read: Rising,
    /// By [`Channel`], as received.
    pub channels: Vec<Rising>,
    /// By [`CHANNELS`], then [`Priority`].
    pub tickets: [[u64; 3]; CHANNELS.len()],
    /// By [`CHANNELS`].
    pub answers: [Answers; CHANNELS.len()],
    pub unanswered: Unanswered,
    pub journeys: Journeys,
    /// Resolution, successes, failures.
    pub identities: Vec<(&'static str, u64, u64)>,
    pub audit: Audit,
    /// Records in the totals that came.
    pub counted: u64,
    pub late: u64,
    pub workers: Workers,
    pub wire: Wire,
    pub verdict: Verdict,
}

/// Messages and responses that make no response time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unanswered {
    pub unanswered: u64,
    pub second: u64,
    pub unmatched: u64,
    pub negative: u64,
    pub duplicate: u64,
    pub open: u64,
}

/// The workers' numbers added up.
#[derive(Clone, Debug, Default)]
pub struct Workers {
    pub committed: u64,
    pub aborted: u64,
    pub restores: u64,
    pub rebalances: u64,
    /// Milliseconds.
    pub commit: Quantiles,
    pub restore: Quantiles,
}

/// What came over OTLP.
#[derive(Clone, Debug, Default)]
pub struct Wire {
    pub requests: u64,
    pub points: u64,
    /// Points that came again exactly as they were.
    pub resent: u64,
    /// Requests that the receiver refused because chaos asked it to.
    pub refused: u64,
    /// Points that cannot be: a counter that falls or starts anew, a time that goes back.
    pub violations: u64,
    pub violation_texts: Vec<String>,
    /// From the end of a window to the receiver's word on its points, milliseconds.
    pub latency: Quantiles,
    pub newest_age: Option<Duration>,
    /// Right now.
    pub is_refused: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Quantiles {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

/// What came against what was written.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    pub series: usize,
    /// Series whose total is more than was written, with both.
    pub ahead: Vec<String>,
    /// Series that have all that was written.
    pub equal: usize,
}

// === impl Observer ===

impl Observer {
    pub fn new(sights: Sights) -> Self {
        let channels = Default::default();
        Self {
            sights,
            began: Instant::now(),
            written: Pace::default(),
            read: Pace::default(),
            channels,
            example: None,
        }
    }

    /// Looks at everything, tells the services how far the taps are behind, and deletes what is done with.
    pub fn look(&mut self) -> Picture {
        let now = Instant::now();
        let sights = &self.sights;
        let audit = Audit::of(&sights.cluster, &sights.group, sights.partitions);
        sights.feed.behind(audit.behind);
        audit::trim(&sights.cluster, &sights.group);
        for group in &sights.export_groups {
            audit::trim(&sights.cluster, group);
        }
        let mut picture = Picture {
            elapsed: self.began.elapsed(),
            hour: sights.feed.hour(),
            throttled: sights.feed.waits(),
            kills: sights
                .kills
                .as_ref()
                .map(|kills| kills.lock().unwrap_or_else(PoisonError::into_inner).clone()),
            audit,
            ..Picture::default()
        };
        let mut read = 0;
        picture.workers = self.look_at_workers(&mut read);
        let received = self.look_at_received(&mut picture);
        let (records, totals) = sights.feed.totals();
        picture.verdict = compare(&received, &totals);
        picture.written = self.written.rise(now, records);
        picture.read = self.read.rise(now, read);
        for (pace, rising) in self.channels.iter_mut().zip(&mut picture.channels) {
            *rising = pace.rise(now, rising.total);
        }
        match (&self.example, picture.journeys.example.take()) {
            (Some((since, _)), _) if now.duration_since(*since) < SHOWN_FOR => {}
            (_, Some(newer)) => self.example = Some((now, newer)),
            (_, None) => {}
        }
        picture.journeys.example = self.example.as_ref().map(|(_, example)| example.clone());
        picture
    }

    fn look_at_workers(&self, read: &mut u64) -> Workers {
        let numbers = self.sights.stats.lock();
        let mut workers = Workers::default();
        let mut commits: Option<Histogram<u64>> = None;
        let mut restores: Option<Histogram<u64>> = None;
        for (name, of_worker) in &numbers.workers {
            if name.starts_with("tap") {
                *read += of_worker.records;
            }
            workers.committed += of_worker.committed;
            workers.aborted += of_worker.aborted;
            workers.restores += of_worker.restores;
            workers.rebalances += of_worker.rebalances;
            add(&mut commits, &of_worker.commit_micros);
            add(&mut restores, &of_worker.restore_micros);
        }
        workers.commit = Quantiles::of(commits.as_ref(), 1_000.0);
        workers.restore = Quantiles::of(restores.as_ref(), 1_000.0);
        workers
    }

    fn look_at_received(&self, picture: &mut Picture) -> Totals {
        let is_blocked = |export: &Arc<ExportStats>| !export.snapshot().blocked.is_empty();
        let is_refused = self.sights.exports.iter().any(is_blocked);
        let snapshot = self.sights.receiver.snapshot();
        let totals = received::totals(&snapshot);
        let total =
            |name: &str, labels: &[(&str, &str)]| totals.get(&expected::series(name, labels)).copied().unwrap_or(0);
        picture.counted = received::sum(&totals, "kafka_producer_messages_total");
        picture.late = received::late(&totals);
        let channel = |channel: Channel| {
            let total = total("channel_messages_received_total", &[("channel_type", channel.name())]);
            Rising {
                total,
                ..Rising::default()
            }
        };
        picture.channels = Channel::ALL.into_iter().map(channel).collect();
        picture.tickets = CHANNELS.map(|channel| {
            Priority::ALL.map(|priority| {
                let labels = [("channel_type", channel), ("priority", priority.name())];
                total("tickets_created_total", &labels)
            })
        });
        picture.answers = received::answers(&snapshot);
        picture.unanswered = Unanswered {
            unanswered: received::sum(&totals, "responses_unanswered_total"),
            second: received::sum(&totals, "responses_second_total"),
            unmatched: received::sum(&totals, "responses_unmatched_total"),
            negative: received::sum(&totals, "responses_negative_total"),
            duplicate: received::sum(&totals, "responses_duplicate_total"),
            open: received::sum(&totals, "responses_open"),
        };
        picture.journeys = Journeys::of(&snapshot);
        let identities = |resolution: Resolution| {
            let of = |success| {
                let labels = [("resolution_type", resolution.name()), ("success", success)];
                total("customer_identity_resolutions_total", &labels)
            };
            (resolution.name(), of("true"), of("false"))
        };
        picture.identities = Resolution::ALL.into_iter().map(identities).collect();
        picture.wire = Wire {
            requests: snapshot.requests + snapshot.traces.requests,
            points: snapshot.points,
            resent: snapshot.duplicates,
            refused: snapshot.refused,
            violations: snapshot.violations,
            violation_texts: snapshot.violation_texts,
            latency: Quantiles::of(Some(&self.sights.times.latency()), 1.0),
            newest_age: self
                .sights
                .times
                .newest()
                .map(|newest| age(newest, self.sights.cluster.now())),
            is_refused,
        };
        received::of_metrics(&totals, &self.sights.metrics)
    }

    /// The totals that came.
    pub fn totals(&self) -> Totals {
        received::of_metrics(
            &received::totals(&self.sights.receiver.snapshot()),
            &self.sights.metrics,
        )
    }
}

/// What came against what was written: nothing may be ahead, but for levels.
fn compare(received: &Totals, written: &Totals) -> Verdict {
    let total = |series| written.get(series).copied().unwrap_or(0);
    let is_level = |series: &str| received::LEVELS.iter().any(|level| received::is_of(series, level));
    let received: Vec<(&String, &u64)> = received.iter().filter(|(series, _)| !is_level(series)).collect();
    let ahead = received.iter().filter(|(series, came)| **came > total(*series));
    Verdict {
        series: received.len(),
        ahead: ahead
            .map(|(series, came)| format!("{series}: {came} came, {} were written", total(series)))
            .collect(),
        equal: received
            .iter()
            .filter(|(series, came)| **came == total(*series))
            .count(),
    }
}

fn add(sum: &mut Option<Histogram<u64>>, part: &Histogram<u64>) {
    match sum {
        None => *sum = Some(part.clone()),
        // Both resize by themselves, so there is nothing that does not fit.
        Some(sum) => _ = sum.add(part),
    }
}

fn age(time: EventTime, now: WallTime) -> Duration {
    Duration::from_micros(u64::try_from(now.0.saturating_sub(time.0)).unwrap_or(0))
}

// === impl Quantiles ===

impl Quantiles {
    fn of(histogram: Option<&Histogram<u64>>, unit: f64) -> Self {
        let Some(histogram) = histogram.filter(|histogram| !histogram.is_empty()) else {
            return Self::default();
        };
        let at = |quantile| histogram.value_at_quantile(quantile) as f64 / unit;
        Self {
            p50: at(0.5),
            p99: at(0.99),
            max: histogram.max() as f64 / unit,
        }
    }
}

// === impl Pace ===

impl Pace {
    fn rise(&mut self, now: Instant, total: u64) -> Rising {
        self.samples.push_back((now, total));
        while self
            .samples
            .get(1)
            .is_some_and(|(at, _)| now.duration_since(*at) >= RATE_OVER)
        {
            self.samples.pop_front();
        }
        let (since, before) = self.samples.front().copied().unwrap_or((now, total));
        let seconds = now.duration_since(since).as_secs_f64();
        let per_second = if seconds > 0.0 {
            (total.saturating_sub(before) as f64 / seconds) as u64
        } else {
            0
        };
        match self.last_bar {
            None => self.last_bar = Some((now, total)),
            Some((at, before)) if now.duration_since(at) >= BAR => {
                self.last_bar = Some((now, total));
                self.bars.push_back(total.saturating_sub(before));
                if self.bars.len() > BARS {
                    self.bars.pop_front();
                }
            }
            Some(_) => {}
        }
        Rising {
            total,
            per_second,
            bars: self.bars.iter().copied().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_that_is_ahead_of_what_was_written_is_named() {
        let written = Totals::from([("a{}".to_owned(), 5), ("b{}".to_owned(), 5)]);
        let received = Totals::from([("a{}".to_owned(), 6), ("b{}".to_owned(), 5), ("c{}".to_owned(), 1)]);
        let verdict = compare(&received, &written);
        assert_eq!(
            verdict.ahead,
            ["a{}: 6 came, 5 were written", "c{}: 1 came, 0 were written"]
        );
        assert_eq!((verdict.series, verdict.equal), (3, 1));
        let open = Totals::from([("responses_open{}".to_owned(), 7)]);
        assert_eq!(compare(&open, &written).ahead, Vec::<String>::new(), "a level");
    }

    #[test]
    fn a_rate_is_the_average_of_the_last_seconds() {
        let start = Instant::now();
        let mut pace = Pace::default();
        let mut last = Rising::default();
        for second in 0..10 {
            last = pace.rise(start + Duration::from_secs(second), second * 100);
        }
        assert_eq!(last.per_second, 100);
        assert_eq!(last.bars, [100; 9]);
    }
}
