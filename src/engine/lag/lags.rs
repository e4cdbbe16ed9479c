//! The three lags of a group in one partition.
//!
//! Rule: a lag is a log end minus the committed offset, never negative, and absent where it is not known. Nothing is
//! guessed, and absent is never zero.
//!
//! | case | high, stable | records | lost |
//! |---|---|---|---|
//! | a commit inside the log | the difference | as counted; 0 where `stable` is 0 | 0 |
//! | no commit: never made, expired, deleted by a tombstone, offset -1 | absent | absent | absent |
//! | the commit is for another topic of this name (topic ids differ) | absent | absent | absent |
//! | below the log start | the difference, as Kafka's own tool has it | as counted from the log start | what is gone |
//! | beyond the log end: ends read before commits, or a truncated log | 0 | 0 | 0 |
//! | no last stable offset | `stable` absent | as counted | as above |
//!
//! Edges:
//! - a topic id that one side does not know is no difference: brokers before Kafka 4.1 write none;
//! - a last stable offset above the high watermark, read a moment later, counts as the high watermark.

use super::ends::Sample;
use crate::engine::task::TopicId;

/// What a group committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub offset: i64,
    /// Of the topic that the group read, where the commit says so.
    pub topic_id: Option<TopicId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lags {
    /// To the high watermark.
    pub high: i64,
    /// To the last stable offset.
    pub stable: Option<i64>,
    /// Data records to the last stable offset.
    pub records: Option<i64>,
    /// Offsets of `high` that are below the log start: nobody will read them.
    pub lost: i64,
}

/// `topic_id` is that of the topic now; `records` are the data records that were counted from the commit, or from the log
/// start where that is higher, to the last stable offset.
pub fn lags(position: Option<Position>, log: &Sample, topic_id: Option<TopicId>, records: Option<i64>) -> Option<Lags> {
    let position = position.filter(|position| position.offset >= 0 && log.high_watermark >= 0)?;
    if is_another(position.topic_id, topic_id) {
        return None;
    }
    let to = |end: i64| end.saturating_sub(position.offset).max(0);
    let high = to(log.high_watermark);
    let stable = log.last_stable.map(|stable| to(stable.min(log.high_watermark)));
    let lost = log.log_start.map_or(0, to).min(high);
    let records = match stable {
        Some(stable) => {
            let readable = stable.saturating_sub(lost).max(0);
            if readable == 0 {
                Some(0)
            } else {
                records.map(|records| records.clamp(0, readable))
            }
        }
        None if high == 0 => Some(0),
        None => records.map(|records| records.clamp(0, high - lost)),
    };
    Some(Lags {
        high,
        stable,
        records,
        lost,
    })
}

/// Whether two ids are known and name different topics. Zeros are no id.
pub fn is_another(one: Option<TopicId>, other: Option<TopicId>) -> bool {
    let known = |id: Option<TopicId>| id.filter(|id| *id != TopicId::default());
    matches!((known(one), known(other)), (Some(one), Some(other)) if one != other)
}
