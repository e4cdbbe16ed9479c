//! Records of a join that are not decided yet, by event time.
//!
//! Rule: they come out in order of time, side, key, what they carry and amount, so that equal records in any order of
//! arrival come out alike. Of one time the request is first and the response last, so that what lies between has its place.
//! A record is put away and taken out in constant time, but for sorting one second's records.

use std::collections::BTreeMap;

use super::carried::{Carried, CarriedIx};
use crate::engine::keyed::KeyHash;
use crate::engine::plan::Side;
use crate::engine::time::{EventTime, Watermark};

/// Event time that records are sorted together for, in microseconds.
const BUCKET: i64 = 1_000_000;

/// One record that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event {
    pub time: EventTime,
    pub key: KeyHash,
    pub carried: CarriedIx,
    pub side: Side,
    pub amount: i64,
}

#[derive(Debug, Default)]
pub(super) struct Pending {
    buckets: BTreeMap<i64, Vec<Event>>,
    len: usize,
}

// === impl Pending ===

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn push(&mut self, event: Event) {
        self.len += 1;
        let bucket = event.time.0.div_euclid(BUCKET);
        self.buckets.entry(bucket).or_default().push(event);
    }

    /// The end of the second that has the earliest record.
    pub(super) fn first_end(&self) -> Option<EventTime> {
        self.buckets.first_key_value().map(|(bucket, _)| end_of(*bucket))
    }

    /// The earliest records up to the watermark, in order; empty when there are none. To be called until then.
    pub(super) fn take_until(&mut self, watermark: Watermark, carried: &Carried) -> Vec<Event> {
        let Some(mut first) = self.buckets.first_entry() else {
            return Vec::new();
        };
        let mut taken = if end_of(*first.key()) <= watermark.0 {
            first.remove()
        } else {
            let events = first.get_mut();
            let taken: Vec<Event> = events.extract_if(.., |event| event.time <= watermark.0).collect();
            if events.is_empty() {
                first.remove();
            }
            taken
        };
        self.len -= taken.len();
        taken.sort_unstable_by(|one, other| {
            let by_identity = |event: &Event| (event.time, rank(event.side), event.key);
            by_identity(one)
                .cmp(&by_identity(other))
                .then_with(|| carried.get(one.carried).cmp(carried.get(other.carried)))
                .then(one.amount.cmp(&other.amount))
        });
        taken
    }
}

/// The last moment of the second in which this is.
pub(super) fn end_of_second(time: EventTime) -> EventTime {
    end_of(time.0.div_euclid(BUCKET))
}

fn end_of(bucket: i64) -> EventTime {
    EventTime(bucket.saturating_mul(BUCKET).saturating_add(BUCKET - 1))
}

/// Among those who ask for a value any order will do, so this is right for look-ups too.
fn rank(side: Side) -> u16 {
    match side {
        Side::RESPONSE => u16::MAX,
        Side(number) => number,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_by_time_the_response_last_whatever_came_first() {
        let mut carried = Carried::default();
        let mut pending = Pending::default();
        let mut push = |time, side, text: &[u8]| {
            pending.push(Event {
                time: EventTime(time),
                key: KeyHash::of(b"k"),
                carried: carried.hold(text),
                side: Side(side),
                amount: 0,
            });
        };
        for (time, side, text) in [
            (-5, 0, b"a"),
            (2_500_000, 1, b"a"),
            (2_500_000, 2, b"a"),
            (2_500_000, 0, b"b"),
            (2_500_000, 0, b"a"),
            (1, 0, b"a"),
            (2_500_001, 0, b"a"),
        ] {
            push(time, side, text);
        }
        let mut seen = Vec::new();
        loop {
            let taken = pending.take_until(Watermark(EventTime(2_500_000)), &carried);
            if taken.is_empty() {
                break;
            }
            seen.extend(
                taken
                    .iter()
                    .map(|event| (event.time.0, event.side.0, carried.get(event.carried)[0])),
            );
        }
        assert_eq!(
            seen,
            [
                (-5, 0, b'a'),
                (1, 0, b'a'),
                (2_500_000, 0, b'a'),
                (2_500_000, 0, b'b'),
                (2_500_000, 2, b'a'),
                (2_500_000, 1, b'a')
            ]
        );
        assert_eq!(pending.len(), 1);
    }
}
