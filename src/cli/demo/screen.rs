//! The live table.
//!
//! Rule: one screen, read from the top: what runs and what was just killed, whether all is right, what the receiver has,
//! what became of each record, how the pipeline does. Colour says state only: green is right, red is wrong,
//! yellow is chaos at work.
//!
//! Edges: the terminal is put back on every way out, a panic included; what does not fit a small terminal is cut from below.

use std::io;
use std::time::Duration;

use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Padding, Paragraph, Sparkline};

use super::chaos::Kills;
use super::observe::{Picture, Rising};
use super::simulator::Channel;
use super::summary::grouped;

const GOOD: Color = Color::Green;
const BAD: Color = Color::Red;
const CHAOS: Color = Color::Yellow;
const QUIET: Color = Color::DarkGray;
const WIDEST: u16 = 120;
const CHANNELS: [Color; 3] = [Color::Cyan, Color::Blue, Color::Magenta];
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
        render_verdict(frame, area, picture, scene);
    }
    if let Some(area) = take(&mut rest, 6) {
        render_channels(frame, area, picture);
    }
    if let Some(area) = take(&mut rest, 10) {
        let columns = [Constraint::Length(41), Constraint::Length(30), Constraint::Min(30)];
        let [left, ledger, numbers] = Layout::horizontal(columns).areas(area);
        let [tickets, identities] = Layout::vertical([Constraint::Length(4), Constraint::Length(6)]).areas(left);
        render_tickets(frame, tickets, picture);
        render_identities(frame, identities, picture);
        render_ledger(frame, ledger, picture);
        render_numbers(frame, numbers, picture);
    }
    if let Some(area) = take(&mut rest, 6) {
        render_load(frame, area, picture);
    }
    if let Some(area) = take(&mut rest, 1) {
        frame.render_widget(Paragraph::new(caption.hurry.as_str()).fg(QUIET).block(padded()), area);
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
        "ten topics × {} partitions, {} tap workers, gauge, export → OTLP",
        caption.partitions, caption.workers
    );
    let title = Line::from(vec![
        Span::from("streamgauge demo").bold(),
        Span::from(format!("   {what}")).fg(QUIET),
    ]);
    let lines = vec![
        beside(area.width, title, Span::from(time).bold()),
        chaos_line(picture),
        Line::default(),
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

fn render_channels(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
    let block = titled(" messages by channel, as the OTLP receiver has them ");
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let all: u64 = picture.channels.iter().map(|channel| channel.total).sum();
    let rows = Layout::vertical([Constraint::Length(1); 4]).split(inner);
    let columns = |row: Rect| {
        Layout::horizontal([
            Constraint::Length(11),
            Constraint::Length(13),
            Constraint::Length(12),
            Constraint::Length(2),
            Constraint::Min(10),
            Constraint::Length(2),
            Constraint::Length(28),
        ])
        .split(row)
    };
    for (((channel, of_channel), colour), row) in Channel::ALL
        .iter()
        .zip(&picture.channels)
        .zip(CHANNELS)
        .zip(rows.iter())
    {
        let cells = columns(*row);
        frame.render_widget(Paragraph::new(channel.name()).fg(colour).bold(), cells[0]);
        frame.render_widget(Paragraph::new(grouped(of_channel.total)).right_aligned(), cells[1]);
        frame.render_widget(Paragraph::new(rate(of_channel)).right_aligned().fg(QUIET), cells[2]);
        render_sparkline(frame, cells[4], of_channel, colour);
        frame.render_widget(share_bar(of_channel.total, all, colour), cells[6]);
    }
    let cells = columns(rows[3]);
    let per_second: u64 = picture.channels.iter().map(|channel| channel.per_second).sum();
    frame.render_widget(Paragraph::new("together").fg(QUIET), cells[0]);
    frame.render_widget(Paragraph::new(grouped(all)).right_aligned().bold(), cells[1]);
    frame.render_widget(
        Paragraph::new(format!("{}/s", grouped(per_second)))
            .right_aligned()
            .fg(QUIET),
        cells[2],
    );
}

fn render_sparkline(frame: &mut Frame<'_>, area: Rect, rising: &Rising, colour: Color) {
    let width = usize::from(area.width);
    let newest = &rising.bars[rising.bars.len().saturating_sub(width)..];
    frame.render_widget(Sparkline::default().data(newest).style(Style::new().fg(colour)), area);
}

fn share_bar(part: u64, all: u64, colour: Color) -> Line<'static> {
    const WIDTH: u64 = 20;
    let share = if all == 0 { 0.0 } else { part as f64 / all as f64 };
    let full = (share * WIDTH as f64).round() as usize;
    Line::from(vec![
        "█".repeat(full).fg(colour),
        "░".repeat(WIDTH as usize - full.min(WIDTH as usize)).fg(QUIET),
        format!(" {:>4.1} %", share * 100.0).into(),
    ])
}

fn render_tickets(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
    let names = picture
        .tickets
        .iter()
        .map(|(name, _)| format!("{name:>12}"))
        .collect::<String>();
    let totals = picture
        .tickets
        .iter()
        .map(|(_, total)| format!("{:>12}", grouped(*total)))
        .collect::<String>();
    let lines = vec![Line::from(names).fg(QUIET), Line::from(totals)];
    frame.render_widget(
        Paragraph::new(lines).block(titled(" tickets created by priority ")),
        area,
    );
}

fn render_identities(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
    let row = |(name, success, failure): &(&str, u64, u64)| {
        Line::from(vec![
            format!("{name:<12}").fg(QUIET),
            format!("{:>12}", grouped(*success)).into(),
            format!("{:>12}", grouped(*failure)).into(),
        ])
    };
    let mut lines = vec![Line::from(format!("{:<12}{:>12}{:>12}", "", "resolved", "failed")).fg(QUIET)];
    lines.extend(picture.identities.iter().take(3).map(row));
    frame.render_widget(Paragraph::new(lines).block(titled(" identities ")), area);
}

fn render_ledger(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
    let audit = &picture.audit;
    let line = |name: &str, count: u64| {
        Line::from(vec![
            format!("{name:<11}").fg(QUIET),
            format!("{:>15}", grouped(count)).into(),
        ])
    };
    let mut lines: Vec<Line<'_>> = ["counted", "malformed", "future", "oversize"]
        .iter()
        .map(|name| line(name, audit.count(name)))
        .collect();
    lines.push(line(
        "other",
        ["filtered", "expired", "absent"]
            .iter()
            .map(|name| audit.count(name))
            .sum(),
    ));
    lines.push(line("offsets", u64::try_from(audit.committed).unwrap_or(0)));
    lines.push(Line::from(vec![
        format!("{:<11}", "balance").fg(QUIET),
        match audit.balances() {
            true => format!("{:>15}", "0 ✓").fg(GOOD).bold(),
            false => format!("{:>15}", audit.balance).fg(BAD).bold(),
        },
    ]));
    lines.push(Line::from(vec![
        "counted late".fg(QUIET),
        format!("{:>14}", grouped(picture.late)).into(),
    ]));
    frame.render_widget(Paragraph::new(lines).block(titled(" every record ")), area);
}

fn render_numbers(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
    let line = |name: &str, value: String| Line::from(vec![format!("{name:<11}").fg(QUIET), value.into()]);
    let (workers, wire) = (&picture.workers, &picture.wire);
    let age = wire
        .newest_age
        .map_or("none yet".to_owned(), |age| format!("{:.1} s old", age.as_secs_f64()));
    let back = picture.kills.as_ref().and_then(Kills::median_recovery);
    let back = back.map_or(String::new(), |millis| format!(", back in {millis} ms p50"));
    let lines = vec![
        line(
            "commits",
            format!("{}, {} aborted", grouped(workers.committed), workers.aborted),
        ),
        line(
            "  took",
            format!("{:.1} ms p50, {:.1} ms p99", workers.commit.p50, workers.commit.p99),
        ),
        line("restores", format!("{}{back}", grouped(workers.restores))),
        line("rebalances", grouped(workers.rebalances)),
        match wire.is_refused {
            true => Line::from(vec![
                format!("{:<11}", "requests").fg(QUIET),
                "refused right now".fg(CHAOS).bold(),
            ]),
            false => line(
                "requests",
                format!("{}, {} refused", grouped(wire.requests), wire.refused),
            ),
        },
        line(
            "points",
            format!("{}, {} sent again", grouped(wire.points), grouped(wire.resent)),
        ),
        line(
            "end to end",
            format!(
                "{:.1} s p50, {:.1} s p99",
                wire.latency.p50 / 1e3,
                wire.latency.p99 / 1e3
            ),
        ),
        line("newest", age),
    ];
    frame.render_widget(Paragraph::new(lines).block(titled(" the pipeline ")), area);
}

fn render_load(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
    let title = format!(" records a second, {:02}:00 in the simulated day ", picture.hour);
    let block = titled(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [words, bars] = Layout::horizontal([Constraint::Length(38), Constraint::Min(10)]).areas(inner);
    let line = |name: &str, rising: &Rising| {
        Line::from(vec![
            format!("{name:<9}").fg(QUIET),
            format!("{:>10}/s", grouped(rising.per_second)).bold(),
            format!("{:>14}", grouped(rising.total)).into(),
        ])
    };
    let behind = picture.audit.behind.max(0) as u64;
    let waiting = match picture.throttled {
        true => "the services wait".fg(CHAOS),
        false => Span::default(),
    };
    let lines = vec![
        line("written", &picture.written),
        line("read", &picture.read),
        Line::from(vec![
            "in flight".fg(QUIET),
            format!("{:>26}  ", grouped(behind)).into(),
            waiting,
        ]),
    ];
    frame.render_widget(Paragraph::new(lines), words);
    render_sparkline(frame, bars, &picture.read, Color::Gray);
}

fn render_verdict(frame: &mut Frame<'_>, area: Rect, picture: &Picture, scene: Scene) {
    let verdict = &picture.verdict;
    let wrong = verdict.ahead.len() as u64 + picture.wire.violations;
    let on_the_way = picture
        .written
        .total
        .saturating_sub(picture.counted + not_counted(picture));
    let lines = if wrong > 0 || !picture.audit.balances() {
        let first = verdict
            .ahead
            .first()
            .or(picture.wire.violation_texts.first())
            .cloned()
            .unwrap_or_default();
        vec![
            Line::from("✗ more came than was written, or what cannot be".fg(BAD).bold()),
            Line::from(first.fg(BAD)),
        ]
    } else {
        let word = match scene {
            Scene::Running => format!(
                "✓ no total of {} series is ahead of what was written, no offset is unaccounted for",
                verdict.series
            ),
            Scene::Draining => format!(
                "✓ {} of {} series have all that was written",
                verdict.equal, verdict.series
            ),
        };
        vec![
            Line::from(word.fg(GOOD).bold()),
            Line::from(format!("  {} records are in windows that are still open", grouped(on_the_way)).fg(QUIET)),
        ]
    };
    frame.render_widget(Paragraph::new(lines).block(titled(" is it right? ")), area);
}

/// Records that are in no total by right.
fn not_counted(picture: &Picture) -> u64 {
    ["filtered", "future", "malformed", "oversize"]
        .iter()
        .map(|outcome| picture.audit.count(outcome))
        .sum()
}

// --- pieces ---

fn titled<'t>(title: impl Into<Line<'t>>) -> Block<'t> {
    Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(Style::new().fg(QUIET))
        .title(
            title
                .into()
                .style(Style::new().fg(Color::Reset).add_modifier(Modifier::BOLD)),
        )
        .padding(Padding::horizontal(1))
}

fn padded<'b>() -> Block<'b> {
    Block::new().padding(Padding::horizontal(2))
}

/// Text at the left and at the right of one line.
fn beside<'l>(width: u16, mut left: Line<'l>, right: Span<'l>) -> Line<'l> {
    let gap = usize::from(width).saturating_sub(4 + left.width() + right.width());
    left.push_span(Span::from(" ".repeat(gap)));
    left.push_span(right);
    left
}

fn rate(rising: &Rising) -> String {
    format!("{}/s", grouped(rising.per_second))
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
            hurry: "in a hurry".to_owned(),
        };
        terminal
            .draw(|frame| render(frame, picture, &caption, Scene::Running))
            .expect("a backend in memory");
        terminal.backend().to_string()
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
            kills: Some(Kills::default()),
            ..Picture::default()
        }
    }

    #[test]
    fn totals_and_the_verdict_are_on_the_screen() {
        let screen = drawn(&picture(), 110, 34);
        for words in [
            "whatsapp",
            "1,234,567",
            "3,703,701",
            "✓ no total",
            "chaos is on",
            "0 ✓",
            "in a hurry",
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
