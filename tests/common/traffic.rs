//! What the users' five services write, from a seed: the simulator's records, written to a real Kafka when their time
//! has come.
//!
//! The simulator knows what each record is; the oracle reads the bytes. Both must agree, and a test says so.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use streamgauge::cli::demo::simulator::{Fate, Share, Simulated, Simulator, SimulatorOptions, Topic};
use streamgauge::engine::time::{EventTime, Span};

use super::joins::TERMS;
use super::kafka::{Write, Writer};
use super::now_micros;

pub const PARTITIONS: u32 = 6;
pub const TOPICS: [Topic; 10] = Topic::ALL;

pub struct Traffic {
    simulator: Simulator,
    /// How many records were written, by the outcome that the simulator meant.
    pub meant: BTreeMap<&'static str, i64>,
}

/// A system whose services make no mistakes: disorder is all.
pub fn clean(start: i64, rate: u32) -> SimulatorOptions {
    SimulatorOptions {
        rate,
        patience: Span::micros(TERMS.within),
        late: Share::NEVER,
        malformed: Share::NEVER,
        future: Share::NEVER,
        oversize: Share::NEVER,
        ..SimulatorOptions::at(EventTime(start))
    }
}

/// A system with every kind of mistake, starting now. No record is later than `latest` seconds.
pub fn troubled(rate: u32, latest: i64) -> SimulatorOptions {
    SimulatorOptions {
        rate,
        patience: Span::micros(TERMS.within),
        late: Share(5_000),
        late_by: (Span::seconds(6), Span::seconds(latest)),
        malformed: Share(8_000),
        future: Share(500),
        oversize: Share(30),
        ..SimulatorOptions::at(EventTime(now_micros()))
    }
}

// === impl Traffic ===

impl Traffic {
    pub fn new(seed: u64, options: SimulatorOptions) -> Self {
        Self {
            simulator: Simulator::new(seed, options),
            meant: BTreeMap::new(),
        }
    }

    /// Writes so many records, each when its time has come, stamped by the client or the broker.
    pub fn write(&mut self, writer: &Writer, count: usize) {
        for _ in 0..count {
            let record = self.next();
            let early = u64::try_from(record.at.0 - now_micros()).unwrap_or(0);
            if early > 5_000 {
                std::thread::sleep(Duration::from_micros(early));
            }
            writer.write(&write_of(record));
        }
        writer.flush();
    }

    /// Writes so many records at once, all to one partition of their topics, stamped as if they had been written then.
    pub fn write_past(&mut self, writer: &Writer, partition: u32, count: usize) {
        for _ in 0..count {
            let record = self.next();
            let timestamp = Some(record.at.0 / 1_000);
            writer.write(&Write {
                partition,
                timestamp,
                ..write_of(record)
            });
        }
        writer.flush();
    }

    fn next(&mut self) -> Simulated {
        let record = self.simulator.next().expect("it never ends");
        let outcome = match record.truth.fate {
            Fate::Counted => "counted",
            Fate::Future => "future",
            Fate::Malformed(_) => "malformed",
            Fate::Oversize => "oversize",
        };
        *self.meant.entry(outcome).or_default() += 1;
        record
    }
}

fn write_of(record: Simulated) -> Write {
    let Simulated {
        topic,
        partition,
        key,
        value,
        headers,
        ..
    } = record;
    let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value));
    Write {
        topic: topic.name().to_owned(),
        partition,
        key,
        value,
        timestamp: None,
        headers: headers.collect(),
    }
}

/// As Python's `datetime.isoformat()` of a time without a zone: microseconds only where there are some.
pub fn stamp(micros: i64) -> String {
    let time = Timestamp::from_microsecond(micros)
        .expect("a time of today")
        .to_string();
    let (date, rest) = time
        .trim_end_matches('Z')
        .split_once('.')
        .unwrap_or((time.trim_end_matches('Z'), ""));
    if rest.is_empty() {
        date.to_owned()
    } else {
        format!("{date}.{rest:0<6}")
    }
}
