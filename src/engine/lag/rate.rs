//! How fast a group reads, how fast its partition grows, and when the two meet.
//!
//! Rule: rates are offsets a second, by the commits in the ring and by the samples of the log end. A group has caught up
//! after what it is behind, divided by how much faster it reads than the log grows.
//!
//! Edges:
//! - a rate needs two points at different times; without them there is none;
//! - commits are taken from the last drop on: a rewind is not negative reading;
//! - a group that has been silent for longer than between any two of its commits is measured up to now, so that the rate of
//!   one that has stopped goes to zero;
//! - a group that is no faster than its log never catches up, and has no time for it; nor has one whose rates are not known.

use super::commits::{Commit, Commits};
use super::ends::Samples;
use crate::engine::time::{Span, WallTime};

/// Offsets a second that the group commits.
pub fn commit_rate(commits: &Commits, now: WallTime) -> Option<f64> {
    let mut commits_since_drop = 0;
    let mut stretch: Option<(Commit, Commit)> = None;
    for commit in commits.iter() {
        (stretch, commits_since_drop) = match stretch {
            Some((first, before)) if before.offset <= commit.offset => (Some((first, commit)), commits_since_drop + 1),
            _ => (Some((commit, commit)), 1),
        };
    }
    let ((first, newest), last) = stretch.zip(commits.last())?;
    if commits_since_drop < 2 {
        return None;
    }
    let is_silent = commits.silence(now) > commits.steps().max();
    let until = if is_silent { now } else { last.at };
    per_second(newest.offset.saturating_sub(first.offset), until.since(first.at))
}

/// Offsets a second by which the log has grown over the last `window`, or since the oldest sample.
pub fn produce_rate(samples: &Samples, window: Span, now: WallTime) -> Option<f64> {
    let latest = samples.latest()?;
    let start = WallTime(now.0.saturating_sub(window.as_micros())).max(samples.oldest()?);
    let grown = latest.high_watermark.saturating_sub(samples.end_at(start)?);
    per_second(grown, latest.at.since(start))
}

/// How long until the group has caught up. `behind` is its lag in offsets; rates are offsets a second.
pub fn caught_up_in(behind: i64, commit_rate: Option<f64>, produce_rate: Option<f64>) -> Option<Span> {
    if behind <= 0 {
        return Some(Span::ZERO);
    }
    let faster = commit_rate? - produce_rate?;
    let micros = behind as f64 / faster * 1e6;
    // Also false for what is no number.
    (faster > 0.0 && micros < i64::MAX as f64).then(|| Span::micros(micros as i64))
}

fn per_second(offsets: i64, over: Span) -> Option<f64> {
    let micros = over.as_micros();
    (micros > 0).then(|| offsets as f64 * 1e6 / micros as f64)
}
