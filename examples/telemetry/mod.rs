//! The application's own OpenTelemetry SDK: to `OTEL_EXPORTER_OTLP_ENDPOINT` over OTLP/gRPC.

use std::error::Error;

use opentelemetry_otlp::{MetricExporter, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;

pub struct Telemetry {
    meters: SdkMeterProvider,
    tracers: SdkTracerProvider,
}

impl Telemetry {
    /// Sets the global providers, which `Instrumentation::global` asks.
    pub fn of(service: &'static str) -> Result<Self, Box<dyn Error>> {
        let resource = Resource::builder().with_service_name(service).build();
        let meters = SdkMeterProvider::builder()
            .with_reader(PeriodicReader::builder(MetricExporter::builder().with_tonic().build()?).build())
            .with_resource(resource.clone())
            .build();
        let tracers = SdkTracerProvider::builder()
            .with_batch_exporter(SpanExporter::builder().with_tonic().build()?)
            .with_resource(resource)
            .build();
        opentelemetry::global::set_meter_provider(meters.clone());
        opentelemetry::global::set_tracer_provider(tracers.clone());
        Ok(Self { meters, tracers })
    }

    /// Sends what there is.
    pub fn end(self) -> Result<(), Box<dyn Error>> {
        self.tracers.shutdown()?;
        self.meters.shutdown()?;
        Ok(())
    }
}
