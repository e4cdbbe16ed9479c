//! Rows as a table, as JSON, as CSV.
//!
//! Rule: whatever a name holds, one row stays one line in a table, one object in JSON and one record in CSV. What is not
//! known is `-` in the table, null in JSON and empty in CSV.
//!
//! Edges:
//! - a name with a quote, a space or a character that a terminal would obey is shown in quotes, and such characters by
//!   their numbers;
//! - columns are as wide as what they hold looks, not as many bytes.

use std::io::{self, Write};

use ratatui::text::Span;

use super::row::{Eta, Note, Row};

/// The keys of JSON and the header of CSV.
const KEYS: [&str; 11] = [
    "group",
    "topic",
    "partition",
    "committed",
    "log_end",
    "lag",
    "lag_stable",
    "lag_records",
    "lag_seconds",
    "status",
    "state",
];

/// Headers of the table, and whether the column is of numbers.
const COLUMNS: [(&str, bool); 14] = [
    ("GROUP", false),
    ("TOPIC", false),
    ("PARTITION", true),
    ("COMMITTED", true),
    ("LOG END", true),
    ("LAG", true),
    ("STABLE", true),
    ("RECORDS", true),
    ("BEHIND", true),
    ("RATE", true),
    ("ETA", true),
    ("STATUS", false),
    ("STATE", false),
    ("", false),
];

/// The first `most` rows.
pub(super) fn table(rows: &[Row], most: usize, out: &mut impl Write) -> io::Result<()> {
    let shown: Vec<[String; 14]> = rows.iter().take(most).map(cells).collect();
    let width = |column: usize| {
        let cells = shown.iter().map(|cells| wide(&cells[column]));
        cells.chain([COLUMNS[column].0.len()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..COLUMNS.len()).map(width).collect();
    let mut print = |cells: [&str; 14]| {
        let mut line = String::new();
        for ((cell, width), (_, number)) in cells.iter().zip(&widths).zip(COLUMNS) {
            let fill = " ".repeat(width.saturating_sub(wide(cell)));
            if number {
                line += &fill;
            }
            line += cell;
            if !number {
                line += &fill;
            }
            line += "  ";
        }
        writeln!(out, "{}", line.trim_end())
    };
    print(COLUMNS.map(|(header, _)| header))?;
    for cells in &shown {
        print(cells.each_ref().map(String::as_str))?;
    }
    Ok(())
}

fn cells(row: &Row) -> [String; 14] {
    [
        name(&row.group),
        name(&row.topic),
        row.partition.to_string(),
        known(row.committed),
        known(row.log_end),
        known(row.lag),
        known(row.lag_stable),
        known(row.lag_records),
        known(row.lag_seconds.map(age)),
        known(row.rate.map(rate)),
        known(row.eta.map(eta)),
        known(row.status),
        known(row.state.as_deref()),
        row.note.as_ref().map(Note::to_string).unwrap_or_default(),
    ]
}

fn known(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Columns of a terminal.
pub(in crate::cli) fn wide(text: &str) -> usize {
    Span::raw(text).width()
}

/// A name as one word that no terminal obeys.
pub(in crate::cli) fn name(name: &str) -> String {
    // Directions of writing and what has no width could make a name look like another.
    let odd = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '\\') || is_unseen(c);
    if !name.is_empty() && name != "-" && !name.chars().any(odd) {
        return name.to_owned();
    }
    let mut shown = String::from('"');
    for c in name.chars() {
        match c {
            '"' | '\\' => shown.extend(['\\', c]),
            ' ' => shown.push(c),
            c if odd(c) => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown + "\""
}

fn is_unseen(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Offsets a second.
pub(in crate::cli) fn rate(rate: f64) -> String {
    match rate {
        0.0 => "0/s".to_owned(),
        ..0.1 => "<0.1/s".to_owned(),
        ..9.95 => format!("{rate:.1}/s"),
        _ => format!("{rate:.0}/s"),
    }
}

/// Rounded up: nobody has caught up in no time.
pub(in crate::cli) fn eta(eta: Eta) -> String {
    match eta {
        Eta::In(span) => match (span.as_micros() as f64 / 1e6).ceil() {
            0.0 => "0".to_owned(),
            seconds @ ..10.0 => format!("{seconds}s"),
            seconds => age(seconds),
        },
        Eta::Never => "never".to_owned(),
    }
}

/// The two largest units.
pub(in crate::cli) fn age(seconds: f64) -> String {
    if seconds < 10.0 {
        return match seconds {
            0.0 => "0".to_owned(),
            _ => format!("{seconds:.1}s"),
        };
    }
    let seconds = seconds as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{:02}s", seconds % 60),
        (0, ..) => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Note::Deleted(1) => f.write_str("1 offset was deleted before it was read"),
            Note::Deleted(offsets) => write!(f, "{offsets} offsets were deleted before they were read"),
            Note::Beyond(offsets) => write!(f, "the commit lies {offsets} beyond the log's end"),
            Note::Open(1) => f.write_str("1 offset waits for an open transaction"),
            Note::Open(offsets) => write!(f, "{offsets} offsets wait for an open transaction"),
            Note::Gone => f.write_str("the topic or partition is gone"),
            Note::Silent => f.write_str("no answer from the partition's leader"),
            Note::Refused => f.write_str("not authorised to see the log's end"),
            Note::NoCommit => f.write_str("owned, and nothing committed yet"),
        }
    }
}

/// An array, one object a line.
pub(super) fn json(rows: &[Row], out: &mut impl Write) -> io::Result<()> {
    out.write_all(b"[")?;
    for (number, row) in rows.iter().enumerate() {
        out.write_all(if number == 0 { b"\n" } else { b",\n" })?;
        serde_json::to_writer(&mut *out, row)?;
    }
    out.write_all(if rows.is_empty() { b"]\n" } else { b"\n]\n" })
}

/// The header is printed once.
pub(super) fn csv_header(out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "{}", KEYS.join(","))
}

/// By RFC 4180, with line ends of this system.
pub(super) fn csv(rows: &[Row], out: &mut impl Write) -> io::Result<()> {
    fn value(value: Option<impl ToString>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
    for row in rows {
        let fields = [
            field(&row.group),
            field(&row.topic),
            row.partition.to_string(),
            value(row.committed),
            value(row.log_end),
            value(row.lag),
            value(row.lag_stable),
            value(row.lag_records),
            value(row.lag_seconds),
            value(row.status),
            value(row.state.as_deref()),
        ];
        writeln!(out, "{}", fields.join(","))?;
    }
    Ok(())
}

fn field(text: &str) -> String {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::Reader;
    use super::*;
    use crate::engine::time::Span;

    fn row(group: &str) -> Row {
        Row {
            group: group.to_owned(),
            topic: "orders".to_owned(),
            partition: 3,
            committed: Some(5),
            log_end: None,
            lag: None,
            lag_stable: None,
            lag_records: None,
            lag_seconds: None,
            status: None,
            state: Some("Stable".to_owned()),
            rate: None,
            eta: None,
            reader: Reader::Unknown,
            note: None,
        }
    }

    fn shown(rows: &[Row]) -> String {
        let mut out = Vec::new();
        table(rows, usize::MAX, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_name_stays_one_word_that_no_terminal_obeys() {
        assert_eq!(name("plain-1.x"), "plain-1.x");
        assert_eq!(name("a \"b\"\n\u{1b}[2J"), r#""a \"b\"\n\u{1b}[2J""#);
        assert_eq!(name("\u{202e}reversed"), r#""\u{202e}reversed""#);
        assert_eq!((name(""), name("-")), ("\"\"".to_owned(), "\"-\"".to_owned()));
    }

    #[test]
    fn columns_stand_below_each_other_also_with_wide_characters() {
        let text = shown(&[row("\u{1f600}\u{1f600}"), row("abcd"), row("a\nb")]);
        let starts: Vec<usize> = text
            .lines()
            .skip(1)
            .map(|line| wide(line.split("orders").next().unwrap()))
            .collect();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert_eq!(starts, [8, 8, 8], "{text}");
    }

    #[test]
    fn json_has_the_promised_keys_in_order_and_null_for_what_is_unknown() {
        let mut out = Vec::new();
        json(&[row("a\"b\n")], &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        let at: Vec<usize> = KEYS
            .iter()
            .map(|key| text.find(&format!("\"{key}\":")).unwrap())
            .collect();
        assert!(at.is_sorted(), "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value[0].as_object().unwrap().len(), KEYS.len());
        assert_eq!(
            (&value[0]["group"], &value[0]["lag"]),
            (&"a\"b\n".into(), &serde_json::Value::Null)
        );
    }

    #[test]
    fn nothing_is_an_empty_array() {
        let mut out = Vec::new();
        json(&[], &mut out).unwrap();
        assert_eq!(out, b"[]\n");
    }

    #[test]
    fn csv_quotes_what_would_end_a_field() {
        let mut out = Vec::new();
        csv(&[row("a,\"b\"\nc")], &mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "\"a,\"\"b\"\"\nc\",orders,3,5,,,,,,,Stable\n"
        );
    }

    #[test]
    fn ages_are_told_in_the_two_largest_units() {
        let ages = [0.0, 0.25, 9.96, 59.0, 61.0, 7_260.0, 200_000.0].map(age);
        assert_eq!(ages, ["0", "0.2s", "10.0s", "59s", "1m01s", "2h01m", "2d07h"]);
    }

    #[test]
    fn rates_and_times_to_go_are_short_and_never_look_done() {
        assert_eq!(
            [0.0, 0.04, 2.5, 9.96, 12_345.6].map(rate),
            ["0/s", "<0.1/s", "2.5/s", "10/s", "12346/s"]
        );
        let etas = [
            Eta::In(Span::ZERO),
            Eta::In(Span::millis(1)),
            Eta::In(Span::seconds(75)),
            Eta::Never,
        ]
        .map(eta);
        assert_eq!(etas, ["0", "1s", "1m15s", "never"]);
    }
}
