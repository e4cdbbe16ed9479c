//! Pipeline files, read as anything.
//!
//! Rule: any text is a plan or a list of faults with places inside it, never a panic or an overflow of a thread's stack of
//! 2 MiB. Equal text gives equal definitions.

use streamgauge::pipeline::{Look, check};

pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let text = text.to_owned();
    let reader = std::thread::Builder::new().stack_size(2 << 20);
    let reader = reader.spawn(move || read(&text)).expect("a thread starts");
    if let Err(panic) = reader.join() {
        std::panic::resume_unwind(panic);
    }
}

fn read(text: &str) {
    let env = |name: &str| (name == "SET").then(|| "a value".to_owned());
    let sources = [("fuzz.yaml".to_owned(), text.to_owned())];
    match check(&sources, &env) {
        Err(diagnostics) => {
            assert!(diagnostics.iter().next().is_some(), "a refusal says why");
            for fault in diagnostics.iter() {
                if let Some(place) = fault.place() {
                    let (line, column) = place.line_and_column();
                    assert!(line > 0 && column > 0);
                }
            }
            for look in [Look::Plain, Look::Fancy { width: 80 }] {
                assert!(!diagnostics.render(look).is_empty());
            }
        }
        Ok(checked) => {
            let again = check(&sources, &env).expect("it was right before");
            let hashes = |plan: &streamgauge::engine::plan::Plan| -> Vec<_> {
                plan.metrics.iter().map(|metric| metric.definition).collect()
            };
            assert_eq!(hashes(&checked.plan), hashes(&again.plan));
        }
    }
}
