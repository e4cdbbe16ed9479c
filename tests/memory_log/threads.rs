//! In real time, with threads, as the demo uses it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use streamgauge::memory::{RecordBatch, TopicOptions, partition_of};
use streamgauge::runtime::log::Log;

use super::*;

#[test]
fn a_poll_waits_for_the_first_record_and_no_longer() {
    let cluster = Cluster::new(ClusterClock::Real);
    cluster
        .create_topic("t", 1, TopicOptions::default())
        .expect("a new topic");
    let mut log = joined(dynamic(&cluster, "r"), "t");
    let started = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(50));
            produce(&cluster, "t", 0, "x");
        });
        let mut seen = 0;
        log.poll(Duration::from_secs(30), 10, &mut |_, _, _| {
            seen += 1;
            true
        })
        .expect("no faults");
        assert_eq!(seen, 1);
    });
    assert!(started.elapsed() < Duration::from_secs(20));
    let started = Instant::now();
    assert_eq!(poll(&mut log), []);
    log.poll(Duration::from_millis(20), 10, &mut |_, _, _| true)
        .expect("no faults");
    assert!(started.elapsed() >= Duration::from_millis(20));
}

#[test]
fn a_manual_clock_never_waits() {
    let cluster = cluster_with("t", 1);
    let mut log = joined(dynamic(&cluster, "r"), "t");
    let started = Instant::now();
    log.poll(Duration::from_secs(600), 10, &mut |_, _, _| true)
        .expect("no faults");
    assert!(started.elapsed() < Duration::from_secs(300));
}

/// Two workers copy what a service writes, each batch with its offsets in one transaction. In the end the copies are what
/// was written, and the committed offsets are the ends.
#[test]
fn two_threads_copy_every_record_exactly_once() {
    const RECORDS: u64 = 40_000;
    let cluster = Cluster::new(ClusterClock::Real);
    cluster
        .create_topic("t", 4, TopicOptions::default())
        .expect("a new topic");
    cluster
        .create_topic("copy", 4, TopicOptions::default())
        .expect("a new topic");
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        for worker in ["1", "2"] {
            let (cluster, is_done) = (&cluster, &is_done);
            scope.spawn(move || copy(cluster, worker, is_done));
        }
        let mut batches: Vec<RecordBatch> = (0..4).map(|_| RecordBatch::new()).collect();
        for number in 0..RECORDS {
            let key = number.to_be_bytes();
            let partition = partition_of(&key, 4);
            batches[partition as usize].push(Some(&key), Some(&key), cluster.now());
            if batches[partition as usize].len() == 100 {
                let batch = std::mem::take(&mut batches[partition as usize]);
                cluster.produce_batch("t", partition, batch).expect("it exists");
            }
        }
        for (partition, batch) in (0..).zip(batches) {
            cluster.produce_batch("t", partition, batch).expect("it exists");
        }
        let deadline = Instant::now() + Duration::from_secs(60);
        while (0..4).any(|partition| !is_copied(&cluster, partition)) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        is_done.store(true, Ordering::SeqCst);
    });
    for partition in 0..4 {
        let keys = |topic| -> Vec<_> {
            let (records, _) = cluster.read(topic, partition, 0).expect("it exists");
            records.into_iter().map(|record| record.key).collect()
        };
        assert!(is_copied(&cluster, partition));
        assert_eq!(keys("copy"), keys("t"));
    }
}

fn is_copied(cluster: &Cluster, partition: u32) -> bool {
    let end = cluster.log_end("t", partition).expect("it exists");
    cluster
        .committed("g", &at("t", partition))
        .is_some_and(|committed| committed.offset == end)
}

fn copy(cluster: &Cluster, worker: &str, is_done: &AtomicBool) {
    let mut log = dynamic(cluster, worker);
    log.subscribe(&["t".to_owned()]).expect("no faults");
    log.init_transactions(false).expect("nobody else has the id");
    let mut mine: BTreeSet<TopicPartition> = BTreeSet::new();
    while !is_done.load(Ordering::SeqCst) {
        let mut records = Vec::new();
        log.poll(Duration::from_millis(5), 500, &mut |_, partition, record| {
            records.push((partition, record.offset, record.key.unwrap_or_default().to_vec()));
            true
        })
        .expect("no faults");
        for change in log.changes() {
            match change {
                Change::Assigned(partitions) => {
                    for partition in partitions {
                        let committed = loop {
                            match log.committed(std::slice::from_ref(&partition)) {
                                Ok(committed) => break committed[0].clone(),
                                Err(LogError::Retry(_)) => thread::yield_now(),
                                Err(error) => panic!("{error}"),
                            }
                        };
                        let from = committed.map_or(0, |committed| committed.offset);
                        log.assign(&[(partition.clone(), from)], false).expect("assigned");
                        mine.insert(partition);
                    }
                }
                Change::Revoked(partitions) | Change::Lost(partitions) => {
                    mine.retain(|partition| !partitions.contains(partition));
                    log.unassign(&partitions).expect("no faults");
                }
            }
        }
        if !records.is_empty() && commit_copies(&mut log, &records).is_err() {
            log.abort().expect("open");
            // Not known to be committed: from the committed offsets again.
            for partition in &mine {
                let committed = log
                    .committed(std::slice::from_ref(partition))
                    .expect("only this worker writes it");
                let from = committed[0].as_ref().map_or(0, |committed| committed.offset);
                log.seek(&[(partition.clone(), from)]).expect("no faults");
            }
        }
    }
    log.close();
}

fn commit_copies(log: &mut MemoryLog, records: &[(u32, i64, Vec<u8>)]) -> Result<(), LogError> {
    log.begin()?;
    let mut offsets = std::collections::BTreeMap::new();
    for (partition, position, key) in records {
        log.send(Send {
            topic: "copy",
            partition: *partition,
            key: Some(key),
            value: Some(key),
            headers: &[],
        })?;
        offsets.insert(*partition, position + 1);
    }
    let offsets: Vec<_> = offsets
        .into_iter()
        .map(|(partition, next)| offset("t", partition, next, ""))
        .collect();
    log.send_offsets(&offsets)?;
    log.commit()
}
