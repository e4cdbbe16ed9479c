//! From librdkafka's error codes to what the worker must do, and to words that a person can act on.
//!
//! Rule: whatever passes by itself is `Retry`; a missing right is `Refused` and names the right and the resource.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::runtime::log::LogError;

/// What a call was about: names the resource whose right is missing.
#[derive(Clone, Copy, Debug)]
pub(super) enum About<'a> {
    ReadTopic(&'a str),
    DescribeTopic(&'a str),
    WriteTopic(&'a str),
    Group(&'a str),
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
        (Code::TopicAuthorizationFailed, About::WriteTopic(topic)) => format!("WRITE on topic `{topic}`"),
        (Code::TopicAuthorizationFailed, _) => "READ on the input topics and WRITE on the internal ones".to_owned(),
        (Code::GroupAuthorizationFailed, About::Group(group)) => format!("READ on group `{group}`"),
        (Code::GroupAuthorizationFailed, _) => "READ on the consumer group".to_owned(),
        (Code::TransactionalIdAuthorizationFailed, _) => match transactional_id {
            Some(id) => format!("WRITE and DESCRIBE on transactional id `{id}`"),
            None => "WRITE and DESCRIBE on the transactional id".to_owned(),
        },
        (Code::ClusterAuthorizationFailed, _) => "IDEMPOTENT_WRITE on the cluster".to_owned(),
        _ => return None,
    };
    Some(LogError::Refused(format!(
        "not authorised: this principal needs {right}"
    )))
}

/// What is said about trouble that passes, and by which setting a person could end it.
pub(super) fn passing(code: Code, reason: &str, bootstrap: &str) -> String {
    match code {
        Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut => {
            format!("no answer from the brokers at {bootstrap} (--bootstrap, STREAMGAUGE_BOOTSTRAP): {reason}")
        }
        Code::Authentication | Code::SaslAuthenticationFailed => {
            format!("the brokers at {bootstrap} do not accept the login (--kafka sasl.*): {reason}")
        }
        Code::SSL => format!("no TLS connection to {bootstrap} (--kafka security.protocol, ssl.*): {reason}"),
        Code::PollExceeded => "records were handled too slowly, the group gave the partitions to others \
                               (--kafka max.poll.interval.ms)"
            .to_owned(),
        _ => format!("{code}: {reason}"),
    }
}

fn subject(about: About<'_>) -> String {
    match about {
        About::ReadTopic(topic) | About::DescribeTopic(topic) | About::WriteTopic(topic) => format!("topic `{topic}`"),
        About::Group(group) => format!("group `{group}`"),
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
    fn brokers_that_do_not_answer_name_the_setting() {
        let said = passing(Code::AllBrokersDown, "1/1 brokers are down", "kafka:9092");
        assert!(said.contains("kafka:9092") && said.contains("--bootstrap"), "{said}");
    }
}
