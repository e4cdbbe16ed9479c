//! The outbox loop over a log that is written out here, so that every error it can give can be asked for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use streamgauge::engine::lag::logs::{Partitions, Survey, Tail, TailSpan};
use streamgauge::engine::task::{PartitionCounts, Record, Stamp, TopicId};
use streamgauge::engine::time::WallTime;
use streamgauge::export::outbox::{Control, OutboxConfig, spawn};
use streamgauge::export::receiver::{ReceivedValue, Receiver};
use streamgauge::export::sender::{SendRequest, Sender, Sending};
use streamgauge::export::settings::{Settings, Signal};
use streamgauge::export::stats::ExportStats;
use streamgauge::export::verdict::Verdict;
use streamgauge::runtime::log::{
    Change, CommitOffset, Committed, Log, LogError, Notice, Send as Sent, Sink, TopicPartition,
};

const OUTBOX: &str = "app-otlp-metrics";
const DEAD: &str = "app-dead";

// --- the log ---

/// What the broker knows, and what it is told to do wrong.
#[derive(Default)]
struct Broker {
    /// `None` is a control record.
    records: BTreeMap<u32, Vec<Option<Bytes>>>,
    log_start: i64,
    committed: BTreeMap<u32, i64>,
    dead: Vec<DeadLetter>,
    commits: u32,
    renewed: u32,
    closed: bool,
    // --- the member ---
    changes: VecDeque<Change>,
    notices: Vec<Notice>,
    assigned: BTreeMap<u32, i64>,
    paused: BTreeSet<u32>,
    asked_ends: Vec<TopicPartition>,
    // --- the open transaction ---
    is_open: bool,
    open_dead: Vec<DeadLetter>,
    open_offsets: BTreeMap<u32, i64>,
    // --- faults ---
    /// What the next commits say, and whether they commit all the same.
    commit_faults: VecDeque<(LogError, bool)>,
    send_offsets_faults: VecDeque<LogError>,
    poll_faults: VecDeque<LogError>,
}

#[derive(Clone, Debug, PartialEq)]
struct DeadLetter {
    partition: u32,
    value: Bytes,
    headers: BTreeMap<String, String>,
}

#[derive(Clone, Default)]
struct FakeLog(Arc<Mutex<Broker>>);

fn at(partition: u32) -> TopicPartition {
    TopicPartition {
        topic: OUTBOX.into(),
        partition,
    }
}

impl Broker {
    fn append(&mut self, partition: u32, request: impl Into<Bytes>) {
        self.records.entry(partition).or_default().push(Some(request.into()));
    }

    fn append_marker(&mut self, partition: u32) {
        self.records.entry(partition).or_default().push(None);
    }
}

impl FakeLog {
    fn broker<T>(&self, look: impl FnOnce(&mut Broker) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }
}

impl Log for FakeLog {
    fn subscribe(&mut self, topics: &[String]) -> Result<(), LogError> {
        assert_eq!(topics, [OUTBOX]);
        Ok(())
    }

    fn poll(&mut self, wait: Duration, max: usize, sink: &mut Sink<'_>) -> Result<(), LogError> {
        let mut taken = 0;
        let mut broker = self.0.lock().unwrap();
        if let Some(error) = broker.poll_faults.pop_front() {
            return Err(error);
        }
        let Broker {
            records,
            assigned,
            paused,
            ..
        } = &mut *broker;
        'all: for (partition, position) in assigned.iter_mut().filter(|(partition, _)| !paused.contains(partition)) {
            let of_partition = records.get(partition).map(Vec::as_slice).unwrap_or_default();
            while let Some(record) = of_partition.get(*position as usize) {
                let offset = *position;
                *position += 1;
                let Some(value) = record else { continue };
                taken += 1;
                let record = Record {
                    offset,
                    key: None,
                    value: Some(value),
                    stamp: Stamp::None,
                    headers: &(),
                };
                if !sink(OUTBOX, *partition, record) || taken == max {
                    break 'all;
                }
            }
        }
        drop(broker);
        if taken == 0 {
            std::thread::sleep(wait.min(Duration::from_millis(2)));
        }
        Ok(())
    }

    fn changes(&mut self) -> Vec<Change> {
        self.broker(|broker| broker.changes.drain(..).collect())
    }

    fn notices(&mut self) -> Vec<Notice> {
        self.broker(|broker| std::mem::take(&mut broker.notices))
    }

    fn assign(&mut self, partitions: &[(TopicPartition, i64)], paused: bool) -> Result<(), LogError> {
        self.broker(|broker| {
            for (at, offset) in partitions {
                broker.assigned.insert(at.partition, *offset);
                if paused {
                    broker.paused.insert(at.partition);
                }
            }
        });
        Ok(())
    }

    fn unassign(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.broker(|broker| {
            partitions
                .iter()
                .for_each(|at| _ = broker.assigned.remove(&at.partition))
        });
        Ok(())
    }

    fn seek(&mut self, partitions: &[(TopicPartition, i64)]) -> Result<(), LogError> {
        self.broker(|broker| {
            for (at, offset) in partitions {
                assert!(
                    broker.assigned.insert(at.partition, *offset).is_some(),
                    "only what is assigned is sought"
                );
            }
        });
        Ok(())
    }

    fn pause(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.broker(|broker| broker.paused.extend(partitions.iter().map(|at| at.partition)));
        Ok(())
    }

    fn resume(&mut self, partitions: &[TopicPartition]) -> Result<(), LogError> {
        self.broker(|broker| partitions.iter().for_each(|at| _ = broker.paused.remove(&at.partition)));
        Ok(())
    }

    fn positions(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<i64>>, LogError> {
        Ok(self.broker(|broker| {
            partitions
                .iter()
                .map(|at| broker.assigned.get(&at.partition).copied())
                .collect()
        }))
    }

    fn is_member(&mut self) -> bool {
        true
    }

    fn committed(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Option<Committed>>, LogError> {
        let committed = |offset: &i64| Committed {
            offset: *offset,
            metadata: String::new(),
        };
        Ok(self.broker(|broker| {
            partitions
                .iter()
                .map(|at| broker.committed.get(&at.partition).map(committed))
                .collect()
        }))
    }

    fn log_start(&mut self, _: &TopicPartition) -> Result<i64, LogError> {
        Ok(self.broker(|broker| broker.log_start))
    }

    fn log_end(&mut self, partition: &TopicPartition) -> Result<i64, LogError> {
        Ok(self.broker(|broker| broker.records.get(&partition.partition).map_or(0, Vec::len) as i64))
    }

    fn offset_at(&mut self, _: &TopicPartition, _: WallTime) -> Result<i64, LogError> {
        unreachable!("the loop looks for no time")
    }

    fn sample_commits(&mut self, _: &str, _: &[TopicPartition]) {
        unreachable!("an export loop heeds nobody")
    }

    fn commits(&mut self) -> Vec<(TopicPartition, Committed)> {
        unreachable!("an export loop heeds nobody")
    }

    fn ask_survey(&mut self, _: Partitions) {
        unreachable!("an export loop compares with no logs")
    }

    fn survey(&mut self) -> Option<Survey> {
        unreachable!("an export loop compares with no logs")
    }

    fn ask_tails(&mut self, _: BTreeSet<TailSpan>, _: Duration) {
        unreachable!("an export loop compares with no logs")
    }

    fn tails(&mut self) -> Option<Vec<(TailSpan, Tail)>> {
        unreachable!("an export loop compares with no logs")
    }

    fn sample_log_ends(&mut self, partitions: &[TopicPartition]) {
        self.broker(|broker| broker.asked_ends = partitions.to_vec());
    }

    fn log_ends(&mut self) -> Vec<(TopicPartition, i64, WallTime)> {
        let asked = self.broker(|broker| std::mem::take(&mut broker.asked_ends));
        asked
            .into_iter()
            .map(|at| (at.clone(), self.log_end(&at).unwrap(), WallTime(0)))
            .collect()
    }

    fn partition_counts(&mut self, _: &[String]) -> Result<PartitionCounts, LogError> {
        unreachable!("the loop counts no partitions")
    }

    fn topic_id(&mut self, _: &str) -> Result<TopicId, LogError> {
        unreachable!("the loop asks for no id")
    }

    fn restore_start(&mut self, _: &TopicPartition) -> Result<(), LogError> {
        unreachable!("the loop restores nothing")
    }

    fn restore_poll(
        &mut self,
        _: &TopicPartition,
        _: Duration,
        _: &mut streamgauge::runtime::log::RestoreSink<'_>,
    ) -> Result<i64, LogError> {
        unreachable!("the loop restores nothing")
    }

    fn restore_stop(&mut self, _: &TopicPartition) {}

    fn init_transactions(&mut self, renew: bool) -> Result<(), LogError> {
        self.broker(|broker| {
            broker.renewed += u32::from(renew);
            broker.is_open = false;
        });
        Ok(())
    }

    fn begin(&mut self) -> Result<(), LogError> {
        self.broker(|broker| {
            assert!(!broker.is_open, "one transaction at a time");
            broker.is_open = true;
            broker.open_dead.clear();
            broker.open_offsets.clear();
        });
        Ok(())
    }

    fn send(&mut self, record: Sent<'_>) -> Result<(), LogError> {
        self.broker(|broker| {
            assert!(broker.is_open);
            assert_eq!(record.topic, DEAD);
            let headers = record
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.to_string()));
            broker.open_dead.push(DeadLetter {
                partition: record.partition,
                value: Bytes::copy_from_slice(record.value.unwrap()),
                headers: headers.collect(),
            });
        });
        Ok(())
    }

    fn send_offsets(&mut self, offsets: &[CommitOffset]) -> Result<(), LogError> {
        self.broker(|broker| {
            assert!(broker.is_open);
            if let Some(error) = broker.send_offsets_faults.pop_front() {
                return Err(error);
            }
            for commit in offsets {
                let partition = commit.partition.partition;
                assert!(
                    broker.assigned.contains_key(&partition),
                    "partition {partition} is not ours to commit"
                );
                broker.open_offsets.insert(partition, commit.offset);
            }
            Ok(())
        })
    }

    fn commit(&mut self) -> Result<(), LogError> {
        self.broker(|broker| {
            assert!(broker.is_open);
            let (result, applies) = match broker.commit_faults.pop_front() {
                Some((error, applies)) => (Err(error), applies),
                None => (Ok(()), true),
            };
            if applies {
                let offsets = std::mem::take(&mut broker.open_offsets);
                let dead = std::mem::take(&mut broker.open_dead);
                broker.committed.extend(offsets);
                broker.dead.extend(dead);
                broker.commits += 1;
                broker.is_open = false;
            }
            result
        })
    }

    fn abort(&mut self) -> Result<(), LogError> {
        self.broker(|broker| broker.is_open = false);
        Ok(())
    }

    fn trim(&mut self, _: &[(TopicPartition, i64)]) {}

    fn close(&mut self) {
        self.broker(|broker| broker.closed = true);
    }
}

// --- the collector ---

type Judge = Box<dyn FnMut(&Bytes) -> Verdict + Send>;

/// Answers as its judge says, and remembers what it was sent.
struct StandIn {
    judge: Mutex<Judge>,
    sent: Mutex<Vec<Bytes>>,
}

impl StandIn {
    fn new(judge: impl FnMut(&Bytes) -> Verdict + Send + 'static) -> Arc<StandIn> {
        Arc::new(StandIn {
            judge: Mutex::new(Box::new(judge)),
            sent: Mutex::default(),
        })
    }

    fn sent(&self) -> Vec<String> {
        let sent = self.sent.lock().unwrap();
        sent.iter()
            .map(|request| String::from_utf8_lossy(request).into_owned())
            .collect()
    }
}

impl SendRequest for StandIn {
    fn send(&self, request: Bytes) -> Sending<'_> {
        Box::pin(async move {
            self.sent.lock().unwrap().push(request.clone());
            (self.judge.lock().unwrap())(&request)
        })
    }

    fn target(&self) -> String {
        "stand-in".into()
    }
}

fn accept(_: &Bytes) -> Verdict {
    Verdict::Accepted
}

fn unreachable_collector() -> Verdict {
    Verdict::Retry {
        after: None,
        message: "connection refused".into(),
    }
}

// --- a run ---

struct Run {
    log: FakeLog,
    stats: Arc<ExportStats>,
    control: Arc<Control>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

impl Run {
    fn start(log: &FakeLog, sender: Arc<dyn SendRequest>) -> Run {
        Run::of(Signal::Metrics, log, sender)
    }

    fn of(signal: Signal, log: &FakeLog, sender: Arc<dyn SendRequest>) -> Run {
        let stats = Arc::<ExportStats>::default();
        let control = Arc::<Control>::default();
        let config = OutboxConfig {
            application: "app".into(),
            carries: signal.into(),
            outbox_topic: OUTBOX.into(),
            dead_letter_topic: DEAD.into(),
            dead_letter_partitions: 1,
            sender,
            stats: Arc::clone(&stats),
        };
        let thread = spawn(config, Box::new(log.clone()), Arc::clone(&control));
        Run {
            log: log.clone(),
            stats,
            control,
            thread: Some(thread),
        }
    }

    fn change(&self, change: Change) {
        self.log.broker(|broker| broker.changes.push_back(change));
    }

    /// Waits until the broker looks like this.
    fn until(&self, what: &str, mut seen: impl FnMut(&Broker) -> bool) {
        wait(what, || self.log.broker(|broker| seen(broker)));
    }

    fn drain(mut self, patience: Duration) -> Result<(), String> {
        self.control.drain(patience);
        self.thread.take().unwrap().join().unwrap()
    }

    fn end(mut self) -> Result<(), String> {
        self.thread.take().unwrap().join().unwrap()
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.control.drain(Duration::ZERO);
    }
}

fn wait(what: &str, mut seen: impl FnMut() -> bool) {
    let start = Instant::now();
    while !seen() {
        assert!(start.elapsed() < Duration::from_secs(20), "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A log of these partitions, each with `records` requests `pP-OFFSET`, all assigned.
fn log(partitions: u32, records: usize) -> FakeLog {
    let log = FakeLog::default();
    log.broker(|broker| {
        for partition in 0..partitions {
            (0..records).for_each(|offset| broker.append(partition, format!("p{partition}-{offset}")));
        }
        broker
            .changes
            .push_back(Change::Assigned((0..partitions).map(at).collect()));
    });
    log
}

/// A metrics request of one counter with these series, all at this time and value.
fn points(series: &[&str], time: u64, value: i64) -> Bytes {
    let data_points = series.iter().map(|name| NumberDataPoint {
        attributes: vec![KeyValue {
            key: "series".into(),
            value: Some(AnyValue {
                value: Some(any_value::Value::StringValue(name.to_string())),
            }),
            ..KeyValue::default()
        }],
        start_time_unix_nano: 1,
        time_unix_nano: time,
        value: Some(Value::AsInt(value)),
        ..NumberDataPoint::default()
    });
    let sum = Sum {
        data_points: data_points.collect(),
        aggregation_temporality: 2,
        is_monotonic: true,
    };
    let metric = Metric {
        name: "hits_total".into(),
        data: Some(metric::Data::Sum(sum)),
        ..Metric::default()
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![metric],
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    };
    request.encode_to_vec().into()
}

// --- the promises ---

#[test]
fn requests_go_out_in_order_and_control_records_leave_no_lag() {
    let log = log(1, 3);
    log.broker(|broker| broker.append_marker(0));
    let collector = StandIn::new(accept);
    let run = Run::start(&log, collector.clone());
    run.until("commit of the position", |broker| broker.committed.get(&0) == Some(&4));
    wait("no lag", || {
        run.stats.snapshot().requests == 3 && run.stats.snapshot().lag_records == 0
    });
    assert_eq!(collector.sent(), ["p0-0", "p0-1", "p0-2"]);
    assert_eq!(run.drain(Duration::from_secs(1)), Ok(()));
    assert!(log.broker(|broker| broker.closed && broker.dead.is_empty()));
}

#[test]
fn reading_starts_at_the_committed_offset_or_at_the_logs_start() {
    let log = log(2, 5);
    log.broker(|broker| {
        broker.committed.insert(0, 3);
        broker.log_start = 2;
    });
    let collector = StandIn::new(accept);
    let run = Run::start(&log, collector.clone());
    run.until("all committed", |broker| {
        broker.committed == BTreeMap::from([(0, 5), (1, 5)])
    });
    let mut sent = collector.sent();
    sent.sort();
    assert_eq!(sent, ["p0-3", "p0-4", "p1-2", "p1-3", "p1-4"]);
}

#[test]
fn a_partition_that_waits_for_its_collector_does_not_hold_the_others() {
    let log = log(2, 3);
    let open = Arc::new(Mutex::new(false));
    let is_open = Arc::clone(&open);
    let collector = StandIn::new(
        move |request| match request.starts_with(b"p0") && !*is_open.lock().unwrap() {
            true => unreachable_collector(),
            false => Verdict::Accepted,
        },
    );
    let run = Run::start(&log, collector.clone());
    run.until("partition 1 committed", |broker| broker.committed.get(&1) == Some(&3));
    wait("partition 0 said to be blocked", || {
        run.stats.snapshot().blocked.contains_key(&0)
    });
    assert!(!collector.sent().contains(&"p0-1".to_owned()), "nothing overtakes");
    assert_eq!(log.broker(|broker| broker.committed.get(&0).copied()), None);
    *open.lock().unwrap() = true;
    run.until("partition 0 committed", |broker| broker.committed.get(&0) == Some(&3));
    let snapshot = run.stats.snapshot();
    assert!(snapshot.retried > 0 && snapshot.blocked.is_empty());
    assert_eq!(snapshot.last_error.unwrap().target, "stand-in");
    let mut sent: Vec<String> = collector
        .sent()
        .into_iter()
        .filter(|request| request.starts_with("p0"))
        .collect();
    sent.dedup();
    assert_eq!(sent, ["p0-0", "p0-1", "p0-2"]);
}

#[test]
fn no_more_is_read_than_a_lane_may_hold() {
    let log = log(1, 500);
    let open = Arc::new(Mutex::new(false));
    let is_open = Arc::clone(&open);
    let collector = StandIn::new(move |_| match *is_open.lock().unwrap() {
        true => Verdict::Accepted,
        false => unreachable_collector(),
    });
    let run = Run::start(&log, collector);
    run.until("paused", |broker| broker.paused.contains(&0));
    std::thread::sleep(Duration::from_millis(200));
    assert!(log.broker(|broker| broker.assigned[&0]) <= 16);
    *open.lock().unwrap() = true;
    run.until("all committed", |broker| broker.committed.get(&0) == Some(&500));
    let commits = log.broker(|broker| broker.commits);
    assert!(commits < 100, "verdicts share transactions: {commits}");
}

#[test]
fn a_point_refused_for_good_is_a_dead_letter_of_the_transaction_that_commits_its_request() {
    let log = log(1, 0);
    let (good, bad) = (points(&["a"], 5, 1), points(&["b"], 5, 1));
    log.broker(|broker| {
        broker.append(0, points(&["a", "b", "c"], 5, 1));
        // An answer of "still under way" must not send anything twice.
        broker
            .commit_faults
            .push_back((LogError::Retry("under way".into()), false));
    });
    let collector = StandIn::new(
        |request| match request.windows(1).any(|byte| byte == b"b") && has(request, "b") {
            true => Verdict::Refused {
                message: "label b is bad".into(),
            },
            false => Verdict::Accepted,
        },
    );
    let run = Run::start(&log, collector.clone());
    run.until("committed", |broker| broker.committed.get(&0) == Some(&1));
    let dead = log.broker(|broker| broker.dead.clone());
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].value, bad);
    let headers = [
        ("outcome", "refused"),
        ("reason", "label b is bad"),
        ("topic", OUTBOX),
        ("partition", "0"),
        ("offset", "0"),
        ("points", "1"),
    ];
    assert_eq!(
        dead[0].headers,
        headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
    );
    assert!(collector.sent.lock().unwrap().contains(&good));
    let points = run.stats.snapshot().points;
    assert_eq!((points.accepted, points.quarantined, points.points()), (2, 1, 3));
}

fn has(request: &Bytes, series: &str) -> bool {
    let request = ExportMetricsServiceRequest::decode(request.clone()).unwrap();
    format!("{request:?}").contains(&format!("StringValue({series:?})"))
}

#[test]
fn an_aborted_transaction_is_put_together_again_and_nothing_is_sent_twice() {
    let log = log(1, 4);
    log.broker(|broker| {
        broker
            .send_offsets_faults
            .push_back(LogError::Abort("generation is gone".into()));
        broker
            .commit_faults
            .push_back((LogError::Abort("timed out".into()), false));
    });
    let collector = StandIn::new(accept);
    let run = Run::start(&log, collector.clone());
    run.until("committed", |broker| broker.committed.get(&0) == Some(&4));
    assert_eq!(collector.sent().len(), 4);
    wait("aborts counted", || run.stats.snapshot().aborts == 2);
}

#[test]
fn after_a_commit_of_unknown_outcome_the_committed_offsets_decide() {
    for applied in [true, false] {
        let log = log(1, 0);
        let request = points(&["b"], 5, 1);
        log.broker(|broker| {
            broker.append(0, request.clone());
            broker
                .commit_faults
                .push_back((LogError::Fatal("no answer".into()), applied));
        });
        let collector = StandIn::new(|_| Verdict::Refused { message: "bad".into() });
        let run = Run::start(&log, collector.clone());
        run.until("renewed and committed", |broker| {
            broker.renewed == 1 && broker.committed.get(&0) == Some(&1)
        });
        assert_eq!(run.drain(Duration::from_secs(5)), Ok(()));
        let dead = log.broker(|broker| broker.dead.len());
        assert_eq!(dead, 1, "exactly one dead letter, applied: {applied}");
        let sent = collector.sent.lock().unwrap().clone();
        assert_eq!(sent, vec![request; if applied { 1 } else { 2 }], "applied: {applied}");
    }
}

#[test]
fn at_a_revocation_what_is_done_is_committed_and_what_is_in_flight_is_left_to_the_next_owner() {
    let log = log(2, 3);
    let collector = StandIn::new(|request| match request.starts_with(b"p0-2") {
        true => unreachable_collector(),
        false => Verdict::Accepted,
    });
    let run = Run::start(&log, collector.clone());
    wait("p0-2 in flight", || collector.sent().contains(&"p0-2".to_owned()));
    run.change(Change::Revoked(vec![at(0)]));
    run.until("handed over", |broker| !broker.assigned.contains_key(&0));
    assert_eq!(log.broker(|broker| broker.committed.get(&0).copied()), Some(2));
    run.until("the other goes on", |broker| broker.committed.get(&1) == Some(&3));
    assert!(run.stats.snapshot().blocked.is_empty());
    let sent = collector.sent().len();
    std::thread::sleep(Duration::from_millis(600));
    assert_eq!(collector.sent().len(), sent, "the request was cut off");
}

#[test]
fn nothing_is_committed_for_a_partition_that_was_lost() {
    let log = log(2, 1);
    log.broker(|broker| {
        // The transaction fails because the partition was lost; the news of it come with the next changes.
        broker
            .send_offsets_faults
            .extend((0..3).map(|_| LogError::Abort("generation is gone".into())));
    });
    let run = Run::start(&log, StandIn::new(accept));
    wait("an abort", || run.stats.snapshot().aborts > 0);
    run.change(Change::Lost(vec![at(0)]));
    run.until("the other is committed", |broker| broker.committed.get(&1) == Some(&1));
    assert_eq!(log.broker(|broker| broker.committed.get(&0).copied()), None);
    assert!(!log.broker(|broker| broker.assigned.contains_key(&0)));
}

#[test]
fn a_partition_that_comes_back_starts_where_it_was_committed() {
    let log = log(1, 2);
    let collector = StandIn::new(accept);
    let run = Run::start(&log, collector.clone());
    run.until("committed", |broker| broker.committed.get(&0) == Some(&2));
    run.change(Change::Revoked(vec![at(0)]));
    run.until("handed over", |broker| broker.assigned.is_empty());
    log.broker(|broker| {
        broker.append(0, "p0-2");
        broker.append(0, "p0-3");
        broker.committed.insert(0, 3);
    });
    run.change(Change::Assigned(vec![at(0)]));
    run.until("committed again", |broker| broker.committed.get(&0) == Some(&4));
    assert_eq!(collector.sent(), ["p0-0", "p0-1", "p0-3"]);
}

#[test]
fn what_retention_took_is_counted_as_a_gap() {
    let log = log(1, 10);
    log.broker(|broker| {
        broker.committed.insert(0, 2);
        broker.paused.insert(0);
    });
    let collector = StandIn::new(accept);
    let run = Run::start(&log, collector.clone());
    run.until("assigned", |broker| broker.assigned.contains_key(&0));
    log.broker(|broker| {
        broker.log_start = 7;
        broker.notices.push(Notice::OutOfRange(at(0)));
    });
    run.until("gone on at the log's start", |broker| broker.assigned[&0] == 7);
    log.broker(|broker| broker.paused.clear());
    run.until("committed", |broker| broker.committed.get(&0) == Some(&10));
    assert_eq!(run.stats.snapshot().gap_records, 5);
    assert_eq!(collector.sent(), ["p0-7", "p0-8", "p0-9"]);
}

#[test]
fn a_drain_finishes_what_was_read_and_leaves_the_rest() {
    let log = log(1, 200);
    let collector = StandIn::new(|_| {
        std::thread::sleep(Duration::from_millis(10));
        Verdict::Accepted
    });
    let run = Run::start(&log, collector.clone());
    wait("some sent", || collector.sent().len() > 3);
    assert_eq!(run.drain(Duration::from_secs(10)), Ok(()));
    let sent = collector.sent().len();
    assert!(sent < 100, "{sent}");
    assert_eq!(
        log.broker(|broker| (broker.committed[&0], broker.closed)),
        (sent as i64, true)
    );
}

#[test]
fn a_span_refused_for_good_is_a_dead_letter_and_the_other_spans_of_its_request_are_taken() {
    let request = |names: &[&str]| {
        let spans = names.iter().map(|name| Span {
            name: (*name).to_owned(),
            end_time_unix_nano: 200,
            ..Span::default()
        });
        let request = ExportTraceServiceRequest {
            resource_spans: vec![ResourceSpans {
                scope_spans: vec![ScopeSpans {
                    spans: spans.collect(),
                    ..ScopeSpans::default()
                }],
                ..ResourceSpans::default()
            }],
        };
        Bytes::from(request.encode_to_vec())
    };
    let log = log(1, 0);
    log.broker(|broker| broker.append(0, request(&["a", "bad", "c", "d"])));
    let collector = StandIn::new(|request| {
        if request.windows(3).any(|bytes| bytes == b"bad") {
            let message = "no such span".into();
            Verdict::Refused { message }
        } else {
            Verdict::Accepted
        }
    });
    let run = Run::of(Signal::Traces, &log, collector);
    run.until("committed", |broker| broker.committed.get(&0) == Some(&1));
    let dead = log.broker(|broker| broker.dead.clone());
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].value, request(&["bad"]));
    let stats = run.stats.snapshot();
    assert_eq!(
        (stats.points.accepted, stats.points.quarantined, stats.newest_point),
        (3, 1, 200)
    );
}

#[test]
fn a_drain_does_not_wait_for_a_collector_beyond_its_deadline() {
    let log = log(1, 3);
    let run = Run::start(&log, StandIn::new(|_| unreachable_collector()));
    wait("blocked", || run.stats.snapshot().retried > 0);
    let start = Instant::now();
    assert_eq!(run.drain(Duration::from_millis(300)), Ok(()));
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(log.broker(|broker| broker.committed.is_empty() && broker.closed));
}

#[test]
fn a_loop_whose_name_was_taken_ends_and_says_so() {
    let log = log(1, 1);
    log.broker(|broker| {
        broker
            .poll_faults
            .push_back(LogError::Fenced("another `one` is running".into()))
    });
    let run = Run::start(&log, StandIn::new(accept));
    assert_eq!(run.end(), Err("export of app: another `one` is running".into()));
    assert!(log.broker(|broker| broker.closed));
}

#[test]
fn passing_trouble_of_the_log_passes() {
    let log = log(1, 2);
    log.broker(|broker| {
        broker
            .poll_faults
            .extend((0..5).map(|_| LogError::Retry("a broker is away".into())))
    });
    let run = Run::start(&log, StandIn::new(accept));
    run.until("committed", |broker| broker.committed.get(&0) == Some(&2));
}

#[test]
fn a_real_receiver_gets_every_point_once_though_it_refuses_at_first() {
    let (receiver, endpoint) = Receiver::start().unwrap();
    receiver.refuse_next(3);
    let settings = Settings::from_env(Some(&endpoint), Signal::Metrics, &|_| None).unwrap();
    let log = log(2, 0);
    log.broker(|broker| {
        for step in 1..=20 {
            broker.append(0, points(&["a", "b"], 10 * step, step as i64));
            broker.append(1, points(&["c"], 10 * step, 7));
        }
    });
    let run = Run::start(&log, Arc::new(Sender::connect(settings).unwrap()));
    run.until("all committed", |broker| {
        broker.committed == BTreeMap::from([(0, 20), (1, 20)])
    });
    let snapshot = receiver.snapshot();
    assert_eq!((snapshot.requests, snapshot.refused, snapshot.points), (40, 3, 60));
    assert_eq!(
        (snapshot.duplicates, snapshot.violations),
        (0, 0),
        "{:?}",
        snapshot.violation_texts
    );
    assert_eq!(
        snapshot.series.iter().map(|series| series.value).collect::<Vec<_>>(),
        [
            ReceivedValue::Sum(20.0),
            ReceivedValue::Sum(20.0),
            ReceivedValue::Sum(7.0)
        ]
    );
    let stats = run.stats.snapshot();
    assert_eq!(
        (stats.accepted, stats.retried, stats.points.accepted, stats.newest_point),
        (40, 3, 60, 200)
    );
    assert!(stats.latency.is_some() && stats.last_success.is_some());
}
