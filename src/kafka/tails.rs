//! What lies between a group's offset and the end of what a committed reader may read: how many records, and how old the
//! first of them is.
//!
//! Rule: a span of at most [`LONGEST`] offsets is read whole and its records are counted; of a longer one only the first
//! record is read. Control records, records of aborted transactions and what compaction took are no records.
//!
//! Edges:
//! - a span ends at a last stable offset that was sampled: what came later is not counted;
//! - short spans of one partition end at the same offset and are read in one go; each longer one takes a turn of its own;
//! - what was not read when the time is up is absent, and so is what retention took meanwhile or the login may not read.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::topic_partition_list::Offset;

use super::context::{Quiet, log_line};
use super::list;
use super::settings::Connection;
use super::sys::{EventConsumer, ReadError, Said};
use super::trouble::{self, About};
use crate::engine::task::Stamp;
use crate::engine::time::WallTime;
use crate::runtime::log::{LogError, TopicPartition};

/// The most offsets of which records are counted.
pub const LONGEST: i64 = 1_000;

/// One wait for records.
const WAIT: Duration = Duration::from_millis(100);

/// Offsets of one partition, the last one excluded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub partition: TopicPartition,
    pub start: i64,
    pub end: i64,
}

/// What was found in a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// How many records; `None` where it is too long to be counted.
    pub records: Option<u64>,
    /// The timestamp of the first record; `None` where there is no record, or it has none.
    pub first: Option<WallTime>,
}

/// What was read within the time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tails {
    pub found: BTreeMap<Span, Tail>,
    /// Rights that are missing, in words.
    pub refused: BTreeSet<String>,
}

/// Reads spans; keeps its connections from one call to the next.
pub struct TailReader {
    consumer: EventConsumer<Quiet>,
}

/// Spans of one partition that are read in one go.
#[derive(Debug)]
struct Reading {
    spans: Vec<Counting>,
    end: i64,
    /// Only the first record is wanted.
    first_only: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    Done,
    Failed,
}

#[derive(Debug)]
struct Counting {
    start: i64,
    records: u64,
    first: Option<WallTime>,
}

/// What is read at the same time: one reading a partition.
type Turn = BTreeMap<TopicPartition, Reading>;

// === impl Span ===

impl Span {
    fn is_short(&self) -> bool {
        self.end - self.start <= LONGEST
    }
}

// === impl TailReader ===

impl TailReader {
    pub fn open(connection: &Connection) -> Result<Self, LogError> {
        let consumer: BaseConsumer<Quiet> = connection
            .tail_reader()
            .create_with_context(Quiet::default())
            .map_err(|error| LogError::Refused(format!("tail reader: {error}")))?;
        let consumer = EventConsumer::new(consumer);
        let consumer = consumer.ok_or_else(|| LogError::Refused("tail reader: its group has no name".to_owned()))?;
        Ok(Self { consumer })
    }

    /// Reads these spans, for at most this long. Those without offsets have no records, unread.
    pub fn read(&self, spans: &BTreeSet<Span>, wait: Duration) -> Tails {
        let deadline = Instant::now() + wait;
        let mut tails = Tails::default();
        let (empty, spans): (Vec<&Span>, Vec<&Span>) = spans.iter().partition(|span| span.start >= span.end);
        let nothing = Tail {
            records: Some(0),
            first: None,
        };
        tails
            .found
            .extend(empty.into_iter().map(|span| (span.clone(), nothing)));
        for mut turn in turns(&spans) {
            if Instant::now() >= deadline {
                break;
            }
            self.take(&mut turn, deadline, &mut tails.refused);
            for (partition, reading) in turn {
                tails.found.extend(reading.results(&partition));
            }
        }
        if let Err(error) = self.consumer.client().unassign() {
            tracing::debug!(event_type = "tail_trouble", %error, "the tails are not let go");
        }
        tails
    }

    /// Until all of the turn is read, or the time is up.
    fn take(&self, turn: &mut Turn, deadline: Instant, refused: &mut BTreeSet<String>) {
        let from =
            |(partition, reading): (&TopicPartition, &Reading)| (partition.clone(), Offset::Offset(reading.start()));
        let from: Vec<(TopicPartition, Offset)> = turn.iter().map(from).collect();
        let assignment = list(from.iter().map(|(partition, offset)| (partition, *offset)));
        if let Err(error) = self.consumer.client().assign(&assignment) {
            tracing::debug!(event_type = "tail_trouble", %error, "the tails cannot be read");
            return;
        }
        let mut open = turn.len();
        while open > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let Some(event) = self.consumer.poll(left.min(WAIT)) else {
                continue;
            };
            let ended = match event.said() {
                Said::Record {
                    topic,
                    partition,
                    record,
                } => {
                    let partition = TopicPartition {
                        topic: topic.to_owned(),
                        partition,
                    };
                    let time = match record.stamp {
                        Stamp::None => None,
                        Stamp::Created(time) | Stamp::Appended(time) => Some(time),
                    };
                    let reading = turn.get_mut(&partition);
                    let ended = reading.is_some_and(|reading| reading.see(record.offset, time));
                    ended.then_some(partition)
                }
                Said::Error(error) => met(error, turn, refused),
                Said::Log(level, facility, line) => {
                    log_line(level, &facility, &line);
                    None
                }
                Said::Assigned(_) | Said::Revoked(_) | Said::Other => None,
            };
            if let Some(partition) = ended {
                open -= 1;
                // What lies behind is of no use. Not paused: it would be still, when it is read the next time.
                let rest = list([(&partition, Offset::Invalid)]);
                if open > 0
                    && let Err(error) = self.consumer.client().incremental_unassign(&rest)
                {
                    tracing::debug!(event_type = "tail_trouble", %error, topic = partition.topic, "a partition is read on");
                }
            }
        }
    }
}

/// The partition whose reading is over by this.
fn met(error: ReadError, turn: &mut Turn, refused: &mut BTreeSet<String>) -> Option<TopicPartition> {
    let partition = error.partition?;
    let reading = turn.get_mut(&partition)?;
    if reading.state != State::Open {
        return None;
    }
    match error.code {
        Code::PartitionEOF => reading.state = State::Done,
        code @ Code::TopicAuthorizationFailed => {
            reading.state = State::Failed;
            refused.insert(trouble::asked(code, About::ReadTopic(&partition.topic)).to_string());
        }
        Code::AutoOffsetReset
        | Code::OffsetOutOfRange
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition => reading.state = State::Failed,
        // What passes.
        code => {
            tracing::debug!(event_type = "tail_trouble", %code, said = error.text, topic = partition.topic, "reading a tail");
            return None;
        }
    }
    Some(partition)
}

/// Deals the spans out: the short ones of a partition together and first.
fn turns(spans: &[&Span]) -> Vec<Turn> {
    let mut turns: Vec<Turn> = Vec::new();
    let mut of_partition: BTreeMap<&TopicPartition, Vec<Reading>> = BTreeMap::new();
    for span in spans {
        let readings = of_partition.entry(&span.partition).or_default();
        let joined = readings
            .iter_mut()
            .find(|reading| !reading.first_only && span.is_short() && reading.end == span.end);
        match joined {
            Some(reading) => reading.spans.push(Counting::from(span.start)),
            None => readings.push(Reading {
                spans: vec![Counting::from(span.start)],
                end: span.end,
                first_only: !span.is_short(),
                state: State::Open,
            }),
        }
    }
    for (partition, mut readings) in of_partition {
        readings.sort_by_key(|reading| reading.first_only);
        for (number, reading) in readings.into_iter().enumerate() {
            if turns.len() == number {
                turns.push(Turn::new());
            }
            turns[number].insert(partition.clone(), reading);
        }
    }
    turns
}

// === impl Counting ===

impl Counting {
    fn from(start: i64) -> Self {
        Self {
            start,
            records: 0,
            first: None,
        }
    }
}

// === impl Reading ===

impl Reading {
    fn start(&self) -> i64 {
        self.spans.iter().map(|span| span.start).min().unwrap_or(self.end)
    }

    /// Takes a record; whether the reading is over by it.
    fn see(&mut self, offset: i64, time: Option<WallTime>) -> bool {
        if self.state != State::Open {
            return false;
        }
        if offset < self.end {
            for span in self.spans.iter_mut().filter(|span| span.start <= offset) {
                if span.records == 0 {
                    span.first = time;
                }
                span.records += 1;
            }
        }
        let over = offset + 1 >= self.end || (self.first_only && self.spans.iter().all(|span| span.records > 0));
        if over {
            self.state = State::Done;
        }
        over
    }

    /// What was found, where it was read to its end.
    fn results(self, partition: &TopicPartition) -> Vec<(Span, Tail)> {
        if self.state != State::Done {
            return Vec::new();
        }
        let tail = |span: &Counting| Tail {
            // A long span that has no record at all was read to its end too.
            records: (!self.first_only || span.records == 0).then_some(span.records),
            first: span.first,
        };
        let span = |span: &Counting| Span {
            partition: partition.clone(),
            start: span.start,
            end: self.end,
        };
        self.spans
            .iter()
            .map(|counted| (span(counted), tail(counted)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(number: u32) -> TopicPartition {
        TopicPartition {
            topic: "t".to_owned(),
            partition: number,
        }
    }

    fn span(number: u32, start: i64, end: i64) -> Span {
        Span {
            partition: partition(number),
            start,
            end,
        }
    }

    fn counted(tails: &[(Span, Tail)]) -> Vec<(i64, Option<u64>, Option<WallTime>)> {
        tails
            .iter()
            .map(|(span, tail)| (span.start, tail.records, tail.first))
            .collect()
    }

    #[test]
    fn short_spans_of_a_partition_are_read_at_once_and_counted_apart() {
        let spans = [&span(0, 10, 20), &span(0, 14, 20), &span(1, 3, 4)];
        let mut turns = turns(&spans);
        assert_eq!(turns.len(), 1);
        let mut reading = turns[0].remove(&partition(0)).unwrap();
        assert_eq!(reading.start(), 10);
        assert!(!reading.see(11, Some(WallTime(1))));
        assert!(!reading.see(15, Some(WallTime(2))));
        // The end itself is of no span, and tells that all before it is read.
        assert!(reading.see(20, Some(WallTime(3))));
        assert_eq!(
            counted(&reading.results(&partition(0))),
            [(10, Some(2), Some(WallTime(1))), (14, Some(1), Some(WallTime(2)))]
        );
    }

    #[test]
    fn of_a_long_span_only_the_first_record_is_read() {
        let spans = [&span(0, 0, 5_000), &span(0, 7, 5_000), &span(0, 4_990, 5_000)];
        let mut turns = turns(&spans);
        let first_only: Vec<bool> = turns.iter().map(|turn| turn[&partition(0)].first_only).collect();
        assert_eq!(first_only, [false, true, true]);
        let mut reading = turns[1].remove(&partition(0)).unwrap();
        assert!(reading.see(3, Some(WallTime(9))));
        assert_eq!(counted(&reading.results(&partition(0))), [(0, None, Some(WallTime(9)))]);
    }

    #[test]
    fn a_tail_of_control_records_alone_has_no_records() {
        let spans = [&span(0, 4, 6)];
        let mut turn = turns(&spans).remove(0);
        let error = ReadError {
            code: Code::PartitionEOF,
            fatal: false,
            partition: Some(partition(0)),
            offset: None,
            text: String::new(),
        };
        assert_eq!(met(error, &mut turn, &mut BTreeSet::new()), Some(partition(0)));
        let reading = turn.remove(&partition(0)).unwrap();
        assert_eq!(counted(&reading.results(&partition(0))), [(4, Some(0), None)]);
    }

    #[test]
    fn what_was_not_read_to_its_end_is_absent() {
        let spans = [&span(0, 4, 8)];
        let mut reading = turns(&spans).remove(0).remove(&partition(0)).unwrap();
        assert!(!reading.see(4, None));
        assert_eq!(reading.results(&partition(0)), []);
    }
}
