//! The newest value of a key at or before a record's event time.
//!
//! Rule: records come in the order of event time, values before those who ask at the same time. So the one value that is
//! kept of a key is the newest at or before whoever asks now, and a later value cannot change an earlier answer.
//!
//! Edges:
//! - a value older than `within` is none; exactly as old still is one;
//! - of several values of one time the one that sorts last by its bytes wins, whichever came first;
//! - a record that asks too late gets no value, and counts.

use super::join::Ground;
use super::pending::Event;
use super::table::{Known, State, Table};
use crate::engine::plan::{Latest, Side};
use crate::engine::tap::combine::Amount;
use crate::engine::time::{EventTime, Watermark};

/// Takes one record of the join.
pub(super) fn take(latest: &Latest, event: Event, ground: &mut Ground<'_>) {
    let known = ground.table.find(event.key);
    if event.side == Side::VALUE {
        let version = Known {
            state: State::Version,
            time: event.time,
            carried: event.carried,
            count: 1,
        };
        match known {
            Some(entry) => {
                let before = ground.table.change(entry, version);
                ground.carried.release(before);
            }
            None => ground.table.insert(event.key, version),
        }
        return;
    }
    let found = known
        .map(|entry| ground.table.get(entry))
        .filter(|version| version.time.ahead(latest.within) >= event.time);
    answer(latest, event, found, ground);
}

/// A record that asks after its time was decided.
pub(super) fn take_late(latest: &Latest, event: Event, ground: &mut Ground<'_>) {
    answer(latest, event, None, ground);
}

/// Forgets the values that nobody can be answered with any more.
pub(super) fn expire(latest: &Latest, watermark: Watermark, ground: &mut Ground<'_>) {
    while let Some(entry) = ground.table.oldest(State::Version) {
        if ground.table.get(entry).time.ahead(latest.within) > watermark.0 {
            break;
        }
        let version = ground.table.remove(entry);
        ground.carried.release(version.carried);
    }
}

/// When the next value is forgotten.
pub(super) fn next_end(latest: &Latest, table: &Table) -> Option<EventTime> {
    let oldest = table.oldest(State::Version)?;
    Some(table.get(oldest).time.ahead(latest.within))
}

fn answer(latest: &Latest, event: Event, found: Option<Known>, ground: &mut Ground<'_>) {
    let Ground { carried, shown, .. } = ground;
    if let Some(ask) = event.side.ask_index().and_then(|index| latest.asks.get(index)) {
        let of_side = |side: Side| match side {
            Side::VALUE => found.map(|version| carried.get(version.carried)),
            _ => Some(carried.get(event.carried)),
        };
        let kind = &shown.plan.metrics[ask.metric.0].kind;
        let amount = Amount::from_number(event.amount, kind);
        shown.add(ask.metric, &ask.labels, of_side, event.time, amount);
    }
    carried.release(event.carried);
}
