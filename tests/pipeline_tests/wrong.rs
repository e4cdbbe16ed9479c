//! A wrong file ends with 2, and the schema agrees.

use crate::random::Random;
use std::path::Path;

use streamgauge::pipeline::testing;

use super::{EMAIL_TWICE, Folder, PIPELINE, streamgauge};

#[test]
fn a_wrong_file_ends_with_2_and_says_where_and_what_would_be_right() {
    let folder = Folder::new();
    for (wrong, place, message, help) in [
        (
            "  a: { given: [ { source: mesages } ], expect: {} }\n",
            ":3:27",
            "no source `mesages`",
            "`messages`",
        ),
        (
            "  a: { given: [ { source: messages, att: 5s } ], expect: {} }\n",
            ":3:37",
            "unknown key `att`",
            "`at`",
        ),
        (
            "  a: { given: [ { wait: 5s } ], expect: { metrics: { message_total: none } } }\n",
            ":3:54",
            "no metric `message_total`",
            "`messages_total`",
        ),
        (
            "  a: { given: [ { wait: 5s } ], expect: { metrics: { messages_total: [ { value: 1 } ] } } }\n",
            ":3:72",
            "not named without `channel`",
            "all labels",
        ),
        (
            "  a: { given: [ { wait: 5s } ], expect: { metrics: { size_bytes: [ { value: 1 } ] } } }\n",
            ":3:70",
            "is a histogram: it has no `value`",
            "`count`",
        ),
        (
            "  a: { given: [ { wait: 5 } ], expect: {} }\n",
            ":3:25",
            "a duration needs its unit",
            "`5s`",
        ),
        (
            "  a: { given: [ { wait: 5s } ] }\n",
            ":3:3",
            "expects nothing",
            "--update",
        ),
        (
            "  a: { given: [ { wait: 60s }, { source: messages, arrives: 5s } ], expect: {} }\n",
            ":3:61",
            "it is 1m by then",
            "`at` may be in the past",
        ),
        (
            "  a: { given: [ { wait: 5s } ], expect: { metrics: { stamped_total: [ { value: 1 }, { value: 2 } ] } } }\n",
            ":3:85",
            "a second time",
            "its `time`",
        ),
        ("  a: [\n", ":", "this is not YAML", ""),
    ] {
        let path = folder.cases(wrong);
        let (code, stdout, stderr) = streamgauge(&[&path]);
        assert_eq!(code, 2, "{wrong}{stdout}{stderr}");
        for part in [&format!("p.test.yaml{place}"), message, help] {
            assert!(stderr.contains(part), "{part} is not in {stderr}");
        }
    }
}

#[test]
fn a_wrong_pipeline_or_none_ends_with_2() {
    let folder = Folder::new();
    let path = folder.cases(&EMAIL_TWICE.replace("TOTAL", "2"));
    std::fs::write(
        folder.path("p.yaml"),
        PIPELINE.replace("count: messages", "cuont: messages"),
    )
    .expect("written");
    let (code, _, stderr) = streamgauge(&[&path]);
    assert_eq!(code, 2);
    assert!(
        stderr.contains("p.yaml:6") && stderr.contains("did you mean `count`?"),
        "{stderr}"
    );
    std::fs::remove_file(folder.path("p.yaml")).expect("removed");
    let (code, _, stderr) = streamgauge(&[&path]);
    assert_eq!(code, 2);
    assert!(
        stderr.contains("p.test.yaml:1:12") && stderr.contains("there is no file"),
        "{stderr}"
    );
}

#[test]
fn the_schema_takes_and_refuses_what_the_command_does() {
    let mut schemas = boon::Schemas::new();
    let mut compiler = boon::Compiler::new();
    compiler
        .add_resource("test.json", streamgauge::pipeline::test_schema())
        .expect("the schema is JSON");
    let schema = compiler.compile("test.json", &mut schemas).expect("a schema");
    let fits = |text: &str| {
        let document = serde_saphyr::from_str(text).expect("YAML");
        schemas.validate(&document, schema).is_ok()
    };
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/support.test.yaml");
    assert!(fits(&std::fs::read_to_string(shipped).expect("readable")));
    let folder = Folder::new();
    for (case, right) in [
        (
            "{ given: [ { wait: 5s } ], expect: { dead: none }, exactly: true }",
            true,
        ),
        (
            "{ given: [ { source: messages, value: [1, {}] }, { source: messages, value: [1, {}] } ], expect: { outcomes: { malformed: 2 } } }",
            true,
        ),
        (
            "{ given: [ { source: messages, text: 7, at: -5s, times: 2 } ], expect: { late: { messages_total: 0 } } }",
            true,
        ),
        (
            "{ given: [ { source: messages, value: 7, text: 7 } ], expect: { dead: none } }",
            false,
        ),
        (
            "{ given: [ { source: messages, topic: messages } ], expect: { dead: none } }",
            false,
        ),
        ("{ given: [ { wait: 5s, times: 2 } ], expect: { dead: none } }", false),
        ("{ given: [ { wait: 5s } ], expect: { dead: some } }", false),
        ("{ given: [ { wait: 5s } ], expect: { dead: none }, exactly: 1 }", false),
        ("{ given: [ { wait: 5s } ], expect: { spans: some } }", false),
        ("{ given: [], expect: { dead: none } }", false),
        (
            "{ given: [ { wait: 5s } ], expect: { outcomes: { counted: -1 } } }",
            false,
        ),
    ] {
        let path = folder.cases(&format!("  one: {case}\n"));
        let (code, _, stderr) = streamgauge(&[&path]);
        assert_eq!(code != 2, right, "{case}: {stderr}");
        assert_eq!(
            fits(&std::fs::read_to_string(&path).expect("readable")),
            right,
            "{case}"
        );
    }
}

#[test]
fn a_file_that_is_damaged_anywhere_is_read_or_refused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines/support.test.yaml");
    let whole = std::fs::read_to_string(&path).expect("readable");
    let seed = std::env::var("STREAMGAUGE_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed: u64 = seed.unwrap_or(17);
    println!("STREAMGAUGE_SEED={seed}");
    let mut random = Random::new(seed);
    let mut below = |limit: usize| random.below(limit as u64) as usize;
    let (mut taken, mut refused) = (0, 0);
    for _ in 0..300 {
        let mut text: Vec<char> = whole.chars().collect();
        for _ in 0..=below(3) {
            let at = below(text.len());
            let until = (at + below(40)).min(text.len());
            match below(4) {
                0 => drop(text.drain(at..until)),
                1 => text.insert(
                    at,
                    ['{', '}', '[', '&', '*', '"', ':', '#', '\n', ' ', '-', '9', 'ü'][below(13)],
                ),
                2 => text.truncate(at),
                _ => {
                    let copy = text[at..until].to_vec();
                    text.splice(at..at, copy);
                }
            }
        }
        let text: String = text.into_iter().collect();
        match testing::read_text_as(&path, &text, &|_| None, true) {
            Ok(_) => taken += 1,
            Err(faults) => {
                assert!(faults.iter().next().is_some(), "a refusal says why");
                refused += 1;
            }
        }
    }
    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused");
}
