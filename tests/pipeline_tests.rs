//! `streamgauge test`: what is as expected passes, what is not is shown beside it, and a wrong file says where.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const PIPELINE: &str = "\
pipeline: p
sources:
  messages: { topic: messages, time: /time }
  stamped: { topic: stamped }
metrics:
  messages_total: { count: messages, labels: { channel: /channel } }
  size_bytes:
    observe: { of: messages, value: /size }
    histogram: { kind: explicit, bounds: [0.5, 1, 10], unit: By }
  stamped_total: { count: stamped }
";

struct Folder(tempfile::TempDir);

// === impl Folder ===

impl Folder {
    fn new() -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        std::fs::write(folder.path("p.yaml"), PIPELINE).expect("written");
        folder
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A file of tests with these cases.
    fn cases(&self, cases: &str) -> PathBuf {
        let path = self.path("p.test.yaml");
        std::fs::write(&path, format!("pipelines: p.yaml\ncases:\n{cases}")).expect("written");
        path
    }
}

fn streamgauge(arguments: &[&Path]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_streamgauge"))
        .arg("test")
        .args(arguments)
        .env_clear()
        .output()
        .expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

const EMAIL_TWICE: &str = "  two messages:
    given:
      - { source: messages, at: 1s, value: { channel: email, size: 1 } }
      - { source: messages, at: 2s, value: { channel: email, size: 0.25 } }
    expect:
      metrics:
        messages_total:
          - { labels: { channel: email }, value: TOTAL } # what counts
        size_bytes:
          - { count: 2, sum: 1.25, buckets: { \"0.5\": 1, \"1\": 1 } }
";

#[test]
fn the_shipped_tests_of_the_shipped_pipelines_pass() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let mut files = 0;
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        if path.to_string_lossy().ends_with(".test.yaml") {
            let (code, stdout, stderr) = streamgauge(&[&path]);
            assert_eq!(code, 0, "{stdout}{stderr}");
            files += 1;
        }
    }
    assert!(files > 0);
}

#[test]
fn what_is_as_expected_ends_with_0() {
    let folder = Folder::new();
    let (code, stdout, stderr) = streamgauge(&[&folder.cases(&EMAIL_TWICE.replace("TOTAL", "2"))]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert!(stdout.contains("ok    two messages"), "{stdout}");
    assert!(stdout.ends_with("1 case, all as expected\n"), "{stdout}");
}

#[test]
fn a_difference_is_shown_with_its_place_and_both_sides() {
    let folder = Folder::new();
    let path = folder.cases(&EMAIL_TWICE.replace("TOTAL", "3"));
    let (code, stdout, stderr) = streamgauge(&[&path]);
    assert_eq!((code, stderr.as_str()), (1, ""), "{stdout}");
    assert!(stdout.contains("FAIL  two messages"), "{stdout}");
    assert!(
        stdout.contains(&format!("{}:9:9: messages_total", path.display())),
        "{stdout}"
    );
    let row = stdout.lines().find(|line| line.contains('~')).expect("a row");
    let cells: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(cells, ["~", "{channel=\"email\"}", "3", "2"]);
    assert!(!stdout.contains("size_bytes"), "what is right is not shown: {stdout}");
}

#[test]
fn a_series_too_many_and_one_too_few_are_differences() {
    let folder = Folder::new();
    let text = EMAIL_TWICE.replace("{ channel: email }, value: TOTAL", "{ channel: fax }, value: 1");
    let (code, stdout, _) = streamgauge(&[&folder.cases(&text)]);
    assert_eq!(code, 1);
    let signs: Vec<(&str, bool)> = stdout
        .lines()
        .filter_map(|line| Some((line.trim_start().get(..1)?, line.contains("nothing"))))
        .filter(|(sign, _)| matches!(*sign, "-" | "+"))
        .collect();
    assert_eq!(signs, [("-", true), ("+", true)], "{stdout}");
}

#[test]
fn exactly_asks_for_nothing_else() {
    let folder = Folder::new();
    let case = "  one:
    exactly: EXACTLY
    given:
      - { source: messages, value: { channel: email, size: 1 } }
      - { source: messages, value: { channel: email, size: -1 } }
    expect:
      outcomes: { counted: 1, malformed: 1 }
";
    assert_eq!(streamgauge(&[&folder.cases(&case.replace("EXACTLY", "false"))]).0, 0);
    let (code, stdout, _) = streamgauge(&[&folder.cases(&case.replace("EXACTLY", "true"))]);
    assert_eq!(code, 1);
    for extra in [
        "messages_total{channel=\"email\"}",
        "size_bytes{}",
        "messages, malformed: ",
    ] {
        assert!(stdout.contains(extra), "{extra}: {stdout}");
    }
}

#[test]
fn a_record_without_a_time_field_has_its_event_time_as_timestamp() {
    let folder = Folder::new();
    let case = "  stamped:
    given:
      - { topic: stamped, at: 15s, arrives: 16s, text: \"{}\" }
      - { topic: stamped, created: 2026-01-01T00:00:21Z, text: \"{}\" }
    expect:
      metrics:
        stamped_total:
          - { time: 20s, value: 1 }
          - { time: 30s, value: 2 }
";
    let (code, stdout, stderr) = streamgauge(&[&folder.cases(case)]);
    assert_eq!(code, 0, "{stdout}{stderr}");
}

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
fn an_update_makes_the_tests_pass_and_leaves_the_rest_of_the_file_as_it_is() {
    let folder = Folder::new();
    let wrong = format!(
        "# before\n{}      late: {{ messages_total: 7 }}\n\n  # the next one\n{}",
        EMAIL_TWICE.replace("TOTAL", "3"),
        "  new: # has nothing yet
    given: [ { source: messages, value: { channel: \"a b\", size: 20 } }, { source: messages, text: no } ] # end
# last
"
    );
    let path = folder.cases(&wrong);
    let (code, stdout, stderr) = streamgauge(&[Path::new("--update"), &path]);
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    assert!(stdout.contains(":10:9: messages_total of `two messages`"), "{stdout}");
    assert!(stdout.contains("3 expectations written"), "{stdout}");
    let written = std::fs::read_to_string(&path).expect("readable");
    let right = wrong
        .replace("value: 3 }", "value: 2 }")
        .replace("late: { messages_total: 7 }", "late: { messages_total: 0 }");
    let (head, tail) = right.split_at(right.find("# last").expect("the end"));
    assert!(written.contains(head.trim_end()), "{written}");
    assert!(written.ends_with(tail), "{written}");
    for line in [
        "          - { labels: { channel: \"a b\" }, value: 1 }",
        "          - { count: 1, sum: 20 }",
        "      outcomes: { counted: 1, malformed: 1 }",
        "        - { outcome: malformed, topic: messages, reason: ",
    ] {
        assert!(written.contains(line), "{line} is not in {written}");
    }
    let (code, stdout, _) = streamgauge(&[&path]);
    assert_eq!(code, 0, "{stdout}");
    let (code, stdout, _) = streamgauge(&[Path::new("--update"), &path]);
    assert!(code == 0 && stdout.contains("nothing to update"), "{stdout}");
    assert_eq!(std::fs::read_to_string(&path).expect("readable"), written);
}

#[test]
fn an_update_says_what_it_loses_and_what_it_does_not_touch() {
    let folder = Folder::new();
    let path = folder.cases(
        "  one:
    given: [ { source: messages, value: { channel: email, size: 1 } } ]
    expect:
      metrics:
        messages_total:
          # nobody writes letters
          - { labels: { channel: letter }, value: 1 }
      outcomes: &all { counted: 9 }
  two:
    given: [ { source: messages, value: { channel: email, size: 1 } } ]
    expect: { outcomes: *all }
",
    );
    let (code, stdout, stderr) = streamgauge(&[Path::new("--update"), &path]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains("1 comment is lost"), "{stdout}");
    assert_eq!(
        stdout.matches("shared by an anchor or an alias, not touched").count(),
        2,
        "{stdout}"
    );
    let written = std::fs::read_to_string(&path).expect("readable");
    assert!(
        written.contains("&all { counted: 9 }") && !written.contains("letter"),
        "{written}"
    );
}

#[test]
fn equal_files_give_equal_results() {
    let folder = Folder::new();
    let path = folder.cases(&EMAIL_TWICE.replace("TOTAL", "3"));
    assert_eq!(streamgauge(&[&path]), streamgauge(&[&path]));
}
