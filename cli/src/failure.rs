//! How a failure is told: what is wrong, why, and what to do next; once, on stderr.

use std::{io::Write, process::ExitCode};

use anyhow::Error;

/// Done wrong: the command could not do what was asked.
const FAILED: u8 = 1;
/// Asked wrong: the arguments, or what they name, cannot be right.
const ASKED_WRONGLY: u8 = 2;

/// A request that cannot be right, in words that say what would be. Ends with exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct AskedWrongly(pub(crate) String);

/// An [`AskedWrongly`] as an error of a command.
pub(crate) fn asked_wrongly(text: impl Into<String>) -> Error {
    AskedWrongly(text.into()).into()
}

/// A command that did its work, printed what it found, and found something wrong: nothing more is said.
#[derive(Debug, thiserror::Error)]
#[error("the command has told what is wrong")]
pub(crate) struct AlreadyTold;

/// Prints the error with its chain of causes and gives the exit code.
pub(crate) fn tell(error: &Error) -> ExitCode {
    if !error.is::<AlreadyTold>() {
        // Without a stderr there is nobody to tell.
        drop(std::io::stderr().write_all(text(error).as_bytes()));
    }
    ExitCode::from(code(error))
}

fn code(error: &Error) -> u8 {
    let wrongly = error
        .chain()
        .any(<dyn std::error::Error>::is::<AskedWrongly>);
    if wrongly { ASKED_WRONGLY } else { FAILED }
}

fn text(error: &Error) -> String {
    let mut text = format!("error: {error}\n");
    let mut last = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        // Wrappers that show their source as their own text would say it twice.
        if !last.contains(&cause) {
            text.push_str("  because: ");
            text.push_str(&cause.trim_end().replace('\n', "\n           "));
            text.push('\n');
            last = cause;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_told_once() {
        let source = std::io::Error::other("disk on fire");
        let error = Error::new(source)
            .context("cannot write x: disk on fire")
            .context("cannot start");
        assert_eq!(
            text(&error),
            "error: cannot start\n  because: cannot write x: disk on fire\n"
        );
    }

    #[test]
    fn asked_wrongly_is_another_exit_code() {
        assert_eq!(code(&asked_wrongly("no such plan")), 2);
        assert_eq!(
            code(&asked_wrongly("no such plan").context("cannot create")),
            2
        );
        assert_eq!(code(&Error::msg("x")), 1);
    }
}
