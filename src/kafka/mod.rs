//! The log that is Kafka: [`KafkaLog`] on rdkafka, and what goes with it (settings, topics, log ends).
//!
//! Rule: everything that one process shares of a cluster hangs on one [`KafkaCluster`]; every worker has a [`KafkaLog`] of
//! its own.
//!
//! Edges:
//! - two kinds of client ask for offsets: a read_committed one is told the last stable offset as the log's end, a
//!   read_uncommitted one the high watermark; log ends here are always high watermarks;
//! - no call waits longer than [`CALL`] for a broker.

mod admin;
mod checkup;
mod context;
mod ends;
mod group;
mod groups;
mod log;
mod lookout;
mod offsets;
mod orphans;
mod poller;
mod reader;
mod restore;
mod rights;
mod sampler;
mod settings;
mod surveyor;
mod sys;
mod tails;
mod topics;
mod transactions;
mod trimmer;
mod trouble;

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::BaseConsumer;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

pub use admin::{BrokerInfo, ClusterInfo, ConnectError, TopicInfo, cluster_info, describe};
pub use checkup::{Checkup, PartitionCheck, TopicCheck};
pub use ends::{EndSampler, LogEnds, Unknown};
pub use groups::{Group, GroupClient, Listing, LookError, Looked};
pub use log::KafkaLog;
pub use offsets::{fetch_group_offsets, log_end_sum};
pub use orphans::{OrphanWatch, Watched};
pub use poller::{Poller, PollerOptions};
pub use reader::{Begin, Isolation, Lying, Polled, TopicReader};
pub use rights::{Missing, Operation, TopicNeed, missing_in_transactions, missing_on_topics};
pub use settings::{Connection, MAX_MESSAGE_BYTES, SettingsError};
pub use tails::{LONGEST, Span, Tail, TailReader, Tails};
pub use topics::{Cleanup, Created, EnsureError, TopicSpec, ensure_topics};

pub use crate::runtime::log::ClientOptions;
use crate::runtime::log::{Connect, Log, LogError, TopicPartition};
use context::Quiet;
use lookout::Lookout;
use sampler::Sampler;
use trimmer::Trimmer;

/// How long one call waits for a broker before it says `Retry`.
pub const CALL: Duration = Duration::from_secs(3);

/// What the workers of a process share of one cluster.
pub struct KafkaCluster {
    connection: Connection,
    /// Reads nothing; asks for high watermarks, offsets by time and metadata.
    metadata: Arc<BaseConsumer<Quiet>>,
    sampler: Sampler,
    lookout: Lookout,
    trimmer: Trimmer,
}

// === impl KafkaCluster ===

impl KafkaCluster {
    /// Connects in the background; an unreachable cluster shows in the calls. Errors are about settings only.
    pub fn new(connection: Connection) -> Result<Arc<Self>, SettingsError> {
        let metadata: BaseConsumer<Quiet> = connection
            .metadata_client()
            .create_with_context(Quiet::default())
            .map_err(|error| SettingsError::Combination(error.to_string()))?;
        let metadata = Arc::new(metadata);
        let sampler = Sampler::start(Arc::clone(&metadata));
        let lookout = Lookout::new(connection.clone());
        let trimmer = Trimmer::new(connection.clone());
        Ok(Arc::new(Self {
            connection,
            metadata,
            sampler,
            lookout,
            trimmer,
        }))
    }

    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// A worker's log. Joins nothing before `subscribe`.
    pub fn client(self: &Arc<Self>, options: ClientOptions) -> Result<KafkaLog, LogError> {
        KafkaLog::new(Arc::clone(self), options)
    }
}

impl Connect for Arc<KafkaCluster> {
    fn client(&self, options: &ClientOptions) -> Result<Box<dyn Log + Send>, LogError> {
        Ok(Box::new(KafkaCluster::client(self, options.clone())?))
    }
}

/// What librdkafka was built with, for `version`.
pub fn builtin_features() -> String {
    rdkafka::ClientConfig::new()
        .create_native_config()
        .and_then(|config| config.get("builtin.features"))
        .unwrap_or_else(|error| error.to_string())
}

/// librdkafka's list of these partitions. Topic names that no broker could hold are left out.
fn list<'p>(partitions: impl IntoIterator<Item = (&'p TopicPartition, Offset)>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for (partition, offset) in partitions {
        let Ok(number) = i32::try_from(partition.partition) else {
            continue;
        };
        if partition.topic.contains('\0') {
            continue;
        }
        // Negative offsets are not valid positions; the element then keeps "none", which the call refuses.
        let _ = list.add_partition(&partition.topic, number).set_offset(offset);
    }
    list
}

/// Drops what may take long to let go in a thread of its own; waits for it at most this long.
fn retire<T: Send + 'static>(value: T, wait: Duration) {
    let (done, finished) = std::sync::mpsc::channel::<()>();
    let spawned = std::thread::Builder::new()
        .name("kafka-close".to_owned())
        .spawn(move || {
            drop(value);
            drop(done);
        });
    if spawned.is_ok() {
        // The sender says nothing; it goes away when the value is gone.
        let _ = finished.recv_timeout(wait);
    }
}
