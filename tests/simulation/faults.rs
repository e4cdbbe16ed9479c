//! Calls that fail, answers that are lost, and members that are taken out in the middle of a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use streamgauge::memory::{CallPoint, Caller, Cluster, Fault};
use streamgauge::runtime::log::LogError;

use crate::random::Random;
use crate::services::SERVICES;
use crate::world::Hardship;

/// Injects until `cluster.inject(None)`; counts what it did.
pub fn inject(cluster: &Cluster, hardship: Hardship, mut random: Random, injected: &Arc<AtomicU64>) {
    let injected = Arc::clone(injected);
    let group_of = cluster.clone();
    cluster.inject(Some(Box::new(move |point: CallPoint, caller: Caller<'_>| {
        if caller.group == SERVICES {
            return None;
        }
        if hardship.expiries && is_taken_out(point, &mut random) {
            if let Some(member) = caller.member {
                group_of.expire_member(caller.group, member);
                injected.fetch_add(1, Ordering::Relaxed);
            }
            // Half of the commits answer only after the member could have heard of it.
            if point == CallPoint::CommitBefore && random.one_in(2) {
                return Some(Fault::lost(LogError::Retry("injected: still under way".to_owned())));
            }
        }
        // Who was taken out does not hear it at once, and reads what is not its own any more.
        if point == CallPoint::Heartbeat {
            let lost = || Fault::lost(LogError::Retry("injected: not heard".to_owned()));
            return (hardship.expiries && random.one_in(2)).then(lost);
        }
        if !hardship.faults || !random.one_in(60) {
            return None;
        }
        let fault = fault(point, &mut random)?;
        injected.fetch_add(1, Ordering::Relaxed);
        Some(fault)
    })));
}

/// Whether the group gives up on the member that is just in this call.
fn is_taken_out(point: CallPoint, random: &mut Random) -> bool {
    match point {
        CallPoint::Send => random.one_in(600),
        CallPoint::Begin | CallPoint::SendOffsets | CallPoint::CommitBefore | CallPoint::CommitAfter => {
            random.one_in(60)
        }
        _ => false,
    }
}

fn fault(point: CallPoint, random: &mut Random) -> Option<Fault> {
    let error = |kind: fn(String) -> LogError| kind(format!("injected at {point:?}"));
    let fault = match point {
        CallPoint::Begin | CallPoint::Send | CallPoint::SendOffsets => match random.below(3) {
            0 => Fault::lost(error(LogError::Abort)),
            1 => Fault::unanswered(error(LogError::Abort)),
            _ => Fault::lost(error(LogError::Fatal)),
        },
        CallPoint::CommitBefore => match random.below(3) {
            0 => Fault::lost(error(LogError::Abort)),
            1 => Fault::lost(error(LogError::Retry)),
            _ => Fault::lost(error(LogError::Fatal)),
        },
        CallPoint::CommitAfter => Fault::unanswered(error(LogError::Fatal)),
        CallPoint::Abort => match random.below(2) {
            0 => Fault::lost(error(LogError::Retry)),
            _ => Fault::unanswered(error(LogError::Fatal)),
        },
        CallPoint::Subscribe | CallPoint::Assign | CallPoint::Unassign => return None,
        _ => Fault::lost(error(LogError::Retry)),
    };
    Some(fault)
}
