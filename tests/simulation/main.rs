//! Every total is exact, whatever happens between any two steps.
//!
//! The production state machine, the tap and the gauge run on the in-memory log under seeded schedules: crashes between
//! any two steps, lost and unanswered calls, aborts, unknown outcomes, zombies, rebalances, slow commit markers, new
//! partitions. Then the faults stop, and what the outbox holds must be what was produced.
//!
//! `STREAMGAUGE_SIM_SEEDS=N` runs N schedules, `STREAMGAUGE_SIM_SEED=S` replays one.

mod outbox;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use world::{Hardship, World};

/// Enough for every fault to meet every phase in each run of the suite; thousands take a minute.
const SEEDS: u64 = 1_000;

fn run(name: &str, hardship: Hardship) {
    let replay = std::env::var("STREAMGAUGE_SIM_SEED")
        .ok()
        .and_then(|seed| seed.parse::<u64>().ok());
    let seeds = std::env::var("STREAMGAUGE_SIM_SEEDS")
        .ok()
        .and_then(|seeds| seeds.parse::<u64>().ok())
        .unwrap_or(SEEDS);
    let range = replay.map_or(0..seeds, |seed| seed..seed + 1);
    let (mut kills, mut aborts, mut records) = (0, 0, 0);
    for seed in range.clone() {
        let outcome = catch_unwind(AssertUnwindSafe(|| World::new(seed, hardship).live()));
        match outcome {
            Ok(report) => {
                kills += report.kills;
                aborts += report.faults;
                records += report.records;
            }
            Err(panic) => {
                eprintln!("{name}: seed {seed} failed; replay it with STREAMGAUGE_SIM_SEED={seed}");
                std::panic::resume_unwind(panic);
            }
        }
    }
    println!("{name}: seeds {range:?}: {records} records, {kills} kills, {aborts} injected faults: every total exact");
}

#[test]
fn totals_are_exact_when_nothing_goes_wrong() {
    run("calm", Hardship::default());
}

#[test]
fn totals_are_exact_when_workers_are_killed_and_zombies_come_back() {
    run(
        "kills",
        Hardship {
            kills: true,
            ..Hardship::default()
        },
    );
}

#[test]
fn totals_are_exact_when_calls_fail_and_answers_are_lost() {
    run(
        "faults",
        Hardship {
            faults: true,
            ..Hardship::default()
        },
    );
}

#[test]
fn totals_are_exact_when_everything_goes_wrong_at_once() {
    run(
        "everything",
        Hardship {
            kills: true,
            faults: true,
            slow_markers: true,
            growth: true,
        },
    );
}
