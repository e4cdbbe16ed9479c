//! Lag in time, against logs of which it is known when each record came.

use proptest::prelude::*;

use super::second;
use crate::engine::lag::ends::{MOST, Sample, Samples};
use crate::engine::time::{Span, WallTime};

const DAY: Span = Span::seconds(86_400);

fn sample(at: i64, end: i64) -> Sample {
    Sample {
        at: second(at),
        high_watermark: end,
        last_stable: Some(end),
        log_start: Some(0),
    }
}

fn samples(of: impl IntoIterator<Item = (i64, i64)>) -> Samples {
    let mut samples = Samples::new(DAY);
    for (at, end) in of {
        samples.observe(sample(at, end), None);
    }
    samples
}

fn lag(samples: &Samples, committed: i64, now: i64) -> Option<i64> {
    let lag = samples.lag_time(committed, None, second(now))?;
    Some(lag.as_micros() / 1_000_000)
}

#[test]
fn between_two_samples_the_end_rises_evenly() {
    let risen = samples([(0, 100), (10, 200), (20, 220)]);
    for (committed, expected) in [(100, 25), (150, 20), (200, 15), (210, 10), (219, 5)] {
        assert_eq!(lag(&risen, committed, 25), Some(expected), "{committed}");
    }
    assert_eq!(lag(&risen, 220, 25), Some(0));
    assert_eq!(lag(&risen, 500, 25), Some(0), "beyond the end");
}

#[test]
fn what_was_before_the_first_sample_is_not_known() {
    let risen = samples([(0, 100), (10, 200)]);
    assert_eq!(lag(&risen, 99, 25), None);
    assert_eq!(lag(&Samples::new(DAY), 99, 25), None);
    let at_least = |committed| risen.waited(committed, second(25));
    assert_eq!(
        at_least(99),
        Some(Span::seconds(25)),
        "it was there at the first sample"
    );
    assert_eq!(at_least(150), Some(Span::seconds(15)));
    assert_eq!(at_least(200), Some(Span::ZERO));
    assert_eq!(Samples::new(DAY).waited(99, second(25)), None);
}

#[test]
fn a_log_that_stood_still_begins_to_wait_when_it_moves() {
    let still = samples((0..=360).map(|at| (at * 10, 100)).chain([(3_610, 150)]));
    assert_eq!(lag(&still, 100, 3_610), Some(10));
    assert_eq!(still.len(), 3);
}

#[test]
fn something_left_is_never_zero_seconds() {
    let risen = samples([(0, 100), (10, 200)]);
    let back = risen.lag_time(199, None, second(-1_000));
    assert_eq!(back, Some(Span::micros(1)), "the clock was set back");
}

#[test]
fn only_markers_left_is_zero_seconds() {
    let risen = samples([(0, 100), (10, 200)]);
    assert_eq!(risen.lag_time(199, Some(0), second(50)), Some(Span::ZERO));
    assert!(risen.lag_time(199, Some(1), second(50)) > Some(Span::ZERO));
}

#[test]
fn behind_an_open_transaction_nothing_waits() {
    let mut open = samples([(0, 100)]);
    let stable = Sample {
        last_stable: Some(150),
        ..sample(10, 200)
    };
    open.observe(stable, None);
    assert_eq!(lag(&open, 150, 50), Some(0));
    assert_eq!(lag(&open, 149, 50), Some(45));
    assert_eq!(lag(&open, 151, 50), Some(44), "it reads uncommitted records");
    let counted = open.lag_time(151, Some(0), second(50));
    assert!(counted > Some(Span::ZERO), "the count ends at the last stable offset");
}

#[test]
fn a_group_below_the_log_start_is_as_late_as_what_it_can_read() {
    let mut trimmed = samples([(0, 100), (10, 200)]);
    let start = Sample {
        log_start: Some(250),
        ..sample(20, 300)
    };
    trimmed.observe(start, None);
    assert_eq!(lag(&trimmed, 3, 50), Some(35));
    assert_eq!(trimmed.waited(3, second(50)), Some(Span::seconds(30)));
}

#[test]
fn a_truncated_log_is_another_log() {
    let mut cut = samples([(0, 100), (10, 200), (20, 150)]);
    assert_eq!(lag(&cut, 100, 25), None);
    assert_eq!(lag(&cut, 150, 25), Some(0));
    cut.observe(sample(30, 250), None);
    assert_eq!(lag(&cut, 200, 40), Some(15));
}

#[test]
fn another_topic_id_is_another_log() {
    let mut topic = Samples::new(DAY);
    let (one, other) = (Some([1; 16]), Some([2; 16]));
    topic.observe(sample(0, 100), one);
    topic.observe(sample(10, 200), None);
    assert_eq!(lag(&topic, 150, 15), Some(10), "an unknown id is no other id");
    topic.observe(sample(20, 300), other);
    assert_eq!(lag(&topic, 150, 25), None);
    topic.observe(sample(30, 400), other);
    assert_eq!(lag(&topic, 350, 35), Some(10));
    // What is said of the new topic is not taken, but the old one is gone all the same.
    topic.observe(sample(40, -1), one);
    assert_eq!(topic.latest(), None);
}

#[test]
fn samples_out_of_order_are_dropped() {
    let mut late = samples([(0, 100), (10, 200)]);
    late.observe(sample(5, 50), None);
    late.observe(sample(10, 900), None);
    late.observe(sample(20, -1), None);
    assert_eq!(late.latest(), Some(sample(10, 200)));
    assert_eq!(lag(&late, 150, 15), Some(10));
}

#[test]
fn a_clock_that_was_set_back_does_not_freeze_the_log() {
    // An hour too far for one sample: nothing after it would be taken for an hour.
    let mut back = samples([(0, 100), (10, 200), (3_620, 210)]);
    back.observe(sample(30, 400), None);
    assert_eq!(back.latest(), Some(sample(30, 400)));
    assert_eq!(lag(&back, 300, 35), None, "times by another clock say nothing");
    back.observe(sample(40, 500), None);
    assert_eq!(lag(&back, 450, 45), Some(10));
    // As late as an answer may be.
    let mut late = samples([(0, 100), (10, 200), (70, 300)]);
    late.observe(sample(10, 150), None);
    assert_eq!(late.latest(), Some(sample(70, 300)));
}

#[test]
fn the_horizon_is_covered_and_no_more() {
    let mut hour = Samples::new(Span::seconds(3_600));
    for at in 0..2_000 {
        hour.observe(sample(at * 10, at * 7), None);
    }
    let now = 1_999 * 10;
    let ago = |seconds: i64| lag(&hour, (now - seconds) / 10 * 7, now);
    assert_eq!(ago(3_600), Some(3_600));
    assert_eq!(ago(5_000), None);
}

#[test]
fn a_day_of_samples_takes_no_more_than_its_documentation_says() {
    for (every, bound) in [(10, 100), (1, 130)] {
        let mut day = Samples::new(DAY);
        let mut most = 0;
        for at in 0..2 * 86_400 / every {
            day.observe(sample(at * every, at * 3), None);
            most = most.max(day.len());
        }
        assert!(most <= bound, "{most} with one every {every} s");
        let oldest = lag(&day, 3 * 86_400 / every, 2 * 86_400).expect("a day ago");
        assert!((86_400 - oldest).abs() <= 86_400 / 8, "{oldest}");
    }
}

#[test]
fn burrows_lowest_end_is_of_the_last_samples() {
    let risen = samples((0..100).map(|at| (at * 10, at * 100)));
    let ends = risen.ends(9_000, Some(3), second(990)).expect("samples");
    assert_eq!((ends.high_watermark, ends.lowest_lately), (9_900, Some(8_900)));
    assert_eq!(
        (ends.records, ends.log_start, ends.last_stable),
        (Some(3), Some(0), Some(9_900))
    );
    let all_records = risen.ends(9_000, Some(900), second(990)).expect("samples");
    assert_eq!(all_records.waited, risen.waited(9_000, second(990)));
}

#[test]
fn a_marker_is_not_what_waits() {
    // A group commits 100, the marker after it makes 101, and an hour later a record and its marker come.
    let woken = samples((0..360).map(|at| (at * 10, 101)).chain([(3_600, 103)]));
    let waited = |records| woken.ends(100, records, second(3_620)).and_then(|ends| ends.waited);
    assert_eq!(waited(None), Some(Span::seconds(20)));
    assert_eq!(waited(Some(1)), Some(Span::seconds(20)));
    assert_eq!(waited(Some(2)), Some(Span::seconds(20)));
    assert_eq!(waited(Some(3)), Some(Span::seconds(3_620)), "no marker at all");
    let mut open = samples([(0, 100), (10, 200)]);
    let stable = Sample {
        last_stable: Some(90),
        ..sample(20, 210)
    };
    open.observe(stable, None);
    let uncommitted = open.ends(100, Some(0), second(100)).expect("samples");
    assert_eq!(
        uncommitted.waited,
        Some(Span::seconds(90)),
        "nobody counted beyond the last stable offset"
    );
}

/// A log: when each offset was appended, in microseconds, and samples of its end.
#[derive(Debug)]
struct Traffic {
    appended: Vec<i64>,
    sampled: Vec<i64>,
}

impl Traffic {
    fn end_at(&self, time: i64) -> i64 {
        self.appended.partition_point(|at| *at <= time) as i64
    }

    fn longest_step(&self) -> i64 {
        self.sampled.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
    }

    fn samples(&self) -> Samples {
        let mut samples = Samples::new(DAY);
        for at in &self.sampled {
            let end = self.end_at(*at);
            let sample = Sample {
                at: WallTime(*at),
                high_watermark: end,
                last_stable: Some(end),
                log_start: Some(0),
            };
            samples.observe(sample, None);
        }
        samples
    }
}

/// Steady, in bursts, with pauses of up to an hour.
fn traffic() -> impl Strategy<Value = Traffic> {
    let gap = prop_oneof![4 => 0_i64..1_000, 3 => 0_i64..2_000_000, 1 => 0_i64..3_600_000_000];
    let appended = prop::collection::vec((gap, 1..30_usize), 1..120);
    let sampled = prop::collection::vec(1_000_000_i64..15_000_000, 2..1_500);
    (appended, sampled).prop_map(|(gaps, steps)| {
        let (mut at, mut appended) = (0, Vec::new());
        for (gap, count) in gaps {
            at += gap;
            appended.extend(std::iter::repeat_n(at, count));
        }
        let mut at = 0;
        let sampled = steps.into_iter().map(|step| {
            at += step;
            at
        });
        Traffic {
            appended,
            sampled: sampled.collect(),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_answer_is_within_one_step_or_an_eighth_of_the_truth(traffic in traffic(), later in 0_i64..60_000_000) {
        let samples = traffic.samples();
        let newest = *traffic.sampled.last().expect("two");
        let now = newest + later;
        let (first, last) = (traffic.end_at(traffic.sampled[0]), traffic.end_at(newest));
        let mut before: Option<Span> = None;
        for committed in 0..traffic.appended.len() as i64 + 2 {
            let answer = samples.lag_time(committed, None, WallTime(now));
            if committed < first {
                prop_assert_eq!(answer, None);
                continue;
            }
            let answer = answer.expect("within the samples");
            prop_assert!(before.is_none_or(|before| answer <= before), "further on is not later");
            before = Some(answer);
            prop_assert_eq!(answer == Span::ZERO, committed >= last, "zero is caught up");
            if committed < last {
                let truth = now - traffic.appended[committed as usize];
                let bound = traffic.longest_step().max(answer.as_micros() / 8);
                prop_assert!((answer.as_micros() - truth).abs() <= bound, "{answer:?} for {truth}");
                let waited = samples.waited(committed, WallTime(now)).expect("samples");
                prop_assert!(waited.as_micros() <= truth, "{waited:?} for {truth}");
                let after = samples.lag_time(committed, None, WallTime(now + 1_000_000));
                prop_assert_eq!(after, Some(Span::micros(answer.as_micros() + 1_000_000)));
            }
        }
        prop_assert!(samples.len() <= MOST);
    }

    #[test]
    fn extreme_numbers_do_no_harm(
        observed in prop::collection::vec((any::<i64>(), any::<i64>(), any::<Option<i64>>(), any::<Option<i64>>()), 0..20),
        committed in any::<i64>(), records in any::<Option<i64>>(), now in any::<i64>(), horizon in any::<i64>(),
    ) {
        let mut samples = Samples::new(Span::micros(horizon));
        for (at, high_watermark, last_stable, log_start) in observed {
            samples.observe(Sample { at: WallTime(at), high_watermark, last_stable, log_start }, None);
        }
        let now = WallTime(now);
        let known = samples.latest().is_some();
        prop_assert_eq!(samples.ends(committed, records, now).is_some(), known);
        prop_assert!(known || samples.lag_time(committed, records, now).is_none());
    }
}
