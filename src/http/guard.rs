//! Who may ask.
//!
//! Rule: with a token everything asks for it, but what was left open by name. It is taken as a bearer token, and as the
//! password of basic authentication, which browsers can ask for.
//!
//! Edges:
//! - without a token, on loopback, only requests to this machine by its address or as `localhost` are answered: a page
//!   elsewhere can let its own name point here, and would read what is told (DNS rebinding);
//! - a wrong token takes as long to refuse as a right one to accept;
//! - the token is in no message.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
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
    /// It guards a listener that only this machine can reach.
    is_local: bool,
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
        Self {
            token,
            open,
            is_local: false,
        }
    }

    /// Of a listener on loopback, or not.
    pub(super) fn local(self, is_local: bool) -> Self {
        Self { is_local, ..self }
    }

    /// Who can connect from elsewhere is told without a token.
    pub(super) fn is_open_to_others(&self) -> bool {
        self.token.is_none() && !self.is_local
    }

    /// A name by which nobody on this machine asks for it.
    fn stranger<'h>(&self, headers: &'h HeaderMap) -> Option<&'h str> {
        if self.token.is_some() || !self.is_local {
            return None;
        }
        // No browser leaves it out.
        let host = headers.get(HOST)?.to_str().unwrap_or("?");
        (!is_this_machine(host)).then_some(host)
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

/// An address, which is not looked up, or `localhost`, which never leaves the machine; each with or without a port.
fn is_this_machine(host: &str) -> bool {
    let bracketed = host.strip_prefix('[').and_then(|host| host.split_once(']'));
    let name = match bracketed {
        Some((address, _)) => address,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok()
}

/// Refuses who may not ask.
pub async fn check(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    if let Some(host) = guard.stranger(request.headers()) {
        let error = format!(
            "this listens on loopback and is no `{host}`: ask for localhost or 127.0.0.1, or set --http-token, with which \
             any name will do"
        );
        return (StatusCode::MISDIRECTED_REQUEST, Json(json!({ "error": error }))).into_response();
    }
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
    fn on_loopback_without_a_token_only_names_of_this_machine_are_answered() {
        let asked = |guard: &Guard, host: &str| {
            let headers = HeaderMap::from_iter([(HOST, host.parse().expect("a header"))]);
            guard.stranger(&headers).is_none()
        };
        let local = Guard::default().local(true);
        for host in [
            "localhost",
            "LocalHost:8686",
            "a.localhost:1",
            "127.0.0.1:8686",
            "127.0.0.1",
            "[::1]:8686",
            "[::1]",
        ] {
            assert!(asked(&local, host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8686",
            "127.0.0.1.evil.example",
            "localhost.evil.example:1",
            "",
            ":8686",
        ] {
            assert!(!asked(&local, host), "{host}");
            assert!(
                asked(&Guard::default(), host),
                "elsewhere names are the network's: {host}"
            );
            let token = Guard::new(Some("t".to_owned()), Vec::new()).local(true);
            assert!(asked(&token, host), "with a token: {host}");
        }
        assert!(local.stranger(&HeaderMap::new()).is_none(), "HTTP/1.0 need not name it");
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
