//! An application that handles tickets, and measures itself: it commits after success alone.
//!
//! ```sh
//! cargo run --example consume -- localhost:9092 processing.tickets.in ticket-workers
//! ```
//!
//! It ends with Ctrl-C or SIGTERM, after the record at hand. What it measures goes to `OTEL_EXPORTER_OTLP_ENDPOINT`
//! (http://localhost:4317) over OTLP/gRPC; its lines are those of the monitoring guide, on stderr.

mod telemetry;

use std::error::Error;

use streamgauge::client::rdkafka::{ClientConfig, Message};
use streamgauge::client::{Instrumentation, InstrumentedConsumer, OnFailure};
use streamgauge::logs::{Format, Lines};
use telemetry::Telemetry;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, topic, group] = &arguments[..] else {
        return Err("takes: HOST:PORT TOPIC GROUP".into());
    };
    // Ten lines of a kind in ten seconds, then they are counted.
    let lines = Lines::new(Format::for_stderr(), 10, std::io::stderr());
    tracing_subscriber::registry()
        .with(lines.clone().with_filter(LevelFilter::INFO))
        .init();
    let telemetry = Telemetry::of("ticket-worker")?;

    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", bootstrap)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest");
    let consumer = InstrumentedConsumer::new(&settings, OnFailure::Skip, &Instrumentation::global())?;
    consumer.subscribe(&[topic])?;
    let stop = consumer.stopper();
    tokio::spawn(async move {
        let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate());
        match &mut terminated {
            Ok(terminated) => {
                tokio::select! {
                    _ = tokio::signal::ctrl_c() => {}
                    _ = terminated.recv() => {}
                }
            }
            Err(_) => drop(tokio::signal::ctrl_c().await),
        }
        stop.stop();
    });
    // The loop belongs to a thread of its own.
    let handled = tokio::task::spawn_blocking(move || {
        let mut handled = 0_u64;
        let ended = consumer.consume_with_metrics(|message| {
            handled += 1;
            // Your work. `Ok(false)` and `Err` are not committed.
            serde_json::from_slice::<serde_json::Value>(message.payload().unwrap_or_default()).map(|_| true)
        });
        ended.map(|()| handled)
    });
    let handled = handled.await??;
    telemetry.end()?;
    lines.flush();
    println!("{handled} records handled");
    Ok(())
}
