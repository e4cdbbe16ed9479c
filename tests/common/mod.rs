//! What the integration tests are built from: a real Kafka, a real collector, a real Prometheus, the binary itself, and
//! an oracle that knows the right totals without any of our code.
//!
//! Rule: nothing is skipped. A part that is not there (see `tests/run --help`) fails the test with its name.
//!
//! Edges:
//! - every child process belongs to a value that stops it when it is dropped, also by a panic;
//! - whatever is random comes from one seed, which is printed; `STREAMGAUGE_TEST_SEED` replays it.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod acls;
pub mod broker;
pub mod browser;
pub mod chaos;
pub mod collector;
pub mod conversation;
pub mod http;
pub mod instance;
pub mod joins;
pub mod kafka;
pub mod lines;
pub mod mail;
pub mod oracle;
pub mod points;
pub mod process;
pub mod prometheus;
pub mod quantiles;
pub mod random;
pub mod sdk;
pub mod secured;
pub mod spans;
pub mod traffic;

use std::net::TcpListener;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Tests take turns: each has a Kafka of its own, and some measure time.
pub fn my_turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A folder that is gone after the test, unless `STREAMGAUGE_TEST_KEEP` is set.
pub fn folder() -> tempfile::TempDir {
    let mut folder = tempfile::Builder::new()
        .prefix("streamgauge-test-")
        .tempdir()
        .expect("a temporary folder");
    folder.disable_cleanup(std::env::var_os("STREAMGAUGE_TEST_KEEP").is_some());
    folder
}

/// The seed of this run: `STREAMGAUGE_TEST_SEED`, else `otherwise`. Printed, so that a failure can be replayed.
pub fn seed(otherwise: u64) -> u64 {
    let seed = match std::env::var("STREAMGAUGE_TEST_SEED") {
        Ok(text) => text.parse().expect("STREAMGAUGE_TEST_SEED is a number"),
        Err(_) => otherwise,
    };
    eprintln!("seed {seed} (STREAMGAUGE_TEST_SEED={seed} replays it)");
    seed
}

/// A port that nobody listens on. Below the ephemeral range, where a client that waits for a server to come back could
/// be given the server's port as its own.
pub fn free_port() -> u16 {
    static NEXT: Mutex<u16> = Mutex::new(0);
    let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
    if *next == 0 {
        *next = 10_000 + u16::try_from(std::process::id() % 200).expect("small") * 100;
    }
    loop {
        *next = if *next >= 31_000 { 10_000 } else { *next + 1 };
        if TcpListener::bind(("127.0.0.1", *next)).is_ok() {
            return *next;
        }
    }
}

/// Asks until there is an answer. Panics with `what` and the last reason after `limit`.
pub fn eventually<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let began = Instant::now();
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(reason) if began.elapsed() > limit => panic!("{what}: not within {limit:?}: {reason}"),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Microseconds since the Unix epoch.
pub fn now_micros() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970");
    i64::try_from(since.as_micros()).expect("before the year 294,000")
}
