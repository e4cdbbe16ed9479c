//! As much HTTP as a test needs: one request and its answer, read to its end.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Status and body. HTTP/1.0, so that the body is never chunked.
pub fn get(port: u16, path: &str) -> Result<(u16, String), String> {
    ask(port, &format!("GET {path} HTTP/1.0"), "", Duration::from_secs(20))
}

/// Status and body of an answer that is not chunked; `line` is the request's first, and `body` JSON or nothing.
pub fn ask(port: u16, line: &str, body: &str, limit: Duration) -> Result<(u16, String), String> {
    let text = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(text)?;
    stream.set_read_timeout(Some(limit)).map_err(text)?;
    let sent = match body {
        "" => String::new(),
        json => format!("Content-Type: application/json\r\nContent-Length: {}\r\n", json.len()),
    };
    write!(
        stream,
        "{line}\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n{sent}\r\n{body}"
    )
    .map_err(text)?;
    let mut answer = BufReader::new(stream);
    let (mut status, mut length) = (None, None);
    loop {
        let mut line = String::new();
        if answer.read_line(&mut line).map_err(text)? == 0 {
            return Err("no end of the header".to_owned());
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.starts_with("http/") {
            status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        }
        if let Some(bytes) = line.strip_prefix("content-length:") {
            length = bytes.trim().parse().ok();
        }
        if line.is_empty() {
            break;
        }
    }
    // Some say how much it is and leave the connection open, others end it.
    let mut body = Vec::new();
    answer
        .take(length.unwrap_or(u64::MAX))
        .read_to_end(&mut body)
        .map_err(text)?;
    Ok((status.ok_or("no status")?, String::from_utf8_lossy(&body).into_owned()))
}

/// Percent-encodes a query parameter.
pub fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| {
            if byte.is_ascii_alphanumeric() {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}
