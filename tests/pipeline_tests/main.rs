//! `streamgauge test`: what is as expected passes, what is not is shown beside it, and a wrong file says where.

#[path = "../common/random.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod random;

mod joined;
mod spans;
mod update;
mod wrong;

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
    histogram: { kind: explicit, buckets: [0.5, 1, 10], unit: By }
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
fn equal_files_give_equal_results() {
    let folder = Folder::new();
    let path = folder.cases(&EMAIL_TWICE.replace("TOTAL", "3"));
    assert_eq!(streamgauge(&[&path]), streamgauge(&[&path]));
}

#[test]
fn the_tests_of_the_page_on_tests_pass() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/testing-pipelines.md")).expect("readable");
    let example = page.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    let folder = Folder::new();
    std::fs::copy(root.join("pipelines/support.yaml"), folder.path("support.yaml")).expect("copied");
    let path = folder.path("page.test.yaml");
    std::fs::write(&path, example.expect("an example")).expect("written");
    let (code, stdout, stderr) = streamgauge(&[&path]);
    assert_eq!(code, 0, "{stdout}{stderr}");
}

#[test]
fn buckets_of_an_exponential_histogram_are_compared_by_their_bounds() {
    let folder = Folder::new();
    let pipeline = PIPELINE.replace(
        "kind: explicit, buckets: [0.5, 1, 10]",
        "kind: exponential, max_buckets: 8",
    );
    std::fs::write(folder.path("p.yaml"), pipeline).expect("written");
    let case = "  sizes:
    given:
      - { source: messages, value: { channel: email, size: 0 } }
      - { source: messages, value: { channel: email, size: 3 }, times: 2 }
      - { source: messages, value: { channel: email, size: 40 } }
    expect:
      metrics:
        size_bytes:
          - { count: 4, sum: 46, buckets: { \"0\": 1, \"4\": 2, \"FORTY\": 1 } }
";
    let (code, stdout, stderr) = streamgauge(&[&folder.cases(&case.replace("FORTY", "45.2548"))]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    let (code, stdout, _) = streamgauge(&[&folder.cases(&case.replace("FORTY", "32"))]);
    assert_eq!(code, 1);
    assert!(
        stdout.contains("buckets {0: 1, 4: 2, 32: 1}  count 4, sum 46, buckets {0: 1, 4: 2, 45.2548: 1}"),
        "{stdout}"
    );
}

#[test]
fn a_quiet_partition_holds_a_window_open_until_it_counts_as_idle() {
    let folder = Folder::new();
    // Partition 0 was quiet since 1 s. At 19 s, its watermark is 9 s by the rule for idle partitions; at 20 s it is 10 s.
    for (then, late) in [("19s", 0), ("20s", 1)] {
        let case = format!(
            "  late:
    given:
      - {{ source: messages, at: 1s, value: {{ channel: email, size: 1 }} }}
      - {{ source: messages, at: 16s, partition: 1, value: {{ channel: email, size: 1 }} }}
      - {{ source: messages, at: 6s, arrives: {then}, value: {{ channel: email, size: 1 }} }}
    expect:
      metrics: {{ messages_total: [ {{ labels: {{ channel: email }}, value: 3 }} ] }}
      late: {{ messages_total: {late} }}
"
        );
        let (code, stdout, stderr) = streamgauge(&[&folder.cases(&case)]);
        assert_eq!(code, 0, "{then}: {stdout}{stderr}");
    }
}
