//! `--update` writes what came out, and nothing else.

use std::path::Path;

use super::{EMAIL_TWICE, Folder, PIPELINE, streamgauge};

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
fn an_update_writes_no_value_from_outside() {
    let folder = Folder::new();
    std::fs::write(folder.path("region"), "eu-secret-1\n").expect("written");
    let pipeline = PIPELINE.replace(
        "count: stamped",
        "count: stamped, labels: { region: { const: '${file:region}' } }",
    );
    std::fs::write(folder.path("p.yaml"), pipeline).expect("written");
    let path = folder.cases(
        "  one:
    given: [ { source: stamped } ]
    expect:
      metrics: { stamped_total: none }
",
    );
    let (code, stdout, _) = streamgauge(&[&path]);
    assert_eq!(code, 1);
    assert!(
        stdout.contains("${file:region}") && !stdout.contains("eu-secret"),
        "{stdout}"
    );
    let (code, stdout, stderr) = streamgauge(&[Path::new("--update"), &path]);
    assert_eq!(code, 0, "{stdout}{stderr}");
    let written = std::fs::read_to_string(&path).expect("readable");
    assert!(
        written.contains("region: \"${file:region}\"") && !written.contains("eu-secret"),
        "{written}"
    );
    assert_eq!(streamgauge(&[&path]).0, 0);
}
