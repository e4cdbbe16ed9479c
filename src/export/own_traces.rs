//! Where the process's own spans go: to the collector that takes traces, through the sender of everything else.
//!
//! Rule: a share of them is kept, and every commit that is linked to a trace that its writer keeps. They are sent straight,
//! not through Kafka, in batches as `OTEL_BSP_*` says; what the collector does not take is lost, and said once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::trace::{Link, SpanKind, TraceId, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{
    Sampler, SamplingDecision, SamplingResult, SdkTracerProvider, ShouldSample, SpanData, SpanExporter,
};
use prost::Message;

use super::sender::Sender;
use super::telemetry::Process;
use super::verdict::Verdict;
use crate::runtime::traced;

/// How long the last batch may take.
const LAST: Duration = Duration::from_secs(2);

/// Spans are sent until this is stopped.
pub struct OwnTraces(SdkTracerProvider);

struct Exporter {
    sender: Sender,
    resource: ResourceAttributesWithSchema,
    runtime: tokio::runtime::Runtime,
    said: AtomicBool,
}

/// A share of all, and what a writer keeps.
#[derive(Clone, Debug)]
struct Kept(Sampler);

// === impl OwnTraces ===

impl OwnTraces {
    /// From now on spans are made. `share` is how many of them are kept, 0 to 1.
    pub fn start(process: &Process, share: f64, sender: Sender) -> std::io::Result<Self> {
        let resource = Resource::builder_empty()
            .with_attributes([
                KeyValue::new("service.name", process.application.clone()),
                KeyValue::new("service.instance.id", process.instance.clone()),
                KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            ])
            .build();
        let exporter = Exporter {
            sender,
            resource: (&resource).into(),
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            said: AtomicBool::new(false),
        };
        let share = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(share)));
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Kept(share))
            .with_resource(resource)
            .build();
        traced::start(provider.tracer("streamgauge.process"));
        Ok(Self(provider))
    }

    /// Sends what there is one last time.
    pub fn stop(self) {
        // What is not sent by then is lost, as said.
        let _ = self.0.shutdown_with_timeout(LAST);
    }
}

// === impl Kept ===

impl ShouldSample for Kept {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let by_share = self.0.should_sample(parent, trace, name, kind, attributes, links);
        match links.iter().any(|link| link.span_context.is_sampled()) {
            true => SamplingResult {
                decision: SamplingDecision::RecordAndSample,
                ..by_share
            },
            false => by_share,
        }
    }
}

// === impl Exporter ===

impl SpanExporter for Exporter {
    // It is called from a thread of its own, and may take as long as one attempt.
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let request = ExportTraceServiceRequest {
            resource_spans: group_spans_by_resource_and_scope(batch, &self.resource),
        };
        let verdict = self.runtime.block_on(self.sender.send(request.encode_to_vec().into()));
        match verdict {
            Verdict::Accepted | Verdict::PartialSuccess { .. } => Ok(()),
            refused => {
                if !self.said.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        event_type = "own_traces_refused",
                        "the collector does not take the process's own spans: {}",
                        refused.message()
                    );
                }
                Err(OTelSdkError::InternalFailure(refused.message().to_owned()))
            }
        }
    }
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Exporter")
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceState};

    use super::*;

    #[test]
    fn what_a_writer_keeps_is_kept_whatever_the_share_is() {
        let decided = |flags: Option<TraceFlags>| {
            let links: Vec<Link> = flags
                .map(|flags| {
                    let (trace, span) = (TraceId::from(1_u128), SpanId::from(2_u64));
                    let span = SpanContext::new(trace, span, flags, true, TraceState::default());
                    Link::new(span, Vec::new(), 0)
                })
                .into_iter()
                .collect();
            let kept = Kept(Sampler::TraceIdRatioBased(1e-9));
            let trace = TraceId::from(u128::MAX);
            kept.should_sample(None, trace, "commit", &SpanKind::Internal, &[], &links)
                .decision
        };
        assert_eq!(decided(Some(TraceFlags::SAMPLED)), SamplingDecision::RecordAndSample);
        assert_eq!(decided(Some(TraceFlags::default())), SamplingDecision::Drop);
        assert_eq!(decided(None), SamplingDecision::Drop);
    }
}
