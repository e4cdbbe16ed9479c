//! The bodies of the fuzz targets, on stable: with the corpus, and with damaged pieces of it.
//!
//! `PROPTEST_CASES=N` tries more. Fuzzing itself is described in docs/development.md; what it found once stays in `fuzz/corpus` and is tried here.

#[path = "../fuzz/bodies/mod.rs"]
mod bodies;

use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{TestError, TestRunner};

/// One change to a document.
#[derive(Clone, Debug)]
enum Damage {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    /// A piece from here comes again there.
    Copy(Index, usize, Index),
}

/// The files of one target's corpus, by name.
fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    let files: Vec<Vec<u8>> = paths
        .iter()
        .map(|path| std::fs::read(path).expect("a file of the corpus"))
        .collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
}

/// Bytes that mean something to one of the bodies.
fn tokens() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::sample::select(vec![
            &b"\x00"[..],
            b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
            b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
            b"{\"a\":",
            b"[[[[",
            b"\\ud800",
            b"1e999",
            b"-0",
            b"2026-11-22T14:00:60Z",
            b"+23:59",
            b"9999-12-31T23:59:59.999999999-23:59",
            b"*a",
            b"&a ",
            b"? ",
            b"- - - -",
            b"${env:SET}",
            b"!!",
            b"sg1:",
        ])
        .prop_map(<[u8]>::to_vec),
        prop::collection::vec(any::<u8>(), 1..9),
    ]
}

fn damages() -> impl Strategy<Value = Vec<Damage>> {
    let damage = prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (any::<Index>(), tokens()).prop_map(|(at, token)| Damage::Insert(at, token)),
        (any::<Index>(), 1..20_usize).prop_map(|(at, length)| Damage::Remove(at, length)),
        (any::<Index>(), 1..60_usize, any::<Index>()).prop_map(|(from, length, to)| Damage::Copy(from, length, to)),
    ];
    prop::collection::vec(damage, 0..6)
}

fn damaged(mut bytes: Vec<u8>, damages: &[Damage]) -> Vec<u8> {
    for damage in damages {
        let length = bytes.len();
        let at = |index: &Index| index.index(length + 1);
        match damage {
            Damage::Set(index, byte) if length > 0 => bytes[index.index(length)] = *byte,
            Damage::Set(_, byte) => bytes.push(*byte),
            Damage::Insert(index, token) => drop(bytes.splice(at(index)..at(index), token.iter().copied())),
            Damage::Remove(index, count) => drop(bytes.drain(at(index)..(at(index) + count).min(length))),
            Damage::Copy(from, count, to) => {
                let piece = bytes[at(from)..(at(from) + count).min(length)].to_vec();
                bytes.splice(at(to)..at(to), piece);
            }
        }
    }
    bytes
}

/// Runs the whole corpus of a target, then damaged pieces of it and random bytes.
fn holds(name: &str) {
    let corpus = corpus(name);
    for bytes in &corpus {
        bodies::run(name, bytes);
    }
    bodies::run(name, b"");
    let mut config = ProptestConfig::default();
    config.cases = config.cases.max(1_000);
    config.failure_persistence = None;
    let mut runner = TestRunner::new(config);
    let whole = (any::<Index>(), damages()).prop_map(|(which, damages)| {
        let bytes = corpus[which.index(corpus.len())].clone();
        damaged(bytes, &damages)
    });
    let bytes = prop_oneof![4 => whole, 1 => prop::collection::vec(any::<u8>(), 0..200)];
    let result = runner.run(&bytes, |bytes| {
        bodies::run(name, &bytes);
        Ok(())
    });
    match result {
        Ok(()) => {}
        Err(TestError::Fail(why, bytes)) => panic!("{name}: {why}; keep these bytes in its corpus: {}", hex(&bytes)),
        Err(other) => panic!("{name}: {other}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn every_target_has_a_body_and_a_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/fuzz_targets");
    for (name, _) in bodies::BODIES {
        assert!(
            folder.join(name).with_extension("rs").is_file(),
            "{name} has no fuzz target"
        );
        corpus(name);
    }
    let targets = std::fs::read_dir(&folder).expect("the targets are there");
    assert_eq!(targets.count(), bodies::BODIES.len());
}

#[test]
fn the_changelog_is_restored_or_refused() {
    holds("changelog");
}

#[test]
fn a_gauge_takes_any_pack_or_says_why_not() {
    holds("gauge");
}

#[test]
fn the_offset_index_answers_whatever_it_was_told() {
    holds("index");
}

#[test]
fn times_are_read_as_jiff_reads_them_or_refused() {
    holds("instant");
}

#[test]
fn the_projection_reads_what_serde_json_reads() {
    holds("json");
}

#[test]
fn a_ledger_comes_back_as_it_was() {
    holds("ledger");
}

#[test]
fn records_of_the_offsets_topic_are_read_alike_by_hand_and_by_the_tables() {
    holds("offsets");
}

#[test]
fn a_pipeline_file_is_a_plan_or_a_list_of_faults() {
    holds("pipeline");
}

#[test]
fn every_point_of_a_refused_request_has_one_fate() {
    holds("request");
}

#[test]
fn no_record_stops_a_tap() {
    holds("tap");
}
