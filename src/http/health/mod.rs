//! How things are: the cluster, its topics, and this process's own pipeline.
//!
//! Rule: a background check asks, and answers say how old it is. However many ask, the brokers are asked equally often; and
//! however long a broker takes, an answer takes no longer.
//!
//! The parts: [`checker`] asks, [`judge`] decides, [`answers`] says it in the guide's JSON.

mod answers;
mod checker;
mod judge;

pub use answers::{Answer, Component, cluster, components, overall, topic, worst};
pub use checker::{Checker, Checks};
pub use judge::{FRESH, Health, not_started, pipeline};
