//! The framed parts of the screen, one function each.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, BorderType, Padding, Paragraph, Sparkline};

use super::{BAD, CHAOS, GOOD, QUIET, Scene};
use crate::cli::demo::chaos::Kills;
use crate::cli::demo::joined::CHANNELS;
use crate::cli::demo::observe::{Picture, Rising};
use crate::cli::demo::simulator::{Channel, Priority};
use crate::cli::demo::summary::grouped;

const COLOURS: [Color; 3] = [Color::Cyan, Color::Blue, Color::Magenta];

pub(super) fn channels(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
    let block = titled(" messages by channel, and the time to the first answer, as the OTLP receiver has them ");
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
            Constraint::Length(17),
            Constraint::Length(27),
        ])
        .split(row)
    };
    let of_channels = picture.channels.iter().zip(&picture.answers);
    for (((channel, (of_channel, answers)), colour), row) in
        Channel::ALL.iter().zip(of_channels).zip(COLOURS).zip(rows.iter())
    {
        let cells = columns(*row);
        frame.render_widget(Paragraph::new(channel.name()).fg(colour).bold(), cells[0]);
        frame.render_widget(Paragraph::new(grouped(of_channel.total)).right_aligned(), cells[1]);
        frame.render_widget(Paragraph::new(rate(of_channel)).right_aligned().fg(QUIET), cells[2]);
        render_sparkline(frame, cells[4], of_channel, colour);
        frame.render_widget(share_bar(of_channel.total, all, colour), cells[6]);
        let took = format!("{:>7.2} s p50 {:>6.2} s p95", answers.p50, answers.p95);
        frame.render_widget(Paragraph::new(took).right_aligned(), cells[7]);
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
    const WIDTH: u64 = 9;
    let share = if all == 0 { 0.0 } else { part as f64 / all as f64 };
    let full = (share * WIDTH as f64).round() as usize;
    Line::from(vec![
        "█".repeat(full).fg(colour),
        "░".repeat(WIDTH as usize - full.min(WIDTH as usize)).fg(QUIET),
        format!(" {:>4.1} %", share * 100.0).into(),
    ])
}

pub(super) fn tickets(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
    let names = Priority::ALL.map(|priority| format!("{:>9}", priority.name())).concat();
    let mut lines = vec![Line::from(format!("{:<12}{names}", "")).fg(QUIET)];
    lines.extend(CHANNELS.iter().zip(&picture.tickets).map(|(channel, tickets)| {
        let tickets = tickets.map(|total| format!("{:>9}", grouped(total))).concat();
        Line::from(vec![format!("{channel:<12}").fg(QUIET), tickets.into()])
    }));
    let together = [0, 1, 2].map(|priority| picture.tickets.iter().map(|tickets| tickets[priority]).sum::<u64>());
    let together = together.map(|total| format!("{:>9}", grouped(total))).concat();
    lines.push(Line::from(format!("{:<12}{together}", "together")).fg(QUIET));
    frame.render_widget(
        Paragraph::new(lines).block(titled(" tickets by channel and priority ")),
        area,
    );
}

pub(super) fn unanswered(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
    let of = &picture.unanswered;
    let line = |name: &str, count: u64| {
        Line::from(vec![
            format!("{name:<23}").fg(QUIET),
            format!("{:>10}", grouped(count)).into(),
        ])
    };
    let lines = vec![
        line("not answered in time", of.unanswered),
        line("waiting now", of.open),
        line("answers to no message", of.unmatched),
        line("second answers", of.second),
        line("answers out of the past", of.negative),
        line("messages said twice", of.duplicate),
    ];
    frame.render_widget(Paragraph::new(lines).block(titled(" no response time ")), area);
}

pub(super) fn identities(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
    let row = |(name, success, failure): &(&str, u64, u64)| {
        Line::from(vec![
            format!("{name:<14}").fg(QUIET),
            format!("{:>10}", grouped(*success)).into(),
            format!("{:>10}", grouped(*failure)).into(),
        ])
    };
    let mut lines = vec![Line::from(format!("{:<14}{:>10}{:>10}", "", "resolved", "failed")).fg(QUIET)];
    lines.extend(picture.identities.iter().map(row));
    frame.render_widget(Paragraph::new(lines).block(titled(" identities ")), area);
}

pub(super) fn ledger(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
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

pub(super) fn numbers(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
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

pub(super) fn load(frame: &mut Frame<'_>, area: Rect, picture: &Picture) {
    let title = format!(" records a second, at {:02}:00 ", picture.hour);
    let block = titled(title);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let [words, bars] = Layout::horizontal([Constraint::Length(38), Constraint::Min(0)]).areas(inner);
    let line = |name: &str, rising: &Rising| {
        Line::from(vec![
            format!("{name:<9}").fg(QUIET),
            format!("{:>10}/s", grouped(rising.per_second)).bold(),
            format!("{:>16}", grouped(rising.total)).into(),
        ])
    };
    let behind = picture.audit.behind.max(0) as u64;
    let lines = vec![
        line("written", &picture.written),
        line("read", &picture.read),
        Line::from(vec![
            "in flight".fg(QUIET),
            match picture.throttled {
                true => format!("{:>28}", "the services wait").fg(CHAOS),
                false => format!("{:>28}", grouped(behind)).into(),
            },
        ]),
    ];
    frame.render_widget(Paragraph::new(lines), words);
    render_sparkline(frame, bars, &picture.read, Color::Gray);
}

pub(super) fn verdict(frame: &mut Frame<'_>, area: Rect, picture: &Picture, scene: Scene) {
    let verdict = &picture.verdict;
    let journeys = &picture.journeys;
    let wrong = verdict.ahead.len() as u64 + picture.wire.violations + journeys.violations + journeys.orphans;
    let on_the_way = picture
        .written
        .total
        .saturating_sub(picture.counted + not_counted(picture));
    let lines = if wrong > 0 || !picture.audit.balances() {
        let first = verdict
            .ahead
            .first()
            .or(picture.wire.violation_texts.first())
            .or(journeys.violation_texts.first())
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

pub(super) fn titled<'t>(title: impl Into<Line<'t>>) -> Block<'t> {
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

pub(super) fn padded<'b>() -> Block<'b> {
    Block::new().padding(Padding::horizontal(2))
}

/// Text at the left and at the right of one line.
pub(super) fn beside<'l>(width: u16, mut left: Line<'l>, right: Span<'l>) -> Line<'l> {
    let gap = usize::from(width).saturating_sub(4 + left.width() + right.width());
    left.push_span(Span::from(" ".repeat(gap)));
    left.push_span(right);
    left
}

fn rate(rising: &Rising) -> String {
    format!("{}/s", grouped(rising.per_second))
}
