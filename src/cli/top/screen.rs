//! The screen of `top`.
//!
//! Rule: one line a row, what is wrong with it first. Colour says state only, in the status and in what warns: green gets
//! on, yellow falls behind, red stands still or is silent, magenta went back.
//!
//! Edges:
//! - what does not fit goes by worth: notes first, the group and its lag last; names lose their middle;
//! - names are shown as `lag` shows them, so that none plays with the terminal.

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::board::Board;
use crate::cli::lag::row::{self, Row};
use crate::cli::lag::show;
use crate::engine::time;

const GOOD: Color = Color::Green;
const WARNS: Color = Color::Yellow;
const BAD: Color = Color::Red;
const BACK: Color = Color::Magenta;
const QUIET: Color = Color::DarkGray;

/// Lines that are not rows: title, what is wrong, headers; keys.
const ABOVE: u16 = 3;
const BELOW: u16 = 1;

const GAP: usize = 2;

/// A name is cut to this before a column goes.
const SHORTEST: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Status,
    Group,
    Topic,
    Partition,
    Lag,
    Trail,
    Behind,
    Rate,
    Eta,
    State,
    Note,
}

use Column::{Behind, Eta, Group, Lag, Note, Partition, Rate, State, Status, Topic, Trail};

/// From left to right.
const ALL: [Column; 11] = [
    Status, Group, Topic, Partition, Lag, Trail, Behind, Rate, Eta, State, Note,
];

/// In the order in which they go where there is no room.
const GOES: [Column; 10] = [Note, State, Eta, Rate, Trail, Behind, Partition, Topic, Status, Lag];

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

/// The header and the rows that fit.
fn table(board: &Board, width: usize) -> Vec<Line<'static>> {
    let shown: Vec<&Row> = board.rows().skip(board.above).take(board.page).collect();
    if shown.is_empty() {
        let why = match (board.has_looked(), board.count()) {
            (false, _) => "the first look is under way",
            (true, 0) => "no group that this login may DESCRIBE has offsets in topics that it may DESCRIBE",
            (true, _) => "nothing has a name with this part",
        };
        return vec![Line::default(), Line::from(why.fg(QUIET))];
    }
    let cells: Vec<Vec<String>> = shown.iter().map(|row| cells(row)).collect();
    let columns = fit(&cells, width);
    let header = columns.iter().map(|(column, width)| {
        let text = aligned(*column, header(*column), *width) + &" ".repeat(GAP);
        Span::from(text).add_modifier(Modifier::BOLD)
    });
    let mut lines = vec![Line::from_iter(header)];
    for (row, cells) in shown.iter().zip(&cells) {
        lines.push(Line::from_iter(columns.iter().map(|(column, width)| {
            let text = match column {
                Trail => board.picture(row, *width),
                column => cut(&cells[*column as usize], *width),
            };
            let text = aligned(*column, &text, *width) + &" ".repeat(GAP);
            Span::styled(text, style(*column, row))
        })));
    }
    lines
}

fn header(column: Column) -> &'static str {
    match column {
        Status => "STATUS",
        Group => "GROUP",
        Topic => "TOPIC",
        Partition => "PART",
        Lag => "LAG",
        Trail => "OVER TIME",
        Behind => "BEHIND",
        Rate => "RATE",
        Eta => "ETA",
        State => "STATE",
        Note => "",
    }
}

/// In the order of [`ALL`]; the trail is drawn when its width is known.
fn cells(row: &Row) -> Vec<String> {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let cell = |column: &Column| match column {
        Status => or_dash(row.status.map(str::to_owned)),
        Group => show::name(&row.group),
        Topic => show::name(&row.topic),
        Partition => row.partition.to_string(),
        Lag => or_dash(row.lag.map(|lag| lag.to_string())),
        Trail => String::new(),
        Behind => or_dash(row.lag_seconds.map(show::age)),
        Rate => or_dash(row.rate.map(show::rate)),
        Eta => or_dash(row.eta.map(show::eta)),
        State => or_dash(row.state.clone()),
        Note => row.note.as_ref().map(ToString::to_string).unwrap_or_default(),
    };
    ALL.iter().map(cell).collect()
}

/// Which columns there is room for, and how wide they are.
fn fit(cells: &[Vec<String>], width: usize) -> Vec<(Column, usize)> {
    let wanted = |column: Column| {
        let cells = cells.iter().map(|cells| show::wide(&cells[column as usize]));
        match column {
            Trail => 20,
            _ => cells.max().unwrap_or(0).max(header(column).len()),
        }
    };
    let least = |column: Column| match column {
        Group | Topic => wanted(column).min(SHORTEST),
        Note => wanted(column).min(20),
        _ => wanted(column),
    };
    let mut columns: Vec<Column> = ALL.to_vec();
    columns.retain(|column| *column != Note || wanted(Note) > 0);
    let needed = |columns: &[Column]| {
        let widths: usize = columns.iter().map(|column| least(*column)).sum();
        widths + GAP * columns.len().saturating_sub(1)
    };
    let mut goes = GOES.iter();
    while needed(&columns) > width
        && let Some(gone) = goes.next()
    {
        columns.retain(|column| column != gone);
    }
    let mut spare = width.saturating_sub(needed(&columns));
    let mut fitted: Vec<(Column, usize)> = columns.iter().map(|column| (*column, least(*column))).collect();
    // Names first, then what is said of a row, and the trail takes what is left.
    for grows in [Group, Topic, Note, Trail] {
        for (column, width) in fitted.iter_mut().filter(|(column, _)| *column == grows) {
            let most = match column {
                Trail => 60,
                column => wanted(*column),
            };
            let more = spare.min(most.saturating_sub(*width));
            *width += more;
            spare -= more;
        }
    }
    fitted
}

fn aligned(column: Column, text: &str, width: usize) -> String {
    let fill = " ".repeat(width.saturating_sub(show::wide(text)));
    match column {
        Partition | Lag | Behind | Rate | Eta => fill + text,
        _ => text.to_owned() + &fill,
    }
}

/// Without its middle where it is too wide: names begin alike, and end alike too.
fn cut(text: &str, width: usize) -> String {
    if show::wide(text) <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let wide = |c: char| show::wide(c.encode_utf8(&mut [0; 4]));
    let (mut left, mut used) = (String::new(), 0);
    for c in text.chars() {
        if used + wide(c) > room.div_ceil(2) {
            break;
        }
        used += wide(c);
        left.push(c);
    }
    let mut right = Vec::new();
    for c in text.chars().rev() {
        if used + wide(c) > room {
            break;
        }
        used += wide(c);
        right.push(c);
    }
    let dots = if width > 0 { "…" } else { "" };
    left + dots + &right.into_iter().rev().collect::<String>()
}

fn style(column: Column, row: &Row) -> Style {
    let of_status = match row.status {
        Some("OK") => Style::new().fg(GOOD),
        Some("WARN") => Style::new().fg(WARNS).bold(),
        Some("REWIND") => Style::new().fg(BACK).bold(),
        Some(_) => Style::new().fg(BAD).bold(),
        None => Style::new().fg(QUIET),
    };
    match column {
        Status | Trail => of_status,
        Note => Style::new().fg(WARNS),
        State => Style::new().fg(QUIET),
        _ if row.is_caught_up() => Style::new().fg(QUIET),
        _ => Style::new(),
    }
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
    use super::example::{look, row};
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Buffer;
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

    #[test]
    fn a_cut_name_keeps_both_ends_and_its_width_whatever_it_is_made_of() {
        assert_eq!(cut("billing-of-the-north", 9), "bill…orth");
        assert_eq!(cut("billing", 7), "billing");
        assert_eq!((cut("billing", 1).as_str(), cut("billing", 0).as_str()), ("…", ""));
        for width in 0..12 {
            assert!(show::wide(&cut("\u{1f600}\u{1f600}caf\u{e9}\u{1f600}\u{1f600}\u{1f600}", width)) <= width);
        }
    }
}
