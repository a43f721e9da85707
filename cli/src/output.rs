//! What goes to stdout: text for people, or with `--json` one object or one object per line for programs.

use std::{
    io::{ErrorKind, IsTerminal, Write},
    process,
};

use anyhow::Context as _;
use serde::Serialize;

/// Prints a line for a person.
pub(crate) fn line(text: &str) -> anyhow::Result<()> {
    write(&format!("{text}\n"))
}

/// Prints one JSON object as one line.
pub(crate) fn json(value: &impl Serialize) -> anyhow::Result<()> {
    write(&format!(
        "{}\n",
        serde_json::to_string(value).context("cannot write JSON")?
    ))
}

/// Says something to a person on stderr, beside what a program reads.
pub(crate) fn note(text: &str) {
    // Without a stderr there is nobody to tell.
    drop(writeln!(std::io::stderr(), "{text}"));
}

fn write(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(()),
        // The reader has what it wanted (`latchkey … | head -1`).
        Err(error) if error.kind() == ErrorKind::BrokenPipe => process::exit(0),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// Colours, where a person looks on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// For what goes to stdout: colours on a terminal, unless `NO_COLOR` is set (no-color.org).
    pub(crate) fn stdout() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            on: wanted && std::io::stdout().is_terminal(),
        }
    }

    /// Never.
    #[cfg(test)]
    pub(crate) const fn plain() -> Self {
        Self { on: false }
    }

    /// What stands out.
    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// What is less important.
    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// What is right.
    pub(crate) fn good(self, text: &str) -> String {
        self.with("32", text)
    }

    /// What may be wrong.
    pub(crate) fn warn(self, text: &str) -> String {
        self.with("33", text)
    }

    /// What is wrong.
    pub(crate) fn bad(self, text: &str) -> String {
        self.with("31;1", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.on {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Rows as columns, each as wide as its widest cell.
pub(crate) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or(0);
        widest.max(heading.get(column).map_or(0, |title| title.len()))
    };
    let widths: Vec<usize> = (0..heading.len()).map(width).collect();
    let mut text = String::new();
    let titles: Vec<String> = heading.iter().map(|title| (*title).to_owned()).collect();
    for row in std::iter::once(&titles).chain(rows) {
        let cells = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text.pop();
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = vec![
            vec!["prt_1".into(), "Ä GmbH".into()],
            vec!["prt_10".into(), String::new()],
        ];
        assert_eq!(
            table(&["ID", "COMPANY"], &rows),
            "ID      COMPANY\nprt_1   Ä GmbH\nprt_10"
        );
        assert_eq!(Paint::plain().bad("x"), "x");
    }
}
