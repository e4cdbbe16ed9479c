//! Shapes of earlier records: a writer's next record mostly differs from its last one in its scalars alone.
//!
//! Rule: a shape is everything of a document that is no scalar value (keys, punctuation, white space), cut at the
//! scalars. A document that agrees with a known shape byte for byte, and has a well-formed scalar wherever the shape has
//! one, is well formed and has the same fields at the same places, so there is nothing to look up. Any difference sends
//! the whole document to [`Walk`](super::walk::Walk), whose answer counts, and which teaches the new shape.
//!
//! Edges:
//! - shapes form a tree and share their beginnings; an array that is longer than the last one is another shape;
//! - the tree is small and bounded; documents that keep coming with new shapes (keys that are ids) put it to sleep for a
//!   while, so guessing never costs more than a few percent;
//! - a document in which a wanted key comes twice is never learned.

use super::Malformed;
use super::lex::{self, Kind, Spot};
use super::walk::Watch;

/// Steps of all shapes together.
const MAX_STEPS: usize = 2048;
/// Bytes of all shapes together.
const MAX_BYTES: usize = 128 * 1024;
/// Ways in which shapes may go on from one scalar.
const MAX_WAYS: usize = 8;
/// What a new shape costs, in records that agreed with a known one.
const MISS: i32 = 16;
/// The score at which guessing stops, and at how many records it is tried again.
const WORST: i32 = -64 * MISS;
const BEST: i32 = 64 * MISS;
const SLEEP: u32 = 10_000;

const NONE: u32 = u32::MAX;

/// What is known of earlier records' shapes, for one projection.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    /// The projection that the slots belong to.
    owner: u64,
    steps: Vec<Step>,
    bytes: Vec<u8>,
    marks: Vec<Mark>,
    score: i32,
    /// Records to go before the next guess.
    asleep: u32,
    tape: Tape,
}

/// The bytes up to the next scalar, and the scalar.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// The bytes, as a span of [`Shapes::bytes`].
    start: u32,
    len: u32,
    /// Where wanted containers open and close in these bytes, as a span of [`Shapes::marks`].
    marks: u32,
    mark_count: u32,
    /// The step behind the scalar; [`NONE`] where the document ends with the bytes.
    next: u32,
    /// Another way to go on from the same scalar.
    other: u32,
    /// How long the scalar was when last it was text without escapes: identifiers and times keep their length.
    length: u32,
    /// Who wants the scalar.
    slot: Option<u16>,
}

#[derive(Clone, Copy, Debug)]
struct Mark {
    /// Position within the step's bytes.
    at: u32,
    slot: u16,
    /// [`Kind::Missing`] where the container closes.
    opens: Kind,
}

/// What the walk saw of one document.
#[derive(Debug, Default)]
pub(super) struct Tape {
    scalars: Vec<(u32, u32, Option<u16>)>,
    /// Positions within the document here.
    marks: Vec<Mark>,
    spoiled: bool,
}

// === impl Tape ===

impl Watch for Tape {
    fn scalar(&mut self, at: usize, end: usize, slot: Option<u16>) {
        self.scalars.push((at as u32, end as u32, slot));
    }

    fn open(&mut self, at: usize, slot: u16, kind: Kind) {
        self.marks.push(Mark {
            at: at as u32,
            slot,
            opens: kind,
        });
    }

    fn close(&mut self, end: usize, slot: u16) {
        self.marks.push(Mark {
            at: end as u32,
            slot,
            opens: Kind::Missing,
        });
    }

    fn twice(&mut self) {
        self.spoiled = true;
    }
}

// === impl Shapes ===

impl Shapes {
    /// Whether to guess, and to learn, with this record of the projection `owner`.
    pub(super) fn awake(&mut self, owner: u64) -> bool {
        if self.owner != owner {
            *self = Self {
                owner,
                tape: std::mem::take(&mut self.tape),
                ..Self::default()
            };
        }
        if self.asleep > 0 {
            self.asleep -= 1;
            return false;
        }
        true
    }

    /// Whether the document has a known shape; then its spots are filled, else they may hold anything.
    #[inline]
    pub(super) fn read(&mut self, json: &[u8], spots: &mut [Spot]) -> bool {
        let known = self.follow(json, spots);
        if known {
            self.score = (self.score + 1).min(BEST);
        }
        known
    }

    #[inline]
    fn follow(&mut self, json: &[u8], spots: &mut [Spot]) -> bool {
        let Self {
            steps, bytes, marks, ..
        } = self;
        let mut at = 0;
        let mut index = 0;
        while let Some(step) = steps.get_mut(index as usize) {
            let literal = &bytes[step.start as usize..(step.start + step.len) as usize];
            let behind = at + literal.len();
            index = step.other;
            if !json.get(at..behind).is_some_and(|found| same(found, literal)) {
                continue;
            }
            if step.next == NONE {
                if behind == json.len() {
                    mark(marks, step, at, spots);
                    return true;
                }
                continue;
            }
            let wanted = step.slot.map(|slot| &mut spots[usize::from(slot)]);
            let Some(end) = step.scalar(json, behind, wanted) else {
                continue;
            };
            mark(marks, step, at, spots);
            at = end;
            index = step.next;
        }
        false
    }

    /// An empty tape for the walk over a document of unknown shape.
    pub(super) fn take_tape(&mut self) -> Tape {
        let mut tape = std::mem::take(&mut self.tape);
        tape.scalars.clear();
        tape.marks.clear();
        tape.spoiled = false;
        tape
    }

    /// Adds what the walk saw, if the walk found nothing wrong.
    #[cold]
    pub(super) fn learn(&mut self, json: &[u8], tape: Tape, walked: &Result<(), Malformed>) {
        self.score -= MISS;
        if walked.is_ok() && !tape.spoiled {
            self.add(json, &tape);
        }
        self.tape = tape;
        if self.score <= WORST {
            self.forget();
            self.score = 0;
            self.asleep = SLEEP;
        }
    }

    fn forget(&mut self) {
        self.steps.clear();
        self.bytes.clear();
        self.marks.clear();
    }

    fn add(&mut self, json: &[u8], tape: &Tape) {
        let steps = tape.scalars.len() + 1;
        if steps > MAX_STEPS / 8 || json.len() > MAX_BYTES / 8 {
            return;
        }
        if self.steps.len() + steps > MAX_STEPS || self.bytes.len() + json.len() > MAX_BYTES {
            self.forget();
        }
        let mut marks = tape.marks.as_slice();
        let mut at = 0;
        let mut from = NONE;
        for index in 0..steps {
            let last = (json.len() as u32, json.len() as u32, None);
            let (until, scalar_end, slot) = tape.scalars.get(index).copied().unwrap_or(last);
            // A container that closes right where a scalar begins cannot be: there is a comma between them.
            let here = marks.iter().take_while(|mark| mark.at <= until).count();
            let Some(step) = self.step(from, &json[at as usize..until as usize], index + 1 == steps) else {
                return;
            };
            let step_at = match step {
                Found::Known(known) => known,
                Found::New(new) => {
                    let first = self.marks.len() as u32;
                    self.marks.extend(marks[..here].iter().map(|mark| Mark {
                        at: mark.at - at,
                        ..*mark
                    }));
                    let step = &mut self.steps[new as usize];
                    (step.marks, step.mark_count, step.slot) = (first, here as u32, slot);
                    new
                }
            };
            marks = &marks[here..];
            at = scalar_end;
            from = step_at;
        }
    }

    /// The step with these bytes behind the scalar of step `from`. `None` where there are too many ways already.
    fn step(&mut self, from: u32, literal: &[u8], last: bool) -> Option<Found> {
        let mut index = match from {
            NONE if self.steps.is_empty() => NONE,
            NONE => 0,
            from => self.steps[from as usize].next,
        };
        let mut before = NONE;
        let mut ways = 0;
        while let Some(step) = self.steps.get(index as usize) {
            let known = &self.bytes[step.start as usize..(step.start + step.len) as usize];
            if known == literal && (step.next == NONE) == last {
                return Some(Found::Known(index));
            }
            before = index;
            index = step.other;
            ways += 1;
        }
        if ways == MAX_WAYS {
            return None;
        }
        let new = self.steps.len() as u32;
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(literal);
        // A step that is not the last one is followed by the one that is added next.
        let next = if last { NONE } else { new + 1 };
        self.steps.push(Step {
            start,
            len: literal.len() as u32,
            marks: 0,
            mark_count: 0,
            next,
            other: NONE,
            length: 0,
            slot: None,
        });
        if before != NONE {
            self.steps[before as usize].other = new;
        }
        Some(Found::New(new))
    }
}

// === impl Step ===

impl Step {
    /// The position behind the scalar at `at`, which goes to the one who wants it.
    #[inline]
    fn scalar(&mut self, json: &[u8], at: usize, wanted: Option<&mut Spot>) -> Option<usize> {
        let length = self.length as usize;
        if json.get(at) != Some(&b'"') || !lex::is_plain_string(json, at + 1, length) {
            return self.other_scalar(json, at, wanted);
        }
        if let Some(wanted) = wanted {
            *wanted = Spot::new(Kind::Plain, at + 1, at + 1 + length);
        }
        Some(at + 2 + length)
    }

    #[inline(never)]
    fn other_scalar(&mut self, json: &[u8], at: usize, wanted: Option<&mut Spot>) -> Option<usize> {
        let (spot, end) = lex::scalar(json, at).ok().flatten()?;
        if spot.kind == Kind::Plain {
            self.length = spot.end - spot.start;
        }
        if let Some(wanted) = wanted {
            *wanted = spot;
        }
        Some(end)
    }
}

#[inline]
fn mark(marks: &[Mark], step: &Step, at: usize, spots: &mut [Spot]) {
    for mark in &marks[step.marks as usize..(step.marks + step.mark_count) as usize] {
        let spot = &mut spots[usize::from(mark.slot)];
        match mark.opens {
            Kind::Missing => spot.end = at as u32 + mark.at,
            kind => {
                *spot = Spot {
                    kind,
                    start: at as u32 + mark.at,
                    end: 0,
                }
            }
        }
    }
}

enum Found {
    Known(u32),
    New(u32),
}

/// Whether two slices of one length are equal: short ones, where a call to `memcmp` costs more than comparing.
#[inline]
fn same(left: &[u8], right: &[u8]) -> bool {
    debug_assert_eq!(left.len(), right.len());
    let len = left.len();
    if len >= 16 {
        let mut at = 0;
        while at + 16 < len {
            if word::<16>(left, at) != word::<16>(right, at) {
                return false;
            }
            at += 16;
        }
        word::<16>(left, len - 16) == word::<16>(right, len - 16)
    } else if len >= 8 {
        word::<8>(left, 0) == word::<8>(right, 0) && word::<8>(left, len - 8) == word::<8>(right, len - 8)
    } else if len >= 4 {
        word::<4>(left, 0) == word::<4>(right, 0) && word::<4>(left, len - 4) == word::<4>(right, len - 4)
    } else {
        left.iter().eq(right)
    }
}

#[inline]
fn word<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N]
        .try_into()
        .expect("the slice has the length of the array")
}
