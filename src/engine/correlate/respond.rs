//! The first response by event time after a request, for one key after the other.
//!
//! Rule: records come in the order of event time. A request opens its key; the first response within the bound answers
//! it; an answered key is known for `forget`, then as if it had never been.
//!
//! | key is | request | response | its time is over |
//! |---|---|---|---|
//! | not known | opens it | comes early | |
//! | open | duplicate | answers it: response time | after `within`: unanswered |
//! | answered | duplicate | second | after `forget`: forgotten |
//! | early | negative; answers it | one more | after `skew`: unmatched, as many as came |
//!
//! Edges:
//! - a response exactly at the bound answers; a response at the request's own time took no time;
//! - of several early responses the first is the negative one, the others are second ones, at the request's time;
//! - a step of a journey belongs to the key while it is open; others belong to none;
//! - once a request is unanswered its key is not known: a response that comes later still is unmatched.

use super::carried::CarriedIx;
use super::join::Ground;
use super::journey::{self, Journey};
use super::pending::Event;
use super::table::{EntryIx, Known, State, Table};
use super::trail::Step;
use crate::engine::keyed::KeyHash;
use crate::engine::plan::{JoinedLabel, Measure, Respond, Side};
use crate::engine::sketch::Exemplar;
use crate::engine::tap::combine::Amount;
use crate::engine::time::{EventTime, Span, Watermark};

/// Who a measure is about: what the request and the response carry, as far as there are any.
#[derive(Clone, Copy)]
struct Pair {
    request: Option<CarriedIx>,
    response: Option<CarriedIx>,
}

/// Takes one record of the join.
pub(super) fn take(respond: &Respond, event: Event, ground: &mut Ground<'_>) {
    let mut known = ground.table.find(event.key);
    if let Some(entry) = known
        && event.time > end_of(respond, ground.table.get(entry))
    {
        end(respond, entry, ground);
        known = None;
    }
    if event.side > Side::RESPONSE {
        take_step(known, event, ground);
        return;
    }
    let Some(entry) = known else {
        let state = if event.side == Side::REQUEST {
            State::Open
        } else {
            State::Early
        };
        let known = Known {
            state,
            time: event.time,
            carried: event.carried,
            count: 1,
        };
        ground.table.insert(event.key, known);
        return;
    };
    let Known {
        state,
        time,
        carried,
        count,
    } = ground.table.get(entry);
    let answered = |request| Known {
        state: State::Answered,
        time: event.time.ahead(respond.forget),
        carried: request,
        count: 1,
    };
    if event.side == Side::REQUEST {
        let (request, response) = (Some(event.carried), Some(carried));
        if state == State::Early {
            let pair = Pair { request, response };
            show(respond, Measure::Negative, event.time, pair, Amount::Things(1), ground);
            if count > 1 {
                let more = Amount::Things(u64::from(count) - 1);
                show(respond, Measure::Second, event.time, pair, more, ground);
            }
            let early = Some((time, carried));
            finish(respond, event.key, (event.time, event.carried), early, time, ground);
            let before = ground.table.change(entry, answered(event.carried));
            ground.carried.release(before);
            return;
        }
        let pair = Pair {
            request,
            response: None,
        };
        show(respond, Measure::Duplicate, event.time, pair, Amount::Things(1), ground);
    } else {
        let pair = Pair {
            request: Some(carried),
            response: Some(event.carried),
        };
        match state {
            State::Open => {
                let took = event.time.0.saturating_sub(time.0);
                let response = Some((event.time, event.carried));
                let root = finish(respond, event.key, (time, carried), response, event.time, ground);
                let exemplar = root.map(|(trace, span)| Exemplar {
                    value: took,
                    time: event.time,
                    trace,
                    span,
                });
                let took = Amount::Value(took);
                show_with(respond, Measure::ResponseTime, event.time, pair, took, exemplar, ground);
                // The key goes on with what its request carried.
                ground.table.change(entry, answered(carried));
            }
            State::Early => ground.table.count_one(entry),
            State::Answered | State::Version => {
                show(respond, Measure::Second, event.time, pair, Amount::Things(1), ground);
            }
        }
    }
    ground.carried.release(event.carried);
}

/// Ends every key whose time is over at the watermark: every record up to it was taken.
pub(super) fn expire(respond: &Respond, watermark: Watermark, ground: &mut Ground<'_>) {
    for state in [State::Open, State::Answered, State::Early] {
        while let Some(entry) = ground.table.oldest(state) {
            if end_of(respond, ground.table.get(entry)) > watermark.0 {
                break;
            }
            end(respond, entry, ground);
        }
    }
}

/// When the next key's time is over.
pub(super) fn next_end(respond: &Respond, table: &Table) -> Option<EventTime> {
    let oldest = [State::Open, State::Answered, State::Early].map(|state| table.oldest(state));
    let ends = oldest
        .into_iter()
        .flatten()
        .map(|entry| end_of(respond, table.get(entry)));
    ends.min()
}

/// Requests that are open, and for how long the oldest of them has been at the watermark.
pub(super) fn open(watermark: Watermark, ground: &Ground<'_>) -> (usize, Span) {
    let oldest = ground
        .table
        .oldest(State::Open)
        .map(|entry| ground.table.get(entry).time);
    let age = oldest.map_or(Span::ZERO, |time| Span::micros(watermark.0.0.saturating_sub(time.0)));
    (ground.table.count(State::Open), age)
}

/// The last event time at which the key is still in its state.
fn end_of(respond: &Respond, known: Known) -> EventTime {
    match known.state {
        State::Open => known.time.ahead(respond.within),
        State::Early => known.time.ahead(respond.skew),
        State::Answered | State::Version => known.time,
    }
}

/// The key's time is over.
fn end(respond: &Respond, entry: EntryIx, ground: &mut Ground<'_>) {
    let key = ground.table.key_of(entry);
    let known = ground.table.remove(entry);
    let at = end_of(respond, known);
    match known.state {
        State::Open => {
            let pair = Pair {
                request: Some(known.carried),
                response: None,
            };
            show(respond, Measure::Unanswered, at, pair, Amount::Things(1), ground);
            finish(respond, key, (known.time, known.carried), None, at, ground);
        }
        State::Early => {
            let pair = Pair {
                request: None,
                response: Some(known.carried),
            };
            let all = Amount::Things(known.count.into());
            show(respond, Measure::Unmatched, at, pair, all, ground);
        }
        State::Answered | State::Version => {}
    }
    ground.carried.release(known.carried);
}

/// A record that carries the key on the way.
fn take_step(known: Option<EntryIx>, event: Event, ground: &mut Ground<'_>) {
    let is_open = known.is_some_and(|entry| ground.table.get(entry).state == State::Open);
    let step = Step {
        time: event.time,
        side: event.side,
        carried: event.carried,
    };
    if !is_open || !ground.trails.add(event.key, step) {
        ground.carried.release(event.carried);
    }
}

/// The conversation is final: its journey leaves. Gives trace and root span, if it does.
fn finish(
    respond: &Respond,
    key: KeyHash,
    request: (EventTime, CarriedIx),
    response: Option<(EventTime, CarriedIx)>,
    end: EventTime,
    ground: &mut Ground<'_>,
) -> Option<(u128, u64)> {
    let journeys = respond.journeys.as_ref()?;
    let trail = ground.trails.take(key);
    let Ground {
        carried, spans, shown, ..
    } = ground;
    let event = |(time, held): (EventTime, CarriedIx)| journey::Event {
        time,
        carried: carried.get(held),
    };
    let journey = Journey {
        key,
        request: event(request),
        response: response.map(event),
        end,
        trail: &trail,
    };
    let verdict = spans.add(journeys, &journey, carried);
    if let Some(metric) = journeys.counted {
        let labels = [journeys.name.as_str(), verdict.outcome, verdict.sampled]
            .map(|value| JoinedLabel::Const(value.to_owned()));
        let at = end.max(request.0);
        shown.add(metric, &labels, |_| None, at, Amount::Things(1));
    }
    for step in trail.steps {
        carried.release(step.carried);
    }
    verdict.root
}

fn show(respond: &Respond, measure: Measure, at: EventTime, pair: Pair, amount: Amount, ground: &mut Ground<'_>) {
    show_with(respond, measure, at, pair, amount, None, ground);
}

fn show_with(
    respond: &Respond,
    measure: Measure,
    at: EventTime,
    pair: Pair,
    amount: Amount,
    exemplar: Option<Exemplar>,
    ground: &mut Ground<'_>,
) {
    let Ground { carried, shown, .. } = ground;
    for measured in respond.measured.iter().filter(|measured| measured.measure == measure) {
        let of_side = |side: Side| {
            let held = if side == Side::REQUEST {
                pair.request
            } else {
                pair.response
            };
            held.map(|held| carried.get(held))
        };
        let partial = shown.add(measured.metric, &measured.labels, of_side, at, amount);
        if let Some(exemplar) = exemplar {
            partial.exemplify(exemplar);
        }
    }
}
