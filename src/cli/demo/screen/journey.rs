//! One conversation on the screen: its spans under each other, each where it is in time.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::{Color, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::QUIET;
use super::panels::titled;
use crate::cli::demo::journeys::{Journeys, Row};
use crate::cli::demo::summary::{grouped, in_seconds};

/// Of the root, of the request, of the response.
const COLOURS: [Color; 3] = [Color::Gray, Color::Cyan, Color::Magenta];
const NAME: usize = 20;
const TIME: usize = 8;

pub(super) fn render(frame: &mut Frame<'_>, area: Rect, journeys: &Journeys) {
    let traces = grouped(journeys.answered + journeys.unanswered);
    let Some(example) = &journeys.example else {
        return frame.render_widget(titled(format!(" {traces} traces ")), area);
    };
    let block = titled(format!(" {traces} traces; one: {} ", example.about));
    let width = usize::from(block.inner(area).width).saturating_sub(NAME + TIME).max(1);
    let rows = example.rows.iter().zip(COLOURS);
    let lines: Vec<Line<'_>> = rows.map(|(row, colour)| line(row, colour, width)).collect();
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn line(row: &Row, colour: Color, width: usize) -> Line<'static> {
    let (before, bar, after) = row.bar(width);
    Line::from(vec![
        format!("{:<NAME$}", row.name).fg(QUIET),
        Span::from(before),
        bar.fg(colour),
        Span::from(after),
        format!("{:>TIME$}", in_seconds(row.took)).into(),
    ])
}
