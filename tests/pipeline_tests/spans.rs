//! Spans are expected as anything else: what is named is compared, and shown beside what left.

use std::path::Path;

use super::{Folder, streamgauge};

const TRACED: &str = "\
pipeline: p
sources:
  asked: { topic: asked, time: /time }
  answered: { topic: answered, time: /time }
metrics:
  response_time_seconds:
    respond: { from: asked, to: answered, on: /id, within: 1h }
traces:
  talks:
    of: response_time_seconds
    name: talk
    spans: [ { source: asked, name: ask }, { source: answered, name: answer } ]
    attributes: { channel: /channel }
";

const GIVEN: &str = "  an answered question is a trace of three spans:
    given:
      - source: asked
        at: 1s
        value: { id: a, channel: email }
        headers: { traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01 }
      - { source: answered, at: 3s, value: { id: a } }
      - { source: asked, at: 4s, value: { id: b, channel: fax } }
      - { wait: 2h }
";

fn traced(expect: &str) -> (Folder, std::path::PathBuf) {
    let folder = Folder::new();
    std::fs::write(folder.path("p.yaml"), TRACED).expect("written");
    let path = folder.cases(&format!("{GIVEN}{expect}"));
    (folder, path)
}

#[test]
fn each_span_is_expected_by_what_it_says() {
    let (_folder, path) = traced(
        "    expect:
      spans:
        - name: talk
          trace: 4bf92f3577b34da6a3ce929d0e0e4736
          parent: 00f067aa0ba902b7
          start: 1s
          end: 3s
          status: ok
          attributes: { channel: email, correlation.id: a }
          events: none
        - { name: ask, parent: talk, start: 1s, end: 1s, attributes: { correlation.id: a } }
        - { name: answer, parent: talk, start: 1s, end: 3s }
        - { name: talk, parent: none, start: 4s, end: 3604s, status: error, events: [unanswered] }
        - { name: ask, parent: talk, attributes: { correlation.id: b } }
",
    );
    let (code, stdout, stderr) = streamgauge(&[&path]);
    assert_eq!(code, 0, "{stdout}{stderr}");
}

#[test]
fn a_span_that_is_another_one_or_missing_or_too_much_is_shown_and_written() {
    let (_folder, path) = traced(
        "    expect:
      spans:
        - { name: talk, end: 9s, attributes: { channel: email } }
        - { name: ask, parent: talk, times: 2 }
        - { name: answer, parent: ask }
        - { name: answer }
",
    );
    let (code, stdout, stderr) = streamgauge(&[&path]);
    assert_eq!(code, 1, "{stdout}{stderr}");
    for line in [
        ":13:7: spans",
        "~ talk    to 9s, {channel=\"email\"}  to 3s, {channel=\"email\"}",
        "- answer  below ask",
        "+ talk    nothing",
    ] {
        assert!(stdout.contains(line), "{line:?} is not in:\n{stdout}");
    }
    let (code, stdout, stderr) = streamgauge(&[Path::new("--update"), &path]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    let written = std::fs::read_to_string(&path).expect("readable");
    for line in [
        "        - { name: talk, parent: \"00f067aa0ba902b7\", start: 1s, end: 3s, status: ok, attributes: { channel: email } }",
        "        - { name: answer, parent: talk, start: 1s, end: 3s }",
    ] {
        assert!(written.contains(line), "{line:?} is not in:\n{written}");
    }
    let (code, stdout, stderr) = streamgauge(&[&path]);
    assert_eq!(code, 0, "{stdout}{stderr}\n{written}");
}

#[test]
fn a_whole_expectation_has_the_spans_and_exactly_asks_for_no_others() {
    let (_folder, path) = traced("");
    let (code, stdout, stderr) = streamgauge(&[Path::new("--update"), &path]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    let written = std::fs::read_to_string(&path).expect("readable");
    assert_eq!(written.matches("name: talk,").count(), 2, "{written}");
    for line in [
        "correlation.id: b",
        "labels: { outcome: unanswered, sampled: sampled, trace: talks }",
    ] {
        assert!(written.contains(line), "{line:?} is not in:\n{written}");
    }

    let (_folder, path) = traced("    exactly: true\n    expect: { outcomes: { counted: 3 } }\n");
    let (code, stdout, _) = streamgauge(&[&path]);
    assert_eq!(code, 1, "{stdout}");
    assert_eq!(stdout.matches("+ span ").count(), 5, "{stdout}");
}

#[test]
fn spans_that_the_pipelines_do_not_have_are_faults_of_the_file() {
    let (_folder, path) = traced("    expect: { spans: [ { name: tlak }, { name: ask, parent: tall } ] }\n");
    let (code, _, stderr) = streamgauge(&[&path]);
    assert_eq!(code, 2, "{stderr}");
    for part in ["no span `tlak`", "did you mean `talk`?", "no span `tall`"] {
        assert!(stderr.contains(part), "{part:?} is not in:\n{stderr}");
    }
    let folder = Folder::new();
    let path = folder.cases("  one: { given: [ { wait: 5s } ], expect: { spans: none } }\n");
    let (code, _, stderr) = streamgauge(&[&path]);
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("the pipelines have no `traces`"), "{stderr}");
}

#[test]
fn a_record_can_be_padded_until_it_is_too_large() {
    let folder = Folder::new();
    let path = folder.cases(
        "  one:
    given: [ { source: messages, value: { channel: email, size: 1 }, padded: 2MiB }, { source: messages, text: x, padded: 16B } ]
    expect: { outcomes: { counted: 0, oversize: 1, malformed: 1 }, dead: [ { outcome: oversize }, { outcome: malformed } ] }
",
    );
    let (code, stdout, stderr) = streamgauge(&[&path]);
    assert_eq!(code, 0, "{stdout}{stderr}");
}
