//! Conditions and computed labels, written in CEL.
//!
//! Rule: an expression is CEL over one record, whose top-level keys are its identifiers. It means what CEL says it means
//! (errors included); how it is evaluated is only a question of cost. Field selection, `has`, comparisons, `&&`, `||`,
//! `!`, `? :`, `in` a list of literals, `type(x) == t`, `size`, `contains`, `startsWith` and `endsWith` are compiled onto
//! the projected fields ([`native`]); everything else goes to the interpreter of the `cel` crate ([`interpreter`]), which
//! is given only the top-level fields that the expression names.
//!
//! Edges:
//! - selecting a field that is not there is an error, and `error && false` is false, `error || true` is true; an error
//!   in a condition means that the condition is not met, in a label it is treated like a missing field;
//! - an integer of JSON is an `int`, where it fits 64 bits; every other number is a `double`;
//! - a field whose name is the name of a CEL type (`type`, `int`, `string`) is that type where an interpreted expression
//!   finds no such field;
//! - CEL does not say in which order the entries of a map come, so expressions that depend on it are not repeatable;
//! - `has(a)` of a top-level field is not CEL; `a == null`, or just the condition, does what is wanted.

mod functions;
mod interpreter;
mod native;
mod scalar;

use std::ops::Range;

use cel::Program;
use cel::common::ast::{Expr as Ast, IdedExpr};

use super::projection::{Fields, ProjectionBuilder};
use native::{Node, Outcome};

/// A compiled expression; belongs to the projection whose builder it was compiled with.
#[derive(Clone, Debug)]
pub struct Expr {
    source: String,
    node: Node,
    cost: Cost,
}

/// What an evaluation costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cost {
    /// Some nanoseconds for each field and operator.
    Native,
    /// Microseconds: at least a part of it goes to the interpreter.
    Interpreted,
}

/// What is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExprError {
    /// Bytes of the source.
    pub span: Range<usize>,
    pub message: String,
    /// What would be right.
    pub help: Option<String>,
}

/// Why an expression has no value for a record. Says nothing of the record's content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExprFailure {
    #[error("a field is missing")]
    Missing,
    #[error("the types do not go together")]
    Type,
    #[error("the result is no text, number, boolean or null")]
    NoScalar,
    #[error("a value is out of range")]
    Range,
}

/// What [`Expr::write`] wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    Value,
    /// The value is null, and nothing was written.
    Null,
}

/// Buffers that evaluations reuse.
#[derive(Debug, Default)]
pub struct Scratch {
    left: Vec<u8>,
    right: Vec<u8>,
}

// === impl Expr ===

impl Expr {
    /// Compiles CEL, and asks `projection` for the fields that it needs.
    pub fn compile(source: &str, projection: &mut ProjectionBuilder) -> Result<Expr, ExprError> {
        let program = Program::compile(source).map_err(|errors| syntax_error(source, &errors))?;
        functions::check(program.expression(), source, program.source_info())?;
        let node = native::compile(program.expression(), projection);
        let cost = if node.is_native() {
            Cost::Native
        } else {
            Cost::Interpreted
        };
        Ok(Expr {
            source: source.to_owned(),
            node,
            cost,
        })
    }

    /// As it was written.
    pub fn source(&self) -> &str {
        &self.source
    }

    pub fn cost(&self) -> Cost {
        self.cost
    }

    /// The value of a condition. Anything but a boolean is [`ExprFailure::Type`].
    #[inline]
    pub fn test(&self, fields: &Fields<'_>, scratch: &mut Scratch) -> Result<bool, ExprFailure> {
        self.node.test(fields, scratch)
    }

    /// Appends the value: text as it is, numbers and booleans as JSON spells them (a field's number as the record spells
    /// it). Lists, maps and what else CEL has are a failure.
    pub fn write(&self, fields: &Fields<'_>, scratch: &mut Scratch, out: &mut Vec<u8>) -> Result<Written, ExprFailure> {
        match self.node.evaluate(fields, scratch)? {
            Outcome::Native(scalar) => scalar.write(out),
            Outcome::Interpreted(value) => interpreter::write(&value, out),
        }
    }
}

/// The first error of the parser, in our words where they are better.
fn syntax_error(source: &str, errors: &cel::ParseErrors) -> ExprError {
    let Some(error) = errors.errors.first() else {
        return ExprError {
            span: 0..source.len(),
            message: "no CEL expression".to_owned(),
            help: None,
        };
    };
    let (line, column) = error.pos;
    let lines_before: usize = source
        .split_inclusive('\n')
        .take(usize::try_from(line - 1).unwrap_or(0))
        .map(str::len)
        .sum();
    let column = usize::try_from(column - 1).unwrap_or(0);
    let start = byte_of(&source[lines_before..], column) + lines_before;
    let end = source[start..]
        .chars()
        .next()
        .map_or(start, |character| start + character.len_utf8());
    let message = match error.msg.split_once(" expecting ") {
        Some((problem, _)) => problem.to_owned(),
        None => error.msg.clone(),
    };
    let help = if message.contains("has() macro") {
        Some("`has` asks for a field of a field, as in `has(data.channel)`".to_owned())
    } else if message.contains("'='") || source[start..].starts_with('=') {
        Some("equality is written `==`".to_owned())
    } else {
        None
    };
    ExprError {
        span: start..end,
        message,
        help,
    }
}

/// The byte at which a character starts; the end of the text where there are not so many.
fn byte_of(text: &str, character: usize) -> usize {
    text.char_indices().nth(character).map_or(text.len(), |(byte, _)| byte)
}

/// The names of a chain of selections that starts at an identifier: `a.b.c`.
fn path(expr: &IdedExpr) -> Option<Vec<&str>> {
    match &expr.expr {
        Ast::Ident(name) => Some(vec![name]),
        Ast::Select(select) if !select.test => {
            let mut names = path(&select.operand)?;
            names.push(&select.field);
            Some(names)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
