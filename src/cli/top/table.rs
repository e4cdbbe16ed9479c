//! The table of `top`: which columns there is room for, and what stands in them.
//!
//! Rule: what does not fit goes by worth: notes first, the group and its lag last. Names lose their middle before a column
//! goes.
//!
//! Edges: names are shown as `lag` shows them, so that none plays with the terminal; a trail takes what room is left.

use ratatui::style::{Modifier, Style, Stylize};
use ratatui::text::{Line, Span};

use super::board::Board;
use super::{BACK, BAD, GOOD, QUIET, WARNS};
use crate::cli::lag::row::Row;
use crate::cli::lag::show;

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

/// The header and the rows that fit.
pub(super) fn table(board: &Board, width: usize) -> Vec<Line<'static>> {
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

#[cfg(test)]
mod tests {
    use super::*;

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
