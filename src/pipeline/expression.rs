//! The text of CEL expressions, as far as it can be told apart without understanding it.
//!
//! Rule: an expression is code, text literals, and blanks (comments are blanks). Blanks mean nothing, every character of a
//! literal means something.
//!
//! Edges:
//! - raw literals (`r"..."`) have no escapes, triple quotes hold single ones;
//! - a literal without an end goes to the end of the expression: the parser refuses it later;
//! - a chain of operators is bounded ([`MAX_STEPS`]), since the `cel` crate keeps a chain as a tree as deep as the chain is
//!   long and walks it on the stack: 2,000 selections in a row overflow 2 MiB (its own bound is on brackets alone).

/// Operators, selections and indexes in one expression.
pub const MAX_STEPS: usize = 500;

enum Piece<'e> {
    Code(char),
    Literal(&'e str),
    Blank,
}

/// The expression with its blanks made alike: one space each, none at the ends.
pub fn layout(expression: &str) -> String {
    let mut out = String::new();
    for piece in pieces(expression) {
        match piece {
            Piece::Code(char) => out.push(char),
            Piece::Literal(text) => out.push_str(text),
            // Blanks on both sides of a comment become one.
            Piece::Blank if out.ends_with(' ') => {}
            Piece::Blank => out.push(' '),
        }
    }
    out.trim().to_owned()
}

/// Whether the expression has more than [`MAX_STEPS`] operators, selections and indexes.
pub fn is_too_long(expression: &str) -> bool {
    const STEPS: &str = ".+-*/%[<>=!";
    let is_step = |piece: &Piece<'_>| matches!(piece, Piece::Code(char) if STEPS.contains(*char));
    pieces(expression).filter(is_step).nth(MAX_STEPS).is_some()
}

fn pieces(expression: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &expression[at..];
        let char = rest.chars().next()?;
        let (length, piece) = if char.is_whitespace() {
            (rest.len() - rest.trim_start().len(), Piece::Blank)
        } else if rest.starts_with("//") {
            (rest.find('\n').unwrap_or(rest.len()), Piece::Blank)
        } else if matches!(char, '"' | '\'') {
            let length = literal(rest, char, is_raw(&expression[..at]));
            (length, Piece::Literal(&rest[..length]))
        } else {
            (char.len_utf8(), Piece::Code(char))
        };
        at += length;
        Some(piece)
    })
}

/// Whether the quote that follows opens a raw literal: `r"..."`, `rb"..."`, `br"..."` in any case.
fn is_raw(before: &str) -> bool {
    let name = before.trim_end_matches(|char: char| char.is_alphanumeric() || char == '_');
    matches!(before[name.len()..].to_ascii_lowercase().as_str(), "r" | "rb" | "br")
}

/// The length of the literal that `rest` starts with.
fn literal(rest: &str, quote: char, raw: bool) -> usize {
    let triple: String = std::iter::repeat_n(quote, 3).collect();
    let mark = if rest.starts_with(&triple) {
        triple.as_str()
    } else {
        &rest[..1]
    };
    let mut at = mark.len();
    while at < rest.len() {
        if rest[at..].starts_with(mark) {
            return at + mark.len();
        }
        let escaped = !raw && rest[at..].starts_with('\\');
        at += rest[at..]
            .chars()
            .take(if escaped { 2 } else { 1 })
            .map(char::len_utf8)
            .sum::<usize>();
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_of_an_expression_is_no_part_of_it() {
        assert_eq!(layout("a  ==\n  \"b\" // why\n && c"), "a == \"b\" && c");
        assert_eq!(layout("  a == 'b'  "), "a == 'b'");
    }

    #[test]
    fn blanks_in_literals_are_part_of_it() {
        for text in [
            r#""a  b""#,
            "'a  // b'",
            r#""a\"  b""#,
            r"r'a\' + '  b'",
            "'''a '  b'''",
            "\"  unfinished",
        ] {
            assert_eq!(layout(text), text, "{text}");
        }
    }

    #[test]
    fn a_chain_is_too_long_beyond_its_bound_and_literals_do_not_count() {
        assert!(!is_too_long(&format!("a{}", ".b".repeat(MAX_STEPS))));
        assert!(is_too_long(&format!("a{}", "+b".repeat(MAX_STEPS + 1))));
        assert!(!is_too_long(&format!("a == '{}'", ".".repeat(MAX_STEPS * 2))));
    }
}
