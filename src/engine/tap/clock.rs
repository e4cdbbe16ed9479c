//! How far one input partition is in event time.
//!
//! Rule: the watermark is the highest event time minus `out_of_order`, and never goes back. Two statements move it without
//! records:
//! - idle: records have not moved it for `idle_after`, and the partition was read to a log end that was sampled at `s`: it
//!   becomes `s - out_of_order - idle_after - delay`, where delay is the largest recent time from event to arrival, a
//!   minute at most;
//! - held: for `max_hold` the position has not moved and has not reached a fresh log end (a hanging transaction, a leader
//!   away): it becomes `now - max_hold`, and a person is told.
//!
//! Edges:
//! - a partition that never had a record, read to its end, is idle like any other;
//! - so is one whose records go on and do not move it: their event times stand still, or they are quarantined;
//! - where the end keeps ahead of the position, the first sampled one is remembered until it is reached;
//! - reading a long backlog is not being held: the position moves;
//! - a pause of the whole process is not being held either: no tick adds more than a quarter of `max_hold`;
//! - nor is waiting for other sources: the runtime has stopped reading, and what lies ahead keeps its time;
//! - recent are the records of the last one to two minutes in which there were records: while nothing comes, the delay
//!   stays what it was.

use crate::engine::plan::Timing;
use crate::engine::time::{EventTime, Span, WallTime, Watermark};

/// No delay counts for more: one stray record must not hold windows for long.
const MAX_DELAY: Span = Span::seconds(60);
const MINUTE: i64 = 60_000_000;

#[derive(Debug)]
pub(super) struct Clock {
    timing: Timing,
    now: Option<WallTime>,
    max_time: Option<EventTime>,
    /// What the two statements say.
    stated: Option<EventTime>,
    /// When records moved the watermark last, or when the task opened.
    moved_at: Option<WallTime>,
    /// The next offset to read.
    next: i64,
    /// The last log end that was told, and when it was sampled.
    end: Option<(i64, WallTime)>,
    /// A log end that was told and is not reached, and when it was sampled.
    ahead: Option<(i64, WallTime)>,
    /// Everything that the log had by then was read.
    read_to: Option<WallTime>,
    /// For how long the position has been stuck.
    stuck_for: Span,
    held: bool,
    /// The runtime has stopped reading.
    waiting: bool,
    delays: Delays,
}

/// The largest delay of the current minute with records, and of the one before.
#[derive(Debug)]
struct Delays {
    minute: i64,
    current: Span,
    before: Span,
}

// === impl Clock ===

impl Clock {
    pub(super) fn new(timing: Timing, next: i64, max_time: Option<EventTime>, delay: Span) -> Self {
        Self {
            timing,
            now: None,
            max_time,
            stated: None,
            moved_at: None,
            next,
            end: None,
            ahead: None,
            read_to: None,
            stuck_for: Span::ZERO,
            held: false,
            waiting: false,
            delays: Delays {
                minute: i64::MIN,
                current: delay.min(MAX_DELAY),
                before: Span::ZERO,
            },
        }
    }

    pub(super) fn wall(&self) -> Option<WallTime> {
        self.now
    }

    pub(super) fn max_time(&self) -> Option<EventTime> {
        self.max_time
    }

    pub(super) fn delay(&self) -> Span {
        self.delays.current.max(self.delays.before)
    }

    pub(super) fn watermark(&self) -> Option<Watermark> {
        let by_records = self.max_time.map(|time| time.back(self.timing.out_of_order));
        by_records.max(self.stated).map(Watermark)
    }

    /// What a person should be told.
    pub(super) fn note(&self) -> Option<String> {
        self.held.then(|| {
            let end = match self.end {
                Some((end, _)) if end > self.next => format!("the log's end, {end}, is not reached"),
                _ => "the log's end is not known".to_owned(),
            };
            format!(
                "held at offset {} for {} s and more: {end}. A transaction that hangs, or a partition without a leader? \
                 Its windows now close by the clock, and what comes later is late",
                self.next,
                self.timing.max_hold.as_micros() / 1_000_000
            )
        })
    }

    /// The reader has passed everything below `next`.
    #[inline]
    pub(super) fn move_to(&mut self, next: i64) {
        self.next = next;
        self.release();
    }

    /// A record with this event time was taken, and it counts for the watermark. `arrival` is when the log got it.
    #[inline]
    pub(super) fn record(&mut self, time: EventTime, arrival: Option<WallTime>) {
        if let Some(arrival) = arrival.or(self.now) {
            self.delays.add(arrival, Span::micros(arrival.0.saturating_sub(time.0)));
        }
        if self.max_time.is_none_or(|highest| highest < time) {
            self.max_time = Some(time);
            self.moved_at = self.now;
        }
    }

    pub(super) fn log_end(&mut self, end: i64, sampled_at: WallTime) {
        if self.end.is_none_or(|(_, earlier)| earlier <= sampled_at) {
            self.end = Some((end, sampled_at));
            if self.next >= end {
                self.release();
            }
        }
        self.reach();
        // A lower one, too: a log may be cut.
        if self.ahead.is_none_or(|(ahead, _)| end <= ahead) {
            self.ahead = Some((end, sampled_at));
        }
        self.state();
    }

    /// Notes that the remembered end is reached.
    fn reach(&mut self) {
        if let Some((_, sampled_at)) = self.ahead.take_if(|(end, _)| self.next >= *end) {
            self.read_to = self.read_to.max(Some(sampled_at));
        }
    }

    pub(super) fn time(&mut self, now: WallTime) {
        let tick = self.now.map_or(Span::ZERO, |before| now.since(before));
        let max_tick = Span::micros(self.timing.max_hold.as_micros() / 4);
        self.now = Some(self.now.map_or(now, |before| before.max(now)));
        self.moved_at = self.moved_at.or(self.now);
        let at_end = self
            .end
            .is_some_and(|(end, at)| self.next >= end && now.since(at) < self.timing.max_hold);
        if !at_end && !self.waiting {
            self.stuck_for = Span::micros(
                self.stuck_for
                    .as_micros()
                    .saturating_add(tick.min(max_tick).as_micros()),
            );
        }
        self.state();
    }

    /// The runtime stops reading, or reads on.
    pub(super) fn wait(&mut self, waiting: bool) {
        self.waiting = waiting;
        self.release();
    }

    fn release(&mut self) {
        self.stuck_for = Span::ZERO;
        self.held = false;
    }

    /// Makes the statements that can be made.
    fn state(&mut self) {
        let Some(now) = self.now else { return };
        let Timing {
            out_of_order,
            idle_after,
            max_hold,
            ..
        } = self.timing;
        self.reach();
        let quiet = self.moved_at.is_some_and(|moved| now.since(moved) >= idle_after);
        if let (true, Some(read_to)) = (quiet, self.read_to) {
            let idle = read_to
                .as_event()
                .back(out_of_order)
                .back(idle_after)
                .back(self.delay());
            self.stated = self.stated.max(Some(idle));
        }
        if self.stuck_for >= max_hold {
            self.held = true;
            self.stated = self.stated.max(Some(now.as_event().back(max_hold)));
        }
    }
}

// === impl Delays ===

impl Delays {
    #[inline]
    fn add(&mut self, arrival: WallTime, delay: Span) {
        let minute = arrival.0.div_euclid(MINUTE);
        if minute > self.minute {
            (self.minute, self.before, self.current) = (minute, self.current, Span::ZERO);
        }
        self.current = self.current.max(delay.min(MAX_DELAY));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::plan::TimeFrom;

    const T0: i64 = 1_795_356_000;

    fn clock(next: i64) -> Clock {
        let timing = Timing {
            from: TimeFrom::Record,
            out_of_order: Span::seconds(5),
            idle_after: Span::seconds(5),
            max_hold: Span::seconds(60),
            max_ahead: Span::seconds(300),
        };
        Clock::new(timing, next, None, Span::ZERO)
    }

    fn wall(seconds: i64) -> WallTime {
        WallTime((T0 + seconds) * 1_000_000)
    }

    /// Seconds since `T0`.
    fn mark(clock: &Clock) -> Option<i64> {
        clock.watermark().map(|mark| mark.0.0 / 1_000_000 - T0)
    }

    fn record(clock: &mut Clock, event: i64, arrival: i64) {
        clock.record(wall(event).as_event(), Some(wall(arrival)));
        clock.move_to(clock.next + 1);
    }

    #[test]
    fn the_watermark_follows_the_highest_event_time() {
        let mut clock = clock(0);
        clock.time(wall(0));
        assert_eq!(mark(&clock), None);
        record(&mut clock, 100, 100);
        record(&mut clock, 50, 100);
        assert_eq!(mark(&clock), Some(95));
    }

    #[test]
    fn a_quiet_partition_read_to_a_fresh_end_is_idle() {
        let mut clock = clock(0);
        clock.time(wall(0));
        record(&mut clock, -3, 0);
        clock.log_end(1, wall(4));
        clock.time(wall(4));
        assert_eq!(mark(&clock), Some(-8), "not quiet for long enough");
        clock.log_end(1, wall(20));
        clock.time(wall(20));
        assert_eq!(mark(&clock), Some(20 - 5 - 5 - 3));
        clock.log_end(1, wall(21));
        assert_eq!(mark(&clock), Some(21 - 5 - 5 - 3), "and goes on with each sample");
    }

    #[test]
    fn a_log_end_that_is_beyond_the_position_says_nothing_until_it_is_reached() {
        let mut clock = clock(0);
        clock.time(wall(0));
        record(&mut clock, 0, 0);
        clock.log_end(3, wall(20));
        clock.time(wall(20));
        assert_eq!(mark(&clock), Some(-5));
        clock.time(wall(30));
        record(&mut clock, -1, 1);
        clock.time(wall(31));
        assert_eq!(mark(&clock), Some(-5), "another one was there by then");
        record(&mut clock, -2, 1);
        clock.time(wall(32));
        assert_eq!(
            mark(&clock),
            Some(20 - 5 - 5 - 3),
            "when the end was sampled counts, not when it was reached"
        );
    }

    #[test]
    fn records_whose_times_stand_still_do_not_hold_the_watermark() {
        let mut clock = clock(0);
        for second in 0..100 {
            clock.time(wall(second));
            record(&mut clock, -1_000_000, second);
            record(&mut clock, -1_000_000, second);
            clock.log_end(clock.next, wall(second));
            let idle = (second >= 5).then_some(second - 5 - 5 - 60);
            assert_eq!(mark(&clock), Some(idle.unwrap_or(-1_000_005)));
        }
    }

    #[test]
    fn nor_do_they_where_the_end_keeps_ahead() {
        let mut clock = clock(0);
        for second in 0..100 {
            clock.time(wall(second));
            record(&mut clock, -1_000_000, second);
            // Always ten records, which are ten seconds.
            clock.log_end(clock.next + 10, wall(second));
        }
        let behind = 99 - 5 - 5 - 60 - mark(&clock).expect("it has spoken");
        assert!((10..=20).contains(&behind), "{behind}");
    }

    #[test]
    fn records_that_move_the_watermark_are_not_overtaken_by_the_clock() {
        let mut clock = clock(0);
        for second in 0..1_000 {
            clock.time(wall(second));
            // Of an hour ago, in an order of their own, and nothing lies behind them.
            record(&mut clock, second - 3_600, second);
            record(&mut clock, second - 3_604, second);
            clock.log_end(clock.next, wall(second));
            assert_eq!(mark(&clock), Some(second - 3_605));
        }
    }

    #[test]
    fn a_partition_that_never_had_a_record_is_idle_too() {
        let mut clock = clock(7);
        clock.time(wall(0));
        clock.log_end(7, wall(4));
        assert_eq!(mark(&clock), None);
        clock.log_end(7, wall(6));
        clock.time(wall(6));
        assert_eq!(mark(&clock), Some(6 - 5 - 5));
    }

    #[test]
    fn the_delay_is_the_largest_recent_one_and_a_minute_at_most() {
        let mut clock = clock(0);
        clock.time(wall(0));
        record(&mut clock, 0, 30);
        record(&mut clock, 29, 30);
        assert_eq!(clock.delay(), Span::seconds(30));
        record(&mut clock, 89, 90);
        assert_eq!(clock.delay(), Span::seconds(30), "the minute before still counts");
        record(&mut clock, 149, 150);
        assert_eq!(clock.delay(), Span::seconds(1));
        record(&mut clock, -5_000, 150);
        assert_eq!(clock.delay(), Span::seconds(60));
    }

    #[test]
    fn a_position_that_is_stuck_before_the_end_is_held_and_said() {
        let mut clock = clock(10);
        for second in 0..60 {
            clock.time(wall(second));
            clock.log_end(12, wall(second));
        }
        assert_eq!((mark(&clock), clock.note()), (None, None));
        clock.time(wall(60));
        assert_eq!(mark(&clock), Some(0));
        assert!(
            clock
                .note()
                .is_some_and(|note| note.contains("offset 10") && note.contains("12"))
        );
        clock.move_to(11);
        assert_eq!(clock.note(), None);
        assert_eq!(mark(&clock), Some(0), "it never goes back");
    }

    #[test]
    fn a_partition_of_which_nothing_is_heard_is_held() {
        let mut clock = clock(10);
        clock.log_end(10, wall(0));
        for second in 0..=125 {
            clock.time(wall(second));
        }
        assert!(clock.note().is_some());
        clock.log_end(10, wall(126));
        assert_eq!(clock.note(), None);
    }

    #[test]
    fn a_position_that_moves_is_not_held_however_long_the_backlog_is() {
        let mut clock = clock(0);
        for second in 0..1_000 {
            clock.time(wall(second));
            clock.log_end(1_000_000_000, wall(second));
            record(&mut clock, -100_000 + second, -100_000 + second);
        }
        assert_eq!(mark(&clock), Some(-100_000 + 999 - 5));
        assert_eq!(clock.note(), None);
    }

    #[test]
    fn a_partition_that_is_made_to_wait_is_neither_idle_nor_held() {
        let mut clock = clock(0);
        clock.time(wall(0));
        record(&mut clock, 0, 0);
        clock.wait(true);
        for second in 1..=600 {
            clock.time(wall(second));
            clock.log_end(5, wall(second));
        }
        assert_eq!((mark(&clock), clock.note()), (Some(-5), None));
        clock.wait(false);
        for second in 601..=659 {
            clock.time(wall(second));
            clock.log_end(5, wall(second));
        }
        assert_eq!(mark(&clock), Some(-5), "being stuck begins when it is read on");
        clock.time(wall(661));
        assert_eq!(mark(&clock), Some(661 - 60));
    }

    #[test]
    fn a_partition_that_is_made_to_wait_at_its_end_is_idle_there() {
        let mut clock = clock(0);
        clock.time(wall(0));
        record(&mut clock, 0, 0);
        clock.wait(true);
        clock.time(wall(30));
        clock.log_end(1, wall(30));
        assert_eq!(mark(&clock), Some(30 - 5 - 5), "nothing lies ahead");
        clock.log_end(2, wall(40));
        clock.time(wall(40));
        assert_eq!(mark(&clock), Some(30 - 5 - 5));
    }

    #[test]
    fn a_pause_of_the_process_is_not_being_held() {
        let mut clock = clock(0);
        clock.time(wall(0));
        record(&mut clock, 0, 0);
        clock.log_end(5, wall(0));
        clock.time(wall(3_600));
        assert_eq!(mark(&clock), Some(-5));
    }
}
