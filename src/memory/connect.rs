//! The in-memory cluster as the runtime connects to it.

use super::client::ClientOptions;
use super::cluster::Cluster;
use crate::engine::time::Span;
use crate::runtime::log::{self, Connect, Log, LogError};

/// As `run` asks of Kafka.
const SESSION: Span = Span::seconds(6);

impl Connect for Cluster {
    fn client(&self, options: &log::ClientOptions) -> Result<Box<dyn Log + Send>, LogError> {
        let mut own = ClientOptions::new(options.group.clone(), options.transactional_id.clone());
        own.instance.clone_from(&options.instance);
        own.session_timeout = Some(SESSION);
        Ok(Box::new(Cluster::client(self, own)))
    }
}
