//! The screen of `top`.
//!
//! Rule: one line a row, what is wrong with it first. Colour says state only, in the status and in what warns: green gets
//! on, yellow falls behind, red stands still or is silent, magenta went back.
//!
//! Edges: in a low terminal the rows go first, then their header; the line with the keys stays.

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Stylize;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::board::Board;
use super::table::table;
use super::{BAD, QUIET, WARNS};
use crate::cli::lag::row;
use crate::cli::lag::show;
use crate::engine::time;

/// Lines that are not rows: title, what is wrong, headers; keys.
const ABOVE: u16 = 3;
const BELOW: u16 = 1;

pub(super) fn render(frame: &mut Frame<'_>, board: &mut Board, now: Instant) {
    let area = frame.area();
    let rows = area.height.saturating_sub(ABOVE + BELOW);
    board.page = usize::from(rows).max(1);
    board.settle();
    let line = |at: u16| Rect {
        y: area.y + at,
        height: 1,
        ..area
    };
    let mut lines = vec![title(board), trouble(board, now)];
    lines.extend(table(board, usize::from(area.width)));
    for (at, text) in (0..area.height.saturating_sub(BELOW)).zip(lines) {
        frame.render_widget(Paragraph::new(text), line(at));
    }
    if area.height > 0 {
        frame.render_widget(Paragraph::new(keys(board)), line(area.height - 1));
    }
}

fn title(board: &Board) -> Line<'static> {
    let seconds = board.every.as_secs();
    Line::from(vec![
        "streamgauge top".bold(),
        format!("   {}", board.summary).into(),
        format!("   every {seconds} s, by {}", board.order.words()).fg(QUIET),
    ])
}

fn trouble(board: &Board, now: Instant) -> Line<'static> {
    if let Some(silence) = &board.silence {
        let seconds = now.saturating_duration_since(silence.since).as_secs();
        let lasts = show::eta(row::Eta::In(time::Span::seconds(
            i64::try_from(seconds).unwrap_or(i64::MAX),
        )));
        return Line::from(vec![
            format!("the cluster has not answered for {lasts}, it is asked again")
                .fg(BAD)
                .bold(),
            format!("   {}", silence.said).fg(BAD),
        ]);
    }
    let held = match board.is_held() {
        true => "held, p lets go   ".fg(WARNS).bold(),
        false => Span::raw(""),
    };
    let warning = match board.warnings.as_slice() {
        [] => Span::raw(""),
        [one] => one.clone().fg(WARNS),
        [one, rest @ ..] => format!("{one} (and {} more)", rest.len()).fg(WARNS),
    };
    Line::from(vec![held, warning])
}

fn keys(board: &Board) -> Line<'static> {
    if board.is_typing {
        return Line::from(vec![
            "/".bold(),
            board.filter.clone().into(),
            "▏".into(),
            "  a part of a group's or a topic's name; Enter keeps it, Esc takes it away".fg(QUIET),
        ]);
    }
    let count = board.rows().count();
    let first = board.above.min(count.saturating_sub(1)) + 1;
    let last = (board.above + board.page).min(count);
    let mut place = match count {
        0 => "no rows".to_owned(),
        _ => format!("{first}-{last} of {count}"),
    };
    if !board.filter.is_empty() {
        place += &format!(" with \"{}\"", board.filter);
    }
    let held = if board.is_held() { "p go on" } else { "p hold" };
    Line::from(vec![
        place.bold(),
        format!("   q quit  s order  / filter  {held}  j k PgDn PgUp g G scroll").fg(QUIET),
    ])
}

/// Rows for tests.
#[cfg(test)]
pub(super) mod example {
    use crate::cli::lag::look::Look;
    use crate::cli::lag::row::{Reader, Row};

    pub fn row(group: &str, topic: &str, lag: i64) -> Row {
        Row {
            group: group.to_owned(),
            topic: topic.to_owned(),
            partition: 3,
            committed: Some(5),
            log_end: Some(5 + lag),
            lag: Some(lag),
            lag_stable: Some(lag),
            lag_records: None,
            lag_seconds: (lag == 0).then_some(0.0),
            status: (lag == 0).then_some("OK"),
            state: Some("Stable".to_owned()),
            rate: None,
            eta: None,
            reader: Reader::Unknown,
            note: None,
        }
    }

    pub fn look(rows: Vec<Row>) -> Look {
        Look {
            rows,
            ..Look::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::GOOD;
    use super::example::{look, row};
    use super::*;
    use crate::cli::lag::row::Row;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Buffer;
    use ratatui::style::Color;
    use std::time::Duration;

    fn board() -> Board {
        let mut board = Board::new(Duration::from_secs(2));
        for lag in [100, 400, 800] {
            let stuck = Row {
                lag_seconds: Some(61.0),
                status: Some("STALL"),
                rate: Some(0.0),
                eta: Some(row::Eta::Never),
                note: Some(row::Note::Open(7)),
                ..row("billing-of-the-north", "orders", lag)
            };
            let moves = Row {
                lag_seconds: Some(5.0),
                status: Some("OK"),
                rate: Some(120.0),
                eta: Some(row::Eta::In(time::Span::seconds(75))),
                ..row("reporting", "orders", 900 - lag)
            };
            board.take(look(vec![moves, stuck, row("odd\u{1b}[2J", "t", 0)]), Instant::now());
        }
        board
    }

    fn buffer(board: &mut Board, width: u16, height: u16, now: Instant) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a backend in memory");
        terminal
            .draw(|frame| render(frame, board, now))
            .expect("a backend in memory");
        terminal.backend().buffer().clone()
    }

    fn lines(board: &mut Board, width: u16, height: u16) -> Vec<String> {
        let buffer = buffer(board, width, height, Instant::now());
        let line = |y| {
            let line: String = (0..width).map(|x| buffer[(x, y)].symbol()).collect();
            line.trim_end().to_owned()
        };
        (0..height).map(line).collect()
    }

    #[test]
    fn every_row_says_what_it_does_and_where_it_came_from() {
        let lines = lines(&mut board(), 160, 9);
        let words = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>();
        assert!(
            lines[0].contains("3 groups, 3 partitions, 2 behind, 900 offsets in all"),
            "{lines:#?}"
        );
        assert_eq!(
            words(2),
            [
                "STATUS", "GROUP", "TOPIC", "PART", "LAG", "OVER", "TIME", "BEHIND", "RATE", "ETA", "STATE"
            ]
        );
        assert_eq!(
            words(3)[..10],
            [
                "STALL",
                "billing-of-the-north",
                "orders",
                "3",
                "800",
                "▂▅█",
                "1m01s",
                "0/s",
                "never",
                "Stable"
            ]
        );
        assert!(
            lines[3].ends_with("7 offsets wait for an open transaction"),
            "{lines:#?}"
        );
        assert!(lines[4].contains(r#""odd\u{1b}[2J""#), "{lines:#?}");
        assert_eq!(
            words(5),
            [
                "OK",
                "reporting",
                "orders",
                "3",
                "100",
                "█▆▂",
                "5.0s",
                "120/s",
                "1m15s",
                "Stable"
            ]
        );
        assert!(lines[8].starts_with("1-3 of 3   q quit"), "{lines:#?}");
    }

    #[test]
    fn colour_says_the_state() {
        let buffer = buffer(&mut board(), 160, 9, Instant::now());
        assert_eq!([3, 4, 5].map(|y| buffer[(0, y)].fg), [BAD, GOOD, GOOD]);
        assert_eq!(buffer[(8, 3)].fg, Color::Reset, "a name has no state");
    }

    #[test]
    fn what_is_worth_least_goes_first_in_a_narrow_terminal() {
        let header = |width| {
            lines(&mut board(), width, 9)[2]
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            header(100),
            "STATUS GROUP TOPIC PART LAG OVER TIME BEHIND RATE ETA STATE"
        );
        assert_eq!(header(80), "STATUS GROUP TOPIC PART LAG OVER TIME BEHIND RATE");
        assert_eq!(header(40), "STATUS GROUP TOPIC PART LAG");
        assert_eq!(header(20), "GROUP LAG");
        assert_eq!(lines(&mut board(), 20, 9)[3], "billing…e-north  800");
    }

    #[test]
    fn no_terminal_is_too_small() {
        for (width, height) in [(1, 1), (2, 3), (5, 4), (20, 5), (300, 100)] {
            let mut board = board();
            lines(&mut board, width, height);
            board.is_typing = true;
            lines(&mut board, width, height);
        }
    }

    #[test]
    fn silence_is_told_with_its_length_and_the_rows_stay() {
        let mut board = board();
        let began = Instant::now();
        board.take(look(vec![row("billing-of-the-north", "orders", 800)]), began);
        board.miss("no broker answers".to_owned(), began);
        let buffer = buffer(&mut board, 160, 9, began + Duration::from_secs(75));
        let text: String = (0..160).map(|x| buffer[(x, 1)].symbol()).collect();
        assert!(text.starts_with("the cluster has not answered for 1m15s, it is asked again   no broker answers"));
        assert_eq!(buffer[(0, 1)].fg, BAD);
        assert!(lines(&mut board, 160, 9)[3].contains("billing-of-the-north"));
    }

    #[test]
    fn only_the_rows_that_fit_are_shown_and_counted() {
        let mut board = Board::new(Duration::from_secs(2));
        let rows = (0..50)
            .map(|number| row(&format!("g{number:02}"), "t", 100 - number))
            .collect();
        board.take(look(rows), Instant::now());
        board.above = 7;
        let lines = lines(&mut board, 100, 14);
        assert!(lines[3].contains("g07") && lines[12].contains("g16"), "{lines:#?}");
        assert!(lines[13].starts_with("8-17 of 50 "), "{lines:#?}");
    }

    #[test]
    fn an_empty_screen_says_why() {
        let mut board = Board::new(Duration::from_secs(2));
        assert_eq!(lines(&mut board, 100, 9)[3], "the first look is under way");
        board.take(look(Vec::new()), Instant::now());
        assert!(lines(&mut board, 100, 9)[3].contains("may DESCRIBE"));
        board.take(look(vec![row("g", "t", 1)]), Instant::now());
        board.filter = "x".to_owned();
        assert_eq!(lines(&mut board, 100, 9)[3], "nothing has a name with this part");
    }
}
