//! What must come out, told from all records at once: for each key its events in order, looking ahead.

use super::*;

/// Start, end and children of a trace.
pub type Trace = (i64, i64, usize);

/// Every series and every trace that the records make.
pub fn expected(said: &[Said]) -> (BTreeMap<Series, Partial>, Vec<Trace>) {
    let mut found = Found(BTreeMap::new(), Vec::new());
    let mut by_key: BTreeMap<u64, Vec<&Said>> = BTreeMap::new();
    for said in said {
        by_key.entry(said.key).or_default().push(said);
    }
    for events in by_key.values_mut() {
        events.sort_by_key(|said| (said.time, said.topic, carried(said)));
        let conversation: Vec<&Said> = events.iter().filter(|said| said.topic != TICKETS).copied().collect();
        let steps: Vec<i64> = events
            .iter()
            .filter(|said| said.topic == TICKETS)
            .map(|said| said.time)
            .collect();
        converse(&conversation, &steps, &mut found);
        look_up(events, &mut found);
    }
    found.1.sort_unstable();
    (found.0, found.1)
}

/// What breaks ties: the text as it is carried.
fn carried(said: &Said) -> SeriesKey {
    SeriesKey::of([said.text.as_str()])
}

struct Found(BTreeMap<Series, Partial>, Vec<Trace>);

impl Found {
    fn add(&mut self, metric: usize, labels: &[&str], time: i64, amount: i64) {
        let kind = plan().metrics[metric].kind.clone();
        let WindowEnd(EventTime(end)) = WindowSize::DEFAULT.window_of(EventTime(T0 + time));
        let labels = labels.iter().map(|label| (*label).to_owned()).collect();
        let partial = self
            .0
            .entry((metric, labels, (end - T0) / 1_000_000))
            .or_insert_with(|| Partial::empty(&kind));
        match kind {
            Kind::Count => partial.add_count(amount as u64),
            _ => partial.observe(amount, &kind),
        }
    }
}

/// Requests and responses of one key, and when it had steps.
fn converse(events: &[&Said], steps: &[i64], found: &mut Found) {
    let mut rest = events;
    while let Some((first, after)) = rest.split_first() {
        let bound = if first.topic == NORMALIZED { WITHIN } else { SKEW };
        let bound = first.time + bound.as_micros();
        // The same side goes on until the other one comes, or until the bound.
        let same = after
            .iter()
            .take_while(|said| said.time <= bound && said.topic == first.topic)
            .count();
        let other = after.get(same).filter(|said| said.time <= bound);
        if first.topic == NORMALIZED {
            for duplicate in &after[..same] {
                found.add(DUPLICATE, &[&duplicate.text, "none"], duplicate.time, 1);
            }
        }
        let Some(other) = other else {
            if first.topic == NORMALIZED {
                found.add(UNANSWERED, &[&first.text, "none"], bound, 1);
                found.add(JOURNEYS, &["conversations", "unanswered", "sampled"], bound, 1);
                let steps = steps.iter().filter(|step| (first.time..=bound).contains(step));
                found.1.push((first.time, bound, 1 + steps.count()));
            } else {
                found.add(UNMATCHED, &["none", &first.text], bound, same as i64 + 1);
            }
            rest = &after[same..];
            continue;
        };
        let request = if first.topic == NORMALIZED {
            let steps = steps.iter().filter(|step| (first.time..=other.time).contains(step));
            found.1.push((first.time, other.time, 2 + steps.count()));
            found.add(
                RESPONSE_TIME,
                &[&first.text, &other.text],
                other.time,
                other.time - first.time,
            );
            first
        } else {
            found.1.push((first.time, other.time, 2));
            found.add(NEGATIVE, &[&other.text, &first.text], other.time, 1);
            if same > 0 {
                found.add(SECOND, &[&other.text, &first.text], other.time, same as i64);
            }
            other
        };
        found.add(JOURNEYS, &["conversations", "answered", "sampled"], other.time, 1);
        rest = &after[same + 1..];
        let known_until = other.time + FORGET.as_micros();
        while let Some((next, after)) = rest.split_first().filter(|(next, _)| next.time <= known_until) {
            if next.topic == NORMALIZED {
                found.add(DUPLICATE, &[&next.text, "none"], next.time, 1);
            } else {
                found.add(SECOND, &[&request.text, &next.text], next.time, 1);
            }
            rest = after;
        }
    }
}

/// Tickets of one key, each with the newest channel at its time.
fn look_up(events: &[&Said], found: &mut Found) {
    for ticket in events.iter().filter(|said| said.topic == TICKETS) {
        let newest = events
            .iter()
            .filter(|said| said.topic == NORMALIZED && said.time <= ticket.time)
            .filter(|said| ticket.time - said.time <= VALUE_WITHIN.as_micros())
            .max_by_key(|said| (said.time, carried(said)));
        let channel = newest.map_or("unknown", |said| said.text.as_str());
        found.add(TICKETS_CREATED, &[&ticket.text, channel, "eu"], ticket.time, 1);
    }
}
