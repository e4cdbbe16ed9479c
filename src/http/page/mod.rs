//! The status page at `/`, what it shows as JSON (`/api/v1/status`), and the same again and again as server-sent events
//! (`/api/v1/events`).
//!
//! Rule: one look serves all who watch. While somebody does, the process looks every [`WATCHED`], else every
//! [`UNWATCHED`], so that there is a past to show; a look that takes long is taken less often, so that it never costs more
//! than a [`SHARE`](super::SHARE)th of one core.
//!
//! Edges:
//! - the page is one document: nothing else is loaded, and its policy forbids it; what it shows it shows as text, never as
//!   markup;
//! - at most [`WATCHERS`] watch at once; who comes later is told, and asks again;
//! - a stream ends with its connection after two minutes, and the browser begins another.

mod spread;
mod state;
mod trails;

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, StatusCode};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::stream;
use serde_json::json;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};

use super::{SHARE, Sources};
use crate::runtime::clock::wall_time;
use trails::Trails;

const WATCHED: Duration = Duration::from_secs(2);
const UNWATCHED: Duration = Duration::from_secs(10);

const WATCHERS: usize = 32;

/// Who asked for the JSON counts as somebody who watches for this long.
const INTEREST: Duration = Duration::from_secs(15);

/// After this long a browser whose stream has ended begins another.
const AGAIN: Duration = Duration::from_secs(1);

/// How long the first answer is waited for.
const FIRST: Duration = Duration::from_secs(6);

/// What was seen last, shared by all who watch.
#[derive(Clone)]
pub struct Board(Arc<Inner>);

struct Inner {
    began: Instant,
    seen: watch::Sender<Option<Arc<str>>>,
    places: Arc<Semaphore>,
    /// When the JSON was asked for last, in milliseconds since `began`, plus one; zero for never.
    asked: AtomicU64,
    /// Somebody has come.
    come: Notify,
}

/// One who watches.
struct Watcher {
    seen: watch::Receiver<Option<Arc<str>>>,
    _place: OwnedSemaphorePermit,
}

/// The document and its policy.
struct Page {
    html: String,
    policy: String,
}

static PAGE: LazyLock<Page> = LazyLock::new(Page::new);

// === impl Board ===

impl Default for Board {
    fn default() -> Self {
        Self(Arc::new(Inner {
            began: Instant::now(),
            seen: watch::Sender::new(None),
            places: Arc::new(Semaphore::new(WATCHERS)),
            asked: AtomicU64::new(0),
            come: Notify::new(),
        }))
    }
}

impl Board {
    /// Looks for ever.
    pub async fn look(self, sources: Sources) {
        let mut trails = Trails::default();
        loop {
            let newest = sources.exposition.newest().await;
            let sources = sources.clone();
            let looking = tokio::task::spawn_blocking(move || {
                let began = Instant::now();
                trails.look(newest.families());
                let status = state::status(&sources, newest.families(), &trails, wall_time());
                let text = serde_json::to_string(&status).unwrap_or_default();
                (trails, text, newest.took() + began.elapsed())
            });
            let Ok((kept, text, took)) = looking.await else {
                // It panicked, which was said; what it knew went with it.
                trails = Trails::default();
                tokio::time::sleep(UNWATCHED).await;
                continue;
            };
            trails = kept;
            self.0.seen.send_replace(Some(text.into()));
            self.rest(took * SHARE).await;
        }
    }

    /// Until the next look is due.
    async fn rest(&self, at_least: Duration) {
        let began = Instant::now();
        loop {
            let due = at_least.max(if self.is_watched() { WATCHED } else { UNWATCHED });
            let Some(left) = due.checked_sub(began.elapsed()) else {
                return;
            };
            tokio::select! {
                () = tokio::time::sleep(left) => return,
                () = self.0.come.notified() => {}
            }
        }
    }

    fn is_watched(&self) -> bool {
        let asked = self.0.asked.load(Ordering::Relaxed);
        let since = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX) + 1;
        self.0.seen.receiver_count() > 0
            || (asked > 0 && u128::from(since.saturating_sub(asked)) < INTEREST.as_millis())
    }

    /// What was seen last; waits for the first look.
    async fn last(&self) -> Option<Arc<str>> {
        let now = u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.asked.store(now + 1, Ordering::Relaxed);
        self.0.come.notify_one();
        let mut seen = self.0.seen.subscribe();
        let first = tokio::time::timeout(FIRST, seen.wait_for(Option::is_some)).await;
        first.ok()?.ok()?.clone()
    }
}

// === impl Page ===

impl Page {
    fn new() -> Self {
        let (style, script) = (include_str!("page.css"), include_str!("page.js"));
        let html = include_str!("page.html")
            .replace("/* page.css */", style)
            .replace("/* page.js */", script);
        let mut policy =
            "default-src 'none'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
                .to_owned();
        for (what, text) in [
            ("style-src", between(&html, "<style>", "</style>")),
            ("script-src", between(&html, "<script>", "</script>")),
        ] {
            let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
            let _ = write!(policy, "; {what} 'sha256-{}'", STANDARD.encode(digest));
        }
        Self { html, policy }
    }
}

/// The part that a policy's hash is about.
fn between<'h>(html: &'h str, begin: &str, end: &str) -> &'h str {
    let after = html.split_once(begin).map_or("", |(_, after)| after);
    after.split_once(end).map_or("", |(text, _)| text)
}

pub async fn page() -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, &PAGE.policy),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, PAGE.html.as_str()).into_response()
}

pub async fn status(State(sources): State<Sources>) -> Response {
    match sources.board.last().await {
        Some(text) => (
            [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")],
            text.to_string(),
        )
            .into_response(),
        None => super::answered((503, json!({ "error": "nothing has been looked at yet" }))).into_response(),
    }
}

pub async fn events(State(sources): State<Sources>) -> Response {
    let Ok(place) = Arc::clone(&sources.board.0.places).try_acquire_owned() else {
        let body = json!({ "error": format!("{WATCHERS} watch already") });
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            [("retry-after", "10")],
            axum::Json(body),
        )
            .into_response();
    };
    let mut seen = sources.board.0.seen.subscribe();
    // What is there is told at once.
    seen.mark_changed();
    sources.board.0.come.notify_one();
    let watcher = Watcher { seen, _place: place };
    let told = stream::unfold(watcher, |mut watcher| async move {
        loop {
            watcher.seen.changed().await.ok()?;
            let text = watcher.seen.borrow_and_update().clone();
            if let Some(text) = text {
                return Some((
                    Ok::<_, Infallible>(Event::default().event("status").retry(AGAIN).data(text)),
                    watcher,
                ));
            }
        }
    });
    Sse::new(told)
        .keep_alive(KeepAlive::new().interval(Duration::from_secs(10)))
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_loads_nothing_and_its_policy_knows_its_script_and_its_style() {
        let page = Page::new();
        let html = page.html.replace("http://www.w3.org/2000/svg", "");
        for outside in [
            "http:",
            "https:",
            "src=",
            "@import",
            "url(",
            "innerHTML",
            " style=",
            "onclick",
        ] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert_eq!(page.policy.matches("'sha256-").count(), 2);
        assert!(!page.html.contains("/* page."), "all parts are in their places");
    }
}
