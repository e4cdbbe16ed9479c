use std::time::Duration;

use opentelemetry::Context as Spans;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use tracing_subscriber::layer::SubscriberExt as _;

use super::*;

/// What was written, for a test to read.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Everything that `say` logs.
fn written(format: Format, repeats: u32, say: impl FnOnce()) -> Vec<String> {
    let page = Page::default();
    let lines = Lines::new(format, repeats, page.clone());
    tracing::subscriber::with_default(tracing_subscriber::registry().with(lines.clone()), say);
    lines.flush();
    let bytes = page.0.lock().expect("no panic").clone();
    let text = String::from_utf8(bytes).expect("text");
    text.lines().map(str::to_owned).collect()
}

fn objects(repeats: u32, say: impl FnOnce()) -> Vec<Value> {
    let lines = written(Format::Json, repeats, say);
    lines
        .iter()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[test]
fn a_line_has_the_guides_four_keys_and_its_fields_in_details() {
    let lines = objects(0, || {
        tracing::warn!(
            event_type = "kafka_trouble",
            worker = "tap-0",
            partition = 3,
            ratio = 0.5,
            broken = f64::NAN,
            whole = true,
            list = ?[1, 2],
            "a \"quoted\"\nmessage"
        );
    });
    let mut line = lines[0].clone();
    let at = line["timestamp"].take();
    at.as_str()
        .and_then(|at| at.parse::<jiff::Timestamp>().ok())
        .expect("RFC 3339");
    let wanted = serde_json::json!({
        "timestamp": null,
        "level": "WARNING",
        "event_type": "kafka_trouble",
        "details": {
            "worker": "tap-0", "partition": 3, "ratio": 0.5, "broken": "NaN", "whole": true, "list": "[1, 2]",
            "message": "a \"quoted\"\nmessage",
        },
    });
    assert_eq!(line, wanted);
}

#[test]
fn what_libraries_say_has_their_name() {
    let lines = objects(0, || tracing::info!(target: "hyper::proto", "a connection"));
    assert_eq!(lines[0]["event_type"], "library_event");
    assert_eq!(lines[0]["details"]["target"], "hyper::proto");
    let lines = objects(0, || {
        tracing::info!(target: "log", { log.target = "rdkafka::client", log.line = 7 }, "a client");
    });
    assert_eq!(
        lines[0]["details"],
        serde_json::json!({ "target": "rdkafka::client", "message": "a client" })
    );
}

#[test]
fn text_stays_on_its_line_and_moves_no_cursor() {
    let lines = written(Format::Text { colours: false }, 0, || {
        tracing::error!(
            event_type = "kafka_trouble",
            topic = "a b",
            offset = 7,
            "two\nlines\x1b[2J"
        );
    });
    assert_eq!(lines.len(), 1);
    let (at, rest) = lines[0].split_once(' ').expect("a time");
    assert!(at.ends_with('Z'), "{at}");
    assert_eq!(
        rest,
        r#"ERROR   kafka_trouble: two\nlines\u{1b}[2J offset=7 topic="a b""#
    );
}

#[test]
fn lines_within_a_span_have_its_ids() {
    let span = SpanContext::new(
        TraceId::from(0xa0_u128),
        SpanId::from(0xb0_u64),
        TraceFlags::SAMPLED,
        false,
        TraceState::default(),
    );
    let lines = objects(0, || {
        tracing::info!(event_type = "started", "before");
        let _within = Spans::new().with_remote_span_context(span).attach();
        tracing::info!(event_type = "started", "within");
    });
    assert_eq!(lines[0]["details"].get("trace_id"), None);
    assert_eq!(lines[1]["details"]["trace_id"], "000000000000000000000000000000a0");
    assert_eq!(lines[1]["details"]["span_id"], "00000000000000b0");
}

#[test]
fn lines_that_differ_in_numbers_alone_are_counted_and_no_line_is_lost() {
    let said = 25;
    let lines = objects(3, || {
        for offset in 0..said {
            tracing::info!(event_type = "kafka_trouble", offset, "at offset {offset}");
            if offset == 20 {
                tracing::info!(event_type = "kafka_trouble", "something else");
            }
        }
    });
    let of = |line: &&Value| line["details"].get("offset").is_some();
    let repeated: Vec<&Value> = lines.iter().filter(of).collect();
    let counts: Vec<u64> = repeated
        .iter()
        .map(|line| line["details"]["repeated"].as_u64().unwrap_or(1))
        .collect();
    assert_eq!(counts, [1, 1, 1, 22]);
    assert_eq!(repeated[3]["details"]["message"], "at offset 24");
    assert_eq!(lines.len(), 5, "what differs in words is another line");
}

#[test]
fn lines_of_another_place_or_with_other_words_are_not_repeats() {
    let lines = objects(1, || {
        for topic in ["orders", "payments"] {
            tracing::info!(event_type = "topic_missing", topic);
        }
        tracing::info!(event_type = "topic_missing", topic = "orders");
    });
    assert_eq!(lines.len(), 3);
}

#[test]
fn more_kinds_than_are_remembered_lose_no_count() {
    let kinds = 1_000_usize;
    let name = |number: usize| -> String {
        let letter = |by: usize| char::from(b'a' + u8::try_from(number / by % 26).expect("small"));
        [letter(676), letter(26), letter(1)].iter().collect()
    };
    let lines = objects(1, || {
        for number in 0..kinds {
            for _ in 0..3 {
                tracing::info!(event_type = "topic_missing", topic = name(number));
            }
        }
    });
    let counted = lines
        .iter()
        .map(|line| line["details"]["repeated"].as_u64().unwrap_or(1));
    assert_eq!(counted.sum::<u64>(), 3 * kinds as u64);
    assert_eq!(lines.len(), 2 * kinds);
}

#[test]
fn what_is_held_back_is_told_when_its_ten_seconds_are_over() {
    // The clock is an argument, so no test waits.
    let mut repeats = Repeats::new(1, WINDOW);
    let (line, began) = (Line::new(Level::INFO, "started", Map::new()), Instant::now());
    let seconds = |count| began + Duration::from_secs(count);
    let kind = Kind::new(place(), 0);
    let mut take = |at| repeats.take(kind.clone(), line.clone(), at).0.len();
    assert_eq!([take(seconds(0)), take(seconds(4)), take(seconds(9))], [1, 0, 0]);
    assert_eq!(repeats.next_due(), Some(seconds(10)));
    assert_eq!(repeats.due(seconds(9)).len(), 0);
    assert_eq!(repeats.due(seconds(10)).len(), 1);
    assert_eq!(repeats.next_due(), None);
    assert_eq!(repeats.all().len(), 0);
    let (told, held) = repeats.take(kind, line, seconds(11));
    assert_eq!((told.len(), held), (1, false), "a new window begins");
}

#[test]
fn what_is_held_back_is_told_in_time_though_no_line_follows() {
    let page = Page::default();
    let repeats = Repeats::new(1, Duration::from_millis(50));
    let lines = Lines::with(Format::Json, repeats, page.clone());
    tracing::subscriber::with_default(tracing_subscriber::registry().with(lines), || {
        for number in 0..3 {
            tracing::info!(event_type = "started", number);
        }
    });
    // The three may fall into two windows; each is told, or stands behind a number.
    let told = || -> u64 {
        let bytes = page.0.lock().expect("no panic").clone();
        let text = String::from_utf8(bytes).expect("text");
        let lines = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        lines
            .map(|line| line["details"]["repeated"].as_u64().unwrap_or(1))
            .sum()
    };
    let began = Instant::now();
    while told() < 3 {
        assert!(began.elapsed() < Duration::from_secs(20), "{} of 3 are told", told());
        std::thread::yield_now();
    }
    assert_eq!(told(), 3);
}

/// Some place in the code.
fn place() -> tracing::callsite::Identifier {
    struct Place;
    impl tracing::Callsite for Place {
        fn set_interest(&self, _: tracing::subscriber::Interest) {}

        fn metadata(&self) -> &tracing::Metadata<'_> {
            unreachable!("only its address is looked at")
        }
    }
    static PLACE: Place = Place;
    tracing::callsite::Identifier(&PLACE)
}
