//! [`Chain`]: an error with all of its sources in one line.

use std::{error::Error, fmt};

/// Shows `message: source: source of the source`. Our errors never repeat their source, so nothing is said
/// twice.
#[derive(Clone, Copy, Debug)]
pub struct Chain<'a>(pub &'a (dyn Error + 'static));

/// Sources shown; a chain that is longer is a loop.
const MAX_DEPTH: usize = 32;

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut next = self.0.source();
        for _ in 0..MAX_DEPTH {
            let Some(source) = next else { break };
            write!(f, ": {source}")?;
            next = source.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Link(&'static str, #[source] Option<Box<Link>>);

    #[test]
    fn the_whole_chain_is_one_line() {
        let error = Link(
            "cannot start",
            Some(Box::new(Link(
                "cannot open the store",
                Some(Box::new(Link("disk full", None))),
            ))),
        );
        assert_eq!(
            Chain(&error).to_string(),
            "cannot start: cannot open the store: disk full"
        );
        assert_eq!(Chain(&Link("alone", None)).to_string(), "alone");
    }
}
