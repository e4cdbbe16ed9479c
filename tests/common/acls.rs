//! ACLs, by the protocol itself: no client that we test has them, and Kafka's own tool takes two seconds a call.
//!
//! Rule: what is granted or taken away is in force when the call comes back.
//!
//! The requests are DescribeAcls (29), CreateAcls (30) and DeleteAcls (31) in version 1, the last one without compact
//! strings.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::eventually;

/// A right of one user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl {
    pub user: String,
    /// `topic`, `group` or `transactional id`.
    pub resource: String,
    /// `literal` or `prefixed`.
    pub pattern: String,
    pub name: String,
    pub operation: String,
}

const ALLOW: u8 = 3;
const ANY: u8 = 1;

/// Grants these rights, as the user that the broker's PLAINTEXT listener takes everyone for.
pub fn grant(bootstrap: &str, acls: &[Acl]) {
    let mut body = count(acls.len());
    for acl in acls {
        body.push(resource(&acl.resource));
        body.extend(text(&acl.name));
        body.push(pattern(&acl.pattern));
        body.extend(text(&format!("User:{}", acl.user)));
        body.extend(text("*"));
        body.extend([operation(&acl.operation), ALLOW]);
    }
    let answer = ask(bootstrap, 30, &body);
    // Throttle time, number of results, and of each an error code and a message, which is empty where all is well.
    let results = &answer[8..];
    assert!(
        results.len() == 4 * acls.len() && results.chunks(4).all(|result| result[..2] == [0, 0]),
        "the ACLs are not taken: {}",
        String::from_utf8_lossy(&answer)
    );
    for acl in acls {
        in_force(bootstrap, acl, true);
    }
}

/// Takes a right away.
pub fn revoke(bootstrap: &str, acl: &Acl) {
    let mut body = count(1);
    body.extend(filter(acl));
    let answer = ask(bootstrap, 31, &body);
    assert_eq!(
        answer[8..10],
        [0, 0],
        "the ACL is not taken away: {}",
        String::from_utf8_lossy(&answer)
    );
    in_force(bootstrap, acl, false);
}

fn in_force(bootstrap: &str, acl: &Acl, wanted: bool) {
    let user = format!("User:{}", acl.user);
    eventually("the authorizer knows", Duration::from_secs(20), || {
        let answer = ask(bootstrap, 29, &filter(acl));
        let found = answer.windows(user.len()).any(|part| part == user.as_bytes());
        if found == wanted {
            Ok(())
        } else {
            Err(format!("{acl:?} is in force: {found}"))
        }
    });
}

fn filter(acl: &Acl) -> Vec<u8> {
    let mut body = vec![resource(&acl.resource)];
    body.extend(text(&acl.name));
    body.push(pattern(&acl.pattern));
    body.extend(text(&format!("User:{}", acl.user)));
    body.extend(text("*"));
    body.extend([operation(&acl.operation), ANY]);
    body
}

/// The answer's body.
fn ask(bootstrap: &str, api: u16, body: &[u8]) -> Vec<u8> {
    let mut request = [api.to_be_bytes(), 1_u16.to_be_bytes()].concat();
    request.extend(7_u32.to_be_bytes());
    request.extend(text("acls"));
    request.extend(body);
    let mut stream = TcpStream::connect(bootstrap).expect("the broker listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("a time-out");
    stream.write_all(&count(request.len())).expect("the broker reads");
    stream.write_all(&request).expect("the broker reads");
    let mut size = [0; 4];
    stream.read_exact(&mut size).expect("the broker answers");
    let mut answer = vec![0; u32::from_be_bytes(size) as usize];
    stream.read_exact(&mut answer).expect("the broker answers");
    answer.split_off(4)
}

fn count(number: usize) -> Vec<u8> {
    u32::try_from(number).expect("few").to_be_bytes().to_vec()
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("short").to_be_bytes();
    [&length, text.as_bytes()].concat()
}

fn resource(name: &str) -> u8 {
    match name {
        "topic" => 2,
        "group" => 3,
        "transactional id" => 5,
        other => panic!("no resource: {other}"),
    }
}

fn pattern(name: &str) -> u8 {
    match name {
        "literal" => 3,
        "prefixed" => 4,
        other => panic!("no pattern: {other}"),
    }
}

fn operation(name: &str) -> u8 {
    match name {
        "READ" => 3,
        "WRITE" => 4,
        "CREATE" => 5,
        "DELETE" => 6,
        "DESCRIBE" => 8,
        "DESCRIBE_CONFIGS" => 10,
        other => panic!("no operation: {other}"),
    }
}
