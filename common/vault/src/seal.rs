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

#[cfg(test)]
mod tests {
    use latchkey_domain::SeededEntropy;
    use secrecy::ExposeSecret;

    use super::*;

    const PARTNER: PartnerId = PartnerId::from_u128(7);
    const PLACE: Aad<'_> = Aad {
        table: "grant_secrets",
        column: "sealed",
        partner: PARTNER,
        row: "gr_1",
        version: 3,
    };

    fn key(id: u64) -> DataKey {
        DataKey::generate(DataKeyId::from_u128(id.into()), &SeededEntropy::new(id))
    }

    #[test]
    fn every_length_comes_back() {
        let entropy = SeededEntropy::new(6);
        for length in [0, 1, 15, 16, 17, 4096, 70_000] {
            let mut plain = vec![0; length];
            entropy.fill(&mut plain);
            let blob = seal(&key(1), &PLACE, &plain, &entropy);
            assert_eq!(blob.len(), length + OVERHEAD);
            assert_eq!(sealed_with(&blob).unwrap(), DataKeyId::from_u128(1));
            assert_eq!(open(&key(1), &PLACE, &blob).unwrap().expose_secret(), plain);
        }
    }

    #[test]
    fn two_seals_of_one_secret_differ() {
        let entropy = SeededEntropy::new(6);
        let (a, b) = (
            seal(&key(1), &PLACE, b"x", &entropy),
            seal(&key(1), &PLACE, b"x", &entropy),
        );
        assert_ne!(a, b);
    }

    #[test]
    fn a_blob_opens_in_its_own_place_only() {
        let blob = seal(&key(1), &PLACE, b"secret", &SeededEntropy::new(6));
        let moved = [
            Aad {
                table: "jobs",
                ..PLACE
            },
            Aad {
                column: "result",
                ..PLACE
            },
            Aad {
                partner: PartnerId::from_u128(8),
                ..PLACE
            },
            Aad {
                row: "gr_2",
                ..PLACE
            },
            Aad { row: "", ..PLACE },
            Aad {
                version: 2,
                ..PLACE
            },
            Aad {
                version: 4,
                ..PLACE
            },
        ];
        let refused = VaultError::Refused { what: WHAT };
        for place in moved {
            assert_eq!(
                open(&key(1), &place, &blob).unwrap_err(),
                refused,
                "{place}"
            );
        }
        // A row may be called anything: no other place has the same text.
        let odd = Aad {
            row: "gr_1|3",
            version: 3,
            ..PLACE
        };
        assert_eq!(open(&key(1), &odd, &blob).unwrap_err(), refused);
        assert!(open(&key(1), &PLACE, &blob).is_ok());
    }

    #[test]
    fn another_key_does_not_open() {
        let blob = seal(&key(1), &PLACE, b"secret", &SeededEntropy::new(6));
        let (wanted, given) = (DataKeyId::from_u128(1), DataKeyId::from_u128(2));
        assert_eq!(
            open(&key(2), &PLACE, &blob).unwrap_err(),
            VaultError::OtherDataKey { wanted, given }
        );
        // The right id on the wrong bytes.
        let other = DataKey::generate(wanted, &SeededEntropy::new(99));
        assert_eq!(
            open(&other, &PLACE, &blob).unwrap_err(),
            VaultError::Refused { what: WHAT }
        );
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_refused() {
        let blob = seal(&key(1), &PLACE, b"a refresh token", &SeededEntropy::new(6));
        for bit in 0..blob.len() * 8 {
            let mut changed = blob.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(open(&key(1), &PLACE, &changed).is_err(), "bit {bit}");
            // The key that a changed header names does not open it either.
            if let Ok(id) = sealed_with(&changed) {
                let named = DataKey::generate(id, &SeededEntropy::new(99));
                assert!(open(&named, &PLACE, &changed).is_err(), "bit {bit}");
            }
        }
        for length in 0..blob.len() {
            assert!(
                open(&key(1), &PLACE, &blob[..length]).is_err(),
                "{length} bytes"
            );
        }
        let longer = [blob.as_slice(), b"x"].concat();
        assert!(open(&key(1), &PLACE, &longer).is_err());
    }

    #[test]
    fn no_error_shows_bytes() {
        let secret = b"\x01wrong key, and this is what somebody stored in the clear";
        for error in [
            open(&key(1), &PLACE, secret).unwrap_err(),
            open(&key(1), &PLACE, b"\x01short").unwrap_err(),
            open(&key(1), &PLACE, b"clear").unwrap_err(),
        ] {
            let text = format!("{error} {error:?}");
            assert!(!text.contains("clear") && !text.contains("short"), "{text}");
        }
    }
}
