//! What holds whatever happens in whatever order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::collection::vec;
use proptest::prelude::*;
use streamgauge::engine::time::Span;
use streamgauge::memory::{MarkerDelay, MemberId, TopicOptions};
use streamgauge::runtime::log::{Change, Log};

use super::*;

// --- a partition has one owner ---

const SLOTS: usize = 4;

#[derive(Clone, Debug)]
enum Step {
    /// A process starts in this slot: dynamic or by the slot's name.
    Start {
        slot: usize,
        by_name: bool,
    },
    Poll(usize),
    /// Takes what the polls brought and answers its first `count` changes; the rest waits for the next answer.
    Answer {
        slot: usize,
        count: usize,
    },
    Leave(usize),
    Crash(usize),
    /// The session of whatever member the group lists here ends, alive or not.
    Expire(usize),
    Grow,
}

fn step() -> impl Strategy<Value = Step> {
    let slot = 0..SLOTS;
    prop_oneof![
        2 => (slot.clone(), any::<bool>()).prop_map(|(slot, by_name)| Step::Start { slot, by_name }),
        6 => slot.clone().prop_map(Step::Poll),
        6 => (slot.clone(), 0..3_usize).prop_map(|(slot, count)| Step::Answer { slot, count }),
        1 => slot.clone().prop_map(Step::Leave),
        1 => slot.clone().prop_map(Step::Crash),
        1 => slot.prop_map(Step::Expire),
        1 => Just(Step::Grow),
    ]
}

/// A process, and what it believes to own.
struct Process {
    log: MemoryLog,
    unanswered: Vec<Change>,
    working: BTreeSet<TopicPartition>,
    is_fenced: bool,
}

impl Process {
    fn start(cluster: &Cluster, slot: usize, by_name: bool) -> Self {
        let name = format!("slot-{slot}");
        let mut log = if by_name {
            named(cluster, &name)
        } else {
            dynamic(cluster, &name)
        };
        log.subscribe(&["t".to_owned()]).expect("no faults");
        Self {
            log,
            unanswered: Vec::new(),
            working: BTreeSet::new(),
            is_fenced: false,
        }
    }

    fn poll(&mut self) {
        let polled = self.log.poll(std::time::Duration::ZERO, 10, &mut |_, _, _| true);
        self.is_fenced |= matches!(polled, Err(LogError::Fenced(_)));
        self.unanswered.extend(self.log.changes());
    }

    /// `false` when there was nothing to answer.
    fn answer(&mut self, count: usize) -> bool {
        let count = count.min(self.unanswered.len());
        for change in self.unanswered.drain(..count) {
            match change {
                Change::Assigned(partitions) => {
                    let from_start: Vec<_> = partitions.iter().map(|partition| (partition.clone(), 0)).collect();
                    self.log.assign(&from_start, false).expect("they were assigned");
                    self.working.extend(partitions);
                }
                Change::Revoked(partitions) | Change::Lost(partitions) => {
                    self.log.unassign(&partitions).expect("no faults");
                    self.working.retain(|partition| !partitions.contains(partition));
                }
            }
        }
        count > 0
    }
}

/// Members that the group counts, with the process behind each.
fn live(cluster: &Cluster, processes: &[Option<Process>]) -> BTreeMap<MemberId, BTreeSet<TopicPartition>> {
    let members = cluster.group("g").map(|group| group.members).unwrap_or_default();
    let listed: BTreeSet<MemberId> = members.into_iter().map(|member| member.id).collect();
    let known = processes
        .iter()
        .flatten()
        .filter_map(|process| Some((process.log.member_id()?, &process.working)));
    known
        .filter(|(id, _)| listed.contains(id))
        .map(|(id, working)| (id, working.clone()))
        .collect()
}

fn owned_once(owners: &BTreeMap<MemberId, BTreeSet<TopicPartition>>) -> Result<usize, TestCaseError> {
    let mut seen = BTreeSet::new();
    for partition in owners.values().flatten() {
        prop_assert!(seen.insert(partition), "{partition:?} has two owners: {owners:?}");
    }
    Ok(seen.len())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_partition_never_has_two_owners_and_all_have_one_in_the_end(steps in vec(step(), 0..120)) {
        let cluster = cluster_with("t", 5);
        let mut partitions = 5;
        let mut processes: Vec<Option<Process>> = (0..SLOTS).map(|_| None).collect();
        for step in steps {
            match step {
                Step::Start { slot, by_name } => {
                    // A process that is replaced without a word has crashed.
                    processes[slot] = Some(Process::start(&cluster, slot, by_name));
                }
                Step::Poll(slot) => processes[slot].iter_mut().for_each(Process::poll),
                Step::Answer { slot, count } => {
                    if let Some(process) = &mut processes[slot] {
                        process.answer(count);
                    }
                }
                Step::Leave(slot) => processes[slot].take().into_iter().for_each(|mut left| left.log.close()),
                Step::Crash(slot) => {
                    processes[slot].take().and_then(|crashed| crashed.log.crash());
                }
                Step::Expire(index) => {
                    let members = cluster.group("g").map(|group| group.members).unwrap_or_default();
                    if let Some(member) = members.get(index) {
                        cluster.expire_member("g", member.id);
                    }
                }
                Step::Grow => {
                    partitions += 1;
                    cluster.add_partitions("t", partitions).expect("it exists");
                }
            }
            owned_once(&live(&cluster, &processes))?;
        }

        // Everybody who is there answers, and whoever is not loses its session.
        processes[0].get_or_insert_with(|| Process::start(&cluster, 0, false));
        for _ in 0..100 {
            processes.iter_mut().flatten().for_each(Process::poll);
            processes.iter_mut().filter(|process| process.as_ref().is_some_and(|it| it.is_fenced)).for_each(|it| *it = None);
            let alive: BTreeSet<MemberId> = processes.iter().flatten().filter_map(|it| it.log.member_id()).collect();
            for member in cluster.group("g").map(|group| group.members).unwrap_or_default() {
                if !alive.contains(&member.id) {
                    cluster.expire_member("g", member.id);
                }
            }
            processes.iter_mut().flatten().for_each(|process| {
                process.answer(usize::MAX);
            });
            owned_once(&live(&cluster, &processes))?;
        }
        let owners = live(&cluster, &processes);
        if !owners.is_empty() {
            prop_assert_eq!(owned_once(&owners)?, partitions as usize, "{:?}", owners);
            let loads: Vec<usize> = owners.values().map(BTreeSet::len).collect();
            prop_assert!(loads.iter().max() <= loads.iter().min().map(|least| least + 1).as_ref(), "{:?}", loads);
        }
        prop_assert!(!owners.is_empty() || processes.iter().flatten().count() == 0);
    }
}

// --- a reader sees what was committed, once, in order ---

const WRITERS: usize = 3;

#[derive(Clone, Debug)]
enum Write {
    Send {
        writer: usize,
        partition: u32,
    },
    Commit(usize),
    Abort(usize),
    /// A new process takes the writer's transactional id.
    Restart(usize),
    Service {
        partition: u32,
    },
    Delay {
        millis: i64,
    },
    Tick {
        millis: i64,
    },
    Read {
        max: usize,
    },
    Compact,
}

fn write() -> impl Strategy<Value = Write> {
    let writer = 0..WRITERS;
    prop_oneof![
        8 => (writer.clone(), 0..2_u32).prop_map(|(writer, partition)| Write::Send { writer, partition }),
        3 => writer.clone().prop_map(Write::Commit),
        2 => writer.clone().prop_map(Write::Abort),
        1 => writer.prop_map(Write::Restart),
        2 => (0..2_u32).prop_map(|partition| Write::Service { partition }),
        1 => (0..3_000_i64).prop_map(|millis| Write::Delay { millis }),
        2 => (0..6_000_i64).prop_map(|millis| Write::Tick { millis }),
        4 => (1..5_usize).prop_map(|max| Write::Read { max }),
        1 => Just(Write::Compact),
    ]
}

/// A writer, and what its open transaction holds.
struct Writer {
    log: MemoryLog,
    is_open: bool,
    pending: Vec<(u32, u64)>,
}

impl Writer {
    fn new(cluster: &Cluster, index: usize) -> Self {
        Self {
            log: dynamic(cluster, &format!("writer-{index}")),
            is_open: false,
            pending: Vec::new(),
        }
    }

    /// Begins where that is needed and possible; a spent producer is replaced.
    fn is_ready(&mut self) -> bool {
        if !self.is_open {
            self.is_open = self
                .log
                .init_transactions(false)
                .and_then(|()| self.log.begin())
                .is_ok();
            if !self.is_open {
                self.is_open = self.log.init_transactions(true).and_then(|()| self.log.begin()).is_ok();
            }
        }
        self.is_open
    }

    fn send(&mut self, partition: u32, number: u64) {
        if !self.is_ready() {
            return;
        }
        let (key, value) = (number.to_be_bytes(), number.to_be_bytes());
        match self.log.send(Send {
            topic: "t",
            partition,
            key: Some(&key),
            value: Some(&value),
            headers: &[],
        }) {
            Ok(()) => self.pending.push((partition, number)),
            Err(_) => self.drop_transaction(),
        }
    }

    fn commit(&mut self, committed: &mut BTreeSet<(u32, u64)>) {
        if !self.is_open {
            return;
        }
        match self.log.commit() {
            Ok(()) => {
                committed.extend(self.pending.drain(..));
                self.is_open = false;
            }
            Err(LogError::Retry(_)) => {}
            Err(_) => self.drop_transaction(),
        }
    }

    fn drop_transaction(&mut self) {
        let _ = self.log.abort();
        self.pending.clear();
        self.is_open = false;
    }
}

fn read(log: &mut MemoryLog, max: usize, seen: &mut Vec<(u32, i64, u64)>) {
    log.poll(std::time::Duration::ZERO, max, &mut |_, partition, record| {
        let value = record
            .value
            .and_then(|value| value.try_into().ok())
            .map_or(u64::MAX, u64::from_be_bytes);
        seen.push((partition, record.offset, value));
        true
    })
    .expect("no faults");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_reader_sees_what_was_committed_once_and_in_order(steps in vec(write(), 0..200)) {
        let cluster = cluster();
        cluster.create_topic("t", 2, TopicOptions { compact: true, ..TopicOptions::default() }).expect("a new topic");
        let mut reader = joined(dynamic(&cluster, "reader"), "t");
        let mut writers: Vec<Writer> = (0..WRITERS).map(|index| Writer::new(&cluster, index)).collect();
        let mut committed = BTreeSet::new();
        let mut seen = Vec::new();
        let mut now = START;
        for (number, step) in (0_u64..).zip(steps) {
            match step {
                Write::Send { writer, partition } => writers[writer].send(partition, number),
                Write::Commit(writer) => writers[writer].commit(&mut committed),
                Write::Abort(writer) => writers[writer].drop_transaction(),
                Write::Restart(writer) => writers[writer] = Writer::new(&cluster, writer),
                Write::Service { partition } => {
                    let bytes = number.to_be_bytes();
                    cluster.produce("t", partition, Some(&bytes), Some(&bytes), now).expect("it exists");
                    committed.insert((partition, number));
                }
                Write::Delay { millis } => {
                    cluster.delay_markers(MarkerDelay { partitions: Span::millis(millis), offsets: Span::ZERO });
                }
                Write::Tick { millis } => {
                    now = now.ahead(Span::millis(millis));
                    cluster.tick(now);
                }
                Write::Read { max } => read(&mut reader, max, &mut seen),
                // Keys are unique: compaction takes nothing but markers and aborted data.
                Write::Compact => cluster.compact("t").expect("it exists"),
            }
            let so_far: BTreeSet<_> = seen.iter().map(|(partition, _, number)| (*partition, *number)).collect();
            prop_assert!(so_far.is_subset(&committed), "read what nobody committed");
        }

        // Whatever is open times out, whatever is decided completes.
        for _ in 0..2 {
            now = now.ahead(Span::seconds(20));
            cluster.tick(now);
        }
        while { let before = seen.len(); read(&mut reader, 1_000, &mut seen); seen.len() > before } {}

        let all: BTreeSet<_> = seen.iter().map(|(partition, _, number)| (*partition, *number)).collect();
        prop_assert_eq!(all.len(), seen.len(), "nothing twice");
        prop_assert_eq!(&all, &committed, "nothing missing");
        for partition in 0..2 {
            let offsets: Vec<i64> = seen.iter().filter(|it| it.0 == partition).map(|it| it.1).collect();
            prop_assert!(offsets.is_sorted());
            let end = cluster.log_end("t", partition).expect("it exists");
            prop_assert_eq!(cluster.last_stable_offset("t", partition), Ok(end));
            let position = reader.positions(&[at("t", partition)]).expect("no faults")[0];
            prop_assert_eq!(position, Some(end), "the position passes everything");
        }
    }
}
