//! What can go wrong with sealed things and with the key file. No message holds a byte of a key, of a
//! ciphertext or of a line of the key file.

use std::path::PathBuf;

use latchkey_domain::DataKeyId;

/// A blob or a wrapped key that does not open. Every one of these fails closed and counts as an AEAD
/// failure: it means damage, a lost key, or somebody who moved ciphertext.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// Too short to be what it should be, or its length is wrong.
    #[error("the sealed bytes are {length} long, which no {what} can be")]
    Length {
        /// What the bytes should have been.
        what: &'static str,
        /// How many there are.
        length: usize,
    },
    /// Written in a format that this version does not know.
    #[error("the {what} has format {format}; this version of Latchkey knows format 1")]
    Format {
        /// What the bytes should have been.
        what: &'static str,
        /// The format byte.
        format: u8,
    },
    /// Sealed with another data key than the one given.
    #[error("sealed with data key {wanted}, but {given} was given")]
    OtherDataKey {
        /// The key named in the blob.
        wanted: DataKeyId,
        /// The key that was to open it.
        given: DataKeyId,
    },
    /// The key that wrapped a data key is not in the key ring.
    #[error(
        "key-encryption key '{kek_id}' is not in the key ring; put its line back into the key file"
    )]
    KekMissing {
        /// The id of the missing key.
        kek_id: String,
    },
    /// The tag does not match: changed bytes, another place, or another key.
    #[error("the {what} does not open: it was changed, moved, or sealed with another key")]
    Refused {
        /// What was to be opened.
        what: &'static str,
    },
}

/// A key file that cannot be used. Start-up stops on each of these.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is no such file.
    #[error("there is no key file at {}", path.display())]
    NotFound {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// Reading, writing or looking at the file failed.
    #[error("cannot {action} key file {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// Creating would have overwritten a file.
    #[error("key file {} is already there and is not overwritten", path.display())]
    Exists {
        /// Which file.
        path: PathBuf,
    },
    /// Others than the owner may read or write the file.
    #[error(
        "key file {} has mode {mode:04o}, so others can reach it; run: chmod 600 '{}'",
        path.display(),
        path.display()
    )]
    Exposed {
        /// Which file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Not a regular file, or larger than any key file.
    #[error("{} is not a key file: {problem}", path.display())]
    NotAKeyFile {
        /// Which file.
        path: PathBuf,
        /// What it is instead.
        problem: &'static str,
    },
    /// The text does not hold a key ring.
    #[error("key file {} does not hold a key ring", path.display())]
    Text {
        /// Which file.
        path: PathBuf,
        /// The line, and what is wrong with it.
        #[source]
        source: KeyTextError,
    },
}

/// A text that is not a key ring. Names the line, never its content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// A line is wrong.
    #[error("line {line}: {problem}")]
    Line {
        /// The line's number, from 1.
        line: usize,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// No line holds a key.
    #[error("no line holds a key")]
    Empty,
}
