//! Taps, logs and correlate tasks under a seeded schedule: which partition speaks next, what is packed together, when a
//! task seals, whether its transaction is committed, when it dies and is restored.

use super::*;

pub struct Random(pub u64);

impl Random {
    /// SplitMix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// One input partition: what it will say, in the order of its offsets.
struct Tap {
    topic: usize,
    partition: u32,
    said: Vec<Said>,
    next: usize,
    highest: Option<i64>,
}

/// One correlate partition with its topic, its changelog and its committed offset.
struct Partition {
    input: Vec<Vec<u8>>,
    changelog: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    committed: Option<i64>,
    task: CorrelateTask,
    next: i64,
    /// The watermark that was told last, by join.
    stated: BTreeMap<String, i64>,
}

pub struct World {
    random: Random,
    plan: Arc<Plan>,
    taps: Vec<Tap>,
    partitions: Vec<Partition>,
    /// What committed outputs told.
    pub found: BTreeMap<Series, Partial>,
    /// The frozen spans of committed outputs.
    pub outbox: Vec<Vec<u8>>,
    pub said: Vec<Said>,
    pub restores: u32,
}

const TAP_PARTITIONS: u32 = 2;

impl World {
    pub fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let said = conversations(&mut random);
        let taps = taps(&said, &mut random);
        let plan = Arc::new(plan());
        let partitions = (0..1 + random.below(3) as u32)
            .map(|partition| Partition {
                input: Vec::new(),
                changelog: Vec::new(),
                committed: None,
                task: open(&plan, partition, FRESH, &[]),
                next: 0,
                stated: BTreeMap::new(),
            })
            .collect();
        Self {
            random,
            plan,
            taps,
            partitions,
            found: BTreeMap::new(),
            outbox: Vec::new(),
            said,
            restores: 0,
        }
    }

    pub fn live(&mut self) {
        while self.taps.iter().any(|tap| tap.next < tap.said.len()) {
            match self.random.below(10) {
                0..=3 => self.speak(),
                4..=7 => self.deliver(),
                8 => self.seal(),
                _ if self.random.one_in(3) => self.die(),
                _ => {}
            }
        }
        // Everybody is far ahead now: all that is open ends.
        for tap in 0..self.taps.len() {
            self.send(tap, &[], Some(1_000_000_000_000));
        }
        for partition in 0..self.partitions.len() {
            while self.read(partition) {}
            self.commit(partition);
            if self.random.one_in(2) {
                self.restore(partition);
            }
            let left = [0, 1].map(|join| self.partitions[partition].task.join(join).entries());
            assert_eq!(left, [0, 0], "everything has ended");
        }
    }

    fn speak(&mut self) {
        let tap = self.random.below(self.taps.len() as u64) as usize;
        let tapped = &mut self.taps[tap];
        let until = (tapped.next + self.random.below(6) as usize).min(tapped.said.len());
        let said: Vec<Said> = tapped.said[tapped.next..until].to_vec();
        tapped.next = until;
        tapped.highest = tapped.highest.max(said.iter().map(|said| said.time).max());
        let watermark = tapped.highest.map(|highest| highest - OUT_OF_ORDER.as_micros());
        self.send(tap, &said, watermark);
    }

    fn send(&mut self, tap: usize, said: &[Said], watermark: Option<i64>) {
        let (topic, partition) = (self.taps[tap].topic, self.taps[tap].partition);
        let partitions = self.partitions.len() as u32;
        for (to, owner) in (0..).zip(&mut self.partitions) {
            let said: Vec<&Said> = said
                .iter()
                .filter(|said| key(said.key).partition(partitions) == to)
                .collect();
            let encoded = batch(topic, partition, &said, watermark).encode_to_vec();
            owner.input.push(Pack::of_encoded([encoded.as_slice()]));
        }
    }

    fn deliver(&mut self) {
        let partition = self.random.below(self.partitions.len() as u64) as usize;
        for _ in 0..self.random.below(8) {
            self.read(partition);
        }
    }

    fn read(&mut self, partition: usize) -> bool {
        let owner = &mut self.partitions[partition];
        let Some(value) = owner.input.get(owner.next as usize) else {
            return false;
        };
        let record = Record {
            offset: owner.next,
            key: None,
            value: Some(value),
            stamp: Stamp::None,
        };
        owner.task.accept(Input::Record(record)).expect("the record is taken");
        owner.next += 1;
        true
    }

    fn seal(&mut self) {
        let partition = self.random.below(self.partitions.len() as u64) as usize;
        if self.random.one_in(5) {
            // Sealed, and the transaction is not committed: as if it had never been.
            self.partitions[partition].task.seal();
            self.restore(partition);
        } else {
            self.commit(partition);
        }
    }

    fn commit(&mut self, partition: usize) {
        let owner = &mut self.partitions[partition];
        let Some(output) = owner.task.seal() else { return };
        assert_eq!(output.next, owner.next);
        for batch in told(&output) {
            let stated = owner.stated.get(&batch.topic).copied();
            let on_time = |end: i64| stated.is_none_or(|stated| end > stated);
            let partials = batch.metrics.iter().flat_map(|metric| &metric.partials);
            assert!(
                partials.map(|partial| partial.window_end).all(on_time),
                "nothing is told behind the watermark that was stated"
            );
        }
        for batch in told(&output) {
            owner
                .stated
                .extend(batch.watermark.map(|watermark| (batch.topic, watermark)));
        }
        partials(&output, &mut self.found);
        self.outbox.extend(output.outbox);
        owner.committed = Some(output.next);
        owner.changelog.extend(output.changelog);
    }

    fn die(&mut self) {
        let partition = self.random.below(self.partitions.len() as u64) as usize;
        self.restore(partition);
    }

    fn restore(&mut self, partition: usize) {
        self.restores += 1;
        let owner = &mut self.partitions[partition];
        if self.random.one_in(2) {
            compact(&mut owner.changelog);
        }
        let at = match owner.committed {
            None => FRESH,
            Some(offset) => Open::Resumed {
                offset,
                metadata: "",
                topic_id: [0; 16],
            },
        };
        owner.task = open(&self.plan, partition as u32, at, &owner.changelog);
        owner.next = owner.committed.unwrap_or(0);
    }
}

/// Leaves the newest record of each key, as the broker does some time.
pub fn compact(changelog: &mut Vec<(Vec<u8>, Option<Vec<u8>>)>) {
    let mut newest: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
    for (at, (key, _)) in changelog.iter().enumerate() {
        newest.insert(key.clone(), at);
    }
    let mut at = 0;
    changelog.retain(|(key, value)| {
        at += 1;
        newest[key] == at - 1 && value.is_some()
    });
}

pub fn open(plan: &Arc<Plan>, partition: u32, at: Open<'_>, changelog: &[(Vec<u8>, Option<Vec<u8>>)]) -> CorrelateTask {
    let options = CorrelateOptions {
        application: "app".into(),
        partitions: 3,
        max_entries: 1_000_000,
    };
    let mut task = CorrelateStage::new(Arc::clone(plan), options).task(partition, at);
    for (key, value) in changelog {
        let value = value.as_deref();
        task.accept(Input::Restore { key, value }).expect("we wrote it");
    }
    task.accept(Input::Restored).expect("state and offset agree");
    task.accept(Input::Partitions(&counts(TAP_PARTITIONS))).expect("taken");
    task
}

/// A few keys with requests, responses and tickets, in all sorts of orders, with times that often meet.
fn conversations(random: &mut Random) -> Vec<Said> {
    let mut said = Vec::new();
    let keys = 1 + random.below(6);
    let span = 1_000_000 * (20 + random.below(100));
    for _ in 0..20 + random.below(150) {
        let topic = random.below(3) as usize;
        let grain = [1, 500_000, 1_000_000][random.below(3) as usize];
        let text = match topic {
            NORMALIZED => ["email", "web", "whatsapp"][random.below(3) as usize],
            RESPONSES => ["red", "blue"][random.below(2) as usize],
            _ => ["low", "high"][random.below(2) as usize],
        };
        said.push(Said {
            topic,
            time: (random.below(span) / grain * grain) as i64,
            key: random.below(keys),
            text: text.to_owned(),
        });
    }
    said
}

/// Spreads the records over partitions, whatever their keys, in orders that `out_of_order` allows.
fn taps(said: &[Said], random: &mut Random) -> Vec<Tap> {
    let mut taps: Vec<Tap> = (0..TOPICS.len())
        .flat_map(|topic| (0..TAP_PARTITIONS).map(move |partition| (topic, partition)))
        .map(|(topic, partition)| Tap {
            topic,
            partition,
            said: Vec::new(),
            next: 0,
            highest: None,
        })
        .collect();
    let mut arriving: Vec<(i64, Said)> = said
        .iter()
        .map(|said| {
            (
                said.time + random.below(OUT_OF_ORDER.as_micros() as u64) as i64,
                said.clone(),
            )
        })
        .collect();
    arriving.sort();
    for (_, said) in arriving {
        let tap = said.topic * TAP_PARTITIONS as usize + random.below(TAP_PARTITIONS.into()) as usize;
        taps[tap].said.push(said);
    }
    taps
}
