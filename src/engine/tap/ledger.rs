//! The loss ledger of one input partition: what became of every offset.
//!
//! Rule: every offset between the ledger's start and the next one to read has exactly one [`Outcome`], so the counts add
//! up to `next - start`, always. The ledger travels in the metadata of the offset commit, atomic with the offset.
//!
//! Edges:
//! - the text stays under 200 bytes whatever the counts of a log are, whose offsets are below 2^63; brokers take 4096 by
//!   default;
//! - a commit whose metadata is empty or of another program is not ours: [`LedgerError::Foreign`];
//! - a reset that an operator accepted starts a new epoch with counts of zero.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use xxhash_rust::xxh3::xxh3_64;

use crate::engine::task::TopicId;
use crate::engine::time::{EventTime, Span, WallTime, Watermark};

/// What became of one offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Reached at least one metric.
    Counted,
    /// Well formed, and no source with a metric wanted it.
    Filtered,
    /// Its event time is too far ahead; quarantined.
    Future,
    /// Could not be understood; quarantined.
    Malformed,
    /// Too large to look at; quarantined.
    Oversize,
    /// Retention removed it before it was read.
    Expired,
    /// Never was a record: a control record, aborted data, a gap that compaction left.
    Absent,
}

/// See the module's rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Counts the resets that an operator accepted.
    pub epoch: u32,
    /// The first offset of this epoch.
    pub start: i64,
    /// Zero where the broker did not say.
    pub topic_id: TopicId,
    /// Wall time of the first commit of this epoch; zero before it. Tells a partition that another worker is just about to
    /// commit for the first time from one whose commit is gone.
    pub started: WallTime,
    /// How many partitions the topic had when this epoch began (zero: not known): only higher numbers are later ones.
    pub partitions: u32,
    /// The highest event time so far; `out_of_order` is not taken off.
    pub max_time: Option<EventTime>,
    /// The largest recent delay from event to arrival.
    pub delay: Span,
    /// By [`Outcome`].
    pub counts: [u64; 7],
    /// By how many whole seconds the watermark is ahead of `max_time`, or of 1970 where there is none: what the partition
    /// has stated without records. For those who wait for it; zero where it is not ahead.
    pub stated: u64,
}

/// Metadata that is no ledger.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    #[error("no ledger in it")]
    Foreign,
    #[error("a ledger of format {0}, and this build reads format 1: a newer streamgauge wrote it")]
    Format(String),
    #[error("a damaged ledger")]
    Damaged,
}

/// Precedes the encoded ledger and names its format.
const PREFIX: &str = "sg1:";
/// In microseconds.
const SECOND: u64 = 1_000_000;

// === impl Outcome ===

impl Outcome {
    pub const ALL: [Outcome; 7] = [
        Outcome::Counted,
        Outcome::Filtered,
        Outcome::Future,
        Outcome::Malformed,
        Outcome::Oversize,
        Outcome::Expired,
        Outcome::Absent,
    ];

    /// As in the `outcome` label of `streamgauge_records_total`.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Counted => "counted",
            Outcome::Filtered => "filtered",
            Outcome::Future => "future",
            Outcome::Malformed => "malformed",
            Outcome::Oversize => "oversize",
            Outcome::Expired => "expired",
            Outcome::Absent => "absent",
        }
    }
}

// === impl Ledger ===

impl Ledger {
    /// The offset that the counts lead to.
    pub fn next(&self) -> i64 {
        let taken = self.counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count));
        self.start.saturating_add(i64::try_from(taken).unwrap_or(i64::MAX))
    }

    pub fn count(&self, outcome: Outcome) -> u64 {
        self.counts[outcome as usize]
    }

    pub fn add(&mut self, outcome: Outcome, offsets: u64) {
        self.counts[outcome as usize] += offsets;
    }

    /// Committed offset minus what the counts lead to: zero, or something is wrong.
    pub fn balance(&self, committed: i64) -> i64 {
        committed.saturating_sub(self.next())
    }

    /// Notes how far the partition is.
    pub fn reach(&mut self, watermark: Option<Watermark>) {
        let base = self.max_time.unwrap_or_default();
        let ahead = watermark.filter(|mark| mark.0 > base);
        self.stated = ahead.map_or(0, |mark| mark.0.0.abs_diff(base.0) / SECOND);
    }

    /// How far the partition was, at least: whole seconds where it was stated without records.
    pub fn watermark(&self, out_of_order: Span) -> Option<Watermark> {
        let by_records = self.max_time.map(|time| time.back(out_of_order));
        let base = self.max_time.unwrap_or_default();
        let ahead = || base.0.saturating_add_unsigned(self.stated.saturating_mul(SECOND));
        let stated = (self.stated > 0).then(|| EventTime(ahead()));
        by_records.max(stated).map(Watermark)
    }

    /// ASCII, under 200 bytes.
    pub fn encode(&self) -> String {
        let mut bytes = Vec::with_capacity(136);
        push(&mut bytes, self.epoch.into());
        push(&mut bytes, zigzag(self.start));
        bytes.extend_from_slice(&self.topic_id);
        push(&mut bytes, zigzag(self.started.0));
        push(&mut bytes, self.partitions.into());
        bytes.push(u8::from(self.max_time.is_some()));
        if let Some(time) = self.max_time {
            push(&mut bytes, zigzag(time.0));
        }
        push(&mut bytes, zigzag(self.delay.as_micros()));
        for count in self.counts {
            push(&mut bytes, count);
        }
        push(&mut bytes, self.stated);
        bytes.extend_from_slice(&checksum(&bytes));
        let mut text = String::with_capacity(PREFIX.len() + bytes.len() * 4 / 3 + 1);
        text.push_str(PREFIX);
        URL_SAFE_NO_PAD.encode_string(&bytes, &mut text);
        text
    }

    pub fn decode(metadata: &str) -> Result<Ledger, LedgerError> {
        let Some(text) = metadata.strip_prefix(PREFIX) else {
            let format = metadata
                .strip_prefix("sg")
                .and_then(|rest| rest.split_once(':'))
                .map(|(format, _)| format);
            return Err(match format {
                Some(format) if !format.is_empty() && format.bytes().all(|byte| byte.is_ascii_digit()) => {
                    LedgerError::Format(format.to_owned())
                }
                _ => LedgerError::Foreign,
            });
        };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| LedgerError::Damaged)?;
        let (body, sum) = bytes.split_last_chunk::<4>().ok_or(LedgerError::Damaged)?;
        if *sum != checksum(body) {
            return Err(LedgerError::Damaged);
        }
        Self::read(body).ok_or(LedgerError::Damaged)
    }

    fn read(mut body: &[u8]) -> Option<Ledger> {
        let mut ledger = Ledger {
            epoch: u32::try_from(pull(&mut body)?).ok()?,
            ..Ledger::default()
        };
        ledger.start = unzigzag(pull(&mut body)?);
        let (topic_id, rest) = body.split_first_chunk()?;
        (ledger.topic_id, body) = (*topic_id, rest);
        ledger.started = WallTime(unzigzag(pull(&mut body)?));
        ledger.partitions = u32::try_from(pull(&mut body)?).ok()?;
        ledger.max_time = match pull(&mut body)? {
            0 => None,
            1 => Some(EventTime(unzigzag(pull(&mut body)?))),
            _ => return None,
        };
        ledger.delay = Span::micros(unzigzag(pull(&mut body)?));
        for count in &mut ledger.counts {
            *count = pull(&mut body)?;
        }
        // Not there in what the first builds wrote.
        if !body.is_empty() {
            ledger.stated = pull(&mut body)?;
        }
        body.is_empty().then_some(ledger)
    }
}

fn checksum(bytes: &[u8]) -> [u8; 4] {
    (xxh3_64(bytes) as u32).to_le_bytes()
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

fn push(bytes: &mut Vec<u8>, value: u64) {
    prost::encoding::encode_varint(value, bytes);
}

fn pull(bytes: &mut &[u8]) -> Option<u64> {
    prost::encoding::decode_varint(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As many offsets as a log has.
    const MOST: u64 = i64::MAX as u64;

    fn ledgers() -> impl Strategy<Value = Ledger> {
        (
            any::<u32>(),
            any::<i64>(),
            any::<[u8; 16]>(),
            any::<i64>(),
            any::<u32>(),
            any::<Option<i64>>(),
            0..=i64::MAX,
            prop::array::uniform7(0..=MOST),
            any::<u64>(),
        )
            .prop_map(
                |(epoch, start, topic_id, started, partitions, max_time, delay, counts, stated)| Ledger {
                    epoch,
                    start,
                    topic_id,
                    started: WallTime(started),
                    partitions,
                    max_time: max_time.map(EventTime),
                    delay: Span::micros(delay),
                    counts,
                    stated,
                },
            )
    }

    #[test]
    fn the_counts_lead_to_the_next_offset() {
        let mut ledger = Ledger {
            start: 40,
            ..Ledger::default()
        };
        ledger.add(Outcome::Counted, 7);
        ledger.add(Outcome::Absent, 3);
        assert_eq!(ledger.next(), 50);
        assert_eq!(ledger.balance(50), 0);
        assert_eq!(ledger.balance(52), 2);
    }

    #[test]
    fn it_says_how_far_the_partition_is_with_records_and_without() {
        let mark = |seconds: i64| Some(Watermark(EventTime(seconds * 1_000_000)));
        let five = Span::seconds(5);
        let mut ledger = Ledger::default();
        assert_eq!(ledger.watermark(five), None);
        ledger.reach(mark(1_795_356_000));
        assert_eq!(ledger.watermark(five), mark(1_795_356_000), "idle from the start");
        ledger.max_time = Some(EventTime(1_795_356_010 * 1_000_000));
        ledger.reach(mark(1_795_356_005));
        assert_eq!((ledger.stated, ledger.watermark(five)), (0, mark(1_795_356_005)));
        ledger.reach(mark(1_795_356_100));
        assert_eq!(ledger.watermark(five), mark(1_795_356_100), "idle since");
    }

    #[test]
    fn it_says_how_far_an_idle_partition_is_whose_records_are_of_any_year() {
        let now = EventTime(1_795_356_000 * 1_000_000);
        let year_one = EventTime(-62_135_596_800 * 1_000_000);
        for max_time in [year_one, EventTime(i64::MIN), EventTime(-1)] {
            let mut ledger = Ledger {
                max_time: Some(max_time),
                ..Ledger::default()
            };
            ledger.reach(Some(Watermark(now)));
            let read = Ledger::decode(&ledger.encode()).expect("it is ours");
            let mark = read.watermark(Span::seconds(5)).expect("it has spoken");
            assert!(
                mark.0 <= now && mark.0.ahead(Span::seconds(1)) > now,
                "{mark:?} after {max_time:?}"
            );
        }
        let damaged = Ledger {
            stated: u64::MAX,
            ..Ledger::default()
        };
        assert_eq!(damaged.watermark(Span::ZERO), Some(Watermark(EventTime(i64::MAX))));
    }

    #[test]
    fn a_ledger_of_the_first_builds_has_nothing_stated() {
        let ledger = Ledger {
            start: 5,
            ..Ledger::default()
        };
        let text = ledger.encode();
        let bytes = URL_SAFE_NO_PAD.decode(&text[PREFIX.len()..]).expect("ours");
        let mut body = bytes[..bytes.len() - 5].to_vec();
        body.extend_from_slice(&checksum(&body));
        let old = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(body));
        assert_ne!(old, text);
        assert_eq!(Ledger::decode(&old), Ok(ledger));
    }

    #[test]
    fn metadata_of_others_is_not_a_ledger() {
        assert_eq!(Ledger::decode(""), Err(LedgerError::Foreign));
        assert_eq!(Ledger::decode("checkpoint 12"), Err(LedgerError::Foreign));
        assert_eq!(Ledger::decode("sg:"), Err(LedgerError::Foreign));
        assert_eq!(Ledger::decode("sg2:AAAA"), Err(LedgerError::Format("2".into())));
        assert_eq!(Ledger::decode("sg1:"), Err(LedgerError::Damaged));
        assert_eq!(Ledger::decode("sg1:!!"), Err(LedgerError::Damaged));
    }

    #[test]
    fn a_cut_or_changed_ledger_is_damaged() {
        let text = Ledger {
            start: 5,
            ..Ledger::default()
        }
        .encode();
        assert_eq!(Ledger::decode(&text[..text.len() - 1]), Err(LedgerError::Damaged));
        let changed = text.replacen('A', "B", 1);
        assert_eq!(Ledger::decode(&changed), Err(LedgerError::Damaged));
    }

    #[test]
    fn outcomes_are_numbered_in_the_order_of_all() {
        assert!(
            Outcome::ALL
                .iter()
                .enumerate()
                .all(|(index, outcome)| *outcome as usize == index)
        );
    }

    #[test]
    fn the_largest_ledger_stays_under_two_hundred_bytes() {
        let ledger = Ledger {
            epoch: u32::MAX,
            start: i64::MIN,
            topic_id: [0xff; 16],
            started: WallTime(i64::MIN),
            partitions: u32::MAX,
            max_time: Some(EventTime(i64::MIN)),
            delay: Span::micros(i64::MAX),
            counts: [MOST; 7],
            stated: u64::MAX,
        };
        assert!(ledger.encode().len() < 200, "{}", ledger.encode().len());
        assert_eq!(Ledger::decode(&ledger.encode()), Ok(ledger));
    }

    proptest! {
        #[test]
        fn a_ledger_comes_back_as_it_was(ledger in ledgers()) {
            let text = ledger.encode();
            prop_assert!(text.is_ascii() && text.len() < 200);
            prop_assert_eq!(Ledger::decode(&text), Ok(ledger));
        }

        #[test]
        fn any_text_is_judged_and_never_panics(text in "(sg1:)?[-_a-zA-Z0-9]{0,200}") {
            let _ = Ledger::decode(&text);
        }
    }
}
