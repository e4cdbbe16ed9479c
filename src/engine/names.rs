//! What names topics can have, and which names are meant: patterns with `*` for any characters and `?` for one.
//!
//! Rule: a name is meant if it matches one of the patterns and none of those that begin with `!`. Patterns that only
//! exclude leave everything else in.
//!
//! Edges:
//! - a pattern matches the whole name;
//! - every other character stands for itself: names of groups hold anything.

use std::fmt;

/// The longest name of a topic, in bytes.
pub const MAX_TOPIC: usize = 249;

/// Whether names of topics may hold it.
pub fn is_of_topic(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '.' | '_' | '-')
}

/// Whether a topic can have this name.
pub fn is_topic(name: &str) -> bool {
    (1..=MAX_TOPIC).contains(&name.len()) && name.chars().all(is_of_topic) && name != "." && name != ".."
}

/// Patterns, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    wanted: Vec<Box<str>>,
    unwanted: Vec<Box<str>>,
}

// === impl Names ===

impl Names {
    pub fn of<'p>(patterns: impl IntoIterator<Item = &'p str>) -> Self {
        let mut names = Self::default();
        for pattern in patterns {
            match pattern.strip_prefix('!') {
                Some(pattern) => names.unwanted.push(pattern.into()),
                None => names.wanted.push(pattern.into()),
            }
        }
        names
    }

    pub fn has(&self, name: &str) -> bool {
        let any = |patterns: &[Box<str>]| patterns.iter().any(|pattern| matches(pattern, name));
        (self.wanted.is_empty() || any(&self.wanted)) && !any(&self.unwanted)
    }
}

/// As a person would write them.
impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.wanted.is_empty().then_some("*");
        let wanted = all.into_iter().chain(self.wanted.iter().map(|pattern| &**pattern));
        for (at, pattern) in wanted.enumerate() {
            write!(f, "{}{pattern}", if at == 0 { "" } else { ", " })?;
        }
        for (at, pattern) in self.unwanted.iter().enumerate() {
            write!(f, "{}{pattern}", if at == 0 { " but " } else { ", " })?;
        }
        Ok(())
    }
}

/// Goes back to the last `*` alone, so that the time is the product of the lengths at most.
fn matches(pattern: &str, name: &str) -> bool {
    let (mut pattern, mut name) = (pattern.chars(), name.chars());
    let mut star = None;
    loop {
        let left = name.clone();
        match (pattern.next(), name.next()) {
            (None, None) => return true,
            (Some('*'), _) => {
                // From here on the star takes nothing, then one character more each time.
                name = left.clone();
                star = Some((pattern.clone(), left));
            }
            (Some('?'), Some(_)) => {}
            (Some(wanted), Some(found)) if wanted == found => {}
            _ => {
                let Some((behind, mut taken)) = star.take() else {
                    return false;
                };
                if taken.next().is_none() {
                    return false;
                }
                (pattern, name) = (behind.clone(), taken.clone());
                star = Some((behind, taken));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pattern_matches_the_whole_name() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("a", "ab", false),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("*b", "abc", false),
            ("a?c", "a\u{1f600}c", true),
            ("a?c", "ac", false),
            ("a*b*c", "aXbXbXc", true),
            ("a*b*c", "aXcXb", false),
            ("a.b", "axb", false),
        ] {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn what_is_excluded_is_out_and_everything_else_in() {
        let names = Names::of(["!test-*"]);
        assert!(names.has("orders") && !names.has("test-orders"));
        let names = Names::of(["orders*", "!orders-test"]);
        assert!(names.has("orders-1") && !names.has("orders-test") && !names.has("billing"));
        assert!(Names::default().has("anything"));
        assert_eq!(Names::default().to_string(), "*");
        assert_eq!(Names::of(["a*", "!b", "c", "!d"]).to_string(), "a*, c but b, d");
    }

    /// The definition, without care for time.
    fn plain(pattern: &[char], name: &[char]) -> bool {
        match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (Some(('*', rest)), Some((_, left))) => plain(rest, name) || plain(pattern, left),
            (Some(('*', rest)), None) => plain(rest, name),
            (Some(('?', rest)), Some((_, left))) => plain(rest, left),
            (Some((wanted, rest)), Some((found, left))) => wanted == found && plain(rest, left),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn it_matches_as_the_definition_says(pattern in "[ab*?]{0,8}", name in "[ab]{0,10}") {
            let chars = |text: &str| text.chars().collect::<Vec<char>>();
            prop_assert_eq!(matches(&pattern, &name), plain(&chars(&pattern), &chars(&name)));
        }
    }
}
