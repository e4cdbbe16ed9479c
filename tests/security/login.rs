//! Who is not let in hears which setting to look at, and nobody hears the secret.

use super::*;
use crate::common::secured::Authority;

#[test]
fn a_login_that_is_not_accepted_names_the_setting_within_seconds() {
    let _turn = my_turn();
    let folder = folder();
    let secured = Secured::start(&["plain", "other"], &["scram"]);
    let pipeline = pipeline(folder.path());
    let at = |bootstrap: &str, settings: &[String]| check(&pipeline, bootstrap, "shop", settings);
    let instead = |settings: &[String], key: &str, value: String| -> Vec<String> {
        let mut settings: Vec<String> = settings
            .iter()
            .filter(|setting| !setting.starts_with(&format!("{key}=")))
            .cloned()
            .collect();
        settings.push(format!("{key}={value}"));
        settings
    };
    let all = ["plain", "other", "scram"];

    // Another user's password, so that both would be seen.
    let _ = secured.login_as("other", "PLAIN");
    let other = |user: &str, mechanism: &str| {
        let file = secured.file("wrong.password", &password("other"));
        instead(
            &secured.login_as(user, mechanism),
            "sasl.password",
            format!("${{file:{}}}", file.display()),
        )
    };
    for (user, mechanism) in [("plain", "PLAIN"), ("scram", "SCRAM-SHA-512")] {
        let output = at(&secured.login, &other(user, mechanism));
        refused(&output, 5, &["sasl.password", &secured.login], &all);
    }
    let wrong = other("scram", "SCRAM-SHA-512");
    let began = Instant::now();
    refused(&audit(&secured.login, "shop", &wrong), 5, &["sasl.password"], &all);
    assert!(began.elapsed() < SOON, "audit took {:?}", began.elapsed());
    // `run` waits for the brokers, and says what for.
    let mut waiting = application(folder.path(), &secured, "shop", "http://127.0.0.1:1", &wrong).start("one");
    says(&mut waiting, "sasl.password");
    waiting.process().must_live();
    waiting.stop();
    shows_no_password(&waiting.process().output(), &all);

    let plain = secured.login_as("plain", "PLAIN");
    let mechanism = instead(&plain, "sasl.mechanism", "SCRAM-SHA-256".to_owned());
    refused(&at(&secured.login, &mechanism), 5, &["sasl.mechanism"], &all);

    let stranger = secured.file("stranger.pem", &Authority::new().pem);
    let unknown = instead(&plain, "ssl.ca.location", stranger.display().to_string());
    refused(&at(&secured.login, &unknown), 5, &["ssl.ca.location"], &all);
    let own = secured.kafka.bootstrap();
    refused(&at(&secured.login, &[]), 5, &["security.protocol"], &all);
    refused(&at(&own, &plain), 5, &["security.protocol"], &all);
    refused(&at(&secured.certificate, &plain), 5, &["security.protocol"], &all);
    let anonymous = ["security.protocol=SSL".to_owned(), secured.trust()];
    refused(
        &at(&secured.certificate, &anonymous),
        5,
        &["ssl.certificate.location"],
        &all,
    );

    // What can be seen without the brokers is a wrong setting.
    let nowhere = instead(&plain, "ssl.ca.location", "/nowhere/ca.pem".to_owned());
    refused(&at(&secured.login, &nowhere), 2, &["ssl.ca.location"], &all);
    let misplaced = format!(
        "${{file:{}}}",
        secured.file("plain.password", &password("plain")).display()
    );
    let misplaced = instead(&plain, "security.protocol", misplaced);
    refused(
        &at(&secured.login, &misplaced),
        2,
        &["security.protocol", "${file:"],
        &all,
    );
    let unset = instead(&plain, "sasl.password", "${env:SURELY_NOT_SET}".to_owned());
    refused(
        &at(&secured.login, &unset),
        2,
        &["sasl.password", "SURELY_NOT_SET"],
        &all,
    );
    let unread = instead(&plain, "sasl.password", "${file:/nowhere/password}".to_owned());
    refused(
        &at(&secured.login, &unread),
        2,
        &["sasl.password", "/nowhere/password"],
        &all,
    );
}
