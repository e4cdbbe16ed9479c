//! A member of a streams group, as far as the broker can tell: one StreamsGroupHeartbeat (KIP-1071) over a socket.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::common::eventually;

/// StreamsGroupHeartbeat, version 0.
const API: u16 = 88;

/// A request in flexible form; texts and lists are short.
struct Request(Vec<u8>);

impl Request {
    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend(bytes);
        self
    }

    fn text(self, text: &str) -> Self {
        let length = u8::try_from(text.len() + 1).expect("short");
        self.bytes(&[length]).bytes(text.as_bytes())
    }

    fn int32(self, number: i32) -> Self {
        self.bytes(&number.to_be_bytes())
    }
}

/// Joins with a topology that reads `topic`, until the member has its tasks.
pub fn streams_group(bootstrap: &str, group: &str, topic: &str) {
    let mut socket = TcpStream::connect(bootstrap).expect("the broker");
    socket
        .set_read_timeout(Some(Duration::from_secs(15)))
        .expect("a time-out");
    let mut epoch = 0;
    eventually("a member of a streams group has tasks", Duration::from_secs(30), || {
        let answer = ask(&mut socket, group, topic, epoch);
        // Behind the header (correlation, no tags): throttle time, error code, error text, member id, epoch.
        let code = i16::from_be_bytes([answer[9], answer[10]]);
        if code != 0 {
            return Err(format!("error {code}: {}", String::from_utf8_lossy(&answer)));
        }
        let behind = 12 + usize::from(answer[11].saturating_sub(1));
        let behind = behind + usize::from(answer[behind]);
        epoch = i32::from_be_bytes(answer[behind..behind + 4].try_into().expect("four bytes"));
        let (told, known) = (String::from_utf8_lossy(&answer).into_owned(), epoch);
        // The subtopology's name comes back with its tasks.
        if told.contains("sub-0") {
            Ok(())
        } else {
            Err(format!("epoch {known}, no tasks: {told}"))
        }
    });
}

fn ask(socket: &mut TcpStream, group: &str, topic: &str, epoch: i32) -> Vec<u8> {
    let header = Request(Vec::new())
        .bytes(&API.to_be_bytes())
        .bytes(&0_u16.to_be_bytes())
        .int32(1)
        .bytes(&[0, 4])
        .bytes(b"test")
        .bytes(&[0]);
    let body = header
        .text(group)
        .text("member-1")
        .int32(epoch)
        // Epoch of endpoints; no instance, no rack.
        .int32(0)
        .bytes(&[0, 0])
        .int32(30_000);
    let body = if epoch == 0 {
        body.bytes(&[1])
            .int32(0)
            .bytes(&[2])
            .text("sub-0")
            .bytes(&[2])
            .text(topic)
            // No patterns, no topics of its own, nothing copartitioned; tags of the subtopology and of the topology.
            .bytes(&[1, 1, 1, 1, 1, 0, 0])
    } else {
        body.bytes(&[0xff])
    };
    // Owns nothing yet.
    let body = body.bytes(&[1, 1, 1]).text("process-1");
    // No endpoint, one tag of the client, no offsets, no shutdown.
    let body = body.bytes(&[0xff, 2]).text("zone").text("a").bytes(&[0, 0, 0, 0, 0]);
    let length = u32::try_from(body.0.len()).expect("short");
    socket.write_all(&length.to_be_bytes()).expect("the broker takes it");
    socket.write_all(&body.0).expect("the broker takes it");
    let mut length = [0; 4];
    socket.read_exact(&mut length).expect("an answer");
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    socket.read_exact(&mut answer).expect("an answer");
    answer
}
