//! The keys of a join and the state of each: 40 bytes an entry, and some 6 to 11 more to find it.
//!
//! Rule: entries of one state form a list in the order of their times, since a join takes records in the order of event
//! time and every state lasts equally long for all keys. So the oldest is at the list's head, and expiry costs nothing but
//! what expires. Entries live in pages that never move: growing copies none.
//!
//! Edges:
//! - what changed since it was written is known, so that a seal writes only that;
//! - pages are kept when entries go: memory follows the most that ever was.

use hashbrown::HashTable;

use super::carried::CarriedIx;
use crate::engine::keyed::KeyHash;
use crate::engine::time::EventTime;

/// What is known of a key. Each state has a list of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// A request without a response; its time.
    Open = 0,
    /// Answered; known until its time.
    Answered = 1,
    /// Responses whose request has not come; the time of the first.
    Early = 2,
    /// A value; its time.
    Version = 3,
}

/// An entry's place; good until the entry is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryIx(u32);

/// What an entry says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub state: State,
    pub time: EventTime,
    pub carried: CarriedIx,
    /// How many responses came early; 1 in other states.
    pub count: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: KeyHash,
    time: EventTime,
    carried: CarriedIx,
    previous: u32,
    /// In a free entry: the next free one.
    next: u32,
    /// State, whether the changelog has it, whether that is out of date, and the count.
    flags: u32,
}

#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    tail: u32,
    len: usize,
}

#[derive(Debug)]
pub(super) struct Table {
    index: HashTable<u32>,
    pages: Vec<Vec<Entry>>,
    free: u32,
    lists: [List; 4],
    /// Places of entries that may differ from what was written.
    dirty: Vec<u32>,
    /// Keys that were written and are gone.
    gone: Vec<KeyHash>,
}

/// What a seal has to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The record of this key has to go.
    Gone(KeyHash),
    Now(KeyHash, Known),
}

const NONE: u32 = u32::MAX;
const PAGE_BITS: u32 = 12;
const PAGE: usize = 1 << PAGE_BITS;
const STATE: u32 = 0b11;
const WRITTEN: u32 = 0b100;
const DIRTY: u32 = 0b1000;
const COUNT_SHIFT: u32 = 4;
const MAX_COUNT: u32 = u32::MAX >> COUNT_SHIFT;

impl State {
    const ALL: [State; 4] = [State::Open, State::Answered, State::Early, State::Version];

    pub(super) fn from_number(number: u32) -> Option<State> {
        Self::ALL.get(number as usize).copied()
    }

    /// Whether the changelog has a record for each key in this state. The answered ones of a seal are written together:
    /// they end together, and nothing changes them before.
    fn has_record(self) -> bool {
        self != State::Answered
    }
}

impl Entry {
    fn state(&self) -> State {
        State::ALL[(self.flags & STATE) as usize]
    }

    fn known(&self) -> Known {
        Known {
            state: self.state(),
            time: self.time,
            carried: self.carried,
            count: self.flags >> COUNT_SHIFT,
        }
    }

    fn set(&mut self, known: Known) {
        let kept = self.flags & (WRITTEN | DIRTY);
        self.time = known.time;
        self.carried = known.carried;
        self.flags = kept | known.state as u32 | known.count.min(MAX_COUNT) << COUNT_SHIFT;
    }
}

impl Default for Table {
    fn default() -> Self {
        let empty = List {
            head: NONE,
            tail: NONE,
            len: 0,
        };
        Self {
            index: HashTable::new(),
            pages: Vec::new(),
            free: NONE,
            lists: [empty; 4],
            dirty: Vec::new(),
            gone: Vec::new(),
        }
    }
}

// === impl Table ===

impl Table {
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    pub(super) fn count(&self, state: State) -> usize {
        self.lists[state as usize].len
    }

    /// How many records the next seal may have to write.
    pub(super) fn changes(&self) -> usize {
        self.dirty.len() + self.gone.len()
    }

    #[inline]
    pub(super) fn find(&self, key: KeyHash) -> Option<EntryIx> {
        let found = self.index.find(key.spread(), |at| self.entry(*at).key == key);
        found.map(|at| EntryIx(*at))
    }

    #[inline]
    pub(super) fn get(&self, EntryIx(at): EntryIx) -> Known {
        self.entry(at).known()
    }

    pub(super) fn key_of(&self, EntryIx(at): EntryIx) -> KeyHash {
        self.entry(at).key
    }

    /// The entry of this state with the lowest time.
    pub(super) fn oldest(&self, state: State) -> Option<EntryIx> {
        let head = self.lists[state as usize].head;
        (head != NONE).then_some(EntryIx(head))
    }

    /// A key that was not known.
    pub(super) fn insert(&mut self, key: KeyHash, known: Known) {
        let at = self.place(key, known);
        self.link(at);
        self.mark(at);
    }

    /// What is known of a key changed. Gives what it held before.
    pub(super) fn change(&mut self, EntryIx(at): EntryIx, known: Known) -> CarriedIx {
        self.unlink(at);
        let entry = self.entry_mut(at);
        let before = entry.carried;
        entry.set(known);
        self.link(at);
        self.mark(at);
        before
    }

    /// One more early response.
    pub(super) fn count_one(&mut self, EntryIx(at): EntryIx) {
        let entry = self.entry_mut(at);
        if entry.flags >> COUNT_SHIFT < MAX_COUNT {
            entry.flags += 1 << COUNT_SHIFT;
        }
        self.mark(at);
    }

    pub(super) fn remove(&mut self, EntryIx(at): EntryIx) -> Known {
        self.unlink(at);
        self.discard(at)
    }

    /// Everything that the changelog does not have, gone keys first. The answered ones are told once.
    pub(super) fn drain_changes(&mut self) -> Vec<Change> {
        let mut changes: Vec<Change> = self.gone.drain(..).map(Change::Gone).collect();
        let mut now = Vec::with_capacity(self.dirty.len());
        for at in std::mem::take(&mut self.dirty) {
            let entry = self.entry_mut(at);
            if entry.flags & DIRTY == 0 {
                continue;
            }
            entry.flags &= !DIRTY;
            let known = entry.known();
            if known.state.has_record() {
                entry.flags |= WRITTEN;
            } else if entry.flags & WRITTEN != 0 {
                entry.flags &= !WRITTEN;
                changes.push(Change::Gone(entry.key));
            }
            now.push(Change::Now(entry.key, known));
        }
        changes.append(&mut now);
        changes
    }

    /// A key as the changelog has it. Lists are made by [`Table::restored`]. Gives what an older record of it held.
    pub(super) fn restore(&mut self, key: KeyHash, known: Known) -> Option<CarriedIx> {
        let before = self.forget(key);
        let at = self.place(key, known);
        if known.state.has_record() {
            self.entry_mut(at).flags |= WRITTEN;
        }
        before
    }

    /// The changelog says that a key is gone, before [`Table::restored`]. Gives what it held.
    pub(super) fn forget(&mut self, key: KeyHash) -> Option<CarriedIx> {
        let EntryIx(at) = self.find(key)?;
        self.entry_mut(at).flags &= !WRITTEN;
        Some(self.discard(at).carried)
    }

    /// Every key is there.
    pub(super) fn restored(&mut self) {
        let mut places: Vec<u32> = self.index.iter().copied().collect();
        places.sort_unstable_by_key(|at| (self.entry(*at).time, self.entry(*at).key));
        for at in places {
            self.link(at);
        }
    }

    fn entry(&self, at: u32) -> &Entry {
        &self.pages[(at >> PAGE_BITS) as usize][at as usize & (PAGE - 1)]
    }

    fn entry_mut(&mut self, at: u32) -> &mut Entry {
        &mut self.pages[(at >> PAGE_BITS) as usize][at as usize & (PAGE - 1)]
    }

    /// Puts an entry somewhere, in no list.
    fn place(&mut self, key: KeyHash, known: Known) -> u32 {
        let mut entry = Entry {
            key,
            time: known.time,
            carried: known.carried,
            previous: NONE,
            next: NONE,
            flags: 0,
        };
        entry.set(known);
        let at = if self.free == NONE {
            if self.pages.last().is_none_or(|page| page.len() == PAGE) {
                self.pages.push(Vec::with_capacity(PAGE));
            }
            let page = self.pages.len() - 1;
            self.pages[page].push(entry);
            ((page << PAGE_BITS) + self.pages[page].len() - 1) as u32
        } else {
            let at = self.free;
            self.free = self.entry(at).next;
            *self.entry_mut(at) = entry;
            at
        };
        let Self { index, pages, .. } = self;
        index.insert_unique(key.spread(), at, |at| {
            pages[(*at >> PAGE_BITS) as usize][*at as usize & (PAGE - 1)]
                .key
                .spread()
        });
        at
    }

    /// Takes an entry that is in no list out of the table.
    fn discard(&mut self, at: u32) -> Known {
        let entry = *self.entry(at);
        if let Ok(found) = self.index.find_entry(entry.key.spread(), |known| *known == at) {
            found.remove();
        }
        if entry.flags & WRITTEN != 0 {
            self.gone.push(entry.key);
        }
        let free = self.free;
        let freed = self.entry_mut(at);
        freed.flags = 0;
        freed.next = free;
        self.free = at;
        entry.known()
    }

    fn mark(&mut self, at: u32) {
        let entry = self.entry_mut(at);
        if entry.flags & DIRTY == 0 {
            entry.flags |= DIRTY;
            self.dirty.push(at);
        }
    }

    /// At the end of its state's list, where its time belongs.
    fn link(&mut self, at: u32) {
        let state = self.entry(at).state();
        let tail = self.lists[state as usize].tail;
        debug_assert!(
            tail == NONE || self.entry(tail).time <= self.entry(at).time,
            "states are entered in the order of their times"
        );
        let entry = self.entry_mut(at);
        (entry.previous, entry.next) = (tail, NONE);
        match tail {
            NONE => self.lists[state as usize].head = at,
            tail => self.entry_mut(tail).next = at,
        }
        let list = &mut self.lists[state as usize];
        list.tail = at;
        list.len += 1;
    }

    fn unlink(&mut self, at: u32) {
        let Entry { previous, next, .. } = *self.entry(at);
        let state = self.entry(at).state();
        match previous {
            NONE => self.lists[state as usize].head = next,
            previous => self.entry_mut(previous).next = next,
        }
        match next {
            NONE => self.lists[state as usize].tail = previous,
            next => self.entry_mut(next).previous = previous,
        }
        self.lists[state as usize].len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::super::carried::Carried;
    use super::*;

    fn key(n: u64) -> KeyHash {
        KeyHash::of(&n.to_le_bytes())
    }

    fn known(state: State, time: i64, carried: CarriedIx) -> Known {
        Known {
            state,
            time: EventTime(time),
            carried,
            count: 1,
        }
    }

    fn table() -> (Table, CarriedIx) {
        (Table::default(), Carried::default().hold(b""))
    }

    #[test]
    fn an_entry_is_forty_bytes() {
        assert_eq!(size_of::<Entry>(), 40);
    }

    #[test]
    fn the_oldest_of_a_state_is_found_whatever_left_in_between() {
        let (mut table, carried) = table();
        for n in 0..10_000 {
            table.insert(key(n), known(State::Open, n as i64, carried));
        }
        for n in (0..9_000).chain(9_500..10_000) {
            let entry = table.find(key(n)).expect("it is known");
            if n % 2 == 0 {
                table.remove(entry);
            } else {
                table.change(entry, known(State::Answered, n as i64, carried));
            }
        }
        assert_eq!((table.count(State::Open), table.count(State::Answered)), (500, 4_750));
        let oldest = |state| table.oldest(state).map(|entry| table.get(entry).time.0);
        assert_eq!(
            (oldest(State::Open), oldest(State::Answered), oldest(State::Early)),
            (Some(9_000), Some(1), None)
        );
        assert_eq!(table.len(), 5_250);
    }

    #[test]
    fn a_seal_writes_only_what_changed_and_only_what_was_written_is_deleted() {
        let (mut table, carried) = table();
        table.insert(key(1), known(State::Open, 1, carried));
        table.insert(key(2), known(State::Open, 2, carried));
        let short_lived = table.find(key(2)).expect("it is known");
        table.remove(short_lived);
        let first = known(State::Open, 1, carried);
        assert_eq!(table.drain_changes(), [Change::Now(key(1), first)]);
        assert_eq!(table.drain_changes(), []);
        let open = table.find(key(1)).expect("it is known");
        let answered = known(State::Answered, 9, carried);
        table.change(open, answered);
        assert_eq!(
            table.drain_changes(),
            [Change::Gone(key(1)), Change::Now(key(1), answered)],
            "its own record goes; the answered ones of the seal are one"
        );
        table.remove(open);
        assert_eq!(table.drain_changes(), [], "they have no record of their own");
    }

    #[test]
    fn what_comes_back_in_any_order_is_in_order_again() {
        let (mut table, carried) = table();
        for n in [5, 3, 9, 1, 7] {
            assert_eq!(table.restore(key(n), known(State::Open, n as i64, carried)), None);
        }
        assert_eq!(table.forget(key(1)), Some(carried));
        assert_eq!(table.restore(key(3), known(State::Open, 8, carried)), Some(carried));
        table.restored();
        let mut times = Vec::new();
        while let Some(oldest) = table.oldest(State::Open) {
            times.push(table.remove(oldest).time.0);
        }
        assert_eq!(times, [5, 7, 8, 9]);
        assert_eq!(table.drain_changes().len(), 4, "they were written once");
    }
}
