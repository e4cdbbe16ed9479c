//! Who may ask.
//!
//! Rule: with a token everything asks for it, but what was left open by name. It is taken as a bearer token, and as the
//! password of basic authentication, which browsers can ask for.
//!
//! Edges:
//! - a wrong token takes as long to refuse as a right one to accept;
//! - the token is in no message.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use subtle::ConstantTimeEq;

/// What can be left open where there is a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Open {
    Livez,
    Readyz,
    Metrics,
}

/// See the module.
#[derive(Clone, Default)]
pub struct Guard {
    token: Option<String>,
    open: Vec<Open>,
}

// === impl Open ===

impl Open {
    fn path(self) -> &'static str {
        match self {
            Self::Livez => "/livez",
            Self::Readyz => "/readyz",
            Self::Metrics => "/metrics",
        }
    }
}

// === impl Guard ===

impl Guard {
    pub fn new(token: Option<String>, open: Vec<Open>) -> Self {
        Self { token, open }
    }

    pub fn has_token(&self) -> bool {
        self.token.is_some()
    }

    fn lets_in(&self, path: &str, headers: &HeaderMap) -> bool {
        let Some(token) = &self.token else { return true };
        if self.open.iter().any(|open| open.path() == path) {
            return true;
        }
        let given = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let Some((scheme, given)) = given.and_then(|given| given.split_once(' ')) else {
            return false;
        };
        let is_right = |given: &[u8]| bool::from(given.ct_eq(token.as_bytes()));
        if scheme.eq_ignore_ascii_case("bearer") {
            return is_right(given.trim().as_bytes());
        }
        if !scheme.eq_ignore_ascii_case("basic") {
            return false;
        }
        let decoded = STANDARD.decode(given.trim()).unwrap_or_default();
        let password = decoded
            .iter()
            .position(|byte| *byte == b':')
            .map(|at| &decoded[at + 1..]);
        password.is_some_and(is_right)
    }
}

/// Refuses who may not ask.
pub async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    if guard.lets_in(request.uri().path(), request.headers()) {
        return next.run(request).await;
    }
    let body = json!({ "error": "this asks for the token that --http-token names" });
    let ask = [(WWW_AUTHENTICATE, "Basic realm=\"streamgauge\", charset=\"UTF-8\"")];
    (StatusCode::UNAUTHORIZED, ask, Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lets_in(guard: &Guard, path: &str, authorization: Option<&str>) -> bool {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.parse().expect("a header"));
        }
        guard.lets_in(path, &headers)
    }

    #[test]
    fn without_a_token_everybody_may_ask() {
        assert!(lets_in(&Guard::default(), "/health", None));
    }

    #[test]
    fn with_a_token_who_has_it_may_ask_and_what_was_left_open_is_open() {
        let guard = Guard::new(Some("a:b c".to_owned()), vec![Open::Livez]);
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(text));
        assert!(lets_in(&guard, "/livez", None));
        for refused in [
            None,
            Some("Bearer a:b"),
            Some("a:b c"),
            Some("Basic !"),
            Some(&*basic("a:b c")),
            Some("Digest a:b c"),
        ] {
            assert!(!lets_in(&guard, "/readyz", refused), "{refused:?}");
        }
        assert!(lets_in(&guard, "/readyz", Some("bearer a:b c")));
        assert!(lets_in(&guard, "/readyz", Some(&basic("anybody:a:b c"))));
        assert!(!lets_in(&guard, "/livez/more", None));
    }
}
