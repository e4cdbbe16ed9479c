//! The records of the internal topics, as protobuf.
//!
//! Rule: every internal record starts with field 1, its format; an unknown one is an error that names it, never a guess.
//! A [`Pack`] is what one worker sends to one partition at one seal: the batches of its tasks, one after another. Packing
//! copies encoded batches and never decodes them.

use prost::Message;

/// The format that this build writes and the only one it reads.
pub const FORMAT: u32 = 1;

/// The value of one record of a repartition topic.
#[derive(Clone, PartialEq, Message)]
pub struct Pack {
    #[prost(uint32, tag = "1")]
    pub format: u32,
    #[prost(message, repeated, tag = "2")]
    pub batches: Vec<Batch>,
}

/// What one task says to one partition of a later stage at one seal: partials and records first, then how far it is. A
/// tap's task speaks as its input partition, a correlate task as one of its joins ([`super::plan::Join::edge`]).
#[derive(Clone, PartialEq, Message)]
pub struct Batch {
    /// The input topic, or the edge of the join, that speaks.
    #[prost(string, tag = "1")]
    pub topic: String,
    #[prost(uint32, tag = "2")]
    pub partition: u32,
    /// The ledger's epoch: counts the resets that an operator accepted.
    #[prost(uint32, tag = "3")]
    pub epoch: u32,
    /// Event time in microseconds up to which this partition has been seen; absent until its first record or statement.
    #[prost(sint64, optional, tag = "4")]
    pub watermark: Option<i64>,
    /// Wall time of the seal, microseconds.
    #[prost(sint64, tag = "5")]
    pub sealed_at: i64,
    #[prost(message, repeated, tag = "6")]
    pub metrics: Vec<MetricPartials>,
    /// Samples of values that one task owns (ledger counters): they bypass windows, the newest one counts.
    #[prost(message, repeated, tag = "7")]
    pub samples: Vec<Sample>,
    /// Records on their way to joins.
    #[prost(message, repeated, tag = "8")]
    pub keyed: Vec<KeyedRecords>,
    /// Levels of plan metrics, at `sealed_at`: of each sender the newest one counts.
    #[prost(message, repeated, tag = "9")]
    pub levels: Vec<Level>,
    /// Points that rules of alerts look at.
    #[prost(message, repeated, tag = "10")]
    pub readings: Vec<Reading>,
}

/// One point of one series, for one rule.
#[derive(Clone, PartialEq, Message)]
pub struct Reading {
    /// [`super::series::DefinitionHash`] of the rule.
    #[prost(fixed64, tag = "1")]
    pub rule: u64,
    /// [`super::series::SeriesKey`].
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
    /// The point's time, microseconds.
    #[prost(sint64, tag = "3")]
    pub time: i64,
    /// Absent where the series ends. In the metric's unit.
    #[prost(double, optional, tag = "4")]
    pub value: Option<f64>,
}

/// Records of one side of one join; see [`super::keyed`].
#[derive(Clone, PartialEq, Message)]
pub struct KeyedRecords {
    /// [`super::series::DefinitionHash`] of the join as the sender knew it.
    #[prost(fixed64, tag = "1")]
    pub join: u64,
    #[prost(uint32, tag = "2")]
    pub side: u32,
    /// How many records are packed.
    #[prost(uint32, tag = "3")]
    pub count: u32,
    /// Whether each record has an amount.
    #[prost(bool, tag = "4")]
    pub amounts: bool,
    #[prost(bytes = "vec", tag = "5")]
    pub records: Vec<u8>,
    /// What the records carry, by index: label values encoded as in a [`super::series::SeriesKey`].
    #[prost(bytes = "vec", repeated, tag = "6")]
    pub carried: Vec<Vec<u8>>,
}

/// One level of one sender.
#[derive(Clone, PartialEq, Message)]
pub struct Level {
    /// [`super::series::DefinitionHash`] of the metric.
    #[prost(fixed64, tag = "1")]
    pub definition: u64,
    /// [`super::series::SeriesKey`].
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
    /// In millionths.
    #[prost(sint64, tag = "3")]
    pub value: i64,
}

/// Partials of one metric.
#[derive(Clone, PartialEq, Message)]
pub struct MetricPartials {
    /// [`super::series::DefinitionHash`] of the metric as the sender knew it.
    #[prost(fixed64, tag = "1")]
    pub definition: u64,
    #[prost(message, repeated, tag = "2")]
    pub partials: Vec<SeriesPartial>,
}

/// The aggregate of some records of one series and one window.
#[derive(Clone, PartialEq, Message)]
pub struct SeriesPartial {
    /// [`super::series::SeriesKey`].
    #[prost(bytes = "vec", tag = "1")]
    pub key: Vec<u8>,
    /// The window's end, microseconds of event time.
    #[prost(sint64, tag = "2")]
    pub window_end: i64,
    /// How many records are in it; late ones are counted by this.
    #[prost(uint64, tag = "3")]
    pub records: u64,
    #[prost(message, optional, tag = "4")]
    pub value: Option<Value>,
}

/// An aggregate: see [`super::sketch::Partial`].
#[derive(Clone, PartialEq, Message)]
pub struct Value {
    #[prost(oneof = "value::Kind", tags = "1, 2, 3")]
    pub kind: Option<value::Kind>,
}

pub mod value {
    #[derive(Clone, PartialEq, prost::Oneof)]
    pub enum Kind {
        /// A count of things.
        #[prost(uint64, tag = "1")]
        Count(u64),
        /// A sum of decimals in millionths: `i128`, little endian, 16 bytes.
        #[prost(bytes, tag = "2")]
        Sum(Vec<u8>),
        #[prost(message, tag = "3")]
        Histogram(super::Histogram),
    }
}

/// See [`super::sketch::Histogram`].
#[derive(Clone, PartialEq, Message)]
pub struct Histogram {
    #[prost(uint64, tag = "1")]
    pub count: u64,
    /// Sum in millionths: `i128`, little endian, 16 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub sum: Vec<u8>,
    /// Absent for explicit buckets.
    #[prost(sint32, optional, tag = "3")]
    pub scale: Option<i32>,
    #[prost(uint64, tag = "4")]
    pub zero_count: u64,
    /// Index of the first of `buckets` (exponential only).
    #[prost(sint32, tag = "5")]
    pub offset: i32,
    #[prost(uint64, repeated, tag = "6")]
    pub buckets: Vec<u64>,
    #[prost(message, optional, tag = "7")]
    pub exemplar: Option<Exemplar>,
}

/// See [`super::sketch::Exemplar`].
#[derive(Clone, PartialEq, Message)]
pub struct Exemplar {
    #[prost(sint64, tag = "1")]
    pub value: i64,
    /// Microseconds of event time.
    #[prost(sint64, tag = "2")]
    pub time: i64,
    /// Big endian, 16 bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub trace: Vec<u8>,
    #[prost(fixed64, tag = "4")]
    pub span: u64,
}

/// The newest value of a counter that its sender keeps itself.
#[derive(Clone, PartialEq, Message)]
pub struct Sample {
    /// Name of the metric, one of the built-in ones.
    #[prost(string, tag = "1")]
    pub metric: String,
    #[prost(bytes = "vec", tag = "2")]
    pub key: Vec<u8>,
    #[prost(sint64, tag = "3")]
    pub value: i64,
}

/// An internal record that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error(
        "internal record of format {0}, and this build reads format {FORMAT}: a newer streamgauge wrote it; upgrade this instance"
    )]
    Format(u32),
    #[error("internal record that is no protobuf: {0}")]
    Corrupt(String),
}

impl From<prost::DecodeError> for CodecError {
    fn from(error: prost::DecodeError) -> Self {
        Self::Corrupt(error.to_string())
    }
}

/// Whether this build reads internal records of this format.
pub fn checked(format: u32) -> Result<(), CodecError> {
    if format == FORMAT {
        Ok(())
    } else {
        Err(CodecError::Format(format))
    }
}

impl Pack {
    pub fn read(bytes: &[u8]) -> Result<Pack, CodecError> {
        let pack = Pack::decode(bytes)?;
        checked(pack.format)?;
        Ok(pack)
    }

    /// One record's value out of batches that are encoded already.
    pub fn of_encoded<'a>(batches: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut pack = vec![0x08, FORMAT as u8];
        for batch in batches {
            pack.push(0x12);
            prost::encode_length_delimiter(batch.len(), &mut pack).expect("a vector grows");
            pack.extend_from_slice(batch);
        }
        pack
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_packed_as_bytes_come_back_as_batches() {
        let one = Batch {
            topic: "a".into(),
            partition: 1,
            watermark: Some(-5),
            ..Batch::default()
        };
        let two = Batch {
            topic: "b".into(),
            ..Batch::default()
        };
        let bytes = Pack::of_encoded([one.encode_to_vec().as_slice(), two.encode_to_vec().as_slice()]);
        assert_eq!(
            Pack::read(&bytes),
            Ok(Pack {
                format: FORMAT,
                batches: vec![one, two]
            })
        );
    }

    #[test]
    fn an_unknown_format_is_named() {
        let bytes = Pack {
            format: 9,
            batches: vec![],
        }
        .encode_to_vec();
        assert_eq!(Pack::read(&bytes), Err(CodecError::Format(9)));
        assert!(matches!(Pack::read(&[0xff]), Err(CodecError::Corrupt(_))));
    }
}
