//! The part of CEL that is compiled onto projected fields.
//!
//! Rule: the same answer as the interpreter's, for every record; a property test holds the two together.

use std::cmp::Ordering;

use cel::Value as CelValue;
use cel::common::ast::{CallExpr, Expr as Ast, IdedExpr, operators};

use super::interpreter::Interpreted;
use super::scalar::{Literal, Scalar, TypeName, plain};
use super::{ExprFailure, Scratch, path};
use crate::engine::tap::projection::{Fields, Pointer, ProjectionBuilder, Slot, Value};

/// One node of a compiled expression.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Literal(Literal),
    Field(Slot),
    /// `has(parent.field)`.
    Has {
        parent: Slot,
        field: Slot,
    },
    Equal {
        left: Box<Node>,
        right: Box<Node>,
        negated: bool,
    },
    Order {
        left: Box<Node>,
        right: Box<Node>,
        holds: fn(Ordering) -> bool,
    },
    And(Box<Node>, Box<Node>),
    Or(Box<Node>, Box<Node>),
    Not(Box<Node>),
    Choice {
        condition: Box<Node>,
        yes: Box<Node>,
        no: Box<Node>,
    },
    In(Box<Node>, Vec<Literal>),
    /// `type(of) == name`.
    Type {
        of: Box<Node>,
        name: TypeName,
        negated: bool,
    },
    Size(Box<Node>),
    Search {
        within: Box<Node>,
        what: Box<Node>,
        how: fn(&str, &str) -> bool,
    },
    Interpreted(Box<Interpreted>),
}

#[derive(Debug)]
pub(super) enum Outcome<'v> {
    Native(Scalar<'v>),
    Interpreted(CelValue),
}

// === compilation ===

pub(super) fn compile(expr: &IdedExpr, projection: &mut ProjectionBuilder) -> Node {
    if let Ast::Call(CallExpr {
        func_name,
        target: None,
        args,
    }) = &expr.expr
    {
        // The operators that may leave an operand out: only that operand is worth interpreting.
        match (func_name.as_str(), args.as_slice()) {
            (operators::LOGICAL_AND, [left, right]) => {
                return Node::And(compile(left, projection).into(), compile(right, projection).into());
            }
            (operators::LOGICAL_OR, [left, right]) => {
                return Node::Or(compile(left, projection).into(), compile(right, projection).into());
            }
            (operators::LOGICAL_NOT, [operand]) => return Node::Not(compile(operand, projection).into()),
            (operators::CONDITIONAL, [condition, yes, no]) => {
                return Node::Choice {
                    condition: compile(condition, projection).into(),
                    yes: compile(yes, projection).into(),
                    no: compile(no, projection).into(),
                };
            }
            _ => {}
        }
    }
    // Asked twice: the first time without asking the projection for anything that is not needed in the end.
    if native(expr, &mut |_| Slot(0)).is_none() {
        return Node::Interpreted(Interpreted::new(expr, projection).into());
    }
    let mut want = |names: &[&str]| projection.want(&Pointer::of(names.iter().copied()));
    native(expr, &mut want).expect("the answer does not depend on slots")
}

fn native(expr: &IdedExpr, want: &mut dyn FnMut(&[&str]) -> Slot) -> Option<Node> {
    match &expr.expr {
        Ast::Literal(literal) => Literal::of(literal).map(Node::Literal),
        Ast::Select(select) if select.test => {
            let mut names = path(&select.operand)?;
            let parent = want(&names);
            names.push(&select.field);
            Some(Node::Has {
                parent,
                field: want(&names),
            })
        }
        Ast::Ident(_) | Ast::Select(_) => Some(Node::Field(want(&path(expr)?))),
        Ast::Call(call) => native_call(call, want),
        _ => None,
    }
}

fn native_call(call: &CallExpr, want: &mut dyn FnMut(&[&str]) -> Slot) -> Option<Node> {
    let mut operand = |expr: &IdedExpr| native(expr, want).map(Box::new);
    let name = call.func_name.as_str();
    match (name, call.target.as_deref(), call.args.as_slice()) {
        (operators::EQUALS | operators::NOT_EQUALS, None, [left, right]) => {
            let negated = name == operators::NOT_EQUALS;
            for (one, other) in [(left, right), (right, left)] {
                if let Some(of) = type_argument(one) {
                    return Some(Node::Type {
                        of: operand(of)?,
                        name: TypeName::of(other)?,
                        negated,
                    });
                }
            }
            Some(Node::Equal {
                left: operand(left)?,
                right: operand(right)?,
                negated,
            })
        }
        (operators::LESS, None, [left, right]) => order(operand(left)?, operand(right)?, Ordering::is_lt),
        (operators::LESS_EQUALS, None, [left, right]) => order(operand(left)?, operand(right)?, Ordering::is_le),
        (operators::GREATER, None, [left, right]) => order(operand(left)?, operand(right)?, Ordering::is_gt),
        (operators::GREATER_EQUALS, None, [left, right]) => order(operand(left)?, operand(right)?, Ordering::is_ge),
        (operators::LOGICAL_AND, None, [left, right]) => Some(Node::And(operand(left)?, operand(right)?)),
        (operators::LOGICAL_OR, None, [left, right]) => Some(Node::Or(operand(left)?, operand(right)?)),
        (operators::LOGICAL_NOT, None, [only]) => Some(Node::Not(operand(only)?)),
        (operators::CONDITIONAL, None, [condition, yes, no]) => Some(Node::Choice {
            condition: operand(condition)?,
            yes: operand(yes)?,
            no: operand(no)?,
        }),
        (operators::IN, None, [one, list]) => {
            let Ast::List(list) = &list.expr else { return None };
            let literals = list.elements.iter().map(|element| match &element.expr {
                Ast::Literal(literal) => Literal::of(literal),
                _ => None,
            });
            Some(Node::In(operand(one)?, literals.collect::<Option<_>>()?))
        }
        ("size", None, [only]) | ("size", Some(only), []) => Some(Node::Size(operand(only)?)),
        ("contains", Some(within), [what]) => search(operand(within)?, operand(what)?, |a, b| a.contains(b)),
        ("startsWith", Some(within), [what]) => search(operand(within)?, operand(what)?, |a, b| a.starts_with(b)),
        ("endsWith", Some(within), [what]) => search(operand(within)?, operand(what)?, |a, b| a.ends_with(b)),
        _ => None,
    }
}

fn order(left: Box<Node>, right: Box<Node>, holds: fn(Ordering) -> bool) -> Option<Node> {
    Some(Node::Order { left, right, holds })
}

fn search(within: Box<Node>, what: Box<Node>, how: fn(&str, &str) -> bool) -> Option<Node> {
    Some(Node::Search { within, what, how })
}

/// `x` of `type(x)`.
fn type_argument(expr: &IdedExpr) -> Option<&IdedExpr> {
    match &expr.expr {
        Ast::Call(CallExpr {
            func_name,
            target: None,
            args,
        }) if func_name == "type" && args.len() == 1 => args.first(),
        _ => None,
    }
}

// === impl Node ===

impl Node {
    pub(super) fn is_native(&self) -> bool {
        match self {
            Node::Interpreted(_) => false,
            Node::Not(only) => only.is_native(),
            Node::And(left, right) | Node::Or(left, right) => left.is_native() && right.is_native(),
            Node::Choice { condition, yes, no } => condition.is_native() && yes.is_native() && no.is_native(),
            // Nothing else has interpreted operands.
            _ => true,
        }
    }

    #[inline]
    pub(super) fn test(&self, fields: &Fields<'_>, scratch: &mut Scratch) -> Result<bool, ExprFailure> {
        match self.evaluate(fields, scratch)? {
            Outcome::Native(Scalar::Bool(value)) | Outcome::Interpreted(CelValue::Bool(value)) => Ok(value),
            _ => Err(ExprFailure::Type),
        }
    }

    pub(super) fn evaluate<'v>(
        &'v self,
        fields: &Fields<'v>,
        scratch: &mut Scratch,
    ) -> Result<Outcome<'v>, ExprFailure> {
        match self {
            Node::Interpreted(part) => part.evaluate(fields).map(Outcome::Interpreted),
            Node::Choice { condition, yes, no } => {
                let chosen = if condition.test(fields, scratch)? { yes } else { no };
                chosen.evaluate(fields, scratch)
            }
            node => node.scalar(fields, scratch).map(Outcome::Native),
        }
    }

    fn scalar<'v>(&'v self, fields: &Fields<'v>, scratch: &mut Scratch) -> Result<Scalar<'v>, ExprFailure> {
        let truth = match self {
            Node::Literal(literal) => return Ok(literal.scalar()),
            Node::Field(slot) => return Scalar::of(fields.get(*slot)),
            Node::Size(only) => return only.scalar(fields, scratch)?.size().map(Scalar::Int),
            Node::Choice { .. } | Node::Interpreted(_) => {
                return match self.evaluate(fields, scratch)? {
                    Outcome::Native(scalar) => Ok(scalar),
                    Outcome::Interpreted(CelValue::Bool(value)) => Ok(Scalar::Bool(value)),
                    Outcome::Interpreted(_) => Err(ExprFailure::Type),
                };
            }
            Node::Has { parent, field } => match fields.get(*parent) {
                Value::Object(_) => fields.get(*field) != Value::Missing,
                Value::Missing => return Err(ExprFailure::Missing),
                _ => return Err(ExprFailure::Type),
            },
            Node::Equal { left, right, negated } => {
                left.scalar(fields, scratch)?.equals(right.scalar(fields, scratch)?)? != *negated
            }
            Node::Order { left, right, holds } => {
                holds(left.scalar(fields, scratch)?.compare(right.scalar(fields, scratch)?)?)
            }
            Node::In(one, literals) => {
                let one = one.scalar(fields, scratch)?;
                let mut found = false;
                for literal in literals {
                    found |= literal.scalar().equals(one)?;
                }
                found
            }
            Node::Type { of, name, negated } => (of.scalar(fields, scratch)?.type_name()? == *name) != *negated,
            Node::Search { within, what, how } => {
                match (within.scalar(fields, scratch)?, what.scalar(fields, scratch)?) {
                    (Scalar::Text(within), Scalar::Text(what)) => {
                        how(plain(within, &mut scratch.left), plain(what, &mut scratch.right))
                    }
                    _ => return Err(ExprFailure::Type),
                }
            }
            Node::Not(only) => !only.test(fields, scratch)?,
            Node::And(left, right) => return either(false, left, right, fields, scratch).map(Scalar::Bool),
            Node::Or(left, right) => return either(true, left, right, fields, scratch).map(Scalar::Bool),
        };
        Ok(Scalar::Bool(truth))
    }
}

/// `||` where `decisive` is true, `&&` where it is false: a decisive operand outweighs a failed one.
#[inline]
fn either(
    decisive: bool,
    left: &Node,
    right: &Node,
    fields: &Fields<'_>,
    scratch: &mut Scratch,
) -> Result<bool, ExprFailure> {
    let left = left.test(fields, scratch);
    if left == Ok(decisive) {
        return Ok(decisive);
    }
    let right = right.test(fields, scratch)?;
    if right == decisive { Ok(decisive) } else { left }
}
