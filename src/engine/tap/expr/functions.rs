//! The functions that an expression may call, checked before any record is read.

use cel::common::ast::{CallExpr, EntryExpr, Expr as Ast, IdedExpr, SourceInfo};

use super::{ExprError, byte_of};

/// Called as `size(x)`.
pub(super) const GLOBAL: &[&str] = &[
    "bool",
    "bytes",
    "double",
    "duration",
    "dyn",
    "int",
    "matches",
    "size",
    "string",
    "timestamp",
    "type",
    "uint",
];

/// Called as `x.size()`.
pub(super) const MEMBER: &[&str] = &[
    "charAt",
    "contains",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "indexOf",
    "join",
    "lastIndexOf",
    "lowerAscii",
    "matches",
    "replace",
    "size",
    "split",
    "startsWith",
    "substring",
    "trim",
    "upperAscii",
];

/// Expanded by the parser when they are called rightly; what is left of them is called wrongly.
const MACROS: &[(&str, &str)] = &[
    ("all", "`list.all(x, condition)`"),
    ("exists", "`list.exists(x, condition)`"),
    ("exists_one", "`list.exists_one(x, condition)`"),
    ("filter", "`list.filter(x, condition)`"),
    ("has", "`has(data.channel)`"),
    ("map", "`list.map(x, value)`"),
];

/// Refuses calls of functions that do not exist, with their place and the nearest name that does.
pub(super) fn check(expr: &IdedExpr, source: &str, info: &SourceInfo) -> Result<(), ExprError> {
    let check = |expr: &IdedExpr| check(expr, source, info);
    match &expr.expr {
        Ast::Call(call) => {
            check_name(expr.id, call, source, info)?;
            call.target.iter().try_for_each(|target| check(target))?;
            call.args.iter().try_for_each(check)
        }
        Ast::Select(select) => check(&select.operand),
        Ast::List(list) => list.elements.iter().try_for_each(check),
        Ast::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
            EntryExpr::MapEntry(entry) => check(&entry.key).and_then(|()| check(&entry.value)),
            EntryExpr::StructField(field) => check(&field.value),
        }),
        Ast::Comprehension(comprehension) => {
            check(&comprehension.iter_range)?;
            check(&comprehension.loop_cond)?;
            check(&comprehension.loop_step)?;
            check(&comprehension.result)
        }
        Ast::Struct(message) => {
            let span = name_span(&message.type_name, expr.id, source, info);
            Err(ExprError {
                span,
                message: format!("`{}` is no type that can be made", message.type_name),
                help: None,
            })
        }
        Ast::Ident(_) | Ast::Literal(_) | Ast::Unspecified => Ok(()),
    }
}

fn check_name(id: u64, call: &CallExpr, source: &str, info: &SourceInfo) -> Result<(), ExprError> {
    let name = call.func_name.as_str();
    // Operators have names that no one can write: `_&&_`, `!_`, `@in`.
    if !name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '.') {
        return Ok(());
    }
    let (known, other) = if call.target.is_some() {
        (MEMBER, GLOBAL)
    } else {
        (GLOBAL, MEMBER)
    };
    if known.contains(&name) {
        return Ok(());
    }
    let span = name_span(name, id, source, info);
    if let Some((_, usage)) = MACROS.iter().find(|(known, _)| *known == name) {
        let message = format!("`{name}` is not called like this");
        return Err(ExprError {
            span,
            message,
            help: Some(format!("it is written {usage}")),
        });
    }
    let help = if other.contains(&name) {
        let usage = if call.target.is_some() {
            format!("{name}(x)")
        } else {
            format!("x.{name}()")
        };
        Some(format!("it is written `{usage}`"))
    } else {
        nearest(name, known.iter().chain(other)).map(|nearest| format!("did you mean `{nearest}`?"))
    };
    Err(ExprError {
        span,
        message: format!("there is no function `{name}`"),
        help,
    })
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a &'a str>) -> Option<&'a str> {
    let close = known.map(|known| {
        (
            strsim::damerau_levenshtein(&name.to_lowercase(), &known.to_lowercase()),
            *known,
        )
    });
    close
        .min()
        .filter(|(distance, _)| *distance <= 1 + name.len() / 3)
        .map(|(_, known)| known)
}

/// Where the name of a call stands: the parser gives the place of its bracket.
fn name_span(name: &str, id: u64, source: &str, info: &SourceInfo) -> std::ops::Range<usize> {
    let near = info
        .offset_for(id)
        .map_or(0, |(start, _)| byte_of(source, start as usize));
    let found = source
        .match_indices(name)
        .map(|(at, _)| at)
        .min_by_key(|at| at.abs_diff(near));
    found.map_or(0..source.len(), |at| at..at + name.len())
}
