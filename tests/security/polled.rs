//! Where `__consumer_offsets` may not be read, groups are polled, with the rights that the documentation lists and no others.

use super::*;
use crate::common::points::Id;

/// What the pipeline leaves open is decided by the rights.
const AUTO: &str = "lag: { every: 1s }\n";

#[test]
fn without_the_offsets_topic_groups_are_polled_with_the_documented_rights_and_the_missing_one_is_named() {
    let _turn = my_turn();
    let folder = folder();
    let secured = Secured::start(&["polls"], &[]);
    let (kafka, bootstrap) = (&secured.kafka, secured.kafka.bootstrap());
    kafka.create_topic(ORDERS, 2, &[]);
    write(kafka, "any", 10);
    kafka.reset("reader", ORDERS, 0, 2);
    let mut acls = documented("shop", "polls");
    acls.retain(|acl| acl.name != "__consumer_offsets" && acl.name != "shop-lag-changelog");
    let of_polls = rights_of("### Without `__consumer_offsets`", "shop", "polls");
    assert_eq!(of_polls.len(), 5, "the table is there: {of_polls:?}");
    acls.extend(of_polls);
    grant(&bootstrap, &acls);
    let mut collector = Collector::start(folder.path());
    let settings = secured.login_as("polls", "PLAIN");
    let application = application(folder.path(), &secured, "shop", &collector.endpoint(), &settings);
    std::fs::write(&application.pipeline, PIPELINE.replace(LAG, AUTO)).expect("a pipeline");

    let output = check(&application.pipeline, &secured.login, "shop", &settings);
    let parts = ["READ on topic `__consumer_offsets`", "shop-lag-polled"];
    refused(&output, 0, &parts, &["polls"]);

    let mut instance = application.start("one");
    says(&mut instance, "READ on topic `__consumer_offsets`");
    let lag_is = |collector: &mut Collector, lag: i64| {
        eventually(&format!("a lag of {lag}"), LIMIT, || {
            // What is polled has another scope than what is read: the newer one counts.
            let of_reader = |id: &Id| id.attributes["consumer_group"] == "reader" && id.attributes["partition"] == "0";
            let points = collector.points();
            let series = points.of("kafka_consumer_lag").filter(|(id, _)| of_reader(id));
            let newest = series
                .flat_map(|(_, series)| &series.points)
                .max_by_key(|point| point.time);
            match newest.and_then(|point| point.value.as_ref()) {
                Some(value) if value.integer() == lag => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    };
    let end = kafka.ends(ORDERS)[0].1;
    lag_is(&mut collector, end - 2);
    kafka.reset("reader", ORDERS, 0, 3);
    lag_is(&mut collector, end - 3);
    instance.stop();
    shows_no_password(&instance.process().output(), &["polls"]);

    // With the right it goes on as it was, until somebody decides otherwise.
    let granted = documented("shop", "polls");
    grant(&bootstrap, &granted);
    instance.resume();
    says(&mut instance, "set `from: offsets`");
    kafka.reset("reader", ORDERS, 0, 4);
    lag_is(&mut collector, end - 4);
    instance.stop();
    std::fs::write(&application.pipeline, PIPELINE).expect("a pipeline");
    instance.resume();
    kafka.reset("reader", ORDERS, 0, 5);
    lag_is(&mut collector, end - 5);
    instance.stop();
    assert_eq!(collector.points().faults(), Vec::<String>::new());
}
