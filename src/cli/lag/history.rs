//! What earlier looks have shown: whether a group moves, how fast, and since when it does not.
//!
//! Rule: brokers tell where a group has committed, and not when. A commit counts from the look that saw another offset than
//! the look before. The words are those of [`status`], by its corrected rules; what looks cannot tell stays unknown.
//!
//! Edges:
//! - who is behind and was never seen to move, nor to have read all, is neither well nor ill: there is no word for it;
//! - a group that nobody is in and that is behind is STOP at once, unless this very look saw it move;
//! - nobody can see a commit of the same offset. Who stands still for longer than its patience is STALL where a member owns
//!   the partition, and else STOP;
//! - an offset that went back is REWIND as soon as it is seen, and until the group has passed the old one or read all;
//! - a rate takes two moves: what was committed before the first one was committed in a time that nobody saw. Who did not
//!   move for a minute has the rate 0;
//! - looks that failed leave a gap: an offset that is the same behind it has stood still all the time.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::row::{Eta, Reader, Row};
use crate::engine::lag::commits::{Commit, Commits};
use crate::engine::lag::ends::{Sample, Samples};
use crate::engine::lag::rate::{caught_up_in, commit_rate, produce_rate};
use crate::engine::lag::status::{GRACE, Rules, Status, status};
use crate::engine::time::{Span, WallTime};
use crate::kafka::LogEnds;
use crate::runtime::log::TopicPartition;

/// Between two entries of the ring that the status is told from, so that ten of them are more than a minute.
const APART: Span = Span::seconds(10);

/// What a log end is remembered for.
const HORIZON: Span = Span::seconds(3_600);

/// Who was not seen for this long is forgotten.
const FORGOTTEN: Span = Span::seconds(600);

/// Over what time the growth of a log is measured.
const GROWTH: Span = Span::seconds(60);

/// So long a group is watched before it is said that it never catches up.
const SETTLED: Span = Span::seconds(10);

/// From look to look.
pub(in crate::cli) struct History {
    tracks: BTreeMap<String, BTreeMap<TopicPartition, Track>>,
    ends: BTreeMap<TopicPartition, Samples>,
    /// A move after this is one that the present look has seen.
    news_since: WallTime,
}

/// One group in one partition.
struct Track {
    /// The first offset that was seen, and every other one since.
    commits: Commits,
    /// Moves alone, as they were seen: the first offset had been committed at a time that nobody knows.
    moves: Commits,
    first_seen: WallTime,
    last_seen: WallTime,
    moved: Option<(WallTime, Ordering)>,
    /// It was seen to get on, or to have read all.
    was_well: bool,
}

// === impl History ===

impl History {
    pub(in crate::cli) fn new() -> Self {
        Self {
            tracks: BTreeMap::new(),
            ends: BTreeMap::new(),
            news_since: WallTime(i64::MIN),
        }
    }

    /// A look begins; who has long gone is forgotten.
    pub(super) fn begin(&mut self, now: WallTime) {
        self.news_since = now;
        let is_recent = |at: WallTime| now.since(at) < FORGOTTEN;
        for of_group in self.tracks.values_mut() {
            of_group.retain(|_, track| is_recent(track.last_seen));
        }
        self.tracks.retain(|_, of_group| !of_group.is_empty());
        self.ends
            .retain(|_, samples| samples.latest().is_some_and(|latest| is_recent(latest.at)));
    }

    /// Takes what was seen at `at`, which rises from call to call. `records` are left to read, where they were counted.
    pub(super) fn see(
        &mut self,
        (group, partition): (&str, &TopicPartition),
        offset: i64,
        ends: &LogEnds,
        records: Option<u64>,
        at: WallTime,
    ) {
        let sample = Sample {
            at: ends.sampled_at,
            high_watermark: ends.end,
            last_stable: Some(ends.stable),
            log_start: Some(ends.start),
        };
        let samples = self.ends.entry(partition.clone());
        samples.or_insert_with(|| Samples::new(HORIZON)).observe(sample, None);
        let of_group = self.tracks.entry(group.to_owned()).or_default();
        let track = of_group.entry(partition.clone()).or_insert_with(|| Track::new(at));
        let commit = Commit {
            offset,
            at,
            log_end: Some(ends.end),
            lag_records: records.and_then(|records| i64::try_from(records).ok()),
        };
        track.see(commit);
        track.was_well |= ends.end <= offset || records == Some(0);
    }

    /// Puts in what more than one look is needed for.
    pub(super) fn judge(&self, row: &mut Row, now: WallTime) {
        let partition = row.place();
        let track = self.tracks.get(&row.group).and_then(|tracks| tracks.get(&partition));
        let (Some(track), Some(samples), Some(committed)) = (track, self.ends.get(&partition), row.committed) else {
            return;
        };
        let (Some(lag), Some(lag_stable)) = (row.lag, row.lag_stable) else {
            return;
        };
        let records = row.lag_records.and_then(|records| i64::try_from(records).ok());
        if row.lag_seconds.is_none() && lag_stable > 0 {
            let age = samples.lag_time(committed, records, now);
            row.lag_seconds = age.map(|age| (age.as_micros() / 1_000) as f64 / 1_000.0);
        }
        row.rate = track.rate(now);
        if lag == 0 || records == Some(0) {
            row.status = Some(Status::Ok.name());
            row.eta = Some(Eta::In(Span::ZERO));
            return;
        }
        row.eta = track.eta(row, lag_stable, samples, now);
        let moved = track.moved.filter(|(at, _)| *at >= self.news_since);
        let word = samples
            .ends(committed, records, now)
            .map(|ends| status(&track.commits, Rules::Corrected, now, ends));
        row.status = match (moved, word) {
            (Some((_, Ordering::Less)), _) => Some(Status::Rewind),
            (None, _) if row.reader == Reader::Nobody => Some(Status::Stop),
            (None, Some(Status::Stop)) if row.reader == Reader::Owner => Some(Status::Stall),
            (_, Some(Status::Ok)) if track.went_back(row.log_end) => Some(Status::Rewind),
            (_, Some(Status::Ok)) if !track.was_well => None,
            (_, Some(Status::Unknown)) => None,
            (_, word) => word,
        }
        .map(Status::name);
    }
}

// === impl Track ===

impl Track {
    fn new(at: WallTime) -> Self {
        Self {
            commits: Commits::new(Commits::TEN, APART),
            moves: Commits::new(Commits::TEN, Span::ZERO),
            first_seen: at,
            last_seen: at,
            moved: None,
            was_well: false,
        }
    }

    fn see(&mut self, commit: Commit) {
        self.last_seen = commit.at;
        let Some(last) = self.commits.last() else {
            self.commits.push(commit);
            return;
        };
        let moved = commit.offset.cmp(&last.offset);
        if moved != Ordering::Equal {
            self.commits.push(commit);
            self.moves.push(commit);
            self.moved = Some((commit.at, moved));
            self.was_well |= moved == Ordering::Greater;
        }
    }

    /// Offsets a second.
    fn rate(&self, now: WallTime) -> Option<f64> {
        let still_since = self.moved.map_or(self.first_seen, |(at, _)| at);
        commit_rate(&self.moves, now).or_else(|| (now.since(still_since) >= GRACE).then_some(0.0))
    }

    fn eta(&self, row: &Row, behind: i64, samples: &Samples, now: WallTime) -> Option<Eta> {
        let grows = produce_rate(samples, GROWTH, now);
        if let Some(span) = caught_up_in(behind, row.rate, grows) {
            return Some(Eta::In(span));
        }
        // Between two commits anybody is a little behind, and stays so.
        let age = row.lag_seconds.map(|age| Span::micros((age * 1e6) as i64));
        let waited = row.committed.and_then(|offset| samples.waited(offset, now));
        let is_old = age.max(waited) >= Some(GRACE);
        let is_settled = now.since(self.first_seen) >= SETTLED;
        (row.rate.is_some() && grows.is_some() && is_old && is_settled).then_some(Eta::Never)
    }

    fn went_back(&self, log_end: Option<i64>) -> bool {
        let last = self.commits.last().map(|last| last.offset);
        self.commits
            .iter()
            .any(|commit| Some(commit.offset) > last && Some(commit.offset) <= log_end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A partition that one group is looked at in, every so often.
    struct Watch {
        history: History,
        reader: Reader,
        now: WallTime,
    }

    impl Watch {
        fn of(reader: Reader) -> Self {
            Self {
                history: History::new(),
                reader,
                now: WallTime(1_000_000_000),
            }
        }

        /// What is seen after so many seconds. Every offset is a record.
        fn look(&mut self, seconds: f64, committed: i64, end: i64) -> Row {
            self.now = self.now.ahead(Span::micros((seconds * 1e6) as i64));
            self.history.begin(self.now);
            self.glance(0.001, committed, end)
        }

        fn glance(&mut self, seconds: f64, committed: i64, end: i64) -> Row {
            self.now = self.now.ahead(Span::micros((seconds * 1e6) as i64));
            let ends = LogEnds {
                start: 0,
                stable: end,
                end,
                sampled_at: self.now,
            };
            let lag = end - committed;
            let records = u64::try_from(lag).ok();
            let mut row = Row {
                group: "g".to_owned(),
                topic: "t".to_owned(),
                partition: 0,
                committed: Some(committed),
                log_end: Some(end),
                lag: Some(lag),
                lag_stable: Some(lag),
                lag_records: records,
                lag_seconds: None,
                status: None,
                state: None,
                rate: None,
                eta: None,
                reader: self.reader,
                note: None,
            };
            let place = ("g", &row.place());
            self.history.see(place, committed, &ends, records, self.now);
            self.history.judge(&mut row, self.now);
            row
        }

        fn status(&mut self, seconds: f64, committed: i64, end: i64) -> Option<&'static str> {
            self.look(seconds, committed, end).status
        }
    }

    #[test]
    fn one_look_tells_who_has_read_all_and_who_is_alone_and_no_more() {
        assert_eq!(Watch::of(Reader::Nobody).status(0.0, 8, 8), Some("OK"));
        assert_eq!(Watch::of(Reader::Nobody).status(0.0, 4, 8), Some("STOP"));
        assert_eq!(Watch::of(Reader::Owner).status(0.0, 4, 8), None);
        assert_eq!(Watch::of(Reader::Unknown).status(0.0, 4, 8), None);
    }

    #[test]
    fn a_move_between_two_looks_is_seen_whoever_made_it() {
        for reader in [Reader::Owner, Reader::Nobody, Reader::Unknown] {
            let mut watch = Watch::of(reader);
            watch.look(0.0, 4, 8);
            assert_eq!(watch.glance(0.1, 5, 8).status, Some("OK"), "{reader:?}");
            assert_eq!(watch.glance(0.1, 3, 8).status, Some("REWIND"), "{reader:?}");
        }
        let mut watch = Watch::of(Reader::Nobody);
        watch.look(0.0, 4, 8);
        assert_eq!(watch.status(2.0, 5, 8), Some("OK"));
        assert_eq!(watch.status(2.0, 5, 8), Some("STOP"), "it moved in an earlier look");
    }

    #[test]
    fn a_rewind_stays_one_until_the_old_offset_is_passed() {
        let mut watch = Watch::of(Reader::Owner);
        watch.look(0.0, 100, 200);
        let looks = [50, 60, 99, 101].map(|offset| watch.status(20.0, offset, 200));
        assert_eq!(looks, [Some("REWIND"), Some("REWIND"), Some("REWIND"), Some("OK")]);
    }

    #[test]
    fn who_stands_still_is_stalled_with_an_owner_and_else_stopped_and_not_before_its_patience_ends() {
        for (reader, word) in [(Reader::Owner, "STALL"), (Reader::Unknown, "STOP")] {
            let mut watch = Watch::of(reader);
            let mut words = Vec::new();
            for _ in 0..330 {
                words.push(watch.status(2.0, 4, 8));
            }
            let first = words.iter().position(|seen| *seen == Some(word));
            assert_eq!(first, Some(300), "{reader:?}: ten minutes of patience");
            assert!(words[..300].iter().all(Option::is_none));
        }
    }

    #[test]
    fn a_log_that_outgrows_its_group_is_a_warning() {
        let mut watch = Watch::of(Reader::Owner);
        let words: Vec<Option<&str>> = (0..60)
            .map(|number| watch.status(2.0, number * 10, 1_000 + number * 100))
            .collect();
        assert_eq!((words[0], words[1], words[59]), (None, Some("OK"), Some("WARN")));
        let last = watch.look(2.0, 600, 7_000);
        assert_eq!(last.eta, Some(Eta::Never), "{last:?}");
    }

    #[test]
    fn a_rate_takes_two_moves() {
        let mut watch = Watch::of(Reader::Owner);
        assert_eq!(watch.look(0.0, 0, 1_000).rate, None);
        assert_eq!(watch.glance(0.125, 10, 1_000).rate, None);
        assert_eq!(watch.glance(0.125, 10, 1_000).rate, None);
        let last = watch.glance(0.125, 35, 1_000);
        assert_eq!(last.rate, Some(100.0));
        assert_eq!(last.eta, Some(Eta::In(Span::millis(9_650))));
    }

    #[test]
    fn who_does_not_move_for_a_minute_has_the_rate_zero_and_before_that_none() {
        let mut watch = Watch::of(Reader::Owner);
        let rates: Vec<Option<f64>> = (0..40).map(|_| watch.look(2.0, 4, 8).rate).collect();
        assert_eq!((rates[29], rates[31]), (None, Some(0.0)));
    }

    #[test]
    fn the_age_of_what_could_not_be_read_is_told_from_earlier_looks() {
        let mut watch = Watch::of(Reader::Owner);
        watch.look(0.0, 4, 4);
        watch.look(10.0, 4, 8);
        assert_eq!(watch.look(10.0, 4, 8).lag_seconds, Some(20.002));
    }

    #[test]
    fn who_was_not_seen_for_long_is_forgotten() {
        let mut watch = Watch::of(Reader::Owner);
        watch.look(0.0, 4, 8);
        watch.history.begin(watch.now.ahead(FORGOTTEN));
        assert!(watch.history.tracks.is_empty() && watch.history.ends.is_empty());
    }
}
