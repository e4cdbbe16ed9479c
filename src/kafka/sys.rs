//! The calls of librdkafka that rdkafka does not offer. The only file with `unsafe`.
//!
//! Rule: every pointer that comes from librdkafka lives in a type that gives it back, and is never handed out.
//!
//! Why each is needed:
//! - the queue is polled here because rdkafka's poll hides which partition an error belongs to, and allocates per record;
//! - records of a group's consumer are taken many at once, from a queue of their own: taken one by one, librdkafka reads
//!   the clock four times for each, which costs as much as half of our own work on it;
//! - generation and member id, positions of chosen partitions, and metadata that is not UTF-8 have no safe accessor
//!   (rdkafka panics on the last);
//! - `commit_transaction` of rdkafka flushes first and so waits for records that a failed transaction never sends;
//! - topic ids, and what the login may do with a topic, come with DescribeTopics;
//! - groups of the newer protocol, all offsets of a group, and log ends with an error for each partition come with admin
//!   calls that rdkafka lacks;
//! - headers are borrowed from the records that are taken here;
//! - leader hints: librdkafka 2.12.1 (and 2.15) counts every partition of a Fetch response that names a current leader
//!   (KIP-951), but fills in only those that have one. Where some have none, as while brokers restart, it reads memory that
//!   was never written as partition numbers and stores leaders at such places. So the hints are dropped: `build.rs` makes the
//!   linker call [`__wrap_rd_kafka_metadata_update_op`] instead (on Linux), and leaders are found by the metadata request
//!   that the same response leads to anyway.
#![allow(unsafe_code)]

use std::collections::{BTreeMap, VecDeque};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::bindings as rd;
use rdkafka::client::{Client, ClientContext};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use crate::engine::task::{Headers, Record, Stamp, TopicId};
use crate::engine::time::WallTime;
use crate::runtime::log::TopicPartition;

use super::reader::Isolation;

/// The most that is taken over from librdkafka in one call.
const BATCH: usize = 256;

/// How often queues are told where their records go. There may be thousands.
const FORWARD_EVERY: Duration = Duration::from_millis(100);

/// A consumer whose events are taken from its queue one by one, and whose records many at once.
pub(super) struct EventConsumer<C: ConsumerContext> {
    /// Declared before the client, as are the queues: must be given back before the client is destroyed.
    fetched: VecDeque<Message>,
    /// Queues of partitions whose records go to `records` instead of `queue`.
    gathered: BTreeMap<TopicPartition, Queue>,
    /// When those queues were last told so; `None` where one was not yet.
    forwarded: Option<Instant>,
    records: Queue,
    queue: Queue,
    client: Arc<BaseConsumer<C>>,
}

/// A record, or an error of a partition, given back on drop.
pub(super) struct Message(NonNull<rd::rd_kafka_message_t>);

/// The queue of one partition, cut off from the consumer's common queue.
pub(super) struct PartitionQueue<C: ConsumerContext> {
    queue: Queue,
    /// Keeps the client alive for as long as the queue.
    _client: Arc<BaseConsumer<C>>,
}

struct Queue(NonNull<rd::rd_kafka_queue_t>);

/// One event, given back on drop. Records borrow from it.
pub(super) struct Event(NonNull<rd::rd_kafka_event_t>);

/// What an [`Event`] says.
pub(super) enum Said<'e> {
    Record {
        topic: &'e str,
        partition: u32,
        record: Record<'e>,
    },
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
    Error(ReadError),
    /// `(level as in syslog, facility, line)`
    Log(i32, String, String),
    Other,
}

/// An error of a consumer, with the partition that it is about where there is one.
#[derive(Debug)]
pub(super) struct ReadError {
    pub code: RDKafkaErrorCode,
    pub fatal: bool,
    pub partition: Option<TopicPartition>,
    /// Where its reader stands, if it came between records: librdkafka takes that record for read then.
    pub offset: Option<i64>,
    pub text: String,
}

/// One element of a partition list, copied out.
pub(super) struct ListEntry {
    pub partition: TopicPartition,
    /// Negative values are librdkafka's logical offsets.
    pub offset: i64,
    /// Bytes that are not UTF-8 are replaced: such metadata is not ours.
    pub metadata: String,
    pub error: Option<RDKafkaErrorCode>,
}

/// What the brokers tell of one topic.
pub(super) struct Described {
    pub name: String,
    /// Why it cannot be described.
    pub refused: Option<RDKafkaErrorCode>,
    pub id: TopicId,
    /// What the login may do with it (KIP-430); `None` where the brokers do not tell.
    pub allowed: Option<Vec<rd::rd_kafka_AclOperation_t>>,
    pub partitions: Vec<DescribedPartition>,
}

/// Brokers by their ids.
pub(super) struct DescribedPartition {
    pub partition: i32,
    /// `None` where nobody leads.
    pub leader: Option<i32>,
    pub replicas: Vec<i32>,
    pub in_sync: Vec<i32>,
}

/// Questions to the brokers that are under way, each under a number of the asker's.
pub(super) struct Inquiry<'c, C: ClientContext> {
    queue: Queue,
    client: &'c Client<C>,
}

/// What can be asked. Names and lists are copied by the call.
#[derive(Clone, Copy)]
pub(super) enum Question<'q> {
    /// The groups of all brokers.
    Groups,
    /// Members of a classic or KIP-848 group.
    Group(&'q str),
    /// All offsets that a group has committed; not those of open transactions, and without waiting for them.
    Committed(&'q str),
    /// The offset that each element asks for by its logical offset (`Offset::Beginning`, `Offset::End`).
    Ends(&'q TopicPartitionList, Isolation),
}

/// The answer to a [`Question`].
pub(super) enum Answer {
    /// The second: brokers that did not tell, and why.
    Groups(Vec<ListedGroup>, Vec<Refusal>),
    Group(DescribedGroup),
    Offsets(Vec<ListEntry>),
}

/// A question's error, with librdkafka's words.
pub(super) type Refusal = (RDKafkaErrorCode, String);

/// A group as a broker lists it.
pub(super) struct ListedGroup {
    pub name: String,
    /// As librdkafka writes it: `Classic`, `Consumer`; `None` where the broker does not tell.
    pub kind: Option<String>,
    /// `None` where the broker does not tell.
    pub state: Option<String>,
    /// Nobody ever joined it: it has commits alone.
    pub simple: bool,
}

/// A group as its coordinator describes it.
pub(super) struct DescribedGroup {
    pub kind: Option<String>,
    pub state: Option<String>,
    pub simple: bool,
    pub members: u32,
    /// What the members have been given.
    pub assigned: Vec<TopicPartition>,
}

/// Options of one admin call, given back on drop.
struct Options(NonNull<rd::rd_kafka_AdminOptions_t>);

/// A failed call of the transactional API.
#[derive(Clone, Debug)]
pub(super) struct TxnError {
    pub code: RDKafkaErrorCode,
    pub text: String,
    pub fatal: bool,
    pub retriable: bool,
    pub requires_abort: bool,
}

// === impl Queue ===

// SAFETY: librdkafka's queues are thread-safe (rdkafka.h, "thread-safe" note of the introduction).
unsafe impl Send for Queue {}
// SAFETY: as above.
unsafe impl Sync for Queue {}

impl Queue {
    fn poll(&self, wait: Duration) -> Option<Event> {
        // SAFETY: the queue is alive as long as self.
        let event = unsafe { rd::rd_kafka_queue_poll(self.0.as_ptr(), millis(wait)) };
        NonNull::new(event).map(Event)
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        // SAFETY: we own one reference, taken by the constructor.
        unsafe { rd::rd_kafka_queue_destroy(self.0.as_ptr()) }
    }
}

// === impl EventConsumer ===

impl<C: ConsumerContext> EventConsumer<C> {
    /// `None` where the consumer has no group: then there is no consumer queue.
    pub(super) fn new(client: BaseConsumer<C>) -> Option<Self> {
        // SAFETY: the client is alive; the reference that the call takes belongs to the new Queue.
        let queue = unsafe { rd::rd_kafka_queue_get_consumer(client.client().native_ptr()) };
        let queue = Queue(NonNull::new(queue)?);
        // SAFETY: as above.
        let records = unsafe { rd::rd_kafka_queue_new(client.client().native_ptr()) };
        Some(Self {
            fetched: VecDeque::new(),
            gathered: BTreeMap::new(),
            forwarded: None,
            records: Queue(NonNull::new(records)?),
            queue,
            client: Arc::new(client),
        })
    }

    pub(super) fn client(&self) -> &BaseConsumer<C> {
        &self.client
    }

    pub(super) fn poll(&self, wait: Duration) -> Option<Event> {
        self.queue.poll(wait)
    }

    /// From now on the records of this partition are [`fetch`](Self::fetch)ed. To be called before it is assigned.
    pub(super) fn gather(&mut self, partition: &TopicPartition) {
        if let Some(queue) = self.queue_of(partition) {
            self.gathered.insert(partition.clone(), queue);
            self.forwarded = None;
        }
    }

    /// The partition is not assigned any more.
    pub(super) fn let_go(&mut self, partition: &TopicPartition) {
        self.gathered.remove(partition);
        self.forget(partition);
    }

    /// Takes up to `most` messages over from librdkafka, waiting for the first one; whether there are any. Its position
    /// moves with that, although nobody has seen them yet: see [`Self::first_fetched`].
    pub(super) fn fetch(&mut self, wait: Duration, most: usize) -> bool {
        // A partition that is stopped, as by a seek that fails, takes its forwarding away when it gets to it.
        if self.forwarded.is_none_or(|at| at.elapsed() > FORWARD_EVERY) {
            self.forwarded = Some(Instant::now());
            for queue in self.gathered.values() {
                // SAFETY: both queues are alive; librdkafka counts its own reference.
                unsafe { rd::rd_kafka_queue_forward(queue.0.as_ptr(), self.records.0.as_ptr()) };
            }
        }
        let mut batch = [ptr::null_mut(); BATCH];
        let most = most.min(BATCH);
        let mut take = |wait, most| {
            // SAFETY: the queue is alive, and `batch` has room for BATCH messages, which are ours from here on.
            let taken = unsafe {
                rd::rd_kafka_consume_batch_queue(self.records.0.as_ptr(), millis(wait), batch.as_mut_ptr(), most)
            };
            let taken = usize::try_from(taken).unwrap_or(0);
            let messages = batch.iter().take(taken);
            self.fetched
                .extend(messages.filter_map(|message| NonNull::new(*message)).map(Message));
            taken > 0
        };
        // With a wait it would also wait until all `most` are there.
        let came = wait > Duration::ZERO && take(wait, 1);
        if came || wait.is_zero() {
            take(Duration::ZERO, most);
        }
        !self.fetched.is_empty()
    }

    /// The next of what was fetched.
    pub(super) fn next_fetched(&mut self) -> Option<Message> {
        self.fetched.pop_front()
    }

    /// Where the reader really is on a partition of which there are messages that nobody has taken yet.
    pub(super) fn first_fetched(&self, partition: &TopicPartition) -> Option<i64> {
        let mut of_it = self.fetched.iter().filter(|message| message.is_of(partition));
        of_it.find_map(Message::offset)
    }

    /// Throws away what was fetched of this partition.
    pub(super) fn forget(&mut self, partition: &TopicPartition) {
        self.fetched.retain(|message| !message.is_of(partition));
    }

    fn queue_of(&self, partition: &TopicPartition) -> Option<Queue> {
        let topic = CString::new(partition.topic.as_str()).ok()?;
        let number = i32::try_from(partition.partition).ok()?;
        // SAFETY: client and string are alive during the call; the returned reference belongs to the new Queue.
        let queue =
            unsafe { rd::rd_kafka_queue_get_partition(self.client.client().native_ptr(), topic.as_ptr(), number) };
        NonNull::new(queue).map(Queue)
    }

    /// A queue of its own for this partition. To be taken before the partition is assigned, else its first records go to
    /// the common queue.
    pub(super) fn partition_queue(&self, partition: &TopicPartition) -> Option<PartitionQueue<C>> {
        let queue = self.queue_of(partition)?;
        // SAFETY: forwarding to null marks the queue as the application's own; the queue is alive.
        unsafe { rd::rd_kafka_queue_forward(queue.0.as_ptr(), ptr::null_mut()) };
        Some(PartitionQueue {
            queue,
            _client: Arc::clone(&self.client),
        })
    }

    /// Whether the group gave this member an id and a generation.
    pub(super) fn is_member(&self) -> bool {
        // SAFETY: the client is alive; what comes back is ours and destroyed below; the id borrows from it.
        unsafe {
            let metadata = rd::rd_kafka_consumer_group_metadata(self.client.client().native_ptr());
            if metadata.is_null() {
                return false;
            }
            let id = rd::rd_kafka_consumer_group_metadata_member_id(metadata);
            let has_id = !id.is_null() && !CStr::from_ptr(id).is_empty();
            let generation = rd::rd_kafka_consumer_group_metadata_generation_id(metadata);
            rd::rd_kafka_consumer_group_metadata_destroy(metadata);
            has_id && generation >= 0
        }
    }

    /// Fills in the next offset of each partition; negative where nothing was delivered yet.
    pub(super) fn positions(&self, list: &mut TopicPartitionList) -> Result<(), RDKafkaErrorCode> {
        // SAFETY: client and list are alive; the call writes only into the list's elements.
        let code = unsafe { rd::rd_kafka_position(self.client.client().native_ptr(), list.ptr()) };
        match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            code => Err(code.into()),
        }
    }
}

// === impl PartitionQueue ===

impl<C: ConsumerContext> PartitionQueue<C> {
    pub(super) fn poll(&self, wait: Duration) -> Option<Event> {
        self.queue.poll(wait)
    }
}

// === impl Message ===

// SAFETY: a message may be read and given back by any thread.
unsafe impl Send for Message {}

impl Message {
    /// A record or an error.
    pub(super) fn said(&self) -> Said<'_> {
        // SAFETY: the message is alive as long as self, and everything borrowed below borrows from self.
        unsafe {
            let message = self.0.as_ref();
            match message.err {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => record_of(message),
                code => Said::Error(ReadError {
                    code: code.into(),
                    fatal: code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__FATAL,
                    partition: self.partition(),
                    offset: self.offset(),
                    text: text(rd::rd_kafka_message_errstr(message)),
                }),
            }
        }
    }

    fn is_of(&self, partition: &TopicPartition) -> bool {
        // SAFETY: the message is alive; the name lives as long as its topic.
        unsafe {
            let message = self.0.as_ref();
            u32::try_from(message.partition) == Ok(partition.partition)
                && !message.rkt.is_null()
                && CStr::from_ptr(rd::rd_kafka_topic_name(message.rkt)).to_bytes() == partition.topic.as_bytes()
        }
    }

    /// Of a record, or of the record that an error came instead of.
    fn offset(&self) -> Option<i64> {
        // SAFETY: the message is alive.
        let message = unsafe { self.0.as_ref() };
        (message.offset >= 0).then_some(message.offset)
    }

    fn partition(&self) -> Option<TopicPartition> {
        // SAFETY: the message is alive; the name is copied.
        unsafe {
            let message = self.0.as_ref();
            let topic = (!message.rkt.is_null()).then(|| text(rd::rd_kafka_topic_name(message.rkt)))?;
            let partition = u32::try_from(message.partition).ok()?;
            Some(TopicPartition { topic, partition })
        }
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: we own the message; records that borrow from it cannot outlive self.
        unsafe { rd::rd_kafka_message_destroy(self.0.as_ptr()) }
    }
}

// === impl Event ===

impl Event {
    pub(super) fn said(&self) -> Said<'_> {
        let event = self.0.as_ptr();
        // SAFETY: the event is alive as long as self, and everything borrowed below borrows from self.
        unsafe {
            match rd::rd_kafka_event_type(event) {
                rd::RD_KAFKA_EVENT_FETCH => match rd::rd_kafka_event_message_next(event).as_ref() {
                    Some(message) => record_of(message),
                    None => Said::Other,
                },
                rd::RD_KAFKA_EVENT_REBALANCE => {
                    let partitions = partitions_of(rd::rd_kafka_event_topic_partition_list(event));
                    match rd::rd_kafka_event_error(event) {
                        RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => Said::Assigned(partitions),
                        _ => Said::Revoked(partitions),
                    }
                }
                rd::RD_KAFKA_EVENT_ERROR => Said::Error(ReadError {
                    code: rd::rd_kafka_event_error(event).into(),
                    fatal: rd::rd_kafka_event_error_is_fatal(event) != 0,
                    partition: partition_of(event),
                    offset: None,
                    text: text(rd::rd_kafka_event_error_string(event)),
                }),
                rd::RD_KAFKA_EVENT_LOG => {
                    let (mut facility, mut line, mut level) = (ptr::null(), ptr::null(), 0);
                    rd::rd_kafka_event_log(event, &mut facility, &mut line, &mut level);
                    Said::Log(level, text(facility), text(line))
                }
                _ => Said::Other,
            }
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: we own the event; records that borrow from it cannot outlive self.
        unsafe { rd::rd_kafka_event_destroy(self.0.as_ptr()) }
    }
}

/// A live record that librdkafka gave us. Its headers are decoded at the first look at them.
#[derive(Debug)]
#[repr(transparent)]
struct Native(rd::rd_kafka_message_t);

impl Headers for Native {
    fn last(&self, name: &str) -> Option<&[u8]> {
        let mut headers = ptr::null_mut();
        // SAFETY: the record is alive as long as self, and its headers are as long as the record.
        let code = unsafe { rd::rd_kafka_message_headers(&self.0, &mut headers) };
        if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return None;
        }
        let mut found = None;
        for at in 0.. {
            let (mut of, mut value, mut size) = (ptr::null(), ptr::null(), 0);
            // SAFETY: the headers are alive, and what is written are pointers into them.
            let code = unsafe { rd::rd_kafka_header_get_all(headers, at, &mut of, &mut value, &mut size) };
            if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
                break;
            }
            // SAFETY: a header that is there has a name, which ends with a zero byte; its value is null or has that size.
            unsafe {
                if CStr::from_ptr(of).to_bytes() == name.as_bytes() {
                    found = bytes(value.cast_mut(), size);
                }
            }
        }
        found
    }
}

/// SAFETY: `message` is a live record; the result must not outlive it.
unsafe fn record_of(message: &rd::rd_kafka_message_t) -> Said<'_> {
    unsafe {
        let topic = CStr::from_ptr(rd::rd_kafka_topic_name(message.rkt)).to_str();
        let (Ok(topic), Ok(partition)) = (topic, u32::try_from(message.partition)) else {
            return Said::Other;
        };
        let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        let millis = rd::rd_kafka_message_timestamp(message, &mut kind);
        let time = WallTime(millis.saturating_mul(1_000));
        let stamp = match kind {
            _ if millis < 0 => Stamp::None,
            rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME => Stamp::Created(time),
            rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => Stamp::Appended(time),
            rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => Stamp::None,
        };
        Said::Record {
            topic,
            partition,
            record: Record {
                offset: message.offset,
                key: bytes(message.key, message.key_len),
                value: bytes(message.payload, message.len),
                stamp,
                headers: &*ptr::from_ref(message).cast::<Native>(),
            },
        }
    }
}

/// SAFETY: `data` is null or points to `len` bytes that live for `'e`.
unsafe fn bytes<'e>(data: *mut c_void, len: usize) -> Option<&'e [u8]> {
    NonNull::new(data).map(|data| unsafe { std::slice::from_raw_parts(data.as_ptr().cast::<u8>(), len) })
}

/// SAFETY: `data` is null or a C string.
unsafe fn text(data: *const c_char) -> String {
    if data.is_null() {
        return String::new();
    }
    unsafe { CStr::from_ptr(data) }.to_string_lossy().trim().to_owned()
}

/// SAFETY: `event` is alive.
unsafe fn partition_of(event: *mut rd::rd_kafka_event_t) -> Option<TopicPartition> {
    unsafe {
        let element = rd::rd_kafka_event_topic_partition(event);
        let found = element.as_ref().and_then(|e| {
            Some(TopicPartition {
                topic: text(e.topic),
                partition: u32::try_from(e.partition).ok()?,
            })
        });
        if !element.is_null() {
            rd::rd_kafka_topic_partition_destroy(element);
        }
        found
    }
}

/// SAFETY: `list` is null or alive.
unsafe fn partitions_of(list: *const rd::rd_kafka_topic_partition_list_t) -> Vec<TopicPartition> {
    unsafe { entries_of(list) }
        .into_iter()
        .map(|entry| entry.partition)
        .collect()
}

/// SAFETY: `list` is null or alive.
unsafe fn entries_of(list: *const rd::rd_kafka_topic_partition_list_t) -> Vec<ListEntry> {
    unsafe {
        let Some(list) = list.as_ref() else {
            return Vec::new();
        };
        let count = usize::try_from(list.cnt).unwrap_or(0);
        if count == 0 {
            return Vec::new();
        }
        std::slice::from_raw_parts(list.elems, count)
            .iter()
            .filter_map(|element| entry_of(element))
            .collect()
    }
}

/// SAFETY: `element` is alive.
unsafe fn entry_of(element: &rd::rd_kafka_topic_partition_t) -> Option<ListEntry> {
    unsafe {
        Some(ListEntry {
            partition: TopicPartition {
                topic: text(element.topic),
                partition: u32::try_from(element.partition).ok()?,
            },
            offset: element.offset,
            metadata: bytes(element.metadata, element.metadata_size)
                .map(|b| String::from_utf8_lossy(b).into_owned())
                .unwrap_or_default(),
            error: match element.err {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => None,
                code => Some(code.into()),
            },
        })
    }
}

/// The list's elements, in its order.
pub(super) fn entries(list: &TopicPartitionList) -> Vec<ListEntry> {
    // SAFETY: the list is alive during the call.
    unsafe { entries_of(list.ptr()) }
}

// === impl TxnError ===

impl TxnError {
    /// SAFETY: `error` is null or an error that is ours to destroy.
    unsafe fn take(error: *mut rd::rd_kafka_error_t) -> Result<(), Self> {
        if error.is_null() {
            return Ok(());
        }
        unsafe {
            let taken = Self {
                code: rd::rd_kafka_error_code(error).into(),
                text: text(rd::rd_kafka_error_string(error)),
                fatal: rd::rd_kafka_error_is_fatal(error) != 0,
                retriable: rd::rd_kafka_error_is_retriable(error) != 0,
                requires_abort: rd::rd_kafka_error_txn_requires_abort(error) != 0,
            };
            rd::rd_kafka_error_destroy(error);
            Err(taken)
        }
    }
}

/// Commits without rdkafka's flush before it: the caller serves delivery reports between calls.
pub(super) fn commit_transaction<C: ProducerContext>(
    producer: &BaseProducer<C>,
    wait: Duration,
) -> Result<(), TxnError> {
    // SAFETY: the producer is alive; the returned error is ours.
    unsafe {
        TxnError::take(rd::rd_kafka_commit_transaction(
            producer.client().native_ptr(),
            millis(wait),
        ))
    }
}

/// Aborts; the caller serves delivery reports between calls.
pub(super) fn abort_transaction<C: ProducerContext>(
    producer: &BaseProducer<C>,
    wait: Duration,
) -> Result<(), TxnError> {
    // SAFETY: the producer is alive; the returned error is ours.
    unsafe {
        TxnError::take(rd::rd_kafka_abort_transaction(
            producer.client().native_ptr(),
            millis(wait),
        ))
    }
}

/// The topic's id; zeros where the brokers know none.
pub(super) fn topic_id<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    wait: Duration,
) -> Result<TopicId, RDKafkaErrorCode> {
    let described = describe_topics(client, &[topic], wait)?;
    let described = described.first().ok_or(RDKafkaErrorCode::UnknownTopicOrPartition)?;
    described.refused.map_or(Ok(described.id), Err)
}

/// What the brokers tell of these topics, those that do not exist included.
pub(super) fn describe_topics<C: ClientContext>(
    client: &Client<C>,
    topics: &[&str],
    wait: Duration,
) -> Result<Vec<Described>, RDKafkaErrorCode> {
    let names: Result<Vec<CString>, _> = topics.iter().map(|topic| CString::new(*topic)).collect();
    let names = names.map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    // SAFETY: everything created here is destroyed here, after the last use of what borrows from it.
    unsafe {
        let rk = client.native_ptr();
        let queue = Queue(NonNull::new(rd::rd_kafka_queue_new(rk)).ok_or(RDKafkaErrorCode::Fail)?);
        let topics = rd::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let options = rd::rd_kafka_AdminOptions_new(rk, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
        let mut refusal = [0 as c_char; 256];
        rd::rd_kafka_AdminOptions_set_request_timeout(options, millis(wait), refusal.as_mut_ptr(), refusal.len());
        // Null where it went well; otherwise rights are not told.
        let refused = rd::rd_kafka_AdminOptions_set_include_authorized_operations(options, 1);
        if !refused.is_null() {
            rd::rd_kafka_error_destroy(refused);
        }
        rd::rd_kafka_DescribeTopics(rk, topics, options, queue.0.as_ptr());
        rd::rd_kafka_AdminOptions_destroy(options);
        rd::rd_kafka_TopicCollection_destroy(topics);
        let event = queue
            .poll(wait + Duration::from_millis(500))
            .ok_or(RDKafkaErrorCode::OperationTimedOut)?;
        described_in(&event)
    }
}

/// SAFETY: `event` answers DescribeTopics.
unsafe fn described_in(event: &Event) -> Result<Vec<Described>, RDKafkaErrorCode> {
    unsafe {
        let event = event.0.as_ptr();
        let code = rd::rd_kafka_event_error(event);
        if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(code.into());
        }
        let result = rd::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Err(RDKafkaErrorCode::Fail);
        }
        let mut count = 0;
        let topics = rd::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        Ok(elements(topics, count).iter().map(|topic| described(*topic)).collect())
    }
}

/// SAFETY: `topic` belongs to an event that lives.
unsafe fn described(topic: *const rd::rd_kafka_TopicDescription_t) -> Described {
    unsafe {
        let code = rd::rd_kafka_error_code(rd::rd_kafka_TopicDescription_error(topic));
        let mut count = 0;
        let allowed = rd::rd_kafka_TopicDescription_authorized_operations(topic, &mut count);
        let id = rd::rd_kafka_TopicDescription_topic_id(topic);
        let mut bytes = [0; 16];
        if !id.is_null() {
            bytes[..8].copy_from_slice(&rd::rd_kafka_Uuid_most_significant_bits(id).to_be_bytes());
            bytes[8..].copy_from_slice(&rd::rd_kafka_Uuid_least_significant_bits(id).to_be_bytes());
        }
        Described {
            name: text(rd::rd_kafka_TopicDescription_name(topic)),
            refused: (code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(|| code.into()),
            id: bytes,
            allowed: (!allowed.is_null()).then(|| std::slice::from_raw_parts(allowed, count).to_vec()),
            partitions: described_partitions(topic),
        }
    }
}

/// SAFETY: `topic` belongs to an event that lives.
unsafe fn described_partitions(topic: *const rd::rd_kafka_TopicDescription_t) -> Vec<DescribedPartition> {
    unsafe {
        let id = |node: *const rd::rd_kafka_Node_t| match node.is_null() {
            true => None,
            false => Some(rd::rd_kafka_Node_id(node)).filter(|id| *id >= 0),
        };
        let ids = |nodes: *mut *const rd::rd_kafka_Node_t, count| {
            elements(nodes, count).iter().filter_map(|node| id(*node)).collect()
        };
        let mut count = 0;
        let partitions = rd::rd_kafka_TopicDescription_partitions(topic, &mut count);
        let partitions = elements(partitions, count).iter().map(|partition| {
            let (mut replicas, mut in_sync) = (0, 0);
            let of_replicas = rd::rd_kafka_TopicPartitionInfo_replicas(*partition, &mut replicas);
            let of_in_sync = rd::rd_kafka_TopicPartitionInfo_isr(*partition, &mut in_sync);
            DescribedPartition {
                partition: rd::rd_kafka_TopicPartitionInfo_partition(*partition),
                leader: id(rd::rd_kafka_TopicPartitionInfo_leader(*partition)),
                replicas: ids(of_replicas, replicas),
                in_sync: ids(of_in_sync, in_sync),
            }
        });
        partitions.collect()
    }
}

// === impl Options ===

impl Options {
    fn new<C: ClientContext>(
        client: &Client<C>,
        call: rd::rd_kafka_admin_op_t,
        number: usize,
        wait: Duration,
    ) -> Result<Self, RDKafkaErrorCode> {
        // SAFETY: the client is alive; what comes back belongs to the new Options.
        let options = unsafe { rd::rd_kafka_AdminOptions_new(client.native_ptr(), call) };
        let options = Self(NonNull::new(options).ok_or(RDKafkaErrorCode::Fail)?);
        let mut refusal = [0 as c_char; 256];
        // SAFETY: the options are alive, and `refusal` has that size. The number is never used as an address.
        let code = unsafe {
            rd::rd_kafka_AdminOptions_set_opaque(options.0.as_ptr(), ptr::without_provenance_mut(number));
            rd::rd_kafka_AdminOptions_set_request_timeout(
                options.0.as_ptr(),
                millis(wait),
                refusal.as_mut_ptr(),
                refusal.len(),
            )
        };
        match code {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(options),
            code => Err(code.into()),
        }
    }
}

impl Drop for Options {
    fn drop(&mut self) {
        // SAFETY: we own the options; calls copy them.
        unsafe { rd::rd_kafka_AdminOptions_destroy(self.0.as_ptr()) }
    }
}

// === impl Inquiry ===

impl<'c, C: ClientContext> Inquiry<'c, C> {
    pub(super) fn new(client: &'c Client<C>) -> Result<Self, RDKafkaErrorCode> {
        // SAFETY: the client is alive, and outlives self; the reference belongs to the new Queue.
        let queue = unsafe { rd::rd_kafka_queue_new(client.native_ptr()) };
        let queue = Queue(NonNull::new(queue).ok_or(RDKafkaErrorCode::Fail)?);
        Ok(Self { queue, client })
    }

    /// Sends a question; its answer comes out of [`next`](Self::next) under this number, an error after `wait` included.
    pub(super) fn ask(&self, number: usize, question: Question<'_>, wait: Duration) -> Result<(), RDKafkaErrorCode> {
        use rd::rd_kafka_admin_op_t as Call;
        let name = |name: &str| CString::new(name).map_err(|_| RDKafkaErrorCode::InvalidGroupId);
        let options = |call| Options::new(self.client, call, number, wait);
        let (client, queue) = (self.client.native_ptr(), self.queue.0.as_ptr());
        match question {
            Question::Groups => {
                let options = options(Call::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS)?;
                // SAFETY: client, options and queue are alive during the call, which copies what it needs.
                unsafe { rd::rd_kafka_ListConsumerGroups(client, options.0.as_ptr(), queue) }
            }
            Question::Group(group) => {
                let options = options(Call::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS)?;
                let group = name(group)?;
                let mut names = [group.as_ptr()];
                // SAFETY: as above; `names` has one name, which the call copies.
                unsafe {
                    rd::rd_kafka_DescribeConsumerGroups(client, names.as_mut_ptr(), 1, options.0.as_ptr(), queue);
                }
            }
            Question::Committed(group) => {
                // Unless asked to, the call does not wait for open transactions.
                let options = options(Call::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS)?;
                let group = name(group)?;
                // SAFETY: as above; the request is ours, null stands for all topics, and the call copies it.
                unsafe {
                    let mut request = rd::rd_kafka_ListConsumerGroupOffsets_new(group.as_ptr(), ptr::null());
                    rd::rd_kafka_ListConsumerGroupOffsets(client, &mut request, 1, options.0.as_ptr(), queue);
                    rd::rd_kafka_ListConsumerGroupOffsets_destroy(request);
                }
            }
            Question::Ends(list, isolation) => {
                use rd::rd_kafka_IsolationLevel_t as Level;
                let options = options(Call::RD_KAFKA_ADMIN_OP_LISTOFFSETS)?;
                let level = match isolation {
                    Isolation::Committed => Level::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED,
                    Isolation::Uncommitted => Level::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED,
                };
                // SAFETY: as above; null where it went well, else an error that is ours.
                unsafe {
                    TxnError::take(rd::rd_kafka_AdminOptions_set_isolation_level(options.0.as_ptr(), level))
                        .map_err(|error| error.code)?;
                    rd::rd_kafka_ListOffsets(client, list.ptr(), options.0.as_ptr(), queue);
                }
            }
        }
        Ok(())
    }

    /// The next answer, with its question's number.
    pub(super) fn next(&self, wait: Duration) -> Option<(usize, Result<Answer, Refusal>)> {
        let event = self.queue.poll(wait)?;
        // SAFETY: the event is alive; its opaque value is a number and never used as an address.
        let number = unsafe { rd::rd_kafka_event_opaque(event.0.as_ptr()) }.addr();
        // SAFETY: all that comes to this queue answers questions.
        Some((number, unsafe { answer_in(&event) }))
    }
}

/// SAFETY: `event` answers a [`Question`].
unsafe fn answer_in(event: &Event) -> Result<Answer, Refusal> {
    let event = event.0.as_ptr();
    let empty = || (RDKafkaErrorCode::Fail, "an empty answer".to_owned());
    unsafe {
        let code = rd::rd_kafka_event_error(event);
        if code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err((code.into(), text(rd::rd_kafka_event_error_string(event))));
        }
        let mut count = 0;
        match rd::rd_kafka_event_type(event) {
            rd::RD_KAFKA_EVENT_LISTCONSUMERGROUPS_RESULT => {
                let result = rd::rd_kafka_event_ListConsumerGroups_result(event);
                let groups = rd::rd_kafka_ListConsumerGroups_result_valid(result, &mut count);
                let groups = elements(groups, count).iter().map(|group| listed(*group)).collect();
                let silent = rd::rd_kafka_ListConsumerGroups_result_errors(result, &mut count);
                let silent = elements(silent, count).iter().filter_map(|error| refusal(*error));
                Ok(Answer::Groups(groups, silent.collect()))
            }
            rd::RD_KAFKA_EVENT_DESCRIBECONSUMERGROUPS_RESULT => {
                let result = rd::rd_kafka_event_DescribeConsumerGroups_result(event);
                let groups = rd::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
                let group = elements(groups, count).first().ok_or_else(empty)?;
                described_group(*group).map(Answer::Group)
            }
            rd::RD_KAFKA_EVENT_LISTCONSUMERGROUPOFFSETS_RESULT => {
                let result = rd::rd_kafka_event_ListConsumerGroupOffsets_result(event);
                let groups = rd::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &mut count);
                let group = *elements(groups, count).first().ok_or_else(empty)?;
                match refusal(rd::rd_kafka_group_result_error(group)) {
                    Some(refusal) => Err(refusal),
                    None => Ok(Answer::Offsets(entries_of(rd::rd_kafka_group_result_partitions(group)))),
                }
            }
            rd::RD_KAFKA_EVENT_LISTOFFSETS_RESULT => {
                let result = rd::rd_kafka_event_ListOffsets_result(event);
                let ends = rd::rd_kafka_ListOffsets_result_infos(result, &mut count);
                let of_end = |end: &*const _| {
                    let element = rd::rd_kafka_ListOffsetsResultInfo_topic_partition(*end);
                    element.as_ref().and_then(|element| entry_of(element))
                };
                Ok(Answer::Offsets(
                    elements(ends, count).iter().filter_map(of_end).collect(),
                ))
            }
            _ => Err(empty()),
        }
    }
}

/// SAFETY: `array` is null or has `count` elements that live for `'e`.
unsafe fn elements<'e, T>(array: *mut *const T, count: usize) -> &'e [*const T] {
    match array.is_null() {
        true => &[],
        false => unsafe { std::slice::from_raw_parts(array, count) },
    }
}

/// SAFETY: `error` is null or alive.
unsafe fn refusal(error: *const rd::rd_kafka_error_t) -> Option<Refusal> {
    unsafe {
        let code = rd::rd_kafka_error_code(error);
        let said = || (code.into(), text(rd::rd_kafka_error_string(error)));
        (code != RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then(said)
    }
}

/// Names of groups may begin or end with spaces. SAFETY: `name` is null or a C string.
unsafe fn verbatim(name: *const c_char) -> String {
    if name.is_null() {
        return String::new();
    }
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}

/// librdkafka's word for it; `None` for "Unknown". SAFETY: `word` is null or a C string.
unsafe fn told(word: *const c_char) -> Option<String> {
    let word = unsafe { text(word) };
    (!word.is_empty() && word != "Unknown").then_some(word)
}

/// SAFETY: `group` belongs to an event that lives.
unsafe fn listed(group: *const rd::rd_kafka_ConsumerGroupListing_t) -> ListedGroup {
    unsafe {
        let (kind, state) = (
            rd::rd_kafka_ConsumerGroupListing_type(group),
            rd::rd_kafka_ConsumerGroupListing_state(group),
        );
        ListedGroup {
            name: verbatim(rd::rd_kafka_ConsumerGroupListing_group_id(group)),
            kind: told(rd::rd_kafka_consumer_group_type_name(kind)),
            state: told(rd::rd_kafka_consumer_group_state_name(state)),
            simple: rd::rd_kafka_ConsumerGroupListing_is_simple_consumer_group(group) != 0,
        }
    }
}

/// SAFETY: `group` belongs to an event that lives.
unsafe fn described_group(group: *const rd::rd_kafka_ConsumerGroupDescription_t) -> Result<DescribedGroup, Refusal> {
    unsafe {
        if let Some(refusal) = refusal(rd::rd_kafka_ConsumerGroupDescription_error(group)) {
            return Err(refusal);
        }
        let (kind, state) = (
            rd::rd_kafka_ConsumerGroupDescription_type(group),
            rd::rd_kafka_ConsumerGroupDescription_state(group),
        );
        let members = rd::rd_kafka_ConsumerGroupDescription_member_count(group);
        let assigned = |member| {
            let member = rd::rd_kafka_ConsumerGroupDescription_member(group, member);
            let assignment = rd::rd_kafka_MemberDescription_assignment(member);
            match assignment.is_null() {
                true => Vec::new(),
                false => partitions_of(rd::rd_kafka_MemberAssignment_partitions(assignment)),
            }
        };
        Ok(DescribedGroup {
            kind: told(rd::rd_kafka_consumer_group_type_name(kind)),
            state: told(rd::rd_kafka_consumer_group_state_name(state)),
            simple: rd::rd_kafka_ConsumerGroupDescription_is_simple_consumer_group(group) != 0,
            members: u32::try_from(members).unwrap_or(u32::MAX),
            assigned: (0..members).flat_map(assigned).collect(),
        })
    }
}

/// Stands in for `rd_kafka_metadata_update_op(rk, mdi)`, whose caller frees both arguments' message: nothing is done with it.
// SAFETY: no other symbol has this name, and it touches nothing.
#[unsafe(no_mangle)]
extern "C" fn __wrap_rd_kafka_metadata_update_op(_client: *mut c_void, _hints: *mut c_void) -> c_int {
    const RD_KAFKA_OP_RES_HANDLED: c_int = 1;
    RD_KAFKA_OP_RES_HANDLED
}

/// Whole milliseconds, rounded up: a wait of less than one must not become a busy loop.
fn millis(wait: Duration) -> i32 {
    i32::try_from(wait.as_micros().div_ceil(1_000)).unwrap_or(i32::MAX)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::ffi::{c_int, c_void};
    use std::ptr;

    unsafe extern "C" {
        fn rd_kafka_metadata_update_op(client: *mut c_void, hints: *mut c_void) -> c_int;
    }

    #[test]
    fn leader_hints_never_reach_librdkafka() {
        // SAFETY: the linker calls ours, which touches nothing. librdkafka's own would read the null pointer and crash.
        let result = unsafe { rd_kafka_metadata_update_op(ptr::null_mut(), ptr::null_mut()) };
        assert_eq!(result, 1);
    }
}
