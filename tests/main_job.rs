//! The promise: what receivers end up with is what the input says, whatever happens on the way.

mod common;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use common::chaos::{Event, System, support_pipeline};
use common::collector::Collector;
use common::joins::{self, NORMALIZED, RESPONSES, TERMS};
use common::kafka::{Kafka, Stored, Write};
use common::oracle::{self, Expected, RAW, TICKETS};
use common::points::{Id, Points};
use common::random::Random;
use common::traffic::{PARTITIONS, Traffic, clean, stamp, troubled};
use common::{eventually, folder, my_turn, now_micros, seed};
use streamgauge::cli::demo::simulator::SimulatorOptions;
use streamgauge::engine::time::Span;

/// A quiet topic waits as long as its latest record was late before it closes, and for the broker to be back; then messages
/// wait for their answers.
const SETTLE_LIMIT: Duration = Duration::from_secs(150);

/// What happens in one run.
struct Plan {
    records: usize,
    /// Records a second, on the average of a simulated day of one minute.
    rate: u32,
    /// No record is later than this, in seconds.
    latest: i64,
    /// Whether instances have names, and so take their partitions back when they are restarted.
    named: bool,
    events: Vec<Event>,
}

#[test]
fn totals_are_exact_whatever_is_killed() {
    let _turn = my_turn();
    let mut events = vec![Event::Kill; 9];
    events.extend([
        Event::KillTwice,
        Event::KillAll,
        Event::Stop,
        Event::Pause,
        Event::Collector,
        Event::Broker,
    ]);
    run(
        seed(1),
        Plan {
            records: 310_000,
            rate: 2_600,
            latest: 12,
            named: true,
            events,
        },
    );
}

#[test]
fn totals_are_exact_with_other_seeds_too() {
    let _turn = my_turn();
    let events = vec![Event::Kill, Event::KillTwice, Event::Pause];
    run(
        seed(20),
        Plan {
            records: 30_000,
            rate: 900,
            latest: 10,
            named: true,
            events,
        },
    );
}

#[test]
fn totals_are_exact_also_without_names() {
    let _turn = my_turn();
    let events = vec![Event::Kill, Event::Pause, Event::Broker, Event::Stop];
    run(
        seed(30),
        Plan {
            records: 40_000,
            rate: 900,
            latest: 10,
            named: false,
            events,
        },
    );
}

fn run(seed: u64, plan: Plan) {
    eprintln!(
        "--- seed {seed}: {} records, {} events",
        plan.records,
        plan.events.len()
    );
    let folder = folder();
    let mut system = System::new(folder.path(), &support_pipeline(folder.path()));
    system.application.named = plan.named;
    system.start(&["one", "two", "three"]);
    let writer = system.kafka.writer();
    let mut traffic = Traffic::new(seed, troubled(plan.rate, plan.latest));
    let began = Instant::now();
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| traffic.write(&writer, plan.records));
        let mut random = Random::new(seed);
        let mut events = plan.events.clone();
        while !events.is_empty() {
            std::thread::sleep(Duration::from_millis(random.below(7_000)));
            let event = events.swap_remove(random.below(events.len() as u64) as usize);
            eprintln!("{:6.1} s: {event:?}", began.elapsed().as_secs_f64());
            system.suffer(event, &mut random);
            system.audit_at_any_time();
        }
        writing.join().expect("everything is written");
    });
    eprintln!("{:6.1} s: everything is written", began.elapsed().as_secs_f64());
    let expected = Expected::of(&system.input());
    assert_eq!(
        expected.records,
        i64::try_from(plan.records).expect("small"),
        "the log has what was written, once"
    );
    assert_eq!(
        expected.outcomes(),
        traffic.meant,
        "the oracle reads what the simulator meant"
    );
    settle(&expected, &mut system);
    eprintln!("{:6.1} s: totals are there", began.elapsed().as_secs_f64());
    for instance in &mut system.instances {
        instance.process().must_live();
    }
    system.stop();
    system.start(&["four"]);
    eventually("a new instance takes over", Duration::from_secs(60), || {
        system.instances[3].is_ready()
    });
    system.instances[3].stop();
    let mut differences = expected.joined.differences(system.collector.spans());
    let spans = system.collector.spans();
    let (traces, copies) = (spans.traces.len(), spans.received);
    let points = system.collector.points();
    differences.extend(expected.differences(points));
    assert!(
        differences.is_empty(),
        "after everything stopped:\n{}",
        differences.join("\n")
    );
    check_promises(points);
    if plan.named {
        check_processes(points, &["one", "two", "three"]);
    }
    let (code, said) = system.application.audit();
    assert_eq!(code, Some(0), "{said}");
    eprintln!(
        "{:6.1} s: {} records, {} kills, {} points in {} series, {} late; {} conversations, {traces} traces, {copies} spans",
        began.elapsed().as_secs_f64(),
        expected.records,
        system.kills,
        points.series.values().map(|series| series.points.len()).sum::<usize>(),
        points.series.len(),
        points.sum(oracle::LATE),
        expected.joined.conversations.len(),
    );
    let total = |name: &str| (name.to_owned(), expected.total(name));
    let joined: Vec<(String, i64)> = oracle::JOINED.into_iter().map(total).collect();
    assert!(
        joined.iter().all(|(_, count)| *count > 0),
        "there is some of each: {joined:?}"
    );
}

/// Waits until the collector has exactly what the oracle says.
fn settle(expected: &Expected, system: &mut System) {
    let began = Instant::now();
    eventually("the totals", SETTLE_LIMIT, || {
        let mut differences = expected.differences(system.collector.points());
        if differences.is_empty() {
            differences = expected.joined.differences(system.collector.spans());
        }
        if differences.is_empty() {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(400));
        let standing = match began.elapsed() > SETTLE_LIMIT {
            true => system.standing(),
            false => String::new(),
        };
        Err(format!(
            "{} differences:\n{}\n{standing}",
            differences.len(),
            differences.join("\n")
        ))
    });
}

/// What each process said of itself, beside the pipeline's series and under a resource of its own.
fn check_processes(points: &Points, names: &[&str]) {
    for name in names {
        let of = |metric: &str, labels: &[(&str, &str)]| -> f64 {
            let meant = |id: &&Id| {
                id.name == metric
                    && id.resource.get("service.instance.id").map(String::as_str) == Some(*name)
                    && labels
                        .iter()
                        .all(|(key, value)| id.attributes.get(*key).map(String::as_str) == Some(*value))
            };
            let ids = points.processes.keys().filter(meant);
            ids.filter_map(|id| points.processes[id].last())
                .map(|value| value.number())
                .sum()
        };
        assert!(
            of("streamgauge_transactions_total", &[("result", "committed")]) > 0.0,
            "{name} commits"
        );
        assert!(
            of("streamgauge_commit_duration_seconds", &[]) > 0.0,
            "{name} says how long that takes"
        );
        assert!(
            of("streamgauge_process_cpu_seconds_total", &[]) > 0.0,
            "{name} uses CPU"
        );
        let memory = of("streamgauge_process_resident_memory_bytes", &[]);
        assert!((1e6..1e9).contains(&memory), "{name} is {memory} bytes large");
    }
}

/// What holds for every series, whatever the input was.
fn check_promises(points: &Points) {
    let faults = points.faults();
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn catching_up_on_partitions_an_hour_apart_loses_nothing_and_closes_no_window_early() {
    let _turn = my_turn();
    const HOUR: i64 = 3_600_000_000;
    const RECORDS: usize = 40_000;
    let folder = folder();
    let mut system = System::new(folder.path(), &support_pipeline(folder.path()));
    let writer = system.kafka.writer();
    let seed = seed(7);
    let now = now_micros();
    for partition in 0..PARTITIONS {
        // Fifty minutes of records, out of order by up to three seconds.
        let start = now - (i64::from(PARTITIONS) - i64::from(partition)) * HOUR;
        let options = SimulatorOptions {
            day: Span::seconds(3_000),
            ..clean(start, RECORDS as u32 / 3_000)
        };
        Traffic::new(seed + u64::from(partition), options).write_past(&writer, partition, RECORDS);
    }
    let expected = Expected::of(&system.input());
    assert_eq!(
        expected.outcomes(),
        [("counted", (RECORDS * PARTITIONS as usize) as i64)].into()
    );
    system.start(&["one", "two"]);
    let mut random = Random::new(seed);
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(random.between(700, 2_500)));
        system.suffer(Event::KillTwice, &mut random);
    }
    settle(&expected, &mut system);
    system.stop();
    let points = system.collector.points();
    assert_eq!(
        points.sum(oracle::LATE),
        0,
        "nothing was late: {:?}",
        points.counts(oracle::LATE)
    );
    check_promises(points);
    assert_eq!(system.application.audit().0, Some(0));
}

#[test]
fn the_last_window_of_a_quiet_topic_is_shown_in_time() {
    let _turn = my_turn();
    let folder = folder();
    let mut system = System::new(folder.path(), &support_pipeline(folder.path()));
    system.start(&["one"]);
    eventually("ready", Duration::from_secs(60), || system.instances[0].is_ready());
    let writer = system.kafka.writer();
    // The topic's own delay: two seconds from an event to its record.
    let options = SimulatorOptions {
        disorder: Span::seconds(2),
        ..clean(now_micros(), 400)
    };
    Traffic::new(seed(3), options).write(&writer, 2_000);
    let quiet_since = Instant::now();
    let expected = Expected::of(&system.input());
    eventually("the totals", SETTLE_LIMIT, || {
        let differences = expected.plain_differences(system.collector.points());
        if differences.is_empty() {
            Ok(())
        } else {
            Err(differences.join("\n"))
        }
    });
    let took = quiet_since.elapsed();
    // idle_after, out_of_order, the delay, the window, and three seconds.
    let limit = Duration::from_secs(5 + 5 + 2 + 10 + 3);
    eprintln!("the last window was shown {took:?} after the last record");
    assert!(took <= limit, "the last window took {took:?}, more than {limit:?}");
    settle(&expected, &mut system);
    let took = quiet_since.elapsed();
    eprintln!("the last message without an answer was shown {took:?} after the last record");
    // Until the bound, and through one stage more than a count goes through.
    let limit = limit + Duration::from_micros(TERMS.within.unsigned_abs()) + Duration::from_secs(4);
    assert!(
        took <= limit,
        "the last conversation took {took:?}, more than {limit:?}"
    );
    assert_eq!(system.collector.points().sum(oracle::LATE), 0);
    system.stop();
}

#[test]
fn a_hundred_thousand_live_series_are_restored_in_seconds() {
    let _turn = my_turn();
    const SERIES: usize = 100_000;
    let folder = folder();
    let kafka = Kafka::start();
    let mut collector = Collector::start(folder.path());
    kafka.create_topic("visits", PARTITIONS, &[]);
    let pipeline = folder.path().join("visits.yaml");
    std::fs::write(
        &pipeline,
        "pipeline: visits\n\
         sources:\n  visits: { topic: visits, time: /timestamp, idle_after: 1s, out_of_order: 1s }\n\
         metrics:\n  visits_total:\n    count: visits\n    labels: { visitor: /visitor }\n    window: 1s\n    max_series: 40000\n",
    )
    .expect("a pipeline");
    let application =
        common::instance::Application::new(folder.path(), &pipeline, &kafka.bootstrap(), &collector.endpoint());
    let mut instance = application.start("one");
    let writer = kafka.writer();
    let visit = |visitor: usize| Write {
        topic: "visits".to_owned(),
        partition: visitor as u32 % PARTITIONS,
        value: Some(
            format!(
                r#"{{"timestamp": "{}", "visitor": "visitor-{visitor}"}}"#,
                stamp(now_micros())
            )
            .into_bytes(),
        ),
        ..Write::default()
    };
    (0..SERIES).for_each(|visitor| writer.write(&visit(visitor)));
    writer.flush();
    let shown = |collector: &mut Collector, count: usize| {
        let points = collector.points();
        let (series, sum) = (points.counts("visits_total").len(), points.sum("visits_total"));
        if (series, sum) == (SERIES, count as i64) {
            Ok(())
        } else {
            Err(format!("{series} series, {sum} visits"))
        }
    };
    eventually("every series is shown", Duration::from_secs(120), || {
        shown(&mut collector, SERIES)
    });
    instance.kill();
    let group = format!("{}-gauge", application.id);
    let topic = format!("{}-gauge-repartition", application.id);
    let offsets = || {
        kafka
            .committed(&group, &topic)
            .into_iter()
            .map(|commit| commit.map_or(-1, |(offset, _)| offset))
    };
    let before: Vec<i64> = offsets().collect();
    let began = Instant::now();
    instance.resume();
    // A gauge partition commits only with its state in place.
    eventually("the state is back", Duration::from_secs(60), || {
        let now: Vec<i64> = offsets().collect();
        if now.iter().zip(&before).all(|(now, before)| now > before) {
            Ok(())
        } else {
            Err(format!("{before:?}, {now:?}"))
        }
    });
    let took = began.elapsed();
    eprintln!("{SERIES} live series restored {took:?} after the start of the process");
    (0..SERIES)
        .step_by(100)
        .for_each(|visitor| writer.write(&visit(visitor)));
    writer.flush();
    eventually("counting goes on", Duration::from_secs(60), || {
        shown(&mut collector, SERIES + SERIES / 100)
    });
    check_promises(collector.points());
    instance.stop();
    assert!(took < Duration::from_secs(10), "restoring took {took:?}");
}

#[test]
fn a_record_of_raw_is_counted_by_its_channel() {
    // The oracle itself, on one record that can be checked by eye.
    let value =
        r#"{"event_id": "1", "timestamp": "2026-11-22T14:00:00.25", "producer_id": "p", "data": {"channel": "email"}}"#;
    let record = stored(RAW, 0, value);
    let expected = Expected::of(&[record]);
    assert_eq!(
        expected.of_counter(oracle::MESSAGES),
        [(oracle::labels(&[("channel_type", "email")]), 1)].into()
    );
    assert_eq!(expected.total(oracle::BYTES), value.len() as i64);
    let latency = expected.latencies.values().next().expect("one");
    assert_eq!((latency.count, latency.sum_micros, latency.buckets[4]), (1, 100_000, 1));
}

#[test]
fn an_answer_is_timed_and_a_ticket_looked_up_by_the_message_before() {
    // The same, of what needs more than one record.
    let at = |second: u32, rest: &str| format!(r#"{{"timestamp": "2026-11-22T14:00:{second:02}", {rest}}}"#);
    let message = |id: &str, second: u32, channel: &str| {
        let content = format!(r#"{{"customer_id": "c", "channel": "{channel}"}}"#);
        at(
            second,
            &format!(r#""data": {{"correlation_id": "{id}", "normalized_content": {content}}}"#),
        )
    };
    let answer = |id: &str, second: u32| {
        at(
            second,
            &format!(r#""data": {{"correlation_id": "{id}", "response": {{"channel": "sms"}}}}"#),
        )
    };
    let ticket = r#""event_type": "ticket_created", "data": {"ticket_data": {"customer_id": "c", "priority": "low"}}"#;
    let expected = Expected::of(&[
        stored(RESPONSES, 0, &answer("a", 4)),
        stored(RESPONSES, 1, &answer("a", 3)),
        stored(RESPONSES, 2, &answer("nobody", 3)),
        stored(NORMALIZED, 0, &message("a", 1, "email")),
        stored(NORMALIZED, 1, &message("b", 5, "whatsapp")),
        stored(TICKETS, 0, &at(4, ticket)),
    ]);
    let labels = |pairs: &[(&str, &str)]| oracle::labels(pairs);
    let email = labels(&[("channel_type", "email")]);
    assert_eq!(expected.joined.times, [(email, vec![2_000_000])].into());
    assert_eq!(expected.total(joins::SECOND), 1);
    let whatsapp = labels(&[("channel_type", "whatsapp")]);
    assert_eq!(expected.of_counter(joins::UNANSWERED), [(whatsapp, 1)].into());
    let sms = labels(&[("channel_type", "sms")]);
    assert_eq!(expected.of_counter(joins::UNMATCHED), [(sms, 1)].into());
    let looked_up = labels(&[("channel_type", "email"), ("priority", "low")]);
    assert_eq!(expected.of_counter(oracle::CREATED), [(looked_up, 1)].into());
    assert_eq!(expected.joined.conversations.len(), 2);
}

/// A record of 14:00 on 2026-11-22, stamped by the broker.
fn stored(topic: &str, offset: i64, value: &str) -> Stored {
    Stored {
        topic: topic.to_owned(),
        partition: 0,
        offset,
        key: None,
        value: Some(value.as_bytes().to_vec()),
        timestamp: 1_795_356_000_350,
        appended: true,
        headers: HashMap::default(),
    }
}
