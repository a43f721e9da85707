//! What an engine's errors mean, by their codes.

/// What an engine's error means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// No room.
    Full,
    /// No permission to write.
    ReadOnly,
    /// Two transactions stood in each other's way; run it again.
    Again,
    /// The connection ended: whether a commit took place is not known.
    Cut,
    /// No connection is to be had.
    Unreachable,
    /// Anything else; it may be one row's fault.
    Other,
}

/// Reads an error's code: SQLite's are numbers (<https://www.sqlite.org/rescode.html>), PostgreSQL's have
/// five characters (<https://www.postgresql.org/docs/15/errcodes-appendix.html>).
pub(crate) fn meaning(error: &sqlx::Error) -> Meaning {
    let sqlx::Error::Database(error) = error else {
        return match error {
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::WorkerCrashed => Meaning::Cut,
            sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => Meaning::Unreachable,
            _ => Meaning::Other,
        };
    };
    let code = error.code().unwrap_or_default();
    if code.len() == 5 {
        return match &*code {
            "53100" => Meaning::Full,
            "25006" => Meaning::ReadOnly,
            // serialization_failure, deadlock_detected, lock_not_available
            "40001" | "40P01" | "55P03" => Meaning::Again,
            code if code.starts_with("08") || code.starts_with("57P") => Meaning::Cut,
            _ => Meaning::Other,
        };
    }
    // The primary code is the low byte, but for two: 4874 says that the write-ahead log's index could not grow,
    // 778 that the volume refused a write (one that went read-only under an open file).
    match code.parse::<u32>().map(|code| match code {
        4874 => 13,
        778 => 8,
        code => code & 0xff,
    }) {
        Ok(13) => Meaning::Full,
        Ok(8) => Meaning::ReadOnly,
        Ok(5 | 6) => Meaning::Again,
        _ => Meaning::Other,
    }
}
