//! What a document says of lag.

use super::{Said, default_of, texts};
use crate::engine::lag::status::Rules;
use crate::engine::names::Names;
use crate::engine::plan::{Lag, LagFrom};
use crate::pipeline::keys::LAG;
use crate::pipeline::leaf;
use crate::pipeline::node::Node;

/// Read with the pipeline's number still to be set; `None` where a value does not fit, which is a fault already.
pub fn lag(node: &Node) -> Option<Said<Lag>> {
    let said = |key: &str| match node.get(key) {
        Some(node) => node.text(),
        None => default_of(&LAG, key),
    };
    let value = Lag {
        pipeline: 0,
        from: match said("from")? {
            "offsets" => LagFrom::Offsets,
            "admin" => LagFrom::Admin,
            _ => LagFrom::Auto,
        },
        groups: names(node.get("groups"))?,
        topics: names(node.get("topics"))?,
        every: leaf::duration(said("every")?)?,
        status: match said("status")? {
            "burrow" => Rules::Burrow { allowed_lag: 0 },
            _ => Rules::Corrected,
        },
        max_series: said("max_series")?.parse().ok()?,
        horizon: leaf::duration(said("horizon")?)?,
    };
    Some(Said {
        value,
        place: node.place.clone(),
    })
}

fn names(node: Option<&Node>) -> Option<Names> {
    let Some(node) = node else {
        return Some(Names::default());
    };
    let said = texts(node)?;
    Some(Names::of(said.iter().map(|said| said.value.as_str())))
}
