//! The lag task over the life of groups: what it shows, what it ends, what it knows after a crash.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::{NumberDataPoint, metric::Data, number_data_point};
use prost::Message;

use crate::engine::index::{Entry, Run, Runs, Stretch, Times};
use crate::engine::lag::logs::{Partitions, Survey, Surveyed, SurveyedTopic, Tail, TailSpan};
use crate::engine::lag::polled::{commit, commit_key};
use crate::engine::lag::{LagOptions, LagStage, OFFSETS_TOPIC};
use crate::engine::plan::Lag;
use crate::engine::tap::ledger::{Ledger, Outcome};
use crate::engine::task::{Input, Open, OpenTask, Output, Record, Stamp, Task};
use crate::engine::time::WallTime;

mod many;

const PARTITION: u32 = 7;

/// One task with the brokers that it asks, and what was committed of it.
pub(super) struct World {
    lag: Lag,
    stage: LagStage,
    pub(super) task: Box<dyn Task>,
    second: i64,
    /// The next offset of the own partition; what is there beyond what the task has read.
    written: i64,
    unread: i64,
    logs: BTreeMap<(String, u32), Surveyed>,
    ids: BTreeMap<String, u8>,
    committed: Option<(i64, String)>,
    pub(super) changelog: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Every series with its newest point.
    pub(super) series: BTreeMap<String, (u64, Option<f64>)>,
    /// Count and sum at the newest point.
    histograms: BTreeMap<String, (u64, f64)>,
    dead: usize,
}

fn lag() -> Lag {
    Lag::of_all(0)
}

fn stage(lag: &Lag) -> LagStage {
    LagStage::new(LagOptions {
        application: "app".to_owned(),
        pipeline: "lag".to_owned(),
        lag: lag.clone(),
        tapped: BTreeSet::from(["tapped".to_owned()]),
        alerts: vec![],
        partitions: 1,
    })
}

fn open(stage: &LagStage, committed: Option<&(i64, String)>) -> Box<dyn Task> {
    let topic_id = [9; 16];
    let at = match committed {
        None => Open::Fresh { start: 0, topic_id },
        Some((offset, metadata)) => Open::Resumed {
            offset: *offset,
            metadata,
            topic_id,
        },
    };
    stage.open(OFFSETS_TOPIC, PARTITION, at).expect("it opens")
}

impl World {
    fn new() -> Self {
        Self::of(&lag())
    }

    pub(super) fn of(lag: &Lag) -> Self {
        let stage = stage(lag);
        let task = open(&stage, None);
        let mut world = Self {
            lag: lag.clone(),
            stage,
            task,
            second: 1_000,
            written: 0,
            unread: 0,
            logs: BTreeMap::new(),
            ids: BTreeMap::new(),
            committed: None,
            changelog: BTreeMap::new(),
            series: BTreeMap::new(),
            histograms: BTreeMap::new(),
            dead: 0,
        };
        world.task.accept(Input::Restored).expect("nothing to restore");
        world
    }

    pub(super) fn wall(&self) -> WallTime {
        WallTime(self.second * 1_000_000)
    }

    pub(super) fn record(&mut self, key: &[u8], value: Option<&[u8]>) {
        let now = self.wall();
        self.task.accept(Input::Time(now)).expect("time passes");
        let record = Record {
            offset: self.written,
            key: Some(key),
            value,
            stamp: Stamp::Appended(now),
            headers: &(),
        };
        self.task.accept(Input::Record(record)).expect("it is taken");
        self.written += 1;
    }

    fn commit(&mut self, group: &str, topic: &str, partition: u32, offset: i64) {
        self.record(&commit_key(group, topic, partition), Some(&commit(offset, self.wall())));
    }

    fn tombstone(&mut self, group: &str, topic: &str, partition: u32) {
        self.record(&commit_key(group, topic, partition), None);
    }

    pub(super) fn log(&mut self, topic: &str, partition: u32, start: i64, stable: i64, end: i64) {
        self.logs
            .insert((topic.to_owned(), partition), Surveyed::Log { start, stable, end });
    }

    fn ask(&mut self) -> Survey {
        let now = self.wall();
        self.task.accept(Input::Time(now)).expect("time passes");
        self.task.accept(Input::Surveying).expect("a survey begins");
        let mut wanted = Partitions::new();
        self.task.wants(&mut wanted);
        let end = self.written + self.unread;
        let mut survey = Survey {
            at: now,
            topics: BTreeMap::new(),
        };
        for (topic, partitions) in wanted {
            let mut surveyed = SurveyedTopic {
                id: [self.ids.get(&*topic).copied().unwrap_or(1); 16],
                partitions: BTreeMap::new(),
            };
            for partition in partitions {
                let own = (&*topic == OFFSETS_TOPIC).then_some(Surveyed::Log {
                    start: 0,
                    stable: self.written,
                    end,
                });
                let known = self.logs.get(&(topic.to_string(), partition)).copied();
                surveyed
                    .partitions
                    .insert(partition, own.or(known).unwrap_or(Surveyed::Gone));
            }
            survey.topics.insert(topic, surveyed);
        }
        survey
    }

    fn answer(&mut self, survey: Survey) {
        self.stage.survey(survey);
        let logs = self.stage.logs().expect("it has logs");
        self.task.accept(Input::Surveyed(logs)).expect("a survey is taken");
    }

    /// Ten seconds later: a survey, a seal and a commit.
    pub(super) fn round(&mut self) {
        self.second += 10;
        let survey = self.ask();
        self.answer(survey);
        self.seal();
    }

    fn seal(&mut self) {
        let Some(output) = self.task.seal() else { return };
        self.take(output);
    }

    fn take(&mut self, output: Output) {
        self.committed = Some((output.next, output.metadata));
        self.dead += output.dead.len();
        for (key, value) in output.changelog {
            match value {
                Some(value) => drop(self.changelog.insert(key, value)),
                None => drop(self.changelog.remove(&key)),
            }
        }
        for request in &output.outbox {
            self.histograms.extend(histograms(request));
            for (series, time, value) in points(request) {
                let newest = self.series.entry(series.clone()).or_default();
                assert!(time > newest.0, "{series} goes back");
                *newest = (time, value);
            }
        }
    }

    /// Another process takes over; what was not sealed is read again.
    pub(super) fn crash(&mut self) {
        self.stage = stage(&self.lag);
        self.task = open(&self.stage, self.committed.as_ref());
        for (key, value) in &self.changelog {
            let restored = Input::Restore {
                key,
                value: Some(value),
            };
            self.task.accept(restored).expect("it can be read");
        }
        self.task.accept(Input::Restored).expect("state and offset agree");
    }

    /// Newest values of the series whose names begin so.
    fn shown(&self, beginning: &str) -> Vec<(&str, Option<f64>)> {
        let found = self.series.range(beginning.to_owned()..);
        found
            .take_while(|(name, _)| name.starts_with(beginning))
            .map(|(name, (_, value))| (&name[beginning.len()..], *value))
            .collect()
    }

    pub(super) fn value(&self, series: &str) -> Option<f64> {
        self.series.get(series).and_then(|(_, value)| *value)
    }
}

/// The record of a classic group with this many members.
fn classic(group: &str, members: usize) -> (Vec<u8>, Vec<u8>) {
    let text = |out: &mut Vec<u8>, text: &str| {
        out.extend(i16::try_from(text.len()).unwrap().to_be_bytes());
        out.extend(text.bytes());
    };
    let mut key = 2_i16.to_be_bytes().to_vec();
    text(&mut key, group);
    let mut value = 3_i16.to_be_bytes().to_vec();
    text(&mut value, "consumer");
    value.extend(1_i32.to_be_bytes());
    text(&mut value, "range");
    text(&mut value, "a");
    value.extend(0_i64.to_be_bytes());
    value.extend(i32::try_from(members).unwrap().to_be_bytes());
    for member in 0..members {
        text(&mut value, &member.to_string());
        value.extend((-1_i16).to_be_bytes());
        text(&mut value, "client");
        text(&mut value, "host");
        value.extend(0_i32.to_be_bytes());
        value.extend(0_i32.to_be_bytes());
        value.extend(0_i32.to_be_bytes());
        value.extend(0_i32.to_be_bytes());
    }
    (key, value)
}

/// `name{label="value",...}` with time and value; none where the series ends.
fn points(request: &[u8]) -> Vec<(String, u64, Option<f64>)> {
    let request = ExportMetricsServiceRequest::decode(request).expect("a request");
    let mut all = Vec::new();
    for metric in request
        .resource_metrics
        .iter()
        .flat_map(|resource| &resource.scope_metrics)
        .flat_map(|scope| &scope.metrics)
    {
        let points = match &metric.data {
            Some(Data::Gauge(gauge)) => &gauge.data_points,
            Some(Data::Sum(sum)) => &sum.data_points,
            Some(Data::Histogram(_)) => continue,
            other => panic!("{other:?}"),
        };
        for point in points {
            all.push((
                name(&metric.name, &point.attributes),
                point.time_unix_nano,
                number(point),
            ));
        }
    }
    all
}

/// Count and sum of the points of histograms, in order.
fn histograms(request: &[u8]) -> Vec<(String, (u64, f64))> {
    let request = ExportMetricsServiceRequest::decode(request).expect("a request");
    let resources = request.resource_metrics.iter();
    let metrics = resources
        .flat_map(|resource| &resource.scope_metrics)
        .flat_map(|scope| &scope.metrics);
    let mut all = Vec::new();
    for metric in metrics {
        let Some(Data::Histogram(histogram)) = &metric.data else {
            continue;
        };
        for point in &histogram.data_points {
            let number = (point.count, point.sum.unwrap_or_default());
            all.push((name(&metric.name, &point.attributes), number));
        }
    }
    all
}

fn name(metric: &str, attributes: &[KeyValue]) -> String {
    let labels = attributes.iter().map(|pair| {
        let value = pair.value.as_ref().and_then(|value| value.value.as_ref());
        match value {
            Some(Value::StringValue(text)) => format!("{}={text}", pair.key),
            other => panic!("{other:?}"),
        }
    });
    format!("{metric}{{{}}}", labels.collect::<Vec<_>>().join(","))
}

fn number(point: &NumberDataPoint) -> Option<f64> {
    assert_eq!(point.flags == 1, point.value.is_none());
    point.value.as_ref().map(|value| match value {
        number_data_point::Value::AsInt(value) => *value as f64,
        number_data_point::Value::AsDouble(value) => *value,
    })
}

const OF_G: &str = "{topic=t,partition=0,consumer_group=g}";

fn of_g(metric: &str) -> String {
    format!("{metric}{OF_G}")
}

#[test]
fn three_lags_and_the_offset_are_shown_of_each_partition() {
    let mut world = World::new();
    world.commit("g", "t", 0, 40);
    world.log("t", 0, 10, 45, 50);
    world.round();
    assert_eq!(world.value(&of_g("kafka_consumer_lag")), Some(10.0));
    assert_eq!(world.value(&of_g("kafka_consumer_lag_stable")), Some(5.0));
    assert_eq!(world.value(&of_g("kafka_consumer_offset")), Some(40.0));
    // Nobody has counted the records, or seen when they came.
    assert_eq!(world.series.get(&of_g("kafka_consumer_lag_records")), None);
    assert_eq!(world.series.get(&of_g("kafka_consumer_lag_seconds")), None);
}

#[test]
fn a_commit_is_never_compared_with_an_end_that_was_asked_for_before_it() {
    let mut world = World::new();
    world.commit("g", "t", 0, 40);
    world.log("t", 0, 0, 50, 50);
    world.second += 10;
    let survey = world.ask();
    // The log has grown meanwhile, and the group has read it.
    world.commit("g", "t", 0, 70);
    world.commit("new", "t", 0, 70);
    world.answer(survey);
    world.seal();
    assert_eq!(world.value(&of_g("kafka_consumer_lag")), Some(10.0));
    assert_eq!(
        world
            .shown("kafka_consumer_lag{topic=t,partition=0,consumer_group=new")
            .len(),
        0
    );
    world.log("t", 0, 0, 71, 71);
    world.round();
    assert_eq!(world.value(&of_g("kafka_consumer_lag")), Some(1.0));
    assert_eq!(
        world.value("kafka_consumer_lag{topic=t,partition=0,consumer_group=new}"),
        Some(1.0)
    );
}

#[test]
fn a_caught_up_consumer_behind_a_marker_has_no_records_to_read() {
    let mut world = World::new();
    world.commit("g", "t", 0, 49);
    world.log("t", 0, 0, 50, 50);
    world.second += 10;
    let survey = world.ask();
    world.stage.survey(survey);
    let mut spans = BTreeSet::new();
    let logs = world.stage.logs().unwrap();
    world.task.tails(logs, &mut spans);
    let span = TailSpan {
        topic: "t".into(),
        partition: 0,
        start: 49,
        end: 50,
    };
    assert_eq!(spans, BTreeSet::from([span.clone()]));
    let none = Tail {
        records: 0,
        first: None,
    };
    world.stage.tails(vec![(span, none)]);
    let logs = world.stage.logs().unwrap();
    world.task.accept(Input::Surveyed(logs)).unwrap();
    world.seal();
    assert_eq!(world.value(&of_g("kafka_consumer_lag")), Some(1.0));
    assert_eq!(world.value(&of_g("kafka_consumer_lag_records")), Some(0.0));
    assert_eq!(world.value(&of_g("kafka_consumer_lag_seconds")), Some(0.0));
    assert_eq!(
        world.shown("kafka_consumer_status{topic=t,partition=0,consumer_group=g,"),
        [("status=OK}", Some(1.0))]
    );
}

#[test]
fn a_tail_is_read_once_as_long_as_nothing_moves() {
    let mut world = World::new();
    world.commit("g", "t", 0, 49);
    world.log("t", 0, 0, 50, 50);
    let spans = |world: &World| {
        let mut spans = BTreeSet::new();
        world.task.tails(world.stage.logs().unwrap(), &mut spans);
        spans
    };
    world.round();
    let wanted = spans(&world);
    assert_eq!(wanted.len(), 1);
    let none = Tail {
        records: 0,
        first: None,
    };
    world.stage.tails(wanted.into_iter().map(|span| (span, none)).collect());
    world.round();
    assert_eq!(spans(&world).len(), 0);
    world.log("t", 0, 0, 51, 51);
    world.round();
    assert_eq!(spans(&world).len(), 1);
    world.log("t", 0, 0, 2_000, 2_000);
    world.round();
    assert_eq!(spans(&world).len(), 0, "it is too long");
}

#[test]
fn lag_in_time_is_that_of_the_first_offset_that_was_not_read() {
    let mut world = World::new();
    world.commit("g", "t", 0, 0);
    for round in 0..10 {
        world.log("t", 0, 0, 100 * round, 100 * round);
        world.round();
    }
    // 100 offsets in ten seconds, and the last survey saw 900: offset 700 came between 20 and 21 s ago.
    world.commit("g", "t", 0, 700);
    world.log("t", 0, 0, 1_000, 1_000);
    world.round();
    let seconds = world.value(&of_g("kafka_consumer_lag_seconds")).expect("it is known");
    assert!((29.0..=31.0).contains(&seconds), "{seconds}");
}

#[test]
fn a_group_that_ends_has_its_series_ended_and_is_forgotten() {
    for crash in [false, true] {
        let mut world = World::new();
        let (key, record) = classic("g", 2);
        world.record(&key, Some(&record));
        world.commit("g", "t", 0, 40);
        world.log("t", 0, 0, 50, 50);
        world.round();
        world.commit("g", "t", 0, 45);
        world.round();
        assert_eq!(world.value("kafka_consumer_group_members{consumer_group=g}"), Some(2.0));
        assert_eq!(
            world.value("kafka_consumer_messages_total{topic=t,consumer_group=g,status=success}"),
            Some(5.0)
        );
        world.tombstone("g", "t", 0);
        world.record(&key, None);
        if crash {
            let unsealed = world.written - 2;
            world.crash();
            world.written = unsealed;
            world.tombstone("g", "t", 0);
            world.record(&key, None);
        }
        world.seal();
        let of_group = world
            .series
            .iter()
            .filter(|(name, _)| name.contains("consumer_group=g"));
        let alive: Vec<_> = of_group.filter(|(_, (_, value))| value.is_some()).collect();
        assert_eq!(alive, [], "crash: {crash}");
        let kept: Vec<u8> = world.changelog.keys().map(|key| key[0]).collect();
        assert!(!kept.iter().any(|kind| b"ecgr".contains(kind)), "{kept:?}");
    }
}

#[test]
fn who_comes_back_before_it_was_ended_goes_on() {
    let mut world = World::new();
    world.commit("g", "t", 0, 40);
    world.log("t", 0, 0, 50, 50);
    world.round();
    world.tombstone("g", "t", 0);
    world.commit("g", "t", 0, 44);
    world.round();
    assert_eq!(world.value(&of_g("kafka_consumer_lag")), Some(6.0));
    world.tombstone("g", "t", 0);
    world.seal();
    assert_eq!(world.series.get(&of_g("kafka_consumer_lag")).unwrap().1, None);
    world.commit("g", "t", 0, 45);
    world.round();
    assert_eq!(world.value(&of_g("kafka_consumer_lag")), Some(5.0));
}

#[test]
fn consumed_offsets_add_up_over_rewinds_and_crashes() {
    const CONSUMED: &str = "kafka_consumer_messages_total{topic=t,consumer_group=g,status=success}";
    let mut world = World::new();
    world.log("t", 0, 0, 1_000, 1_000);
    world.log("t", 1, 0, 1_000, 1_000);
    // The first commit is where counting begins.
    world.commit("g", "t", 0, 100);
    world.commit("g", "t", 1, 10);
    world.round();
    world.commit("g", "t", 0, 150);
    world.commit("g", "t", 0, 130);
    world.commit("g", "t", 0, 160);
    world.commit("g", "t", 1, 11);
    world.round();
    assert_eq!(world.value(CONSUMED), Some(50.0 + 30.0 + 1.0));
    // What was read and not sealed is read again.
    let sealed = world.written;
    world.commit("g", "t", 0, 170);
    world.crash();
    world.written = sealed;
    world.commit("g", "t", 0, 170);
    world.commit("g", "t", 0, 175);
    world.round();
    assert_eq!(world.value(CONSUMED), Some(96.0));
}

/// Ten records a second from second 990 on, 100 bytes each, and behind every tenth of them a marker.
fn indexed(world: &mut World, seconds: i64) {
    let second = |number: i64| Entry {
        first: number * 11,
        next: number * 11 + 11,
        times: Some(Times {
            earliest: (990 + number) * 1_000,
            latest: (990 + number) * 1_000 + 900,
        }),
        bytes: 1_000,
        runs: {
            let mut runs = Runs::default();
            runs.push(Run {
                records: 10,
                absent: 1,
                times: 1,
            });
            runs
        },
    };
    let stretch = Stretch {
        topic: "tapped".to_owned(),
        partition: 0,
        epoch: 0,
        topic_id: [1; 16],
        entries: (0..seconds).map(second).collect(),
    };
    world.stage.index(&stretch.encode()).expect("it can be read");
}

#[test]
fn of_a_tapped_topic_the_index_tells_records_bytes_and_ages() {
    const CONSUMED: &str = "kafka_consumer_messages_total{topic=tapped,consumer_group=g,status=success}";
    const BYTES: &str = "kafka_consumer_bytes_total{topic=tapped,consumer_group=g}";
    const LATENCY: &str = "kafka_consumer_latency_seconds{topic=tapped,consumer_group=g}";
    let of = |metric: &str| format!("{metric}{{topic=tapped,partition=0,consumer_group=g}}");
    let mut world = World::new();
    world.log("tapped", 0, 0, 220, 220);
    world.commit("g", "tapped", 0, 0);
    world.commit("g", "tapped", 0, 22);
    world.round();
    // The index does not tell yet: it waits, over a crash too.
    assert_eq!(world.value(CONSUMED), Some(0.0));
    world.crash();
    indexed(&mut world, 10);
    world.round();
    assert_eq!((world.value(CONSUMED), world.value(BYTES)), (Some(20.0), Some(2_000.0)));
    // Committed at second 1,000: ten came ten seconds before, ten nine seconds before.
    let (count, sum) = world.histograms[LATENCY];
    assert_eq!(count, 20);
    assert!((178.0..=192.0).contains(&sum), "{sum}");
    // The first that is left came at second 992, and it is 1,020.
    let seconds = world.value(&of("kafka_consumer_lag_seconds")).expect("it is known");
    assert!((27.0..=28.1).contains(&seconds), "{seconds}");
    // Beyond the index nobody has counted; all of it, once it is there: 18 times ten of what lies behind 22.
    assert_eq!(world.series.get(&of("kafka_consumer_lag_records")), None);
    indexed(&mut world, 20);
    world.round();
    assert_eq!(world.value(&of("kafka_consumer_lag_records")), Some(180.0));
    assert_eq!(world.value(&of("kafka_consumer_lag")), Some(198.0));
    // What the index told once is not told again.
    world.round();
    assert_eq!((world.value(CONSUMED), world.value(BYTES)), (Some(20.0), Some(2_000.0)));
}

#[test]
fn a_commit_that_ends_inside_of_what_is_not_indexed_yet_is_counted_in_two_parts() {
    const CONSUMED: &str = "kafka_consumer_messages_total{topic=tapped,consumer_group=g,status=success}";
    let mut world = World::new();
    world.log("tapped", 0, 0, 220, 220);
    world.commit("g", "tapped", 0, 11);
    world.commit("g", "tapped", 0, 55);
    indexed(&mut world, 3);
    world.round();
    assert_eq!(world.value(CONSUMED), Some(20.0));
    indexed(&mut world, 20);
    world.crash();
    indexed(&mut world, 20);
    world.round();
    assert_eq!(world.value(CONSUMED), Some(40.0));
}

#[test]
fn a_transaction_that_stays_open_takes_the_points_away_and_is_told() {
    const STALLED: &str = "streamgauge_lag_stalled_seconds{partition=7}";
    let mut world = World::new();
    world.commit("g", "t", 0, 40);
    world.log("t", 0, 0, 50, 50);
    world.round();
    assert_eq!(world.value(STALLED), Some(0.0));
    world.unread = 3;
    world.log("t", 0, 0, 90, 90);
    world.round();
    world.round();
    let known = world.series[&of_g("kafka_consumer_lag")].0;
    for _ in 0..6 {
        world.log("t", 0, 0, 500, 500);
        world.round();
    }
    assert_eq!(
        world.series[&of_g("kafka_consumer_lag")].0,
        known,
        "nothing false is said"
    );
    assert_eq!(world.value(STALLED), Some(80.0));
    assert!(
        world.task.view().notes[0].contains("find-hanging"),
        "{:?}",
        world.task.view().notes
    );
    // It ends: what lay behind it is read, with its marker.
    world.written += world.unread + 1;
    world.unread = 0;
    world.commit("g", "t", 0, 490);
    world.round();
    world.round();
    assert_eq!(world.value(STALLED), Some(0.0));
    assert_eq!(world.value(&of_g("kafka_consumer_lag")), Some(10.0));
}

#[test]
fn a_silent_leader_makes_no_point_and_a_topic_that_is_gone_ends_them() {
    let mut world = World::new();
    world.commit("g", "t", 0, 40);
    world.log("t", 0, 0, 50, 50);
    world.round();
    let at = world.series[&of_g("kafka_consumer_lag")].0;
    world.logs.insert(("t".to_owned(), 0), Surveyed::Silent);
    for _ in 0..10 {
        world.round();
    }
    assert_eq!(world.series[&of_g("kafka_consumer_lag")].0, at);
    world.logs.clear();
    world.round();
    assert_eq!(world.series[&of_g("kafka_consumer_lag")].1, None);
    assert_eq!(world.value(&of_g("kafka_consumer_offset")), Some(40.0));
}

#[test]
fn a_topic_that_was_created_again_has_no_lag_until_the_group_commits_there() {
    let mut world = World::new();
    let id = |id: u8, offset: i64, millis: i64| {
        let mut value = 4_i16.to_be_bytes().to_vec();
        value.extend(offset.to_be_bytes());
        value.extend((-1_i32).to_be_bytes());
        value.push(1);
        value.extend(millis.to_be_bytes());
        value.extend([1, 0, 16]);
        value.extend([id; 16]);
        value
    };
    let millis = world.second * 1_000;
    world.record(&commit_key("g", "t", 0), Some(&id(1, 40, millis)));
    world.log("t", 0, 0, 50, 50);
    world.round();
    assert_eq!(world.value(&of_g("kafka_consumer_lag")), Some(10.0));
    world.ids.insert("t".to_owned(), 2);
    world.log("t", 0, 0, 60, 60);
    world.round();
    assert_eq!(world.series[&of_g("kafka_consumer_lag")].1, None);
    world.record(&commit_key("g", "t", 0), Some(&id(2, 55, millis + 20_000)));
    world.round();
    assert_eq!(world.value(&of_g("kafka_consumer_lag")), Some(5.0));
    // From 40 of the one to 55 of the other is no reading.
    assert_eq!(
        world.value("kafka_consumer_messages_total{topic=t,consumer_group=g,status=success}"),
        Some(0.0)
    );
}

#[test]
fn beyond_the_limit_commits_are_passed_over_and_that_is_said() {
    let mut world = World::of(&Lag { max_series: 2, ..lag() });
    for group in ["a", "b", "c", "d"] {
        world.commit(group, "t", 0, 1);
        world.log("t", 0, 0, 50, 50);
    }
    world.commit("a", "t", 0, 2);
    world.round();
    assert_eq!(world.shown("kafka_consumer_lag{").len(), 2);
    assert_eq!(
        world.value("streamgauge_overflow_records_total{metric=kafka_consumer_lag,partition=7}"),
        Some(2.0)
    );
    assert!(world.task.view().notes[0].contains("max_series (2)"));
}

#[test]
fn groups_and_topics_that_nobody_wants_are_filtered_also_after_a_restart() {
    use crate::engine::names::Names;
    let mut world = World::new();
    for (group, topic) in [("a", "t"), ("a", "u"), ("b", "t")] {
        world.commit(group, topic, 0, 1);
        world.log(topic, 0, 0, 50, 50);
    }
    world.round();
    assert_eq!(world.shown("kafka_consumer_lag{").len(), 3);
    let narrow = Lag {
        groups: Names::of(["a"]),
        topics: Names::of(["!u"]),
        ..lag()
    };
    world.stage = stage(&narrow);
    world.task = open(&world.stage, world.committed.as_ref());
    for (key, value) in &world.changelog {
        let value = Some(value.as_slice());
        world.task.accept(Input::Restore { key, value }).unwrap();
    }
    world.task.accept(Input::Restored).unwrap();
    world.commit("b", "t", 0, 2);
    world.round();
    let shown = world.shown("kafka_consumer_lag{topic=");
    assert_eq!(
        shown,
        [
            ("t,partition=0,consumer_group=a}", Some(49.0)),
            ("t,partition=0,consumer_group=b}", None),
            ("u,partition=0,consumer_group=a}", None)
        ]
    );
}

#[test]
fn every_record_has_one_outcome_and_one_that_cannot_be_read_is_a_dead_letter() {
    let mut world = World::new();
    world.commit("g", "t", 0, 1);
    world.record(b"\x00\x01\x00", Some(b""));
    world.record(b"\x00\x63", Some(b"what a newer broker writes"));
    world.tombstone("never seen", "t", 0);
    world.written += 5;
    world.commit("g", "t", 0, 2);
    world.round();
    let (next, metadata) = world.committed.clone().unwrap();
    let ledger = Ledger::decode(&metadata).unwrap();
    assert_eq!((ledger.balance(next), next, world.dead), (0, 10, 1));
    let counts = [Outcome::Counted, Outcome::Malformed, Outcome::Filtered, Outcome::Absent];
    assert_eq!(counts.map(|outcome| ledger.count(outcome)), [3, 1, 1, 5]);
    assert_eq!(
        world.value("streamgauge_lag_unknown_records_total{partition=7}"),
        Some(1.0)
    );
}

#[test]
fn names_are_shown_as_they_are() {
    let mut world = World::new();
    let group = "a \"quoted\"\n\u{1f600}";
    world.commit(group, "t", 0, 1);
    world.log("t", 0, 0, 3, 3);
    world.round();
    world.crash();
    world.round();
    let series = format!("kafka_consumer_lag{{topic=t,partition=0,consumer_group={group}}}");
    assert_eq!(world.value(&series), Some(2.0));
}

#[test]
fn after_a_crash_a_group_has_the_status_that_it_had() {
    let mut world = World::new();
    world.log("t", 0, 0, 1_000, 1_000);
    for _ in 0..12 {
        // It commits, and does not get on.
        world.commit("g", "t", 0, 40);
        world.round();
    }
    let status = |world: &World| -> Vec<(String, Option<f64>)> {
        let shown = world.shown("kafka_consumer_status{topic=t,partition=0,consumer_group=g,status=");
        shown
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    };
    let stalls = [("OK}".to_owned(), Some(0.0)), ("STALL}".to_owned(), Some(1.0))];
    assert_eq!(status(&world), stalls);
    world.crash();
    world.round();
    assert_eq!(status(&world), stalls);
}

#[test]
fn nothing_is_sealed_where_nothing_happens() {
    let mut world = World::new();
    world.commit("g", "t", 0, 40);
    world.log("t", 0, 0, 50, 50);
    world.round();
    assert_eq!(world.task.seal(), None);
    world.second += 10;
    let survey = world.ask();
    world.answer(survey);
    // The own counters were shown a moment ago, and no group has moved.
    let output = world.task.seal();
    assert!(output.is_none_or(|output| output.outbox.iter().all(|request| {
        points(request)
            .iter()
            .all(|(name, ..)| !name.starts_with("kafka_consumer_lag{"))
    })));
}

#[test]
fn state_without_its_commit_stops_the_stage() {
    let mut world = World::new();
    world.commit("g", "t", 0, 40);
    world.seal();
    let stage = stage(&lag());
    let mut task = open(&stage, None);
    for (key, value) in &world.changelog {
        let value = Some(value.as_slice());
        task.accept(Input::Restore { key, value }).unwrap();
    }
    let refused = task.accept(Input::Restored).unwrap_err();
    assert!(format!("{refused:?}").contains("set the group back"), "{refused:?}");
}

#[test]
fn a_reset_that_was_accepted_counts_nothing_that_lies_between() {
    let mut world = World::new();
    world.log("t", 0, 0, 1_000, 1_000);
    world.commit("g", "t", 0, 100);
    world.round();
    let at = Open::Reset {
        start: 0,
        metadata: "",
        topic_id: [9; 16],
    };
    world.task = world.stage.open(OFFSETS_TOPIC, PARTITION, at).unwrap();
    for (key, value) in &world.changelog {
        let value = Some(value.as_slice());
        world.task.accept(Input::Restore { key, value }).unwrap();
    }
    world.task.accept(Input::Restored).unwrap();
    world.written = 0;
    // What was known is still shown, also after a crash.
    world.round();
    world.crash();
    world.round();
    assert_eq!(world.value(&of_g("kafka_consumer_offset")), Some(100.0));
    assert_eq!(world.value(&of_g("kafka_consumer_lag")), Some(900.0));
    world.commit("g", "t", 0, 900);
    world.commit("g", "t", 0, 903);
    world.round();
    assert_eq!(
        world.value("kafka_consumer_messages_total{topic=t,consumer_group=g,status=success}"),
        Some(3.0)
    );
}
