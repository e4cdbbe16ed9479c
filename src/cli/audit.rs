//! `streamgauge audit`: the loss ledger against the committed offsets, also while the application runs.
//!
//! What taps read and what the lag stage reads of the offsets topic are told together.
//!
//! Rule: both numbers come out of one offset commit, so they cannot be from different moments. For every partition:
//! start plus the sum over outcomes equals the committed offset.

use std::time::{Duration, Instant};

use clap::Args;

use super::application::group;
use super::cluster::{ApplicationArgs, ClusterArgs};
use super::{Exit, complain};
use crate::engine::tap::ledger::{Ledger, Outcome};
use crate::engine::task::Stage;
use crate::kafka::{Connection, fetch_group_offsets};
use crate::runtime::log::{Committed, LogError, TopicPartition};

/// A broker that restarts is back within this time; one that is not is unreachable.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Args, Debug)]
pub struct AuditArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    application: ApplicationArgs,
    /// How to print
    #[arg(long, default_value = "table", value_parser = ["table", "json"])]
    format: String,
}

struct Row {
    topic: String,
    partition: u32,
    committed: i64,
    ledger: Result<Ledger, String>,
}

pub fn run(args: &AuditArgs) -> Exit {
    let connection = match args.cluster.connection() {
        Ok(connection) => connection,
        Err(exit) => return exit,
    };
    let application = &args.application.application_id;
    let fetched = fetch(&connection, application).and_then(|mut offsets| {
        // Groups that were never used have no offsets; who runs without lag needs no right on its group.
        match fetch(&connection, &group(application, Stage::Lag)) {
            Ok(of_lag) => offsets.extend(of_lag),
            Err(LogError::Refused(_)) if !offsets.is_empty() => {}
            Err(error) => return Err(error),
        }
        Ok(offsets)
    });
    let rows: Vec<Row> = match fetched {
        Ok(offsets) => offsets
            .into_iter()
            .map(|(partition, committed)| Row {
                topic: partition.topic,
                partition: partition.partition,
                committed: committed.offset,
                ledger: Ledger::decode(&committed.metadata).map_err(|error| error.to_string()),
            })
            .collect(),
        Err(error) => {
            complain(format!("{error} (--bootstrap {})", args.cluster.bootstrap));
            return Exit::Unreachable;
        }
    };
    if rows.is_empty() {
        complain(format!(
            "the group `{}` has committed nothing that this login may see: is --application-id right, and are there DESCRIBE \
             on the group and on the input topics?",
            args.application.application_id
        ));
        return Exit::Difference;
    }
    let unbalanced = rows.iter().filter(|row| row.difference() != Some(0)).count();
    if args.format == "json" {
        print_json(&rows, unbalanced)
    } else {
        print_table(&rows, unbalanced)
    }
    if unbalanced == 0 { Exit::Done } else { Exit::Difference }
}

/// Asks again while the broker has passing trouble (a restart, a coordinator that moves), at most for [`PATIENCE`].
fn fetch(connection: &Connection, group: &str) -> Result<Vec<(TopicPartition, Committed)>, LogError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match fetch_group_offsets(connection, group, None) {
            Err(LogError::Retry(why)) if Instant::now() < deadline => {
                tracing::debug!(event_type = "audit_note", "{why}");
                std::thread::sleep(Duration::from_millis(500));
            }
            result => return result,
        }
    }
}

impl Row {
    /// Committed minus what the ledger leads to; `None` where there is no ledger.
    fn difference(&self) -> Option<i64> {
        self.ledger.as_ref().ok().map(|ledger| ledger.balance(self.committed))
    }
}

fn print_table(rows: &[Row], unbalanced: usize) {
    let width = rows.iter().map(|row| row.topic.len() + 4).max().unwrap_or(12).max(12);
    print!("{:width$} {:>12} {:>12}", "PARTITION", "START", "COMMITTED");
    for outcome in Outcome::ALL {
        print!(" {:>10}", outcome.name().to_uppercase());
    }
    println!(" {:>10}", "DIFFERENCE");
    for row in rows {
        print!("{:width$}", format!("{}/{}", row.topic, row.partition));
        match &row.ledger {
            Ok(ledger) => {
                print!(" {:>12} {:>12}", ledger.start, row.committed);
                for outcome in Outcome::ALL {
                    print!(" {:>10}", ledger.count(outcome));
                }
                println!(" {:>10}", ledger.balance(row.committed));
            }
            Err(problem) => println!(" {:>12} {:>12} {problem}", "?", row.committed),
        }
    }
    if unbalanced == 0 {
        println!(
            "\nThe ledger balances: every offset of {} partitions ended in exactly one outcome.",
            rows.len()
        );
    } else {
        println!(
            "\nThe ledger does NOT balance in {unbalanced} of {} partitions.",
            rows.len()
        );
    }
}

fn print_json(rows: &[Row], unbalanced: usize) {
    let partitions: Vec<serde_json::Value> = rows
        .iter()
        .map(|row| {
            let outcomes = row.ledger.as_ref().ok().map(|ledger| {
                let counts = Outcome::ALL.map(|outcome| (outcome.name().to_owned(), ledger.count(outcome).into()));
                serde_json::Map::from_iter(counts)
            });
            serde_json::json!({
                "topic": row.topic,
                "partition": row.partition,
                "start": row.ledger.as_ref().ok().map(|ledger| ledger.start),
                "epoch": row.ledger.as_ref().ok().map(|ledger| ledger.epoch),
                "committed": row.committed,
                "outcomes": outcomes,
                "difference": row.difference(),
                "error": row.ledger.as_ref().err(),
            })
        })
        .collect();
    println!(
        "{}",
        serde_json::json!({ "balanced": unbalanced == 0, "partitions": partitions })
    );
}
