//! Compaction of a changelog: the newest record of each key stays.
//!
//! Rule: what stays keeps its offset, what goes leaves a gap, and the log's end does not move. Only what every reader may
//! see is compacted.
//!
//! Edges: a tombstone stays for a day, Kafka's `delete.retention.ms`, so that a reader that is under way learns of it.

use std::collections::{BTreeMap, VecDeque};

use crate::engine::time::{Span, WallTime};

use super::batch::{Batch, RecordBatch, State};

/// How long a tombstone stays.
const TOMBSTONES: Span = Span::seconds(24 * 3_600);

/// Batches of about this size come out.
const BATCH_BYTES: usize = 256 * 1_024;

/// The batches that remain of `batches`, none of which is open; offsets below `start` are deleted already.
pub(super) fn compact(batches: &VecDeque<Batch>, start: i64, now: WallTime) -> VecDeque<Batch> {
    let mut newest: BTreeMap<&[u8], i64> = BTreeMap::new();
    for batch in batches {
        for entry in batch.entries() {
            if let Some(key) = entry.key {
                newest.insert(key, batch.offset_of(&entry));
            }
        }
    }

    let mut kept = VecDeque::new();
    let mut open = Open::default();
    for batch in batches {
        for entry in batch.entries() {
            let offset = batch.offset_of(&entry);
            let stamp = batch.appended.unwrap_or(entry.stamp);
            let is_newest = entry.key.is_some_and(|key| newest.get(key) == Some(&offset));
            let is_done = entry.value.is_none() && stamp.ahead(TOMBSTONES) < now;
            if offset < start || !is_newest || is_done {
                continue;
            }
            if open.batch.size() >= BATCH_BYTES || open.appended != batch.appended || open.delta(offset).is_none() {
                open.close_into(&mut kept);
            }
            if open.batch.is_empty() {
                open = Open {
                    base: offset,
                    appended: batch.appended,
                    ..Open::default()
                };
            }
            open.batch.push_entry(&entry, open.delta(offset).unwrap_or_default());
            open.next = offset + 1;
        }
    }
    open.close_into(&mut kept);
    kept
}

/// The batch that is being filled.
#[derive(Default)]
struct Open {
    base: i64,
    next: i64,
    appended: Option<WallTime>,
    batch: RecordBatch,
}

// === impl Open ===

impl Open {
    fn delta(&self, offset: i64) -> Option<u32> {
        u32::try_from(offset - self.base).ok()
    }

    fn close_into(&mut self, kept: &mut VecDeque<Batch>) {
        let batch = std::mem::take(&mut self.batch);
        if !batch.is_empty() {
            kept.push_back(batch.at(self.base, self.next, State::Visible, self.appended));
        }
    }
}
