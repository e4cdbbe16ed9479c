//! Export requests, read as anything.
//!
//! Rule: a refused request is halved to its end, whatever the receiver answers: every point has one fate, and no more than
//! the probes that are allowed are sent. The outline of a request agrees with its points.
//!
//! Edges: bytes that name the data of a metric twice are read differently by the two (the last one counts, or both), so the
//! outline is held against the request as it is encoded again.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;
use streamgauge::engine::time::WallTime;
use streamgauge::export::bisect::{Bisect, MAX_PROBES};
use streamgauge::export::points::{Outline, Points};
use streamgauge::export::settings::Signal;
use streamgauge::export::verdict::Verdict;

/// The first byte says how many answers follow, the answers come next, then the request.
pub fn run(bytes: &[u8]) {
    let Some((count, rest)) = bytes.split_first() else {
        return;
    };
    let (answers, request) = rest.split_at(usize::from(*count % 64).min(rest.len()));
    Outline::of(request);
    let Ok(points) = Points::read(request) else { return };
    let canonical = ExportMetricsServiceRequest::decode(request)
        .expect("its points were read")
        .encode_to_vec();
    let outline = Outline::of(&canonical);
    assert_eq!(outline.points, points.len() as u64);
    let all: Vec<usize> = (0..points.len()).collect();
    assert_eq!(outline.newest, points.newest(&all));
    if !all.is_empty() {
        let piece = Points::read(&points.piece(&all)).expect("a piece is a request");
        assert_eq!(piece.len(), all.len());
    }

    let now = WallTime(1_700_000_000_000_000);
    let mut answers = answers.iter().copied();
    let first = verdict(answers.next().unwrap_or(0));
    let first = if matches!(first, Verdict::Retry { .. }) {
        verdict(0)
    } else {
        first
    };
    let mut bisect = Bisect::new(Signal::Metrics, request, first, now).expect("its points were read");
    let mut probes = 0;
    while let Some(piece) = bisect.next() {
        assert!(!Points::read(&piece).expect("a piece is a request").is_empty());
        let answer = verdict(answers.next().unwrap_or(0));
        probes += u32::from(!matches!(answer, Verdict::Retry { .. }));
        assert!(probes <= MAX_PROBES);
        bisect.answer(answer);
    }
    let outcome = bisect.finish();
    assert_eq!(outcome.tally.points(), points.len() as u64);
    let quarantined: u64 = outcome.quarantined.iter().map(|piece| piece.points).sum();
    assert_eq!(quarantined, outcome.tally.quarantined);
}

fn verdict(byte: u8) -> Verdict {
    let message = "fuzz".to_owned();
    match byte % 7 {
        0 => Verdict::Refused { message },
        1 => Verdict::Accepted,
        2 => Verdict::PartialSuccess {
            rejected: i64::from(byte) - 64,
            message,
        },
        3 => Verdict::AlreadyThere { message },
        4 => Verdict::Expired { message },
        5 => Verdict::TooLarge { message },
        _ => Verdict::Retry { after: None, message },
    }
}
