//! An application that writes tickets, and measures itself: metrics, spans and trace context in the records.
//!
//! ```sh
//! cargo run --example produce -- localhost:9092 processing.tickets.in 100
//! ```
//!
//! What it measures goes to `OTEL_EXPORTER_OTLP_ENDPOINT` (http://localhost:4317) over OTLP/gRPC. Exit code 1: some were not sent.

mod telemetry;

use std::error::Error;
use std::process::ExitCode;

use streamgauge::client::rdkafka::ClientConfig;
use streamgauge::client::{Instrumentation, InstrumentedProducer, Outgoing};
use telemetry::Telemetry;

#[tokio::main]
async fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, topic, count] = &arguments[..] else {
        return Err("takes: HOST:PORT TOPIC COUNT".into());
    };
    let telemetry = Telemetry::of("ticket-writer")?;

    let mut settings = ClientConfig::new();
    settings
        .set("bootstrap.servers", bootstrap)
        .set("enable.idempotence", "true")
        .set("message.timeout.ms", "10000");
    let producer = InstrumentedProducer::new(&settings, "ticket-writer-1", &Instrumentation::global())?;

    // All are handed over before the first is waited for: the client makes batches of them.
    let mut deliveries = Vec::new();
    for number in 0..count.parse::<u32>()? {
        let key = format!("T-{number}");
        let value = format!(r#"{{"message_type": "ticket_created", "correlation_id": "{key}", "priority": "low"}}"#);
        deliveries.push(producer.send_with_metrics(Outgoing {
            topic,
            key: Some(key.as_bytes()),
            value: Some(value.as_bytes()),
            ..Outgoing::default()
        }));
    }
    let mut failed = 0;
    for delivery in deliveries {
        if let Err(error) = delivery.await {
            failed += 1;
            eprintln!("{error}");
        }
    }
    telemetry.end()?;
    println!("{count} records, {failed} of them not sent");
    Ok(ExitCode::from(u8::from(failed > 0)))
}
