//! The export stage: frozen OTLP requests from the outbox to a collector, in order.
//!
//! Rule: a record of the outbox is one request. It is sent verbatim, one in flight per partition, until a verdict is in; then
//! its offset is committed together with the points that were refused for good. At least once, with identical bytes.
//!
//! Metrics and traces have an outbox and a loop each. `settings` (and `headers`) say where to; `sender` sends over `grpc` or
//! `http` and gives a `verdict`; `bisect` finds the `parts` (`points` or `spans`) that are refused; a `lane` does this for one partition; `outbox` is the loop around all lanes and the log;
//! `stats` is what others may know of it, `telemetry` what the `process` says of itself. `receiver` is the other end, for demonstrations and tests.

pub mod bisect;
mod grpc;
pub mod headers;
mod http;
pub use http::install_crypto;
mod lane;
pub mod notify;
mod outage;
pub mod outbox;
pub mod own_traces;
pub mod parts;
pub mod points;
pub mod process;
mod producer;
mod received;
mod received_traces;
pub mod receiver;
pub mod sender;
pub mod settings;
pub mod spans;
pub mod stats;
pub mod telemetry;
mod track;
pub mod verdict;

pub use http::gzip;

const USER_AGENT: &str = concat!("streamgauge/", env!("CARGO_PKG_VERSION"));
