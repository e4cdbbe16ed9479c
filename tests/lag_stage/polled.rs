//! Where groups are polled by the Admin API, what is shown is what Kafka's own tool says, as it is where their topic is read.

use super::*;

const POLLED: &str = "{ from: admin, every: 1s }\n";

#[test]
fn groups_that_are_polled_have_the_lag_that_kafkas_own_tool_says_and_end_with_it() {
    let _turn = my_turn();
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, PARTITIONS, &[]);
    groups::fill(&kafka, 20);
    let classic = groups::classic(&kafka, "classic", 7);
    let _modern = groups::modern(&kafka, "modern", TOPIC, 9);
    groups::commit_by_hand(&kafka, "by-hand", 2, 11, "");
    groups::commit_by_hand(&kafka, "a\"quoted\"\u{1f600}", 1, 19, "");
    groups::exactly_once(&kafka, "eos", 5, 19);
    let mut system = System::of(kafka, POLLED);
    let mut instance = system.application.start("one");
    quiet(&mut system);
    let states = system.states("kafka_consumer_group_state", "state");
    let members = system.values("kafka_consumer_group_members");
    for (name, count, state) in [
        ("classic", 1.0, "stable"),
        ("modern", 1.0, "stable"),
        ("by-hand", 0.0, "empty"),
    ] {
        let group = Attributes::from([("consumer_group".to_owned(), name.to_owned())]);
        assert_eq!(states[&group], state, "{name}");
        assert_eq!(members[&(name.to_owned(), String::new(), 0)], count, "{name}");
    }
    let scopes = system.collector.points().clone();
    let marks = scopes.of("kafka_consumer_lag").map(|(id, _)| &id.scope);
    let expected = Attributes::from([("streamgauge.lag.from".to_owned(), "admin".to_owned())]);
    assert!(marks.into_iter().all(|scope| *scope == expected), "{scopes:?}");

    // What moves is seen, and so is what ends.
    groups::commit(&classic, &[0, 1, 2], 12);
    quiet(&mut system);
    drop(classic);
    delete(&system.kafka, "classic");
    eventually("its series are ended", SOON, || {
        let points = system.collector.points();
        let alive = points.series.iter().filter(|(id, series)| {
            id.attributes
                .get("consumer_group")
                .is_some_and(|group| group == "classic")
                && series.last().is_some()
        });
        let alive: Vec<&str> = alive.map(|(id, _)| id.name.as_str()).collect();
        if alive.is_empty() {
            Ok(())
        } else {
            Err(format!("{alive:?}"))
        }
    });
    quiet(&mut system);
    assert_eq!(system.collector.points().faults(), Vec::<String>::new());
    instance.stop();
    let (code, said) = system.application.audit();
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("watcher-lag-polled/0"), "{said}");
}

#[test]
fn another_instance_polls_when_one_is_killed_and_under_load_no_value_lies_beyond_what_kafkas_tool_allows() {
    let _turn = my_turn();
    let kafka = Kafka::start();
    kafka.create_topic(TOPIC, PARTITIONS, &[]);
    groups::fill(&kafka, 20);
    let mut system = System::of(kafka, POLLED);
    let mut instances = [system.application.start("one"), system.application.start("two")];
    let load = Load::of_three(&mut system);
    let mut compared = round(&mut system);
    // The one that polls owns the first partition.
    let owner = eventually("who polls", SOON, || {
        let told = system.kafka.tool(
            "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
            &["--describe", "--group", "watcher-lag"],
        );
        let row = told.lines().find(|line| {
            let cells: Vec<&str> = line.split_whitespace().collect();
            cells.get(1) == Some(&"watcher-lag-polled") && cells.get(2) == Some(&"0")
        });
        let of = |name: &str| row.is_some_and(|row| row.contains(&format!("{name}-0")));
        instances
            .iter()
            .position(|instance| of(&instance.name))
            .ok_or_else(|| told.clone())
    });
    instances[owner].kill();
    compared += round(&mut system);
    instances[owner].resume();
    compared += round(&mut system);
    drop(load);
    quiet(&mut system);
    three_rounds_held(&mut system, compared);
    instances.iter_mut().for_each(Instance::stop);
}
