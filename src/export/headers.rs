//! Headers that go with every request. Their values are secrets.
//!
//! Rule: `OTEL_EXPORTER_OTLP_HEADERS` is `key=value,key=value`, values percent-encoded. A value is printed nowhere: not by
//! `Debug`, not in errors, and it is taken out of what a receiver answers.
//!
//! Edges:
//! - names are ASCII and lower-cased; `content-type`, `content-encoding`, `te` and `grpc-*` are ours; `*-bin` (binary gRPC
//!   metadata) cannot be written this way;
//! - values shorter than four bytes (a tenant called `1`) are no secrets, and are left in texts, which would else become
//!   unreadable.

use percent_encoding::percent_decode_str;
use reqwest::header::{HeaderName, HeaderValue};

/// The shortest value that is taken out of texts, in bytes.
const SHORTEST_SECRET: usize = 4;

/// Names and values, in the order in which they were written.
#[derive(Clone, Default)]
pub struct Headers(Vec<(HeaderName, HeaderValue)>);

impl Headers {
    /// The error says what is wrong, without any value.
    pub fn parse(text: &str) -> Result<Headers, String> {
        let mut headers = Vec::new();
        for (index, member) in text
            .split(',')
            .enumerate()
            .filter(|(_, member)| !member.trim().is_empty())
        {
            let nth = index + 1;
            let (name, value) = member
                .split_once('=')
                .ok_or_else(|| format!("entry {nth} has no `=`; write key=value,key=value"))?;
            let name = HeaderName::from_bytes(name.trim().to_lowercase().as_bytes())
                .map_err(|_| format!("the name of entry {nth} is no header name"))?;
            if is_ours(name.as_str()) || name.as_str().ends_with("-bin") {
                return Err(format!("`{name}` (entry {nth}) cannot be set"));
            }
            let value = percent_decode_str(value.trim())
                .decode_utf8()
                .ok()
                .filter(|value| value.is_ascii())
                .and_then(|value| HeaderValue::from_str(&value).ok())
                .ok_or_else(|| format!("the value of `{name}` (entry {nth}) must be percent-encoded ASCII text"))?;
            headers.push((name, value));
        }
        Ok(Headers(headers))
    }

    pub fn iter(&self) -> impl Iterator<Item = &(HeaderName, HeaderValue)> {
        self.0.iter()
    }

    /// `text` without any of the values. The last word of a value counts as a value too: `Bearer TOKEN` is often answered
    /// with the token alone.
    pub fn scrub(&self, text: &str) -> String {
        let mut clean = text.to_owned();
        for value in self.0.iter().filter_map(|(_, value)| value.to_str().ok()) {
            for secret in [value, value.rsplit(' ').next().unwrap_or(value)] {
                if secret.len() >= SHORTEST_SECRET {
                    clean = clean.replace(secret, "[redacted]");
                }
            }
        }
        clean
    }
}

fn is_ours(name: &str) -> bool {
    matches!(
        name,
        "content-type" | "content-encoding" | "content-length" | "te" | "host"
    ) || name.starts_with("grpc-")
}

impl std::fmt::Debug for Headers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map()
            .entries(self.0.iter().map(|(name, _)| (name.as_str(), "redacted")))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_percent_decoded_and_names_lower_cased() {
        let headers = Headers::parse(" Authorization=Bearer%20a%3Db , x-scope-orgid = team ,").unwrap();
        let pairs: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
            .collect();
        assert_eq!(pairs, [("authorization", "Bearer a=b"), ("x-scope-orgid", "team")]);
    }

    #[test]
    fn errors_name_the_entry_and_never_its_value() {
        for (text, expected) in [
            ("a=1,topsecret", "entry 2 has no `=`"),
            ("a b=topsecret", "the name of entry 1"),
            ("key=topsecret%0a", "the value of `key` (entry 1)"),
            ("key=topsecret%ff", "the value of `key` (entry 1)"),
            ("grpc-timeout=topsecret", "`grpc-timeout` (entry 1) cannot be set"),
            ("trace-bin=topsecret", "`trace-bin` (entry 1) cannot be set"),
        ] {
            let error = Headers::parse(text).unwrap_err();
            assert!(error.starts_with(expected), "{error}");
            assert!(!error.contains("topsecret"), "{error}");
        }
    }

    #[test]
    fn values_are_taken_out_of_texts() {
        let headers = Headers::parse("authorization=Bearer%20topsecret,x-scope-orgid=1").unwrap();
        assert_eq!(
            headers.scrub("token topsecret of 1 is bad"),
            "token [redacted] of 1 is bad"
        );
        assert_eq!(headers.scrub("`Bearer topsecret`"), "`[redacted]`");
        assert_eq!(
            format!("{headers:?}"),
            r#"{"authorization": "redacted", "x-scope-orgid": "redacted"}"#
        );
    }
}
