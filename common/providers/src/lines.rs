//! Where in a TOML text something stands, so that an error can name its line.

use std::fmt;

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

/// A step into a document.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Key(String),
    Index(usize),
}

/// The way to a value: `services[0].endpoints[2].path`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place(Vec<Step>);

impl Place {
    /// The way to a member of this table.
    pub(crate) fn key(&self, key: &str) -> Self {
        self.with(Step::Key(key.to_owned()))
    }

    /// The way to an item of this array.
    pub(crate) fn at(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// Whether the value is there.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        self.find(text).1 == self.0.len()
    }

    /// The line of the value, or of the nearest thing around it that is there.
    pub(crate) fn line(&self, text: &str) -> usize {
        line_of(text, self.find(text).0)
    }

    /// Where the value begins, or the nearest thing around it, and how many steps lead there.
    fn find(&self, text: &str) -> (usize, usize) {
        let Ok(document) = DeTable::parse(text) else {
            return (0, 0);
        };
        let (mut offset, mut found_steps) = (0, 0);
        let mut value: Option<&Spanned<DeValue<'_>>> = None;
        for (depth, step) in self.0.iter().enumerate() {
            let found = match (step, value.map(Spanned::get_ref)) {
                (Step::Key(key), None) if depth == 0 => document.get_ref().get(key.as_str()),
                (Step::Key(key), Some(DeValue::Table(table))) => table.get(key.as_str()),
                (Step::Index(index), Some(DeValue::Array(items))) => items.get(*index),
                _ => None,
            };
            let Some(found) = found else {
                break;
            };
            offset = found.span().start;
            found_steps = depth + 1;
            value = Some(found);
        }
        (offset, found_steps)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if depth == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// The line, from 1, of a byte offset.
pub(crate) fn line_of(text: &str, offset: usize) -> usize {
    let end = offset.min(text.len());
    1 + text.as_bytes()[..end]
        .split(|byte| *byte == b'\n')
        .skip(1)
        .count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a = 1\n[b]\nc = 2\n\n[[d]]\ne = [\n  1,\n  2,\n]\n[[d]]\nf = { g = 3 }\n";

    #[test]
    fn places_have_lines() {
        let root = Place::default();
        assert_eq!(root.line(TEXT), 1);
        assert_eq!(root.key("b").key("c").line(TEXT), 3);
        assert_eq!(root.key("d").at(0).key("e").at(1).line(TEXT), 8);
        assert_eq!(root.key("d").at(1).key("f").key("g").line(TEXT), 11);
        // What is missing is shown where it would stand.
        assert_eq!(root.key("d").at(1).key("nothing").line(TEXT), 10);
        assert_eq!(root.key("d").at(0).key("e").to_string(), "d[0].e");
        assert_eq!(root.key("a").line("= broken"), 1);
        assert_eq!(line_of(TEXT, usize::MAX), 12);
    }
}
