//! What a receiver said about one request, and what that means for the request.
//!
//! Rule: OTLP decides what is sent again. gRPC: CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS
//! always, RESOURCE_EXHAUSTED only with a RetryInfo. HTTP: 429, 502, 503, 504. Partial success is never sent again. Whatever
//! else is refused for good, and its text says whether the data is there already or too old.
//!
//! Edges:
//! - RESOURCE_EXHAUSTED without RetryInfo and HTTP 413 are about size: a smaller request may pass. So is tonic's own
//!   OUT_OF_RANGE "message length too large", which would otherwise be sent again for ever;
//! - a failure of the connection (no answer at all) is sent again, whatever code the client library gives it;
//! - credentials or an address that are wrong (401, 403, 404, 405, 407, 415, redirects, UNAUTHENTICATED, PERMISSION_DENIED,
//!   UNIMPLEMENTED) say nothing about the request, only about our settings. OTLP would have the data dropped; we keep it and
//!   ask again every [`SETTINGS_PAUSE`], since a person will mend the setting;
//! - a text cut to [`MESSAGE_CHARS`] characters and one line; header values were taken out before.

use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;
use prost::Message;
use tonic::{Code, Status};

use crate::engine::time::WallTime;

/// The longest text that is kept of what a receiver says, in characters.
pub const MESSAGE_CHARS: usize = 300;

/// The longest pause that a receiver may ask for; what asks for more is asked again after this.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// How often a receiver that turns our settings away is asked again.
pub const SETTINGS_PAUSE: Duration = Duration::from_secs(30);

/// What became of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    /// Taken but for `rejected` points, which are lost (OTLP forbids to send them again). Zero with a text is a warning.
    PartialSuccess {
        rejected: i64,
        message: String,
    },
    /// At least one point is not newer than what the receiver has of its series.
    AlreadyThere {
        message: String,
    },
    /// At least one point is older than the receiver takes.
    Expired {
        message: String,
    },
    /// A smaller request may pass.
    TooLarge {
        message: String,
    },
    /// Nothing was decided: send the same again, not before `after`.
    Retry {
        after: Option<Duration>,
        message: String,
    },
    /// Sending the same again cannot succeed.
    Refused {
        message: String,
    },
}

/// The answer to an export of metrics or of traces: both have this shape.
#[derive(Clone, PartialEq, Message)]
pub struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// How many points or spans were rejected, and why.
#[derive(Clone, PartialEq, Message)]
pub struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub rejected: i64,
    #[prost(string, tag = "2")]
    pub message: String,
}

/// `google.rpc.Status`: the details of a gRPC error and the body of an OTLP/HTTP one.
#[derive(Clone, PartialEq, Message)]
pub struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub code: i32,
    #[prost(string, tag = "2")]
    pub message: String,
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<RpcDetail>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub struct RpcDetail {
    #[prost(string, tag = "1")]
    pub type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
pub struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub delay: Option<RetryDelay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
pub struct RetryDelay {
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

// === impl Verdict ===

impl Verdict {
    /// The verdict of a successful answer.
    pub fn of_response(response: ExportResponse) -> Verdict {
        match response.partial_success {
            Some(PartialSuccess { rejected, message }) if rejected > 0 || !message.is_empty() => {
                Verdict::PartialSuccess {
                    rejected: rejected.max(0),
                    message: shorten(&message),
                }
            }
            _ => Verdict::Accepted,
        }
    }

    /// The verdict of a gRPC error; `text` is its message without secrets.
    pub fn of_grpc(status: &Status, text: &str) -> Verdict {
        let never_answered = std::error::Error::source(status).is_some();
        let message = shorten(&format!("{:?}: {text}", status.code()));
        match status.code() {
            Code::OutOfRange if text.contains("message length too large") => Verdict::TooLarge { message },
            _ if never_answered => Verdict::Retry { after: None, message },
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss => Verdict::Retry {
                after: retry_delay(status.details()),
                message,
            },
            Code::ResourceExhausted => match retry_delay(status.details()) {
                Some(after) => Verdict::Retry {
                    after: Some(after),
                    message,
                },
                None => Verdict::TooLarge { message },
            },
            Code::Unauthenticated | Code::PermissionDenied | Code::Unimplemented => Verdict::Retry {
                after: Some(SETTINGS_PAUSE),
                message,
            },
            _ => Verdict::of_refusal(message),
        }
    }

    /// The verdict of an HTTP answer that is no success; `text` is its body's message without secrets.
    pub fn of_http(status: u16, retry_after: Option<&str>, text: &str, now: WallTime) -> Verdict {
        let message = shorten(&format!("HTTP {status}: {text}"));
        match status {
            429 | 502..=504 => Verdict::Retry {
                after: retry_after.and_then(|value| retry_after_delay(value, now)),
                message,
            },
            413 => Verdict::TooLarge { message },
            300..=399 | 401 | 403 | 404 | 405 | 407 | 415 => Verdict::Retry {
                after: Some(SETTINGS_PAUSE),
                message,
            },
            _ => Verdict::of_refusal(message),
        }
    }

    /// A refusal for good, by its text (Prometheus and what speaks like it). A text that says both is taken as
    /// `AlreadyThere`, which looks at every point.
    fn of_refusal(message: String) -> Verdict {
        const THERE: [&str; 5] = [
            "out of order",
            "out-of-order",
            "duplicate sample",
            "duplicate-timestamp",
            "same timestamp",
        ];
        const OLD: [&str; 3] = ["out of bounds", "too old", "too-old"];
        let text = message.to_lowercase();
        if THERE.iter().any(|words| text.contains(words)) {
            Verdict::AlreadyThere { message }
        } else if OLD.iter().any(|words| text.contains(words)) {
            Verdict::Expired { message }
        } else {
            Verdict::Refused { message }
        }
    }

    /// The text that came with it.
    pub fn message(&self) -> &str {
        match self {
            Verdict::Accepted => "",
            Verdict::PartialSuccess { message, .. }
            | Verdict::AlreadyThere { message }
            | Verdict::Expired { message }
            | Verdict::TooLarge { message }
            | Verdict::Retry { message, .. }
            | Verdict::Refused { message } => message,
        }
    }
}

/// One line of at most [`MESSAGE_CHARS`] characters.
pub fn shorten(text: &str) -> String {
    let mut line = String::new();
    for (count, char) in text.trim().chars().enumerate() {
        if count == MESSAGE_CHARS - 1 {
            line.push('…');
            break;
        }
        line.push(if char.is_control() { ' ' } else { char });
    }
    line
}

/// The delay of the RetryInfo among the details of a gRPC error. One without a delay asks for none.
fn retry_delay(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let detail = status
        .details
        .iter()
        .find(|detail| detail.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = RetryInfo::decode(detail.value.as_slice())
        .ok()?
        .delay
        .unwrap_or_default();
    let seconds = u64::try_from(delay.seconds).unwrap_or(0);
    let nanos = u32::try_from(delay.nanos).unwrap_or(0).min(999_999_999);
    Some(Duration::new(seconds, nanos).min(LONGEST_PAUSE))
}

/// A `Retry-After`: seconds or a date (RFC 9110, section 10.2.3).
fn retry_after_delay(value: &str, now: WallTime) -> Option<Duration> {
    let value = value.trim();
    let delay = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = DateTimeParser::new().parse_timestamp(value).ok()?.as_microsecond();
            Duration::from_micros(u64::try_from(at.saturating_sub(now.0)).unwrap_or(0))
        }
    };
    Some(delay.min(LONGEST_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: WallTime = WallTime(1_700_000_000_000_000);

    fn kind(verdict: &Verdict) -> &'static str {
        match verdict {
            Verdict::Accepted => "accepted",
            Verdict::PartialSuccess { .. } => "partial",
            Verdict::AlreadyThere { .. } => "there",
            Verdict::Expired { .. } => "expired",
            Verdict::TooLarge { .. } => "large",
            Verdict::Retry { .. } => "retry",
            Verdict::Refused { .. } => "refused",
        }
    }

    fn with_retry_info(code: Code, delay: Option<RetryDelay>) -> Status {
        let detail = RpcDetail {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".into(),
            value: RetryInfo { delay }.encode_to_vec(),
        };
        let status = RpcStatus {
            code: code as i32,
            message: String::new(),
            details: vec![detail],
        };
        Status::with_details(code, "slow down", status.encode_to_vec().into())
    }

    #[test]
    fn grpc_codes_mean_what_otlp_says() {
        let table = [
            (Code::Cancelled, "", "retry"),
            (Code::Unknown, "", "refused"),
            (Code::InvalidArgument, "", "refused"),
            (Code::DeadlineExceeded, "", "retry"),
            (Code::NotFound, "", "refused"),
            (Code::AlreadyExists, "", "refused"),
            (Code::PermissionDenied, "", "retry"),
            (Code::ResourceExhausted, "", "large"),
            (Code::FailedPrecondition, "", "refused"),
            (Code::Aborted, "", "retry"),
            (Code::OutOfRange, "", "retry"),
            (
                Code::OutOfRange,
                "Error, decoded message length too large: found 9 bytes",
                "large",
            ),
            (Code::Unimplemented, "", "retry"),
            (Code::Internal, "", "refused"),
            (Code::Unavailable, "", "retry"),
            (Code::DataLoss, "", "retry"),
            (Code::Unauthenticated, "", "retry"),
            (Code::InvalidArgument, "Permanent error: out of order sample", "there"),
            (Code::Internal, "sample is out of bounds", "expired"),
        ];
        for (code, text, expected) in table {
            let verdict = Verdict::of_grpc(&Status::new(code, text), text);
            assert_eq!(kind(&verdict), expected, "{code:?} {text}");
        }
    }

    #[test]
    fn http_codes_mean_what_otlp_says() {
        let table = [
            (400, "bad", "refused"),
            (400, "out of order sample", "there"),
            (400, "duplicate sample for timestamp", "there"),
            (400, "out of bounds", "expired"),
            (400, "too old sample", "expired"),
            (400, "out of order sample; out of bounds", "there"),
            (400, "err-mimir-sample-duplicate-timestamp", "there"),
            (400, "err-mimir-sample-timestamp-too-old", "expired"),
            (301, "", "retry"),
            (401, "", "retry"),
            (403, "", "retry"),
            (404, "", "retry"),
            (408, "", "refused"),
            (413, "", "large"),
            (429, "", "retry"),
            (500, "invalid temporality and type combination", "refused"),
            (501, "", "refused"),
            (502, "", "retry"),
            (503, "", "retry"),
            (504, "", "retry"),
        ];
        for (status, text, expected) in table {
            assert_eq!(
                kind(&Verdict::of_http(status, None, text, NOW)),
                expected,
                "{status} {text}"
            );
        }
    }

    #[test]
    fn retry_info_makes_exhausted_resources_a_retry_and_its_delay_counts() {
        let delay = |seconds, nanos| Some(RetryDelay { seconds, nanos });
        let after = |status: &Status| match Verdict::of_grpc(status, "") {
            Verdict::Retry { after, .. } => after,
            other => panic!("{other:?}"),
        };
        let status = with_retry_info(Code::ResourceExhausted, delay(2, 500_000_000));
        assert_eq!(after(&status), Some(Duration::from_millis(2_500)));
        let status = with_retry_info(Code::Unavailable, delay(1, 0));
        assert_eq!(after(&status), Some(Duration::from_secs(1)));
        let status = with_retry_info(Code::ResourceExhausted, None);
        assert_eq!(after(&status), Some(Duration::ZERO));
        let status = with_retry_info(Code::ResourceExhausted, delay(-5, -1));
        assert_eq!(after(&status), Some(Duration::ZERO));
        let status = with_retry_info(Code::ResourceExhausted, delay(i64::MAX, i32::MAX));
        assert_eq!(after(&status), Some(LONGEST_PAUSE));
        let garbled = Status::with_details(Code::Unavailable, "", vec![0xff_u8, 1, 2].into());
        assert_eq!(after(&garbled), None);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let after = |value: &str| match Verdict::of_http(503, Some(value), "", NOW) {
            Verdict::Retry { after, .. } => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after(" 0 "), Some(Duration::ZERO));
        assert_eq!(after("Tue, 14 Nov 2023 22:13:30 GMT"), Some(Duration::from_secs(10)));
        assert_eq!(after("Tue, 14 Nov 2023 22:13:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after("86400"), Some(LONGEST_PAUSE));
        assert_eq!(after("soon"), None);
    }

    #[test]
    fn a_failure_without_an_answer_is_sent_again_whatever_its_code() {
        let broken = Status::from_error("connection closed before message completed".into());
        assert_eq!(broken.code(), Code::Unknown);
        assert_eq!(kind(&Verdict::of_grpc(&broken, broken.message())), "retry");
    }

    #[test]
    fn partial_success_counts_what_was_rejected_and_keeps_a_warning() {
        let answer = |rejected, message: &str| {
            let partial_success = Some(PartialSuccess {
                rejected,
                message: message.into(),
            });
            Verdict::of_response(ExportResponse { partial_success })
        };
        assert_eq!(Verdict::of_response(ExportResponse::default()), Verdict::Accepted);
        assert_eq!(answer(0, ""), Verdict::Accepted);
        assert_eq!(
            answer(3, "x"),
            Verdict::PartialSuccess {
                rejected: 3,
                message: "x".into()
            }
        );
        assert_eq!(
            answer(0, "old schema"),
            Verdict::PartialSuccess {
                rejected: 0,
                message: "old schema".into()
            }
        );
    }

    #[test]
    fn a_long_text_is_cut_to_one_short_line() {
        let text = format!("a\nb{}", "ü".repeat(1_000));
        let short = shorten(&text);
        assert_eq!(short.chars().count(), MESSAGE_CHARS);
        assert!(short.starts_with("a b") && short.ends_with('…'));
        assert_eq!(shorten(" x \n"), "x");
    }
}
