//! Patterns of catalogue files: bounded, and matched against whole values or found inside a text.

use regex::{Regex, RegexBuilder};
use serde::{Deserialize, Deserializer, de};

/// Largest compiled pattern, in bytes: ours take a twentieth. A pattern is compiled with each value that it is asked
/// about, by anyone who connects.
const COMPILED_BYTES: usize = 1024 * 1024;
/// Deepest nesting.
const NESTING: u32 = 20;

/// A pattern as it stands.
///
/// # Errors
/// One that does not parse, or compiles to too much.
pub fn part(text: &str) -> Result<Regex, regex::Error> {
    let mut builder = RegexBuilder::new(text);
    builder
        .size_limit(COMPILED_BYTES)
        .dfa_size_limit(COMPILED_BYTES)
        .nest_limit(NESTING);
    builder.build()
}

/// A pattern for whole values.
///
/// # Errors
/// As [`part`].
pub fn whole(text: &str) -> Result<Regex, regex::Error> {
    // Alone first: `a)|(.*` would be a pattern between the brackets, and hold nothing at its ends.
    part(text)?;
    part(&format!(r"\A(?:{text})\z"))
}

/// A pattern that is found anywhere in a text: compiled, and so checked, with its file.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles one.
    ///
    /// # Errors
    /// As [`part`].
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        part(text).map(Self)
    }

    /// Whether it is found there.
    pub fn is_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_value_is_matched_and_nothing_gets_out() {
        let word = whole("[a-z]+|x1").unwrap();
        assert!(word.is_match("acme") && word.is_match("x1"));
        assert!(!word.is_match("acme/evil") && !word.is_match("acme\n"));
        for bad in ["a)|(.*", "(", r"\", "(?x)a #"] {
            assert!(whole(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn bombs_are_refused() {
        let nested = format!("{}a{}", "(".repeat(50), ")".repeat(50));
        for bomb in ["(a{1000}){1000}", r"\w{2000}", &nested] {
            assert!(whole(bomb).is_err(), "{bomb}");
        }
    }
}
