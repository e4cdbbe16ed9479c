//! Whatever a file holds, reading it ends soon, with a plan or with faults.

use std::time::{Duration, Instant};

use proptest::prelude::*;
use streamgauge::pipeline::{self, Diagnostics, Look};

const SUPPORT: &str = include_str!("../pipelines/support.yaml");

/// Reads and draws; any outcome is fine, as long as there is one and it is no fault of ours.
fn read(text: String) -> Result<(), Diagnostics> {
    let read = pipeline::parse(&[("p.yaml".to_owned(), text)], &|name| {
        (name == "SET").then(|| "x".to_owned())
    })
    .map(drop);
    if let Err(diagnostics) = &read {
        assert!(diagnostics.iter().count() > 0);
        let drawn = format!(
            "{}{}",
            diagnostics.render(Look::Plain),
            diagnostics.render(Look::Fancy { width: 80 })
        );
        assert!(!drawn.contains("fault of streamgauge itself"), "{drawn}");
    }
    read
}

/// Reads what must be refused, within a time that is generous for a debug build on a busy machine.
#[track_caller]
fn refused(text: String) -> String {
    let start = Instant::now();
    let drawn = read(text).expect_err("this must be refused").to_string();
    assert!(start.elapsed() < Duration::from_secs(20), "took {:?}", start.elapsed());
    drawn
}

#[test]
fn a_file_that_multiplies_itself_is_refused() {
    let mut laughs = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..60 {
        let before = format!("*a{}", level - 1);
        laughs.push_str(&format!("a{level}: &a{level} [{}]\n", [before.as_str(); 9].join(", ")));
    }
    assert!(refused(laughs).contains("grows too large"));
    let mut fat = format!("a0: &a0 {}\n", "x".repeat(500_000));
    fat.push_str(&"b: [*a0, *a0, *a0, *a0, *a0, *a0, *a0, *a0, *a0, *a0]\n".repeat(3));
    assert!(refused(fat).contains("grows too large"));
}

#[test]
fn aliases_deepen_what_they_stand_in() {
    let mut deep = String::from("a0: &a0 [x]\n");
    for level in 1..40 {
        deep.push_str(&format!("a{level}: &a{level} [*a{}]\n", level - 1));
    }
    assert!(refused(deep).contains("too deep"));
    assert!(refused("a: &a [*a]".to_owned()).contains("inside of what it names"));
}

#[test]
fn a_deep_file_is_refused() {
    for (open, close) in [("[", "]"), ("{a: ", "}"), ("- ", "")] {
        refused(format!("{}x{}", open.repeat(10_000), close.repeat(10_000)));
    }
    let blocks: String = (0..600).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
    refused(blocks);
}

#[test]
fn a_huge_file_is_refused() {
    assert!(refused("x".repeat(2 << 20)).contains("too many for a pipeline file"));
}

#[test]
fn a_file_full_of_faults_is_told_in_part() {
    let keys: String = (0..30_000).map(|key| format!("k{key}: 1\n")).collect();
    assert!(refused(keys).contains("and 29"));
    let same = "pipeline: p\n".repeat(40_000);
    refused(same);
}

#[test]
fn many_fields_and_deep_expressions_are_refused_or_read_in_time() {
    let sources = "pipeline: p\nsources: { a: { topic: t } }\nmetrics:\n";
    let mut many = String::from(sources);
    for metric in 0..900 {
        let labels: Vec<String> = (0..8)
            .map(|label| format!("l{label}: /{metric}/{label}{}", "/x".repeat(25)))
            .collect();
        many.push_str(&format!(
            "  m{metric}_total: {{ count: a, labels: {{ {} }} }}\n",
            labels.join(", ")
        ));
    }
    assert!(refused(many).contains("too many fields"));
    for (open, close) in [
        ("(", ")"),
        ("[", "]"),
        ("!", ""),
        ("-", ""),
        ("a[", "]"),
        ("a ? b : ", ""),
        ("{0: ", "}"),
    ] {
        // As deep as the longest expression that is taken.
        let depth = 4_000 / (open.len() + close.len());
        let deep = format!("{}a{}", open.repeat(depth), close.repeat(depth));
        let _ = read(format!(
            "{sources}  m_total: {{ count: a, labels: {{ l: {{ cel: '{deep}' }} }} }}\n"
        ));
    }
    for chain in [" + a", " && a", ".a", "[0]", " == a"] {
        let _ = read(format!(
            "{sources}  m_total: {{ count: a, labels: {{ l: {{ cel: 'a{}' }} }} }}\n",
            chain.repeat(4_000 / chain.len())
        ));
    }
}

/// Characters that YAML and CEL care about, and a few that they do not.
fn syllables() -> impl Strategy<Value = String> {
    let syllable = prop_oneof![
        Just(" ".to_owned()),
        Just("\n".to_owned()),
        Just("\n  ".to_owned()),
        Just(": ".to_owned()),
        Just("- ".to_owned()),
        Just("---\n".to_owned()),
        Just("&a ".to_owned()),
        Just("*a".to_owned()),
        Just("!t ".to_owned()),
        Just("${env:SET}".to_owned()),
        Just("${env:".to_owned()),
        Just("<<".to_owned()),
        Just("é\u{1F600}".to_owned()),
        Just("\u{feff}".to_owned()),
        Just("\t".to_owned()),
        Just("\r\n".to_owned()),
        "[\\[\\]{}'\"|>,#%@`?~$&*!-]",
        proptest::sample::select(vec![
            "pipeline",
            "defaults",
            "sources",
            "metrics",
            "topic",
            "time",
            "when",
            "count",
            "sum",
            "observe",
            "of",
            "value",
            "labels",
            "histogram",
            "kind",
            "explicit",
            "exponential",
            "buckets",
            "window",
            "10s",
            "1",
            "/a",
            "raw",
            "cel",
            "else",
            "const",
            "field",
            "record",
            "a_total",
            "unit",
            "respond",
            "null",
            "true",
        ])
        .prop_map(str::to_owned),
    ];
    proptest::collection::vec(syllable, 0..40).prop_map(|syllables| syllables.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(String::from_utf8_lossy(&bytes).into_owned());
    }

    #[test]
    fn no_yaml_breaks_the_reader(text in syllables()) {
        let _ = read(text);
    }

    #[test]
    fn no_change_of_a_pipeline_breaks_the_reader(
        text in syllables(),
        at in 0..SUPPORT.len(),
        cut in 0usize..40,
    ) {
        let boundary = |mut at: usize| {
            while !SUPPORT.is_char_boundary(at.min(SUPPORT.len())) {
                at += 1;
            }
            at.min(SUPPORT.len())
        };
        let _ = read(format!("{}{text}{}", &SUPPORT[..boundary(at)], &SUPPORT[boundary(at + cut)..]));
    }
}
