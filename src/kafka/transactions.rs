//! The transactional producer.
//!
//! Rule: each call waits a little and can be called again; what it returns says what the transaction is worth. librdkafka
//! knows three kinds of failure: retriable, abortable, fatal.
//!
//! Edges:
//! - delivery reports are served inside `commit` and `abort`, and where offsets are refused; no thread does it beside;
//! - a record that the broker refused for good makes the commit `Refused`, with its topic and size;
//! - a fenced producer of a named instance was replaced by a newer process, unless its transaction was open for longer than
//!   the coordinator allows: then the coordinator itself has fenced it, and a new producer goes on.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rdkafka::consumer::ConsumerGroupMetadata;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::CALL;
use super::context::{Deliveries, Undelivered};
use super::group::GroupReader;
use super::rights::{self, Operation, TopicNeed};
use super::settings::Connection;
use super::sys::{self, TxnError};
use super::trouble::{self, About};
use crate::runtime::log::{CommitOffset, LogError, Send};

/// How long delivery reports are waited for before the transaction is asked whether it still lives.
const STEP: Duration = Duration::from_millis(50);

/// One transactional id, and the producer that has it at the moment.
pub(super) struct Transactions {
    connection: Connection,
    id: String,
    /// The id belongs to a named instance, so that a second process can have it.
    named: bool,
    producer: Option<Current>,
    /// The open transaction is one of `prove`.
    proving: bool,
}

struct Current {
    producer: BaseProducer<Deliveries>,
    failed: Arc<Mutex<Option<Undelivered>>>,
    /// `init_transactions` came back well.
    ready: bool,
    /// When the open transaction began, by both clocks: one stands still while the machine sleeps.
    begun: Option<(Instant, SystemTime)>,
    /// What the open transaction does with topics: its rights, should one be missing.
    does: BTreeSet<(String, Operation)>,
    /// The group whose offsets are part of it.
    group: Option<String>,
}

// === impl Transactions ===

impl Transactions {
    pub(super) fn new(connection: Connection, id: String, named: bool) -> Self {
        Self {
            connection,
            id,
            named,
            producer: None,
            proving: false,
        }
    }

    fn current(&mut self) -> Result<&mut Current, LogError> {
        self.producer
            .as_mut()
            .ok_or_else(|| LogError::Fatal("there is no producer: transactions were not initialised".to_owned()))
    }

    pub(super) fn init(&mut self, renew: bool) -> Result<(), LogError> {
        // One that was never ready is as good as new, and its initialisation may be under way.
        if renew && self.producer.as_ref().is_some_and(|current| current.ready) {
            self.producer = None;
        }
        let current = match self.producer.take() {
            Some(current) => current,
            None => Current::new(&self.connection, &self.id)?,
        };
        let current = self.producer.insert(current);
        if current.ready {
            return Ok(());
        }
        match current.producer.init_transactions(CALL) {
            Ok(()) => {
                current.ready = true;
                Ok(())
            }
            Err(error) => {
                let error = self.sorted(TxnError::from(&error), "init_transactions");
                if !matches!(error, LogError::Retry(_)) {
                    self.producer = None;
                }
                Err(error)
            }
        }
    }

    pub(super) fn begin(&mut self) -> Result<(), LogError> {
        let current = self.current()?;
        current.forget_failure();
        current.does.clear();
        current.group = None;
        current.producer.poll(Duration::ZERO);
        let begun = current.producer.begin_transaction();
        current.begun = Some((Instant::now(), SystemTime::now()));
        begun.map_err(|error| self.sorted(TxnError::from(&error), "begin_transaction"))
    }

    pub(super) fn send(&mut self, record: Send<'_>) -> Result<(), LogError> {
        let deadline = Instant::now() + CALL;
        let current = self.current()?;
        let partition = i32::try_from(record.partition)
            .map_err(|_| LogError::Refused(format!("`{}` has no partition {}", record.topic, record.partition)))?;
        current.writes_to(record.topic);
        let mut message = BaseRecord::<[u8], [u8]>::to(record.topic).partition(partition);
        message.key = record.key;
        message.payload = record.value;
        if !record.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            message.headers = Some(record.headers.iter().fold(headers, |headers, (key, value)| {
                headers.insert(Header {
                    key,
                    value: Some(*value),
                })
            }));
        }
        loop {
            match current.producer.send(message) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), unsent)) if Instant::now() < deadline => {
                    current.producer.poll(Duration::from_millis(5));
                    message = unsent;
                }
                Err((error, _)) => return Err(self.unsent(&error, &record)),
            }
        }
    }

    pub(super) fn send_offsets(
        &mut self,
        offsets: &[CommitOffset],
        member: &ConsumerGroupMetadata,
        group: &str,
    ) -> Result<(), LogError> {
        let mut list = TopicPartitionList::with_capacity(offsets.len());
        for offset in offsets {
            let partition = &offset.partition;
            let number = i32::try_from(partition.partition)
                .ok()
                .filter(|_| !partition.topic.contains('\0'));
            let Some(number) = number else {
                return Err(LogError::Refused(format!(
                    "`{}` has no partition {}",
                    partition.topic, partition.partition
                )));
            };
            let mut element = list.add_partition(&partition.topic, number);
            let set = element.set_offset(Offset::Offset(offset.offset));
            set.map_err(|_| LogError::Refused(format!("{} is not an offset of `{}`", offset.offset, partition.topic)))?;
            element.set_metadata(&offset.metadata);
        }
        let current = self.current()?;
        let reads = offsets
            .iter()
            .map(|offset| (offset.partition.topic.clone(), Operation::Read));
        current.does.extend(reads);
        current.group = Some(group.to_owned());
        let sent = current.producer.send_offsets_to_transaction(&list, member, CALL);
        if sent.is_err() {
            // What a refused record did to the transaction may show here before the record's own report is served.
            current.serve(STEP);
        }
        sent.map_err(|error| self.sorted(TxnError::from(&error), "send_offsets_to_transaction"))
    }

    pub(super) fn commit(&mut self) -> Result<(), LogError> {
        let deadline = Instant::now() + CALL;
        let current = self.current()?;
        let failure = loop {
            let delivered = current.serve(STEP);
            // With records under way this only asks: a transaction that has failed says so at once, though its records would
            // wait for their time-out.
            let wait = if delivered {
                deadline.saturating_duration_since(Instant::now())
            } else {
                STEP / 5
            };
            match sys::commit_transaction(&current.producer, wait) {
                Ok(()) => {
                    current.begun = None;
                    return Ok(());
                }
                Err(error) if error.passes() && Instant::now() < deadline => {}
                Err(error) => break error,
            }
        };
        Err(self.sorted(failure, "commit_transaction"))
    }

    pub(super) fn abort(&mut self) -> Result<(), LogError> {
        let deadline = Instant::now() + CALL;
        let current = self.current()?;
        // The first try purges the queue; its reports must be served before the abort goes on.
        let mut wait = STEP / 5;
        let failure = loop {
            match sys::abort_transaction(&current.producer, wait) {
                Ok(()) => {
                    current.begun = None;
                    current.forget_failure();
                    return Ok(());
                }
                Err(error) if error.passes() && Instant::now() < deadline => {
                    current.producer.poll(Duration::from_millis(5));
                    wait = STEP;
                }
                Err(error) => break error,
            }
        };
        Err(match self.sorted(failure, "abort_transaction") {
            // Nothing is left to try below a new producer.
            LogError::Abort(said) => LogError::Fatal(said),
            other => other,
        })
    }

    /// Whether this producer still is the newest of its transactional id: `Fenced` where it is not. The coordinator is asked
    /// with a transaction that is aborted; `Retry` while another one is open or the producer is not ready.
    pub(super) fn prove(&mut self, reader: &GroupReader) -> Result<(), LogError> {
        let not_yet = |why: &str| LogError::Retry(format!("transactional id: {why}"));
        let current = self.producer.as_ref().filter(|current| current.ready);
        let is_open = current.ok_or_else(|| not_yet("not initialised"))?.begun.is_some();
        match (is_open, self.proving) {
            (true, true) => self.abort()?,
            (true, false) => return Err(not_yet("a transaction is open")),
            (false, _) => {}
        }
        let (partition, member) = reader
            .any_partition()
            .zip(reader.metadata())
            .ok_or_else(|| not_yet("no group"))?;
        self.proving = true;
        self.begin()?;
        let offset = CommitOffset {
            partition,
            offset: 0,
            metadata: String::new(),
        };
        // The group may refuse the offset, but not before the transaction's coordinator has let it pass.
        let sent = self.send_offsets(&[offset], &member, reader.group());
        self.abort()?;
        self.proving = false;
        match sent {
            Ok(()) | Err(LogError::Abort(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Serves reports and log lines while no transaction does.
    pub(super) fn idle(&mut self) {
        if let Some(current) = &mut self.producer {
            current.producer.poll(Duration::ZERO);
        }
    }

    pub(super) fn close(&mut self) {
        if let Some(current) = self.producer.take() {
            super::retire(current.producer, CALL);
        }
    }

    /// Why librdkafka did not take a record.
    fn unsent(&self, error: &KafkaError, record: &Send<'_>) -> LogError {
        let bytes = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        let name = format!(
            "a record of {bytes} bytes for `{}` partition {}",
            record.topic, record.partition
        );
        match error.rdkafka_error_code() {
            Some(Code::QueueFull) => LogError::Retry(format!("{name}: the brokers take no more at the moment")),
            Some(Code::State) => LogError::Abort(format!("{name}: the transaction has failed")),
            Some(Code::UnknownPartition) => LogError::Refused(format!("{name}: the topic has no such partition")),
            Some(code) => self
                .ended(code)
                .unwrap_or_else(|| LogError::Refused(format!("{name}: {code}"))),
            None => LogError::Refused(format!("{name}: {error}")),
        }
    }

    /// What a failed call means for the worker.
    fn sorted(&self, error: TxnError, call: &str) -> LogError {
        let said = format!("transactional id `{}`: {call}: {}", self.id, error.text);
        if error.fatal || error.code == Code::Fatal {
            return self.ended(error.code).unwrap_or(LogError::Fatal(said));
        }
        if let Some(refused) = self.refused(&error) {
            return refused;
        }
        match error.code {
            _ if error.requires_abort => LogError::Abort(said),
            _ if error.passes() => LogError::Retry(said),
            _ => LogError::Fatal(said),
        }
    }

    /// What no repetition makes right: missing rights, records and metadata that are too large.
    fn refused(&self, error: &TxnError) -> Option<LogError> {
        let failed = self
            .producer
            .as_ref()
            .and_then(|current| current.failed.lock().unwrap_or_else(PoisonError::into_inner).clone());
        let failed_code = failed.as_ref().map(|failed| failed.code);
        for code in [Some(error.code), failed_code].into_iter().flatten() {
            if code == Code::TopicAuthorizationFailed {
                return Some(LogError::Refused(trouble::needs(&self.rights_on_topics())));
            }
            let group = self.producer.as_ref().and_then(|current| current.group.as_deref());
            let about = group.map_or(About::Cluster, About::Group);
            if let Some(refused) = trouble::refusal(code, about, Some(&self.id)) {
                return Some(refused);
            }
        }
        if matches!(error.code, Code::OffsetMetadataTooLarge | Code::InvalidCommitOffsetSize) {
            let advice = "the brokers' offset.metadata.max.bytes is too small (4096 is the default)";
            return Some(LogError::Refused(format!("{}: {advice}", error.text)));
        }
        let failed = failed.filter(|failed| {
            matches!(
                failed.code,
                Code::MessageSizeTooLarge | Code::MessageBatchTooLarge | Code::InvalidRecord | Code::InvalidMessageSize
            )
        })?;
        Some(LogError::Refused(format!(
            "a record of {} bytes for `{}` partition {}: {}; the topic's max.message.bytes must be {}",
            failed.bytes,
            failed.topic,
            failed.partition,
            failed.code,
            super::MAX_MESSAGE_BYTES,
        )))
    }

    /// The rights on topics that the open transaction lacks. librdkafka does not say which topic was refused; the brokers
    /// do, and where they do not, all that come into question are named.
    fn rights_on_topics(&self) -> String {
        let does = self.producer.as_ref().map(|current| &current.does);
        let needs: Vec<TopicNeed> = does
            .into_iter()
            .flatten()
            .map(|(topic, operation)| TopicNeed {
                topic: topic.clone(),
                operations: vec![*operation],
            })
            .collect();
        let missing = rights::missing_on_topics(&self.connection, &needs).unwrap_or_default();
        if !missing.is_empty() {
            let rights: Vec<String> = missing.iter().map(rights::Missing::right).collect();
            return rights.join(" and ");
        }
        let all = needs
            .iter()
            .map(|need| format!("{} on topic `{}`", need.operations[0], need.topic));
        all.collect::<Vec<_>>().join(" or ")
    }

    /// What a fatal error was about, where the producer has one.
    fn ended(&self, code: Code) -> Option<LogError> {
        let current = self.producer.as_ref()?;
        let (code, text) = match current.producer.client().fatal_error() {
            Some(fatal) => fatal,
            None if matches!(
                code,
                Code::Fatal | Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch
            ) =>
            {
                (code, code.to_string())
            }
            None => return None,
        };
        if let Some(refused) = trouble::refusal(code, About::Cluster, Some(&self.id)) {
            return Some(refused);
        }
        let fenced = matches!(code, Code::Fenced | Code::ProducerFenced | Code::InvalidProducerEpoch);
        let expired = current.open_for() >= self.connection.transaction_timeout();
        Some(if fenced && self.named && !expired {
            LogError::Fenced(format!(
                "another process took transactional id `{}` (--instance): this one, the older, ends ({text})",
                self.id
            ))
        } else {
            LogError::Fatal(format!("transactional id `{}`: {code}: {text}", self.id))
        })
    }
}

// === impl Current ===

impl Current {
    fn new(connection: &Connection, id: &str) -> Result<Self, LogError> {
        let context = Deliveries::default();
        let failed = Arc::clone(&context.failed);
        let producer = connection
            .producer(id)
            .create_with_context(context)
            .map_err(|error| LogError::Refused(format!("transactional producer: {error}")))?;
        Ok(Self {
            producer,
            failed,
            ready: false,
            begun: None,
            does: BTreeSet::new(),
            group: None,
        })
    }

    /// Serves delivery reports for a step at most; whether every record has one.
    fn serve(&self, step: Duration) -> bool {
        let end = Instant::now() + step;
        loop {
            self.producer.poll(Duration::ZERO);
            if self.producer.in_flight_count() == 0 {
                return true;
            }
            if Instant::now() >= end {
                return false;
            }
            // rdkafka's own wait spins for the last millisecond of its time, and this is about one.
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    fn writes_to(&mut self, topic: &str) {
        let known = |(of, operation): &(String, Operation)| of == topic && *operation == Operation::Write;
        if !self.does.iter().any(known) {
            self.does.insert((topic.to_owned(), Operation::Write));
        }
    }

    fn forget_failure(&self) {
        *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn open_for(&self) -> Duration {
        self.begun.map_or(Duration::ZERO, |(steady, wall)| {
            steady.elapsed().max(wall.elapsed().unwrap_or_default())
        })
    }
}

// === impl TxnError ===

impl TxnError {
    /// The call goes on in the background and may be repeated.
    fn passes(&self) -> bool {
        // Another call of the API is not finished: librdkafka calls that retriable, but repeating this one ends nothing.
        let conflict = matches!(self.code, Code::Conflict | Code::PreviousInProgress);
        !self.fatal && !self.requires_abort && !conflict && (self.retriable || self.code == Code::OperationTimedOut)
    }
}

impl From<&KafkaError> for TxnError {
    fn from(error: &KafkaError) -> Self {
        match error {
            KafkaError::Transaction(error) => Self {
                code: error.code(),
                text: error.string(),
                fatal: error.is_fatal(),
                retriable: error.is_retriable(),
                requires_abort: error.txn_requires_abort(),
            },
            error => Self {
                code: error.rdkafka_error_code().unwrap_or(Code::Fail),
                text: error.to_string(),
                fatal: false,
                retriable: false,
                requires_abort: false,
            },
        }
    }
}
