//! What records carry through a join: label values, kept once however many records carry them.
//!
//! Rule: every holder of an index holds one reference; with the last one the bytes are gone.

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// Names bytes that someone holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CarriedIx(pub u32);

#[derive(Debug, Default)]
pub(super) struct Carried {
    table: HashTable<u32>,
    slots: Vec<Slot>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot {
    bytes: Box<[u8]>,
    holders: u32,
}

// === impl Carried ===

impl Carried {
    /// One more holder of these bytes.
    pub(super) fn hold(&mut self, bytes: &[u8]) -> CarriedIx {
        let hash = xxh3_64(bytes);
        let Self { table, slots, free } = self;
        if let Some(index) = table.find(hash, |index| *slots[*index as usize].bytes == *bytes) {
            slots[*index as usize].holders += 1;
            return CarriedIx(*index);
        }
        let slot = Slot {
            bytes: bytes.into(),
            holders: 1,
        };
        let index = match free.pop() {
            Some(index) => {
                slots[index as usize] = slot;
                index
            }
            None => {
                slots.push(slot);
                slots.len() as u32 - 1
            }
        };
        table.insert_unique(hash, index, |index| xxh3_64(&slots[*index as usize].bytes));
        CarriedIx(index)
    }

    /// One more holder of what is held already.
    #[inline]
    pub(super) fn hold_again(&mut self, CarriedIx(index): CarriedIx) {
        self.slots[index as usize].holders += 1;
    }

    /// One holder less.
    #[inline]
    pub(super) fn release(&mut self, CarriedIx(index): CarriedIx) {
        let slot = &mut self.slots[index as usize];
        debug_assert!(slot.holders > 0, "released once for each time it was held");
        slot.holders -= 1;
        if slot.holders == 0 {
            let hash = xxh3_64(&slot.bytes);
            if let Ok(entry) = self.table.find_entry(hash, |known| *known == index) {
                entry.remove();
            }
            slot.bytes = Box::default();
            self.free.push(index);
        }
    }

    #[inline]
    pub(super) fn get(&self, CarriedIx(index): CarriedIx) -> &[u8] {
        &self.slots[index as usize].bytes
    }

    /// How many different ones are held.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_are_kept_once_and_until_the_last_holder_lets_go() {
        let mut carried = Carried::default();
        let (one, two) = (carried.hold(b"email"), carried.hold(b"email"));
        let other = carried.hold(b"");
        assert_eq!(one, two);
        assert_eq!((carried.get(one), carried.get(other)), (&b"email"[..], &b""[..]));
        carried.release(one);
        assert_eq!(carried.get(two), b"email");
        carried.release(two);
        assert_eq!(carried.len(), 1);
        let third = carried.hold(b"web");
        assert_eq!(
            (third, carried.get(third)),
            (one, &b"web"[..]),
            "its place is used again"
        );
    }
}
