//! Finds the points of a refused request that are refused alone.
//!
//! Rule: the request is halved, left half first, down to the single point, with at most [`MAX_PROBES`] probes. Every point ends
//! as exactly one of accepted, rejected, already there, expired or quarantined (see [`Tally`]). Only a point that is refused
//! alone is quarantined.
//!
//! Edges:
//! - spans are halved like points, each as a series of its own; "already there" and "expired" mean the same of them;
//! - the last probe tries all that is left in one; when that is refused too it is quarantined in one piece, which says so;
//! - *expired*: a piece whose points are all older than [`YOUNG`] is taken at its word, else it is halved; a single point
//!   refused for its age has expired and is not quarantined;
//! - *already there* of a piece says that at least one of its points is. After a crash it is most often all of them, but a
//!   crash within a bisection leaves a request of which the first part is there and the rest is not. So a piece of more than
//!   [`SMALL`] points is spot-checked: the first point of its first, middle and last series, each alone (a first point
//!   cannot overtake another of its series). Pieces go series by series, so what lies between two spots that are there is
//!   there too; what lies around a spot that is not is asked for. Where this guess is wrong (two receivers' worth of history
//!   behind one address) a point of a cumulative series is missing, and the next one makes up for it;
//! - when the probes are spent and every single answer was "already there", the rest is taken as there too;
//! - `Retry` decides nothing: the same piece is handed out again.

use bytes::Bytes;

use super::parts::Parts;
use super::settings::Signal;
use super::verdict::Verdict;
use crate::engine::time::{Span, WallTime};

/// The most requests that one refused request may cost.
pub const MAX_PROBES: u32 = 64;

/// Points younger than this are not given up because a receiver calls their request too old.
pub const YOUNG: Span = Span::seconds(3_600);

/// Pieces up to this many points are halved without a spot check, which would cost as much.
const SMALL: usize = 6;

/// One refused request on its way through the probes.
pub struct Bisect {
    signal: Signal,
    points: Parts,
    /// Points after this are young, nanoseconds since the epoch.
    young_after: u64,
    /// What is still to be asked, the next one last.
    todo: Vec<Probe>,
    /// What was handed out and has no answer yet.
    asked: Option<Probe>,
    probes: u32,
    only_already_there: bool,
    outcome: Outcome,
}

/// Numbers of points, ascending and never empty.
type Piece = Vec<usize>;

enum Probe {
    /// These points in one request.
    Piece(Piece),
    /// The first of `spots` (places in `piece`) alone, to learn how much of `piece` is there.
    Spot { piece: Piece, spots: Vec<usize> },
}

/// Where the points of a request ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub accepted: u64,
    /// Lost at the receiver, by its own word (partial success).
    pub rejected: u64,
    pub already_there: u64,
    pub expired: u64,
    pub quarantined: u64,
}

/// Points that were refused for good, as a request of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    pub points: u64,
    pub request: Bytes,
    pub reason: String,
}

/// What became of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub tally: Tally,
    pub quarantined: Vec<Quarantined>,
    /// Records, by topic, that are written with the commit.
    pub records: Vec<(String, Vec<u8>)>,
}

// === impl Bisect ===

impl Bisect {
    /// Takes a request and the verdict that refused it. An error means that it cannot be read, and so not be halved.
    pub fn new(signal: Signal, request: &[u8], refusal: Verdict, now: WallTime) -> Result<Bisect, prost::DecodeError> {
        let points = Parts::read(signal, request)?;
        let whole: Piece = (0..points.len()).collect();
        let mut bisect = Bisect {
            signal,
            points,
            young_after: now.as_event().back(YOUNG).unix_nanos(),
            todo: Vec::new(),
            asked: None,
            probes: 0,
            only_already_there: true,
            outcome: Outcome::default(),
        };
        if !whole.is_empty() {
            bisect.asked = Some(Probe::Piece(whole));
            bisect.answer(refusal);
        }
        Ok(bisect)
    }

    /// The next request to send; the same again until it was answered. `None` when every point has its end.
    #[expect(
        clippy::should_implement_trait,
        reason = "every item must be answered before the next"
    )]
    pub fn next(&mut self) -> Option<Bytes> {
        if self.asked.is_none() {
            let mut probe = self.todo.pop()?;
            self.probes += 1;
            if self.is_last_probe() {
                let rest = self.todo.drain(..).rev().flat_map(Probe::into_piece);
                probe = Probe::Piece(probe.into_piece().into_iter().chain(rest).collect());
            }
            self.asked = Some(probe);
        }
        match self.asked.as_ref()? {
            Probe::Piece(piece) => Some(self.points.piece(piece)),
            Probe::Spot { piece, spots } => Some(self.points.piece(&[piece[spots[0]]])),
        }
    }

    /// The verdict on what [`Bisect::next`] handed out.
    pub fn answer(&mut self, verdict: Verdict) {
        if matches!(verdict, Verdict::Retry { .. }) {
            return;
        }
        self.only_already_there &= matches!(verdict, Verdict::AlreadyThere { .. });
        match self.asked.take() {
            Some(Probe::Piece(piece)) => self.answer_piece(piece, verdict),
            Some(Probe::Spot { piece, spots }) => self.answer_spot(piece, spots, verdict),
            None => {}
        }
    }

    pub fn finish(self) -> Outcome {
        self.outcome
    }

    fn answer_piece(&mut self, piece: Piece, verdict: Verdict) {
        let count = piece.len() as u64;
        let single = piece.len() == 1;
        let spent = self.is_last_probe();
        let tally = &mut self.outcome.tally;
        match verdict {
            Verdict::Accepted => tally.accepted += count,
            Verdict::PartialSuccess { rejected, .. } => {
                let rejected = u64::try_from(rejected).unwrap_or(0).min(count);
                tally.rejected += rejected;
                tally.accepted += count - rejected;
            }
            Verdict::AlreadyThere { .. } if single || spent && self.only_already_there => {
                tally.already_there += count;
            }
            Verdict::AlreadyThere { message } => match self.spots(&piece) {
                Some(spots) if !spent => self.todo.push(Probe::Spot { piece, spots }),
                _ => self.halve(piece, &message),
            },
            Verdict::Expired { message } => {
                if single || self.points.newest(&piece) <= self.young_after {
                    tally.expired += count;
                } else {
                    self.halve(piece, &message);
                }
            }
            Verdict::Refused { message } | Verdict::TooLarge { message } => self.halve(piece, &message),
            Verdict::Retry { .. } => unreachable!("decides nothing"),
        }
    }

    /// A spot is a point like any other: its verdict is final for it, and it leaves its piece.
    fn answer_spot(&mut self, mut piece: Piece, mut spots: Vec<usize>, verdict: Verdict) {
        let there = matches!(verdict, Verdict::AlreadyThere { .. });
        let spot = spots.remove(0);
        let point = piece.remove(spot);
        self.answer_piece(vec![point], verdict);
        let rest = piece.split_off(spot);
        if there {
            self.outcome.tally.already_there += piece.len() as u64;
            if spots.is_empty() {
                self.push(rest);
            } else {
                spots.iter_mut().for_each(|later| *later -= spot + 1);
                self.todo.push(Probe::Spot { piece: rest, spots });
            }
        } else if piece.is_empty() {
            self.push_halves(rest);
        } else {
            self.push(rest);
            self.push(piece);
        }
    }

    /// Halves what can be halved and may still be asked; quarantines the rest.
    fn halve(&mut self, piece: Piece, message: &str) {
        if piece.len() > 1 && !self.is_last_probe() {
            self.push_halves(piece);
            return;
        }
        let reason = match piece.len() {
            1 => message.to_owned(),
            points => format!(
                "{points} {} not looked at one by one ({MAX_PROBES} probes are spent): {message}",
                self.signal.parts()
            ),
        };
        let points = piece.len() as u64;
        self.outcome.tally.quarantined += points;
        self.outcome.quarantined.push(Quarantined {
            points,
            request: self.points.piece(&piece),
            reason,
        });
    }

    fn push_halves(&mut self, mut left: Piece) {
        let right = left.split_off(left.len().div_ceil(2));
        self.push(right);
        self.push(left);
    }

    fn push(&mut self, piece: Piece) {
        if !piece.is_empty() {
            self.todo.push(Probe::Piece(piece));
        }
    }

    /// The spots of a piece: where its first, middle and last series begin. Series of several points are preferred, since
    /// receivers take the identical newest point of a series again.
    fn spots(&self, piece: &[usize]) -> Option<Vec<usize>> {
        if piece.len() <= SMALL {
            return None;
        }
        let all = self.points.series_starts(piece);
        let ends = all.iter().skip(1).copied().chain([piece.len()]);
        let longer: Vec<usize> = all
            .iter()
            .zip(ends)
            .filter(|(start, end)| end - **start > 1)
            .map(|(start, _)| *start)
            .collect();
        match if longer.len() > 1 { longer } else { all }.as_slice() {
            [] | [_] => None,
            [first, last] => Some(vec![*first, *last]),
            [first, middle @ .., last] => Some(vec![*first, middle[middle.len() / 2], *last]),
        }
    }

    fn is_last_probe(&self) -> bool {
        self.probes >= MAX_PROBES
    }
}

// === impl Probe ===

impl Probe {
    fn into_piece(self) -> Piece {
        match self {
            Probe::Piece(piece) | Probe::Spot { piece, .. } => piece,
        }
    }
}

// === impl Tally ===

impl Tally {
    pub fn points(&self) -> u64 {
        self.accepted + self.rejected + self.already_there + self.expired + self.quarantined
    }
}

// === impl Outcome ===

impl Outcome {
    /// A request that was refused and cannot be halved.
    pub fn of_unreadable(request: Bytes, reason: String) -> Outcome {
        Outcome::quarantine(request, reason, 0)
    }

    /// One that is refused as a whole.
    pub fn of_refused(request: Bytes, reason: String) -> Outcome {
        Outcome::quarantine(request, reason, 1)
    }

    fn quarantine(request: Bytes, reason: String, points: u64) -> Outcome {
        Outcome {
            tally: Tally {
                quarantined: points,
                ..Tally::default()
            },
            quarantined: vec![Quarantined {
                points,
                request,
                reason,
            }],
            ..Outcome::default()
        }
    }
}

#[cfg(test)]
#[path = "bisect_tests.rs"]
mod tests;
