//! Sealing a secret for one place in the store.
//!
//! A blob is `1 | data key id (16) | nonce (12) | ciphertext | tag (16)`. The additional data is the text
//! `table|column|partner|row|version`, so that a blob copied to another row, partner, column or version
//! does not open there, and neither does an older blob put back in its place.

use std::fmt;

use latchkey_domain::{DataKeyId, Entropy, PartnerId};
use secrecy::SecretSlice;

use crate::{
    DataKey, VaultError,
    cipher::{NONCE, TAG},
};

/// The first byte of every blob of this layout.
const FORMAT: u8 = 1;
/// Format byte and data key id.
const HEADER: usize = 1 + 16;
/// What sealing adds to the length of a secret, in bytes.
pub const OVERHEAD: usize = HEADER + NONCE + TAG;

const WHAT: &str = "sealed value";

/// The place that a sealed value belongs to.
///
/// `table` and `column` are names from our own schema and hold no `|`. The partner and the version cannot
/// hold one either, so two different places never give the same text, whatever the row is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aad<'a> {
    /// The table of the row.
    pub table: &'a str,
    /// The column that holds the blob.
    pub column: &'a str,
    /// The partner that the row belongs to.
    pub partner: PartnerId,
    /// The row's id.
    pub row: &'a str,
    /// The row's version, where it has one that grows with each new secret; else a constant.
    pub version: i64,
}

impl fmt::Display for Aad<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}|{}|{}|{}|{}",
            self.table, self.column, self.partner, self.row, self.version
        )
    }
}

/// Seals `plain` for the place `aad`. At most [`DataKey::MAX_SEALS`] times with one key.
pub fn seal(key: &DataKey, aad: &Aad<'_>, plain: &[u8], entropy: &dyn Entropy) -> Vec<u8> {
    debug_assert!(!aad.table.contains('|') && !aad.column.contains('|'));
    let mut blob = Vec::with_capacity(OVERHEAD + plain.len());
    blob.push(FORMAT);
    blob.extend_from_slice(&key.id().as_u128().to_be_bytes());
    key.cipher()
        .seal_onto(&mut blob, aad.to_string().as_bytes(), plain, entropy);
    blob
}

/// The data key that a blob was sealed with, read from its header. The header is not trusted by this: a
/// changed id finds no key, or one that does not open the blob.
///
/// # Errors
/// [`VaultError::Length`] or [`VaultError::Format`] when the bytes are no blob.
pub fn sealed_with(blob: &[u8]) -> Result<DataKeyId, VaultError> {
    split(blob).map(|(id, _)| id)
}

/// Opens a blob that was sealed for the place `aad` with `key`.
///
/// # Errors
/// Every [`VaultError`] but `KekMissing`. Nothing of the secret is shown then.
pub fn open(key: &DataKey, aad: &Aad<'_>, blob: &[u8]) -> Result<SecretSlice<u8>, VaultError> {
    let (wanted, sealed) = split(blob)?;
    if wanted != key.id() {
        return Err(VaultError::OtherDataKey {
            wanted,
            given: key.id(),
        });
    }
    key.cipher()
        .open(aad.to_string().as_bytes(), sealed)
        .ok_or(VaultError::Refused { what: WHAT })
}

fn split(blob: &[u8]) -> Result<(DataKeyId, &[u8]), VaultError> {
    let length = VaultError::Length {
        what: WHAT,
        length: blob.len(),
    };
    let (&format, rest) = blob.split_first().ok_or(length.clone())?;
    if format != FORMAT {
        return Err(VaultError::Format { what: WHAT, format });
    }
    let (id, sealed) = rest.split_first_chunk::<16>().ok_or(length.clone())?;
    if sealed.len() < NONCE + TAG {
        return Err(length);
    }
    Ok((DataKeyId::from_u128(u128::from_be_bytes(*id)), sealed))
}
