//! Patterns of catalogue files: bounded, and matched against whole values.

use regex::{Regex, RegexBuilder};

/// Largest compiled pattern, in bytes: ours take a twentieth. A pattern is compiled with each value that it is asked
/// about, by anyone who connects.
const COMPILED_BYTES: usize = 1024 * 1024;
/// Deepest nesting.
const NESTING: u32 = 20;

/// A pattern as it stands.
pub(crate) fn part(text: &str) -> Result<Regex, regex::Error> {
    let mut builder = RegexBuilder::new(text);
    builder
        .size_limit(COMPILED_BYTES)
        .dfa_size_limit(COMPILED_BYTES)
        .nest_limit(NESTING);
    builder.build()
}

/// A pattern for whole values.
pub(crate) fn whole(text: &str) -> Result<Regex, regex::Error> {
    // Alone first: `a)|(.*` would be a pattern between the brackets, and hold nothing at its ends.
    part(text)?;
    part(&format!(r"\A(?:{text})\z"))
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
