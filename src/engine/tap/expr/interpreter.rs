//! The interpreter of the `cel` crate, for what is not compiled.
//!
//! Rule: it is given the top-level fields that the expression names, as values; a field that is not there is not declared.

use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr as Ast, IdedExpr};
use cel::objects::{Key, Map};
use cel::{Context, Env, ExecutionError, Value as CelValue, extensions};

use super::{ExprFailure, Written};
use crate::engine::tap::projection::{Fields, Pointer, ProjectionBuilder, Slot, Value};

/// An expression, or a part of one, that is interpreted.
#[derive(Clone)]
pub(super) struct Interpreted {
    expression: IdedExpr,
    environment: Arc<Env>,
    fields: Vec<(String, Slot)>,
}

impl std::fmt::Debug for Interpreted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interpreted")
            .field("fields", &self.fields)
            .finish_non_exhaustive()
    }
}

// === impl Interpreted ===

impl Interpreted {
    pub(super) fn new(expression: &IdedExpr, projection: &mut ProjectionBuilder) -> Self {
        let mut names = Vec::new();
        free_names(expression, &mut Vec::new(), &mut names);
        let fields = names
            .into_iter()
            .map(|name| (name.to_owned(), projection.want(&Pointer::of([name]))))
            .collect();
        Self {
            expression: expression.clone(),
            environment: environment(),
            fields,
        }
    }

    pub(super) fn evaluate(&self, fields: &Fields<'_>) -> Result<CelValue, ExprFailure> {
        let mut context = Context::with_env(Arc::clone(&self.environment));
        for (name, slot) in &self.fields {
            if let Some(value) = value_of(fields.get(*slot))? {
                context.add_variable_from_value(name.as_str(), value);
            }
        }
        CelValue::resolve(&self.expression, &context).map_err(|error| failure(&error))
    }
}

/// CEL's standard functions, and its extension for strings.
fn environment() -> Arc<Env> {
    let mut environment = Env::stdlib();
    environment
        .add_extension(extensions::strings)
        .expect("the standard functions do not know the extension's names");
    Arc::new(environment)
}

/// The identifiers that are fields of the record, in order of appearance.
fn free_names<'e>(expr: &'e IdedExpr, bound: &mut Vec<&'e str>, names: &mut Vec<&'e str>) {
    match &expr.expr {
        Ast::Ident(name) => {
            let name = name.as_str();
            if !name.starts_with('@') && !bound.contains(&name) && !names.contains(&name) {
                names.push(name);
            }
        }
        Ast::Call(call) => {
            call.target.iter().for_each(|target| free_names(target, bound, names));
            call.args.iter().for_each(|argument| free_names(argument, bound, names));
        }
        Ast::Select(select) => free_names(&select.operand, bound, names),
        Ast::List(list) => list
            .elements
            .iter()
            .for_each(|element| free_names(element, bound, names)),
        Ast::Map(map) => {
            for entry in &map.entries {
                if let EntryExpr::MapEntry(entry) = &entry.expr {
                    free_names(&entry.key, bound, names);
                    free_names(&entry.value, bound, names);
                }
            }
        }
        Ast::Comprehension(comprehension) => {
            free_names(&comprehension.iter_range, bound, names);
            free_names(&comprehension.accu_init, bound, names);
            let outside = bound.len();
            bound.push(&comprehension.iter_var);
            bound.extend(comprehension.iter_var2.as_deref());
            bound.push(&comprehension.accu_var);
            free_names(&comprehension.loop_cond, bound, names);
            free_names(&comprehension.loop_step, bound, names);
            free_names(&comprehension.result, bound, names);
            bound.truncate(outside);
        }
        Ast::Literal(_) | Ast::Struct(_) | Ast::Unspecified => {}
    }
}

/// A field as a value of CEL; `None` where it is missing.
pub(super) fn value_of(value: Value<'_>) -> Result<Option<CelValue>, ExprFailure> {
    Ok(Some(match value {
        Value::Missing => return Ok(None),
        Value::Null => CelValue::Null,
        Value::Bool(value) => CelValue::Bool(value),
        Value::Number(text) => match Number::of(text)? {
            Number::Int(value) => CelValue::Int(value),
            Number::Double(value) => CelValue::Float(value),
        },
        Value::Text(text) => CelValue::String(Arc::new(text.chars().collect())),
        Value::Array(bytes) | Value::Object(bytes) => {
            tree_value(serde_json::from_slice(bytes).map_err(|_| ExprFailure::Range)?)?
        }
    }))
}

fn tree_value(tree: serde_json::Value) -> Result<CelValue, ExprFailure> {
    Ok(match tree {
        serde_json::Value::Null => CelValue::Null,
        serde_json::Value::Bool(value) => CelValue::Bool(value),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(value), _) => CelValue::Int(value),
            (None, Some(value)) => CelValue::Float(value),
            (None, None) => return Err(ExprFailure::Range),
        },
        serde_json::Value::String(text) => CelValue::String(Arc::new(text)),
        serde_json::Value::Array(items) => {
            CelValue::List(Arc::new(items.into_iter().map(tree_value).collect::<Result<_, _>>()?))
        }
        serde_json::Value::Object(entries) => {
            let entries = entries
                .into_iter()
                .map(|(key, value)| Ok((Key::String(Arc::new(key)), tree_value(value)?)))
                .collect::<Result<_, ExprFailure>>()?;
            CelValue::Map(Map { map: Arc::new(entries) })
        }
    })
}

/// A number of JSON as CEL takes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Number {
    Int(i64),
    Double(f64),
}

impl Number {
    #[inline]
    pub(super) fn of(text: &str) -> Result<Number, ExprFailure> {
        // Minus zero is a double, as serde_json takes it.
        if let (Ok(value), true) = (text.parse(), text != "-0") {
            return Ok(Number::Int(value));
        }
        match text.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Number::Double(value)),
            _ => Err(ExprFailure::Range),
        }
    }
}

pub(super) fn write(value: &CelValue, out: &mut Vec<u8>) -> Result<Written, ExprFailure> {
    match value {
        CelValue::Null => return Ok(Written::Null),
        CelValue::String(text) => out.extend_from_slice(text.as_bytes()),
        CelValue::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        CelValue::Int(value) => write_json(value, out)?,
        CelValue::UInt(value) => write_json(value, out)?,
        CelValue::Float(value) if value.is_finite() => write_json(value, out)?,
        CelValue::Float(_) => return Err(ExprFailure::Range),
        _ => return Err(ExprFailure::NoScalar),
    }
    Ok(Written::Value)
}

pub(super) fn write_json(value: &impl serde::Serialize, out: &mut Vec<u8>) -> Result<(), ExprFailure> {
    serde_json::to_writer(out, value).map_err(|_| ExprFailure::Range)
}

fn failure(error: &ExecutionError) -> ExprFailure {
    match error {
        ExecutionError::NoSuchKey(_) | ExecutionError::UndeclaredReference(_) | ExecutionError::IndexOutOfBounds(_) => {
            ExprFailure::Missing
        }
        ExecutionError::DivisionByZero(_)
        | ExecutionError::RemainderByZero(_)
        | ExecutionError::Overflow(..)
        | ExecutionError::FunctionError { .. } => ExprFailure::Range,
        _ => ExprFailure::Type,
    }
}
