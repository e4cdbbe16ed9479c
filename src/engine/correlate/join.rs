//! One join of one task: what waits, what is known of each key, what is to be told.
//!
//! Rule: records wait until the watermark of all sources has passed them, then the operator takes them in order, then
//! everything whose time is over by the watermark ends.
//!
//! Edges:
//! - between two calls of [`JoinState::advance`] nothing is decided, so what comes in between is late only behind the last
//!   one;
//! - a watermark may jump by hours (a partition that is idle at last, a long downtime): it is followed second by second of
//!   event time, and no further than one seal can hold. Whatever the steps, the results are the same.

use super::carried::{Carried, CarriedIx};
use super::changelog::{self, ChunkKind, Entries, Written};
use super::journey::Spans;
use super::latest;
use super::pending::{Event, Pending, end_of_second};
use super::respond;
use super::shown::Shown;
use super::table::{Change, Known, State, Table};
use super::trail::Trails;
use crate::engine::codec::{CodecError, KeyedRecords, Level, MetricPartials};
use crate::engine::keyed::{KeyHash, Packed};
use crate::engine::plan::{Join, Journeys, Kind, Measure, MetricIx, Operator, Plan, Side};
use crate::engine::series::{SeriesKey, partition_of, push_value};
use crate::engine::tap::combine::{Amount, Combiner};
use crate::engine::time::{EventTime, Span, Watermark};

/// So much may come of one call of [`JoinState::advance`], and of one second of event time more, in bytes: what one
/// transaction takes with ease.
const ENOUGH: usize = 4 * 1024 * 1024;

/// Everything that one join holds.
#[derive(Debug, Default)]
pub(super) struct JoinState {
    /// Everything at or before it is decided.
    decided: Option<Watermark>,
    table: Table,
    carried: Carried,
    pending: Pending,
    combiner: Combiner,
    trails: Trails,
    spans: Spans,
    /// Records of this seal as they came; those that still wait at its end are written.
    arrived: Vec<(EventTime, KeyedRecords)>,
    arrived_bytes: usize,
    /// What the changelog holds beside the keys' own records, until its last time is over.
    chunks: Vec<(ChunkKind, u64, EventTime)>,
    /// Levels as they were told last, by metric.
    levels: Vec<(MetricIx, i64)>,
    key: Vec<u8>,
}

/// What an operator works on.
pub(super) struct Ground<'a> {
    pub table: &'a mut Table,
    pub carried: &'a mut Carried,
    pub trails: &'a mut Trails,
    pub spans: &'a mut Spans,
    pub shown: Shown<'a>,
}

// === impl JoinState ===

impl JoinState {
    pub(super) fn new(application: &str, plan: &Plan, join: &Join) -> Self {
        let spans = journeys_of(join).map_or_else(Spans::default, |journeys| {
            let pipeline = plan.pipelines.get(journeys.pipeline).map_or("", String::as_str);
            Spans::new(application, pipeline, &journeys.name)
        });
        Self {
            spans,
            ..Self::default()
        }
    }

    pub(super) fn decided(&self) -> Option<Watermark> {
        self.decided
    }

    /// Keys, undecided records and the steps of journeys.
    pub(super) fn entries(&self) -> usize {
        self.table.len() + self.pending.len() + self.trails.len()
    }

    /// Bytes that a seal would write, roughly.
    pub(super) fn weight(&self) -> usize {
        self.arrived_bytes + self.produced()
    }

    /// Those of them that came of decisions.
    fn produced(&self) -> usize {
        let changes = self.table.changes() * 48 + self.trails.changes() * 256;
        self.combiner.weight() + self.spans.weight() + changes
    }

    /// What can be wrong with records, before any is taken.
    pub(super) fn check(join: &Join, records: &KeyedRecords) -> Result<usize, CodecError> {
        let corrupt = |what: &str| CodecError::Corrupt(format!("records for {} {what}", join.name));
        if records.side as usize >= join.sides() {
            return Err(corrupt("of a side that it does not have"));
        }
        let mut count = 0;
        for record in Packed::new(&records.records, records.amounts) {
            if record?.carried as usize >= records.carried.len() {
                return Err(corrupt("that carry what is not there"));
            }
            count += 1;
        }
        Ok(count)
    }

    /// Takes records that were checked.
    pub(super) fn take(&mut self, plan: &Plan, join: &Join, records: KeyedRecords) {
        let side = Side(records.side as u16);
        let held: Vec<CarriedIx> = records.carried.iter().map(|bytes| self.carried.hold(bytes)).collect();
        let mut last: Option<EventTime> = None;
        for record in Packed::new(&records.records, records.amounts).flatten() {
            let Some(carried) = held.get(record.carried as usize).copied() else {
                continue;
            };
            let event = Event {
                time: record.time,
                key: record.key,
                carried,
                side,
                amount: record.amount,
            };
            match self.decided {
                Some(decided) if record.time <= decided.0 => self.take_late(plan, join, event, decided),
                _ => {
                    self.carried.hold_again(carried);
                    self.pending.push(event);
                    last = last.max(Some(record.time));
                }
            }
        }
        for carried in held {
            self.carried.release(carried);
        }
        if let Some(last) = last {
            self.arrived_bytes += records.records.len() + records.carried.iter().map(Vec::len).sum::<usize>();
            self.arrived.push((last, records));
        }
    }

    /// Decides what the watermark has passed, until that is enough for a seal. Gives whether there is more.
    pub(super) fn advance(&mut self, plan: &Plan, join: &Join, watermark: Option<Watermark>) -> bool {
        let is_ahead = |new: &Watermark| self.decided.is_none_or(|decided| decided < *new);
        let Some(watermark) = watermark.filter(is_ahead) else {
            return false;
        };
        loop {
            let until = self
                .next_end(join)
                .map_or(watermark, |end| watermark.min(Watermark(end)));
            self.decide(plan, join, until);
            if until == watermark {
                return false;
            }
            if self.produced() >= ENOUGH {
                return true;
            }
        }
    }

    /// The end of the next second in which anything is to be decided; never one that is decided.
    fn next_end(&self, join: &Join) -> Option<EventTime> {
        let over = match &join.operator {
            Operator::Respond(operator) => respond::next_end(operator, &self.table),
            Operator::Latest(operator) => latest::next_end(operator, &self.table),
        };
        let over = over.map(end_of_second);
        let first = over.into_iter().chain(self.pending.first_end()).min()?;
        let undecided = self
            .decided
            .map(|decided| end_of_second(decided.0.ahead(Span::micros(1))));
        Some(undecided.map_or(first, |undecided| first.max(undecided)))
    }

    /// Decides everything that this watermark has passed.
    fn decide(&mut self, plan: &Plan, join: &Join, watermark: Watermark) {
        let (mut ground, pending) = self.ground(plan);
        loop {
            let events = pending.take_until(watermark, ground.carried);
            if events.is_empty() {
                break;
            }
            for event in events {
                match &join.operator {
                    Operator::Respond(operator) => respond::take(operator, event, &mut ground),
                    Operator::Latest(operator) => latest::take(operator, event, &mut ground),
                }
            }
        }
        match &join.operator {
            Operator::Respond(operator) => respond::expire(operator, watermark, &mut ground),
            Operator::Latest(operator) => latest::expire(operator, watermark, &mut ground),
        }
        self.decided = Some(watermark);
    }

    /// What is told to each gauge partition.
    pub(super) fn tell(&mut self, plan: &Plan, join: &Join, partitions: u32) -> Vec<(Vec<MetricPartials>, Vec<Level>)> {
        let levels = self.changed_levels(plan, join);
        let metrics = self.combiner.drain(plan, partitions);
        let mut told: Vec<(Vec<MetricPartials>, Vec<Level>)> =
            metrics.into_iter().map(|metrics| (metrics, Vec::new())).collect();
        for (metric, value) in levels {
            let metric = &plan.metrics[metric.0];
            let SeriesKey(key) = SeriesKey::default();
            let partition = partition_of(&metric.name, &key, partitions);
            told[partition as usize].1.push(Level {
                definition: metric.definition.0,
                key,
                value,
            });
        }
        told
    }

    /// Changelog records of everything that changed since the last seal; takes numbers for chunks from `sequence`.
    pub(super) fn write(&mut self, join: &Join, sequence: &mut u64, changelog: &mut Vec<Written>) {
        let mut answered = Entries::default();
        for change in self.table.drain_changes() {
            match change {
                Change::Gone(key) => changelog.push((changelog::entry_key(join.definition, key), None)),
                Change::Now(key, known) if known.state == State::Answered => {
                    answered.push(key, known.time, self.carried.get(known.carried));
                }
                Change::Now(key, known) => changelog.push((
                    changelog::entry_key(join.definition, key),
                    Some(changelog::write_entry(known, self.carried.get(known.carried))),
                )),
            }
        }
        for (key, trail) in self.trails.drain_changes() {
            let value = trail.map(|trail| changelog::write_trail(trail, &self.carried));
            changelog.push((changelog::trail_key(join.definition, key), value));
        }
        let decided = self.decided;
        let is_over = |time: EventTime| decided.is_some_and(|decided| time <= decided.0);
        let arrived = std::mem::take(&mut self.arrived).into_iter();
        let waiting = arrived.filter(|(last, _)| !is_over(*last));
        self.arrived_bytes = 0;
        let chunks = &mut self.chunks;
        chunks.retain(|(kind, number, last)| {
            let over = is_over(*last);
            if over {
                changelog.push((changelog::chunk_key(*kind, join.definition, *number), None));
            }
            !over
        });
        let answered = answered.finish().into_iter();
        let new = waiting
            .map(|(last, records)| (ChunkKind::Waiting, last, records))
            .chain(answered.map(|(last, records)| (ChunkKind::Answered, last, records)));
        for (kind, last, value) in changelog::chunks(new) {
            chunks.push((kind, *sequence, last));
            changelog.push((changelog::chunk_key(kind, join.definition, *sequence), Some(value)));
            *sequence += 1;
        }
    }

    /// One key, as the changelog has it; `None`: it is gone.
    pub(super) fn restore_entry(&mut self, key: KeyHash, value: Option<&[u8]>) -> Result<(), CodecError> {
        let before = match value {
            None => self.table.forget(key),
            Some(value) => {
                let (mut known, carried) = changelog::read_entry(value)?;
                known.carried = self.carried.hold(carried);
                self.table.restore(key, known)
            }
        };
        if let Some(before) = before {
            self.carried.release(before);
        }
        Ok(())
    }

    /// The steps of one key, as the changelog has them; `None`: they are gone.
    pub(super) fn restore_trail(&mut self, key: KeyHash, value: Option<&[u8]>) -> Result<(), CodecError> {
        let trail = value.map(|value| changelog::read_trail(value, &mut self.carried));
        for step in self.trails.restore(key, trail.transpose()?).steps {
            self.carried.release(step.carried);
        }
        Ok(())
    }

    /// The spans of journeys that are over, as requests.
    pub(super) fn freeze(&mut self, application: &str, plan: &Plan, join: &Join) -> Vec<Vec<u8>> {
        journeys_of(join).map_or(Vec::new(), |journeys| self.spans.freeze(application, plan, journeys))
    }

    /// Every key of its own record is there; the chunks follow, with the watermark up to which all was decided.
    pub(super) fn restored(
        &mut self,
        join: &Join,
        decided: Option<Watermark>,
        chunks: impl Iterator<Item = (ChunkKind, u64, Vec<u8>)>,
    ) -> Result<(), CodecError> {
        self.decided = decided;
        for (kind, number, value) in chunks {
            let mut last: Option<EventTime> = None;
            for records in changelog::read_chunk(&value)? {
                Self::check(join, &records)?;
                last = last.max(self.restore_chunk(kind, &records)?);
            }
            // What is over was deleted with the seal that decided it.
            let last = last.or(decided.map(|decided| decided.0)).unwrap_or_default();
            self.chunks.push((kind, number, last));
        }
        self.table.restored();
        Ok(())
    }

    /// Gives the last time in it that is not over.
    fn restore_chunk(&mut self, kind: ChunkKind, records: &KeyedRecords) -> Result<Option<EventTime>, CodecError> {
        let mut last = None;
        for record in Packed::new(&records.records, records.amounts) {
            let record = record?;
            if self.decided.is_some_and(|decided| record.time <= decided.0) {
                continue;
            }
            last = last.max(Some(record.time));
            let bytes = records
                .carried
                .get(record.carried as usize)
                .map_or(&[][..], Vec::as_slice);
            let carried = self.carried.hold(bytes);
            match kind {
                ChunkKind::Waiting => self.pending.push(Event {
                    time: record.time,
                    key: record.key,
                    carried,
                    side: Side(records.side as u16),
                    amount: record.amount,
                }),
                ChunkKind::Answered => {
                    let known = Known {
                        state: State::Answered,
                        time: record.time,
                        carried,
                        count: 1,
                    };
                    if let Some(before) = self.table.restore(record.key, known) {
                        self.carried.release(before);
                    }
                }
            }
        }
        Ok(last)
    }

    fn ground<'a>(&'a mut self, plan: &'a Plan) -> (Ground<'a>, &'a mut Pending) {
        let ground = Ground {
            table: &mut self.table,
            carried: &mut self.carried,
            trails: &mut self.trails,
            spans: &mut self.spans,
            shown: Shown {
                plan,
                combiner: &mut self.combiner,
                key: &mut self.key,
            },
        };
        (ground, &mut self.pending)
    }

    /// A record behind what was decided; what it carries is held by the caller.
    #[cold]
    fn take_late(&mut self, plan: &Plan, join: &Join, event: Event, decided: Watermark) {
        if let (Operator::Latest(operator), Some(_)) = (&join.operator, event.side.ask_index()) {
            self.carried.hold_again(event.carried);
            let (mut ground, _) = self.ground(plan);
            latest::take_late(operator, event, &mut ground);
        } else if let Some(late) = join.late {
            self.key.clear();
            push_value(&mut self.key, join.name.as_bytes());
            push_value(&mut self.key, join.side_name(event.side).as_bytes());
            let metric = &plan.metrics[late.0];
            // The first moment that is not decided.
            let window = metric.window.window_of(decided.0.ahead(Span::micros(1)));
            self.combiner
                .add(late, &Kind::Count, window, &self.key, Amount::Things(1));
        }
    }

    /// The levels that are not what was told last.
    fn changed_levels(&mut self, plan: &Plan, join: &Join) -> Vec<(MetricIx, i64)> {
        let (Operator::Respond(operator), Some(decided)) = (&join.operator, self.decided) else {
            return Vec::new();
        };
        let (open, age) = respond::open(decided, &self.ground(plan).0);
        let levels = operator.measured.iter().filter_map(|measured| match measured.measure {
            Measure::Open => Some((
                measured.metric,
                i64::try_from(open).unwrap_or(i64::MAX).saturating_mul(1_000_000),
            )),
            // Microseconds are the millionths of a second.
            Measure::OldestOpen => Some((measured.metric, age.as_micros())),
            _ => None,
        });
        let levels: Vec<(MetricIx, i64)> = levels.collect();
        let changed = levels
            .iter()
            .filter(|level| !self.levels.contains(level))
            .copied()
            .collect();
        self.levels = levels;
        changed
    }
}

fn journeys_of(join: &Join) -> Option<&Journeys> {
    match &join.operator {
        Operator::Respond(respond) => respond.journeys.as_ref(),
        Operator::Latest(_) => None,
    }
}
