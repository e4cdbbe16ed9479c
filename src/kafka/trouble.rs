//! From librdkafka's error codes to what the worker must do, and to words that a person can act on.
//!
//! Rule: whatever passes by itself is `Retry`; a missing right is `Refused` and names the right and the resource.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::runtime::log::LogError;

/// In the text of whatever OpenSSL refuses, also where librdkafka takes it for a connection that was lost.
const ALERT: &str = "SSL routines";

/// What a call was about: names the resource whose right is missing.
#[derive(Clone, Copy, Debug)]
pub(super) enum About<'a> {
    ReadTopic(&'a str),
    DescribeTopic(&'a str),
    Group(&'a str),
    /// Looking at a group's offsets.
    OffsetsOf(&'a str),
    Cluster,
}

/// The error of a call that only asks: missing rights stop the stage, everything else is asked again.
pub(super) fn asked(code: Code, about: About<'_>) -> LogError {
    refusal(code, about, None).unwrap_or_else(|| LogError::Retry(format!("{}: {code}", subject(about))))
}

/// As [`asked`], for rdkafka's errors.
pub(super) fn asked_by(error: &KafkaError, about: About<'_>) -> LogError {
    match error.rdkafka_error_code() {
        Some(code) => asked(code, about),
        None => LogError::Retry(format!("{}: {error}", subject(about))),
    }
}

/// The error that a missing right is, with the right; `None` for other codes.
pub(super) fn refusal(code: Code, about: About<'_>, transactional_id: Option<&str>) -> Option<LogError> {
    let right = match (code, about) {
        (Code::TopicAuthorizationFailed, About::ReadTopic(topic)) => format!("READ on topic `{topic}`"),
        (Code::TopicAuthorizationFailed, About::DescribeTopic(topic)) => format!("DESCRIBE on topic `{topic}`"),
        (Code::TopicAuthorizationFailed, _) => "READ on the input topics and WRITE on the internal ones".to_owned(),
        (Code::GroupAuthorizationFailed, About::Group(group)) => format!("READ on group `{group}`"),
        (Code::GroupAuthorizationFailed, About::OffsetsOf(group)) => {
            format!("READ on group `{group}`, or DESCRIBE to look only")
        }
        (Code::GroupAuthorizationFailed, _) => "READ on the consumer group".to_owned(),
        (Code::TransactionalIdAuthorizationFailed, _) => match transactional_id {
            Some(id) => format!("WRITE on transactional id `{id}`"),
            None => "WRITE on the transactional id".to_owned(),
        },
        (Code::ClusterAuthorizationFailed, _) => "IDEMPOTENT_WRITE on the cluster".to_owned(),
        _ => return None,
    };
    Some(LogError::Refused(needs(&right)))
}

/// Why a topic cannot be described, in words.
pub(super) fn undescribed(code: Code, topic: &str) -> String {
    let refused = refusal(code, About::DescribeTopic(topic), None);
    refused.map_or_else(|| code.to_string(), |error| error.to_string())
}

/// How a missing right is said.
pub(super) fn needs(right: &str) -> String {
    format!("not authorised: this principal needs {right}")
}

/// Whether waiting will hardly help: the brokers were there, and refused.
pub(super) fn is_refusal(code: Code, reason: &str) -> bool {
    let code = matches!(
        code,
        Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL | Code::Resolve
    );
    code || reason.contains(ALERT)
}

/// What is said about trouble that passes, and by which setting a person could end it.
pub(super) fn passing(code: Code, reason: &str, bootstrap: &str) -> String {
    match code {
        // TLS 1.3 tells the client that its certificate is missing or not known only when the handshake is over.
        _ if reason.contains(ALERT) || reason.contains("SSL handshake") => {
            format!(
                "no TLS connection to {bootstrap} (--kafka security.protocol, ssl.ca.location, ssl.certificate.location, \
                 ssl.key.location): {reason}"
            )
        }
        Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut => {
            // Who hangs up on the first request speaks another protocol, or none of ours.
            let early = [
                "security.protocol",
                "in state APIVERSION_QUERY",
                "in state SSL_HANDSHAKE",
            ];
            let protocol = if early.iter().any(|sign| reason.contains(sign)) {
                ", or --kafka security.protocol"
            } else {
                ""
            };
            format!(
                "no answer from the brokers at {bootstrap} (--bootstrap, STREAMGAUGE_BOOTSTRAP{protocol}): {reason}"
            )
        }
        Code::Authentication | Code::SaslAuthenticationFailed => {
            format!(
                "the brokers at {bootstrap} do not accept the login (--kafka sasl.mechanism, sasl.username, sasl.password): \
                 {reason}"
            )
        }
        Code::SSL => format!(
            "no TLS connection to {bootstrap} (--kafka security.protocol, ssl.ca.location, ssl.certificate.location, \
             ssl.key.location): {reason}"
        ),
        Code::PollExceeded => "records were handled too slowly, the group gave the partitions to others \
                               (--kafka max.poll.interval.ms)"
            .to_owned(),
        _ => format!("{code}: {reason}"),
    }
}

fn subject(about: About<'_>) -> String {
    match about {
        About::ReadTopic(topic) | About::DescribeTopic(topic) => format!("topic `{topic}`"),
        About::Group(group) | About::OffsetsOf(group) => format!("group `{group}`"),
        About::Cluster => "cluster".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_right_is_named_with_its_resource() {
        let error = asked(Code::GroupAuthorizationFailed, About::Group("app"));
        assert_eq!(
            error,
            LogError::Refused("not authorised: this principal needs READ on group `app`".to_owned())
        );
    }

    #[test]
    fn what_passes_is_asked_again() {
        assert!(matches!(
            asked(Code::UnstableOffsetCommit, About::Group("app")),
            LogError::Retry(_)
        ));
        assert!(matches!(
            asked(Code::OperationTimedOut, About::Cluster),
            LogError::Retry(_)
        ));
    }

    #[test]
    fn a_certificate_that_is_missed_only_after_the_handshake_names_its_setting() {
        let reason = "Receive failed: error:0A00045C:SSL routines::tlsv13 alert certificate required";
        let said = passing(Code::BrokerTransportFailure, reason, "kafka:9093");
        assert!(said.contains("ssl.certificate.location"), "{said}");
        assert!(is_refusal(Code::BrokerTransportFailure, reason));
        assert!(!is_refusal(Code::BrokerTransportFailure, "Connection refused"));
    }

    #[test]
    fn brokers_that_do_not_answer_name_the_setting() {
        let said = passing(Code::AllBrokersDown, "1/1 brokers are down", "kafka:9092");
        assert!(said.contains("kafka:9092") && said.contains("--bootstrap"), "{said}");
    }
}
