//! What is on the screen, and what keys do to it.
//!
//! Rule: a look replaces the rows and nothing else: order, filter and place stay as somebody has chosen them.
//!
//! Edges:
//! - while the screen is held, looks go on into the trails, and the newest rows are shown when it is let go;
//! - a look in which nobody answered leaves the rows of the last one, and counts as silence;
//! - while a filter is typed every key but Enter and Esc is a part of it.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::trail::Trail;
use crate::cli::lag::look::Look;
use crate::cli::lag::row::Row;
use crate::cli::lag::summary;

/// What a trail goes back.
const TRAIL: Duration = Duration::from_secs(300);

/// Milliseconds; who is well is this far behind between two commits.
const MOMENT: i64 = 60_000;

/// The longest filter; no group has a longer name that anybody would type.
const LONGEST: usize = 100;

pub(super) struct Board {
    /// In the chosen order, all of them.
    rows: Vec<Row>,
    pub(super) summary: String,
    /// What could not be asked or seen, in words.
    pub(super) warnings: Vec<String>,
    trails: HashMap<Place, Trail>,
    /// Looks so far, and the one whose rows are shown.
    taken: u64,
    shown: u64,
    /// Looks that a trail keeps.
    most: usize,
    pub(super) every: Duration,
    pub(super) silence: Option<Silence>,
    answered: Option<Instant>,
    pub(super) order: Order,
    pub(super) filter: String,
    pub(super) is_typing: bool,
    /// Held, and what came since.
    held: Option<Option<Box<Look>>>,
    /// Rows above the first that is shown.
    pub(super) above: usize,
    /// Rows that fit.
    pub(super) page: usize,
}

/// Nobody has answered since the last look that was shown, or the first one in vain.
pub(super) struct Silence {
    pub(super) since: Instant,
    pub(super) said: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Hurts,
    Behind,
    Lag,
    Rate,
    Name,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Stay,
    End,
}

type Place = (String, String, u32);

// === impl Board ===

impl Board {
    pub(super) fn new(every: Duration) -> Self {
        let looks = TRAIL.as_secs() / every.as_secs().max(1);
        Self {
            rows: Vec::new(),
            summary: String::new(),
            warnings: Vec::new(),
            trails: HashMap::new(),
            taken: 0,
            shown: 0,
            most: usize::try_from(looks).map_or(1, |looks| looks.max(20)),
            every,
            silence: None,
            answered: None,
            order: Order::Hurts,
            filter: String::new(),
            is_typing: false,
            held: None,
            above: 0,
            page: 1,
        }
    }

    pub(super) fn take(&mut self, look: Look, now: Instant) {
        if look.rows.is_empty()
            && let Some(said) = look.failed.first()
        {
            return self.miss(said.clone(), now);
        }
        self.silence = None;
        self.answered = Some(now);
        self.taken += 1;
        for row in &look.rows {
            let trail = self.trails.entry(place(row)).or_default();
            trail.push(self.taken, row.lag, self.most);
        }
        let oldest = self.taken.saturating_sub(self.most as u64);
        self.trails.retain(|_, trail| trail.newest() > oldest);
        match &mut self.held {
            Some(held) => *held = Some(Box::new(look)),
            None => self.show(look),
        }
    }

    /// A look was in vain.
    pub(super) fn miss(&mut self, said: String, now: Instant) {
        let since = self.silence.as_ref().map(|silence| silence.since).or(self.answered);
        let since = since.unwrap_or(now);
        // A gap in the trails.
        self.taken += 1;
        self.silence = Some(Silence { since, said });
    }

    fn show(&mut self, look: Look) {
        self.shown = self.taken;
        self.summary = summary(&look);
        let mut warnings = look.failed;
        let absent = |name: &String| format!("there is no group {}", crate::cli::lag::show::name(name));
        warnings.extend(look.absent.iter().map(absent));
        warnings.extend(look.refused.iter().map(|said| format!("{said}: numbers are missing")));
        if look.unread > 0 {
            warnings.push(format!("the records of {} lags were not read in time", look.unread));
        }
        self.warnings = warnings;
        self.rows = look.rows;
        self.sort();
    }

    fn sort(&mut self) {
        let millis = |seconds: Option<f64>| seconds.map(|seconds| (seconds * 1_000.0) as i64);
        match self.order {
            Order::Hurts => self.rows.sort_by_cached_key(hurts),
            Order::Behind => self
                .rows
                .sort_by_cached_key(|row| (Reverse(millis(row.lag_seconds)), place(row))),
            Order::Lag => self.rows.sort_by_cached_key(|row| (Reverse(row.lag), place(row))),
            Order::Rate => self
                .rows
                .sort_by_cached_key(|row| (Reverse(millis(row.rate)), place(row))),
            Order::Name => self.rows.sort_by_cached_key(place),
        }
    }

    /// Those that the filter lets through.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        let wanted = self.filter.to_lowercase();
        let holds = move |text: &str| wanted.is_empty() || text.to_lowercase().contains(&wanted);
        self.rows
            .iter()
            .filter(move |row| holds(&row.group) || holds(&row.topic))
    }

    pub(super) fn count(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn is_held(&self) -> bool {
        self.held.is_some()
    }

    pub(super) fn has_looked(&self) -> bool {
        self.shown > 0
    }

    /// The lag of a row over the last minutes.
    pub(super) fn picture(&self, row: &Row, width: usize) -> String {
        let seen = self.shown.min(self.most as u64);
        let looks = seen.div_ceil(width.max(1) as u64);
        let trail = self.trails.get(&place(row));
        trail.map_or_else(String::new, |trail| trail.picture(self.shown, width, looks))
    }

    pub(super) fn press(&mut self, key: KeyEvent) -> Next {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => return Next::End,
            _ if self.is_typing => self.type_in(key.code),
            KeyCode::Char('q') => return Next::End,
            KeyCode::Esc if self.filter.is_empty() => return Next::End,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('/') => self.is_typing = true,
            KeyCode::Char('s') => {
                self.order = self.order.next();
                self.above = 0;
                self.sort();
            }
            KeyCode::Char('p' | ' ') => match self.held.take() {
                None => self.held = Some(None),
                Some(Some(look)) => self.show(*look),
                Some(None) => {}
            },
            KeyCode::Char('k') | KeyCode::Up => self.above = self.above.saturating_sub(1),
            KeyCode::Char('j') | KeyCode::Down => self.above += 1,
            KeyCode::PageUp => self.above = self.above.saturating_sub(self.page),
            KeyCode::PageDown => self.above += self.page,
            KeyCode::Char('g') | KeyCode::Home => self.above = 0,
            KeyCode::Char('G') | KeyCode::End => self.above = self.rows.len(),
            _ => {}
        }
        self.settle();
        Next::Stay
    }

    fn type_in(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.is_typing = false,
            KeyCode::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(c) if !c.is_control() && self.filter.len() < LONGEST => self.filter.push(c),
            _ => {}
        }
        self.above = 0;
    }

    /// The last row stays at the bottom.
    pub(super) fn settle(&mut self) {
        let most = self.rows().count().saturating_sub(self.page);
        self.above = self.above.min(most);
    }
}

/// As `lag` has it, but by magnitudes: a row that is about as badly off as another one does not change places with it from
/// look to look, and who is well and a moment behind stands with those who have read all.
fn hurts(row: &Row) -> (u8, u32, u32, Place) {
    let magnitude = |number: i64| u32::MAX - number.max(0).checked_ilog2().map_or(0, |bits| bits + 1);
    let (class, Reverse(millis), Reverse(lag), place) = row.order();
    let is_well = row.status == Some("OK") && millis < MOMENT;
    match is_well {
        true => (u8::MAX, 0, 0, place),
        false => (class, magnitude(millis), magnitude(lag.unwrap_or(0)), place),
    }
}

fn place(row: &Row) -> Place {
    (row.group.clone(), row.topic.clone(), row.partition)
}

// === impl Order ===

impl Order {
    fn next(self) -> Self {
        match self {
            Self::Hurts => Self::Behind,
            Self::Behind => Self::Lag,
            Self::Lag => Self::Rate,
            Self::Rate => Self::Name,
            Self::Name => Self::Hurts,
        }
    }

    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Hurts => "what hurts",
            Self::Behind => "time behind",
            Self::Lag => "lag",
            Self::Rate => "rate",
            Self::Name => "name",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::screen::example::{look, row};
    use super::*;

    fn board(rows: Vec<Row>) -> Board {
        let mut board = Board::new(Duration::from_secs(2));
        board.take(look(rows), Instant::now());
        board
    }

    fn press(board: &mut Board, keys: &str) {
        for key in keys.chars() {
            let code = match key {
                '\n' => KeyCode::Enter,
                '\u{1b}' => KeyCode::Esc,
                '\u{8}' => KeyCode::Backspace,
                key => KeyCode::Char(key),
            };
            assert_eq!(board.press(KeyEvent::from(code)), Next::Stay);
        }
    }

    fn groups(board: &Board) -> Vec<&str> {
        board.rows().map(|row| row.group.as_str()).collect()
    }

    #[test]
    fn a_filter_takes_keys_that_mean_something_else_and_finds_groups_and_topics() {
        let mut board = board(vec![
            row("quick", "orders", 5),
            row("slow", "Quotes", 9),
            row("other", "orders", 1),
        ]);
        press(&mut board, "/qu");
        assert_eq!(groups(&board), ["slow", "quick"]);
        press(&mut board, "i\n");
        assert_eq!((groups(&board), board.is_typing), (vec!["quick"], false));
        press(&mut board, "/\u{8}\u{8}\u{8}\n");
        assert_eq!(groups(&board).len(), 3);
        press(&mut board, "/x\u{1b}");
        assert_eq!(groups(&board).len(), 3, "Esc takes the filter away");
    }

    #[test]
    fn escape_takes_the_filter_away_before_it_ends() {
        let mut board = board(vec![row("a", "t", 1)]);
        press(&mut board, "/a\n\u{1b}");
        assert_eq!(board.filter, "");
        assert_eq!(board.press(KeyEvent::from(KeyCode::Esc)), Next::End);
        assert_eq!(board.press(KeyEvent::from(KeyCode::Char('q'))), Next::End);
        press(&mut board, "/");
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(board.press(interrupt), Next::End, "also while a filter is typed");
    }

    #[test]
    fn the_order_goes_round_and_outlives_a_look() {
        let rows = || {
            let older = Row {
                lag_seconds: Some(90.0),
                ..row("older", "t", 1)
            };
            vec![older, row("longer", "t", 500), row("above", "t", 0)]
        };
        let mut board = board(rows());
        assert_eq!(groups(&board), ["older", "longer", "above"]);
        press(&mut board, "ss");
        assert_eq!(
            (board.order, groups(&board)),
            (Order::Lag, vec!["longer", "older", "above"])
        );
        press(&mut board, "ss");
        board.take(look(rows()), Instant::now());
        assert_eq!(
            (board.order, groups(&board)),
            (Order::Name, vec!["above", "longer", "older"])
        );
        press(&mut board, "s");
        assert_eq!(board.order, Order::Hurts);
    }

    #[test]
    fn rows_that_are_about_as_badly_off_keep_their_places() {
        let aged = |group: &str, status, seconds| Row {
            lag_seconds: Some(seconds),
            status,
            ..row(group, "t", 9)
        };
        let mut board = board(vec![
            aged("well", Some("OK"), 3.0),
            aged("b", None, 910.0),
            aged("c", Some("OK"), 2_000.0),
            aged("a", None, 900.0),
            row("above", "t", 0),
        ]);
        assert_eq!(groups(&board), ["c", "a", "b", "above", "well"]);
        let swapped = vec![aged("a", None, 930.0), aged("b", None, 940.0), row("well", "t", 0)];
        board.take(look(swapped), Instant::now());
        assert_eq!(groups(&board), ["a", "b", "well"]);
    }

    #[test]
    fn scrolling_ends_with_the_last_row_at_the_bottom() {
        let mut board = board((0..10).map(|number| row(&format!("g{number}"), "t", 1)).collect());
        board.page = 4;
        press(&mut board, "jj");
        assert_eq!(board.above, 2);
        press(&mut board, "G");
        assert_eq!(board.above, 6);
        press(&mut board, "jjk");
        assert_eq!(board.above, 5);
        board.take(look(vec![row("g", "t", 1)]), Instant::now());
        board.settle();
        assert_eq!(board.above, 0, "the rows have become fewer");
        press(&mut board, "kg");
        assert_eq!(board.above, 0);
    }

    #[test]
    fn a_held_screen_stands_still_and_shows_the_newest_when_it_is_let_go() {
        let mut board = board(vec![row("a", "t", 1)]);
        press(&mut board, "p");
        for lag in [2, 3] {
            board.take(look(vec![row("a", "t", lag)]), Instant::now());
        }
        let lag = |board: &Board| board.rows().next().and_then(|row| row.lag);
        assert_eq!(lag(&board), Some(1));
        assert_eq!(board.picture(&row("a", "t", 1), 3), "  █");
        press(&mut board, "p");
        assert_eq!(lag(&board), Some(3));
        assert_eq!(board.picture(&row("a", "t", 1), 3), "▄▆█");
    }

    #[test]
    fn silence_counts_from_the_last_answer_and_keeps_the_rows() {
        let now = Instant::now();
        let mut board = Board::new(Duration::from_secs(2));
        board.take(look(vec![row("a", "t", 1)]), now);
        board.miss("gone".to_owned(), now + Duration::from_secs(1));
        let mut nobody = look(Vec::new());
        nobody.failed.push("still gone".to_owned());
        board.take(nobody, now + Duration::from_secs(2));
        let silence = board.silence.as_ref().expect("silence");
        assert_eq!((silence.since, silence.said.as_str()), (now, "still gone"));
        assert_eq!(groups(&board), ["a"]);
        board.take(look(vec![row("a", "t", 1)]), now);
        assert!(board.silence.is_none());
        assert_eq!(board.picture(&row("a", "t", 1), 5), " █  █", "two looks were in vain");
        board.take(look(Vec::new()), now);
        assert!(groups(&board).is_empty());
    }
}
