//! Records of the offset index.
//!
//! Rule: any bytes are a stretch or refused; a stretch comes back as it was. An index that took it, twice, answers about
//! any offset: what it counts in a range is no more than its offsets, and parts of a range add up to the whole.

use streamgauge::engine::index::Stretch;
use streamgauge::engine::lag::index::{Answer, PartitionIndex};
use streamgauge::engine::time::WallTime;

pub fn run(bytes: &[u8]) {
    let Ok(stretch) = Stretch::read(bytes) else { return };
    assert_eq!(Stretch::read(&stretch.encode()).as_ref(), Ok(&stretch));
    for capacity in [0, 1_000] {
        let mut index = PartitionIndex::new(capacity);
        let mut offsets: Vec<i64> = [0, i64::MIN, i64::MAX].into();
        for entry in &stretch.entries {
            offsets.extend([entry.first, entry.next, entry.first + (entry.next - entry.first) / 2]);
            let one = vec![entry.clone()];
            index.observe(Stretch {
                entries: one,
                ..stretch.clone()
            });
        }
        index.observe(stretch.clone());
        let last = stretch.entries.last().map(|entry| entry.next);
        assert_eq!(index.end(), last);
        offsets.sort_unstable();
        ask(&index, &offsets);
        index.forget(WallTime(i64::MAX));
        ask(&index, &offsets);
    }
}

fn ask(index: &PartitionIndex, offsets: &[i64]) {
    for of in offsets.windows(3) {
        let _ = index.append_time(of[0]);
        let Answer::Known(whole) = index.covered(of[0], of[2]) else {
            continue;
        };
        assert!(whole.records <= of[2].abs_diff(of[0]));
        let parts = [(of[0], of[1]), (of[1], of[2])].map(|(from, to)| match index.covered(from, to) {
            Answer::Known(part) => part.records,
            other => panic!("{from} to {to}: {other:?}"),
        });
        assert_eq!(parts[0] + parts[1], whole.records);
        let mut records = 0;
        whole.latencies(WallTime(0), &mut |_, count| records += count);
        assert!(records <= whole.records);
    }
}
