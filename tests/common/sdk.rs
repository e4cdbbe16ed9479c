//! An application that measures itself: its own OpenTelemetry SDK, which sends to the test's collector.

use opentelemetry::metrics::MeterProvider;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{MetricExporter, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::SdkTracerProvider;
use streamgauge::client::Instrumentation;

use super::collector::Collector;

/// An application's own SDK.
pub struct Sdk {
    pub runtime: tokio::runtime::Runtime,
    pub meters: SdkMeterProvider,
    tracers: SdkTracerProvider,
}

impl Sdk {
    pub fn to(collector: &Collector) -> Self {
        Self::sending(&collector.endpoint())
    }

    /// To an endpoint of OTLP/gRPC.
    pub fn sending(endpoint: &str) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let (metrics, spans) = {
            let _within = runtime.enter();
            let metrics = MetricExporter::builder().with_tonic().with_endpoint(endpoint);
            let spans = SpanExporter::builder().with_tonic().with_endpoint(endpoint);
            (
                metrics.build().expect("an exporter"),
                spans.build().expect("an exporter"),
            )
        };
        let resource = Resource::builder().with_service_name("shop").build();
        Self {
            runtime,
            meters: SdkMeterProvider::builder()
                .with_reader(PeriodicReader::builder(metrics).build())
                .with_resource(resource.clone())
                .build(),
            tracers: SdkTracerProvider::builder()
                .with_batch_exporter(spans)
                .with_resource(resource)
                .build(),
        }
    }

    pub fn instrumentation(&self) -> Instrumentation {
        Instrumentation::of(self.meters.meter("shop"), self.tracers.tracer("shop"))
    }

    pub fn flush(&self) -> Result<(), String> {
        self.meters.force_flush().map_err(|error| error.to_string())?;
        self.tracers.force_flush().map_err(|error| error.to_string())
    }
}
