//! How far a correlate task is and how full, for those who feed it.
//!
//! Rule: it travels in the metadata of the task's commit, so that one OffsetFetch of the stage's group tells a tap all of
//! it: a tap that is far ahead of a join's watermark, or that feeds a join which is filling up, can wait.
//!
//! Edges: it is advice and no state. A commit without it, or with one that cannot be read, says nothing.

use crate::engine::series::DefinitionHash;
use crate::engine::time::{EventTime, Watermark};

/// See the module's rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    /// Entries that the task can hold, over all joins.
    pub most: u64,
    pub joins: Vec<JoinPressure>,
}

/// One join of one task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JoinPressure {
    pub join: DefinitionHash,
    /// Keys and undecided records that it holds.
    pub entries: u64,
    /// Everything up to here is decided.
    pub watermark: Option<Watermark>,
}

/// Precedes the text and names its format.
const PREFIX: &str = "sgc1:";

/// So many joins are told; brokers take 4096 bytes of metadata.
const MOST_JOINS: usize = 60;

// === impl Pressure ===

impl Pressure {
    pub fn entries(&self) -> u64 {
        self.joins.iter().map(|join| join.entries).sum()
    }

    /// Seven eighths: whoever is ahead of the others should wait, and a person should know.
    pub fn is_high(&self) -> bool {
        self.entries() >= self.most / 8 * 7
    }

    /// Under three quarters: nobody has to wait any more.
    pub fn is_low(&self) -> bool {
        self.entries() < self.most / 4 * 3
    }

    /// ASCII, under 4000 bytes.
    pub fn encode(&self) -> String {
        let mut text = format!("{PREFIX}{}", self.most);
        for JoinPressure {
            join,
            entries,
            watermark,
        } in self.joins.iter().take(MOST_JOINS)
        {
            let watermark = watermark.map_or("-".to_owned(), |watermark| watermark.0.0.to_string());
            text.push_str(&format!(";{:016x},{entries},{watermark}", join.0));
        }
        text
    }

    pub fn decode(metadata: &str) -> Option<Self> {
        let mut parts = metadata.strip_prefix(PREFIX)?.split(';');
        let most = parts.next()?.parse().ok()?;
        let join = |part: &str| {
            let mut fields = part.split(',');
            let join = DefinitionHash(u64::from_str_radix(fields.next()?, 16).ok()?);
            let entries = fields.next()?.parse().ok()?;
            let watermark = match fields.next()? {
                "-" => None,
                micros => Some(Watermark(EventTime(micros.parse().ok()?))),
            };
            Some(JoinPressure {
                join,
                entries,
                watermark,
            })
        };
        let joins = parts.map(join).collect::<Option<Vec<_>>>()?;
        Some(Self { most, joins })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_as_it_was() {
        let pressure = Pressure {
            most: 800,
            joins: vec![
                JoinPressure {
                    join: DefinitionHash(u64::MAX),
                    entries: 600,
                    watermark: Some(Watermark(EventTime(-7))),
                },
                JoinPressure {
                    join: DefinitionHash(1),
                    entries: 99,
                    watermark: None,
                },
            ],
        };
        assert_eq!(Pressure::decode(&pressure.encode()), Some(pressure.clone()));
        assert!(!pressure.is_high());
        assert!(Pressure { most: 790, ..pressure }.is_high());
    }

    #[test]
    fn commits_of_others_say_nothing() {
        for text in ["", "sg1:abc", "sgc1:", "sgc1:5;zz,1,2", "sgc1:5;00,1", "sgc2:5"] {
            assert_eq!(Pressure::decode(text), None, "{text}");
        }
    }

    #[test]
    fn it_fits_into_a_commit_however_many_joins_there_are() {
        let join = JoinPressure {
            join: DefinitionHash(u64::MAX),
            entries: u64::MAX,
            watermark: Some(Watermark(EventTime(i64::MIN))),
        };
        let pressure = Pressure {
            most: u64::MAX,
            joins: vec![join; 500],
        };
        assert!(pressure.encode().len() < 4_000);
    }
}
