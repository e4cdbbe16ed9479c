//! Where the lag stage reads what groups have committed, where the pipeline leaves that open (`from: auto`).
//!
//! Rule: it is decided when an instance starts, and all instances of an application come to the same: once groups have been
//! polled they are polled on, until somebody says `from: offsets`. Two instances that read different things would both
//! write the same series.
//!
//! Edges:
//! - the right that is missing is named, since with it lag is younger and shared among instances;
//! - an instance that runs other stages decides nothing: its login may have other rights.

use super::application::{LAG_POLLED, named};
use super::rights;
use crate::engine::lag::OFFSETS_TOPIC;
use crate::kafka::{self, ConnectError, Connection};

/// Why groups are polled by the Admin API; `None` where the offsets topic is read. `reads`: this login is to read it.
pub fn polled_because(
    connection: &Connection,
    application_id: &str,
    reads: bool,
) -> Result<Option<String>, ConnectError> {
    let polled = named(application_id, LAG_POLLED);
    let (_, found) = kafka::describe(connection, std::slice::from_ref(&polled))?;
    if found.iter().any(|topic| topic.partitions.is_some()) {
        return Ok(Some(format!(
            "`{polled}` exists. To read `{OFFSETS_TOPIC}`, stop all instances and set `from: offsets`"
        )));
    }
    if !reads {
        return Ok(None);
    }
    let missing = kafka::missing_on_topics(connection, &[rights::reading_offsets()])?;
    Ok(missing
        .first()
        .map(|missing| format!("{missing}; to read that topic later, stop all instances and set `from: offsets`")))
}

/// The same where the brokers tell nothing of the topic, though the group has a coordinator.
pub fn hidden() -> String {
    format!("the brokers do not show `{OFFSETS_TOPIC}` to this login: it needs READ on it")
}
