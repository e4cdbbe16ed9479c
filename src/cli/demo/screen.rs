//! The live table.
//!
//! Rule: one screen, read from the top: what runs and what was just killed, whether all is right, what the receiver has,
//! what became of each record, how the pipeline does. Colour says state only: green is right, red is wrong,
//! yellow is chaos at work.
//!
//! Edges: the terminal is put back on every way out, a panic included; what does not fit a small terminal is cut from below.

mod journey;
mod panels;

use std::io;
use std::time::Duration;

use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::observe::Picture;
use panels::{beside, padded};

const GOOD: Color = Color::Green;
const BAD: Color = Color::Red;
const CHAOS: Color = Color::Yellow;
const QUIET: Color = Color::DarkGray;
const WIDEST: u16 = 120;
/// How long a death stays in the headline's colour.
const FRESH: Duration = Duration::from_secs(2);

/// The terminal while it belongs to the demo.
pub struct Screen {
    terminal: ratatui::DefaultTerminal,
}

/// What does not change while a demo runs.
#[derive(Clone, Debug)]
pub struct Caption {
    pub planned: Option<Duration>,
    pub workers: u32,
    pub partitions: u32,
    /// Where the status page is.
    pub page: Option<String>,
    /// What the demo does to the pipeline's times, for people.
    pub hurry: String,
}

/// What the demo does at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    Running,
    /// The services have stopped; the last windows close.
    Draining,
}

// === impl Screen ===

impl Screen {
    /// Takes the terminal; a panic gives it back before it is reported.
    pub fn open() -> io::Result<Screen> {
        Ok(Screen {
            terminal: ratatui::try_init()?,
        })
    }

    pub fn draw(&mut self, picture: &Picture, caption: &Caption, scene: Scene) -> io::Result<()> {
        self.terminal
            .draw(|frame| render(frame, picture, caption, scene))
            .map(|_| ())
    }

    /// Waits for a key; `true` when the person wants to end.
    pub fn is_done(&mut self, wait: Duration) -> io::Result<bool> {
        if !event::poll(wait)? {
            return Ok(false);
        }
        let Event::Key(key) = event::read()? else {
            return Ok(false);
        };
        let interrupted = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
        Ok(key.kind == KeyEventKind::Press && (interrupted || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn render(frame: &mut Frame<'_>, picture: &Picture, caption: &Caption, scene: Scene) {
    let area = frame.area();
    let mut rest = Rect {
        width: area.width.min(WIDEST),
        ..area
    };
    if let Some(area) = take(&mut rest, 3) {
        render_head(frame, area, picture, caption, scene);
    }
    if let Some(area) = take(&mut rest, 4) {
        panels::verdict(frame, area, picture, scene);
    }
    if let Some(area) = take(&mut rest, 6) {
        panels::channels(frame, area, picture);
    }
    if let Some(area) = take(&mut rest, 8) {
        let columns = [Constraint::Length(44), Constraint::Length(38), Constraint::Min(30)];
        let [tickets, identities, unanswered] = Layout::horizontal(columns).areas(area);
        panels::tickets(frame, tickets, picture);
        panels::identities(frame, identities, picture);
        panels::unanswered(frame, unanswered, picture);
    }
    if let Some(area) = take(&mut rest, 10) {
        let columns = [Constraint::Min(42), Constraint::Length(30), Constraint::Length(40)];
        let [left, ledger, numbers] = Layout::horizontal(columns).areas(area);
        let [load, journey] = Layout::vertical([Constraint::Length(5), Constraint::Length(5)]).areas(left);
        panels::load(frame, load, picture);
        journey::render(frame, journey, &picture.journeys);
        panels::ledger(frame, ledger, picture);
        panels::numbers(frame, numbers, picture);
    }
    if let Some(area) = take(&mut rest, 2) {
        let hurry = Paragraph::new(caption.hurry.as_str()).wrap(Wrap { trim: true });
        frame.render_widget(hurry.fg(QUIET).block(padded()), area);
    }
}

/// The next lines of what is left, or nothing where they do not fit.
fn take(rest: &mut Rect, height: u16) -> Option<Rect> {
    if rest.height < height {
        rest.height = 0;
        return None;
    }
    let taken = Rect { height, ..*rest };
    *rest = Rect {
        y: rest.y + height,
        height: rest.height - height,
        ..*rest
    };
    Some(taken)
}

fn render_head(frame: &mut Frame<'_>, area: Rect, picture: &Picture, caption: &Caption, scene: Scene) {
    let elapsed = spell(picture.elapsed);
    let time = match (scene, caption.planned) {
        (Scene::Draining, _) => "the last windows close".to_owned(),
        (Scene::Running, Some(planned)) => format!("{elapsed} of {}", spell(planned)),
        (Scene::Running, None) => format!("{elapsed}   q ends"),
    };
    let what = format!(
        "ten topics × {} partitions, {} tap workers, correlate, gauge, export → OTLP",
        caption.partitions, caption.workers
    );
    let title = Line::from(vec![
        Span::from("streamgauge demo").bold(),
        Span::from(format!("   {what}")).fg(QUIET),
    ]);
    let lines = vec![
        beside(area.width, title, Span::from(time).bold()),
        chaos_line(picture),
        match &caption.page {
            Some(page) => Line::from(vec!["in a browser   ".fg(QUIET), page.clone().into()]),
            None => Line::default(),
        },
    ];
    frame.render_widget(Paragraph::new(lines).block(padded()), area);
}

fn chaos_line(picture: &Picture) -> Line<'static> {
    let Some(kills) = &picture.kills else {
        return Line::from(vec![
            "chaos is off".fg(QUIET),
            "   --chaos kills workers while you watch".fg(QUIET),
        ]);
    };
    let count = match kills.count {
        0 => "nobody killed yet".to_owned(),
        1 => "1 kill".to_owned(),
        count => format!("{count} kills"),
    };
    let mut spans = vec!["chaos is on".fg(CHAOS).bold(), format!("   {count}").fg(CHAOS)];
    if let Some(last) = &kills.last {
        let fresh = last.at.elapsed() < FRESH;
        let colour = if last.recovered_after.is_some() { GOOD } else { CHAOS };
        let style = if fresh {
            Style::new().fg(colour).bold()
        } else {
            Style::new()
        };
        spans.push(Span::styled(format!("   {}", last.words()), style));
    }
    Line::from(spans)
}

/// `0:07`, `1:02:03`
pub fn spell(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::demo::journeys::{Example, Journeys, Row};
    use crate::cli::demo::observe::{Rising, Unanswered};
    use crate::cli::demo::received::Answers;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::chaos::Kills;
    use super::*;

    fn drawn(picture: &Picture, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a backend in memory");
        let caption = Caption {
            planned: None,
            workers: 2,
            partitions: 6,
            page: Some("http://127.0.0.1:8686/".to_owned()),
            hurry: "in a hurry".to_owned(),
        };
        terminal
            .draw(|frame| render(frame, picture, &caption, Scene::Running))
            .expect("a backend in memory");
        terminal.backend().to_string()
    }

    fn example() -> Example {
        let row = |name: &str, from, to| Row {
            name: name.to_owned(),
            took: Duration::from_millis(2_910),
            from,
            to,
        };
        Example {
            trace: "0af7651916cd43dd8448eb211c80319c".to_owned(),
            took: Duration::from_millis(2_910),
            about: "whatsapp, complaint".to_owned(),
            rows: vec![
                row("process-message", 0.0, 1.0),
                row("normalized.messages", 0.0, 0.0),
                row("responses.out", 0.0, 1.0),
            ],
        }
    }

    fn picture() -> Picture {
        let channels = vec![
            Rising {
                total: 1_234_567,
                per_second: 89,
                bars: vec![1, 2, 3]
            };
            3
        ];
        Picture {
            channels,
            answers: [Answers {
                count: 7,
                p50: 0.42,
                p95: 2.91,
            }; 4],
            tickets: [[1, 2, 3_333]; 4],
            unanswered: Unanswered {
                unmatched: 4_321,
                ..Unanswered::default()
            },
            journeys: Journeys {
                answered: 77,
                example: Some(example()),
                ..Journeys::default()
            },
            kills: Some(Kills::default()),
            ..Picture::default()
        }
    }

    #[test]
    fn totals_and_the_verdict_are_on_the_screen() {
        let screen = drawn(&picture(), 120, 34);
        for words in [
            "whatsapp",
            "1,234,567",
            "3,703,701",
            "✓ no total",
            "chaos is on",
            "0 ✓",
            "0.42 s p50",
            "2.91 s p95",
            "3,333",
            "4,321",
            "process-message",
            "██",
            "whatsapp, complaint",
            "in a hurry",
            "in a browser   http://127.0.0.1:8686/",
        ] {
            assert!(screen.contains(words), "{words}\n{screen}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let mut picture = picture();
        picture
            .verdict
            .ahead
            .push("a_total{}: 6 came, 5 were written".to_owned());
        let screen = drawn(&picture, 110, 34);
        assert!(screen.contains("✗") && screen.contains("a_total{}: 6 came"), "{screen}");
    }

    #[test]
    fn any_terminal_will_do() {
        for (width, height) in [(1, 1), (20, 5), (80, 24), (300, 100)] {
            drawn(&picture(), width, height);
        }
        assert!(drawn(&picture(), 80, 24).contains("✓ no total"));
    }

    #[test]
    fn times_are_spelled_as_clocks_spell_them() {
        assert_eq!(spell(Duration::from_secs(7)), "0:07");
        assert_eq!(spell(Duration::from_secs(3_723)), "1:02:03");
    }
}
