//! Raw messages as the users' Python services write them: always the same ones for one seed.
//!
//! Every one has [`BYTES`] bytes, spaces after separators, and each producer its own order of keys; one in eight has
//! non-ASCII text as `\uXXXX`.

use std::time::{SystemTime, UNIX_EPOCH};

use super::numbers::Numbers;

pub const BYTES: usize = 479;

/// Event time between two messages, microseconds: two million of them are a little more than half an hour.
const APART: i64 = 1_000;

pub struct Messages {
    numbers: Numbers,
    number: u64,
    time: i64,
}

impl Messages {
    /// The first message happened 34 minutes ago.
    pub fn new(seed: u64) -> Self {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            .as_micros();
        Self {
            numbers: Numbers::new(seed),
            number: 0,
            time: i64::try_from(now).expect("before the year 292277") - 34 * 60 * 1_000_000,
        }
    }

    pub fn next(&mut self) -> String {
        let (event, message) = (self.numbers.uuid(), self.numbers.uuid());
        let channel = self.numbers.of(&["email", "whatsapp", "web_form"]);
        let producer = self.numbers.next() % 3;
        let time = jiff::Timestamp::from_microsecond(self.time).expect("a date of today");
        let time = format!("{}", time.strftime("%Y-%m-%dT%H:%M:%S.%6f"));
        let text = |text: &str| match producer {
            0 => format!(
                "{{\"data\": {{\"channel\": \"{channel}\", \"content\": {{\"body\": \"{text}\"}}, \"message_id\": \
                 \"{message}\", \"received_at\": \"{time}\"}}, \"event_type\": \"raw_message\", \"event_id\": \"{event}\", \
                 \"producer_id\": \"gateway-0\", \"timestamp\": \"{time}\"}}"
            ),
            _ => format!(
                "{{\"event_id\": \"{event}\", \"event_type\": \"raw_message\", \"timestamp\": \"{time}\", \"producer_id\": \
                 \"gateway-{producer}\", \"data\": {{\"channel\": \"{channel}\", \"message_id\": \"{message}\", \"content\": \
                 {{\"subject\": \"parcel\", \"body\": \"{text}\"}}, \"received_at\": \"{time}\"}}}}"
            ),
        };
        let mut body = match self.number % 8 {
            3 => "Gr\\u00fc\\u00dfe, ".to_owned(),
            _ => "Hello, ".to_owned(),
        };
        let missing = BYTES.saturating_sub(text(&body).len());
        body.extend("my parcel has not come yet and ".chars().cycle().take(missing));
        self.number += 1;
        self.time += APART;
        text(&body)
    }
}
