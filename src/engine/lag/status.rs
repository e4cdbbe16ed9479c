//! What a group is doing in one partition, from its last commits: the words that operators know from Burrow.
//!
//! Rule: a status says what the group does with data that waits for it. Who has read everything is OK, whatever else its
//! commits look like. The first line that holds counts.
//!
//! | status | [`Rules::Corrected`] | what an operator does |
//! |---|---|---|
//! | UNKNOWN | no commit | nothing: the group never committed here, or its offset is gone |
//! | OK | nothing is left to read, or what is left has waited for less than [`GRACE`] | nothing |
//! | STOP | no commit for longer than the group's patience | looks for the consumer: it is down, hangs, or lost the partition |
//! | REWIND | the last commit is below one in the ring | finds out who reset the offset; records are being read twice |
//! | STALL | three commits or more, over [`GRACE`] or more, at one offset while data waited | looks for a record or a downstream that cannot be got past |
//! | WARN | left to read after each of four commits or more, over [`GRACE`] or more; the least of the newer half is more than the most of the older half, by more than a tenth | adds consumers or makes them faster: what comes in is more than what is read |
//! | OK | anything else: it is behind and gets on | waits |
//!
//! Patience is three times the second longest step between commits in the ring, at least [`GRACE`]; with fewer than four
//! commits in the ring, at least [`NEW`]. The longest step may be an outage or an idle day; a rhythm shows twice.
//!
//! Left to read are the data records up to the last stable offset. Where they are not known, it is offsets, and one of them
//! may be the marker at the end of a transaction, which nobody reads: one offset is as good as none.
//!
//! Edges:
//! - behind an open transaction nothing is left that a group can read: OK, and the partition has the problem. A group that
//!   committed beyond the last stable offset reads uncommitted records, and is measured by the high watermark;
//! - below the log start, reading goes on there: what is gone is not left to read;
//! - a commit beyond the high watermark, of a log that was truncated, cannot be reached again: it makes no rewind;
//! - data that was there at commits for one offset has waited since, also where the samples began later: a restart makes no
//!   STOP or STALL an OK. Where nobody knows how long data has waited, it is taken to have come right after the last commit;
//! - a producer that has stopped makes no difference: what waits, waits.
//!
//! [`Rules::Burrow`] is the published evaluator, for those whose alerts are built on it. In its order:
//!
//! | status | rule |
//! |---|---|
//! | OK | no commit, or the lag now is no more than the allowed lag |
//! | STOP | the last commit is longer ago than the ring is long, and no log end lately was at or below it |
//! | REWIND | the first drop in the ring was not made up for by any later commit |
//! | OK | the lag at any commit was no more than the allowed lag |
//! | STALL | all commits in the ring are at one offset |
//! | WARN | the lag never went down from one commit to the next; commits whose lag is not known are passed over |
//! | OK | anything else |
//!
//! Its clock has whole seconds. Its flaws, each of which the corrected rules are without and a test shows: of several
//! rewinds only the first counts; a ring of one commit is STOP at once; one idle day stretches the ring, and nothing is
//! STOP for another day; a ring of fast commits is short, and STOP after a breath; a group that has read up to a
//! transaction's marker is behind for ever; one commit without lag hides a stall until it has left the ring; a lag that
//! stays the same is WARN, and one dip hides a lag that grows.

use super::commits::{Commit, Commits};
use crate::engine::time::{Span, WallTime};

/// In the order of Burrow, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    Unknown,
    Ok,
    Warn,
    Stop,
    Stall,
    Rewind,
}

/// By which rules to judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rules {
    #[default]
    Corrected,
    /// Burrow sets `allowed_lag` to zero.
    Burrow { allowed_lag: u64 },
}

/// The log as it is now, next to a group's last commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub high_watermark: i64,
    pub last_stable: Option<i64>,
    pub log_start: Option<i64>,
    /// Data records from the last commit to the last stable offset.
    pub records: Option<i64>,
    /// The lowest high watermark of the last minute or two. Only Burrow's rules ask.
    pub lowest_lately: Option<i64>,
    /// For how long at least the first of what is left to read has been there.
    pub waited: Option<Span>,
}

/// What has waited for less says nothing about a group; with commits every five seconds, a dozen of them.
pub const GRACE: Span = Span::seconds(60);

/// The patience with a group whose rhythm is not known: what Burrow's ring spans where a group commits once a minute.
pub const NEW: Span = Span::seconds(600);

/// A transaction ends with one offset that holds no data.
pub(super) const MARKER: i64 = 1;

pub fn status(commits: &Commits, rules: Rules, now: WallTime, current: Ends) -> Status {
    match rules {
        Rules::Corrected => corrected(commits, now, &current),
        Rules::Burrow { allowed_lag } => burrow(commits, now, &current, allowed_lag),
    }
}

fn corrected(commits: &Commits, now: WallTime, ends: &Ends) -> Status {
    let Some(last) = commits.last() else {
        return Status::Unknown;
    };
    let silence = now.since(last.at);
    let waited = ends.waited.unwrap_or(silence);
    // Samples may be younger than the commits: who left data then has let it wait since.
    let waited = left_since(commits, last, ends).map_or(waited, |since| waited.max(now.since(since)));
    if !ends.is_left(last.offset) || waited < GRACE {
        Status::Ok
    } else if silence > patience(commits) {
        Status::Stop
    } else if is_rewound(commits, last, ends) {
        Status::Rewind
    } else if is_stalled(commits, last, WallTime(now.0.saturating_sub(waited.as_micros()))) {
        Status::Stall
    } else if is_falling_behind(commits) {
        Status::Warn
    } else {
        Status::Ok
    }
}

/// Since when at least the data has waited that was there at a commit. An entry of the ring may have begun with a lower
/// offset: the one behind it is sure to be later.
fn left_since(commits: &Commits, last: Commit, ends: &Ends) -> Option<WallTime> {
    let mut since = None;
    for commit in commits.iter() {
        since = match since {
            _ if commit.offset != last.offset || !ends.was_left(commit) => None,
            None => Some((1, commit.at)),
            Some((1, _)) => Some((2, commit.at)),
            known => known,
        };
    }
    since.map(|(entries, at)| if entries == 1 { last.at } else { at.min(last.at) })
}

/// For how long a group may be silent.
fn patience(commits: &Commits) -> Span {
    let (mut longest, mut second) = (Span::ZERO, Span::ZERO);
    for step in commits.steps() {
        if step > longest {
            (longest, second) = (step, longest);
        } else if step > second {
            second = step;
        }
    }
    let least = if commits.len() < 4 { NEW } else { GRACE };
    least.max(Span::micros(second.as_micros().saturating_mul(3)))
}

fn is_rewound(commits: &Commits, last: Commit, ends: &Ends) -> bool {
    commits
        .iter()
        .any(|commit| commit.offset > last.offset && commit.offset <= ends.high_watermark)
}

fn is_stalled(commits: &Commits, last: Commit, waiting_since: WallTime) -> bool {
    let (mut count, mut first) = (0, None);
    for commit in commits.iter() {
        let waited = commit.at >= waiting_since || commit.is_left() == Some(true);
        if commit.offset == last.offset && waited {
            count += 1;
            first = first.or(Some(commit.at));
        } else {
            (count, first) = (0, None);
        }
    }
    first.is_some_and(|first| count >= 3 && last.at.since(first) >= GRACE)
}

fn is_falling_behind(commits: &Commits) -> bool {
    // Records where all commits have them: offsets and records cannot be compared.
    if commits.iter().all(|commit| commit.lag_records.is_some()) {
        grows(commits.iter().map(|commit| (commit.lag_records, commit.at)))
    } else {
        grows(
            commits
                .iter()
                .map(|commit| (commit.lag().filter(|lag| *lag > MARKER), commit.at)),
        )
    }
}

/// Whether all of the newer half is above all of the older half.
fn grows(lags: impl Iterator<Item = (Option<i64>, WallTime)> + Clone) -> bool {
    let count = lags.clone().count();
    let (mut most, mut least) = (0, i64::MAX);
    let mut times = None;
    for (index, (lag, at)) in lags.enumerate() {
        let Some(lag) = lag.filter(|lag| *lag > 0) else {
            return false;
        };
        if index < count / 2 {
            most = most.max(lag);
        } else {
            least = least.min(lag);
        }
        times = Some((times.map_or(at, |(first, _)| first), at));
    }
    let lasts = times.is_some_and(|(first, last): (WallTime, WallTime)| last.since(first) >= GRACE);
    count >= 4 && lasts && least.saturating_sub(most) > most / 10
}

fn burrow(commits: &Commits, now: WallTime, ends: &Ends, allowed: u64) -> Status {
    let allowed = i64::try_from(allowed).unwrap_or(i64::MAX);
    let mut times = commits.iter();
    let Some(first) = times.next() else {
        return Status::Ok;
    };
    let last = times.last().unwrap_or(first);
    if ends.high_watermark.saturating_sub(last.offset) <= allowed {
        return Status::Ok;
    }
    let now = now.0.div_euclid(1_000_000).saturating_mul(1_000_000);
    let is_late = now.saturating_sub(last.at.0) > last.at.0.saturating_sub(first.at.0);
    if is_late && ends.lowest_lately.is_none_or(|lowest| lowest > last.offset) {
        return Status::Stop;
    }
    if first_rewind(commits).is_some_and(|(before, index)| {
        let mut later = commits.iter().skip(index);
        later.all(|commit| commit.offset < before)
    }) {
        return Status::Rewind;
    }
    if commits
        .iter()
        .filter_map(|commit| commit.lag())
        .any(|lag| lag <= allowed)
    {
        return Status::Ok;
    }
    if commits.iter().all(|commit| commit.offset == first.offset) {
        return Status::Stall;
    }
    if commits.iter().filter_map(|commit| commit.lag()).is_sorted() {
        return Status::Warn;
    }
    Status::Ok
}

/// The offset before the first drop, and where the drop is.
fn first_rewind(commits: &Commits) -> Option<(i64, usize)> {
    let next = commits.iter().skip(1);
    let mut pairs = commits.iter().zip(next).zip(1..);
    pairs.find_map(|((before, after), index)| (after.offset < before.offset).then_some((before.offset, index)))
}

// === impl Ends ===

impl Ends {
    /// Whether a group that committed this offset has data left to read.
    fn is_left(&self, offset: i64) -> bool {
        let from = offset.max(self.log_start.unwrap_or(offset));
        let stable = self.last_stable.filter(|stable| offset <= *stable);
        let end = stable.map_or(self.high_watermark, |stable| stable.min(self.high_watermark));
        let left = end.saturating_sub(from);
        // They were counted up to the last stable offset.
        match stable.and(self.records) {
            Some(records) => left > 0 && records > 0,
            None => left > MARKER,
        }
    }

    /// Whether some of what is left to read was there when the group committed.
    fn was_left(&self, commit: Commit) -> bool {
        let start = self.log_start.filter(|start| *start > commit.offset);
        let is_kept = start.is_none_or(|start| commit.log_end.is_some_and(|end| end > start));
        is_kept && commit.is_left() == Some(true)
    }
}

// === impl Commit ===

impl Commit {
    /// Whether the group left data when it committed; `None` where that is not known.
    fn is_left(&self) -> Option<bool> {
        match self.lag_records {
            Some(records) => Some(records > 0),
            None => self.lag().map(|lag| lag > MARKER),
        }
    }
}

// === impl Status ===

impl Status {
    pub const ALL: [Self; 6] = [
        Self::Unknown,
        Self::Ok,
        Self::Warn,
        Self::Stop,
        Self::Stall,
        Self::Rewind,
    ];

    /// As Burrow spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Ok => "OK",
            Self::Warn => "WARN",
            Self::Stop => "STOP",
            Self::Stall => "STALL",
            Self::Rewind => "REWIND",
        }
    }
}
