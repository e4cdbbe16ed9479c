//! The values of compiled expressions: borrowed from the record or from the expression, never copied.
//!
//! Rule: equality, order, size and type are those of CEL, as the `cel` crate has them.

use std::cmp::Ordering;

use cel::Value as CelValue;
use cel::common::ast::{Expr as Ast, IdedExpr, LiteralValue};

use super::interpreter::{self, Number};
use super::{ExprFailure, Written};
use crate::engine::tap::projection::{Text, Value};

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TypeName {
    Null,
    Bool,
    Int,
    Double,
    Text,
    List,
    Map,
}

/// A value on the way, borrowed from the record or from the expression.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scalar<'v> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    /// As the record spells it.
    Number(&'v str),
    Text(Text<'v>),
    Array(&'v [u8]),
    Object(&'v [u8]),
}

// === impl Literal ===

impl Literal {
    pub(super) fn of(literal: &LiteralValue) -> Option<Literal> {
        Some(match literal {
            LiteralValue::Null => Literal::Null,
            LiteralValue::Boolean(value) => Literal::Bool(*value.inner()),
            LiteralValue::Int(value) => Literal::Int(*value.inner()),
            LiteralValue::Double(value) => Literal::Double(*value.inner()),
            LiteralValue::String(value) => Literal::Text(value.inner().to_owned()),
            LiteralValue::Bytes(_) | LiteralValue::UInt(_) => return None,
        })
    }

    pub(super) fn scalar(&self) -> Scalar<'_> {
        match self {
            Literal::Null => Scalar::Null,
            Literal::Bool(value) => Scalar::Bool(*value),
            Literal::Int(value) => Scalar::Int(*value),
            Literal::Double(value) => Scalar::Double(*value),
            Literal::Text(text) => Scalar::Text(Text::plain(text)),
        }
    }
}

// === impl TypeName ===

impl TypeName {
    pub(super) fn of(expr: &IdedExpr) -> Option<TypeName> {
        let Ast::Ident(name) = &expr.expr else { return None };
        Some(match name.as_str() {
            "null_type" => TypeName::Null,
            "bool" => TypeName::Bool,
            "int" => TypeName::Int,
            "double" => TypeName::Double,
            "string" => TypeName::Text,
            "list" => TypeName::List,
            "map" => TypeName::Map,
            _ => return None,
        })
    }
}

// === impl Scalar ===

impl<'v> Scalar<'v> {
    #[inline]
    pub(super) fn of(value: Value<'v>) -> Result<Scalar<'v>, ExprFailure> {
        Ok(match value {
            Value::Missing => return Err(ExprFailure::Missing),
            Value::Null => Scalar::Null,
            Value::Bool(value) => Scalar::Bool(value),
            Value::Number(text) => Scalar::Number(text),
            Value::Text(text) => Scalar::Text(text),
            Value::Array(bytes) => Scalar::Array(bytes),
            Value::Object(bytes) => Scalar::Object(bytes),
        })
    }

    fn number(self) -> Result<Option<Number>, ExprFailure> {
        Ok(match self {
            Scalar::Int(value) => Some(Number::Int(value)),
            Scalar::Double(value) => Some(Number::Double(value)),
            Scalar::Number(text) => Some(Number::of(text)?),
            _ => None,
        })
    }

    #[inline]
    pub(super) fn equals(self, other: Scalar<'_>) -> Result<bool, ExprFailure> {
        Ok(match (self, other) {
            (Scalar::Text(left), Scalar::Text(right)) => match (left.as_plain(), right.as_plain()) {
                (Some(left), _) => right.eq_str(left),
                (None, Some(right)) => left.eq_str(right),
                (None, None) => left.chars().eq(right.chars()),
            },
            (Scalar::Bool(left), Scalar::Bool(right)) => left == right,
            (Scalar::Null, Scalar::Null) => true,
            (Scalar::Array(left), Scalar::Array(right)) => tree(Value::Array(left))? == tree(Value::Array(right))?,
            (Scalar::Object(left), Scalar::Object(right)) => tree(Value::Object(left))? == tree(Value::Object(right))?,
            (left, right) => match (left.number()?, right.number()?) {
                (Some(left), Some(right)) => left.compare(right) == Some(Ordering::Equal),
                _ => false,
            },
        })
    }

    pub(super) fn compare(self, other: Scalar<'_>) -> Result<Ordering, ExprFailure> {
        match (self, other) {
            (Scalar::Text(left), Scalar::Text(right)) => Ok(left.chars().cmp(right.chars())),
            (Scalar::Bool(left), Scalar::Bool(right)) => Ok(left.cmp(&right)),
            (left, right) => match (left.number()?, right.number()?) {
                (Some(left), Some(right)) => left.compare(right).ok_or(ExprFailure::Type),
                _ => Err(ExprFailure::Type),
            },
        }
    }

    pub(super) fn type_name(self) -> Result<TypeName, ExprFailure> {
        Ok(match self {
            Scalar::Null => TypeName::Null,
            Scalar::Bool(_) => TypeName::Bool,
            Scalar::Text(_) => TypeName::Text,
            Scalar::Array(_) => TypeName::List,
            Scalar::Object(_) => TypeName::Map,
            Scalar::Int(_) | Scalar::Double(_) | Scalar::Number(_) => match self.number()? {
                Some(Number::Int(_)) => TypeName::Int,
                _ => TypeName::Double,
            },
        })
    }

    pub(super) fn size(self) -> Result<i64, ExprFailure> {
        let size = match self {
            Scalar::Text(text) => text.chars().count(),
            Scalar::Array(bytes) => match tree(Value::Array(bytes))? {
                Some(CelValue::List(items)) => items.len(),
                _ => return Err(ExprFailure::Type),
            },
            Scalar::Object(bytes) => match tree(Value::Object(bytes))? {
                Some(CelValue::Map(map)) => map.map.len(),
                _ => return Err(ExprFailure::Type),
            },
            _ => return Err(ExprFailure::Type),
        };
        Ok(i64::try_from(size).unwrap_or(i64::MAX))
    }

    pub(super) fn write(self, out: &mut Vec<u8>) -> Result<Written, ExprFailure> {
        match self {
            Scalar::Null => return Ok(Written::Null),
            Scalar::Text(text) => text.write_to(out),
            Scalar::Number(text) => out.extend_from_slice(text.as_bytes()),
            Scalar::Bool(value) => out.extend_from_slice(if value { b"true" } else { b"false" }),
            Scalar::Int(value) => interpreter::write_json(&value, out)?,
            Scalar::Double(value) => interpreter::write_json(&value, out)?,
            Scalar::Array(_) | Scalar::Object(_) => return Err(ExprFailure::NoScalar),
        }
        Ok(Written::Value)
    }
}

fn tree(value: Value<'_>) -> Result<Option<CelValue>, ExprFailure> {
    interpreter::value_of(value)
}

// === impl Number ===

impl Number {
    /// Integers with integers exactly, else as doubles.
    fn compare(self, other: Number) -> Option<Ordering> {
        let double = |number| match number {
            Number::Int(value) => value as f64,
            Number::Double(value) => value,
        };
        match (self, other) {
            (Number::Int(left), Number::Int(right)) => Some(left.cmp(&right)),
            _ => double(self).partial_cmp(&double(other)),
        }
    }
}

/// The decoded text; in the buffer where it has escapes.
pub(super) fn plain<'t>(text: Text<'t>, buffer: &'t mut Vec<u8>) -> &'t str {
    match text.as_plain() {
        Some(plain) => plain,
        None => {
            buffer.clear();
            text.write_to(buffer);
            std::str::from_utf8(buffer).expect("characters were written")
        }
    }
}
