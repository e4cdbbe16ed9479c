//! What is refused for want of a right is named, by operation and resource.

use std::sync::Mutex;

use super::*;
use crate::common::acls::revoke;

/// All documented rights but one.
struct Case {
    user: String,
    lacks: Acl,
}

impl Case {
    /// How the right is called.
    fn right(&self) -> String {
        format!(
            "{} on {} `{}",
            self.lacks.operation, self.lacks.resource, self.lacks.name
        )
    }

    /// Without it the application runs, and complains.
    fn can_be_done_without(&self) -> bool {
        matches!(self.lacks.operation.as_str(), "DELETE" | "DESCRIBE_CONFIGS")
    }

    fn is_named_alone(&self, said: &str) {
        // Groups of the other cases come and go beside it, and their topics are theirs.
        let of_others =
            |line: &str| line.contains("lag is not known there") && !line.contains(&format!("`{}-", self.user));
        let complaints = said
            .lines()
            .filter(|line| line.contains("not authorised") && !of_others(line));
        let complaints: Vec<&str> = complaints.collect();
        assert!(!complaints.is_empty(), "{} is named: {said}", self.right());
        for complaint in complaints {
            assert!(
                complaint.contains(&self.right()),
                "only {} is named: {complaint}",
                self.right()
            );
            assert_eq!(
                complaint.matches(" on ").count(),
                1,
                "nothing else is named: {complaint}"
            );
        }
    }
}

#[test]
fn each_missing_right_is_named_by_run_and_by_check() {
    let _turn = my_turn();
    let folder = folder();
    let cases: Vec<Case> = (0..documented("x", "x").len())
        .map(|number| {
            let user = format!("lacks{number}");
            let lacks = documented(&user, &user).remove(number);
            Case { user, lacks }
        })
        .collect();
    let users: Vec<&str> = cases.iter().map(|case| case.user.as_str()).collect();
    let secured = Secured::start(&users, &[]);
    secured.kafka.create_topic(ORDERS, 2, &[]);
    write(&secured.kafka, "any", 4);
    for case in &cases {
        let mut acls = documented(&case.user, &case.user);
        acls.retain(|acl| *acl != case.lacks);
        grant(&secured.kafka.bootstrap(), &acls);
    }
    let waiting = Mutex::new(cases.iter());
    let next = || waiting.lock().expect("nobody panicked").next();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(case) = next() {
                    let began = Instant::now();
                    lacking(case, &secured, folder.path());
                    eprintln!("{}: {:?}", case.right(), began.elapsed());
                }
            });
        }
    });
}

fn lacking(case: &Case, secured: &Secured, folder: &Path) {
    let settings = secured.login_as(&case.user, "PLAIN");
    let folder = folder.join(&case.user);
    std::fs::create_dir(&folder).expect("a folder");
    let application = application(&folder, secured, &case.user, "http://127.0.0.1:1", &settings);
    let mut instance = application.start("one");
    if case.can_be_done_without() {
        says(&mut instance, &case.right());
        eventually("it runs all the same", LIMIT, || instance.is_ready());
        instance.stop();
    } else {
        let (status, said) = instance.ends(LIMIT);
        assert_eq!(status.code(), Some(4), "without {}: {said}", case.right());
    }
    let said_by_run = instance.process().output();
    case.is_named_alone(&said_by_run);
    shows_no_password(&said_by_run, &[&case.user]);
    let output = check(&application.pipeline, &secured.login, &case.user, &settings);
    refused(&output, 5, &[&case.right()], &[&case.user]);
    case.is_named_alone(&said(&output));
}

#[test]
fn a_right_that_is_taken_from_a_running_application_stops_it_and_is_named() {
    let _turn = my_turn();
    let folder = folder();
    let taken = [
        ("READ", "topic", ORDERS),
        ("WRITE", "topic", "APP-gauge-repartition"),
        ("WRITE", "topic", "APP-gauge-changelog"),
        ("READ", "topic", "APP-otlp-metrics"),
        ("READ", "group", "APP-gauge"),
        ("WRITE", "transactional id", "APP-"),
    ];
    let users: Vec<String> = (0..taken.len()).map(|number| format!("loses{number}")).collect();
    let secured = Secured::start(&users.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    let bootstrap = secured.kafka.bootstrap();
    secured.kafka.create_topic(ORDERS, 2, &[]);
    let mut running: Vec<(Instance, Acl)> = Vec::new();
    for (user, (operation, resource, name)) in users.iter().zip(taken) {
        let acls = documented(user, user);
        grant(&bootstrap, &acls);
        let name = name.replacen("APP", user, 1);
        let acl = acls
            .into_iter()
            .find(|acl| (acl.operation.as_str(), acl.resource.as_str(), &acl.name) == (operation, resource, &name))
            .expect("a documented right");
        let folder = folder.path().join(user);
        std::fs::create_dir(&folder).expect("a folder");
        let settings = secured.login_as(user, "PLAIN");
        let application = application(&folder, &secured, user, "http://127.0.0.1:1", &settings);
        // Points of lag would wait in front of the others for a collector that is not there: nobody would read on.
        std::fs::write(&application.pipeline, PIPELINE.replace(LAG, "")).expect("a pipeline");
        running.push((application.start(user), acl));
    }
    for (instance, _) in &mut running {
        eventually("it is ready", LIMIT, || {
            instance.process().must_live();
            instance.is_ready()
        });
    }
    for (_, acl) in &running {
        revoke(&bootstrap, acl);
    }
    write(&secured.kafka, "any", 4);
    for (instance, acl) in &mut running {
        let right = format!("{} on {} `{}", acl.operation, acl.resource, acl.name);
        let (status, said) = instance.ends(LIMIT);
        assert_eq!(status.code(), Some(4), "without {right}: {said}");
        // READ on a topic implies DESCRIBE, and a worker that only counts its partitions may be the first to miss that.
        let implied = format!("DESCRIBE on {} `{}`", acl.resource, acl.name);
        let named = said.contains(&right) || (acl.operation == "READ" && said.contains(&implied));
        assert!(named, "{right} is named: {said}");
    }
}
