//! `streamgauge top`: `streamgauge lag`, live in the terminal.
//!
//! Rule: one thread asks the cluster, the other one has the terminal: keys are answered while brokers are silent.
//!
//! Edges:
//! - a cluster that cannot be reached at the start ends the command, as `lag` does; one that goes silent later is asked
//!   again, and the screen keeps what was seen last and says for how long;
//! - the terminal is put back on every way out: a key, a signal, an error, a panic;
//! - without a terminal there is nothing to show on: `lag --watch` writes to files and pipes.

mod board;
mod screen;
mod table;
mod trail;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use clap::Args;
use ratatui::crossterm::event::{self, Event, KeyEventKind};
use ratatui::style::Color;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::cluster::ClusterArgs;
use super::lag::history::History;
use super::lag::look::{Look, Looker, Wanted};
use super::{Exit, complain};
use crate::kafka::{ConnectError, Connection};
use crate::runtime::log::LogError;
use board::{Board, Next};

/// Colours of states.
const GOOD: Color = Color::Green;
const WARNS: Color = Color::Yellow;
const BAD: Color = Color::Red;
const BACK: Color = Color::Magenta;
const QUIET: Color = Color::DarkGray;

/// The longest wait for a key before looks and signals are seen to.
const TICK: Duration = Duration::from_millis(100);

/// At least so often the screen is drawn: it counts seconds of silence.
const REDRAW: Duration = Duration::from_millis(500);

/// How long a look that is under way is waited for at the end.
const FAREWELL: Duration = Duration::from_secs(1);

#[derive(Args, Clone, Debug)]
pub struct TopArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Only this group, may be repeated
    #[arg(long = "group", value_name = "GROUP")]
    groups: Vec<String>,
    /// Only this topic, may be repeated
    #[arg(long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
    /// Look every so many seconds
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    every: u32,
}

/// What the thread that asks has to tell.
enum Told {
    Connected,
    Seen(Box<Look>),
    /// It passes: the next look tries again.
    Silent(String),
    /// No look will be better.
    Over(Exit, String),
}

/// The terminal while it is ours; given back when dropped, and by a panic before it is reported.
struct Screen(ratatui::DefaultTerminal);

pub fn run(args: &TopArgs) -> Exit {
    if !io::stdout().is_terminal() {
        complain("stdout is not a terminal: `streamgauge lag --watch` writes to files and pipes");
        return Exit::Usage;
    }
    let connection = match args.cluster.connection() {
        Ok(connection) => connection,
        Err(exit) => return exit,
    };
    let (tell, told) = channel();
    let (stop, stopped) = channel();
    let asked = args.clone();
    std::thread::spawn(move || ask(&asked, &connection, &tell, &stopped));
    let ended = match told.recv() {
        Ok(Told::Connected) => show(args, &told),
        Ok(Told::Over(exit, said)) => Ok((exit, Some(said))),
        _ => Ok((Exit::Stopped, Some("no look was taken".to_owned()))),
    };
    drop(stop);
    let deadline = Instant::now() + FAREWELL;
    while let Ok(_) | Err(RecvTimeoutError::Timeout) = told.recv_timeout(TICK) {
        if Instant::now() > deadline {
            break;
        }
    }
    match ended {
        Ok((exit, said)) => {
            if let Some(said) = said {
                complain(said);
            }
            exit
        }
        Err(error) => {
            complain(format!("the terminal: {error}"));
            Exit::Stopped
        }
    }
}

/// Asks until nobody listens any more.
fn ask(args: &TopArgs, connection: &Connection, tell: &Sender<Told>, stopped: &Receiver<()>) {
    let looker = match Looker::connect(connection) {
        Ok(looker) => looker,
        Err(error) => {
            let exit = match error {
                ConnectError::Settings(_) => Exit::Usage,
                ConnectError::Unreachable(_) | ConnectError::Login(_) => Exit::Unreachable,
            };
            let _ = tell.send(Told::Over(exit, error.to_string()));
            return;
        }
    };
    let every = Duration::from_secs(args.every.into());
    let wanted = Wanted {
        groups: &args.groups,
        topics: &args.topics,
    };
    let mut history = History::new();
    let mut told = tell.send(Told::Connected);
    while told.is_ok() {
        let began = Instant::now();
        told = tell.send(match looker.look(&wanted, &mut history) {
            Ok(look) => Told::Seen(Box::new(look)),
            Err(error @ LogError::Refused(_)) => Told::Over(Exit::Unreachable, error.to_string()),
            Err(error) => Told::Silent(error.to_string()),
        });
        if stopped.recv_timeout(every.saturating_sub(began.elapsed())) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
    }
}

/// Until somebody ends it: the exit code, and what there is to say when the terminal is back.
fn show(args: &TopArgs, told: &Receiver<Told>) -> io::Result<(Exit, Option<String>)> {
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&ended))?;
    }
    let mut board = Board::new(Duration::from_secs(args.every.into()));
    let mut screen = Screen(ratatui::try_init()?);
    let mut drawn: Option<Instant> = None;
    while !ended.load(Ordering::Relaxed) {
        let mut is_new = false;
        loop {
            match told.try_recv() {
                Ok(Told::Seen(look)) => board.take(*look, Instant::now()),
                Ok(Told::Silent(said)) => board.miss(said, Instant::now()),
                Ok(Told::Over(exit, said)) => return Ok((exit, Some(said))),
                Ok(Told::Connected) => {}
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => {
                    return Ok((Exit::Stopped, Some("nobody looks any more".to_owned())));
                }
            }
            is_new = true;
        }
        if is_new || drawn.is_none_or(|drawn| drawn.elapsed() >= REDRAW) {
            screen
                .0
                .draw(|frame| screen::render(frame, &mut board, Instant::now()))?;
            drawn = Some(Instant::now());
        }
        if !event::poll(TICK)? {
            continue;
        }
        drawn = None;
        if let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
            && board.press(key) == Next::End
        {
            break;
        }
    }
    Ok((Exit::Done, None))
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}
