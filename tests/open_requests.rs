//! A million open requests fit in 200 MB and come back in 20 seconds.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use prost::Message;
use streamgauge::engine::codec::{Batch, KeyedRecords, Pack};
use streamgauge::engine::correlate::{CorrelateOptions, CorrelateStage, Pressure};
use streamgauge::engine::keyed::{KeyHash, KeyedRecord, Packer};
use streamgauge::engine::plan::{
    Join, JoinedLabel, Kind, Measure, Measured, Metric, MetricIx, Operator, Plan, Respond, Side, Start, TimeFrom,
    Timing, TopicPlan,
};
use streamgauge::engine::series::{DefinitionHash, SeriesKey};
use streamgauge::engine::tap::projection::Projection;
use streamgauge::engine::task::{Input, Open, OpenTask, Output, PartitionCounts, Record, Stamp, Task};
use streamgauge::engine::time::{EventTime, Span};
use streamgauge::engine::window::WindowSize;

const REQUESTS: u64 = 1_000_000;
/// As many as a busy second brings.
const AT_ONCE: u64 = 10_000;
/// 2026-11-22T14:00:00Z.
const T0: i64 = 1_795_356_000_000_000;
const JOIN: DefinitionHash = DefinitionHash(1);

fn plan() -> Plan {
    let channel = JoinedLabel::Carried {
        side: Side::REQUEST,
        index: 0,
        otherwise: "unknown".into(),
    };
    let topic = |name: &str| TopicPlan {
        topic: name.into(),
        timing: Timing {
            from: TimeFrom::Record,
            out_of_order: Span::seconds(5),
            idle_after: Span::seconds(5),
            max_hold: Span::seconds(60),
            max_ahead: Span::seconds(300),
        },
        start: Start::Earliest,
        max_record_bytes: 1 << 20,
        projection: Projection::default(),
        sources: vec![],
    };
    Plan {
        alerts: Vec::new(),
        receivers: Vec::new(),
        pipelines: vec!["support".into()],
        metrics: vec![Metric {
            name: "responses_unanswered_total".into(),
            pipeline: 0,
            definition: DefinitionHash(2),
            help: String::new(),
            unit: String::new(),
            kind: Kind::Count,
            labels: vec!["channel_type".into()],
            window: WindowSize::DEFAULT,
            max_series: 10,
            topics: vec![0, 1],
        }],
        topics: vec![topic("normalized"), topic("responses")],
        lag: None,
        joins: vec![Join {
            name: "responses".into(),
            definition: JOIN,
            topics: vec![0, 1],
            late: None,
            operator: Operator::Respond(Respond {
                within: Span::seconds(86_400),
                forget: Span::seconds(3_600),
                skew: Span::seconds(60),
                measured: vec![Measured {
                    metric: MetricIx(0),
                    measure: Measure::Unanswered,
                    labels: vec![channel],
                }],
                journeys: None,
            }),
        }],
    }
}

fn open(at: Open<'_>) -> Box<dyn Task> {
    let options = CorrelateOptions {
        application: "app".into(),
        partitions: 6,
        max_entries: 2_000_000,
    };
    let mut task = CorrelateStage::new(Arc::new(plan()), options)
        .open("", 0, at)
        .expect("opens");
    let counts = PartitionCounts::from([("normalized".to_owned(), 1), ("responses".to_owned(), 1)]);
    task.accept(Input::Partitions(&counts)).expect("taken");
    task
}

fn fresh() -> Box<dyn Task> {
    let mut task = open(Open::Fresh {
        start: 0,
        topic_id: [0; 16],
    });
    task.accept(Input::Restored).expect("there is nothing to restore");
    task
}

/// What requests carry.
#[derive(Clone, Copy)]
enum Carries {
    /// One of few channels.
    Channel,
    /// What a label and the spans of a trace are made of, as a pipeline without further attributes has it.
    Spans,
}

/// One second of requests, whose watermarks have passed it.
fn second(number: u64, carries: Carries) -> Vec<u8> {
    const CHANNELS: [&str; 3] = ["email", "whatsapp", "web_form"];
    let mut packer = Packer::default();
    let mut carried = match carries {
        Carries::Channel => CHANNELS.map(|channel| SeriesKey::of([channel]).0).to_vec(),
        Carries::Spans => Vec::new(),
    };
    for at in 0..AT_ONCE {
        let id = number * AT_ONCE + at;
        let record = KeyedRecord {
            key: KeyHash::of(&id.to_le_bytes()),
            time: EventTime(T0 + number as i64 * 1_000_000 + at as i64 * 100),
            carried: match carries {
                Carries::Channel => (id % 3) as u32,
                Carries::Spans => at as u32,
            },
            amount: 0,
        };
        packer.push(record, false);
        if let Carries::Spans = carries {
            let channel = CHANNELS[(id % 3) as usize];
            let (correlation, offset) = (format!("{id:032x}-abc"), id.to_string());
            carried.push(SeriesKey::of([channel, "inquiry", &correlation, "3", &offset, ""]).0);
        }
    }
    let requests = KeyedRecords {
        join: JOIN.0,
        side: 0,
        count: packer.count(),
        amounts: false,
        records: packer.take(),
        carried,
    };
    let watermark = Some(T0 + (number as i64 + 1) * 1_000_000 - 1);
    let batch = |topic: &str, keyed| Batch {
        topic: topic.into(),
        watermark,
        keyed,
        ..Batch::default()
    };
    let batches = [batch("normalized", vec![requests]), batch("responses", vec![])].map(|batch| batch.encode_to_vec());
    Pack::of_encoded(batches.iter().map(Vec::as_slice))
}

/// Opens all requests, a seal each second.
fn ask(task: &mut dyn Task, carries: Carries, mut sealed: impl FnMut(Output)) {
    for number in 0..REQUESTS / AT_ONCE {
        let value = second(number, carries);
        let record = Record {
            offset: number as i64,
            key: None,
            value: Some(&value),
            stamp: Stamp::None,
            headers: &(),
        };
        task.accept(Input::Record(record)).expect("taken");
        sealed(task.seal().expect("requests were taken"));
    }
}

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("this is Linux");
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("statm has numbers") * 4_096
}

#[test]
fn a_million_open_requests_fit_in_200_mb_and_come_back_in_20_seconds() {
    let bytes = measure(Carries::Channel);
    assert!(bytes < 200_000_000, "{bytes} bytes");
}

#[test]
fn with_what_their_spans_will_say_they_still_fit() {
    let bytes = measure(Carries::Spans);
    assert!(bytes < 200_000_000, "{bytes} bytes");
}

/// Opens a million, and restores them; gives the bytes that they take.
fn measure(carries: Carries) -> usize {
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // What the test itself needs is in memory before it measures.
    let mut first = fresh();
    let value = second(0, carries);
    let record = Record {
        offset: 0,
        key: None,
        value: Some(&value),
        stamp: Stamp::None,
        headers: &(),
    };
    first.accept(Input::Record(record)).expect("taken");
    drop((first.seal(), first));

    let before = resident();
    let mut task = fresh();
    let mut metadata = String::new();
    let began = Instant::now();
    ask(task.as_mut(), carries, |output| metadata = output.metadata);
    let took = began.elapsed();
    let bytes = resident().saturating_sub(before);
    let pressure = Pressure::decode(&metadata).expect("a task tells it");
    assert_eq!(pressure.entries(), REQUESTS);
    println!(
        "{REQUESTS} open requests: {} MB resident, {} bytes each; taken and sealed at {} ns each",
        bytes / 1_000_000,
        bytes / REQUESTS as usize,
        took.as_nanos() / u128::from(REQUESTS)
    );
    drop(task);

    let mut changelog = Vec::new();
    ask(fresh().as_mut(), carries, |output| changelog.extend(output.changelog));
    let written: usize = changelog
        .iter()
        .map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len))
        .sum();
    let began = Instant::now();
    let mut task = open(Open::Resumed {
        offset: (REQUESTS / AT_ONCE) as i64,
        metadata: &metadata,
        topic_id: [0; 16],
    });
    for (key, value) in &changelog {
        task.accept(Input::Restore {
            key,
            value: value.as_deref(),
        })
        .expect("we wrote it");
    }
    task.accept(Input::Restored).expect("state and offset agree");
    let took = began.elapsed();
    assert_eq!(task.view().series, REQUESTS);
    println!(
        "restored from {} records, {} MB, in {} ms",
        changelog.len(),
        written / 1_000_000,
        took.as_millis()
    );
    assert!(took < Duration::from_secs(20), "{took:?}");
    bytes
}
